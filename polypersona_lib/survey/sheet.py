"""One questionnaire as arrays: who answered which item with what, beside what the people themselves answered. For models, respondents and real people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..resampling import drawn_units
from ..world.questions import Question, load_questions

MISSING = -1  # the option of an answer that is missing


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One system's answers to a questionnaire: people x items x options.

    Args:
        probs: probability of each option, shape (people, items, options). A chosen option has 1, options that an item lacks have 0, and all options
            have 0 where the answer is missing.
        truth: the option that each person chose, shape (people, items); `MISSING` where it is unknown.
        theta: each person's true attitudes, shape (people, constructs); NaN where they are unknown.
        units: the number of the unit that each person belongs to (a state, a household), from 0 on. Whole units are resampled. None: every person is one.
        weights: for how many people each person stands, in any unit. None: all weigh the same.
        mass: how far each answer is there, 0 to 1, shape (people, items): an answer that may also be "don't know" counts in part. None: fully, if it is there.
    """

    people: tuple[str, ...]
    items: tuple[Question, ...]
    probs: np.ndarray
    truth: np.ndarray
    theta: np.ndarray
    units: np.ndarray | None = None
    weights: np.ndarray | None = None
    mass: np.ndarray | None = None

    @property
    def sizes(self) -> np.ndarray:
        """Number of options of each item."""
        return np.array([len(q.options) for q in self.items])

    @property
    def constructs(self) -> list[str]:
        """The constructs that the items measure, in the items' order."""
        return list(dict.fromkeys(q.construct for q in self.items))

    @property
    def answered(self) -> np.ndarray:
        """Which answers are there, shape (people, items)."""
        return self.probs.sum(-1) > 0

    @property
    def there(self) -> np.ndarray:
        """How far each answer is there (`mass`), float, shape (people, items)."""
        return self.answered.astype(float) if self.mass is None else np.where(self.answered, self.mass, 0.0)

    @property
    def n_units(self) -> int:
        """Number of units that are resampled."""
        return len(self.people) if self.units is None else int(self.units.max()) + 1

    def missing(self) -> dict[str, int]:
        """How many of the people x items cells lack the answer, and how many the true option."""
        return {"answers": int((~self.answered).sum()), "truth": int((self.truth == MISSING).sum())}

    def whole(self) -> Sheet:
        """The sheet itself. Raises ValueError if something is missing or people weigh differently: for measures that allow neither."""
        if any(self.missing().values()) or self.weights is not None:
            weighted = "" if self.weights is None else "; people have weights"
            raise ValueError(f"this measure needs every answer and people of equal weight; missing: {self.missing()}{weighted}")
        return self

    # --- other sheets from this one ---

    def chosen(self) -> np.ndarray:
        """The people's own answers as `probs`: 1 for the true option, all 0 where it is unknown."""
        return (self.truth[..., None] == np.arange(self.probs.shape[-1])).astype(float)

    def true_sheet(self) -> Sheet:
        """The people's own answers as a sheet."""
        return replace(self, probs=self.chosen(), mass=None)

    def permuted(self, order: np.ndarray) -> Sheet:
        """The same answers, assigned to permuted people: person i gets those of person `order[i]`."""
        return replace(self, probs=self.probs[order], mass=None if self.mass is None else self.mass[order])

    def of(self, people: np.ndarray) -> Sheet:
        """The sheet of some people (places, or bool for everybody), who keep their weights and units."""
        units = None if self.units is None else np.unique(self.units[people], return_inverse=True)[1]
        weights, mass = (None if values is None else values[people] for values in (self.weights, self.mass))
        names, arrays = tuple(np.array(self.people, dtype=object)[people]), {name: getattr(self, name)[people] for name in ("probs", "truth", "theta")}
        return replace(self, people=names, units=units, weights=weights, mass=mass, **arrays)

    def in_order(self, ids: Sequence[str]) -> Sheet:
        """The same sheet with its items in the order of `ids`."""
        place = {q.id: column for column, q in enumerate(self.items)}
        columns = [place[i] for i in ids]
        items = tuple(self.items[c] for c in columns)
        theta = [self.constructs.index(c) for c in dict.fromkeys(q.construct for q in items)]
        mass = None if self.mass is None else self.mass[:, columns]
        return replace(self, items=items, probs=self.probs[:, columns], truth=self.truth[:, columns], theta=self.theta[:, theta], mass=mass)

    # --- answers as numbers ---

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each answer on its item's scale from 0 (lowest option) to 1, shape (people, items); NaN for a missing answer."""
        places = np.arange(self.probs.shape[-1]) / (self.sizes[:, None] - 1)
        mean = np.where(self.answered, (self.probs * places).sum(-1), np.nan)
        return mean, (self.probs * places**2).sum(-1) - mean**2

    def true_positions(self) -> np.ndarray:
        """The true options on the same scale, shape (people, items); NaN where they are unknown."""
        return np.where(self.truth == MISSING, np.nan, self.truth / (self.sizes - 1))

    def keyed(self, positions: np.ndarray) -> np.ndarray:
        """Positions with reverse-keyed items reversed: high means much of the construct."""
        return np.where([q.key > 0 for q in self.items], positions, 1 - positions)

    def by_construct(self, positions: np.ndarray) -> np.ndarray:
        """Mean of the keyed positions of each construct's items, shape (people, constructs). Missing answers are left out; NaN if all are missing."""
        keyed, names = self.keyed(positions), np.array([q.construct for q in self.items])
        known = np.isfinite(keyed)
        parts = [(np.where(known, keyed, 0)[:, names == c].sum(1), known[:, names == c].sum(1)) for c in self.constructs]
        with np.errstate(invalid="ignore"):
            return np.stack([total / count for total, count in parts], axis=1)

    def draws(self, *, n_boot: int, seed: int) -> np.ndarray:
        """Shares of the people, shape (1 + n_boot, people), rows sum to 1: first the sample itself, then bootstrap samples of its units."""
        times = np.vstack([np.ones(self.n_units), drawn_units(self.n_units, n_boot=n_boot, seed=seed)])
        times = times if self.units is None else times[:, self.units]
        shares = times if self.weights is None else times * self.weights
        with np.errstate(invalid="ignore"):  # a sample of people without a weight has no shares
            return shares / shares.sum(1, keepdims=True)


