"""Verdict rules for orders and shapes: places among the seven models, comparisons of small and large, patterns over domains.

A rule needs the scores of all its models. It decides only if the order holds, or fails, in nearly all resamples of the test's people (`Evidence.decide`):
on 357 rows most places of seven close models are noise. Every reason says what the order of nano twins can show. They cannot show what is about *size*:
all twins have one size.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..cells import DASH
from ..registry import MODELS
from ..world.paper import TABLE2
from ..world.questions import DOMAINS
from .evidence import LARGER, MEASURED, PAPER_RUN, SURE, UNTESTED, Evidence, Finding, by_name, verdict

_COLUMNS = tuple(TABLE2.values())
_TITLES = list(DOMAINS.values())
_KEYS = tuple(MODELS)


def _noted(claim: pd.Series, ev: Evidence, text: str = "") -> str:
    """The end of a reason: what was found, our reading of the claim, what such models can show."""
    return " ".join(part for part in (text, "" if claim["note"] == DASH else claim["note"], ev.scale_note()) if part)


def _means(scores: dict) -> np.ndarray:
    """Scores of all seven models as an array, shape (7,); NaN for a model without one."""
    return np.array([scores[key].value if key in scores else np.nan for key in _KEYS])


def _place(values: np.ndarray, model: int, axis: int = -1) -> np.ndarray:
    """Place of a model among those along `axis` (1: best), the better of tied places."""
    mine = np.take(values, [model], axis=axis)
    return 1 + (values > mine).sum(axis=axis)


def rank(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject's place among the seven models (1: best; the last place counts ties as last), in resamples too."""
    scores = ev.field(claim["metric"], claim["domain"])
    model, wanted = _KEYS.index(claim["subject"]), int(claim["value"])

    def holds(values: np.ndarray) -> np.ndarray:
        level = (values == values[..., [model]]).sum(axis=-1)
        return (_place(values, model) <= wanted) & (wanted <= _place(values, model) + level - 1)

    draws = ev.resampled([claim["metric"]], claim["domain"])
    means, span = _means(scores), ""
    if draws is not None:
        low, high = np.quantile(_place(draws[..., 0], model), (1 - SURE, SURE), method="nearest").astype(int)
        span = f" (in resamples {low} to {high})"
    order = ", ".join(f"{ev.names([k])} {s.value:.3f}" for k, s in sorted(scores.items(), key=lambda pair: -pair[1].value))
    ours = f"place {_place(means, model)}{span}: {scores[claim['subject']]}"
    return ev.decide(ours, bool(holds(means)), None if draws is None else holds(draws[..., 0]), _noted(claim, ev, f"{order}."))


def _columns(claim: pd.Series, ev: Evidence, holds: Callable[[np.ndarray], np.ndarray], show: Callable[[np.ndarray], str]) -> Finding:
    """The finding of a rule about places in the nine columns of Table II: `holds` takes places of shape (..., models, columns)."""
    means = np.stack([_means(ev.field(metric)) for metric in _COLUMNS], axis=-1)

    def places(values: np.ndarray) -> np.ndarray:
        return np.stack([_place(values, model, axis=-2) for model in range(len(_KEYS))], axis=-2)

    mine, draws = places(means), ev.resampled(_COLUMNS)
    return ev.decide(show(mine), bool(holds(mine)), None if draws is None else holds(places(draws)), _noted(claim, ev))


