"""Prediction-powered estimates: a few people who were really asked correct a simulator that answered for many.

The simulator's mean over everybody is shifted by its mean error on the labelled people. A power, estimated from the data, says how far the simulator counts:
near 0 a useless one is ignored and the labelled people speak alone, near 1 a perfect one stands for all of them. Intervals stay valid whatever it is worth.
Source: Angelopoulos, Duchi and Zrnic 2023, PPI++ (arXiv 2311.01453); the variance is that of a survey's design (Taylor linearization).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .errors import InputError

LEVEL = 0.95
FEWEST = 4  # labelled people (or clusters of them): with fewer there is no standard error worth the name


@dataclass(frozen=True, kw_only=True)
class Design:
    """How people were drawn, each shape (people,) or None. `weights`: for how many people each stands. `clusters`: who was drawn together (a state).

    `strata`: the parts of the population that were drawn from separately; a cluster lies in one of them.
    """

    weights: np.ndarray | None = None
    clusters: np.ndarray | None = None
    strata: np.ndarray | None = None

    def weight(self, people: int) -> np.ndarray:
        """The weights, 1 for everybody if there are none. Raises InputError for another number of them, negative ones, or only zeros."""
        if self.weights is None:
            return np.ones(people)
        weights = np.asarray(self.weights, dtype=float)
        if weights.shape != (people,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise InputError(f"weights: {people} people need {people} numbers of 0 or more, not all of them 0")
        return weights


SIMPLE = Design()


def rectified_mean(truth, predicted, others, *, design: Design = SIMPLE, design_others: Design = SIMPLE, power: float | None = None) -> dict:
    """The mean answer of a population with its 95 % interval, from labelled people and from a simulator that answered for them and for others.

    Args:
        truth: what the labelled people said, shape (..., n). predicted: what the simulator said of the same people, shape (..., n).
        others: what it said of people who were not asked, from the same population, shape (..., N). Leading axes are separate estimates.
        design, design_others: how both groups were drawn. power: of the simulator, 0 (the labelled people alone) or more; None estimates it.
    Returns: `value`, `lo`, `hi`, `se`, `power`, `alone` and `se_alone` (the labelled people without the simulator), `effective_n` (how many labelled people
        alone would have this standard error; NaN if they all say the same), shape (...) each, and `n`, `n_others`.
    Raises: InputError for too few people, lengths that differ, what is no number, or weights that are none.
    """
    return _rectified(truth, predicted, others, (design, design_others), (None, None), power)


def rectified_difference(
    truth, predicted, others, *, group, group_others, design: Design = SIMPLE, design_others: Design = SIMPLE, power: float | None = None
) -> dict:
    """The mean of a group minus that of everybody else; otherwise as `rectified_mean`. Args: group, group_others: who is in it, bool, (n,) and (N,).

    Each side has its own m / (m - 1), and the interval the degrees of freedom of Welch and Satterthwaite: a small group is covered as often as a large one.
    """
    return _rectified(truth, predicted, others, (design, design_others), (group, group_others), power)


def rectified_shares(truth, predicted, others, *, design: Design = SIMPLE, design_others: Design = SIMPLE, power: float | None = None) -> dict:
    """The share of each option; otherwise as `rectified_mean`, with one power for all options of an item, so that shares still sum to 1.

    Args: truth, predicted, others: probabilities of the options (1 for the chosen one), shape (n, options), (n, options), (N, options).
    Returns: besides, `shares`: `value` with what lies below 0 cut off, shape (options,), sum 1.
    """
    made = _rectified(*(np.asarray(a, dtype=float).T for a in (truth, predicted, others)), (design, design_others), (None, None), power, shared=True)
    cut = np.clip(made["value"], 0, None)
    return made | {"shares": cut / cut.sum()}


def _rectified(truth, predicted, others, designs, groups, power, *, shared: bool = False) -> dict:
    """See `rectified_mean`; `shared`: one power for all separate estimates."""
    truth, predicted, others = (np.asarray(a, dtype=float) for a in (truth, predicted, others))
    _check(truth, predicted, others)
    (mean, own), (guess, said) = (_parts(a, designs[0], groups[0], "group") for a in (truth, predicted))
    guess_others, said_others = _parts(others, designs[1], groups[1], "group_others")
    alone, (spread_others, _) = _covariance(own, own, designs[0]), _covariance(said_others, said_others, designs[1])
    if power is None:
        common, spread = _covariance(own, said, designs[0])[0], _covariance(said, said, designs[0])[0] + spread_others
        nothing = (1e-6 * (1 + np.abs(guess))) ** 2  # a simulator that says the same of everybody differs by rounding alone (answers keep six decimals)
        common, spread, nothing = (a.sum(-1, keepdims=True) if shared else a for a in (common, spread, nothing))
        power = np.clip(common / np.where(spread > nothing, spread, np.inf), 0, None) * np.ones_like(mean)
    power = np.asarray(power, dtype=float)
    error = own - power[..., None] * said
    variance, units = _covariance(error, error, designs[0])
    se, value = np.sqrt(variance + power**2 * spread_others), mean - power * (guess - guess_others)
    freedom = max(units - 2, 1)
    if groups[0] is not None:
        freedom = _welch([(error, designs[0], groups[0], 2), (power[..., None] * said_others, designs[1], groups[1], 1)])
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * se
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.where(alone[0] > (1e-9 * (1 + np.abs(mean))) ** 2, np.where(se > 0, truth.shape[-1] * alone[0] / se**2, np.inf), np.nan)
    return {
        "value": value, "lo": value - half, "hi": value + half, "se": se, "power": power, "alone": mean, "se_alone": np.sqrt(alone[0]),
        "effective_n": effective, "n": truth.shape[-1], "n_others": others.shape[-1],
    }  # fmt: skip


def _parts(values: np.ndarray, design: Design, group, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(the weighted mean or difference, each person's part in its deviation), shapes (...) and (..., people)."""
    weights = design.weight(values.shape[-1])
    if group is None:
        return _mean(values, weights)
    inside = np.asarray(group, dtype=bool)
    if inside.shape != weights.shape or min((weights[inside] > 0).sum(), (weights[~inside] > 0).sum()) < 2:
        raise InputError(f"{name}: a difference needs two people or more with a weight on both sides, and one entry for each of {len(weights)} people")
    (mean_in, part_in), (mean_out, part_out) = _mean(values, weights * inside), _mean(values, weights * ~inside)
    own = [np.sqrt(_grown((weights > 0) & side, design) / _grown(weights >= 0, Design(clusters=design.clusters))) for side in (inside, ~inside)]
    return mean_in - mean_out, own[0] * part_in - own[1] * part_out


