"""A survey of `people/` as what a pilot takes: its questionnaire, its respondents as people to simulate, and their own answers."""

import json

import numpy as np
import pandas as pd

from ..intake.survey_format import PEOPLE_COLUMNS, Item, Questionnaire, shaped
from ..people.human_cards import card_of
from ..people.human_items import HumanItem, survey_texts
from ..people.human_surveys import WEIGHT, HumanSurvey
from ..prompts import chat


def survey_questionnaire(survey: HumanSurvey) -> Questionnaire:
    """The closed items, with all options as asked ("Unsure" among them, so that numbers compare with those of `human_baselines`) and their batteries."""
    grids = {column: f"battery {k}" for k, b in enumerate(survey_texts()[survey.name]["batteries"], start=1) if len(b["items"]) > 1 for column in b["items"]}
    items = tuple(_item(item, place, grids.get(item.column, "")) for place, item in enumerate(survey.items))
    return Questionnaire(title=survey_texts()[survey.name]["title"], items=items, source=survey.name)


def _item(item: HumanItem, order: int, battery: str) -> Item:
    kind = "likert" if item.ordered else "single"
    return Item(id=item.id, domain=item.domain, text=item.text, kind=kind, labels=item.labels, ordered=item.ordered, construct=item.construct, key=item.key,
                instrument=item.instrument, battery=battery, order=order)  # fmt: skip


def survey_people(survey: HumanSurvey, *, count: int | None = None, politics: bool = False, seed: int = 42) -> pd.DataFrame:
    """Respondents as `PEOPLE_COLUMNS`, with weights and own answers (item -> label; missing ones left out).

    Args: count: as many, drawn with equal chances, in the survey's order; None: all. politics: party and ideology stand on the card.
    """
    places = np.arange(len(survey.people))
    if count is not None and count < len(places):
        places = np.sort(np.random.default_rng(seed).choice(places, size=count, replace=False))
    rows = []
    for place in places:
        card = card_of(survey, survey.people.index[place], politics=politics)
        card.pop("persona_id")
        own = {item.id: item.options[code] for item, code in zip(survey.items, survey.answers[place], strict=True) if code >= 0}
        weight = float(survey.people[WEIGHT].iloc[place]) if WEIGHT in survey.people else None
        rows.append({"persona_id": survey.people.index[place], "card": json.dumps(card), "persona": chat.render_card(card), "weight": weight,
                     "own_answers": json.dumps(own)})  # fmt: skip
    return shaped(rows, PEOPLE_COLUMNS)
