"""All trials, two at a time, and what was seen as a table."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from . import damage, signals, surroundings
from .outcome import Fault, Seen, Trial
from .small_run import CAUSES, Bench

TRIALS = (*signals.TRIALS, *damage.TRIALS, *surroundings.TRIALS)
FAULTS = tuple(fault.name for trial in TRIALS for fault in trial.faults)


def attempt(bench: Bench, trial: Trial) -> list[Seen]:
    """What was seen of each fault of a trial; if the trial itself fails, that is what was seen."""
    try:
        return trial.act(bench)
    except Exception as error:  # one row must not cost the others
        return [Seen(0, "", [f"{type(error).__name__}: {error}"]) for _ in trial.faults]


def run_table(bench: Bench, only: list[str] | None = None) -> Iterator[tuple[Fault, Seen]]:
    """(fault, what was seen) as the trials end; `only` those with a fault of that name. The undisturbed run comes first."""
    bench.prepare()
    chosen = [trial for trial in TRIALS if not only or any(fault.name in only for fault in trial.faults)]
    chosen.sort(key=lambda trial: trial.act not in (signals.killed_trainings, surroundings.elsewhere))  # the longest first
    with ThreadPoolExecutor(2) as pool:
        trials = {pool.submit(attempt, bench, trial): trial for trial in chosen}
        for future in as_completed(trials):
            yield from zip(trials[future].faults, future.result(), strict=True)


def row(fault: Fault, seen: Seen) -> str:
    """One row as lines: verdict, name, what is done, exit status, what a user sees, what is wrong."""
    wrong = fault.wrong(seen)
    last = [f"      | {line}" for line in seen.says.splitlines()[-3:]]
    lost = "nothing lost, the next run ends the same" if not wrong else "; ".join(wrong)
    return "\n".join([f"{'FAULT' if wrong else 'ok':5} {fault.name}: {fault.done}; exit status {seen.status}", *last, f"      {lost}"])


def footer() -> str:
    """What is not compared to the byte, and why."""
    return "not equal from run to run:\n" + "\n".join(f"  {name}: {cause}" for name, cause in CAUSES.items())
