"""The persona-swap control: does an answer fit its own person better than it fits other people who answered the same question?

Each answer is compared with its own person's reference and with those of everybody else in the same set of rows. Own and other references are exchangeable
for an answer that ignores the person, and each of two compared people is compared with the other under the same mask. So its gap is 0: exactly if everybody
who answers a question gets the same answer, else on average over the ways to assign the answers to the people. References that an answer may have been
copied from (train) are no part of the comparison: a copy is like its author, and no author can be a row's own person.

A row's score hangs on everybody else's answer to the question, so scores of rows cannot be resampled as they stand: how typical a reference is counts for
its own row and against the others, and cancels in the mean. `resampling.by_parts` gives what can be resampled: each row's part in the mean, as its own and
as the others' other. Where everybody gets the same answer each part is 0.

The masks are words that are taken out of all three texts of a comparison, the answer, its own reference and the other: "_masked" those of the cards of the
two people, "_content" also the turns of phrase of the data set, which tell a speaker's habits and not what is said.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ..resampling import PART
from ..texts import stemmed_words
from ..world import respondents
from ..world.questions import load_questions
from .encoder import Encoder, load_encoder
from .metrics import answered

_TIE = 1e-6  # scores closer than this are equal
_DIGITS = 12  # of the parts in a mean
_ROUNDS, _EVEN = 300, 1e-13  # of `_balanced`: at most, and how near to 1 a row's weights have to sum
Words = list[tuple[str, str]]  # (word, stem) in order


def phrases_of(question_ids: Iterable[str]) -> tuple[str, ...]:
    """The turns of phrase that the data set of these questions ships a list of: those of the embedded world for its own questions, else none."""
    if not set(question_ids) <= set(load_questions()):
        return ()
    return tuple(respondents.turns_of_phrase()["phrases"])


def _without_phrases(said: Sequence[tuple[str, str]], phrases: frozenset[tuple[str, ...]]) -> Words:
    """The words without those that form one of the phrases, the longest first."""
    kept, place, longest = [], 0, max(map(len, phrases), default=0)
    words = [word for word, _ in said]
    while place < len(said):
        size = next((n for n in range(longest, 0, -1) if tuple(words[place : place + n]) in phrases), 0)
        kept += [] if size else [said[place]]
        place += size or 1
    return kept


def _word_table(groups: Sequence[list[Words]], cards: list[frozenset[str]]) -> tuple:
    """One sparse 0-1 table a group of texts, and one of the words that each card takes out: (texts, features), shape alike.

    The k-th copy of a word is a feature of its own, so that a product counts clipped overlap; a card takes out all copies.
    """
    from scipy import sparse

    features: dict[tuple[str, int], int] = {}
    rows = [[[features.setdefault((stem, k), len(features)) for stem, n in Counter(s for _, s in said).items() for k in range(n)] for said in texts]
            for texts in groups]  # fmt: skip
    of_stem: dict[str, list[int]] = {}
    for (stem, _), column in features.items():
        of_stem.setdefault(stem, []).append(column)
    rows.append([[column for stem in card for column in of_stem.get(stem, ())] for card in cards])
    return tuple(
        sparse.csr_matrix((np.ones(sum(map(len, r))), [c for line in r for c in line], np.cumsum([0, *map(len, r)])), shape=(len(r), len(features) + 1))
        for r in rows
    )


def _fit(overlap, length) -> np.ndarray:
    """F1 from the overlap of two texts and the sum of their lengths; 0 where both are empty."""
    return 2 * np.asarray(overlap) / np.maximum(length, 1)


def _overlap(said, own, cards) -> tuple[np.ndarray, np.ndarray]:
    """ROUGE-1 F1 of every row's answer with its own reference and with each other row's, both shape (rows, rows): column j is the comparison with row j.

    Args: sparse tables of `_word_table`, those of one question; in column j the words of the cards of the row and of row j are out of all texts.
    """
    said, own = said - said.multiply(cards), own - own.multiply(cards)  # without the words of the row's card, those of row j's still in
    shared = said.multiply(own).tocsr()

    def left(table) -> np.ndarray:
        return np.asarray(table.sum(axis=1)) - (table @ cards.T).toarray()

    mine = left(own)
    return _fit(left(shared), left(said) + mine), _fit((said @ own.T).toarray(), left(said) + mine.T)


def _balanced(others: np.ndarray) -> np.ndarray:
    """Weights of the comparisons that `others` (symmetric) allows: symmetric, and 1 a row; NaN in a row without any.

    Where everybody has as many rows the weights of a row are equal. Otherwise people with many rows would be compared less often than they compare, and an
    answer that ignores the person would not get 0. No weights do it where one person has more than half of the rows; these are then 1 a row alone.
    Source: Sinkhorn and Knopp 1967, symmetric case.
    """
    weights = others.astype(float)
    total = weights.sum(axis=1)
    for _ in range(_ROUNDS):
        if np.abs(total[total > 0] - 1).max(initial=0) < _EVEN:
            break
        scale = 1 / np.sqrt(np.where(total > 0, total, 1))
        weights *= scale[:, None] * scale
        total = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return weights / total[:, None]


def _compared(name: str, own: np.ndarray, other: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each row's gap and share of wins, weighted (`_balanced`), and its parts in their means. All arguments have the shape (rows, rows)."""
    ahead = (other < own - _TIE) / 2 + (other <= own + _TIE) / 2
    scores = {}
    for kind, each in (("gap", (own - other) * weights), ("auc", ahead * weights)):
        scores[f"swap_{kind}_{name}"] = each.sum(axis=1)
        scores[f"{PART}swap_{kind}_{name}"] = _parts(each)
    return scores


