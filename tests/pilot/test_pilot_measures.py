"""The pilot's measures on planted faults: each fault is seen, its size is right, and what is in order is not accused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import planted_survey as planted
import pytest
from scipy.stats import binom
from statsmodels.stats.power import TTestIndPower

from polypersona_lib.errors import InputError
from polypersona_lib.intake.survey_format import Item, Questionnaire
from polypersona_lib.pilot import item_measures, scale_measures
from polypersona_lib.pilot.panel import attributes_of, human_panel, in_substance, read_panel
from polypersona_lib.pilot.plan import with_paraphrases
from polypersona_lib.scoring.administration import questionnaire
from polypersona_lib.survey.sheet import sheet_of
from polypersona_lib.world.questions import load_questions

PEOPLE = planted.people_frame(60, straight=(7,))
ITEMS = planted.questionnaire()


def panel_of(**bias):
    return read_panel(planted.answers_of(planted.table_answerer(**bias), ITEMS, PEOPLE), ITEMS, PEOPLE)


@pytest.fixture(scope="module")
def plain():
    return panel_of()


@pytest.fixture(scope="module")
def biased():
    return panel_of(order_bias=0.2, acquiescence=0.3, mass=0.75)


def test_the_ceiling_item_is_the_only_one_at_an_end(plain):
    table = item_measures.item_table(plain, attributes_of(PEOPLE)).set_index("question_id")
    assert table["at_end"].to_dict() == {i.id: "ceiling" if i.id == "ceiling" else "" for i in ITEMS}
    assert table.loc["ceiling", "ceiling"] > 0.95 and table["mean"].between(table["mean_lo"], table["mean_hi"]).all()


def test_the_card_explains_what_it_holds_and_permuted_cards_do_not(plain):
    table = item_measures.item_table(plain, attributes_of(PEOPLE)).set_index("question_id")
    assert table.loc["trust1", "from_card"] > 0.8 > 0.3 > table.loc["trust1", "from_permuted_cards"]
    assert table.loc["double", ["from_card", "between"]].isna().tolist() == [True, False]  # nobody differs: nothing to explain
    assert item_measures.item_table(plain)["from_card"].isna().all()


@pytest.mark.parametrize("bias", [0.0, 0.2, 0.4])
def test_the_order_effect_has_the_size_that_was_planted(bias):
    table = item_measures.order_table(panel_of(order_bias=bias))
    np.testing.assert_allclose(table["first_gain"], bias, atol=1e-5)
    np.testing.assert_allclose(table["order_shift"], bias, atol=1e-5)
    assert table["order_matters"].all() == (bias > 0) and table["order_matters"].any() == (bias > 0)


def test_one_order_gives_no_order_effect(plain):
    alone = item_measures.order_table(human_panel({}, ITEMS, PEOPLE))
    assert alone["first_gain"].isna().all() and not alone["order_matters"].any()


def test_acquiescence_has_the_size_that_was_planted(plain, biased):
    assert not scale_measures.acquiescence_table(plain)["acquiescent"].any()
    seen = scale_measures.acquiescence_table(biased).set_index("question_id")
    # .3 of the probability moves from the middle of the scale (both wordings together) to its top, then .2 is shared by both ends
    assert seen.loc["plain", "acquiescence"] == pytest.approx(0.3 * 0.5 * 0.8, abs=0.002) and seen["acquiescent"].all()
    assert seen.loc["plain", "negation_r"] > 0.95
    assert scale_measures.acquiescence_table(human_panel({}, ITEMS[:4], PEOPLE)).empty


def test_the_item_that_is_keyed_wrong_is_named_and_no_other(plain):
    scale, items = scale_measures.scale_tables(plain)
    assert items.set_index("question_id")["keyed_wrong"].to_dict() == {"trust1": False, "trust2": False, "trust3": False, "trust4": True}
    right = planted.questionnaire(wrong_key=False)
    scale_right, items_right = scale_measures.scale_tables(read_panel(planted.answers_of(planted.table_answerer(), right, PEOPLE), right, PEOPLE))
    assert not items_right["keyed_wrong"].any() and items_right["item_rest"].min() > 0.5
    assert scale_right["alpha"].iloc[0] > 0.8 > scale["alpha"].iloc[0] and scale_right["reversed"].iloc[0] == 1
    assert scale["construct"].tolist() == ["trust"]


def test_a_straight_liner_is_named_alone(plain):
    table = scale_measures.straight_liners(plain)
    assert table.loc[table["straight_liner"], "persona_id"].tolist() == ["p007"]
    grid = scale_measures.grid_table(plain).iloc[0]
    assert grid["straight"] == pytest.approx(1 / 60, rel=0.5) and grid["differ"] > 0.7
    everybody = planted.people_frame(20, straight=tuple(range(20)))
    flat = read_panel(planted.answers_of(planted.table_answerer(), ITEMS, everybody), ITEMS, everybody)
    assert scale_measures.grid_table(flat).iloc[0]["straight"] == pytest.approx(1) and not scale_measures.straight_liners(flat)["straight_liner"].any()


def test_a_changed_attribute_moves_only_what_depends_on_it():
    items, people = ITEMS[:1] + ITEMS[8:9], planted.people_frame(12)
    changed = people.assign(persona_id="c-" + people["persona_id"], card=[c.replace("trusts 0.", "trusts 0.9") for c in people["card"]])
    changes = pd.DataFrame({"persona_id": changed["persona_id"], "of": people["persona_id"], "attribute": "trust"})
    panels = [read_panel(planted.answers_of(planted.table_answerer(), items, p), items, p) for p in (people, changed)]
    table = scale_measures.sensitivity(*panels, changes).set_index("question_id")
    assert table.loc["trust1", "lo"] > 0.1 and table.loc["trust1", "shift"] > 0.1 and table.loc["ceiling", "moved"] == pytest.approx(0, abs=1e-6)
    assert table.loc["all items", "moved"] == pytest.approx(table.loc["trust1", "moved"] / 2) and set(table["n"]) == {12}


def test_other_wordings_are_compared_with_the_first():
    items = (planted.agree_item("a", "Children need food.", variant="food"), planted.agree_item("b", "I trust my neighbours.", variant="food"))
    panel = read_panel(planted.answers_of(planted.table_answerer(), items, PEOPLE), items, PEOPLE)
    row = item_measures.wording_effects(panel).iloc[0]
    assert (row["beside"], row["question_id"]) == ("a", "b") and row["shift_hi"] < -0.3 < 0.5 < row["moved"]


def test_what_is_no_answer_is_counted_and_leaves_the_scale():
    items = (Item(id="q", text="Well?", kind="single", labels=("Bad", "Good", "Don't know"), option_kinds=("", "", "dont_know"), ordered=True),)
    people = planted.people_frame(4)
    rows = planted.answers_of(planted.table_answerer(mass=0.5), (planted.agree_item("q", "Children need food."),), people)
    rows["option_probs"] = [[0.25, 0.25, 0.5], [0.0, 1.0, 0.0], None, None]
    rows[["probs_listed", "probs_reversed"]] = None
    rows["option"], rows["status"] = pd.array([0, 1, None, None], dtype="Int64"), ["ok", "ok", "ok", "failed"]
    panel = read_panel(rows, items, people)
    assert panel.counts.loc["q"].to_dict() == {"asked": 4, "answered": 2, "skipped": 0, "failed": 1, "unread": 1, "refused": 0.5, "off_scale": 1.5}
    np.testing.assert_allclose(panel.sheet.probs[:, 0], [[0.5, 0.5], [0, 1], [0, 0], [0, 0]])
    assert in_substance(items[0]).options == ("Bad", "Good")


def test_real_answers_may_be_labels_or_codes_and_what_is_neither_is_counted():
    own = {"p000": {"ceiling": "strongly  AGREE"}, "p001": {"ceiling": 2.0}, "p002": {"ceiling": "=HYPERLINK()"}, "p003": {"ceiling": ""}}
    panel = human_panel(own, ITEMS, PEOPLE)
    place = [i.id for i in panel.sheet.items].index("ceiling")
    assert panel.sheet.truth[:4, place].tolist() == [4, 1, -1, -1]
    assert panel.counts.loc["ceiling", ["asked", "answered", "off_scale"]].tolist() == [3, 2, 1]


def test_answers_of_strangers_are_refused(plain):
    answers = planted.answers_of(planted.table_answerer(), ITEMS[:1], PEOPLE)
    with pytest.raises(InputError, match="persona_id are unknown here"):
        read_panel(answers, ITEMS, PEOPLE.iloc[1:])
    with pytest.raises(InputError, match="2 systems"):
        read_panel(answers.assign(system=["a", *["b"] * 59]), ITEMS, PEOPLE)


def test_people_needed_grows_with_weights_and_shrinks_with_the_difference(plain):
    small, large = (item_measures.people_needed(plain.sheet, d).set_index("question_id") for d in (0.05, 0.2))
    assert (small["people"] > 10 * large["people"]).sum() == len(ITEMS) - 1 and small.loc["trust1", "design_effect"] == 1
    # Lehr's rule: 16 sd^2 / d^2
    assert small.loc["trust1", "people"] == pytest.approx(15.7 * small.loc["trust1", "sd"] ** 2 / 0.05**2, rel=0.02)
    weighted = PEOPLE.assign(weight=[1.0, 3.0] * 30)
    panel = read_panel(planted.answers_of(planted.table_answerer(), ITEMS[:1], weighted), ITEMS[:1], weighted)
    assert item_measures.design_effect(panel.sheet)[0] == pytest.approx(1.25)
    states = PEOPLE.assign(unit=[str(i % 4) for i in range(60)])
    panel = read_panel(planted.answers_of(planted.table_answerer(), ITEMS[:1], states), ITEMS[:1], states)
    assert item_measures.design_effect(panel.sheet)[0] == pytest.approx(1, abs=1.5)


def test_false_alarms_on_the_bank_and_its_simulated_people():
    """47 closed items of the bank, 60 simulated respondents: what the detectors accuse, as measured."""
    frame = questionnaire(60, 3)
    bank = load_questions()
    sheet = sheet_of(frame.assign(option_probs=[np.eye(len(o))[t] for o, t in zip(frame["options"], frame["truth"], strict=True)]))
    own = {p: {q.id: q.options[sheet.truth[i, j]] for j, q in enumerate(sheet.items)} for i, p in enumerate(sheet.people)}
    people = pd.DataFrame({"persona_id": sheet.people})
    panel = human_panel(own, [bank[q.id] for q in sheet.items], people)
    np.testing.assert_array_equal(panel.sheet.truth, sheet.truth)
    table, (_, items) = item_measures.item_table(panel), scale_measures.scale_tables(panel)
    assert len(table) == 47 and (table["at_end"] != "").sum() <= 1 and not items["keyed_wrong"].any()


def test_a_refused_number_and_a_choice_of_nothing_are_unread():
    items = (Item(id="n", text="How many?", kind="number"), Item(id="m", text="Which?", kind="multiple", labels=("A", "B")), Item(id="o", text="Why?"))
    people = planted.people_frame(2)
    rows = planted.answers_of(planted.table_answerer(), (planted.agree_item("n", "Children need food."),), people)
    rows = pd.concat([rows.assign(question_id=item.id, option=pd.NA, option_probs=None, answer="I would rather not say") for item in items], ignore_index=True)
    rows["value"] = [7.0, np.nan, *[np.nan] * 4]
    rows["chosen"] = [None, None, [0], None, None, None]
    counts = read_panel(rows, items, people).counts
    assert counts["answered"].tolist() == [1, 1, 2] and counts["unread"].tolist() == [1, 1, 0]


def test_weights_of_some_people_are_refused(plain):
    people = PEOPLE.assign(weight=[None, *[1.0] * (len(PEOPLE) - 1)])
    with pytest.raises(InputError, match=r"1 of \d+ people have no weight"):
        read_panel(planted.answers_of(planted.table_answerer(), ITEMS[:2], PEOPLE), ITEMS, people)


def test_paraphrases_that_are_items_already_are_not_asked_twice():
    base = planted.agree_item("a", "Children need food.")
    whole = with_paraphrases(Questionnaire(title="t", items=(replace(base, paraphrases=("Food is good for children.", " ")),)))
    assert [item.id for item in whole.items] == ["a", "a~1"] == [item.id for item in with_paraphrases(whole).items]


def likert_panel(chances: np.ndarray, *, units=None, weight=None, single: bool = False):
    """One five-point item: each person's answer is binomial with a chance, as probabilities or (`single`) as one answer of each."""
    item, people = planted.agree_item("q", "Well?"), pd.DataFrame({"persona_id": [f"p{i:03d}" for i in range(len(chances))]})
    for name, values in (("unit", units), ("weight", weight)):
        people = people if values is None else people.assign(**{name: values})
    panel = human_panel({}, (item,), people)
    probs = np.eye(5)[np.random.default_rng(0).binomial(4, chances)] if single else binom.pmf(np.arange(5), 4, chances[:, None])
    return replace(panel, sheet=replace(panel.sheet, probs=probs[:, None, :]))


