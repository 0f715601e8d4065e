"""`pilot --questions Q --people P --models M`: try a questionnaire on simulated people, and leave a report on the instrument."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd

from ..ask.asking import ASK_MODES, WANTED, AskPlan, check_seed
from ..ask.command import CENSUS, ask_systems, people_of, plan_of, reading_lines
from ..ask.output import write_output
from ..ask.shards import PLAN, open_folder, people_in_a_block
from ..ask.who_answers import Who, who_answers
from ..config import DEFAULT_SEED
from ..errors import InputError, exit_status, one_line, printable, quoted
from ..files import read_json, replacing
from ..intake.answers_folder import load_answers, read_answers_table
from ..intake.people_file import People, column_names, read_people
from ..intake.question_rows import check_map, parse_map, split_map
from ..intake.questionnaire_file import read_questionnaire
from ..intake.survey_format import Questionnaire
from ..models.answer_budget import Budget, add_limits, read_limits
from ..people.human_surveys import load_survey
from .analysis import Material, Pilot, real_panel, run_pilot, with_weights
from .human_survey import survey_people, survey_questionnaire
from .page import write_pilot
from .panel import items_with_options
from .plan import CHANGE_COLUMNS, CHANGED, changed_people, with_paraphrases
from .scale_measures import yes_first

ASKED, CHANGED_FOLDER, CHANGES = "ask", "ask_changed", "changes.parquet"
MOST_FINDINGS = 12  # that are printed; the page has all


def report_of(options: argparse.Namespace) -> Path:
    """Ask (or read what was asked), measure, write the page. Returns the page's path. Raises InputError."""
    out = Path(options.out).expanduser()
    _check_folder(out)
    if options.answers:
        folder = _ask_folder(Path(options.answers).expanduser())
        answers, people, questionnaire = load_answers(folder)
    else:
        questionnaire, given = _given(options)
        people = given.frame
    notes, real = _descending(questionnaire), real_people(options, questionnaire, people)
    if not options.answers:
        folder = _ask(options, out, questionnaire, given)
        answers, people, questionnaire = load_answers(folder)
    material = Material(
        items=questionnaire.items, people=people, answers=answers, **_changed(folder.parent / CHANGED_FOLDER, people), humans=real.frame,
        human_answers=real.answers, difference=options.difference, seed=options.seed, labels=_labels(folder, answers),
    )  # fmt: skip
    pilot = run_pilot(material)
    page = write_pilot(pilot, out, title=questionnaire.title, source=f"Answers: {len(answers):,}.", notes=[*notes, *real.lines])
    _say(pilot, page)
    return page


# --- what was asked ----------------------------------------------------------------------------------------------------------------------------


