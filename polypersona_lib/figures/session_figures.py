"""Figures of the repeated questionnaire: how often an answer stays the same, and what each card is worth. They return (figure, axes) and never save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import style as fs
from .style import GREY, PAGE, style

_LEVELS = ("--", ":", "-.")


@style()
def plot_consistency(agreement: pd.DataFrame, *, note: str, labels: Mapping[str, str], metrics: Mapping[str, str], reference: str) -> tuple[Figure, np.ndarray]:
    """Each model's agreement with its own first answer under each condition, one panel a metric; the simulated people's own as a dashed line.

    Args:
        agreement: columns system, condition, metric, value, lo, hi. labels: condition -> name, in the order drawn. metrics: metric -> name of the axis.
        reference: the system whose values are drawn as lines.
    """
    fs.need(agreement, ("system", "condition", "metric", "value", "lo", "hi"), "plot_consistency")
    systems = [s for s in dict.fromkeys(agreement["system"]) if s != reference]
    fig, axes = plt.subplots(1, len(metrics), figsize=(PAGE, 1.1 + 0.36 * len(labels)), sharey=True, squeeze=False)
    for ax, (metric, name) in zip(axes[0], metrics.items(), strict=True):
        fs.name_rows(ax, [fs.wrap(label, 24) for label in labels.values()])
        found = agreement[agreement["metric"] == metric].set_index(["system", "condition"])
        for level in found.loc[[reference], "value"] if reference in found.index.get_level_values(0) else ():
            ax.axvline(level, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
        _dodged(ax, found, systems, list(labels))
        ax.set_xlabel(f"{name} (95 % interval)")
        ax.locator_params(axis="x", nbins=5, prune="both")  # a label at the very edge would run into that of the next panel
    handles = _handles(systems) + [Line2D([], [], color=GREY, linestyle="--", label="simulated people, asked again")]
    fs.legend_above(fig, axes[0, 0], handles=handles, ncols=3)
    return fs.finish(fig, note), axes[0]


@style()
def plot_card_worth(worth: pd.DataFrame, *, note: str, labels: Mapping[str, str], levels: Mapping[str, str], xlabel: str) -> tuple[Figure, Axes]:
    """What each system makes of each card: one row a condition, tuned models filled, untuned bases hollow, floors and ceilings as lines.

    Args:
        worth: columns system, condition ("" for references), value, lo, hi of one metric. labels: condition -> name, in the order drawn.
        levels: reference system -> name; its value is a line.
    """
    fs.need(worth, ("system", "condition", "value", "lo", "hi"), "plot_card_worth")
    found, systems = worth.set_index(["system", "condition"]), list(dict.fromkeys(worth.loc[worth["condition"] != "", "system"]))
    fig, ax = plt.subplots(figsize=(PAGE, 1.3 + 0.52 * len(labels)))
    fs.name_rows(ax, [fs.wrap(label, 24) for label in labels.values()])
    lines = []
    for number, (system, name) in enumerate(levels.items()):
        look = {"color": GREY, "linestyle": _LEVELS[number % len(_LEVELS)], "linewidth": 0.9}
        ax.axvline(found.loc[(system, ""), "value"], zorder=1, **look)
        lines.append(Line2D([], [], label=name, **look))
    _dodged(ax, found, sorted(systems, key=lambda s: s.endswith("--base")), list(labels))
    ax.set_xlabel(f"{xlabel} (95 % interval)")
    hollow = [Line2D([], [], linestyle="none", marker="o", markerfacecolor="white", color=GREY, label="hollow: untuned base")]
    fs.legend_above(fig, ax, handles=_handles([s for s in systems if not s.endswith("--base")]) + hollow + lines, ncols=4)
    return fs.finish(fig, note), ax


def _dodged(ax: Axes, found: pd.DataFrame, systems: Sequence[str], conditions: Sequence[str]) -> None:
    """One point with its interval a system, side by side within the row of each condition."""
    step = 0.72 / max(1, len(systems) - 1)
    for row in range(0, len(conditions), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", zorder=0)
    for number, system in enumerate(systems):
        look = fs.model_look(system).points()
        for row, name in enumerate(conditions):
            if (system, name) in found.index and np.isfinite(found.loc[(system, name), "value"]):
                value, low, high = found.loc[(system, name), ["value", "lo", "hi"]].astype(float)
                place = row - 0.36 + number * step if len(systems) > 1 else row
                spread = [[max(value - low, 0)], [max(high - value, 0)]]
                ax.errorbar(value, place, xerr=spread, markersize=3.4, elinewidth=0.7, linestyle="none", zorder=3, **look)


def _handles(systems: Sequence[str]) -> list[Line2D]:
    return [Line2D([], [], linestyle="none", label=fs.model_look(system).label, **fs.model_look(system).points()) for system in systems]
