"""Who answers: models untuned and tuned, models on servers, baselines without a model, upper bounds that know the truth.

Their names, kinds, order and labels stand here alone, and how users name them in `--models`: a key of the registry, a folder, `server:ADDRESS#NAME`,
`filter:K`.
"""

import difflib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from . import paths
from .files import json_object, tensor_sizes
from .registry import MODELS, REAL_MODELS, get_spec, is_model

BASELINES = {
    "uniform": "Uniform answerer (closed: an option at random; open: a random train answer to the question)",
    "majority": "Majority answer (closed: the most frequent option in train; open: the most typical train answer)",
    "persona_blind": "Persona-blind copy (the most typical train answer to the question)",
    "nearest_train": "Nearest persona's train answer to the question",
}
UPPER_BOUNDS = {
    "resample": "The same respondent asked again (test-retest)",
    "oracle_card": "Oracle that reads the card perfectly (most probable option given the card)",
    "oracle_latent": "Oracle that knows the true attitude (most probable option given it)",
}
CONTROLS = {**BASELINES, **UPPER_BOUNDS}
SYSTEM_KINDS = ("baseline", "untuned", "tuned", "retest", "oracle")
"""In the order of every table and figure; `retest` and `oracle` are the upper bounds."""

PREFIX, FILTER = "server:", "filter:"
LORA_NAMES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "dense", "fc1", "fc2")  # of the layers, in the families known here
EXAMPLE = "server:http://127.0.0.1:8000/v1#NAME"
_MARK, _SUFFIX, _FEW_SHOT, _FILTERED = "server-", "--base", "--few-shot", "--filtered"
_SHORT = {
    "uniform": "uniform", "majority": "majority", "persona_blind": "persona-blind copy", "nearest_train": "nearest persona's answer",
    "resample": "same respondent again", "oracle_card": "oracle: card", "oracle_latent": "oracle: true attitude",
}  # fmt: skip


def untuned(key: str) -> str:
    """The system that is the untuned base of model `key`."""
    return key + _SUFFIX


def few_shot_of(key: str) -> str:
    """The system that is the untuned base of model `key` with answers of other people in its prompt."""
    return key + _FEW_SHOT


def filtered_of(key: str) -> str:
    """The system that draws several answers of the tuned model `key` and keeps the first that passes the checks (`scoring.filtering`)."""
    return key + _FILTERED


def is_untuned(system: str) -> bool:
    """True for the untuned base of a model, with examples in its prompt or without."""
    return system.endswith((_SUFFIX, _FEW_SHOT))


def is_few_shot(system: str) -> bool:
    """True for a base that sees examples."""
    return system.endswith(_FEW_SHOT)


def is_filtered(system: str) -> bool:
    """True for a tuned model whose answers are filtered."""
    return system.endswith(_FILTERED)


def model_of(system: str) -> str:
    """The model key of a tuned or untuned system (a control's name is returned as it is)."""
    return system.removesuffix(_SUFFIX).removesuffix(_FEW_SHOT).removesuffix(_FILTERED)


def systems_of(run) -> list[str]:
    """The systems that each model of a run answers as: untuned, with examples (scale "small"), tuned, and filtered if the run has a filter."""
    shown, sieved = run.settings.scale == "small", run.filter > 0
    return [s for key in run.model_keys for s in (untuned(key), *[few_shot_of(key)] * shown, key, *[filtered_of(key)] * sieved)]


def guests_of(run) -> tuple[str, ...]:
    """The real models that answer the test rows of the nano run through their published adapters: none if the run names its models or its data."""
    alone = run.profile != "nano" or run.split != "paper" or bool(run.data or run.chosen.models)
    return () if alone else tuple(key for key in REAL_MODELS if (paths.PUBLISHED_ADAPTERS / key / "adapter.json").is_file())


def untuned_and_tuned(keys) -> list[str]:
    """Each model's untuned base, then the tuned model: `["phi-2--base", "phi-2", ...]`."""
    return [system for key in keys for system in (untuned(key), key)]


