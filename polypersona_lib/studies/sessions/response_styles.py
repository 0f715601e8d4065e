"""How a model answers whatever the question: yes to a statement and to its negation, high options, and what was answered just before.

Scores are those of `consistency.likely` (or `spoken`), in [0, 1]; a high score of a statement is agreement. Intervals resample personas.
"""

import numpy as np
import pandas as pd

from ...world.questions import load_questions
from .conditions import BASELINE, negations
from .consistency import SIMULATED_PEOPLE, Frames, likely, mean, of_sums, paired, sizes, tuned


def styles(frames: Frames, people: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """All measures of every tuned model and of the simulated people: system, condition, metric, value, lo, hi, n."""
    again = people[people["session"] == 1]
    lines = [{"system": SIMULATED_PEOPLE, "condition": "negated", **line} for line in acquiescence(*mirrored_respondents(people), seed=seed)]
    lines.append({"system": SIMULATED_PEOPLE, "condition": "again", **upper_end(again, seed=seed)})
    for system in tuned(frames):
        first = likely(frames[system, BASELINE])
        lines += [{"system": system, "condition": "negated", **line} for line in acquiescence(first, likely(frames[system, "negated"]), seed=seed)]
        lines.append({"system": system, "condition": BASELINE, **upper_end(first, seed=seed)})
        for name in ("after_related", "after_unrelated"):
            lines.append({"system": system, "condition": name, **carry_over(first, likely(frames[system, name]), seed=seed)})
    return pd.DataFrame(lines)


def acquiescence(first: pd.DataFrame, negated: pd.DataFrame, *, seed: int) -> list[dict]:
    """Agreement with a statement *and* with its negation: rows (metric, value, lo, hi, n).

    `acquiescence`: mean of both scores less a half (0: none; +.5: yes to everything; -.5: no to everything). `contradiction`: mean absolute
    difference between a score and the mirrored score of the negation (0: a perfect mirror). `negation_r`: correlation of the two over persons, items'
    means taken out (1: who agrees with the one disagrees with the other).
    """
    both = paired(first, negated)
    mirrored, people = 1 - both["score_b"], list(both["persona_id"])
    lines = [
        {"metric": "acquiescence", **mean((both["score_a"] + both["score_b"]) / 2 - 0.5, people, seed)},
        {"metric": "contradiction", **mean(abs(both["score_a"] - mirrored), people, seed)},
    ]
    a, b = (s - s.groupby(both["question_id"]).transform("mean") for s in (both["score_a"], mirrored))
    products = np.stack([a * b, a * a, b * b], axis=1)
    return lines + [{"metric": "negation_r", **of_sums(products, lambda s: s[:, 0] / np.sqrt(s[:, 1] * s[:, 2]), people, seed)}]


def mirrored_respondents(people: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the simulated people say to an item and, asked again, to its negation: they mirror their answer and nothing else."""
    asked = people[people["question_id"].isin(negations())]
    again = asked[asked["session"] == 1]
    return asked[asked["session"] == 0], again.assign(option=sizes(again) - 1 - again["option"], score=1 - again["score"])


def upper_end(first: pd.DataFrame, *, seed: int) -> dict:
    """Preference for high options over reverse-keyed items: how much higher than the people's own both kinds of items are answered, averaged.

    In constructs that have items of both keys; a person's mean over positive and over reverse-keyed items count the same. A shift in the attitude
    itself cancels. Returns: {"metric": "upper_end", "value", "lo", "hi", "n"} (n persons x constructs); 0: none.
    """
    items = [load_questions()[q] for q in first["question_id"]]
    gap = first["score"] - first["truth"] / (sizes(first) - 1)
    keyed = first.assign(gap=gap, key=[q.key for q in items], construct=[q.construct for q in items])
    means = keyed.groupby(["construct", "persona_id", "key"])["gap"].mean().unstack("key").dropna().mean(axis=1).reset_index(name="gap")
    return {"metric": "upper_end", **mean(means["gap"], list(means["persona_id"]), seed)}


def carry_over(first: pd.DataFrame, after: pd.DataFrame, *, seed: int) -> dict:
    """By how much an answer moves towards the one given just before, per unit of the earlier answer: {"metric": "carry_over", "value", "lo", "hi", "n"}.

    The weight of the earlier answer in a regression of the score on it and on the score without it: a person's two answers go together, so an answer that
    merely falls back towards everybody's would otherwise seem to move away from the earlier one.

    Scores are turned so that high means more of the construct; each item's means are taken out, so it is the person's answer that pulls, not the item.
    """
    questions, known = load_questions(), first.assign(place=first["option"] / (sizes(first) - 1)).set_index("id")
    earlier = [f"{p}-{q}" for p, q in zip(after["persona_id"], after["before"], strict=True)]
    key, key_before = (np.array([questions[q].key for q in after[c]]) for c in ("question_id", "before"))
    own, before = known.loc[after["id"], "score"].to_numpy(), known.loc[earlier, "place"].to_numpy()
    t = pd.DataFrame({"y": after["score"].to_numpy() * key, "x": own * key, "z": before * key_before})
    t -= t.groupby(after["question_id"].to_numpy()).transform("mean")
    products = np.stack([t.x * t.x, t.z * t.z, t.x * t.z, t.x * t.y, t.z * t.y], axis=1)

    def weight(sums: np.ndarray) -> np.ndarray:
        xx, zz, xz, xy, zy = sums.T
        return (xx * zy - xz * xy) / (xx * zz - xz * xz)

    return {"metric": "carry_over", **of_sums(products, weight, list(after["persona_id"]), seed)}
