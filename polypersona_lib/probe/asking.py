"""Talking to one simulated respondent: what is asked, of whom, with which seed, and what came back. Plain Python; the widget only shows it.

An `Ask` holds everything an answer depends on. Two asks that differ in one attribute of the card draw from the same random numbers, so a difference
between their answers comes from that attribute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from .. import paths
from ..config import RunConfig, prepare
from ..errors import one_line
from ..models.generation import SAMPLING, Sampling
from ..models.loading import import_libraries, load_tokenizer
from ..prompts import chat
from ..registry import get_spec
from ..scoring.option_labels import read_option
from ..world import dataset
from ..world.questions import DOMAINS, Question
from .cards import LISTS, changed, choices, people

CHUNK = 32  # answers written side by side: few enough that Stop is heard within a second
NO_ADAPTER, PUBLISHED = "none", "published"


class Stopped(Exception):
    """The user pressed Stop."""


@dataclass(frozen=True)
class System:
    """Who answers: a family and an adapter ("none": the untuned base; otherwise the name of the run it comes from)."""

    key: str
    adapter: str = NO_ADAPTER

    @property
    def label(self) -> str:
        """As figures and tables call it."""
        return f"{get_spec(self.key).display}, {'untuned' if self.adapter == NO_ADAPTER else f'tuned ({self.adapter})'}"


@dataclass(frozen=True)
class Ask:
    """One question to one persona: everything that the answer depends on, apart from the model.

    `card` is a persona card or a description in words. `sample` numbers repeated draws; draw 0 has the random numbers of the study's own answer
    to this persona and question.
    """

    card: dict | str = field(hash=False)
    persona_id: str
    question_id: str
    domain: str
    text: str
    kind: str
    options: tuple[str, ...]
    seed: int
    sampling: Sampling
    sample: int = 0

    @property
    def id(self) -> str:
        """Names the row's random numbers; the card is not in it, so a changed card keeps them."""
        return f"{self.persona_id}-{self.question_id}" + (f"#{self.sample}" if self.sample else "")

    @property
    def messages(self) -> list[dict[str, str]]:
        """System and user message."""
        return chat.messages(self.card, self.domain, self.text, self.options or None)

    @property
    def prompt(self) -> str:
        """The user message as the model gets it, control text already made harmless."""
        return chat.neutralise(self.messages[1]["content"])


@dataclass(frozen=True)
class Reply:
    """What one system answered: the text, the option read from it (None: none found), its probability of each option (None: open item), tokens and seconds."""

    system: System
    ask: Ask
    text: str
    option: int | None
    option_probs: tuple[float, ...] | None
    tokens: int
    seconds: float

    @property
    def stance(self) -> str:
        """The option in words."""
        if not self.ask.options:
            return "open question, no options"
        return "no option found in the text" if self.option is None else f"{self.ask.options[self.option]} ({self.option + 1} of {len(self.ask.options)})"

    @property
    def scale(self) -> str:
        """Where the option read stands on the scale, drawn in letters and followed by a blank; "" for an open question."""
        marks = ("●" if i == self.option else "○" for i in range(len(self.ask.options)))
        return f"{' '.join(marks)}  " if 1 < len(self.ask.options) <= 11 else ""


# --- what is asked -------------------------------------------------------------------------------------------------------------


def ask_bank(card: dict | str, question: Question, *, seed: int, sampling: Sampling | None = None, persona_id: str = "") -> Ask:
    """Ask a question of the bank; by default sampled as the study samples this type."""
    pid = persona_id or (card.get("persona_id", "own") if isinstance(card, dict) else "own")
    sampling = sampling or SAMPLING[question.type]
    return Ask(card, pid, question.id, DOMAINS[question.domain], question.text, question.type, question.options, seed, sampling)


