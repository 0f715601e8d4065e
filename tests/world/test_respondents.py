"""The simulated respondents, the control rows and the administration, each against something known."""

import json
import random
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from polypersona_lib import resampling
from polypersona_lib.config import RunConfig
from polypersona_lib.scoring import administration, option_labels
from polypersona_lib.world import controls, personas, respondents
from polypersona_lib.world.questions import DEFAULT_OPTIONS, load_questions
from polypersona_lib.world.simulation import simulate_records

QUESTIONS = load_questions()
CLOSED = [q for q in QUESTIONS.values() if q.options]


@pytest.fixture(scope="module")
def cards():
    return personas.draw_population(3, {c: 3 for c in personas.population()["category_personas"]})


@pytest.mark.parametrize("question", CLOSED[::6], ids=lambda q: q.id)
def test_a_standard_normal_population_chooses_the_intended_shares(question):
    theta = np.random.default_rng(0).standard_normal(40_000) * question.key
    shares = respondents.option_probabilities(question, theta).mean(0) * 100
    assert shares == pytest.approx(np.array(question.marginals), abs=1.0)


@pytest.mark.parametrize("question", CLOSED[::6], ids=lambda q: q.id)
def test_more_of_the_construct_means_higher_options_unless_reverse_keyed(question):
    scale = np.arange(len(question.options))
    low, high = (respondents.option_probabilities(question, t) @ scale for t in (-2.0, 2.0))
    assert (high > low) == (question.key == 1)
    assert respondents.option_probabilities(question, 0.3).sum() == pytest.approx(1)


def test_attitudes_are_standardised_and_stay_with_the_respondent(cards):
    rng = random.Random("check")
    drawn = [personas.draw_persona(rng) | {"persona_id": f"x{i}"} for i in range(1500)]
    for construct in respondents.attitude_model()["weights"]:
        values = [respondents.true_attitude(c, construct, 1) for c in drawn]
        assert np.mean(values) == pytest.approx(0, abs=0.12) and np.std(values) == pytest.approx(1, abs=0.08)
    assert respondents.true_attitude(cards[0], "life_satisfaction", 1) == respondents.true_attitude(dict(cards[0]), "life_satisfaction", 1)


def test_five_constructs_have_three_closed_items_one_of_them_reverse_keyed():
    table = pd.DataFrame([{"construct": q.construct, "key": q.key} for q in CLOSED])
    found = [c for c, part in table.groupby("construct") if len(part) >= 3 and (part["key"] == -1).any()]
    assert len(found) >= 5


def test_an_answer_is_a_function_of_person_question_seed_and_draw(cards):
    say = respondents.Speaker().answer
    q = QUESTIONS["finance.likert.1"]
    first, again = say(cards[0], q, seed=1), say(cards[0], q, seed=1)
    assert first == again and first.theta == say(cards[0], q, seed=1, draw=1).theta
    assert first.option == say(cards[0], q, seed=1, wording=1).option
    assert say(cards[0], q, seed=1, option=4).option == 4


def test_no_slot_is_left_and_conditions_are_met(cards):
    speaker = respondents.Speaker()
    for card in cards[:8]:
        features = personas.features(card)
        for q in QUESTIONS.values():
            answer = speaker.answer(card, q, seed=5)
            assert "{" not in answer.text and "[" not in answer.text
            assert all(respondents.find_pattern(p).allows(features) for p in answer.path)


def test_held_out_patterns_are_a_fifth_and_are_not_spoken(cards):
    held = respondents.held_out_patterns()
    assert 0.17 < len(held) / sum(len(respondents._patterns(q)) for q in QUESTIONS) < 0.23
    speaker = respondents.Speaker(held_out=held)
    said = [p for card in cards[:6] for q in QUESTIONS.values() for p in speaker.answer(card, q, seed=2).path]
    assert len(set(said) & held) / len(set(said)) < 0.02  # only where a section has nothing else for this person


def test_turns_of_phrase_are_rare_and_independent_of_the_card():
    from scipy.stats import chi2_contingency

    turns, frame = respondents.turns_of_phrase(), simulate_records(42)
    said = frame["reference"].map(lambda text: turn_in(text, turns["phrases"]))
    assert 0.05 < said.ne("").mean() <= 0.10
    assert set(said) - {""} == set(turns["phrases"])
    features = [personas.features(json.loads(card)) for card in frame["persona"]]
    for key in ("voice", "age", "trait", "value", "job", "country"):
        held = pd.Series([min(f[key], default="") for f in features])
        counts = pd.crosstab(held, said.ne(""))
        assert chi2_contingency(counts[counts.sum(axis=1) >= 40]).pvalue > 0.002, key


def turn_in(text, phrases):
    """The turn of phrase in a text, "" for none."""
    return next((p for p in phrases if re.search(rf"(, {p}\.|^{p[0].upper() + p[1:]}, )", text)), "")


def test_the_bank_holds_no_turn_of_phrase():
    phrases = respondents.turns_of_phrase()["phrases"]
    bank = [p.text.lower() for q in QUESTIONS for p in respondents._patterns(q)]
    assert not [text for text in bank for phrase in phrases if re.search(rf"\b{phrase.lower()}\b", text)]


