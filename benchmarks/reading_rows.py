"""Strict reading of a large data set beside datasets and pydantic."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from .measuring import Check, Comparison, Contender

RECORDS = 100_000


def made_records(count: int, *, again: bool = False) -> list[dict]:
    """`count` records of simulated people, no text made twice on purpose: the fields of our format; `again` adds a `prediction`, the person asked again."""
    from polypersona_lib.prompts.chat import render_card
    from polypersona_lib.world.personas import fresh_personas
    from polypersona_lib.world.questions import load_questions
    from polypersona_lib.world.respondents import Speaker

    questions, speaker = list(load_questions().values()), Speaker()
    people = fresh_personas(max(8, -(-count // len(questions))), 1)
    records = []
    for card, question in islice(((card, question) for card in people for question in questions), count):
        answer = speaker.answer(card, question, seed=1)
        asked_again = {"prediction": speaker.answer(card, question, seed=1, draw=1).text} if again else {}
        records.append(
            asked_again
            | {
                "id": f"{card['persona_id']}-{question.id}", "reference": answer.text, "persona_id": card["persona_id"],
                "persona": render_card(card), "domain": question.domain, "question_id": question.id, "question": question.text,
                "question_type": question.type, "options": list(question.options) if question.options else None,
            }
        )  # fmt: skip
    return records


def write_records(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def reading(*, small: bool, folder: Path) -> Comparison:
    """A folder of train, validation and test files: our strict reader beside `datasets.load_dataset` and a pydantic model of a record."""
    from polypersona_lib.intake import dataset_import

    records = made_records(200 if small else RECORDS)
    cuts = {"train": slice(0, len(records) * 8 // 10), "validation": slice(len(records) * 8 // 10, len(records) * 9 // 10)}
    cuts["test"] = slice(len(records) * 9 // 10, None)
    data, cache = folder / "data", folder / "cache"
    data.mkdir()
    for part, cut in cuts.items():
        write_records(data / f"{part}.jsonl", records[cut])
    count = len(records)
    del records

    def whole() -> list[tuple]:
        frames, _ = dataset_import.import_dataset(data, "neutralise")
        rows = [row for frame in frames.values() for row in frame.to_dict("records")]
        return [_told(row | {"options": json.loads(row["meta"])["options"]}) for row in rows]

    def gate(rows: dict) -> list[Check]:
        checks = [Check(f"{name}: records that differ from ours", _differing(rows["ours"], other), 0) for name, other in rows.items() if name != "ours"]
        return [*checks, *_refusals(folder)]

    contenders = [
        Contender(name="ours", work=lambda: _strictly(data), note="errors of all records listed; ids made safe"),
        Contender(name="datasets + pydantic", work=lambda: _with_pydantic(data, cache), before=partial(_empty, cache), goal=1),
        Contender(name="pydantic, line by line", work=lambda: _by_line(data), note="model_validate_json on every line; stops at the first error"),
        Contender(name="ours, with faults looked for and prompts built", work=whole, note="the whole import, for comparison"),
    ]
    return Comparison(title=f"reading {count:,} records strictly, three JSON lines files", contenders=contenders, gate=gate)


def _strictly(data: Path) -> list[tuple]:
    """Our reading alone: the search for faults has no counterpart beside it."""
    from polypersona_lib.intake import dataset_import

    return [_told(row) for row in dataset_import._read_splits(dataset_import.find_split_files(data))[0]]


def _empty(folder: Path) -> None:
    """Remove a cache: a file that is read for the first time."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _told(row: dict) -> tuple:
    """What the gate compares of a record."""
    options = row.get("options")
    return row["id"], row["question"], row["question_type"], row["reference"], tuple(options) if options is not None else None


def _differing(ours: list[tuple], other: list[tuple]) -> int:
    return len(set(ours) ^ set(other)) + abs(len(ours) - len(other))


def _record_model():
    """A pydantic model that refuses what our reader refuses of these fields: lengths, types, control characters, labels."""
    from typing import Annotated

    from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator

    from polypersona_lib.intake.reading import MOST_CHARACTERS

    def text(name: str) -> Any:
        return Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS[name], pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]

    class Record(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        id: text("id")
        persona_id: text("id")
        question_id: text("id")
        persona: text("persona")
        domain: text("domain")
        question: text("question")
        question_type: Literal["open", "likert", "yesno", "agreement"]
        reference: text("reference")
        options: list[text("option")] | None

        @field_validator("options")
        @classmethod
        def distinct(cls, options: list[str] | None) -> list[str] | None:
            if options is not None and (len(options) < 2 or len(set(options)) < len(options)):
                raise ValueError("two or more different labels")
            return options

    return Record


def _with_pydantic(data: Path, cache: Path) -> list[tuple]:
    """`load_dataset` of the three files, every row through the model; ids that stand twice are refused."""
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    files, model = {part: str(path) for part, path in _files(data).items()}, _record_model()
    parts = load_dataset("json", data_files=files, cache_dir=str(cache)).values()
    return _told_once(model.model_validate(row) for part in parts for row in part.to_list())


def _by_line(data: Path) -> list[tuple]:
    """Every line of the three files through the model, which reads JSON itself; ids that stand twice are refused."""
    model = _record_model()
    return _told_once(model.model_validate_json(line) for path in _files(data).values() for line in path.read_bytes().splitlines())


def _files(data: Path) -> dict[str, Path]:
    return {part: data / f"{part}.jsonl" for part in ("train", "validation", "test")}


def _told_once(records: Iterable) -> list[tuple]:
    """What the gate compares of the model's records. Raises ValueError for an id that stands twice."""
    rows, ids = [], set()
    for record in records:
        if record.id in ids:
            raise ValueError(f"{record.id} stands twice")
        ids.add(record.id)
        rows.append(_told(vars(record)))
    return rows


def _refusals(folder: Path) -> list[Check]:
    """All readers refuse a record that is wrong: how many of the planted ones each lets pass."""
    good = made_records(8)
    passed = dict.fromkeys(("ours", "datasets + pydantic", "pydantic, line by line"), 0)
    for number, wrong in enumerate(({"question_type": "hologram"}, {"reference": "a\x07b"}, {"question": "x" * 1_001}, {"id": good[0]["id"]})):
        data, cache = folder / f"wrong-{number}", folder / f"wrong-cache-{number}"
        data.mkdir(exist_ok=True)
        for part, rows in (("train", [*good[:3], good[3] | wrong]), ("validation", good[4:6]), ("test", good[6:])):
            write_records(data / f"{part}.jsonl", rows)
        readers = zip(passed, (partial(_strictly, data), partial(_with_pydantic, data, cache), partial(_by_line, data)), strict=True)
        for name, read in readers:
            try:
                read()
            except ValueError:
                continue
            passed[name] += 1
    return [Check(f"{name}: wrong records that were not refused", count, 0) for name, count in passed.items()]
