"""The whole study at smoke scale in a temporary place, and again without a change. Runs that are killed: `tests/test_faults.py`."""

import json
import os
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


def smoke(out):
    """Run the profile in `out`; returns the finished process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*ARGUMENTS, str(out)], cwd=out, env=environment, capture_output=True, text=True, timeout=1200)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of a smoke run, whose name has what names of folders may have."""
    folder = tmp_path_factory.mktemp("été und Größe")
    done = smoke(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.timeout(1500)
def test_every_stage_was_done(out):
    summary = json.loads((out / "results/smoke/summary.json").read_text())
    stages = json.loads((out / "results/smoke/manifest.json").read_text())["stages"]
    assert summary["headline"] and len(stages) > 8 and all(entry["status"] == "done" for entry in stages.values())


@pytest.mark.timeout(300)
def test_every_artefact_of_the_paper_is_there(out):
    summary = json.loads((out / "results/smoke/summary.json").read_text())
    assert summary["artefacts"] and all(a["status"] == "made" for a in summary["artefacts"]), summary["artefacts"]
    for stem in ("table1_features", "table2_overall", "table3_domains"):
        assert all((out / f"results/smoke/tables/{stem}.{ending}").stat().st_size for ending in ("csv", "md", "tex"))
    for stem in ("fig1_domain_counts", "fig2_question_types", "fig3_lora_diagram", "fig4_bleu", "fig5_response_lengths", "controls_ladder"):
        assert all((out / f"figures/smoke/{stem}.{ending}").stat().st_size for ending in ("png", "pdf"))


@pytest.mark.timeout(300)
def test_the_numbers_are_numbers(out):
    systems = pd.read_csv(out / "results/smoke/scores/systems.csv").set_index(["system", "metric"])["value"]
    for key in SMOKE_MODELS:
        for metric in ("bleu", "rouge1", "bertscore_f1", "quality"):
            assert 0 <= systems[key, metric] <= 1
    claims = pd.read_csv(out / "results/smoke/claims.csv", dtype=str, keep_default_na=False)
    assert len(claims) > 200 and not (claims == "").any().any()
    administration = pd.read_csv(out / "results/smoke/scores/administration.csv").query("metric == 'stance_acc'").set_index("system")["value"]
    assert np.isfinite(administration).all() and administration["oracle_latent"] > administration["uniform"]


@pytest.mark.timeout(300)
def test_again_without_a_change_everything_is_skipped(out):
    began = time.monotonic()
    done = smoke(out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < allowed(60)
    assert "running" not in done.stdout
