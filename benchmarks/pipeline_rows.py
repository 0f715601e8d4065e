"""The whole study at smoke scale: our runner beside papermill in sequence, then the runner again with nothing changed, and with one label changed.

Everything happens in a copy of the project, so that a label can be changed; each side writes into a folder of its own and keeps what it makes once on a
machine in an empty cache, so that cold is cold. The gate compares what was computed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from unittest.mock import patch

from polypersona_lib.paths import CACHE

from .measuring import Check, Comparison, Contender, Reading

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("polypersona_lib", "data", "notebooks", "requirements.lock", "requirements-models.lock", "pyproject.toml", "results/shipped", "figures/shipped")
COMPARED = ("dataset/*.parquet", "preds/*.jsonl", "scores/*.csv", "tables/*.csv")
LABELS = {  # of an axis: file, text, another text; drawn by notebook 10, and if small by 02
    False: ("polypersona_lib/figures/distribution_figures.py", '"System\'s gap (0–1)"', '"The system\'s gap (0–1)"'),
    True: ("polypersona_lib/figures/data_figures.py", '"Records"', '"Number of records"'),
}
REPORT = "90"  # shows every picture, so it runs again whichever was changed
SMALL_NOTEBOOKS = ("01", "02")
UNCHANGED_S = 2.0


@dataclass
class Copy:
    """A copy of the project in `root`; every run writes into a new folder beside it."""

    root: Path
    numbers: count = field(default_factory=count)

    def new_folder(self) -> Path:
        """An empty output folder."""
        folder = self.root.parent / f"out-{next(self.numbers)}"
        folder.mkdir()
        return folder

    def variables(self, out: Path) -> dict[str, str]:
        """Environment variables of a run into `out`: this copy's code, and a cache that only this run has."""
        return {"PYTHONPATH": str(self.root), CACHE: str(out.with_name(f"{out.name}-cache"))}

    def run(self, out: Path) -> str:
        """`./run_all.sh smoke --out OUT` without the set-up of the environment: what it printed. Raises RuntimeError if it failed."""
        command = [sys.executable, "-P", "-m", "polypersona_lib.runner.pipeline", "smoke", "--out", str(out)]
        done = subprocess.run(command, cwd=self.root, env=os.environ | self.variables(out), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the run ended with status {done.returncode}: {(done.stdout + done.stderr).strip()[-400:]}")
        return done.stdout

    def papermill(self, out: Path) -> None:
        """The same notebooks with the same parameters, one after the other, as papermill runs them."""
        import papermill

        from polypersona_lib.processes import kernel_environment
        from polypersona_lib.runner.stages import check_parameters, find_stages, of_profile

        stages = of_profile(find_stages(self.root / "notebooks"), "smoke")
        given = {"profile": "smoke", "split": "paper", "seed": 42, "data": "", "faults": "stop", "out": str(out), "models": ""}
        declared = check_parameters(stages, given)
        variables = kernel_environment(out / ".kernel", python_path=self.root, extra={"HF_HUB_OFFLINE": "1", "POLYPERSONA_NONCE": "papermill"})
        (out / "executed").mkdir()
        with patch.dict(os.environ, self.variables(out) | variables):
            for number, notebook in stages.items():
                done, folder = out / "executed" / notebook.name, str(notebook.parent)
                papermill.execute_notebook(
                    notebook, done, parameters=declared[number], cwd=folder, progress_bar=False, kernel_name="python3", start_timeout=300
                )


def copied(folder: Path, *, small: bool) -> Copy:
    """A copy of the project in `folder`; with two notebooks alone if `small`."""
    copy = Copy(folder / "project")
    for name in COPIED:
        source, target = ROOT / name, copy.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)
    for notebook in (copy.root / "notebooks").glob("*.ipynb") if small else ():
        if notebook.name[:2] not in SMALL_NOTEBOOKS:
            notebook.unlink()
    return copy


def pipeline(*, small: bool, folder: Path) -> Comparison:
    """A cold smoke run of all its notebooks (01 and 02 if `small`) beside papermill, then runs with nothing and with one label changed."""
    copy, last = copied(folder, small=small), {}

    def ours() -> Path:
        last["out"] = copy.new_folder()
        copy.run(last["out"])
        return last["out"]

    def papermill() -> Path:
        out = copy.new_folder()
        copy.papermill(out)
        return out

    contenders = [
        Contender(name="ours", work=ours, note="the runner, cold"),
        Contender(name="papermill in sequence", work=papermill, goal=1.8, note="papermill.execute_notebook in one process, a kernel a notebook"),
    ]
    title = f"run_all.sh smoke, {'notebooks ' + ' and '.join(SMALL_NOTEBOOKS) if small else 'all its notebooks'}, cold"
    return Comparison(title=title, contenders=contenders, gate=_same_files, readings=lambda medians: again(copy, last["out"], LABELS[small]))


def _same_files(folders: Mapping[str, Path]) -> list[Check]:
    """The files that both have computed, byte by byte."""
    ours, other = (out / "results" / "smoke" for out in folders.values())
    names = {side: {path.relative_to(side).as_posix() for glob in COMPARED for path in side.glob(glob)} for side in (ours, other)}
    both = names[ours] & names[other]
    return [
        Check("files that only one side has", len(names[ours] ^ names[other]), 0),
        Check(f"files of {len(both)} that differ", sum((ours / name).read_bytes() != (other / name).read_bytes() for name in both), 0),
        Check("no file to compare", float(not both), 0),
    ]


def again(copy: Copy, out: Path, label: tuple[str, str, str]) -> list[Reading]:
    """The same run twice more: nothing changed, then the label of one axis."""
    began = time.perf_counter()
    said = copy.run(out)
    unchanged = time.perf_counter() - began
    path, old, new = label
    text = (copy.root / path).read_text(encoding="utf-8")
    if old not in text:
        raise RuntimeError(f"{path} has no label {old}: choose another one for this row")
    (copy.root / path).write_text(text.replace(old, new, 1), encoding="utf-8")
    began = time.perf_counter()
    changed_said = copy.run(out)
    changed = time.perf_counter() - began
    return [
        Reading("seconds with nothing changed", unchanged, "s", UNCHANGED_S),
        Reading("notebooks run with nothing changed", len(ran(said)), "", 0),
        Reading("notebooks run with one label changed, apart from the report", len(ran(changed_said) - {REPORT}), "", 1),
        Reading("seconds with one label changed", changed, "s"),
    ]


def ran(said: str) -> set[str]:
    """The numbers of the notebooks that a run executed, from what it printed."""
    return set(re.findall(r"(?m)^(\d\d) .* running \(", said))
