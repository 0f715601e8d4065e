"""Respondents: what a persona truly thinks, which option follows from it, and the words it is said in.

A closed answer comes from item response theory (Samejima's graded response model; two options make it the 2PL). The latent attitude is
the card's part, the same for every respondent with that card, plus a part of the respondent's own. The words are put together from the
phrase bank: which sentences may be said, and how likely each is, depends on the card, how many on its traits. A turn of phrase ("I guess") falls
on one answer in thirteen, whoever speaks. Words are those of the card's country. Attitude, option and sentences are kept as truth beside the record.
"""

import math
import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from .. import paths
from ..files import read_yaml, sha256
from . import personas
from .phrases import SLOT, Pattern, idiom, load_phrases, parse_pattern
from .questions import Question, load_questions

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
STANDARDISING_DRAWS = 4000
LABEL_SHARE = 0.8  # closed answers that open with their option's label; the others say it in their own words
OWN_WEIGHT = 6.0  # weight of a sentence whose condition the speaker meets; a sentence for anybody has 1


@dataclass(frozen=True)
class Answer:
    """A reference answer with its truth: 0-based `option` (-1 for open items), attitude `theta`, and the `path` of pattern ids."""

    text: str
    option: int
    theta: float
    path: tuple[str, ...]
    label_led: bool


@cache
def turns_of_phrase() -> dict:
    """`data/turns_of_phrase.yaml`: `phrases` that say nothing of the speaker, and the `share` of answers that hold one."""
    return read_yaml(paths.TURNS)


@cache
def attitude_model() -> dict:
    """`data/attitudes.yaml` with every construct's mean and spread over the population filled in."""
    model = read_yaml(paths.ATTITUDES)
    rng = random.Random("standardising draws")
    drawn = [personas.features(personas.draw_persona(rng)) for _ in range(STANDARDISING_DRAWS)]
    weights = {}
    for name, terms in model["constructs"].items():
        terms = dict(terms)
        if terms.pop("outlook", False):
            terms = {k: terms.get(k, 0) + model["outlook"].get(k, 0) for k in {**model["outlook"], **terms}}
        weights[name] = terms
    sums = {name: [_raw_attitude(w, f) for f in drawn] for name, w in weights.items()}
    model["weights"] = weights
    model["moments"] = {name: (float(np.mean(v)), float(np.std(v))) for name, v in sums.items()}
    return model


def _raw_attitude(weights: dict[str, float], feats: dict[str, frozenset[str]]) -> float:
    return sum(w for mark, w in weights.items() if mark.split("=")[1] in feats[mark.split("=")[0]])


def card_attitude(card: dict, construct: str) -> float:
    """The part of the attitude that the card tells: mean 0, variance `card_share` over the population."""
    model = attitude_model()
    mean, spread = model["moments"][construct]
    return math.sqrt(model["card_share"]) * (_raw_attitude(model["weights"][construct], personas.features(card)) - mean) / spread


def true_attitude(card: dict, construct: str, seed: int) -> float:
    """The respondent's attitude (population mean 0, variance 1): the card's part plus what only this respondent knows."""
    own = random.Random(f"attitude|{seed}|{card['persona_id']}|{construct}").gauss(0, 1)
    return card_attitude(card, construct) + math.sqrt(1 - attitude_model()["card_share"]) * own


@cache
def thresholds(marginals: tuple[int, ...]) -> np.ndarray:
    """Item thresholds at which a standard-normal population chooses the options with the given shares (in %)."""
    slope, wanted, cuts = attitude_model()["discrimination"], np.cumsum(marginals)[:-1] / 100, []
    for below in wanted:
        low, high = -6.0, 6.0
        for _ in range(60):
            middle = (low + high) / 2
            share = 1 - (_WEIGHTS / (1 + np.exp(-slope * (_NODES - middle)))).sum()
            low, high = (middle, high) if share < below else (low, middle)
        cuts.append((low + high) / 2)
    return np.array(cuts)


def option_probabilities(question: Question, theta: np.ndarray | float) -> np.ndarray:
    """P(option | attitude), shape (..., options); reverse-keyed items see its negative. Source: Samejima (1969), graded response model, one slope."""
    ability = np.asarray(theta, dtype=float)[..., None] * question.key
    above = 1 / (1 + np.exp(-attitude_model()["discrimination"] * (ability - thresholds(question.marginals))))
    edges = np.concatenate([np.ones_like(above[..., :1]), above, np.zeros_like(above[..., :1])], axis=-1)
    return edges[..., :-1] - edges[..., 1:]


