"""Prediction files: one row an answer, written and read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ..config import RunConfig
from ..files import write_atomically
from ..prompts import chat
from .targets import options_of


def predictions_frame(test: pd.DataFrame, answers: list[str], system: str) -> pd.DataFrame:
    """The rows of one prediction file. An empty answer is a failed generation."""
    return pd.DataFrame(
        {
            "id": test["id"], "prediction": answers, "reference": test["reference"], "persona_id": test["persona_id"],
            "persona": [chat.render_card(c) for c in test["persona"]], "domain": test["domain"], "question_id": test["question_id"],
            "question": test["question"], "question_type": test["question_type"], "options": options_of(test),
            "status": ["ok" if a.strip() else "failed" for a in answers], "system": system,
        }
    ).reset_index(drop=True)  # fmt: skip


def write_predictions(run: RunConfig, preds: pd.DataFrame) -> Path:
    """Write `preds/<system>.jsonl`, one object a line, atomically."""
    path = run.paths.folder("preds") / f"{preds['system'].iloc[0]}.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in preds.drop(columns="system").to_dict("records")]
    write_atomically(path, "\n".join(lines) + "\n")
    return path


def load_predictions(folder: Path) -> pd.DataFrame:
    """All prediction files of a run in one frame with a `system` column. Raises FileNotFoundError if there is none."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder}: no predictions; run notebook 04 first")
    frames = [pd.DataFrame([json.loads(line) for line in f.read_text(encoding="utf-8").splitlines()]).assign(system=f.stem) for f in files]
    return pd.concat(frames, ignore_index=True)
