"""The whole study at smoke scale in a temporary place: killed in the middle of training, run again, run a third time without a change."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from timing import allowed

from polypersona_lib.paths import ROOT
from polypersona_lib.registry import SMOKE_MODELS

ARGUMENTS = [sys.executable, "-m", "polypersona_lib.runner.pipeline", "smoke", "--out"]


def environment() -> dict:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def start(out, log):
    return subprocess.Popen([*ARGUMENTS, str(out)], cwd=out, env=environment(), stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A smoke run whose runner was killed during training and which was then started again. Returns (folder, output of the second start)."""
    out = tmp_path_factory.mktemp("été und Größe")
    results = out / "results" / "smoke"
    with (out / "first.log").open("w") as log:
        first = start(out, log)
        deadline = time.monotonic() + 400
        while not list(results.glob("adapters/.*.unfinished")) and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert first.poll() is None, (out / "first.log").read_text()
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert not list(results.glob("runs/*.json")), "a record may not exist before its training is complete"
    with (out / "second.log").open("w") as log:
        assert start(out, log).wait(timeout=900) == 0, (out / "second.log").read_text()
    return out, (out / "second.log").read_text()


@pytest.mark.timeout(1500)
def test_the_killed_run_was_completed_and_earlier_stages_were_kept(run):
    out, said = run
    assert "01 dataset construction" in said and "skipped" in said.split("02 distribution")[0]
    assert json.loads((out / "results/smoke/summary.json").read_text())["headline"]


@pytest.mark.timeout(300)
def test_every_artefact_of_the_paper_is_there(run):
    out, _ = run
    summary = json.loads((out / "results/smoke/summary.json").read_text())
    assert summary["artefacts"] and all(a["status"] == "made" for a in summary["artefacts"]), summary["artefacts"]
    for stem in ("table1_features", "table2_overall", "table3_domains"):
        assert all((out / f"results/smoke/tables/{stem}.{ending}").stat().st_size for ending in ("csv", "md", "tex"))
    for stem in ("fig1_domain_counts", "fig2_question_types", "fig3_lora_diagram", "fig4_bleu", "fig5_response_lengths", "controls_ladder"):
        assert all((out / f"figures/smoke/{stem}.{ending}").stat().st_size for ending in ("png", "pdf"))


@pytest.mark.timeout(300)
def test_the_numbers_are_numbers(run):
    systems = pd.read_csv(run[0] / "results/smoke/scores/systems.csv").set_index(["system", "metric"])["value"]
    for key in SMOKE_MODELS:
        for metric in ("bleu", "rouge1", "bertscore_f1", "quality"):
            assert 0 <= systems[key, metric] <= 1
    claims = pd.read_csv(run[0] / "results/smoke/claims.csv", dtype=str, keep_default_na=False)
    assert len(claims) > 200 and not (claims == "").any().any()
    administration = pd.read_csv(run[0] / "results/smoke/scores/administration.csv").query("metric == 'stance_acc'").set_index("system")["value"]
    assert np.isfinite(administration).all() and administration["oracle_latent"] > administration["uniform"]


@pytest.mark.timeout(300)
def test_again_without_a_change_everything_is_skipped(run):
    out, _ = run
    began = time.monotonic()
    done = subprocess.run([*ARGUMENTS, str(out)], cwd=out, env=environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < allowed(60)
    assert "running" not in done.stdout