def test_the_design_effect_of_units_is_that_of_single_answers():
    """40 units of 10 whose chances differ by .03: simulated, the mean of single answers has 1.13 times the variance of a simple random sample."""
    rng, units, seen = np.random.default_rng(1), np.repeat(np.arange(40), 10).astype(str), []
    for _ in range(6):
        chances = np.clip(rng.normal(0.5, 0.03, 40).repeat(10) + rng.normal(0, 0.02, 400), 0, 1)
        seen.append([item_measures.design_effect(likert_panel(chances, units=units, single=single).sheet)[0] for single in (False, True)])
    assert np.mean(seen, axis=0) == pytest.approx([1.13, 1.13], abs=0.12)
    whole = likert_panel(np.repeat([0.0, 1.0, 0.0, 1.0, 0.5], 8), units=np.repeat(list("abcde"), 8), single=True).sheet
    twice = replace(whole, weights=np.repeat(2.0, 40))
    assert item_measures.design_effect(whole)[0] > 8 and item_measures.design_effect(twice) == pytest.approx(item_measures.design_effect(whole))
    alone = likert_panel(np.full(9, 0.5), units=["a"] * 9).sheet
    assert np.isnan(item_measures.design_effect(alone)[0]) and item_measures.people_needed(alone, 0.1)["people"].iloc[0] > 50


