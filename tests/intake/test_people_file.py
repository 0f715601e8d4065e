"""Readers of people: every shape against a good file, own answers that never enter a prompt, and broken files with their line."""

import json

import jsonschema
import pandas as pd
import pytest

from polypersona_lib.errors import InputError
from polypersona_lib.intake.people_file import card_of_row, own_answer, read_people, unread_answers
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.intake.skip_rules import read_rule
from polypersona_lib.intake.survey_format import Item, Questionnaire, schemas
from polypersona_lib.pilot.panel import human_panel

TRUST = Item(id="trust", text="Do you trust them?", kind="likert", labels=("No", "A bit", "Yes"), codes=("1", "2", "3"))
NEWS = Item(id="news", text="Which?", kind="multiple", labels=("Paper", "Radio"), codes=("p", "r"))
SURVEY = Questionnaire(title="t", items=(TRUST, NEWS, Item(id="why", text="Why?")))


def people(tmp_path, name, content, **options):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_people(tmp_path / name, questionnaire=SURVEY, **options)


def test_attributes_in_columns_become_cards(tmp_path):
    read = people(tmp_path, "p.csv", "id;Age;sex;state;weight;shoe size\n7;41;woman;Ohio;1,5;39\n8;18-24;man;Iowa;2;40\n")
    assert [card_of_row(c) for c in read.frame["card"]] == [
        {"age": 41, "gender": "woman", "region": "Ohio"},
        {"age": "18-24", "gender": "man", "region": "Iowa"},
    ]
    assert read.frame["persona"].tolist() == ["woman, 41, Ohio.", "man, 18-24, Iowa."] and read.frame["weight"].tolist() == [1.5, 2.0]
    assert dict(read.not_used).keys() == {"shoe size"} and read.frame["persona_id"].tolist() == ["7", "8"]


@pytest.mark.parametrize(("column", "values"), [("sex", "2 1"), ("education", "4 -9"), ("region", "1 2"), ("religion", "3.0 1.0")])
def test_codes_are_no_attributes(tmp_path, column, values):
    """A card "2, 51, 1" says nothing to a model; ages, incomes and numbers of children are numbers."""
    table = f"age,children,income,{column}\n" + "".join(f"41,2,900,{value}\n" for value in values.split())
    with pytest.raises(InputError, match=f"the column '{column}' holds only numbers .{values.replace(' ', ', ')}., and a model reads them"):
        people(tmp_path, "p.csv", table)
    assert len(people(tmp_path, "p.csv", table.replace(values.split()[0], "words")).frame) == 2
    assert len(people(tmp_path, "p.csv", table, need_cards=False).frame) == 2, "people who are not asked may be coded"


def test_rows_fit_the_shipped_schema(tmp_path):
    read = people(tmp_path, "p.csv", "age,trust\n41,2\n30,\n")
    rows = read.frame.astype(object).where(read.frame.notna(), None).to_dict("records")
    check = jsonschema.Draft202012Validator(schemas()["people.schema.json"])
    assert len(rows) == 2 and all(check.is_valid(row) for row in rows) and not check.is_valid(rows[0] | {"persona_id": 7})


def test_own_answers_are_references_and_never_part_of_a_card(tmp_path):
    read = people(tmp_path, "p.csv", "age,trust,news,why\n41,2,p r,Money.\n30,Yes,,\n20,Perhaps,Radio|Paper,\n")
    answers = [json.loads(a) for a in read.frame["own_answers"]]
    assert answers == [{"trust": "A bit", "news": "Paper|Radio", "why": "Money."}, {"trust": "Yes"}, {"trust": "Perhaps", "news": "Radio|Paper"}]
    assert not any(word in " ".join(read.frame["persona"]) for word in ("bit", "Money", "Radio", "Perhaps"))
    assert unread_answers(read, SURVEY) == {"trust": (1, "Perhaps")}


