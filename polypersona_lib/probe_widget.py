"""The probe as a page of ipywidgets: a thin view over `probe`, `probe_sheet`, `prompt_view` and `probe_figures`.

Text of personas, questions, models, files and errors is shown only by widgets that take it literally (input fields, lists, terminal text, pictures).
`HTML` and `Label`, which interpret markup or mathematics, hold nothing but the literals written here.
"""

from __future__ import annotations

import contextvars
import re
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import ipywidgets as widgets
import traitlets

from . import chat, probe_figures, probe_sheet
from .figure_style import run_note
from .generation import SAMPLING, Sampling
from .probe import (
    FIELDS,
    LISTS,
    NO_ADAPTER,
    Ask,
    Probe,
    Reply,
    Stopped,
    System,
    adapters,
    ask_bank,
    ask_own,
    changed,
    choices,
    difference,
    find_people,
    one_line,
    problems,
    roll,
    samples,
    sweep,
)
from .prompt_view import ROLES, prompt_tokens, stretches
from .question_bank import DOMAINS, TYPES, load_questions
from .registry import MODELS

ANY = "any"
FLUSH_S = 0.06  # between two updates of an answer that is being written
STRETCHES = 12  # parts of a prompt: at most the template between all of the others
GROW, WIDE = "1 1 260px", "1 1 100%"
CSS = """<style>
.pp textarea:disabled, .pp input:disabled {opacity: 1; color: #1a1a1a; -webkit-text-fill-color: #1a1a1a; background: #f5f5f5; cursor: text}
.pp textarea {white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.4 sans-serif}
.pp .widget-label, .pp .widget-label-basic {white-space: normal; line-height: 1.3; height: auto; color: #1a1a1a}
.pp h2 {font-size: 1.15em; margin: 1em 0 .2em} .pp p {margin: .2em 0; line-height: 1.4}
.pp .pp-notice {border-left: 4px solid #b35900; padding: .3em .6em; background: #fff6ec; color: #1a1a1a}
.pp img {max-width: 100%; height: auto} .pp button:focus-visible, .pp input:focus-visible, .pp select:focus-visible {outline: 2px solid #0072b2}
.pp button:disabled {opacity: 1; color: #595959; background: #ececec} .pp button {color: #1a1a1a; width: auto}
.pp .pp-go {background: #00548f; color: #ffffff} .pp .pp-go:disabled {background: #ececec; color: #595959}
.pp textarea:disabled {field-sizing: content; height: auto; min-height: 1.9em; resize: none}
.pp .pp-template textarea:disabled {color: #595959; -webkit-text-fill-color: #595959; border-left: 6px dotted #595959}
.pp .pp-system textarea:disabled {color: #7d3c00; -webkit-text-fill-color: #7d3c00; border-left: 6px double #7d3c00}
.pp .pp-persona textarea:disabled {color: #004e8c; -webkit-text-fill-color: #004e8c; border-left: 6px solid #004e8c}
.pp .pp-domain textarea:disabled {color: #005f3c; -webkit-text-fill-color: #005f3c; border-left: 6px dashed #005f3c}
.pp .pp-question textarea:disabled {color: #82005a; -webkit-text-fill-color: #82005a; border-left: 6px ridge #82005a}
.pp .pp-options textarea:disabled {color: #503296; -webkit-text-fill-color: #503296; border-left: 6px groove #503296}
@media (max-width: 640px) {
  .pp .widget-inline-hbox {flex-direction: column; align-items: stretch; height: auto}
  .pp .widget-inline-hbox > .widget-label {text-align: left; margin: 2px 0}
  .pp .jupyter-widgets {min-width: 0}
}
</style>"""


def cause(error: BaseException) -> str:
    """An error in one line: what a person can act on, without a traceback."""
    text = one_line(str(error))[:300] or "no details"
    return text if isinstance(error, ValueError | FileNotFoundError) else f"{type(error).__name__}: {text}"


def row(*children) -> widgets.Box:
    """Side by side where there is room, one under the other where there is not."""
    return widgets.Box(list(children), layout=widgets.Layout(display="flex", flex_flow="row wrap", align_items="flex-end", width="100%"))


