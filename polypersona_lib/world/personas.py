"""Personas: who answers. Cards drawn from documented conditional distributions, so that none is impossible.

A card is a plain dict of JSON types (`draw_persona` has its fields). Everything a simulated respondent does follows from `features(card)`.
"""

import json
import math
import random
import re
from collections.abc import Iterable
from functools import cache

from .. import paths
from ..files import read_yaml
from .dataset import apportion

AGE_RANGE = (18, 80)
HOUSEHOLDS = {  # family feature -> (household as the card says it, ways to refer to these people)
    "kids": (("has a partner and two kids", "is raising a daughter alone", "has three kids at home"), ("my kids", "my children", "the kids")),
    "partner": (("is married, no kids at home", "lives with a partner"), ("my partner", "my significant other")),
    "single": (("lives alone", "shares a flat with friends"), ("my friends", "the people close to me")),
    "parents": (("lives with both parents", "still lives at home"), ("my parents", "my folks")),
    "grandkids": (("is married with grandchildren nearby", "is widowed and has two grandchildren"), ("my grandchildren", "the grandkids")),
}
BUDGETS = {
    "low": ("a tight budget", "very little money", "next to nothing"),
    "mid": ("an ordinary income", "an average budget", "a normal salary"),
    "high": ("a comfortable income", "a good income", "a pretty good salary"),
}
STUDIES = {
    "no diploma": ("the few years of school I had", "leaving school early"),
    "high school diploma": ("my high school diploma", "finishing high school"),
    "some college": ("my vocational training", "my college courses"),
    "bachelor's degree": ("my bachelor's degree", "my degree"),
    "graduate degree": ("my graduate degree", "all those years of college"),
}


@cache
def population() -> dict:
    """The distributions in `data/population.yaml`."""
    return read_yaml(paths.POPULATION)


def pick(rng: random.Random, weights: dict):
    names = list(weights)
    return rng.choices(names, [weights[n] for n in names])[0]


def _age_group(age: int) -> str:
    if age < 30:
        return "young"
    return "mid" if age < 55 else "older"


def _tilted(names: Iterable[str], weights: dict, marks: set[str]) -> dict[str, float]:
    """exp of the summed log-weights that the person's `marks` (such as 'age=young') give to each name."""
    return {n: math.exp(sum(w.get(n, 0.0) for mark, w in weights.items() if mark in marks)) for n in names}


def _draw_place(rng: random.Random) -> tuple[str, str, str]:
    pop = population()
    if rng.random() * 100 < pop["us_share"]:
        region = pick(rng, {k: v["share"] for k, v in pop["us_regions"].items()})
        ethnicity = pick(rng, dict(zip(("White", "Black", "Hispanic", "Asian or other"), pop["us_regions"][region]["ethnicity"], strict=True)))
        return "USA", region, ethnicity
    country = pick(rng, {k: v["weight"] for k, v in pop["other_countries"].items()})
    entry = pop["other_countries"][country]
    return country, rng.choice(entry["regions"]), pick(rng, entry["ethnicity"])


def _education_weights(age: int, gender: str, ethnicity: str) -> list[float]:
    pop = population()
    group = next((g for g in pop["age_groups"] if g != "70+" and int(g[:2]) <= age <= int(g[3:])), "70+")
    group = "18-29" if age < 30 else group
    ratio = pop["education_by_ethnicity"].get(ethnicity if ethnicity != "Asian or other" else "Other", [1.0] * 5)
    return [w * r for w, r in zip(pop["education_by_age"][group]["woman" if gender == "woman" else "man"], ratio, strict=True)]


