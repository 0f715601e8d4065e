"""A server's model in a run: its row in Table II, its administration, what a budget leaves, and a second run that asks nothing."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from stub_server import StubServer

from polypersona_lib.config import PROFILES, RunConfig
from polypersona_lib.models.answer_budget import VARIABLES
from polypersona_lib.report import paper_tables
from polypersona_lib.scoring import administration, answer_files, evaluation, option_labels, server_systems
from polypersona_lib.scoring.answer_files import load_administrations
from polypersona_lib.scoring.answering import read_sheets, write_sheet
from polypersona_lib.systems import is_untuned, system_kind, system_labels, system_order
from polypersona_lib.world import dataset

SYSTEM = "server-toy--base"


@pytest.fixture(scope="module")
def asked() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Six test records, and four items of the questionnaire to three people."""
    from polypersona_lib import paths

    test = dataset.read_split(paths.DATASET / "paper", "test").iloc[:6].reset_index(drop=True)
    sheet = administration.questionnaire(3, 42)
    return test, sheet[sheet["question_id"].isin(sheet["question_id"].unique()[:4])].reset_index(drop=True)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPERSONA_CACHE", str(tmp_path / "cache"))
    for name in ("POLYPERSONA_API_KEY", *VARIABLES.values()):
        monkeypatch.delenv(name, raising=False)
    return lambda server: RunConfig(models=f"phi-2,server:{server.address}#toy", out=str(tmp_path))


def test_a_server_is_a_system_of_the_run(tmp_path):
    run = RunConfig(models="server:http://127.0.0.1:1/v1#toy", out=str(tmp_path))
    assert run.model_keys == RunConfig().model_keys and list(system_labels(run)).count(SYSTEM) == 1
    assert system_labels(run)[SYSTEM] == "toy on a server, untuned" and is_untuned(SYSTEM) and system_kind(SYSTEM) == "untuned"
    assert system_order("phi-2--base") < system_order(SYSTEM) < system_order("phi-2")
    with pytest.raises(ValueError, match="--models"):
        RunConfig(models="server:http://127.0.0.1:1/v1")


def test_a_server_answers_the_run_and_a_second_run_asks_nothing(asked, run, capsys):
    test, sheet = asked
    with StubServer() as server:
        here = run(server)
        sheets = server_systems.predict_servers(here, test, sheet)
        requests = len(server.seen)
        said = capsys.readouterr().out
        again = server_systems.predict_servers(here, test, sheet)
        assert len(server.seen) == requests
    roles = {tuple(m["role"] for m in body["messages"]) for body in server.seen}
    sent = "\n".join(m["content"] for body in server.seen for m in body["messages"])
    assert roles == {("system", "user")} and not any(reference in sent for reference in test["reference"]), "nobody is asked with the answer in the prompt"
    preds = answer_files.load_predictions(here.paths.folder("preds"))
    assert preds["system"].unique().tolist() == [SYSTEM] and (preds["status"] == "ok").all() and preds["id"].tolist() == test["id"].tolist()
    record = json.loads((here.paths.folder("preds") / "servers.json").read_text())[SYSTEM]
    assert record["requests"] == 0 and record["from_cache"] > 0 and record["options_by"] == {"logprobs": record["options_by"]["logprobs"]}
    assert [g["gate"] for g in record["gates"]] == ["option mass", "order effect", "distance from the prior", "own card"]
    assert f"{server.address} gets the persona cards" in said and said.count("gate ") == 4
    assert f"6 test rows, then gates on 72 prompts and {len(sheet)} of the questionnaire" in said and "at most 10 (2 where" in said
    assert "FAILED: a stranger's card does at least as well as the person's own" in said, "the stub does not read the card"
    (frame,), (other,) = sheets.values(), again.values()
    assert [list(p) for p in frame["option_probs"]] == [list(p) for p in other["option_probs"]] and len(frame) == len(sheet)
    assert all(abs(sum(p) - 1) < 1e-5 for p in frame["option_probs"]) and frame["answer"].str.len().gt(0).all()


