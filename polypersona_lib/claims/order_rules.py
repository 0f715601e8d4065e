"""Verdict rules for orders and shapes: places among the seven models, comparisons of small and large, patterns over domains.

An order is judged wherever all the models it needs have scores. It is decided only if it holds, or fails, in nearly all resamples of the test rows
(`Evidence.decide`): on 357 rows most places of seven close models are noise. What the order of nano twins can show stands in every reason; what is about
*size* they cannot show, since all are of one size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..cells import DASH
from ..registry import MODELS
from ..world.questions import DOMAINS
from .evidence import LARGER, MEASURED, PAPER_RUN, SURE, UNTESTED, Evidence, Finding, names, verdict

TABLE2 = ("bleu", "rouge1", "rouge2", "rougeL", "bertscore_f1", "quality", "length_sim", "sentence_sim", "sentiment_sim")
_KEYS = tuple(MODELS)


def _noted(claim: pd.Series, ev: Evidence, text: str = "") -> str:
    """The reason's end: what was found, our reading of the claim, what such models can show."""
    return " ".join(part for part in (text, "" if claim["note"] == DASH else claim["note"], ev.scale_note()) if part)


def _means(found: dict) -> np.ndarray:
    """Scores of all seven models as an array, shape (7,)."""
    return np.array([found[key].value for key in _KEYS])


def _place(values: np.ndarray, model: int, axis: int = -1) -> np.ndarray:
    """Place of a model among those along `axis` (1: best), the better of tied places."""
    mine = np.take(values, [model], axis=axis)
    return 1 + (values > mine).sum(axis=axis)


# --- places among the seven models ---------------------------------------------------------------------------------------------


