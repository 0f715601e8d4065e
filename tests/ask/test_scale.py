"""Scale-out without Ray: how a run is cut, what counts as done, how it goes on, the one table, rows that fail, and what vLLM is asked."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from stub_server import StubServer

from polypersona_lib.__main__ import main
from polypersona_lib.ask import command, ray_engine, scale_shards, scale_trial, vllm_rows
from polypersona_lib.ask.asking import AskPlan, ask_people
from polypersona_lib.ask.ray_engine import BlockAsker, BlockJob, ray_options
from polypersona_lib.ask.scale_shards import Blocks, added_up, answer_block, keep_block, note_done, one_table, read_block, take_stock, write_people
from polypersona_lib.ask.shards import shard_path
from polypersona_lib.ask.who_answers import who_answers
from polypersona_lib.errors import InputError
from polypersona_lib.intake.answers_folder import load_answers
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.models.loading import load_tokenizer
from polypersona_lib.paths import NANO_MODELS
from polypersona_lib.prompts import chat
from polypersona_lib.registry import get_spec

SOURCE = str(NANO_MODELS / "tinyllama-1.1b")

QUESTIONS = "id,text,kind,options\ntrust,Do you trust the courts?,likert,Not at all|A little|Fully\nwork,Do you work?,yes_no,No|Yes\nwhy,Why?,open,\n"
TABLE = "question_id,option,probability\ntrust,Fully,0.5\ntrust,A little,0.5\n"
PEOPLE = "id,age,trust\n" + "".join(f"p{i},{20 + i},{'Fully' if i % 2 else 'A little'}\n" for i in range(7))


@pytest.fixture()
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPERSONA_CACHE", str(tmp_path / "cache"))
    for name, text in (("q.csv", QUESTIONS), ("t.csv", TABLE), ("p.csv", PEOPLE)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture()
def run(files):
    """A run of seven people in blocks of three: (folder, questionnaire, people, blocks, what answers a block)."""
    questionnaire = read_questionnaire(files / "q.csv")
    people = command.people_of(str(files / "p.csv"), questionnaire=questionnaire, mapping={}, seed=42).frame
    (who,) = who_answers(f"table:{files}/t.csv", questionnaire, seed=42)
    answerer, room = who.opened()
    write_people(files / "out", people, 3)
    return files / "out", questionnaire, people, Blocks(7, 3, 3), lambda block: ask_people(answerer, questionnaire, block, AskPlan(), room=room)


def call(files, *more) -> int:
    given = ["--questions", f"{files}/q.csv", "--people", f"{files}/p.csv", "--models", f"table:{files}/t.csv", "--out", f"{files}/out"]
    return main(["ask", *given, *more])


def finish(run, numbers) -> None:
    """Answer some blocks as a worker would, and note them as the driver would."""
    out, _, _, _, ask = run
    for number in numbers:
        note_done(out, "table-t", keep_block(out, "table-t", number, ask(read_block(out, number)), 0.1))


def test_blocks_hold_everybody_once_and_a_worker_reads_its_own_alone(run):
    out, _, people, blocks, _ = run
    assert len(blocks) == 3 and [blocks.rows_of(n) for n in range(3)] == [9, 9, 3]
    pd.testing.assert_frame_equal(pd.concat([read_block(out, n) for n in range(3)], ignore_index=True), people, check_dtype=False)
    assert read_block(out, 2)["persona_id"].tolist() == ["p6"]


def test_a_run_that_was_killed_keeps_whole_shards_with_or_without_their_line(run):
    out, _, _, blocks, ask = run
    assert take_stock(out, "table-t", blocks) == ({}, [0, 1, 2])
    finish(run, [1])
    keep_block(out, "table-t", 2, ask(read_block(out, 2)), 0.1)  # killed before the driver noted it
    path = out / "shards" / "table-t" / "done.jsonl"
    path.write_text(path.read_text() + '{"block": 0, "ro')  # killed while a line was written
    (out / "shards" / "table-t" / ".00000.parquet.99").write_bytes(b"half")  # killed while a shard was written
    done, missing = take_stock(out, "table-t", blocks)
    assert sorted(done) == [1, 2] and missing == [0]
    assert [json.loads(line)["block"] for line in path.read_text().splitlines()] == [1, 2]
    assert (done[1]["rows"], done[2]["rows"], done[1]["counts"]["ok"]) == (9, 3, 9)


def test_a_shard_that_is_not_what_its_line_says_is_asked_again(run):
    out, _, _, blocks, ask = run
    finish(run, [0, 1, 2])
    shard_path(out, "table-t", 0).write_bytes(b"PAR1")
    shard_path(out, "table-t", 2).unlink()
    waiting = ask(read_block(out, 1)).assign(status="failed", reason="not asked: the limit of 2 requests is reached")
    note_done(out, "table-t", keep_block(out, "table-t", 1, waiting, 0.1))
    assert take_stock(out, "table-t", blocks) == ({}, [0, 1, 2])


def test_the_lines_are_trusted_without_opening_the_shards(run, monkeypatch):
    out, _, _, blocks, _ = run
    finish(run, [0, 1, 2])
    monkeypatch.setattr(scale_shards, "read_shard", lambda *_: pytest.fail("a shard was opened"))
    done, missing = take_stock(out, "table-t", blocks)
    assert missing == [] and added_up(done.values()) == ({"ok": 21, "unread": 0, "turns_dropped": 0, "off_option": 0}, {})


def test_the_table_of_all_shards_is_the_one_of_the_local_engine(run):
    out, _, people, blocks, ask = run
    finish(run, [2, 0, 1])
    assert one_table(out, ["table-t"], blocks)
    local = ask(people)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "answers.parquet"), local)


def test_a_shard_that_was_damaged_after_its_line_is_in_no_table(run):
    """Its line knows its size alone."""
    out, _, _, blocks, _ = run
    finish(run, [0, 1, 2])
    path = shard_path(out, "table-t", 1)
    whole = path.read_bytes()
    column = pyarrow.parquet.read_metadata(path).row_group(0).column(0)
    last = column.dictionary_page_offset + column.total_compressed_size - 1  # of the first column's values
    path.write_bytes(whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :])
    assert take_stock(out, "table-t", blocks)[1] == []
    with pytest.raises(InputError, match=r"00001\.parquet: is damaged .*delete it, and the same command asks these people again"):
        one_table(out, ["table-t"], blocks)


def test_more_answers_than_one_table_takes_stay_in_their_shards(run, monkeypatch):
    out, _, _, blocks, _ = run
    finish(run, [0, 1, 2])
    monkeypatch.setattr(scale_shards, "MOST_IN_ONE_TABLE", 20)
    assert not one_table(out, ["table-t"], blocks) and not (out / "answers.parquet").exists()


def test_a_row_that_fails_is_a_row_with_a_reason_and_costs_nobody_else(run):
    out, questionnaire, people, blocks, ask = run

    def breaks(block):
        if "p4" in set(block["persona_id"]):
            raise FloatingPointError("no such\nnumber")
        return ask(block)

    worker = BlockAsker(BlockJob(out=out, folder=out, entry="", system="table", questionnaire=questionnaire, plan=AskPlan(), blocks=blocks, threads=1))
    frame = answer_block(breaks, people, worker._give_up)
    failed = frame[frame["persona_id"] == "p4"]
    assert failed["status"].tolist() == ["failed"] * 3 and failed["reason"].tolist() == ["FloatingPointError: no such number"] * 3
    assert failed["question_id"].tolist() == ["trust", "work", "why"] and failed["reference"].tolist()[0] == "A little"
    others = ask(people).query("persona_id != 'p4'").reset_index(drop=True)
    columns = [c for c in frame if c != "system"]
    pd.testing.assert_frame_equal(frame.query("persona_id != 'p4'").reset_index(drop=True)[columns], others[columns])


def test_what_the_user_must_mend_is_not_taken_for_a_failed_row(run):
    def refuses(block):
        raise InputError("no server answers")

    with pytest.raises(InputError, match="no server answers"):
        answer_block(refuses, run[2], lambda people, reason: pytest.fail(reason))


def test_other_blocks_draw_the_same_options(files):
    for name, size in (("a", "2"), ("b", "50")):
        assert call(files, "--out", str(files / name), "--block", size) == 0
    first, second = (load_answers(files / name)[0] for name in "ab")
    pd.testing.assert_frame_equal(first, second)
    assert len(list((files / "a" / "shards" / "table-t").glob("*.parquet"))) == 4


def test_without_ray_one_line_says_how_to_install_it(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert call(files, "--engine", "ray") == 2
    error = capsys.readouterr().err
    assert "Ray is not installed in this environment; run: python scripts/setup_env.py scale" in error and error.count("\n") == 1
    assert not (files / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "2"], "--workers: needs --engine ray"),
        (["--block", "0"], "--block must be 1 to 1,000,000 people, not 0"),
        (["--threads", "0"], "not 1 and 0"),
        (["--models", "vllm:"], "lacks the model's name"),
        (["--models", "vllm:toy"], "is asked by Ray: add --engine ray"),
    ],
)
def test_options_that_do_not_fit_are_one_line(files, capsys, more, message):
    assert call(files, *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_workers_share_the_cpus(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert (ray_options(None, None, None).workers, ray_options(2, None, None).threads, ray_options(16, None, 7).threads) == (8, 4, 1)


# --- vLLM ------------------------------------------------------------------------------------------------------------------------------------


def requests(run, plan=None) -> list[dict]:
    return vllm_rows.request_rows(run[2], 0, run[1], plan or AskPlan(), None)


def test_vllm_gets_the_rows_and_seeds_that_a_server_gets(run):
    questionnaire, people = run[1], run[2]
    with StubServer() as server:
        (who,) = who_answers(f"server:{server.address}#toy", questionnaire, seed=42)
        answerer, room = who.opened()
        ask_people(answerer, questionnaire, people, AskPlan(), room=room)
        sent = {json.dumps({**body, "model": ""}, sort_keys=True) for body in server.seen}
    rows = requests(run)
    bodies = [json.loads(row["body"]) for row in rows]
    assert len(rows) == len({row["key"] for row in rows}) == 7 * (2 * 2 + 1) == rows[0]["of"]
    assert {json.dumps({**{k: v for k, v in body.items() if v is not None}, "model": ""}, sort_keys=True) for body in bodies} <= sent
    assert len({body["seed"] for body in bodies}) == len(bodies)
    assert rows == requests(run) and {r["body"] for r in rows}.isdisjoint({r["body"] for r in requests(run, AskPlan(seed=7))})


@pytest.mark.parametrize("family", ["llama-2-7b", "mistral-7b"])
def test_vllm_gets_the_tokens_of_the_local_engine_with_one_beginning_and_the_system_text(run, family):
    tokenizer = load_tokenizer(get_spec(family), "nano")
    ids = vllm_rows.to_vllm(requests(run)[0], str(NANO_MODELS / family))["tokenized_prompt"]
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id and chat.SYSTEM in tokenizer.decode(ids)


def vllm_says(row: dict, weights: dict[str, float]) -> dict:
    """A row as vLLM's stage leaves it: the first token is an option by its weight, later ones are not needed."""
    sampling = row.pop("sampling_params")  # as Ray 2.60 does
    listed = {n: {"logprob": math.log(p), "rank": n + 1, "decoded_token": option} for n, (option, p) in enumerate(weights.items())}
    logprobs = [listed] if "logprobs" in sampling else None
    return row | {"generated_text": next(iter(weights)), "generated_tokens": [0], "num_generated_tokens": 1, "logprobs": logprobs, "__inference_error__": ""}


