"""Section 7 of the page: one's own questionnaire and people, from the same files that `ask` and `pilot` take; and what the pilot says of the questionnaire."""

import base64
import shutil
import time
from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from .. import paths
from ..ask.asking import AskPlan
from ..errors import one_line, safe_line
from ..intake.people_file import People, read_people
from ..intake.survey_format import Questionnaire
from . import own_files, own_panel
from .asking import description_effect
from .inputs import Inputs
from .own_panel import OwnPanel
from .page_parts import WIDE, Table, Worker, button, field, flexible, put, put_or_hide, read_only, row, show_if
from .questionnaire import MOST_DOWNLOAD, download_link

_ENDINGS = ".csv,.tsv,.txt,.json,.jsonl,.gz,.parquet,.xlsx,.xlsm,.qsf"
_MODES = [("each question alone", "single"), ("one conversation a person", "sequence")]
_WANTED = [("option probabilities", "options"), ("probabilities and words", "both"), ("words", "words")]
EXAMPLE_FILES = ("library_questionnaire.csv", "library_people.csv")


class OwnSection:
    """Takes two files, asks everybody everything, keeps what is finished, exports it, and shows the pilot's report."""

    def __init__(self, inputs: Inputs, worker: Worker):
        self.inputs, self.worker, self.run = inputs, worker, worker.interviewer.run
        self.folder = self.run.paths.results / "probe" / "brought"
        self.questionnaire: Questionnaire | None = None
        self.people: People | None = None
        self.panel: OwnPanel | None = None  # of the answers that are shown
        self.uploads = {"questions": self._upload("Bring a questionnaire"), "people": self._upload("Bring people")}
        self.example, self.forget = button("Take the example files"), button("Forget files and settings")
        self.asked_file, self.people_file = read_only("Questionnaire", 1), read_only("Who is asked", 1)
        self.mode = field(widgets.Dropdown, "Asked", "1 1 190px", options=_MODES)
        self.wanted = field(widgets.Dropdown, "Closed questions give", "1 1 190px", options=_WANTED)
        self.count = field(widgets.BoundedIntText, "Most people asked", "1 1 120px", value=50, min=1, max=own_panel.MOST_PANEL)
        self.plan = read_only("Will be asked of them", 1)
        self.bar = worker.bar(Ask_everybody=self.ask, Report_on_the_questionnaire=self.report)
        self.progress = field(widgets.IntProgress, "Answers so far", WIDE, value=0, max=1)
        self.links, self.frame = widgets.HTML(), widgets.HTML(layout=flexible(WIDE))
        self.shown, self.summary = read_only("The answers shown", 1, hidden=True), read_only("Answers by question", 2, hidden=True)
        self.heard = read_only("Do the descriptions count?", 2, hidden=True)
        self.heard.add_class("pp-warning")
        self.table = Table({"Who": "2 1 150px", "Asked": "2 1 150px", "Said": "3 1 210px", "Option taken": "1 1 110px"})
        self.said = read_only("What the pilot says", 2, hidden=True)
        show_if(False, self.progress)
        self._connect(worker)
        self.children = [*self._head(), self.asked_file, self.people_file, row(self.mode, self.wanted, self.count), self.plan, self.bar.box, self.progress,
                         self.links, self.shown, self.heard, self.summary, self.table.box, self.said, self.frame]  # fmt: skip

    def _head(self) -> list:
        text = (
            "<h2>7. Your own questionnaire and people</h2><p>The files that the commands <strong>ask</strong> and <strong>pilot</strong> take: a questionnaire "
            "(CSV, TSV, JSON, Excel, XLSForm, Qualtrics .qsf, Parquet) and people (CSV, TSV, JSON, JSON lines, Excel, Parquet). Model and seed are those of "
            "section 3. Files and answers stay in the results folder of this machine. After a reload of the page they are here again.</p>"
        )
        return [widgets.HTML(text), row(*self.uploads.values(), self.example, self.forget)]

    @staticmethod
    def _upload(description: str) -> widgets.FileUpload:
        return widgets.FileUpload(accept=_ENDINGS, multiple=False, description=description, layout=flexible("0 0 auto"))

    def _connect(self, worker: Worker) -> None:
        for what, upload in self.uploads.items():
            worker.on_change(lambda what=what: self._take(what), upload, bar=self.bar)
        worker.on_change(self.show_plan, self.mode, self.wanted, self.count, self.inputs.models.seed, bar=self.bar)
        self.example.on_click(lambda _: worker.busy or worker.safely(self._take_example, self.bar))

    # --- files -------------------------------------------------------------------------------------------------------------------

    def _take(self, what: str) -> None:
        """A file brought by the browser takes the place of the earlier one, if it can be read."""
        upload = self.uploads[what]
        if not upload.value:
            return
        brought, upload.value = upload.value[0], ()
        if self.worker.busy:
            raise ValueError("the panel is being asked; press Stop first")
        self._bring(what, brought["name"], bytes(brought["content"]))
        self.worker.say(f"read {safe_line(brought['name'])[:80]}", self.bar)

    def _take_example(self) -> None:
        """The questionnaire and the people of `data/examples`."""
        for what, name in zip(self.uploads, EXAMPLE_FILES, strict=True):
            self._bring(what, name, (paths.DATA / "examples" / name).read_bytes())
        self.worker.say("read the example files", self.bar)

    def _bring(self, what: str, name: str, content: bytes) -> None:
        read = own_files.questions_of if what == "questions" else lambda path: read_people(path, questionnaire=self.questionnaire)
        box = self.asked_file if what == "questions" else self.people_file
        try:
            own_files.bring(self.folder / what, name, content, read)
        except ValueError as error:
            put(box, f"{safe_line(name)[:80]} cannot be used. {error}\n{self._earlier(what)}".strip())
            raise ValueError(own_files.in_short(error)) from None
        self.load()

    def _earlier(self, what: str) -> str:
        kept = own_files.kept_files(self.folder / what)
        return f"The earlier file is still here: {kept[0].name}" if kept else ""

    def load(self) -> None:
        """Read the files that are here, and show what was finished for them."""
        self.questionnaire = self.people = None
        for what, box, nothing in (("questions", self.asked_file, "no questionnaire yet"), ("people", self.people_file, "no people yet")):
            put(box, nothing)
            for path in own_files.kept_files(self.folder / what):
                try:
                    self._read(what, path, box)
                except ValueError as error:  # the people's own answers must fit a new questionnaire
                    put(box, str(error))
        self.show_plan()
        self._show_kept()

    def _read(self, what: str, path: Path, box) -> None:
        if what == "questions":
            self.questionnaire = own_files.questions_of(path)
            put(box, own_files.about_questions(self.questionnaire))
        else:
            self.people = read_people(path, questionnaire=self.questionnaire)
            put(box, own_files.about_people(self.people, self.questionnaire))

    def forget_files(self) -> None:
        """Delete the files that were brought; answers stay in their folders."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.load()
        self.worker.say("files and settings are forgotten; answers stay in their folders. Reload the page to begin afresh", self.bar)

    # --- asking -------------------------------------------------------------------------------------------------------------------

    def _chosen(self) -> pd.DataFrame:
        return self.people.frame.head(self.count.value)

    def _panel(self) -> OwnPanel:
        """The panel of the files and settings. Raises ValueError for what is missing."""
        if self.questionnaire is None or self.people is None:
            raise ValueError("bring a questionnaire and people first, or take the example files")
        plan = AskPlan(mode=self.mode.value, wanted=self.wanted.value, seed=self.inputs.models.seed.value)
        return own_panel.panel_of(self.run, self.questionnaire, self.people, self.inputs.models.chosen, plan)

    def show_plan(self) -> None:
        """Say who will be asked what by whom, what is done of it already, and where it goes if it leaves this machine."""
        if self.questionnaire is None or self.people is None:
            put(self.plan, "nothing yet: bring a questionnaire and people, or take the example files")
            return
        panel, chosen = self._panel(), self._chosen()
        there = int(own_panel.finished_answers(panel)["persona_id"].isin(set(chosen["persona_id"])).sum())
        total = len(chosen) * len(self.questionnaire.items)
        left = f" (the file holds {len(self.people.frame):,})" if len(self.people.frame) > len(chosen) else ""
        leaves = f"; {panel.address} gets all cards and questions" if panel.address else ""
        put(self.plan, f"{len(self.questionnaire.items)} questions to {len(chosen)} people{left}, {total:,} answers by {panel.label}"
            + (f"; {there:,} are here already" if there else "") + leaves)  # fmt: skip

    def ask(self) -> None:
        """Ask everybody who is not done."""
        panel, people = self._panel(), self._chosen()
        self.worker.start(lambda: self._ask(panel, people), self.bar)

    def _ask(self, panel: OwnPanel, people: pd.DataFrame) -> str:
        began, total = time.perf_counter(), len(people) * len(panel.questionnaire.items)
        self.progress.value, self.progress.max = 0, total
        show_if(True, self.progress)
        self.worker.heed(0, total)
        self.worker.fetch(panel.system)
        done = [0]

        def count(number: int) -> None:
            self.progress.value = done[0] = number
            self.worker.heed(number, total)

        try:
            with self.worker.interviewer.generator.threads(panel.system):
                answerer, room = own_panel.answerer_of(self.worker.interviewer.generator, panel.system, lambda: self.worker.heed(done[0], total))
                own_panel.ask_panel(panel, people, answerer, room, count)
            self._check_descriptions(panel, people)
        finally:
            if len(answers := own_panel.finished_answers(panel)):
                missing = own_panel.export_panel(panel, answers)
                self._show(panel, answers, missing)
            self.show_plan()
        there = int(answers["persona_id"].isin(set(people["persona_id"])).sum())
        waits = f"; {total - there:,} wait: the budget is spent" if there < total else ""
        return f"{there:,} answers in {time.perf_counter() - began:.1f} s, in {panel.folder}{waits}"

    def _check_descriptions(self, panel: OwnPanel, people: pd.DataFrame) -> None:
        """Measure for the first people who are described in words whether the words count."""
        lines, warned, checks = [], 0, own_panel.described_asks(panel, people)
        if list(checks) == own_panel.kept_words(panel)[2]:
            return  # nobody is described in words, or it was measured already
        for person, asks in checks.items():
            self.worker.say(f"asking {one_line(person)[:40]} again without the description and with its opposite", self.bar)
            replies = self.worker.answer(asks, panel.system)
            if len(replies) == len(asks):
                sentence, warning = description_effect(list(replies.values()))
                lines, warned = [*lines, f"{person}: {sentence}"], warned + warning
        if not lines:
            return
        among = f"{len(lines)} of {own_files.described_people(people)} people described in words were asked again by {panel.label}: "
        verdict = f"for {warned} of them the answers do not depend on the words" if warned else "their answers depend on the words"
        own_panel.keep_words(panel, "\n".join([among + verdict, *lines]), warning=bool(warned), people=list(checks)[: len(lines)])

    # --- what is shown -------------------------------------------------------------------------------------------------------------

    def _show_kept(self) -> None:
        """Show the finished answers of the files and settings as they are, if there are any; else nothing."""
        answers = own_panel.finished_answers(panel := self._panel()) if self.questionnaire and self.people else None
        if answers is None or answers.empty:
            self.panel = None
            self.table.show([])
            for box in (self.shown, self.summary, self.heard, self.said):
                put_or_hide(box, "")
            self.links.value = self.frame.value = ""
        else:
            self._show(panel, answers, [])

    def _show(self, panel: OwnPanel, answers: pd.DataFrame, missing: list[str]) -> None:
        self.panel = panel
        people = answers["persona_id"].nunique()
        put_or_hide(
            self.shown,
            "\n".join([f"{len(answers):,} answers of {people:,} {'person' if people == 1 else 'people'} by {panel.label}; folder {panel.folder}", *missing]),
        )
        put_or_hide(self.summary, own_panel.summary_lines(panel.questionnaire, answers))
        self.table.show(own_panel.table_rows(panel, answers))
        text, warning, _ = own_panel.kept_words(panel)
        put_or_hide(self.heard, text)
        (self.heard.add_class if warning else self.heard.remove_class)("pp-warning")
        if text:
            self.worker.answers.say(text)
        packed = panel.folder / "answers.zip"
        self.links.value = download_link(packed) if packed.is_file() else ""
        self._show_report(panel)

    def report(self) -> None:
        """The command `pilot` on the answers that are shown."""
        if self.panel is None:
            raise ValueError("ask everybody first; the report is about their answers")
        panel = self.panel
        self.worker.start(lambda: self._report(panel), self.bar)

    def _report(self, panel: OwnPanel) -> str:
        began = time.perf_counter()
        self.worker.say("pilot measures the answers; nobody is asked", self.bar)
        count = len(own_panel.finished_answers(panel))
        own_panel.pilot_report(panel, lambda: self.worker.heed(0, 0))
        self._show_report(panel)
        return f"report on {count:,} answers in {time.perf_counter() - began:.1f} s: {panel.folder / own_panel.REPORT / 'pilot.html'}"

    def _show_report(self, panel: OwnPanel) -> None:
        """The report of the panel's answers in a frame of its own, and its sentences; nothing if there is none, or if it is about fewer answers."""
        page, lines = own_panel.kept_report(panel)
        put_or_hide(self.said, "\n".join(lines))
        self.frame.value = _frame(page) if page else ""


def _frame(page: Path) -> str:
    """The report in a frame that shares nothing with this page: its text is escaped by its own template, and here it is base64, nothing else."""
    if page.stat().st_size > MOST_DOWNLOAD:
        return ""
    packed = base64.b64encode(page.read_bytes()).decode()
    style = "width: 100%; height: 620px; border: 1px solid var(--pp-line); border-radius: 6px; color-scheme: inherit"
    frame = f'<iframe title="Report of the pilot" sandbox="allow-scripts" src="data:text/html;base64,{packed}" style="{style}"></iframe>'
    return f"<h3>The pilot’s report</h3>{download_link(page)}{frame}"
