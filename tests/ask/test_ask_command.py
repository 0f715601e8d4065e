"""The command from files to a folder: what it writes, what other programs read back, how it goes on after a kill, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import jsonschema
import numpy as np
import pandas as pd
import pytest

from polypersona_lib.__main__ import main
from polypersona_lib.ask import command, shards
from polypersona_lib.ask.output import missing_lines, status_counts
from polypersona_lib.intake.answers_folder import load_answers, read_answers_folder
from polypersona_lib.intake.people_file import People, card_of_row, people_frame
from polypersona_lib.intake.survey_format import Item, Questionnaire, schemas
from polypersona_lib.paths import ROOT

QUESTIONS = """id,text,kind,options,reversed
trust,How far do you trust the courts?,likert,0=Not at all|1=A little|2=Fully|9=Don't know,
=cmd,Courts lie.,agreement,agreement,yes
news,Which news do you read?,multiple,Paper|Radio,
why,Why?,open,,
"""
PEOPLE = "id,age,gender,weight,trust\n" + "".join(f"p{i},{20 + i},{'woman' if i % 2 else 'man'},{1 + i % 3},{i % 3}\n" for i in range(7))
TABLE = "question_id,option,probability,when\ntrust,Fully,0.5,\ntrust,Don't know,0.5,\ntrust,A little,1,woman\n"


@pytest.fixture()
def files(tmp_path):
    for name, text in (("q.csv", QUESTIONS), ("p.csv", PEOPLE), ("t.csv", TABLE)):
        (tmp_path / name).write_text(text)
    return tmp_path


def arguments(folder, *more):
    return ["--questions", f"{folder}/q.csv", "--people", f"{folder}/p.csv", "--models", f"table:{folder}/t.csv", "--out", f"{folder}/out", *more]


def ask(folder, *more) -> int:
    return main(["ask", *arguments(folder, *more)])


def test_the_folder_holds_answers_for_every_program(files, capsys):
    assert ask(files, "--repeats", "2") == 0
    shown = capsys.readouterr()
    assert (
        "4 questions, 7 people, 2 x; writes to" in shown.out and "table-t: 56 rows, 56 answered, 0 skipped by their condition, 0 without an answer" in shown.out
    )
    answers, people, questionnaire = load_answers(files / "out")
    assert len(answers) == 56 and len(people) == 7 and len(questionnaire.items) == 4
    for row in answers.astype(object).where(answers.notna(), None).to_dict("records")[:8]:
        plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()}
        jsonschema.validate(plain, schemas()["answers.schema.json"])
    record = json.loads((files / "out" / "record.json").read_text())
    assert record["counts"]["table-t"]["ok"] == 56 and record["repeats"] == 2 and record["addresses"] == [] and len(record["sha256"]) == 7
    readme = (files / "out" / "README.md").read_text()
    assert readme.startswith("# Simulated answers\n\nNo human gave these answers.") and "56 answered" in readme
    assert ",'=cmd," in (files / "out" / "answers.csv").read_text() and "\n=cmd" not in (files / "out" / "answers.csv").read_text()


def test_spss_and_r_read_labels_missing_values_and_weights_back(files):
    import pyreadstat

    assert ask(files) == 0
    table, meta = pyreadstat.read_sav(files / "out" / "answers.sav", user_missing=True)
    answers, people, _ = load_answers(files / "out")
    assert meta.column_names_to_labels["trust"] == "How far do you trust the courts?" and meta.variable_value_labels["trust"] == {
        0: "Not at all",
        1: "A little",
        2: "Fully",
        9: "Don't know",
    }
    assert meta.missing_ranges["trust"] == [{"lo": 9.0, "hi": 9.0}] and meta.variable_measure["cmd"] == "ordinal"
    said = answers[answers["question_id"] == "trust"].set_index("persona_id")["option"]
    assert table.set_index("persona_id")["trust"].map({0: 0, 1: 1, 2: 2, 9: 3}).tolist() == said.loc[table["persona_id"]].tolist()
    assert table["weight"].tolist() == people["weight"].tolist() and set(table["news_1"].dropna()) <= {0.0, 1.0}
    wide = pd.read_csv(files / "out" / "answers_wide.csv")
    assert (
        set(wide["trust"].dropna()) <= {"Not at all", "A little", "Fully", "Don't know"} and wide.loc[wide["persona_id"] == "p1", "trust"].item() == "A little"
    )


def test_score_reads_the_folder_system_by_system(files):
    (files / "u.csv").write_text("question_id,option,probability\ntrust,Fully,1\n")
    assert ask(files, "--models", f"table:{files}/t.csv,table:{files}/u.csv") == 0
    frames = read_answers_folder(files / "out")
    assert [name.rpartition(": ")[2] for name in frames] == ["table-t", "table-u"]
    frame = frames[f"{files / 'out'}: table-u"]
    assert frame["prediction"].tolist() == ["Fully"] * 7 and frame["reference"].tolist() == [
        "Not at all",
        "A little",
        "Fully",
        "Not at all",
        "A little",
        "Fully",
        "Not at all",
    ]
    assert frame["options"].iloc[0] == ["Not at all", "A little", "Fully", "Don't know"] and frame.attrs["notes"] == {
        "rows without the person's own answer left out": 21
    }


def test_a_folder_without_own_answers_says_what_to_do(files, capsys):
    (files / "p.csv").write_text("id,age\na,30\n")
    assert ask(files) == 0 and main(["score", str(files / "out")]) == 2
    assert "no person's own answer is known" in capsys.readouterr().err
    assert main(["score", str(files)]) == 2 and "lacks answers.parquet" in capsys.readouterr().err


def test_a_second_call_keeps_what_is_done_and_refuses_another_run(files, capsys, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ANSWERS", 3 * 7)
    assert ask(files) == 0
    first = (files / "out" / "answers.parquet").read_bytes()
    assert ask(files) == 0
    shown = capsys.readouterr().out
    assert len(list((files / "out" / "shards" / "table-t").glob("*.parquet"))) == 2
    assert "0 asked, 28 kept from before" in shown and (files / "out" / "answers.parquet").read_bytes() == first
    assert ask(files, "--seed", "7") == 2 and "holds a run that differs in seed" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "people"), [(1, 50), (10, 50), (11, 45), (49, 10), (500, 1), (2000, 1)])
def test_a_block_has_about_five_hundred_answers(rows, people):
    assert shards.people_in_a_block(rows) == people


def test_a_damaged_part_is_asked_again(files, capsys):
    assert ask(files) == 0
    shards.shard_path(files / "out", "table-t", 0).write_bytes(b"PAR1")
    before = pd.read_parquet(files / "out" / "answers.parquet")
    assert ask(files) == 0 and "28 asked" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_parquet(files / "out" / "answers.parquet"), before)


def test_a_killed_run_loses_one_part_at_most_and_goes_on(files, tmp_path):
    (files / "p.csv").write_text("id,age\n" + "".join(f"p{i},{20 + i % 60}\n" for i in range(40)))
    slow = (
        "import sys, time; from polypersona_lib.ask import command\n"
        "one = command.ask_people\n"
        "def waits(*args, **named):\n    time.sleep(.15)\n    return one(*args, **named)\n"
        "command.ask_people = waits\n"
        f"sys.exit(command.main({[*arguments(files), '--block', '2']!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow], cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    )
    parts = files / "out" / "shards" / "table-t"
    limit = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < limit and len(list(parts.glob("*.parquet")) if parts.exists() else []) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(parts.glob("*.parquet")))
    assert 3 <= done < 20 and not (files / "out" / "answers.parquet").exists()
    kept = {path.name: path.read_bytes() for path in parts.glob("0*.parquet")}
    whole = list(shards.answers_in_parts(files / "out", "table-t", *_people_and_items(files), 1, _asker(files), 2))
    assert sum(was_kept for _, was_kept in whole) == len(kept) == done
    fresh = _asker(files)(_people_and_items(files)[0])
    pd.testing.assert_frame_equal(pd.concat([frame for frame, _ in whole], ignore_index=True), fresh)


def _people_and_items(files):
    options = command._parser().parse_args(arguments(files))
    questionnaire = command.read_questionnaire(options.questions)
    return command.people_of(options.people, questionnaire=questionnaire, mapping={}, seed=42).frame, len(questionnaire.items)


def _asker(files):
    questionnaire = command.read_questionnaire(files / "q.csv")
    (who,) = command.who_answers(f"table:{files}/t.csv", questionnaire, seed=42)
    answerer, room = who.opened()
    return lambda block: command.ask_people(answerer, questionnaire, block, command.AskPlan(), system=who.system, room=room)


def test_census_people_are_adults_with_real_combinations_and_the_first_stay():
    few, many = command.census_people(20), command.census_people(200)
    assert few.frame.equals(many.frame.iloc[:20]) and many.frame["persona_id"].is_unique
    cards = [card_of_row(card) for card in many.frame["card"]]
    assert all(18 <= card["age"] <= 89 for card in cards) and {"age", "gender", "ethnicity", "region", "country", "education"} == set(cards[0])
    assert sum(card["region"] == "California" for card in cards) > sum(card["region"] == "Wyoming" for card in cards)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--models", "phi-22"], "--models: 'phi-22' is no model; did you mean phi-2?"),
        (["--models", "none.gguf"], "--models: no file 'none.gguf'"),
        (["--models", "table:none.csv"], "--models: no table 'none.csv'"),
        (["--models", "server:ftp://x#y"], "a server is named by an http or https address"),
        (["--models", ","], "--models: name a key of the registry"),
        (["--models", "gemma-3-270m"], "no adapter of gemma-3-270m here"),
        (["--people", "census:0"], "census:N draws 1 to 1,000,000 people"),
        (["--people", "nobody.csv"], "no such file; or draw people: census:500"),
        (["--repeats", "0"], "repeats must be 1 to 1000, not 0"),
        (["--map", "x"], "--map 'x': write their column, =, our name"),
        (["--map", "x=text"], "--map: no column 'x'"),
        (["--budget-usd", "3"], "--budget-usd needs the server's prices"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(files, capsys, monkeypatch, more, message):
    monkeypatch.chdir(files)
    assert ask(files, *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (files / "out").exists()


@pytest.mark.parametrize(("row", "message"), [("x,Yes,1", "line 2: question_id 'x' is no item"), ("trust,Yes,1", "needs an option of 'trust'")])
def test_a_table_that_does_not_fit_names_its_line(files, capsys, row, message):
    (files / "t.csv").write_text(f"question_id,option,probability\n{row}\n")
    assert ask(files) == 2 and message in capsys.readouterr().err


def test_another_limit_of_the_context_is_another_run(files, capsys):
    assert ask(files, "--context", "60") == 0 and ask(files, "--context", "4096") == 2
    assert "differs in context" in capsys.readouterr().err


def test_no_variable_is_lost_whatever_items_are_called(tmp_path):
    """Item "q1_1" beside option 1 of "q1", and items called as the table's own columns."""
    import pyreadstat

    items = "q1,Which?,multiple,A|B|C\nq1_1,How many?,number,\nrepeat,Again?,yes_no,No|Yes\nsystem,Which?,open,\n"
    (tmp_path / "q.csv").write_text(f"id,text,kind,options\n{items}")
    (tmp_path / "p.csv").write_text("persona_id,age\na,30\nb,40\n")
    (tmp_path / "t.csv").write_text("question_id,option,probability\nrepeat,Yes,1\n")
    assert ask(tmp_path) == 0
    table, meta = pyreadstat.read_sav(tmp_path / "out" / "answers.sav")
    assert len(meta.column_names) == len(set(meta.column_names)) == 3 + 3 + 1 + 1 + 1
    said = json.loads((tmp_path / "out" / "record.json").read_text())["variables"]
    assert set(said) == {"q1 = 1", "q1 = 2", "q1 = 3", "q1_1", "repeat", "system"} and len(set(said.values())) == 6
    assert table["repeat"].tolist() == [0, 0] and meta.variable_value_labels[said["repeat"]] == {1.0: "No", 2.0: "Yes"}
    assert table[said["repeat"]].tolist() == [2.0, 2.0] and len(pd.read_csv(tmp_path / "out" / "answers_wide.csv").columns) == len(meta.column_names)


