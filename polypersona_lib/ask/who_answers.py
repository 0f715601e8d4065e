"""Who answers, as `--models` names them: a model of the registry, a folder, a GGUF file, a model of the hub, a model behind a server, a table.

A model is loaded, or a server opened, when its first shard is asked; naming fetches at most the files of a hub model, to know its commit.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..config import device
from ..errors import InputError, one_line, quoted
from ..files import file_hash, sha256
from ..intake.option_codes import option_named
from ..intake.survey_format import Item, Questionnaire
from ..intake.tables import number_in, read_rows
from ..models.answer_budget import AnswerCache, Budget, answers_folder
from ..models.answerers import Answerer, LocalAnswerer, TableAnswerer
from ..models.published_adapters import ADAPTER_FILE, find_adapter
from ..models.weights import Unavailable, at_commit, begun_by, weights_identity
from ..prompts import chat
from ..registry import MODELS, PAPER_TARGETS, REAL_MODELS, GgufFile, ModelSpec, get_spec, is_model
from ..systems import is_untuned, model_of, parse_server, system_label
from .asking import Room

SERVER, TABLE, VLLM = "server:", "table:", "vllm:"
_NAMED = f"a key of the registry ({', '.join([*MODELS, *REAL_MODELS])}; with --base: untuned), a folder, a .gguf file, a hub id (owner/name), " \
         "server:URL#NAME, vllm:NAME (with --engine ray) or table:FILE"  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Who:
    """One answerer. `system`: its name in answers and files. label: its name for readers. identity: equal only if the answers are those of the same model.
    address: where answers and people go ("" for this machine). opened: gives the answerer and the room of its prompts; it may raise InputError.
    entry: its own entry of `--models`. vllm: the model that vLLM loads, "" for all others."""

    system: str
    label: str
    identity: str
    opened: Callable[[], tuple[Answerer, Room]]
    address: str = ""
    entry: str = ""
    vllm: str = ""


def who_answers(
    entries: str | Sequence[str], questionnaire: Questionnaire, *, seed: int, budget: Budget | None = None, context: int | None = None
) -> list[Who]:
    """The answerers of `--models` (comma-separated). Raises InputError for what is no model, and for two with one name.

    Args: context: the most tokens of a prompt and its answer, in place of what a model says of itself.
    """
    listed = [e.strip() for e in (entries.split(",") if isinstance(entries, str) else entries) if e.strip()]
    if not listed:
        raise InputError(f"--models: name {_NAMED}")
    answering = {entry: _who(entry, questionnaire, seed, budget or Budget(), context) for entry in dict.fromkeys(listed)}
    named = [replace(who, entry=who.entry or entry) for entry, who in answering.items()]
    systems = [who.system.casefold() for who in named]
    if twice := next((who for who in named if systems.count(who.system.casefold()) > 1), None):
        raise InputError(f"--models: two of them are called {quoted(twice.system)}; ask them in two runs (--out)")
    return named


def _who(entry: str, questionnaire: Questionnaire, seed: int, budget: Budget, context: int | None) -> Who:
    if entry.startswith(SERVER):
        return _server(entry, seed, budget, context)
    if entry.startswith(TABLE):
        return _table(Path(entry.removeprefix(TABLE)), questionnaire, context)
    if entry.startswith(VLLM):
        return _vllm(entry.removeprefix(VLLM))
    if is_model(model_of(entry)):
        return _registered(entry, context)
    place = Path(entry).expanduser()
    name = _safe(place.resolve().name if place.exists() else entry)
    if place.is_dir():
        return _local(_spec(name, folder=str(place)), name, None, context)
    if entry.lower().endswith(".gguf"):
        if not place.is_file():
            raise InputError(f"--models: no file {quoted(entry, 80)}")
        return _local(_spec(name.removesuffix(".gguf"), gguf=GgufFile(file=str(place.resolve()))), name.removesuffix(".gguf"), None, context)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", entry, flags=re.ASCII):
        return _from_hub(*entry.partition("@")[::2], context)
    near = difflib.get_close_matches(entry, [*MODELS, *REAL_MODELS], n=1)
    raise InputError(f"--models: {quoted(entry, 80)} is no model" + (f"; did you mean {near[0]}?" if near else f"; name {_NAMED}"))


def _safe(name: str) -> str:
    """A name for files and answers."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or f"model-{sha256(name)[:8]}"


