"""Known-bad systems: each must score where it belongs and be called what it is; healthy systems must not be accused."""

import math

import numpy as np
import pandas as pd
import pytest
from known_bad import CONSTANT, build

from polypersona_lib import paths
from polypersona_lib.prompts import chat
from polypersona_lib.registry import MODELS
from polypersona_lib.scoring import diagnosis, metric_table, metrics, option_labels, readability, swap
from polypersona_lib.scoring.answer_files import load_predictions, predictions_frame
from polypersona_lib.scoring.option_labels import read_option
from polypersona_lib.systems import UPPER_BOUNDS
from polypersona_lib.world import dataset

ROW = ("bleu", "rouge1", "bertscore_f1", "semantic_sim", "format_valid", "quality")
PROBLEMS = {  # exactly these; notes are free
    "copy": {"copy"},
    "blind_copy": {"others_answers", "alike", "persona_blind"},
    "uniform_answers": {"others_answers", "persona_blind"},
    "constant": {"one_text", "alike", "persona_blind", "no_option", "other_topic"},
    "other_persona": {"others_answers", "other_people"},
    "prompt_echo": {"echo", "no_option", "persona_blind"},
    "empty": {"failed"},
    "german": {"language", "no_option", "persona_blind"},
    "spanish": {"language", "no_option", "persona_blind"},
    "control_text": {"control_text"},
    "wrong_format": {"no_option", "open_short", "open_long", "persona_blind", "other_topic"},
    "failing": {"failed"},
    "shuffled_words": {"shuffled_words", "cut_off"},
    "wrong_topic": {"other_topic"},
    "wrong_option": {"against_option", "copy"},
    "invented_words": {"non_words", "copy"},
}
READING = {"non_words", "shuffled_words", "other_topic", "against_option"}


@pytest.fixture(scope="module")
def world():
    """(preds, scores as system x metric, findings by system) of all known-bad systems; the option is read by the label rule."""
    parts = {name: option_labels.with_targets(dataset.read_split(paths.DATASET / "paper", name)) for name in dataset.SPLITS}
    everyone = pd.concat(parts.values(), ignore_index=True)
    preds = pd.concat([predictions_frame(parts["test"], answers, name) for name, answers in build(parts).items()], ignore_index=True)
    pool = everyone.assign(persona=[chat.render_card(c) for c in everyone["persona"]], chosen=everyone["target"])
    chosen = [np.nan if o is None else -1 if (r := read_option(p, o)) is None else r for p, o in zip(preds["prediction"], preds["options"], strict=True)]
    preds = preds.assign(chosen=chosen)
    preds = preds.assign(**readability.measure(preds, pool=pool))
    swapped = swap.swap_scores(preds, phrases=swap.phrases_of(preds["question_id"]), semantic=False)
    names = [c for c in swapped if c.startswith("swap_")]
    fifth = preds[preds.groupby("system").cumcount() % 5 == 0]  # scores of every fifth row are enough: what is asserted of them is far from close
    rows = metrics.score_rows(fifth, only=ROW)
    lines = pd.concat([metrics.summarise_rows(rows, metrics=ROW), metrics.summarise_rows(swapped, metrics=names, cluster="persona_id")])
    found = {s: diagnosis.diagnose(part.drop(columns="chosen"), lines[lines["system"] == s], pool=pool) for s, part in preds.groupby("system", sort=False)}
    return preds, lines.pivot(index="system", columns="metric", values="value"), found


@pytest.mark.parametrize("system", PROBLEMS)
def test_each_is_called_what_it_is(world, system):
    found = world[2][system]
    assert {f.id for f in found if f.severity == diagnosis.PROBLEM} == PROBLEMS[system], [f.text for f in found]
    for f in found:
        assert f.metric in metric_table.METRICS and f.n > 0 and np.isfinite(f.value) and "\n" not in f.text and "{" not in f.text


