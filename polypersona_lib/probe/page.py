"""The probe as a page of ipywidgets: its sections in the order of the keyboard, among them the answers and the prompt, and how a notebook shows it."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import ipywidgets as widgets
import traitlets

from ..figures.style import run_note
from ..files import read_json, write_atomically
from ..prompts.token_view import ROLES, prompt_tokens, stretches
from ..registry import get_spec
from ..systems import is_server
from . import charts
from .asking import Ask, Reply, System, description_checks, description_effect
from .inputs import Inputs, ModelSection, QuestionSection
from .interview import Interviewer
from .many_asks import QuestionnaireSection, WhatIfSection
from .own_section import OwnSection
from .page_parts import Picture, Worker, put, put_or_hide, read_only, row, show_if
from .person_section import PersonSection

NOTICE = (
    "<strong>Simulated answers are not survey data.</strong> A language model writes them from a made-up card. "
    "They show what the model does with a persona, never what people think."
)
TWINS = (
    " A model called <strong>twin</strong> is a nano twin: 1.3 to 1.8 million parameters, a thousandth or so of the model it is named after. A twin has read "
    "this project's text and nothing else, so its sentences often do not make sense, above all after a question of your own. Look at how an answer changes, "
    "not at what it claims."
)
FLUSH_S = 0.06  # between two updates of an answer that is being written
STRETCHES = 12  # parts of a prompt: at most the template between all of the others


class PageSession:
    """What the page shows again after a reload: its fields, in one file below the run's results. Two pages of one run share it: the last change counts."""

    def __init__(self, path: Path):
        self.path, self.fields, self.person, self._open = path, {}, None, False

    def watch(self, fields: Mapping[str, object], person) -> None:
        """Keep the values of `fields` (name -> widget, in the order in which they are filled again) and the card of `person` (a `PersonSection`)."""
        self.fields, self.person = dict(fields), person
        for widget in self.fields.values():
            widget.observe(lambda _: self.keep(), "value")

    def restore(self) -> bool:
        """Fill the fields with what was kept; a value that a field no longer takes is left out. Returns whether there was anything.

        From here on every change is kept: what the page does to its fields while it is made is no choice of the user.
        """
        kept = read_json(self.path)
        values = kept.get("fields") if isinstance(kept.get("fields"), dict) else {}
        for name, widget in self.fields.items():
            if name in values:
                with contextlib.suppress(traitlets.TraitError, ValueError, TypeError, KeyError):
                    widget.value = values[name]
            if name == "people" and isinstance(kept.get("card"), dict) and isinstance(kept.get("original"), dict):
                with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, traitlets.TraitError):
                    self.person.put_card(kept["original"], kept["card"])
        self._open = True
        return bool(values)

    def keep(self) -> None:
        """Write the file."""
        if self._open:
            said = {"fields": {name: widget.value for name, widget in self.fields.items()}, "card": self.person.card, "original": self.person.original}
            write_atomically(self.path, json.dumps(said, ensure_ascii=False))

    def forget(self, also: Callable[[], None]) -> None:
        """Delete the file and do `also`; what is on the page stays until it is reloaded, and is not kept."""
        self._open = False
        self.path.unlink(missing_ok=True)
        also()


class PromptSection:
    """Shows a prompt part by part."""

    def __init__(self, worker: Worker):
        self.talk = worker.interviewer
        self.facts, self.boxes = read_only("Tokens", 1), [read_only(ROLES["template"], 1, hidden=True) for _ in range(STRETCHES)]
        for box in self.boxes:
            box.add_class("pp-part")
        head = widgets.HTML(
            "<h2>8. The prompt, as it was sent</h2><p>Part by part, a colour and a name for each. │ stands between two tokens, "
            "⟦ ⟧ encloses a control token, ↵ is a line end, ‥ one more token of the character before it.</p>"
        )
        self.children = [head, self.facts, *self.boxes]

    def clear(self) -> None:
        """Show nothing: nothing was sent yet."""
        self.facts.value = ""
        show_if(False, *self.boxes)

    def show(self, ask: Ask, system: System) -> None:
        """Show the prompt of `ask` as `system` got it: tokens, or the messages that went to a server."""
        if is_server(system.key):
            put(self.facts, "a server gets these two messages; its own template makes the prompt of them")
            self._fill([(role, None, m["content"]) for role, m in zip(("system", "question"), ask.messages, strict=True)])
            return
        tokens = prompt_tokens(self.talk.generator.tokenizer(system.key), ask.messages, get_spec(system.key).control)
        put(self.facts, f"{len(tokens)} tokens for {self.talk.label(system)}, {sum(t.control for t in tokens)} of them control tokens")
        self._fill(stretches(tokens))

    def _fill(self, parts: list[tuple[str, int | None, str]]) -> None:
        """One field a part: its role, how many tokens it has (None: not known), its text."""
        for box, (role, count, text) in zip(self.boxes, parts, strict=False):
            for known in ROLES:
                box.remove_class(f"pp-{known}")
            box.add_class(f"pp-{role}")
            box.description = ROLES[role] if count is None else f"{ROLES[role]} ({count})"
            put(box, text)
        show_if(True, *self.boxes[: len(parts)])
        show_if(False, *self.boxes[len(parts) :])


