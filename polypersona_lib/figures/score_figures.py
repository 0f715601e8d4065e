"""Figures of the scores: the paper's Fig. 4, systems between baselines and upper bounds, training, calibration. They return (figure, axes) and never save."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..systems import BASELINES, CONTROLS, UPPER_BOUNDS, is_few_shot, is_filtered, model_of, system_kind
from . import style as fs
from .style import COLUMN, GREY, INK, LANES, LOOKS, PAGE, style

_ORDER = {"tuned": 0, "untuned": 1, "baseline": 2, "retest": 3, "oracle": 3}  # of the rows of Fig. 4
_LINE = {"color": LOOKS["baseline"].color, "linestyle": "--", "linewidth": 0.9}  # at the persona-blind copy


def _clearly_above(scores: pd.DataFrame, line: str) -> str:
    """Subject of a title, "No tuned model" or "2 of 7 tuned models": those whose 95 % interval lies above the control `line`; "" without either."""
    level = scores.loc[scores["system"] == line, "value"].dropna()
    tuned = scores[(scores["system"].map(system_kind) == "tuned") & scores["value"].notna()]
    if level.empty or tuned.empty:
        return ""
    above = (tuned["lo"] > level.iloc[0]).sum()
    return f"{above} of {len(tuned)} tuned models" if above else "No tuned model"


@style()
def plot_bleu(scores: pd.DataFrame, *, note: str, line: str = "persona_blind") -> tuple[Figure, Axes]:
    """Fig. 4: BLEU of each model, untuned and tuned in one row, the paper's value beside it; below the controls. Real models first, then the best tuned one.

    Args:
        scores: columns system, label, value, lo, hi, paper (NaN where the paper or the run has none); one row a system.
        line: the control whose value runs as a dashed line through the models.

    Raises: ValueError for an unknown system or a missing column. Source: paper, Fig. 4 and Table II.
    """
    fs.need(scores, ("system", "label", "value", "lo", "hi", "paper"), "plot_bleu")
    apart = scores["system"].map(lambda s: is_few_shot(s) or is_filtered(s))  # a row of their own
    scores = scores.assign(kind=scores["system"].map(system_kind), row=scores["system"].where(apart, scores["system"].map(model_of)))
    scores = scores.assign(place=scores["kind"].map(_ORDER), twin=scores["label"].str.startswith("twin of"))  # a real model stands before the twins
    scores = scores.sort_values(["place", "twin", "value"], ascending=[True, True, False])
    rows = list(dict.fromkeys(scores["row"]))
    first = scores.drop_duplicates("row").set_index("row")
    models = first["place"].lt(2).sum()
    fig, ax = plt.subplots(figsize=(COLUMN, 1.35 + 0.24 * len(rows)))
    fs.name_rows(ax, [fs.wrap(label.removesuffix(", untuned"), 28) for label in first["label"]])
    if 0 < models < len(rows):
        ax.axhspan(models - 0.5, len(rows), color="#f4f4f4", zorder=0)
    for each in scores.itertuples():
        fs.draw_interval(ax, each, rows.index(each.row) + LANES.get(each.kind, 0), LOOKS[each.kind], capsize=1.8, capthick=0.8)
    fs.paper_ticks(ax, scores.dropna(subset="paper").set_index("row")["paper"].to_dict(), rows)
    handles = [fs.look_handle(look) for kind, look in LOOKS.items() if kind in set(scores["kind"])]
    handles += [fs.paper_handle("paper, tuned")] * int(scores["paper"].notna().any())
    for control in scores[(scores["system"] == line) & scores["value"].notna()].itertuples():
        ax.axvline(control.value, zorder=1, **_LINE)
        handles.append(Line2D([], [], **_LINE, label=f"{control.label}: level"))
    top = scores[["value", "hi", "paper"]].astype(float).max().max()
    ax.set(xlim=(0, 1.06 * top if top > 0 else 1), xlabel="BLEU (mean, 95 % interval)")
    fs.legend_above(fig, ax, handles=handles, ncols=2)
    above = _clearly_above(scores, line)
    title = f"{above}: whole interval above the {first.loc[line, 'label']}" if above else "BLEU of tuned models"
    return fs.finish(fig, note, title=title), ax


@style()
def plot_ladder(systems: pd.DataFrame, *, note: str, metrics: Mapping[str, str]) -> tuple[Figure, np.ndarray]:
    """Models between baselines and upper bounds, one panel a metric: a row for each control, one for all untuned models and one for all tuned ones.

    Models are worth something to the right of the dashed line, the persona-blind copy.

    Args:
        systems: columns system, label, metric, value, lo, hi (NaN: drawn as "no value"). metrics: metric id -> panel name, in order.

    Returns: the figure and its axes, one a metric. Raises: ValueError for an unknown system, or a metric that has no row.
    """
    fs.need(systems, ("system", "label", "metric", "value", "lo", "hi"), "plot_ladder")
    if systems.duplicated(["system", "metric"]).any():
        raise ValueError("plot_ladder: more than one row for the same system and metric")
    known = dict.fromkeys(systems["metric"])
    for metric in metrics:
        fs.look_up(known, metric, "metric")
    systems = systems.assign(row=[s if s in CONTROLS else system_kind(s) for s in systems["system"]])
    names = systems.drop_duplicates("row").set_index("row")["label"].to_dict()
    several = {kind: own for kind, own in systems.groupby("row")["system"].unique().items() if kind in LANES and len(own) > 1}
    names |= {kind: f"{_counted(kind, own)}:\nmean (dots: each)" for kind, own in several.items()}
    rows = [row for row in (*BASELINES, *LANES, *UPPER_BOUNDS) if row in names]
    fig, axes = plt.subplots(1, len(metrics), figsize=(PAGE if len(metrics) > 1 else COLUMN, 0.75 + 0.25 * len(rows)), sharey=True, squeeze=False)
    for ax, (metric, title) in zip(axes[0], metrics.items(), strict=True):
        fs.name_rows(ax, [names[row] for row in rows])
        _ladder_panel(ax, systems[systems["metric"] == metric], rows)
        ax.set_xlabel(f"{title} (bars: 95 % intervals)")
    above = {title: _clearly_above(systems[systems["metric"] == metric], "persona_blind") for metric, title in metrics.items()}
    title = "Models between baselines and upper bounds"
    if all(above.values()):
        who = " and ".join(f"{who} by {by}" for by, who in above.items()) if len(set(above.values())) > 1 else next(iter(above.values()))
        title = f"{who}: whole interval above a copied answer that ignores the person (dashed line)"
    return fs.finish(fig, note, title=title), axes[0]


def _counted(kind: str, systems: Sequence[str]) -> str:
    """ "8 untuned bases"; "untuned base, asked in 2 ways" if one model stands there with examples or filtered, too."""
    models, label = {model_of(system) for system in systems}, LOOKS[kind].label
    if len(models) == 1:
        return f"{label}, asked in {len(systems)} ways"
    return f"{len(models)} {label}s" + (f", {len(systems)} systems" if len(systems) > len(models) else "")


def _ladder_panel(ax: Axes, scores: pd.DataFrame, rows: list[str]) -> None:
    """One metric: a band behind the models, a line at the persona-blind copy, an interval a control, dots and their mean for the models."""
    for row in [r for r in rows if r in LANES]:  # in their order: a set's may be another one every time
        ax.axhspan(rows.index(row) - 0.5, rows.index(row) + 0.5, color="#f0f0f0", linewidth=0, zorder=0)
    for row, part in scores.groupby("row"):
        look = LOOKS[system_kind(part["system"].iloc[0])]
        if len(part) > 1:
            fs.dots_and_mean(ax, part["value"], rows.index(row), look)
        else:
            fs.draw_interval(ax, part.iloc[0], rows.index(row), look, capsize=1.8)
        if row == "persona_blind" and part["value"].notna().all():
            ax.axvline(part["value"].iloc[0], zorder=1, **_LINE)
    ax.margins(x=0.08)
    ax.locator_params(axis="x", nbins=5)


@style()
def plot_training(runs: list[dict], *, labels: Mapping[str, str], note: str) -> tuple[Figure, np.ndarray]:
    """Training loss by optimizer step and validation loss by epoch, one line a model; the chosen checkpoint is ringed.

    Args:
        runs: run records with model, loss_curve [{step, loss}], epochs [{epoch, val_loss}], best_epoch. labels: model -> name in the legend.

    Returns: the figure and its two axes (training, validation). Raises: ValueError without records or for an unknown model.
    Source: paper, Algorithm 2 (the validation loss picks the checkpoint).
    """
    if not runs:
        raise ValueError("plot_training: no run records to draw")
    ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 0.8, "linestyle": "none"}
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5 + 0.05 * len(runs)))
    kept = []
    for run in runs:
        look, steps = fs.model_look(run["model"]), pd.DataFrame(run["loss_curve"])
        options = {"linestyle": look.linestyle, **look.points()}
        axes[0].plot(steps["step"], steps["loss"], linewidth=0.4, alpha=0.35, color=look.color)
        smooth = steps["loss"].rolling(max(1, len(steps) // 20), center=True, min_periods=1).mean()
        axes[0].plot(steps["step"], smooth, markevery=max(1, len(steps) // 6), label=fs.look_up(labels, run["model"], "model"), **options)
        epochs = pd.DataFrame(run["epochs"])
        axes[1].plot(epochs["epoch"], epochs["val_loss"], **options)
        best = epochs[epochs["epoch"] == run["best_epoch"]]
        axes[1].plot(best["epoch"], best["val_loss"], **ring)
        kept += list(best["val_loss"])
    axes[0].set(xlabel="Optimizer step", ylabel="Training loss (nats per token)", xlim=(0, None))
    axes[1].set(xlabel="Epoch", ylabel="Validation loss (nats per token)")
    axes[1].xaxis.get_major_locator().set_params(integer=True)
    axes[1].margins(0.08)
    handles = [*axes[0].get_legend_handles_labels()[0], Line2D([], [], **ring, label="chosen checkpoint")]
    fs.legend_above(fig, axes[0], handles=handles, ncols=3)
    title = f"The chosen checkpoints reach a validation loss of {min(kept):.2f} to {max(kept):.2f} nats per token" if kept else "Loss by step and epoch"
    return fs.finish(fig, note, title=title), axes


@style()
def plot_calibration(frame: pd.DataFrame, *, note: str) -> tuple[Figure, Axes]:
    """Reliability of option probabilities: accuracy against stated confidence, one line a system in the colour of its kind.

    Args:
        frame: columns system, confidence, accuracy (both 0-1, means of a bin), n (answers in the bin).

    Raises: ValueError for an unknown system, a missing column, or a value outside 0-1.
    """
    fs.need(frame, ("system", "confidence", "accuracy", "n"), "plot_calibration")
    if not frame[["confidence", "accuracy"]].stack().between(0, 1).all():
        raise ValueError("plot_calibration: confidence and accuracy must lie in 0-1")
    frame = frame.assign(kind=frame["system"].map(system_kind)).sort_values(["system", "confidence"])
    fig, ax = plt.subplots(figsize=(COLUMN, 3.1))
    diagonal = ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=0.9, label="perfectly calibrated")
    for (kind, _), part in frame.groupby(["kind", "system"]):
        ax.plot(part["confidence"], part["accuracy"], linewidth=0.8, alpha=0.7, zorder=3, **LOOKS[kind].points() | {"markersize": 3})
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="Confidence in the chosen option (0–1)", ylabel="Accuracy against the truth (0–1)")
    ax.text(0.03, 0.97, "under-confident", transform=ax.transAxes, va="top", fontsize=6.5, color=GREY)
    ax.text(0.97, 0.03, "over-confident", transform=ax.transAxes, ha="right", fontsize=6.5, color=GREY)
    handles = [fs.look_handle(LOOKS[kind], f"{LOOKS[kind].label}{'s, one line each' * (len(set(part['system'])) > 1)}") for kind, part in frame.groupby("kind")]
    fs.legend_above(fig, ax, handles=[*handles, *diagonal], ncols=2)
    models = frame[frame["kind"].isin(list(LANES))]
    apart = np.average((models["confidence"] - models["accuracy"]).abs(), weights=models["n"]) if len(models) else np.nan
    title = f"Models: stated confidence and accuracy differ by {apart:.2f} on average" if len(models) else "Confidence and accuracy"
    return fs.finish(fig, note, title=title), ax
