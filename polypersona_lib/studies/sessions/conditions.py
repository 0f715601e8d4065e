"""What is asked when the questionnaire comes again: the conditions, each a change of one thing in the prompts of `administration.questionnaire`.

Data only: no model is asked here (`answers` does that) and nothing is concluded (`consistency` does).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pandas as pd

from ... import paths
from ...files import read_yaml
from ...prompts import chat
from ...systems import is_untuned
from ...world import personas
from ...world.questions import DOMAINS, Question, load_questions
from ...world.respondents import attitude_model

FULL, SUBSET, HALF = 0, 20, 50  # personas asked (FULL: all of them)
BASELINE = "baseline"


@dataclass(frozen=True)
class Condition:
    """One way to ask again.

    Attributes:
        label: its name in tables. changes: what differs from the baseline, and nothing else does.
        kind: "session" (asked again), "wording", "options", "order" (another item before it), "negated" or "card".
        people: how many of the personas are asked (0: all).
        sessions: added to the seed of the sampled answers, one session each; (): option probabilities alone.
        temperature: of the sampled answers. bases: whether the untuned bases are asked too.
    """

    label: str
    changes: str
    kind: str
    people: int = FULL
    sessions: tuple[int, ...] = ()
    temperature: float = 1.0
    bases: bool = False


CONDITIONS: dict[str, Condition] = {
    BASELINE: Condition("first session", "nothing: the questionnaire of notebook 04", "session", sessions=(0,), bases=True),
    "again": Condition("asked again", "the random numbers that answers are sampled with", "session", HALF, (1, 2)),
    "cold": Condition("temperature 0.3", "the temperature, and the random numbers", "session", SUBSET, (3, 4), 0.3),
    "hot": Condition("temperature 1.5", "the temperature, and the random numbers", "session", SUBSET, (5, 6), 1.5),
    "paraphrase_1": Condition("first paraphrase", "the wording of the question", "wording"),
    "paraphrase_2": Condition("second paraphrase", "the wording of the question", "wording"),
    "options_reversed": Condition("options reversed", "the order in which the options are listed", "options"),
    "options_shuffled": Condition("options shuffled", "the order in which the options are listed (yes/no: reversed)", "options"),
    "after_related": Condition("after a related item", "an item of the same construct and the model's answer stand before it", "order", HALF),
    "after_unrelated": Condition("after an unrelated item", "an item of another construct and domain and the model's answer stand before it", "order", HALF),
    "negated": Condition("negated", "the statement is negated", "negated"),
    "no_card": Condition("no card", "no persona line", "card", bases=True),
    "sparse": Condition("sparse card", "the card says age, gender and occupation alone", "card", bases=True),
    "implicit": Condition("implicit card", "hints instead of attributes", "card", bases=True),
    "swapped": Condition("trait swapped", "one trait is replaced by its opposite", "card", bases=True),
    "contradictory": Condition("contradictory card", "the description says the opposite of one trait", "card", bases=True),
    "few_shot": Condition("three examples", "answers of three other people stand in the system text", "card", HALF, bases=True),
}


def of_system(system: str) -> list[str]:
    """The conditions that a system is asked under, the baseline first. Untuned bases: baseline and cards."""
    return [name for name, condition in CONDITIONS.items() if condition.bases or not is_untuned(system)]


def rows_of(name: str, sheet: pd.DataFrame, *, seed: int, chosen: pd.Series | None = None, train: pd.DataFrame | None = None) -> pd.DataFrame:
    """The sheet under one condition.

    Args:
        sheet: from `administration.questionnaire`. chosen: the system's most probable option by row id (conditions of kind "order").
        train: records to take examples from ("few_shot").
    Returns: the rows asked, with the columns of `sheet`; `messages` and `options` as they are put, and `order`: the option of the item itself that
        each listed option is. Raises: ValueError for an unknown condition.
    """
    if name not in CONDITIONS:
        raise ValueError(f"unknown condition '{name}'; choose from {', '.join(CONDITIONS)}")
    asked = list(dict.fromkeys(sheet["persona_id"]))[: CONDITIONS[name].people or None]
    frame = sheet[sheet["persona_id"].isin(asked)].reset_index(drop=True)
    frame = frame.assign(order=[tuple(range(len(o))) for o in frame["options"]])
    if name in ("paraphrase_1", "paraphrase_2"):
        return _asked(frame, question=lambda q: replace(q, text=q.paraphrases[int(name[-1]) - 1]))
    if name.startswith("options_"):
        frame = frame.assign(order=[_listed(name, len(o), f"{seed}|{i}") for o, i in zip(frame["options"], frame["id"], strict=True)])
        frame = frame.assign(options=[tuple(o[k] for k in order) for o, order in zip(frame["options"], frame["order"], strict=True)])
        return _asked(frame)
    if name.startswith("after_"):
        return _after(frame, partners(related=name == "after_related"), chosen)
    if name == "negated":
        frame = frame[frame["question_id"].isin(negations())].reset_index(drop=True)
        frame = frame.assign(truth=[len(o) - 1 - t for o, t in zip(frame["options"], frame["truth"], strict=True)])
        return _asked(frame, question=lambda q: replace(q, text=negations()[q.id]))
    if name == "few_shot":
        shown = _examples(train, seed)
        return frame.assign(messages=[chat.with_examples(m, q, shown) for m, q in zip(frame["messages"], frame["question_id"], strict=True)])
    cards = {"no_card": lambda card: None, "sparse": sparse, "implicit": implicit, "swapped": swapped, "contradictory": contradictory}
    return _asked(frame, card=cards[name]) if name in cards else frame


def _asked(frame: pd.DataFrame, *, question: Callable[[Question], Question] = lambda q: q, card: Callable = lambda card: card) -> pd.DataFrame:
    """`frame` with the prompts of a changed question or card, and the options as they are listed there."""
    questions = load_questions()
    prompts = [_prompt(card(c), question(questions[q]), o) for c, q, o in zip(frame["persona"], frame["question_id"], frame["options"], strict=True)]
    return frame.assign(messages=prompts)


def _prompt(card: dict | str | None, q: Question, options: tuple[str, ...]) -> list[dict[str, str]]:
    """System and user message; without a card (None) the persona's line is missing, as in the chats that a twin's base has read."""
    system, user = chat.messages(card or "", DOMAINS[q.domain], q.text, options)
    return [system, user if card is not None else {"role": "user", "content": user["content"].split("\n", 1)[1]}]


# --- options -------------------------------------------------------------------------------------------------------------------------


def _listed(name: str, count: int, key: str) -> tuple[int, ...]:
    """The order options are listed in: reversed, or shuffled anew for every row (neither the usual nor the reversed order, where there is a third)."""
    usual = tuple(range(count))
    if name == "options_reversed" or count == 2:
        return usual[::-1]
    rng, order = random.Random(f"options|{key}"), usual
    while order in (usual, usual[::-1]):
        order = tuple(rng.sample(usual, count))
    return order


def mapped_back(listed: list[float], order: tuple[int, ...]) -> list[float]:
    """Values of the options as listed -> values of the item's own options, in their own order."""
    own = [0.0] * len(order)
    for value, option in zip(listed, order, strict=True):
        own[option] = float(value)
    return own