def test_replies_of_vllm_become_the_answers_of_their_rows(run):
    questionnaire, people, replies = run[1], run[2], {}
    for number, row in enumerate(requests(run)):
        asked = row | vllm_rows.to_vllm(row, SOURCE)
        assert asked["sampling_params"]["seed"] == json.loads(row["body"])["seed"]
        options = json.loads(row["body"])["messages"][-1]["content"].rpartition("\nOptions: ")[2]
        weights = {"Fully": 0.5, "A little": 0.3, "Not at all": 0.1} if "Fully" in options else {"Yes": 0.6, "No": 0.2}
        said = vllm_says(asked, weights)
        reply = vllm_rows.to_reply(said)
        assert set(reply) == {"block", "key", "of", "reply"}
        replies[reply["key"]] = vllm_rows.read_reply(reply if number else asked | {"__inference_error__": "ValueError: too long"})
    frame = vllm_rows.block_frame(people, questionnaire, AskPlan(), None, replies, "vllm-toy")
    trust = frame[(frame["question_id"] == "trust") & (frame["status"] == "ok")]
    assert len(trust) >= 6 and all(probs == pytest.approx([1 / 9, 3 / 9, 5 / 9], abs=1e-6) for probs in trust["option_probs"])
    assert trust["option_mass"].tolist() == pytest.approx([0.9] * len(trust)) and set(trust["probs_how"]) == {"logprobs"}
    work = frame[(frame["question_id"] == "work") & (frame["status"] == "ok")]
    assert all(probs == pytest.approx([0.25, 0.75], abs=1e-6) for probs in work["option_probs"])
    failed = frame[frame["status"] == "failed"]
    assert failed["reason"].tolist() == ["vLLM: ValueError: too long"] and len(frame) == 21


