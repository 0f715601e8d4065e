"""The report page: a section for each item, everything escaped, nothing loaded from elsewhere; tables that no spreadsheet runs; findings of planted faults."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import planted_survey as planted
import pytest

from polypersona_lib.intake.survey_format import Item, Questionnaire
from polypersona_lib.pilot import page as pilot_page
from polypersona_lib.pilot.analysis import Material, run_pilot
from polypersona_lib.pilot.page import csv_of, write_pilot
from polypersona_lib.pilot.plan import changed_people, with_paraphrases

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"
VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """Reads a page and checks that its tags close in order."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.text = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v for k, v in attrs if k in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def pilot():
    items = (*planted.questionnaire(), Item(id="why", text=f"Why? {HOSTILE}", kind="open"))
    people = planted.people_frame(30, straight=(7,))
    answers = planted.answers_of(planted.table_answerer(order_bias=0.2, acquiescence=0.4), items[:-1], people, system=f"biased {HOSTILE}")
    plain = planted.answers_of(planted.table_answerer(), items[:-1], people, system="plain")
    changed, changes = changed_people(people, count=4)
    moved = planted.answers_of(planted.table_answerer(), items[:-1], changed, system="plain")
    own = {p: {i.id: planted.AGREE[(n + k) % 5] for k, i in enumerate(items[:-1])} for n, p in enumerate(people["persona_id"][:12])}
    return run_pilot(Material(items=items, people=people, answers=pd.concat([answers, plain]), changed_answers=moved, changes=changes,
                              humans=people.iloc[:12], human_answers=own))  # fmt: skip


@pytest.fixture(scope="module")
def page(pilot, tmp_path_factory):
    return write_pilot(pilot, tmp_path_factory.mktemp("pilot"), title=HOSTILE)


def test_a_survey_in_another_language_says_what_was_not_checked(tmp_path):
    said = ("Die Busse sind meiner Meinung nach immer zu voll.", "Haben Sie in den letzten zwölf Monaten einen Fahrschein gekauft?")
    items = tuple(Item(id=f"q{n}", text=text, kind="agreement", labels=tuple(planted.AGREE)) for n, text in enumerate(said))
    people = planted.people_frame(6)
    pilot = run_pilot(Material(items=items, people=people, answers=planted.answers_of(planted.table_answerer(), items, people)))
    assert not set(pilot.findings["kind"]) & {"jargon", "vague", "leading", "double-barrelled"}
    text = Page(write_pilot(pilot, tmp_path, title="Busse").read_text(encoding="utf-8")).text
    assert pilot_page.NOT_ENGLISH in text and "reading ease not measured" in text and "reading ease nan" not in text


def test_the_page_has_a_section_for_each_item_and_every_link_leads_somewhere(pilot, page):
    read = Page(page.read_text(encoding="utf-8"))
    assert read.open == [] and {f"item-{n + 1}" for n in range(12)} <= set(read.ids) and len(read.ids) == len(set(read.ids))
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    for said in ("What a simulated pilot cannot tell", "Permuted cards", "Explained by permuted cards", "uniform answers", "People needed"):
        assert said in read.text


def test_hostile_text_stays_text(page):
    read = Page(page.read_text(encoding="utf-8"))
    assert read.tags.count("script") == 1 and "img" not in read.tags and HOSTILE in read.text and "{{ 7 * 7 }}" in read.text


def test_each_planted_fault_is_named_where_it_is(pilot):
    named = {(r.question_id, r.system.split()[0] if r.system else "", r.kind) for r in pilot.findings.itertuples()}
    assert {("double", "", "double-barrelled"), ("ceiling", "plain", "ceiling"), ("trust4", "plain", "key"), ("trust4", "biased", "key"),
            ("plain", "biased", "acquiescence"), ("trust1", "biased", "order"), ("", "plain", "straight-liner")} <= named  # fmt: skip
    assert not {k for q, s, k in named if s == "plain" and k in ("order", "acquiescence")}
    assert {q for q, s, k in named if k == "key"} == {"trust4"} and {q for q, s, k in named if k == "double-barrelled"} == {"double"}


def test_the_worth_stands_on_the_page_in_one_sentence(pilot, page):
    text = Page(page.read_text(encoding="utf-8")).text
    assert len(pilot.worth) == 2 and all(sentence in text for sentence in pilot.worth.values())


