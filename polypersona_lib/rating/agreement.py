"""How far judges agree: Krippendorff's alpha among raters, and Spearman's rank correlation between people and a metric, both with intervals.

Own code, because the package `krippendorff` is under the GPL and this project is not; the tests hold it to the published example.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from .. import resampling

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


def krippendorff_alpha(
    counts: np.ndarray, *, values: Sequence[float] | None = None, level: str = "ordinal", n_boot: int = resampling.N_BOOT, seed: int = resampling.SEED
) -> dict:
    """Krippendorff's alpha of several raters, some of whose ratings may be missing, with a bootstrap interval over units.

    1 is perfect agreement, 0 what chance gives, below 0 systematic disagreement. Units rated less than twice say nothing about agreement and do not count.

    Args:
        counts: how often each unit got each value, shape (units, V), from `value_counts`.
        values: the scale, needed for the levels interval and ratio. level: one of `LEVELS`.
    Returns: `{"alpha", "lo", "hi", "n"}`, n the units rated twice or more; NaN without such a unit, without variation, and (lo, hi) with fewer than two units.
    Raises: ValueError for an unknown level.
    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; interval: units resampled with replacement.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown level '{level}'; choose from {', '.join(LEVELS)}")
    counts = np.asarray(counts, dtype=float)
    counts = counts[counts.sum(axis=1) >= 2]
    units, size = counts.shape
    values = np.arange(size, dtype=float) if values is None else np.asarray(values, dtype=float)
    result = {"alpha": np.nan, "lo": np.nan, "hi": np.nan, "n": units}
    if not units:
        return result
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    pairs = (pairs / (counts.sum(axis=1) - 1)[:, None, None]).reshape(units, -1)
    result["alpha"] = float(_alphas(pairs.sum(axis=0).reshape(size, size), values, level))
    if units > 1 and np.isfinite(result["alpha"]):
        drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=n_boot)
        found = _alphas((drawn @ pairs).reshape(n_boot, size, size), values, level)
        result["lo"], result["hi"] = map(float, np.nanquantile(found, resampling.tails(units)))
    return result


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


def _with_interval(value: float, resampled: np.ndarray, n: int) -> dict:
    result = {"rho": float(value), "lo": np.nan, "hi": np.nan, "n": n}
    if np.isfinite(value) and np.isfinite(resampled).any():
        result["lo"], result["hi"] = map(float, np.nanquantile(resampled, [(1 - resampling.LEVEL) / 2, (1 + resampling.LEVEL) / 2]))
    return result


def spearman(x: Sequence, y: Sequence, *, clusters: Sequence, n_boot: int = 1000, seed: int = resampling.SEED) -> dict:
    """Spearman's rank correlation of two columns with an interval that resamples `clusters` (the persona of each row); pairs with a NaN are left out.

    Returns: `{"rho", "lo", "hi", "n"}`, n the pairs; NaN if a column does not vary.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    x, y, codes = x[keep], y[keep], np.unique(np.asarray(clusters).astype(str)[keep], return_inverse=True)[1]
    if not len(x):
        return _with_interval(np.nan, np.array([np.nan]), 0)
    groups = codes.max() + 1
    drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=n_boot)
    resampled = _weighted_spearman(x, y, drawn[:, codes].astype(float)) if groups > 1 else np.array([np.nan])
    return _with_interval(_weighted_spearman(x, y, np.ones(len(x))), resampled, len(x))


def spearman_of_means(x: Sequence, y: Sequence, *, groups: Sequence, clusters: Sequence, n_boot: int = 1000, seed: int = resampling.SEED) -> dict:
    """Spearman's correlation of the means of two columns by group (the system of each row); the interval resamples clusters and keeps the groups.

    Returns: `{"rho", "lo", "hi", "n"}`, n the groups.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    group, cluster = (np.unique(np.asarray(g).astype(str)[keep], return_inverse=True)[1] for g in (groups, clusters))
    if not keep.any():
        return _with_interval(np.nan, np.array([np.nan]), 0)
    shape = (cluster.max() + 1, group.max() + 1)
    cells = np.zeros((3, *shape))
    for table, values in zip(cells, (x[keep], y[keep], np.ones(keep.sum())), strict=True):
        np.add.at(table, (cluster, group), values)
    drawn = np.random.default_rng(seed).multinomial(shape[0], np.full(shape[0], 1 / shape[0]), size=n_boot)
    weights = np.concatenate([np.ones((1, shape[0])), drawn])  # the first line is the sample itself
    x, y, n = (weights @ table for table in cells)
    whole = (n > 0).all(axis=1)  # a resample that lost a group altogether says nothing about the order of all
    ranks = (rankdata((sums[whole] / n[whole]).round(12), axis=1) for sums in (x, y))
    found = _correlation(*ranks, np.ones((whole.sum(), shape[1])))
    return _with_interval(found[0], found[1:] if shape[0] > 1 else np.array([np.nan]), shape[1])
