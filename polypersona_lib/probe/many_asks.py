"""Sections 5 and 6 of the page, many asks at once: what if one attribute were different, and a whole questionnaire with its files."""

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from ..world.questions import DOMAINS
from . import charts, questionnaire
from .asking import Ask, Reply, System, difference, samples, sweep
from .cards import FIELDS, changed, choices, problems, roll
from .inputs import Inputs
from .own_files import check_size
from .page_parts import ANY, WIDE, Picture, Table, Worker, field, flexible, put, put_or_hide, read_only, row, show_if

ONE, LISTED, NEW = "this person", "the people found above", "new plausible people"
DOMAIN_CLOSED, DOMAIN_ALL, CLOSED, THIS = "closed questions of this domain", "all of this domain", "all closed questions", "this question"


class WhatIfSection:
    """Changes one attribute, or sweeps over its values, or draws the same ask repeatedly."""

    def __init__(self, inputs: Inputs, worker: Worker, note: str):
        self.inputs, self.worker, self.talk, self.note = inputs, worker, worker.interviewer, note
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
        name, card = self.attribute.value, self.inputs.person.card
        self.value.options = [] if name == "description" else [str(v) for v in choices(name, card) if v != card.get(name)]

    def _note(self, system: System) -> str:
        return f"{self.talk.label(system)} · {self.note}"

    def compare(self) -> None:
        """One attribute changed, same random numbers: prompts, answers and probabilities side by side."""
        self._show()
        ask, name, system = self.inputs.ask(), self.attribute.value, self.inputs.models.chosen
        if not self.value.value.strip():
            raise ValueError(f"choose or type the other value of {name}")
        other = replace(ask, card=changed(ask.card, name, self.value.value))
        if other.prompt == ask.prompt:
            raise ValueError(f"{name} is already like that, or the prompt does not show it: the two prompts are equal")
        self.worker.start(lambda: self._compare(ask, other, system, name), self.bar)

    def _compare(self, ask: Ask, other: Ask, system: System, name: str) -> str:
        replies = list(self.worker.answer([ask, other], system).values())
        if len(replies) < 2:
            return ""
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
        self._show()
        ask, name, chosen = self.inputs.ask(), self.attribute.value, self.inputs.models.chosen
        asks, systems = sweep(ask, name), list(dict.fromkeys([System(chosen.key), chosen]))
        self.worker.start(lambda: self._sweep(asks, systems, name), self.bar)

    def _sweep(self, asks: dict[object, Ask], systems: list[System], name: str) -> str:
        faults = {value: "; ".join(problems(ask.card)) for value, ask in asks.items()}
        marked = [f"{value} {charts.DOUBT}" if fault else value for value, fault in faults.items()]
        finished = {s: self.worker.answer(asks.values(), s) for s in systems}
        swept = {self.talk.label(s): {marked[i]: r for i, r in replies.items()} for s, replies in finished.items() if replies}
        if not swept:
            return ""
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
        values = [v for v in next(iter(swept.values())) if all(v in replies for replies in swept.values())]  # Stop may leave a model with fewer
        counts = {label: {v: len(replies[v].text.split()) for v in values} for label, replies in swept.items()}
        return charts.plot_word_counts(counts, [s.kind for s in systems if self.talk.label(s) in swept], name, note=self.note)

    def draw(self) -> None:
        """The same ask many times: how the sampled stances fall beside the model's probabilities."""
        self._show()
        asks, system = samples(self.inputs.ask(), self.draws.value), self.inputs.models.chosen
        self.worker.start(lambda: self._draw(asks, system), self.bar)

    def _draw(self, asks: list[Ask], system: System) -> str:
        replies = list(self.worker.answer(asks, system, on_done=lambda n: self.worker.say(f"{n} of {len(asks)} drawn", self.bar)).values())
        if not replies:
            return ""
        options, temperature = asks[0].options, asks[0].sampling.temperature
        how = f"{len(replies)} times the same prompt, each with random numbers of its own, at temperature {temperature:g}"
        if options and temperature < 1:
            how += ": colder than 1, so the draws pile up on what is most probable; the model's own probabilities are those at temperature 1"
        first = charts.say_answers({i + 1: r for i, r in enumerate(replies[:10])})
        self._show(diff=how, answers=f"The first {min(10, len(replies))} draws\n{first}")
        if not options:
            return f"{len(asks)} draws, {len({r.text for r in replies})} different answers"
        unread = sum(r.option is None for r in replies)
        groups = {f"stances read from {len(replies) - unread} draws": charts.shares(replies), "the model's own probability": replies[0].option_probs}
        fig = charts.plot_options(groups, options, [system.kind] * 2, note=self._note(system), xlabel="share or probability of the option")
        self.picture.show(fig, charts.say_options(groups, options))
        return f"{len(asks)} draws; no option found in {unread}"


