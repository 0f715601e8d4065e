"""Text and names that are not ours reach no page, table, notebook output or terminal as anything but text; packed and nested files stay small."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import time
import zipfile

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.text import Text
from timing import allowed

from polypersona_lib import cells, config, errors, files, progress
from polypersona_lib.ask.command import reading_lines
from polypersona_lib.ask.output import readme
from polypersona_lib.cells import Missing, md_text, tex_text
from polypersona_lib.errors import InputError, Problem, printable, quoted, safe_line
from polypersona_lib.figures import data_figures, lora_diagram
from polypersona_lib.files import csv_text, from_csv_text, not_too_deep, parse_json, read_json
from polypersona_lib.intake import tables
from polypersona_lib.intake.answers_folder import read_answers_table
from polypersona_lib.intake.people_file import read_people
from polypersona_lib.intake.predictions_file import read_predictions
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.intake.survey_format import PEOPLE_COLUMNS
from polypersona_lib.models.weights import check_gguf, check_safetensors
from polypersona_lib.pilot import command as pilot_command
from polypersona_lib.pilot.analysis import Material, Pilot
from polypersona_lib.pilot.page import csv_of
from polypersona_lib.prompts import chat
from polypersona_lib.registry import MODELS, REAL_MODELS
from polypersona_lib.report.rendering import rendered
from polypersona_lib.runner import pipeline
from polypersona_lib.score import command
from polypersona_lib.scoring.answer_files import load_predictions

ESCAPES = (
    "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\link", "\x9b31m", "\x1b[31mred\x1b[0m", "\r\x1b[K", "\x08\x08", "\x00", "\x7f",
    "\u202egnp.exe",
)  # fmt: skip
MARKUP = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![x](http://evil.example/a.png)", "[x](javascript:alert(1))", "**bold** _it_ ~no~",
    "`x`", "| a | b |", "$\\href{javascript:alert(1)}{x}$", "http://evil.example/", "www.evil.example", "\\input{/etc/passwd}", "^^5c", "{{ 7*7 }}",
    "&lt;b&gt;", "a\n# heading", "%x", "#1",
)  # fmt: skip
FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\n=1", "\r=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201", "\ufeff=1", "\u200b=1", "\xa0=1",
    "\x00=1",
)  # fmt: skip


def is_plain(text: str) -> bool:
    """Nothing in a text but line ends and what is drawn."""
    return all(c.isprintable() or c == "\n" for c in text)


# --- terminals ---


@pytest.mark.parametrize("text", ESCAPES)
def test_no_message_and_no_line_holds_what_a_terminal_obeys(text, capsys, tmp_path, monkeypatch):
    assert is_plain(printable(f"a{text}\nb")) and printable(f"a{text}\nb").count("\n") == 1
    assert is_plain(safe_line(text)) and "\n" not in safe_line(f"a\n{text}") and is_plain(quoted(text))
    error = InputError(f"{text}: no such file", problems=[Problem(f"{text}\nx.csv", 3, text, f"not {text}")], footer=text)
    assert is_plain(str(error)) and len(str(error).split("\n")) == 3
    pipeline._say(f"error: {text}")
    view = progress.ProgressView(tmp_path / "log", stream=io.StringIO(), every_s=0.0)
    (tmp_path / "log").write_text(json.dumps({"what": text, "done": 5, "total": 5, "note": text}) + '\n5\n{"done": 1}\n[]\nx\n', encoding="utf-8")
    view.poll()
    assert is_plain(capsys.readouterr().out) and is_plain(view.stream.getvalue()) and "5/5" in view.stream.getvalue()


@pytest.mark.parametrize("name", ["\x1b[2Jred.csv", "two\nlines.csv", "\x9bx.csv"])
def test_names_of_files_are_printed_as_text(name, capsys, tmp_path):
    (tmp_path / name).write_text("prediction\nx\n", encoding="utf-8")
    assert command.main([str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert is_plain(said.err + said.out) and all(safe_line(name) in line for line in said.err.splitlines())
    for read in (read_questionnaire, read_people, read_predictions):
        for path in (tmp_path / name, tmp_path / f"no{name}"):
            with pytest.raises(InputError) as error:
                read(path)
            assert is_plain(str(error.value)) and safe_line(name) in str(error.value)


SAID_BY_FILES = {  # what a questionnaire says of itself, in places that no item comes from
    "q.json": lambda text: json.dumps({"items": [{"id": "a", "text": "Well?"}], "not_used": {"x": f"{text}\nanswers: none"}}),
    "q.qsf": lambda text: json.dumps({"SurveyElements": [
        {"Element": "SQ", "PrimaryAttribute": f"QID{i}", "Payload": {"QuestionType": kind, "QuestionText": "Well?", "DataExportTag": f"q{i}"}}
        for i, kind in enumerate(("TE", text))]}),
    "q.txt": lambda text: "class\ttype/scale\tname\ttext\tlanguage\n"
        + "".join(f"Q\t{kind}\tq{i}\tWell?\t{tongue}\n" for i, (kind, tongue) in enumerate((("S", f"e{text}"), (f"X{text}", f"e{text}"), ("S", "de")))),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID_BY_FILES)
@pytest.mark.parametrize("text", ["\x1b[2J", "\x1b]0;title\x07", "\u202egnp.exe"])
def test_what_a_questionnaire_says_is_not_used_is_printed_as_text(name, text, tmp_path):
    (tmp_path / name).write_text(SAID_BY_FILES[name](text), encoding="utf-8")
    (tmp_path / "p\x1b[2J.csv").write_text("id,age\na,30\n")
    asked, people = read_questionnaire(tmp_path / name), read_people(tmp_path / "p\x1b[2J.csv")
    lines = reading_lines(asked, people)
    assert any("not used" in line for line in lines) and all(is_plain(line) and "\n" not in line for line in lines)
    assert is_plain(readme(asked, people, {"systems": [text], "repeats": 1, "seed": 1, "mode": "single"}, [text]))


def test_what_a_pilot_finds_is_printed_as_text(capsys, tmp_path):
    found = pd.DataFrame([{"question_id": "q\u202e", "system": "\x1b[2J", "kind": "order", "text": "\x9b31m"}])
    material = Material(items=(), people=pd.DataFrame(), answers=pd.DataFrame({"system": ["a"]}), labels={"a": "\x1b]0;x\x07"})
    pilot_command._say(Pilot(material=material, tables={}, findings=found, worth={"a": "\x1b[2J"}), tmp_path)
    assert is_plain(capsys.readouterr().out)


@pytest.mark.parametrize("text", ESCAPES[:-1])
def test_what_a_model_says_holds_no_control_characters(text):
    assert chat.clean_answer(f"Yes.{text} I do.").startswith("Yes.") and is_plain(chat.clean_answer(f"Yes.{text} I do."))
    assert chat.clean_answer("\x1b[31mYes\x1b[0m, \ud800 I do 👩\u200d👧.") == "Yes, \ufffd I do 👩\u200d👧."
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", csv_text(text) + cells._csv(pd.DataFrame({"a": [text]}).astype(object)))


# --- tables and pages ---


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text):
    for written in (cells._csv(pd.DataFrame({text: [text]}).astype(object)), csv_of(pd.DataFrame({text: [text]}))):
        for row in csv.reader(io.StringIO(written)):
            assert all(cell.startswith("'") or not cell.lstrip(files._DRAWN_AS_NOTHING).startswith(files._FORMULA) for cell in row), row
    assert from_csv_text(csv_text(text)) == text.replace("\r", "\n") or "\x00" in text
    assert "\r" not in csv_text(f"a\r{text}\r\nb")  # else the row would end there
    assert csv_text("a-b = c") == "a-b = c" and from_csv_text("'tis") == "'tis"


@pytest.mark.parametrize("text", MARKUP)
def test_markdown_shows_the_text_and_nothing_else(text):
    """By markdown-it, with tables, strikethrough and bare addresses switched on: no element but table, paragraph and sup."""
    from markdown_it import MarkdownIt

    table = pd.DataFrame({text: [text, Missing(text)]}).astype(object)
    notes, marks = cells._footnotes(table, [text])
    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(cells._markdown(table, text, notes, marks))
    elements = set(re.findall(r"<\s*/?\s*([a-zA-Z0-9]+)", shown))
    assert elements <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "sup", "ul", "li", "br"}, shown
    assert not re.search(r"(?<!\\)\$", cells._markdown(table, text, notes, marks)) and "http://" not in md_text(text)
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", shown)


@pytest.mark.parametrize("text", MARKUP)
def test_latex_shows_the_text(text):
    shown = tex_text(text)
    for name in ("\\textbackslash{}", "\\textasciitilde{}", "\\textasciicircum{}", "\\ldots{}"):
        shown = shown.replace(name, "")
    bare = re.sub(r"\\[&%$#_{}]", "", shown)
    assert not re.search(r"[\\&%$#_{}~^\n]", bare), bare


@pytest.mark.parametrize("text", ["[-3cm] No", "[Refused]", "*", "*[1cm]"])
def test_no_row_of_a_latex_table_begins_with_what_the_command_before_it_takes(text):
    r"""`\\[3cm]`, `\\*` and `\midrule[3cm]` are one command each, whatever line ends lie between."""
    table = pd.DataFrame({text: [text, text]}).astype(object)
    rows = cells._latex(table, text, [], {}, "t").partition("\\toprule")[2].partition("\\bottomrule")[0]
    assert rows.count(tex_text(text)) == 3 and not re.search(r"(?:\\\\|rule)\s*[\[*]", "\\toprule" + rows)


@pytest.mark.parametrize("text", ["$\\frac{$", "Income $20,000 to $50,000", "a$_b$"])
def test_a_dollar_in_a_figure_is_a_dollar(text):
    """In names of domains, and in the note, which names the folder of the data."""
    counts = pd.Series({"a": 3, "b": 4})
    fig, ax = data_figures.plot_domain_counts(counts, paper={}, note=f"data {text}", labels={"a": text, "b": "x"})
    drawn = [one for one in fig.findobj(Text) if "$" in one.get_text()]
    assert len(drawn) > 2 and not any(one.get_parse_math() for one in drawn)
    fig, ax = lora_diagram.plot_lora_diagram(note=f"data {text}")
    assert {one.get_parse_math() for one in ax.texts if "$" in one.get_text()} == {True} and not fig._supxlabel.get_parse_math()
    plt.close("all")


@pytest.mark.parametrize("text", MARKUP)
def test_pages_escape_everything(text, tmp_path):
    (tmp_path / "x.j2").write_text('<p title="{{ t }}">{{ t }}</p>', encoding="utf-8")
    page = rendered("x.j2", {"t": text}, folder=tmp_path)
    assert set(re.findall(r"<\s*/?\s*([a-zA-Z0-9]+)", page)) == {"p"} and page.count('"') == 2


def test_a_dollar_in_a_notebooks_table_is_a_dollar():
    before = pd.get_option("display.html.use_mathjax")
    try:
        config.prepare(config.RunConfig(profile="paper"))
        shown = pd.DataFrame({"income": ["$20,000 to $50,000 <b>"]})._repr_html_()
    finally:
        pd.set_option("display.html.use_mathjax", before)
    assert "tex2jax_ignore" in shown and "mathjax_ignore" in shown and "<b>" not in shown


# --- prompts ---

SERVERS_HAVE = ("[|endofturn|]", "[|user|]", "[gMASK]", "<sop>", "<BOS_TOKEN>", "<extra_id_1>", "<SPECIAL_12>", "<reserved_106>", "[THINK]", "[/THINK]")


@pytest.mark.parametrize("marker", SERVERS_HAVE)
def test_control_strings_of_models_that_only_servers_have_survive_neither(marker):
    for text in (marker, f"a{marker}b", f"[|us{marker}er|]", marker.lower(), marker.replace("[", "[ ").replace("<", "\uff1c")):
        assert chat.find_control_text(text) and not chat.find_control_text(chat.neutralise(text)), text
    assert chat.neutralise("[ ] yes [|] no, a[1] | b[2] | [think about it]") == "[ ] yes [|] no, a[1] | b[2] | [think about it]"


CONTROL_STRINGS = sorted({text for spec in (*MODELS.values(), *REAL_MODELS.values()) for text in spec.control})


@pytest.mark.parametrize("marker", CONTROL_STRINGS)
def test_no_registered_models_control_string_survives_in_a_prompt_or_an_answer(marker):
    """`tests/prompts` has the templates of the paper's families; here every string that any registered model takes for control, real models too."""
    for text in (marker, f"a{marker}b", marker[:2] + marker + marker[2:], f" {marker.upper()} ", marker.replace("|", "\u200b|")):
        prompt = chat.messages(text, text, text, [text, "No"])
        body = "\n".join(chat.neutralise(m["content"], tuple(CONTROL_STRINGS)) for m in prompt)
        assert marker not in body and not chat.find_control_text(body, tuple(CONTROL_STRINGS))


