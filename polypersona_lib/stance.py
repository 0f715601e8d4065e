"""Which option an answer to a closed item takes: first a label rule, then a reader fitted on the authored stance patterns.

"No stance found" is an outcome (None), never a guess. `python -m polypersona_lib.stance` prints how well the reader does on patterns it has not seen.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# --- the label rule ----------------------------------------------------------------------------------------------------------

_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "."})
_OPENER = (
    r"^(?:(?:answer|response|my (?:answer|response|rating)(?: (?:is|would be))?|rating|likert(?: scale)?|option"
    r"|well|honestly|overall|hmm|oh|so|um|frankly|personally)\b[\s,:.-]*)*"
)
_SAY = (
    r"(?:i'd|i would|i'll|i will|i have to|i must|i can|let me)?\s*"
    r"(?:say|choose|select|pick|answer|go with|go for|rate (?:it|this|that|them|mine|my \w+|myself)?(?: as)?|mark|put)?"
)
_SUBJECT = r"(?:(?:that )?(?:i|i'm|i am|it's|it is|it was|that's|they are|they're|my view is|this is|i feel|i do|we))?"
_ADVERB = (
    r"(?:(?:quite|rather|really|pretty|fairly|somewhat|mostly|generally|usually|definitely|certainly|probably|basically|just|only|actually|honestly|overall"
    r"|do|would|am|a|an|as|that|the|would be|to be|tend to|have to|almost|nearly|practically|virtually)\s+)*"
)
_OTHERS = re.compile(
    r"\b(people|friends?|others?|some|many|most|everyone|everybody|they|we|he|she|who|anyone|colleagues?|neighbou?rs?|family|whether|if|should|could)\b"
)
_NEGATION = re.compile(r"\b(?:not|never|cannot|can't|hardly|no longer|n't|\w+n't)\b(?:\W+\w+){0,3}\W*$")
_NEGATED = {
    "agree": "disagree", "satisfied": "dissatisfied", "very satisfied": "dissatisfied", "likely": "unlikely", "very likely": "unlikely",
    "good": "poor", "very good": "poor", "often": "rarely", "very much": "slightly",
}  # fmt: skip
_STRONG = {"agree": "strongly agree", "disagree": "strongly disagree", "satisfied": "very satisfied", "dissatisfied": "very dissatisfied",
           "likely": "very likely", "unlikely": "very unlikely"}  # fmt: skip
_INTENSE = re.compile(r"\b(completely|totally|fully|wholeheartedly|absolutely|entirely|extremely|highly|100 ?%|wholly|utterly|very strongly)\s+$")
_WEAKENED = re.compile(r"\b(almost|nearly|practically|virtually|not)\s+$")
_NEAR = {"always": "often", "never": "rarely"}
_ADJECTIVES = {"good", "very good", "fair", "poor", "very poor"}
_LINKS = "overall|in|at|for|on|but|though|although|when|with|because|as|since|so|and|on the whole|considering|given"
_YES = re.compile(
    r"(?:no doubt(?: about it)?,? yes|without a doubt|yes|yeah|yep|yup|yea|absolutely|definitely|of course|certainly|sure(?:ly)?"
    r"|indeed|i do|i have|i am|i did|i would|i could|i can)"  # noqa: E501
    r"(?!\s+(?:and no|or no|not)\b)(?=\s*(?:[,.;:!)\"-]|$))"
    r"|yes (?:i|we|it|they|that|indeed|absolutely|definitely|of course|very)\b"
)
_NO = re.compile(
    r"(?:no|nope|nah|not really|absolutely not|definitely not|of course not|certainly not|not at all"
    r"|i do not|i don't|i haven't|i have not|i'm not|i am not|i didn't"  # noqa: E501
    r"|i wouldn't|i couldn't|i can't|i cannot|sadly not|unfortunately not|afraid not|never)(?=\s*(?:[,.;:!)\"-]|$))"
    r"|no (?:i|we|it|they|that|not)\b"
)
_BOTH = re.compile(r"\b(yes and no|yes or no|yes/no|both yes and no|agree/disagree|agree or disagree)\b")
_NEUTRAL = re.compile(
    r"^(?:i'm |i am |i feel |i remain |i'd say i'm |i would say i'm |i'd say )?"
    r"(?:fairly |quite |pretty |mostly |rather |somewhat |completely )?(?:neutral|undecided|on the fence|torn|in the middle)\b"
)
_SCALE_TALK = re.compile(
    r"\b(?:on |from )?(?:a |the )?scale (?:of|from) \d\W+(?:to|-)\W*\d\b|\b\d\s*(?:being|meaning|means|is|=|for)\s+(?:the )?\W*[a-z]+(?: [a-z]+)?\"?"
    r"|\b\d (?:to|-) \d\b|\bwhere \d\b"
)
_NUMBER = (
    re.compile(r"^\W*(?:option\s*)?(\d)\s*(?:[).:\]-]|,|$|/\s*(\d+)|out of (\d+))"),
    re.compile(r"\b(\d)\s*(?:/|out of)\s*(\d+)\b"),
    re.compile(
        r"\b(?:rate|give|put|score|place|mark|call|say|rating|choose|pick|select|go with|go for)\b"
        r"[\w\s']{0,40}?\b(?:a |an |at |as |of |is |is a |it's a )?(\d)\b"  # noqa: E501
        r"(?![\d%.]\d|\s*(?:years?|times|days|hours|people|of us|percent|%))"
    ),
)


def plain(text: str) -> str:
    """Lower case, straight quotes and dashes, no markdown, one space."""
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES).lower()
    return re.sub(r"\s+", " ", re.sub(r"[*_`#>~\[\]]+", " ", text)).strip(" \"'-")


def first_sentences(text: str, count: int = 1) -> str:
    """The first `count` sentences of `text` (cut after . ! ? or ; and white space, or at a line break)."""
    parts = [p for p in re.split(r"(?<=[.!?])[\"')]*\s+|\n+", text.strip()) if p.strip()]
    return " ".join(parts[:count])


@lru_cache(maxsize=256)
def _labels(options: tuple[str, ...]) -> tuple[re.Pattern, dict[str, int]]:
    """One pattern that finds any label, the longest first, and label -> index."""
    index = {plain(option): i for i, option in enumerate(options)}
    ordered = sorted(index, key=lambda label: (-len(label), label))
    return re.compile(r"(?<![\w'])(" + "|".join(r"[\s-]+".join(map(re.escape, label.split())) for label in ordered) + r")(?![\w'])"), index


def _number(text: str, options: tuple[str, ...]) -> int | None:
    """A rating such as "4", "4 out of 5" or "I would rate it a 4", as a 0-based option."""
    text = re.sub(_OPENER, "", _SCALE_TALK.sub(" ", text))
    for pattern in _NUMBER:
        found = pattern.search(text)
        if not found:
            continue
        top = next((int(g) for g in found.groups()[1:] if g), len(options))
        value = int(found[1])
        return value - 1 if top == len(options) and 1 <= value <= top else None
    return None


def _adjusted(label: str, before: str, index: dict[str, int]) -> int | None:
    """The option a label stands for, given the words before it: negated, weakened, intensified, or somebody else's (None)."""
    clause = re.split(r"[,;:-]", before)[-1]
    if re.search(r"\b(not sure|unsure|don't know|can't say)\b", clause) or (
        _OTHERS.search(" ".join(clause.split()[-4:])) and not re.search(r"\bi\b(?!.*\b(?:think|know|believe)\b)", " ".join(clause.split()[-2:]))
    ):
        return None
    if (weak := _WEAKENED.search(clause)) and label in _NEAR:
        return None if weak[1] == "not" else index.get(_NEAR[label])
    if _NEGATION.search(clause):
        return index.get(_NEGATED.get(label, ""))
    if _INTENSE.search(clause) and _STRONG.get(label) in index:
        return index[_STRONG[label]]
    return index[label]


