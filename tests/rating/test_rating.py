"""Human rating: the plan, files that survive a kill, a blind panel, and an analysis that finds what is planted.

The simulated raters live here only. They know nothing of systems: they copy a planted quality of the text, or roll dice.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.cells import Estimate, Missing
from polypersona_lib.rating import results
from polypersona_lib.rating.panel import KEYS, RatingPanel
from polypersona_lib.rating.session import Session, append_rating, load_ratings, read_ratings
from polypersona_lib.rating.sheet import AGAIN, POINTS, RATING_SCALES, SHOWN, default_systems, draw_rows, load_items, rating_sheet
from polypersona_lib.runner import manifest, publish, stages
from polypersona_lib.scoring.answer_files import load_predictions

GAP = np.nan
NASTY = ["<img src=x onerror=alert(1)>", "$\\href{javascript:alert(1)}{x}$", "=HYPERLINK(1)", "</textarea><script>alert(1)</script>"]
SYSTEMS = ["reference", "uniform", "persona_blind", "phi-2--base", "phi-2", "tinyllama-1.1b--base", "tinyllama-1.1b"]
QUALITY = dict(zip(SYSTEMS, (1.4, -1.4, 0.9, -0.9, 0.4, -0.4, 0.0), strict=True))  # planted
TYPES = ("open", "likert", "yesno", "agreement")


# --- what is rated, and by whom -------------------------------------------------------------------------------------------------


def predictions(rows=40) -> pd.DataFrame:
    """Toy predictions of six systems: a closed answer may be the same text for two systems; texts do not name systems."""
    out = []
    for i, (place, system) in itertools.product(range(rows), enumerate(SYSTEMS[1:])):
        kind = TYPES[i % 4]
        out.append(
            {
                "id": f"p{i // 2:03d}-q{i}", "prediction": f"answer {i} number {place}", "reference": f"answer {i} of the respondent",
                "persona_id": f"p{i // 2:03d}", "persona": f"woman, {20 + i}", "domain": "healthcare", "question_id": f"q{i}",
                "question": f"Question {i}?", "question_type": kind, "options": None if kind == "open" else ["No", "Yes"],
                "status": "ok", "system": system,
            }
        )  # fmt: skip
    return pd.DataFrame(out)


@pytest.fixture
def items() -> pd.DataFrame:
    return load_items(predictions(), SYSTEMS)


def test_items_are_shared_by_equal_texts_and_failures_are_left_out():
    preds = predictions(8)
    same = preds["system"].isin(["uniform", "persona_blind"]) & (preds["id"] == "p000-q0")
    preds.loc[same, "prediction"] = "Yes."
    preds.loc[(preds["system"] == "phi-2") & (preds["id"] == "p000-q1"), ["prediction", "status"]] = ["", "failed"]
    items = load_items(preds, SYSTEMS)
    assert items["row"].nunique() == 7 and "p000-q1" not in set(items["row"])
    assert len(items) == 49 and items["item"].nunique() == 48
    assert items.groupby("item")["answer"].nunique().max() == 1
    with pytest.raises(ValueError, match="no predictions of gpt; choose from reference, "):
        load_items(preds, ["reference", "gpt"])
    assert default_systems(["phi-2", "tinyllama-1.1b"], preds["system"]) == SYSTEMS
    assert default_systems(["phi-2", "mistral-7b"], ["phi-2", "uniform"]) == ["reference", "uniform", "phi-2"]


def test_the_plan_is_paired_balanced_and_has_a_common_core(items):
    drawn = {name: draw_rows(items, name, size=16, seed=42) for name in ("a", "b", "c")}
    kinds = items.drop_duplicates("row").set_index("row")["question_type"]
    for core, own in drawn.values():
        assert core == drawn["a"][0] and len(core) == len(own) == 8 and not set(core) & set(own)
        assert set(kinds[core].value_counts()) == set(kinds[own].value_counts()) == {2}
    assert drawn["a"][1] != drawn["b"][1] and draw_rows(items, "a", size=16, seed=42) == drawn["a"]
    assert draw_rows(items, "a", size=16, seed=43)[0] != drawn["a"][0]
    sheet = rating_sheet(items, "a", size=16, seed=42)
    first = sheet[~sheet["item"].str.endswith(AGAIN)]
    judged = items[items["item"].isin(first["item"])]
    assert sheet["item"].is_unique and judged.groupby("row")["system"].nunique().eq(len(SYSTEMS)).all() and judged["row"].nunique() == 16
    assert first["core"].tolist() == [True] * 56 + [False] * 56
    everything = rating_sheet(items, "a", size=1000, seed=42)
    assert {item.removesuffix(AGAIN) for item in everything["item"]} == set(items["item"])
    with pytest.raises(ValueError, match="2 or more"):
        draw_rows(items, "a", size=1, seed=42)


def test_one_answer_in_ten_of_the_core_comes_again_and_late(items):
    for rater in ("a", "b", "c"):
        sheet = rating_sheet(items, rater, size=16, seed=42).reset_index()
        again = sheet[sheet["item"].str.endswith(AGAIN)]
        assert len(again) == 6 and again["index"].between(56, 61).all() and again["core"].all(), "after the core, before the rater's own part"
        shown = sheet.set_index("item").loc[again["item"].str.removesuffix(AGAIN)]
        assert (shown["index"] < 28).all() and shown["answer"].tolist() == again["answer"].tolist() and shown["persona"].tolist() == again["persona"].tolist()


def test_the_order_is_shuffled_and_tells_nothing(items):
    row_of = items.drop_duplicates("item").set_index("item")["row"]
    system_of = items.drop_duplicates("item").set_index("item")["system"]
    places = []
    for rater in (f"rater-{i}" for i in range(40)):
        sheet = rating_sheet(items, rater, size=8, seed=42)
        rows = sheet["item"].str.removesuffix(AGAIN).map(row_of)
        assert not (rows == rows.shift()).any(), "the same card twice running"
        assert rows.head(12).value_counts().to_dict() == {row: 3 for row in rows.head(12)}, "who stops early has judged every record equally often"
        places.append(pd.Series(range(len(sheet)), index=sheet["item"].map(system_of)).groupby(level=0).mean())
    spread = pd.concat(places, axis=1).mean(axis=1)
    assert spread.between(29 * 0.9, 29 * 1.1).all(), spread
    assert list(sheet.columns) == ["item", *SHOWN, "core"]
    orders = [tuple(rating_sheet(items, r, size=8, seed=42)["item"].head(28)) for r in ("x", "y")]
    assert orders[0] != orders[1] and set(orders[0]) == set(orders[1])


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "é", "a.b", "-a", "x" * 33, "a\n", "a b", "con\0", None, 3])
def test_a_rater_is_a_plain_pseudonym(name, items):
    with pytest.raises(ValueError, match="use a pseudonym"):
        rating_sheet(items, name, size=4, seed=1)


def test_nothing_to_rate_is_said_in_one_line(items):
    with pytest.raises(ValueError, match="nothing to rate"):
        rating_sheet(items.head(0), "a", size=4, seed=1)


# --- the ratings file -----------------------------------------------------------------------------------------------------------


def test_the_last_rating_counts_and_a_torn_line_is_skipped_and_said(tmp_path):
    path = tmp_path / "ratings" / "r1.jsonl"
    for value in (2, 5):
        append_rating(path, "abc", "realism", value, seconds=1.04)
    append_rating(path, "abc", "consistency", 1, seconds=2)
    whole = path.read_bytes()
    found, remarks = read_ratings(path)
    assert found["value"].tolist() == [5, 1] and found["seconds"].tolist() == [1.0, 2] and set(found["rater"]) == {"r1"} and remarks == []
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):  # killed at any byte: everything before is kept, and the next rating is, too
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut or end - 1 == cut for end in ends)
        append_rating(path, "new", "realism", 3, seconds=1)
        found, remarks = read_ratings(path)
        assert len(found) == [0, 1, 1, 2][kept] + 1 and found["item"].iloc[-1] == "new"
        assert len(remarks) == (cut not in (0, *ends, *(end - 1 for end in ends))), cut
        assert all("torn" in remark and "line" in remark for remark in remarks)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([1], "not a judgement"),
        ({"item": 3, "scale": "realism", "value": 3}, "not a judgement"),
        ({"item": "a", "scale": "beauty", "value": 3}, "unknown scale 'beauty'"),
        ({"item": "a", "scale": "realism", "value": 6}, "value '6' is not one of 1, 2, 3, 4, 5"),
        ({"item": "a", "scale": "realism", "value": True}, "value 'True'"),
        ({"item": "a", "scale": "realism", "value": "4"}, "is not one of"),
        ({"item": "a", "scale": "realism", "value": 4, "seconds": "x"}, "seconds is not a number"),
    ],
)
def test_a_line_that_is_no_judgement_is_named(tmp_path, entry, message):
    path = tmp_path / "r1.jsonl"
    path.write_text(json.dumps({"item": "a", "scale": "realism", "value": 3, "seconds": 1}) + "\n" + json.dumps(entry) + "\n")
    with pytest.raises(ValueError, match="r1.jsonl, line 2: ") as error:
        read_ratings(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_passed_through_windows_loses_nothing(tmp_path):
    path = tmp_path / "r1.jsonl"
    for item in ("a", "b"):
        append_rating(path, item, "realism", 3, seconds=1)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    append_rating(path, "c", "realism", 3, seconds=1)
    found, remarks = read_ratings(path)
    assert found["item"].tolist() == ["a", "b", "c"] and remarks == []


def test_several_raters_are_read_and_a_foreign_file_is_named(tmp_path):
    none, remarks = load_ratings(tmp_path / "nowhere")
    assert len(none) == 0 and list(none.columns) == ["rater", "item", "scale", "value", "seconds"] and remarks == []
    for name in ("b", "a"):
        append_rating(tmp_path / f"{name}.jsonl", "x", "realism", 3, seconds=1)
    assert load_ratings(tmp_path)[0]["rater"].tolist() == ["a", "b"]
    (tmp_path / "My Friend.jsonl").write_text("")
    with pytest.raises(ValueError, match="'My Friend': use a pseudonym"):
        load_ratings(tmp_path)


def test_a_killed_process_loses_nothing_that_it_confirmed(tmp_path):
    path = tmp_path / "r1.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom polypersona_lib.rating.session import append_rating\n"
        "for i in range(10**6):\n    append_rating(Path(sys.argv[1]), f'item{i}', 'realism', 1 + i % 5, seconds=i)\n    print(i, flush=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(paths.ROOT)})
    confirmed = [int(child.stdout.readline()) for _ in range(30)]
    child.send_signal(signal.SIGKILL)
    confirmed += [int(line) for line in child.stdout.read().splitlines()]
    child.wait()
    found, _ = read_ratings(path)
    assert set(confirmed) <= {int(item.removeprefix("item")) for item in found["item"]} and len(found) <= len(confirmed) + 1


def session_of(items, tmp_path, rater="r1", size=4):
    sheet = rating_sheet(items, rater, size=size, seed=42)
    return Session(sheet, tmp_path / f"{rater}.jsonl", clock=itertools.count().__next__)


def test_a_sitting_goes_on_where_it_ended(items, tmp_path):
    first = session_of(items, tmp_path)
    assert first.scale == "realism" and first.rated == 0 and first.go_on() and first.at == 1
    first.go(-1)
    first.go(-1)
    assert first.at == 0
    first.rate(4)
    assert first.scale == "consistency" and first.missing(0) == ["consistency"]
    half = session_of(items, tmp_path)
    assert half.at == 0 and half.scale == "consistency" and half.given[half.item["item"], "realism"] == 4
    half.rate(2)
    half.go(1)
    half.go(1)
    half.rate(1)
    half.rate(1)
    again = session_of(items, tmp_path)
    assert (again.at, again.rated, again.scale) == (1, 2, "realism")
    again.go(-1)
    again.rate(5)
    assert session_of(items, tmp_path).given[again.item["item"], "realism"] == 5
    with pytest.raises(ValueError, match="a rating is one of 1, 2, 3, 4, 5"):
        again.rate(0)
    while again.go_on():
        again.rate(3)
        again.rate(3)
    done = session_of(items, tmp_path)
    assert done.rated == len(done.items) and done.at == 0 and not done.go_on()
    with pytest.raises(ValueError, match="nothing to rate"):
        Session(pd.DataFrame(), tmp_path / "r2.jsonl")


# --- the panel ------------------------------------------------------------------------------------------------------------------


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def test_the_panel_rates_and_shows_what_it_saved(items, tmp_path):
    session = session_of(items, tmp_path)
    panel = RatingPanel(session)
    buttons = {name: w for w in descendants(panel.box) for name in w._dom_classes if isinstance(w, ipywidgets.Button)}
    buttons["rate-on"].click()
    assert session.at == 0 and "Not yet rated: realism and consistency" in panel.status.value
    buttons["rate-key-4"].click()
    buttons["rate-key-2"].click()
    first = session.item["item"]
    assert session.given == {(first, "realism"): 4, (first, "consistency"): 2} and panel.bar.value == 1
    assert panel.buttons["realism", 4].icon == "check" and panel.buttons["realism", 3].icon == ""
    buttons["rate-on"].click()
    assert session.at == 1 and panel.texts["answer"].value == session.item["answer"] and "answer 2 of 30, 1 fully rated" in panel.place.value
    panel.buttons["consistency", 5].click()
    assert session.given[session.item["item"], "consistency"] == 5
    buttons["rate-back"].click()
    panel.buttons["realism", 1].click()
    assert session.given[first, "realism"] == 1 and read_ratings(session.path)[0]["value"].tolist() == [1, 2, 5]
    assert all(b.description and (b.tooltip or name.startswith("rate-key")) for name, b in buttons.items()), "every button has a name"
    digits = {f"rate-key-{v}" for v in POINTS}
    assert digits < buttons.keys() and all(f"'{k}" in KEYS or k in KEYS for k in ("rate-key-", ".rate-on", ".rate-next", ".rate-back"))


def test_an_error_is_shown_and_nothing_counts_as_rated(items, tmp_path):
    session = session_of(items, tmp_path)
    panel = RatingPanel(session)
    session.path = tmp_path / "file" / "r1.jsonl"
    (tmp_path / "file").write_text("in the way")
    panel.buttons["realism", 4].click()
    assert panel.status.value.startswith("NOT saved: ") and session.given == {} and panel.buttons["realism", 4].icon == ""


def test_the_panel_is_blind_and_takes_no_text_for_markup(tmp_path):
    preds = predictions()
    preds["prediction"] = [NASTY[i % 4] + text for i, text in enumerate(preds["prediction"])]
    preds["persona"], preds["question"], preds["reference"] = NASTY[0] + preds["persona"], NASTY[1] + preds["question"], NASTY[3] + preds["reference"]
    preds["options"] = [NASTY[:2] if options else None for options in preds["options"]]
    session = session_of(load_items(preds, SYSTEMS), tmp_path)
    panel = RatingPanel(session)
    for _ in session.items:
        panel._act(lambda: session.rate(3))
        for widget in descendants(panel.box):
            state = json.dumps({k: v for k, v in widget.get_state().items() if isinstance(v, str | list | tuple | int)}, default=str)
            assert not [s for s in (*SYSTEMS[1:], "phi", "llama") if s in state.lower()], "a system is named"
            if not isinstance(widget, ipywidgets.Textarea):
                assert "alert(1)" not in state and "HYPERLINK" not in state, f"untrusted text in {type(widget).__name__}"
        panel._act(lambda: session.go(1))
    assert all(area.disabled for area in panel.texts.values()) and NASTY[0] in panel.texts["persona"].value
    written = session.path.read_text().lower()
    assert len(written.splitlines()) == len(session.items) and not [s for s in (*SYSTEMS, *set(preds["id"])) if s in written]


# --- the analysis: it finds what was planted ------------------------------------------------------------------------------------


def simulated(items, rater, *, sharp, bias=0.0, size=40, seed=7) -> list[dict]:
    """A rater who sees each text's planted quality through noise (`sharp` 0: dice only) and a personal bias; both scales alike."""
    rng = np.random.default_rng([seed, *rater.encode()])
    planted = items.drop_duplicates("item").set_index("item")["system"].map(QUALITY)
    lines = []
    for item, scale in itertools.product(rating_sheet(items, rater, size=size, seed=42)["item"], RATING_SCALES):
        value = 3 + bias + planted[item.removesuffix(AGAIN)] + rng.normal(0, 0.7) if rng.random() < sharp else rng.integers(1, 6)
        lines.append({"rater": rater, "item": item, "scale": scale, "value": int(np.clip(round(value), 1, 5)), "seconds": 5.0})
    return lines


