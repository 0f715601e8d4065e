"""What every row shares: contenders that take turns, a gate that stops a row whose results differ, and the machine that it was measured on.

A row is a `Comparison`. Its first contender is ours, and the ratio of another one is its median time over ours. Passes alternate, and the order turns with
every repeat, so that a slow minute of the machine hits all of them alike.
"""

from __future__ import annotations

import gc
import inspect
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ALSO = ("trl", "papermill", "accelerate", "pydantic", "pyarrow", "lm-eval", "ctranslate2")  # versions named beside those that `config.versions` gives
FORMAT = 1  # of the result file


@dataclass(frozen=True)
class Pass:
    """One pass that kept its own clock: what came out, and how many `seconds` count."""

    output: Any
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: what tables call it. work: one pass; its result goes to the gate, its duration is measured (or given in a `Pass`).
        goal: ours should be so many times faster; None: named for comparison only.
        before: called ahead of every pass, outside the clock (empties caches). answer: the gate's input, if it is another pass than `work`.
        real, computed: tokens of the inputs, and token positions that a pass runs over (padding counted, shared prefixes once); None: no tokens.
        optional: whether an error means that it does not run on this machine, and not that the row failed. note: what a reader has to know.
    """

    name: str
    work: Callable[[], Any]
    goal: float | None = None
    before: Callable[[], None] = lambda: None
    answer: Callable[[], Any] | None = None
    real: int | None = None
    computed: int | None = None
    optional: bool = False
    note: str = ""


@dataclass(frozen=True)
class Check:
    """One comparison of the gate: the largest difference seen (`value`, any unit), and the `limit` that it may not exceed."""

    what: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value is a number within the limit."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Reading:
    """A number with a goal of its own, no ratio: `value` should be at most `limit` (None: named only)."""

    what: str
    value: float
    unit: str
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One row, ready to be measured.

    Attributes:
        title: what is done, with sizes. contenders: ours first. gate: results by contender's name -> checks; all must hold before a clock runs.
        left_out: contender -> why it is not here, with the command that would change it. beside: False if the contenders are sizes of one thing.
        readings: called after the passes with the medians in seconds by name.
    """

    title: str
    contenders: Sequence[Contender]
    gate: Callable[[Mapping[str, Any]], Iterable[Check]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    beside: bool = True
    readings: Callable[[Mapping[str, float]], Iterable[Reading]] = lambda medians: ()


def measure(name: str, row: Comparison, *, repeats: int, goals: bool = True, say: Callable[[str], None] = print) -> dict:
    """Check the gate, then time the contenders in turns. `goals`: whether the row has the size that its goals are meant for.

    Returns: the row's record: `name`, `title`, `gate` (checks, each with `holds`), `passed`, `contenders` (none if the gate failed), `readings`, `left_out`.
    Raises: what a contender raises that is not optional.
    """
    answers, left_out = _answers(row, dict(row.left_out))
    checks = list(row.gate(answers))
    passed = bool(checks) and all(check.holds for check in checks)
    listed = [asdict(c) | {"value": c.value if math.isfinite(c.value) else None, "holds": c.holds} for c in checks]
    record = {"name": name, "title": row.title, "passed": passed, "gate": listed, "left_out": left_out}
    if not passed:
        return record | {"contenders": [], "readings": []}
    here = [contender for contender in row.contenders if contender.name in answers]
    del answers
    seconds = _timed(here, repeats, say)
    medians = {contender.name: statistics.median(seconds[contender.name]) for contender in here}
    own = medians[here[0].name]
    ratios = {c.name: medians[c.name] / own for c in here[1:] if row.beside}
    listed = [_line(c if goals else replace(c, goal=None), seconds[c.name], ratios.get(c.name)) for c in here]
    return record | {"contenders": listed, "readings": [_reading(r if goals else replace(r, limit=None)) for r in row.readings(medians)]}


def _answers(row: Comparison, left_out: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """(what each contender returns for the gate, those that are left out and why). It also warms them up."""
    answers = {}
    for contender in row.contenders:
        try:
            contender.before()
            result = (contender.answer or contender.work)()
        except Exception as error:
            if not contender.optional:
                raise
            left_out[contender.name] = f"does not run here: {type(error).__name__}: {without_paths(' '.join(str(error).split()))[:200]}"
            continue
        answers[contender.name] = result.output if isinstance(result, Pass) else result
    return answers, left_out


def _timed(contenders: Sequence[Contender], repeats: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of every pass by contender. In repeat i the order begins with contender i."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats):
        first = repeat % len(contenders)
        for contender in [*contenders[first:], *contenders[:first]]:
            contender.before()
            gc.collect()
            began = time.perf_counter()
            result = contender.work()
            took = time.perf_counter() - began
            seconds[contender.name].append(result.seconds if isinstance(result, Pass) else took)
        say(f"  pass {repeat + 1} of {repeats}: " + ", ".join(f"{name} {times[-1]:.3g} s" for name, times in seconds.items()))
    return seconds


def _line(contender: Contender, seconds: list[float], ratio: float | None) -> dict:
    """A contender's part of the record."""
    met = None if ratio is None or contender.goal is None else ratio >= contender.goal
    return {
        "name": contender.name, "seconds": [round(s, 6) for s in seconds], "median_s": round(statistics.median(seconds), 6),
        "ratio": None if ratio is None else round(ratio, 3), "goal": contender.goal, "met": met,
        "real_tokens": contender.real, "computed_tokens": contender.computed, "note": contender.note,
    }  # fmt: skip


def _reading(reading: Reading) -> dict:
    return asdict(reading) | {"met": None if reading.limit is None else reading.value <= reading.limit}


def without_paths(text: str) -> str:
    """`text` with the last part alone of every absolute path: a result file says nothing of the folders of a machine."""
    return re.sub(r"(?<![\w.:/])(?:/[^\s'\"/:]+)*/([^\s'\"/:]+)", r"…/\1", text)


def missing(package: str, command: str) -> str:
    """Why an optional package is not measured, with the command that installs it; "" if it is here. `package`: its import name."""
    return "" if find_spec(package) else f"not installed: {command}"


def forget(*modules) -> None:
    """Empty the modules' caches of results by argument, so that a pass works as the first one does; what is loaded once a process stays."""
    for module in modules:
        for thing in vars(module).values():
            if callable(getattr(thing, "cache_clear", None)) and inspect.signature(thing).parameters:
                thing.cache_clear()


def largest_difference(a, b) -> float:
    """The largest absolute difference of two arrays of one shape; infinite if the shapes differ, NaN if one holds a NaN where the other does not."""
    import numpy as np

    a, b = (np.asarray(values, dtype=float) for values in (a, b))
    if a.shape != b.shape:
        return float("inf")
    gaps = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
    return float(gaps.max(initial=0.0))


def environment(threads: int) -> dict:
    """The machine and the software: processor, cores, threads, memory, load when the run began, versions, state of the code."""
    import psutil

    from polypersona_lib.config import device_name, versions
    from polypersona_lib.records import git_state

    known = versions() | {name: text for name in ALSO if (text := _version(name))}
    return {
        "processor": processor(), "cores": psutil.cpu_count(logical=False), "logical_cores": os.cpu_count(), "threads": threads, "device": device_name(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1), "load_before": load(), "system": f"{platform.system()} {platform.machine()}",
        "versions": known, "code": git_state(),
    }  # fmt: skip


def load() -> float:
    """Mean number of processes that ran or waited in the last minute."""
    return round(os.getloadavg()[0], 2)


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def prepare(threads: int) -> None:
    """Fix the number of threads and quieten the libraries, before anything else is imported or after."""
    import warnings

    os.environ |= {"OMP_NUM_THREADS": str(threads), "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    warnings.filterwarnings("ignore", category=FutureWarning)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
