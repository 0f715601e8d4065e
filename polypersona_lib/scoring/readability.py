"""Is an answer readable? Real words, words in a normal order, a reason on the question's topic, a reason for the option that it takes.

None of these looks at an answer's own reference. What is normal comes from the pool, everybody's answers; the answers of the row's own person to the same
question are left out. Nothing needs a language model or an encoder.

Limits. `real_words` knows English only, and counts a human's typing error as a non-word. The other measures work in any language that writes spaces between
words, if the pool is in that language. A text is not measured (NaN) if most of its words are neither English nor words of the pool. `on_topic` and
`reason_fits` compare words with the pool's reasons: a reason in quite other words passes both.
"""

import re
from collections import Counter

import numpy as np
import pandas as pd

from ..files import sha256
from ..texts import folded_words, is_foreign, sentences, stemmed_words, unknown_words, used_by_two
from ..world.questions import in_common_order
from .metrics import answered

MEASURES = ("readable", "real_words", "word_order", "on_topic", "reason_fits")
# Set on the references of the embedded test split against the train split, and on 212 typed answers of real people to one open question of a survey.
ORDERED = 0.65  # share of random orders that a readable text beats: no reference and under 2 % of the human sentences lie below, shuffled words .6 on average
OFF_TOPIC = 0.25  # the nearest reason of another question is nearer by this much: 1 % of the references
AGAINST = 0.25  # the nearest reason of the other side is nearer by this much: 1 % of the references

_ENOUGH_WORDS = 6  # words of a reason that can be judged
_ENOUGH_RUNNING = 3_000  # words in the pool, from which on it shows a normal order
_ENOUGH_REASONS, _ENOUGH_QUESTIONS = 3, 5  # reasons given to the same question and questions to compare with; one reason of each side is enough
_COMMON, _ORDERS, _PRIOR = 300, 100, 5.0  # words that count as themselves in the order of words, random orders, weight of the word's own frequency
_MOST_REASONS, _BLOCK = 5_000, 500  # reasons of the pool that are compared with (of more: those of lowest hash); rows compared at once
_ENDINGS = ("ing", "ed", "ly", "s", "er", "tion", "y", "al", "e")
_REASON = re.compile(r"^[^,;:]{1,60}?(?:[,;:]\s|\s[-–—]\s|\b(?=because\b|since\b|as\b))", re.I)


# --- the order of words ----------------------------------------------------------------------------------------------------------


class WordOrder:
    """How likely one word is to follow another, learnt from texts: common words count as themselves, others by their ending.

    A text's score is the share of `_ORDERS` random orders of its words (sentences keep their lengths) that are less likely; ties count half. Shuffled words
    score .5 on average, whatever the words.
    """

    def __init__(self, texts: list[str]):
        lines = [line for text in texts for line in _lines(text)]
        counts = Counter(word for line in lines for word in line)
        self._number = {word: i for i, (word, _) in enumerate(counts.most_common(_COMMON))}
        self._edge = _COMMON + len(_ENDINGS) + 1
        pairs = np.zeros((self._edge + 1, self._edge + 1))
        for line in lines:
            ids = [self._edge, *map(self._class, line), self._edge]
            np.add.at(pairs, (ids[:-1], ids[1:]), 1)
        share = (pairs.sum(axis=0) + 1) / (pairs.sum() + len(pairs))
        self._gain = np.log((pairs + _PRIOR * share) / (pairs.sum(axis=1, keepdims=True) + _PRIOR) / share)

    def _class(self, word: str) -> int:
        if word in self._number:
            return self._number[word]
        return _COMMON + next((i for i, end in enumerate(_ENDINGS) if word.endswith(end) and len(word) > len(end) + 2), len(_ENDINGS))

    def __call__(self, text: str) -> float:
        """The score in [0, 1]; NaN for a text of fewer than `_ENOUGH_WORDS` words."""
        lines = [[self._class(word) for word in line] for line in _lines(text)]
        words = [number for line in lines for number in line]
        if len(words) < _ENOUGH_WORDS:
            return np.nan
        row = np.array([self._edge] + [number for line in lines for number in (*line, self._edge)])
        orders = np.repeat(row[None], _ORDERS + 1, axis=0)
        inside = np.flatnonzero(row != self._edge)
        rng = np.random.default_rng(int(sha256(text)[:8], 16))
        orders[1:, inside] = rng.permuted(orders[1:, inside], axis=1)
        gains = self._gain[orders[:, :-1], orders[:, 1:]].sum(axis=1)
        return float(((gains[1:] < gains[0] - 1e-9).mean() + (gains[1:] < gains[0] + 1e-9).mean()) / 2)