def _drawn(people: np.ndarray, design: Design) -> float:
    """How many clusters, or people of equal weight (`effective_people`), are among `people` (bool); at least 2, so that the spread of one is not infinite."""
    if design.clusters is not None:
        return max(2, len(set(np.asarray(design.clusters)[people].astype(str).tolist())))
    return max(2, effective_people(design.weight(len(people))[people]))


def _grown(people: np.ndarray, design: Design) -> float:
    """What the squares of `people`'s parts in a mean are short of its variance: m / (m - 1) for m people of equal weight or clusters, 2 at most.

    Unequal weights w: 1 / (1 - 2 sum w^3 / (sum w sum w^2) + sum w^2 / (sum w)^2), exact where answers do not depend on them. `_covariance` takes n / (n - 1).
    """
    if design.clusters is not None:
        return 1 / (1 - 1 / _drawn(people, design))
    one, two, three = ((design.weight(len(people))[people] ** power).sum() for power in (1, 2, 3))
    return 1 / max(1 - 2 * three / (one * two) + two / one**2, 0.5)


def effective_people(weights: np.ndarray) -> float:
    """How many people of equal weight have the sampling variance of these: (sum w)^2 / sum w^2 (Kish 1965). 0 without any weight."""
    weights = np.asarray(weights, dtype=float)
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() else 0.0


def _welch(sides: list[tuple]) -> np.ndarray:
    """Degrees of freedom of a sum of variances, (...): sides are (parts, design, group, what is taken from the number of people or clusters of each side)."""
    total, squares = 0.0, 0.0
    for parts, design, group, lost in sides:
        for inside in (np.asarray(group, dtype=bool), ~np.asarray(group, dtype=bool)):
            variance, size = _covariance(parts * inside, parts * inside, design)[0], _drawn(inside & (design.weight(len(inside)) > 0), design)
            total, squares = total + variance, squares + variance**2 / max(size - lost, 1)
    return np.where(squares > 0, total**2 / np.where(squares > 0, squares, 1), 1)


def _mean(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = values @ weights / weights.sum()
    return mean, weights * (values - mean[..., None]) / weights.sum()


def _covariance(a: np.ndarray, b: np.ndarray, design: Design) -> tuple[np.ndarray, float]:
    """(covariance of two estimates from people's parts in them, `_drawn` minus strata + 1): sums over clusters, compared within strata."""
    people = a.shape[-1]
    clusters, first = np.arange(people), np.arange(people)
    if design.clusters is not None:
        _, first, clusters = np.unique(np.asarray(design.clusters).astype(str), return_index=True, return_inverse=True)
        member = np.eye(len(first))[clusters]
        a, b = a @ member, b @ member
    strata = np.zeros(len(first), dtype=int) if design.strata is None else np.unique(np.asarray(design.strata).astype(str), return_inverse=True)[1][first]
    total, alone = 0.0, [h for h in range(strata.max() + 1) if (strata == h).sum() < 2]
    if alone:
        raise InputError(f"strata: {len(alone)} of {strata.max() + 1} hold one cluster or person alone; join them with others")
    for stratum in range(strata.max() + 1):
        x, y = (v[..., strata == stratum] for v in (a, b))
        size = x.shape[-1]
        total = total + size / (size - 1) * ((x - x.mean(-1, keepdims=True)) * (y - y.mean(-1, keepdims=True))).sum(-1)
    return np.asarray(total), _drawn(design.weight(people) > 0, design) - strata.max()


def _check(truth: np.ndarray, predicted: np.ndarray, others: np.ndarray) -> None:
    """Raises InputError, one line, for what cannot be used."""
    if truth.shape != predicted.shape:
        raise InputError(f"{truth.shape[-1]} true answers but {predicted.shape[-1]} predictions of the same people: one each")
    if min(truth.shape[-1], others.shape[-1]) < FEWEST:
        raise InputError(f"{truth.shape[-1]} labelled people and {others.shape[-1]} others: each needs {FEWEST} or more")
    for name, values in (("true answers", truth), ("predictions", predicted), ("predictions of others", others)):
        if lacking := int((~np.isfinite(values)).sum()):
            raise InputError(f"{lacking} of {values.size} {name} are no numbers: leave these people out and say how many they are")
