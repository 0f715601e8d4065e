"""What a simulation is worth beside real people who answered the same items: alignment with baselines and upper bounds, groups, and prediction-powered numbers.

Baselines and upper bounds come from one random half of the people, and everything is compared with the other half. Prediction-powered estimates need people who
both were asked and were simulated (the same persona_id), and simulated people who were not asked.
"""

import numpy as np
import pandas as pd

from .. import rectification
from ..people import human_baselines
from ..resampling import interval
from ..stats import compare_distributions
from ..survey.distributions import bounded_interval
from ..survey.sheet import Sheet
from ..survey.subgroups import FEWEST_PEOPLE
from .item_measures import BOOTSTRAPS, mean_draws, option_shares, ordered
from .panel import Panel

UNIFORM, MOST_FREQUENT, OTHER_HALF = "uniform answers", "most frequent answer of the other half", "the other half of the people"
RESAMPLES = 20  # samples of as many people as were simulated
GAIN = 1.05  # effective sample size over the people's own, from which on the simulation is said to add something


def common_sheets(panel: Panel, humans: Panel) -> tuple[Sheet, Sheet]:
    """Both sheets with the items that both have, in the panel's order. Raises ValueError if there are none."""
    theirs = {q.id for q in humans.sheet.items}
    ids = [q.id for q in panel.sheet.items if q.id in theirs]
    if not ids:
        raise ValueError("the simulated and the real people answered no item in common: items are told apart by their ids")
    return panel.sheet.in_order(ids), humans.sheet.in_order(ids)


