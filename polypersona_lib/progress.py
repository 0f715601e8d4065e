"""Progress of long work: a bar in a notebook or terminal, or lines in a file that the runner shows.

Library code calls `track`; where it is drawn is decided when the work starts. Under the runner the environment variable POLYPERSONA_PROGRESS names
a file: every update is one JSON line there (`what`, `done`, `total`, `note`), and the runner's `ProgressView` turns them into a live bar.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TextIO

ENVIRONMENT = "POLYPERSONA_PROGRESS"
INTERVAL_S = 0.2


class Track:
    """One piece of long work: iterate over it, or call `update` in its context. A progress file that cannot be written is ignored: the work matters more."""

    def __init__(self, items: Iterable | None, total: int | None, description: str) -> None:
        self.items, self.total, self.description = items, total, description
        self.done, self.note = 0, ""
        self._written_at = 0.0
        path = os.environ.get(ENVIRONMENT)
        self._path = Path(path) if path else None
        self._bar = None if self._path else _bar(total, description)
        self._write(force=True)

    def update(self, steps: int = 1, *, note: str = "") -> None:
        """Count `steps` more finished steps; `note` is a short text beside the bar (a loss, a file name)."""
        self.done += steps
        self.note = note or self.note
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(steps)
        self._write(force=self.total is not None and self.done >= self.total)

    def close(self) -> None:
        """Finish the bar; safe to call twice."""
        if self._bar is not None:
            self._bar.close()
        self._write(force=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self.items if self.items is not None else range(self.total or 0):
                yield item
                self.update()
        finally:
            self.close()

    def _write(self, *, force: bool) -> None:
        """Append one line to the runner's file, at most every INTERVAL_S seconds unless forced."""
        now = time.monotonic()
        if self._path is None or (not force and now - self._written_at < INTERVAL_S):
            return
        self._written_at = now
        line = json.dumps({"what": self.description, "done": self.done, "total": self.total, "note": self.note})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            self._path = None


def track(work: Iterable | int, description: str = "") -> Track:
    """Follow long work with a bar. `work`: an iterable to go through, or the number of steps of a loop that calls `update`; `description`: in a few words."""
    if isinstance(work, int):
        return Track(None, work, description)
    return Track(work, len(work) if hasattr(work, "__len__") else None, description)


def _drawn(text: str) -> str:
    """`text` without what a terminal obeys: a description or a note may hold a file's name."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _bar(total: int | None, description: str) -> Any:
    """A tqdm bar: a widget in a notebook, a line on a terminal, nothing where nobody watches."""
    in_notebook = "ipykernel" in sys.modules and "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    if in_notebook:
        from tqdm.auto import tqdm

        return tqdm(total=total, desc=description, leave=False)
    from tqdm import tqdm

    return tqdm(total=total, desc=description, leave=False, disable=None)


class ProgressView:
    """The runner's side: reads the progress file and draws a bar (terminal) or a line about every tenth (log)."""

    def __init__(self, path: Path, *, stream: TextIO | None = None, every_s: float = 5.0) -> None:
        self.path, self.stream, self.every_s = path, stream or sys.stdout, every_s
        self.live = self.stream.isatty()
        self._offset, self._tenths, self._printed_at, self._began = 0, {}, time.monotonic(), time.monotonic()

    def poll(self) -> None:
        """Show what has been written since the last call."""
        states = self._new_states()
        if self.live and states:
            self.stream.write("\r\x1b[K" + _drawn(self._bar_text(states[-1]))[: shutil.get_terminal_size().columns - 1])
            self.stream.flush()
        elif not self.live:
            for state in states:
                self._print_tenth(state)

    def clear(self) -> None:
        """Wipe the live bar, so that the stage's own line can take its place."""
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def _new_states(self) -> list[dict]:
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except OSError:
            return []
        whole, _, _ = text.rpartition(b"\n")
        self._offset += len(whole) + 1 if whole else 0
        states = []
        for line in whole.splitlines():
            try:
                states.append({"what": "", "done": 0, "total": None, "note": ""} | json.loads(line))
            except (ValueError, TypeError):
                continue
        return states

    def _print_tenth(self, state: dict) -> None:
        """Print a line when a tenth more is done, but not more often than every `every_s` seconds."""
        if not state["total"]:
            return
        tenth = int(10 * state["done"] / state["total"])
        known = self._tenths.get(state["what"], 0)
        self._tenths[state["what"]] = tenth
        now = time.monotonic()
        if tenth > known and now - self._printed_at >= self.every_s:
            self._printed_at = now
            line = f"     {now - self._began:6.0f} s  {state['what']}: {state['done']}/{state['total']} {state['note']}".rstrip()
            print(_drawn(line), file=self.stream, flush=True)

    def _bar_text(self, state: dict) -> str:
        elapsed = f"{time.monotonic() - self._began:5.0f} s"
        if not state["total"]:
            return f"     {elapsed}  {state['what']}: {state['done']} {state['note']}"
        share = min(1.0, state["done"] / state["total"])
        filled = int(24 * share)
        return f"     {elapsed}  [{'#' * filled}{'.' * (24 - filled)}] {100 * share:3.0f} %  {state['what']} {state['done']}/{state['total']} {state['note']}"
