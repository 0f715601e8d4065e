"""What the answers say of items together: yes to everything, the same option down a whole grid, and scales whose items do not hang together or are keyed wrong.

Probabilities count as single answers drawn one item at a time, as in `survey.reliability`; real people's answers are the special case of probabilities 0 and 1.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..resampling import resample
from ..survey import reliability
from ..survey.distributions import bounded_interval
from ..survey.sheet import Sheet
from .item_measures import BOOTSTRAPS, mean_draws, option_shares, ordered, wordings
from .panel import Panel

FEWEST_IN_GRID = 4  # items with one list of options, from which on the same option down the list says something
BY_CHANCE = 0.01  # a respondent who would answer like this more often by chance is not named
RUNS_AGAINST = 0.1  # item-rest correlation below minus this, from which on a key is doubted: one near 0 says that an item hangs together with nothing
_YES, _NO = re.compile(r"(?:(?:strongly|fully|totally|completely) )?agree\b|(?:yes|true)\b", re.I), re.compile(r".*\bdisagree\b|(?:no|false)\b", re.I)
ACQUIESCENT = 0.05  # of the scale: agreement with an item and its negation together, above the middle


def yes_first(item) -> bool:
    """Whether an item's options run from agreement (yes, true) to disagreement: its first option then counts as the lowest."""
    options = [str(option).strip() for option in item.options]
    return len(options) > 1 and bool(_YES.match(options[0]) and _NO.match(options[-1]))


# --- yes to everything -------------------------------------------------------------------------------------------------------------------


def mirrored(items: Sequence) -> list[tuple[int, int]]:
    """(item, its negation) of each pair with the same options, as places."""
    pairs = []
    for first, others in wordings(items).items():
        group = [first, *others]
        plain = [p for p in group if not getattr(items[p], "negated", False)]
        pairs += [(plain[0], p) for p in group if plain and p not in plain and items[p].options == items[plain[0]].options]
    return [pair for pair in pairs if ordered(items)[list(pair)].all()]


def acquiescence_table(panel: Panel, *, seed: int = 42) -> pd.DataFrame:
    """Agreement with an item and with its negation together: a row a pair, and one of all pairs (question_id "all pairs"); empty without negated items.

    Returns: system, question_id, negation, acquiescence (mean of both positions less one half: 0 none, .5 full agreement with both) with interval,
        acquiescent (at least `ACQUIESCENT` and its interval above 0), negation_r (correlation of the one with the turned other over people's means; 1: who
        agrees with the one disagrees with the other), n. The last option is taken for the one that agrees, unless the labels say the reverse (`yes_first`).
    """
    pairs, mean = mirrored(panel.sheet.items), panel.sheet.positions()[0]
    columns = ["system", "question_id", "negation", "acquiescence", "lo", "hi", "acquiescent", "negation_r", "n"]
    if not pairs:
        return pd.DataFrame(columns=columns)
    agrees = np.where([yes_first(item) for item in panel.sheet.items], 1 - mean, mean)
    both = np.stack([(agrees[:, a] + agrees[:, b]) / 2 - 0.5 for a, b in pairs], axis=1)
    known = np.isfinite(both)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.column_stack([both, np.where(known, both, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)])
    value, lo, hi = bounded_interval(mean_draws(panel.sheet.draws(n_boot=BOOTSTRAPS, seed=seed), values), panel.sheet.n_units, (-0.5, 0.5))
    ids = [(panel.sheet.items[a].id, panel.sheet.items[b].id, _correlation(mean[:, a], 1 - mean[:, b])) for a, b in pairs]
    rows = [*ids, ("all pairs", "", np.nan)]
    return pd.DataFrame({
        "system": panel.system, "question_id": [r[0] for r in rows], "negation": [r[1] for r in rows], "acquiescence": value, "lo": lo, "hi": hi,
        "acquiescent": (value >= ACQUIESCENT) & (lo > 0), "negation_r": [r[2] for r in rows], "n": np.isfinite(values).sum(0),
    })[columns]  # fmt: skip


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3 or min(a[known].std(), b[known].std()) < 1e-6:
        return float("nan")
    return float(np.corrcoef(a[known], b[known])[0, 1])


# --- the same option down a grid -----------------------------------------------------------------------------------------------------------


