"""Asking on a world of known probabilities: what is asked when, what is drawn, what a conversation holds, and that order and sharding change nothing."""

import json

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.ask import asking, shards
from polypersona_lib.ask.answer_readings import named_options, number_said, read_reply
from polypersona_lib.ask.asking import AskPlan, Room, ask_people, drawn, row_id
from polypersona_lib.intake.people_file import people_frame
from polypersona_lib.intake.survey_format import ANSWER_COLUMNS, Item, Questionnaire
from polypersona_lib.models.answer_budget import NOT_ASKED
from polypersona_lib.models.answerers import OptionShares, TableAnswerer, Written

WORK = Item(id="work", text="Do you work?", kind="yes_no", labels=("No", "Yes"), codes=("n", "y"), order=0)
HOURS = Item(id="hours", text="How many hours?", kind="number", order=1, asked_if="${work} = 'y'", least=0, most=8760)
MOOD = Item(id="mood", text="How are you?", kind="likert", labels=("Bad", "Fair", "Good"), order=2)
NEWS = Item(id="news", text="Which news?", kind="multiple", labels=("Paper", "Radio", "Internet"), codes=("p", "r", "i"), order=3)
WHY = Item(id="why", text="Why?", order=4, asked_if="selected(${news}, 'r')")
SURVEY = Questionnaire(title="t", items=(WORK, HOURS, MOOD, NEWS, WHY))
CARDS = [(f"p{i}", {"age": 30 + i, "gender": "woman" if i % 2 else "man", "country": "USA"}) for i in range(6)]
PEOPLE = people_frame(CARDS, own_answers=[json.dumps({"mood": "Good"}), *[None] * 5])
TABLE = {"work": [0.0, 1.0], "mood": [0.1, 0.2, 0.7]}


class Stub:
    """Answers by item and remembers every prompt."""

    name = "stub"
    says = {"How many": "About 1,200.5, I guess", "Which news": "Radio, then paper.", "Why?": "Because I like it."}

    def __init__(self, order_bias=0.0, lacks=()):
        self.prompts, self.asked, self.lacks = [], [], lacks
        self.table = TableAnswerer(self._truth, order_bias=order_bias)

    def _truth(self, messages, options):
        item = WORK if len(options) == 2 else MOOD
        return [TABLE[item.id][item.labels.index(o)] for o in options]

    def write(self, prompts, sampling):
        self.prompts += prompts
        return [Written(next((s for k, s in self.says.items() if k in p.messages[-1]["content"]), "Good")) for p in prompts]

    def option_probabilities(self, prompts, options):
        self.asked += prompts
        replies = self.table.option_probabilities(prompts, options)
        return [
            OptionShares(None, reason="no logprobs") if any(w in p.messages[-1]["content"] for w in self.lacks) else r
            for p, r in zip(prompts, replies, strict=True)
        ]


def ask(stub=None, people=PEOPLE, survey=SURVEY, room=None, **plan):
    stub = stub or Stub()
    return ask_people(stub, survey, people, AskPlan(**plan), system="stub", room=room), stub


def test_every_person_has_a_row_for_every_item_in_order_with_the_stated_columns():
    answers, _ = ask(repeats=2)
    assert [*answers] == [c.name for c in ANSWER_COLUMNS] and len(answers) == 6 * 2 * 5 and answers["id"].is_unique
    assert answers["persona_id"].tolist() == [p for p, _ in CARDS for _ in range(10)] and answers["question_id"].tolist()[:5] == [i.id for i in SURVEY.items]
    assert answers[answers["question_id"] == "mood"]["reference"].tolist()[:2] == ["Good", "Good"]


def test_own_answers_never_enter_a_prompt():
    _, stub = ask(people=PEOPLE.assign(own_answers=json.dumps({"mood": "SECRET"})), mode="sequence", wanted="both")
    assert not any("SECRET" in m["content"] for p in (*stub.prompts, *stub.asked) for m in p.messages)


def test_both_orders_are_asked_averaged_and_turned_back():
    answers, stub = ask(Stub(order_bias=0.5))
    row = answers[answers["question_id"] == "mood"].iloc[0]
    assert np.allclose(row["probs_listed"], [0.55, 0.1, 0.35]) and np.allclose(row["probs_reversed"], [0.05, 0.1, 0.85])
    assert np.allclose(row["option_probs"], [0.3, 0.1, 0.6]) and row["probs_how"] == "exact"
    one, _ = ask(Stub(order_bias=0.5), both_orders=False)
    row = one[one["question_id"] == "mood"].iloc[0]
    assert np.allclose(row["option_probs"], [0.55, 0.1, 0.35]) and row["probs_reversed"] is None


