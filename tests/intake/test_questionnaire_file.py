"""Readers of questionnaires: every format against a good file, and against broken ones with the one line that they get."""

import json

import jsonschema
import pandas as pd
import pytest

from polypersona_lib.errors import InputError
from polypersona_lib.intake.item_options import kind_by_options, non_substance
from polypersona_lib.intake.question_rows import parse_map, split_map
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.intake.reading import plain_text
from polypersona_lib.intake.skip_rules import rules_of
from polypersona_lib.intake.survey_format import questionnaire_json, schemas
from polypersona_lib.paths import ROOT
from polypersona_lib.world.questions import SCALES

SURVEYS = ROOT / "tests" / "data" / "surveys"
GOOD = {  # file -> kind of each item
    "clinic_visit.xlsx": "yes_no number agreement agreement multiple rating ranking number open",
    "household.xlsx": "open yes_no number",
    "commute.qsf": "single multiple likert likert number ranking number",
    "course_feedback.qsf": "rating open open",
    "housing.tsv": "yes_no single open",
    "personality.csv": "likert likert number",
    "news.jsonl": "number single single multiple",
}
QUESTION = {"id": "a", "text": "Well?", "options": ["Yes", "No"]}


def book(path, **sheets):
    """Write a workbook of lists of rows."""
    from openpyxl import Workbook

    workbook = Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    workbook.save(path)


def error_of(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_questionnaire(path, **options)
    return str(caught.value)


@pytest.mark.parametrize(("name", "kinds"), GOOD.items())
def test_a_good_file_of_every_format(name, kinds):
    questionnaire = read_questionnaire(SURVEYS / name)
    assert [item.kind for item in questionnaire.items] == kinds.split()
    assert questionnaire.source == name and len(questionnaire.sha256) == 64
    assert [item.order for item in questionnaire.items] == list(range(len(questionnaire.items)))


@pytest.mark.parametrize("name", GOOD)
def test_a_written_questionnaire_reads_back_the_same(name, tmp_path):
    questionnaire = read_questionnaire(SURVEYS / name)
    text = questionnaire_json(questionnaire)
    jsonschema.validate(json.loads(text), schemas()["questionnaire.schema.json"])
    (tmp_path / "questionnaire.json").write_text(text, encoding="utf-8")
    again = read_questionnaire(tmp_path / "questionnaire.json")
    assert again.items == questionnaire.items and again.title == questionnaire.title and again.not_used == questionnaire.not_used


def test_an_xlsform_keeps_conditions_of_groups_batteries_ranges_and_refusals():
    bank = read_questionnaire(SURVEYS / "clinic_visit.xlsx").bank
    assert bank["care_listen"].battery == "care" and bank["care_listen"].asked_if == "selected(${seen}, 'yes')"
    assert bank["care_listen"].option_kinds[-1] == "refused" and bank["care_listen"].codes[-1] == "9"
    assert (bank["wait"].least, bank["wait"].most) == (0, 600) and bank["again"].labels[-1] == "10"
    assert bank["seen"].text == "Were you seen by a nurse today?" and bank["reasons"].labels[-1] == "Other"
    assert dict(read_questionnaire(SURVEYS / "clinic_visit.xlsx").not_used)["where"].startswith("geopoint")


def test_a_qualtrics_file_follows_its_flow_and_logic():
    questionnaire = read_questionnaire(SURVEYS / "commute.qsf")
    assert all(item.ordered for item in questionnaire.items if item.battery and item.kind in ("single", "likert", "agreement"))
    bank = questionnaire.bank
    assert bank["mode"].codes == ("10", "20", "99") and bank["mode"].text == "How do you usually get to work?"
    assert bank["why"].asked_if == "(selected(${mode}, '10') or selected(${mode}, '20'))" and bank["minutes"].asked_if == "(not(selected(${mode}, '99')))"
    assert bank["sat_cost"].battery == "sat" and bank["sat_cost"].option_kinds[-1] == "not_applicable" and bank["roads_1"].text == "Rate the roads. Main roads"
    assert dict(questionnaire.not_used).keys() == {"old", "thanks", "best"}


def test_reversed_constructs_variants_and_codes_are_columns():
    bank = read_questionnaire(SURVEYS / "personality.csv").bank
    assert bank["BF2"].key == -1 and bank["BF1"].key == 1 and bank["BF1"].construct == "extraversion" and bank["BF1"].codes == ("1", "2", "3", "4", "5")
    assert {i.variant for i in read_questionnaire(SURVEYS / "news.jsonl").items} == {"", "trust"}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "text;options\nCafé?;Oui|Non\n"),
        ("utf-16", "text\toptions\nCafé?\tOui|Non\n"),
        ("utf-8", "sep=^\ntext^options\nCafé?^Oui|Non\n"),
        ("utf-8", 'text,options\n"Café?","Oui|Non"\n'),
        ("utf-8", "text|options\nCafé?|Oui / Non\n"),
    ],
)
def test_delimiters_and_encodings(tmp_path, encoding, text):
    (tmp_path / "q.csv").write_bytes(text.encode(encoding))
    (item,) = read_questionnaire(tmp_path / "q.csv").items
    assert item.text == "Café?" and item.labels == ("Oui", "Non")


