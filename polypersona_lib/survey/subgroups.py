"""Does a system give every group of people the answers that the group gives? Group means and gaps between groups, against the respondents' own.

A person's score is the mean position of the answers on their scales (0 lowest, 1 highest; reverse-keyed items turned round), so one number a
person and system: intervals and tests have people as their units, and answers of one person are never counted as independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from .. import stats
from ..world import personas
from ..world.questions import load_questions
from .distributions import Sheet, arrays, interval, resampled

FEWEST = 10  # people a group needs, and as many outside it, before anything is tested
CENSUS_REGIONS = {  # Source: U.S. Census Bureau, Census Regions and Divisions of the United States
    "Northeast": ("New York", "Pennsylvania"),
    "Midwest": ("Illinois", "Ohio", "Michigan", "Minnesota"),
    "South": ("Texas", "Florida", "North Carolina", "Georgia", "Virginia", "Alabama"),
    "West": ("California", "Washington", "Colorado", "Arizona"),
}
BANDS = {  # variable -> its groups in order
    "gender": ("woman", "man", "nonbinary"),
    "age": ("18-29", "30-54", "55 and older"),
    "education": ("school", "college", "degree"),
    "income": ("low", "middle", "high"),
    "region": (*(f"US {name}" for name in CENSUS_REGIONS), "other countries"),
}
ALL = "all constructs"


def groups(people: Sequence[dict]) -> pd.DataFrame:
    """The groups each persona belongs to: index persona_id, a column for each of `BANDS`; None where the card does not say.

    Age bands, education (school: up to high school; college: some; degree: bachelor's or more) and income are those the attitudes depend on
    (`personas.features`); regions are the four of the US census, and everybody else.
    """
    states = {state: f"US {region}" for region, names in CENSUS_REGIONS.items() for state in names}
    rows = []
    for card in people:
        feats = personas.features(card)
        age, education, income = (next(iter(feats[k]), None) for k in ("age", "edu", "income"))
        region = states.get(card.get("region")) if card.get("country") == "USA" else "other countries" if card.get("country") else None
        named = {"young": "18-29", "mid": "30-54", "older": "55 and older"}.get(age)
        rows.append(
            {
                "persona_id": card["persona_id"], "gender": card.get("gender"), "age": named, "education": education,
                "income": "middle" if income == "mid" else income, "region": region,
            }
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("persona_id")


def scores(sheet: Sheet) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(the system's, the respondents') score of each person in each construct and in `ALL` (the mean of the constructs): name -> shape (people,)."""
    questions = load_questions()
    key = np.array([questions[item].key for item in sheet.items])
    construct = np.array([questions[item].construct for item in sheet.items])
    both = []
    for place in (sheet.positions()[0], sheet.truth / (sheet.sizes - 1)):
        turned = np.where(key > 0, place, 1 - place)
        found = {name: turned[:, construct == name].mean(1) for name in dict.fromkeys(construct)}
        both.append(found | {ALL: np.mean(list(found.values()), axis=0)})
    return both[0], both[1]


def membership(sheet: Sheet, people: Sequence[dict]) -> list[tuple[str, str, np.ndarray]]:
    """(variable, group, who is in it: bool, shape (people,)) of every group. Raises ValueError for a persona without a card."""
    known = groups(people)
    if unknown := [p for p in sheet.people if p not in known.index]:
        raise ValueError(f"no card for {len(unknown)} of {len(sheet.people)} personas ({unknown[0]}, ...): give the cards the questionnaire was answered for")
    known = known.loc[list(sheet.people)]
    return [(v, g, (known[v] == g).to_numpy()) for v, names in BANDS.items() for g in names if (known[v] == g).any()]


def subgroups(sheets: Mapping[str, pd.DataFrame], people: Sequence[dict]) -> pd.DataFrame:
    """Every system against the respondents in every group, for each construct and for all.

    Args: sheets: system -> administration. people: the cards it was answered for (`personas.fresh_personas(count, seed)`).
    Returns: a row a system, variable, group, construct and metric, with
        metric "bias": the system's mean of the group minus the respondents' (paired t); "gap_error": by how much the group's distance from everybody
            else in the system's answers exceeds that in the respondents' (Welch's t on the differences); a bias that is the same for all is no gap error.
        value, lo, hi: on the scale 0-1, with 95 % interval over people. effect: value in standard deviations of the respondents' scores (Glass's delta).
        system_value, true_value: the two means (bias) or the two gaps (gap_error). p, and p_holm: corrected over all tests of the same system.
        n, n_rest: people in the group and outside it. note: "too few" where either is below `FEWEST`: nothing is tested then (NaN).
    Raises: ValueError if a persona has no card.
    """
    rows = []
    for system, frame in sheets.items():
        sheet = arrays(frame)
        found = [_group(in_group, *scores(sheet)) | {"variable": v, "group": g} for v, g, in_group in membership(sheet, people)]
        rows += [line | {k: part[k] for k in ("variable", "group", "n", "n_rest", "note")} | {"system": system} for part in found for line in part["lines"]]
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby("system", sort=False)["p"].transform(stats.holm)
    first = ["system", "variable", "group", "construct", "metric"]
    return table[first + ["value", "lo", "hi", "effect", "system_value", "true_value", "p", "p_holm", "n", "n_rest", "note"]]


def _group(inside: np.ndarray, model: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> dict:
    """Both metrics of one group in every construct, all constructs in one call of the test."""
    m, t = np.stack(list(model.values())), np.stack(list(true.values()))
    n, rest, spread = int(inside.sum()), int((~inside).sum()), t.std(1, ddof=1)
    gaps = [a[:, inside].mean(1) - a[:, ~inside].mean(1) if rest else np.full(len(a), np.nan) for a in (m, t)]
    found = {
        "bias": (m[:, inside].mean(1), t[:, inside].mean(1), lambda d: scipy_stats.ttest_1samp(d[:, inside], 0, axis=1)),
        "gap_error": (*gaps, lambda d: scipy_stats.ttest_ind(d[:, inside], d[:, ~inside], axis=1, equal_var=False)),
    }
    nothing, lines = np.full(len(model), np.nan), []
    for metric, (ours, theirs, test) in found.items():
        p, lo, hi = (nothing,) * 3
        if min(n, rest) >= FEWEST:
            result = test(m - t)
            p, (lo, hi) = result.pvalue, result.confidence_interval(0.95)
        columns = zip(model, ours - theirs, lo, hi, (ours - theirs) / spread, ours, theirs, p, strict=True)
        names = ("construct", "value", "lo", "hi", "effect", "system_value", "true_value", "p")
        lines += [{"metric": metric} | dict(zip(names, row, strict=True)) for row in columns]
    return {"n": n, "n_rest": rest, "note": "" if min(n, rest) >= FEWEST else "too few", "lines": lines}


def gap_slopes(sheets: Mapping[str, pd.DataFrame], people: Sequence[dict], *, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """How large a system's gaps between groups are beside the respondents', over all groups that are large enough and all constructs.

    Returns: a row a system and metric; value, lo, hi (people resampled), n (gaps), ceiling (the same respondents asked again):
        gap_slope: least-squares slope through zero of the system's gaps on the true ones; 1 keeps them, below 1 evens the groups out, above 1 exaggerates.
        gap_r: their correlation; NaN if the system has no gaps.
        True gaps are themselves measured on few people, so that even the respondents asked again stay below 1: read a slope beside `ceiling`.
    """
    rows = {}
    for system, frame in sheets.items():
        sheet = arrays(frame)
        inside = [i for _, _, i in membership(sheet, people) if min(i.sum(), (~i).sum()) >= FEWEST]
        if inside:
            weights = resampled(len(sheet.people), n_boot, seed)
            m, t = (np.stack([s for name, s in found.items() if name != ALL], axis=1) for found in scores(sheet))
            x, y = (np.concatenate([_gaps(weights, i, s) for i in inside], axis=1) for s in (t, m))
            xc, yc = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                r = np.where((yc**2).sum(1) > 1e-12, (xc * yc).sum(1) / np.sqrt((xc**2).sum(1) * (yc**2).sum(1)), np.nan)
                rows[system] = x.shape[1], {"gap_slope": (x * y).sum(1) / (x**2).sum(1), "gap_r": r}
    lines = []
    for system, (n, draws) in rows.items():
        for metric, values in draws.items():
            value, lo, hi = interval(values)
            best = rows["resample"][1][metric][0] if "resample" in rows else np.nan
            lines.append({"system": system, "metric": metric, "value": float(value), "lo": float(lo), "hi": float(hi), "n": n, "ceiling": best})
    return pd.DataFrame(lines, columns=["system", "metric", "value", "lo", "hi", "n", "ceiling"])


def _gaps(weights: np.ndarray, inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Group mean minus everybody else's in each draw: (draws, people), bool (people,), (people, constructs) -> (draws, constructs)."""
    means = [(weights * part) @ values / (weights @ part)[:, None] for part in (inside.astype(float), (~inside).astype(float))]
    return means[0] - means[1]
