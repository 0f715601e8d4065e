"""The data of a run: the embedded records or the user's, written as three splits with a report."""

from __future__ import annotations

import json
from pathlib import Path

from .. import files
from ..config import RunConfig
from . import dataset

# --- 01: data ------------------------------------------------------------------------------------------------------------------


def prepare_data(run: RunConfig) -> dict:
    """Build the embedded data set, or import the user's, and write `dataset/{train,validation,test}.parquet` and `dataset/report.json`.

    Returns: the report: counts, leakage, and for foreign data the faults and how they were treated.
    Raises: InputError for bad foreign data; ValueError if a persona-question pair is in two splits of our own data.
    """
    folder = run.paths.folder("dataset")
    report = {"run": run.name, "source": run.data and Path(run.data).name or "embedded", "split": run.split, "faults_mode": run.faults}
    if run.data:
        from ..intake.dataset_import import import_dataset

        parts, found = import_dataset(Path(run.data), run.faults)
        for name, frame in parts.items():
            frame.loc[:, list(dataset.COLUMNS)].to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
        report["import"] = found.to_dict()
    else:
        frame = dataset.build(run.seed)
        if run.settings.rows:
            frame = dataset.subset(frame, run.settings.rows, run.split)
        dataset.write_splits(frame, run.split, folder)
    parts = {part: dataset.read_split(folder, part) for part in dataset.SPLITS}
    report["rows"] = {name: len(frame) for name, frame in parts.items()}
    report["data_hash"] = dataset.data_hash(parts)
    report["leakage"] = dataset.leakage_report(parts)
    repeated = {k: n for k, n in report["leakage"].items() if "pair" in k and n}
    if repeated and not run.data:
        raise ValueError(f"the data set repeats persona-question pairs: {repeated}")
    files.write_atomically(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report
