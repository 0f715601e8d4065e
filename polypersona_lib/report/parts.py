"""The report's parts: each reads one kind of file of a run and returns plain lists and dicts; a missing file gives an empty part.

Tables and score tables are read in `score_tables`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..cells import DASH
from ..claims.evidence import VERDICTS
from ..config import RunConfig
from ..files import from_csv_text, read_json
from ..systems import model_of, system_kind, system_label, untuned
from .score_tables import slug

MARKS = dict(zip(VERDICTS, ("✓", "✗", "–", "≈", "≠", "=", "○", "?"), strict=True))
TYPE_LABELS = {"open": "open", "likert": "Likert", "yesno": "yes/no", "agreement": "agreement"}
OURS_ALONE = ("seed", "adapt_epochs", "shared_prefix", "processes")
SCALES_IN_WORDS = {"nano": "nano twins", "small": "a real model", "paper": "hub models"}
MAKES = {  # what the stages make beside the paper's tables and figures
    "01": "the data set and its faults", "02": "attributes, clusters and reuse of personas", "03": "adapters, training curves",
    "04": "answers, scores, controls", "05": "scores by domain", "06": "every figure beside the paper's", "07": "ablations", "08": "persona fidelity",
    "09": "human rating (no ratings are shipped)",
    "10": "answer distributions, groups, reliability", "11": "the same people asked again", "14": "a questionnaire tried on simulated people",
    "90": "the claims ledger, this report",
}  # fmt: skip


def read_ledger(path: Path) -> list[dict]:
    """The rows of claims.csv as text, with the verdict's slug and mark."""
    if not path.is_file():
        return []
    rows = []
    for cells in pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"):
        row = {name: from_csv_text(cell) for name, cell in cells.items()}
        rows.append(row | {"slug": slug(row["verdict"].partition(":")[0]), "mark": MARKS.get(row["verdict"], ""), "printed": _printed(row)})
    return rows


def verdict_rows(ledger: list[dict]) -> list[dict]:
    """Number and share of claims by verdict, in the fixed order, all of them."""
    kinds = list(dict.fromkeys(c["kind"] for c in ledger))
    rows = []
    for name, meaning in VERDICTS.items():
        mine = [c["kind"] for c in ledger if c["verdict"] == name]
        share = round(100 * len(mine) / len(ledger), 1) if ledger else 0
        rows.append({"name": name, "meaning": meaning, "mark": MARKS[name], "slug": slug(name.partition(":")[0]), "n": len(mine), "share": share,
                     "kinds": [mine.count(kind) for kind in kinds], "kind_names": kinds})  # fmt: skip
    return rows


def _printed(row: dict) -> str:
    """What the paper states, with its unit; a threshold of ours is not the paper's number."""
    if row["unit"].endswith("(ours)"):
        return "not quantified"
    return row["value"] if row["unit"] in (DASH, "score", "judgement") else f"{row['value']} {row['unit']}"


def _distinct(records: list[dict], key: str) -> str:
    return "; ".join(dict.fromkeys(str(r[key]) for r in records if r.get(key))) or DASH


def what_ran(run: RunConfig, records: list[dict], dataset: dict) -> list[tuple[str, str]]:
    """What ran on what: (name, value) pairs."""
    versions = records[0].get("versions", {}) if records else {}
    rows = dataset.get("rows", {})
    counts = ", ".join(f"{name} {n}" for name, n in rows.items()) if isinstance(rows, dict) and rows else DASH
    return [
        ("Profile", f"{run.profile} ({SCALES_IN_WORDS[run.settings.scale]})"), ("Split", run.split), ("Seed", str(run.seed)),
        ("Data", f"{dataset.get('source') or (Path(run.data).name if run.data else 'embedded')} ({counts})"),
        ("Data hash", str(dataset.get("data_hash") or _distinct(records, "data_hash"))),
        ("Device", _distinct(records, "device")), ("Code", _distinct(records, "git")),
        ("Versions", ", ".join(f"{k} {v}" for k, v in versions.items()) or DASH),
    ]  # fmt: skip