@pytest.mark.parametrize("write", ["json list", "json object", "jsonl", "parquet", "xlsx"])
def test_the_same_table_in_any_file(tmp_path, write):
    path = tmp_path / f"q.{ {'json list': 'json', 'json object': 'json'}.get(write, write) }"
    if write == "parquet":
        pd.DataFrame([QUESTION]).to_parquet(path)
    elif write == "xlsx":
        book(path, Sheet1=[["id", "text", "options"], ["a", "Well?", "Yes|No"]])
    else:
        path.write_text(json.dumps({"json list": [QUESTION], "json object": {"title": "T", "questions": [QUESTION]}}.get(write, QUESTION)))
    (item,) = read_questionnaire(path).items
    assert (item.id, item.text, item.labels, item.kind) == ("a", "Well?", ("Yes", "No"), "yes_no")


BROKEN = {  # file name, content -> part of the message
    "no wording": ("q.csv", "id,kind\na,open\n", "q.csv:1:text: no column holds the wording; it may be called text, question"),
    "no rows": ("q.csv", "text,kind\n", "q.csv: holds no questions"),
    "empty file": ("q.csv", "", "q.csv: holds no questions"),
    "unknown kind": ("q.csv", "text,kind\nWell?,lickert\n", "q.csv:2:kind: unknown kind 'lickert'; did you mean 'likert'?"),
    "scale without options": ("q.csv", "text,kind\nWell?,likert\n", "q.csv:2:options: missing; an item of kind likert needs its options"),
    "one option": ("q.csv", "text,kind,options\nWell?,single,Yes\n", "q.csv:2:options: 'Yes' is one option; put | between them (single needs 2 to 60)"),
    "commas between options": ("q.csv", 'text,options\nWell?,"Car, Bus, Bike"\n', "q.csv:2:options: 'Car, Bus, Bike' is one option; put | between them"),
    "too many options": ("q.csv", "text,kind,options\nWell?,rating,0-100\n", "q.csv:2:options: 101 options; rating needs 2 to 60"),
    "radio without options": ("q.csv", "text,kind,options\nWell?,radio,\n", "q.csv:2:options: missing; an item of kind single needs its options"),
    "checkbox without options": ("q.csv", "text,kind\nWell?,checkbox\n", "q.csv:2:options: missing; an item of kind multiple needs its options"),
    "rating without ends": ("q.csv", "text,kind\nWell?,nps\n", "q.csv:2:options: missing; a rating needs its options (0-10), or its ends"),
    "ends turned round": ("q.csv", "text,kind,min,max\nWell?,rating,5,1\n", "q.csv:2:least: 5 is above most, 1; swap them, or write 5-1 into options"),
    "codes alone": ("q.csv", "text,values\nWell?,1|2\n", "q.csv:2:codes: stand there without options; write both into options, as 1=Yes|2=No"),
    "options alike": ("q.csv", "text,options\nWell?,Yes|yes\n", "q.csv:2: options must be different texts"),
    "two of one id": ("q.csv", "id,text\na,One?\na,Two?\n", "q.csv:3:id: 'a' stands there twice"),
    "two names of one field": ("q.csv", "text,question\nOne?,Two?\n", "'text' is given twice under different names"),
    "a column twice": ("q.csv", "text,text\na,b\n", "q.csv:1: the column 'text' stands there twice"),
    "codes that lack": ("q.csv", "text,options,codes\nWell?,A|B,1\n", "q.csv:2:codes: 1 codes for 2 options"),
    "no number": ("q.csv", "text,kind,min\nWell?,number,low\n", "q.csv:2:least: 'low' is not a number"),
    "no flag": ("q.csv", "text,negated\nWell?,perhaps\n", "q.csv:2:negated: 'perhaps' is neither yes nor no"),
    "no key": ("q.csv", "text,key\nWell?,7\n", "q.csv:2:key: '7' is no key; 1: a high option"),
    "condition ahead": ("q.csv", "id,text,relevant\na,One?,b = 1\nb,Two?,\n", "q.csv:2:asked_if: condition 'b = 1': no item 'b' stands before this one"),
    "condition unread": ("q.csv", "id,text,relevant\na,One?,\nb,Two?,count(a) > 1\n", "q.csv:3:asked_if: condition 'count(a) > 1': no item 'count'"),
    "condition option": ("q.csv", "id,text,options,relevant\na,One?,A|B,\nb,Two?,,a = 'C'\n", "'C' is no option of 'a'; its options are 'A', 'B'"),
    "piped text": ("q.csv", "text\nDo you like ${food}?\n", "q.csv:2:text: '${food}' is filled in from another answer"),
    "long text": ("q.csv", f"text\n{'a' * 1001}\n", "q.csv:2:text: 1,001 characters; at most 1,000"),
    "latin bytes": ("q.csv", b"text\ncaf\xe9?\n", "q.csv:2: not UTF-8 (byte 0xe9); save the file as UTF-8"),
    "open quote": ("q.csv", 'text\n"Well?\n', "q.csv:2: broken table"),
    "cells too many": ("q.csv", "id,text\na,Well?,too\n", "q.csv:2: 3 cells but 2 columns"),
    "broken json": ("q.json", '{"items": [', "q.json: broken JSON (line 1"),
    "json without items": ("q.json", '{"title": "x"}', "q.json:items: missing"),
    "another format": ("q.json", '{"format": "other/9", "items": []}', "q.json:format: 'other/9'; this version reads polypersona-survey/1"),
    "no object": ("q.json", '["Well?"]', "q.json:1: a question must be an object"),
    "text that is none": ("q.json", '{"items": [{"text": 5}, {"text": ["a"]}]}', "q.json:item 2:text: must be text, not a list"),
    "broken lines": ("q.jsonl", '{"text": "a"}\n{"text"\n', "q.jsonl:2: broken JSON"),
    "broken parquet": ("q.parquet", b"PAR1", "q.parquet: not a readable Parquet file"),
    "broken workbook": ("q.xlsx", b"PK no", "q.xlsx: not a readable Excel workbook"),
    "old workbook": ("q.xls", b"\xd0\xcf", "q.xls: is an old Excel file; save it as .xlsx"),
    "broken qsf": ("q.qsf", "{", "q.qsf: broken JSON"),
    "another json": ("q.qsf", "{}", "q.qsf: no Qualtrics survey: it has no SurveyElements"),
    "qsf without questions": ("q.qsf", '{"SurveyElements": []}', "q.qsf: holds no questions"),
    "limesurvey": ("q.lss", "<document/>", "q.lss: is a LimeSurvey structure file; export the survey as tab-separated values (.txt)"),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_says_what_where_and_what_to_do(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in error_of(tmp_path / name)


BROKEN_FORMS = {
    "no list": ([["type", "name", "label"], ["select_one yn", "a", "Well?"]], "q.xlsx, sheet survey:2:type: no list 'yn' in the sheet choices"),
    "unknown type": ([["type", "name", "label"], ["slider", "a", "Well?"]], "q.xlsx, sheet survey:2:type: unknown type 'slider'"),
    "no name": ([["type", "name", "label"], ["text", None, "Well?"]], "q.xlsx, sheet survey:2:name: missing"),
    "no label": ([["type", "name", "label"], ["text", "a", None]], "q.xlsx, sheet survey:2:text: missing"),
    "open group": ([["type", "name", "label"], ["begin_group", "g", "G"], ["text", "a", "Well?"]], "the group 'g' is never ended"),
    "end alone": ([["type", "name", "label"], ["end_group", None, None], ["text", "a", "Well?"]], "ends a group that was never begun"),
    "function": ([["type", "name", "label", "relevant"], ["text", "a", "Well?"], ["text", "b", "So?", "string-length(${a}) > 3"]],
                 "q.xlsx, sheet survey:3:asked_if: condition 'string-length(${a}) > 3': no item 'string-length'"),
    "only notes": ([["type", "name", "label"], ["note", "a", "Hello"]], "holds no questions (not used: 'a')"),
}  # fmt: skip


@pytest.mark.parametrize(("survey", "message"), BROKEN_FORMS.values(), ids=BROKEN_FORMS)
def test_a_broken_xlsform_names_sheet_and_row(tmp_path, survey, message):
    book(tmp_path / "q.xlsx", survey=survey)
    assert message in error_of(tmp_path / "q.xlsx")


def test_qualtrics_logic_that_is_not_understood_is_an_error_with_its_place(tmp_path):
    survey = json.loads((SURVEYS / "commute.qsf").read_text())
    logic = {"0": {"0": {"LogicType": "EmbeddedField", "LeftOperand": "arm", "Operator": "EqualTo", "Type": "Expression"}, "Type": "If"}}
    next(e for e in survey["SurveyElements"] if e.get("PrimaryAttribute") == "QID2")["Payload"]["DisplayLogic"] = logic
    (tmp_path / "q.qsf").write_text(json.dumps(survey))
    assert "q.qsf:why:DisplayLogic: is not understood ('EmbeddedField' 'EqualTo'); understood are options that are or are not selected" in error_of(
        tmp_path / "q.qsf"
    )


def test_columns_are_mapped_and_unused_ones_named(tmp_path):
    (tmp_path / "q.csv").write_text("frage,antworten,note\nWell?,A|B,x\n")
    mapping = parse_map(["frage=text", "antworten=options"])
    questionnaire = read_questionnaire(tmp_path / "q.csv", mapping=mapping)
    assert questionnaire.items[0].labels == ("A", "B") and dict(questionnaire.not_used) == {"column note": "no column that is read"}
    assert "--map: no column 'frag'; did you mean 'frage'?" in error_of(tmp_path / "q.csv", mapping={"frag": "text"})
    assert split_map({"frage": "text", "alter": "age"}) == ({"frage": "text"}, {"alter": "age"})
    for bad, message in ((["text"], "write their column, =, our name"), (["a=text", "a=id"], "mapped twice")):
        with pytest.raises(InputError, match=message):
            parse_map(bad)


def test_folders_and_missing_files_are_named(tmp_path):
    assert "is a folder" in error_of(tmp_path) and "no such file" in error_of(tmp_path / "none.csv")


@pytest.mark.parametrize(("scale", "kind"), [("agreement", "agreement"), ("yesno", "yes_no"), ("frequency", "likert"), ("quality", "likert")])
def test_usual_scales_are_recognised_in_both_orders(scale, kind):
    assert kind_by_options(SCALES[scale]) == kind_by_options(SCALES[scale][::-1]) == kind


def test_what_is_no_answer_in_substance():
    said = {
        "dont_know": "DK/NA|Don't know/No opinion|Don\u00b4t know|No idea|Can't say|Unsure or don't know",
        "refused": "Refusal|No response|Prefer not to disclose|Not stated|I'd rather not say|I would prefer not to answer|Refused/No answer",
    }
    assert all(non_substance(label) == kind for kind, labels in said.items() for label in labels.split("|"))
    assert not any(map(non_substance, ("No change", "Prefer not to travel", "Yes, don't know", "Neither agree nor disagree", "Not sure about it")))
    known = {"Don't know": "dont_know", "don’t know / no opinion": "dont_know", "Prefer not to say": "refused", "Refused": "refused", "N/A": "not_applicable"}
    assert {label: non_substance(label) for label in known} == known
    assert [non_substance(label) for label in ("Undecided", "No", "Neither", "I know", "Not at all")] == [""] * 5


def test_a_code_off_the_sequence_is_noted_unless_its_option_is_recognised(tmp_path):
    (tmp_path / "q.csv").write_text("text,options\nOne?,1=Good|2=Bad|99=Fled|-9=Gone\nTwo?,1=Good|2=Bad|9=Refusal\nThree?,5|6|7\n")
    notes = [note for note, _ in read_questionnaire(tmp_path / "q.csv").notes if "counts as an answer" in note]
    assert notes == [f"option '{label}' counts as an answer though its code is {code}; if it is none, name it in option_kinds"
                     for label, code in (("Fled", 99), ("Gone", -9))]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "labels", "codes"),
    [
        ("Well?,rating,5-1,", "54321", "54321"),
        ("Well?,rating,3 to 0,", "3210", "3210"),
        ("Well?,,,1=Yes;2=No", ("Yes", "No"), "12"),
        ("Well?,radio,,a=Yes|b=No", ("Yes", "No"), "ab"),
    ],
)
def test_ranges_count_downwards_and_a_codebook_has_codes_and_labels_in_one_column(tmp_path, row, labels, codes):
    (tmp_path / "q.csv").write_text(f"text,kind,options,values\n{row}\n")
    (item,) = read_questionnaire(tmp_path / "q.csv").items
    assert item.labels == tuple(labels) and item.codes == tuple(codes) and not item.made_up


