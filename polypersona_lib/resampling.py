"""Intervals and tests by resampling: one bootstrap and one permutation test over named units. Seeded by a numpy Generator, no hidden state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from .stats import kappa_of_tables

N_BOOT, N_PERM, N_SUB, LEVEL, SEED = 2000, 10_000, 100, 0.95, 42
FEW = 40  # with fewer units, percentiles are taken further out; with 40 a plain percentile interval is 4 % too narrow, with 10 a fifth, with 5 a third
_CHUNK = 2_000_000  # numbers drawn at once: keeps memory flat for long inputs


def _units(clusters: Sequence | None, rows: int) -> np.ndarray:
    """The number of the unit (a row, or a cluster of rows) that each row belongs to, shape (rows,). Raises ValueError if the lengths differ."""
    if clusters is None:
        return np.arange(rows)
    if len(clusters) != rows:
        raise ValueError(f"{rows} values but {len(clusters)} clusters")
    return np.unique(np.asarray(clusters).astype(str), return_inverse=True)[1]


def _sums(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Sums of `values` (rows, columns) over each unit: (units, columns)."""
    return values if len(units) == units.max(initial=-1) + 1 else np.stack([np.bincount(units, weights=column) for column in values.T], axis=1)


def _patterns(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(columns, rows that are numbers in them) for each set of columns of `values` that lack the same rows; columns without a number are left out."""
    known, groups = np.isfinite(values), {}
    for column in np.flatnonzero(known.any(axis=0)):
        groups.setdefault(known[:, column].tobytes(), []).append(column)
    for columns in groups.values():
        yield np.array(columns), known[:, columns[0]]


def resampled_sums(values: np.ndarray, *, n_boot: int = N_BOOT, seed: int = SEED) -> np.ndarray:
    """Column sums of `n_boot` bootstrap samples of the rows of `values`: the number of times each row is drawn, times the rows.

    Every statistic that is a function of sums (means, corpus BLEU, kappa) can be resampled by this one product.

    Args: values: shape (units, columns), finite. Returns: shape (n_boot, columns).
    """
    rng, n, found = np.random.default_rng(seed), len(values), []
    step = max(1, _CHUNK // n)
    for start in range(0, n_boot, step):
        count = min(step, n_boot - start)
        drawn = rng.integers(0, n, size=(count, n)) + np.arange(count)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        found.append(times.astype(float) @ values)
    return np.concatenate(found)


def tails(units: int, *, level: float = LEVEL) -> list[float]:
    """The two quantiles of a percentile bootstrap interval of `units` (two or more) resampled units: (1 - level) / 2 and its mirror, further out for few units.

    Resampled means spread less than means do, by sqrt((units - 1) / units), and have no tails of Student's t: five people are covered 83 instead of 95
    times in 100. Source: Hesterberg 2015 (What Teachers Should Know About the Bootstrap), expanded percentile interval; tests/test_stats.py measures it.
    """
    tail = (1 - level) / 2
    if units < FEW:
        tail = float(scipy_stats.norm.cdf(scipy_stats.t.ppf(tail, units - 1) * np.sqrt(units / (units - 1))))
    return [tail, 1 - tail]


def bootstrap_means(
    table: pd.DataFrame | np.ndarray, *, clusters: Sequence | None = None, n_boot: int = N_BOOT, level: float = LEVEL, seed: int = SEED
) -> pd.DataFrame:
    """Mean of every column and its percentile bootstrap interval (`tails`), all columns with the same draws.

    NaN values are left out column by column; columns that miss the same rows are resampled together. What a column gets does not depend on the columns
    beside it, and columns of the same rows can be compared draw by draw.

    Args:
        table: numbers, shape (n, columns).
        clusters: what to resample instead of rows (the persona of each row), shape (n,).

    Returns:
        One row a column of `table`: mean, lo, hi, n (rows in the mean). All NaN with n = 0, no interval (NaN) with fewer than two units.
    """
    frame = pd.DataFrame(table)
    values, units = frame.to_numpy(dtype=float), _units(clusters, len(frame))
    out = np.full((values.shape[1], 3), np.nan)
    for columns, pattern in _patterns(values):
        kept, mine = values[np.ix_(pattern, columns)], np.unique(units[pattern], return_inverse=True)[1]
        out[columns, 0] = kept.mean(axis=0)
        if mine.max() > 0:
            drawn = resampled_sums(_sums(np.column_stack([kept, np.ones(len(kept))]), mine), n_boot=n_boot, seed=seed)
            out[columns, 1:] = np.quantile(drawn[:, :-1] / drawn[:, -1:], tails(mine.max() + 1, level=level), axis=0).T
    return pd.DataFrame(out, index=frame.columns, columns=["mean", "lo", "hi"]).assign(n=np.isfinite(values).sum(axis=0))


def bootstrap_mean(values: Sequence, *, clusters: Sequence | None = None, n_boot: int = N_BOOT, level: float = LEVEL, seed: int = SEED) -> dict:
    """`bootstrap_means` of one column: `{"mean", "lo", "hi", "n"}`."""
    found = bootstrap_means(np.asarray(values, dtype=float)[:, None], clusters=clusters, n_boot=n_boot, level=level, seed=seed).iloc[0]
    return {**{k: float(found[k]) for k in ("mean", "lo", "hi")}, "n": int(found["n"])}


def subsampled(statistic: Callable[[np.ndarray], float], n: int, *, size: int, draws: int = N_SUB, seed: int = SEED) -> tuple[float, float]:
    """Mean over samples of `size` of `n` rows, and the standard error that the mean over all such samples has.

    For statistics that repeated rows would bias (distinct words, self-BLEU): samples are drawn without replacement, so no bootstrap is possible. The
    spread over samples is scaled from `size` to `n` rows; with half of the rows it is the standard error as it stands.

    Args: statistic: of row numbers, shape (size,), a number. Raises ValueError unless 0 < size < n.
    Source: Politis, Romano and Wolf 1999 (Subsampling), with the correction for a finite population; tests/test_stats.py measures the coverage.
    """
    if not 0 < size < n:
        raise ValueError(f"cannot draw samples of {size} from {n} rows without replacement")
    rng = np.random.default_rng(seed)
    found = np.array([statistic(np.sort(rng.choice(n, size, replace=False))) for _ in range(draws)])
    return float(found.mean()), float(found.std(ddof=1) * np.sqrt(size / (n - size)))


def _differences(a: Sequence, b: Sequence) -> np.ndarray:
    """a - b, row by row. Raises ValueError if the lengths differ."""
    if len(a) != len(b):
        raise ValueError(f"paired samples differ in length: {len(a)} and {len(b)}")
    return np.asarray(a, dtype=float) - np.asarray(b, dtype=float)


def paired_bootstrap(a: Sequence, b: Sequence, *, clusters: Sequence | None = None, n_boot: int = N_BOOT, level: float = LEVEL, seed: int = SEED) -> dict:
    """Mean of a - b over the rows that both have, with its bootstrap interval: `{"mean", "lo", "hi", "n"}`. Raises ValueError on unequal lengths."""
    return bootstrap_mean(_differences(a, b), clusters=clusters, n_boot=n_boot, level=level, seed=seed)


def permutation_p(table: pd.DataFrame | np.ndarray, *, clusters: Sequence | None = None, n_perm: int = N_PERM, seed: int = SEED) -> np.ndarray:
    """Two-sided p-value of "the mean of this column of paired differences is 0", for every column, by flipping signs (of whole clusters if given).

    Columns that miss the same rows share their flips. In [1 / (n_perm + 1), 1]; NaN for a column without a number.
    Source: Phipson and Smyth 2010 (the observed arrangement counts as one).

    Args: table: differences, shape (n, columns); clusters: shape (n,). Returns: shape (columns,).
    """
    values = np.asarray(table, dtype=float)
    units, p = _units(clusters, len(values)), np.full(values.shape[1], np.nan)
    for columns, pattern in _patterns(values):
        sums = _sums(values[np.ix_(pattern, columns)], np.unique(units[pattern], return_inverse=True)[1])
        rng, observed, extreme = np.random.default_rng(seed), np.abs(sums.sum(axis=0)), np.zeros(len(columns), dtype=int)
        step = max(1, _CHUNK // len(sums))
        for start in range(0, n_perm, step):
            signs = rng.integers(0, 2, size=(min(step, n_perm - start), len(sums))) * 2.0 - 1.0
            extreme += (np.abs(signs @ sums) >= observed - 1e-12).sum(axis=0)
        p[columns] = (extreme + 1) / (n_perm + 1)
    return p


def paired_permutation(a: Sequence, b: Sequence, *, clusters: Sequence | None = None, n_perm: int = N_PERM, seed: int = SEED) -> float:
    """`permutation_p` of a - b. Raises ValueError on unequal lengths."""
    return float(permutation_p(_differences(a, b)[:, None], clusters=clusters, n_perm=n_perm, seed=seed)[0])


def bootstrap_kappa(
    a: Sequence, b: Sequence, *, n_options: int, clusters: Sequence | None = None, n_boot: int = N_BOOT, level: float = LEVEL, seed: int = SEED
) -> dict:
    """Quadratic kappa of two lists of options 0 … n_options-1 with its bootstrap interval: `{"mean", "lo", "hi", "n"}` ("mean": the kappa)."""
    a, b = np.asarray(a, dtype=int), np.asarray(b, dtype=int)
    units = _units(clusters, len(a))
    tables = np.zeros((units.max(initial=-1) + 1, n_options, n_options))
    np.add.at(tables, (units, a, b), 1)
    result = {"mean": float(kappa_of_tables(tables.sum(axis=0))), "lo": np.nan, "hi": np.nan, "n": len(a)}
    if len(tables) > 1:
        sums = resampled_sums(tables.reshape(len(tables), -1), n_boot=n_boot, seed=seed).reshape(-1, n_options, n_options)
        drawn = kappa_of_tables(sums)
        if np.isfinite(drawn).any():
            result["lo"], result["hi"] = map(float, np.nanquantile(drawn, tails(len(tables), level=level)))
    return result
