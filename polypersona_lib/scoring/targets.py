"""The options of closed items, the option each reference takes, and the splits of a run with both."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import paths
from ..config import RunConfig
from ..locate import find, headless
from ..world import dataset
from ..world.questions import SCALES
from .option_labels import read_option

DEFAULT_OPTIONS = {"likert": SCALES["agreement"], "agreement": SCALES["agreement"], "yesno": SCALES["yesno"]}  # foreign data name no options


def options_of(frame: pd.DataFrame) -> list:
    """Each row's options; foreign closed items without any are read on the usual scale of their type; None for open items."""
    given = frame["options"] if "options" in frame else [None] * len(frame)
    return [
        list(o) if o is not None and len(o) else list(DEFAULT_OPTIONS[t]) if t in DEFAULT_OPTIONS else None
        for o, t in zip(given, frame["question_type"], strict=True)
    ]


def with_targets(frame: pd.DataFrame, reader=None) -> pd.DataFrame:
    """Add `target`, the option the reference takes: the known truth of embedded records, else what the stance reader finds (NaN: none)."""
    known = [t.get("option") if isinstance(t, dict) and t.get("option", -1) >= 0 else None for t in frame.get("truth", [None] * len(frame))]
    read = [k if k is not None else read_option(r, o) if o else None for k, r, o in zip(known, frame["reference"], options_of(frame), strict=True)]
    return frame.assign(target=pd.array([np.nan if t is None else t for t in read], dtype="Float64").to_numpy(dtype=float, na_value=np.nan))


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
