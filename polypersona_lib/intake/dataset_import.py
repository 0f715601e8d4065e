"""The strict reader of foreign data: a folder with train, validation and test files becomes our three splits, or the import stops.

*Errors always stop*, all of them listed with file, line and field (`reading`: bytes and syntax; `record_fields`: one record; here: ids, splits).
*Faults* stop too unless they are to be neutralised or dropped (`data_faults`). What was mapped is counted in the report. Nothing is written here.
"""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd

from ..errors import InputError, Problem, quoted
from ..files import sha256
from ..prompts import chat
from ..world.dataset import COLUMNS, SPLITS
from .data_faults import MODES, Report, find_faults, import_report, stop_message, treat
from .reading import SUFFIXES, Place, kind_of, read_objects
from .record_fields import canonical, check_record

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation", "test": "test",
}  # fmt: skip
_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant"}
SAFE_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w.-]{0,119}", flags=re.ASCII)  # what may become part of a file name


def _read_file(path: Path) -> tuple[list[dict], Counter, list[Problem]]:
    """The good records of a file (with file, line), its notes, and all its errors in the order of their lines."""
    objects, problems = read_objects(path)
    at, records, ids = Place(quoted(path.name, 80)[1:-1]), [], {}
    for at.line, value in objects:
        before, fields = len(at.errors), canonical(value, at)
        record = None if fields is None else check_record(_with_messages(fields, at), at)
        if record is not None and len(at.errors) == before:
            records.append(record | {"file": at.file, "line": at.line})
            _claim(ids, records[-1], at)
    if not objects and not problems:
        at.line = 0
        at.error("", "no records")
    return records, at.notes, sorted([*problems, *at.errors], key=lambda p: p.line)


def _with_messages(fields: dict, at: Place) -> dict:
    """Fill missing fields from `messages` (Persona:/Domain:/Question:/Options: lines, the assistant's text); fields that are there win."""
    if "messages" not in fields:
        at.note("messages missing: built from the fields")
        return fields
    spoken = _spoken(fields["messages"], at)
    if spoken is None:
        return fields
    told = _prompt_fields(spoken["user"], at) if "user" in spoken else {}
    if "persona" not in told and "system" in spoken:
        told["persona"] = spoken["system"]
    if "assistant" in spoken:
        told["reference"] = spoken["assistant"]
    if isinstance(fields.get("reference"), str) and "reference" in told and told["reference"].strip() != fields["reference"].strip():
        at.note("messages say something else than the fields: the fields are used")
    for name in sorted(told.keys() - fields.keys()):
        at.note(f"{name} taken from messages")
    return told | fields


def _prompt_fields(prompt: str, at: Place) -> dict:
    """The fields of a user message; what stands before the first field name is the question if no line says `Question:`."""
    parts = re.split(r"(?m)^(Persona|Domain|Question|Options):[ \t]*", prompt)
    told = {name.lower(): text.strip() for name, text in reversed(list(zip(parts[1::2], parts[2::2], strict=True)))}
    if "question" in told or parts[0].strip():
        told["question"] = re.sub(r"(?:^|\n)Answer\b[^\n]*$", "", told.get("question", parts[0].strip())).strip()
    if "options" in told:
        told["options"], rest = _listed_options(told["options"])
        if rest and not re.match(r"Answer\b", rest):
            at.note("text after the options of messages left out")
    return told


def _listed_options(text: str) -> tuple[list[str], str]:
    """(labels, what follows them): "A / B" (or "A | B") on one line, else one label a line, up to an empty line or one that begins with "Answer"."""
    lines = [line.strip() for line in text.split("\n")]
    one_line_of = next((mark for mark in (" / ", "|") if mark in lines[0]), None)
    if one_line_of:
        return [o.strip() for o in lines[0].split(one_line_of)], "\n".join(lines[1:]).strip()
    end = next((i for i, line in enumerate(lines) if not line or re.match(r"Answer\b", line)), len(lines))
    return [re.sub(r"^[-*•]\s+", "", line) for line in lines[:end]], "\n".join(lines[end:]).strip()


