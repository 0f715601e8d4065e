"""Persona fidelity read off whole questionnaires: option probabilities of every closed item, beside the truth, for the same people.

Everything is an array over people x items, and every measure is a function of the people's weights. So one set of resampled people gives the intervals
of all measures, and dealing a system's sheets to other people gives their floors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import comb

from .question_bank import Question, load_questions

N_BOOT, N_DEALS, LEAST = 500, 12, 1e-6
Stat = Callable[[np.ndarray], np.ndarray]
"""A measure: weights of the people, shape (draws, people) -> its values, shape (draws,)."""


@dataclass(frozen=True)
class Panel:
    """One system's sheets: `probs` (people, items, options; 0 beyond an item's options) beside `truth` (people, items) and `theta` (people, constructs)."""

    people: tuple[str, ...]
    items: tuple[Question, ...]
    probs: np.ndarray
    truth: np.ndarray
    theta: np.ndarray

    @property
    def constructs(self) -> list[str]:
        """The constructs that the items measure, in the items' order."""
        return list(dict.fromkeys(q.construct for q in self.items))

    def true_sheets(self) -> Panel:
        """The respondents' own sheets: probability 1 for the option they chose."""
        return replace(self, probs=np.eye(self.probs.shape[2])[self.truth])

    def dealt(self, order: np.ndarray) -> Panel:
        """The same sheets in other people's hands: person i gets the sheet of person `order[i]`."""
        return replace(self, probs=self.probs[order])


def panel(answered: pd.DataFrame, questions: dict[str, Question] | None = None) -> Panel:
    """An administration as arrays. Raises ValueError unless everybody answered every item once."""
    questions = questions or load_questions()
    people, items = sorted(answered["persona_id"].unique()), [questions[i] for i in dict.fromkeys(answered["question_id"])]
    if len(answered) != len(people) * len(items) or answered.duplicated(["persona_id", "question_id"]).any():
        raise ValueError(f"{len(answered)} answers are not {len(people)} people x {len(items)} items, each once; run notebook 04 again")
    row, column = answered["persona_id"].map({p: i for i, p in enumerate(people)}), answered["question_id"].map({q.id: i for i, q in enumerate(items)})
    place = row.to_numpy() * len(items) + column.to_numpy()
    probs, truth, theta = np.zeros((len(place), max(len(q.options) for q in items))), np.zeros(len(place), dtype=int), np.zeros(len(place))
    for i, given in zip(place, answered["option_probs"], strict=True):
        probs[i, : len(given)] = np.asarray(given) / np.sum(given)
    truth[place], theta[place] = answered["truth"], answered["theta"]
    constructs = [q.construct for q in items]
    first = [constructs.index(c) for c in dict.fromkeys(constructs)]
    shape = (len(people), len(items))
    return Panel(tuple(people), tuple(items), probs.reshape(*shape, -1), truth.reshape(shape), theta.reshape(shape)[:, first])


# --- estimates -----------------------------------------------------------------------------------------------------------------


