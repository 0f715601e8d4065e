"""Is every word of an answer a word? Two English word lists, names, and the words that the row itself or two other people bring.

English only, British and American, with inflections. The lists are maintained packages without dependencies: pyspellchecker (spoken English, contractions) and
simplemma (British and American forms); one alone misses the other's words. A human's typing error counts as a non-word: 2 % of typed sentences hold one.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache

import numpy as np

from ..texts import sentences

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ENOUGH_KNOWN = 0.70  # share of the words that must be known, or the text is in another language: German and Spanish answers have .1 to .6
_CLITICS = ("'s", "'d", "'ll", "'re", "'ve", "'m", "n't")
_TYPED = frozenset("alot btw etc idk im imo ive tbh uk usa".split())  # common in typed English, in neither list


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
    return [_fold(w) for w in _WORD.findall(text)]


def _is_name(word: str, first: bool) -> bool:
    """True for a word with a capital that is not just the start of a sentence, and for short words in capitals (TV, NHS)."""
    if word.isupper():
        return 1 < len(word) <= 5
    return word != word.lower() and (not first or word[1:] != word[1:].lower())


@lru_cache(maxsize=50_000)
def _unlisted(text: str) -> tuple[frozenset[str], int]:
    """(words of `text` that are in no list and no names, in lower case; number of words). Single letters do not count."""
    words = [(w, i == 0) for s in sentences(text) for i, w in enumerate(_WORD.findall(s)) if len(w) > 1]
    return frozenset(_fold(w) for w, first in words if not is_english(_fold(w)) and not _is_name(w, first)), len(words)


def used_by_two(people: Iterable[str], texts: Iterable[str]) -> frozenset[str]:
    """Words in the texts of two people or more: names and words of the trade, not one person's typing error."""
    users: dict[str, set] = {}
    for person, text in zip(people, texts, strict=True):
        for word in set(folded_words(text)):
            users.setdefault(word, set()).add(person)
    return frozenset(w for w, who in users.items() if len(who) > 1)


def is_foreign(text: str, vocabulary: frozenset[str] = frozenset()) -> bool:
    """Whether most words are neither English nor in `vocabulary`."""
    strange, count = _unlisted(text)
    return bool(count) and len(strange - vocabulary) > (1 - _ENOUGH_KNOWN) * count


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
