"""What students see: the map of the pipeline and its hand-offs, the pictures that explain, the learnt update, and notebooks opened alone."""

from __future__ import annotations

import pickle
import re
import shutil
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from timing import allowed

from polypersona_lib import locate, paths, records
from polypersona_lib.config import RunConfig
from polypersona_lib.figures import pipeline_map
from polypersona_lib.figures.ablation_figures import plot_gains, plot_left_out
from polypersona_lib.figures.lesson_figures import plot_directions, plot_levels, plot_mask
from polypersona_lib.figures.pipeline_map import plot_map
from polypersona_lib.figures.style import OURS, PAGE
from polypersona_lib.locate import READS
from polypersona_lib.models import adapters
from polypersona_lib.probe import cards, interview
from polypersona_lib.prompts import token_view
from polypersona_lib.prompts.token_view import Token
from polypersona_lib.scoring import evaluation
from polypersona_lib.studies.ablations import arms, findings
from polypersona_lib.systems import system_labels
from polypersona_lib.world import audit, dataset, respondents
from polypersona_lib.world.questions import DOMAINS, load_questions

SHIPPED = paths.ROOT / "results" / "shipped"
ADAPTER = SHIPPED / "adapters" / "tinyllama-1.1b"


@pytest.fixture(scope="module")
def known():
    return locate.stops()


@pytest.fixture
def alone(monkeypatch):
    """As in a notebook opened by hand."""
    monkeypatch.delenv("POLYPERSONA_NONCE", raising=False)


def notebook(folder, name, first):
    import nbformat

    folder.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(first)]), folder / f"{name}.ipynb")


def opening(reads, writes):
    return f"# Title: and more\n\n> One.\n\n| reads | writes | artefact of the paper | time |\n|---|---|---|---|\n| {reads} | {writes} | none | seconds |"


# --- the map -------------------------------------------------------------------------------------------------------------------------


def test_the_map_knows_every_stage_and_says_who_hands_what_to_whom(known):
    edges = locate.hand_offs(known)
    assert set(READS) <= set(known) and known["03"].name == "QLoRA training"
    assert edges["03", "04"] == ("adapters", "runs") and set(edges["04", "05"]) == {"scores", "preds"} and edges["03", "00"] == ("adapters",)
    assert ("08", "09") not in edges, "09 reads scores/rows.parquet, which 08 does not write"
    assert ("08", "10") not in edges and ("06", "08") not in edges
    assert edges["07", "90"] == ("ablations.json", "tables") and ("11", "90") not in edges, "what stands aside is handed on only where it is asked for"
    assert edges["03", "11"] == ("adapters",) and edges["04", "11"] == ("administration",), "the sessions read the nano run's folders"
    assert all(edges[n, "90"] == ("",) for n in ("01", "02", "03", "04", "05", "06", "08", "09", "10")), "the report reads everything of the run"
    assert all(start < end for start, end in edges if end != "00")


def test_arrows_that_another_way_replaces_are_left_out_and_no_connection_is_lost(known):
    edges = locate.hand_offs(known)
    direct = locate.direct(edges)
    assert ("01", "04") in edges and ("01", "04") not in direct and {("01", "03"), ("03", "04"), ("07", "90")} <= direct < set(edges)
    reached = {start: {end for s, end in direct if s == start} for start in known}
    for _ in known:
        reached = {start: ends.union(*(reached[end] for end in ends)) for start, ends in reached.items()}
    assert all(end in reached[start] for start, end in edges)


def test_a_notebook_that_the_runner_does_not_know_reads_what_it_says(tmp_path):
    notebook(tmp_path, "01_some_thing", opening("`nothing`", "`dataset/`, `tables/data_*`"))
    notebook(tmp_path, "51_new", opening("`dataset/` and `tables/data_x.csv`", "`more/`"))
    known = locate.stops(tmp_path)
    assert [s.name for s in known.values()] == ["Title", "New"]
    assert locate.hand_offs(known) == {("01", "51"): ("dataset", "tables")}
    assert plot_map("51", notebooks=tmp_path)[0].get_figwidth() == pytest.approx(PAGE)
    notebook(tmp_path, "52_bad", "# Title\n\nno table")
    with pytest.raises(ValueError, match="52_bad.ipynb: its first cell is not a title with a table"):
        locate.stops(tmp_path)