# --- files that are larger or deeper than they look ---


def test_deep_json_is_an_error_of_the_file(tmp_path):
    for depth in (files.MOST_DEPTH + 2, 990, 100_000):
        text = "[" * depth + "]" * depth
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(text)
        (tmp_path / "q.json").write_text('{"items": ' + text + "}")
        with pytest.raises(InputError, match="nested too deeply"):
            read_questionnaire(tmp_path / "q.json")
        (tmp_path / "p.jsonl").write_text('{"id": "a", "prediction": "x", "reference": "y", "persona": {"values": ' + text + "}}")
        with pytest.raises(InputError, match="nested too deeply"):
            read_predictions(tmp_path / "p.jsonl")
        assert read_json(tmp_path / "q.json") == {}
    assert not_too_deep([[1, {"a": [2]}]]) == [[1, {"a": [2]}]] and parse_json("[" * 50 + "]" * 50)


def test_a_packed_file_may_not_unpack_to_very_much(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FREE_BYTES", 2**20)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n" * 2**22))
    with pytest.raises(InputError, match="a.jsonl.gz: more than 1 MB once unpacked"):
        read_people(tmp_path / "a.jsonl.gz")
    monkeypatch.setattr(files, "MOST_ROWS", 50)
    for module in ("reading", "tables"):
        monkeypatch.setattr(sys.modules[f"polypersona_lib.intake.{module}"], "MOST_ROWS", 50)
    for name, text in {"b.jsonl": "\n" * 99, "b.csv": "id\n" * 99, "b.json": "[" + "{}," * 99 + "{}]"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"{name}: more than 50 lines"):
            read_people(tmp_path / name)


