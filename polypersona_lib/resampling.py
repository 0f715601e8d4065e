"""Intervals and tests by resampling: one bootstrap and one permutation test over named units, Holm's correction, kappa. Seeded, no hidden state.

Every interval of the project comes from here, by one rule (`interval`). The unit is whatever was drawn from a population, usually a person: `clusters`
names the unit of each row. A statistic that is a function of sums over units (mean, ratio, kappa, correlation) goes to `resample`. Any other statistic
takes the number of times each unit was drawn (`drawn_units`) and hands its values to `interval`.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

N_BOOT, N_PERM, N_SUB, LEVEL, SEED = 2000, 10_000, 100, 0.95, 42
PART = "part_of_"  # begins the name of a column that holds the parts in the mean of another
FEW = 40  # with fewer units, percentiles are taken further out; with 40 a plain percentile interval is 4 % too narrow, with 10 a fifth, with 5 a third
FEWEST = 5  # units, below which percentiles cannot reach 95 %: of two units they cover 50, of three 75, of four 88 times in 100
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


def by_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every score that has a part in its mean (`PART` + its name, as the swap control gives) replaced by it: for intervals and tests.

    Scores of rows that hang on each other cannot be resampled as they stand; the mean over whole questions is the same. Rows without parts stay as they are.
    """
    return rows.assign(**{name.removeprefix(PART): rows[name] for name in map(str, rows) if name.startswith(PART)})


def without_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without these columns: of some rows of a question the parts have another mean than the scores."""
    return rows[[name for name in rows if not str(name).startswith(PART)]]


def drawn_units(units: int, *, n_boot: int = N_BOOT, seed: int = SEED) -> np.ndarray:
    """How often each unit is in each of `n_boot` bootstrap samples: whole numbers, shape (n_boot, units), every row with the sum `units`."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=n_boot)


