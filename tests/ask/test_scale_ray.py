"""`ask --engine ray` with Ray itself: the local engine's answers, kills, failed rows, one budget for all workers, vLLM's processor without vLLM.

Runs in the environment that `python scripts/setup_env.py scale` makes; `.ci/run` does so. All tests share one cluster of two workers.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from stub_server import StubServer

from polypersona_lib.__main__ import main
from polypersona_lib.ask import command, ray_engine, vllm_rows
from polypersona_lib.ask.asking import AskPlan
from polypersona_lib.ask.shards import shard_path
from polypersona_lib.ask.who_answers import who_answers
from polypersona_lib.intake.answers_folder import load_answers
from polypersona_lib.intake.questionnaire_file import read_questionnaire
from polypersona_lib.models.answer_budget import Budget
from polypersona_lib.paths import NANO_MODELS, ROOT

pytest.importorskip("ray", reason="python scripts/setup_env.py scale makes the environment for these tests")

QUESTIONS = "id,text,kind,options\ntrust,Do you trust the courts?,likert,Not at all|A little|Fully\nwork,Do you work?,yes_no,No|Yes\n"
TABLE = "question_id,option,probability\ntrust,Fully,0.5\ntrust,A little,0.5\n"
TWIN = "tinyllama-1.1b--base"


@pytest.fixture(scope="module", autouse=True)
def ray(tmp_path_factory):
    """One cluster for the module; its workers inherit the environment of its start."""
    os.environ["POLYPERSONA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    with ray_engine.cluster(2) as ray:
        yield ray
    del os.environ["POLYPERSONA_CACHE"]


@pytest.fixture()
def files(tmp_path):
    (tmp_path / "q.csv").write_text(QUESTIONS)
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path


def arguments(files, name: str, *more: str) -> list[str]:
    return ["--questions", f"{files}/q.csv", "--models", f"table:{files}/t.csv", "--out", str(files / name), "--people", "census:12", *more]


def call(files, name: str, *more: str) -> pd.DataFrame:
    assert main(["ask", *arguments(files, name, *more)]) == 0
    return load_answers(files / name)[0]


def test_equal_batches_and_threads_give_the_local_engines_bits_and_other_batches_the_same_draws(files):
    import torch

    threads = torch.get_num_threads()
    try:
        local = call(files, "local", "--models", TWIN, "--threads", "1", "--block", "4")
    finally:
        torch.set_num_threads(threads)
    equal = call(files, "ray", "--models", TWIN, "--threads", "1", "--block", "4", "--engine", "ray", "--workers", "2")
    pd.testing.assert_frame_equal(equal, local)
    other = call(files, "other", "--models", TWIN, "--threads", "1", "--block", "12", "--engine", "ray", "--workers", "1")
    assert np.abs(np.concatenate(other["option_probs"].tolist()) - np.concatenate(local["option_probs"].tolist())).max() <= 1e-5
    assert (other["option"] != local["option"]).sum() == 0 and other["id"].tolist() == local["id"].tolist()
    lines_of = files / "ray" / "shards" / TWIN / "done.jsonl"
    lines = [json.loads(line) for line in lines_of.read_text().splitlines()]
    assert sorted(line["block"] for line in lines) == [0, 1, 2] and all(line["peak_mb"] > 50 for line in lines)
    main(["ask", *arguments(files, "ray", "--models", TWIN, "--block", "4")])  # the local engine finishes the folder for SPSS, and asks nobody
    assert (files / "ray" / "answers.sav").is_file()
    pd.testing.assert_frame_equal(load_answers(files / "ray")[0], local)


def test_a_killed_worker_costs_nothing_but_time(files):
    killed = []

    def kill_one() -> None:
        """Kill the first worker that has written a shard, while others are still to be written."""
        done, limit = files / "ray" / "shards" / "table-t" / "done.jsonl", time.monotonic() + 60
        while not killed and time.monotonic() < limit:
            lines = done.read_text().splitlines() if done.exists() else []
            if lines and lines[0].endswith("}"):
                killed.append(json.loads(lines[0])["worker"])
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.01)

    watcher = threading.Thread(target=kill_one)
    watcher.start()
    people = ("--people", "census:240", "--block", "2")
    answers = call(files, "ray", *people, "--engine", "ray", "--workers", "2")
    watcher.join()
    lines = [json.loads(line) for line in (files / "ray" / "shards" / "table-t" / "done.jsonl").read_text().splitlines()]
    assert killed and len({line.get("worker") for line in lines} - {killed[0]}) >= 1 and len(lines) == 120
    pd.testing.assert_frame_equal(answers, call(files, "local", *people))


def test_a_killed_driver_keeps_its_shards_and_the_same_command_goes_on(files, capsys):
    given = arguments(files, "ray", "--people", "census:240", "--block", "2", "--engine", "ray", "--workers", "1")
    driver = subprocess.Popen([sys.executable, "-m", "polypersona_lib", "ask", *given], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    folder, limit = files / "ray" / "shards" / "table-t", time.monotonic() + 240
    while driver.poll() is None and time.monotonic() < limit and len(list(folder.glob("0*.parquet"))) < 5:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.parquet")}
    assert 5 <= len(kept) < 120 and not (files / "ray" / "answers.parquet").exists()
    time.sleep(1)  # its cluster ends with it
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.parquet")}
    answers = call(files, "ray", "--people", "census:240", "--block", "2", "--engine", "ray", "--workers", "2")
    assert f"{len(kept) * 4:,} kept from before" in capsys.readouterr().out
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
    pd.testing.assert_frame_equal(answers, call(files, "local", "--people", "census:240", "--block", "2"))


def test_a_row_that_fails_in_a_worker_is_a_row_with_a_reason(files):
    questionnaire = read_questionnaire(files / "q.csv")
    people = command.census_people(5).frame
    people.loc[3, "card"] = "{no card"
    who = who_answers(f"table:{files}/t.csv", questionnaire, seed=42)
    options = ray_engine.RayOptions(workers=1, threads=1)
    told = ray_engine.ask_on_ray(files / "out", questionnaire, people, who, AskPlan(), size=5, budget=Budget(), options=options)
    counts, reasons = told["table-t"]
    assert (counts["ok"], counts["failed"]) == (8, 2) and [(reason.split(":")[0], n) for reason, n in reasons.items()] == [("JSONDecodeError", 2)]
    frame = pd.read_parquet(shard_path(files / "out", "table-t", 0))
    assert frame.loc[frame["status"] == "failed", "persona_id"].tolist() == ["census-000003"] * 2


def test_all_workers_share_one_budget_and_a_later_call_asks_the_rest(files, capsys):
    with StubServer() as server:
        models = ("--models", f"server:{server.address}#toy", "--block", "2", "--engine", "ray", "--workers", "2")
        part = call(files, "ray", *models, "--max-requests", "9")
        assert len(server.seen) == 9 and "gets the persona cards and questions for its model 'toy'" in capsys.readouterr().out
        failed = part[part["status"] == "failed"]
        assert len(failed) and failed["reason"].str.contains("not asked: the limit of 9 requests is reached").all()
        whole = call(files, "ray", *models)
        record = json.loads((files / "ray" / "record.json").read_text())
        assert record["servers"]["requests"] == len(server.seen) - 9 and record["ray"]["workers"] == 2
    assert whole["status"].eq("ok").all() and len(whole) == 24


def test_what_a_worker_cannot_do_is_one_line(files, capsys):
    assert main(["ask", *arguments(files, "ray", "--models", "server:http://127.0.0.1:9/v1#toy", "--engine", "ray", "--workers", "1")]) == 2
    error = capsys.readouterr().err
    assert "no server answers at http://127.0.0.1:9/v1" in error and error.count("\n") == 1


def test_the_processor_of_vllm_is_built_as_far_as_ray_builds_it_without_vllm(ray):
    from ray.data.llm import vLLMEngineProcessorConfig

    source = str(NANO_MODELS / "tinyllama-1.1b")
    processor = vllm_rows.vllm_processor(source, workers=2, context=512)
    assert processor.list_stage_names() == ["vLLMEngineStage"]  # prompts come as tokens
    engine = processor.get_stage_by_name("vLLMEngineStage")
    assert engine.fn_constructor_kwargs["model"] == source and engine.fn_constructor_kwargs["engine_kwargs"]["max_model_len"] == 512
    config = vLLMEngineProcessorConfig(**vllm_rows.processor_settings(source, workers=2, context=None))
    assert config.concurrency == 2 and config.should_continue_on_error and config.batch_size == vllm_rows.BATCH_ROWS
