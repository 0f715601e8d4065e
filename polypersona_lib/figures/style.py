"""How every figure looks: sizes, one mapping of things to colour + marker or hatch, the note that names the run, and byte-stable files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from ..registry import get_spec
from ..systems import model_of, system_kind
from ..world.questions import DOMAINS

COLUMN, PAGE = 3.5, 7.16  # IEEE column and page width in inches
DPI = 300
INK, GREY, LIGHT = "#1a1a1a", "#5f5f5f", "#d9d9d9"
OURS, REFERENCE = "#0072B2", "#bdbdbd"
PAPER = {  # the paper's value, in every figure: a black upright tick, taller than a bar
    "color": INK, "marker": "|", "markersize": 10.5, "markeredgewidth": 1.6, "linestyle": "none",
    "path_effects": [withStroke(linewidth=2.2, foreground="white")],
}  # fmt: skip
MODEL_COLOURS = ("#332288", "#CC6677", "#44AA99", "#882255", "#999933", "#56B4E9", "#AA4499", "#7A4B2A")  # none of them in LOOKS; for other categories too
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
    "text.parse_math": False,  # a dollar in the name of a domain or of a folder is a dollar
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

LOOKS = {  # what a row of a score table is, in every figure
    "truth": Look("the respondents themselves", INK, "D"),
    "baseline": Look("baseline", "#6b6b6b", "v"),
    "untuned": Look("untuned base", "#D55E00", "o", filled=False),
    "tuned": Look("tuned model", OURS, "o"),
    "retest": Look("same respondent again", "#8C6D00", "X"),
    "oracle": Look("oracle", "#009E73", "P"),
}

LANES = {"untuned": -0.17, "tuned": 0.17}  # distance from the middle of a row that both share


@contextmanager
def style() -> Iterator[None]:
    """The project's rcParams, restored afterwards; `@style()` wraps a whole plot function."""
    with plt.rc_context(RC):
        yield


def look_up(mapping: Mapping, name, what: str):
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
    """The look of one model among others: colour and marker by its place in the registry, its untuned base hollow and dashed."""
    key, tuned = model_of(system), system_kind(system) == "tuned"
    spec = get_spec(key)
    place = (spec.order - 1) % len(MODEL_COLOURS)
    return Look(spec.family, MODEL_COLOURS[place], MODEL_MARKERS[place], filled=tuned, linestyle="-" if tuned else "--")


def run_note(run, *, scale: bool = True) -> str:
    """The grey line under a figure of `run` (a `config.RunConfig`): what drew it, so that a nano figure is never taken for a paper one.

    Args: scale: whether to name it; False where the models name theirs, and may be of another.
    """
    models = {"nano": "nano twins", "small": "real model"}.get(run.settings.scale, "hub models")
    profile = "" if run.profile in ("nano", "small", "paper") else f"{run.profile} profile"
    data = f"data {Path(run.data).stem}" if run.data else ""
    return " · ".join(part for part in (models if scale else "", profile, data, f"{run.split} split", f"seed {run.seed}") if part)


def finish(fig: Figure, note: str, *, title: str = "") -> Figure:
    """Put the note under the figure and the title over it, lay it out once and freeze the layout, so that it is saved as it was seen.

    Args: title: one sentence that says what to see; the figure grows by its lines. Raises: ValueError without a note.
    """
    if not note.strip():
        raise ValueError("a figure needs a note that names profile, split and seed: style.run_note(run)")
    fig.supxlabel(note, x=0.995, ha="right", fontsize=6.2, color=GREY, parse_math=False)
    kept = _add_title(fig, fill(title, int(14.5 * fig.get_figwidth()))) if title else 1
    fig.canvas.draw()
    fig.set_layout_engine("none")
    for legend in fig.legends:
        legend.set_bbox_to_anchor((0, 0, 1, kept), transform=fig.transFigure)
    for text in fig.texts:
        text.set_in_layout(True)  # a notebook cuts its picture to what is in the layout, the title too
    return fig


