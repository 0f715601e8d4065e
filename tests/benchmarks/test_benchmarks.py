"""The benchmark rows at their small size: every gate holds, a planted wrong answer fails it, and what is written and drawn is what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import figure, measuring, pipeline_rows, rows, score_rows, training_rows
from benchmarks.measuring import Check, Comparison, Contender, Pass, Reading
from polypersona_lib.config import PROFILES
from polypersona_lib.score.command import run as score_here

SPOIL = {  # row -> our wrong answer, made of the right one
    "step_twin": lambda a: a | {"loss": [1.01 * loss for loss in a["loss"]]},
    "lora_layer": lambda a: a | {name: 1.001 * value for name, value in a.items() if "lora_B" in name},
    "answers_twin": lambda a: [a[0] + " I said nothing of the kind.", *a[1:]],
    "options_twin": lambda a: [a[0][::-1], *a[1:]],
    "bertscore": lambda a: a + 0.001,
    "rouge_bleu": lambda a: a * [1, 1, 1, 1.001],
    "bootstrap": lambda a: a * 1.0001,
    "swap": lambda a: np.roll(a, 1, axis=0),
    "reading": lambda a: [(*a[0][:3], a[0][3] + ".", a[0][4]), *a[1:]],
}
QUICK = ("lora_layer", "options_twin", "rouge_bleu", "bootstrap", "swap", "reading")


@pytest.fixture(autouse=True)
def one_thread():
    """The machine's other work does not make tiny operations wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def both(name: str, folder) -> tuple[dict, dict]:
    """The record of a row, and that of the same row with a wrong answer of ours; the others' answers are the measured ones."""
    row, given = rows.build(name, small=True, folder=folder), {}

    def kept(answers: dict) -> list[Check]:
        given.update(answers)
        return list(row.gate(answers))

    right = measuring.measure(name, replace(row, gate=kept), repeats=1, say=lambda text: None)
    answers = given | {"ours": SPOIL[name](given["ours"])}
    again = [replace(c, before=lambda: None, answer=lambda own=answers[c.name]: own) for c in row.contenders if c.name in answers]
    return right, measuring.measure(name, replace(row, contenders=again), repeats=1, say=lambda text: None)


def check_both(name: str, folder) -> dict:
    """Assert that the row is measured, and that the wrong answer is refused with no ratio; returns the right record."""
    right, wrong = both(name, folder)
    assert right["passed"] and right["gate"] and all(check["holds"] for check in right["gate"]), right["gate"]
    assert all(line["ratio"] > 0 for line in right["contenders"][1:]) and right["contenders"][0]["ratio"] is None
    assert not wrong["passed"] and wrong["contenders"] == [] and any(not check["holds"] for check in wrong["gate"])
    return right


@pytest.mark.parametrize("name", QUICK)
def test_the_gate_holds_and_refuses_a_wrong_answer(name, tmp_path):
    record = check_both(name, tmp_path)
    if name == "options_twin":
        own, one_by_one = record["contenders"][:2]
        assert own["computed_tokens"] < own["real_tokens"] == one_by_one["computed_tokens"]


def test_a_training_step_beside_the_trainers(tmp_path):
    record = check_both("step_twin", tmp_path)
    names = [line["name"] for line in record["contenders"]]
    assert names == ["ours", "HF Trainer, padded to the longest row", "HF Trainer, dynamic padding", "TRL as it comes", "TRL at its best"]
    computed = {line["name"]: line["computed_tokens"] for line in record["contenders"]}
    assert computed["ours"] < computed["HF Trainer, dynamic padding"] <= computed["HF Trainer, padded to the longest row"]


def test_a_step_has_sixteen_rows_in_one_process():
    for scale in ("nano", "small"):
        recipe = training_rows.one_process(PROFILES[scale].train)
        assert (recipe.processes, recipe.micro_batch * recipe.accumulation) == (1, 16)


def test_answers_beside_generate(tmp_path):
    record = check_both("answers_twin", tmp_path)
    assert {"generate, one by one", "generate, left-padded batches of 16"} <= {line["name"] for line in record["contenders"]}
    assert "llama.cpp" in record["left_out"]


def test_bertscore_beside_bert_score(tmp_path):
    assert len(check_both("bertscore", tmp_path)["contenders"]) == 3


# --- measuring, the command, the figure ------------------------------------------------------------------------------------------------


def _row(**changes) -> Comparison:
    """Two contenders with clocks of their own: ours takes 1 s, the other 3 s."""
    contenders = [
        Contender(name="ours", work=lambda: Pass(7, 1.0)),
        Contender(name="other", work=lambda: Pass(7, 3.0), goal=2),
    ]
    row = Comparison(title="a row", contenders=contenders, gate=lambda a: [Check("value", abs(a["ours"] - a["other"]), 0)])
    return replace(row, **changes)


