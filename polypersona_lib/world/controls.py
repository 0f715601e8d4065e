"""The rows that every score table carries beside the models: floors without a model, and bounds that know the truth.

A model is only worth something between them. Each control answers the same test rows as the models do.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import numpy as np
import pandas as pd

from ..prompts import chat
from ..systems import BASELINES, UPPER_BOUNDS
from . import personas
from .questions import load_questions
from .respondents import Speaker, card_probabilities, option_probabilities, true_attitude


def _label(options, option: int) -> str:
    return f"{options[option]}."


def _train_options(train: pd.DataFrame) -> dict[str, list[int]]:
    """Question id -> the options chosen in train (embedded data know them; foreign data: those that could be read)."""
    chosen = defaultdict(list)
    for qid, target in zip(train["question_id"], train["target"], strict=True):
        if target is not None and not pd.isna(target):
            chosen[qid].append(int(target))
    return chosen


def typical_answers(train: pd.DataFrame) -> dict[str, str]:
    """Question id -> the train answer that shares most words with the other train answers to it (highest mean unigram F1)."""
    typical = {}
    for qid, group in train.groupby("question_id", sort=True):
        answers = sorted(group["reference"])
        bags = [Counter(a.lower().split()) for a in answers]
        sizes = [bag.total() for bag in bags]
        means = [sum(2 * (a & b).total() / max(1, n + m) for b, m in zip(bags, sizes, strict=True)) for a, n in zip(bags, sizes, strict=True)]
        typical[qid] = answers[int(np.argmax(means))]
    return typical


def floor_predictions(test: pd.DataFrame, train: pd.DataFrame, seed: int) -> dict[str, list[str]]:
    """Answers of the four floors to every test row. `train` and `test` carry `target` (the reference's option or NaN)."""
    by_question, typical, chosen = {q: g for q, g in train.groupby("question_id")}, typical_answers(train), _train_options(train)
    anyone, out = sorted(train["reference"]), {name: [] for name in BASELINES}
    cards = {pid: _marks(card) for pid, card in zip(train["persona_id"], train["persona"], strict=True)}
    for row in test.itertuples():
        rng = random.Random(f"uniform|{seed}|{row.id}")
        group, closed = by_question.get(row.question_id), row.options is not None and len(row.options) > 0
        answers = sorted(group["reference"]) if group is not None else anyone
        blind = typical.get(row.question_id, rng.choice(anyone))
        out["uniform"].append(_label(row.options, rng.randrange(len(row.options))) if closed else rng.choice(answers))
        most = Counter(chosen.get(row.question_id, [])).most_common(1)
        out["majority"].append(_label(row.options, most[0][0]) if closed and most else blind)
        out["persona_blind"].append(blind)
        mine = _marks(row.persona)
        near = group if group is not None else train
        best = max(zip(near["persona_id"], near["reference"], strict=True), key=lambda p: (_alike(mine, cards[p[0]]) if p[0] != row.persona_id else -1, p[0]))
        out["nearest_train"].append(best[1])
    return out


def _marks(card: dict | str) -> frozenset[str]:
    """What a card says, as a set of features (or words, for free text)."""
    if isinstance(card, dict) and "household" in card:
        return frozenset(f"{k}={v}" for k, values in personas.features(card).items() for v in values)
    return frozenset(chat.render_card(card).lower().replace(",", " ").split())


def _alike(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / max(1, len(a | b))


def bound_predictions(test: pd.DataFrame, seed: int) -> dict[str, list[str]]:
    """Answers of the three bounds; only for the embedded world, whose truth is known."""
    questions, out = load_questions(), {name: [] for name in UPPER_BOUNDS}
    speakers = {name: Speaker() for name in UPPER_BOUNDS}
    for row in test.itertuples():
        question = questions[row.question_id]
        for number, (name, speaker) in enumerate(speakers.items(), start=1):
            option = None
            if name != "resample" and question.options:
                known = (
                    option_probabilities(question, true_attitude(row.persona, question.construct, seed))
                    if name == "oracle_latent"
                    else card_probabilities(row.persona, question)
                )
                option = int(np.argmax(known))
            out[name].append(speaker.answer(row.persona, question, seed=seed, draw=number, option=option).text)
    return out
