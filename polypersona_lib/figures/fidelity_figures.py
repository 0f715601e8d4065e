"""Figures of persona fidelity: every measure of every model on one scale, and which attributes the answers give away. They never save."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..systems import model_of, system_kind
from . import style as fs
from .style import GREY, LANES, LOOKS, PAGE, style

_EDGES, _KEPT = (-0.31, 1.22), (-0.2, 1.1)  # the axis, and where marks may be: clear of the numbers at both ends
_GAP = 0.75  # above a block's first row, for its heading


@style()
def plot_fidelity(rows: pd.DataFrame, *, note: str, groups: dict[str, list[str]] | None = None, means: pd.DataFrame | None = None) -> tuple[Figure, Axes]:
    """Models between baseline and upper bound: one row a measure; the baseline is at 0 and the upper bound at 1 whatever the measure.

    The large marks are the means over the models, untuned above and tuned below, with the share of the way to the upper bound in words; a dot is one model,
    a grey tick the same respondent asked again.

    Args:
        rows: from `measures.ladder_rows`: metric, label, system, value, lo, hi (rescaled), floor, ceiling (in its own unit), told, in the order drawn.
        groups: headings of blocks of rows: heading -> metrics. Default: no headings.
        means: from `contrasts.scaled_means`: the means with their intervals. Default: the mean of the dots, without an interval.
    Raises: ValueError for an unknown system or a missing column.
    """
    fs.need(rows, ("metric", "label", "system", "value", "lo", "hi", "floor", "ceiling", "told"), "plot_fidelity")
    dots = rows[rows["system"].map(lambda s: s != "truth" and system_kind(s) in LANES) & np.isfinite(rows["value"].astype(float))]
    dots = dots.assign(kind=[system_kind(s) for s in dots["system"]])
    means = dots.groupby(["metric", "kind"], as_index=False)["value"].mean().assign(lo=np.nan, hi=np.nan) if means is None else means
    places = _places(list(dict.fromkeys(rows["metric"])), groups or {})
    fig, ax = plt.subplots(figsize=(PAGE, 1.25 + 0.37 * (max(places.values()) + 1)))
    ax.set_yticks(list(places.values()), [fs.wrap(rows.loc[rows["metric"] == m, "label"].iloc[0], 30) for m in places], linespacing=1.05)
    ax.set_ylim(max(places.values()) + 0.6, -0.6 if not groups else -0.1)
    ax.grid(False)
    for metric, y in places.items():
        _row(ax, y, rows[rows["metric"] == metric], dots[dots["metric"] == metric], means[means["metric"] == metric])
    for heading, metrics in (groups or {}).items():
        if inside := [places[m] for m in metrics if m in places]:
            ax.annotate(heading, (0, min(inside) - 0.72), xycoords=("axes fraction", "data"), xytext=(-4, 0), textcoords="offset points", fontsize=8,
                        fontweight="bold", ha="right", va="center", annotation_clip=False)  # fmt: skip
    _ends(ax, min(places.values()))
    if not pd.concat([dots["value"], means["value"]]).dropna().between(*_KEPT).all():
        ax.set_xlabel(f"{ax.get_xlabel()}\n(marks at the very edge lie beyond it)")
    fs.legend_above(fig, ax, handles=_legend(dots["system"].map(model_of).nunique()), ncols=4)
    tuned = means[means["kind"] == "tuned"].dropna(subset="value").set_index("metric")["value"]
    names = rows.drop_duplicates("metric").set_index("metric")["label"]
    title = "How much of the person is in the answers"
    if len(tuned):
        far, near = (f"“{names[m]}” ({_percent(tuned[m])})" for m in (tuned.idxmax(), tuned.idxmin()))
        title = f"Tuned models come closest to the upper bound in {far}, least close in {near}"
    return fs.finish(fig, note, title=title), ax


def _places(metrics: list[str], groups: dict[str, list[str]]) -> dict[str, float]:
    """Where each measure's row is, with a gap above each block."""
    heads = {next((m for m in metrics if m in of), None) for of in groups.values()}
    return {m: i + _GAP * sum(h in metrics[: i + 1] for h in heads) for i, m in enumerate(metrics)}


