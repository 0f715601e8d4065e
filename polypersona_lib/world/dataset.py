"""The data set as files: three splits of one configuration, written and read, with their hash and the leakage report."""

import hashlib
import json
from pathlib import Path

import pandas as pd

SPLITS = ("train", "validation", "test")
SPLIT_ROWS = {"train": 2854, "validation": 357, "test": 357}  # 80/10/10: paper, section III-D
COLUMNS = ("id", "messages", "persona", "domain", "question", "question_type", "reference", "meta")


def write_splits(frame: pd.DataFrame, split: str, folder: Path) -> list[Path]:
    """Write train/validation/test Parquet files of one configuration; the bytes depend on the content alone."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for part in SPLITS:
        path = folder / f"{part}.parquet"
        frame.loc[frame[split] == part, list(COLUMNS)].reset_index(drop=True).to_parquet(path, index=False, compression="zstd")
        written.append(path)
    return written


def read_split(folder: Path, part: str) -> pd.DataFrame:
    """Read one part; `persona` and `meta` are parsed and the keys of `meta` become columns (persona_id, question_id, options...)."""
    frame = pd.read_parquet(folder / f"{part}.parquet")
    frame["persona"] = frame["persona"].map(json.loads)
    meta = frame.pop("meta").map(json.loads)
    for key in ("persona_id", "question_id", "options", "truth"):
        frame[key] = [m.get(key) for m in meta]
    frame["messages"] = [[dict(m) for m in ms] for ms in frame["messages"]]
    return frame


def leakage_report(parts: dict[str, pd.DataFrame]) -> dict[str, int]:
    """What two splits share, train against the others: persona-question pairs, records, personas, answers (as counts of rows)."""
    train, report = parts["train"], {}
    pairs, people, answers = (set(zip(train.persona_id, train.question_id, strict=True)), set(train.persona_id), set(train.reference))
    for name in SPLITS[1:]:
        part = parts[name]
        report[f"{name}: persona-question pairs in train"] = sum(p in pairs for p in zip(part.persona_id, part.question_id, strict=True))
        report[f"{name}: rows whose persona is in train"] = int(part.persona_id.isin(people).sum())
        report[f"{name}: answers word for word in train"] = int(part.reference.isin(answers).sum())
    every = pd.concat(parts.values())
    report["persona-question pairs asked twice"] = int(every.duplicated(["persona_id", "question_id"]).sum())
    report["duplicate ids"] = int(every["id"].duplicated().sum())
    return report


def data_hash(parts: dict[str, pd.DataFrame]) -> str:
    """sha256 (16 digits) over ids, messages and references of all splits, in order."""
    digest = hashlib.sha256()
    for name, frame in parts.items():
        digest.update(name.encode())
        for row in zip(frame["id"], frame["messages"], strict=True):
            digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()[:16]