def _label(sentence: str, options: tuple[str, ...]) -> int | None:
    """The one option whose label the sentence states, or None."""
    pattern, index = _labels(options)
    hits = [(m.start(), m.end(), " ".join(re.split(r"[\s-]+", m[1]))) for m in pattern.finditer(sentence)]
    if not hits:
        return None
    start, end, label = hits[0]
    after = sentence[end:].lstrip("\"') ")
    frame = re.match(_OPENER + r"\W*" + _SAY + r"\W*" + _SUBJECT + r"\s*" + _ADVERB + r"$", re.sub(r"[\"'(]+$", "", sentence[:start]).rstrip() + " ")
    distinct = {h[2] for h in hits}
    if re.match(r"(?:/|\|)|(?:or|and)\s+(?:" + pattern.pattern + ")", after) or len(distinct) > max(2, len(options) - 3):
        return None
    if start == 0 and (not after or after[0] in ",.;:!-"):
        return index[label]
    strong = bool(re.search(r"agree|satisf|likely", label))
    if label in _ADJECTIVES and after and not re.match(r"[,.;:!?-]|(?:" + _LINKS + r")\b", after):
        return None  # "a good idea", "fair enough": a word like any other
    if not strong and not (
        frame or re.search(r"(?:say|answer is|rate .{0,40}|call .{0,20}|is|was|are|were|am|i)\W+(?:\w+ly |quite |pretty |very )?\W*$", sentence[:start])
    ):
        return None
    read = {_adjusted(h[2], sentence[: h[0]], index) for h in hits}
    return read.pop() if len(read) == 1 else (index[label] if frame and start == 0 else None)


