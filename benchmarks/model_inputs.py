"""What the rows with a model start from: the model as it answers on this machine, its tokenizer, and prompts as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answering:
    """A model that is ready to answer: its registry entry, the model (float32 on a CPU, base alone), and its tokenizer."""

    spec: Any
    model: Any
    tokenizer: Any

    @property
    def name(self) -> str:
        """As titles call it."""
        return f"{self.spec.display} (nano twin)" if self.spec.nano else self.spec.display

    def prompt_ids(self, messages: list) -> list[list[int]]:
        """Each prompt's token ids, as our own code encodes them."""
        from polypersona_lib.prompts import chat

        return [[*shared, *rest] for shared, rest in (chat.encode_prompt(self.tokenizer, m) for m in messages)]


def answering(key: str) -> Answering:
    """The untuned model `key` (a twin if it has one), loaded as the product loads it for answers. Raises RuntimeError if its weights are not here."""
    from polypersona_lib.config import device
    from polypersona_lib.models import weights
    from polypersona_lib.models.adapters import load_for_inference
    from polypersona_lib.models.loading import load_tokenizer
    from polypersona_lib.registry import get_spec

    spec = get_spec(key)
    scale = "nano" if spec.nano else "small"
    if reason := weights.lacking(spec) if scale == "small" else "":
        raise RuntimeError(reason)
    return Answering(spec, load_for_inference(spec, scale, None, device=device()), load_tokenizer(spec, scale))
