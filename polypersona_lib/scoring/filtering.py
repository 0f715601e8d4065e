"""Filtering: draw up to k answers for a row and keep the first that passes the checks. The paper's Table I credits another framework (SynDG) with it.

An answer passes if its words are real and in a normal order, it names one option where options are offered, its reason is on the question's topic and speaks
for that option, and nothing that it says of the speaker contradicts the card. No check looks at the row's own reference: what is normal comes from the train
answers. A row none of whose answers passes keeps its first one, so that every row has an answer; how many these are is counted.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pandas as pd

from ..prompts import chat
from ..world.personas import population
from . import readability
from .option_labels import read_option

REFUSALS = ("words", "option", "topic", "itself", "card")
"""Why an answer is refused: non-words or disorder, no single option, another question's reason, a reason against its option, a contradiction of the card."""

_AGE = re.compile(r"\b(?:i'?m|i am|at my age of|turned|at)\s+(1[6-9]|[2-9]\d)(?=\s*(?:years old|,|\.|;|!|$|and\b|now\b|already\b))", re.I)
_SELF = r"\b(?:i'?m|i am|as|being|speaking as)\s+(?:an?\s+)?(?:\w+\s+)?"
_WORK = re.compile(r"\b(?:as|i'?m|i am|i work as|being|speaking as)\s+an?\s+([a-z][a-z -]{2,40})", re.I)
_MEN = ("man", "father", "dad", "husband", "grandfather", "grandpa", "widower", "guy", "bloke")
_WOMEN = ("woman", "mother", "mum", "mom", "wife", "grandmother", "grandma", "widow", "lady")
_SEX = {sex: re.compile(_SELF + "(?:" + "|".join(words) + r")\b", re.I) for sex, words in (("man", _MEN), ("woman", _WOMEN))}
_RETIRED = re.compile(r"\b(?:i'?m|i am|now that i'?m|since i)\s+retired\b", re.I)


@cache
def _occupations() -> tuple[str, ...]:
    """Every occupation of the population, the longest first."""
    return tuple(sorted((name.lower() for name in population()["occupations"]), key=lambda name: (-len(name), name)))


def against_card(text: str, card: dict | str) -> list[str]:
    """What a text says of its speaker against the card: "age", "gender", "work", each once; [] for a card in words, which has no attributes.

    Only plain statements in the first person are read ("I'm 34", "as a nurse", "I'm a mother"): a contradiction in other words passes.
    """
    if not isinstance(card, dict):
        return []
    said = []
    ages = [int(found) for found in _AGE.findall(text)]
    if card.get("age") and any(abs(age - int(card["age"])) > 1 for age in ages):
        said.append("age")
    other = {"man": "woman", "woman": "man"}.get(str(card.get("gender")))
    if other and _SEX[other].search(text) and not _SEX[str(card["gender"])].search(text):
        said.append("gender")
    own = str(card.get("occupation", "")).lower()
    named = [next((o for o in _occupations() if re.match(rf"{re.escape(o)}\b", work.lower())), "") for work in _WORK.findall(text)]
    retired = bool(_RETIRED.search(text)) and "retired" not in own and int(card.get("age", 99)) < 55
    if own and (retired or any(work and work not in own and own not in work for work in named)):
        said.append("work")
    return said


def refusals(rows: pd.DataFrame, pool: pd.DataFrame) -> pd.DataFrame:
    """Which checks each answer fails: the columns `REFUSALS` (bool), index of `rows`.

    Args: rows: id, prediction, persona (card), persona_id, question_id, question, options. pool: train answers with `reference`, the same columns and `target`.
        What cannot be judged (too short, too little in the pool) is no failure; an empty answer fails "words".
    """
    closed = [o is not None and len(o) > 0 for o in rows["options"]]
    chosen = [read_option(t, o) if ok else None for t, o, ok in zip(rows["prediction"], rows["options"], closed, strict=True)]
    asked = rows.assign(chosen=[np.nan if not ok else -1.0 if c is None else float(c) for c, ok in zip(chosen, closed, strict=True)])
    cards = [chat.render_card(card) for card in rows["persona"]]
    read = readability.measure(asked.assign(persona=cards), pool=pool.assign(persona=[chat.render_card(c) for c in pool["persona"]], chosen=pool["target"]))
    failed = {
        "words": (read["real_words"] == 0) | (read["word_order"] < readability.ORDERED) | ~rows["prediction"].str.strip().astype(bool),
        "option": [ok and c is None for c, ok in zip(chosen, closed, strict=True)],
        "topic": read["on_topic"] == 0, "itself": read["reason_fits"] == 0,
        "card": [bool(against_card(t, card)) for t, card in zip(rows["prediction"], rows["persona"], strict=True)],
    }  # fmt: skip
    return pd.DataFrame(failed, index=rows.index).astype(bool)[list(REFUSALS)]