def draw_persona(rng: random.Random, category: str | None = None) -> dict:
    """Draw one plausible card; `category` fixes the kind of occupation (a key of population()['category_personas']).

    Age, gender, ethnicity and education come from their joint distribution and are kept only if they suit the
    occupation (age limits, degrees, share of women), so attributes are associated as in real populations.
    """
    pop = population()
    category = category or pick(rng, pop["category_personas"])
    jobs = {t: o for t, o in pop["occupations"].items() if o[0] == category}
    while True:
        title = rng.choice(sorted(jobs))
        _, edu_low, edu_high, age_low, age_high, women, usual_income, *_ = jobs[title]
        country, region, ethnicity = _draw_place(rng)
        gender = "nonbinary" if rng.random() < 0.015 else "woman" if rng.random() * 100 < women else "man"
        age_group = pick(rng, pop["age_groups"])
        age = rng.randint(*((70, AGE_RANGE[1]) if age_group == "70+" else map(int, age_group.split("-"))))
        education = rng.choices(range(5), _education_weights(age, gender, ethnicity))[0]
        too_young = education >= 3 and age < 21 or education == 4 and age < 24
        if age_low <= age <= age_high and edu_low <= education <= edu_high and not too_young:
            break
    card = {
        "age": age, "gender": gender, "ethnicity": ethnicity, "country": country, "region": region,
        "area": pick(rng, pop["area"] if category != "trade" else {"rural": 30, "suburban": 45, "urban": 25}),
        "occupation": title, "category": category, "education": pop["education_levels"][education],
        "income_bracket": pop["income_brackets"][_draw_income(rng, usual_income, education, age)],
    }  # fmt: skip
    if title == "farmer":
        card["area"] = "rural"
    card["household"] = _draw_household(rng, age, category, title)
    marks = {f"{k}={v}" for k, vs in features(card | {"values": [], "traits": [], "interests": []}).items() for v in vs} | {f"gender={gender}"}
    card["values"] = _draw_two(rng, _tilted(pop["values"], pop["value_weights"], marks))
    card["traits"] = _draw_traits(rng, marks)
    kinds = _draw_two(rng, _tilted(pop["interests"], pop["interest_weights"], marks))
    card["interests"] = [rng.choice(pop["interests"][kind]) for kind in kinds]
    card["description"] = describe(card)
    return card


def _draw_income(rng: random.Random, usual: int, education: int, age: int) -> int:
    return min(4, max(0, round(usual + 0.25 * (education - 2) + (0.3 if 35 <= age <= 60 else -0.1) + rng.gauss(0, 0.6))))


def _draw_two(rng: random.Random, weights: dict[str, float]) -> list[str]:
    first = pick(rng, weights)
    return [first, pick(rng, {k: w for k, w in weights.items() if k != first})]


def _draw_traits(rng: random.Random, marks: set[str]) -> list[str]:
    pop, chosen = population(), []
    for pair in sorted(rng.sample(range(5), 2)):
        first, second = pop["traits"][pair]
        odds = sum(w.get(first, 0.0) - w.get(second, 0.0) for mark, w in pop["trait_weights"].items() if mark in marks)
        chosen.append(first if rng.random() < 1 / (1 + math.exp(-odds)) else second)
    return chosen


def _draw_household(rng: random.Random, age: int, category: str, title: str) -> str:
    if title == "stay-at-home parent":
        family = "kids"
    elif age < 26:
        family = pick(rng, {"parents": 4, "single": 5, "partner": 1} if category == "student" else {"parents": 4, "single": 4, "partner": 2})
    elif age < 52:
        family = pick(rng, {"kids": 5, "partner": 3, "single": 2.5})
    else:
        family = pick(rng, {"partner": 3, "single": 2, "grandkids": 5 if age >= 60 else 1.5, "kids": 1 if age < 56 else 0})
    options = HOUSEHOLDS[family][0]
    if title == "stay-at-home parent":
        options = ("has a partner and two kids", "has three kids at home")
    return rng.choice([o for o in options if ("married" not in o or age >= 24) and ("friends" not in o or age < 40)])


def describe(card: dict) -> str:
    """The card's one-line description: who this person shares the days with."""
    return card["household"][0].upper() + card["household"][1:] + "."


@cache
def _interest_kinds() -> dict[str, str]:
    return {name: kind for kind, names in population()["interests"].items() for name in names}


