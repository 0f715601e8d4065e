"""Skip conditions: when an item is asked. The simple ones of XLSForm and of tables are understood, every other one is an error with its place.

Understood: `${item} = 'code'`, `!=`, `<`, `<=`, `>`, `>=`, `selected(${item}, 'code')`, `not(...)`, `and`, `or`, brackets. In a table the `${}` may be missing.
As in XLSForm, an item without an answer is the empty text: `= 'a'` fails, `!= 'a'` holds. Source: xlsform.org, "relevant"; XPath 1.0 operators.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InputError, quoted
from .option_codes import CODE, LABEL, option_named
from .survey_format import Item
from .tables import number_in

Said = Mapping[str, Sequence[str]]
"""Item -> the codes that were chosen (several: several choices), or the number or text that was said; missing or empty for no answer."""

IN_CODES = "asked_if in codes"  # key of a row of a survey tool: the values in its condition are codes
_TOKEN = re.compile(
    r"\s*(?:(?P<ref>\$\{[^{}$]{1,200}\})|(?P<text>'[^']*'|\"[^\"]*\"|‘[^’]*’|“[^”]*”)|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<op>!=|<=|>=|==|=|<|>)|(?P<mark>[(),])|(?P<word>[^\W\d][\w.-]*))"
)
_COMPARE: dict[str, Callable] = {
    "=": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_MOST = 2_000  # characters of a condition, and with them its depth


class NotUnderstood(InputError):
    """A condition that cannot be read; the message says what of it. `unknown`: the item that does not stand before it, if that is why."""

    def __init__(self, message: str, unknown: str = ""):
        super().__init__(message)
        self.unknown = unknown


@dataclass(frozen=True)
class SkipRule:
    """A condition: `holds(said)` says whether the item is asked; `needs` are the items that it looks at; `readings` says how unclear values were read."""

    text: str
    holds: Callable[[Said], bool]
    needs: frozenset[str]
    readings: tuple[str, ...] = ()


ALWAYS = SkipRule("", lambda said: True, frozenset())


def says_always(text: str) -> bool:
    """Whether a condition always holds: nothing, or what XLSForm and LimeSurvey write for it."""
    return "".join(text.split()).casefold() in ("", "1", "true()", "true")


def all_of(*conditions: str) -> str:
    """One condition that holds where all of these hold; "" says nothing."""
    given = [c for c in conditions if c]
    return given[0] if len(given) == 1 else " and ".join(f"({c})" for c in given)


def read_rule(text: str, before: Mapping[str, Item], in_codes: bool = False) -> SkipRule:
    """The rule of an item's `asked_if`.

    Args: before: the items that stand before it, by id; a condition can look at no other. in_codes: values are codes, as survey tools write them; one that is
        also the label of another option is replaced in `text` by the label that it means. Raises: NotUnderstood.
    """
    if says_always(text):
        return ALWAYS
    if len(text) > _MOST:
        raise NotUnderstood(f"{len(text):,} characters; at most {_MOST:,}")
    reader = _Reader(text, before, in_codes)
    try:
        holds = reader.either()
    except RecursionError:
        raise NotUnderstood("too many brackets") from None
    if reader.at < len(reader.tokens):
        raise NotUnderstood(f"{quoted(reader.tokens[reader.at][1])} is not understood here")
    for (start, end), label in sorted(reader.meant.items(), reverse=True):
        text = text[:start] + label + text[end:]
    return SkipRule(text, holds, frozenset(reader.needs), tuple(reader.readings))


def rules_of(items: Sequence[Item]) -> dict[str, SkipRule]:
    """The rule of every item of a questionnaire, in its order. Raises NotUnderstood naming the item."""
    rules, before = {}, {}
    for item in items:
        try:
            rules[item.id] = read_rule(item.asked_if, before)
        except NotUnderstood as error:
            raise NotUnderstood(f"item {quoted(item.id)}: {error}") from None
        before[item.id] = item
    return rules


class _Reader:
    """Reads a condition from left to right: `or` binds least, then `and`, then comparisons."""

    def __init__(self, text: str, before: Mapping[str, Item], in_codes: bool):
        self.before, self.in_codes, self.needs, self.at, self.tokens, self.readings = before, in_codes, set(), 0, [], []
        self.spans, self.meant = [], {}  # places of the tokens in the text; what is written there instead
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                raise NotUnderstood(f"{quoted(text[place:].strip(), 20)} is not understood; {_ALLOWED}")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            self.spans.append(match.span(match.lastgroup))
            place = match.end()

    def _next(self, kind: str = "", value: str = "") -> str:
        """The next token if it is of this kind (and value), else an error."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "the end")
        if (kind and token[0] != kind) or (value and token[1].lower() != value):
            raise NotUnderstood(f"{quoted(token[1])} stands where {value or kind} is needed; {_ALLOWED}")
        self.at += 1
        return token[1]

    def _sees(self, kind: str, value: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at][0] == kind and self.tokens[self.at][1].lower() == value

    def either(self) -> Callable[[Said], bool]:
        parts = [self._both()]
        while self._sees("word", "or"):
            self.at += 1
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda said: any(part(said) for part in parts)

    def _both(self) -> Callable[[Said], bool]:
        parts = [self._one()]
        while self._sees("word", "and"):
            self.at += 1
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda said: all(part(said) for part in parts)

    def _one(self) -> Callable[[Said], bool]:
        if self._sees("mark", "("):
            self.at += 1
            inner = self.either()
            self._next("mark", ")")
            return inner
        for name in ("not", "selected"):
            if self._sees("word", name) and self.tokens[self.at + 1 : self.at + 2] == [("mark", "(")]:
                self.at += 2
                return self._negated() if name == "not" else self._selected()
        item = self._item()
        operator = self._next("op").replace("==", "=")
        return self._comparison(item, operator)

    def _negated(self) -> Callable[[Said], bool]:
        inner = self.either()
        self._next("mark", ")")
        return lambda said: not inner(said)

    def _selected(self) -> Callable[[Said], bool]:
        item = self._item()
        self._next("mark", ",")
        value = self._value(item)
        self._next("mark", ")")
        return lambda said: value in said.get(item.id, ())

    def _item(self) -> Item:
        kind, name = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "the end")
        if kind not in ("ref", "word"):
            raise NotUnderstood(f"{quoted(name)} stands where the id of an item is needed; {_ALLOWED}")
        self.at += 1
        name = name.strip("${}").strip() if kind == "ref" else name
        if name not in self.before:
            near = difflib.get_close_matches(name, self.before, n=1)
            hint = f"did you mean {quoted(near[0])}?" if near else _ALLOWED
            raise NotUnderstood(f"no item {quoted(name)} stands before this one; {hint}", unknown=name)
        self.needs.add(name)
        return self.before[name]

    def _value(self, item: Item) -> str:
        """The code that a text or number names; of an item with options, one of its codes or labels."""
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "the end")
        if kind not in ("text", "number", "word"):
            raise NotUnderstood(f"{quoted(token)} stands where a value is needed; {_ALLOWED}")
        self.at += 1
        value = token[1:-1] if kind == "text" else token
        if not item.labels or not value:
            return value
        place, how = option_named(item, value, CODE if self.in_codes and not item.made_up else LABEL)
        if place is None:
            names = ("options", item.labels) if item.made_up else ("codes", item.codes)
            raise NotUnderstood(f"{quoted(value)} is no option of {quoted(item.id)}; its {names[0]} are {', '.join(map(quoted, names[1][:12]))}")
        if how == CODE and item.made_up:
            self.readings.append(f"{quoted(value)} read as {quoted(item.labels[place])} (option {place + 1} of {quoted(item.id)}, which has no codes)")
        elif place != option_named(item, value)[0]:
            label = item.labels[place]
            self.meant[self.spans[self.at - 1]] = '"' + label.replace('"', "\u201d") + '"'  # for comparison, quotation marks are all alike
            self.readings.append(f"{quoted(value)} read as the code of {quoted(label)} ({quoted(item.id)})")
        return item.codes[place]

    def _comparison(self, item: Item, operator: str) -> Callable[[Said], bool]:
        value = self._value(item)
        if operator not in ("=", "!=") and number_in(value) is None:
            raise NotUnderstood(f"{operator} compares numbers, and {quoted(value)} is none")

        def holds(said: Said) -> bool:
            given = said.get(item.id, ())
            answer = given[0] if len(given) == 1 else " ".join(given)  # several choices are one text, as in XLSForm
            left, right = number_in(answer), number_in(value)
            if left is not None and right is not None:
                return _COMPARE[operator](left, right)
            return operator in ("=", "!=") and _COMPARE[operator](answer, value)

        return holds


_ALLOWED = "understood are ${item} = 'code', !=, <, <=, >, >=, selected(${item}, 'code'), not(), and, or, brackets"