def deals(people: int, seed: int, count: int = N_DEALS) -> list[np.ndarray]:
    """`count` ways to deal sheets so that nobody holds their own (a random cycle through everybody)."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        order = rng.permutation(people)
        dealt = np.empty(people, dtype=int)
        dealt[order] = np.roll(order, 1)
        found.append(dealt)
    return found


def estimate(stat: Stat, people: int, *, seed: int, n_boot: int = N_BOOT, centred: bool = False) -> dict[str, float]:
    """`{"value", "lo", "hi"}` of a measure; people are resampled for the 95 % interval (NaN with fewer than two).

    Args: centred: the value +- 1.96 standard deviations of the resampled values, instead of their percentiles. For regression slopes: a resample holds
        fewer different people, so its slopes are noisier, and percentiles of their correlation lie below the value itself (measured: .29-.50 about .51).
    """
    value, lo, hi = float(stat(np.ones((1, people)))[0]), np.nan, np.nan
    if people > 1 and np.isfinite(value):
        draws = stat(np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=n_boot).astype(float))
        lo, hi = (value + z * np.nanstd(draws) for z in (-1.96, 1.96)) if centred else np.nanquantile(draws, [0.025, 0.975])
    return {"value": value, "lo": float(lo), "hi": float(hi)}


def ratio(above: np.ndarray, below: np.ndarray | None = None) -> Stat:
    """The measure sum(above) / sum(below) over people, or the mean of `above`; a person with NaN does not count."""
    known = np.isfinite(above)
    above, below = np.where(known, above, 0), known.astype(float) if below is None else np.where(known, below, 0)

    def stat(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ above) / (weights @ below)

    return stat


# --- does an answer fit its own person? ------------------------------------------------------------------------------------------


def option_swap(sheets: Panel) -> dict[str, Stat]:
    """How much likelier a person's true options are under their own sheet than other people's true options to the same items.

    Returns: `option_gap_log` (mean log-likelihood ratio, nats an answer; absent for sheets of single choices), `option_gap` (difference of
        probabilities, in [-1, 1]), `option_auc` (how often the own true option is the likelier one; equal counts half).
    """
    given, n = sheets.probs, len(sheets.people)
    chosen = np.eye(given.shape[2])[sheets.truth]
    others = chosen.sum(0) - chosen  # (people, items, options): how many other people chose each option
    own = (given * chosen).sum(2, keepdims=True)
    wins = (others * ((own > given + LEAST) + (np.abs(own - given) <= LEAST) / 2)).sum(2)
    found = {"option_gap": own[:, :, 0] - (others * given).sum(2) / (n - 1), "option_auc": wins / (n - 1)}
    if (given.max(2) < 1 - LEAST).any():
        logs = np.log(np.clip(given, LEAST, 1))
        found["option_gap_log"] = (logs * chosen).sum(2) - (others * logs).sum(2) / (n - 1)
    return {name: ratio(values.mean(1)) for name, values in found.items()}


def pick_rate(wins: np.ndarray, ties: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """How often the own candidate is picked among itself and k - 1 others drawn at random, exactly; equal candidates share.

    Args: wins, ties, others: how many of the other candidates are below and level with the own one, and how many there are. NaN with fewer than k - 1.
    """
    total = comb(others, k - 1)
    picked = sum(comb(ties, j) * comb(wins, k - 1 - j) / (j + 1) for j in range(k))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, picked / total, np.nan)


def pick_from(scores: np.ndarray, k: int) -> np.ndarray:
    """`pick_rate` from a square table: row i's score of candidate j, the own candidate on the diagonal."""
    own = np.diag(scores)[:, None]
    ties = (np.abs(scores - own) <= LEAST).sum(1) - 1
    return pick_rate((scores < own - LEAST).sum(1), ties, np.full(len(scores), len(scores) - 1), k)


def option_likelihood(sheets: Panel) -> np.ndarray:
    """Log-likelihood of everybody's true options (columns) under each sheet (rows), summed over items: shape (people, people)."""
    logs = np.log(np.clip(sheets.probs, LEAST, 1)).reshape(len(sheets.people), -1)
    return logs @ np.eye(sheets.probs.shape[2])[sheets.truth].reshape(len(sheets.people), -1).T


# --- attitudes -----------------------------------------------------------------------------------------------------------------------


def item_scores(sheets: Panel) -> np.ndarray:
    """Expected option of each answer as a share of its scale, 0-1, reverse-keyed items reversed: high means much of the construct. (people, items)."""
    top = np.array([len(q.options) - 1 for q in sheets.items])
    scores = (sheets.probs * np.arange(sheets.probs.shape[2])).sum(2) / top
    return np.where(np.array([q.key for q in sheets.items]) > 0, scores, 1 - scores)


def implied_attitudes(sheets: Panel) -> np.ndarray:
    """Mean item score of each construct, 0-1, shape (people, constructs)."""
    scores, constructs = item_scores(sheets), np.array([q.construct for q in sheets.items])
    return np.stack([scores[:, constructs == c].mean(1) for c in sheets.constructs], axis=1)