def test_words_are_those_of_the_country():
    assert respondents.in_country("My neighbor drove a truck. Trucks are loud.", "uk") == "My neighbour drove a lorry. Lorries are loud."
    assert respondents.in_country("My neighbor drove a truck.", "us") == "My neighbor drove a truck."
    assert respondents.in_country("Apartment. An apartment.", "uk", keep=9) == "Apartment. A flat."  # an option's label stays as it is asked


def test_no_card_is_impossible():
    assert not [p for card in personas.draw_population(11) for p in personas.impossible(card)]


def test_the_oracles_are_ordered_and_the_kappa_is_sklearns():
    sheet = administration.questionnaire(24, 7)
    train = pd.DataFrame({"question_id": sheet["question_id"], "target": sheet["truth"].astype(float)})
    known = controls.questionnaire_probabilities(sheet, train, 7)
    answered = {name: administration.answered_sheet(sheet, probabilities, [""] * len(sheet)) for name, probabilities in known.items()}
    accuracy = {name: float((a["chosen"] == a["truth"]).mean()) for name, a in answered.items()}
    assert accuracy["majority"] < accuracy["oracle_card"] < accuracy["oracle_latent"]
    scores = administration.score(answered["oracle_card"], seed=1)[0].set_index("metric")
    five = answered["oracle_card"][[len(p) == 5 for p in answered["oracle_card"]["option_probs"]]]
    assert scores.loc["stance_qwk", "value"] == pytest.approx(resampling.quadratic_kappa(five["chosen"], five["truth"], items=five["question_id"]))
    one = five[five["question_id"] == five["question_id"].iloc[0]]
    wanted = cohen_kappa_score(one["chosen"], one["truth"], weights="quadratic", labels=range(5))
    assert resampling.quadratic_kappa(one["chosen"], one["truth"]) == pytest.approx(wanted)
    assert scores.loc["stance_acc", "lo"] < scores.loc["stance_acc", "value"] < scores.loc["stance_acc", "hi"]


def test_fresh_personas_are_nobody_of_the_data_set():
    fresh = {tuple(sorted((k, str(v)) for k, v in c.items() if k != "persona_id")) for c in personas.fresh_personas(100, 42)}
    known = {tuple(sorted((k, str(v)) for k, v in c.items() if k != "persona_id")) for c in personas.draw_population(42)}
    assert len(fresh) == 100 and not fresh & known


def test_baselines_never_use_the_persona_except_the_nearest(cards):
    rows = [
        {"id": f"{c['persona_id']}-{q.id}", "persona": c, "persona_id": c["persona_id"], "question_id": q.id, "options": q.options or None,
         "question_type": q.type,
         "reference": respondents.Speaker().answer(c, q, seed=1).text,
         "target": float(respondents.Speaker().answer(c, q, seed=1).option) if q.options else np.nan}
        for c in cards for q in (QUESTIONS["finance.likert.1"], QUESTIONS["finance.open.1"])
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    found = controls.baseline_predictions(frame.iloc[:10], frame.iloc[10:], 1)
    assert all(len(v) == 10 for v in found.values())
    assert len(set(found["persona_blind"])) == 2 and set(found["persona_blind"]) <= set(frame["reference"])
    assert set(found["nearest_train"]) <= set(frame["reference"].iloc[10:])


def test_closed_questions_without_options_have_the_usual_ones():
    """Foreign records may name the type alone (a replication of the paper does); `with_targets` reads their answers on the usual scale."""
    said = ["Agree. I do.", "Agree. Well.", "Disagree. No.", "It depends."]
    rows = [{"id": f"r{n}", "persona": f"Person {n}.", "persona_id": f"p{n}", "question_id": "q", "options": None, "question_type": "likert", "reference": text}
            for n, text in enumerate(said)]  # fmt: skip
    frame = option_labels.with_targets(pd.DataFrame(rows))
    assert frame["target"].notna().sum() == 3
    found = controls.baseline_predictions(frame, frame, 1)
    assert set(found["majority"]) == {"Agree."} and {text.rstrip(".") for text in found["uniform"]} <= set(DEFAULT_OPTIONS["likert"])


def test_the_way_to_the_card_is_0_at_the_majority_and_1_at_the_card():
    rows = [("majority", 0.3), ("phi-2", 0.4), ("oracle_card", 0.5)]
    scores = pd.DataFrame([{"system": s, "metric": "stance_acc", "value": v, "lo": v, "hi": v} for s, v in rows])
    assert administration.way_to_the_card(scores)["way"].round(6).to_dict() == {"majority": 0, "phi-2": 0.5, "oracle_card": 1}


def test_without_administrations_every_table_is_empty():
    scores, calibration = administration.score_administrations(RunConfig(), {})
    assert scores.empty and calibration.empty and administration.way_to_the_card(scores).empty and administration.accuracy_by_type({}).empty
    sheet = pd.DataFrame({"question_type": ["yesno", "yesno", "likert"], "chosen": [1, 0, 2], "truth": [1, 1, 2], "option_probs": [[0.5, 0.5]] * 3})
    by_type = administration.accuracy_by_type({"uniform": sheet, "majority": sheet})
    assert by_type.to_dict("index") == {"majority": {"likert": 1.0, "yesno": 0.5}}
