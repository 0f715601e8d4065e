"""The wording checks: each objects to what it is for, the published error rates are those of the labels, and the halves were never mixed."""

import pandas as pd
import pytest

from polypersona_lib.pilot import wording
from polypersona_lib.world.questions import SCALES, load_questions

AGREE = SCALES["agreement"]
CASES = [
    ("double_barrelled", "The trains are clean and run on time.", AGREE, "The line between Bath and York is clean."),
    ("leading", "Surely you want cleaner streets?", ("No", "Yes"), "Do you want cleaner streets?"),
    ("negation", "The trains do not run on time.", AGREE, "The trains run late."),
    ("vague", "Do you travel a lot?", ("No", "Yes"), "Did you travel yesterday?"),
    ("too_long", " ".join(["word"] * wording.LONG), AGREE, "A short sentence."),
    ("jargon", "My bank offers tokenised ETFs.", AGREE, "My bank offers loans."),
]


@pytest.mark.parametrize(("check", "bad", "options", "good"), CASES)
def test_each_check_objects_to_its_fault_and_to_nothing_else(check, bad, options, good):
    assert wording.CHECKS[check](bad, options) and not wording.CHECKS[check](good, options)


@pytest.mark.parametrize("options", [("Good", "Great", "Superb", "Poor"), ("Very likely", "Likely", "Unlikely")])
def test_a_scale_with_unequal_sides_is_unbalanced(options):
    assert wording.unbalanced("", options) and not any(wording.unbalanced("", scale) for scale in SCALES.values())


def test_an_open_item_may_ask_two_things():
    assert not wording.double_barrelled("What do you like and what do you dislike?", ())


def test_the_error_rates_on_the_half_that_nothing_was_tuned_on():
    """Recomputed from the shipped labels; README and page print these."""
    held_out = wording.labelled_items("test")
    rates = wording.wording_error_rates(held_out)
    assert len(held_out) == 150 and rates["labelled"].to_dict() == {
        "double_barrelled": 17, "leading": 15, "negation": 13, "vague": 17, "too_long": 6, "jargon": 13, "unbalanced": 10,
    }  # fmt: skip
    assert rates["precision"].round(2).to_dict() == PRECISION and rates["recall"].round(2).to_dict() == RECALL
    assert rates["false_alarm_rate"].max() < 0.05


PRECISION = {"double_barrelled": 0.77, "leading": 0.83, "negation": 1.0, "vague": 0.81, "too_long": 1.0, "jargon": 0.82, "unbalanced": 1.0}
RECALL = {"double_barrelled": 1.0, "leading": 1.0, "negation": 1.0, "vague": 1.0, "too_long": 1.0, "jargon": 0.69, "unbalanced": 0.9}


def test_rates_of_perfect_and_useless_labels():
    items = wording.labelled_items("tune").head(40)
    flags = wording.wording_flags(items["text"], items["options"])
    rates = wording.wording_error_rates(items.assign(**{name: flags[name].ne("").astype(int) for name in wording.CHECKS}))
    assert rates["precision"].dropna().eq(1).all() and rates["recall"].dropna().eq(1).all() and rates["false_alarms"].eq(0).all()
    nothing = wording.wording_error_rates(items.assign(**dict.fromkeys(wording.CHECKS, 0)))
    assert nothing["recall"].isna().all() and (nothing["false_alarms"] == nothing["flagged"]).all()


def test_the_halves_share_no_text_and_every_bank_item_is_labelled():
    items = wording.labelled_items()
    assert not set(items.loc[items["half"] == "tune", "text"]) & set(items.loc[items["half"] == "test", "text"])
    assert set(load_questions()) <= set(items["id"]) and items["id"].str.startswith("own.").sum() == 222


def test_false_alarms_on_the_closed_items_of_the_bank_as_measured():
    closed = [q for q in load_questions().values() if q.options]
    flags = wording.wording_flags([q.text for q in closed], [q.options for q in closed])[list(wording.CHECKS)].ne("").set_axis([q.id for q in closed])
    labels = wording.labelled_items().set_index("id").loc[flags.index, list(wording.CHECKS)].eq(1)
    clean = ~labels.any(axis=1)
    assert (len(closed), int(clean.sum()), int((flags.any(axis=1) & clean).sum())) == (47, 38, CLEAN_FLAGGED)
    assert not (labels & ~flags).to_numpy().any()


CLEAN_FLAGGED = 3


@pytest.mark.parametrize("texts", [
    ["Sind Sie in den letzten zwölf Monaten mit dem Bus gefahren?", "Die Busse sind meiner Meinung nach immer zu voll."],
    ["Avez-vous pris le bus au cours des douze derniers mois ?", "Les bus sont ponctuels."],
    ["Ik ben tevreden met de bussen in mijn buurt.", "Hoe vaak neemt u de bus?"],
])  # fmt: skip
def test_other_languages_are_no_jargon(texts):
    flags = wording.wording_flags([*texts, " ".join(["Wort"] * 60)], [()] * 3)
    assert flags.drop(columns="too_long")[list(set(wording.CHECKS) - {"too_long"})].eq("").all(axis=None) and flags["reading_ease"].isna().all()
    assert flags["too_long"].tolist() == ["", "", "60 words"]
    english = ["How often do you travel by bus during the week?", "Do your neighbours speak Nederlands?", "How perspicacious are our drivers?", texts[0][:12]]
    mixed = wording.wording_flags(english, [()] * 4)
    assert mixed["jargon"].iloc[2] == "perspicacious" and mixed["reading_ease"].notna().all(), "a survey in English with a few foreign words is checked"


def test_hostile_text_is_only_text():
    texts = ["<script>alert(1)</script>", "=cmd|' /C calc'!A0", "", "\u202eevil", "a" * 5000, "{{ 7 * 7 }}"]
    flags = wording.wording_flags(texts, [("Yes", "No")] * len(texts))
    assert isinstance(flags, pd.DataFrame) and len(flags) == len(texts)
