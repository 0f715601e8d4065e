"""Figures of the data set: the paper's Figs. 1, 2 and 5, persona reuse, clusters, attributes. They return (figure, axes) and never save."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from . import style as fs
from .style import COLUMN, GREY, INK, OURS, PAGE, style


def _compare_with_paper(fig: Figure, ax: Axes, ours: pd.Series, paper: Mapping, *, names: list[str], form: str, label: str = "ours") -> None:
    """Bars for ours from zero, the paper's tick on each, and both numbers in columns at the right."""
    if ours.empty:
        raise ValueError("nothing to draw: the series is empty")
    known = [paper[key] for key in ours.index if pd.notna(paper.get(key))]
    if not len(ax.patches):
        ax.barh(range(len(ours)), ours.to_numpy(), height=0.56, color=OURS, zorder=2)
    fs.paper_ticks(ax, paper, list(ours.index))
    fs.name_rows(ax, names)
    ax.set_xlim(0, max([ours.max(), *known]) * 1.06)
    fs.number_column(ax, 28, "ours", [form.format(v) for v in ours])
    if known:
        fs.number_column(ax, 56, "paper", [form.format(paper[key]) if pd.notna(paper.get(key)) else "–" for key in ours.index])
    handles = [Patch(color=GREY if len({p.get_facecolor() for p in ax.patches}) > 1 else OURS, label=label)]
    fs.legend_above(fig, ax, handles=handles + ([fs.paper_handle()] if known else []))


@style()
def plot_domain_counts(counts: pd.Series, *, paper: Mapping[str, float], note: str, labels: Mapping[str, str] | None = None) -> tuple[Figure, Axes]:
    """Fig. 1: records by domain, the paper's count marked on each bar.

    Args:
        counts: records, indexed by domain key. paper: domain key -> the paper's count (may be empty). labels: domain key -> name, for foreign data.

    Raises: ValueError for a domain that is not in `labels` (default: the paper's ten). Source: paper, Fig. 1 and section III-C.
    """
    names = fs.domain_labels(labels)
    counts = counts.sort_values(ascending=False, kind="stable")
    fig, ax = plt.subplots(figsize=(COLUMN, max(0.75 + 0.2 * len(counts), 1.4)))
    rows = [fs.look_up(names, key, "domain") for key in counts.index]
    _compare_with_paper(fig, ax, counts, paper, names=rows, form="{:,.0f}", label=f"ours (n = {counts.sum():,.0f})")
    ax.set_xlabel("Records")
    title = f"{rows[0]} has {counts.iloc[0] / counts.iloc[-1]:.1f} times the records of {rows[-1]}" if len(rows) > 1 else "Records by domain"
    return fs.finish(fig, note, title=title), ax


@style()
def plot_question_types(shares: pd.Series, *, paper: Mapping[str, float], note: str, unit: str = "questions") -> tuple[Figure, Axes]:
    """Fig. 2: share of each question type, in the markers and greys of the paper's caption.

    Args:
        shares: per cent, indexed by question type, summing to 100. paper: question type -> the paper's per cent. unit: what is counted (axis label).

    Raises: ValueError for an unknown type or shares that do not sum to 100. Source: paper, Fig. 2 and section III-D.
    """
    looks = {key: fs.look_up(fs.QUESTION_TYPES, key, "question type") for key in shares.index}
    if not 99 < shares.sum() < 101:
        raise ValueError(f"shares must be per cent and sum to 100, not {shares.sum():g}")
    shares = shares.reindex([key for key in fs.QUESTION_TYPES if key in looks])
    fig, ax = plt.subplots(figsize=(COLUMN, 0.82 + 0.25 * len(shares)))
    for row, (key, value) in enumerate(shares.items()):
        look = looks[key]
        ax.barh(row, value, height=0.5, color=look.color, hatch=look.hatch, edgecolor="white", linewidth=0, zorder=2)
        fs.beside(ax, row, color=look.color, marker=look.marker, markeredgecolor=INK, markeredgewidth=0.5)
    _compare_with_paper(fig, ax, shares, paper, names=[looks[key].label for key in shares.index], form="{:.1f}")
    ax.tick_params(axis="y", pad=14)
    ax.set_xlabel(f"Share of {unit} (%)")
    return fs.finish(fig, note, title=f"{looks[shares.idxmax()].label}: the most frequent type ({shares.max():.0f} % of the {unit})"), ax