@pytest.mark.parametrize(("d", "people"), [(2.9, 4), (3.05, 4), (5, 3), (15, 2), (1e4, 2)])
def test_people_needed_for_large_differences_reach_the_power(d, people):
    assert item_measures._in_group(d, 1.0) == people
    assert people == 2 or TTestIndPower().power(d, people - 1, item_measures.ALPHA) < item_measures.POWER


def test_wordings_without_an_order_count_their_people():
    items = [replace(planted.agree_item(name, "Which?", variant="w"), kind="single", ordered=False) for name in "ab"]
    own = {f"p{i}": {"a": "Agree", "b": "Disagree"} if i else {"a": "Agree"} for i in range(6)}
    row = item_measures.wording_effects(human_panel(own, items, pd.DataFrame({"persona_id": list(own)}))).iloc[0]
    assert row["n"] == 5 and row["moved"] == 1 and np.isnan(row["shift"])


def test_a_changed_attribute_counts_people_by_their_weights():
    before, after = np.full(8, 0.2), np.where(np.arange(8) < 2, 0.8, 0.2)
    weight = np.where(np.arange(8) < 2, 9.0, 1.0)
    changed = likert_panel(after)
    changes = pd.DataFrame({"persona_id": changed.sheet.people, "of": changed.sheet.people, "attribute": "area"})
    plain, weighted = (scale_measures.sensitivity(likert_panel(before, weight=w), changed, changes).set_index("question_id") for w in (None, weight))
    assert weighted["moved"].tolist() == pytest.approx((plain["moved"] * 4 * 0.75).tolist()) and plain.loc["q", "shift"] == pytest.approx(0.15)
    assert weighted.loc["q", "shift"] == pytest.approx(0.6 * 18 / 24) and set(weighted["n"]) == {8}


