"""How far what a model filled in is from real people: each attribute alone (total variation), and attributes together (Cramér's V)."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ...people.card_tiers import SUBJECTIVE, real_values, tier_attributes
from ...people.places import census_joint

GIVEN = ("race", "gender", "age_band")


def weighted_v(counts: np.ndarray, *, n: float | None = None) -> float:
    """Cramér's V of a table of counts or weights, 0 (independent) to 1; NaN with one row or column that holds anything, or too few people.

    Args: n: with it V is freed of what chance adds with n people (0 for independent attributes on average), without it V is the plain one.
    Source: Cramér 1946 (scipy's `association`); Bergsma 2013 for the correction.
    """
    table = counts[counts.sum(1) > 0][:, counts.sum(0) > 0] / counts.sum()
    rows, columns = table.shape
    if min(rows, columns) < 2 or (n is not None and n <= 1):
        return float("nan")
    expected = np.outer(table.sum(1), table.sum(0))
    phi, least = float(((table - expected) ** 2 / expected).sum()), min(rows, columns) - 1
    if n is not None:
        phi = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
        least = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(phi / least)) if least > 0 else float("nan")


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the summed absolute difference of two distributions, 0 (equal) to 1."""
    return float(np.abs(p / p.sum() - q / q.sum()).sum() / 2)


def marginals(probs: pd.DataFrame) -> pd.DataFrame:
    """What a generator filled in beside real people: columns attribute, option, model, people, and tv (of the attribute, the same in all its rows).

    Args: probs: index persona_id, a column an attribute, arrays of option probabilities or None (`tier_writer.Filled.probs`). People: CES 2018, weighted;
        education: the census joint, every state alike, as the drawn people are.
    """
    rows = []
    for name in probs:
        given = [p for p in probs[name] if p is not None]
        if given:
            model, people, options = np.mean(given, axis=0), people_shares(name), tier_attributes()[name].options
            tv = total_variation(model, people)
            rows += [{"attribute": name, "option": o, "model": m, "people": h, "tv": tv} for o, m, h in zip(options, model, people, strict=True)]
    return pd.DataFrame(rows, columns=["attribute", "option", "model", "people", "tv"])


def people_shares(name: str) -> np.ndarray:
    """Real people's share of each option of an attribute, shape (options,)."""
    options = list(tier_attributes()[name].options)
    if name == "education":
        joint = census_joint()
        shares = joint.pivot_table(index="state", columns="education", values="n", aggfunc="sum")[options]
        return shares.div(shares.sum(axis=1), axis=0).mean().to_numpy()
    real = real_values([name])
    return real.groupby(name)["weight"].sum().reindex(options, fill_value=0).pipe(lambda s: s / s.sum()).to_numpy()


def pairs(people: pd.DataFrame, values: pd.DataFrame, *, names: Sequence[str] = SUBJECTIVE) -> pd.DataFrame:
    """Cramér's V of every pair of attributes in the cards and in real people (CES 2018), both freed of chance: columns a, b, model, people, n, distance.

    Pairs of two census facts are left out: nobody filled those in. `distance` is |model - people|; its mean is the joint distance of a generator.
    Args: people: `card_tiers.draw_people`; values: `tier_writer.Filled.values` with the columns `names`.
    """
    cards = people[list(GIVEN)].join(values[list(names)])
    real = real_values(list(names))
    rows = []
    for a, b in combinations([*GIVEN, *names], 2):
        if a in GIVEN and b in GIVEN:
            continue
        model, real_v = _v(cards.assign(weight=1.0), a, b), _v(real, a, b)
        rows.append({"a": a, "b": b, "model": model, "people": real_v, "n": int(cards[[a, b]].notna().all(axis=1).sum()), "distance": abs(model - real_v)})
    return pd.DataFrame(rows)


def _v(table: pd.DataFrame, a: str, b: str) -> float:
    """V of two columns of weighted people; 0 if one column is constant: what everybody has hangs together with nothing."""
    known = table[[a, b, "weight"]].dropna()
    weight = known["weight"].to_numpy(dtype=float)
    if known[a].nunique() < 2 or known[b].nunique() < 2:
        return 0.0
    counts = known.pivot_table(index=a, columns=b, values="weight", aggfunc="sum", fill_value=0)
    return weighted_v(counts.to_numpy(dtype=float), n=float(weight.sum() ** 2 / (weight**2).sum()))
