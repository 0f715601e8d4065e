"""How states voted, how their adults are made up and how their hospital patients answered: three tables, the first two also as sheets with weights."""

from functools import cache

import numpy as np
import pandas as pd

from .. import paths
from ..survey.sheet import Sheet
from .human_items import HumanItem
from .human_surveys import sheet_of_codes

YEARS = (2016, 2020, 2024)
CANDIDATES = {2016: ("Hillary Clinton", "Donald Trump"), 2020: ("Joe Biden", "Donald Trump"), 2024: ("Kamala Harris", "Donald Trump")}
STATES = {
    "AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California", "CO": "Colorado", "CT": "Connecticut", "DE": "Delaware",
    "DC": "District of Columbia", "FL": "Florida", "GA": "Georgia", "HI": "Hawaii", "ID": "Idaho", "IL": "Illinois", "IN": "Indiana", "IA": "Iowa",
    "KS": "Kansas", "KY": "Kentucky", "LA": "Louisiana", "ME": "Maine", "MD": "Maryland", "MA": "Massachusetts", "MI": "Michigan", "MN": "Minnesota",
    "MS": "Mississippi", "MO": "Missouri", "MT": "Montana", "NE": "Nebraska", "NV": "Nevada", "NH": "New Hampshire", "NJ": "New Jersey", "NM": "New Mexico",
    "NY": "New York", "NC": "North Carolina", "ND": "North Dakota", "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania", "RI": "Rhode Island",
    "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah", "VT": "Vermont", "VA": "Virginia", "WA": "Washington",
    "WV": "West Virginia", "WI": "Wisconsin", "WY": "Wyoming",
}  # fmt: skip


def _attribute(name: str, question: str, options: tuple[str, ...]) -> HumanItem:
    return HumanItem(id=f"census_joint.{name}", domain="Census", type="likert", text=question, construct=name, instrument="American Community Survey 2014-2018",
                     paraphrases=(), labels=options, ordered=name in ("age", "education"), wording="short form")  # fmt: skip


HOSPITAL_QUESTIONS = {  # measure -> what is asked about; the published shares of the first three are means over several questions of one topic
    "H_COMP_1": "nurses communicate well with you", "H_COMP_2": "doctors communicate well with you",
    "H_COMP_3": "you get help as soon as you wanted it", "H_COMP_5": "the staff explain new medicines to you",
    "H_CLEAN_HSP": "your room and bathroom get cleaned", "H_QUIET_HSP": "the area around your room stay quiet at night",
}  # fmt: skip
HOSPITAL_ANSWERS = ("Sometimes or never", "Usually", "Always")

PLACE_TABLES = {  # file -> what `sources.json` says of it; the joint also has its attributes as items, and how the original codes them
    "state_votes": {
        "title": "US presidential votes for the two large parties by state, 2016, 2020, 2024 (50 states and the District of Columbia)",
        "source": "MEDSL 1976-2020 president file (version 20210113) and MEDSL/2024-elections-official @ 7ec08db, candidate counts summed per state",
        "licence": "CC0", "weight": "votes for the two parties",
    },
    "hospitals_2023": {
        "title": "HCAHPS patient survey by state, July 2023 release: shares of three answers to six questions (50 states and the District of Columbia)",
        "source": "https://github.com/baheldeepti/Maven-Healthcare-Challenge-HCAHPS-dataset/tree/2c4831c, state_results.csv (tables of CMS)",
        "licence": "public domain (Centers for Medicare & Medicaid Services)", "weight": "none: shares of each state's patients",
    },
    "census_joint": {
        "title": "American Community Survey 2014-2018, adults by state, ethnicity, sex, age and education (50 states, 12,000 cells)",
        "source": "https://github.com/JuanLopezMartin/MRPCaseStudy/tree/fe2dfef, poststrat_df.csv",
        "licence": "public domain (U.S. Census Bureau)", "weight": "n, the number of adults in a cell",
        "items": (
            _attribute("race", "Which of these groups are you?", ("White", "Black", "Hispanic", "Other")),
            _attribute("gender", "Are you a woman or a man?", ("woman", "man")),
            _attribute("age", "How old are you?", ("18-29", "30-39", "40-49", "50-59", "60-69", "70+")),
            _attribute("education", "What is your education?", ("no diploma", "high school diploma", "some college", "bachelor's degree", "graduate degree")),
        ),
        "codes": {
            "gender": {"-0.5": "woman", "0.5": "man"},
            "education": dict(zip(("No HS", "HS", "Some college", "4-Year College", "Post-grad"),
                                  ("no diploma", "high school diploma", "some college", "bachelor's degree", "graduate degree"), strict=True)),
        },
    },
}  # fmt: skip