def grids(items: Sequence) -> dict[str, list[int]]:
    """Battery -> places of its items with one list of options, if they are `FEWEST_IN_GRID` or more. Its second list of options is "battery (2)"."""
    groups: dict[tuple, list[int]] = {}
    for place, item in enumerate(items):
        if battery := getattr(item, "battery", ""):
            groups.setdefault((battery, item.options), []).append(place)
    made: dict[str, list[int]] = {}
    for (battery, _), places in groups.items():
        if len(places) >= FEWEST_IN_GRID:
            names = (battery, *(f"{battery} ({k})" for k in range(2, len(groups) + 1)))
            made[next(name for name in names if name not in made)] = places
    return made


def grid_table(panel: Panel) -> pd.DataFrame:
    """A row a grid: how the answers down it differ.

    Returns: system, battery, items, n (people who answered all), straight (share of answers down the whole grid that are the same option), by_chance (the
        same if each item's answers were assigned to its people at random), differ (probability that two items of a person get different options, mean over
        people), differ_by_chance. Straight-lining shows as `straight` far above `by_chance`, weak differentiation as `differ` below its chance value.
    Source: Krosnick and Alwin 1988 (the differentiation of ratings), here with probabilities.
    """
    rows = []
    for battery, places in grids(panel.sheet.items).items():
        probs, whole = panel.sheet.probs[:, places], panel.sheet.answered[:, places].all(1)
        weights = np.where(whole, panel.sheet.draws(n_boot=0, seed=0)[0], 0)
        about = {"system": panel.system, "battery": battery, "items": len(places), "n": int(whole.sum())}
        if whole.any():
            weights, chance = weights / weights.sum(), option_shares(panel.sheet)[:, places]
            about |= {"straight": float(weights @ _straight(probs)), "by_chance": float(_straight(chance)[0]),
                      "differ": float(weights @ _differ(probs)), "differ_by_chance": float(_differ(chance)[0])}  # fmt: skip
        rows.append(about)
    return pd.DataFrame(rows, columns=["system", "battery", "items", "n", "straight", "by_chance", "differ", "differ_by_chance"])


def _straight(probs: np.ndarray) -> np.ndarray:
    """Probability that all items get the same option: (people, items, options) -> (people,)."""
    return probs.prod(1).sum(-1)


def _differ(probs: np.ndarray) -> np.ndarray:
    """Probability that two different items get different options, mean over pairs of items: (people, items, options) -> (people,)."""
    items, total = probs.shape[1], probs.sum(1)
    same = (total**2).sum(-1) - (probs**2).sum((1, 2))
    return 1 - same / (items * (items - 1))


def straight_liners(panel: Panel) -> pd.DataFrame:
    """Each respondent over all grids: a row a person who answered a grid in full, those who answer in straight lines first.

    Returns: system, persona_id, grids, items, straight (probability that every grid is one straight line: 0 or 1 for a real person), by_chance (the same of
        somebody whose answers are drawn from each item's distribution), straight_liner (at least one half, and by chance below `BY_CHANCE`).
    """
    made, chance = np.ones(len(panel.sheet.people)), np.ones(len(panel.sheet.people))
    counts = np.zeros((2, len(panel.sheet.people)), dtype=int)
    for places in grids(panel.sheet.items).values():
        whole = panel.sheet.answered[:, places].all(1)
        made[whole] *= _straight(panel.sheet.probs[whole][:, places])
        chance[whole] *= _straight(option_shares(panel.sheet)[:, places])[0]
        counts[:, whole] += np.array([[1], [len(places)]])
    table = pd.DataFrame(
        {"system": panel.system, "persona_id": panel.sheet.people, "grids": counts[0], "items": counts[1], "straight": made, "by_chance": chance}
    )
    table = table.assign(straight_liner=(made >= 0.5) & (chance < BY_CHANCE) & (counts[0] > 0))
    return table[table["grids"] > 0].sort_values(["straight_liner", "straight"], ascending=False, kind="stable").reset_index(drop=True)


# --- scales ----------------------------------------------------------------------------------------------------------------------------------


