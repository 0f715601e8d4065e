"""The persona-swap control: does an answer fit its own persona better than it fits anybody else who answered the same question?

Three ways: word overlap and similarity of meaning, both also without the words of the row's own card, and the chosen option alone.

A row's card is removed from everything the row is compared with. If each answer lost the words of its own author's card instead, prediction and own
reference would have lost the same words and the others not: even a stranger's answer would seem to fit the row (by .012 ROUGE-1, measured).
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ..files import sha256
from ..texts import stemmed_words
from .encoder import Encoder, load_encoder
from .metrics import answered

SEMANTIC_OTHERS = 12  # other personas a question that the semantic swap compares with: more cost encoder time and hardly narrow the interval
_TIE = 1e-6  # scores closer than this are equal


def _without(said: Iterable[tuple[str, str]], known: frozenset[str]) -> list[tuple[str, str]]:
    """(word, stem) pairs whose stem is not among the `known`."""
    return [w for w in said if w[1] not in known]


def _word_rows(groups: Sequence[list[list[tuple[str, str]]]]) -> list:
    """(sparse rows, word counts) of each group, last the columns' dictionary. The k-th copy of a word is its own feature: a product counts clipped overlap."""
    from scipy import sparse

    vocabulary: dict[tuple[str, int], int] = {}
    rows = []
    for texts in groups:
        starts, columns = [0], []
        for said in texts:
            for stem, times in Counter(stem for _, stem in said).items():
                columns += [vocabulary.setdefault((stem, k), len(vocabulary)) for k in range(times)]
            starts.append(len(columns))
        rows.append((starts, columns))
    shape = len(vocabulary) + 1
    return [(sparse.csr_matrix((np.ones(len(c)), c, s), shape=(len(s) - 1, shape)), np.diff(s).astype(float)) for s, c in rows] + [vocabulary]


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


def _overlap(said: list, mine: list, theirs: list, known: list[frozenset[str]], blocks: list) -> tuple[np.ndarray, Iterable]:
    """ROUGE-1 F1 of every prediction with its own reference, and with the other answers to its question (block by block, row's card left out)."""
    (said_m, n_said), (mine_m, n_mine), (theirs_m, n_theirs), vocabulary = _word_rows((said, mine, theirs))
    features: dict[str, list[int]] = {}
    for (stem, _), column in vocabulary.items():
        features.setdefault(stem, []).append(column)
    own = 2 * np.asarray(said_m.multiply(mine_m).sum(axis=1)).ravel() / np.maximum(n_said + n_mine, 1)

    def others():
        for i, m, o in blocks:
            count = np.repeat(n_theirs[None, m], len(i), axis=0)
            for line, row in enumerate(i):
                if columns := [c for stem in known[row] for c in features.get(stem, ())]:
                    count[line] -= np.asarray(theirs_m[m][:, columns].sum(axis=1)).ravel()
            yield i, 2 * (said_m[i] @ theirs_m[m].T).toarray() / np.maximum(n_said[i, None] + count, 1), o

    return own, others()


def _cosine(encoder: Encoder, texts: Sequence[list[str]], known: list[frozenset[str]], blocks: list) -> tuple[np.ndarray, Iterable]:
    """As `_overlap` with the cosine of embeddings, in [0, 1]; `texts` as written: (predictions, own references, the pool's)."""

    def left(text: str, card: frozenset[str]) -> str:
        return " ".join(w for w, _ in _without(stemmed_words(text), card)) if card else text

    ours = [encoder.embed([left(t, k) for t, k in zip(lines, known, strict=True)]) for lines in texts[:2]]
    compared = {(row, j): left(texts[2][j], known[row]) for i, m, _ in blocks for row in i for j in m}
    place = {text: k for k, text in enumerate(dict.fromkeys(compared.values()))}
    vectors = encoder.embed(list(place)) if place else np.zeros((0, ours[0].shape[1]))

    def others():
        for i, m, o in blocks:
            near = np.array([[place[compared[row, j]] for j in m] for row in i], dtype=int).reshape(len(i), len(m))
            yield i, np.clip(np.einsum("rd,rmd->rm", ours[0][i], vectors[near]), 0, 1), o

    return np.clip((ours[0] * ours[1]).sum(axis=1), 0, 1), others()


