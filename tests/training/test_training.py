"""Training and answering: the label mask, shared prefixes, reproducibility, and the traps of 4-bit layers. Everything on the shipped nano twins."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths, records, registry
from polypersona_lib.config import PROFILES, RunConfig, TrainSpec
from polypersona_lib.models import adapters, generation, loading, weights
from polypersona_lib.models.answerers import LocalAnswerer, Prompt, in_order
from polypersona_lib.models.shared_prefix import align, answer_logits, decoder, run_prefixes, select
from polypersona_lib.prompts import chat
from polypersona_lib.training import jobs, trainer
from polypersona_lib.training.answer_trainer import AnswerModel, Plan, trainer_of
from polypersona_lib.training.batches import answer_loss, encode_rows, persona_batches, process_batches, validation_loss
from polypersona_lib.world import dataset

FAMILIES = tuple(registry.MODELS)
SHAPES = [pytest.param(key, marks=[pytest.mark.full] if key in ("deepseek-r1-distill-qwen-1.5b", "qwen2-1.5b", "llama-2-7b") else []) for key in FAMILIES]


@pytest.fixture(scope="module")
def parts():
    """The published `paper` split."""
    return {part: dataset.read_split(paths.DATASET / "paper", part) for part in dataset.SPLITS}


@pytest.fixture(scope="module")
def tokenizers():
    return {key: loading.load_tokenizer(registry.get_spec(key), "nano") for key in FAMILIES}


def _adapted(key: str, *, four_bit: bool = True, dropout: float = 0.0):
    """A twin with a LoRA adapter whose B is not zero, so that both A and B have gradients."""
    import torch

    spec = registry.get_spec(key)
    base = loading.load_base(spec, "nano")
    model = adapters.add_lora(base if four_bit else base.dequantize().float(), spec, r=16, alpha=32, dropout=dropout, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
    return model.train()


def _gradients(model, loss) -> dict:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}  # an expert may have seen no token


def _assert_equal_gradients(a: dict, b: dict, tolerance: float) -> None:
    assert a.keys() == b.keys() and len(a) > 20
    for name in a:
        assert a[name].norm() > 0, f"{name}: no gradient"
        assert (a[name] - b[name]).norm() <= tolerance * b[name].norm(), name


# --- the label mask ------------------------------------------------------------------------------------------------------------


def _reference_labels(tokenizer, triplet) -> list[int]:
    """Labels as a prompt-completion trainer makes them: the whole text encoded at once, loss on the tokens that start after the prompt."""
    template = tokenizer.chat_template or chat.CHATML
    prompt = tokenizer.apply_chat_template(triplet[:2], chat_template=template, tokenize=False, add_generation_prompt=True).removesuffix("<think>\n")
    full = tokenizer.apply_chat_template(triplet, chat_template=template, tokenize=False, add_generation_prompt=False).rstrip("\n")
    assert full.startswith(prompt)
    encoded = tokenizer(full, add_special_tokens=False, return_offsets_mapping=True)
    labels = [token if start >= len(prompt) else -100 for token, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)]
    first = [-100] if tokenizer.bos_token and not full.startswith(tokenizer.bos_token) else []
    last = [] if labels[-1] == tokenizer.eos_token_id else [tokenizer.eos_token_id]
    return first + labels + last


@pytest.mark.parametrize("key", FAMILIES)
def test_only_the_assistants_tokens_carry_loss(key, parts, tokenizers):
    tokenizer = tokenizers[key]
    for triplet in parts["train"]["messages"].iloc[::60]:
        row = chat.encode(tokenizer, triplet)
        assert row.labels == _reference_labels(tokenizer, triplet)
        assert len(row.labels) == len(row.ids) and all(label in (-100, token) for label, token in zip(row.labels, row.ids, strict=True))
        said = tokenizer.decode([label for label in row.labels if label != -100], skip_special_tokens=True)
        assert said.removesuffix("<|im_end|>").strip() == triplet[2]["content"]
        assert row.labels[-1] == tokenizer.eos_token_id, "the stop token is learned"


@pytest.mark.parametrize("key", FAMILIES)
def test_rows_are_short(key, parts, tokenizers):
    """150 tokens on average; 20 more where control strings are plain text, spelled letter by letter ([INST], <<SYS>>)."""
    rows = encode_rows(tokenizers[key], parts["train"])
    spelled = "[INST]" in registry.get_spec(key).control
    assert sum(len(r.ids) for r in rows) / len(rows) <= (170 if spelled else 150)


# --- shared prefixes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", SHAPES)
def test_shared_prefixes_have_the_loss_and_gradients_of_whole_rows(key, parts, tokenizers):
    import torch

    from polypersona_lib.models.shared_prefix import pad

    tokenizer, model = tokenizers[key], _adapted(key)
    frame = parts["train"][parts["train"]["persona_id"].isin(parts["train"]["persona_id"].value_counts().index[:3])].head(12)
    rows = encode_rows(tokenizer, frame)
    assert len({tuple(r.shared) for r in rows}) < len(rows)
    shared = answer_loss(model, rows, tokenizer.pad_token_id, shared=True)
    ids, mask = pad([r.ids for r in rows], tokenizer.pad_token_id)
    labels, _ = pad([r.labels for r in rows], -100)
    whole = model(input_ids=ids, attention_mask=mask, labels=labels).loss  # the library's own loss, every position computed
    assert shared.item() == pytest.approx(whole.item(), rel=1e-5)
    assert answer_loss(model, rows, tokenizer.pad_token_id, shared=False).item() == pytest.approx(whole.item(), rel=1e-5)
    _assert_equal_gradients(_gradients(model, shared), _gradients(model, whole), 1e-5)
    assert torch.isfinite(whole)


def test_batches_hold_every_row_once_and_keep_personas_together(parts, tokenizers):
    rows = encode_rows(tokenizers[FAMILIES[-1]], parts["train"].head(300))
    batches = persona_batches(rows, 16, 42, 1)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    assert batches == persona_batches(rows, 16, 42, 1) != persona_batches(rows, 16, 42, 2)
    spread = sum(len({tuple(rows[i].shared) for i in batch}) for batch in batches)
    assert spread <= len({tuple(r.shared) for r in rows}) + len(batches)


@pytest.mark.parametrize(("count", "size", "processes"), [(300, 16, 1), (297, 8, 2), (289, 4, 2), (50, 4, 3), (49, 8, 3), (2, 4, 2)])
def test_several_processes_get_every_row_once_and_equally_many_batches(count, size, processes, parts, tokenizers):
    """Also where the rows do not divide: a short batch is shared, in every epoch another one."""
    rows = encode_rows(tokenizers[FAMILIES[-1]], parts["train"].head(count))
    recipe, orders = TrainSpec(micro_batch=size, accumulation=1, processes=processes), []
    for epoch in (1, 2):
        shares = [process_batches(rows, recipe, epoch, process) for process in range(processes)]
        assert sorted(i for share in shares for batch in share for i in batch) == list(range(len(rows)))
        assert len({len(share) for share in shares}) == 1 and all(0 < len(batch) <= size + 1 for share in shares for batch in share)
        assert len(shares[0]) == Plan(spec=None, recipe=recipe, rows=rows, pad_id=0, log=None).batches
        orders.append(shares)
    assert orders[0] != orders[1] or count == 2
    if processes == 1:
        assert orders[0][0] == persona_batches(rows, size, recipe.seed, 1)


# --- four bits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", SHAPES)
def test_four_bit_gradients_are_right_before_and_after_a_validation(key, parts, tokenizers):
    """bitsandbytes re-packs a 4-bit layer at its first forward in eval mode and then has no backward; `load_base` prevents it."""
    tokenizer, packed, plain = tokenizers[key], _adapted(key), _adapted(key, four_bit=False)
    rows = encode_rows(tokenizer, parts["train"].head(6))

    def gradients(model):
        return _gradients(model, answer_loss(model, rows, tokenizer.pad_token_id, shared=True))

    expected = gradients(plain)
    _assert_equal_gradients(gradients(packed), expected, 1e-4)
    before = validation_loss(packed, rows, tokenizer.pad_token_id)
    packed.train()
    _assert_equal_gradients(gradients(packed), expected, 1e-4)
    assert validation_loss(packed, rows, tokenizer.pad_token_id) == before
    flags = [m.support_avx512bf16_for_cpu for m in packed.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
    assert flags and not any(flags)


def test_training_on_unpacked_weights_is_training_on_packed_ones_to_the_last_bit(parts, tokenizers, monkeypatch):
    """On a CPU the rounded weights are written out once instead of at every step. Both with PEFT's own layers (see `test_fused_lora`)."""
    import torch

    monkeypatch.setattr(adapters, "fuse", lambda model: 0)
    key = "tinyllama-1.1b"
    rows, found = encode_rows(tokenizers[key], parts["train"].head(6)), []
    for unpack in (False, True):
        spec, base = registry.get_spec(key), loading.load_base(registry.get_spec(key), "nano")
        model = adapters.add_lora(loading.unpacked(base) if unpack else base, spec, r=16, alpha=32, dropout=0.05, seed=1).train()
        torch.manual_seed(3)
        found.append(_gradients(model, answer_loss(model, rows, tokenizers[key].pad_token_id, shared=True)))
    assert found[0].keys() == found[1].keys() and all(torch.equal(a, b) for a, b in zip(*(f.values() for f in found), strict=True))


