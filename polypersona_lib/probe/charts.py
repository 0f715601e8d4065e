"""The probe's small charts, and each of them in words (for readers who do not see it). They return PNG bytes or a figure and never touch pyplot's state."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from ..figures.style import LOOKS, finish, style, wrap

HATCHES = ("", "////", "....", "xxxx")
# lowest to highest option, away from the colours of tuned and untuned; labels are in the legend and in words
SHADES = LinearSegmentedColormap.from_list("options", ["#762a83", "#c2a5cf", "#dadada", "#a6dba0", "#1b7837"])
PLAIN = {"text.parse_math": False}  # a dollar sign in somebody's option is a dollar sign
_WIDTH = 4.8  # inches: narrow, so that the text can still be read where a phone shrinks the picture
_READ, DOUBT = "◆", "(!)"  # the option read from an answer; a value that makes an impossible card


class Chart(Figure):
    """A figure that a notebook shows by itself, whatever backend is in use."""

    def _repr_png_(self) -> bytes:
        return png(self)


@cache
def _drawn() -> frozenset[int]:
    """The characters that the charts' font has."""
    with style():
        return frozenset(get_font(findfont(FontProperties())).get_charmap())


def legible(texts: Sequence[str]) -> list[str]:
    """Labels for a chart: a text with a character that the font lacks, or that is written from right to left, becomes "option 1" (the words beside
    the chart have it as it is); a chart would draw boxes, or its letters in the wrong order.
    """

    def good(text: str) -> bool:
        return all(ord(c) in _drawn() and unicodedata.bidirectional(c) not in ("R", "AL") for c in text if c not in "\n\t")

    return [text if good(text) else f"option {i + 1}" for i, text in enumerate(texts)]


def _figure(height: float, columns: int = 1):
    fig = Chart(figsize=(_WIDTH, height), layout="constrained", dpi=144)
    FigureCanvasAgg(fig)
    return fig, fig.subplots(1, columns, sharey=True, squeeze=False)[0]


def png(fig: Figure) -> bytes:
    """The figure as PNG."""
    buffer = BytesIO()
    with style(), plt.rc_context(PLAIN):
        fig.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()


def _bar_look(kind: str, number: int) -> dict:
    """How the bars of a group are drawn: the colour of its kind as in every figure; untuned hollow; hatches tell groups of one kind apart."""
    look = LOOKS[kind]
    if look.filled:
        return {"facecolor": look.color, "edgecolor": "white", "linewidth": 0, "hatch": HATCHES[number % 4]}
    return {"facecolor": "white", "edgecolor": look.color, "linewidth": 0.9, "hatch": HATCHES[number % 4]}


def plot_options(
    groups: dict[str, Sequence[float]],
    options: Sequence[str],
    kinds: Sequence[str],
    *,
    note: str,
    xlabel: str = "probability of the option",
    read: Sequence[int | None] = (),
) -> Figure:
    """Bars of one number per option and group.

    Args:
        groups: label -> numbers. kinds: "untuned" or "tuned" for each group, which decides its colour.
        read: the option that each group's answer names.
    """
    with style(), plt.rc_context(PLAIN):
        fig, (ax,) = _figure(0.7 + (0.14 * len(groups) + 0.14) * len(options) + 0.2 * len(groups))
        width, at = 0.8 / len(groups), np.arange(len(options))
        for number, ((label, values), kind) in enumerate(zip(groups.items(), kinds, strict=True)):
            where = at + (number - (len(groups) - 1) / 2) * width
            bars = ax.barh(where, values, width * 0.86, label=label, **_bar_look(kind, kinds[:number].count(kind)))
            named = read[number] if number < len(read) else None
            ax.bar_label(bars, [f"{v:.0%} {_READ}" if i == named else f"{v:.0%}" for i, v in enumerate(values)], padding=2, fontsize=6.5)
        ax.set_yticks(at, [wrap(o[:60], 24) for o in legible(options)])
        ax.invert_yaxis()
        ax.set_xlim(0, 1.12)
        ax.set_xticks(np.arange(0, 1.1, 0.2))
        if any(option is not None for option in read):
            xlabel += f"; {_READ} the option read from the answer"
        ax.set_xlabel(xlabel)
        ax.grid(False, axis="y")
        fig.legend(loc="outside upper left", ncols=1)
        return finish(fig, note)


