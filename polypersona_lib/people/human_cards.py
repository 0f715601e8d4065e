"""A respondent of a human survey as a persona card, and the groups that respondents belong to. Only what they said: nothing is drawn, guessed or filled in."""

import pandas as pd

from ..survey.subgroups import BANDS, region_of
from .human_surveys import HumanSurvey

AREAS = {"City": "urban", "Suburb": "suburban", "Town": "town in", "Rural area": "rural"}
CARD_FIELDS = ("age", "gender", "ethnicity", "region", "area", "occupation", "education", "income_bracket", "description")  # what a card here can hold
SCHOOL = ("high school or less", "no diploma", "high school diploma", "8 grades or less", "some high school")
COLLEGE = ("some college", "2-year college degree")
INCOME_BANDS = {"nonvoters_2020": (40_000, 125_000), "ces_2018": (40_000, 120_000), "anes_1996": (20_000, 60_000)}  # where the middle begins and ends, dollars
_UNNAMED_STATES = ("not sure", "other")


def card_of(survey: HumanSurvey, persona_id: str, *, politics: bool = False) -> dict:
    """A respondent's card, in the fields that `prompts.chat.render_card` reads. What the respondent did not say, or was not asked, is no field of the card.

    age, gender (woman, man), ethnicity (the survey's race; Hispanic for everybody who said so), country (USA: all three surveys are of the United States),
    region (the state), area (City, Suburb, Town, Rural area), occupation (what a person of the CES said of employment), education, income_bracket (dollars a
    year), and description (marital status). Values, traits and interests were not asked, so no card has them.
    Args: politics: adds party and ideology to the description: the largest single lever on a political answer, so it is never there unasked.
    """
    said = survey.people.loc[persona_id].dropna().to_dict()
    card = {"persona_id": persona_id, "age": int(said["age"]), "country": "USA"}
    hispanic = said.get("hispanic") == "Hispanic"
    fields = {
        "gender": said.get("gender"), "ethnicity": "Hispanic" if hispanic else said.get("race"), "region": said.get("state"),
        "area": AREAS.get(said.get("area")), "occupation": _named(said.get("employment")), "education": said.get("education"),
        "income_bracket": said.get("income"), "description": _description(said, politics),
    }  # fmt: skip
    return card | {name: value for name, value in fields.items() if value}


def _named(value: str | None) -> str | None:
    """`value`, or None for an answer that names nothing."""
    return None if value in _UNNAMED_STATES else value


def _description(said: dict, politics: bool) -> str:
    """Sentences on what a card has no field for: marital status and, if asked for, party and ideology."""
    parts = [said.get("marital")]
    if politics:
        parts += [_named(said.get("party_strength", said.get("party"))), _named(said.get("ideology"))]
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)


def human_cards(survey: HumanSurvey, *, politics: bool = False) -> list[dict]:
    """The cards of all respondents, in the survey's order."""
    return [card_of(survey, persona_id, politics=politics) for persona_id in survey.people.index]


def human_groups(survey: HumanSurvey) -> pd.DataFrame:
    """The groups each respondent belongs to, for `subgroups`: index persona_id, a categorical column a variable, empty where a person did not say.

    Columns: those of `subgroups.BANDS` that the survey asked, and race, party and ideology in the survey's own words. Income bands are `INCOME_BANDS`: they cut
    the survey's own brackets, so "low" is not the same sum in two surveys.
    """
    people = survey.people
    groups = {"age": pd.cut(people["age"], [0, 29, 54, 200], labels=list(BANDS["age"])).astype(object)}
    groups |= {"gender": people["gender"]} if "gender" in people else {}
    groups["education"] = people["education"].map(lambda e: "school" if e in SCHOOL else "college" if e in COLLEGE else "degree", na_action="ignore")
    groups["income"] = people["income"].map(lambda words: _income_band(words, *INCOME_BANDS[survey.name]), na_action="ignore")
    groups |= {"region": people["state"].map(region_of)} if "state" in people else {}
    groups |= {name: people[name] for name in ("race", "party", "ideology") if name in people}
    table = pd.DataFrame(groups, index=people.index)
    return table.apply(lambda column: pd.Categorical(column, BANDS.get(column.name) or sorted(column.dropna().unique())))


def _income_band(words: str, middle: int, high: int) -> str:
    """low, middle or high, by the lower end of a bracket in words ("$40,000-75,000", "less than $40,000")."""
    least = 0 if words.startswith("less than") else int(words.split("-")[0].split()[0].strip("$").replace(",", ""))
    return "low" if least < middle else "middle" if least < high else "high"