@cache
def state_votes() -> pd.DataFrame:
    """Votes by state (index: name), columns dem_YEAR and rep_YEAR. Not to be changed."""
    return pd.read_parquet(paths.HUMANS / "state_votes.parquet").set_index("state")


@cache
def census_joint() -> pd.DataFrame:
    """Adults by state, race, gender, age and education: a row a cell, `n` people. Not to be changed."""
    return pd.read_parquet(paths.HUMANS / "census_joint.parquet")


def democratic_share(year: int) -> pd.Series:
    """The Democratic share of the two-party vote of each state (index: name)."""
    votes = state_votes()
    return votes[f"dem_{year}"] / (votes[f"dem_{year}"] + votes[f"rep_{year}"])


def state_alignment(predicted: pd.Series | float, year: int) -> pd.Series:
    """1 - |predicted - true Democratic share| of each state that is predicted (index: name); a number predicts the same everywhere.

    For two options this is 1 - Wasserstein distance. Its mean gives every state the same weight; without a floor beside it, it says little: one half
    everywhere already has .90. Raises ValueError for a state without votes.
    """
    true = democratic_share(year)
    if not isinstance(predicted, pd.Series):
        return 1 - (true - predicted).abs()
    if unknown := sorted(set(predicted.index) - set(true.index)):
        raise ValueError(f"no votes for {len(unknown)} of {len(predicted)} states ({unknown[0]}, ...): states go by their full names")
    return 1 - (true[predicted.index] - predicted).abs()


def voted(shares: pd.Series, *, people: int, seed: int = 42) -> pd.Series:
    """Shares among `people` voters drawn from each state: the upper bound of a simulation with as many people."""
    return pd.Series(np.random.default_rng(seed).binomial(people, shares) / people, index=shares.index)


def hospital_items() -> tuple[HumanItem, ...]:
    """The patients' items: nothing political. The wording is ours in short form; those who answered had been in hospital, those who are simulated may not."""
    return tuple(
        HumanItem(id=f"hospitals_2023.{measure}", domain="Hospital", type="likert", text=f"During your last hospital stay, how often did {asked}?",
                  construct="hospital care", instrument=PLACE_TABLES["hospitals_2023"]["title"], paraphrases=(), labels=HOSPITAL_ANSWERS, wording="short form")
        for measure, asked in HOSPITAL_QUESTIONS.items()
    )  # fmt: skip


@cache
def hospital_shares() -> pd.DataFrame:
    """Shares of `HOSPITAL_ANSWERS` (columns 0, 1, 2) by state and measure (index: state, measure); rows sum to 1. Not to be changed."""
    shares = pd.read_parquet(paths.HUMANS / "hospitals_2023.parquet").set_index(["state", "measure"])
    return shares.set_axis(range(len(HOSPITAL_ANSWERS)), axis=1).pipe(lambda table: table.div(table.sum(axis=1), axis=0))


def vote_items() -> tuple[HumanItem, ...]:
    """One item an election, the Democratic candidate first."""
    return tuple(
        HumanItem(id=f"state_votes.{year}", domain="Voting", type="yesno", text=f"Who did you vote for in the presidential election of {year}?",
                  construct="vote for president", instrument=PLACE_TABLES["state_votes"]["title"], paraphrases=(), labels=CANDIDATES[year], lean="LC", key=-1,
                  ordered=False, wording="short form")
        for year in YEARS
    )  # fmt: skip


def vote_sheet() -> Sheet:
    """States in place of people, elections in place of items: `probs` are shares of the vote, `truth` is the winner, weights are the votes of all years."""
    shares = np.stack([democratic_share(year) for year in YEARS], axis=1)
    probs = np.stack([shares, 1 - shares], axis=2)
    return sheet_of_codes(probs.argmax(2), vote_items(), list(state_votes().index), probs=probs, weights=state_votes().sum(axis=1))


def census_sheet(state: str = "") -> Sheet:
    """Cells in place of people, attributes in place of items, weights are people; cells of one state are one unit. `state`: this one alone."""
    cells, items = census_joint(), PLACE_TABLES["census_joint"]["items"]
    if state and state not in set(cells["state"]):
        raise ValueError(f"no cells for {state!r}: states go by their full names, and the joint lacks the District of Columbia")
    cells = cells[(cells["state"] == state) & (cells["n"] > 0)] if state else cells[cells["n"] > 0]
    codes = np.stack([cells[item.construct].map({label: i for i, label in enumerate(item.options)}) for item in items], axis=1)
    return sheet_of_codes(codes, items, [f"cell-{i:05d}" for i in cells.index], units=cells["state"], weights=cells["n"])
