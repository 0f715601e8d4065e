"""What stands in the cards themselves, before anybody answers: tone by sentence and at equal length, hardship against human rates, words, facts kept.

English only. Tone: VADER by sentence (its score of a whole document saturates with length) and TextBlob's polarity and subjectivity, the tool of the paper.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from ...people.human_items import survey_texts
from ...people.human_surveys import WEIGHT, load_survey
from ...people.places import STATES
from ...texts import WORD, sentences, sentiment

EQUAL_WORDS = 20


@lru_cache(maxsize=20_000)
def _blob(text: str) -> tuple[float, float]:
    """(polarity -1 to 1, subjectivity 0 to 1) of TextBlob's word list. Needs no corpus."""
    from textblob import TextBlob

    return tuple(TextBlob(text).sentiment)


def first_words(text: str, count: int) -> str:
    """The text up to its `count`-th word."""
    ends = [match.end() for match in WORD.finditer(text)]
    return text if len(ends) <= count else text[: ends[count - 1]]


def tone(texts: Sequence[str]) -> pd.DataFrame:
    """Tone of each text, a row a text in the order given.

    Returns: words; vader_sentence (mean over sentences, -1 to 1), vader_document (saturates, for comparison), polarity and subjectivity (TextBlob, mean over
        sentences), polarity_text and subjectivity_text (TextBlob over the text, as the paper's), polarity_equal, subjectivity_equal and vader_equal (of the
        first `EQUAL_WORDS` words), short (whether the text has fewer words than that).
    """
    rows = []
    for text in texts:
        parts, begin = sentences(text) or [""], first_words(text, EQUAL_WORDS)
        blobs, count = np.array([_blob(part) for part in parts]), len(WORD.findall(text))
        means = {"vader_sentence": np.mean([sentiment(part) for part in parts]), "vader_document": sentiment(text)}
        means |= dict(zip(("polarity", "subjectivity"), blobs.mean(axis=0), strict=True))
        means |= dict(zip(("polarity_text", "subjectivity_text"), _blob(text), strict=True))
        means |= dict(zip(("polarity_equal", "subjectivity_equal"), _blob(begin), strict=True)) | {"vader_equal": sentiment(begin)}
        rows.append({"words": count, **{name: float(value) for name, value in means.items()}, "short": count < EQUAL_WORDS})
    return pd.DataFrame(rows)


# --- hardship -----------------------------------------------------------------------------------------------------------------------

_BILLS = r"(?:pay(?:s|ing)?|afford) (?:for )?(?:the |his |her |their |our |my )?(?:medical )?(?:rent|bills?|mortgage|food|groceries|health ?care)"
_UNABLE = r"can ?not|can't|couldn't|could not|(?:not|\w+n't|never) (?:(?:been |be )?able|(?:\w+ ){0,3}enough)|unable|struggl\w+|barely|hardly|scarcely|hard to"
_SHORT = rf"(?:{_UNABLE}|troubles?|difficult\w*|worr\w+|fear\w*|jobs|help|needs?|borrow\w*|skip\w*)"  # before a bill: money is short
_MONEY = (
    r"debts?", rf"{_SHORT}(?: (?!but\b|who\b|can\b|and (?!pay |afford ))\w+){{0,5}} (?:{_BILLS}|mak(?:es?|ing) ends meet)", r"poor", r"poverty",
    r"(?<!able )(?<!enough )to make ends meet", r"financial(?:ly)? (?:struggl\w+|stress|hardships?|difficult\w+|worr\w+)",
    r"struggl\w+ (?:financially|with money)",
)  # fmt: skip
_ILLNESS = (r"(?:chronic|serious) (?:illness|pain|disease|condition)", r"ill", r"illness", r"sick", r"diabetes", r"cancer", r"arthritis", r"asthma")
HARDSHIPS = {  # event of the 538/Ipsos poll -> words that say so
    "Q10_1": r"disab(?:led|ility|ilities)|can(?:'t|not| not) \w+ without (?:a|his|her|their) wheelchair|wheelchair", "Q10_2": "|".join(_ILLNESS),
    "Q10_3": r"unemploy(?:ed|ment)|jobless|out of work|without (?:a job|work)", "Q10_4": r"evict(?:ed|ion)|homeless(?:ness)?",
    "Q11_1": r"lost (?:his|her|their|my|a|the) jobs?|laid off|job loss|(?:was|got|been) fired", "Q11_5": "|".join(_MONEY),
}  # fmt: skip
_NOT = re.compile(r"(?:\b(?:not?|never|without|nor|free of|free from|any)\b|n't\b)(?:\W+\w+){0,2}\W*$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?;]")
_SAYS_ITSELF = re.compile(r"without (?:a job|work)", re.IGNORECASE)
_NOT_THEIRS = re.compile(r"\bsick (?:and tired )?of\b|\b(?:volunteer|work|help|serv)\w* (?:\w+ ){0,3}homeless\w*", re.IGNORECASE)


