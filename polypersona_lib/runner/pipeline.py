"""The runner: executes the notebooks in order, skips what has not changed, and says what happened.

    python -m polypersona_lib.runner.pipeline [PROFILE] [options]        (what ./run_all.sh calls)

Exit status: 0 all stages done, 1 a stage failed, 2 bad arguments or bad input, 3 another run has this results folder, 130 interrupted.
"""

import signal

if __name__ == "__main__":  # Ctrl-C while the imports take their second ends the process without a traceback; `_signals` takes over when a run begins
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import processes, progress
from ..__main__ import quiet_pipes
from ..errors import InputError, one_line, printable
from ..files import read_json
from ..models import answer_budget
from ..registry import WEIGHTS
from . import doctor, execution, manifest
from .options import parse
from .stages import Project, Run, check_parameters, find_stages, no_stage, not_yet, of_profile


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived."""


@dataclass(frozen=True)
class Choice:
    """Which stages to run: all, from number `first` on, or `only` one (the stages before must have been run); with `force` also what has not changed."""

    first: str = ""
    only: str = ""
    force: bool = False

    def leaves(self, number: str) -> bool:
        """Whether the stage stands before the chosen ones."""
        return number < (self.only or self.first)


def run_stages(
    run: Any,
    parameters: Mapping[str, Any],
    *,
    choice: Choice = Choice(),  # noqa: B008 (frozen)
    project: Project = Project(),  # noqa: B008
    variables: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Run the project's notebooks for one run, skipping what has not changed. Returns the exit status (see the module's header).

    Args:
        run: has `name`, `paths.results` and `paths.figures` (a `config.RunConfig`).
        parameters: checked by name and type against every notebook before the first cell runs; each notebook gets those it declares.
        variables: more environment variables for the kernels. say: prints a line.
    """
    try:
        stages = of_profile(find_stages(project.root / "notebooks"), parameters.get("profile", ""), data=parameters.get("data", ""))
        for number in filter(None, (choice.first, choice.only)):
            if number not in stages:
                raise InputError(no_stage(number, stages))
        declared = check_parameters(stages, parameters)
        folder = Path(run.paths.results)
        with manifest.run_lock(folder):
            processes.end_orphans(folder / ".kernel")
            manifest.remove_unfinished(folder, Path(run.paths.figures))
            with _signals():
                return _run_chosen(Run(run, project), stages, declared, choice, variables or {}, say)
    except Interrupted as stop:
        say(f"\nstopped by {stop}; no kernel is left running; the same command goes on from here")
        return 130
    except manifest.RunBusy as busy:
        say(f"error: {busy}")
        return 3
    except ValueError as error:
        say(f"error: {error}")
        return 2


def _run_chosen(state: Run, stages: dict[str, Path], declared: dict[str, dict], choice: Choice, variables: Mapping, say: Callable) -> int:
    """Run or skip each chosen stage; returns the exit status. `declared`: what each stage gets of the parameters."""
    kernel = processes.kernel_environment(state.results / ".kernel", python_path=state.project.root, extra=dict(variables))
    if lacking := [n for n in stages if choice.leaves(n) and state.manifest.stages.get(n, {}).get("status") != "done"]:
        raise InputError(not_yet(lacking, state.results.name))
    for number, notebook in stages.items():
        if choice.only and number > choice.only:
            break
        title = f"{number} {notebook.stem[3:].replace('_', ' '):31s}"
        parts = state.parts(number, notebook, declared[number])
        if state.holds_other_data(number, parts):
            raise InputError(f"{state.results}: holds results of another folder of this name; rename the folder of --data, or put these results in --out DIR")
        reason = state.why(number, parts)
        if choice.leaves(number):
            if reason:
                say(f"{title} left as it is, although {reason}")
            continue
        if not reason and not choice.force:
            say(f"{title} skipped, nothing has changed")
            continue
        say(f"{title} running ({'forced' if choice.force else reason})")
        outcome = _run_one(state, number, notebook, declared[number], kernel, parts)
        if outcome.status != "ok":
            return _report_failure(outcome, notebook, say)
        say(f"{title} done in {outcome.wall_time_s:.1f} s, peak memory {outcome.peak_memory_mb:,.0f} MB")
    return 0


def _run_one(state: Run, number: str, notebook: Path, parameters: dict, kernel: dict[str, str], parts: dict[str, str]) -> execution.Outcome:
    """Execute one stage with live progress and record the result in the manifest."""
    log = state.results / ".kernel" / "progress"
    log.unlink(missing_ok=True)
    before = state.files()
    state.begin(number, notebook)
    view, sampler = progress.ProgressView(log), execution.MemorySampler()
    variables = kernel | {progress.ENVIRONMENT: str(log)}
    outcome = execution.run_notebook(notebook, folder=state.results, number=number, parameters=parameters, variables=variables, sampler=sampler, poll=view.poll)
    view.clear()
    state.end(number, outcome, parts, before)
    return outcome


