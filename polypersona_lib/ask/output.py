"""What a run of `ask` leaves: answers and people for pandas, R and SPSS, the questionnaire, a record with hashes, and a README that counts what is missing."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..config import versions
from ..errors import printable, quoted
from ..files import file_hash, replacing, write_atomically
from ..intake.people_file import People, unread_answers
from ..intake.survey_format import Questionnaire, questionnaire_json
from ..records import git_state
from .labelled_files import spreadsheet, write_r_csv, write_sav

ANSWER_FILES = {
    "answers.parquet": "every answer, one row each: for pandas, `pilot` and `score`",
    "answers.csv": "the same for a spreadsheet (no cell is a formula)",
    "answers.sav": "one row a person, with variable and value labels: for SPSS, PSPP, R (haven)",
    "answers_wide.csv": "the same with labels as texts and NA: for R (read.csv)",
    "people.parquet": "who was asked", "people.csv": "the same for a spreadsheet",
    "questionnaire.json": "what was asked", "record.json": "how, by whom, with which versions and hashes",
}  # fmt: skip
_SAV_NOTE = 'In `answers.sav` a skipped or missing answer is system-missing; "don\'t know" and "refused" are user-missing.\n'
_NONE: Mapping = {}
Told = Mapping[str, tuple[Mapping[str, int], Counter]]


def write_output(out: Path, answers: pd.DataFrame, questionnaire: Questionnaire, people: People, record: Mapping) -> list[str]:
    """Write all of `ANSWER_FILES` and README.md into `out`. Returns the lines that count what is missing from the numbers."""
    with replacing(out / "answers.parquet") as new:
        answers.to_parquet(new, index=False, compression="zstd")
    with replacing(out / "people.parquet") as new:
        people.frame.to_parquet(new, index=False, compression="zstd")
    write_atomically(out / "answers.csv", spreadsheet(answers))
    write_atomically(out / "people.csv", spreadsheet(people.frame))
    weights = people.frame.set_index("persona_id")["weight"].dropna().to_dict()
    labelled = write_sav(out / "answers.sav", answers, questionnaire, weights)
    write_r_csv(out / "answers_wide.csv", answers, questionnaire)
    told = {str(system): (status_counts(rows), failed_reasons(rows)) for system, rows in answers.groupby("system", sort=False)}
    return write_record(out, questionnaire, people, {**record, "variables": labelled["variables"]}, told, cut=labelled["cut"], valid=labelled["not_missing"])


def write_record(
    out: Path,
    questionnaire: Questionnaire,
    people: People,
    record: Mapping,
    told: Told,
    *,
    cut: int = 0,
    valid: Mapping = _NONE,
    files: Mapping[str, str] = ANSWER_FILES,
) -> list[str]:
    """Write questionnaire.json, record.json and README.md: the run is whole when they are. Returns the lines that count what is missing.

    Args: told: see `missing_lines`. cut, valid: of `write_sav`. files: name -> what it is, for README and hashes.
    """
    write_atomically(out / "questionnaire.json", questionnaire_json(questionnaire))
    lines = missing_lines(told, questionnaire, people, cut)
    lines += [
        f"SPSS has no room for all missing values of {quoted(item)}: {', '.join(map(quoted, left))} are valid in answers.sav" for item, left in valid.items()
    ]
    hashes = {name: file_hash(out / name) for name in files if (out / name).is_file() and name != "record.json"}
    counted = {system: count for system, (count, _) in told.items()}
    whole = {**record, "counts": counted, "missing": lines, "sha256": hashes, "versions": versions(), "git": git_state()}
    write_atomically(out / "record.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    write_atomically(out / "README.md", readme(questionnaire, people, record, lines, files))
    return lines


def status_counts(rows: pd.DataFrame) -> dict[str, int]:
    """Status -> rows of one system, "unread": closed rows whose words named no option though they were written, "turns_dropped", and
    "off_option": rows whose answer would mostly have begun with no option (`option_mass` below a half)."""
    by_status = {str(status): int(n) for status, n in rows["status"].value_counts(sort=False).items()}
    return by_status | {"unread": int((rows["status"].eq("ok") & rows["reason"].notna()).sum()), "turns_dropped": int((rows["turns_dropped"] > 0).sum()),
                        "off_option": int((rows["status"].eq("ok") & rows["option_mass"].lt(0.5)).sum())}  # fmt: skip


def failed_reasons(rows: pd.DataFrame) -> Counter:
    """Reason -> failed rows."""
    return Counter(rows.loc[rows["status"] == "failed", "reason"])


def missing_lines(told: Told, questionnaire: Questionnaire, people: People, cut: int) -> list[str]:
    """Sentences on everything that left the numbers: skipped, failed, unread, shortened, not used.

    Args: told: system -> (`status_counts`, `failed_reasons`). cut: texts that are cut in answers.sav.
    """
    lines = []
    for system, (count, reasons) in told.items():
        failed = "".join(f" ({n:,}: {reason})" for reason, n in reasons.most_common(3))
        rows = sum(count.get(status, 0) for status in ("ok", "failed", "skipped"))
        lines.append(f"{system}: {rows:,} rows, {count.get('ok', 0):,} answered, {count.get('skipped', 0):,} skipped by their condition, "
                     f"{count.get('failed', 0):,} without an answer{failed}")  # fmt: skip
        if count["unread"]:
            lines.append(f"{system}: {count['unread']:,} answers in words could not be read, or came without probabilities (column reason)")
        if count.get("off_option"):
            lines.append(
                f"{system}: {count['off_option']:,} answers would mostly have begun with no option: their probabilities describe the rest (column option_mass)"
            )
        if count["turns_dropped"]:
            lines.append(f"{system}: in {count['turns_dropped']:,} prompts the earliest questions were left out, so that they fit (column turns_dropped)")
    lines += input_lines(questionnaire, people)
    return lines + ([f"{cut:,} labels or texts were too long for SPSS and are cut in answers.sav"] if cut else [])


def input_lines(questionnaire: Questionnaire, people: People, *, who: str = "people") -> list[str]:
    """Columns that are not used, and people's own answers that cannot be read: what is known before anybody is asked. `who`: the people, in words."""
    lines = []
    for what, not_used in (("questionnaire", questionnaire.not_used), (who, people.not_used)):
        if not_used:
            named = "; ".join(f"{quoted(name)} ({quoted(why, 200)[1:-1]})" for name, why in not_used[:12])
            lines.append(f"not used of the {what}: {named}" + " …" * (len(not_used) > 12))
    if wrong := unread_answers(people, questionnaire):
        named = ", ".join(f"{quoted(i)} {n:,} ({quoted(said, 30)})" for i, (n, said) in wrong.items())
        lines.append(f"the {who}'s own answers that are no option of their item: {named}")
    return lines


def readme(questionnaire: Questionnaire, people: People, record: Mapping, lines: Sequence[str], listed: Mapping[str, str] = ANSWER_FILES) -> str:
    """The README of the folder. Text of users' files is quoted as code, so that nothing of it is markup."""
    systems = ", ".join(_code(label) for label in record["systems"])
    files = "\n".join(f"- `{name}`: {what}" for name, what in listed.items())
    told = "\n".join(f"- {_code(line)}" for line in lines)
    return (
        f"# Simulated answers\n\nNo human gave these answers. {systems} answered {len(questionnaire.items)} questions of "
        f"{_code(questionnaire.source or questionnaire.title)} "
        f"as {len(people.frame):,} people of {_code(people.source)}, {record['repeats']} time{'s' if record['repeats'] > 1 else ''} each; "
        f"seed {record['seed']}, {'one conversation a person' if record['mode'] == 'sequence' else 'each question alone'}.\n\n{files}\n\n"
        f"## What left the numbers\n\n{told}\n\nThe columns are stated in `data/schemas/answers.schema.json` of the project.\n"
        + _SAV_NOTE
        * ("answers.sav" in listed)
    )


def _code(text: str) -> str:
    return "`" + printable(str(text).replace("`", "'").replace("\n", " ")) + "`"
