"""How the scores of `METRICS` are computed, row by row and for a whole set of answers (corpus BLEU, distinct words and word pairs, self-BLEU).

Overlap and similarity come from nltk, sacrebleu, rouge_score, vaderSentiment and, through `encoder`, bert_score. Corpus BLEU is a function of counts, so rows
can be resampled. The diversity scores cannot: a resampled set repeats its texts, and repetition is what they measure. Their intervals come from samples
without replacement (`resampling.subsampled`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.stats import norm

from .. import resampling
from ..prompts.chat import find_control_text
from ..texts import ascii_words, is_finished, sentences, sentiment, spaced, stemmed_words
from .encoder import Encoder, load_encoder
from .metric_table import METRICS, QUALITY_PARTS, ROW_METRICS

ROUGES = ("rouge1", "rouge2", "rougeL")
SAMPLE = 100  # answers that self-BLEU compares: it grows with their number, so it is the same for all systems
_ECHO = re.compile(
    r"^\s*(persona|domain|question|options|system|user|assistant|answer)\s*:|\n[^\S\n]*(persona|domain|question|options|system|user|assistant)\s*:", re.I
)


@cache
def _rouge(words=stemmed_words):
    """rouge_score's scorer with the stems of `words`: of any script, or, with `ascii_words`, those of its own tokenizer (with a memory)."""
    from rouge_score import rouge_scorer

    stems = SimpleNamespace(tokenize=lambda text: [stem for _, stem in words(text)])
    return rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True, tokenizer=stems)


@cache
def _sacre():
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True)


@lru_cache(maxsize=50_000)
def _sacre_score(prediction: str, reference: str):
    return _sacre().sentence_score(prediction, [reference])


def sacre_counts(prediction: str, reference: str) -> list[int]:
    """What sacreBLEU's corpus score adds up over rows: matches and totals of 1 to 4 words, lengths of prediction and reference."""
    score = _sacre_score(spaced(prediction), spaced(reference))
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


def _ratio(a: float, b: float) -> float:
    """The smaller over the larger; 1 if both are 0."""
    return min(a, b) / max(a, b) if max(a, b) else 1.0


@lru_cache(maxsize=50_000)
def _pair_scores(prediction: str, reference: str) -> dict[str, float]:
    """The scores that need nothing but the two texts."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    said, meant = spaced(prediction), spaced(reference)
    words, rouge = said.lower().split(), _rouge().score(reference, prediction)
    plain = rouge if (prediction + reference).isascii() else _rouge(ascii_words).score(reference, prediction)
    return {
        "bleu": float(sentence_bleu([meant.lower().split()], words, smoothing_function=SmoothingFunction().method1)) if words else 0.0,
        "bleu_sacre_sentence": _sacre_score(said, meant).score / 100,
        **{name: rouge[name].fmeasure for name in ROUGES},
        **{f"{name}_ascii": plain[name].fmeasure for name in ROUGES},
        "length_sim": _ratio(len(prediction.strip()), len(reference.strip())),
        "sentence_sim": _ratio(len(sentences(prediction)), len(sentences(reference))),
        "sentiment_sim": 1 - abs(sentiment(prediction) - sentiment(reference)) / 2,
    }


def repeats_prompt(prediction: str, question: str = "") -> bool:
    """True if the text holds the prompt's field names at the start of a line, or the whole question (of four words or more)."""
    folded, asked = (" ".join(t.lower().split()) for t in (prediction, question))
    return bool(_ECHO.search(prediction)) or (len(spaced(asked).split()) >= 4 and asked in folded)


def format_validity(preds: pd.DataFrame, *, reader=None) -> np.ndarray:
    """1.0 or 0.0 a row, NaN where question_type (or the options of a closed item) is not given. Columns: see `score_rows`.

    An option counts as readable if column `chosen` has one, else if `reader` (a StanceReader, or any object with its `read`) finds one.
    """
    valid = np.full(len(preds), np.nan)
    if "question_type" not in preds:
        return valid
    for i, row in enumerate(preds.to_dict("records")):
        closed, options = row["question_type"] != "open", row.get("options")
        if not isinstance(row["question_type"], str) or (closed and (options is None or isinstance(options, float) or not len(options))):
            continue
        text = row["prediction"]
        ok = bool(text.strip()) and not repeats_prompt(text, row.get("question") or "") and not find_control_text(text)
        if not closed:
            ok = ok and is_finished(text) and 1 <= len(sentences(text)) <= 8
        elif ok and isinstance(row.get("chosen"), int | float | np.integer) and row["chosen"] == row["chosen"]:
            ok = row["chosen"] >= 0
        elif ok and reader is not None:
            ok = reader.read([text], [options], [row.get("question_id")])[0] is not None
        elif ok:
            continue
        valid[i] = float(ok)
    return valid


