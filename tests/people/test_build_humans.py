"""The files of `data/humans/` from originals: made again they are the same, and a file that is not the original is refused with one line."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.errors import InputError
from polypersona_lib.people import build_humans
from polypersona_lib.people.human_items import human_items, survey_texts
from polypersona_lib.people.places import STATES, YEARS

REFERENCE = os.environ.get("POLYPERSONA_REFERENCE")


def original(name: str, rows: int = 4) -> pd.DataFrame:
    """A made-up original of a survey: every person gives the first documented answer; the last skips what can be skipped."""
    text = survey_texts()[name]
    frame = {text["weight_column"]: ["1.5"] * rows}
    for spec in text["attributes"].values():
        first = next(iter(spec["values"])) if "values" in spec else str(spec["before"] - 30) if "before" in spec else "60"
        frame[spec["column"]] = [first] * rows
    frame |= {event: ["1"] * (rows - 1) + [text["not_said"][0]] for event in text["events"]}
    frame |= {item.column: ["2"] * (rows - 1) + [text["not_said"][0]] for item in human_items(name)}
    return pd.DataFrame(frame)


def votes() -> pd.DataFrame:
    return pd.DataFrame({"st": list(STATES)} | {f"{p}_{y}": [1000 + i for i in range(51)] for y in YEARS for p in ("dem", "rep")})


def saved(frame: pd.DataFrame, folder: Path, name="original.csv") -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


@pytest.mark.parametrize("name", ["nonvoters_2020", "ces_2018"])
def test_a_survey_is_built_with_its_missing_answers(name, tmp_path):
    path = build_humans.build(name, saved(original(name), tmp_path), tmp_path)
    built, columns = pd.read_parquet(path), [item.column for item in human_items(name)]
    assert (built[columns].iloc[:3] == 1).all().all() and (built[columns].iloc[3] == -1).all() and (built["weight"] == 1.5).all()
    assert built["age"].eq(30 if name == "ces_2018" else 60).all() and built[list(survey_texts()[name]["events"])].iloc[3].isna().all()
    entry = json.loads((tmp_path / "sources.json").read_text(encoding="utf-8"))[path.name]
    assert entry["rows"] == 4 and entry["licence"] == survey_texts()[name]["licence"] and entry["original"] == "original.csv"


def test_states_are_built_and_must_all_be_there(tmp_path):
    built = pd.read_parquet(build_humans.build("state_votes", saved(votes(), tmp_path), tmp_path))
    assert len(built) == 51 and built["state"].is_monotonic_increasing and built.set_index("state").loc["Alabama", "dem_2016"] == 1000
    twice = pd.concat([votes(), votes().head(1)])
    for broken, message in (
        (votes().iloc[:50], "50 states, not 51"), (twice, ":53:st: 'AL' is not a value of this column"),
        (votes().assign(st=["ZZ", *list(STATES)[1:]]), ":2:st: 'ZZ' is not a value"), (votes().assign(dem_2020="many"), ":2:dem_2020: 'many'"),
        (votes().drop(columns="rep_2024"), r"lacks 1 columns \(rep_2024\)"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            build_humans.build("state_votes", saved(broken, tmp_path), tmp_path)


def change(column, value):
    return lambda frame: frame.assign(**{column: [value, *frame[column].iloc[1:]]})


@pytest.mark.parametrize(("edit", "message"), [
    (change("Q2_1", "7"), r"original.csv:2:Q2_1: '7' is not a value of this column \(1 such rows\)"), (change("ppage", "old"), ":2:ppage: 'old'"),
    (change("weight", "-1"), ":2:weight: '-1'"), (change("weight", "nan"), ":2:weight: 'nan'"), (change("educ", "\x1b[31m\u202edegree"), "'.x1b"),
    (lambda frame: frame.iloc[:0], "no rows below the header"), (lambda frame: frame.drop(columns=["Q9_1", "race"]), r"lacks 2 columns \(race, Q9_1\)"),
])  # fmt: skip
def test_a_wrong_table_is_refused_with_one_line(edit, message, tmp_path, capsys):
    path = saved(edit(original("nonvoters_2020")), tmp_path)
    assert build_humans.main(["nonvoters_2020", str(path), "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "\x1b" not in said and not list(tmp_path.glob("*.parquet"))
    with pytest.raises(InputError, match=message):
        build_humans.build("nonvoters_2020", path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe" * 50, b'{"a": 1}', b"PK\x03\x04 no csv", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9]])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_file_that_is_no_table_is_refused_with_one_line(content, name, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert build_humans.main(["census_joint", str(tmp_path / name), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.glob("*.parquet"))


def test_what_is_not_there_or_too_large_is_named(tmp_path, monkeypatch, capsys):
    for given in (tmp_path / "none.csv", tmp_path):
        assert build_humans.main(["ces_2018", str(given), "--out", str(tmp_path)]) == 2
    assert build_humans.main(["gss", str(tmp_path / "none.csv")]) == 2
    assert "unknown file 'gss' (there are: state_votes, census_joint, hospitals_2023, nonvoters_2020, ces_2018)" in capsys.readouterr().err
    monkeypatch.setattr(build_humans, "_MOST_BYTES", 100)
    with pytest.raises(InputError, match="more than 100: not the original"):
        build_humans.build("nonvoters_2020", saved(original("nonvoters_2020"), tmp_path), tmp_path)


@pytest.mark.skipif(not REFERENCE, reason="POLYPERSONA_REFERENCE is unset: the originals are not at hand")
@pytest.mark.parametrize(("name", "given"), [
    ("nonvoters_2020", "../humans/nonvoters_2020.csv.gz"), ("ces_2018", "../humans/ces_2018_sample.csv.gz"),
    ("state_votes", "elections/state_two_party_2016_2020_2024.csv"), ("census_joint", "census/poststrat_df.csv.gz"),
])  # fmt: skip
def test_the_shipped_files_are_those_that_the_originals_give(name, given, tmp_path):
    path = build_humans.build(name, Path(REFERENCE) / given, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(paths.HUMANS / path.name))
    shipped, again = (json.loads((folder / "sources.json").read_text(encoding="utf-8"))[path.name] for folder in (paths.HUMANS, tmp_path))
    assert shipped["original_sha256"] == again["original_sha256"] and np.isclose(shipped["rows"], again["rows"])


def test_hospitals_are_one_release_of_every_state(tmp_path):
    rows = [(period, state, measure, 10, 20, 70) for period in ("07_2022", "07_2023") for state in STATES for measure in ("H_COMP_1", "H_RECMND")]
    columns = ["Release Period", "State", "Measure ID", "Bottom-box Percentage", "Middle-box Percentage", "Top-box Percentage"]
    frame = pd.DataFrame(rows, columns=columns)
    built = pd.read_parquet(build_humans.build("hospitals_2023", saved(frame, tmp_path), tmp_path))
    assert len(built) == 51 and set(built["measure"]) == {"H_COMP_1"} and built["top"].eq(70).all(), "other measures and releases are left out"
    for broken, message in ((frame[frame["State"] != "AL"], "50 states, not 51"), (frame.assign(**{columns[3]: 120}), ":2:Bottom-box Percentage: '120'")):
        with pytest.raises(InputError, match=message):
            build_humans.build("hospitals_2023", saved(broken, tmp_path), tmp_path)
