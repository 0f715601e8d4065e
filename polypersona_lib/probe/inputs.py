"""Sections 1 to 3 of the page: who is asked, what is asked, who answers; and `Inputs`, which makes an ask of the three.

Every section calls `changed` when something in it has changed that an ask depends on.
"""

import contextlib
from collections.abc import Callable

import ipywidgets as widgets

from ..config import RunConfig
from ..errors import one_line
from ..models.generation import SAMPLING, Sampling
from ..prompts import chat
from ..systems import model_name
from ..world.questions import DOMAINS, TYPES, Question, load_questions
from .asking import NO_ADAPTER, Ask, System, ask_bank, ask_own
from .cards import FIELDS, LISTS, changed, choices, find_people, problems, roll
from .interview import adapter_folders
from .page_parts import WIDE, Filling, Worker, button, field, put, read_only, row, show_if

ANY = "any"
STUDY, HERE = "as in the study", "as set here"


class PersonSection:
    """Finds, rolls, edits or describes the person."""

    def __init__(self, cards: dict[str, dict], worker: Worker, changed: Callable[[], None]):
        self.cards, self.changed = cards, changed
        self.card, self.original = {}, {}
        self._filling = Filling()
        self._make_finder()
        self._make_editors()
        self.who, self.card_text = read_only("Who", 1, "1 1 150px"), read_only("As the model reads it", 2, "5 1 420px")
        self.warnings = read_only("Contradictions", 1)
        self.warnings.add_class("pp-warning")
        self._connect(worker)
        head, switches = widgets.HTML("<h2>1. Who is asked</h2>"), row(self.roll, self.roll_seed, self.edit, self.in_words)
        self.children = [head, self.list_box, switches, self.card_box, self.words, row(self.who, self.card_text), self.warnings]

    def _make_finder(self) -> None:
        kinds, countries = (sorted({str(card.get(name, "")) for card in self.cards.values()}) for name in ("category", "country"))
        self.search = field(widgets.Text, "Search", placeholder="nurse California")
        self.category = field(widgets.Dropdown, "Kind of work", "1 1 160px", options=[ANY, *kinds])
        self.country = field(widgets.Dropdown, "Country", "1 1 160px", options=[ANY, *countries])
        self.people = field(widgets.Select, "People", WIDE, options=[], rows=5)
        self.list_box = widgets.VBox([row(self.search, self.category, self.country), self.people])
        self.roll = button("Roll a new plausible person")
        self.roll_seed = field(widgets.BoundedIntText, "Number of the new person", "0 1 170px", value=1, min=1, max=10**6)

    def _make_editors(self) -> None:
        self.edit = field(widgets.Checkbox, "Edit every attribute", "0 0 auto", value=False, indent=False)
        self.editors = {name: self._editor(name) for name in FIELDS}
        self.editors["description"] = field(widgets.Text, "Description", WIDE, continuous_update=False)
        self.undo = button("Undo the edits")
        self.card_box = widgets.VBox([row(*self.editors.values()), row(self.undo)])
        self.in_words = field(widgets.Checkbox, "Describe the person in words instead", "0 0 auto", value=False, indent=False)
        example = "A retired fisherman from Kerala who distrusts banks."
        self.words = field(widgets.Textarea, "In words", WIDE, rows=2, placeholder=example, continuous_update=False)

    @staticmethod
    def _editor(name: str):
        label = name.replace("_", " ").capitalize()
        if name == "age":
            return field(widgets.BoundedIntText, label, "1 1 140px", min=0, max=120, value=40)
        if name in LISTS:
            return field(widgets.Text, f"{label} (comma between)", continuous_update=False)
        return field(widgets.Combobox, label, options=[], ensure_option=False, continuous_update=False)

    def _connect(self, worker: Worker) -> None:
        worker.on_change(self.find, self.search, self.category, self.country)
        worker.on_change(self._pick, self.people)
        worker.on_change(self._show_card, self.in_words, self.words)
        self.edit.observe(lambda _: self._arrange(), "value")
        self.roll.on_click(lambda _: worker.safely(self._roll))
        self.undo.on_click(lambda _: worker.safely(lambda: self._fill(self.original)))
        for name, editor in self.editors.items():
            worker.on_change(lambda name=name: self._edit(name), editor)

    def _arrange(self) -> None:
        """Only what has an effect is shown: the list and the attributes of a card, or the field for words."""
        worded = self.in_words.value
        show_if(worded, self.words)
        show_if(not worded, self.list_box, self.roll, self.roll_seed, self.edit)
        show_if(self.edit.value and not worded, self.card_box)

    def find(self) -> None:
        """List the people that the search and the filters allow, and take the first."""
        wanted = {name: "" if box.value == ANY else box.value for name, box in (("category", self.category), ("country", self.country))}
        ids = find_people(self.cards, self.search.value, **wanted)
        with self._filling:
            self.people.options = [(f"{pid}: {chat.render_card(self.cards[pid])[:110]}", pid) for pid in ids]
            self.people.description = f"People ({len(ids)} found)"
            if ids:
                self.people.value = ids[0]
        if ids:
            self._fill(self.cards[ids[0]])

    def _pick(self) -> None:
        if not self._filling.now and self.people.value is not None:
            self._fill(self.cards[self.people.value])

    def _roll(self) -> None:
        with self._filling:
            self.people.value = None  # nobody in the list is asked now
        self._fill(roll(self.roll_seed.value))
        self.roll_seed.value += 1

    def _fill(self, card: dict) -> None:
        """Put a card into the editors."""
        self.card, self.original = dict(card), dict(card)
        with self._filling:
            for name, editor in self.editors.items():
                value = card.get(name, "")
                if name == "age":
                    editor.value = int(value or 40)
                else:
                    editor.value = ", ".join(value) if name in LISTS else str(value)
        self._show_card()

    def _edit(self, name: str) -> None:
        if self._filling.now:
            return
        self.card = changed(self.card, name, self.editors[name].value)
        if name == "household":
            with self._filling:
                self.editors["description"].value = self.card["description"]
        self._show_card()

    @property
    def name(self) -> str:
        """Who is asked, in two words."""
        if self.in_words.value:
            return "in words"
        pid = self.card.get("persona_id", "")
        if self.card != self.original:
            return f"{pid}, edited"
        return pid if pid in self.cards else f"{pid}, new"

    @property
    def given(self) -> bool:
        """Whether there is somebody to ask."""
        return bool(self.words.value.strip() if self.in_words.value else self.card)

    @property
    def persona(self) -> dict | str:
        """The card in the editors, or the description in words. Raises ValueError if that is empty."""
        if self.in_words.value and not self.given:
            raise ValueError("describe the person in words, or untick the box")
        return one_line(self.words.value) if self.in_words.value else self.card

    def listed(self, count: int) -> list[dict]:
        """Cards of the first `count` people in the list."""
        return [self.cards[pid] for _, pid in self.people.options[:count]]

    def _show_card(self) -> None:
        self._arrange()
        for name, editor in self.editors.items():
            if isinstance(editor, widgets.Combobox):
                editor.options = [str(v) for v in choices(name, self.card)]
        faults, text = (problems(self.persona), chat.render_card(self.persona)) if self.given else ([], "")
        if hidden := [marker for _, marker in chat.find_control_text(text)]:
            faults.append(f"control text made harmless: {', '.join(hidden)}")
        put(self.who, self.name)
        put(self.card_text, chat.neutralise(text))
        put(self.warnings, "; ".join(faults) or "none found")
        show_if(bool(faults), self.warnings)
        self.changed()


