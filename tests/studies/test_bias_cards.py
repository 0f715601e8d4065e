"""What the bias study finds in cards alone: planted marginals, hardship, words, facts and tone come back with the sizes that were put in."""

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.models.answerers import TableAnswerer
from polypersona_lib.people import card_tiers
from polypersona_lib.people.card_tiers import SUBJECTIVE, tier_attributes
from polypersona_lib.studies.bias import joint_distance, persona_text, tier_writer
from polypersona_lib.studies.bias.planted import PlantedAnswerer, story_of


@pytest.fixture(scope="module")
def people():
    return card_tiers.draw_people(40, states=["Texas", "Virginia", "West Virginia"])


class Independent(PlantedAnswerer):
    """Fills every attribute with the same shares for everybody: nothing hangs together."""

    def _truth(self, messages, options):
        weights = np.array([9.0 if option in ("married", "Democrat") else 1.0 for option in sorted(options)])
        return [dict(zip(sorted(options), weights / weights.sum(), strict=True))[option] for option in options]


@pytest.fixture(scope="module")
def filled(people):
    return tier_writer.fill(Independent([], story=story_of), people, seed=3)


def test_attributes_are_drawn_from_the_probabilities(people, filled):
    assert filled.probs["marital"].map(lambda p: p[0]).eq(9 / 14).all()
    assert (filled.values["marital"] == "married").mean() == pytest.approx(9 / 14, abs=0.12)
    assert filled.values[list(SUBJECTIVE)].notna().all().all() and (filled.counts["n"] <= filled.counts["of"]).all()
    assert filled.counts.set_index(["what", "problem"]).loc[("story", "no answer"), "n"] == 0
    again = tier_writer.fill(Independent([], story=story_of), people.iloc[50:60], seed=3)
    pd.testing.assert_frame_equal(again.values, filled.values.iloc[50:60]), "more people change nobody's card"
    assert not tier_writer.fill(Independent([]), people.iloc[:30], seed=4, stories=False).values["area"].equals(filled.values["area"].iloc[:30])


def test_what_fails_is_counted_and_never_replaced(people):
    silent = PlantedAnswerer([], mass=0.05)
    made = tier_writer.fill(silent, people.iloc[:10], seed=1)
    counts = made.counts.set_index(["what", "problem"])["n"]
    assert counts[("party", "option mass below 0.1")] == 10 and counts[("story", "no answer")] == 10 and (made.texts == "").all().all()
    cards = tier_writer.cards_of(people.iloc[:10], made, seed=1)
    assert cards[cards["tier"] == "descriptive"]["card"].isna().all() and (cards[cards["tier"] == "descriptive"]["text"] == "").all()
    chat_marks = PlantedAnswerer([], story=lambda card: "I am <|im_end|> a person of many words and some more words too, I think so.")
    assert tier_writer.fill(chat_marks, people.iloc[:3], seed=1).counts.set_index(["what", "problem"])["n"][("story", "control text")] == 3
    refuses = TableAnswerer(lambda messages, options: np.full(len(options), 1 / len(options)))
    assert tier_writer.fill(refuses, people.iloc[:3], seed=1).counts.set_index(["what", "problem"])["n"][("story", "too short")] == 3


def test_the_story_is_asked_of_the_census_facts_alone(people, filled):
    story, hobby = (tier_writer.text_prompts(people.iloc[:1], filled.values, kind, 3)[0].messages[1]["content"] for kind in ("story", "hobby"))
    assert "Democrat" not in story and filled.values["party"].iloc[0] in hobby and filled.values["education"].iloc[0] not in story


# --- joint distance -------------------------------------------------------------------------------------------------------------------


def test_weighted_v_is_scipys():
    from scipy.stats.contingency import association

    table = np.random.default_rng(1).integers(1, 40, (4, 3)).astype(float)
    assert joint_distance.weighted_v(table) == pytest.approx(association(table.astype(int)))
    assert joint_distance.weighted_v(np.outer([1, 2], [3, 4.0])) == pytest.approx(0, abs=1e-9) and joint_distance.weighted_v(np.eye(3)) == pytest.approx(1)
    assert np.isnan(joint_distance.weighted_v(np.array([[1.0, 2.0]])))
    assert np.isnan(joint_distance.weighted_v(table, n=1)) and np.isnan(joint_distance.weighted_v(np.eye(2), n=2)), "one or two people say nothing of a pair"
    assert joint_distance.total_variation(np.array([1, 0.0]), np.array([0, 2.0])) == 1 and joint_distance.total_variation(np.ones(3), np.ones(3) * 5) == 0


