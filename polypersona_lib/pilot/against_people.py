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
REAL = " real people"  # with their number before it: how well so few people describe the others
RESAMPLES = 20  # samples of as many people as were simulated
GAIN = 1.05  # effective sample size over the people's own, from which on the simulation is said to add something
SHUFFLES = 39  # in which each real person gets another one's simulated answers: what a simulation gains that knows nobody


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

    Systems: the simulation, `UNIFORM`, `MOST_FREQUENT`, as many real people as were simulated and at most half of those there are (mean of `RESAMPLES` samples,
    whose interval holds 95 % of single samples; half of them are one sample), `OTHER_HALF`. Other intervals resample the people compared with, and the
    simulated ones.
    Alignment is 1 - Wasserstein distance / range; options without an order count as listed.
    """
    simulated, real = common_sheets(panel, humans)
    first, second = human_baselines.halves(len(real.people), seed=seed)
    other, half = real.of(first), real.of(second)
    answered = half.answered.any(0) & other.answered.any(0) & simulated.answered.any(0)
    truth, n = option_shares(half, weights=half.draws(n_boot=BOOTSTRAPS, seed=seed)), len(simulated.people)
    several = min(n, len(first))  # more than there are would be the same people twice
    rng_seeds = [seed + k for k in range(RESAMPLES if several < len(first) else 1)]  # everybody is one sample only
    rivals = {
        panel.system: (option_shares(simulated, weights=simulated.draws(n_boot=BOOTSTRAPS, seed=seed + 1)), n),
        UNIFORM: (human_baselines.uniform(half).probs[:1], 0),
        MOST_FREQUENT: (human_baselines.most_frequent(half, other).probs[:1], len(first)),
        f"{several}{REAL}": (np.stack([human_baselines.people_resampled(half, other, n=several, seed=s).probs[0] for s in rng_seeds]), several),
        OTHER_HALF: (human_baselines.other_half(half, other).probs[:1], len(first)),
    }
    whole, by_item, all_draws = [], [], {}
    for system, (given, people) in rivals.items():
        samples = system.endswith(REAL) and several < len(first)
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
        draws.append(np.where(ordered(sheet.items), mean_draws(weights, mean, sheet.there), np.nan))
        spreads.append(np.sqrt(np.clip(mean_draws(weights[:1], mean**2 + var, sheet.there)[0] - draws[-1][0] ** 2, 0, None)))
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
        `FEWEST_PEOPLE` (`_counted`) on a side; nothing is computed). Distances of small groups are above 0 by luck, for both.
    """
    simulated, real = common_sheets(panel, humans)
    scaled = ordered(simulated.items)
    parts = [(s.positions()[0][:, scaled], s.there[:, scaled], s.draws(n_boot=BOOTSTRAPS, seed=seed + k), attributes.loc[list(s.people)])
             for k, s in enumerate((simulated, real))]  # fmt: skip
    everybody, lines = mean_draws(parts[1][2], *parts[1][:2]), []
    for variable in attributes.columns:
        for group in sorted(set(parts[0][3][variable]) & set(parts[1][3][variable])):
            inside = [(table[variable] == group).to_numpy() for *_, table in parts]
            about = {"system": panel.system, "variable": variable, "group": group, "n_simulated": int(inside[0].sum()), "n_people": int(inside[1].sum())}
            if min(map(_counted, (simulated, real), inside)) < FEWEST_PEOPLE or not scaled.any():
                lines.append(about | {"note": "too few"})
                continue
            means = [mean_draws(weights * within, values, there) for (values, there, weights, _), within in zip(parts, inside, strict=True)]
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
        n, n_others, effective_n, gain (effective_n / n; 1: the simulation adds nothing), left_out (labelled people without an answer), replay, and by_chance:
        the mean gain that a simulation which knows nobody exceeds once in twenty (`SHUFFLES` shuffles of the simulated answers among the labelled people).
    """
    made, rng = _powered(panel, humans, None, seed=seed), np.random.default_rng(seed)
    shuffled = [mean_gain(_powered(panel, humans, None, seed=seed, shuffle=rng)) for _ in range(SHUFFLES if len(made) else 0)]
    return made.assign(by_chance=np.nanquantile(shuffled, 0.95, method="higher") if np.isfinite(shuffled).any() else np.nan)


def powered_differences(panel: Panel, humans: Panel, attributes: pd.DataFrame, *, seed: int = 42) -> pd.DataFrame:
    """The same of each group's mean minus everybody else's: also variable and group; groups with `FEWEST_PEOPLE` or more (`_counted`) on every side."""
    labelled, others, _ = labelled_people(panel, humans, seed=seed)
    tables = []
    for variable in attributes.columns if min(len(labelled), len(others)) >= rectification.FEWEST else ():
        for group in sorted(set(attributes.loc[labelled, variable])):
            inside = attributes[variable] == group
            parts = [(own.sheet, np.isin(own.sheet.people, [p for p in who if inside[p] == side]))
                     for own, who in ((humans, labelled), (panel, others)) for side in (True, False)]  # fmt: skip
            if min(_counted(*part) for part in parts) >= FEWEST_PEOPLE:
                tables.append(_powered(panel, humans, inside, seed=seed).assign(variable=variable, group=group))
    return pd.concat(tables, ignore_index=True) if tables else _powered_frame([]).assign(variable=[], group=[])


def _counted(sheet: Sheet, people: np.ndarray) -> float:
    """How many people of equal weight `people` (bool) are worth; by heads where they were drawn in units."""
    return rectification.effective_people(people if sheet.weights is None or sheet.units is not None else sheet.weights * people)


def _powered_frame(lines: list[dict]) -> pd.DataFrame:
    numbers = ["mean", "lo", "hi", "alone", "alone_lo", "alone_hi", "simulated", "power", "n", "n_others", "effective_n", "gain", "left_out"]
    return pd.DataFrame(lines, columns=["system", "question_id", *numbers, "replay"])


def _powered(panel: Panel, humans: Panel, inside: pd.Series | None, *, seed: int, shuffle: np.random.Generator | None = None) -> pd.DataFrame:
    """See `powered_means`; `inside`: who is in a group (index persona_id)."""
    simulated, real = common_sheets(panel, humans)
    labelled, others, replay = labelled_people(panel, humans, seed=seed)
    if min(len(labelled), len(others)) < rectification.FEWEST:
        return _powered_frame([])
    place, place_real = ({p: i for i, p in enumerate(s.people)} for s in (simulated, real))
    rows, rows_others, rows_real = ([at[p] for p in who] for at, who in ((place, labelled), (place, others), (place_real, labelled)))
    rows = rows if shuffle is None else shuffle.permutation(rows)
    said, true, lines = simulated.positions()[0], real.true_positions()[rows_real], []
    designs = [rectification.Design(**{name: None if values is None else values[who] for name, values in (("weights", s.weights), ("clusters", s.units))})
               for s, who in ((real, rows_real), (simulated, rows_others))]  # fmt: skip
    groups = [None, None] if inside is None else [inside.loc[who].to_numpy() for who in (labelled, others)]
    for j in np.flatnonzero(ordered(simulated.items)):
        values, mass = (true[:, j], said[rows, j], said[rows_others, j]), (np.isfinite(true[:, j]), simulated.there[rows, j], simulated.there[rows_others, j])
        if line := _estimate(values, mass, designs, groups, alone=shuffle is None):
            about = {"system": panel.system, "question_id": simulated.items[j].id, "left_out": int((~mass[0]).sum()), "replay": replay}
            lines.append(about | line)
    return _powered_frame(lines)


def _estimate(values: tuple, mass: tuple, designs: list, groups: list, *, alone: bool = True) -> dict | None:
    """One prediction-powered estimate and, if wanted, the labelled people's `alone`; None with too few people, or clusters of them, for either.

    The mean is that of the people who answer in substance: a ratio, linearized about the labelled people's own (`Sheet.mass` says how far each one counts).
    Args: values, mass: of labelled people's own answers, their simulated ones, and those of the others, (people,) each. groups: who is inside, or None.
    """
    sides = [np.ones((1, len(v)), dtype=bool) if g is None else np.stack([g, ~g]) for v, g in zip((values[0], values[2]), groups, strict=True)]
    known = [mass[0] | (mass[1] > 0), mass[2] > 0]  # whoever neither answered nor was asked says nothing
    for design, both, there in zip(designs, sides, (mass[0], known[1]), strict=True):
        counted = both & there & (True if design.weights is None else design.weights > 0)
        if min(side.sum() if design.clusters is None else len(np.unique(design.clusters[side])) for side in counted) < rectification.FEWEST:
            return None
    parts, alone_mean, simulated = [np.zeros(len(v)) for v in values], 0.0, 0.0
    weights = [designs[0].weight(len(values[0]))] * 2 + [designs[1].weight(len(values[2]))]
    for side, other, sign in zip(*sides, (1, -1), strict=False):
        mean, mean_others = (np.average(values[k][s], weights=(weights[k] * mass[k])[s]) for k, s in ((0, side & mass[0]), (2, other & known[1])))
        share = np.average(mass[0][side], weights=weights[0][side])
        for k, within in ((0, side), (1, side), (2, other)):
            kept = np.average(known[k // 2][within], weights=weights[k][within])
            parts[k] += np.where(within, mass[k] * (np.nan_to_num(values[k]) - mean) / share * kept, 0)
        alone_mean, simulated = alone_mean + sign * mean, simulated + sign * mean_others
    given = [part[known[k // 2]] for k, part in enumerate(parts)]
    kept = {"design": _of(designs[0], known[0]), "design_others": _of(designs[1], known[1])}
    estimate = rectification.rectified_mean
    if groups[0] is not None:
        estimate, kept = rectification.rectified_difference, kept | {"group": groups[0][known[0]], "group_others": groups[1][known[1]]}
    made = estimate(*given, **kept)
    line = {name: alone_mean + float(made[key]) for name, key in (("mean", "value"), ("lo", "lo"), ("hi", "hi"))}
    if alone:
        own = estimate(*given, **kept, power=0.0)
        line |= {f"alone{end}": alone_mean + float(own[key]) for end, key in (("", "value"), ("_lo", "lo"), ("_hi", "hi"))}
    n, gain = int(mass[0].sum()), float(made["effective_n"]) / made["n"]
    return line | {"power": float(made["power"]), "n": n, "n_others": int(known[1].sum()), "effective_n": gain * n, "gain": gain, "simulated": float(simulated)}


def _of(design: rectification.Design, people: np.ndarray) -> rectification.Design:
    """The design of some people."""
    return rectification.Design(**{name: None if (v := getattr(design, name)) is None else v[people] for name in ("weights", "clusters")})


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
    (several,) = (name for name in rows.index if name.endswith(REAL) and name != system)
    floor, people = rows.loc[baseline, "alignment"], rows.loc[several, "alignment"]
    better = "lies above" if own["over_lo"] > 0 else "lies below" if own["over_hi"] < 0 else "cannot be told from"
    gain = mean_gain(powered)
    useful = bool(own["over_lo"] > 0), bool(gain >= GAIN and gain > powered["by_chance"].iloc[0]) if np.isfinite(gain) else None
    opening = {
        (True, True): "Worth something here", (True, False): "Of little worth here", (False, True): "Worth something only beside real answers",
        (True, None): "Worth something as a stand-in here", (False, None): "Not worth anything as a stand-in here",
    }  # fmt: skip
    stand_in = (f"its alignment of {own['alignment']:.3f} {better} the best baseline without a model ({baseline}, {floor:.3f}), "
                f"where {several} reach{'es' * several.startswith('1 ')} {people:.3f}")  # fmt: skip
    undecided = "" if own["over_hi"] < 0 or useful[0] else " shown to be"
    verdict = opening.get(useful, "Not worth anything here").replace("Not worth", f"Not{undecided} worth")
    weak = "" if useful[0] or people > floor else "; these real people do not reach the baseline either, so this sample cannot tell"
    return f"{verdict}: {stand_in}{weak}, and {_beside(gain, powered)}."


def _beside(gain: float, powered: pd.DataFrame) -> str:
    if not np.isfinite(gain):
        why = "too few people were both asked and simulated" if powered.empty else "the people who were both asked and simulated gave the same answers"
        return f"what it adds to real answers is unknown, because {why}"
    n, by_chance = powered["n"].median(), powered["by_chance"].iloc[0]
    if GAIN <= gain <= by_chance:
        return f"beside {n:.0f} real people it adds no more than chance does (effective sample size {gain * n:.0f}, by chance up to {by_chance * n:.0f})"
    if gain < GAIN:
        return f"beside {n:.0f} real people it adds nothing (effective sample size {gain * n:.0f})"
    return f"beside {n:.0f} real people it counts like {(gain - 1) * n:.0f} more (effective sample size {gain * n:.0f})"