def alignment_tables(panel: Panel, humans: Panel, *, seed: int = 42) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a row a system with the mean over items, a row a system and item): system, [question_id,] alignment, lo, hi, n (people behind the answers).

    The first also: over, over_lo, over_hi: alignment less that of the better of the two baselines, an interval of the paired difference (the baseline's own
    distance from the people is as uncertain as the simulation's); NaN for baselines and samples.

    Systems: the simulation, `UNIFORM`, `MOST_FREQUENT`, as many real people as were simulated (mean of `RESAMPLES` samples, whose interval
    holds 95 % of single samples), `OTHER_HALF`. Other intervals resample the people compared with, and the simulated ones.
    Alignment is 1 - Wasserstein distance / range; options without an order count as listed.
    """
    simulated, real = common_sheets(panel, humans)
    first, second = human_baselines.halves(len(real.people), seed=seed)
    other, half = real.of(first), real.of(second)
    answered = half.answered.any(0) & other.answered.any(0) & simulated.answered.any(0)
    truth, n = option_shares(half, weights=half.draws(n_boot=BOOTSTRAPS, seed=seed)), len(simulated.people)
    rng_seeds = [seed + k for k in range(RESAMPLES)]
    rivals = {
        panel.system: (option_shares(simulated, weights=simulated.draws(n_boot=BOOTSTRAPS, seed=seed + 1)), n),
        UNIFORM: (human_baselines.uniform(half).probs[:1], 0),
        MOST_FREQUENT: (human_baselines.most_frequent(half, other).probs[:1], len(first)),
        f"{n} real people": (np.stack([human_baselines.people_resampled(half, other, n=n, seed=s).probs[0] for s in rng_seeds]), n),
        OTHER_HALF: (human_baselines.other_half(half, other).probs[:1], len(first)),
    }
    whole, by_item, all_draws = [], [], {}
    for system, (given, people) in rivals.items():
        samples = system == f"{n} real people"
        draws = _alignments(given, truth[:1] if samples else truth, half.sizes, answered)
        draws = np.concatenate([draws.mean(0, keepdims=True), draws]) if samples else draws
        value, lo, hi = bounded_interval(draws, half.n_units, (0, 1))
        by_item.append(pd.DataFrame({"system": system, "question_id": [q.id for q in half.items], "alignment": value, "lo": lo, "hi": hi, "n": people}))
        value, lo, hi = map(float, bounded_interval(_over_items(draws[:, answered]), half.n_units, (0, 1)))
        whole.append({"system": system, "alignment": value, "lo": lo, "hi": hi, "n": people, "items": int(answered.sum())})
        all_draws[system] = draws[:, answered]
    floor = all_draws[best_baseline(pd.DataFrame(whole))]
    for line in whole:
        if line["system"] in (panel.system, OTHER_HALF):
            over = _over_items(all_draws[line["system"]] - floor)
            lo, hi = interval(over[1:], units=half.n_units)  # percentiles: a difference of distances has kinks, at which its spread says too little
            line |= {"over": float(over[0]), "over_lo": float(min(lo, over[0])), "over_hi": float(max(hi, over[0]))}
    return pd.DataFrame(whole), pd.concat(by_item, ignore_index=True)


def best_baseline(alignment: pd.DataFrame) -> str:
    """The baseline without a model that comes nearer to the people, of the first table of `alignment_tables`."""
    return str(alignment.set_index("system").loc[[UNIFORM, MOST_FREQUENT], "alignment"].idxmax())


def _alignments(given: np.ndarray, truth: np.ndarray, sizes: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Alignment of each draw of one side or of both, (draws, items); NaN where a side did not answer, or not in this draw."""
    given, truth = np.broadcast_arrays(given, truth)
    known = answered & np.isfinite(given).all(-1) & np.isfinite(truth).all(-1)
    return np.where(known, compare_distributions(np.nan_to_num(given), np.nan_to_num(truth), sizes)["alignment"], np.nan)


def _over_items(draws: np.ndarray) -> np.ndarray:
    """Mean over the items that are known in each draw, (draws, items) -> (draws,); NaN for a draw without any."""
    known = np.isfinite(draws)
    with np.errstate(invalid="ignore"):
        return np.where(known, draws, 0).sum(1) / known.sum(1)


def mean_gaps(panel: Panel, humans: Panel, *, seed: int = 42) -> pd.DataFrame:
    """A row an item: question_id, simulated and people_mean (weighted means on 0-1), gap with interval (both resampled), sd_ratio (simulated over people's)."""
    simulated, real = common_sheets(panel, humans)
    draws, spreads = [], []
    for number, sheet in enumerate((simulated, real)):
        mean, var = sheet.positions()
        weights = sheet.draws(n_boot=BOOTSTRAPS, seed=seed + number)
        draws.append(np.where(ordered(sheet.items), mean_draws(weights, mean), np.nan))
        spreads.append(np.sqrt(np.clip(mean_draws(weights[:1], mean**2 + var)[0] - draws[-1][0] ** 2, 0, None)))
    gap, lo, hi = bounded_interval(draws[0] - draws[1], min(simulated.n_units, real.n_units), (-1, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(spreads[1] > 1e-9, spreads[0] / spreads[1], np.nan)
    return pd.DataFrame({"system": panel.system, "question_id": [q.id for q in simulated.items], "simulated": draws[0][0], "people_mean": draws[1][0],
                         "gap": gap, "lo": lo, "hi": hi, "sd_ratio": ratio})  # fmt: skip


def group_errors(panel: Panel, humans: Panel, attributes: pd.DataFrame, *, seed: int = 42) -> pd.DataFrame:
    """How far the simulation's group means are from the same group of real people, beside the error of taking everybody for the group.

    Args: attributes: index persona_id of both, a text column a variable (`panel.attributes_of`).
    Returns: system, variable, group, n_simulated, n_people, error (mean over items of the absolute distance of the two means, on 0-1) with interval,
        ignoring (the same of all real people's mean: what a simulation reaches that knows the country and no group), note ("too few": fewer than
        `FEWEST_PEOPLE` on a side; nothing is computed). Distances of small groups are above 0 by luck, for both.
    """
    simulated, real = common_sheets(panel, humans)
    scaled = ordered(simulated.items)
    parts = [(s.positions()[0][:, scaled], s.draws(n_boot=BOOTSTRAPS, seed=seed + k), attributes.loc[list(s.people)]) for k, s in enumerate((simulated, real))]
    everybody, lines = mean_draws(parts[1][1], parts[1][0]), []
    for variable in attributes.columns:
        for group in sorted(set(parts[0][2][variable]) & set(parts[1][2][variable])):
            inside = [(table[variable] == group).to_numpy() for _, _, table in parts]
            about = {"system": panel.system, "variable": variable, "group": group, "n_simulated": int(inside[0].sum()), "n_people": int(inside[1].sum())}
            if min(i.sum() for i in inside) < FEWEST_PEOPLE or not scaled.any():
                lines.append(about | {"note": "too few"})
                continue
            means = [mean_draws(weights * within, values) for (values, weights, _), within in zip(parts, inside, strict=True)]
            units = min(sheet.of(i).n_units for sheet, i in zip((simulated, real), inside, strict=True))
            error, lo, hi = map(float, bounded_interval(_over_items(np.abs(means[0] - means[1])), units, (0, 1)))
            ignoring = float(_over_items(np.abs(everybody[:1] - means[1][:1]))[0])
            lines.append(about | {"error": error, "lo": lo, "hi": hi, "ignoring": ignoring, "note": ""})
    return pd.DataFrame(lines, columns=["system", "variable", "group", "n_simulated", "n_people", "error", "lo", "hi", "ignoring", "note"])


# --- prediction-powered ----------------------------------------------------------------------------------------------------------------------


def labelled_people(panel: Panel, humans: Panel, *, seed: int = 42) -> tuple[list[str], list[str], bool]:
    """(people who were asked and simulated, simulated people who were not asked, whether this is a replay).

    A replay: if everybody who was simulated was asked too, a random half of them is treated as not asked, so that the gain can be seen.
    """
    asked = set(humans.sheet.people)
    both, alone = [p for p in panel.sheet.people if p in asked], [p for p in panel.sheet.people if p not in asked]
    if len(alone) >= rectification.FEWEST or len(both) < 2 * rectification.FEWEST:
        return both, alone, False
    order = np.random.default_rng(seed).permutation(len(both))
    return [both[i] for i in sorted(order[: len(both) // 2])], [both[i] for i in sorted(order[len(both) // 2 :])] + alone, True


def powered_means(panel: Panel, humans: Panel, *, seed: int = 42) -> pd.DataFrame:
    """Prediction-powered mean of each item: a row an item with an order; empty if fewer than `rectification.FEWEST` people are on either side.

    Returns: system, question_id, mean, lo, hi (with the simulation), alone, alone_lo, alone_hi (labelled people only), simulated (the simulation only), power,
        n, n_others, effective_n, gain (effective_n / n; 1: the simulation adds nothing), left_out (labelled people without an answer), replay.
    """
    return _powered(panel, humans, None, seed=seed)


def powered_differences(panel: Panel, humans: Panel, attributes: pd.DataFrame, *, seed: int = 42) -> pd.DataFrame:
    """The same of each group's mean minus everybody else's: also variable and group; groups with `FEWEST_PEOPLE` or more on every side."""
    labelled, others, _ = labelled_people(panel, humans, seed=seed)
    tables = []
    for variable in attributes.columns if min(len(labelled), len(others)) >= rectification.FEWEST else ():
        for group in sorted(set(attributes.loc[labelled, variable])):
            inside = attributes[variable] == group
            counts = [int((inside.loc[part] == side).sum()) for part in (labelled, others) for side in (True, False)]
            if min(counts) >= FEWEST_PEOPLE:
                tables.append(_powered(panel, humans, inside, seed=seed).assign(variable=variable, group=group))
    return pd.concat(tables, ignore_index=True) if tables else _powered_frame([]).assign(variable=[], group=[])


def _powered_frame(lines: list[dict]) -> pd.DataFrame:
    numbers = ["mean", "lo", "hi", "alone", "alone_lo", "alone_hi", "simulated", "power", "n", "n_others", "effective_n", "gain", "left_out"]
    return pd.DataFrame(lines, columns=["system", "question_id", *numbers, "replay"])


def _powered(panel: Panel, humans: Panel, inside: pd.Series | None, *, seed: int) -> pd.DataFrame:
    """See `powered_means`; `inside`: who is in a group (index persona_id)."""
    simulated, real = common_sheets(panel, humans)
    labelled, others, replay = labelled_people(panel, humans, seed=seed)
    if min(len(labelled), len(others)) < rectification.FEWEST:
        return _powered_frame([])
    place, place_real = ({p: i for i, p in enumerate(s.people)} for s in (simulated, real))
    rows, rows_others, rows_real = [place[p] for p in labelled], [place[p] for p in others], [place_real[p] for p in labelled]
    said, true, lines = simulated.positions()[0], real.true_positions()[rows_real], []
    drawn = {"design": (real, rows_real), "design_others": (simulated, rows_others)}
    for j in np.flatnonzero(ordered(simulated.items)):
        known, known_others = np.isfinite(true[:, j]) & np.isfinite(said[rows, j]), np.isfinite(said[rows_others, j])
        designs = {name: rectification.Design(weights=_part(drawn[name][0].weights, drawn[name][1], k), clusters=_part(drawn[name][0].units, drawn[name][1], k))
                   for name, k in (("design", known), ("design_others", known_others))}  # fmt: skip
        groups = [None, None] if inside is None else [inside.loc[labelled].to_numpy()[known], inside.loc[others].to_numpy()[known_others]]
        values = true[known, j], said[rows, j][known], said[rows_others, j][known_others]
        if line := _estimate(values, designs, groups):
            about = {"system": panel.system, "question_id": simulated.items[j].id, "left_out": int((~known).sum()), "replay": replay}
            lines.append(about | line)
    return _powered_frame(lines)


def _part(values: np.ndarray | None, rows: list[int], known: np.ndarray) -> np.ndarray | None:
    """The values (weights, units) of some people, of those who are known."""
    return None if values is None else values[rows][known]


def _estimate(values: tuple, designs: dict, groups: list) -> dict | None:
    """One prediction-powered estimate and the labelled people's own; None with too few people, or clusters of them, for either."""
    sides = [np.ones((1, len(v)), dtype=bool) if g is None else np.stack([g, ~g]) for v, g in zip((values[0], values[2]), groups, strict=True)]
    sizes = []
    for design, both in zip(designs.values(), sides, strict=True):
        counted = both if design.weights is None else both & (design.weights > 0)
        sizes += [side.sum() if design.clusters is None else len(np.unique(design.clusters[side])) for side in counted]
    if min(sizes) < rectification.FEWEST:
        return None
    if groups[0] is None:
        made = rectification.rectified_mean(*values, **designs)
        alone = rectification.rectified_mean(*values, **designs, power=0.0)
    else:
        made = rectification.rectified_difference(*values, group=groups[0], group_others=groups[1], **designs)
        alone = rectification.rectified_difference(*values, group=groups[0], group_others=groups[1], **designs, power=0.0)
    own = {"mean": "value", "lo": "lo", "hi": "hi", "power": "power", "n": "n", "n_others": "n_others", "effective_n": "effective_n"}
    line = {name: float(made[key]) for name, key in own.items()} | {
        f"alone{end}": float(alone[key]) for end, key in (("", "value"), ("_lo", "lo"), ("_hi", "hi"))
    }
    weights, said = designs["design_others"].weight(len(values[2])), values[2]
    if groups[1] is None:
        simulated = np.average(said, weights=weights)
    else:
        simulated = np.subtract(*(np.average(said[g], weights=weights[g]) for g in (groups[1], ~groups[1])))
    simulated = float(simulated)
    return line | {"simulated": simulated, "gain": line["effective_n"] / line["n"]}


# --- the verdict -------------------------------------------------------------------------------------------------------------------------------


def mean_gain(powered: pd.DataFrame) -> float:
    """The gain over all items: sum of the people over sum of people / gain (the harmonic mean, which no single item can carry); NaN without estimates."""
    gains = powered["gain"].to_numpy(dtype=float)
    gains = gains[np.isfinite(gains) & (gains > 0)]
    return float(1 / (1 / gains).mean()) if len(gains) else float("nan")


def worth_sentence(system: str, alignment: pd.DataFrame, powered: pd.DataFrame) -> str:
    """One sentence: whether the simulation was worth anything here, as a stand-in for people and beside them.

    Args: alignment: the first table of `alignment_tables`. powered: `powered_means`, may be empty.
    """
    rows = alignment.set_index("system")
    own, baseline = rows.loc[system], best_baseline(alignment)
    floor, people = rows.loc[baseline, "alignment"], rows.loc[f"{int(own['n'])} real people", "alignment"]
    better = "lies above" if own["over_lo"] > 0 else "lies below" if own["over_hi"] < 0 else "cannot be told from"
    gain = mean_gain(powered)
    useful = bool(own["over_lo"] > 0), bool(gain >= GAIN) if np.isfinite(gain) else None
    opening = {
        (True, True): "Worth something here", (True, False): "Of little worth here", (False, True): "Worth something only beside real answers",
        (True, None): "Worth something as a stand-in here", (False, None): "Not worth anything as a stand-in here",
    }  # fmt: skip
    stand_in = (f"its alignment of {own['alignment']:.3f} {better} the best baseline without a model ({baseline}, {floor:.3f}), "
                f"where {int(own['n'])} real people reach {people:.3f}")  # fmt: skip
    return f"{opening.get(useful, 'Not worth anything here')}: {stand_in}, and {_beside(gain, powered)}."


def _beside(gain: float, powered: pd.DataFrame) -> str:
    if not np.isfinite(gain):
        why = "too few people were both asked and simulated" if powered.empty else "the people who were both asked and simulated gave the same answers"
        return f"what it adds to real answers is unknown, because {why}"
    n = powered["n"].median()
    if gain < GAIN:
        return f"beside {n:.0f} real people it adds nothing (effective sample size {gain * n:.0f})"
    return f"beside {n:.0f} real people it counts like {(gain - 1) * n:.0f} more (effective sample size {gain * n:.0f})"
