"""Gates: what an answerer has to pass before a number from it means anything about people. One table, printed before any result."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..resampling import bootstrap_mean
from .answerers import Answerer, OptionShares, ask_in_orders, content_free

LIMITS = {"option mass": 0.5, "order effect": 0.25, "distance from the prior": 0.05, "own card": 0.0, "known groups": 0.0}
MEANING = {
    "option mass": "most answers name no option: the probabilities describe the few that do",
    "order effect": "the order of the options decides much of the answer: single orders mean nothing, averages little",
    "distance from the prior": "the answers are the model's prior on the options' names: they say nothing about the question or the person",
    "own card": "a stranger's card does at least as well as the person's own: the answers do not describe the person",
    "known groups": "groups that are known to differ do not differ here in the known direction: differences between people mean nothing",
}

UNSHOWN = {"own card": "that a person's own card does better than a stranger's", "known groups": "that known groups differ here in the known direction"}


def check_gates(answerer: Answerer, rows: pd.DataFrame, *, strangers: Sequence | None = None, seed: int, shifts: int = 0) -> pd.DataFrame:
    """Ask `rows` and print nothing: the caller shows the table.

    Args:
        rows: id, messages, options (closed items), persona_id; with `strangers` also truth (the option the person really took, 0-based). Optional column:
            group ("high" or "low": known to answer high or low on the item's scale) for known groups.
        strangers: each row's messages with another person's card (None: no gate of the card).
    Returns: gate, value, lo, hi (95 %, people resampled; NaN where the value has none), limit, passed (None: not tested), answers, meaning (of a failure).
    """
    own = ask_in_orders(answerer, rows, shifts=shifts)
    listed = rows["options"].map(tuple)
    prior = _priors(answerer, listed)
    table = [
        _line("option mass", np.nanmean([c.mass for c in own]) if np.isfinite([c.mass for c in own]).any() else np.nan, own),
        _line("order effect", _order_effect(own), own, most=True),
        _line("distance from the prior", _distance([(c, prior[names]) for c, names in zip(own, listed, strict=True)]), own),
    ]
    if strangers is not None:
        other = ask_in_orders(answerer, rows.assign(id=[f"{i}|stranger" for i in rows["id"]], messages=list(strangers)), shifts=shifts)
        table.append(_card(own, other, rows, seed))
    if "group" in rows:
        table.append(_groups(own, rows, seed))
    return pd.DataFrame(table)


def _line(gate: str, value: float, choices: Sequence[OptionShares], *, lo: float = np.nan, hi: float = np.nan, most: bool = False, people: int = 0) -> dict:
    """One row of the table; with `lo` the interval has to lie above the limit. One that only reaches above it says that `people` are too few, nothing else."""
    passed, answers = passes(gate, value if np.isnan(lo) else lo, most=most), sum(c.probs is not None for c in choices)
    meaning = f"{people} people do not show {UNSHOWN[gate]}, which more people might" if passed is False and hi > LIMITS[gate] + 1e-9 else MEANING[gate]
    return {"gate": gate, "value": value, "lo": lo, "hi": hi, "limit": LIMITS[gate], "passed": passed, "answers": answers, "meaning": meaning}


def passes(gate: str, value: float, *, most: bool = False) -> bool | None:
    """Whether a value is above the gate's limit (`most`: at most the limit); None for no number."""
    return bool((value > LIMITS[gate]) != most) if np.isfinite(value) else None


def _priors(answerer: Answerer, listed: pd.Series) -> dict[tuple, OptionShares]:
    """What each list of options gets when nothing is asked of nobody."""
    distinct = list(dict.fromkeys(listed))
    asked = pd.DataFrame({"id": [f"prior|{'|'.join(names)}" for names in distinct], "options": distinct, "messages": [content_free(n) for n in distinct]})
    return dict(zip(distinct, ask_in_orders(answerer, asked), strict=True))


def _noise(shares: OptionShares) -> float:
    """The squared distance that counting so few answers adds by itself (expected value): in each order its own shares are counted from its own answers."""
    orders = shares.probs[None] if shares.by_order is None else shares.by_order
    samples = shares.samples // len(orders)
    return float((orders * (1 - orders)).sum() / (samples - 1) / len(orders) ** 2) if samples > 1 else 0.0


def _distance(pairs: Sequence[tuple[OptionShares, OptionShares]]) -> float:
    """Root mean square distance of pairs of answers, 0 (equal) to 1 (two different certain options); what sampling adds by itself is taken off."""
    squares = [((a.probs - b.probs) ** 2).sum() - _noise(a) - _noise(b) for a, b in pairs if a.probs is not None and b.probs is not None]
    return float(np.sqrt(max(0.0, float(np.mean(squares))) / 2)) if squares else float("nan")


def _order_effect(choices: Sequence[OptionShares]) -> float:
    """The distance between the first and the last order of each row."""
    asked = [c for c in choices if c.probs is not None and c.by_order is not None]
    count = [c.samples // len(c.by_order) for c in asked]
    return _distance([(OptionShares(c.by_order[0], samples=n), OptionShares(c.by_order[-1], samples=n)) for c, n in zip(asked, count, strict=True)])


def _card(own: Sequence[OptionShares], other: Sequence[OptionShares], rows: pd.DataFrame, seed: int) -> dict:
    """What a person's own card is worth: probability of the true option under it minus that under a stranger's."""
    both = list(zip(own, other, strict=True))
    there = np.array([a.probs is not None and b.probs is not None for a, b in both])
    if not there.any():
        return _line("own card", np.nan, own)
    gains = [a.probs[t] - b.probs[t] for (a, b), t, known in zip(both, rows["truth"], there, strict=True) if known]
    mean = bootstrap_mean(np.array(gains), clusters=list(rows["persona_id"][there]), seed=seed)
    return _line("own card", mean["mean"], own, lo=mean["lo"], hi=mean["hi"], people=rows["persona_id"][there].nunique())


def _groups(choices: Sequence[OptionShares], rows: pd.DataFrame, seed: int) -> dict:
    """Mean position on the scale (0 to 1) of the group known to answer high minus that of the group known to answer low."""
    there = np.array([c.probs is not None for c in choices]) & rows["group"].isin(["high", "low"]).to_numpy()
    if len(set(rows["group"][there])) < 2:
        return _line("known groups", np.nan, choices)
    place = np.array([c.probs @ np.linspace(0, 1, len(c.probs)) for c, known in zip(choices, there, strict=True) if known])
    high = (rows["group"][there] == "high").to_numpy()
    middle = (place[high].mean() + place[~high].mean()) / 2
    signed = np.where(high, (place - middle) / high.mean(), (middle - place) / (~high).mean())  # its mean is the difference of the two means
    mean = bootstrap_mean(signed, clusters=list(rows["persona_id"][there]), seed=seed)
    return _line("known groups", mean["mean"], choices, lo=mean["lo"], hi=mean["hi"], people=rows["persona_id"][there].nunique())


def with_stranger(rows: pd.DataFrame, *, seed: int) -> list[list[dict[str, str]]]:
    """Each row's messages with the card of another person in `rows` (columns id, persona_id, messages; a card is the persona's line of the prompt)."""
    people = list(dict.fromkeys(rows["persona_id"]))
    if len(people) < 2:
        raise ValueError("a stranger's card needs two people or more")
    order = np.random.default_rng(seed).permutation(len(people))
    stranger = {people[a]: people[b] for a, b in zip(order, np.roll(order, 1), strict=True)}
    lines = {person: messages[-1]["content"].split("\n", 1)[0] for person, messages in zip(rows["persona_id"], rows["messages"], strict=True)}
    return [
        [*messages[:-1], messages[-1] | {"content": lines[stranger[person]] + "\n" + messages[-1]["content"].split("\n", 1)[1]}]
        for person, messages in zip(rows["persona_id"], rows["messages"], strict=True)
    ]


def gate_lines(gates: pd.DataFrame) -> list[str]:
    """The table in words, one line a gate: passed, or what its failure means."""
    return [
        f"gate {line.gate}: "
        + ("not tested, no answers" if line.passed is None else f"{line.value:.3f}, " + ("passed" if line.passed else f"FAILED: {line.meaning}"))
        for line in gates.itertuples()
    ]
