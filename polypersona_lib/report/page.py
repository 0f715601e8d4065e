"""The run's report: one self-contained HTML page (images, style and script inside) made from the run's files alone, in seconds.

Everything that comes from a file is text and is escaped by the template; nothing is loaded from elsewhere (a content security policy says so).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from pathlib import Path

import pandas as pd

from .. import paths
from ..cells import DASH
from ..claims.evidence import VERDICTS
from ..config import RunConfig, TrainSpec
from ..files import write_atomically
from ..notebook_graph import ASIDE
from ..records import read_runs
from ..registry import MODELS
from ..scoring.metric_table import METRICS
from ..systems import BASELINES, UPPER_BOUNDS
from . import brief, captions
from . import parts as parts
from .score_tables import (
    ADMINISTRATION_METRICS,
    CONTROL_METRICS,
    MORE_METRICS,
    UNSEEN_METRICS,
    domain_table,
    fidelity_table,
    find_table,
    findings_table,
    read_csv,
    read_table,
    slug,
    system_table,
)

TEMPLATE = "report.html.j2"
_TABLES = {"table2": "Table II", "table3": "Table III", "table1": "Table I"}
ARTEFACTS = (  # artefact of the paper, its files without ending, the notebook that writes them
    ("Table I", "tables/table1_features", "06"), ("Table II", "tables/table2_overall", "04"), ("Table III", "tables/table3_domains", "05"),
    ("Fig. 1", "fig1_domain_counts", "02"), ("Fig. 2", "fig2_question_types", "02"), ("Fig. 3", "fig3_lora_diagram", "06"),
    ("Fig. 4", "fig4_bleu", "04"), ("Fig. 5", "fig5_response_lengths", "05"),
)  # fmt: skip
HEADLINE = ("bleu", "rouge1", "bertscore_f1", "quality")
WORDS = (  # what a reader of this page alone needs
    ("Persona, card", "A simulated person, and the line of text that describes this person to a model: age, job, values, traits and so on."),
    ("Reference", "The answer that the simulated person gave. Text from a grammar over phrases written for this project; no human answered anything here."),
    ("Nano twin", "A model with the architecture of one of the paper's models, about a thousandth of its size or less."),
    ("Untuned, tuned", "A model before and after it was trained on personas and their answers by QLoRA: a small trained addition to a model kept in 4 bits."),
    ("Floor", "An answerer without a model: what can be had without knowing the person."),
    ("Bound", "An answerer that knows the truth behind the simulated people: what the best reader of the card, or of the mind, could reach."),
    ("Swap gap", "How much better an answer matches its own person's reference than other people's answers to the same question. 0: the person is ignored."),
    ("Administration", "All closed questions put to every system on behalf of people who are in no split."),
    ("By construction", "A claim that holds because the data or the code were built to the paper's description; it could not have come out otherwise."),
    ("95 % interval", "From a bootstrap: the test rows, or whole people, are drawn anew with replacement, and the middle 95 % of the results is given."),
)
LEADS = ("fidelity_ladder", "controls_ladder")  # the figure at the top: the first of these that the run has drawn
PLACES = {"verdicts": "Verdicts", "controls": "Controls", "fidelity": "the numbers of the figure", "administration": "Administration", "findings": "Findings"}
_LIMITS = (
    "A nano twin says nothing about the real model: it has the same architecture with about 1.7 million parameters instead of one to fifteen billion, and has "
    "read nothing but our own simulated survey talk. Its numbers check the method, the metrics and the code; they are not estimates of what the paper's models "
    "score.",
    "Not a replacement for people: every answer here is simulated. Use such answers to try out a questionnaire or a method, never as survey data about "
    "a population.",
    "The paper's data are not public. Our data set is built to the paper's counts, with answers of our own; agreement with the paper's counts is by "
    "construction.",
    "Where the paper gives no definition (survey quality, persona consistency, domain accuracy, the kind of BLEU), we use our own and say so at each metric.",
    "Overlap with a reference does not measure persona fidelity: compare with the persona-blind copy and read the swap gap, "
    "best on the chosen option: in the embedded data people also have turns of phrase.",
)
SCRIPT = """
(function () {
  var box = document.getElementById('claims-tools'), rows = document.querySelectorAll('#claims-table tbody tr');
  var chosen = '', search = document.getElementById('claims-search'), count = document.getElementById('claims-count');
  function show() {
    var text = search.value.toLowerCase(), seen = 0;
    rows.forEach(function (row) {
      var fits = (!chosen || row.dataset.verdict === chosen) && (!text || row.textContent.toLowerCase().indexOf(text) >= 0);
      row.hidden = !fits;
      seen += fits ? 1 : 0;
    });
    count.textContent = seen + ' of ' + rows.length + ' claims shown';
  }
  function open_list() { document.getElementById('claims-table').closest('details').open = true; }
  function open_short() { document.querySelectorAll('details:not(.long)').forEach(function (d) { d.open = true; }); }
  function open_target() {
    var target = location.hash && document.getElementById(location.hash.slice(1)), around = target && target.closest('details');
    if (around) { around.open = true; target.scrollIntoView(); }
  }
  window.addEventListener('beforeprint', open_short);
  window.addEventListener('hashchange', open_target);
  open_target();
  if (!box) { return; }
  function choose(verdict) {
    chosen = verdict;
    open_list();
    box.querySelectorAll('button').forEach(function (button) { button.setAttribute('aria-pressed', String(button.dataset.verdict === verdict)); });
    show();
  }
  document.querySelectorAll('button[data-verdict], a[data-verdict]').forEach(function (way) {
    way.addEventListener('click', function () { choose(way.dataset.verdict); });
  });
  search.addEventListener('input', show);
  search.addEventListener('input', open_list);
  box.hidden = false;
  show();
})();
"""


def write_report(run: RunConfig, *, path: Path | None = None) -> Path:
    """Write `results/<run>/report.html` from the files of the run and return its path; parts whose file is missing say so.

    Reads: claims.csv, tables/table*.csv (captions: .md), scores/rows.parquet,
    scores/{systems,systems_unseen_pairs,findings,administration,domain_accuracy,fidelity,fidelity_contrasts}.csv,
    preds/*.jsonl, runs/*.json, dataset/report.json, manifest.json,
    and the figures' PNG files (captions.json beside them may override caption and alt text); of the ablations, if they were run, figures and tables too.
    """
    path = path or run.paths.results / "report.html"
    write_atomically(path, _render(context(run)))
    return path


def artefacts(run: RunConfig) -> list[dict]:
    """Every table and figure of the paper: {artefact, file, status}; status is "made", or "missing: " and why. Files are named from the output folder on."""
    found = []
    for name, stem, notebook in ARTEFACTS:
        place, endings = (run.paths.results, ("md", "csv", "tex")) if name.startswith("Table") else (run.paths.figures, ("png", "pdf"))
        lacking = [e for e in endings if not (place / f"{stem}.{e}").is_file()]
        status = f"missing: no {', '.join(lacking)} in this run; notebook {notebook} writes it" if lacking else "made"
        found.append({"artefact": name, "file": f"{place.parent.name}/{place.name}/{stem}.{endings[0]}", "status": status})
    return found


def headline(run: RunConfig, ledger: pd.DataFrame) -> list[dict]:
    """The paper's headline scores of the run's models beside ours: {subject, metric, paper, ours, verdict}, as text.

    Args: ledger: from `ledger.judge`; its rows of Table II hold both sides and the verdict.
    """
    rows = ledger[(ledger["place"] == "Table II") & (ledger["test"] == "score")].set_index(["subject", "metric"])
    lines = []
    for key in run.model_keys:
        for metric in HEADLINE:
            found = rows.loc[(key, metric)] if (key, metric) in rows.index else {}
            sides = {side: str(found.get(column, DASH)) for side, column in (("paper", "value"), ("ours", "ours"), ("verdict", "verdict"))}
            lines.append({"subject": MODELS[key].display if key in MODELS else key, "metric": METRICS[metric].label, **sides})
    return lines


def write_summary(run: RunConfig, ledger: pd.DataFrame, *, path: Path | None = None) -> dict:
    """Write `results/<run>/summary.json` (what the runner prints at the end) and return it: {"artefacts": [...], "headline": [...]}."""
    summary = {"artefacts": artefacts(run), "headline": headline(run, ledger)}
    write_atomically(path or run.paths.results / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def context(run: RunConfig) -> dict:
    """Everything the template shows, as plain lists and dicts."""
    results = run.paths.results
    records = read_runs(results / "runs", run.model_keys)
    dataset, ledger = parts.read_json(results / "dataset" / "report.json"), parts.read_ledger(results / "claims.csv")
    systems, findings, compared = (read_csv(results / "scores" / f"{name}.csv") for name in ("systems", "findings", "fidelity_contrasts"))
    administration, rows = read_csv(results / "scores" / "administration.csv"), parts.read_rows(results / "scores" / "rows.parquet")
    measured = fidelity_table(read_csv(results / "scores" / "fidelity.csv"), compared, run.model_keys)
    texts = {"fidelity_ladder": captions.fidelity_text(measured), "fig4_bleu": captions.bleu_text(systems)}
    studies = [] if run.data else [paths.run_paths(ASIDE["07"], run.out)]  # the ablations know the embedded data alone
    drawn = captions.figures(run.paths.figures, *(study.figures for study in studies), texts=texts)
    shown = {stem: find_table(results / "tables", stem) for stem in _TABLES}
    written = {f.stem: f for folder in (results, *(study.results for study in studies)) for f in (folder / "tables").glob("*.csv")}
    wanted = [f for stem, f in sorted(written.items()) if f.with_suffix(".md").is_file() and not stem.startswith((*_TABLES, "claims_"))]
    return {
        "run": {"name": run.name, "profile": run.profile, "scale": run.settings.scale, "data": run.data and Path(run.data).name,
                "split": run.split, "seed": run.seed},
        "facts": parts.run_facts(run, records, dataset), "models": parts.model_facts(records),
        "verdicts": _verdicts(ledger), "rests_on": _rests_on(ledger), "claims": ledger, "marks": parts.MARKS,
        "tables": [{"name": name, **(shown[stem] or {})} for stem, name in _TABLES.items()], "more_tables": [read_table(f) for f in wanted],
        "controls": system_table(systems, CONTROL_METRICS), "control_meanings": [*BASELINES.values(), *UPPER_BOUNDS.values()],
        "findings": findings_table(findings), "fidelity": measured,
        "brief": brief.brief(systems, administration, findings, compared, ledger, run.model_keys), "places": PLACES,
        "types": brief.type_table(rows),
        "unseen": system_table(read_csv(results / "scores" / "systems_unseen_pairs.csv"), UNSEEN_METRICS),
        "administration": system_table(administration, ADMINISTRATION_METRICS),
        "domains": domain_table(read_csv(results / "scores" / "domain_accuracy.csv")),
        "why": run.settings.why, "recipe": _recipe(run, records), "adapted": any(r.get("adapted_base") for r in records),
        "definitions": _definitions(), "words": WORDS, "figures": drawn, "dataset": dataset,
        "lead": next((s for s in LEADS if any(f["stem"] == s for f in drawn)), ""),
        "samples": parts.sample_answers(results / "preds", run.model_keys, brief.telling(rows, run.model_keys)), "told_by": brief.TOLD_BY,
        "costs": parts.costs(records), "limits": _LIMITS,
        "stages": parts.stages(results / "manifest.json", [(name, stage) for name, _, stage in ARTEFACTS]),
    }  # fmt: skip


def _verdicts(ledger: list[dict]) -> list[dict]:
    """Number and share of claims by verdict, in the fixed order."""
    total = len(ledger)
    counts = {verdict: sum(c["verdict"] == verdict for c in ledger) for verdict in VERDICTS}
    kinds = list(dict.fromkeys(c["kind"] for c in ledger))
    return [
        {"name": v, "mark": parts.MARKS[v], "slug": slug(v), "n": n, "share": round(100 * n / total, 1) if total else 0,
         "kinds": [sum(c["verdict"] == v and c["kind"] == k for c in ledger) for k in kinds], "kind_names": kinds}
        for v, n in counts.items()
    ]  # fmt: skip


def _rests_on(ledger: list[dict]) -> str:
    """What the reproduced claims rest on: "100 by construction, 4 published source, 3 measured"."""
    counts = Counter(c["basis"] for c in ledger if c["verdict"] == VERDICTS[0])
    return ", ".join(f"{n} {basis}" for basis, n in counts.most_common())


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
    more = MORE_METRICS.items()
    return known + [{"id": key, "label": label, "text": text, "direction": direction, "version": "1"} for key, (label, text, direction) in more]


def _render(values: dict) -> str:
    """The page from the template, with everything escaped. The script's hash goes into the content security policy."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    place = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    environment = Environment(loader=place, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return environment.get_template(TEMPLATE).render(**values, script=Markup(SCRIPT), script_hash=digest)
