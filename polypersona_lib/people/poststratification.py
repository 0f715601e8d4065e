"""From a sample of people to whole states: an answer regressed on census attributes, predicted for every cell of the census joint, weighted by its people.

It is the honest rival of a simulation that gets census cards: as much knowledge of each cell, and some real people in place of a model. It predicts adults, not
voters, so part of its distance from the vote is the frame's: see `lean`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .human_surveys import HumanSurvey
from .places import census_joint, democratic_share

CENSUS_COLUMNS = ("race", "gender", "age", "education")
_AGES = {"18-29": 29, "30-39": 39, "40-49": 49, "50-59": 59, "60-69": 69, "70+": 200}  # last year of each band
_EDUCATION = {"2-year college degree": "some college"}


def census_attributes(survey: HumanSurvey) -> pd.DataFrame:
    """What the census joint counts, of each person of a survey that asked race, gender, education and state: index persona_id, `CENSUS_COLUMNS` and state.

    Who said to be Hispanic is so whatever the race; races that the joint does not list are "Other". Raises ValueError for a survey without states.
    """
    people = survey.people
    if "state" not in people or "gender" not in people:
        raise ValueError(f"{survey.name} did not ask the state and gender: poststratification needs both (ces_2018 has them)")
    race = people["race"].where(people["race"].isin(["White", "Black", "Hispanic"]), "Other")
    return pd.DataFrame({
        "race": race.where(people["hispanic"] != "Hispanic", "Hispanic"), "gender": people["gender"],
        "age": pd.cut(people["age"], [0, *_AGES.values()], labels=list(_AGES)).astype(str),
        "education": people["education"].replace(_EDUCATION), "state": people["state"],
    })  # fmt: skip


def two_party_vote(survey: HumanSurvey) -> pd.Series:
    """1 for a vote for Clinton in 2016, 0 for one for Trump, NaN for everybody else, of each person (index persona_id)."""
    return survey.people["vote_2016"].map({"Hillary Clinton": 1.0, "Donald Trump": 0.0})


def poststratified(
    answer: pd.Series, attributes: pd.DataFrame, *, weights: pd.Series | None = None, states: bool = True, votes: np.ndarray | None = None
) -> pd.Series:
    """The share of 1 among the adults of each state (index: name; the joint lacks the District of Columbia).

    Args: answer: 0, 1 or NaN (left out) of each person. attributes: `census_attributes`. states: whether the regression sees the state. votes: the share of
        each cell of the census joint that counts (its turnout); None: all adults do.
    Source: multilevel regression and poststratification (Gelman and Little 1997), with a logistic regression whose L2 penalty of 1 draws each state and group
        towards the mean, in place of a multilevel model (scikit-learn).
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    cells, columns = census_joint(), [*CENSUS_COLUMNS, *(["state"] if states else [])]
    known = answer.notna().to_numpy()
    both = pd.get_dummies(pd.concat([attributes.loc[known, columns], cells[columns]]).astype(str)).to_numpy(dtype=float)
    with threadpool_limits(1):
        model = LogisticRegression(max_iter=500)
        model.fit(both[: known.sum()], answer[known].astype(int), sample_weight=None if weights is None else weights[known])
        predicted = model.predict_proba(both[known.sum() :])[:, 1]
    people = cells["n"] * (1.0 if votes is None else votes)
    return (people * predicted).groupby(cells["state"]).sum() / people.groupby(cells["state"]).sum()


def lean(predicted: pd.Series, year: int) -> float:
    """Mean over the predicted states of predicted minus true Democratic share: above 0 leans Democratic. Every state counts the same."""
    return float((predicted - democratic_share(year)[predicted.index]).mean())


def associations(table: pd.DataFrame, columns: Sequence[str], *, weights: str = "n") -> pd.DataFrame:
    """Cramér's V of each pair of columns: how far a joint distribution is from the product of its marginals (0: not at all). Columns a, b, v.

    Source: Cramér 1946; `scipy.stats.contingency.association` of the weighted counts.
    """
    from itertools import combinations

    from scipy.stats.contingency import association

    counts = {pair: table.pivot_table(index=pair[0], columns=pair[1], values=weights, aggfunc="sum", fill_value=0) for pair in combinations(columns, 2)}
    return pd.DataFrame([{"a": a, "b": b, "v": float(association(count.to_numpy()))} for (a, b), count in counts.items()])
