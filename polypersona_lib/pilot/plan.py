"""What a pilot asks besides the questionnaire: an item's other wordings, and the same people with one attribute changed."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from ..intake.survey_format import PEOPLE_COLUMNS, Column, Questionnaire, shaped
from ..prompts import chat
from .panel import MOST_LEVELS

CHANGED = 20  # people who are asked again for each attribute
_CHANGE = {"persona_id": "the changed person's id", "of": "who it is without the change", "attribute": "what was changed", "was": "before", "now": "after"}
CHANGE_COLUMNS = tuple(Column(name, "text", meaning) for name, meaning in _CHANGE.items())


def with_paraphrases(questionnaire: Questionnaire) -> Questionnaire:
    """The questionnaire with each paraphrase of a closed item as an item of its own (id and "~1", "~2", ...), a `variant` of the item."""
    items, known = list(questionnaire.items), set(questionnaire.bank)
    for item in questionnaire.items:
        for number, text in enumerate(item.paraphrases if item.options else (), start=1):
            if f"{item.id}~{number}" in known or not text.strip():  # the questionnaire of an earlier pilot holds them already
                continue
            own = {"id": f"{item.id}~{number}", "text": text, "variant": item.variant or item.id, "paraphrases": (), "battery": "", "asked_if": item.asked_if,
                   "order": len(items)}  # fmt: skip
            items.append(replace(item, **own))
    return replace(questionnaire, items=tuple(items))


def changed_people(people: pd.DataFrame, *, count: int = CHANGED, seed: int = 42) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(people with one attribute changed, who they are): as `PEOPLE_COLUMNS` and `CHANGE_COLUMNS`.

    Each of `count` people (drawn) is there once for each attribute that has 2 to `MOST_LEVELS` values among all people, or is a number; the new value is drawn
    from those of the others. The rest of the card stays, so a description in words may contradict it. Both are empty if no card has attributes.
    """
    cards = {p: json.loads(card) for p, card in zip(people["persona_id"], people["card"], strict=True)}
    values = _values([card for card in cards.values() if isinstance(card, dict)])
    rng, made, changes = np.random.default_rng(seed), [], []
    chosen = sorted(rng.choice(len(people), size=min(count, len(people)), replace=False))
    for person in people["persona_id"].iloc[chosen]:
        card = cards[person]
        for attribute, known in values.items() if isinstance(card, dict) else ():
            was = card.get(attribute)
            others = [v for v in known if v != was]
            if was is None or not others:
                continue
            now = others[rng.integers(len(others))]
            changed = card | {attribute: now}
            name = f"{person}~{attribute}"
            made.append({"persona_id": name, "card": json.dumps(changed, ensure_ascii=False), "persona": chat.render_card(changed)})
            changes.append({"persona_id": name, "of": person, "attribute": attribute, "was": str(was), "now": str(now)})
    if not made:
        return people.iloc[:0], shaped(pd.DataFrame(columns=[c.name for c in CHANGE_COLUMNS]), CHANGE_COLUMNS)
    return shaped(made, PEOPLE_COLUMNS), shaped(changes, CHANGE_COLUMNS)


def _values(cards: list[dict]) -> dict[str, list]:
    """Attribute -> the different values that cards hold, of attributes that can be changed; a description is no attribute."""
    values: dict[str, dict] = {}
    for card in cards:
        for name, value in card.items():
            if name not in ("description", "persona_id") and isinstance(value, str | int | float) and not isinstance(value, bool):
                values.setdefault(name, {})[value] = None
    numbers = {name: all(isinstance(v, int | float) for v in known) for name, known in values.items()}
    return {name: list(known) for name, known in values.items() if len(known) > 1 and (len(known) <= MOST_LEVELS or numbers[name])}
