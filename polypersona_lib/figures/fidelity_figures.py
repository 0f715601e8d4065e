"""Figures of persona fidelity: every measure of every model on one scale, and which attributes the answers give away. They never save."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..systems import system_kind
from . import style as fs
from .style import GREY, LIGHT, PAGE, style

_LANES = {"untuned": -0.17, "tuned": 0.17}

_EDGES, _KEPT = (-0.31, 1.22), (-0.2, 1.1)  # the axis, and where marks may be: clear of the numbers at both ends
_GAP = 0.75  # above a block's first row, for its heading


@style()
def plot_fidelity(rows: pd.DataFrame, *, note: str, groups: dict[str, list[str]] | None = None, means: pd.DataFrame | None = None) -> tuple[Figure, Axes]:
    """Floor, model, ceiling: one row a measure; the floor is at 0 and the ceiling at 1 whatever the measure.

    The large marks are the means over the models, untuned above and tuned below, with the share of the way to the ceiling in words; a dot is one model, a
    grey tick the same respondent asked again.

    Args:
        rows: from `fidelity.ladder`: metric, label, system, value, lo, hi (rescaled), floor, ceiling (in the measure's own unit), told, in the order drawn.
        groups: headings of blocks of rows: heading -> metrics. Default: no headings.
        means: from `contrasts.scaled_means`: the means with their intervals. Default: the mean of the dots, without an interval.
    Raises: ValueError for an unknown system or a missing column.
    """
    fs.need(rows, ("metric", "label", "system", "value", "lo", "hi", "floor", "ceiling", "told"), "plot_fidelity")
    dots = rows[rows["system"].map(lambda s: s != "truth" and system_kind(s) in _LANES) & np.isfinite(rows["value"].astype(float))]
    dots = dots.assign(kind=[system_kind(s) for s in dots["system"]])
    means = dots.groupby(["metric", "kind"], as_index=False)["value"].mean().assign(lo=np.nan, hi=np.nan) if means is None else means
    places = _places(list(dict.fromkeys(rows["metric"])), groups or {})
    fig, ax = plt.subplots(figsize=(PAGE, 1.25 + 0.37 * (max(places.values()) + 1)))
    ax.set_yticks(list(places.values()), [fs.wrap(rows.loc[rows["metric"] == m, "label"].iloc[0], 30) for m in places], linespacing=1.05)
    ax.set_ylim(max(places.values()) + 0.6, -0.6 if not groups else -0.1)
    ax.grid(False)
    for metric, y in places.items():
        _row(ax, y, rows[rows["metric"] == metric], dots[dots["metric"] == metric], means[means["metric"] == metric])
    for heading, metrics in (groups or {}).items():
        if found := [places[m] for m in metrics if m in places]:
            ax.annotate(heading, (0, min(found) - 0.72), xycoords=("axes fraction", "data"), xytext=(-4, 0), textcoords="offset points", fontsize=8,
                        fontweight="bold", ha="right", va="center", annotation_clip=False)  # fmt: skip
    _ends(ax, min(places.values()))
    if not pd.concat([dots["value"], means["value"]]).dropna().between(*_KEPT).all():
        ax.set_xlabel(f"{ax.get_xlabel()}\n(marks at the very edge lie beyond it)")
    fs.legend_above(fig, ax, handles=_legend(dots["system"].str.removesuffix("--base").nunique()), ncols=4)
    return fs.finish(fig, note), ax


def _places(metrics: list[str], groups: dict[str, list[str]]) -> dict[str, float]:
    """Where each measure's row is, with a gap above each block."""
    heads = {next((m for m in metrics if m in of), None) for of in groups.values()}
    return {m: i + _GAP * sum(h in metrics[: i + 1] for h in heads) for i, m in enumerate(metrics)}


def _row(ax: Axes, y: float, rows: pd.DataFrame, dots: pd.DataFrame, means: pd.DataFrame) -> None:
    """One measure: the way from floor to ceiling with what its ends are worth, the models, their means, the same respondent again."""
    ax.plot([0, 1], [y, y], color="#ececec", linewidth=15, solid_capstyle="butt", zorder=0.5)
    for x, side, column in ((-0.03, "right", "floor"), (1.13, "left", "ceiling")):
        ax.text(_EDGES[0] + 0.09 if side == "right" else x, y, f"{rows[column].median():.2f}".replace("-0.00", "0.00"), ha=side, va="center_baseline",
                fontsize=7, color=GREY)  # fmt: skip
    if not rows["told"].astype(bool).any():
        ax.text(0.5, y, "does not tell even its ceiling from its floor", ha="center", va="center", fontsize=7, style="italic", color=GREY)
    for kind, lane in _LANES.items():
        mine = dots.loc[dots["kind"] == kind, "value"]
        ax.plot(
            np.clip(mine, *_KEPT), np.full(len(mine), y + lane), linestyle="none", marker=".", markersize=3.2, color=fs.LOOKS[kind].color, alpha=0.55, zorder=2
        )
    for each in means[np.isfinite(means["value"])].itertuples():
        look, at = fs.LOOKS[each.kind], y + _LANES[each.kind]
        ax.plot(np.clip([each.lo, each.hi], *_KEPT), [at, at], color=look.color, linewidth=1.1, zorder=3)
        ax.plot(np.clip(each.value, *_KEPT), at, linestyle="none", markersize=6.2, markeredgewidth=1.2, zorder=4, **look.points())
        if each.kind == "tuned":
            apart = not each.lo <= 0 <= each.hi  # True without an interval
            inside = np.clip([v for v in (each.value, each.lo, each.hi, *dots.loc[dots["kind"] == "tuned", "value"]) if np.isfinite(v)], *_KEPT)
            full = inside.max() > _KEPT[1] - 0.12  # no room to the right: to the left of everything
            share = f"{100 * each.value:.0f} %".replace("-0 %", "0 %").replace("-", "\N{MINUS SIGN}")
            ax.text(inside.min() - 0.02 if full else max(inside.max(), 0) + 0.02, at, share, fontsize=7, fontweight="bold" if apart else "normal",
                    ha="right" if full else "left", color=look.color if apart else GREY, va="center_baseline", zorder=5)  # fmt: skip
    again = rows.loc[(rows["system"] == "resample") & np.isfinite(rows["value"].astype(float)), "value"]
    ax.plot(np.clip(again, *_KEPT), [y] * len(again), zorder=1.5, color=GREY, marker="|", markersize=11, markeredgewidth=1.4, linestyle="none")


def _legend(models: int) -> list[Line2D]:
    base, tuned = (fs.LOOKS[kind] for kind in _LANES)
    several = f", mean of {models} (dots: each)" if models > 1 else ""
    bare = {"linestyle": "none", "markersize": 6.2, "markeredgewidth": 1.2}
    return [Line2D([], [], label=f"untuned{several}", **bare, **base.points()), Line2D([], [], label=f"tuned{several}", **bare, **tuned.points()),
            Line2D([], [], label="same respondent again", color=GREY, marker="|", markersize=9, markeredgewidth=1.4, linestyle="none")]  # fmt: skip


def _ends(ax: Axes, first: float) -> None:
    """The two lines that everything is measured between."""
    for x, style_, colour in ((0, "--", fs.LOOKS["baseline"].color), (1, ":", fs.LOOKS["oracle"].color)):
        ax.axvline(x, linestyle=style_, linewidth=1.2, color=colour, zorder=1)
    for x, side, text in ((_EDGES[0] + 0.09, "right", "floor"), (1.13, "left", "ceiling")):
        ax.annotate(text, (x, first - 0.62), ha=side, va="center", fontsize=7, color=GREY, annotation_clip=False)
    ax.set(xlim=_EDGES, xlabel="Share of the way from the floor to the ceiling; lines: 95 % intervals of the means")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["nothing of\nthe person", "25 %", "50 %", "75 %", "the card read perfectly,\nor the person asked again"])


