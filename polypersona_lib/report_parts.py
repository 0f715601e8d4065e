"""The report's parts: each reads one kind of file of a run and returns plain lists and dicts; a missing file gives an empty part.

Tables and score tables are read in `report_tables`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from .cells import DASH
from .claim_evidence import VERDICTS
from .config import RunConfig
from .report_tables import plain, slug, system_kind, system_name

MARKS = dict(zip(VERDICTS, ("✓", "✗", "≠", "○", "?"), strict=True))
OURS_ALONE = ("seed", "adapt_epochs", "shared_prefix", "first_weight")
FIGURES = (  # pattern of the file's name -> caption, alt text
    (r"fig1|domain_counts", "Fig. 1. Records by domain; the tick is the paper's count.",
     "Bar chart: number of records in each of the domains, with the paper's count marked on each bar."),
    (r"fig2|question_types", "Fig. 2. Share of each question type; the tick is the paper's share.",
     "Bar chart: share of open, Likert, yes/no and agreement questions, ours beside the paper's."),
    (r"fig3|lora", "Fig. 3. Where the LoRA adapters sit.",
     "Diagram: one transformer block with adapters at the attention projections and at the feed-forward projections."),
    (r"fig4|bleu", "Fig. 4. BLEU of each model with its 95 % interval, beside the paper's value and the controls.",
     "Dot plot: BLEU of the tuned models with intervals, the paper's values as ticks, baselines and oracles below. The numbers are in Table II above."),
    (r"fig5|lengths", "Fig. 5. Length of the generated answers by domain, beside the references.",
     "Box plots: characters per answer in each domain, generated and reference answers side by side."),
    (r"ladder", "Floor, model, ceiling: every system on the main metrics.",
     "Dot plots, one panel a metric: baselines, untuned bases, tuned models and oracles with 95 % intervals."),
    (r"training", "Training loss by step and validation loss by epoch.",
     "Line charts: training loss falling over steps; validation loss by epoch with the chosen checkpoint ringed."),
    (r"calibration", "Calibration on the administration: confidence against accuracy.",
     "Line chart: accuracy of the most probable option against its probability, one line a model."),
    (r"reuse", "In how many domains a persona appears.",
     "Bar chart: share of personas by number of domains, ours beside the paper's."),
    (r"cluster", "Persona clusters and their keywords.",
     "Scatter plot of persona descriptions, one marker a cluster, with each cluster's keywords."),
    (r"cramer", "Association between persona attributes (Cramér's V).",
     "Heat map: strength of association between each pair of persona attributes."),
)  # fmt: skip


# --- reading -------------------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict:
    """A JSON object, or {} if there is no such file or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_ledger(path: Path) -> list[dict]:
    """The rows of claims.csv as text, with a class name for the verdict."""
    if not path.is_file():
        return []
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = ({k: plain(v) for k, v in row.items()} for row in frame.to_dict("records"))
    return [row | {"slug": slug(row["verdict"]), "mark": MARKS.get(row["verdict"], ""), "printed": _printed(row)} for row in rows]


def _printed(row: dict) -> str:
    """What the paper states, with its unit; a threshold of ours is not the paper's number."""
    if row["unit"].endswith("(ours)"):
        return "not quantified"
    return row["value"] if row["unit"] in (DASH, "score", "judgement") else f"{row['value']} {row['unit']}"


def read_records(folder: Path, order: tuple[str, ...]) -> list[dict]:
    """The run records of a folder, in the given order of models."""
    found = [r for p in sorted(folder.glob("*.json")) if "model" in (r := read_json(p))]
    return sorted(found, key=lambda r: order.index(r["model"]) if r["model"] in order else len(order))


# --- the run -------------------------------------------------------------------------------------------------------------------


def _distinct(records: list[dict], key: str) -> str:
    return "; ".join(dict.fromkeys(str(r[key]) for r in records if r.get(key))) or DASH


