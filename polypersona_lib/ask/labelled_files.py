"""Answers as other programs want them: one row a person, one variable an item, with labels. SPSS (.sav, by pyreadstat), and CSV for R and spreadsheets."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import csv_text, replacing, write_atomically
from ..intake.survey_format import ONE_OPTION_KINDS, Item, Questionnaire

_RESERVED = {"all", "and", "by", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "to", "with"}  # words that SPSS keeps for itself
_HEAD = ("persona_id", "system", "repeat")
LABEL_BYTES, VALUE_BYTES, TEXT_BYTES = 250, 120, 8_000  # the longest variable label, value label and text of an SPSS file that every version reads


def variable_names(wanted: Sequence[str]) -> dict[str, str]:
    """Name -> variable: letters, digits and _, a letter first, at most 60 characters, different whatever the case, no reserved word of SPSS."""
    names, taken = {}, {*_HEAD, "weight"}
    for name in wanted:
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:56] or "item"
        plain = plain if plain[0].isalpha() and plain.casefold() not in _RESERVED else f"v_{plain}"
        unique, number = plain, 2
        while unique.casefold() in taken:
            unique, number = f"{plain}_{number}", number + 1
        taken.add(unique.casefold())
        names[name] = unique
    return names


def item_variables(item: Item) -> list[str]:
    """What the variables of an item are called for people: its id, or of several choices and rankings id and option ("q1 = 2"), which no id is."""
    return [f"{item.id} = {code}" for code in item.codes] if item.kind in ("multiple", "ranking") else [item.id]


def questionnaire_variables(questionnaire: Questionnaire) -> dict[str, str]:
    """What each variable of a questionnaire is called for people (`item_variables`) -> its name in the file."""
    return variable_names([name for item in questionnaire.items for name in item_variables(item)])


def option_values(item: Item) -> list[float]:
    """The number of each option in the file: its own code if those of all answers in substance are whole numbers, else 1, 2, ...

    "Don't know" and its like have the numbers behind the largest, unless their codes are whole numbers too.
    """
    whole = [bool(re.fullmatch(r"-?\d{1,9}", code)) for code in item.codes]
    if not all(is_whole or kind for is_whole, kind in zip(whole, item.option_kinds, strict=True)) or not any(whole):
        return [float(i) for i in range(1, len(item.codes) + 1)]
    values, behind = [], max(int(code) for code, is_whole in zip(item.codes, whole, strict=True) if is_whole)
    for code, is_whole in zip(item.codes, whole, strict=True):
        behind += not is_whole
        values.append(float(code) if is_whole else float(behind))
    return values


def missing_ranges(item: Item) -> tuple[list[dict], list[str]]:
    """(user-missing values of an item, labels for which there was no room). SPSS takes three values, or a range and a value: the range may hold no answer."""
    values = dict(zip(option_values(item), zip(item.option_kinds, item.labels, strict=True), strict=True))
    gone = sorted(value for value, (kind, _) in values.items() if kind)
    if len(gone) <= 3:
        return [{"lo": value, "hi": value} for value in gone], []
    runs = [[]]
    for value in sorted(values):
        if values[value][0]:
            runs[-1].append(value)
        elif runs[-1]:
            runs.append([])
    longest, *others = sorted(filter(None, runs), key=len, reverse=True)
    if len(longest) < 3:  # three values are more than a range of two and a value, or as many
        return [{"lo": value, "hi": value} for value in gone[:3]], [values[value][1] for value in gone[3:]]
    rest = [value for run in others for value in run]
    ranges = [{"lo": longest[0], "hi": longest[-1]}, *({"lo": value, "hi": value} for value in rest[:1])]
    return ranges, [values[value][1] for value in rest[1:]]


def wide_table(answers: pd.DataFrame, questionnaire: Questionnaire, *, labels: bool) -> pd.DataFrame:
    """One row a person, system and repetition: the columns of `_HEAD`, then the variables of each item (`questionnaire_variables`).

    Args: labels: options as texts (for R), else as numbers. Several choices: 1 named, 0 not. Rankings: the rank from 1. Missing answers are NaN or None.
    """
    rows = answers[list(_HEAD)].drop_duplicates().reset_index(drop=True)
    place = {key: i for i, key in enumerate(rows.itertuples(index=False, name=None))}
    columns, variables = {}, questionnaire_variables(questionnaire)
    by_item = dict(list(answers.groupby("question_id", sort=False)))
    for item in questionnaire.items:
        names = item_variables(item)
        text = item.kind == "open" or (labels and item.kind in ONE_OPTION_KINDS)
        cells = {name: np.full(len(rows), None if text else np.nan, dtype=object if text else float) for name in names}
        for answer in by_item[item.id].itertuples(index=False) if item.id in by_item else ():
            for name, value in zip(names, _values(item, answer, labels), strict=True):
                cells[name][place[answer.persona_id, answer.system, answer.repeat]] = value
        columns |= {variables[name]: values for name, values in cells.items()}
    return pd.concat([rows, pd.DataFrame(columns, index=rows.index)], axis=1)


def _values(item: Item, answer, labels: bool) -> list:
    """What one answer puts into the item's variables."""
    if item.kind in ("multiple", "ranking"):
        if answer.chosen is None:
            return [np.nan] * len(item.labels)
        chosen = [int(i) for i in answer.chosen]
        if item.kind == "multiple":
            return [float(i in chosen) for i in range(len(item.labels))]
        return [float(chosen.index(i) + 1) if i in chosen else np.nan for i in range(len(item.labels))]
    if item.kind == "number":
        return [answer.value]
    if item.kind == "open":
        return [None if pd.isna(answer.answer) else answer.answer]
    if pd.isna(answer.option):
        return [None if labels else np.nan]
    return [item.labels[int(answer.option)] if labels else option_values(item)[int(answer.option)]]


