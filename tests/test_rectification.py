"""Prediction-powered estimates: coverage, bias and power in 1,000 draws, the closed form, `statsmodels` for weights and clusters, limits, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from polypersona_lib.errors import InputError
from polypersona_lib.rectification import Design, rectified_difference, rectified_mean, rectified_shares

DRAWS, MEAN = 1000, 0.4


def drawn(n: int, *, skill: float, shift: float = 0.3, draws: int = DRAWS, people: int = 800, seed: int = 1):
    """Truth and simulator of n labelled and `people` other persons in each of `draws` surveys; the simulator's mean is wrong by `shift`."""
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(draws, n + people))
    truth = MEAN + both
    guess = MEAN + shift + skill * both + np.sqrt(1 - skill**2) * rng.normal(size=both.shape)
    return truth[:, :n], guess[:, :n], guess[:, n:]


@pytest.mark.parametrize(("n", "skill"), [(30, 0.0), (50, 0.5), (100, 0.8), (100, 0.99), (300, 0.5)])
def test_intervals_cover_and_the_estimate_is_unbiased(n, skill):
    made = rectified_mean(*drawn(n, skill=skill))
    covered = ((made["lo"] <= MEAN) & (made["hi"] >= MEAN)).mean()
    assert 0.93 <= covered <= 0.97, covered
    assert abs(made["value"].mean() - MEAN) < 3.3 * made["value"].std() / np.sqrt(DRAWS), "a simulator that is wrong by .3 leaves no bias"
    assert made["value"].std() == pytest.approx(made["se"].mean(), rel=0.08), "the standard error is the spread over surveys"


def test_the_power_and_the_effective_number_of_people():
    """A useless simulator is ignored, a perfect one counts as if everybody had been asked; known: n / (1 - r^2 N / (n + N)) people."""
    n, people = 100, 800
    for skill in (0.0, 0.5, 0.8, 1.0):
        made = rectified_mean(*drawn(n, skill=skill))
        assert made["power"].mean() == pytest.approx(skill * people / (n + people), abs=0.05)
        assert np.median(made["effective_n"]) == pytest.approx(n / (1 - skill**2 * people / (n + people)), rel=0.05)
    assert rectified_mean(*drawn(n, skill=1.0))["effective_n"].min() > 5 * n


def test_a_useless_simulator_costs_next_to_nothing_and_a_reversed_one_is_not_used():
    useless = rectified_mean(*drawn(100, skill=0.0))
    assert useless["effective_n"].mean() > 98 and useless["value"].std() < 1.02 * useless["alone"].std()
    truth, guess, others = drawn(100, skill=0.9)
    assert (rectified_mean(truth, -guess, -others)["power"] == 0).all()


def test_the_closed_form_of_the_paper():
    """PPI++, example of the mean: value, variance and power written out; power 1 is the first PPI, power 0 the labelled people alone."""
    truth, guess, others = (a[0] for a in drawn(60, skill=0.7, draws=1, people=500))
    n, people = 60, 500
    best = np.cov(truth, guess)[0, 1] / n / (guess.var(ddof=1) / n + others.var(ddof=1) / people)
    made = rectified_mean(truth, guess, others)
    assert made["power"] == pytest.approx(best)
    for power in (0.0, best, 1.0):
        made = rectified_mean(truth, guess, others, power=power)
        assert made["value"] == pytest.approx(truth.mean() - power * (guess.mean() - others.mean()))
        assert made["se"] == pytest.approx(np.sqrt((truth - power * guess).var(ddof=1) / n + power**2 * others.var(ddof=1) / people))
        assert made["hi"] - made["lo"] > 0 and (made["lo"] + made["hi"]) / 2 == pytest.approx(made["value"])
    assert rectified_mean(truth, guess, others, power=0.0)["effective_n"] == pytest.approx(60)


def test_with_many_others_it_is_the_regression_estimator():
    """statsmodels: the prediction of a regression at the mean of all predictions, a textbook's way to use a known mean."""
    truth, guess, others = (a[0] for a in drawn(80, skill=0.6, draws=1, people=400_000))
    fit = sm.OLS(truth, sm.add_constant(guess)).fit()
    made = rectified_mean(truth, guess, others)
    assert made["power"] == pytest.approx(fit.params[1], rel=2e-3) and made["value"] == pytest.approx(fit.params @ [1, others.mean()], abs=1e-3)
    assert made["se"] == pytest.approx(np.sqrt(fit.ssr / 79 / 80), rel=5e-3)


