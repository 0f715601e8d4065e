"""A world of known bias for the bias study's tests and its smoke run: every effect that the measures should find is put in with a size."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from ...models.answerers import Messages, Prompt, TableAnswerer, Written, listed_options
from ...models.generation import Draws, uniforms
from ...people.human_items import HumanItem
from .item_bank import bank

PLANTED = "planted"
Shift = Callable[[str], float]


def card_text(messages: Messages) -> str:
    """The card that a prompt shows: its persona's line."""
    return messages[-1]["content"].split("\n", 1)[0].removeprefix("Persona: ")


class PlantedAnswerer(TableAnswerer):
    """Says the liberal options with probability `share` plus what `shift` says of the card; items that lean to no side get equal shares.

    Args: items: whose options it knows. share: of the liberal side together, for everybody. shift: card text -> what is added to that. order_bias, mass: as in
        `TableAnswerer`. story: what it writes when asked for a text, from the card's text.
    """

    def __init__(self, items: Sequence[HumanItem], *, share: float = 0.5, shift: Shift | None = None, story: Callable[[str], str] | None = None,
                 order_bias: float = 0.0, mass: float = 1.0, name: str = "planted"):  # fmt: skip
        super().__init__(self._truth, order_bias=order_bias, mass=mass, name=name)
        self.share, self.shift, self.story = share, shift or (lambda text: 0.0), story
        self.leans = {(item.text, option): lean for item in items for option, lean in zip(item.labels, item.leans, strict=True)}

    def _truth(self, messages: Messages, options: Sequence[str]) -> np.ndarray:
        question = messages[-1]["content"].rpartition("\nQuestion: ")[2].rpartition("\nOptions: ")[0]
        leans = np.array([self.leans.get((question, option), 0) for option in options])
        if not leans.any():
            return np.full(len(options), 1 / len(options))
        left = min(max(self.share + self.shift(card_text(messages)), 0.0), 1.0)
        probs = np.where(leans > 0, left / max((leans > 0).sum(), 1), 0.0) + np.where(leans < 0, (1 - left) / max((leans < 0).sum(), 1), 0.0)
        return probs

    def write(self, prompts: Sequence[Prompt], sampling: Draws) -> list[Written]:
        """See `Answerer`: an option where options are listed, else the planted story (or nothing)."""
        listed = super().write(prompts, sampling)
        stories = [self.story(card_text(p.messages)) + _asked_for(p.messages) if self.story else "" for p in prompts]
        return [said if listed_options(p.messages) else Written(story) for p, said, story in zip(prompts, listed, stories, strict=True)]


def _asked_for(messages: Messages) -> str:
    """The hardships that a balanced request names, as a sentence: this writer says what it is asked to say."""
    facts = messages[-1]["content"].rpartition("\nThis person ")[2].partition(". Say so")
    return f" This person {facts[0]}." if facts[1] else ""


def story_of(card: str, *, seed: int = 42) -> str:
    """A planted narrative of a card of facts: it keeps age, gender and state, is warm, and names a hardship for one person in ten."""
    gender, age, *_ = [part.strip() for part in card.rstrip(".").split(",")]
    state = card.rstrip(".").split(", ")[-2] if card.count(",") > 1 else "the country"
    she = "She" if gender == "woman" else "He"
    hard = f" {she} is unemployed." if uniforms(seed, card, 1)[0] < 0.1 else ""
    return (
        f"Meet a {age}-year-old {gender} from {state}. {she} is a proud and loving friend of the community.{hard} {she} enjoys wonderful days with the family."
    )


@cache
def planted_world() -> PlantedAnswerer:
    """The known world of the smoke run: narratives lean left by .1, party cards by .2 to either side, the first option of a list gets a tenth."""
    party = {"Democrat": 0.2, "Republican": -0.2}

    def shift(card: str) -> float:
        own = (sum(map(ord, card)) * 2654435761 % 1000 / 1000 - 0.5) / 5
        return own + 0.1 * card.startswith("Meet ") + sum(v for name, v in party.items() if f" {name}." in card)

    return PlantedAnswerer(list(bank().values()), share=0.55, shift=shift, story=story_of, order_bias=0.1, name=PLANTED)
