"""What strangers' files may hold: texts, values, rows, and files of every kind that is read, whole or damaged."""

from __future__ import annotations

import csv
import gzip
import io
import json

from hypothesis import strategies as st

HOSTILE = (
    "", " ", "nan", "None", "null", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\uff1d1+1", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "\x1b[2J\x1b]0;title\x07", "\x9b31m", "\u202egnp.exe", "\ud800", "\x00", "\x85", "\u2028", "$x^2$", "\\input{/etc/passwd}", "| a | b |", "`x`", "{{ 7*7 }}",
    "<|im_end|>", "[INST]", "</s>", "<" + " " * 400, "(" * 400,
    "not(" * 90, "a" * 25_000, "9" * 400, "1e999", "0-10", "1=Yes", "Yes|No", "['a']", '["a", "b"]',
    '{"a": 1}', "[" * 900 + "]" * 900, '{"ImportId": "QID1"}', "${q1} = '1'", "selected(${q1}, '1') and not(${q1} > 3)", "\r\n", "\t",
    ",;|\t\"'", '"', "é👩\u200d👧",
    "agreement", "likert", "open", "select_one yn", "begin group", "end group", "Persona: x\nQuestion: y\nOptions: a / b",
)  # fmt: skip
NAMES = ("data", "=1+1", "\x1b[31mred", "two\nlines", "<b>bold<", "\u202eevil", "üñí")
hostile = st.integers(0, len(HOSTILE) - 1).map(HOSTILE.__getitem__)
texts = st.one_of(hostile, st.text(max_size=12))
scalars = st.one_of(texts, st.integers(-(10**20), 10**20), st.floats(), st.booleans(), st.none())
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5)


def rows(good: dict[str, st.SearchStrategy], *, most: int = 4) -> st.SearchStrategy:
    """Lists of rows: with all fields and good values; with one arbitrary value; or with any values, fields missing, and now and then another field."""
    tidy = st.fixed_dictionaries(good)
    nearly = st.tuples(tidy, st.sampled_from(sorted(good)), values).map(lambda made: made[0] | {made[1]: made[2]})
    fields = st.fixed_dictionaries({}, optional={name: st.one_of(value, values) for name, value in good.items()})
    odd = st.tuples(fields, st.dictionaries(texts, values, max_size=1)).map(lambda pair: {**pair[1], **pair[0]}) | values
    return st.one_of(st.lists(tidy, min_size=1, max_size=most), st.lists(tidy | nearly, min_size=1, max_size=most), st.lists(tidy | odd, max_size=most))


def json_text(value: object) -> str:
    """JSON as Python writes it, with NaN, Infinity and lone surrogates as escapes."""
    return json.dumps(value)


def _plain(value: object) -> str:
    """A cell of a text table."""
    return value if isinstance(value, str) else json_text(value)


def _table(listed: list, delimiter: str) -> bytes:
    objects = [row for row in listed if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in objects for name in row))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_plain(row.get(name, "")) for name in names] for row in objects])
    return out.getvalue().encode("utf-8", "surrogatepass")


def _parquet(listed: list) -> bytes:
    import pyarrow
    import pyarrow.parquet

    objects = [{name: _plain(value).encode("utf-8", "replace").decode() for name, value in row.items()} for row in listed if isinstance(row, dict)]
    objects = [{name.encode("utf-8", "replace").decode(): value for name, value in row.items()} for row in objects]
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects or [{"x": "y"}]), out)
    return out.getvalue()


def _workbook(listed: list, sheet: str = "survey") -> bytes:
    from openpyxl import Workbook
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    def cell(value: object) -> object:
        text = _plain(value).encode("utf-8", "replace").decode()
        return value if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1e15) else ILLEGAL_CHARACTERS_RE.sub("", text)[:3000]

    book = Workbook()
    page = book.active
    page.title = sheet
    objects = [row for row in listed if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in objects for name in row))
    for cells in [names, *([row.get(name, "") for name in names] for row in objects)]:
        page.append([cell(value) for value in cells])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


KINDS = {  # ending -> bytes of a list of rows
    ".jsonl": lambda listed: "\n".join(map(json_text, listed)).encode(),
    ".json": lambda listed: json_text(listed).encode(),
    ".jsonl.gz": lambda listed: gzip.compress("\n".join(map(json_text, listed)).encode(), 1, mtime=0),
    ".csv": lambda listed: _table(listed, ","),
    ".tsv": lambda listed: _table(listed, "\t"),
    ".parquet": _parquet,
    ".xlsx": _workbook,
}


@st.composite
def damaged(draw, contents: bytes) -> bytes:
    """Bytes as they are, or cut off, or with some of them changed, doubled, or replaced by hostile ones."""
    how = draw(st.sampled_from((*["whole"] * 8, "cut", "changed", "doubled", "filled", "deep", "utf-16", "nothing")))
    at = draw(st.integers(0, 9_999)) * len(contents) // 10_000  # a share: what is drawn must not depend on bytes that a library chose
    if how == "changed":
        return contents[:at] + bytes([draw(st.integers(0, 255))]) + contents[at + 1 :]
    if how == "filled":
        return contents[:at] + draw(hostile).encode("utf-8", "surrogatepass") + contents[at:]
    if how == "deep":
        nested = draw(st.sampled_from((50, 61, 200, 980, 100_000)))
        return contents[:at] + b"[" * nested + b"]" * nested + contents[at:]
    if how == "utf-16":
        return b"\xff\xfe" + contents.decode("utf-8", "replace").encode("utf-16-le")
    return {"whole": contents, "cut": contents[:at], "doubled": contents + contents, "nothing": b""}[how]


@st.composite
def files(draw, listed: st.SearchStrategy, kinds: tuple[str, ...] = tuple(KINDS)) -> tuple[str, bytes]:
    """(name, bytes) of a file of rows, whole or damaged; its name may be hostile too."""
    kind = draw(st.sampled_from(kinds))
    return draw(st.sampled_from(NAMES)) + kind, draw(damaged(KINDS[kind](draw(listed))))