def test_personahub_texts_and_texts_beside_attributes(tmp_path):
    hub = people(tmp_path, "hub.jsonl", '{"input persona": "A nurse who likes tea."}\n{"input persona": "A judge."}\n')
    assert hub.frame["persona"].tolist() == ["A nurse who likes tea.", "A judge."] and hub.frame["persona_id"].tolist() == ["row-1", "row-2"]
    nemotron = {
        "uuid": "u1", "professional_persona": "Long text.", "persona": "Ann plans gardens.", "sex": "Female", "age": 44, "marital_status": "widowed",
        "education_level": "bachelors", "occupation": "gardener", "city": "Salem", "state": "OR", "zipcode": "97301", "country": "USA",
    }  # fmt: skip
    pd.DataFrame([nemotron]).to_parquet(tmp_path / "n.parquet")
    read = read_people(tmp_path / "n.parquet")
    card = card_of_row(read.frame["card"][0])
    assert card["gender"] == "Female" and card["description"].startswith("Ann plans gardens.") and "marital status: widowed" in card["description"]
    assert read.frame["persona_id"][0] == "u1" and dict(read.not_used).keys() == {"professional_persona", "zipcode"}


def test_other_sheets_of_a_workbook_are_named(tmp_path):
    with pd.ExcelWriter(tmp_path / "p.xlsx") as book:
        pd.DataFrame({"var": ["q1"], "label": ["Trust"]}).to_excel(book, sheet_name="Codebook", index=False)
        pd.DataFrame({"age": [40]}).to_excel(book, sheet_name="Data", index=False)
    with pytest.raises(InputError, match="no column is a persona or an attribute .* --map var=age; not read: sheet Data"):
        read_people(tmp_path / "p.xlsx")
    read = read_people(tmp_path / "p.xlsx", mapping={"label": "age"})
    assert dict(read.not_used)["sheet Data"] == "only the first visible sheet is read, 'Codebook'"


def test_exports_of_survey_tools_lose_their_header_rows(tmp_path):
    text = 'ResponseId,Age,trust\nResponse ID,How old?,Trust\n"{""ImportId"":""_recordId""}","{""ImportId"":""QID1""}","{""ImportId"":""QID2""}"\nR_1,41,3\n'
    read = people(tmp_path, "p.csv", text)
    assert len(read.frame) == 1 and "left out: 2 rows that only describe the columns (line 2, 3)" in dict(read.notes)
    wide = people(tmp_path, "q.csv", text.encode("utf-16"))
    assert wide.frame.equals(read.frame)


def test_columns_are_mapped_into_ids_cards_and_answers(tmp_path):
    read = people(tmp_path, "p.csv", "nr,alter,q7,club\nx,41,3,chess\n", mapping={"nr": "persona_id", "alter": "age", "q7": "trust", "club": "member_of"})
    assert card_of_row(read.frame["card"][0]) == {"age": 41, "description": "member of: chess."}
    assert json.loads(read.frame["own_answers"][0]) == {"trust": "Yes"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "age\n", "p.csv: holds no people"),
        ("p.csv", "age\n200\n", "p.csv:2:persona.age: 200 is out of range"),
        ("p.csv", "id,age\na,1\na,2\n", "p.csv:3:persona_id: 'a' is already in line 2"),
        ("p.csv", "age,weight\n30,heavy\n", "p.csv:2:weight: 'heavy' is no weight"),
        ("p.csv", "age,weight\n30,-1\n", "p.csv:2:weight: '-1' is no weight"),
        (
            "p.csv",
            "ID,Alter\n1,39\n2,40\n",
            "p.csv:1:persona: no column is a persona or an attribute (columns there: 'ID', 'Alter'); say what they are, for example --map Alter=age",
        ),
        ("p.csv", "age,Age\n30,40\n", "p.csv:1:age: is given twice, in the columns 'age' and 'Age'; drop or rename one"),
        ("p.csv", "age,trust,Trust\n30,1,2\n", "p.csv:1:trust: is given twice, in the columns 'trust' and 'Trust'"),
        ("p.csv", "age,weight\n30,0\n40,0.0\n", "p.csv:weight: is 0 for everybody"),
        ("p.jsonl", '["a"]\n', "p.jsonl:1: a person must be an object"),
        ("p.jsonl", '{"persona": "a"}\n{"persona"\n', "p.jsonl:2: broken JSON"),
        ("p.json", '[{"persona": "a"}', "p.json:1: broken JSON"),
        ("p.jsonl", json.dumps({"persona": "a" * 4001}), "p.jsonl:1:persona: 4,001 characters; at most 4,000"),
        ("p.parquet", b"no", "p.parquet: not a readable Parquet file"),
        ("p.xlsx", b"no", "p.xlsx: not a readable Excel workbook"),
        ("p.csv", b"age\n\xff\xfe1\n", "p.csv:2: not UTF-8"),
    ],
)
def test_broken_files_get_their_line(tmp_path, name, content, message):
    with pytest.raises(InputError) as caught:
        people(tmp_path, name, content)
    assert message in str(caught.value)


