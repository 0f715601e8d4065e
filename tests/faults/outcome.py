"""What one fault did: the disturbed run's end, whether anything whole was lost, and how the next run ends."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .small_run import Bench, Running, differences, lost, results, stages

OURS = {".kernel", ".done", ".lock"}


@dataclass
class Seen:
    """One row as it was seen. `status`: of the disturbed command, negative for a signal; `trouble`: what must not be, in words."""

    status: int
    says: str
    trouble: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One row as it has to be: what is done, the exit statuses that are right, and a pattern that the last lines must hold."""

    name: str
    done: str
    statuses: tuple[int, ...]
    says: str = ""

    def wrong(self, seen: Seen) -> list[str]:
        """What is not as it has to be; [] if all is."""
        wrong = [] if seen.status in self.statuses else [f"exit status {seen.status}, not {' or '.join(map(str, self.statuses))}"]
        wrong += [] if re.search(self.says, seen.says) else [f"says nothing like {self.says!r}"]
        return wrong + seen.trouble


@dataclass(frozen=True)
class Trial:
    """Faults that share one folder, one after the other, and the next run after the last of them. `act` returns what was seen of each."""

    act: Callable[[Bench], list[Seen]]
    faults: tuple[Fault, ...]


def dice(bench: Bench, name: str) -> random.Random:
    """The random numbers of one trial: the same for the same seed."""
    return random.Random(f"{bench.seed}|{name}")


def look(run: Running, below: list[psutil.Process] = (), *, damaged: set[str] = frozenset()) -> Seen:
    """The end of a disturbed run: `below` are the processes that must be gone, `damaged` the files that the fault itself took or changed."""
    status = run.wait()
    _, alive = psutil.wait_procs(list(below), timeout=60)
    trouble = [f"lost: {name}" for name in lost(run.out) if name not in damaged]
    trouble += [f"left running: {' '.join(process.cmdline())[:80]}" for process in alive]
    return Seen(status, run.said(), trouble + _raw(run))


def _raw(run: Running) -> list[str]:
    """A traceback among what a user sees, from its first line on."""
    _, mark, rest = run.log.read_text(encoding="utf-8").partition("Traceback")
    return [(mark + rest)[:3000]] if mark else []


def finish(bench: Bench, out: Path, seen: list[Seen], *, light: bool = False, again: set[str] = frozenset()) -> list[Seen]:
    """The next run: it must end well, skip what was done (but the stages in `again`), leave nothing unfinished, and hold the undisturbed run's bytes."""
    done = {number for number, entry in stages(out).items() if entry["status"] == "done"} - again if not again & {"all"} else set()
    run = Running(bench, out, light=light)
    status = run.wait()
    trouble = [] if status == 0 else [f"the next run ends with status {status}: {run.said()}"]
    ran = {line[:2] for line in run.log.read_text(encoding="utf-8").splitlines() if " running (" in line}
    trouble += [f"stage {number} was whole and ran again" for number in sorted(done & ran)]
    trouble += [f"differs: {name}" for name in differences(bench, out)]
    trouble += [f"unfinished: {path.name}" for path in results(out).rglob(".*") if not OURS & set(path.relative_to(results(out)).parts)]
    for one in seen:
        one.trouble += trouble + _raw(run)
    return seen


def flip_bit(path: Path, place: float, bit: int = 0) -> str:
    """Flip one bit of a file, `place` from 0 (its first byte) to 1. Returns the file's name."""
    content = bytearray(path.read_bytes())
    content[min(int(place * len(content)), len(content) - 1)] ^= 1 << bit
    path.write_bytes(bytes(content))
    return path.name
