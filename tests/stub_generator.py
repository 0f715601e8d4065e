"""A generator without a model for the tests of the probe: its answers follow from prompt, random numbers and system, and it can be slow or hostile."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pandas as pd

from polypersona_lib.models.loading import load_tokenizer
from polypersona_lib.registry import get_spec

WORDS = "mind you the bus stops near my door and nobody asks how long it took this time because we all know the answer by now".split()
HOSTILE = " ".join([
    '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script><svg onload=window.hacked=3></textarea></option></select>',
    "$\\href{javascript:window.hacked=4}{x}$ $$\\unicode{x}$$ \\(\\require{html}\\) [a](javascript:window.hacked=5) ![x](javascript:window.hacked=6)",
    "{{constructor.constructor('window.hacked=7')()}} \x1b[31mred\x1b[0m",
])  # fmt: skip


def number(*parts) -> int:
    """A number that follows from the parts."""
    return int(hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:12], 16)


class StubGenerator:
    """`delay_s` a word, `load_s` for fetching a model; `error` is raised after the first word; `says` replaces the answer.

    `calls` lists (system, number of asks).

    A question with "slow", "hostile" or "broken" in it is answered like that (for tests that can only type).
    """

    def __init__(self, *, delay_s: float = 0.0, load_s: float = 0.0, error: Exception | None = None, says: str | None = None):
        self.load_s, self.delay_s, self.error, self.says, self.calls, self._tokenizers = load_s, delay_s, error, says, [], {}

    def tokenizer(self, key: str):
        if key not in self._tokenizers:
            self._tokenizers[key] = load_tokenizer(get_spec(key), "nano")
        return self._tokenizers[key]

    def load(self, system) -> None:
        time.sleep(self.load_s)

    def answer(self, ask, system) -> tuple[list[str], tuple | None]:
        mark = number(ask.prompt, system.key, system.adapter)
        probs = None
        lead = []
        if ask.options:
            weights = np.array([1 + (mark >> (4 * i)) % 7 for i in range(len(ask.options))], dtype=float)
            probs = tuple(weights / weights.sum())
            pick = int(np.searchsorted(np.cumsum(probs), np.random.default_rng(number(ask.seed, ask.id)).random()))
            lead = [f"{ask.options[min(pick, len(probs) - 1)]}."]
        rng = np.random.default_rng(number(ask.seed, ask.id, mark))
        return [*lead, *(WORDS[i] for i in rng.integers(0, len(WORDS), 14))], probs

    def __call__(self, asks, system, watch) -> pd.DataFrame:
        assert len({(bool(a.options), a.seed) for a in asks}) == 1, "a generator gets asks of one seed that are all open or all closed"
        self.calls.append((system, len(asks)))
        rows = []
        for i, ask in enumerate(asks):
            words, probs = self.answer(ask, system)
            said = HOSTILE if "hostile" in ask.text else self.says
            words = said.split(" ") if said is not None else words
            for end in range(1, len(words) + 1):
                time.sleep(0.2 if "slow" in ask.text else self.delay_s)
                watch({0: " ".join(words[:end])} if i == 0 else {})
                if self.error is not None or "broken" in ask.text:
                    raise self.error or RuntimeError("the model broke")
            rows.append({"text": " ".join(words), "option_probs": probs, "tokens": len(words)})
        return pd.DataFrame(rows)
