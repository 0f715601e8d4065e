"""Holm's correction, agreement of two raters, one distribution against another, whole numbers in proportion: plain functions of numbers."""

from collections.abc import Sequence

import numpy as np
from scipy.special import entr


def holm(p_values: Sequence) -> np.ndarray:
    """Holm-corrected p-values in the order given, NaN where the input is NaN.

    Source: Holm 1979. Equal to statsmodels' `multipletests`, which collects all garbage of the process in every call (a fifth of notebook 08).
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")[: np.isfinite(p_values).sum()]
    corrected = np.full(len(p_values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def quadratic_kappa(a: Sequence[float], b: Sequence[float], *, items: Sequence | None = None) -> float:
    """Cohen's kappa with quadratic weights of two lists of positions on a scale, chance taken within each item; NaN if nobody varies, or without answers.

    1 - squared distance / the same if the answers to an item were assigned to its people at random. So an answerer that gives everybody the same answer to an
    item has 0, whatever it knows of the item. Few people to an item draw kappa towards 0, because chance pairs some of them with themselves.
    Args: a, b: positions, of every item on the same range (0-1 if items have different numbers of options). items: which item each answers; None: one.
    Source: Cohen 1968; for one item scikit-learn's cohen_kappa_score.
    """
    a, b = (np.asarray(v, dtype=float) for v in (a, b))
    item = np.zeros(len(a), dtype=int) if items is None else np.unique(np.asarray(items).astype(str), return_inverse=True)[1]
    n, left, right = (np.bincount(item, weights=w) for w in (np.ones(len(a)), a, b))
    expected = (a * a + b * b).sum() - 2 * (left * right / np.maximum(n, 1)).sum()
    return float(1 - ((a - b) ** 2).sum() / expected) if expected > 1e-9 else np.nan


def compare_distributions(p: np.ndarray, q: np.ndarray, sizes) -> dict[str, np.ndarray]:
    """`p` (a system) against `q` (the reference) over ordered options, both (..., options) with rows that sum to 1: metric -> (...).

    Args: sizes: number of options of each row, shape (...); columns beyond it hold 0.
    Returns:
        alignment: 1 - Wasserstein distance / (options - 1). js_divergence: Jensen-Shannon divergence, base 2 (its square root is the distance).
        sd_ratio, entropy_ratio: spread of p over that of q, NaN where q is constant: 1 is equal, below 1 too uniform. top_share: p's most frequent option.
    Source: Santurkar et al. 2023 (OpinionQA) for alignment; scipy's `wasserstein_distance` and `jensenshannon` give the same.
    """
    places = np.arange(p.shape[-1])
    spread = [np.sqrt(np.clip((d * places**2).sum(-1) - (d * places).sum(-1) ** 2, 0, None)) for d in (p, q)]
    entropy = [entr(d).sum(-1) for d in (p, q)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "alignment": 1 - np.abs(np.cumsum(p - q, axis=-1)).sum(-1) / (np.asarray(sizes) - 1),
            "js_divergence": np.clip((entr((p + q) / 2).sum(-1) - (entropy[0] + entropy[1]) / 2) / np.log(2), 0, 1),
            "sd_ratio": np.where(spread[1] > 1e-9, spread[0] / spread[1], np.nan),
            "entropy_ratio": np.where(entropy[1] > 1e-9, entropy[0] / entropy[1], np.nan),
            "top_share": p.max(-1),
        }


def apportion(total: int, weights: list[float]) -> list[int]:
    """Whole numbers that sum to `total`, proportional to `weights` (largest remainder)."""
    exact = [total * w / sum(weights) for w in weights]
    floors = [int(e) for e in exact]
    order = sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i))
    for i in order[: total - sum(floors)]:
        floors[i] += 1
    return floors
