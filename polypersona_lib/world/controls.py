"""What the controls answer: baselines without a model, and upper bounds that know the truth. They answer the same test rows and questionnaire as the models.

A model is only worth something between them.
"""

import random
from collections import Counter, defaultdict

import numpy as np
import pandas as pd

from ..prompts import chat
from ..systems import BASELINES, UPPER_BOUNDS
from . import personas
from .questions import Question, load_questions, options_of
from .respondents import Speaker, card_probabilities, option_probabilities, true_attitude


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


def baseline_predictions(test: pd.DataFrame, train: pd.DataFrame, seed: int) -> dict[str, list[str]]:
    """Answers of the four baselines to every test row. `train` and `test` carry `target` (the reference's option or NaN)."""
    by_question, typical = {q: g for q, g in train.groupby("question_id")}, typical_answers(train)
    known = train.dropna(subset="target")
    taken = pd.Series([o[int(t)] for o, t in zip(options_of(known), known["target"], strict=True)], index=known.index, dtype=object)
    options_taken = taken.groupby(known["question_id"]).agg(list)  # labels: options may stand in another order for other people
    anyone, answers = sorted(train["reference"]), {name: [] for name in BASELINES}
    features = {pid: _features(card) for pid, card in zip(train["persona_id"], train["persona"], strict=True)}
    for row, options in zip(test.itertuples(), options_of(test), strict=True):
        rng = random.Random(f"uniform|{seed}|{row.id}")
        group = by_question.get(row.question_id)
        known = sorted(group["reference"]) if group is not None else anyone
        blind = typical.get(row.question_id, rng.choice(anyone))
        answers["uniform"].append(f"{options[rng.randrange(len(options))]}." if options else rng.choice(known))
        most = Counter(label for label in options_taken.get(row.question_id, []) if options and label in options).most_common(1)
        answers["majority"].append(f"{most[0][0]}." if most else blind)
        answers["persona_blind"].append(blind)
        answers["nearest_train"].append(_nearest_answer(row, train if group is None else group, features))
    return answers


def _nearest_answer(row, group: pd.DataFrame, features: dict[str, frozenset[str]]) -> str:
    """The answer in `group` of the person whose card is most like the row's; the person's own answer only if there is no other."""
    mine = _features(row.persona)

    def likeness(person: str) -> float:
        return -1 if person == row.persona_id else len(mine & features[person]) / max(1, len(mine | features[person]))

    return max(zip(group["persona_id"], group["reference"], strict=True), key=lambda pair: (likeness(pair[0]), pair[0]))[1]


def _features(card: dict | str) -> frozenset[str]:
    """What a card says, as a set of features (or words, for free text)."""
    if isinstance(card, dict) and "household" in card:
        return frozenset(f"{k}={v}" for k, values in personas.features(card).items() for v in values)
    return frozenset(chat.render_card(card).lower().replace(",", " ").split())


def _oracle_probabilities(system: str, card: dict, question: Question, seed: int) -> np.ndarray:
    """P(option) that an oracle knows: given the true attitude, or given the card."""
    if system == "oracle_latent":
        return option_probabilities(question, true_attitude(card, question.construct, seed))
    return card_probabilities(card, question)


def upper_bound_predictions(test: pd.DataFrame, seed: int) -> dict[str, list[str]]:
    """Answers of the three upper bounds; only for the embedded world, whose truth is known."""
    questions, answers = load_questions(), {name: [] for name in UPPER_BOUNDS}
    speakers = {name: Speaker() for name in UPPER_BOUNDS}
    for row in test.itertuples():
        question = questions[row.question_id]
        for number, (name, speaker) in enumerate(speakers.items(), start=1):
            option = None
            if name != "resample" and question.options:
                option = int(np.argmax(_oracle_probabilities(name, row.persona, question, seed)))
            answers[name].append(speaker.answer(row.persona, question, seed=seed, draw=number, option=option).text)
    return answers


def questionnaire_probabilities(sheet: pd.DataFrame, train: pd.DataFrame, seed: int) -> dict[str, list[np.ndarray]]:
    """P(option) of two baselines (uniform, majority) and the three upper bounds for every row of a questionnaire."""
    questions, speaker, given = load_questions(), Speaker(), defaultdict(list)
    taken = {qid: group["target"].dropna().astype(int) for qid, group in train.groupby("question_id") if questions[qid].options}
    for row in sheet.itertuples():
        question = questions[row.question_id]
        count = len(question.options)
        again = speaker.answer(row.persona, question, seed=seed, draw=1).option
        counts = np.bincount(taken[question.id], minlength=count) if question.id in taken else np.ones(count)  # smoke: some items have no train row
        given["uniform"].append(np.full(count, 1 / count))
        given["majority"].append(counts / counts.sum())
        given["resample"].append(np.eye(count)[again])
        for oracle in ("oracle_card", "oracle_latent"):
            given[oracle].append(_oracle_probabilities(oracle, row.persona, question, seed))
    return dict(given)