def system_kind(system: str) -> str:
    """One of `SYSTEM_KINDS`. Raises ValueError with the nearest valid name for an unknown system."""
    if is_server(system):
        return "untuned"
    if system in BASELINES:
        return "baseline"
    if system in UPPER_BOUNDS:
        return "oracle" if system.startswith("oracle") else "retest"
    if not is_model(model_of(system)):
        known = [*CONTROLS, *untuned_and_tuned([*MODELS, *REAL_MODELS])]
        close = difflib.get_close_matches(system, known, n=1)
        raise ValueError(f"unknown system '{system}'; " + (f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(known)}"))
    return "untuned" if is_untuned(system) else "tuned"


def system_order(system: str) -> tuple[int, ...]:
    """Sort key: baselines, untuned bases (servers last), tuned models, re-test, oracles; of models the real ones before those with a twin."""
    if is_server(system):
        return SYSTEM_KINDS.index("untuned"), 2, 0
    group = SYSTEM_KINDS.index(system_kind(system))
    if system in CONTROLS:
        return group, [*CONTROLS].index(system)
    spec = get_spec(model_of(system))
    return group, int(spec.nano is not None), spec.order, int(is_few_shot(system) or is_filtered(system))


def model_name(key: str, scale: str) -> str:
    """A model's name for readers: "twin of Mistral 7B (1.7 M)" at `scale` "nano", else (and for a model without a twin) its own."""
    spec = get_spec(key)
    return f"twin of {spec.family} ({spec.nano_millions} M)" if scale == "nano" and spec.nano else spec.display


def system_label(system: str, scale: str) -> str:
    """A system's short name for tables and figures; an untuned base says so. An unknown name is returned as it is."""
    if is_server(system):
        return server_label(system)
    if system in CONTROLS or not is_model(model_of(system)):
        return _SHORT.get(system, system)
    how = ", untuned" * is_untuned(system) + " with examples" * is_few_shot(system) + ", filtered" * is_filtered(system)
    return model_name(model_of(system), scale) + how


def system_labels(run) -> dict[str, str]:
    """The label of every system of a run (a `RunConfig`): baselines, models untuned and tuned (real ones first), models on servers, upper bounds."""
    models = (*untuned_and_tuned(guests_of(run)), *systems_of(run), *(server.system for server in run.servers))
    return {system: system_label(system, run.settings.scale) for system in (*BASELINES, *models, *UPPER_BOUNDS)}


# --- models on servers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerSpec:
    """A model behind an OpenAI-compatible address: `address` (http or https, no key in it) and `model`, the name the server knows it by."""

    address: str
    model: str

    @property
    def system(self) -> str:
        """The name of its answers in files: it answers as it is (zero-shot), so it is an untuned system."""
        return _MARK + (re.sub(r"[^A-Za-z0-9._]+", "-", self.model).strip("-.")[-60:] or "model") + _SUFFIX


def is_server(system: str) -> bool:
    """Whether a system's answers come from a server."""
    return system.startswith(_MARK) and system.endswith(_SUFFIX)


def server_label(system: str) -> str:
    """The name of a server's system for readers: "NAME on a server, untuned"."""
    return f"{system.removeprefix(_MARK).removesuffix(_SUFFIX)} on a server, untuned"


def parse_server(text: str) -> ServerSpec:
    """Read `server:ADDRESS#NAME`. Raises ValueError that never repeats the address: a password in it must reach no log."""
    address, _, model = text.strip().removeprefix(PREFIX).partition("#")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"\s", address) or not address.isprintable():
        raise ValueError(f"--models: a server is named by an http or https address and its model's name, for example {EXAMPLE}")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ValueError("--models: the server's address holds a user name, a password or a query; put the key into the environment variable "
                         f"POLYPERSONA_API_KEY and name the bare address, for example {EXAMPLE}")  # fmt: skip
    if not model.strip() or any(not c.isprintable() for c in model):
        raise ValueError(f"--models: the server's entry lacks the model's name after '#', for example {EXAMPLE}")
    return ServerSpec(address.rstrip("/"), model.strip())


