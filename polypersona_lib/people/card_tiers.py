"""One person, six cards: what a simulated respondent is told about itself, from four census facts to a whole narrative (the tiers of arXiv 2503.16527).

People come from the census joint, the same number from each state. Who fills the rest is what the study varies: nobody, a model, real respondents, a template.
"""

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from .human_surveys import WEIGHT, load_survey
from .places import PLACE_TABLES, census_joint
from .poststratification import census_attributes

AGE_SPANS = {"18-29": (18, 29), "30-39": (30, 39), "40-49": (40, 49), "50-59": (50, 59), "60-69": (60, 69), "70+": (70, 89)}  # years, both ends count


@dataclass(frozen=True)
class Attribute:
    """A closed attribute that a model may fill: the question it is asked, and the options.

    `real` is the column of `ces_2018` that says how real people are spread over it; `codes` turns that column's values into options (others are left out).
    """

    name: str
    question: str
    options: tuple[str, ...]
    real: str
    codes: Mapping[str, str]


def _same(options: Sequence[str]) -> dict[str, str]:
    return {option: option for option in options}


_SCHOOLING = PLACE_TABLES["census_joint"]["items"][3].options
_INCOMES = ("less than $30,000", "$30,000-59,999", "$60,000-99,999", "$100,000-149,999", "$150,000 or more")
_INCOME_STARTS = (0, 30_000, 60_000, 100_000, 150_000)


@cache
def tier_attributes() -> dict[str, Attribute]:
    """Every attribute that a tier above `meta` adds, by name, in the order in which they are filled."""
    brackets = [b for b in load_survey("ces_2018").people["income"].dropna().unique()]
    least = {b: 0 if b.startswith("less") else int(b.split("-")[0].split()[0].strip("$").replace(",", "")) for b in brackets}
    incomes = {b: _INCOMES[int(np.searchsorted(_INCOME_STARTS, low, side="right")) - 1] for b, low in least.items()}
    marital = ("married", "separated", "divorced", "widowed", "never married", "in a domestic or civil partnership")
    employed = ("works full-time", "works part-time", "unemployed", "retired", "permanently disabled", "homemaker", "student")
    ideology, party = ("very liberal", "liberal", "moderate", "conservative", "very conservative"), ("Democrat", "Republican", "Independent", "another party")
    faiths = ("Protestant", "Roman Catholic", "another religion", "no religion")
    faith = {"Protestant": faiths[0], "Roman Catholic": faiths[1]} | dict.fromkeys(("Atheist", "Agnostic", "Nothing in particular"), faiths[3])
    faith |= dict.fromkeys(("Mormon", "Eastern or Greek Orthodox", "Jewish", "Muslim", "Buddhist", "Hindu", "Something else"), faiths[2])
    made = (
        Attribute("education", "What is your education?", _SCHOOLING, "education", _same(_SCHOOLING) | {"2-year college degree": "some college"}),
        Attribute("marital", "What is your marital status?", marital, "marital", _same(marital)),
        Attribute("employment", "What describes your work best?", employed, "employment", _same(employed) | {"temporarily laid off": "unemployed"}),
        Attribute("income", "What is the income of your household in a year?", _INCOMES, "income", incomes),
        Attribute("area", "Where do you live?", ("City", "Suburb", "Town", "Rural area"), "area", _same(("City", "Suburb", "Town", "Rural area"))),
        Attribute("religion", "What is your religion?", faiths, "religion", faith),
        Attribute("ideology", "How would you describe your political views?", ideology, "ideology", _same(ideology)),
        Attribute("party", "Which party do you feel close to?", party, "party", _same(party)),
    )
    return {attribute.name: attribute for attribute in made}


OBJECTIVE = ("education", "marital", "employment", "income", "area")
SUBJECTIVE = (*OBJECTIVE, "religion", "ideology", "party")
POLITICS = ("ideology", "party")


@dataclass(frozen=True)
class Tier:
    """One kind of card: which attributes it shows, who filled them, and whether a text stands on it ("", "hobby": beside the facts, "story": instead)."""

    name: str
    label: str
    filled_by: str
    shows: tuple[str, ...] = ()
    text: str = ""


