"""The report's tables: the files of `cells.write_table` and the score files, as columns, rows and cells to show."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..cells import DASH, Estimate
from ..registry import MODELS
from ..scoring.fidelity_measures import LADDER, ladder_rows, scaled_means, tuning_summary
from ..scoring.metric_table import METRICS
from ..systems import BASELINES, UPPER_BOUNDS, control_name
from .paper_tables import COLUMNS, TABLE3

CONTROL_METRICS = (  # what Table II does not show, beside one score that it does
    "rouge1", "stance_acc", "stance_qwk", "swap_gap_rouge1", "swap_gap_rouge1_masked", "swap_auc_rouge1_masked", "swap_gap_option", "distinct2", "self_bleu",
)  # fmt: skip
UNSEEN_METRICS = ("bleu", "rouge1", "rougeL", "bertscore_f1", "quality", "stance_acc", "swap_gap_rouge1_masked", "swap_gap_option")
ADMINISTRATION_METRICS = ("stance_acc", "stance_qwk", "truth_prob", "alignment", "sd_ratio", "entropy_ratio", "ece", "log_loss")
MORE_METRICS = {
    "truth_prob": ("Probability of the true option", "Administration: the mean probability given to the option that the respondent really took.", "higher"),
    "log_loss": ("Log loss", "Administration: the mean of -ln of the probability of the true option.", "lower"),
    "ece": ("Calibration error", "Administration: the mean distance between confidence and accuracy over ten equally filled bins.", "lower"),
    "stance_found": ("Stance found", "The share of closed answers from which an option could be read.", "higher"),
    "attitude_r_within": (
        "Attitudes follow the true ones", "Correlation of a person's true attitude with the one that the answers to a construct's items imply, averaged over "
        "the constructs. Floor: the same answers in other people's hands.", "higher"),
    "coef_r": (
        "Attributes pull as they do in people", "Implied attitudes are regressed on age, schooling and the other attributes, for the system and for the "
        "respondents; the correlation of the two sets of slopes.", "higher"),
    "pick_options": (
        "Person picked out of 5 by options", "The answers given for a person make every respondent's real options more or less likely: how often the own "
        "person's are the likeliest of five. Chance: .2.", "higher"),
    "pick_card_options": (
        "Card picked out of 5 by options", "How often a probe, trained on other people, picks the right persona card out of five from the options of the whole "
        "questionnaire. Chance: .2.", "higher"),
    "contradiction": (
        "Contradicts itself", "The share of decided pairs of items on one construct in which one answer lies in the upper and one in the lower half, reversed "
        "items turned round. Floor: the two answers are of two people. People contradict themselves, too.", "lower"),
    "pick_card_words": (
        "Card picked out of 5 by wording", "How often a probe, trained on other people's sentences, picks the right persona card out of five from the words of "
        "the whole questionnaire. Chance: .2.", "higher"),
    "pick_meaning": (
        "Answer picked out of 5 by meaning", "How often the own person's reference is, by sentence embedding, closest to the answer among five answers to the "
        "same question. Chance: .2.", "higher"),
    "card_auc": (
        "Answer resembles the own card", "The paper's persona-consistency embeddings: how often the own card is closer to the answer than another person's "
        "card, by sentence embedding. Chance: .5.", "higher"),
}  # fmt: skip
"""What is shown beside `METRICS`, of the administration and of notebook 08: id -> label, definition, direction."""
DEFINED = {**{m.id: m.label for m in METRICS.values()}, **{key: label for key, (label, _, _) in MORE_METRICS.items()}}


def slug(text: str) -> str:
    """`text` as a class name or anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def plain(cell: str) -> str:
    """A cell as it was before `csv_text` made it safe for spreadsheets."""
    return cell[1:] if cell.startswith("'") and cell[1:].lstrip()[:1] in ("=", "+", "-", "@") else cell


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV file, or an empty frame."""
    return pd.read_csv(path) if path.is_file() and path.stat().st_size else pd.DataFrame()


def column(name: str) -> dict:
    """A table's column: its name and, if it is a score, the metric whose definition it links to."""
    base = name.rsplit(", ", 1)[0] if name.endswith((", paper", ", ours")) else name
    metric = {**COLUMNS, **TABLE3}.get(base) or (base if base in DEFINED else None)
    return {"name": DEFINED.get(name, name), "metric": metric}


def _cell(text: str, lo: str | None = None, hi: str | None = None) -> dict:
    """A cell to show: numbers with three decimals and the interval apart."""
    try:
        number = float(text)
    except ValueError:
        return {"text": plain(text), "number": False, "interval": "", "long": len(text) > 60}
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
    return {"caption": _caption(file), "columns": [column(plain(n)) for n in names], "rows": rows, "notes": [f"{m}: {plain(r)}" for r, m in marks.items()]}


def _caption(file: Path) -> str:
    """The caption as `cells.write_table` wrote it into the Markdown file, or the file's name."""
    beside = file.with_suffix(".md")
    first = beside.read_text(encoding="utf-8").split("\n", 1)[0] if beside.is_file() else ""
    text = html.unescape(re.sub(r"\\(.)", r"\1", first.removeprefix("**").removesuffix("**")))
    return text or file.stem.replace("_", " ")


