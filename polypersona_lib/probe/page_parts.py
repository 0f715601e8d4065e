"""What the page's sections are built of: fields with names, texts to read, charts with words, a table, and buttons whose work runs in a thread.

Text of personas, questions, models, files and errors is shown only by widgets that take it literally (input fields, lists, pictures).
`HTML` and `Label`, which interpret markup or mathematics, hold nothing but the literals written in this package.
"""

from __future__ import annotations

import contextvars
import re
import textwrap
import threading
from collections.abc import Callable

import ipywidgets as widgets
import traitlets

from ..errors import one_line
from .asking import Answering, Reply, Stopped, System
from .charts import png

ANY = "any"
GROW, WIDE = "1 1 260px", "1 1 100%"


def row(*children) -> widgets.Box:
    """Side by side where there is room, one under the other where there is not."""
    return widgets.Box(list(children), layout=widgets.Layout(display="flex", flex_flow="row wrap", align_items="flex-end", width="100%"))


def flexible(flex: str) -> widgets.Layout:
    """A layout that shares a row's width (CSS flex)."""
    return widgets.Layout(flex=flex, width="auto", min_width="0", margin="2px 6px 2px 0")


def button(description: str) -> widgets.Button:
    """A button as wide as its text."""
    return widgets.Button(description=description, layout=flexible("0 0 auto"))


def field(kind, description: str, flex: str = GROW, **options):
    """An input with its own name in front of it."""
    return kind(description=description, layout=flexible(flex), style={"description_width": "initial"}, **options)


def read_only(description: str, rows: int = 2, flex: str = WIDE, *, hidden: bool = False) -> widgets.Textarea:
    """A text to read: a field that cannot be written in shows it letter by letter as it is."""
    box = field(widgets.Textarea, description, flex, disabled=True, rows=rows)
    show_if(not hidden, box)
    return box


def show_if(wanted: bool, *boxes) -> None:
    """Show the widgets, or hide them."""
    for box in boxes:
        box.layout.display = "" if wanted else "none"


def put(box: widgets.Textarea, text: str, *, width: int = 88) -> None:
    """Show `text` in a read-only field that is as high as the text."""
    box.rows = sum(max(1, len(textwrap.wrap(line, width))) for line in text.split("\n"))
    box.value = text


def put_or_hide(box: widgets.Textarea, text: str) -> None:
    """Show `text`; without text hide the field."""
    put(box, text)
    show_if(bool(text), box)


class Live:
    """A text that only a screen reader speaks (`page.js` makes it a live region): plain letters alone, so that nothing in it is markup or mathematics."""

    def __init__(self):
        self.box = widgets.HTML()
        self.box.add_class("pp-live")

    def say(self, text: str) -> None:
        """Have `text` spoken, at most 1,500 characters of it."""
        self.box.value = re.sub(r"[^\w .,;:!?%()'/-]", " ", one_line(text))[:1500]


class Filling:
    """`with filling:` marks that the page itself fills fields; their callbacks look at `filling.now` and do nothing."""

    now = False

    def __enter__(self):
        self.now = True

    def __exit__(self, *_):
        self.now = False


class ChartImage(widgets.Image):
    """An image with a text for screen readers (`tooltip`). Its browser side shows one only if a description, which images lack, is there and empty."""

    description = traitlets.Unicode("").tag(sync=True)


