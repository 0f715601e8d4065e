"""The score command on growing files: time and memory by rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from .measuring import Check, Comparison, Contender, Reading, largest_difference
from .reading_rows import RECORDS, made_records, write_records

ROOT = Path(__file__).resolve().parents[1]
SIZES, SMALL_SIZES = (1_000, 10_000, RECORDS), (20, 40)
START_ROWS = 5  # of a file whose scoring takes no longer than the command's start
SLOWEST_S, STEEPEST, HEAVIEST = 60, 1.1, 4  # seconds for the largest file; exponent of time in rows; MB of memory a MB of text


def score(*, small: bool, folder: Path) -> Comparison:
    """The score command on files of growing length, a process each: seconds, memory, and whether its numbers are those of rouge_score."""
    sizes = SMALL_SIZES if small else SIZES
    records = made_records(sizes[-1], again=True)
    files = {n: write_records(folder / f"{n}.jsonl", records[:n]) for n in (START_ROWS, *sizes)}
    del records
    peaks: dict[int, list[float]] = {n: [] for n in files}

    def work(n: int) -> dict:
        report, peaks_mb = _scored(files[n], folder / "report.json")
        peaks[n].append(peaks_mb)
        return {name: report["files"][0]["metrics"][name] for name in ("rouge1", "bleu")} | {"rows": report["files"][0]["rows"]}

    contenders = [Contender(name=_rows_name(n), work=partial(work, n)) for n in files]

    def gate(reports: dict) -> list[Check]:
        return [check for n in files for check in _score_checks(files[n], n, reports[_rows_name(n)])]

    title = f"the score command on files of {', '.join(f'{n:,}' for n in sizes)} rows, with cards, questions and options"
    return Comparison(title=title, contenders=contenders, gate=gate, beside=False, readings=lambda medians: _growth(medians, files, peaks))


def _rows_name(n: int) -> str:
    return f"{n:,} rows"


def _scored(file: Path, report: Path) -> tuple[dict, float]:
    """(what `score --json` wrote, peak resident memory of its process in MB). Raises RuntimeError with its last line if it failed."""
    command = [sys.executable, "-m", "polypersona_lib", "score", str(file), "--json", str(report)]
    with report.with_suffix(".log").open("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"score ended with status {process.returncode}: {log.read().strip().splitlines()[-1:]}")
    return json.loads(report.read_text(encoding="utf-8")), usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _score_checks(file: Path, n: int, report: dict) -> list[Check]:
    """Rows, and the mean of ROUGE-1 and BLEU of a file of up to 1,000 rows against rouge_score and nltk."""
    import pandas as pd

    from .text_rows import _rouge_score

    checks = [Check(f"{n:,} rows: rows that were not counted", abs(report["rows"] - n), 0)]
    if n <= SIZES[0]:
        frame = pd.read_json(file, lines=True).assign(system="file")
        bleu, rouge1 = _rouge_score(frame, aggregate=False)[:, :2].mean(axis=0)
        own = [report["bleu"]["value"], report["rouge1"]["value"]]
        checks.append(Check(f"{n:,} rows: mean BLEU and ROUGE-1 beside nltk and rouge_score", largest_difference(own, [bleu, rouge1]), 1e-3))
    return checks


def _growth(medians: dict[str, float], files: dict[int, Path], peaks: dict[int, list[float]]) -> list[Reading]:
    """How time and memory grow with the rows, beyond what the command needs to start."""
    import math

    start, *sizes = files
    spent = {n: max(medians[_rows_name(n)] - medians[_rows_name(start)], 1e-9) for n in sizes}
    peak = {n: max(values) for n, values in peaks.items()}
    megabytes = {n: file.stat().st_size / 2**20 for n, file in files.items()}
    before, last = sizes[-2:]
    exponent = math.log(spent[last] / spent[before]) / math.log(last / before)
    heavier = (peak[last] - peak[start]) / (megabytes[last] - megabytes[start])
    return [
        Reading(f"seconds for {last:,} rows, start included", medians[_rows_name(last)], "s", SLOWEST_S),
        Reading(f"exponent of time between {before:,} and {last:,} rows (1: linear)", exponent, "", STEEPEST),
        Reading(f"memory beyond the start for {last:,} rows, MB a MB of the file", heavier, "", HEAVIEST),
        *(Reading(f"peak memory, {n:,} rows (file {megabytes[n]:.1f} MB)", peak[n], "MB") for n in files),
    ]
