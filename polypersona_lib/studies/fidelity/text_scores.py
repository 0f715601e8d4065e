"""Persona fidelity read off the text of answers: whose answer is it, whose card is it like, and is it copied from train?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ...scoring import swap
from ...scoring.encoder import Encoder, load_encoder
from ...scoring.fidelity_measures import GRAMS
from . import attribute_probes as probes
from .candidates import Candidates, pick_rate

MOST, PENALTY = 119, 1.0

# --- whose answer? --------------------------------------------------------------------------------------------------------------------


def compared_with(rows: pd.DataFrame, pool: pd.DataFrame, most: int | None) -> np.ndarray:
    """With how many other people's answers the swap control compared each row (`most`: its limit for the semantic comparison)."""
    count = np.zeros(len(rows), dtype=int)
    for asked, _, others in swap._question_blocks(rows, pool, most):
        count[asked] = others.sum(1)
    return count


def picked(auc: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """How often the own reference is the one of k that the answer is most like, from the share of other references that are less like it.

    Args: auc: the swap control's `swap_auc_*` (equal ones count half), others: how many were compared. NaN with fewer than k - 1.
    """
    twice = np.rint(2 * np.nan_to_num(auc) * others).astype(int)  # an odd number: a tie
    found = pick_rate(twice // 2, twice % 2, others, k)
    return np.where(np.isfinite(auc), found, np.nan)


class TextProbe:
    """Reads a speaker's attributes off the words (TF-IDF of one and two words), trained on references of people who are no candidates."""

    def __init__(self, references: Sequence[str], cards: Sequence[dict]):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True, token_pattern=r"[\w']+")
        self.probe = probes.fit_probe(self.words.fit_transform(references), cards, penalty=PENALTY)

    def read(self, texts: Iterable[str]) -> np.ndarray:
        """What it takes the speakers for: (texts, attributes); 0 for a blank text."""
        texts = list(texts)
        blank = np.array([not t.strip() for t in texts])
        return np.where(blank[:, None], 0.0, self.probe.read(self.words.transform(texts)))

    def likeness(self, read: np.ndarray, cards: Sequence[dict]) -> np.ndarray:
        """How much each card (columns) is like what was read (rows), in [-1, 1]."""
        return probes.likeness(read, self.probe.coordinates(cards))


def candidate_table(rows: pd.DataFrame, pool: pd.DataFrame) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Whom each row may be taken for: the people who answered its question. Returns: the cards, the row's own column, and a mask (rows, cards)."""
    people = pool.drop_duplicates("persona_id").reset_index(drop=True)
    column = {p: i for i, p in enumerate(people["persona_id"])}
    asked = pool.groupby("question_id")["persona_id"].agg(lambda found: [column[p] for p in found]).to_dict()
    mask = np.zeros((len(rows), len(people)), dtype=bool)
    for i, question in enumerate(rows["question_id"]):
        mask[i, asked.get(question, [])] = True
    return people["persona"].tolist(), rows["persona_id"].map(column).to_numpy(), mask


# --- likeness to the card --------------------------------------------------------------------------------------------------------------


def card_cosines(preds: pd.DataFrame, *, most: int = MOST, encoder: Encoder | None = None) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """The paper's persona consistency, for every card: cosine of an answer's embedding and each card's.

    Args: preds: every system's predictions (system, id, persona_id, persona, prediction, status); most: about so many test records are taken, evenly.
    Returns: the rows taken (failed answers left out), the people whose cards they are compared with, and the cosines (rows, people).
    Source: paper, Algorithm 2, line 9 ("persona-embedding similarity").
    """
    encoder = encoder or load_encoder()
    records = sorted(preds["id"].unique())
    rows = preds[preds["id"].isin(records[:: max(1, len(records) // most)])]
    shown = rows.drop_duplicates("persona_id")
    rows = rows[rows["status"] != "failed"] if "status" in rows else rows
    near = encoder.embed(rows["prediction"].astype(str)) @ encoder.embed(shown["persona"].astype(str)).T
    return rows.reset_index(drop=True), shown["persona_id"].tolist(), near


def card_likeness(near: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, float, Candidates]:
    """From cosines of answers and cards: that of each answer and its own card, the mean of those with other people's, and whose card is nearer."""
    found = Candidates.of(near, own)
    others = near[found.others].mean() if found.others.any() else np.nan
    return near[np.arange(len(near)), own], float(others), found


# --- copied from train? --------------------------------------------------------------------------------------------------------------------


def _spoken(text: str) -> tuple[str, ...]:
    """The words of a text, lower-cased, without punctuation."""
    return tuple(re.findall(r"[\w']+", text.lower()))


def runs_of(said: tuple[str, ...], n: int) -> set[tuple[str, ...]]:
    """All runs of n words of a text."""
    return {said[i : i + n] for i in range(len(said) - n + 1)}


def memorised(answers: pd.DataFrame, train: Iterable[str], *, sizes: Sequence[int] = GRAMS) -> pd.DataFrame:
    """What of each answer stands word for word in a train answer.

    Args: answers: prediction, and columns that are kept. train: the train answers.
    Returns: `answers` with `verbatim` (the whole answer is a train answer; case and punctuation ignored) and `run4`, `run8`, ... (some run of so many
        words occurs in train; NaN for shorter answers). Failed (blank) answers are NaN.
    """
    known = [_spoken(t) for t in train]
    whole, runs = set(known), {n: set().union(*(runs_of(t, n) for t in known)) for n in sizes}
    said = [_spoken(str(t)) for t in answers["prediction"]]
    found = {"verbatim": [float(t in whole) if t else np.nan for t in said]}
    found |= {f"run{n}": [float(not runs_of(t, n).isdisjoint(runs[n])) if len(t) >= n else np.nan for t in said] for n in sizes}
    return answers.assign(**found)
