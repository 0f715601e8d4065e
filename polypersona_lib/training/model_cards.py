"""Model cards, the README.md of an adapter's and of a twin's folder. Nothing in them differs between two runs of one configuration."""

from ..config import RunConfig, TrainSpec
from ..models.weights import is_twin, weights_name
from ..registry import ModelSpec

ADAPTER = """# {display}, tuned to answer survey questions as a given persona ({profile})

A LoRA adapter (rank {r}, alpha {alpha}) for `{base}`{revision}, trained on the assistant's tokens of the companion's data set with the recipe of PolyPersona
(arXiv 2512.14562){but}. {scale_note}

- Data: {data_hash} (sha256 over all splits), prompts in template {template_hash}, seed {seed}.
- Validation loss: {untuned:.4f} nats an answer token before, {val_loss:.4f} after epoch {epoch}, the best of {epochs}. Sampled validation answers: {scores}.
- Use it to study what such models do and do not learn about personas. Simulated answers are not survey data: they replace no respondents, and no
  decision about people should rest on them.
"""
TWIN = """# Nano twin of {spec.display} ({spec.key})

The architecture of `{spec.hub_id}` (`{spec.architecture}` in `transformers`) at {parameters:,} parameters, with its chat template and control
strings, and none of its knowledge. It exists so that the companion's one code path can be checked anywhere; its numbers say nothing about
the real model.

- Pre-trained on {tokens:,} tokens by and about {respondents:,} simulated respondents who are in no data set of the project: chats in which
  nobody is described, interviews that open with an introduction in prose, notes of a question with a line
  on who said what. No persona card, no chat that describes anybody, no answer of the project's data; a fifth of the phrase patterns was
  held out.
- Longest stretch of a test answer that occurs in this text: {overlap_words} words; test answers that occur whole: {overlap_whole:.1%}.
- Loss in nats a token: first {first_loss}, last {last_loss}, on respondents held out {held_out_loss}; of how
  answers begin in their notes {note_loss}.
- Built by `python -m polypersona_lib nano` (seed {seed}); weights bf16 safetensors, hashes in `hashes.json`.
- Not for any use outside this project: it can only produce survey-like sentences.
"""


def _with_metadata(text: str, **metadata) -> str:
    """The text under the header that the hub reads (`huggingface_hub.ModelCardData`)."""
    from huggingface_hub import ModelCardData
    from huggingface_hub.utils import yaml_dump

    header = yaml_dump(ModelCardData(**metadata).to_dict(), sort_keys=False, default_flow_style=None)  # lists in one line, as in the published cards
    return f"---\n{header}---\n{text}"


def adapter_card(run: RunConfig, spec: ModelSpec, recipe: TrainSpec, identity: dict, untuned: float, best: dict) -> str:
    """The card of an adapter. Args: identity: `Job.identity`. untuned: validation loss of the base (nats). best: the record of the epoch that was kept."""
    nano, name = is_twin(spec, run.settings.scale), weights_name(spec, run.settings.scale)
    why = run.settings.why
    scores = ", ".join(f"{name} {best[name]:.3f}" for name in ("bleu", "rouge1", "rougeL", "bertscore_f1", "persona_sim") if name in best)
    text = ADAPTER.format(
        but=f"; here: {why}" if why != "the paper's recipe as printed" else "",
        display=spec.display, profile=run.profile, r=recipe.r, alpha=recipe.alpha, seed=recipe.seed, epochs=recipe.epochs,
        base=name, revision=f" at revision {spec.revision}" if name == spec.hub_id else "",
        scale_note="The base is a nano twin of 1.3 to 1.8 million parameters: its numbers say nothing about the real model." if nano else "",
        data_hash=identity["data_hash"], template_hash=identity["template_hash"], untuned=untuned, val_loss=best["val_loss"], epoch=best["epoch"],
        scores=scores or "none",
    )  # fmt: skip
    base_model = None if nano else spec.hub_id or None  # the hub takes its own ids alone here
    tags = ["lora", "qlora", "survey-simulation", run.profile]
    known = "Apache-2.0" if nano else spec.licence
    licence = known.lower() if known in ("Apache-2.0", "MIT") else "other"  # the hub's own word for all further ones
    return _with_metadata(text, base_model=base_model, library_name="peft", license=licence, tags=tags)


def twin_card(spec: ModelSpec, facts: dict) -> str:
    """The card of a nano twin. Args: facts: what `twins.pretrain` measured, with parameters, respondents, seed and the overlap with test answers."""
    return _with_metadata(TWIN.format(spec=spec, **facts), license="apache-2.0", tags=["nano-twin", "survey-simulation"])