@style()
def plot_attributes(rows: pd.DataFrame, *, note: str, order: list[str], names: dict[str, str]) -> tuple[Figure, Axes]:
    """Which attributes a probe reads off the answers: AUC by attribute (rows) and system (columns), bold where it is above chance after correction.

    Args: rows: columns detail (attribute), system, value (AUC), p_holm. order: systems from left to right; names: their labels.
    """
    fs.need(rows, ("detail", "system", "value", "p_holm"), "plot_attributes")
    wide, p = (rows.pivot(index="detail", columns="system", values=c).reindex(columns=order) for c in ("value", "p_holm"))
    wide, p = (t.reindex(sorted(wide.index, key=lambda d: (d == "all", d))) for t in (wide, p))
    fig, ax = plt.subplots(figsize=(PAGE, 1.5 + 0.24 * len(wide)))
    ax.pcolormesh(wide.to_numpy(), cmap="PuOr_r", vmin=0, vmax=1, edgecolors="white", linewidth=0.6, alpha=0.75)
    for i, j in np.ndindex(*wide.shape):
        if np.isfinite(wide.iloc[i, j]):
            weight = "bold" if p.iloc[i, j] < 0.05 else "normal"
            ax.text(j + 0.5, i + 0.5, f"{wide.iloc[i, j]:.2f}".lstrip("0"), ha="center", va="center", fontsize=6.5, fontweight=weight)
    ax.set_yticks(np.arange(len(wide)) + 0.5, wide.index)
    ax.set_xticks(np.arange(len(order)) + 0.5, [fs.wrap(names.get(s, s), 14) for s in order], rotation=90, fontsize=6.5)
    ax.set_ylim(len(wide), 0)
    ax.grid(False)
    ax.axhline(len(wide) - 1, color=LIGHT, linewidth=1.2)
    ax.spines[["left", "bottom"]].set_visible(False)
    return fs.finish(fig, note), ax
