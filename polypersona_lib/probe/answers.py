"""Sections 4, 5 and 7 of the page: what they say, what if one attribute were different, and the prompt as it was sent."""

from __future__ import annotations

import time
from dataclasses import replace

import ipywidgets as widgets

from ..prompts.token_view import ROLES, prompt_tokens, stretches
from ..registry import MODELS
from . import charts
from .asking import Ask, Reply, System, difference, samples, sweep
from .cards import FIELDS, changed, choices, problems
from .inputs import Choice
from .page_parts import Picture, Stream, Worker, field, put, put_or_hide, read_only, row, show_if

STRETCHES = 12  # parts of a prompt: at most the template between all of the others


class PromptSection:
    """Shows a prompt part by part."""

    def __init__(self, worker: Worker):
        self.talk = worker.interviewer
        self.facts, self.boxes = read_only("Tokens", 1), [read_only(ROLES["template"], 1, hidden=True) for _ in range(STRETCHES)]
        for box in self.boxes:
            box.add_class("pp-part")
        head = widgets.HTML(
            "<h2>7. The prompt, as it was sent</h2><p>Part by part, a colour and a name for each. │ stands between two tokens, "
            "⟦ ⟧ encloses a control token, ↵ is a line end, ‥ one more token of the character before it.</p>"
        )
        self.children = [head, self.facts, *self.boxes]

    def show(self, ask: Ask, system: System) -> None:
        """Show the prompt of `ask` as `system` got it."""
        tokens = prompt_tokens(self.talk.generator.tokenizer(system.key), ask.messages, MODELS[system.key].control)
        put(self.facts, f"{len(tokens)} tokens for {self.talk.label(system)}, {sum(t.control for t in tokens)} of them control tokens")
        parts = stretches(tokens)
        for box, (role, count, text) in zip(self.boxes, parts, strict=False):
            for known in ROLES:
                box.remove_class(f"pp-{known}")
            box.add_class(f"pp-{role}")
            box.description = f"{ROLES[role]} ({count})"
            put(box, text)
        show_if(True, *self.boxes[: len(parts)])
        show_if(False, *self.boxes[len(parts) :])


class AnswerSection:
    """Puts one question to the untuned base, the tuned model and the second family, side by side."""

    def __init__(self, choice: Choice, worker: Worker, note: str, prompt: PromptSection):
        self.choice, self.worker, self.talk, self.note, self.prompt = choice, worker, worker.interviewer, note, prompt
        self.boxes = [read_only(name, 3, "1 1 300px") for name in ("Untuned base", "Tuned model", "Second family")]
        show_if(False, self.boxes[2])
        for box in self.boxes[:2]:
            box.placeholder = "the answer appears here after Ask"
        self.asked, self.facts, self.badge = read_only("What was asked", 1), read_only("What was read from them", 2), read_only("Training", 1)
        self.picture = Picture()
        self.bar = worker.bar(Ask=self.ask)
        head = widgets.HTML("<h2>4. What they say</h2>")
        self.children = [head, self.asked, row(*self.boxes), self.badge, self.facts, self.picture.box]

    def show_badge(self, ask: Ask, system: System) -> None:
        """Say whether `system` met this pair in training."""
        put(self.badge, self.talk.seen(ask, system))

    def ask(self) -> None:
        """Put the question to every system, the answers streaming in."""
        ask, systems, name = self.choice.ask(), self.choice.models.systems(), self.choice.person.name
        self.worker.start(lambda: self._ask(ask, systems, name), self.bar)

    def _ask(self, ask: Ask, systems: list[System], name: str) -> str:
        began, replies = time.perf_counter(), []
        boxes = self._boxes_of(systems)
        for box in self.boxes:
            box.value = ""
            show_if(box in boxes, box)
        self.facts.value = ""
        put(self.asked, f"{name}: {ask.text}")
        self.picture.clear()
        for system, box in zip(systems, boxes, strict=True):
            replies += self.worker.answer([ask], system, on_text=Stream(box))
            put(box, replies[-1].text or "(nothing: a failed generation)", width=44)
        shown = systems[1] if len(systems) > 1 else systems[0]
        self._show_readings(ask, replies)
        self.show_badge(ask, shown)
        self.prompt.show(ask, shown)
        return f"answered in {time.perf_counter() - began:.1f} s, seed {ask.seed}"

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


