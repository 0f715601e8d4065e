"""Interruption: a checkpoint is whole or it is not there, and only the same training goes on from it (`tests/faults` kills trainings)."""

from __future__ import annotations

import json

import pytest

from polypersona_lib import files, records
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


@pytest.fixture
def trained(tmp_path):
    """A finished training: its record, and the folder of its adapter."""
    files.write_atomically(tmp_path / "adapter" / "weights", "w")
    path = tmp_path / "runs" / "phi-2.json"
    records.write_run(
        path, {"model": "phi-2", "fingerprint": "mark", "untuned_val_loss": 4.25, "epochs": [{"epoch": 1, "val_loss": 0.1}]}, tmp_path / "adapter"
    )
    return path, {"adapter_hash": tmp_path / "adapter"}


def test_a_finished_training_is_kept_only_if_nothing_of_it_was_changed(trained):
    path, folders = trained
    whole = path.read_bytes()
    assert records.finished(path, "mark", folders)["untuned_val_loss"] == 4.25
    assert records.finished(path, "another", folders) is None
    assert records.finished(path.with_name("none.json"), "mark", folders) is None
    for before, after in ((b"4.25", b"5.25"), (b'"val_loss": 0.1', b'"val_loss": 0.3'), (b"{", b"z")):
        path.write_bytes(whole.replace(before, after, 1))
        assert records.finished(path, "mark", folders) is None, after
    path.write_bytes(whole)
    (folders["adapter_hash"] / "weights").write_text("v")
    assert records.finished(path, "mark", folders) is None


def test_a_record_of_an_earlier_version_names_no_hash_of_itself_and_counts(trained):
    path, folders = trained
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "record_hash"}))
    assert records.finished(path, "mark", folders)["model"] == "phi-2"


def test_a_training_that_goes_on_counts_the_time_of_earlier_starts(tmp_path):
    written = tmp_path / "writing"
    written.mkdir()
    checkpoints.keep_seconds(written, 1234.56)
    checkpoints.seal(written, tmp_path / "step-000010", {"a": 1})
    found, _ = checkpoints.newest(tmp_path, {"a": 1})
    assert checkpoints.seconds_before(found) == 1234.6 and checkpoints.seconds_before(None) == 0
    (found / checkpoints.SECONDS).unlink()
    assert checkpoints.seconds_before(found) == 0, "a checkpoint of an earlier version does not say"


@pytest.mark.parametrize(
    ("before", "after"), [('"files"', '"giles"'), ('"configuration"', '"bonfiguration"'), ("0.001", "0.003"), ('"seed": 42', '"seed": 43')]
)
def test_a_damaged_seal_is_no_seal_and_no_other_training(work, before, after):
    path = work / "step-000150" / checkpoints.SEAL
    path.write_text(path.read_text().replace(before, after))
    assert checkpoints.newest(work, CONFIGURATION) == (work / "step-000100", ["step-000150: no readable seal"])


def test_the_seal_of_an_earlier_version_has_no_hash_of_itself(work):
    path = work / "step-000150" / checkpoints.SEAL
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "hash"}))
    assert checkpoints.newest(work, CONFIGURATION) == (work / "step-000150", [])
