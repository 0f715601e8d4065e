"""One case after the other: what may come out, how long it may take, and the table of a run."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from timing import allowed

from polypersona_lib.errors import MAX_SHOWN, InputError, safe_line
from polypersona_lib.intake.skip_rules import NotUnderstood

from .readers import TARGETS

SLOWEST_S, LONGEST_LINE = 4.0, 1_500  # the first case of a target also imports what reads it
REFUSALS = (InputError, ValueError, NotUnderstood)


@dataclass
class Tally:
    """What became of a target's cases; `slowest` in CPU seconds."""

    cases: int = 0
    refused: int = 0
    slowest: float = 0.0
    fault: str = ""


def check_message(error: ValueError) -> None:
    """A refusal is one line an error, which a terminal only shows."""
    lines = str(error).split("\n")
    assert type(error) in REFUSALS, f"{type(error).__name__}: {error}"
    assert 1 <= len(lines) <= (MAX_SHOWN + 3 if isinstance(error, InputError) else 1), f"{len(lines)} lines"
    for line in lines:
        assert line.strip() and line == safe_line(line) and len(line) <= LONGEST_LINE, f"not a line to print: {line!r}"


def one_case(target: str, case: object, tally: Tally) -> None:
    """Read one case in a folder of its own. Raises whatever is no permitted outcome."""
    folder, began = Path(tempfile.mkdtemp()), time.process_time()
    try:
        TARGETS[target][1](case, folder)
    except ValueError as error:
        check_message(error)
        tally.refused += 1
    finally:
        tally.slowest = max(tally.slowest, time.process_time() - began)
        tally.cases += 1
        shutil.rmtree(folder, ignore_errors=True)
    took = time.process_time() - began
    assert took < SLOWEST_S or took < allowed(SLOWEST_S), "too slow"


def run_target(target: str, *, cases: int, number: int, shrink: bool = True) -> Tally:
    """Run one target; a fault is kept in the tally with the case that shows it."""
    tally = Tally()
    phases = (Phase.explicit, Phase.generate, Phase.shrink) if shrink else (Phase.explicit, Phase.generate)
    how = settings(max_examples=cases, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)

    @seed(number)
    @how
    @given(TARGETS[target][0])
    def fuzz(case):
        last[0] = case
        one_case(target, case, tally)

    last: list = [None]
    try:
        fuzz()
    except Exception as error:
        tally.fault = f"{type(error).__name__}: {safe_line(error)[:300]} | case: {safe_line(repr(last[0]))[:1500]}"
    return tally
