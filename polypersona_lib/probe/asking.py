"""What one simulated respondent is asked and what came back: asks, replies, sweeps, and where two prompts differ. Plain data, no model, no widget.

An `Ask` holds everything an answer depends on, apart from the model. Two asks that differ in one attribute of the card draw from the same random numbers,
so a difference between their answers comes from that attribute.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import one_line
from ..models.generation import SAMPLING, Sampling
from ..prompts import chat
from ..systems import model_name
from ..world.questions import DOMAINS, Question
from .cards import LISTS, changed, choices

NO_ADAPTER, PUBLISHED = "none", "published"


@dataclass(frozen=True)
class System:
    """Who answers: a model and an adapter ("none": the untuned base; otherwise the name of the run it comes from)."""

    key: str
    adapter: str = NO_ADAPTER

    @property
    def kind(self) -> str:
        """ "untuned" or "tuned": it decides the colour in a chart."""
        return "untuned" if self.adapter == NO_ADAPTER else "tuned"

    def label(self, scale: str) -> str:
        """Its name for readers: "twin of Phi-2 (1.7 M), tuned (published)". `scale`: "nano" or "paper"."""
        return f"{model_name(self.key, scale)}, " + ("untuned" if self.kind == "untuned" else f"tuned ({self.adapter})")


@dataclass(frozen=True)
class Ask:
    """One question to one persona.

    `card` is a persona card or a description in words. `sample` numbers repeated draws; draw 0 has the random numbers of the study's own answer
    to this persona and question.
    """

    card: dict | str = field(hash=False)
    persona_id: str
    question_id: str
    domain: str
    text: str
    kind: str
    options: tuple[str, ...]
    seed: int
    sampling: Sampling
    sample: int = 0

    @property
    def id(self) -> str:
        """Names the row's random numbers; the card is not in it, so a changed card keeps them."""
        return f"{self.persona_id}-{self.question_id}" + (f"#{self.sample}" if self.sample else "")

    @property
    def messages(self) -> list[dict[str, str]]:
        """System and user message."""
        return chat.messages(self.card, self.domain, self.text, self.options or None)

    @property
    def prompt(self) -> str:
        """The user message as the model gets it, control text already made harmless."""
        return chat.neutralise(self.messages[1]["content"])


@dataclass(frozen=True)
class Reply:
    """What one system answered: the text, the option read from it (None: none found), its probability of each option (None: open item), tokens and seconds."""

    system: System
    ask: Ask
    text: str
    option: int | None
    option_probs: tuple[float, ...] | None
    tokens: int
    seconds: float

    @property
    def stance(self) -> str:
        """The option in words."""
        if not self.ask.options:
            return "open question, no options"
        return "no option found in the text" if self.option is None else f"{self.ask.options[self.option]} ({self.option + 1} of {len(self.ask.options)})"

    @property
    def scale_marks(self) -> str:
        """Where the option read stands on the scale, drawn in letters and followed by a blank; "" for an open question."""
        marks = ("●" if i == self.option else "○" for i in range(len(self.ask.options)))
        return f"{' '.join(marks)}  " if 1 < len(self.ask.options) <= 11 else ""


def _persona_id(card: dict | str) -> str:
    return card.get("persona_id", "own") if isinstance(card, dict) else "own"


def ask_bank(card: dict | str, question: Question, *, seed: int, sampling: Sampling | None = None) -> Ask:
    """Ask a question of the bank; by default sampled as the study samples this type."""
    domain, kind = DOMAINS[question.domain], question.type
    return Ask(card, _persona_id(card), question.id, domain, question.text, kind, question.options, seed, sampling or SAMPLING[kind])


def ask_own(card: dict | str, text: str, options: str | Sequence[str], *, domain: str, seed: int, sampling: Sampling | None = None) -> Ask:
    """Ask in one's own words; `options` as "Yes / No" or a sequence, empty for an open question. Raises ValueError without a question or with one option."""
    text = one_line(text)
    labels = tuple(o for o in map(one_line, options.split("/") if isinstance(options, str) else options) if o)
    if not text:
        raise ValueError("there is no question; pick one or type your own")
    if len(labels) == 1 or len(set(map(str.lower, labels))) < len(labels):
        raise ValueError("a closed question needs two or more different options, for example: Yes / No")
    kind = {0: "open", 2: "yesno"}.get(len(labels), "likert")
    return Ask(card, _persona_id(card), "own", domain, text, kind, labels, seed, sampling or SAMPLING[kind])


def sweep(ask: Ask, name: str) -> dict[object, Ask]:
    """The same question over one attribute: age 18, 23, ... 80, every region of the country, every value the population knows of the others."""
    if name in (*LISTS, "description"):
        why = "holds several values" if name in LISTS else "is free text"
        raise ValueError(f"a sweep goes over every value of an attribute; {name} {why}. Type one other value and use Compare")
    values = [*range(18, 80, 5), 80] if name == "age" else choices(name, ask.card if isinstance(ask.card, dict) else None)
    return {value: replace(ask, card=changed(ask.card, name, value)) for value in values}


def samples(ask: Ask, count: int) -> list[Ask]:
    """The same ask `count` times, each with random numbers of its own; the first is the ask itself."""
    return [replace(ask, sample=i) for i in range(count)]


@dataclass(frozen=True)
class Difference:
    """Two prompts that differ in one stretch: what both have before it and after it, and the two stretches."""

    before: str
    old: str
    new: str
    after: str

    @property
    def marked(self) -> str:
        """The stretch in its surroundings, removed text in [- -], added text in {+ +}."""
        return f"…{self.before[-60:]}[-{self.old}-]{{+{self.new}+}}{self.after[:60]}…"


def difference(first: str, second: str) -> Difference:
    """Where two prompts differ, widened to whole words; old and new are empty for equal prompts."""
    if first == second:
        return Difference(first, "", "", "")
    shorter = min(len(first), len(second))
    start = next((i for i in range(shorter) if first[i] != second[i]), shorter)
    end = 0
    while end < shorter - start and first[-1 - end] == second[-1 - end]:
        end += 1
    while start and first[start - 1].isalnum():
        start -= 1
    while end and first[len(first) - end].isalnum():
        end -= 1
    return Difference(first[:start], first[start : len(first) - end], second[start : len(second) - end], first[len(first) - end :])
