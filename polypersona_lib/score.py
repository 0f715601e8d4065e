"""`score FILE [FILE ...]`: every metric that a file of predictions and references allows, and a paired comparison of several files.

A file holds JSON lines with `id`, `prediction`, `reference`, optionally `status` (ok or failed), `persona`, `persona_id`, `domain`, `question`,
`question_id`, `question_type`, `options`. What a missing column would add is named. Exit status 2, with one line an error, for bad input.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from . import diagnosis, metrics, set_scores, stats, swap
from .cells import csv_text
from .stance import read_option

REQUIRED = ("id", "prediction", "reference")
TEXT_FIELDS = ("persona_id", "domain", "question", "question_id", "question_type", "status")
CHOICES = {"question_type": ("open", "likert", "yesno", "agreement"), "status": ("ok", "failed")}
MAX_ERRORS = 20
NO_INTERVAL = "too few different answers for an interval"


class InputError(ValueError):
    """Bad input; its message is one line an error, each with file, line and field."""


# --- reading -----------------------------------------------------------------------------------------------------------------


def _no_constant(name: str):
    raise ValueError(f"{name} is not allowed")


def _field_errors(row: dict) -> list[str]:
    """What is wrong with one row, as `field: what` texts."""
    found = [f"{name}: missing" for name in REQUIRED if name not in row]
    failed = row.get("status") == "failed"
    for name in ("id", "prediction", "reference", *TEXT_FIELDS):
        value = row.get(name)
        if name not in row or (value is None and (name in TEXT_FIELDS or (name == "prediction" and failed))) or (name == "id" and type(value) is int):
            continue
        if not isinstance(value, str):
            found.append(f"{name}: expected text, found {type(value).__name__}")
        elif name in ("id", "reference") and not value.strip():
            found.append(f"{name}: empty")
        elif name in CHOICES and value not in CHOICES[name]:
            near = difflib.get_close_matches(value.lower(), CHOICES[name], n=1, cutoff=0.5)
            found.append(f"{name}: unknown {value!r}" + (f", did you mean '{near[0]}'?" if near else f"; choose from {', '.join(CHOICES[name])}"))
    if not isinstance(row.get("persona", ""), str | dict | None):
        found.append(f"persona: expected text or an object, found {type(row['persona']).__name__}")
    options = row.get("options")
    if options is not None and not (
        isinstance(options, list) and all(isinstance(o, str) and o.strip() for o in options) and len(set(options)) == len(options) != 1
    ):
        found.append("options: expected a list of two or more different texts")
    return found


def _parse_line(line: str) -> tuple[dict | None, list[str]]:
    """(row, errors) of one line."""
    try:
        row = json.loads(line, parse_constant=_no_constant)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None, ["not text: an escape such as \\ud800 is half of a character"]
    except json.JSONDecodeError as error:
        return None, [f"not JSON: {error.msg} at column {error.colno}"]
    except (ValueError, RecursionError) as error:
        return None, [f"not JSON: {error}"]
    return (row, _field_errors(row)) if isinstance(row, dict) else (None, [f"expected an object, found {type(row).__name__}"])


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read one file of predictions. Raises InputError that lists every error (at most 20) with file, line and field.

    Returns: the given columns; an id becomes text, a blank prediction gets status "failed", a persona object becomes its card.
    """
    from .chat import render_card

    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start})") from None
    rows, errors, seen = [], [], {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row, found = _parse_line(line)
        if row is not None and "id" in row and (first := seen.setdefault(str(row["id"]), number)) != number:
            found.append(f"id: {row['id']!r} is already in line {first}")
        errors += [f"{path}: line {number}: {what}" for what in found]
        rows.append(row)
    if errors:
        more = [f"{path}: {len(errors) - MAX_ERRORS} more errors"] if len(errors) > MAX_ERRORS else []
        raise InputError("\n".join(errors[:MAX_ERRORS] + more))
    if not rows:
        raise InputError(f"{path}: holds no rows")
    names = [n for n in (*REQUIRED, "persona", *TEXT_FIELDS, "options") if any(row.get(n) is not None for row in rows)]
    frame = pd.DataFrame({n: pd.Series([row.get(n) for row in rows], dtype=object) for n in dict.fromkeys([*REQUIRED, *names])})
    frame["id"], frame["prediction"] = frame["id"].map(str), frame["prediction"].map(lambda p: p or "")
    frame["status"] = [
        ("failed" if s == "failed" or not p.strip() else "ok") for s, p in zip(frame.get("status", [None] * len(frame)), frame["prediction"], strict=True)
    ]
    if "persona" in frame:
        frame["persona"] = frame["persona"].map(lambda p: render_card(p) if p else None)
    return frame


# --- scoring -----------------------------------------------------------------------------------------------------------------


def _swap_rows(frame: pd.DataFrame, encoder) -> pd.DataFrame:
    """Persona-swap scores within the file: its own references are the other personas' answers."""
    known = frame.assign(
        persona_id=frame["persona_id"].fillna(frame["persona"]) if "persona_id" in frame else frame["persona"],
        question_id=frame["question_id"].fillna(frame["question"])
        if "question_id" in frame and "question" in frame
        else frame.get("question_id", frame.get("question")),
    ).dropna(subset=["persona", "persona_id", "question_id"])
    pool = known
    if "options" in known:
        known, pool = (known.assign(chosen=_options_read(known, c, lost)) for c, lost in (("prediction", -1), ("reference", math.nan)))
    return swap.swap_scores(known, pool.drop_duplicates(["persona_id", "question_id", "reference"]), encoder=encoder).assign(cluster=known["persona_id"])


def _options_read(frame: pd.DataFrame, column: str, lost: float) -> list[float]:
    """The option that the label rule reads from each closed row's text; `lost` where it reads none, NaN for open rows."""
    read = [read_option(t, o) if isinstance(o, list) else math.nan for t, o in zip(frame[column], frame["options"], strict=True)]
    return [lost if r is None else r for r in read]


def _stance_lines(frame: pd.DataFrame, seed: int) -> list[dict]:
    """Stance accuracy and kappa by the label rule, over closed items whose reference names an option."""
    closed = frame[frame["options"].notna() & (frame["status"] == "ok")]
    truth, read = ([read_option(t, o) for t, o in zip(closed[c], closed["options"], strict=True)] for c in ("reference", "prediction"))
    pairs = [(r, t, len(o)) for r, t, o in zip(read, truth, closed["options"], strict=True) if t is not None]
    hit = stats.bootstrap_mean([float(r == t) for r, t, _ in pairs], seed=seed)
    lines = [{"metric": "stance_acc", "value": hit["mean"], "lo": hit["lo"], "hi": hit["hi"], "n": hit["n"]}] if pairs else []
    sizes = [n for _, _, n in pairs]
    if pairs and (size := max(set(sizes), key=sizes.count)) > 2:
        read = [(r, t) for r, t, n in pairs if n == size and r is not None]
        found = stats.bootstrap_kappa(*(zip(*read, strict=True) if read else ((), ())), n_options=size, seed=seed)
        lines.append({"metric": "stance_qwk", "value": found["mean"], "lo": found["lo"], "hi": found["hi"], "n": found["n"]})
    return lines


def missing_columns(frame: pd.DataFrame, lines: pd.DataFrame) -> dict[str, str]:
    """metric -> what would allow it, for every metric that `lines` lacks or could not compute."""
    done = set(lines.loc[lines["value"].notna(), "metric"])
    needs = {}
    for metric in metrics.METRICS.values():
        if metric.id in done:
            continue
        wanted = {
            "row": ["question_type", "options"],
            "stance": ["options"],
            "swap": ["persona", "question"],
        }.get(metric.scope, [])
        lacking = [c for c in wanted if c not in frame]
        if metric.id.endswith("_option"):
            lacking = [c for c in ("persona", "question", "options") if c not in frame]
        if metric.scope == "distribution":
            needs[metric.id] = "an administration (many respondents an item), see notebook 04"
        elif lacking:
            needs[metric.id] = "column " + ", ".join(lacking)
        else:
            needs[metric.id] = {
                "swap": "two or more personas that answer the same question" + (" and name an option" if metric.id.endswith("_option") else ""),
                "stance": "closed items whose references name an option", "set": "two or more rows",
            }.get(metric.scope, "rows that did not fail")  # fmt: skip
    return needs


def score_file(frame: pd.DataFrame, *, encoder=None, seed: int = stats.SEED) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Everything that can be said about one file.

    Returns: (lines: metric, value, lo, hi, n, n_failed; rows: by id the row metrics and, if known, the swap's and `cluster`, the persona;
        signatures).
    """
    encoder = encoder or metrics.load_encoder()
    rows = metrics.score_rows(frame, encoder=encoder)
    lines = metrics.summarise_rows(rows, metrics=metrics.ROW_METRICS, seed=seed).drop(columns="system").to_dict("records")
    lines += set_scores.score_set(frame, seed=seed).to_dict("records")
    if "options" in frame:
        lines += _stance_lines(frame, seed)
    if "persona" in frame and ("question" in frame or "question_id" in frame):
        swapped = _swap_rows(frame, encoder)
        names = [c for c in swapped if c.startswith("swap_")]
        rows = rows.join(swapped[[*names, "cluster"]])
        lines += metrics.summarise_rows(swapped.assign(failed=False), metrics=names, cluster="cluster", seed=seed).drop(columns="system").to_dict("records")
    table = pd.DataFrame(lines)
    table = table[table["value"].notna()].assign(n_failed=int((~metrics.answered(frame)).sum()))
    order = {m: i for i, m in enumerate(metrics.METRICS)}
    table = table.sort_values("metric", key=lambda c: c.map(order)).reset_index(drop=True)
    return table, rows.set_index("id"), {"bleu_corpus": set_scores.bleu_signature(), "bertscore_f1": encoder.signature}


def compare(files: dict[str, pd.DataFrame], scored: dict[str, pd.DataFrame], *, seed: int = stats.SEED) -> tuple[pd.DataFrame, list[str]]:
    """Paired comparison of every two files over the ids they share (equal references only), people resampled if the first file names them: (lines, notes)."""
    lines, notes = [], []
    for (a, left), (b, right) in itertools.combinations(files.items(), 2):
        both = left.set_index("id")[["reference"]].join(right.set_index("id")[["reference"]], how="inner", suffixes=("_a", "_b"))
        same = both.index[both["reference_a"] == both["reference_b"]]
        if len(same) < len(both):
            notes.append(f"{a} and {b}: {len(both) - len(same)} shared ids have different references and are not compared")
        if len(same) < 2:
            notes.append(f"{a} and {b}: {len(same)} comparable rows, so no comparison")
            continue
        x, y = scored[a].loc[same], scored[b].loc[same]
        wanted = [m for m in metrics.METRICS if m in x and m in y]
        gaps = x[wanted].astype(float) - y[wanted].astype(float)
        people = x["cluster"].fillna(pd.Series(same, index=same)).tolist() if "cluster" in x else None
        found = stats.bootstrap_means(gaps, clusters=people, seed=seed).rename(columns={"mean": "difference"}).rename_axis("metric").reset_index()
        found = found.assign(a=a, b=b, d=(gaps.mean() / gaps.std().replace(0, math.nan)).to_numpy(), p=stats.permutation_p(gaps, clusters=people, seed=seed))
        lines.append(found[found["n"] > 0])
    if not lines:
        return pd.DataFrame(), notes
    table = pd.concat(lines, ignore_index=True)[["a", "b", "metric", "difference", "lo", "hi", "n", "d", "p"]]
    return table.assign(p_holm=stats.holm(table["p"])), notes


# --- printing and writing ----------------------------------------------------------------------------------------------------


def _interval(low: float, high: float) -> str:
    return f"[{low:.4f}, {high:.4f}]" if low == low else "–"


def _print_file(name: str, frame: pd.DataFrame, lines: pd.DataFrame, signatures: dict, missing: dict[str, str], findings: list) -> None:
    failed = int((frame["status"] == "failed").sum())
    print(f"\n{name}: {len(frame)} rows" + (f", {failed} failed (counted, not scored)" if failed else ""))
    print(f"  {'metric':42} {'value':>7}  {'95 % interval':18} {'n':>6}")
    for line in lines.itertuples():
        print(f"  {metrics.METRICS[line.metric].label:42} {line.value:7.4f}  {_interval(line.lo, line.hi):18} {line.n:6}")
    if lines["lo"].isna().any():
        print(f"  –: {NO_INTERVAL}")
    for metric, text in signatures.items():
        print(f"  {metrics.METRICS[metric].label}: {text}")
    if missing:
        print("  not computed:")
    for reason, ids in itertools.groupby(sorted(missing, key=lambda m: missing[m]), key=lambda m: missing[m]):
        print(f"    {', '.join(ids)}: needs {reason}")
    print("  findings:" if findings else "  findings: none")
    for found in findings:
        print(f"    {found.severity}: {found.text} (n {found.n})")


def _print_comparison(table: pd.DataFrame, notes: list[str]) -> None:
    for (a, b), part in table.groupby(["a", "b"], sort=False) if len(table) else []:
        print(f"\n{a} minus {b} (same ids; p: paired permutation, Holm-corrected over all comparisons)")
        print(f"  {'metric':42} {'diff':>8}  {'95 % interval':20} {'n':>6} {'d':>6} {'p':>7}")
        for line in part.itertuples():
            print(
                f"  {metrics.METRICS[line.metric].label:42} {line.difference:8.4f}  {_interval(line.lo, line.hi):20}"
                f" {line.n:6} {line.d:6.2f} {line.p_holm:7.4f}"
            )
    for note in notes:
        print(f"  note: {note}")


def _plain(table: pd.DataFrame) -> list[dict]:
    """Rows as dicts that JSON can hold: NaN becomes null."""
    return [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in table.to_dict("records")]


def _write(path: str, text: str) -> None:
    """Write by way of a temporary file. Raises InputError if it cannot be written."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _check_output(path: str | None) -> None:
    if path and not Path(path).absolute().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist")
    if path and Path(path).is_dir():
        raise InputError(f"{path}: is a folder")


def run(names: list[str], *, json_path: str | None = None, csv_path: str | None = None, seed: int = stats.SEED) -> dict:
    """Score and compare the files, print the tables, write what is asked for. Returns what `--json` writes. Raises InputError."""
    for path in (json_path, csv_path):
        _check_output(path)
    errors, files = [], {}
    for name in names:
        try:
            files[name] = read_predictions(name)
        except InputError as error:
            errors.append(str(error))
    if errors:
        raise InputError("\n".join(errors))
    report, tables, scored = {"files": []}, [], {}
    for name, frame in files.items():
        lines, scored[name], signatures = score_file(frame, seed=seed)
        missing = missing_columns(frame, lines)
        findings = diagnosis.diagnose(frame, lines)
        _print_file(name, frame, lines, signatures, missing, findings)
        tables.append(lines.assign(file=csv_text(name))[["file", "metric", "value", "lo", "hi", "n", "n_failed"]])
        known = {
            line["metric"]: {
                **{k: line[k] for k in ("value", "lo", "hi", "n")},
                "label": metrics.METRICS[line["metric"]].label,
                "version": metrics.METRICS[line["metric"]].version,
            }
            for line in _plain(lines)
        }
        report["files"].append(
            {
                "file": name,
                "rows": len(frame),
                "n_failed": int((frame["status"] == "failed").sum()),
                "metrics": known,
                "signatures": signatures,
                "missing": missing,
                "findings": [asdict(f) for f in findings],
            }
        )
    if len(files) > 1:
        table, notes = compare(files, scored, seed=seed)
        _print_comparison(table, notes)
        report |= {"comparisons": _plain(table), "notes": notes}
    if json_path:
        _write(json_path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if csv_path:
        _write(csv_path, pd.concat(tables).to_csv(index=False))
    return report


def main(argv: list[str]) -> int:
    """The `score` command. Exit status 0, or 2 for bad usage or bad input."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib score", description="Score predictions against references; compare files that share ids.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="JSON lines with id, prediction, reference; more columns allow more metrics")
    parser.add_argument("--json", metavar="FILE", help="write everything that is printed as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write the scores as CSV")
    parser.add_argument("--seed", type=int, default=stats.SEED, help="seed of intervals and tests (default %(default)s)")
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        run(list(dict.fromkeys(options.files)), json_path=options.json, csv_path=options.csv, seed=options.seed)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
