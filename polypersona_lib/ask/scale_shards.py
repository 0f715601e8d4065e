"""A run for many workers as files: people in blocks, answers in shards, one line for each finished shard, one table of all answers. Nothing here knows Ray.

A shard is done when its file is whole. The lines in `done.jsonl` only save the reading: what they say is believed if the file has the size that they name.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet

from ..errors import InputError, one_line
from ..files import replacing, write_atomically
from ..intake.people_file import People
from ..intake.survey_format import ANSWER_COLUMNS, PEOPLE_COLUMNS, Questionnaire, shaped
from .output import Told, failed_reasons, status_counts, write_record
from .shards import read_shard, shard_path, waits, write_shard

DONE = "done.jsonl"
MOST_IN_ONE_TABLE = 10_000_000  # answers; more of them stay in their shards
SCALED_FILES = {
    "answers.parquet": "every answer, one row each: for pandas, `pilot` and `score`", "shards/": "the same, one file a block of people",
    "people.parquet": "who was asked", "questionnaire.json": "what was asked", "record.json": "how, by whom, with which versions and hashes",
}  # fmt: skip
MOST_REASONS = 5  # different reasons counted in a line


@dataclass(frozen=True)
class Blocks:
    """How a run is cut: `people` in all, `size` of them in a block, and `rows` that each person gives (items x repetitions)."""

    people: int
    size: int
    rows: int

    def __len__(self) -> int:
        return -(-self.people // self.size)

    def rows_of(self, number: int) -> int:
        """How many answers block `number` has."""
        return min(self.size, self.people - number * self.size) * self.rows


def write_people(out: Path, people: pd.DataFrame, size: int) -> None:
    """Write `people.parquet` with one row group a block, so that a worker reads its own block alone."""
    with replacing(out / "people.parquet") as new:
        people.to_parquet(new, index=False, compression="zstd", row_group_size=size)


def read_block(out: Path, number: int) -> pd.DataFrame:
    """The people of one block (`PEOPLE_COLUMNS`)."""
    with pyarrow.parquet.ParquetFile(out / "people.parquet") as file:
        return shaped(file.read_row_group(number).to_pandas(), PEOPLE_COLUMNS)


def answer_block(ask: Callable[[pd.DataFrame], pd.DataFrame], people: pd.DataFrame, give_up: Callable[[pd.DataFrame, str], pd.DataFrame]) -> pd.DataFrame:
    """The answers of a block. If asking fails, the block is halved until the person is known whose rows fail; the others are answered.

    Args: give_up: the failed rows of people, with a reason. Raises: InputError, which the user must mend.
    """
    try:
        return ask(people)
    except InputError:
        raise
    except Exception as error:  # whatever it is, it costs these people's rows and no others
        if len(people) == 1:
            return give_up(people, f"{type(error).__name__}: {one_line(error)[:200]}")
    middle = len(people) // 2
    return pd.concat([answer_block(ask, part, give_up) for part in (people.iloc[:middle], people.iloc[middle:])], ignore_index=True)


# --- what is done ------------------------------------------------------------------------------------------------------------------------


def keep_block(out: Path, system: str, number: int, frame: pd.DataFrame, seconds: float) -> dict:
    """Write the shard of a block, whole or not at all. Returns its line for `done.jsonl`."""
    write_shard(shard_path(out, system, number), frame)
    return _line(out, system, number, frame, seconds)


def _line(out: Path, system: str, number: int, frame: pd.DataFrame, seconds: float) -> dict:
    return {
        "block": number, "rows": len(frame), "bytes": shard_path(out, system, number).stat().st_size, "seconds": round(seconds, 3), "waits": waits(frame),
        "counts": status_counts(frame), "reasons": dict(failed_reasons(frame).most_common(MOST_REASONS)),
    }  # fmt: skip


def kept_line(out: Path, system: str, number: int, rows: int) -> dict | None:
    """The line of a shard that is whole; None if it must be asked for."""
    path = shard_path(out, system, number)
    frame = read_shard(path, rows) if path.is_file() else None
    return None if frame is None else _line(out, system, number, frame, 0.0)


def take_stock(out: Path, system: str, blocks: Blocks) -> tuple[dict[int, dict], list[int]]:
    """(lines of the blocks that are done, numbers of those that are not), and write `done.jsonl` anew with the first.

    A shard without a line (the run was killed between the two) is read; one whose line does not fit its file is asked again if it is not whole.
    """
    listed, done = {line["block"]: line for line in _read_lines(done_path(out, system))}, {}
    for number in range(len(blocks)):
        line, path = listed.get(number), shard_path(out, system, number)
        if line and not line["waits"] and line["rows"] == blocks.rows_of(number) and path.is_file() and path.stat().st_size == line["bytes"]:
            done[number] = line
        elif path.is_file() and (line := kept_line(out, system, number, blocks.rows_of(number))):
            done[number] = line
    write_atomically(done_path(out, system), "".join(f"{json.dumps(line)}\n" for line in done.values()))
    return done, [number for number in range(len(blocks)) if number not in done]


def done_path(out: Path, system: str) -> Path:
    """Where the lines of a system lie."""
    return out / "shards" / system / DONE


def note_done(out: Path, system: str, line: Mapping) -> None:
    """Add one line: the driver alone does so."""
    with done_path(out, system).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(line)}\n")


def _read_lines(path: Path) -> Iterator[dict]:
    """The whole lines of a file; half a line (a killed run) is left out."""
    fields = {"block", "rows", "bytes", "waits", "counts", "reasons"}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.keys() >= fields:
            yield line


def added_up(lines: Iterable[Mapping]) -> tuple[dict[str, int], Counter]:
    """(status -> rows as `output.status_counts` gives them, reasons of failed rows) of many blocks."""
    counts, reasons = Counter(), Counter()
    for line in lines:
        counts.update(line["counts"])
        reasons.update(line["reasons"])
    return dict(counts), reasons


# --- one table of all answers --------------------------------------------------------------------------------------------------------------


def one_table(out: Path, systems: Iterable[str], blocks: Blocks) -> bool:
    """Copy the shards of all systems into `answers.parquet`, one at a time. False, and no table, for more than `MOST_IN_ONE_TABLE` answers."""
    systems = list(systems)
    if len(systems) * blocks.people * blocks.rows > MOST_IN_ONE_TABLE:
        (out / "answers.parquet").unlink(missing_ok=True)
        return False
    schema = _answers_schema()
    with replacing(out / "answers.parquet") as new, pyarrow.parquet.ParquetWriter(new, schema, compression="zstd") as writer:
        for system in systems:
            for number in range(len(blocks)):
                path = shard_path(out, system, number)
                try:
                    table = pyarrow.parquet.read_table(path, page_checksum_verification=True).select(schema.names).cast(schema)
                except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:  # its line in `done.jsonl` knows its size alone
                    raise InputError(f"{path}: is damaged ({one_line(error)[:80]}); delete it, and the same command asks these people again") from None
                writer.write_table(table)
    return True


def _answers_schema() -> pyarrow.Schema:
    """The columns of `ANSWER_COLUMNS` as Arrow has them, with what pandas needs to give them back in their types."""
    types = {"text": pyarrow.string(), "whole": pyarrow.int64(), "number": pyarrow.float64(), "numbers": pyarrow.list_(pyarrow.float64())}
    empty = shaped(pd.DataFrame(columns=[column.name for column in ANSWER_COLUMNS]), ANSWER_COLUMNS)
    described = pyarrow.Schema.from_pandas(empty, preserve_index=False).metadata
    return pyarrow.schema([(column.name, types[column.type]) for column in ANSWER_COLUMNS]).with_metadata(described)


def write_scaled(out: Path, questionnaire: Questionnaire, people: People, record: Mapping, told: Told, *, size: int) -> list[str]:
    """Finish a run whose shards are done: one table, record and README, without the answers in memory. Returns the lines that count what is missing.

    The files for spreadsheets, R and SPSS take all answers at once: the same command without `--engine ray` writes them from the shards.
    """
    blocks = Blocks(len(people.frame), size, len(questionnaire.items) * record["repeats"])
    whole = one_table(out, told, blocks)
    files = {name: what for name, what in SCALED_FILES.items() if whole or name != "answers.parquet"}
    lines = write_record(out, questionnaire, people, record, told, files=files)
    if not whole:
        return [*lines, f"more than {MOST_IN_ONE_TABLE:,} answers: they stay in shards/ (pandas.read_parquet reads one file, pyarrow.dataset all of them)"]
    return [*lines, "for answers.csv, answers.sav and answers_wide.csv run the same command without --engine ray: it asks nobody again"]
