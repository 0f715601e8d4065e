"""The paper profile's way to its models, proven against a loopback hub that serves the twins under the real ids at the pinned revisions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from loopback_hub import serve

from polypersona_lib import paths, registry
from polypersona_lib.config import TrainSpec
from polypersona_lib.models.resources import GB, DoesNotFit, Machine, budget, fit_recipe

SPEC = registry.get_spec("llama-2-7b")
LOAD = """
import json, sys
from polypersona_lib import registry
from polypersona_lib.models import adapters, loading as models
from polypersona_lib.models.weights import Unavailable
for key in sys.argv[2].split(","):
    spec = registry.get_spec(key)
    try:
        tokenizer, model = models.load_tokenizer(spec, "paper"), models.load_base(spec, "paper", four_bit=False)
        adapted = adapters.add_lora(model, spec, r=16, alpha=32, dropout=0.0, seed=1)
        adapters.save_adapter(adapted, sys.argv[1])
        print(json.dumps({"parameters": sum(p.numel() for n, p in adapted.named_parameters() if "lora_" not in n), "name": model.name_or_path}))
    except Unavailable as error:
        print(json.dumps({"error": str(error)}))
"""


def load(address: str, home, out, *keys: str, **variables: str) -> list[dict]:
    """Load hub models in one fresh process against the hub at `address`: what became of each."""
    env = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    env |= {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(paths.ROOT),
        **variables,
    }
    done = subprocess.run([sys.executable, "-c", LOAD, str(out), ",".join(keys or [SPEC.key])], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()[-len(keys or [SPEC.key]) :]]


def test_a_hub_model_is_fetched_once_at_its_revision_and_then_read_from_the_cache(tmp_path):
    folder = paths.NANO_MODELS / SPEC.key
    with serve({SPEC.hub_id: (SPEC.revision, folder)}) as (address, asked):
        (first,) = load(address, tmp_path / "home", tmp_path / "adapter")
        files = {p.rpartition("/")[2] for p in asked if "/resolve/" in p}
    assert first["name"] == SPEC.hub_id and first["parameters"] > 1e6
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files and not any(f.endswith((".py", ".bin", ".md")) for f in files)
    assert all(SPEC.revision in path for path in asked)
    adapter = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (SPEC.hub_id, SPEC.revision)
    again, missing = load(address, tmp_path / "home", tmp_path / "adapter", SPEC.key, "phi-2", HF_HUB_OFFLINE="1")  # the server is gone
    assert again == first and "the hub cannot be reached" in missing["error"]


REFUSED = {
    "llama-2-7b": ("gated", "has not been accepted"), "phi-2": ("no revision", "does not have this revision"),
    "tinyllama-1.1b": ("no repository", "no such model"), "mistral-7b": ("broken", "download failed"),
}  # fmt: skip


def test_a_refusal_is_one_line_with_what_to_do(tmp_path):
    specs = [registry.get_spec(key) for key in REFUSED]
    with serve({}, {spec.hub_id: REFUSED[spec.key][0] for spec in specs}) as (address, _):
        told = load(address, tmp_path, tmp_path / "adapter", *REFUSED)
    for spec, said in zip(specs, told, strict=True):
        assert said["error"].startswith(f"{spec.hub_id} at revision {spec.revision[:12]}: ") and REFUSED[spec.key][1] in said["error"]
        assert "\n" not in said["error"]


# --- what fits ---------------------------------------------------------------------------------------------------------------------

CARD = {gb: Machine(int(gb * GB), 1, True, int(64 * GB)) for gb in (8, 16, 24, 40, 80)}


NAME = """
import json, sys
from polypersona_lib.ask.who_answers import who_answers
from polypersona_lib.errors import InputError
for entry in sys.argv[1:]:
    try:
        (who,) = who_answers(entry, None, seed=1)
        print(json.dumps([who.entry, who.identity.partition(";")[0], who.system]))
    except InputError as error:
        print(json.dumps(str(error)))
