"""Baselines and upper bounds on real people: the known numbers of the 49 items, exact limits, nobody predicted from themselves."""

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.people import human_baselines as baselines
from polypersona_lib.people.human_surveys import load_survey
from polypersona_lib.survey import distributions
from polypersona_lib.survey.sheet import MISSING


@pytest.fixture(scope="module")
def poll():
    return load_survey("nonvoters_2020")


@pytest.fixture(scope="module")
def systems(poll):
    """Both directions of one split of the poll: each half once in the place of the other."""
    return baselines.baseline_sheets(poll)


def test_the_known_numbers_of_the_49_items(systems):
    """Half of the people held out. Known: alignment of uniform .816, most frequent .746, 40 / 100 / 300 people .949 / .967 / .981; individual accuracy .478
    most frequent, .498 demographics, .523 with party; log score .834 / .803 / .770. The halves are other ones here, so a few thousandths are luck."""
    table = baselines.baseline_table(systems)
    known = {"uniform": 0.816, "most frequent": 0.746, "40 people": 0.949, "100 people": 0.967, "300 people": 0.981}
    assert {name: table.loc[name, "alignment"] for name in known} == pytest.approx(known, abs=0.007)
    assert table.loc["other half", "alignment"] > 0.988
    hits = {"most frequent": 0.478, "demographics": 0.498, "demographics, party": 0.523, "uniform": np.mean([1 / n for n in systems["uniform"].sizes])}
    assert {name: table.loc[name, "hit_rate"] for name in hits} == pytest.approx(hits, abs=0.006)
    scores = {"uniform": 1, "other half": 0.834, "demographics": 0.803, "demographics, party": 0.770}
    assert {name: table.loc[name, "log_score"] for name in scores} == pytest.approx(scores, abs=0.006)
    assert table.loc["most frequent", "log_score"] > 1, "being sure of one option is worse than knowing nothing"


def test_two_known_numbers_need_no_luck(poll):
    """Everybody against everybody: .816 and .746 to three digits; without weights they are others."""
    whole, equal = poll.sheet(), poll.sheet(weighted=False)
    assert round(baselines.alignment(baselines.uniform(whole)), 3) == 0.816 and round(baselines.alignment(baselines.most_frequent(whole, whole)), 3) == 0.746
    assert round(baselines.alignment(baselines.uniform(equal)), 3) != 0.816


def test_few_people_reach_the_known_alignment_on_average(poll):
    whole = poll.sheet()
    halves = [whole.of(part) for part in baselines.halves(len(whole.people))]
    means = {n: np.mean([baselines.alignment(baselines.people_resampled(*halves, n=n, seed=seed)) for seed in range(12)]) for n in (40, 100)}
    assert means == pytest.approx({40: 0.949, 100: 0.967}, abs=0.004)


def test_alignment_is_that_of_the_distributions_table(systems):
    """Two ways to one number, weights included."""
    few = {name: systems[name].of(np.arange(200)) for name in ("uniform", "most frequent")}
    table = distributions.by_domain(few, n_boot=2)
    own = table[(table["level"] == "all") & (table["metric"] == "alignment")].set_index("system")["value"]
    assert own.to_dict() == pytest.approx({name: baselines.alignment(sheet) for name, sheet in few.items()})
    beside = distributions.by_domain({"uniform": few["uniform"], "resample": systems["other half"].of(np.arange(200))}, n_boot=2)
    row = beside[(beside["level"] == "all") & (beside["metric"] == "alignment") & (beside["system"] == "uniform")].iloc[0]
    assert row["value"] == pytest.approx(row["uniform"]) and row["ceiling"] > 0.95, "the other half as the upper bound of the table"
    assert own["uniform"] != pytest.approx(baselines.alignment(baselines.uniform(load_survey("nonvoters_2020").sheet(weighted=False))))


def test_people_against_themselves_are_perfect_and_strangers_are_not(poll):
    own = poll.sheet().of(np.arange(300))
    assert (baselines.alignment(own), baselines.hit_rate(own)) == pytest.approx((1, 1)) and baselines.log_score(own) == pytest.approx(0, abs=1e-6)
    strangers = own.permuted(np.roll(np.arange(300), 1))
    assert baselines.hit_rate(strangers) < 0.5 < 1.5 < baselines.log_score(strangers)
    assert baselines.alignment(strangers) > 0.95, "the same answers, in other hands"


