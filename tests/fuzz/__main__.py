"""`python -m tests.fuzz [--cases N] [--seed S] [--only TARGET]`: fuzz every reader, print a table; exit status 1 if any case had another outcome."""

from __future__ import annotations

import argparse
import sys
import time

from .readers import TARGETS
from .running import run_target


def main(argv: list[str]) -> int:
    """Run the targets one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every reader: a value or one clear line an error, nothing else.")
    parser.add_argument("--cases", type=int, default=1000, help="of all targets together (default 1000; a night's run: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other cases (default 0)")
    parser.add_argument("--only", action="append", choices=sorted(TARGETS), help="only this target (may be given again)")
    options = parser.parse_args(argv)
    chosen, faults, began = options.only or list(TARGETS), 0, time.monotonic()
    print(f"{'target':22} {'cases':>7} {'refused':>8} {'slowest CPU s':>14}")
    for target in chosen:
        tally = run_target(target, cases=max(1, options.cases // len(chosen)), number=options.seed)
        faults += bool(tally.fault)
        print(f"{target:22} {tally.cases:7,} {tally.refused:8,} {tally.slowest:14.3f}" + (f"  FAULT {tally.fault}" if tally.fault else ""), flush=True)
    print(f"{faults} targets with a fault, {time.monotonic() - began:.0f} s")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
