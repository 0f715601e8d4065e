"""Comparisons of domains on toy rows whose answer is known."""

from __future__ import annotations

import pandas as pd
import pytest

from polypersona_lib.scoring import domain_comparisons as compared

ROWS = pd.DataFrame(
    [
        {"system": s, "domain": d, "id": f"{d}{i}", "persona_id": f"p{i}", "question_type": t, "bleu": v + 0.1 * (s == "b")}
        for s in ("a", "b")
        for d, i, t, v in (("x", 1, "open", 0.2), ("x", 2, "likert", 0.4), ("y", 3, "open", 0.6), ("z", 4, "open", 0.5), ("z", 5, "open", 0.5))
    ]
)


def test_a_lead_is_the_paired_difference_to_the_next_system():
    leads = compared.domain_leads(ROWS, ["a", "b"], ["x", "y", "z"])
    assert leads["domain"].tolist() == ["x", "z"], "one row is no comparison"
    assert leads["top"].eq("b").all() and leads["next"].eq("a").all() and leads[["gap", "lo", "hi"]].to_numpy() == pytest.approx(0.1)
    assert compared.domain_leads(ROWS, ["a"], ["x", "y"]).empty


def test_the_best_domain_and_those_that_cannot_be_told_from_it():
    values = {"x": (0.1, 0.0, 0.2), "y": (0.5, 0.4, 0.6), "z": (0.4, 0.3, 0.45)}
    scores = pd.DataFrame([{"system": "a", "metric": "bleu", "domain": d, "value": v, "lo": lo, "hi": hi} for d, (v, lo, hi) in values.items()])
    row = compared.domain_extremes(scores, "bleu", ["a"]).loc["a"]
    assert (row["best"], row["worst"], row["not_below"], row["lower_half"]) == ("y", "x", 1, ["x"])


def test_a_domain_without_a_type_is_weighted_by_the_types_it_has():
    table = compared.same_type_mix(ROWS[ROWS["system"] == "a"], pd.Series({"open": 0.75, "likert": 0.25}))
    assert table["as it is"].to_dict() == pytest.approx({"x": 0.3, "y": 0.6, "z": 0.5})
    assert table["same mix of types"].to_dict() == pytest.approx({"x": 0.25, "y": 0.6, "z": 0.5}) and table["types present"].tolist() == [2, 1, 1]


def test_lengths_vary_between_or_within_domains():
    even = compared.length_variation(pd.DataFrame({"domain": list("xxyy"), "length_chars": [10, 10, 30, 30]}))
    assert even == pytest.approx({"between domains": 0.5, "between their medians": 0.5, "within a domain": 0})
    jumps = compared.length_variation(pd.DataFrame({"domain": list("xxxyyy"), "length_chars": [10, 10, 70, 20, 35, 35]}))  # equal means, other medians
    assert jumps["between domains"] == 0 and jumps["between their medians"] == pytest.approx(12.5 / 22.5)


def test_a_gain_is_measured_against_the_majority_answer():
    values = {"majority": 0.4, "a": 0.5, "oracle_card": 0.7}
    accuracy = pd.DataFrame([{"domain": "x", "system": s, "value": v, "lo": v - 0.1, "hi": v + 0.1, "n": 9.0} for s, v in values.items()])
    assert compared.gains_over_majority(accuracy, "a").loc["x", ["gain", "room", "answers"]].to_list() == pytest.approx([0.1, 0.3, 9])