class Stream:
    """Writes an answer into its field while it grows, not more often than `FLUSH_S` seconds."""

    def __init__(self, box: widgets.Textarea):
        self.box, self.at = box, 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self.at >= FLUSH_S:
            self.at = now
            put(self.box, text, width=44)


class AnswerSection:
    """Puts one question to the untuned base, the tuned model and the second family, side by side."""

    def __init__(self, inputs: Inputs, worker: Worker, note: str, prompt: PromptSection):
        self.inputs, self.worker, self.talk, self.note, self.prompt = inputs, worker, worker.interviewer, note, prompt
        self.boxes = [read_only(name, 3, "1 1 300px") for name in ("Untuned base", "Tuned model", "Second family")]
        show_if(False, self.boxes[2])
        for box in self.boxes[:2]:
            box.placeholder = "the answer appears here after Ask"
        self.asked, self.facts, self.badge = read_only("What was asked", 1), read_only("What was read from them", 2), read_only("Training", 1)
        self.heard = read_only("Does the description count?", 2, hidden=True)
        self.picture = Picture()
        self.bar = worker.bar(Ask=self.ask)
        head = widgets.HTML("<h2>4. What they say</h2>")
        self.children = [head, self.asked, row(*self.boxes), self.heard, self.badge, self.facts, self.picture.box]

    def _clear(self) -> None:
        """Empty the section: what it showed belongs to an earlier question."""
        for box in (*self.boxes, self.asked, self.facts, self.heard):
            box.value = ""
        show_if(False, self.heard)
        self.picture.clear()
        self.prompt.clear()

    def show_badge(self, ask: Ask, system: System) -> None:
        """Say whether `system` met this pair in training."""
        put(self.badge, self.talk.seen(ask, system))

    def ask(self) -> None:
        """Put the question to every system, the answers streaming in."""
        self._clear()
        ask, systems, name = self.inputs.ask(), self.inputs.models.systems(), self.inputs.person.name
        self.worker.start(lambda: self._ask(ask, systems, name), self.bar)

    def _ask(self, ask: Ask, systems: list[System], name: str) -> str:
        began, replies = time.perf_counter(), []
        boxes = self._boxes_of(systems)
        for box in self.boxes:
            show_if(box in boxes, box)
        put(self.asked, f"{name}: {ask.text}")
        shown = systems[1] if len(systems) > 1 else systems[0]
        self.show_badge(ask, shown)
        for system, box in zip(systems, boxes, strict=True):
            finished = list(self.worker.answer([ask], system, on_text=Stream(box)).values())
            put(box, (finished[0].text or "(nothing: a failed generation)") if finished else f"{box.value} (not finished)".strip(), width=44)
            replies += finished
        if replies:
            self._show_readings(ask, replies)
            self.prompt.show(ask, shown)
            self.worker.answers.say(". ".join(f"{box.description}: {box.value}" for box in boxes))
        if len(replies) == len(systems) and isinstance(ask.card, str):
            self._check_description(ask, systems)
        return f"answered in {time.perf_counter() - began:.1f} s, seed {ask.seed}"

    def _check_description(self, ask: Ask, systems: list[System]) -> None:
        """Measure for every system whether a description in words counts, and say it in one sentence each."""
        checks, lines, warned = description_checks(ask), [], False
        for system in systems:
            if len(replies := self.worker.answer(checks, system)) == len(checks):
                sentence, warning = description_effect(list(replies.values()))
                lines.append(f"{self.talk.label(system)}: {sentence}")
                warned |= warning
        put_or_hide(self.heard, "\n".join(lines))
        (self.heard.add_class if warned else self.heard.remove_class)("pp-warning")
        self.worker.answers.say(f"{self.worker.answers.box.value} {' '.join(lines)}")

    def _boxes_of(self, systems: list[System]) -> list[widgets.Textarea]:
        """The field of each system; the second one is empty where the first family answers untuned alone."""
        base, tuned, second = self.boxes
        both = len(systems) > 1 and systems[1].key == systems[0].key
        return ([base, tuned, second] if both else [base, second])[: len(systems)]

    def _show_readings(self, ask: Ask, replies: list[Reply]) -> None:
        labels = [self.talk.label(r.system) for r in replies]
        readings = zip(labels, replies, strict=True)
        put(self.facts, "\n".join(f"{label}: {r.scale_marks}{r.stance} · {r.tokens} tokens · {r.seconds:.2f} s" for label, r in readings))
        if ask.options:
            groups = dict(zip(labels, (r.option_probs for r in replies), strict=True))
            kinds, read = [r.system.kind for r in replies], [r.option for r in replies]
            self.picture.show(charts.plot_options(groups, ask.options, kinds, note=self.note, read=read), charts.say_options(groups, ask.options))


