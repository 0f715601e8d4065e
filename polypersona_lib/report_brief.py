"""What a reader with five minutes should know, in sentences made from the run's scores; and the views behind them: question types, telling samples."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from . import stats
from .cells import Estimate
from .claim_evidence import BUILT, MEASURED, VERDICTS
from .fidelity_contrasts import in_words
from .fidelity_measures import BLOCKS
from .metrics import METRICS
from .report_tables import DEFINED, place, score_cell, system_kind, system_name

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


def _above_zero(found: dict[str, Estimate]) -> str:
    return f"{sum(e.lo > 0 for e in found.values())} of {len(found)}"


def brief(
    systems: pd.DataFrame, administration: pd.DataFrame, findings: pd.DataFrame, compared: pd.DataFrame, ledger: list[dict], keys: Sequence[str]
) -> list[dict]:
    """Up to seven sentences, each with the section that tells more: [{"text", "section"}]; what a run has not measured is left out.

    Args: systems, administration, findings: the run's score files (may be empty). compared: from `fidelity_contrasts.compare` (may be empty).
        ledger: `report_parts.read_ledger`. keys: the run's models.
    """
    bases, out = [f"{key}--base" for key in keys], []

    def say(section: str, text: str) -> None:
        out.append({"section": section, "text": text})

    if ledger:
        reproduced = [c for c in ledger if c["verdict"] == VERDICTS[0]]
        built = sum(c["basis"] == BUILT for c in reproduced)
        order = [c for c in ledger if c["kind"] in ("order", "shape") and c["basis"] == MEASURED]
        held, failed = (sum(c["verdict"] == verdict for c in order) for verdict in VERDICTS[:2])
        close = len(order) - held - failed
        measured = f" Of the {len(order)} claims about order and shape that this run measures {held} hold, {failed} fail, and {close} are too close to call."
        say("verdicts", f"Of {len(ledger)} claims {len(reproduced)} are reproduced, {built} of them by construction: counts and steps that this companion was "
            f"built to match.{measured if order else ''}")  # fmt: skip
    overlap, copy = _values(systems, "rouge1", keys), _values(systems, "rouge1", ["persona_blind"])
    if overlap and copy:
        blind = copy["persona_blind"].value
        beaten = sum(e.value > blind for e in overlap.values())
        say("controls", f"How far does overlap go without a persona? One typical answer for everybody scores ROUGE-1 {blind:.3f}, the tuned models "
            f"{_span(overlap)}; {beaten} of {len(overlap)} are above it.")  # fmt: skip
    gaps, before = _values(systems, TOLD_BY, keys), _values(systems, TOLD_BY, bases)
    if gaps:
        untuned = f" (untuned: {_above_zero(before)})" if before else ""
        say("controls", f"Do answers fit their own persona better than other people's? The swap gap without the card's words is above zero, interval and all, "
            f"for {_above_zero(gaps)} tuned models{untuned}; it is {_span(gaps)}.")  # fmt: skip
    chosen = _values(systems, "swap_gap_option", keys)
    if chosen:
        say("controls", f"On the chosen option alone, where no wording can help, the gap is above zero for {_above_zero(chosen)}.")
    if changed := "" if compared.empty else in_words(compared, BLOCKS):
        say("controls", f"What does tuning change? {'; '.join(changed.splitlines())} (5 % after Holm's correction).")
    hits, ends = _values(administration, "stance_acc", keys), _values(administration, "stance_acc", ["majority", "oracle_card"])
    if hits and len(ends) == 2:
        before = _values(administration, "stance_acc", bases)
        untuned = f", untuned {_span(before)}" if before else ""
        say("administration", f"Asked as fresh people, the tuned models choose the respondent's option in {_span(hits)} of the cases{untuned}; "
            f"the majority answer does in {ends['majority'].value:.3f}, a perfect reader of the card in {ends['oracle_card'].value:.3f}.")  # fmt: skip
    if not findings.empty:
        found = sorted(set(findings.loc[findings["severity"] == "problem", "system"]), key=place)
        bad = [system_name(system) for system in found if system_kind(system) in ("tuned", "untuned")]
        say("findings", f"Systems with a problem to explain before their scores are used: {'; '.join(bad) if bad else 'none of the models'}.")
    return out


def type_table(rows: pd.DataFrame, *, seed: int = stats.SEED) -> dict | None:
    """ROUGE-1 and survey quality of every system by question type, as `report_tables.system_table`; None without row scores."""
    if rows.empty or not {"system", "question_type", *TYPE_METRICS} <= set(rows):
        return None
    alive, kinds = rows[rows["status"] == "ok"], sorted(rows["question_type"].dropna().unique())
    columns = [(metric, kind) for metric in TYPE_METRICS for kind in kinds]
    lines = []
    for system in sorted(alive["system"].unique(), key=place):
        mine, cells = alive[alive["system"] == system], []
        for metric, kind in columns:
            found = stats.bootstrap_mean(mine.loc[mine["question_type"] == kind, metric], n_boot=500, seed=seed)
            cells.append(score_cell({"value": found["mean"], "lo": found["lo"], "hi": found["hi"]}))
        lines.append({"name": system_name(system), "kind": system_kind(system), "cells": cells, "failed": 0})
    return {"columns": [{"name": f"{DEFINED[metric]}, {kind}", "metric": metric} for metric, kind in columns], "rows": lines}


def telling(rows: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Test items that say most about one model, the last of the run: [(id, why)] of its best, median and worst answer by swap gap; [] without scores."""
    key = next((k for k in reversed(keys) if not rows.empty and TOLD_BY in rows and (rows["system"] == k).any()), None)
    if key is None:
        return []
    mine = rows[(rows["system"] == key) & rows[TOLD_BY].notna() & (rows["status"] == "ok")].sort_values([TOLD_BY, "id"])
    if mine.empty:
        return []
    places = {"worst": 0, "median": (len(mine) - 1) // 2, "best": len(mine) - 1}
    label = METRICS[TOLD_BY].label
    return [(mine["id"].iloc[at], f"{name} answer of {system_name(key)} by {label}: {mine[TOLD_BY].iloc[at]:+.3f}") for name, at in reversed(places.items())]
