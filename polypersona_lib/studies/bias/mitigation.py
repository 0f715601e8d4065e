"""Steps against bias in simulated opinion, one function a step. Whether a step works is judged elsewhere (`mitigation_check`), never here.

Answers are probabilities, shape (people, items, options); options that an item lacks hold 0. Raking is `people.raking`, rectification `rectification`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...errors import InputError

_LEAST = 1e-9  # the log of a probability below this is that of this one
VOTES = {"always": 1.0, "sporadic": 0.5, "rarely or never": 0.0}  # our reading of the poll's three classes: how probably such a person votes


def _normalised(probs: np.ndarray) -> np.ndarray:
    total = probs.sum(-1, keepdims=True)
    return np.divide(probs, total, out=np.zeros_like(probs), where=total > 0)


# --- the order of the options --------------------------------------------------------------------------------------------------------


def order_averaged(by_order: np.ndarray, *, how: str = "mean", first: np.ndarray | None = None) -> np.ndarray:
    """One answer from the same question asked in several orders of its options, shape (..., orders, options) -> (..., options).

    Args: how: "mean" averages probabilities and undoes the order's own direction. "log-odds" averages their logarithms: exact if the order adds a constant to
        the log-odds of the option listed first and every option was first equally often. "unmixed" is exact if a share of all answers goes to the first option
        whatever it is: it estimates this share over all answers, takes it off and scales the rest up. first: the option that each order lists first, shape
        (..., orders) as broadcast against `by_order` ("unmixed" alone needs it).
    Raises: InputError for an unknown `how`, and if "unmixed" lacks `first`.
    """
    if how == "mean":
        return by_order.mean(-2)
    if how == "log-odds":
        logs = np.log(np.clip(by_order, _LEAST, None)).mean(-2)
        return _normalised(np.where(by_order.sum(-2) > 0, np.exp(logs), 0.0))
    if how != "unmixed" or first is None:
        raise InputError(f"order averaging {how!r}: choose mean, log-odds, or unmixed with the option that each order lists first")
    listed = np.broadcast_to(np.asarray(first)[..., None] == np.arange(by_order.shape[-1]), by_order.shape)
    often = np.broadcast_to(listed.mean(-2, keepdims=True), by_order.shape)
    there = listed & (often < 1) & (by_order.sum(-1, keepdims=True) > 0)
    gains = ((by_order - by_order.mean(-2, keepdims=True)) / np.where(often < 1, 1 - often, 1))[there]
    share = float(np.clip(gains.mean(), 0, 0.99)) if gains.size else 0.0
    return _normalised(np.clip(by_order - share * listed, 0, None).mean(-2))


# --- the prior on the options' names ---------------------------------------------------------------------------------------------------


def prior_corrected(probs: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """The answers without what the options' names get by themselves: each divided by its answer to a content-free prompt, scaled to sum 1.

    Exact if the prior adds to the log-odds; it over-corrects a prior that only takes a share of the answers, and one that the card already overrules.
    Args: probs: (..., options). prior: answers to `answerers.content_free`, asked in the same order, broadcast against `probs`.
    Source: Zhao et al. 2021, contextual calibration (arXiv 2102.09690).
    """
    prior = np.broadcast_to(np.clip(prior, _LEAST, None), probs.shape)
    return _normalised(probs / prior)


# --- one or two fitted numbers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adjustment:
    """Numbers fitted to labelled people: `shift` is added to the log-odds of options in their direction, `temperature` divides log-odds (above 1: flatter)."""

    shift: float = 0.0
    temperature: float = 1.0

    def applied(self, probs: np.ndarray, toward: np.ndarray) -> np.ndarray:
        """The adjusted probabilities. Args: toward: the direction of each option, -1 to 1 (a lean code), shape (items, options)."""
        logits = np.log(np.clip(probs, _LEAST, None)) / self.temperature + self.shift * toward
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        return _normalised(np.where(probs > 0, weights, 0.0))


def fit_adjustment(probs: np.ndarray, target: np.ndarray, toward: np.ndarray, *, weights: np.ndarray | None = None, temperature: bool = True) -> Adjustment:
    """The shift (and temperature) that make labelled answers most probable.

    Args: probs: (people, items, options). target: what people chose (1), or the shares of a group of them, same shape; all 0 where unknown. toward: as in
        `Adjustment.applied`. weights: of people. temperature: False fits the shift alone.
    Returns: no adjustment where nothing leans and no temperature is asked for. Raises InputError if no answer is labelled.
    Source: maximum likelihood; temperature scaling is Guo et al. 2017 (arXiv 1706.04599).
    """
    from scipy.optimize import minimize

    if not target.any():
        raise InputError("no labelled answer: a shift or a temperature is fitted to what some people really said")
    counts = target * (1.0 if weights is None else np.asarray(weights, dtype=float)[:, None, None])

    def loss(x: np.ndarray) -> float:
        said = Adjustment(x[0], np.exp(x[1])).applied(probs, toward)
        return float(-(counts * np.log(np.clip(said, _LEAST, None))).sum() / counts.sum())

    bounds = [(-8, 8) if toward.any() else (0, 0), (-3, 3) if temperature else (0, 0)]
    shift, log_temperature = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9}).x
    return Adjustment(float(shift), float(np.exp(log_temperature)))


# --- what the cards say --------------------------------------------------------------------------------------------------------------------


def with_real(
    cards: pd.DataFrame, donors: pd.DataFrame, columns: Sequence[str], *, by: Sequence[str], weights: str = "weight", fewest: int = 5
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Put what real people are in the place of what a model invented: each card becomes one row for each value (or combination) its donors have.

    Args: cards: a row a card, with the columns `by` and `weights`; their own `columns` are dropped. donors: real people with all of these columns. by: what a
        card and its donors share, most important first; with fewer than `fewest` donors the last is given up, then the one before it.
    Returns: (the rows, whose weights sum to those of the cards; how many cards kept how many of `by`, in words).
    Raises: InputError for columns that are not there, and without donors.
    """
    if missing := [f"{name} ({where})" for where, table, names in (("cards", cards, (*by, weights)), ("donors", donors, (*by, *columns, weights)))
                   for name in names if name not in table]:  # fmt: skip
        raise InputError(f"real attributes: no column {', '.join(missing)}")
    known = donors.dropna(subset=[*by, *columns])
    if known.empty:
        raise InputError(f"real attributes: none of {len(donors)} donors has all of {', '.join([*by, *columns])}")
    todo, made, kept = cards.drop(columns=[c for c in columns if c in cards]), [], {}
    for depth in range(len(by), -1, -1):
        shared = list(by[:depth])
        groups = known.groupby(shared)[weights] if shared else None
        enough = known if groups is None else known[groups.transform("size") >= fewest]
        spread = enough.groupby([*shared, *columns], as_index=False)[weights].sum()
        spread["share"] = spread[weights] / (spread.groupby(shared)[weights].transform("sum") if shared else spread[weights].sum())
        joined = todo.assign(_card=np.arange(len(todo))).merge(spread.drop(columns=weights), on=shared or None, how="inner" if shared else "cross")
        kept[" x ".join(shared) or "everybody"] = joined["_card"].nunique()
        made.append(joined.assign(**{weights: joined[weights] * joined["share"]}).drop(columns=["share", "_card"]))
        todo = todo.iloc[np.setdiff1d(np.arange(len(todo)), joined["_card"])]
    return pd.concat([m for m in made if len(m)], ignore_index=True), {name: n for name, n in kept.items() if n}


