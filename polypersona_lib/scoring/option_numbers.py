"""Numbers in labels and answers: which values a label stands for, and which option a number takes.

Where any label is a number or a range, an answer's number is a value and never a position: "0" is the label 0. Where labels are words with numbers before
them, it is that code. Only in a list of words alone does it count positions from 1, in the order in which the list was shown. Words are English only.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from .option_list import OptionList, option_list
from .option_words import Words

VALUES, CODES, POSITIONS = "values", "codes", "positions"
_SPELLED = {word: str(n) for n, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())}
_BELOW, _ABOVE = {"less", "fewer", "under", "below"}, {"more", "over", "above"}
_DOWN, _UP = {"less", "fewer", "under", "younger", "below"}, {"plus", "more", "older", "over", "above", "higher", "greater"}
_NOTHING = {("none",), ("never",), ("no",), ("nothing",), ("not", "at", "all")}
_UNITS = {"year", "years", "month", "months", "week", "weeks", "day", "days", "hours", "minutes", "times", "percent", "point", "points"}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Span(NamedTuple):
    """The values of a label: from `low` to `high`, ends included unless they are open."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the span."""
        return (value > self.low if self.open_low else value >= self.low) and (value < self.high if self.open_high else value <= self.high)


class Given(NamedTuple):
    """The number of an answer: `values` (one; two for a range), `top` of "7/10" (None: not said), the words it takes up."""

    values: tuple[float, ...]
    top: float | None
    start: int
    end: int


def value_of(word: str, *, spelled: bool = False) -> float | None:
    """The value of a number word, None if it is none; `spelled`: "two" counts too."""
    word = _SPELLED.get(word, word) if spelled else word
    return float(word) if len(word) < 19 and _NUMBER.fullmatch(word) else None


def _span(part: Words) -> Span | None:
    """The span of a label that is a number, a range or an open end; None for one that is anything else."""
    words = part.words
    first_spelled = words and words[0] in _SPELLED and (len(words) == 1 or words[1] in ("or", "to", "plus"))
    values = [(i, v) for i, w in enumerate(words) if (v := value_of(w, spelled=bool(first_spelled) and i == 0)) is not None]
    if not values or len(words) > 7:
        return None
    first, value = values[0]
    before, after = set(words[:first]), set(words[values[-1][0] + 1 :])
    if len(values) == 2:
        between = words[first + 1 : values[1][0]]
        joined = "-" in part.gaps[first + 1] if not between else len(between) < 3 and ("to" in between or ("and" in between and "between" in before))
        return Span(value, values[1][1]) if joined and values[1][1] >= value and not after & _UP else None
    if len(values) > 2:
        return None
    if before & _BELOW:
        return Span(-math.inf, value, open_high=True)
    if before & _ABOVE:
        return Span(value, math.inf, open_low=True)
    if before & {"least"}:
        return Span(value, math.inf)
    if after & _UP:
        return Span(value, math.inf)
    if after & _DOWN:
        return Span(-math.inf, value)
    unit = len(after) == 1 and not part.levels[first + 1] and after <= _UNITS
    return Span(value, value) if not before and (unit or not after) else None


def _code(part: Words) -> float | None:
    """The number before (or, last, behind) the words of a label: "1 - Disagree", "Statement #2"."""
    words = part.words
    if len(words) < 2:
        return None
    first, last = value_of(words[0]), value_of(words[-1])
    return first if first is not None else last if len(words) == 2 else None


class NumberRule:
    """How numbers are read in one list. `kind`: VALUES, CODES or POSITIONS."""

    def __init__(self, options: OptionList):
        self.size = len(options.texts)
        spans = [_span(part) for part in options.parts]
        codes = [_code(part) if span is None else None for part, span in zip(options.parts, spans, strict=True)]
        self.codes = {code: i for i, code in enumerate(codes) if code is not None}
        if len(self.codes) != sum(code is not None for code in codes):
            self.codes = {}
        numeric = any(span is not None for span in spans)
        self.kind = VALUES if numeric else CODES if len(self.codes) > 1 else POSITIONS
        if self.kind == VALUES:
            spans = [Span(0, 0) if s is None and label in _NOTHING and 0 not in self.codes else s for s, label in zip(spans, options.labels, strict=True)]
            values = {span.low for span in spans if span and span.low == span.high}
            spans = [Span(code, code) if span is None and code is not None and code not in values else span for span, code in zip(spans, codes, strict=True)]
            spans = _with_ends(spans, options)
        self.spans = spans

    @property
    def top(self) -> float:
        """The highest number of the list."""
        if self.kind == POSITIONS:
            return self.size
        return max(self.codes) if self.kind == CODES else max((s.high for s in self.spans if s and math.isfinite(s.high)), default=math.nan)

    def option(self, given: Given) -> int | None:
        """The option of a number; None off the list, between two labels, or on a scale with another top."""
        if given.top is not None and given.top != self.top:
            return None
        able = {self._of(value) for value in given.values}
        return able.pop() if len(able) == 1 else None

    def _of(self, value: float) -> int | None:
        if self.kind == POSITIONS:
            return int(value) - 1 if value == int(value) and 1 <= value <= self.size else None
        if self.kind == CODES:
            return self.codes.get(value)
        able = [i for i, span in enumerate(self.spans) if span and span.holds(value)]
        exact = [i for i in able if self.spans[i].low == self.spans[i].high]
        able = exact if exact else able
        return able[0] if len(able) == 1 else None