TIERS = {
    tier.name: tier
    for tier in (
        Tier("meta", "meta: four census facts", "nobody"),
        Tier("objective", "objective: closed attributes", "the model", OBJECTIVE),
        Tier("subjective", "subjective: with views and a hobby", "the model", SUBJECTIVE, "hobby"),
        Tier("descriptive", "descriptive: a narrative", "the model", (), "story"),
        Tier("real_politics", "subjective, real ideology and party", "the model, politics by real respondents", SUBJECTIVE, "hobby"),
        Tier("template", "narrative without a model", "a template", (), "template"),
    )
}
TIER_LADDER = ("meta", "objective", "subjective", "descriptive")
"""The tiers of the paper, in its order: how much of a card a model invents. The other two are ours."""


def draw_people(per_state: int, *, states: Sequence[str] | None = None, seed: int = 42) -> pd.DataFrame:
    """Adults drawn from the census joint, `per_state` from each state: index persona_id, columns state, race, gender, age_band, age (years), education.

    `education` is the census's own; no card shows it unless a model guesses it. The first people of a state stay the same when more are drawn. Every person
    stands for the state's adults alike; states are of equal size here, as in the paper. Raises ValueError for a state that the joint lacks.
    """
    joint = census_joint()
    known = sorted(joint["state"].unique())
    if unknown := [s for s in states or () if s not in known]:
        raise ValueError(f"no census cells for {unknown[0]!r}: states go by their full names, and the joint lacks the District of Columbia")
    parts = []
    for state in states or known:
        cells, rng = joint[joint["state"] == state], np.random.default_rng([seed, zlib.crc32(state.encode())])
        u = rng.random((per_state, 2))
        rows = cells.iloc[np.searchsorted(np.cumsum(cells["n"]) / cells["n"].sum(), u[:, 0], side="right")]
        spans = np.array([AGE_SPANS[band] for band in rows["age"]])
        age = spans[:, 0] + (u[:, 1] * (spans[:, 1] - spans[:, 0] + 1)).astype(int)
        ids = [f"{state.replace(' ', '-')}-{i:04d}" for i in range(per_state)]
        parts.append(rows[["state", "race", "gender", "education"]].assign(age_band=rows["age"].to_numpy(), age=age).set_axis(ids))
    return pd.concat(parts).rename_axis("persona_id")


def census_card(person: Mapping, values: Mapping[str, str | None] | None = None, *, hobby: str = "") -> dict:
    """A card in the fields of `prompts.chat.render_card`: the four census facts, the given attributes (None is left out) and a sentence on a hobby.

    Args: person: a row of `draw_people` (its education is not shown). values: attribute -> option.
    """
    said = {name: value for name, value in (values or {}).items() if value}
    area = {"City": "urban", "Suburb": "suburban", "Town": "town in", "Rural area": "rural"}.get(said.get("area"))
    rest = [said.get(name) for name in ("marital", "religion", "party", "ideology")]
    sentences = [f"{part[0].upper()}{part[1:]}." for part in rest if part] + ([hobby] if hobby else [])
    shown = {"persona_id": person.name if isinstance(person, pd.Series) else person["persona_id"], "age": int(person["age"]), "gender": person["gender"]}
    shown |= {"ethnicity": "of another race" if person["race"] == "Other" else person["race"], "region": person["state"], "country": "USA"}
    more = {"area": area, "occupation": said.get("employment"), "education": said.get("education"), "income_bracket": said.get("income")}
    return shown | {name: value for name, value in more.items() if value} | ({"description": " ".join(sentences)} if sentences else {})


# --- real people's politics ---------------------------------------------------------------------------------------------------------

_MATCHES = (("race", "education", "age"), ("race", "age"), ("race",), ())
_DONORS = 5  # a cell with fewer real respondents is widened


def real_values(names: Sequence[str]) -> pd.DataFrame:
    """What the people of CES 2018 said of these attributes, as options of `tier_attributes` (None where they said nothing that is one), with their census
    attributes (race, gender, age band, education) and `weight`: index persona_id."""
    survey = load_survey("ces_2018")
    known = {name: survey.people[tier_attributes()[name].real].map(tier_attributes()[name].codes) for name in names}
    census = census_attributes(survey).rename(columns={"education": "schooling", "age": "age_band"})
    return pd.DataFrame(known).join(census).assign(weight=survey.people[WEIGHT])


