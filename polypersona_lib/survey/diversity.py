"""How different are a system's open answers from one another, beside the references of the same rows: words, sentences, meanings.

Diversity depends on the size of a set, so sizes are made equal by subsampling without replacement: distinct-n on the same number of n-grams from every
system, self-BLEU and semantic spread on the same number of answers to a question.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..scoring.encoder import load_encoder
from ..scoring.metrics import SelfBleu, answered

REFERENCES = "references"
Z = 1.959964  # half width of a 95 % interval in standard errors
DIVERSITY_METRICS = ("distinct1", "distinct2", "distinct3", "self_bleu", "semantic_spread")
_COLUMNS = ["system", "metric", "value", "lo", "hi", "n", "size", "references"]
_DRAWS = 40  # random sets of n-grams
SUBSETS = 3  # subsets of a question's answers, at most, where a system has more than the smallest
ENCODED = 3  # answers to a question whose meanings are compared: encoding is what takes time


def diversity(preds: pd.DataFrame, *, semantic: Sequence[str] | None = None, encoder=None, seed: int = 42) -> pd.DataFrame:
    """Diversity of the answers to open items, of every system and of the references of the same rows.

    Args:
        preds: from `answer_files.load_predictions` (system, id, question_id, question_type, prediction, reference, status).
        semantic: the systems whose meanings are compared, besides the references (default: all; encoding takes about a second for 100 answers).
    Returns: (system, metric, value, lo, hi, n, size, references), empty if nothing open was asked:
        distinct1, distinct2, distinct3: different n-grams over all n-grams of a set, lower-cased; mean over 40 random sets of `size` n-grams, half as
            many as the system with fewest words has. The interval is 1.96 standard deviations of those half samples (delete-half jackknife).
        self_bleu: NLTK BLEU (method 1) of each answer against the `size` - 1 others to the same question: high is repetitive.
        semantic_spread: mean cosine distance of two answers to the same question (three of them drawn; all-MiniLM-L6-v2), 0 for equal answers.
        For these two the mean over questions; interval: 1.96 standard errors over questions. `n`: answers used, or questions. `references`: their value.
    Source: Li et al. 2016 (distinct-n); Zhu et al. 2018, Texygen (self-BLEU).
    """
    rows = preds[(preds["question_type"] == "open") & answered(preds) & preds["prediction"].str.strip().ne("")]
    if rows.empty:
        return pd.DataFrame(columns=_COLUMNS)
    own = rows.drop_duplicates("id").assign(system=REFERENCES).drop(columns="prediction").rename(columns={"reference": "prediction"})
    rows = pd.concat([own, rows], ignore_index=True)[["system", "id", "question_id", "prediction"]]
    encoded = {*rows["system"]} if semantic is None else {REFERENCES, *semantic}
    table = pd.concat([_words(rows, seed), _within_questions(rows, encoded, encoder, seed)], ignore_index=True)
    theirs = table[table["system"] == REFERENCES].set_index("metric")["value"]
    return table.assign(references=table["metric"].map(theirs))[_COLUMNS]


def _words(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """distinct-n of random sets of equally many n-grams; every system's answers come in the same random orders of rows."""
    rng, ids, lines = np.random.default_rng(seed), sorted(rows["id"].unique()), []
    nothing, orders = np.array([], dtype=int), [rng.permutation(len(ids)) for _ in range(_DRAWS)]
    tokens = rows["prediction"].str.lower().str.split()
    for n in (1, 2, 3):
        codes: dict[tuple[str, ...], int] = {}
        grams = [[codes.setdefault(tuple(words[i : i + n]), len(codes)) for i in range(len(words) - n + 1)] for words in tokens]
        coded = rows.assign(grams=[np.array(row, dtype=int) for row in grams]).groupby("system", sort=False)
        by_system = {system: dict(zip(part["id"], part["grams"], strict=True)) for system, part in coded}
        size = min(sum(map(len, grams_of.values())) for grams_of in by_system.values()) // 2
        for system, grams_of in by_system.items():
            sets = (np.concatenate([grams_of.get(ids[i], nothing) for i in order])[:size] for order in orders)
            values = np.array([len(np.unique(part)) / size if size else np.nan for part in sets])
            all_grams = sum(map(len, grams_of.values()))  # samples of half of them spread like the standard error, smaller ones more (`subsampled`)
            value, spread = values.mean(), Z * values.std(ddof=1) * np.sqrt(size / max(all_grams - size, 1))
            line = {"system": system, "metric": f"distinct{n}", "value": value, "lo": max(value - spread, 0.0), "hi": min(value + spread, 1.0)}
            lines.append(line | {"n": len(grams_of), "size": size})
    return pd.DataFrame(lines)


def _within_questions(rows: pd.DataFrame, encoded: set[str], encoder, seed: int) -> pd.DataFrame:
    """self_bleu and semantic_spread: within each question, then the mean over questions that every system answered at least twice."""
    systems = list(dict.fromkeys(rows["system"]))
    texts = {key: group.tolist() for key, group in rows.groupby(["question_id", "system"], sort=True)["prediction"]}
    fewest = {q: min(len(texts.get((q, s), ())) for s in systems) for q in sorted(rows["question_id"].unique())}
    asked = {q: size for q, size in fewest.items() if size > 1}
    rng = np.random.default_rng(seed)
    drawn = {(q, s): [texts[q, s][i] for i in rng.permutation(len(texts[q, s]))[:ENCODED]] for q in asked for s in systems if s in encoded}
    wanted = [t for part in drawn.values() for t in part]
    vectors = dict(zip(wanted, (encoder or load_encoder()).embed(wanted), strict=True)) if wanted else {}
    lines = []
    for system in systems:
        scores = {"self_bleu": [_self_bleu(texts[q, system], size, np.random.default_rng(seed)) for q, size in asked.items()]}
        if system in encoded:
            scores["semantic_spread"] = [_spread(np.stack([vectors[t] for t in drawn[q, system]])) for q in asked]
        for metric, values in scores.items():
            middle = float(np.mean(values)) if values else np.nan
            half = Z * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            line = {"system": system, "metric": metric, "value": middle, "lo": max(middle - half, 0.0), "hi": middle + half}
            most = ENCODED if metric == "semantic_spread" else np.inf
            lines.append(line | {"n": len(values), "size": min([*asked.values(), most]) if asked else 0})
    return pd.DataFrame(lines)


def _spread(vectors: np.ndarray) -> float:
    """Mean cosine distance of two different rows of unit vectors, shape (answers, dim)."""
    return float(np.clip(1 - (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)], 0, 2).mean())


def _self_bleu(texts: list[str], size: int, rng: np.random.Generator) -> float:
    """Self-BLEU of `size` of the texts, averaged over up to `SUBSETS` random subsets."""
    score = SelfBleu([t.lower().split() for t in texts])
    subsets = {tuple(sorted(rng.permutation(len(texts))[:size])) for _ in range(SUBSETS)}
    return float(np.mean([score(np.array(part)) for part in sorted(subsets)]))
