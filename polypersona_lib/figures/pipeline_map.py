"""The map at the top of every notebook: all notebooks, who hands what to whom, and "you are here". Drawn from `hand_offs`, without data of a run."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from textwrap import wrap

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ..notebook_graph import PROBE, Stop, direct, hand_offs, stops
from ..paths import NOTEBOOKS
from .style import GREY, INK, OURS, PAGE, finish, pick, style

BOX, LANE, THROUGH = 0.29, 0.42, 0.2  # inches: height of a box, of its lane, of the lane of an arrow that passes a column
FOOT = 0.62  # inches below the boxes: two lines about this notebook, and the note
_NOTE = "dashed: not part of the default run"


@style()
def plot_map(here: str, *, notebooks: Path = NOTEBOOKS, note: str = _NOTE) -> tuple[Figure, Axes]:
    """The pipeline from left to right, the box of notebook `here` filled and named, what it reads and hands on in words below.

    An arrow also stands for what its start was given: 01 hands its data set to 04 by way of 03. About a tenth of a second; nothing is saved.
    Raises: ValueError listing the notebooks for an unknown number.
    """
    known = stops(notebooks)
    pick(known, here, "notebook")
    edges = hand_offs(known)
    shown = direct(edges)
    ways = {edge: _way(edge, _columns(known, edges)) for edge in shown}
    spots, columns, height = _places(known, ways)
    pitch = PAGE / columns
    fig = plt.figure(figsize=(PAGE, height + FOOT), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, PAGE), ylim=(-FOOT, height))
    ax.axis("off")
    where = {place: ((place[0] + 0.5) * pitch, y) for place, y in spots.items()}
    for edge, way in ways.items():
        _arrow(ax, [where[place] for place in way], half=0.42 * pitch, near=here in edge, dashed=any(known[n].aside for n in edge))
    for place, centre in where.items():
        if place[1] in known:
            _box(ax, *centre, 0.84 * pitch, known[place[1]], here)
    for row, line in enumerate(in_words(here, edges)):
        ax.text(0.08, -0.09 - 0.16 * row, line, fontsize=7, va="center")
    finish(fig, note)
    plt.close(fig)  # a notebook shows what the cell returns; nobody saves a map, so nobody else would close it
    return fig, ax


def in_words(here: str, edges: dict[tuple[str, str], tuple[str, ...]]) -> tuple[str, str]:
    """What notebook `here` reads from which notebook, and what it hands on to which, as two lines."""
    reads, gives = defaultdict(list), defaultdict(list)
    for (start, end), names in edges.items():
        for name in names:
            if end == here:
                reads[name].append(start)
            if start == here:
                gives[name].append(end)
    lines = []
    for word, found, nothing in (("from", reads, "files of the project alone"), ("to", gives, "nothing; it is for you")):
        parts = [f"{name or 'all it wrote' if word == 'to' else name or 'everything'} {word} {', '.join(sorted(who))}" for name, who in found.items()]
        lines.append("; ".join(parts) or nothing)
    return f"{here} reads: {lines[0]}", f"{here} hands on: {lines[1]}"


def _columns(known: dict[str, Stop], edges) -> dict[str, int]:
    """Each notebook's column: one more than the last of those it reads from."""
    column = dict.fromkeys(known, 0)
    for number in [n for n in known if n != PROBE] + [n for n in known if n == PROBE]:
        column[number] = max((column[start] + 1 for start, end in edges if end == number), default=0)
    return column


def _way(edge: tuple[str, str], column: dict[str, int]) -> list[tuple[int, object]]:
    """The places an arrow goes through: its start, one in every column between, its end."""
    start, end = edge
    return [(column[start], start), *((c, edge) for c in range(column[start] + 1, column[end])), (column[end], end)]


def _places(known: dict[str, Stop], ways) -> tuple[dict, int, float]:
    """`{(column, who): height in inches}`, the number of columns and the height of the picture; places near those they come from, no two in one lane."""
    members: dict[int, set] = defaultdict(set)
    before: dict[tuple, list] = defaultdict(list)
    for way in ways.values():
        for place, following in zip(way, way[1:], strict=False):
            before[following].append(place)
        for column, who in way:
            members[column].add(who)
    size = {(c, who): LANE if who in known else THROUGH for c, group in members.items() for who in group}
    height = max(sum(size[c, who] for who in group) for c, group in members.items()) + 0.12
    y: dict[tuple, float] = {}
    for c, group in sorted(members.items()):
        came = {who: -sum(y[p] for p in before[c, who]) / max(1, len(before[c, who])) for who in group}
        top = height / 2 + sum(size[c, who] for who in group) / 2 - 0.06
        for who in sorted(group, key=lambda w: (round(came[w], 6), w if isinstance(w, str) else w[0])):
            y[c, who] = top - size[c, who] / 2
            top -= size[c, who]
    return y, max(members) + 1, height


def _arrow(ax: Axes, points: list[tuple[float, float]], *, half: float, near: bool, dashed: bool) -> None:
    """A line from the right edge of the first box to the left edge of the last; `near`: it touches the notebook the reader is in."""
    look = {"color": INK if near else "#9a9a9a", "linewidth": 1.4 if near else 0.8, "linestyle": (0, (3, 2)) if dashed else "-", "zorder": 2 if near else 1}
    line = [(points[0][0] + half, points[0][1])]
    for x, y in points[1:-1]:
        line += [(x - half, y), (x + half, y)]
    end = (points[-1][0] - half, points[-1][1])
    if len(line) > 1:
        ax.plot(*zip(*line, strict=True), solid_joinstyle="round", **look)
    ax.annotate("", end, line[-1], arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7, **look}, zorder=look["zorder"])


def _box(ax: Axes, x: float, y: float, width: float, stop: Stop, here: str) -> None:
    """A notebook's box; the reader's own is filled, has a thick edge and says so."""
    mine = stop.number == here
    look = {"facecolor": OURS if mine else "white", "edgecolor": INK if mine else GREY, "linewidth": 2.0 if mine else 0.8}
    look["linestyle"] = (0, (3, 2)) if stop.aside and not mine else "-"
    ax.add_patch(FancyBboxPatch((x - width / 2, y - BOX / 2), width, BOX, boxstyle="round,pad=0,rounding_size=0.05", zorder=3, **look))
    text = "\n".join(wrap(f"{stop.number} {stop.name}", int(width / 0.054)))
    ax.text(x, y, text, ha="center", va="center", fontsize=6.5, color="white" if mine else INK, linespacing=1.05, zorder=4)
    if mine:
        ax.text(x, y + BOX / 2 + 0.065, "▼ you are here", ha="center", va="center", fontsize=6.5, weight="bold", zorder=4)
