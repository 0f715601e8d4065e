"""From the bytes of a foreign file to plain values, each with its place; nothing in the file is believed.

JSON lines or one JSON array, plain or gzipped, and Parquet; `tables` reads what has rows and columns.
What is wrong with the bytes or the syntax is collected, not raised one at a time.
*Errors* in values: lone surrogates, control characters, numbers that are none, keys that stand twice, texts over `MOST_CHARACTERS`, nesting over `MAX_DEPTH`.
"""

import gzip
import html
import json
import math
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ..errors import Problem, quoted
from ..files import MAX_BYTES, MOST_ROWS, Unreadable, most_unpacked, not_too_deep, parquet_rows, parse_json

MAX_DEPTH = 6  # of objects and lists within a record
MOST_CHARACTERS = {"persona": 4_000, "question": 1_000, "reference": 8_000, "domain": 80, "option": 200, "id": 200, "any": 20_000}
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")


MISSING_WORDS = ("nan", "NaN", "NAN", "null", "NULL", "Null", "<NA>", "#N/A", "NaT", "undefined", "None", "NA", "N/A")  # "NA": R
MAYBE_ANSWERS = ("None", "N/A")  # of these, words that people answer with: kept as a reference or a prediction, and noted
_SURROGATE, _CONTROL = re.compile(r"[\ud800-\udfff]"), re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NOT_PLAIN = re.compile(f"{_SURROGATE.pattern}|{_CONTROL.pattern}")  # "\r" of "\r\n" among them
_INLINE = frozenset("b i u em strong span font a sup sub".split())
_TAGS = _INLINE | frozenset(
    """abbr acronym article aside audio big blockquote body br button canvas caption center cite code col colgroup dd del details dfn div dl dt embed fieldset
    figcaption figure footer form frame h1 h2 h3 h4 h5 h6 head header hr html iframe img input ins kbd label li link mark meta nav nobr noscript ol optgroup
    option p param picture pre q s samp script section select small strike style svg table tbody td textarea tfoot th thead tr track tt ul video wbr""".split()
)


class Pairs(dict):
    """A JSON object that remembers which of its keys stood there more than once."""

    def __init__(self, pairs: list[tuple]):
        super().__init__(pairs)
        self.twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1] if len(self) < len(pairs) else []


def read_objects(path: Path) -> tuple[list[tuple[int, object]], list[Problem]]:
    """Every record of a file as (line, object), and what is wrong with its bytes or syntax. Lines count from 1."""
    name = path.name
    if name.lower().endswith(".parquet"):
        try:
            return parquet_rows(path), []
        except (OSError, Unreadable) as error:
            return [], [Problem(name, 0, "", quoted(error, 160)[1:-1] if isinstance(error, Unreadable) else _io_error(error))]
    text, problem = read_text(path)
    if problem:
        return [], [problem]
    if text.count("\n") > MOST_ROWS:
        return [], [too_many_rows(name)]
    return _parse_array(text, name) if text.lstrip()[:1] == "[" else _parse_lines(text, name)


def read_text(path: Path) -> tuple[str, Problem | None]:
    """The text of a UTF-8 file, or of a UTF-16 file with a byte-order mark (as Excel and Qualtrics write), plain or gzipped; or ("", what is wrong)."""
    name = path.name
    try:
        data = unpacked_bytes(path)
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16"), None
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8"), None
    except UnicodeDecodeError as error:
        if "utf-16" in error.encoding:
            return "", Problem(name, 0, "", "begins as UTF-16 and breaks off; save the file as UTF-8")
        line = error.object.count(b"\n", 0, error.start) + 1
        return "", Problem(name, line, "", f"not UTF-8 (byte 0x{error.object[error.start]:02x}); save the file as UTF-8")
    except (OSError, EOFError, zlib.error) as error:
        return "", Problem(name, 0, "", _io_error(error))
    except Unreadable as error:
        return "", Problem(name, 0, "", str(error))


def _io_error(error: Exception) -> str:
    return f"cannot be read ({type(error).__name__}: {quoted(error, 80)})"


def too_many_rows(name: str) -> Problem:
    return Problem(name, 0, "", f"more than {MOST_ROWS:,} lines; split the file")


