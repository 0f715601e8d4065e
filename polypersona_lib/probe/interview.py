"""Asking one simulated respondent: the models that answer, what they were trained on, and the interview itself. Plain Python; the page only shows it."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pandas as pd

from .. import paths
from ..config import RunConfig, device, prepare
from ..models.adapters import adapted_folder, load_for_inference
from ..models.answer_budget import AnswerCache, Budget, answers_folder, read_limits
from ..models.answerers import prompts_of
from ..models.generation import Draws, respond
from ..models.loading import import_libraries, load_tokenizer
from ..models.published_adapters import unpack_adapter
from ..models.server_answerer import ServerAnswerer
from ..models.weights import is_twin, lacking
from ..prompts import chat
from ..registry import PAPERS_CHOICE, REAL_MODELS, get_spec
from ..scoring.option_labels import read_option
from ..systems import EXAMPLE, is_server
from ..world import dataset
from .asking import NO_ADAPTER, PUBLISHED, Ask, Reply, Stopped, System
from .cards import all_cards

CHUNK = 16  # answers written side by side: few enough that Stop is heard within a second and loses little


def load_parts(run: RunConfig) -> dict[str, pd.DataFrame]:
    """The splits that the personas come from: the run's own, else the published data set's."""
    return {part: dataset.read_split(_parts_folder(run), part) for part in dataset.SPLITS}


def _parts_folder(run: RunConfig) -> Path:
    folder = run.paths.results / "dataset"
    return folder if (folder / "train.parquet").exists() else paths.DATASET / run.split


def adapter_folders(run: RunConfig, key: str) -> dict[str, Path]:
    """Adapters of a model that lie here: this run's first, then the published one."""
    if is_server(key):
        return {}
    places = {run.name: run.paths.results / "adapters" / key}
    packed = paths.PUBLISHED_ADAPTERS / key
    if key in REAL_MODELS and packed.exists() and not run.data:
        places[PUBLISHED] = unpack_adapter(packed)
    elif key not in REAL_MODELS and run.settings.scale == "nano" and not run.data:  # these belong to the twins' own base
        places[PUBLISHED] = paths.ROOT / "results" / "shipped" / "adapters" / key
    return {name: folder for name, folder in places.items() if (folder / "adapter_model.safetensors").exists()}


def models_here(run: RunConfig) -> list[str]:
    """Who can be asked: real models whose weights are here, the run's other models, models on servers (the names of their systems)."""
    real = [key for key in REAL_MODELS if key in run.model_keys or not lacking(get_spec(key))]
    return [*real, *(key for key in run.model_keys if key not in real), *(server.system for server in run.servers)]


def first_choice(run: RunConfig) -> str:
    """The model that the page opens with: a real one with an adapter, else the one that the paper calls PolyPersona, else the first."""
    here = models_here(run)
    tuned = [key for key in here if key in REAL_MODELS and adapter_folders(run, key)]
    return [*tuned, *(key for key in here if key == PAPERS_CHOICE), *here][0]


def sources(run: RunConfig) -> str:
    """Which stored files answer, in one line: the data set, and how many models have an adapter of the run or a published one."""
    folder = _parts_folder(run)
    own, published = (sum(name in adapter_folders(run, key) for key in run.model_keys) for name in (run.name, PUBLISHED))
    shown = folder.relative_to(paths.ROOT) if folder.is_relative_to(paths.ROOT) else folder
    return f"read: cards of {shown}; adapters: {own} of run {run.name}, {published} published ones (results/shipped/adapters) of {len(run.model_keys)} models"


class Training:
    """Which persona-question pairs the adapters of a run were trained on."""

    def __init__(self, parts: dict[str, pd.DataFrame]):
        self.cards = all_cards(parts)
        self.part_of = {(r.persona_id, r.question): part for part, frame in parts.items() for r in frame.itertuples()}
        self.trained = {pid for (pid, _), part in self.part_of.items() if part == "train"}

    def seen(self, ask: Ask) -> str:
        """Whether the tuned model met this persona with this question, in words."""
        own = isinstance(ask.card, dict) and ask.persona_id in self.cards and chat.render_card(self.cards[ask.persona_id]) == chat.render_card(ask.card)
        part = self.part_of.get((ask.persona_id, ask.text)) if own else None
        if part == "train":
            return "SEEN IN TRAINING: this persona with this question is a training row"
        if part:
            return f"not seen in training: this pair is a {part} row" + ("; the persona has other rows in training" if ask.persona_id in self.trained else "")
        if own and ask.persona_id in self.trained:
            return "not seen in training: the persona is in the training rows, but was not asked this"
        return "not seen in training: the persona is in no training row" + ("" if own else " (changed, new or described in words)")