def _spec(key: str, **where) -> ModelSpec:
    """A plain entry for a model that is not registered."""
    return ModelSpec(key=key, display=key, order=99, licence="its own", architecture="", template="native", control=(), lora_targets=PAPER_TARGETS, **where)


def _registered(entry: str, context: int | None) -> Who:
    """A registered model: its untuned base, or tuned with the adapter of a run of this project."""
    spec, adapter = get_spec(model_of(entry)), None
    if not is_untuned(entry):
        try:
            adapter = find_adapter(spec.key)
        except (OSError, ValueError) as error:
            raise InputError(f"--models {entry}: {one_line(error)}") from None
        if adapter is None:
            raise InputError(f"--models {entry}: no adapter of {spec.key} here; train it (./run_all.sh), or ask its untuned base: --models {spec.key}--base")
    return _local(spec, entry, adapter, context, label=system_label(entry, "nano"))


def _from_hub(hub_id: str, revision: str, context: int | None) -> Who:
    """A model of the hub, pinned to the commit that the branch or tag names now; its workers ask the same one."""
    try:
        spec = at_commit(_spec(_safe(hub_id), hub_id=hub_id, revision=revision or "main"))
    except Unavailable as error:
        raise InputError(f"--models {hub_id}: {one_line(error)}") from None
    return replace(_local(spec, spec.key, None, context), entry=f"{hub_id}@{spec.revision}")


def _local(spec: ModelSpec, system: str, adapter: Path | None, context: int | None, *, label: str = "") -> Who:
    """A model that answers in this process."""
    begun = begun_by(spec, "nano", adapter)

    def opened() -> tuple[Answerer, Room]:
        from ..models.adapters import load_for_inference
        from ..models.loading import load_tokenizer

        try:
            tokenizer, model = load_tokenizer(spec, "nano"), load_for_inference(spec, "nano", adapter, device=device())
        except (OSError, ValueError, Unavailable) as error:
            raise InputError(f"--models {system}: {one_line(error)}") from None
        limit = context or getattr(model.config, "max_position_embeddings", None)
        answerer = LocalAnswerer(model, tokenizer, name=system, begun=begun)
        return answerer, Room(limit, lambda messages: sum(map(len, chat.encode_prompt(tokenizer, messages))))

    try:
        identity = weights_identity(spec, "nano")
    except (OSError, ValueError, Unavailable) as error:
        raise InputError(f"--models {system}: {one_line(error)}") from None
    weights = f" + adapter {file_hash(adapter / ADAPTER_FILE)}" if adapter else ""
    weights += f"; its answers to closed questions begin with {begun!r}" if begun else ""
    return Who(system=system, label=label or system, identity=identity + weights, opened=opened)


def _server(entry: str, seed: int, budget: Budget, context: int | None) -> Who:
    """A model behind a server. Its replies are kept in the user's cache; nothing is sent before its first shard is asked."""
    try:
        spec = parse_server(entry)
    except ValueError as error:
        raise InputError(str(error)) from None

    def opened() -> tuple[Answerer, Room]:
        from ..models.server_answerer import ServerAnswerer

        return ServerAnswerer(spec, AnswerCache(answers_folder()), budget, seed=seed), Room(context)

    return Who(system=spec.system, label=system_label(spec.system, "paper"), identity=f"{spec.address}#{spec.model}", opened=opened, address=spec.address)


def _vllm(source: str) -> Who:
    """A folder or a model of the hub that vLLM loads, on GPUs. Only the Ray engine asks it."""
    if not source:
        raise InputError("--models vllm: lacks the model's name, for example vllm:HuggingFaceTB/SmolLM2-135M-Instruct")

    def opened() -> tuple[Answerer, Room]:
        raise InputError(f"--models {VLLM}{source}: is asked by Ray: add --engine ray (or start vllm serve and name server:URL#NAME)")

    return Who(system=f"vllm-{_safe(Path(source).name)}", label=f"{source} in vLLM", identity=f"vllm {source}", opened=opened, vllm=source)


