"""Everybody's cards answer the same items: by option names, in both orders, with and without the simulator's prior on the names. Real people's cards too."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...models.answer_gates import check_gates, with_stranger
from ...models.answerers import Answerer, ask_in_orders
from ...people.human_baselines import halves
from ...people.human_cards import card_of
from ...people.human_items import HumanItem
from ...people.human_surveys import WEIGHT, load_survey
from ...prompts import chat
from ...survey.sheet import MISSING, Sheet, sheet_of
from .item_bank import gate_items, respondent_items

CONTENT_FREE = ("N/A", "a person from the United States", "I would rather not say")


def ask_cards(answerer: Answerer, cards: pd.DataFrame, items: Sequence[HumanItem]) -> pd.DataFrame:
    """The answers of every card to every item.

    Args: cards: persona_id, state, tier, card (None: the person has no card of this tier and is not asked).
    Returns: persona_id, state, tier, item, probs (list over the item's options, None without an answer), first and last (the same in each order), mass, how,
        reason. One row a card and item, also for cards that are not there (reason "no card").
    """
    rows = pd.DataFrame([
        {"persona_id": c.persona_id, "state": c.state, "tier": c.tier, "item": item.id, "options": item.options,
         "messages": None if c.card is None else chat.messages(c.card, item.domain, item.text, item.options)}
        for c in cards.itertuples() for item in items
    ])  # fmt: skip
    rows["id"] = rows["persona_id"] + "|" + rows["tier"] + "|" + rows["item"]
    there = rows["messages"].notna().to_numpy()
    replies = iter(ask_in_orders(answerer, rows[there])) if there.any() else iter(())
    return rows[["persona_id", "state", "tier", "item"]].assign(**pd.DataFrame([_kept(next(replies) if asked else None) for asked in there]).to_dict("list"))


def _kept(reply) -> dict:
    """What is kept of one reply, six decimals."""
    if reply is None or reply.probs is None:
        return {"probs": None, "first": None, "last": None, "mass": np.nan, "how": "", "reason": "no card" if reply is None else reply.reason or "no answer"}
    orders = reply.by_order if reply.by_order is not None else [reply.probs, reply.probs]
    numbers = [np.round(np.asarray(p, dtype=float), 6).tolist() for p in (reply.probs, orders[0], orders[-1])]
    return {"probs": numbers[0], "first": numbers[1], "last": numbers[2], "mass": float(reply.mass), "how": reply.how, "reason": ""}


def ask_prior(answerer: Answerer, items: Sequence[HumanItem]) -> pd.DataFrame:
    """What each item gets from cards that say nothing about anybody: columns item, card, probs."""
    cards = [{"persona_id": f"nobody-{i}", "state": "", "tier": "nobody", "card": text} for i, text in enumerate(CONTENT_FREE)]
    asked = ask_cards(answerer, pd.DataFrame(cards), items)
    return asked.assign(card=asked["persona_id"].map(dict(zip((c["persona_id"] for c in cards), CONTENT_FREE, strict=True))))[["item", "card", "probs"]]


def without_prior(answers: pd.DataFrame, prior: pd.DataFrame) -> pd.DataFrame:
    """`answers` with the prior on each item's options divided out: exact where the prior adds to the log-odds, too much where it does not.

    The prior is the mean of the content-free cards' log probabilities. Answers to items without a prior have none (reason "no prior").
    """
    logs = {item: np.mean([np.log(np.clip(p, 1e-9, 1)) for p in part["probs"] if p is not None], axis=0)
            for item, part in prior.groupby("item") if part["probs"].map(lambda p: p is not None).any()}  # fmt: skip
    probs = [None if p is None or item not in logs else _divided(np.asarray(p), logs[item]) for p, item in zip(answers["probs"], answers["item"], strict=True)]
    reasons = [r or ("" if p is not None else "no prior") for r, p in zip(answers["reason"], probs, strict=True)]
    return answers.assign(probs=probs, reason=reasons)


def _divided(probs: np.ndarray, log_prior: np.ndarray) -> list[float]:
    logs = np.log(np.clip(probs, 1e-9, 1)) - log_prior
    shares = np.exp(logs - logs.max())
    return (shares / shares.sum()).tolist()


# --- real respondents ---------------------------------------------------------------------------------------------------------------


def respondent_cards(count: int, *, seed: int, politics: bool = False) -> pd.DataFrame:
    """Cards of `count` respondents of the 538/Ipsos poll, drawn at random from one half of it (the other half gives the baselines): persona_id, state ("none":
    not asked), tier ("respondent"), card. `politics`: with party and ideology on the card."""
    survey = load_survey("nonvoters_2020")
    _, half = halves(len(survey.people), seed=seed)
    drawn = np.random.default_rng(seed).permutation(half)[:count]
    ids = [survey.people.index[i] for i in np.sort(drawn)]
    return pd.DataFrame({"persona_id": ids, "state": "none", "tier": "respondent", "card": [card_of(survey, i, politics=politics) for i in ids]})


def respondent_sheet(answers: pd.DataFrame) -> Sheet:
    """Simulated answers of real respondents as a sheet, with the options that they really took and their weights. Missing answers stay missing."""
    survey, items = load_survey("nonvoters_2020"), {item.id: item for item in respondent_items()}
    column = {item.id: place for place, item in enumerate(survey.items)}
    row = {person: place for place, person in enumerate(survey.people.index)}
    truth = [survey.answers[row[p], column[i]] for p, i in zip(answers["persona_id"], answers["item"], strict=True)]
    weights = survey.people[WEIGHT].astype(float)
    frame = answers.rename(columns={"item": "question_id", "probs": "option_probs"})[["persona_id", "question_id", "option_probs"]]
    return sheet_of(frame.assign(truth=truth, weight=weights.loc[frame["persona_id"]].to_numpy()), bank=items)


def gate_rows(count: int, *, seed: int) -> pd.DataFrame:
    """Rows for `answer_gates.check_gates`: respondents who call themselves Democrats or Republicans, half each, with their politics on the card, six items that
    lean to a side, and the option that each of them took. `group` says which party is known to answer higher on the item's scale."""
    survey, items = load_survey("nonvoters_2020"), gate_items()
    rng, column = np.random.default_rng(seed), {item.id: place for place, item in enumerate(survey.items)}
    rows = []
    for party in ("Democrat", "Republican"):
        places = np.flatnonzero((survey.people["party"] == party).to_numpy())
        for place in rng.permutation(places)[: count // 2]:
            person = survey.people.index[place]
            card = card_of(survey, person, politics=True)
            for item in items:
                truth, liberal_first = survey.answers[place, column[item.id]], item.lean.startswith("L")
                if truth != MISSING:
                    rows.append({"id": f"gate|{person}|{item.id}", "persona_id": person, "options": item.options, "truth": truth,
                                 "messages": chat.messages(card, item.domain, item.text, item.options),
                                 "group": "low" if (party == "Democrat") == liberal_first else "high"})  # fmt: skip
    return pd.DataFrame(rows)


def gates(answerer: Answerer, *, people: int = 16, seed: int) -> pd.DataFrame:
    """The table of gates of one simulator (`answer_gates.check_gates`): mass, order, prior, own card against a stranger's, parties."""
    rows = gate_rows(people, seed=seed)
    return check_gates(answerer, rows, strangers=with_stranger(rows, seed=seed), seed=seed)
