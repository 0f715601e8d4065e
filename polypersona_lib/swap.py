"""The persona-swap control: does an answer fit its own persona better than it fits anybody else who answered the same question?

Three ways: word overlap and similarity of meaning, both also with every word copied from a card removed, and the chosen option alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from .encoder import Encoder, load_encoder
from .metrics import answered, words

SEMANTIC_OTHERS = 12  # other personas a question that the semantic swap compares with: more cost encoder time and hardly narrow the interval
_TIE = 1e-6  # scores closer than this are equal


def _kept_words(texts: Sequence[str], cards: Sequence[str] | None) -> list[list[tuple[str, str]]]:
    """(word, stem) lists of `texts`; with `cards`, without the words whose stem occurs in the text's own card."""
    if cards is None:
        return [list(words(t)) for t in texts]
    known = {card: {stem for _, stem in words(card)} for card in set(cards)}
    return [[w for w in words(t) if w[1] not in known[c]] for t, c in zip(texts, cards, strict=True)]


def _word_rows(groups: Sequence[list[list[tuple[str, str]]]]) -> list[tuple]:
    """(sparse rows, word counts) of the word multisets of each group; the k-th copy of a word is a feature of its own, so a product counts clipped overlap."""
    from scipy import sparse

    vocabulary: dict[tuple[str, int], int] = {}
    found = []
    for texts in groups:
        starts, columns = [0], []
        for said in texts:
            for stem, times in Counter(stem for _, stem in said).items():
                columns += [vocabulary.setdefault((stem, k), len(vocabulary)) for k in range(times)]
            starts.append(len(columns))
        found.append((starts, columns))
    shape = len(vocabulary) + 1
    return [(sparse.csr_matrix((np.ones(len(c)), c, s), shape=(len(s) - 1, shape)), np.diff(s).astype(float)) for s, c in found]