@pytest.mark.parametrize("here", sorted(locate.stops()))
def test_the_map_marks_the_readers_notebook_in_words_and_every_text_fits_its_box(here, known):
    began = time.process_time()  # not the clock on the wall: other work beside the tests is no fault of the map
    fig, ax = plot_map(here)
    assert time.process_time() - began < allowed(3)
    filled = [box for box in ax.patches if to_hex(box.get_facecolor()) == OURS.lower()]
    assert len(ax.patches) == len(known) and len(filled) == 1 and filled[0].get_linewidth() > 1.5
    marks = [t for t in ax.texts if "you are here" in t.get_text()]
    assert len(marks) == 1 and not plt.get_fignums(), "an open figure would be shown twice"
    boxes = {box: box.get_window_extent() for box in ax.patches}
    for text in (t for t in ax.texts if t.get_text()[:2] in known and "reads" not in t.get_text() and "hands on" not in t.get_text()):
        inside = text.get_window_extent()
        own = [b for b in boxes.values() if b.x0 <= inside.x0 and inside.x1 <= b.x1 and b.y0 <= inside.y0 and inside.y1 <= b.y1]
        assert len(own) == 1, text.get_text()
    assert not any(marks[0].get_window_extent().overlaps(b) for box, b in boxes.items() if box is not filled[0]), "the mark lies on another box"
    page = fig.bbox
    assert all(t.get_window_extent().x1 <= page.x1 for t in ax.texts)


def test_the_map_names_what_goes_in_and_out(known):
    reads, gives = pipeline_map.in_words("04", locate.hand_offs(known))
    assert reads == "04 reads: dataset from 01; adapters from 03; runs from 03" and "scores to 05, 06, 08, 09" in gives and "all it wrote to 90" in gives
    assert pipeline_map.in_words("01", {})[0] == "01 reads: files of the project alone"
    with pytest.raises(ValueError, match="unknown notebook '99'; choose from 00, 01"):
        plot_map("99")


# --- the pictures --------------------------------------------------------------------------------------------------------------------


def test_the_mask_shows_every_token_and_marks_loss_twice():
    tokens, labels = ["Persona: ", "$x$", "a\x1b[31m\n", "", "Yes", "</s>"], [-100, -100, -100, -100, 7, 2]
    fig, ax = plot_mask(tokens, labels, note="toy")
    shown = [t.get_text() for t in ax.texts]
    assert shown[:6] == ["Persona: ", "$x$", "a□[31m↵", "□", "Yes", "</s>"] and not any(t.get_parse_math() for t in ax.texts[:6])
    filled = [to_hex(p.get_facecolor()) == OURS.lower() for p in ax.patches[:6]]
    assert filled == [False] * 4 + [True] * 2 and len(ax.lines) == 2 + 2, "two underlined tokens, two lines of the legend"
    with pytest.raises(ValueError, match="6 tokens and 5 labels"):
        plot_mask(tokens, labels[:5], note="toy")


def test_a_long_row_of_tokens_stays_on_the_page():
    fig, ax = plot_mask(["word "] * 300, [-100] * 200 + [1] * 100, note="toy")
    assert max(p.get_x() + p.get_width() for p in ax.patches) <= PAGE and min(p.get_y() for p in ax.patches) > ax.get_ylim()[0]
    rows = {round(p.get_y(), 4) for p in ax.patches[:300]}
    assert len(rows) > 3 and fig.get_figheight() > 1


def test_the_levels_show_the_true_error_and_refuse_parts_of_blocks():
    weights = np.random.default_rng(0).normal(size=(4, 64))
    rounded = np.round(weights, 1)
    _, axes = plot_levels(weights, rounded, np.linspace(-1, 1, 16), note="toy")
    assert np.allclose([bar.get_height() for bar in axes[2].patches], rounded[0] - weights[0])
    assert len(axes[0].lines) == 16 and sum(bar.get_height() for bar in axes[0].patches) == weights.size
    with pytest.raises(ValueError, match="whole blocks of 64"):
        plot_levels(weights.ravel()[:100], rounded.ravel()[:100], [0], note="toy")