def real_politics(people: pd.DataFrame, education: pd.Series, *, seed: int = 42) -> pd.DataFrame:
    """Ideology and party of a real respondent of the same race, education and age for each person: columns ideology, party, matched ("race, education, age").

    Both come from one respondent, drawn with the survey's weights. Cells with fewer than five respondents are widened to race and age, race, everybody;
    `matched` says how far. Args: people: from `draw_people`. education: what each person's card says (index persona_id).
    """
    donors = real_values(POLITICS).dropna(subset=list(POLITICS)).rename(columns={"schooling": "education", "age_band": "age"})
    wanted = pd.DataFrame({"race": people["race"], "education": education.reindex(people.index), "age": people["age_band"]})
    cells = {columns: _keys(donors, columns).groupby(_keys(donors, columns)).indices for columns in _MATCHES}
    asked = {columns: _keys(wanted, columns) for columns in _MATCHES}
    weights, rows = donors["weight"].to_numpy(dtype=float), []
    for persona_id in people.index:
        near = ((columns, cells[columns].get(asked[columns][persona_id], ())) for columns in _MATCHES)
        columns, fits = next((columns, fits) for columns, fits in near if len(fits) >= _DONORS)
        donor = donors.iloc[drawn_donor(fits, weights, str(persona_id), seed=seed)]
        rows.append({"ideology": donor["ideology"], "party": donor["party"], "matched": ", ".join(columns) or "everybody"})
    return pd.DataFrame(rows, index=people.index)


def drawn_donor(fits: np.ndarray, weights: np.ndarray, person: str, *, seed: int) -> int:
    """One of the rows `fits`, drawn by their survey weights with this person's own random number: whoever else is drawn for changes nothing."""
    u = np.random.default_rng([seed, zlib.crc32(person.encode())]).random()
    return int(fits[np.searchsorted(weights[fits].cumsum() / weights[fits].sum(), u, side="right").clip(max=len(fits) - 1)])


def _keys(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """The cell of each row: the values of its columns in one text."""
    return table[list(columns)].astype(str).agg("|".join, axis=1) if columns else pd.Series("", index=table.index)


# --- a narrative without a model ------------------------------------------------------------------------------------------------------

_DAYS = (
    "{She} gets up at about the same time on most days.", "{She} drinks coffee in the morning and reads the news for a while.",
    "In the afternoon {she} goes to the shop and carries the bags home.", "{She} cooks in the evening and washes up afterwards.",
    "On Saturdays {she} does the laundry.", "{She} has a telephone and looks at it a few times an hour.", "{She} watches television after dinner.",
    "{Her} street has houses on both sides.", "{She} takes the same way to town each time.", "{She} keeps papers in a drawer in the kitchen.",
    "{She} goes to bed around eleven.", "On Sundays {she} stays at home until noon.",
)  # fmt: skip


def template_story(person: Mapping, *, seed: int = 42, sentences: int = 5) -> str:
    """A narrative that no model wrote: the four census facts, then everyday sentences that judge nothing and lean to no side. About sixty words."""
    she, her = ("She", "Her") if person["gender"] == "woman" else ("He", "His")
    race = "" if person["race"] == "Other" else f"{person['race']} "
    name = person.name if isinstance(person, pd.Series) else person["persona_id"]
    days = random.Random(f"template|{seed}|{name}").sample(_DAYS, sentences)
    text = [f"This is a {person['age']}-year-old {race}{person['gender']}.", f"{she} lives in {person['state']}.", *days]
    return " ".join(text).format(She=she, she=she.lower(), Her=her)


def card_of_tier(tier: str, person: Mapping, values: Mapping, *, texts: Mapping[str, str] | None = None, seed: int = 42) -> dict | str | None:
    """One person's card of a tier; None where the tier needs a narrative and there is none (never another card in its place).

    Args: values: attribute -> option; `real_ideology` and `real_party` for the tier of that name. texts: "hobby" and "story" as a model wrote them.
    """
    kind, said = TIERS[tier], texts or {}
    if kind.text == "template":
        return template_story(person, seed=seed)
    if kind.text == "story":
        return said.get("story") or None
    shown = {name: values.get(name) for name in kind.shows}
    if tier == "real_politics":
        shown |= {name: values.get(f"real_{name}") for name in POLITICS}
    return census_card(person, shown, hobby=said.get("hobby", "") if kind.text == "hobby" else "")