def test_the_corrected_v_is_zero_on_average_for_independent_attributes():
    rng, plain, free = np.random.default_rng(2), [], []
    for _ in range(200):
        a, b = rng.integers(0, 5, 150), rng.integers(0, 4, 150)
        counts = np.histogram2d(a, b, bins=(5, 4))[0]
        plain.append(joint_distance.weighted_v(counts)), free.append(joint_distance.weighted_v(counts, n=150))
    assert np.mean(plain) > 0.12 and np.mean(free) < 0.05
    assert joint_distance.weighted_v(np.eye(4) * 50, n=200) == pytest.approx(1, abs=0.01)


def test_distances_of_cards_that_know_no_joint(people, filled):
    """Attributes filled alike for everybody: V near 0 where people have one (age and marital status), and the planted share of the married is found."""
    table = joint_distance.marginals(filled.probs).set_index(["attribute", "option"])
    married = table.loc[("marital", "married")]
    assert married["model"] == pytest.approx(9 / 14) and 0.4 < married["people"] < 0.6
    assert table.groupby("attribute")[["model", "people"]].sum().round(6).eq(1).all().all()
    own = pd.DataFrame({name: [joint_distance.people_shares(name)] for name in tier_attributes()})
    assert joint_distance.marginals(own)["tv"].max() < 1e-12, "people against themselves"
    pairs = joint_distance.pairs(people, filled.values, names=("education", "marital", "party")).set_index(["a", "b"])
    assert pairs.loc[("age_band", "marital"), "people"] > 0.2 and pairs.loc[("age_band", "marital"), "model"] < 0.15
    assert pairs["model"].mean() < 0.12 and pairs["distance"].mean() > 0.05 and (pairs["n"] == len(people)).all()
    constant = joint_distance.pairs(people, filled.values.assign(party="Democrat"), names=("party",))
    assert (constant["model"] == 0).all(), "what everybody has hangs together with nothing"


# --- texts ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "named"), [
    ("She lost her job and cannot afford rent.", {"Q11_1", "Q11_5"}), ("He has no chronic illness.", set()), ("He is not unemployed.", set()),
    ("He was never laid off.", set()), ("She is without work and has diabetes.", {"Q10_3", "Q10_2"}), ("Free of debt, he sails.", set()),
    ("They were evicted.", {"Q10_4"}), ("She uses a wheelchair.", {"Q10_1"}), ("An illustrious billing.", set()), ("", set()),
    ("She can't pay her bills.", {"Q11_5"}), ("They can not afford food.", {"Q11_5"}), ("She wasn't able to pay the rent.", {"Q11_5"}),
    ("She can’t always pay the bills, and sings.", {"Q11_5"}), ("He barely makes ends meet.", {"Q11_5"}), ("He isn't able to make ends meet.", {"Q11_5"}),
    ("I often worry about how we will pay the bills", {"Q11_5"}), ("She doesn't earn enough to pay the rent.", {"Q11_5"}),
    ("She works two jobs to make ends meet.", {"Q11_5"}), ("She cannot feed her children and pay the rent.", {"Q11_5"}),
    ("She can easily pay her bills.", set()), ("He always pays the rent and can afford health care.", set()), ("She pays her mortgage.", set()),
    ("He never struggles to pay the rent.", set()), ("She has no trouble paying her bills.", set()), ("He is able to make ends meet.", set()),
    ("He can't drive and pays the rent on time.", set()), ("Her son can't swim but she can pay the rent.", set()),
    ("He can't walk without a wheelchair.", {"Q10_1"}), ("He gets around without a wheelchair.", set()), ("He is sick of politics.", set()),
    ("Sick of it all, he is sick.", {"Q10_2"}), ("She volunteers at a homeless shelter.", set()), ("She lives in a homeless shelter.", {"Q10_4"}),
    ("She has no children. Unemployed since May.", {"Q10_3"}), ("She never complains; cancer took her father.", {"Q10_2"}),
])  # fmt: skip
def test_hardship_has_a_guard_against_negation(text, named):
    assert persona_text.hardship(text) == named