def test_equal_directions_lie_on_the_dashed_line_and_one_direction_holds_all():
    _, axes = plot_directions({"equal": np.ones(4), "one": np.array([2.0, 0, 0, 0])}, note="toy")
    assert np.allclose(axes[1].lines[0].get_ydata(), [25, 50, 75, 100]) and np.allclose(axes[1].lines[1].get_ydata(), 100)
    with pytest.raises(ValueError, match="largest first"):
        plot_directions({"rising": np.array([1.0, 2.0])}, note="toy")


# --- the learnt update ---------------------------------------------------------------------------------------------------------------


def test_singular_values_are_those_of_the_whole_update():
    from safetensors.numpy import load_file

    values = adapters.singular_values(ADAPTER)
    weights = load_file(ADAPTER / "adapter_model.safetensors")
    name = next(n for n in weights if n.endswith("q_proj.lora_A.weight"))
    whole = 2.0 * weights[name.replace("lora_A", "lora_B")].astype(float) @ weights[name].astype(float)
    place = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
    one = values[values["place"] == place]
    assert np.allclose(one["value"], np.linalg.svd(whole, compute_uv=False)[:16], atol=1e-9) and one["share"].iloc[-1] == pytest.approx(1)
    assert len(values) == 16 * sum("lora_A" in n for n in weights) and set(values["module"]) == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    }


def test_directions_needed_of_known_updates(tmp_path):
    from safetensors.numpy import save_file

    a, b = np.eye(4, 8, dtype=np.float32), np.zeros((6, 4), dtype=np.float32)
    first, equal = b.copy(), np.eye(6, 4, dtype=np.float32)
    first[0, 0] = 3
    names = {"one": first, "equal": equal, "zero": b}
    tensors = {f"base_model.model.{n}.q_proj.lora_{k}.weight": v for n, m in names.items() for k, v in (("A", a), ("B", m))}
    save_file({n: v.copy() for n, v in tensors.items()}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 8}')
    values = adapters.singular_values(tmp_path)
    needed = adapters.directions_needed(values)
    assert needed["one.q_proj"] == 1 and needed["equal.q_proj"] == 4 and np.isnan(needed["zero.q_proj"])
    assert values.loc[values["place"] == "one.q_proj", "value"].iloc[0] == pytest.approx(6), "scaled by alpha / r"


# --- two prompts -----------------------------------------------------------------------------------------------------------------------


def test_two_prompts_are_compared_token_by_token():
    first, second = ([Token(t, "persona", t == "<s>") for t in text.split("|")] for text in ("<s>|a|b|c|d|25|e|f|g|h|i|j", "<s>|a|b|c|d|7|0|e|f|g|h|i|j"))
    assert token_view.compare_prompts(first, second, around=2) == [(" ", "[3 more]│c│d"), ("-", "25"), ("+", "7│0"), (" ", "e│f│[4 more]")]
    assert token_view.compare_prompts(first, second)[0] == (" ", "[1 more]│a│b│c│d")
    assert token_view.compare_prompts(first, second, around=9)[0] == (" ", "⟦<s>⟧│a│b│c│d")
    assert token_view.compare_prompts(first, first, around=2) == [(" ", "[12 more]")]


# --- opened alone ------------------------------------------------------------------------------------------------------------------------


def test_published_results_are_read_by_a_notebook_opened_alone_and_by_nobody_else(tmp_path, alone, monkeypatch, capsys):
    run = RunConfig(out=str(tmp_path))
    assert locate.find(run, "runs") == SHIPPED / "runs" and "published nano run" in capsys.readouterr().out
    for other, command in (
        (replace(run, seed=7), "nano --seed 7"),
        (replace(run, split="grouped"), "nano --split grouped"),
        (replace(run, profile="smoke"), "smoke"),
    ):
        with pytest.raises(FileNotFoundError, match=rf"\(\./run_all.sh {command}\)"):
            locate.find(other, "runs")
        assert locate.find_figure(other, "fig4_bleu") is None
    monkeypatch.setenv("POLYPERSONA_NONCE", "x")
    with pytest.raises(FileNotFoundError):
        locate.find(run, "runs")


