"""Asking again: conditions change what they say and nothing else, statistics come out on planted answers, a twin goes through it once."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from polypersona_lib import paths, resampling
from polypersona_lib.config import RunConfig
from polypersona_lib.figures.session_figures import plot_card_worth, plot_consistency
from polypersona_lib.figures.style import save
from polypersona_lib.models import loading
from polypersona_lib.prompts import chat
from polypersona_lib.registry import MODELS
from polypersona_lib.runner import stages
from polypersona_lib.scoring import administration
from polypersona_lib.scoring.option_labels import read_option
from polypersona_lib.studies.sessions import answers, card_worth, conditions, consistency, response_styles
from polypersona_lib.studies.sessions.answers import KEPT, SAME, _Asking, ask_now, ask_system, trained
from polypersona_lib.studies.sessions.conditions import BASELINE, CONDITIONS
from polypersona_lib.studies.sessions.tables import measured_tables, nested, read_tables, sessions_study, write_tables
from polypersona_lib.world import dataset, personas
from polypersona_lib.world.questions import load_questions

QUESTIONS = {q.id: q for q in load_questions().values() if q.options}
QUESTIONS_BOTH = conditions.partners(related=True).keys() & conditions.partners(related=False).keys()


@pytest.fixture(scope="module")
def sheet():
    return administration.questionnaire(4, 42)


@pytest.fixture(scope="module")
def train():
    return dataset.read_split(paths.DATASET / "paper", "train")


def asked(name, sheet, train):
    chosen = pd.Series([i % 2 for i in range(len(sheet))], index=sheet["id"])
    return conditions.rows_of(name, sheet, seed=42, chosen=chosen, train=train)


# --- what is asked -----------------------------------------------------------------------------------------------------------------------


CHANGES = {  # condition -> the lines of the prompt that may differ, by how they begin
    "again": (), "cold": (), "hot": (), "paraphrase_1": ("Question: ",), "paraphrase_2": ("Question: ",), "negated": ("Question: ",),
    "options_reversed": ("Options: ",), "options_shuffled": ("Options: ",), "sparse": ("Persona: ",), "implicit": ("Persona: ",),
    "swapped": ("Persona: ",), "contradictory": ("Persona: ",),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_condition_changes_its_own_line_and_no_other(name, sheet, train):
    rows, before = asked(name, sheet, train), sheet.set_index("id")
    assert len(rows) and rows["id"].is_unique
    for row in rows.itertuples():
        old, new = ([line for m in messages for line in m["content"].split("\n")] for messages in (before.loc[row.id, "messages"], row.messages))
        changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert [m["role"] for m in row.messages] == ["system", "user"]
        assert [a.partition(" ")[0] + " " for a, _ in changed] == list(CHANGES[name]), f"{row.id}: {changed}"
        assert all(b.startswith(begin) for (_, b), begin in zip(changed, CHANGES[name], strict=True))


def test_without_a_card_only_the_persona_is_missing(sheet, train):
    for row, old in zip(asked("no_card", sheet, train).itertuples(), sheet.itertuples(), strict=True):
        persona, _, rest = old.messages[1]["content"].partition("\n")
        assert persona.startswith("Persona: ") and row.messages == [old.messages[0], {"role": "user", "content": rest}]


def test_examples_stand_in_the_system_text_and_are_of_other_people_and_questions(sheet, train):
    people = {chat.render_card(card) for card in train["persona"]}
    for row, old in zip(asked("few_shot", sheet, train).itertuples(), sheet.itertuples(), strict=True):
        system = row.messages[0]["content"]
        assert row.messages[1:] == old.messages[1:] and system.startswith(chat.SYSTEM) and system.count("\nAnswer: ") == chat.EXAMPLES
        assert f"Question: {QUESTIONS[row.question_id].text}\n" not in system and "\nDomain: " not in system
        known = re.findall(r"\nPersona: (.*)", system)
        assert len(set(known)) == chat.EXAMPLES and {*known} <= people


def test_listed_options_are_mapped_back_to_their_own_places(sheet, train):
    assert conditions.mapped_back([0.1, 0.2, 0.7], (2, 0, 1)) == [0.2, 0.7, 0.1]
    for name in ("options_reversed", "options_shuffled"):
        rows = asked(name, sheet, train)
        for row in rows.itertuples():
            own, listed = QUESTIONS[row.question_id].options, row.messages[1]["content"].rpartition("Options: ")[2].split(" / ")
            assert tuple(listed) == tuple(row.options) == tuple(own[k] for k in row.order)
            marks = [float(own.index(label)) for label in listed]
            assert conditions.mapped_back(marks, row.order) == list(range(len(own))), "the value of a label ends up at the label's own place"
            usual = tuple(range(len(own)))
            reverse = row.order == usual[::-1]
            assert row.order != usual and (reverse or name == "options_shuffled") and (not reverse or len(own) == 2 or name == "options_reversed")
        assert rows["order"].tolist() == asked(name, sheet, train)["order"].tolist()
    assert len({row.order for row in rows.itertuples() if len(row.order) == 5}) > 20, "every row is shuffled anew"


@pytest.mark.parametrize("related", [True, False])
def test_partners_come_in_both_orders(related):
    found = conditions.partners(related=related)
    assert len(found) >= 36 and all(found[b] == a and a != b for a, b in found.items())
    for a, b in ((QUESTIONS[a], QUESTIONS[b]) for a, b in found.items()):
        assert (a.construct == b.construct) == related and (related or a.domain != b.domain)


def test_an_item_after_another_is_one_conversation_with_the_models_own_answer(sheet, train):
    rows, prompts = asked("after_related", sheet, train), sheet.set_index("id")["messages"]
    chosen = {i: n % 2 for n, i in enumerate(sheet["id"])}
    for row in rows.itertuples():
        first = f"{row.persona_id}-{row.before}"
        own = prompts[row.id][1]["content"].partition("\n")[2]
        answer = {"role": "assistant", "content": f"{QUESTIONS[row.before].options[chosen[first]]}."}
        assert row.messages == [*prompts[first], answer, {"role": "user", "content": own}]


def test_negated_items_are_their_own_wording_and_turn_the_truth_round(sheet, train):
    rows = asked("negated", sheet, train)
    assert len(conditions.negations()) >= 12 and {*conditions.negations()} <= {q.id for q in QUESTIONS.values() if q.type in ("agreement", "yesno")}
    for item, text in conditions.negations().items():
        q = QUESTIONS[item]
        assert text.endswith(q.text[-1]) and text not in (q.text, *q.paraphrases) and not re.search(r"\bnot\b|n't\b", text), item
    before = sheet.set_index("id")["truth"]
    assert all(row.truth + before[row.id] == len(row.options) - 1 for row in rows.itertuples())


def test_an_implicit_card_names_none_of_what_it_implies():
    for card in personas.fresh_personas(200, 7):
        text = conditions.implicit(card)
        words = set(re.findall(r"[\w']+", text.lower()))
        named = {str(card["age"]), card["gender"], card["income_bracket"], card["region"].lower(), *card["values"], *card["traits"]}
        assert not named & words, f"{named & words} in: {text}"
        assert not any(phrase in text.lower() for phrase in (card["occupation"].lower(), card["education"], card["household"])), text
        assert 5 <= text.count(".") <= 6 and text == conditions.implicit(card)


def test_a_swapped_card_is_sound_and_a_contradictory_one_says_both():
    for card in personas.fresh_personas(60, 7):
        trait, opposite = conditions.telling_trait(card)
        other, both = conditions.swapped(card), conditions.contradictory(card)
        assert {k for k in card if card[k] != other[k]} == {"traits"} and not personas.impossible(other) and opposite in other["traits"]
        assert {k for k in card if card[k] != both[k]} == {"description"} and trait in both["traits"] and opposite in both["description"]


def test_bases_are_asked_for_the_baseline_and_the_cards():
    assert [n for n in conditions.of_system("phi-2--base")] == [BASELINE, *(n for n, c in CONDITIONS.items() if c.kind == "card")]
    assert conditions.of_system("phi-2") == list(CONDITIONS)
    with pytest.raises(ValueError, match="unknown condition 'x'; choose from baseline"):
        conditions.rows_of("x", pd.DataFrame(), seed=1)


@pytest.mark.parametrize("key", MODELS)
def test_every_family_takes_a_conversation_and_a_prompt_without_a_card(key, sheet, train):
    tokenizer = loading.load_tokenizer(MODELS[key], "nano")
    talk, alone = (asked(name, sheet, train).iloc[0]["messages"] for name in ("after_related", "no_card"))
    shared, rest = chat.encode_prompt(tokenizer, talk)
    text = tokenizer.decode(rest)
    assert shared == chat.encode_prompt(tokenizer, talk[:2])[0], "the persona's prefix is the one of its other rows"
    assert [text.index(m["content"].split("Question: ")[-1]) for m in talk[1:]] == sorted(text.index(m["content"].split("Question: ")[-1]) for m in talk[1:])
    triplet = [*talk, {"role": "assistant", "content": "Agree."}]
    assert chat.encode_prompt(tokenizer, triplet) == (shared, rest) and chat.encode(tokenizer, triplet).shared == shared
    shared, rest = chat.encode_prompt(tokenizer, alone)
    assert shared and "Persona" not in tokenizer.decode(shared + rest), "an empty prefix could not be run"


# --- what follows ------------------------------------------------------------------------------------------------------------------------


def scored(score, *, session=0, items=("environment.likert.1", "finance.likert.1"), truth=2):
    """Answers as from `likely`; `score`: shape (items, people)."""
    rows = [
        {"id": f"p{p}-{q}", "persona_id": f"p{p}", "question_id": q, "domain": QUESTIONS[q].domain, "question_type": QUESTIONS[q].type, "truth": truth,
         "session": session, "option": round(score[i][p] * (len(QUESTIONS[q].options) - 1)), "score": score[i][p]}
        for i, q in enumerate(items) for p in range(len(score[0]))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def value(lines, metric):
    return next(line for line in lines if line["metric"] == metric)


def test_agreement_of_planted_answers():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 5, (2, 50)) / 4
    same = consistency.agreement(scored(first), scored(first), seed=1)
    assert (value(same, "same_option")["value"], value(same, "kappa")["value"], value(same, "shift")["value"]) == (1, 1, 0)
    moved = first.copy()
    moved[:, :10] = np.where(moved[:, :10] < 1, moved[:, :10] + 0.25, 0.75)  # ten of fifty people move by one option
    other = consistency.agreement(scored(first), scored(moved), seed=1)
    assert value(other, "same_option")["value"] == pytest.approx(0.8) and value(other, "shift")["value"] == pytest.approx(0.05)
    assert value(other, "same_option")["lo"] < 0.75 and value(other, "same_option")["hi"] < 0.95 and 0.9 < value(other, "kappa")["value"] < 1
    mirrored = consistency.agreement(scored(first), scored(1 - first), seed=1)
    assert value(mirrored, "kappa")["value"] < -0.8
    both = pd.concat([scored(first, session=1), scored(moved, session=2)])
    assert value(consistency.agreement(scored(first), both, seed=1), "same_option")["value"] == pytest.approx(0.9), "every session is compared"


def test_kappa_takes_chance_within_each_item():
    rng = np.random.default_rng(4)
    items = list(QUESTIONS)[:20]
    popular = np.array([rng.choice([0.0, 1.0]) for _ in items])  # everybody answers an item nearly alike, and which of them deviates is luck
    twice = [np.abs(popular[:, None] - (rng.random((20, 200)) < 0.15)) for _ in range(2)]
    found = consistency.agreement(scored(twice[0], items=items), scored(twice[1], items=items), seed=1)
    assert value(found, "same_option")["value"] > 0.7 and abs(value(found, "kappa")["value"]) < 0.05, "knowing the popular answer is no agreement of persons"
    assert value(found, "kappa")["lo"] < 0 < value(found, "kappa")["hi"] and value(found, "kappa")["n"] == 4000
    constant = consistency.agreement(scored(np.ones((2, 30))), scored(np.ones((2, 30))), seed=1)
    assert np.isnan(value(constant, "kappa")["value"]), "nobody differs from anybody"


def test_the_interval_of_kappa_is_widened_for_few_people_as_that_of_the_share_beside_it(monkeypatch):
    """Conditions with 20 people: percentiles of Student's t with 19 degrees of freedom, times sqrt(20 / 19), lie 1.096 times as far out as the normal's."""
    assert norm.ppf(resampling.quantiles(conditions.SUBSET)[1]) / norm.ppf(0.975) == pytest.approx(1.096, abs=5e-4)
    rng, items = np.random.default_rng(6), list(QUESTIONS)[:30]
    attitude = rng.random((30, conditions.SUBSET))
    twice = [scored((attitude + rng.normal(0, 0.3, attitude.shape)).clip(0, 1), items=items) for _ in range(2)]
    widened = consistency.agreement(*twice, seed=1)
    monkeypatch.setattr(resampling, "FEW", 0)
    plain = consistency.agreement(*twice, seed=1)
    for wide, narrow in zip(widened, plain, strict=True):
        assert (wide["hi"] - wide["lo"]) / (narrow["hi"] - narrow["lo"]) == pytest.approx(1.096, rel=0.05), wide["metric"]
    assert [line["metric"] for line in widened][:2] == ["same_option", "kappa"]


def test_kappa_of_one_item_is_that_of_scikit_learn_and_nearly_the_icc():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(5)
    for item, points in (("environment.likert.1", 5), ("finance.yesno.1", 2)):
        attitude = rng.normal(size=400)
        a, b = (np.clip(np.round((attitude + rng.normal(0, 0.8, 400)) + (points - 1) / 2), 0, points - 1) / (points - 1) for _ in range(2))
        found = value(consistency.agreement(scored([a], items=[item]), scored([b], items=[item]), seed=1), "kappa")["value"]
        weights = "quadratic" if points > 2 else None
        assert found == pytest.approx(cohen_kappa_score((a * (points - 1)).astype(int), (b * (points - 1)).astype(int), weights=weights))
        assert found == pytest.approx(consistency.icc(np.stack([a, b], axis=1)[None], seed=1)["value"], rel=0.01)


def test_icc_of_shrout_and_fleiss():
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)[None]  # their table 2
    found = consistency.icc(ratings, seed=1)
    assert found["value"] == pytest.approx(0.29, abs=0.005), "ICC(2,1) in their table 4"
    persons, session, rest = (float(part[0, 0]) for part in consistency.icc_parts(ratings, np.ones((1, 6))))
    assert persons / (persons + rest) == pytest.approx(0.71, abs=0.005), "ICC(3,1)"
    lacking = np.concatenate([ratings, np.full((1, 1, 4), 5.0)], axis=1)
    lacking[0, 6, 2] = np.nan
    assert consistency.icc(lacking, seed=1)["value"] == pytest.approx(found["value"]), "who lacks a rating is left out"
    twice = consistency.icc_parts(np.concatenate([ratings, ratings[:, :1]], axis=1), np.ones((1, 7)))
    weighted = consistency.icc_parts(ratings, np.array([[2.0, 1, 1, 1, 1, 1]]))
    assert np.allclose(twice, weighted), "a weight of 2 is a person drawn twice"


def test_icc_of_planted_variances():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(40, 150, 1)) * 2 + rng.normal(size=(40, 1, 3)) * 0.5 + rng.normal(size=(40, 150, 3))
    found = consistency.icc(table, seed=1)
    assert found["between"] == pytest.approx(4, rel=0.05) and found["within"] == pytest.approx(1.25, rel=0.08)
    assert found["lo"] < 4 / 5.25 < found["hi"] and found["n"] == 6000
    noise = consistency.icc(rng.normal(size=(40, 100, 3)), seed=1)
    assert abs(noise["value"]) < 0.03


def test_acquiescence_of_planted_answers():
    items, rng = list(conditions.negations())[:2], np.random.default_rng(1)
    first = rng.random((2, 60))
    mirror, sayer = 1 - first, np.ones((2, 60))
    found = response_styles.acquiescence(scored(first, items=items), scored(mirror, items=items), seed=1)
    assert value(found, "acquiescence")["value"] == pytest.approx(0) and value(found, "contradiction")["value"] == pytest.approx(0)
    assert value(found, "negation_r")["value"] == pytest.approx(1)
    yes = response_styles.acquiescence(scored(sayer, items=items), scored(sayer, items=items), seed=1)
    assert value(yes, "acquiescence")["value"] == pytest.approx(0.5) and value(yes, "contradiction")["value"] == pytest.approx(1)
    deaf = response_styles.acquiescence(scored(first, items=items), scored(first, items=items), seed=1)
    assert value(deaf, "negation_r")["value"] == pytest.approx(-1), "who overhears the negation agrees with both"


def test_the_people_mirror_themselves(sheet):
    people = consistency.respondents(administration.questionnaire(20, 5), seed=5)
    found = response_styles.acquiescence(*response_styles.mirrored_respondents(people), seed=1)
    assert value(found, "acquiescence")["lo"] < 0.005 and value(found, "acquiescence")["hi"] > -0.005 and value(found, "negation_r")["value"] > 0.3
    assert set(people["session"]) == {0, 1, 2} and (people.loc[people["session"] == 0, "option"] == people.loc[people["session"] == 0, "truth"]).all()


def test_the_liking_for_high_options_is_told_from_an_attitude():
    items = ["environment.likert.1", "environment.likert.2"]  # keyed + and -
    assert [QUESTIONS[q].key for q in items] == [1, -1]
    high = response_styles.upper_end(scored(np.full((2, 30), 0.75), items=items), seed=1)  # the truth is .5
    keener = response_styles.upper_end(scored(np.array([[0.75] * 30, [0.25] * 30]), items=items), seed=1)
    assert high["value"] == pytest.approx(0.25) and keener["value"] == pytest.approx(0)


def test_carry_over_of_a_planted_pull():
    items, rng = ["environment.likert.1", "environment.likert.2"], np.random.default_rng(2)
    first = scored(rng.integers(0, 5, (2, 80)) / 4, items=items)
    before, place = {items[0]: items[1], items[1]: items[0]}, first.set_index("id")["score"]
    after = first.assign(before=first["question_id"].map(before))
    earlier = np.array([place[f"{p}-{b}"] for p, b in zip(after["persona_id"], after["before"], strict=True)])
    pulled = after.assign(score=after["score"] - 0.3 * earlier + 0.1)  # the two are keyed oppositely: towards the construct is away from the option
    assert response_styles.carry_over(first, pulled, seed=1)["value"] == pytest.approx(0.3)
    assert response_styles.carry_over(first, after, seed=1)["value"] == pytest.approx(0)
    person = np.clip(rng.normal(0.5, 0.25, 80), 0, 1)
    alike = scored(np.stack([np.round(person * 4) / 4, 1 - np.round(person * 4) / 4]), items=items)  # both answers are the same attitude
    alike["score"] += rng.normal(0, 0.05, len(alike))
    fading = alike.assign(before=alike["question_id"].map(before), score=0.5 * alike["score"] + rng.normal(0, 0.01, len(alike)))
    assert abs(response_styles.carry_over(alike, fading, seed=1)["value"]) < 0.05, "falling back to the middle is no move away from the earlier answer"


def test_the_side_taken_is_the_share_of_the_way():
    rng = np.random.default_rng(2)
    first, way = rng.random((2, 40)) / 2, rng.random((2, 40)) / 2
    found = card_worth.side_taken(scored(first), scored(first + way), scored(first + 0.25 * way), seed=1)
    assert found["value"] == pytest.approx(0.25) and found["n"] == 80


def answered(rows, right):
    """Answers that give the truth the probability `right`, the rest evenly."""
    sizes = [len(QUESTIONS[q].options) for q in rows["question_id"]]
    probs = [np.where(np.arange(n) == t, right, (1 - right) / (n - 1)) for n, t in zip(sizes, rows["truth"], strict=True)]
    keep = rows[[*KEPT, *(c for c in ("before",) if c in rows)]]
    return keep.assign(session=0, option_probs=probs, chosen=[int(p.argmax()) for p in probs], answer="")


def everything(sheet, train):
    """Planted answers of one tuned model and its base to every condition: the first session again wherever nothing else is asked."""
    frames = {}
    for system in ("phi-2", "phi-2--base"):
        for name in conditions.of_system(system):
            rows = asked(name, sheet, train)
            frame = answered(rows, {"no_card": 0.3, "sparse": 0.4}.get(name, 0.6))
            if CONDITIONS[name].sessions:
                frame = pd.concat([frame.assign(session=s, read=frame["truth"]) for s in CONDITIONS[name].sessions], ignore_index=True)
            frames[system, name] = frame
    return frames


def test_tables_of_planted_answers_and_their_figures(sheet, train, tmp_path):
    frames, people = everything(sheet, train), consistency.respondents(sheet, seed=42)
    agreed = consistency.agreements(frames, people, seed=1).set_index(["system", "condition", "metric"])["value"]
    assert agreed["phi-2", "again", "same_option"] == agreed["phi-2", "cold", "kappa"] == agreed["phi-2", "paraphrase_1", "same_option"] == 1
    assert agreed["phi-2", "no_card", "shift"] > 0.05 and 0.3 < agreed[consistency.SIMULATED_PEOPLE, "again", "same_option"] < 0.9
    icc = consistency.variances(frames, people, seed=1).set_index(["system", "over"])
    assert icc.loc[("phi-2", "sessions"), "value"] == pytest.approx(1) and icc.loc[("phi-2", "wordings"), "within"] == pytest.approx(0)
    heat = consistency.temperatures(frames, seed=1)
    assert len(heat) == 12 and (heat["value"] == 1).all() and set(heat["temperature"]) == {0.3, 1.0, 1.5}
    drift = consistency.drift(frames, "question_type", seed=1)
    assert icc.loc[("phi-2", "orders of the items"), "n"] == len(QUESTIONS_BOTH) * 4
    assert set(drift["question_type"]) == {"likert", "yesno", "agreement"} and (drift.query("metric == 'kappa'")["value"] == 1).all()
    assert drift.query("metric == 'shift'")["value"].max() == pytest.approx(0)
    far = pd.DataFrame({"domain": ["a", "b", "c"], "condition": "again", "metric": "kappa", "value": [0.5, 0.2, 0.6], "lo": [0.4, 0.1, 0.5], "hi": 0.39})
    told = [consistency.most_drifting(t, "domain", rows={"a": "A", "b": "B"}, columns={"again": "Again", "x": "X"}) for t in (far, far.assign(hi=0.9))]
    assert told == [["Again: B drifts most (kappa 0.200)"], ["Again: B drifts most (kappa 0.200), not clearly"]]
    worth = card_worth.worth(frames, card_worth.perfect_readers(sheet), seed=1).set_index(["system", "condition", "metric"])
    assert worth.loc[("phi-2", "no_card", "truth_prob"), "gap"] == pytest.approx(-0.3) and worth.loc[("phi-2", "sparse", "truth_prob"), "gap"] == pytest.approx(
        -0.2
    )
    assert np.isnan(worth.loc[("phi-2", BASELINE, "truth_prob"), "gap"]) and worth["p_holm"].notna().sum() == 2 * 2 * 6
    assert (worth["p_holm"].dropna() >= worth["p"].dropna()).all()
    frames["phi-2--base", "few_shot"] = answered(asked("few_shot", sheet, train), 0.5)
    shots = card_worth.few_shot(frames, seed=1).set_index(["step", "metric"])
    assert shots.loc[("examples", "truth_prob"), "value"] == pytest.approx(-0.1) and shots.loc[("tuning", "truth_prob"), "value"] == pytest.approx(0.1)
    level = worth["value"].xs("truth_prob", level="metric").droplevel("condition")
    assert level["oracle: no card"] < level["oracle: full card"]
    style = response_styles.styles(frames, people, seed=1)
    assert set(style["metric"]) == {"acquiescence", "contradiction", "negation_r", "upper_end", "carry_over"}
    summary = nested(agreed.reset_index().assign(lo=0.0, hi=np.nan), "system", "condition", "metric")
    assert summary["phi-2"]["again"]["same_option"] == [1.0, 0.0, None]
    labels = {n: c.label for n, c in CONDITIONS.items()}
    long = consistency.agreements(frames, people, seed=1)
    wide = consistency.wide(long[long["metric"] == "kappa"], rows={"phi-2": "Phi-2", "x": "X"}, columns={"again": "again"}, by=("system", "condition"))
    assert wide.iloc[0, 1].value == 1 and wide.iloc[1, 1].reason == "not asked" and wide.iloc[2].tolist() == ["n", f"{2 * len(sheet):,}"]
    panels = {"same_option": "a", "kappa": "b"}
    drawn = plot_consistency(long, note="n", labels=labels, metrics=panels, reference=consistency.SIMULATED_PEOPLE)[0]
    truth = worth.reset_index().query("metric == 'truth_prob'")
    other = plot_card_worth(truth, note="n", labels=labels, xlabel="x")[0]
    assert all(p.stat().st_size > 5000 for n, fig in (("a", drawn), ("b", other)) for p in save(fig, tmp_path / n))


def test_tables_are_read_back_as_they_were_written(sheet, train, tmp_path, monkeypatch):
    monkeypatch.delenv("POLYPERSONA_NONCE", raising=False)
    run = RunConfig(profile="sessions", out=str(tmp_path), models="phi-2")
    found = measured_tables(everything(sheet, train), sheet, seed=1)
    write_tables(run, found)
    again = read_tables(replace(run, profile="nano"))
    assert again.keys() == found.keys()
    for name, table in found.items():
        assert set(table.columns) <= set(again[name].columns) and len(table) == len(again[name]) > 0, name
        pd.testing.assert_frame_equal(table.round(6).reset_index(drop=True), again[name][table.columns], check_dtype=False, rtol=1e-6)
    assert (run.paths.results / "consistency.json").is_file()


def test_opened_by_hand_the_published_study_is_read_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("POLYPERSONA_NONCE", raising=False)
    run = RunConfig(out=str(tmp_path))
    study = sessions_study(run, pd.DataFrame(), pd.DataFrame())
    found = study.tables
    assert not study.paths.results.is_relative_to(tmp_path) and "published" in capsys.readouterr().out and not list(tmp_path.rglob("*.csv"))
    agreed = found["agreement"]
    assert set(agreed["system"]) == {consistency.SIMULATED_PEOPLE, *run.model_keys}
    assert set(agreed["condition"]) == {n for n, c in CONDITIONS.items() if n != BASELINE and c.kind != "negated"}
    assert all(len(found[name]) and (found[name]["n"] > 0).all() for name in found), "every table with its n"
    assert {"oracle: no card", "oracle: sparse card", "oracle: full card"} == set(found["card"].query("condition == ''")["system"])
    few = read_tables(replace(run, models="phi-2"))
    assert set(few["card"]["system"]) - set(few["card"].query("condition == ''")["system"]) == {"phi-2", "phi-2--base"}
    with pytest.raises(FileNotFoundError, match="run_all.sh sessions --split grouped"):
        read_tables(replace(run, split="grouped"))


# --- asking ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """Three conditions, the label rule instead of the fitted reader."""
    for name in set(CONDITIONS) - {BASELINE, "again", "no_card"}:
        monkeypatch.delitem(CONDITIONS, name)
    options = {q.id: q.options for q in QUESTIONS.values()}

    def rule(frame):
        found = [read_option(a, options[q]) for a, q in zip(frame["answer"], frame["question_id"], strict=True)]
        return frame.assign(read=[-1 if f is None else f for f in found])

    monkeypatch.setattr(answers, "read_options", rule)


def test_a_twin_is_asked_kept_and_asked_again_when_something_changed(few, sheet, train, tmp_path):
    run, source = RunConfig(profile="sessions", out=str(tmp_path), models="phi-2"), str(paths.ROOT / "results" / "shipped")
    some = sheet[sheet["persona_id"].isin(["f001", "f002"])].iloc[::8].reset_index(drop=True)
    assert ask_system(run, "phi-2", source, some, train) == [BASELINE, "again", "no_card"]
    assert ask_system(run, "phi-2", source, some, train) == []
    frames = {name: pd.read_parquet(run.paths.results / "conditions" / f"phi-2--{name}.parquet") for name in CONDITIONS}
    base, again, none = frames.values()
    assert len(base) == len(none) == len(some) and len(again) == 2 * len(some) and set(again["session"]) == {1, 2}
    texts = [base["answer"], *(part["answer"] for _, part in again.groupby("session"))]
    assert all(len(set(t)) > len(some) / 2 for t in texts) and texts[0].tolist() != texts[1].tolist() != texts[2].tolist()
    same = none.assign(p=[tuple(p) for p in none["option_probs"]]).groupby("question_id")["p"].nunique()
    assert (same == 1).all(), "without a card everybody gets the same probabilities"
    assert any(not np.allclose(a, b, atol=1e-3) for a, b in zip(base["option_probs"], none["option_probs"], strict=True))
    CONDITIONS["again"] = replace(CONDITIONS["again"], temperature=0.5)
    try:
        assert ask_system(run, "phi-2", source, some, train) == ["again"]
    finally:
        CONDITIONS["again"] = replace(CONDITIONS["again"], temperature=1.0)


def test_one_twin_is_asked_at_once_without_keeping_anything(train, tmp_path):
    run, people = RunConfig(out=str(tmp_path), models="phi-2"), administration.questionnaire(100, 42)  # those of the published run
    one = people[people["persona_id"] == "f001"]
    now = ask_now(run, "phi-2", one, train)
    assert list(now) == [BASELINE, *(n for n, c in CONDITIONS.items() if not c.sessions)] and not list(tmp_path.rglob("*.parquet"))
    stored = pd.read_parquet(paths.ROOT / "results" / "shipped" / "administration" / "phi-2.parquet").set_index("id")
    assert all(np.allclose(p, stored.loc[i, "option_probs"], atol=SAME) for i, p in zip(now[BASELINE]["id"], now[BASELINE]["option_probs"], strict=True))
    assert len(now["after_related"]) == len(conditions.partners(related=True)) and (now["negated"]["question_id"].isin(conditions.negations())).all()


def test_the_first_session_is_the_administration_of_the_same_model(few, sheet, train, tmp_path):
    """A stored administration of the very rows is taken; one of another model is not."""
    some = sheet[sheet["persona_id"] == "f001"].iloc[::16].reset_index(drop=True)
    run, shipped = RunConfig(profile="sessions", out=str(tmp_path), models="phi-2"), paths.ROOT / "results" / "shipped"
    source = tmp_path / "other"
    (source / "administration").mkdir(parents=True)
    (source / "adapters").symlink_to(shipped / "adapters")
    asking = _Asking(run, "phi-2", source)
    own = asking.first_session(some)
    for shift, kept in ((0.0, True), (0.2, False)):
        stored = own.drop(columns="session").assign(answer="as stored", option_probs=[np.roll(p, 1) if shift else p for p in own["option_probs"]])
        stored.to_parquet(source / "administration" / "phi-2.parquet")
        assert (asking.first_session(some)["answer"] == "as stored").all() == kept


def test_where_the_models_come_from(tmp_path, monkeypatch, capsys):
    run = RunConfig(profile="sessions", out=str(tmp_path), models="phi-2")
    assert trained(run).name == "shipped" and "published" in capsys.readouterr().out
    own = tmp_path / "results" / "nano" / "adapters" / "phi-2"
    own.mkdir(parents=True)
    (own / "adapter_model.safetensors").write_bytes(b"x")
    assert trained(run) == tmp_path / "results" / "nano"
    assert trained(replace(run, models="phi-2,mistral-7b")).name == "shipped", "a run that lacks a model is not mixed with the published one"
    with pytest.raises(FileNotFoundError, match="run first: ./run_all.sh nano --split grouped --seed 42"):
        trained(replace(run, split="grouped"))
    with pytest.raises(ValueError, match="leave --data out"):
        trained(replace(run, data=str(tmp_path)))


def test_the_study_stands_aside_of_the_default_run(tmp_path):
    found = stages.find_stages(paths.NOTEBOOKS)
    assert list(stages.of_profile(found, "sessions")) == ["01", "11"] and "11" not in stages.of_profile(found, "nano")
    run = RunConfig(profile="sessions", out=str(tmp_path), models="phi-2")
    own = tmp_path / "results" / "nano" / "adapters" / "phi-2" / "adapter_model.safetensors"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"x")
    state = stages.Run(run, stages.Project())
    read = state.inputs("11", {})
    wanted = {"results/nano/adapters/phi-2/adapter_model.safetensors", "results/shipped/administration/phi-2.parquet", "data/negated_items.yaml"}
    assert wanted <= read.keys() and read[min(wanted - {"data/negated_items.yaml"})] == own
    assert RunConfig(profile="sessions").settings.scale == "nano" and len(RunConfig(profile="sessions").model_keys) == 7
