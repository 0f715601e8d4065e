"""What a reader with five minutes should know, as questions and answers from the run's scores; and the views behind them: question types, samples."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from .. import resampling
from ..cells import Estimate
from ..claims.evidence import BUILT_TO_MATCH, CLOSE, MEASURED, NOT_REPRODUCED, REPRODUCED, SOURCE, TRIVIAL, UNTESTED
from ..scoring.fidelity_measures import BLOCKS, tuning_in_words
from ..systems import model_of, system_kind, system_label, system_order, untuned
from .parts import TYPE_LABELS
from .score_tables import metric_labels, row_head, score_cell

TYPE_METRICS = ("rouge1", "quality")
TOLD_BY = "swap_gap_rouge1_content"  # what orders the samples: how much better an answer fits its own person than others, in what it says


def _values(scores: pd.DataFrame, metric: str, systems: Sequence[str]) -> dict[str, Estimate]:
    """system -> score of those that have one."""
    if scores.empty:
        return {}
    rows = scores[(scores["metric"] == metric) & scores["system"].isin(systems) & scores["value"].notna()]
    return {row["system"]: Estimate(row["value"], row.get("lo", float("nan")), row.get("hi", float("nan"))) for row in rows.to_dict("records")}


def _span(scores: dict[str, Estimate]) -> str:
    low, high = min(e.value for e in scores.values()), max(e.value for e in scores.values())
    return f"{low:.3f}" if len(scores) == 1 else f"{low:.3f} to {high:.3f}"


def _of(count: int, total: int) -> str:
    """ "none of 7", "3 of 7", "all 7"."""
    return f"all {total}" if count == total > 1 else f"{count or 'none'} of {total}"


def _above_zero(scores: dict[str, Estimate]) -> str:
    return _of(sum(e.lo > 0 for e in scores.values()), len(scores))


def brief(scores: Mapping[str, pd.DataFrame], ledger: list[dict], keys: Sequence[str], scale: str) -> list[dict]:
    """Up to six questions with their answers: [{"ask", "text", "section", "metric"}]; what a run has not measured is left out.

    Args: scores: the run's score files by name (systems, administration, findings, fidelity_contrasts), each possibly empty.
        ledger: `parts.read_ledger`. keys: the run's models.
    Returns: `section` is the part of the page that tells more, `metric` the definition that the answer needs ("": none).
    """
    changed = "" if scores["fidelity_contrasts"].empty else tuning_in_words(scores["fidelity_contrasts"], BLOCKS)
    tuning = f"{'. '.join(changed.splitlines())}. (Clearly: at 5 % after Holm's correction for many comparisons.)" if changed else ""
    answers = (
        ("What of the paper holds here?", _ledger_says(ledger), "verdicts", ""),
        ("How far does overlap get without a persona?", _overlap_says(scores["systems"], keys), "controls", "rouge1"),
        ("Do answers fit their own person better than others?", _swap_says(scores["systems"], keys), "controls", TOLD_BY),
        ("What does tuning change?", tuning, "fidelity", ""),
        ("How often is the person's own option chosen?", _options_say(scores["administration"], keys), "administration", "stance_acc"),
        ("What is wrong with the models' answers?", _findings_say(scores["findings"], keys, scale), "findings", ""),
    )
    return [{"ask": ask, "text": text, "section": section, "metric": metric} for ask, text, section, metric in answers if text]


CLAIMED = "Small models, fine-tuned on personas, answer surveys as well as large ones, keep the traits of their persona, and give diverse, human-like answers."


def opening(ledger: list[dict], scale: str) -> list[tuple[str, str]]:
    """What a reader with one minute should know: [("The paper claims", text), ("Here", ...), ("Not tested", ...)]; [] without a ledger."""
    if not ledger:
        return []
    said = {test: [c for c in ledger if c["test"] == test] for test in ("traits_kept", "diverse", "rank", "on_par", "beats_larger", "score")}
    here = [f"Traits kept: {c['verdict']}, {c['ours']}" for c in said["traits_kept"] if c["value"] == "all"]
    here += [f"Diverse answers ({c['metric']}): {c['verdict']}, {c['ours']}" for c in said["diverse"][:1]]
    places = Counter(c["verdict"] for c in said["rank"] if scale != "small" or c["verdict"] != UNTESTED)
    if places:
        counts = ", ".join(f"{verdict} {places[verdict]}" for verdict in (REPRODUCED, NOT_REPRODUCED, CLOSE))
        here.append(f"{places.total()} places among the seven models: {counts} (in a random order, one place in seven is right)")
    size = said["on_par"] + said["beats_larger"]
    untested = [c for c in size if c["verdict"] == UNTESTED]
    absent = []
    if untested:
        why = {"nano": "all twins have one size. ", "small": "this run has one model. "}.get(scale, "")
        absent.append(f"Whether small models equal large ones ({len(untested)} claims): {why}It takes the seven hub models on one 24 GB GPU "
                      f"(./run_all.sh paper), several seeds, and a persona-blind answer that both clearly beat, or being equal says nothing")  # fmt: skip
    else:
        here += [f"Small against large: {c['verdict']}, {c['ours']}" for c in size]
    if scores := sum(c["verdict"] == UNTESTED for c in said["score"]):
        absent.append(f"All {scores} scores of the paper's tables: no run here used its models and its data")
    return [("The paper claims", CLAIMED), ("Here", ". ".join(here) + "."), ("Not tested", ". ".join(absent) + "." if absent else "Nothing of this.")]


def _ledger_says(ledger: list[dict]) -> str:
    if not ledger:
        return ""
    count = Counter(c["verdict"] for c in ledger)
    rests = Counter(c["basis"] for c in ledger if c["verdict"] == REPRODUCED)
    source = f", {rests[SOURCE]} from a published source" if rests[SOURCE] else ""
    return (f"Claims: {len(ledger)}. Reproduced: {rests[MEASURED]} by measurement{source}. Not reproduced: {count[NOT_REPRODUCED]}. "
            f"A baseline does the same: {count[TRIVIAL]}. Too close to call: {count[CLOSE]}. Built to match: {count[BUILT_TO_MATCH]}. Our "
            f"data and code follow the paper in these, so they hold by construction and say nothing about its findings.")  # fmt: skip


def _overlap_says(systems: pd.DataFrame, keys: Sequence[str]) -> str:
    overlap, copy = _values(systems, "rouge1", keys), _values(systems, "rouge1", ["persona_blind"])
    if not overlap or not copy:
        return ""
    blind = copy["persona_blind"].value
    beaten = _of(sum(e.value > blind for e in overlap.values()), len(overlap))
    return f"One typical answer, given to everybody, scores ROUGE-1 {blind:.3f}. The tuned models score {_span(overlap)}; {beaten} score higher than this copy."


def _swap_says(systems: pd.DataFrame, keys: Sequence[str]) -> str:
    gaps, chosen = _values(systems, TOLD_BY, keys), _values(systems, "swap_gap_option", keys)
    before = _values(systems, TOLD_BY, [untuned(key) for key in keys])
    if not gaps:
        return ""
    others = f" (untuned: {_above_zero(before)})" if before else ""
    option = f" On the chosen option alone it is above zero for {_above_zero(chosen)}." if chosen else ""
    return (f"The swap gap on content counts words that are on no compared card, and no turns of phrase. Its whole interval "
            f"lies above zero for {_above_zero(gaps)} tuned models{others}; it is {_span(gaps)}.{option}")  # fmt: skip


def _options_say(administration: pd.DataFrame, keys: Sequence[str]) -> str:
    hits, ends = _values(administration, "stance_acc", keys), _values(administration, "stance_acc", ["majority", "oracle_card"])
    if not hits or len(ends) < 2:
        return ""
    before = _values(administration, "stance_acc", [untuned(key) for key in keys])
    others = f", the untuned in {_span(before)}" if before else ""
    return (f"For people in no split, the tuned models choose the option that the person really took in {_span(hits)} of the cases{others}. "
            f"The majority answer does in {ends['majority'].value:.3f}, a perfect reader of the person's card in {ends['oracle_card'].value:.3f}.")  # fmt: skip


def _findings_say(findings: pd.DataFrame, keys: Sequence[str], scale: str) -> str:
    """Every kind of finding once, problems first, with how many of the models have it."""
    if findings.empty:
        return ""
    kinds = findings["system"].map(system_kind)
    rows = findings[kinds.isin(["tuned", "untuned"])].assign(kind=kinds)
    if not (rows["severity"] == "problem").any():
        return "No problem was found that must be explained before the scores are used."
    keys = {*keys, *map(model_of, rows["system"])}  # a published real model beside the run's own counts too
    lines: dict[bool, list[str]] = {True: [], False: []}
    for (severity, _), part in rows.groupby(["severity", "id"], sort=False):
        tuned = sorted(part.loc[part["kind"] == "tuned", "system"].unique(), key=system_order)
        problem = severity == "problem"
        names = f", namely {' and '.join(system_label(s, scale) for s in tuned)}" if 0 < len(tuned) < len(keys) and problem else ""
        head = min(re.sub(r"\d{1,9}(?:\.\d{1,9})? %", "many", text.partition(":")[0]) for text in part["text"])
        before = _of(part["system"].nunique() - len(tuned), len(keys))
        lines[problem].append(f"{head}: {before} untuned, {_of(len(tuned), len(keys))} tuned{names}")
    notes = f" Worth knowing: {'; '.join(lines[False])}." if lines[False] else ""
    return f"A problem to explain before the scores are used: {'; '.join(lines[True])}.{notes}"


def type_table(rows: pd.DataFrame, scale: str) -> dict | None:
    """ROUGE-1 and survey quality of every system by question type, as `score_tables.score_table`; None without row scores."""
    if rows.empty or not {"system", "question_type", *TYPE_METRICS} <= set(rows):
        return None
    alive, kinds = rows[rows["status"] == "ok"], sorted(rows["question_type"].dropna().unique())
    columns = [(metric, kind) for metric in TYPE_METRICS for kind in kinds]
    lines = []
    for system in sorted(alive["system"].unique(), key=system_order):
        mine, cells = alive[alive["system"] == system], []
        for metric, kind in columns:
            part = mine[mine["question_type"] == kind]
            mean = resampling.bootstrap_mean(part[metric], clusters=part["persona_id"] if "persona_id" in part else None, n_boot=500)
            cells.append(score_cell({"value": mean["mean"], "lo": mean["lo"], "hi": mean["hi"]}))
        lines.append(row_head(system, scale) | {"cells": cells})
    return {"columns": [{"name": f"{metric_labels()[metric]}, {TYPE_LABELS.get(kind, kind)}", "metric": metric} for metric, kind in columns], "rows": lines}


def telling(rows: pd.DataFrame, keys: Sequence[str], scale: str) -> list[tuple[str, str]]:
    """Test items that say most about one model, the last of the run: [(id, why)] of its best, median and worst answer by swap gap; [] without scores."""
    key = next((k for k in reversed(keys) if not rows.empty and TOLD_BY in rows and (rows["system"] == k).any()), None)
    if key is None:
        return []
    mine = rows[(rows["system"] == key) & rows[TOLD_BY].notna() & (rows["status"] == "ok")].sort_values([TOLD_BY, "id"])
    if mine.empty:
        return []
    places = {"worst": 0, "median": (len(mine) - 1) // 2, "best": len(mine) - 1}
    by = "swap gap on content"
    return [(mine["id"].iloc[at], f"{system_label(key, scale)}, {name} answer by {by}: {mine[TOLD_BY].iloc[at]:+.3f}") for name, at in reversed(places.items())]
