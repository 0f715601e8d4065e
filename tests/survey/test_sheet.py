"""A questionnaire as arrays: what a frame says stands in the sheet, what is missing is counted, weights and units are honoured or refused."""

import numpy as np
import pandas as pd
import pytest

from polypersona_lib.survey import distributions, reliability, subgroups
from polypersona_lib.survey.sheet import MISSING, sheet_of
from polypersona_lib.world import personas
from polypersona_lib.world.questions import load_questions

IDS = ("finance.likert.1", "finance.yesno.1", "healthcare.likert.1")


def frame(people=12, seed=0) -> pd.DataFrame:
    """Answers of some people to three items: the truth and probabilities that lean towards it."""
    rng, bank, rows = np.random.default_rng(seed), load_questions(), []
    for person in range(people):
        for i in IDS:
            n = len(bank[i].options)
            truth = int(rng.integers(n))
            rows.append((f"p{person:03d}", i, (np.eye(n)[truth] + 0.2) / (1 + 0.2 * n), truth))
    return pd.DataFrame(rows, columns=["persona_id", "question_id", "option_probs", "truth"])


def lacking(table: pd.DataFrame, rows, truth=()) -> pd.DataFrame:
    """`table` without the answers of `rows` and the true options of `truth`."""
    probs = [None if i in set(rows) else p for i, p in enumerate(table["option_probs"])]
    return table.assign(option_probs=pd.Series(probs, dtype=object), truth=[np.nan if i in set(truth) else t for i, t in enumerate(table["truth"])])


def overall(sheet, metric):
    table = distributions.by_domain({"x": sheet}, n_boot=10)
    return table[(table["level"] == "all") & (table["metric"] == metric)].iloc[0]


def test_what_is_missing_is_counted_and_leaves_the_rest_as_it_was():
    whole, part = sheet_of(frame()), sheet_of(lacking(frame(), [0, 4], [5]))
    assert whole.missing() == {"answers": 0, "truth": 0} and part.missing() == {"answers": 2, "truth": 1}
    assert whole.whole() is whole and part.answered.sum() == 34 and (part.truth == MISSING).sum() == 1
    mean = part.positions()[0]
    assert np.isnan(mean).sum() == 2 and np.nanmax(np.abs(mean - whole.positions()[0])) == 0
    with pytest.raises(ValueError, match="missing: {'answers': 2, 'truth': 1}"):
        part.whole()
    assert overall(part, "alignment")["n"] == 34 and overall(part, "coverage")["value"] == pytest.approx(34 / 36)


def test_people_who_answered_nothing_change_no_number():
    """Distributions of twelve people and of the same twelve with three silent ones, weighted or not."""
    more = pd.concat([frame(), lacking(frame(15).tail(9).reset_index(drop=True), range(9), range(9))], ignore_index=True)
    for metric in ("alignment", "js_divergence", "sd_ratio", "individual_r", "individual_accuracy"):
        assert overall(sheet_of(more), metric)["value"] == pytest.approx(overall(sheet_of(frame()), metric)["value"])


def test_a_weight_of_two_is_the_person_twice():
    table = frame()
    twice = pd.concat([table, table[table["persona_id"] == "p003"].assign(persona_id="p900")], ignore_index=True)
    weighted = table.assign(weight=np.where(table["persona_id"] == "p003", 2.0, 1.0))
    for metric in ("alignment", "entropy_ratio", "individual_r"):
        assert overall(sheet_of(weighted), metric)["value"] == pytest.approx(overall(sheet_of(twice), metric)["value"])
    assert overall(sheet_of(weighted), "alignment")["value"] != pytest.approx(overall(sheet_of(table), "alignment")["value"])
    with pytest.raises(ValueError, match="people have weights"):
        sheet_of(weighted).whole()
    with pytest.raises(ValueError, match="weight differs within 1 of 12 people"):
        sheet_of(weighted.assign(weight=np.arange(36) == 7))


def test_units_are_drawn_whole():
    table = frame().assign(unit=lambda t: t["persona_id"].str[-1].astype(int) % 3)
    sheet = sheet_of(table)
    draws = sheet.draws(n_boot=50, seed=1)
    assert sheet.n_units == 3 and draws.shape == (51, 12) and draws.sum(1) == pytest.approx(1)
    assert all(len(np.unique(row[sheet.units == unit])) == 1 for row in draws for unit in range(3)), "people of one unit come together"
    assert draws[0] == pytest.approx(1 / 12)


def test_items_can_be_put_in_order_and_answers_can_be_permuted():
    sheet = sheet_of(frame())
    assert [q.id for q in sheet.items] == sorted(IDS)
    turned = sheet.in_order(IDS[::-1])
    assert [q.id for q in turned.items] == list(IDS[::-1]) and (turned.truth == sheet.truth[:, [sorted(IDS).index(i) for i in IDS[::-1]]]).all()
    moved = sheet.permuted(np.roll(np.arange(12), 1))
    assert (moved.probs[1] == sheet.probs[0]).all() and (moved.truth == sheet.truth).all()
    assert (sheet.true_sheet().probs.argmax(-1) == sheet.truth).all()


def test_faults_are_named():
    table = frame()
    with pytest.raises(ValueError, match="35 answers of 12 personas to 3 items"):
        sheet_of(table.iloc[1:])
    with pytest.raises(ValueError, match="1 of 4 items are not in the question bank"):
        sheet_of(pd.concat([table, table[table["question_id"] == IDS[0]].assign(question_id="mine.1")]))
    with pytest.raises(ValueError, match="finance.likert.1: 3 probabilities for 5 options"):
        sheet_of(table.assign(option_probs=[p[:3] / p[:3].sum() for p in table["option_probs"]]))


def test_who_skips_an_item_is_left_out_of_its_construct_and_counted():
    cards = personas.fresh_personas(40, 42)
    bank, rng = [q for q in load_questions().values() if q.options], np.random.default_rng(1)
    rows = [(c["persona_id"], q.id, np.eye(len(q.options))[t], t) for c in cards for q in bank for t in [int(rng.integers(len(q.options)))]]
    table = pd.DataFrame(rows, columns=["persona_id", "question_id", "option_probs", "truth"])
    construct, [first, *_] = next(iter(reliability.constructs(sheet_of(table)).items()))
    ids = [sheet_of(table).items[first].id]
    gone = np.flatnonzero((table["question_id"] == ids[0]) & (table["persona_id"].isin([c["persona_id"] for c in cards[:4]])))
    sheet = sheet_of(lacking(table, gone))
    found = reliability.reliability({"x": sheet}, n_boot=5).set_index(["system", "construct", "metric"])["n"]
    assert found["x", construct, "alpha"] == 36 and found["respondents", construct, "alpha"] == 40
    none = reliability.reliability({"x": sheet_of(lacking(table, np.flatnonzero(table["question_id"] == ids[0])))}, n_boot=5)
    means, lines = (none[(none["system"] == "x") & (none["metric"] == "alpha") & ((none["construct"] == "mean") == own)] for own in (True, False))
    assert means["n"].item() == lines["value"].notna().sum() == len(lines) - 1, "the mean counts the constructs that have a value"
    groups = subgroups.subgroups({"x": sheet_of(lacking(table, np.flatnonzero(table["persona_id"] == cards[0]["persona_id"])))}, cards)
    assert set(groups[groups["variable"] == "gender"].groupby("construct")["n"].sum()) == {2 * 39}, "who answered nothing is in no group"
    with pytest.raises(ValueError, match="people have weights"):
        subgroups.subgroups({"x": sheet_of(table.assign(weight=1.5))}, cards)
