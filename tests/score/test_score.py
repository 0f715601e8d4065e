"""The score command: what it prints and writes, and how it refuses bad input."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import resampling, stats
from polypersona_lib.intake import predictions_file
from polypersona_lib.prompts.chat import render_card
from polypersona_lib.score import command, file_scores, printing
from polypersona_lib.scoring import diagnosis, metrics, swap
from polypersona_lib.world import controls

GOLDEN = {
    "bleu": "0.0945",
    "bleu_sacre_sentence": "0.1233",
    "bleu_corpus": "0.1381",
    "rouge1": "0.4315",
    "rouge2": "0.1689",
    "rougeL": "0.3024",
    "bertscore_f1": "0.6476",
}
OPTIONS = ["Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree"]


def write(path: Path, rows) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return str(path)


def rows(count=4, **more):
    return [
        {"id": f"r{i}", "prediction": f"I agree, the bus number {i} is late.", "reference": f"Agree, my bus {i} is always late."} | more for i in range(count)
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"id": "a", "prediction": "x"}'], "reference: missing in every row (columns there: 'id', 'prediction')"),
        (['{"id": "a", "prediction": "x", "Gold": "y"}'], "reference: missing in every row; is it the column 'Gold'?"),
        (['{"id": "a", "Prediction": "x", "reference": "y"}'], "prediction: missing in every row; is it the column 'Prediction'?"),
        ([*rows(1), '{"id": "a", "prediction": "x"}'], "line 2: reference: missing"),
        (['{"id": "a", "prediction": "x", "reference": "y"}', "{oops"], "line 2: broken JSON "),
        (["{", '"id": 1', "}"], "line 1: broken JSON (Expecting property name enclosed in double quotes, column 2); is one object spread over several lines?"),
        (["id,prediction,reference", "a,x,y"], "no JSON in line 1; expected one JSON object a line, one JSON array, or a table named .csv or .tsv"),
        (['{"id": "a", "id": "b", "prediction": "x", "reference": "y"}'], "line 1: id: stands there twice"),
        (["[1, 2]"], "line 1: expected an object, found int (and 1 more line)"),
        (['{"id": "a", "prediction": "\\ud800", "reference": "y"}'], "line 1: not text: an escape such as \\ud800 is half of a character"),
        (['{"id": "a", "prediction": NaN, "reference": "y"}'], "line 1: prediction: expected text, found nothing"),
        (['{"id": "a", "prediction": 3.5, "reference": "y"}'], "line 1: prediction: expected text, found the number 3.5"),
        (['{"id": "a", "prediction": true, "reference": "y"}'], "line 1: prediction: expected text, found true or false"),
        (['{"id": "a", "prediction": null, "reference": "y"}'], "line 1: prediction: expected text, found nothing"),
        (['{"id": "a", "prediction": "x", "reference": " "}'], "line 1: reference: empty"),
        (rows(1) + rows(1), "line 2: id: 'r0' is already in line 1"),
        (rows(1, question_type="likertt"), "line 1: question_type: unknown 'likertt', did you mean 'likert'?"),
        (rows(1, options="Yes"), 'line 1: options: expected two or more different texts, as ["No", "Yes"] or "No|Yes"'),
        (rows(1, persona=[1]), "line 1: persona: expected text or an object, found a list"),
        (rows(1, status="lost"), "line 1: status: unknown 'lost'"),
        ([""], "holds no rows"),
    ],
)
def test_bad_input_is_named_and_stops(tmp_path, capsys, lines, message):
    path, out = write(tmp_path / "bad.jsonl", lines), tmp_path / "out.json"
    assert command.main([path, "--json", str(out)]) == 2
    shown = capsys.readouterr()
    assert f"{path}: {message}" in shown.err and not shown.out and not out.exists()
    assert all(line.startswith(path) for line in shown.err.strip().splitlines())


def test_the_same_error_in_many_lines_is_one_line_and_all_errors_have_a_limit(tmp_path, capsys):
    assert command.main([write(tmp_path / "bad.jsonl", ['{"id": 1.5}'] * 30), str(tmp_path / "none.jsonl")]) == 2
    lines = [line.partition(": ")[2] for line in capsys.readouterr().err.strip().splitlines()]
    there = "in every row (columns there: 'id')"
    again = "line 2: id: '1.5' is already in line 1 (and 28 more lines)"
    number = "line 1: id: expected text, found the number 1.5 (and 29 more lines)"
    assert lines == [f"prediction: missing {there}", f"reference: missing {there}", number, again, "No such file or directory"]
    assert command.main([write(tmp_path / "bad.jsonl", [f'{{"id": "{i}", "prediction": "x", "reference": "y", "status": "s{i}"}}' for i in range(30)])]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == predictions_file.MAX_ERRORS + 1 and lines[-1].endswith("10 more errors")


def test_wrong_encoding_bad_usage_and_bad_output(tmp_path, capsys):
    (tmp_path / "latin.jsonl").write_bytes('{"id": "é"}'.encode("latin-1"))
    assert command.main([str(tmp_path / "latin.jsonl")]) == 2 and "line 1: not UTF-8 (byte 0xe9); save the file as UTF-8" in capsys.readouterr().err
    assert command.main([]) == 2 and command.main(["--help"]) == 0
    capsys.readouterr()
    good = write(tmp_path / "good.jsonl", rows())
    assert command.main([good, "--json", str(tmp_path / "no" / "x.json")]) == 2 and "its folder does not exist" in capsys.readouterr().err


def table(path: Path, content: list[dict], delimiter: str) -> str:
    """`content` as a spreadsheet writes it: byte-order mark, CRLF, quoted cells, lists and objects as text."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(content[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, dict) else "|".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in content)
    return str(path)


