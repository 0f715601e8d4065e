"""The options of closed items, and which option an answer names: one reading of one text, by its words alone.

`reading` goes from the plainest form to the freest and stops at the first that reads: (1) what a generator wrapped as its answer (JSON, tags, the text
behind its thoughts); (2) a label, code or letter that is the whole answer; (3) several labels and nothing else; (4) what stands behind "Answer:"; (5) a
label at the head; (6) numbers; (7) clauses of the first sentence; (8) a letter that is chosen. A first sentence that names nothing is left for the next, three
sentences at most; one that the next takes back is contradictory. Where none reads, a named reason says why. Labels beat positions, so turning the options
changes nothing in an answer that says a label; only a bare number or letter in a list of words counts places. Refusals, degrees, denials and clauses are
English only; in other languages an answer is read if it is a label, starts with one or says "I" before one, and not read otherwise. Time is linear in the
length of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..world.questions import options_of
from . import option_clauses, option_replies
from .option_list import OptionList, option_list
from .option_numbers import numbers_given
from .option_replies import CONTRASTS, CORRECTIONS, ENDED, TAKES_BACK, is_conditional
from .option_values import VALUES, number_rule
from .option_words import Words, normal, split_words, unwrapped

SEVERAL, OFF_THE_LIST, NONE_NAMED, CONTRADICTORY = "several", "off the list", "none named", "contradictory"
REASONS = (SEVERAL, option_replies.REFUSAL, option_replies.NO_OPINION, OFF_THE_LIST, NONE_NAMED, CONTRADICTORY)
_MARKERS = {"answer", "response", "choice", "rating", "verdict", "conclusion", "overall", "stance", "option", "selection"}
_LEADS = set(
    "well honestly hmm oh so um frankly personally ok okay answer response my the final rating likert scale is choice option overall q i go with "
    "for pick select would say be choose number am a an by it stance".split()
)
_SPEAKING = {"i", "as", "my", "overall", "so", "yes", "no"}  # how a later sentence begins that answers for the person


class Reading(NamedTuple):
    """What one answer says: `option` (0-based) or None with the `reason`, one of `REASONS`; `named`: the options of a SEVERAL answer, in the list's order."""

    option: int | None
    reason: str = ""
    named: tuple[int, ...] = ()


