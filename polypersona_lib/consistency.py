"""What follows from asking again: agreement with the first answer, how much of the variance is the person, drift, acquiescence, and what each card is worth.

Everything here is computed from stored answers. Expected scores run from 0 (lowest option) to 1 (highest); intervals resample personas.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import pandas as pd

from . import administration, personas, stats
from .conditions import BASELINE, CONDITIONS, negations, sparse
from .question_bank import load_questions
from .respondents import Speaker, card_probabilities

SESSIONS, N_BOOT = 3, 1000
WORDINGS = (BASELINE, "paraphrase_1", "paraphrase_2")
RESPONDENTS = "respondents"  # the simulated people themselves, asked again
SCORED = ("id", "persona_id", "question_id", "domain", "question_type", "truth", "session")
Frames = Mapping[tuple[str, str], pd.DataFrame]  # (system, condition) -> its answers


def likely(frame: pd.DataFrame) -> pd.DataFrame:
    """Answers by their option probabilities: `option`, the most probable one, and `score`, the expected one, in [0, 1]."""
    score = [np.arange(len(p)) @ np.asarray(p) / (len(p) - 1) for p in frame["option_probs"]]
    return frame[[c for c in (*SCORED, "before") if c in frame]].assign(option=frame["chosen"], score=score)


def spoken(frame: pd.DataFrame) -> pd.DataFrame:
    """Answers by the option that was read in the sampled text: `option` and `score` in [0, 1]; rows without a stance are left out."""
    found = frame[frame["read"] >= 0]
    return found[list(SCORED)].assign(option=found["read"].astype(int), score=found["read"] / (_sizes(found) - 1))


def _sizes(frame: pd.DataFrame) -> pd.Series:
    """Number of options of each row's item."""
    return frame["question_id"].map({q.id: len(q.options) for q in load_questions().values()})