@pytest.mark.parametrize(("options", "first"), [(planted.AGREE, False), (planted.AGREE[::-1], True), (("Yes", "No"), True), (("No", "Yes"), False),
                                                (("Never", "Always"), False), (("Not at all", "Disagree"), False)])  # fmt: skip
def test_the_labels_say_which_end_agrees(options, first):
    item = Item(id="q", text="Well?", kind="likert", labels=tuple(options))
    assert scale_measures.yes_first(item) == first


@pytest.mark.parametrize(("labels", "seen"), [(planted.AGREE, -0.5), (planted.AGREE[::-1], -0.5)])
def test_disagreement_with_everything_is_no_yes_whatever_the_order_of_the_options(labels, seen):
    items = [planted.agree_item("a", "Open?", variant="v"), planted.agree_item("b", "Closed?", variant="v", negated=True)]
    items = [replace(item, labels=labels) for item in items]
    own = {f"p{i}": {"a": "Strongly disagree", "b": "Strongly disagree"} for i in range(9)}
    table = scale_measures.acquiescence_table(human_panel(own, items, pd.DataFrame({"persona_id": list(own)})))
    assert table["acquiescence"].tolist() == [seen, seen] and not table["acquiescent"].any()


def test_an_item_that_hangs_together_with_nothing_has_no_wrong_key():
    """A correlation a little below 0, and exactly known: below 0 it is, and no reason to doubt a key."""
    near = np.array([[[1, 0.5, -0.03], [0.5, 1, -0.03], [-0.03, -0.03, 1]]]).repeat(9, axis=0)
    assert scale_measures._keyed_wrong(near, 100) == set()
    against = np.array([[[1, 0.5, -0.3], [0.5, 1, -0.3], [-0.3, -0.3, 1]]]).repeat(9, axis=0)
    assert scale_measures._keyed_wrong(against, 100) == {2}


