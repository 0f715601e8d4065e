"""Persona fidelity read off whole questionnaires: option probabilities of every closed item, beside the truth, for the same people.

Everything is an array over people x items, and every measure is a function of the people's weights. So one set of resampled people gives the intervals
of all measures, and assigning a system's answers to permuted people gives their baselines.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ... import resampling
from ...survey.sheet import Sheet
from .candidates import LEAST, Stat, against_others

_N_BOOT, N_PERMUTED = 500, 12


# --- estimates -----------------------------------------------------------------------------------------------------------------


def derangements(people: int, seed: int) -> list[np.ndarray]:
    """`N_PERMUTED` ways to permute people so that nobody keeps their own sheet (a random cycle through everybody)."""
    rng, orders = np.random.default_rng(seed), []
    for _ in range(N_PERMUTED):
        cycle = rng.permutation(people)
        order = np.empty(people, dtype=int)
        order[cycle] = np.roll(cycle, 1)
        orders.append(order)
    return orders


def stat_draws(stat: Stat, people: int, *, seed: int, n_boot: int = _N_BOOT) -> tuple[float, np.ndarray]:
    """(the measure, its values for resampled people, shape (n_boot,)); no draws with fewer than two people. The same seed resamples the same people."""
    value = float(stat(np.ones((1, people)))[0])
    if people < 2 or not np.isfinite(value):
        return value, np.zeros(0)
    return value, stat(resampling.drawn_units(people, n_boot=n_boot, seed=seed).astype(float))


def stat_estimate(stat: Stat, people: int, *, seed: int, n_boot: int = _N_BOOT, centred: bool = False) -> dict:
    """`{"value", "lo", "hi", "draws"}`: `stat_draws`, with its 95 % interval (`resampling.interval`); NaN without draws.

    Args: centred: an interval around the value, instead of percentiles. For measures whose draws lie to one side: a resample holds fewer different people, so
        regression slopes are noisier (their correlation: draws of .29-.50 about .51) and candidates are alike.
    """
    value, draws = stat_draws(stat, people, seed=seed, n_boot=n_boot)
    lo, hi = map(float, resampling.interval(draws, units=people, around=value if centred else None))
    return {"value": value, "lo": lo, "hi": hi, "draws": draws}


def sum_ratio(above: np.ndarray, below: np.ndarray | None = None) -> Stat:
    """The measure sum(above) / sum(below) over people, or the mean of `above`; a person with NaN does not count."""
    known = np.isfinite(above)
    above, below = np.where(known, above, 0), known.astype(float) if below is None else np.where(known, below, 0)

    def stat(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ above) / (weights @ below)

    return stat


# --- does an answer fit its own person? ------------------------------------------------------------------------------------------


def option_swap(sheet: Sheet) -> dict[str, Stat]:
    """How much likelier a person's true options are under their own sheet than other people's true options to the same items.

    Returns: `option_gap_log` (mean log-likelihood ratio, nats an answer; absent for sheets of single choices), `option_gap` (difference of
        probabilities, in [-1, 1]), `option_auc` (how often a person's own true option is the likelier one; equal counts half).
    """
    given, n = sheet.probs, len(sheet.people)
    own = of_chosen(given, sheet.truth)
    wins = np.mean([_ahead(own[:, j], given[:, j][:, sheet.truth[:, j]]) for j in range(len(sheet.items))], axis=0)
    stats = {"option_gap": against_others(_on_truth(given, sheet.truth)), "option_auc": against_others(-wins, own=np.zeros(n))}
    if (given.max(2) < 1 - LEAST).any():
        stats["option_gap_log"] = against_others(option_likelihood(sheet) / len(sheet.items))
    return stats


def of_chosen(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The value of each person's true option under their own sheet: (people, items)."""
    return np.take_along_axis(values, truth[:, :, None], axis=2)[:, :, 0]


def _on_truth(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Everybody's true options (columns) under each sheet (rows), averaged over items: (people, people)."""
    flat = np.eye(values.shape[2])[truth].reshape(len(values), -1)
    return values.reshape(len(values), -1) @ flat.T / truth.shape[1]


def _ahead(own: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where a person's own value is the higher one, one half where they are level: own (people,), theirs (people, people)."""
    return (own[:, None] > theirs + LEAST) + (np.abs(own[:, None] - theirs) <= LEAST) / 2


def option_likelihood(sheet: Sheet) -> np.ndarray:
    """Log-likelihood of everybody's true options (columns) under each sheet (rows), summed over items: shape (people, people)."""
    return _on_truth(np.log(np.clip(sheet.probs, LEAST, 1)), sheet.truth) * len(sheet.items)


def hits(sheet: Sheet) -> np.ndarray:
    """1 where the most probable option is the true one, 0 where not, its chance where all are equally probable (as `administration.score` counts):
    (people, items)."""
    share = np.array([1 / len(q.options) for q in sheet.items])
    flat = np.stack([np.ptp(sheet.probs[:, j, : len(q.options)], axis=1) < LEAST for j, q in enumerate(sheet.items)], axis=1)
    return np.where(flat, share, sheet.probs.argmax(2) == sheet.truth)


def five_point_kappa(sheet: Sheet) -> float:
    """Quadratic kappa of the most probable and the true option over the five-point items, chance taken item by item; NaN if there are none or nobody varies."""
    five = np.array([len(q.options) == 5 for q in sheet.items])
    chosen, truth = sheet.probs[:, five].argmax(2), sheet.truth[:, five]
    return resampling.quadratic_kappa(chosen.ravel(), truth.ravel(), items=np.broadcast_to(np.arange(five.sum()), truth.shape).ravel())


# --- attitudes -----------------------------------------------------------------------------------------------------------------------


def item_scores(sheet: Sheet) -> np.ndarray:
    """Expected option of each answer as a share of its scale, 0-1, reverse-keyed items reversed: high means much of the construct. (people, items)."""
    return sheet.keyed(sheet.positions()[0])


def centred_scores(sheet: Sheet) -> np.ndarray:
    """`item_scores` less everybody's mean of the item: only differences between people are left."""
    scores = item_scores(sheet)
    return scores - scores.mean(0)


def implied_attitudes(sheet: Sheet) -> np.ndarray:
    """Mean item score of each construct, 0-1, shape (people, constructs)."""
    return sheet.by_construct(sheet.positions()[0])


def attitude_agreement(sheet: Sheet) -> dict[str, Stat]:
    """Correlation of implied and true attitudes, `attitude_r_pooled` over all or `attitude_r_within` each construct, then averaged; NaN if none varies."""
    x, y = implied_attitudes(sheet), sheet.theta

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


def contradictions(sheet: Sheet) -> dict[str, tuple[Stat, float, int]]:
    """How often two answers of one person to items of one construct point in opposite directions: measure -> (rate, its floor, pairs a person).

    Two answers contradict each other if, reverse-keyed items reversed, one lies in the upper and one in the lower half of its scale. Rates are shares of the
    decided pairs (both answers off the middle): `contradiction` over all pairs of a construct, `contradiction_reversed` over pairs of opposite keys, and
    `acquiescence`, the share of these where both items are agreed with. `decided`: share of pairs that are decided. The floor is the rate that comes out if the
    two answers come from two different people. Sheets of probabilities are taken as chances: every answer is drawn on its own.
    """
    side = np.stack([np.sign(2 * np.arange(sheet.probs.shape[2]) - (len(q.options) - 1)) for q in sheet.items])  # 0: the middle option
    high, low = (sheet.probs * (side > 0)).sum(2), (sheet.probs * (side < 0)).sum(2)
    keys = np.array([q.key for q in sheet.items])
    up, down = np.where(keys > 0, high, low), np.where(keys > 0, low, high)
    pairs = [(a, b) for a, b in combinations(range(len(keys)), 2) if sheet.items[a].construct == sheet.items[b].construct]
    opposed = [(a, b) for a, b in pairs if keys[a] != keys[b]]
    rates = {}
    for name, chosen, tops in (("contradiction", pairs, [(up, down), (down, up)]), ("contradiction_reversed", opposed, [(up, down), (down, up)]),
                               ("acquiescence", opposed, [(high, high)])):  # fmt: skip
        if chosen:
            decided = _both([(up + down, up + down)], chosen)
            met, apart = _both(tops, chosen), _apart(tops, chosen)
            rates[name] = (sum_ratio(met, decided), apart / _apart([(up + down, up + down)], chosen), len(chosen))
    if pairs:
        decided = _both([(up + down, up + down)], pairs)
        rates["decided"] = (sum_ratio(decided / len(pairs)), np.nan, len(pairs))
    return rates


def _both(sides: list, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Expected number of pairs of one person whose answers are on the given sides, shape (people,)."""
    a, b = np.array(pairs).T
    return sum((left[:, a] * right[:, b]).sum(1) for left, right in sides)


def _apart(sides: list, pairs: Sequence[tuple[int, int]]) -> float:
    """The same if the two answers are of two different people, summed over all ordered pairs of people."""
    a, b = np.array(pairs).T
    crossed = sum((left[:, a].sum(0) * right[:, b].sum(0)).sum() for left, right in sides)
    return float(crossed - _both(sides, pairs).sum())
