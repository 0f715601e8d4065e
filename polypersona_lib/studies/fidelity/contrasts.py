"""What did tuning do? Tuned models against their bases and both against the floor, on the same resampled people, with a correction for asking so often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from ... import stats
from .measures import LADDER, MEASURES

CONTRASTS = ("untuned - floor", "tuned - floor", "tuned - untuned")
COLUMNS = ["metric", "detail", "label", "contrast", "model", "value", "lo", "hi", "toward", "p", "p_holm"]
MEAN = "mean"  # the model of the rows that average over the models
_SIDES = {"untuned": "--base", "tuned": ""}


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


def compare(lines: Sequence[dict], keys: Sequence[str]) -> pd.DataFrame:
    """Every contrast of every measure of the ladder, model by model and averaged over the models.

    Args: lines: from `measures.line`, those with `draws` of resampled people. keys: the models.
    Returns: `COLUMNS`; value, lo, hi in the measure's unit; toward: whether the difference points to the ceiling; p_holm: Holm's correction over all models
        and measures of a contrast (the averages stand apart and are not corrected). Measures without floor or ceiling are left out.
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
    table = pd.DataFrame(found, columns=[c for c in COLUMNS if c != "p_holm"]).assign(p_holm=np.nan)
    for _, part in table[table["model"] != MEAN].groupby("contrast"):
        table.loc[part.index, "p_holm"] = stats.holm(part["p"])
    return table[COLUMNS]


def _pairs(known: dict, metric: str, detail: str, keys: Sequence[str]) -> dict[str, dict[str, tuple]]:
    """contrast -> model -> (difference, its draws, the floor's level), for the models that have all that it takes."""
    found = {contrast: {} for contrast in CONTRASTS}
    for key in keys:
        own = {side: known.get((metric, detail, f"{key}{end}")) for side, end in _SIDES.items()}
        floors = {side: _floor(known, each) for side, each in own.items() if each is not None}
        for side, floor in floors.items():
            if floor:
                found[f"{side} - floor"][key] = (own[side]["value"] - floor[0], own[side]["draws"] - floor[1], floor[0])
        if all(own.values()) and floors["tuned"]:
            draws = own["tuned"]["draws"] - own["untuned"]["draws"]
            found["tuned - untuned"][key] = (own["tuned"]["value"] - own["untuned"]["value"], draws, floors["tuned"][0])
    return {contrast: each for contrast, each in found.items() if each}


def summary(compared: pd.DataFrame, table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """One row a measure, as readers want it: floor, the models' means, ceiling; how many models are clearly above the floor; what tuning changed clearly.

    Args: compared: from `compare`. table: all measures. "Clearly": p below .05 after Holm's correction.
    """
    rows = []
    for metric, detail, label in LADDER:
        part = table[(table["metric"] == metric) & (table["detail"] == detail)]
        mine = compared[(compared["metric"] == metric) & (compared["detail"] == detail)]
        if mine.empty:
            continue
        each = mine[mine["model"] != MEAN]
        clear = each[each["p_holm"] < 0.05]
        above, hurt = clear[clear["toward"]], clear[~clear["toward"]]
        asked = each["contrast"].value_counts()
        means = {side: part[part["system"].isin([f"{k}{end}" for k in keys])] for side, end in _SIDES.items()}
        row = {"": label, "floor": means["tuned"]["floor"].mean(), **{side: found["value"].mean() for side, found in means.items()}}
        row |= {"ceiling": part["ceiling"].iloc[0]}
        counted = {"untuned clear of the floor": (above, 0), "tuned clear of the floor": (above, 1), "tuning helped": (above, 2), "tuning hurt": (hurt, 2)}
        row |= {name: f"{(found['contrast'] == CONTRASTS[i]).sum()} of {asked.get(CONTRASTS[i], 0)}" for name, (found, i) in counted.items()}
        rows.append(row | {"n": f"{int(means['tuned']['n'].max()):,} {MEASURES[metric].unit}"})
    return pd.DataFrame(rows).set_index("").round(3) if rows else pd.DataFrame()


def in_words(compared: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> str:
    """What tuning did, a sentence for each block of measures: in how many comparisons it clearly helped or hurt (Holm, 5 %)."""
    change, lines = compared[(compared["contrast"] == CONTRASTS[2]) & (compared["model"] != MEAN)], []
    for heading, metrics in groups.items():
        mine = change[change["metric"].isin(metrics)]
        clear = mine[mine["p_holm"] < 0.05]
        asked = f"{len(mine)} comparisons ({mine['metric'].nunique()} measures x {mine['model'].nunique()} models)"
        lines += [f"{heading}: of {asked} tuning clearly helped in {clear['toward'].sum()} and hurt in {(~clear['toward']).sum()}"] if len(mine) else []
    return "\n".join(lines)


def scaled_means(compared: pd.DataFrame, ladder: pd.DataFrame) -> pd.DataFrame:
    """The models' mean on the ladder's scale, with its interval: metric, kind ("untuned", "tuned"), value, lo, hi. With one model: that model."""
    rows = []
    for side, kind in (("untuned", "untuned"), ("tuned", "tuned")):
        part = compared[compared["contrast"] == f"{side} - floor"]
        part = part[part["model"] == MEAN] if (part["model"] == MEAN).any() else part
        for each in part.itertuples():
            mine = ladder[(ladder["metric"] == each.metric) & ladder["told"].astype(bool)]
            if len(mine):
                shown = mine[mine["system"].str.endswith("--base") == (kind == "untuned")]
                width = (shown["ceiling"] - shown["floor"]).mean()
                rows.append({"metric": each.metric, "kind": kind, "value": each.value / width, "lo": min(each.lo / width, each.hi / width),
                             "hi": max(each.lo / width, each.hi / width)})  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "kind", "value", "lo", "hi"])