@style()
def plot_reuse(counts: pd.Series, *, paper: Mapping[int, float], note: str) -> tuple[Figure, Axes]:
    """Persona reuse: share of personas by the number of domains they appear in, the paper's share marked.

    Args:
        counts: personas, indexed by number of domains (1, 2, ...). paper: number of domains -> per cent (71.4 and 28.6). Source: paper, section III-D.
    """
    counts = counts.sort_index()
    fig, ax = plt.subplots(figsize=(COLUMN, 0.85 + 0.25 * len(counts)))
    rows = [f"{key} domain{'s' if key > 1 else ''} (n = {n:,.0f})" for key, n in counts.items()]
    _compare_with_paper(fig, ax, counts / counts.sum() * 100, paper, names=rows, form="{:.1f}")
    ax.set_xlabel(f"Share of the {counts.sum():,.0f} personas (%)")
    return fs.finish(fig, note, title=f"{100 * counts.get(1, 0) / counts.sum():.0f} % of the personas appear in one domain only"), ax


_BOX = {
    "orientation": "horizontal", "patch_artist": True, "manage_ticks": False, "whiskerprops": {"color": INK, "linewidth": 0.7},
    "capprops": {"color": INK, "linewidth": 0.6},
    "flierprops": {"marker": "o", "markersize": 1.8, "markerfacecolor": "none", "markeredgecolor": GREY, "markeredgewidth": 0.4},
}  # fmt: skip


@style()
def plot_lengths(
    frame: pd.DataFrame, *, note: str, reference: pd.DataFrame | None = None, labels: Mapping[str, str] | None = None, name: str = "generated"
) -> tuple[Figure, Axes]:
    """Fig. 5: character lengths by domain as box plots (median, quartiles, whiskers to 1.5 IQR, outliers), generated beside reference.

    Args:
        frame, reference: columns domain (key), length_chars. labels: domain key -> name, for foreign data. name: what `frame` holds.

    Raises: ValueError for an unknown domain or a missing column. Source: paper, Fig. 5.
    """
    names, parts = fs.domain_labels(labels), {name: frame} | ({"reference": reference} if reference is not None else {})
    for part in parts.values():
        fs.need(part, ("domain", "length_chars"), "plot_lengths")
    data = pd.concat(parts.values(), ignore_index=True)
    for key in data["domain"].unique():
        fs.look_up(names, key, "domain")
    order = [key for key in names if key in set(data["domain"])]
    fig, ax = plt.subplots(figsize=(COLUMN, max(0.75 + (0.31 if reference is not None else 0.24) * len(order), 1.4)))
    handles = []
    for place, source in enumerate(parts):
        colour, hatch, median = (fs.REFERENCE, "/////", INK) if source == "reference" else (OURS, "", "white")
        box = {"facecolor": colour, "edgecolor": INK, "linewidth": 0.7, "hatch": hatch, "hatchcolor": "white"}
        rows = np.arange(len(order)) + (0 if len(parts) == 1 else 0.36 * place - 0.18)
        values = [parts[source].loc[parts[source]["domain"] == key, "length_chars"] for key in order]
        ax.boxplot(values, positions=rows, widths=0.3 if len(parts) > 1 else 0.55, boxprops=box, medianprops={"color": median, "linewidth": 1.4}, **_BOX)
        handles.append(Patch(label=source, **box))
    fs.name_rows(ax, [names[key] for key in order])
    ax.set(xlim=(0, data["length_chars"].max() * 1.04), xlabel="Answer length (characters)")
    fs.legend_above(fig, ax, handles=handles)
    medians = " and ".join(f"{part['length_chars'].median():.0f} ({source})" for source, part in parts.items())
    return fs.finish(fig, note, title=f"Median length in characters: {medians}"), ax


