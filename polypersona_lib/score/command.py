"""`score FILE [FILE ...]`: every metric that a file of predictions and references allows, and a paired comparison of several files.

A file holds `id`, `prediction`, `reference`, optionally `status` (ok or failed), `persona`, `persona_id`, `domain`, `question`, `question_id`,
`question_type`, `options` (how they may be written: `intake.predictions_file`). What a missing column would add is named. Exit status 2, with one line
an error, for bad input.
"""

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from .. import resampling
from ..errors import InputError, exit_status
from ..files import csv_text, write_atomically
from ..intake.answers_folder import read_answers_folder
from ..intake.predictions_file import read_predictions, unused
from ..scoring import diagnosis, metric_table, readability
from . import file_scores, printing


def _plain(table: pd.DataFrame) -> list[dict]:
    """Rows as dicts that JSON can hold: NaN becomes null."""
    return [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in table.to_dict("records")]


def _write(path: str, text: str) -> None:
    """Write a whole file. Raises InputError if it cannot be written."""
    try:
        write_atomically(Path(path), text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _check_output(path: str | None, names: list[str]) -> None:
    if path and not Path(path).absolute().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist")
    if path and Path(path).is_dir():
        raise InputError(f"{path}: is a folder")
    if path and Path(path).resolve() in [Path(n).resolve() for n in names]:
        raise InputError(f"{path}: is one of the files to score; choose another name")


def _report(name: str, frame: pd.DataFrame, lines: pd.DataFrame, notes: dict, missing: dict, findings: list) -> dict:
    """One file's part of what `--json` writes."""
    known = [{**line, "label": metric_table.METRICS[line["metric"]].label, "version": metric_table.METRICS[line["metric"]].version} for line in _plain(lines)]
    keys = ("value", "lo", "hi", "n", "label", "version")
    return {
        "file": name, "rows": len(frame), "n_failed": int((frame["status"] == "failed").sum()), "people": notes["people"],
        "findings": [asdict(f) for f in findings], "not_checked": diagnosis.not_checked(frame),
        "metrics": {line["metric"]: {k: line[k] for k in keys} for line in known if not line["group"]},
        "groups": [{k: line[k] for k in ("group", "metric", *keys[:4])} for line in known if line["group"]],
        "notes": {k: v for k, v in notes.items() if k != "signatures"}, "signatures": notes["signatures"], "missing": missing,
        "unused_columns": frame.attrs.get("unused", []), "reading": frame.attrs.get("notes", {}),
    }  # fmt: skip


def run(names: list[str], *, json_path: str | None = None, csv_path: str | None = None, seed: int = resampling.SEED, judged: bool = False) -> dict:
    """Score and compare the files, print the tables, write what is asked for. `judged`: also how odd the words are (`scoring.fluency`).

    Returns: what `--json` writes. Raises: InputError.
    """
    for path in (json_path, csv_path):
        _check_output(path, names)
    errors, files, weighted = [], {}, {}
    for name in names:
        try:
            read = read_answers_folder(name) if Path(name).is_dir() else {name: read_predictions(name)}
            files, weighted = files | read, weighted | dict.fromkeys(read, _weights_ignored(Path(name)))
        except InputError as error:
            errors.append(str(error))
    if errors:
        raise InputError("\n".join(errors))
    judge = _judge() if judged else None
    report, tables, scored = {"files": []}, [], {}
    for name, frame in files.items():
        lines, scored[name], notes = file_scores.score_file(frame, judge=judge, seed=seed)
        notes["left_out"] += weighted[name]
        whole, read = lines[lines["group"] == ""], scored[name].reindex(frame["id"])[[*readability.MEASURES, "unknown_words"]].set_index(frame.index)
        missing, findings = file_scores.missing_columns(frame, whole), diagnosis.diagnose(frame.assign(**read), whole)
        printing.print_file(name, frame, lines, notes, missing, findings, unused(frame))
        tables.append(lines.assign(file=csv_text(name), group=lines["group"].map(csv_text)))
        report["files"].append(_report(name, frame, lines, notes, missing, findings))
    if len(files) > 1:
        table, notes = file_scores.compare_files(files, scored, seed=seed)
        printing.print_comparison(table, notes, only=file_scores.HEADLINES if len(files) > 3 else None)
        report |= {"comparisons": _plain(table), "notes": notes}
        if len(table):
            pairs = [csv_text(f"{a} minus {b}") for a, b in zip(table["a"], table["b"], strict=True)]
            tables.append(table.assign(file=pairs, group="", value=table["difference"]))
    if json_path:
        _write(json_path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if csv_path:
        columns = ["file", "group", "metric", "value", "lo", "hi", "n", "n_failed", "d", "p", "p_holm"]
        _write(csv_path, pd.concat(tables).reindex(columns=columns).astype({"n_failed": "Int64"}).to_csv(index=False))
    return report


def _weights_ignored(folder: Path) -> list[str]:
    """A sentence if the people of a folder that `ask` wrote have weights; [] for a file, whose columns that are not used are named."""
    if not folder.is_dir() or not pd.read_parquet(folder / "people.parquet")["weight"].notna().any():
        return []
    return ["weights: the people have some, and no score uses them: every answer counts once"]


def _judge():
    """The language model that judges the wording. Raises InputError, one line, if it is not on this machine."""
    from ..scoring.fluency import judge_here

    judge, reason = judge_here()
    if judge is None:
        raise InputError(f"--fluency: {reason}")
    return judge


def main(argv: list[str]) -> int:
    """The `score` command. Exit status 0, or 2 for bad usage or bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m polypersona_lib score", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Score predictions against references; compare files that share ids.", epilog=_HELP,
    )  # fmt: skip
    parser.add_argument("files", nargs="+", metavar="FILE", help="JSON lines, a JSON array, Parquet, CSV or TSV; or a folder that ask has written")
    parser.add_argument("--json", metavar="FILE", help="write everything that is printed, and more, as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write the scores and the comparisons as CSV")
    parser.add_argument("--seed", type=int, default=resampling.SEED, help="seed of intervals and tests (default %(default)s)")
    parser.add_argument("--fluency", action="store_true", help="also how odd the words are to SmolLM2-135M: nats a token (about a minute a thousand answers)")
    return exit_status(parser, argv, _run_as_asked)


def _run_as_asked(options: argparse.Namespace) -> None:
    run(list(dict.fromkeys(options.files)), json_path=options.json, csv_path=options.csv, seed=options.seed, judged=options.fluency)


_HELP = """columns:
  id, prediction, reference   needed; an empty prediction is a failed generation
  persona, persona_id         card (text or object), who it is: the swap control,
                              intervals that resample people
  question, question_id       the swap control, distributions, repeated prompts
  question_type               open, likert, yesno or agreement: format, quality
  options                     a list, or "No|Yes": stances, distributions
  domain                      scores by domain
  status                      ok or failed
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
