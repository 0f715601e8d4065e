"""The rows by name, what each is, and which function builds it. The modules are imported when a row is built: most of them need PyTorch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .measuring import Comparison

ROWS = {
    "step_smollm2": "one QLoRA step of SmolLM2-135M at full size (16 rows) beside HF Trainer and TRL",
    "step_twin": "the same, TinyLlama's nano twin",
    "lora_layer": "LoRA layers with dropout .05, forward and backward, beside PEFT",
    "answers_smollm2": "SmolLM2's answers to the 357 test prompts, greedy, beside generate and others",
    "answers_twin": "the same, TinyLlama's nano twin",
    "options_twin": "option probabilities, 47 items x 100 people, TinyLlama's nano twin, beside a forward an option and lm-eval",
    "options_smollm2": "the same, SmolLM2 and 5 people",
    "bertscore": "BERTScore of 7 systems x 357 answers beside bert_score",
    "rouge_bleu": "ROUGE and BLEU of 7 systems x 357 answers beside rouge_score and nltk",
    "bootstrap": "paired bootstrap, 10,000 resamples x 56 comparisons, beside a numpy loop",
    "swap": "swap control, 357 answers x all strangers, beside the obvious loop",
    "pipeline": "run_all.sh smoke: cold beside papermill; nothing changed; one label changed",
    "score": "the score command on 1,000, 10,000 and 100,000 rows: time and memory",
    "reading": "reading 100,000 records strictly beside datasets and a pydantic loop",
}
_BUILDERS = {
    "step_smollm2": ("training_rows", "step", {"key": "smollm2-135m"}),
    "step_twin": ("training_rows", "step", {"key": "tinyllama-1.1b"}),
    "lora_layer": ("layer_rows", "lora_layer", {}),
    "answers_smollm2": ("answering_rows", "answers", {"key": "smollm2-135m"}),
    "answers_twin": ("answering_rows", "answers", {"key": "tinyllama-1.1b"}),
    "options_twin": ("option_rows", "options", {"key": "tinyllama-1.1b", "people": 100}),
    "options_smollm2": ("option_rows", "options", {"key": "smollm2-135m", "people": 5}),
    "bertscore": ("text_rows", "bertscore", {}),
    "rouge_bleu": ("text_rows", "rouge_bleu", {}),
    "bootstrap": ("text_rows", "bootstrap", {}),
    "swap": ("swap_rows", "swap_control", {}),
    "pipeline": ("pipeline_rows", "pipeline", {}),
    "score": ("score_rows", "score", {}),
    "reading": ("reading_rows", "reading", {}),
}


def build(name: str, *, small: bool, folder: Path) -> Comparison:
    """The row `name`, ready to be measured. `folder`: an empty folder for its files; `small`: tiny inputs. Raises KeyError for an unknown name."""
    module, function, options = _BUILDERS[name]
    return getattr(import_module(f"{__package__}.{module}"), function)(small=small, folder=folder, **options)
