"""The rule of three conditions, on scores whose answer is known, on real people with a table of known bias, and on elections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.errors import InputError
from polypersona_lib.people.human_baselines import answer_shares, halves
from polypersona_lib.people.human_surveys import load_survey
from polypersona_lib.people.places import democratic_share, vote_items
from polypersona_lib.studies.bias import mitigation
from polypersona_lib.studies.bias import mitigation_check as check
from polypersona_lib.studies.bias.item_bank import respondent_items
from polypersona_lib.studies.bias.mitigation import Adjustment
from polypersona_lib.studies.bias.simulation import respondent_cards


def scores(mitigated: float, unmitigated: float, uniform: float, people: float, *, units: int = 60, noise: float = 0.02) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    means = {"mitigated": mitigated, "unmitigated": unmitigated, "uniform": uniform, "people": people}
    return {name: mean + noise * rng.normal(size=units) for name, mean in means.items()}


@pytest.mark.parametrize(
    ("means", "words"),
    [
        ((0.97, 0.80, 0.82, 0.95), "works"),
        ((0.93, 0.80, 0.82, 0.95), "helps, but 100 people alone are better"),
        ((0.95, 0.80, 0.82, 0.95), "helps, but not shown to beat 100 people alone"),
        ((0.82, 0.80, 0.90, 0.95), "helps, but a uniform answer is better"),
        ((0.82, 0.78, 0.82, 0.95), "helps, but not shown to beat a uniform answer"),
        ((0.80, 0.80, 0.82, 0.95), "no gain that can be told from chance"),
        ((0.70, 0.80, 0.82, 0.95), "makes it worse"),
    ],
)
def test_the_verdict_follows_the_three_conditions(means, words):
    line = check.three_conditions(scores(*means), n=100)
    assert line["words"] == words and line["works"] == (words == "works")
    assert line["gain"] == pytest.approx(means[0] - means[1], abs=0.01) and line["gain_lo"] < line["gain"] < line["gain_hi"]
    assert line["over_people"] == pytest.approx(means[0] - means[3], abs=0.01) and line["units"] == 60


def test_no_change_is_said_in_words_and_bad_scores_in_one_line():
    same = scores(0.8, 0.8, 0.82, 0.95)
    assert check.three_conditions(same | {"mitigated": same["unmitigated"]}, n=9)["words"] == "changes nothing"
    with pytest.raises(InputError, match="three conditions need the scores of mitigated, unmitigated, uniform, people"):
        check.three_conditions({"mitigated": np.ones(5)}, n=9)
    with pytest.raises(InputError, match="on the same units"):
        check.three_conditions(same | {"uniform": np.ones(5)}, n=9)


def test_the_interval_of_the_gain_covers_and_counts_both_sources_of_luck():
    """Units and what they are compared with are both drawn: the interval is wider than that of the units alone, and covers."""
    rng = np.random.default_rng(2)
    inside, widths = 0, []
    for _ in range(200):
        common = 0.05 * rng.normal()
        units = 0.1 + 0.1 * rng.normal(size=40)
        table = np.vstack([units + common, units + common + 0.05 * rng.normal(size=(200, 1))])
        flat = {name: np.zeros_like(table) for name in ("unmitigated", "uniform", "people")}
        line = check.three_conditions(flat | {"mitigated": table}, n=9)
        inside += line["gain_lo"] <= 0.1 <= line["gain_hi"]
        widths.append(line["gain_hi"] - line["gain_lo"])
    assert 0.9 <= inside / 200 <= 0.985 and np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(0.1**2 / 40 + 0.05**2), rel=0.08)


# --- real people, a table of known bias -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves_of_the_poll():
    """(200 people who are simulated, 1,500 who are held out), 12 items."""
    survey = load_survey("nonvoters_2020")
    whole = survey.sheet()
    whole = whole.in_order([item.id for item in survey.items if item.lean][::2][:12])
    one, other = halves(len(whole.people))
    return whole.of(one[:400]), whole.of(other[:1500])


def simulated(sheet, *, skill: float, order: float = 0.0, shift: float = 0.0) -> check.Simulated:
    """Each person's own answer with probability `skill`, else the population's; biases on top."""
    toward = np.stack([np.pad(item.leans, (0, sheet.probs.shape[-1] - len(item.leans))) for item in sheet.items]).astype(float)
    people = answer_shares(sheet)
    probs = skill * sheet.chosen() + (1 - skill) * people
    probs = np.where(sheet.chosen().sum(-1, keepdims=True) > 0, probs, people)
    first, last = np.zeros(len(sheet.items), dtype=int), sheet.sizes - 1
    by_order = [
        Adjustment(shift, 1.0).applied(probs, toward + order / max(shift, 1e-9) * (np.arange(probs.shape[-1]) == listed[:, None])) for listed in (first, last)
    ]
    return check.Simulated(sheet=sheet, by_order=np.stack(by_order, axis=2), prior=None, toward=toward)


def test_a_perfect_simulator_with_a_shift_is_mended_and_works(halves_of_the_poll):
    """It knows everybody's answers. So order averaging and shift help, and rectified it beats the 40 people whose answers were used."""
    sheet, held_out = halves_of_the_poll
    table = check.mitigation_table(simulated(sheet, skill=0.9, order=0.6, shift=0.8), held_out, n=40, repeats=4, n_boot=60)
    assert table.loc["orders, rectified", "words"] == "works" and table.loc["orders, shift and temperature", "gain"] > 0.02
    assert table.loc["unmitigated", "words"] == "changes nothing" and table.loc["people", "over_people"] == 0
    assert list(table.index) == ["unmitigated", "orders averaged", "orders, shift", "orders, shift and temperature", "orders, rectified", "uniform", "people"]
    worth = check.rectification_table(simulated(sheet, skill=0.9, shift=0.8), n=100)
    assert worth["effective_n"].median() > 150 and worth["power"].median() > 0.6


