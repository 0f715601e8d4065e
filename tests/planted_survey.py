"""A questionnaire with known faults, people with known attitudes, and a table answerer that has both: what a pilot must notice, and what it must not."""

import json
import re

import numpy as np
import pandas as pd

from polypersona_lib.ask.asking import AskPlan, ask_people
from polypersona_lib.intake.survey_format import PEOPLE_COLUMNS, Item, Questionnaire, shaped
from polypersona_lib.models.answerers import TableAnswerer

AGREE = ("Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree")
_PERSON = re.compile(r"trusts (?P<trust>\S+), habit (?P<habit>\S+), number (?P<number>\d+)")


def agree_item(name: str, text: str, **said) -> Item:
    """An agreement item."""
    return Item(id=name, text=text, kind="agreement", labels=AGREE, **said)


def questionnaire(*, wrong_key: bool = True) -> tuple[Item, ...]:
    """Eleven items: a scale of trust (the fourth item reversed, and keyed wrong if asked for), a grid, a ceiling, a double question, a mirrored pair."""
    trust = [agree_item(f"trust{i}", f"I trust my neighbours in matter number {i}.", construct="trust") for i in (1, 2, 3)]
    trust.append(agree_item("trust4", "My neighbours lie to me.", construct="trust", key=1 if wrong_key else -1))
    grid = [agree_item(f"grid{i}", f"The town is good at thing {i}.", battery="town") for i in range(1, 5)]
    return (
        *trust, *grid,
        agree_item("ceiling", "Children need food."),
        agree_item("double", "The bus is cheap and the driver is polite."),
        agree_item("plain", "Parks are open at night.", variant="parks"),
        agree_item("negated", "Parks are closed at night.", variant="parks", negated=True),
    )  # fmt: skip


def people_frame(count: int, *, straight: tuple[int, ...] = (), seed: int = 0) -> pd.DataFrame:
    """People with a trust from 0 to 1, who say so on the card; `straight`: who gives the same option down the grid."""
    trusts, rows = np.random.default_rng(seed).uniform(0, 1, count), []
    for i, trust in enumerate(trusts):
        habit = "straight" if i in straight else "none"
        card = {"age": 20 + i % 60, "region": ("north", "south")[i % 2], "level": ("low", "middle", "high")[int(3 * trust)],
                "description": f"trusts {trust:.3f}, habit {habit}, number {i}"}  # fmt: skip
        rows.append({"persona_id": f"p{i:03d}", "card": json.dumps(card), "persona": card["description"]})
    return shaped(rows, PEOPLE_COLUMNS)


def table_answerer(*, order_bias: float = 0.0, acquiescence: float = 0.0, mass: float = 1.0) -> TableAnswerer:
    """Answers as the cards say; `acquiescence` of the probability of the mirrored pair goes to the highest option."""

    def truth(messages, options):
        text = messages[-1]["content"]
        found_person = _PERSON.search(text)
        place = {label: i / (len(AGREE) - 1) for i, label in enumerate(AGREE)}
        places = np.array([place[o] for o in options])
        probs = _around(places, *_answer(text.partition("Question: ")[2], found_person))
        if "Parks are" in text:
            probs = (1 - acquiescence) * probs + acquiescence * (places == 1)
        return probs

    return TableAnswerer(truth, order_bias=order_bias, mass=mass)


def _around(places: np.ndarray, centre: float, width: float) -> np.ndarray:
    weights = np.exp(-(((places - centre) / width) ** 2))
    return weights / weights.sum()


def _answer(question: str, person: re.Match) -> tuple[float, float]:
    """(centre, width) of a person's answers to a question."""
    trust, number = float(person["trust"]), int(person["number"])
    if "neighbours" in question:
        return (1 - trust if "lie" in question else trust), 0.2
    if "town" in question:
        return (0.75, 0.01) if person["habit"] == "straight" else (((number + int(question.split("thing ")[1][0])) % 5) / 4, 0.2)
    if "Children" in question:
        return 1.0, 0.1
    if "Parks" in question:
        return (1 - trust if "closed" in question else trust), 0.2
    return 0.5, 0.4


def answers_of(answerer, items, people: pd.DataFrame, *, system: str = "table") -> pd.DataFrame:
    """The answers as `ask` gives them: probabilities in both orders, one drawn option."""
    return ask_people(answerer, Questionnaire(title="planted", items=tuple(items)), people, AskPlan(wanted="options"), system=system)
