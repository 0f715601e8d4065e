"""What a training costs at full size: memory and speed of QLoRA, LoRA and full fine-tuning, and of TRL's SFTTrainer beside ours on the same rows.

    python benchmarks/full_size.py                                   # on a CUDA GPU: TinyLlama 1.1B and Llama-2 7B, minutes
    python benchmarks/full_size.py --scale nano --models phi-2       # the same with a twin's shape, on any machine (what the tests run)

The models have the published shapes and random weights: neither memory nor speed depends on what the weights know, and nothing is downloaded. The rows
are the study's own, in the twin's tokens. Each measurement is a process of its own, one after the other, and leaves one JSON record that names the device.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

METHODS = ("qlora", "lora", "full", "trl")
WARM_UP = 2  # optimizer steps before the clock starts


def measure(key: str, method: str, scale: str, steps: int) -> dict:
    """One training of `steps` optimizer steps. Returns the record; raises what the training raises (out of memory, above all)."""
    from polypersona_lib import paths
    from polypersona_lib.config import PROFILES, device, device_name, versions
    from polypersona_lib.models import loading
    from polypersona_lib.models.resources import budget
    from polypersona_lib.registry import get_spec
    from polypersona_lib.training.batches import encode_rows
    from polypersona_lib.world import dataset

    spec = get_spec(key)
    recipe = replace(PROFILES["paper"].train, epochs=1, dropout=0.0, four_bit=method in ("qlora", "trl"))
    effective = recipe.micro_batch * recipe.accumulation
    tokenizer = loading.load_tokenizer(spec, "nano")
    rows = encode_rows(tokenizer, dataset.read_split(paths.DATASET / "paper", "train").head(steps * effective))
    model, loaded = prepared_model(spec, method, scale, recipe)
    trainer, clock = trainer_for(model, spec, method, tokenizer, rows, recipe), []
    trainer.add_callback(watch(clock))
    trainer.train()
    seconds, kept = clock[-1] - clock[WARM_UP - 1], rows_after(rows, recipe, WARM_UP * effective)
    batches = [kept[i : i + recipe.micro_batch] for i in range(0, len(kept), recipe.micro_batch)]
    tokens = sum(len(row.ids) for row in kept)
    return {
        "model": key, "method": method, "scale": scale, "device": device_name(),
        "parameters": sum(p.numel() for p in loading.empty_model(spec, scale).parameters()),
        "trainable": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "compute_type": str(loading.precision(spec, device())).removeprefix("torch."),
        "optimizer": str(trainer.args.optim), "steps": steps, "micro_batch": recipe.micro_batch, "accumulation": recipe.accumulation,
        "seconds_per_step": round(seconds / (steps - WARM_UP), 4), "tokens_per_s": round(tokens / seconds),
        "padded_tokens_per_s": round(sum(len(b) * max(len(r.ids) for r in b) for b in batches) / seconds), "mean_row_tokens": round(tokens / len(kept), 1),
        "peak_memory_mb": peak_mb(), "loading_peak_mb": loaded,
        "calculated_mb": None if method == "trl" else round(budget(spec, scale, r=recipe.r, method=method).total(recipe.micro_batch) / 1e6),
        "losses": [round(entry["loss"], 5) for entry in trainer.state.log_history if "loss" in entry], "versions": versions() | trl_version(method),
    }  # fmt: skip


def prepared_model(spec, method: str, scale: str, recipe) -> tuple:
    """(the model with random weights, made ready for the method; peak memory of loading in MB)."""
    from polypersona_lib.config import device
    from polypersona_lib.models import adapters, loading

    with tempfile.TemporaryDirectory() as place:
        random_weights(spec, scale, Path(place))
        model = loading.load_base(spec, scale, four_bit=recipe.four_bit, device=device(), folder=Path(place))
    loaded = peak_mb(reset=True)
    if method == "full":
        model = model.float().requires_grad_(True)
    if method in ("lora", "full") and device() == "cuda":
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if method != "full":
        model = adapters.add_lora(model, spec, r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, seed=recipe.seed)
    return model, loaded


def trainer_for(model, spec, method: str, tokenizer, rows: list, recipe):
    """TRL's trainer or ours, logging every step."""
    from polypersona_lib.training.answer_trainer import Plan, trainer_of

    output = Path(tempfile.mkdtemp())
    if method == "trl":
        return trl_trainer(model, tokenizer, rows, recipe, output)
    trainer = trainer_of(model, Plan(spec=spec, recipe=recipe, rows=rows, pad_id=tokenizer.pad_token_id, log=output))
    trainer.args.logging_steps = 1
    if method == "full":
        trainer.args.optim = "adamw_torch"  # 32-bit states: the baseline that papers mean
    return trainer


