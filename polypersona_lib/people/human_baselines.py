"""What an answerer of human items is measured against: baselines without a model, and upper bounds made of the people themselves, each as a sheet.

Every alignment stands beside these rows. All are made from people who are not the ones compared with: two halves of the survey, or folds (`cross_fitted`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ..stats import compare_distributions
from ..survey.sheet import MISSING, Sheet
from .human_surveys import HumanSurvey

AGE_BANDS = [0, 29, 39, 49, 59, 69, 200]  # as the census joint's
DEMOGRAPHICS = ("age", "education", "race", "gender", "income")
_LEAST = 1e-6  # a probability below counts as this in a log score


def halves(people: int, *, seed: int = 42) -> tuple[np.ndarray, np.ndarray]:
    """The places of two random halves of the people."""
    order = np.random.default_rng(seed).permutation(people)
    return np.sort(order[: people // 2]), np.sort(order[people // 2 :])


def answer_shares(sheet: Sheet, *, people: np.ndarray | None = None) -> np.ndarray:
    """The weighted distribution of the people's own answers to each item, shape (items, options); uniform over an item's options without an answer.

    `people`: places of those who count, one place as often as it was drawn; None: all.
    """
    weights = np.ones(len(sheet.people)) if sheet.weights is None else sheet.weights
    people = np.arange(len(sheet.people)) if people is None else people
    sums = np.einsum("p,pio->io", weights[people], sheet.chosen()[people])
    total = sums.sum(1, keepdims=True)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), _flat(sheet))


def _flat(sheet: Sheet) -> np.ndarray:
    return (np.arange(sheet.probs.shape[-1]) < sheet.sizes[:, None]) / sheet.sizes[:, None]


def _for_everybody(sheet: Sheet, distribution: np.ndarray) -> Sheet:
    """Everybody in `sheet` answers with the same distribution, shape (items, options)."""
    return replace(sheet, probs=np.broadcast_to(distribution, sheet.probs.shape))


def uniform(sheet: Sheet) -> Sheet:
    """Every option is equally probable: knows nothing."""
    return _for_everybody(sheet, _flat(sheet))


def most_frequent(sheet: Sheet, other: Sheet) -> Sheet:
    """Everybody chooses what most of `other` people choose."""
    best = answer_shares(other).argmax(1)
    return _for_everybody(sheet, (best[:, None] == np.arange(sheet.probs.shape[-1])).astype(float))


def other_half(sheet: Sheet, other: Sheet) -> Sheet:
    """Everybody answers with the distribution of `other` people: the upper bound of a distribution."""
    return _for_everybody(sheet, answer_shares(other))


def people_resampled(sheet: Sheet, other: Sheet, *, n: int, seed: int = 42) -> Sheet:
    """Everybody answers with the distribution of `n` of the `other` people: what a survey of so few people reaches, the rival of a simulation with as many."""
    drawn = np.random.default_rng(seed).choice(len(other.people), size=n, replace=n > len(other.people))
    return _for_everybody(sheet, answer_shares(other, people=drawn))


def seen_columns(survey: HumanSurvey, columns: tuple[str, ...] = DEMOGRAPHICS) -> np.ndarray:
    """What a regression sees of each person: a column for each value of each attribute (age in bands; "did not say" is a value), shape (people, columns)."""
    said = survey.people[[c for c in columns if c in survey.people]]
    said = said.assign(age=pd.cut(said["age"], AGE_BANDS)) if "age" in said else said
    return pd.get_dummies(said.astype(object).where(said.notna(), "did not say").astype(str)).to_numpy(dtype=float)


def regression(sheet: Sheet, other: Sheet, *, seen: np.ndarray, seen_other: np.ndarray) -> Sheet:
    """Probabilities of a logistic regression of each item on what is seen of the people, fitted on `other` people (each weighs the same).

    Args: seen, seen_other: of both groups of people, from one `seen_columns`, shape (people, columns).
    Source: multinomial logistic regression, L2 penalty 1 (scikit-learn).
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    probs = np.zeros(sheet.probs.shape)
    with threadpool_limits(1):  # the matrices are small: threads that wait for each other made this sixty times slower on a busy machine
        for item, truth in enumerate(other.truth.T):
            known = truth != MISSING
            if len(np.unique(truth[known])) < 2:
                probs[:, item] = answer_shares(other)[item]
                continue
            model = LogisticRegression(solver="newton-cholesky").fit(seen_other[known], truth[known])
            probs[:, item, model.classes_] = model.predict_proba(seen)
    return replace(sheet, probs=probs)


