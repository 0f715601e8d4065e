"""Verdict rules for single scores: absolute values, and effects that every tuned model should show.

Absolute values are judged at paper scale only. Orders are in `claim_order_rules`.
"""

from __future__ import annotations

import pandas as pd

from .. import resampling
from ..cells import DASH, Estimate
from ..registry import MODELS
from .evidence import MEASURED, NOT_REPRODUCED, PAPER_RUN, REPRODUCED, UNTESTED, Evidence, Finding, names, verdict

TOLERANCE = 0.05  # relative, for absolute scores outside our interval


def absolute_score(claim: pd.Series, ev: Evidence) -> Finding:
    """An absolute score: judged at paper scale only; inside our 95 % interval or within 5 % of our value."""
    ours = ev.ours(claim["subject"], claim["metric"], claim["domain"])
    if ev.profile.scale != "paper":
        shown = f"{ours} (nano twin)" if ours else "not measured"
        return Finding(shown, UNTESTED, f"a nano twin's score says nothing about the hub model's; {PAPER_RUN} tests it")
    if ours is None:
        return ev.field(claim["metric"], claim["domain"], [claim["subject"]])[1]
    value = float(claim["value"])
    inside = ours.lo <= value <= ours.hi
    near = abs(ours.value - value) <= TOLERANCE * abs(value)
    why = "inside our 95 % interval" if inside else "within 5 % of ours" if near else "outside our 95 % interval and more than 5 % from ours"
    data = f"data: {ev.foreign or 'embedded, not the original'}"
    return Finding(str(ours), verdict(inside or near), f"the paper's value is {why}; {data}; definition: ours where the paper gives none", MEASURED)


def best_value(claim: pd.Series, ev: Evidence) -> Finding:
    """The best value over the seven models, at paper scale only."""
    found, lack = ev.field(claim["metric"])
    top = None if lack else max(found, key=lambda k: found[k].value)
    if ev.profile.scale != "paper":
        shown = f"{found[top]} ({names([top])}, nano twin)" if top else "not measured"
        return Finding(shown, UNTESTED, f"a nano twin's score says nothing about the hub models'; {PAPER_RUN} tests it")
    return lack or absolute_score(pd.Series({**claim, "subject": top, "domain": DASH}), ev)


def only_below(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject alone does not exceed the value. Absolute, hence at paper scale only."""
    found, lack = ev.field(claim["metric"])
    below = [k for k, s in found.items() if s.value <= float(claim["value"])]
    if ev.profile.scale != "paper":
        shown = "not measured" if lack else f"not above: {len(below)} of {len(found)} nano twins"
        return Finding(shown, UNTESTED, f"depends on the encoder and the models' size; {PAPER_RUN} tests it")
    return lack or Finding(f"not above: {names(below) or 'none'}", verdict(below == [claim["subject"]]), "means of all seven models", MEASURED)


# --- effects that every tuned model should show --------------------------------------------------------------------------------


def _effect(ev: Evidence, system: str, metric: str, kind: str) -> Estimate | None:
    """A system's mean with the interval that resamples whole personas, on all rows or on those of one question type; None if there is none."""
    if kind == "all":
        return ev.ours(system, metric)
    if ev.rows is None or metric not in ev.rows:
        return None
    part = ev.rows[(ev.rows["system"] == system) & (ev.rows["question_type"] == kind)].dropna(subset=[metric])
    found = resampling.bootstrap_mean(part[metric], clusters=part["persona_id"]) if len(part) else None
    return Estimate(found["mean"], found["lo"], found["hi"]) if found else None


def traits_kept(claim: pd.Series, ev: Evidence) -> Finding:
    """For most models the swap gap's interval lies above zero; it fails if most keep surely less than half of what a reader of the card reaches."""
    _, lack = ev.field("bleu")
    if lack:
        return lack
    gaps = {key: _effect(ev, key, claim["metric"], claim["value"]) for key in MODELS}
    if None in gaps.values():
        return Finding("not measured", UNTESTED, f"needs {claim['metric']} of all seven models; ./run_all.sh {ev.profile.name} computes it")
    ceiling = _effect(ev, "oracle_card", claim["metric"], claim["value"])
    above = [key for key, gap in gaps.items() if gap.lo > 0]
    little = [key for key, gap in gaps.items() if ceiling and gap.hi < ceiling.value / 2]
    least, most = min(g.value for g in gaps.values()), max(g.value for g in gaps.values())
    ours = f"above zero: {len(above)} of {len(gaps)} (gap {least:.3f} to {most:.3f})"
    card = f"a perfect reader of the card reaches {ceiling}; surely less than half of it: {len(little)} of {len(gaps)}. " if ceiling else ""
    why = f"{card}{claim['note']} {ev.scale_note()}"
    if 2 * len(above) > len(gaps):
        return Finding(ours, REPRODUCED, why, MEASURED)
    if 2 * len(little) > len(gaps):
        return Finding(ours, NOT_REPRODUCED, why, MEASURED)
    return ev.undecided(ours, why)


def diverse(claim: pd.Series, ev: Evidence) -> Finding:
    """For most models distinct-n is at most so many per cent below that of the same respondents asked again (ours)."""
    found, lack = ev.field(claim["metric"])
    people = ev.ours("resample", claim["metric"])
    if lack or not people:
        return lack or Finding("not measured", UNTESTED, f"needs the respondents asked again; ./run_all.sh {ev.profile.name} on the embedded data has them")
    least = people.value * (1 - float(claim["value"]) / 100)
    near, far = sum(s.hi >= least for s in found.values()), sum(s.lo >= least for s in found.values())
    low, high = min(s.value for s in found.values()), max(s.value for s in found.values())
    ours = f"{low:.3f} to {high:.3f}; the people asked again {people.value:.3f}"
    why = f"{claim['note']} Near enough, interval and all: {far} of {len(found)}. {ev.scale_note()}"
    if 2 * far <= len(found) < 2 * near:
        return ev.undecided(ours, why)
    return Finding(ours, verdict(2 * far > len(found)), why, MEASURED)


RULES = {
    "score": absolute_score,
    "best_value": best_value,
    "only_below": only_below,
    "traits_kept": traits_kept,
    "diverse": diverse,
}
"""The name in the ledger's `test` column -> its rule."""
