"""How every figure looks: sizes, one mapping of things to colour + marker or hatch, the note that names the run, and byte-stable files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ..files import write_atomically
from ..registry import MODELS
from ..systems import CONTROLS, model_of, system_kind
from ..world.questions import DOMAINS

COLUMN, PAGE = 3.5, 7.16  # IEEE column and page width in inches
DPI = 300
INK, GREY, LIGHT = "#1a1a1a", "#5f5f5f", "#d9d9d9"
OURS, REFERENCE = "#0072B2", "#bdbdbd"
PAPER = {  # the paper's value, in every figure: a black upright tick, taller than a bar
    "color": INK, "marker": "|", "markersize": 10.5, "markeredgewidth": 1.6, "linestyle": "none",
    "path_effects": [withStroke(linewidth=2.2, foreground="white")],
}  # fmt: skip
MODEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#56B4E9", "#6A3D9A", "#882255")  # Okabe-Ito, yellow darkened, two added
MODEL_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")

RC = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 0, "lines.linewidth": 1.2,
    "lines.markersize": 4.5, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "axes.facecolor": "white",
    "grid.color": "#e6e6e6", "grid.linewidth": 0.5, "legend.frameon": False, "legend.handlelength": 1.6, "hatch.linewidth": 0.6, "hatch.color": "white",
    "figure.facecolor": "white", "figure.dpi": 144, "figure.constrained_layout.use": True,
    "savefig.dpi": DPI, "savefig.facecolor": "white", "savefig.bbox": None,
    "pdf.fonttype": 42, "pdf.compression": 6, "ps.fonttype": 42, "svg.hashsalt": "polypersona", "axes.unicode_minus": True, "mathtext.fontset": "dejavusans",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How one thing is drawn wherever it appears: never by colour alone."""

    label: str
    color: str
    marker: str
    filled: bool = True
    hatch: str = ""
    linestyle: str = "-"

    def points(self) -> dict:
        """Keyword arguments of `Axes.plot` and `Axes.errorbar` for its marker."""
        return {"color": self.color, "marker": self.marker, "markerfacecolor": self.color if self.filled else "white", "markeredgecolor": self.color}


QUESTION_TYPES = {  # markers and greys: the caption of the paper's Fig. 2
    "open": Look("Open-ended", "#333333", "D", hatch=""),
    "likert": Look("Likert scale", "#6b6b6b", "o", hatch="////"),
    "yesno": Look("Yes / no", "#9a9a9a", "^", hatch="...."),
    "agreement": Look("Agreement", "#c6c6c6", "s", hatch="xxxx"),
}

LOOKS = {  # what a row of a score table is
    "baseline": Look("baseline", "#6b6b6b", "v"),
    "untuned": Look("untuned base", "#D55E00", "o", filled=False),
    "tuned": Look("tuned model", OURS, "o"),
    "retest": Look("same respondent again", "#8C6D00", "X"),
    "oracle": Look("oracle", "#009E73", "P"),
}


@contextmanager
def style() -> Iterator[None]:
    """The project's rcParams, restored afterwards; `@style()` wraps a whole plot function."""
    with plt.rc_context(RC):
        yield


def pick(mapping: Mapping, name, what: str):
    """`mapping[name]`. Raises ValueError listing the valid names."""
    if name not in mapping:
        raise ValueError(f"unknown {what} '{name}'; choose from {', '.join(map(str, mapping))}")
    return mapping[name]


