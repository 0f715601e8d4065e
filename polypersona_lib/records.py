"""Run records: what was trained on what, with which versions, written last and atomically, so that a record means 'done'."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from . import paths
from .config import RunConfig, TrainSpec, device_name, versions
from .models import folder_hash
from .registry import ModelSpec


def data_hash(parts: dict[str, pd.DataFrame]) -> str:
    """sha256 (16 digits) over ids, messages and references of all splits, in order."""
    digest = hashlib.sha256()
    for name, frame in parts.items():
        digest.update(name.encode())
        for row in zip(frame["id"], frame["messages"], strict=True):
            digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def git_state() -> str:
    """Commit and whether the tree was clean ('a1b2c3d4', 'a1b2c3d4 + changes'), or 'not a git checkout'."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.strip()
        return f"{commit} + changes" if dirty else commit
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


class PeakMemory:
    """Highest resident memory of this process so far, in MB (on CUDA: of the GPU's allocator)."""

    def mb(self) -> int:
        """The peak since the process started."""
        import resource

        import torch

        if torch.cuda.is_available():
            return round(torch.cuda.max_memory_allocated() / 2**20)
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def write_atomically(path: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def replace_folder(new: Path, folder: Path) -> None:
    """Put the finished folder `new` in the place of `folder` and remove what is left of the work around it."""
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


CARD = """---
{on_hub}library_name: peft
license: {licence}
tags: [lora, qlora, survey-simulation, {profile}]
---
# {display}, tuned to answer survey questions as a given persona ({profile})

A LoRA adapter (rank {r}, alpha {alpha}) for `{base}`{revision}, trained on the assistant's tokens of the companion's data set with the recipe of PolyPersona
(arXiv 2512.14562). {scale_note}

- Data: {data_hash} (sha256 over all splits), prompts in template {template_hash}, seed {seed}.
- Validation loss: {untuned:.4f} nats an answer token before, {val_loss:.4f} after epoch {epoch}, the best of {epochs}. Sampled validation answers: {scores}.
- Use it to study what such models do and do not learn about personas. Simulated answers are not survey data: they replace no respondents, and no
  decision about people should rest on them.
"""


def adapter_card(run: RunConfig, spec: ModelSpec, recipe: TrainSpec, identity: dict, untuned: float, best: dict) -> str:
    """The model card of an adapter (README.md of its folder), with nothing in it that differs between two runs of the same configuration."""
    nano = run.settings.scale == "nano"
    note = "The base is a nano twin of about 1.7 million parameters: its numbers say nothing about the real model." if nano else ""
    scores = ", ".join(f"{name} {best[name]:.3f}" for name in ("bleu", "rouge1", "rougeL", "bertscore_f1", "persona_sim") if name in best) or "none"
    return CARD.format(
        on_hub="" if nano else f"base_model: {spec.hub_id}\n",  # the hub takes its own ids alone here
        base=f"data/models/{spec.key}" if nano else spec.hub_id, revision="" if nano else f" at revision {spec.revision}", display=spec.display,
        licence="apache-2.0" if nano else "other", profile=run.profile, scale_note=note, data_hash=identity["data_hash"],
        template_hash=identity["template_hash"], seed=recipe.seed, r=recipe.r, alpha=recipe.alpha, untuned=untuned, val_loss=best["val_loss"],
        epoch=best["epoch"], epochs=recipe.epochs, scores=scores,
    )  # fmt: skip


def run_path(run: RunConfig, model: str) -> Path:
    """`runs/<model>--<profile>--seed<n>.json`."""
    return run.paths.folder("runs") / f"{model}--{run.profile}--seed{run.seed}.json"


def write_run(path: Path, record: dict, adapter: Path) -> dict:
    """Complete a record (adapter hash, versions, device, git state), write it, and return it as read back."""
    record = record | {"adapter_hash": folder_hash(adapter), "versions": versions(), "device": device_name(), "git": git_state()}
    plain = {k: asdict(v) if hasattr(v, "__dataclass_fields__") else v for k, v in record.items()}
    write_atomically(path, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def finished(path: Path, mark: str, folders: dict[str, Path]) -> dict | None:
    """The record at `path` if it is of the same configuration (`mark`) and the `folders` whose hashes it holds by name are unharmed; else None."""
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    whole = all(folder.exists() and folder_hash(folder) == record.get(name) for name, folder in folders.items())
    return record if whole and record.get("fingerprint") == mark else None


def load_runs(run: RunConfig) -> list[dict]:
    """All run records of a run, in the registry's order of models."""
    return read_runs(run.paths.folder("runs"), run.model_keys)


def read_runs(folder: Path, models: tuple[str, ...]) -> list[dict]:
    """The run records of `models` in a folder, in that order."""
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]
    return sorted((r for r in found if r["model"] in models), key=lambda r: models.index(r["model"]))