def joined_of(items, *raters):
    frame, remarks = results.join_key(pd.DataFrame([line for lines in raters for line in lines]), items)
    assert remarks == []
    return frame


def test_planted_agreement_is_found(items):
    same = simulated(items, "a", sharp=1)
    copy = [line | {"rater": "b"} for line in same]
    perfect = results.agreement_table(joined_of(items, same, copy))
    assert [c.value for c in perfect["Alpha"]] == [1, 1] and perfect["Raters"].tolist() == [2, 2]
    dice = results.agreement_table(joined_of(items, *(simulated(items, r, sharp=0) for r in "ab")))
    assert all(c.lo < 0 < c.hi for c in dice["Alpha"])
    good, poor = (results.agreement_table(joined_of(items, *(simulated(items, r, sharp=s) for r in "abc")))["Alpha"][0] for s in (1, 0.6))
    assert dice["Alpha"][0].value < poor.lo < poor.hi < good.lo < 1


def test_a_text_that_two_systems_gave_counts_once_for_agreement_and_for_each_in_the_means():
    preds = predictions(20)
    preds.loc[preds["system"].isin(["uniform", "persona_blind"]), "prediction"] = "Yes."
    items = load_items(preds, SYSTEMS)
    joined = joined_of(items, *(simulated(items, r, sharp=1) for r in "ab"))
    table, means = results.agreement_table(joined), results.means_table(joined, {s: s for s in SYSTEMS}).set_index("System")
    assert table["Shared answers"].tolist() == [120, 120] and table["Ratings"].tolist() == [240, 240]
    assert len(joined) == 2 * 2 * 20 * 7 and means.loc["uniform", "realism"].value == means.loc["persona_blind", "realism"].value


