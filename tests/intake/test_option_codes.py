"""Codes that a source gave, that labels begin with, and that are made up: an answer is read alike everywhere, and no made-up number shifts it in silence."""

import json

import pytest

from polypersona_lib.ask.labelled_files import missing_ranges, option_values
from polypersona_lib.errors import InputError
from polypersona_lib.intake.option_codes import option_named
from polypersona_lib.intake.people_file import read_people, unread_answers
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.intake.skip_rules import NotUnderstood, read_rule
from polypersona_lib.intake.survey_format import Item, questionnaire_json
from polypersona_lib.pilot.panel import human_panel

LIKELY = ("0 (not at all)", *map(str, range(1, 10)), "10 (extremely)")


def item(*labels, kind="single", **fields):
    return Item(id="q", text="Well?", kind=kind, labels=labels, **fields)


def read(tmp_path, options, answers, kind="single"):
    """(questionnaire, people) of one item and a column of answers."""
    (tmp_path / "q.csv").write_text(f'id,text,kind,options\nq,Well?,{kind},"{options}"\n')
    (tmp_path / "p.csv").write_text("persona_id,age,q\n" + "".join(f'p{n},40,"{answer}"\n' for n, answer in enumerate(answers)))
    survey = read_questionnaire(tmp_path / "q.csv")
    return survey, read_people(tmp_path / "p.csv", questionnaire=survey)


@pytest.mark.parametrize(
    ("labels", "codes", "made_up"),
    [
        (LIKELY, tuple(map(str, range(11))), False),
        (("0", "1", "2", "3 or more"), ("0", "1", "2", "3"), False),
        (("1. Bad", "2) Fair", "3 - Good"), ("1", "2", "3"), False),
        (("No", "Yes"), ("1", "2"), True),
        (("18-24", "25-34", "35 or older"), ("1", "2", "3"), True),  # a range begins with no code
        (("Less than 1", "1", "2"), ("option_1", "option_2", "option_3"), True),  # "1" is the second one, so no place is called "1"
    ],
)
def test_numbers_that_labels_begin_with_are_codes_and_made_up_codes_are_none_of_them(labels, codes, made_up):
    assert (item(*labels).codes, item(*labels).made_up) == (codes, made_up)


def test_an_answer_of_a_rating_from_0_is_the_step_that_it_says_everywhere(tmp_path):
    survey, people = read(tmp_path, "|".join(LIKELY), ["10", "0", "9"])
    assert [json.loads(a)["q"] for a in people.frame["own_answers"]] == [LIKELY[10], LIKELY[0], LIKELY[9]]
    assert human_panel({"p0": {"q": "10"}}, survey.items, people.frame[:1]).sheet.truth.tolist() == [[10]]
    rule = read_rule("q = 10", survey.bank)
    assert rule.holds({"q": ["10"]}) and not rule.holds({"q": ["9"]}) and not rule.readings
    assert option_values(survey.items[0]) == [*map(float, range(11))]


@pytest.mark.parametrize(
    ("options", "answers", "message"),
    [
        ("No|Yes", ["1", "0"], "p.csv:q: answers 0, 1, but the options have no codes; write their codes in the questionnaire, as options '0=No|1=Yes'"),
        ("Bad|Fair|Good", ["0", "1", "2", "0"], "answers 0, 1, 2, but the options have no codes; write their codes in the questionnaire, as options '0=Bad|1="),
        ("Bad|Fair|Good", ["1", "2", "-9"], "answers -9: no option; leave the cells of missing answers empty"),
        ("Less than 1|1|2", ["1", "3"], "answers 3, but the options have no codes"),
    ],
)
def test_numbers_that_fit_no_place_are_an_error_that_names_item_values_and_remedy(tmp_path, options, answers, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, options, answers)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_numbers_that_are_read_by_place_are_noted_once_an_item(tmp_path):
    people = read(tmp_path, "No|Yes", ["1", "2", "2", "Yes"])[1]
    assert dict(people.notes)["q: its options have no codes, so numbers were read by their place: '1' as 'No', '2' as 'Yes'"] == 3
    assert not any(note.startswith("q:") for note, _ in read(tmp_path, "1=No|2=Yes", ["1", "2"])[1].notes)


def test_a_condition_by_place_is_noted_and_a_label_counts_before_a_code(tmp_path):
    (tmp_path / "q.csv").write_text("id,text,kind,options,asked_if\nq,Well?,yes_no,No|Yes,\nr,Why?,open,,q = 1\n")
    assert "condition of 'r': '1' read as 'No' (option 1 of 'q', which has no codes)" in dict(read_questionnaire(tmp_path / "q.csv").notes)
    swapped = item("2", "1", codes=("1", "2"))
    assert option_named(swapped, "1") == (1, "label") and read_rule("q = 1", {"q": swapped}).holds({"q": ["2"]})
    with pytest.raises(NotUnderstood, match="compares numbers, and 'option_2' is none"):
        read_rule("q > 1", {"q": item("Less than 1", "1", "2")})


