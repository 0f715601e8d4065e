"""What follows from what: the pull of each attribute on each attitude, in a system's answers and in the respondents' own."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ...resampling import holm
from ...scoring.fidelity_measures import TRUTH
from ...survey.sheet import Sheet
from ...world import personas
from .candidates import Stat
from .sheet_scores import implied_attitudes


def design(cards: Sequence[dict]) -> tuple[np.ndarray, list[str]]:
    """Attributes as regressors (people, columns), and their names: a constant, three standardised scales, dummies, five pairs of traits (+1, -1, 0).

    A column that is the same for everybody is left out. Of the values, which always are two of ten, one is left out.
    """
    pop = personas.population()
    levels = {"age": lambda c: c["age"], "education": lambda c: pop["education_levels"].index(c["education"]),
              "income": lambda c: pop["income_brackets"].index(c["income_bracket"])}  # fmt: skip
    columns = {name: np.array([read(c) for c in cards], dtype=float) for name, read in levels.items()}
    columns = {name: (v - v.mean()) / (v.std() or 1) for name, v in columns.items()}
    dummies = {"woman": ("gender", "woman"), "USA": ("country", "USA"), "urban": ("area", "urban"), "rural": ("area", "rural")}
    columns |= {name: np.array([c[field] == value for c in cards], dtype=float) for name, (field, value) in dummies.items()}
    columns |= {f"{a}, not {b}": np.array([(a in c["traits"]) - (b in c["traits"]) for c in cards], dtype=float) for a, b in pop["traits"]}
    columns |= {f"values {v}": np.array([v in c["values"] for c in cards], dtype=float) for v in list(pop["values"])[1:]}
    kept = {name: v for name, v in columns.items() if np.ptp(v) > 0}
    return np.column_stack([np.ones(len(cards)), *kept.values()]), ["constant", *kept]


def coefficients(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least squares: slopes without the constant, shape (draws, columns - 1, outcomes), for weights of shape (draws, people)."""
    still = 1e-6 * np.diag([0.0] + [1.0] * (x.shape[1] - 1))  # a resample may lose a dummy's last member
    inner = np.einsum("bp,pk,pl->bkl", weights, x, x, optimize=True) + still
    return np.linalg.solve(inner, np.einsum("bp,pk,pc->bkc", weights, x, y, optimize=True))[:, 1:]


def slopes(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordinary least squares, each outcome by itself: slopes without the constant, half the width of their 95 % intervals, and their p-values.

    Args: x: (people, columns), a constant first; y: (people, outcomes). Each result: (columns - 1, outcomes). Source: statsmodels OLS.
    """
    import statsmodels.api as sm

    fits = [sm.OLS(column, x).fit() for column in y.T]
    wide = np.stack([np.ptp(fit.conf_int(), axis=1)[1:] / 2 for fit in fits], axis=1)
    return np.stack([fit.params[1:] for fit in fits], axis=1), wide, np.stack([fit.pvalues[1:] for fit in fits], axis=1)


def significant(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which OLS slopes differ from 0 after Holm's correction, (columns - 1, outcomes); none with fewer than ten people more than columns."""
    if len(x) < x.shape[1] + 10:
        return np.zeros((x.shape[1] - 1, y.shape[1]), dtype=bool)
    p = slopes(x, y)[2]
    return (holm(p.ravel()) < 0.05).reshape(p.shape)


def clear_effects(sheets: Mapping[str, Sheet], cards: Sequence[dict]) -> pd.DataFrame:
    """Every coefficient that is clear in the respondents (`significant`), in every system's answers.

    Args: sheets: system -> its sheet, with the respondents' own as "truth".
    Returns: construct, attribute, system, value, lo, hi (change of the implied attitude, a share of the scale, with each attribute; 95 %), people, flip: "" or
        "wrong sign", or "clearly wrong" if the interval lies on the wrong side of 0. Empty with fewer than ten people more than columns.
    """
    x, names = design(cards)
    columns = ["construct", "attribute", "system", "value", "lo", "hi", "people", "flip"]
    own = implied_attitudes(sheets[TRUTH])
    rows, clear = [], significant(x, own)
    theirs = slopes(x, own)[0] if clear.any() else None
    for system, sheet in sheets.items() if clear.any() else ():
        implied = implied_attitudes(sheet)
        if np.ptp(implied, axis=0).max() < 1e-9:  # everybody gets the same answers: nothing pulls
            continue
        value, wide, _ = slopes(x, implied)
        for j, i in zip(*np.nonzero(clear.T), strict=True):
            against = value[i, j] * theirs[i, j] < 0
            wrong = "clearly wrong" if abs(value[i, j]) > wide[i, j] else "wrong sign"
            ends = (value[i, j], value[i, j] - wide[i, j], value[i, j] + wide[i, j])
            rows.append((sheet.constructs[j], names[1:][i], system, *ends, len(cards), wrong if against else ""))
    return pd.DataFrame(rows, columns=columns)


def flips(effects: pd.DataFrame, system: str) -> pd.DataFrame:
    """The effects of one system that have the wrong sign, beside the respondents'. `effects`: from `clear_effects`."""
    key = ["construct", "attribute"]
    own = effects[effects["system"] == TRUTH].set_index(key)["value"].rename("respondents")
    wrong = effects[(effects["system"] == system) & (effects["flip"] != "")].set_index(key)
    return own.to_frame().join(wrong[["value", "lo", "hi", "flip"]].rename(columns={"value": "model"}), how="inner").reset_index()


def coefficient_agreement(sheet: Sheet, x: np.ndarray, clear: np.ndarray) -> dict[str, Stat]:
    """Do attributes pull the answers the way they pull the respondents'? Per construct, implied attitudes are regressed on the attributes.

    Args: x: the attributes, from `design`. clear: which of the respondents' slopes differ from 0, from `significant`.
    Returns: `coef_r` (correlation of the two sets of slopes), `coef_slope` (least-squares slope of the system's on the respondents': 1 is the same strength),
        `coef_flips` (share of the respondents' significant slopes that have the opposite sign). Empty with fewer than ten people more than columns.
    """
    if len(x) < x.shape[1] + 10:
        return {}
    mine, theirs = implied_attitudes(sheet), implied_attitudes(sheet.true_sheet())

    def pairs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(coefficients(x, y, weights).reshape(len(weights), -1) for y in (mine, theirs))

    def known(values: np.ndarray, mine: np.ndarray) -> np.ndarray:
        return np.where(np.abs(mine).max(1) > 1e-6, values, np.nan)  # answers that are the same for everybody have no slopes to compare

    def spread(weights: np.ndarray, by: str) -> np.ndarray:
        a, b = (v - v.mean(1, keepdims=True) for v in pairs(weights))
        below = (b * b).sum(1) if by == "slope" else np.sqrt((a * a).sum(1) * (b * b).sum(1))
        return known((a * b).sum(1) / np.maximum(below, 1e-12), a)

    def flips(weights: np.ndarray) -> np.ndarray:
        a, b = pairs(weights)
        return known(((a * b < 0) & clear.ravel()).sum(1) / clear.sum(), a)

    stats = {"coef_r": lambda w: spread(w, "r"), "coef_slope": lambda w: spread(w, "slope")}
    return stats | ({"coef_flips": flips} if clear.any() else {})