def _yes_no(sentence: str, options: tuple[str, ...]) -> int | None:
    """Yes or no at the start of an answer."""
    index = {plain(option): i for i, option in enumerate(options)}
    body = re.sub(_OPENER + r"\W*(?:(?:i'd|i would|i'll|i) (?:say|answer|go with|have to say)(?: that)?\b|(?:the|my) answer is\b)?\W*", "", sentence)
    no, yes = _NO.match(body), _YES.match(body)
    if yes and no:
        return None
    return index["yes"] if yes else index["no"] if no else None


def read_option(answer: str, options: Sequence[str]) -> int | None:
    """The 0-based option that `answer` states by label or number in its first sentence; None if none or contradictory.

    The longest label wins ("strongly disagree" over "disagree" over "agree"); "I don't agree" is read as Disagree, "I completely agree" as
    Strongly agree; "Yes and no", an echo of the option list and what other people think are no stance.
    """
    options = tuple(options)
    text = plain(first_sentences(answer)) if answer and answer.strip() else ""
    if not text or len(options) < 2:
        return None
    if _BOTH.search(text) or re.match(r"\W*'t\b", answer):  # "'t agree": the start of the answer is lost
        return None
    if {plain(o) for o in options} == {"yes", "no"}:
        return _yes_no(plain(answer), options)
    pattern, index = _labels(options)
    if "strongly agree" in index and (idiom := re.search(r"\bcould(?: not|n't) (dis)?agree more\b", text)):
        return index["strongly disagree" if idiom[1] else "strongly agree"]
    label, number = _label(_SCALE_TALK.sub(" ", text), options), _number(text, options)
    if label is None and number is None and len(options) % 2 and any(o.startswith("neither") or o == "undecided" for o in index) and _NEUTRAL.search(text):
        return len(options) // 2
    if re.fullmatch(r"\W*\d\W*", text) and label is None and len(text) < 4:  # "4." on its own: the label may follow
        label = _label(plain(answer)[len(text) :].lstrip(" .):-"), options)
    return None if label is not None and number is not None and label != number else label if label is not None else number


# --- the fitted reader -------------------------------------------------------------------------------------------------------

NEAR, MARGIN, SURE = 0.80, 0.02, 0.35  # similarity of a known sentence, its lead over another option's, probability that counts as read


def _opening(answer: str) -> str:
    """The first sentence, with the next one if it has fewer than four words."""
    first = first_sentences(answer)
    return first if len(first.split()) > 3 else first_sentences(answer, 2)


def _is_empty_talk(opening: str, options: tuple[str, ...]) -> bool:
    """True for a blank opening, "yes and no", and an echo of the option list."""
    return not opening or bool(_BOTH.search(opening)) or len(set(_labels(options)[0].findall(opening))) > 2


