"""The data set as files: three splits of one configuration, written and read, with their hash and the leakage report."""

import hashlib
import json
from pathlib import Path

import pandas as pd

DATA_VERSION = 2  # of the embedded world: data/polypersona/CHANGELOG.md says what changed
OLDER = {"3dfa9fbd75749bef": 1, "29de93087f26efc5": 1}  # `data_hash` of earlier versions, paper and grouped split -> version
SPLITS = ("train", "validation", "test")
SPLIT_ROWS = {"train": 2854, "validation": 357, "test": 357}  # 80/10/10: paper, section III-D
COLUMNS = ("id", "messages", "persona", "domain", "question", "question_type", "reference", "meta")


def apportion(total: int, weights: list[float]) -> list[int]:
    """Whole numbers that sum to `total`, proportional to `weights` (largest remainder)."""
    exact = [total * w / sum(weights) for w in weights]
    floors = [int(e) for e in exact]
    order = sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i))
    for i in order[: total - sum(floors)]:
        floors[i] += 1
    return floors


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


def written_hash(folder: Path) -> str:
    """`data_hash` of a folder that `write_splits` wrote; "" if another hand wrote it."""
    try:
        return data_hash({part: pd.read_parquet(folder / f"{part}.parquet", columns=["id", "messages"]).map(_plain) for part in SPLITS})
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _plain(value):
    """A cell as JSON takes it: the messages as a list of dicts."""
    return value if isinstance(value, str) else [dict(m) for m in value]


def older_version(report: dict, place: str, remedy: str) -> str:
    """One line that refuses data which a report (`data_hash`, `data_version`) shows to be an earlier version of the embedded ones; "" if they are not."""
    version = report.get("data_version") or OLDER.get(report.get("data_hash"), DATA_VERSION)
    return "" if version == DATA_VERSION else f"{place}: version {version} of this project's data, and this is the code for version {DATA_VERSION}; {remedy}"
