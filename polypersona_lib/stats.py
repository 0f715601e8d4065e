"""Agreement, distances of distributions, Holm's correction, whole numbers in proportion: plain functions of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats as scipy_stats
from scipy.spatial import distance


def holm(p_values: Sequence) -> np.ndarray:
    """Holm-corrected p-values in the order given, NaN where the input is NaN.

    Source: Holm 1979. Equal to statsmodels' `multipletests`, which collects all garbage of the process in every call (a fifth of notebook 08).
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")[: np.isfinite(p_values).sum()]
    corrected = np.full(len(p_values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def quadratic_kappa(a: Sequence[int], b: Sequence[int], *, n_options: int) -> float:
    """Cohen's kappa with quadratic weights of two lists of options 0 … n_options-1. NaN if both are one and the same constant, or empty.

    Source: scikit-learn cohen_kappa_score.
    """
    from sklearn.metrics import cohen_kappa_score

    a, b = np.asarray(a, dtype=int), np.asarray(b, dtype=int)
    if not len(a) or (np.ptp(a) == 0 and np.array_equal(a, b)):
        return np.nan
    return float(cohen_kappa_score(a, b, labels=list(range(n_options)), weights="quadratic"))


def kappa_of_tables(tables: np.ndarray) -> np.ndarray:
    """Quadratic kappa of each table of counts (…, options, options), as `quadratic_kappa` of the answers behind it; NaN if nobody varies."""
    n = tables.shape[-1]
    weights = (np.arange(n)[:, None] - np.arange(n)) ** 2
    total = tables.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (weights * tables.sum(axis=-1)[..., :, None] * tables.sum(axis=-2)[..., None, :]).sum(axis=(-2, -1)) / total
        return np.where(expected > 0, 1 - (weights * tables).sum(axis=(-2, -1)) / expected, np.nan)


def _distribution(p: Sequence) -> np.ndarray:
    """`p` scaled to sum 1. Raises ValueError if it is not a distribution."""
    p = np.asarray(p, dtype=float)
    if p.ndim != 1 or len(p) < 2 or not np.isfinite(p).all() or (p < 0).any() or p.sum() <= 0:
        raise ValueError(f"not a distribution over two or more options: {p}")
    return p / p.sum()


def alignment(p: Sequence, q: Sequence) -> float:
    """1 - Wasserstein distance of two distributions over the same ordered options / its maximum, in [0, 1].

    Source: Santurkar et al. 2023 (OpinionQA), 1 - WD / (N - 1).
    """
    p, q = _distribution(p), _distribution(q)
    if len(p) != len(q):
        raise ValueError(f"distributions over {len(p)} and {len(q)} options")
    places = np.arange(len(p))
    return float(1 - scipy_stats.wasserstein_distance(places, places, p, q) / (len(p) - 1))


def jensen_shannon(p: Sequence, q: Sequence) -> float:
    """Jensen-Shannon divergence, base 2, in [0, 1] (the divergence; scipy's "distance" is its square root)."""
    p, q = _distribution(p), _distribution(q)
    if len(p) != len(q):
        raise ValueError(f"distributions over {len(p)} and {len(q)} options")
    return float(np.nan_to_num(distance.jensenshannon(p, q, base=2)) ** 2)


def _sd(p: np.ndarray) -> float:
    places = np.arange(len(p))
    return float(np.sqrt((p * (places - (p * places).sum()) ** 2).sum()))


def sd_ratio(p: Sequence, q: Sequence) -> float:
    """Standard deviation of the options under `p` over that under `q` (the reference): 1 is equal spread, below 1 too uniform. NaN if q is constant."""
    spread = _sd(_distribution(q))
    return _sd(_distribution(p)) / spread if spread > 0 else np.nan


def entropy_ratio(p: Sequence, q: Sequence) -> float:
    """Entropy of `p` over the entropy of `q` (the reference); NaN if q is constant."""
    reference = float(scipy_stats.entropy(_distribution(q)))
    return float(scipy_stats.entropy(_distribution(p))) / reference if reference > 0 else np.nan


def apportion(total: int, weights: list[float]) -> list[int]:
    """Whole numbers that sum to `total`, proportional to `weights` (largest remainder)."""
    exact = [total * w / sum(weights) for w in weights]
    floors = [int(e) for e in exact]
    order = sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i))
    for i in order[: total - sum(floors)]:
        floors[i] += 1
    return floors
