"""The label rule: every label of every list reads as itself, in any order; what people write is read as people read it; long texts take linear time."""

import gzip
import json
import os
import random
import re
import time
from pathlib import Path

import pytest
from timing import allowed

from polypersona_lib.scoring.option_labels import CONTRADICTORY, NONE_NAMED, OFF_THE_LIST, REASONS, SEVERAL, Reading, read_option, reading
from polypersona_lib.scoring.option_replies import NO_OPINION, REFUSAL
from polypersona_lib.world.questions import SCALES

READINGS = [json.loads(line) for line in (Path(__file__).parent / "data" / "option_readings.jsonl").read_text(encoding="utf-8").splitlines()]
AGREE, SATISFIED, YESNO = SCALES["agreement"], ("Very dissatisfied", "Dissatisfied", "Neutral", "Satisfied", "Very satisfied"), ("Yes", "No", "Don't know")
NUMBERS, PLACES = tuple(map(str, range(11))), ("Create jobs", "Lower taxes", "Better schools", "Cleaner air")
DRESSES = ("{}", "{}.", "{}, because of my work.", "{}. Because it has always been so in my family.", "{} - that is my view", '"{}"', "**{}**", "Answer: {}")
LISTS = [
    *SCALES.values(), NUMBERS, NUMBERS[::-1], ("0", "1"), ("5", "4", "3", "2", "1"), ("-2", "-1", "0", "+1", "+2"), (0.0, 1.0, 2.0, 3.0), ("1", "1.5", "2"),
    ("18-29", "30-49", "50-64", "65+"), ("0", "1-2", "3-5", "More than 5"), ("Less than $30,000", "$30,000 to $49,999", "$50,000 or more"),
    ("1 - Disagree", "2 - Neutral", "3 - Agree"), ("1 There is none", "2", "3", "4 There is a lot"), ("Not at all", "2", "3", "4", "Completely"),
    ("A", "B", "C", "D"), ("Yes, definitely", "Yes, somewhat", "No"), ("Definitely no", "Probably no", "Probably yes", "Definitely yes"),
    ("Man", "Woman", "Non-binary"), ("Employed full-time", "Employed part-time", "Self-employed"), ("I like it", "I do not like it", "DK/Refused"),
    ("Both (VOL)", "both (Vol.)", "Neither (VOL)", "Don't know/Refused"), ("None", "A little", "Some", "A lot"), ("No answer", "No", "Yes", "Missing; unknown"),
    ("Important but not essential", "Essential", "Not important"), ("U.S. only superpower", "Better if another country became as powerful as U.S."),
    ("Statement #1", "Statement #2", "Neither"), ("😞", "😐", "😀"), ("★", "★★", "★★★"), ("Sí", "No"), ("同意", "不同意", "非常同意"), ("أوافق", "لا أوافق"),
    ("Stimme nicht zu", "Teils/teils", "Stimme zu"), ("Good", "Good thing", "Bad", "Bad thing"), ("Once a week", "More than once a week", "Never"),
    ("C", "C++", "C#", "Java"), ("B) No", "A) Yes", "C) Both"), ("<$30k", "$30k-$60k", ">$60k"), ("Less than 1 hour", "1-2 hours", "More than 2 hours"),
    ("Less than $1 million", "$1 million to $5 million", "More than $5 million"), ("LGBTQ+", "Straight"), ("A+", "A", "B"),
]  # fmt: skip


def wrong_readings(options, orders: int = 3) -> list[tuple]:
    """(text, label, what was read) of every dressed label that does not read as itself, in the list's order, turned and shuffled."""
    texts = tuple(map(str, options))
    ways = [texts, texts[::-1], *(tuple(random.Random(k).sample(texts, len(texts))) for k in range(orders - 2))]
    wrong = []
    for way in ways:
        for label in way:
            forms = [form.format(case) for form in DRESSES for case in dict.fromkeys((label, label.upper(), label.lower()))]
            for text in [*forms, json.dumps({"answer": label})]:
                option = read_option(text, way)
                wrong += [] if option is not None and _same(way[option], label, way) else [(text, label, reading(text, way))]
    return wrong