def test_a_regression_finds_what_is_there_and_nothing_in_noise(poll):
    """Answers that follow from a column are predicted; columns that are shuffled predict no better than the most frequent answer."""
    sheet = poll.sheet(weighted=False).of(np.arange(1200)).in_order([q.id for q in poll.items[:3]])
    rng = np.random.default_rng(0)
    known = np.eye(4)[np.maximum(sheet.truth[:, 0], 0)]
    assert baselines.hit_rate(baselines.cross_fitted(sheet, known).in_order([sheet.items[0].id])) > 0.99
    blind = baselines.cross_fitted(sheet, rng.permutation(known))
    halves = baselines.halves(1200)
    majority = np.mean([baselines.hit_rate(baselines.most_frequent(sheet.of(a), sheet.of(b))) for a, b in (halves, halves[::-1])])
    assert baselines.hit_rate(blind) == pytest.approx(majority, abs=0.02) and blind.probs.sum(-1) == pytest.approx(1)


def test_nobody_is_predicted_from_themselves(poll):
    """A column that names every person is worthless out of their own fold."""
    sheet = poll.sheet(weighted=False).of(np.arange(60)).in_order([poll.items[0].id])
    lone = baselines.cross_fitted(sheet, np.eye(60))
    assert len(np.unique(np.round(lone.probs, 6), axis=0)) == 2, "one distribution a fold"
    assert len(np.unique(np.round(baselines.regression(sheet, sheet, seen=np.eye(60), seen_other=np.eye(60)).probs, 6), axis=0)) > 2


def test_shares_count_weights_and_leave_out_what_is_missing(poll):
    sheet = poll.sheet().of(np.arange(500))
    item = next(j for j in range(49) if (sheet.truth[:, j] == MISSING).any())
    known = sheet.truth[:, item] != MISSING
    by_hand = np.bincount(sheet.truth[known, item], weights=sheet.weights[known], minlength=5) / sheet.weights[known].sum()
    assert baselines.answer_shares(sheet)[item] == pytest.approx(by_hand)
    silent = sheet.of(np.flatnonzero(~known))
    assert baselines.answer_shares(silent)[item].max() == pytest.approx(1 / sheet.sizes[item]), "without an answer: uniform"
    assert baselines.people_resampled(sheet, sheet, n=600, seed=1).probs[0].sum(-1) == pytest.approx(1)


def test_gaps_between_groups_of_people_are_the_known_ones(poll):
    """Known: party .273 of the scale, age .140, race .112, education .096, gender .032 (age in six bands, party in all its answers, each weighted)."""
    people = poll.people
    groups = people[["race", "education", "gender", "party"]].assign(age=pd.cut(people["age"], baselines.AGE_BANDS).astype(str))
    gaps = baselines.group_gaps(poll.sheet(), groups)
    known = {"age": 0.140, "race": 0.112, "education": 0.096, "gender": 0.032}
    assert gaps[list(known)].round(3).to_dict() == known and gaps["party"] < 0.27
    assert baselines.group_gaps(poll.sheet(), groups[["party"]].fillna("did not say"))["party"] == pytest.approx(0.273, abs=0.0005)
    two = groups.assign(party=people["party"].where(people["party"].isin(["Democrat", "Republican"])))
    assert baselines.group_gaps(poll.sheet(), two[["party"]])["party"] == pytest.approx(0.175, abs=0.001), "between the two large parties alone"
    nobody = groups[["gender"]].assign(gender="all")
    assert baselines.group_gaps(poll.sheet(), nobody)["gender"] == 0


def test_what_a_regression_sees(poll):
    seen = baselines.seen_columns(poll)
    assert seen.shape == (5836, 6 + 3 + 4 + 2 + 4) and (seen.sum(1) == 5).all()
    party = baselines.seen_columns(poll, ("party",))
    assert party.shape == (5836, 6) and party.sum(0).min() == 48, "not having said is a value"
    assert baselines.seen_columns(load_survey("anes_1996")).sum(1).max() == 3, "attributes that a survey lacks are left out"