def scales(items: Sequence) -> dict[str, list[int]]:
    """Construct -> places of its items: three or more, with an order, none of them another wording. A grid without a construct claims no scale."""
    again = {place for others in wordings(items).values() for place in others}
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        if item.construct and place not in again and ordered(items)[place]:
            groups.setdefault(item.construct, []).append(place)
    return {name: places for name, places in groups.items() if len(places) >= reliability.FEWEST_ITEMS}


def scale_tables(panel: Panel, *, seed: int = 42) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a row a scale, a row an item of a scale) of one system. Reverse-keyed items are turned round; who did not answer a whole scale is left out of it.

    Returns: first system, construct, items, reversed, n, left_out, alpha with alpha_lo and alpha_hi, omega. Then system, construct, question_id, key,
        item_rest (correlation of the item with the sum of the others) with interval, alpha_without (alpha of the others), keyed_wrong: its correlation is
        below -`RUNS_AGAINST`, clearly below 0 (interval), and so it stays when worse items of the scale are turned first.
    """
    weights, summary, lines = panel.sheet.draws(n_boot=BOOTSTRAPS, seed=seed), [], []
    mean, var = panel.sheet.positions()
    keyed = panel.sheet.keyed(mean)
    for name, places in scales(panel.sheet.items).items():
        whole = np.isfinite(keyed[:, places]).all(1)
        about = {"system": panel.system, "construct": name, "items": len(places), "reversed": sum(panel.sheet.items[p].key < 0 for p in places),
                 "n": int(whole.sum()), "left_out": int((~whole).sum())}  # fmt: skip
        if whole.sum() < 3:
            summary.append(about)
            continue
        own = weights[:, whole] / weights[:, whole].sum(1, keepdims=True)
        covariance = reliability.covariances(own, keyed[whole][:, places], var[whole][:, places])
        alpha, lo, hi = map(float, bounded_interval(reliability.alpha(covariance), panel.sheet.n_units, (-np.inf, 1)))
        summary.append(about | {"alpha": alpha, "alpha_lo": lo, "alpha_hi": hi, "omega": reliability.omega(covariance[0])})
        lines += _item_lines(panel, name, places, covariance)
    columns = ["system", "construct", "items", "reversed", "n", "left_out", "alpha", "alpha_lo", "alpha_hi", "omega"]
    item_columns = ["system", "construct", "question_id", "key", "item_rest", "lo", "hi", "alpha_without", "keyed_wrong"]
    return pd.DataFrame(summary, columns=columns), pd.DataFrame(lines, columns=item_columns)


def _item_lines(panel: Panel, name: str, places: list[int], covariance: np.ndarray) -> list[dict]:
    value, lo, hi = bounded_interval(item_rest(covariance), panel.sheet.n_units, (-1, 1))
    wrong, k = _keyed_wrong(covariance, panel.sheet.n_units), len(places)
    others = [np.delete(np.delete(covariance[:1], i, axis=1), i, axis=2) for i in range(k)]
    items = [panel.sheet.items[p] for p in places]
    return [{"system": panel.system, "construct": name, "question_id": items[i].id, "key": items[i].key, "item_rest": value[i], "lo": lo[i], "hi": hi[i],
             "alpha_without": float(reliability.alpha(others[i])[0]), "keyed_wrong": i in wrong} for i in range(k)]  # fmt: skip


def item_rest(covariance: np.ndarray) -> np.ndarray:
    """Correlation of each item with the sum of the others: (draws, items, items) -> (draws, items); NaN where one of the two does not vary."""
    own = np.diagonal(covariance, axis1=-2, axis2=-1)
    together = covariance.sum(-1) - own
    rest = covariance.sum((-2, -1))[:, None] - 2 * covariance.sum(-1) + own
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((own > 1e-12) & (rest > 1e-12), together / np.sqrt(own * rest), np.nan)


def _keyed_wrong(covariance: np.ndarray, units: int) -> set[int]:
    """Items whose correlation with the rest is clearly negative, the worst turned round first; at most half of the items, or the others would be wrong."""
    wrong, turned = set(), covariance.copy()
    while len(wrong) < covariance.shape[1] // 2:
        value, _, hi = bounded_interval(item_rest(turned), units, (-1, 1))
        if not np.isfinite(value).any():
            break
        worst = int(np.nanargmin(value))
        if not (value[worst] < -RUNS_AGAINST and hi[worst] < 0) or worst in wrong:
            break
        wrong.add(worst)
        turned[:, worst], turned[:, :, worst] = -turned[:, worst], -turned[:, :, worst]
    return wrong


# --- one attribute at a time -----------------------------------------------------------------------------------------------------------------


def sensitivity(panel: Panel, changed: Panel, changes: pd.DataFrame, *, seed: int = 42) -> pd.DataFrame:
    """Which attribute moves the answer: the same person with one attribute changed, paired. A row an attribute and item, then one of all items.

    Args: panel: answers of the people as they are. changed: of the changed ones. changes: persona_id (in `changed`), of (in `panel`), attribute.
    Returns: system, attribute, question_id ("all items" at the end), moved (total variation distance of the two answers' probabilities, weighted mean)
        with interval, shift (mean change on 0-1; its direction depends on which values were put in), n pairs. An item that no attribute moves does not read
        the card. With probabilities counted from few samples `moved` is above 0 by chance.
    """
    place, place_changed = ({p: i for i, p in enumerate(one.sheet.people)} for one in (panel, changed))
    there = changes[changes["persona_id"].isin(place_changed.keys()) & changes["of"].isin(place.keys())]
    lines = []
    for attribute, rows in there.groupby("attribute", sort=False):
        before, after = [place[p] for p in rows["of"]], [place_changed[p] for p in rows["persona_id"]]
        both = panel.sheet.answered[before] & changed.sheet.answered[after]
        distance = np.where(both, np.abs(panel.sheet.probs[before] - changed.sheet.probs[after]).sum(-1) / 2, np.nan)
        shift = np.where(ordered(panel.sheet.items), changed.sheet.positions()[0][after] - panel.sheet.positions()[0][before], np.nan)
        lines += _moved(panel.sheet, rows["of"], attribute, distance, shift, seed)
    table = pd.DataFrame(lines, columns=["attribute", "question_id", "moved", "lo", "hi", "shift", "n"])
    table.insert(0, "system", panel.system)
    return table


def _moved(sheet: Sheet, people: pd.Series, attribute: str, distance: np.ndarray, shift: np.ndarray, seed: int) -> list[dict]:
    columns = [q.id for q in sheet.items]
    frame = pd.DataFrame(distance, columns=columns)
    frame["all items"] = frame.mean(axis=1)
    moves = pd.DataFrame(shift, columns=columns).assign(**{"all items": np.nan})
    place, lines = {p: i for i, p in enumerate(sheet.people)}, []
    weights = np.ones(len(people)) if sheet.weights is None else sheet.weights[[place[p] for p in people]]
    for name in frame:
        moved, weighed = _weighted(frame[name], weights, people, seed), weights * moves[name].notna()
        shifted = float((weighed * moves[name].fillna(0)).sum() / weighed.sum()) if weighed.any() else np.nan
        ends = {"moved": float(moved["value"]), "lo": float(moved["lo"]), "hi": float(moved["hi"])}
        lines.append({"attribute": attribute, "question_id": name, **ends, "shift": shifted, "n": moved["n"]})
    return lines


def _weighted(values: pd.Series, weights: np.ndarray, people: pd.Series, seed: int) -> dict:
    """The weighted mean of the values that are known, with its interval over people (`resampling.resample`)."""
    known = values.notna().to_numpy()
    if not weights[known].any():
        return {"value": np.nan, "lo": np.nan, "hi": np.nan, "n": int(known.sum())}
    rows = np.column_stack([weights * values.fillna(0), weights])[known]
    return resample(rows, lambda sums: sums[:, 0] / sums[:, 1], clusters=list(people[known]), n_boot=BOOTSTRAPS, seed=seed)


def by_respondent(panel: Panel) -> pd.DataFrame:
    """A row a person: persona_id, answered (closed items), missing, straight, straight_liner (`straight_liners`; NaN and False without a grid)."""
    answered = panel.sheet.answered.sum(1)
    table = pd.DataFrame({"system": panel.system, "persona_id": panel.sheet.people, "answered": answered, "missing": len(panel.sheet.items) - answered})
    lines = straight_liners(panel)[["persona_id", "grids", "straight", "by_chance", "straight_liner"]]
    merged = table.merge(lines, on="persona_id", how="left")
    return merged.assign(straight_liner=merged["straight_liner"].eq(True), grids=merged["grids"].fillna(0).astype(int))
