"""A questionnaire from any file that we read: CSV, TSV, JSON lines, JSON, Parquet, an Excel table, an XLSForm, a Qualtrics survey,
LimeSurvey's tab-separated structure.

All of them end in `question_rows.items_of`. Errors are listed with file, place and field; what is not used is named; what was recognised is counted.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError, Problem, quoted, safe_line
from ..files import file_hash, parse_json
from .limesurvey import is_limesurvey, limesurvey_rows
from .qsf import read_qsf
from .question_rows import ITEM_FIELDS, check_map, field_name, items_of, mapped, there
from .reading import Pairs, Place, kind_of, read_text, slug_of
from .record_fields import renamed
from .survey_format import FORMAT, Questionnaire
from .tables import WORKBOOKS, BookSheet, header_rows_note, read_rows, read_workbook, sheets_not_used, without_header_rows
from .xlsform import is_xlsform, xlsform_rows

_ELSEWHERE = {".lss": "a LimeSurvey structure file", ".lsq": "a LimeSurvey question", ".docx": "a text document", ".pdf": "a PDF", ".sav": "an SPSS file"}
MOST_ITEMS = 2_000


def read_questionnaire(path: str | Path, *, mapping: Mapping[str, str] | None = None) -> Questionnaire:
    """Read a questionnaire.

    Args: mapping: of `parse_map`. Returns: items in the order of the file; `not_used` and `notes` say what was left out and what was recognised.
    Raises: InputError that lists every error with its place.
    """
    path, at = Path(path), Place(Path(path).name)
    if not path.is_file():
        raise InputError(f"{safe_line(path)}: " + ("is a folder; name the questionnaire's file" if path.is_dir() else "no such file"))
    if why := _ELSEWHERE.get(path.suffix.lower()):
        way = "write its questions into a table (.csv, .xlsx) with the columns text and options"
        way = "export the survey as tab-separated values (.txt)" if "LimeSurvey" in why else way
        raise InputError(f"{safe_line(path.name)}: is {why}; {way}")
    title, rows, not_used = _rows(path, at, mapping or {})
    items = items_of(rows[:MOST_ITEMS], at) if not at.errors or rows else []
    if len(rows) > MOST_ITEMS:
        at.error("", f"{len(rows):,} questions; at most {MOST_ITEMS:,}")
    if not items and not at.errors:
        at.line = 0
        at.error("", "holds no questions" + (f" (not used: {', '.join(map(quoted, list(not_used)[:6]))})" if not_used else ""))
    if at.errors:
        raise InputError(problems=at.errors)
    return Questionnaire(
        title=title or path.stem, items=tuple(items), source=path.name, sha256=file_hash(path), not_used=tuple(not_used.items()), notes=tuple(at.notes.items())
    )


def _rows(path: Path, at: Place, mapping: Mapping[str, str]) -> tuple[str, list, dict[str, str]]:
    """(title, rows with our field names, what is not used -> why) of any format; errors stand in `at`."""
    suffix = path.suffix.lower()
    if suffix in WORKBOOKS:
        sheets, problems = read_workbook(path)
        at.errors += problems
        if is_xlsform(sheets):
            at.file = f"{path.name}, sheet survey"
            return xlsform_rows(sheets, at)
        first = next(iter(sheets.values()), BookSheet([], []))
        at.errors += first.problems
        unread = sheets_not_used(path) if sheets else {}
        read, not_used = _table(first.rows, at, mapping, f"; only the first sheet is read, not {', '.join(map(safe_line, unread))[:80]}" if unread else "")
        return "", read, unread | not_used
    if suffix in (".qsf", ".json"):
        text, problem = read_text(path)
        if problem:
            at.errors.append(problem)
            return "", [], {}
        return read_qsf(text, at) if suffix == ".qsf" else _json(text, path, at, mapping)
    rows, problems = read_rows(path)
    at.errors += problems
    if is_limesurvey(rows):
        return limesurvey_rows(rows, at)
    return "", *_table(rows, at, mapping)


def _json(text: str, path: Path, at: Place, mapping: Mapping[str, str]) -> tuple[str, list, dict[str, str]]:
    """A JSON file: `questionnaire.json`, an object with `items` or `questions`, a Qualtrics survey, or a list of questions."""
    if text.lstrip()[:1] == "[":
        rows, problems = read_rows(path)
        at.errors += problems
        return "", *_table(rows, at, mapping)
    try:
        value = parse_json(text, pairs=Pairs)
    except ValueError as error:
        lines = read_rows(path)
        if lines[0] and not lines[1]:
            return "", *_table(lines[0], at, mapping)
        where = f"line {error.lineno}, column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else quoted(error, 80)
        at.errors.append(Problem(path.name, 0, "", f"broken JSON ({where})"))
        return "", [], {}
    if not isinstance(value, dict):
        at.error("", f"must be an object or a list, not {kind_of(value)}")
        return "", [], {}
    if "SurveyElements" in value:
        return read_qsf(text, at)
    listed = value.get("items", value.get("questions"))
    if value.get("format", FORMAT) != FORMAT:
        at.error("format", f"{quoted(value['format'])}; this version reads {FORMAT}")
    if not isinstance(listed, list):
        at.error("items", "missing: the file needs a list of questions called items")
        return "", [], {}
    rows, not_used = _table([(f"item {place}", row) for place, row in enumerate(listed, start=1)], at, mapping)
    said = value.get("not_used") if isinstance(value.get("not_used"), dict) else {}
    return str(value.get("title") or ""), rows, {**{str(k): str(v) for k, v in said.items()}, **not_used}


def _table(rows: list, at: Place, mapping: Mapping[str, str], unread: str = "") -> tuple[list[tuple[int, dict]], dict[str, str]]:
    """Rows of any columns under our names, and the columns that are not used."""
    rows, header_lines = without_header_rows(rows)
    if header_lines:
        at.note(header_rows_note(header_lines))
    bad = [line for line, row in rows if not isinstance(row, dict)]
    for at.line in bad[:20]:
        at.error("", "a question must be an object")
    columns = list(dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row))
    check_map(mapping, columns) if columns else None
    names = _column_names([c for c in columns if c not in mapping])
    if columns and "text" not in (*names.values(), *mapping.values()):
        at.line = 1
        at.error(
            "text",
            f"no column holds the wording; it may be called {', '.join(('text', *ITEM_FIELDS['text']))}, or use --map theirs=text ({there(columns)}){unread}",
        )
        return [], {}
    read = []
    for at.line, row in rows:
        if isinstance(row, dict):
            read.append((at.line, renamed(mapped(row, mapping), names, at, "")))
    unused = {f"column {c}": "no column that is read" for c in columns if c not in mapping and slug_of(c) not in names and not _is_option(c)}
    return ([] if bad else read), unused


def _column_names(columns: Sequence[str]) -> dict[str, str]:
    """Slug of a column -> our name. A column `item` is the wording if no other column is, else the id."""
    names = {slug_of(c): field_name(c) for c in columns if field_name(c)}
    if "item" in map(slug_of, columns):
        names["item"] = "id" if "text" in names.values() else "text"
    return names


def _is_option(column: str) -> bool:
    """Whether a column holds one option ("option_3"), as `question_rows` reads them."""
    head, _, number = slug_of(column).rpartition("_")
    joined = slug_of(column).rstrip("0123456789")
    return (head in ("option", "choice", "answer", "response") and number.isdigit()) or (
        joined in ("option", "choice", "answer", "response") and joined != slug_of(column)
    )
