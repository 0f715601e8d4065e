"""The probe's questionnaire section: who is asked what, the table, export, and asking again from a file."""

from __future__ import annotations

import re
import time

from . import chat, probe_sheet
from .probe import Ask, Reply, System
from .probe_cards import roll
from .probe_layout import ANY, Layout
from .probe_parts import put


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
        asks, system = probe_sheet.sheet(self._panel(), self._scope(), seed=self.seed.value, sampling=self.sampling), self.chosen
        if not asks:
            raise ValueError("nobody or nothing to ask: choose people and questions")
        self.work(lambda: self._run_sheet(asks, system), self.sheet_bar)

    def _run_sheet(self, asks: list[Ask], system: System) -> str:
        began = time.perf_counter()
        self._show_sheet(self._answer(asks, system, on_done=self._progress(len(asks))))
        return f"{len(asks)} answers in {time.perf_counter() - began:.1f} s"

    def _progress(self, total: int):
        self.progress.value, self.progress.max, self.progress.layout.display = 0, total, ""
        return lambda done: setattr(self.progress, "value", done)

    def _show_sheet(self, replies: list[Reply]) -> None:
        self.sheet_replies = replies
        self.rows.options = [
            (f"{i + 1}. {r.ask.persona_id} | {r.ask.text[:60]} | {r.stance[:30] if r.ask.options else 'open'} | {r.text[:80]}", i)
            for i, r in enumerate(replies)
        ]
        self.rows.value = 0
        put(self.summary, probe_sheet.summary(replies))

    def _detail(self) -> None:
        if self.rows.value is not None and self.rows.value < len(self.sheet_replies):
            r = self.sheet_replies[self.rows.value]
            line = ", ".join(f"{o} {p:.0%}" for o, p in zip(r.ask.options, r.option_probs or (), strict=False))
            put(
                self.detail,
                f"{chat.render_card(r.ask.card)}\n{r.ask.text}\n{r.text}\n{r.stance if r.ask.options else 'open question'}" + (f": {line}" if line else ""),
            )

    def export(self) -> None:
        """Write the table as CSV and JSON lines."""
        if not self.sheet_replies:
            raise ValueError("run a questionnaire first")
        name = re.sub(r"[^\w-]+", "-", self.name.value, flags=re.ASCII).strip("-") or "questionnaire"
        csv, jsonl = probe_sheet.write(self.sheet_replies, self.folder, name)
        self._list_files(jsonl.name)
        self.say(f"{len(self.sheet_replies)} answers in {csv.parent.name}/{csv.name} and {jsonl.name} (folder {csv.parent})", self.sheet_bar)

    def _list_files(self, chosen: str | None = None) -> None:
        names = sorted(p.name for p in self.folder.glob("*.jsonl"))
        self.files.options = names
        self.files.value = chosen if chosen in names else names[0] if names else None

    def reload(self) -> None:
        """Ask everything in a saved file again, with its seeds, and compare."""
        if not self.files.value:
            raise ValueError(f"no saved answers in {self.folder}; run a questionnaire and export it first")
        asks, systems, answers = probe_sheet.read(self.folder / self.files.value)
        self.work(lambda: self._reload(asks, systems, answers), self.sheet_bar)

    def _reload(self, asks: list[Ask], systems: list[System], answers: list[str]) -> str:
        done, replies = self._progress(len(asks)), [None] * len(asks)
        for system in dict.fromkeys(systems):
            mine = [i for i, s in enumerate(systems) if s == system]
            for i, reply in zip(mine, self._answer([asks[i] for i in mine], system), strict=True):
                replies[i] = reply
            done(sum(r is not None for r in replies))
        self._show_sheet(replies)
        same = sum(r.text == a for r, a in zip(replies, answers, strict=True))
        return f"asked again: {same} of {len(asks)} answers are the same as in the file"