def _row(ax: Axes, y: float, rows: pd.DataFrame, dots: pd.DataFrame, means: pd.DataFrame) -> None:
    """One measure: the way from baseline to upper bound with what its ends are worth, the models, their means, the same respondent again."""
    ax.plot([0, 1], [y, y], color="#ececec", linewidth=15, solid_capstyle="butt", zorder=0.5)
    for x, side, column in ((-0.03, "right", "floor"), (1.13, "left", "ceiling")):
        ax.text(_EDGES[0] + 0.09 if side == "right" else x, y, f"{rows[column].median():.2f}".replace("-0.00", "0.00"), ha=side, va="center_baseline",
                fontsize=7, color=GREY)  # fmt: skip
    if not rows["told"].astype(bool).any():
        ax.text(0.5, y, "does not tell even its upper bound from its baseline", ha="center", va="center", fontsize=7, style="italic", color=GREY)
    for kind, lane in LANES.items():
        mine = dots.loc[dots["kind"] == kind, "value"]
        ax.plot(
            np.clip(mine, *_KEPT), np.full(len(mine), y + lane), linestyle="none", marker=".", markersize=3.2, color=LOOKS[kind].color, alpha=0.55, zorder=2
        )
    for each in means[np.isfinite(means["value"])].itertuples():
        look, at = LOOKS[each.kind], y + LANES[each.kind]
        ax.plot(np.clip([each.lo, each.hi], *_KEPT), [at, at], color=look.color, linewidth=1.1, zorder=3)
        ax.plot(np.clip(each.value, *_KEPT), at, linestyle="none", markersize=6.2, markeredgewidth=1.2, zorder=4, **look.points())
        if each.kind == "tuned":
            apart = not each.lo <= 0 <= each.hi  # True without an interval
            inside = np.clip([v for v in (each.value, each.lo, each.hi, *dots.loc[dots["kind"] == "tuned", "value"]) if np.isfinite(v)], *_KEPT)
            full = inside.max() > _KEPT[1] - 0.12  # no room to the right: to the left of everything
            x, side = (inside.min() - 0.02, "right") if full else (max(inside.max(), 0) + 0.02, "left")
            weight, colour = ("bold", look.color) if apart else ("normal", GREY)
            ax.text(x, at, _percent(each.value), fontsize=7, fontweight=weight, ha=side, color=colour, va="center_baseline", zorder=5)
    again = rows.loc[(rows["system"] == "resample") & np.isfinite(rows["value"].astype(float)), "value"]
    ax.plot(np.clip(again, *_KEPT), [y] * len(again), zorder=1.5, color=GREY, marker="|", markersize=11, markeredgewidth=1.4, linestyle="none")


def _percent(share: float) -> str:
    return f"{round(100 * share)} %".replace("-", "\N{MINUS SIGN}")


def _legend(models: int) -> list[Line2D]:
    base, tuned = (LOOKS[kind] for kind in LANES)
    several = f", mean of {models} (dots: each)" if models > 1 else ""
    bare = {"linestyle": "none", "markersize": 6.2, "markeredgewidth": 1.2}
    return [Line2D([], [], label=f"untuned{several}", **bare, **base.points()), Line2D([], [], label=f"tuned{several}", **bare, **tuned.points()),
            Line2D([], [], label="same respondent again", color=GREY, marker="|", markersize=9, markeredgewidth=1.4, linestyle="none")]  # fmt: skip


def _ends(ax: Axes, first: float) -> None:
    """The two lines that everything is measured between."""
    for x, style_, colour in ((0, "--", LOOKS["baseline"].color), (1, ":", LOOKS["oracle"].color)):
        ax.axvline(x, linestyle=style_, linewidth=1.2, color=colour, zorder=1)
    for x, text in ((_EDGES[0] + 0.01, "baseline"), (1.13, "upper\nbound")):
        ax.annotate(text, (x, first - 0.62), ha="left", va="center", fontsize=7, color=GREY, annotation_clip=False)
    ax.set(xlim=_EDGES, xlabel="Share of the way from the baseline to the upper bound; lines: 95 % intervals of the means")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["nothing of\nthe person", "25 %", "50 %", "75 %", "the card read perfectly,\nor the person asked again"])


