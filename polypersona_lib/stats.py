"""Intervals, paired tests, effect sizes and agreement. Vectorised, seeded by a numpy Generator, no hidden state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats as scipy_stats
from scipy.spatial import distance

N_BOOT, N_PERM, LEVEL, SEED = 2000, 10_000, 0.95, 42
_CHUNK = 2_000_000  # numbers drawn at once: keeps memory flat for long inputs


def _totals(values: np.ndarray, clusters: Sequence | None) -> tuple[np.ndarray, np.ndarray]:
    """(sum, count) of each unit that is resampled: a row, or a cluster of rows."""
    if clusters is None:
        return values, np.ones(len(values))
    _, codes = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    return np.bincount(codes, weights=values), np.bincount(codes).astype(float)


def _finite(values: Sequence, clusters: Sequence | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The values that are numbers, with their clusters. Raises ValueError if the lengths differ."""
    values = np.asarray(values, dtype=float)
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    keep = np.isfinite(values)
    return values[keep], None if clusters is None else np.asarray(clusters)[keep]


def _resampled_means(values: np.ndarray, clusters: Sequence | None, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """`n_boot` means of resampled units, shape (n_boot,)."""
    sums, counts = _totals(values, clusters)
    step, means = max(1, _CHUNK // len(sums)), []
    for start in range(0, n_boot, step):
        drawn = rng.integers(0, len(sums), size=(min(step, n_boot - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def bootstrap_mean(values: Sequence, *, clusters: Sequence | None = None, n_boot: int = N_BOOT, level: float = LEVEL, seed: int = SEED) -> dict:
    """Mean of `values` and its percentile bootstrap interval; NaN values are left out.

    Args:
        values: numbers, shape (n,).
        clusters: what to resample instead of rows (the persona of each row), shape (n,).

    Returns:
        `{"mean", "lo", "hi", "n"}`; all NaN with n = 0, no interval (NaN) with fewer than two units.
    """
    values, clusters = _finite(values, clusters)
    if not len(values):
        return {"mean": np.nan, "lo": np.nan, "hi": np.nan, "n": 0}
    result = {"mean": float(values.mean()), "lo": np.nan, "hi": np.nan, "n": len(values)}
    if len(_totals(values, clusters)[0]) > 1:
        means = _resampled_means(values, clusters, n_boot, np.random.default_rng(seed))
        result["lo"], result["hi"] = map(float, np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    return result


def _differences(a: Sequence, b: Sequence) -> np.ndarray:
    """a - b, row by row. Raises ValueError if the lengths differ."""
    if len(a) != len(b):
        raise ValueError(f"paired samples differ in length: {len(a)} and {len(b)}")
    return np.asarray(a, dtype=float) - np.asarray(b, dtype=float)


def paired_bootstrap(a: Sequence, b: Sequence, *, clusters: Sequence | None = None, n_boot: int = N_BOOT, level: float = LEVEL, seed: int = SEED) -> dict:
    """Mean of a - b over the rows that both have, with its bootstrap interval: `{"mean", "lo", "hi", "n"}`. Raises ValueError on unequal lengths."""
    return bootstrap_mean(_differences(a, b), clusters=clusters, n_boot=n_boot, level=level, seed=seed)


def paired_permutation(a: Sequence, b: Sequence, *, clusters: Sequence | None = None, n_perm: int = N_PERM, seed: int = SEED) -> float:
    """Two-sided p-value of "a and b have the same mean", by flipping the signs of the differences (of whole clusters if given).

    In [1 / (n_perm + 1), 1]; NaN without a row. Source: Phipson and Smyth 2010 (the observed arrangement counts as one).
    """
    values, clusters = _finite(_differences(a, b), clusters)
    if not len(values):
        return np.nan
    sums, _ = _totals(values, clusters)
    rng, observed, extreme = np.random.default_rng(seed), abs(sums.sum()), 0
    step = max(1, _CHUNK // len(sums))
    for start in range(0, n_perm, step):
        signs = rng.integers(0, 2, size=(min(step, n_perm - start), len(sums))) * 2.0 - 1.0
        extreme += int((np.abs(signs @ sums) >= observed - 1e-12).sum())
    return (extreme + 1) / (n_perm + 1)


def holm(p_values: Sequence) -> np.ndarray:
    """Holm-corrected p-values in the order given, NaN where the input is NaN. Source: statsmodels multipletests."""
    from statsmodels.stats.multitest import multipletests

    p_values = np.asarray(p_values, dtype=float)
    corrected, known = np.full(len(p_values), np.nan), np.isfinite(p_values)
    if known.any():
        corrected[known] = multipletests(p_values[known], method="holm")[1]
    return corrected


def cohens_d(a: Sequence, b: Sequence, *, paired: bool = False) -> float:
    """Standardised mean difference: pooled standard deviation, or that of the differences if `paired`. NaN if it cannot be formed."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if paired:
        gap = _finite(_differences(a, b), None)[0]
        spread, shift = gap.std(ddof=1) if len(gap) > 1 else 0.0, gap.mean() if len(gap) else np.nan
    else:
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        if min(len(a), len(b)) < 2:
            return np.nan
        spread = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2))
        shift = a.mean() - b.mean()
    return float(shift / spread) if spread > 0 else np.nan


def quadratic_kappa(a: Sequence[int], b: Sequence[int], *, n_options: int) -> float:
    """Cohen's kappa with quadratic weights of two lists of options 0 … n_options-1. NaN if both are one and the same constant, or empty.

    Source: scikit-learn cohen_kappa_score.
    """
    from sklearn.metrics import cohen_kappa_score

    a, b = np.asarray(a, dtype=int), np.asarray(b, dtype=int)
    if not len(a) or (np.ptp(a) == 0 and np.array_equal(a, b)):
        return np.nan
    return float(cohen_kappa_score(a, b, labels=list(range(n_options)), weights="quadratic"))


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
