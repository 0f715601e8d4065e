"""Words, sentences and tone of a text: what every score and table that counts them shares."""

import re
from collections.abc import Sequence
from functools import cache, lru_cache

import pandas as pd

WORD = re.compile(r"[\w'-]+")
_VOWELS = re.compile(r"[aeiouy]+")
_SENTENCE_END = re.compile(r"(?<!\bMr\.)(?<!\bDr\.)(?<!\bMs\.)(?<!\bSt\.)(?<!\bMrs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<=[.!?…])[\"'”’)\]]*\s+")


def sentences(text: str) -> list[str]:
    """The sentences of `text`: cut after . ! ? or … and white space, common abbreviations apart."""
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


@cache
def _porter():
    from nltk.stem import porter

    return porter.PorterStemmer()


@cache
def _stem(word: str) -> str:
    return _porter().stem(word) if len(word) > 3 else word


@lru_cache(maxsize=50_000)
def stemmed_words(text: str) -> tuple[tuple[str, str], ...]:
    """(word, stem) of every word, exactly as rouge_score splits and stems."""
    return tuple((word, _stem(word)) for word in re.findall(r"[a-z0-9]+", text.lower()))


@cache
def _vader():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@lru_cache(maxsize=50_000)
def sentiment(text: str) -> float:
    """VADER compound score in [-1, 1]."""
    return _vader().polarity_scores(text)["compound"]


def text_measures(texts: Sequence[str]) -> pd.DataFrame:
    """Length, complexity and tone of each text.

    Returns: words, sentences, words_per_sentence, type_token_ratio (distinct words / words), reading_ease (Flesch: 100 plain, 0 hard; syllables
        estimated by groups of vowels), tone (VADER compound, -1 to 1). Source: Flesch (1948); Hutto and Gilbert (2014).
    """
    rows = []
    for text in texts:
        words = [w.lower() for w in WORD.findall(text)]
        number, count = max(1, len(words)), max(1, len(sentences(text)))
        ease = 206.835 - 1.015 * number / count - 84.6 * sum(map(_syllables, words)) / number
        rows.append((len(words), count, number / count, len(set(words)) / number, ease, sentiment(text)))
    return pd.DataFrame(rows, columns=["words", "sentences", "words_per_sentence", "type_token_ratio", "reading_ease", "tone"])


def _syllables(word: str) -> int:
    """Groups of vowels in `word`, a silent final e left out, at least 1."""
    return max(1, len(_VOWELS.findall(word)) - (word.endswith("e") and not word.endswith("le")))