def plot_sweep(panels: dict[str, dict[object, Sequence[float]]], options: Sequence[str], name: str, *, note: str) -> Figure:
    """For every system a stack of option probabilities at each value of the attribute `name`."""
    values = [v for v in next(iter(panels.values())) if all(v in panel for panel in panels.values())]  # Stop may leave a model with fewer
    shades = SHADES(np.linspace(0, 1, len(options)))
    with style(), plt.rc_context(PLAIN):
        fig, axes = _figure(1.1 + 0.16 * len(values) + 0.12 * len(options), len(panels))
        for ax, (label, by_value) in zip(axes, panels.items(), strict=True):
            table, left = np.array([by_value[v] for v in values]), np.zeros(len(values))
            for i, option in enumerate(legible(options)):
                ax.barh(range(len(values)), table[:, i], 0.84, left=left, facecolor=shades[i], edgecolor="white", linewidth=0.4,
                        hatch=HATCHES[1] if i > len(options) / 2 else "", label=option[:60])  # fmt: skip
                left += table[:, i]
            mean = table @ np.arange(len(options)) / (len(options) - 1)
            line = 1.0 if name == "age" else 0  # other values have no order to join them by
            ax.plot(mean, range(len(values)), color="black", marker="D", markersize=3.5, markeredgecolor="white", linewidth=line, label="mean position")
            ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], xlabel="probability of each option")  # with more ticks two panels' ends would touch
            ax.set_title(fill(label, 22), loc="left")
            ax.grid(False)
        _name_values(axes[0], values, name)
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper left", ncols=3)
        return finish(fig, note)


def plot_word_counts(counts: dict[str, dict[object, int]], kinds: Sequence[str], name: str, *, note: str) -> Figure:
    """An open question over an attribute: words of each answer (there is no option to count). `kinds`: see `plot_options`."""
    with style(), plt.rc_context(PLAIN):
        values = list(next(iter(counts.values())))
        fig, (ax,) = _figure(0.9 + 0.16 * len(values))
        for (label, by_value), kind in zip(counts.items(), kinds, strict=True):
            ax.plot([by_value[v] for v in values], range(len(values)), linestyle="none", label=label, **LOOKS[kind].points())
        _name_values(ax, values, name)
        ax.set_xlabel("words in the answer")
        ax.set_xlim(left=0)
        fig.legend(loc="outside upper left")
        return finish(fig, note)


def _name_values(ax, values: Sequence, name: str) -> None:
    """Name the rows by the values of the attribute `name`, the first at the top."""
    ax.set_yticks(range(len(values)), [str(v)[:40] for v in values])
    ax.set_ylabel(name.replace("_", " "))
    ax.invert_yaxis()


def say_options(groups: dict[str, Sequence[float]], options: Sequence[str]) -> str:
    """The bars in words, a line a group."""
    return "\n".join(f"{label}: " + ", ".join(f"{o} {v:.0%}" for o, v in zip(options, values, strict=True)) for label, values in groups.items())


def say_answers(replies: dict[object, Any]) -> str:
    """The answers (`asking.Reply`) of a sweep, equal ones together: which values they belong to, the text, the option read from it."""
    together: dict[tuple[str, str], list] = {}
    for value, r in replies.items():
        together.setdefault((r.text, f" [{r.stance}]" if r.ask.options else ""), []).append(value)
    lines = []
    for (text, stance), values in together.items():
        more = f" and {len(values) - 8} more" if len(values) > 8 else ""
        lines.append(f"{', '.join(map(str, values[:8]))}{more}: {text}{stance}")
    return "\n".join(lines)


def say_sweep(replies: dict[object, Any], name: str) -> str:
    """A sweep in words, a line a value: the probability of every option, or the number of words of an answer to an open question."""
    lines = []
    for value, r in replies.items():
        probable = ", ".join(f"{o} {p:.0%}" for o, p in zip(r.ask.options, r.option_probs or (), strict=True))
        lines.append(f"{name} {value}: " + (probable or f"{len(r.text.split())} words"))
    return "\n".join(lines)


def shares(replies: Sequence[Any]) -> list[float]:
    """Share of each option among the replies from which one was read, at least 0 each."""
    counts = np.bincount([r.option for r in replies if r.option is not None], minlength=len(replies[0].ask.options)).astype(float)
    return list(counts / max(1.0, counts.sum()))