def ask_own(card: dict | str, text: str, options: str | Sequence[str], *, domain: str, seed: int, sampling: Sampling | None = None) -> Ask:
    """Ask in one's own words; `options` as "Yes / No" or a sequence, empty for an open question. Raises ValueError without a question or with one option."""
    text = one_line(text)
    labels = tuple(o for o in map(one_line, options.split("/") if isinstance(options, str) else options) if o)
    if not text:
        raise ValueError("there is no question; pick one or type your own")
    if len(labels) == 1 or len(set(map(str.lower, labels))) < len(labels):
        raise ValueError("a closed question needs two or more different options, for example: Yes / No")
    kind = "open" if not labels else "yesno" if len(labels) == 2 else "likert"
    pid = card.get("persona_id", "own") if isinstance(card, dict) else "own"
    return Ask(card, pid, "own", domain, text, kind, labels, seed, sampling or SAMPLING[kind])


def sweep(ask: Ask, name: str) -> dict[object, Ask]:
    """The same question over one attribute: age 18, 23, ... 80, every region of the country, every value the population knows of the others."""
    if name in (*LISTS, "description"):
        why = "holds several values" if name in LISTS else "is free text"
        raise ValueError(f"a sweep goes over every value of an attribute; {name} {why}. Type one other value and use Compare")
    values = [*range(18, 80, 5), 80] if name == "age" else choices(name, ask.card if isinstance(ask.card, dict) else None)
    return {value: replace(ask, card=changed(ask.card, name, value)) for value in values}


def samples(ask: Ask, count: int) -> list[Ask]:
    """The same ask `count` times, each with random numbers of its own; the first is the ask itself."""
    return [replace(ask, sample=i) for i in range(count)]


@dataclass(frozen=True)
class Difference:
    """Two prompts that differ in one stretch: what both have before it and after it, and the two stretches."""

    before: str
    old: str
    new: str
    after: str

    @property
    def marked(self) -> str:
        """The stretch in its surroundings, removed text in [- -], added text in {+ +}."""
        return f"…{self.before[-60:]}[-{self.old}-]{{+{self.new}+}}{self.after[:60]}…"


def difference(first: str, second: str) -> Difference:
    """Where two prompts differ, widened to whole words; old and new are empty for equal prompts."""
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    if first == second:
        return Difference(first, "", "", "")
    end = 0
    while end < min(len(first), len(second)) - start and first[-1 - end] == second[-1 - end]:
        end += 1
    while start and first[start - 1].isalnum():
        start -= 1
    while end and first[len(first) - end].isalnum():
        end -= 1
    return Difference(first[:start], first[start : len(first) - end], second[start : len(second) - end], first[len(first) - end :])


class Training:
    """Which persona-question pairs the adapters of a run were trained on."""

    def __init__(self, parts: dict[str, pd.DataFrame]):
        self.cards = people(parts)
        self.where = {(r.persona_id, r.question): part for part, frame in parts.items() for r in frame.itertuples()}
        self.trained = {pid for (pid, _), part in self.where.items() if part == "train"}

    def seen(self, ask: Ask) -> str:
        """Whether the tuned model met this persona with this question, in words."""
        own = isinstance(ask.card, dict) and ask.persona_id in self.cards and chat.render_card(self.cards[ask.persona_id]) == chat.render_card(ask.card)
        part = self.where.get((ask.persona_id, ask.text)) if own else None
        if part == "train":
            return "SEEN IN TRAINING: this persona with this question is a training row"
        if part:
            return f"not seen in training: this pair is a {part} row" + ("; the persona has other rows in training" if ask.persona_id in self.trained else "")
        if own and ask.persona_id in self.trained:
            return "not seen in training: the persona is in the training rows, but was not asked this"
        return "not seen in training: the persona is in no training row" + ("" if own else " (changed, new or described in words)")


# --- who answers ---------------------------------------------------------------------------------------------------------------


def adapters(run: RunConfig, key: str) -> dict[str, Path]:
    """Adapters of a family that lie here: this run's first, then the published one."""
    places = {run.name: run.paths.results / "adapters" / key, PUBLISHED: paths.ROOT / "results" / "shipped" / "adapters" / key}
    if run.settings.scale != "nano" or run.data:
        places.pop(PUBLISHED)  # it belongs to the nano twins' own base
    return {name: folder for name, folder in places.items() if (folder / "adapter_model.safetensors").exists()}


