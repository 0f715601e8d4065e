"""Figures of the scores: the paper's Fig. 4, the ladder from floor to ceiling, training, calibration. They return (figure, axes) and never save."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..systems import system_kind, system_order
from . import style as fs
from .style import COLUMN, GREY, INK, PAGE, style

_LADDER_LINES = {
    "persona_blind": {"color": fs.LOOKS["baseline"].color, "linestyle": "--", "linewidth": 0.9},
    "oracle_latent": {"color": fs.LOOKS["oracle"].color, "linestyle": ":", "linewidth": 1.1},
}


@style()
def plot_bleu(scores: pd.DataFrame, *, note: str, xlabel: str = "BLEU", line: str = "persona_blind") -> tuple[Figure, Axes]:
    """Fig. 4: BLEU of each model with its 95 % interval, the paper's value beside it, the controls below.

    Args:
        scores: columns system, label, value, lo, hi, paper (NaN where the paper or the run has none); one row a system.
        line: the control whose value runs as a dashed line through the models.

    Raises: ValueError for an unknown system or a missing column. Source: paper, Fig. 4 and Table II.
    """
    fs.need(scores, ("system", "label", "value", "lo", "hi", "paper"), "plot_bleu")
    kinds = scores["system"].map(system_kind)
    model = kinds.isin(["untuned", "tuned"])
    scores = pd.concat([scores[model], scores[~model].sort_values("system", key=lambda s: s.map(system_order), kind="stable")])
    level = {"color": fs.LOOKS[system_kind(line)].color, "linestyle": "--", "linewidth": 0.9}
    across = scores[(scores["system"] == line) & scores["value"].notna()]
    handles = [_kind_handle(kind) for kind in fs.LOOKS if kind in set(kinds)] + ([fs.paper_handle("paper, tuned")] if scores["paper"].notna().any() else [])
    handles += [Line2D([], [], **level, label=f"{row.label}: level") for row in across.itertuples()]
    fig, ax = plt.subplots(figsize=(COLUMN, 0.68 + 0.15 * -(-len(handles) // 2) + 0.25 * len(scores)))
    fs.name_rows(ax, [fs.wrap(label, 24) for label in scores["label"]])
    if model.any() and not model.all():
        ax.axhspan(model.sum() - 0.5, len(scores), color="#f4f4f4", zorder=0)
    for y, row in enumerate(scores.itertuples()):
        _interval(ax, row, y, fs.LOOKS[system_kind(row.system)])
    for row in across.itertuples():
        ax.axvline(row.value, zorder=1, **level)
    fs.paper_ticks(ax, dict(enumerate(scores["paper"])), range(len(scores)))
    top = scores[["value", "hi", "paper"]].astype(float).max().max()
    ax.set(xlim=(0, 1.06 * top if top > 0 else 1), xlabel=f"{xlabel} (mean, 95 % interval)")
    fs.legend_above(fig, ax, handles=handles, ncols=2)
    return fs.finish(fig, note), ax


def _kind_handle(kind: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=fs.LOOKS[kind].label, **fs.LOOKS[kind].points())


def _interval(ax: Axes, row, y: float, look, **options) -> None:
    """One value with its 95 % interval; without an interval (NaN) the point alone, without a value the word 'no value'."""
    if pd.isna(row.value):
        ax.annotate("no value", (0.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=6.5, color=GREY, style="italic")
        return
    spread = None if pd.isna(row.lo) or pd.isna(row.hi) else [[max(row.value - row.lo, 0)], [max(row.hi - row.value, 0)]]
    ax.errorbar(row.value, y, xerr=spread, capsize=1.8, capthick=0.8, elinewidth=0.9, linestyle="none", zorder=3, **look.points(), **options)


@style()
def plot_ladder(systems: pd.DataFrame, *, note: str, metrics: Mapping[str, str] | None = None) -> tuple[Figure, np.ndarray]:
    """Floor, model, ceiling: one panel a metric, one row a system in a fixed order, with 95 % intervals.

    A model is worth something to the right of the dashed line (persona-blind copy); the dotted one (oracle that knows the attitude) is out of its reach.

    Args:
        systems: columns system, label, metric, value, lo, hi (NaN: drawn as "no value"). metrics: metric id -> panel name, in order; default: all, by id.

    Returns: the figure and its axes, one a metric. Raises: ValueError for an unknown system, or a metric that has no row.
    """
    fs.need(systems, ("system", "label", "metric", "value", "lo", "hi"), "plot_ladder")
    found = {m: m for m in systems["metric"].unique()}
    if systems.duplicated(["system", "metric"]).any():
        raise ValueError("plot_ladder: more than one row for the same system and metric")
    panels = dict(metrics) if metrics else found
    for metric in panels:
        fs.pick(found, metric, "metric")
    order = sorted(systems["system"].unique(), key=system_order)
    names = systems.drop_duplicates("system").set_index("system")["label"]
    nrows = -(-len(panels) // 4)
    ncols = -(-len(panels) // nrows)
    size = (COLUMN if ncols == 1 else PAGE, nrows * (0.45 + (0.25 if ncols == 1 else 0.2) * len(order)) + (0.85 if ncols == 1 else 0.5))
    fig, grid = plt.subplots(nrows, ncols, figsize=size, sharey=True, squeeze=False)
    for ax, (metric, title) in zip(grid.flat, panels.items(), strict=False):
        _ladder_panel(ax, systems[systems["metric"] == metric].set_index("system"), order, title)
        fs.name_rows(ax, [fs.wrap(names[s], 24 if ncols == 1 else 40) for s in order])
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    kinds = dict.fromkeys(map(system_kind, order))
    lines = [Line2D([], [], **_LADDER_LINES[s], label=f"{names[s]}: level") for s in order if s in _LADDER_LINES]
    fs.legend_above(fig, grid.flat[0], handles=[_kind_handle(kind) for kind in kinds] + lines, ncols=4 if ncols > 1 else 2)
    return fs.finish(fig, note), grid.flat[: len(panels)]


def _ladder_panel(ax: Axes, rows: pd.DataFrame, order: list[str], title: str) -> None:
    """One metric: a band behind the models, a dashed line at the persona-blind copy, a dotted one at the oracle, and the points."""
    place = {system: y for y, system in enumerate(order)}
    models = [y for system, y in place.items() if system_kind(system) in ("untuned", "tuned")]
    if models:
        ax.axhspan(min(models) - 0.5, max(models) + 0.5, color="#eaf2f8", zorder=0)
    for system, line in _LADDER_LINES.items():
        if system in rows.index and pd.notna(rows.loc[system, "value"]):
            ax.axvline(rows.loc[system, "value"], zorder=1, **line)
    for system, row in rows.iterrows():
        _interval(ax, row, place[system], fs.LOOKS[system_kind(system)])
    ax.margins(x=0.08)
    ax.locator_params(axis="x", nbins=4)
    ax.set_xlabel(title)


@style()
def plot_training(runs: list[dict], *, note: str) -> tuple[Figure, np.ndarray]:
    """Training loss by optimizer step and validation loss by epoch, one line a model; the chosen checkpoint is ringed.

    Args:
        runs: run records with model, loss_curve [{step, loss}], epochs [{epoch, val_loss}], best_epoch; `display` if the label is not the registry's.

    Returns: the figure and its two axes (training, validation). Raises: ValueError without records or for an unknown model.
    Source: paper, Algorithm 2 (the validation loss picks the checkpoint).
    """
    if not runs:
        raise ValueError("plot_training: no run records to draw")
    ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 0.8, "linestyle": "none"}
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5 + 0.05 * len(runs)))
    for run in runs:
        look, steps = fs.model_look(run["model"]), pd.DataFrame(run["loss_curve"])
        options = {"linestyle": look.linestyle, **look.points()}
        axes[0].plot(steps["step"], steps["loss"], linewidth=0.4, alpha=0.35, color=look.color)
        smooth = steps["loss"].rolling(max(1, len(steps) // 20), center=True, min_periods=1).mean()
        axes[0].plot(steps["step"], smooth, markevery=max(1, len(steps) // 6), label=run.get("display", look.label), **options)
        epochs = pd.DataFrame(run["epochs"])
        axes[1].plot(epochs["epoch"], epochs["val_loss"], **options)
        best = epochs[epochs["epoch"] == run["best_epoch"]]
        axes[1].plot(best["epoch"], best["val_loss"], **ring)
    axes[0].set(xlabel="Optimizer step", ylabel="Training loss (nats per token)", xlim=(0, None))
    axes[1].set(xlabel="Epoch", ylabel="Validation loss (nats per token)")
    axes[1].xaxis.get_major_locator().set_params(integer=True)
    axes[1].margins(0.08)
    handles = [*axes[0].get_legend_handles_labels()[0], Line2D([], [], **ring, label="chosen checkpoint")]
    fs.legend_above(fig, axes[0], handles=handles, ncols=4 if len(runs) < 4 else 3)
    return fs.finish(fig, note), axes


@style()
def plot_calibration(frame: pd.DataFrame, *, note: str, labels: Mapping[str, str] | None = None) -> tuple[Figure, np.ndarray]:
    """Reliability of option probabilities: accuracy against stated confidence, and how often each confidence is stated.

    Args:
        frame: columns system, confidence, accuracy (both 0-1, means of a bin), n (answers in the bin). labels: system -> name; default: the registry's.

    Returns: the figure and its two axes (reliability, share of answers). Raises: ValueError for an unknown system, a missing column, or a value outside 0-1.
    """
    fs.need(frame, ("system", "confidence", "accuracy", "n"), "plot_calibration")
    if not frame[["confidence", "accuracy"]].stack().between(0, 1).all():
        raise ValueError("plot_calibration: confidence and accuracy must lie in 0-1")
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 3.3))
    axes[0].plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=0.9, label="perfectly calibrated")
    for system in sorted(frame["system"].unique(), key=system_order):
        look, part = fs.model_look(system), frame[frame["system"] == system].sort_values("confidence")
        name = (labels or {}).get(system, look.label + (", untuned" if system_kind(system) == "untuned" else ""))
        options = {"linestyle": look.linestyle, "linewidth": 1, **look.points()}
        axes[0].plot(part["confidence"], part["accuracy"], label=name, **options)
        axes[1].plot(part["confidence"], 100 * part["n"] / part["n"].sum(), **options)
    axes[0].set(xlim=(0, 1), ylim=(0, 1), xlabel="Confidence in the chosen option (0–1)", ylabel="Accuracy against the truth (0–1)")
    axes[1].set(xlim=(0, 1), ylim=(0, None), xlabel="Confidence in the chosen option (0–1)", ylabel="Share of answers (%)")
    axes[0].text(0.03, 0.97, "under-confident", transform=axes[0].transAxes, va="top", fontsize=6.5, color=GREY)
    axes[0].text(0.97, 0.03, "over-confident", transform=axes[0].transAxes, ha="right", fontsize=6.5, color=GREY)
    fs.legend_above(fig, axes[0], ncols=3)
    return fs.finish(fig, note), axes
