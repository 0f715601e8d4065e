"""The probe as a page of ipywidgets: its sections, in the order of the keyboard, and how a notebook shows it."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets

from ..figures.style import run_note
from .answers import AnswerSection, PromptSection, WhatIfSection
from .charts import png
from .inputs import Choice, ModelSection, PersonSection, QuestionSection
from .interview import Interviewer
from .page_parts import Worker
from .questionnaire_section import QuestionnaireSection

NOTICE = (
    "<strong>Simulated answers are not survey data.</strong> A language model writes them from a made-up card. "
    "They show what the model does with a persona, never what people think."
)
TWINS = (
    " The models here are <strong>nano twins</strong>: about 1.7 million parameters, a thousandth or less of the models they are named after. A twin has read "
    "this project's text and nothing else, so its sentences often do not make sense, above all after a question of your own. Look at how an answer changes, "
    "not at what it claims."
)


class Page:
    """The whole page. `root` is the widget; everything it shows can be read from its sections (tests do)."""

    def __init__(self, interviewer: Interviewer):
        run = interviewer.run
        self.interviewer, self.worker, note = interviewer, Worker(interviewer), run_note(run)
        self.person = PersonSection(interviewer.cards, self.worker, self._refresh)
        self.question = QuestionSection(self.worker, self._refresh)
        self.models = ModelSection(run, self.worker, self._refresh)
        self.choice = Choice(self.person, self.question, self.models)
        self.prompt = PromptSection(self.worker)
        self.answers = AnswerSection(self.choice, self.worker, note, self.prompt)
        self.what_if = WhatIfSection(self.choice, self.worker, note)
        self.questionnaire = QuestionnaireSection(self.choice, self.worker)
        self.root = self._root()
        self.person.find()
        self.question.list_questions()
        self.models.list_adapters()

    def _root(self) -> widgets.VBox:
        """The sections one under the other; the button Ask stands below the models."""
        models = [*self.models.children, self.answers.bar.box]
        others = (self.answers, self.what_if, self.questionnaire, self.prompt)
        sections = [widgets.VBox(children) for children in (self.person.children, self.question.children, models, *(s.children for s in others))]
        for section in sections:
            section.add_class("pp-section")
        notice = NOTICE + TWINS if self.interviewer.run.settings.scale == "nano" else NOTICE
        css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
        top = widgets.VBox([widgets.HTML(f"<style>{css}</style>"), widgets.HTML(f'<p class="pp-notice">{notice}</p>')])
        root = widgets.VBox([top, *sections], layout=widgets.Layout(width="100%", max_width="1100px"))
        root.add_class("pp")
        return root

    def _refresh(self) -> None:
        """Let what is shown follow the choice: values to compare with, sampling, options, and whether the pair was in training."""
        self.what_if.list_values()
        if ask := self.choice.show():
            self.answers.show_badge(ask, self.models.chosen)


def show_page(page: Page, fig, table) -> None:
    """Show the page; where it cannot live (an untrusted notebook, a code host) the picture and the table take its place."""
    from IPython.display import display

    view = {"version_major": 2, "version_minor": 0, "model_id": page.root.model_id}
    display({"application/vnd.jupyter.widget-view+json": view, "image/png": png(fig), "text/plain": table.to_string()}, raw=True)
