"""Cards for the probe: finding one, rolling a new one, changing one attribute, and saying what cannot be true of one person."""

import random
import re

import pandas as pd

from ..errors import one_line
from ..prompts import chat
from ..world import personas

FIELDS = ("age", "gender", "ethnicity", "country", "region", "area", "occupation", "education", "income_bracket", "household", "values", "traits", "interests")
LISTS = ("values", "traits", "interests")


def all_cards(parts: dict[str, pd.DataFrame]) -> dict[str, dict]:
    """persona_id -> card of everybody in the data set, sorted by id."""
    rows = pd.concat([p[["persona_id", "persona"]] for p in parts.values()]).drop_duplicates("persona_id").sort_values("persona_id")
    return dict(zip(rows["persona_id"], rows["persona"], strict=True))


def find_people(cards: dict[str, dict], text: str = "", **wanted: str) -> list[str]:
    """Ids of the cards in which every word of `text` begins a word ("man" is not in "woman") and that have the `wanted` attributes ("" for any)."""
    words = [re.compile(rf"(?<!\w){re.escape(w)}") for w in text.lower().split()]
    return [
        pid for pid, card in cards.items()
        if all(not v or str(card.get(k)) == v for k, v in wanted.items()) and all(w.search(f"{pid} {chat.render_card(card)}".lower()) for w in words)
    ]  # fmt: skip


def roll(seed: int) -> dict:
    """A new plausible card that is in no data set; the same for the same seed."""
    return {"persona_id": f"r{seed}"} | personas.draw_persona(random.Random(f"probe|{seed}"))


def choices(name: str, card: dict | None = None) -> list:
    """Values that the population knows for an attribute (regions: those of the card's country; occupations sorted). Raises ValueError for an unknown one."""
    pop = personas.population()
    foreign = pop["other_countries"]
    regions = {"USA": list(pop["us_regions"])} | {c: list(e["regions"]) for c, e in foreign.items()}
    at_home = ["White", "Black", "Hispanic", "Asian or other"]
    country = (card or {}).get("country", "USA")
    known = {
        "age": list(range(personas.AGE_RANGE[0], personas.AGE_RANGE[1] + 1)), "gender": ["woman", "man", "nonbinary"],
        "ethnicity": list(foreign[country]["ethnicity"]) if country in foreign else at_home, "country": list(regions),
        "region": regions.get(country, regions["USA"]), "area": list(pop["area"]), "occupation": sorted(pop["occupations"]),
        "education": list(pop["education_levels"]), "income_bracket": list(pop["income_brackets"]),
        "household": [text for texts, _ in personas.HOUSEHOLDS.values() for text in texts], "values": list(pop["values"]),
        "traits": [trait for pair in pop["traits"] for trait in pair], "interests": sorted(i for names in pop["interests"].values() for i in names),
    }  # fmt: skip
    if name not in known:
        raise ValueError(f"unknown attribute '{name}'; choose from {', '.join(known)}")
    return known[name]


def changed(card: dict | str, name: str, value) -> dict:
    """The card with one attribute replaced; lists take "a, b". Raises ValueError for an unknown one, an age that is no number, or a persona in words."""
    if isinstance(card, str):
        raise ValueError("a persona described in words has no attributes to change; pick or roll a card")
    if name == "description":
        return card | {"description": one_line(value)}
    choices(name)
    if name == "age":
        if not str(value).strip().isdigit():
            raise ValueError(f"age must be a whole number, not '{one_line(value)[:40]}'")
        value = int(value)
    elif name in LISTS:
        value = [one_line(v) for v in (value.split(",") if isinstance(value, str) else value) if one_line(v)]
    else:
        value = one_line(value)
    after = card | {name: value}
    if name == "occupation" and value in personas.population()["occupations"]:
        after["category"] = personas.population()["occupations"][value][0]
    return after | {"description": personas.describe(after)} if name == "household" and value else after


def problems(card: dict | str) -> list[str]:
    """What cannot be true of one person, in words; [] for a sound card. Of a description only the attributes that it names are looked at."""
    pop = personas.population()
    if isinstance(card, str):
        card = personas.read_description(card)
    levels, education, country = pop["education_levels"], card.get("education"), card.get("country")
    job = pop["occupations"].get(card.get("occupation"))
    neutral = {"age": job[3] if job else 40, "education": levels[job[1] if job else 2], "household": "", "traits": [], "occupation": ""}
    given = {name: value for name, value in card.items() if value not in ("", None)}
    faults = []
    if education not in levels:
        given["education"] = neutral["education"]
        if education is not None:
            faults.append(f"education '{education}' is not a level this population knows")
    faults += personas.impossible(neutral | given)
    places = choices("region", {"country": country}) if country in choices("country") else []
    if places and card.get("region") and card["region"] not in places:
        faults.append(f"{card['region']} is not a region of {country} here (known: {', '.join(places)})")
    return faults
