"""Answers that are bad in a known way, for the embedded test rows: what the evaluator must see through. Everything here was written for this purpose."""

from __future__ import annotations

import random
import re

import pandas as pd

from polypersona_lib.prompts import chat
from polypersona_lib.texts import sentences
from polypersona_lib.world import controls
from polypersona_lib.world.questions import DOMAINS

CONSTANT = "It depends on the day, but on the whole things are fine with me and I have little to add."
GERMAN = (
    "Ich finde das wichtig, weil meine Familie jeden Tag davon betroffen ist.", "Eher nicht, dafür fehlen mir im Alltag die Zeit und das Geld.",
    "Meistens bin ich zufrieden, auch wenn manches besser laufen könnte.", "Früher war das anders, heute verlasse ich mich auf meine Nachbarn.",
    "Darüber habe ich lange nachgedacht und bin immer noch unschlüssig.", "Bei uns im Dorf kennt jeder jeden, deshalb klappt das ganz gut.",
)  # fmt: skip
SPANISH = (
    "Creo que es muy importante para mi familia y para todo el barrio.", "No estoy segura, porque depende mucho de cuánto dinero queda a fin de mes.",
    "Casi siempre me siento bien atendido, aunque a veces hay que esperar demasiado.", "Prefiero hablar con mis vecinos antes que buscar en internet.",
    "Desde que trabajo por las noches todo me cuesta el doble.", "Me gustaría que las cosas fueran más sencillas para los jóvenes.",
)  # fmt: skip
MARKERS = ("<|im_end|>", "<|im_start|>assistant", '<tool_call>{"name": "answer"}</tool_call>', "[/INST]", "</s>")
TEN = " ".join(f"This is sentence number {n} about nothing in particular." for n in range(1, 11))


def _other_persona(test: pd.DataFrame) -> list[str]:
    """For each row the reference of another persona of the test who was asked the same question: rows that were shifted."""
    by_question = {q: g for q, g in test.sort_values("id").groupby("question_id")}
    found = []
    for row in test.itertuples():
        others = by_question[row.question_id]
        found.append(random.Random(f"other|{row.id}").choice(others.loc[others["persona_id"] != row.persona_id, "reference"].tolist()))
    return found


def _uniform(test: pd.DataFrame, train: pd.DataFrame) -> list[str]:
    return controls.baseline_predictions(test, train, seed=42)["uniform"]


def _option_and_reason(row) -> tuple[str, str]:
    """The reference in two parts: its first sentence, which takes the option, and the rest; an open answer is all reason."""
    if row.question_type == "open":
        return "", row.reference
    first, *rest = sentences(row.reference)
    return first, " ".join(rest)


def shuffled_words(test: pd.DataFrame, *, seed: str = "") -> list[str]:
    """The references with the words of their reasons in a random order."""
    found = []
    for row in test.itertuples():
        first, rest = _option_and_reason(row)
        words = rest.split()
        random.Random(f"shuffle|{seed}|{row.id}").shuffle(words)
        found.append(f"{first} {' '.join(words)}".strip())
    return found


def wrong_topic(test: pd.DataFrame, everyone: pd.DataFrame, *, seed: str = "") -> list[str]:
    """The references with the reason that somebody gave to another question of the same kind (open or closed)."""
    found, kinds = [], {True: [], False: []}
    for row in everyone.itertuples():
        kinds[row.question_type == "open"].append(row)
    for row in test.itertuples():
        rng, other = random.Random(f"topic|{seed}|{row.id}"), row
        while other.question_id == row.question_id:
            other = rng.choice(kinds[row.question_type == "open"])
        found.append(f"{_option_and_reason(row)[0]} {_option_and_reason(other)[1]}".strip())
    return found


def wrong_option(test: pd.DataFrame, everyone: pd.DataFrame, *, seed: str = "") -> list[str]:
    """The references with the reason of somebody who took an option of the other half of the scale; others keep their own reason."""
    found, by_question = [], dict(list(everyone.groupby("question_id")))
    for row in test.itertuples():
        if row.question_type == "open" or 2 * row.target == len(row.options) - 1:
            found.append(row.reference)
            continue
        asked = by_question[row.question_id]
        asked = asked[asked["persona_id"] != row.persona_id]
        others = asked[(2 * asked["target"] - len(row.options) + 1) * (2 * row.target - len(row.options) + 1) < 0]
        other = others.iloc[random.Random(f"option|{seed}|{row.id}").randrange(len(others))] if len(others) else row
        found.append(f"{_option_and_reason(row)[0]} {_option_and_reason(other)[1]}".strip())
    return found


def invented_words(test: pd.DataFrame, *, seed: str = "") -> list[str]:
    """The references, in every third the letters of the reason's longest word in another order."""
    found = []
    for row in test.itertuples():
        first, rest = _option_and_reason(row)
        longest, rng = max(re.findall(r"[a-z]+", rest), key=len, default=""), random.Random(f"letters|{seed}|{row.id}")
        made = rest.replace(longest, "".join(rng.sample(longest, len(longest)))) if longest else rest
        found.append(f"{first} {made}".strip() if rng.random() < 1 / 3 else row.reference)
    return found


def _wrong_format(row) -> str:
    """Closed items answered without an option; open ones in turn by a bare label and by ten sentences."""
    if row.question_type != "open":
        return f"The weather was mild and bus {sum(map(ord, row.id))} came on time for {row.persona_id} this morning."
    return "Agree." if sum(map(ord, row.id)) % 2 else TEN


def failing_generator(row) -> str:
    """A model that breaks on every row."""
    raise RuntimeError(f"out of memory at {row.id}")


def generate(answer, test: pd.DataFrame) -> list[str]:
    """`answer(row)` for every row; an exception is a failed generation: an empty answer."""
    found = []
    for row in test.itertuples():
        try:
            found.append(answer(row))
        except RuntimeError:
            found.append("")
    return found


def build(parts: dict[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Name -> answers to `parts["test"]`, in its order. `parts` as of `answer_files.load_data`."""
    test, train = parts["test"], parts["train"]
    typical = controls.typical_answers(train)
    return {
        "copy": test["reference"].tolist(),
        "blind_copy": [typical[q] for q in test["question_id"]],
        "uniform_answers": _uniform(test, train),
        "constant": [CONSTANT] * len(test),
        "other_persona": _other_persona(test),
        "prompt_echo": generate(lambda row: chat.user_text(row.persona, DOMAINS[row.domain], row.question, row.options), test),
        "empty": [""] * len(test),
        "german": generate(lambda row: GERMAN[sum(map(ord, row.id)) % len(GERMAN)], test),
        "spanish": generate(lambda row: SPANISH[sum(map(ord, row.id)) % len(SPANISH)], test),
        "control_text": generate(lambda row: f"{row.reference} {MARKERS[sum(map(ord, row.id)) % len(MARKERS)]}", test),
        "wrong_format": generate(_wrong_format, test),
        "failing": generate(failing_generator, test),
        "shuffled_words": shuffled_words(test),
        "wrong_topic": wrong_topic(test, pd.concat(parts.values())),
        "wrong_option": wrong_option(test, pd.concat(parts.values())),
        "invented_words": invented_words(test),
    }