def resampled_sums(values: np.ndarray, *, n_boot: int = N_BOOT, seed: int = SEED) -> np.ndarray:
    """Column sums of `n_boot` bootstrap samples of the rows of `values` (units, columns; finite, also sparse): times drawn x rows, (n_boot, columns)."""
    rng, n, sums = np.random.default_rng(seed), values.shape[0], []
    step = max(1, _CHUNK // max(1, n))
    for start in range(0, n_boot, step):
        count = min(step, n_boot - start)
        drawn = rng.integers(0, n, size=(count, n)) + np.arange(count)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        sums.append(times.astype(float) @ values)
    return np.concatenate(sums)


def quantiles(units: int) -> list[float]:
    """The two quantiles of a percentile interval from `units` (two or more) resampled units: .025 and .975, further out for few units.

    Resampled means spread less than means do, by sqrt((units - 1) / units), and have no tails of Student's t: five people are covered 83 instead of 95
    times in 100. Source: Hesterberg 2015 (What Teachers Should Know About the Bootstrap), expanded percentile interval; tests/test_stats.py measures it.
    """
    tail = (1 - LEVEL) / 2
    if units < FEW:
        tail = float(scipy_stats.norm.cdf(scipy_stats.t.ppf(tail, units - 1) * np.sqrt(units / (units - 1))))
    return [tail, 1 - tail]


def interval(draws: np.ndarray, *, units: int, around: np.ndarray | float | None = None) -> np.ndarray:
    """The 95 % interval of a statistic from its values in bootstrap samples, one for every column of `draws`: (lo, hi), shape (2, ...).

    Draws without a number (NaN, infinite) are left out. NaN with fewer than two draws that have a number, and with fewer than two units.
    Args:
        draws: values of the statistic, shape (n_boot, ...). units: how many units were resampled; fewer than `FEW` widen the interval (`quantiles`).
        around: the statistic of the sample itself, shape (...). The interval is then centred on it, with the standard deviation of the draws as standard
            error. Give it where resamples lie to one side of the sample, as those of a distance do: a sample with repeats is further from everything.
            With fewer than `FEWEST` units all intervals are like this, around the mean of the draws: their percentiles end at the largest unit.
    """
    draws = np.where(np.isfinite(draws), draws, np.nan)
    columns = draws.reshape(len(draws), math.prod(draws.shape[1:]))
    known, ends = np.isfinite(columns).sum(axis=0) > 1, np.full((2, columns.shape[1]), np.nan)
    if units > 1 and known.any():
        if around is None and units < FEWEST:
            around = np.full(len(known), np.nan)
            around[known] = np.nanmean(columns[:, known], axis=0)
        if around is None:
            ends[:, known] = np.nanquantile(columns[:, known], quantiles(units), axis=0)
        else:
            half = -scipy_stats.norm.ppf(quantiles(units)[0]) * np.nanstd(columns[:, known], axis=0, ddof=1)
            ends[:, known] = np.ravel(around)[known] + np.stack([-half, half])
    return ends.reshape(2, *draws.shape[1:])


def resample(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    clusters: Sequence | None = None,
    n_boot: int = N_BOOT,
    seed: int = SEED,
    multinomial: bool = False,
) -> dict:
    """A statistic that is a function of sums, with its bootstrap interval (`interval`): `{"value", "lo", "hi", "n"}`, n the rows.

    Args:
        rows: what is summed, shape (n, columns), finite.
        statistic: sums, shape (samples, columns) -> values, shape (samples,) or (samples, k); it may give NaN, and divide by 0 without a warning.
        clusters: the unit of each row (its persona), shape (n,); rows of a unit are drawn together. None: every row is a unit.
        multinomial: draw as `drawn_units`, not unit by unit as `resampled_sums`. The distribution is the same and the random numbers differ: published
            intervals of the sessions study rest on the former, those of the score tables on the latter.
    """
    rows = np.asarray(rows, dtype=float)
    sums = _sums(rows, _units(clusters, len(rows)))
    return _estimate(sums, _samples(sums, n_boot=n_boot, seed=seed, multinomial=multinomial), statistic) | {"n": len(rows)}


def _samples(sums, *, n_boot: int, seed: int, multinomial: bool) -> np.ndarray:
    """Column sums of bootstrap samples of units (`sums`: (units, columns), also sparse), drawn in one of two ways (`resample`): (n_boot, columns)."""
    if multinomial:
        return drawn_units(sums.shape[0], n_boot=n_boot, seed=seed).astype(float) @ sums
    return resampled_sums(sums, n_boot=n_boot, seed=seed)


def _estimate(sums: np.ndarray, samples: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> dict:
    """A statistic of sums over units, shape (units, columns), with its interval from the column sums of bootstrap samples: `{"value", "lo", "hi"}`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(np.vstack([np.asarray(sums.sum(axis=0)).reshape(1, -1), samples]))
    lo, hi = interval(values[1:], units=sums.shape[0])
    return {"value": values[0], "lo": lo, "hi": hi}


def bootstrap_means(table: pd.DataFrame | np.ndarray, *, clusters: Sequence | None = None, n_boot: int = N_BOOT, seed: int = SEED) -> pd.DataFrame:
    """Mean of every column and its bootstrap interval (`resample`), all columns with the same draws.

    NaN values are left out column by column; columns that miss the same rows are resampled together. What a column gets does not depend on the columns beside
    it, and columns of the same rows can be compared draw by draw.
    Args: table: numbers, shape (n, columns). clusters: what to resample instead of rows (the persona of each row), shape (n,).
    Returns: One row a column of `table`: mean, lo, hi, n (rows in the mean). All NaN with n = 0, no interval (NaN) with fewer than two units.
    """
    frame = pd.DataFrame(table)
    values, units = frame.to_numpy(dtype=float), _units(clusters, len(frame))
    out = np.full((values.shape[1], 3), np.nan)
    for columns, pattern in _patterns(values):
        kept = values[np.ix_(pattern, columns)]
        sums = _sums(np.column_stack([kept, np.ones(len(kept))]), np.unique(units[pattern], return_inverse=True)[1])
        means = _estimate(sums, resampled_sums(sums, n_boot=n_boot, seed=seed), lambda s: s[:, :-1] / s[:, -1:])
        out[columns] = np.stack([kept.mean(axis=0), means["lo"], means["hi"]], axis=1)
    return pd.DataFrame(out, index=frame.columns, columns=["mean", "lo", "hi"]).assign(n=np.isfinite(values).sum(axis=0))


def bootstrap_mean(values: Sequence, *, clusters: Sequence | None = None, n_boot: int = N_BOOT, seed: int = SEED) -> dict:
    """`bootstrap_means` of one column: `{"mean", "lo", "hi", "n"}`."""
    row = bootstrap_means(np.asarray(values, dtype=float)[:, None], clusters=clusters, n_boot=n_boot, seed=seed).iloc[0]
    return {**{k: float(row[k]) for k in ("mean", "lo", "hi")}, "n": int(row["n"])}


def subsampled(statistic: Callable[[np.ndarray], float], n: int, *, size: int, seed: int = SEED) -> tuple[float, float]:
    """Mean over samples of `size` of `n` rows, and the standard error that the mean over all such samples has.

    For statistics that repeated rows would bias (distinct words, self-BLEU): samples are drawn without replacement, so no bootstrap is possible. The spread
    over samples is scaled from `size` to `n` rows; with half of the rows it is the standard error as it stands.
    Args: statistic: of row numbers, shape (size,), a number. Raises ValueError unless 0 < size < n.
    Source: Politis, Romano and Wolf 1999 (Subsampling), with the correction for a finite population; tests/test_stats.py measures the coverage.
    """
    if not 0 < size < n:
        raise ValueError(f"cannot draw samples of {size} from {n} rows without replacement")
    rng = np.random.default_rng(seed)
    values = np.array([statistic(np.sort(rng.choice(n, size, replace=False))) for _ in range(N_SUB)])
    return float(values.mean()), float(values.std(ddof=1) * np.sqrt(size / (n - size)))


def _differences(a: Sequence, b: Sequence) -> np.ndarray:
    """a - b, row by row. Raises ValueError if the lengths differ."""
    if len(a) != len(b):
        raise ValueError(f"paired samples differ in length: {len(a)} and {len(b)}")
    return np.asarray(a, dtype=float) - np.asarray(b, dtype=float)


def paired_bootstrap(a: Sequence, b: Sequence, *, clusters: Sequence | None = None, seed: int = SEED) -> dict:
    """Mean of a - b over the rows that both have, with its bootstrap interval: `{"mean", "lo", "hi", "n"}`. Raises ValueError on unequal lengths."""
    return bootstrap_mean(_differences(a, b), clusters=clusters, seed=seed)


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


def paired_permutation(a: Sequence, b: Sequence, *, clusters: Sequence | None = None, seed: int = SEED) -> float:
    """`permutation_p` of a - b. Raises ValueError on unequal lengths."""
    return float(permutation_p(_differences(a, b)[:, None], clusters=clusters, seed=seed)[0])


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
    item, _ = _items(items, len(a))
    n, left, right = (np.bincount(item, weights=w) for w in (np.ones(len(a)), a, b))
    expected = (a * a + b * b).sum() - 2 * (left * right / np.maximum(n, 1)).sum()
    return float(1 - ((a - b) ** 2).sum() / expected) if expected > 1e-9 else np.nan


def bootstrap_kappa(
    a: Sequence,
    b: Sequence,
    *,
    items: Sequence | None = None,
    clusters: Sequence | None = None,
    n_boot: int = N_BOOT,
    seed: int = SEED,
    multinomial: bool = False,
) -> dict:
    """`quadratic_kappa` with its bootstrap interval: `{"mean", "lo", "hi", "n"}` ("mean": the kappa). `multinomial`: as in `resample`."""
    from scipy import sparse

    a, b = (np.asarray(v, dtype=float) for v in (a, b))
    units, (item, k) = _units(clusters, len(a)), _items(items, len(a))
    columns = [np.zeros(len(a), dtype=int), np.ones(len(a), dtype=int), 2 + item, 2 + k + item, 2 + 2 * k + item]
    cells = np.concatenate([(a - b) ** 2, a * a + b * b, np.ones(len(a)), a, b]), (np.tile(units, 5), np.concatenate(columns))
    sums = sparse.csr_matrix(cells, shape=(units.max(initial=-1) + 1, 2 + 3 * k))

    def kappa(sums: np.ndarray) -> np.ndarray:
        n, left, right = np.moveaxis(sums[:, 2:].reshape(len(sums), 3, k), 1, 0)
        expected = sums[:, 1] - 2 * (left * right / np.maximum(n, 1)).sum(-1)
        return np.where(expected > 1e-9, 1 - sums[:, 0] / expected, np.nan)

    samples = _samples(sums, n_boot=n_boot, seed=seed, multinomial=multinomial) if len(a) else np.zeros((0, 2 + 3 * k))
    estimate = _estimate(sums, samples, kappa)
    return {"mean": float(estimate["value"]), "lo": float(estimate["lo"]), "hi": float(estimate["hi"]), "n": len(a)}


def _items(items: Sequence | None, rows: int) -> tuple[np.ndarray, int]:
    """(the number of each row's item, how many items)."""
    item = np.zeros(rows, dtype=int) if items is None else np.unique(np.asarray(items).astype(str), return_inverse=True)[1]
    return item, int(item.max(initial=0)) + 1