"""


def test_a_hub_model_named_by_a_branch_is_recorded_by_its_commit_and_workers_ask_that_one(tmp_path):
    commit, folder = "5" * 40, paths.NANO_MODELS / SPEC.key
    with serve({"lab/tiny": (commit, folder)}) as (address, asked):
        env = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(paths.ROOT)}
        env.pop("HF_HUB_OFFLINE", None)
        entries = ("lab/tiny", f"lab/tiny@{commit}", "lab/other")
        done = subprocess.run([sys.executable, "-c", NAME, *entries], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    branch, pinned, unknown = map(json.loads, done.stdout.splitlines())
    assert branch == pinned == [f"lab/tiny@{commit}", f"lab/tiny@{commit}", "lab-tiny"]
    assert any(path.endswith("/revision/main") for path in asked)
    assert unknown.startswith("--models lab/other: lab/other at revision main: ") and "\n" not in unknown


def test_six_dense_models_fit_24_gb_and_the_mixture_does_not():
    fits = {}
    for spec in registry.MODELS.values():
        try:
            recipe, line = fit_recipe(spec, "paper", TrainSpec(), CARD[24])
            assert recipe.micro_batch * recipe.accumulation == 16 and "effective batch 16" in line
            fits[spec.key] = True
        except DoesNotFit as error:
            fits[spec.key] = False
            assert "GB" in str(error) and "\n" not in str(error)
    assert fits == {key: key != "qwen1.5-moe" for key in registry.MODELS}
    assert fit_recipe(registry.get_spec("qwen1.5-moe"), "paper", TrainSpec(), CARD[40])[0].micro_batch >= 1


def test_smaller_cards_get_smaller_batches_and_too_small_ones_the_sum():
    spec = registry.get_spec("mistral-7b")
    sizes = [fit_recipe(spec, "paper", TrainSpec(), CARD[gb])[0].micro_batch for gb in (16, 24, 80)]
    assert sizes == sorted(sizes)
    with pytest.raises(DoesNotFit, match=r"fits: 1\.2 CUDA \+ [\d.]+ weights .* = [\d.]+ GB, [\d.]+ GB are usable"):
        fit_recipe(spec, "paper", TrainSpec(), Machine(int(6.6 * GB), 1, True, int(64 * GB)))
    with pytest.raises(DoesNotFit, match=r"cannot be loaded: 1\.2 CUDA \+ [\d.]+ weights = [\d.]+ GB"):
        fit_recipe(spec, "paper", TrainSpec(), Machine(int(5 * GB), 1, True, int(64 * GB)))
    with pytest.raises(DoesNotFit, match="needs a CUDA GPU"):
        fit_recipe(spec, "paper", TrainSpec(), Machine(0, 0, False, int(64 * GB)))
    assert "FP32 (Phi-2 overflows" in fit_recipe(registry.get_spec("phi-2"), "paper", TrainSpec(), Machine(int(24 * GB), 1, False, 0))[1]


def test_qlora_needs_less_than_lora_and_lora_less_than_full_fine_tuning():
    for spec in registry.MODELS.values():
        needs = [budget(spec, "paper", r=16, method=m).total(4) for m in ("qlora", "lora", "full")]
        assert needs == sorted(needs) and needs[2] > 3 * needs[0]


@pytest.mark.parametrize("profile", ["nano", "paper"])
def test_an_adapter_can_be_pushed_as_it_lies(profile, tmp_path):
    """Layout and card are what a hub takes: all files arrive, and the card's metadata are valid (the base is named only if it is on the hub)."""
    from huggingface_hub import HfApi

    from polypersona_lib.config import RunConfig
    from polypersona_lib.training.model_cards import adapter_card

    run, folder, received = RunConfig(profile=profile), tmp_path / "adapter", {}
    shutil.copytree(paths.ROOT / "results" / "shipped" / "adapters" / SPEC.key, folder)
    identity = {"data_hash": "a" * 16, "template_hash": "b" * 12}
    (folder / "README.md").write_text(adapter_card(run, SPEC, run.train_spec, identity, 2.0, {"val_loss": 1.5, "epoch": 2, "epochs": 3, "bleu": 0.1}))
    with serve({}, received=received) as (address, _):
        HfApi(endpoint=address, token="hf_" + "x" * 34).upload_folder(repo_id="x/y", folder_path=folder)
    assert received.keys() == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert received["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()
    card = received["README.md"].decode()
    assert ("recipe of PolyPersona\n(arXiv 2512.14562). " in card) == (profile == "paper")
    assert ("learning rate 1e-3 instead of 2e-4" in card) == (profile == "nano")
    assert (f"base_model: {SPEC.hub_id}" in card) == (profile == "paper") and "Simulated answers are not survey data" in card
