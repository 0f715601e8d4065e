"""What a sentence says about options that it names: a small English grammar of clauses.

A clause takes an option if every word before the label is understood: a speaker ("I", "we", "it"), verbs of saying and choosing, adverbs, degrees, "not".
Any other word before the label leaves the clause unread: other people's views, conditions, the past ("used to"), distance ("hard to", "far from") and other
languages are never guessed at. Clauses rank by how plainly they speak; two of the same rank that differ contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .option_list import DEGREES, Hit, Meaning, OptionList, degree_of, merged
from .option_replies import TAKES_BACK, is_conditional, is_outweighed, refuses
from .option_words import Words

_BARE, _STATED, _DESCRIBED, _PAST, _USED = 5, 4, 3, 2, 1  # "Agree" · "I agree with it" · "the food is good" · "I was satisfied" · "I often go there"
CONFLICT, _DENIED = -1, -2  # two options at once; the opposite of an option denied ("not dissatisfied"), which is no option
_FILL = set(
    "well honestly hmm oh so um uh frankly personally ok okay overall actually basically just only still also now today currently indeed truly firmly "
    "perhaps maybe then "
    "really simply certainly definitely probably usually absolutely for sure please and yes yeah like course of altogether thanks therefore hence "
    "respectfully reluctantly grudgingly "
    "thus finally firmly "
    "clearly obviously generally mostly even tbh imo imho lol haha honest".split()
)
_SPEAKER = set("i we it that this my me myself mine our ich je yo eu io 我 私 は я".split())
_VERBS = set(
    "am is are be been would will shall do did does have has had can could must may might say said choose chose chosen select selected pick picked "
    "answer go going with vote voted "
    "voting prefer want rate rated mark put call consider give feel felt think thought believe guess suppose lean leaning towards toward to tend as "
    "at a an the on by in option choice "
    "view opinion response rating identify count work there here happens happen vote support position stance bin suis soy estoy sono remain".split()
) - {"thought", "could", "might", "may"}
_PASSED = {"was", "were"}
_OTHERS = set(
    "people person friend friends other others some many most everyone everybody anyone anybody nobody someone somebody they he she who whoever "
    "colleague colleagues neighbor "
    "neighbors neighbour neighbours family wife husband mother father son daughter boss parents majority critics statement says society".split()
)
_DOUBT = set(
    "not no never nor doubt hard difficult fail failed refuse unable used wish hope whether if why unless hardly scarcely barely without instead "
    "rather than cannot pretend should "
    "supposed expected far less more anything nothing where when ever impossible struggle hesitate deny question wrong lying lie false untrue mistake "
    "claim".split()
)
_OPENERS = set(
    "as after in on at for with given from having being over here today these living by during speaking most all some last this after back out up".split()
)
_SPLIT = set("but yet however although though because since so while whereas unless if when where".split())
_SUBORDINATE = set("although though because since while whereas unless if when where as given considering even".split())
_LINKS = set(
    "with that to in on at for about because as since when overall this these those it and but though although so if unless by from considering given "
    "most all i we my our right now "
    "today lately always sometimes really here there mind or depending especially particularly mainly mostly until during after before every each "
    "across too also then thanks "
    "personally honestly".split()
)
_AFTER = _FILL | set("i think say guess suppose would believe feel am so indeed too then this that it these days there of it".split())
ADVERBIAL = {"never", "rarely", "seldom", "sometimes", "often", "usually", "always", "occasionally", "frequently"}
_OMITS = set("miss missed skip skipped forget forgot fail failed avoid avoided refuse refused stop stopped leave not".split())  # "I never miss it"
_TRIES = [[word, "to"] for word in ("try", "want", "mean", "wish", "hope", "plan")]  # "I always try to, but …"
_WISHES = (["want", "to"], ["like", "to"], ["love", "to"])  # "I'd like to agree"
_NOTHING = {"nothing", "neither", "none", "nobody", "few", "little", "nowhere"}  # "I agree with nothing here"
_ANSWERS = {"answer", "choice", "pick", "response", "view", "opinion", "vote", "rating"}  # "Agree is my answer"
_MOODS = {"feeling", "feelings", "impression", "experience", "verdict", "mood"}  # "my overall feeling is satisfied"
_FEELINGS = {"agree", "satisfied", "approve", "favor", "happy", "concerned", "worried", "interested", "comfortable", "confident", "support", "trust"}
_MOST_LABELS, _MOST_WORDS = 8, 60  # of one clause that are looked at, which keeps long texts linear
_OBJECTS = {"with", "it", "this", "that", "them", "the", "statement", "idea", "point", "view", "here"}
_CLOSES = ([], ["and"], ["without"], ["in"], ["on"])
_JOINED = (("or",), ("and",), ("nor",), (), ("to",), ("with",), ("for",), ("as", "well", "as"))  # what stands between two labels that are named together
_ARTICLES = {"a", "an", "the", "my", "no"}


class Statement(NamedTuple):
    """One clause's option (CONFLICT: two at once) and its rank."""

    option: int
    rank: float