def test_markup_is_undone_and_text_with_signs_stays():
    assert plain_text("<p>Is 3 < 5 &amp; <b>true</b>?</p>") == "Is 3 < 5 & true?"
    assert plain_text("<style>p{}</style>a <!-- b -->c<br/>d") == "a c d"
    assert plain_text("<o:p></o:p><td nowrap>a</td><address>b</address><x k='v'>c") == "a b c" and plain_text("a <your b>") == "a <your b>"
    assert plain_text("Is a &lt;b&gt; x&lt;y?") == plain_text(plain_text("Is a &lt;b&gt; x&lt;y?")) == "Is a < b> x<y?"  # read back, it is no tag either


def two_sheets(path, hide_first=False):
    """A workbook with a sheet Notes, then a sheet Items."""
    from openpyxl import load_workbook

    book(path, Notes=[["text"], ["Nothing?"]], Items=[["text", "options"], ["Well?", "Yes|No"]])
    workbook = load_workbook(path)
    workbook["Notes"].sheet_state = "hidden" if hide_first else "visible"
    workbook.save(path)


def test_the_first_visible_sheet_is_read_and_the_others_are_named(tmp_path):
    two_sheets(tmp_path / "q.xlsx", hide_first=True)
    read = read_questionnaire(tmp_path / "q.xlsx")
    assert read.items[0].text == "Well?" and dict(read.not_used) == {"sheet Notes": "only the first visible sheet is read, 'Items'"}
    two_sheets(tmp_path / "q.xlsx")
    assert read_questionnaire(tmp_path / "q.xlsx").items[0].text == "Nothing?"