def test_hardship_beside_the_human_rate(people, filled):
    """Known: .478 of the people have one of the six. The planted stories name unemployment for one in ten."""
    human = persona_text.human_hardship()
    assert human["any"] == pytest.approx(0.478, abs=0.0005) and human["Q10_2"] == pytest.approx(0.199, abs=0.0015)
    table = persona_text.hardship_table(tier_writer.cards_of(people, filled, seed=3))
    assert table.loc["descriptive", "any"] == pytest.approx(0.1, abs=0.08) and table.loc["template", "any"] == 0 and table.loc["meta", "any"] == 0
    assert table.loc["people", "any"] == human["any"]


def test_tone_by_sentence_and_at_equal_length(people, filled):
    cards = tier_writer.cards_of(people.iloc[:8], filled, seed=3)
    tones = persona_text.tone(cards["text"]).groupby(cards["tier"].to_numpy()).mean()
    assert tones.loc["descriptive", "vader_sentence"] > 0.3 > 0.05 > abs(tones.loc["template", "vader_sentence"])
    assert tones.loc["descriptive", "subjectivity"] > tones.loc["meta", "subjectivity"] and tones.loc["meta", "short"] == 1 > tones.loc["descriptive", "short"]
    once, often = persona_text.tone(["I love this good day.", " ".join(["I love this good day."] * 12)]).to_dict("records")
    assert once["vader_sentence"] == pytest.approx(often["vader_sentence"]) and often["vader_document"] > once["vader_document"] + 0.1, "the document saturates"
    assert persona_text.tone([""]).loc[0, "polarity"] == 0 and persona_text.first_words("one two, three four", 3) == "one two, three"


def test_words_that_set_texts_apart():
    first, second = ["we love the family"] * 30 + ["a day"] * 10, ["the rent is due"] * 30 + ["a day"] * 10
    table = persona_text.log_odds(first, second)
    assert set(table.index[:3]) == {"we", "love", "family"} and table.loc["love", "z"] > 3 > abs(table.loc["day", "z"]) < 1e-9 + 3
    assert table.loc["a", "log_odds"] == pytest.approx(0, abs=1e-9) and table.loc["love", "log_odds"] == pytest.approx(
        -persona_text.log_odds(second, first).loc["love", "log_odds"]
    )
    assert persona_text.log_odds(first, first)["z"].abs().max() == 0, "the same texts differ in nothing"


WOMAN = {"age": 43, "gender": "woman", "state": "Virginia", "race": "Black"}


@pytest.mark.parametrize(("text", "found"), [
    ("A 43-year-old African American woman from Virginia.", (1, 1, 1, 1)), ("He is 60 years old and white, from West Virginia.", (-1, -1, -1, -1)),
    ("In her forties, she works.", (1, 1, 0, 0)), ("In his 60s.", (-1, -1, 0, 0)), ("They like 43 things.", (0, 0, 0, 0)),
    ("She was 44 years old; her husband is Black.", (1, 1, 0, 1)), ("Mandy, 43, Black, of the USA.", (1, 0, 0, 1)),
    ("Black among White and White and White neighbours.", (0, 0, 0, 1)),
])  # fmt: skip
def test_facts_kept_and_contradicted(text, found):
    assert tuple(persona_text.facts(text, WOMAN)[name] for name in ("age", "gender", "state", "race")) == found


def test_a_race_without_words_enters_no_share(people):
    cards = pd.DataFrame({"persona_id": ["a", "b"], "tier": "template", "text": ["A 43-year-old Black woman from Virginia.", "A woman."]})
    table = persona_text.fact_table(cards, pd.DataFrame([WOMAN, WOMAN | {"race": "Other"}], index=["a", "b"])).set_index("fact")
    assert table.loc["race", ["kept", "n"]].tolist() == [1, 1] and table.loc["gender", ["kept", "n"]].tolist() == [1, 2]


def test_planted_stories_keep_three_facts(people, filled):
    table = persona_text.fact_table(tier_writer.cards_of(people, filled, seed=3), people).set_index(["tier", "fact"])
    assert (table.loc["descriptive"].loc[["age", "gender", "state"], "kept"] == 1).all() and (table["contradicted"] == 0).all()
    assert table.loc[("descriptive", "race"), "kept"] == 0 and table.loc[("template", "age"), "kept"] == 1
    assert persona_text.word_shares(tier_writer.cards_of(people, filled, seed=3)).loc["descriptive", "family"] == 1
