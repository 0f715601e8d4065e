"""How far judges agree: Krippendorff's alpha among raters, and Spearman's rank correlation between people and a metric, both with intervals.

Own code, because the package `krippendorff` is under the GPL and this project is not; the tests hold it to the published example.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from ..resampling import N_BOOT, SEED, drawn_units, interval, resample

LEVELS = ("nominal", "ordinal", "interval", "ratio")


def value_counts(table: Sequence, values: Sequence[float]) -> np.ndarray:
    """How often each unit got each value.

    Args:
        table: one row a rater, one column a unit, NaN where a rater did not judge, shape (raters, units). values: the scale, ascending, shape (V,).
    Returns: counts, shape (units, V).
    Raises: ValueError if a rating is not on the scale.
    """
    table = np.asarray(table, dtype=float)
    off = np.setdiff1d(table[np.isfinite(table)], values)
    if len(off):
        raise ValueError(f"ratings {off.tolist()} are not on the scale {list(values)}")
    return (table.T[:, :, None] == np.asarray(values, dtype=float)).sum(axis=1)


def _squared_distances(totals: np.ndarray, values: np.ndarray, level: str) -> np.ndarray:
    """Krippendorff's squared difference of every two values, shape (V, V) or (..., V, V); `totals`: how often each was given, shape (..., V)."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "ordinal":
        values = np.cumsum(totals, axis=-1) - totals / 2  # the ratings between two values and half of those on them = difference of their mean ranks
    gap = values[..., :, None] - values[..., None, :]
    if level == "ratio":
        gap = np.divide(gap, values[:, None] + values[None, :], out=np.zeros_like(gap), where=gap != 0)
    return gap**2


def _alphas(pairs: np.ndarray, values: np.ndarray, level: str) -> np.ndarray:
    """Alpha of coincidence matrices, shape (..., V, V) -> (...); NaN where all ratings are one value."""
    totals = pairs.sum(axis=-1)
    distances = _squared_distances(totals, values, level)
    seen = (pairs * distances).sum(axis=(-2, -1))
    expected = (totals[..., :, None] * totals[..., None, :] * distances).sum(axis=(-2, -1)) / np.maximum(totals.sum(axis=-1) - 1, 1)
    return 1 - np.divide(seen, expected, out=np.full(np.shape(seen), np.nan), where=expected > 0)


def krippendorff_alpha(counts: np.ndarray, *, values: Sequence[float] | None = None, level: str = "ordinal", n_boot: int = N_BOOT, seed: int = SEED) -> dict:
    """Krippendorff's alpha of several raters, some of whose ratings may be missing, with a bootstrap interval over units.

    1 is perfect agreement, 0 what chance gives, below 0 systematic disagreement. Units rated less than twice say nothing about agreement and do not count.

    Args:
        counts: how often each unit got each value, shape (units, V), from `value_counts`.
        values: the scale, needed for the levels interval and ratio. level: one of `LEVELS`.
    Returns: `{"value", "lo", "hi", "n"}`, n the units rated twice or more; NaN without such a unit, without variation, and (lo, hi) with fewer than two units.
    Raises: ValueError for an unknown level.
    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; interval: units resampled with replacement.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown level '{level}'; choose from {', '.join(LEVELS)}")
    counts = np.asarray(counts, dtype=float)
    counts = counts[counts.sum(axis=1) >= 2]
    units, size = counts.shape
    values = np.arange(size, dtype=float) if values is None else np.asarray(values, dtype=float)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    pairs = (pairs / (counts.sum(axis=1) - 1)[:, None, None]).reshape(units, size**2)
    return resample(pairs, lambda sums: _alphas(sums.reshape(-1, size, size), values, level), n_boot=n_boot, seed=seed)


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean rank of each value when value i occurs `weights[..., i]` times, up to a constant; shape of `weights`."""
    _, codes = np.unique(values, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    groups = np.add.reduceat(weights[..., order], starts, axis=-1)
    return (np.cumsum(groups, axis=-1) - groups / 2)[..., codes]


def _weighted_spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's correlation of x and y, pair i occurring `weights[..., i]` times; NaN where one of them does not vary."""
    return _correlation(_weighted_ranks(x, weights), _weighted_ranks(y, weights), weights)


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis, pair i counted `weights[..., i]` times; NaN where a side does not vary."""
    total = weights.sum(axis=-1, keepdims=True)
    a, b = (r - (weights * r).sum(axis=-1, keepdims=True) / total for r in (a, b))
    scale = np.sqrt((weights * a**2).sum(axis=-1) * (weights * b**2).sum(axis=-1))
    return np.divide((weights * a * b).sum(axis=-1), scale, out=np.full(scale.shape, np.nan), where=scale > 1e-9)


def spearman(x: Sequence, y: Sequence, *, clusters: Sequence, seed: int = SEED) -> dict:
    """Spearman's rank correlation {value, lo, hi, n}; pairs with a NaN are left out, the interval resamples `clusters`; NaN if a column does not vary."""
    (x, y), names = _complete(x, y, clusters)
    people, codes = np.unique(names, return_inverse=True)
    if not len(people):
        return {"value": np.nan, "lo": np.nan, "hi": np.nan, "n": 0}
    rho = _weighted_spearman(x, y, np.vstack([np.ones(len(people)), drawn_units(len(people), seed=seed)])[:, codes])
    lo, hi = interval(rho[1:], units=len(people))
    return {"value": rho[0], "lo": lo, "hi": hi, "n": len(x)}


def spearman_of_means(x: Sequence, y: Sequence, *, groups: Sequence, clusters: Sequence, seed: int = SEED) -> dict:
    """Spearman {value, lo, hi, n groups} of two columns' means by group; the interval resamples clusters; resamples that lose a group are out."""
    (x, y), groups, clusters = _complete(x, y, groups, clusters)
    mine = groups[:, None] == np.unique(groups)  # (rows, groups)

    def rho(sums: np.ndarray) -> np.ndarray:
        sums_x, sums_y, n = np.split(sums, 3, axis=1)
        ranks = (rankdata((total / n).round(12), axis=1) for total in (sums_x, sums_y))
        return np.where((n > 0).all(axis=1), _correlation(*ranks, np.ones(n.shape)), np.nan)

    return resample(np.hstack([x[:, None] * mine, y[:, None] * mine, mine]), rho, clusters=clusters, seed=seed) | {"n": mine.shape[1]}


def _complete(x: Sequence, y: Sequence, *names: Sequence) -> tuple:
    """The rows that have numbers in both columns: ((x, y), and each column of names as text)."""
    pairs = np.array([x, y], dtype=float)
    known = np.isfinite(pairs).all(axis=0)
    return pairs[:, known], *(np.asarray(column).astype(str)[known] for column in names)