def test_ratios_are_of_medians_and_beside_their_goals():
    times = iter([9.0, 1.0, 2.0, 100.0])  # the gate's pass, then three
    ours = Contender(name="ours", work=lambda: Pass(7, next(times)))
    row = _row(contenders=[ours, _row().contenders[1]], readings=lambda medians: [Reading("median of ours", medians["ours"], "s", 1.5)])
    record = measuring.measure("x", row, repeats=3, say=lambda text: None)
    own, other = record["contenders"]
    assert own["seconds"] == [1.0, 2.0, 100.0] and own["median_s"] == 2.0
    assert other["ratio"] == 1.5 and other["met"] is False and record["readings"][0]["met"] is False
    small = measuring.measure("x", _row(), repeats=1, goals=False, say=lambda text: None)["contenders"][1]
    assert small["ratio"] == 3.0 and small["goal"] is None and small["met"] is None


def test_passes_take_turns_and_the_order_turns():
    order = []
    contenders = [Contender(name=name, work=lambda n=name: order.append(n), before=lambda n=name: order.append(f"before {n}")) for name in "ab"]
    measuring.measure("x", _row(contenders=contenders, gate=lambda a: [Check("", 0, 0)]), repeats=2, say=lambda text: None)
    assert [name for name in order if "before" not in name] == ["a", "b", "a", "b", "b", "a"] and order[0] == "before a"


def test_a_contender_that_does_not_run_is_named_if_it_is_optional_only():
    def broken():
        raise OSError("no such\ndevice")

    row = _row()
    named = replace(row, contenders=[*row.contenders, Contender(name="third", work=broken, optional=True)])
    assert measuring.measure("x", named, repeats=1, say=lambda text: None)["left_out"] == {"third": "does not run here: OSError: no such device"}
    with pytest.raises(OSError, match="no such"):
        measuring.measure("x", replace(row, contenders=[*row.contenders, Contender(name="third", work=broken)]), repeats=1)


def test_a_value_that_is_no_number_fails_the_gate():
    assert not Check("", float("nan"), 1.0).holds and not Check("", float("inf"), 1.0).holds and Check("", 1.0, 1.0).holds
    assert measuring.largest_difference([1, np.nan], [1, np.nan]) == 0 and not measuring.largest_difference([1, np.nan], [1, 2]) <= 9
    assert measuring.largest_difference([1], [1, 2]) == float("inf")
    unlike = measuring.measure("x", _row(gate=lambda a: [Check("", float("inf"), 1.0)]), repeats=1)
    assert unlike["gate"] == [{"what": "", "value": None, "limit": 1.0, "holds": False}] and not unlike["passed"]
    assert not measuring.measure("x", _row(gate=lambda a: []), repeats=1)["passed"], "a gate that checks nothing is no gate"


def test_the_command_writes_rows_that_the_figure_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "build", lambda name, **options: _row() if name == "swap" else _row(gate=lambda a: [Check("apart", 1, 0)]))
    file = tmp_path / "results.json"
    assert command.main(["swap", "--json", str(file), "--repeats", "1"]) == 0
    assert command.main(["bootstrap", "--json", str(file), "--repeats", "1"]) == 1
    said = capsys.readouterr().out
    assert "ours is 3.00 x as fast (goal 2)" in said and "gate FAILS: apart" in said
    results = json.loads(file.read_text())
    assert [row["name"] for row in results["rows"]] == ["bootstrap", "swap"] and results["size"] == "full"
    for where in (results, results["rows"][1]):
        assert where["environment"]["processor"] and where["environment"]["threads"] == 2 and where["environment"]["versions"]["torch"]
    assert command.main(["bootstrap", "--json", str(file), "--repeats", "2"]) == 1
    assert [row["repeats"] for row in json.loads(file.read_text())["rows"]] == [2, 1] and "median of 1 " in figure.note(json.loads(file.read_text()))
    bars = figure.bars(results)
    assert [(bar["row"], bar["ratio"], bar["goal"]) for bar in bars] == [("Paired bootstrap", None, None), ("Swap control", 3.0, 2)]
    assert command.main(["figure", str(file), "--out", str(tmp_path / "pictures/ratios")]) == 0
    assert all((tmp_path / f"pictures/ratios.{ending}").stat().st_size > 5000 for ending in ("png", "pdf"))


