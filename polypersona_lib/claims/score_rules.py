"""Verdict rules for single scores: absolute values, and effects that every tuned model should show.

Absolute values are judged at paper scale only. Orders are in `order_rules`.
"""

import pandas as pd

from .. import resampling
from ..cells import DASH, Estimate
from ..registry import MODELS
from .evidence import MEASURED, NOT_REPRODUCED, PAPER_RUN, REPRODUCED, UNTESTED, Evidence, Finding, Untestable, by_name, verdict

TOLERANCE = 0.05  # relative, for absolute scores outside our interval
_TWIN = f"a nano twin's score says nothing about the hub model's; {PAPER_RUN} tests it"


def absolute_score(claim: pd.Series, ev: Evidence) -> Finding:
    """An absolute score: judged at paper scale only; inside our 95 % interval or within 5 % of our value."""
    system, value = claim["subject"], float(claim["value"])
    if ev.profile.scale == "small":
        return _beside(claim, ev)
    if ev.profile.scale != "paper":
        ours = ev.ours(system, claim["metric"], claim["domain"])
        return Finding(f"{ours} (nano twin)" if ours else "not measured", UNTESTED, _TWIN)
    ours = ev.field(claim["metric"], claim["domain"], [system])[system]
    inside = ours.lo <= value <= ours.hi
    near = abs(ours.value - value) <= TOLERANCE * abs(ours.value)
    outside = "outside our 95 % interval and more than 5 % from ours"
    why = "inside our 95 % interval" if inside else "within 5 % of ours" if near else outside
    data = f"data: {ev.foreign or 'embedded, not the original'}"
    return Finding(str(ours), verdict(inside or near), f"the paper's value is {why}; {data}; definition: ours where the paper gives none", MEASURED)


def _beside(claim: pd.Series, ev: Evidence) -> Finding:
    """The score of the real models of a small run: shown beside the paper's, never judged against it."""
    scores = ev.known(claim["metric"], claim["domain"], ev.speakers)
    shown = ", ".join(f"{ev.names([key])} {score}" for key, score in scores.items()) or "not measured"
    return Finding(shown, UNTESTED, f"other data, other model: shown beside the paper's value, not compared with it; {PAPER_RUN} tests it")


def best_value(claim: pd.Series, ev: Evidence) -> Finding:
    """The best value over the seven models, at paper scale only."""
    scores = ev.known(claim["metric"])
    top = max(scores, key=lambda k: scores[k].value) if len(scores) == len(MODELS) else None
    if ev.profile.scale == "small":
        return _beside(claim, ev)
    if ev.profile.scale != "paper":
        return Finding(f"{scores[top]}, {ev.names([top])}" if top else "not measured", UNTESTED, _TWIN)
    ev.field(claim["metric"])  # names the models that are missing
    return absolute_score(pd.Series({**claim, "subject": top, "domain": DASH}), ev)


def only_below(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject alone does not exceed the value. Absolute, hence at paper scale only."""
    paper = ev.profile.scale == "paper"
    scores = ev.field(claim["metric"]) if paper else ev.known(claim["metric"])
    below = [k for k, s in scores.items() if s.value <= float(claim["value"])]
    if ev.profile.scale == "small":
        return _beside(claim, ev)
    if not paper:
        shown = f"not above: {len(below)} of {len(scores)} nano twins" if len(scores) == len(MODELS) else "not measured"
        return Finding(shown, UNTESTED, f"depends on the encoder and the models' size; {PAPER_RUN} tests it")
    return Finding(f"not above: {ev.names(below) or 'none'}", verdict(below == [claim["subject"]]), "means of all seven models", MEASURED)


def _effect(ev: Evidence, system: str, metric: str, kind: str) -> Estimate | None:
    """A system's mean with the interval that resamples whole personas, on all rows or on those of one question type; None if there is none."""
    if kind == "all":
        return ev.ours(system, metric)
    if ev.rows is None or metric not in ev.rows:
        return None
    part = resampling.by_parts(ev.rows)[(ev.rows["system"] == system) & (ev.rows["question_type"] == kind)].dropna(subset=[metric])
    if part.empty:
        return None
    mean = resampling.bootstrap_mean(part[metric], clusters=part["persona_id"])
    return Estimate(mean["mean"], mean["lo"], mean["hi"])


def _speaking(ev: Evidence, metric: str) -> dict[str, Estimate]:
    """The scores of the models that a claim about all models is judged by. Raises: Untestable if one lacks it, or if the run has none."""
    if not ev.speakers:
        raise Untestable(f"needs a tuned model's {metric}; ./run_all.sh {ev.profile.name} trains one")
    return ev.field(metric, models=ev.speakers)


def traits_kept(claim: pd.Series, ev: Evidence) -> Finding:
    """For most models the swap gap's interval lies above zero; it fails if most keep surely less than half of what a reader of the card reaches."""
    models = _speaking(ev, "bleu")
    gaps = {key: _effect(ev, key, claim["metric"], claim["value"]) for key in models}
    if None in gaps.values():
        raise Untestable(f"needs {claim['metric']} of {ev.names(models)}; ./run_all.sh {ev.profile.name} computes it")
    reader = _effect(ev, "oracle_card", claim["metric"], claim["value"])
    above = sum(gap.lo > 0 for gap in gaps.values())
    little = sum(gap.hi < reader.value / 2 for gap in gaps.values()) if reader else 0
    least, most = min(g.value for g in gaps.values()), max(g.value for g in gaps.values())
    ours = f"above zero: {above} of {len(gaps)} (gap {least:.3f} to {most:.3f})"
    card = f"a perfect reader of the card reaches {reader}; surely less than half of it: {little} of {len(gaps)}. " if reader else ""
    why = f"{card}{claim['note']} {ev.scale_note()}"
    if 2 * little > len(gaps):
        return Finding(ours, NOT_REPRODUCED, why, MEASURED)
    return Finding(ours, REPRODUCED, why, MEASURED) if 2 * above > len(gaps) else ev.undecided(ours, why)


def diverse(claim: pd.Series, ev: Evidence) -> Finding:
    """For most models distinct-n is at most so many per cent below that of the same respondents asked again (ours)."""
    scores, people = _speaking(ev, claim["metric"]), ev.ours("resample", claim["metric"])
    if not people:
        raise Untestable(f"needs the respondents asked again; ./run_all.sh {ev.profile.name} on the embedded data has them")
    least = people.value * (1 - float(claim["value"]) / 100)
    near, far = sum(s.hi >= least for s in scores.values()), sum(s.lo >= least for s in scores.values())
    low, high = min(s.value for s in scores.values()), max(s.value for s in scores.values())
    ours = f"{low:.3f} to {high:.3f}; the people asked again {people.value:.3f}"
    why = f"{claim['note']} Near enough, interval and all: {far} of {len(scores)}. {ev.scale_note()}"
    if 2 * far <= len(scores) < 2 * near:
        return ev.undecided(ours, why)
    return Finding(ours, verdict(2 * far > len(scores)), why, MEASURED)


RULES = by_name(best_value, only_below, traits_kept, diverse) | {"score": absolute_score}
"""The name in the ledger's `test` column -> its rule."""
