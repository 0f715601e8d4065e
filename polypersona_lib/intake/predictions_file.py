"""Anyone's predictions into one frame: JSON lines, a JSON array (both also gzipped), Parquet, or a table (CSV or TSV) whose first line names the columns.

Nothing is guessed and nothing is dropped in silence: what is wrong is listed with file, line and field, and columns that are not used are named.
"""

import difflib
import json
import math
from collections import Counter
from pathlib import Path

import pandas as pd

from ..errors import InputError, quoted, safe_line
from ..files import parse_json
from ..prompts.chat import render_card
from .reading import MAYBE_ANSWERS, Place, says_missing, slug_of
from .record_fields import CARD_NAMES, read_persona
from .tables import header_rows_note, read_rows, without_header_rows

REQUIRED = ("id", "prediction", "reference")
TEXT_FIELDS = ("persona_id", "domain", "question", "question_id", "question_type", "status")
_NOT_OF_A_PERSON = {"description", "summary", "bio", "values", "location", "area"}  # columns of these names need not be about the person
_COLUMNS = (*REQUIRED, "persona", *TEXT_FIELDS, "options")
CHOICES = {"question_type": ("open", "likert", "yesno", "agreement"), "status": ("ok", "failed")}
ALSO_CALLED = {  # what other tools call our columns: for the hint alone
    "id": ("index", "row", "uid", "key", "row_id", "example_id"),
    "prediction": ("output", "response", "answer", "generated", "generation", "generated_text", "model_output", "hypothesis"),
    "reference": ("gold", "target", "label", "truth", "expected", "human", "ground_truth", "reference_answer"),
}
MAX_ERRORS = 20


def _text(value):
    """Whole numbers as text (ids and answer codes often are numbers), NaN as nothing; everything else as it is."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(int(value)) if type(value) is int or (isinstance(value, float) and value.is_integer()) else value


def _unpacked(row: dict) -> dict:
    """`row` with whole numbers as text; options and persona, which a table can hold as text only, as list and object."""
    row = {k: _text(v) for k, v in row.items()}
    options, card = row.get("options"), row.get("persona")
    if isinstance(options, str) and options.strip():
        row["options"] = _json(options, list) or [part.strip() for part in options.split("|")]
    elif isinstance(options, list):
        row["options"] = [_text(o) for o in options]
    if isinstance(card, str):
        row["persona"] = _json(card, dict) or card
    return row


def _json(text: str, kind: type):
    """`text` read as JSON if that gives a `kind`, else None."""
    try:
        value = parse_json(text) if text.strip()[:1] in "[{" else None
    except ValueError:
        return None
    return value if isinstance(value, kind) else None


def _kind(value) -> str:
    """What a value is, in words, for a message."""
    names = {type(None): "nothing", bool: "true or false", dict: "an object", list: "a list", str: "text"}
    return f"the number {value}" if isinstance(value, float) else names.get(type(value), type(value).__name__)


def _field_errors(row: dict) -> list[str]:
    """What is wrong with one row, as `field: what` texts."""
    errors = [f"{name}: missing" for name in REQUIRED if name not in row]
    failed = row.get("status") == "failed"
    for name in ("id", "prediction", "reference", *TEXT_FIELDS):
        value = row.get(name)
        if name not in row or (value is None and (name in TEXT_FIELDS or (name == "prediction" and failed))):
            continue
        if not isinstance(value, str):
            errors.append(f"{name}: expected text, found {_kind(value)}" + "; leave out rows without an own answer" * (name == "reference" and value is None))
        elif name in ("id", "reference") and not value.strip():
            errors.append(f"{name}: empty" + "; leave out rows without an own answer" * (name == "reference"))
        elif name in CHOICES and value not in CHOICES[name]:
            near = difflib.get_close_matches(value.lower(), CHOICES[name], n=1, cutoff=0.5)
            errors.append(f"{name}: unknown {quoted(value)}" + (f", did you mean '{near[0]}'?" if near else f"; choose from {', '.join(CHOICES[name])}"))
    if not isinstance(row.get("persona", ""), str | dict | None):
        errors.append(f"persona: expected text or an object, found {_kind(row['persona'])}")
    options = row.get("options")
    if options is not None and not (
        isinstance(options, list) and all(isinstance(o, str) and o.strip() for o in options) and len(set(options)) == len(options) > 1
    ):
        errors.append('options: expected two or more different texts, as ["No", "Yes"] or "No|Yes"')
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        errors.append("not text: an escape such as \\ud800 is half of a character")
    return errors


def _hint(name: str, columns: list[str]) -> str:
    """Which of `columns` may be meant by the missing column `name`, and what there is."""
    folded = {c.strip().lower(): c for c in columns}
    near = [folded[c] for c in (name, f"{name}s", *ALSO_CALLED[name]) if c in folded] or [folded[c] for c in difflib.get_close_matches(name, folded, n=1)]
    there = ", ".join(quoted(c) for c in columns[:12]) + (", …" if len(columns) > 12 else "")
    return (f"; is it the column {quoted(near[0])}?" if near else "") + f" (columns there: {there})"


def _listed(path, problems: list[tuple[int, str]], rows: list[dict]) -> str:
    """The errors as text: the same one in many lines once, with their number; what is missing everywhere with a hint."""
    lines: dict[str, list[int]] = {}
    for line, what in problems:
        lines.setdefault(what, []).append(line)
    columns, shown = list(dict.fromkeys(k for row in rows for k in row)), []
    for what, where in lines.items():
        name = what.partition(":")[0]
        text = f"{safe_line(path)}: " + (f"line {where[0]}: " if where[0] else "") + safe_line(what)
        if what.endswith(": missing") and len(where) == len(rows):
            text = f"{safe_line(path)}: {what} in every row" + _hint(name, columns)
        elif len(where) > 1:
            text += f" (and {len(where) - 1} more {'line' if len(where) == 2 else 'lines'})"
        shown.append(text)
    more = [f"{safe_line(path)}: {len(shown) - MAX_ERRORS} more errors"] if len(shown) > MAX_ERRORS else []
    return "\n".join(shown[:MAX_ERRORS] + more)


def _objects(path: Path) -> tuple[list[tuple[int, object]], list[tuple[int, str]]]:
    """Everything in the file as (line, object), and what is wrong with its bytes or syntax as (line, text). Raises InputError if it is no data at all."""
    try:
        with path.open("rb") as file:
            first = file.read(1)
        rows, problems = read_rows(path)
    except OSError as error:
        raise InputError(f"{safe_line(path)}: {error.strerror or error}") from None
    if not rows and len(problems) > 1 and first not in (b"{", b""):
        raise InputError(
            f"{safe_line(path)}: no JSON in line {problems[0].line}; expected one JSON object a line, one JSON array, or a table named .csv or .tsv"
        )
    if not rows and len(problems) > 1:
        where = f"{safe_line(path)}: line {problems[0].line}: {problems[0].message}"
        raise InputError(f"{where}; is one object spread over several lines? (expected: one a line, or an array)")
    return rows, [(p.line, p.message) for p in problems]


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read one file of predictions. Raises InputError that lists every error (at most 20) with file, line and field.

    Returns: the given columns; whole numbers become text, a blank prediction gets status "failed", a persona (text, object, attributes in columns) its card.
        `attrs["unused"]`: the names of columns that the file has and the scores do not use. `attrs["notes"]`: what was mapped or left out -> how often.
    """
    objects, errors = _objects(Path(path))
    objects, header_lines = without_header_rows(objects)
    rows, seen, at = [], {}, Place(str(path))
    if header_lines:
        at.notes[header_rows_note(header_lines)] += 1
    for at.line, row in objects:
        if not isinstance(row, dict):
            errors.append((at.line, f"expected an object, found {_kind(row)}"))
            continue
        twice = [f"{name}: stands there twice" for name in getattr(row, "twice", ())]
        row = _without_missing_words(_unpacked(row), at)
        errors += [(at.line, what) for what in twice + _field_errors(row)]
        if "id" in row and (first := seen.setdefault(str(row["id"]), at.line)) != at.line:
            errors.append((at.line, f"id: {quoted(row['id'])} is already in line {first}"))
        rows.append(_with_card(row, at))
    errors += [(p.line, f"{p.field}: {p.message}") for p in at.errors]
    if errors:
        raise InputError(_listed(path, errors, rows))
    if not rows:
        raise InputError(f"{safe_line(path)}: holds no rows")
    return _frame(rows, at.notes)