def test_long_work_is_done_under_the_runner_once_begun_and_where_nothing_is_published(tmp_path, alone, monkeypatch):
    run = RunConfig(out=str(tmp_path))
    assert not locate.works_here(run, "adapters") and not locate.works_here(replace(run, models="phi-2"), "adapters")
    assert all(
        locate.works_here(replace(run, **change), "adapters") for change in ({"seed": 7}, {"split": "grouped"}, {"profile": "smoke"}, {"profile": "paper"})
    )
    run.paths.folder("adapters")
    assert not locate.works_here(run, "adapters"), "an empty folder is no beginning"
    (run.paths.results / "adapters" / ".phi-2.unfinished").mkdir()
    assert locate.works_here(run, "adapters"), "an interrupted training goes on"
    monkeypatch.setenv("POLYPERSONA_NONCE", "x")
    assert locate.works_here(replace(run, out=str(tmp_path / "other")), "adapters")


def test_a_widget_is_built_only_where_somebody_can_use_it(alone, monkeypatch):
    assert locate.live(lambda: "page") == "page"
    monkeypatch.setenv("POLYPERSONA_NONCE", "x")
    assert locate.live(lambda: 1 / 0) is None


def test_records_and_scores_opened_alone_are_the_published_ones_and_nothing_is_written(tmp_path, alone):
    run = RunConfig(out=str(tmp_path), models="phi-2,tinyllama-1.1b")
    assert [r["model"] for r in records.published_runs(run)] == [k for k in run.model_keys] and len(run.model_keys) == 2
    rows, systems = evaluation.score(run, {})
    assert set(systems["system"]) == set(system_labels(run)) == set(rows["system"]) and len(rows) == 357 * len(system_labels(run))
    assert pd.read_csv(SHIPPED / "scores" / "systems.csv").merge(systems).shape[0] == len(systems)
    assert not list(tmp_path.rglob("*.csv")) and not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(("score", "holds"), [(np.nan, True), (1.5, False)])
def test_a_failed_answer_has_no_score_and_passes_the_check_of_notebook_04(score, holds):
    (check,) = re.findall(r"assert (rows\[main\][^,]*,[^,]*), ", (paths.NOTEBOOKS / "04_evaluation.ipynb").read_text(encoding="utf-8"))
    rows = pd.DataFrame({"bleu": [0.1, score], "rouge1": [0.4, score]})
    assert eval(check, {"rows": rows, "main": list(rows)}) == holds


def test_a_report_opened_alone_shows_the_published_run_and_leaves_it_alone(tmp_path, alone, monkeypatch):
    run = RunConfig(out=str(tmp_path))
    published = locate.reported_run(run)
    assert published.paths.results == SHIPPED and (published.seed, published.name) == (42, "nano") and run.paths.results != SHIPPED
    assert locate.reported_run(replace(run, seed=7)).paths.results.name == "nano-seed7"
    shutil.copy(SHIPPED / "scores" / "rows.parquet", run.paths.folder("scores"))
    assert locate.reported_run(run) is run
    monkeypatch.setenv("POLYPERSONA_NONCE", "x")
    other = replace(run, out=str(tmp_path / "other"))
    assert locate.reported_run(other) is other


def test_own_predictions_are_scored_even_beside_published_scores(tmp_path, alone):
    run = RunConfig(out=str(tmp_path), models="phi-2")
    preds = run.paths.folder("preds")
    shutil.copy(SHIPPED / "preds" / "uniform.jsonl", preds)
    with pytest.raises(ValueError, match="No objects to concatenate"):
        evaluation.score(run, {})  # it wants the records of this run to score with


def test_a_study_reads_as_published_what_it_found_itself():
    found = findings.published(SHIPPED)
    assert (found.gains["study"] == arms.REFERENCE_ARM).sum() == 1 and (found.gains["study"] == arms.UNTUNED).sum() == 2
    trained = found.gains[found.gains["study"] != arms.UNTUNED]
    assert trained["gain"].notna().all() and set(trained["seeds"]) == {3} and found.domains["n"].sum() == 357 and found.retained["n"] == 357
    plot_gains(found.gains.dropna(subset=["gain"]), note="toy", reference=arms.REFERENCE_ARM)
    plot_left_out(found.domains, note="toy")
    plt.close("all")