def test_codes_labels_and_words_become_answers():
    assert [own_answer(v, TRUST) for v in ("2", 2, 2.0, "a bit", " Yes ", "other", "")] == ["A bit", "A bit", "A bit", "A bit", "Yes", "other", None]
    assert own_answer("p,r", NEWS) == own_answer(["p", "r"], NEWS) == own_answer("Paper|Radio", NEWS) == "Paper|Radio"


def test_a_column_that_is_a_question_and_an_attribute_is_an_answer(tmp_path):
    """What a person answered may never enter a prompt, whatever the question is called."""
    party = Questionnaire(title="t", items=(Item(id="party", text="Your party?", kind="single", labels=("Democrat.", "Republican.")),))
    (tmp_path / "p.csv").write_text("persona_id,age,Party\na,40,Democrat.\n")
    read = read_people(tmp_path / "p.csv", questionnaire=party)
    assert "Democrat" not in read.frame["persona"][0] and json.loads(read.frame["own_answers"][0]) == {"party": "Democrat."}
    assert any("read as the people's own answers" in note for note, _ in read.notes)
    mapped = read_people(tmp_path / "p.csv", questionnaire=party, mapping={"Party": "membership"})
    assert "Democrat" in mapped.frame["persona"][0] and mapped.frame["own_answers"].isna().all()


def test_none_is_an_answer_where_it_is_an_option_and_noted_where_it_is_not(tmp_path):
    survey = Questionnaire(title="t", items=(Item(id="cars", text="How many?", kind="single", labels=("None", "One", "Two")),))
    (tmp_path / "p.csv").write_text("persona_id,age,religion,cars\na,40,None,None\nb,41,Jewish,nan\n")
    read = read_people(tmp_path / "p.csv", questionnaire=survey)
    assert json.loads(read.frame["own_answers"][0]) == {"cars": "None"} and read.frame["own_answers"].isna()[1]
    assert dict(read.notes)["religion 'None' read as missing"] == 1 and dict(read.notes)["cars 'nan' read as missing"] == 1


def test_a_label_with_a_slash_is_one_label_everywhere(tmp_path):
    """A prompt separates options by " / ", so a label loses the blanks; the people's answers lose them too."""
    (tmp_path / "q.csv").write_text("id,text,kind,options\nrace,Which?,single,White|Black / African American\nwhy,Why?,open,\n")
    survey = read_questionnaire(tmp_path / "q.csv")
    (tmp_path / "p.csv").write_text("persona_id,age,race\na,40,Black / African American\n")
    read = read_people(tmp_path / "p.csv", questionnaire=survey)
    assert not unread_answers(read, survey) and json.loads(read.frame["own_answers"][0])["race"] == survey.items[0].labels[1]
    assert human_panel({"a": {"race": "black / african american"}}, survey.items, read.frame).sheet.truth.tolist() == [[1]]
    rule = read_rule("${race} = 'Black / African American'", survey.bank)
    assert rule.holds({"race": ["2"]}) and not rule.holds({"race": ["1"]})


def test_what_r_writes_for_a_missing_value_is_none_and_noted(tmp_path):
    read = people(tmp_path, "p.csv", 'persona_id,age,gender,trust,why\na,40,NA,2,NA\nb,NA,man,NA,"N/A"\n')
    assert [card_of_row(card) for card in read.frame["card"]] == [{"age": 40}, {"gender": "man"}]
    assert json.loads(read.frame["own_answers"][0]) == {"trust": "A bit"} and read.frame["own_answers"].isna()[1]
    assert dict(read.notes)["gender 'NA' read as missing"] == 1 and dict(read.notes)["why 'N/A' read as missing"] == 1


