"""The score command: what it prints and writes, and how it refuses bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from polypersona_lib import controls, diagnosis, metrics, score, swap
from polypersona_lib.chat import render_card

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
        (['{"id": "a", "prediction": "x"}'], "line 1: reference: missing"),
        (['{"id": "a", "prediction": "x", "reference": "y"}', "{oops"], "line 2: not JSON: "),
        (["[1, 2]"], "line 1: expected an object, found list"),
        (['{"id": "a", "prediction": "\\ud800", "reference": "y"}'], "line 1: not text: an escape such as \\ud800 is half of a character"),
        (['{"id": "a", "prediction": NaN, "reference": "y"}'], "line 1: not JSON: NaN is not allowed"),
        (['{"id": "a", "prediction": 3, "reference": "y"}'], "line 1: prediction: expected text, found int"),
        (['{"id": "a", "prediction": null, "reference": "y"}'], "line 1: prediction: expected text, found NoneType"),
        (['{"id": "a", "prediction": "x", "reference": " "}'], "line 1: reference: empty"),
        (rows(1) + rows(1), "line 2: id: 'r0' is already in line 1"),
        (rows(1, question_type="likertt"), "line 1: question_type: unknown 'likertt', did you mean 'likert'?"),
        (rows(1, options="Yes"), "line 1: options: expected a list of two or more different texts"),
        (rows(1, persona=[1]), "line 1: persona: expected text or an object, found list"),
        (rows(1, status="lost"), "line 1: status: unknown 'lost'"),
        ([""], "holds no rows"),
    ],
)
def test_bad_input_is_named_and_stops(tmp_path, capsys, lines, message):
    path, out = write(tmp_path / "bad.jsonl", lines), tmp_path / "out.json"
    assert score.main([path, "--json", str(out)]) == 2
    shown = capsys.readouterr()
    assert f"{path}: {message}" in shown.err and not shown.out and not out.exists()
    assert all(line.startswith(path) for line in shown.err.strip().splitlines())


def test_all_errors_are_listed_up_to_a_limit(tmp_path, capsys):
    assert score.main([write(tmp_path / "bad.jsonl", ['{"id": 1.5}'] * 30), str(tmp_path / "none.jsonl")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == score.MAX_ERRORS + 2 and "more errors" in lines[-2] and lines[-1].endswith("none.jsonl: No such file or directory")


def test_wrong_encoding_bad_usage_and_bad_output(tmp_path, capsys):
    (tmp_path / "latin.jsonl").write_bytes('{"id": "é"}'.encode("latin-1"))
    assert score.main([str(tmp_path / "latin.jsonl")]) == 2 and "not UTF-8 (byte 8)" in capsys.readouterr().err
    assert score.main([]) == 2 and score.main(["--help"]) == 0
    capsys.readouterr()
    good = write(tmp_path / "good.jsonl", rows())
    assert score.main([good, "--json", str(tmp_path / "no" / "x.json")]) == 2 and "its folder does not exist" in capsys.readouterr().err


def test_minimal_file_says_what_is_missing(tmp_path, capsys):
    path = write(tmp_path / "min.jsonl", rows())
    assert score.main([path, "--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]) == 0
    shown = capsys.readouterr().out
    assert "format_valid, quality: needs column question_type, options" in shown and "needs column persona, question" in shown
    report = json.loads((tmp_path / "o.json").read_text())["files"][0]
    assert (
        report["metrics"]["rouge1"]["n"] == 4
        and report["missing"]["stance_acc"] == "column options"
        and "sha256=53aa51172d14" in report["signatures"]["bertscore_f1"]
    )
    assert (tmp_path / "o.csv").read_text().splitlines()[0] == "file,metric,value,lo,hi,n,n_failed"


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
    assert score.main([write(tmp_path / "full.jsonl", content), "--json", str(tmp_path / "o.json")]) == 0
    report = json.loads((tmp_path / "o.json").read_text())["files"][0]
    expected = {"quality", "format_valid", "stance_acc", "stance_qwk", "swap_gap_rouge1", "swap_auc_semantic_masked", "swap_gap_option"}
    assert expected <= set(report["metrics"]) and set(report["missing"]) == {"alignment", "sd_ratio", "entropy_ratio"}
    assert report["n_failed"] == 1 and report["metrics"]["rouge1"]["n"] == 3 and report["metrics"]["stance_acc"]["value"] == pytest.approx(1 / 3)
    assert "1 failed (counted, not scored)" in capsys.readouterr().out


def test_files_that_share_ids_are_compared(tmp_path, capsys):
    better = [row | {"prediction": row["reference"]} for row in rows(8)]
    a, b = write(tmp_path / "a.jsonl", better), write(tmp_path / "b.jsonl", [*rows(8), {"id": "z", "prediction": "x", "reference": "y"}])
    assert score.main([a, b, "--json", str(tmp_path / "o.json")]) == 0
    report = json.loads((tmp_path / "o.json").read_text())
    line = next(c for c in report["comparisons"] if c["metric"] == "rouge1")
    assert line["n"] == 8 and line["difference"] > 0.2 and line["lo"] > 0 and line["p"] < 0.05 <= 1 and line["p_holm"] >= line["p"]
    changed = write(tmp_path / "c.jsonl", [row | {"reference": "Something else."} for row in rows(8)])
    assert score.main([a, changed]) == 0 and "8 shared ids have different references" in capsys.readouterr().out


def test_findings_are_printed_and_written(tmp_path, capsys):
    same = [row | {"prediction": "Everything is fine with me, thank you.", "question": "How are you?"} for row in rows(8)]
    assert score.main([write(tmp_path / "same.jsonl", same), "--json", str(tmp_path / "o.json")]) == 0
    found = {f["id"]: f for f in json.loads((tmp_path / "o.json").read_text())["files"][0]["findings"]}
    assert set(found) == {"one_text", "alike"} and found["one_text"]["severity"] == "problem" and found["one_text"]["value"] == 1
    shown = capsys.readouterr().out
    assert "    problem: every answer is the same text: 'Everything is fine with me, thank you.' (n 8)" in shown
    assert score.main([write(tmp_path / "good.jsonl", rows(8))]) == 0 and "  findings: none" in capsys.readouterr().out


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
    assert score.main([path, path, "--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv")]) == 0
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
    swapped = swap.swap_scores(blind, blind, semantic=False)
    line = metrics.summarise_rows(swapped, metrics=["swap_gap_rouge1_masked"], cluster="persona_id")
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
    swapped = swap.swap_scores(tuned, tuned, semantic=False).assign(seen=[p in seen for p in zip(tuned["persona_id"], tuned["question_id"], strict=True)])
    gap = metrics.summarise_rows(swapped, metrics=["swap_gap_rouge1_masked"], by="seen", cluster="persona_id").set_index("seen")
    assert gap.loc[False, "value"] == pytest.approx(0.0376, rel=0.01) and gap.loc[False, "lo"] > 0.015 and gap.loc[True, "value"] > gap.loc[False, "value"]
    others = {row.id: tuned[(tuned["question_id"] == row.question_id) & (tuned["persona_id"] != row.persona_id)] for row in tuned.itertuples()}
    blind = tuned.assign(prediction=[(list(controls.typical_answers(others[i]).values()) or [""])[0] for i in tuned["id"]])
    files = {name: frame.assign(status=frame["prediction"].map(lambda p: "ok" if p else "failed")) for name, frame in {"tuned": tuned, "blind": blind}.items()}
    scored = {name: metrics.score_rows(f, only=("bleu", "rouge1")).set_index("id").assign(cluster=list(f["persona_id"])) for name, f in files.items()}
    line = score.compare(files, scored)[0].set_index("metric").loc["rouge1"]
    assert line["difference"] == pytest.approx(0.0393, rel=0.01) and line["lo"] > 0.02 and line["p"] < 0.001 and line["n"] == 341


@pytest.mark.skipif(not os.environ.get("POLYPERSONA_REFERENCE"), reason="POLYPERSONA_REFERENCE is unset: the golden file is not at hand")
def test_command_prints_the_golden_numbers(tmp_path):
    path, out = Path(os.environ["POLYPERSONA_REFERENCE"]) / "replication" / "tuned_test_predictions.jsonl", tmp_path / "o.json"
    done = subprocess.run(
        [sys.executable, "-m", "polypersona_lib.score", str(path), "--json", str(out)], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["files"][0]["metrics"]
    assert {m: f"{found[m]['value']:.4f}" for m in GOLDEN} == GOLDEN
    assert all(value in done.stdout for value in GOLDEN.values()) and all(found[m]["n"] == 358 for m in GOLDEN)