def hardship(text: str) -> set[str]:
    """Which of the six hardships of the poll a text names; "no illness", "never unemployed" name none ("without work", "can't pay" do)."""
    named, text = set(), _NOT_THEIRS.sub(" ", text.replace("’", "'"))
    for event, words in HARDSHIPS.items():
        for match in re.finditer(rf"\b(?:{words})\b", text, re.IGNORECASE):
            if _SAYS_ITSELF.fullmatch(match[0]) or not _NOT.search(_SENTENCE_END.split(text[: match.start()][-40:])[-1]):
                named.add(event)
    return named


def human_hardship() -> pd.Series:
    """The weighted share of real people with each of the six hardships, and with any of them ("any": .478)."""
    people, events = load_survey("nonvoters_2020").people, survey_texts()["nonvoters_2020"]["hardships"]
    said = people[events].astype("boolean").fillna(False).astype(bool).assign(any=lambda table: table.any(axis=1))
    return said.astype(float).mul(people[WEIGHT].astype(float), axis=0).sum() / people[WEIGHT].astype(float).sum()


def hardship_table(cards: pd.DataFrame) -> pd.DataFrame:
    """Share of texts of each tier that name each hardship and any, beside real people's: index tier (and "people"), columns events and any.

    Args: cards: columns tier, text (`tier_writer.cards_of`); empty texts are left out.
    """
    there = cards[cards["text"] != ""]
    named = pd.DataFrame([{event: event in found for event in HARDSHIPS} for found in map(hardship, there["text"])], index=there.index)
    table = named.assign(any=named.any(axis=1)).groupby(there["tier"], sort=False).mean()
    table.loc["people"] = human_hardship()[table.columns]
    return table


# --- words ----------------------------------------------------------------------------------------------------------------------------


def log_odds(texts: Sequence[str], others: Sequence[str], *, prior: float = 0.1) -> pd.DataFrame:
    """Which words set `texts` apart from `others`: index word, columns log_odds, z (log-odds over its standard error), n, n_others; highest z first.

    Every text counts a word once, long or short. Prior: the words of both together, `prior` pseudo-texts a word and its own share.
    Source: Monroe, Colaresi and Quinn 2008, log-odds ratio with an informative Dirichlet prior.
    """
    counts = [Counter(word for text in part for word in {w.lower() for w in WORD.findall(text)}) for part in (texts, others)]
    words = sorted(counts[0] | counts[1])
    a, b = (np.array([count[word] for word in words], dtype=float) for count in counts)
    alpha = prior * (a + b) + prior
    odds = [np.log((x + alpha) / (x.sum() + alpha.sum() - x - alpha)) for x in (a, b)]
    ratio, error = odds[0] - odds[1], np.sqrt(1 / (a + alpha) + 1 / (b + alpha))
    table = pd.DataFrame({"log_odds": ratio, "z": ratio / error, "n": a.astype(int), "n_others": b.astype(int)}, index=pd.Index(words, name="word"))
    return table.sort_values("z", ascending=False, kind="stable")


PAPER_WORDS = ("love", "proud", "family", "community", "education", "heritage")  # the words that readings of the paper name as frequent


def word_shares(cards: pd.DataFrame, words: Sequence[str] = PAPER_WORDS) -> pd.DataFrame:
    """Share of the texts of each tier that hold each word: index tier, columns words."""
    there = cards[cards["text"] != ""]
    held = {word: there["text"].str.contains(rf"\b{re.escape(word)}\b", case=False, regex=True) for word in words}
    return pd.DataFrame(held).groupby(there["tier"], sort=False).mean()