def test_bad_usage_is_said_in_one_line(tmp_path, capsys):
    for wrong, said in (["nothing"], "unknown row nothing"), (["swap", "--repeats", "0"], "1 or more"), (["swap", "--json", "/no/such/x"], "does not exist"):
        with pytest.raises(SystemExit) as stop:
            command.main(wrong)
        assert stop.value.code == 2 and said in capsys.readouterr().err
    (tmp_path / "full.json").write_text('{"size": "full", "rows": []}')
    for wrong, said in (["swap", "--small", "--json", "full.json"], "holds rows of full size; these are small"), (["swap", "--json", "bad"], "no result file"):
        (tmp_path / "bad").write_text("{")
        with pytest.raises(SystemExit):
            command.main([*wrong[:-1], str(tmp_path / wrong[-1])])
        assert said in capsys.readouterr().err
    (tmp_path / "empty.json").write_text('{"rows": []}')
    assert command.main(["figure", str(tmp_path / "empty.json")]) == 2 and "no ratios" in capsys.readouterr().err


def test_a_row_that_fails_keeps_the_others(monkeypatch, capsys):
    def no_such(name, **options):
        raise RuntimeError("its weights are not installed: '/models/its-weights'")

    monkeypatch.setattr(command, "build", no_such)
    assert command.main(["step_smollm2", "--repeats", "1"]) == 1
    assert "not measured: RuntimeError: its weights are not installed: '…/its-weights'\n" in capsys.readouterr().out
    assert measuring.without_paths("see https://a.org/b/c and and/or 3 / 4") == "see https://a.org/b/c and and/or 3 / 4"


def test_score_grows_with_its_rows(tmp_path, monkeypatch):
    """The command's own code in this process, and once as the row runs it."""

    def scored(file, report):
        return score_here([str(file)], json_path=str(report)), 100.0 + file.stat().st_size / 2**20

    started = []

    def first_as_a_process(file, report, real=score_rows._scored):
        started.append(file)
        return real(file, report) if len(started) == 1 else scored(file, report)

    monkeypatch.setattr(score_rows, "_scored", first_as_a_process)
    row = rows.build("score", small=True, folder=tmp_path)
    record = measuring.measure("score", row, repeats=1, goals=False, say=lambda text: None)
    assert record["passed"] and [line["name"] for line in record["contenders"]] == ["5 rows", "20 rows", "40 rows"]
    assert all(line["ratio"] is None for line in record["contenders"]) and len(record["readings"]) == 6
    wrong = replace(row.contenders[1], answer=lambda: row.contenders[2].work())
    assert not measuring.measure("score", replace(row, contenders=[row.contenders[0], wrong, row.contenders[2]]), repeats=1)["passed"]


def test_growth_is_calculated_from_times_beyond_the_start(tmp_path):
    files = {n: tmp_path / str(n) for n in (5, 1000, 10_000)}
    for n, file in files.items():
        file.write_bytes(b"x" * n * 1049)
    medians = {"5 rows": 2.0, "1,000 rows": 3.0, "10,000 rows": 12.0}
    exponent, heavier = score_rows._growth(medians, files, {5: [300.0], 1000: [301.0], 10_000: [320.0]})[1:3]
    assert exponent.value == pytest.approx(1.0) and heavier.value == pytest.approx(2.0, rel=1e-2)


# --- the runner beside papermill, without its minutes -----------------------------------------------------------------------------------


def test_runs_are_compared_file_by_file(tmp_path):
    for side, text in (("a", "1"), ("b", "1")):
        place = tmp_path / side / "results/smoke/scores"
        place.mkdir(parents=True)
        (place / "rows.csv").write_text(text)
    folders = {side: tmp_path / side for side in ("a", "b")}
    assert all(check.holds for check in pipeline_rows._same_files(folders))
    (tmp_path / "b/results/smoke/scores/rows.csv").write_text("2")
    assert [check.holds for check in pipeline_rows._same_files(folders)] == [True, False, True]
    (tmp_path / "a/results/smoke/scores/rows.csv").unlink()
    (tmp_path / "b/results/smoke/scores/rows.csv").unlink()
    assert [check.holds for check in pipeline_rows._same_files(folders)] == [True, True, False]


def test_the_labels_to_change_are_there_and_the_runner_is_read(tmp_path):
    for small, (path, old, new) in pipeline_rows.LABELS.items():
        copy = SimpleNamespace(root=tmp_path / str(small))
        (copy.root / path).parent.mkdir(parents=True)
        (copy.root / path).write_text((pipeline_rows.ROOT / path).read_text())
        said = iter(
            ["01 dataset  skipped, nothing has changed\n", "01 dataset  skipped\n10 distributions   running (module changed)\n90 claims  running (input)\n"]
        )
        copy.run = lambda out, lines=said: next(lines)
        values = {reading.what: reading.value for reading in pipeline_rows.again(copy, tmp_path, (path, old, new))}
        assert new in (copy.root / path).read_text() and old not in (copy.root / path).read_text()
        assert values["notebooks run with nothing changed"] == 0
        assert values["notebooks run with one label changed, apart from the report"] == 1