def _check_folder(out: Path) -> None:
    """Raises InputError if the folder holds files, but no pilot."""
    if out.is_file():
        raise InputError(f"{out}: is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not any((out / name).is_file() for name in ("pilot.html", f"{ASKED}/{PLAN}")):
        raise InputError(f"{out}: holds other files; name a new folder with --out")


def _ask_folder(given: Path) -> Path:
    """The folder with answers: the one given, or the one that an earlier pilot left in it."""
    for folder in (given, given / ASKED):
        if (folder / "answers.parquet").is_file():
            return folder
    raise InputError(f"--answers {given}: no answers.parquet there; give a folder that ask or pilot wrote")


def _labels(folder: Path, answers: pd.DataFrame) -> dict[str, str]:
    """System -> its name for readers, as the record of the folder has it; {} without a record."""
    record = read_json(folder / "record.json")
    models, labels = record.get("models"), record.get("systems")
    systems = list(models if isinstance(models, dict) and models else dict.fromkeys(answers["system"]))
    named = isinstance(labels, list) and all(isinstance(label, str) for label in labels) and len(systems) == len(set(labels)) == len(labels)
    return dict(zip(systems, labels, strict=True)) if named else {}


def _changed(folder: Path, people: pd.DataFrame) -> dict:
    """The answers of people with one attribute changed, if they were asked and belong to these people."""
    if not (folder / CHANGES).is_file():
        return {}
    changes = read_answers_table(folder / CHANGES, CHANGE_COLUMNS, "ask again into another folder")
    if not set(changes["of"]) <= set(people["persona_id"]):
        raise InputError(f"{folder / CHANGES}: belongs to other people; move the answers of the changed people away, or ask them again")
    return {"changed_answers": load_answers(folder)[0], "changes": changes}


def _ask(options: argparse.Namespace, out: Path, questionnaire: Questionnaire, people: People) -> Path:
    """Ask everybody everything, then some of them again with one attribute changed. Returns the folder of the first."""
    try:
        plan = AskPlan(mode=options.mode, repeats=options.repeats, seed=options.seed, wanted=options.closed)
        budget = Budget(read_limits([options.max_requests, options.budget_usd, options.prices]))
    except ValueError as error:
        raise InputError(str(error)) from None
    systems = [replace(who, opened=cache(who.opened)) for who in who_answers(options.models, questionnaire, seed=options.seed, budget=budget)]
    changed, changes = changed_people(people.frame, count=options.changed, seed=options.seed)
    rows = (len(people.frame) + len(changed)) * len(questionnaire.items)
    print(f"{len(questionnaire.items)} questions and wordings, {len(people.frame):,} people, {len(changed):,} with one attribute changed: "
          f"{rows:,} answers of each model", flush=True)  # fmt: skip
    read = reading_lines(questionnaire, people)
    print(*read, sep="\n", end="\n" if read else "", flush=True)
    for address in dict.fromkeys(who.address for who in systems if who.address):
        print(f"{address} gets the cards of all these people and all questions")
    _asked(out / ASKED, questionnaire, people, systems, plan, said=read)
    if len(changed):
        _asked(out / CHANGED_FOLDER, questionnaire, replace(people, frame=changed), systems, plan, said=read)
        with replacing(out / CHANGED_FOLDER / CHANGES) as new:
            changes.to_parquet(new, index=False)
    return out / ASKED


def _asked(folder: Path, questionnaire: Questionnaire, people: People, systems: list[Who], plan: AskPlan, *, said: Sequence[str] = ()) -> None:
    """One folder of answers, as `ask` writes it; one that is there already goes on. `said`: lines that were printed before."""
    size = people_in_a_block(len(questionnaire.items) * plan.repeats)
    record = plan_of(questionnaire, people, systems, plan, size=size)
    open_folder(folder, record)
    answers = ask_systems(folder, questionnaire, people, systems, plan, size=size)
    told = {"systems": [who.label for who in systems], "addresses": [who.address for who in systems if who.address]}
    for line in write_output(folder, answers, questionnaire, people, record | told):
        if line not in said:
            print(line)


def _given(options: argparse.Namespace) -> tuple[Questionnaire, People]:
    """The questionnaire, with its paraphrases unless it is asked as one conversation, and the people. Raises InputError if something is missing."""
    questionnaire, people = _given_files(options)
    return with_paraphrases(questionnaire) if options.mode == "single" else questionnaire, people


def _given_files(options: argparse.Namespace) -> tuple[Questionnaire, People]:
    if not options.models:
        raise InputError("--models: name who answers, or give the folder of an earlier ask with --answers")
    if options.survey:
        survey = load_survey(options.survey)
        frame = survey_people(survey, count=options.sample, politics=options.politics, seed=options.seed)
        return survey_questionnaire(survey), People(frame=frame, source=f"{options.survey}, {len(frame)} respondents")
    if not options.questions or not options.people:
        raise InputError("--questions and --people: give both, or --survey NAME, or the folder of an earlier ask with --answers")
    questionnaire = read_questionnaire(options.questions, mapping=split_map(parse_map(options.map))[0])
    mapping = _people_map(options)
    if options.human and not options.people.startswith(CENSUS):  # both files share the map: an entry must be a column of one of them
        files = [column_names(Path(name)) for name in (options.people, options.human)]
        check_map(mapping, list(dict.fromkeys([*files[0], *files[1]])))
        mapping = {theirs: ours for theirs, ours in mapping.items() if theirs in files[0]}
    return questionnaire, people_of(options.people, questionnaire=questionnaire, mapping=mapping, seed=options.seed)


def _people_map(options: argparse.Namespace) -> dict[str, str]:
    """The part of --map that names columns of people."""
    return split_map(parse_map(options.map))[1]


def _descending(questionnaire: Questionnaire) -> list[str]:
    """A line on items whose options run from agreement to disagreement; it is printed, too."""
    ids = [item.id for item in questionnaire.items if getattr(item, "ordered", True) is not False and yes_first(item)]
    if not ids:
        return []
    named = ", ".join(map(quoted, ids[:6])) + ", ..." * (len(ids) > 6)
    where = f"{len(ids):,} of {len(questionnaire.items):,} items ({named})"
    line = f"options run from agreement to disagreement in {where}: the first counts as the lowest, so a high mean is disagreement"
    print(line)
    return [line]


@dataclass(frozen=True, kw_only=True)
class RealPeople:
    """`frame` and `answers`: as `humans` and `human_answers` of `Material`, None without any. `lines`: what was read of them, and who is paired."""

    frame: pd.DataFrame | None = None
    answers: dict | None = None
    lines: tuple[str, ...] = ()


def real_people(options: argparse.Namespace, questionnaire: Questionnaire, people: pd.DataFrame) -> RealPeople:
    """The real people of --human, of --survey, or the people themselves if their file holds answers; read, and told, before anybody is asked.

    Raises: InputError for a file that cannot be read, and for fewer than two people with an answer.
    """
    lines: list[str] = []
    if options.human:
        if not options.people or options.people.startswith(CENSUS):
            check_map(_people_map(options), column_names(Path(options.human)))
        given = read_people(options.human, questionnaire=questionnaire, mapping=_people_map(options), need_cards=False)
        humans, lines = given.frame, reading_lines(replace(questionnaire, notes=(), not_used=()), given, who="real people")
        if not humans["own_answers"].notna().any():
            raise InputError(
                f"--human {quoted(options.human, 80)}: no column is named as a question; the ids are {', '.join(list(questionnaire.bank)[:6])}, ..."
            )
    elif options.survey:
        humans = survey_people(load_survey(options.survey), politics=options.politics)
    else:
        humans = people
    asked = humans[humans["own_answers"].notna()].reset_index(drop=True)
    if asked.empty:
        return RealPeople()
    own = {p: json.loads(said) for p, said in zip(asked["persona_id"], asked["own_answers"], strict=True)}
    if items_with_options(questionnaire.items):
        real_panel(questionnaire.items, asked, own)
    if nothing := int((asked["weight"] == 0).sum()):
        lines.append(f"real people: {nothing:,} have the weight 0 and count nowhere")
    lines.append(_pairing(asked, people))
    print(*lines, sep="\n", flush=True)
    return RealPeople(frame=asked, answers=own, lines=tuple(lines))


def _pairing(asked: pd.DataFrame, people: pd.DataFrame) -> str:
    """How many of the real people are simulated, too."""
    both = int(asked["persona_id"].isin(people["persona_id"]).sum())
    said = f"real people: {len(asked):,} with answers, {both:,} of them simulated too (the same persona_id), {len(asked) - both:,} not"
    if not both:
        theirs, ours = (quoted(table["persona_id"].iloc[0]) for table in (asked, people))
        return f"{said}. Nobody is paired: theirs are called {theirs}, ..., the simulated {ours}, ..."
    if asked["weight"].notna().any() and people["weight"].isna().all():
        taken = with_weights(people, asked)["weight"].notna().all()
        alike = "have no weights and count alike: prediction-powered means hold only if they stand for the same population so"
        said += f". The simulated people {'take the weights of the real ones' if taken else alike}"
    return said


# --- the command ---------------------------------------------------------------------------------------------------------------------------------


def _say(pilot: Pilot, page: Path) -> None:
    """What the page says first."""
    pilot = pilot.labelled()
    for sentence in pilot.worth.values():
        print(printable(sentence))
    for row in pilot.findings.head(MOST_FINDINGS).itertuples():
        print(printable(one_line(f"- {row.question_id or 'whole questionnaire'}{f' ({row.system})' if row.system else ''}: {row.kind}: {row.text}")))
    if len(pilot.findings) > MOST_FINDINGS:
        print(f"- and {len(pilot.findings) - MOST_FINDINGS} more")
    print(f"report: {page}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m polypersona_lib pilot", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Try a questionnaire on simulated people and report on the instrument. Nothing leaves this machine unless server: is given.", epilog=_HELP,
    )  # fmt: skip
    add = parser.add_argument
    add("--questions", metavar="FILE", help="the questionnaire (as for ask)")
    add("--people", metavar="FILE|census:N", help="whom to simulate (as for ask)")
    add("--models", metavar="A,B", help="KEY, KEY--base, FOLDER, FILE.gguf, HUB_ID, server:URL#NAME, table:FILE")
    add("--answers", metavar="DIR", help="a folder that ask or an earlier pilot wrote, in place of the three above; nobody is asked")
    add("--survey", metavar="NAME", help="a survey of real people that is part of the project (nonvoters_2020, ces_2018), in place of files")
    add("--sample", type=int, default=200, metavar="N", help="of --survey: respondents who are simulated (default %(default)s)")
    add("--politics", action="store_true", help="of --survey: party and ideology stand on the cards")
    add("--human", metavar="FILE", help="real answers: a row a person, persona_id, weight, a column a question")
    add("--changed", type=int, default=CHANGED, metavar="N", help="people who are asked again with each attribute changed (default %(default)s)")
    add("--difference", type=float, default=0.1, metavar="D", help="the smallest difference to detect, as a share of the scale (default %(default)s)")
    add("--mode", choices=ASK_MODES, default="single", help="each question alone, or one conversation a person (default %(default)s)")
    add("--repeats", type=int, default=1, metavar="K", help="how many times everybody is asked (default %(default)s)")
    add("--closed", choices=WANTED, default="options", help="what closed questions give (default %(default)s)")
    add("--seed", type=int, default=DEFAULT_SEED, help="of all random numbers (default %(default)s)")
    add("--map", action="append", default=[], metavar="THEIRS=OURS", help="a column of the files under our name; may be given several times")
    add("--out", metavar="DIR", default="pilot", help="folder of the report (default %(default)s)")
    add_limits(parser)
    return parser


_HELP = """the folder holds pilot.html, tables/*.csv and the answers (ask/, ask_changed/).
columns that say more about an instrument: construct, key, battery, variant, negated,
  paraphrases. options: the lowest first. the same persona_id in --people and --human pairs real and simulated answers.
"""


def main(argv: list[str]) -> int:
    """The `pilot` command. Exit status 0, or 2 for bad usage or bad input."""
    return exit_status(_parser(), argv, _checked_report, stopped="stopped; what is whole is kept, and the same command goes on")


def _checked_report(options: argparse.Namespace) -> None:
    try:
        check_seed(options.seed)
    except ValueError as error:
        raise InputError(str(error)) from None
    if not 0 < options.difference < 1 or options.changed < 0 or options.sample < 1:
        raise InputError("--difference lies between 0 and 1; --changed is 0 or more; --sample is 1 or more")
    report_of(options)