def trained_models(records: list[dict], scale: str) -> list[dict]:
    """What was trained: one row a run record, long hashes cut."""
    keys = ("hub_id", "revision", "adapter_hash", "template_hash", "best_epoch")
    short = ("revision", "adapter_hash", "template_hash")
    return [{"name": system_label(r["model"], scale)} | {k: str(r.get(k, DASH))[: 12 if k in short else None] for k in keys} for r in records]


def costs(records: list[dict], scale: str) -> list[dict]:
    """Time, speed and memory of each training, as text; a dash for what a record does not hold."""
    forms = dict.fromkeys(("train_time_s", "tokens", "tokens_per_s", "peak_memory_mb", "trainable", "total"), "{:,.0f}") | {"share": "{:.2%}"}
    return [
        {"name": system_label(r["model"], scale)} | {k: f.format(r[k]) if isinstance(r.get(k), int | float) else DASH for k, f in forms.items()}
        for r in records
    ]


def stages(path: Path, artefacts: Sequence[tuple[str, str]] = ()) -> list[dict]:
    """What each stage made, and the sum: [{stage, makes, status, time, memory}]; [] without a manifest. `artefacts`: (artefact of the paper, its stage)."""
    known = read_json(path).get("stages")
    entries = sorted((name, entry) for name, entry in known.items() if isinstance(entry, dict)) if isinstance(known, dict) else []
    lines = [
        {"stage": name, "makes": ", ".join([a for a, stage in artefacts if stage == name] + [MAKES[name]] if name in MAKES else []) or DASH,
         "status": str(e.get("status", DASH)), "time": f"{_number(e, 'wall_time_s'):,.1f}", "memory": f"{_number(e, 'peak_memory_mb'):,.0f}"}
        for name, e in entries
    ]  # fmt: skip
    total, most = sum(_number(e, "wall_time_s") for _, e in entries), max((_number(e, "peak_memory_mb") for _, e in entries), default=0)
    last = {"stage": "all", "makes": "the sum of the times, the largest of the memories", "status": "", "time": f"{total:,.1f}", "memory": f"{most:,.0f}"}
    return [*lines, last] if lines else []


def _number(entry: dict, name: str) -> float:
    """A number of a manifest's entry; 0 for anything else."""
    return entry[name] if type(entry.get(name)) in (int, float) else 0


def sample_answers(folder: Path, models: tuple[str, ...], first: Sequence[tuple[str, str]], scale: str, *, most: int = 3) -> list[dict]:
    """A few test items with the reference, the answers of one model, tuned and untuned, and of the persona-blind copy; apart, those of the other models.

    Args: models: the run's; the samples tell about the last one that answered. first: (id, why) of items to begin with (`brief.telling`).
        most: how many others, the middle row of each question type.
    """
    here = [s for key in models for s in (key, untuned(key)) if (folder / f"{s}.jsonl").is_file()]
    shown = [s for s in here if model_of(s) == model_of(here[-1])]
    shown += ["persona_blind"] if (folder / "persona_blind.jsonl").is_file() else []
    files = {s: {row["id"]: row for row in read_lines(folder / f"{s}.jsonl")} for s in [*shown, *(s for s in here if s not in shown)]}
    if not files:
        return []
    records = next(iter(files.values()))
    by_type: dict[str, list[str]] = {}
    for name, row in records.items():
        by_type.setdefault(row["question_type"], []).append(name)
    middle = [(names[len(names) // 2], "from the middle of the file") for names in by_type.values()]
    chosen = dict([(i, why) for i, why in first if i in records] + middle[:most])
    return [
        {**{k: str(records[i].get(k) or DASH) for k in ("id", "domain", "question", "persona", "reference")}, "why": why,
         "question_type": TYPE_LABELS.get(records[i]["question_type"], records[i]["question_type"]), "options": " / ".join(records[i].get("options") or []),
         **{part: [_answer(s, files[s][i], scale) for s in files if (s in shown) == (part == "answers") and i in files[s]] for part in ("answers", "others")}}
        for i, why in chosen.items()
    ]  # fmt: skip


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file; only the line end separates them (answers may hold other separators)."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _answer(system: str, row: dict, scale: str) -> dict:
    head = {"system": system_label(system, scale), "kind": system_kind(system)}
    return head | {"text": str(row.get("prediction", "")), "failed": row.get("status") == "failed"}
