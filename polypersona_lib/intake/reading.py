"""From the bytes of a foreign file to plain objects, each with its line; nothing in the file is believed.

JSON lines or one JSON array, plain or gzipped, and Parquet. What is wrong with the bytes or the syntax is collected, not raised one at a time.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from pathlib import Path

from ..errors import Problem, quoted

MAX_BYTES = 512 * 2**20  # of a file once unpacked: a small .gz can hold a very large text
MAX_DEPTH = 6  # of objects and lists within a record
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")


class Pairs(dict):
    """A JSON object that remembers which of its keys stood there more than once."""

    def __init__(self, pairs: list[tuple]):
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.twice = [key for key, count in counts.items() if count > 1]


def read_objects(path: Path) -> tuple[list[tuple[int, object]], list[Problem]]:
    """Every record of a file as (line, object), and what is wrong with its bytes or syntax. Lines count from 1."""
    name = path.name
    try:
        if name.lower().endswith(".parquet"):
            return _read_parquet(path), []
        return _parse(_read_bytes(path), name)
    except (OSError, EOFError, zlib.error) as error:
        return [], [Problem(name, 0, "", f"cannot be read ({type(error).__name__}: {quoted(error, 80)})")]
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
        raise _Unreadable(f"not a readable Parquet file ({quoted(error, 80)})") from None


def _parse(data: bytes, name: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [Problem(name, line, "", f"not UTF-8 (byte 0x{error.object[error.start]:02x}); save the file as UTF-8")]
    return _parse_array(text, name) if text.lstrip()[:1] == "[" else _parse_lines(text, name)


def _parse_lines(text: str, name: str) -> tuple[list[tuple[int, object]], list[Problem]]:
    """JSON lines; blank lines are skipped."""
    objects, problems = [], []
    for line, part in enumerate(text.split("\n"), start=1):
        if not part.strip():
            continue
        try:
            objects.append((line, json.loads(part, object_pairs_hook=Pairs)))
        except (ValueError, RecursionError) as error:
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
            objects.append((line, value))
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
    return f"broken JSON ({quoted(error, 80)})"