def write_sav(path: Path, answers: pd.DataFrame, questionnaire: Questionnaire, weights: Mapping[str, float]) -> dict:
    """Write an SPSS file with variable labels, value labels and user-missing values for "don't know" and "refused".

    Returns: {"variables": item, or "item = option" -> variable, "cut": how many labels and texts were too long, "not_missing": item -> labels of options
    that are no answers in substance and valid in the file all the same}.
    """
    import pyreadstat

    table, cut = wide_table(answers, questionnaire, labels=False), 0
    names = questionnaire_variables(questionnaire)
    column_labels = {"persona_id": "Person", "system": "Who answered (simulated)", "repeat": "Repetition"}
    value_labels, missing, measures, not_missing = {}, {}, {}, {}
    for item in questionnaire.items:
        for number, name in enumerate(item_variables(item)):
            text = item.text if name == item.id else f"{item.text} [{item.labels[number]}]"
            column_labels[names[name]], short = _cut(text, LABEL_BYTES)
            cut += short
            measures[names[name]] = "nominal" if item.kind in ("multiple", "open") or not item.ordered else "scale" if item.kind == "number" else "ordinal"
        if item.options:
            pairs = [(_cut(label, VALUE_BYTES), value) for label, value in zip(item.labels, option_values(item), strict=True)]
            value_labels[names[item.id]] = {value: label for (label, _), value in pairs}
            cut += sum(short for (_, short), _ in pairs)
            ranges, left = missing_ranges(item)
            missing |= {names[item.id]: ranges} if ranges else {}
            not_missing |= {item.id: left} if left else {}
        elif item.kind == "multiple":
            value_labels |= {names[n]: {0.0: "not named", 1.0: "named"} for n in item_variables(item)}
    for column in [names[item.id] for item in questionnaire.items if item.kind == "open"]:
        texts = [_cut(str(v), TEXT_BYTES) if isinstance(v, str) else ("", 0) for v in table[column]]
        table[column], cut = [text for text, _ in texts], cut + sum(short for _, short in texts)
    table = table.assign(repeat=table["repeat"].astype(float), persona_id=table["persona_id"].astype(str), system=table["system"].astype(str))
    if weights:
        table["weight"] = table["persona_id"].map(weights).astype(float)
        column_labels["weight"] = "Weight of the person"
    with replacing(path) as new:
        pyreadstat.write_sav(
            table,
            new,
            file_label="Simulated answers",
            column_labels=column_labels,
            variable_value_labels=value_labels,
            missing_ranges=missing,
            variable_measure=measures,
        )
    return {"variables": names, "cut": cut, "not_missing": not_missing}


def _cut(text: str, most: int) -> tuple[str, int]:
    """The text with at most so many bytes of UTF-8, no letter halved; and 1 if it was longer."""
    data = text.encode("utf-8", "replace")
    return (text, 0) if len(data) <= most else (data[:most].decode("utf-8", "ignore"), 1)


def spreadsheet(frame: pd.DataFrame, *, missing: str = "") -> str:
    """A frame as CSV that a spreadsheet may open: no cell and no column name is a formula; lists are texts with | between their parts."""

    def cell(value):
        if isinstance(value, list | tuple | np.ndarray):
            return csv_text("|".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value))
        return csv_text(value) if isinstance(value, str) else value

    safe = pd.DataFrame({csv_text(str(name)): [cell(v) for v in column] for name, column in frame.items()})
    return safe.to_csv(index=False, lineterminator="\n", na_rep=missing)


def write_r_csv(path: Path, answers: pd.DataFrame, questionnaire: Questionnaire) -> None:
    """The wide table with labels as texts and NA for missing: `read.csv("answers_wide.csv", stringsAsFactors = TRUE)` in R."""
    table = wide_table(answers, questionnaire, labels=True)
    write_atomically(path, spreadsheet(table, missing="NA"))