def test_a_useless_simulator_helps_nobody(halves_of_the_poll):
    """The same answer for everybody, shifted: one fitted number mends the mean, nothing beats asking the people, and rectification ignores it."""
    sheet, held_out = halves_of_the_poll
    blind = simulated(sheet, skill=0.0, shift=0.8)
    noise = np.random.default_rng(3).gamma(20, size=sheet.probs.shape) * (np.arange(sheet.probs.shape[-1]) < sheet.sizes[:, None])
    useless = check.with_probs(blind, noise / noise.sum(-1, keepdims=True))
    table = check.mitigation_table(useless, held_out, n=100, repeats=4, n_boot=60)
    assert not table["works"].any()
    worth = check.rectification_table(useless, n=100)
    assert worth["power"].median() < 0.2 and worth["effective_n"].median() == pytest.approx(worth["n"].median(), rel=0.05)
    assert table.loc["orders, rectified", "over_people"] == pytest.approx(0, abs=0.01)


def test_people_on_both_sides_and_too_few_labels_are_one_line(halves_of_the_poll):
    sheet, held_out = halves_of_the_poll
    model = simulated(sheet, skill=0.5)
    with pytest.raises(InputError, match="400 people are simulated and held out at once"):
        check.mitigation_table(model, sheet)
    with pytest.raises(InputError, match="5 labelled people of 400 simulated ones"):
        check.mitigation_table(model, held_out, n=5)


def test_weights_and_missing_answers_count(halves_of_the_poll):
    """A simulator that says what its people say has their weighted shares; a missing answer of a labelled person is left out of the item alone."""
    sheet, _ = halves_of_the_poll
    known = sheet.chosen().sum(-1) > 0
    assert not known.all() or sheet.missing()["truth"] == 0
    model = check.with_probs(simulated(sheet, skill=0.0), sheet.chosen())
    heavy = replace(model, sheet=replace(sheet, weights=np.where(np.arange(400) < 200, 1.0, 0.0)))
    assert check.steps_of(heavy)["unmitigated"](np.arange(20)) == pytest.approx(check.steps_of(model)["unmitigated"](np.arange(20)), abs=0.25)
    holes = replace(sheet, truth=np.where(np.arange(400)[:, None] % 2 == 0, -1, sheet.truth))
    worth = check.rectification_table(replace(model, sheet=holes), n=100)
    assert worth["n"].max() < 70


