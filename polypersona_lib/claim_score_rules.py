"""Verdict rules for scores: absolute values, places among the seven models, comparisons by domain.

Absolute values are judged at paper scale only; an order is judged wherever all the models it needs have scores.
"""

from __future__ import annotations

import statistics

import pandas as pd

from .cells import DASH
from .claim_evidence import LARGER, MODELS, PAPER_RUN, UNTESTED, Evidence, Finding, names, rule, verdict
from .question_bank import DOMAINS

TOLERANCE = 0.05  # relative, for absolute scores outside our interval


@rule("score")
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
    return Finding(str(ours), verdict(inside or near), f"the paper's value is {why}; {data}; definition: ours where the paper gives none")


@rule("best_value")
def best_value(claim: pd.Series, ev: Evidence) -> Finding:
    """The best value over the seven models."""
    if ev.profile.scale != "paper":
        return Finding("not comparable", UNTESTED, f"a nano twin's score says nothing about the hub models'; {PAPER_RUN} tests it")
    found, lack = ev.field(claim["metric"])
    if lack:
        return lack
    top = max(found, key=lambda k: found[k].value)
    return absolute_score(pd.Series({**claim, "subject": top, "domain": DASH}), ev)


@rule("only_below")
def only_below(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject alone does not exceed the value. Absolute, hence at paper scale only."""
    if ev.profile.scale != "paper":
        return Finding("not comparable", UNTESTED, f"depends on the encoder and the models' size; {PAPER_RUN} tests it")
    found, lack = ev.field(claim["metric"])
    if lack:
        return lack
    below = [k for k, s in found.items() if s.value <= float(claim["value"])]
    return Finding(f"not above: {names(below) or 'none'}", verdict(below == [claim["subject"]]), "means of all seven models")


def _overlap(a, b) -> str:
    return "; their 95 % intervals overlap, so this order is not certain" if a.lo <= b.hi and b.lo <= a.hi else ""


@rule("rank")
def rank(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject's place among the seven models (1: best; the last place counts ties as last)."""
    found, lack = ev.field(claim["metric"], claim["domain"])
    if lack:
        return lack
    mine, wanted = found[claim["subject"]], int(claim["value"])
    above = sum(s.value > mine.value for s in found.values())
    level = sum(s.value == mine.value for s in found.values())
    rivals = [k for k in found if k != claim["subject"]]
    near = min(rivals, key=lambda k: abs(found[k].value - mine.value))
    note = "" if claim["note"] == DASH else f"; {claim['note']}"
    order = ", ".join(f"{names([k])} {s.value:.3f}" for k, s in sorted(found.items(), key=lambda pair: -pair[1].value))
    return Finding(
        f"place {above + 1}: {mine}", verdict(above + 1 <= wanted <= above + level),
        f"{ev.scale_note()}: {order}{_overlap(mine, found[near])}{note}",
    )  # fmt: skip


@rule("beats_larger")
def beats_larger(claim: pd.Series, ev: Evidence) -> Finding:
    """Each of the small models is above at least so many of the larger ones."""
    small = claim["subject"].split(", ")
    found, lack = ev.field(claim["metric"], models=[*small, *LARGER])
    if lack:
        return lack
    beaten = {s: [k for k in LARGER if found[s].value > found[k].value] for s in small}
    shown = "; ".join(f"{names([s])} is above {names(b) or 'none'}" for s, b in beaten.items())
    twins = f" {ev.scale_note()}: they are alike in size, so this compares the families' architectures" if ev.profile.scale == "nano" else ""
    return Finding(shown, verdict(all(len(b) >= int(claim["value"]) for b in beaten.values())), f"{claim['note']}{twins}")


@rule("on_par")
def on_par(claim: pd.Series, ev: Evidence) -> Finding:
    """Each small model is at most so many per cent below the best larger one."""
    small = claim["subject"].split(", ")
    found, lack = ev.field(claim["metric"], models=[*small, *LARGER])
    if lack:
        return lack
    best = max(LARGER, key=lambda k: found[k].value)
    gap = {s: 100 * (found[s].value / found[best].value - 1) for s in small}
    shown = ", ".join(f"{names([s])} {g:+.1f} %" for s, g in gap.items())
    why = f"against {names([best])}, the best larger model ({ev.scale_note()}). {claim['note']}"
    return Finding(shown, verdict(min(gap.values()) >= -float(claim["value"])), why)


@rule("balanced")
def balanced(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject has the smallest distance between its best and worst place over the nine columns of Table II."""
    places: dict[str, list[int]] = {key: [] for key in MODELS}
    for metric in ("bleu", "rouge1", "rouge2", "rougeL", "bertscore_f1", "quality", "length_sim", "sentence_sim", "sentiment_sim"):
        found, lack = ev.field(metric)
        if lack:
            return lack
        for key in places:
            places[key].append(1 + sum(s.value > found[key].value for s in found.values()))
    spread = {key: max(p) - min(p) for key, p in places.items()}
    least = [k for k, s in spread.items() if s == min(spread.values())]
    return Finding(f"least spread: {names(least)}", verdict(claim["subject"] in least), f"{claim['note']} {ev.scale_note()}")


@rule("persona_effect")
def persona_effect(claim: pd.Series, ev: Evidence) -> Finding:
    """The interval of the swap gap lies above zero."""
    found, lack = ev.field(claim["metric"], models=[claim["subject"]])
    if lack:
        return lack
    gap = found[claim["subject"]]
    return Finding(str(gap), verdict(gap.lo > float(claim["value"])), f"{claim['note']} {ev.scale_note()}")


# --- scores by domain ----------------------------------------------------------------------------------------------------------


def _by_domain(metric: str, ev: Evidence) -> tuple[dict[str, dict[str, float]], Finding | None]:
    """model -> domain -> mean score, for all seven models and ten domains, or what is missing."""
    table: dict[str, dict[str, float]] = {key: {} for key in MODELS}
    for domain in DOMAINS:
        found, lack = ev.field(metric, domain)
        if lack:
            return {}, lack
        for key, score in found.items():
            table[key][domain] = score.value
    return table, None


@rule("best_domain")
def best_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """More than half of the models have their best score in the domain."""
    table, lack = _by_domain(claim["metric"], ev)
    if lack:
        return lack
    best = {key: max(scores, key=scores.get) for key, scores in table.items()}
    there = [k for k, d in best.items() if d == claim["value"]]
    where = ", ".join(f"{names([k])} {DOMAINS[d][0]}" for k, d in best.items())
    return Finding(f"{len(there)} of {len(best)} models", verdict(2 * len(there) > len(best)), f"best domains: {where} ({ev.scale_note()})")


@rule("weak_domains")
def weak_domains(claim: pd.Series, ev: Evidence) -> Finding:
    """For most models all the named domains lie in the lower half."""
    table, lack = _by_domain(claim["metric"], ev)
    if lack:
        return lack
    weak = set(claim["value"].split(", "))
    low = [key for key, scores in table.items() if weak <= set(sorted(scores, key=scores.get)[: len(scores) // 2])]
    return Finding(f"{len(low)} of {len(table)} models", verdict(2 * len(low) > len(table)), f"{claim['note']} {ev.scale_note()}")


@rule("several_tops")
def several_tops(claim: pd.Series, ev: Evidence) -> Finding:
    """At least so many different models lead a domain."""
    table, lack = _by_domain(claim["metric"], ev)
    if lack:
        return lack
    tops = {domain: max(table, key=lambda k: table[k][domain]) for domain in DOMAINS}
    leaders = len(set(tops.values()))
    return Finding(f"{leaders} leading models", verdict(leaders >= int(claim["value"])), f"{claim['note']} {ev.scale_note()}")


@rule("even_lengths")
def even_lengths(claim: pd.Series, ev: Evidence) -> Finding:
    """Coefficient of variation of the domains' mean lengths, for the subject."""
    means = []
    for domain in DOMAINS:
        found, lack = ev.field(claim["metric"], domain, [claim["subject"]])
        if lack:
            return lack
        means.append(found[claim["subject"]].value)
    spread = statistics.pstdev(means) / statistics.mean(means)
    shown = f"coefficient of variation {spread:.2f} (mean lengths {min(means):.0f} to {max(means):.0f} characters)"
    return Finding(shown, verdict(spread <= float(claim["value"])), f"{claim['note']} {ev.scale_note()}")