def test_made_up_codes_stay_made_up_in_the_written_questionnaire(tmp_path):
    survey = read(tmp_path, "No|Yes", ["No"])[0]
    (tmp_path / "questionnaire.json").write_text(questionnaire_json(survey))
    assert "code" not in json.loads(questionnaire_json(survey))["items"][0]["options"][0]
    assert read_questionnaire(tmp_path / "questionnaire.json").items == survey.items and survey.items[0].made_up


def test_some_codes_but_not_all_are_an_error(tmp_path):
    (tmp_path / "q.json").write_text(json.dumps([{"id": "q", "text": "Well?", "options": [{"label": "No", "code": 0}, {"label": "Yes"}]}]))
    with pytest.raises(InputError, match=r"options\[1\]: has no code, but other options have; give every option a code, or none"):
        read_questionnaire(tmp_path / "q.json")


@pytest.mark.parametrize("said", ["Don\u2019t know", "DON'T  KNOW", "Don\u00b4t know"])
def test_quotes_dashes_blanks_and_case_tell_no_labels_apart(said):
    options = item("Yes \u2013 always", "Don't know", codes=("y", "d"))
    assert option_named(options, said)[0] == 1 and option_named(options, "yes - ALWAYS")[0] == 0 and option_named(options, "D")[0] == 1


def test_several_choices_are_split_at_semicolons_and_counted_if_one_is_unread(tmp_path):
    survey, people = read(tmp_path, "p=Paper|r=Radio, local|t=TV", ["p;r", "p r", "Paper; Radio, local", "Radio, local", "p;x"], kind="multiple")
    said = [json.loads(a)["q"] for a in people.frame["own_answers"]]
    assert said == ["Paper|Radio, local"] * 3 + ["Radio, local", "Paper|x"] and unread_answers(people, survey) == {"q": (1, "Paper|x")}


@pytest.mark.parametrize(
    ("codes", "ranges", "left"),
    [
        ("1 2 7 8 9", [(7, 7), (8, 8), (9, 9)], []),
        ("1 2 6 7 8 9", [(6, 9)], []),
        ("1 2 -9 97 98 99", [(97, 99), (-9, -9)], []),
        ("1 50 -9 -8 -7 99 100", [(-9, -7), (99, 99)], ["o100"]),
        ("1 50 -9 20 60 70 80", [(60, 80), (-9, -9)], ["o20"]),
        ("1 30 -9 20 40", [(-9, -9), (20, 20), (40, 40)], []),
        ("1 20 30 0 10 25 40", [(0, 0), (10, 10), (25, 25)], ["o40"]),
    ],
)
def test_spss_gets_a_range_and_a_value_where_three_values_are_too_few(codes, ranges, left):
    """Options that are no answers: all codes but the first two, or of the last case all but the first three."""
    listed = codes.split()
    answers = 3 if codes.startswith("1 20 30") else 2
    q = item(*(f"o{code}" for code in listed), codes=tuple(listed), option_kinds=("",) * answers + ("refused",) * (len(listed) - answers))
    found, without = missing_ranges(q)
    assert ([(r["lo"], r["hi"]) for r in found], without) == (ranges, left)


KIDS = "1=0|2=1|3=2|4=3 or more"  # "1" and "2" are labels of options and codes of others


@pytest.mark.parametrize(
    ("answers", "said", "how"),
    [
        (["1", "2", "3", "4"], ["0", "1", "2", "3 or more"], "codes"),
        (["2", "1", "-9", "3"], ["1", "0", "-9", "2"], "codes"),  # an answer that is neither says nothing
        (["0", "1", "2", "3 or more"], ["0", "1", "2", "3 or more"], "labels"),
        (["1", "2", "1"], ["1", "2", "1"], "labels"),  # nothing decides: a label counts before a code
    ],
)
def test_a_column_in_which_labels_are_other_options_codes_is_read_in_one_way_and_noted(tmp_path, answers, said, how):
    people = read(tmp_path, KIDS, answers)[1]
    assert [json.loads(a)["q"] for a in people.frame["own_answers"]] == said
    assert [note for note, _ in people.notes if note.startswith("q: ")] == [
        f"q: '1', '2' may be the label of one option or the code of another; all were read as {how}"
    ]


def test_a_column_of_labels_and_of_codes_is_an_error(tmp_path):
    with pytest.raises(InputError, match="^p.csv:q: '1' may be .*, and '4' is only a code, '0' only a label; write all answers as codes, or all as labels$"):
        read(tmp_path, KIDS, ["1", "0", "4"])


def test_several_choices_in_codes_that_are_labels_too(tmp_path):
    people = read(tmp_path, "1=2|2=3|3=None", ["1 2", "3"], kind="multiple")[1]
    assert [json.loads(a)["q"] for a in people.frame["own_answers"]] == ["2|3", "None"]