def test_a_mapped_column_stands_before_one_that_is_called_so(tmp_path):
    read = people(tmp_path, "p.csv", "age,alter,trust\n1,41,2\n", mapping={"alter": "age"})
    assert card_of_row(read.frame["card"][0]) == {"age": 41} and dict(read.not_used) == {"age": "another column is mapped to it"}
    real = people(tmp_path, "p.csv", "trust\n2\n", mapping={"Q7": "trust"}, need_cards=False)  # the map names a column of another file
    assert json.loads(real.frame["own_answers"][0]) == {"trust": "A bit"}


@pytest.mark.parametrize("column", ["weight", "unit"])
def test_a_weight_or_a_unit_is_everybodys_or_nobodys(tmp_path, column):
    with pytest.raises(InputError, match=rf"{column}: 1 of 3 people have none \('b', ...\)"):
        people(tmp_path, "p.csv", f"persona_id,age,{column}\na,40,1\nb,41,\nc,42,2\n")


@pytest.mark.parametrize(
    ("cells", "weights"),
    [
        (("0,875", "1,25"), [0.875, 1.25]),
        (("1,125", "0,5"), [1.125, 0.5]),
        (("1,250", "2,000"), [1250.0, 2000.0]),
        (("0.875", "1"), [0.875, 1.0]),
        (("0.02854972238120812", "1.0000000000000002e-05"), [0.02854972238120812, 1.0000000000000002e-05]),
        (("0,02854972238120812", "1,5"), [0.02854972238120812, 1.5]),
    ],
)
def test_decimal_commas_of_weights(tmp_path, cells, weights):
    """Three decimals look like a thousand; another cell of the column, or a leading zero, says that they are none."""
    content = "persona_id;age;weight\n" + "".join(f"p{n};40;{cell}\n" for n, cell in enumerate(cells))
    assert people(tmp_path, "p.csv", content).frame["weight"].tolist() == weights


def test_a_number_too_large_for_a_weight_is_one_line(tmp_path):
    with pytest.raises(InputError, match="is no weight"):
        people(tmp_path, "p.jsonl", '{"persona_id": "a", "age": 4, "weight": 1' + "0" * 400 + "}\n")


def test_people_without_ids_of_two_files_are_different_people(tmp_path):
    ids = [people(tmp_path, "p.csv", "age,trust\n41,2\n30,1\n", need_cards=cards).frame["persona_id"].tolist() for cards in (True, False)]
    assert not set(ids[0]) & set(ids[1])


def survey_of(*ids, kind="yes_no", labels=("No", "Yes")):
    return Questionnaire(title="t", items=tuple(Item(id=i, text=f"{i}, is it so?", kind=kind, labels=labels) for i in ids))


@pytest.mark.parametrize("column", ["character", "Profile", "persona", "respondent", "case_id"])
def test_a_column_that_is_a_question_and_a_column_of_ours_is_an_answer(tmp_path, column):
    (tmp_path / "p.csv").write_text(f"{column},id,age\nYes,a,40\nNo,b,50\n")
    read = read_people(tmp_path / "p.csv", questionnaire=survey_of(column.lower()))
    assert read.frame["persona"].tolist() == ["40.", "50."] and read.frame["persona_id"].tolist() == ["a", "b"]
    assert [json.loads(a) for a in read.frame["own_answers"]] == [{column.lower(): "Yes"}, {column.lower(): "No"}]
    assert any(f"column '{column}' is called as a question: read as the people's own answers" in note for note, _ in read.notes)


def test_the_only_id_stays_the_id_and_is_noted(tmp_path):
    (tmp_path / "p.csv").write_text("id,age\na,40\n")
    read = read_people(tmp_path / "p.csv", questionnaire=survey_of("id"))
    assert read.frame["persona_id"][0] == "a" and read.frame["own_answers"].isna()[0] and any("read as the people's ids" in note for note, _ in read.notes)
    mapped = read_people(tmp_path / "p.csv", questionnaire=survey_of("id", kind="open", labels=()), mapping={"id": "id"})
    assert json.loads(mapped.frame["own_answers"][0]) == {"id": "a"}


