"""The probe's building blocks: fields with names, texts to read, charts with words, buttons with Stop and status.

Text of personas, questions, models, files and errors is shown only by widgets that take it literally (input fields, lists, pictures).
`HTML` and `Label`, which interpret markup or mathematics, hold nothing but the literals written in this package.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable

import ipywidgets as widgets
import traitlets

from ..errors import one_line
from .charts import png

FLUSH_S = 0.06  # between two updates of an answer that is being written
GROW, WIDE = "1 1 260px", "1 1 100%"
CSS = """<style>
.pp textarea:disabled, .pp input:disabled {opacity: 1; color: #1a1a1a; -webkit-text-fill-color: #1a1a1a; background: #f5f5f5; cursor: text}
.pp textarea {white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.4 sans-serif}
.pp .widget-label, .pp .widget-label-basic {white-space: normal; line-height: 1.3; height: auto; color: #1a1a1a}
.pp .widget-inline-hbox {flex-direction: column; align-items: stretch; height: auto}
.pp .widget-inline-hbox > .widget-label {text-align: left; margin: 3px 0 1px; font-size: 12px; color: #4a4a4a}
.pp .widget-inline-hbox > :not(.widget-label) {flex: 0 0 auto; width: 100%}
.pp .widget-checkbox .widget-label-basic {width: auto; align-items: center; margin-right: 14px}
.pp-section {border: 1px solid #d5d5d5; border-radius: 8px; padding: 2px 14px 12px; margin: 0 0 12px; background: #ffffff}
.pp h2 {font-size: 1.15em; margin: .6em 0 .2em} .pp p {margin: .2em 0; line-height: 1.4}
.pp .widget-dropdown select {height: 30px} .pp .widget-hprogress .progress {height: 12px} .pp a {color: #00548f; text-decoration: underline}
.pp .pp-notice {border-left: 4px solid #b35900; padding: .3em .6em; background: #fff6ec; color: #1a1a1a}
.pp img {max-width: 100%; height: auto} .pp button:focus-visible, .pp input:focus-visible, .pp select:focus-visible {outline: 2px solid #0072b2}
.pp button:disabled {opacity: 1; color: #595959; background: #ececec} .pp button {color: #1a1a1a; width: auto}
.pp .pp-go {background: #00548f; color: #ffffff} .pp .pp-go:disabled {background: #ececec; color: #595959}
.pp textarea:disabled {field-sizing: content; height: auto; min-height: 1.9em; resize: none}
.pp .pp-part.widget-inline-hbox {flex-direction: row} .pp .pp-part > .widget-label {flex: 0 0 130px; width: 130px; margin-top: 6px}
.pp .pp-part.widget-inline-hbox > textarea {flex: 1 1 auto; width: auto}
.pp .pp-warning textarea:disabled {border-left: 4px solid #b35900; background: #fff6ec}
.pp-cells {border-top: 1px solid #d5d5d5} .pp .pp-cells .widget-label {position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)}
.pp-cells textarea:disabled {border: 0; background: transparent; padding-left: 2px}
.pp .pp-template textarea:disabled {color: #595959; -webkit-text-fill-color: #595959; border-left: 6px dotted #595959}
.pp .pp-system textarea:disabled {color: #7d3c00; -webkit-text-fill-color: #7d3c00; border-left: 6px double #7d3c00}
.pp .pp-persona textarea:disabled {color: #004e8c; -webkit-text-fill-color: #004e8c; border-left: 6px solid #004e8c}
.pp .pp-domain textarea:disabled {color: #005f3c; -webkit-text-fill-color: #005f3c; border-left: 6px dashed #005f3c}
.pp .pp-question textarea:disabled {color: #82005a; -webkit-text-fill-color: #82005a; border-left: 6px ridge #82005a}
.pp .pp-options textarea:disabled {color: #503296; -webkit-text-fill-color: #503296; border-left: 6px groove #503296}
@media (max-width: 640px) {
  .pp .pp-part.widget-inline-hbox {flex-direction: column} .pp .pp-part > .widget-label {flex: 0 0 auto; width: auto}
  .pp .jupyter-widgets {min-width: 0} .pp-section {padding: 2px 8px 10px} .pp-head {display: none !important}
  .pp .pp-cells .widget-label {position: static; width: auto; height: auto; clip-path: none}
}
</style>"""


def cause(error: BaseException) -> str:
    """An error in one line: what a person can act on, without a traceback."""
    text = one_line(str(error))[:300] or "no details"
    return text if isinstance(error, ValueError | FileNotFoundError) else f"{type(error).__name__}: {text}"


def row(*children) -> widgets.Box:
    """Side by side where there is room, one under the other where there is not."""
    return widgets.Box(list(children), layout=widgets.Layout(display="flex", flex_flow="row wrap", align_items="flex-end", width="100%"))


def place(flex: str) -> widgets.Layout:
    return widgets.Layout(flex=flex, width="auto", min_width="0", margin="2px 6px 2px 0")


def field(kind, description: str, flex: str = GROW, **options):
    """An input with its own name in front of it."""
    return kind(description=description, layout=place(flex), style={"description_width": "initial"}, **options)


def shown(description: str, rows: int = 2, flex: str = WIDE) -> widgets.Textarea:
    """A text to read: a field that cannot be written in shows it letter by letter as it is."""
    return field(widgets.Textarea, description, flex, disabled=True, rows=rows)


def put(box: widgets.Textarea, text: str, *, width: int = 88) -> None:
    """Show `text` in a read-only field that is as high as the text."""
    box.rows = max(1, sum(max(1, len(textwrap.wrap(line, width))) for line in text.split("\n")) if text else 1)
    box.value = text


class Chart(widgets.Image):
    """An image with a text for screen readers (`tooltip`). Its browser side shows one only if a description, which images lack, is there and empty."""

    description = traitlets.Unicode("").tag(sync=True)


class Picture:
    """A chart and what it says in words (shown on request); both are empty until there is something to show."""

    def __init__(self):
        self.image = Chart(format="png", layout=widgets.Layout(display="none", max_width="100%", width="auto", align_self="flex-start"), tooltip="chart")
        self.wanted = field(widgets.Checkbox, "The chart in words", WIDE, value=False, indent=False)
        self.words = shown("The same in words", 1)
        self.wanted.observe(lambda _: self._arrange(True), "value")
        self.box = widgets.VBox([self.image, self.wanted, self.words])
        self.clear()

    def _arrange(self, anything: bool) -> None:
        self.image.layout.display, self.wanted.layout.display = ("block", "") if anything else ("none", "none")
        self.words.layout.display = "" if anything and self.wanted.value else "none"

    def show(self, fig, words: str) -> None:
        """Draw `fig`; `words` is also the picture's text for a screen reader."""
        self.image.value, self.image.tooltip = png(fig), f"Chart. {one_line(words)[:900]}"
        put(self.words, words)
        self._arrange(True)

    def clear(self) -> None:
        """Hide everything."""
        self._arrange(False)
        self.words.value = ""


class Table:
    """Rows of text in pages of `SIZE`, every cell a field that shows its text literally; the same fields are filled again for every page."""

    SIZE = 8

    def __init__(self, columns: dict[str, str]):
        """`columns`: name -> how the column shares the width (CSS flex)."""
        self.rows: list[tuple[str, ...]] = []
        self.page = field(widgets.BoundedIntText, "Page", "0 1 110px", value=1, min=1, max=1)
        self.shown = shown("Rows shown", 1, "1 1 200px")
        self.cells = [[self._cell(name, flex) for name, flex in columns.items()] for _ in range(self.SIZE)]
        head = row(*(widgets.HTML(f"<strong>{name}</strong>", layout=place(flex)) for name, flex in columns.items()))
        head.add_class("pp-head")
        self.lines = [row(*cells) for cells in self.cells]
        for line in self.lines:
            line.layout.align_items = "stretch"
            line.add_class("pp-cells")
        self.page.observe(lambda _: self._fill(), "value")
        self.box = widgets.VBox([row(self.page, self.shown), head, *self.lines])
        self.show([])

    @staticmethod
    def _cell(name: str, flex: str) -> widgets.Textarea:
        return shown(name, 1, flex)

    def show(self, rows: list[tuple[str, ...]]) -> None:
        """Show the first page of `rows` (one text a column)."""
        self.rows, self.page.max = rows, max(1, -(-len(rows) // self.SIZE))
        self.page.value = 1
        self.box.layout.display = "" if rows else "none"
        self._fill()

    def _fill(self) -> None:
        first = (self.page.value - 1) * self.SIZE
        page = self.rows[first : first + self.SIZE]
        self.shown.value = f"{first + 1} to {first + len(page)} of {len(self.rows)}"
        for number, (line, cells) in enumerate(zip(self.lines, self.cells, strict=True)):
            line.layout.display = "flex" if number < len(page) else "none"
            for cell, text in zip(cells, page[number] if number < len(page) else [""] * len(cells), strict=True):
                put(cell, text, width=34)


class Bar:
    """Buttons of one section with their Stop and their status line."""

    def __init__(self, page, **actions: Callable[[], None]):
        self.page = page
        self.buttons = {name: widgets.Button(description=name.replace("_", " "), layout=place("0 0 auto")) for name in actions}
        for name, action in actions.items():
            self.buttons[name].add_class("pp-go")
            self.buttons[name].on_click(lambda _, action=action: page.safely(action, self))
        self.stop = widgets.Button(description="Stop", disabled=True, layout=place("0 0 auto"))
        self.stop.on_click(lambda _: page.stop())
        self.status = shown("Status", 1, "1 1 300px")
        self.box = row(*self.buttons.values(), self.stop, self.status)


class Stream:
    """Writes an answer into its field while it grows, not more often than `FLUSH_S` seconds."""

    def __init__(self, box: widgets.Textarea):
        self.box, self.at = box, 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self.at >= FLUSH_S:
            self.at = now
            put(self.box, text, width=44)