def test_parquet_that_says_a_text_a_million_times_is_refused_before_it_is_spelled_out(tmp_path):
    import pyarrow
    import pyarrow.parquet

    same = pyarrow.array(["x" * 200_000]).dictionary_encode()
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 50_000, pyarrow.int32()), same.dictionary)
    table = pyarrow.table({"persona": column, "nested": pyarrow.StructArray.from_arrays([column], ["a"])})
    for name in ("persona", "nested"):
        path = tmp_path / f"{name}.parquet"
        pyarrow.parquet.write_table(table.select([name]), path)
        assert path.stat().st_size < 2**20
        with pytest.raises(InputError, match=r"more than 2,000,000 rows, or 512 MB, once unpacked"):
            read_people(path)
        with pytest.raises(InputError, match="cannot be read .more than 2,000,000 rows, or 512 MB, once unpacked.; ask again"):
            read_answers_table(path, PEOPLE_COLUMNS, "ask again")  # of a folder that ask wrote
    pyarrow.parquet.write_table(pyarrow.table({"a": pyarrow.nulls(3_000_000, pyarrow.int8())}), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="more than 2,000,000 rows"):
        read_people(tmp_path / "rows.parquet")


def test_parquet_values_are_what_they_were(tmp_path):
    frame = pd.DataFrame(
        {"id": ["a", "b"], "prediction": ["x", "x"], "reference": ["y", None], "n": [1, 2], "f": [0.5, None], "options": [["No", "Yes"], None]}
    )
    frame.to_parquet(tmp_path / "p.parquet")
    rows = [row for _, row in files.parquet_rows(tmp_path / "p.parquet")]
    assert rows[0] == {"id": "a", "prediction": "x", "reference": "y", "n": 1, "f": 0.5, "options": ["No", "Yes"]}
    assert rows[1]["reference"] is None and rows[1]["options"] is None