def _layout(flex: str) -> widgets.Layout:
    return widgets.Layout(flex=flex, width="auto", min_width="0", margin="2px 6px 2px 0")


def field(kind, description: str, flex: str = GROW, **options):
    """An input with its own name in front of it."""
    return kind(description=description, layout=_layout(flex), style={"description_width": "initial"}, **options)


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
    """A chart and what it says in words; both are empty until there is something to show."""

    def __init__(self):
        self.image = Chart(format="png", layout=widgets.Layout(display="none", max_width="100%", width="auto", align_self="flex-start"), tooltip="chart")
        self.words = shown("The same in words", 1)
        self.words.layout.display = "none"
        self.box = widgets.VBox([self.image, self.words])

    def show(self, fig, words: str) -> None:
        """Draw `fig`; `words` is also the picture's text for a screen reader."""
        self.image.value, self.image.tooltip = probe_figures.png(fig), f"Chart. {one_line(words)[:900]}"
        put(self.words, words)
        self.image.layout.display, self.words.layout.display = "block", ""

    def clear(self) -> None:
        """Hide both."""
        self.image.layout.display = self.words.layout.display = "none"
        self.words.value = ""


class Bar:
    """Buttons of one section with their Stop and their status line."""

    def __init__(self, page: Page, **actions: Callable[[], None]):
        self.page = page
        self.buttons = {name: widgets.Button(description=name.replace("_", " "), layout=_layout("0 0 auto")) for name in actions}
        for name, action in actions.items():
            self.buttons[name].add_class("pp-go")
            self.buttons[name].on_click(lambda _, action=action: page.safely(action, self))
        self.stop = widgets.Button(description="Stop", disabled=True, layout=_layout("0 0 auto"))
        self.stop.on_click(lambda _: page.stop())
        self.status = shown("Status", 1, "1 1 300px")
        self.box = row(*self.buttons.values(), self.stop, self.status)