def unpacked_bytes(path: Path) -> bytes:
    """The bytes of a file, gzip undone. Raises Unreadable if there are more than `MAX_BYTES`, or than its packed size can honestly hold."""
    packed = path.name.lower().endswith(".gz")
    most = most_unpacked(path.stat().st_size) if packed else MAX_BYTES
    with (gzip.open if packed else open)(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Unreadable(f"more than {most // 2**20} MB once unpacked")
    return data


def _parse_lines(text: str, name: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    """JSON lines; blank lines are skipped."""
    objects, problems = [], []
    for line, part in enumerate(text.split("\n"), start=1):
        if not part.strip():
            continue
        try:
            objects.append((line, parse_json(part, pairs=Pairs)))
        except ValueError as error:
            problems.append(Problem(name, line, "", _broken(error)))
    return objects, problems


def _parse_array(text: str, name: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    """One JSON array, element by element so that each keeps its line. A broken element ends the reading: what follows cannot be told apart."""
    decoder, space = json.JSONDecoder(object_pairs_hook=Pairs), re.compile(r"[ \t\r\n]*")
    objects, line, counted, at = [], 1, 0, text.index("[") + 1
    try:
        at = space.match(text, at).end()
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            value, at = decoder.raw_decode(text, at)
            objects.append((line, not_too_deep(value)))
            if len(objects) > MOST_ROWS:
                return [], [too_many_rows(name)]
            at = space.match(text, at).end()
            if text[at : at + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']' after a record", text, at)
            if text[at] == ",":
                at = space.match(text, at + 1).end()
                if text[at : at + 1] == "]":
                    raise json.JSONDecodeError("Comma after the last record", text, at)
        if text[at + 1 :].strip():
            raise json.JSONDecodeError("Text after the end of the array", text, at + 1)
    except (ValueError, RecursionError) as error:
        return objects, [Problem(name, getattr(error, "lineno", line), "", _broken(error))]
    return objects, []


def _broken(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "broken JSON (nested too deeply)"
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON ({error.msg}, column {error.colno})"
    return f"broken JSON ({quoted(error, 80)[1:-1]})"


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
    """Any JSON value with plain line ends; reports what may stand nowhere in a record (see MOST_CHARACTERS, control characters...)."""
    texts: list[str] = []
    if _is_plain(value, texts, depth) and not _NOT_PLAIN.search("\n".join(texts)):
        return value  # nearly every record: one search for all its texts
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


def _is_plain(value: object, texts: list[str], depth: int) -> bool:
    """Whether `clean` leaves a value as it is, apart from the characters in its texts and keys, which are added to `texts`."""
    level = [value]
    while level:
        inner: list = []
        for one in level:
            kind = type(one)
            if kind is str:
                texts.append(one)
            elif kind is list or kind is dict or kind is Pairs:
                if depth >= MAX_DEPTH or getattr(one, "twice", ()) or (kind is not list and any(type(key) is not str for key in one)):
                    return False
                inner += one if kind is list else [*one, *one.values()]
            elif not (one is None or kind is bool or kind is int or (kind is float and math.isfinite(one))):
                return False
        level, depth = inner, depth + 1
    return max(map(len, texts), default=0) <= MOST_CHARACTERS["any"]


def _clean_text(text: str, where: str, at: Place) -> str:
    """`text` with `\\n` line ends. Errors: lone surrogates, C0 and C1 control characters other than line feed and tab, `MOST_CHARACTERS["any"]`."""
    text = text.replace("\r\n", "\n")
    if len(text) > MOST_CHARACTERS["any"]:
        at.error(where, f"{len(text):,} characters; at most {MOST_CHARACTERS['any']:,}")
    elif bad := _SURROGATE.search(text):
        at.error(where, f"lone surrogate U+{ord(bad[0]):04X} at position {bad.start() + 1}: half of a character")
    elif bad := _CONTROL.search(text):
        at.error(where, f"control character U+{ord(bad[0]):04X} at position {bad.start() + 1}")
    return text


def place_name(key: object) -> str:
    return key if isinstance(key, str) and re.fullmatch(r"[\w -]{1,40}", key, flags=re.ASCII) else quoted(key)


def says_missing(value: object) -> bool:
    """True for a text that is only a program's word for a missing value, such as "nan"."""
    return isinstance(value, str) and value.strip() in MISSING_WORDS


def without_markup(text: str) -> str:
    """Text without HTML. Anything else in angle brackets stays; a tag of an unknown name is one that ends somewhere (`</x>`), or has a prefix or attributes."""
    bare = re.sub(r"(?is)<!--.*?(?:-->|\Z)", "", re.sub(r"(?is)<(script|style)\b.*?(?:</\1\s*>|\Z)", " ", text))  # one never closed takes all the rest
    ended = {name.lower() for name in re.findall(r"</([A-Za-z][\w:-]*)", bare)}

    def said(tag: re.Match) -> str:
        name, rest = tag[1].lower(), tag[2].strip(" /\n\t")
        is_tag = "=" in rest or ":" in name or (" " not in rest and (name in _TAGS or name in ended))  # not "<b and age >"
        return tag[0] if not is_tag else "" if name in _INLINE else " "

    return re.sub(r"</?([A-Za-z][\w:-]*)((?:[\s/][^<>]{0,2000})?)>", said, bare)


def plain_text(text: object) -> str:
    """Text as people read it: markup and entities of survey tools undone, on one line."""
    bare = re.sub(r"(?i)&(?:lt|#60|#x3c);(?=/?[a-z][^<>]{0,200}(?:>|&gt;))", "< ", without_markup(str(text)))  # an entity never becomes a tag
    bare = re.sub(r"\*\*([^*]{1,400})\*\*", r"\1", html.unescape(bare))
    return re.sub(r"\s+", " ", bare.replace("\xa0", " ")).strip()


@lru_cache(4096)  # names of columns and fields: the same ones in every row
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
    if says_missing(value):
        at.note(f"{name} {quoted(value)} read as missing")
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        at.error(name, f"must be text or a whole number, not {kind_of(value)}")
    elif len(str(value)) > MOST_CHARACTERS["id"]:
        at.error(name, f"{len(str(value)):,} characters; at most {MOST_CHARACTERS['id']:,}")
    else:
        return str(value)
    return None
