"""Run records, written and read here alone: what was trained on what, with which versions. A record is written last, so it means "done"."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from . import locate, paths
from .config import RunConfig, device_name, versions
from .files import folder_hash, parse_json, value_hash, write_atomically


def git_state() -> str:
    """Commit and whether the tree was clean ('a1b2c3d4', 'a1b2c3d4 + changes'), or 'not a git checkout'."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.strip()
        return f"{commit} + changes" if dirty else commit
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def peak_memory_mb() -> int:
    """Highest resident memory of this process since it started, in MB (on CUDA: of the GPU's allocator since the training began)."""
    import resource

    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def run_path(run: RunConfig, model: str) -> Path:
    """`runs/<model>--<profile>--seed<n>.json`."""
    return run.paths.folder("runs") / f"{model}--{run.profile}--seed{run.seed}.json"


def write_run(path: Path, record: dict, adapter: Path) -> dict:
    """Complete a record (adapter hash, versions, device, git state), write it, and return it as read back."""
    record = record | {"adapter_hash": folder_hash(adapter), "versions": versions(), "device": device_name(), "git": git_state()}
    plain = {k: asdict(v) if hasattr(v, "__dataclass_fields__") else v for k, v in record.items()}
    plain["record_hash"] = _own_hash(plain)
    write_atomically(path, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    return read_run(path)


def read_run(path: Path) -> dict:
    """One run record. Raises: ValueError naming the file if it is damaged."""
    try:
        record = parse_json(path.read_bytes())
        if not isinstance(record, dict) or not isinstance(record.get("model"), str):
            raise ValueError("it names no model")
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: this run record is damaged ({str(error)[:200]!r}); delete it and run notebook 03 again") from error
    return record


def _own_hash(record: dict) -> str:
    """sha256 of a record's other fields, as they read back."""
    return value_hash(json.loads(json.dumps({name: value for name, value in record.items() if name != "record_hash"})))


def finished(path: Path, mark: str, folders: dict[str, Path]) -> dict | None:
    """The record at `path` if it is of the same configuration (`mark`), and it and the `folders` whose hashes it holds by name are unharmed; else None.

    A record of an earlier version has no hash of itself: it is taken as it is.
    """
    try:
        record = read_run(path)
    except (OSError, ValueError):
        return None
    unharmed = record.get("record_hash") in (None, _own_hash(record))
    whole = unharmed and all(folder.exists() and folder_hash(folder) == record.get(name) for name, folder in folders.items())
    return record if whole and record.get("fingerprint") == mark else None


def load_runs(run: RunConfig) -> list[dict]:
    """All run records of a run, in the registry's order of models."""
    return read_runs(run.paths.folder("runs"), run.model_keys)


def read_runs(folder: Path, models: tuple[str, ...]) -> list[dict]:
    """The run records of `models` in a folder, in that order."""
    records = [read_run(path) for path in sorted(folder.glob("*.json"))]
    return sorted((r for r in records if r["model"] in models), key=lambda r: models.index(r["model"]))


def published_runs(run: RunConfig) -> list[dict]:
    """The published run records of the run's models (said in one line), for a notebook opened on its own."""
    return read_runs(locate.find(run, "runs"), run.model_keys)
