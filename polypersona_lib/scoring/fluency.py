"""How odd are the words of an answer? A pretrained language model that has read the web judges the text alone: nats a token, the lower the more usual.

Shuffled words and words that do not exist stand out at once. The number is read beside that of the references: a text that repeats itself, or says next to
nothing, costs few nats too. What a text costs is kept on disk, by judge and text.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from ..files import sha256, value_hash
from ..models.loading import load_base, load_tokenizer
from ..models.shared_prefix import decoder, pad
from ..models.weights import lacking, weights_identity
from ..paths import cache_folder
from ..progress import track
from ..registry import get_spec
from .metrics import answered

FLUENCY = ("nats_token", "nats_over_reference")
JUDGE = "smollm2-135m"
MOST_TOKENS, _BATCH = 256, 32  # of a text that are judged; texts at once


class Judge(Protocol):
    """Who judges texts; `identity` is equal if and only if the judgements are."""

    identity: str

    def costs(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        """(nats of all tokens that were judged, how many) of each text."""


class ModelJudge:
    """A causal language model: the text follows the beginning-of-text token (the end token where a tokenizer has none) and nothing else."""

    def __init__(self, model, tokenizer, *, identity: str, label: str = ""):
        self.model, self.tokenizer, self.identity, self.label = model, tokenizer, identity, label

    def costs(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        """See `Judge`. A text's cost does not depend on the texts beside it."""
        start = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.tokenizer.eos_token_id
        rows = [[start, *self.tokenizer(text, add_special_tokens=False)["input_ids"][:MOST_TOKENS]] for text in texts]
        order, costs = sorted(range(len(rows)), key=lambda i: len(rows[i])), [(0.0, 0)] * len(rows)
        batches = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
        for batch in track(batches, self.label) if self.label else batches:
            for i, nats in zip(batch, self._nats([rows[i] for i in batch]), strict=True):
                costs[i] = (nats, len(rows[i]) - 1)
        return costs

    def _nats(self, rows: list[list[int]]) -> list[float]:
        """The sum of -log p of every token but the first, of each row; the LM head is computed at real tokens alone."""
        import torch

        body, head = decoder(self.model)
        device = next(self.model.parameters()).device
        ids, mask = (t.to(device) for t in pad(rows, 0))
        real = mask[:, 1:].bool()
        with torch.no_grad():
            hidden = body(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1][real]
            losses = torch.nn.functional.cross_entropy(head(hidden).float(), ids[:, 1:][real], reduction="none")
        owner = torch.arange(len(rows), device=device)[:, None].expand(real.shape)[real]
        return torch.zeros(len(rows), device=device).index_add_(0, owner, losses).double().tolist()


class _OnFirstUse:
    """The judge of a registry entry: loaded when the first text is not in the cache."""

    def __init__(self, key: str):
        self.spec, self._judge = get_spec(key), None
        self.identity = weights_identity(self.spec, "small")

    def costs(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        """See `Judge`."""
        if self._judge is None:
            model = load_base(self.spec, "small", four_bit=False)
            self._judge = ModelJudge(model, load_tokenizer(self.spec, "small"), identity=self.identity, label=f"{self.spec.display} judges the wording")
        return self._judge.costs(texts)


def judge_here(key: str = JUDGE) -> tuple[Judge | None, str]:
    """(the judge, "") or (None, why it is not on this machine and how to get it, in one line)."""
    reason = lacking(get_spec(key))
    return (None, reason) if reason else (_OnFirstUse(key), "")


def _known(file: Path) -> dict[str, tuple[float, int]]:
    """What the cache holds: hash of a text -> its cost. A line that is damaged or has no mark (of an earlier version) is left out: its text is judged again."""
    known = {}
    with suppress(OSError):
        for line in file.read_bytes().splitlines():
            with suppress(ValueError, TypeError):
                key, nats, tokens, mark = json.loads(line)
                known |= {key: (nats, tokens)} if mark == value_hash([key, nats, tokens])[:16] else {}
    return known


def nats_a_token(texts: Sequence[str], judge: Judge, *, folder: Path | None = None) -> np.ndarray:
    """Nats a token of each text, shape (texts,); NaN for an empty one. Judged once: `folder` (default: the user's cache) keeps the costs, if it can."""
    file = (folder or cache_folder() / "fluency") / f"{sha256(f'{judge.identity}|{MOST_TOKENS}')[:16]}.jsonl"
    known, keys = _known(file), [sha256(text) for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if text.strip() and key not in known}
    if new:
        costs = judge.costs(list(new.values()))
        known |= dict(zip(new, costs, strict=True))
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as stream:
                stream.write("".join(json.dumps([key, *cost, value_hash([key, *cost])[:16]]) + "\n" for key, cost in zip(new, costs, strict=True)))
    costs = [known.get(key, (np.nan, 0)) for key in keys]
    return np.array([nats / tokens if tokens else np.nan for nats, tokens in costs])


def measure_fluency(preds: pd.DataFrame, judge: Judge, *, folder: Path | None = None) -> pd.DataFrame:
    """The columns `FLUENCY` of every prediction, index of `preds`: nats a token of the answer, and how many more than of its own reference.

    Args: preds: prediction, reference, optionally status. NaN: failed, or nothing to judge.
    """
    alive = answered(preds)
    said = [str(text) if ok else "" for text, ok in zip(preds["prediction"], alive, strict=True)]
    meant = [str(text) if ok and isinstance(text, str) else "" for text, ok in zip(preds["reference"], alive, strict=True)]
    both = nats_a_token([*said, *meant], judge, folder=folder)
    own, reference = both[: len(said)], both[len(said) :]
    return pd.DataFrame({"nats_token": own, "nats_over_reference": own - reference}, index=preds.index)
