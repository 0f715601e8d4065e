"""Who made the bias, the model that wrote the cards or the model that answers? Variance components of generator x simulator, with intervals.

All cells hold the same people, so their own differences cancel. A handful of models is no sample of models: intervals say how sure the numbers are for *these*
generators and simulators and other people, not for other models.
"""

import numpy as np
import pandas as pd

from ... import resampling
from ...models.answer_gates import passes
from . import tier_effects
from .plan import GRID_TIERS

COMPONENTS = ("generator", "simulator", "interaction")


def components(cells: np.ndarray) -> np.ndarray:
    """Variance components of mean scores by the two-way random-effects analysis of variance, one observation a cell, shape (..., 3): `COMPONENTS`.

    Args: cells: shape (..., generators, simulators), two or more of each. With one mean a cell the interaction holds whatever is left, noise included.
    An estimate can be negative where its true value is 0; it is not cut off.
    Source: Searle, Casella and McCulloch 1992, chapter 4; statsmodels' `anova_lm` gives the same mean squares.
    """
    g, s = cells.shape[-2:]
    rows, columns = cells.mean(-1), cells.mean(-2)
    mean = rows.mean(-1)
    between = [s * ((rows - mean[..., None]) ** 2).sum(-1) / (g - 1), g * ((columns - mean[..., None]) ** 2).sum(-1) / (s - 1)]
    rest = cells - rows[..., :, None] - columns[..., None, :] + mean[..., None, None]
    left = (rest**2).sum((-1, -2)) / ((g - 1) * (s - 1))
    return np.stack([(between[0] - left) / s, (between[1] - left) / g, left], axis=-1)


def grid_tables(votes: pd.DataFrame, *, seed: int) -> dict[str, pd.DataFrame]:
    """(mass) simulator, mass, passed: the gate of option mass on the vote itself; (grid) `variance_components` for each tier of the grid (column tier).

    A simulator that fails the gate gives no valid answer to the vote: the grid leaves it out. Args: votes: from `bias_measures.outcomes`, elections only.
    """
    votes = votes[votes["tier"].isin(GRID_TIERS)]
    mass = votes.groupby("simulator", sort=False)["mass"].mean().reset_index()
    mass["passed"] = pd.Series([passes("option mass", m) for m in mass["mass"]], dtype=object)
    scores = tier_effects.person_scores(votes[~votes["simulator"].isin(silent_answerers(mass))])
    parts = [variance_components(scores[scores["tier"] == tier], seed=seed).assign(tier=tier) for tier in GRID_TIERS]
    return {"mass": mass, "grid": pd.concat(parts, ignore_index=True)}


def silent_answerers(mass: pd.DataFrame) -> dict[str, float]:
    """Simulator -> mass of those that fail the gate on the vote."""
    return {line.simulator: line.mass for line in mass.itertuples() if line.passed is False}


def sign_holds(cells: np.ndarray) -> bool:
    """Whether generators differ more than simulators, or less, with all of them and without any single one (where two of each are left)."""
    fewer = [np.delete(cells, i, axis) for axis in (0, 1) for i in range(cells.shape[axis]) if cells.shape[axis] > 2]
    return len({float(np.sign(part[0] - part[1])) for part in map(components, (cells, *fewer))}) == 1


def complete_cells(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(people x cells, cells that are there) of complete generators x simulators: people without every cell are left out.

    Args: scores: `tier_effects.person_scores` of one family and tier. Returns: a frame with columns (generator, simulator), index (persona_id, state), without
        gaps; and a frame of the mean of each cell (index generator, columns simulator).
    """
    wide = scores.pivot_table(index=["persona_id", "state"], columns=["generator", "simulator"], values="score")
    generators, simulators = (wide.columns.get_level_values(level).unique() for level in (0, 1))
    full = [g for g in generators if all((g, s) in wide.columns for s in simulators)]
    wide = wide[[(g, s) for g in full for s in simulators]].dropna()
    return wide, wide.mean().unstack() if len(wide.columns) else pd.DataFrame()


def variance_components(scores: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Rows for `COMPONENTS`: variance, lo, hi, sd (its root, 0 where negative), share (of the three together, negative ones as 0), n (people), generators,
    simulators, sign_holds; and for "generator - simulator", the difference of the two variances: above 0, generators differ more.

    `share` has its own interval (share_lo, share_hi). States are resampled with all their people. Empty without two of each.
    """
    wide, means = complete_cells(scores)
    if min(means.shape, default=0) < 2 or wide.empty:
        return pd.DataFrame()
    states = np.unique(wide.index.get_level_values("state").astype(str), return_inverse=True)[1]
    values = np.column_stack([wide.to_numpy(dtype=float), np.ones(len(wide))])
    sums = np.stack([np.bincount(states, weights=column) for column in values.T], axis=1)
    draws = resampling.resampled_sums(sums, seed=seed)
    shape = means.shape

    def parts(total: np.ndarray) -> np.ndarray:
        parted = components((total[:, :-1] / total[:, -1:]).reshape(len(total), *shape))
        return np.column_stack([parted, parted[:, 0] - parted[:, 1]])

    value, drawn = parts(sums.sum(axis=0, keepdims=True))[0], parts(draws)
    ends = resampling.interval(drawn, units=len(sums), around=value)
    positive = [np.clip(v[..., :3], 0, None) for v in (value, drawn)]
    with np.errstate(invalid="ignore"):
        share, shares = (p / p.sum(-1, keepdims=True) for p in positive)
    share_ends = resampling.interval(shares, units=len(sums), around=share)
    table = pd.DataFrame(
        {"part": [*COMPONENTS, "generator - simulator"], "variance": value, "lo": ends[0], "hi": ends[1], "sd": np.sqrt(np.clip(value, 0, None))}
    )
    shown = {"share": share, "share_lo": share_ends[0], "share_hi": share_ends[1]}
    table = table.assign(**{name: [*np.clip(part, 0, 1), np.nan] for name, part in shown.items()}, n=len(wide), generators=shape[0], simulators=shape[1])
    table.loc[3, "sd"] = np.nan
    return table.assign(sign_holds=sign_holds(means.to_numpy()))
