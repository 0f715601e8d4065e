"""The numbers that a text says: digits and spelled numbers, ranges, "7 out of 10", bounds ("less than 5"), units. What counts something is told apart.

Number words are English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .option_words import Words

_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SPELLED = {word: float(n) for n, word in enumerate(_SMALL)} | {word: 10.0 * n for n, word in enumerate(_TENS, 2)}
_TIMES = {"hundred": 100.0, "thousand": 1000.0, "grand": 1000.0, "million": 1e6}
_SHARES = {2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50, 100, 1000}  # "9 in 10"
_LONGEST = 12  # most words of a number that is spelled out
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SIZES = {  # kind of unit -> names of one unit, its size in the smallest unit of its kind
    "time": {"second seconds sec secs": 1, "minute minutes min mins": 60, "hour hours hr hrs h": 3600, "day days": 86_400, "week weeks": 604_800,
             "month months": 2_629_800, "year years yr yrs yo": 31_557_600},
    "length": {"m meter meters metre metres": 1, "km kilometer kilometers kilometre kilometres": 1000, "mile miles": 1609.344},
    "weight": {"gram grams g": 1, "pound pounds lb lbs": 453.592, "kg kilo kilos kilogram kilograms": 1000},
}  # fmt: skip
UNITS = {name: (kind, float(size)) for kind, sizes in _SIZES.items() for names, size in sizes.items() for name in names.split()}
_LESS, _MORE = {"less", "fewer", "younger", "lower", "smaller", "shorter"}, {"more", "older", "higher", "greater", "longer", "farther"}
_UNDER, _OVER = {"under", "below", "almost", "nearly"}, {"over", "above"}
_OR_MORE, _OR_LESS = {"more", "older", "over", "above", "higher", "longer", "greater"}, {"less", "fewer", "younger", "under", "below", "lower"}
_OPPOSITE = {">": "<=", "<": ">="}
_BEFORE_ONE_UNIT = {"than", "over", "under", "about", "around", "almost", "nearly", "only", "just", "take", "takes", "half"}  # "about an hour"
_NO_NUMBER = {"no", "the", "any", "this"}  # before "one"
_RATING_NOUNS = {"rating", "score", "rate", "grade", "mark", "value", "level", "number", "answer", "solid", "points"}
_COUNTED_BEFORE = {"of", "after", "last", "past", "since", "with", "top", "have", "has", "had", "in", "by", "no"}
_AFTER_RATINGS = set(
    "out because for on as since and but overall points stars from maybe i though percent star point if definitely please really is at to or in with would "
    "here now again not too minus plus these this today currently lately right most when".split()
)
_WISHES, _REASONS, _SAYING = {"want", "hope", "wish", "plan"}, {"because", "since"}, {"say", "rate", "give", "choose", "pick"}


class Given(NamedTuple):
    """The number of an answer: `values` (one; two for a range), `top` of "7/10" (None: not said), the words it takes up, the word of its unit and its bound.

    `bound`: "<", "<=", ">" or ">=" for "less than", "up to", "more than" and "at least" the value; "" for the value itself.
    """

    values: tuple[float, ...]
    top: float | None
    start: int
    end: int
    unit: str = ""
    bound: str = ""


def value_of(word: str, *, spelled: bool = False) -> float | None:
    """The value of a number word, None if it is none; `spelled`: "two" counts too."""
    if spelled and word in _SPELLED:
        return _SPELLED[word]
    return float(word) if len(word) < 19 and _NUMBER.fullmatch(word) else None


def _number_at(text: Words, i: int, end: int, spelled: bool) -> tuple[float, int] | None:
    """(value, number of words) of the number that begins at word i: "7", "forty five", "two hundred thousand", "two and a half"; None for none."""
    value = value_of(text.words[i], spelled=spelled) if i < end else None
    if value is None:
        return None
    words, size = text.words[i : min(end, i + _LONGEST)], 1
    if words[0] in _SPELLED:
        value, size = _spelled_at(words)
    if words[size : size + 3] == ("and", "a", "half"):
        return value + 0.5, size + 3
    return value, size


def _spelled_at(words: Sequence[str]) -> tuple[float, int]:
    """(value, number of words) of the spelled number that `words` begin with; the first word is one."""
    done, value = 0.0, _SPELLED[words[0]]
    room, size = (10.0 if value >= 20 else 0.0), 1  # only a smaller number than `room` may follow as a part of this one
    while size < len(words):
        joined = words[size] == "and" and room >= 100 and size + 1 < len(words)  # "one hundred and twenty"
        word = words[size + joined]
        if word in _TIMES and not joined:
            value, room = value * _TIMES[word], _TIMES[word]
            done, value = (done + value, 0.0) if room >= 1000 else (done, value)
        elif 0 < _SPELLED.get(word, 0) < room:
            value, room = value + _SPELLED[word], 10.0 if _SPELLED[word] >= 20 else 0.0
        else:
            break
        size += 1 + joined
    return done + value, size


def _is_scale_talk(text: Words, i: int, start: int) -> bool:
    """Whether the number at word i describes the scale ("of 1 to 5", "where 5 is", "5 being agree", "Q1:") and is no answer."""
    words, before = text.words, text.words[max(start, i - 5) : i]
    after = words[i + 1 : i + 2]
    marked = text.gaps[i].strip() == "-" or (text.gaps[i].strip() == ":" and not before[-1:][0][-1].isdigit()) if before else False
    if ("scale" in before or "from" in before) and (marked or before[-1] in ("of", "from", "to", "and", "scale")):
        return True
    if before[-1:] and before[-1] in ("where", "q", "question", "item", "statement", "part") and not text.levels[i]:
        return True
    if after == ("s",) and not text.gaps[i + 1]:  # "in my 40s"
        return True
    if after and after[0] in ("percent", "figure", "figures", "digit", "digits") and (after[0] != "percent" or words[i + 2 : i + 3] == ("of",)):
        return True
    return bool(after) and after[0] in ("being", "meaning", "means", "is") or (after == ("years",) and words[i + 2 : i + 3] == ("ago",))


def numbers_given(text: Words, start: int, end: int, *, spelled: bool) -> list[Given]:
    """The numbers of a sentence, those that describe the scale left out; "7 out of 10", "7 of 10", "7/10" and "3-4" are one each.

    Args: spelled: "two" and "an hour" count as well (lists of values only).
    """
    given, i, words = [], start, text.words
    while i < end:
        if spelled and words[i] in ("a", "an") and i + 1 < end and words[i + 1] in UNITS and (i == start or words[i - 1] in _BEFORE_ONE_UNIT):
            half = words[i + 2 : i + 5] == ("and", "a", "half")
            value = 0.5 if words[i - 1 : i] == ("half",) else 1.5 if half else 1.0
            given.append(_bounded(Given((value,), None, i, i + 1, words[i + 1]), text, start, end))
            i += 5 if half else 2
            continue
        is_pronoun = words[i] == "one" and set(words[i - 1 : i]) & _NO_NUMBER
        number = _number_at(text, i, end, spelled)
        if number is None or is_pronoun or _is_scale_talk(text, i, start):
            i += 1
            continue
        given.append(_with_neighbours(text, start, end, i, number, spelled))
        i = given[-1].end
    return given


def _with_neighbours(text: Words, start: int, end: int, i: int, found: tuple[float, int], spelled: bool) -> Given:
    """The number at word i with the top, the second end, the unit and the bound that stand beside it."""
    words, (value, size) = text.words, found
    value, j = -value if i > start and words[i - 1] == "minus" else value, i + size
    nearest, link = _number_at(text, j, end, spelled), words[j : min(end, j + 1)]
    out = words[j : j + 2] == ("out", "of")
    top = _number_at(text, j + 1 + out, end, True) if out or link in (("of",), ("in",)) else None
    if top and link == ("in",) and (not value <= top[0] or top[0] not in _SHARES or set(words[j + 1 + top[1] : j + 2 + top[1]]) & set(UNITS)):
        top = None  # "3 in 2020", "one in 5 years"
    if top:
        given = Given((value,), top[0], i, j + 1 + out + top[1])
    elif nearest and text.gaps[j].strip() == "/":
        given = Given((value,), nearest[0], i, j + nearest[1])
    elif nearest and text.gaps[j] == "-":
        given = Given((value, nearest[0]), None, i, j + nearest[1])
    elif link in (("to",), ("or",)) and text.levels[j] == 0 and (behind := _number_at(text, j + 1, end, spelled)) and text.levels[j + 1] == 0:
        given = Given((value, behind[0]), None, i, j + 1 + behind[1])
    else:
        given = Given((value,), None, i, j)
    unit = words[given.end] if given.end < end and words[given.end] in UNITS and text.levels[given.end] < 2 else ""
    return _bounded(given._replace(unit=unit), text, start, end)


def _bounded(given: Given, text: Words, start: int, end: int) -> Given:
    """`given` with the bound that "less than", "over", "<", "at least", "up to", "or more" or "+" beside it says."""
    words, before = text.words, text.words[max(start, given.start - 2) : given.start]
    last = given.end + bool(given.unit)
    after, sign, bound = words[last : min(end, last + 2)], text.gaps[given.start].strip(), ""
    if len(given.values) > 1 or given.top is not None:
        return given
    than = before[0] if len(before) == 2 and before[1] == "than" else ""
    if than in _LESS or before[-1:] and before[-1] in _UNDER or sign == "<":
        bound = "<"
    elif than in _MORE or before[-1:] and before[-1] in _OVER or sign == ">":
        bound = ">"
    elif before in (("at", "least"),) or after[:1] == ("plus",) or (after[:1] in (("or",), ("and",)) and set(after[1:]) & _OR_MORE):
        bound = ">="
    elif before in (("at", "most"), ("up", "to")) or (after[:1] in (("or",), ("and",)) and set(after[1:]) & _OR_LESS):
        bound = "<="
    if bound in _OPPOSITE and than and set(words[max(start, given.start - 3) : given.start - 2]) & {"no", "not"}:
        bound = _OPPOSITE[bound]
    return given._replace(bound=bound)


def is_quantity(text: Words, start: int, end: int, given: Given) -> bool:
    """Whether a number counts something ("2 kids", "45-year-old", "mother of 3", "9 out of 10 people") or tells a reason ("because 2 of them")."""
    words, a, b = text.words, given.start, given.end
    if b < end and text.levels[b] < 2 and words[b] not in _AFTER_RATINGS and not words[b][-1].isdigit():
        return True
    if given.top is not None or a == start:
        return False
    of_rating = words[a - 1] == "of" and set(words[max(start, a - 2) : a - 1]) & _RATING_NOUNS
    chosen = words[a - 1] == "with" and set(words[max(start, a - 2) : a - 1]) & {"go", "going"}
    if words[a - 1] in _COUNTED_BEFORE and not of_rating and not chosen:
        return True
    reason = set(words[max(start, a - 12) : a]) & _REASONS and not set(words[max(start, a - 4) : a]) & _SAYING
    return bool(reason) or (text.gaps[a] == "-" and words[a - 1].isalpha())


def is_beside_the_point(text: Words, start: int, end: int, given: Given) -> bool:
    """Whether a number is wished for ("we want 2") or only a part of a sum ("two boys and a girl")."""
    return bool(set(text.words[max(start, given.start - 4) : given.start]) & _WISHES) or text.words[given.end + 1 : min(end, given.end + 3)] == ("and", "a")
