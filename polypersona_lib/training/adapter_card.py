"""The model card of an adapter."""

from __future__ import annotations

from ..config import RunConfig, TrainSpec
from ..registry import ModelSpec

CARD = """---
{on_hub}library_name: peft
license: {licence}
tags: [lora, qlora, survey-simulation, {profile}]
---
# {display}, tuned to answer survey questions as a given persona ({profile})

A LoRA adapter (rank {r}, alpha {alpha}) for `{base}`{revision}, trained on the assistant's tokens of the companion's data set with the recipe of PolyPersona
(arXiv 2512.14562). {scale_note}

- Data: {data_hash} (sha256 over all splits), prompts in template {template_hash}, seed {seed}.
- Validation loss: {untuned:.4f} nats an answer token before, {val_loss:.4f} after epoch {epoch}, the best of {epochs}. Sampled validation answers: {scores}.
- Use it to study what such models do and do not learn about personas. Simulated answers are not survey data: they replace no respondents, and no
  decision about people should rest on them.
"""


def adapter_card(run: RunConfig, spec: ModelSpec, recipe: TrainSpec, identity: dict, untuned: float, best: dict) -> str:
    """The model card of an adapter (README.md of its folder), with nothing in it that differs between two runs of the same configuration."""
    nano = run.settings.scale == "nano"
    note = "The base is a nano twin of about 1.7 million parameters: its numbers say nothing about the real model." if nano else ""
    scores = ", ".join(f"{name} {best[name]:.3f}" for name in ("bleu", "rouge1", "rougeL", "bertscore_f1", "persona_sim") if name in best) or "none"
    return CARD.format(
        on_hub="" if nano else f"base_model: {spec.hub_id}\n",  # the hub takes its own ids alone here
        base=f"data/models/{spec.key}" if nano else spec.hub_id, revision="" if nano else f" at revision {spec.revision}", display=spec.display,
        licence="apache-2.0" if nano else "other", profile=run.profile, scale_note=note, data_hash=identity["data_hash"],
        template_hash=identity["template_hash"], seed=recipe.seed, r=recipe.r, alpha=recipe.alpha, untuned=untuned, val_loss=best["val_loss"],
        epoch=best["epoch"], epochs=recipe.epochs, scores=scores,
    )  # fmt: skip