class StanceReader:
    """Reads the option of a closed answer that does not name it.

    Three steps: the label rule; the nearest authored sentence of the same question, if it is near enough and clearly nearer than any sentence
    of another option; a logistic regression over words, word pieces and sentence embeddings, trained on the sentences of all questions with as
    many options, if it is sure enough. Otherwise None.

    Args:
        encoder: sentence encoder (default: `metrics.load_encoder()`).
        near, margin, sure: the thresholds of the steps; `evaluate_reader` prints what they buy.
    """

    def __init__(self, *, encoder=None, near: float = NEAR, margin: float = MARGIN, sure: float = SURE):
        self.encoder, self.near, self.margin, self.sure = encoder, near, margin, sure

    def fit(self, texts: Sequence[str], options: Sequence[int], question_ids: Sequence[str], n_options: Sequence[int]) -> StanceReader:
        """Learn from authored stance sentences.

        Args:
            texts: the sentences; options: the 0-based option each stands for, -1 for a sentence without a stance; question_ids: where it belongs;
            n_options: options of that question (0, open: the sentence teaches every size what no stance looks like).
        """
        if self.encoder is None:
            from .metrics import load_encoder

            self.encoder = load_encoder()
        texts, options, sizes = list(texts), np.asarray(options, dtype=int), np.asarray(n_options, dtype=int)
        vectors = self.encoder.embed([plain(t) for t in texts])
        taken = np.flatnonzero(options >= 0)
        self._known = {q: (vectors[rows], options[rows]) for q, rows in _rows_by([question_ids[i] for i in taken], taken).items()}
        self._models = {}
        for size in sorted(set(sizes[taken].tolist())):
            rows = np.flatnonzero((sizes == size) | (sizes == 0))
            if len(set(options[rows])) > 1:
                self._models[size] = _fit_words([plain(texts[i]) for i in rows], vectors[rows], options[rows])
        return self

    def read(self, answers: Sequence[str], options: Sequence[Sequence[str]], question_ids: Sequence[str]) -> list[int | None]:
        """The 0-based option of each answer, None where no stance was found.

        Args: answers, and for each its option labels and its question (an unknown question skips the nearest-sentence step).
        """
        found = [read_option(a, o) for a, o in zip(answers, options, strict=True)]
        todo = [i for i, option in enumerate(found) if option is None and answers[i] and not _is_empty_talk(plain(_opening(answers[i])), tuple(options[i]))]
        spans = {i: list(dict.fromkeys(plain(first_sentences(answers[i], n)) for n in (1, 2, 3))) for i in todo}
        self.encoder.embed(list(dict.fromkeys(span for s in spans.values() for span in s)) + [plain(_opening(answers[i])) for i in todo])
        for i in todo:
            found[i] = self._nearest(spans[i], question_ids[i])
        for size, rows in _rows_by([len(options[i]) for i in todo if found[i] is None], [i for i in todo if found[i] is None]).items():
            if size in self._models:
                openings = [plain(_opening(answers[i])) for i in rows]
                for i, probabilities in zip(rows, self._probabilities(size, openings), strict=True):
                    best = int(probabilities.argmax())
                    found[i] = best if best < size and probabilities[best] >= self.sure else None
        return found

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

    def _probabilities(self, size: int, openings: list[str]) -> np.ndarray:
        """P(option) of each opening and, last, P(no stance), shape (n, size + 1)."""
        words, classifier = self._models[size]
        found = np.zeros((len(openings), size + 1))
        found[:, classifier.classes_] = classifier.predict_proba(_features(words, openings, self.encoder.embed(openings)))
        return found


def _rows_by(keys: Sequence, rows: Sequence[int] | None = None) -> dict:
    """key -> the rows (default: positions) that have it, in order."""
    found: dict = {}
    for row, key in zip(range(len(keys)) if rows is None else rows, keys, strict=True):
        found.setdefault(key, []).append(row)
    return found


def _features(words, texts: list[str], vectors: np.ndarray):
    """Sparse features: weighted words and word pieces, embedding, sentiment."""
    from scipy import sparse

    from .metrics import sentiment

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


# --- its training material and its test --------------------------------------------------------------------------------------


