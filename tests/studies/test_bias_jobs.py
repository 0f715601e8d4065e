"""The bias study as jobs: people that fit the time, files that are whole, nothing asked twice; and what a planted world says in words."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import locate
from polypersona_lib.config import RunConfig
from polypersona_lib.errors import InputError
from polypersona_lib.studies.bias import findings, item_bank, jobs, plan, tier_effects
from polypersona_lib.studies.bias.plan import BOUNDS, StudyPlan, plan_for, study_people
from polypersona_lib.studies.bias.planted import PLANTED


@pytest.fixture
def planted_run(tmp_path, monkeypatch):
    """A smoke run whose only model is the planted world."""
    monkeypatch.setattr(jobs, "cast", lambda run: ([PLANTED, jobs.NO_MODEL], [PLANTED]))
    monkeypatch.setattr(jobs, "SMOKE_PLAN", StudyPlan(elections=25, opinions=5, grid=5, respondents=6, gates=4))
    return RunConfig(profile="smoke", out=str(tmp_path))


def test_the_plan_fills_the_time():
    """Known speed, known n: an answer of .05 s leaves room for more people than one of .5 s; nothing goes below its bound."""
    fast, slow, hopeless = (plan_for(s, 6, 2) for s in (0.05, 0.3, 30.0))
    assert fast.elections > slow.elections >= BOUNDS["elections"][0] and all(n % 25 == 0 for n in (fast.elections, fast.opinions, fast.grid))
    assert fast.minutes <= plan.MINUTES * 1.01 and hopeless == StudyPlan(50, 25, 25, 25, seconds=30.0, minutes=hopeless.minutes) and hopeless.minutes > 1000
    assert plan_for(1e-9, 1, 1).elections == BOUNDS["elections"][1] and fast.opinions <= fast.elections and fast.grid <= fast.elections
    writes = plan_for(0.05, 6, 2, writing=4.0, writers=2)
    assert writes.elections < fast.elections and writes.grid < fast.grid and writes.respondents == fast.respondents, "cards take their part of the time"
    assert writes.minutes <= plan.MINUTES * 1.01
    assert "n: 50 people" in "\n".join(plan.plan_lines(hopeless, ["a"], ["b"]))


def test_a_variable_gives_the_study_more_minutes_and_a_wrong_one_is_one_line(monkeypatch):
    assert plan.minutes_of_asking() == plan.MINUTES
    monkeypatch.setenv(plan.MINUTES_SET, " 60 ")
    assert plan.minutes_of_asking() == 60 and plan_for(0.3, 6, 2, minutes=60).respondents > plan_for(0.3, 6, 2).respondents
    for wrong in ("an hour", "0", "nan", "inf", "1e9"):
        monkeypatch.setenv(plan.MINUTES_SET, wrong)
        with pytest.raises(InputError, match=f"POLYPERSONA_MINUTES='?{wrong}'?: give the minutes"):
            plan.minutes_of_asking()


def test_people_come_from_every_state_before_any_state_has_two():
    people = study_people(100, seed=3)
    assert people["state"].iloc[:50].nunique() == 50 and (people["state"].value_counts() == 2).all()
    pd.testing.assert_frame_equal(people.iloc[:30], study_people(30, seed=3))


def test_a_stopped_run_goes_on_and_a_finished_one_asks_nothing(planted_run):
    study = jobs.BiasStudy(planted_run)
    real, calls = jobs.simulation.ask_cards, []

    def stops(answerer, cards, items):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(answerer, cards, items)

    jobs.simulation.ask_cards = stops
    try:
        with pytest.raises(KeyboardInterrupt):
            study.gather()
    finally:
        jobs.simulation.ask_cards = real
    assert not [p for p in study.folder.rglob("*") if p.is_file() and p.name.startswith(".")], "no half file"
    again = jobs.BiasStudy(planted_run)
    first = again.gather()
    assert again.kept >= 4 and again.asked > 0
    third = jobs.BiasStudy(planted_run)
    second = third.gather()
    assert third.asked == 0
    pd.testing.assert_frame_equal(first.frames["answers"], second.frames["answers"])
    some = next(study.folder.glob("answers/*--meta--*.parquet"))
    whole = pd.read_parquet(some)
    whole.attrs = {"mark": "of other weights"}
    whole.to_parquet(some)
    other = jobs.BiasStudy(planted_run)
    other.gather()
    assert other.asked == 1, "a job of other weights is done anew"


def test_the_planted_world_in_tables_and_words(planted_run, capsys):
    """What was put in (.1 to the left for narratives, .2 for parties, a tenth for the first option) stands in tables, in the five sentences and in the file."""
    made = findings.bias_study(planted_run)
    assert "n: 25 people in the elections" in capsys.readouterr().out
    tiers = made.tables["differences"].set_index(["family", "tier"])
    assert tiers.loc[("elections", "descriptive"), "mean"] == pytest.approx(0.09, abs=0.05) and tiers.loc[("elections", "template"), "lost"] == 0
    groups = made.tables["groups"].set_index("tier")
    assert groups.loc["real_politics", "gap"] == pytest.approx(0.36, abs=0.1)
    said = findings.five_sentences(made)
    assert (
        len(said) == 5 and all(any(c.isdigit() for c in s) for s in said[:4]) and "gates failed" in said[0] and "moves the same people to the left" in said[2]
    )
    assert f"{tiers.loc[('elections', 'descriptive'), 'mean']:+.3f}" in said[2] and "not tested" in said[4], "one simulator is no grid"
    stored = json.loads((made.folder / "bias.json").read_text(encoding="utf-8"))
    assert stored["simulator"] == PLANTED and set(stored["trend_falls"]) == {"2016", "2020", "2024"} and stored["people"] == 25
    assert {p.stem for p in (made.folder / "tables").glob("*.csv")} == {f"bias_{name}" for name in made.tables}
    read = plan.load_gathered(made.folder / "study")
    again = findings.tables_of(read)
    assert plan.load_gathered(locate.find_study(planted_run)).simulators == (PLANTED,), "the run's own study comes before a published one"
    for name in ("elections", "tone", "pairs", "respondents"):
        pd.testing.assert_frame_equal(made.tables[name], again[name], check_dtype=False)
    respondents = made.tables["respondents"].set_index("system")
    assert respondents.loc["uniform", "alignment"] < respondents.loc["100 people", "alignment"] and respondents.loc[PLANTED, "missing"] == 0


def test_a_world_without_any_effect_says_so(planted_run, monkeypatch):
    from polypersona_lib.studies.bias.item_bank import bank
    from polypersona_lib.studies.bias.planted import PlantedAnswerer, story_of

    monkeypatch.setattr(jobs, "planted_world", lambda: PlantedAnswerer(list(bank().values()), share=0.6, story=story_of, name=PLANTED))
    said = findings.five_sentences(findings.bias_study(planted_run))
    assert "no difference between a narrative and the census card: +0.000" in said[2].replace("-0.000", "+0.000")
    assert "50 of" in said[1] or "25 of 25 states vote Democratic" in said[1]


def test_without_a_study_a_planted_world_stands_in_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "SMOKE_PLAN", StudyPlan(elections=25, opinions=5, grid=5, respondents=6, gates=4))
    monkeypatch.setattr(locate.paths, "ROOT", tmp_path)
    made = findings.bias_study(RunConfig(profile="nano", out=str(tmp_path)))
    said = capsys.readouterr().out
    assert made.main == (PLANTED, PLANTED) and "run ./run_all.sh bias: until then a world with planted effects" in said
    assert not list(tmp_path.rglob("*.parquet"))


def test_the_template_fills_in_real_people():
    from polypersona_lib.people.card_tiers import SUBJECTIVE
    from polypersona_lib.studies.bias.joint_distance import marginals
    from polypersona_lib.studies.bias.tier_writer import template_filled

    people = study_people(200, seed=1)
    made = template_filled(people, seed=1)
    assert made.values[list(SUBJECTIVE)].notna().all().all() and made.texts["story"].nunique() > 190
    tv = marginals(made.probs).groupby("attribute")["tv"].first()
    assert tv.max() < 0.25 and tv.mean() < 0.13, "real respondents' attributes are near real people's"
    assert np.isfinite(tv).all()
    part = template_filled(people.iloc[50:60], seed=1)
    assert part.values.equals(made.values.iloc[50:60]), "a person's attributes do not depend on who else is filled in"
    assert not part.values[list(SUBJECTIVE)].reset_index(drop=True).equals(made.values[list(SUBJECTIVE)].iloc[:10].reset_index(drop=True))


def test_donors_are_drawn_by_their_weights():
    from polypersona_lib.people.card_tiers import drawn_donor

    fits, weights = np.array([1, 3, 4]), np.array([9.0, 1.0, 9.0, 3.0, 0.0])
    drawn = pd.Series([drawn_donor(fits, weights, f"p{n}", seed=2) for n in range(4000)]).value_counts(normalize=True)
    assert set(drawn.index) == {1, 3} and abs(drawn[3] - 0.75) < 0.025


def test_rows_that_a_budget_left_out_are_asked_when_the_run_goes_on(planted_run):
    study, made = jobs.BiasStudy(planted_run), []

    def frame(reason):
        made.append(reason)
        return pd.DataFrame({"probs": [None, [0.5, 0.5]], "reason": [reason, ""]})

    study.keep("x", [1], lambda: frame("not asked: 3 of 3 requests were sent"))
    study.keep("x", [1], lambda: frame("the server has no logprobs"))
    study.keep("x", [1], lambda: frame("never"))
    assert jobs._waits(pd.DataFrame({"probs": [None, None], "reason": ["the server stopped answering", "no card"]})), "nobody was answered"
    assert not jobs._waits(pd.DataFrame({"probs": [None], "reason": ["no card"]})) and not jobs._waits(pd.DataFrame({"item": ["x"], "probs": [None]}))
    assert made == ["not asked: 3 of 3 requests were sent", "the server has no logprobs"], "another missing answer stays as it is"


def test_another_server_or_another_wording_is_another_answer(tmp_path):
    first, second = (jobs.BiasStudy(RunConfig(profile="bias", out=str(tmp_path), models=f"server:http://127.0.0.1:{port}/v1#m")) for port in (8001, 8002))
    (system,) = {server.system for server in first.run.servers}
    assert first.identity(system) != second.identity(system) and "#m" in first.identity(system)
    items = item_bank.respondent_items()
    other = [replace(items[0], text=items[0].text + " Please."), *items[1:]]
    assert jobs._asked(items) != jobs._asked(other) and [i.id for i in items] == [i.id for i in other]


def test_a_plan_is_never_made_from_answers_that_failed(planted_run, monkeypatch):
    study = jobs.BiasStudy(planted_run)
    study.simulators = ["server-m"]
    monkeypatch.setattr(study, "identity", lambda system: system)
    monkeypatch.setattr(study, "answerer", lambda system: None)
    monkeypatch.setattr(study, "cards", lambda *a: None)
    monkeypatch.setattr(study, "answers", lambda *a, **k: pd.DataFrame({"probs": [None, None, [1.0]], "reason": ["no route", "no route", ""]}))
    with pytest.raises(InputError, match=r"server-m: 2 of the first 3 answers are missing \(no route\)"):
        study.plan()
    assert not (study.folder / "plan.json").exists()


def test_tiers_are_compared_item_by_item():
    """Items that a tier left unanswered leave the other side too: no answer moved, so nothing differs."""
    rows = [
        {"simulator": "s", "generator": "g", "family": "policy", "persona_id": f"p{n}", "state": f"S{n}", "tier": tier, "item": item, "score": score}
        for n in range(12) for tier in ("meta", "descriptive") for item, score in (("left", 0.9), ("right", 0.1)) if (tier, item) != ("descriptive", "right")
    ]  # fmt: skip
    line = tier_effects.tier_differences(pd.DataFrame(rows), seed=1).iloc[0]
    assert line["mean"] == 0 and line["n"] == 12 and line["lost"] == 0 and line["verdict"] == "no difference"


def test_the_bias_study_takes_no_data(tmp_path):
    with pytest.raises(ValueError, match="--data: the bias study"):
        RunConfig(profile="bias", data=str(tmp_path))