def split_clauses(text: Words, hits: Sequence[Hit], start: int, end: int) -> list[tuple[int, int]]:
    """(first word, word after the last) of each clause: cut at commas, colons, brackets, dashes and conjunctions, never inside a label."""
    inside = {i for hit in hits for i in range(hit.start + 1, hit.end)} | {hit.start for hit in hits if text.words[hit.start] in _SPLIT}
    cuts, heads = [start], {hit.start for hit in hits}
    for i in range(start + 1, end):
        before = text.words[i - 1]
        degree = text.words[i] == "so" and text.levels[i] < 2 and (i + 1 in heads or before in ("not", "is", "am", "are", "was", "much", "think", "feel", "do"))
        besides = text.words[i] == "but" and before in ("anything", "anyone", "everything", "nothing", "all", "none", "one")
        splits = text.words[i] in _SPLIT and not degree and not besides
        if (text.levels[i] >= 2 and i not in inside) or (splits and i not in inside):
            cuts.append(i)
    return [(a, b) for a, b in zip(cuts, [*cuts[1:], end], strict=True) if b > a]


def read_clauses(options: OptionList, text: Words, start: int, end: int) -> int | None:
    """The option that the sentence states, CONFLICT for two that contradict each other, None for none."""
    hits = [hit for hit in options.hits(text, start, end) if text.words[hit.start : hit.end] not in (("yes",), ("no",))]
    if not hits or options.letters:
        return None
    statements, qualified, k = [], [], 0
    for a, b in split_clauses(text, hits, start, end):
        within = []
        while k < len(hits) and hits[k].start < b:
            within.append(hits[k])
            k += 1
        unreal = is_conditional(text.words, start, a, b, end) or is_outweighed(text.words, a, b, end)
        if text.words[a] == "otherwise" and statements and {hit.option for hit in within} - {s.option for s in statements}:
            return CONFLICT
        sequel = text.words[a] == "then" and hits[0].start < a  # "first jobs, then taxes"
        statement = None if unreal or sequel else _clause(options, text, a, b, within)
        beside = statement and a > start and (statement.rank == _USED or (text.words[a] == "but" and statement.rank % 1))
        (qualified if beside else statements).extend([statement] if statement else [])  # "Constantly, it never stops", "sometimes, but not that often"
    top = max((s.rank for s in statements), default=0)
    if top == _PAST and len(hits) > len(statements) + len(qualified):
        return None  # "I was satisfied, but since March dissatisfied"
    said = {s.option for s in [*statements, *(qualified if top == _USED else [])] if s.rank == top}
    return None if said <= {_DENIED} else said.pop() if len(said) == 1 else CONFLICT


def _clause(options: OptionList, text: Words, a: int, b: int, hits: list[Hit]) -> Statement | None:
    """What one clause states: its first label that is stated, unless another label follows it with "or", "and" or "nor"."""
    words = text.words
    if words[a] in _SUBORDINATE and not any(hit.start == a for hit in hits):
        return None
    for hit, later in zip(hits[:_MOST_LABELS], [*hits[1:], None], strict=False):
        if later and later.option != hit.option and words[hit.end : later.start] in _JOINED:
            joined = _neither(options, words[a : hit.start], words[hit.end : later.start])
            return Statement(CONFLICT if joined is None else joined, _BARE)
        statement = _stated(options, text, a, b, hit)
        if statement:
            return Statement(CONFLICT, statement.rank) if _goes_on(text, hit, later, statement.option) else statement
    return None


