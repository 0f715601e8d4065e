"""Words, sentences and tone of a text, in any script: what every score and table that counts them shares. Stems, tone and `unknown_words` know English only.

A word is known if it is in one of two lists, British and American, with inflections; a name; or brought by the row itself or two other people. The lists are
maintained packages without dependencies: pyspellchecker (spoken English, contractions) and simplemma (British and American forms); one alone misses the
other's words. A human's typing error counts as a non-word: 2 % of typed sentences hold one.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import numpy as np
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
_SPELLED = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ENOUGH_KNOWN = 0.70  # share of the words that must be known, or the text is in another language: German and Spanish answers have .1 to .6
_CLITICS = ("'s", "'d", "'ll", "'re", "'ve", "'m", "n't")
_TYPED = frozenset(  # common in typed English, in neither list
    "alot asap btw didnt doesnt dont etc gf idk im imho imo ive lol meds meh pct pharma résumé tbh thats thx uk usa y'know abuela airbnb aldi bipoc crossfit "
    "edamame etsy fortnite hulu keto kombucha lgbtq lidl snapchat spotify substack tiktok unvaccinated venmo whatsapp xanax".split()
)
_SHARED = frozenset("of is was we has have but all will for i do one are can not what who had its".split())  # words of other languages too, or of names
_FUNCTION_WORDS = (_ENGLISH | set("to she he them him could should more our at".split())) - _SHARED
_ENGLISH_ALONE = {"I", "not"}  # written so: "i" and "Not" are words of other languages
_FEW_ENGLISH = 0.15  # share of function words below which a text is not English: English answers have .2 and more, German, French or Spanish ones 0
_ENOUGH_COUNTED = 6  # words of a text, before it is called foreign
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


def _other_letters(text: str) -> bool:
    """Whether most letters are not Latin ones."""
    letters = [c for c in text if c.isalpha()]
    return bool(letters) and sum(c < "\u0250" for c in letters) < len(letters) / 2


def looks_english(text: str) -> bool | None:
    """Whether a text has English function words; None if it is too short to tell, False if most of its letters are not Latin ones."""
    if _other_letters(text):
        return False
    words = text.lower().replace("\u2019", "'").split()
    return None if len(words) < _ENOUGH_WORDS else any(word.strip('.,;:!?"()') in _ENGLISH for word in words)


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
    """VADER compound score in [-1, 1]; 0 for a text without a word of its English list. Of a longer text: of its beginning."""
    many = sum(letter > "\u2190" for letter in text[:10_000]) > 1_000  # signs, each of which becomes words; its time grows with the square of the words
    return _vader().polarity_scores(text[: 1_000 if many else 10_000])["compound"]


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


# --- is every word a word? ---------------------------------------------------------------------------------------------------------


@cache
def _listed() -> frozenset[str]:
    """The English words of pyspellchecker, lower case. Source: package pyspellchecker (MIT)."""
    from spellchecker import SpellChecker

    return frozenset(SpellChecker(language="en", distance=1).word_frequency.dictionary)


@lru_cache(maxsize=100_000)
def is_english(word: str) -> bool:
    """Whether `word` (lower case) is in one of two lists, British and American, with inflections: pyspellchecker's and simplemma's; or such a word with 's."""
    from simplemma import is_known

    if word in _listed() or word in _TYPED or is_known(word, "en"):
        return True
    return any(word.endswith(end) and len(word) > len(end) and is_english(word[: -len(end)]) for end in _CLITICS)


def _fold(word: str) -> str:
    return word.lower().replace("’", "'")


def folded_words(text: str) -> list[str]:
    """The words of `text` in lower case with straight apostrophes; numbers are none."""
    return [_fold(w) for w in _SPELLED.findall(text)]


def _is_name(word: str, first: bool) -> bool:
    """True for a word with a capital that is not just the start of a sentence, and for short words in capitals (TV, NHS)."""
    if word.isupper():
        return 1 < len(word) <= 5
    return word != word.lower() and (not first or word[1:] != word[1:].lower())


@lru_cache(maxsize=50_000)
def _unlisted(text: str) -> tuple[frozenset[str], int]:
    """(words of `text` that are in no list and no names, in lower case; number of words). Single letters do not count."""
    words = [(w, i == 0) for s in sentences(text) for i, w in enumerate(_SPELLED.findall(s)) if len(w) > 1]
    return frozenset(_fold(w) for w, first in words if not is_english(_fold(w)) and not _is_name(w, first)), len(words)


def used_by_two(people: Iterable[str], texts: Iterable[str]) -> frozenset[str]:
    """Words in the texts of two people or more: names and words of the trade, not one person's typing error."""
    users: dict[str, set] = {}
    for person, text in zip(people, texts, strict=True):
        for word in set(folded_words(text)):
            users.setdefault(word, set()).add(person)
    return frozenset(w for w, who in users.items() if len(who) > 1)


def is_foreign(text: str, vocabulary: frozenset[str] = frozenset()) -> bool:
    """Whether most words are neither English nor in `vocabulary` and few are English function words; non-words among "the", "and", "they" are no language."""
    strange, count = _unlisted(text)
    if _other_letters(text):
        return bool(strange - vocabulary)
    if count < _ENOUGH_COUNTED or len(strange - vocabulary) <= (1 - _ENOUGH_KNOWN) * count:
        return False
    words = _SPELLED.findall(text)
    return sum(word in _ENGLISH_ALONE or _fold(word) in _FUNCTION_WORDS for word in words) < _FEW_ENGLISH * len(words)


def unknown_words(row: dict, vocabulary: frozenset[str]) -> frozenset[str] | None:
    """The words of an answer that are no words, in lower case; None for an answer without words or in another language.

    Args: row: prediction and, as far as they are there, persona (card), question, options. vocabulary: other words to accept, in lower case.
    """
    strange, count = _unlisted(row["prediction"])
    if not count or is_foreign(row["prediction"]):
        return None
    left = strange - vocabulary
    if not left:
        return left
    options = row.get("options")
    given = [row.get(c) if isinstance(row.get(c), str) else str(row.get(c) or "") for c in ("persona", "question")]
    return left - set(folded_words(" ".join([*given, *(map(str, options) if isinstance(options, list | tuple | np.ndarray) else ())])))