def _table(path: Path, questionnaire: Questionnaire, context: int | None) -> Who:
    """A world of known probabilities, for trying things out: a file with the columns question_id, option (label or code) and probability, and, optional,
    `when`: a text that the persona must hold. Items that it lacks are answered evenly."""
    if not path.is_file():
        raise InputError(f"--models: no table {quoted(path, 80)}")
    rows, problems = read_rows(path)
    if problems:
        raise InputError(problems=problems)
    shares, others = _shares(path.name, rows, questionnaire.bank)
    by_text: dict[tuple, Item] = {}
    for item in questionnaire.items:
        first = by_text.setdefault((one_line(item.asked_text), frozenset(item.labels)), item)
        if sorted(shares.get(first.id, ())) != sorted(shares.get(item.id, ())):
            same = f"{quoted(first.id)} and {quoted(item.id)} have the same wording and options, by which a table finds its rows"
            raise InputError(f"{path.name}: {same}; give them the same probabilities, or tell their wordings apart")

    def truth(messages, options: Sequence[str]) -> np.ndarray:
        asked = re.search(r"(?:^|\n)Question: ([^\n]*)", messages[-1]["content"])
        item = by_text.get((one_line(asked[1]), frozenset(options))) if asked else None
        persona = next(m["content"] for m in messages if m["role"] == "user").partition("\nDomain: ")[0]
        weights = _weights(shares.get(item.id, ()) if item else (), options, persona)
        return weights / weights.sum() if weights.sum() > 0 else np.full(len(options), 1 / len(options))

    answerer = TableAnswerer(truth, name=f"table-{_safe(path.stem)}")
    notes = _table_notes(shares, questionnaire, others)
    label = f"table {path.name}" + (f" ({'; '.join(notes)})" if notes else "")
    return Who(system=answerer.name, label=label, identity=f"table {file_hash(path)}", opened=lambda: (answerer, Room(context)))


def _table_notes(shares: Mapping[str, Sequence], questionnaire: Questionnaire, others: int) -> list[str]:
    """What a table leaves open: rows of other wordings, items that it lacks, and probabilities that do not add up to 1 (those for everybody)."""
    lacking = [item.id for item in questionnaire.items if item.labels and item.id not in shares]
    sums = {item: sum(p for _, when, p in rows if not when) for item, rows in shares.items()}
    scaled = [f"{quoted(item)} {total:g}" for item, total in sums.items() if total and abs(total - 1) > 0.005]
    notes = [f"{others} rows of other wordings, called X~N, left out"] if others else []
    notes += (
        [f"{len(lacking)} questions that it lacks are answered evenly: {', '.join(map(quoted, lacking[:3]))}{', …' * (len(lacking) > 3)}"] if lacking else []
    )
    return notes + ([f"scaled to 1: {', '.join(scaled[:3])}{', …' * (len(scaled) > 3)}"] if scaled else [])


def _shares(name: str, rows: Sequence, bank: Mapping[str, Item]) -> tuple[dict[str, list[tuple[str, str, float]]], int]:
    """(item -> (label, text that the persona must hold, probability), rows left out: "X~N" is the N-th wording of item X, which `pilot` asks).

    Raises: InputError with the line.
    """
    shares, others = {}, 0
    for line, row in rows:
        if isinstance(row, dict) and (named := re.fullmatch(r"(.+)~\d+", str(row.get("question_id", "")))) and named[0] not in bank and named[1] in bank:
            others += 1
            continue
        item = bank.get(str(row.get("question_id", ""))) if isinstance(row, dict) else None
        if item is None:
            raise InputError(
                f"{name}: line {line}: question_id {quoted(row.get('question_id') if isinstance(row, dict) else row)} is no item of the questionnaire"
            )
        place, probability = option_named(item, row.get("option"))[0] if item.labels else None, number_in(row.get("probability"))
        if place is None or probability is None or not 0 <= probability <= 1:
            shown = ", ".join(map(quoted, item.labels[:12])) or "it has none"
            given = f"{quoted(row.get('option'))}, {quoted(row.get('probability'))}"
            raise InputError(f"{name}: line {line}: needs an option of {quoted(item.id)} ({shown}) and a probability from 0 to 1, not {given}")
        shares.setdefault(item.id, []).append((item.labels[place], str(row.get("when", "")), probability))
    return shares, others


def _weights(rows: Sequence[tuple[str, str, float]], options: Sequence[str], persona: str) -> np.ndarray:
    """The probability of each option for a persona. If the persona holds the `when` of some rows, these alone count."""
    fitting = [row for row in rows if row[1] and row[1] in persona] or [row for row in rows if not row[1]]
    return np.array([sum(p for label, _, p in fitting if label == option) for option in options])
