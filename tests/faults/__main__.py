"""`python -m tests.faults [--full] [--kills N] [--seed S] [--only NAME]`: disturb a run in every way, print a table; exit status 1 if any row is not right."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .small_run import Bench
from .table import FAULTS, footer, row, run_table


def main(argv: list[str]) -> int:
    """Run the trials and print a row as each one ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Kill, stop, starve and damage a run; say what a user sees and what is lost.")
    parser.add_argument("--full", action="store_true", help="the whole smoke profile and 30 kills: hours (default: a small run, minutes)")
    parser.add_argument("--kills", type=int, default=0, help="kills at random moments (default 3, with --full 30)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other moments and other bits (default 0)")
    parser.add_argument("--only", action="append", choices=FAULTS, metavar="NAME", help=f"only this row, with its trial: {'; '.join(FAULTS)}")
    options = parser.parse_args(argv)
    wrong, rows, began = 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="polypersona-faults-") as folder:
        bench = Bench(Path(folder), full=options.full, seed=options.seed, kills=options.kills or (30 if options.full else 3))
        for fault, seen in run_table(bench, options.only):
            wrong, rows = wrong + bool(fault.wrong(seen)), rows + 1
            print(row(fault, seen), flush=True)
    print(footer())
    print(f"{rows} rows, {wrong} not right, {time.monotonic() - began:.0f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