class Page:
    """The whole page. `root` is the widget; everything it shows can be read from its attributes (tests do).

    One piece of work at a time runs in a thread of its own, so that the page answers while a model writes; a request during work is refused, not queued.
    """

    def __init__(self, probe: Probe):
        self.probe, self.note = probe, run_note(probe.run)
        self.questions = load_questions()
        self._stop, self._busy, self._filling = threading.Event(), threading.Lock(), False
        self.thread: threading.Thread | None = None
        self.last: list[Reply] = []
        self.sheet_replies: list[Reply] = []
        self.bars: list[Bar] = []
        parts = [
            self._notice(),
            *self._persona(),
            *self._question(),
            *self._models(),
            *self._answers(),
            *self._counterfactual(),
            *self._sheet(),
            *self._prompt(),
        ]
        self.root = widgets.VBox(parts, layout=widgets.Layout(width="100%", max_width="1100px"))
        self.root.add_class("pp")
        self._find()
        self._list_questions()
        self._family_changed()
        self._list_files()

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
        self.roll = widgets.Button(description="Roll a new plausible person", layout=_layout("0 0 auto"))
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
        self.card: dict = {}
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
        self.ask_bar = self._bar(Ask=self.ask)
        boxes = (self.family, self.adapter, self.second, self.seed, self.manner, self.temperature, self.top_p)
        return [widgets.HTML("<h2>3. Who answers</h2>"), row(*boxes), self.ask_bar.box]

    def _answers(self):
        names = ("Untuned base", "Tuned model", "Second family")
        self.answers = [shown(name, 3, "1 1 300px") for name in names]
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
            "<h2>5. What if</h2><p>One attribute changes, the rest of the card and the random numbers stay. Shown for the model chosen above.</p>"
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

    # --- persona -------------------------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        wanted = {"category": self.category.value, "country": self.country.value}
        found = find_people(self.probe.cards, self.search.value, **{k: "" if v == ANY else v for k, v in wanted.items()})
        names = [(f"{pid}: {chat.render_card(self.probe.cards[pid])[:110]}", pid) for pid in found]
        self._filling = True
        self.people.options = names
        self._filling = False
        if found:
            self.people.value = found[0]
            self._fill(self.probe.cards[found[0]])
        self.say(f"{len(found)} people found")

    def _pick(self) -> None:
        if not self._filling and self.people.value is not None:
            self._fill(self.probe.cards[self.people.value])

    def _roll(self) -> None:
        self._fill(roll(self.roll_seed.value))
        self.roll_seed.value += 1

    def _fill(self, card: dict) -> None:
        """Put a card into the editors."""
        self.card, self._filling = dict(card), True
        for name, widget in self.editors.items():
            value = card.get(name, "")
            widget.value = int(value or 40) if name == "age" else ", ".join(value) if name in LISTS else str(value)
        self._filling = False
        self._card_changed()

    def _edit(self, name: str, value) -> None:
        if self._filling:
            return
        self.card = changed(self.card, name, value)
        if name == "household":
            self._filling = True
            self.editors["description"].value = self.card["description"]
            self._filling = False
        self._card_changed()

    def _worded(self) -> None:
        self.words.layout.display = "" if self.in_words.value else "none"
        self._card_changed()

    @property
    def persona(self) -> dict | str:
        """The card in the editors, or the description in words. Raises ValueError if that is empty."""
        if not self.in_words.value:
            return self.card
        if not self.words.value.strip():
            raise ValueError("describe the person in words, or untick the box")
        return one_line(self.words.value)

    def _card_changed(self) -> None:
        for name, widget in self.editors.items():
            if isinstance(widget, widgets.Combobox):
                widget.options = [str(v) for v in choices(name, self.card)]
        self._attribute_changed()
        found, text = [], ""
        if not self.in_words.value or self.words.value.strip():
            found, text = problems(self.persona), chat.render_card(self.persona)
        hidden = [marker for _, marker in chat.find_control_text(text)]
        found += [f"control text made harmless: {', '.join(hidden)}"] if hidden else []
        put(self.card_text, chat.neutralise(text))
        put(self.warnings, "; ".join(found) or "none found")
        self._asked()

    # --- question and models -------------------------------------------------------------------------------------------------------

    def _list_questions(self) -> None:
        wanted = (self.domain.value, self.kind.value, self.instrument.value)
        found = [q for q in self.questions.values() if all(w in (ANY, v) for w, v in zip(wanted, (q.domain, q.type, q.instrument), strict=True))]
        self.question.options = [(q.text, q.id) for q in found]
        self.question.value = found[0].id if found else None
        self._asked()
        if not found:
            self.say("no question of the bank is like that; change domain, type or instrument")

    def _family_changed(self) -> None:
        names = [*adapters(self.probe.run, self.family.value), NO_ADAPTER]
        self.adapter.options = names
        self.adapter.value = names[0]

    @property
    def sampling(self) -> Sampling | None:
        """What is set here, or None for the study's own."""
        return None if self.manner.value == "as in the study" else Sampling(self.temperature.value, self.top_p.value, SAMPLING["open"].max_tokens)

    def current(self) -> Ask:
        """What Ask would ask. Raises ValueError for what is missing."""
        if self.own.value.strip():
            domain = DOMAINS[self.domain.value][0] if self.domain.value != ANY else DOMAINS["lifestyle"][0]
            return ask_own(self.persona, self.own.value, self.own_options.value, domain=domain, seed=self.seed.value, sampling=self.sampling)
        if self.question.value is None:
            raise ValueError("there is no question; pick one or type your own")
        return ask_bank(self.persona, self.questions[self.question.value], seed=self.seed.value, sampling=self.sampling)

    def _asked(self) -> None:
        """Options and badge follow persona and question."""
        if self.card and (self.question.value is not None or self.own.value.strip()) and (not self.in_words.value or self.words.value.strip()):
            ask = self.current()
            put(self.options_text, " / ".join(ask.options) or "none: an open question")
            put(self.badge, self.probe.training.seen(ask))

    def systems(self) -> list[System]:
        """Base, tuned and the second family, as chosen."""
        found = [System(self.family.value), System(self.family.value, self.adapter.value)]
        if self.second.value:
            found.append(System(self.second.value, next(iter(adapters(self.probe.run, self.second.value)), NO_ADAPTER)))
        return list(dict.fromkeys(found))

    @property
    def chosen(self) -> System:
        """The system of the sections What if and Questionnaire."""
        return System(self.family.value, self.adapter.value)

    def _answer(self, asks, system: System, **options) -> list[Reply]:
        return self.probe.answer(asks, system, stop=self._stop, **options)

    # --- ask -----------------------------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Put the question to every system, the answers streaming in."""
        ask, systems = self.current(), self.systems()
        self.work(lambda: self._ask(ask, systems), self.ask_bar)

    def _ask(self, ask: Ask, systems: list[System]) -> str:
        began, replies = time.perf_counter(), []
        slots = [0, 1, 2] if len(systems) > 1 and systems[1].key == systems[0].key else [0, 2]
        for box in self.answers:
            box.value = ""
        self.facts.value = ""
        self.bars_picture.clear()
        for system, slot in zip(systems, slots, strict=False):
            replies += self._answer([ask], system, on_text=Stream(self.answers[slot]))
            put(self.answers[slot], replies[-1].text or "(nothing: a failed generation)", width=44)
        self.last = replies
        put(self.facts, "\n".join(f"{r.system.label}: {r.stance} · {r.tokens} tokens · {r.seconds:.2f} s" for r in replies))
        if ask.options:
            groups = {r.system.label: r.option_probs for r in replies}
            self.bars_picture.show(probe_figures.plot_options(groups, ask.options, note=self.note), probe_figures.say_options(groups, ask.options))
        self._show_prompt(ask, systems[-1 if len(systems) == 1 else 1])
        return f"answered in {time.perf_counter() - began:.1f} s, seed {ask.seed}"

    def _show_prompt(self, ask: Ask, system: System) -> None:
        tokens = prompt_tokens(self.probe.generator.tokenizer(system.key), ask.messages, MODELS[system.key].control)
        put(self.prompt_facts, f"{len(tokens)} tokens for {system.label}, {sum(t.control for t in tokens)} of them control tokens")
        parts = stretches(tokens)
        for i, box in enumerate(self.prompt):
            box.layout.display = "" if i < len(parts) else "none"
            box.value = ""
            if i < len(parts):
                role, count, text = parts[i]
                for known in ROLES:
                    box.remove_class(f"pp-{known}")
                box.add_class(f"pp-{role}")
                box.description = f"{ROLES[role]} ({count})"
                put(box, text)

    # --- what if -------------------------------------------------------------------------------------------------------------------

    def _attribute_changed(self) -> None:
        name = self.attribute.value
        self.value.options = [] if name == "description" else [str(v) for v in choices(name, self.card) if v != self.card.get(name)]

    def compare(self) -> None:
        """One attribute changed, same random numbers: prompts, answers and probabilities side by side."""
        ask, name = self.current(), self.attribute.value
        if not self.value.value.strip():
            raise ValueError(f"choose or type the other value of {name}")
        other = replace(ask, card=changed(ask.card, name, self.value.value))
        if other.prompt == ask.prompt:
            raise ValueError(f"{name} is already like that, or the prompt does not show it: the two prompts are equal")
        before, after, chosen = str(self.card.get(name, "")), self.value.value, self.chosen
        self.work(
            lambda: self._compare(ask, other, chosen, {f"as it is ({name}: {before[:40]})": ask, f"changed ({name}: {after[:40]})": other}), self.what_if_bar
        )

    def _compare(self, ask: Ask, other: Ask, system: System, named: dict[str, Ask]) -> str:
        replies = dict(zip(named, self._answer(list(named.values()), system), strict=True))
        put(self.diff, difference(ask.prompt, other.prompt).marked)
        notes = problems(other.card)
        lines = [f"{label}: {r.text} [{r.stance}]" for label, r in replies.items()] + [f"the changed card is impossible: {'; '.join(notes)}"] * bool(notes)
        put(self.what_if, "\n".join(lines))
        self.what_if_picture.clear()
        if ask.options:
            groups = {label: r.option_probs for label, r in replies.items()}
            note = f"{system.label} · {self.note}"
            self.what_if_picture.show(probe_figures.plot_options(groups, ask.options, note=note), probe_figures.say_options(groups, ask.options))
        return f"compared, seed {ask.seed}; the prompts differ in {self.attribute.value} alone"

    def sweep(self) -> None:
        """The same question over all values of one attribute, base beside tuned."""
        ask, name = self.current(), self.attribute.value
        asks, systems = sweep(ask, name), [System(self.family.value), self.chosen]
        self.work(lambda: self._sweep(asks, list(dict.fromkeys(systems)), name), self.what_if_bar)

    def _sweep(self, asks: dict, systems: list[System], name: str) -> str:
        found = {s.label: dict(zip(asks, self._answer(asks.values(), s), strict=True)) for s in systems}
        last = found[systems[-1].label]
        options = next(iter(asks.values())).options
        put(self.diff, f"{len(asks)} prompts that differ in {name} alone")
        put(self.what_if, probe_figures.say_sweep(last, name))
        if options:
            panels = {label: {v: r.option_probs for v, r in by.items()} for label, by in found.items()}
            fig = probe_figures.plot_sweep(panels, options, name, note=self.note)
        else:
            fig = probe_figures.plot_lengths({label: {v: len(r.text.split()) for v, r in by.items()} for label, by in found.items()}, name, note=self.note)
        self.what_if_picture.show(fig, f"{systems[-1].label}\n{probe_figures.say_sweep(last, name)}")
        return f"{len(asks)} values of {name}, {len(systems)} models"

    def draw(self) -> None:
        """The same ask many times: how the sampled stances fall beside the model's probabilities."""
        ask, count, system = self.current(), self.draws.value, self.chosen
        self.work(lambda: self._draw(samples(ask, count), system), self.what_if_bar)

    def _draw(self, asks: list[Ask], system: System) -> str:
        replies = self._answer(asks, system, on_done=lambda n: self.say(f"{n} of {len(asks)} drawn", self.what_if_bar))
        put(self.diff, f"{len(asks)} times the same prompt, each with random numbers of its own")
        put(self.what_if, "\n".join(f"{i + 1}. {r.text}" + (f" [{r.stance}]" if r.ask.options else "") for i, r in enumerate(replies[:10])))
        self.what_if_picture.clear()
        if not asks[0].options:
            return f"{len(asks)} draws, {len({r.text for r in replies})} different answers"
        unread = sum(r.option is None for r in replies)
        groups = {f"stances read from {len(asks) - unread} draws": probe_figures.shares(replies), "the model's own probability": replies[0].option_probs}
        fig = probe_figures.plot_options(groups, asks[0].options, note=f"{system.label} · {self.note}", xlabel="share or probability of the option")
        self.what_if_picture.show(fig, probe_figures.say_options(groups, asks[0].options))
        return f"{len(asks)} draws; no option found in {unread}"

    # --- questionnaire -------------------------------------------------------------------------------------------------------------

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


class Stream:
    """Writes an answer into its field while it grows, not more often than `FLUSH_S` seconds."""

    def __init__(self, box: widgets.Textarea):
        self.box, self.at = box, 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self.at >= FLUSH_S:
            self.at = now
            put(self.box, text, width=44)


def show(page: Page | None, fig, table) -> None:
    """Show the page; where nobody can use it (a headless run, an untrusted notebook, a code host) a picture and a table take its place."""
    from IPython.display import display

    picture = {"image/png": probe_figures.png(fig), "text/plain": table.to_string()}
    if page is None:
        display(table)
        display(fig)
        return
    view = {"version_major": 2, "version_minor": 0, "model_id": page.root.model_id}
    display({"application/vnd.jupyter.widget-view+json": view, **picture}, raw=True)