class QuestionSection:
    """Lists the questions of the bank, or takes one's own."""

    def __init__(self, worker: Worker, changed: Callable[[], None]):
        self.questions, self.worker, self.changed = load_questions(), worker, changed
        makers = sorted({q.instrument for q in self.questions.values()})
        self.domain = field(widgets.Dropdown, "Domain", options=[(ANY, ANY), *((name, key) for key, name in DOMAINS.items())])
        self.kind = field(widgets.Dropdown, "Type", "1 1 140px", options=[ANY, *TYPES])
        self.instrument = field(widgets.Dropdown, "Inspired by", "1 1 160px", options=[ANY, *makers])
        self.bank = field(widgets.Dropdown, "Question", WIDE, options=[])
        self.own = field(widgets.Text, "Or your own question", "3 1 320px", placeholder="leave empty to ask the question above", continuous_update=False)
        self.own_options = field(widgets.Text, "Its options", "2 1 220px", placeholder="Yes / No; empty for an open question", continuous_update=False)
        self.options_text = read_only("Options shown to the persona", 1)
        worker.on_change(self.list_questions, self.domain, self.kind, self.instrument)
        worker.on_change(changed, self.bank, self.own, self.own_options)
        head, filters = widgets.HTML("<h2>2. What is asked</h2>"), row(self.domain, self.kind, self.instrument)
        self.children = [head, filters, self.bank, row(self.own, self.own_options), self.options_text]

    def list_questions(self) -> None:
        """List the questions that the three filters allow, and take the first."""
        wanted = (self.domain.value, self.kind.value, self.instrument.value)
        listed = [q for q in self.questions.values() if all(w in (ANY, v) for w, v in zip(wanted, (q.domain, q.type, q.instrument), strict=True))]
        self.bank.options = [(q.text, q.id) for q in listed]
        self.bank.value = listed[0].id if listed else None
        self.changed()
        if not listed:
            self.worker.say("no question of the bank is like that; change domain, type or instrument")

    @property
    def picked(self) -> Question | None:
        """The question of the bank, if one is picked."""
        return self.questions.get(self.bank.value)

    @property
    def given(self) -> bool:
        """Whether there is something to ask."""
        return bool(self.own.value.strip()) or self.picked is not None

    def ask(self, persona: dict | str, *, seed: int, sampling: Sampling | None) -> Ask:
        """Put the question to `persona`. Raises ValueError for what is missing."""
        if self.own.value.strip():
            domain = DOMAINS["lifestyle" if self.domain.value == ANY else self.domain.value]
            return ask_own(persona, self.own.value, self.own_options.value, domain=domain, seed=seed, sampling=sampling)
        if self.picked is None:
            raise ValueError("there is no question; pick one or type your own")
        return ask_bank(persona, self.picked, seed=seed, sampling=sampling)