def with_targets(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `target`, the option the reference takes: the known truth of embedded records, else what the label rule finds (NaN: none)."""
    known = [t.get("option") if isinstance(t, dict) and t.get("option", -1) >= 0 else None for t in frame.get("truth", [None] * len(frame))]
    read = [k if k is not None else read_option(r, o) if o else None for k, r, o in zip(known, frame["reference"], options_of(frame), strict=True)]
    return frame.assign(target=np.array([np.nan if option is None else option for option in read], dtype=float))


def read_option(answer: str, options: Sequence[str]) -> int | None:
    """The 0-based option that `answer` names, None if none (`reading` says why)."""
    return reading(answer, options).option


def reading(answer: str, options: Sequence[str]) -> Reading:
    """The option that `answer` names in words or numbers, or the reason why none can be read. Args: options: labels as they were shown, in that order."""
    listed = tuple(str(option) for option in options)
    if not isinstance(answer, str) or not answer.strip() or len(listed) < 2 or answer.lstrip(" \"'").startswith(("'t ", "’t ", "t agree")):
        return Reading(None, NONE_NAMED)
    prepared, given = option_list(listed), unwrapped(answer)
    if isinstance(given, list):
        return _together([_read(prepared, listed, value) for value in given])
    read = _read(prepared, listed, given)
    if read.option in prepared.twins:
        option = prepared.told_apart(read.option, given)
        return Reading(option) if option is not None else Reading(None, SEVERAL)
    return read


def _together(readings: list[Reading]) -> Reading:
    """One reading of a list of answers."""
    named = tuple(sorted({r.option for r in readings if r.option is not None}))
    if len(named) == 1 and all(r.option is not None for r in readings):
        return Reading(named[0])
    return Reading(None, SEVERAL, named) if len(named) > 1 else Reading(None, OFF_THE_LIST if readings else NONE_NAMED)


def _read(options: OptionList, listed: tuple[str, ...], answer: str) -> Reading:
    """Steps (2) to (7) for the unwrapped text."""
    raw = normal(answer).strip().strip("\"'()[] ")
    for form in (normal(answer).strip(), raw, raw.rstrip(" .!")):
        if form in options.whole:
            return Reading(options.whole[form])
    text = split_words(answer, options.symbols)
    if not text.words:
        return Reading(None, NONE_NAMED)
    whole = _whole(options, listed, text)
    if whole is not None:
        return whole
    if option_replies.is_machine(text):
        return Reading(None, option_replies.REFUSAL)
    several = _several(options, text)
    if several is not None:
        return several
    marked = _marked(options, listed, text)
    if marked is not None:
        return marked
    return _sentences(options, listed, text)


def _whole(options: OptionList, listed: tuple[str, ...], text: Words) -> Reading | None:
    """A label, a number or a letter that is the whole answer."""
    words, size = text.words, len(text.words)
    hit = options.match(text, 0, size)
    if hit and hit.end == size and hit.option is not None and "?" not in text.gaps[-1]:
        return Reading(hit.option)
    if size == 1 and len(words[0]) == 1:
        letter = words[0]
        if options.yes is not None and options.no is not None and letter in "yn":
            return Reading(options.yes if letter == "y" else options.no)
        if letter != "i" or len(listed) > 8:
            place = option_replies.lettered_option(options, letter)
            return None if place is None else Reading(place)
    return None


def _letter_head(options: OptionList, text: Words, start: int) -> int:
    """The first word after an enumerator ("B.", "2)", "4 =", "Q1:", "option D:") at `start`; `start` if there is none or nothing follows."""
    words, i = text.words, start
    if words[i] == "q" and i + 2 < len(words) and words[i + 1].isdigit():
        return i + 2
    if len(words[i]) < 3 and i + 1 < len(words) and (words[i].isdigit() or len(words[i]) == 1) and any(mark in text.gaps[i + 1] for mark in ".):=-"):
        return i + 1
    return start


def _head(options: OptionList, text: Words, start: int, end: int) -> int | None:
    """The option whose label opens words `start` to `end` and is followed by a break; fillers and an enumerator may stand before it."""
    i = start
    while i < end:
        hit = options.match(text, i, len(text.words))
        if hit and hit.option is not None and (hit.end == len(text.words) or text.levels[hit.end] >= 2 or text.gaps[hit.end].startswith("-")):
            after = text.gaps[hit.end]
            if "would" in text.words[start:i] and set(text.words[hit.end : hit.end + 1]) & (TAKES_BACK | {"if"}):
                return None
            return hit.option if "?" not in after or "?" in options.texts[hit.option] else None
        skip = _letter_head(options, text, i)
        if skip > i:
            i = skip
            end = max(end, min(len(text.words), i + 12))
        elif text.words[i] in _LEADS and i < start + 8:
            i += 1
        else:
            return None
    return None


def _several(options: OptionList, text: Words) -> Reading | None:
    """An answer of labels and nothing else: one option again and again is read, several are named."""
    i, named, size = 0, [], len(text.words)
    while i < size:
        hit = options.match(text, i, size)
        if hit and hit.option is not None:
            if named and not text.levels[i] and hit.option != named[-1] and text.words[i - 1] not in ("and", "or", "to", "then"):
                return None
            named.append(hit.option)
            i = hit.end
        elif named and text.words[i] in ("and", "or", "to", "then", "both", "also"):
            i += 1
        elif (skip := _letter_head(options, text, i)) > i:  # "1. TV" and, on the next line, "2. Radio"
            i = skip
        else:
            return None
    known = tuple(sorted(set(named)))
    if "?" in "".join(text.gaps) and (len(known) > 1 or "?" not in options.texts[known[0]]):
        return None
    return Reading(known[0]) if len(known) == 1 else Reading(None, SEVERAL, known)


def _marked(options: OptionList, listed: tuple[str, ...], text: Words) -> Reading | None:
    """What stands behind the last "Answer:", "my answer is" or "overall:"; None without one, or if it is not read."""
    words = text.words
    for i in range(len(words) - 1, 0, -1):
        colon = words[i - 1] in _MARKERS and ":" in text.gaps[i]
        verb = i > 1 and words[i - 2] in _MARKERS and words[i - 1] in ("is", "be")
        if colon or verb:
            sign = text.gaps[i].strip()[-1:]  # "Answer: <$30k"
            rest = Words(words[i:], (sign if sign in "<>≤≥" else "", *text.gaps[i + 1 :]), (0, *text.levels[i + 1 :]))
            read = _whole(options, listed, rest) or _sentences(options, listed, rest)
            return read if read.option is not None else None
    return None


def _sentences(options: OptionList, listed: tuple[str, ...], text: Words) -> Reading:
    """The first sentence that is neither a question nor a filler; a bare label in the next one that differs makes it contradictory."""
    spans = text.sentences()
    asked = [(a, b) for a, b in spans if "?" not in text.gaps[b] and _says_something(options, text, a, b)]
    if not asked:
        return Reading(None, NONE_NAMED)
    start, end = asked[0]
    if end - start == 1 and _letter_head(options, text, start) > start and len(asked) > 1:  # "4. Agree", "B. Create jobs"
        option = _head(options, text, start, end)
        if option is not None:
            return Reading(option)
    read = _sentence(options, listed, text, start, end)
    if read.reason == NONE_NAMED:
        return _read_on(options, listed, text, asked[:3], read)
    if read.option is not None and len(asked) > 1:
        a, b = asked[1]
        hit = options.match(text, a, b)
        if hit and hit.end == b and hit.option not in (None, read.option) and "?" not in text.gaps[a]:
            return Reading(None, SEVERAL, tuple(sorted((read.option, hit.option))))
        if _corrects(options, listed, text, a, b, read.option) or _opposes(options, listed, text, a, b, read.option):
            return Reading(None, CONTRADICTORY)
    return read


def _read_on(options: OptionList, listed: tuple[str, ...], text: Words, sentences: list[tuple[int, int]], first: Reading) -> Reading:
    """What the next sentence says that is a label or speaks for the person, while those before it name no label and no number; else `first`."""
    values = number_rule(listed).kind == VALUES
    for (start, end), (a, b) in zip(sentences, sentences[1:], strict=False):
        if options.hits(text, start, end) or (values and numbers_given(text, start, end, spelled=True)):
            return first
        later = _sentence(options, listed, text, a, b)
        if later.reason != NONE_NAMED:
            literal = options.yes is None or bool(set(text.words[a:b]) & option_replies.LITERAL)  # "I do" may answer another question
            habit = any(set(label) & option_clauses.ADVERBIAL for label in options.labels)  # "I always look at the stitching" tells of another habit
            own = _is_label(options, text, a, b) or (text.words[a] in _SPEAKING and literal and not habit)
            return later if own and (later.option is not None or later.reason in (option_replies.REFUSAL, option_replies.NO_OPINION)) else first
    return first


def _corrects(options: OptionList, listed: tuple[str, ...], text: Words, start: int, end: int, option: int) -> bool:
    """Whether a sentence begins as a correction ("Actually", "No, wait") and takes another option than `option`."""
    i = start
    while i < end and (size := next((len(words) for words in CORRECTIONS if text.words[i : i + len(words)] == words), 0)):
        i += size
    begins = {start, i} - {end} if i > start else set()
    return any(_sentence(options, listed, text, begin, end).option not in (None, option) for begin in begins)


def _opposes(options: OptionList, listed: tuple[str, ...], text: Words, start: int, end: int, option: int) -> bool:
    """Whether a sentence ends `option` ("Not anymore") or ends in a label of the opposite ("In practice, I disagree")."""
    mine, words, hits = options.meanings[option], text.words[start:end], options.hits(text, start, end)
    if words in ENDED:
        return mine is not None or option == options.yes
    last = hits[-1].meaning if hits and hits[-1].end == end and words[0] in CONTRASTS and not {"was", "were", "had"} & set(words) else None
    opposed = mine and last and mine.stem == last.stem and mine.sign != last.sign
    return bool(opposed) and _sentence(options, listed, text, start, end).option not in (None, option)


def _says_something(options: OptionList, text: Words, start: int, end: int) -> bool:
    """Whether a sentence is more than fillers: "I choose A" is, by its letter."""
    fillers = not set(text.words[start:end]) - _LEADS
    return not fillers or _is_label(options, text, start, end) or option_replies.letter_chosen(options, text, start, end) is not None


def _is_label(options: OptionList, text: Words, start: int, end: int) -> bool:
    hit = options.match(text, start, end)
    return hit is not None and hit.end == end and hit.option is not None


def _sentence(options: OptionList, listed: tuple[str, ...], text: Words, start: int, end: int) -> Reading:
    """Steps (5) to (7) for one sentence."""
    yesno = options.yes is not None or options.no is not None
    reply = option_replies.yes_or_no(options, text, start, end) if yesno else None
    head = _head(options, text, start, end)
    if reply == -1 and (head is None or len(options.labels[head]) == 1):
        return Reading(None, CONTRADICTORY)
    if head is not None and (reply is None or len(options.labels[head]) > 1 or head not in (options.yes, options.no)):
        return _unless_more(options, text, start, end, head)
    if reply is not None:
        return Reading(reply)
    number = _numbered(listed, text, start, end)
    if number is not None and number_rule(listed).kind == VALUES:
        return number
    said = option_clauses.read_clauses(options, text, start, end)
    if said is not None:
        return Reading(None, CONTRADICTORY) if said == option_clauses.CONFLICT else Reading(said)
    if number is not None:
        return number
    letter = option_replies.letter_chosen(options, text, start, end) if number_rule(listed).kind != VALUES else None
    if letter is not None:
        return Reading(letter)
    return Reading(None, option_replies.outcome_of(text, end) or NONE_NAMED)


def _unless_more(options: OptionList, text: Words, start: int, end: int, head: int) -> Reading:
    """The label at the head, unless another clause of the sentence is nothing but another label."""
    hits = options.hits(text, start, end)
    clauses = set(option_clauses.split_clauses(text, hits, start, end))
    alone = {hit.option for hit in hits if hit.option is not None and (hit.start, hit.end) in clauses}
    return Reading(head) if alone <= {head} else Reading(None, SEVERAL, tuple(sorted(alone | {head})))


def _numbered(listed: tuple[str, ...], text: Words, start: int, end: int) -> Reading | None:
    """The option that a number of the sentence takes; None if it gives none."""
    rule = number_rule(listed)
    given = rule.given(text, start, end)
    if not given or is_conditional(text.words, start, start, given[-1].end, end):
        return None
    taken = {rule.option(number, text) for number in given}
    if len(taken) == 1 and None not in taken:
        return Reading(taken.pop())
    named = tuple(sorted(option for option in taken if option is not None))
    return Reading(None, SEVERAL, named) if len(given) > 1 and named else Reading(None, OFF_THE_LIST)
