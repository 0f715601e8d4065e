"""What an answer in words says, by the kind of its item: an option, several, a ranking, a number. Words that say nothing legible say why."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..intake.survey_format import Item
from ..scoring.option_clauses import split_clauses
from ..scoring.option_labels import reading
from ..scoring.option_list import OptionList, option_list
from ..scoring.option_numbers import Given, numbers_given
from ..scoring.option_replies import lettered_option
from ..scoring.option_values import number_rule
from ..scoring.option_words import Words, split_words, unwrapped

NO_NUMBER, NOTHING_NAMED, SEVERAL_NUMBERS, OUT_OF_RANGE = "no number in it", "no option named", "different numbers", "a number out of range"
_DENIED = {"not", "never", "no", "neither", "nor", "except", "without", "none", "hardly", "rarely"}
_NUMBER_WORDS, _SAID = {"year", "years", "point"}, {"say", "answer", "guess"}
_MOST_WORDS = 200  # of an answer in which a number is looked for


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
        return _number_reading(text, item.least, item.most)
    if item.kind in ("multiple", "ranking"):
        chosen = named_options(text, item.labels)
        chosen = tuple(sorted(chosen)) if item.kind == "multiple" else chosen
        return AnswerReading(chosen=chosen or None, reason="" if chosen else NOTHING_NAMED)
    return AnswerReading()


def _number_reading(text: str, least: float | None, most: float | None) -> AnswerReading:
    """The one number of an answer; a reason for none, for different ones and for one outside `least` to `most`."""
    said = _numbers(text)
    if len(said) != 1:
        return AnswerReading(reason=SEVERAL_NUMBERS if said else NO_NUMBER)
    (value,) = said
    outside = (least is not None and value < least) or (most is not None and value > most)
    return AnswerReading(reason=OUT_OF_RANGE) if outside else AnswerReading(value=value)


def number_said(text: str) -> float | None:
    """The one number that an answer says, in digits or in words; None if there is none or there are different ones."""
    said = _numbers(text)
    return said.pop() if len(said) == 1 else None


def _numbers(text: str) -> set[float]:
    """The different numbers that an answer may mean: without years, scales ("from 0 to 10"), ages in passing ("as a 45-year-old") and what "not" denies."""
    given_text = unwrapped(text)
    words = split_words(given_text if isinstance(given_text, str) else " ".join(given_text))
    end = min(len(words.words), _MOST_WORDS)
    if words.words in (("none",), ("nothing",)):
        return {0.0}
    given = [number for number in numbers_given(words, 0, end, spelled=True) if _counts(words, end, number)]
    stated = [number for number in given if set(words.words[max(0, number.start - 1) : number.start]) & _SAID]
    return {value for number in (stated if len(stated) == 1 else given) for value in number.values}


def _counts(text: Words, end: int, given: Given) -> bool:
    """Whether a number may be the one that was asked for."""
    words, a, b = text.words, given.start, given.end
    before, after = words[max(0, a - 1) : a], words[b : min(end, b + 1)]
    year = before in (("in",), ("since",)) and len(words[a]) == 4 and 1900 <= given.values[0] < 2100
    part_of_a_name = a > 0 and text.gaps[a] in ("", "-") and words[a - 1].isalpha()  # "COVID-19", "v2"
    in_passing = after and text.gaps[b] == "-" and after[0] in _NUMBER_WORDS  # "45-year-old", "5-point"
    ordinal = after and not text.gaps[b] and after[0] in ("st", "nd", "rd", "th")
    lone_one = words[a] == "one" and b - a == 1 and end > 4  # "one would hope", "one day"
    return not (year or part_of_a_name or in_passing or ordinal or lone_one or before == ("not",))


def named_options(text: str, labels: Sequence[str]) -> tuple[int, ...]:
    """The options that a text names, in the order of their first mention, by label or else by place or letter; those that its clause denies are left out."""
    options = option_list(tuple(labels))
    words = split_words(text, options.symbols)
    hits = [hit for hit in options.hits(words, 0, len(words.words)) if hit.option is not None]
    if not hits:
        return _places(split_words(text.replace(",", ", ")), options)  # "1,3" is no decimal here
    named: dict[int, None] = {}
    denied, k = False, 0
    for start, end in split_clauses(words, hits, 0, len(words.words)):
        goes_on = k < len(hits) and hits[k].start == start and words.levels[start] == 2  # "not the radio, TV or podcasts": one denied list
        denied = denied and goes_on
        while k < len(hits) and hits[k].start < end:
            before = set(words.words[max(start, hits[k].start - 20) : hits[k].start])
            denied = (denied or bool(before & _DENIED)) and "only" not in before
            if not denied:
                named.setdefault(hits[k].option)
            k += 1
    return tuple(named)


def _places(text: Words, options: OptionList) -> tuple[int, ...]:
    """The options of an answer of numbers or letters and nothing else: "1, 3", "A and C", "B > A > C"."""
    said = [word for word in text.words if word not in ("and", "then")]
    rule = number_rule(options.texts)
    places = []
    for word in said[: len(options.texts) + 1]:
        number = Given((float(word),), None, 0, 1) if word.isdecimal() and len(word) < 10 else None
        places.append(rule.option(number, text) if number else lettered_option(options, word))
    return tuple(dict.fromkeys(places)) if said and None not in places and len(said) <= len(options.texts) else ()
