"""Readers of people: every shape against a good file, own answers that never enter a prompt, and broken files with their line."""

import json

import jsonschema
import pandas as pd
import pytest

from polypersona_lib.errors import InputError
from polypersona_lib.intake.people_file import card_of_row, own_answer, read_people, unread_answers
from polypersona_lib.intake.survey_format import Item, Questionnaire, schemas

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
    assert unread_answers(read, SURVEY) == {"trust": 1}


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
        ("p.csv", "shoe\n39\n", "p.csv:2:persona: missing"),
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