def keep_first(
    rows: pd.DataFrame, draw: Callable[[int, pd.DataFrame], Sequence[str]], check: Callable[[pd.DataFrame], pd.DataFrame] | None, *, most: int
) -> tuple[list[str], pd.DataFrame]:
    """The first answer of each row that passes, after at most `most` draws.

    Args: draw: (number of the draw from 0, rows still open) -> one text a row. check: rows with `prediction` -> the columns of `refusals`; None: every answer
        passes. With one draw the answers are those of that draw, whatever the check says.
    Returns: (a text a row; what happened, index of `rows`: `texts` (all that were drawn), `accepted` (number of the draw that passed, from 1; 0: none), and
        the columns `REFUSALS` of the first draw).
    """
    first = pd.DataFrame(False, index=rows.index, columns=list(REFUSALS))
    texts, accepted, open_rows = {i: [] for i in rows.index}, pd.Series(0, index=rows.index), rows
    for number in range(most):
        if open_rows.empty:
            break
        drawn = open_rows.assign(prediction=list(draw(number, open_rows)))
        for i, text in drawn["prediction"].items():
            texts[i].append(text)
        failed = pd.DataFrame(False, index=drawn.index, columns=list(REFUSALS)) if check is None else check(drawn)
        first = failed if number == 0 else first
        passed = ~failed.any(axis=1)
        accepted[passed.index[passed]] = number + 1
        open_rows = open_rows[~passed]
    kept = [texts[i][max(accepted[i] - 1, 0)] for i in rows.index]
    return kept, first.assign(texts=pd.Series(texts), accepted=accepted)


def filter_facts(happened: pd.DataFrame, count: Callable[[str], int], *, most: int) -> dict:
    """What filtering did and cost, as plain numbers.

    Args: happened: from `keep_first`. count: tokens of a text. Returns: `draws` allowed, `rows`, `accepted` (share of rows accepted within 1, 2, ... draws),
        `none` (rows without an accepted answer), `refused` (share of first answers that fail each check), `answers_drawn`, `tokens_drawn`, `tokens_first`.
    """
    tokens = happened["texts"].map(lambda texts: [count(text) for text in texts])
    within = [float((happened["accepted"].between(1, n)).mean()) for n in range(1, most + 1)]
    return {
        "draws": most, "rows": len(happened), "accepted": [round(share, 4) for share in within], "none": int((happened["accepted"] == 0).sum()),
        "refused": {name: round(float(happened[name].mean()), 4) for name in REFUSALS}, "answers_drawn": int(happened["texts"].map(len).sum()),
        "tokens_drawn": int(tokens.map(sum).sum()), "tokens_first": int(tokens.map(lambda t: t[0]).sum()),
    }  # fmt: skip


def filter_line(facts: dict) -> str:
    """`filter_facts` in one sentence."""
    refused = ", ".join(f"{name} {share:.0%}" for name, share in facts["refused"].items())
    each = facts["tokens_drawn"] / max(1, facts["tokens_first"])
    return (f"{facts['accepted'][0]:.0%} of the first answers pass, {facts['accepted'][-1]:.0%} of the rows within {facts['draws']} draws "
            f"({facts['none']} rows keep an answer that does not); {facts['answers_drawn'] / facts['rows']:.2f} answers a row, {each:.2f} times the tokens; "
            f"first answers refused for {refused}")  # fmt: skip
