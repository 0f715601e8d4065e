"""What stands in a table's cell: a score with its interval, or a dash with the reason; and how text gets safely into CSV, Markdown and LaTeX."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Number
from pathlib import Path

import pandas as pd

from .files import csv_text, spelled_out, write_atomically

DASH = "—"
NO_VALUE = "no value in this run"


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval (NaN: none). Prints as `0.123 [0.110, 0.136]`."""

    value: float
    lo: float = math.nan
    hi: float = math.nan

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" [{self.lo:.3f}, {self.hi:.3f}]" if math.isfinite(self.lo) and math.isfinite(self.hi) else "")

    __repr__ = __str__


@dataclass(frozen=True)
class Missing:
    """No value, and why. Prints as a dash; `cells.write_table` turns the reason into a footnote."""

    reason: str

    def __str__(self) -> str:
        return DASH

    __repr__ = __str__


def estimate(value: float, lo: float = math.nan, hi: float = math.nan, *, reason: str = NO_VALUE) -> Estimate | Missing:
    """An `Estimate`, or `Missing(reason)` if `value` is not a finite number."""
    return Estimate(float(value), float(lo), float(hi)) if value is not None and math.isfinite(float(value)) else Missing(reason)


def is_missing(cell) -> bool:
    """Whether a cell holds no value: None, NaN (also of pandas) or `Missing`."""
    return cell is None or isinstance(cell, Missing) or cell != cell or str(cell) == "<NA>"


def md_text(text: str) -> str:
    """`text` in one cell of a Markdown table: pipes, line ends, HTML, emphasis, formulas and addresses are taken literally."""
    text = spelled_out(" ".join(text.split())).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "|*_`[]$~":  # a dollar begins a formula where notebooks are shown
        text = text.replace(mark, "\\" + mark)
    return text.replace("://", ":\\//").replace("www.", "www\\.")


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "---", "–": "--", "×": r"$\times$", "✓": r"$\checkmark$",
        "·": r"$\cdot$", "≤": r"$\le$", "≥": r"$\ge$", "α": r"$\alpha$", "…": r"\ldots{}"} | {mark: "\\" + mark for mark in "&%$#_{}"}  # fmt: skip


def tex_text(text: str) -> str:
    """`text` with every character that LaTeX would read as a command escaped."""
    return "".join(_TEX.get(letter, letter) for letter in spelled_out(" ".join(text.split())))


def _text(cell) -> str:
    """A cell as a reader sees it: floats with three decimals, everything else as it is."""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _reason(cell) -> str:
    """Why a cell is a dash."""
    return cell.reason if isinstance(cell, Missing) else NO_VALUE


def _is_number(cell) -> bool:
    return isinstance(cell, Number | Estimate) and not isinstance(cell, bool)


def _footnotes(table: pd.DataFrame, given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """All footnotes in order, and the mark (a, b, …) of each reason why a cell is a dash."""
    reasons = dict.fromkeys(_reason(cell) for cell in table.to_numpy().ravel() if is_missing(cell))
    marks = {reason: chr(97 + i) if i < 26 else f"a{i - 25}" for i, reason in enumerate(reasons)}
    return [f"{mark}: {reason}" for reason, mark in marks.items()] + list(given), marks


def _csv_cell(cell) -> str:
    if is_missing(cell):
        return DASH
    number = cell.value if isinstance(cell, Estimate) else cell
    return f"{number:.6g}" if isinstance(number, float) else str(number) if _is_number(number) else csv_text(str(number))


def _csv(table: pd.DataFrame) -> str:
    """Numbers unrounded to six decimals, an interval in two more columns, a dash and its reason for what is missing, text that cannot be a formula."""
    columns = {}
    for name in table:
        cells = list(table[name])
        columns[name] = [_csv_cell(c) for c in cells]
        if any(isinstance(c, Estimate) and c.lo == c.lo for c in cells):
            for end in ("lo", "hi"):
                columns[f"{name} ({end})"] = [_csv_cell(getattr(c, end, None)) for c in cells]
    reasons = ["; ".join(dict.fromkeys(_reason(c) for c in row if is_missing(c))) or DASH for row in table.itertuples(index=False)]
    if any(reason != DASH for reason in reasons):
        columns["why a dash"] = [csv_text(reason) for reason in reasons]
    return pd.DataFrame({csv_text(str(name)): values for name, values in columns.items()}).to_csv(index=False, lineterminator="\n")


def _markdown(table: pd.DataFrame, caption: str, notes: list[str], marks: dict[str, str]) -> str:
    numeric = [all(_is_number(c) or is_missing(c) for c in table[name]) for name in table]
    lines = [f"**{md_text(caption)}**", "", "| " + " | ".join(md_text(str(name)) for name in table) + " |"]
    lines.append("|" + "|".join("---:" if n else ":---" for n in numeric) + "|")
    for row in table.itertuples(index=False):
        cells = (f"{DASH} <sup>{marks[_reason(c)]}</sup>" if is_missing(c) else md_text(_text(c)) for c in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *(["", *(f"- {md_text(note)}" for note in notes)] if notes else [])]) + "\n"


