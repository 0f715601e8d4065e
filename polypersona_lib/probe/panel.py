"""The probe's questionnaire section: who is asked what, the table, export, and asking again from a file."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import time
from pathlib import Path
from textwrap import shorten

from ..prompts import chat
from . import questionnaire
from .asking import Ask, Reply, System
from .cards import roll
from .layout import ANY, Layout
from .parts import put

_MOST_BYTES = 4 * 2**20  # of a file that the page itself hands out


class Panel(Layout):
    """What the buttons of the questionnaire do. `Page` provides `persona`, `chosen`, `sampling` and `_answer`."""

    @property
    def folder(self):
        """Where exports go."""
        return self.probe.run.paths.results / "probe"

    def _panel(self) -> list:
        count = self.count.value
        if self.panel.value == "this person":
            return [self.persona]
        if self.panel.value == "the people found above":
            return [self.probe.cards[pid] for _, pid in self.people.options[:count]]
        return [roll(self.seed.value * 1000 + i + 1) for i in range(count)]

    def _scope(self) -> list:
        if self.scope.value == "this question":
            return [self.questions[self.question.value]] if self.question.value else []
        chosen = self.domain.value if self.domain.value != ANY else self.questions[self.question.value].domain if self.question.value else "lifestyle"
        every = [q for q in self.questions.values() if self.scope.value == "all closed questions" or q.domain == chosen]
        return [q for q in every if q.options or self.scope.value == "all of this domain"]

    def run_sheet(self) -> None:
        """The questionnaire for one person or a panel."""
        asks, system = questionnaire.sheet(self._panel(), self._scope(), seed=self.seed.value, sampling=self.sampling), self.chosen
        if not asks:
            raise ValueError("nobody or nothing to ask: choose people and questions")
        self.work(lambda: self._run_sheet(asks, system), self.sheet_bar)

    def _run_sheet(self, asks: list[Ask], system: System) -> str:
        began = time.perf_counter()
        replies = self._answer(asks, system, on_done=self._progress(len(asks)))
        self._show_sheet(replies)
        return f"{len(asks)} answers in {time.perf_counter() - began:.1f} s"

    def _progress(self, total: int):
        self.progress.value, self.progress.max, self.progress.layout.display = 0, total, ""
        return lambda done: setattr(self.progress, "value", done)

    def _show_sheet(self, replies: list[Reply], said: list[str] | None = None) -> None:
        """The table; `said` are the answers of a file, and those that are other now come first."""
        self.sheet_replies, self.links.value = replies, ""
        other = [f"\nTHE FILE SAYS: {old}" if old != r.text else "" for r, old in zip(replies, said or [r.text for r in replies], strict=True)]
        order = sorted(range(len(replies)), key=lambda i: not other[i])
        self.table.show([
            (f"{r.ask.persona_id}: {shorten(chat.neutralise(chat.render_card(r.ask.card)), 100, placeholder=' …')}", r.ask.text, r.text + other[i], _reading(r))
            for i in order for r in [replies[i]]
        ])  # fmt: skip
        put(self.summary, questionnaire.summary(replies))
        self.summary.layout.display = ""

    def export(self) -> None:
        """Write the table as CSV and JSON lines."""
        if not self.sheet_replies:
            raise ValueError("run a questionnaire first")
        name = _safe_name(self.export_name.value)
        csv, jsonl = questionnaire.write(self.sheet_replies, self.folder, name, self.note)
        self._list_files(jsonl.name)
        self.links.value = "".join(map(_link, (csv, jsonl)))
        self.say(f"{len(self.sheet_replies)} answers in {csv.parent.name}/{csv.name} and {jsonl.name} (folder {csv.parent})", self.sheet_bar)

    def _list_files(self, chosen: str | None = None) -> None:
        names = sorted(p.name for p in self.folder.glob("*.jsonl"))
        self.files.options = names
        self.files.value = chosen if chosen in names else names[0] if names else None

    def _take_file(self) -> None:
        """A file brought by the browser joins the saved ones, if it is one that the probe wrote."""
        if not self.upload.value:
            return
        brought, self.upload.value = self.upload.value[0], ()
        self.folder.mkdir(parents=True, exist_ok=True)
        name = questionnaire.free_name(self.folder, _safe_name(brought["name"].removesuffix(".jsonl")))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.jsonl"
            path.write_bytes(bytes(brought["content"]))
            rows = len(questionnaire.read(path)[0])
            shutil.copy(path, self.folder)
        self._list_files(path.name)
        self.say(f"{rows} rows in {path.name}; press Reload to ask them again", self.sheet_bar)

    def reload(self) -> None:
        """Ask everything in a saved file again, with its seeds, and compare."""
        if not self.files.value:
            raise ValueError(f"no saved answers in {self.folder}; run a questionnaire and export it first")
        asks, systems, answers = questionnaire.read(self.folder / self.files.value)
        self.work(lambda: self._reload(asks, systems, answers), self.sheet_bar)

    def _reload(self, asks: list[Ask], systems: list[System], answers: list[str]) -> str:
        done, replies = self._progress(len(asks)), [None] * len(asks)
        for system in dict.fromkeys(systems):
            mine = [i for i, s in enumerate(systems) if s == system]
            for i, reply in zip(mine, self._answer([asks[i] for i in mine], system), strict=True):
                replies[i] = reply
            done(sum(r is not None for r in replies))
        self._show_sheet(replies, answers)
        same = sum(r.text == a for r, a in zip(replies, answers, strict=True))
        why = "" if same == len(asks) else "; the others stand first. Somebody edited the file, or another version, run or adapter of that name wrote it"
        return f"asked again: {same} of {len(asks)} answers are the same as in the file{why}"


def _safe_name(text: str) -> str:
    """`text` as the name of a file: ASCII letters, digits, _ and -."""
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:80] or "questionnaire"


def _reading(r: Reply) -> str:
    """The last column of the table: the option read, and its probability."""
    if not r.ask.options:
        return "open question"
    return r.stance + ("" if r.option is None else f", probability {r.option_probs[r.option]:.0%}")


def _link(path: Path) -> str:
    """A link that saves the file from the browser (the page may be served from elsewhere): a name of `_safe_name` and base64, nothing else; "" if too big."""
    if path.stat().st_size > _MOST_BYTES:
        return ""
    kind = "text/csv" if path.suffix == ".csv" else "application/jsonl"
    return f'<a download="{path.name}" href="data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}">Download {path.name}</a> &nbsp; '