def card_probabilities(card: dict, question: Question) -> np.ndarray:
    """P(option | card), the respondent's own part integrated out: what a perfect reader of the card would predict."""
    own = math.sqrt(1 - attitude_model()["card_share"]) * _NODES
    return (_WEIGHTS[:, None] * option_probabilities(question, card_attitude(card, question.construct) + own)).sum(0)


@cache
def _sections(question_id: str) -> dict:
    """The parsed phrase-bank entry of a question: section name -> list of patterns, themes, lexicons."""
    entry = _bank()[question_id]

    def parsed(section: str, lines: list[str]) -> list[Pattern]:
        return [parse_pattern(f"{question_id}/{section}#{i}", line) for i, line in enumerate(lines)]

    sections = {"lex": entry.get("lex", {}), "details": parsed("details", entry.get("details", []))}
    for level, lines in entry.get("stance", {}).items():
        sections[f"stance.{level}"] = parsed(f"stance.{level}", lines)
    for side, lines in entry.get("reasons", {}).items():
        sections[f"reasons.{side}"] = parsed(f"reasons.{side}", lines)
    sections["themes"] = [
        {"name": t["name"], "for": [(parse_pattern(f"{question_id}/{t['name']}.for", f"[{k}]"), w) for k, w in t.get("for", {}).items()]}
        | {part: parsed(f"{t['name']}.{part}", t[part]) for part in ("openings", "bodies", "closings")}
        for t in entry.get("themes", [])
    ]
    return sections


def find_pattern(pattern_id: str) -> Pattern:
    """The authored sentence that a truth path names, such as `finance.open.1/saving.bodies#2`. Raises KeyError for an unknown place."""
    return {p.id: p for p in _patterns(pattern_id.partition("/")[0])}[pattern_id]


def _patterns(question_id: str) -> list[Pattern]:
    """Every pattern of a question."""
    sections = _sections(question_id)
    flat = [p for name, section in sections.items() if name not in ("lex", "themes") for p in section]
    return flat + [p for theme in sections["themes"] for part in ("openings", "bodies", "closings") for p in theme[part]]


@cache
def _bank() -> dict[str, dict]:
    return {qid: entry for file in sorted(paths.PHRASES.glob("*.yaml")) for qid, entry in load_phrases(file).items()}