class ModelSection:
    """Chooses the model, its adapter, a second model beside it, and how answers are sampled."""

    def __init__(self, run: RunConfig, worker: Worker, changed: Callable[[], None]):
        self.run, self._filling = run, Filling()
        models = [(model_name(key, run.settings.scale), key) for key in run.model_keys]
        default = "tinyllama-1.1b" if "tinyllama-1.1b" in run.model_keys else run.model_keys[0]
        self.family = field(widgets.Dropdown, "Model", "3 1 250px", options=models, value=default)
        self.adapter = field(widgets.Dropdown, "Adapter", "1 1 110px", options=[NO_ADAPTER])
        self.second = field(widgets.Dropdown, "Beside it", "2 1 170px", options=[("no second family", ""), *models], value="")
        self.seed = field(widgets.BoundedIntText, "Seed", "1 1 100px", value=run.seed, min=0, max=2**31 - 1)
        self.manner = field(widgets.Dropdown, "Sampling", "1 1 130px", options=[STUDY, HERE])
        self.temperature = field(widgets.BoundedFloatText, "Temperature", "1 1 80px", value=0.7, min=0.0, max=2.0, step=0.1)
        self.top_p = field(widgets.BoundedFloatText, "Top-p", "1 1 80px", value=0.9, min=0.05, max=1.0, step=0.05)
        worker.on_change(self.list_adapters, self.family)
        worker.on_change(changed, self.adapter, self.manner)
        worker.on_change(self._set_here, self.temperature, self.top_p)
        boxes = (self.family, self.adapter, self.second, self.seed, self.manner, self.temperature, self.top_p)
        self.children = [widgets.HTML("<h2>3. Who answers</h2>"), row(*boxes)]

    def list_adapters(self) -> None:
        """List the model's adapters, the run's own first."""
        names = [*adapter_folders(self.run, self.family.value), NO_ADAPTER]
        self.adapter.options = names
        self.adapter.value = names[0]

    def show_sampling(self, kind: str) -> None:
        """Show temperature and top-p as they will be used: the study's own for this type of question, unless something is set here."""
        if self.manner.value == STUDY:
            with self._filling:
                self.temperature.value, self.top_p.value = SAMPLING[kind].temperature, SAMPLING[kind].top_p

    def _set_here(self) -> None:
        """Who changes temperature or top-p wants it to be used."""
        if not self._filling.now:
            self.manner.value = HERE

    @property
    def sampling(self) -> Sampling | None:
        """What is set here, or None for the study's own."""
        return None if self.manner.value == STUDY else Sampling(self.temperature.value, self.top_p.value, SAMPLING["open"].max_tokens)

    @property
    def chosen(self) -> System:
        """The system that What if and the questionnaire ask."""
        return System(self.family.value, self.adapter.value)

    def systems(self) -> list[System]:
        """Untuned base, tuned model and the second family, as chosen."""
        chosen = [System(self.family.value), self.chosen]
        if self.second.value:
            chosen.append(System(self.second.value, next(iter(adapter_folders(self.run, self.second.value)), NO_ADAPTER)))
        return list(dict.fromkeys(chosen))


class Inputs:
    """What the three sections say together."""

    def __init__(self, person: PersonSection, question: QuestionSection, models: ModelSection):
        self.person, self.question, self.models = person, question, models

    def ask(self) -> Ask:
        """What a press on Ask asks. Raises ValueError for what is missing."""
        return self.question.ask(self.person.persona, seed=self.models.seed.value, sampling=self.models.sampling)

    def show(self) -> Ask | None:
        """Let the sampling and the options shown follow the choice. Returns the ask; None if nobody or nothing is chosen. Raises as `ask`."""
        if self.question.picked is not None:
            kind = self.question.picked.type
            with contextlib.suppress(ValueError):  # a question that cannot be asked yet
                kind = self.ask().kind
            self.models.show_sampling(kind)
        if not (self.person.given and self.question.given):
            return None
        ask = self.ask()
        put(self.question.options_text, " / ".join(ask.options) or "none: an open question")
        return ask
