"""The run that is disturbed. Small: the runner's command on three short notebooks around the product's own data set, training and tables. Full: smoke."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil

from polypersona_lib.files import file_hash, sha256
from polypersona_lib.paths import ROOT

MODEL = "qwen1.5-moe"  # routed experts: the twin whose adapter and checkpoints are easiest to get wrong
PARAMETERS = 'profile = "nano"\nsplit = "paper"\nseed = 42\ndata = ""\nfaults = "stop"\nout = ""\nmodels = ""'
OPENING = "from polypersona_lib.config import RunConfig\n\nrun = RunConfig(profile=profile, out=out, models=models)"
BODIES = {
    "01_data": """import json
import pandas as pd
from polypersona_lib import files, paths
from polypersona_lib.world import dataset

rows = {"train": 48, "validation": 6, "test": 4}
published = {part: pd.read_parquet(paths.DATASET / "paper" / f"{part}.parquet").head(rows[part]).assign(paper=part) for part in rows}
dataset.write_splits(pd.concat(published.values()), "paper", run.paths.folder("dataset"))
report = {"rows": rows, "data_version": dataset.DATA_VERSION}
files.write_atomically(run.paths.folder("dataset") / "report.json", json.dumps(report))""",
    "02_training": """from polypersona_lib.processes import side_by_side
from tests.faults.small_training import train

for number, line in side_by_side(train, [(out, models, key) for key in models.split(",")]):
    print(line)""",
    "03_table": """import pandas as pd
from polypersona_lib import cells
from polypersona_lib.world import dataset

rows = pd.concat([dataset.read_split(run.paths.results / "dataset", part) for part in dataset.SPLITS])
counts = rows.groupby(["domain", "question_type"]).size().reset_index(name="records")
cells.write_table(counts, "small_counts", run.paths.folder("tables"), "Records by domain and type.", f"{run.name}, seed {run.seed}")""",
}
COMPARED = ("dataset", "adapters", "preds", "administration", "scores", "tables", "runs")
CAUSES = {
    "manifest.json": "wall time, peak memory and the hour each stage ended",
    "notebooks/": "papermill notes when each cell ran",
    "tensorboard/": "the Trainer's log of losses has the time in names and entries",
    "report.html, summary.json": "they repeat times and memory",
    "runs/*.json": "these fields alone: time, memory, speed, which checkpoint it went on from, commit, the record's own hash",
}
"""What is not equal to the byte from run to run, and why. Everything else in `COMPARED` has to be."""
RUN_FIELDS = ("train_time_s", "peak_memory_mb", "tokens_per_s", "computed_per_s", "resumed_from", "skipped_checkpoints", "git", "record_hash")
WAIT_S, FULL_WAIT_S = 900, 7200  # for anything that a run does next, on a machine that is busy with something else


def notebook(folder: Path, name: str, body: str) -> None:
    """Write one short notebook: parameters, opening, work, end mark."""
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, OPENING, body, f"run.finish({name[:2]!r})")]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    (folder / f"{name}.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)), encoding="utf-8")


def project(root: Path, names: tuple[str, ...]) -> Path:
    """A project of its own: some of the small notebooks beside this project's package."""
    (root / "notebooks").mkdir(parents=True)
    (root / "polypersona_lib").symlink_to(ROOT / "polypersona_lib")
    for name in names:
        notebook(root / "notebooks", name, BODIES[name])
    return root


@dataclass
class Bench:
    """Where faults are tried: the folder of all runs, their size, and the undisturbed run that all of them are compared with."""

    folder: Path
    full: bool = False
    seed: int = 0
    kills: int = 3
    took_s: float = field(default=0.0, init=False)

    @property
    def whole(self) -> Path:
        """The folder of the undisturbed run."""
        return self.folder / "undisturbed"

    def prepare(self) -> None:
        """Make the projects and the undisturbed run. Raises RuntimeError with its last lines if that run fails."""
        if not self.full:
            project(self.folder / "all", tuple(BODIES))
            project(self.folder / "light", ("01_data", "03_table"))
        began = time.monotonic()
        run = Running(self, self.whole)
        if run.wait():
            raise RuntimeError(f"the undisturbed run failed: {run.said()}")
        self.took_s = time.monotonic() - began

    def command(self, out: Path, *, light: bool) -> list[str]:
        """The command of a run; `light` leaves the training out (at full size nothing is left out)."""
        if self.full:
            return [sys.executable, "-P", "-m", "polypersona_lib.runner.pipeline", "smoke", "--out", str(out)]
        place = self.folder / ("light" if light else "all")
        return [sys.executable, "-P", "-m", "tests.faults.command", str(place), "smoke", "--models", MODEL, "--out", str(out)]

    def copy(self, name: str) -> Path:
        """A copy of the undisturbed run to be damaged."""
        return shutil.copytree(self.whole, self.folder / name)