@pytest.mark.parametrize("key", ["phi-2", "qwen1.5-moe"])
def test_gradient_checkpointing_changes_no_gradient(key, parts, tokenizers):
    """It recomputes each block and keeps no cache: whole rows must go through without one."""
    rows, model = encode_rows(tokenizers[key], parts["train"].head(4)), _adapted(key)
    expected = _gradients(model, answer_loss(model, rows, tokenizers[key].pad_token_id, shared=False))
    model.get_base_model().gradient_checkpointing_enable()
    model.get_base_model().enable_input_require_grads()
    found = _gradients(model, answer_loss(model, rows, tokenizers[key].pad_token_id, shared=False))
    _assert_equal_gradients(found, expected, 1e-5)


# --- LoRA and adapters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", FAMILIES)
def test_lora_trains_what_the_family_lists_and_nothing_else(key):
    spec = registry.get_spec(key)
    model = adapters.add_lora(loading.load_base(spec, "nano"), spec, r=16, alpha=32, dropout=0.05, seed=1)
    assert all("lora_" in n for n, p in model.named_parameters() if p.requires_grad)
    layers, blocks = spec.nano["num_hidden_layers"], spec.nano.get("num_experts", 0) + 1  # a mixture has a shared expert beside the routed ones
    expected = {t: layers * (blocks if t in ("gate_proj", "up_proj", "down_proj") else 1) for t in spec.lora_targets}
    assert adapters.lora_modules(model, spec) == adapters.lora_modules(model.get_base_model(), spec) == expected


