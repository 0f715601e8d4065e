"""A run in parts: people in blocks, one file a block and system. A part is done when its file is whole, so that a killed run loses one part at most."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from ..errors import InputError, quoted
from ..files import json_object, keep_frame, kept_frame, write_atomically
from ..intake.survey_format import ANSWER_COLUMNS, shaped
from ..models.answer_budget import NOT_ASKED

PLAN = "plan.json"
SHARD_PEOPLE = 50  # the most people in a block
SHARD_ANSWERS = 500  # a block has about so many answers: four minutes of a slow model, which is the most that a killed run loses


def open_folder(out: Path, plan: dict) -> bool:
    """Make `out` the folder of a run that `plan` describes, or go on with it. Returns whether there is one already.

    Raises: InputError if the folder holds another run, naming what differs, or anything that is no run.
    """
    path = out / PLAN
    if out.is_file():
        raise InputError(f"{out}: is a file; name a folder")
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out}: holds other files; name a new folder with --out")
        try:
            write_atomically(path, json.dumps(plan, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise InputError(f"{out}: cannot be written ({error.strerror})") from None
        return False
    try:
        there = json_object(path)
    except ValueError:
        raise InputError(f"{path}: is damaged; delete the folder, or name another one with --out") from None
    if differs := [name for name in plan if there.get(name) != plan[name]]:
        raise InputError(f"{out}: holds a run that differs in {', '.join(differs)}; name another folder with --out, or delete this one")
    return True


def people_in_a_block(rows: int) -> int:
    """How many people are asked together, if each of them gives `rows` answers (items x repetitions)."""
    return max(1, min(SHARD_PEOPLE, SHARD_ANSWERS // max(1, rows)))


def blocks(people: pd.DataFrame, size: int = SHARD_PEOPLE) -> list[pd.DataFrame]:
    """The people in blocks of `size`, in their order."""
    return [people.iloc[start : start + size] for start in range(0, len(people), size)]


def shard_path(out: Path, system: str, number: int) -> Path:
    """Where a part lies."""
    return out / "shards" / system / f"{number:05d}.parquet"


def read_shard(path: Path, rows: int) -> pd.DataFrame | None:
    """A part that is whole: it can be read, has so many rows, and none of them waits for a budget. None otherwise."""
    if (kept := kept_frame(path)) is None:
        return None
    try:
        frame = shaped(kept, ANSWER_COLUMNS)
    except ValueError:
        return None
    return None if len(frame) != rows or waits(frame) else frame


def waits(frame: pd.DataFrame) -> bool:
    """Whether some rows of a part wait for a budget."""
    return bool((frame["reason"].fillna("").str.contains(NOT_ASKED) & frame["status"].ne("skipped")).any())


def write_shard(path: Path, frame: pd.DataFrame) -> None:
    """Keep a part: a reader sees the whole file or none."""
    keep_frame(frame, path)


def answers_in_parts(out: Path, system: str, people: pd.DataFrame, items: int, repeats: int, ask: Callable[[pd.DataFrame], pd.DataFrame],
                     size: int = SHARD_PEOPLE) -> Iterator[tuple[pd.DataFrame, bool]]:  # fmt: skip
    """(answers of a block, whether they were kept from before), block by block; `ask` is called for those that are not done.

    Raises: InputError if a part cannot be written.
    """
    for number, block in enumerate(blocks(people, size)):
        path = shard_path(out, system, number)
        kept = read_shard(path, len(block) * items * repeats)
        if kept is not None:
            yield kept, True
            continue
        frame = ask(block)
        try:
            write_shard(path, frame)
        except OSError as error:
            raise InputError(f"{quoted(path.name)}: cannot be written ({error.strerror}); what was answered before is kept") from None
        yield frame, False


def asked_line(label: str, asked: int, kept: int, seconds: float) -> str:
    """What one system did, for readers."""
    return f"{label}: {asked:,} asked" + (f" in {seconds:,.0f} s" if asked else "") + (f", {kept:,} kept from before" if kept else "")
