"""One's own questionnaire and people in the probe: files, a panel with Stop, a reload, exports that `score` and `pilot` read, the report. Nano twins answer."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from stub_generator import HOSTILE, StubGenerator

from polypersona_lib import paths
from polypersona_lib.config import RunConfig
from polypersona_lib.errors import InputError
from polypersona_lib.intake.survey_format import ANSWER_COLUMNS
from polypersona_lib.pilot import command as pilot_command
from polypersona_lib.probe import own_files, own_panel
from polypersona_lib.probe.interview import Interviewer, ModelGenerator, load_parts
from polypersona_lib.probe.page import Page
from polypersona_lib.score import command as score_command

EXAMPLES = paths.DATA / "examples"
QUESTIONS = b"id,text,kind,options\nvisit,Do you visit the library?,yes_no,No|Yes\nmood,How are you?,likert,Bad|Fair|Good\nwhy,Why?,open,\n"
PEOPLE = b"persona_id,age,occupation,mood\na,30,nurse,Good\nb,61,teacher,Bad\nc,45,cook,\n"
WORDED = 'persona_id,persona\nw1,"A retired fisherman who distrusts banks."\nw2,"A nurse who is happy."\n'


@pytest.fixture(scope="module")
def parts():
    return load_parts(RunConfig())


@pytest.fixture(scope="module")
def generator():
    """Nano twins, loaded once for all pages."""
    return ModelGenerator(RunConfig())


@pytest.fixture
def make(parts, generator, tmp_path):
    def make(made_of=generator):
        page = Page(Interviewer(RunConfig(out=str(tmp_path)), parts, made_of))
        page.models.family.value = "tinyllama-1.1b"
        return page

    return make


def bring(page, what, name, content):
    upload = {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": datetime.now(tz=UTC)}
    page.own.uploads[what].value = (upload,)
    return page.own.bar.status.value


def press(page, name):
    page.own.bar.buttons[name].click()
    if page.worker.thread is not None:
        page.worker.thread.join(300)
    return page.own.bar.status.value


def loaded(page, people=PEOPLE, questions=QUESTIONS):
    bring(page, "questions", "mine.csv", questions)
    bring(page, "people", "them.csv", people)
    return page


# --- files -----------------------------------------------------------------------------------------------------------------------


def test_files_are_read_by_the_readers_of_ask_and_what_was_read_is_said(make):
    page = make()
    assert "bring a questionnaire and people" in page.own.plan.value
    assert press(page, "Ask everybody") == "Not done. bring a questionnaire and people first, or take the example files"
    assert bring(page, "people", "them.csv", PEOPLE) == "read them.csv"
    assert page.own.people_file.value.startswith("them.csv: 3 people\n") and "not used: 'mood'" in page.own.people_file.value
    assert bring(page, "questions", "mine.csv", QUESTIONS) == "read mine.csv"
    assert page.own.asked_file.value.startswith("mine.csv: 3 questions, 2 of them with options")
    assert "3 people; 2 of them with answers of their own" in page.own.people_file.value, "people are read again for a new questionnaire"
    assert page.own.plan.value == "3 questions to 3 people, 9 answers by twin of TinyLlama 1.1B (1.7 M), tuned (published)"
    page.own.count.value = 2
    assert page.own.plan.value.startswith("3 questions to 2 people (the file holds 3), 6 answers")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.csv", b"id,text,kind\na,How?,likert\n", "Not done. q.csv:2:options: missing; an item of kind likert needs its options"),
        ("q.csv", b"x" * (own_files.MOST_UPLOAD + 1), "Not done. 'q.csv': 5.0 MB, and the page takes 5 MB; larger files go through python -m"),
        ("q", b"text\nHow?\n", "Not done. 'q': has no ending"),
        ("q.pdf", b"%PDF", "Not done. q.pdf: is a PDF; write its questions into a table (.csv, .xlsx)"),
        ("q.xlsx", b"PK no", "Not done. q.xlsx: not a readable Excel workbook"),
        ("q.csv", b"id,text,asked_if\na,How?,\nb,Why?,${a} ~ 3\n", "Not done. q.csv"),
        (f"../{HOSTILE}.csv", b"id\n1\n", "Not done. "),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_the_earlier_one_stays(make, name, content, said):
    page = loaded(make())
    status = bring(page, "questions", name, content)
    assert status.startswith(said) and "\n" not in status and len(status) < 400
    assert page.own.questionnaire.source == "mine.csv" and [p.name for p in own_files.kept_files(page.own.folder / "questions")] == ["mine.csv"]
    assert "hacked" not in page.own.links.value + page.own.frame.value


def test_several_faults_are_all_in_the_field_and_the_status_counts_them(make):
    page = make()
    status = bring(page, "questions", "q.csv", b"id,text,kind,options\na,How?,likert,\nb,Why?,likert,\n")
    assert status.endswith("(and 1 more in this file)")
    assert page.own.asked_file.value.count("missing; an item of kind likert") == 2


def test_page_js_holds_the_same_limit():
    assert f"{own_files.MOST_UPLOAD // 2**20} * 2 ** 20" in (paths.ROOT / "polypersona_lib" / "probe" / "page.js").read_text(encoding="utf-8")


# --- asking ----------------------------------------------------------------------------------------------------------------------


def test_a_panel_is_asked_kept_exported_and_scored(make, tmp_path, capsys, monkeypatch):
    page = loaded(make())
    assert press(page, "Ask everybody").startswith("9 answers in ")
    folder = page.own.panel.folder
    answers = pd.read_parquet(folder / "answers.parquet")
    assert list(answers) == [c.name for c in ANSWER_COLUMNS] and answers["status"].eq("ok").all() and set(answers["system"]) == {"tinyllama-1.1b"}
    closed = answers[answers["question_id"] != "why"]
    assert all(abs(sum(p) - 1) < 1e-5 for p in closed["option_probs"]) and answers["reference"].dropna().tolist() == ["Good", "Bad"]
    assert len(page.own.table.rows) == 9 and page.own.table.rows[0][1] == "Do you visit the library?"
    assert page.own.plan.value.endswith("; 9 are here already") and page.own.links.value.startswith('<a download="answers.zip"')
    with zipfile.ZipFile(folder / "answers.zip") as packed:
        packed.extractall(tmp_path / "there")
    capsys.readouterr()
    assert score_command.main([str(tmp_path / "there" / folder.name)]) == 0
    assert "tinyllama-1.1b" in capsys.readouterr().out
    asked, real = [], own_panel.ask_people
    monkeypatch.setattr(own_panel, "ask_people", lambda *given, **more: asked.append(given[2]) or real(*given, **more))
    assert press(page, "Ask everybody").startswith("9 answers in ") and not asked, "nobody is asked again"
    page.models.seed.value = 7
    assert press(page, "Ask everybody").startswith("9 answers in ") and len(asked) == 3, "another seed is another panel"


def test_the_answers_are_those_of_the_command_ask(make, tmp_path):
    from polypersona_lib.ask import command as ask_command

    page = loaded(make())
    press(page, "Ask everybody")
    (tmp_path / "q.csv").write_bytes(QUESTIONS)
    (tmp_path / "p.csv").write_bytes(PEOPLE)
    given = ["--questions", str(tmp_path / "q.csv"), "--people", str(tmp_path / "p.csv"), "--models", "tinyllama-1.1b--base", "--out", str(tmp_path / "asked")]
    page.models.adapter.value = "none"
    press(page, "Ask everybody")
    assert ask_command.main(given) == 0
    ours, theirs = (pd.read_parquet(f / "answers.parquet") for f in (page.own.panel.folder, tmp_path / "asked"))
    assert ours["system"].unique().tolist() == ["tinyllama-1.1b--base"]
    assert ours[["id", "system", "answer", "option", "reference"]].equals(theirs[["id", "system", "answer", "option", "reference"]])
    pairs = zip(ours["option_probs"].dropna(), theirs["option_probs"].dropna(), strict=True)
    assert max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)) < 1e-4


def test_stop_keeps_whole_people_and_asking_again_goes_on(make, monkeypatch):
    page = loaded(make())
    heed, seen = page.worker.heed, []

    def halt(done, asked):
        seen.append(done)
        if done == 3:
            page.worker.stop()
        heed(done, asked)

    monkeypatch.setattr(page.worker, "heed", halt)
    assert press(page, "Ask everybody") == "stopped after 3 of 9 answers; what was finished is kept"
    assert len(page.own.table.rows) == 3 and page.own.plan.value.endswith("; 3 are here already")
    first = pd.read_parquet(page.own.panel.folder / "answers.parquet")
    assert set(first["persona_id"]) == {"a"} and len(pd.read_parquet(page.own.panel.folder / "people.parquet")) == 1, "a folder that score and pilot read"
    monkeypatch.setattr(page.worker, "heed", heed)
    assert press(page, "Ask everybody").startswith("9 answers in ")
    whole = pd.read_parquet(page.own.panel.folder / "answers.parquet")
    assert set(whole["persona_id"]) == {"a", "b", "c"} and whole["id"].is_unique
    assert whole[whole["persona_id"] == "a"]["answer"].tolist() == first["answer"].tolist()


def test_a_broken_model_is_one_line_and_nothing_is_lost(make, monkeypatch):
    page = loaded(make())
    monkeypatch.setattr(own_panel, "ask_people", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("the model\nbroke")))
    assert press(page, "Ask everybody") == "Not done. RuntimeError: the model broke"
    assert not page.own.table.rows and page.own.panel is None


def test_a_damaged_folder_is_one_line(make):
    page = loaded(make())
    panel = page.own._panel()
    panel.folder.mkdir(parents=True)
    (panel.folder / "answers.parquet").write_bytes(b"PAR1 no")
    said = press(page, "Ask everybody")
    assert said.startswith("Not done. ") and "delete this folder to ask again" in said


def test_other_settings_have_folders_of_their_own(make):
    page = loaded(make())
    folders = {page.own._panel().folder}
    for box, value in ((page.own.mode, "sequence"), (page.own.wanted, "both"), (page.models.adapter, "none"), (page.models.seed, 7)):
        box.value = value
        folders.add(page.own._panel().folder)
    for what, name, content in (("people", "them.csv", PEOPLE.replace(b"61", b"62")), ("questions", "mine.csv", QUESTIONS + b"x,Y?,open,\n")):
        bring(page, what, name, content)
        folders.add(page.own._panel().folder)
    assert len(folders) == 7
    page.own.count.value = 1
    assert page.own._panel().folder in folders, "more people of the same file go on in the same folder"


# --- descriptions ---------------------------------------------------------------------------------------------------------------


class Deaf(StubGenerator):
    """A stub beside real twins: the measuring of descriptions goes through it, and it reads no card."""

    def __init__(self, twins, hears):
        super().__init__()
        self.twins, self.hears = twins, hears

    def __getattr__(self, name):
        return getattr(self.twins, name)

    def answer(self, ask, system):
        return super().answer(ask if self.hears else replace(ask, card=""), system)


@pytest.mark.parametrize("hears", [False, True])
def test_people_described_in_words_are_measured_and_warned_of(make, generator, hears):
    page = loaded(make(Deaf(generator, hears)), people=WORDED.encode(), questions=QUESTIONS)
    assert "2 people, 2 of them described in words" in page.own.people_file.value
    press(page, "Ask everybody")
    first, *lines = page.own.heard.value.split("\n")
    assert first.startswith("2 of 2 people described in words were asked again by twin of TinyLlama") and len(lines) == 2
    assert lines[0].startswith("w1: ") and "(mean of 2 questions)" in lines[0] and '("A retired fisherman who trusts banks.")' in lines[0]
    warned = "pp-warning" in page.own.heard._dom_classes
    assert warned is not hears and ("This model ignores the description" in lines[0]) is not hears
    assert first.endswith("their answers depend on the words") is hears and "described in words" in page.worker.answers.box.value
    asked = len(page.interviewer.generator.calls)
    press(page, "Ask everybody")
    assert len(page.interviewer.generator.calls) == asked, "measured once"


def test_cards_with_attributes_are_not_measured(make):
    page = loaded(make())
    assert own_panel.described_asks(page.own._panel(), page.own.people.frame) == {} and own_files.described_people(page.own.people.frame) == 0


# --- the report, and a reload ---------------------------------------------------------------------------------------------------


def test_the_report_is_the_commands_own_and_all_is_here_after_a_reload(make, tmp_path):
    page = make()
    page.own.example.click()
    page.own.count.value, page.models.seed.value, page.models.adapter.value = 8, 7, "none"
    assert press(page, "Ask everybody").startswith("48 answers in ")
    assert press(page, "Report on the questionnaire").startswith("report on 48 answers in ")
    folder = page.own.panel.folder
    assert pilot_command.main(["--answers", str(folder), "--out", str(tmp_path / "pilot")]) == 0
    own, theirs = (re.sub(r"\d", "#", (place / "pilot.html").read_text(encoding="utf-8")) for place in (folder / "report", tmp_path / "pilot"))
    assert own == theirs, "last digits may differ: a child process has other threads, and omega of four items that hardly vary is a quotient of rounding errors"
    assert "staff: double-barrelled: and" in page.own.said.value and '<iframe title="Report of the pilot" sandbox="allow-scripts"' in page.own.frame.value
    page.person.people.value = "p009"
    page.person.editors["age"].value = 33
    page.question.own.value, page.question.own_options.value = "Tea?", "Yes / No"
    page.models.temperature.value = 0.1
    again = Page(page.interviewer)
    assert (again.own.count.value, again.models.seed.value, again.models.adapter.value, again.models.family.value) == (8, 7, "none", "tinyllama-1.1b")
    assert again.own.table.rows == page.own.table.rows and len(again.own.table.rows) == 48
    assert again.own.said.value == page.own.said.value and again.own.frame.value == page.own.frame.value
    assert again.person.card == page.person.card and again.person.name == "p009, edited" and again.person.people.value == "p009"
    assert again.inputs.ask() == page.inputs.ask() and again.models.manner.value == "as set here"
    assert again.questionnaire.scope.value == page.questionnaire.scope.value == "this question"
    again.own.forget.click()
    assert "forgotten" in again.own.bar.status.value and not again.own.folder.exists() and folder.exists()
    fresh = Page(page.interviewer)
    assert fresh.own.questionnaire is None and fresh.question.own.value == "" and fresh.models.seed.value == 42


def test_a_report_that_fails_is_one_line_and_more_answers_make_it_old(make):
    page = loaded(make())
    assert press(page, "Report on the questionnaire") == "Not done. ask everybody first; the report is about their answers"
    press(page, "Ask everybody")
    panel = page.own.panel
    report = panel.folder / own_panel.REPORT
    report.mkdir()
    (report / "pilot.html").write_text("old", encoding="utf-8")
    (report / "said.json").write_text(json.dumps({"answers": 1, "lines": ["old"]}), encoding="utf-8")
    assert own_panel.kept_report(panel) == (None, [])
    (panel.folder / "questionnaire.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="^pilot: ") as error:
        own_panel.pilot_report(panel, lambda: None)
    assert "\n" not in str(error.value)


def test_a_new_person_is_here_again_and_a_damaged_session_is_none(make):
    page = make()
    page.person.roll.click()
    again = Page(page.interviewer)
    assert again.person.name == "r1, new" and again.person.card == page.person.card and again.person.people.value is None
    again.session.path.write_text('{"fields": {"seed": "x", "family": "nobody", "domain": 3}, "card": [1]', encoding="utf-8")
    assert Page(page.interviewer).models.seed.value == 42
    again.session.path.write_text('{"fields": {"seed": "x", "family": "nobody", "count": 3}, "card": {}, "original": {"persona_id": []}}', encoding="utf-8")
    assert Page(page.interviewer).person.card
