"""Answers are kept from an earlier run only if their files are what was written."""

from __future__ import annotations

import json

import pytest

from polypersona_lib import files, paths
from polypersona_lib.config import RunConfig
from polypersona_lib.scoring import answering
from polypersona_lib.world import dataset

JOB, CONTROLS = answering._Job("phi-2", "mark"), answering._Job("controls", "own")


@pytest.fixture
def run(tmp_path) -> RunConfig:
    """A run in which a model and two baselines have answered."""
    run = RunConfig(profile="smoke", out=str(tmp_path))
    for system in ("phi-2", "uniform", "shuffled"):
        files.write_atomically(run.paths.folder("preds") / f"{system}.jsonl", f"answers of {system}")
        files.write_atomically(run.paths.folder("administration") / f"{system}.parquet", f"sheet of {system}")
    notes = answering._Notes(run)
    notes.keep(JOB, 0)
    notes.keep(CONTROLS, systems={"uniform", "shuffled"})
    return run


def test_whole_answers_of_the_same_job_are_kept(run):
    assert answering._Notes(run).holds(JOB) and answering._Notes(run).holds(CONTROLS)
    assert not answering._Notes(run).holds(answering._Job("phi-2", "another mark"))


@pytest.mark.parametrize("name", ["preds/{}.jsonl", "administration/{}.parquet"])
@pytest.mark.parametrize(("job", "system", "other"), [(JOB, "phi-2", CONTROLS), (CONTROLS, "shuffled", JOB)])
def test_a_changed_or_missing_file_is_answered_again_and_no_other(run, name, job, system, other):
    path = run.paths.results / name.format(system)
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    assert not answering._Notes(run).holds(job) and answering._Notes(run).holds(other)
    path.unlink()
    assert not answering._Notes(run).holds(job) and answering._Notes(run).holds(other)


def test_notes_of_an_earlier_version_have_no_hashes(run):
    path = run.paths.results / "preds" / "answered.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name not in ("files", "hash")}))
    assert answering._Notes(run).holds(JOB)
    (run.paths.results / "administration" / "phi-2.parquet").unlink()
    assert not answering._Notes(run).holds(JOB)


@pytest.mark.parametrize("column", ["persona_id", "question_id", "question_type"])
def test_rows_of_another_person_or_type_are_answered_again(tmp_path, column):
    """Their files hold these columns, and scores are read from there."""
    run = RunConfig(profile="smoke", out=str(tmp_path))
    parts = {part: dataset.read_split(paths.DATASET / "paper", part).head(4) for part in dataset.SPLITS}
    before = answering._rows_mark(run, parts)
    assert before == answering._rows_mark(run, parts)
    changed = parts | {"test": parts["test"].assign(**{column: "another"})}
    assert dataset.data_hash(changed) == dataset.data_hash(parts) and answering._rows_mark(run, changed) != before


def test_damaged_notes_note_nothing(run):
    """Else the notebook would stop at them for ever, or the number of reasoning blocks would be believed."""
    path = run.paths.results / "preds" / "answered.json"
    whole = path.read_text()
    for before, after in (("{", "z"), ('"phi-2": 0', '"phi-2": 1'), ('"files"', '"giles"'), ("mark", "\xe1")):
        path.write_bytes(whole.replace(before, after, 1).encode("latin-1"))
        notes = answering._Notes(run)
        assert not notes.holds(JOB) and notes.reasoned == {}, before
    notes.keep(JOB, 0)
    notes.keep(CONTROLS, systems={"uniform", "shuffled"})
    assert path.read_text() == whole