def _goes_on(text: Words, hit: Hit, later: Hit | None, option: int) -> bool:
    """Whether "and" joins another label to the one that is stated ("satisfied with the nurse and dissatisfied with the food")."""
    if later is None or later.option in (None, option):
        return False
    between = set(text.words[hit.end : later.start])
    return "and" in between and not between & ({"that", "i"} | _OTHERS - {"some", "others"})


def _neither(options: OptionList, before: tuple[str, ...], between: tuple[str, ...]) -> int | None:
    """The neutral option for "neither satisfied nor dissatisfied"."""
    return options.neutral if before[-1:] == ("neither",) and between in (("nor",), ("or",)) and not set(before) & _DOUBT else None


def _stated(options: OptionList, text: Words, a: int, b: int, hit: Hit) -> Statement | None:
    """The option that a label takes with the words of its clause around it; None where one of them is not understood."""
    if hit.start - a > _MOST_WORDS:
        return None
    before, after = _idiom(list(text.words[a : hit.start]), list(text.words[hit.end : min(b, hit.end + _MOST_WORDS)]))
    while before and before[0] in _SPLIT | {"and"}:
        before.pop(0)
    frame = _frame(before, hit)
    if frame is None:
        return None
    rank, degrees = frame
    adverb = text.words[hit.start] in ADVERBIAL and hit.end - hit.start == 1
    knows = text.words[hit.end - 1] == "know"
    trailing = _trailing(before, merged(after), adverb, rank, hit, knows)
    if trailing is None:
        return None
    option = _with_degrees(options, hit, text.words[hit.start : hit.end], [*degrees, *trailing])
    if option is None:
        return None
    if adverb and (set(after[:1]) & _OMITS or (after in _TRIES and set(text.words[b : b + 1]) & TAKES_BACK)):
        return None
    if hit.meaning is not None and hit.meaning.stem == ("likely",) and refuses(after):
        return None
    rest = [word for word in merged(after) if word not in DEGREES and word not in _AFTER]
    if rank == _BARE and rest:
        rank = _STATED
    if adverb and rest and rest[0] not in _LINKS:
        rank = _USED
    return Statement(option, rank - (0.5 if any(DEGREES.get(word) == "not" for word in degrees) else 0))