def _same(a: str, b: str, options) -> bool:
    return a == b or sum(o.casefold() == a.casefold() for o in options) > 1


@pytest.mark.parametrize("options", LISTS, ids=lambda options: str(options[0]))
def test_every_label_reads_as_itself_in_any_order_and_dress(options):
    assert not wrong_readings(options)


def _generated(seed: int) -> tuple[str, ...]:
    """A list of two to nine made-up labels: words, degrees, denials, numbers, ranges, brackets, hyphens."""
    draw = random.Random(seed)
    words = "river non-local tax jobs no not good bad agree trust U.S. and or very yes some never home-made C# a".split()
    shapes = ["{w} {w}", "{w}", "Very {w}", "Not at all {w}", "{n}", "{n} to {m} days", "{w} (VOL)", "{w}/{w}", "{n} - {w} {w}", "No, {w} {w}"]
    shapes += ["{w} {w} {w}, {w}", "{n}+", "${n},000"]
    labels = {}
    for _ in range(draw.randint(2, 9)):
        shape = draw.choice(shapes)
        while "{w}" in shape:
            shape = shape.replace("{w}", draw.choice(words), 1)
        number = draw.randint(0, 90)
        label = shape.replace("{n}", str(number)).replace("{m}", str(number + draw.randint(1, 9)))
        labels.setdefault(label.casefold(), label)
    return tuple(labels.values())


def test_every_label_of_generated_lists_reads_as_itself():
    lists = [options for seed in range(400) if len(options := _generated(seed)) > 1]
    wrong = [line for options in lists for line in wrong_readings(options)]
    assert len(lists) > 350 and not wrong, wrong[:5]


@pytest.mark.skipif(not os.environ.get("POLYPERSONA_REFERENCE"), reason="POLYPERSONA_REFERENCE is unset: the opinion lists are not at hand")
def test_every_label_of_global_opinions_reads_as_itself():
    folder = Path(os.environ["POLYPERSONA_REFERENCE"]) / "opinions"
    rows = json.loads(gzip.decompress((folder / "globalopinionbench_eval.json.gz").read_bytes()))
    lists = {tuple(row["options"]) for row in rows}
    assert len(lists) == 478 and not [line for options in lists for line in wrong_readings(options, orders=2)]


def test_answers_are_read_as_people_read_them():
    """Our own list of what people write, each with the readings that a careful person would accept (null: none)."""
    read = [(row["answer"], None if (k := read_option(row["answer"], row["options"])) is None else row["options"][k], row["accept"]) for row in READINGS]
    wrong = [line for line in read if line[1] not in line[2] and line[1] is not None]
    assert len(read) >= 400 and not wrong
    assert sum(got in accepted for _, got, accepted in read) / len(read) >= 0.98


@pytest.mark.parametrize("row", [row for row in READINGS if len(row["options"]) > 1], ids=lambda row: row["answer"][:30])
def test_turned_options_change_no_reading_in_words(row):
    said = row["answer"]
    if any(c.isdigit() for c in said) or len(said.strip("()[]. ")) == 1 or '"b"' in said or re.search(r"\b[A-HJ-Z]\b|\(b\)", said):
        return  # a number or a letter counts places, and they follow the order
    options, turned = row["options"], row["options"][::-1]
    labels = [None if (k := read_option(row["answer"], way)) is None else way[k] for way in (options, turned)]
    assert labels[0] == labels[1]