def test_cells_that_are_merged_downwards_are_filled(tmp_path):
    from openpyxl import load_workbook

    book(tmp_path / "q.xlsx", Items=[["text", "options", "battery"], ["One?", "Good|Bad", "g"], ["Two?"], ["Three?"], ["Four?", "A|B"]])
    workbook = load_workbook(tmp_path / "q.xlsx")
    workbook["Items"].merge_cells("B2:B4")
    workbook["Items"].merge_cells("C2:C3")
    workbook.save(tmp_path / "q.xlsx")
    items = read_questionnaire(tmp_path / "q.xlsx").items
    assert [item.labels for item in items] == [("Good", "Bad")] * 3 + [("A", "B")] and [item.battery for item in items] == ["g", "g", "", ""]
    workbook["Items"].merge_cells("A5:B5")
    workbook.save(tmp_path / "q.xlsx")
    assert "q.xlsx:5:Items: rows 5 to 5: 2 columns are merged into one cell; unmerge them" in error_of(tmp_path / "q.xlsx")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["Well?", "Yes|No", "x"], "q.xlsx:2:Items: 3 cells but 2 columns; give every column a name in the first row"),
        (["Well?", "=A1"], "q.xlsx:Items: the formula in B2 has no stored value; open the file in Excel and save it"),
    ],
)
def test_cells_without_a_column_and_formulas_without_a_value_are_errors(tmp_path, row, message):
    book(tmp_path / "q.xlsx", Items=[["text", "options"], row])
    assert message in error_of(tmp_path / "q.xlsx")


