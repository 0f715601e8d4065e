"""The files of `data/humans/` from the originals that their sources give: `python -m polypersona_lib.people.build_humans NAME ORIGINAL [--out FOLDER]`.

The originals are not part of the project. `sources.json` beside the files says of each where it comes from, under which licence, and both hashes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths
from ..errors import InputError, quoted
from ..files import file_hash, replacing, write_atomically
from ..survey.sheet import MISSING
from .human_items import human_items, survey_texts
from .human_surveys import WEIGHT
from .places import HOSPITAL_QUESTIONS, PLACE_TABLES, STATES, YEARS

_MOST_BYTES = 20_000_000  # of an original; the largest has 0.3 MB packed
_EMPTY = ("", "NA")  # how the originals write that a person was not asked; surveys also have codes (`not_said`)
HOSPITAL_RELEASE = "07_2023"
JOINT_COLUMNS, VOTE_PARTIES = ("state", "eth", "male", "age", "educ", "n"), ("dem", "rep")


def build(name: str, original: Path, out: Path) -> Path:
    """Write the project's file `name` from an original into `out`, and its entry in `sources.json`; returns the file.

    Raises: InputError, one line, for an unknown name and for a file that is not that original: unreadable, without a column, or with a value that the source
        does not document.
    """
    makers = {"state_votes": _votes, "census_joint": _joint, "hospitals_2023": _hospitals} | {
        survey: _survey for survey, text in survey_texts().items() if "attributes" in text
    }
    if name not in makers:
        raise InputError(f"unknown file {quoted(name)} (there are: {', '.join(makers)})")
    table = makers[name](name, original)
    path = out / f"{name}.parquet"
    with replacing(path) as beside:
        table.to_parquet(beside, index=False, compression="zstd")
    about = PLACE_TABLES.get(name) or survey_texts()[name]
    entry = {key: about[key] for key in ("title", "source", "licence", "weight")}
    known = json.loads((out / "sources.json").read_text(encoding="utf-8")) if (out / "sources.json").exists() else {}
    known[path.name] = entry | {"rows": len(table), "sha256": file_hash(path), "original": original.name, "original_sha256": file_hash(original)}
    write_atomically(out / "sources.json", json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    return path


def _read(original: Path, columns) -> pd.DataFrame:
    """The columns of a CSV file as text. Raises InputError for a file that is too large, no CSV, empty, or lacks a column."""
    if original.is_file() and original.stat().st_size > _MOST_BYTES:
        raise InputError(f"{original}: {original.stat().st_size:,} bytes, more than {_MOST_BYTES:,}: not the original")
    try:
        raw = pd.read_csv(original, dtype=str, keep_default_na=False, nrows=100_000)
    except OSError as error:
        raise InputError(f"{original}: cannot be read ({error.strerror or 'not packed as its name says'})") from None
    except (ValueError, EOFError, pd.errors.ParserError) as error:
        raise InputError(f"{original}: no CSV file ({quoted(error, 80)}); give the original named in data/humans/LICENSES.md") from None
    if lacking := [c for c in columns if c not in raw.columns]:
        raise InputError(f"{original}: lacks {len(lacking)} columns ({', '.join(lacking[:3])}); give the original named in data/humans/LICENSES.md")
    if raw.empty:
        raise InputError(f"{original}: no rows below the header")
    return raw


def _refuse(original: Path, column: str, values: pd.Series, bad: pd.Series) -> None:
    """Raises InputError naming the first value that must not be, if there is one."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"{original}:{row + 2}:{column}: {quoted(values.iloc[row])} is not a value of this column ({int(bad.sum())} such rows)")


def _numbers(original: Path, raw: pd.DataFrame, column: str, least: float, most: float) -> pd.Series:
    """A column of numbers within limits."""
    numbers = pd.to_numeric(raw[column], errors="coerce")
    _refuse(original, column, raw[column], ~numbers.between(least, most))
    return numbers


def _coded(original: Path, raw: pd.DataFrame, column: str, values: dict, not_said: Sequence[str] = ()) -> pd.Series:
    """A column's codes as what they stand for; None where a person did not say."""
    unsaid = raw[column].isin({*_EMPTY, *not_said} - set(values))
    _refuse(original, column, raw[column], ~(raw[column].isin(list(values)) | unsaid))
    return raw[column].map(values).astype(object).where(lambda said: said.notna(), None)