def test_weights_and_clusters_have_the_standard_error_of_statsmodels():
    rng = np.random.default_rng(3)
    states, weights = np.repeat(np.arange(20), 6), rng.uniform(0.2, 3, size=120)
    truth = rng.normal(size=120) + rng.normal(size=20)[states]
    fit = sm.WLS(truth, np.ones(120), weights=weights).fit(cov_type="cluster", cov_kwds={"groups": states})
    made = rectified_mean(truth, np.zeros(120), np.zeros(9), design=Design(weights=weights, clusters=states))
    assert (made["value"], made["se"]) == (pytest.approx(fit.params[0]), pytest.approx(fit.bse[0])) and made["power"] == 0
    inside = np.arange(120) % 3 == 0
    fit = sm.WLS(truth, np.column_stack([np.ones(120), inside]), weights=weights).fit(cov_type="cluster", cov_kwds={"groups": states, "use_correction": False})
    made = rectified_difference(truth, np.zeros(120), np.zeros(9), group=inside, group_others=np.arange(9) < 4, design=Design(weights=weights, clusters=states))
    assert (made["value"], made["se"]) == (pytest.approx(fit.params[1]), pytest.approx(fit.bse[1] * np.sqrt(20 / 19)))


def test_strata_take_out_what_differs_between_them():
    rng = np.random.default_rng(4)
    strata = np.repeat([0, 1], 40)
    truth = rng.normal(size=80) + 5 * strata
    by_hand = np.sqrt(sum(truth[strata == h].var(ddof=1) * 40 for h in (0, 1))) / 80
    assert rectified_mean(truth, truth * 0, np.zeros(9), design=Design(strata=strata))["se"] == pytest.approx(by_hand)
    assert rectified_mean(truth, truth * 0, np.zeros(9))["se"] > 2 * by_hand


def test_clustered_surveys_are_covered_too():
    """30 clusters of 5 in 600 surveys; the rows taken as independent would cover far less."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(30), 5)
    both = rng.normal(size=(600, 150)) + rng.normal(size=(600, 30))[:, clusters]
    others = rng.normal(size=(600, 900)) + rng.normal(size=(600, 180))[:, np.repeat(np.arange(180), 5)]
    design, more = Design(clusters=clusters), Design(clusters=np.repeat(np.arange(180), 5))
    guess, guess_others = 0.7 * both + rng.normal(size=both.shape), 0.7 * others + rng.normal(size=others.shape)
    made, naive = rectified_mean(both, guess, guess_others, design=design, design_others=more), rectified_mean(both, guess, guess_others)
    assert 0.92 <= ((made["lo"] <= 0) & (made["hi"] >= 0)).mean() <= 0.98
    assert ((naive["lo"] <= 0) & (naive["hi"] >= 0)).mean() < 0.85


def test_a_difference_of_groups_is_covered():
    rng = np.random.default_rng(6)
    inside, inside_others = np.arange(90) % 2 == 0, np.arange(700) % 2 == 0
    truth, guess, others = drawn(90, skill=0.7, people=700)
    made = rectified_difference(truth + 0.25 * inside, guess + rng.normal(), others, group=inside, group_others=inside_others)
    assert 0.93 <= ((made["lo"] <= 0.25) & (made["hi"] >= 0.25)).mean() <= 0.97


def test_shares_sum_to_one_with_one_power():
    rng = np.random.default_rng(7)
    options = np.eye(3)
    probs = rng.dirichlet([2, 1, 1], size=900)
    truth = options[(probs.cumsum(1) < rng.random((900, 1))).sum(1)]
    made = rectified_shares(truth[:60], probs[:60], probs[60:])
    assert made["value"].sum() == pytest.approx(1) and made["shares"].sum() == pytest.approx(1) and len(set(made["power"].round(12))) == 1
    rare = rectified_shares(options[[0] * 58 + [1, 2]], np.tile([0.2, 0.5, 0.3], (60, 1)) + 0.1 * options[[0] * 58 + [1, 2]], np.tile([0.3, 0.1, 0.6], (99, 1)))
    assert (rare["shares"] >= 0).all() and rare["shares"].sum() == pytest.approx(1)


def test_a_simulator_that_says_the_same_of_everybody_is_not_used():
    """Its answers differ by rounding alone: a power from that would be any number (it once was)."""
    rng = np.random.default_rng(8)
    weights, same = rng.uniform(0.3, 3, size=360), np.tile([0.1, 0.2, 0.3, 0.4], (360, 1))
    truth, design = np.eye(4)[rng.integers(0, 4, size=60)], Design(weights=weights[:60])
    made = rectified_shares(truth, same[:60], same[60:], design=design, design_others=Design(weights=weights[60:]))
    assert (made["power"] == 0).all() and made["value"] == pytest.approx(made["alone"]) and made["effective_n"] == pytest.approx(60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.zeros(9)}, "9 true answers but 10 predictions"),
        ({"truth": np.zeros(3), "predicted": np.zeros(3)}, "3 labelled people and 20 others: each needs 4"),
        ({"truth": np.full(10, np.nan)}, "10 of 10 true answers are no numbers"),
        ({"others": np.array([np.inf] * 20)}, "20 of 20 predictions of others are no numbers"),
        ({"design": Design(weights=np.zeros(10))}, "not all of them 0"),
        ({"design": Design(weights=-np.ones(10))}, "weights: 10 people need 10 numbers of 0 or more"),
        ({"design": Design(weights=np.ones(9))}, "weights: 10 people need 10 numbers"),
        ({"design": Design(strata=np.arange(10))}, "strata: 10 of 10 hold one cluster or person alone"),
    ],
)
def test_bad_input_is_one_line(change, message):
    given = {"truth": np.zeros(10), "predicted": np.zeros(10), "others": np.zeros(20)} | change
    with pytest.raises(InputError, match=message) as error:
        rectified_mean(given.pop("truth"), given.pop("predicted"), given.pop("others"), **given)
    assert "\n" not in str(error.value)


def test_a_group_without_people_is_one_line():
    with pytest.raises(InputError, match="group: a difference needs two people or more"):
        rectified_difference(np.zeros(10), np.zeros(10), np.zeros(20), group=np.arange(10) < 1, group_others=np.arange(20) < 9)


def test_a_simulator_that_says_the_same_of_everybody_but_for_rounding_is_ignored():
    """Probabilities are stored with six decimals: their last digits must not become a power of thousands."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=30)
    predicted, others = (0.92 + 1e-6 * rng.integers(-1, 2, size=n) for n in (30, 50))
    made = rectified_mean(truth, predicted, others)
    assert made["power"] == 0 and made["value"] == pytest.approx(truth.mean()) and made["effective_n"] == pytest.approx(30)