def test_a_lora_target_that_matches_nothing_is_an_error():
    spec = registry.get_spec("tinyllama-1.1b")
    base = loading.load_base(spec, "nano")
    with pytest.raises(ValueError, match=r"fc1 match no module; linear layers here: .*q_proj"):
        adapters.add_lora(base, replace(spec, lora_targets=("q_proj", "fc1")), r=16, alpha=32, dropout=0.0, seed=1)


def _saved(key: str, folder) -> None:
    """An adapter that changes something, as training leaves it."""
    adapters.save_adapter(_adapted(key), folder)


def test_an_adapter_of_another_base_is_an_error(tmp_path):
    _saved("llama-2-7b", tmp_path)
    with pytest.raises(ValueError, match="an adapter of data/models/llama-2-7b, not of data/models/tinyllama-1.1b"):
        adapters.load_for_inference(registry.get_spec("tinyllama-1.1b"), "nano", tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "data/models/tinyllama-1.1b"}))
    with pytest.raises(ValueError, match="does not fit data/models/tinyllama-1.1b"):
        adapters.load_for_inference(registry.get_spec("tinyllama-1.1b"), "nano", tmp_path)


@pytest.mark.parametrize("key", SHAPES)
def test_saving_loading_and_merging_keep_what_the_model_says(key, parts, tokenizers, tmp_path):
    """Bound of the largest difference of a logit: 1e-3; greedy choices equal on 99 % of the answer tokens."""
    import torch

    adapted = _adapted(key).eval()
    adapters.save_adapter(adapted, tmp_path)
    merged = adapters.load_for_inference(registry.get_spec(key), "nano", tmp_path)
    rows = encode_rows(tokenizers[key], parts["validation"].head(8))
    with torch.no_grad():
        a, b = (answer_logits(m, rows, tokenizers[key].pad_token_id, shared=False)[0] for m in (adapted, merged))
    assert (a - b).abs().max() < 1e-3 and (a.argmax(-1) == b.argmax(-1)).float().mean() >= 0.99


