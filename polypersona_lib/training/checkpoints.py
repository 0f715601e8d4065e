"""Checkpoints that can be trusted after a crash: written beside, sealed with hashes, renamed; and resumed only by the very same training.

The Trainer writes its checkpoints file by file where they will be looked for, resumes without a word when a file is missing, and
ignores a changed learning rate. Here a folder `step-000150` exists only whole.
"""

import json
import shutil
from pathlib import Path

from ..files import read_json, replace_folder, sha256, value_hash

SEAL, SECONDS = "sealed.json", "seconds.json"
SAVE_EVERY = 50  # optimizer steps between two checkpoints; one more after each epoch
_KEPT = 2


def seal(written: Path, folder: Path, configuration: dict) -> None:
    """Seal the finished checkpoint `written` (hashes of its files and itself, what is trained), rename it to `folder`, remove all but the newest."""
    hashes = {p.name: sha256(p.read_bytes()) for p in sorted(written.iterdir()) if p.is_file()}
    sealed = json.loads(json.dumps({"configuration": configuration, "files": hashes}, default=str))
    (written / SEAL).write_text(json.dumps(sealed | {"hash": value_hash(sealed)}, indent=1), encoding="utf-8")
    replace_folder(written, folder)
    for old in sorted(folder.parent.glob("step-*"))[:-_KEPT]:
        shutil.rmtree(old)


def keep_seconds(written: Path, seconds: float) -> None:
    """Note in a checkpoint how long the training took so far, earlier starts included."""
    (written / SECONDS).write_text(json.dumps(round(seconds, 1)), encoding="utf-8")


def seconds_before(checkpoint: Path | None) -> float:
    """How long a training took up to its checkpoint; 0 without one (older checkpoints do not say)."""
    path = None if checkpoint is None else checkpoint / SECONDS
    return float(json.loads(path.read_text(encoding="utf-8"))) if path and path.is_file() else 0.0


def newest(work: Path, configuration: dict) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint in `work`, and a line for each newer one skipped. Raises ValueError naming the fields that differ from this training."""
    skipped = []
    for folder in sorted(work.glob("step-*"), reverse=True):
        fault, sealed = _read(folder)
        if fault:
            skipped.append(f"{folder.name}: {fault}")
            continue
        changed = differences(sealed["configuration"], json.loads(json.dumps(configuration, default=str)))
        if changed:
            raise ValueError(
                f"{folder}: an interrupted training of another configuration ({'; '.join(changed)}); go back to it, or delete {work} to start anew"
            )
        return folder, skipped
    return None, skipped


def _read(folder: Path) -> tuple[str, dict]:
    """(what is wrong with a checkpoint or "", its seal). The seal of an earlier version has no hash of itself."""
    sealed = read_json(folder / SEAL)
    if sealed.pop("hash", None) not in (None, value_hash(sealed)) or not all(isinstance(sealed.get(name), dict) for name in ("configuration", "files")):
        return "no readable seal", {}
    for name, digest in sealed["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing", {}
        if sha256(path.read_bytes()) != digest:
            return f"{name} was changed", {}
    return "", sealed


def differences(before: dict, now: dict, prefix: str = "") -> list[str]:
    """`field before -> now` for every field of two nested dictionaries that is not equal."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            lines.append(f"{prefix}{name} {a} -> {b}")
    return lines