def test_tables_are_safe_in_a_spreadsheet(pilot, page):
    files = sorted((page.parent / "tables").glob("*.csv"))
    assert {f.stem for f in files} == {*pilot.tables, "findings"}
    table = pd.DataFrame({"=name": ["=cmd|' /C calc'!A0", "+1", " @x", "plain"], "n": [-1.5, 2, 3, 4]})
    cells = list(csv.reader(io.StringIO(csv_of(table))))
    assert cells[0] == ["'=name", "n"] and [row[0] for row in cells[1:]] == ["'=cmd|' /C calc'!A0", "'+1", "' @x", "plain"] and cells[1][1] == "-1.5"


def test_a_questionnaire_without_options_still_has_a_page(tmp_path):
    items, people = (Item(id="why", text="Why?", kind="open"),), planted.people_frame(3)
    answers = planted.answers_of(planted.table_answerer(), planted.questionnaire()[:1], people).assign(
        question_id="why", option=pd.array([None] * 3, dtype="Int64"), option_probs=None, probs_listed=None, probs_reversed=None, option_mass=None)  # fmt: skip
    made = run_pilot(Material(items=items, people=people, answers=answers))
    assert "No options, so no distribution" in write_pilot(made, tmp_path, title="open").read_text(encoding="utf-8")


def test_paraphrases_are_asked_as_wordings_of_their_item():
    item = Item(id="a", text="A?", kind="yes_no", labels=("No", "Yes"), paraphrases=("Is it A?", "A, then?"))
    extended = with_paraphrases(Questionnaire(title="t", items=(item, Item(id="b", text="B?", kind="open", paraphrases=("Or B?",)))))
    assert [(i.id, i.variant, i.text) for i in extended.items] == [("a", "", "A?"), ("b", "", "B?"), ("a~1", "a", "Is it A?"), ("a~2", "a", "A, then?")]


def test_changed_people_differ_in_one_attribute_alone():
    people = planted.people_frame(30)
    changed, changes = changed_people(people, count=5)
    before = {p: json.loads(c) for p, c in zip(people["persona_id"], people["card"], strict=True)}
    assert len(changed) == len(changes) == 15 and set(changes["attribute"]) == {"age", "region", "level"}
    for row, card in zip(changes.itertuples(), map(json.loads, changed["card"]), strict=True):
        different = {k for k in card if card[k] != before[row.of][k]}
        assert different == {row.attribute} and str(card[row.attribute]) == row.now != row.was
    words = people.assign(card=[json.dumps("a person in words")] * 30)
    assert [len(part) for part in changed_people(words)] == [0, 0]


def test_a_zero_has_no_sign():
    assert [pilot_page._number(v, form)["text"] for v, form in ((-0.001, ".2f"), (-0.2, "+.2f"), (0.2, "+.2f"), (-0.3, ",.0f"))] == [
        "0.00",
        "-0.20",
        "+0.20",
        "0",
    ]


def test_nobody_is_a_whole_number_and_no_share_is_a_share():
    table = pilot_page._from(pd.DataFrame({"people": [0, 12], "share": [0.0, 0.25], "none": [0.0, 0.0]}), {c: c for c in ("people", "share", "none")}, "")
    assert [[cell["text"] for cell in row] for row in table["rows"]] == [["0", "0.00", "0.00"], ["12", "0.25", "0.00"]]


def test_no_table_overwrites_what_another_one_says_of_an_item(pilot):
    """The page once took the real people's mean for the number of people that a difference needs."""
    cells = pilot_page._numbers("trust1", pilot.tables)
    row = next([cell["text"] for cell in row] for row in cells["rows"] if row[0]["text"] == "People needed in each group")
    needed = pilot.tables["people_needed"].query("question_id == 'trust1'").set_index("system")["people"]
    assert row[1:] == [f"{needed[column['name']]:,.0f}" for column in cells["columns"][1:]] and needed.min() > 50
    with pytest.raises(ValueError, match="say people of one item: rename a column of gaps"):
        pilot_page._numbers("trust1", pilot.tables | {"gaps": pilot.tables["gaps"].rename(columns={"people_mean": "people"})})


def test_a_page_without_an_objection_to_the_whole_says_where_the_others_stand(pilot, tmp_path):
    own = pilot.findings[pilot.findings["question_id"] != ""]
    text = Page(write_pilot(replace(pilot, findings=own), tmp_path, title="t").read_text(encoding="utf-8")).text
    assert f"No detector objects to the questionnaire as a whole; {own['question_id'].nunique()} of 13 items are named in their own sections below." in text
