"""Does a system give every group of people the answers that the group gives? Group means and gaps between groups, against the respondents' own.

A person's score is the mean position of the answers on their scales (0 lowest, 1 highest; reverse-keyed items turned round), so one number a
person and system: intervals and tests have people as their units, and answers of one person are never counted as independent.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from .. import resampling
from ..world import personas
from .distributions import bounded_interval, with_text
from .sheet import Sheet

FEWEST_PEOPLE = 10  # people a group needs, and as many outside it, before anything is tested
CENSUS_REGIONS = {  # Source: U.S. Census Bureau, Census Regions and Divisions of the United States
    "Northeast": ("Connecticut", "Maine", "Massachusetts", "New Hampshire", "New Jersey", "New York", "Pennsylvania", "Rhode Island", "Vermont"),
    "Midwest": ("Illinois", "Indiana", "Iowa", "Kansas", "Michigan", "Minnesota", "Missouri", "Nebraska", "North Dakota", "Ohio", "South Dakota", "Wisconsin"),
    "South": ("Alabama", "Arkansas", "Delaware", "District of Columbia", "Florida", "Georgia", "Kentucky", "Louisiana", "Maryland",
              "Mississippi", "North Carolina", "Oklahoma", "South Carolina", "Tennessee", "Texas", "Virginia", "West Virginia"),
    "West": ("Alaska", "Arizona", "California", "Colorado", "Hawaii", "Idaho", "Montana", "Nevada", "New Mexico", "Oregon", "Utah", "Washington", "Wyoming"),
}  # fmt: skip
BANDS = {  # variable -> its groups in order
    "gender": ("woman", "man", "nonbinary"),
    "age": ("18-29", "30-54", "55 and older"),
    "education": ("school", "college", "degree"),
    "income": ("low", "middle", "high"),
    "region": (*(f"US {name}" for name in CENSUS_REGIONS), "other countries"),
}
ALL = "all constructs"
_REGIONS = {state: f"US {region}" for region, names in CENSUS_REGIONS.items() for state in names}


def region_of(state: str | None) -> str | None:
    """The US census region of a state by its full name, as `BANDS` names it; None for no state of the US."""
    return _REGIONS.get(state)


def groups(people: Sequence[dict]) -> pd.DataFrame:
    """The groups each persona belongs to: index persona_id, a column for each of `BANDS`; None where the card does not say.

    Age bands, education (school: up to high school; college: some; degree: bachelor's or more) and income are those the attitudes depend on
    (`personas.features`); regions are the four of the US census, and everybody else.
    """
    rows = []
    for card in people:
        feats = personas.features(card)
        age, education, income = (next(iter(feats[k]), None) for k in ("age", "edu", "income"))
        abroad = "other countries" if card.get("country") else None
        region = region_of(card.get("region")) if card.get("country") == "USA" else abroad
        named = {"young": "18-29", "mid": "30-54", "older": "55 and older"}.get(age)
        banded = {"age": named, "education": education, "income": "middle" if income == "mid" else income, "region": region}
        rows.append({"persona_id": card["persona_id"], "gender": card.get("gender"), **banded})
    return pd.DataFrame(rows).set_index("persona_id").apply(lambda column: pd.Categorical(column, BANDS[column.name]))


def scores(sheet: Sheet) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(the system's, the respondents') score of each person in each construct and in `ALL` (the mean of the constructs): name -> shape (people,).

    An item that either of the two did not answer counts for neither; a person without an item of the construct has NaN.
    """
    both = [sheet.positions()[0], sheet.true_positions()]
    known = np.isfinite(both[0]) & np.isfinite(both[1])
    means = [sheet.by_construct(np.where(known, positions, np.nan)) for positions in both]
    return tuple(dict(zip(sheet.constructs, part.T, strict=True)) | {ALL: part.mean(1)} for part in means)


def membership(sheet: Sheet, people: Sequence[dict] | pd.DataFrame) -> list[tuple[str, str, np.ndarray]]:
    """(variable, group, who is in it: bool, shape (people,)) of every group. Raises ValueError for a persona without a card.

    Args: people: their cards, or a table of their groups as `groups` gives it, with variables of its own (a categorical column each).
    """
    known = people if isinstance(people, pd.DataFrame) else groups(people)
    if unknown := [p for p in sheet.people if p not in known.index]:
        raise ValueError(f"no card for {len(unknown)} of {len(sheet.people)} personas ({unknown[0]}, ...): give the cards the questionnaire was answered for")
    known = known.loc[list(sheet.people)]
    return [(v, g, (known[v] == g).to_numpy()) for v in known for g in known[v].cat.categories if (known[v] == g).any()]


def subgroups(sheets: Mapping[str, Sheet], people: Sequence[dict] | pd.DataFrame) -> pd.DataFrame:
    """Every system against the respondents in every group, for each construct and for all.

    Args: sheets: system -> its sheet. people: the cards it was answered for (`personas.fresh_personas(count, seed)`), or their groups (`membership`).
    Returns: a row a system, variable, group, construct and metric, with
        metric "bias": the system's mean of the group minus the respondents' (paired t); "gap_error": by how much the group's distance from everybody
            else in the system's answers exceeds that in the respondents' (Welch's t on the differences); a bias that is the same for all is no gap error.
        value, lo, hi: on the scale 0-1, with 95 % interval over people. effect: value in standard deviations of the respondents' scores (Glass's delta).
        system_value, true_value: the two means (bias) or the two gaps (gap_error). p, and p_holm: corrected over all tests of the same system.
        n, n_rest: people in the group and outside it. note: "too few" where either is below `FEWEST_PEOPLE`: nothing is tested then (NaN).
    Raises: ValueError if a persona has no card, and for people of unequal weight: the tests count every person once.
    """
    rows = []
    for system, sheet in sheets.items():
        if sheet.weights is not None:
            raise ValueError(f"{system}: people have weights, and these tests count every person once; `gap_slopes` takes weights")
        model, true = scores(sheet)
        for variable, group, inside in membership(sheet, people):
            about = {"system": system, "variable": variable, "group": group}
            rows += [about | line for line in _group(inside, model, true)]
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby("system", sort=False)["p"].transform(resampling.holm)
    first = ["system", "variable", "group", "construct", "metric"]
    return table[first + ["value", "lo", "hi", "effect", "system_value", "true_value", "p", "p_holm", "n", "n_rest", "note"]]


def _group(inside: np.ndarray, model: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> list[dict]:
    """Both metrics of one group in every construct, all constructs in one call of the test. People without a score are left out of n and n_rest."""
    m, t = np.stack(list(model.values())), np.stack(list(true.values()))
    own, rest = ([a[:, part] for a in (m, t)] for part in (inside, ~inside))
    n, n_rest = (np.isfinite(part[0]).sum(1) for part in (own, rest))
    means, others = ([_mean(a) for a in part] for part in (own, rest))
    tests = {
        "bias": (*means, lambda d: scipy_stats.ttest_1samp(d[:, inside], 0, axis=1, nan_policy="omit")),
        "gap_error": (*(a - b for a, b in zip(means, others, strict=True)),
                      lambda d: scipy_stats.ttest_ind(d[:, inside], d[:, ~inside], axis=1, equal_var=False, nan_policy="omit")),
    }  # fmt: skip
    enough, spread, lines = np.minimum(n, n_rest) >= FEWEST_PEOPLE, np.nanstd(t, axis=1, ddof=1), []
    for metric, (ours, theirs, test) in tests.items():
        p, lo, hi = (np.full(len(model), np.nan) for _ in range(3))
        if enough.any():
            result = test((m - t)[enough])
            p[enough], (lo[enough], hi[enough]) = result.pvalue, result.confidence_interval(0.95)
        columns = {"construct": list(model), "value": ours - theirs, "lo": lo, "hi": hi, "effect": (ours - theirs) / spread, "system_value": ours,
                   "true_value": theirs, "p": p, "n": n, "n_rest": n_rest, "note": np.where(enough, "", "too few")}  # fmt: skip
        lines += pd.DataFrame(columns).assign(metric=metric).to_dict("records")
    return lines


def _mean(values: np.ndarray) -> np.ndarray:
    """Row means over the people who have a score; NaN without one."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(1) / known.sum(1)


def gap_slopes(sheets: Mapping[str, Sheet], people: Sequence[dict] | pd.DataFrame, *, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """How large a system's gaps between groups are beside the respondents', over all groups that are large enough and all constructs.

    Returns: a row a system and metric; value, lo, hi (people resampled), n (gaps), ceiling (the same respondents asked again):
        gap_slope: least-squares slope through zero of the system's gaps on the true ones; 1 keeps them, below 1 evens the groups out, above 1 exaggerates.
        gap_r: their correlation; NaN if the system has no gaps.
        True gaps are themselves measured on few people, so that even the respondents asked again stay below 1: read a slope beside `ceiling`.
    """
    drawn = {}
    for system, sheet in sheets.items():
        inside = [group for _, _, group in membership(sheet, people) if min(group.sum(), (~group).sum()) >= FEWEST_PEOPLE]
        if inside:
            weights = sheet.draws(n_boot=n_boot, seed=seed)
            model, true = (np.stack([values for name, values in part.items() if name != ALL], axis=1) for part in scores(sheet))
            y, x = (np.concatenate([_gaps(weights, group, part) for group in inside], axis=1) for part in (model, true))
            drawn[system] = x.shape[1], {"gap_slope": (x * y).sum(1) / (x**2).sum(1), "gap_r": _correlation(x, y)}
    lines = []
    for system, (n, draws) in drawn.items():
        for metric, values in draws.items():
            value, lo, hi = bounded_interval(values, sheets[system].n_units)
            again = drawn["resample"][1][metric][0] if "resample" in drawn else np.nan
            lines.append({"system": system, "metric": metric, "value": float(value), "lo": float(lo), "hi": float(hi), "n": n, "ceiling": again})
    return pd.DataFrame(lines, columns=["system", "metric", "value", "lo", "hi", "n", "ceiling"])


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r of each row of two arrays (draws, gaps); NaN for a row of y that does not vary."""
    xc, yc = (v - v.mean(1, keepdims=True) for v in (x, y))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((yc**2).sum(1) > 1e-12, (xc * yc).sum(1) / np.sqrt((xc**2).sum(1) * (yc**2).sum(1)), np.nan)


def _gaps(weights: np.ndarray, inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Group mean minus everybody else's in each draw: (draws, people), bool (people,), (people, constructs) -> (draws, constructs); NaN scores left out."""
    known = np.isfinite(values)
    scored, count = np.where(known, values, 0), known.astype(float)
    means = [(weights * part) @ scored / ((weights * part) @ count) for part in (inside, ~inside)]
    return means[0] - means[1]


def group_sizes(groups: pd.DataFrame) -> pd.DataFrame:
    """Every group of `subgroups` with its size, and whether it is too small to test."""
    return groups.drop_duplicates(["variable", "group"]).set_index("variable")[["group", "n", "n_rest", "note"]]


def group_table(groups: pd.DataFrame, system: str) -> pd.DataFrame:
    """One system's bias and gap error in each group, over all constructs, with intervals and corrected p-values."""
    rows = with_text(groups[(groups["system"] == system) & (groups["construct"] == ALL)])
    rows = rows.assign(name=rows["variable"] + ": " + rows["group"])
    wide = rows.set_index(["name", "metric"])
    table = wide["text"].unstack("metric").join(wide["p_holm"].unstack("metric").round(3).add_suffix(", Holm's p"))
    bias = wide.xs("bias", level="metric")
    table.insert(0, "respondents' mean", bias["true_value"].round(3))
    return table.assign(n=bias["n"]).reindex(rows["name"].unique()).astype(object).fillna("too few")


def clear_tests(groups: pd.DataFrame) -> pd.DataFrame:
    """System x metric: how many tests have a corrected p below .05, and how many there are."""
    tested = groups[groups["p"].notna()].assign(clear=lambda t: t["p_holm"] < 0.05)
    count = tested.pivot_table(index="system", columns="metric", values="clear", aggfunc="sum")
    return count.assign(tests=tested.groupby("system").size()).reindex(tested["system"].unique())


def largest_effects(groups: pd.DataFrame, system: str) -> pd.DataFrame:
    """The eight largest effects of one system, over all groups and constructs that could be tested."""
    rows = with_text(groups[(groups["system"] == system) & groups["p"].notna()]).sort_values("effect", key=abs, ascending=False).head(8)
    rows = rows.assign(group=rows["variable"] + ": " + rows["group"])
    return rows.set_index("group")[["construct", "metric", "text", "effect", "p_holm", "n"]].round(3)