def test_what_is_shown_again_tells_of_the_rater_and_counts_nowhere_else(items):
    lines = simulated(items, "a", sharp=1, size=16)
    once = [line for line in lines if not line["item"].endswith(AGAIN)]
    first = {(line["item"], line["scale"]): line["value"] for line in once}
    steady = once + [line | {"value": first[line["item"].removesuffix(AGAIN), line["scale"]]} for line in lines if line not in once]
    moody = once + [line | {"value": 6 - first[line["item"].removesuffix(AGAIN), line["scale"]]} for line in lines if line not in once]
    pd.testing.assert_frame_equal(joined_of(items, once), joined_of(items, moody))
    table = results.rater_table(pd.DataFrame([line | {"rater": r} for r, part in (("steady", steady), ("moody", moody)) for line in part]))
    table = table.set_index("Rater")
    assert table["Shown again"].tolist() == [6, 6] and table.loc["steady", "equal"] == table.loc["steady", "within a point"] == 1
    assert table.loc["moody", "within a point"] < 0.6 and table["Answers"].tolist() == [118, 118]


def test_who_does_not_read_is_found():
    def given(rater, values, seconds):
        return [{"rater": rater, "item": f"i{i}", "scale": s, "value": v, "seconds": seconds} for i, v in enumerate(values) for s in RATING_SCALES]

    lines = given("reader", [1, 2, 3, 4, 5] * 4, 8.0) + given("presser", [3] * 20, 0.2)
    lines += [{"rater": "half", "item": "i0", "scale": "realism", "value": 2, "seconds": 4.0}]
    table = results.rater_table(pd.DataFrame(lines)).set_index("Rater")
    assert table.loc["reader", ["Answers", "Median seconds", "In haste", "realism, most frequent point"]].tolist() == [20, 16.0, 0, 0.2]
    assert table.loc["presser", ["Median seconds", "In haste", "realism, most frequent point", "Both scales alike"]].tolist() == [0.4, 1, 1, 1]
    assert table.loc["half", "Answers"] == 0 and np.isnan(table.loc["half", "Both scales alike"]) and np.isnan(table.loc["half", "equal"])
    assert len(results.rater_table(load_ratings(Path("nowhere"))[0])) == 0


