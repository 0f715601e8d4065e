"""One distribution of answers against another, in plain functions of numbers."""

import numpy as np
from scipy.special import entr


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
