"""The probes: a few cards, a few items, both orders of the options, and the same items without a card. Always the same, in the same mixed order.

So few that SmolLM2 answers them in less than a minute on two slow cores. A changed probe set has another hash, and no old baseline fits it.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd

from ...files import value_hash
from ...models.answerers import Answerer, OptionShares, Prompt, content_free
from ...prompts import chat

CARDS = {
    "nurse": {
        "age": 34,
        "gender": "woman",
        "ethnicity": "Black",
        "region": "Georgia",
        "country": "USA",
        "occupation": "nurse",
        "education": "bachelor's degree",
    },
    "farmer": {
        "age": 61,
        "gender": "man",
        "ethnicity": "White",
        "region": "Iowa",
        "country": "USA",
        "occupation": "farmer",
        "education": "high school diploma",
    },
    "student": {"age": 20, "gender": "man", "ethnicity": "Hispanic", "region": "California", "country": "USA", "occupation": "student"},
    "retired": {"age": 77, "gender": "woman", "ethnicity": "White", "region": "Florida", "country": "USA", "description": "Republican. Widowed."},
    "teacher": {"age": 45, "gender": "woman", "ethnicity": "White", "region": "Oregon", "country": "USA", "description": "Democrat. Married."},
    "driver": {"age": 52, "gender": "man", "ethnicity": "Black", "region": "Ohio", "country": "USA", "description": "Lost his job this year."},
}
ITEMS = {  # item -> (domain, question, options, lean of each option: 1 liberal, -1 conservative, 0 neither)
    "vote": ("Politics", "Who would you vote for?", ("Joe Biden", "Donald Trump"), (1, -1)),
    "pollution": ("Environment", "Should the government do more against pollution?", ("Yes", "No"), (1, -1)),
    "taxes": ("Economy", "Should taxes on high incomes be lower?", ("Yes", "No"), (-1, 1)),
    "immigration": ("Politics", "Should fewer people be allowed to move to this country?", ("Yes", "No"), (-1, 1)),
    "trust": ("Society", "Can most people be trusted?", ("Yes", "No"), (0, 0)),
    "life": ("Health", "How satisfied are you with your life?", ("Very satisfied", "Fairly satisfied", "Not satisfied"), (0, 0, 0)),
    "money": ("Economy", "I worry about money.", ("Agree", "Neither", "Disagree"), (0, 0, 0)),
    "doctor": ("Health", "I can see a doctor when I need one.", ("Agree", "Neither", "Disagree"), (0, 0, 0)),
}
NOBODY = "nobody"
BLOCK = 32  # probes that are asked at once


@cache
def probes() -> pd.DataFrame:
    """One row a probe: id, card, item, order (0: as listed in `ITEMS`, 1: turned round), options as offered, messages. Not to be changed."""
    rows = []
    for card in (*CARDS, NOBODY):
        for item, (domain, question, options, _) in ITEMS.items():
            for order in (0, 1):
                offered = options[::-1] if order else options
                asked = content_free(offered) if card == NOBODY else chat.messages(CARDS[card], domain, question, offered)
                rows.append({"id": f"{card}|{item}|{order}", "card": card, "item": item, "order": order, "options": offered, "messages": asked})
    mixed = np.random.default_rng(2025).permutation(len(rows))
    return pd.DataFrame(rows).iloc[mixed].reset_index(drop=True)


@cache
def probe_hash() -> str:
    """sha256 (16 digits) of every probe as it is asked, in order."""
    return value_hash(probes().to_dict("records"))[:16]


def ask_probes(answerer: Answerer, *, block: int = BLOCK) -> pd.DataFrame:
    """The probes with their answers: `probs` (a list in the order of `ITEMS`; None without an answer), `mass`, `how`, `samples`, `reason`; no messages."""
    rows, replies = probes(), []
    for start in range(0, len(rows), block):
        part = rows.iloc[start : start + block]
        asked = [Prompt(row.id, row.messages) for row in part.itertuples()]
        replies += answerer.option_probabilities(asked, [list(options) for options in part["options"]])
    replies = [r if r.probs is None or np.isfinite(r.probs).all() else OptionShares(None, reason="probabilities that are no numbers") for r in replies]
    turned = [None if r.probs is None else _in_place(r.probs, order) for r, order in zip(replies, rows["order"], strict=True)]
    told = {"mass": [r.mass for r in replies], "how": [r.how for r in replies], "samples": [r.samples for r in replies], "reason": [r.reason for r in replies]}
    return rows[["id", "card", "item", "order"]].assign(probs=turned, **told)


def _in_place(probs: np.ndarray, order: int) -> list[float]:
    return [float(p) for p in (probs[::-1] if order else probs)]


def positions(probs: Sequence[Sequence[float]]) -> np.ndarray:
    """The mean place of each answer on its scale, 0 (first option of `ITEMS`) to 1 (last)."""
    return np.array([np.dot(p, np.linspace(0, 1, len(p))) for p in probs])