def _report_failure(outcome: execution.Outcome, notebook: Path, say: Callable) -> int:
    """Say what failed, where and why; returns the exit status."""
    if outcome.status == "input":
        say(outcome.cause)
        return 2
    place = f", cell {outcome.cell} of {outcome.cells}" if outcome.cell else ""
    say(f"error: {notebook.name}{place}: {outcome.cause}")
    say(f"       the notebook up to there: {outcome.notebook or 'none was written'}")
    return 1


@contextmanager
def _signals():
    """Turn SIGINT, SIGTERM and SIGHUP into one exception, once; a second one disturbs neither the clean-up nor the end of the process that follows."""
    names = [signal.SIGINT, signal.SIGTERM] + [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)  # `nohup` ignores it

    def stop(number: int, _frame: object) -> None:
        for each in names:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in names}
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is stop:
            for each, handler in before.items():
                signal.signal(each, handler)


def _say(text: str) -> None:
    """Print; a notebook's error and a file's name may hold what a terminal obeys."""
    print(printable(text), flush=True)


def default_profile() -> str:
    """`paper` if PyTorch sees a CUDA GPU, else `nano`; without NVIDIA's driver PyTorch is not even imported."""
    if not shutil.which("nvidia-smi"):
        return "nano"
    import torch

    return "paper" if torch.cuda.is_available() else "nano"


def print_summary(folder: Path, *, seconds: float, say: Callable[[str], None] = print) -> None:
    """Print artefact -> file -> status, paper beside ours, total time and peak memory of the run in `folder`."""
    summary = read_json(folder / "summary.json")
    for title, key in (("Artefacts", "artefacts"), ("Paper and this run", "headline")):
        listed = summary.get(key) if isinstance(summary.get(key), list) else []
        rows = [{name: "-" if value is None else str(value) for name, value in row.items()} for row in listed if isinstance(row, dict)]
        if rows:
            columns = list(rows[0])
            widths = [max(len(name), *(len(row.get(name, "-")) for row in rows)) for name in columns]
            say(f"\n{title}")
            for cells in ([name.upper() for name in columns], *([row.get(name, "-") for name in columns] for row in rows)):
                say("  " + "  ".join(f"{cell:{width}s}" for cell, width in zip(cells, widths, strict=True)).rstrip())
    stages = manifest.Manifest(folder / "manifest.json", folder.name).stages.values()
    peak = max((entry.get("peak_memory_mb", 0.0) for entry in stages), default=0.0)
    work = sum(entry.get("wall_time_s", 0.0) for entry in stages)
    say(f"\nresults in {folder}\ntotal time {seconds:.1f} s (all stages when last run: {work:.1f} s), peak memory {peak:,.0f} MB")


def main(argv: list[str] | None = None) -> int:
    """Run the pipeline as the command line asks; returns the exit status."""
    options = parse(argv)
    began = time.monotonic()
    parameters = {name: getattr(options, name) for name in ("split", "seed", "data", "faults", "out", "models")}
    parameters = {"profile": options.profile or default_profile(), **parameters}
    chosen = "" if options.profile else " (chosen by the machine)"
    from .. import config

    if options.weights == "hub":
        os.environ[WEIGHTS] = "hub"
    try:
        limits, run = answer_budget.limit_variables(options), config.RunConfig(**parameters)
    except (ValueError, KeyError) as error:
        _say(f"error: {error.args[0] if error.args else error}")
        return 2
    try:
        lines = [] if options.only else doctor.before_training(run)
    except InputError as error:
        print(f"error: {error}")
        return 2
    except ChildProcessError as error:  # a step of the training was tried, and its process was killed: most often too little memory
        _say(f"error: {one_line(error)}")
        return 1
    _say(f"run {run.name}: profile {parameters['profile']}{chosen}, split {options.split}, seed {options.seed} -> {run.paths.results}")
    for line in lines:
        _say(line)
    offline = {} if parameters["profile"] == "paper" or options.weights == "hub" else {"HF_HUB_OFFLINE": "1"}
    try:
        choice = Choice(options.first, options.only, options.force)
        status = run_stages(run, parameters, choice=choice, variables={**offline, **limits}, say=_say)
    except OSError as error:
        _say(f"error: {_why_not_written(error, run.paths.results)}")
        return 1
    if status == 0:
        print_summary(Path(run.paths.results), seconds=time.monotonic() - began, say=_say)
    return status


def _why_not_written(error: OSError, folder: Path) -> str:
    """An error of the system in words; if nothing could be written, with the way out."""
    ways = dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable")
    ways |= dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room there")
    ways |= dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "choose another path")
    ways |= dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "move that file away, a folder is needed there")
    if error.errno not in ways:
        return str(error)
    return f"cannot write to {error.filename or folder}: {os.strerror(error.errno).lower()}; {ways[error.errno]}, or put results elsewhere with --out DIR"


def main_guarded() -> int:
    """`main`, with Ctrl-C during start-up as an exit status instead of a traceback."""
    try:
        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    quiet_pipes()
    sys.exit(main_guarded())
