"""Raking: equal to statsmodels' and a direct solution, joint distributions come back, effective n, and bad margins in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from polypersona_lib.errors import InputError
from polypersona_lib.people.places import census_joint
from polypersona_lib.people.poststratification import associations
from polypersona_lib.people.raking import margin_of, rake
from polypersona_lib.rectification import effective_people

RACE = pd.Series([0.6, 0.4], index=pd.Index(["a", "b"], name="race"))
SEX = pd.Series([0.5, 0.5], index=pd.Index(["f", "m"], name="sex"))


def people(counts=(40, 10, 20, 30)) -> pd.DataFrame:
    return pd.DataFrame([("a", "f")] * counts[0] + [("a", "m")] * counts[1] + [("b", "f")] * counts[2] + [("b", "m")] * counts[3], columns=["race", "sex"])


def test_margins_are_met_and_the_association_is_kept():
    """A 2 x 2 table with given margins and the odds ratio of the sample has one solution: a quadratic equation (a textbook's way)."""
    made = rake(people(), [RACE, SEX])
    table = margin_of(people(), ["race", "sex"], weights=made.weights)
    odds = 40 * 30 / (10 * 20)
    a, b, c = 1 - odds, 1 - 0.6 - 0.5 + odds * (0.6 + 0.5), -odds * 0.6 * 0.5  # p(1 - .6 - .5 + p) = odds (.6 - p)(.5 - p)
    assert table["a", "f"] == pytest.approx((-b + np.sqrt(b * b - 4 * a * c)) / (2 * a), abs=1e-5)
    assert table.groupby("race").sum()["a"] == pytest.approx(0.6, abs=1e-5) and table.groupby("sex").sum()["f"] == pytest.approx(0.5)
    assert made.error < 1e-6 and made.dropped == 0 and made.people == 100


def test_raking_is_a_log_linear_model():
    """statsmodels: a Poisson regression with the sample's table as offset, fitted to the targets, gives the same weights (minimum discrimination)."""
    rng = np.random.default_rng(1)
    counts, target = rng.integers(5, 50, size=(3, 4)), rng.dirichlet(np.full(12, 8)).reshape(3, 4)
    sample = pd.DataFrame([(i, j) for i in range(3) for j in range(4) for _ in range(counts[i, j])], columns=["x", "y"])
    margins = [pd.Series(target.sum(1), index=pd.RangeIndex(3, name="x")), pd.Series(target.sum(0), index=pd.RangeIndex(4, name="y"))]
    ours = margin_of(sample, ["x", "y"], weights=rake(sample, margins).weights).to_numpy()
    design = pd.get_dummies(pd.DataFrame([(i, j) for i in range(3) for j in range(4)], columns=["x", "y"]).astype(str)).to_numpy(dtype=float)[:, 1:]
    design = np.column_stack([np.ones(12), np.delete(design, 2, axis=1)])
    fit = sm.GLM(target.ravel(), design, family=sm.families.Poisson(), offset=np.log(counts.ravel() / counts.sum())).fit(tol=1e-14, maxiter=200)
    assert ours == pytest.approx(fit.fittedvalues, abs=1e-5)


def test_cards_from_marginals_get_their_joint_back():
    """The census: independent draws have no association; raked to pairs they have the census' own, and raked to the whole joint they are the census."""
    columns = ["race", "gender", "age", "education"]
    joint = margin_of(census_joint(), columns, weights="n")
    cells = joint.rename("n").reset_index()
    margins = [margin_of(cells, [c], weights="n") for c in columns]
    independent = np.prod([m.loc[cells[c]].to_numpy() for c, m in zip(columns, margins, strict=True)], axis=0)

    def strength(weights) -> np.ndarray:
        return associations(cells.assign(n=np.round(1e12 * weights / weights.sum()).astype(int)), columns)["v"].to_numpy()

    true_v = strength(joint.to_numpy())
    assert strength(independent).max() < 1e-5 and true_v.max() > 0.05
    pairs = [margin_of(cells, [a, b], weights="n") for i, a in enumerate(columns) for b in columns[i + 1 :]]
    paired = rake(cells, pairs, weights=independent)
    assert strength(paired.weights) == pytest.approx(true_v, abs=1e-3)
    distance = [np.abs(w / w.sum() - joint.to_numpy()).sum() / 2 for w in (independent, paired.weights, rake(cells, [joint], weights=independent).weights)]
    assert distance[0] == pytest.approx(0.127, abs=0.001) and distance[1] < 0.05 and distance[2] < 1e-9, "pairs leave what three columns do together"


def test_the_effective_number_of_people():
    assert effective_people(np.ones(50)) == 50 and effective_people([1, 1, 0]) == 2 and effective_people([1, 0, 0]) == 1 and effective_people([0, 0]) == 0
    made = rake(people(), [RACE, SEX])
    assert made.effective_n == pytest.approx(made.weights.sum() ** 2 / (made.weights**2).sum()) and 50 < made.effective_n < 100
    assert rake(people(), [margin_of(people(), ["race"])]).effective_n == pytest.approx(100)
    assert made.in_words() == f"100 people raked in {made.rounds} rounds; they are worth {made.effective_n:.0f} of equal weight"


def test_impossible_people_get_no_weight_and_are_counted():
    sample = pd.concat([people(), pd.DataFrame({"race": ["c", "a"], "sex": ["f", None]})], ignore_index=True)
    made = rake(sample, [RACE, SEX])
    assert made.dropped == 2 and (made.weights[-2:] == 0).all() and "2 had a value that the margins rule out" in made.in_words()
    pair = margin_of(people((40, 0, 20, 30)), ["race", "sex"])
    assert rake(people(), [pair]).dropped == 10 and rake(people(), [pair], weights=np.r_[np.ones(99), 0]).people == 99


@pytest.mark.parametrize(
    ("sample", "margins", "weights", "message"),
    [
        (people((40, 10, 0, 0)), [RACE], None, r"margin race: 1 of 2 values have nobody to stand for them \(40.0% of the target\)"),
        (people((50, 0, 0, 50)), [RACE, SEX], None, "cannot be met together: after 1000 rounds a share is still off by"),
        (people(), [RACE.rename_axis("colour")], None, "margin colour: people have no column colour"),
        (people(), [RACE * 0], None, "margin race: each value needs one share of 0 or more, not all of them 0"),
        (people(), [RACE * -1], None, "each value needs one share of 0 or more"),
        (people(), [RACE * np.nan], None, "each value needs one share"),
        (people(), [pd.concat([RACE, RACE])], None, "each value needs one share"),
        (people(), [RACE], np.zeros(100), "weights: 100 people need as many numbers of 0 or more, not all of them 0"),
        (people(), [RACE], np.ones(3), "weights: 100 people"),
        (people(), [RACE], np.r_[np.zeros(50), np.ones(50)], "margin race: 1 of 2 values have nobody"),
    ],
)
def test_bad_input_is_one_line(sample, margins, weights, message):
    with pytest.raises(InputError, match=message) as error:
        rake(sample, margins, weights=weights)
    assert "\n" not in str(error.value)
