"""Sections 2 and 3 of the page: what is asked, who answers; and `Inputs`, which makes an ask of the first three sections.

Every section calls `changed` when something in it has changed that an ask depends on.
"""

import contextlib
from collections.abc import Callable

import ipywidgets as widgets

from ..config import RunConfig
from ..models.generation import SAMPLING, Sampling
from ..systems import is_server, model_name, system_label
from ..world.questions import DOMAINS, TYPES, Question, load_questions
from .asking import GENERAL, NO_ADAPTER, SEPARATORS, Ask, System, ask_bank, ask_own, guess_domain, split_options
from .interview import adapter_folders, first_choice, models_here
from .page_parts import ANY, WIDE, Filling, Worker, field, put_or_hide, read_only, row

STUDY, HERE = "as in the study", "as set here"
GUESS = "guessed from its words"


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
        self.own_options = field(widgets.Textarea, "Its options", "2 1 220px", rows=2, continuous_update=False,
                                 placeholder="Yes / No; or one a line; empty for an open question")  # fmt: skip
        self.own_domain = field(widgets.Dropdown, "Domain of your question", "1 1 200px", options=[GUESS, *DOMAINS.values(), GENERAL])
        self.reading = read_only("How your question is read", 1, hidden=True)
        self.sent = read_only("Sent to the model after the persona", 2)
        worker.on_change(self.list_questions, self.domain, self.kind, self.instrument)
        worker.on_change(self._follow_domain, self.domain)
        worker.on_change(changed, self.bank, self.own, self.own_options, self.own_domain)
        head, filters = widgets.HTML("<h2>2. What is asked</h2>"), row(self.domain, self.kind, self.instrument)
        self.children = [head, filters, self.bank, row(self.own, self.own_options, self.own_domain), self.reading, self.sent]

    def _follow_domain(self) -> None:
        """A domain chosen for the bank is that of the visitor's own question too, until another one is chosen for it."""
        self.own_domain.value = GUESS if self.domain.value == ANY else DOMAINS[self.domain.value]

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
        return self.own_given or self.picked is not None

    @property
    def own_given(self) -> bool:
        """Whether the user typed a question; it is asked then, and not the bank's."""
        return bool(self.own.value.strip())

    @property
    def sent_domain(self) -> str:
        """The domain that goes out with the visitor's question: the one chosen, else the guess."""
        return guess_domain(self.own.value) if self.own_domain.value == GUESS else self.own_domain.value

    def ask(self, persona: dict | str, *, seed: int, sampling: Sampling | None) -> Ask:
        """Put the question to `persona`. Raises ValueError for what is missing."""
        if self.own_given:
            return ask_own(persona, self.own.value, self.own_options.value, domain=self.sent_domain, seed=seed, sampling=sampling)
        if self.picked is None:
            raise ValueError("there is no question; pick one or type your own")
        return ask_bank(persona, self.picked, seed=seed, sampling=sampling)

    def show_reading(self) -> None:
        """Say how the visitor's question is read, before it is asked: its options, numbered, and where its domain comes from."""
        labels = split_options(self.own_options.value)
        options = f"options read: {len(labels)}  " + "  ".join(f"[{i}] {label}" for i, label in enumerate(labels, 1))
        options = f"{options}\nbetween two options stands {SEPARATORS}" if labels else "no options: an open question"
        why = "as chosen"
        if self.own_domain.value == GUESS:
            why = "guessed from the words of the question; choose another one if it is wrong"
            if self.sent_domain == GENERAL:
                why = "because its words do not tell; a tuned model never read this one, so better choose one of the ten"
        put_or_hide(self.reading, f"{options}\ndomain {self.sent_domain}, {why}" if self.own_given else "")


class ModelSection:
    """Chooses the model, its adapter, a second model beside it, and how answers are sampled."""

    def __init__(self, run: RunConfig, worker: Worker, changed: Callable[[], None]):
        self.run, self._filling = run, Filling()
        names = {key: (system_label if is_server(key) else model_name)(key, run.settings.scale) for key in models_here(run)}
        models = [(name, key) for key, name in names.items()]
        self.family = field(widgets.Dropdown, "Model", "3 1 250px", options=models, value=first_choice(run))
        self.sends = read_only("Leaves this machine", 1, hidden=True)
        self.adapter = field(widgets.Dropdown, "Adapter", "1 1 130px", options=[NO_ADAPTER])
        self.second = field(widgets.Dropdown, "Beside it", "2 1 170px", options=[("no second family", ""), *models], value="")
        self.seed = field(widgets.BoundedIntText, "Seed", "1 1 100px", value=run.seed, min=0, max=2**31 - 1)
        self.manner = field(widgets.Dropdown, "Sampling", "1 1 150px", options=[STUDY, HERE])
        self.temperature = field(widgets.BoundedFloatText, "Temperature", "1 1 80px", value=0.7, min=0.0, max=2.0, step=0.1)
        self.top_p = field(widgets.BoundedFloatText, "Top-p", "1 1 80px", value=0.9, min=0.05, max=1.0, step=0.05)
        worker.on_change(self.list_adapters, self.family)
        worker.on_change(self._show_where, self.family, self.second)
        worker.on_change(changed, self.adapter, self.manner)
        worker.on_change(self._set_here, self.temperature, self.top_p)
        boxes = (self.family, self.adapter, self.second, self.seed, self.manner, self.temperature, self.top_p)
        self.children = [widgets.HTML("<h2>3. Who answers</h2>"), row(*boxes), self.sends]
        self._show_where()

    def _show_where(self) -> None:
        """Say which address gets what, before anything is sent."""
        chosen = {self.family.value, self.second.value}
        lines = [f"{s.address} gets persona, question and options; nobody else does" for s in self.run.servers if s.system in chosen]
        put_or_hide(self.sends, "\n".join(lines))

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
    """What the three sections say together; `person` is the `PersonSection`."""

    def __init__(self, person, question: QuestionSection, models: ModelSection):
        self.person, self.question, self.models = person, question, models

    def ask(self) -> Ask:
        """What a press on Ask asks. Raises ValueError for what is missing."""
        return self.question.ask(self.person.persona, seed=self.models.seed.value, sampling=self.models.sampling)

    def show(self) -> Ask | None:
        """Let the sampling and the text to be sent follow the choice. Returns the ask; None if nobody or nothing is chosen. Raises as `ask`."""
        self.question.show_reading()
        put_or_hide(self.question.sent, "")
        if self.question.picked is not None:
            kind = self.question.picked.type
            with contextlib.suppress(ValueError):  # a question that cannot be asked yet
                kind = self.ask().kind
            self.models.show_sampling(kind)
        if not (self.person.given and self.question.given):
            return None
        ask = self.ask()
        put_or_hide(self.question.sent, ask.prompt.split("\n", 1)[1])
        return ask
