"""Filtering: the first answer that passes, what it cost, and the null: without a check, or with one draw, nothing changes."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.config import RunConfig
from polypersona_lib.scoring import answering, filtering
from polypersona_lib.scoring.filtering import REFUSALS, against_card, filter_facts, filter_line, keep_first, refusals
from polypersona_lib.scoring.option_labels import with_targets
from polypersona_lib.world import dataset

CARD = {"age": 62, "gender": "man", "occupation": "music teacher", "country": "USA"}


@pytest.fixture(scope="module")
def parts() -> dict[str, pd.DataFrame]:
    return {part: with_targets(dataset.read_split(paths.DATASET / "paper", part)) for part in ("train", "test")}


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"r{i}" for i in range(count)]})


# --- the card ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "against"),
    [
        ("Agree. I'm 34, and I like it.", ["age"]),
        ("I am 62 years old and it shows.", []),
        ("I'm 61, nearly there.", []),
        ("I'm 95 % sure of it.", []),
        ("I walk at 30 minutes a day.", []),
        ("As a mother of three I worry.", ["gender"]),
        ("My mother worries; as a father I do too.", []),
        ("I'm a man of few words, and my wife agrees.", []),
        ("As a nurse I see it every day.", ["work"]),
        ("As a teacher I see it every day.", []),
        ("As a music teacher I see it every day.", []),
        ("As a rule I do not.", []),
        ("I'm 34 and I work as a lawyer.", ["age", "work"]),
    ],
)
def test_plain_statements_in_the_first_person_are_held_against_the_card(text, against):
    assert against_card(text, CARD) == against
    assert against_card(text, "A card in words.") == []


def test_the_young_are_not_retired():
    assert against_card("Now that I'm retired I have time.", CARD | {"age": 30}) == ["work"]
    assert against_card("Now that I'm retired I have time.", CARD | {"age": 30, "occupation": "retired miner"}) == []


# --- the checks --------------------------------------------------------------------------------------------------------------------


def test_references_pass_and_each_fault_is_refused_for_its_own_reason(parts):
    test = parts["test"].groupby("question_type").head(8).reset_index(drop=True)
    own = refusals(test.assign(prediction=test["reference"]), parts["train"])
    assert list(own) == list(REFUSALS) and own[["words", "topic", "itself", "card"]].to_numpy().mean() < 0.03
    closed = test[test["question_type"] == "likert"].reset_index(drop=True)
    nonsense = refusals(closed.assign(prediction=[f"{o[0]}. Every morpling I flurb the quonset of it." for o in closed["options"]]), parts["train"])
    assert nonsense["words"].all() and not nonsense["option"].any()
    silent = refusals(closed.assign(prediction="It depends on a great many things that I would rather not go into."), parts["train"])
    assert silent["option"].all()
    assert refusals(closed.assign(prediction=" "), parts["train"])["words"].all()
    older = closed.assign(prediction=[f"{o[0]}. I'm 19 and that is how it is." for o in closed["options"]], persona=[CARD] * len(closed))
    assert refusals(older, parts["train"])["card"].all()


# --- what is kept --------------------------------------------------------------------------------------------------------------------


def _check(frame: pd.DataFrame) -> pd.DataFrame:
    """Answers that hold "bad" fail "words"."""
    return pd.DataFrame({name: [name == "words" and "bad" in text for text in frame["prediction"]] for name in REFUSALS}, index=frame.index)


def test_the_first_answer_that_passes_is_kept_and_only_open_rows_are_asked_again():
    said = {"r0": ["fine 0"], "r1": ["bad 1", "fine 1"], "r2": ["bad 2", "bad 22", "bad 222"]}
    asked = []

    def draw(number: int, frame: pd.DataFrame) -> list[str]:
        asked.append(list(frame["id"]))
        return [said[i][number] for i in frame["id"]]

    kept, happened = keep_first(rows(3), draw, _check, most=3)
    assert kept == ["fine 0", "fine 1", "bad 2"], "a row without an answer that passes keeps its first"
    assert asked == [["r0", "r1", "r2"], ["r1", "r2"], ["r2"]] and happened["accepted"].tolist() == [1, 2, 0]
    facts = filter_facts(happened, lambda text: len(text.split()), most=3)
    assert facts == {"draws": 3, "rows": 3, "accepted": [0.3333, 0.6667, 0.6667], "none": 1,
                     "refused": {"words": 0.6667, "option": 0.0, "topic": 0.0, "itself": 0.0, "card": 0.0},
                     "answers_drawn": 6, "tokens_drawn": 12, "tokens_first": 6}  # fmt: skip
    assert "33% of the first answers pass, 67% of the rows within 3 draws (1 rows keep" in filter_line(facts) and "2.00 times the tokens" in filter_line(facts)


def test_one_draw_or_no_check_changes_nothing():
    first = ["bad a", "fine b", "bad c"]
    for check, most in ((_check, 1), (None, 1), (None, 4)):
        kept, happened = keep_first(rows(3), lambda number, frame: first if number == 0 else pytest.fail("asked again"), check, most=most)
        assert kept == first and happened["texts"].map(len).tolist() == [1, 1, 1]
    assert keep_first(rows(0), lambda number, frame: [], _check, most=2)[0] == []


def test_the_filtered_system_of_a_run_draws_its_first_answers_as_the_plain_one_does(tmp_path, monkeypatch, parts):
    """Through `predict_model`, with a stub in the place of the model: the same seed and ids at first, ids of their own later, and the facts on disk."""
    test, seen = parts["test"].head(4).reset_index(drop=True), []

    def generate(model, tokenizer, frame, *, seed, label):
        seen.append((seed, list(frame["id"])))
        return pd.DataFrame({"text": [f"{'bad' if 'draw' not in i else 'fine'} {i}" for i in frame["id"]], "reasoned": False})

    monkeypatch.setattr(answering, "generate", generate)
    monkeypatch.setattr(answering, "refusals", lambda frame, train: _check(frame))
    monkeypatch.setattr(answering, "load_tuned", lambda *args, **options: None)
    run = RunConfig(profile="smoke", models="phi-2,filter:2", out=str(tmp_path))
    plain, sieved = answering._Job("phi-2", "a"), answering._Job("phi-2--filtered", "b")
    answering.predict_model(run, plain, test, None)
    assert answering.predict_model(run, sieved, test, test, parts["train"].head(5)) == (None, 0), "a filter is not administered"
    ids = list(test["id"])
    assert seen == [(42, ids), (42, ids), (42, [f"{i}|draw 1" for i in ids])]
    facts = json.loads((run.paths.results / "preds" / "phi-2--filtered.json").read_text())
    assert facts["accepted"] == [0.0, 1.0] and facts["answers_drawn"] == 8 and facts["tokens_drawn"] > facts["tokens_first"] > 0
    monkeypatch.setattr(answering, "refusals", lambda frame, train: _check(frame.assign(prediction="fine")))
    once = RunConfig(profile="smoke", models="phi-2,filter:1", out=str(tmp_path))
    answering.predict_model(once, sieved, test, None, parts["train"].head(5))
    answers = {name: (run.paths.results / "preds" / f"{name}.jsonl").read_bytes() for name in ("phi-2", "phi-2--filtered")}
    assert answers["phi-2"] == answers["phi-2--filtered"], "one draw: the same bytes"
    assert filtering.keep_first is keep_first
