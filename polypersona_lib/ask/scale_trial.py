"""What answers cost here: the same questionnaire by the local engine and by Ray, measured; more answers and more workers, computed from that.

python -m polypersona_lib.ask.scale_trial --out docs/scale.json     # an hour on two idle CPUs; needs .venv-scale/bin/python
python -m polypersona_lib.ask.scale_trial --fill docs/scale.json    # writes the tables of docs/scale.md from the file; seconds
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths
from ..config import versions
from ..files import write_atomically
from .scale_shards import DONE
from .shards import SHARD_PEOPLE

TRIAL_ITEMS = 10
TRIAL_QUESTIONS = "id,text,kind,options\n" + "".join(
    f"q{n},How far do you trust {what}?,likert,Not at all|A little|Mostly|Fully\n"
    for n, what in enumerate("courts,police,parliament,newspapers,television,banks,schools,hospitals,churches,unions".split(","))
)
SCALE_PAGE = paths.ROOT / "docs" / "scale.md"
TABLES_START, TABLES_END = "<!-- scale: start -->", "<!-- scale: end -->"
TRIAL_MODELS = (("tinyllama-1.1b--base", (10_000, 100_000)), ("smollm2-135m--base", (1_000,)))  # (model, how many answers)
ENGINES = (("local", 1), ("ray", 1), ("ray", 2))  # (engine, workers)
COMPUTED = tuple(10**n for n in range(4, 10))
WORKERS = (2, 100, 1000)


def _command(folder: Path, name: str, model: str, answers: int, engine: str, workers: int) -> list[str]:
    """The call of `ask`: equal blocks and one thread a worker everywhere, so that the answers must be equal."""
    given = [
        "--questions",
        str(folder / "q.csv"),
        "--people",
        f"census:{answers // TRIAL_ITEMS}",
        "--models",
        model,
        "--out",
        str(folder / name),
        "--threads",
        "1",
    ]
    more = ["--engine", "ray", "--workers", str(workers)] if engine == "ray" else []
    return [sys.executable, "-m", "polypersona_lib", "ask", *given, *more]


def _lines(out: Path, system: str) -> list[dict]:
    path = out / "shards" / system / DONE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def measured_run(folder: Path, name: str, model: str, answers: int, engine: str, workers: int) -> dict:
    """Run one call. Returns seconds, the most memory (MB) of the driver and of a worker, and bytes of the shards. Raises RuntimeError if it fails."""
    began = time.monotonic()
    process = subprocess.Popen(_command(folder, name, model, answers, engine, workers), cwd=paths.ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(map(str, process.args))} ended with {os.waitstatus_to_exitcode(status)}")
    shards = sum(path.stat().st_size for path in (folder / name / "shards" / model).glob("*.parquet"))
    return {
        "model": model, "answers": answers, "engine": engine, "workers": workers, "seconds": round(time.monotonic() - began, 1),
        "driver_mb": round(used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)), "shard_bytes": shards,
        "worker_mb": round(max((line["peak_mb"] for line in _lines(folder / name, model) if "peak_mb" in line), default=0)),
    }  # fmt: skip


def compared_answers(first: Path, second: Path) -> dict:
    """How two runs' answers differ: `equal` (every cell), options that changed, the largest difference of a probability."""
    a, b = (pd.read_parquet(out / "answers.parquet") for out in (first, second))
    differ = max((float(np.abs(np.subtract(x, y)).max()) for x, y in zip(a["option_probs"], b["option_probs"], strict=True) if x is not None), default=0.0)
    return {"equal": a.astype(str).equals(b.astype(str)), "changed_options": int((a["option"] != b["option"]).sum()), "largest_difference": differ}


def killed_and_continued(folder: Path, model: str, answers: int) -> dict:
    """A run by two workers whose driver is killed when half of its shards are there, then called again."""
    name, half = "killed", -(-answers // TRIAL_ITEMS // SHARD_PEOPLE) // 2
    process = subprocess.Popen(_command(folder, name, model, answers, "ray", 2), cwd=paths.ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list((folder / name / "shards" / model).glob("*.parquet"))) < half:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list((folder / name / "shards" / model).glob("*.parquet")))
    return measured_run(folder, name, model, answers, "ray", 2) | {"shards_kept": kept}


