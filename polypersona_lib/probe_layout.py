"""What is on the probe's page, in the order of the keyboard, and how its work runs: one piece at a time, in a thread, with errors as one line."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

import ipywidgets as widgets

from .figure_style import run_note
from .probe import NO_ADAPTER, Probe, Reply, Stopped
from .probe_cards import FIELDS, LISTS, one_line
from .probe_parts import CSS, WIDE, Bar, Picture, cause, field, place, put, row, shown
from .prompt_view import ROLES
from .question_bank import DOMAINS, TYPES, load_questions
from .registry import MODELS

ANY = "any"
STRETCHES = 12  # parts of a prompt: at most the template between all of the others


class Layout:
    """Every widget of the page, and the thread that works for it. What the widgets do is in `probe_panel.Panel` and `probe_widget.Page`.

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
        above = [self._notice(), *self._persona(), *self._question(), *self._models(), *self._answers()]
        below = [*self._counterfactual(), *self._sheet(), *self._prompt()]
        self.root = widgets.VBox(above + below, layout=widgets.Layout(width="100%", max_width="1100px"))
        self.root.add_class("pp")

    # --- parts of the page, in the order of the keyboard ---------------------------------------------------------------------------

    def _notice(self):
        return widgets.VBox([
            widgets.HTML(CSS),
            widgets.HTML(
                '<p class="pp-notice"><strong>Simulated answers are not survey data.</strong> A language model writes them from a made-up card. '
                "They show what the model does with a persona, never what people think.</p>"
            ),
        ])  # fmt: skip

    def _persona(self):
        cards = self.probe.cards
        kinds = sorted({str(c.get("category", "")) for c in cards.values()})
        lands = sorted({str(c.get("country", "")) for c in cards.values()})
        self.search = field(widgets.Text, "Search", placeholder="nurse Ohio", continuous_update=False)
        self.category = field(widgets.Dropdown, "Kind of work", "1 1 160px", options=[ANY, *kinds])
        self.country = field(widgets.Dropdown, "Country", "1 1 160px", options=[ANY, *lands])
        self.people = field(widgets.Select, "People", WIDE, options=[], rows=6)
        self.roll_seed = field(widgets.BoundedIntText, "Number of the new person", "1 1 200px", value=1, min=1, max=10**6)
        self.roll = widgets.Button(description="Roll a new plausible person", layout=place("0 0 auto"))
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
        self.in_words = field(widgets.Checkbox, "Describe the person in words instead", WIDE, value=False, indent=False)
        self.words = field(
            widgets.Textarea, "In words", WIDE, rows=2, placeholder="A retired fisherman from Kerala who distrusts banks.", continuous_update=False
        )
        self.words.layout.display = "none"
        self.card_text, self.warnings = shown("As the model reads it", 2), shown("Contradictions", 1)
        for widget in (self.search, self.category, self.country):
            widget.observe(lambda _: self.safely(self._find), "value")
        self.people.observe(lambda _: self.safely(self._pick), "value")
        self.roll.on_click(lambda _: self.safely(self._roll))
        for name, widget in self.editors.items():
            widget.observe(lambda change, name=name: self.safely(lambda: self._edit(name, change["new"])), "value")
        for widget in (self.in_words, self.words):
            widget.observe(lambda _: self.safely(self._worded), "value")
        return [
            widgets.HTML("<h2>1. Who is asked</h2>"), row(self.search, self.category, self.country), self.people, row(self.roll_seed, self.roll),
            row(*self.editors.values()), self.in_words, self.words, self.card_text, self.warnings,
        ]  # fmt: skip

    def _question(self):
        makers = sorted({q.instrument for q in self.questions.values()})
        self.domain = field(widgets.Dropdown, "Domain", options=[(ANY, ANY), *((name, key) for key, (name, _) in DOMAINS.items())])
        self.kind = field(widgets.Dropdown, "Type", "1 1 140px", options=[ANY, *TYPES])
        self.instrument = field(widgets.Dropdown, "Inspired by", "1 1 160px", options=[ANY, *makers])
        self.question = field(widgets.Dropdown, "Question", WIDE, options=[])
        self.own = field(widgets.Text, "Or your own question", WIDE, placeholder="leave empty to ask the question above", continuous_update=False)
        self.own_options = field(widgets.Text, "Its options", WIDE, placeholder="Yes / No; empty for an open question", continuous_update=False)
        self.options_text = shown("Options shown to the persona", 1)
        for widget in (self.domain, self.kind, self.instrument):
            widget.observe(lambda _: self.safely(self._list_questions), "value")
        for widget in (self.question, self.own, self.own_options):
            widget.observe(lambda _: self.safely(self._asked), "value")
        head = widgets.HTML("<h2>2. What is asked</h2>")
        return [head, row(self.domain, self.kind, self.instrument), self.question, self.own, self.own_options, self.options_text]

    def _models(self):
        run = self.probe.run
        families = [(MODELS[key].display, key) for key in run.model_keys]
        default = "tinyllama-1.1b" if "tinyllama-1.1b" in run.model_keys else run.model_keys[0]
        self.family = field(widgets.Dropdown, "Model", options=families, value=default)
        self.adapter = field(widgets.Dropdown, "Adapter", "1 1 160px", options=[NO_ADAPTER])
        self.second = field(widgets.Dropdown, "Beside it", options=[("no second family", ""), *families], value="")
        self.seed = field(widgets.BoundedIntText, "Seed", "1 1 140px", value=run.seed, min=0, max=2**31 - 1)
        self.manner = field(widgets.Dropdown, "Sampling", options=["as in the study", "as set here"])
        self.temperature = field(widgets.BoundedFloatText, "Temperature", "1 1 140px", value=0.7, min=0.0, max=2.0, step=0.1)
        self.top_p = field(widgets.BoundedFloatText, "Top-p", "1 1 140px", value=0.9, min=0.05, max=1.0, step=0.05)
        self.family.observe(lambda _: self.safely(self._family_changed), "value")
        self.adapter.observe(lambda _: self.safely(self._asked), "value")
        self.ask_bar = self._bar(Ask=self.ask)
        boxes = (self.family, self.adapter, self.second, self.seed, self.manner, self.temperature, self.top_p)
        return [widgets.HTML("<h2>3. Who answers</h2>"), row(*boxes), self.ask_bar.box]

    def _answers(self):
        names = ("Untuned base", "Tuned model", "Second family")
        self.answers = [shown(name, 3, "1 1 300px") for name in names]
        self.answers[2].layout.display = "none"
        self.facts, self.badge = shown("What was read from them", 2), shown("Training", 1)
        self.bars_picture = Picture()
        return [widgets.HTML("<h2>4. What they say</h2>"), row(*self.answers), self.badge, self.facts, self.bars_picture.box]

    def _counterfactual(self):
        self.attribute = field(widgets.Dropdown, "Attribute", options=[*FIELDS, "description"])
        self.value = field(widgets.Combobox, "Its other value", options=[], ensure_option=False, continuous_update=False)
        self.draws = field(widgets.BoundedIntText, "Number of draws", "1 1 140px", value=20, min=2, max=200)
        self.attribute.observe(lambda _: self.safely(self._attribute_changed), "value")
        self.what_if_bar = self._bar(Compare=self.compare, Sweep=self.sweep, Draw_repeatedly=self.draw)
        self.diff, self.what_if = shown("Difference of the prompts", 1), shown("Answers", 1)
        self.what_if_picture = Picture()
        head = widgets.HTML(
            "<h2>5. What if</h2><p>One attribute changes, the rest of the card and the random numbers stay. The model chosen above answers; "
            "a sweep shows its base too.</p>"
        )
        fields = row(self.attribute, self.value, self.draws)
        return [head, fields, self.what_if_bar.box, self.diff, self.what_if, self.what_if_picture.box]

    def _sheet(self):
        self.panel = field(widgets.Dropdown, "People", options=["this person", "the people found above", "new plausible people"])
        self.count = field(widgets.BoundedIntText, "How many", "1 1 120px", value=5, min=1, max=200)
        self.scope = field(
            widgets.Dropdown, "Questions", options=["closed questions of this domain", "all of this domain", "all closed questions", "this question"]
        )
        self.sheet_bar = self._bar(Run_questionnaire=self.run_sheet, Export=self.export, Reload_and_ask_again=self.reload)
        self.progress = field(widgets.IntProgress, "Answered", WIDE, value=0, max=1)
        self.progress.layout.display = "none"
        self.rows = field(widgets.Select, "Answers", WIDE, options=[], rows=8)
        self.detail, self.summary = shown("The answer chosen in the list", 2), shown("All answers", 2)
        self.name = field(widgets.Text, "Name of the export", value="questionnaire", continuous_update=False)
        self.files = field(widgets.Dropdown, "Saved answers", options=[])
        self.rows.observe(lambda _: self.safely(self._detail), "value")
        head = widgets.HTML("<h2>6. A whole questionnaire</h2>")
        choice = row(self.panel, self.count, self.scope)
        return [head, choice, row(self.name, self.files), self.sheet_bar.box, self.progress, self.rows, self.detail, self.summary]

    def _prompt(self):
        self.prompt_facts, self.prompt = shown("Tokens", 1), [shown(ROLES["template"], 1) for _ in range(STRETCHES)]
        for box in self.prompt:
            box.layout.display = "none"
        head = widgets.HTML(
            "<h2>7. The prompt, as it was sent</h2><p>Part by part, a colour and a name for each. │ stands between two tokens, "
            "⟦ ⟧ encloses a control token, ↵ is a line end.</p>"
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
