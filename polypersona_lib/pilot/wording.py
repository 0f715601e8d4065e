"""Seven checks of an item's wording and scale, each a named heuristic that says why it objects, and how often the checks err on items labelled by hand.

They know English only and read single items: what stands before an item in the questionnaire is unknown to them. They are word lists and counts, tuned on one
half of `data/wording_labels.csv`; `wording_error_rates` measures them on the other half, and no flag is shown without these rates.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np
import pandas as pd

from .. import paths
from ..texts import WORD, sentiment, text_measures

LONG = 27  # words from which on an item is long
LOADED = 0.55  # |VADER compound| of a single word that is more than a description ("brutal", "wonderful")
RARE = 1e-7  # share of a word in pyspellchecker's corpus below which most people have not met it
LABELS = paths.DATA / "wording_labels.csv"

_FIXED = (
    "agree or disagree|terms and conditions|salt and pepper|bread and butter|research and development|men and women|women and men|supply and demand|"
    "pros and cons|trial and error"
)  # fmt: skip
_AND = re.compile(r"\band\b|\bas well as\b|(?:, |\w )but\b(?! also)|\bwhile (?=it|they|he|she|we|I\b)|^because\b|^since\b", re.I)
_OR = re.compile(r",? or (?=should|are|is|do|does|would|will|have|has|can)", re.I)  # two questions, not two objects of one
_ASIDE = re.compile(
    r"\((?:[^)]*)\)|\b(?:counting|leaving|taking) [^,]*,|\bthe same [\w ]+ and \w+|\bin order to [^,]*,|\bif [^,]*,|\bwhat [\w ]+ and what [\w ]+"
    r"|\bbetween\b[^,.?]*\band\b|\bboth\b[^,.?]*\band\b|\bmore (?:\w+ )?(?:and|or) (?:more|less)\b|\bless or more\b|\b\d+ (?:and|or) \w+", re.I,
)  # fmt: skip
_WHO = "everyone|everybody|most people|many people|experts?|doctors|scientists|studies|research|all of us"
_SAYS = "knows?|agrees?|believes?|recommends?|says?|thinks?|shows?|warn"
_LEADS = re.compile(
    r"^(?:don't|doesn't|isn't|aren't|wouldn't|shouldn't|won't|can't|haven't)\b|\b(?:don't|isn't|aren't|wouldn't|doesn't|shouldn't) (?:you|it|they|we)\?"
    r"|\b(?:surely|obviously|obvious|of course|clearly,|undoubtedly|finally|as we all know|needless to say|in view of the|given the)\b"
    rf"|\b(?:{_WHO})\b \w* ?(?:{_SAYS})"
    r"|\b(?:like|as) (?:most|any|every|a|all)\b (?:\w+ )?(?:sensible|responsible|reasonable|good|decent|people|person|citizen|parent)"
    r"|\bdo you agree that\b|\bwouldn't you say\b|\bwhy do you (?:prefer|like|love|choose|trust)\b|\bwhat do you (?:like|love|enjoy) (?:best|most)\b"
    r"|\bhow (?:much )?(?:has|have|did|does|do)\b .*\b(?:damaged?|harmed?|ruined?|spoilt|improved|enjoy our)\b|\bnew and improved\b|\bforced to\b"
    r"|\bto blame\b|\bbad habit\b|\b(?:your|our) (?:cheaper|better|friendly|famous|new and)\b|\bimprovements that we\b"
    r"|\bfar too (?:high|low|much|many|little)\b", re.I,
)  # fmt: skip
_CHARGED = frozenset(
    "wasteful greedy lazy careless irresponsible hard-working shocking alarming dramatic so-called outdated unfair unjust corrupt reckless ruthless dirty "
    "award-winning excellent wonderful fantastic".split()
)
_TOPICS = frozenset(  # strong words that name what is asked about
    "ban perfect perfectly war death die died killed murder violence crime abuse rape terrorism terrorist satisfied happy happiness love loved best worst "
    "trust safe free friend friends friendly success win wins winner hell help freedom suicide cancer racism fraud".split()
)
_NEGATORS = re.compile(r"\b(?:not|never|no|nobody|nothing|none|neither|nor|without|cannot|hardly|barely|rarely|seldom|no one|\w+n't)\b", re.I)
_DENIALS = re.compile(
    r"\b(?:oppos\w+|disagree\w*|refus\w+|fail(?:s|ed)?|deny|denied|abolish\w*|ban(?:ned)?|prohibit\w*|forbid\w*|wrong|untrue|false|unless|against|prevent\w*|"
    r"un(?:happy|important|usual|likely|safe|fair|able|necessary|common|pleasant|satisfied|aware)|dis(?:satisfied|honest|like\w*)|im(?:possible|polite))\b",
    re.I,
)
_TAGS = re.compile(
    r"^(?:don't|isn't|wouldn't|aren't|doesn't|shouldn't|won't|haven't) |,? (?:don't|isn't|wouldn't|aren't|doesn't) \w+\?$|\bor not\b|\bif not\b"
    r"|\bnot counting\b|\bagree or disagree\b", re.I,
)  # fmt: skip
_VAGUE = re.compile(
    r"\b(?:regularly|recently|lately|frequently|usually|generally|normally|occasionally|sometimes|typically|mostly|heavily|nowadays|soon)\b"
    r"|(?<!how )\boften\b|\b(?:a lot|lots|plenty|several|numerous|various)\b|(?<!how )\bmany\b|\b(?:a few|past few|last few|few (?:years|months|weeks|days))\b"
    r"|\ba (?:great|good) deal\b|\b(?:quite|fairly|roughly|pretty)\b|(?<!would )(?<!you )\brather\b|\bfrom time to time\b|\b(?:a|short|long) while\b"
    r"|\b(?:short|long) time\b|\blast while\b|\b(?:recent|a recent) (?:years?|months?|weeks?|times?)\b"
    r"|\bin the past\b(?! (?:\d|one|two|three|four|five|six|seven|ten|twelve|year|month|week|day))"
    r"|\b(?:near|close to) a\b|\b(?:most|some) days\b|\b(?:large|larger|big|small)\b(?= \w)|\bwhen you were (?:young|a child|small)\b", re.I,
)  # fmt: skip
_POSITIVE = re.compile(
    r"\b(?:satisfied|agree|support|good|great|excellent|outstanding|superb|better|best|likely|favou?r|easy|happy|safe|true|important|helpful|love|like|positive|"
    r"recommend|increased|high|much|more|strong|fine|okay|confident|comfortable|approve|fast|fairly \w+|improved|useful|interested|clean|pleasant)\b", re.I,
)  # fmt: skip
_NEGATIVE = re.compile(
    r"\b(?:not|dissatisfied|disagree|oppose|poor|bad|terrible|worse|worst|unlikely|against|difficult|hard|impossible|unhappy|unsafe|false|unimportant|hate|never|"
    r"unhelpful|dislike|negative|decreased|low|little|less|weak|uncomfortable|disapprove|slow|dirty|unpleasant|useless)\b", re.I,
)  # fmt: skip
_MIDDLE = re.compile(r"\b(?:neither|neutral|same|about right|undecided|unsure|mixed|don't know|average|depends)\b", re.I)
_UNIPOLAR = re.compile(r"^(?:not at all|never|none|no|nothing|\d.*|less than.*|fewer than.*)(?: .*)?$", re.I)
_NAMED = frozenset("US USA UK EU TV ID".split())


def double_barrelled(text: str, options: Sequence[str] = ()) -> str:
    """The word that joins two things which one answer must serve; "" without one, and for an open item, which can answer both."""
    if not options:
        return ""
    plain = _ASIDE.sub(" ", re.sub(_FIXED, " ", text, flags=re.I))
    joined = _AND.search(plain) or (_OR.search(plain) if {o.lower() for o in options} == {"yes", "no"} else None)
    return joined[0].strip(" ,").lower() if joined else ""


def leading(text: str, options: Sequence[str] = ()) -> str:
    """The words that suggest an answer: a leading phrase, or a word that judges; "" if there are none."""
    if lead := _LEADS.search(text):
        return lead[0]
    return next((w for w in WORD.findall(text) if w.lower() in _CHARGED or _judges(w)), "")


def _judges(word: str) -> bool:
    """Whether a word alone has a strong tone and is neither a name nor what many questions are about."""
    return word.islower() and word not in _TOPICS and abs(sentiment(word)) >= LOADED


def negation(text: str, options: Sequence[str] = ()) -> str:
    """The negations that must be turned round: any in a statement to agree with, two in a question; "" otherwise."""
    plain = _TAGS.sub(" ", text)
    words = [m[0] for m in _NEGATORS.finditer(plain)] + [m[0] for m in _DENIALS.finditer(plain)]
    enough = 1 if any("disagree" in o.lower() for o in options) and _NEGATORS.search(plain) else 2
    return ", ".join(words) if len(words) >= enough else ""


def vague(text: str, options: Sequence[str] = ()) -> str:
    """The first quantity or period that everybody reads in their own way; "" without one."""
    return m[0] if (m := _VAGUE.search(text)) else ""


def too_long(text: str, options: Sequence[str] = ()) -> str:
    """The number of words of an item that has `LONG` or more; "" for a shorter one."""
    words = len(WORD.findall(text))
    return f"{words} words" if words >= LONG else ""


def jargon(text: str, options: Sequence[str] = ()) -> str:
    """The first rare word or abbreviation; "" without one. Names (capital inside a sentence) do not count."""
    return next((w for i, w in enumerate(WORD.findall(text)) if _strange(w, i == 0)), "")


def unbalanced(text: str, options: Sequence[str] = ()) -> str:
    """How many options lie on each side, if the numbers differ; "" for balanced scales, for those that start at nothing, and for options without sides."""
    if len(options) < 3 or any(_UNIPOLAR.match(o.strip()) for o in (options[0], options[-1])) or sum(len(o.split()) for o in options) > 6 * len(options):
        return ""
    sides = [_side(o) for o in options]
    up, down = sides.count(1), sides.count(-1)
    return f"{up} on one side, {down} on the other" if up != down and up + down > len(options) / 2 else ""


def _side(option: str) -> int:
    """1 for an option that praises or agrees, -1 for one that does the reverse, 0 for the middle or neither."""
    if _MIDDLE.search(option):
        return 0
    return -1 if _NEGATIVE.search(option) else 1 if _POSITIVE.search(option) else 0


@cache
def _counts():
    from spellchecker import SpellChecker

    return SpellChecker(language="en", distance=1).word_frequency


def _american(word: str) -> str:
    """British endings as the American corpus writes them: the counts of "neighbour" and "metre" are low for no other reason."""
    american = re.sub(r"is(e[ds]?|ing|ation\w*)$", r"iz\1", word.replace("our", "or").replace("metre", "meter"))
    return max(word, american, key=lambda w: _counts()[w])


@lru_cache(maxsize=20_000)
def _strange(word: str, first: bool) -> bool:
    """Whether a word is rare, or an abbreviation of capitals; names are not."""
    if re.match(r"[A-Z]-|[A-Z]{2,}", word) or (word.isupper() and 1 < len(word) <= 6):
        return word not in _NAMED
    if len(word) < 5 or (word != word.lower() and not first):
        return False
    counts, parts = _counts(), [p for p in re.split(r"[-']", _american(word.lower())) if len(p) > 4]
    return any(counts[part] / counts.total_words < RARE for part in parts)


CHECKS: dict[str, Callable[[str, Sequence[str]], str]] = {
    "double_barrelled": double_barrelled, "leading": leading, "negation": negation, "vague": vague, "too_long": too_long, "jargon": jargon,
    "unbalanced": unbalanced,
}  # fmt: skip


def _in_english(texts: Sequence[str]) -> bool:
    """Whether most longer words are words of English: 1 % of those of English questionnaires are rare, 79 % or more of German, French, Spanish, Dutch ones."""
    words = {_american(w.lower()) for text in texts for w in WORD.findall(text) if len(w) > 3}
    return sum(_counts()[w] / _counts().total_words < RARE for w in words) <= len(words) / 3


def wording_flags(texts: Sequence[str], options: Sequence[Sequence[str]]) -> pd.DataFrame:
    """A row an item: what each of `CHECKS` objects to ("" for nothing), and `words`, `reading_ease` of `texts.text_measures` (Flesch, 100 plain, 0 hard).

    If the items together are not in English, only their length is checked, and `reading_ease` is NaN.

    Args: texts: the items' wordings. options: the options of each item, () for an open one.
    """
    english = _in_english(texts)
    checks = {name: check if english or name == "too_long" else lambda text, options: "" for name, check in CHECKS.items()}
    flags = pd.DataFrame({name: [check(t, o) for t, o in zip(texts, options, strict=True)] for name, check in checks.items()})
    measured = text_measures(list(texts))[["words", "reading_ease"]]
    return flags.join(measured if english else measured.assign(reading_ease=np.nan))


def labelled_items(half: str = "") -> pd.DataFrame:
    """The items labelled by hand: id, half ("tune" or "test"), text, options (a list), and 0 or 1 for each of `CHECKS`. `half`: this one alone."""
    table = pd.read_csv(LABELS, keep_default_na=False)
    table = table.assign(options=[o.split(" | ") if o else [] for o in table["options"]])
    return (table[table["half"] == half] if half else table).reset_index(drop=True)


def wording_error_rates(items: pd.DataFrame) -> pd.DataFrame:
    """How the checks did on labelled items: a row a check, index its name.

    Returns: labelled, flagged, hits (both), precision (hits / flagged), recall (hits / labelled), false_alarms (flagged without the label), and
        false_alarm_rate (of the items without the label); NaN where nothing is divided.
    """
    flags, rows = wording_flags(items["text"], items["options"]), {}
    for name in CHECKS:
        flagged, labelled = flags[name].ne("").to_numpy(), items[name].eq(1).to_numpy()
        hits, false = int((flagged & labelled).sum()), int((flagged & ~labelled).sum())
        rows[name] = {
            "labelled": int(labelled.sum()), "flagged": int(flagged.sum()), "hits": hits, "precision": hits / flagged.sum() if flagged.any() else float("nan"),
            "recall": hits / labelled.sum() if labelled.any() else float("nan"), "false_alarms": false,
            "false_alarm_rate": false / (~labelled).sum() if (~labelled).any() else float("nan"),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")