def _survey(name: str, original: Path) -> pd.DataFrame:
    """A survey's people: weight, attributes in words, events (True, False, None), then the option of each item (0 is the first, `MISSING` for none)."""
    text, items = survey_texts()[name], human_items(name)
    attributes, weight, unsaid = text["attributes"], text["weight_column"], text["not_said"]
    raw = _read(original, [weight, *(a["column"] for a in attributes.values()), *text["events"], *(i.column for i in items)])
    made = {WEIGHT: _numbers(original, raw, weight, 0, 1000).astype("float32")}
    for attribute, spec in attributes.items():
        made[attribute] = _age(original, raw, spec) if attribute == "age" else _coded(original, raw, spec["column"], spec["values"], unsaid)
    for event in text["events"]:
        made[event] = _coded(original, raw, event, {"1": True, "2": False}, unsaid).astype("boolean")
    for item in items:
        codes = {str(place + 1): place for place in range(len(item.options))}
        made[item.column] = _coded(original, raw, item.column, codes, unsaid).fillna(MISSING).astype("int8")
    return pd.DataFrame(made)


def _age(original: Path, raw: pd.DataFrame, spec: dict) -> pd.Series:
    """Age in years, also from a year of birth (`before`: the year of the survey)."""
    if "before" not in spec:
        return _numbers(original, raw, spec["column"], spec["least"], spec["most"]).astype("int16")
    year = spec["before"]
    return (year - _numbers(original, raw, spec["column"], year - spec["most"], year - spec["least"])).astype("int16")


def _votes(_name: str, original: Path) -> pd.DataFrame:
    """Votes of the two large parties: a row a state, columns state (name), dem_YEAR, rep_YEAR."""
    columns = [f"{party}_{year}" for year in YEARS for party in VOTE_PARTIES]
    raw = _read(original, ["st", *columns])
    _require_states(original, raw["st"], len(STATES))
    votes = {column: _numbers(original, raw, column, 1, 1e8).astype("int64") for column in columns}
    return pd.DataFrame({"state": raw["st"].map(STATES), **votes}).sort_values("state", ignore_index=True)


def _joint(_name: str, original: Path) -> pd.DataFrame:
    """Adults in each cell: state (name), race, gender, age, education, n."""
    raw = _read(original, JOINT_COLUMNS)
    _require_states(original, raw["state"].drop_duplicates(), len(STATES) - 1)
    words = {item.construct: (column, item.options) for item, column in zip(PLACE_TABLES["census_joint"]["items"], ("eth", "male", "age", "educ"), strict=True)}
    cells = {"state": raw["state"].map(STATES)}
    for attribute, (column, options) in words.items():
        cells[attribute] = _coded(original, raw, column, PLACE_TABLES["census_joint"]["codes"].get(attribute) or {o: o for o in options})
    return pd.DataFrame(cells | {"n": _numbers(original, raw, "n", 0, 1e8).astype("int32")})


def _hospitals(_name: str, original: Path) -> pd.DataFrame:
    """Per cent of patients by state (name) and measure who gave each answer, of one release: state, measure, bottom, middle, top."""
    boxes = {"bottom": "Bottom-box Percentage", "middle": "Middle-box Percentage", "top": "Top-box Percentage"}
    raw = _read(original, ["Release Period", "State", "Measure ID", *boxes.values()])
    raw = raw[(raw["Release Period"] == HOSPITAL_RELEASE) & raw["Measure ID"].isin(list(HOSPITAL_QUESTIONS))].reset_index(drop=True)
    _require_states(original, raw["State"].drop_duplicates(), len(STATES))
    shares = {box: _numbers(original, raw, column, 0, 100).astype("int8") for box, column in boxes.items()}
    return pd.DataFrame({"state": raw["State"].map(STATES), "measure": raw["Measure ID"], **shares}).sort_values(["state", "measure"], ignore_index=True)


def _require_states(original: Path, states: pd.Series, count: int) -> None:
    _refuse(original, states.name, states, ~states.isin(list(STATES)) | states.duplicated())
    if len(states) != count:
        raise InputError(f"{original}: {len(states)} states, not {count}")


def main(argv: list[str]) -> int:
    """Exit status 2 for a file that is not the original: one line says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib.people.build_humans", description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="which file: nonvoters_2020, ces_2018, state_votes, census_joint, hospitals_2023")
    parser.add_argument("original", type=Path, help="the original, a CSV file (also .gz)")
    parser.add_argument("--out", type=Path, default=paths.HUMANS, help="folder to write into (default: data/humans)")
    args = parser.parse_args(argv)
    try:
        path = build(args.name, args.original, args.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{path}: {path.stat().st_size:,} bytes, sha256 {file_hash(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
