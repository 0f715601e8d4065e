"""From the bytes of a foreign file to plain objects, each with its line; nothing in the file is believed.

JSON lines or one JSON array, plain or gzipped, and Parquet. What is wrong with the bytes or the syntax is collected, not raised one at a time.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 512 * 2**20  # of a file once unpacked: a small .gz can hold a very large text
MAX_DEPTH = 6  # of objects and lists within a record
MAX_SHOWN = 50  # errors or positions printed; the rest is counted
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Problem:
    """One error: where it is and what it is. `line` counts from 1 (0: the whole file); in Parquet it is the row."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return ":".join([self.file, *([str(self.line)] if self.line else []), *([self.field] if self.field else [])]) + f": {self.message}"


class InputError(ValueError):
    """The data cannot be used. The message lists what is wrong, one a line (at most `MAX_SHOWN`, then a count); `problems` holds all of it."""

    def __init__(self, problems: list, header: str = "", footer: str = ""):
        self.problems = list(problems)
        lines = [str(p) for p in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"... and {len(self.problems) - MAX_SHOWN} more ({len(self.problems)} in all)")
        super().__init__("\n".join([*([header] if header else []), *lines, *([footer] if footer else [])]))


class Pairs(dict):
    """A JSON object that remembers which of its keys stood there more than once."""

    def __init__(self, pairs: list[tuple]):
        super().__init__(pairs)
        seen: set = set()
        self.twice = [key for key, _ in pairs if key in seen or seen.add(key)]


def show(value: object, width: int = 40) -> str:
    """A short quotation of untrusted content for messages: one line, nothing that a terminal would obey."""
    text = re.sub(r"[^\x20-\x7e\u00a0-\ud7ff\uf900-\ufffd]", lambda m: m[0].encode("unicode_escape").decode(), str(value)[: 2 * width])
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "'" + (text if len(text) <= width and len(str(value)) <= 2 * width else text[: width - 3] + "...") + "'"


def read_objects(path: Path) -> tuple[list[tuple[int, object]], list[Problem]]:
    """Every record of a file as (line, object), and what is wrong with its bytes or syntax. Lines count from 1."""
    name = path.name
    try:
        if name.lower().endswith(".parquet"):
            return _read_parquet(path), []
        return _parse(_read_bytes(path), name)
    except (OSError, EOFError, zlib.error) as error:
        return [], [Problem(name, 0, "", f"cannot be read ({type(error).__name__}: {show(error, 80)})")]
    except _Unreadable as error:
        return [], [Problem(name, 0, "", str(error))]


class _Unreadable(Exception):
    pass


def _read_bytes(path: Path) -> bytes:
    """The unpacked bytes. Raises _Unreadable if there are more than `MAX_BYTES`."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _Unreadable(f"more than {MAX_BYTES // 2**20} MB once unpacked")
    return data


def _read_parquet(path: Path) -> list[tuple[int, object]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if size > MAX_BYTES:
            raise _Unreadable(f"more than {MAX_BYTES // 2**20} MB once unpacked")
        return list(enumerate(file.read().to_pylist(), start=1))
    except (pyarrow.ArrowException, ValueError) as error:
        raise _Unreadable(f"not a readable Parquet file ({show(error, 80)})") from None


def _parse(data: bytes, name: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [Problem(name, line, "", f"not UTF-8 (byte 0x{error.object[error.start]:02x}); save the file as UTF-8")]
    return _parse_array(text, name) if text.lstrip()[:1] == "[" else _parse_lines(text, name)


def _parse_lines(text: str, name: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    """JSON lines; blank lines are skipped."""
    found, problems = [], []
    for line, part in enumerate(text.split("\n"), start=1):
        if not part.strip():
            continue
        try:
            found.append((line, json.loads(part, object_pairs_hook=Pairs)))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(name, line, "", _broken(error)))
    return found, problems


def _parse_array(text: str, name: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    """One JSON array, element by element so that each keeps its line. A broken element ends the reading: what follows cannot be told apart."""
    decoder, space = json.JSONDecoder(object_pairs_hook=Pairs), re.compile(r"[ \t\r\n]*")
    found, line, counted, at = [], 1, 0, text.index("[") + 1
    try:
        at = space.match(text, at).end()
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            value, at = decoder.raw_decode(text, at)
            found.append((line, value))
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
        return found, [Problem(name, getattr(error, "lineno", line), "", _broken(error))]
    return found, []


def _broken(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "broken JSON (nested too deeply)"
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON ({error.msg}, column {error.colno})"
    return f"broken JSON ({show(error, 80)})"