def test_a_missing_or_empty_adapter_is_an_error(tmp_path):
    spec = registry.get_spec("tinyllama-1.1b")
    with pytest.raises(FileNotFoundError, match="run notebook 03 first"):
        adapters.load_for_inference(spec, "nano", tmp_path)
    adapters.add_lora(loading.load_base(spec, "nano"), spec, r=16, alpha=32, dropout=0.0, seed=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="changes nothing"):
        adapters.load_for_inference(spec, "nano", tmp_path)


# --- training ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", SHAPES)
def test_thirty_steps_lower_the_validation_loss(key, parts, tokenizers, tmp_path):
    spec, recipe = registry.get_spec(key), replace(PROFILES["nano"].train, epochs=1, micro_batch=8, learning_rate=1.5e-3)  # few steps, larger ones
    base = loading.unpacked(loading.load_base(spec, "nano"))
    tokenizer, model = tokenizers[spec.key], adapters.add_lora(base, spec, r=16, alpha=32, dropout=0.05, seed=42)
    rows, held = (encode_rows(tokenizer, parts[p].iloc[::5].head(n)) for p, n in (("train", 240), ("validation", 64)))
    before, seen = validation_loss(model, held, tokenizer.pad_token_id), []
    plan = Plan(spec=spec, recipe=recipe, rows=rows, pad_id=tokenizer.pad_token_id, log=tmp_path, on_epoch=lambda model, epoch, state: seen.append(epoch))
    trainer = trainer_of(model, plan)
    trainer.train()
    assert trainer.state.global_step == 30 and seen == [1]
    assert validation_loss(model, held, tokenizer.pad_token_id) < before - 0.01


def test_one_process_takes_one_of_several_gpus(tmp_path, monkeypatch):
    """The Trainer would wrap the model in DataParallel: row numbers are no tensors, so that every GPU would be given all rows."""
    import torch

    from polypersona_lib.training import answer_trainer

    monkeypatch.setattr(answer_trainer, "device", lambda: "cuda")
    monkeypatch.setattr(answer_trainer, "precision", lambda spec, where: torch.float32)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    plan = Plan(spec=registry.get_spec("phi-2"), recipe=TrainSpec(), rows=[], pad_id=0, log=tmp_path)
    assert answer_trainer.arguments_of(plan).n_gpu == 1


def test_a_training_on_a_gpu_begins_without_the_model_before_it_and_its_peak(monkeypatch):
    import torch

    done = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for place, name in ((trainer.gc, "collect"), (torch.cuda, "empty_cache"), (torch.cuda, "reset_peak_memory_stats"), (trainer, "load_tokenizer")):
        monkeypatch.setattr(place, name, lambda *given, name=name: done.append(name) if not given else pytest.fail(str(done)))
    run = RunConfig(profile="smoke")
    job = trainer.Job(run=run, spec=registry.get_spec("phi-2"), parts={}, recipe=TrainSpec(), resources="", identity={}, mark="")
    with pytest.raises(pytest.fail.Exception, match="'collect', 'empty_cache', 'reset_peak_memory_stats'"):
        trainer.fine_tune(job)