def rank(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject's place among the seven models (1: best; the last place counts ties as last), in resamples too."""
    found, lack = ev.field(claim["metric"], claim["domain"])
    if lack:
        return lack
    model, wanted = _KEYS.index(claim["subject"]), int(claim["value"])

    def holds(values: np.ndarray) -> np.ndarray:
        level = (values == values[..., [model]]).sum(axis=-1)
        return (_place(values, model) <= wanted) & (wanted <= _place(values, model) + level - 1)

    draws = ev.resampled([claim["metric"]], claim["domain"])
    means, span = _means(found), ""
    if draws is not None:
        low, high = np.quantile(_place(draws[..., 0], model), (1 - SURE, SURE), method="nearest").astype(int)
        span = f" (in resamples {low} to {high})"
    order = ", ".join(f"{names([k])} {s.value:.3f}" for k, s in sorted(found.items(), key=lambda pair: -pair[1].value))
    ours = f"place {_place(means, model)}{span}: {found[claim['subject']]}"
    return ev.decide(ours, bool(holds(means)), None if draws is None else holds(draws[..., 0]), _noted(claim, ev, f"{order}."))


def _columns(claim: pd.Series, ev: Evidence, holds: Callable[[np.ndarray], np.ndarray], show: Callable[[np.ndarray], str]) -> Finding:
    """The finding of a rule about places in the nine columns of Table II: `holds` takes places of shape (..., models, columns)."""
    means = []
    for metric in TABLE2:
        found, lack = ev.field(metric)
        if lack:
            return lack
        means.append(_means(found))

    def places(values: np.ndarray) -> np.ndarray:
        return np.stack([_place(values, model, axis=-2) for model in range(len(_KEYS))], axis=-2)

    mine, draws = places(np.stack(means, axis=-1)), ev.resampled(TABLE2)
    return ev.decide(show(mine), bool(holds(mine)), None if draws is None else holds(places(draws)), _noted(claim, ev))


def balanced(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject's worst place over the nine columns of Table II is the best that any model has (ours)."""
    model = _KEYS.index(claim["subject"])

    def show(places: np.ndarray) -> str:
        worst = places.max(axis=-1)
        return f"worst place {worst[model]}; best worst place {worst.min()}: {names(k for k, w in zip(_KEYS, worst, strict=True) if w == worst.min())}"

    return _columns(claim, ev, lambda p: p[..., model, :].max(axis=-1) == p.max(axis=-1).min(axis=-1), show)


def upper_half(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject is among the first three in at least so many of the nine columns of Table II (ours)."""
    model, least = _KEYS.index(claim["subject"]), int(claim["value"])

    def count(places: np.ndarray) -> np.ndarray:
        return (places[..., model, :] <= 3).sum(axis=-1)

    return _columns(claim, ev, lambda p: count(p) >= least, lambda p: f"among the first three in {count(p)} of {len(TABLE2)} columns")


# --- small against large -------------------------------------------------------------------------------------------------------


def _of_size(claim: pd.Series, ev: Evidence, ours: str, holds: Callable[[np.ndarray], np.ndarray], found: dict, reason: str) -> Finding:
    """The finding about small and large models: never judged on twins, which have no sizes."""
    if ev.profile.scale == "nano":
        why = f"this is about size, and all nano twins have one size: they cannot show it; {PAPER_RUN} tests it. {reason} {claim['note']}"
        return Finding(ours, UNTESTED, why)
    means = np.array([found[key].value if key in found else np.nan for key in _KEYS])
    draws = ev.resampled([claim["metric"]])
    return ev.decide(ours, bool(holds(means)), None if draws is None else holds(draws[..., 0]), f"{reason} {_noted(claim, ev)}")


def beats_larger(claim: pd.Series, ev: Evidence) -> Finding:
    """Each of the small models is above at least so many of the larger ones."""
    small = claim["subject"].split(", ")
    found, lack = ev.field(claim["metric"], models=[*small, *LARGER])
    if lack:
        return lack
    low, large = [_KEYS.index(k) for k in small], [_KEYS.index(k) for k in LARGER]

    def holds(values: np.ndarray) -> np.ndarray:
        beaten = (values[..., low, None] > values[..., None, large]).sum(axis=-1)
        return (beaten >= int(claim["value"])).all(axis=-1)

    beaten = {s: [k for k in LARGER if found[s].value > found[k].value] for s in small}
    shown = "; ".join(f"{names([s])} is above {names(b) or 'none'}" for s, b in beaten.items())
    return _of_size(claim, ev, shown, holds, found, f"Larger: {names(LARGER)}.")


def on_par(claim: pd.Series, ev: Evidence) -> Finding:
    """Each small model is at most so many per cent below the best larger one."""
    small = claim["subject"].split(", ")
    found, lack = ev.field(claim["metric"], models=[*small, *LARGER])
    if lack:
        return lack
    low, large = [_KEYS.index(k) for k in small], [_KEYS.index(k) for k in LARGER]

    def holds(values: np.ndarray) -> np.ndarray:
        return (values[..., low].min(axis=-1) / values[..., large].max(axis=-1) - 1) >= -float(claim["value"]) / 100

    best = max(LARGER, key=lambda k: found[k].value)
    shown = ", ".join(f"{names([s])} {100 * (found[s].value / found[best].value - 1):+.1f} %" for s in small)
    return _of_size(claim, ev, shown, holds, found, f"Against {names([best])}, the best of {names(LARGER)}.")


# --- patterns over domains -----------------------------------------------------------------------------------------------------


def _by_domain(metric: str, ev: Evidence) -> tuple[np.ndarray, np.ndarray | None, Finding | None]:
    """Means by model and domain, shape (7, 10); the same in resamples, shape (DRAWS, 7, 10), or None; or the finding that says what is missing."""
    means, draws = [], []
    for domain in DOMAINS:
        found, lack = ev.field(metric, domain)
        if lack:
            return np.empty(0), None, lack
        means.append(_means(found))
        draws.append(ev.resampled([metric], domain))
    return np.stack(means, axis=-1), None if any(d is None for d in draws) else np.concatenate(draws, axis=-1), None


def _pattern(claim: pd.Series, ev: Evidence, holds: Callable[[np.ndarray], np.ndarray], show: Callable[[np.ndarray], tuple[str, str]]) -> Finding:
    """The finding of a rule about models and domains: `holds` takes means of shape (..., models, domains), `show` gives ours and a word on it."""
    means, draws, lack = _by_domain(claim["metric"], ev)
    if lack:
        return lack
    ours, more = show(means)
    return ev.decide(ours, bool(holds(means)), None if draws is None else holds(draws), _noted(claim, ev, more))


def _most(each: np.ndarray) -> np.ndarray:
    """Whether something holds for more than half of the models, along the last axis."""
    return 2 * each.sum(axis=-1) > each.shape[-1]


def best_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """More than half of the models have their best score in the domain."""
    wanted = list(DOMAINS).index(claim["value"])

    def show(means: np.ndarray) -> tuple[str, str]:
        best = means.argmax(axis=-1)
        where = ", ".join(f"{names([key])} {list(DOMAINS.values())[d][0]}" for key, d in zip(_KEYS, best, strict=True))
        return f"{(best == wanted).sum()} of {len(_KEYS)} models", f"Best domains: {where}."

    return _pattern(claim, ev, lambda v: _most(v.argmax(axis=-1) == wanted), show)


def weak_domains(claim: pd.Series, ev: Evidence) -> Finding:
    """For most models all the named domains lie in the lower half."""
    weak = [list(DOMAINS).index(d) for d in claim["value"].split(", ")]

    def low(values: np.ndarray) -> np.ndarray:
        return (values.argsort(axis=-1).argsort(axis=-1)[..., weak] < values.shape[-1] // 2).all(axis=-1)

    return _pattern(claim, ev, lambda v: _most(low(v)), lambda v: (f"{low(v).sum()} of {len(_KEYS)} models", ""))


def strong_in(claim: pd.Series, ev: Evidence) -> Finding:
    """Each subject is among the first three models in each of the named domains (ours)."""
    models, domains = [_KEYS.index(k) for k in claim["subject"].split(", ")], [list(DOMAINS).index(d) for d in claim["value"].split(", ")]

    def places(values: np.ndarray) -> np.ndarray:
        return np.stack([_place(values, m, axis=-2) for m in models], axis=-2)[..., domains]

    def show(means: np.ndarray) -> tuple[str, str]:
        titles = [list(DOMAINS.values())[d][0] for d in domains]
        lines = zip(models, places(means), strict=True)
        return "; ".join(f"{names([_KEYS[m]])} " + ", ".join(f"place {p} in {t}" for p, t in zip(line, titles, strict=True)) for m, line in lines), ""

    return _pattern(claim, ev, lambda v: (places(v) <= 3).all(axis=(-1, -2)), show)


def alike_in_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """The seven models differ less in the domain than in the middle one of the others (ours)."""
    here = list(DOMAINS).index(claim["value"])

    def spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spreads = values.std(axis=-2)
        return spreads[..., here], np.median(np.delete(spreads, here, axis=-1), axis=-1)

    def show(means: np.ndarray) -> tuple[str, str]:
        own, other = spread(means)
        return f"standard deviation over the models {own:.3f}, in the other domains {other:.3f}", ""

    return _pattern(claim, ev, lambda v: np.less(*spread(v)), show)


def several_tops(claim: pd.Series, ev: Evidence) -> Finding:
    """At least so many different models lead a domain in nearly all resamples: seven equal models would lead different domains by chance."""
    means, draws, lack = _by_domain(claim["metric"], ev)
    if lack:
        return lack
    tops = set(means.argmax(axis=0).tolist())
    ours = f"{len(tops)} leading models"
    if draws is None:
        return Finding(ours, verdict(len(tops) >= int(claim["value"])), _noted(claim, ev), MEASURED)
    shares = np.stack([(draws.argmax(axis=-2) == m).mean(axis=0) for m in range(len(_KEYS))])
    surely = {_KEYS[m] for m, d in zip(*np.nonzero(shares >= SURE), strict=True)}
    why = f"sure of leading a domain (in {100 * SURE:.1f} % of the resamples): {names(sorted(surely)) or 'none'}. {_noted(claim, ev)}"
    if len(surely) >= int(claim["value"]):
        return Finding(ours, verdict(True), why, MEASURED)
    return ev.undecided(ours, why)


def even(claim: pd.Series, ev: Evidence) -> Finding:
    """Coefficient of variation of the subject's domain means, at most so large (ours)."""
    means = []
    for domain in DOMAINS:
        found, lack = ev.field(claim["metric"], domain, [claim["subject"]])
        if lack:
            return lack
        means.append(found[claim["subject"]].value)
    draws = [ev.resampled([claim["metric"]], domain) for domain in DOMAINS]

    def variation(values: np.ndarray) -> np.ndarray:
        return values.std(axis=-1) / values.mean(axis=-1)

    known = all(d is not None for d in draws)
    held = variation(np.stack([d[:, _KEYS.index(claim["subject"]), 0] for d in draws], axis=-1)) <= float(claim["value"]) if known else None
    digits, unit = (0, " characters") if claim["metric"].endswith("_chars") else (3, "")
    ours = f"coefficient of variation {variation(np.array(means)):.2f} (domain means {min(means):.{digits}f} to {max(means):.{digits}f}{unit})"
    return ev.decide(ours, bool(variation(np.array(means)) <= float(claim["value"])), held, _noted(claim, ev))


RULES = {
    "rank": rank,
    "balanced": balanced,
    "upper_half": upper_half,
    "beats_larger": beats_larger,
    "on_par": on_par,
    "best_domain": best_domain,
    "weak_domains": weak_domains,
    "strong_in": strong_in,
    "alike_in_domain": alike_in_domain,
    "several_tops": several_tops,
    "even": even,
}
"""The name in the ledger's `test` column -> its rule."""
