"""What the answers say of single items: how they spread, floor and ceiling, the order of the options, wordings, and how many people a difference needs.

Means are positions on the item's own scale from 0 (lowest option) to 1; items without an order have none. Intervals are 95 % and resample people or units.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import entr

from ..survey.distributions import bounded_interval
from ..survey.sheet import Sheet
from .panel import Panel

END, END_OF_TWO = 0.80, 0.95  # share of the answers at one end of a scale (of two options), from which on the item is at its floor or ceiling
ORDER = 0.10  # gain of an option that is shown first, from which on the order matters
POWER, ALPHA = 0.80, 0.05  # of the two-sided t test behind `people_needed`
BOOTSTRAPS, PERMUTED = 500, 20  # bootstrap samples; permutations of the cards


def option_shares(sheet: Sheet, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Distribution of the answers as far as they are there: (draws, items, options), by default of the sample itself; NaN without an answer."""
    weights = sheet.draws(n_boot=0, seed=0) if weights is None else weights
    given = sheet.probs * sheet.there[..., None]
    sums = (weights @ given.reshape(len(sheet.people), -1)).reshape(len(weights), *sheet.probs.shape[1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / (weights @ sheet.there)[..., None]


def ordered(items: Sequence) -> np.ndarray:
    """Which items have options with an order, bool, shape (items,)."""
    return np.array([getattr(item, "ordered", True) is not False for item in items], dtype=bool)


def mean_draws(weights: np.ndarray, values: np.ndarray, there: np.ndarray | None = None) -> np.ndarray:
    """Weighted means over the people who have a value: (draws, people), (people, columns) -> (draws, columns). `there`: how far each value counts."""
    known = np.isfinite(values) * (1.0 if there is None else there)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights @ (np.where(np.isfinite(values), values, 0) * known) / (weights @ known)


def _estimates(sheet: Sheet, values: np.ndarray, name: str, *, seed: int, limits=(-np.inf, np.inf), there: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Means of columns of (people, columns) with intervals: {name, name_lo, name_hi}, each (columns,)."""
    draws = mean_draws(sheet.draws(n_boot=BOOTSTRAPS, seed=seed), values, there)
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), bounded_interval(draws, sheet.n_units, limits), strict=True))


def item_table(panel: Panel, attributes: pd.DataFrame | None = None, *, seed: int = 42) -> pd.DataFrame:
    """A row a closed item of one system.

    Returns: question_id, n (people with an answer), mean, mean_lo, mean_hi, sd (of single answers), entropy (share of the largest possible), top_share,
        floor, ceiling (shares of the end options), at_end ("floor", "ceiling" or ""), between (share of the variance that lies between people's
        probabilities), from_card and from_permuted_cards (share of that variance which the attributes explain, and what cards of permuted people
        explain: the baseline), and the columns of `order_table` and `people_needed`. NaN where a number has no meaning (no order, no attributes).
    """
    sheet, scaled = panel.sheet, ordered(panel.sheet.items)
    mean, var = sheet.positions()
    spread, places = option_shares(sheet)[0], np.arange(sheet.probs.shape[-1])
    table = pd.DataFrame({"system": panel.system, "question_id": [q.id for q in sheet.items], "n": sheet.answered.sum(0)})
    table = table.assign(**_estimates(sheet, np.where(scaled, mean, np.nan), "mean", seed=seed, limits=(0, 1), there=sheet.there))
    weights = sheet.draws(n_boot=0, seed=seed)
    between = mean_draws(weights, mean**2, sheet.there)[0] - mean_draws(weights, mean, sheet.there)[0] ** 2
    total = between + mean_draws(weights, var, sheet.there)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        table = table.assign(sd=np.where(scaled, np.sqrt(np.clip(total, 0, None)), np.nan), between=np.where(scaled & (total > 1e-12), between / total, np.nan))
    last = (places == sheet.sizes[:, None] - 1) * spread
    table = table.assign(entropy=entr(spread).sum(-1) / np.log(sheet.sizes), top_share=spread.max(-1), floor=spread[:, 0], ceiling=last.sum(-1))
    limit = np.where(sheet.sizes > 2, END, END_OF_TWO)
    table["at_end"] = np.where(~scaled, "", np.where(table["floor"] >= limit, "floor", np.where(table["ceiling"] >= limit, "ceiling", "")))
    own, permuted = card_share(sheet, attributes, seed=seed)
    table = table.assign(from_card=np.where(scaled, own, np.nan), from_permuted_cards=np.where(scaled, permuted, np.nan))
    return table.merge(order_table(panel, seed=seed), on="question_id", how="left")


def card_share(sheet: Sheet, attributes: pd.DataFrame | None, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of the variance between people that their attributes explain (R² of a regression), own and mean over permuted people, (items,) each.

    Each item of its own people: those who answered it. NaN without attributes, with no more people than columns, or where people do not differ.
    """
    nothing = np.full(len(sheet.items), np.nan)
    if attributes is None or attributes.empty or not len(attributes.columns):
        return nothing, nothing
    seen = pd.get_dummies(attributes.loc[list(sheet.people)], drop_first=True).to_numpy(dtype=float)
    seen, mean, rng = np.column_stack([np.ones(len(seen)), seen]), sheet.positions()[0], np.random.default_rng(seed)
    own, permuted = nothing.copy(), nothing.copy()
    sets, of_item = np.unique(np.isfinite(mean), axis=1, return_inverse=True)  # items that the same people answered go together
    for number, known in enumerate(sets.T):
        if known.sum() <= seen.shape[1] + 1:
            continue
        items = of_item == number
        orders = [np.arange(known.sum()), *(rng.permutation(known.sum()) for _ in range(PERMUTED))]
        explained = np.stack([_r_squared(seen[known][order], mean[known][:, items]) for order in orders])
        own[items], permuted[items] = explained[0], explained[1:].mean(0)
    return own, permuted


def _r_squared(seen: np.ndarray, values: np.ndarray) -> np.ndarray:
    rest = values - seen @ np.linalg.lstsq(seen, values, rcond=None)[0]
    total = ((values - values.mean(0)) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 1e-10 * len(values), 1 - (rest**2).sum(0) / total, np.nan)


def order_table(panel: Panel, *, seed: int = 42) -> pd.DataFrame:
    """What the order of the options does, paired by person: a row a closed item; NaN if only one order was asked.

    Returns: question_id; first_gain (with first_gain_lo, first_gain_hi): how much more of the answers an end option gets when it is shown first and not last,
        mean of both ends; order_shift: mean with the options in reverse less mean as listed, on 0-1; order_matters: the gain lies `ORDER` or more from 0,
        and its interval does not hold 0 (NA if only one order was asked). An answerer that gives a share b to whatever stands first has a gain of b.
    """
    ids = [q.id for q in panel.sheet.items]
    if panel.listed is None or panel.turned is None:
        return pd.DataFrame(
            {"question_id": ids, **dict.fromkeys(("first_gain", "first_gain_lo", "first_gain_hi", "order_shift"), np.nan), "order_matters": pd.NA}
        ).astype({"order_matters": "boolean"})
    both = panel.listed.answered & panel.turned.answered
    change = np.where(both[..., None], panel.listed.probs - panel.turned.probs, np.nan)
    last = np.take_along_axis(change, np.broadcast_to(panel.sheet.sizes[:, None] - 1, (*change.shape[:2], 1)), axis=2)[..., 0]
    table = pd.DataFrame({"question_id": ids, **_estimates(panel.sheet, (change[..., 0] - last) / 2, "first_gain", seed=seed, limits=(-1, 1))})
    shift = mean_draws(panel.sheet.draws(n_boot=0, seed=seed), panel.turned.positions()[0] - panel.listed.positions()[0])[0]
    clear = (table["first_gain_lo"] > 0) | (table["first_gain_hi"] < 0)
    return table.assign(order_shift=np.where(ordered(panel.sheet.items), shift, np.nan), order_matters=(table["first_gain"].abs() >= ORDER) & clear)


def share_table(panel: Panel) -> pd.DataFrame:
    """The share of every option: system, question_id, place, option, share, as_listed, in_reverse (NaN if only one order was asked), uniform."""
    views = {"share": panel.sheet, "as_listed": panel.listed, "in_reverse": panel.turned}
    spread = {name: None if sheet is None else option_shares(sheet)[0] for name, sheet in views.items()}
    rows = []
    for j, item in enumerate(panel.sheet.items):
        for place, option in enumerate(item.options):
            values = {name: np.nan if given is None else given[j, place] for name, given in spread.items()}
            rows.append({"system": panel.system, "question_id": item.id, "place": place, "option": option, **values, "uniform": 1 / len(item.options)})
    return pd.DataFrame(rows, columns=["system", "question_id", "place", "option", *views, "uniform"])


def wording_effects(panel: Panel, *, seed: int = 42) -> pd.DataFrame:
    """Other wordings of one question beside its first, paired by person: a row a wording that is not negated.

    Wordings share a `variant` (or one's variant is the other's id) and have the same options. Returns: system, question_id, beside (the first wording),
        shift (mean less the first's, on 0-1; NaN without an order), shift_lo, shift_hi, moved (total variation distance of the two distributions), n.
    """
    items, lines = panel.sheet.items, []
    mean = panel.sheet.positions()[0]
    for first, others in wordings(items).items():
        for other in others:
            if items[other].options != items[first].options or getattr(items[other], "negated", False) != getattr(items[first], "negated", False):
                continue
            gap = (mean[:, other] - mean[:, first])[:, None] if ordered(items)[first] else np.full((len(mean), 1), np.nan)
            spread = option_shares(panel.sheet)[0]
            shift = {name: float(value[0]) for name, value in _estimates(panel.sheet, gap, "shift", seed=seed, limits=(-1, 1)).items()}
            both = panel.sheet.answered[:, other] & panel.sheet.answered[:, first]
            lines.append({"system": panel.system, "question_id": items[other].id, "beside": items[first].id, **shift,
                          "moved": float(np.abs(spread[other] - spread[first]).sum() / 2), "n": int(both.sum())})  # fmt: skip
    return pd.DataFrame(lines, columns=["system", "question_id", "beside", "shift", "shift_lo", "shift_hi", "moved", "n"])


def wordings(items: Sequence) -> dict[int, list[int]]:
    """Place of each first wording -> places of the other wordings of the same question."""
    groups: dict[str, list[int]] = {}
    named = {getattr(item, "variant", "") for item in items} - {""}
    for place, item in enumerate(items):
        if name := getattr(item, "variant", "") or (item.id if item.id in named else ""):
            groups.setdefault(name, []).append(place)
    return {places[0]: places[1:] for places in groups.values() if len(places) > 1}


# --- how many people -----------------------------------------------------------------------------------------------------------------


def design_effect(sheet: Sheet, *, seed: int = 42) -> np.ndarray:
    """By how much weights and units widen each item's variance, (items,): 1 is a simple random sample; NaN where no answer differs, and with one unit.

    Source: Kish 1965: 1 + squared coefficient of variation of the weights; with units the variance of a mean of single answers over that of as many answers
    of a simple random sample, which holds both. The former is the bootstrap variance of the expected means (whole units resampled, times U / (U - 1)) and
    what the draw of each single answer adds.
    """
    if sheet.units is None:
        weights = np.ones(len(sheet.people)) if sheet.weights is None else sheet.weights
        known = np.where(sheet.answered, weights[:, None], np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an item without an answer has no weights
            return 1 + (np.nanstd(known, axis=0) / np.nanmean(known, axis=0)) ** 2
    mean, var = sheet.positions()
    draws, own = mean_draws(sheet.draws(n_boot=BOOTSTRAPS, seed=seed), mean), sheet.draws(n_boot=0, seed=seed)[0][:, None] * sheet.answered
    units, draws = sheet.n_units, np.where(np.isfinite(draws).sum(0) > 2, draws, 0)
    if units < 2:
        return np.full(len(sheet.items), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = own / own.sum(0)
        single = (own**2 * np.where(sheet.answered, var, 0)).sum(0)  # of the sum of drawn answers, given what each person expects
        simple = single_variance(sheet) / sheet.answered.sum(0)
        return np.where(simple > 1e-12, (np.nanvar(draws[1:], axis=0, ddof=1) * units / (units - 1) + single) / simple, np.nan)


def single_variance(sheet: Sheet) -> np.ndarray:
    """Weighted variance of single answers on 0-1, (items,): between people's expected positions and within each person's probabilities."""
    mean, var = sheet.positions()
    weights = sheet.draws(n_boot=0, seed=0)
    return np.clip(mean_draws(weights, mean**2 + var, sheet.there)[0] - mean_draws(weights, mean, sheet.there)[0] ** 2, 0, None)


def people_needed(sheet: Sheet, difference: float, *, seed: int = 42) -> pd.DataFrame:
    """How many people each of two groups needs, for a difference of `difference` (on 0-1) to be seen with power `POWER` in a two-sided t test at `ALPHA`.

    Returns: question_id, sd (of single answers), design_effect, people (a group; NaN where nobody differs or options have no order), people_at_most (if
        half of the people chose one end and half the other: simulated people differ too little, so the first number is often too small).
    Source: statsmodels `TTestIndPower`; times the design effect.
    """
    sd, effect, scaled = np.sqrt(single_variance(sheet)), design_effect(sheet, seed=seed), ordered(sheet.items)
    effect_or_one = np.where(np.isfinite(effect), effect, 1.0)
    people = [_in_group(difference, s) * e if ok and s > 1e-6 else np.nan for s, e, ok in zip(sd, effect_or_one, scaled, strict=True)]
    most = _in_group(difference, 0.5)
    return pd.DataFrame({"question_id": [q.id for q in sheet.items], "sd": np.where(scaled, sd, np.nan), "design_effect": effect,
                         "people": np.ceil(people), "people_at_most": np.where(scaled, np.ceil(most * effect_or_one), np.nan)})  # fmt: skip


def _in_group(difference: float, sd: float) -> float:
    """People in each of two groups of a simple random sample, at least 2."""
    from statsmodels.stats.power import TTestIndPower

    if difference / sd > 3:  # the solver does not converge
        return next(float(n) for n in range(2, 10) if TTestIndPower().power(min(difference / sd, 10), n, ALPHA) >= POWER)
    return max(2.0, math.ceil(TTestIndPower().solve_power(effect_size=difference / sd, alpha=ALPHA, power=POWER)))