def test_scores_are_on_the_right_side(world):
    preds, scores, _ = world
    references = preds[preds["system"] == "copy"]
    assert scores.loc["copy", ["bleu", "rouge1", "bertscore_f1", "semantic_sim"]].min() > 0.98 and scores.loc["copy", "swap_gap_rouge1_content"] > 0.5
    for name in ("empty", "failing"):  # a failure is counted, never a zero
        assert scores.loc[name].isna().all() and (preds.loc[preds["system"] == name, "status"] == "failed").sum() == len(references)
    low = [s for s in scores.index if s not in ("copy", "control_text", "empty", "failing", "shuffled_words", "wrong_topic", "wrong_option", "invented_words")]
    assert scores.loc[low, "bleu"].max() < 0.10 and scores.loc[low, "rouge1"].max() < 0.30
    assert scores.loc["other_persona", "swap_gap_rouge1"] < -0.1 and scores.loc["constant", "swap_gap_rouge1_content"] == pytest.approx(0, abs=1e-9)
    assert scores.loc["blind_copy", ["swap_gap_rouge1", "swap_gap_rouge1_masked", "swap_gap_rouge1_content"]].to_numpy() == pytest.approx(0, abs=1e-9)
    for name in ("german", "spanish"):
        assert scores.loc[name, "rouge1"] < 0.05 and scores.loc[name, "semantic_sim"] < scores.loc["uniform_answers", "semantic_sim"]
    for name, most in (("control_text", 0), ("prompt_echo", 0), ("wrong_format", 0.25)):
        assert scores.loc[name, "format_valid"] <= most < 0.8 < scores.loc["copy", "format_valid"]
    assert scores.loc["control_text", "quality"] < scores.loc["copy", "quality"] - 0.05  # and nothing else gives it away
    assert scores.loc["constant", "quality"] < scores.loc["blind_copy", "quality"]


def test_numbers_are_in_the_line(world):
    found = world[2]
    by_id = {s: {f.id: f for f in lines} for s, lines in found.items()}
    assert by_id["copy"]["copy"].text.startswith("identical to the reference in 100 %") and by_id["copy"]["copy"].value == 1
    assert by_id["empty"]["failed"].text == "100 % of the answers are empty or failed" and by_id["empty"]["failed"].n == 357
    assert CONSTANT[:20] in by_id["constant"]["one_text"].text and "every answer is the same text" in by_id["constant"]["one_text"].text
    assert "is below zero" in by_id["other_persona"]["other_people"].text and "zero" in by_id["uniform_answers"]["persona_blind"].text


@pytest.fixture(scope="module")
def shipped():
    """The findings about every system of the published nano run, with their swap scores by today's definition."""
    folder = paths.ROOT / "results" / "shipped"
    everyone = pd.concat([dataset.read_split(paths.DATASET / "paper", name) for name in dataset.SPLITS], ignore_index=True)
    rows, systems = pd.read_parquet(folder / "scores" / "rows.parquet"), pd.read_csv(folder / "scores" / "systems.csv")
    preds = load_predictions(folder / "preds")
    preds = preds.merge(rows[["system", "id", "chosen", "target"]], on=["system", "id"])
    swapped = swap.swap_scores(preds, phrases=swap.phrases_of(preds["question_id"]), semantic=False)
    gaps = metrics.summarise_rows(swapped, metrics=list(diagnosis.SWAPS), cluster="persona_id")
    systems = pd.concat([systems[~systems["metric"].isin(diagnosis.SWAPS)], gaps])
    read = readability.measure(preds, pool=option_labels.with_targets(everyone).assign(chosen=lambda t: t["target"]))
    rows = rows.merge(preds[["system", "id"]].assign(**read), on=["system", "id"])
    return diagnosis.diagnose_systems(preds.drop(columns=["chosen", "target"]), rows, systems, pool=everyone), systems


def test_healthy_systems_are_not_accused(shipped):
    found, scores = shipped
    systems = set(scores["system"])
    wrong = found[found["severity"] == diagnosis.PROBLEM]
    models = wrong[wrong["id"].isin(READING)]
    assert all("--base" in s or f"{s}--base" in systems for s in models["system"])  # only models are hard to read, no baseline and no upper bound
    problems = wrong[~wrong["id"].isin(READING)].groupby("system")["id"].agg(set).to_dict()
    assert len(systems) > 15 and not set(problems) & set(UPPER_BOUNDS), problems
    tuned = {s for s in systems if f"{s}--base" in systems}
    swaps = scores[scores["metric"].isin(diagnosis.SWAPS)].pivot(index="system", columns="metric", values="lo").loc[sorted(tuned)]
    ignores = set(swaps.index[(swaps <= 0).all(axis=1)])  # whose swap gaps all include zero: to these the finding is no accusation but true
    assert len(tuned) == len(MODELS) + 1 and set(problems) & tuned == ignores, problems  # the twins, and SmolLM2 through its published adapter
    assert all(problems[system] == {"persona_blind"} for system in ignores)
    for floor, ids in {"persona_blind": {"others_answers", "alike", "persona_blind"}, "majority": {"others_answers", "alike", "persona_blind"}}.items():
        assert ids <= problems[floor]
    assert "persona_blind" in problems["uniform"]
    assert all(ids <= {"persona_blind"} for s, ids in problems.items() if s.endswith("--base") and s != "smollm2-135m--base")
    assert problems["smollm2-135m--base"] >= {"persona_blind", "echo", "cut_off"}, "a chat model that was not tuned repeats the prompt and finds no end"


