"""Section 6 of the page, a whole questionnaire: who is asked what, the table, export, and asking again from a file."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import time
from pathlib import Path
from textwrap import shorten

import ipywidgets as widgets

from ..prompts import chat
from . import questionnaire
from .asking import Ask, Reply, System
from .cards import roll
from .inputs import ANY, Choice
from .page_parts import WIDE, Table, Worker, field, flexible, put_or_hide, read_only, row, show_if

ONE, LISTED, NEW = "this person", "the people found above", "new plausible people"
DOMAIN_CLOSED, DOMAIN_ALL, CLOSED, THIS = "closed questions of this domain", "all of this domain", "all closed questions", "this question"
_MOST_BYTES = 4 * 2**20  # of a file that the page itself hands out


class QuestionnaireSection:
    """Puts a questionnaire to one person or a panel."""

    def __init__(self, choice: Choice, worker: Worker):
        self.choice, self.worker, self.run = choice, worker, worker.interviewer.run
        self.folder = self.run.paths.results / "probe"  # exports go here
        self.replies: list[Reply] = []
        self.people = field(widgets.Dropdown, "People", options=[ONE, LISTED, NEW])
        self.count = field(widgets.BoundedIntText, "How many", "1 1 120px", value=5, min=1, max=200, disabled=True)
        self.scope = field(widgets.Dropdown, "Questions", options=[DOMAIN_CLOSED, DOMAIN_ALL, CLOSED, THIS])
        self.export_name = field(widgets.Text, "Name of the export", value="questionnaire", continuous_update=False)
        self.files = field(widgets.Dropdown, "Saved answers", options=[])
        self.upload = widgets.FileUpload(accept=".jsonl", multiple=False, description="Bring a .jsonl file", layout=flexible("0 0 auto"))
        self.bar = worker.bar(Run_questionnaire=self.ask, Export=self.export, Reload_and_ask_again=self.reload)
        self.progress = field(widgets.IntProgress, "Answered", WIDE, value=0, max=1)
        self.links, self.summary = widgets.HTML(), read_only("The answers by question", 2, hidden=True)
        self.table = Table({"Person": "2 1 150px", "Question": "2 1 150px", "Answer": "3 1 210px", "Option read": "1 1 110px"})
        show_if(False, self.progress)
        self.people.observe(lambda _: setattr(self.count, "disabled", self.people.value == ONE), "value")
        worker.on_change(self._take_file, self.upload, bar=self.bar)
        self._list_files()
        head = widgets.HTML("<h2>6. A whole questionnaire</h2><p>Put to the model and adapter chosen in section 3, every answer with the seed set there.</p>")
        choices, files = row(self.people, self.count, self.scope), row(self.export_name, self.files, self.upload)
        self.children = [head, choices, files, self.bar.box, self.progress, self.links, self.summary, self.table.box]

    def _cards(self) -> list[dict | str]:
        if self.people.value == ONE:
            return [self.choice.person.persona]
        if self.people.value == LISTED:
            return self.choice.person.listed(self.count.value)
        return [roll(self.choice.models.seed.value * 1000 + i + 1) for i in range(self.count.value)]

    def _questions(self) -> list:
        question = self.choice.question
        if self.scope.value == THIS:
            return [question.picked] if question.picked else []
        domain = question.domain.value
        if domain == ANY:
            domain = question.picked.domain if question.picked else "lifestyle"
        listed = [q for q in question.questions.values() if self.scope.value == CLOSED or q.domain == domain]
        return [q for q in listed if q.options or self.scope.value == DOMAIN_ALL]

    def ask(self) -> None:
        """The questionnaire for one person or a panel."""
        models = self.choice.models
        asks, system = questionnaire.sheet(self._cards(), self._questions(), seed=models.seed.value, sampling=models.sampling), models.chosen
        if not asks:
            raise ValueError("nobody or nothing to ask: choose people and questions")
        self.worker.start(lambda: self._ask(asks, system), self.bar)

    def _ask(self, asks: list[Ask], system: System) -> str:
        began = time.perf_counter()
        replies = self.worker.answer(asks, system, on_done=self._count_to(len(asks)))
        self._show(replies, [r.text for r in replies])
        return f"{len(asks)} answers in {time.perf_counter() - began:.1f} s"

    def _count_to(self, total: int):
        """Start the progress bar; returns what is called with the number of answers so far."""
        self.progress.value, self.progress.max = 0, total
        show_if(True, self.progress)
        return lambda done: setattr(self.progress, "value", done)

    def _show(self, replies: list[Reply], expected: list[str]) -> None:
        """The table; answers that are not the `expected` ones (those of a file) come first."""
        self.replies, self.links.value = replies, ""
        pairs = sorted(zip(replies, expected, strict=True), key=lambda pair: pair[0].text == pair[1])
        self.table.show([_table_row(reply, text) for reply, text in pairs])
        put_or_hide(self.summary, questionnaire.by_question(replies))

    def export(self) -> None:
        """Write the table as CSV and JSON lines."""
        if not self.replies:
            raise ValueError("run a questionnaire first")
        csv, jsonl = questionnaire.write(self.replies, self.folder, _safe_name(self.export_name.value), self.run)
        self._list_files(jsonl.name)
        self.links.value = "".join(map(_link, (csv, jsonl)))
        self.worker.say(f"{len(self.replies)} answers in {csv.parent.name}/{csv.name} and {jsonl.name} (folder {csv.parent})", self.bar)

    def _list_files(self, chosen: str | None = None) -> None:
        names = sorted(p.name for p in self.folder.glob("*.jsonl"))
        self.files.options = names
        self.files.value = chosen if chosen in names else next(iter(names), None)

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
        self.worker.say(f"{rows} rows in {path.name}; press Reload to ask them again", self.bar)

    def reload(self) -> None:
        """Ask everything in a saved file again, with its seeds, and compare."""
        if not self.files.value:
            raise ValueError(f"no saved answers in {self.folder}; run a questionnaire and export it first")
        asks, systems, answers = questionnaire.read(self.folder / self.files.value)
        self.worker.start(lambda: self._reload(asks, systems, answers), self.bar)

    def _reload(self, asks: list[Ask], systems: list[System], answers: list[str]) -> str:
        done, replies = self._count_to(len(asks)), {}
        for system in dict.fromkeys(systems):
            mine = [i for i, s in enumerate(systems) if s == system]
            replies |= zip(mine, self.worker.answer([asks[i] for i in mine], system), strict=True)
            done(len(replies))
        in_order = [replies[i] for i in range(len(asks))]
        self._show(in_order, answers)
        same = sum(r.text == answer for r, answer in zip(in_order, answers, strict=True))
        why = "" if same == len(asks) else "; the others stand first. Somebody edited the file, or another version, run or adapter of that name wrote it"
        return f"asked again: {same} of {len(asks)} answers are the same as in the file{why}"


def _table_row(r: Reply, expected: str) -> tuple[str, str, str, str]:
    """Person, question, answer (and what a file says instead), option read with its probability."""
    person = f"{r.ask.persona_id}: {shorten(chat.neutralise(chat.render_card(r.ask.card)), 100, placeholder=' …')}"
    answer = r.text if r.text == expected else f"{r.text}\nTHE FILE SAYS: {expected}"
    reading = r.stance if r.ask.options else "open question"
    if r.option is not None:
        reading += f", probability {r.option_probs[r.option]:.0%}"
    return person, r.ask.text, answer, reading


def _safe_name(text: str) -> str:
    """`text` as the name of a file: ASCII letters, digits, _ and -."""
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:80] or "questionnaire"


def _link(path: Path) -> str:
    """A link that saves the file from the browser (the page may be served from elsewhere): a name of `_safe_name` and base64, nothing else; "" if too big."""
    if path.stat().st_size > _MOST_BYTES:
        return ""
    kind = "text/csv" if path.suffix == ".csv" else "application/jsonl"
    return f'<a download="{path.name}" href="data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}">Download {path.name}</a> &nbsp; '
