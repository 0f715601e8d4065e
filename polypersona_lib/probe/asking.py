"""What one simulated respondent is asked and what came back: asks, replies, sweeps, and where two prompts differ. Plain data, no model, no widget.

An `Ask` holds everything an answer depends on, apart from the model. Two asks that differ in one attribute of the card draw from the same random numbers,
so a difference between their answers comes from that attribute.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Protocol

import numpy as np

from .. import paths
from ..errors import one_line
from ..models.generation import SAMPLING, Sampling
from ..prompts import chat
from ..systems import is_server, model_name, system_label
from ..world.questions import DOMAINS, Question, load_questions
from .cards import LISTS, changed, choices

NO_ADAPTER, PUBLISHED = "none", "published"
GENERAL = "General"  # the domain of a visitor's question that none of the ten fits
SEPARATORS = "' / ' (with blanks), ';', '|' or a new line"  # what stands between two typed options; "N/A" holds a slash and is one label
_SURE = 0.4  # least probability of a guessed domain: of 40 questions typed for a trial 22 were guessed right, 15 left general, 3 guessed wrong
_DEAF = 0.05  # a model whose option probabilities move by less (total variation) hardly reads a description


class Stopped(Exception):
    """The user pressed Stop."""


@dataclass(frozen=True)
class System:
    """Who answers: a model (or the name of a server's system) and an adapter ("none": the untuned base; otherwise the name of the run it comes from)."""

    key: str
    adapter: str = NO_ADAPTER

    @property
    def kind(self) -> str:
        """ "untuned" or "tuned": it decides the colour in a chart."""
        return "untuned" if self.adapter == NO_ADAPTER else "tuned"

    def label(self, scale: str) -> str:
        """Its name for readers: "twin of Phi-2 (1.7 M), tuned (published)". `scale`: "nano" or "paper"."""
        if is_server(self.key):
            return system_label(self.key, scale)
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


def split_options(text: str) -> tuple[str, ...]:
    """The labels that a user typed, split at `SEPARATORS`; () for an empty text. A slash without blanks on both sides belongs to its label."""
    return tuple(label for label in map(one_line, re.split(r"(?<=\s)/(?=\s)|[;|\n\r\u2028\u2029\x85]", text)) if label)


def ask_own(card: dict | str, text: str, options: str | Sequence[str], *, domain: str, seed: int, sampling: Sampling | None = None) -> Ask:
    """Ask in one's own words; `options` as typed or a sequence, empty for an open question. Raises ValueError without a question or with one option."""
    text = one_line(text)
    labels = split_options(options) if isinstance(options, str) else tuple(o for o in map(one_line, options) if o)
    if not text:
        raise ValueError("there is no question; pick one or type your own")
    if len(labels) == 1 or len(set(map(str.lower, labels))) < len(labels):
        raise ValueError(f"a closed question needs two or more different options, for example: Yes / No. Write {SEPARATORS} between two of them")
    kind = {0: "open", 2: "yesno"}.get(len(labels), "likert")
    return Ask(card, _persona_id(card), "own", domain, text, kind, labels, seed, sampling or SAMPLING[kind])


def _stems(text: str) -> set[str]:
    """The first five letters of every word of four letters or more: "doctor" and "doctors" are alike."""
    return {word[:5] for word in re.findall(r"[^\W\d_]{4,}", text.lower())}


@cache
def _domain_words() -> dict[str, Counter]:
    """How many lines of the question bank (each counted three times) and of the phrase bank use a stem, by domain."""
    lines = {key: (paths.PHRASES / f"{key}.yaml").read_text(encoding="utf-8").splitlines() + [name] * 5 for key, name in DOMAINS.items()}
    for q in load_questions().values():
        lines[q.domain] += [q.text, *q.paraphrases] * 3
    return {DOMAINS[key]: Counter(stem for line in texts for stem in _stems(line)) for key, texts in lines.items()}


def guess_domain(text: str) -> str:
    """The domain whose questions and phrases use the words of `text` most (naive Bayes); `GENERAL` if it is less probable than `_SURE`."""
    counts = _domain_words()
    stems = [stem for stem in _stems(text) if any(stem in words for words in counts.values())]
    logs = np.array([sum(np.log((words[stem] + 0.5) / (words.total() + 2000)) for stem in stems) for words in counts.values()])
    shares = np.exp(logs - logs.max())
    return list(counts)[int(shares.argmax())] if shares.max() / shares.sum() >= _SURE else GENERAL


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


# --- does a model read a description in words? -------------------------------------------------------------------------------

_OPPOSITES = """trusts distrusts trust distrust likes dislikes like dislike loves hates love hate supports opposes support oppose agrees disagrees agree
disagree happy unhappy satisfied dissatisfied rich poor young old healthy sick always never often rarely liberal conservative optimistic
pessimistic calm anxious married unmarried employed unemployed urban rural believes doubts with without""".split()
_TURNED = dict(zip(_OPPOSITES[::2], _OPPOSITES[1::2], strict=True)) | dict(zip(_OPPOSITES[1::2], _OPPOSITES[::2], strict=True))
_NEGATE = re.compile(r"\b(is|are|was|has been|can|will|does|do|would|should)\b(?!\s+not\b)", re.IGNORECASE)


def opposite(text: str) -> str:
    """The description with every sentence turned round: words with an opposite are replaced, else "not" comes in or goes, else a sentence says so (English)."""
    return " ".join(map(_turned, filter(None, re.split(r"(?<=[.!?])\s+", one_line(text)))))


def _turned(sentence: str) -> str:
    """One sentence, turned round by the first of the rules that fits."""
    words = re.sub(r"(?<![\w-])[A-Za-z]+(?![\w-])", lambda m: _TURNED.get(m[0].lower(), m[0]), sentence)
    if words != sentence:
        return words
    positive = re.sub(r"\b(not|never) |n't\b", "", sentence)
    if positive != sentence:
        return positive
    negative = _NEGATE.sub(lambda m: f"{m[0]} not", sentence, count=1)
    return negative if negative != sentence else f"The opposite of this is true: {sentence}"


def description_checks(ask: Ask) -> list[Ask]:
    """The ask with its description, without one, and with the opposite of it; greedy, and a closed item as short as can be (its probabilities count)."""
    greedy = Sampling(0.0, 1.0, 1 if ask.options else ask.sampling.max_tokens)
    return [replace(ask, card=text, sampling=greedy) for text in (ask.card, "", opposite(ask.card))]


def description_effect(replies: Sequence[Reply]) -> tuple[str, bool]:
    """What the answers to `description_checks` say about the model, in one or two sentences, and whether they are a warning.

    Args: replies: three for each question of a person; with several closed questions the mean of their moves counts.
    """
    own, without, turned = replies[::3], replies[1::3], replies[2::3]
    (bare, alone), (other, against), words = _moved(own, without), _moved(own, turned), f'with the opposite ("{turned[0].ask.card[:160]}")'
    lead = "" if other >= _DEAF else "This model does not read what the description says: " if bare >= _DEAF else "This model ignores the description: "
    text = f"{lead}{words} {against}; without any description {alone}."
    return text[0].upper() + text[1:], other < _DEAF


def _moved(own: Sequence[Reply], other: Sequence[Reply]) -> tuple[float, str]:
    """How far answers moved, 0 to 1 (total variation of the option probabilities; only open items: the share with another greedy text), and that in words."""
    pairs = [(a, b) for a, b in zip(own, other, strict=True) if a.option_probs is not None]
    if not pairs:
        same = sum(a.text == b.text for a, b in zip(own, other, strict=True))
        if len(own) > 1:
            return 1 - same / len(own), f"{len(own) - same} of {len(own)} most probable answers change"
        return (0.0, "the most probable answer stays word for word the same") if same else (1.0, "the most probable answer changes")
    moved = float(np.mean([np.abs(np.subtract(a.option_probs, b.option_probs)).sum() / 2 for a, b in pairs]))
    mean = f" (mean of {len(pairs)} questions)" if len(pairs) > 1 else ""
    return moved, f"the probabilities of the options move by {100 * moved:.1f} percentage points{mean}"


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


class Answering(Protocol):
    """What the page needs of an `Interviewer`."""

    def label(self, system: System) -> str:
        """The system's name for readers."""

    def answer(self, asks: Iterable[Ask], system: System, *, stop, on_load, on_done, on_text) -> list[Reply]:
        """See `Interviewer.answer`."""
