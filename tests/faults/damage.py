"""Trials with damaged files: flipped bits, a file deleted between stages, dates from the future, an older version's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import patch

from polypersona_lib import paths
from polypersona_lib.files import folder_hash

from .outcome import Fault, Seen, Trial, dice, finish, flip_bit, look
from .small_run import Bench, Running, results, stages

FUTURE = 2_500_000_000  # seconds since 1970: in the year 2049


def flipped_manifest(bench: Bench) -> list[Seen]:
    """A bit of the manifest in its first byte (it is no JSON any more), then one anywhere."""
    out = bench.copy("flipped manifest")
    flip_bit(results(out) / "manifest.json", 0.0)
    first = look(Running(bench, out, light=True))
    flip_bit(results(out) / "manifest.json", dice(bench, "manifest").random())
    return finish(bench, out, [first], light=True, again={"all"})


def flipped_data(bench: Bench) -> list[Seen]:
    """A bit of a Parquet file: the stage that wrote it runs again, and no other."""
    out = bench.copy("flipped data")
    path = results(out) / "dataset" / "train.parquet"
    flip_bit(path, dice(bench, "data").random())
    run = Running(bench, out, light=True)
    return finish(bench, out, [look(run)], light=True)


def flipped_training(bench: Bench) -> list[Seen]:
    """A bit of the adapter and one of a run record: neither is taken for a finished training.

    In the small run both are of one model; its record alone is harmed in `tests/training/test_checkpoints.py`, without a second training.
    """
    out, chance = bench.copy("flipped training"), dice(bench, "training")
    flip_bit(sorted(results(out).glob("adapters/*/adapter_model.safetensors"))[0], chance.random())
    spoil_number(sorted(results(out).glob("runs/*.json"))[-1])
    return finish(bench, out, [look(Running(bench, out))])


def spoil_number(record: Path) -> None:
    """Flip a bit of a digit in a run record, which stays whole JSON: the untuned validation loss."""
    content = bytearray(record.read_bytes())
    content[content.index(b'"untuned_val_loss": ') + len(b'"untuned_val_loss": ')] ^= 1
    record.write_bytes(bytes(content))


def flipped_caches(bench: Bench) -> list[Seen]:
    """A bit of what the user's cache holds: an unpacked adapter, and a server's answer. Both are made anew."""
    from polypersona_lib.models import answer_budget, published_adapters

    folder, chance = bench.folder / "cache", dice(bench, "cache")
    adapter = next(path.parent for path in results(bench.whole).glob("adapters/*/adapter_model.safetensors"))
    with patch.dict(os.environ, {paths.CACHE: str(folder)}):
        published_adapters.pack_adapter(adapter, bench.folder / "packed" / adapter.name, {"base": "small"})
        place = published_adapters.unpack_adapter(bench.folder / "packed" / adapter.name)
        whole = folder_hash(place)
        flip_bit(place / "adapter_model.safetensors", chance.random())
        again = folder_hash(published_adapters.unpack_adapter(bench.folder / "packed" / adapter.name))
        kept = answer_budget.AnswerCache(answer_budget.answers_folder())
        kept.put({"ask": 1}, {"text": "yes"})
        flip_bit(kept.path({"ask": 1}), chance.random())
        answer = kept.get({"ask": 1})
    trouble = [] if again == whole else ["an unpacked adapter with a flipped bit was used"]
    return [Seen(0, "made anew", trouble), Seen(0, "asked again", [] if answer is None else [f"a damaged answer was used: {answer}"])]


def deleted_between_stages(bench: Bench) -> list[Seen]:
    """A file vanishes as soon as its stage is done, before the next one reads it; and one of a finished run."""
    out = bench.folder / "deleted"
    run = Running(bench, out, light=True)
    run.until(lambda: stages(out).get("01", {}).get("status") == "done", "stage 01")
    gone = results(out) / "dataset" / "validation.parquet"
    gone.unlink()
    seen = [look(run, damaged={gone.relative_to(out).as_posix()})]
    finish(bench, out, seen, light=True, again={"01"})
    table = sorted(results(out).glob("tables/*.csv"))[0]
    table.unlink()
    later = look(Running(bench, out, light=True))
    return [*seen, *finish(bench, out, [later], light=True)]


def from_the_future(bench: Bench) -> list[Seen]:
    """Every file of a finished run is from 2049, as after a clock that was set back: nothing depends on it."""
    out = bench.copy("future")
    for path in sorted(out.rglob("*")):
        os.utime(path, (FUTURE, FUTURE))
    return finish(bench, out, [look(Running(bench, out, light=True))], light=True)


def older_version(bench: Bench) -> list[Seen]:
    """The folder of an earlier version: its manifest names no parts, its data are of another version, its run record has no hash of itself."""
    out = bench.copy("older")
    path = results(out) / "manifest.json"
    entries = {number: {"status": "done", "signature": "0" * 64, "outputs": list(entry["outputs"])} for number, entry in stages(out).items()}
    path.write_text(json.dumps({"stages": entries | {"00": {"status": "done"}, "06": "done"}}), encoding="utf-8")
    report = results(out) / "dataset" / "report.json"
    report.write_text(json.dumps({"data_version": 0}), encoding="utf-8")
    for record in results(out).glob("runs/*.json"):
        kept = json.loads(record.read_text(encoding="utf-8"))
        kept.pop("record_hash", None)
        record.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return finish(bench, out, [look(Running(bench, out, light=True))], light=True)


TRIALS = (
    Trial(flipped_manifest, (Fault("manifest, one bit", "flipped in its first byte, then anywhere", (0,), "total time"),)),
    Trial(flipped_data, (Fault("Parquet file, one bit", "flipped anywhere", (0,), "total time"),)),
    Trial(
        flipped_training,
        (Fault("adapter and run record, one bit", "flipped anywhere in the adapter, and in a number of the record", (0,), "total time"),),
    ),
    Trial(
        flipped_caches,
        (
            Fault("cache: an unpacked adapter, one bit", "flipped anywhere", (0,), "made anew"),
            Fault("cache: a server's answer, one bit", "flipped anywhere", (0,), "asked again"),
        ),
    ),
    Trial(
        deleted_between_stages,
        (
            Fault("file deleted between stages", "a data file, before the next stage reads it", (0, 1), "No such file|FileNotFoundError|total time"),
            Fault("file deleted afterwards", "a table of a finished run", (0,), "total time"),
        ),
    ),
    Trial(from_the_future, (Fault("files from the future", "all dates set to 2049", (0,), "total time"),)),
    Trial(older_version, (Fault("an older version's folder", "manifest, data and records of another form", (0,), "total time"),)),
)