def cross_fitted(sheet: Sheet, seen: np.ndarray, *, folds: int = 2, seed: int = 42) -> Sheet:
    """`regression` for everybody: each person's probabilities come from a model that was fitted on the other folds."""
    fold = np.random.default_rng(seed).permutation(len(sheet.people)) % folds
    probs = np.zeros(sheet.probs.shape)
    for this in range(folds):
        inside = fold == this
        probs[inside] = regression(sheet.of(inside), sheet.of(~inside), seen=seen[inside], seen_other=seen[~inside]).probs
    return replace(sheet, probs=probs)


# --- measures that need no interval ------------------------------------------------------------------------------------------------


def alignment(sheet: Sheet) -> float:
    """Mean over items of 1 - Wasserstein distance / (options - 1) between the sheet's answers and the people's own, both weighted."""
    own = answer_shares(sheet)
    weights = np.ones(len(sheet.people)) if sheet.weights is None else sheet.weights
    given = np.einsum("p,pio->io", weights, sheet.probs)
    return float(compare_distributions(given / given.sum(1, keepdims=True), own, sheet.sizes)["alignment"].mean())


def _on_truth(sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """(the probability of each person's own option, whether both answers are there), both of shape (people, items)."""
    return np.take_along_axis(sheet.probs, np.maximum(sheet.truth, 0)[..., None], axis=2)[..., 0], (sheet.truth != MISSING) & sheet.answered


def hit_rate(sheet: Sheet) -> float:
    """Individual accuracy: share of the people whose own option is the most probable one, mean over items; of options that are level each has its chance.

    Everybody counts the same; missing answers are left out. (`distributions.individual` has another accuracy, 1 - mean absolute error / range.)
    """
    given, known = _on_truth(sheet)
    best = sheet.probs.max(2)
    level = (sheet.probs >= best[..., None] - _LEAST).sum(2)
    return float((np.where(known & (given >= best - _LEAST), 1 / level, 0).sum(0) / known.sum(0)).mean())


def log_score(sheet: Sheet) -> float:
    """Mean over items of the log loss of the people's own options, over that of a uniform answerer: 1 is uniform, 0 perfect, above 1 worse than uniform."""
    given, known = _on_truth(sheet)
    loss = np.where(known, -np.log(np.clip(given, _LEAST, 1)), 0).sum(0) / known.sum(0)
    return float((loss / np.log(sheet.sizes)).mean())


def group_gaps(sheet: Sheet, groups: pd.DataFrame) -> pd.Series:
    """How far groups of people lie apart: variable -> mean over items of the largest minus the smallest group mean (positions 0-1, weighted).

    Args: groups: index persona_id, a column a variable (`human_groups`); who is in no group of a variable is left out. Small groups lie far apart by luck.
    """
    positions, known = np.nan_to_num(sheet.true_positions()), sheet.truth != MISSING
    weights = np.ones(len(sheet.people)) if sheet.weights is None else sheet.weights
    gaps = {}
    for variable in groups:
        members = pd.get_dummies(groups.loc[list(sheet.people), variable].astype(object)).to_numpy(dtype=float).T * weights
        with np.errstate(invalid="ignore"):
            means = (members @ positions) / (members @ known)
        gaps[variable] = float((np.nanmax(means, axis=0) - np.nanmin(means, axis=0)).mean())
    return pd.Series(gaps)


def baseline_sheets(survey: HumanSurvey, *, sizes: tuple[int, ...] = (40, 100, 300), seed: int = 42) -> dict[str, Sheet]:
    """System -> the sheet of one half of a survey, answered by each baseline and upper bound that the other half gives. Both halves are random."""
    whole = survey.sheet()
    from_half, to_half = halves(len(whole.people), seed=seed)
    other, sheet = whole.of(from_half), whole.of(to_half)
    made: dict[str, Sheet] = {"uniform": uniform(sheet), "most frequent": most_frequent(sheet, other)}
    for name, columns in (("demographics", DEMOGRAPHICS), ("demographics, party", (*DEMOGRAPHICS, "party"))):
        seen = seen_columns(survey, columns)
        made[name] = regression(sheet, other, seen=seen[to_half], seen_other=seen[from_half])
    made |= {f"{n} people": people_resampled(sheet, other, n=n, seed=seed) for n in sizes}
    return made | {"other half": other_half(sheet, other)}


def baseline_table(sheets: Mapping[str, Sheet]) -> pd.DataFrame:
    """Alignment, hit rate and log score of each system, a row a system. One distribution for everybody hits with its most frequent option."""
    measures: dict[str, Callable[[Sheet], float]] = {"alignment": alignment, "hit_rate": hit_rate, "log_score": log_score}
    return pd.DataFrame({name: {measure: of(sheet) for measure, of in measures.items()} for name, sheet in sheets.items()}).T
