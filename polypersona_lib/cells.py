"""What stands in a table's cell: a score with its interval, or a dash with the reason; and how text gets safely into CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """No value, and why. Prints as a dash; `tables.write_table` turns the reason into a footnote."""

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


def csv_text(text: str) -> str:
    """`text` as a spreadsheet may open it: a leading = + - @ (also after blanks, tabs or line ends) gets an apostrophe, so that nothing is a formula."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) or text.startswith(("\t", "\r", "\n")) else text


def md_text(text: str) -> str:
    """`text` in one cell of a Markdown table: pipes, line ends, HTML and emphasis are taken literally."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "|*_`[]":
        text = text.replace(mark, "\\" + mark)
    return text


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "---", "–": "--", "×": r"$\times$", "✓": r"$\checkmark$",
        "·": r"$\cdot$", "≤": r"$\le$", "≥": r"$\ge$", "α": r"$\alpha$", "…": r"\ldots{}"} | {mark: "\\" + mark for mark in "&%$#_{}"}  # fmt: skip


def tex_text(text: str) -> str:
    """`text` with every character that LaTeX would read as a command escaped."""
    return "".join(_TEX.get(letter, letter) for letter in " ".join(text.split()))