@pytest.mark.parametrize(
    ("answer", "options", "read"),
    [
        ("Email, Post", ("Email", "Phone", "Post"), Reading(None, SEVERAL, (0, 2))),
        ('["Post", "Email"]', ("Email", "Phone", "Post"), Reading(None, SEVERAL, (0, 2))),
        ("Disagree -> Agree", AGREE, Reading(None, SEVERAL, (1, 3))), ("3 or 4", NUMBERS, Reading(None, OFF_THE_LIST)),
        ("6, maybe 7", NUMBERS, Reading(None, SEVERAL, (6, 7))),
        ("As an AI language model, I'd say Agree.", AGREE, Reading(None, REFUSAL)), ("No comment", YESNO, Reading(None, REFUSAL)),
        ("Prefer not to say.", AGREE, Reading(None, REFUSAL)),
        ("No opinion", YESNO, Reading(None, NO_OPINION)), ("No idea", ("Yes", "No", "Maybe"), Reading(None, NO_OPINION)),
        ("11", NUMBERS, Reading(None, OFF_THE_LIST)),
        ("3.5", ("1", "2", "3", "4"), Reading(None, OFF_THE_LIST)), ("She listens to me.", AGREE, Reading(None, NONE_NAMED)),
        ("", AGREE, Reading(None, NONE_NAMED)),
        ("No, yes, well...", YESNO, Reading(None, CONTRADICTORY)), ("Not dissatisfied, not satisfied.", SATISFIED, Reading(None, CONTRADICTORY)),
        ("Agree. Actually no, disagree.", AGREE, Reading(None, CONTRADICTORY)), ("Yes, but now no.", YESNO, Reading(None, CONTRADICTORY)),
        ("Satisfied with the nurse and dissatisfied with the food.", SATISFIED, Reading(None, CONTRADICTORY)),
        ("2 km", ("0-1 days", "2-7 days"), Reading(None, OFF_THE_LIST)), ("I have 2 kids.", NUMBERS, Reading(None, NONE_NAMED)),
        ("That is hard to judge. I do not know.", ("Agree", "Disagree"), Reading(None, NO_OPINION)),
        ("I do not know.", YESNO, Reading(2)), ("10", NUMBERS, Reading(10)), ("B. Lower taxes", PLACES, Reading(1)), ('{"answer": "c"}', PLACES, Reading(2)),
    ],
)  # fmt: skip
def test_outcomes_have_names(answer, options, read):
    assert reading(answer, options) == read and (read.reason in REASONS or read.option is not None)


INCOMES = ("Less than $25,000", "$25,000 to $49,999", "$50,000 to $99,999", "$100,000 or more")
SHARES, AGES, KIDS = ("0-20%", "21-40%", "41-60%", "61-80%", "81-100%"), ("18-29", "30-44", "45-64", "65+"), ("0", "1", "2", "3+")
LIKELY, OFTEN = ("Very unlikely", "Unlikely", "Neutral", "Likely", "Very likely"), ("Never", "Rarely", "Sometimes", "Often", "Always")