def test_numbers_choices_and_words_are_read():
    answers, _ = ask()
    by_item = answers.set_index("question_id")
    assert (by_item.loc["hours", "value"] == 1200.5).all() and by_item.loc["news", "chosen"].iloc[0] in ([0, 1], [1, 0])
    assert (by_item.loc["why", "answer"] == "Because I like it.").all() and answers["status"].eq("ok").all()


def test_items_are_skipped_unless_their_condition_holds(monkeypatch):
    monkeypatch.setitem(TABLE, "work", [1.0, 0.0])
    monkeypatch.setitem(Stub.says, "Which news", "Paper")
    for mode in asking.ASK_MODES:
        answers, stub = ask(mode=mode)
        skipped = answers[answers["status"] == "skipped"]
        assert set(skipped["question_id"]) == {"hours", "why"} and skipped["reason"].iloc[0] == "asked only if ${work} = 'y'"
        assert not any("How many" in p.messages[-1]["content"] for p in stub.prompts)


def test_a_conversation_holds_the_earlier_answers_and_the_persona_once():
    answers, stub = ask(mode="sequence", people=PEOPLE.iloc[:1])
    talk = next(p for p in stub.prompts if "Why?" in p.messages[-1]["content"]).messages
    assert [m["role"] for m in talk] == ["system", *["user", "assistant"] * 4, "user"]
    assert talk[1]["content"].startswith("Persona: man, 30, USA.\nDomain: General\nQuestion: Do you work?\nOptions: No / Yes") and talk[2]["content"] == "Yes."
    assert sum("Persona:" in m["content"] for m in talk) == 1 and talk[4]["content"] == "About 1,200.5, I guess"
    mood = answers.set_index("question_id").loc["mood"]
    assert talk[6]["content"] == f"{MOOD.labels[mood['option']]}." and mood["answer"] == MOOD.labels[mood["option"]]


def test_a_conversation_that_is_too_long_loses_its_earliest_questions_and_counts_them():
    room = Room(limit=asking.ANSWER_ROOM + 90, count=lambda messages: sum(len(m["content"].split()) for m in messages) * 3)
    answers, stub = ask(mode="sequence", room=room)
    assert answers["status"].eq("ok").all() and answers["turns_dropped"].max() >= 1
    last = next(p for p in stub.prompts if "Why?" in p.messages[-1]["content"]).messages
    assert last[1]["content"].startswith("Persona: ") and room.count(last) + asking.ANSWER_ROOM <= room.limit
    answers, _ = ask(room=Room(limit=20))
    assert answers["status"].isin(["failed", "skipped"]).all() and "and the model takes 20" in answers["reason"].iloc[0]


def test_order_and_blocks_of_people_change_no_answer():
    whole, _ = ask(repeats=2, wanted="both")
    parts = pd.concat([ask(people=PEOPLE.iloc[[i]], repeats=2, wanted="both")[0] for i in (5, 3, 1, 0, 2, 4)])
    again = parts.set_index("id").loc[whole["id"]].reset_index()
    pd.testing.assert_frame_equal(whole[["id", "option", "answer", "status"]], again[["id", "option", "answer", "status"]])
    turned, _ = ask(survey=Questionnaire(title="t", items=(MOOD, WORK, HOURS, NEWS, WHY)), repeats=2, wanted="both")
    assert turned.set_index("id")["option"].loc[whole["id"]].equals(whole.set_index("id")["option"])


def test_draws_follow_the_probabilities_and_the_seed():
    people = people_frame([(f"p{i}", "x") for i in range(400)])
    shares = [ask(people=people, survey=Questionnaire(title="t", items=(MOOD,)), seed=seed)[0]["option"] for seed in (1, 2)]
    assert not shares[0].equals(shares[1])
    for options in shares:
        assert np.allclose(np.bincount(options.astype(int), minlength=3) / 400, TABLE["mood"], atol=0.08)  # 3.3 standard errors of a share of .7
    assert drawn(np.array([0.0, 1.0, 0.0]), 1, "a") == 1


def test_probabilities_are_asked_once_for_all_repetitions_of_a_single_item_but_drawn_anew():
    _, once = ask(repeats=1)
    answers, often = ask(repeats=5)
    assert len(once.asked) == len(often.asked)
    mood = answers[answers["question_id"] == "mood"]
    assert mood.groupby("persona_id")["option"].nunique().max() > 1


def test_an_item_without_probabilities_says_why_and_takes_its_words():
    answers, _ = ask(Stub(lacks=("How are you",)), wanted="both")
    mood = answers[answers["question_id"] == "mood"].iloc[0]
    assert mood["status"] == "ok" and mood["option"] == 2 and mood["option_probs"] is None and mood["reason"] == "no probabilities: no logprobs"
    answers, _ = ask(Stub(lacks=("How are you",)))
    assert answers[answers["question_id"] == "mood"]["status"].eq("failed").all()