def _workbook(path, sheet: str) -> None:
    """A workbook whose first sheet holds this XML."""
    from openpyxl import Workbook

    made = io.BytesIO()
    Workbook().save(made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, sheet if entry == "xl/worksheets/sheet1.xml" else old.read(entry))


def test_workbooks_that_are_larger_than_they_look(tmp_path, monkeypatch):
    head = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><dimension ref="A1:XFD1048576"/><sheetData>'
    cell = '<c r="{}" t="inlineStr"><is><t>text</t></is></c>'
    tail = "</sheetData></worksheet>"
    far = f'<row r="1">{cell.format("A1")}</row><row r="1048576">{cell.format("A1048576")}</row>'
    _workbook(tmp_path / "far.xlsx", head + far + tail)
    rows, problems = tables.read_rows(tmp_path / "far.xlsx")
    assert not problems and [number for number, _ in rows] == [1048576]
    monkeypatch.setattr(tables, "MOST_CELLS", 100_000)
    wide = "".join(f'<row r="{i}">{cell.format(f"XFD{i}")}</row>' for i in range(1, 20))
    _workbook(tmp_path / "wide.xlsx", head + wide + tail)
    assert "more than 100,000 cells" in str(tables.read_rows(tmp_path / "wide.xlsx")[1][0])
    named = '<c r="{0}" t="inlineStr"><is><t>{0}</t></is></c>'
    above = "".join(f'<row r="{i}">{"".join(named.format(f"{c}{i}") for c in "ABCDEFGH")}</row>' for i in (1, 2))
    below = "".join(f'<row r="{i}">{named.format(f"A{i}")}</row>' for i in range(3, 13_000))
    down = "".join(f'<mergeCell ref="{c}2:{c}99999"/>' for c in "BCDEFGH")
    _workbook(tmp_path / "down.xlsx", f"{head}{above}{below}</sheetData><mergeCells>{down}</mergeCells></worksheet>")
    assert "more than 100,000 cells" in str(tables.read_rows(tmp_path / "down.xlsx")[1][0])  # those that a merged cell fills count too
    many = "".join(f'<mergeCell ref="A2:A{i}"/>' for i in range(30_000, 50_000))
    _workbook(tmp_path / "many.xlsx", f'{head}{above}<row r="20000"/></sheetData><mergeCells>{many}</mergeCells></worksheet>')
    began = time.process_time()
    assert len(tables.read_rows(tmp_path / "many.xlsx")[0]) == 1
    assert (took := time.process_time() - began) < 2 or took < allowed(2)
    declared = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    laughs = declared + head.replace("A1:XFD1048576", "A1") + "<row r='1'><c r='A1'><v>&b;</v></c></row>" + tail
    _workbook(tmp_path / "laughs.xlsx", laughs)
    rows, problems = tables.read_rows(tmp_path / "laughs.xlsx")
    assert not rows and "not a readable Excel workbook" in str(problems[0])
    with zipfile.ZipFile(tmp_path / "zeros.xlsx", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", b"\0" * (files.FREE_BYTES + 1))
    assert "more than 64 MB once unpacked" in str(tables.read_rows(tmp_path / "zeros.xlsx")[1][0])


@pytest.mark.parametrize("head", [b"", b"GGUF", b"GGML" + bytes(20), b"GGUF" + bytes(20), b"GGUF\x03\0\0\0" + b"\xff" * 16, b"GGUF\x03\0\0\0\x02" + bytes(15)])
def test_damaged_weights_are_one_line(head, tmp_path):
    for name, check in (("\x1bm.gguf", check_gguf), ("\x1bm.safetensors", check_safetensors)):
        (tmp_path / name).write_bytes(head)
        with pytest.raises(ValueError) as error:
            check(tmp_path / name)
        assert is_plain(str(error.value)) and "\n" not in str(error.value) and "m." in str(error.value)
    with pytest.raises(FileNotFoundError):
        check_safetensors(tmp_path / "nothing.safetensors")


def test_only_a_line_end_ends_a_row_of_a_runs_answers(tmp_path):
    """U+2028 and U+0085 stand in people's texts; they once broke a row in two."""
    row = {"id": "a", "prediction": "one\u2028two", "reference": "three\x85four"}
    (tmp_path / "phi-2.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert load_predictions(tmp_path).loc[0, "prediction"] == "one\u2028two"


def test_the_errors_room_is_the_one_home():
    assert {"printable", "safe_line", "quoted", "one_line"} <= set(vars(errors))