class Speaker:
    """Puts answers into words for one data set; remembers how often a pattern was used so that no phrase becomes a refrain.

    Args:
        held_out: patterns this speaker may not use (nano pre-training leaves a fifth of the bank out).
        cap: how often one pattern may be used within a question; None for no limit.
    """

    def __init__(self, *, held_out: frozenset[str] = frozenset(), cap: int | None = None):
        self.held_out, self.cap, self.used = held_out, cap, Counter()

    def choose(self, rng: random.Random, patterns: list[Pattern], feats: dict, count: int = 1) -> list[Pattern]:
        """Draw `count` different patterns the speaker may use; those with met conditions and little use first."""
        fitting = [p for p in patterns if p.id not in self.held_out and p.allows(feats)]
        fresh = [p for p in fitting if self.cap is None or self.used[p.id] < self.cap]
        pool, chosen = list(fresh if len(fresh) >= count else fitting or [p for p in patterns if p.allows(feats)]), []
        while pool and len(chosen) < count:
            weights = [(OWN_WEIGHT if p.when else 1.0) / ((1 + self.used[p.id]) ** 2 if self.cap else 1) for p in pool]
            pick = rng.choices(range(len(pool)), weights)[0]
            chosen.append(pool.pop(pick))
        self.used.update(p.id for p in chosen)
        return chosen

    def answer(self, card: dict, question: Question, *, seed: int, draw: int = 0, wording: int = 0, option: int | None = None) -> Answer:
        """One answer of this respondent; `draw` > 0 asks again (same attitude, new choice and words), `wording` > 0 says the same otherwise.

        `option` puts that option into the respondent's mouth instead of drawing one (closed items).
        """
        rng = random.Random(f"answer|{seed}|{card['persona_id']}|{question.id}|{draw}")
        feats, sections = personas.features(card), _sections(question.id)
        if question.type == "open":
            rng = random.Random(f"words|{rng.random()}|{wording}")
            parts, option, theta, label = self._open_parts(rng, feats, sections), -1, float("nan"), ""
        else:
            theta = true_attitude(card, question.construct, seed)
            drawn = rng.choices(range(len(question.options)), option_probabilities(question, theta))[0]
            option = drawn if option is None else option
            rng = random.Random(f"words|{rng.random()}|{wording}")
            parts, label = self._closed_parts(rng, feats, sections, question, option)
        words, lexicons = personas.slots(card, rng), {name: rng.sample(options, len(options)) for name, options in sections["lex"].items()}
        filled = [_realise(p, words | {name: options[k % len(options)] for name, options in lexicons.items()}) for k, p in enumerate(parts)]
        turns = turns_of_phrase()
        first = f"{label}." if label else filled.pop(0)
        if rng.random() < turns["share"]:
            first = _with_turn(first, rng.choice(turns["phrases"]))
        text = in_country(" ".join([first, *filled]), next(iter(feats["country"]), ""), keep=len(label))
        return Answer(text, option, theta, tuple(p.id for p in parts), bool(label))

    def _closed_parts(self, rng, feats, sections, question, option) -> tuple[list[Pattern], str]:
        middle = (len(question.options) - 1) / 2
        side = "low" if option < middle else "high" if option > middle else "mid"
        reasons = self.choose(rng, sections[f"reasons.{side}"], feats)
        led = rng.random() < LABEL_SHARE
        label = question.options[option] if led else ""
        stance = [] if led else self.choose(rng, sections[f"stance.{option + 1}"], feats)
        wordy = 0.4 if "outgoing" in feats["trait"] else 0.1 if feats["trait"] & {"reserved", "blunt"} else 0.2
        details = self.choose(rng, sections["details"], feats) if rng.random() < (wordy if led else wordy / 2) else []
        return stance + reasons + details, label

    def _open_parts(self, rng, feats, sections) -> list[Pattern]:
        weights = [math.prod(w for mark, w in t["for"] if mark.allows(feats)) for t in sections["themes"]]
        weights = [w / (1 + self.used[t["openings"][0].id.split("#")[0]]) if self.cap else w for w, t in zip(weights, sections["themes"], strict=True)]
        theme = rng.choices(sections["themes"], weights)[0]
        self.used[theme["openings"][0].id.split("#")[0]] += 1
        length = 2 if feats["trait"] & {"reserved", "blunt"} and rng.random() < 0.6 else 3 if "outgoing" in feats["trait"] and rng.random() < 0.5 else 2
        parts = self.choose(rng, theme["openings"], feats) + self.choose(rng, theme["bodies"], feats, length)
        if sections["details"] and rng.random() < 0.25:
            parts += self.choose(rng, sections["details"], feats)
        return parts + (self.choose(rng, theme["closings"], feats) if rng.random() < 0.5 else [])


def _realise(pattern: Pattern, words: dict[str, str]) -> str:
    """Fill a pattern's slots; the sentence starts with a capital."""
    text = SLOT.sub(lambda m: words[m[1]], pattern.text)
    return text[0].upper() + text[1:]


def _with_turn(sentence: str, turn: str) -> str:
    """The sentence with a turn of phrase: at its end ("Agree, I guess."), before a question or an exclamation."""
    if sentence.endswith("."):
        return f"{sentence[:-1]}, {turn}."
    own = sentence if re.match(r"I\b", sentence) else sentence[0].lower() + sentence[1:]
    return f"{turn[0].upper()}{turn[1:]}, {own}"


def in_country(text: str, country: str, *, keep: int = 0) -> str:
    """`text` (American English) in the words of a country (a key of `data/idiom.yaml`; any other changes nothing); the first `keep` characters stay."""
    words = idiom()["words"].get(country) or {}
    if not words:
        return text

    def local(match: re.Match) -> str:
        word = words[match[0].lower()]
        return word[0].upper() + word[1:] if match[0][0].isupper() else word

    return text[:keep] + _foreign_words(country).sub(local, text[keep:])


@cache
def _foreign_words(country: str) -> re.Pattern:
    """Matches every word that the country says otherwise, the longest first."""
    words = sorted(idiom()["words"][country], key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)


def held_out_patterns() -> frozenset[str]:
    """Ids of the patterns kept from nano pre-training: a fixed fifth of the bank, chosen by hash of their text."""
    return frozenset(p.id for qid in load_questions() for p in _patterns(qid) if int(sha256(p.text)[:8], 16) / 2**32 < 0.2)
