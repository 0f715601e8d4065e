"""Figures of persona fidelity: every measure of every model on one scale, and which attributes the answers give away. They never save."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import figure_style as fs
from .figure_style import GREY, INK, LIGHT, PAGE, style

_LANES = {"base": -0.19, "tuned": 0.19}
_SPREAD = 0.2  # of the models within a lane, so that equal values do not hide each other
_EDGES, _KEPT = (-0.35, 1.25), (-0.25, 1.17)  # the axis, and where marks may be: clear of the numbers at both ends


@style()
def plot_fidelity(rows: pd.DataFrame, *, note: str, groups: dict[str, list[str]] | None = None) -> tuple[Figure, Axes]:
    """Floor, model, ceiling: one row a measure, every model a mark; the floor is at 0 and the ceiling at 1 whatever the measure.

    Untuned models are hollow and in the upper lane of a row, tuned ones filled and in the lower. A grey tick is the same respondent asked again.

    Args:
        rows: from `fidelity.ladder`: metric, label, system, value, lo, hi (rescaled), floor, ceiling (in the measure's own unit), told, in the order drawn.
        groups: headings of blocks of rows: heading -> metrics. Default: no headings.
    Raises: ValueError for an unknown system or a missing column.
    """
    fs.need(rows, ("metric", "label", "system", "value", "lo", "hi", "floor", "ceiling", "told"), "plot_fidelity")
    shown = rows[rows["system"].map(lambda s: s != "truth" and fs.system_kind(s) in ("base", "tuned"))]
    order = list(dict.fromkeys(rows["metric"]))
    systems = sorted(shown["system"].unique(), key=fs.system_order)
    keys = list(dict.fromkeys(s.removesuffix("--base") for s in systems))
    place = dict(zip(keys, np.linspace(-_SPREAD, _SPREAD, len(keys)) / 2 if len(keys) > 1 else [0.0], strict=True))
    fig, ax = plt.subplots(figsize=(PAGE, 1.35 + 0.4 * len(order)))
    fs.name_rows(ax, [fs.wrap(rows.loc[rows["metric"] == m, "label"].iloc[0], 26) for m in order])
    for y in range(0, len(order), 2):
        ax.axhspan(y - 0.5, y + 0.5, color="#f6f6f6", zorder=0)
    for row in shown[np.isfinite(shown["value"])].itertuples():
        look = fs.model_look(row.system)
        y = order.index(row.metric) + _LANES[fs.system_kind(row.system)] + place[row.system.removesuffix("--base")]
        lo, hi = np.clip([row.lo, row.hi], *_KEPT)
        ax.plot([lo, hi], [y, y], color=look.color, linewidth=0.5, alpha=0.55, zorder=2)
        ax.plot(np.clip(row.value, *_KEPT), y, linestyle="none", markersize=4.2, markeredgewidth=0.8, zorder=3, **look.points())
    for metric in rows.loc[~rows["told"].astype(bool), "metric"].unique():
        ax.text(0.5, order.index(metric), "does not tell even its ceiling from its floor", ha="center", va="center", fontsize=7, style="italic", color=GREY)
    again = rows[(rows["system"] == "resample") & np.isfinite(rows["value"])]
    ticks = {"color": GREY, "marker": "|", "markersize": 15, "markeredgewidth": 1.3, "linestyle": "none"}
    ax.plot(np.clip(again["value"], *_KEPT), [order.index(m) for m in again["metric"]], zorder=1.5, **ticks)
    _ends(ax, rows, order)
    if not shown["value"].dropna().between(*_KEPT).all():
        ax.set_xlabel(f"{ax.get_xlabel()}\n(marks at the very edge lie beyond it)")
    handles = [Line2D([], [], linestyle="none", label=fs.model_look(k).label, **fs.model_look(k).points()) for k in keys]
    handles += [Line2D([], [], linestyle="none", marker="o", color=INK, markerfacecolor=face, label=label) for face, label in (("white", "hollow: untuned"),
                (INK, "filled: tuned"))] + [Line2D([], [], **(ticks | {"markersize": 9}), label="same respondent again")]  # fmt: skip
    for heading, metrics in (groups or {}).items():
        found = [order.index(m) for m in metrics if m in order]
        if found and min(found):
            ax.axhline(min(found) - 0.5, color=GREY, linewidth=0.7)
        if found:
            ax.annotate(heading, (1, (min(found) + max(found)) / 2), xycoords=("axes fraction", "data"), xytext=(5, 0), textcoords="offset points", fontsize=7,
                        rotation=270, va="center", color=GREY, annotation_clip=False)  # fmt: skip
    fs.legend_above(fig, ax, handles=handles, ncols=4)
    return fs.finish(fig, note), ax


def _ends(ax: Axes, rows: pd.DataFrame, order: list[str]) -> None:
    """The two lines that everything is measured between, and what they are worth in each measure's own unit."""
    for x, style_, colour in ((0, "--", fs.KINDS["floor"].color), (1, ":", fs.KINDS["ceiling"].color)):
        ax.axvline(x, linestyle=style_, linewidth=1.2, color=colour, zorder=1)
    for y, metric in enumerate(order):
        part = rows[rows["metric"] == metric]
        for x, side, value in ((_EDGES[0] + 0.01, "left", part["floor"].median()), (_EDGES[1] - 0.01, "right", part["ceiling"].median())):
            ax.annotate(f"{value:.2f}".replace("-0.00", "0.00"), (x, y), ha=side, va="center_baseline", fontsize=6.5, color=GREY)
    for x, side, text in ((_EDGES[0] + 0.01, "left", "floor"), (_EDGES[1] - 0.01, "right", "ceiling")):
        ax.annotate(text, (x, -0.52), ha=side, va="bottom", fontsize=6.5, color=GREY, annotation_clip=False)
    ax.set(xlim=_EDGES, xlabel="Share of the way from the floor (0) to the ceiling (1), 95 % intervals")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0\nnothing of\nthe person", "0.25", "0.5", "0.75", "1\nthe card read perfectly,\nor the person asked again"])


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
