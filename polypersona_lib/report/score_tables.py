"""The report's tables: the files of `cells.write_table` and the score files, as columns, rows and cells to show."""

import html
import math
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from ..cells import DASH
from ..files import from_csv_text
from ..scoring.fidelity_measures import LADDER, ladder_rows, scaled_means, tuning_summary
from ..scoring.metric_table import METRICS
from ..systems import system_kind, system_label, system_order
from ..world.paper import TABLE2, TABLE3

CONTROL_METRICS = (  # what Table II does not show, beside one score that it does
    "rouge1", "stance_acc", "stance_qwk", "swap_gap_rouge1_content", "swap_gap_rouge1", "swap_gap_rouge1_masked", "swap_gap_option", "readable",
    "distinct2", "self_bleu", "nats_token", "nats_over_reference",
)  # fmt: skip
UNSEEN_METRICS = ("bleu", "rouge1", "rougeL", "bertscore_f1", "quality", "stance_acc", "swap_gap_rouge1_content", "swap_gap_option")
ADMINISTRATION_METRICS = ("stance_acc", "stance_qwk", "truth_prob", "alignment", "sd_ratio", "entropy_ratio", "ece", "log_loss")
_REMARKS = {"baseline": "baseline", "untuned": "", "tuned": "tuned", "retest": "test-retest", "oracle": "upper bound"}  # a label says "untuned" itself


@cache
def texts() -> dict[str, dict[str, dict[str, str]]]:
    """The texts of texts.toml: `figure` (stem -> caption, alt) and `metric` (id -> label, text, direction)."""
    return tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))


@cache
def metric_labels() -> dict[str, str]:
    """Metric id -> label, of every score that the report defines."""
    return {m.id: m.label for m in METRICS.values()} | {key: text["label"] for key, text in texts()["metric"].items()}


def slug(text: str) -> str:
    """`text` as a class name or anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV file, or an empty frame."""
    return pd.read_csv(path) if path.is_file() and path.stat().st_size else pd.DataFrame()


def column(name: str) -> dict:
    """A table's column: its name and, if it is a score, the metric whose definition it links to."""
    base = name.rsplit(", ", 1)[0] if name.endswith((", paper", ", ours")) else name
    metric = {**TABLE2, **TABLE3}.get(base) or (base if base in metric_labels() else None)
    return {"name": metric_labels().get(name, name), "metric": metric}


def _cell(text: str, lo: str | None = None, hi: str | None = None) -> dict:
    """A cell to show: numbers with three decimals and the interval apart."""
    try:
        number = float(text)
    except ValueError:
        return {"text": from_csv_text(text), "number": False, "interval": "", "long": len(text) > 60}
    shown = text if re.fullmatch(r"-?\d+", text) else f"{number:.3f}"
    interval = f"{float(lo):.3f} to {float(hi):.3f}" if lo not in (None, DASH) and hi not in (None, DASH) else ""
    return {"text": shown, "number": True, "interval": interval, "long": False}


def find_table(folder: Path, stem: str) -> dict | None:
    """The table whose file starts with `stem`; None if it was not written."""
    file = next(iter(sorted(folder.glob(f"{stem}*.csv"))), None)
    return read_table(file) if file else None


def read_table(file: Path) -> dict:
    """A table's CSV file as caption, columns, rows and notes."""
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    reasons = frame.pop("why a dash") if "why a dash" in frame else pd.Series([DASH] * len(frame))
    marks = {r: chr(97 + i % 26) for i, r in enumerate(dict.fromkeys(r for r in reasons if r != DASH))}
    names = [n for n in frame if not n.endswith((" (lo)", " (hi)"))]
    rows = []
    for row, reason in zip(frame.to_dict("records"), reasons, strict=True):
        cells = [_cell(row[n], row.get(f"{n} (lo)"), row.get(f"{n} (hi)")) for n in names]
        rows.append({"kind": slug(row.get("Row", "")), "cells": [c | {"mark": marks.get(reason, "") if c["text"] == DASH else ""} for c in cells]})
    notes = [f"{m}: {from_csv_text(r)}" for r, m in marks.items()]
    return {"caption": _caption(file), "columns": [column(from_csv_text(n)) for n in names], "rows": rows, "notes": notes}


def _caption(file: Path) -> str:
    """The caption as `cells.write_table` wrote it into the Markdown file, or the file's name."""
    beside = file.with_suffix(".md")
    first = beside.read_text(encoding="utf-8").split("\n", 1)[0] if beside.is_file() else ""
    text = html.unescape(re.sub(r"\\(.)", r"\1", first.removeprefix("**").removesuffix("**")))
    return text or file.stem.replace("_", " ")


def row_head(system: str, scale: str, failed: int = 0, cut: int = 0) -> dict:
    """The head of a system's row: its name, its kind as the row's class, and a remark: its kind where the name does not say it, what left its numbers."""
    kind = system_kind(system)
    left = (f"{failed} failed" if failed else "", f"{cut} too long for the encoder" if cut else "")
    return {"name": system_label(system, scale), "kind": kind, "remark": ", ".join(filter(None, (_REMARKS[kind], *left)))}