def test_an_xlsform_asks_the_stem_of_a_grid_and_names_what_it_leaves_out(tmp_path):
    survey = [
        ["type", "name", "label", "hint", "required", "disabled"],
        ["begin_group", "food", "How good is", None, None, None],
        ["select_one q", "bread", "the bread?", "Choose one", "yes", None],
        ["select_one q", "soup", "the soup?", None, None, None],
        ["end_group", None, None, None, None, None],
        ["begin_group", "you", "About you", None, None, None],
        ["integer", "age", "How old are you?", None, None, None],
        ["text", "old", "Gone?", None, None, "yes"],
        ["end_group", None, None, None, None, None],
    ]
    book(tmp_path / "q.xlsx", survey=survey, choices=[["list_name", "name", "label"], ["q", "1", "Good"], ["q", "0", "Bad"]], extra=[["a"], ["b"]])
    read = read_questionnaire(tmp_path / "q.xlsx")
    assert [item.text for item in read.items] == ["How good is the bread?", "How good is the soup?", "How old are you?"]
    assert read.items[0].battery == "food" and dict(read.notes)["rows of the form that are disabled, left out"] == 1
    assert dict(read.not_used).keys() == {"sheet extra", "column hint", "column required", "label of the group you"}
    stem = "label of the group 'food' put before its questions, which share one list; if it is a heading, take it out of the form"
    assert dict(read.notes)[stem] == 2 and "options of the form without a label: called by their code" not in dict(read.notes)
    book(tmp_path / "q.xlsx", survey=survey, choices=[["list_name", "name", "label"], ["q", "1", "Good"], ["q", "nein", None]])
    read = read_questionnaire(tmp_path / "q.xlsx")
    assert read.items[0].labels == ("Good", "nein") and dict(read.notes)["options of the form without a label: called by their code"] == 1


