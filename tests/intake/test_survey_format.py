"""The one shape: items serve wherever questions do, what does not fit is refused, frames have their stated columns, the shipped schemas say the same."""

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest

from polypersona_lib.ask.labelled_files import option_values
from polypersona_lib.errors import InputError
from polypersona_lib.intake import survey_format
from polypersona_lib.intake.answers_folder import read_answers_folder
from polypersona_lib.intake.people_file import people_frame
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.intake.skip_rules import read_rule
from polypersona_lib.intake.survey_format import ANSWER_COLUMNS, ITEM_KINDS, PEOPLE_COLUMNS, Item, Questionnaire, questionnaire_json, shaped
from polypersona_lib.paths import DATA
from polypersona_lib.survey.sheet import sheet_of
from polypersona_lib.world.questions import TYPES

TRUST = Item(
    id="trust", text="How far do you trust the courts?", kind="likert", labels=("Not at all", "A little", "Fully", "Don't know"),
    codes=("0", "1", "2", "9"), option_kinds=("", "", "", "dont_know"), battery="trust", construct="trust",
)  # fmt: skip
HOURS = Item(id="hours", text="How many hours a day do you read?", kind="number", least=0, most=24, order=1, asked_if="${trust} = '2'")
NEWS = Item(id="news", text="Which news do you read?", kind="multiple", labels=("Paper", "Radio"), order=2)


def test_every_kind_of_item_has_a_type_that_prompts_know():
    assert set(ITEM_KINDS.values()) <= set(TYPES)


def test_an_item_becomes_a_prompt_with_its_options():
    user = TRUST.messages({"age": 40, "country": "USA"})[1]["content"]
    assert user == "Persona: 40, USA.\nDomain: General\nQuestion: How far do you trust the courts?\nOptions: Not at all / A little / Fully / Don't know"
    assert HOURS.messages("A reader.")[1]["content"].endswith("Answer with a number, at least 0 and at most 24.")
    assert NEWS.messages("A reader.")[1]["content"].endswith("Name all that apply.\nOptions: Paper / Radio")


def test_only_items_with_one_answer_have_options_for_a_sheet():
    assert TRUST.options == TRUST.labels and TRUST.substantive == (0, 1, 2) and TRUST.ordered
    assert NEWS.options == () and NEWS.ordered is False and HOURS.codes == ()


def test_items_fill_a_sheet():
    rows = pd.DataFrame({"persona_id": ["a", "b"], "question_id": "trust", "option_probs": [np.array([0.5, 0.5, 0, 0]), None], "truth": [1, np.nan]})
    sheet = sheet_of(rows, bank=Questionnaire(title="t", items=(TRUST,)).bank)
    assert sheet.probs.shape == (2, 1, 4) and sheet.missing() == {"answers": 1, "truth": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "slider"}, "unknown kind 'slider'"),
        ({"kind": "likert"}, "0 options; likert needs 2 to 60"),
        ({"labels": ("Yes", "No")}, "open has no options"),
        ({"kind": "single", "labels": ("Yes", "yes ".strip())}, "options must be different texts"),
        ({"kind": "single", "labels": ("A", "B"), "codes": ("1",)}, "codes must be different, one for each option"),
        ({"kind": "single", "labels": ("A", "B"), "option_kinds": ("", "maybe")}, "option kinds must be one of"),
        ({"kind": "number", "least": 5, "most": 5}, "holds no two numbers"),
        ({"key": 0}, "key must be 1 or -1"),
        ({"text": ""}, "needs an id and a text"),
    ],
)
def test_an_item_that_does_not_fit_says_why(fields, message):
    with pytest.raises(ValueError, match=message):
        Item(**{"id": "q", "text": "Well?"} | fields)


def test_two_items_of_one_id_are_refused():
    with pytest.raises(ValueError, match="an id of its own"):
        Questionnaire(title="t", items=(TRUST, TRUST))


def test_batteries_are_the_items_of_one_grid():
    assert Questionnaire(title="t", items=(TRUST, HOURS)).batteries == {"trust": (TRUST,)}


