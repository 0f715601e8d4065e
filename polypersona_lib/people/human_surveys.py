"""Human surveys as sheets: 538/Ipsos 2020, CES 2018, ANES 1996. Who answered, what they answered, what they weigh, what is known of them."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from .. import paths
from ..survey.sheet import MISSING, Sheet
from ..world.questions import Question
from .human_items import HumanItem, human_items

WEIGHT = "weight"
ANES_PARTIES = (
    "strong Democrat", "not very strong Democrat", "leans Democrat", "Independent", "leans Republican", "not very strong Republican", "strong Republican",
)  # fmt: skip
ANES_EDUCATION = ("8 grades or less", "some high school", "high school diploma", "some college", "bachelor's degree", "master's degree", "PhD")
ANES_INCOMES = (
    "less than $3,000", "$3,000-4,999", "$5,000-6,999", "$7,000-8,999", "$9,000-9,999", "$10,000-10,999", "$11,000-11,999", "$12,000-12,999", "$13,000-13,999",
    "$14,000-14,999", "$15,000-16,999", "$17,000-19,999", "$20,000-21,999", "$22,000-24,999", "$25,000-29,999", "$30,000-34,999", "$35,000-39,999",
    "$40,000-44,999", "$45,000-49,999", "$50,000-59,999", "$60,000-74,999", "$75,000-89,999", "$90,000-104,999", "$105,000 or more",
)  # fmt: skip


@dataclass(frozen=True)
class HumanSurvey:
    """A survey of real people.

    Args: people: a row a respondent (index persona_id), a column for each thing known of them (`weight` among them if the survey has weights); None or NaN
        where a person did not say. answers: the option that each person chose, shape (people, items), `MISSING` where none was given.
    """

    name: str
    items: tuple[HumanItem, ...]
    people: pd.DataFrame
    answers: np.ndarray

    def sheet(self, *, unit: str = "", weighted: bool = True) -> Sheet:
        """The people's own answers as a sheet: `probs` and `truth` both hold what they chose.

        Args: unit: a column of `people` whose values are resampled in place of people ("state"). weighted: False lets everybody weigh the same.
        """
        return sheet_of_codes(
            self.answers, self.items, list(self.people.index), units=self.people[unit] if unit else None,
            weights=self.people[WEIGHT] if weighted and WEIGHT in self.people else None,
        )  # fmt: skip

    def missing(self) -> dict[str, int]:
        """What is not there -> for how many people: each attribute that someone lacks, and `answers` (of people x items)."""
        lacking = self.people.isna().sum()
        return {"answers": int((self.answers == MISSING).sum())} | {name: int(n) for name, n in lacking.items() if n}


def sheet_of_codes(codes: np.ndarray, items: tuple[Question, ...], people: list[str], *, units=None, weights=None, probs: np.ndarray | None = None) -> Sheet:
    """A sheet of chosen options, shape (people, items), `MISSING` for none. `probs` holds shares where a row is many people (a state) and not one."""
    codes = np.asarray(codes, dtype=int)
    own = (codes[..., None] == np.arange(max(len(q.options) for q in items))).astype(float)
    constructs = len({q.construct for q in items})
    return Sheet(
        people=tuple(people), items=items, probs=own if probs is None else probs, truth=codes, theta=np.full((len(people), constructs), np.nan),
        units=None if units is None else np.unique(np.asarray(units).astype(str), return_inverse=True)[1],
        weights=None if weights is None else np.asarray(weights, dtype=float),
    )  # fmt: skip


@cache
def load_survey(name: str) -> HumanSurvey:
    """A survey by its name in `data/humans/items.yaml`. Raises InputError for an unknown one."""
    items = human_items(name)
    table = _anes_table() if name == "anes_1996" else pd.read_parquet(paths.HUMANS / f"{name}.parquet")
    columns = [item.column for item in items]
    people = table.drop(columns=columns).set_axis([f"{name}-{row:04d}" for row in range(len(table))]).rename_axis("persona_id")
    return HumanSurvey(name, items, people, table[columns].to_numpy(dtype=int))


def _anes_table() -> pd.DataFrame:
    """The people of `statsmodels.datasets.anes96` as the other surveys' files are: options from 0 on, attributes in words."""
    from statsmodels.datasets import anes96

    raw = anes96.load_pandas().data
    codes = raw[["vote", "selfLR", "ClinLR", "DoleLR", "TVnews"]].astype(int)
    codes[["selfLR", "ClinLR", "DoleLR"]] -= 1
    words = {"party": ("PID", ANES_PARTIES, 0), "education": ("educ", ANES_EDUCATION, 1), "income": ("income", ANES_INCOMES, 1)}
    return codes.assign(age=raw["age"].astype(int), **{name: [labels[int(v) - first] for v in raw[column]] for name, (column, labels, first) in words.items()})
