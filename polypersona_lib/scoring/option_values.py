"""Which option a number takes: the values that labels stand for, and the numbers of an answer that may be one.

Where any label is a number or a range, an answer's number is a value and never a position: "0" is the label 0. Where labels are words with numbers before
them, it is that code. Only in a list of words alone does it count positions from 1, in the order in which the list was shown. Units of time, length and
weight are converted; a unit of another kind is off the list.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from .option_list import OptionList, option_list
from .option_numbers import UNITS, Given, is_beside_the_point, is_quantity, numbers_given, value_of
from .option_words import Words

VALUES, CODES, POSITIONS = "values", "codes", "positions"
_BELOW, _ABOVE = {"less", "fewer", "under", "below"}, {"more", "over", "above"}
_DOWN, _UP = {"less", "fewer", "under", "younger", "below"}, {"plus", "more", "older", "over", "above", "higher", "greater"}
_NOTHING = {("none",), ("never",), ("no",), ("nothing",), ("not", "at", "all")}
_COUNTED = set(UNITS) | {"time", "times", "percent", "point", "points", "star", "stars"}
_YEAR = re.compile("(?:19|20)[0-9]{2}")
_PERIODS = {
    name: names.split()[0]
    for names in ("hour hr hourly", "day daily", "week wk weekly", "fortnight biweekly fortnightly", "month mo monthly") for name in names.split()
}  # fmt: skip
_PLACES, _FEW = {"option", "choice", "number"}, 20
_MONEY = {"dollar", "dollars", "usd", "bucks", "euro", "euros", "eur", "pounds", "gbp"}
_RATED = set("rate give put score place mark call say rating choose pick select go option answer number level is likert at response".split())
_GOES_ON = {"out", "because", "for", "on", "as", "since", "and", "but", "overall", "points", "stars", "from", "maybe", "i", "though"}
_NOT_MINE = {"not", "never", "wife", "husband", "they", "people", "he", "she"}


class Span(NamedTuple):
    """The values of a label: from `low` to `high`, ends included unless they are open."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the span."""
        return (value > self.low if self.open_low else value >= self.low) and (value < self.high if self.open_high else value <= self.high)

    def meets(self, other: Span) -> bool:
        """Whether a value lies in both spans."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return low < high or (low == high and self.holds(low) and other.holds(low))


def _bound(value: float, bound: str) -> Span:
    """The values that are "<", "<=", ">" or ">=" `value`."""
    return Span(value, math.inf, open_low=bound == ">") if bound[0] == ">" else Span(-math.inf, value, open_high=bound == "<")


def _span(part: Words) -> Span | None:
    """The span of a label that is a number, a range or an open end; None for one that is anything else."""
    words = part.words
    spelled = words and words[0] != "zero" and value_of(words[0], spelled=True) is not None and (len(words) == 1 or words[1] in ("or", "to", "plus"))
    values = [(i, v) for i, w in enumerate(words) if (v := value_of(w, spelled=(bool(spelled) or words == ("zero",)) and i == 0)) is not None]
    if not values:  # "More than an hour"
        values = [(i, 1.0) for i in range(1, len(words) - 1) if words[i] in ("a", "an") and words[i + 1] in UNITS and words[i - 1] in ("than", "over", "under")]
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
    sign = part.gaps[first].strip()
    if sign in ("<", ">", "≤", "≥") and not before:
        return _bound(value, {"≤": "<=", "≥": ">="}.get(sign, sign))
    if before & _BELOW:
        return _bound(value, "<")
    if before & _ABOVE:
        return _bound(value, ">")
    if before & {"least"} or after & _UP:
        return _bound(value, ">=")
    if after & _DOWN:
        return _bound(value, "<=")
    unit = len(after) == 1 and not part.levels[first + 1] and after <= _COUNTED
    return Span(value, value) if not before and (unit or not after) else None


def _code(part: Words) -> float | None:
    """The number before (or, last, behind) the words of a label: "1 - Disagree", "Statement #2"."""
    words = part.words
    if len(words) < 2:
        return None
    first, last = value_of(words[0]), value_of(words[-1])
    return first if first is not None else last if len(words) == 2 else None


def _unit_of(part: Words) -> str:
    """The unit behind the last number (or "a", "an") of a label, "" without one."""
    pairs = zip(part.words, part.words[1:], strict=False)
    units = [unit for number, unit in pairs if unit in UNITS and (number[-1].isdigit() or number in ("a", "an", "one"))]
    return units[-1] if units else ""


class NumberRule:
    """How numbers are read in one list. `kind`: VALUES, CODES or POSITIONS; `rating`: a scale of more than four single points, no counts, ages or sums."""

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
        points = [span.low for span in spans if span and span.low == span.high]
        self.rating = self.kind == VALUES and len(points) > 4 and len(points) == sum(span is not None for span in spans)
        self.largest = max((abs(v) for s in spans if s for v in (s.low, s.high) if math.isfinite(v)), default=0.0)  # as written, before units are converted
        self.years = any(_YEAR.fullmatch(word) for part in options.parts for word in part.words)
        self.words = {word for part in options.parts for word in part.words}
        units = [_unit_of(part) if span else "" for part, span in zip(options.parts, spans, strict=True)]
        self.unit = Counter(unit for unit in units if unit).most_common(1)[0][0] if any(units) else ""
        self.spans = [_scaled(span, unit or self.unit) for span, unit in zip(spans, units, strict=True)]

    @property
    def top(self) -> float:
        """The highest number of the list."""
        if self.kind == POSITIONS:
            return self.size
        return max(self.codes) if self.kind == CODES else max((s.high for s in self.spans if s and math.isfinite(s.high)), default=math.nan)

    def given(self, text: Words, start: int, end: int) -> list[Given]:
        """The numbers of a sentence that may be an answer. In a list of values all but quantities and years; elsewhere only ratings."""
        given = numbers_given(text, start, end, spelled=self.kind == VALUES)
        if self.kind != VALUES:
            return [g for g in given if _is_rating(text, start, end, g)]
        if not given and text.words[start:end] in (("none",), ("nothing",)) and not self.rating:
            return [Given((0.0,), None, start, end)]
        given = [g for g in given if not (self._is_year(text, g) or is_beside_the_point(text, start, end, g))]
        if self.rating:
            given = [g for g in given if not is_quantity(text, start, end, g)]
        elif self.largest < 18:
            given = [g for g in given if not (text.words[g.end : g.end + 2] == ("year", "old") or text.words[g.end : g.end + 2] == ("years", "old"))]
        return [] if given and set(text.words[start : given[0].start]) & _NOT_MINE else given

    def _is_year(self, text: Words, given: Given) -> bool:
        """Whether a number is a year ("in 2020", "since 1999") in a list that has none; in one of small numbers every "1985" is."""
        word, before = text.words[given.start], text.words[given.start - 1 : given.start]
        alone = self.largest < 150 and (given.end == len(text.words) or text.levels[given.end] >= 2)  # not "2000 people"
        return not self.years and (before in (("in",), ("since",)) or alone) and bool(_YEAR.fullmatch(word))

    def option(self, given: Given, text: Words) -> int | None:
        """The option of a number; None off the list, between two labels, in another kind of unit, or on a scale with another top."""
        if given.top is not None and given.top != self.top:
            return None
        if given.bound and (self.kind != VALUES or self.rating):
            return None
        values = given.values
        if self.kind == VALUES:
            lows = {span.low for span in self.spans if span}  # "option 3" of "1", "2", "3+" is a label
            if _counts_places(text, given) and not self.words & _PLACES and given.values[0] < _FEW and given.values[0] not in lows:
                return int(given.values[0]) - 1 if 1 <= given.values[0] <= self.size else None
            rate = _rate(text, given) - {_PERIODS.get(word) for word in self.words}
            other = self.unit and given.unit and UNITS[given.unit][0] != UNITS[self.unit][0]
            if other or (rate and self.largest >= 1000):  # "$15 an hour" is no yearly income
                return None
            size = UNITS[given.unit or self.unit][1] if self.unit else 1.0
            values = tuple(value * size for value in values)
        if given.bound:
            bound = _bound(values[0], given.bound)
            able = {i for i, span in enumerate(self.spans) if span == bound} or {i for i, span in enumerate(self.spans) if span and span.meets(bound)}
        else:
            able = {self._of(value) for value in values}
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


def _rate(text: Words, given: Given) -> set[str]:
    """The period that a number is paid by ("20 dollars an hour", "$20/hr", "$800 weekly"), empty without one."""
    i = given.end + (text.words[given.end : given.end + 1] != () and text.words[given.end] in _MONEY)
    per = text.words[i : i + 1]
    linked = per in (("a",), ("an",), ("per",), ("each",), ("every",))
    slashed = text.gaps[i].strip() == "/" or (per and per[0].endswith("ly"))
    return {_PERIODS[word] for word in (text.words[i + 1 : i + 2] if linked else per if slashed else ()) if word in _PERIODS}


def _counts_places(text: Words, given: Given) -> bool:
    """Whether a number says a place in the list ("option 3"; "3)" and no more)."""
    named = given.start > 0 and text.words[given.start - 1] in _PLACES and not text.levels[given.start]
    return named or (len(text.words) == 1 and text.gaps[-1].startswith(")") and "(" not in text.gaps[0])


def _scaled(span: Span | None, unit: str) -> Span | None:
    """A span in the smallest unit of its kind."""
    return span._replace(low=span.low * UNITS[unit][1], high=span.high * UNITS[unit][1]) if span and unit else span


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


def _is_rating(text: Words, start: int, end: int, given: Given) -> bool:
    """Whether a number in a list of words is a rating: alone in its clause, or behind a verb of rating."""
    words, a, b = text.words, given.start, given.end
    before = words[max(start, a - 7) : a]
    ends = b >= end or text.levels[b] >= 2 or words[b] in _GOES_ON or given.top is not None
    glued = (a > start and text.gaps[a] == "-" and words[a - 1].isalpha()) or (b < end and text.gaps[b] == "-" and words[b].isalpha())
    counted = given.top is not None and b < end and is_quantity(text, start, end, given)
    if not ends or glued or counted or {"not", "never"} & set(before):
        return False  # "a 45-year-old", "9 out of 10 people"
    return a == start or text.levels[a] >= 2 or bool(_RATED & set(before))


@lru_cache(maxsize=2048)
def number_rule(options: tuple[str, ...]) -> NumberRule:
    """The rule of a list, made once."""
    return NumberRule(option_list(options))
