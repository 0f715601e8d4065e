"""The run's report: one self-contained HTML page (images, style and script inside) made from the run's files alone, in seconds.

Everything that comes from a file is text and is escaped by the template; nothing is loaded from elsewhere (a content security policy says so).
"""

import json
from pathlib import Path

import pandas as pd

from .. import paths
from ..cells import DASH
from ..config import RunConfig, TrainSpec
from ..files import write_atomically
from ..locate import ASIDE
from ..records import read_runs
from ..scoring.metric_table import METRICS
from ..systems import CONTROLS, guests_of, model_name
from . import brief, captions, parts, score_tables
from .rendering import rendered
from .score_tables import read_csv, score_table

TEMPLATE = "report.html.j2"
_TABLES = {"table2": "Table II", "table3": "Table III", "table1": "Table I"}
ARTEFACTS = (  # artefact of the paper, its files without ending, the notebook that writes them
    ("Table I", "tables/table1_features", "06"), ("Table II", "tables/table2_overall", "04"), ("Table III", "tables/table3_domains", "05"),
    ("Fig. 1", "fig1_domain_counts", "02"), ("Fig. 2", "fig2_question_types", "02"), ("Fig. 3", "fig3_lora_diagram", "06"),
    ("Fig. 4", "fig4_bleu", "04"), ("Fig. 5", "fig5_response_lengths", "05"),
)  # fmt: skip
SCORES = ("systems", "systems_unseen_pairs", "findings", "administration", "domain_accuracy", "fidelity", "fidelity_contrasts")
HEADLINE = ("bleu", "rouge1", "bertscore_f1", "quality")
LEADS = ("fidelity_ladder", "controls_ladder")  # the figure at the top: the first of these that the run has drawn
PLACES = {"verdicts": "Verdicts", "controls": "Controls", "fidelity": "the numbers of the figure", "administration": "Administration", "findings": "Findings"}


def write_report(run: RunConfig, *, path: Path | None = None) -> Path:
    """Write `results/<run>/report.html` from the files of the run and return its path; parts whose file is missing say so.

    Reads: claims.csv, tables/table*.csv (captions: .md), scores/rows.parquet, scores/*.csv (`SCORES`), preds/*.jsonl, runs/*.json, dataset/report.json,
    manifest.json, and the figures' PNG files (captions.json beside them may override caption and alt text); of the ablations, if they were run,
    figures and tables too.
    """
    path = path or run.paths.results / "report.html"
    write_atomically(path, rendered(TEMPLATE, context(run)))
    return path


def artefacts(run: RunConfig) -> list[dict]:
    """Every table and figure of the paper: {artefact, file, status}; status is "made", or "missing: " and why. Files are named from the output folder on."""
    rows = []
    for name, stem, notebook in ARTEFACTS:
        place, endings = (run.paths.results, ("md", "csv", "tex")) if name.startswith("Table") else (run.paths.figures, ("png", "pdf"))
        lacking = [e for e in endings if not (place / f"{stem}.{e}").is_file()]
        status = f"missing: no {', '.join(lacking)} in this run; notebook {notebook} writes it" if lacking else "made"
        rows.append({"artefact": name, "file": f"{place.parent.name}/{place.name}/{stem}.{endings[0]}", "status": status})
    return rows


def headline(run: RunConfig, ledger: pd.DataFrame) -> list[dict]:
    """The headline scores of the run's models beside the paper's: {subject, metric, paper, ours, verdict}, as text. `ledger`: from `ledger.judge`."""
    rows = ledger[(ledger["place"] == "Table II") & (ledger["test"] == "score")].set_index(["subject", "metric"])
    lines = []
    for key in run.model_keys:
        for metric in HEADLINE:
            claim = rows.loc[(key, metric)] if (key, metric) in rows.index else {}
            sides = {side: str(claim.get(column, DASH)) for side, column in (("paper", "value"), ("ours", "ours"), ("verdict", "verdict"))}
            lines.append({"subject": model_name(key, run.settings.scale), "metric": METRICS[metric].label, **sides})
    return lines


