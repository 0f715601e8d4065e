"""Faults of a foreign data set: what can be read but would spoil a study, where it is, and what `neutralise` and `drop` do about it.

Faults are judged on the data as read, before anything is dropped; one row can have several.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from ..errors import MAX_SHOWN, InputError, quoted
from ..prompts import chat
from ..scoring.option_labels import read_option
from ..world.questions import SCALES

_EXAMPLES = 5
MIN_REPEATED_WORDS = 5  # a shorter answer ("Yes, I do.") may well be two people's own

FAULT_KINDS = {  # kind -> (what it is, what `neutralise` does, what `drop` does)
    "control_text": ("chat markers in persona, question, answer, domain or options", "markers lose their brackets", "row removed"),
    "empty_answer": ("answer without any text", "row removed: nothing to train on or to score", "row removed"),
    "copied_row": ("same persona, question and answer as an earlier row", "kept and counted", "the later row removed"),
    "repeated_answer": (f"another persona's words ({MIN_REPEATED_WORDS} or more) to the same question", "kept and counted", "the later row removed"),
    "leaked_pair": ("validation or test row whose persona-question pair is in train", "kept and counted", "removed from validation or test, never from train"),
    "unlabelled_scale": ("Likert or agreement answer that names no step of its scale", "kept and counted", "row removed"),
}
MODES = ("stop", "neutralise", "drop")


@dataclass(frozen=True)
class Fault:
    """One fault of one row; `row` is its index in the list that was searched."""

    kind: str
    split: str
    file: str
    line: int
    field: str
    detail: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.field}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class Report:
    """What an import found and did.

    Attributes:
        mode: stop, neutralise or drop. files: split -> file name. read, kept: split -> rows. faults: kind -> split -> rows that have it.
        examples: kind -> the first positions. notes: what was mapped or made up -> how often.
    """

    mode: str
    files: dict[str, str]
    read: dict[str, int]
    kept: dict[str, int]
    faults: dict[str, dict[str, int]]
    examples: dict[str, list[str]]
    notes: dict[str, int]

    def total(self, kind: str) -> int:
        """Rows of all splits with this kind of fault."""
        return sum(self.faults[kind].values())

    def treatment(self, kind: str) -> str:
        """What this import did about a kind of fault."""
        return FAULT_KINDS[kind][MODES.index(self.mode)] if self.mode != "stop" else "none found, or the import would have stopped"

    def to_dict(self) -> dict:
        """Plain values for JSON; every kind of fault is there, with zeros."""
        counts = {
            kind: {
                "rows": self.total(kind), "by_split": self.faults[kind], "what": FAULT_KINDS[kind][0], "treatment": self.treatment(kind),
                "examples": self.examples[kind],
            }
            for kind in FAULT_KINDS
        }  # fmt: skip
        return {"faults_mode": self.mode, "files": self.files, "rows_read": self.read, "rows_kept": self.kept, "faults": counts, "notes": self.notes}


_LEAD = r"^\W*(?:(?:likert|scale|answer|rating|response|option|score)\b[\W_]*)*"
_LABELS = "|".join(sorted({re.escape(label) for scale, labels in SCALES.items() if scale != "yesno" for label in labels}, key=lambda s: (-len(s), s)))
_LABEL = re.compile(
    rf"{_LEAD}(?:(?:i|i'm|i am|somewhat|mostly|generally|completely|totally|definitely|quite|pretty|fairly)\s+)*(?:{_LABELS})\b"  # opens with a label
    r"|\b(?:dis)?agree(?:d|s)?\b|\bneutral\b|\b(?:dis|un)?satisfied\b"  # or has an unmistakable one anywhere
    rf"|{_LEAD}(?:10|\d)\b(?![.,]?\d|\s*(?:%|percent|years?|months?|weeks?|days?|hours?|times?|of (?:my|the|our|us)\b))"  # or opens with a rating
    r"|\b(?:10|\d)\s*(?:/|out of)\s*(?:5|7|10)\b",
    flags=re.IGNORECASE,
)


def has_label(answer: str, options: list[str] | None) -> bool:
    """True if an answer to a scale item says which step it takes: one of its own `options`, as `score` reads it; without options, any usual label or rating."""
    return read_option(answer, options) is not None if options else bool(_LABEL.search(answer))


def find_faults(rows: list[dict]) -> list[Fault]:
    """All faults of the rows of all splits (train first: of two copies the later one is at fault). `rows`: as `dataset_import` makes them."""
    pairs = {(r["persona_key"], r["question_key"]): f"{r['file']}:{r['line']}" for r in reversed(rows) if r["split"] == "train"}
    copies: dict[tuple, str] = {}
    answers: dict[tuple, str] = {}
    faults = []
    for i, row in enumerate(rows):

        def add(kind: str, place: str, detail: str, row: dict = row, i: int = i) -> None:
            faults.append(Fault(kind, row["split"], row["file"], row["line"], place, detail, i))

        here = f"{row['file']}:{row['line']}"
        for place, text in _texts(row):
            for position, marker in chat.find_control_text(text):
                add("control_text", place, f"{quoted(marker)} at position {position + 1}")
        pair, said = (row["persona_key"], row["question_key"]), " ".join(row["reference"].split())
        if not said:
            add("empty_answer", "reference", "no text")
        elif (*pair, said) in copies:
            add("copied_row", "reference", f"copy of {copies[*pair, said]}")
        elif (row["question_key"], said) in answers and len(said.split()) >= MIN_REPEATED_WORDS:
            add("repeated_answer", "reference", f"same words as {answers[row['question_key'], said]}")
        copies.setdefault((*pair, said), here)
        answers.setdefault((row["question_key"], said), here)
        if row["split"] != "train" and pair in pairs:
            add("leaked_pair", "persona", f"same persona and question as {pairs[pair]}")
        if said and row["question_type"] in ("likert", "agreement") and not has_label(said, row["options"]):
            add("unlabelled_scale", "reference", f"no scale label in {quoted(said)}")
    return faults


def _texts(row: dict) -> list[tuple[str, str]]:
    """(field, text) of everything in a row that reaches a prompt or an answer."""
    texts = [("question", row["question"]), ("reference", row["reference"]), ("domain", row["domain_name"])]
    texts += [(f"options[{i}]", option) for i, option in enumerate(row["options"] or [])]
    card = row["persona"]
    if isinstance(card, str):
        return [("persona", card), *texts]
    return [(f"persona.{k}", str(v)) for k, value in card.items() for v in (value if isinstance(value, list) else [value])] + texts


def stop_message(faults: list[Fault]) -> InputError:
    """The error that stops an import: how many of each kind, then positions of every kind (`MAX_SHOWN` in all)."""
    by_kind = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault)
    counts = ", ".join(f"{len({f.row for f in group})} x {kind}" for kind, group in by_kind.items())
    share = max(1, MAX_SHOWN // len(by_kind))
    first = [f for group in by_kind.values() for f in group[:share]]
    shown = set(map(id, first))
    header = f"the data have faults (rows: {counts}); nothing was written"
    footer = "use --faults neutralise to defuse and count them, or --faults drop to remove these rows"
    return InputError(header, problems=[*first, *(f for f in faults if id(f) not in shown)], footer=footer)


def treat(rows: list[dict], faults: list[Fault], mode: str) -> list[dict]:
    """The rows that stay, with control text made harmless (`neutralise`), or without the rows at fault (`drop`)."""
    gone = {f.row for f in faults if mode == "drop" or f.kind == "empty_answer"}
    marked = {f.row for f in faults if f.kind == "control_text"}
    return [_defused(row) if i in marked else row for i, row in enumerate(rows) if i not in gone]


def _defused(row: dict) -> dict:
    def calm(value):
        if isinstance(value, list):
            return [calm(v) for v in value]
        return chat.neutralise(value) if isinstance(value, str) else value

    persona = row["persona"]
    persona = {k: calm(v) for k, v in persona.items()} if isinstance(persona, dict) else calm(persona)
    return row | {"persona": persona} | {k: calm(row[k]) for k in ("question", "reference", "domain_name", "options")}


def import_report(rows: list[dict], kept: list[dict], faults: list[Fault], mode: str, notes: Counter) -> Report:
    """What an import found and did."""
    read, stayed = Counter(r["split"] for r in rows), Counter(r["split"] for r in kept)
    faulty = Counter((kind, split) for kind, split, _ in {(f.kind, f.split, f.row) for f in faults})
    return Report(
        mode=mode,
        files={r["split"]: r["file"] for r in rows},
        read=dict(read),
        kept={split: stayed[split] for split in read},
        faults={kind: {split: faulty[kind, split] for split in read} for kind in FAULT_KINDS},
        examples={kind: [str(f) for f in faults if f.kind == kind][:_EXAMPLES] for kind in FAULT_KINDS},
        notes=dict(sorted(notes.items())),
    )