def _frame(rows: list[dict], notes: Counter) -> pd.DataFrame:
    """The frame that `read_predictions` returns."""
    names = [n for n in _COLUMNS if any(row.get(n) is not None for row in rows)]
    frame = pd.DataFrame({n: pd.Series([row.get(n) for row in rows], dtype=object) for n in dict.fromkeys([*REQUIRED, *names])})
    frame["prediction"] = frame["prediction"].map(lambda p: p or "")
    frame["status"] = [
        ("failed" if s == "failed" or not p.strip() else "ok") for s, p in zip(frame.get("status", [None] * len(frame)), frame["prediction"], strict=True)
    ]
    if "persona" in frame:
        frame["persona"] = frame["persona"].map(lambda p: render_card(p) if p else None)
    frame.attrs["unused"] = [c for c in dict.fromkeys(k for row in rows for k in row) if c not in _COLUMNS]
    frame.attrs["notes"] = dict(notes)
    return frame


def _without_missing_words(row: dict, at: Place) -> dict:
    """`row` without texts such as "nan" that stand for a missing value; each kind is noted. `MAYBE_ANSWERS` stay, and so does any option's label."""
    options = row["options"] if isinstance(row.get("options"), list) else ()
    for name in [n for n in _COLUMNS if n not in ("id", "options") and says_missing(row.get(n))]:
        word, answer = row[name].strip(), name in ("prediction", "reference")
        if answer and word in options:
            continue
        if answer and word in MAYBE_ANSWERS:
            at.note(f"{name} {quoted(word)} scored as an answer (if it is a missing one, leave it empty)")
        else:
            at.note(f"{name} {quoted(word)} read as missing" + (": a failed generation" if name == "prediction" else ""))
            row[name] = "" if answer else None
    return row


def _with_card(row: dict, at: Place) -> dict:
    """`row` with its persona object under our names; attributes of the person that have columns of their own go into the card, unless it has no persona."""
    beside = {k: row[k] for k in row if k not in _COLUMNS and slug_of(k) in CARD_NAMES - _NOT_OF_A_PERSON and row[k] not in (None, "")}
    if not isinstance(row.get("persona"), dict) and not (beside and isinstance(row.get("persona"), str | None)):
        return row
    card = read_persona(row.get("persona"), beside, at)
    return {k: v for k, v in row.items() if k not in beside} | {"persona": card}


def unused(frame: pd.DataFrame) -> list[str]:
    """The columns that are not used, each with the one that may be meant if the name is nearly ours and ours is lacking."""
    names = []
    for name in frame.attrs.get("unused", []):
        near = difflib.get_close_matches(name.strip().lower(), [c for c in _COLUMNS if c not in frame], n=1, cutoff=0.75)
        names.append(quoted(name) + (f" (did you mean {near[0]}?)" if near else ""))
    return names
