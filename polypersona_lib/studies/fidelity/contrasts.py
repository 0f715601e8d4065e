"""What did tuning do? Tuned models against their bases and both against the floor, on the same resampled people, with a correction for asking so often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from ... import stats
from ...scoring.fidelity_measures import CONTRASTS, LADDER, MEAN, MEASURES, system_of

CONTRAST_COLUMNS = ["metric", "detail", "label", "contrast", "model", "value", "lo", "hi", "toward", "p", "p_holm"]


def _known(lines: Sequence[dict]) -> dict[tuple[str, str, str], dict]:
    return {(each["metric"], each["detail"], each["system"]): each for each in lines if each["draws"] is not None and len(each["draws"])}


def _floor(known: dict, own: dict) -> tuple[float, np.ndarray | float] | None:
    """(level, draws) of the floor of a line: its own answers in other people's hands, or the system that `MEASURES` names; None: this run has none."""
    if MEASURES[own["metric"]].floor == "shuffled":
        return (own["shuffled"], own["shuffled"]) if np.isfinite(own["shuffled"]) else None
    other = known.get((own["metric"], own["detail"], MEASURES[own["metric"]].floor))
    return None if other is None else (other["value"], other["draws"])


def _difference(value: float, draws: np.ndarray) -> dict[str, float]:
    """A difference with its interval and the two-sided p-value of "none", both from the standard deviation of its draws."""
    spread = float(np.nanstd(draws))
    p = 2 * norm.sf(abs(value) / spread) if spread > 0 else float(abs(value) < 1e-12)
    return {"value": value, "lo": value - 1.96 * spread, "hi": value + 1.96 * spread, "p": float(p)}


def tuning_contrasts(lines: Sequence[dict], keys: Sequence[str]) -> pd.DataFrame:
    """Every contrast of every measure of the ladder, model by model and averaged over the models.

    Args: lines: from `fidelity_measures.measure_line`, those with `draws` of resampled people. keys: the models.
    Returns: `CONTRAST_COLUMNS`; value, lo, hi in the measure's unit; toward: whether the difference points to the ceiling; p_holm: Holm's correction
        over all models and measures of a contrast (the averages stand apart and are not corrected). Measures without floor or ceiling are left out.
    """
    known, found = _known(lines), []
    for metric, detail, label in LADDER:
        top = known.get((metric, detail, MEASURES[metric].ceiling))
        if top is None:
            continue
        for contrast, each in _pairs(known, metric, detail, keys).items():
            each |= {MEAN: tuple(np.mean([part[i] for part in each.values()], axis=0) for i in range(3))} if len(each) > 1 else {}
            for model, (value, draws, floor) in each.items():
                toward = np.sign(value) == np.sign(top["value"] - floor)
                key = {"metric": metric, "detail": detail, "label": label, "contrast": contrast, "model": model, "toward": bool(toward)}
                found.append(key | _difference(float(value), draws))
    table = pd.DataFrame(found, columns=[c for c in CONTRAST_COLUMNS if c != "p_holm"]).assign(p_holm=np.nan)
    for _, part in table[table["model"] != MEAN].groupby("contrast"):
        table.loc[part.index, "p_holm"] = stats.holm(part["p"])
    return table[CONTRAST_COLUMNS]


def _pairs(known: dict, metric: str, detail: str, keys: Sequence[str]) -> dict[str, dict[str, tuple]]:
    """contrast -> model -> (difference, its draws, the floor's level), for the models that have all that it takes."""
    found = {contrast: {} for contrast in CONTRASTS}
    for key in keys:
        own = {side: known.get((metric, detail, system_of(key, side))) for side in ("untuned", "tuned")}
        floors = {side: _floor(known, each) for side, each in own.items() if each is not None}
        for side, floor in floors.items():
            if floor:
                found[f"{side} - floor"][key] = (own[side]["value"] - floor[0], own[side]["draws"] - floor[1], floor[0])
        if all(own.values()) and floors["tuned"]:
            draws = own["tuned"]["draws"] - own["untuned"]["draws"]
            found["tuned - untuned"][key] = (own["tuned"]["value"] - own["untuned"]["value"], draws, floors["tuned"][0])
    return {contrast: each for contrast, each in found.items() if each}