def _with_ends(spans: list[Span | None], options: OptionList) -> list[Span | None]:
    """Values for the worded ends of a row of whole numbers: "Not at all", 2, 3, …, 9, "Completely" are 1 and 10."""
    single = [i for i, s in enumerate(spans) if s and s.low == s.high]
    if len(single) < 3 or single != list(range(single[0], single[-1] + 1)):
        return spans
    values = [spans[i].low for i in single]
    step = values[1] - values[0]
    if step not in (1, -1) or values != [values[0] + step * k for k in range(len(values))]:
        return spans
    out = list(spans)
    for place, value in ((single[0] - 1, values[0] - step), (single[-1] + 1, values[-1] + step)):
        if 0 <= place < len(spans) and spans[place] is None and not set(options.labels[place]) & {"know", "answer", "refused", "missing", "dk"}:
            both = 0 <= single[0] - 1 and single[-1] + 1 < len(spans)
            if both and value >= 0:
                out[place] = Span(value, value)
    return out


@lru_cache(maxsize=2048)
def number_rule(options: tuple[str, ...]) -> NumberRule:
    """The rule of a list, made once."""
    return NumberRule(option_list(options))


def _is_scale_talk(text: Words, i: int, start: int) -> bool:
    """Whether the number at word i describes the scale ("of 1 to 5", "where 5 is", "5 being agree", "Q1:") and is no answer."""
    words, before = text.words, text.words[max(start, i - 5) : i]
    after = words[i + 1 : i + 2]
    if ("scale" in before or "from" in before) and (before[-1:] in (("of",), ("from",), ("to",), ("and",), ("scale",)) or text.gaps[i].strip() in ("-", ":")):
        return True
    if before[-1:] and before[-1] in ("where", "q", "question", "item", "statement", "part") and not text.levels[i]:
        return True
    return bool(after) and after[0] in ("being", "meaning", "means", "is") or (after == ("years",) and words[i + 2 : i + 3] == ("ago",))


def numbers_given(text: Words, start: int, end: int, *, spelled: bool) -> list[Given]:
    """The numbers of a sentence, those that describe the scale left out; "7 out of 10", "7/10" and "3-4" are one each.

    Args: spelled: "two" counts as well (lists of values only).
    """
    given, i, words = [], start, text.words
    while i < end:
        value = value_of(words[i], spelled=spelled and (words[i] != "one" or words[i - 1 : i] not in (("no",), ("the",), ("any",), ("this",))))
        if value is None or _is_scale_talk(text, i, start) or words[i + 1 : i + 2] == ("percent",) and words[i + 2 : i + 3] == ("of",):
            i += 1
            continue
        value = -value if i > start and words[i - 1] == "minus" else value
        nearest = value_of(words[i + 1]) if i + 1 < end else None
        behind = value_of(words[i + 2]) if i + 2 < end else None
        if words[i + 1 : i + 3] == ("out", "of") and i + 3 < end and value_of(words[i + 3]) is not None:
            given.append(Given((value,), value_of(words[i + 3]), i, i + 4))
        elif nearest is not None and text.gaps[i + 1].strip() == "/":
            given.append(Given((value,), nearest, i, i + 2))
        elif nearest is not None and text.gaps[i + 1] == "-":
            given.append(Given((value, nearest), None, i, i + 2))
        elif behind is not None and words[i + 1] in ("to", "or") and text.levels[i + 1] == text.levels[i + 2] == 0:
            given.append(Given((value, behind), None, i, i + 3))
        else:
            given.append(Given((value,), None, i, i + 1))
        i = given[-1].end
    return given
