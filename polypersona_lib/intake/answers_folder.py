"""The folder that `ask` writes, as `score` reads a file of predictions: one frame a system, the people's own answers as references."""

from pathlib import Path

import pandas as pd

from ..errors import InputError, one_line
from ..files import Unreadable, parquet_frame
from ..prompts.chat import render_card
from .people_file import card_of_row
from .questionnaire_file import read_questionnaire
from .survey_format import ANSWER_COLUMNS, PEOPLE_COLUMNS, Column, Questionnaire, shaped

WHOLE_FOLDER = ("answers.parquet", "people.parquet", "questionnaire.json")


def read_answers_table(path: Path, columns: tuple[Column, ...], remedy: str) -> pd.DataFrame:
    """A table that `ask` wrote, in its columns. Raises InputError for one that is damaged or too large, saying `remedy`."""
    try:
        return shaped(parquet_frame(path), columns)
    except (Unreadable, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)[:120]}); {remedy}") from None


def load_answers(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame, Questionnaire]:
    """(answers, people, questionnaire) of a folder. Raises InputError for a folder that is no whole run, or damaged."""
    folder = Path(folder)
    if missing := [name for name in WHOLE_FOLDER if not (folder / name).is_file()]:
        raise InputError(f"{folder}: lacks {', '.join(missing)}; name a folder that the command ask has finished")
    kinds = zip(WHOLE_FOLDER, (ANSWER_COLUMNS, PEOPLE_COLUMNS), strict=False)
    answers, people = (read_answers_table(folder / name, columns, "run ask again into a new folder") for name, columns in kinds)
    questionnaire = read_questionnaire(folder / WHOLE_FOLDER[2])
    if not set(answers["question_id"]) <= questionnaire.bank.keys() or not set(answers["persona_id"]) <= set(people["persona_id"]):
        raise InputError(f"{folder}: has answers to questions, or of people, that are not in it; run ask again into a new folder")
    return answers, people, questionnaire


def read_answers_folder(folder: str | Path) -> dict[str, pd.DataFrame]:
    """System ("FOLDER: system") -> rows as `predictions_file.read_predictions` gives them. Rows without the person's own answer are counted in the notes.

    Raises: InputError if no answer has a reference: then there is nothing to score.
    """
    answers, people, questionnaire = load_answers(folder)
    known, cards, bank = answers[answers["reference"].notna()], people.set_index("persona_id")["card"].map(card_of_row), questionnaire.bank
    if known.empty:
        raise InputError(f"{folder}: no person's own answer is known, so there is nothing to compare with; give the people file columns that are named as "
                         "questions, or report on the questionnaire with pilot")  # fmt: skip
    return {f"{folder}: {system}": _frame(rows, cards, bank, len(answers[answers["system"] == system])) for system, rows in known.groupby("system", sort=False)}


def _frame(rows: pd.DataFrame, cards: pd.Series, bank: dict, count: int) -> pd.DataFrame:
    """The rows of one system as predictions; skipped ones are left out."""
    kept = rows[rows["status"] != "skipped"]
    items = [bank[i] for i in kept["question_id"]]
    answers = kept["answer"].astype(object).where(kept["answer"].notna(), "")
    options = pd.Series([list(item.options) or None for item in items], dtype=object)
    frame = pd.DataFrame({
        "id": kept["id"].to_numpy(), "prediction": answers.to_numpy(), "reference": kept["reference"].to_numpy(),
        "persona": [render_card(cards[p]) for p in kept["persona_id"]], "persona_id": kept["persona_id"].to_numpy(), "domain": [item.domain for item in items],
        "question": [item.text for item in items], "question_id": kept["question_id"].to_numpy(), "question_type": [item.type for item in items],
        "status": ["failed" if not a.strip() else "ok" for a in answers], "options": options.to_numpy(),
    }, dtype=object)  # fmt: skip
    left_out = {"rows without the person's own answer left out": count - len(rows), "rows that were skipped by a condition left out": len(rows) - len(kept)}
    frame.attrs.update(unused=[], notes={note: n for note, n in left_out.items() if n})
    return frame