def test_answers_of_the_bias_study_become_a_simulator_of_real_respondents():
    """Each order's answer stands with its person, item and option; who lacks one is left out, and nobody of them is held out."""
    items, cards = respondent_items()[:3], respondent_cards(12, seed=5)
    rng = np.random.default_rng(0)
    answers = pd.DataFrame([
        {"persona_id": person, "item": item.id, **{order: list(rng.dirichlet(np.ones(len(item.options)))) for order in ("first", "last")}}
        for person in cards["persona_id"][::-1] for item in items
    ])  # fmt: skip
    answers.at[4, "last"] = None
    prior = pd.DataFrame([{"item": item.id, "probs": [0.8, *[0.2 / (len(item.options) - 1)] * (len(item.options) - 1)]} for item in items for _ in range(2)])
    made, others = check.as_respondents(answers, prior)
    assert len(made.sheet.people) == 11 and answers["persona_id"][4] not in made.sheet.people
    assert not set(cards["persona_id"]) & set(others.people) and len(others.people) == 5836 - 12
    assert [item.id for item in made.sheet.items] == [item.id for item in others.items] == [item.id for item in items]
    survey = load_survey("nonvoters_2020")
    for row in answers.drop(index=[3, 4, 5]).itertuples():
        person, item = made.sheet.people.index(row.persona_id), [q.id for q in items].index(row.item)
        assert made.by_order[person, item, :, : len(row.first)].tolist() == [row.first, row.last] and not made.by_order[person, item, :, len(row.first) :].any()
        own = survey.answers[survey.people.index.get_loc(row.persona_id), [q.id for q in survey.items].index(row.item)]
        assert made.sheet.truth[person, item] == own
    assert made.prior[:, 0] == pytest.approx(0.8) and made.prior.sum(-1) == pytest.approx(1)
    flat = mitigation.prior_corrected(np.broadcast_to(made.prior, (2, *made.prior.shape)), made.prior)
    assert flat[0] == pytest.approx(np.where(made.prior > 0, 1 / made.sheet.sizes[:, None], 0)), "an answer that is the prior says nothing"
    assert check.as_respondents(answers, prior.iloc[:2])[0].prior is None, "a prior of one item alone is none"
    with pytest.raises(InputError, match="all 12 respondents lack an answer"):
        check.as_respondents(answers.assign(first=None), prior)


# --- elections ---------------------------------------------------------------------------------------------------------------------------


def test_votes_of_the_bias_study_become_shares_of_states():
    republican_first = [0.7, 0.3] if vote_items()[0].lean.startswith("C") else [0.3, 0.7]
    rows = [(state, item.id, probs) for item in vote_items() for state, probs in (("Ohio", republican_first), ("Ohio", [0.5, 0.5]), ("Utah", [0.5, 0.5]))]
    rows[-1] = (*rows[-1][:2], None)
    made = check.votes_by_state(pd.DataFrame([*rows, ("Ohio", "hospitals_2023.H_COMP_1", [1.0, 0.0])], columns=["state", "item", "probs"]))
    assert made.index.tolist() == ["Ohio"] and sorted(made.columns) == [2016, 2020, 2024] and made.loc["Ohio", 2016] == pytest.approx(0.4)


def test_a_shift_from_ten_states_mends_a_lean_in_the_others_and_in_other_years():
    truth = pd.DataFrame({year: democratic_share(year) for year in (2016, 2020, 2024)}).drop(index="District of Columbia")
    leaning = 1 / (1 + np.exp(-(np.log(truth / (1 - truth)) + 0.8)))
    table = check.state_table(leaning, known=list(truth.index[::5]), year=2020, n=40)
    assert table["works"].all() and (table["units"] == 40).all() and table["score"].min() > 0.99
    flat = check.state_table(truth * 0 + 0.7, known=list(truth.index[::5]), year=2020, n=40)
    assert not flat["works"].any() and flat["words"].str.startswith("helps, but").all(), "one number fixes the lean and finds no state"
    with pytest.raises(InputError, match="no prediction for 1 of the known states"):
        check.state_table(truth, known=["Narnia"], year=2020)
    with pytest.raises(InputError, match="5 states are left"):
        check.state_table(truth.iloc[:10], known=list(truth.index[:5]), year=2020)
