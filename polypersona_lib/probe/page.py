"""The probe as a page of ipywidgets: a thin view over `probe`, `probe_sheet`, `prompt_view` and `probe_figures`."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

import ipywidgets as widgets

from ..errors import one_line
from ..models.generation import SAMPLING, Sampling
from ..prompts import chat
from ..prompts.token_view import ROLES, prompt_tokens, stretches
from ..registry import MODELS
from ..world.questions import DOMAINS
from . import charts
from .asking import NO_ADAPTER, Ask, Probe, Reply, System, adapters, ask_bank, ask_own, difference, samples, sweep
from .cards import LISTS, changed, choices, find_people, problems, roll
from .layout import ANY, HERE, STUDY
from .panel import Panel
from .parts import Stream, put


class Page(Panel):
    """The whole page. `root` is the widget; everything it shows can be read from its attributes (tests do)."""

    def __init__(self, probe: Probe):
        super().__init__(probe)
        self._arrange()
        self._find()
        self._list_questions()
        self._family_changed()
        self._list_files()

    # --- persona -------------------------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        wanted = {"category": self.category.value, "country": self.country.value}
        found = find_people(self.probe.cards, self.search.value, **{k: "" if v == ANY else v for k, v in wanted.items()})
        names = [(f"{pid}: {chat.render_card(self.probe.cards[pid])[:110]}", pid) for pid in found]
        self._filling = True
        self.people.options, self.people.description = names, f"People ({len(found)} found)"
        if found:
            self.people.value = found[0]
        self._filling = False
        if found:
            self._fill(self.probe.cards[found[0]])

    def _pick(self) -> None:
        if not self._filling and self.people.value is not None:
            self._fill(self.probe.cards[self.people.value])

    def _roll(self) -> None:
        self._filling, self.people.value, self._filling = True, None, False  # nobody in the list is asked now
        self._fill(roll(self.roll_seed.value))
        self.roll_seed.value += 1

    def _fill(self, card: dict) -> None:
        """Put a card into the editors."""
        self.card, self.original, self._filling = dict(card), dict(card), True
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
        self._arrange()
        self._card_changed()

    @property
    def name(self) -> str:
        """Who is asked, in two words."""
        pid = self.card.get("persona_id", "")
        kind = "in words" if self.in_words.value else "edited" if self.card != self.original else "" if pid in self.probe.cards else "new"
        return kind if self.in_words.value else ", ".join(filter(None, (pid, kind)))

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
        put(self.who, self.name)
        put(self.card_text, chat.neutralise(text))
        put(self.warnings, "; ".join(found) or "none found")
        self.warnings.layout.display = "" if found else "none"
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

    def _sampled(self) -> None:
        """Temperature and top-p as they will be used: the study's own for this type of question, unless something is set here."""
        if self.manner.value == STUDY and self.question.value is not None:
            kind = self.questions[self.question.value].type
            with contextlib.suppress(ValueError):  # a question that cannot be asked yet
                kind = self.current().kind
            self._filling, self.temperature.value, self.top_p.value, self._filling = True, SAMPLING[kind].temperature, SAMPLING[kind].top_p, False

    def _set_here(self) -> None:
        """Who changes temperature or top-p wants it to be used."""
        if not self._filling:
            self.manner.value = HERE

    @property
    def sampling(self) -> Sampling | None:
        """What is set here, or None for the study's own."""
        return None if self.manner.value == STUDY else Sampling(self.temperature.value, self.top_p.value, SAMPLING["open"].max_tokens)

    def current(self) -> Ask:
        """What Ask would ask. Raises ValueError for what is missing."""
        if self.own.value.strip():
            domain = DOMAINS[self.domain.value] if self.domain.value != ANY else DOMAINS["lifestyle"]
            return ask_own(self.persona, self.own.value, self.own_options.value, domain=domain, seed=self.seed.value, sampling=self.sampling)
        if self.question.value is None:
            raise ValueError("there is no question; pick one or type your own")
        return ask_bank(self.persona, self.questions[self.question.value], seed=self.seed.value, sampling=self.sampling)

    def _asked(self) -> None:
        """Options, badge and the study's sampling follow persona and question."""
        self._sampled()
        if self.card and (self.question.value is not None or self.own.value.strip()) and (not self.in_words.value or self.words.value.strip()):
            ask = self.current()
            put(self.options_text, " / ".join(ask.options) or "none: an open question")
            put(self.badge, self.probe.seen(ask, self.chosen))

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
        bar = self.active
        return self.probe.answer(
            asks, system, stop=self._stop, on_load=lambda s: self.say(f"fetching {s.label}; only the first answer waits for that", bar), **options
        )

    # --- ask -----------------------------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Put the question to every system, the answers streaming in."""
        ask, systems, name = self.current(), self.systems(), self.name
        self.work(lambda: self._ask(ask, systems, name), self.ask_bar)

    def _ask(self, ask: Ask, systems: list[System], name: str) -> str:
        began, replies = time.perf_counter(), []
        slots = [0, 1, 2] if len(systems) > 1 and systems[1].key == systems[0].key else [0, 2]
        for number, box in enumerate(self.answers):
            box.value, box.layout.display = "", "" if number in slots[: len(systems)] else "none"
        self.facts.value = ""
        put(self.asked, f"{name}: {ask.text}")
        self.bars_picture.clear()
        for system, slot in zip(systems, slots, strict=False):
            replies += self._answer([ask], system, on_text=Stream(self.answers[slot]))
            put(self.answers[slot], replies[-1].text or "(nothing: a failed generation)", width=44)
        put(self.facts, "\n".join(f"{r.system.label}: {r.scale}{r.stance} · {r.tokens} tokens · {r.seconds:.2f} s" for r in replies))
        put(self.badge, self.probe.seen(ask, systems[-1 if len(systems) == 1 else 1]))
        if ask.options:
            groups = {r.system.label: r.option_probs for r in replies}
            fig = charts.plot_options(groups, ask.options, note=self.note, read=[r.option for r in replies])
            self.bars_picture.show(fig, charts.say_options(groups, ask.options))
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

    def _attribute_chosen(self) -> None:
        self.value.value = ""  # the other value of another attribute
        self._attribute_changed()

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
        chosen = self.chosen
        self.work(lambda: self._compare(ask, other, chosen, name), self.what_if_bar)

    def _compare(self, ask: Ask, other: Ask, system: System, name: str) -> str:
        replies = self._answer([ask, other], system)
        values = [", ".join(v) if isinstance(v := a.card.get(name, ""), list) else str(v) for a in (ask, other)]
        notes = problems(other.card)
        self._show_what_if(
            diff=difference(ask.prompt, other.prompt).marked,
            pair=tuple(f"{name}: {v}\n{r.text}\n{r.scale}{r.stance}" for v, r in zip(values, replies, strict=True)),
            answers=f"The changed card is impossible: {'; '.join(notes)}" if notes else "",
        )
        if ask.options:
            groups = {f"{said} ({name}: {v[:40]})": r.option_probs for said, v, r in zip(("as the person is", "changed"), values, replies, strict=True)}
            fig = charts.plot_options(groups, ask.options, note=f"{system.label} · {self.note}", read=[r.option for r in replies])
            self.what_if_picture.show(fig, charts.say_options(groups, ask.options))
        return f"compared, seed {ask.seed}; the prompts differ in {name} alone"

    def sweep(self) -> None:
        """The same question over all values of one attribute, base beside tuned."""
        ask, name = self.current(), self.attribute.value
        asks, systems = sweep(ask, name), [System(self.family.value), self.chosen]
        self.work(lambda: self._sweep(asks, list(dict.fromkeys(systems)), name), self.what_if_bar)

    def _sweep(self, asks: dict, systems: list[System], name: str) -> str:
        impossible = {value: "; ".join(problems(ask.card)) for value, ask in asks.items()}
        named = [f"{value} {charts.DOUBT}" if why else value for value, why in impossible.items()]
        found = {s.label: dict(zip(named, self._answer(asks.values(), s), strict=True)) for s in systems}
        options = next(iter(asks.values())).options
        answers = [f"{label}\n{charts.say_answers(by)}" for label, by in found.items()]
        why = dict.fromkeys(filter(None, impossible.values()))
        answers += [f"{charts.DOUBT} marks {len(named) - list(impossible.values()).count('')} impossible people: {'; '.join(list(why)[:6])}"] * bool(why)
        self._show_what_if(diff=f"{len(asks)} prompts that differ in {name} alone", answers="\n".join(answers))
        if options:
            panels = {label: {v: r.option_probs for v, r in by.items()} for label, by in found.items()}
            fig = charts.plot_sweep(panels, options, name, note=self.note)
        else:
            fig = charts.plot_lengths({label: {v: len(r.text.split()) for v, r in by.items()} for label, by in found.items()}, name, note=self.note)
        self.what_if_picture.show(fig, "\n".join(f"{label}\n{charts.say_sweep(by, name)}" for label, by in found.items()))
        return f"{len(asks)} values of {name}, {len(systems)} models"

    def draw(self) -> None:
        """The same ask many times: how the sampled stances fall beside the model's probabilities."""
        ask, count, system = self.current(), self.draws.value, self.chosen
        self.work(lambda: self._draw(samples(ask, count), system), self.what_if_bar)

    def _draw(self, asks: list[Ask], system: System) -> str:
        replies = self._answer(asks, system, on_done=lambda n: self.say(f"{n} of {len(asks)} drawn", self.what_if_bar))
        first = f"The first {min(10, len(asks))} draws\n" + charts.say_answers({i + 1: r for i, r in enumerate(replies[:10])})
        sharp = f"{len(asks)} times the same prompt, each with random numbers of its own, at temperature {asks[0].sampling.temperature:g}"
        if asks[0].options and asks[0].sampling.temperature < 1:
            sharp += ": colder than 1, so the draws pile up on what is most probable; the model's own probabilities are those at temperature 1"
        self._show_what_if(diff=sharp, answers=first)
        if not asks[0].options:
            return f"{len(asks)} draws, {len({r.text for r in replies})} different answers"
        unread = sum(r.option is None for r in replies)
        groups = {f"stances read from {len(asks) - unread} draws": charts.shares(replies), "the model's own probability": replies[0].option_probs}
        fig = charts.plot_options(groups, asks[0].options, note=f"{system.label} · {self.note}", xlabel="share or probability of the option")
        self.what_if_picture.show(fig, charts.say_options(groups, asks[0].options))
        return f"{len(asks)} draws; no option found in {unread}"


def show(page: Page | None, fig, table) -> None:
    """Show the page; where nobody can use it (a headless run, an untrusted notebook, a code host) a picture and a table take its place."""
    from IPython.display import display

    picture = {"image/png": charts.png(fig), "text/plain": table.to_string()}
    if page is None:
        display(table)
        display(fig)
        return
    view = {"version_major": 2, "version_minor": 0, "model_id": page.root.model_id}
    display({"application/vnd.jupyter.widget-view+json": view, **picture}, raw=True)
