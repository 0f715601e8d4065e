"""The 82 survey items: wording, type, scale, construct. Hierarchical JSON: domain -> likert / open / yesno / agreement."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from .. import paths

DOMAINS = {  # key -> name as in the paper
    "demographics": "Demographics", "healthcare": "Healthcare", "education": "Education", "work_experience": "Work Experience", "technology": "Technology",
    "consumer_preferences": "Consumer Preferences", "finance": "Finance", "social_issues": "Social Issues", "environment": "Environment",
    "lifestyle": "Lifestyle",
}  # fmt: skip
TYPES = ("open", "likert", "yesno", "agreement")


def domain_names(present: Iterable[str]) -> dict[str, str]:
    """Key -> name of the domains in `present`: the paper's in its order, then foreign ones, whose key is their name."""
    present = set(present)
    return {key: DOMAINS.get(key, key) for key in [*DOMAINS, *sorted(present - set(DOMAINS))] if key in present}


@dataclass(frozen=True)
class Question:
    """One item. `options` is () for open items; `key` is -1 where a high option means less of the construct."""

    id: str
    domain: str
    type: str
    text: str
    construct: str
    instrument: str
    paraphrases: tuple[str, ...]
    scale: str = ""
    key: int = 1
    marginals: tuple[int, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The option labels from lowest to highest; () for an open item."""
        return SCALES[self.scale] if self.scale else ()


@cache
def load_questions() -> dict[str, Question]:
    """Every question by id, in the file's order. Raises ValueError naming the entry that does not fit."""
    bank = json.loads(paths.QUESTION_BANK.read_text(encoding="utf-8"))
    questions = {}
    for domain, by_type in bank.items():
        for kind, entries in by_type.items():
            for entry in entries:
                try:
                    lists = {k: tuple(entry[k]) for k in ("paraphrases", "marginals") if k in entry}
                    question = Question(domain=domain, type=kind, **{**entry, **lists})
                except TypeError as error:
                    raise ValueError(f"{paths.QUESTION_BANK}: {domain}/{kind}/{entry.get('id')}: {error}") from None
                questions[question.id] = question
    return questions


SCALES = {
    "agreement": ("Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree"),
    "satisfaction": ("Very dissatisfied", "Dissatisfied", "Neither satisfied nor dissatisfied", "Satisfied", "Very satisfied"),
    "frequency": ("Never", "Rarely", "Sometimes", "Often", "Always"),
    "extent": ("Not at all", "Slightly", "Moderately", "Very much", "Extremely"),
    "quality": ("Very poor", "Poor", "Fair", "Good", "Very good"),
    "likelihood": ("Very unlikely", "Unlikely", "Undecided", "Likely", "Very likely"),
    "yesno": ("No", "Yes"),
}
DEFAULT_OPTIONS = {"likert": SCALES["agreement"], "agreement": SCALES["agreement"], "yesno": SCALES["yesno"]}  # foreign data name no options


def options_of(frame: pd.DataFrame) -> list:
    """Each row's options; foreign closed items without any are read on the usual scale of their type; None for open items."""
    given = frame["options"] if "options" in frame else [None] * len(frame)
    return [
        list(o) if o is not None and len(o) else list(DEFAULT_OPTIONS[t]) if t in DEFAULT_OPTIONS else None
        for o, t in zip(given, frame["question_type"], strict=True)
    ]


# --- one order of the options for everybody who is asked the same thing --------------------------------------------------------------


def label_set(options: Sequence[str] | None) -> frozenset[str] | None:
    """What a list of options offers, whatever their order, case and spacing; None for an open row."""
    return frozenset(map(_fold, options)) if options is not None and np.ndim(options) else None


def _fold(label: str) -> str:
    return " ".join(str(label).split()).casefold()


def common_orders(lists: Sequence[Sequence[str] | None]) -> dict[frozenset[str], tuple[str, ...]]:
    """Label set -> the one order that positions are counted in: that of the usual scale, else the one that most rows list (of two the first by alphabet)."""
    listed: dict[frozenset, Counter] = defaultdict(Counter)
    for options in lists:
        if (labels := label_set(options)) is not None:
            listed[labels][tuple(map(_fold, options))] += 1
    usual = {label_set(scale): tuple(map(_fold, scale)) for scale in SCALES.values()}
    return {labels: usual.get(labels) or min(orders, key=lambda order: (-orders[order], order)) for labels, orders in listed.items()}


def in_common_order(lists: Sequence[Sequence[str] | None], positions: Sequence[float]) -> np.ndarray:
    """Positions in each row's own list of options as positions in the order that all rows with these labels share; -1 (none) and NaN (open) stay.

    Args: lists: every row's options, None for an open row. positions: 0-based, shape (rows,). Rows without options keep their position.
    """
    orders, places = common_orders(lists), []
    for options, place in zip(lists, positions, strict=True):
        known = place == place and place >= 0 and label_set(options) is not None
        places.append(orders[label_set(options)].index(_fold(options[int(place)])) if known else place)
    return np.array(places, dtype=float)