def _parts(each: np.ndarray) -> np.ndarray:
    """Each row's part in the mean of a question: same mean as the rows' scores, and a sum whose variance over people is that of the question's sum.

    Args: each: (rows, rows), what the comparison of row i with row j adds to the score of row i; NaN in a row that is not compared.
    A row counts in the comparisons it makes and in those it serves. Each pair stands in two rows, and the mean of the question is taken from it: for n rows
    whose comparisons vary independently, the factor makes the variance right. One pair alone is no two units: the first row has it all.
    Source: Hoeffding 1948 (projections of a U-statistic); the pairs' dependence as in Aronow, Samii and Assenova 2015.
    """
    score = each.sum(axis=1)
    here = np.isfinite(score)
    count, mean = int(here.sum()), score[here].mean() if here.any() else np.nan
    parts = mean + np.sqrt(max(0, count - 1) / max(1, count - 2)) * (score + np.nansum(each, axis=0) - 2 * mean)
    if count == 2:
        parts = np.where(here, np.where(np.cumsum(here) == 1, 2 * mean, 0), np.nan)
    return np.round(parts, _DIGITS) + 0.0  # no rounding errors: an interval of 0 must not look as if it lay above


def _counted(own: np.ndarray, other: np.ndarray, others: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """How many of the other references the answer fits less than its own, and how many as well: what picks among several are reckoned from."""
    below, up_to = (((other < own + edge) & others).sum(axis=1) for edge in (-_TIE, _TIE))
    return {f"n_below_{kind}": below.astype(float), f"n_level_{kind}": (up_to - below).astype(float)}


def _labels(rows: pd.DataFrame, column: str) -> np.ndarray:
    """The label of the option whose position `column` holds ("": none, None: an open row); the position itself where the rows name no options.

    Labels, not positions: options may stand in another order for other people.
    """
    options = rows["options"] if "options" in rows else [None] * len(rows)
    labels = [None if p != p else "" if p < 0 else " ".join(o[int(p)].split()).casefold() if o is not None and np.ndim(o) else str(p)
              for p, o in zip(rows[column].astype(float), options, strict=True)]  # fmt: skip
    return np.array(labels, dtype=object)


def _question_scores(rows: pd.DataFrame, tables: dict, encoder: Encoder | None) -> dict[str, np.ndarray]:
    """All scores of the rows of one question. `tables`: mask -> sparse tables of `_word_table`, all of these rows."""
    people = rows["persona_id"].astype(str).to_numpy()
    others = people[:, None] != people[None, :]
    found, weights = {"n_others": others.sum(axis=1).astype(float)}, _balanced(others)
    for mask, sparse in tables.items():
        fit = _overlap(*sparse)
        found |= _compared(f"rouge1{mask}", *fit, weights)
        found |= {} if mask else _counted(*fit, others, "rouge1")
    if encoder is not None:
        answers, references = (encoder.embed(rows[c].astype(str)) for c in ("prediction", "reference"))
        cosine = np.clip(answers @ references.T, 0, 1).astype(float)
        fit = np.diag(cosine)[:, None], cosine
        found |= _compared("semantic", *fit, weights)
        found |= _counted(*fit, others, "semantic")
    if "chosen" in rows and "target" in rows:
        said, own = (_labels(rows, c) for c in ("chosen", "target"))
        closed = np.array([s is not None and bool(o) for s, o in zip(said, own, strict=True)])
        same = (said[:, None] == own[None, :]).astype(float)
        asked = others & closed[:, None] & closed
        found |= _compared("option", np.diag(same)[:, None], same, _balanced(asked))
    return found


def _masked_texts(rows: pd.DataFrame, phrases: frozenset[tuple[str, ...]]) -> dict[str, tuple]:
    """mask -> sparse tables of the answers, of the references, and of the words that the cards take out, one line a row."""
    texts = [[list(stemmed_words(t)) for t in rows[c].astype(str)] for c in ("prediction", "reference")]
    stems = {card: frozenset(stem for _, stem in stemmed_words(card)) for card in set(rows["persona"].astype(str))}
    cards = [stems[card] for card in rows["persona"].astype(str)]
    kinds = {"": (texts, [frozenset()] * len(rows)), "_masked": (texts, cards)}
    kinds |= {"_content": ([[_without_phrases(words, phrases) for words in lines] for lines in texts], cards)} if phrases else {}
    return {mask: _word_table(said, known) for mask, (said, known) in kinds.items()}


def _system_scores(rows: pd.DataFrame, phrases: frozenset[tuple[str, ...]], encoder: Encoder | None) -> pd.DataFrame:
    """The scores of one system's answered rows, question by question."""
    tables, parts = _masked_texts(rows, phrases), []
    for places in rows.groupby("question_id", sort=False).indices.values():
        mine = {mask: tuple(table[places] for table in sparse) for mask, sparse in tables.items()}
        parts.append(pd.DataFrame(_question_scores(rows.iloc[places], mine, encoder), index=rows.index[places]))
    scores = pd.concat(parts)
    return scores if phrases else scores.assign(**{c.replace("_masked", "_content"): scores[c] for c in scores if c.endswith("_masked")})


def swap_scores(preds: pd.DataFrame, *, phrases: Sequence[str] = (), encoder: Encoder | None = None, semantic: bool = True) -> pd.DataFrame:
    """How much better each prediction fits its own person's answer than other people's answers to the same question.

    Args:
        preds: columns prediction, reference, persona_id, persona (card text), question_id; optional id, status, system, chosen and target (positions of
            the options that prediction and reference take in the row's `options`; -1 for none, NaN for an open row). Every system is compared within its own
            rows. A person may answer a question more than once: a row's own reference is its own, and no other row of the person is another's.
        phrases: turns of phrase that "_content" takes out; without any it equals "_masked".
        semantic: also compare embeddings of the whole texts (masked texts would be others for every pair of people).
    Returns:
        One row a prediction, same index: system, id, persona_id, question_id, n_others (references of other people), n_below_* and n_level_* (how many of
        them it fits less than its own, and as well) for rouge1 and semantic, and swap_gap_* in [-1, 1] / swap_auc_* in [0, 1] for rouge1, rouge1_masked,
        rouge1_content, semantic, and option (if there are `chosen` and `target`), and their parts (`resampling.by_parts`). NaN: failed, nobody else answered,
        or (option) no option is known for the reference.
    """
    rows = preds.reset_index(drop=True)[answered(preds)]
    known = frozenset(tuple(word for word, _ in stemmed_words(phrase)) for phrase in phrases)
    encoder = (encoder or load_encoder()) if semantic else None
    systems = [part for _, part in rows.groupby("system", sort=False)] if "system" in rows else [rows]
    scores = [_system_scores(part, known, encoder) for part in systems if len(part)]
    keys = [c for c in ("system", "id", "persona_id", "question_id") if c in preds]
    measured = pd.concat(scores).reindex(range(len(preds))) if scores else pd.DataFrame(index=range(len(preds)), columns=_columns(semantic), dtype=float)
    return pd.concat([preds[keys], measured.set_axis(preds.index)], axis=1)


def _columns(semantic: bool) -> list[str]:
    """What is scored of every row, options apart."""
    kinds = ["rouge1", "rouge1_masked", "rouge1_content", *["semantic"] * semantic]
    return ["n_others", *(f"{part}swap_{kind}_{name}" for name in kinds for kind in ("gap", "auc") for part in ("", PART))]
