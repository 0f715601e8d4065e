"""Tables: CSV, TSV and TXT with any of four delimiters, and the sheets of an Excel workbook. The first row names the columns.

Nothing in a file is believed: a workbook is a zip file whose unpacked size is looked at first, and its formulas give the values that were stored.
"""

import csv
import io
import re
import sys
import zipfile
from collections import Counter
from pathlib import Path

from ..errors import Problem, quoted
from ..files import MOST_ROWS, most_unpacked
from .reading import read_objects, read_text, too_many_rows

TEXT_TABLES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
WORKBOOKS = (".xlsx", ".xlsm")
_OLD = {".xls": "an old Excel file; save it as .xlsx", ".ods": "an OpenDocument sheet; save it as .xlsx or .csv"}
MOST_CELLS = 20_000_000  # of a sheet: one cell at its far corner makes 17 billion
Row = tuple[int, dict]


def read_rows(path: Path) -> tuple[list[tuple[int, object]], list[Problem]]:
    """Every record of a file as (line, object), and what is wrong with it: `TEXT_TABLES`, the first sheet of `WORKBOOKS`, else as `read_objects`."""
    name = path.name.lower()
    if name.endswith(TEXT_TABLES):
        return _read_text_table(path)
    if name.endswith((*WORKBOOKS, *_OLD)):
        sheets, problems = read_workbook(path)
        return (next(iter(sheets.values())), problems) if sheets else ([], problems)
    return read_objects(path)


def _read_text_table(path: Path) -> tuple[list[tuple[int, dict]], list[Problem]]:
    """The rows of a table, an empty cell left out; the delimiter is the one of , ; | and tab that its first line has most of."""
    text, problem = read_text(path)
    if problem:
        return [], [problem]
    if text.count("\n") > MOST_ROWS:
        return [], [too_many_rows(path.name)]
    text, delimiter, skipped = _delimiter(text)
    reader, limit = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), csv.field_size_limit(2**24)
    rows, problems, start = [], [], 2 + skipped
    try:
        names = [name.strip() or f"column {place}" for place, name in enumerate(next(reader, []), start=1)]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            return [], [Problem(path.name, 1, "", f"the column {quoted(twice[0])} stands there twice")]
        for cells in reader:
            if len(cells) > len(names):
                problems.append(Problem(path.name, start, "", f"{len(cells)} cells but {len(names)} columns (is a comma or a quote in a text not quoted?)"))
            elif any(cell.strip() for cell in cells):
                rows.append((start, {n: c for n, c in zip(names, cells, strict=False) if c.strip() or n == "prediction"}))
            start = reader.line_num + 1 + skipped
    except csv.Error as error:
        problems.append(Problem(path.name, start, "", f"broken table ({error})"))
    finally:
        csv.field_size_limit(limit)
    return rows, problems


def _delimiter(text: str) -> tuple[str, str, int]:
    """(the text, what stands between its cells, lines left out at its top): Excel's line "sep=;" says it, else the first line has most of it outside quotes."""
    head, _, rest = text.partition("\n")
    if said := re.fullmatch(r'"?sep=(.)"?', head.strip("\r ")):
        return rest, said[1], 1
    bare = re.sub(r'"[^"]*"', "", head)
    return text, max(",;\t|", key=bare.count), 0


def number_in(text: object) -> float | None:
    """The number that a cell holds, with a decimal point or a decimal comma ("3,5", "0,875"); None for anything else. "1,000" is a thousand."""
    if isinstance(text, bool) or text is None:
        return None
    if isinstance(text, int | float):
        return float(text) if abs(text) <= sys.float_info.max else None
    plain = str(text).strip().replace("\u2212", "-")
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", plain, flags=re.ASCII):
        return float(plain.replace(",", ""))
    whole = re.fullmatch(r"[+-]?(\d{1,15}([.,]\d{0,40})?|[.,]\d{1,40})(e[+-]?\d{1,2})?", plain, flags=re.ASCII | re.IGNORECASE)
    return float(plain.replace(",", ".")) if whole else None


def uses_decimal_comma(text: object) -> bool:
    """Whether a cell can only be a number with a decimal comma: "1,25", "0,875", not "1,250"."""
    return isinstance(text, str) and bool(re.fullmatch(r"\s*[+-]?(0?,\d+|0,\d*|\d+,(\d{1,2}|\d{4,}))\s*", text, flags=re.ASCII))


def read_workbook(path: Path) -> tuple[dict[str, list[Row]], list[Problem]]:
    """The sheets of an Excel workbook: name -> rows as (row number, {column: value}), empty cells left out; and what is wrong with it.

    Whole numbers are int, dates are texts (ISO 8601). Source: Office Open XML, read by openpyxl.
    """
    if why := _OLD.get(path.suffix.lower()):
        return {}, [Problem(path.name, 0, "", f"is {why}")]
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        return {}, [Problem(path.name, 0, "", f"not a readable Excel workbook ({quoted(error, 80)})")]
    if size > (most := most_unpacked(path.stat().st_size)):
        return {}, [Problem(path.name, 0, "", f"more than {most // 2**20} MB once unpacked")]
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
        sheets, problems = {}, []
        for sheet in book.worksheets:
            sheets[sheet.title], wrong = _sheet_rows(sheet, path.name)
            problems += wrong
        book.close()
    except Exception as error:  # the library raises what its XML and zip layers raise
        return {}, [Problem(path.name, 0, "", f"not a readable Excel workbook ({type(error).__name__}: {quoted(error, 80)})")]
    return sheets, problems


def _sheet_rows(sheet, file: str) -> tuple[list[Row], list[Problem]]:
    """The rows of one sheet; its first row that is not empty names the columns. Columns without a name and a value are left out."""
    rows, names, left = [], None, MOST_CELLS
    sheet.reset_dimensions()  # what a sheet says of its own size need not be true
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        left -= len(cells) + 1
        if left < 0:
            return [], [Problem(file, number, sheet.title, f"more than {MOST_CELLS:,} cells up to here, empty ones counted; delete the empty ones")]
        values = [_cell(value) for value in cells]
        if names is None:
            if any(value is not None for value in values):
                names = [str(value).strip() if value is not None else f"column {place}" for place, value in enumerate(values, start=1)]
                if twice := [name for name, count in Counter(names).items() if count > 1]:
                    return [], [Problem(file, number, quoted(sheet.title)[1:-1], f"the column {quoted(twice[0])} stands there twice")]
            continue
        if any(value is not None for value in values):
            rows.append((number, {name: value for name, value in zip(names, values, strict=False) if value is not None}))
    return rows, []


def _cell(value: object) -> object:
    """A cell's value as JSON could hold it; None for an empty one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float | bool) else value.isoformat() if hasattr(value, "isoformat") else str(value)


def without_header_rows(rows: list[tuple[int, object]]) -> tuple[list[tuple[int, object]], list[int]]:
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
