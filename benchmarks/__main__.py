"""The command: `python -m benchmarks all --json FILE`, `python -m benchmarks NAME ...`, `python -m benchmarks figure FILE --out FOLDER/NAME`.

Exit status: 0 all rows were measured, 1 a gate or a row failed, 2 bad usage. A goal that is missed is printed and changes no exit status.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from . import figure, measuring
from .rows import ROWS, build

THREADS = 2  # as the study's own runs (`config.NANO_THREADS`)


def parser() -> argparse.ArgumentParser:
    """The options, with the rows in the help."""
    listed = "\n".join(f"  {name:22s}{about}" for name, about in ROWS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure this project beside what people would use instead: same inputs, results compared first, passes in turn.",
        epilog=f"rows:\n{listed}\n\nfigure: python -m benchmarks figure FILE --out figures/benchmarks   draws a result file as PNG and PDF",
    )  # fmt: skip
    parser.add_argument("rows", nargs="+", metavar="ROW", help="names of rows, or all")
    parser.add_argument("--json", metavar="FILE", help="write the results here; rows of this call replace older ones in the file")
    parser.add_argument("--repeats", type=int, default=5, help="passes of every contender; the median counts (default %(default)s)")
    parser.add_argument("--threads", type=int, default=THREADS, help="threads of PyTorch and numpy (default %(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny inputs: does every row work here? Its times mean nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["figure"]:
        return figure.main(argv[1:])
    options = parser().parse_args(argv)
    wanted = list(ROWS) if options.rows == ["all"] else options.rows
    if unknown := [name for name in wanted if name not in ROWS]:
        parser().error(f"unknown row {', '.join(unknown)}; choose from all, {', '.join(ROWS)}")
    if options.repeats < 1 or options.threads < 1:
        parser().error("--repeats and --threads must be 1 or more")
    if options.json and not Path(options.json).absolute().parent.is_dir():
        parser().error(f"--json {options.json}: its folder does not exist")
    if options.json and (why := unlike(Path(options.json), size(options))):
        parser().error(f"--json {options.json}: {why}")
    measuring.prepare(options.threads)
    machine = measuring.environment(options.threads)
    records = []
    for name in wanted:
        print(f"{name}: {ROWS[name]}", flush=True)
        records.append(_one(name, options) if len(wanted) == 1 else _apart(name, options))
        show(records[-1])
        if options.json:
            write(Path(options.json), records, machine, options)
    return int(not all(record["passed"] for record in records))


def _one(name: str, options: argparse.Namespace) -> dict:
    """The record of a row measured in this process, with the machine before it and the load after it; an error becomes a record that says so."""
    machine = measuring.environment(options.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
            row = build(name, small=options.small, folder=Path(folder))
            record = measuring.measure(name, row, repeats=options.repeats, goals=not options.small, say=lambda text: print(text, flush=True))
    except Exception as error:
        traceback.print_exc()
        record = failed(name, measuring.without_paths(f"{type(error).__name__}: {error}"))
    return record | {"repeats": options.repeats, "environment": machine, "load_after": measuring.load()}


def _apart(name: str, options: argparse.Namespace) -> dict:
    """The record of a row measured in a process of its own: what one row leaves in memory does not slow the next."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        file = Path(folder) / "row.json"
        command = [sys.executable, "-m", "benchmarks", name, "--json", str(file), "--repeats", str(options.repeats), "--threads", str(options.threads)]
        with subprocess.Popen([*command, *["--small"] * options.small], cwd=Path(__file__).resolve().parents[1], stdout=subprocess.DEVNULL) as process:
            try:
                status = process.wait()
            finally:
                process.terminate()  # if this one is ended while it waits
        return json.loads(file.read_text(encoding="utf-8"))["rows"][0] if file.exists() else failed(name, f"its process ended with status {status}")


def failed(name: str, error: str) -> dict:
    """The record of a row that could not be measured."""
    return {"name": name, "title": ROWS[name], "passed": False, "error": error, "gate": [], "left_out": {}, "contenders": [], "readings": []}


def size(options: argparse.Namespace) -> str:
    """How large the rows are: "full" or "small"."""
    return "small" if options.small else "full"


def unlike(file: Path, wanted: str) -> str:
    """Why a result file that is there already cannot take rows of the size `wanted`; "" if it can, or if there is none."""
    if not file.exists():
        return ""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))["size"]
    except (OSError, ValueError, KeyError, TypeError):
        return "is no result file"
    return "" if before == wanted else f"holds rows of {before} size; these are {wanted}"


def write(file: Path, records: list[dict], machine: dict, options: argparse.Namespace) -> None:
    """Write the result file, keeping the rows of an earlier call that were not measured again. `machine`: as it was when this call began."""
    from polypersona_lib.files import write_atomically

    before = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    rows = {row["name"]: row for row in [*before, *records]}
    head = {"format": measuring.FORMAT, "size": size(options), "repeats": options.repeats, "environment": machine}
    ordered = [rows[name] for name in ROWS if name in rows]
    write_atomically(file, json.dumps({**head, "rows": ordered}, indent=1, ensure_ascii=False) + "\n")


def show(record: dict) -> None:
    """Print a row: gate, times, ratios beside goals, tokens, what is left out."""
    for check in record["gate"]:
        value = "no number" if check["value"] is None else f"{check['value']:.3g}"
        print(f"  gate {'holds' if check['holds'] else 'FAILS'}: {check['what']}: {value} (at most {check['limit']:.3g})")
    if record.get("error"):
        print(f"  not measured: {record['error']}")
    for line in record["contenders"]:
        tokens = f", {line['real_tokens']:,} tokens, {line['computed_tokens']:,} computed" if line["computed_tokens"] else ""
        ratio = "" if line["ratio"] is None else f", ours is {line['ratio']:.2f} x as fast" + (f" (goal {line['goal']:g})" if line["goal"] else "")
        print(f"  {line['name']}: {line['median_s']:.4g} s{tokens}{ratio}{'' if line['met'] is not False else ', MISSED'}")
    for reading in record["readings"]:
        goal = "" if reading["limit"] is None else f" (at most {reading['limit']:g}){'' if reading['met'] else ', MISSED'}"
        print(f"  {reading['what']}: {reading['value']:.4g} {reading['unit']}{goal}")
    for name, why in record["left_out"].items():
        print(f"  {name}: {why}")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the row's process ends too, and its folder goes
    sys.exit(main())