def features(card: dict) -> dict[str, frozenset[str]]:
    """What conditions and attitude models see of a card: condition key -> the values that hold (empty when unknown)."""
    pop = population()
    income = {"low": "low", "lower-middle": "low", "middle": "mid", "upper-middle": "high", "high": "high"}.get(card.get("income_bracket"))
    levels = pop["education_levels"]
    edu = ("school", "school", "college", "degree", "degree")[levels.index(card["education"])] if card.get("education") in levels else None
    family = next((f for f, (texts, _) in HOUSEHOLDS.items() if card.get("household") in texts), None)
    single = {
        "job": card.get("category"), "age": _age_group(card["age"]) if card.get("age") else None, "income": income, "edu": edu,
        "area": card.get("area"), "family": family, "voice": voice(card),
        "country": {"USA": "us", "United Kingdom": "uk"}.get(card.get("country"), (card.get("country") or "").lower()),
    }  # fmt: skip
    kinds = (_interest_kinds().get(i) for i in card.get("interests", ()))
    return {
        "value": frozenset(card.get("values", ())), "trait": frozenset(card.get("traits", ())),
        "interest": frozenset(k for k in kinds if k),
    } | {key: frozenset([value] if value else []) for key, value in single.items()}  # fmt: skip


def voice(card: dict) -> str:
    """The way of speaking that follows from a card: formal, casual, warm or plain."""
    traits, age = set(card.get("traits", ())), card.get("age") or 40
    if card.get("education") in ("bachelor's degree", "graduate degree") and traits & {"organised", "reserved"}:
        return "formal"
    if "spontaneous" in traits or (age < 25 and "organised" not in traits) or ("blunt" in traits and "reserved" not in traits):
        return "casual"
    return "warm" if traits & {"warm", "outgoing"} else "plain"


def article(noun: str) -> str:
    """`noun` with its indefinite article ('an IT support specialist', 'a university lecturer')."""
    vowel = noun[0].lower() in "aeio" or noun.lower().startswith(("unem", "under", "un-")) or noun[:2] in ("HR", "MR")
    return f"{'an' if vowel else 'a'} {noun}"


def slots(card: dict, rng: random.Random) -> dict[str, str]:
    """Fill every persona slot of the phrase bank from a card; synonyms are chosen by `rng`."""
    pop = population()
    job = pop["occupations"].get(card["occupation"]) or [None] * 7 + ["work", "getting through the list", "colleagues"]
    feats, interests, values = features(card), card["interests"], [pop["values"].get(v, v) for v in card["values"]]
    decade = card["age"] // 10 * 10
    named = {10: "teens", 20: "twenties", 30: "thirties", 40: "forties", 50: "fifties", 60: "sixties", 70: "seventies", 80: "eighties"}[decade]
    stage = "late" if card["age"] % 10 >= 7 else "early" if card["age"] % 10 <= 2 else ""
    family = next(iter(feats["family"]), "single")
    return {
        "a_job": article(card["occupation"]), "place": job[7], "task": job[8], "people": job[9],
        "interest": interests[0], "interest2": interests[-1], "value": values[0], "value2": values[-1],
        "trait": card["traits"][0], "trait2": card["traits"][-1], "region": card["region"],
        "area": {"rural": rng.choice(["the countryside", "a small town"]), "suburban": "the suburbs", "urban": rng.choice(["the city", "a big city"])}[card["area"]],  # noqa: E501
        "age": str(card["age"]), "decade": f"my {stage} {named}".replace("  ", " ") if rng.random() < 0.6 else f"my {named}",
        "study": rng.choice(STUDIES[card["education"]]), "budget": rng.choice(BUDGETS[next(iter(feats["income"]), "mid")]),
        "family": rng.choice(HOUSEHOLDS[family][1]),
    }  # fmt: skip


def impossible(card: dict) -> list[str]:
    """Combinations that cannot be true of one person, in words; empty for a sound card."""
    problems, pop = [], population()
    age, edu = card["age"], pop["education_levels"].index(card["education"])
    if not AGE_RANGE[0] <= age <= AGE_RANGE[1]:
        problems.append(f"age {age} is outside {AGE_RANGE[0]}-{AGE_RANGE[1]}")
    job = pop["occupations"].get(card["occupation"])
    if job and not job[1] <= edu <= job[2]:
        problems.append(f"{article(card['occupation'])} with {card['education']}")
    if job and not job[3] <= age <= job[4]:
        problems.append(f"{article(card['occupation'])} aged {age}")
    if edu >= 3 and age < 21 or edu == 4 and age < 24:
        problems.append(f"{card['education']} at {age}")
    if "grandchildren" in card["household"] and age < 40:
        problems.append(f"grandchildren at {age}")
    for first, second in pop["traits"]:
        if {first, second} <= set(card["traits"]):
            problems.append(f"both {first} and {second}")
    return problems


