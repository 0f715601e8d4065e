"""Fig. 3 redrawn: where LoRA sits in a Transformer block. A diagram in inches, without data of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from ..registry import MODELS, PAPER_TARGETS
from .style import GREY, INK, OURS, PAGE, finish, style

FROZEN, FROZEN_EDGE = "#e4e4e4", "#8a8a8a"
_WIDTH, HEIGHT, STREAM, MIDDLE = 7.3, 4.25, 1.74, 3.0  # about inches: the figure, the residual stream, the middle of the two sub-layers


def other_targets() -> dict[str, str]:
    """Models of the registry whose layers are not named as in the paper -> what LoRA adapts there instead."""
    out = {}
    for spec in MODELS.values():
        own, lost = ([t for t in a if t not in b] for a, b in ((spec.lora_targets, PAPER_TARGETS), (PAPER_TARGETS, spec.lora_targets)))
        if own or lost:
            out[spec.display] = f"{', '.join(own) or 'nothing'} in place of {', '.join(lost) or 'nothing'}"
    return out


@style()
@plt.rc_context({"text.parse_math": True})  # its formulas
def plot_lora_diagram(
    *, r: int = 16, alpha: int = 32, others: Mapping[str, str] | None = None, note: str = "diagram, redrawn after the paper's Fig. 3"
) -> tuple[Figure, Axes]:
    """Fig. 3: frozen 4-bit weights with trainable low-rank pairs beside Q, K, V, O and gate, up, down; residual stream below.

    Args:
        r, alpha: rank and scaling of the adapters. others: model -> what differs there; default: read from the registry.

    Source: paper, Fig. 3 and section IV-C.
    """
    fig, ax = plt.subplots(figsize=(PAGE, HEIGHT + 0.15))
    ax.set(xlim=(0, _WIDTH), ylim=(0.05, HEIGHT), aspect="equal")
    ax.axis("off")
    _attention(ax)
    _feed_forward(ax)
    _stream(ax)
    _one_pair(ax, r, alpha)
    _legend(ax, r, alpha, other_targets() if others is None else others)
    return finish(fig, note, title="LoRA: every adapted weight stays frozen and gets a small trained pair beside it"), ax


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How a box is drawn: face, edge, the colour, size and rotation (degrees) of its text, a hatch, its place among the layers."""

    face: str = "white"
    edge: str = GREY
    ink: str = INK
    size: float = 7.0
    rotation: int = 0
    hatch: str = ""
    layer: int = 3


_PLAIN, _PANEL, _NORM = _Look(), _Look(face="#fafafa", edge="#c9c9c9", layer=0), _Look(rotation=90)
_WEIGHT, _PAIR = _Look(face=FROZEN, edge=FROZEN_EDGE, hatch="////"), _Look(face=OURS, edge=OURS, ink="white")


def _box(ax: Axes, centre: tuple[float, float], size: tuple[float, float], text: str = "", look: _Look = _PLAIN) -> None:
    """A rounded box of `size` (width, height) with a text; a hatch is drawn lightly under the text."""
    (x, y), (width, height) = centre, size
    patch = {"facecolor": look.face, "edgecolor": look.edge, "linewidth": 0.8, "hatch": look.hatch, "hatchcolor": "#d2d2d2", "zorder": look.layer}
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.05", **patch))
    style_of_text = {"fontsize": look.size, "color": look.ink, "rotation": look.rotation, "zorder": look.layer + 1}
    ax.text(x, y, text, ha="center", va="center", linespacing=1.25, **style_of_text)


def _arrow(ax: Axes, *points: tuple[float, float], color=INK, head: bool = True) -> None:
    """A line through `points`, square at the corners, with a head at its end."""
    *start, last = points
    if len(start) > 1:
        ax.plot(*zip(*start, strict=True), color=color, linewidth=0.9, zorder=2, solid_joinstyle="round")
    arrow = {"arrowstyle": "-|>" if head else "-", "color": color, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6.5}
    ax.annotate("", last, start[-1], arrowprops=arrow, zorder=2)


