"""Who answers: models untuned and tuned, baselines without a model, upper bounds that know the truth. Their names, kinds, order and labels stand here alone."""

import difflib

from .config import RunConfig
from .registry import MODELS, REAL_MODELS, get_spec, is_model
from .servers import is_server, server_label

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

_SUFFIX = "--base"
_SHORT = {
    "uniform": "uniform", "majority": "majority", "persona_blind": "persona-blind copy", "nearest_train": "nearest persona's answer",
    "resample": "same respondent again", "oracle_card": "oracle: card", "oracle_latent": "oracle: true attitude",
}  # fmt: skip


def untuned(key: str) -> str:
    """The system that is the untuned base of model `key`."""
    return key + _SUFFIX


def is_untuned(system: str) -> bool:
    """True for the untuned base of a model."""
    return system.endswith(_SUFFIX)


def model_of(system: str) -> str:
    """The model key of a tuned or untuned system (a control's name is returned as it is)."""
    return system.removesuffix(_SUFFIX)


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


def system_order(system: str) -> tuple[int, int]:
    """Sort key: baselines, untuned bases (servers last), tuned models (each in the registry's order), re-test, oracles."""
    if is_server(system):
        return SYSTEM_KINDS.index("untuned"), 1000
    group = SYSTEM_KINDS.index(system_kind(system))
    return group, [*CONTROLS].index(system) if system in CONTROLS else get_spec(model_of(system)).order


def model_name(key: str, scale: str) -> str:
    """A model's name for readers: "twin of Mistral 7B (1.7 M)" at `scale` "nano", else (and for a model without a twin) its own."""
    spec = get_spec(key)
    return f"twin of {spec.family} (1.7 M)" if scale == "nano" and spec.nano else spec.display


def system_label(system: str, scale: str) -> str:
    """A system's short name for tables and figures; an untuned base says so. An unknown name is returned as it is."""
    if is_server(system):
        return server_label(system)
    if system in CONTROLS or not is_model(model_of(system)):
        return _SHORT.get(system, system)
    return model_name(model_of(system), scale) + (", untuned" if is_untuned(system) else "")


def system_labels(run: RunConfig) -> dict[str, str]:
    """The label of every system of a run: baselines, each model untuned and tuned, models on servers, upper bounds."""
    models = (*untuned_and_tuned(run.model_keys), *(server.system for server in run.servers))
    return {system: system_label(system, run.settings.scale) for system in (*BASELINES, *models, *UPPER_BOUNDS)}