def test_one_content_in_every_format_is_one_frame(tmp_path):
    content = [
        {"id": f"{i}", "prediction": f'I said; "no", in\tline {i}\nand in another', "reference": f"Yes {i}", "persona": {"age": i}, "persona_id": f"p{i}",
         "question_type": "yesno", "options": ["No", "Yes"], "domain": "=1+1"} for i in (1, 2)
    ]  # fmt: skip
    numbers = [row | {"id": int(row["id"]), "remark": float("nan")} for row in content]
    (tmp_path / "array.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    pd.DataFrame(content).to_parquet(tmp_path / "a.parquet")
    paths = [write(tmp_path / "a.jsonl", content), write(tmp_path / "n.jsonl", numbers), str(tmp_path / "array.json"), str(tmp_path / "a.parquet")]
    paths += [table(tmp_path / f"{i}{suffix}", content, mark) for i, (suffix, mark) in enumerate([(".csv", ","), (".csv", ";"), (".tsv", "\t")])]
    frames = [predictions_file.read_predictions(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        pd.testing.assert_frame_equal(frame, frames[0], obj=path)
    assert frames[0].loc[0, ["options", "persona", "status"]].tolist() == [["No", "Yes"], "1.", "ok"] and frames[1].attrs["unused"] == ["remark"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,prediction,reference\na,x,y, and more\n", "line 2: 4 cells but 3 columns (is a comma or a quote in a text not quoted?)"),
        ("id,id,reference\na,x,y\n", "line 1: the column 'id' stands there twice"),
        ('id,prediction,reference\na,"x\ny,z\n', "line 2: broken table (unexpected end of data)"),
        ("id,prediction,reference\na,x,\n", "reference: missing in every row"),
        ("id,prediction,reference\n", "holds no rows"),
    ],
)
def test_bad_tables_are_named(tmp_path, capsys, text, message):
    (tmp_path / "t.csv").write_text(text)
    assert command.main([str(tmp_path / "t.csv")]) == 2 and message in capsys.readouterr().err


def test_columns_that_are_not_used_are_named(tmp_path, capsys):
    path = write(tmp_path / "typo.jsonl", rows(3, persna="A nurse.", score=0.5))
    assert command.main([path, "--json", str(tmp_path / "o.json")]) == 0
    assert "columns not used: 'persna' (did you mean persona?), 'score'" in capsys.readouterr().out
    assert json.loads((tmp_path / "o.json").read_text())["files"][0]["unused_columns"] == ["persna", "score"]
    assert (
        command.main([path, "--json", path]) == 2
        and "is one of the files to score" in capsys.readouterr().err
        and len(predictions_file.read_predictions(path)) == 3
    )


def test_minimal_file_says_what_is_missing(tmp_path, capsys):
    path = write(tmp_path / "min.jsonl", rows())
    assert command.main([path, "--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]) == 0
    shown = capsys.readouterr().out
    flat = " ".join(shown.split())
    assert "format_valid, quality: needs columns question_type and options" in flat and "swap_auc_semantic: needs columns persona and question" in flat
    assert "not checked: whether answers depend on the persona (needs persona and question)" in flat and "4 rows are few" in flat
    assert shown.index("findings: none of the faults that were looked for") < shown.index("ROUGE-1"), "what is wrong comes before the numbers"
    wide = [line for line in shown.replace(str(tmp_path), "").splitlines() if len(line) > printing.WIDTH]
    assert [line.split("_")[0].strip() for line in wide] == ["sentence-transformers/all-MiniLM-L6-v2"]  # one signature, whole, to be copied
    report = json.loads((tmp_path / "o.json").read_text())["files"][0]
    assert (
        report["metrics"]["rouge1"]["n"] == 4
        and report["missing"]["stance_acc"] == "column options"
        and "sha256=53aa51172d14" in report["signatures"]["bertscore_f1"]
    )
    assert (tmp_path / "o.csv").read_text().splitlines()[0] == "file,group,metric,value,lo,hi,n,n_failed,d,p,p_holm"


def person_rows(count=12, people=4, **more):
    return [row | {"persona": f"Person {i % people} who drives.", "question": f"Is bus {i // people} late?"} | more for i, row in enumerate(rows(count))]


def test_intervals_resample_people_and_groups_are_scored(tmp_path, capsys):
    content = [row | {"domain": ("=1+1", "health")[i % 2], "question_type": "open"} for i, row in enumerate(person_rows())]
    frame = predictions_file.read_predictions(write(tmp_path / "g.jsonl", content))
    lines, scored, notes = file_scores.score_file(frame)
    whole = lines[lines["group"] == ""].set_index("metric")
    wanted = resampling.bootstrap_mean(scored["rouge1"], clusters=frame["persona"].tolist())
    assert whole.loc["rouge1", ["value", "lo", "hi"]].tolist() == pytest.approx([wanted[k] for k in ("mean", "lo", "hi")]) and notes["people"] == 4
    health = lines[(lines["group"] == "domain: health") & (lines["metric"] == "rouge1")].iloc[0]
    assert health["value"] == pytest.approx(scored["rouge1"].to_numpy()[1::2].mean()) and health["n"] == 6
    assert command.main([str(tmp_path / "g.jsonl"), "--csv", str(tmp_path / "o.csv"), "--json", str(tmp_path / "o.json")]) == 0
    shown = capsys.readouterr().out
    assert "12 rows, 4 people" in shown and "4 are so few that intervals are too narrow" in shown and "by domain" in shown and "by question_type" in shown
    groups = json.loads((tmp_path / "o.json").read_text())["files"][0]["groups"]
    assert {g["group"] for g in groups} == {"domain: =1+1", "domain: health", "question_type: open"}
    assert not [row for row in csv.DictReader((tmp_path / "o.csv").open()) if row["group"].startswith("=")]


def test_rows_that_a_score_leaves_out_are_counted(tmp_path, capsys):
    alone = rows(2, persona="A pilot.", question="Nobody else is asked this?", question_type="open")
    content = [*person_rows(question_type="open"), *(row | {"id": f"a{i}", "question": f"{i}?"} for i, row in enumerate(alone))]
    content += [row | {"id": f"c{i}"} for i, row in enumerate(person_rows(3, question_type="yesno"))]
    _, _, notes = file_scores.score_file(predictions_file.read_predictions(write(tmp_path / "l.jsonl", content)))
    assert [text for text in notes["left_out"] if not text.startswith("swap: a sample")] == [
        "format and quality: 3 closed rows without options left out; a column options would add them",
        "swap: without 2 rows whose question nobody else answered",
    ]
    many = [row | {"domain": f"d{i}"} for i, row in enumerate(content)]
    assert command.main([write(tmp_path / "l.jsonl", many)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "without 2 rows whose question nobody else answered" in shown and "3 closed rows without options left out" in shown and "... and 2 more" in shown


def test_every_row_that_an_option_a_person_or_a_group_lacks_is_counted():
    frame = likert(6, [4, 0, 1, 2, 3, 4], [4, 0, 1, 2, 3, 4], persona=[f"P{i}." for i in range(5)] + [None], domain=["a"] * 5 + [None], question_type="likert")
    frame.loc[1, "reference"], frame.loc[2, "prediction"], frame.loc[3, "question_type"] = "It rains.", "Buses are red.", None
    said = file_scores.score_file(frame)[2]["left_out"]
    assert said == [
        "people: 1 row name nobody; each counts as a person of its own",
        "options: 1 row left out, because their reference names none of their options or several (first: id '1', 'It rains.')",
        "options: 1 answer name none or several (first: id '2', 'Buses are red.'): wrong in accuracy, left out of kappa and distributions",
        "format and quality: 1 row without question_type left out",
        "swap: 1 row left out that name no person, card or question",
        "by domain: without 1 row that name none",
        "by question_type: without 1 row that name none",
    ]


def test_texts_that_the_encoder_cuts_and_texts_that_are_not_english_are_counted():
    long = " ".join(f"The bus number {i} is late." for i in range(120))
    frame = pd.DataFrame({"id": list("abcd"), "prediction": [long, "Fine.", "Ich fahre jeden Tag mit dem Bus zur Arbeit.", "我坐公交车。"],
                          "reference": ["Fine.", "Fine.", "Gut.", "我坐。"], "status": "ok"})  # fmt: skip
    _, rows, notes = file_scores.score_file(frame)
    assert rows["cut"].tolist() == [True, False, False, False] and np.isfinite(rows["bertscore_f1"]).all()
    first, second = (next(line for line in notes["left_out"] if word in line) for word in ("512", "English"))
    assert first == "BERTScore and semantic similarity: 1 row with a text of more than 512 tokens; what comes after them does not count"
    assert second.startswith("2 rows do not look English. Sentiment, ")
    assert "characters apart:2 texts" in notes["signatures"]["bleu_corpus"] and "differ in 1 row" in notes["signatures"]["rouge1"]
    assert "own words:the same in all rows" in file_scores.score_file(frame.head(2))[2]["signatures"]["rouge1"]


def test_rows_that_describe_columns_are_left_out_and_named(tmp_path, capsys):
    """A survey tool's export: names, question texts, import ids, answers; and two exports put together, the names in between."""
    top = [["ResponseId", "id", "prediction", "reference"], ["Response ID", "id", "What do you think?", "A person's answer"]]
    ids = ['{"ImportId":"_recordId"}', '{"ImportId":"id"}', '{"ImportId":"QID1_TEXT"}', '{"ImportId":"QID2_TEXT"}']
    answers = [[f"R_{i}", str(i), f"Tram {i} is quick.", f"Tram {i} is quick."] for i in range(4)]
    for name, head, lines in (("q.csv", [*top, ids], "2, 3"), ("legacy.csv", top, "2"), ("plain.csv", top[:1], "")):
        with (tmp_path / name).open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([*head, *answers[:2], *(top[:1] if name == "plain.csv" else []), *answers[2:]])
        frame = predictions_file.read_predictions(tmp_path / name)
        assert frame["id"].tolist() == list("0123") and (frame["prediction"] == frame["reference"]).all()
        count = lines.count(",") + 1
        assert list(frame.attrs["notes"]) == [f"left out: {count} rows that only describe the columns (line {lines or 4})"]
    assert command.main([str(tmp_path / "q.csv")]) == 0
    shown = capsys.readouterr().out
    assert "4 rows" in shown and "read: left out: 2 rows that only describe the columns (line 2, 3)" in shown


def test_a_persona_is_read_under_any_name_and_from_columns(tmp_path, capsys):
    names = ("Name", "Job", "Age", "Sex"), ("description", "occupation", "age", "gender")
    frames = []
    for n, keys in enumerate(names):
        people = [dict(zip(keys, (f"R{i}", "nurse", 20 + i, "F"), strict=True)) for i in range(5)]
        content = [row | {"persona": people[i % 5], "question_id": f"q{i // 5}"} for i, row in enumerate(rows(20))]
        frames.append(predictions_file.read_predictions(write(tmp_path / f"{n}.jsonl", content)))
    assert [f["persona"].nunique() for f in frames] == [5, 5] and frames[0]["persona"][0] == "F, 20; nurse. name: R0."
    assert frames[0].attrs["notes"]["persona field 'name' put into the description"] == 20 and frames[1].attrs["notes"] == {}
    columns = [row | {"persona": "A respondent.", "age": 20 + i % 5, "State": "Ohio", "summary": "ok"} for i, row in enumerate(rows(20))]
    frame = predictions_file.read_predictions(write(tmp_path / "c.jsonl", columns))
    assert frame["persona"].nunique() == 5 and frame["persona"][0] == "20, Ohio. A respondent." and frame.attrs["unused"] == ["summary"]
    assert frame.attrs["notes"]["field 'age' put into the persona's card"] == 20
    bad = [row | {"persona": "A respondent.", "age": 999} for row in rows(2)]
    assert command.main([write(tmp_path / "b.jsonl", bad)]) == 2 and "persona.age: 999 is out of range" in capsys.readouterr().err


def test_pooled_kappa_is_scikit_learns_and_the_other_counts_no_knowledge_of_the_questions():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(3)
    truth = np.concatenate([rng.integers(0, 3, 40), rng.integers(2, 5, 40)])  # two questions with other usual answers
    knows_the_question = np.repeat([1, 3], 40)
    frame = likert(80, knows_the_question.tolist(), truth.tolist(), question=["One?"] * 40 + ["Two?"] * 40, persona=[f"P{i}." for i in range(80)])
    found = {line["metric"]: line["value"] for line in file_scores.score_file(frame)[0].to_dict("records")}
    assert found["stance_qwk"] == pytest.approx(0, abs=1e-9)
    pooled = cohen_kappa_score(knows_the_question, truth, weights="quadratic")
    assert found["stance_qwk_pooled"] == pytest.approx(pooled, abs=1e-9) and pooled > 0.3


def test_words_for_missing_values_are_no_texts(tmp_path, capsys):
    given = [("nan", "Fine."), ("NULL", "Fine."), ("None", "None"), ("None", "Fine."), ("Good.", "Fine.")]
    content = [{"id": i, "prediction": p, "reference": r, "persona_id": "None", "persona": "NaN"} for i, (p, r) in enumerate(given)]
    content[3] |= {"options": ["None", "Some"]}
    frame = predictions_file.read_predictions(write(tmp_path / "n.jsonl", content))
    assert frame["status"].tolist() == ["failed", "failed", "ok", "ok", "ok"] and frame["prediction"][2] == "None" and "persona" not in frame
    assert frame.attrs["notes"] == {
        "prediction 'nan' read as missing: a failed generation": 1, "prediction 'NULL' read as missing: a failed generation": 1,
        "prediction 'None' scored as an answer (if it is a missing one, leave it empty)": 1,
        "reference 'None' scored as an answer (if it is a missing one, leave it empty)": 1,
        "persona 'NaN' read as missing": 5, "persona_id 'None' read as missing": 5,
    }  # fmt: skip
    assert command.main([write(tmp_path / "r.jsonl", [{"id": 1, "prediction": "x", "reference": "nan"}])]) == 2
    assert "line 1: reference: empty" in capsys.readouterr().err


def test_a_pipe_that_closes_ends_a_command_quietly_and_its_files_are_written(tmp_path):
    path, out = write(tmp_path / "p.jsonl", rows(30)), tmp_path / "o.json"
    root, python = Path(__file__).parents[2], [sys.executable, "-m", "polypersona_lib"]
    for arguments, written in ((["score", path, "--json", str(out)], out), (["--help"], None)):
        with subprocess.Popen([*python, *arguments], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            errors = process.stderr.read().decode()
        assert process.returncode == 0 and not errors and (written is None or json.loads(written.read_text())["files"])


def test_people_without_cards_are_swapped_without_a_mask(tmp_path):
    content = [{k: v for k, v in row.items() if k != "persona"} | {"persona_id": i % 4} for i, row in enumerate(person_rows())]
    frame = predictions_file.read_predictions(write(tmp_path / "p.jsonl", content))
    lines, _, notes = file_scores.score_file(frame)
    missing = file_scores.missing_columns(frame, lines)
    assert "swap_gap_rouge1" in set(lines["metric"]) and notes["people"] == 4
    assert missing["swap_gap_rouge1_masked"] == "column persona" and missing["swap_gap_option"] == "column options"


def test_a_large_file_is_swapped_on_whole_people_and_few_people_on_some_questions(monkeypatch):
    monkeypatch.setattr(file_scores, "SWAP_ROWS", 50)
    monkeypatch.setattr(file_scores, "SWAP_PEOPLE", 3)
    columns = {"id": [f"r{i}" for i in range(240)], "persona_id": [f"p{i % 30}" for i in range(240)], "question_id": [f"q{i // 30}" for i in range(240)]}
    frame = pd.DataFrame(columns)
    kept = frame[file_scores._sample(frame)]
    assert 42 < len(kept) <= 50 and (kept["persona_id"].value_counts() == 8).all()
    assert kept.index.equals(frame[file_scores._sample(frame.assign(persona_id="renamed " + frame["persona_id"]))].index)
    assert file_scores._sample(frame.head(50)).all()
    two = frame.assign(persona_id=[f"p{i % 2}" for i in range(240)])
    kept = two[file_scores._sample(two)]
    assert len(kept) == 30 and kept["persona_id"].value_counts().tolist() == [15, 15] and kept["question_id"].nunique() == 1, "no person is lost"


def likert(count, said, meant, **more):
    """Answers of `count` people to one question: the options numbered `said` and, as references, `meant`."""
    return pd.DataFrame(
        {"id": [f"{i}" for i in range(count)], "prediction": [f"{OPTIONS[k]}." for k in said], "reference": [f"{OPTIONS[k]}, yes." for k in meant],
         "options": [OPTIONS] * count, "question": "The bus is late.", "status": "ok"} | more
    )  # fmt: skip


def test_distributions_of_a_file_are_those_of_its_counts():
    rng = np.random.default_rng(0)
    said, meant = rng.integers(0, 5, 80), rng.choice(5, 80, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    frame = pd.concat([likert(80, said, meant), likert(29, said[:29], meant[:29], question="Too few.")], ignore_index=True)
    lines, notes = file_scores.item_lines(frame, file_scores._options_of_both(file_scores.with_options_read(frame)))
    found, shares = {line["metric"]: line for line in lines}, [np.bincount(x, minlength=5) / 80 for x in (said, meant)]
    expected = stats.compare_distributions(*shares, 5)
    for metric in ("alignment", "sd_ratio", "entropy_ratio"):
        assert found[metric]["value"] == pytest.approx(expected[metric]) and found[metric]["n"] == 80
        assert found[metric]["lo"] < found[metric]["value"] < found[metric]["hi"]
    assert notes == {"items": 1, "uniform": pytest.approx(stats.compare_distributions(np.full(5, 0.2), shares[1], 5)["alignment"])}
    half = likert(60, [3] * 60, [3] * 30 + [1] * 30).assign(prediction=["Agree."] * 30 + ["Buses are red."] * 30)
    lines, _ = file_scores.item_lines(half, file_scores._options_of_both(file_scores.with_options_read(half)))
    assert {line["metric"]: (line["value"], line["n"]) for line in lines}["alignment"] == (1.0, 30), "an unreadable answer is left out, with its reference"
    assert file_scores.item_lines(frame.tail(29), file_scores._options_of_both(file_scores.with_options_read(frame.tail(29)))) == ([], {})
    assert file_scores.missing_columns(frame.tail(29), pd.DataFrame({"metric": [], "value": []}))["alignment"].startswith("30 or more readable answers")


def test_full_file_gets_every_metric_it_allows(tmp_path, capsys):
    people = ({"age": 34, "occupation": "nurse"}, "A pilot of 50.", {"age": 71, "occupation": "cook"})
    content = [
        {
            "id": i,
            "prediction": f"Agree, I am number {i} here.",
            "reference": f"{OPTIONS[i + 1]}, as number {i}.",
            "persona": p,
            "question": "Is it so?",
            "question_type": "likert",
            "options": OPTIONS,
        }
        for i, p in enumerate(people)
    ]
    content.append(content[0] | {"id": "lost", "prediction": None, "status": "failed"})
    assert command.main([write(tmp_path / "full.jsonl", content), "--json", str(tmp_path / "o.json")]) == 0
    report = json.loads((tmp_path / "o.json").read_text())["files"][0]
    expected = {"quality", "format_valid", "stance_acc", "stance_qwk", "stance_qwk_pooled", "swap_gap_rouge1", "swap_auc_semantic", "swap_gap_option"}
    lacking = {"alignment", "sd_ratio", "entropy_ratio", "word_order", "on_topic", "reason_fits", "nats_token", "nats_over_reference"}
    assert expected <= set(report["metrics"]) and set(report["missing"]) == lacking
    assert report["n_failed"] == 1 and report["metrics"]["rouge1"]["n"] == 3 and report["metrics"]["stance_acc"]["value"] == pytest.approx(1 / 3)
    assert "1 failed (counted, not scored)" in capsys.readouterr().out


def test_files_that_share_ids_are_compared(tmp_path, capsys):
    better = [row | {"prediction": row["reference"]} for row in rows(8)]
    a, b = write(tmp_path / "a.jsonl", better), write(tmp_path / "b.jsonl", [*rows(8), {"id": "z", "prediction": "x", "reference": "y"}])
    assert command.main([a, b, "--json", str(tmp_path / "o.json")]) == 0
    report = json.loads((tmp_path / "o.json").read_text())
    line = next(c for c in report["comparisons"] if c["metric"] == "rouge1")
    assert line["n"] == 8 and line["difference"] > 0.2 and line["lo"] > 0 and line["p"] < 0.05 <= 1 and line["p_holm"] >= line["p"]
    changed = write(tmp_path / "c.jsonl", [row | {"reference": "Something else."} for row in rows(8)])
    assert command.main([a, changed]) == 0 and "8 shared ids have different references" in " ".join(capsys.readouterr().out.split())


def test_what_stands_in_the_way_of_a_comparison_is_said(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", rows(8))
    b = write(tmp_path / "b.jsonl", [*rows(2), *(row | {"prediction": ""} for row in rows(6)[2:]), *(row | {"id": f"x{row['id']}"} for row in rows(3))])
    c = write(tmp_path / "c.jsonl", [row | {"id": f"y{row['id']}"} for row in rows(8)])
    assert command.main([a, b, c, "--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]) == 0
    report = json.loads((tmp_path / "o.json").read_text())
    found = " ".join(report["notes"])
    assert "(8 rows) and" in found and "(9 rows) share 6 ids" in found and "4 shared rows failed in one of the files" in found
    assert found.count("share no id: nothing to compare") == 2 and "2 rows cannot give a p-value below 0.5" in found
    assert all(line["p_holm"] == 1 and line["n"] == 2 for line in report["comparisons"])
    shown = capsys.readouterr().out
    assert "nan" not in shown and shown.count(" minus ") == 1
    assert [row["file"] for row in csv.DictReader((tmp_path / "o.csv").open()) if row["p"]] == [f"{a} minus {b}"] * len(report["comparisons"])


def test_stances_are_compared_in_pairs_and_by_person():
    meant = np.arange(60) % 5
    files = {name: likert(60, said, meant, persona_id=[f"p{i % 20}" for i in range(60)]) for name, said in (("good", meant), ("flat", meant * 0))}
    scored = {name: file_scores.score_file(frame)[1] for name, frame in files.items()}
    line = file_scores.compare_files(files, scored)[0].set_index("metric").loc["stance_acc"]
    assert line["difference"] == pytest.approx(0.8) and line["lo"] > 0.5 and line["p_holm"] < 0.01 and line["n"] == 60


def test_many_files_do_not_put_every_p_value_out_of_reach():
    rng = np.random.default_rng(0)
    scored = {f"f{k}": pd.DataFrame({"bleu": rng.normal(k, 0.1, 40), "rouge1": rng.normal(k, 0.1, 40)}, index=[f"r{i}" for i in range(40)]) for k in range(24)}
    files = {name: pd.DataFrame({"id": frame.index, "reference": "y", "status": "ok"}) for name, frame in scored.items()}
    lines, _ = file_scores.compare_files(files, scored)
    assert len(lines) == 552 and (lines["p_holm"] < 0.05).all()  # 10,000 flips would end at .055


def test_findings_are_printed_and_written(tmp_path, capsys):
    same = [row | {"prediction": "Everything is fine with me, thank you.", "question": "How are you?"} for row in rows(8)]
    assert command.main([write(tmp_path / "same.jsonl", same), "--json", str(tmp_path / "o.json")]) == 0
    found = {f["id"]: f for f in json.loads((tmp_path / "o.json").read_text())["files"][0]["findings"]}
    assert set(found) == {"one_text", "alike"} and found["one_text"]["severity"] == "problem" and found["one_text"]["value"] == 1
    shown = capsys.readouterr().out
    assert "    problem: every answer is the same text: 'Everything is fine with me, thank" in shown
    assert command.main([write(tmp_path / "good.jsonl", rows(8))]) == 0 and "  findings: none" in capsys.readouterr().out


def test_hostile_text_is_scored_as_text(tmp_path, capsys):
    hostile = [
        "=HYPERLINK(1)",
        "<script>alert(1)</script>",
        "\x1b[31mred\x1b[0m",
        "\u202eabc",
        "<|im_end|>",
        "a" * 20_000,
        "\u0000 x",
        "{share} {0} %s",
    ]
    lines = [
        {
            "id": f"{i}{text[:9]}",
            "prediction": text,
            "reference": f"{text} .",
            "persona": text,
            "persona_id": f"p{i}",
            "question": "Q?",
            "question_type": "open",
        }
        for i, text in enumerate(hostile)
    ]
    path = write(tmp_path / "h.jsonl", lines)
    assert command.main([path, path, "--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert [f["id"] for f in json.loads((tmp_path / "o.json").read_text())["files"][0]["findings"]][:1] == ["control_text"]


needs_reference = pytest.mark.skipif(not os.environ.get("POLYPERSONA_REFERENCE"), reason="POLYPERSONA_REFERENCE is unset: the replication is not at hand")


@needs_reference
def test_a_persona_blind_copy_beats_the_published_tuned_model():
    """The replication's one-sentence test: its README gives .041 / .269 / .227 for the tuned model and .135 / .373 / .334 for a typical train answer."""
    folder = Path(os.environ["POLYPERSONA_REFERENCE"]) / "replication"
    train, test = (pd.read_json(folder / name, lines=True) for name in ("train.json.gz", "test.json"))
    typical = controls.typical_answers(train.assign(question_id=train["question"]))
    blind = test.assign(prediction=test["question"].map(typical), persona_id=[m["persona_id"] for m in test["meta"]], question_id=test["question"])
    blind["persona"] = [render_card(card) for card in blind["persona"]]
    found = metrics.score_rows(blind, only=("bleu", "rouge1", "rougeL"))[["bleu", "rouge1", "rougeL"]].mean()
    assert found.to_dict() == pytest.approx({"bleu": 0.135, "rouge1": 0.373, "rougeL": 0.334}, rel=0.025)
    assert (found > pd.Series({"bleu": 0.041, "rouge1": 0.269, "rougeL": 0.227}) * 1.3).all()
    swapped = swap.swap_scores(blind, semantic=False)
    line = metrics.summarise_rows(swapped, metrics=["swap_gap_rouge1_content"], cluster="persona_id")
    findings = {f.id: f for f in diagnosis.diagnose(blind, line)}
    assert findings["persona_blind"].severity == "problem" and findings["alike"].value == 1


@needs_reference
def test_the_long_answers_of_the_replication_do_depend_on_the_persona():
    """The 45-word test, joined by id with the personas of `test.json`, against the most typical answer of the other people in the same test."""
    folder = Path(os.environ["POLYPERSONA_REFERENCE"]) / "replication"
    train, people = (pd.read_json(folder / name, lines=True) for name in ("train.json.gz", "test.json"))
    people = people.assign(persona_id=[m["persona_id"] for m in people["meta"]], card=people["persona"].map(render_card)).set_index("id")
    tuned = pd.read_json(folder / "tuned_test_predictions.jsonl", lines=True)[["id", "prediction", "reference"]]
    tuned = tuned.assign(**{to: tuned["id"].map(people[c]) for to, c in (("question_id", "question"), ("persona_id", "persona_id"), ("persona", "card"))})
    seen = set(zip([m["persona_id"] for m in train["meta"]], train["question"], strict=True))
    swapped = swap.swap_scores(tuned, semantic=False).assign(seen=[p in seen for p in zip(tuned["persona_id"], tuned["question_id"], strict=True)])
    gap = metrics.summarise_rows(swapped, metrics=["swap_gap_rouge1_masked"], by="seen", cluster="persona_id").set_index("seen")
    assert gap.loc[False, "value"] == pytest.approx(0.0338, rel=0.01) and gap.loc[False, "lo"] > 0.015 and gap.loc[True, "value"] > gap.loc[False, "value"]
    others = {row.id: tuned[(tuned["question_id"] == row.question_id) & (tuned["persona_id"] != row.persona_id)] for row in tuned.itertuples()}
    blind = tuned.assign(prediction=[(list(controls.typical_answers(others[i]).values()) or [""])[0] for i in tuned["id"]])
    files = {name: frame.assign(status=frame["prediction"].map(lambda p: "ok" if p else "failed")) for name, frame in {"tuned": tuned, "blind": blind}.items()}
    scored = {name: metrics.score_rows(f, only=("bleu", "rouge1")).set_index("id").assign(cluster=list(f["persona_id"])) for name, f in files.items()}
    line = file_scores.compare_files(files, scored)[0].set_index("metric").loc["rouge1"]
    assert line["difference"] == pytest.approx(0.0393, rel=0.01) and line["lo"] > 0.02 and line["p"] < 0.001 and line["n"] == 341


@pytest.mark.skipif(not os.environ.get("POLYPERSONA_REFERENCE"), reason="POLYPERSONA_REFERENCE is unset: the golden file is not at hand")
def test_command_prints_the_golden_numbers(tmp_path):
    path, out = Path(os.environ["POLYPERSONA_REFERENCE"]) / "replication" / "tuned_test_predictions.jsonl", tmp_path / "o.json"
    done = subprocess.run(
        [sys.executable, "-m", "polypersona_lib.score.command", str(path), "--json", str(out)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["files"][0]["metrics"]
    assert {m: f"{found[m]['value']:.4f}" for m in GOLDEN} == GOLDEN
    assert all(value in done.stdout for value in GOLDEN.values()) and all(found[m]["n"] == 358 for m in GOLDEN)