def balanced(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject's worst place over the nine columns of Table II is the best that any model has (ours)."""
    model = _KEYS.index(claim["subject"])

    def show(places: np.ndarray) -> str:
        worst = places.max(axis=-1)
        return f"worst place {worst[model]}; best worst place {worst.min()}: {ev.names(k for k, w in zip(_KEYS, worst, strict=True) if w == worst.min())}"

    return _columns(claim, ev, lambda p: p[..., model, :].max(axis=-1) == p.max(axis=-1).min(axis=-1), show)


def upper_half(claim: pd.Series, ev: Evidence) -> Finding:
    """The subject is among the first three in at least so many of the nine columns of Table II (ours)."""
    model, least = _KEYS.index(claim["subject"]), int(claim["value"])

    def count(places: np.ndarray) -> np.ndarray:
        return (places[..., model, :] <= 3).sum(axis=-1)

    return _columns(claim, ev, lambda p: count(p) >= least, lambda p: f"among the first three in {count(p)} of {len(_COLUMNS)} columns")


def _of_size(claim: pd.Series, ev: Evidence, ours: str, holds: Callable[[np.ndarray], np.ndarray], reason: str) -> Finding:
    """The finding about small and large models: never judged on twins, which all have one size."""
    if ev.profile.scale == "nano":
        why = f"this is about size, and all nano twins have one size: they cannot show it; {PAPER_RUN} tests it. {reason} {claim['note']}"
        return Finding(ours, UNTESTED, why)
    means, draws = _means(ev.known(claim["metric"])), ev.resampled([claim["metric"]])
    return ev.decide(ours, bool(holds(means)), None if draws is None else holds(draws[..., 0]), f"{reason} {_noted(claim, ev)}")


def _small_and_large(claim: pd.Series) -> tuple[list[str], list[int], list[int]]:
    """The small models of a claim, and the places of these and of the larger ones among the seven."""
    small = claim["subject"].split(", ")
    return small, [_KEYS.index(k) for k in small], [_KEYS.index(k) for k in LARGER]


def beats_larger(claim: pd.Series, ev: Evidence) -> Finding:
    """Each of the small models is above at least so many of the larger ones."""
    small, low, large = _small_and_large(claim)
    scores = ev.field(claim["metric"], models=[*small, *LARGER])

    def holds(values: np.ndarray) -> np.ndarray:
        beaten = (values[..., low, None] > values[..., None, large]).sum(axis=-1)
        return (beaten >= int(claim["value"])).all(axis=-1)

    beaten = {s: [k for k in LARGER if scores[s].value > scores[k].value] for s in small}
    shown = "; ".join(f"{ev.names([s])} is above {ev.names(b) or 'none'}" for s, b in beaten.items())
    return _of_size(claim, ev, shown, holds, f"Larger: {ev.names(LARGER)}.")


def on_par(claim: pd.Series, ev: Evidence) -> Finding:
    """Each small model is at most so many per cent below the best larger one."""
    small, low, large = _small_and_large(claim)
    scores = ev.field(claim["metric"], models=[*small, *LARGER])

    def holds(values: np.ndarray) -> np.ndarray:
        return (values[..., low].min(axis=-1) / values[..., large].max(axis=-1) - 1) >= -float(claim["value"]) / 100

    best = max(LARGER, key=lambda k: scores[k].value)
    shown = ", ".join(f"{ev.names([s])} {100 * (scores[s].value / scores[best].value - 1):+.1f} %" for s in small)
    return _of_size(claim, ev, shown, holds, f"Against {ev.names([best])}, the best of {ev.names(LARGER)}.")


def _by_domain(metric: str, ev: Evidence) -> tuple[np.ndarray, np.ndarray | None]:
    """Means by model and domain, shape (7, 10); the same in resamples, shape (DRAWS, 7, 10), or None without row scores."""
    means = np.stack([_means(ev.field(metric, domain)) for domain in DOMAINS], axis=-1)
    draws = [ev.resampled([metric], domain) for domain in DOMAINS]
    return means, None if any(d is None for d in draws) else np.concatenate(draws, axis=-1)


def _pattern(
    claim: pd.Series, ev: Evidence, holds: Callable[[np.ndarray], np.ndarray], show: Callable[[np.ndarray], str], more: Callable = lambda means: ""
) -> Finding:
    """The finding of a rule about models and domains: `holds` takes means of shape (..., models, domains); `show` gives what we got, `more` a word on it."""
    means, draws = _by_domain(claim["metric"], ev)
    return ev.decide(show(means), bool(holds(means)), None if draws is None else holds(draws), _noted(claim, ev, more(means)))


def _most(each: np.ndarray) -> np.ndarray:
    """Whether something holds for more than half of the models, along the last axis."""
    return 2 * each.sum(axis=-1) > each.shape[-1]


def best_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """More than half of the models have their best score in the domain."""
    wanted = list(DOMAINS).index(claim["value"])

    def leads(means: np.ndarray) -> np.ndarray:
        return means.argmax(axis=-1) == wanted

    def best(means: np.ndarray) -> str:
        where = ", ".join(f"{ev.names([key])} {_TITLES[d]}" for key, d in zip(_KEYS, means.argmax(axis=-1), strict=True))
        return f"Best domains: {where}."

    return _pattern(claim, ev, lambda v: _most(leads(v)), lambda v: f"{leads(v).sum()} of {len(_KEYS)} models", best)


def weak_domains(claim: pd.Series, ev: Evidence) -> Finding:
    """For most models all the named domains lie in the lower half."""
    weak = [list(DOMAINS).index(d) for d in claim["value"].split(", ")]

    def low(values: np.ndarray) -> np.ndarray:
        return (values.argsort(axis=-1).argsort(axis=-1)[..., weak] < values.shape[-1] // 2).all(axis=-1)

    return _pattern(claim, ev, lambda v: _most(low(v)), lambda v: f"{low(v).sum()} of {len(_KEYS)} models")


def strong_in(claim: pd.Series, ev: Evidence) -> Finding:
    """Each subject is among the first three models in each of the named domains (ours)."""
    models, domains = [_KEYS.index(k) for k in claim["subject"].split(", ")], [list(DOMAINS).index(d) for d in claim["value"].split(", ")]

    def places(values: np.ndarray) -> np.ndarray:
        return np.stack([_place(values, m, axis=-2) for m in models], axis=-2)[..., domains]

    def show(means: np.ndarray) -> str:
        lines = {_KEYS[m]: ", ".join(f"place {p} in {_TITLES[d]}" for p, d in zip(line, domains, strict=True))
                 for m, line in zip(models, places(means), strict=True)}  # fmt: skip
        return "; ".join(f"{ev.names([key])} {line}" for key, line in lines.items())

    return _pattern(claim, ev, lambda v: (places(v) <= 3).all(axis=(-1, -2)), show)


def alike_in_domain(claim: pd.Series, ev: Evidence) -> Finding:
    """The seven models differ less in the domain than in the middle one of the others (ours)."""
    here = list(DOMAINS).index(claim["value"])

    def spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spreads = values.std(axis=-2)
        return spreads[..., here], np.median(np.delete(spreads, here, axis=-1), axis=-1)

    def show(means: np.ndarray) -> str:
        own, other = spread(means)
        return f"standard deviation over the models {own:.3f}, in the other domains {other:.3f}"

    return _pattern(claim, ev, lambda v: np.less(*spread(v)), show)


def several_tops(claim: pd.Series, ev: Evidence) -> Finding:
    """At least so many different models lead a domain in nearly all resamples: seven equal models would lead different domains by chance."""
    means, draws = _by_domain(claim["metric"], ev)
    wanted, tops = int(claim["value"]), len(set(means.argmax(axis=0).tolist()))
    ours = f"{tops} leading models"
    if draws is None:
        return Finding(ours, verdict(tops >= wanted), _noted(claim, ev), MEASURED)
    shares = np.stack([(draws.argmax(axis=-2) == m).mean(axis=0) for m in range(len(_KEYS))])
    sure = sorted(key for key, share in zip(_KEYS, shares, strict=True) if (share >= SURE).any())
    why = f"lead a domain in at least {100 * SURE:.1f} % of the resamples: {ev.names(sure) or 'none'}. {_noted(claim, ev)}"
    return Finding(ours, verdict(True), why, MEASURED) if len(sure) >= wanted else ev.undecided(ours, why)


def even(claim: pd.Series, ev: Evidence) -> Finding:
    """Coefficient of variation of the subject's domain means, at most so large (ours)."""
    subject, most = claim["subject"], float(claim["value"])
    means = np.array([ev.field(claim["metric"], domain, [subject])[subject].value for domain in DOMAINS])
    draws = [ev.resampled([claim["metric"]], domain) for domain in DOMAINS]

    def variation(values: np.ndarray) -> np.ndarray:
        return values.std(axis=-1) / values.mean(axis=-1)

    known = all(d is not None for d in draws)
    held = variation(np.stack([d[:, _KEYS.index(subject), 0] for d in draws], axis=-1)) <= most if known else None
    digits, unit = (0, " characters") if claim["metric"].endswith("_chars") else (3, "")
    ours = f"coefficient of variation {variation(means):.2f} (domain means {means.min():.{digits}f} to {means.max():.{digits}f}{unit})"
    return ev.decide(ours, bool(variation(means) <= most), held, _noted(claim, ev))


RULES = by_name(rank, balanced, upper_half, beats_larger, on_par, best_domain, weak_domains, strong_in, alike_in_domain, several_tops, even)
"""The name in the ledger's `test` column -> its rule."""