def _swap(own: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(gap, share of wins) of each row's own score.

    Args: blocks: for each question (rows, their scores against its answers of shape (rows, answers), which of these are another persona's).
    """
    gap, auc = np.full(len(own), np.nan), np.full(len(own), np.nan)
    for rows, scores, others in blocks:
        count, mine = others.sum(axis=1), own[rows, None]
        ahead = ((scores < mine - _TIE) / 2 + (scores <= mine + _TIE) / 2) * others
        with np.errstate(invalid="ignore", divide="ignore"):
            gap[rows], auc[rows] = own[rows] - (scores * others).sum(axis=1) / count, ahead.sum(axis=1) / count
    return gap, auc


def _question_blocks(rows: pd.DataFrame, pool: pd.DataFrame, most: int | None = None) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each question of `rows`: (rows, members of the pool, mask (rows, members) of other personas).

    At most `most` members, the first by hash of their persona: the same for every system.
    """
    members, people, blocks = pool.groupby("question_id").indices, pool["persona_id"].astype(str).to_numpy(), []
    for question, asked in rows.groupby("question_id", sort=False).indices.items():
        found = np.sort(members.get(question, np.array([], dtype=int)))
        if most is not None and len(found) > most:
            found = np.sort(sorted(found, key=lambda i: hashlib.sha256(people[i].encode()).hexdigest())[:most])
        blocks.append((asked, found, rows["persona_id"].astype(str).to_numpy()[asked, None] != people[None, found]))
    return blocks


def swap_scores(
    preds: pd.DataFrame, pool: pd.DataFrame, *, encoder: Encoder | None = None, semantic: bool = True, semantic_others: int | None = SEMANTIC_OTHERS
) -> pd.DataFrame:
    """How much better each prediction fits its own persona's answer than the other personas' answers to the same question.

    Args:
        preds: columns id, prediction, reference, persona_id, persona (card text), question_id; optional status, system, chosen (0-based option, -1 none).
            Several systems may be scored in one call.
        pool: everybody's answers (all splits): persona_id, question_id, reference, persona (card text); optional chosen.
        semantic: also compare embeddings (each distinct text, plain and masked, is encoded once per `encoder`); `semantic_others`: with how many
            answers a question, the same for all systems (None: all).

    Returns:
        One row a prediction, same index: system, id, persona_id, question_id, n_others, and swap_gap_* in [-1, 1] / swap_auc_* in [0, 1] for
        rouge1, rouge1_masked, semantic, semantic_masked, and option (if both frames have `chosen`). NaN: failed, or nobody else answered.
    """
    alive = answered(preds)
    rows, pool = preds[alive].reset_index(drop=True), pool.reset_index(drop=True)
    blocks, near = _question_blocks(rows, pool), _question_blocks(rows, pool, semantic_others)
    result = {"n_others": np.zeros(len(rows))}
    for asked, _, others in blocks:
        result["n_others"][asked] = others.sum(axis=1)
    texts = [frame[c].astype(str).tolist() for frame, c in ((rows, "prediction"), (rows, "reference"), (pool, "reference"))]
    cards = [frame["persona"].astype(str).tolist() for frame in (rows, rows, pool)]
    for mask in ("", "_masked"):
        kept = [_kept_words(t, c if mask else None) for t, c in zip(texts, cards, strict=True)]
        (said, n_said), (mine, n_mine), (theirs, n_theirs) = _word_rows(kept)
        own = 2 * np.asarray(said.multiply(mine).sum(axis=1)).ravel() / np.maximum(n_said + n_mine, 1)
        overlap = ((i, 2 * (said[i] @ theirs[m].T).toarray() / np.maximum(n_said[i, None] + n_theirs[None, m], 1), o) for i, m, o in blocks)
        result[f"swap_gap_rouge1{mask}"], result[f"swap_auc_rouge1{mask}"] = _swap(own, overlap)
        if semantic and len(rows):
            encoder = encoder or load_encoder()
            used = np.unique(np.concatenate([m for _, m, _ in near])).astype(int)
            place = np.full(len(pool), -1)
            place[used] = np.arange(len(used))
            spoken = ([" ".join(w for w, _ in t) for t in k] if mask else t for k, t in zip(kept, texts, strict=True))
            said, mine, theirs = (encoder.embed(t if j < 2 else [t[i] for i in used]) for j, t in enumerate(spoken))
            cosine = ((i, np.clip(said[i] @ theirs[place[m]].T, 0, 1), o) for i, m, o in near)
            result[f"swap_gap_semantic{mask}"], result[f"swap_auc_semantic{mask}"] = _swap(np.clip((said * mine).sum(axis=1), 0, 1), cosine)
    if "chosen" in rows and "chosen" in pool:
        result["swap_gap_option"], result["swap_auc_option"] = _option_swap(rows, pool, blocks)
    keys = [c for c in ("system", "id", "persona_id", "question_id") if c in preds]
    found = pd.DataFrame(result, index=preds.index[alive]).reindex(preds.index)
    return pd.concat([preds[keys], found], axis=1)


def _option_swap(rows: pd.DataFrame, pool: pd.DataFrame, blocks: list) -> tuple[np.ndarray, np.ndarray]:
    """The swap on the chosen option alone: 1 if equal. The own reference's option is the pool's for the same persona and question."""
    chosen = pool["chosen"].to_numpy(dtype=float)
    mine = dict(zip(zip(pool["persona_id"], pool["question_id"], strict=True), chosen, strict=True))
    own = np.array([mine.get(key, np.nan) for key in zip(rows["persona_id"], rows["question_id"], strict=True)])
    said = rows["chosen"].to_numpy(dtype=float)
    closed = np.isfinite(said) & (own >= 0)
    gap, auc = _swap((said == own).astype(float), ((i, (said[i, None] == chosen[None, m]).astype(float), o) for i, m, o in blocks))
    return np.where(closed, gap, np.nan), np.where(closed, auc, np.nan)