def stance_sentences(*, held_out: frozenset[str] = frozenset()) -> tuple[list[str], list[int], list[str], list[int]]:
    """(texts, 0-based options, question ids, numbers of options) of the authored stance sentences whose pattern id is not in `held_out`.

    The details of all questions stand among them with option -1: sentences without a stance. Slots are filled with "it".
    The four lists are the arguments of `StanceReader.fit`.
    """
    from . import paths
    from .phrase_bank import SLOT, load_phrases, parse_pattern
    from .question_bank import load_questions

    questions, lines = load_questions(), []
    for file in sorted(paths.PHRASES.glob("*.yaml")):
        for question_id, entry in load_phrases(file).items():
            sections = [(f"stance.{level}", int(level) - 1, found) for level, found in entry.get("stance", {}).items()] + [
                ("details", -1, entry.get("details", []))
            ]
            for section, option, sentences in sections:
                for number, line in enumerate(sentences):
                    pattern = parse_pattern(f"{question_id}/{section}#{number}", line)
                    if pattern.id not in held_out:
                        lines.append((SLOT.sub("it", pattern.text), option, question_id, len(questions[question_id].options)))
    texts, options, question_ids, sizes = (list(column) for column in zip(*lines, strict=True)) if lines else ([], [], [], [])
    return texts, options, question_ids, sizes


def fold(text: str, folds: int = 5) -> int:
    """The fold of a sentence: its sha256 modulo `folds`, the same on every machine."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % folds


def blur(text: str) -> str:
    """`text` without every sixth word: a known sentence as a generator may half remember it."""
    return " ".join(word for i, word in enumerate(text.split()) if i % 6 != 3)


def evaluate_reader(*, folds: int = 1, encoder=None, echo=print, **thresholds) -> list[dict]:
    """Fit on four fifths of the authored stance sentences, read the rest and, for comparison, blurred copies of the known ones; print and return the scores.

    Args:
        folds: how many of the five held-out fifths to go through (1 to 5). thresholds: near, margin, sure of the reader.

    Returns:
        One dict a line printed: `{"set", "options", "n", "coverage", "accuracy" (of those read), "adjacent" (at most one option off), "chance"}`;
        for sentences without a stance, `coverage` is the share wrongly read and the others are NaN.
    """
    from .question_bank import load_questions

    columns = stance_sentences()
    texts, options, question_ids, sizes = columns
    part, questions, results = [fold(t) for t in texts], load_questions(), []
    for held in range(folds):
        known = [i for i, p in enumerate(part) if p != held]
        reader = StanceReader(encoder=encoder, **thresholds).fit(*([column[i] for i in known] for column in columns))
        unseen = [i for i, p in enumerate(part) if p == held and sizes[i]]
        sets = (
            ("unseen sentences", [i for i in unseen if options[i] >= 0], str),
            ("no stance", [i for i in unseen if options[i] < 0], str),
            ("known, blurred", [i for i in known if options[i] >= 0][::4], blur),
        )
        for name, rows, change in sets:
            read = reader.read([change(texts[i]) for i in rows], [questions[question_ids[i]].options for i in rows], [question_ids[i] for i in rows])
            results += [(name, sizes[i], r, options[i]) for i, r in zip(rows, read, strict=True)]
    return [_scores(key, [row[2:] for row in results if row[:2] == key], echo) for key in sorted({row[:2] for row in results})]


def _scores(key: tuple[str, int], pairs: list[tuple[int | None, int]], echo) -> dict:
    """Coverage and accuracy of (read, true) options as one dict, also printed."""
    read = [(r, t) for r, t in pairs if r is not None]
    line = {"set": key[0], "options": key[1], "n": len(pairs), "coverage": len(read) / len(pairs), "accuracy": np.nan, "adjacent": np.nan, "chance": np.nan}
    text = f"{key[0]:17} {key[1]} options  n {len(pairs):4}  read {line['coverage']:.2f}"
    if key[0] != "no stance" and read:
        line["accuracy"], line["adjacent"] = (sum(abs(r - t) <= off for r, t in read) / len(read) for off in (0, 1))
        line["chance"] = 1 / key[1]
        text += f"  right {line['accuracy']:.2f} of those (at most one off: {line['adjacent']:.2f}; chance {line['chance']:.2f})"
    echo(text)
    return line


if __name__ == "__main__":
    evaluate_reader(folds=5)
