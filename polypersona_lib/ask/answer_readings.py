"""What an answer in words says, by the kind of its item: an option, several, a ranking, a number. Words that say nothing legible say why."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..intake.survey_format import Item
from ..intake.tables import number_in
from ..scoring.option_labels import reading

NO_NUMBER, NOTHING_NAMED = "no number in it", "no option named"
_NUMBER = re.compile(r"(?<![\w.,])[-+\u2212]?\d[\d,]*(?:\.\d+)?(?![\w%])")
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True)
class AnswerReading:
    """What was read: `option` (a position), `chosen` (positions: several choices; a ranking, first to last), `value` (a number), or the `reason` for none."""

    option: int | None = None
    chosen: tuple[int, ...] | None = None
    value: float | None = None
    reason: str = ""


def read_reply(item: Item, text: str) -> AnswerReading:
    """Read an answer to `item`. An open answer says what it says: nothing is read from it."""
    if item.options:
        option, reason, _ = reading(text, item.options)
        return AnswerReading(option=option, reason="" if option is not None else reason)
    if item.kind == "number":
        value = number_said(text)
        return AnswerReading(value=value, reason="" if value is not None else NO_NUMBER)
    if item.kind in ("multiple", "ranking"):
        chosen = named_options(text, item.labels)
        chosen = tuple(sorted(chosen)) if item.kind == "multiple" else chosen
        return AnswerReading(chosen=chosen or None, reason="" if chosen else NOTHING_NAMED)
    return AnswerReading()


def number_said(text: str) -> float | None:
    """The first number of an answer, in digits or (up to twelve) in a word; None if there is none."""
    if match := _NUMBER.search(text):
        return number_in(match[0])
    words = re.findall(r"[a-z]+", text.casefold())
    return next((float(_WORDS.index(word)) for word in words if word in _WORDS and word != "one"), None)


def named_options(text: str, labels: Sequence[str]) -> tuple[int, ...]:
    """The options that a text names, in the order of their first mention; of two labels at one place the longer one counts."""
    said, places = text.casefold(), {}
    for position in sorted(range(len(labels)), key=lambda i: -len(labels[i])):
        match = re.search(rf"(?<!\w){re.escape(labels[position].casefold())}(?!\w)", said)
        if match:
            places[position] = match.start()
            said = said[: match.start()] + "\0" * (match.end() - match.start()) + said[match.end() :]
    return tuple(sorted(places, key=places.get))
