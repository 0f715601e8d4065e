"""Do the steps remove what they are for? A world in which every bias is put in with a known size and every share is known exactly, so nothing is luck.

People are cells of the 538/Ipsos poll (race, gender, age, education, party, hardship, with their real weights); what they think is our formula. A table
answers for them (`answerers.TableAnswerer`), with one bias at a time. `removal_table` says what each step leaves of each bias.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit

from ...errors import InputError
from ...models.answerers import TableAnswerer, ask_in_orders, content_free
from ...people.human_items import HumanItem, survey_texts
from ...people.human_surveys import WEIGHT, load_survey
from ...people.raking import margin_of, rake
from ...prompts import chat
from . import mitigation

CELL_VALUES = {
    "race": ("White", "Black", "Hispanic", "other or mixed"), "gender": ("woman", "man"), "age": ("18-29", "30-54", "55+"),
    "education": ("high school or less", "some college", "college degree"), "party": ("Democrat", "Republican", "Independent"),
    "hardship": ("no", "yes"),
}  # fmt: skip
INVENTED = {"Democrat": 0.83, "Republican": 0.11, "Independent": 0.06}  # parties that SmolLM2 gave to cards in the trial, whoever they described
TOPICS = ("school meals", "public housing", "clean air rules", "bus lines")
CARD, LEFT = list(CELL_VALUES), 1


@dataclass(frozen=True)
class Bias:
    """What is wrong with a simulation, all zero by default: numbers in log-odds, or shares of all answers.

    Args: order, order_share: for the option listed first. prior, prior_share: for the name of the liberal option. overruled: a prior that shows without a card
        alone. shift: of everybody to the liberal side. temperature: what the log-odds are divided by. frame: which people are simulated ("real", "marginal",
        "invented party", "no hardship"). voters: the truth is that of the electorate and adults are simulated.
    """

    order: float = 0.0
    order_share: float = 0.0
    prior: float = 0.0
    prior_share: float = 0.0
    overruled: float = 0.0
    shift: float = 0.0
    temperature: float = 1.0
    frame: str = "real"
    voters: bool = False


BIASES = {
    "none": Bias(), "order, constant in log-odds": Bias(order=0.8), "order, a share of answers": Bias(order_share=0.3),
    "prior on names, constant in log-odds": Bias(prior=0.8), "prior on names, a share of answers": Bias(prior_share=0.3),
    "prior that the card overrules": Bias(overruled=0.8),
    "left shift": Bias(shift=0.7), "left shift, too sure": Bias(shift=0.7, temperature=0.5), "cards from marginals": Bias(frame="marginal"),
    "invented party": Bias(frame="invented party"), "cards without hardship": Bias(frame="no hardship"), "adults for voters": Bias(voters=True),
}  # fmt: skip
OWN = {  # bias -> the step that is made for it
    "order, constant in log-odds": "orders, mean log-odds", "order, a share of answers": "orders, unmixed",
    "prior on names, constant in log-odds": "prior correction", "left shift": "shift", "left shift, too sure": "shift and temperature",
    "cards from marginals": "raking to the joint", "invented party": "real party", "cards without hardship": "real hardship", "adults for voters": "turnout",
}  # fmt: skip


@cache
def cells() -> pd.DataFrame:
    """All combinations of `CELL_VALUES`, with `weight` (real people's, sum 1; 0 for a combination that nobody has), and `votes`, a known turnout."""
    people = load_survey("nonvoters_2020").people
    hard = people[survey_texts()["nonvoters_2020"]["hardships"]].astype("boolean").fillna(False).any(axis=1)
    own = people.assign(
        age=pd.cut(people["age"], [0, 29, 54, 200], labels=CELL_VALUES["age"]).astype(str), hardship=np.where(hard, "yes", "no"),
        party=people["party"].where(people["party"].isin(CELL_VALUES["party"]), "Independent"),
    )  # fmt: skip
    grid = pd.MultiIndex.from_product(CELL_VALUES.values(), names=CARD)
    table = margin_of(own, CARD, weights=WEIGHT).reindex(grid, fill_value=0.0).rename("weight").reset_index()
    schooling = table["education"].map({"high school or less": -1, "some college": 0, "college degree": 1})
    return table.assign(votes=expit(0.2 + 0.8 * schooling + table["age"].map({"18-29": -0.8, "30-54": 0.0, "55+": 0.8})))


@cache
def items() -> tuple[HumanItem, ...]:
    """Two-option items; the liberal option stands first in every other one."""
    return tuple(
        HumanItem(id=f"known.{number}", domain="Known", type="yesno", text=f"What should the country do about {topic}?", construct="known", instrument="known",
                  paraphrases=(), labels=(f"more {topic}", f"less {topic}")[:: 1 if number % 2 else -1], lean="LC" if number % 2 else "CL", ordered=False)
        for number, topic in enumerate(TOPICS)
    )  # fmt: skip


def left_log_odds() -> np.ndarray:
    """What people of each cell think: log-odds of the liberal option, shape (cells, items). Party counts for more with schooling, hardly
    for Black people, and race for Democrats alone: so it matters how attributes go together."""
    table = cells()
    party = table["party"].map({"Democrat": 1.0, "Republican": -1.0, "Independent": 0.0})
    worth = table["education"].map({"high school or less": 0.5, "some college": 1.0, "college degree": 1.8}) * np.where(table["race"] == "Black", 0.2, 1.0)
    both = 2.5 * (table["race"] != "White") * (table["party"] == "Democrat")  # who is neither White nor a Democrat differs little from others
    age = table["age"].map({"18-29": 0.6, "30-54": 0.0, "55+": -0.6})
    base = party * worth + both + age + 0.7 * (table["hardship"] == "yes") + 0.2 * (table["gender"] == "woman") - 0.4
    return base.to_numpy()[:, None] + np.linspace(-0.6, 0.6, len(items()))


def _card(row) -> str:
    return f"{row.race} {row.gender} of {row.age}; {row.education}; {row.party}; hardship: {row.hardship}."


@dataclass(frozen=True)
class Asked:
    """What a biased table said of every cell: `by_order` (cells, items, orders, options), `prior` (items, orders, options), `frame` weights (cells,),
    `truth` (items, options) of the people that are meant, `bias` that was put in."""

    by_order: np.ndarray
    prior: np.ndarray
    frame: np.ndarray
    truth: np.ndarray
    bias: Bias


def biased_table(bias: Bias) -> TableAnswerer:
    """A table that answers for the cells with the biases of answers in `bias`; `order_share` is the table's own order bias."""
    cards = {_card(row): place for place, row in enumerate(cells().itertuples())}
    where = {option: (place, lean) for place, item in enumerate(items()) for option, lean in zip(item.labels, item.leans, strict=True)}
    log_odds = left_log_odds() / bias.temperature + bias.shift

    def truth(messages, options) -> np.ndarray:
        card = messages[-1]["content"].split("\n", 1)[0].removeprefix("Persona: ")
        (item, _), leans = where[options[0]], np.array([where[option][1] for option in options])
        logit = (log_odds[cards[card], item] if card in cards else bias.overruled) + bias.prior + bias.order * leans[0]
        return (1 - bias.prior_share) * expit(leans * logit) + bias.prior_share * (leans == LEFT)

    return TableAnswerer(truth, order_bias=bias.order_share, name="known world")


@cache
def ask(bias: Bias) -> Asked:
    """Ask every cell every item in both orders, and the content-free prompt of each item."""
    answerer, table, bank = biased_table(bias), cells(), items()
    rows = pd.DataFrame(
        [{"id": f"{place}|{item.id}", "options": item.labels, "messages": chat.messages(_card(row), item.domain, item.text, item.labels)}
         for place, row in enumerate(table.itertuples()) for item in bank]
    )  # fmt: skip
    nobody = pd.DataFrame([{"id": item.id, "options": item.labels, "messages": content_free(item.labels)} for item in bank])
    shape = (len(table), len(bank), 2, 2)
    by_order, prior = (np.stack([reply.by_order for reply in ask_in_orders(answerer, part)]) for part in (rows, nobody))
    real = table["weight"].to_numpy()
    meant = real * table["votes"].to_numpy() if bias.voters else real
    left = (meant / meant.sum()) @ expit(left_log_odds())
    return Asked(by_order.reshape(shape), prior, _frame(bias.frame), _two(left), bias)


def _two(left: np.ndarray) -> np.ndarray:
    """Shares of the liberal option, shape (items,), as shares of both in the order of each item's options, shape (items, 2)."""
    leans = np.stack([item.leans for item in items()])
    return np.where(leans == LEFT, left[:, None], 1 - left[:, None])


def _frame(name: str) -> np.ndarray:
    """The weights of the simulated cells."""
    table = cells()
    product = {name: margin_of(table, [name], weights="weight").reindex(table[name]).to_numpy() for name in CARD}
    if name == "marginal":
        return np.prod(list(product.values()), axis=0)
    if name in ("invented party", "no hardship"):
        column = "party" if name == "invented party" else "hardship"
        rest = [c for c in CARD if c != column]
        shares = table[column].map(INVENTED if column == "party" else {"no": 1.0, "yes": 0.0}).to_numpy()
        return table.groupby(rest)["weight"].transform("sum").to_numpy() * shares
    return table["weight"].to_numpy()


# --- the steps ------------------------------------------------------------------------------------------------------------------------------


def _shares(asked: Asked, probs: np.ndarray | None = None, frame: np.ndarray | None = None) -> np.ndarray:
    """Shares of the simulated population, shape (items, options). By default the first order alone, and the frame as it is."""
    probs, frame = asked.by_order[:, :, 0] if probs is None else probs, asked.frame if frame is None else frame
    return np.einsum("c,cio->io", frame / frame.sum(), probs)


def _orders(how: str) -> Callable[[Asked], np.ndarray]:
    return lambda asked: _shares(asked, mitigation.order_averaged(asked.by_order, how=how, first=np.array([0, 1])))


def _prior(asked: Asked) -> np.ndarray:
    return _shares(asked, mitigation.prior_corrected(asked.by_order[:, :, 0], asked.prior[:, 0]))


def _raked(asked: Asked, *, of: int) -> np.ndarray:
    table = cells()
    margins = [margin_of(table, list(columns), weights="weight") for columns in combinations(CARD, of)]
    return _shares(asked, frame=rake(table, margins, weights=asked.frame).weights)


def _real(asked: Asked, *, column: str) -> np.ndarray:
    table = cells()
    made, _ = mitigation.with_real(table.assign(weight=asked.frame), table[table["weight"] > 0], [column], by=[c for c in CARD if c != column], fewest=1)
    order = made.groupby(CARD)["weight"].sum()
    return _shares(asked, frame=order.reindex(pd.MultiIndex.from_frame(table[CARD]), fill_value=0.0).to_numpy())


def _fitted(asked: Asked, *, temperature: bool) -> np.ndarray:
    """Fitted on every other item, applied to the rest, and the other way round: no item helps itself. Labelled: the real people of each cell."""
    toward, probs, weights = np.stack([item.leans for item in items()]), asked.by_order[:, :, 0], cells()["weight"].to_numpy()
    truth = np.stack([_two(row) for row in expit(left_log_odds())])
    made = np.empty_like(probs)
    for half in (np.arange(len(toward)) % 4 < 2, np.arange(len(toward)) % 4 >= 2):
        fit = mitigation.fit_adjustment(probs[:, ~half], truth[:, ~half], toward[~half], weights=weights, temperature=temperature)
        made[:, half] = fit.applied(probs[:, half], toward[half])
    return _shares(asked, made)


def _turnout(asked: Asked) -> np.ndarray:
    table = cells()
    voted = pd.concat([table.assign(turnout="always", weight=table["weight"] * table["votes"]),
                       table.assign(turnout="rarely or never", weight=table["weight"] * (1 - table["votes"]))])  # fmt: skip
    voted["weight"] *= 100_000  # as many people as a real file has: the penalty of the regression counts for little
    return _shares(asked, frame=asked.frame * mitigation.turnout(table, voted, columns=["race", "gender", "age", "education"]))


MITIGATIONS: dict[str, Callable[[Asked], np.ndarray]] = {
    "orders, mean": _orders("mean"), "orders, mean log-odds": _orders("log-odds"), "orders, unmixed": _orders("unmixed"), "prior correction": _prior,
    "shift": lambda asked: _fitted(asked, temperature=False), "shift and temperature": lambda asked: _fitted(asked, temperature=True),
    "raking to pairs": lambda asked: _raked(asked, of=2), "raking to the joint": lambda asked: _raked(asked, of=len(CARD)),
    "real party": lambda asked: _real(asked, column="party"), "real hardship": lambda asked: _real(asked, column="hardship"), "turnout": _turnout,
}  # fmt: skip


def removal_words(before: float, after: float, *, least: float = 0.005) -> str:
    """What a step does to a bias, both as mean errors of a share: errors below `least` count as none."""
    if max(before, after) < least:
        return "nothing to remove, no harm"
    if after > max(1.05 * before, least):
        return "makes it worse" if before >= least else "adds a bias"
    removed = 1 - after / before
    return "removes it" if after < least or removed > 0.97 else f"removes {removed:.0%}" if removed > 0.05 else "removes none of it"


def _error(shares: np.ndarray, asked: Asked) -> float:
    return float(np.abs(shares - asked.truth)[:, 0].mean())


def removal_table(*, biases: dict[str, Bias] | None = None) -> pd.DataFrame:
    """Every step against every bias, one at a time: bias, step, own (whether the step is made for it), before, after (mean |error| of a share), words."""
    rows = []
    for name, bias in (BIASES if biases is None else biases).items():
        asked = ask(bias)
        before = _error(_shares(asked), asked)
        for step, apply in MITIGATIONS.items():
            try:
                after = _error(apply(asked), asked)
                words = removal_words(before, after)
            except InputError as error:  # a value that no card has cannot be weighted up
                after, words = np.nan, f"not possible: {error}"
            rows.append({"bias": name, "step": step, "own": OWN.get(name) == step, "before": before, "after": after, "words": words})
    return pd.DataFrame(rows)