class Page:
    """The whole page. `root` is the widget; everything it shows can be read from its sections (tests do)."""

    def __init__(self, interviewer: Interviewer):
        run = interviewer.run
        self.interviewer, self.worker, note = interviewer, Worker(interviewer), run_note(run, scale=False)
        self.person = PersonSection(interviewer.cards, self.worker, self._refresh)
        self.question = QuestionSection(self.worker, self._refresh)
        self.models = ModelSection(run, self.worker, self._refresh)
        self.inputs = Inputs(self.person, self.question, self.models)
        self.prompt = PromptSection(self.worker)
        self.answers = AnswerSection(self.inputs, self.worker, note, self.prompt)
        self.what_if = WhatIfSection(self.inputs, self.worker, note)
        self.questionnaire = QuestionnaireSection(self.inputs, self.worker)
        self.own = OwnSection(self.inputs, self.worker)
        self.session = PageSession(run.paths.results / "probe" / "session.json")
        self.root = self._root()
        self.person.find()
        self.question.list_questions()
        self.models.list_adapters()
        self._restore()

    def _restore(self) -> None:
        """Show what was chosen and what was finished before the page was reloaded."""
        person, question, models, what_if, bank, own = self.person, self.question, self.models, self.what_if, self.questionnaire, self.own
        fields = {"search": person.search, "category": person.category, "country": person.country, "people": person.people, "edit": person.edit,
                  "in_words": person.in_words, "words": person.words, "roll_seed": person.roll_seed, "domain": question.domain, "kind": question.kind,
                  "instrument": question.instrument, "bank": question.bank, "own": question.own, "own_options": question.own_options,
                  "own_domain": question.own_domain, "family": models.family, "adapter": models.adapter, "second": models.second, "seed": models.seed,
                  "temperature": models.temperature, "top_p": models.top_p, "manner": models.manner, "attribute": what_if.attribute, "value": what_if.value,
                  "draws": what_if.draws, "bank_people": bank.people, "bank_count": bank.count, "bank_scope": bank.scope, "export_name": bank.export_name,
                  "own_mode": own.mode, "own_wanted": own.wanted, "own_count": own.count}  # fmt: skip
        self.session.watch(fields, person)
        self.session.restore()
        own.forget.on_click(lambda _: self.worker.busy or self.worker.safely(lambda: self.session.forget(own.forget_files), own.bar))
        self.worker.safely(own.load, own.bar)

    def _root(self) -> widgets.VBox:
        """The sections one under the other; the button Ask stands below the models."""
        models = [*self.models.children, self.answers.bar.box]
        others = (self.answers, self.what_if, self.questionnaire, self.own, self.prompt)
        sections = [widgets.VBox(children) for children in (self.person.children, self.question.children, models, *(s.children for s in others))]
        for section in sections:
            section.add_class("pp-section")
        notice = NOTICE + TWINS if self.interviewer.run.settings.scale == "nano" else NOTICE
        css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
        literals = [widgets.HTML(f"<style>{css}</style>"), widgets.HTML(f'<p class="pp-notice">{notice}</p>')]
        top = widgets.VBox([*literals, self.worker.status.box, self.worker.answers.box])
        root = widgets.VBox([top, *sections], layout=widgets.Layout(width="100%", max_width="1100px"))
        root.add_class("pp")
        return root

    def _refresh(self) -> None:
        """Let what is shown follow the choice: values to compare with, sampling, options, and whether the pair was in training."""
        self.what_if.list_values()
        self.questionnaire.show_plan()
        self.own.show_plan()
        self.answers.badge.value = ""
        if ask := self.inputs.show():
            self.answers.show_badge(ask, self.models.chosen)


def show_page(page: Page, fig=None, table=None) -> None:
    """Show the page; where it cannot live (an untrusted notebook, a code host) the picture and the table take its place. `page.js` runs beside it."""
    from IPython.display import display

    view = {"application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": page.root.model_id}}
    display(view | ({} if fig is None else {"image/png": charts.png(fig), "text/plain": table.to_string()}), raw=True)
    display({"application/javascript": Path(__file__).with_name("page.js").read_text(encoding="utf-8"), "text/plain": ""}, raw=True)
