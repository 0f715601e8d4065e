"""What a card is worth: accuracy against the truth under each card condition, between a floor without a card and what a perfect reader could reach."""

import random
from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd

from ... import resampling
from ...systems import is_untuned, model_of
from ...world import personas
from ...world.questions import load_questions
from ...world.respondents import card_probabilities
from .conditions import BASELINE, CONDITIONS, sparse
from .consistency import Frames, likely, mean, of_sums


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
            line = {"system": system, "condition": name, "metric": metric, **mean(own, people, seed)}
            if name != BASELINE:
                gap = _difference(own, before, people, seed)
                line |= {"gap": gap["value"], "gap_lo": gap["lo"], "gap_hi": gap["hi"], "p": gap["p"]}
            lines.append(line)
    for name, frame in references.items():
        lines += [{"system": name, "condition": "", "metric": m, **mean(v, list(frame["persona_id"]), seed)} for m, v in _hits(frame).items()]
    table = pd.DataFrame(lines)
    table["p_holm"] = np.nan
    for _, part in table.groupby("metric"):
        table.loc[part.index, "p_holm"] = resampling.holm(part["p"])
    return table


def overview(table: pd.DataFrame, references: pd.DataFrame, other_hands: Mapping[str, float], labels: Mapping[str, str]) -> pd.DataFrame:
    """The probability of the true option under each card, one row a system, `value [interval]`; a star: differs from the full card (Holm, 5 %).

    Args: table: `scores/conditions.csv`. references: `scores/administration.csv` (floors and bounds that need no card condition). other_hands: system -> its
        value with the answers of the full card assigned to permuted respondents. labels: the systems' names, in order.
    Returns: text; n stands in the heading. A row "a perfect reader of that card" says what each card can give at most.
    """
    truth = table[table["metric"] == "truth_prob"]
    columns = {}
    for name in (BASELINE, *(n for n, c in CONDITIONS.items() if c.kind == "card")):
        part = truth[truth["condition"] == name].set_index("system")
        cells = {s: f"{_cell(r)}{'*' if r['p_holm'] < 0.05 else ''}" for s, r in part.iterrows()}
        known = {BASELINE: "full card", "no_card": "no card", "sparse": "sparse card"}.get(name)
        top = truth[truth["system"] == f"oracle: {known}"]
        cells |= {"perfect": f"{top['value'].iloc[0]:.3f}".lstrip("0")} if len(top) else {}
        if name == BASELINE:
            fixed = references[(references["metric"] == "truth_prob") & references["system"].isin({"uniform", "majority", "resample"})]
            cells |= {r["system"]: _cell(r) for _, r in fixed.iterrows()}
        if len(part):
            columns[f"{'full card' if name == BASELINE else CONDITIONS[name].label} (n = {int(part['n'].max()):,})"] = cells
            if name == BASELINE:
                columns["full card, other people's sheets"] = {s: f"{v:.3f}".lstrip("0") for s, v in other_hands.items() if s in cells}
    names = dict(labels) | {"perfect": "a perfect reader of that card"}
    order = [system for system in names if any(system in column for column in columns.values())]
    return pd.DataFrame(columns).reindex(order).fillna("–").rename(index=names)


def _cell(row: Mapping) -> str:
    return f"{row['value']:.3f} [{row['lo']:.3f}, {row['hi']:.3f}]".replace("0.", ".")


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """What each card does to the probability of the true option against the full card, and what examples and tuning do: one row each, untuned and tuned.

    Args: table: `scores/conditions.csv`. Returns: the mean difference over the models, and for how many it is clearly lower and higher (Holm, 5 %).
    """
    truth, rows = table[table["metric"] == "truth_prob"], []
    for name, condition in CONDITIONS.items():
        part = truth[(truth["condition"] == name) & truth["gap"].notna()]
        if condition.kind == "card" and len(part):
            base = part["system"].map(is_untuned)
            label = f"{condition.label} (few-shot), less none" if name == "few_shot" else f"{condition.label}, less full card"
            rows.append({"": label, "untuned": _counted(part[base], "gap"), "tuned": _counted(part[~base], "gap")})
    step = truth[truth["condition"] == "tuning"]
    rows += [{"": "tuned, less untuned with three examples", "tuned": _counted(step, "value")}] if len(step) else []
    return pd.DataFrame(rows).set_index("").fillna("–") if rows else pd.DataFrame()


