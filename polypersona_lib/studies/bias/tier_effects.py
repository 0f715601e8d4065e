"""Tiers compared person by person, and other signs: trends, saying yes, everybody alike, cards whose party is not read.

People are paired over tiers; the unit of resampling is the state, drawn whole with all its people.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ... import resampling
from ...people.card_tiers import TIERS
from ...people.places import YEARS, democratic_share
from .bias_measures import CELLS, item_truth, state_shares, survey_luck
from .item_bank import POLICY, bank

STEP_SHARE = 0.975  # a step counts if its sign holds in this share of the resamples
LEAST_EFFECT = 0.03  # a difference smaller than this is called small, whatever its p-value: declared before any model was asked
SURE_OF_ONE = 0.95  # an answer with one option above this is sure


def person_scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Mean score of each person's answers to a family: simulator, generator, persona_id, state, family, tier, score. NaN scores are left out."""
    return answers.groupby(["simulator", "generator", "persona_id", "state", "family", "tier"], as_index=False, sort=False)["score"].mean()


def tier_differences(answers: pd.DataFrame, *, seed: int, base: str = "meta") -> pd.DataFrame:
    """Every tier minus `base`, same people and items: simulator, generator, family, tier, mean, lo, hi, n (people), lost (lack the card), p, p_holm, verdict.

    Units are states. p: sign-flip permutation of whole states; Holm over all rows. `verdict`: "none shown" (p_holm above .05), "perhaps small" (below .03),
    "left", "right" or, for everyday items, "more", "less"; "no difference" and "small" only where the whole interval lies within .03 of zero.
    """
    who = ["simulator", "generator", "family", "persona_id", "state"]
    wide = answers.pivot_table(index=[*who, "item"], columns="tier", values="score").reset_index()  # item by item: a missing answer leaves both sides
    rows = []
    for (simulator, generator, family), part in wide.groupby(["simulator", "generator", "family"], sort=False):
        for tier in [t for t in tier_order(part.columns) if t != base and part[t].notna().any() and base in part]:
            gaps = (part[tier] - part[base]).groupby([part["persona_id"], part["state"]], sort=False).mean()
            both = gaps.dropna().rename("gap").reset_index()
            gap = both["gap"].to_numpy()
            line = resampling.bootstrap_mean(gap, clusters=list(both["state"]), seed=seed)
            p = resampling.permutation_p(gap[:, None], clusters=list(both["state"]), seed=seed)[0] if len(gap) else np.nan
            lost = int(part.loc[part[base].notna(), "persona_id"].nunique() - len(both))
            rows.append({"simulator": simulator, "generator": generator, "family": family, "tier": tier, **line, "lost": lost, "p": p})
    table = pd.DataFrame(rows, columns=["simulator", "generator", "family", "tier", "mean", "lo", "hi", "n", "lost", "p"])
    table["p_holm"] = resampling.holm(table["p"])
    return table.assign(verdict=[_verdict(*row) for row in table[["mean", "lo", "hi", "p_holm", "family"]].itertuples(index=False)])


def _verdict(mean: float, lo: float, hi: float, p: float, family: str) -> str:
    within = -LEAST_EFFECT <= lo and hi <= LEAST_EFFECT
    if not p <= 0.05:
        return "no difference" if within else "none shown"
    if abs(mean) < LEAST_EFFECT:
        return "small" if within else "perhaps small"
    return (("more", "less") if family == "everyday" else ("left", "right"))[mean < 0]


def steps(values: pd.DataFrame, *, clusters: Iterable, seed: int) -> pd.DataFrame:
    """Whether a measure goes one way from column to column: for each step its mean change, and the share of the resamples in which it rises.

    Args: values: one row a person or state, columns in order; rows that lack one are left out. clusters: the state of each row.
    Returns: step ("meta > objective"), change, rises (share of resamples), holds ("rises", "falls" or "open": neither in `STEP_SHARE`, more for few states), n.
    """
    known = values.notna().all(axis=1).to_numpy()
    table, states = values[known].to_numpy(dtype=float), np.array(list(clusters), dtype=object)[known]
    changes = np.diff(table, axis=1)
    unit = np.unique(states.astype(str), return_inverse=True)[1]
    sums = np.stack([np.bincount(unit, weights=column) for column in changes.T], axis=1)
    draws = resampling.resampled_sums(sums, seed=seed)
    rises, falls = (draws > 1e-12).mean(axis=0), (draws < -1e-12).mean(axis=0)
    names = [f"{a} > {b}" for a, b in zip(values.columns[:-1], values.columns[1:], strict=True)]
    least = max(STEP_SHARE, resampling.quantiles(len(sums))[1]) if len(sums) > 1 else np.inf  # few states: as far out as an interval of theirs
    holds = ["rises" if up >= least else "falls" if down >= least else "open" for up, down in zip(rises, falls, strict=True)]
    return pd.DataFrame({"step": names, "change": changes.mean(axis=0), "rises": rises, "holds": holds, "n": len(table)})


def first_is_highest(values: pd.DataFrame, *, clusters: Iterable, seed: int) -> float:
    """Share of the resamples in which the mean of the first column is above that of every other one. Args: as of `steps`."""
    known = values.notna().all(axis=1).to_numpy()
    unit = np.unique(np.array(list(clusters), dtype=object)[known].astype(str), return_inverse=True)[1]
    sums = np.stack([np.bincount(unit, weights=column) for column in values[known].to_numpy(dtype=float).T], axis=1)
    draws = resampling.resampled_sums(sums, seed=seed)
    return float((draws[:, :1] > draws[:, 1:] + 1e-12).all(axis=1).mean())


