"""The nano twins: what their bases may read, where the loss is, and that building one twice gives the same bytes."""

import json
import random
import re
from itertools import islice

import pytest

from polypersona_lib import paths
from polypersona_lib.models.loading import load_tokenizer
from polypersona_lib.models.weights import source, verify
from polypersona_lib.prompts import chat
from polypersona_lib.registry import MODELS, get_spec
from polypersona_lib.training import twin_texts, twins
from polypersona_lib.world import simulation
from polypersona_lib.world.questions import load_questions
from polypersona_lib.world.respondents import Answer, find_pattern, held_out_patterns


@pytest.fixture(scope="module")
def taken():
    return set(simulation.simulate_records(42)["reference"])


@pytest.fixture(scope="module")
def talks(taken):
    return twin_texts.interviews(taken, described=True, count=60)


@pytest.fixture(scope="module")
def chats(taken):
    return twin_texts.interviews(taken, described=False, count=60)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(get_spec("tinyllama-1.1b"), "nano")


def test_pretraining_text_has_no_held_out_pattern_and_no_answer_of_the_data(talks, chats, taken):
    held = held_out_patterns()
    answers = [a for _, talk in talks + chats for _, a in talk]
    assert not {a.text for a in answers} & taken
    assert not {p for a in answers for p in a.path} & held
    assert len(held) > 800 and find_pattern(min(held)).text


def test_no_text_shows_a_card_and_no_chat_describes_anybody(talks, chats, tokenizer):
    writer = twin_texts.Writer(tokenizer)
    texts = [tokenizer.decode(ids) for ids, _ in islice(writer.sequences(talks, chats, random.Random(1)), 40)]
    texts += [tokenizer.decode(ids) for ids, _ in islice(writer.notes(talks, random.Random(2)), 200)]
    assert not any("Persona:" in t for t in texts)
    assert not any(chat.render_card(card)[:60] in t for t in texts for card, _ in talks)
    card, talk = talks[0]
    question, answer = talk[0]
    ids, _ = writer.chat(question, answer)
    expected = f"{chat.SYSTEM}</s>\n<|user|>\nDomain:"
    assert expected in tokenizer.decode(ids)


def test_only_answers_carry_labels(talks, tokenizer):
    writer = twin_texts.Writer(tokenizer)
    card, talk = next((c, t) for c, t in talks if t[0][0].options)
    question, answer = talk[0]
    ids, labels = writer.note(card, question, answer, random.Random(3))
    first = tokenizer.decode([t for t in labels if t != twin_texts.IGNORED])
    assert first.startswith(question.options[answer.option]) and (answer.text.startswith(first) or not answer.label_led)
    ids, labels = writer.talk(card, talk, random.Random(3))
    said = tokenizer.decode([t for t in labels if t != twin_texts.IGNORED])
    assert question.text not in said and card["occupation"] + " in" not in said
    assert all(label in (twin_texts.IGNORED, token) for token, label in zip(ids, labels, strict=True))
    ids, labels = writer.chat(question, answer)
    assert [t for t in labels if t != twin_texts.IGNORED] == labels[-sum(t != twin_texts.IGNORED for t in labels) :]


def test_packed_sequences_are_full(talks, chats, tokenizer):
    for ids, labels in islice(twin_texts.Writer(tokenizer).sequences(talks, chats, random.Random(1)), 20):
        assert len(ids) == len(labels) == twin_texts.SEQUENCE


def test_longest_overlap_is_found():
    question = next(iter(load_questions().values()))
    said = [({}, [(question, Answer("I never walk to the old mill alone.", -1, 0.0, (), False))])]
    assert twin_texts.longest_overlap(said, ["They walk to the old barn.", "I fly."]) == (4, "walk to the old", 0.0)
    assert twin_texts.longest_overlap(said, ["i never walk to the old mill alone."])[2] == 1.0


@pytest.mark.parametrize("key", ["phi-2", pytest.param("mistral-7b", marks=pytest.mark.full), "qwen1.5-moe"])
def test_a_twin_built_twice_has_the_same_bytes(key, talks, chats, tmp_path):
    core = twins.train_tokenizer(talks, twins.NANO_VOCAB).to_str()
    for name in ("a", "b"):
        twins.build_one(key, core, talks, chats, 3, tmp_path / name, (0, "", 0.0))
    assert json.loads((tmp_path / "a" / key / "hashes.json").read_text()) == json.loads((tmp_path / "b" / key / "hashes.json").read_text())


@pytest.mark.parametrize("key", MODELS)
def test_shipped_twins_are_small_whole_and_carded(key):
    folder = source(get_spec(key), "nano")
    verify(folder, "")
    assert folder.parent == paths.NANO_MODELS
    assert (folder / "model.safetensors").stat().st_size <= 3.6e6
    assert "Pre-trained on" in (folder / "README.md").read_text()


def test_all_twins_together_are_small_and_read_as_much():
    assert sum(p.stat().st_size for p in paths.NANO_MODELS.rglob("*") if p.is_file()) <= 25e6
    read = [int(re.search(r"Pre-trained on ([\d,]+) tokens", (paths.NANO_MODELS / key / "README.md").read_text())[1].replace(",", "")) for key in MODELS]
    assert max(read) <= 1.05 * min(read), "the families are compared at equal reading"


def test_an_unknown_family_is_named_before_anything_is_built(capsys):
    with pytest.raises(SystemExit) as stopped:
        twins.main(["--models", "phi-2,nonsense"])
    assert stopped.value.code == 2 and "unknown nonsense; choose from phi-2," in capsys.readouterr().err
