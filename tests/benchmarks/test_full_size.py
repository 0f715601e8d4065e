"""The full-size measurement in its CPU-sized variant: the same script with the shape of a twin, every method, and TRL's trainer beside ours."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from polypersona_lib import paths
from polypersona_lib.studies.ablations import findings

SCRIPT = paths.ROOT / "benchmarks" / "full_size.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{method: record} of three optimizer steps of TinyLlama's twin."""
    out = tmp_path_factory.mktemp("full_size")
    command = [sys.executable, str(SCRIPT), "--scale", "nano", "--models", "tinyllama-1.1b", "--steps", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem.split("--")[-1]: json.loads(path.read_text()) for path in out.glob("*.json")}


def test_every_method_leaves_a_record_that_names_its_device(found):
    assert found.keys() == {"qlora", "lora", "full", "trl"}
    for record in found.values():
        assert record["scale"] == "nano" and record["device"].startswith("CPU") and len(record["losses"]) == 3
        assert record["tokens_per_s"] > 0 and record["padded_tokens_per_s"] >= record["tokens_per_s"] and record["peak_memory_mb"] > 100
    assert found["full"]["trainable"] == found["full"]["parameters"] > 10 * found["qlora"]["trainable"] == 10 * found["lora"]["trainable"] > 0
    assert "trl" in found["trl"]["versions"]


def test_trl_trains_on_the_same_rows_with_the_same_labels(found):
    """The first loss is that of the same 16 rows, with the same labels, under the same weights: B is zero and the two trainers must agree."""
    assert found["trl"]["losses"][0] == pytest.approx(found["qlora"]["losses"][0], rel=1e-4)
    assert found["trl"]["losses"][1:] == pytest.approx(found["qlora"]["losses"][1:], rel=1e-2), "TRL holds adapters of 4-bit models in BF16"


def test_what_cannot_be_measured_is_said_in_one_line(tmp_path):
    def refused(*options):
        done = subprocess.run([sys.executable, str(SCRIPT), "--out", str(tmp_path), *options], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        return done.stderr.strip().splitlines()[-1]

    assert "unknown model 'x'" in refused("--models", "x")
    assert "unknown method magic" in refused("--methods", "magic", "--scale", "nano")
    assert "more than 2" in refused("--steps", "2", "--scale", "nano")


def test_savings_are_shares_of_the_same_models_full_fine_tuning():
    def record(key, method, peak):
        return {"model": key, "method": method, "peak_memory_mb": peak, "device": "a card"}

    measured = [record("phi-2", "full", 1000), record("phi-2", "qlora", 250), record("phi-2", "trl", 1), record("mistral-7b", "lora", 5)]
    assert findings.saved_at_full_size(measured) == [{"label": "Phi-2, qlora", "saved": 0.75, "device": "a card"}]