def trend(table: pd.DataFrame, way: str) -> str:
    """ "holds" if every step of `steps` goes this way ("rises", "falls"), "fails" if one surely goes the other way, else "open"."""
    other = {"rises": "falls", "falls": "rises"}[way]
    return "holds" if (table["holds"] == way).all() else "fails" if (table["holds"] == other).any() else "open"


def alignment_steps(answers: pd.DataFrame, *, tiers: Iterable[str], seed: int) -> pd.DataFrame:
    """`steps` of the state alignment over the tiers, for each simulator, generator and year (states resampled)."""
    rows = []
    for year in YEARS:
        shares = state_shares(answers, year)
        for cell in dict.fromkeys((s, g) for s, g, _ in shares.columns):
            there = [t for t in tiers if (*cell, t) in shares.columns]
            gap = pd.DataFrame({t: 1 - (shares[(*cell, t)] - democratic_share(year)[shares.index]).abs() for t in there})
            if len(there) > 1:
                rows.append(steps(gap, clusters=gap.index, seed=seed).assign(simulator=cell[0], generator=cell[1], year=year))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


# --- other signs --------------------------------------------------------------------------------------------------------------------------


def yes_saying(answers: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """How much more than real people a cell says yes: mean probability of the first option (For, Support) over items that favour the left and the right alike,
    minus the people's. One row a cell: value, lo, hi (states and real people resampled), n (people). 0: no more than they do. Opinion cancels: who is liberal
    says yes to half of them."""
    rows, sides = [], {i: q.lean[0] for i, q in bank().items() if q.column in POLICY}
    for cell, part in answers[(answers["family"] == "policy") & answers["score"].notna()].groupby(CELLS, sort=False):
        yes = part.assign(yes=[p[0] - item_truth("policy", i, "")[0] for p, i in zip(part["probs"], part["item"], strict=True)], side=part["item"].map(sides))
        wide = yes.pivot_table(index=["persona_id", "state"], columns="side", values="yes").dropna()
        if {"L", "C"} <= set(wide.columns):
            asked = yes.drop_duplicates("item").loc[lambda d: d["side"].isin(["L", "C"]), ["item", "side"]]
            share = 0.5 / asked.groupby("side")["item"].transform("size").to_numpy()
            luck = survey_luck(list(asked["item"]), np.column_stack([share, 0 * share]), seed=seed)
            sums = np.column_stack([wide[["L", "C"]].mean(axis=1), np.ones(len(wide))])
            line = resampling.resample(sums, lambda s, luck=luck: s[:, 0] / s[:, 1] - luck, clusters=list(wide.index.get_level_values("state")), seed=seed)
            rows.append(dict(zip(CELLS, cell, strict=True)) | line)
    return pd.DataFrame(rows)


def spread(answers: pd.DataFrame) -> pd.DataFrame:
    """How alike everybody is, one row a cell and family: sd_people (of a person's mean score), sd_states, sure (share of answers with one option above .95),
    order (mean distance of the two orders), answers (n), failed (answers that are missing)."""

    def one(part: pd.DataFrame) -> pd.Series:
        person = part.groupby(["state", "persona_id"])["score"].mean()
        shown = {"sd_people": person.std(ddof=0), "sd_states": person.groupby("state").mean().std(ddof=0)}
        shown |= {"sure": (part["top"].dropna() > SURE_OF_ONE).mean(), "order": part["order"].mean()}
        return pd.Series(shown | {"answers": part["score"].notna().sum(), "failed": part["score"].isna().sum()})

    return answers.groupby([*CELLS, "family"], sort=False)[list(answers.columns)].apply(one).reset_index()


def known_groups(answers: pd.DataFrame, parties: Mapping[str, Mapping[str, str]], *, seed: int) -> pd.DataFrame:
    """Score of cards that say Democrat minus cards that say Republican, by cell and family, for the tiers that show a party: gap, lo, hi, n_left, n_right.

    Args: parties: tier -> {persona_id: party on the card}. A gap near 0 says that the simulator does not read the party; people's own gap in votes is about .9.
    """
    rows = []
    scores = person_scores(answers)
    for cell, part in scores[scores["tier"].isin(list(parties))].groupby([*CELLS, "family"], sort=False):
        party = part["persona_id"].map(parties[cell[2]])
        kept = part[party.isin(["Democrat", "Republican"]) & part["score"].notna()]
        left = (party[kept.index] == "Democrat").to_numpy(dtype=float)
        if 0 < left.sum() < len(left) and cell[3] != "everyday":
            sums = np.column_stack([kept["score"] * left, left, kept["score"] * (1 - left), 1 - left])
            line = resampling.resample(sums, lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3], clusters=list(kept["state"]), seed=seed)
            rows.append(dict(zip([*CELLS, "family"], cell, strict=True)) | {"gap": float(line["value"]), "lo": float(line["lo"]), "hi": float(line["hi"]),
                        "n_left": int(left.sum()), "n_right": int(len(left) - left.sum())})  # fmt: skip
    return pd.DataFrame(rows)


def tier_order(names: Sequence[str]) -> list[str]:
    """The tiers among `names` in the study's order."""
    return [tier for tier in TIERS if tier in set(names)]