def _counted(part: pd.DataFrame, column: str) -> str:
    clear = part.loc[part["p_holm"] < 0.05, column]
    return f"{part[column].mean():+.4f} (clearly lower {(clear < 0).sum()}, higher {(clear > 0).sum()} of {len(part)})" if len(part) else "–"


def few_shot(frames: Frames, *, seed: int) -> pd.DataFrame:
    """Three examples in the prompt against tuning, on the rows asked with examples: system (the family), step, metric, value, lo, hi, n, p, p_holm.

    Steps: "examples" (untuned base with examples less without), "tuning" (tuned without examples less untuned base with them). Differences are paired.
    """
    lines = []
    for base in (system for system, name in frames if name == "few_shot" and is_untuned(system)):
        shown, family = frames[base, "few_shot"], model_of(base)
        plain, tuned = (frames[system, BASELINE].set_index("id").loc[shown["id"]].reset_index() for system in (base, family))
        for step, better, worse in (("examples", shown, plain), ("tuning", tuned, shown)):
            for metric, own in _hits(better).items():
                lines.append({"system": family, "step": step, "metric": metric, **_difference(own, _hits(worse)[metric], list(shown["persona_id"]), seed)})
    return pd.DataFrame(lines).assign(p_holm=lambda t: t.groupby("metric")["p"].transform(resampling.holm))


def _difference(own: np.ndarray, other: np.ndarray, people: list, seed: int) -> dict[str, float]:
    """Paired mean difference with its interval and the p-value of "none", persons kept together: {"value", "lo", "hi", "n", "p"}."""
    p = resampling.paired_permutation(own, other, clusters=people, seed=seed)
    return {**mean(own - other, people, seed), "p": p}


def _hits(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    own = np.array([p[t] for p, t in zip(frame["option_probs"], frame["truth"], strict=True)])
    return {"stance_acc": (frame["chosen"] == frame["truth"]).to_numpy(dtype=float), "truth_prob": own}


@cache
def _drawn(count: int = 2000) -> list[dict]:
    rng = random.Random("card conditions")
    return [personas.draw_persona(rng) for _ in range(count)]


def perfect_readers(sheet: pd.DataFrame) -> dict[str, pd.DataFrame]:
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
        by_card = (everyone.mean(0), everyone[alike].mean(0), card_probabilities(row.persona, questions[row.question_id]))
        for name, probs in zip(out, by_card, strict=True):
            out[name].append(probs)
    return {name: sheet[["id", "persona_id", "question_id", "truth"]].assign(option_probs=p, chosen=[int(np.argmax(x)) for x in p]) for name, p in out.items()}


def _kind(card: dict) -> tuple:
    feats = personas.features(sparse(card) | {"category": card["category"]})
    return tuple(sorted(feats["age"] | feats["job"]))


def card_sides(frames: Frames, *, seed: int) -> pd.DataFrame:
    """Which side of a contradictory card each system takes: system, condition, metric "side" (0: the trait, 1: the description), value, lo, hi, n."""
    lines = []
    for system in dict.fromkeys(system for system, _ in frames):
        three = (likely(frames[system, name]) for name in (BASELINE, "swapped", "contradictory"))
        lines.append({"system": system, "condition": "contradictory", **side_taken(*three, seed=seed)})
    return pd.DataFrame(lines)


def side_taken(first: pd.DataFrame, swapped: pd.DataFrame, contradictory: pd.DataFrame, *, seed: int) -> dict:
    """Where answers to a contradictory card lie between those to the card (0) and to the card with the trait swapped (1).

    The projection of the move on the whole way, pooled over rows: {"metric": "side", "value", "lo", "hi", "n"}. NaN if the trait moves nothing.
    """
    a, b, c = (f.set_index("id")["score"] for f in (first, swapped, contradictory))
    whole, part = (b - a.loc[b.index]), (c.loc[b.index] - a.loc[b.index])
    products = np.stack([part * whole, whole * whole], axis=1)
    return {"metric": "side", **of_sums(products, lambda s: s[:, 0] / s[:, 1], list(swapped["persona_id"]), seed)}
