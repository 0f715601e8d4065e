"""The swap control beside the loop that its definition suggests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from .measuring import Check, Comparison, Contender, forget, largest_difference
from .text_rows import published_answers

COLUMNS = tuple(f"swap_{kind}_rouge1{mask}" for mask in ("", "_masked", "_content") for kind in ("gap", "auc"))
_TIE = 1e-6  # scores closer than this are equal, in both


def swap_control(*, small: bool, folder: Path) -> Comparison:
    """Every answer of one system with its own reference and those of all strangers who answered the same question, whole and under two masks."""
    from polypersona_lib import texts
    from polypersona_lib.scoring import swap

    every = published_answers(small=False)
    preds = every[every["system"] == every["system"].iloc[-1]].drop_duplicates(["persona_id", "question_id"]).reset_index(drop=True)
    preds = preds[preds["question_id"].isin(preds["question_id"].unique()[:6])].reset_index(drop=True) if small else preds
    phrases = swap.phrases_of(preds["question_id"])

    def ours() -> np.ndarray:
        return swap.swap_scores(preds, phrases=phrases, semantic=False)[list(COLUMNS)].to_numpy(dtype=float)

    def gate(scores: dict) -> list[Check]:
        ours, loop = scores.values()
        checks = [Check(f"{name} of a row", largest_difference(ours[:, k], loop[:, k]), 1e-9) for k, name in enumerate(COLUMNS)]
        return [*checks, Check("rows without a stranger", float(np.isnan(ours).any(axis=1).mean()), 0.5)]

    contenders = [
        Contender(name="ours", work=ours, before=lambda: forget(texts)),
        Contender(name="obvious loop", work=lambda: _loop(preds, phrases), before=lambda: forget(texts), goal=20, note="rouge_score on every pair"),
    ]
    pairs = int(preds.groupby("question_id")["id"].transform("size").sub(1).sum())
    title = f"swap control, {len(preds)} answers x all {pairs:,} strangers' references, whole and under two masks, ROUGE-1"
    return Comparison(title=title, contenders=contenders, gate=gate)


def _loop(preds: pd.DataFrame, phrases: tuple[str, ...]) -> np.ndarray:
    """The definition, pair by pair: gap and share of wins under each mask, shape (rows, 6); NaN without a stranger."""
    from rouge_score.rouge_scorer import RougeScorer

    from polypersona_lib.texts import stemmed_words

    stems = SimpleNamespace(tokenize=lambda text: [stem for _, stem in stemmed_words(text)])
    scorer, rows = RougeScorer(["rouge1"], tokenizer=stems), preds.to_dict("records")
    turns = sorted(([word for word, _ in stemmed_words(phrase)] for phrase in phrases), key=len, reverse=True)
    scores = np.full((len(rows), len(COLUMNS)), np.nan)
    for number, row in enumerate(rows):
        strangers = [other for other in rows if other["question_id"] == row["question_id"] and other["persona_id"] != row["persona_id"]]
        for place, (cards, plain) in enumerate(((False, False), (True, False), (True, True))):
            gaps, wins = [], []
            for other in strangers:
                hidden = {stem for card in (row["persona"], other["persona"]) for _, stem in stemmed_words(card)} if cards else set()
                said, own, theirs = (_left(text, hidden, turns if plain else []) for text in (row["prediction"], row["reference"], other["reference"]))
                mine, their = (scorer.score(reference, said)["rouge1"].fmeasure for reference in (own, theirs))
                gaps.append(mine - their)
                wins.append((their < mine - _TIE) / 2 + (their <= mine + _TIE) / 2)
            if strangers:
                scores[number, 2 * place : 2 * place + 2] = np.mean(gaps), np.mean(wins)
    return scores


def _left(text: str, hidden: set[str], turns: list[list[str]]) -> str:
    """The words of `text` without turns of phrase (longest first) and without words whose stem is hidden."""
    from polypersona_lib.texts import stemmed_words

    said, kept, place = list(stemmed_words(text)), [], 0
    while place < len(said):
        size = next((len(turn) for turn in turns if [word for word, _ in said[place : place + len(turn)]] == turn), 0)
        kept += [] if size else [said[place]]
        place += size or 1
    return " ".join(word for word, stem in kept if stem not in hidden)
