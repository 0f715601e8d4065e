"""The scores of a whole set of answers, with their intervals: corpus BLEU, distinct words and word pairs, self-BLEU.

Corpus BLEU is a function of counts, so rows can be resampled. The diversity scores cannot: a resampled set repeats its texts, and repetition is what they
measure. Their intervals come from samples without replacement (`resampling.subsampled`).
"""

from collections import Counter

import numpy as np
import pandas as pd
from scipy.stats import norm

from .. import resampling
from ..texts import spaced
from .metrics import answered, sacre_counts

SAMPLE = 100  # answers that self-BLEU compares: it grows with their number, so it is the same for all systems


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _distinct(texts: list[list[str]], n: int, seed: int) -> tuple[float, float, float]:
    """Distinct over all runs of `n` words: (value, lo, hi). The interval is that of half of the rows, in proportion to the value."""
    seen: dict[tuple, int] = {}
    rows = [np.array([seen.setdefault(g, len(seen)) for g in _grams(words, n)], dtype=int) for words in texts]

    def share(chosen: np.ndarray) -> float:
        grams = np.concatenate([rows[i] for i in chosen]) if len(chosen) else np.array([])
        return len(np.unique(grams)) / len(grams) if len(grams) else np.nan

    value = share(np.arange(len(rows)))
    if not value == value or len(rows) < 4:
        return value, np.nan, np.nan
    mean, error = resampling.subsampled(share, len(rows), size=len(rows) // 2, seed=seed)
    reach = norm.ppf((1 + resampling.LEVEL) / 2) * error / mean * value
    return value, max(0.0, value - reach), min(1.0, value + reach)


class SelfBleu:
    """NLTK's sentence BLEU (smoothing method 1) of every text against all other chosen ones, averaged; from counts, many samples of one set.

    Args: texts: words of each answer. Source: nltk.translate.bleu_score (tests/test_metrics.py compares).
    """

    def __init__(self, texts: list[list[str]]):
        entries, seen = [], {}
        for i, words in enumerate(texts):
            for n in (1, 2, 3, 4):
                entries += [(seen.setdefault(gram, len(seen)), -times, i, n - 1) for gram, times in Counter(_grams(words, n)).items()]
        table = np.array(sorted(entries), dtype=int).reshape(-1, 4)
        self.gram, self.times, self.text, self.order = table[:, 0], -table[:, 1], table[:, 2], table[:, 3]
        self.length = np.array([len(words) for words in texts])

    def __call__(self, chosen: np.ndarray) -> float:
        """Mean over the texts numbered `chosen` (two or more)."""
        inside = np.zeros(len(self.length), dtype=bool)
        inside[chosen] = True
        kept = inside[self.text]
        gram, times, text, order = self.gram[kept], self.times[kept], self.text[kept], self.order[kept]
        first = np.flatnonzero(np.r_[True, gram[1:] != gram[:-1]])  # of each run of words, the text that has most of it; then the others
        most, size = times[first], np.diff(np.r_[first, len(gram)])
        second = np.where(size > 1, times[np.minimum(first + 1, len(times) - 1)], 0)
        limit = np.repeat(most, size)
        limit[first] = second
        place = np.searchsorted(np.sort(chosen), text) * 4 + order
        matched = np.bincount(place, weights=np.minimum(times, limit), minlength=4 * len(chosen)).reshape(-1, 4)
        length = self.length[np.sort(chosen)]
        total = np.maximum(length[:, None] - np.arange(4), 1)
        precision = np.where(matched > 0, matched, 0.1) / total
        apart = np.abs(length[:, None] - length[None, :]) * 1_000_000 + length[None, :]  # the nearest length, the shorter one of two
        np.fill_diagonal(apart, np.iinfo(int).max)
        nearest = length[apart.argmin(axis=1)]
        brevity = np.where(length > nearest, 1.0, np.exp(1 - nearest / np.maximum(length, 1)))
        return float(np.where(matched[:, 0] > 0, brevity * np.exp(np.log(precision).mean(axis=1)), 0.0).mean())


def _self_bleu(texts: list[list[str]], seed: int) -> tuple[float, float, float]:
    """(value, lo, hi); with more than `SAMPLE` answers the mean over many samples of that size."""
    texts = [words for words in texts if words]
    if len(texts) < 2:
        return np.nan, np.nan, np.nan
    score, n = SelfBleu(texts), len(texts)
    if n < 4:
        return score(np.arange(n)), np.nan, np.nan
    value, error = resampling.subsampled(score, n, size=SAMPLE if n > SAMPLE else n // 2, seed=seed)
    value = value if n > SAMPLE else score(np.arange(n))
    reach = norm.ppf((1 + resampling.LEVEL) / 2) * error
    return value, max(0.0, value - reach), min(1.0, value + reach)


def _corpus_bleu(preds: pd.DataFrame, seed: int) -> tuple[float, float, float]:
    """(value, lo, hi) of sacreBLEU's corpus score / 100 over rows."""
    from sacrebleu.metrics import BLEU

    def score(sums: np.ndarray) -> float:
        sums = sums.astype(int).tolist()
        return min(BLEU.compute_bleu(correct=sums[:4], total=sums[4:8], sys_len=sums[8], ref_len=sums[9], smooth_method="exp").score / 100, 1.0)

    counts = np.array([sacre_counts(str(p), str(r)) for p, r in zip(preds["prediction"], preds["reference"], strict=True)], dtype=float)
    if not len(counts):
        return np.nan, np.nan, np.nan
    if len(counts) < 2:
        return score(counts.sum(axis=0)), np.nan, np.nan
    drawn = np.array([score(sums) for sums in resampling.resampled_sums(counts, n_boot=1000, seed=seed)])
    return score(counts.sum(axis=0)), *map(float, resampling.interval(drawn, units=len(counts)))


def bleu_signature() -> str:
    """sacreBLEU's signature of the corpus score."""
    from sacrebleu.metrics import BLEU

    bleu = BLEU()
    bleu.corpus_score(["a"], [["a"]])
    return str(bleu.get_signature())


def score_set(preds: pd.DataFrame, *, seed: int = resampling.SEED) -> pd.DataFrame:
    """The metrics of a whole set: rows bleu_corpus, distinct1, distinct2, self_bleu; columns metric, value, lo, hi, n, n_failed.

    Failed generations are left out.
    Args: preds: columns prediction, reference, optional status. NaN: nothing to compute it from; no interval with fewer than four answers (BLEU: two).
    """
    alive = preds[answered(preds)]
    texts = [spaced(p).lower().split() for p in alive["prediction"].astype(str)]
    scores = {"bleu_corpus": _corpus_bleu(alive, seed), "distinct1": _distinct(texts, 1, seed), "distinct2": _distinct(texts, 2, seed)}
    scores["self_bleu"] = _self_bleu(texts, seed)
    lines = [{"metric": m, "value": v, "lo": lo, "hi": hi} for m, (v, lo, hi) in scores.items()]
    return pd.DataFrame(lines).assign(n=len(alive), n_failed=len(preds) - len(alive))