def write_run_summary(run: RunConfig, ledger: pd.DataFrame, *, path: Path | None = None) -> dict:
    """Write `results/<run>/summary.json` (what the runner prints at the end) and return it: {"artefacts": [...], "headline": [...]}."""
    summary = {"artefacts": artefacts(run), "headline": headline(run, ledger)}
    write_atomically(path or run.paths.results / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def context(run: RunConfig) -> dict:
    """Everything the template shows, as plain lists and dicts."""
    results, scale, keys = run.paths.results, run.settings.scale, run.model_keys
    shown = (*keys, *(key for key in guests_of(run) if (results / "preds" / f"{key}.jsonl").is_file()))  # the last one is shown in samples: a real model
    records, ledger = read_runs(results / "runs", keys), parts.read_ledger(results / "claims.csv")
    dataset, row_scores = parts.read_json(results / "dataset" / "report.json"), results / "scores" / "rows.parquet"
    rows = pd.read_parquet(row_scores) if row_scores.is_file() else pd.DataFrame()
    scores = {name: read_csv(results / "scores" / f"{name}.csv") for name in SCORES}
    fidelity = score_tables.fidelity_table(scores["fidelity"], scores["fidelity_contrasts"], keys)
    spoken = {"fidelity_ladder": captions.fidelity_text(fidelity), "fig4_bleu": captions.bleu_text(scores["systems"], scale)}
    studies = [] if run.data else [paths.run_paths(ASIDE["07"], run.out)]  # the ablations know the embedded data alone
    drawn = captions.figures(run.paths.figures, *(study.figures for study in studies), spoken=spoken)
    return {
        "beside": [model_name(key, scale) for key in shown if key not in keys],
        "run": {"name": run.name, "profile": run.profile, "scale": scale, "data": run.data and Path(run.data).name, "split": run.split, "seed": run.seed},
        "facts": parts.what_ran(run, records, dataset), "models": parts.trained_models(records, scale),
        "verdicts": parts.verdict_rows(ledger), "claims": ledger, **_tables([results, *(study.results for study in studies)]),
        "controls": score_table(scores["systems"], score_tables.CONTROL_METRICS, scale), "control_meanings": CONTROLS.values(),
        "findings": score_tables.findings_table(scores["findings"], scale), "fidelity": fidelity,
        "opening": brief.opening(ledger, scale), "brief": brief.brief(scores, ledger, keys, scale), "places": PLACES, "types": brief.type_table(rows, scale),
        "unseen": score_table(scores["systems_unseen_pairs"], score_tables.UNSEEN_METRICS, scale),
        "administration": score_table(scores["administration"], score_tables.ADMINISTRATION_METRICS, scale),
        "domains": score_tables.domain_table(scores["domain_accuracy"], scale),
        "why": run.settings.why, "recipe": _recipe(run, records), "adapted": any(r.get("adapted_base") for r in records),
        "definitions": _definitions(), "figures": drawn, "dataset": dataset,
        "lead": next((stem for stem in LEADS if any(f["stem"] == stem for f in drawn)), ""),
        "samples": parts.sample_answers(results / "preds", shown, brief.telling(rows, shown, scale), scale), "told_by": brief.TOLD_BY,
        "costs": parts.costs(records, scale), "stages": parts.stages(results / "manifest.json", [(name, stage) for name, _, stage in ARTEFACTS]),
    }  # fmt: skip


def _tables(folders: list[Path]) -> dict:
    """The paper's tables, empty where the run has none, and what else `cells.write_table` wrote into the folders of results."""
    paper = [{"name": name, **(score_tables.find_table(folders[0] / "tables", stem) or {})} for stem, name in _TABLES.items()]
    written = {f.stem: f for folder in folders for f in (folder / "tables").glob("*.csv")}
    others = [f for stem, f in sorted(written.items()) if f.with_suffix(".md").is_file() and not stem.startswith((*_TABLES, "claims_"))]
    return {"tables": paper, "more_tables": [score_tables.read_table(f) for f in others]}


def _recipe(run: RunConfig, records: list[dict]) -> list[dict]:
    """The paper's training numbers beside those of this run (of its records, or of the profile if there are none)."""
    used = records[0].get("train_spec", {}) if records else {}
    ours, rows = {**vars(run.train_spec), **used}, []
    for name, value in vars(TrainSpec()).items():
        silent = name in parts.OURS_ALONE
        verdict = "ours, the paper is silent" if silent else "same" if ours[name] == value else "differs"
        rows.append({"name": name.replace("_", " "), "paper": "not specified" if silent else value, "ours": ours[name], "verdict": verdict})
    return rows


def _definitions() -> list[dict]:
    """Every metric's anchor, label, definition, direction and version."""
    known = [{"id": m.id, "label": m.label, "text": m.definition, "direction": m.direction, "version": m.version} for m in METRICS.values()]
    return known + [{"id": key, "version": "1", **text} for key, text in score_tables.texts()["metric"].items()]