@pytest.mark.parametrize(("column", "ours"), [("weight", "weight"), ("unit", "unit"), ("cluster", "unit"), ("wt", "weight")])
def test_a_weight_or_a_unit_that_is_a_question_too_is_asked_for(tmp_path, column, ours):
    (tmp_path / "p.csv").write_text(f"id,age,{column}\na,40,70\nb,50,90\n")
    survey = survey_of(column, kind="number", labels=())
    with pytest.raises(
        InputError, match=f"^p.csv:1:{column}: the column '{column}' is called as a question and as the people's {ours}; .* --map {column}={ours};"
    ):
        read_people(tmp_path / "p.csv", questionnaire=survey)
    read = read_people(tmp_path / "p.csv", questionnaire=survey, mapping={column: ours})
    assert read.frame[ours].astype(float).tolist() == [70, 90] and read.frame["own_answers"].isna().all()


@pytest.mark.parametrize(
    ("header", "second", "left"),
    [
        ("V1,age,trust", "ResponseID,How old are you?,Do you trust them?", True),
        ("V1,age,trust", "Response ID,Age,Trust", True),
        ("V1,age,trust", ",Open-Ended Response,Response", True),
        ("V1,age,trust", "R0,How old are you?, do you TRUST them?", True),  # the wording alone says it
        ("V1,age,trust", "David,30,Perhaps", False),
        ("V1,age,trust", "R0,30,Perhaps", False),
        ("V1,age,trust", ",30,Yes", False),
        ("V1,age,trust", ",30,", False),
    ],
)
def test_a_second_header_row_is_no_person(tmp_path, header, second, left):
    read = people(tmp_path, "p.csv", f"{header}\n{second}\na,41,3\nb,30,1\n", mapping={"V1": "persona_id"})
    assert (len(read.frame), dict(read.notes).get("left out: 1 rows that only describe the columns (line 2)", 0)) == ((2, 1) if left else (3, 0))
    assert read.frame["persona"].tolist()[-2:] == ["41.", "30."]


def test_a_first_person_without_an_id_in_a_file_without_ids_stays(tmp_path):
    assert len(people(tmp_path, "p.csv", "age,trust\n41,Perhaps\n30,1\n").frame) == 2
    assert len(people(tmp_path, "p.csv", "id,age\nResponseID,40\n").frame) == 1


@pytest.mark.parametrize(
    ("name", "cells", "weights", "note"),
    [
        ("p.csv", ("1,250", "2"), [1.25, 2], "weights such as '1,250' read as 1.250; if that is wrong, write them with a decimal point"),
        ("p.csv", ("1,250", "2.5"), [1250, 2.5], "weights such as '1,250' read as 1250; if that is wrong, write them with a decimal point"),
        ("p.csv", ("1,250", "2,000"), [1250, 2000], "weights such as '1,250' read as 1250; if that is wrong, write them with a decimal point"),
        ("p.csv", ("1,250", "2,5"), [1.25, 2.5], ""),
        ("p.json", ("1,250", "950"), [1250, 950], "weights such as '1,250' read as 1250; if that is wrong, write them with a decimal point"),
    ],
)
def test_a_weight_that_may_be_a_thousand_or_not_is_read_by_its_file_and_noted(tmp_path, name, cells, weights, note):
    rows = [{"id": f"p{n}", "age": 40, "weight": cell} for n, cell in enumerate(cells)]
    content = json.dumps(rows) if name == "p.json" else "id;age;weight\n" + "".join(f"{';'.join(map(str, row.values()))}\n" for row in rows)
    read = people(tmp_path, name, content)
    assert read.frame["weight"].tolist() == weights and [n for n, _ in read.notes if n.startswith("weights")] == [note] * bool(note)


def test_a_thousand_in_a_table_with_commas_stays_one(tmp_path):
    assert people(tmp_path, "p.csv", 'id,age,weight\na,40,"1,250"\nb,50,950\n').frame["weight"].tolist() == [1250, 950]
