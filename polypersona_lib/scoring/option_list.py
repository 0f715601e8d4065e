"""The options of one closed item, made ready for reading: every wording of each label in one tree of words, and what graded labels mean.

A graded label is a degree and a core ("very satisfied", "not at all worried"); cores with opposite words ("satisfied", "dissatisfied") share a stem.
The degrees and opposites are English. Labels in other languages are only read as themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from .option_words import Words, letter_of, normal, split_words, symbols_of

_STRONG, _PLAIN, _MIDDLE, _WEAK, _SURE, _PROBABLE = "strong", "plain", "middle", "weak", "sure", "probable"
_NOT, _NOT_VERY, _NOT_AT_ALL = "not", "not very", "not at all"
_CLASSES = {
    _STRONG: "very strongly completely totally fully wholeheartedly absolutely entirely extremely highly wholly utterly thoroughly deeply "
    "very_much 100_percent hundred_percent one_hundred_percent without_reservation without_reservations without_hesitation",
    _MIDDLE: "quite rather pretty fairly mostly generally moderately largely reasonably",
    _WEAK: "somewhat slightly a_little a_bit kind_of sort_of in_part partly partially mildly",
    _SURE: "definitely",
    _PROBABLE: "probably",
    _NOT_VERY: "too so that particularly especially overly",  # only after "not"
    _NOT_AT_ALL: "at_all in_the_least in_any_way in_the_slightest remotely",
    _NOT: "not never no_longer",
}
DEGREES = {word: degree for degree, words in _CLASSES.items() for word in words.split()}
_PHRASES = {tuple(word.split("_")): word for word in DEGREES if "_" in word}
_OPPOSITES = {
    "disagree": "agree", "dissatisfied": "satisfied", "unsatisfied": "satisfied", "unlikely": "likely", "disapprove": "approve",
    "unimportant": "important", "unhappy": "happy",
    "uncomfortable": "comfortable", "unfavorable": "favorable", "oppose": "favor", "rarely": "often", "poor": "good", "bad": "good", "difficult": "easy",
    "unacceptable": "acceptable", "distrust": "trust", "dislike": "like", "unfair": "fair", "unsafe": "safe", "negative": "positive",
    "pessimistic": "optimistic",
    "unconcerned": "concerned", "unclear": "clear", "unhelpful": "helpful", "unreliable": "reliable", "ineffective": "effective", "unnecessary": "necessary",
}  # fmt: skip
_ALWAYS = {"agree", "satisfied", "likely", "approve", "important", "happy", "favor", "comfortable", "favorable"}  # graded even where only one label has it
_ENDINGS = {"agree": ("agreeing", "agrees", "agreed"), "disagree": ("disagreeing", "disagrees"), "approve": ("approving", "approves"),
            "disapprove": ("disapproving", "disapproves"), "favor": ("favoring",), "oppose": ("opposing", "opposed")}  # fmt: skip
_NEUTRAL = ("neutral", "undecided", "on the fence", "torn", "in the middle", "neither", "neither one nor the other")
_EMPTY = set("a an the of to in on at for it is and or not no all very too much more less most least some any none about only just".split()) | set(DEGREES)


class Meaning(NamedTuple):
    """What a graded label says: the stem, 1 or -1 for its opposite, the degree and the word of the degree."""

    stem: tuple[str, ...]
    sign: int
    degree: str
    word: str


class Hit(NamedTuple):
    """Words `start` to `end` of an answer name an option (None: only a core) and say `meaning` (None: not graded)."""

    start: int
    end: int
    option: int | None
    meaning: Meaning | None


def merged(words: Sequence[str]) -> list[str]:
    """`words` with the phrases of degree ("at all", "a little") as one word each."""
    out, i = [], 0
    while i < len(words):
        size = next((n for n in (3, 2) if tuple(words[i : i + n]) in _PHRASES), 1)
        out.append(_PHRASES[tuple(words[i : i + size])] if size > 1 else words[i])
        i += size
    return out


def degree_of(words: Sequence[str]) -> tuple[str, str] | None:
    """(class, word) that degree words say together, (PLAIN, "") without any; None for what no label says ("not completely")."""
    classes = [(DEGREES[word], word) for word in words if word in DEGREES]
    denied = sum(degree == _NOT for degree, _ in classes)
    rest = [(degree, word) for degree, word in classes if degree not in (_NOT, *(() if denied else (_NOT_VERY, _NOT_AT_ALL)))]
    if denied > 1:
        return None
    if not denied:
        so = [(_STRONG, "so")] if ("so" in words) else []
        return next((c for c in [*rest, *so] if c[0] == _STRONG), rest[0] if rest else (_PLAIN, ""))
    if any(degree == _NOT_AT_ALL for degree, _ in rest):
        return _NOT_AT_ALL, "at_all"
    rest = [(degree, "very" if word == "very_much" else word) for degree, word in rest]
    if any(degree == _NOT_VERY or word == "very" for degree, word in rest):
        return _NOT_VERY, next(word for degree, word in rest if degree == _NOT_VERY or word == "very")
    return (_NOT, "not") if not rest or all(degree in (_SURE, _PROBABLE) for degree, _ in rest) else None


def _parsed(words: Sequence[str]) -> Meaning | None:
    """The degree words at both ends of a label and the core between them; None if nothing or more than a core is left."""
    words = merged(words)
    words = words[1:] if words[:2] in (["do", "not"], ["does", "not"]) else words
    first, last = 0, len(words)
    while first < last and words[first] in DEGREES:
        first += 1
    while last > first and words[last - 1] in DEGREES:
        last -= 1
    degree = degree_of(words[:first] + words[last:])
    core = tuple(words[first:last])
    if not core or len(core) > 3 or degree is None or core == ("sure",) or any(w[-1].isdigit() for w in core):
        return None
    return Meaning(core, 1, *degree)


def _opposite(core: tuple[str, ...], cores: set[tuple[str, ...]]) -> tuple[tuple[str, ...], int]:
    """(stem, sign) of a core among the other cores of its list."""
    for i, word in enumerate(core):
        positive = _OPPOSITES.get(word)
        turned = (*core[:i], positive, *core[i + 1 :]) if positive else None
        if turned in cores or (turned and len(core) == 1 and positive in _ALWAYS):
            return turned, -1
        if word == "oppose" and (*core[:i], "support", *core[i + 1 :]) in cores:
            return (*core[:i], "support", *core[i + 1 :]), -1
    return core, 1


def _meanings(labels: Sequence[Sequence[str]]) -> list[Meaning | None]:
    """The meaning of each graded label."""
    read = [_parsed(label) for label in labels]
    cores = {meaning.stem for meaning in read if meaning}
    signed = [meaning and Meaning(*_opposite(meaning.stem, cores), *meaning[2:]) for meaning in read]
    often = Counter(meaning.stem for meaning in signed if meaning)
    return [m if m and (often[m.stem] > 1 or m.stem in {(w,) for w in _ALWAYS}) else None for m in signed]


class OptionList:
    """One list of options. `texts`: the labels; `labels`: their words; `yes`, `no`, `neutral`: the one option that stands for it, None if there is "
    "none or several."""

    def __init__(self, options: Sequence[str]):
        self.texts = tuple(str(option) for option in options)
        self.symbols = frozenset().union(*(symbols_of(text) for text in self.texts))
        self.parts = [split_words(text, self.symbols) for text in self.texts]
        self.labels = [part.words for part in self.parts]
        self.whole = {normal(text).strip(): i for i, text in enumerate(self.texts)}
        self.twins = {i for i, label in enumerate(self.labels) if self.labels.count(label) > 1}
        self.meanings = _meanings(self.labels)
        self.yes, self.no = self._answers("yes"), self._answers("no")
        self.neutral = self._neutral()
        self._tree: dict = {}
        for words, option in self._wordings().items():
            if len(words) > 1 or not words[0][-1].isdigit():  # bare numbers are read as numbers
                self._plant(words, option, None if option is None else self.meanings[option])
        for meaning in [m for m in self.meanings if m]:
            self._plant_cores(meaning)
        own = [letter_of(part) for part in self.parts]
        self.lettered = {letter: i for i, letter in enumerate(own)} if all(own) and len(set(own)) == len(own) else {}
        self.letters = all(len(label) == 1 and len(label[0]) == 1 and label[0].isalpha() for label in self.labels if label)

    def _answers(self, word: str) -> int | None:
        """The only option that begins or ends with `word`, or is it."""
        able = [i for i, label in enumerate(self.labels) if word in label[:1] + label[-1:] and len(label) < 12]
        exact = [i for i in able if self.labels[i] == (word,)]
        return exact[0] if len(exact) == 1 and (word == "no" or len(able) == 1) else able[0] if len(able) == 1 and self.labels[able[0]][:1] == (word,) else None

    def _neutral(self) -> int | None:
        able = [i for i, label in enumerate(self.labels) if label in (("neutral",), ("undecided",)) or (label[:1] == ("neither",) and len(label) > 1)]
        return able[0] if len(able) == 1 else None

    def _wordings(self) -> dict[tuple[str, ...], int | None]:
        """Every wording -> the option it stands for, None for one that two options share. A weaker kind of wording never takes the place of a stronger one."""
        kinds: list[list[tuple[tuple[str, ...], int]]] = [[], [], [], []]
        for i, (part, text) in enumerate(zip(self.parts, self.texts, strict=True)):
            kinds[0].append((part.words, i))
            kinds[1] += [(words, i) for words in _shorter(part, text)]
            kinds[2] += [(words, i) for words in self._rests(i)]
            kinds[3] += [(words, i) for words in _said_otherwise(part.words)]
        if self.neutral is not None:
            kinds[3] += [(tuple(text.split()), self.neutral) for text in _NEUTRAL]
        wordings: dict[tuple[str, ...], int | None] = {}
        for kind in kinds:
            new: dict[tuple[str, ...], set[int]] = {}
            for words, i in kind:
                if words and words not in wordings:
                    new.setdefault(words, set()).add(i)
            wordings |= {words: min(able) if len(able) == 1 or able <= self.twins else None for words, able in new.items()}
        return {words: option for words, option in wordings.items() if option is not None}

    def _rests(self, i: int) -> list[tuple[str, ...]]:
        """The end of a label that no other label has, if what stands before it opens another label too ("Employed | part-time") and it has a content word."""
        label = self.labels[i]
        others = [other for k, other in enumerate(self.labels) if k != i]
        shared = max((sum(1 for _ in _common(label, other)) for other in others), default=0)
        rest = label[shared:]
        unlike = rest and any(all(word not in other for other in others) for word in rest)
        return [rest] if set(label[:shared]) - _EMPTY and unlike and not set(rest) & _EMPTY and all(w.isalpha() for w in rest) else []

    def _plant(self, words: tuple[str, ...], option: int | None, meaning: Meaning | None) -> None:
        node = self._tree
        for word in words:
            node = node.setdefault(word, {})
        node.setdefault("", (option, meaning))

    def _plant_cores(self, meaning: Meaning) -> None:
        """The stem of a graded label, its opposite and their endings, as cores."""
        opposites = [tuple(word if w == positive else w for w in meaning.stem) for word, positive in _OPPOSITES.items() if positive in meaning.stem]
        for core, sign in [(meaning.stem, 1), *((opposite, -1) for opposite in opposites)]:
            for last in (core[-1], *_ENDINGS.get(core[-1], ())):
                words = (*core[:-1], last)
                whole = next((i for i, m in enumerate(self.meanings) if m and m[:3] == (meaning.stem, sign, _PLAIN)), None)
                self._plant(words, whole, Meaning(meaning.stem, sign, _PLAIN, ""))

    def match(self, text: Words, start: int, end: int) -> Hit | None:
        """The longest wording that begins at word `start` and stays within the sentence (or breaks where the label itself breaks)."""
        node, best, i, strongest = self._tree, None, start, 0
        while i < end and text.words[i] in node:
            if i > start:
                strongest = max(strongest, text.levels[i])
            node, i = node[text.words[i]], i + 1
            if "" in node and (strongest < 3 or (node[""][0] is not None and 3 in self.parts[node[""][0]].levels[1:-1])):
                best = Hit(start, i, *node[""])
        return best

    def hits(self, text: Words, start: int, end: int) -> list[Hit]:
        """All wordings in words `start` to `end`, from the left, the longest first, without overlap."""
        hits, i = [], start
        while i < end:
            hit = self.match(text, i, end)
            hits += [hit] if hit else []
            i = hit.end if hit else i + 1
        return hits

    def told_apart(self, option: int, answer: str) -> int | None:
        """The label among those with the same words ("Both (VOL)", "both (Vol.)") that stands in the answer letter by letter; None if none or several do."""
        alike = [i for i in self.twins if self.labels[i] == self.labels[option]]
        within = [i for i in alike if normal(self.texts[i]).strip() in normal(answer)]
        return within[0] if len(within) == 1 else None

    def meant(self, meaning: Meaning) -> int | None:
        """The option that says `meaning`: the same degree, else the nearest that nobody would call another answer; None if there is none or several."""
        same = [(i, m) for i, m in enumerate(self.meanings) if m and m.stem == meaning.stem]
        side = [(i, m) for i, m in same if m.sign == meaning.sign and m.degree not in (_NOT, _NOT_VERY, _NOT_AT_ALL)]
        exact = [i for i, m in same if m[:3] == meaning[:3]]
        if len(exact) > 1 or meaning.degree == _NOT_VERY:
            exact = [i for i, m in same if m == meaning]
        if exact:
            return exact[0] if len(exact) == 1 else None
        for degree in {_STRONG: (_PLAIN,), _MIDDLE: (_PLAIN, _WEAK), _WEAK: (), _SURE: (_PLAIN,), _PROBABLE: (_PLAIN,), _PLAIN: ()}.get(meaning.degree, ()):
            if able := [i for i, m in side if m.degree == degree]:
                return able[0] if len(able) == 1 else None
        if meaning.degree in (_NOT, _NOT_VERY, _NOT_AT_ALL) and meaning.sign == 1:
            wanted = [(-1, _PLAIN)] + ([(1, _NOT)] if meaning.degree == _NOT_AT_ALL else [])
            wanted = [(-1, _STRONG), *wanted] if meaning.degree == _NOT_AT_ALL else wanted
            for sign, degree in wanted:
                if able := [i for i, m in same if (m.sign, m.degree) == (sign, degree)]:
                    return able[0] if len(able) == 1 else None
        return None