def run_facts(run: RunConfig, records: list[dict], dataset: dict) -> list[tuple[str, str]]:
    """What ran on what: (name, value) pairs."""
    versions = records[0].get("versions", {}) if records else {}
    rows = dataset.get("rows", {})
    counts = ", ".join(f"{name} {n}" for name, n in rows.items()) if isinstance(rows, dict) and rows else DASH
    return [
        ("Profile", f"{run.profile} ({'nano twins' if run.settings.scale == 'nano' else 'hub models'})"), ("Split", run.split), ("Seed", str(run.seed)),
        ("Data", f"{dataset.get('source') or (Path(run.data).name if run.data else 'embedded')} ({counts})"),
        ("Data hash", str(dataset.get("data_hash") or _distinct(records, "data_hash"))),
        ("Device", _distinct(records, "device")), ("Code", _distinct(records, "git")),
        ("Versions", ", ".join(f"{k} {v}" for k, v in versions.items()) or DASH),
    ]  # fmt: skip


def model_facts(records: list[dict]) -> list[dict]:
    """What was trained: one row a run record."""
    keys = ("model", "display", "hub_id", "revision", "adapter_hash", "template_hash", "best_epoch")
    short = ("revision", "adapter_hash", "template_hash")
    return [{k: str(r.get(k, DASH))[: 12 if k in short else None] for k in keys} for r in records]


def costs(records: list[dict]) -> list[dict]:
    """Time, speed and memory of each training."""

    def number(record: dict, key: str, form: str) -> str:
        return form.format(record[key]) if isinstance(record.get(key), int | float) else DASH

    forms = dict.fromkeys(("train_time_s", "tokens", "tokens_per_s", "peak_memory_mb", "trainable", "total"), "{:,.0f}") | {"share": "{:.2%}"}
    return [{"display": r.get("display", r["model"]), **{k: number(r, k, f) for k, f in forms.items()}} for r in records]


def stages(path: Path) -> list[dict]:
    """Time and memory of each stage of the runner, as far as they are done."""
    found = read_json(path).get("stages", {})
    return [
        {"stage": n, "status": str(e.get("status", DASH)), "time": f"{e.get('wall_time_s', 0):,.1f}", "memory": f"{e.get('peak_memory_mb', 0):,.0f}"}
        for n, e in sorted(found.items())
    ]


def sample_answers(folder: Path, models: tuple[str, ...], *, most: int = 6) -> list[dict]:
    """A few test items with the reference and every system's answer side by side: the middle row of each question type, then of the largest rest."""
    systems = [s for key in models for s in (key, f"{key}--base")] + ["persona_blind"]
    here = [s for s in systems if (folder / f"{s}.jsonl").is_file()]
    files = {s: [json.loads(line) for line in (folder / f"{s}.jsonl").read_text(encoding="utf-8").split("\n") if line] for s in here}
    if not files:
        return []
    first = next(iter(files.values()))
    by_type: dict[str, list[dict]] = {}
    for row in first:
        by_type.setdefault(row["question_type"], []).append(row)
    places = [(kind, (2 * step + 1) / 4) for step in range(2) for kind in by_type]
    chosen = list({rows[int(len(rows) * at)]["id"]: rows[int(len(rows) * at)] for kind, at in places for rows in [by_type[kind]]}.values())[:most]
    answers = {s: {row["id"]: row for row in rows} for s, rows in files.items()}
    return [
        {**{k: str(row.get(k) or DASH) for k in ("id", "domain", "question", "question_type", "persona", "reference")},
         "answers": [_answer(s, found[row["id"]]) for s, found in answers.items() if row["id"] in found]}
        for row in chosen
    ]  # fmt: skip


def _answer(system: str, row: dict) -> dict:
    return {"system": system_name(system), "kind": system_kind(system), "text": str(row.get("prediction", "")), "failed": row.get("status") == "failed"}


def figure_texts(stem: str, captions: dict) -> tuple[str, str]:
    """Caption and alt text of a figure: from `captions` (stem -> {caption, alt}), else by the file's name, else its name in words."""
    given = captions.get(stem, {})
    words = stem.replace("_", " ")
    caption, alt = next(((c, a) for pattern, c, a in FIGURES if re.search(pattern, stem)), (f"{words[:1].upper()}{words[1:]}.", f"Figure: {words}."))
    return str(given.get("caption", caption)), str(given.get("alt", alt))