class WhatIfSection:
    """Changes one attribute, or sweeps over its values, or draws the same ask repeatedly."""

    def __init__(self, choice: Choice, worker: Worker, note: str):
        self.choice, self.worker, self.talk, self.note = choice, worker, worker.interviewer, note
        self.attribute = field(widgets.Dropdown, "Attribute", options=[*FIELDS, "description"])
        example = "for Compare; a sweep takes them all"
        self.value = field(widgets.Combobox, "Its other value", options=[], ensure_option=False, continuous_update=False, placeholder=example)
        self.draws = field(widgets.BoundedIntText, "Number of draws", "1 1 140px", value=20, min=2, max=200)
        self.bar = worker.bar(Compare=self.compare, Sweep=self.sweep, Draw_repeatedly=self.draw)
        self.diff, self.answers = read_only("Difference of the prompts", 1), read_only("Answers", 1)
        self.pair = [read_only(name, 3, "1 1 300px") for name in ("As the person is", "With the change")]
        self.picture = Picture()
        worker.on_change(self._attribute_chosen, self.attribute)
        self._show()
        head = widgets.HTML(
            "<h2>5. What if</h2><p>One attribute changes, the rest of the card and the random numbers stay. The model chosen above answers; "
            "a sweep shows its base too.</p>"
        )
        fields = row(self.attribute, self.value, self.draws)
        self.children = [head, fields, self.bar.box, self.diff, row(*self.pair), self.answers, self.picture.box]

    def _show(self, *, diff: str = "", pair: tuple[str, str] = ("", ""), answers: str = "") -> None:
        """Fill the fields of this section; an empty one is not shown."""
        for box, text in zip((self.diff, *self.pair, self.answers), (diff, *pair, answers), strict=True):
            put_or_hide(box, text)
        self.picture.clear()

    def _attribute_chosen(self) -> None:
        self.value.value = ""  # the other value of another attribute
        self.list_values()

    def list_values(self) -> None:
        """Offer the other values of the attribute that the card's person could have."""
        name, card = self.attribute.value, self.choice.person.card
        self.value.options = [] if name == "description" else [str(v) for v in choices(name, card) if v != card.get(name)]

    def _note(self, system: System) -> str:
        return f"{self.talk.label(system)} · {self.note}"

    def compare(self) -> None:
        """One attribute changed, same random numbers: prompts, answers and probabilities side by side."""
        ask, name, system = self.choice.ask(), self.attribute.value, self.choice.models.chosen
        if not self.value.value.strip():
            raise ValueError(f"choose or type the other value of {name}")
        other = replace(ask, card=changed(ask.card, name, self.value.value))
        if other.prompt == ask.prompt:
            raise ValueError(f"{name} is already like that, or the prompt does not show it: the two prompts are equal")
        self.worker.start(lambda: self._compare(ask, other, system, name), self.bar)

    def _compare(self, ask: Ask, other: Ask, system: System, name: str) -> str:
        replies = self.worker.answer([ask, other], system)
        values = [", ".join(v) if isinstance(v := a.card.get(name, ""), list) else str(v) for a in (ask, other)]
        faults = problems(other.card)
        before, after = (f"{name}: {v}\n{r.text}\n{r.scale_marks}{r.stance}" for v, r in zip(values, replies, strict=True))
        warning = f"The changed card is impossible: {'; '.join(faults)}" if faults else ""
        self._show(diff=difference(ask.prompt, other.prompt).marked, pair=(before, after), answers=warning)
        if ask.options:
            labels = [f"{which} ({name}: {v[:40]})" for which, v in zip(("as the person is", "changed"), values, strict=True)]
            groups, read = dict(zip(labels, (r.option_probs for r in replies), strict=True)), [r.option for r in replies]
            fig = charts.plot_options(groups, ask.options, [system.kind] * 2, note=self._note(system), read=read)
            self.picture.show(fig, charts.say_options(groups, ask.options))
        return f"compared, seed {ask.seed}; the prompts differ in {name} alone"

    def sweep(self) -> None:
        """The same question over all values of one attribute, base beside tuned."""
        ask, name, chosen = self.choice.ask(), self.attribute.value, self.choice.models.chosen
        asks, systems = sweep(ask, name), list(dict.fromkeys([System(chosen.key), chosen]))
        self.worker.start(lambda: self._sweep(asks, systems, name), self.bar)

    def _sweep(self, asks: dict[object, Ask], systems: list[System], name: str) -> str:
        faults = {value: "; ".join(problems(ask.card)) for value, ask in asks.items()}
        marked = [f"{value} {charts.DOUBT}" if fault else value for value, fault in faults.items()]
        swept = {self.talk.label(s): dict(zip(marked, self.worker.answer(asks.values(), s), strict=True)) for s in systems}
        answers = [f"{label}\n{charts.say_answers(replies)}" for label, replies in swept.items()]
        if impossible := list(filter(None, faults.values())):
            reasons = list(dict.fromkeys(impossible))[:6]
            answers.append(f"{charts.DOUBT} marks {len(impossible)} impossible people: {'; '.join(reasons)}")
        self._show(diff=f"{len(asks)} prompts that differ in {name} alone", answers="\n".join(answers))
        words = "\n".join(f"{label}\n{charts.say_sweep(replies, name)}" for label, replies in swept.items())
        self.picture.show(self._sweep_chart(swept, systems, name), words)
        return f"{len(asks)} values of {name}, {len(systems)} models"

    def _sweep_chart(self, swept: dict[str, dict[object, Reply]], systems: list[System], name: str):
        options = next(iter(next(iter(swept.values())).values())).ask.options
        if options:
            panels = {label: {v: r.option_probs for v, r in replies.items()} for label, replies in swept.items()}
            return charts.plot_sweep(panels, options, name, note=self.note)
        counts = {label: {v: len(r.text.split()) for v, r in replies.items()} for label, replies in swept.items()}
        return charts.plot_word_counts(counts, [s.kind for s in systems], name, note=self.note)

    def draw(self) -> None:
        """The same ask many times: how the sampled stances fall beside the model's probabilities."""
        asks, system = samples(self.choice.ask(), self.draws.value), self.choice.models.chosen
        self.worker.start(lambda: self._draw(asks, system), self.bar)

    def _draw(self, asks: list[Ask], system: System) -> str:
        replies = self.worker.answer(asks, system, on_done=lambda n: self.worker.say(f"{n} of {len(asks)} drawn", self.bar))
        options, temperature = asks[0].options, asks[0].sampling.temperature
        how = f"{len(asks)} times the same prompt, each with random numbers of its own, at temperature {temperature:g}"
        if options and temperature < 1:
            how += ": colder than 1, so the draws pile up on what is most probable; the model's own probabilities are those at temperature 1"
        first = charts.say_answers({i + 1: r for i, r in enumerate(replies[:10])})
        self._show(diff=how, answers=f"The first {min(10, len(asks))} draws\n{first}")
        if not options:
            return f"{len(asks)} draws, {len({r.text for r in replies})} different answers"
        unread = sum(r.option is None for r in replies)
        groups = {f"stances read from {len(asks) - unread} draws": charts.shares(replies), "the model's own probability": replies[0].option_probs}
        fig = charts.plot_options(groups, options, [system.kind] * 2, note=self._note(system), xlabel="share or probability of the option")
        self.picture.show(fig, charts.say_options(groups, options))
        return f"{len(asks)} draws; no option found in {unread}"
