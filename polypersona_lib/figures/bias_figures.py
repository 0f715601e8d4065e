"""Figures of the bias study: votes by state, tiers, what texts say, who made the differences. They return (figure, axes) and never save."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style as fs
from .style import GREY, PAGE, style

_BLUE, _RED, _DARK = "#3b6fb6", "#b6463b", "#333333"
_MARKERS = ("o", "s", "D", "^")


@style()
def plot_states(shares: pd.DataFrame, true: pd.Series, *, note: str, labels: Mapping[str, str]) -> tuple[Figure, Axes]:
    """Simulated Democratic share of each state against the real one; on the dashed line they are equal.

    Args: shares: index state, a column a tier. true: real shares (index state). labels: tier -> name, in the order drawn.
    """
    fig, ax = plt.subplots(figsize=(PAGE * 0.62, PAGE * 0.5))
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.9, label="as the state voted")
    ax.axhline(0.5, color=GREY, linewidth=0.6)
    for marker, (tier, label) in zip(_MARKERS, labels.items(), strict=False):
        ax.plot(true[shares.index], shares[tier], marker, markersize=3.2, alpha=0.8, label=label)
    ax.set(xlim=(0.2, 0.8), ylim=(0, 1), xlabel="Democratic share of the vote, real", ylabel="Democratic share, simulated")
    fs.legend_above(fig, ax, ncols=2)
    first = next(iter(labels))
    won, r = int((shares[first] > 0.5).sum()), np.corrcoef(true[shares.index], shares[first])[0, 1] if shares[first].std() > 1e-9 else np.nan
    follows = "no line to follow" if not np.isfinite(r) else f"r = {r:.2f} with the real shares"
    return fs.finish(fig, note, title=f'With the card "{labels[first]}", {won} of {len(shares)} states vote Democratic, {follows}'), ax


@style()
def plot_tiers(differences: pd.DataFrame, *, note: str, labels: Mapping[str, str], families: Mapping[str, str]) -> tuple[Figure, np.ndarray]:
    """Every tier minus the census card, the same people: a dot with its interval a tier, one panel a family of items.

    Args: differences: columns family, tier, mean, lo, hi. labels: tier -> name. families: family -> name of the axis.
    """
    fs.need(differences, ("family", "tier", "mean", "lo", "hi"), "plot_tiers")
    there = [f for f in families if (differences["family"] == f).any()]
    fig, axes = plt.subplots(1, len(there), figsize=(PAGE, 0.9 + 0.32 * len(labels)), sharey=True, squeeze=False)
    for ax, family in zip(axes[0], there, strict=True):
        fs.name_rows(ax, list(labels.values()))
        ax.axvline(0, color=GREY, linewidth=0.9, linestyle="--")
        for y, tier in enumerate(labels):
            for row in differences[(differences["family"] == family) & (differences["tier"] == tier)].itertuples():
                ax.plot([row.lo, row.hi], [y, y], color=_DARK, linewidth=1.2)
                ax.plot(row.mean, y, "o", color=_BLUE if row.mean > 0 else _RED, markersize=5)
        ax.locator_params(axis="x", nbins=4)
        ax.set_xlabel(families[family])
    votes = differences[differences["family"] == there[0]].set_index("tier")["mean"]
    largest = votes.abs().idxmax()
    return fs.finish(fig, note, title=f"The largest change against the census card: {labels[largest]}, {votes[largest]:+.3f}"), axes[0]


@style()
def plot_texts(tone: pd.DataFrame, hardship: pd.Series, *, note: str, labels: Mapping[str, str]) -> tuple[Figure, np.ndarray]:
    """Subjectivity of each tier's texts, whole and at equal length, and how many of them name a hardship, beside real people.

    Args: tone: columns tier, measure, mean, lo, hi. hardship: share of texts that name one (index tier, and "people"). labels: tier -> name.
    """
    fs.need(tone, ("tier", "measure", "mean", "lo", "hi"), "plot_texts")
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 0.9 + 0.3 * len(labels)), sharey=True)
    for ax in axes:
        fs.name_rows(ax, list(labels.values()))
    drawn = (("o", "subjectivity", "by sentence", -0.12), ("s", "subjectivity_equal", "first 20 words", 0.12))
    for marker, measure, name, shift in drawn:
        for y, tier in enumerate(labels):
            for row in tone[(tone["measure"] == measure) & (tone["tier"] == tier)].itertuples():
                axes[0].plot([row.lo, row.hi], [y + shift] * 2, color=GREY, linewidth=1)
                axes[0].plot(row.mean, y + shift, marker, color=_BLUE if marker == "o" else _RED, markersize=4, label=name if y == 0 else "")
    axes[0].set(xlabel="subjectivity (TextBlob)", xlim=(0, 1))
    axes[1].barh(range(len(labels)), [hardship.get(tier, np.nan) for tier in labels], color=GREY, height=0.5)
    axes[1].axvline(hardship["people"], color=_DARK, linestyle="--", linewidth=1)
    axes[1].set(xlabel="names a hardship (dashed: real people)", xlim=(0, 1))
    fs.legend_above(fig, axes[0])
    told = hardship.get("descriptive", np.nan)
    shown = f"{told:.0%} of the narratives name a hardship" if np.isfinite(told) else "No narrative was written"
    return fs.finish(fig, note, title=f"{shown}; {hardship['people']:.0%} of real people have one"), axes


@style()
def plot_grid(components: pd.DataFrame, *, note: str, labels: Mapping[str, str]) -> tuple[Figure, Axes]:
    """Variance components of the vote: who wrote the cards, who answered, both together; a bar with its interval, one group a tier.

    Args: components: columns tier, part, share, share_lo, share_hi. labels: tier -> name.
    """
    fs.need(components, ("tier", "part", "share", "share_lo", "share_hi"), "plot_grid")
    parts = ["generator", "simulator", "interaction"]
    there = [tier for tier in labels if (components["tier"] == tier).any()]
    fig, ax = plt.subplots(figsize=(PAGE * 0.7, 0.8 + 0.75 * len(there)))
    fs.name_rows(ax, [labels[tier] for tier in there])
    for y, tier in enumerate(there):
        table = components[components["tier"] == tier].set_index("part")
        for place, (part, colour, hatch) in enumerate(zip(parts, (_BLUE, _RED, GREY), ("", "//", ".."), strict=True)):
            row, at = table.loc[part], y + (place - 1) * 0.24
            ax.barh(at, row["share"], height=0.2, color=colour, hatch=hatch, edgecolor="white", label=part if y == 0 else "")
            ax.plot([row["share_lo"], row["share_hi"]], [at, at], color=_DARK, linewidth=1)
    ax.set(xlim=(0, 1), xlabel="share of the variance between cells")
    fs.legend_above(fig, ax)
    top = components[components["part"].isin(parts)].sort_values("share").iloc[-1]
    return fs.finish(fig, note, title=f"Largest share: {top['part']}, {top['share']:.0%} ({labels[top['tier']]})"), ax