def test_a_budget_that_stops_a_run_keeps_what_it_has(asked, run, monkeypatch, capsys):
    test, sheet = asked
    with StubServer() as server:
        here = run(server)
        monkeypatch.setenv("POLYPERSONA_MAX_REQUESTS", "20")
        (frame,) = server_systems.predict_servers(here, test, sheet).values()
        assert len(server.seen) == 20
        said = capsys.readouterr().out
        monkeypatch.delenv("POLYPERSONA_MAX_REQUESTS")
        (whole,) = server_systems.predict_servers(here, test, sheet).values()
    assert f"{SYSTEM}: 6 of 6" not in said and answer_files.load_predictions(here.paths.folder("preds"))["status"].eq("ok").all(), "test rows come first"
    missing = frame["option_probs"].isna()
    assert 0 < missing.sum() < len(frame) and (frame["chosen"][missing] == -1).all() and not whole["option_probs"].isna().any()
    assert all(list(a) == list(b) for a, b in zip(frame["option_probs"][~missing], whole["option_probs"][~missing], strict=True))
    assert f"{missing.sum()} of {len(frame)} answers to the questionnaire have no answer: not asked: the limit of 20 requests" in said

    folder = here.paths.folder("administration")
    write_sheet(folder, SYSTEM, frame)
    stored = read_sheets(folder)
    scores, _ = administration.score_administrations(here, stored)
    assert scores.set_index("metric").loc["stance_acc", "n"] == len(frame) - missing.sum()
    assert load_administrations(here) == {} and "is left out here" in capsys.readouterr().out
    write_sheet(folder, SYSTEM, whole)
    assert list(load_administrations(here)) == [SYSTEM]


def test_test_rows_that_are_not_asked_are_rows_with_a_reason(asked, run, monkeypatch):
    test, _ = asked
    monkeypatch.setenv("POLYPERSONA_MAX_REQUESTS", "4")
    with StubServer() as server:
        here = run(server)
        assert server_systems.predict_servers(here, test, None) == {}
    preds = answer_files.load_predictions(here.paths.folder("preds"))
    assert (preds["status"] == "ok").sum() == 4 and len(preds) == 6
    assert set(preds["reason"][preds["status"] == "failed"]) == {"not asked: the limit of 4 requests is reached (--max-requests)"}


def test_a_servers_answers_make_its_row_in_table_2(asked, run):
    test, _ = asked
    with StubServer() as server:
        here = run(server)
        server_systems.predict_servers(here, test, None)
    preds, everyone = answer_files.load_predictions(here.paths.folder("preds")), option_labels.with_targets(test).assign(part="test")
    rows = evaluation.score_rows(here, preds, everyone, None)
    table = paper_tables.table2(evaluation.score_systems(rows, preds, seed=42), PROFILES["nano"])
    (row,) = table[table["Model"] == "toy on a server, untuned"].to_dict("records")
    assert row["Row"] == "control" and row["n"] == 6 and 0 < row["BLEU"].value < 1 and row["BLEU"].value == pytest.approx(rows["bleu"].mean())


def test_the_evaluation_asks_servers_beside_the_models(asked, run, monkeypatch, capsys):
    """`answering.predict` of a run: the server's answers and administration stand beside the others; the same again keeps the models' and asks nobody."""
    from polypersona_lib.scoring import answering

    test, sheet = asked
    monkeypatch.setattr(answering, "headless", lambda: True)
    monkeypatch.setattr(answering, "questionnaire", lambda count, seed: sheet)
    parts = dict.fromkeys(dataset.SPLITS, test)
    monkeypatch.setattr(answering, "predict_controls", lambda run, test, train: [])
    uniform = [[1 / len(options)] * len(options) for options in sheet["options"]]
    monkeypatch.setattr(answering.controls, "questionnaire_probabilities", lambda sheet, train, seed: {"uniform": uniform})
    with StubServer() as server:
        here = run(server)
        first = answering.predict(here, parts)
        requests = len(server.seen)
        again = answering.predict(here, parts)
        assert len(server.seen) == requests > 0 and "their answers are kept" in capsys.readouterr().out
    assert set(first) == set(again) == {SYSTEM, "uniform"}
    assert [list(p) for p in first[SYSTEM]["option_probs"]] == [list(p) for p in again[SYSTEM]["option_probs"]]
    scores, _ = administration.score_administrations(here, again)
    assert {"uniform", SYSTEM} == set(scores["system"])