@style()
def plot_attributes(rows: pd.DataFrame, *, note: str) -> tuple[Figure, Axes]:
    """Which attributes a probe reads off the answers: one row an attribute, the respondents' most readable first; models as dots and their mean.

    Args: rows: columns detail (attribute), system ("truth": the respondents themselves), value (AUC; .5 is chance), p_holm (hollow marks: not below .05).
    """
    fs.need(rows, ("detail", "system", "value", "p_holm"), "plot_attributes")
    rows = rows.assign(kind=["truth" if s == "truth" else system_kind(s) for s in rows["system"]])
    truth = rows[rows["kind"] == "truth"].set_index("detail")["value"]
    details = sorted(set(rows["detail"]), key=lambda d: (d == "all", -truth.get(d, 0), d))
    fig, ax = plt.subplots(figsize=(PAGE, 0.95 + 0.27 * len(details)))
    called = {"all": "all attributes (mean)", "category": "kind of work"}
    fs.name_rows(ax, [called.get(d, d) for d in details])
    ax.axvline(0.5, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
    for (detail, kind), part in rows.groupby(["detail", "kind"]):
        y = details.index(detail) + LANES.get(kind, 0)
        if kind in LANES:
            fs.dots_and_mean(ax, part["value"], y, LOOKS[kind])
        else:
            for each in part.itertuples():
                face = {} if each.p_holm < 0.05 else {"markerfacecolor": "white"}
                ax.plot(each.value, y, linestyle="none", zorder=2, **LOOKS[kind].points() | {"markersize": 5.5} | face)
    ax.set_xlabel("How well a probe recovers the attribute from the answers (AUC)\ndashed: chance; hollow diamonds and crosses: not clearly above it")
    handles = [
        fs.look_handle(look, f"{look.label}{'s: mean (dots: each)' if kind in LANES else ''}") for kind, look in LOOKS.items() if kind in set(rows["kind"])
    ]
    fs.legend_above(fig, ax, handles=handles, ncols=3)
    tuned = rows[(rows["kind"] == "tuned") & (rows["detail"] != "all")].groupby("detail")["value"].mean()
    clear = rows[(rows["kind"] == "truth") & (rows["p_holm"] < 0.05)]["detail"]
    far = (tuned - truth).reindex(clear).dropna()
    title = "Attributes read off the answers"
    if len(far) and far.min() < 0:
        least = far.idxmin()
        title = f"Of what people's answers give away, tuned models lack most: {called.get(least, least)} ({tuned[least]:.2f} against {truth[least]:.2f})"
    return fs.finish(fig, note, title=title), ax


@style()
def plot_card_use(worth: pd.DataFrame, layers: pd.DataFrame, *, note: str) -> tuple[Figure, np.ndarray]:
    """Where the card is lost: what a person's own card is worth to the wording, what of the card can be read in each layer, how much attention goes to it.

    Args: worth, layers: from `card_use.card_use`, an untuned base and the tuned model.
    Returns: the figure and its three axes. Raises: ValueError for an unknown system or a missing column.
    """
    fs.need(worth, ("system", "card", "nats", "lo", "hi"), "plot_card_use")
    fs.need(layers, ("system", "layer", "at_card", "at_answer", "chance", "card", "even"), "plot_card_use")
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 2.5), layout="constrained", width_ratios=(1.15, 1, 1))
    cards = {"stranger": "a stranger's\ncard", "nobody": "no card"}
    fs.name_rows(axes[0], list(cards.values()))
    axes[0].axvline(0, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
    for row in worth.rename(columns={"nats": "value"}).itertuples():
        kind = system_kind(row.system)
        fs.draw_interval(axes[0], row, list(cards).index(row.card) + LANES[kind], LOOKS[kind])
    axes[0].set(xlabel="What it costs the person's answer,\nnats a token (95 % interval)")
    for system, own in layers.groupby("system", sort=False):
        look = LOOKS[system_kind(system)]
        for column, line in (("at_card", "-"), ("at_answer", ":")):
            axes[1].plot(own["layer"], own[column], linestyle=line, markersize=4, **look.points())
        axes[2].plot(own["layer"], own["card"], linestyle="-", markersize=4, **look.points())
    axes[1].axhline(layers["chance"].mean(), color=GREY, linestyle="--", linewidth=0.9, zorder=1)
    axes[1].set(xlabel="layer", ylabel="AUC of the probe", ylim=(0.42, 1.02))
    axes[2].axhline(layers["even"].mean(), color=GREY, linestyle="--", linewidth=0.9, zorder=1)
    axes[2].set(xlabel="layer", ylabel="attention to the card", ylim=(0, None))
    handles = [fs.look_handle(LOOKS[kind]) for kind in LANES if kind in {system_kind(s) for s in layers["system"]}]
    handles += [Line2D([], [], color=GREY, linestyle=line, label=label) for line, label in
                (("-", "from the card's tokens"), (":", "where the answer begins"), ("--", "no effect, chance, even attention"))]  # fmt: skip
    fs.legend_above(fig, axes[0], handles=handles, ncols=3)
    read = layers[["at_card", "at_answer", "chance"]].max()
    title = "What the card is worth to the wording, and where it is"
    if read.notna().all():
        title = f"A probe reads the card at {read['at_card']:.2f} from its own tokens, at most at {read['at_answer']:.2f} where the answer begins"
    return fs.finish(fig, note, title=title), axes
