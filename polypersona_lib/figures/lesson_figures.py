"""Pictures that explain one thing each: which tokens carry loss, what NF4 does to weights, how many directions a LoRA update uses, how an item works.

They never save.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ..prompts.chat import INVISIBLE
from . import style as fs
from .style import GREY, INK, MODEL_COLOURS, MODEL_MARKERS, OURS, PAGE, REFERENCE, style

ADVANCE = 0.602 * 6.5 / 72  # inches: one character of DejaVu Sans Mono at 6.5 points
_READ, EDGE = "#ededed", 0.08
HALO = withStroke(linewidth=2.5, foreground="white")  # words on top of lines


@style()
def plot_mask(tokens: Sequence[str], labels: Sequence[int], *, note: str) -> tuple[Figure, Axes]:
    """A row of tokens as a reader reads it; those that carry loss are blue, white on colour and underlined, the others grey.

    Args:
        tokens: their texts; line ends are shown as ↵, characters that draw nothing as □, and no text is taken for mathematics or markup.
        labels: -100 for a token without loss (`chat.Encoded.labels`).

    Raises: ValueError unless there is one label a token.
    """
    if len(tokens) != len(labels) or not len(tokens):
        raise ValueError(f"plot_mask: {len(tokens)} tokens and {len(labels)} labels; one label a token is needed")
    placed, x, line = [], EDGE, 0
    for token, label in zip(tokens, labels, strict=True):
        text = INVISIBLE.sub("□", token.replace("\n", "↵").replace("\t", "⇥")) or "□"
        width = len(text) * ADVANCE + 0.03
        if x + width > PAGE - EDGE and x > EDGE:
            x, line = EDGE, line + 1
        placed.append((x, line, width, text, label != -100))
        x += width + 0.02
    top = 0.26 * (line + 1)
    fig = plt.figure(figsize=(PAGE, top + 0.55), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, PAGE), ylim=(-0.25, top + 0.3))
    ax.axis("off")
    font = {"family": "DejaVu Sans Mono", "fontsize": 6.5, "va": "center", "parse_math": False}
    for x, line, width, text, loss in placed:
        y = top - 0.26 * line - 0.12
        ax.add_patch(Rectangle((x, y - 0.085), width, 0.17, facecolor=OURS if loss else _READ, edgecolor="none"))
        ax.text(x + 0.015, y, text, color="white" if loss else INK, **font)
        if loss:
            ax.plot([x, x + width], [y - 0.105] * 2, color=INK, linewidth=1.2, solid_capstyle="butt")
    for x, loss, text in ((EDGE, False, "read only: label -100"), (2.2, True, "to be predicted: carries loss")):
        ax.add_patch(Rectangle((x, top + 0.11), 0.2, 0.13, facecolor=OURS if loss else _READ, edgecolor="none"))
        ax.plot([x, x + 0.2], [top + 0.09] * 2, color=INK if loss else "none", linewidth=1.2)
        ax.text(x + 0.27, top + 0.17, text, fontsize=7, va="center")
    return fs.finish(fig, note, title=f"{sum(label != -100 for label in labels)} of {len(labels)} tokens carry loss"), ax


@style()
def plot_levels(before: np.ndarray, after: np.ndarray, levels: Sequence[float], *, note: str, size: int = 64) -> tuple[Figure, np.ndarray]:
    """What rounding to a few levels does to a matrix: all weights between the levels, and one block before and after, with its error.

    Args:
        before, after: the matrix and what is restored of it, any shape with whole blocks of `size` weights. levels: of one block, in -1 to 1.

    Returns: the figure and its axes (histogram, block, error). Raises: ValueError for shapes that differ or no whole blocks.
    """
    if before.shape != after.shape or before.size % size or not before.size:
        raise ValueError(f"plot_levels: {before.shape} and {after.shape} are not the same whole blocks of {size} weights")
    blocks, rounded = before.reshape(-1, size), after.reshape(-1, size)[0]
    scaled = blocks / np.abs(blocks).max(axis=1, keepdims=True)
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.5), width_ratios=(1, 1.25, 1))
    axes[0].hist(scaled.ravel(), bins=80, range=(-1, 1), color=REFERENCE)
    for level in levels:
        axes[0].axvline(level, color=INK, linewidth=0.6)
    axes[0].set(xlabel="Weight / largest of its block", ylabel="Weights (lines: the 16 levels)")
    axes[0].grid(False)
    at, one = np.arange(1, size + 1), blocks[0]
    axes[1].hlines(np.asarray(levels) * np.abs(rounded).max(), 0.5, size + 0.5, color="#c4c4c4", linewidth=0.5, zorder=0)
    axes[1].vlines(at, one, rounded, color=GREY, linewidth=0.6)
    axes[1].plot(at, one, "o", markersize=3.2, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.7, label="before")
    axes[1].plot(at, rounded, "D", markersize=2.2, color=OURS, label="after")
    axes[1].set(xlabel="Place in the first block", ylabel="Weight", xlim=(0, size + 1))
    axes[1].grid(False)
    axes[2].bar(at, rounded - one, width=0.8, color=OURS)
    axes[2].axhline(0, color=GREY, linewidth=0.6)
    reach = 1.08 * np.abs(one).max()
    axes[1].set_ylim(-reach, reach)
    axes[2].set(xlabel="Place in the first block", ylabel="Error (scale of the middle)", xlim=(0, size + 1), ylim=(-reach, reach))
    fs.legend_above(fig, axes[1], ncols=2)
    moved = np.abs(rounded - one).mean() / np.abs(one).mean()
    return fs.finish(fig, note, title=f"Rounding to {len(levels)} levels moves a weight of the first block by {moved:.0%} of its size on average"), axes


@style()
def plot_directions(values: Mapping[str, np.ndarray], *, note: str) -> tuple[Figure, np.ndarray]:
    """Singular values of learnt updates, and the share of an update that its first directions hold.

    Args: values: name -> singular values, largest first (r,), all of the same r. Shares are of the squared values; the dashed line is r equal ones.

    Returns: the figure and its axes (values, cumulative shares). Raises: ValueError without values or for values that do not fall.
    """
    if not values or any((np.diff(v) > 1e-9).any() or len(v) < 1 for v in values.values()):
        raise ValueError("plot_directions: needs singular values, largest first")
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6))
    half = []
    for number, (name, each) in enumerate(values.items()):
        look = {"color": MODEL_COLOURS[number % len(MODEL_COLOURS)], "marker": MODEL_MARKERS[number % len(MODEL_MARKERS)], "markersize": 3.5}
        at, squares = np.arange(1, len(each) + 1), np.square(each)
        share = 100 * np.cumsum(squares) / squares.sum()
        axes[0].plot(at, each, label=name, **look)
        axes[1].plot(at, share, **look)
        half.append(int(np.searchsorted(share, 50)) + 1)
    axes[1].plot([0, len(each)], [0, 100], color=GREY, linestyle="--", linewidth=0.9)
    axes[0].set(xlabel="Direction, the strongest first", ylabel="Singular value of ΔW", ylim=(0, None))
    axes[1].set(xlabel="Number of directions kept", ylabel="Share of ΔW they hold (%)", xlim=(0, len(each) + 0.5), ylim=(0, 105))
    axes[0].yaxis.set_major_formatter("{x:.2f}")  # labels of one width, whatever ticks the layout ends with
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
    equal = Line2D([], [], color=GREY, linestyle="--", linewidth=0.9, label="if all were equal")
    fs.legend_above(fig, axes[0], handles=[*axes[0].get_legend_handles_labels()[0], equal], ncols=4)
    return fs.finish(fig, note, title=f"Half of an update lies in {min(half)} to {max(half)} of {len(each)} directions"), axes


@style()
def plot_two_cards(chances: Mapping[str, Sequence[np.ndarray]], options: Sequence[str], cards: Sequence[str], *, note: str) -> tuple[Figure, np.ndarray]:
    """The probability of each option for two cards: a panel a system, two bars an option.

    Args: chances: system -> the probabilities (options,) of each card. options, cards: their names.

    Returns: the figure and its axes, one a system. Raises: ValueError unless there are two cards, each with one number an option.
    """
    if len(cards) != 2 or any(np.shape(both) != (2, len(options)) for both in chances.values()):
        raise ValueError(f"plot_two_cards: needs 2 cards and {len(options)} options for each of {', '.join(chances) or 'no system'}")
    fig, axes = plt.subplots(1, len(chances), figsize=(PAGE, 1.0 + 0.3 * len(options)), sharey=True, squeeze=False)
    at = np.arange(len(options))
    for ax, (system, both) in zip(axes[0], chances.items(), strict=True):
        for card, probabilities, shift, colour, hatch in zip(cards, both, (-0.2, 0.2), (REFERENCE, OURS), ("", "////"), strict=True):
            bars = ax.barh(at + shift, probabilities, 0.38, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4, label=card)
            ax.bar_label(bars, [f"{p:.0%}" for p in probabilities], padding=2, fontsize=6.5)
        ax.set(xlabel="Probability of the option", xlim=(0, 1.18))
        ax.set_title(fs.wrap(system, 34), loc="left", fontsize=7.5)
        ax.grid(False, axis="y")
    axes[0][0].set_yticks(at, [fs.wrap(option, 24) for option in options])
    axes[0][0].invert_yaxis()
    fs.legend_above(fig, axes[0][0], ncols=2)
    most = max(np.abs(np.subtract(*both)).max() for both in chances.values())
    return fs.finish(fig, note, title=f"Another card moves the probability of an option by up to {100 * most:.0f} percentage points"), axes[0]


@style()
def plot_item_curves(attitudes: np.ndarray, curves: np.ndarray, options: Sequence[str], *, note: str) -> tuple[Figure, Axes]:
    """The probability of each option of one item over the latent attitude; each curve is named where it is highest.

    Args: attitudes: rising, shape (n,). curves: probabilities, shape (n, options); each row sums to 1. options: their labels, lowest first.

    Raises: ValueError for shapes that do not fit or rows that are no probabilities.
    """
    if curves.shape != (len(attitudes), len(options)) or not np.allclose(curves.sum(axis=1), 1):
        raise ValueError(f"plot_item_curves: {curves.shape} are not the probabilities of {len(options)} options at {len(attitudes)} attitudes")
    fig, ax = plt.subplots(figsize=(PAGE, 2.7))
    for number, (option, curve) in enumerate(zip(options, curves.T, strict=True)):
        look = {"color": MODEL_COLOURS[number], "marker": MODEL_MARKERS[number]}
        ax.plot(attitudes, curve, markevery=(number * 3, max(1, len(attitudes) // 12)), **look)
        top = int(curve.argmax())
        side = "left" if top == 0 else "right" if top == len(attitudes) - 1 else "center"
        ax.annotate(
            option, (attitudes[top], curve[top]), xytext=(0, 4), textcoords="offset points", ha=side, fontsize=7, color=look["color"], path_effects=[HALO]
        )
    ax.set(xlabel="Latent attitude θ (0: the population's mean; 1: one standard deviation)", ylabel="Probability of the option", ylim=(0, 1.08))
    ax.set_xlim(attitudes[0], attitudes[-1])
    likeliest = len(set(curves.argmax(axis=1)))
    return fs.finish(fig, note, title=f"{likeliest} of {len(options)} options are the likeliest answer at some attitude"), ax


@style()
def plot_income(shares: pd.DataFrame, *, people: Mapping[str, int], note: str) -> tuple[Figure, Axes]:
    """Income by education: one bar a level, divided by the shares of the income brackets; lowest first, darker is more.

    Args: shares: rows the levels, columns the brackets, in % (a row sums to 100). people: level -> number of people behind its bar.

    Raises: ValueError for a row that does not sum to 100.
    """
    if not np.allclose(shares.sum(axis=1), 100):
        raise ValueError("plot_income: the shares of a level must sum to 100 %")
    fig, ax = plt.subplots(figsize=(PAGE, 0.9 + 0.32 * len(shares)))
    starts, greys = shares.cumsum(axis=1) - shares, np.linspace(0.92, 0.25, shares.shape[1])
    for bracket, grey in zip(shares, greys, strict=True):
        ax.barh(range(len(shares)), shares[bracket], left=starts[bracket], height=0.72, color=str(grey), edgecolor="white", linewidth=0.8, label=bracket)
        for row, (start, share) in enumerate(zip(starts[bracket], shares[bracket], strict=True)):
            if share >= 6:
                ax.text(start + share / 2, row, f"{share:.0f}", ha="center", va="center_baseline", fontsize=7, color=INK if grey > 0.55 else "white")
    fs.name_rows(ax, [f"{level} ({people[level]})" for level in shares.index])
    ax.set(xlim=(0, 100), xlabel="Share of the people with this education (%; in brackets: how many people)")
    ax.grid(False)
    fs.legend_above(fig, ax, ncols=shares.shape[1])
    low, high = shares.iloc[0], shares.iloc[-1]
    title = f"{shares.columns[-1]} income: {low.iloc[-1]:.0f} % with {low.name}, {high.iloc[-1]:.0f} % with {high.name}"
    return fs.finish(fig, note, title=title), ax
