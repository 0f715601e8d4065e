"""Intervals, tests and agreement: limits, hand-computed values, reproducibility."""

import numpy as np
import pytest

from polypersona_lib import stats


def test_bootstrap_of_a_constant_has_no_width():
    assert stats.bootstrap_mean([0.5] * 20) == {"mean": 0.5, "lo": 0.5, "hi": 0.5, "n": 20}


def test_bootstrap_leaves_nan_out_and_survives_nothing():
    assert stats.bootstrap_mean([1.0, np.nan, 3.0])["mean"] == 2.0
    empty = stats.bootstrap_mean([np.nan])
    assert empty["n"] == 0 and np.isnan(empty["mean"])
    one = stats.bootstrap_mean([0.3])
    assert one["mean"] == 0.3 and np.isnan(one["lo"])


def test_bootstrap_is_seeded_and_near_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    first, again, other = (stats.bootstrap_mean(values, seed=s) for s in (1, 1, 2))
    assert first == again != other
    half = 1.96 * values.std(ddof=1) / 20
    assert (first["hi"] - first["lo"]) / 2 == pytest.approx(half, rel=0.05)


def test_clusters_widen_the_interval():
    values, people = np.repeat([0.0, 1.0, 0.2, 0.8], 25), np.repeat(list("abcd"), 25)
    rows, clusters = stats.bootstrap_mean(values), stats.bootstrap_mean(values, clusters=people)
    assert clusters["hi"] - clusters["lo"] > 3 * (rows["hi"] - rows["lo"])
    with pytest.raises(ValueError, match="100 values but 3 clusters"):
        stats.bootstrap_mean(values, clusters=list("abc"))


def test_paired_difference_and_permutation():
    rng = np.random.default_rng(3)
    a = rng.normal(size=200)
    b = a - 0.5 + rng.normal(scale=0.1, size=200)
    gap = stats.paired_bootstrap(a, b)
    assert gap["lo"] < 0.5 < gap["hi"] and gap["mean"] == pytest.approx(0.5, abs=0.025)
    assert stats.paired_permutation(a, b) == pytest.approx(1 / (stats.N_PERM + 1))
    assert stats.paired_permutation(a, a) == 1.0
    assert stats.paired_permutation(a, b, clusters=["x"] * 200) == 1.0  # one person is no evidence
    with pytest.raises(ValueError, match="differ in length"):
        stats.paired_bootstrap([1, 2], [1])


def test_permutation_is_exact_for_small_samples():
    assert stats.paired_permutation([1, 1, 1], [0, 0, 0]) == pytest.approx(2 / 8, rel=0.05)


def test_holm():
    assert stats.holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert len(stats.holm([])) == 0


def test_cohens_d():
    assert stats.cohens_d([2, 3, 4], [0, 1, 2]) == pytest.approx(2.0)
    assert stats.cohens_d([1, 2, 4], [0, 1, 2], paired=True) == pytest.approx((4 / 3) / np.std([1, 1, 2], ddof=1))
    assert np.isnan(stats.cohens_d([1, 1], [1, 1])) and np.isnan(stats.cohens_d([1], [2]))


def test_quadratic_kappa():
    assert stats.quadratic_kappa([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], n_options=5) == 1.0
    assert stats.quadratic_kappa([0, 4], [4, 0], n_options=5) == -1.0
    assert stats.quadratic_kappa([0, 0, 4, 4], [0, 1, 4, 3], n_options=5) > stats.quadratic_kappa([0, 0, 4, 4], [0, 4, 4, 0], n_options=5)
    assert np.isnan(stats.quadratic_kappa([2, 2], [2, 2], n_options=5)) and np.isnan(stats.quadratic_kappa([], [], n_options=5))


def test_alignment_and_divergence():
    assert stats.alignment([1, 2, 1], [0.25, 0.5, 0.25]) == 1.0
    assert stats.alignment([1, 0, 0, 0, 0], [0, 0, 0, 0, 1]) == 0.0
    assert stats.alignment([1, 0, 0], [0, 1, 0]) == 0.5
    assert stats.jensen_shannon([1, 0], [1, 0]) == 0.0
    assert stats.jensen_shannon([1, 0], [0, 1]) == pytest.approx(1.0)
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    m = (p + q) / 2
    assert stats.jensen_shannon(p, q) == pytest.approx(0.5 * (p * np.log2(p / m)).sum() + 0.5 * (q * np.log2(q / m)).sum())
    for bad in ([1], [0, 0], [-1, 2], [np.nan, 1]):
        with pytest.raises(ValueError, match="not a distribution"):
            stats.alignment(bad, [0.5, 0.5])
    with pytest.raises(ValueError, match="3 and 2 options"):
        stats.alignment([1, 1, 1], [1, 1])


def test_spread_ratios():
    assert stats.sd_ratio([1, 1, 1], [1, 1, 1]) == 1.0 and stats.entropy_ratio([1, 1], [3, 3]) == 1.0
    assert stats.sd_ratio([0, 1, 0], [1, 0, 1]) == 0.0 and np.isnan(stats.sd_ratio([1, 1], [1, 0])) and np.isnan(stats.entropy_ratio([1, 1], [1, 0]))