# --- what stands before the item -------------------------------------------------------------------------------------------------------


@cache
def partners(*, related: bool) -> dict[str, str]:
    """Closed item -> the item asked before it, in both orders; related: of the same construct, else of another construct and domain. Some have none."""
    closed, before = [q for q in load_questions().values() if q.options], {}

    def fits(a: Question, b: Question) -> bool:
        return a.construct == b.construct if related else a.construct != b.construct and a.domain != b.domain

    half = len(closed) // 2
    for i, a in enumerate(closed):
        rest = [b for b in (closed[i + 1 :] if related else closed[i + half :] + closed[i + 1 : i + half]) if b.id not in before and fits(a, b)]
        if a.id not in before and rest:
            before |= {a.id: rest[0].id, rest[0].id: a.id}
    return before


def _after(frame: pd.DataFrame, before: dict[str, str], chosen: pd.Series) -> pd.DataFrame:
    """Each item after its partner and the model's own answer to that, in one conversation; the persona is introduced once."""
    own = {row.id: row for row in frame.itertuples()}
    frame = frame[frame["question_id"].isin(before)].reset_index(drop=True)
    talks = []
    for row in frame.itertuples():
        first = own[f"{row.persona_id}-{before[row.question_id]}"]
        answer = {"role": "assistant", "content": f"{first.options[chosen[first.id]]}."}
        talks.append([*first.messages, answer, {"role": "user", "content": row.messages[1]["content"].split("\n", 1)[1]}])
    return frame.assign(messages=talks, before=[before[q] for q in frame["question_id"]])