def _lines(text: str) -> list[list[str]]:
    """The words of each sentence, in lower case."""
    return [words for words in (folded_words(s) for s in sentences(text)) if words]


# --- reasons -------------------------------------------------------------------------------------------------------------------


def _closed(options) -> bool:
    return isinstance(options, list | tuple | np.ndarray) and len(options) > 1


def reason(answer: str, *, closed: bool) -> str:
    """What stands after the option: all sentences but the first; of a single one, what follows a comma, a dash or "because". An open answer is all reason."""
    if not closed:
        return answer
    parts = sentences(answer)
    if len(parts) > 1:
        return " ".join(parts[1:])
    cut = _REASON.match(answer.strip())
    return answer.strip()[cut.end() :] if cut else ""


def _people(frame: pd.DataFrame) -> list[str]:
    """Whose answer each row is: persona_id, else the card, else the row's id."""
    named = frame["persona_id"] if "persona_id" in frame else frame["persona"] if "persona" in frame else pd.Series(np.nan, index=frame.index)
    spare = frame["id"] if "id" in frame else pd.Series(range(len(frame)), index=frame.index)
    return [str(person) if person == person and person is not None else f"row {row}" for person, row in zip(named, spare, strict=True)]


def _questions(frame: pd.DataFrame) -> list[str | None]:
    """What each row answers: question_id, else the wording."""
    known = [frame[c].tolist() for c in ("question_id", "question") if c in frame]
    return [next((v for v in values if isinstance(v, str)), None) for values in zip(*known, strict=True)] if known else [None] * len(frame)


def _sides(*frames: pd.DataFrame) -> list[np.ndarray]:
    """For each frame -1 or 1: the half of the scale that each row's option lies in; 0: the middle; NaN: open, or no option known. Options count by label."""
    lists = [o if _closed(o) else None for frame in frames for o in (frame["options"] if "options" in frame else [None] * len(frame))]
    chosen = [float(c) for frame in frames for c in (frame["chosen"] if "chosen" in frame else [np.nan] * len(frame))]
    sizes = np.array([len(o) if o is not None else np.nan for o in lists])
    places = in_common_order(lists, [c if c < n else np.nan for c, n in zip(chosen, sizes, strict=True)])
    sides = np.sign(2 * np.where(places >= 0, places, np.nan) - sizes + 1)
    return np.split(sides, np.cumsum([len(frame) for frame in frames])[:-1])


class _Reasons:
    """The pool's reasons as weighted words, sorted by question and side, so that the nearest one of each group is one reduction."""

    def __init__(self, pool: pd.DataFrame, sides: np.ndarray):
        from sklearn.feature_extraction.text import TfidfVectorizer

        texts = _texts_of_reasons(pool, "reference")
        table = pd.DataFrame({"question": _questions(pool), "side": sides, "person": _people(pool), "text": texts})
        table = table[table["question"].notna() & np.array([len(t.split()) >= _ENOUGH_WORDS for t in texts], dtype=bool)]
        if len(table) > _MOST_REASONS:
            table = table.loc[table["text"].map(sha256).sort_values(kind="stable").index[:_MOST_REASONS]]
        table = table.assign(side=table["side"].fillna(9)).sort_values(["question", "side"], kind="stable").reset_index(drop=True)
        self.table, self.vectors = table, None
        self.questions = list(dict.fromkeys(table["question"]))
        if len(table):
            self.words = TfidfVectorizer(analyzer=_stems, sublinear_tf=True)
            self.vectors = self.words.fit_transform(table["text"]).T.tocsr()
            self.starts = np.flatnonzero(~table.duplicated(["question", "side"]).to_numpy())
            self.group_question, self.group_side = table["question"].to_numpy()[self.starts], table["side"].to_numpy()[self.starts]
            self.sizes = np.diff(np.r_[self.starts, len(table)])

    def nearest(self, texts: list[str], own: np.ndarray) -> np.ndarray:
        """The similarity of each text with the nearest reason of each group, shape (texts, groups); `own`: pool rows left out, shape (texts, pool), bool."""
        near = (self.words.transform(texts) @ self.vectors).toarray()
        near[own] = -1
        return np.maximum.reduceat(near, self.starts, axis=1)


def _stems(text: str) -> list[str]:
    return [stem for _, stem in stemmed_words(text)]


def _texts_of_reasons(frame: pd.DataFrame, column: str) -> list[str]:
    options = frame["options"] if "options" in frame else [None] * len(frame)
    return [reason(str(t), closed=_closed(o)) for t, o in zip(frame[column], options, strict=True)]