def test_vllm_is_not_asked_twice_where_two_options_begin_alike(run):
    """The branch "A little" stays open, so a server would be asked again with another seed; vLLM's first reply has to do."""
    questionnaire, people, replies = run[1], run[2], {}
    for row in requests(run):
        asked = row | vllm_rows.to_vllm(row, SOURCE)
        said = vllm_says(asked, {"A": 0.4, "Fully": 0.5, "Yes": 0.3, "No": 0.3})
        replies[row["key"]] = json.loads(vllm_rows.to_reply(said)["reply"])
    frame = vllm_rows.block_frame(people, questionnaire, AskPlan(), None, replies, "vllm-toy")
    assert frame[frame["question_id"] == "trust"]["status"].eq("ok").all()


def test_what_vllm_does_not_answer_says_so(run):
    frame = vllm_rows.block_frame(run[2], run[1], AskPlan(), None, {}, "vllm-toy")
    assert frame["status"].eq("failed").all() and set(frame["reason"]) == {"vLLM gave no answer to this row"}


def test_a_row_that_vllm_fails_does_not_end_the_run(run, monkeypatch):
    """Ray does not call `to_reply` for such a row: it comes as it went in, with why."""
    out, questionnaire, _, blocks, _ = run
    job = BlockJob(out=out, folder=out, entry="", system="vllm-toy", questionnaire=questionnaire, plan=AskPlan(), blocks=blocks, threads=1)
    data = SimpleNamespace(flat_map=lambda more: [row | {"__inference_error__": "too long"} for row in more({"block": 0})])
    monkeypatch.setattr(ray_engine, "vllm_processor", lambda source, **options: lambda rows: SimpleNamespace(iter_rows=lambda: rows))
    assert [line["rows"] for line in ray_engine._vllm_lines(None, "toy", job, data, [0], 1)] == [9]