# --- cards -----------------------------------------------------------------------------------------------------------------------------


def sparse(card: dict) -> dict:
    """Age, gender and occupation."""
    return {field: card[field] for field in ("age", "gender", "occupation")}


def telling_trait(card: dict) -> tuple[str, str]:
    """(the trait of the card that its owner's attitudes depend on most, its opposite)."""
    outlook = attitude_model()["outlook"]
    opposite = {a: b for pair in personas.population()["traits"] for a, b in (pair, pair[::-1])}
    trait = max(card["traits"], key=lambda t: abs(outlook.get(f"trait={t}", 0) - outlook.get(f"trait={opposite[t]}", 0)))
    return trait, opposite[trait]


def swapped(card: dict) -> dict:
    """A sound card: the most telling trait is replaced by its opposite."""
    trait, opposite = telling_trait(card)
    return card | {"traits": [opposite if t == trait else t for t in card["traits"]]}


def contradictory(card: dict) -> dict:
    """The card, but its description says the opposite of its most telling trait."""
    return card | {"description": f"Is {telling_trait(card)[1]} by nature."}


@cache
def _authored(name: str) -> dict:
    """`data/<name>.yaml`."""
    return read_yaml(paths.DATA / f"{name}.yaml")


def implicit(card: dict) -> str:
    """A short biography from which a reader can infer age, gender, education, income, family, work, traits and values; none of them is named."""
    known, feats = _authored("implicit_cards"), personas.features(card)
    name = random.Random(f"name|{card['persona_id']}").choice(known["names"][card["gender"]])
    she = known["pronouns"][card["gender"]]
    age = known["ages"][max(start for start in known["ages"] if start <= card["age"])]
    *_, place, task, _ = personas.population()["occupations"][card["occupation"]]
    day = f"{task.replace(' my ', ' a ')} at {place.replace('my ', 'a ')}"
    lines = [
        f"{name} {age} and {known['education'][card['education']]}",
        f"Most days go by with {day}",
        f"{she} {known['income'][card['income_bracket']]} and {known['family'][next(iter(feats['family']))]}",
        f"{she} " + " and ".join(known["traits"][t] for t in card["traits"]),
        f"{she} " + " and ".join(known["values"][v] for v in card["values"]),
    ]
    return ". ".join(lines) + "."


def negations() -> dict[str, str]:
    """Item -> its negated version (`data/negated_items.yaml`)."""
    return _authored("negated_items")


def _examples(train: pd.DataFrame, seed: int) -> list[tuple[str, str]]:
    """(question id, text) of one closed train record more than are shown, of different types and people."""
    order = train[train["question_type"] != "open"].sample(frac=1, random_state=seed).drop_duplicates("persona_id")
    types = [order[order["question_type"] == kind].iloc[number] for number in range(2) for kind in ("likert", "agreement", "yesno")]
    return [(r["question_id"], chat.example_text(r["persona"], r["question"], r["options"], r["reference"])) for r in types[: chat.EXAMPLES + 1]]
