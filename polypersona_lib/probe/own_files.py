"""Files that a user brings to the probe: taken in if they can be read, kept below the run's results, and said in a few words. Nothing in them is believed."""

import re
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError, quoted, safe_line
from ..files import write_atomically
from ..intake.people_file import People, card_of_row, unread_answers
from ..intake.questionnaire_file import read_questionnaire
from ..intake.skip_rules import rules_of
from ..intake.survey_format import Questionnaire
from .questionnaire import safe_name

MOST_UPLOAD = 5 * 2**20  # bytes of a file that the browser brings; page.js holds the same number and refuses a larger file before it is sent
_ENDING = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")


def bring(folder: Path, name: str, content: bytes, read: Callable[[Path], object]) -> object:
    """Keep an uploaded file as the only one in `folder`, if `read` can read it. Returns what `read` gives.

    Raises: InputError for a file that is too large or has no ending, and what `read` raises; the earlier file then stays.
    """
    check_size(name, len(content))
    ending = _ENDING.search(name)
    if ending is None:
        raise InputError(f"{quoted(name)}: has no ending that says what it is, for example .csv, .json or .xlsx")
    plain = safe_name(name[: ending.start()]) + ending[0]
    trial = folder / "trial" / plain
    try:
        write_atomically(trial, content)
        taken = read(trial)
    finally:
        if trial.exists():
            trial.unlink()
    write_atomically(folder / plain, content)
    for earlier in kept_files(folder):
        if earlier.name != plain:
            earlier.unlink()
    return taken


def check_size(name: str, size: int) -> None:
    """Raises InputError for a file that the page does not take."""
    if size > MOST_UPLOAD:
        what = f"{size / 2**20:.1f} MB, and the page takes {MOST_UPLOAD // 2**20} MB"
        raise InputError(f"{quoted(name)}: {what}; larger files go through python -m polypersona_lib ask")


def kept_files(folder: Path) -> list[Path]:
    """The file in `folder` that was brought last; [] without one."""
    return sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))


def questions_of(path: Path) -> Questionnaire:
    """The questionnaire, whose conditions can be read. Raises InputError, or NotUnderstood for a condition."""
    questionnaire = read_questionnaire(path)
    rules_of(questionnaire.items)
    return questionnaire


def about_questions(questionnaire: Questionnaire) -> str:
    """What was read of the file, and what was not."""
    closed = sum(bool(item.options) for item in questionnaire.items)
    said = f"{safe_line(questionnaire.source)}: {len(questionnaire.items)} questions, {closed} of them with options"
    return "\n".join([said, *_notes(questionnaire)])


def about_people(people: People, questionnaire: Questionnaire | None) -> str:
    """What was read of the file, and what was not."""
    frame, worded = people.frame, described_people(people.frame)
    said = f"{safe_line(people.source)}: {len(frame):,} people" + (f", {worded:,} of them described in words" if worded else "")
    own = int(frame["own_answers"].notna().sum())
    lines = [said + (f"; {own:,} of them with answers of their own, which no model sees and which score compares with" if own else "")]
    if questionnaire and (wrong := unread_answers(people, questionnaire)):
        lines.append("own answers that are no option: " + ", ".join(f"{quoted(i)} {n:,} ({quoted(said, 30)})" for i, (n, said) in wrong.items()))
    return "\n".join([*lines, *_notes(people)])


def described_people(frame) -> int:
    """How many of the people (`PEOPLE_COLUMNS`) are described in words."""
    return sum(isinstance(card_of_row(card), str) for card in frame["card"])


def _notes(given: Questionnaire | People) -> list[str]:
    notes = [f"{note} ({count:,} x)" for note, count in given.notes[:8]] + [f"not used: {quoted(name)} ({why})" for name, why in given.not_used[:8]]
    more = len(given.notes) + len(given.not_used) - len(notes)
    return [*map(safe_line, notes), *([f"and {more} more"] if more else [])]


def in_short(error: ValueError) -> str:
    """An error of a reader in one line: its first problem, and how many more there are."""
    problems = getattr(error, "problems", [])
    more = f" (and {len(problems) - 1} more in this file)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}" if problems else str(error)
