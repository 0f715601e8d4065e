"""Do the items of one construct hang together? Cronbach's alpha and McDonald's omega of the respondents' answers and of every system's.

Both follow from the covariances of the items (positions 0-1, reverse-keyed items turned round). For a system they are those of single answers drawn
from its option probabilities, one item at a time as the questionnaire is administered: what lies between people counts as covariance, what a draw adds
counts as error. For answers that are known, that is the ordinary covariance.
"""

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from .distributions import bounded_interval
from .sheet import Sheet

FEWEST_ITEMS = 3
PEOPLE = "respondents"  # the system whose answers are the respondents' own


def alpha(covariance: np.ndarray) -> np.ndarray:
    """Cronbach's alpha of the unweighted sum: covariances (..., items, items) -> (...); NaN where nothing varies. Source: Cronbach 1951, coefficient alpha."""
    k, total = covariance.shape[-1], covariance.sum((-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        shared = k / (k - 1) * (1 - np.trace(covariance, axis1=-2, axis2=-1) / total)
    return np.where(total > 1e-12, np.where(np.abs(shared) < 1e-9, 0.0, shared), np.nan)


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
            return Factor(corr=correlation, n_factor=1, method="ml").fit(rng=0).loadings[:, 0]  # else the search begins somewhere else every time
        except (ValueError, np.linalg.LinAlgError):
            return np.full(len(correlation), np.nan)


def covariances(weights: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Covariances of items whose answers have the given means and variances: (draws, people), (people, items) twice -> (draws, items, items); NaN
    with fewer than two people."""
    people, items = mean.shape
    if people < 2:  # an item that nobody was asked, or whose every answer failed
        return np.full((len(weights), items, items), np.nan)
    products = (weights @ (mean[:, :, None] * mean[:, None, :]).reshape(people, -1)).reshape(-1, items, items)
    middle = weights @ mean
    between = (products - middle[:, :, None] * middle[:, None, :]) * people / (people - 1)
    return between + np.eye(items) * (weights @ var)[:, None, :]


def constructs(sheet: Sheet) -> dict[str, list[int]]:
    """Construct -> the places of its closed items in the sheet, of the constructs that have at least `FEWEST_ITEMS` there."""
    places = {name: [place for place, q in enumerate(sheet.items) if q.construct == name] for name in sheet.constructs}
    return {name: found for name, found in places.items() if len(found) >= FEWEST_ITEMS}


def reliability(sheets: Mapping[str, Sheet], *, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """Alpha and omega of every construct, of the respondents (system "respondents") and of every system, and their means over constructs.

    Returns: (system, construct, metric, value, lo, hi, n, items, reversed, respondents): `n` people who answered all items (the mean: constructs with a value),
        `items` and how many of them are reverse-keyed, `respondents` the same coefficient of the respondents' own answers. Alpha has a 95 % interval (units
        resampled), omega none. NaN where a coefficient cannot be formed (an answerer that gives everyone the same probabilities has alpha 0 and omega 0).
    """
    first = next(iter(sheets.values()))
    weights, true = first.draws(n_boot=n_boot, seed=seed), first.true_positions()
    lines = _system(PEOPLE, first, true, np.zeros_like(true), weights)
    for system, sheet in sheets.items():
        lines += _system(system, sheet, *sheet.positions(), weights)
    table = pd.DataFrame(lines)
    own = table[table["system"] == PEOPLE].set_index(["construct", "metric"])["value"]
    return table.assign(respondents=own.reindex(pd.MultiIndex.from_frame(table[["construct", "metric"]])).to_numpy())


def _system(system: str, sheet: Sheet, mean: np.ndarray, var: np.ndarray, weights: np.ndarray) -> list[dict]:
    """Both coefficients of every construct, and their means. Who did not answer all items of a construct is left out of it."""
    keyed, lines, drawn = sheet.keyed(mean), [], []
    for construct, places in constructs(sheet).items():
        whole = np.isfinite(keyed[:, places]).all(1)
        shares = weights if whole.all() else weights[:, whole] / weights[:, whole].sum(1, keepdims=True)
        covariance = covariances(shares, keyed[whole][:, places], var[whole][:, places])
        reverse = sum(sheet.items[p].key < 0 for p in places)
        about = {"system": system, "construct": construct, "n": int(whole.sum()), "items": len(places), "reversed": reverse}
        drawn.append(alpha(covariance))
        lines += _pair(about, drawn[-1], omega(covariance[0]), sheet.n_units)
    omegas = [line["value"] for line in lines if line["metric"] == "omega" and np.isfinite(line["value"])]
    about = {"system": system, "construct": "mean"} | {name: sum(line[name] for line in lines) // 2 for name in ("items", "reversed")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nobody differs from anybody: no coefficient, and no mean of them
        alphas = np.nanmean(drawn, axis=0)
    means = _pair(about, alphas, float(np.mean(omegas)) if omegas else np.nan, sheet.n_units)
    return [*lines, *(line | {"n": n} for line, n in zip(means, (int(np.isfinite([a[0] for a in drawn]).sum()), len(omegas)), strict=True))]


def _pair(about: dict, alphas: np.ndarray, omega_value: float, units: int) -> list[dict]:
    """The line of alpha, with its interval from its draws, and the line of omega, which has none."""
    value, lo, hi = map(float, bounded_interval(alphas, units, (-np.inf, 1)))
    return [about | {"metric": "alpha", "value": value, "lo": lo, "hi": hi}, about | {"metric": "omega", "value": omega_value, "lo": np.nan, "hi": np.nan}]
