"""Figures of answer distributions: alignment between baseline and upper bound, and gaps between groups. They return (figure, axes) and never save."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..systems import system_kind
from . import style as fs
from .style import COLUMN, GREY, INK, LOOKS, PAGE, style

GROUP_LOOKS = {  # variable -> how its groups are drawn
    name: fs.Look(name, colour, marker)
    for name, colour, marker in zip(("gender", "age", "education", "income", "region"), fs.MODEL_COLOURS, fs.MODEL_MARKERS, strict=False)
}


@style()
def plot_alignment(table: pd.DataFrame, *, note: str) -> tuple[Figure, Axes]:
    """Alignment by domain: a bar from the uniform answerer to the same respondents asked again; one dot a tuned model and a large mark at their mean.

    Args: table: columns system, name, value, lo, hi, uniform, ceiling, one row a system and domain (`distributions.by_domain`, one source and metric).

    Raises: ValueError for an unknown system or a missing column.
    """
    fs.need(table, ("system", "name", "value", "lo", "hi", "uniform", "ceiling"), "plot_alignment")
    table = table.assign(kind=table["system"].map(system_kind))
    names = {key: name for key, name in (fs.domain_labels() | {"all items": "All items"}).items() if key in set(table["name"])}
    fig, ax = plt.subplots(figsize=(PAGE, 1.0 + 0.24 * len(names)))
    fs.name_rows(ax, list(names.values()))
    above = []
    for y, domain in enumerate(names):
        part = table[table["name"] == domain]
        models, (low, high) = part[part["kind"] == "tuned"], part[["uniform", "ceiling"]].iloc[0]
        ax.barh(y, high - low, left=low, height=0.7, color="#e8e8e8", zorder=1)
        ax.plot([models["lo"].min(), models["hi"].max()], [y, y], color=LOOKS["tuned"].color, linewidth=0.8, alpha=0.5, zorder=2)
        fs.dots_and_mean(ax, models["value"], y, LOOKS["tuned"])
        for value, kind in ((low, "baseline"), (high, "retest"), *((v, "baseline") for v in part.loc[part["kind"] == "baseline", "value"])):
            upright = {"marker": "|", "markersize": 13, "markeredgewidth": 1.6} if value in (low, high) else {"markersize": 4}
            ax.plot(value, y, linestyle="none", zorder=2, **LOOKS[kind].points() | upright)
        above += [models["value"].mean() > low] * (domain != "all items")
    ax.set(xlabel="Alignment, 1 − normalised Wasserstein distance (1: the respondents' own distribution)")
    upright = {"linestyle": "none", "marker": "|", "markersize": 9, "markeredgewidth": 1.6}
    handles = [Line2D([], [], label=text, color=LOOKS[kind].color, **upright)
               for kind, text in (("baseline", "uniform answerer"), ("retest", "same respondents asked again"))]  # fmt: skip
    handles += [fs.look_handle(LOOKS["baseline"], "majority answer")] * int((table["kind"] == "baseline").any())
    handles += [fs.look_handle(LOOKS["tuned"], "tuned models: mean (dots: each; line: all their 95 % intervals)")]
    fs.legend_above(fig, ax, handles=handles, ncols=2)
    title = f"The mean of the tuned models lies above the uniform answerer in {sum(above)} of {len(above)} domains"
    return fs.finish(fig, note, title=title), ax


@style()
def plot_group_gaps(table: pd.DataFrame, slopes: pd.DataFrame, *, note: str, systems: Sequence[str], labels: Mapping[str, str]) -> tuple[Figure, np.ndarray]:
    """Gaps between a group and everybody else, the system's against the respondents': one panel a system, one point a group and construct.

    On the dotted diagonal a gap is as large as the respondents'; the solid line is the slope through zero, flat if groups are evened out.

    Args:
        table: `subgroups.subgroups` (system, variable, metric, true_value, system_value, note). slopes: `subgroups.gap_slopes` (system, metric, value).
        systems: one panel each, up to four. labels: system -> name.

    Returns: the figure and its axes. Raises: ValueError for an unknown system or if no group is large enough.
    """
    fs.need(table, ("system", "variable", "construct", "metric", "true_value", "system_value", "note"), "plot_group_gaps")
    rows = table[(table["metric"] == "gap_error") & (table["note"] == "") & table["system"].isin(systems)]
    fs.need(rows, ("system",), "plot_group_gaps")
    slope = slopes[slopes["metric"] == "gap_slope"].set_index("system")["value"]
    fig, grid = plt.subplots(1, len(systems), figsize=(PAGE, 2.65) if len(systems) > 1 else (COLUMN, 2.75), sharex=True, sharey=True, squeeze=False)
    limit = 1.08 * rows[["true_value", "system_value"]].abs().max().max()
    for ax, system in zip(grid.flat, systems, strict=True):
        ax.axline((0, 0), slope=1, color=GREY, linestyle=":", linewidth=0.9, zorder=1)
        ax.axline((0, 0), slope=slope[system], color=INK, linewidth=1.1, zorder=4)
        for variable, part in rows[rows["system"] == system].groupby("variable", sort=False):
            group = fs.look_up(GROUP_LOOKS, variable, "variable")
            ax.plot(part["true_value"], part["system_value"], linestyle="none", **group.points() | {"markersize": 2.6, "alpha": 0.65, "markeredgewidth": 0})
        words = f"{fs.wrap(fs.look_up(labels, system, 'system'), 20)}\nslope {slope[system]:.2f}"
        ax.text(0.97, 0.03, words, transform=ax.transAxes, ha="right", va="bottom", fontsize=6.5)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        ax.locator_params(nbins=5)
    grid[0, 0].set_ylabel("System's gap (0–1)")
    for ax in grid.flat:
        ax.set_xlabel("Respondents' gap (0–1)")
    handles = [fs.look_handle(look) for variable, look in GROUP_LOOKS.items() if variable in set(rows["variable"])]
    handles += [Line2D([], [], color=GREY, linestyle=":", label="as large as the respondents'"), Line2D([], [], color=INK, label="slope through zero")]
    fs.legend_above(fig, grid.flat[0], handles=handles, ncols=4)
    tuned = [s for s in systems if system_kind(s) == "tuned"]
    title = f"Gaps between groups are {slope[tuned[0]]:.2f} times the respondents' in the {labels[tuned[0]]}" if tuned else "Gaps between groups"
    return fs.finish(fig, note, title=title), grid.flat[:]
