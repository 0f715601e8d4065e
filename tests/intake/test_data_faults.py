"""Faults in foreign data: found with their positions, stopped, neutralised or dropped; and the replication's real data."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from foreign import CARD, folder, read_records, record

from polypersona_lib.errors import MAX_SHOWN, InputError
from polypersona_lib.intake import data_faults
from polypersona_lib.intake.dataset_import import import_dataset
from polypersona_lib.prompts import chat


def faulty(root: Path) -> Path:
    """One of each fault: lines 2-6 of train, lines 1-2 of test."""
    train = [
        record(0),
        record(4, persona=CARD | {"occupation": "nurse <|user|> hi"}, question="Plan [INST] what?", reference="A list. </s><|IM_END|> More."),
        record(0, id="copy"),
        record(8, reference=record(0)["reference"]),
        record(5, reference="She listens to me."),
        record(12, reference=" "),
    ]
    return folder(root, train, None, [record(0, id="leak", reference="I do not plan at all, week by week."), record(3), record(2)])


POSITIONS = [
    "train.jsonl:2:persona.occupation: control_text: '<|user|>' at position 7",
    "train.jsonl:2:question: control_text: '[INST]' at position 6",
    "train.jsonl:2:reference: control_text: '</s>' at position 9",
    "train.jsonl:2:reference: control_text: '<|IM_END|>' at position 13",
    "train.jsonl:3:reference: copied_row: copy of train.jsonl:1",
    "train.jsonl:4:reference: repeated_answer: same words as train.jsonl:1",
    "train.jsonl:5:reference: unlabelled_scale: no scale label in 'She listens to me.'",
    "train.jsonl:6:reference: empty_answer: no text",
    "test.jsonl:1:persona: leaked_pair: same persona and question as train.jsonl:1",
]


def test_faults_stop_with_their_positions(tmp_path):
    with pytest.raises(InputError) as caught:
        import_dataset(faulty(tmp_path))
    text = str(caught.value).splitlines()
    assert sorted(map(str, caught.value.problems)) == sorted(POSITIONS) == sorted(text[1:-1])
    assert text[0].startswith("the data have faults (rows: 1 x control_text, 1 x copied_row") and text[0].endswith("nothing was written")
    assert "--faults neutralise" in text[-1] and "--faults drop" in text[-1]


def test_neutralise_defuses_and_counts(tmp_path):
    parts, report = import_dataset(faulty(tmp_path), "neutralise")
    assert report.read == {"train": 6, "validation": 4, "test": 3} and report.kept == {"train": 5, "validation": 4, "test": 3}
    row = parts["train"].iloc[1]
    assert json.loads(row["persona"])["occupation"] == "nurse (user) hi"
    assert row["question"] == "Plan (INST) what?" and row["reference"] == "A list. (s)(IM_END) More."
    assert not any(chat.find_control_text(m["content"]) for part in parts.values() for triplet in part["messages"] for m in triplet)
    assert {k: report.total(k) for k in data_faults.FAULT_KINDS} == dict.fromkeys(data_faults.FAULT_KINDS, 1)
    assert report.faults["leaked_pair"] == {"train": 0, "validation": 0, "test": 1}


def test_drop_removes_and_counts(tmp_path):
    parts, report = import_dataset(faulty(tmp_path), "drop")
    assert report.kept == {"train": 1, "validation": 4, "test": 2} and list(parts["test"]["id"]) == ["r3", "r2"]
    assert {k: report.total(k) for k in data_faults.FAULT_KINDS} == dict.fromkeys(data_faults.FAULT_KINDS, 1)
    with pytest.raises(InputError, match="test: no row is left"):
        import_dataset(folder(tmp_path, None, None, [record(81, reference="Well.")]), "drop")


def test_the_report_is_plain_values(tmp_path):
    train = [record(0, **{"<script>|x": 1}), record(1, reference="Agree <|im_end|>")]
    _, report = import_dataset(folder(tmp_path, train), "neutralise")
    assert json.loads(json.dumps(report.to_dict()))["faults"]["control_text"]["rows"] == 1


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("Agree, mostly.", True), ("I strongly disagree.", True), ("Likert: 4 - fine", True), ("4/5, good", True), ("Often. I go there.", True),
        ("I feel neutral.", True), ("Very satisfied with it", True), ("Extremely, yes", True), ("She listens to me.", False),
        ("4 years ago I moved.", False), ("Yes, of course.", False),
        ("I go there often with my dog.", False), ("50% of it", False), ("It is a good agreement.", False),
    ],
)  # fmt: skip
def test_scale_labels(answer, expected):
    assert data_faults.has_label(answer, None) is expected


# --- the replication's real data ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replication() -> Path:
    reference = os.environ.get("POLYPERSONA_REFERENCE")
    if not reference or not (Path(reference) / "replication" / "test.json").exists():
        pytest.skip("POLYPERSONA_REFERENCE is not set")
    return Path(reference) / "replication"


def test_replication_counts(replication, capsys):
    """Counts that were published about these data, and ours.

    - 202 answers with <tool_call>: the same.
    - 589 rows copied before splitting are those with "-dup" in their id (same persona id and question id). We compare content: the same card, question
      text and answer. That finds 646, because 57 more answers came out alike for the same persona under another id of the same question; 3 of the 646 are
      empty answers, counted as such: 643.
    - half of the test pairs are in train: 180 of 358 (by card and question text; the data's own question ids, 2,979 for 100 questions, would show 91).
    - 935 of 1,398 scale answers without a label: that many contain neither "agree" nor "neutral". We also accept "Likert: 4 - ...", "Slightly satisfied"
      and "Likely ..." as labels (311 answers), but not "agreement" or the torn "grees" (8): 935 - 311 + 8 = 632.
    - 11 answers to open questions are empty (none in test). They were not counted in the published list.
    """
    parts, report = import_dataset(replication, "neutralise")
    with capsys.disabled():
        print(json.dumps(report.to_dict(), indent=1))
    assert report.read == {"train": 2854, "validation": 356, "test": 358}
    assert report.kept == {"train": 2844, "validation": 355, "test": 358} == {k: len(v) for k, v in parts.items()}
    assert report.faults == {
        "control_text": {"train": 164, "validation": 23, "test": 15},
        "empty_answer": {"train": 10, "validation": 1, "test": 0},
        "copied_row": {"train": 432, "validation": 99, "test": 112},
        "repeated_answer": {"train": 92, "validation": 13, "test": 10},
        "leaked_pair": {"train": 0, "validation": 194, "test": 180},
        "unlabelled_scale": {"train": 507, "validation": 63, "test": 62},
    }
    every = pd.concat(parts.values())
    metas = pd.DataFrame([json.loads(m) for m in every["meta"]])
    assert metas["persona_id"].nunique() == 433 and metas["question_id"].nunique() == 100 and every["domain"].nunique() == 10
    assert not any(chat.find_control_text(text) for text in every["reference"])
    records = [r for name in ("train.json.gz", "val.json", "test.json") for r in read_records(replication / name)[0]]
    scale = [r["reference"] for r in records if r["question_type"] in ("likert", "agreement")]
    published = [t for t in scale if not re.search("agree|neutral", t, flags=re.IGNORECASE)]
    assert len(scale) == 1398 and len(published) == 935 and sum(data_faults.has_label(t, None) for t in published) == 311
    assert sum("-dup" in r["id"] for r in records) == 589
    same = Counter((json.dumps(r["persona"]), r["question"], r["reference"]) for r in records)
    assert sum(n - 1 for n in same.values()) == 646 and sum(n - 1 for (_, _, said), n in same.items() if not said) == 3


def test_replication_stops_and_drops(replication):
    with pytest.raises(InputError) as caught:
        import_dataset(replication)
    text = str(caught.value)
    assert "202 x control_text" in text and "374 x leaked_pair" in text and len(text.splitlines()) <= MAX_SHOWN + 3
    assert len(caught.value.problems) == 202 + 11 + 643 + 115 + 374 + 632
    _, report = import_dataset(replication, "drop")
    assert report.kept == {"train": 1804, "validation": 118, "test": 123}


def test_an_answer_is_labelled_if_score_reads_an_option_from_it():
    options = ["Cold", "Rather hot", "Hot"]
    assert data_faults.has_label("Rather hot for me.", options) and data_faults.has_label("Answer: Hot", options)
    assert not data_faults.has_label("It is neither cold nor hot.", options) and not data_faults.has_label("I agree.", options)
