"""The `pilot` command: from three files to a page; the same numbers from the folder of answers; a survey of real people; every wrong use in one line."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.people.human_surveys import load_survey
from polypersona_lib.pilot import command
from polypersona_lib.pilot.analysis import Material, Pilot
from polypersona_lib.pilot.human_survey import survey_people, survey_questionnaire
from polypersona_lib.pilot.page import TABLES
from polypersona_lib.pilot.panel import human_panel

EXAMPLES = paths.DATA / "examples"
ASK = ["--questions", str(EXAMPLES / "library_questionnaire.csv"), "--people", str(EXAMPLES / "library_people.csv"),
       "--models", f"table:{EXAMPLES / 'library_table.csv'}", "--changed", "3"]  # fmt: skip
HUMAN = ["--human", str(EXAMPLES / "library_answers.csv")]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The folder of a whole pilot of the example."""
    out = tmp_path_factory.mktemp("pilot")
    assert command.main([*ASK, *HUMAN, "--out", str(out)]) == 0
    return out


def test_the_page_of_the_example_names_its_faults_and_its_worth(asked):
    text = (asked / "pilot.html").read_text(encoding="utf-8")
    assert "effective sample size" in text and "beside 24 real people" in text
    found = pd.read_csv(asked / "tables" / "findings.csv").fillna("")
    assert {("staff", "double-barrelled"), ("open", "acquiescence"), ("books~1", "wording")} <= set(zip(found["question_id"], found["kind"], strict=True))
    moved = pd.read_csv(asked / "tables" / "sensitivity.csv").query("question_id == 'all items'").set_index("attribute")["moved"]
    assert moved["area"] > 0.02 and moved["gender"] == 0 and set(moved.index) == {"age", "gender", "occupation", "education", "area"}