def skipping(tmp_path, **changes):
    """A Qualtrics survey of two blocks, q1 q2 | q3, whose first question skips."""
    skip = {"ChoiceLocator": "q://QID1/SelectableChoice/2", "Condition": "Selected", "SkipToDestination": "ENDOFSURVEY"} | changes
    inside = [{"Type": "Question", "QuestionID": "QID1", "SkipLogic": [skip]}, {"Type": "Question", "QuestionID": "QID2"}]
    options = {"Looping": "Static", "RandomizeQuestions": "RandomWithXPerPage"}
    blocks = [{"ID": "B1", "Description": "Cars", "BlockElements": inside, "Options": options},
              {"ID": "B2", "BlockElements": [{"Type": "Question", "QuestionID": "QID3"}]}]  # fmt: skip
    choices = {"QuestionType": "MC", "Selector": "SAVR", "Choices": {"1": {"Display": "Yes"}, "2": {"Display": "No"}}, "QuestionText": "Well?"}
    questions = [{"Element": "SQ", "PrimaryAttribute": f"QID{n}", "Payload": choices | {"DataExportTag": f"q{n}"}} for n in (1, 2, 3)]
    (tmp_path / "q.qsf").write_text(json.dumps({"SurveyElements": [{"Element": "BL", "Payload": blocks}, *questions]}))
    return tmp_path / "q.qsf"


def test_qualtrics_skips_are_conditions_of_what_follows_and_loops_are_named(tmp_path):
    whole = read_questionnaire(skipping(tmp_path))
    assert [item.asked_if for item in whole.items] == ["", "not(selected(${q1}, '2'))", "not(selected(${q1}, '2'))"]
    assert dict(whole.not_used).keys() == {"loop of block Cars", "random order in block Cars"}
    block = read_questionnaire(skipping(tmp_path, SkipToDestination="ENDOFBLOCK"))
    assert [bool(item.asked_if) for item in block.items] == [False, True, False]
    assert "q.qsf:q1:SkipLogic: is not understood (it skips to 'QID3')" in error_of(skipping(tmp_path, SkipToDestination="QID3"))


def test_options_that_qualtrics_carries_forward_are_an_error(tmp_path):
    survey = json.loads(skipping(tmp_path).read_text())
    survey["SurveyElements"][-1]["Payload"] |= {"Choices": [], "DynamicChoices": {"Locator": "q://QID1/ChoiceGroup/SelectedChoices"}}
    (tmp_path / "q.qsf").write_text(json.dumps(survey))
    assert (
        error_of(tmp_path / "q.qsf") == "q.qsf:q3:DynamicChoices: its options are carried forward from another question, which is not supported; write them out"
    )


def test_a_broken_item_is_no_second_error_in_conditions_on_it(tmp_path):
    (tmp_path / "q.csv").write_text("id,text,options,asked_if\na,One?,Only,\nb,Two?,,a = 1\nc,Three?,,b = x and a = 2\n")
    assert len(error_of(tmp_path / "q.csv").splitlines()) == 1


LIMESURVEY = """class\ttype/scale\tname\trelevance\ttext\thelp\tlanguage\tother
S\t\tsid\t1\t123456\t\ten\t
SL\t\tsurveyls_title\t1\tMy survey\t\ten\t
G\tG1\tOne\t1\tIntro\t\ten\t
Q\tL\tq1\t1\t<p>How is it?</p>\tThink!\ten\tY
A\t0\tA1\t\tGood\t\ten\t
A\t0\tA2\t\tBad\t\ten\t
Q\tL\tq1\t1\tWie ist es?\t\tde\tY
Q\tF\tgrid\tq1.NAOK == "A2"\tDo you agree?\t\ten\t
SQ\t\tSQ001\t\tI like it\t\ten\t
SQ\t\tSQ002\t\tI hate it\t\ten\t
A\t0\t1\t\tYes\t\ten\t
A\t0\t0\t\tNo\t\ten\t
G\tG2\tTwo\tq1 != "A1"\tMore\t\ten\t
Q\tM\tnews\t1\tWhich?\t\ten\t
SQ\t\tp\t\tPaper\t\ten\t
SQ\t\tr\t\tRadio\t\ten\t
Q\tN\tage\t1\tHow old?\t\ten\t
Q\tX\tbye\t1\tThank you.\t\ten\t
"""


