"""The report's parts: each reads one kind of file of a run and returns plain lists and dicts; a missing file gives an empty part.

Tables and score tables are read in `report_tables`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .cells import DASH
from .claim_evidence import VERDICTS
from .config import RunConfig
from .report_tables import plain, slug, system_kind, system_name

MARKS = dict(zip(VERDICTS, ("✓", "✗", "≠", "○", "?"), strict=True))
OURS_ALONE = ("seed", "adapt_epochs", "shared_prefix", "processes")
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
    (r"fidelity_ladder", "How much of the person is in the answers: each measure from its floor to its ceiling. "
     "Rings: untuned, discs: tuned (means of the models with 95 % intervals); dots: each model.",
     "Dot plot: each measure of persona fidelity, untuned and tuned models between an answerer without the person and the most that can be known."),
    (r"fidelity_attributes", "Which attributes of a person can be read off the answers.",
     "Dot plot: how well each attribute of the card is recovered from the answers of respondents and models, beside chance."),
    (r"alignment_by", "Answer distributions by domain, between the uniform answerer and the same respondents asked again.",
     "Dot plot: alignment of each model's answer distributions with the respondents', one line a domain, floor and ceiling as a bar."),
    (r"subgroup", "Differences between groups of people: the models' against the respondents'.",
     "Scatter plots: gap of each group from everybody else in a model's answers against the true gap, with the diagonal."),
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


def read_rows(path: Path) -> pd.DataFrame:
    """The row scores of a run; empty without the file."""
    return pd.read_parquet(path) if path.is_file() else pd.DataFrame()


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


def sample_answers(folder: Path, models: tuple[str, ...], first: Sequence[tuple[str, str]] = (), *, most: int = 3) -> list[dict]:
    """A few test items with the reference and every system's answer side by side.

    Args: first: (id, why) of items to begin with (`report_brief.telling`). most: how many others, the middle row of each question type.
    """
    systems = [s for key in models for s in (key, f"{key}--base")] + ["persona_blind"]
    here = [s for s in systems if (folder / f"{s}.jsonl").is_file()]
    files = {s: [json.loads(line) for line in (folder / f"{s}.jsonl").read_text(encoding="utf-8").split("\n") if line] for s in here}
    if not files:
        return []
    records = {row["id"]: row for row in next(iter(files.values()))}
    by_type: dict[str, list[dict]] = {}
    for row in records.values():
        by_type.setdefault(row["question_type"], []).append(row)
    middle = [(rows[len(rows) // 2]["id"], "middle of the file") for rows in by_type.values()]
    chosen = dict([(i, why) for i, why in first if i in records] + middle[:most])
    answers = {s: {row["id"]: row for row in rows} for s, rows in files.items()}
    return [
        {**{k: str(records[i].get(k) or DASH) for k in ("id", "domain", "question", "question_type", "persona", "reference")}, "why": why,
         "answers": [_answer(s, found[i]) for s, found in answers.items() if i in found]}
        for i, why in chosen.items()
    ]  # fmt: skip


def _answer(system: str, row: dict) -> dict:
    return {"system": system_name(system), "kind": system_kind(system), "text": str(row.get("prediction", "")), "failed": row.get("status") == "failed"}


def figure_texts(stem: str, captions: dict) -> tuple[str, str]:
    """Caption and alt text of a figure: from `captions` (stem -> {caption, alt}), else by the file's name, else its name in words."""
    given = captions.get(stem, {})
    words = stem.replace("_", " ")
    caption, alt = next(((c, a) for pattern, c, a in FIGURES if re.search(pattern, stem)), (f"{words[:1].upper()}{words[1:]}.", f"Figure: {words}."))
    return str(given.get("caption", caption)), str(given.get("alt", alt))
