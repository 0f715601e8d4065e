"""Words, sentences and tone of a text, in any script: what every score and table that counts them shares. Stems and tone know English only."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache

import pandas as pd
import regex

WORD = re.compile(r"[\w'-]+")
_VOWELS = re.compile(r"[aeiouy]+")
_ABBREVIATIONS = "".join(rf"(?<!\b{re.escape(a)})" for a in ("Mr.", "Dr.", "Ms.", "St.", "Mrs.", "e.g.", "i.e."))
_CLOSING = r"\"'”’)\]»」』）"
_SENTENCE_END = re.compile(rf"{_ABBREVIATIONS}(?<=[.!?…؟۔।॥։።။។])[{_CLOSING}]*\s+|(?<=[。！？｡])[{_CLOSING}]*(?![。！？｡{_CLOSING}])\s*")
_FINISHED = regex.compile(rf"(?:[.!?…؟۔।॥։።။។。！？｡]|\p{{Thai}}|\p{{Lao}})[{_CLOSING}]*$")  # Thai and Lao have no mark at the end of a sentence
_APART = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"  # scripts without a space between words: every character is a word
_ONE_CHARACTER = regex.compile(rf"{_APART}\p{{M}}*")
_ANY_WORD = regex.compile(rf"{_APART}\p{{M}}*|(?:(?!{_APART})[\p{{L}}\p{{N}}])(?:(?!{_APART})[\p{{L}}\p{{N}}\p{{M}}])*")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_ENGLISH = frozenset(
    "the and of is it i'm don't my we you for that this not with have are they because would there what when was were has but like from how about all "
    "can will one people your their than which who if its been do does i".split()
)
_ENOUGH_WORDS = 8  # of a text in Latin letters, before a lack of English function words says something


def sentences(text: str) -> list[str]:
    """The sentences of `text`: cut after the marks that end one (. ! ? … and those of other scripts), common English abbreviations apart."""
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def is_finished(text: str) -> bool:
    """True if the text ends with the end of a sentence; in Thai and Lao, which have no mark for it, with a letter."""
    return bool(_FINISHED.search(text.strip()[-40:]))


def spaced(text: str) -> str:
    """`text` with a space around every character of a script that writes none between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese)."""
    return text if text.isascii() else _ONE_CHARACTER.sub(r" \g<0> ", text)


def looks_english(text: str) -> bool | None:
    """Whether a text has English function words; None if it is too short to tell, False if most of its letters are not Latin ones."""
    letters = [c for c in text if c.isalpha()]
    if letters and sum(c < "\u0250" for c in letters) < len(letters) / 2:
        return False
    words = text.lower().replace("\u2019", "'").split()
    return None if len(words) < _ENOUGH_WORDS else any(word.strip(".,;:!?\"()") in _ENGLISH for word in words)


@cache
def _porter():
    from nltk.stem import porter

    return porter.PorterStemmer()


@cache
def _stem(word: str) -> str:
    return _porter().stem(word) if len(word) > 3 else word


@lru_cache(maxsize=50_000)
def stemmed_words(text: str) -> tuple[tuple[str, str], ...]:
    """(word, stem) of every word in any script, lower case. On ASCII text exactly as rouge_score splits and stems; other words stay as they are."""
    if text.isascii():
        return ascii_words(text)
    plain = unicodedata.normalize("NFC", text).lower()
    return tuple((word, _stem(word) if word.isascii() else word) for word in _ANY_WORD.findall(plain))


@lru_cache(maxsize=50_000)
def ascii_words(text: str) -> tuple[tuple[str, str], ...]:
    """(word, stem) of every run of a-z and 0-9, exactly as rouge_score splits and stems any text."""
    return tuple((word, _stem(word)) for word in _ASCII_WORD.findall(text.lower()))


@cache
def _vader():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@lru_cache(maxsize=50_000)
def sentiment(text: str) -> float:
    """VADER compound score in [-1, 1]; 0 for a text without a word of its English list."""
    return _vader().polarity_scores(text)["compound"]


def text_measures(texts: Sequence[str]) -> pd.DataFrame:
    """Length, complexity and tone of each text.

    Returns: words, sentences, words_per_sentence, type_token_ratio (distinct words / words), reading_ease (Flesch: 100 plain, 0 hard; syllables
        estimated by groups of vowels; English only), tone (VADER compound, -1 to 1; English only). Source: Flesch (1948); Hutto and Gilbert (2014).
    """
    rows = []
    for text in texts:
        words = [w.lower() for w in WORD.findall(spaced(text))]
        number, count = max(1, len(words)), max(1, len(sentences(text)))
        ease = 206.835 - 1.015 * number / count - 84.6 * sum(map(_syllables, words)) / number
        rows.append((len(words), count, number / count, len(set(words)) / number, ease, sentiment(text)))
    return pd.DataFrame(rows, columns=["words", "sentences", "words_per_sentence", "type_token_ratio", "reading_ease", "tone"])


def _syllables(word: str) -> int:
    """Groups of vowels in `word`, a silent final e left out, at least 1."""
    return max(1, len(_VOWELS.findall(word)) - (word.endswith("e") and not word.endswith("le")))