def test_limesurveys_structure_becomes_items_conditions_and_batteries(tmp_path):
    (tmp_path / "q.txt").write_text(LIMESURVEY)
    read = read_questionnaire(tmp_path / "q.txt")
    assert [(item.id, item.kind, item.codes) for item in read.items] == [
        ("q1", "single", ("A1", "A2", "-oth-")), ("grid_SQ001", "yes_no", ("1", "0")), ("grid_SQ002", "yes_no", ("1", "0")),
        ("news", "multiple", ("p", "r")), ("age", "number", ()),
    ]  # fmt: skip
    assert read.title == "My survey" and read.items[1].battery == "grid" and read.items[1].text == "Do you agree? I like it"
    assert [item.asked_if for item in read.items] == ["", *['q1 == "A2"'] * 2, *['q1 != "A1"'] * 2]
    assert dict(read.not_used).keys() == {"language de", "column help", "bye"}
    (tmp_path / "q.txt").write_text(LIMESURVEY.replace("Which?", "Which, {q1}?"))
    assert error_of(tmp_path / "q.txt").startswith("q.txt:15:text: '{q1}' is filled in when the survey runs")


@pytest.mark.parametrize(("language", "labels"), [("en", ("Yes", "No")), ("de-informal", ("Ja", "Nein")), ("fr", ("Oui", "Non")), ("xx", ("Yes", "No"))])
def test_limesurveys_own_options_are_in_the_language_of_the_survey(tmp_path, language, labels):
    (tmp_path / "q.txt").write_text(f"class\ttype/scale\tname\trelevance\ttext\tlanguage\nG\t0\tG\t1\t\t{language}\nQ\tY\tbus\t1\tBus?\t{language}\n")
    (item,) = read_questionnaire(tmp_path / "q.txt").items
    assert item.labels == labels and item.codes in (("Y", "N"), ("1", "0"))


def test_questions_on_a_second_sheet_are_pointed_at(tmp_path):
    book(tmp_path / "q.xlsx", Notizen=[["Notizen"], ["neu"]], Fragen=[["id", "text"], ["q1", "Well?"]])
    assert "(columns there: 'Notizen'); only the first sheet is read, not sheet Fragen" in error_of(tmp_path / "q.xlsx")


@pytest.mark.parametrize("always", ["1", "true()", "TRUE"])
def test_a_condition_that_always_holds_is_none(tmp_path, always):
    (tmp_path / "q.csv").write_text(f"id,text,relevance\na,Well?,{always}\n")
    assert read_questionnaire(tmp_path / "q.csv").items[0].id == "a"


def test_conditions_of_survey_tools_are_in_codes_also_where_a_code_is_another_options_label(tmp_path):
    path = skipping(tmp_path, Condition="NotSelected")
    path.write_text(path.read_text().replace('{"Display": "Yes"}', '{"Display": "2"}').replace('{"Display": "No"}', '{"Display": "3"}'))
    choices = [["list_name", "name", "label"], ["n", "1", "2"], ["n", "2", "3"]]
    book(tmp_path / "q.xlsx", survey=[["type", "name", "label", "relevant"], ["select_one n", "q1", "One?", None], ["text", "q2", "Two?", "${q1} = '2'"]],
         choices=choices)  # fmt: skip
    (tmp_path / "q.txt").write_text(LIMESURVEY.replace("A1\t\tGood", "A1\t\tA2"))
    for file, first, item, one, other in (("q.qsf", "q1", "q2", "2", "1"), ("q.xlsx", "q1", "q2", "2", "1"), ("q.txt", "q1", "grid_SQ001", "A2", "A1")):
        survey = read_questionnaire(tmp_path / file)
        assert any(f"read as the code of {survey.bank[first].labels[1]!r} ('q1')" in note for note, _ in survey.notes)
        (tmp_path / "again.json").write_text(questionnaire_json(survey))
        for items in (survey.items, read_questionnaire(tmp_path / "again.json").items):
            assert [rules_of(items)[item].holds({first: [code]}) for code in (one, other)] == [True, False]
    (tmp_path / "q.csv").write_text("id,text,options,asked_if\nq1,One?,1=2|2=3,\nq2,Two?,,q1 = 2\n")  # of our own: a label counts first
    assert rules_of(read_questionnaire(tmp_path / "q.csv").items)["q2"].holds({"q1": ["1"]})