def run_trials(models: Sequence[tuple[str, Sequence[int]]] = TRIAL_MODELS) -> dict:
    """All measurements: rows in the order of `models` and `ENGINES`, each compared with the local engine's answers; then the killed run."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="scale-") as place:
        folder = Path(place)
        (folder / "q.csv").write_text(TRIAL_QUESTIONS, encoding="utf-8")
        for model, counts in models:
            for answers in counts:
                for engine, workers in ENGINES:
                    name = f"{model}-{answers}-{engine}{workers}"
                    row = measured_run(folder, name, model, answers, engine, workers)
                    rows.append(row | compared_answers(folder / f"{model}-{answers}-local1", folder / name))
                    print(json.dumps(rows[-1]), flush=True)
        model, counts = models[0]
        killed = killed_and_continued(folder, model, counts[0]) | compared_answers(folder / f"{model}-{counts[0]}-local1", folder / "killed")
    return {"cpus": os.cpu_count(), "versions": versions(), "items": TRIAL_ITEMS, "rows": rows, "killed": killed}


def tables(result: dict) -> str:
    """The measured and the computed table as Markdown."""
    rows = result["rows"]
    lines = [f"Measured on {result['cpus']} CPUs, one thread a worker, blocks of {SHARD_PEOPLE} people, {result['items']} closed questions in both orders.", ""]
    lines += ["| model | answers | engine | seconds | answers a second | driver MB | worker MB | equal to local |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        engine = "local" if row["engine"] == "local" else f"Ray, {row['workers']} worker{'s' * (row['workers'] > 1)}"
        worker = f"{row['worker_mb']:,}" if row["worker_mb"] else "-"
        same = "" if row["engine"] == "local" else "yes" if row["equal"] else f"no: {row['changed_options']} options, {row['largest_difference']:.0e}"
        lines.append(f"| {row['model']} | {row['answers']:,} | {engine} | {row['seconds']:,.0f} | {row['answers'] / row['seconds']:,.0f} "
                     f"| {row['driver_mb']:,} | {worker} | {same} |")  # fmt: skip
    killed = result["killed"]
    lines += ["", f"Killed with `kill -9` after {killed['shards_kept']} shards, the run of {killed['answers']:,} answers went on and gave "
              f"{'the same answers' if killed['equal'] else 'OTHER answers'}.", ""]  # fmt: skip
    return "\n".join([*lines, *_computed(rows)])


def _computed(rows: Sequence[dict]) -> list[str]:
    """More answers and workers, from the largest run of two workers of each model, as if twice the workers took half the time."""
    lines = [
        "Computed, not run: the rate of a worker in the largest run with two workers, times the workers. "
        "It leaves out what a network, a full disk and the start of the workers cost.",
        "",
    ]
    lines += ["| model | answers | " + " | ".join(f"{n:,} workers" for n in WORKERS) + " | shards |", "|---|" + "---|" * (len(WORKERS) + 2)]
    for model in dict.fromkeys(row["model"] for row in rows):
        row = max((r for r in rows if r["model"] == model and r["workers"] == 2), key=lambda r: r["answers"])
        rate, size = row["answers"] / row["seconds"] / 2, row["shard_bytes"] / row["answers"]
        for answers in COMPUTED:
            times = " | ".join(_duration(answers / rate / workers) for workers in WORKERS)
            lines.append(f"| {model} | {answers:,} | {times} | {answers * size / 1e6:,.0f} MB |")
    return lines


def _duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for size, unit in ((365 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(seconds, 1):,.0f} s"


def filled_page(page: str, result: dict) -> str:
    """The page with its tables written anew between the two marks. Raises ValueError if they are not there."""
    before, mark, rest = page.partition(TABLES_START)
    _, end, after = rest.partition(TABLES_END)
    if not mark or not end:
        raise ValueError(f"the page lacks {TABLES_START} or {TABLES_END}")
    return f"{before}{TABLES_START}\n{tables(result)}\n{TABLES_END}{after}"


def main(argv: list[str] | None = None) -> int:
    """Measure (`--out`) or write the page (`--fill`)."""
    parser = argparse.ArgumentParser(
        prog="python -m polypersona_lib.ask.scale_trial", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--out", type=Path, metavar="FILE", help="measure, and write the result here")
    choice.add_argument("--fill", type=Path, metavar="FILE", help="write the tables of docs/scale.md from this result")
    options = parser.parse_args(argv)
    if options.out:
        write_atomically(options.out, json.dumps(run_trials(), indent=1) + "\n")
    else:
        write_atomically(SCALE_PAGE, filled_page(SCALE_PAGE.read_text(encoding="utf-8"), json.loads(options.fill.read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
