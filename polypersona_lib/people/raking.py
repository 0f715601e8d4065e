"""Weights that make people (or cards) agree with known shares: raking to several margins, one or more columns each; and the number of people that is left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import InputError
from ..rectification import effective_people

CLOSE_ENOUGH, MOST_ROUNDS = 1e-6, 1000  # largest distance of a share from its target, and after how many rounds we give up


@dataclass(frozen=True)
class Raked:
    """Weights that meet the margins.

    Args: weights: one a person, sum 1. effective_n: how many people of equal weight would have their sampling variance (Kish). people: how many had a weight
        before. dropped: how many of them got none, because a margin gives their value a share of 0. rounds: of raking. error: largest distance from a target.
    """

    weights: np.ndarray
    effective_n: float
    people: int
    dropped: int
    rounds: int
    error: float

    def in_words(self) -> str:
        """One line for a report."""
        gone = f"; {self.dropped} had a value that the margins rule out and got no weight" if self.dropped else ""
        return f"{self.people} people raked in {self.rounds} rounds; they are worth {self.effective_n:.0f} of equal weight{gone}"


def rake(people: pd.DataFrame, margins: Sequence[pd.Series], *, weights: np.ndarray | None = None) -> Raked:
    """Multiply people's weights until each margin is met (iterative proportional fitting).

    Args:
        people: a row a person, with the columns that the margins name. margins: target shares, index the values of one column (named after it) or of several
            (a MultiIndex); each is divided by its sum. A margin of all columns at once is poststratification. weights: before raking, None: all 1.
    Raises: InputError, one line, for a column or value that is not there, shares that are none, weights that are all 0, values that have a share and
        no people, and margins that cannot be met together.
    Source: Deming and Stephan 1940. What is not in a margin (how its columns go together) stays as it was among the people.
    """
    start = np.ones(len(people)) if weights is None else np.asarray(weights, dtype=float)
    if start.shape != (len(people),) or not np.isfinite(start).all() or (start < 0).any() or not start.any():
        raise InputError(f"weights: {len(people)} people need as many numbers of 0 or more, not all of them 0")
    cells = [_cells(people, margin) for margin in margins]
    now = start.copy()
    for codes, target, _ in cells:
        now = np.where(target[codes] > 0, now, 0.0)
    _require_people(now, cells)
    error, rounds = np.inf, 0
    while error > CLOSE_ENOUGH and rounds < MOST_ROUNDS:
        for codes, target, _ in cells:
            sums = np.bincount(codes, now, minlength=len(target))
            now = now * np.divide(target, sums, out=np.zeros_like(sums), where=sums > 0)[codes]
        now, rounds = now / now.sum(), rounds + 1
        error = max(np.abs(np.bincount(codes, now, minlength=len(target)) - target).max() for codes, target, _ in cells)
    if error > CLOSE_ENOUGH:
        raise InputError(f"the margins cannot be met together: after {rounds} rounds a share is still off by {error:.1g}; "
                         "check that they describe one population, or join values that few people have")  # fmt: skip
    return Raked(now, effective_people(now), int((start > 0).sum()), int(((start > 0) & (now == 0)).sum()), rounds, float(error))


def _cells(people: pd.DataFrame, margin: pd.Series) -> tuple[np.ndarray, np.ndarray, str]:
    """(the number of each person's value, target share of each value, the margin's name). Values that the margin does not list have a share of 0."""
    columns = [str(name) for name in margin.index.names]
    name = " x ".join(columns)
    if missing := [c for c in columns if c not in people]:
        raise InputError(f"margin {name}: people have no column {', '.join(missing)} (a margin's index is named after its columns)")
    target = margin.to_numpy(dtype=float)
    if not np.isfinite(target).all() or (target < 0).any() or not target.any() or margin.index.has_duplicates:
        raise InputError(f"margin {name}: each value needs one share of 0 or more, not all of them 0")
    own = pd.MultiIndex.from_frame(people[columns]) if len(columns) > 1 else pd.Index(people[columns[0]])
    codes = margin.index.get_indexer(own)
    return np.where(codes < 0, len(target), codes), np.append(target / target.sum(), 0.0), name


def _require_people(weights: np.ndarray, cells: list) -> None:
    """Raises InputError naming a value that has a share and nobody with a weight."""
    for codes, target, name in cells:
        sums = np.bincount(codes, weights, minlength=len(target))
        if empty := int(((target > 0) & (sums == 0)).sum()):
            largest = target[(target > 0) & (sums == 0)].sum()
            raise InputError(f"margin {name}: {empty} of {len(target) - 1} values have nobody to stand for them ({largest:.1%} of the target); "
                             "join them with others, or draw more people")  # fmt: skip


def margin_of(people: pd.DataFrame, columns: Sequence[str], *, weights: np.ndarray | str | None = None) -> pd.Series:
    """The shares of a population as a margin for `rake`: index `columns`, sum 1. `weights`: one a row, or the column that holds them (`n` of the census)."""
    counts = people[weights] if isinstance(weights, str) else pd.Series(1.0 if weights is None else weights, index=people.index)
    sums = counts.groupby([people[c] for c in columns]).sum()
    return sums[sums > 0] / sums.sum()
