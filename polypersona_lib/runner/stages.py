"""What the stages of a run are and what each depends on: notebooks, parameters, inputs, signature, outputs."""

import ast
import difflib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import PROFILES
from ..errors import InputError
from ..files import file_hash, read_json, value_hash
from ..locate import ALSO_SMOKE, ASIDE, EARLIER, LEFT_OUT, MODEL_STAGES, READS, STAGE_VARIABLES, notebook_cells
from ..models.weights import lacking
from ..paths import ROOT
from ..registry import REAL_MODELS
from . import manifest
from .execution import Outcome


def find_stages(notebooks: Path) -> dict[str, Path]:
    """`{number: notebook}` of the run's notebooks in order; `00_*` and unnumbered ones are not part of it. Raises InputError on a shared number."""
    stages: dict[str, Path] = {}
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        if path.name[:2] in stages:
            raise InputError(f"{stages[path.name[:2]].name} and {path.name} have the same number")
        if path.name[:2] != "00":
            stages[path.name[:2]] = path
    if not stages:
        raise InputError(f"no notebooks like 01_name.ipynb in {notebooks}")
    return stages


def of_profile(stages: Mapping[str, Path], profile: str, *, data: str = "") -> dict[str, Path]:
    """The stages that a profile runs: its own and stage 01 for a study that stands aside, all the others else; with `data` never the study that takes none."""
    own = {number for number, name in ASIDE.items() if name == profile}
    aside = set(ASIDE) - {number for number in ALSO_SMOKE if profile == "smoke" and not (data and ASIDE[number] == "bias")}
    without = {*aside, *(PROFILES[profile].without if profile in PROFILES else ())}
    return {number: path for number, path in stages.items() if (number in own | {"01"} if own else number not in without)}


def no_stage(number: str, stages: Mapping[str, Path]) -> str:
    """Why a run of `stages` has no stage `number`, and which command would run it."""
    if number == "00":
        return "notebook 00 is no part of a run; open it in JupyterLab, or: python -m polypersona_lib probe"
    if number in ASIDE:
        return f"notebook {number} is no part of this run; it is run by ./run_all.sh {ASIDE[number]}"
    return f"there is no stage {number!r} (stages: {', '.join(stages)})"


def not_yet(lacking: Sequence[str], run: str) -> str:
    """What to do when stages before the chosen one are not done."""
    named = f"stage {lacking[0]} has" if len(lacking) == 1 else f"stages {', '.join(lacking)} have"
    return f"{named} not been run yet for {run}; without --from/--only all are run (opened in JupyterLab, a notebook shows the published results at once)"


def declared_parameters(path: Path) -> dict[str, Any]:
    """Names and default values of a notebook's cell tagged `parameters`. Raises InputError unless it is one cell of literal assignments."""
    cells = [cell for cell in notebook_cells(path) if "parameters" in cell["tags"]]
    if len(cells) != 1:
        raise InputError(f"{path.name} has {len(cells)} cells tagged 'parameters', expected one")
    values = {}
    try:
        for node in ast.parse(cells[0]["source"]).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            values[target.id] = ast.literal_eval(node.value)
    except (SyntaxError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path.name}: the parameters cell may only hold lines like name = literal") from error
    return values