def _spoken(messages: object, at: Place) -> dict[str, str] | None:
    """role -> text of at most one system, one user and one assistant message, in this order; None (and an error) for any other shape."""
    if not isinstance(messages, list):
        at.error("messages", f"must be a list of messages, not {kind_of(messages)}")
        return None
    spoken: dict[str, str] = {}
    for i, message in enumerate(messages):
        role, content = (message.get("role", message.get("from")), message.get("content", message.get("value"))) if isinstance(message, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            at.error(f"messages[{i}]", "must be an object with the texts 'role' and 'content'")
            return None
        if role.lower() not in _ROLES:
            at.error(f"messages[{i}].role", f"unknown role {quoted(role)}; choose from system, user, assistant")
            return None
        role = _ROLES[role.lower()]
        if [*spoken, role] != [r for r in ("system", "user", "assistant") if r in spoken or r == role]:
            at.error(f"messages[{i}].role", "must be at most one system, one user and one assistant message, in this order")
            return None
        spoken[role] = content
    return spoken


def _claim(ids: dict[str, str], record: dict, at: Place) -> None:
    """Error if another record has this id."""
    if record["id"] is not None and record["id"] in ids:
        at.error("id", f"{quoted(record['id'], 80)} was used before, at {ids[record['id']]}")
    elif record["id"] is not None:
        ids[record["id"]] = f"{record['file']}:{record['line']}"


def find_split_files(folder: str | Path) -> dict[str, Path]:
    """split -> its file in `folder`: train, val/validation/dev, test with one of `SUFFIXES`. Raises InputError for a missing split, or two files for one."""
    folder, files, problems = Path(folder), defaultdict(list), []
    if not folder.is_dir():
        raise InputError(problems=[Problem(quoted(folder.name, 80)[1:-1], 0, "", "must be a folder with files train, validation and test")])
    for path in sorted(folder.iterdir()):
        stem, dot, suffix = path.name.lower().partition(".")
        if stem in SPLIT_NAMES and dot + suffix in SUFFIXES and path.is_file():
            files[SPLIT_NAMES[stem]].append(path)
    for split in SPLITS:
        if not files[split]:
            problems.append(Problem(quoted(folder.name, 80)[1:-1], 0, "", f"no {split} file; expected for example {split}.jsonl ({', '.join(SUFFIXES)})"))
        elif len(files[split]) > 1:
            problems.append(Problem(quoted(folder.name, 80)[1:-1], 0, "", f"several {split} files: {', '.join(p.name for p in files[split])}; keep one"))
    if problems:
        inside = [quoted(p.parent.name) for p in sorted(folder.glob("*/train.*"))] if not any(files.values()) else []
        raise InputError(problems=problems, footer=f"the data are in {' or '.join(inside)} in that folder: name one of them" if inside else "")
    return {split: files[split][0] for split in SPLITS}


def import_dataset(folder: str | Path, faults: str = "stop") -> tuple[dict[str, pd.DataFrame], Report]:
    """Read, check and normalise a folder of foreign data.

    Args:
        folder: see `find_split_files`. faults: "stop", "neutralise" or "drop" (`data_faults.FAULT_KINDS` says what each does).
    Returns: (split -> frame with `dataset.COLUMNS`, the report). `messages` are built anew by `chat.messages`: one prompt for all data.
    Raises: InputError with all errors, or, if faults stop, with all faults; ValueError for an unknown mode.
    """
    if faults not in MODES:
        raise ValueError(f"unknown faults '{faults}'; choose from {', '.join(MODES)}")
    rows, notes = _read_splits(find_split_files(folder))
    listed = find_faults(rows)
    if listed and faults == "stop":
        raise stop_message(listed)
    kept = treat(rows, listed, faults)
    if empty := [s for s in SPLITS if not any(r["split"] == s for r in kept)]:
        raise InputError(problems=[Problem(s, 0, "", "no row is left once the faulty ones are dropped") for s in empty])
    frames = {s: pd.DataFrame([_as_columns(r) for r in kept if r["split"] == s], columns=list(COLUMNS)) for s in SPLITS}
    return frames, import_report(rows, kept, listed, faults, notes)


def _read_splits(files: dict[str, Path]) -> tuple[list[dict], Counter]:
    """All rows, train first, with their split and with safe ids; notes. Raises InputError with the errors of all files."""
    rows, notes, problems, ids = [], Counter(), [], {}
    for split, path in files.items():
        records, mapped, wrong = _read_file(path)
        notes += Counter(mapped)
        across = Place(quoted(path.name, 80)[1:-1])
        for record in records:
            across.line = record["line"]
            _claim(ids, record, across)
            rows.append(record | {"split": split})
        own = {str(p) for p in wrong}
        problems += sorted([*wrong, *(p for p in across.errors if str(p) not in own)], key=lambda p: p.line)
    if problems:
        raise InputError(problems=problems)
    _identify(rows, notes)
    return rows, notes


def _identify(rows: list[dict], notes: Counter) -> None:
    """Give every row a unique safe id, and its persona and question an id that stands for the content: the same card is the same persona."""
    for row in rows:
        card = row["persona"] if isinstance(row["persona"], str) else json.dumps(row["persona"], sort_keys=True, ensure_ascii=False)
        row["persona_key"], row["question_key"] = " ".join(card.split()), " ".join(row["question"].casefold().split())
    for name in ("persona", "question"):
        _name_by_content(rows, f"{name}_id", f"{name}_key", notes)
    taken = {row["id"] for row in rows}
    for row in rows:
        if row["id"] is None:
            notes["id missing: made from split and line"] += 1
            row["id"] = f"{row['split']}-{row['line']}"
            while row["id"] in taken:
                row["id"] += "x"
            taken.add(row["id"])
        row["id"] = _safe(row["id"], "id", notes)


def _name_by_content(rows: list[dict], name: str, key: str, notes: Counter) -> None:
    """Keep the given ids if each stands for one content (several people may have the same card; a question has one id), else make them from it."""
    ids, contents = defaultdict(set), defaultdict(set)
    for row in rows:
        ids[row[key]].add(row[name])
        contents[row[name]].add(row[key])
    several = sum(len(s) - 1 for s in ids.values())
    if None not in contents and all(len(s) == 1 for s in contents.values()) and (not several or name == "persona_id"):
        if several:
            notes["persona_id kept though another one has the same card"] += several
        for row in rows:
            row[name] = _safe(row[name], name, notes)
        return
    what = "missing" if set(contents) == {None} else f"not one to one with the content ({len(contents):,} ids, {len(ids):,} contents)"
    notes[f"{name} {what}: made from the content"] += len(rows)
    for row in rows:
        row[name] = name[0] + sha256(row[key])[:12]


def _safe(given: str, name: str, notes: Counter) -> str:
    """`given` if it can stand in a file name, else a readable part of it with a hash."""
    if SAFE_ID.fullmatch(given):
        return given
    notes[f"{name} with unsafe characters rewritten"] += 1
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', given).strip('-')[:40] or name}-{sha256(given)[:12]}"


def _as_columns(row: dict) -> dict:
    """A row of the finished frame."""
    meta = {name: row[name] for name in ("persona_id", "question_id", "options")} | {"source_file": row["file"], "source_line": row["line"]}
    texts = {"persona": json.dumps(row["persona"], ensure_ascii=False), "meta": json.dumps(meta, ensure_ascii=False)}
    messages = chat.messages(row["persona"], row["domain_name"], row["question"], row["options"], row["reference"])
    return {name: row[name] for name in ("id", "domain", "question", "question_type", "reference")} | texts | {"messages": messages}
