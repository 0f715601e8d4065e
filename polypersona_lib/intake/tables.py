"""Rows of a foreign file, whatever its form: a table (CSV, TSV, TXT) whose first line names the columns, or what `reading` reads."""

import csv
import io
import re
from pathlib import Path

from ..errors import Problem, quoted
from .reading import read_text, read_objects

SUFFIXES_OF_TABLES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")


def is_table(path: Path) -> bool:
    """True if the file's name says that it is a table."""
    return path.name.lower().endswith(SUFFIXES_OF_TABLES)


def read_rows(path: Path) -> tuple[list[tuple[int, object]], list[Problem]]:
    """Every row or record of a file as (line, object), and what is wrong with its bytes or syntax. Lines count from 1; in Parquet: rows."""
    return _read_table(path) if is_table(path) else read_objects(path)


def _read_table(path: Path) -> tuple[list[tuple[int, dict]], list[Problem]]:
    """The rows of a table, an empty cell left out; the delimiter is the one of , ; | and tab that its first line has most of."""
    text, problem = read_text(path)
    if problem:
        return [], [problem]
    head = text.partition("\n")[0]
    reader, limit = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=head.count), strict=True), csv.field_size_limit(2**24)
    rows, problems, start = [], [], 2
    try:
        names = [name.strip() for name in next(reader, [])]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            return [], [Problem(path.name, 1, "", f"the column {quoted(twice[0])} stands there twice")]
        for cells in reader:
            if len(cells) > len(names):
                problems.append(Problem(path.name, start, "", f"{len(cells)} cells but {len(names)} columns (is a comma or a quote in a text not quoted?)"))
            elif any(cell.strip() for cell in cells):
                rows.append((start, {n: c for n, c in zip(names, cells, strict=False) if c.strip() or n == "prediction"}))
            start = reader.line_num + 1
    except csv.Error as error:
        problems.append(Problem(path.name, start, "", f"broken table ({error})"))
    finally:
        csv.field_size_limit(limit)
    return rows, problems


def without_header_rows(rows: list[tuple[int, object]]) -> tuple[list[tuple[int, object]], list[int]]:
    """The rows without those that only describe the columns, and the lines of these.

    Such rows are: a row whose cells are Qualtrics' {"ImportId": ...}, and what stands above it; a first row whose id is called like its column
    ("Response ID"); the column names again, as in files put together from several exports.
    """
    import_ids = [i for i, (_, row) in enumerate(rows[:3]) if isinstance(row, dict) and any(_is_import_id(v) for v in row.values())]
    top = max(import_ids, default=-1) + 1
    if not top and rows and isinstance(rows[0][1], dict):
        top = int(any(_slug(k).endswith("id") and _slug(k) == _slug(v) for k, v in rows[0][1].items()))
    gone = {i for i, (_, row) in enumerate(rows) if i < top or (isinstance(row, dict) and row and all(_slug(k) == _slug(v) for k, v in row.items()))}
    return [row for i, row in enumerate(rows) if i not in gone], [rows[i][0] for i in sorted(gone)]


def _is_import_id(value: object) -> bool:
    return (isinstance(value, str) and bool(re.match(r'\s*\{\s*"ImportId"\s*:', value))) or (isinstance(value, dict) and "ImportId" in value)


def _slug(value: object) -> str:
    return re.sub(r"[\W_]+", "", value.casefold()) if isinstance(value, str) else ""