def respondents(sheet: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The simulated people asked `SESSIONS` times: same attitude, a new choice. As from `spoken`; session 0 is the sheet's truth."""
    questions, speaker, parts = load_questions(), Speaker(), []
    for session in range(SESSIONS):
        chosen = [speaker.answer(row.persona, questions[row.question_id], seed=seed, draw=session).option for row in sheet.itertuples()]
        parts.append(spoken(sheet.assign(session=session, read=chosen)))
    return pd.concat(parts, ignore_index=True)


# --- agreement with the first answer ---------------------------------------------------------------------------------------------------


def agreement(first: pd.DataFrame, other: pd.DataFrame, *, seed: int) -> list[dict]:
    """How far the answers in `other` are those of `first`: rows (metric, value, lo, hi, n).

    `same_option`: share that take the same option; `kappa`: the same for five-point items, chance removed, near misses counted as near (quadratic
    weights); `shift`: mean absolute difference of the expected scores, 0 to 1; `drift`: its mean with its sign.

    Args: first, other: from `likely` or `spoken`; `other` may hold several sessions.
    """
    both = paired(first, other)
    if both.empty:
        return []
    people = list(both["persona_id"])
    lines = [{"metric": "same_option", **_mean(both["option_a"] == both["option_b"], people, seed)}]
    five = both[both["question_type"] != "yesno"]
    if len(five):
        table = pd.DataFrame({"persona_id": five["persona_id"], "chosen": five["option_b"], "truth": five["option_a"]})
        lines.append({"metric": "kappa", **administration.kappa(table, seed)})
    gap = (both["score_b"] - both["score_a"]).to_numpy()
    return lines + [{"metric": "shift", **_mean(abs(gap), people, seed)}, {"metric": "drift", **_mean(gap, people, seed)}]


def paired(first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows that two sets of answers both have: `option` and `score` of the first ("_a") and of the other ("_b"), every session of the latter."""
    return other.merge(first[["id", "option", "score"]], on="id", suffixes=("_b", "_a"))


def _mean(values: Iterable, people: list, seed: int) -> dict:
    found = stats.bootstrap_mean(np.asarray(values, dtype=float), clusters=people, n_boot=N_BOOT, seed=seed)
    return {"value": found["mean"]} | {k: found[k] for k in ("lo", "hi", "n")}


# --- how much of the variance is the person ----------------------------------------------------------------------------------------------


def icc_parts(table: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance components of scores in a two-way layout: (between persons, between sessions, rest), each of shape (items, draws).

    Args:
        table: scores, shape (items, persons, sessions); a person with a NaN in an item is left out of that item.
        weights: how often each person counts, shape (draws, persons).
    Source: expected mean squares of the two-way random-effects model (McGraw and Wong 1996, table 4); components may be negative.
    """
    known = np.isfinite(table).all(axis=2)
    x, k = np.where(known[:, :, None], table, 0.0), table.shape[2]
    n = known @ weights.T
    with np.errstate(invalid="ignore", divide="ignore"):
        grand = x.sum(2) @ weights.T / (n * k)
        by_session = np.stack([x[:, :, j] @ weights.T / n for j in range(k)], axis=2)
        rows = k * (x.mean(2) ** 2 @ weights.T - n * grand**2)
        columns = n * (by_session**2).sum(2) - n * k * grand**2
        total = (x**2).sum(2) @ weights.T - n * k * grand**2
        error = (total - rows - columns) / ((n - 1) * (k - 1))
        persons, sessions = (rows / (n - 1) - error) / k, (columns / (k - 1) - error) / n
    return persons, sessions, error


def icc(table: np.ndarray, *, seed: int) -> dict[str, float]:
    """ICC(A,1): the share of the variance of one answer that is the person, items pooled (components are averaged over items before they are divided).

    Two-way random effects, absolute agreement, single measurement; ICC(2,1) of Shrout and Fleiss (1979).

    Args: table: scores, shape (items, persons, sessions).
    Returns: {"value", "lo", "hi", "n" (person-item pairs that are complete), "between", "within"}: variances; within is sessions and rest together.
    """
    people = table.shape[1]
    draws = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=N_BOOT)
    found = []
    for weights in (np.ones((1, people)), draws.astype(float)):
        persons, sessions, rest = (np.nanmean(np.where(np.isfinite(part), part, np.nan), axis=0) for part in icc_parts(table, weights))
        found.append((persons / (persons + sessions + rest), persons, sessions + rest))
    (value, between, within), (boot, _, _) = found
    low, high = np.nanquantile(boot, [0.025, 0.975])
    return {"value": float(value[0]), "lo": float(low), "hi": float(high), "n": int(np.isfinite(table).all(axis=2).sum()),
            "between": float(between[0]), "within": float(within[0])}  # fmt: skip


def cube(sets: list[pd.DataFrame]) -> np.ndarray:
    """Scores of several sets of answers to the same rows, shape (items, persons, sets x sessions); NaN where one has none."""
    columns = [part.pivot(index="question_id", columns="persona_id", values="score") for each in sets for _, part in each.groupby("session", sort=True)]
    items, people = (sorted(set.intersection(*(set(getattr(c, side)) for c in columns))) for side in ("index", "columns"))
    return np.stack([column.loc[items, people].to_numpy(dtype=float) for column in columns], axis=2)


# --- acquiescence and negation -----------------------------------------------------------------------------------------------------------


def acquiescence(first: pd.DataFrame, negated: pd.DataFrame, *, seed: int) -> list[dict]:
    """Agreement with a statement *and* with its negation: rows (metric, value, lo, hi, n).

    `acquiescence`: mean of both scores less a half (0: none; +.5: yes to everything; -.5: no to everything). `contradiction`: mean absolute
    difference between a score and the mirrored score of the negation (0: a perfect mirror). `negation_r`: correlation of the two over persons, items'
    means taken out (1: who agrees with the one disagrees with the other).
    """
    both = paired(first, negated)
    mirrored, people = 1 - both["score_b"], list(both["persona_id"])
    lines = [
        {"metric": "acquiescence", **_mean((both["score_a"] + both["score_b"]) / 2 - 0.5, people, seed)},
        {"metric": "contradiction", **_mean(abs(both["score_a"] - mirrored), people, seed)},
    ]
    a, b = (s - s.groupby(both["question_id"]).transform("mean") for s in (both["score_a"], mirrored))
    sums = pd.DataFrame({"ab": a * b, "aa": a * a, "bb": b * b}).groupby(both["persona_id"]).sum().to_numpy()
    return lines + [{"metric": "negation_r", **_ratio(sums, lambda s: s[..., 0] / np.sqrt(s[..., 1] * s[..., 2]), seed), "n": len(both)}]


def mirrored_respondents(people: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the simulated people say to an item and, asked again, to its negation: they mirror their answer and nothing else."""
    asked = people[people["question_id"].isin(negations())]
    again = asked[asked["session"] == 1]
    return asked[asked["session"] == 0], again.assign(option=_sizes(again) - 1 - again["option"], score=1 - again["score"])


def upper_end(first: pd.DataFrame, *, seed: int) -> dict:
    """Preference for high options over reverse-keyed items: how much higher than the people's own both kinds of items are answered, averaged.

    In constructs that have items of both keys; a person's mean over positive and over reverse-keyed items count the same. A shift in the attitude
    itself cancels. Returns: {"metric": "upper_end", "value", "lo", "hi", "n"} (n persons x constructs); 0: none.
    """
    items = [load_questions()[q] for q in first["question_id"]]
    gap = first["score"] - first["truth"] / (_sizes(first) - 1)
    keyed = first.assign(gap=gap, key=[q.key for q in items], construct=[q.construct for q in items])
    means = keyed.groupby(["construct", "persona_id", "key"])["gap"].mean().unstack("key").dropna().mean(axis=1).reset_index(name="gap")
    return {"metric": "upper_end", **_mean(means["gap"], list(means["persona_id"]), seed)}


def carry_over(first: pd.DataFrame, after: pd.DataFrame, *, seed: int) -> dict:
    """By how much an answer moves towards the one given just before, per unit of that one: {"metric": "carry_over", "value", "lo", "hi", "n"}.

    Scores are turned so that high means more of the construct; each item's means are taken out, so it is the person's answer that pulls, not the item.
    """
    questions, known = load_questions(), first.assign(place=first["option"] / (_sizes(first) - 1)).set_index("id")
    earlier = [f"{p}-{q}" for p, q in zip(after["persona_id"], after["before"], strict=True)]
    moved = (after["score"].to_numpy() - known.loc[after["id"], "score"].to_numpy()) * [questions[q].key for q in after["question_id"]]
    pull = known.loc[earlier, "place"].to_numpy() * [questions[q].key for q in after["before"]]
    moved, pull = (pd.Series(v) - pd.Series(v).groupby(after["question_id"].to_numpy()).transform("mean") for v in (moved, pull))
    sums = pd.DataFrame({"xy": moved * pull, "xx": pull * pull}).groupby(after["persona_id"].to_numpy()).sum().to_numpy()
    return {"metric": "carry_over", **_ratio(sums, lambda s: s[..., 0] / s[..., 1], seed), "n": len(after)}


def side_taken(first: pd.DataFrame, swapped: pd.DataFrame, contradictory: pd.DataFrame, *, seed: int) -> dict:
    """Where answers to a contradictory card lie between those to the card (0) and to the card with the trait swapped (1).

    The projection of the move on the whole way, pooled over rows: {"metric": "side", "value", "lo", "hi", "n"}. NaN if the trait moves nothing.
    """
    a, b, c = (f.set_index("id")["score"] for f in (first, swapped, contradictory))
    whole, part = (b - a.loc[b.index]), (c.loc[b.index] - a.loc[b.index])
    sums = pd.DataFrame({"xy": part * whole, "xx": whole * whole}).groupby(swapped.set_index("id")["persona_id"]).sum().to_numpy()
    return {"metric": "side", **_ratio(sums, lambda s: s[..., 0] / s[..., 1], seed), "n": len(b)}


def _ratio(sums: np.ndarray, form, seed: int) -> dict:
    """A function of sums over personas (persons, columns), with its interval from resampling them. NaN where it cannot be formed."""
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=N_BOOT)
    with np.errstate(invalid="ignore", divide="ignore"):
        value, boot = form(sums.sum(0)), form(draws @ sums)
    low, high = np.nanquantile(boot, [0.025, 0.975]) if np.isfinite(boot).any() else (np.nan, np.nan)
    return {"value": float(value), "lo": float(low), "hi": float(high)}


# --- what a card is worth ------------------------------------------------------------------------------------------------------------------


def worth(frames: Frames, references: Mapping[str, pd.DataFrame], *, seed: int) -> pd.DataFrame:
    """Accuracy of each card condition against the truth: system, condition, metric (stance_acc, truth_prob), value, lo, hi, n; and the difference
    from the full card on the same rows: gap, gap_lo, gap_hi, p, p_holm (over all systems and conditions of the metric).

    Args: references: floors and ceilings, by name: administrations of the sheet (no gap).
    """
    lines = []
    for (system, name), frame in frames.items():
        if CONDITIONS[name].kind != "card" and name != BASELINE:
            continue
        full = frames[system, BASELINE].set_index("id").loc[frame["id"]].reset_index()
        for metric, own in _hits(frame).items():
            people, before = list(frame["persona_id"]), _hits(full)[metric]
            line = {"system": system, "condition": name, "metric": metric, **_mean(own, people, seed)}
            if name != BASELINE:
                gap = stats.paired_bootstrap(own, before, clusters=people, n_boot=N_BOOT, seed=seed)
                line |= {"gap": gap["mean"], "gap_lo": gap["lo"], "gap_hi": gap["hi"], "p": stats.paired_permutation(own, before, clusters=people, seed=seed)}
            lines.append(line)
    for name, frame in references.items():
        lines += [{"system": name, "condition": "", "metric": m, **_mean(v, list(frame["persona_id"]), seed)} for m, v in _hits(frame).items()]
    table = pd.DataFrame(lines)
    table["p_holm"] = np.nan
    for _, part in table.groupby("metric"):
        table.loc[part.index, "p_holm"] = stats.holm(part["p"])
    return table


def _hits(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    own = np.array([p[t] for p, t in zip(frame["option_probs"], frame["truth"], strict=True)])
    return {"stance_acc": (frame["chosen"] == frame["truth"]).to_numpy(dtype=float), "truth_prob": own}


@cache
def _drawn(count: int = 2000) -> list[dict]:
    rng = random.Random("card conditions")
    return [personas.draw_persona(rng) for _ in range(count)]


def ceilings(sheet: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What a perfect reader could predict from no card, the sparse card and the full card: administrations by name.

    Without a card: the mean over the population; from age, gender and occupation: the mean over people of that age group and kind of occupation, which
    is all that the world's attitudes take from these three.
    """
    questions, out = load_questions(), {"oracle: no card": [], "oracle: sparse card": [], "oracle: full card": []}
    kinds = [_kind(card) for card in _drawn()]
    table = {q.id: np.stack([card_probabilities(card, q) for card in _drawn()]) for q in questions.values() if q.options}
    groups = {kind: np.array([k == kind for k in kinds]) for kind in {*kinds}}
    for row in sheet.itertuples():
        everyone = table[row.question_id]
        alike = groups.get(_kind(row.persona), np.ones(len(kinds), bool))
        found = (everyone.mean(0), everyone[alike].mean(0), card_probabilities(row.persona, questions[row.question_id]))
        for name, probs in zip(out, found, strict=True):
            out[name].append(probs)
    return {name: sheet[["id", "persona_id", "question_id", "truth"]].assign(option_probs=p, chosen=[int(np.argmax(x)) for x in p]) for name, p in out.items()}


def _kind(card: dict) -> tuple:
    feats = personas.features(sparse(card) | {"category": card["category"]})
    return tuple(sorted(feats["age"] | feats["job"]))