def test_a_strict_rater_does_not_hide_what_a_metric_knows():
    """Two raters see the same quality, one two points stricter, each on answers of their own: the metric that is the quality must come out at 1."""
    items = load_items(predictions(60), SYSTEMS)
    people = sorted(items["persona_id"].unique())
    halves = {"mild": set(people[::2]), "strict": set(people[1::2])}
    grade = pd.Series(np.arange(len(items)) % 3, index=items.index)
    lines = [
        {"rater": r, "item": i, "scale": s, "value": int(g) + (3 if r == "mild" else 1), "seconds": 5.0}
        for i, p, g in zip(items["item"], items["persona_id"], grade, strict=True)
        for r, half in halves.items()
        if p in half
        for s in RATING_SCALES
    ]
    rows = scored(items, bleu=grade[items["system"] != "reference"].to_numpy(dtype=float))
    found = results.metric_table(joined_of(items, lines), rows).set_index("Metric").loc["BLEU"]
    assert found["realism, by answer"].value == pytest.approx(1, rel=0.05) and (found["Answers"], found["Systems"]) == (360, 6)


def test_planted_order_of_systems_is_found_and_strictness_cancels(items):
    raters = [simulated(items, "a", sharp=1), simulated(items, "b", sharp=1, bias=-0.8), simulated(items, "c", sharp=1, bias=0.8)]
    table = results.means_table(joined_of(items, *raters), {s: s for s in SYSTEMS}).set_index("System")
    means = table["realism"].map(lambda c: c.value)
    assert means.sort_values().index.tolist() == sorted(SYSTEMS, key=QUALITY.get)
    gaps = table["realism, minus reference"].drop("reference").map(lambda c: (c.value, c.lo, c.hi))
    assert all(hi < 0 and lo < value < hi for value, lo, hi in gaps) and isinstance(table.loc["reference", "realism, minus reference"], Missing)
    fair, strict = (results.means_table(joined_of(items, simulated(items, "a", sharp=1, bias=b)), {s: s for s in SYSTEMS}) for b in (0.0, -0.3))
    assert fair["realism"][0].value - strict["realism"][0].value > 0.2
    near = [t.set_index("System").loc["persona_blind", "realism, minus reference"].value for t in (fair, strict)]
    assert abs(near[0] - near[1]) < 0.15, "a strict rater lowers the means, not the distances"
    dice = results.means_table(joined_of(items, simulated(items, "a", sharp=0)), {s: s for s in SYSTEMS})
    inside = [c.lo < 0 < c.hi for c in dice["realism, minus reference"][1:]]
    assert sum(inside) >= 5, "who rolls dice finds no order"