def need(frame, columns: Iterable[str], what: str) -> None:
    """Raises ValueError if `frame` is empty or lacks one of `columns`."""
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise ValueError(f"{what}: column(s) {', '.join(missing)} missing; found {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise ValueError(f"{what}: no rows to draw")


def domain_labels(labels: Mapping[str, str] | None = None) -> dict[str, str]:
    """Domain key -> name in figures: `labels` if given (foreign data), else the paper's ten."""
    return dict(labels) if labels is not None else dict(DOMAINS)


def model_look(system: str) -> Look:
    """The look of a model's lines: colour and marker by its place in the registry; its untuned base hollow and dashed; a control as its kind."""
    kind = system_kind(system)
    if kind not in ("untuned", "tuned"):
        return replace(LOOKS[kind], label=system.replace("_", " "), linestyle=("-", "--", ":", "-.")[[*CONTROLS].index(system) % 4])
    key = model_of(system)
    place = (MODELS[key].order - 1) % len(MODEL_COLOURS)
    return Look(MODELS[key].display, MODEL_COLOURS[place], MODEL_MARKERS[place], filled=kind == "tuned", linestyle="-" if kind == "tuned" else "--")


def run_note(run) -> str:
    """The grey line under a figure of `run` (a `config.RunConfig`): what drew it, so that a nano figure is never taken for a paper one."""
    scale = "nano twins" if run.settings.scale == "nano" else "hub models"
    profile = "" if run.profile in ("nano", "paper") else f"{run.profile} profile"
    data = f"data {Path(run.data).stem}" if run.data else ""
    return " · ".join(part for part in (scale, profile, data, f"{run.split} split", f"seed {run.seed}") if part)


def finish(fig: Figure, note: str) -> Figure:
    """Put the note under the figure, lay it out once and freeze the layout, so that it is saved as it was seen. Raises ValueError without a note."""
    if not note.strip():
        raise ValueError("a figure needs a note that names profile, split and seed: figure_style.run_note(run)")
    fig.supxlabel(note, x=0.995, ha="right", fontsize=6.2, color=GREY)
    fig.canvas.draw()
    fig.set_layout_engine("none")
    return fig


def paper_handle(label: str = "paper") -> Line2D:
    """Legend entry of the paper's value."""
    return Line2D([], [], **PAPER, label=label)


def paper_ticks(ax: Axes, values: Mapping, keys: Sequence) -> None:
    """The paper's value on each row that has one."""
    found = [(values[key], row) for row, key in enumerate(keys) if key in values and pd.notna(values[key])]
    if found:
        ax.plot(*zip(*found, strict=True), **PAPER, zorder=4)


def name_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Named rows from top to bottom, with a grid along the value axis only."""
    ax.set_yticks(range(len(labels)), labels, linespacing=1.05)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(False, axis="y")


def number_column(ax: Axes, offset: float, header: str, texts: Sequence[str]) -> None:
    """A column of numbers flush right, `offset` points right of the axes, one a row, under a grey header."""
    place = {"xycoords": ("axes fraction", "data"), "xytext": (offset, 0), "textcoords": "offset points", "ha": "right", "va": "center_baseline", "fontsize": 7}
    ax.annotate(header, (1, -0.95), color=GREY, **place)
    for row, text in enumerate(texts):
        ax.annotate(text, (1, row), annotation_clip=False, **place)


def beside(ax: Axes, y: float, **look) -> None:
    """A marker between a row and its name."""
    ax.plot(-0.045, y, transform=ax.get_yaxis_transform(), clip_on=False, markersize=5.5, **look)


def naming(keys: Iterable, labels: Mapping | None) -> list[str]:
    """Names for keys: from `labels`, else the key with spaces."""
    return [(labels or {}).get(key, str(key).replace("_", " ")) for key in keys]


def wrap(label: str, width: int) -> str:
    """`label` on one line if it fits in `width` characters, else broken before its bracket, else between words."""
    return label if len(label) <= width else label.replace(" (", "\n(", 1) if " (" in label else fill(label, width)


def legend_above(fig: Figure, ax: Axes, *, handles=None, ncols: int = 3, **options) -> None:
    """A frameless legend above the axes, outside the data."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    fig.legend(handles=handles, loc="outside upper center", ncols=ncols, columnspacing=1.2, handletextpad=0.5, borderaxespad=0.2, **options)


def save(fig: Figure, stem: Path | str) -> tuple[Path, Path]:
    """Write `<stem>.png` (300 dpi) and `<stem>.pdf` (embedded TrueType fonts), without dates or versions, and close the figure.

    The same figure gives the same bytes, whenever and wherever the pinned versions draw it. Returns the two paths.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    blank = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    written = []
    for kind, metadata in blank.items():
        with style():
            buffer = BytesIO()
            fig.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        written.append(stem.with_name(f"{stem.name}.{kind}"))
        write_atomically(written[-1], buffer.getvalue())
    plt.close(fig)
    return tuple(written)