@pytest.mark.parametrize(("inside", "n"), [(10, 100), (10, 20)])
def test_differences_of_a_small_group_are_covered(inside, n):
    """10 people against the others: with one n / (n - 1) for both sides the 95 % interval held the truth 91 times in 100."""
    truth, guess, others = drawn(n, skill=0.6, people=4 * n, draws=2000, seed=11)
    made = rectified_difference(truth, guess, others, group=np.arange(n) < inside, group_others=np.arange(4 * n) < 4 * inside)
    assert 0.932 <= ((made["lo"] <= 0) & (made["hi"] >= 0)).mean() <= 0.965


@pytest.mark.parametrize(("inside", "n"), [(10, 100), (10, 20)])
def test_differences_of_a_small_group_with_unequal_weights_are_covered(inside, n):
    """The same with lognormal weights (17 such people count like ten): with people counted by heads the interval held the truth 88 times in 100."""
    drawn_all, rng, held = drawn(n, skill=0.6, people=4 * n, draws=2000, seed=11), np.random.default_rng(5), []
    for each in np.split(np.arange(2000), 100):
        design, others = (Design(weights=np.exp(0.8 * rng.normal(size=people))) for people in (n, 4 * n))
        made = rectified_difference(*(part[each] for part in drawn_all), group=np.arange(n) < inside, group_others=np.arange(4 * n) < 4 * inside,
                                    design=design, design_others=others)  # fmt: skip
        held.append((made["lo"] <= 0) & (made["hi"] >= 0))
    assert 0.915 <= np.mean(held) <= 0.965, np.mean(held)


def test_a_difference_of_two_groups_without_a_simulator_is_welchs():
    """scipy's Welch interval has m - 1 degrees of freedom; here one more is spent on the power."""
    truth, inside = np.random.default_rng(12).normal(size=40), np.arange(40) < 8
    made = rectified_difference(truth, np.zeros(40), np.zeros(9), group=inside, group_others=np.arange(9) < 4)
    welch = stats.ttest_ind(truth[inside], truth[~inside], equal_var=False).confidence_interval()
    assert made["value"] == pytest.approx((welch.low + welch.high) / 2)
    variances = [part.var(ddof=1) / len(part) for part in (truth[inside], truth[~inside])]
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 6 + variances[1] ** 2 / 30)
    assert made["se"] == pytest.approx(np.sqrt(sum(variances))) and made["hi"] - made["value"] == pytest.approx(stats.t.ppf(0.975, freedom) * made["se"])
    states = np.arange(40) % 5
    assert rectified_difference(truth, np.zeros(40), np.zeros(9), group=inside, group_others=np.arange(9) < 4, design=Design(clusters=states))["se"] > 0


def test_people_who_all_say_the_same_have_no_effective_number():
    made = rectified_mean(np.full(10, 0.3), np.linspace(0, 1, 10), np.linspace(0, 1, 50))
    assert made["se"] == pytest.approx(0, abs=1e-12) and np.isnan(made["effective_n"]) and made["power"] == 0