def test_the_probe_names_its_sources(tmp_path, alone):
    said = interview.sources(RunConfig(out=str(tmp_path)))
    assert said == "read: cards of data/polypersona/paper; adapters: 0 of run nano, 7 published ones (results/shipped/adapters) of 7 models"


# --- what the prose says ------------------------------------------------------------------------------------------------------------------


def prose(number):
    import nbformat

    nb = nbformat.read(next(paths.NOTEBOOKS.glob(f"{number}_*.ipynb")), as_version=4)
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")


@pytest.fixture(scope="module")
def everyone():
    """All records, by split."""
    return {
        split: pd.concat([dataset.read_split(paths.DATASET / split, part).assign(part=part) for part in dataset.SPLITS], ignore_index=True)
        for split in ("paper", "grouped")
    }


def test_the_type_of_a_question_decides_the_length_of_an_answer_and_the_domain_does_not(everyone):
    """02, Fig. 5: domains do not differ by their mix of types; they hardly differ."""
    frame = everyone["paper"]
    chars = frame["reference"].str.len()
    between = {name: chars.groupby(frame[name]).transform("mean").var() / chars.var() for name in ("domain", "question_type")}
    assert between["domain"] < 0.02 and between["question_type"] > 0.6 and "decides most of an answer's length" in prose("02")


def test_the_split_is_as_balanced_as_notebook_01_says(everyone):
    gaps = {split: audit.split_balance(frame).max(axis=1) for split, frame in everyone.items()}
    assert gaps["paper"].max() < 1 and 1 < gaps["grouped"]["category"] < 5 and "below one percentage point" in prose("01")


def test_the_papers_share_of_parameters_is_quoted_as_printed():
    quoted = {number: re.findall(r"(\d+) ?%\"? fewer", prose(number)) for number in ("03", "06", "07")}
    assert all(set(found) == {"98"} for found in quoted.values()), quoted


def test_the_number_of_trainings_is_that_of_the_arms():
    chosen = arms.arms(RunConfig().train_spec, list(DOMAINS))
    trainings = sum(arm.method != "none" for arm in chosen) + len(arms.SEEDS) - 1  # full fine-tuning's other seeds
    assert f"{trainings} trainings of about" in prose("07")


def test_dropout_is_why_lora_keeps_more_activations(monkeypatch):

    kept = {method: arms.measured_memory("tinyllama-1.1b", method, rows=4)["activations"] for method in ("full", "lora")}
    add_lora = adapters.add_lora
    monkeypatch.setattr(adapters, "add_lora", lambda *args, **options: add_lora(*args, **options | {"dropout": 0.0}))
    without = arms.measured_memory("tinyllama-1.1b", "lora", rows=4)["activations"]
    assert without < kept["full"] < kept["lora"] and "because of its dropout" in prose("07")


def test_a_perfect_reader_is_moved_by_the_two_cards_of_notebook_03():
    card, question = cards.roll(42), load_questions()["healthcare.agreement.1"]
    calm, anxious = (
        respondents.card_probabilities(cards.changed(card, "traits", t), question) @ np.linspace(0, 1, 5) for t in ("calm, warm", "anxious, blunt")
    )
    assert anxious - calm > 0.5, "the statement is a complaint"


# --- the clock -----------------------------------------------------------------------------------------------------------------------------


def test_the_clock_is_no_part_of_the_run(capsys, monkeypatch):
    run, later = RunConfig(), RunConfig()
    assert run == later and hash(run) == hash(later) and "opened" not in repr(run) and pickle.loads(pickle.dumps(run)).opened == run.opened
    monkeypatch.setattr(time, "monotonic", lambda: run.opened + 75)
    run.so_far()
    assert capsys.readouterr().out == "run time so far: 1 min 15 s\n"


def test_records_are_read_in_the_order_of_the_models():
    assert [r["model"] for r in records.read_runs(SHIPPED / "runs", ("tinyllama-1.1b", "phi-2"))] == ["tinyllama-1.1b", "phi-2"]


def test_a_figure_is_shown_or_said_to_be_missing(tmp_path, alone, capsys):
    run = RunConfig(out=str(tmp_path))
    assert locate.show_figure(run, "fig4_bleu").data[:4] == b"\x89PNG"
    assert locate.show_figure(run, "no_such_figure") is None and "no_such_figure: not drawn yet" in capsys.readouterr().out
