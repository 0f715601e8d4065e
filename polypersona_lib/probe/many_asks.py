"""Sections 5 and 6 of the page, many asks at once: what if one attribute were different, and a whole questionnaire with its files."""

import base64
import re
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

import ipywidgets as widgets

from ..prompts import chat
from . import charts, questionnaire
from .asking import Ask, Reply, System, difference, samples, sweep
from .cards import FIELDS, changed, choices, problems, roll
from .inputs import ANY, Inputs
from .page_parts import WIDE, Picture, Table, Worker, field, flexible, put_or_hide, read_only, row, show_if

ONE, LISTED, NEW = "this person", "the people found above", "new plausible people"
DOMAIN_CLOSED, DOMAIN_ALL, CLOSED, THIS = "closed questions of this domain", "all of this domain", "all closed questions", "this question"
_MOST_BYTES = 4 * 2**20  # of a file that the page itself hands out


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
        ask, name, system = self.inputs.ask(), self.attribute.value, self.inputs.models.chosen
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
        ask, name, chosen = self.inputs.ask(), self.attribute.value, self.inputs.models.chosen
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
        asks, system = samples(self.inputs.ask(), self.draws.value), self.inputs.models.chosen
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
        self.bar = worker.bar(Run_questionnaire=self.ask, Export=self.export, Reload_and_ask_again=self.reload)
        self.progress = field(widgets.IntProgress, "Answered", WIDE, value=0, max=1)
        self.links, self.summary = widgets.HTML(), read_only("The answers by question", 2, hidden=True)
        self.table = Table({"Person": "2 1 150px", "Question": "2 1 150px", "Answer": "3 1 210px", "Option read": "1 1 110px"})
        show_if(False, self.progress)
        self.people.observe(lambda _: setattr(self.count, "disabled", self.people.value == ONE), "value")
        worker.on_change(self._take_file, self.upload, bar=self.bar)
        self._list_files()
        head = widgets.HTML("<h2>6. A whole questionnaire</h2><p>Put to the model and adapter chosen in section 3, every answer with the seed set there.</p>")
        choices, files = row(self.people, self.count, self.scope), row(self.export_name, self.files, self.upload)
        self.children = [head, choices, files, self.bar.box, self.progress, self.links, self.summary, self.table.box]

    def _cards(self) -> list[dict | str]:
        if self.people.value == ONE:
            return [self.inputs.person.persona]
        if self.people.value == LISTED:
            return self.inputs.person.listed(self.count.value)
        return [roll(self.inputs.models.seed.value * 1000 + i + 1) for i in range(self.count.value)]

    def _questions(self) -> list:
        question = self.inputs.question
        if self.scope.value == THIS:
            return [question.picked] if question.picked else []
        domain = question.domain.value
        if domain == ANY:
            domain = question.picked.domain if question.picked else "lifestyle"
        listed = [q for q in question.questions.values() if self.scope.value == CLOSED or q.domain == domain]
        return [q for q in listed if q.options or self.scope.value == DOMAIN_ALL]

    def ask(self) -> None:
        """The questionnaire for one person or a panel."""
        models = self.inputs.models
        asks, system = questionnaire.sheet(self._cards(), self._questions(), seed=models.seed.value, sampling=models.sampling), models.chosen
        if not asks:
            raise ValueError("nobody or nothing to ask: choose people and questions")
        self.worker.start(lambda: self._ask(asks, system), self.bar)

    def _ask(self, asks: list[Ask], system: System) -> str:
        began = time.perf_counter()
        replies = self.worker.answer(asks, system, on_done=self._count_to(len(asks)))
        self._show(replies, [r.text for r in replies])
        return f"{len(asks)} answers in {time.perf_counter() - began:.1f} s"

    def _count_to(self, total: int):
        """Start the progress bar; returns what is called with the number of answers so far."""
        self.progress.value, self.progress.max = 0, total
        show_if(True, self.progress)
        return lambda done: setattr(self.progress, "value", done)

    def _show(self, replies: list[Reply], expected: list[str]) -> None:
        """The table; answers that are not the `expected` ones (those of a file) come first."""
        self.replies, self.links.value = replies, ""
        pairs = sorted(zip(replies, expected, strict=True), key=lambda pair: pair[0].text == pair[1])
        self.table.show([_table_row(reply, text) for reply, text in pairs])
        put_or_hide(self.summary, questionnaire.by_question(replies))

    def export(self) -> None:
        """Write the table as CSV and JSON lines."""
        if not self.replies:
            raise ValueError("run a questionnaire first")
        csv, jsonl = questionnaire.write(self.replies, self.folder, _safe_name(self.export_name.value), self.run)
        self._list_files(jsonl.name)
        self.links.value = "".join(map(_link, (csv, jsonl)))
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
        self.folder.mkdir(parents=True, exist_ok=True)
        name = questionnaire.free_name(self.folder, _safe_name(brought["name"].removesuffix(".jsonl")))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.jsonl"
            path.write_bytes(bytes(brought["content"]))
            rows = len(questionnaire.read(path)[0])
            shutil.copy(path, self.folder)
        self._list_files(path.name)
        self.worker.say(f"{rows} rows in {path.name}; press Reload to ask them again", self.bar)

    def reload(self) -> None:
        """Ask everything in a saved file again, with its seeds, and compare."""
        if not self.files.value:
            raise ValueError(f"no saved answers in {self.folder}; run a questionnaire and export it first")
        asks, systems, answers = questionnaire.read(self.folder / self.files.value)
        self.worker.start(lambda: self._reload(asks, systems, answers), self.bar)

    def _reload(self, asks: list[Ask], systems: list[System], answers: list[str]) -> str:
        done, replies = self._count_to(len(asks)), {}
        for system in dict.fromkeys(systems):
            mine = [i for i, s in enumerate(systems) if s == system]
            replies |= zip(mine, self.worker.answer([asks[i] for i in mine], system), strict=True)
            done(len(replies))
        in_order = [replies[i] for i in range(len(asks))]
        self._show(in_order, answers)
        same = sum(r.text == answer for r, answer in zip(in_order, answers, strict=True))
        why = "" if same == len(asks) else "; the others stand first. Somebody edited the file, or another version, run or adapter of that name wrote it"
        return f"asked again: {same} of {len(asks)} answers are the same as in the file{why}"


def _table_row(r: Reply, expected: str) -> tuple[str, str, str, str]:
    """Person, question, answer (and what a file says instead), option read with its probability."""
    person = f"{r.ask.persona_id}: {shorten(chat.neutralise(chat.render_card(r.ask.card)), 100, placeholder=' …')}"
    answer = r.text if r.text == expected else f"{r.text}\nTHE FILE SAYS: {expected}"
    reading = r.stance if r.ask.options else "open question"
    if r.option is not None:
        reading += f", probability {r.option_probs[r.option]:.0%}"
    return person, r.ask.text, answer, reading


def _safe_name(text: str) -> str:
    """`text` as the name of a file: ASCII letters, digits, _ and -."""
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:80] or "questionnaire"


def _link(path: Path) -> str:
    """A link that saves the file from the browser (the page may be served from elsewhere): a name of `_safe_name` and base64, nothing else; "" if too big."""
    if path.stat().st_size > _MOST_BYTES:
        return ""
    kind = "text/csv" if path.suffix == ".csv" else "application/jsonl"
    return f'<a download="{path.name}" href="data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}">Download {path.name}</a> &nbsp; '