class Running:
    """A run in processes of its own. `fault` is injected into them (`injected/sitecustomize.py`), `variables` change their environment."""

    def __init__(self, bench: Bench, out: Path, *, light: bool = False, fault: str = "", variables: dict | None = None, **options):
        self.out, self.patience_s = out, FULL_WAIT_S if bench.full else WAIT_S
        out.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(Path(__file__).parent / "injected"), str(ROOT)] if fault else [str(ROOT)])
        environment = os.environ | {"PYTHONPATH": path, "POLYPERSONA_FAULT": fault} | (variables or {})
        self.log = bench.folder / f"{out.name}.{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                bench.command(out, light=light), cwd=bench.folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **options
            )

    def wait(self) -> int:
        """The exit status, as Python has it: negative for a signal."""
        return self.process.wait(timeout=self.patience_s)

    def said(self, lines: int = 3) -> str:
        """The last lines that a user sees."""
        shown = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.strip()]
        return "\n".join(shown[-lines:])

    def until(self, condition: Callable[[], object], what: str) -> object:
        """Wait for what `condition` returns to be true. Raises AssertionError if the run ends first, or if it takes too long."""
        end = time.monotonic() + self.patience_s
        while not (value := condition()):
            assert self.process.poll() is None and time.monotonic() < end, f"no {what}: {self.said(6)}"
            time.sleep(0.05)
        return value

    def descendants(self, kind: str = "") -> list[psutil.Process]:
        """The processes below the driver; of a `kind`: "kernel" or "worker"."""
        mark = {"": "", "kernel": "ipykernel_launcher", "worker": "--multiprocessing-fork"}[kind]
        chosen = []
        try:
            for process in psutil.Process(self.process.pid).children(recursive=True):
                if mark in " ".join(process.cmdline()):
                    chosen.append(process)
        except psutil.Error:
            return []
        return chosen


def results(out: Path) -> Path:
    """The results folder of a run in `out`."""
    return out / "results" / "smoke"


def stages(out: Path) -> dict:
    """What the manifest says of each stage; {} if there is none yet."""
    path = results(out) / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))["stages"] if path.exists() else {}


def lost(out: Path) -> list[str]:
    """The files of stages noted as done that are gone or not what they were."""
    done = [entry for entry in stages(out).values() if entry["status"] == "done"]
    return [name for entry in done for name, digest in entry["outputs"].items() if not (out / name).is_file() or file_hash(out / name) != digest]


def content(path: Path) -> str:
    """The hash of a file's content, without the fields of a run record that differ from run to run."""
    if path.parent.name != "runs":
        return sha256(path.read_bytes())
    record = json.loads(path.read_text(encoding="utf-8"))
    return sha256(json.dumps({name: value for name, value in record.items() if name not in RUN_FIELDS}))


def contents(out: Path) -> dict[str, str]:
    """`{name: hash}` of everything that has to be equal from run to run; hidden files are unfinished work and must be gone."""
    folders = [*(results(out) / name for name in COMPARED), out / "figures"]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(out).as_posix(): content(path) for path in files}


def differences(bench: Bench, out: Path) -> list[str]:
    """The files of a run that differ from the undisturbed one's (a light run has no others than its own)."""
    mine, theirs = contents(out), contents(bench.whole)
    left_out = set() if "02" in stages(out) or bench.full else {n for n in theirs if n.split("/")[2] in ("adapters", "runs", "preds")}
    return sorted(name for name in mine.keys() | theirs.keys() - left_out if mine.get(name) != theirs.get(name))
