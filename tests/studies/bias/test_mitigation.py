"""Every step removes its own bias in a world where all shares are known, says so where it removes none or adds one, and refuses what it cannot use."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.errors import InputError
from polypersona_lib.studies.bias import mitigation
from polypersona_lib.studies.bias import mitigation_proof as proof
from polypersona_lib.studies.bias.persona_text import human_hardship


@pytest.fixture(scope="module")
def table():
    return proof.removal_table().set_index(["bias", "step"])


def test_every_step_removes_its_own_bias(table):
    own = table[table["own"]]
    assert set(own.index.get_level_values("bias")) == set(proof.OWN) and (own["before"] > 0.01).all()
    assert (own["words"] == "removes it").all() and own["after"].max() < 0.005
    exact = own[own.index.get_level_values("bias") != "adults for voters"]  # turnout is regressed, everything else is exact
    assert exact["after"].max() < 1e-6


def test_a_world_without_bias_is_left_alone(table):
    quiet = table.loc["none"].drop(index="turnout")
    assert (quiet["words"] == "nothing to remove, no harm").all() and quiet["after"].max() < 1e-6
    assert table.loc[("none", "turnout"), "words"] == "adds a bias", "the electorate is the wrong frame if adults are meant"


def test_the_report_says_when_a_step_removes_none_or_makes_it_worse(table):
    words = table["words"]
    assert words["prior on names, constant in log-odds", "orders, mean"] == "removes none of it"
    assert words["left shift", "prior correction"] == "removes none of it" and words["invented party", "shift"] == "removes none of it"
    assert words["prior that the card overrules", "prior correction"] == "adds a bias", "the correction corrects what is not there"
    assert words["cards from marginals", "turnout"] == "makes it worse"
    assert words["prior on names, a share of answers", "prior correction"].startswith("removes 8"), "not exact where the prior is no constant"
    assert words["cards without hardship", "raking to pairs"].startswith("not possible: margin race x hardship: 4 of 8 values have nobody")


def test_averages_of_probabilities_are_not_exact_and_the_others_are(table):
    after = table["after"].unstack()
    constant, share = "order, constant in log-odds", "order, a share of answers"
    assert after.loc[constant, "orders, mean"] < 0.005 < after.loc[share, "orders, mean"], "a share for the first option flattens what is averaged"
    assert after.loc[constant, "orders, unmixed"] > 1e-3 and after.loc[share, "orders, mean log-odds"] > 1e-3


def test_the_world_is_real_people_with_our_opinions():
    cells = proof.cells()
    assert cells["weight"].sum() == pytest.approx(1) and (cells["weight"] == 0).sum() > 10 and len(cells) == 432
    assert cells[cells["hardship"] == "yes"]["weight"].sum() == pytest.approx(human_hardship()["any"], abs=0.001)
    asked = proof.ask(proof.Bias())
    assert np.einsum("c,cio->io", asked.frame, asked.by_order[:, :, 0]) == pytest.approx(asked.truth)


# --- the functions -------------------------------------------------------------------------------------------------------------------


def test_orders_of_three_and_more_options():
    rng = np.random.default_rng(1)
    truth = rng.dirichlet([1, 2, 3], size=(40, 2))
    shifts = np.stack([truth * np.exp(0.7 * (np.arange(3) == k)) for k in range(3)], axis=2)
    shifts /= shifts.sum(-1, keepdims=True)
    assert mitigation.order_averaged(shifts, how="log-odds") == pytest.approx(truth), "every option was first once"
    both = np.stack([0.8 * truth + 0.2 * (np.arange(3) == k) for k in (0, 2)], axis=2)
    assert mitigation.order_averaged(both, how="unmixed", first=np.array([0, 2])) == pytest.approx(truth)
    padded = np.concatenate([both[..., :2] * 0 + 0.5, np.zeros((40, 2, 2, 1))], axis=-1)
    assert (mitigation.order_averaged(padded, how="log-odds")[..., 2] == 0).all(), "an option that an item lacks stays 0"
    with pytest.raises(InputError, match="choose mean, log-odds, or unmixed"):
        mitigation.order_averaged(both, how="median")
    with pytest.raises(InputError, match="choose mean, log-odds, or unmixed"):
        mitigation.order_averaged(both, how="unmixed")


def test_the_prior_is_taken_off_exactly_and_a_flat_one_changes_nothing():
    rng = np.random.default_rng(2)
    truth, prior = rng.dirichlet([1, 1, 1, 1], size=(30, 5)), rng.dirichlet([1, 2, 3, 4], size=5)
    biased = truth * prior / (truth * prior).sum(-1, keepdims=True)
    assert mitigation.prior_corrected(biased, prior) == pytest.approx(truth)
    assert mitigation.prior_corrected(truth, np.full((5, 4), 0.25)) == pytest.approx(truth)


def test_a_shift_and_a_temperature_are_found_again():
    rng = np.random.default_rng(3)
    truth, toward = rng.dirichlet([2, 2, 2], size=(300, 6)), np.tile([1.0, 0.0, -1.0], (6, 1))
    biased = mitigation.Adjustment(0.9, 0.6).applied(truth, toward)
    found = mitigation.fit_adjustment(biased, truth, toward)
    assert mitigation.Adjustment(found.shift, found.temperature).applied(biased, toward) == pytest.approx(truth, abs=1e-4)
    chosen = np.eye(3)[(truth.cumsum(-1) < rng.random((300, 6, 1))).sum(-1).clip(max=2)]
    sampled = mitigation.fit_adjustment(biased, chosen, toward)
    assert sampled.shift == pytest.approx(found.shift, abs=0.12) and sampled.temperature == pytest.approx(found.temperature, abs=0.3)
    assert mitigation.fit_adjustment(biased, chosen, toward, temperature=False).temperature == 1
    assert mitigation.fit_adjustment(biased, chosen, toward * 0, temperature=False) == mitigation.Adjustment()
    with pytest.raises(InputError, match="no labelled answer"):
        mitigation.fit_adjustment(biased, chosen * 0, toward)


def test_the_shift_is_the_intercept_of_a_logistic_regression():
    """statsmodels: two options, the simulator's log-odds as offset, one free constant (which counts for both options: twice the shift)."""
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    logit = rng.normal(size=400)
    chose = rng.random(400) < 1 / (1 + np.exp(-logit + 0.8))
    probs = np.stack([1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))], axis=1)[:, None]
    found = mitigation.fit_adjustment(probs, np.stack([chose, ~chose], axis=1)[:, None].astype(float), np.array([[1.0, -1.0]]), temperature=False)
    fit = sm.GLM(chose.astype(float), np.ones(400), family=sm.families.Binomial(), offset=logit).fit()
    assert 2 * found.shift == pytest.approx(fit.params[0], abs=1e-4)


