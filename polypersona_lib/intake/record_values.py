"""Values of a foreign record, whatever their field: what may stand nowhere in it, and where the reader stands when it complains.

*Errors*: lone surrogates, control characters, numbers that are none, keys that stand twice, texts over `MOST_CHARACTERS`, nesting over `reading.MAX_DEPTH`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

from ..errors import Problem, quoted
from .reading import MAX_DEPTH, Pairs

MOST_CHARACTERS = {"persona": 4_000, "question": 1_000, "reference": 8_000, "domain": 80, "option": 200, "id": 200, "any": 20_000}


@dataclass
class Place:
    """Where the reader stands, and what it has to say so far."""

    file: str
    line: int = 0
    errors: list[Problem] = field(default_factory=list)
    notes: Counter = field(default_factory=Counter)

    def error(self, where: str, message: str) -> None:
        self.errors.append(Problem(self.file, self.line, where, message))

    def note(self, text: str) -> None:
        self.notes[text] += 1


def clean(value: object, where: str, at: Place, depth: int = 0) -> object:
    """A copy of any JSON value with plain line ends; reports what may stand nowhere in a record (see MOST_CHARACTERS, control characters...)."""
    if isinstance(value, str):
        return _clean_text(value, where, at)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            at.error(where, f"{value} is not a number; leave the field out if it is missing")
            return None
        return value
    if depth >= MAX_DEPTH:
        at.error(where, f"nested more than {MAX_DEPTH} deep")
        return None
    if isinstance(value, list):
        return [clean(v, f"{where}[{i}]", at, depth + 1) for i, v in enumerate(value)]
    if isinstance(value, dict):
        for key in getattr(value, "twice", ()):
            at.error(f"{where}.{place_name(key)}".lstrip("."), f"the key {quoted(key)} stands twice in one object")
        return {_clean_text(str(k), where or "key", at): clean(v, f"{where}.{place_name(k)}".lstrip("."), at, depth + 1) for k, v in value.items()}
    at.error(where, f"a value of type {type(value).__name__} is not allowed")
    return None


def _clean_text(text: str, where: str, at: Place) -> str:
    """`text` with `\\n` line ends. Errors: lone surrogates, C0 and C1 control characters other than line feed and tab, `MOST_CHARACTERS["any"]`."""
    text = text.replace("\r\n", "\n")
    if len(text) > MOST_CHARACTERS["any"]:
        at.error(where, f"{len(text):,} characters; at most {MOST_CHARACTERS['any']:,}")
    elif bad := re.search(r"[\ud800-\udfff]", text):
        at.error(where, f"lone surrogate U+{ord(bad[0]):04X} at position {bad.start() + 1}: half of a character")
    elif bad := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text):
        at.error(where, f"control character U+{ord(bad[0]):04X} at position {bad.start() + 1}")
    return text


def place_name(key: object) -> str:
    return key if isinstance(key, str) and re.fullmatch(r"[\w -]{1,40}", key, flags=re.ASCII) else quoted(key)


def slug_of(text: str, joint: str = "_") -> str:
    """Lower case, everything but letters and digits as one `joint`."""
    return re.sub(r"[\W_]+", joint, text.casefold()).strip(joint)


def kind_of(value: object) -> str:
    names = {dict: "an object", Pairs: "an object", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")


def text_field(fields: dict, name: str, at: Place, *, numbers: bool = False) -> str | None:
    """The text in a field, None (and an error) if it is missing, no text or too long."""
    value = fields.get(name)
    if value is None:
        at.error(name, "missing")
    elif numbers and isinstance(value, int | float) and not isinstance(value, bool):
        at.note(f"{name} given as a number")
        return str(value)
    elif not isinstance(value, str):
        at.error(name, f"must be text, not {kind_of(value)}")
    elif len(value) > MOST_CHARACTERS[name]:
        at.error(name, f"{len(value):,} characters; at most {MOST_CHARACTERS[name]:,}")
    else:
        return value.strip()
    return None


def id_field(fields: dict, name: str, at: Place) -> str | None:
    """An id as given (text or whole number), None if there is none."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        at.error(name, f"must be text or a whole number, not {kind_of(value)}")
    elif len(str(value)) > MOST_CHARACTERS["id"]:
        at.error(name, f"{len(str(value)):,} characters; at most {MOST_CHARACTERS['id']:,}")
    else:
        return str(value)
    return None