def _node(ax: Axes, x: float, y: float, sign: str) -> None:
    ax.add_patch(Circle((x, y), 0.085, facecolor="white", edgecolor=INK, linewidth=0.9, zorder=5))
    ax.text(x, y - 0.005, sign, ha="center", va="center", fontsize=8, zorder=6)


def _pair(ax: Axes, x: float, y: float, symbol: str, module: str) -> None:
    """One adapted projection, 0.86 inch wide, centred on (x, y): the frozen W, a plus, the trainable B·A, the layer's name above."""
    _box(ax, (x - 0.2, y), (0.46, 0.34), f"$W_{{\\mathrm{{{symbol}}}}}$", replace(_WEIGHT, size=8))
    ax.text(x + 0.085, y, "+", ha="center", va="center", fontsize=7.5, zorder=4)
    _box(ax, (x + 0.29, y), (0.28, 0.34), "$BA$", _PAIR)
    ax.text(x, y + 0.25, module, ha="center", va="center", fontsize=6.5, family="monospace", zorder=4)


def _attention(ax: Axes) -> None:
    _box(ax, (2.09, 3.03), (3.36, 2.14), look=_PANEL)
    ax.text(2.09, 4.18, "Self-attention", ha="center", va="center", fontsize=8, weight="bold")
    _arrow(ax, (0.24, STREAM), (0.24, MIDDLE), (0.51, MIDDLE))
    _box(ax, (0.62, MIDDLE), (0.22, 0.9), "Norm", _NORM)
    for symbol, y in (("Q", MIDDLE + 0.68), ("K", MIDDLE), ("V", MIDDLE - 0.68)):
        _arrow(ax, (0.73, MIDDLE), (0.84, MIDDLE), (0.84, y), (0.97, y))
        _pair(ax, 1.4, y, symbol, f"{symbol.lower()}_proj")
        _arrow(ax, (1.83, y), (2.02, y))
    _box(ax, (2.35, MIDDLE), (0.66, 1.8), "Softmax\n\n$\\left(\\dfrac{QK^{\\top}}{\\sqrt{d}}\\right)V$")
    _arrow(ax, (2.68, MIDDLE), (2.83, MIDDLE))
    _pair(ax, 3.26, MIDDLE, "O", "o_proj")
    _arrow(ax, (3.69, MIDDLE), (3.92, MIDDLE), (3.92, STREAM + 0.085))


def _feed_forward(ax: Axes) -> None:
    _box(ax, (5.54, 3.03), (2.78, 2.14), look=_PANEL)
    ax.text(5.54, 4.18, "SwiGLU feed-forward", ha="center", va="center", fontsize=8, weight="bold")
    _arrow(ax, (4.06, STREAM), (4.06, MIDDLE), (4.22, MIDDLE))
    _box(ax, (4.33, MIDDLE), (0.22, 0.9), "Norm", _NORM)
    for symbol, y in (("gate", MIDDLE + 0.45), ("up", MIDDLE - 0.45)):
        _arrow(ax, (4.44, MIDDLE), (4.53, MIDDLE), (4.53, y), (4.64, y))
        _pair(ax, 5.07, y, symbol, f"{symbol}_proj")
    _arrow(ax, (5.5, MIDDLE + 0.45), (5.78, MIDDLE + 0.45), (5.78, MIDDLE + 0.085))
    _box(ax, (5.78, MIDDLE + 0.45), (0.3, 0.22), "SiLU", _Look(size=6.5))
    _arrow(ax, (5.5, MIDDLE - 0.45), (5.78, MIDDLE - 0.45), (5.78, MIDDLE - 0.085))
    _node(ax, 5.78, MIDDLE, "×")
    _arrow(ax, (5.865, MIDDLE), (6.0, MIDDLE))
    _pair(ax, 6.43, MIDDLE, "down", "down_proj")
    _arrow(ax, (6.86, MIDDLE), (7.02, MIDDLE), (7.02, STREAM + 0.085))