# --- who counts -----------------------------------------------------------------------------------------------------------------------------


def turnout(cells: pd.DataFrame, people: pd.DataFrame, *, columns: Sequence[str], votes: Mapping[str, float] = VOTES) -> np.ndarray:
    """How probably a member of each cell votes, shape (cells,): turnout regressed on what cells and people share.

    Args: cells, people: both with `columns`; people with `turnout` (a class of `votes`) and `weight`. Who has no class is left out.
    Raises: InputError for a column that is not there, or if nobody has a class. Source: logistic regression, L2 penalty 1 (scikit-learn).
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    if missing := [c for c in columns if c not in cells or c not in people]:
        raise InputError(f"turnout: cells and people need the same columns, and one lacks {', '.join(missing)}")
    known = people[people["turnout"].isin(votes)]
    if known.empty:
        raise InputError(f"turnout: nobody has one of the classes {', '.join(votes)}")
    share = known["turnout"].map(votes).to_numpy(dtype=float)
    both = pd.get_dummies(pd.concat([known[list(columns)], cells[list(columns)]]).astype(str)).to_numpy(dtype=float)
    seen, weight = both[: len(known)], known["weight"].to_numpy(dtype=float)
    if not 0 < (share * weight).sum() < weight.sum():
        return np.full(len(cells), share[0])
    with threadpool_limits(1):
        model = LogisticRegression(max_iter=500)
        model.fit(np.vstack([seen, seen]), np.repeat([1, 0], len(known)), sample_weight=np.concatenate([share * weight, (1 - share) * weight]))
        return model.predict_proba(both[len(known) :])[:, 1]