class QuestionnaireSection:
    """Puts a questionnaire to one person or a panel."""

    def __init__(self, inputs: Inputs, worker: Worker):
        self.inputs, self.worker, self.run = inputs, worker, worker.interviewer.run
        self.folder = self.run.paths.results / "probe"  # exports go here
        self.replies: list[Reply] = []
        self.people = field(widgets.Dropdown, "People", options=[ONE, LISTED, NEW])
        self.count = field(widgets.BoundedIntText, "How many", "1 1 120px", value=5, min=1, max=200, disabled=True)
        self.scope = field(widgets.Dropdown, "Questions", options=[DOMAIN_CLOSED, DOMAIN_ALL, CLOSED, THIS])
        self.export_name = field(widgets.Text, "Name of the export", value="questionnaire", continuous_update=False)
        self.files = field(widgets.Dropdown, "Saved answers", options=[])
        self.upload = widgets.FileUpload(accept=".jsonl", multiple=False, description="Bring a .jsonl file", layout=flexible("0 0 auto"))
        self.plan, self.shown = read_only("Will be asked", 1), read_only("The table shows", 1, hidden=True)
        self.bar = worker.bar(Run_questionnaire=self.ask, Export=self.export, Reload_and_ask_again=self.reload)
        self.progress = field(widgets.IntProgress, "Answered", WIDE, value=0, max=1)
        self.links, self.summary = widgets.HTML(), read_only("The answers by question", 2, hidden=True)
        self.table = Table({"Person": "2 1 150px", "Question": "2 1 150px", "Answer": "3 1 210px", "Option read": "1 1 110px"})
        show_if(False, self.progress)
        self.people.observe(lambda _: setattr(self.count, "disabled", self.people.value == ONE), "value")
        worker.on_change(self.show_plan, self.people, self.count, self.scope, bar=self.bar)
        worker.on_change(self._take_own, inputs.question.own)
        worker.on_change(self._take_file, self.upload, bar=self.bar)
        self._list_files()
        head = widgets.HTML("<h2>6. A whole questionnaire</h2><p>The model, the adapter and the seed are those of section 3.</p>")
        choices, files = row(self.people, self.count, self.scope), row(self.export_name, self.files, self.upload)
        self.children = [head, choices, self.plan, files, self.bar.box, self.progress, self.links, self.shown, self.summary, self.table.box]

    def _cards(self) -> list[dict | str]:
        if self.people.value == ONE:
            return [self.inputs.person.persona]
        if self.people.value == LISTED:
            return self.inputs.person.listed(self.count.value)
        return [roll(self.inputs.models.seed.value * 1000 + i + 1) for i in range(self.count.value)]

    def _questions(self) -> list:
        """The questions of the bank that the scope names."""
        question = self.inputs.question
        domain = question.domain.value if question.domain.value != ANY else question.picked.domain if question.picked else None
        listed = [q for q in question.questions.values() if self.scope.value == CLOSED or q.domain == domain]
        return [q for q in listed if q.options or self.scope.value == DOMAIN_ALL]

    def _take_own(self) -> None:
        """Who types a question wants it to be asked: the scope becomes "this question"."""
        if self.inputs.question.own_given:
            self.scope.value = THIS

    def show_plan(self) -> None:
        """Say before a run who will be asked what, and that the visitor's own question is left out if the scope leaves it out."""
        question, listed = self.inputs.question, len(self.inputs.person.people.options)
        count = {ONE: 1, LISTED: min(self.count.value, listed), NEW: self.count.value}[self.people.value]
        if self.scope.value == THIS:
            what = f"one question: {question.own.value.strip() if question.own_given else question.picked.text if question.picked else 'none is chosen'}"
        else:
            questions = self._questions()
            what = f"{len(questions)} questions of the bank ({', '.join(dict.fromkeys(DOMAINS[q.domain] for q in questions)) or 'no domain is chosen'})"
            what += "; your own question is not asked: choose 'this question' for it" if question.own_given else ""
        few = f" (the list above has no more than {listed})" if self.people.value == LISTED and listed < self.count.value else ""
        put(self.plan, f"{count} {'person' if count == 1 else 'people'}{few}, {what}")

    def ask(self) -> None:
        """The questionnaire for one person or a panel."""
        self._mark_earlier()
        models, cards = self.inputs.models, self._cards()
        how = {"seed": models.seed.value, "sampling": models.sampling}
        this = self.scope.value == THIS
        asks = [self.inputs.question.ask(card, **how) for card in cards] if this else questionnaire.sheet(cards, self._questions(), **how)
        if not asks:
            raise ValueError("nobody or nothing to ask: choose people, and a domain or a question in section 2")
        system, what = models.chosen, self.plan.value
        self.worker.start(lambda: self._ask(asks, system, what), self.bar)

    def _ask(self, asks: list[Ask], system: System, what: str) -> str:
        began = time.perf_counter()
        replies = list(self.worker.answer(asks, system, on_done=self._count_to(len(asks))).values())
        self._show(replies, [r.text for r in replies], f"{len(replies)} of {len(asks)} answers; {what}")
        return f"{len(asks)} answers in {time.perf_counter() - began:.1f} s"

    def _mark_earlier(self) -> None:
        """Until new answers are there, the table is that of an earlier run."""
        if self.replies and not self.shown.value.startswith("an earlier run"):
            put(self.shown, f"an earlier run: {self.shown.value}")

    def _count_to(self, total: int):
        """Start the progress bar; returns what is called with the number of answers so far."""
        self.progress.value, self.progress.max = 0, total
        show_if(True, self.progress)
        return lambda done: setattr(self.progress, "value", done)

    def _show(self, replies: list[Reply], expected: list[str], what: str) -> None:
        """The table of `what`; answers that are not the `expected` ones (those of a file) come first. Without any reply the earlier table stays, marked."""
        if not replies:
            return
        self.replies, self.links.value = replies, ""
        pairs = sorted(zip(replies, expected, strict=True), key=lambda pair: pair[0].text == pair[1])
        self.table.show([questionnaire.table_row(reply, text) for reply, text in pairs])
        put_or_hide(self.shown, what)
        put_or_hide(self.summary, questionnaire.by_question(replies))

    def export(self) -> None:
        """Write the table as CSV and JSON lines."""
        if not self.replies:
            raise ValueError("run a questionnaire first")
        csv, jsonl = questionnaire.write(self.replies, self.folder, questionnaire.safe_name(self.export_name.value), self.run)
        self._list_files(jsonl.name)
        self.links.value = "".join(map(questionnaire.download_link, (csv, jsonl)))
        self.worker.say(f"{len(self.replies)} answers in {csv.parent.name}/{csv.name} and {jsonl.name} (folder {csv.parent})", self.bar)

    def _list_files(self, chosen: str | None = None) -> None:
        names = sorted(p.name for p in self.folder.glob("*.jsonl"))
        self.files.options = names
        self.files.value = chosen if chosen in names else next(iter(names), None)

    def _take_file(self) -> None:
        """A file brought by the browser joins the saved ones, if it is one that the probe wrote."""
        if not self.upload.value:
            return
        brought, self.upload.value = self.upload.value[0], ()
        check_size(brought["name"], len(brought["content"]))
        self.folder.mkdir(parents=True, exist_ok=True)
        name = questionnaire.free_name(self.folder, questionnaire.safe_name(brought["name"].removesuffix(".jsonl")))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.jsonl"
            path.write_bytes(bytes(brought["content"]))
            rows = len(questionnaire.read(path)[0])
            shutil.copy(path, self.folder)
        self._list_files(path.name)
        self.worker.say(f"{rows} rows in {path.name}; press Reload to ask them again", self.bar)

    def reload(self) -> None:
        """Ask everything in a saved file again, with its seeds, and compare."""
        self._mark_earlier()
        if not self.files.value:
            raise ValueError(f"no saved answers in {self.folder}; run a questionnaire and export it first")
        asks, systems, answers = questionnaire.read(self.folder / self.files.value)
        self.worker.start(lambda: self._reload(asks, systems, answers), self.bar)

    def _reload(self, asks: list[Ask], systems: list[System], answers: list[str]) -> str:
        replies, count = {}, self._count_to(len(asks))
        for system in dict.fromkeys(systems):
            mine = [i for i, s in enumerate(systems) if s == system]
            replies |= {mine[at]: r for at, r in self.worker.answer([asks[i] for i in mine], system, on_done=count).items()}
        rows = sorted(replies)
        self._show([replies[i] for i in rows], [answers[i] for i in rows], f"{len(rows)} of {len(asks)} answers of a file, asked again")
        same = sum(replies[i].text == answers[i] for i in rows)
        why = "" if same == len(asks) else "; the others stand first. Somebody edited the file, or another version, run or adapter of that name wrote it"
        return f"asked again: {same} of {len(asks)} answers are the same as in the file{why}"