def _stream(ax: Axes) -> None:
    """The residual stream that both sub-layers read from and add to."""
    _arrow(ax, (0.02, STREAM), (3.835, STREAM))
    _arrow(ax, (4.005, STREAM), (6.935, STREAM))
    _arrow(ax, (7.105, STREAM), (_WIDTH - 0.02, STREAM))
    for x in (3.92, 7.02):
        _node(ax, x, STREAM, "+")
    ax.text(2.09, STREAM - 0.11, "residual connection", ha="center", va="center", fontsize=6.5, color=GREY)
    ax.text(5.54, STREAM - 0.11, "residual connection", ha="center", va="center", fontsize=6.5, color=GREY)


def _one_pair(ax: Axes, r: int, alpha: int) -> None:
    """The inside of one adapted projection: W beside the two thin matrices."""
    upper, lower = 1.13, 0.42
    ax.text(0.02, 1.42, "Inside each adapted projection", fontsize=7.5, weight="bold", va="center")
    ax.text(0.07, (upper + lower) / 2, "$x$", ha="center", va="center", fontsize=8.5)
    _arrow(ax, (0.16, 0.775), (0.34, 0.775), (0.34, upper), (0.62, upper))
    _arrow(ax, (0.16, 0.775), (0.34, 0.775), (0.34, lower), (0.62, lower))
    _box(ax, (1.43, upper), (1.62, 0.36), "$W$  frozen, 4-bit NF4", _WEIGHT)
    for x, sides, name in ((0.92, (0.3, 0.11), "$A$"), (1.94, (0.11, 0.3), "$B$")):
        half, (left, right) = 0.3, sides
        corners = [(x - half, lower - left), (x - half, lower + left), (x + half, lower + right), (x + half, lower - right)]
        ax.add_patch(Polygon(corners, closed=True, facecolor=OURS, edgecolor=OURS, joinstyle="round", linewidth=1, zorder=3))
        ax.text(x, lower, name, ha="center", va="center", fontsize=9, color="white", zorder=4)
    _arrow(ax, (1.22, lower), (1.64, lower))
    ax.text(1.43, lower + 0.12, f"$r = {r}$", ha="center", va="center", fontsize=6.5)
    _arrow(ax, (2.24, upper), (2.82, upper), (2.82, 0.86))
    _arrow(ax, (2.24, lower), (2.82, lower), (2.82, 0.69))
    ax.text(2.53, lower + 0.1, f"$\\times\\,\\alpha / r = {alpha / r:g}$", ha="center", va="center", fontsize=6.5)
    _node(ax, 2.82, 0.775, "+")
    _arrow(ax, (2.905, 0.775), (3.1, 0.775))
    ax.text(3.14, 0.775, "$h = Wx + \\dfrac{\\alpha}{r}\\,BAx$", va="center", fontsize=8.5)


def _legend(ax: Axes, r: int, alpha: int, others: Mapping[str, str]) -> None:
    _box(ax, (4.56, 1.36), (0.24, 0.17), look=replace(_WEIGHT, hatch="//////"))
    ax.text(4.76, 1.36, "frozen weight $W$, 4-bit NF4", va="center", fontsize=7)
    _box(ax, (4.56, 1.09), (0.24, 0.17), look=_PAIR)
    ax.text(4.76, 1.09, f"trainable LoRA pair $B \\cdot A$, $r = {r}$, $\\alpha = {alpha}$", va="center", fontsize=7)
    ax.text(4.44, 0.82, "Other layer names:" if others else "", va="center", fontsize=7, weight="bold")
    for row, (model, text) in enumerate(others.items()):
        own, _, lost = text.partition(" in place of ")
        ax.text(4.44, 0.63 - 0.38 * row, f"{model}: {own}\n   in place of {lost}", va="top" if row else "center", fontsize=6.5, linespacing=1.3)
