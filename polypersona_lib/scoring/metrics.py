"""What each score means and how it is computed: the table `METRICS`, row scores and the stance's. Scores of a whole set are in `set_scores`.

Overlap and similarity come from nltk, sacrebleu, rouge_score, vaderSentiment and, through `encoder`, bert_score.
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from types import SimpleNamespace

import numpy as np
import pandas as pd

from .. import resampling
from ..prompts.chat import find_control_text
from ..texts import ascii_words, is_finished, sentences, sentiment, spaced, stemmed_words
from .encoder import Encoder, load_encoder
from .metric_table import METRICS, QUALITY_PARTS, ROW_METRICS
from .option_labels import read_option

ROUGES = ("rouge1", "rouge2", "rougeL")
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

    An option counts as readable if column `chosen` has one, else if `reader` (a StanceReader) or the label rule finds one.
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
        elif ok:
            ok = (reader.read([text], [options], [row.get("question_id")])[0] if reader else read_option(text, options)) is not None
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
