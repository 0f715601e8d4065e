"""What is on the probe's page, in the order of the keyboard, and how its work runs: one piece at a time, in a thread, with errors as one line."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

import ipywidgets as widgets

from ..errors import one_line
from ..figures.style import run_note
from ..prompts.token_view import ROLES
from ..registry import MODELS
from ..world.questions import DOMAINS, TYPES, load_questions
from .asking import NO_ADAPTER, Probe, Reply, Stopped
from .cards import FIELDS, LISTS
from .parts import CSS, WIDE, Bar, Picture, Table, cause, field, place, put, row, shown

ANY = "any"
STUDY, HERE = "as in the study", "as set here"
NANO = (
    " The models here are <strong>nano twins</strong>: about 1.7 million parameters, a thousandth or less of the models they are named after. A twin has read "
    "this project's text and nothing else, so its sentences often do not make sense, above all after a question of your own. Look at how an answer changes, "
    "not at what it claims."
)
STRETCHES = 12  # parts of a prompt: at most the template between all of the others


class Layout:
    """Every widget of the page, and the thread that works for it. What the widgets do is in `panel.Panel` and `page.Page`.

    One piece of work at a time runs in a thread of its own, so that the page answers while a model writes; a request during work is refused, not queued.
    """

    def __init__(self, probe: Probe):
        self.probe, self.note = probe, run_note(probe.run)
        self.questions = load_questions()
        self._stop, self._busy, self._filling = threading.Event(), threading.Lock(), False
        self.thread: threading.Thread | None = None
        self.card: dict = {}
        self.sheet_replies: list[Reply] = []
        self.bars: list[Bar] = []
        parts = (self._persona, self._question, self._models, self._answers, self._counterfactual, self._sheet, self._prompt)
        sections = [widgets.VBox(part()) for part in parts]
        for section in sections:
            section.add_class("pp-section")
        self.root = widgets.VBox([self._notice(), *sections], layout=widgets.Layout(width="100%", max_width="1100px"))
        self.root.add_class("pp")

    # --- parts of the page, in the order of the keyboard ---------------------------------------------------------------------------

    def _notice(self):
        return widgets.VBox([
            widgets.HTML(CSS),
            widgets.HTML(
                '<p class="pp-notice"><strong>Simulated answers are not survey data.</strong> A language model writes them from a made-up card. '
                "They show what the model does with a persona, never what people think." + NANO * (self.probe.run.settings.scale == "nano") + "</p>"
            ),
        ])  # fmt: skip

    def _persona(self):
        cards = self.probe.cards
        kinds = sorted({str(c.get("category", "")) for c in cards.values()})
        lands = sorted({str(c.get("country", "")) for c in cards.values()})
        self.search = field(widgets.Text, "Search", placeholder="nurse California")
        self.category = field(widgets.Dropdown, "Kind of work", "1 1 160px", options=[ANY, *kinds])
        self.country = field(widgets.Dropdown, "Country", "1 1 160px", options=[ANY, *lands])
        self.people = field(widgets.Select, "People", WIDE, options=[], rows=5)
        self.roll = widgets.Button(description="Roll a new plausible person", layout=place("0 0 auto"))
        self.roll_seed = field(widgets.BoundedIntText, "Number of the new person", "0 1 170px", value=1, min=1, max=10**6)
        self.undo = widgets.Button(description="Undo the edits", layout=place("0 0 auto"))
        self.edit = field(widgets.Checkbox, "Edit every attribute", "0 0 auto", value=False, indent=False)
        self.editors = {}
        for name in FIELDS:
            label = name.replace("_", " ").capitalize()
            if name == "age":
                self.editors[name] = field(widgets.BoundedIntText, label, "1 1 140px", min=0, max=120, value=40)
            elif name in LISTS:
                self.editors[name] = field(widgets.Text, f"{label} (comma between)", continuous_update=False)
            else:
                self.editors[name] = field(widgets.Combobox, label, options=[], ensure_option=False, continuous_update=False)
        self.editors["description"] = field(widgets.Text, "Description", WIDE, continuous_update=False)
        self.in_words = field(widgets.Checkbox, "Describe the person in words instead", "0 0 auto", value=False, indent=False)
        self.words = field(
            widgets.Textarea, "In words", WIDE, rows=2, placeholder="A retired fisherman from Kerala who distrusts banks.", continuous_update=False
        )
        self.words.layout.display = "none"
        self.who, self.card_text, self.warnings = shown("Who", 1, "1 1 150px"), shown("As the model reads it", 2, "5 1 420px"), shown("Contradictions", 1)
        self.warnings.add_class("pp-warning")
        self.card_box = widgets.VBox([row(*self.editors.values()), row(self.undo)])
        self.list_box = widgets.VBox([row(self.search, self.category, self.country), self.people])
        for widget in (self.search, self.category, self.country):
            widget.observe(lambda _: self.safely(self._find), "value")
        self.people.observe(lambda _: self.safely(self._pick), "value")
        self.roll.on_click(lambda _: self.safely(self._roll))
        self.undo.on_click(lambda _: self.safely(lambda: self._fill(self.original)))
        self.edit.observe(lambda _: self._arrange(), "value")
        for name, widget in self.editors.items():
            widget.observe(lambda change, name=name: self.safely(lambda: self._edit(name, change["new"])), "value")
        for widget in (self.in_words, self.words):
            widget.observe(lambda _: self.safely(self._worded), "value")
        return [
            widgets.HTML("<h2>1. Who is asked</h2>"), self.list_box, row(self.roll, self.roll_seed, self.edit, self.in_words),
            self.card_box, self.words, row(self.who, self.card_text), self.warnings,
        ]  # fmt: skip

    def _arrange(self) -> None:
        """Only what has an effect is shown: the list and the attributes of a card, or the field for words."""
        worded = self.in_words.value
        self.words.layout.display = "" if worded else "none"
        self.list_box.layout.display = self.roll.layout.display = self.roll_seed.layout.display = self.edit.layout.display = "none" if worded else ""
        self.card_box.layout.display = "" if self.edit.value and not worded else "none"

    def _question(self):
        makers = sorted({q.instrument for q in self.questions.values()})
        self.domain = field(widgets.Dropdown, "Domain", options=[(ANY, ANY), *((name, key) for key, name in DOMAINS.items())])
        self.kind = field(widgets.Dropdown, "Type", "1 1 140px", options=[ANY, *TYPES])
        self.instrument = field(widgets.Dropdown, "Inspired by", "1 1 160px", options=[ANY, *makers])
        self.question = field(widgets.Dropdown, "Question", WIDE, options=[])
        self.own = field(widgets.Text, "Or your own question", "3 1 320px", placeholder="leave empty to ask the question above", continuous_update=False)
        self.own_options = field(widgets.Text, "Its options", "2 1 220px", placeholder="Yes / No; empty for an open question", continuous_update=False)
        self.options_text = shown("Options shown to the persona", 1)
        for widget in (self.domain, self.kind, self.instrument):
            widget.observe(lambda _: self.safely(self._list_questions), "value")
        for widget in (self.question, self.own, self.own_options):
            widget.observe(lambda _: self.safely(self._asked), "value")
        head = widgets.HTML("<h2>2. What is asked</h2>")
        return [head, row(self.domain, self.kind, self.instrument), self.question, row(self.own, self.own_options), self.options_text]

    def _models(self):
        run = self.probe.run
        families = [(MODELS[key].display, key) for key in run.model_keys]
        default = "tinyllama-1.1b" if "tinyllama-1.1b" in run.model_keys else run.model_keys[0]
        self.family = field(widgets.Dropdown, "Model", "2 1 200px", options=families, value=default)
        self.adapter = field(widgets.Dropdown, "Adapter", "1 1 110px", options=[NO_ADAPTER])
        self.second = field(widgets.Dropdown, "Beside it", "2 1 170px", options=[("no second family", ""), *families], value="")
        self.seed = field(widgets.BoundedIntText, "Seed", "1 1 100px", value=run.seed, min=0, max=2**31 - 1)
        self.manner = field(widgets.Dropdown, "Sampling", "1 1 130px", options=[STUDY, HERE])
        self.temperature = field(widgets.BoundedFloatText, "Temperature", "1 1 80px", value=0.7, min=0.0, max=2.0, step=0.1)
        self.top_p = field(widgets.BoundedFloatText, "Top-p", "1 1 80px", value=0.9, min=0.05, max=1.0, step=0.05)
        self.family.observe(lambda _: self.safely(self._family_changed), "value")
        self.adapter.observe(lambda _: self.safely(self._asked), "value")
        self.manner.observe(lambda _: self.safely(self._sampled), "value")
        for widget in (self.temperature, self.top_p):
            widget.observe(lambda _: self.safely(self._set_here), "value")
        self.ask_bar = self._bar(Ask=self.ask)
        boxes = (self.family, self.adapter, self.second, self.seed, self.manner, self.temperature, self.top_p)
        return [widgets.HTML("<h2>3. Who answers</h2>"), row(*boxes), self.ask_bar.box]

    def _answers(self):
        names = ("Untuned base", "Tuned model", "Second family")
        self.answers = [shown(name, 3, "1 1 300px") for name in names]
        self.answers[2].layout.display = "none"
        for box in self.answers[:2]:
            box.placeholder = "the answer appears here after Ask"
        self.asked, self.facts, self.badge = shown("What was asked", 1), shown("What was read from them", 2), shown("Training", 1)
        self.bars_picture = Picture()
        return [widgets.HTML("<h2>4. What they say</h2>"), self.asked, row(*self.answers), self.badge, self.facts, self.bars_picture.box]

    def _counterfactual(self):
        self.attribute = field(widgets.Dropdown, "Attribute", options=[*FIELDS, "description"])
        self.value = field(
            widgets.Combobox, "Its other value", options=[], ensure_option=False, continuous_update=False, placeholder="for Compare; a sweep takes them all"
        )
        self.draws = field(widgets.BoundedIntText, "Number of draws", "1 1 140px", value=20, min=2, max=200)
        self.attribute.observe(lambda _: self.safely(self._attribute_chosen), "value")
        self.what_if_bar = self._bar(Compare=self.compare, Sweep=self.sweep, Draw_repeatedly=self.draw)
        self.diff, self.what_if = shown("Difference of the prompts", 1), shown("Answers", 1)
        self.pair = [shown(name, 3, "1 1 300px") for name in ("As the person is", "With the change")]
        self.what_if_picture = Picture()
        head = widgets.HTML(
            "<h2>5. What if</h2><p>One attribute changes, the rest of the card and the random numbers stay. The model chosen above answers; "
            "a sweep shows its base too.</p>"
        )
        fields = row(self.attribute, self.value, self.draws)
        self._show_what_if()
        return [head, fields, self.what_if_bar.box, self.diff, row(*self.pair), self.what_if, self.what_if_picture.box]

    def _show_what_if(self, *, diff: str = "", pair: tuple[str, ...] = (), answers: str = "") -> None:
        """Fill the boxes of this section; an empty one is not shown."""
        for box, text in ((self.diff, diff), (self.what_if, answers), *zip(self.pair, pair or ("", ""), strict=True)):
            put(box, text)
            box.layout.display = "" if text else "none"
        self.what_if_picture.clear()

    def _sheet(self):
        self.panel = field(widgets.Dropdown, "People", options=["this person", "the people found above", "new plausible people"])
        self.count = field(widgets.BoundedIntText, "How many", "1 1 120px", value=5, min=1, max=200)
        self.scope = field(
            widgets.Dropdown, "Questions", options=["closed questions of this domain", "all of this domain", "all closed questions", "this question"]
        )
        self.sheet_bar = self._bar(Run_questionnaire=self.run_sheet, Export=self.export, Reload_and_ask_again=self.reload)
        self.progress = field(widgets.IntProgress, "Answered", WIDE, value=0, max=1)
        self.progress.layout.display = "none"
        self.table = Table({"Person": "2 1 150px", "Question": "2 1 150px", "Answer": "3 1 210px", "Option read": "1 1 110px"})
        self.summary = shown("The answers by question", 2)
        self.summary.layout.display = "none"
        self.export_name = field(widgets.Text, "Name of the export", value="questionnaire", continuous_update=False)
        self.files = field(widgets.Dropdown, "Saved answers", options=[])
        self.links = widgets.HTML()
        self.upload = widgets.FileUpload(accept=".jsonl", multiple=False, description="Bring a .jsonl file", layout=place("0 0 auto"))
        self.upload.observe(lambda _: self.safely(self._take_file, self.sheet_bar), "value")
        self.panel.observe(lambda _: self._count_matters(), "value")
        self._count_matters()
        head = widgets.HTML("<h2>6. A whole questionnaire</h2><p>Put to the model and adapter chosen in section 3, every answer with the seed set there.</p>")
        choice, files = row(self.panel, self.count, self.scope), row(self.export_name, self.files, self.upload)
        return [head, choice, files, self.sheet_bar.box, self.progress, self.links, self.summary, self.table.box]

    def _count_matters(self) -> None:
        self.count.disabled = self.panel.value == "this person"

    def _prompt(self):
        self.prompt_facts, self.prompt = shown("Tokens", 1), [shown(ROLES["template"], 1) for _ in range(STRETCHES)]
        for box in self.prompt:
            box.layout.display = "none"
            box.add_class("pp-part")
        head = widgets.HTML(
            "<h2>7. The prompt, as it was sent</h2><p>Part by part, a colour and a name for each. │ stands between two tokens, "
            "⟦ ⟧ encloses a control token, ↵ is a line end, ‥ one more token of the character before it.</p>"
        )
        return [head, self.prompt_facts, *self.prompt]

    def _bar(self, **actions) -> Bar:
        self.bars.append(Bar(self, **actions))
        return self.bars[-1]

    # --- errors, work, Stop --------------------------------------------------------------------------------------------------------

    def say(self, text: str, bar: Bar | None = None) -> None:
        """One line in the status of a section (default: the first)."""
        put((bar or self.bars[0]).status, one_line(text), width=60)

    def safely(self, action: Callable[[], None], bar: Bar | None = None) -> None:
        """Do it; an error becomes one line (a button would swallow it)."""
        try:
            action()
        except Exception as error:
            self.say(f"Not done. {cause(error)}", bar)

    def work(self, job: Callable[[], str], bar: Bar) -> None:
        """Start `job` in its thread, unless work is under way. It returns the status line."""
        if not self._busy.acquire(blocking=False):
            return
        self._stop.clear()
        self._enable(False)
        self.active = bar
        self.say("working…", bar)
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(self._run, job, bar), daemon=True)
        self.thread.start()

    def _run(self, job: Callable[[], str], bar: Bar) -> None:
        try:
            said = job()
        except Stopped:
            said = "stopped"
        except Exception as error:
            said = f"Not done. {cause(error)}"
        finally:
            self._busy.release()
            self._enable(True)
        self.say(said, bar)

    def stop(self) -> None:
        """End the work at its next token."""
        self._stop.set()

    def _enable(self, idle: bool) -> None:
        for bar in self.bars:
            bar.stop.disabled = idle
            for button in bar.buttons.values():
                button.disabled = not idle