def test_the_relevance_of_a_limesurvey_line_is_its_condition_and_that_of_an_option_is_named(tmp_path):
    text = LIMESURVEY.replace("SQ002\t\tI hate", 'SQ002\tq1.NAOK != "-oth-"\tI hate').replace("SQ\t\tr\t\t", 'SQ\t\tr\tq1 == "A1"\t')
    (tmp_path / "q.txt").write_text(text)
    read = read_questionnaire(tmp_path / "q.txt")
    assert [item.asked_if for item in read.items[1:3]] == ['q1 == "A2"', '(q1 == "A2") and (q1 != "-oth-")']
    assert dict(read.not_used)["relevance of news_r"] == "the option is shown to everybody who is asked" and "relevance of news_p" not in dict(read.not_used)
    (tmp_path / "q.txt").write_text(text.replace('q1.NAOK != "-oth-"', "q9 == 1"))
    assert "condition '(q1 == \"A2\") and (q9 == 1)': no item 'q9'" in error_of(tmp_path / "q.txt")


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("dont_know", "4. Don't know|-8 = Don't know|98 DK|Don't know (do not read)|(VOL.) Don't know/Refused|DK (vol.)|Not sure (explain)"),
        ("refused", "99 - Refused|(9) Refused|Refused (do not read)|REFUSED (VOL.)|No answer [not read out]"),
        ("not_applicable", "0: N/A|Not applicable / I do not use it|Not applicable (no car)"),
        ("dont_know", "Weiß nicht|weiss ich nicht|Keine Meinung|Ne sait pas|Je ne sais pas|Sans opinion|No sabe|No sé|NS/NC|No sabe / No contesta"),
        ("dont_know", "Não sei|Não sabe/Não respondeu|Non so|Non so / non risponde|Weet niet|Weet ik niet|Geen mening|Weiß nicht oder keine Angabe"),
        ("refused", "Keine Angabe|k. A.|Verweigert|Je préfère ne pas répondre|Refus|Sans réponse|No contesta|Prefiero no responder|Sin respuesta"),
        ("refused", "Não respondeu|Prefiro não dizer|Non risponde|Preferisco non rispondere|Geen antwoord|Wil ik niet zeggen"),
        ("not_applicable", "Entfällt|Sans objet|Non concerné(e)|No aplica|Não se aplica|Non applicabile|Niet van toepassing|n.v.t."),
        ("", "1. Disagree|NA (North America)|NC|Trifft nicht zu|Trifft eher nicht zu|Stimme nicht zu|Je préfère ne pas voyager|Prefiero no viajar|Nein|Não"),
        ("", "18-24|2 or more|10|Not important (never)|Agree (no opinion)|Some (don't know)|Keine|Aucun"),
    ],
)
def test_no_answer_in_substance_with_a_number_a_bracket_and_in_six_more_languages(kind, labels):
    assert {label: non_substance(label) for label in labels.split("|")} == dict.fromkeys(labels.split("|"), kind)


def test_option_kinds_count_before_what_is_recognised(tmp_path):
    (tmp_path / "q.csv").write_text("text,options,option_kinds\nA?,Ja|Nein|Weiß nicht,none\nB?,Ja|Nein|Mir egal|Weiß nicht,Mir egal\nC?,Ja|Nein|Weiß nicht,\n")
    kinds = [item.option_kinds for item in read_questionnaire(tmp_path / "q.csv").items]
    assert kinds == [("",) * 3, ("", "", "dont_know", ""), ("", "", "dont_know")]


@pytest.mark.parametrize(
    "cell", ["I enjoy it.|It pleases me.", '"I enjoy it.\n It pleases me."', '"[""I enjoy it."", ""It pleases me.""]"', "| I enjoy it. | It pleases me.|"]
)
def test_several_paraphrases_in_one_cell(tmp_path, cell):
    (tmp_path / "q.csv").write_text(f"text,options,paraphrases\nI like it; or not / never.,No|Yes,{cell}\nWell?,No|Yes,Well; or not / never?\n")
    first, second = read_questionnaire(tmp_path / "q.csv").items
    assert first.paraphrases == ("I enjoy it.", "It pleases me.") and second.paraphrases == ("Well; or not / never?",)


@pytest.mark.parametrize("said", ["<your bank>", "<first-name>", "<b and age >", "<address>", "<a@b.de>"])
@pytest.mark.parametrize("field", ["text", "options", "paraphrases"])
def test_what_is_no_markup_in_angle_brackets_is_an_error(tmp_path, said, field):
    row = {"text": "Well?", "options": "No|Yes", "paraphrases": ""} | {field: f"<p>With {said}c?</p>|Yes"}
    (tmp_path / "q.csv").write_text("text,options,paraphrases\n" + ",".join(row.values()) + "\n")
    assert f"'{said}' is neither text nor known markup; write the text out, and for the sign itself write &lt;" in error_of(tmp_path / "q.csv")
