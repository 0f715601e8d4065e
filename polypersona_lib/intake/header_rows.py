"""Rows of a table that only describe its columns: survey tools write a second and a third header row, and joined exports repeat the first."""

import re

Rows = list[tuple[int, object]]


def without_header_rows(rows: Rows) -> tuple[Rows, list[int]]:
    """The rows without those that only describe the columns, and the lines of these.

    Such rows are: a row whose cells are Qualtrics' {"ImportId": ...}, and what stands above it; a first row whose id is called like its column
    ("Response ID"); the column names again, as in files put together from several exports.
    """
    import_ids = [i for i, (_, row) in enumerate(rows[:3]) if isinstance(row, dict) and any(_is_import_id(v) for v in row.values())]
    top = max(import_ids, default=-1) + 1
    if not top and rows and isinstance(rows[0][1], dict):
        top = int(any(_folded(k).endswith("id") and _folded(k) == _folded(v) for k, v in rows[0][1].items()))
    gone = {i for i, (_, row) in enumerate(rows) if i < top or (isinstance(row, dict) and row and all(_folded(k) == _folded(v) for k, v in row.items()))}
    return [row for i, row in enumerate(rows) if i not in gone], [rows[i][0] for i in sorted(gone)]


def header_rows_note(lines: list[int]) -> str:
    """What a report says of rows that were left out; `lines` are theirs."""
    shown = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
    return f"left out: {len(lines)} rows that only describe the columns (line {shown})"


def _is_import_id(value: object) -> bool:
    return (isinstance(value, str) and bool(re.match(r'\s*\{\s*"ImportId"\s*:', value))) or (isinstance(value, dict) and "ImportId" in value)


def _folded(value: object) -> str:
    return re.sub(r"[\W_]+", "", value.casefold()) if isinstance(value, str) else ""