@style()
def plot_persona_clusters(frame: pd.DataFrame, *, keywords: Mapping, note: str, categories: Mapping[str, str] | None = None) -> tuple[Figure, np.ndarray]:
    """The persona clusters: a map of the descriptions, and how each cluster divides over the persona types.

    Args:
        frame: columns x, y (any plane), cluster (int or str), category (key); one row a persona. keywords: cluster -> its words (list or string).
        categories: category key -> name in the figure, in order; default: keys by frequency.

    Returns: the figure and its two axes (map, heat map). Raises: ValueError for a cluster without keywords. Source: paper, section III-D (8 clusters).
    """
    fs.need(frame, ("x", "y", "cluster", "category"), "plot_persona_clusters")
    clusters = sorted(frame["cluster"].unique())
    words = {c: fs.look_up(keywords, c, "cluster") for c in clusters}
    columns = list(categories or frame["category"].value_counts().index)
    for category in frame["category"].unique():
        fs.look_up(dict.fromkeys(columns), category, "category")
    share = pd.crosstab(frame["cluster"], frame["category"], normalize="index").reindex(index=clusters, columns=columns, fill_value=0) * 100
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 0.95 + 0.32 * max(len(clusters), 7)), width_ratios=(0.82, 1))
    names = [fs.wrap(w if isinstance(w, str) else ", ".join(w), 27) + f" ({(frame['cluster'] == c).sum()})" for c, w in words.items()]
    sns.heatmap(share, ax=axes[1], annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100, cbar=False, linewidths=0.6, annot_kws={"fontsize": 6.5})
    for row, cluster in enumerate(clusters):
        look = {"color": fs.MODEL_COLOURS[row % 8], "marker": fs.MODEL_MARKERS[row % 8], "linestyle": "none"}
        part = frame[frame["cluster"] == cluster]
        axes[0].plot(part["x"], part["y"], markersize=4, markeredgecolor="white", markeredgewidth=0.2, **look)
        fs.beside(axes[1], row + 0.5, **look)
    axes[0].set(xticks=[], yticks=[], xlabel="Component 1 (arbitrary units)", ylabel="Component 2 (arbitrary units)")
    axes[0].grid(False)
    axes[1].set_yticklabels(names, rotation=0, fontsize=6.5)
    axes[1].set_xticklabels(fs.naming(columns, categories), rotation=40, ha="right", rotation_mode="anchor", fontsize=6.5)
    axes[1].tick_params(axis="y", pad=15)
    axes[1].tick_params(axis="x", length=0, pad=2)
    axes[1].set(xlabel="Share of the cluster by persona type (%)", ylabel="")
    most = share.max(axis=1)
    title = f"The most common persona type makes up {most.min():.0f} to {most.max():.0f} % of a cluster"
    return fs.finish(fig, note, title=title), axes


@style()
def plot_cramers_v(matrix: pd.DataFrame, *, note: str, labels: Mapping[str, str] | None = None) -> tuple[Figure, Axes]:
    """Association of persona attributes: Cramér's V (0 none, 1 complete) of each pair, lower triangle.

    Args:
        matrix: square, symmetric, attributes as index and columns. labels: attribute -> name in the figure.

    Raises: ValueError if index and columns differ.
    """
    if list(matrix.index) != list(matrix.columns):
        raise ValueError("plot_cramers_v: index and columns of the matrix must be the same attributes in the same order")
    part = matrix.iloc[1:, :-1]
    hidden = np.triu(np.ones(part.shape, dtype=bool), k=1)
    fig, ax = plt.subplots(figsize=(COLUMN, 0.75 + 0.27 * len(part)))
    bar = {"label": "Cramér's V", "shrink": 0.8, "aspect": 25}
    figures = part.map(lambda v: f"{v:.2f}".lstrip("0"))
    sns.heatmap(part, mask=hidden, ax=ax, annot=figures, fmt="", cmap="Blues", vmin=0, vmax=1, linewidths=0.6, annot_kws={"fontsize": 6.5}, cbar_kws=bar)
    ax.collections[0].colorbar.outline.set_visible(False)
    names = fs.naming(matrix.index, labels)
    ax.set_xticklabels(names[:-1], rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticklabels(names[1:], rotation=0)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.set(xlabel="", ylabel="")
    strongest = part.mask(hidden).stack()
    pair = dict(zip(matrix.index, names, strict=True))
    title = f"The strongest association: {' and '.join(pair[n] for n in strongest.idxmax())} (V = {strongest.max():.2f})"
    return fs.finish(fig, note, title=title), ax