def test_the_folder_of_answers_gives_the_same_numbers(asked, tmp_path):
    for given, name in ((asked, "a"), (asked / "ask", "b")):
        assert command.main(["--answers", str(given), *HUMAN, "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name / "pilot.html").read_bytes() == (asked / "pilot.html").read_bytes()
        for table in (asked / "tables").iterdir():
            there, here = (pd.read_csv(folder / table.name) for folder in (tmp_path / name / "tables", asked / "tables"))
            pd.testing.assert_frame_equal(there, here, rtol=0, atol=1.5e-6)  # the sixth decimal may be rounded the other way


def test_the_terminal_names_item_and_detector(capsys):
    findings = pd.DataFrame([{"question_id": "q", "system": "", "kind": "jargon", "text": "perspicacious"}])
    nobody = pd.DataFrame({"system": []})
    command._say(Pilot(material=Material(items=(), people=nobody, answers=nobody), tables={}, findings=findings), "pilot.html")
    assert capsys.readouterr().out == "- q: jargon: perspicacious\nreport: pilot.html\n"


def test_a_second_call_asks_nobody_again(asked, capsys):
    assert command.main([*ASK, *HUMAN, "--out", str(asked)]) == 0
    assert "0 asked, 420 kept from before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--models: name who answers"),
        (["--models", "table:x"], "--questions and --people: give both"),
        (["--answers", "nowhere"], "no answers.parquet there"),
        (["--difference", "2"], "--difference lies between 0 and 1"),
        ([*ASK, "--models", "table:nowhere.csv"], "no table"),
        (["--survey", "nobody", "--models", "table:x"], "unknown survey"),
    ],
)
def test_wrong_use_is_one_line(argv, said, tmp_path, capsys):
    assert command.main([*argv, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_real_answers_without_a_question_are_refused(asked, tmp_path, capsys):
    file = tmp_path / "human.csv"
    file.write_text("persona_id,weight\nr01,1\n", encoding="utf-8")
    assert command.main(["--answers", str(asked), "--human", str(file), "--out", str(tmp_path / "o")]) == 2
    assert "no column is named as a question" in capsys.readouterr().err


def test_real_answers_need_no_cards(asked, tmp_path):
    file = tmp_path / "human.csv"
    rows = "".join(f"r{n:02d},1,{('No', 'Yes')[n % 2]},{1 + n % 5}\n" for n in range(1, 13))
    file.write_text("persona_id,weight,visit,books\n" + rows, encoding="utf-8")
    assert command.main(["--answers", str(asked), "--human", str(file), "--out", str(tmp_path / "o")]) == 0
    assert set(pd.read_csv(tmp_path / "o" / "tables" / "powered_means.csv")["question_id"]) == {"visit", "books"}


def test_damaged_answers_are_one_line(asked, tmp_path, capsys):
    for name in ("questionnaire.json", "people.parquet"):
        (tmp_path / name).write_bytes((asked / "ask" / name).read_bytes())
    (tmp_path / "answers.parquet").write_bytes(b"PAR1 no")
    assert command.main(["--answers", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_damage_to_what_belongs_to_the_answers_is_one_line(asked, tmp_path, capsys):
    """The list of changed people is no table; the plan of a run is no object. A record that names no systems costs their names only."""
    whole = tmp_path / "whole"
    shutil.copytree(asked, whole)
    (whole / "ask" / "record.json").write_text('{"models": 5, "systems": [["a"], {}]}', encoding="utf-8")
    assert command.main(["--answers", str(whole), "--out", str(tmp_path / "named")]) == 0
    capsys.readouterr()
    (whole / "ask_changed" / command.CHANGES).write_bytes(b"PAR1 no")
    assert command.main(["--answers", str(whole), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"{command.CHANGES}: cannot be read" in said and said.count("\n") == 1
    (whole / "ask" / command.PLAN).write_text("[]", encoding="utf-8")
    assert command.main([*ASK, *HUMAN, "--out", str(whole)]) == 2
    said = capsys.readouterr().err
    assert f"{command.PLAN}: is damaged; delete the folder" in said and said.count("\n") == 1


def test_a_survey_of_real_people_goes_through(monkeypatch, tmp_path):
    """The 538 questionnaire, 150 of its respondents: 12 of them simulated by a table that knows one item."""
    whole = load_survey("nonvoters_2020")
    few = replace(whole, people=whole.people.iloc[:150], answers=whole.answers[:150])
    monkeypatch.setattr(command, "load_survey", lambda name: few)
    table = tmp_path / "table.csv"
    item = few.items[0]
    table.write_text(f'question_id,option,probability\n{item.id},"{item.options[0]}",1\n', encoding="utf-8")
    argv = ["--survey", "nonvoters_2020", "--sample", "12", "--changed", "0", "--models", f"table:{table}", "--out", str(tmp_path / "out")]
    assert command.main(argv) == 0
    alignment = pd.read_csv(tmp_path / "out" / "tables" / "alignment.csv").set_index("system")["alignment"]
    assert 0.74 < alignment["uniform answers"] < 0.84 and alignment["12 real people"] > alignment["uniform answers"]
    items = pd.read_csv(tmp_path / "out" / "tables" / "items.csv")
    assert len(items) == 2 * 49 and set(items["system"]) == {"table-table", "real people"}


def test_a_survey_as_questionnaire_and_people_holds_its_own_answers():
    survey = load_survey("ces_2018")
    few = replace(survey, people=survey.people.iloc[:5], answers=survey.answers[:5])
    questionnaire, people = survey_questionnaire(few), survey_people(few, count=3)
    own = {p: json.loads(o) for p, o in zip(people["persona_id"], people["own_answers"], strict=True)}
    panel = human_panel(own, questionnaire.items, people)
    rows = [list(few.people.index).index(p) for p in people["persona_id"]]
    assert (panel.sheet.truth == few.answers[rows]).all() and len(questionnaire.items) == len(survey.items) and people["weight"].notna().all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("persona_id,open\nlib-01,Strongly agree\n", "real people: 1 gave an answer that is an option of a question"),
        ("persona_id,open\na,purple\nb,green\n", "real people: 0 gave an answer that is an option of a question"),
    ],
)
def test_real_answers_that_are_too_few_or_none_are_one_line(asked, tmp_path, capsys, content, said):
    (tmp_path / "h.csv").write_text(content)
    assert command.main(["--answers", str(asked), "--human", str(tmp_path / "h.csv"), "--out", str(tmp_path / "o")]) == 2
    assert said in capsys.readouterr().err


def test_the_map_may_name_a_column_of_either_file(tmp_path, capsys):
    human = (EXAMPLES / "library_answers.csv").read_text().replace("open", "Question 1", 1)
    (tmp_path / "h.csv").write_text(human)
    given = [*ASK, "--human", str(tmp_path / "h.csv"), "--out", str(tmp_path / "o")]
    assert command.main([*given, "--map", "Question 1=open"]) == 0
    assert command.main([*given, "--map", "Question 9=open"]) == 2 and "no column 'Question 9'; did you mean 'Question 1'?" in capsys.readouterr().err
    assert command.main([*ASK, "--seed", "-1", "--out", str(tmp_path / "p")]) == 2 and "--seed must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("persona_id,weight,open\na,-1,Agree\nb,1,Agree\n", "is no weight"),
        ("persona_id,weight,opne\na,1,Agree\nb,1,Agree\n", "no column is named as a question"),
        ("persona_id,open\na,purple\nb,green\n", "real people: 0 gave an answer that is an option of a question"),
    ],
)
def test_bad_real_answers_are_said_before_anybody_is_asked(tmp_path, capsys, content, said):
    if content:
        (tmp_path / "h.csv").write_text(content, encoding="utf-8")
    assert command.main([*ASK, "--human", str(tmp_path / "h.csv"), "--out", str(tmp_path / "o")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_what_is_not_read_of_the_real_answers_is_said_first_and_stands_on_the_page(tmp_path, capsys):
    (tmp_path / "h.csv").write_text("persona_id,opne,open,visit\nr01,Agree,Agree,Yes\nr02,Agree,Agre,No\nx9,Agree,Disagree,Yes\n", encoding="utf-8")
    people = tmp_path / "p.csv"
    people.write_text("persona_id,age,gender,shoe_size\nr01,68,woman,38\nr02,72,man,44\nr03,20,man,43\nr04,33,woman,39\n", encoding="utf-8")
    given = [*ASK, "--people", str(people), "--human", str(tmp_path / "h.csv"), "--out", str(tmp_path / "o"), "--changed", "0"]
    assert command.main(given) == 0
    printed, page = capsys.readouterr().out, (tmp_path / "o" / "pilot.html").read_text(encoding="utf-8")
    lines = ["not used of the real people: 'opne' (", "the real people's own answers that are no option of their item: 'open' 1",
             "real people: 3 with answers, 2 of them simulated too (the same persona_id), 1 not"]  # fmt: skip
    for line in lines:
        assert printed.index(line) < printed.index(" asked") and line.replace("'", "&#39;") in page
    assert printed.count("not used of the people: 'shoe_size'") == 1 and printed.index("'shoe_size'") < printed.index(" asked")


def test_strangers_are_told_apart_by_their_ids(asked, tmp_path, capsys):
    (tmp_path / "h.csv").write_text("persona_id,open\nR_1,Agree\nR_2,Disagree\n", encoding="utf-8")
    assert command.main(["--answers", str(asked), "--human", str(tmp_path / "h.csv"), "--out", str(tmp_path / "o")]) == 0
    assert "Nobody is paired: theirs are called 'R_1', ..., the simulated 'r01', ..." in capsys.readouterr().out


def test_tables_that_this_run_has_not_made_are_gone(asked, tmp_path):
    out = tmp_path / "o"
    for more in (HUMAN, []):
        assert command.main(["--answers", str(asked), *more, "--out", str(out)]) == 0
        made = {file.stem for file in (out / "tables").iterdir()}
        assert ({"alignment", "gaps", "groups", "powered_means"} <= made) == bool(more) and "items" in made and made <= TABLES


def test_a_folder_of_other_files_is_refused(asked, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "thesis.txt"):
        assert command.main(["--answers", str(asked), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "holds other files; name a new folder" in error and "is a file; name a folder" in error and len(list(tmp_path.iterdir())) == 1


def test_the_page_calls_systems_by_their_names_and_the_tables_by_their_keys(asked):
    page = (asked / "pilot.html").read_text(encoding="utf-8")
    assert "answered by table library_table.csv" in page and "table-library_table" not in page
    assert "table-library_table" in set(pd.read_csv(asked / "tables" / "findings.csv")["system"])


def test_options_that_run_down_are_told(tmp_path, capsys):
    """The same answers to a list in reverse: who says no to everything does not say yes."""
    text = (EXAMPLES / "library_questionnaire.csv").read_text(encoding="utf-8")
    up = "Strongly disagree|Disagree|Neither agree nor disagree|Agree|Strongly agree"
    (tmp_path / "q.csv").write_text(text.replace(up, "|".join(up.split("|")[::-1])), encoding="utf-8")
    assert command.main([*ASK, "--questions", str(tmp_path / "q.csv"), "--changed", "0", "--out", str(tmp_path / "o")]) == 0
    printed, line = capsys.readouterr().out, "options run from agreement to disagreement in 6 of 7 items ('books', "
    assert printed.index(line) < printed.index(" asked") and line.replace("'", "&#39;") in (tmp_path / "o" / "pilot.html").read_text(encoding="utf-8")
    acquiescent = pd.read_csv(tmp_path / "o" / "tables" / "acquiescence.csv")
    assert (acquiescent["acquiescence"] > 0.05).all()