def _question_blocks(rows: pd.DataFrame, pool: pd.DataFrame, most: int | None = None) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each question of `rows`: (rows, members of the pool, at most `most` by hash of persona, the same for every system; mask of other personas)."""
    members, people, blocks = pool.groupby("question_id").indices, pool["persona_id"].astype(str).to_numpy(), []
    for question, asked in rows.groupby("question_id", sort=False).indices.items():
        those = np.sort(members.get(question, np.array([], dtype=int)))
        if most is not None and len(those) > most:
            those = np.sort(sorted(those, key=lambda i: sha256(people[i]))[:most])
        blocks.append((asked, those, rows["persona_id"].astype(str).to_numpy()[asked, None] != people[None, those]))
    return blocks


def swap_scores(preds: pd.DataFrame, pool: pd.DataFrame, *, encoder: Encoder | None = None, semantic: bool = True) -> pd.DataFrame:
    """How much better each prediction fits its own persona's answer than the other personas' answers to the same question.

    Args:
        preds: columns id, prediction, reference, persona_id, persona (card text), question_id; optional status, system, chosen (0-based option, -1 none).
            Several systems may be scored in one call.
        pool: everybody's answers (all splits): persona_id, question_id, reference, persona (card text); optional chosen.
        semantic: also compare embeddings (each distinct text is encoded once per `encoder`), with `SEMANTIC_OTHERS` answers a question.
    Returns:
        One row a prediction, same index: system, id, persona_id, question_id, n_others, and swap_gap_* in [-1, 1] / swap_auc_* in [0, 1] for
        rouge1, rouge1_masked, semantic, semantic_masked, and option (if both frames have `chosen`). NaN: failed, or nobody else answered.
    """
    alive = answered(preds)
    rows, pool = preds[alive].reset_index(drop=True), pool.reset_index(drop=True)
    blocks, near = _question_blocks(rows, pool), _question_blocks(rows, pool, SEMANTIC_OTHERS)
    result = {"n_others": np.zeros(len(rows))}
    for asked, _, others in blocks:
        result["n_others"][asked] = others.sum(axis=1)
    texts = [frame[c].astype(str).tolist() for frame, c in ((rows, "prediction"), (rows, "reference"), (pool, "reference"))]
    said, mine, theirs = ([stemmed_words(t) for t in lines] for lines in texts)
    stems = {card: frozenset(stem for _, stem in stemmed_words(card)) for card in set(rows["persona"].astype(str))}
    for mask in ("", "_masked"):
        known = [stems[card] if mask else frozenset() for card in rows["persona"].astype(str)]
        ours = [[_without(t, k) for t, k in zip(lines, known, strict=True)] for lines in (said, mine)]
        own, overlap = _overlap(*ours, theirs, known, blocks)
        result[f"swap_gap_rouge1{mask}"], result[f"swap_auc_rouge1{mask}"] = _swap(own, overlap)
        if semantic and len(rows):
            own, cosine = _cosine(encoder or load_encoder(), texts, known, near)
            result[f"swap_gap_semantic{mask}"], result[f"swap_auc_semantic{mask}"] = _swap(own, cosine)
    if "chosen" in rows and "chosen" in pool:
        result["swap_gap_option"], result["swap_auc_option"] = _option_swap(rows, pool, blocks)
    keys = [c for c in ("system", "id", "persona_id", "question_id") if c in preds]
    return pd.concat([preds[keys], pd.DataFrame(result, index=preds.index[alive]).reindex(preds.index)], axis=1)


def _option_swap(rows: pd.DataFrame, pool: pd.DataFrame, blocks: list) -> tuple[np.ndarray, np.ndarray]:
    """The swap on the chosen option alone: 1 if equal. The own reference's option is the pool's for the same persona and question.

    Answers of the pool whose option is not known are not compared with: they would count as different.
    """
    chosen = pool["chosen"].to_numpy(dtype=float)
    mine = dict(zip(zip(pool["persona_id"], pool["question_id"], strict=True), chosen, strict=True))
    own = np.array([mine.get(key, np.nan) for key in zip(rows["persona_id"], rows["question_id"], strict=True)])
    said = rows["chosen"].to_numpy(dtype=float)
    closed = np.isfinite(said) & (own >= 0)
    known = chosen >= 0
    gap, auc = _swap((said == own).astype(float), ((i, (said[i, None] == chosen[None, m]).astype(float), o & known[None, m]) for i, m, o in blocks))
    return np.where(closed, gap, np.nan), np.where(closed, auc, np.nan)