def limit_prompts(asks: Sequence[Ask], tokenizer, most: int) -> None:
    """Refuse a prompt that leaves no room for its answer in the `most` tokens a model can read; beyond them it writes nonsense, and memory runs out.

    Raises: ValueError with the numbers.
    """
    for ask in asks:
        room = most - ask.sampling.max_tokens
        if sum(len(m["content"].encode()) for m in ask.messages) > room // 2:  # no token is shorter than a byte; the other half is the template's
            length = sum(map(len, chat.encode_prompt(tokenizer, ask.messages)))
            if length > room:
                raise ValueError(f"the prompt is too long: {length} tokens, and this model reads at most {room} before it answers; shorten question or card")


class ModelGenerator:
    """Answers with the models of a run, loaded when first asked and kept. The widget's only door to PyTorch; tests put a stub in its place."""

    def __init__(self, run: RunConfig):
        self.run, self._models, self._tokenizers = run, {}, {}
        self._loading = threading.Lock()

    def tokenizer(self, key: str):
        """The family's tokenizer."""
        if key not in self._tokenizers:
            self._tokenizers[key] = load_tokenizer(get_spec(key), self.run.settings.scale)
        return self._tokenizers[key]

    def model(self, system: System):
        """The model of `system`. Raises FileNotFoundError naming the adapters there are."""
        from ..config import device
        from ..models.adapters import adapted_folder, load_for_inference

        if system not in self._models:
            spec, folder = get_spec(system.key), None
            if system.adapter != NO_ADAPTER:
                found = adapters(self.run, system.key)
                if system.adapter not in found:
                    raise FileNotFoundError(f"no adapter '{system.adapter}' for {system.key}; there is {', '.join(found) or 'none: run notebook 03 first'}")
                folder = found[system.adapter]
            self._models[system] = load_for_inference(spec, self.run.settings.scale, folder, device=device(), folder=adapted_folder(self.run, spec))
        return self._models[system]

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """One thread for a twin: its matrices are too small to share, and two threads that wait for each other make a busy machine many times slower."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1 if self.run.settings.scale == "nano" else before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def load(self, system: System) -> None:
        """Fetch libraries, tokenizer and model, so that the time of an answer is not the time of loading. One thread at a time:
        transformers fails when two threads import from it together.
        """
        with self._loading:
            if not self._models:
                prepare(self.run)
                import_libraries()
            with self._threads():
                self.tokenizer(system.key), self.model(system)

    def __call__(self, asks: list[Ask], system: System, watch: Callable[[dict[int, str]], None]) -> pd.DataFrame:
        """Answer asks that are all open or all closed, of one seed. `watch({0: text so far})` is called after every token; it may raise.

        Returns: one row an ask: `text`, `option_probs` (None for open items), `tokens`.
        """
        from ..models.generation import Draws, respond

        tokenizer, said = self.tokenizer(system.key), {}

        def look(tokens: dict[int, list[int]]) -> None:
            said.update(tokens)
            watch({0: chat.clean_answer(tokenizer.decode(tokens[0], skip_special_tokens=True))} if 0 in tokens else {})

        limit_prompts(asks, tokenizer, self.model(system).config.max_position_embeddings)
        frame = pd.DataFrame({"id": [a.id for a in asks], "messages": [a.messages for a in asks], "options": [list(a.options) for a in asks]})
        draws, closed = Draws(asks[0].seed, [a.sampling for a in asks]), bool(asks[0].options)
        with self._threads():
            out = respond(self.model(system), tokenizer, frame, draws, with_options=closed, watch=look)
        probabilities = [tuple(map(float, p)) for p in out["option_probs"]] if asks[0].options else [None] * len(asks)
        return pd.DataFrame({"text": out["text"], "option_probs": probabilities, "tokens": [len(said[i]) for i in range(len(asks))]})


class Probe:
    """Asks a generator, one chunk after the other, and reads the stances. Holds no widget; `stop` ends the work at the next token."""

    def __init__(self, run: RunConfig, parts: dict[str, pd.DataFrame], generator=None):
        self.run, self.parts, self.generator = run, parts, generator or ModelGenerator(run)

    @cached_property
    def training(self) -> Training:
        """What the adapters were trained on."""
        return Training(self.parts)

    @cached_property
    def published(self) -> Training:
        """What the published adapters were trained on: the published data set, whatever data this run has."""
        if self.run.split == "paper" and not (self.run.paths.results / "dataset" / "train.parquet").exists():
            return self.training
        return Training({part: dataset.read_split(paths.DATASET / "paper", part) for part in dataset.SPLITS})

    def seen(self, ask: Ask, system: System) -> str:
        """Whether `system` met this persona with this question in its tuning, in words."""
        if system.adapter == NO_ADAPTER:
            return "not seen in training: the untuned base has read no persona card"
        return (self.published if system.adapter == PUBLISHED else self.training).seen(ask)

    @property
    def cards(self) -> dict[str, dict]:
        """persona_id -> card."""
        return self.training.cards

    def _load(self, system: System, watch: Callable[[dict], None], on_load: Callable[[System], None] | None) -> None:
        """Fetch the model in a thread beside, so that Stop is heard meanwhile; what is being fetched then stays for the next question."""
        done, failed = threading.Event(), []

        def fetch() -> None:
            try:
                self.generator.load(system)
            except BaseException as error:
                failed.append(error)
            finally:
                done.set()

        threading.Thread(target=fetch, daemon=True).start()
        if not done.wait(0.2) and on_load is not None:
            on_load(system)
        while not done.wait(0.1):
            watch({})
        if failed:
            raise failed[0]

    def answer(self, asks: Iterable[Ask], system: System, *, stop=None, on_text=None, on_done=None, on_load=None) -> list[Reply]:
        """All replies of one system in the order of `asks`.

        Args:
            stop: an object with `is_set()`. on_text: called with the first row's text while it is written. on_done: called with the number of finished rows.
            on_load: called with the system if its model is not there at once.
        Raises: Stopped; whatever the generator raises.
        """
        asks = list(asks)

        def watch(texts: dict[int, str]) -> None:
            if stop is not None and stop.is_set():
                raise Stopped
            if on_text is not None and 0 in texts:
                on_text(texts[0])

        groups: dict[tuple, list[int]] = {}
        for i, ask in enumerate(asks):
            groups.setdefault((bool(ask.options), ask.seed), []).append(i)
        chunks = [rows[at : at + CHUNK] for rows in groups.values() for at in range(0, len(rows), CHUNK)]
        replies: list[Reply | None] = [None] * len(asks)
        self._load(system, watch, on_load)
        for rows in chunks:
            watch({})
            began = time.perf_counter()
            out = self.generator([asks[i] for i in rows], system, watch)
            seconds = (time.perf_counter() - began) / len(rows)
            for i, text, probs, tokens in zip(rows, out["text"], out["option_probs"], out["tokens"], strict=True):
                option = read_option(text, asks[i].options) if asks[i].options else None
                replies[i] = Reply(system, asks[i], text, option, probs, int(tokens), seconds)
            if on_done is not None:
                on_done(sum(r is not None for r in replies))
        return replies


def load_parts(run: RunConfig) -> dict[str, pd.DataFrame]:
    """The splits that the personas come from: the run's own, else the published data set's."""
    return {part: dataset.read_split(parts_folder(run), part) for part in dataset.SPLITS}


def parts_folder(run: RunConfig) -> Path:
    """Where `load_parts` reads."""
    folder = run.paths.results / "dataset"
    return folder if (folder / "train.parquet").exists() else paths.DATASET / run.split


def sources(run: RunConfig) -> str:
    """Which stored files answer, in one line: the data set, and how many families have an adapter of the run or a published one."""
    folder = parts_folder(run)
    own, published = (sum(name in adapters(run, key) for key in run.model_keys) for name in (run.name, PUBLISHED))
    shown = folder.relative_to(paths.ROOT) if folder.is_relative_to(paths.ROOT) else folder
    return f"read: cards of {shown}; adapters: {own} of run {run.name}, {published} published ones (results/shipped/adapters) of {len(run.model_keys)} families"
