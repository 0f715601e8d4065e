"""The stance reader: the label rule on our own and on foreign wording, the fitted reader on sentences it has not seen."""

import json
from pathlib import Path

import pytest

from polypersona_lib.scoring import stance
from polypersona_lib.scoring.option_labels import read_option
from polypersona_lib.scoring.stance import StanceReader
from polypersona_lib.world.questions import SCALES

FOREIGN = [json.loads(line) for line in (Path(__file__).parent / "data" / "foreign_stances.jsonl").read_text(encoding="utf-8").splitlines()]
AGREE, YESNO = SCALES["agreement"], SCALES["yesno"]


@pytest.mark.parametrize("scale", SCALES)
def test_every_label_is_read_in_every_dress(scale):
    for i, label in enumerate(SCALES[scale]):
        for dress in (
            "{}",
            "{}.",
            "{}, I'd say.",
            "{}! Because.",
            "**{}** - because it is so.",
            '"{}"',
            "{} — it is so.",
            "My answer is {}.",
            "I would say {}, really.",
        ):
            assert read_option(dress.format(label), SCALES[scale]) == i, dress.format(label)
            assert read_option(dress.format(label.lower()), SCALES[scale]) == i
            assert read_option(dress.format(label.upper()), SCALES[scale]) == i


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("I strongly disagree with that.", 0), ("I don't agree with that.", 1), ("I do not think I agree.", 1), ("Neither agree nor disagree.", 2),
        ("I completely agree.", 4), ("4", 3), ("4.", 3), ("4/5, it helps.", 3), ("Likert: 2 - not for me.", 1), ("8 out of 10", None),
        ("Agree, although a part of me disagrees.", 3), ("I agree and disagree.", None), ("", None), ("   ", None), ("5 years ago I moved.", None),
        ("People agree on that.", None), ("I couldn't disagree more.", 0), ("'t agree; kids need basics first.", None), ("It is complicated.", None),
    ],
)  # fmt: skip
def test_agreement_wording(answer, option):
    assert read_option(answer, AGREE) == option


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("Yes, I do.", 1),
        ("no", 0),
        ("Yes and no.", None),
        ("Not really.", 0),
        ("Nobody knows.", None),
        ("No one told me.", None),
        ("Of course not!", 0),
        ("Of course.", 1),
        ("I have.", 1),
        ("4", None),
    ],
)
def test_yes_no_wording(answer, option):
    assert read_option(answer, YESNO) == option


def test_foreign_answers_are_read_as_by_hand():
    read = [(row["label"], read_option(row["answer"], row["options"]), row["answer"]) for row in FOREIGN]
    assert len(FOREIGN) >= 90 and sum(label is None for label, _, _ in read) >= 15
    assert not [line for line in read if line[1] is not None and line[0] != line[1]]  # a miss is allowed, a wrong option is not
    assert sum(label == got for label, got, _ in read) / len(read) > 0.95


def test_label_rule_never_contradicts_the_authored_sentences():
    from polypersona_lib.world.questions import load_questions

    questions = load_questions()
    texts, options, question_ids, _ = stance.stance_sentences()
    wrong = [(t, o) for t, o, q in zip(texts, options, question_ids, strict=True) if o >= 0 and read_option(t, questions[q].options) not in (None, o)]
    assert not wrong


def test_fold_is_stable():
    assert [stance.fold(t) for t in ("Agree.", "Not once.", "Half of me.")] == [stance.fold(t) for t in ("Agree.", "Not once.", "Half of me.")]
    assert stance.fold("Agree.") == int(__import__("hashlib").sha256(b"Agree.").hexdigest()[:8], 16) % 5


@pytest.fixture(scope="module")
def reader():
    texts = ["A total let-down.", "It was all right, nothing more.", "Delighted is the word.", "We had soup on Tuesday.", "The bus was blue."]
    return StanceReader().fit(texts, [0, 2, 4, -1, -1], ["q1"] * 5, [5] * 5)


def test_reader_label_first_then_nearest_sentence(reader):
    answers = ["Very satisfied. A total let-down.", "A total let-down, that. More follows here.", "Delighted is the word, truly.", "", "Yes and no."]
    assert reader.read(answers, [SCALES["satisfaction"]] * 5, ["q1"] * 5) == [4, 0, 4, None, None]
    assert reader.read(["Very dissatisfied, dissatisfied, satisfied, very satisfied"], [SCALES["satisfaction"]], ["q1"]) == [None]
    assert reader.read([], [], []) == []


def test_reader_guesses_nothing_where_there_is_no_opinion_or_no_known_word(reader):
    answers = ["I don't know.", "No opinion.", "It depends.", "7", "asdf qwer zxcv", "I prefer not to say."]
    assert reader.read(answers, [SCALES["satisfaction"]] * 6, ["other"] * 6) == [None] * 6


def test_reader_with_high_thresholds_says_none(reader):
    strict = StanceReader(encoder=reader.encoder, near=1.1, sure=1.1)
    strict._known, strict._models = reader._known, reader._models
    assert strict.read(["A total let-down."], [SCALES["satisfaction"]], ["q1"]) == [None]


def test_reader_on_unseen_authored_sentences():
    scores = {(s["set"], s["options"]): s for s in stance.evaluate_reader(folds=1)}
    for size in (2, 5):
        assert scores["known, blurred", size]["accuracy"] > 0.97 and scores["known, blurred", size]["coverage"] > 0.95
        assert scores["no stance", size]["coverage"] < 0.15
    assert scores["unseen sentences", 5]["accuracy"] > 0.65 and scores["unseen sentences", 5]["coverage"] > 0.6
    assert scores["unseen sentences", 2]["accuracy"] > 0.6