def _idiom(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """ "Could not agree more" and "could not be more satisfied" as "very"."""
    if "not" in before and after[:1] == ["more"] and after[1:2] != ["than"]:
        return ["i", "very"], after[1:]
    if "not" in before and before[-1] == "more":
        return ["i", "very"], after
    return before, after


def _frame(before: list[str], hit: Hit) -> tuple[int, list[str]] | None:
    """(rank, words of degree and denial) of the words before a label; None if they are not a frame."""
    denied = []
    if (place := _raised(before)) is not None:
        before, denied = before[place:], ["not"]
    tail = merged(before)
    known = 0
    denies = "not" in tail or "never" in tail
    while known < len(tail) and (_understood(tail[-1 - known]) or (tail[-1 - known] in ("always", "could") and denies == (tail[-1 - known] == "could"))):
        known += 1
    tail, head = tail[len(tail) - known :], tail[: len(tail) - known]
    degrees = denied + [word for word in tail if word in DEGREES or word in ("almost", "nearly", "practically", "virtually")]
    past = bool(_PASSED & set(tail))
    if tail[-2:] in _WISHES:
        return None
    if not head:
        spoken = any(word in _SPEAKER or word in ("am", "is") for word in tail)
        return (_PAST if past else _STATED if spoken and past else _BARE), degrees
    if set(head) & _DOUBT or "hand" in head or head[:2] == ["in", "some"]:
        return None
    if head[0] in _OPENERS and not set(head) & (_OTHERS - {"some", "most"}) and "i" in tail:
        return (_PAST if past else _STATED), degrees
    described = len(head) <= 5 and tail[:1] and tail[0] in ("is", "are", "was", "were")
    of_things = hit.meaning is not None and not set(hit.meaning.stem) & _FEELINGS
    feeling = not set(head) & _OTHERS and (head[0] not in ("my", "the", "our") or head[-1] in _MOODS)  # not "my doctor is satisfied"
    return (_DESCRIBED, degrees) if described and (of_things or feeling) else None


def _understood(word: str) -> bool:
    return word in _FILL or word in _SPEAKER or word in _VERBS or word in DEGREES or word in _PASSED or word in ("almost", "nearly", "practically", "virtually")


def _raised(before: list[str]) -> int | None:
    """Where the clause under "I do not think" begins: its denial belongs to what follows. None without one."""
    for i in range(len(before) - 1):
        if before[i] == "not" and before[i + 1] in ("think", "believe", "feel", "say") and "i" in before[:i]:
            return i + 2
    return None


def _trailing(before: list[str], after: list[str], adverb: bool, rank: int, hit: Hit, knows: bool) -> list[str] | None:
    """Degree words behind a label; None where what follows takes the label back ("is not", "than") or makes it a part of another phrase ("a good idea")."""
    degrees = []
    while after and after[0] in DEGREES and DEGREES[after[0]] != "not":
        degrees.append(after.pop(0))
    objects = 0
    while objects < min(5, len(after)) and after[objects] in _OBJECTS:
        objects += 1
    behind = after[objects : objects + 1]
    if behind and DEGREES.get(behind[0], "not") != "not" and after[objects + 1 : objects + 2] in _CLOSES:
        return [*degrees, after[objects]]
    if not after:
        return degrees
    if knows and after[0] not in _LINKS:
        return None
    if (after[:2] == ["is", "my"] and set(after[2:3]) & _ANSWERS) or (after[:3] == ["would", "be", "my"] and set(after[3:4]) & _ANSWERS):
        return degrees
    if "until" in after or (rank != _DESCRIBED and after[0] in ("with", "on", "in", "about") and set(after[1:2]) & _NOTHING):
        return None
    if after[0] in ("not", "than", "or", "nor", "no") or (after[0] == "as" and before[-1:] in (["as"], ["so"])):
        return None
    if after[0] in ("is", "was", "are", "would") and after[1:2] != ["my"]:
        return None
    if before[-1:] and before[-1] in ("more", "less", "most", "least", "as", "too") and rank != _DESCRIBED:
        return None
    attributive = hit.meaning is not None and before[-1:] and before[-1] in _ARTICLES
    bare = not before or all(word in _FILL or word in DEGREES or word in _ARTICLES for word in before)
    if (bare or attributive) and after[0] not in _LINKS and (after[0] not in _FILL or (after[0] == "of" and after[1:2] != ["course"])):
        return degrees if adverb and before else None
    return degrees


def _with_degrees(options: OptionList, hit: Hit, words: tuple[str, ...], degrees: list[str]) -> int | None:
    """The option of a label under the degree and denial words around it."""
    near = [word for word in degrees if word in ("almost", "nearly", "practically", "virtually")]
    degrees = [word for word in degrees if word in DEGREES]
    if near:
        turned = {"always": "often", "never": "rarely"}.get(words[-1]) if len(words) == 1 else None
        return next((i for i, label in enumerate(options.labels) if label == (turned,)), None) if turned else None
    degree = degree_of(degrees)
    if degree == ("plain", ""):
        return hit.option if hit.option is not None else options.meant(hit.meaning)
    if hit.meaning is None:
        denied = any(DEGREES[word] == "not" for word in degrees)
        return None if denied or degree is None else hit.option
    if hit.meaning.degree == "plain":
        return _changed(options, hit.meaning, degree)
    if any(DEGREES[word] == "not" for word in degrees):
        inner = degree_of([*degrees, *([hit.meaning.word] if hit.meaning.word else [])])
        return options.meant(Meaning(hit.meaning.stem, 1, *inner)) if inner and hit.meaning.sign == 1 else None
    return hit.option


def _changed(options: OptionList, meaning: Meaning, degree: tuple[str, str] | None) -> int | None:
    """The option of a plain core under a degree; denials of the opposite word ("not dissatisfied") say no option."""
    if degree is None:
        return None
    if meaning.sign == -1 and degree[0].startswith("not"):
        return _DENIED
    return options.meant(Meaning(meaning.stem, meaning.sign, *degree))
