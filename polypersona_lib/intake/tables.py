"""Tables: CSV, TSV and TXT with any of four delimiters, and the sheets of an Excel workbook. The first row names the columns.

Nothing in a file is believed: a workbook is a zip file whose unpacked size is looked at first, and its formulas give the values that were stored.
"""

import csv
import io
import re
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..errors import Problem, quoted
from ..files import MOST_ROWS, most_unpacked
from .reading import read_objects, read_text, too_many_rows

TEXT_TABLES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
WORKBOOKS = (".xlsx", ".xlsm")
_OLD = {".xls": "an old Excel file; save it as .xlsx", ".ods": "an OpenDocument sheet; save it as .xlsx or .csv"}
MOST_CELLS = 20_000_000  # of a sheet: one cell at its far corner makes 17 billion
_MERGED = re.compile(r'<mergeCell\b[^<>]{0,200}\bref="([A-Z]{1,3}\d{1,7}:[A-Z]{1,3}\d{1,7})"')
_UNSTORED = re.compile(
    r'<c\b(?![^<>]{0,200}\bt="str")[^<>]{0,200}\br="([A-Z]{1,3}\d{1,7})"[^<>]{0,200}>'
    r"\s{0,99}<f\b[^<>]{0,200}(?:/>|>[^<]{0,9000}</f>)\s{0,99}(?:<v\s?/>|<v></v>)?\s{0,99}</c>"
)
Row = tuple[int, dict]


@dataclass(frozen=True)
class BookSheet:
    """A sheet: rows as (row number, {column: value}), empty cells left out; and what is wrong with it."""

    rows: list[Row]
    problems: list[Problem]


def read_rows(path: Path) -> tuple[list[tuple[int, object]], list[Problem]]:
    """Every record of a file as (line, object), and what is wrong with it: `TEXT_TABLES`, the first visible sheet of `WORKBOOKS`, else as `read_objects`."""
    name = path.name.lower()
    if name.endswith(TEXT_TABLES):
        return _read_text_table(path)
    if name.endswith((*WORKBOOKS, *_OLD)):
        sheets, problems = read_workbook(path)
        first = next(iter(sheets.values()), BookSheet([], []))
        return first.rows, problems + first.problems
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


def delimiter_of(path: Path) -> str:
    """What stands between the cells of a table that `read_rows` has read; "" for any other file."""
    return _delimiter(read_text(path)[0])[1] if path.name.lower().endswith(TEXT_TABLES) else ""


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


def read_workbook(path: Path) -> tuple[dict[str, BookSheet], list[Problem]]:
    """The sheets of an Excel workbook by name, visible ones first, and why it cannot be read.

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
        with zipfile.ZipFile(path) as packed:
            sheets = {sheet.title: _sheet(sheet, packed.read(sheet._worksheet_path.lstrip("/")), path.name) for sheet in _in_order(book)}
        book.close()
    except Exception as error:  # the library raises what its XML and zip layers raise
        return {}, [Problem(path.name, 0, "", f"not a readable Excel workbook ({type(error).__name__}: {quoted(error, 80)})")]
    return sheets, []


def sheets_not_used(path: Path) -> dict[str, str]:
    """The sheets that `read_rows` does not read -> why, of a workbook that it has read; {} for any other file."""
    if not path.name.lower().endswith(WORKBOOKS):
        return {}
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, keep_links=False)
    first, *others = [sheet.title for sheet in _in_order(book)]
    book.close()
    return {f"sheet {title}": f"only the first visible sheet is read, {quoted(first)}" for title in others}


def _in_order(book) -> list:
    """The sheets of an opened workbook, visible ones first."""
    return sorted(book.worksheets, key=lambda sheet: sheet.sheet_state != "visible")


def _sheet(sheet, xml: bytes, file: str) -> BookSheet:
    """One sheet; its first row that is not empty names the columns. Columns without a name and a value are left out, cells merged downwards are filled.

    Errors: a cell right of the last name, a formula without a stored value, cells that are merged sideways below the names.
    """
    rows, names, left, title = [], None, MOST_CELLS, quoted(sheet.title)[1:-1]
    markup = xml.decode("latin-1")  # names of cells are ASCII; other text is not looked at
    merged = sorted((_corners(ref) for ref in _MERGED.findall(markup)), reverse=True)  # the topmost last
    open_ranges: dict[int, tuple] = {}  # column -> the last row of the range that is open there, its value
    unstored = _UNSTORED.findall(markup)
    problems = [Problem(file, 0, title, f"the formula in {cell} has no stored value; open the file in Excel and save it") for cell in unstored[:20]]
    sheet.reset_dimensions()  # what a sheet says of its own size need not be true
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        left -= len(cells) + 1
        if left < 0:
            return BookSheet([], [Problem(file, number, title, f"more than {MOST_CELLS:,} cells up to here, empty ones counted; delete the empty ones")])
        values = [_cell(value) for value in cells]
        if names is None:
            if any(value is not None for value in values):
                names = [str(value).strip() if value is not None else f"column {place}" for place, value in enumerate(values, start=1)]
                if twice := [name for name, count in Counter(names).items() if count > 1]:
                    return BookSheet([], [Problem(file, number, title, f"the column {quoted(twice[0])} stands there twice")])
                merged = [area for area in merged if area[0] > number]
            continue
        problems += _filled(values, number, merged, open_ranges, file, title)
        left -= len(values) - len(cells)
        if any(value is not None for value in values[len(names) :]):
            problems.append(Problem(file, number, title, f"{len(values)} cells but {len(names)} columns; give every column a name in the first row"))
        elif any(value is not None for value in values):
            rows.append((number, {name: value for name, value in zip(names, values, strict=False) if value is not None}))
    return BookSheet(rows, problems)


def _corners(ref: str) -> tuple[int, int, int, int]:
    """(first row, last row, first column, last column) of a range such as "B2:B5"."""
    from openpyxl.utils import range_boundaries

    first_column, first_row, last_column, last_row = range_boundaries(ref)
    return first_row, last_row, first_column, last_column


def _filled(values: list, number: int, merged: list, open_ranges: dict[int, tuple], file: str, title: str) -> list[Problem]:
    """Put the value of cells that are merged downwards into `values`, the row `number`, if it holds anything; ranges over several columns are errors."""
    problems, empty = [], all(value is None for value in values)
    while merged and merged[-1][0] <= number:
        first, last, column, last_column = merged.pop()
        if column != last_column:
            problems.append(Problem(file, number, title, f"rows {first} to {last}: {last_column - column + 1} columns are merged into one cell; unmerge them"))
        elif first == number and column <= len(values):
            open_ranges[column - 1] = last, values[column - 1]
    for column, (last, value) in () if empty else open_ranges.items():
        if last >= number:
            values += [None] * (column + 1 - len(values))
            values[column] = value
    return problems


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
