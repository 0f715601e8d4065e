"""The second ledger: no study, no verdict; a known study, known verdicts; a baseline that does it too makes a claim trivial."""

import copy
import json

import pytest

from polypersona_lib import paths
from polypersona_lib.claims import catch_ledger
from polypersona_lib.claims.evidence import CLOSE, NEEDS_DATA, NOT_REPRODUCED, REPRODUCED, TRIVIAL, UNTESTED, VERDICTS
from polypersona_lib.config import RunConfig

AS_THE_PAPER_SAYS = {
    "simulator": "some-model", "generator": "some-model", "simulators": ["some-model", "other"], "people": 200, "gates_failed": [],
    "meta_best": {"2016": 1.0, "2020": 0.99, "2024": 0.98}, "trend_falls": {"2016": "holds", "2020": "holds", "2024": "holds"},
    "drift": {year: {"change": 0.1, "rises": 1.0, "holds": "rises", "step": "meta > descriptive"} for year in ("2016", "2020", "2024")},
    "sweep": {"meta": [20, 50], "descriptive": [50, 50]},
    "tone": {m: {"trend": "holds", "means": {"meta": 0.1, "descriptive": 0.5, "template": 0.1}} for m in ("polarity", "subjectivity")},
    "hardship": {"people": 0.478, "descriptive": 0.01, "template": 0.0},
    "words": {"descriptive": {"love": 0.6, "proud": 0.4, "family": 0.8, "community": 0.9, "education": 0.1, "heritage": 0.1},
              "template": dict.fromkeys(("love", "proud", "family", "community"), 0.0)},
    "grid": {"variance": 0.01, "lo": 0.004, "hi": 0.02, "n": 100.0, "generators": 3.0, "simulators": 2.0},
}  # fmt: skip
MEASURABLE = ["catch-01", "catch-02", "catch-03", "catch-04", "catch-06", "catch-07", "catch-10"]


def verdicts(evidence) -> dict[str, str]:
    return catch_ledger.judge_catch(evidence).set_index("id")["verdict"].to_dict()


def changed(**parts):
    return copy.deepcopy(AS_THE_PAPER_SAYS) | parts


def test_without_a_study_nothing_is_decided():
    for evidence in (None, changed(simulator=catch_ledger.PLANTED_WORLD)):
        found = verdicts(evidence)
        assert {found[i] for i in MEASURABLE} == {UNTESTED} and found["catch-11"] == NEEDS_DATA and len(found) == 11


def test_a_study_as_the_paper_says_and_one_that_says_otherwise():
    found = verdicts(AS_THE_PAPER_SAYS)
    assert {found[i] for i in MEASURABLE} == {REPRODUCED}
    assert {found[i] for i in ("catch-05", "catch-08", "catch-09")} == {UNTESTED} and set(found.values()) <= set(VERDICTS)
    steps = {year: {"change": -0.1, "rises": 0.0} for year in ("2016", "2020", "2024")}
    other = changed(meta_best={"2016": 1.0, "2020": 0.0, "2024": 1.0}, trend_falls={"2016": "fails", "2020": "open", "2024": "holds"}, drift=steps,
                    sweep={"meta": [50, 50], "descriptive": [49, 50]}, grid=AS_THE_PAPER_SAYS["grid"] | {"lo": -0.02, "hi": -0.01},
                    hardship={"people": 0.478, "descriptive": 0.4, "template": 0.0})  # fmt: skip
    other["tone"]["polarity"]["trend"] = "fails"
    assert {verdicts(other)[i] for i in MEASURABLE} == {NOT_REPRODUCED}


def test_what_is_open_stays_open():
    shaky = changed(meta_best={"2016": 0.6}, trend_falls={"2016": "open"}, drift={y: {"change": 0.01, "rises": 0.7} for y in ("2016", "2020")},
                    grid=AS_THE_PAPER_SAYS["grid"] | {"lo": -0.01})  # fmt: skip
    found = verdicts(shaky)
    assert {found[i] for i in ("catch-01", "catch-02", "catch-04", "catch-10")} == {CLOSE}
    one_model = catch_ledger.judge_catch(changed(grid=AS_THE_PAPER_SAYS["grid"] | {"sign_holds": 0.0})).set_index("id").loc["catch-10"]
    assert one_model["verdict"] == CLOSE and "which is larger depends on which models are compared" in one_model["reason"]
    silent = catch_ledger.judge_catch(changed(grid=None, left_out={"m1": 0.0, "m2": 0.4})).set_index("id").loc["catch-10"]
    assert silent["verdict"] == UNTESTED and "too little of their probability lies on the options of the vote: m1, m2" in silent["reason"]


def test_what_a_baseline_does_too_is_trivial():
    bare = changed(sweep={"meta": [50, 50], "descriptive": [50, 50]})
    bare["words"]["template"] = dict.fromkeys(("love", "proud", "family", "community"), 0.9)
    bare["tone"]["subjectivity"]["means"]["template"] = 0.6
    assert {verdicts(bare)[i] for i in ("catch-03", "catch-06", "catch-07")} == {TRIVIAL}
    lacking = changed(grid=None, sweep={"meta": [50, 50]}, words={})
    assert {verdicts(lacking)[i] for i in ("catch-03", "catch-07", "catch-10")} == {UNTESTED}


def test_reasons_name_the_simulator_and_its_failed_gates():
    table = catch_ledger.judge_catch(changed(gates_failed=["known groups"])).set_index("id")
    assert "fails 1 gates (known groups)" in table.loc["catch-03", "reason"] and "some-model, 200 people" in table.loc["catch-03", "reason"]
    assert all(table[c].str.strip().all() for c in ("ours", "verdict", "reason", "basis", "how", "note"))


def test_no_number_of_the_digest_stands_in_the_ledger():
    """Directions and order only: the digest's "above .7" and "below .6" are not known to be the paper's."""
    text = catch_ledger.CATCH_CLAIMS.read_text(encoding="utf-8")
    assert "catch-12" not in text and not any(number in text for number in ("0.7", ".7 ", "0.6", ".6 "))


@pytest.mark.parametrize("place", ["own", "beside", "nowhere"])
def test_the_study_is_found_where_it_lies(tmp_path, monkeypatch, place):
    monkeypatch.setattr(paths, "ROOT", tmp_path / "nothing")
    run = RunConfig(profile="nano", out=str(tmp_path))
    folder = {"own": run.paths.results, "beside": tmp_path / "results" / "bias"}.get(place)
    if folder:
        (folder / "bias").mkdir(parents=True)
        (folder / "bias" / "bias.json").write_text(json.dumps(AS_THE_PAPER_SAYS), encoding="utf-8")
    found = catch_ledger.bias_evidence(run)
    assert (found or {}).get("simulator") == ("some-model" if folder else None)