def _common(a: Sequence[str], b: Sequence[str]):
    for x, y in zip(a, b, strict=False):
        if x != y:
            return
        yield x


def _shorter(part: Words, text: str) -> list[tuple[str, ...]]:
    """A label without its bracket ("Both (VOL)"), without its number ("1 - Disagree"), its article, its sign ("LGBTQ+")."""
    out, words = [], part.words
    cut = next((i for i in range(1, len(words)) if "(" in part.gaps[i]), None)
    if cut and text.rstrip().endswith(")"):
        out.append(words[:cut])
    numbered = len(words) > 1 and words[0].lstrip("-").isdigit() and words[1].isalpha() and words[1] not in ("to", "or", "and", "plus")
    if numbered and (part.levels[1] or part.gaps[1] == " "):
        out.append(words[1:])
    if letter_of(part):
        out.append(words[1:])
    if len(words) > 1 and words[-1] in ("plus", "+", "++", "#") and not part.gaps[-2] and not words[-2][-1].isdigit():
        out.append(words[:-1])
    return out + [words[1:] for words in [words, *out] if len(words) > 1 and words[0] in ("the", "a", "an") and words[1] not in ("lot", "little", "bit", "few")]


def _said_otherwise(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The same label in other words: its words turned ("agree strongly"), parts of "Don't know/Refused", "probably not" for "probably no"."""
    out = [words[1:] + words[:1], words[-1:] + words[:-1]] if len(words) == 2 and set(words) & set(DEGREES) else []
    if len(words) > 2 and words[-2:] == ("at", "all") and words[0] == "not":
        out.append(("not", "at", "all", *words[1:-2]))
    if words[:3] == ("not", "at", "all") and len(words) > 3:
        out.append(("not", *words[3:], "at", "all"))
    if len(words) == 2 and words[1] == "no" and words[0] in DEGREES:
        out += [(words[0], "not"), ("no", words[0], "not")]
    if len(words) == 3 and words[0] == "neither" and words[2] == words[0]:
        out.append(words[:1])
    if words in (("neither",), ("none",), ("both",), ("all",)):
        out += [(*words, "of", which) for which in ("them", "these", "those")] + [(*words, "of", "the", "above")]
    if "refused" in words and ("dk" in words or ("do", "not", "know") == words[:3]):
        out += [("do", "not", "know"), ("i", "do", "not", "know"), ("dk",), ("refused",)]
    if len(words) == 4 and words[0] == "neither" and words[2] == "nor":
        out += [("neither", words[1], "or", words[3])]
    return out


@lru_cache(maxsize=2048)
def option_list(options: tuple[str, ...]) -> OptionList:
    """The prepared list, made once."""
    return OptionList(options)
