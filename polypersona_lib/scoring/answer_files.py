"""The answers that are scored: every record with the option its reference takes, and the predictions of every system, one file each."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths
from ..config import RunConfig
from ..files import write_atomically
from ..locate import find, headless
from ..prompts import chat
from ..world import dataset
from .option_labels import options_of, read_option


def with_targets(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `target`, the option the reference takes: the known truth of embedded records, else what the label rule finds (NaN: none)."""
    known = [t.get("option") if isinstance(t, dict) and t.get("option", -1) >= 0 else None for t in frame.get("truth", [None] * len(frame))]
    read = [k if k is not None else read_option(r, o) if o else None for k, r, o in zip(known, frame["reference"], options_of(frame), strict=True)]
    return frame.assign(target=np.array([np.nan if option is None else option for option in read], dtype=float))


def load_data(run: RunConfig) -> dict[str, pd.DataFrame]:
    """The run's three splits with `target` (the option each reference takes) and `part`; opened alone: the published data set."""
    try:
        folder = find(run, "dataset")
    except FileNotFoundError:
        if headless() or run.data:
            raise
        folder = paths.DATASET / run.split
        print(f"dataset: this run has none yet, so the published one is read (data/polypersona/{run.split})")
    parts = {part: dataset.read_split(folder, part) for part in dataset.SPLITS}
    return {name: with_targets(frame).assign(part=name) for name, frame in parts.items()}


def predictions_frame(test: pd.DataFrame, answers: list[str], system: str, *, reasons: list[str] | None = None) -> pd.DataFrame:
    """The rows of one prediction file. An empty answer is a failed generation; `reasons` say why (a column of systems that may not be asked everything)."""
    rows = pd.DataFrame(
        {
            "id": test["id"], "prediction": answers, "reference": test["reference"], "persona_id": test["persona_id"],
            "persona": [chat.render_card(c) for c in test["persona"]], "domain": test["domain"], "question_id": test["question_id"],
            "question": test["question"], "question_type": test["question_type"], "options": options_of(test),
            "status": ["ok" if a.strip() else "failed" for a in answers], "system": system,
        }
    ).reset_index(drop=True)  # fmt: skip
    return rows if reasons is None else rows.assign(reason=reasons)


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
