"""Interruption: a checkpoint is whole or it is not there, only the same training goes on from it, and a killed training ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from polypersona_lib import paths
from polypersona_lib.training import checkpoints

CONFIGURATION = {"model": "phi-2", "train_spec": {"learning_rate": 0.001, "seed": 42}}


@pytest.fixture
def work(tmp_path):
    """Three sealed checkpoints were written here; the oldest is gone."""
    for step in (50, 100, 150):
        written = tmp_path / "writing" / f"checkpoint-{step}"
        written.mkdir(parents=True)
        (written / "optimizer.pt").write_bytes(bytes([step]) * 10)
        (written / "adapter_model.safetensors").write_bytes(b"weights")
        checkpoints.seal(written, tmp_path / f"step-{step:06d}", CONFIGURATION)
    return tmp_path


def test_the_newest_whole_checkpoint_is_taken_and_the_others_are_named(work):
    assert sorted(p.name for p in work.glob("step-*")) == ["step-000100", "step-000150"]
    assert checkpoints.newest(work, CONFIGURATION) == (work / "step-000150", [])
    (work / "step-000150" / "optimizer.pt").unlink()
    assert checkpoints.newest(work, CONFIGURATION) == (work / "step-000100", ["step-000150: optimizer.pt is missing"])
    (work / "step-000100" / "optimizer.pt").write_bytes(b"other")
    found, skipped = checkpoints.newest(work, CONFIGURATION)
    assert found is None and skipped[1] == "step-000100: optimizer.pt was changed"
    (work / "step-000100" / checkpoints.SEAL).write_text("{")
    assert checkpoints.newest(work, CONFIGURATION)[1][1] == "step-000100: no readable seal"


def test_a_checkpoint_half_written_is_not_seen(work):
    (work / "writing" / "checkpoint-200").mkdir()
    assert checkpoints.newest(work, CONFIGURATION)[0].name == "step-000150"
    assert checkpoints.newest(work / "nothing here", CONFIGURATION) == (None, [])


def test_another_configuration_is_refused_field_by_field(work):
    other = {"model": "phi-2", "train_spec": {"learning_rate": 0.002, "seed": 42}, "new": 1}
    with pytest.raises(ValueError, match=r"another configuration \(new None -> 1; train_spec.learning_rate 0.001 -> 0.002\); go back to it, or delete"):
        checkpoints.newest(work, other)


TRAIN = """
import json, sys
import torch
torch.set_num_threads(1)
from polypersona_lib import paths, registry
from polypersona_lib.training import checkpoints, jobs, trainer
from polypersona_lib.world import dataset
from polypersona_lib.config import RunConfig
checkpoints.SAVE_EVERY = 2
trainer.epoch_scores = lambda *a, **k: {}
parts = {part: dataset.read_split(paths.DATASET / "paper", part).head(96 if part == "train" else 8) for part in dataset.SPLITS}
from dataclasses import replace
recipe = RunConfig.train_spec.fget
RunConfig.train_spec = property(lambda self: replace(recipe(self), epochs=2, micro_batch=12))
record = jobs.train(RunConfig(profile="smoke", out=sys.argv[1]), registry.get_spec(sys.argv[2]), parts)
print(json.dumps({k: record[k] for k in ("adapter_hash", "epochs", "best_epoch", "resumed_from", "loss_curve")}))
"""


def _start(out, key: str) -> subprocess.Popen:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(paths.ROOT)}
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(out), key], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen) -> dict:
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-2000:]
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("key", ["phi-2", "qwen1.5-moe"])
def test_killed_at_a_random_step_and_resumed_gives_the_same_adapter(key, tmp_path):
    beside, wanted = _start(tmp_path / "whole", key), random.Random().choice([2, 4, 6])
    try:
        process, deadline = _start(tmp_path / "killed", key), time.monotonic() + 240
        while not list((tmp_path / "killed").rglob(f"step-{wanted:06d}")):
            assert process.poll() is None and time.monotonic() < deadline, f"no checkpoint of step {wanted}"
            time.sleep(0.01)
        time.sleep(random.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not list((tmp_path / "killed").rglob("smoke/runs/*.json")), "finished before it was killed"
        resumed, whole = _end(_start(tmp_path / "killed", key)), _end(beside)
    finally:
        beside.kill()
    assert resumed.pop("resumed_from") >= f"step-{wanted:06d}" and whole.pop("resumed_from") == ""
    assert resumed == whole, f"killed after step {wanted}"