def system_name(system: str) -> str:
    """A system's name for readers; an untuned model's says so."""
    key = system.removesuffix("--base")
    if key in MODELS:
        return MODELS[key].display + (", untuned" if system.endswith("--base") else "")
    return control_name(system) if system in BASELINES or system in UPPER_BOUNDS else system


def row_head(system: str, failed: int = 0) -> dict:
    """The head of a system's row: its name, what kind it is as the row's class, and a remark where the name does not say that already."""
    kind = system_kind(system)
    remark = ", ".join(filter(None, ("" if kind == "untuned" else kind, f"{failed} failed" if failed else "")))
    return {"name": system_name(system), "kind": kind, "remark": remark}


def system_kind(system: str) -> str:
    """floor, untuned, tuned or bound."""
    return "floor" if system in BASELINES else "bound" if system in UPPER_BOUNDS else "untuned" if system.endswith("--base") else "tuned"


def place(system: str) -> tuple:
    order = [*BASELINES, *(f"{k}--base" for k in MODELS), *MODELS, *UPPER_BOUNDS]
    return (order.index(system) if system in order else len(order), system)


def system_table(scores: pd.DataFrame, wanted: tuple[str, ...]) -> dict | None:
    """One row a system (floors, untuned, tuned, bounds), one column a metric, values with intervals; None without scores."""
    if scores.empty or not {"system", "metric", "value"} <= set(scores):
        return None
    metrics = [m for m in wanted if (scores["metric"] == m).any()]
    cells = {(r["system"], r["metric"]): r for r in scores.to_dict("records")}
    rows = []
    for system in sorted(set(scores["system"]), key=place):
        shown = [score_cell(cells.get((system, m))) for m in metrics]
        failed = int(scores.loc[scores["system"] == system, "n_failed"].fillna(0).max()) if "n_failed" in scores else 0
        rows.append(row_head(system, failed) | {"cells": shown})
    return {"columns": [{"name": DEFINED[m], "metric": m} for m in metrics], "rows": rows}


def fidelity_table(measures: pd.DataFrame, compared: pd.DataFrame, keys: Sequence[str]) -> dict | None:
    """The numbers of the figure `fidelity_ladder`: one row a measure; None if the run has none.

    Args: measures, compared: `scores/fidelity.csv`, `scores/fidelity_contrasts.csv`. keys: the run's models.
    Returns: {"rows": [{metric, label, floor, untuned, tuned, ceiling, helped, hurt, ways}]}; ways: the tuned mean's share of the way from floor to ceiling.
    """
    if measures.empty or compared.empty:
        return None
    measures, compared = (t.fillna({"detail": ""}) for t in (measures, compared))
    found, ladder = tuning_summary(compared, measures, keys), ladder_rows(measures)
    means = scaled_means(compared, ladder).set_index(["metric", "kind"])
    rows = []
    for metric, _, label in LADDER:
        if label in found.index:
            row = found.loc[label]
            ways = {kind: _way(means, metric, kind) for kind in ("untuned", "tuned")}
            rows.append({"metric": metric, "label": label, **{c: f"{row[c] + 0.0:.3f}" for c in ("floor", "untuned", "tuned", "ceiling")},
                         "helped": row["tuning helped"], "hurt": row["tuning hurt"], "ways": ways})  # fmt: skip
    return {"rows": rows} if rows else None


def _way(means: pd.DataFrame, metric: str, kind: str) -> dict:
    """A mean's share of the way from floor to ceiling in percent, and its interval, as text; a dash for a measure that does not tell one from the other."""
    if (metric, kind) not in means.index:
        return {"text": DASH, "interval": ""}
    value, lo, hi = (f"{round(100 * float(means.loc[(metric, kind), c])):d}" for c in ("value", "lo", "hi"))
    return {"text": f"{value} %", "interval": f"{lo} to {hi}"}


def score_cell(row: dict | None) -> dict:
    if row is None or row["value"] != row["value"]:
        return {"text": DASH, "interval": "", "number": True}
    found = Estimate(row["value"], row.get("lo", float("nan")), row.get("hi", float("nan")))
    interval = str(found).partition(" ")[2].strip("[]").replace(", ", " to ")
    return {"text": f"{found.value:.3f}", "interval": interval, "number": True}


def findings_table(findings: pd.DataFrame) -> list[dict]:
    """What is wrong with each system (`scores/findings.csv`): one row a system, problems first; [] without the file."""
    if findings.empty:
        return []
    rows = []
    for system in sorted(set(findings["system"]), key=place):
        mine = findings[findings["system"] == system].sort_values("severity", key=lambda c: c != "problem", kind="stable")
        lines = [
            {k: plain(str(f[k])) for k in ("severity", "text", "n")} | {"metric": f["metric"] if f["metric"] in DEFINED else None}
            for f in mine.to_dict("records")
        ]
        rows.append(row_head(system) | {"findings": lines})
    return rows


def domain_table(scores: pd.DataFrame) -> dict | None:
    """Stance accuracy by domain: one row a system, one column a domain; None without scores."""
    if scores.empty:
        return None
    domains = list(dict.fromkeys(scores["domain"]))
    cells = {(r["system"], r["domain"]): r for r in scores.to_dict("records")}
    systems = sorted(set(scores["system"]), key=place)
    rows = [row_head(system) | {"cells": [score_cell(cells.get((system, domain))) for domain in domains]} for system in systems]
    return {"columns": [{"name": domain.replace("_", " "), "metric": None} for domain in domains], "rows": rows}
