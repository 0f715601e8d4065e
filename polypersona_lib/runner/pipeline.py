"""The runner: executes the notebooks in order, skips what has not changed, and says what happened.

    python -m polypersona_lib.runner.pipeline [smoke|nano|ablations|sessions|paper] [options]        (what ./run_all.sh calls)

Exit status: 0 all stages done, 1 a stage failed, 2 bad arguments or bad input, 3 another run has this results folder, 130 interrupted.
"""

import argparse
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import processes, progress, servers
from ..errors import InputError
from ..registry import MODELS, REAL_MODELS, WEIGHTS
from . import execution, manifest
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
        stages = of_profile(find_stages(project.root / "notebooks"), parameters.get("profile", ""))
        for number in filter(None, (choice.first, choice.only)):
            if number not in stages:
                raise InputError(no_stage(number, stages))
        declared = check_parameters(stages, parameters)
        folder = Path(run.paths.results)
        with manifest.run_lock(folder):
            processes.end_orphans(folder / ".kernel")
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
    """Turn SIGINT, SIGTERM and SIGHUP into one exception, once; a second one cannot disturb the clean-up."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

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
        for each, handler in before.items():
            signal.signal(each, handler)


_say = partial(print, flush=True)


def default_profile() -> str:
    """`paper` if nvidia-smi and PyTorch both see a CUDA GPU, else `nano`."""
    if not shutil.which("nvidia-smi") or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode:
        return "nano"
    import torch

    return "paper" if torch.cuda.is_available() else "nano"


def print_summary(folder: Path, *, seconds: float, say: Callable[[str], None] = print) -> None:
    """Print artefact -> file -> status, paper beside ours, total time and peak memory of the run in `folder`."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        summary = {}
    for title, key in (("Artefacts", "artefacts"), ("Paper and this run", "headline")):
        rows = [{name: "-" if value is None else str(value) for name, value in row.items()} for row in summary.get(key, [])]
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


GUIDE = f"""\
profiles:
  smoke      two nano twins on 200 records: does everything work here? Minutes
  nano       all seven families as nano twins, all records: 25 minutes on 2 cores, no GPU
  ablations  what LoRA and 4 bits cost (notebook 07), one twin: 26 minutes
  sessions   the same personas asked again (notebook 11), after nano: 25 minutes
  paper      the hub models in 4 bits: hours, a 24 GB GPU and their weights

models:
  {", ".join(list(MODELS)[:4])},
  {", ".join(list(MODELS)[4:])};
  real models without a twin: {", ".join(REAL_MODELS)}

  server:http://127.0.0.1:8000/v1#NAME: a model behind any OpenAI-compatible address, asked as it is beside
  the run's own models. Its key comes from POLYPERSONA_API_KEY (for api.openai.com also OPENAI_API_KEY)

what a run writes:
  results/<run>/report.html, tables/, scores/, notebooks/ (executed copies), and figures/<run>/

examples:
  ./run_all.sh smoke                              a first try
  ./run_all.sh nano --only 04 --force             notebook 04 once more, in a run that has got so far
  ./run_all.sh nano --split grouped               no persona in two splits; goes to results/nano-grouped
  ./run_all.sh nano --models phi-2 --out ~/phi    one family, beside the other results

other commands (the probe, scoring your own predictions, a pre-flight): python -m polypersona_lib --help
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line (see --help); exits with status 2 on a mistake."""
    about = "Rebuild every table and figure of the paper; only what has changed is run again."
    parser = argparse.ArgumentParser(prog="./run_all.sh", formatter_class=argparse.RawDescriptionHelpFormatter, description=about, epilog=GUIDE)
    profiles = ("smoke", "nano", "ablations", "sessions", "paper")
    parser.add_argument("profile", nargs="?", choices=profiles, help="see below; default: paper with a CUDA GPU, else nano")
    parser.add_argument("--from", dest="first", default="", metavar="NN", help="start at this notebook; the ones before it must have been run")
    parser.add_argument("--only", default="", metavar="NN", help="run this notebook only; the ones before it must have been run")
    parser.add_argument("--force", action="store_true", help="run again what has not changed, too")
    parser.add_argument("--split", default="paper", choices=("paper", "grouped"), help="rows as in the paper, or no persona in two splits")
    parser.add_argument("--faults", default="stop", choices=("stop", "neutralise", "drop"), help="chat markers, leaks: stop, defuse, or drop rows")
    parser.add_argument("--data", default="", metavar="DIR", help="another data set instead of the embedded one")
    parser.add_argument("--out", default="", metavar="DIR", help="put results/ and figures/ here instead of the project folder")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="of training and sampling (default 42)")
    parser.add_argument("--models", default="", metavar="A,B", help="only these models, and models on servers (see below)")
    servers.add_limits(parser)
    own = "of real models: the GGUF file of their package, or the hub's pinned revision (other weights, other numbers, its own results folder)"
    parser.add_argument("--weights", default="own", choices=("own", "hub"), help=own)
    options = parser.parse_args(argv)
    for name in ("first", "only"):
        if getattr(options, name).isdigit():
            setattr(options, name, getattr(options, name).zfill(2))
    if options.first and options.only:
        parser.error("--from and --only exclude each other")
    options.data, options.out = (str(Path(text).expanduser().resolve()) if text else "" for text in (options.data, options.out))
    if options.data and not Path(options.data).is_dir():
        parser.error(f"--data: {options.data} {'is a file, not a folder with train, val and test' if Path(options.data).exists() else 'does not exist'}")
    if options.out and Path(options.out).exists() and not Path(options.out).is_dir():
        parser.error(f"--out: {options.out} is a file, not a folder")
    return options


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
        limits, run = servers.limit_variables(options), config.RunConfig(**parameters)
    except (ValueError, KeyError) as error:
        print(f"error: {error.args[0] if error.args else error}")
        return 2
    print(f"run {run.name}: profile {parameters['profile']}{chosen}, split {options.split}, seed {options.seed} -> {run.paths.results}", flush=True)
    offline = {} if parameters["profile"] == "paper" or options.weights == "hub" else {"HF_HUB_OFFLINE": "1"}
    try:
        choice = Choice(options.first, options.only, options.force)
        status = run_stages(run, parameters, choice=choice, variables={**offline, **limits}, say=_say)
    except OSError as error:
        print(f"error: {_why_not_written(error, run.paths.results)}")
        return 1
    if status == 0:
        print_summary(Path(run.paths.results), seconds=time.monotonic() - began, say=_say)
    return status


def _why_not_written(error: OSError, folder: Path) -> str:
    """An error of the system in words; if nothing could be written, with the way out."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
        return str(error)
    room = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
    return f"cannot write to {error.filename or folder}: {os.strerror(error.errno).lower()}; {room}, or put results elsewhere with --out DIR"


def main_guarded() -> int:
    """`main`, with Ctrl-C during start-up as an exit status instead of a traceback."""
    try:
        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main_guarded())