def test_the_processes_of_a_training_wait_two_hours_for_each_other(tmp_path, monkeypatch):
    """Whoever makes the process group first says how long: accelerate does, before the Trainer's arguments are read."""
    import accelerate

    given, file = {}, tmp_path / "job"
    file.write_bytes(pickle.dumps("a job"))
    monkeypatch.setattr(accelerate, "PartialState", lambda **settings: given.update(settings))
    monkeypatch.setattr(jobs, "fine_tune", given.setdefault)
    monkeypatch.setattr(jobs, "_end_with", lambda launcher: None)
    monkeypatch.setenv(jobs.LAUNCHED_BY, "1")
    jobs.main([str(file)])
    assert given["timeout"].total_seconds() == 7200 and "a job" in given


TINY = """
import json, sys
from polypersona_lib import paths, registry
from polypersona_lib.training import jobs, trainer
from polypersona_lib.world import dataset
from polypersona_lib.config import RunConfig
trainer.epoch_scores = lambda *a, **k: {}
parts = {part: dataset.read_split(paths.DATASET / "paper", part).head(48 if part == "train" else 8) for part in dataset.SPLITS}
record = jobs.train(RunConfig(profile="smoke", out=sys.argv[1]), registry.get_spec("tinyllama-1.1b"), parts)
print(json.dumps({k: record[k] for k in ("adapter_hash", "data_hash", "epochs", "best_epoch", "fingerprint")}))
"""