def _add_title(fig: Figure, text: str) -> float:
    """`text` at the top left, in room of its own: axes and legends keep their size. Returns the share of the new height that is theirs."""
    height = fig.get_figheight() + 0.06 + 0.15 * len(text.splitlines())
    kept = fig.get_figheight() / height
    fig.set_figheight(height)
    fig.suptitle(text, x=0.01, y=1 - 0.05 / height, ha="left", va="top", fontsize=8, fontweight="bold", linespacing=1.15).set_in_layout(False)
    if engine := fig.get_layout_engine():
        engine.set(rect=(0, 0, 1, kept))
    else:
        for ax in fig.axes:
            x, y, width, part = ax.get_position().bounds
            ax.set_position((x, y * kept, width, part * kept))
    return kept


def paper_handle(label: str = "paper") -> Line2D:
    """Legend entry of the paper's value."""
    return Line2D([], [], **PAPER, label=label)


def paper_ticks(ax: Axes, values: Mapping, keys: Sequence) -> None:
    """The paper's value on each row that has one."""
    marks = [(values[key], row) for row, key in enumerate(keys) if key in values and pd.notna(values[key])]
    if marks:
        ax.plot(*zip(*marks, strict=True), **PAPER, zorder=4)


def dots_and_mean(ax: Axes, values: Iterable[float], y: float, look: Look) -> None:
    """One small dot a model and a large mark at their mean, on the row `y`; values that are missing are left out."""
    values = [v for v in values if pd.notna(v)]
    if values:
        ax.plot(values, [y] * len(values), linestyle="none", marker=".", markersize=3.2, color=look.color, alpha=0.55, zorder=3)
        ax.plot(sum(values) / len(values), y, linestyle="none", zorder=4, **look.points() | {"markersize": 6.2, "markeredgewidth": 1.2})


def draw_interval(ax: Axes, row, y: float, look: Look, *, text: str = "no value", **options) -> None:
    """A value with its 95 % interval (`row.value`, `row.lo`, `row.hi`); without an interval the point alone, without a value the words "no value"."""
    if pd.isna(row.value):
        ax.annotate(text, (0.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=6.5, color=GREY, style="italic")
        return
    spread = None if pd.isna(row.lo) or pd.isna(row.hi) else [[max(row.value - row.lo, 0)], [max(row.hi - row.value, 0)]]
    ax.errorbar(row.value, y, xerr=spread, **{"elinewidth": 0.9, "linestyle": "none", "zorder": 3} | look.points() | options)


def look_handle(look: Look, label: str = "") -> Line2D:
    """Legend entry of a look, without a line."""
    return Line2D([], [], linestyle="none", label=label or look.label, **look.points())


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
    """`label` in lines of at most `width` characters, broken before its bracket if that is enough, else between words."""
    halves = label.split(" (", 1)
    bracket = len(label) > width and len(halves) == 2 and max(len(halves[0]), len(halves[1]) + 1) <= width
    return "\n(".join(halves) if bracket else fill(label.replace(" M)", "\N{NO-BREAK SPACE}M)"), width)


def legend_above(fig: Figure, ax: Axes, *, handles=None, ncols: int = 3, **options) -> None:
    """A frameless legend above the axes, outside the data."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    fig.legend(handles=handles, loc="outside upper center", ncols=ncols, columnspacing=1.2, handletextpad=0.5, borderaxespad=0.2, **options)


def save(fig: Figure, stem: Path | str) -> tuple[Path, Path]:
    """Write `<stem>.png` (300 dpi) and `<stem>.pdf` (embedded TrueType fonts), without dates or versions, and close the figure.

    The same figure gives the same bytes, whenever and wherever the pinned versions draw it. Returns the two paths.
    """
    stem, written = Path(stem), []
    blank = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    for kind, metadata in blank.items():
        with style():
            buffer = BytesIO()
            fig.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        written.append(stem.with_name(f"{stem.name}.{kind}"))
        write_atomically(written[-1], buffer.getvalue())
    plt.close(fig)
    return tuple(written)