def attitude_agreement(sheets: Panel) -> dict[str, Stat]:
    """Correlation of implied and true attitudes: `attitude_r_pooled` over people and constructs at once, `attitude_r_within` averaged over the constructs.

    NaN where nobody's implied attitude varies.
    """
    x, y = implied_attitudes(sheets), sheets.theta

    def moments(weights: np.ndarray, pooled: bool) -> np.ndarray:
        def mean(v):
            m = weights @ v / weights.sum(1, keepdims=True)
            return m.mean(1, keepdims=True) if pooled else m

        mx, my = mean(x), mean(y)
        vx, vy = mean(x * x) - mx**2, mean(y * y) - my**2
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.where((vx > 1e-12) & (vy > 1e-12), (mean(x * y) - mx * my) / np.sqrt(np.maximum(vx * vy, 1e-300)), np.nan)
        known = np.isfinite(r)
        return np.where(known.any(1), np.where(known, r, 0).sum(1) / np.maximum(known.sum(1), 1), np.nan)

    return {"attitude_r_pooled": lambda w: moments(w, True), "attitude_r_within": lambda w: moments(w, False)}


# --- contradictions ------------------------------------------------------------------------------------------------------------------


def _sides(sheets: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of an answer above and below the middle of its scale, each (people, items). The middle option is on neither side."""
    place = np.stack([np.sign(2 * np.arange(sheets.probs.shape[2]) - (len(q.options) - 1)) for q in sheets.items])
    return (sheets.probs * (place > 0)).sum(2), (sheets.probs * (place < 0)).sum(2)


def contradictions(sheets: Panel) -> dict[str, tuple[Stat, float, int]]:
    """How often two answers of one person to items of one construct point in opposite directions: measure -> (rate, its floor, pairs
    a person).

    Two answers contradict each other if, reverse-keyed items reversed, one lies in the upper and one in the lower half of its scale. Rates are shares of the
    decided pairs (both answers off the middle): `contradiction` over all pairs of a construct, `contradiction_reversed` over pairs of opposite keys, and
    `acquiescence`, the share of these where both items are agreed with. `decided`: share of pairs that are decided. The floor is the rate that comes out if
    the two answers come from two different people. Sheets of probabilities are taken as chances: every answer is drawn on its own.
    """
    high, low = _sides(sheets)
    keys = np.array([q.key for q in sheets.items])
    up, down = np.where(keys > 0, high, low), np.where(keys > 0, low, high)
    pairs = [(a, b) for a, b in combinations(range(len(keys)), 2) if sheets.items[a].construct == sheets.items[b].construct]
    opposed = [(a, b) for a, b in pairs if keys[a] != keys[b]]
    found = {}
    for name, chosen, tops in (("contradiction", pairs, [(up, down), (down, up)]), ("contradiction_reversed", opposed, [(up, down), (down, up)]),
                               ("acquiescence", opposed, [(high, high)])):  # fmt: skip
        if chosen:
            decided = _both([(up + down, up + down)], chosen)
            met, apart = _both(tops, chosen), _apart(tops, chosen)
            found[name] = (ratio(met, decided), apart / _apart([(up + down, up + down)], chosen), len(chosen))
    if pairs:
        decided = _both([(up + down, up + down)], pairs)
        found["decided"] = (ratio(decided / len(pairs)), np.nan, len(pairs))
    return found


def _both(sides: list, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Expected number of pairs of one person whose answers are on the given sides, shape (people,)."""
    a, b = np.array(pairs).T
    return sum((left[:, a] * right[:, b]).sum(1) for left, right in sides)


def _apart(sides: list, pairs: Sequence[tuple[int, int]]) -> float:
    """The same if the two answers are of two different people, summed over all ordered pairs of people."""
    a, b = np.array(pairs).T
    crossed = sum((left[:, a].sum(0) * right[:, b].sum(0)).sum() for left, right in sides)
    return float(crossed - _both(sides, pairs).sum())
