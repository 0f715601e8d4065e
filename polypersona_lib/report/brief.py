"""What a reader with five minutes should know, as questions and answers from the run's scores; and the views behind them: question types, samples."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from .. import resampling
from ..cells import Estimate
from ..claims.evidence import BUILT, MEASURED, VERDICTS
from ..scoring.fidelity_measures import BLOCKS, tuning_in_words
from .parts import TYPE_LABELS
from .score_tables import DEFINED, place, row_head, score_cell, system_kind, system_name

TYPE_METRICS = ("rouge1", "quality")
TOLD_BY = "swap_gap_rouge1_masked"  # what orders the samples: how much better an answer fits its own person than others, without the card's words


def _values(scores: pd.DataFrame, metric: str, systems: Sequence[str]) -> dict[str, Estimate]:
    """system -> score of those that have one."""
    if scores.empty:
        return {}
    rows = scores[(scores["metric"] == metric) & scores["system"].isin(systems) & scores["value"].notna()]
    return {row["system"]: Estimate(row["value"], row.get("lo", float("nan")), row.get("hi", float("nan"))) for row in rows.to_dict("records")}


def _span(found: dict[str, Estimate]) -> str:
    low, high = min(e.value for e in found.values()), max(e.value for e in found.values())
    return f"{low:.3f}" if len(found) == 1 else f"{low:.3f} to {high:.3f}"


def _of(count: int, total: int) -> str:
    """ "none of 7", "3 of 7", "all 7"."""
    return f"all {total}" if count == total > 1 else f"{count or 'none'} of {total}"


def _above_zero(found: dict[str, Estimate]) -> str:
    return _of(sum(e.lo > 0 for e in found.values()), len(found))


def brief(
    systems: pd.DataFrame, administration: pd.DataFrame, findings: pd.DataFrame, compared: pd.DataFrame, ledger: list[dict], keys: Sequence[str]
) -> list[dict]:
    """Up to six questions with their answers: [{"ask", "text", "section", "metric"}]; what a run has not measured is left out.

    Args: systems, administration, findings: the run's score files (may be empty). compared: from `contrasts.tuning_contrasts` (may be empty).
        ledger: `parts.read_ledger`. keys: the run's models.
    Returns: `section` is the part of the page that tells more, `metric` the definition that the answer needs ("": none).
    """
    answers = (
        ("What of the paper holds here?", _ledger_says(ledger), "verdicts", ""),
        ("How far does overlap get without a persona?", _overlap_says(systems, keys), "controls", "rouge1"),
        ("Do answers fit their own person better than others?", _swap_says(systems, keys), "controls", TOLD_BY),
        ("What does tuning change?", _tuning_says(compared), "fidelity", ""),
        ("How often is the person's own option chosen?", _options_say(administration, keys), "administration", "stance_acc"),
        ("What is wrong with the models' answers?", _findings_say(findings, keys), "findings", ""),
    )
    return [{"ask": ask, "text": text, "section": section, "metric": metric} for ask, text, section, metric in answers if text]


def _ledger_says(ledger: list[dict]) -> str:
    if not ledger:
        return ""
    reproduced = [c for c in ledger if c["verdict"] == VERDICTS[0]]
    built = sum(c["basis"] == BUILT for c in reproduced)
    order = [c for c in ledger if c["kind"] in ("order", "shape") and c["basis"] == MEASURED]
    held, failed = (sum(c["verdict"] == verdict for c in order) for verdict in VERDICTS[:2])
    close = len(order) - held - failed
    measured = f" Of the {len(order)} claims about order and shape that this run measures {held} hold, {failed} fail, and {close} are too close to call."
    return (f"Of {len(ledger)} claims {len(reproduced)} are reproduced, {built} of them by construction: our data and code were built to match these counts "
            f"and steps, so they say nothing about the paper's findings.{measured if order else ''}")  # fmt: skip


def _overlap_says(systems: pd.DataFrame, keys: Sequence[str]) -> str:
    overlap, copy = _values(systems, "rouge1", keys), _values(systems, "rouge1", ["persona_blind"])
    if not overlap or not copy:
        return ""
    blind = copy["persona_blind"].value
    beaten = _of(sum(e.value > blind for e in overlap.values()), len(overlap))
    return f"One typical answer, given to everybody, scores ROUGE-1 {blind:.3f}. The tuned models score {_span(overlap)}; {beaten} score higher than that copy."


def _swap_says(systems: pd.DataFrame, keys: Sequence[str]) -> str:
    gaps, chosen = _values(systems, TOLD_BY, keys), _values(systems, "swap_gap_option", keys)
    before = _values(systems, TOLD_BY, [f"{key}--base" for key in keys])
    if not gaps:
        return ""
    untuned = f" (untuned: {_above_zero(before)})" if before else ""
    option = f" Looking at the chosen option alone, where no turn of phrase can help, it is above zero for {_above_zero(chosen)}." if chosen else ""
    return (f"The swap gap, on words that are not on the person's card, is above zero with its whole interval for {_above_zero(gaps)} tuned models{untuned}; "
            f"it is {_span(gaps)}.{option}")  # fmt: skip


def _tuning_says(compared: pd.DataFrame) -> str:
    changed = "" if compared.empty else tuning_in_words(compared, BLOCKS)
    return f"{'; '.join(changed.splitlines())}. (Clearly: at 5 % after Holm's correction for asking so often.)" if changed else ""


def _options_say(administration: pd.DataFrame, keys: Sequence[str]) -> str:
    hits, ends = _values(administration, "stance_acc", keys), _values(administration, "stance_acc", ["majority", "oracle_card"])
    if not hits or len(ends) < 2:
        return ""
    before = _values(administration, "stance_acc", [f"{key}--base" for key in keys])
    untuned = f", the untuned in {_span(before)}" if before else ""
    return (f"Answering for people who are in no split, the tuned models choose the option that the person really took in {_span(hits)} of the cases{untuned}. "
            f"The majority answer does in {ends['majority'].value:.3f}, a perfect reader of the person's card in {ends['oracle_card'].value:.3f}.")  # fmt: skip


def _findings_say(findings: pd.DataFrame, keys: Sequence[str]) -> str:
    """Every kind of finding once, problems first, with how many of the models have it."""
    if findings.empty:
        return ""
    found = findings[[system_kind(s) in ("tuned", "untuned") for s in findings["system"]]]
    if not (found["severity"] == "problem").any():
        return "No problem was found that must be explained before the scores are used."
    lines = []
    for (severity, _), part in found.groupby(["severity", "id"], sort=False):
        tuned = [s for s in sorted(part["system"].unique(), key=place) if system_kind(s) == "tuned"]
        names = f": {'; '.join(map(system_name, tuned))}" if 0 < len(tuned) < len(keys) and severity == "problem" else ""
        heads = {re.sub(r"\d+ %", "many", text.partition(":")[0]) for text in part["text"]}
        untuned = _of(part["system"].nunique() - len(tuned), len(keys))
        lines.append((severity != "problem", f"{min(heads)} ({untuned} untuned, {_of(len(tuned), len(keys))} tuned{names})"))
    worded = {flag: "; ".join(line for note, line in lines if note == flag) for flag in (False, True)}
    return f"A problem to explain before the scores are used: {worded[False]}.{f' Worth knowing: {worded[True]}.' if worded[True] else ''}"


def type_table(rows: pd.DataFrame, *, seed: int = resampling.SEED) -> dict | None:
    """ROUGE-1 and survey quality of every system by question type, as `score_tables.system_table`; None without row scores."""
    if rows.empty or not {"system", "question_type", *TYPE_METRICS} <= set(rows):
        return None
    alive, kinds = rows[rows["status"] == "ok"], sorted(rows["question_type"].dropna().unique())
    columns = [(metric, kind) for metric in TYPE_METRICS for kind in kinds]
    lines = []
    for system in sorted(alive["system"].unique(), key=place):
        mine, cells = alive[alive["system"] == system], []
        for metric, kind in columns:
            found = resampling.bootstrap_mean(mine.loc[mine["question_type"] == kind, metric], n_boot=500, seed=seed)
            cells.append(score_cell({"value": found["mean"], "lo": found["lo"], "hi": found["hi"]}))
        lines.append(row_head(system) | {"cells": cells})
    return {"columns": [{"name": f"{DEFINED[metric]}, {TYPE_LABELS.get(kind, kind)}", "metric": metric} for metric, kind in columns], "rows": lines}


def telling(rows: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Test items that say most about one model, the last of the run: [(id, why)] of its best, median and worst answer by swap gap; [] without scores."""
    key = next((k for k in reversed(keys) if not rows.empty and TOLD_BY in rows and (rows["system"] == k).any()), None)
    if key is None:
        return []
    mine = rows[(rows["system"] == key) & rows[TOLD_BY].notna() & (rows["status"] == "ok")].sort_values([TOLD_BY, "id"])
    if mine.empty:
        return []
    places = {"worst": 0, "median": (len(mine) - 1) // 2, "best": len(mine) - 1}
    by = "swap gap on words that are not on the card"
    return [(mine["id"].iloc[at], f"{name} answer of {system_name(key)} by {by}: {mine[TOLD_BY].iloc[at]:+.3f}") for name, at in reversed(places.items())]