def limit_prompts(asks: Sequence[Ask], tokenizer, most: int) -> None:
    """Refuse a prompt that leaves no room for its answer in the `most` tokens that a model can read: it would write nonsense. Raises ValueError."""
    for ask in asks:
        room = most - ask.sampling.max_tokens
        if sum(len(m["content"].encode()) for m in ask.messages) > room // 2:  # no token is shorter than a byte; the other half is the template's
            length = sum(map(len, chat.encode_prompt(tokenizer, ask.messages)))
            if length > room:
                raise ValueError(f"the prompt is too long: {length} tokens, and this model reads at most {room} before it answers; shorten question or card")


class ModelGenerator:
    """Answers with the models of a run, loaded when first asked and kept. The page's only door to PyTorch; tests put a stub in its place."""

    def __init__(self, run: RunConfig):
        self.run, self._models, self._tokenizers = run, {}, {}
        self._loading, self._servers = threading.Lock(), {}

    def tokenizer(self, key: str):
        """The model's tokenizer."""
        if key not in self._tokenizers:
            self._tokenizers[key] = load_tokenizer(get_spec(key), self.run.settings.scale)
        return self._tokenizers[key]

    def model(self, system: System):
        """The model of `system`. Raises FileNotFoundError naming the adapters there are."""
        if system not in self._models:
            spec, adapter = get_spec(system.key), None
            if system.adapter != NO_ADAPTER:
                there = adapter_folders(self.run, system.key)
                if system.adapter not in there:
                    raise FileNotFoundError(f"no adapter '{system.adapter}' for {system.key}; there is {', '.join(there) or 'none: run notebook 03 first'}")
                adapter = there[system.adapter]
            self._models[system] = load_for_inference(spec, self.run.settings.scale, adapter, device=device(), folder=adapted_folder(self.run, spec))
        return self._models[system]

    def server(self, name: str) -> ServerAnswerer:
        """The model on a server whose system is `name`; all of them share one cache and the limits of the command. Raises ValueError for a server that
        the page was not opened with."""
        if name not in self._servers:
            known = {spec.system: spec for spec in self.run.servers}
            if name not in known:
                raise ValueError(f"no server for {name}; open the page with: python -m polypersona_lib probe --models {EXAMPLE}")
            self._servers[name] = ServerAnswerer(known[name], *self._shared, seed=self.run.seed)
        return self._servers[name]

    @cached_property
    def _shared(self) -> tuple[AnswerCache, Budget]:
        return AnswerCache(answers_folder()), Budget(read_limits())

    @contextmanager
    def threads(self, system: System) -> Iterator[None]:
        """One thread for a twin: its matrices are too small to share, and two threads that wait for each other make a busy machine many times slower."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1 if not is_server(system.key) and is_twin(get_spec(system.key), self.run.settings.scale) else before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def load(self, system: System) -> None:
        """Fetch libraries, tokenizer and model, one thread at a time: transformers fails when two threads import from it together."""
        if is_server(system.key):
            self.server(system.key)
            return
        with self._loading:
            if not self._models:
                prepare(self.run)
                import_libraries()
            with self.threads(system):
                self.tokenizer(system.key)
                self.model(system)

    def __call__(self, asks: list[Ask], system: System, watch: Callable[[dict[int, str]], None]) -> pd.DataFrame:
        """Answer asks that are all open or all closed, of one seed. `watch({0: text so far})` is called after every token; it may raise.

        Returns: one row an ask: `text`, `option_probs` (None for open items), `tokens`.
        Raises: ValueError for a prompt that is too long; RuntimeError with a server's reason for not answering.
        """
        frame = pd.DataFrame({"id": [a.id for a in asks], "messages": [a.messages for a in asks], "options": [list(a.options) for a in asks]})
        draws, closed = Draws(asks[0].seed, [a.sampling for a in asks]), bool(asks[0].options)
        if is_server(system.key):
            return _from_server(self.server(system.key), frame, draws, closed, watch)
        tokenizer, written = self.tokenizer(system.key), {}

        def look(tokens: dict[int, list[int]]) -> None:
            written.update(tokens)
            watch({0: chat.clean_answer(tokenizer.decode(tokens[0], skip_special_tokens=True))} if 0 in tokens else {})

        limit_prompts(asks, tokenizer, self.model(system).config.max_position_embeddings)
        with self.threads(system):
            out = respond(self.model(system), tokenizer, frame, draws, with_options=closed, watch=look)
        probabilities = [tuple(map(float, p)) for p in out["option_probs"]] if closed else [None] * len(asks)
        return pd.DataFrame({"text": out["text"], "option_probs": probabilities, "tokens": [len(written[i]) for i in range(len(asks))]})


def _from_server(answerer: ServerAnswerer, frame: pd.DataFrame, draws: Draws, closed: bool, watch: Callable[[dict[int, str]], None]) -> pd.DataFrame:
    """The rows of `ModelGenerator`, asked of a server one after the other. What it answered before it failed is in the cache and costs nothing again."""
    before, prompts = answerer.budget.tokens_out, prompts_of(frame)
    written = answerer.write(prompts, draws, lambda texts: watch({0: chat.clean_answer(texts[0])} if 0 in texts else {}))
    shares = answerer.option_probabilities(prompts, frame["options"].tolist()) if closed else []
    if reasons := [answer.reason for answer in (*written, *(s for s in shares if s.probs is None)) if answer.reason]:
        raise RuntimeError(f"{answerer.spec.model}: {reasons[0]}")
    probabilities = [tuple(map(float, s.probs)) for s in shares] if closed else [None] * len(frame)
    tokens = (answerer.budget.tokens_out - before) // len(frame)  # 0: everything was in the cache
    return pd.DataFrame({"text": [answer.text for answer in written], "option_probs": probabilities, "tokens": tokens})


def _chunks(asks: Sequence[Ask]) -> list[list[int]]:
    """Positions of the asks that a generator answers together: all open or all closed, one seed, at most `CHUNK`."""
    groups: dict[tuple, list[int]] = {}
    for i, ask in enumerate(asks):
        groups.setdefault((bool(ask.options), ask.seed), []).append(i)
    return [rows[at : at + CHUNK] for rows in groups.values() for at in range(0, len(rows), CHUNK)]


class Interviewer:
    """Asks a generator, one chunk after the other, and reads the stances. Holds no widget; `stop` ends the work at the next token."""

    def __init__(self, run: RunConfig, parts: dict[str, pd.DataFrame], generator=None):
        self.run, self.parts, self.generator = run, parts, generator or ModelGenerator(run)

    @cached_property
    def training(self) -> Training:
        """What the run's adapters were trained on."""
        return Training(self.parts)

    @cached_property
    def published(self) -> Training:
        """What the published adapters were trained on: the published data set, whatever data this run has."""
        if self.run.split == "paper" and not (self.run.paths.results / "dataset" / "train.parquet").exists():
            return self.training
        return Training({part: dataset.read_split(paths.DATASET / "paper", part) for part in dataset.SPLITS})

    @property
    def cards(self) -> dict[str, dict]:
        """persona_id -> card."""
        return self.training.cards

    def label(self, system: System) -> str:
        """The system's name for readers, with its scale."""
        return system.label(self.run.settings.scale)

    def seen(self, ask: Ask, system: System) -> str:
        """Whether `system` met this persona with this question in its tuning, in words."""
        if system.adapter == NO_ADAPTER:
            return "not seen in training: the untuned base has read no persona card"
        return (self.published if system.adapter == PUBLISHED else self.training).seen(ask)

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
            stop: an object with `is_set()`. on_text: called with the first row's text while it is written.
            on_done: called after each chunk with all finished replies so far, by position in `asks` (what is left after Stop or an error).
            on_load: called with the system if its model is not there at once.
        Raises: Stopped; whatever the generator raises.
        """
        asks, replies = list(asks), {}

        def watch(texts: dict[int, str]) -> None:
            if stop is not None and stop.is_set():
                raise Stopped
            if on_text is not None and 0 in texts:
                on_text(texts[0])

        self._load(system, watch, on_load)
        for rows in _chunks(asks):
            watch({})
            began = time.perf_counter()
            out = self.generator([asks[i] for i in rows], system, watch)
            seconds = (time.perf_counter() - began) / len(rows)
            for i, text, probs, tokens in zip(rows, out["text"], out["option_probs"], out["tokens"], strict=True):
                option = read_option(text, asks[i].options) if asks[i].options else None
                replies[i] = Reply(system, asks[i], text, option, probs, int(tokens), seconds)
            if on_done is not None:
                on_done(replies)
        return [replies[i] for i in range(len(asks))]
