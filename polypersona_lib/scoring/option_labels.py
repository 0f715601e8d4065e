"""The options of closed items, and the label rule: which option an answer names in words or numbers. "No stance found" is None, never a guess."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from ..world.questions import SCALES

DEFAULT_OPTIONS = {"likert": SCALES["agreement"], "agreement": SCALES["agreement"], "yesno": SCALES["yesno"]}  # foreign data name no options


def options_of(frame: pd.DataFrame) -> list:
    """Each row's options; foreign closed items without any are read on the usual scale of their type; None for open items."""
    given = frame["options"] if "options" in frame else [None] * len(frame)
    return [
        list(o) if o is not None and len(o) else list(DEFAULT_OPTIONS[t]) if t in DEFAULT_OPTIONS else None
        for o, t in zip(given, frame["question_type"], strict=True)
    ]


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
        match = pattern.search(text)
        if not match:
            continue
        top, value = next((int(g) for g in match.groups()[1:] if g), len(options)), int(match[1])
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
    given = "yes" if yes else "no"
    return index[given] if yes or no else None


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
    if label is None or number is None:
        return number if label is None else label
    return label if label == number else None
