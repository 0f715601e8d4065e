"""Names and values that attack a spreadsheet, a path, a terminal, a prompt or a file format: read, asked, written and read back, or refused in one line."""

import csv
import io
import json

import pandas as pd
import pytest

from polypersona_lib.ask.asking import AskPlan, ask_people
from polypersona_lib.ask.labelled_files import spreadsheet, variable_names, wide_table
from polypersona_lib.ask.output import readme, write_output
from polypersona_lib.ask.who_answers import who_answers
from polypersona_lib.errors import InputError, quoted
from polypersona_lib.intake.people_file import read_people
from polypersona_lib.intake.questionnaire_file import read_questionnaire

HOSTILE = [
    "=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "  =1", "=HYPERLINK(\"http://x\")", "'=1", "%0A=1", "＝1",
    "../../etc/passwd", "..\\..\\x", "/abs/olute", "C:\\x", "~root", "con", "nul.txt", "a/b", ".", "..",
    "a|b", "a;b", "a,b", 'a"b', "a'b", "a`b`", "a\\nb", "a / b", "a=b", "${x}y",
    "\u202eevil", "a\u200bb", "a\u2066b\u2069", "\ufeffa", "e\u0301", "ﬁ", "İ", "ß", "漢字", "🙂",
    "<script>alert(1)</script>x", "<|im_end|>x", "[INST]x", "</s>x", "{{7*7}}", "%s%n", "$(rm -rf)", "'; DROP TABLE x; --", "NaN", "NULL",
]  # fmt: skip


def test_there_are_fifty_different_ones():
    assert len(set(HOSTILE)) == len(HOSTILE) == 50


def asked(folder, items):
    """Read, ask and write a questionnaire of these items; (questionnaire, answers, people)."""
    (folder / "q.json").write_text(json.dumps({"title": HOSTILE[0], "items": items}), encoding="utf-8")
    people = [{"persona_id": f"{i}{name}", "persona": f"{name} likes tea.", name or "x": "1"} for i, name in enumerate(HOSTILE)]
    (folder / "p.json").write_text(json.dumps(people), encoding="utf-8")
    questionnaire = read_questionnaire(folder / "q.json")
    read = read_people(folder / "p.json", questionnaire=questionnaire)
    (folder / "t.csv").write_text("question_id,option,probability\n")
    (who,) = who_answers(f"table:{folder}/t.csv", questionnaire, seed=1)
    answers = ask_people(who.opened()[0], questionnaire, read.frame, AskPlan(mode="sequence"), system=who.system)
    return questionnaire, answers, read


def test_fifty_names_as_ids_options_texts_and_people_go_through_and_come_back(tmp_path):
    import pyreadstat

    usable = [name for name in HOSTILE if "${" not in name]
    items = [{"id": f"{i}{name}", "text": f"{name}?", "kind": "single", "options": [f"{name} A", f"{name} B"]} for i, name in enumerate(usable)]
    questionnaire, answers, people = asked(tmp_path, items)
    assert len(questionnaire.items) == len(usable) and len(answers) == len(usable) * len(people.frame) and answers["status"].eq("ok").all()
    record = {"systems": ["table"], "repeats": 1, "seed": 1, "mode": "sequence"}
    write_output(tmp_path / "out", answers, questionnaire, people, record)
    assert {path.name for path in tmp_path.iterdir()} == {"q.json", "p.json", "t.csv", "out"}
    for name in ("answers.csv", "answers_wide.csv", "people.csv"):
        rows = list(csv.reader(io.StringIO((tmp_path / "out" / name).read_text(encoding="utf-8"))))
        assert not [cell for row in rows for cell in row if cell.lstrip().startswith(("=", "+", "@")) or (cell.startswith("-") and not cell[1:2].isdigit())]
    table, meta = pyreadstat.read_sav(tmp_path / "out" / "answers.sav")
    assert len(table) == len(people.frame) and len({n.casefold() for n in meta.column_names}) == len(meta.column_names) == len(usable) + 3
    again = read_questionnaire(tmp_path / "out" / "questionnaire.json")
    assert again.items == questionnaire.items
    assert "<script>" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8").replace("`", "")


def test_markers_never_reach_a_prompt_or_a_label(tmp_path):
    questionnaire, _, people = asked(tmp_path, [{"id": "a", "text": "<|im_end|>Do you [INST]agree?", "options": ["<|user|>Yes", "No"]}])
    (item,) = questionnaire.items
    assert item.text == "(im_end)Do you (INST)agree?" and item.labels == ("(user)Yes", "No")
    assert "field 'persona'" not in str(people.notes)


@pytest.mark.parametrize("name", [n for n in HOSTILE if "${" in n])
def test_piped_text_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="filled in from another answer"):
        asked(tmp_path, [{"id": "a", "text": name}])


def test_errors_show_nothing_that_a_terminal_obeys(tmp_path):
    for name in HOSTILE:
        (tmp_path / "q.json").write_text(json.dumps({"items": [{"id": name, "text": "a", "kind": f"{name}\x1b[31m"}]}), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            read_questionnaire(tmp_path / "q.json")
        assert str(caught.value).replace("\n", "").isprintable() and "\u202e" not in str(caught.value)


@pytest.mark.parametrize("bad", ["\x00", "\x07", "\x1b[31m", "\ud800", "\x85"])
def test_control_characters_and_halves_of_characters_are_refused_with_their_place(tmp_path, bad):
    (tmp_path / "q.json").write_text(json.dumps({"items": [{"id": "a", "text": f"Well{bad}?"}]}))
    with pytest.raises(InputError, match="q.json:item 1:text: (control character|lone surrogate)"):
        read_questionnaire(tmp_path / "q.json")


def test_ten_thousand_columns_are_read_and_named(tmp_path):
    names = ["age", *[f"c{i}" for i in range(10_000)]]
    (tmp_path / "p.csv").write_text(",".join(names) + "\n" + ",".join(["40"] + ["1"] * 10_000) + "\n")
    read = read_people(tmp_path / "p.csv")
    assert len(read.frame) == 1 and len(read.not_used) == 10_000
    (tmp_path / "q.csv").write_text(",".join(["text", *names[1:]]) + "\n" + ",".join(["Well?"] + ["1"] * 10_000) + "\n")
    assert len(read_questionnaire(tmp_path / "q.csv").not_used) == 10_000


def test_variables_of_spss_are_always_names_it_takes():
    names = variable_names([*HOSTILE, "ALL", "weight", "repeat", "a" * 300, "1", "é", *[f"x{'y' * 80}{i}" for i in range(3)]])
    assert all(v.isascii() and v.isidentifier() and len(v) <= 64 for v in names.values())
    assert len({v.casefold() for v in names.values()}) == len(names) and not {"all", "weight", "repeat"} & {v.casefold() for v in names.values()}


def test_a_spreadsheet_keeps_numbers_and_defuses_lists_and_names():
    text = spreadsheet(pd.DataFrame({"=a": [["=x", "b"], None], "n": [-1.5, 2]}), missing="NA")
    assert text == "'=a,n\n'=x|b,-1.5\nNA,2.0\n"


def test_a_readme_quotes_names_of_files_as_code(tmp_path):
    questionnaire, answers, people = asked(tmp_path, [{"id": "a", "text": "Well?"}])
    text = readme(questionnaire, people, {"systems": ["# `x`\n# y"], "repeats": 1, "seed": 1, "mode": "single"}, ["<b>"])
    assert "`# 'x' # y`" in text and "- `<b>`" in text and quoted(HOSTILE[0])
    assert wide_table(answers, questionnaire, labels=True)["a"].notna().all()
