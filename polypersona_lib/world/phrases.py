"""The authored sentences that respondents speak with, and the rules they must keep.

One YAML file a domain in `data/phrase_bank/`, keyed by the question ids of the question bank. A sentence is a *pattern*: text with `{slots}` that the
respondent's own card fills, and an optional `[conditions]` prefix that says who may use it.
`python -m polypersona_lib.world.phrases` checks the whole bank and lists every breach with its place.
"""

import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..files import read_yaml
from ..paths import IDIOM, PHRASES
from .questions import load_questions

_CONDITIONS = {
    "value": ("security", "tradition", "kindness", "fairness", "achievement", "independence", "adventure", "enjoyment", "status", "discipline"),
    "trait": ("curious", "practical", "organised", "spontaneous", "outgoing", "reserved", "warm", "blunt", "anxious", "calm"),
    "interest": ("outdoors", "tech", "arts", "sports", "home", "community", "food", "learning"),
    "job": ("professional", "educator", "student", "health", "technical", "service", "trade", "home"),
    "age": ("young", "mid", "older"),
    "income": ("low", "mid", "high"),
    "edu": ("school", "college", "degree"),
    "area": ("rural", "suburban", "urban"),
    "family": ("kids", "partner", "single", "parents", "grandkids"),
    "voice": ("plain", "warm", "formal", "casual"),
    "country": ("us", "uk", "canada", "australia", "india", "nigeria", "philippines", "brazil", "germany"),
}
PERSONA_SLOTS = frozenset("a_job place task people interest interest2 value value2 trait trait2 region area age decade study budget family".split())
SLOT = re.compile(r"\{(\w+)\}")
MAX_SHARED_WORDS = 0.60
_FUNCTION_WORDS = frozenset(
    "a about after again all am an and any are as at be because been before but by can can't did didn't do does doesn't don't down even every few "
    "for from get got had has have he her here him his how i i'd i'll i'm i've if in into is isn't it it's its just like made make me more most "
    "much my myself never no not now of off on one only or other our out over own people really she since so some than that that's the their them "
    "then there they they're thing things think this time to too up us very want was wasn't way we were what when where which while who will with "
    "without won't work would you your".split()
)


@dataclass(frozen=True)
class Pattern:
    """One authored sentence: `text` with slots, and the conditions a speaker must meet (all of them)."""

    id: str
    text: str
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def allows(self, features: dict[str, frozenset[str]]) -> bool:
        """True if every condition names at least one of the speaker's `features`."""
        return all(features[key] & set(values) for key, values in self.when)


def parse_pattern(pattern_id: str, line: str) -> Pattern:
    """Read `[key=a|b, key2=c] text` into a Pattern. Raises ValueError for an unknown condition or value."""
    match = re.match(r"^\[([^\]]*)\]\s*(.*)$", line, flags=re.S)
    if not match:
        return Pattern(pattern_id, line)
    when = []
    for condition in match.group(1).split(","):
        key, _, values = condition.strip().partition("=")
        chosen = tuple(v.strip() for v in values.split("|"))
        if key not in _CONDITIONS or not set(chosen) <= set(_CONDITIONS[key]):
            raise ValueError(f"{pattern_id}: unknown condition '{condition.strip()}'; choose from {_CONDITIONS.get(key) or sorted(_CONDITIONS)}")
        when.append((key, chosen))
    return Pattern(pattern_id, match.group(2), tuple(when))


def words(text: str) -> list[str]:
    """Lower-cased words of a pattern, every slot replaced by one mark."""
    return re.findall(r"[\w'\u2022-]+", SLOT.sub("\u2022", text).replace("\u2019", "'").lower())


def shared_words(a: str, b: str) -> float:
    """Share of the shorter sentence's distinct content words (no slots, no function words) that the longer one has too, in [0, 1]; 0 below three of them."""
    first, second = (set(words(t)) - {"\u2022"} - _FUNCTION_WORDS for t in (a, b))
    least = min(len(first), len(second))
    return len(first & second) / least if least >= 3 else float(words(a) == words(b))


@cache
def idiom() -> dict:
    """`data/idiom.yaml`: what a word is called elsewhere (`words`: country -> {American word: local word}), and words that belong to countries (`local`)."""
    return read_yaml(IDIOM)


def local_words(text: str) -> list[tuple[str, list[str]]]:
    """(word, countries where it is said) for every word of `text` that belongs to some countries only."""
    said = f" {' '.join(words(text))} "
    return [(word, countries) for word, countries in idiom()["local"].items() if f" {word} " in said or f" {word}s " in said]