def test_a_frame_has_exactly_the_stated_columns_and_types():
    frame = shaped([{"persona_id": "1", "card": '"x"', "persona": "x"}], PEOPLE_COLUMNS)
    assert [*frame] == [c.name for c in PEOPLE_COLUMNS] and frame["weight"].isna().all() and frame["persona_id"].dtype == "string"
    with pytest.raises(ValueError, match="column persona is never missing, and 1 of 1 rows lack it"):
        shaped([{"persona_id": "1", "card": '"x"'}], PEOPLE_COLUMNS)
    with pytest.raises(ValueError, match="unknown columns"):
        shaped([{"who": "1"}], PEOPLE_COLUMNS)


def test_shipped_schemas_are_those_of_the_code():
    for name, schema in survey_format.schemas().items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert json.loads((DATA / "schemas" / name).read_text(encoding="utf-8")) == schema


def test_a_written_questionnaire_and_its_rows_fit_the_schemas():
    whole = json.loads(questionnaire_json(Questionnaire(title="t", items=(TRUST, HOURS, NEWS), not_used=(("note", "no question"),))))
    jsonschema.validate(whole, survey_format.schemas()["questionnaire.schema.json"])
    assert whole["items"][0]["options"][3] == {"label": "Don't know", "code": "9", "kind": "dont_know"}
    assert set(survey_format.schemas()["answers.schema.json"]["properties"]) == {c.name for c in ANSWER_COLUMNS}


def test_an_option_keeps_the_kind_it_was_given_when_the_file_is_read_again(tmp_path):
    """`questionnaire.json` is what `pilot` reads: "Not sure" that counts as an answer still does, and one that does not still does not."""
    for said, kinds in (("none", ("", "", "")), ("", ("", "", "dont_know"))):
        (tmp_path / "q.csv").write_text(f"id,text,kind,options,option_kinds\nq,Well?,single,Yes|No|Not sure,{said}\n")
        first = read_questionnaire(tmp_path / "q.csv")
        (tmp_path / "questionnaire.json").write_text(questionnaire_json(first))
        assert first.items[0].option_kinds == kinds == read_questionnaire(tmp_path / "questionnaire.json").items[0].option_kinds
        assert read_questionnaire(tmp_path / "questionnaire.json").items == first.items


def test_the_steps_of_a_rating_keep_their_numbers_beside_dont_know(tmp_path):
    steps = "|".join(map(str, range(11)))
    (tmp_path / "q.csv").write_text(f"id,text,kind,options,asked_if\nnps,How likely?,rating,{steps}|Don't know,\nwhy,Why?,open,,nps >= 9\n")
    item, why = read_questionnaire(tmp_path / "q.csv").items
    assert item.codes == (*map(str, range(11)), "don_t_know") and item.option_kinds[-1] == "dont_know"
    rule = read_rule(why.asked_if, {"nps": item})
    assert [rule.holds({"nps": [code]}) for code in ("8", "9", "10", "don_t_know")] == [False, True, True, False]
    assert option_values(item) == [*map(float, range(11)), 11.0]


@pytest.mark.parametrize(("question", "person"), [("q2", "p1"), ("q1", "p9")])
def test_a_folder_whose_parts_do_not_fit_each_other_is_one_line(question, person, tmp_path):
    answer = {"id": "x", "system": "s", "persona_id": person, "question_id": question, "repeat": 0, "mode": "single", "turn": 0, "status": "ok"}
    shaped([answer | {"answer": "y", "turns_dropped": 0, "reference": "z"}], ANSWER_COLUMNS).to_parquet(tmp_path / "answers.parquet")
    people_frame([("p1", "a nurse")]).to_parquet(tmp_path / "people.parquet")
    asked = Questionnaire(title="t", items=(Item(id="q1", text="Well?"),))
    (tmp_path / "questionnaire.json").write_text(questionnaire_json(asked), encoding="utf-8")
    with pytest.raises(InputError, match="has answers to questions, or of people, that are not in it; run ask again"):
        read_answers_folder(tmp_path)
