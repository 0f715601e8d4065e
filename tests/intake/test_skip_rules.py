"""Skip conditions: what holds when, and what is not understood."""

import pytest

from polypersona_lib.intake.skip_rules import NotUnderstood, read_rule, rules_of
from polypersona_lib.intake.survey_format import Item

BEFORE = {
    "work": Item(id="work", text="Do you work?", kind="yes_no", labels=("No", "Yes"), codes=("n", "y")),
    "news": Item(id="news", text="Which?", kind="multiple", labels=("Paper", "Radio"), codes=("p", "r")),
    "age": Item(id="age", text="How old?", kind="number"),
    "why": Item(id="why", text="Why?"),
}
SAID = {"work": ["y"], "news": ["p", "r"], "age": ["41"], "why": ["money"]}


@pytest.mark.parametrize(
    ("text", "holds", "of_nobody"),
    [
        ("", True, True),
        ("${work} = 'y'", True, False),
        ("work = Yes", True, False),
        ("work == \"n\"", False, False),
        ("${work} != 'y'", False, True),
        ("selected(${news}, 'r')", True, False),
        ("not(selected(${news}, 'r'))", False, True),
        ("${age} >= 18 and ${age} < 65", True, False),
        ("${age} = 41.0", True, False),
        ("${age} > 65 or ${work} = 'y' and ${why} = 'money'", True, False),
        ("(${age} > 65 or ${work} = 'y') and ${why} = 'love'", False, False),
        ("${why} = ''", False, True),
        ("NOT (${age} > 65)", True, True),
    ],
)  # fmt: skip
def test_conditions_hold_as_in_xlsform(text, holds, of_nobody):
    rule = read_rule(text, BEFORE)
    assert rule.holds(SAID) is holds and rule.holds({}) is of_nobody


def test_a_rule_says_what_it_looks_at():
    assert read_rule("${age} > 3 or selected(${news}, 'p')", BEFORE).needs == {"age", "news"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${wrok} = 'y'", "no item 'wrok' stands before this one; did you mean 'work'?"),
        ("${work} = 'x'", "'x' is no option of 'work'; its codes are 'n', 'y'"),
        ("${age} > 'old'", "> compares numbers, and 'old' is none"),
        ("count-selected(${news}) > 1", "no item 'count-selected'"),
        ("${work} = 'y' and", "'the end' stands where the id of an item is needed"),
        ("(${work} = 'y'", "'the end' stands where ) is needed"),
        ("${work} = 'y' ${age} > 3", "'${age}' is not understood here"),
        ("${work} + 1 = 2", "'+ 1 = 2' is not understood"),
        ("${work}", "'the end' stands where op is needed"),
        ("regex(., '[a-z]')", "is not understood; understood are ${item} = 'code'"),
        ("(" * 1900 + "${work} = 'y'", "too many brackets"),
        ("x" * 2001, "2,001 characters; at most 2,000"),
    ],
)
def test_what_is_not_understood_says_what(text, message):
    with pytest.raises(NotUnderstood) as caught:
        read_rule(text, BEFORE)
    assert message in str(caught.value)


def test_rules_of_a_questionnaire_name_the_item():
    items = [*BEFORE.values(), Item(id="more", text="More?", asked_if="later = 1")]
    assert rules_of(items[:-1])["age"].holds({})
    with pytest.raises(NotUnderstood, match="item 'more': no item 'later'"):
        rules_of(items)


def test_values_in_codes_become_the_labels_that_they_mean():
    kids = {"kids": Item(id="kids", text="How many?", kind="single", labels=("0", "1", '2 or "more"'), codes=("1", "2", "0"))}
    by_label, by_code = read_rule("kids = '1'", kids), read_rule("${kids} = 0 or selected(${kids}, '2')", kids, in_codes=True)
    assert [by_label.holds({"kids": [code]}) for code in "120"] == [False, True, False] and not by_label.readings
    assert [by_code.holds({"kids": [code]}) for code in "120"] == [False, True, True] and len(by_code.readings) == 1
    assert by_code.text == "${kids} = \"2 or \u201dmore\u201d\" or selected(${kids}, '2')"
    assert [read_rule(by_code.text, kids).holds({"kids": [code]}) for code in "120"] == [False, True, True]
    assert read_rule("${work} = 'y'", BEFORE, in_codes=True).text == "${work} = 'y'"