# --- single rules --------------------------------------------------------------------------------------------------------------


def answers(predictions, **columns):
    preds = pd.DataFrame({"id": [f"r{i}" for i in range(len(predictions))], "prediction": predictions})
    return preds.assign(reference=[f"My own reply number {i} is about a matter of some weight." for i in range(len(preds))], **columns)


def ids(preds, lines=()):
    lines = pd.DataFrame(list(lines), columns=["metric", "value", "lo", "hi", "n"])
    return {f.id: f for f in diagnosis.diagnose(preds, lines)}


def test_nothing_to_remark_gives_nothing():
    assert ids(answers([f"I keep case {i} apart from all the others." for i in range(50)])) == {}


@pytest.mark.parametrize(("lost", "severity"), [(0, None), (1, "note"), (2, "problem"), (40, "problem")])
def test_failures_have_a_threshold(lost, severity):
    found = ids(answers([f"I keep case {i} apart." for i in range(40 - lost)] + [""] * lost)).get("failed")
    assert (found and found.severity) == severity and diagnosis.FAILED == 0.05  # 2 of 40


def test_a_share_just_below_its_threshold_is_a_note():
    copies = answers([f"I keep case {i} apart from the rest." for i in range(100)])
    for count, severity in ((9, None), (10, "note"), (19, "note"), (20, "problem")):
        mixed = copies.assign(prediction=copies["reference"].where(copies.index < count, copies["prediction"]))
        found = ids(mixed).get("copy")
        assert (found and found.severity) == severity


def test_swap_needs_rows_and_one_gap_above_zero_is_enough():
    preds = answers([f"I keep case {i} apart." for i in range(5)])
    gap = [("swap_gap_rouge1_content", 0.01, -0.01, 0.03, 300)]
    assert ids(preds, gap)["persona_blind"].severity == "problem"
    few = ids(preds, [("swap_gap_rouge1_content", 0.01, -0.01, 0.03, 99)])["persona_blind"]
    assert few.severity == "note" and "too few" in few.text
    assert not ids(preds, [*gap, ("swap_gap_option", 0.2, 0.1, 0.3, 200)])
    assert ids(preds, [("swap_gap_rouge1_content", -0.03, -0.04, -0.02, 300)])["other_people"].severity == "problem"
    assert "other_people" not in ids(preds, [("swap_gap_rouge1_content", -0.03, -0.05, -0.01, 300)]), "one healthy system in forty"
    assert not ids(preds, [("swap_gap_rouge1_content", math.nan, math.nan, math.nan, 0)])


def test_foreign_text_is_data():
    hostile = "<script>\x1b[31m {share} =1+1"
    found = ids(answers([hostile] * 10))["one_text"]
    assert "\x1b" not in found.text and "{share}" in found.text and found.text.count("%") == 0
    other = pd.DataFrame({"id": ["a", "b", "c"], "prediction": [None, "x", "y"], "reference": ["r", "s", "t"], "options": [None, float("nan"), "Yes"]})
    assert ids(other)["failed"].value == pytest.approx(1 / 3)


def test_another_script_and_little_text():
    chinese = [f"我觉得这件事情对我们家来说非常重要而且很难{i}" for i in range(40)]
    many = answers(chinese).assign(reference=[" ".join(f"w{chr(97 + i % 26)}{chr(97 + k)}" for k in range(20)) for i in range(40)])
    assert "language" in ids(many) and "language" not in ids(many.assign(prediction="OK."))
    assert "language" not in ids(many.head(3))  # too few words to know the language by
