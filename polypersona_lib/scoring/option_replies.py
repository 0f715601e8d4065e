"""Answers that name an option without its label (a letter, "yes" and "no" in other words) and those that name none: refusals, "no opinion", conditions.

English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .option_list import DEGREES, OptionList
from .option_words import Words

REFUSAL, NO_OPINION = "refusal", "no opinion"
_MACHINE = re.compile(r"\b(?:as an? (?:ai|artificial intelligence|(?:large )?language model|llm)|i am (?:just |only )?an? (?:ai|(?:large )?language model))\b")
_REFUSALS = re.compile(
    r"\b(?:as an? (?:ai|artificial|large language|language model|llm|chatbot|virtual|assistant)|(?:i am|being) (?:just |only )?an? (?:ai|artificial"
    r"|language model|large language|llm)"
    r"|i (?:do not|can not) have (?:personal|any personal) |can not (?:take on|answer|respond|provide|help with|assist|express|share|engage)"
    r"|unable to (?:answer|respond|provide|express|assist)|not able to (?:answer|provide|express)|i am sorry but|prefer not|rather not (?:say|answer)"
    r"|decline to|refuse to (?:answer|say)|refused|no comment|no answer|none of your business|will not answer|skip this)\b"
)
_NO_OPINIONS = re.compile(
    r"\b(?:no (?:opinion|idea|view|preference|clue)|do not (?:know|have an opinion|have any opinion|have a view|have a strong opinion)|not sure"
    r"|unsure|can not (?:say|tell|decide|judge)"
    r"|hard to say|difficult to say|have not (?:decided|thought)|undecided|n a|not applicable|no strong (?:opinion|feelings)|it depends)\b"
)
_YES = [
    w.split()
    for w in "yes,yeah,yep,yup,yea,y,absolutely,definitely,of course,certainly,sure,surely,indeed,i do,i have,i am,i did,i would,i could,i can,no doubt,"
    "without a doubt,"
    "no doubt about it,no question,no question about it,for sure,always".split(",")
][:-1]
_NO = [
    w.split()
    for w in "no,nope,nah,n,not really,absolutely not,definitely not,of course not,certainly not,not at all,no way,i do not,i have not,i am not,i did not,"
    "i would not,i could not,i do not believe so,not anymore,not currently,not now,"
    "i can not,sadly not,unfortunately not,i am afraid not,afraid not,not any more,never,not once,not yet,probably not,i think not,i do not think so,"
    "no thanks,no thank you".split(",")
]
_YES, _NO = sorted(_YES, key=len, reverse=True), sorted(_NO, key=len, reverse=True)
LITERAL = {"yes", "yeah", "yep", "yup", "yea", "no", "nope", "nah", "y", "n"}
_BOTH = {("yes", "and", "no"), ("no", "and", "yes"), ("yes", "or", "no")}
_DENIALS = {"not", "never", "no", "nobody", "none", "nothing", "nor", "neither", "hardly"}
_LEADS = set(
    "well honestly hmm oh so um frankly personally ok okay but and think say would i answer is my the that have to go with overall actually "
    "probably am afraid mostly most likely choose select pick vote sadly unfortunately definitely absolutely usually it for me believe in opinion now".split()
)
_FOLLOWS = set(
    "i we it they that not never indeed absolutely definitely of very because since in on at for as but this there my when if always sir thanks "
    "and to with please ma'am".split()
)
_CHOOSING = {"option", "letter", "choice", "answer", "choose", "pick", "select", "with", "is"}
_AFTER_LETTERS = {"because", "for", "as", "since", "and", "but", "though", "if", "please"}
_MOST_LETTERS, _MOST_WORDS = 12, 40  # options that letters name, words of a sentence in which a letter is looked for
ENDED = {("not", "anymore"), ("no", "longer"), ("not", "any", "more"), ("not", "now"), ("not", "currently")}
CORRECTIONS = (
    ("actually",), ("no",), ("wait",), ("sorry",), ("i", "mean"), ("on", "second", "thought"), ("or", "rather"), ("scratch", "that"), ("correction",),
)  # fmt: skip
CONTRASTS = {"but", "yet", "however", "in", "on", "now", "today", "still", "honestly"}  # "In practice, I disagree"
_CONDITIONS, TAKES_BACK, _CHOSEN = {"if", "unless"}, {"but", "yet", "however"}, {"say", "choose", "pick"}
_NO_CONDITION = re.compile(r"\b(?:(?:were|had|have) to|asked?|forced|pressed|pushed|must|honest)\b")  # "if I had to choose"
_INVERTED = set("i it they we he she you this that there the my".split())  # behind "had" and "were"
_QUALIFIES = set(DEGREES) | {"only", "with", "just"}
_REFUSES = {"not", "never", "refuse", "decline", "skip", "avoid", "against"}


def lettered_option(options: OptionList, letter: str) -> int | None:
    """The option of a letter: the one whose label brings it along, else the place in the list; None if the labels are letters themselves."""
    if options.letters or len(letter) != 1 or not ("a" <= letter <= "z"):
        return None
    place = options.lettered.get(letter, -1) if options.lettered else ord(letter) - ord("a")
    return place if 0 <= place < min(len(options.texts), _MOST_LETTERS) else None


def letter_chosen(options: OptionList, text: Words, start: int, end: int) -> int | None:
    """The option of the one letter that a sentence chooses ("I'd go with B", "Option D because …", "B, taxes are too high"); None for none or several."""
    words, found, last = text.words, set(), min(end, start + _MOST_WORDS)
    if {"not", "never", "or", "nor", "neither"} & set(words[start:last]):
        return None
    for i in range(start, last):
        if len(words[i]) > 1 or not words[i].isalpha() or words[i] == "i":
            continue
        breaks = i + 1 == end or text.levels[i + 1] >= 2
        marks = words[i] == "a" and not options.lettered and i + 1 < len(words) and words[i + 1] not in _AFTER_LETTERS  # "A: ..." begins an answer
        chosen = (i == start and breaks and not marks) or (set(words[max(start, i - 3) : i]) & _CHOOSING and (breaks or words[i + 1] in _AFTER_LETTERS))
        if chosen or words[i] != "a":  # an article chooses nothing
            found.add(lettered_option(options, words[i]) if chosen else None)
    return found.pop() if len(found) == 1 else None


def outcome_of(text: Words, end: int) -> str | None:
    """REFUSAL or NO_OPINION if the first `end` words refuse or have no opinion, else None."""
    spoken = " ".join(text.words[:end])
    if _REFUSALS.search(spoken):
        return REFUSAL
    return NO_OPINION if _NO_OPINIONS.search(spoken) else None


def is_machine(text: Words) -> bool:
    """Whether the answer speaks as a language model in its first fifty words: it takes no side even where it names one."""
    return bool(_MACHINE.search(" ".join(text.words[:50])))


def _said(words: tuple[str, ...], a: int, b: int) -> tuple[str, bool] | None:
    """("yes" or "no", whether the word itself) of one clause."""
    i = a
    while i < b:
        for answer, phrases in (("no", _NO), ("yes", _YES)):
            for phrase in phrases:
                j = i + len(phrase)
                if list(words[i:j]) == phrase and j <= b and (j == b or (words[i] in LITERAL and len(phrase) == 1 and words[j] in _FOLLOWS | {phrase[0]})):
                    return answer, words[i] in LITERAL and len(phrase) == 1
        if words[i] not in _LEADS:
            return None
        i += 1
    return None


def yes_or_no(options: OptionList, text: Words, start: int, end: int) -> int | None:
    """The option that a "yes" or "no" at the head of a clause takes; -1 if both are said alone; None for neither.

    "Yes" and "no" themselves go before other words for them ("Sure, but no"); those count only at the head of a sentence that denies nothing else.
    """
    words, cuts = text.words, [start]
    cuts += [i for i in range(start + 1, end) if text.levels[i] >= 2 or words[i] in ("but", "though") or _opens(words, i)]
    clauses = list(zip(cuts, [*cuts[1:], end], strict=True))
    said = [_said(words, a, b) for a, b in clauses]
    literal = [(s[0], b - a) for s, (a, b) in zip(said, clauses, strict=True) if s and s[1]]
    if literal:
        alone = {answer for answer, size in literal if size == 1}
        if len(alone) == 2 or any(words[i : i + 3] in _BOTH for i in range(start, end)):
            return -1
        if any(_turns(said, words[a:b], k) for k, (a, b) in enumerate(clauses)):
            return -1
        answer = literal[0][0]
        if answer == "yes" and any(words[a + (words[a] in ("but", "though")) : b] in ENDED for a, b in clauses[1:]):
            return -1
    else:
        first = next((s for s, (a, b) in zip(said, clauses, strict=True) if s or set(words[a:b]) - _LEADS), None)
        if first is None or _contradicts(first[0], words[start:end]):
            return None
        answer = first[0]
    return options.yes if answer == "yes" else options.no


def _opens(words: tuple[str, ...], i: int) -> bool:
    """Whether "so" or "yet" begins a clause: not in "not yet", "I don't think so"."""
    return words[i] in ("so", "yet") and words[i - 1] not in ("not", "think", "believe", "say", "guess", "suppose", "hope", "afraid")


def _turns(said: list[tuple[str, bool] | None], clause: tuple[str, ...], k: int) -> bool:
    """Whether clause k takes an earlier answer back: "yes, but no", "yes, now no", "not really, but yes"; not "no, but yes in winter"."""
    if clause[0] not in ("but", "now", "though", "so") or not said[k] or not said[k][1]:
        return False
    ends = clause[-1] in LITERAL
    return any(s and s[0] != said[k][0] and (ends if s[1] else s[0] == "no") for s in said[:k])


def _contradicts(answer: str, words: tuple[str, ...]) -> bool:
    idioms = " ".join(words).replace("no doubt", "").replace("no question", "")
    return answer == "yes" and bool(_DENIALS & set(idioms.split()))


# --- what makes a label that is said untrue: a condition, a "but" that outweighs it, a refusal that is likely ----------------------------------


def is_conditional(words: Sequence[str], start: int, a: int, b: int, end: int) -> bool:
    """Whether words `a` to `b` are only true under an "if" before or behind them ("I would agree if …"; not "I would say agree", "if I had to choose")."""
    opens = [i for i in (start, b) if i + 1 < end and (words[i] in _CONDITIONS or (words[i] in ("had", "were") and words[i + 1] in _INVERTED))]
    at = opens[0] if opens else None
    asked = at is not None and _NO_CONDITION.search(" ".join(words[at : min(end, at + 8)]))
    return at is not None and not asked and "would" in words[a:b] and not _CHOSEN & set(words[a:b])


def is_outweighed(words: Sequence[str], a: int, b: int, end: int) -> bool:
    """Whether a "but" tells why a clause is not true ("I would agree, but it costs too much"; not "but only somewhat")."""
    return b + 1 < end and words[b] in TAKES_BACK and words[b + 1] not in _QUALIFIES and "would" in words[a:b] and not _CHOSEN & set(words[a:b])


def refuses(after: list[str]) -> bool:
    """Whether what is likely is that somebody does not do it ("likely to decline", "likely that I won't vote")."""
    cut = next((i for i, word in enumerate(after) if word in ("who", "which", "and", "or", "even", "than")), 8)
    return bool(set(after[:cut][:8]) & _REFUSES) or after[-1:] == ["no"]