def test_two_lists_of_options_in_one_battery_are_two_grids():
    items = [Item(id=f"a{k}", text=f"A {k}?", kind="likert", labels=("Low", "Mid", "High"), battery="g") for k in range(4)]
    items += [Item(id=f"b{k}", text=f"B {k}?", kind="yes_no", labels=("No", "Yes"), battery="g") for k in range(4)]
    assert scale_measures.grids(items) == {"g": [0, 1, 2, 3], "g (2)": [4, 5, 6, 7]}
    assert scale_measures.grids(items[2:]) == {"g": [2, 3, 4, 5]}  # two items of the first list make no grid


def test_the_card_explains_an_item_among_the_people_who_were_asked_it():
    """Two items that exclude each other: nobody answered both, and each keeps its number."""
    items = tuple(Item(id=i, text=f"{i}?", kind="yes_no", labels=("No", "Yes")) for i in ("all", "north", "south"))
    people = planted.people_frame(60)
    north = np.array(["north" in card for card in people["card"]])
    own = {
        p: {"all": ("No", "Yes")[k % 2], ("north" if n else "south"): ("No", "Yes")[k // 2 % 2]}
        for k, (p, n) in enumerate(zip(people["persona_id"], north, strict=True))
    }
    table = item_measures.item_table(human_panel(own, items, people), attributes_of(people)).set_index("question_id")
    assert north.any() and not north.all() and table["from_card"].between(0, 1).all()