def test_the_settings_of_vllm(run):
    settings = vllm_rows.processor_settings("some/model", workers=2, context=2048)
    assert settings["model_source"] == "some/model" and settings["concurrency"] == 2 and settings["should_continue_on_error"]
    assert not settings["chat_template_stage"]["enabled"] and not settings["tokenize_stage"]["enabled"]
    assert settings["engine_kwargs"]["max_logprobs"] == 20 and settings["engine_kwargs"]["max_model_len"] == 2048
    assert settings["engine_kwargs"]["trust_remote_code"] is False
    assert "max_model_len" not in vllm_rows.processor_settings("some/model", workers=1, context=None)["engine_kwargs"]


def test_vllm_takes_one_pass_and_says_what_it_lacks(run):
    systems = who_answers("vllm:some/model", run[1], seed=42)
    with pytest.raises(InputError, match="takes --mode single"):
        vllm_rows.check_vllm(run[1], AskPlan(mode="sequence"))
    if vllm_rows.importlib.util.find_spec("vllm") is None:
        with pytest.raises(InputError, match="vLLM is not installed here; it needs a machine with a GPU"):
            vllm_rows.check_vllm(run[1], AskPlan())
    assert (systems[0].system, systems[0].entry) == ("vllm-model", "vllm:some/model")


# --- the page --------------------------------------------------------------------------------------------------------------------------------


def test_the_tables_of_the_page_follow_from_the_measurements():
    common = {"model": "toy", "driver_mb": 300, "worker_mb": 0, "shard_bytes": 500_000, "changed_options": 0, "largest_difference": 0.0, "equal": True}
    unequal = {"equal": False, "changed_options": 3, "largest_difference": 2e-6}
    rows = [common | {"answers": 10_000, "engine": "local", "workers": 1, "seconds": 100.0},
            common | {"answers": 10_000, "engine": "ray", "workers": 2, "seconds": 50.0, "worker_mb": 400},
            common | {"answers": 10_000, "engine": "ray", "workers": 1, "seconds": 99.0} | unequal]  # fmt: skip
    result = {"cpus": 2, "items": 10, "rows": rows, "killed": rows[1] | {"shards_kept": 10}}
    text = scale_trial.tables(result)
    assert "| toy | 10,000 | Ray, 2 workers | 50 | 200 | 300 | 400 | yes |" in text and "| no: 3 options, 2e-06 |" in text
    assert "| toy | 10,000 | 50 s | 1 s | 1 s | 0 MB |" in text  # 100 answers a second and worker
    assert "| toy | 1,000,000,000 | 58 days | 28 hours | 3 hours | 50,000 MB |" in text
    page = scale_trial.SCALE_PAGE.read_text(encoding="utf-8")
    filled = scale_trial.filled_page(page, result)
    assert scale_trial.filled_page(filled, result) == filled and text in filled and filled.startswith(page.partition(scale_trial.TABLES_START)[0])
    measured = scale_trial.SCALE_PAGE.with_suffix(".json")
    if measured.is_file():
        assert scale_trial.filled_page(page, json.loads(measured.read_text(encoding="utf-8"))) == page
    with pytest.raises(ValueError, match="the page lacks"):
        scale_trial.filled_page("no marks", result)


def test_two_runs_are_compared_cell_by_cell(files):
    for name in "ab":
        assert call(files, "--out", str(files / name)) == 0
    assert scale_trial.compared_answers(files / "a", files / "b") == {"equal": True, "changed_options": 0, "largest_difference": 0.0}
    table = pd.read_parquet(files / "b" / "answers.parquet")
    table.at[0, "option_probs"] = np.asarray([0.25, 0.25, 0.5])
    table.loc[0, "option"] = 0
    table.to_parquet(files / "b" / "answers.parquet")
    assert scale_trial.compared_answers(files / "a", files / "b") == {"equal": False, "changed_options": 1, "largest_difference": 0.25}
