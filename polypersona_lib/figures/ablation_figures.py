"""Figures of the ablations: what each change costs, where the memory goes, what a domain left out loses. They return (figure, axes) and never save."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import style as fs
from .style import COLUMN, GREY, INK, LIGHT, MODEL_COLOURS, OURS, PAGE, style

PARTS = {  # of a training's memory: colour and hatch
    "weights": (MODEL_COLOURS[0], ""), "gradients": (MODEL_COLOURS[1], "////"), "optimizer": (MODEL_COLOURS[4], "...."), "activations": ("#bdbdbd", "xxxx"),
}  # fmt: skip


@style()
def plot_gains(gains: pd.DataFrame, *, note: str, reference: str) -> tuple[Figure, Axes]:
    """Each arm's gain over the untuned base with its 95 % interval; the reference's level runs through.

    Args: gains: columns label, study, gain, lo, hi (nats an answer token), in the order drawn. reference: the study whose arm is the reference.
    """
    fs.need(gains, ("label", "study", "gain", "lo", "hi"), "plot_gains")
    fig, ax = plt.subplots(figsize=(COLUMN, 0.9 + 0.24 * len(gains)))
    fs.name_rows(ax, [fs.wrap(label, 30) for label in gains["label"]])
    level = gains.loc[gains["study"] == reference, "gain"].iloc[0]
    ax.axvline(level, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
    for y, row in enumerate(gains.itertuples()):
        look = {"marker": "D" if row.study == reference else "o", "color": INK if row.study == reference else OURS}
        ax.errorbar(row.gain, y, xerr=[[row.gain - row.lo], [row.hi - row.gain]], capsize=1.8, elinewidth=0.9, linestyle="none", zorder=3, **look)
    ax.set_xlabel("Gain over the untuned base,\nnats a token (95 % interval)")
    handles = [Line2D([], [], linestyle="none", marker="D", color=INK, label="reference"), Line2D([], [], linestyle="--", color=GREY, label="its level")]
    fs.legend_above(fig, ax, handles=handles, ncols=2)
    best = gains.loc[gains["gain"].idxmax()]
    return fs.finish(fig, note, title=f"The highest gain: {best['label']} ({best['gain']:.3f}; reference {level:.3f})"), ax


@style()
def plot_memory(budget: pd.DataFrame, *, note: str, unit: str) -> tuple[Figure, Axes]:
    """Memory of a training by what it is spent on: for each model one bar a method, stacked.

    Args: budget: columns label, method, and those of `PARTS` that are known, in `unit`, in the order drawn.
    """
    parts = [name for name in PARTS if name in budget]
    fs.need(budget, ("label", "method", *parts), "plot_memory")
    fig, ax = plt.subplots(figsize=(PAGE, 0.9 + 0.17 * len(budget)))
    left = np.zeros(len(budget))
    for name in parts:
        colour, hatch = PARTS[name]
        ax.barh(range(len(budget)), budget[name], left=left, height=0.78, color=colour, hatch=hatch, label=name)
        left += budget[name].to_numpy()
    fs.name_rows(ax, [f"{row.label}, {row.method}" for row in budget.itertuples()])
    for y, total in enumerate(left):
        ax.annotate(f"{total:,.1f}", (total, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6.5)
    ax.set(xlim=(0, 1.08 * left.max()), xlabel=f"Memory ({unit})")
    fs.legend_above(fig, ax, ncols=len(parts))
    names = budget["method"].to_list()
    return fs.finish(fig, note, title=f"Least memory: {names[left.argmin()]}; most memory: {names[left.argmax()]}"), ax


@style()
def plot_left_out(domains: pd.DataFrame, *, note: str) -> tuple[Figure, Axes]:
    """Each domain's gain over the untuned base: trained on the nine others (with the interval of what is lost), trained on all ten.

    Args: domains: columns label, untuned, left_out, trained, lo, hi (nats an answer token), see `findings.left_out`.
    """
    fs.need(domains, ("label", "untuned", "left_out", "trained", "lo", "hi"), "plot_left_out")
    fig, ax = plt.subplots(figsize=(COLUMN, 1.1 + 0.24 * len(domains)))
    fs.name_rows(ax, list(domains["label"]))
    rows, full = range(len(domains)), domains["untuned"] - domains["trained"]
    ax.hlines(rows, full - domains["hi"], full - domains["lo"], color=LIGHT, linewidth=3, zorder=1)
    ax.plot(
        domains["untuned"] - domains["left_out"], rows, linestyle="none", marker="s", color=OURS, markerfacecolor="white", label="trained on the nine others"
    )
    ax.plot(full, rows, linestyle="none", marker="o", color=INK, label="trained on all ten")
    ax.axvline(0, color=GREY, linewidth=0.9, zorder=0)
    ax.set_xlabel("Gain over the untuned base,\nnats a token (grey: 95 % interval)")
    fs.legend_above(fig, ax, ncols=1)
    kept = ((domains["untuned"] - domains["left_out"]) / full).mean()
    return fs.finish(fig, note, title=f"Without the domain {100 * kept:.0f} % of the gain is kept on average"), ax