def scored(items, **columns) -> pd.DataFrame:
    """Rows as `scores/rows.parquet` has them, for the systems that are scored."""
    rows = items[items["system"] != "reference"].rename(columns={"row": "id"})[["system", "id", "persona_id"]]
    return rows.assign(chosen=GAP, target=GAP, **columns)


def test_planted_correlation_of_a_metric_is_found():
    """A metric that copies the rating with probability .6, and else draws from the same distribution, has rank correlation .6."""
    items = load_items(predictions(600), SYSTEMS)
    rng = np.random.default_rng(5)
    values = pd.Series(rng.choice(POINTS, items["item"].nunique(), p=[0.1, 0.2, 0.3, 0.3, 0.1]), index=items["item"].unique())
    lines = [{"rater": "a", "item": i, "scale": "realism", "value": int(v), "seconds": 1.0} for i, v in values.items()]
    human = items.loc[items["system"] != "reference", "item"].map(values).to_numpy(dtype=float)
    mixed = np.where(rng.random(len(human)) < 0.6, human, rng.permutation(human))
    found = results.metric_table(joined_of(items, lines), scored(items, bleu=mixed, rouge2=rng.permutation(human), rouge1=-human)).set_index("Metric")
    planted, noise = found.loc["BLEU", "realism, by answer"], found.loc["ROUGE-2", "realism, by answer"]
    assert planted.value == pytest.approx(0.6, rel=0.05) and planted.lo < 0.6 < planted.hi and planted.hi - planted.lo < 0.1
    assert noise.lo < 0 < noise.hi and found.loc["ROUGE-1", "realism, by answer"].value == pytest.approx(-1)
    assert isinstance(found.loc["BLEU", "consistency, by answer"], Missing), "nobody rated consistency"


