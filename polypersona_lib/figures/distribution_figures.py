"""Figures of answer distributions: alignment between its floor and its ceiling, and gaps between groups. They return (figure, axes) and never save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..systems import system_kind, system_order
from . import style as fs
from .style import COLUMN, GREY, LIGHT, PAGE, style

GROUP_LOOKS = {  # variable -> how its groups are drawn
    "gender": fs.Look("gender", "#0072B2", "o"),
    "age": fs.Look("age", "#D55E00", "s"),
    "education": fs.Look("education", "#009E73", "D"),
    "income": fs.Look("income", "#8C6D00", "^"),
    "region": fs.Look("region", "#6A3D9A", "X"),
}


@style()
def plot_alignment(table: pd.DataFrame, *, note: str, labels: Mapping[str, str] | None = None, domains: Mapping[str, str] | None = None) -> tuple[Figure, Axes]:
    """Alignment of each domain: a bar from the uniform answerer to the same respondents asked again, and every model with its 95 % interval.

    Args:
        table: columns system, name, value, lo, hi, uniform, ceiling, one row a system and domain (`distributions.by_domain`, one source and metric).
        labels: system -> name, default the registry's. domains: domain -> name, in order from the top; default the paper's ten and "all items".

    Returns: the figure and its axes. Raises: ValueError for an unknown system or a missing column.
    """
    fs.need(table, ("system", "name", "value", "lo", "hi", "uniform", "ceiling"), "plot_alignment")
    named = dict(domains) if domains is not None else fs.domain_labels() | {"all items": "All items"}
    order = [d for d in named if d in set(table["name"])]
    systems = sorted(table["system"].unique(), key=system_order)
    shift = dict(zip(systems, np.linspace(-0.3, 0.3, len(systems)) if len(systems) > 1 else [0.0], strict=True))
    fig, ax = plt.subplots(figsize=(PAGE, 1.1 + (0.2 + 0.035 * len(systems)) * len(order)))
    fs.name_rows(ax, [named[d] for d in order])
    bounds = table.drop_duplicates("name").set_index("name")
    floor, ceiling = fs.LOOKS["baseline"], fs.LOOKS["retest"]
    for y, domain in enumerate(order):
        low, high = bounds.loc[domain, ["uniform", "ceiling"]]
        if pd.notna(high):
            ax.barh(y, high - low, left=low, height=0.78, color="#efefef", edgecolor=LIGHT, linewidth=0.5, zorder=1)
        for x, look in ((low, floor), (high, ceiling)):
            ax.plot([x, x], [y - 0.39, y + 0.39], color=look.color, linewidth=1.6, linestyle="-" if look is floor else ":", zorder=2)
    for row in table[table["name"].isin(order)].itertuples():
        look, y = fs.model_look(row.system), order.index(row.name) + shift[row.system]
        spread = None if pd.isna(row.lo) else [[max(row.value - row.lo, 0)], [max(row.hi - row.value, 0)]]
        ax.errorbar(row.value, y, xerr=spread, capsize=0, elinewidth=0.7, linestyle="none", zorder=3, **look.points() | {"markersize": 3.6})
    ax.set(xlabel="Alignment, 1 − normalised Wasserstein distance (95 % interval; 1 is the respondents' own distribution)")
    handles = [Line2D([], [], color=floor.color, linewidth=1.6, label="uniform answerer"), Line2D([], [], color=ceiling.color, linewidth=1.6, linestyle=":")]
    handles[1].set_label("same respondents asked again")
    for system in systems:
        look = fs.model_look(system)
        name = (labels or {}).get(system, look.label + (", untuned" if system_kind(system) == "untuned" else ""))
        handles.append(Line2D([], [], linestyle="none", label=name, **look.points()))
    fs.legend_above(fig, ax, handles=handles, ncols=3)
    return fs.finish(fig, note), ax


@style()
def plot_group_gaps(
    table: pd.DataFrame, slopes: pd.DataFrame, *, note: str, systems: Sequence[str], labels: Mapping[str, str] | None = None
) -> tuple[Figure, np.ndarray]:
    """Gaps between a group and everybody else, the system's against the respondents': one panel a system, one point a group and construct.

    On the dotted diagonal a gap is as large as the respondents'; the solid line is the slope through zero, flat if groups are evened out.

    Args:
        table: `subgroups.subgroups` (system, variable, metric, true_value, system_value, note). slopes: `subgroups.gap_slopes` (system, metric, value).
        systems: one panel each, up to four.

    Returns: the figure and its axes. Raises: ValueError for an unknown system or if no group is large enough.
    """
    fs.need(table, ("system", "variable", "construct", "metric", "true_value", "system_value", "note"), "plot_group_gaps")
    rows = table[(table["metric"] == "gap_error") & (table["note"] == "") & table["system"].isin(systems)]
    fs.need(rows, ("system",), "plot_group_gaps")
    slope = slopes[slopes["metric"] == "gap_slope"].set_index("system")["value"]
    fig, grid = plt.subplots(1, len(systems), figsize=(PAGE if len(systems) > 1 else COLUMN, 2.75), sharex=True, sharey=True, squeeze=False)
    limit = 1.08 * rows[["true_value", "system_value"]].abs().max().max()
    for ax, system in zip(grid.flat, systems, strict=True):
        look = fs.model_look(system)
        ax.axline((0, 0), slope=1, color=GREY, linestyle=":", linewidth=0.9, zorder=1)
        ax.axline((0, 0), slope=slope[system], color=fs.INK, linewidth=1.1, zorder=4)
        for variable, part in rows[rows["system"] == system].groupby("variable", sort=False):
            group = fs.pick(GROUP_LOOKS, variable, "variable")
            ax.plot(part["true_value"], part["system_value"], linestyle="none", **group.points() | {"markersize": 2.6, "alpha": 0.65, "markeredgewidth": 0})
        name = (labels or {}).get(system, look.label + (", untuned" if system_kind(system) == "untuned" else ""))
        ax.text(0.97, 0.03, f"{fill(name, 18)}\nslope {slope[system]:.2f}", transform=ax.transAxes, ha="right", va="bottom", fontsize=6.5)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        ax.locator_params(nbins=5)
    grid[0, 0].set_ylabel("System's gap (0–1)")
    for ax in grid.flat:
        ax.set_xlabel("Respondents' gap (0–1)")
    handles = [Line2D([], [], linestyle="none", label=look.label, **look.points()) for v, look in GROUP_LOOKS.items() if v in set(rows["variable"])]
    handles += [Line2D([], [], color=GREY, linestyle=":", label="as large as the respondents'"), Line2D([], [], color=fs.INK, label="slope through zero")]
    fs.legend_above(fig, grid.flat[0], handles=handles, ncols=4)
    return fs.finish(fig, note), grid.flat[:]