def _judge_reasons(rows: pd.DataFrame, texts: list[str], sides: np.ndarray, reasons: _Reasons) -> tuple[np.ndarray, np.ndarray]:
    """(on_topic, reason_fits) of each row: 1.0, 0.0, or NaN where too little is known to judge."""
    topic, fits = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    asked = np.array(_questions(rows), dtype=object)
    able = np.array([len(t.split()) >= _ENOUGH_WORDS for t in texts]) & np.isin(asked.astype(str), reasons.questions)
    if not able.any():
        return topic, fits
    people, members, person = np.array(_people(rows), dtype=object), reasons.table["question"].to_numpy(), reasons.table["person"].to_numpy()
    for start in range(0, int(able.sum()), _BLOCK):
        block = np.flatnonzero(able)[start : start + _BLOCK]
        own = (members[None] == asked[block, None]) & (person[None] == people[block, None])
        near = reasons.nearest([texts[i] for i in block], own)
        mine = reasons.group_question[None] == asked[block, None]
        left = np.add.reduceat(~own, reasons.starts, axis=1) * mine
        if len(reasons.questions) >= _ENOUGH_QUESTIONS:
            gap = np.where(mine, near, -1).max(axis=1) - np.where(mine, -1, near).max(axis=1)
            topic[block] = np.where(left.sum(axis=1) >= _ENOUGH_REASONS, gap >= -OFF_TOPIC, np.nan)
        side = sides[block, None]
        same, other = mine & (reasons.group_side == side), mine & (reasons.group_side == -side)
        gap = np.where(same, near, -1).max(axis=1) - np.where(other, near, -1).max(axis=1)
        known = (np.abs(sides[block]) == 1) & (left * same).any(axis=1) & (left * other).any(axis=1)
        fits[block] = np.where(known, gap >= -AGAINST, np.nan)
    return topic, fits


# --- all together ----------------------------------------------------------------------------------------------------------------


def measure(preds: pd.DataFrame, *, pool: pd.DataFrame) -> pd.DataFrame:
    """The measures of every prediction.

    Args:
        preds: prediction; as far as they are there also status, id, persona (card), persona_id, question, question_id, options, chosen (0-based, -1: none).
        pool: everybody's answers: reference, and the same columns; `chosen` is the option that the reference takes.
    Returns: the columns `MEASURES` and `unknown_words` (text), index of `preds`. real_words, on_topic, reason_fits: 1 or 0; word_order in [0, 1]; readable:
        1 if none of the others objects (word_order from `ORDERED` on). NaN: failed, too short, another language, or too little in the pool; readable is NaN
        if all others are.
    """
    result = pd.DataFrame(np.nan, index=preds.index, columns=list(MEASURES))
    alive = answered(preds) & _is_text(preds["prediction"])
    rows, pool = preds[alive].reset_index(drop=True), pool[_is_text(pool["reference"])].reset_index(drop=True)
    if rows.empty:
        return result.assign(unknown_words="")
    vocabulary, (theirs, ours), texts = used_by_two(_people(pool), pool["reference"]), _sides(pool, rows), _texts_of_reasons(rows, "prediction")
    topic, fits = _judge_reasons(rows, texts, ours, _Reasons(pool, theirs))
    order = np.full(len(rows), np.nan)
    if sum(len(t.split()) for t in pool["reference"]) >= _ENOUGH_RUNNING:
        model = WordOrder(pool["reference"].tolist())
        scores = {text: model(text) for text in set(texts)}
        order = np.array([scores[text] for text in texts])
    unknown = [unknown_words(row, vocabulary) for row in rows.to_dict("records")]
    words = [np.nan if u is None else float(not u) for u in unknown]
    foreign = np.array([is_foreign(t, vocabulary) for t in rows["prediction"]])
    parts = np.where(foreign[:, None], np.nan, np.column_stack([words, order, topic, fits]))
    bad = (parts[:, [0, 2, 3]] == 0).any(axis=1) | (parts[:, 1] < ORDERED)
    readable = np.where(np.isnan(parts).all(axis=1), np.nan, ~bad)
    result.loc[alive] = np.column_stack([readable, parts])
    spelt = pd.Series(["" if u is None else " ".join(sorted(u)) for u in unknown], index=preds.index[alive], dtype=object)
    return result.assign(unknown_words=spelt.reindex(preds.index, fill_value=""))


def _is_text(texts: pd.Series) -> np.ndarray:
    return np.array([isinstance(t, str) and bool(t.strip()) for t in texts], dtype=bool)