# --- facts ----------------------------------------------------------------------------------------------------------------------------

_RACES = {"White": r"white|caucasian", "Black": r"black|african[- ]american", "Hispanic": r"hispanic|latin[oax]|mexican|puerto rican"}
_SEXES = {
    "woman": r"she|her|hers|herself|woman|mother|wife|grandmother|daughter|lady",
    "man": r"he|him|his|himself|man|father|husband|grandfather|son|gentleman",
}
_STATES = re.compile(r"\b(" + "|".join(sorted((re.escape(name) for name in STATES.values()), key=len, reverse=True)) + r")\b")
_NO_AGE = r"(?! (?:year|%|per|hour|day|minute|mile))"
_AGE = re.compile(rf"\b(\d{{1,3}})(?:[- ]years?[- ]old|[- ]year[- ]olds?| years of age)\b|\b(?:aged?|is) (\d{{2}})\b{_NO_AGE}", re.IGNORECASE)
_DECADES = r"twenties|thirties|forties|fifties|sixties|seventies|eighties|\d0s"
_DECADE = re.compile(rf"\b(?:in|of) (?:his|her|their|the) (?:early |mid[- ]?|late )?({_DECADES})\b", re.IGNORECASE)
_TENS = {"twenties": 20, "thirties": 30, "forties": 40, "fifties": 50, "sixties": 60, "seventies": 70, "eighties": 80}


def facts(text: str, person: Mapping) -> dict[str, float]:
    """What became of a person's four census facts in a text: 1 kept, -1 contradicted, 0 not mentioned (age, gender, state, race), NaN where no words could say.

    Rules of ours: an age may differ by a year, be named by its decade or stand between commas; age, state and race count as kept if the true one is named,
    whatever else is. Gender goes by the more frequent words of a woman or a man. A race that is "Other" has no words (NaN).
    """
    race = _race(text, person["race"]) if person["race"] in _RACES else float("nan")
    return {"age": _age_fact(text, int(person["age"])), "gender": _gender(text, person["gender"]), "state": _state(text, person["state"]), "race": race}


def _age_fact(text: str, age: int) -> int:
    ages = [int(next(filter(None, match.groups()))) for match in _AGE.finditer(text)]
    decades = [_TENS.get(match[1].lower()) or int(match[1][:2]) for match in _DECADE.finditer(text)]
    own = any(abs(a - age) <= 1 for a in ages) or any(d <= age < d + 10 for d in decades) or re.search(rf",\s*{age}\s*(?:,|\.|$)", text)
    return 1 if own else -1 if ages or decades else 0


def _said(text: str, words: Mapping[str, str]) -> dict[str, int]:
    return {name: len(re.findall(rf"\b(?:{pattern})\b", text, re.IGNORECASE)) for name, pattern in words.items()}


def _gender(text: str, own: str) -> int:
    counts = _said(text, _SEXES)
    mine, other = counts.get(own, 0), max(n for name, n in counts.items() if name != own)
    return 1 if mine and mine >= other else -1 if other else 0


def _race(text: str, own: str) -> int:
    counts = _said(text, _RACES)
    return 1 if counts[own] else -1 if any(counts.values()) else 0


def _state(text: str, own: str) -> int:
    named = set(_STATES.findall(text))
    return 1 if own in named else -1 if named else 0


def fact_table(cards: pd.DataFrame, people: pd.DataFrame, *, tiers: Sequence[str] = ("descriptive", "template")) -> pd.DataFrame:
    """Share of narratives that keep and that contradict each fact: columns tier, fact, kept, contradicted, n (texts of people whose fact has words)."""
    there = cards[(cards["text"] != "") & cards["tier"].isin(list(tiers))]
    rows = [{"tier": row.tier, **facts(row.text, people.loc[row.persona_id])} for row in there.itertuples()]
    long = pd.DataFrame(rows, columns=["tier", "age", "gender", "state", "race"]).melt("tier", var_name="fact", value_name="is")
    grouped = long.groupby(["tier", "fact"], sort=False)["is"]
    return grouped.agg(kept=lambda v: (v.dropna() == 1).mean(), contradicted=lambda v: (v.dropna() == -1).mean(), n="count").reset_index()