def _train_tiny(out, *, hash_seed: int) -> dict:
    """Train 48 rows in a fresh process with one thread. Returns the record's hashes and losses."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(paths.ROOT)}
    done = subprocess.run([sys.executable, "-c", TINY, str(out)], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_training_twice_gives_the_same_bits(tmp_path):
    """With the same number of threads: one and two sum in another order."""
    assert _train_tiny(tmp_path / "first", hash_seed=1) == _train_tiny(tmp_path / "second", hash_seed=2)
    written = list((RunConfig(profile="smoke", out=str(tmp_path / "first")).paths.results / "adapters" / "tinyllama-1.1b").iterdir())
    assert "adapter_model.safetensors" in {p.name for p in written}
    assert not any(str(paths.ROOT).encode() in p.read_bytes() for p in written), "no path of this machine in a published adapter"


LAUNCH = """
import json, sys
from dataclasses import replace
from polypersona_lib import paths, registry
from polypersona_lib.training import jobs, trainer
from polypersona_lib.world import dataset
from polypersona_lib.config import PROFILES, RunConfig
from polypersona_lib.files import fingerprint
out, processes = sys.argv[1], int(sys.argv[2])
parts = {part: dataset.read_split(paths.DATASET / "paper", part).head(42 if part == "train" else 8) for part in dataset.SPLITS}
recipe = replace(PROFILES["smoke"].train, micro_batch=8 // processes, accumulation=2, processes=processes, dropout=0.0, epochs=2)
run, spec = RunConfig(profile="smoke", out=out), registry.get_spec("tinyllama-1.1b")
identity = {"train_spec": recipe, "model": spec.key, "data_hash": "-", "template_hash": "-"}
job = trainer.Job(run, spec, parts, recipe, "", identity, fingerprint(identity))
jobs.launch(job) if processes > 1 else trainer.fine_tune(job)
record = json.loads(job.record_path.read_text())
print(json.dumps({"epochs": record["epochs"], "curve": record["loss_curve"], "files": sorted(p.name for p in job.adapter.iterdir())}))
"""


def test_two_processes_train_what_one_does(tmp_path):
    """`accelerate launch` splits every batch, the last and short one too, in both epochs: the losses are those of one process, up to rounding."""
    found = []
    for processes in (1, 2):
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(paths.ROOT)}
        command = [sys.executable, "-c", LAUNCH, str(tmp_path / str(processes)), str(processes)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout.splitlines()[-1]))
    one, two = found
    assert one["files"] == two["files"]
    assert [e["val_loss"] for e in two["epochs"]] == pytest.approx([e["val_loss"] for e in one["epochs"]], rel=1e-4) and len(two["epochs"]) == 2
    assert [e["loss"] for e in two["curve"]] == pytest.approx([e["loss"] for e in one["curve"]], rel=1e-4)


def test_no_process_of_a_training_outlives_the_one_that_launched_it(tmp_path):
    """After kill -9 of a worker the same command starts anew: nothing may go on writing beside it."""
    import psutil

    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(paths.ROOT)}
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, str(tmp_path), "2"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    below, end = [], time.monotonic() + 120
    while sum("polypersona_lib.training.jobs" in " ".join(p.cmdline()) for p in below) < 3:  # accelerate and its two processes
        assert launcher.poll() is None and time.monotonic() < end, "the training did not start"
        time.sleep(0.2)
        below = [p for p in psutil.Process(launcher.pid).children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    launcher.kill()
    launcher.wait()
    assert not psutil.wait_procs(below, timeout=60)[1]


# --- answering -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", SHAPES)
def test_an_answer_does_not_depend_on_the_rows_beside_it(key, parts, tokenizers):
    model, tokenizer = adapters.load_for_inference(registry.get_spec(key), "nano", None), tokenizers[key]
    frame = parts["test"].head(9)

    def answers(rows, seed=42):
        return generation.generate(model, tokenizer, rows, seed=seed)["text"].tolist()

    together, backwards = answers(frame), answers(frame.iloc[::-1])[::-1]
    alone = [answers(frame.iloc[i : i + 1])[0] for i in range(3)]
    assert together == backwards and together[:3] == alone and all(together)
    assert answers(frame.head(3), 43) != together[:3]


@pytest.mark.parametrize("key", SHAPES)
def test_a_cache_with_room_says_the_same_to_the_last_bit_and_is_never_overrun(key, parts, tokenizers):
    import torch

    model, tokenizer = _adapted(key).eval(), tokenizers[key]
    body, first, said = decoder(model)[0], [chat.encode_prompt(tokenizer, m)[0] for m in parts["test"]["messages"].iloc[::90]], []
    for room in (0, 4):
        with torch.no_grad():
            cache, mask = align(*run_prefixes(model, first, tokenizer.pad_token_id), room)
            for token in (11, 12, 13, 14):
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=-1)
                ids = torch.full((len(mask), 1), token)
                out = body(input_ids=ids, attention_mask=mask, position_ids=mask.sum(-1, keepdim=True) - 1, past_key_values=cache, use_cache=True)
        if room:
            with pytest.raises(RuntimeError), torch.no_grad():
                body(input_ids=ids, attention_mask=torch.cat([mask, mask[:, -1:]], dim=-1), past_key_values=cache, use_cache=True)
        said.append((out.last_hidden_state, select(cache, torch.tensor([1]), room).layers[-1].keys))
        assert all((layer.keys is None) == bool(room) for layer in cache.layers), "a cache with room is used up as another is made of it"
    assert all(torch.equal(a, b) for a, b in zip(*said, strict=True))


@pytest.mark.parametrize("begun", ["", weights.BEGUN])
@pytest.mark.parametrize("key", SHAPES)
def test_options_are_as_probable_as_if_each_were_read_alone_behind_its_whole_prompt(key, begun, parts, tokenizers):
    """Shared beginnings (of the persona, of a question in two orders) and labels side by side change nothing; Mistral's layers see 64 places back."""
    import torch

    model, tokenizer = adapters.load_for_inference(registry.get_spec(key), "nano", None), tokenizers[key]
    closed = parts["test"][parts["test"]["options"].map(bool)].head(5)
    turned = closed.assign(
        id=closed["id"] + "|turned", options=[list(o)[::-1] for o in closed["options"]],
        messages=[in_order(m[:2], list(o), range(len(o))[::-1]) for m, o in zip(closed["messages"], closed["options"], strict=True)],
    )  # fmt: skip
    frame = pd.concat([closed, turned.tail(4)], ignore_index=True)  # one question stands in one order alone
    draws = generation.Draws(1, [generation.ADMINISTRATION] * len(frame))
    found = generation.respond(model, tokenizer, frame, draws, with_options=True, begun=begun)
    texts = generation.respond(model, tokenizer, frame, draws, begun=begun)["text"]
    assert found["text"].tolist() == texts.tolist(), "scoring leaves the cache as it was"
    for row in frame.join(found).itertuples():
        (prefix, rest), lead, logs = chat.encode_prompt(tokenizer, row.messages), chat.answer_lead(tokenizer), []
        rest = rest + (tokenizer(lead + begun, add_special_tokens=False)["input_ids"] if begun else [])
        for name in row.options:
            label = tokenizer((" " if begun else lead) + name, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                scores = model(input_ids=torch.tensor([prefix + rest + label])).logits[0].double().log_softmax(-1)
            logs.append(sum(scores[len(prefix + rest) - 1 + n, token].item() for n, token in enumerate(label)))
        alone = np.exp(logs)
        assert row.option_probs == pytest.approx(alone / alone.sum(), rel=1e-3, abs=1e-6)
        assert row.option_mass == pytest.approx(alone.sum(), rel=1e-3)


def test_option_probabilities_sum_to_one(parts, tokenizers):
    key = FAMILIES[-1]
    frame = parts["test"][parts["test"]["options"].map(bool)].head(6)
    model = adapters.load_for_inference(registry.get_spec(key), "nano", None)
    out = generation.respond(model, tokenizers[key], frame, generation.Draws(42, [generation.ADMINISTRATION] * len(frame)), with_options=True)
    for probabilities, options in zip(out["option_probs"], frame["options"], strict=True):
        assert len(probabilities) == len(options) and probabilities.sum() == pytest.approx(1) and (probabilities >= 0).all()


# --- what a review found ---------------------------------------------------------------------------------------------------------------


def test_a_recipe_that_shares_prefixes_shares_none_under_gradient_checkpointing(parts, tokenizers):
    """Checkpointing takes the cache away in training (on a GPU): sharing there would train on answers without a persona, and say nothing."""
    key = "tinyllama-1.1b"
    rows, model = encode_rows(tokenizers[key], parts["train"].head(4)), _adapted(key)
    recipe, pad_id = TrainSpec(shared_prefix=True), tokenizers[key].pad_token_id
    plan = Plan(spec=registry.get_spec(key), recipe=recipe, rows=rows, pad_id=pad_id, log=Path("unused"))
    items = sum(len(row.answer) for row in rows)
    expected = _gradients(model, AnswerModel(model, plan)(range(4), items))
    model.get_base_model().gradient_checkpointing_enable()
    model.get_base_model().enable_input_require_grads()
    found = _gradients(model, AnswerModel(model, plan)(range(4), items))
    _assert_equal_gradients(found, expected, 1e-4)
    with pytest.raises(ValueError, match="keeps no keys and values of a prefix"):
        answer_loss(model, rows, tokenizers[key].pad_token_id, shared=True)


@pytest.mark.parametrize("family", ["Granite", "Gemma2", "Cohere", "Llama"])
def test_the_head_is_the_models_own_whatever_a_family_does_to_its_logits(family):
    import torch
    import transformers

    small = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
             "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    own = {"Granite": {"logits_scaling": 8.0}, "Gemma2": {"final_logit_softcapping": 0.1, "head_dim": 8}, "Cohere": {"logit_scale": 0.0625}, "Llama": {}}
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{family}Config")(**small, **own[family])).eval()
    ids = torch.arange(3, 15)[None]
    body, head = decoder(model)
    with torch.no_grad():
        torch.testing.assert_close(head(body(input_ids=ids).last_hidden_state), model(input_ids=ids).logits)
        assert family == "Llama" or not torch.allclose(model.lm_head(body(input_ids=ids).last_hidden_state), model(input_ids=ids).logits, atol=1e-4)


def test_every_token_that_a_model_ends_its_turn_with_ends_an_answer(tokenizers):
    """Gemma and Phi-3 end a turn with a token that is not their tokenizer's end of text: they would go on with turns of their own."""
    key = "tinyllama-1.1b"
    model, tokenizer = loading.load_base(registry.get_spec(key), "nano").dequantize().float().eval(), tokenizers[key]
    prompt = [Prompt("a", chat.messages("A nurse.", "Health", "Well?", ("Yes", "No")))]
    whole = LocalAnswerer(model, tokenizer, name=key).write(prompt, generation.Draws(1, [generation.Sampling(0.0, 1.0, 20)]))[0].text
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, ids[3]]
    assert generation.stop_tokens(model, tokenizer) == sorted({tokenizer.eos_token_id, ids[3]})
    cut = LocalAnswerer(model, tokenizer, name=key).write(prompt, generation.Draws(1, [generation.Sampling(0.0, 1.0, 20)]))[0].text
    assert whole.startswith(cut) and len(cut) < len(whole) and len(tokenizer(cut, add_special_tokens=False)["input_ids"]) <= 4


def test_free_memory_decides_nothing_about_a_training_that_is_finished(tmp_path, parts, monkeypatch):
    """Trained in two processes; today there is room for one, or for none. The record says what was used, and the product is the same."""
    run = RunConfig(profile="small", out=str(tmp_path))
    adapter = run.paths.folder("adapters") / "smollm2-135m"
    adapter.mkdir()
    (adapter / "weights").write_text("w")

    def trained_with(**changed):
        record = {"model": "smollm2-135m", "fingerprint": "mark", "train_spec": replace(run.train_spec, **changed)}
        records.write_run(records.run_path(run, "smollm2-135m"), record | {"untuned_val_loss": 3.5, "epochs": [{"epoch": 1, "val_loss": 2.5}]}, adapter)
        return jobs.trained_recipe(run, registry.get_spec("smollm2-135m"))

    assert jobs.trained_recipe(run, registry.get_spec("smollm2-135m")) is None
    assert trained_with(processes=1, accumulation=2) == replace(run.train_spec, processes=1, accumulation=2)
    assert trained_with(processes=1) is None, "half of the batch is another recipe"
    used, marks = trained_with(processes=1, accumulation=2), []
    monkeypatch.setattr(jobs.records, "finished", lambda path, mark, kept: marks.append(mark) or {"kept": True})
    monkeypatch.setattr(jobs, "weights_identity", lambda *_: "weights")
    monkeypatch.setattr(jobs, "load_tokenizer", lambda *_: loading.load_tokenizer(registry.get_spec("tinyllama-1.1b"), "nano"))
    monkeypatch.setattr(jobs, "fit_recipe", lambda *_: pytest.fail("nothing has to fit"))
    assert jobs.train(run, registry.get_spec("smollm2-135m"), parts) == {"kept": True, "fresh": False} and len(marks) == 1 and used.processes == 1


def test_a_loss_that_is_no_number_stops_the_training_in_one_line(monkeypatch):
    monkeypatch.setattr(trainer, "validation_loss", lambda *_: float("nan"))
    job = SimpleNamespace(spec=registry.get_spec("phi-2"))
    with pytest.raises(ValueError, match="phi-2: the validation loss after epoch 2 is nan; train with a lower learning rate"):
        trainer._end_epoch(job, SimpleNamespace(pad_token_id=0), [], None, 2, None)
