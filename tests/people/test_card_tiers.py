"""People from the census joint and their six cards: shares as in the census, the same person in every card, real politics from people alike."""

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.people import card_tiers
from polypersona_lib.people.card_tiers import OBJECTIVE, POLITICS, SUBJECTIVE, TIER_LADDER, TIERS
from polypersona_lib.people.places import census_joint, hospital_items, hospital_shares
from polypersona_lib.prompts.chat import render_card
from polypersona_lib.texts import WORD, sentences, sentiment


@pytest.fixture(scope="module")
def people():
    return card_tiers.draw_people(40, states=["Maryland", "Wyoming", "California"], seed=7)


@pytest.fixture(scope="module")
def everything():
    return {name: attribute.options[0] for name, attribute in card_tiers.tier_attributes().items()} | {
        "real_party": "Republican",
        "real_ideology": "conservative",
    }


def test_people_are_those_of_the_census():
    """Shares of race x age in 4,000 draws lie within sampling noise of the joint (chi-square of all cells)."""
    from scipy.stats import chi2

    drawn, joint = card_tiers.draw_people(4000, states=["Maryland"]), census_joint()
    joint = joint[joint["state"] == "Maryland"].rename(columns={"age": "age_band"})
    expected = joint.groupby(["race", "age_band"])["n"].sum() / joint["n"].sum() * len(drawn)
    seen = drawn.groupby(["race", "age_band"]).size().reindex(expected.index, fill_value=0)
    assert ((seen - expected) ** 2 / expected).sum() < chi2.ppf(0.999, len(expected) - 1)
    low, high = (drawn["age_band"].map(lambda band, end=end: card_tiers.AGE_SPANS[band][end]) for end in (0, 1))
    assert drawn["age"].between(low, high).all() and drawn.loc[drawn["age_band"] == "18-29", "age"].nunique() == 12


def test_more_people_or_other_states_change_nobody(people):
    more = card_tiers.draw_people(50, states=["California", "Maryland"], seed=7)
    pd.testing.assert_frame_equal(people.loc[people["state"] == "Maryland"], more.loc[people.index[people["state"] == "Maryland"]])
    assert not card_tiers.draw_people(40, states=["Maryland"], seed=8)["age"].equals(people["age"].iloc[:40])
    assert card_tiers.draw_people(1)["state"].nunique() == 50
    with pytest.raises(ValueError, match="no census cells for 'Puerto Rico'"):
        card_tiers.draw_people(1, states=["Puerto Rico"])


def test_options_cover_what_real_people_said():
    """Every code leads to an option, every option has real people, and what is left out of an attribute is less than a tenth of those who answered."""
    for name, attribute in card_tiers.tier_attributes().items():
        real = card_tiers.real_values([name])[name]
        assert set(attribute.codes.values()) == set(attribute.options) == set(real.dropna()), name
        assert real.isna().mean() < 0.15, name
    assert {name for name in card_tiers.tier_attributes()} == set(SUBJECTIVE) and set(OBJECTIVE) < set(SUBJECTIVE)


def test_each_tier_shows_what_it_says(people, everything):
    person = people.iloc[0]
    texts = {"story": "A story.", "hobby": "I read novels."}
    cards = {tier: card_tiers.card_of_tier(tier, person, everything, texts=texts) for tier in TIERS}
    assert render_card(cards["meta"]) == f"{person['gender']}, {person['age']}, {person['race']}, Maryland, USA."
    shown = {tier: {n for n, a in card_tiers.tier_attributes().items() if a.options[0].lower() in render_card(cards[tier]).lower()} for tier in TIERS}
    assert not shown["meta"] and shown["objective"] >= set(OBJECTIVE) - {"area"} and not shown["objective"] & set(POLITICS)
    assert "urban" in render_card(cards["objective"]) and "I read novels." not in render_card(cards["objective"])
    assert set(SUBJECTIVE) - {"area"} <= shown["subjective"] and "I read novels." in render_card(cards["subjective"])
    real = render_card(cards["real_politics"])
    assert "Republican" in real and "Conservative." in real and "Democrat" not in real
    assert render_card(cards["subjective"]).replace("Democrat. Very liberal.", "X") == real.replace("Republican. Conservative.", "X"), (
        "only the politics differ"
    )
    assert cards["descriptive"] == "A story." and card_tiers.card_of_tier("descriptive", person, everything) is None, "no other card takes its place"
    assert list(TIERS)[:4] == list(TIER_LADDER)


def test_a_missing_attribute_is_no_field(people):
    made = card_tiers.census_card(people.iloc[0], {"education": None, "marital": "married"})
    assert "education" not in made and made["description"] == "Married."


def test_the_template_is_about_the_person_and_judges_nothing(people):
    stories = [card_tiers.template_story(row) for _, row in people.iterrows()]
    assert all(str(row["age"]) in s and row["state"] in s for s, (_, row) in zip(stories, people.iterrows(), strict=True))
    assert len(set(stories)) == len(stories) and np.mean([len(WORD.findall(s)) for s in stories]) > 40
    assert abs(np.mean([sentiment(part) for s in stories for part in sentences(s)])) < 0.02
    assert stories[0] == card_tiers.template_story(people.iloc[0])


def test_real_politics_come_from_people_alike(people):
    """The share of Democrats among donors of a large cell is that of the cell, weighted; small cells are widened and say so."""
    black = people.iloc[[0]].assign(race="Black", age_band="30-39")
    many = pd.concat([black] * 400).set_axis([f"p{i}" for i in range(400)])
    drawn = card_tiers.real_politics(many, pd.Series("some college", index=many.index))
    donors = card_tiers.real_values(POLITICS).dropna(subset=list(POLITICS))
    cell = donors[(donors["race"] == "Black") & (donors["age_band"] == "30-39")]
    cell = cell[cell["schooling"] == "some college"] if (cell["schooling"] == "some college").sum() >= 5 else cell
    true = cell.loc[cell["party"] == "Democrat", "weight"].sum() / cell["weight"].sum()
    assert (drawn["party"] == "Democrat").mean() == pytest.approx(true, abs=0.08)
    assert drawn["matched"].nunique() == 1 and drawn["matched"].iloc[0].startswith("race")
    unknown = card_tiers.real_politics(many.iloc[:3].assign(race="unknown"), pd.Series("some college", index=many.index))
    assert (unknown["matched"] == "everybody").all() and unknown[list(POLITICS)].notna().all().all()


def test_hospital_items_are_shares_of_every_state():
    shares = hospital_shares()
    assert len(shares) == 51 * 6 and np.allclose(shares.sum(axis=1), 1) and {item.column for item in hospital_items()} == set(shares.index.get_level_values(1))
    assert shares.groupby("measure")[2].mean().loc["H_COMP_1"] == pytest.approx(0.79, abs=0.02), "most patients: nurses always communicate well"
    assert not any(item.lean for item in hospital_items())