def draw_population(seed: int, counts: dict[str, int] | None = None) -> list[dict]:
    """Draw all personas (default: the 433, category by category) with ids `p001`..., shuffled; a pure function of `seed`."""
    rng = random.Random(f"personas|{seed}")
    counts = counts or population()["category_personas"]
    cards, seen = [], set()
    for category, number in counts.items():
        made = 0
        while made < number:
            card = draw_persona(rng, category)
            key = json.dumps(card, sort_keys=True)
            if key not in seen:
                seen.add(key)
                cards.append(card)
                made += 1
    rng.shuffle(cards)
    return [{"persona_id": f"p{i + 1:03d}"} | card for i, card in enumerate(cards)]


def fresh_personas(count: int, seed: int) -> list[dict]:
    """Personas in no split, for administrations: ids `f001`...; the same for every model of a run."""
    shares = population()["category_personas"]
    counts = dict(zip(shares, apportion(count, list(shares.values())), strict=True))
    return [card | {"persona_id": f"f{i + 1:03d}"} for i, card in enumerate(draw_population(seed + 7919, counts))]


_CATEGORY_WORDS = {
    "student": r"\b(student|ph\.?d\.? candidate|undergraduate|freshman|sophomore|pupil)\b",
    "educator": r"\b(teacher|professor|lecturer|educator|librarian|tutor|instructor|principal)\b",
    "health": r"\b(nurse|doctor|physician|surgeon|pharmacist|therapist|midwife|paramedic|dentist|psychiatrist)\b",
    "technical": r"\b(engineer|developer|programmer|scientist|technician|data analyst|researcher|IT )",
    "trade": r"\b(farmer|plumber|electrician|carpenter|mechanic|driver|builder|welder)\b",
    "service": r"\b(chef|cook|waiter|waitress|barista|hairdresser|receptionist|shop|police|firefighter|realtor|real estate)\b",
    "home": r"\b(retired|retiree|veteran|stay-at-home|homemaker|grandmother|grandfather|caregiver|unemployed)\b",
    "professional": r"\b(lawyer|attorney|manager|accountant|journalist|designer|banker|officer|consultant|executive|entrepreneur|writer|novelist"
    r"|artist|architect)\b",
}


def read_description(text: str) -> dict:
    """Attributes that a free-text description names outright: any of age, gender, category, occupation, interests, region."""
    pop, attributes, lower = population(), {}, text.lower()
    if match := re.search(r"\b(1[89]|[2-7]\d|80)[- ]year[- ]old\b", lower):
        attributes["age"] = int(match.group(1))
    women, men = r"\b(woman|mother|wife|girl|grandmother|actress|waitress|she|her)\b", r"\b(man|father|husband|boy|grandfather|actor|waiter|he|his)\b"
    genders = {g for g, pattern in (("woman", women), ("man", men)) if re.search(pattern, lower)}
    if len(genders) == 1:
        attributes["gender"] = genders.pop()
    title = next((t for t in sorted(pop["occupations"], key=len, reverse=True) if re.search(rf"\b{re.escape(t.lower())}\b", lower)), None)
    if title:
        attributes |= {"occupation": title, "category": pop["occupations"][title][0]}
    elif category := next((c for c, pattern in _CATEGORY_WORDS.items() if re.search(pattern, lower)), None):
        attributes["category"] = category
    interests = [i for names in pop["interests"].values() for i in names if re.search(rf"\b{re.escape(i)}\b", lower)]
    if interests:
        attributes["interests"] = (interests * 2)[:2]
    regions = [r for r in pop["us_regions"] if re.search(rf"\b{re.escape(r.lower())}\b", lower)]
    if regions:
        attributes |= {"region": regions[0], "country": "USA"}
    return attributes