def answered(preds: pd.DataFrame) -> np.ndarray:
    """Rows whose generation did not fail."""
    return (preds["status"] != "failed").to_numpy() if "status" in preds else np.ones(len(preds), dtype=bool)


def score_rows(
    preds: pd.DataFrame, *, encoder: Encoder | None = None, bert_encoder: Encoder | None = None, reader=None, only: Sequence[str] = ROW_METRICS
) -> pd.DataFrame:
    """Every row metric of every prediction; a failed generation gets NaN, never a zero.

    Args:
        preds: columns id, prediction, reference; optional status, question, question_id, question_type, options, chosen, system, ….
        encoder: for semantic_sim (default: `load_encoder()`); bert_encoder: for BERTScore (default: the same).
        reader: a StanceReader, used for the format of closed answers without their option's label.
        only: the metrics wanted; the encoder is not loaded if none needs it.
    Returns:
        One row a prediction, same order and index: the identifying columns of `preds`, `failed`, `cut` (bool, if an encoder reads the texts: prediction or
        reference is longer than it reads, see `Encoder.is_cut`), one column a metric in [0, 1].
        NaN where a metric cannot be computed (format_valid and quality without question_type).
    """
    keys = [c for c in ("system", "id", "persona_id", "question_id", "domain", "question_type") if c in preds]
    alive, scores = answered(preds), pd.DataFrame(np.nan, index=preds.index, columns=list(ROW_METRICS))
    texts, encodes = preds.loc[alive, ["prediction", "reference"]].astype(str), bool(set(only) & {"bertscore_f1", "semantic_sim", "quality"})
    cut = pd.Series(False, index=preds.index)
    pairs = list(texts.itertuples(index=False, name=None))
    if pairs:
        table = pd.DataFrame([_pair_scores(p, r) for p, r in pairs], index=texts.index)
        scores.loc[alive, table.columns] = table.to_numpy()
        if encodes:
            encoder = encoder or load_encoder()
            if "bertscore_f1" in only:
                scores.loc[alive, "bertscore_f1"] = (bert_encoder or encoder).bertscore_f1(*map(list, zip(*pairs, strict=True)))
            cosine = (encoder.embed(texts["prediction"]) * encoder.embed(texts["reference"])).sum(axis=1)
            scores.loc[alive, "semantic_sim"] = np.clip(cosine.astype(float), 0, 1)
            cut[alive] = [any(e.is_cut(t) for e in (encoder, bert_encoder or encoder) for t in pair) for pair in pairs]
        scores.loc[alive, "format_valid"] = format_validity(preds.loc[alive].assign(**texts), reader=reader)
        scores["quality"] = scores[list(QUALITY_PARTS)].mean(axis=1, skipna=False)
    counted = pd.DataFrame({"failed": ~alive} | ({"cut": cut} if encodes else {}), index=preds.index)
    return pd.concat([preds[keys], counted, scores[[m for m in ROW_METRICS if m in only]]], axis=1)


def summarise_rows(
    rows: pd.DataFrame, *, metrics: Sequence[str] | None = None, by: str = "system", cluster: str | None = None, seed: int = resampling.SEED
) -> pd.DataFrame:
    """Mean, 95 % bootstrap interval and counts of each metric for each value of `by`.

    Returns: columns <by>, metric, value, lo, hi, n (rows in the mean), n_failed (failed generations, not in the mean).
    """
    metrics = [m for m in METRICS if m in rows] if metrics is None else list(metrics)
    lines = []
    for name, part in rows.groupby(by, sort=False) if by in rows else [("", rows)]:
        means = resampling.bootstrap_means(part[metrics], clusters=part[cluster] if cluster else None, seed=seed)
        failed = int(part["failed"].sum()) if "failed" in part else 0
        lines.append(means.rename(columns={"mean": "value"}).rename_axis("metric").reset_index().assign(n_failed=failed, **{by: name}))
    columns = [by, "metric", "value", "lo", "hi", "n", "n_failed"]
    return pd.concat(lines, ignore_index=True)[columns] if lines else pd.DataFrame(columns=columns)


def persona_similarity(answers: Sequence[str], cards: Sequence[str]) -> float:
    """Mean cosine of answer and card embeddings, in [-1, 1]; blank answers are left out. Source: paper, Algorithm 2, line 9."""
    pairs = [(a, c) for a, c in zip(answers, cards, strict=True) if a.strip()]
    if not pairs:
        return np.nan
    said, shown = (load_encoder().embed(texts) for texts in zip(*pairs, strict=True))
    return float((said * shown).sum(axis=1).mean())


# --- a whole set of answers --------------------------------------------------------------------------------------------------------


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