def test_row_ids_never_collide():
    assert row_id("a|b", "c", 0) != row_id("a", "b|c", 0) and row_id("a\\", "|b", 0) != row_id("a", "\\|b", 0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("I read 3 papers.", 3),
        ("2.5 hours", 2.5),
        ("None, zero.", 0),
        ("1,200 dollars", 1200),
        ("-4", -4),
        ("about ten", 10),
        ("no idea", None),
        ("50% of it", None),
        ("On a scale from 0 to 10, I'd say 7", 7),
        ("Since 2010, so 14 years", 14),
        ("COVID-19 cost me 3 jobs", 3),
        ("about 80 percent", 80),
        ("40 000", 40_000),
        ("€1.500", 1500),
        ("1.2 million", 1_200_000),
        ("twenty-five", 25),
        ("six hundred", 600),
        ("none", 0),
        ("Just one.", 1),
        ("I would one day like 3", 3),
        ("I am not 30, I am 40", 40),
        ("As a 45-year-old, 7", 7),
        ("I have 2 kids, so I'd say 7", 7),
        ("two or three", None),
        ("3-4", None),
        ("12:30", None),
        ("1st", None),
        ('{"answer": 5}', 5),
    ],
)
def test_the_number_that_is_said(text, number):
    assert number_said(text) == number


NAMED = {
    "TV but never the radio": (0,), "Not TV, only podcasts": (4,), "I don't use social media. Newspapers.": (2,), "neither TV nor radio": (), "No TV": (),
    "Radio, not TV": (1,), "Everything except TV": (), "1, 3": (0, 2), "A and C": (0, 2), "B > A > C": (1, 0, 2),
    "2,1,3": (1, 0, 2), "7": (), "social-media": (3,),
    "I don't use TV, radio or podcasts": (), "First radio, then TV, last podcasts": (1, 0, 4), '["TV", "Radio"]': (0, 1), "1. Podcasts 2. TV": (4, 0),
}  # fmt: skip


def test_a_number_that_is_not_one_or_lies_outside_is_a_reason():
    reasons = {text: read_reply(Item(id="n", text="?", kind="number", least=0, most=10), text) for text in ("3 or 4", "11", "no idea", "7")}
    assert [r.reason for r in reasons.values()] == ["different numbers", "a number out of range", "no number in it", ""]
    assert [r.value for r in reasons.values()] == [None, None, None, 7]


def test_options_are_named_in_the_order_of_their_mention():
    labels = ("TV", "Radio", "Internet radio")
    assert named_options("Internet radio first, then tv, then radio.", labels) == (2, 0, 1)
    media = ("TV", "Radio", "Newspapers", "Social media", "Podcasts")
    for text, named in NAMED.items():
        assert named_options(text, media) == named, text
    assert named_options("看电视和广播", ("电视", "广播", "报纸")) == (0, 1) and named_options("10, 2", ("1", "2", "3", "10")) == (3, 1)
    assert named_options("Don’t know", ("Don't know", "Café")) == (0,) and named_options("cafe", ("Don't know", "Café")) == (1,)
    assert named_options("C#, C", ("C", "C++", "C#")) == (2, 0)
    ranking = Item(id="r", text="Rank", kind="ranking", labels=labels)
    assert read_reply(ranking, "Radio > TV").chosen == (1, 0) and read_reply(ranking, "Nothing").reason
    assert read_reply(NEWS, "The paper and the radio.").chosen == (0, 1) and read_reply(NEWS, "I refuse.").reason


@pytest.mark.parametrize("fields", [{"mode": "both"}, {"wanted": "all"}, {"repeats": 0}, {"repeats": 1001}])
def test_a_plan_that_cannot_be_says_so(fields):
    with pytest.raises(ValueError):
        AskPlan(**fields)


def test_words_that_were_never_asked_for_are_asked_when_the_run_goes_on():
    """Probabilities came before the budget ended, words did not: the row says so, and its part is not done."""

    class Spent(Stub):
        def write(self, prompts, sampling):
            return [Written("", reason=f"{NOT_ASKED}: the budget is spent")] * len(prompts)

    answers, _ = ask(Spent(), wanted="both", survey=Questionnaire(title="t", items=(MOOD,)))
    assert answers["status"].eq("ok").all() and answers["reason"].str.startswith(f"no words: {NOT_ASKED}").all() and shards.waits(answers)
    whole, _ = ask(wanted="both", survey=Questionnaire(title="t", items=(MOOD,)))
    assert not shards.waits(whole)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(ValueError, match="--seed must be a whole number"):
        AskPlan(seed=seed)
