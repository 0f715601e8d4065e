"""Foreign data for the tests of the strict reader: good records, and folders of them."""

from __future__ import annotations

import json
from pathlib import Path

from polypersona_lib.errors import InputError
from polypersona_lib.intake import dataset_import

CARD = {"age": 34, "gender": "woman", "occupation": "nurse", "education": "bachelor's degree", "region": "Ohio", "values": ["kindness", "security"]}
QUESTIONS = [("How do you plan a week?", "open"), ("I trust my doctor.", "likert"), ("Do you own a car?", "yesno"), ("Taxes should be lower.", "agreement")]
ANSWERS = {
    "open": "I write a list on Sunday night and then I keep to it.", "likert": "Agree. She listens to me.", "yesno": "Yes, an old one.",
    "agreement": "Disagree, we need the schools.",
}  # fmt: skip


def record(number: int = 0, **changes) -> dict:
    """A good record; a change to `...` takes the field away."""
    question, kind = QUESTIONS[number % 4]
    found = {
        "id": f"r{number}", "persona": CARD | {"age": 20 + number % 90}, "domain": "healthcare", "question": question, "question_type": kind,
        "reference": f"{ANSWERS[kind]} My number is {number}.",
    } | changes  # fmt: skip
    return {k: v for k, v in found.items() if v is not ...}


def lines(records: list) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in records)


def folder(root: Path, train: list | None = None, validation: list | None = None, test: list | None = None) -> Path:
    """A data folder; splits not given are good."""
    given = {"train": train, "validation": validation, "test": test}
    for i, (split, records) in enumerate(given.items()):
        (root / f"{split}.jsonl").write_text(lines([record(i * 40 + n) for n in range(4)] if records is None else records), encoding="utf-8")
    return root


def read_records(path: Path) -> tuple[list[dict], dict[str, int]]:
    """The checked records of one file and what was mapped (note -> how often). Raises InputError with every error of the file."""
    records, notes, problems = dataset_import._read_file(path)
    if problems:
        raise InputError(problems=problems)
    return records, dict(notes)
