"""What leaves the machine: nothing, unless a server is named; then one line says which address gets what, before the first request."""

import json
import socket

import pandas as pd
import pytest
from stub_server import StubServer

from polypersona_lib.__main__ import main
from polypersona_lib.models import server_connection


@pytest.fixture()
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPERSONA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("POLYPERSONA_API_KEY", raising=False)
    (tmp_path / "q.csv").write_text("id,text,options\nwork,Do you work?,Yes|No\nwhy,Why?,\n")
    (tmp_path / "p.csv").write_text("id,age,work\n" + "".join(f"p{i},{30 + i},Yes\n" for i in range(3)))
    (tmp_path / "t.csv").write_text("question_id,option,probability\nwork,Yes,1\n")
    return tmp_path


def ask(folder, models, *more) -> int:
    return main(["ask", "--questions", f"{folder}/q.csv", "--people", f"{folder}/p.csv", "--models", models, "--out", f"{folder}/out", *more])


def test_a_table_opens_no_connection(files, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was sent")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert ask(files, f"table:{files}/t.csv") == 0


def test_one_line_says_what_a_server_gets_before_the_first_request(files, capsys, monkeypatch):
    said = []
    once = server_connection.Connection._once

    def noted(self, body, watch, limit):
        said.append(capsys.readouterr().out)
        return once(self, body, watch, limit)

    monkeypatch.setattr(server_connection.Connection, "_once", noted)
    with StubServer() as server:
        assert ask(files, f"server:{server.address}#toy", "--mode", "sequence") == 0
        assert f"{server.address} gets the persona cards and questions for its model 'toy'" in said[0]
        assert not any("gets the persona cards" in text for text in said[1:]) and len(server.seen) == len(said)
        sent = json.dumps(server.seen)
        assert "Do you work?" in sent and '"work": "Yes"' not in sent
    answers = pd.read_parquet(files / "out" / "answers.parquet")
    assert answers["status"].eq("ok").all() and set(answers["probs_how"].dropna()) <= {"logprobs", "samples"}
    record = json.loads((files / "out" / "record.json").read_text())
    assert record["addresses"] == [server.address] and record["servers"]["requests"] == len(server.seen)


def test_a_budget_that_ends_leaves_rows_with_a_reason_and_a_later_call_asks_the_rest(files, capsys):
    with StubServer() as server:
        models = f"server:{server.address}#toy"
        assert ask(files, models, "--max-requests", "2") == 0
        part = pd.read_parquet(files / "out" / "answers.parquet")
        failed = part[part["status"] == "failed"]
        assert len(failed) and failed["reason"].str.contains("not asked: the limit of 2 requests is reached").all() and len(server.seen) == 2
        assert "without an answer" in capsys.readouterr().out
        assert ask(files, models) == 0
        whole = pd.read_parquet(files / "out" / "answers.parquet")
    assert whole["status"].eq("ok").all() and len(whole) == 6
