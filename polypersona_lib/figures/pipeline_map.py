"""The map at the top of every notebook: all notebooks, who hands what to whom, and "you are here". Drawn from `hand_offs`, without data of a run."""

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from textwrap import wrap

import networkx as nx
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ..locate import Stop, direct, hand_offs, stops
from ..paths import NOTEBOOKS
from .style import GREY, INK, OURS, PAGE, finish, look_up, style

BOX, LANE = 0.29, 0.42  # inches: height of a box, and of its lane
FOOT = 0.62  # inches below the boxes: two lines about this notebook, and the note


@style()
def plot_map(here: str, *, notebooks: Path = NOTEBOOKS, note: str = "dashed: not part of the default run") -> tuple[Figure, Axes]:
    """The pipeline from left to right, the box of notebook `here` filled and named, what it reads and hands on in words below.

    An arrow also stands for what its start was given: 01 hands its data set to 04 by way of 03. About a tenth of a second; nothing is saved.
    Raises: ValueError listing the notebooks for an unknown number.
    """
    known = stops(notebooks)
    look_up(known, here, "notebook")
    edges = hand_offs(known)
    spots, ways, pitch, height = _layout(known, edges)
    fig = plt.figure(figsize=(PAGE, height + FOOT), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, PAGE), ylim=(-FOOT, height))
    ax.axis("off")
    for edge, way in ways.items():
        _arrow(ax, [spots[node] for node in way], half=0.42 * pitch, near=here in edge, dashed=any(known[n].aside for n in edge))
    for number, stop in known.items():
        _box(ax, *spots[number], 0.84 * pitch, stop, here)
    for row, line in enumerate(in_words(here, edges)):
        ax.text(0.08, -0.09 - 0.16 * row, line, fontsize=7, va="center")
    finish(fig, note, title=f"Notebook {here} in the pipeline")
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
    for word, names, nothing in (("from", reads, "files of the project alone"), ("to", gives, "nothing; it is for you")):
        parts = [f"{name or 'all it wrote' if word == 'to' else name or 'everything'} {word} {', '.join(sorted(who))}" for name, who in names.items()]
        lines.append("; ".join(parts) or nothing)
    return f"{here} reads: {lines[0]}", f"{here} hands on: {lines[1]}"


def _layout(known: dict[str, Stop], edges: dict) -> tuple[dict, dict[tuple[str, str], list], float, float]:
    """Where everything stands: `{node: (x, y) in inches}`, `{arrow: the nodes it passes}`, width of a column, height of the picture.

    A notebook stands one column after the last that it reads from; an arrow has a node of its own in every column that it passes.
    """
    graph = nx.DiGraph(list(edges))
    graph.add_nodes_from(known)
    column = {number: i for i, numbers in enumerate(nx.topological_generations(graph)) for number in numbers}
    ways = {(a, b): [a, *((i, a, b) for i in range(column[a] + 1, column[b])), b] for a, b in sorted(direct(edges))}
    routes = nx.DiGraph()
    routes.add_nodes_from(known)
    for way in ways.values():
        nx.add_path(routes, way)
    members = defaultdict(list)
    for node in routes:
        members[node[0] if isinstance(node, tuple) else column[node]].append(node)
    pitch, height = PAGE / len(members), LANE * max(map(len, members.values())) + 0.12
    spots: dict = {}
    for number, nodes in sorted(members.items()):
        nodes.sort(key=lambda node: (-fmean([spots[p][1] for p in routes.predecessors(node)] or [0]), str(node)))
        spots |= {node: ((number + 0.5) * pitch, height / 2 - LANE * (row - (len(nodes) - 1) / 2)) for row, node in enumerate(nodes)}
    return spots, ways, pitch, height


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