# --- what `--models` says ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """What `--models` says: models (keys of the registry and folders), models on servers, and how many answers a filter may draw (0: no filter)."""

    models: tuple[str, ...]
    servers: tuple[ServerSpec, ...] = ()
    filter: int = 0


def read_models(models: str) -> Chosen:
    """The entries of `--models`. Raises ValueError for a bad server, two servers whose models have one name, or a filter that is no number from 1 to 16."""
    entries = [entry.strip() for entry in models.split(",") if entry.strip()]
    servers = tuple(dict.fromkeys(parse_server(entry) for entry in entries if entry.startswith(PREFIX)))
    names = [server.system for server in servers]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"--models: two servers offer a model named {server_label(min(twice))!r}; ask them in two runs (--out)")
    filters = [entry.removeprefix(FILTER) for entry in entries if entry.startswith(FILTER)]
    if len(filters) > 1 or any(not re.fullmatch(r"[1-9]|1[0-6]", count) for count in filters):
        raise ValueError(f"--models: a filter is written {FILTER}K, once, with K from 1 to 16, for example {FILTER}4")
    plain = tuple(entry for entry in entries if not entry.startswith((PREFIX, FILTER)))
    return Chosen(plain, servers, int(filters[0]) if filters else 0)


def is_folder(entry: str) -> bool:
    """Whether an entry of `--models` names a folder: it holds a slash, or starts with a dot or a tilde."""
    return not entry.startswith((PREFIX, FILTER)) and ("/" in entry or os.sep in entry or entry[:1] in (".", "~"))


def absolute_folders(models: str) -> str:
    """The entries of --models, folders by their whole path: the notebooks work elsewhere."""
    entries = [entry.strip() for entry in models.split(",") if entry.strip()]
    return ",".join(str(Path(e).expanduser().resolve()) if is_folder(e) or (not is_model(e) and Path(e).is_dir()) else e for e in entries)


def folder_facts(folder: Path) -> dict:
    """What a folder that `save_pretrained` of model and tokenizer wrote says of its model: the arguments of its `registry.ModelSpec`.

    Raises: ValueError, one line, if it cannot be used: what is wrong and what to do.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"--models: {folder}: no such folder")
    try:
        return _facts(folder, tuple(sorted((file.name, file.stat().st_mtime_ns) for file in folder.glob("*"))))
    except ValueError as error:
        raise ValueError(f"--models: {error}; name a folder that save_pretrained of model and tokenizer wrote") from None


@lru_cache(maxsize=8)
def _facts(folder: Path, _times: tuple) -> dict:
    """`folder_facts`, read once while no file of the folder changes."""
    config, tokenizer, details = (json_object(folder / f"{name}.json") for name in ("config", "tokenizer_config", "tokenizer"))
    sizes = {name: size for file in sorted(folder.glob("*.safetensors")) for name, size in tensor_sizes(file).items()}
    if not sizes:
        raise ValueError(f"{folder}: lacks *.safetensors")
    for sign, why in (
        ("auto_map", "it asks for code of its own, which is never run here"),
        ("quantization_config", "it is quantized, and plain weights are needed"),
    ):
        if sign in config:
            raise ValueError(f"{folder}: {why}")
    targets = tuple(name for name in LORA_NAMES if any(f".{name}.weight" in weight for weight in sizes))
    if not targets or not isinstance(config.get("model_type"), str):
        raise ValueError(f"{folder}: none of the layers that LoRA adapts ({', '.join(LORA_NAMES)})")
    special = tuple(t["content"] for t in details.get("added_tokens", ()) if t.get("special"))
    native = bool(tokenizer.get("chat_template")) or (folder / "chat_template.jinja").is_file()
    return {
        "key": re.sub(r"[^a-z0-9.]+", "-", folder.name.lower()).strip("-.").removeprefix(_MARK) or "model", "display": folder.name, "order": 100,
        "licence": "see its folder", "architecture": config["model_type"], "template": "native" if native else "none",
        "control": special or ("<|im_start|>", "<|im_end|>"), "lora_targets": targets, "folder": str(folder), "parameters": sum(sizes.values()),
    }  # fmt: skip