@pytest.mark.parametrize(
    ("options", "said", "answers"),
    [  # what is said is the same for all answers of a row: a label, or the reason why none is read
        (AGREE, "Disagree", ("I would agree, but it costs too much, so I disagree.", "I would agree, yet I disagree.",
                             "I would strongly agree, but the costs worry me, so I disagree.")),
        (AGREE, NONE_NAMED, ("I would agree, if it were free.", "If it were free, I would agree.", "Had it been free, I would agree.",
                             "I would agree, but I don't.", "I would agree; however, I do not.")),
        (AGREE, CONTRADICTORY, ("I would say agree, but honestly I disagree.", "In theory I agree. In practice, I disagree.",
                                "At first glance I agree. On reflection I disagree.", "I agree. But I also disagree.", "I agree. Not anymore.")),
        (AGREE, "Agree", ("I would agree, because it helps.", "I would agree, but only somewhat.", "I would say agree, but it depends.",
                          "If I had to choose, I would agree.", "I would agree, if I had to choose.", "I agree. My wife disagrees.",
                          "I agree. In the past I was one to disagree.", "I agree. But I don't disagree with all of it.")),
        (SATISFIED, "Dissatisfied", ("I would be very satisfied, but the pay is bad, so I'm dissatisfied.",)),
        (SATISFIED, CONTRADICTORY, ("I was very satisfied before the merger. Not anymore.",)),
        (YESNO, CONTRADICTORY, ("I would say yes, but I don't have the money, so no.", "Yes, in the past, but not anymore.", "Used to, yes, but no longer.",
                                "Yes. Not anymore.")),
        (YESNO, "Yes", ("Yes, but not in winter.", "Yes, I have, so no worries.", "Yes, but no longer every day.", "I would say yes.")),
        (YESNO, "No", ("No, not anymore.", "No. Not anymore.")),
        (NUMBERS, NONE_NAMED, ("I would give it a 10 if it were cheaper.", "If it were cheaper I would give it a 10.")),
        (NUMBERS, "7", ("I'd give it a 7 if I had to choose.", "I would give it a 7, but it depends.", "If I were to rate it, I would give it a 7.",
                        "Option 7")),
        (OFTEN, NONE_NAMED, ("I always try to, but rarely manage.", "I often want to, but never do.")), (OFTEN, "Always", ("I always try to help.",)),
        (LIKELY, NONE_NAMED, ("It's very likely that I will not go.", "It is likely that I won't vote.", "It's very likely I won't buy it.",
                              "I'd very likely never recommend it.", "It's very likely that I'd say no.", "I'm very likely to decline.")),
        (LIKELY, "Very likely", ("I'm very likely to buy it.", "Very likely, I have not missed one.", "I am very likely to stay.",
                                 "I am very likely to recommend it to friends who have not tried it.")),
        (INCOMES, INCOMES[2], ("Option 3", "I choose option 3.", "3)", "C", "75 k", "$75 k", "60 K", "75 K per year", "about 60 k a year", "$60K",
                               "$60,000/year",
                               "60000 dollars a year", "option $60,000")),
        (INCOMES, INCOMES[3], ("I'd pick option 4", "choice 4")),
        (INCOMES, OFF_THE_LIST, ("$4,000/month", "$4,000 monthly", "$20/hr", "20 dollars an hour", "$800/week", "$1,500 weekly", "$1,900 biweekly",
                                 "4k a month", "option 7")),
        (("Under $1,000 a month", "$1,000 to $2,000 a month", "More"), "$1,000 to $2,000 a month", ("$1,500 monthly", "$1,500/month")),
        (SHARES, SHARES[3], ("Option 4", "4)")), (SHARES, OFF_THE_LIST, ("9 in 10", "one in four")), (SHARES, SHARES[2], ("50 in 2020", "50%")),
        (AGES, AGES[1], ("Option 2", "2)", "I am 31")), (AGES, NONE_NAMED, ("1985", "born 1985", "Year of birth: 1985", "I was born in 1985")),
        (("1-10", "11-50", "51-100", "More than 100"), "More than 100", ("2000 people", "Option 4")),
        (KIDS, "2", ("2 kids", "Option 2", "2)")), (KIDS, "3+", ("option 3", "3)")),
    ],
)  # fmt: skip
def test_conditions_endings_places_and_rates(options, said, answers):
    read = {answer: reading(answer, options) for answer in answers}
    assert {answer: r.reason or options[r.option] for answer, r in read.items()} == dict.fromkeys(answers, said)


def test_the_embedded_references_read_as_their_options():
    """The references say their truth by label or not at all: no wrong reading, and at least four in five are read."""
    import pandas as pd

    from polypersona_lib import paths

    metas, read = [], []
    for part in ("train", "validation", "test"):
        frame = pd.read_parquet(paths.DATASET / "paper" / f"{part}.parquet", columns=["reference", "meta"])
        for reference, meta in zip(frame["reference"], frame["meta"].map(json.loads), strict=True):
            if meta.get("options"):
                metas.append(meta["truth"]["option"])
                read.append(read_option(reference, meta["options"]))
    assert len(metas) > 2000 and not [k for k, truth in zip(read, metas, strict=True) if k not in (None, truth)]
    assert sum(k is not None for k in read) / len(read) > 0.75


def _seconds(text: str, options) -> float:
    """Processor time of one reading."""
    began = time.process_time()
    reading(text, options)
    return time.process_time() - began


@pytest.mark.parametrize("unit", ["-", "agree ", "(", "7", "i agree. ", "so agree, ", "1/", "not very ", '"answer": ', "[", "同意", "3-", "?"])
def test_time_is_linear_in_the_length(unit):
    for options in (AGREE, NUMBERS, YESNO):
        short, long = (min(_seconds((unit * length)[:length], options) for _ in range(2)) for length in (10_000, 100_000))
        assert long < allowed(2) and long <= 25 * max(short, 0.02), (unit, short, long)  # a square would be a hundred times as long