def score_table(scores: pd.DataFrame, wanted: tuple[str, ...], scale: str) -> dict | None:
    """One row a system (baselines, untuned, tuned, upper bounds), one column a metric, values with intervals; None without scores."""
    if scores.empty or not {"system", "metric", "value"} <= set(scores):
        return None
    metrics = [m for m in wanted if (scores["metric"] == m).any()]
    cells = {(r["system"], r["metric"]): r for r in scores.to_dict("records")}
    rows = []
    for system in sorted(set(scores["system"]), key=system_order):
        shown = [score_cell(cells.get((system, m))) for m in metrics]
        of = scores[scores["system"] == system]
        rows.append(row_head(system, scale, *(int(of[c].fillna(0).max()) if c in of else 0 for c in ("n_failed", "n_cut"))) | {"cells": shown})
    return {"columns": [{"name": metric_labels()[m], "metric": m} for m in metrics], "rows": rows}


def fidelity_table(measures: pd.DataFrame, compared: pd.DataFrame, keys: Sequence[str]) -> dict | None:
    """The numbers of the figure `fidelity_ladder`: one row a measure; None if the run has none.

    Args: measures, compared: `scores/fidelity.csv`, `scores/fidelity_contrasts.csv`. keys: the run's models.
    Returns: {"rows": [{metric, label, floor, untuned, tuned, ceiling, helped, hurt, ways}]}; floor: the baseline; ceiling: the upper bound;
        ways: what share of the way from one to the other the untuned and the tuned mean have covered.
    """
    if measures.empty or compared.empty:
        return None
    measures, compared = (t.fillna({"detail": ""}) for t in (measures, compared))
    levels, ladder = tuning_summary(compared, measures, keys), ladder_rows(measures)
    means = scaled_means(compared, ladder).set_index(["metric", "kind"])
    rows = []
    for metric, _, label in LADDER:
        if label in levels.index:
            row = levels.loc[label]
            ways = {kind: _way(means, metric, kind) for kind in ("untuned", "tuned")}
            rows.append({"metric": metric, "label": label, **{c: f"{row[c] + 0.0:.3f}" for c in ("floor", "untuned", "tuned", "ceiling")},
                         "helped": row["tuning helped"], "hurt": row["tuning hurt"], "ways": ways})  # fmt: skip
    return {"rows": rows} if rows else None


def _way(means: pd.DataFrame, metric: str, kind: str) -> dict:
    """A mean's share of the way from baseline to upper bound in percent, with its interval, as text; a dash if the measure cannot tell these two apart."""
    if (metric, kind) not in means.index:
        return {"text": DASH, "interval": ""}
    value, lo, hi = (f"{round(100 * float(means.loc[(metric, kind), c])):d}" for c in ("value", "lo", "hi"))
    return {"text": f"{value} %", "interval": f"{lo} to {hi}"}


def score_cell(row: dict | None) -> dict:
    """A score (value, lo, hi) as a cell to show: three decimals and the interval; a dash without a value."""
    if row is None or row["value"] != row["value"]:
        return {"text": DASH, "interval": "", "number": True}
    lo, hi = (row.get(end, math.nan) for end in ("lo", "hi"))
    return {"text": f"{row['value']:.3f}", "interval": f"{lo:.3f} to {hi:.3f}" if math.isfinite(lo) and math.isfinite(hi) else "", "number": True}


def findings_table(findings: pd.DataFrame, scale: str) -> list[dict]:
    """What is wrong with each system (`scores/findings.csv`): one row a system, problems first; [] without the file."""
    if findings.empty:
        return []
    rows = []
    for system in sorted(set(findings["system"]), key=system_order):
        mine = findings[findings["system"] == system].sort_values("severity", key=lambda c: c != "problem", kind="stable")
        lines = [
            {k: from_csv_text(str(f[k])) for k in ("severity", "text", "n")} | {"metric": f["metric"] if f["metric"] in metric_labels() else None}
            for f in mine.to_dict("records")
        ]
        rows.append(row_head(system, scale) | {"findings": lines})
    return rows


def domain_table(scores: pd.DataFrame, scale: str) -> dict | None:
    """Stance accuracy by domain: one row a system, one column a domain; None without scores."""
    if scores.empty:
        return None
    domains = list(dict.fromkeys(scores["domain"]))
    cells = {(r["system"], r["domain"]): r for r in scores.to_dict("records")}
    systems = sorted(set(scores["system"]), key=system_order)
    rows = [row_head(system, scale) | {"cells": [score_cell(cells.get((system, domain))) for domain in domains]} for system in systems]
    return {"columns": [{"name": domain.replace("_", " "), "metric": None} for domain in domains], "rows": rows}