def sheet_of(answered: pd.DataFrame, *, chosen: np.ndarray | None = None, bank: Mapping[str, Question] | None = None) -> Sheet:
    """The sheet of an administration; people and items are sorted by their ids.

    Args:
        answered: persona_id, question_id, option_probs, truth, one row for each person and item. A missing answer has None for option_probs, a missing truth
            NaN or `MISSING`. Optional columns: theta (the true attitude), unit (what is resampled in place of people) and weight, the same in all rows of a
            person.
        chosen: the option that each row's answer takes, `MISSING` for none, in place of option_probs.
        bank: the items by id, of people who were asked others than those of the question bank.
    Raises: ValueError unless every person has one row for every item, for unknown items, probabilities of another number of options, or a weight or a unit that
        differs within a person.
    """
    people, ids = (tuple(sorted(answered[column].unique())) for column in ("persona_id", "question_id"))
    if len(answered) != len(people) * len(ids) or answered.duplicated(["persona_id", "question_id"]).any():
        raise ValueError(f"{len(answered):,} answers of {len(people)} personas to {len(ids)} items: an administration has one answer for each pair, "
                         "each once; run notebook 04 again")  # fmt: skip
    bank = load_questions() if bank is None else bank
    if unknown := [i for i in ids if i not in bank]:
        raise ValueError(f"{len(unknown)} of {len(ids)} items are not in the question bank ({unknown[0]}, ...)")
    items, order = tuple(bank[i] for i in ids), np.lexsort((answered["question_id"], answered["persona_id"]))
    rows, shape = answered.iloc[order], (len(people), len(ids))
    truth = rows["truth"].fillna(MISSING).to_numpy(dtype=int).reshape(shape)
    theta = rows["theta"].to_numpy(dtype=float).reshape(shape) if "theta" in rows else np.full(shape, np.nan)
    constructs = [q.construct for q in items]
    return Sheet(
        people=people, items=items, truth=truth, theta=theta[:, [constructs.index(c) for c in dict.fromkeys(constructs)]],
        probs=_probabilities(rows["option_probs"], items, None if chosen is None else np.asarray(chosen)[order]).reshape(*shape, -1),
        units=None if "unit" not in rows else np.unique(_of_person(rows, "unit", shape).astype(str), return_inverse=True)[1],
        weights=None if "weight" not in rows else _of_person(rows, "weight", shape).astype(float),
    )  # fmt: skip


def _probabilities(given: pd.Series, items: Sequence[Question], chosen: np.ndarray | None) -> np.ndarray:
    """Rows of probabilities that sum to 1 (0 for a missing answer), shape (rows, options); rows run through the items, person by person."""
    sizes = [len(q.options) for q in items]
    probs = np.zeros((len(given), max(sizes)))
    if chosen is not None:
        there = np.flatnonzero(chosen != MISSING)
        probs[there, chosen[there]] = 1
        return probs
    for row, answer in enumerate(given):
        if np.ndim(answer):
            if len(answer) != sizes[row % len(sizes)]:
                raise ValueError(f"{items[row % len(sizes)].id}: {len(answer)} probabilities for {sizes[row % len(sizes)]} options")
            probs[row, : len(answer)] = answer / np.sum(answer)
    return probs


def _of_person(rows: pd.DataFrame, column: str, shape: tuple[int, int]) -> np.ndarray:
    """What a column says of each person, shape (people,). Raises ValueError if it says two things of one person."""
    values = rows[column].to_numpy().reshape(shape)
    if differ := (values != values[:, :1]).any(1).sum():
        raise ValueError(f"{column} differs within {differ} of {shape[0]} people; give every person one {column}")
    return values[:, 0]