def _latex(table: pd.DataFrame, caption: str, notes: list[str], marks: dict[str, str], label: str) -> str:
    def cell(c) -> str:
        if is_missing(c):
            return rf"---\textsuperscript{{{marks[_reason(c)]}}}"
        if isinstance(c, Estimate) and c.lo == c.lo:
            return rf"\shortstack{{{c.value:.3f}\\{{\scriptsize [{c.lo:.3f}, {c.hi:.3f}]}}}}"
        return tex_text(_text(c))

    def line(cells) -> str:  # what begins with [ or * would belong to the command before it: a height, or a star
        row = " & ".join(cells)
        return ("{}" + row if row.startswith(("[", "*")) else row) + r" \\"

    shape = "".join("r" if all(_is_number(c) or is_missing(c) for c in table[name]) else "l" for name in table)
    lines = [
        "% \\usepackage{booktabs,graphicx,amssymb}", r"\begin{table*}[t]", r"\centering", rf"\caption{{{tex_text(caption)}}}", rf"\label{{tab:{label}}}",
        r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{{shape}}}", r"\toprule", line(tex_text(str(name)) for name in table), r"\midrule",
    ]  # fmt: skip
    before = None
    for row in table.itertuples(index=False):
        kind = row[1] == "control" if "Row" in table and table.columns[1] == "Row" else None
        if before is False and kind:
            lines.append(r"\midrule")
        before = kind
        lines.append(line(map(cell, row)))
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\smallskip{{\footnotesize {tex_text(note)}}}" for note in notes]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def write_table(df: pd.DataFrame, stem: str, folder: Path, caption: str, note: str, *, footnotes: Sequence[str] = ()) -> tuple[Path, Path, Path]:
    """Write `<stem>.csv`, `.md` and `.tex` (booktabs) into `folder`; the same table gives the same bytes. Returns the three paths.

    Args:
        df: the table; its index is not written. caption: one sentence. footnotes: more lines under the table.
        note: what made it, as under figures (`style.run_note(run)`: scale, split, seed); it ends the caption.
    Raises: ValueError without a note or for a table without rows.
    """
    if not note.strip():
        raise ValueError(f"{stem}: a table needs a note that names profile, split and seed: figure_style.run_note(run)")
    if df.empty:
        raise ValueError(f"{stem}: no rows to write")
    table = df.astype(object)
    caption, (notes, marks) = f"{caption.rstrip()} ({note})", _footnotes(table, footnotes)
    texts = {"csv": _csv(table), "md": _markdown(table, caption, notes, marks), "tex": _latex(table, caption, notes, marks, stem)}
    for ending, text in texts.items():
        write_atomically(Path(folder) / f"{stem}.{ending}", text)
    return tuple(Path(folder) / f"{stem}.{ending}" for ending in texts)