class Picture:
    """A chart and what it says in words (shown on request); both are empty until there is something to show."""

    def __init__(self):
        layout = widgets.Layout(display="none", max_width="100%", width="auto", align_self="flex-start")
        self.image = ChartImage(format="png", layout=layout, tooltip="chart")
        self.wanted = field(widgets.Checkbox, "The chart in words", WIDE, value=False, indent=False)
        self.words = read_only("The same in words", 1)
        self.wanted.observe(lambda _: self._arrange(True), "value")
        self.box = widgets.VBox([self.image, self.wanted, self.words])
        self.clear()

    def _arrange(self, anything: bool) -> None:
        self.image.layout.display = "block" if anything else "none"
        show_if(anything, self.wanted)
        show_if(anything and self.wanted.value, self.words)

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
        self.position = read_only("Rows shown", 1, "1 1 200px")
        self.cells = [[read_only(name, 1, flex) for name, flex in columns.items()] for _ in range(self.SIZE)]
        head = row(*(widgets.HTML(f"<strong>{name}</strong>", layout=flexible(flex)) for name, flex in columns.items()))
        head.add_class("pp-head")
        self.lines = [row(*cells) for cells in self.cells]
        for line in self.lines:
            line.layout.align_items = "stretch"
            line.add_class("pp-cells")
        self.page.observe(lambda _: self._fill(), "value")
        self.box = widgets.VBox([row(self.page, self.position), head, *self.lines])
        self.show([])

    def show(self, rows: list[tuple[str, ...]]) -> None:
        """Show the first page of `rows` (one text a column)."""
        self.rows, self.page.max = rows, max(1, -(-len(rows) // self.SIZE))
        self.page.value = 1
        show_if(bool(rows), self.box)
        self._fill()

    def _fill(self) -> None:
        first = (self.page.value - 1) * self.SIZE
        page = self.rows[first : first + self.SIZE]
        self.position.value = f"{first + 1} to {first + len(page)} of {len(self.rows)}"
        for number, (line, cells) in enumerate(zip(self.lines, self.cells, strict=True)):
            line.layout.display = "flex" if number < len(page) else "none"
            for cell, text in zip(cells, page[number] if number < len(page) else [""] * len(cells), strict=True):
                put(cell, text, width=34)


class Bar:
    """Buttons of one section with their Stop and their status line."""

    def __init__(self, worker: Worker, actions: dict[str, Callable[[], None]]):
        self.buttons = {name: button(name) for name in actions}
        for name, action in actions.items():
            self.buttons[name].add_class("pp-go")
            self.buttons[name].on_click(lambda _, action=action: worker.busy or worker.safely(action, self))
        self.stop = button("Stop")
        self.stop.disabled = True
        self.stop.on_click(lambda _: worker.stop())
        self.status = read_only("Status", 1, "1 1 300px")
        self.status.add_class("pp-status")
        self.box = row(*self.buttons.values(), self.stop, self.status)


class Worker:
    """Does one piece of work at a time, in a thread of its own. A request meanwhile is refused, not queued; errors become one line. It speaks by two `Live`."""

    def __init__(self, interviewer: Answering):
        self.interviewer, self.bars, self.status, self.answers = interviewer, [], Live(), Live()
        self._cut: Exception | None = None  # what ended the work early
        self._done, self._asked = 0, 0  # answers of the work under way
        self.thread: threading.Thread | None = None
        self._stop, self._busy = threading.Event(), threading.Lock()

    def bar(self, **actions: Callable[[], None]) -> Bar:
        """Buttons for a section; an underscore in a name stands for a blank."""
        self.bars.append(Bar(self, {name.replace("_", " "): action for name, action in actions.items()}))
        return self.bars[-1]

    def on_change(self, action: Callable[[], None], *fields, bar: Bar | None = None) -> None:
        """Do `action` whenever one of the fields has a new value."""
        for widget in fields:
            widget.observe(lambda _: self.safely(action, bar), "value")

    def say(self, text: str, bar: Bar | None = None) -> None:
        """One line in the status of a section (default: the first)."""
        put((bar or self.bars[0]).status, one_line(text), width=60)
        self.status.say(text)

    def safely(self, action: Callable[[], None], bar: Bar | None = None) -> None:
        """Do it; an error becomes one line (a button would swallow it)."""
        try:
            action()
        except Exception as error:
            self.say(f"Not done. {_cause(error)}", bar)

    @property
    def busy(self) -> bool:
        """Whether work is under way: a click that was on its way then changes nothing."""
        return self._busy.locked()

    def start(self, job: Callable[[], str], bar: Bar) -> None:
        """Start `job` in its thread, unless work is under way. It returns the status line."""
        if not self._busy.acquire(blocking=False):
            return
        self._stop.clear()
        self._cut, self._done, self._asked = None, 0, 0
        self._enable(False)
        self._active = bar
        self.say("working…", bar)
        self.thread = threading.Thread(target=contextvars.copy_context().run, args=(self._run, job, bar), daemon=True)
        self.thread.start()

    def _run(self, job: Callable[[], str], bar: Bar) -> None:
        outcome = ""
        try:
            outcome = job()
        except Exception as error:
            self._cut = error
        finally:
            self._busy.release()
            self._enable(True)
        self.say(outcome if self._cut is None else self._ended_early(self._cut), bar)

    def _ended_early(self, error: Exception) -> str:
        """The status line of work that Stop or an error ended: how many answers were finished."""
        count = f"{self._done} of {self._asked} answers"
        if isinstance(error, Stopped):
            return f"stopped after {count}" + ("; what was finished is kept" if self._done else "")
        return f"Not done. {_cause(error)}" + (f" ({count} were finished and are kept)" if self._done else "")

    def answer(self, asks, system: System, *, on_done: Callable[[int], None] | None = None, on_text=None) -> dict[int, Reply]:
        """The finished replies by position, for a job: fewer than `asks` after Stop or an error. `on_done` is called with the job's answers so far."""
        asks, bar, before, finished = list(asks), self._active, self._done, {}
        self._asked += len(asks)

        def fetching(system: System) -> None:
            self.say(f"fetching {self.interviewer.label(system)}; the first answer can take a minute or two", bar)

        def took(replies: dict[int, Reply]) -> None:
            finished.update(replies)
            self._done = before + len(finished)
            if on_done is not None:
                on_done(self._done)

        if self._cut is None:
            try:
                self.interviewer.answer(asks, system, stop=self._stop, on_load=fetching, on_done=took, on_text=on_text)
            except Exception as error:
                self._cut = error
        return dict(sorted(finished.items()))

    def fetch(self, system: System) -> None:
        """For a job that asks in another way than `answer`: have the model of `system` here. Raises what ended it."""
        self.answer([], system)
        if self._cut is not None:
            raise self._cut

    def heed(self, done: int, asked: int) -> None:
        """For such a job: how many of its answers are finished. Raises Stopped once Stop was pressed."""
        self._done, self._asked = done, asked
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        """End the work at its next token."""
        self._stop.set()

    def _enable(self, idle: bool) -> None:
        for bar in self.bars:
            bar.stop.disabled = idle
            for each in bar.buttons.values():
                each.disabled = not idle


def _cause(error: BaseException) -> str:
    """An error in one line: what a person can act on, without a traceback."""
    text = one_line(error)[:300] or "no details"
    return text if isinstance(error, ValueError | FileNotFoundError) else f"{type(error).__name__}: {text}"
