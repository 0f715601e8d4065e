"""Which option an answer to a closed item takes: first a label rule, then a reader fitted on the authored stance patterns.

"No stance found" is an outcome (None), never a guess. `python -m polypersona_lib.scoring.stance` prints how well the reader does on patterns it has not seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .. import paths
from ..files import sha256
from ..texts import sentiment
from ..world.phrases import SLOT, load_phrases, parse_pattern
from ..world.questions import load_questions
from .encoder import load_encoder
from .option_labels import CONTRADICTORY, OFF_THE_LIST, SEVERAL, reading
from .option_replies import NO_OPINION, REFUSAL
from .option_words import first_sentences, plain

_DECIDED = {SEVERAL, CONTRADICTORY, REFUSAL}  # reasons of the label rule after which no sentence is looked for
_NOT_GUESSED = {NO_OPINION, OFF_THE_LIST}  # after these an authored sentence may be recognised, but nothing is guessed from words
NEAR, MARGIN, _SURE = 0.80, 0.02, 0.35  # similarity of a known sentence, its lead over another option's, probability that counts as read


def _opening(answer: str) -> str:
    """The first sentence, with the next one if it has fewer than four words."""
    first = first_sentences(answer)
    return first if len(first.split()) > 3 else first_sentences(answer, 2)


class StanceReader:
    """Reads the option of a closed answer that does not name it.

    Three steps: the label rule; the nearest authored sentence of the same question, if it is near enough and clearly nearer than any sentence of another
    option; a logistic regression over words, word pieces and sentence embeddings, trained on the sentences of all questions with as many options, if it is sure
    enough and knows a word of the opening. Otherwise None. Where the label rule found a refusal or several options no step follows, where it found no
    opinion or an answer off the list only the second.
    Args:
        encoder: sentence encoder (default: `encoder.load_encoder()`).
        near, margin, sure: the thresholds of the steps; `evaluate_reader` prints what they buy.
    """

    def __init__(self, *, encoder=None, near: float = NEAR, margin: float = MARGIN, sure: float = _SURE):
        self.encoder, self.near, self.margin, self.sure = encoder, near, margin, sure

    def fit(self, texts: Sequence[str], options: Sequence[int], question_ids: Sequence[str], n_options: Sequence[int]) -> StanceReader:
        """Learn from authored stance sentences.

        Args:
            texts: the sentences; options: the 0-based option each stands for, -1 for a sentence without a stance; question_ids: where it belongs;
            n_options: options of that question (0, open: the sentence teaches every size what no stance looks like).
        """
        self.encoder = self.encoder or load_encoder()
        texts, options, sizes = list(texts), np.asarray(options, dtype=int), np.asarray(n_options, dtype=int)
        vectors = self.encoder.embed_once([plain(t) for t in texts])
        taken = np.flatnonzero(options >= 0)
        asked = np.asarray(question_ids)[taken]
        self._known = {q: (vectors[taken[asked == q]], options[taken[asked == q]]) for q in set(asked.tolist())}
        self._models = {}
        for size in sorted(set(sizes[taken].tolist())):
            rows = np.flatnonzero((sizes == size) | (sizes == 0))
            if len(set(options[rows])) > 1:
                self._models[size] = _fit_words([plain(texts[i]) for i in rows], vectors[rows], options[rows])
        return self

    def read(self, answers: Sequence[str], options: Sequence[Sequence[str]], question_ids: Sequence[str]) -> list[int | None]:
        """The 0-based option of each answer, None where no stance was found; an unknown question id skips the nearest-sentence step."""
        readings = [reading(a, o) for a, o in zip(answers, options, strict=True)]
        read = [r.option for r in readings]
        todo = [i for i, r in enumerate(readings) if r.option is None and r.reason not in _DECIDED and plain(_opening(answers[i]))]
        spans = {i: list(dict.fromkeys(plain(first_sentences(answers[i], n)) for n in (1, 2, 3))) for i in todo}
        self.encoder.embed(list(dict.fromkeys(span for s in spans.values() for span in s)) + [plain(_opening(answers[i])) for i in todo])
        for i in todo:
            read[i] = self._nearest(spans[i], question_ids[i])
        unread = [i for i in todo if read[i] is None]
        for size in self._models:
            if rows := [
                i
                for i in unread
                if len(options[i]) == size and readings[i].reason not in _NOT_GUESSED and self._knows_a_word(size, plain(_opening(answers[i])))
            ]:
                openings = [plain(_opening(answers[i])) for i in rows]
                for i, probabilities in zip(rows, self._probabilities(size, openings), strict=True):
                    best = int(probabilities.argmax())
                    read[i] = best if best < size and probabilities[best] >= self.sure else None
        return read

    def _nearest(self, spans: list[str], question_id: str) -> int | None:
        """The option of the nearest known sentence of the question, if near enough and without a rival."""
        if question_id not in self._known:
            return None
        vectors, options = self._known[question_id]
        similarity = (vectors @ self.encoder.embed(spans).T).max(axis=1)
        best = int(similarity.argmax())
        rivals = similarity[options != options[best]]
        clear = similarity[best] >= self.near and (not len(rivals) or similarity[best] - rivals.max() >= self.margin)
        return int(options[best]) if clear else None

    def _knows_a_word(self, size: int, opening: str) -> bool:
        """Whether the features know a word of an opening: one of unknown words alone would be guessed by its letters."""
        known = dict(self._models[size][0].transformer_list)["words"].vocabulary_
        return any(word in known for word in re.findall(r"[\w']+", opening))

    def _probabilities(self, size: int, openings: list[str]) -> np.ndarray:
        """P(option) of each opening and, last, P(no stance), shape (n, size + 1)."""
        words, classifier = self._models[size]
        probabilities = np.zeros((len(openings), size + 1))
        probabilities[:, classifier.classes_] = classifier.predict_proba(_features(words, openings, self.encoder.embed(openings)))
        return probabilities


def _features(words, texts: list[str], vectors: np.ndarray):
    """Sparse features: weighted words and word pieces, embedding, sentiment."""
    from scipy import sparse

    mood = np.array([[sentiment(t)] for t in texts]).reshape(len(texts), 1)
    return sparse.hstack([words.transform(texts), sparse.csr_matrix(np.hstack([vectors, mood]) * 1.25)]).tocsr()


def _fit_words(texts: list[str], vectors: np.ndarray, options: np.ndarray):
    """(fitted word features, classifier) for questions with one number of options."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion

    parts = [
        ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"[\w']+")),
        ("pieces", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2)),
    ]
    words = FeatureUnion(parts, transformer_weights={"words": 2.0, "pieces": 1.0}).fit(texts)
    return words, LogisticRegression(C=10, max_iter=3000, tol=1e-3).fit(_features(words, texts, vectors), options)


