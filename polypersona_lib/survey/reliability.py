"""Do the items of one construct hang together? Cronbach's alpha and McDonald's omega of the respondents' answers and of every system's.

Both follow from the covariances of the items (positions 0-1, reverse-keyed items turned round). For a system they are those of single answers drawn
from its option probabilities, one item at a time as the questionnaire is administered: what lies between people counts as covariance, what a draw adds
counts as error. For answers that are known, that is the ordinary covariance.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..world.questions import load_questions
from .distributions import Sheet, arrays, interval, resampled

FEWEST_ITEMS = 3
RESPONDENTS = "respondents"


def alpha(covariance: np.ndarray) -> np.ndarray:
    """Cronbach's alpha of the unweighted sum: covariances (..., items, items) -> (...); NaN where nothing varies. Source: Cronbach 1951, coefficient alpha."""
    k, total = covariance.shape[-1], covariance.sum((-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = k / (k - 1) * (1 - np.trace(covariance, axis1=-2, axis2=-1) / total)
    return np.where(total > 1e-12, np.where(np.abs(found) < 1e-9, 0.0, found), np.nan)


def omega(covariance: np.ndarray) -> float:
    """McDonald's omega (total, one factor) of the unweighted sum of the items; NaN if the one-factor model has no admissible solution.

    Args: covariance: (items, items), three items or more.
    Source: McDonald 1999; loadings by maximum likelihood (statsmodels `Factor`), of three items in closed form: their model is just identified, and a
        search stops anywhere on its flat likelihood when they hardly correlate.
    """
    spread = np.sqrt(np.diag(covariance))
    if (spread < 1e-6).any():
        return np.nan
    correlation = np.round(covariance / np.outer(spread, spread), 8)  # the last bits of a sum differ between runs, and a flat likelihood magnifies them
    off = correlation[~np.eye(len(spread), dtype=bool)]
    if np.abs(off).max() < 1e-6:  # nothing in common: no share of the sum is the factor's
        return 0.0
    loadings = _loadings(correlation)
    if not np.isfinite(loadings).all() or (np.abs(loadings) > 0.9999).any():  # Heywood case: an item without error
        return np.nan
    return float((spread * loadings).sum() ** 2 / covariance.sum())


def _loadings(correlation: np.ndarray) -> np.ndarray:
    """One factor's loadings, (items,); NaN if there are none that are real."""
    from statsmodels.multivariate.factor import Factor

    if len(correlation) == 3:
        a, b, c = correlation[0, 1], correlation[0, 2], correlation[1, 2]
        return np.sqrt([a * b / c, a * c / b, b * c / a]) * [1, np.sign(a), np.sign(b)] if a * b * c > 0 else np.full(3, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Factor(corr=correlation, n_factor=1, method="ml").fit().loadings[:, 0]
        except (ValueError, np.linalg.LinAlgError):
            return np.full(len(correlation), np.nan)


def covariances(weights: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Covariances of items whose answers have the given means and variances: (draws, people), (people, items) twice -> (draws, items, items)."""
    people, items = mean.shape
    products = (weights @ (mean[:, :, None] * mean[:, None, :]).reshape(people, -1)).reshape(-1, items, items)
    middle = weights @ mean
    between = (products - middle[:, :, None] * middle[:, None, :]) * people / (people - 1)
    return between + np.eye(items) * (weights @ var)[:, None, :]


def constructs() -> dict[str, list[str]]:
    """Construct -> its closed items, of the constructs that have at least `FEWEST_ITEMS`."""
    found: dict[str, list[str]] = {}
    for q in load_questions().values():
        if q.options:
            found.setdefault(q.construct, []).append(q.id)
    return {name: items for name, items in found.items() if len(items) >= FEWEST_ITEMS}


def reliability(sheets: Mapping[str, pd.DataFrame], *, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """Alpha and omega of every construct, of the respondents (system "respondents") and of every system, and their means over constructs.

    Returns: (system, construct, metric, value, lo, hi, n, items, reversed, respondents): `n` people (the mean: constructs with a value), `items` and how many
        of them are reverse-keyed, `respondents` the same coefficient of the respondents' own answers. Alpha has a 95 % interval (people resampled), omega none.
        NaN where a coefficient cannot be formed (an answerer that gives everyone the same probabilities has alpha 0 and omega 0).
    """
    first = arrays(next(iter(sheets.values())))
    weights = resampled(len(first.people), n_boot, seed)
    true = first.truth / (first.sizes - 1)
    lines = _system(RESPONDENTS, first, true, np.zeros_like(true), weights)
    for system, frame in sheets.items():
        sheet = arrays(frame)
        lines += _system(system, sheet, *sheet.positions(), weights)
    table = pd.DataFrame(lines)
    own = table[table["system"] == RESPONDENTS].set_index(["construct", "metric"])["value"]
    return table.assign(respondents=own.reindex(pd.MultiIndex.from_frame(table[["construct", "metric"]])).to_numpy())


def _system(system: str, sheet: Sheet, mean: np.ndarray, var: np.ndarray, weights: np.ndarray) -> list[dict]:
    questions, lines, drawn = load_questions(), [], []
    turned = np.where([questions[i].key > 0 for i in sheet.items], mean, 1 - mean)
    for construct, ids in constructs().items():
        places = [sheet.items.index(i) for i in ids if i in sheet.items]
        if len(places) < FEWEST_ITEMS:
            continue
        found = covariances(weights, turned[:, places], var[:, places])
        about = {"system": system, "construct": construct, "n": len(sheet.people), "items": len(places), "reversed": sum(questions[i].key < 0 for i in ids)}
        drawn.append(alpha(found))
        value, lo, hi = interval(drawn[-1], (-np.inf, 1))
        lines.append(about | {"metric": "alpha", "value": float(value), "lo": float(lo), "hi": float(hi)})
        lines.append(about | {"metric": "omega", "value": omega(found[0]), "lo": np.nan, "hi": np.nan})
    value, lo, hi = interval(np.nanmean(drawn, axis=0), (-np.inf, 1))
    omegas = [line["value"] for line in lines if line["metric"] == "omega" and np.isfinite(line["value"])]
    about = {
        "system": system,
        "construct": "mean",
        "items": sum(line["items"] for line in lines) // 2,
        "reversed": sum(line["reversed"] for line in lines) // 2,
    }
    lines.append(about | {"metric": "alpha", "value": float(value), "lo": float(lo), "hi": float(hi), "n": len(drawn)})
    mean_omega = float(np.mean(omegas)) if omegas else np.nan
    return [*lines, about | {"metric": "omega", "value": mean_omega, "lo": np.nan, "hi": np.nan, "n": len(omegas)}]
