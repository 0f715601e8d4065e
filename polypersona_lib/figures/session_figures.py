"""Figures of the repeated questionnaire: how often an answer stays the same, and what each card is worth. They return (figure, axes) and never save."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..systems import system_kind
from . import style as fs
from .style import GREY, LANES, LOOKS, PAGE, style

_LINESTYLES = ("--", ":", "-.")


@style()
def plot_consistency(agreement: pd.DataFrame, *, note: str, labels: Mapping[str, str], metrics: Mapping[str, str], reference: str) -> tuple[Figure, np.ndarray]:
    """Agreement of the models with their own first answer under each condition, one panel a metric; the simulated people's own, dashed, in row 1.

    Args:
        agreement: columns system, condition, metric, value. labels: condition -> name, in the order drawn. metrics: metric -> name of the axis.
        reference: the system whose values are drawn as lines; they were asked again as the first condition asks.
    """
    fs.need(agreement, ("system", "condition", "metric", "value"), "plot_consistency")
    models = agreement[agreement["system"] != reference]
    levels = agreement[agreement["system"] == reference]
    fig, axes = plt.subplots(1, len(metrics), figsize=(PAGE, 0.8 + 0.25 * len(labels)), sharey=True, squeeze=False)
    for ax, (metric, name) in zip(axes[0], metrics.items(), strict=True):
        _named_rows(ax, labels)
        for level in levels.loc[levels["metric"] == metric, "value"]:
            ax.plot([level, level], [-0.45, 0.45], color=GREY, linestyle="--", linewidth=1.2, zorder=3)
        _models(ax, models[models["metric"] == metric], list(labels), lanes={})
        ax.set_xlabel(name)
        ax.locator_params(axis="x", nbins=5, prune="both")  # a label at the very edge would run into that of the next panel
    people = Line2D([], [], color=GREY, linestyle="--", label="simulated people, asked again")
    fs.legend_above(fig, axes[0, 0], handles=[*_handles(models), people])
    metric, first = next(iter(metrics)), next(iter(labels))
    mean = models.loc[(models["metric"] == metric) & (models["condition"] == first), "value"].mean()
    level = levels.loc[levels["metric"] == metric, "value"].mean()
    title = f"{metrics[metric]} when {labels[first]}: models {mean:.2f} on average, simulated people {level:.2f}"
    return fs.finish(fig, note, title=title if np.isfinite([mean, level]).all() else "How often an answer stays the same"), axes[0]


@style()
def plot_card_worth(worth: pd.DataFrame, *, note: str, labels: Mapping[str, str], xlabel: str) -> tuple[Figure, Axes]:
    """What the models make of each card: one row a condition, one dot a model and a large mark at the mean; references as lines.

    Args:
        worth: columns system, condition ("" for a reference, whose system is its name), value of one metric. labels: condition -> name, in the order drawn.
    """
    fs.need(worth, ("system", "condition", "value"), "plot_card_worth")
    models, references = worth[worth["condition"] != ""], worth[worth["condition"] == ""]
    fig, ax = plt.subplots(figsize=(PAGE, 0.9 + 0.3 * len(labels)))
    _named_rows(ax, labels)
    lines = []
    for number, row in enumerate(references.itertuples()):
        look = {"color": LOOKS["oracle"].color, "linestyle": _LINESTYLES[number % len(_LINESTYLES)], "linewidth": 1.1}
        ax.axvline(row.value, zorder=1, **look)
        lines.append(Line2D([], [], label=row.system, **look))
    _models(ax, models, list(labels), lanes=LANES)
    ax.set_xlabel(xlabel)
    fs.legend_above(fig, ax, handles=_handles(models) + lines)
    tuned = models[models["system"].map(system_kind) == "tuned"].groupby("condition")["value"].mean().reindex(list(labels)).dropna()
    title = "What each card is worth"
    if len(tuned):
        best, worst = (f"“{labels[c]}” ({tuned[c]:.2f})" for c in (tuned.idxmax(), tuned.idxmin()))
        title = f"Tuned models do best with {best}, worst with {worst}"
    return fs.finish(fig, note, title=title), ax


def _named_rows(ax: Axes, labels: Mapping[str, str]) -> None:
    fs.name_rows(ax, [fs.wrap(label, 24) for label in labels.values()])
    for row in range(0, len(labels), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)


def _models(ax: Axes, rows: pd.DataFrame, conditions: list[str], *, lanes: Mapping[str, float]) -> None:
    """Dots and means by condition and kind of model; `lanes`: kind -> distance from the middle of its row."""
    for (condition, kind), part in rows.groupby(["condition", rows["system"].map(system_kind)]):
        if condition in conditions:
            fs.dots_and_mean(ax, part["value"], conditions.index(condition) + lanes.get(kind, 0), LOOKS[kind])


def _handles(models: pd.DataFrame) -> list[Line2D]:
    kinds = set(models["system"].map(system_kind))
    return [fs.look_handle(look, f"{look.label}s: mean (dots: each)") for kind, look in LOOKS.items() if kind in kinds]