def stance_sentences() -> tuple[list[str], list[int], list[str], list[int]]:
    """(texts, 0-based options, question ids, numbers of options) of the authored stance sentences.

    The details of all questions stand among them with option -1: sentences without a stance. Slots are filled with "it".
    The four lists are the arguments of `StanceReader.fit`.
    """
    questions, lines = load_questions(), []
    for file in sorted(paths.PHRASES.glob("*.yaml")):
        for question_id, entry in load_phrases(file).items():
            sections = [(f"stance.{level}", int(level) - 1, sentences) for level, sentences in entry.get("stance", {}).items()]
            for section, option, sentences in [*sections, ("details", -1, entry.get("details", []))]:
                for number, line in enumerate(sentences):
                    pattern = parse_pattern(f"{question_id}/{section}#{number}", line)
                    lines.append((SLOT.sub("it", pattern.text), option, question_id, len(questions[question_id].options)))
    texts, options, question_ids, sizes = (list(column) for column in zip(*lines, strict=True)) if lines else ([], [], [], [])
    return texts, options, question_ids, sizes


def fold(text: str) -> int:
    """The fold of a sentence: its sha256 modulo 5, the same on every machine."""
    return int(sha256(text)[:8], 16) % 5


def blur(text: str) -> str:
    """`text` without every sixth word: a known sentence as a generator may half remember it."""
    return " ".join(word for i, word in enumerate(text.split()) if i % 6 != 3)


def evaluate_reader(*, folds: int = 1, **thresholds) -> list[dict]:
    """Fit on four fifths of the authored stance sentences, read the rest and, for comparison, blurred copies of the known ones; print and return the scores.

    Args: folds: how many of the five held-out fifths to go through (1 to 5). thresholds: near, margin, sure of the reader.
    Returns:
        One dict a line printed: `{"set", "options", "n", "coverage", "accuracy" (of those read), "adjacent" (at most one option off), "chance"}`;
        for sentences without a stance, `coverage` is the share wrongly read and the others are NaN.
    """
    columns = stance_sentences()
    texts, options, question_ids, sizes = columns
    part, questions, results = [fold(t) for t in texts], load_questions(), []
    for held in range(folds):
        known = [i for i, p in enumerate(part) if p != held]
        reader = StanceReader(**thresholds).fit(*([column[i] for i in known] for column in columns))
        unseen = [i for i, p in enumerate(part) if p == held and sizes[i]]
        sets = (
            ("unseen sentences", [i for i in unseen if options[i] >= 0], str),
            ("no stance", [i for i in unseen if options[i] < 0], str),
            ("known, blurred", [i for i in known if options[i] >= 0][::4], blur),
        )
        for name, rows, change in sets:
            read = reader.read([change(texts[i]) for i in rows], [questions[question_ids[i]].options for i in rows], [question_ids[i] for i in rows])
            results += [(name, sizes[i], r, options[i]) for i, r in zip(rows, read, strict=True)]
    return [_scores(key, [row[2:] for row in results if row[:2] == key]) for key in sorted({row[:2] for row in results})]


def _scores(key: tuple[str, int], pairs: list[tuple[int | None, int]]) -> dict:
    """Coverage and accuracy of (read, true) options as one dict, also printed."""
    read = [(r, t) for r, t in pairs if r is not None]
    line = {"set": key[0], "options": key[1], "n": len(pairs), "coverage": len(read) / len(pairs), "accuracy": np.nan, "adjacent": np.nan, "chance": np.nan}
    text = f"{key[0]:17} {key[1]} options  n {len(pairs):4}  read {line['coverage']:.2f}"
    if key[0] != "no stance" and read:
        line["accuracy"], line["adjacent"] = (sum(abs(r - t) <= off for r, t in read) / len(read) for off in (0, 1))
        line["chance"] = 1 / key[1]
        text += f"  right {line['accuracy']:.2f} of those (at most one off: {line['adjacent']:.2f}; chance {line['chance']:.2f})"
    print(text)
    return line


if __name__ == "__main__":
    evaluate_reader(folds=5)