def test_what_is_not_read_is_said_before_anybody_is_asked_and_once(files, capsys):
    (files / "p.csv").write_text("id,age,gender,trust,shoe_size\na,20,man,Fuly,38\nb,30,woman,Fully,40\n")
    assert ask(files) == 0
    printed = capsys.readouterr().out
    for line in ("not used of the people: 'shoe_size'", "the people's own answers that are no option of their item: 'trust' 1"):
        assert printed.count(line) == 1 and printed.index(line) < printed.index(" asked")


def test_the_next_command_is_one_that_works(files, capsys):
    """score needs the people's own answers; without any the pilot reads the folder."""
    assert ask(files) == 0 and f"next: python -m polypersona_lib score {files}/out" in capsys.readouterr().out
    (files / "p.csv").write_text("id,age,gender\na,20,man\nb,30,woman\n")
    assert ask(files, "--out", f"{files}/bare") == 0
    assert f"next: python -m polypersona_lib pilot --answers {files}/bare" in capsys.readouterr().out
    assert main(["pilot", "--answers", f"{files}/bare", "--out", f"{files}/report"]) == 0


def test_score_says_that_it_does_not_weigh(files, capsys):
    assert ask(files) == 0 and main(["score", f"{files}/out"]) == 0
    assert "weights: the people have some, and no score uses them" in " ".join(capsys.readouterr().out.split())
    (files / "p.csv").write_text("id,age,gender,trust\na,20,man,1\nb,30,woman,2\n")
    assert ask(files, "--out", f"{files}/bare") == 0 and main(["score", f"{files}/bare"]) == 0
    assert "weights:" not in capsys.readouterr().out


def test_answers_that_would_begin_with_no_option_are_counted():
    """A table's answers all name one; nine in ten of a model that begins with other words do not, and its probabilities are of the tenth."""
    rows = pd.DataFrame({"status": ["ok", "ok", "failed"], "reason": [None, None, "x"], "turns_dropped": [0, 0, 0], "option_mass": [0.095, 0.9, np.nan]})
    told = {"m": (status_counts(rows), Counter())}
    assert told["m"][0]["off_option"] == 1
    survey, nobody = Questionnaire(title="t", items=(Item(id="q", text="Well?"),)), People(frame=people_frame([("p1", {"age": 20})]), source="p")
    (line,) = [line for line in missing_lines(told, survey, nobody, 0) if "no option" in line]
    assert line == "m: 1 answers would mostly have begun with no option: their probabilities describe the rest (column option_mass)"
