"""Persona fidelity read off whole questionnaires: option probabilities of every closed item, beside the truth, for the same people.

Everything is an array over people x items, and every measure is a function of the people's weights. So one set of resampled people gives the intervals
of all measures, and dealing a system's sheets to other people gives their floors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from ...stats import kappa_of_tables
from ...world.questions import Question, load_questions
from .candidates import LEAST, Stat, against_others, pick_rate

_N_BOOT, N_DEALS = 500, 12


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


def measured(stat: Stat, people: int, *, seed: int, n_boot: int = _N_BOOT) -> tuple[float, np.ndarray]:
    """(the measure, its values for resampled people, shape (n_boot,)); no draws with fewer than two people. The same seed resamples the same people."""
    value = float(stat(np.ones((1, people)))[0])
    if people < 2 or not np.isfinite(value):
        return value, np.zeros(0)
    return value, stat(np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=n_boot).astype(float))


def interval(value: float, draws: np.ndarray, *, centred: bool = False) -> dict[str, float]:
    """`{"value", "lo", "hi"}`, 95 %, from `measured`; NaN without draws.

    Args: centred: the value +- 1.96 standard deviations of the draws, instead of their percentiles. For measures whose draws lie to one side: a resample
        holds fewer different people, so regression slopes are noisier (their correlation: draws of .29-.50 about .51) and candidates are alike.
    """
    if not len(draws):
        return {"value": value, "lo": np.nan, "hi": np.nan}
    lo, hi = (value + z * np.nanstd(draws) for z in (-1.96, 1.96)) if centred else np.nanquantile(draws, [0.025, 0.975])
    return {"value": value, "lo": float(lo), "hi": float(hi)}


def estimate(stat: Stat, people: int, *, seed: int, n_boot: int = _N_BOOT, centred: bool = False) -> dict[str, float]:
    """`interval` of `measured`."""
    return interval(*measured(stat, people, seed=seed, n_boot=n_boot), centred=centred)


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
    own = of_chosen(given, sheets.truth)
    wins = np.mean([_ahead(own[:, j], given[:, j][:, sheets.truth[:, j]]) for j in range(len(sheets.items))], axis=0)
    found = {"option_gap": against_others(_on_truth(given, sheets.truth)), "option_auc": against_others(-wins, own=np.zeros(n))}
    if (given.max(2) < 1 - LEAST).any():
        found["option_gap_log"] = against_others(option_likelihood(sheets) / len(sheets.items))
    return found


def of_chosen(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The value of each person's true option under their own sheet: (people, items)."""
    return np.take_along_axis(values, truth[:, :, None], axis=2)[:, :, 0]


def _on_truth(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Everybody's true options (columns) under each sheet (rows), averaged over items: (people, people)."""
    flat = np.eye(values.shape[2])[truth].reshape(len(values), -1)
    return values.reshape(len(values), -1) @ flat.T / truth.shape[1]


def _ahead(own: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where the own value is the higher one, one half where they are level: own (people,), theirs (people, people)."""
    return (own[:, None] > theirs + LEAST) + (np.abs(own[:, None] - theirs) <= LEAST) / 2


def pick_from(scores: np.ndarray, k: int) -> np.ndarray:
    """`pick_rate` from a square table: row i's score of candidate j, the own candidate on the diagonal."""
    own = np.diag(scores)[:, None]
    ties = (np.abs(scores - own) <= LEAST).sum(1) - 1
    return pick_rate((scores < own - LEAST).sum(1), ties, np.full(len(scores), len(scores) - 1), k)


def option_likelihood(sheets: Panel) -> np.ndarray:
    """Log-likelihood of everybody's true options (columns) under each sheet (rows), summed over items: shape (people, people)."""
    return _on_truth(np.log(np.clip(sheets.probs, LEAST, 1)), sheets.truth) * len(sheets.items)


def hits(sheets: Panel) -> np.ndarray:
    """1 where the most probable option is the true one, 0 where not, its chance where all are equally probable (as `administration.score` counts):
    (people, items)."""
    share = np.array([1 / len(q.options) for q in sheets.items])
    flat = np.stack([np.ptp(sheets.probs[:, j, : len(q.options)], axis=1) < LEAST for j, q in enumerate(sheets.items)], axis=1)
    return np.where(flat, share, sheets.probs.argmax(2) == sheets.truth)


def five_point_kappa(sheets: Panel) -> float:
    """Quadratic kappa of the most probable and the true option over the five-point items; NaN if there are none or nobody varies."""
    five = np.array([len(q.options) == 5 for q in sheets.items])
    table = np.zeros((5, 5))
    np.add.at(table, (sheets.probs[:, five].argmax(2).ravel(), sheets.truth[:, five].ravel()), 1)
    return float(kappa_of_tables(table[None])[0])


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