def test_real_attributes_come_from_people_alike_and_widen_where_there_are_few():
    donors = pd.DataFrame({"race": ["a"] * 8 + ["b"] * 2, "age": ["y", "o"] * 5, "party": ["D", "R", "R", "R", "D", "R", "D", "R", "D", "D"], "weight": 1.0})
    cards = pd.DataFrame({"race": ["a", "b", "c"], "age": ["y", "y", "y"], "party": ["D"] * 3, "weight": [2.0, 1.0, 1.0], "name": ["x", "y", "z"]})
    made, kept = mitigation.with_real(cards, donors, ["party"], by=["race", "age"], fewest=4)
    assert kept == {"race x age": 1, "everybody": 2} and made["weight"].sum() == pytest.approx(4)
    share = made.groupby(["name", "party"])["weight"].sum()
    assert share["x", "D"] == pytest.approx(2 * 3 / 4) and share["y", "D"] == pytest.approx(0.5) and share["z", "R"] == pytest.approx(0.5)
    for cards_, donors_, message in (
        (cards.drop(columns="race"), donors, r"no column race \(cards\)"),
        (cards, donors.assign(party=None), "none of 10 donors"),
    ):
        with pytest.raises(InputError, match=message):
            mitigation.with_real(cards_, donors_, ["party"], by=["race", "age"])


def test_turnout_is_regressed_on_what_cells_and_people_share():
    people = pd.DataFrame({"age": ["old"] * 90 + ["young"] * 90, "turnout": ["always"] * 60 + ["rarely or never"] * 30 + ["sporadic"] * 90, "weight": 50.0})
    cells = pd.DataFrame({"age": ["young", "old"]})
    assert mitigation.turnout(cells, people, columns=["age"]) == pytest.approx([0.5, 2 / 3], abs=0.005)
    assert (mitigation.turnout(cells, people.assign(turnout="always"), columns=["age"]) == 1).all()
    for cells_, people_, message in (
        (cells, people.assign(turnout=None), "nobody has one of the classes"),
        (cells.rename(columns={"age": "x"}), people, "same columns"),
    ):
        with pytest.raises(InputError, match=message):
            mitigation.turnout(cells_, people_, columns=["age"])