def check_parameters(stages: Mapping[str, Path], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters to pass to each stage: those it declares. Raises InputError on a name nobody declares or a type that differs."""
    chosen: dict[str, dict[str, Any]] = {}
    known: set[str] = set()
    for number, path in stages.items():
        declared = declared_parameters(path)
        known |= declared.keys()
        chosen[number] = {name: value for name, value in given.items() if name in declared}
        for name, value in chosen[number].items():
            wanted = type(declared[name])
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise InputError(f"{path.name}: parameter {name} is {wanted.__name__} (default {declared[name]!r}), got {type(value).__name__} {value!r}")
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise InputError(f"no notebook has a parameter {name!r}" + (f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(sorted(known))})"))
    return chosen


@dataclass(frozen=True)
class Project:
    """Where the notebooks lie and what they depend on: in `root` the folder `notebooks`, the `package` and the lock; what each stage `reads`."""

    root: Path = ROOT
    package: str = "polypersona_lib"
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: READS)

    @property
    def library(self) -> Path:
        """The package's folder."""
        return self.root / self.package


class Run:
    """The state of one run of the pipeline: folders, manifest, and what each stage depends on."""

    def __init__(self, run: Any, project: Project) -> None:
        self.project, self.results, self.figures = project, Path(run.paths.results), Path(run.paths.figures)
        self.base = Path(os.path.commonpath([self.results, self.figures]))
        self.manifest = manifest.Manifest(self.results / "manifest.json", run.name)

    def name(self, path: Path) -> str:
        """A path as the manifest writes it: relative to the output folder."""
        return path.relative_to(self.base).as_posix()

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of the run with its time and size."""
        paths = [path for folder in (self.results, self.figures) for path in manifest.files_under(folder) if path.name != "manifest.json"]
        return {self.name(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    def inputs(self, number: str, parameters: Mapping[str, Any]) -> dict[str, Path]:
        """The files stage `number` reads, by the name the signature knows them by; what it or a later stage wrote is no input."""
        read: dict[str, Path] = {}
        own = self.manifest.outputs(since=number)
        for item in self.project.reads.get(number, (EARLIER,)):
            kind, _, rest = item.rpartition(":")
            if item == EARLIER:
                read |= {name: self.base / name for name in self.manifest.outputs(before=number) - own if (self.base / name).is_file()}
            elif kind == "parameter":  # a folder, or entries of --models of which some are folders
                folders = [Path(entry) for entry in str(parameters.get(rest) or "").split("," if rest == "models" else "\0") if entry and Path(entry).is_dir()]
                read |= {f"{rest}:{path.relative_to(folder.parent).as_posix()}": path for folder in folders for path in manifest.files_under(folder)}
            else:
                outside = kind in ("project", "out")
                root = {"project": self.project.root, "out": self.base, "figures": self.figures}.get(kind, self.results)
                files = [path for match in sorted(root.glob(rest)) for path in manifest.files_under(match)]
                named = {path.relative_to(root).as_posix() if outside else self.name(path): path for path in files}
                read |= {name: path for name, path in named.items() if outside or name not in own}
        return read

    def parts(self, number: str, notebook: Path, parameters: Mapping[str, Any]) -> dict[str, str]:
        """The stage's signature, part by part: `{what: hash}`."""
        cells = notebook_cells(notebook)
        code = [cell["source"] for cell in cells if cell["type"] == "code"]
        parts = {f"notebook {notebook.name}": value_hash(cells)}
        parts |= {f"parameter {name}": value_hash(value) for name, value in parameters.items() if name != "out"}
        parts |= {f"module {path.relative_to(self.project.root).as_posix()}": file_hash(path) for path in manifest.library_files(code, self.project.library)}
        parts |= {f"input {name}": file_hash(path) for name, path in self.inputs(number, parameters).items()}
        if number in MODEL_STAGES:
            parts |= {f"weights {key} here": value_hash(not lacking(spec)) for key, spec in REAL_MODELS.items()}
        parts |= {f"variable {name}": value_hash(os.environ[name]) for name in STAGE_VARIABLES.get(number, ()) if os.environ.get(name, "").strip()}
        if (lock := self.project.root / "requirements.lock").is_file():
            parts[f"packages {lock.name}"] = file_hash(lock)
        return parts

    def why(self, number: str, parts: dict[str, str]) -> str:
        """Why the stage has to run; "" if it has not to. Models that were not available last time (gated, or no network) are tried again."""
        later = {name for other, entry in self.manifest.stages.items() if other > number for name in entry.get("outputs", {})}
        left_out = self.results / LEFT_OUT
        if self.name(left_out) in self.manifest.stages.get(number, {}).get("outputs", {}) and (absent := read_json(left_out)):
            return f"{', '.join(map(str, absent))}: not available last time"
        return manifest.reason_to_run(self.manifest.stages.get(number), parts, self.base, later)

    def holds_other_data(self, number: str, parts: dict[str, str]) -> bool:
        """Whether the stage was done with another folder of `--data`, with other files: runs are named by the folder's name alone, without its place."""
        entry = self.manifest.stages.get(number, {})
        done = entry.get("parts", parts) if entry.get("status") == "done" else parts
        changed = {name for name in done.keys() | parts.keys() if done.get(name) != parts.get(name)}
        return "parameter data" in changed and any(name.startswith("input data:") for name in changed)

    def begin(self, number: str, notebook: Path) -> None:
        """Note that a stage is running: whatever happens now, it is not done."""
        outputs = self.manifest.stages.get(number, {}).get("outputs", {})
        self.manifest.stages[number] = {"notebook": notebook.name, "status": "running", "outputs": outputs}
        self.manifest.save()

    def end(self, number: str, outcome: Outcome, parts: dict[str, str], before: dict[str, tuple[int, int]]) -> None:
        """Record how the stage ended, with the hashes of all files it has written and of its executed copy (`open` trusts no other)."""
        entry, now = self.manifest.stages[number], self.files()
        written = {name for name, state in now.items() if before.get(name) != state} | (entry["outputs"].keys() & now.keys())
        entry["outputs"] = {name: file_hash(self.base / name) for name in sorted(written)}
        entry["status"] = "done" if outcome.status == "ok" else "failed"
        if outcome.status == "ok" and outcome.notebook:
            entry["executed"] = file_hash(outcome.notebook)
        entry["parts"] = {name: digest for name, digest in parts.items() if name.removeprefix("input ") not in written}
        entry["signature"] = value_hash(entry["parts"])
        entry |= {"wall_time_s": outcome.wall_time_s, "peak_memory_mb": outcome.peak_memory_mb, "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        self.manifest.save()