def iter_lines(question: dict):
    """Yield (section, line) for every authored sentence of one question entry, in file order."""
    for level, lines in question.get("stance", {}).items():
        yield from ((f"stance.{level}", line) for line in lines)
    for side, lines in question.get("reasons", {}).items():
        yield from ((f"reasons.{side}", line) for line in lines)
    for theme in question.get("themes", []):
        for part in ("openings", "bodies", "closings"):
            yield from ((f"{theme['name']}.{part}", line) for line in theme[part])
    yield from (("details", line) for line in question.get("details", []))


def check_question(qid: str, question: dict, options: int) -> list[str]:
    """Every breach of the authoring rules in one question (with `options` answer options, 0 if open), as `place: what` lines."""
    breaches, patterns = [], []
    for number, (section, line) in enumerate(iter_lines(question)):
        place = f"{qid}/{section}#{number}"
        try:
            pattern = parse_pattern(place, line)
        except ValueError as error:
            breaches.append(str(error))
            continue
        patterns.append((place, pattern))
        for slot in SLOT.findall(pattern.text):
            if slot not in PERSONA_SLOTS and slot not in question.get("lex", {}):
                breaches.append(f"{place}: unknown slot {{{slot}}}")
        if not pattern.text.rstrip().endswith((".", "!", "?")):
            breaches.append(f"{place}: not a finished sentence")
        if not 2 <= len(words(pattern.text)) <= 30:
            breaches.append(f"{place}: {len(words(pattern.text))} words (2-30)")
        for word, countries in local_words(pattern.text):
            if not set(dict(pattern.when).get("country", ("anywhere",))) <= set(countries):
                breaches.append(f"{place}: “{word}” is said in {', '.join(countries) or 'no country'} only: write [country=...] or another word")
    for i, (place, a) in enumerate(patterns):
        for other, b in patterns[:i]:
            share = shared_words(a.text, b.text)
            if share > MAX_SHARED_WORDS:
                breaches.append(f"{place}: shares {share:.0%} of its words with {other}: “{a.text}” ~ “{b.text}”")
    grams = defaultdict(set)
    for place, pattern in patterns:
        tokens = words(pattern.text)
        for i in range(len(tokens) - 3):
            grams[tuple(tokens[i : i + 4])].add(place)
    breaches += [f"{qid}: 4 words “{' '.join(g)}” in {len(p)} patterns (at most 3)" for g, p in grams.items() if len(p) > 3]
    return breaches + check_shape(qid, question, options)


def check_shape(qid: str, question: dict, options: int) -> list[str]:
    """Missing parts and thin sections of one question entry."""
    breaches = []
    for name, values in question.get("lex", {}).items():
        if name in PERSONA_SLOTS or len(values) < 4:
            breaches.append(f"{qid}: lexicon '{name}' needs its own name and at least 4 entries")
    if not options:
        if len(question["themes"]) < 5:
            breaches.append(f"{qid}: needs at least 5 themes")
        for theme in question["themes"]:
            for part, least in (("openings", 2), ("bodies", 3), ("closings", 2)):
                if len(theme[part]) < least:
                    breaches.append(f"{qid}/{theme['name']}.{part}: needs at least {least}")
        return breaches
    least = {"stance": 5 if options == 2 else 3, "low": 5, "mid": 0 if options == 2 else 3, "high": 5}
    for level in range(1, options + 1):
        if len(question["stance"].get(level, [])) < least["stance"]:
            breaches.append(f"{qid}/stance.{level}: needs at least {least['stance']}")
    for side in ("low", "mid", "high"):
        if len(question["reasons"].get(side, [])) < least[side]:
            breaches.append(f"{qid}/reasons.{side}: needs at least {least[side]}")
    free = [line for line in question["details"] if not line.startswith("[")]
    if len(question["details"]) < 4 or len(free) < 2:
        breaches.append(f"{qid}/details: needs at least 4, two of them free of conditions")
    return breaches


def load_phrases(path: Path) -> dict[str, dict]:
    """Read one domain file: question id -> entry. Raises ValueError when the file is not such a mapping."""
    content = read_yaml(Path(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of question ids")
    return content


def main() -> int:
    """Print every breach in the bank and a count of patterns; exit status 1 if there is any."""
    questions, total = load_questions(), Counter()
    entries = {qid: entry for file in sorted(PHRASES.glob("*.yaml")) for qid, entry in load_phrases(file).items()}
    breaches = [f"{qid}: in one of question bank and phrase bank only" for qid in entries.keys() ^ questions.keys()]
    for qid in entries.keys() & questions.keys():
        total[questions[qid].type] += sum(1 for _ in iter_lines(entries[qid]))
        breaches += check_question(qid, entries[qid], len(questions[qid].options))
    print("\n".join(sorted(breaches)))
    print(f"{sum(total.values())} patterns {dict(sorted(total.items()))}, {len(breaches)} breaches")
    return int(bool(breaches))


if __name__ == "__main__":
    sys.exit(main())
