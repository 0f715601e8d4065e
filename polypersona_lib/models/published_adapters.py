"""Where a model's adapter is: of a run here, or published in 8 bits, in pieces of less than 4 MB. Imports no PyTorch."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import paths
from ..files import file_hash, replace_folder, write_atomically
from ..registry import REAL_MODELS
from .weights import LISTING, verify

ADAPTER_FILE = "adapter_model.safetensors"
RUNS = ("small", "nano", "shipped")  # whose adapters a command looks for, in this order
PACK_FORMAT, PIECE_BYTES = 1, 3_900_000
PACK_FACTS, PACK_HASHES = "adapter.json", "hashes.json"


def pack_adapter(adapter: Path, folder: Path, facts: dict) -> dict:
    """Write an adapter of PEFT's layout into `folder` in 8 bits, with its card, facts and hashes. Returns the facts as written.

    Every row of a matrix has one step, its largest absolute value / 127; a weight is rounded to a whole number of steps, so it moves by half of one at most.
    Args: facts: what a reader checks before use (base, data_version, data_hash...). Raises: FileNotFoundError without an adapter.
    """
    from safetensors.numpy import load_file, save_file

    if not (adapter / ADAPTER_FILE).exists():
        raise FileNotFoundError(f"{adapter}: no adapter here; run notebook 03 first")
    pieces, size = [{}], 0
    for name, weight in sorted(load_file(adapter / ADAPTER_FILE).items()):
        rounded, steps = _rounded(weight)
        if size and size + rounded.nbytes + steps.nbytes > PIECE_BYTES:
            pieces, size = [*pieces, {}], 0
        pieces[-1] |= {name: rounded, f"{name}.step": steps}
        size += rounded.nbytes + steps.nbytes + 400  # its entries in the head of the file
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for number, piece in enumerate(pieces, 1):
        save_file(piece, new / f"adapter-8bit-{number}-of-{len(pieces)}.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    facts = facts | {"format": PACK_FORMAT, "adapter_hash": file_hash(adapter / ADAPTER_FILE), "config": config}
    write_atomically(new / PACK_FACTS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    note = "\n- Published in 8 bits, in pieces of less than 4 MB: `adapter-8bit-*.safetensors`; `hashes.json` has their sha256.\n"
    write_atomically(new / "README.md", (adapter / "README.md").read_text(encoding="utf-8").rstrip("\n") + note)
    write_atomically(new / PACK_HASHES, json.dumps({p.name: file_hash(p) for p in sorted(new.iterdir())}, indent=1) + "\n")
    replace_folder(new, folder)
    return facts


def _rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole numbers of steps, int8; the step of each row, float32) of a matrix (rows, columns)."""
    weight = weight.astype(np.float32)
    steps = np.abs(weight).max(axis=-1, keepdims=True) / np.float32(127)
    return np.rint(weight / np.where(steps > 0, steps, 1)).astype(np.int8), steps


def packed_facts(folder: Path) -> dict:
    """What is published in a folder, hashes checked. Raises: FileNotFoundError if nothing is, ValueError for a file that was changed or another format."""
    verify(folder, "restore the folder from the repository, or publish the adapter anew")
    facts = json.loads((folder / PACK_FACTS).read_text(encoding="utf-8"))
    if facts.get("format") != PACK_FORMAT:
        raise ValueError(f"{folder}: format {facts.get('format')}, and this code reads {PACK_FORMAT}; publish the adapter anew")
    return facts


def unpack_adapter(folder: Path) -> Path:
    """A published adapter in PEFT's layout, hashes checked; written into the user's cache at the first call, and again if its files there are harmed.

    Returns: its folder. Raises: as `packed_facts`.
    """
    from safetensors.numpy import load_file, save_file

    facts = packed_facts(folder)
    place = paths.cache_folder() / f"adapter-{file_hash(folder / PACK_HASHES)[:16]}" / folder.name
    try:
        verify(place, "")
        return place
    except (OSError, ValueError):
        shutil.rmtree(place, ignore_errors=True)
    weights = {name: array for file in sorted(folder.glob("adapter-8bit-*.safetensors")) for name, array in load_file(file).items()}
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.mkdir(parents=True, exist_ok=True)
    restored = {name: weights[name].astype(np.float32) * weights[f"{name}.step"] for name in weights if not name.endswith(".step")}
    save_file(restored, beside / ADAPTER_FILE, metadata={"format": "pt"})
    (beside / "adapter_config.json").write_text(json.dumps(facts["config"], indent=1) + "\n", encoding="utf-8")
    shutil.copy(folder / "README.md", beside)
    (beside / LISTING).write_text(json.dumps({p.name: file_hash(p) for p in sorted(beside.iterdir())}, indent=1) + "\n", encoding="utf-8")
    try:
        beside.rename(place)
    except OSError:  # another process was faster
        shutil.rmtree(beside, ignore_errors=True)
    return place


def find_adapter(key: str, results: Sequence[Path] | None = None) -> Path | None:
    """The adapter of a registered model: of the first results folder that has one, else the published one of a real model; None if there is neither.

    Args: results: folders of runs; by default those of `RUNS` in this project. Raises: as `packed_facts`.
    """
    folders = [paths.ROOT / "results" / run for run in RUNS] if results is None else results
    own = next((place for place in (folder / "adapters" / key for folder in folders) if (place / ADAPTER_FILE).is_file()), None)
    packed = paths.PUBLISHED_ADAPTERS / key
    return own or (unpack_adapter(packed) if key in REAL_MODELS and packed.exists() else None)