def random_weights(spec, scale: str, folder: Path) -> None:
    """Write the family's architecture at the given scale into `folder`, weights drawn as `transformers` initializes them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = spec.nano if scale == "nano" else {**spec.nano, **spec.hub}
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(spec.architecture, **shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)


def rows_after(rows: list, recipe, count: int) -> list:
    """The rows trained on after the first `count`, in the order in which both trainers see them."""
    from polypersona_lib.training.batches import persona_batches

    return [rows[i] for batch in persona_batches(rows, recipe.micro_batch, recipe.seed, 1) for i in batch][count:]


def trl_trainer(model, tokenizer, rows: list, recipe, output: Path):
    """TRL's SFTTrainer with the same rows in the same order, the same labels and the same settings."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    ordered = rows_after(rows, recipe, 0)
    data = Dataset.from_list([{"input_ids": row.ids, "labels": [-100] * (len(row.ids) - len(row.answer)) + row.answer} for row in ordered])
    steps = len(rows) // (recipe.micro_batch * recipe.accumulation)
    settings = SFTConfig(
        output_dir=str(output), num_train_epochs=1, per_device_train_batch_size=recipe.micro_batch, gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay, lr_scheduler_type="cosine", warmup_steps=max(1, round(recipe.warmup * steps)),
        max_grad_norm=recipe.clip, optim="paged_adamw_8bit" if cuda else "adamw_torch", bf16=cuda and torch.cuda.is_bf16_supported(), use_cpu=not cuda,
        gradient_checkpointing=cuda, gradient_checkpointing_kwargs={"use_reentrant": False} if cuda else None, max_length=None, packing=False,
        train_sampling_strategy="sequential", logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, seed=recipe.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    return SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer)


def watch(clock: list[float]):
    """A callback that notes the time after every optimizer step."""
    import torch
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            clock.append(time.perf_counter())

    return Watch()


def peak_mb(*, reset: bool = False) -> int:
    """Highest memory so far: of the GPU's allocator (counted anew after `reset`), or resident in this process on a CPU."""
    import torch

    from polypersona_lib.records import peak_memory_mb

    peak = peak_memory_mb()
    if reset and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    return peak


def trl_version(method: str) -> dict[str, str]:
    """TRL's version, for the record of its own measurement."""
    from importlib.metadata import version

    return {"trl": version("trl")} if method == "trl" else {}


def main(argv: list[str] | None = None) -> int:
    """Command line; exit status 1 if a measurement failed (its record then holds the error instead of figures)."""
    parser = argparse.ArgumentParser(prog="python benchmarks/full_size.py", description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="tinyllama-1.1b,llama-2-7b", help="comma-separated model keys (default %(default)s)")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated, of %(default)s")
    parser.add_argument("--scale", choices=("paper", "nano"), default="paper", help="paper: the published shapes (needs a CUDA GPU); nano: the twins'")
    parser.add_argument("--steps", type=int, default=12, help=f"optimizer steps of 16 rows, more than {WARM_UP} (default %(default)s)")
    parser.add_argument("--out", default=str(ROOT / "results" / "full_size"), help="folder of the records")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "METHOD"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(measure(*options.one, options.scale, options.steps)))
        return 0
    from polypersona_lib.registry import get_spec

    keys, methods = options.models.split(","), options.methods.split(",")
    try:
        specs = [get_spec(key) for key in keys]
    except ValueError as error:
        parser.error(str(error))
    if unknown := set(methods) - set(METHODS):
        parser.error(f"unknown method {', '.join(sorted(unknown))}; choose from {', '.join(METHODS)}")
    if options.steps <= WARM_UP:
        parser.error(f"--steps must be more than {WARM_UP}")
    import torch

    if options.scale == "paper" and not torch.cuda.is_available():
        parser.error("the published shapes need a CUDA GPU; --scale nano runs anywhere")
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for spec, method in product(specs, methods):
        records.append(measured_apart(spec, method, options))
        (folder / f"{spec.key}--{options.scale}--{method}.json").write_text(json.dumps(records[-1], indent=1) + "\n", encoding="utf-8")
    return int(any("error" in record for record in records))


def measured_apart(spec, method: str, options: argparse.Namespace) -> dict:
    """The record of one measurement, made in a process of its own; what failed has an `error` instead of figures."""
    command = [sys.executable, str(Path(__file__).resolve()), "--scale", options.scale, "--steps", str(options.steps), "--one", spec.key, method]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        record = {"model": spec.key, "method": method, "scale": options.scale, "error": done.stderr.strip().splitlines()[-1]}
    else:
        record = json.loads(done.stdout.strip().splitlines()[-1])
    shown = record.get("error") or f"{record['tokens_per_s']:,} tokens/s, {record['seconds_per_step']} s a step, peak {record['peak_memory_mb']:,} MB"
    print(f"{spec.display}, {method}: {shown}", flush=True)
    return record


if __name__ == "__main__":
    sys.exit(main())