def test_planted_order_of_systems_is_found_by_the_right_metric_only(items):
    rng = np.random.default_rng(6)
    quality = items.loc[items["system"] != "reference", "system"].map(QUALITY).to_numpy(dtype=float)
    rows = scored(items, quality=quality + rng.normal(0, 0.5, len(quality)), bleu=rng.normal(size=len(quality)), length_chars=-quality)
    joined = joined_of(items, *(simulated(items, r, sharp=0.9) for r in "ab"))
    found = results.metric_table(joined, rows).set_index("Metric")
    good, noise = found.loc["Survey quality"], found.loc["BLEU"]
    assert good["realism, by system"].value > 0.9 and good["realism, by answer"].lo > 0.4
    assert noise["realism, by answer"].lo < 0 < noise["realism, by answer"].hi
    assert found.loc["(answer length, characters)", "consistency, by system"].value < -0.9


def test_a_rater_who_only_reads_the_reference_is_found_out_on_real_answers():
    """The published answers and scores: somebody who rates by words shared with the reference correlates most with ROUGE-1; the swap gap says less."""
    shipped = paths.ROOT / "results" / "shipped"
    if not (shipped / "scores/rows.parquet").exists():
        pytest.skip("no published run")
    preds, rows = load_predictions(shipped / "preds"), pd.read_parquet(shipped / "scores/rows.parquet")
    keys = [s.removesuffix("--base") for s in preds["system"].unique() if s.endswith("--base")]
    items = load_items(preds, default_systems(keys, preds["system"].unique()))
    sheet = rating_sheet(items, "reader", size=24, seed=42)
    scores = items.merge(rows, left_on=["row", "system"], right_on=["id", "system"]).drop_duplicates("item").set_index("item")["rouge1"]
    reader = [
        {"rater": "reader", "item": i, "scale": "realism", "value": int(np.clip(1 + scores[i] // 0.1, 1, 5)), "seconds": 1.0}
        for i in sheet["item"]
        if i in scores
    ]
    found = results.metric_table(joined_of(items, reader), rows).set_index("Metric")["realism, by answer"]
    values = found.map(lambda cell: cell.value if isinstance(cell, Estimate) else GAP)
    assert values.idxmax() == "ROUGE-1" and values.max() > 0.9 and values["Sentiment similarity"] < 0.5


def test_too_few_ratings_are_dashes_with_a_reason_and_none_are_empty_tables(items):
    labels = {s: s for s in SYSTEMS}
    nothing = results.join_key(load_ratings(Path("nowhere"))[0], items)[0]
    tables = [results.agreement_table(nothing), results.means_table(nothing, labels), results.metric_table(nothing, scored(items, bleu=0.5))]
    assert all(len(t) == 0 and len(t.columns) >= 5 for t in tables)
    assert results.describe_ratings(nothing) == "No ratings yet: nobody has rated an answer of this run."
    few = joined_of(items, simulated(items, "a", sharp=1, size=2), simulated(items, "b", sharp=1, size=2)[:4])
    assert "by 2 raters, median 5 seconds" in results.describe_ratings(few)
    assert isinstance(results.agreement_table(few)["Alpha"][0], Missing) and "fewer than 10" in results.agreement_table(few)["Alpha"][0].reason
    assert all(isinstance(c, Missing) for c in results.means_table(few, labels)["realism"])
    table = results.metric_table(few, scored(items, bleu=0.5))
    assert len(table) == 2 and all(isinstance(c, Missing) for c in table.iloc[:, 3:].to_numpy().ravel())
    flat = [line | {"value": 3} for line in simulated(items, "a", sharp=1)]
    table = results.agreement_table(joined_of(items, flat, [line | {"rater": "b"} for line in flat]))
    assert "one and the same rating" in table["Alpha"][0].reason


def test_ratings_of_answers_that_no_longer_exist_are_counted(items):
    lines = pd.DataFrame(line for line in simulated(items, "a", sharp=1) if not line["item"].endswith(AGAIN))
    fewer = items[items["system"] != "phi-2"]
    joined, remarks = results.join_key(lines, fewer)
    assert set(joined["system"]) == set(SYSTEMS) - {"phi-2"} and len(joined) == len(lines) - 80
    assert remarks[0].startswith("80 ratings of 40 answers left out")


def test_export_joins_the_key_and_is_removed_with_the_ratings(items, tmp_path):
    items = items.assign(answer=[NASTY[2]] + items["answer"].tolist()[1:])
    joined = joined_of(items, simulated(items, "a", sharp=1))
    folder, tables = tmp_path / "rated", tmp_path / "tables"
    csv, lines = results.write_export(joined, folder)
    back = pd.read_csv(csv)
    assert len(back) == len(joined) and set(back["system"]) == set(SYSTEMS) and "'" + NASTY[2] in set(back["answer"])
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in csv.read_text().replace("\n", ",").split(","))
    entries = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(entries) == len(joined) and {"rater", "item", "scale", "value", "system", "persona_id", "answer"} <= entries[0].keys()
    tables.mkdir()
    (tables / "human_means.csv").write_text("")
    (tables / "table2_overall.csv").write_text("")
    results.remove_results(folder, tables)
    assert list(folder.iterdir()) == [] and [p.name for p in tables.iterdir()] == ["table2_overall.csv"]


# --- the run --------------------------------------------------------------------------------------------------------------------


def test_ratings_are_an_input_never_an_output_and_never_published(tmp_path):
    run = SimpleNamespace(name="nano", paths=paths.run_paths("nano", str(tmp_path)))
    state = stages.Run(run, stages.Project())
    (run.paths.folder("preds") / "a.jsonl").write_text("{}")
    before = state.inputs("09", {})
    append_rating(run.paths.results / "ratings" / "r1.jsonl", "x", "realism", 3, seconds=1)
    assert state.inputs("09", {}).keys() - before.keys() == {"results/nano/ratings/r1.jsonl"}, "a new rating makes stage 09 run again"
    assert not [name for name in state.files() if "ratings" in name], "no stage ever owns, checks or misses it"
    assert manifest.RATINGS == "ratings" and not {"ratings", "rated", ""} & set(publish.FOLDERS)
    ignored = subprocess.run(["git", "check-ignore", "-q", "results/nano/ratings/r1.jsonl"], cwd=paths.ROOT).returncode
    assert ignored in (0, 128), "git ignores ratings (128: not a clone)"


def test_results_are_written_only_when_nobody_rates_any_more(items, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("POLYPERSONA_NONCE", raising=False)
    joined, run_paths = joined_of(items, simulated(items, "a", sharp=1)), paths.run_paths("nano", str(tmp_path))
    assert results.unblinded(joined, False).empty and "still blind" in capsys.readouterr().out
    views = (results.agreement_table(joined), results.means_table(joined, {s: s for s in SYSTEMS}), pd.DataFrame())
    assert results.write_results(results.unblinded(joined, True), views, run_paths, "toy") == "written: ratings.csv ratings.jsonl"
    assert sorted(p.stem for p in run_paths.folder("tables").glob("*.csv")) == ["human_agreement", "human_means"], "a table without rows is not written"
    monkeypatch.setenv("POLYPERSONA_NONCE", "x")
    assert results.unblinded(joined, False).equals(joined), "the runner rates nothing"
    assert "nothing to export" in results.write_results(joined.iloc[:0], views, run_paths, "toy") and not list(run_paths.results.rglob("*.csv"))
