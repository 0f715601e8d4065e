"""QLoRA on the assistant's tokens: Algorithm 2 of the paper on top of `transformers.Trainer`.

The Trainer keeps optimizer, schedule, clipping, checkpoints and TensorBoard. Ours are the batches (rows of one persona together, so
that their prefix is computed once) and the loss (LM head on answer positions only).
"""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from . import chat, checkpoints, paths, records
from .config import RunConfig, TrainSpec, device, device_name, fingerprint, versions
from .models import (
    Unavailable,
    add_lora,
    folder_hash,
    load_adapter,
    load_base,
    load_for_inference,
    load_tokenizer,
    lora_modules,
    precision,
    quantization,
    save_adapter,
    source,
    unpacked,
)
from .nano import updates
from .prefix import answer_logits, positions
from .progress import track
from .registry import ModelSpec, get_spec
from .resources import Machine, fit
from .workers import side_by_side

VERSION = 3  # raised when training or its record changes: what was trained before is trained again
SAVE_EVERY = 50  # optimizer steps between two checkpoints; one more after each epoch
ADAPT_SCALE = 0.4  # of the twins' pre-training rates: foreign answers are few


def encode_rows(tokenizer, frame: pd.DataFrame) -> list[chat.Encoded]:
    """Every row's messages as token ids, in the frame's order."""
    return [chat.encode(tokenizer, m) for m in frame["messages"]]


def persona_batches(rows: list[chat.Encoded], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers in batches of `size`; rows of one persona stay together, personas and batches are shuffled anew each epoch."""
    rng = random.Random(f"batches|{seed}|{epoch}")
    groups: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(tuple(row.shared), []).append(i)
    people = list(groups.values())
    for members in people:
        rng.shuffle(members)
    rng.shuffle(people)
    order = [i for members in people for i in members]
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(batches)
    return batches


def answer_loss(model, rows: list[chat.Encoded], pad_id: int, *, shared: bool, items=None):
    """Cross-entropy of the answers' tokens (prompt tokens carry no loss), averaged over them or divided by `items`."""
    import torch.nn.functional as F

    logits, targets = answer_logits(model, rows, pad_id, shared=shared)
    loss = F.cross_entropy(logits.float(), targets, reduction="sum")
    return loss / (items if items is not None else len(targets))


def validation_loss(model, rows: list[chat.Encoded], pad_id: int) -> float:
    """Mean negative log-likelihood of an answer token over `rows` (nats)."""
    import torch

    order, total, count = sorted(range(len(rows)), key=lambda i: rows[i].shared), 0.0, 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(order), 64):
            batch = [rows[i] for i in order[start : start + 64]]
            tokens = sum(len(r.answer) for r in batch)
            total += answer_loss(model, batch, pad_id, shared=True).item() * tokens
            count += tokens
    return total / count


def trainer_of(model, family: ModelSpec, tokenizer, rows, spec: TrainSpec, output: Path, on_epoch, work: Path | None = None, configuration: dict | None = None):
    """A `transformers.Trainer` with our batches and our loss; `on_epoch(model, epoch, state)` is called after every epoch.

    With a folder `work`, sealed checkpoints of this `configuration` are left there (see `checkpoints`); `output` gets the TensorBoard log.
    """
    import torch
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Batches:
        """Batch sampler that reshuffles in every epoch (counted from 1)."""

        epoch, batch_size, drop_last = 1, spec.micro_batch, False

        def __len__(self):
            return math.ceil(len(rows) / spec.micro_batch)

        def __iter__(self):
            return iter(persona_batches(rows, spec.micro_batch, spec.seed, self.epoch))

    sampler = Batches()

    class Answering(torch.nn.Module):
        """The model as the Trainer sees it, row numbers in, loss out: mixed precision and several processes hook into this one `forward`."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, picked, items):
            return answer_loss(self.model, [rows[i] for i in picked], tokenizer.pad_token_id, shared=spec.shared_prefix, items=items)

    class AnswerTrainer(Trainer):
        def get_train_dataloader(self):
            data = torch.utils.data.DataLoader(range(len(rows)), batch_sampler=sampler, collate_fn=lambda picked: {"rows": picked})
            return data if self.args.world_size == 1 else self.accelerator.prepare(data)

        def get_batch_samples(self, epoch_iterator, num_batches, device):
            batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
            tokens = sum(len(rows[i].answer) for b in batches for i in b["rows"])
            if self.args.world_size > 1:  # the mean over processes follows, so each divides its sum by the mean count
                tokens = self.accelerator.gather(torch.tensor([tokens], device=device)).sum().item() / self.args.world_size
            return batches, tokens or None

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return model(inputs["rows"], num_items_in_batch)

        def floating_point_ops(self, inputs):
            return 0

        def _get_output_dir(self, trial):
            return str(work / "writing") if work else super()._get_output_dir(trial)

        def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
            load_adapter(self.model.model, Path(resume_from_checkpoint))

        def save_model(self, output_dir=None, _internal_call=False):
            if self.args.should_save:
                save_adapter(self.model.model, Path(output_dir))

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.bar = track(state.max_steps, f"training {family.key}")
            self.bar.update(state.global_step)

        def on_epoch_begin(self, args, state, control, **kwargs):
            sampler.epoch = int(state.epoch) + 1

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update()
            save = bool(work) and state.global_step % SAVE_EVERY == 0 and state.global_step % epoch_steps != 0
            control.should_save, control.should_log = save, save or control.should_log  # what is not logged yet is in no checkpoint

        def on_save(self, args, state, control, **kwargs):
            meet()
            if args.should_save:
                checkpoints.seal(work / "writing" / f"checkpoint-{state.global_step}", work / f"step-{state.global_step:06d}", configuration)
            meet()

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

        def on_epoch_end(self, args, state, control, **kwargs):
            if args.should_save:
                on_epoch(model, round(state.epoch), state)
            meet()
            model.train()
            control.should_save = control.should_log = bool(work) and state.global_step < state.max_steps

    epoch_steps = math.ceil(len(sampler) / spec.processes / spec.accumulation)
    steps = epoch_steps * spec.epochs
    cuda = device() == "cuda"
    computed = precision(family, device())
    half = {"bf16": computed == torch.bfloat16, "fp16": computed == torch.float16} if cuda else {"use_cpu": True}
    arguments = TrainingArguments(
        output_dir=str(output), num_train_epochs=spec.epochs, per_device_train_batch_size=spec.micro_batch, gradient_accumulation_steps=spec.accumulation,
        learning_rate=spec.learning_rate, weight_decay=spec.weight_decay, lr_scheduler_type="cosine", warmup_steps=max(1, round(spec.warmup * steps)),
        max_grad_norm=spec.clip, optim="paged_adamw_8bit" if cuda else "adamw_torch", logging_strategy="steps", logging_steps=max(1, min(10, steps // 5)),
        save_strategy="no", report_to=["tensorboard"], seed=spec.seed, data_seed=spec.seed, ddp_timeout=7200, disable_tqdm=True,
        remove_unused_columns=False, label_names=["rows"], **half,
    )  # fmt: skip
    trainer = AnswerTrainer(model=Answering(), args=arguments, train_dataset=range(len(rows)), callbacks=[Watch()])
    trainer.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole effective batch already
    trainer.remove_callback(PrinterCallback)
    return trainer


def load_tokenizers(run: RunConfig) -> dict:
    """The tokenizer of every model of the run that can be had here; for the others a line says why not."""
    found = {}
    for key in run.model_keys:
        try:
            found[key] = load_tokenizer(get_spec(key), run.settings.scale)
        except Unavailable as error:
            print(f"left out: {error}")
    return found


def train_models(run: RunConfig, parts: dict[str, pd.DataFrame]) -> list[dict]:
    """Fine-tune every model of the run (`train`) and say how each one went. Returns: their records in the run's order.

    A model that cannot be had or does not fit is left out; `unavailable.json` says why. Raises: Unavailable if none is left.
    """
    specs, done, lacking = [get_spec(key) for key in run.model_keys], {}, {}
    for number, record in side_by_side(_train_or_reason, [(run, spec, parts) for spec in specs]):
        if isinstance(record, str):
            lacking[specs[number].key] = record
            print(f"left out: {record}")
        else:
            done[number] = record
            print(training_line(record))
    records.write_atomically(run.paths.results / "unavailable.json", json.dumps(lacking, indent=1) + "\n")
    if not done:
        raise Unavailable("no model of this run can be trained here: " + "; ".join(lacking.values()))
    return [done[number] for number in sorted(done)]


def _train_or_reason(run: RunConfig, spec: ModelSpec, parts: dict[str, pd.DataFrame]) -> dict | str:
    try:
        return train(run, spec, parts)
    except Unavailable as error:
        return str(error)


def training_line(record: dict) -> str:
    """A record in one line."""
    kept = "" if record.get("fresh") else " (trained before with exactly this recipe and data; kept)"
    kept += f" (went on from {record['resumed_from']})" if record.get("resumed_from") else ""
    kept += "".join(f"; checkpoint skipped, {line}" for line in record.get("skipped_checkpoints", []))
    return f"{record['display']}: {record['train_time_s']:.0f} s, {record['tokens_per_s']:,} tokens/s, peak memory {record['peak_memory_mb']:,} MB{kept}"


@dataclass(frozen=True)
class Job:
    """One model's training, decided: what on what, with which recipe; `mark` is equal if and only if nothing that changes the adapter differs."""

    run: RunConfig
    spec: ModelSpec
    parts: dict[str, pd.DataFrame]
    recipe: TrainSpec
    resources: str
    identity: dict
    mark: str

    @property
    def adapter(self) -> Path:
        """Folder of the trained adapter."""
        return self.run.paths.folder("adapters") / self.spec.key

    @property
    def record_path(self) -> Path:
        """File of the run record."""
        return records.run_path(self.run, self.spec.key)


def train(run: RunConfig, spec: ModelSpec, parts: dict[str, pd.DataFrame]) -> dict:
    """Fine-tune one model, or return its record if exactly this was done before.

    Writes `adapters/<key>/` (PEFT layout, best epoch by validation loss) and `runs/<key>--<profile>--seed<n>.json`, the record last.
    On several GPUs `accelerate launch` starts one process a GPU, each with its share of every effective batch.
    Returns: the run record (see `records.write_run`), with `fresh`: whether it was trained now.
    Source: paper, Algorithm 2 and section V-A; validation BLEU/ROUGE/BERTScore and persona similarity each epoch (line 9).
    """
    scale = run.settings.scale
    recipe, resources = fit(spec, scale, run.train_spec, Machine.found())
    identity = {
        "version": VERSION, "train_spec": recipe, "model": spec.key,
        "base": f"{spec.hub_id}@{spec.revision}" if scale != "nano" else folder_hash(source(spec, scale)),
        "data_hash": records.data_hash(parts), "template_hash": chat.template_hash(load_tokenizer(spec, scale)),
        "epoch_eval_rows": run.settings.epoch_eval_rows,
    }  # fmt: skip
    job = Job(run, spec, parts, recipe, resources, identity, fingerprint(identity))
    base_folder = _adapted_folder(run, spec)
    kept = {"adapter_hash": job.adapter} | ({"adapted_base": base_folder} if base_folder else {})
    if (done := records.finished(job.record_path, job.mark, kept)) is not None:
        return done | {"fresh": False}
    if recipe.processes > 1:
        launch(job)
    else:
        fine_tune(job)
    return json.loads(job.record_path.read_text(encoding="utf-8")) | {"fresh": True}


def launch(job: Job) -> None:
    """Run `fine_tune` in `recipe.processes` processes of `accelerate launch`. Raises: RuntimeError with the last lines if they fail."""
    with tempfile.TemporaryDirectory() as place:
        handed = Path(place) / "job.pickle"
        handed.write_bytes(pickle.dumps(job))
        command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(job.recipe.processes), "--num_machines", "1"]
        command += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "polypersona_lib.training", str(handed)]
        environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if device() == "cpu" else {})
        done = subprocess.run(command, cwd=paths.ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{job.spec.key}: training in {job.recipe.processes} processes failed:\n" + "\n".join(done.stderr.splitlines()[-15:]))


def main(argv: list[str]) -> None:
    """One process of `launch`: `python -m polypersona_lib.training JOB`, a file that `launch` wrote."""
    import torch
    from accelerate import PartialState

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    PartialState()
    fine_tune(pickle.loads(Path(argv[0]).read_bytes()))


def meet() -> None:
    """Wait until every process of this training is here (at once if there is only one)."""
    import torch.distributed as processes

    if processes.is_available() and processes.is_initialized():
        processes.barrier()


def fine_tune(job: Job) -> None:
    """Train, write the adapter, and the record last. In one of several processes: the first one writes, the others only train."""
    import torch

    run, spec, recipe, parts = job.run, job.spec, job.recipe, job.parts
    scale, where, first = run.settings.scale, device(), int(os.environ.get("RANK", "0")) == 0
    tokenizer = load_tokenizer(spec, scale)
    base_folder = _adapted_folder(run, spec)
    torch.manual_seed(recipe.seed)
    started, memory = time.perf_counter(), records.PeakMemory()
    rows, held = encode_rows(tokenizer, parts["train"]), encode_rows(tokenizer, parts["validation"])
    work = run.paths.folder("adapters") / f".{spec.key}.unfinished"
    configuration = {k: asdict(v) if k == "train_spec" else v for k, v in job.identity.items()} | {"device": device_name(), "versions": versions()}
    configuration["adapted_base"] = folder_hash(base_folder) if base_folder and base_folder.exists() else ""
    begun, skipped = checkpoints.newest(work, configuration)
    meet()
    if first:
        shutil.rmtree(work if begun is None else work / "writing", ignore_errors=True)
        work.mkdir(exist_ok=True)
    meet()
    if base_folder and begun is None:
        adapt_base(run, spec, tokenizer, parts, work, base_folder)
        configuration["adapted_base"] = folder_hash(base_folder)
    base = load_base(spec, scale, four_bit=recipe.four_bit, device=where, folder=base_folder)
    packed = quantization(base)
    if recipe.four_bit and where == "cpu":
        base = unpacked(base)
    untuned = validation_loss(base, held, tokenizer.pad_token_id)
    model = add_lora(base, spec, r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, seed=recipe.seed)

    def on_epoch(model, epoch, state):
        epochs = [e["epoch_record"] for e in state.log_history if "epoch_record" in e]
        save_adapter(model, work / "epoch")
        loss = validation_loss(model, held, tokenizer.pad_token_id)
        trained = [entry["loss"] for entry in state.log_history if "loss" in entry]
        scores = epoch_scores(model, tokenizer, parts["validation"].head(run.settings.epoch_eval_rows), recipe.seed)
        if loss < min((e["val_loss"] for e in epochs), default=float("inf")):
            shutil.rmtree(work / "best", ignore_errors=True)
            (work / "epoch").rename(work / "best")
        done = {"epoch": epoch, "train_loss": round(trained[-1], 5) if trained else None, "val_loss": loss} | scores
        state.log_history.append({"epoch_record": done})  # there it is part of every checkpoint

    trainer = trainer_of(model, spec, tokenizer, rows, recipe, run.paths.results / "tensorboard" / spec.key, on_epoch, work, configuration)
    trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    if not first:
        return
    logged, seconds = trainer.state.log_history, time.perf_counter() - started
    epochs = [e["epoch_record"] for e in logged if "epoch_record" in e]
    best = min(epochs, key=lambda e: e["val_loss"])
    (work / "best" / "README.md").write_text(records.adapter_card(run, spec, recipe, job.identity, untuned, best), encoding="utf-8")
    records.replace_folder(work / "best", job.adapter)
    shutil.rmtree(work, ignore_errors=True)
    trainable, _ = model.get_nb_trainable_parameters()
    total = packed["four_bit"] + packed["other"]
    record = {
        "fingerprint": job.mark, "model": spec.key, "display": spec.display, "hub_id": spec.hub_id, "revision": spec.revision, "profile": run.profile,
        "train_spec": recipe, "why": run.settings.why, "lora_modules": lora_modules(model, spec), "trainable": trainable, "total": total,
        "share": round(trainable / total, 6), "quantization": packed,
        "adapted_base": configuration["adapted_base"], "data_hash": job.identity["data_hash"], "template_hash": job.identity["template_hash"],
        "loss_curve": [{"step": e["step"], "loss": e["loss"]} for e in logged if "loss" in e],
        "resumed_from": begun.name if begun else "", "skipped_checkpoints": skipped, "resources": job.resources,
        "untuned_val_loss": untuned, "epochs": epochs, "best_epoch": best["epoch"], "train_time_s": round(seconds, 1), "peak_memory_mb": memory.mb(),
    } | throughput(rows, recipe, seconds)  # fmt: skip
    records.write_run(job.record_path, record, job.adapter)


def throughput(rows: list[chat.Encoded], recipe: TrainSpec, seconds: float) -> dict:
    """What was read, and how fast over the whole training, validation included.

    Returns: `tokens` (of whole rows, all epochs) and `tokens_per_s`; `computed_positions` (what the model really ran over: padding counted, shared
        prefixes once a batch) and `computed_per_s`; `padded_tokens` (the same batches padded to their longest row, nothing shared); `mean_row_tokens`.
    """
    tokens = sum(len(r.ids) for r in rows) * recipe.epochs
    batches = [[rows[i] for i in b] for e in range(1, recipe.epochs + 1) for b in persona_batches(rows, recipe.micro_batch, recipe.seed, e)]
    computed = sum(positions(batch, shared=recipe.shared_prefix) for batch in batches)
    return {
        "tokens": tokens, "tokens_per_s": round(tokens / seconds), "computed_positions": computed, "computed_per_s": round(computed / seconds),
        "padded_tokens": sum(positions(batch, shared=False) for batch in batches), "mean_row_tokens": round(tokens / recipe.epochs / len(rows), 1),
    }  # fmt: skip


def epoch_scores(model, tokenizer, frame: pd.DataFrame, seed: int) -> dict[str, float]:
    """BLEU, ROUGE and BERTScore of sampled answers to a few validation rows, and the answers' similarity to their cards."""
    from .generation import generate
    from .metrics import persona_similarity, score_rows

    if not len(frame):
        return {}
    answers = generate(model, tokenizer, frame, seed=seed)["text"].tolist()
    scored = score_rows(frame.assign(prediction=answers, status="ok"))
    means = {m: round(float(scored[m].mean()), 5) for m in ("bleu", "rouge1", "rougeL", "bertscore_f1")}
    return means | {"persona_sim": round(persona_similarity(answers, [chat.render_card(c) for c in frame["persona"]]), 5)}


def _adapted_folder(run: RunConfig, spec: ModelSpec) -> Path | None:
    """Where the adapted base of a run on foreign data lies; None if the run's recipe has none."""
    return run.paths.results / "adapters" / f"{spec.key}-base" if run.train_spec.adapt_epochs else None


def adapt_base(run: RunConfig, spec: ModelSpec, tokenizer, parts: dict[str, pd.DataFrame], work: Path, folder: Path) -> None:
    """Write into `folder` the nano base, its full weights first trained on the train answers *without* personas; it is quantized like any other base.

    Foreign data only: a twin knows nothing but this project's sentences, and LoRA on a base that cannot write stays at gibberish.
    It is kept because evaluation needs it too.
    """
    import torch

    recipe = run.train_spec
    model = load_base(spec, "nano", four_bit=False)
    blank = [
        [{"role": "system", "content": chat.SYSTEM}, {"role": "user", "content": m[1]["content"].split("\n", 1)[1]}, m[2]] for m in parts["train"]["messages"]
    ]
    rows = [chat.encode(tokenizer, m) for m in blank]
    torch.manual_seed(recipe.seed)
    steps = math.ceil(len(rows) / 16) * recipe.adapt_epochs
    update = updates(model, steps, ADAPT_SCALE)
    bar = track(steps, f"adapting the base of {spec.key} (no personas)")
    model.train()
    for epoch in range(recipe.adapt_epochs):
        for batch in persona_batches(rows, 16, recipe.seed, epoch):
            answer_loss(model, [rows[i] for i in batch], tokenizer.pad_token_id, shared=True).backward()
            update()
            bar.update()
    bar.close()
    model.save_pretrained(work / "base")
    records.replace_folder(work / "base", folder)


def load_tuned(run: RunConfig, spec: ModelSpec, *, tuned: bool = True):
    """The run's model for answering: its (adapted) base with the adapter, or the plain base if not `tuned`."""
    adapter = run.paths.results / "adapters" / spec.key if tuned else None
    return load_for_inference(spec, run.settings.scale, adapter, device=device(), folder=_adapted_folder(run, spec))


if __name__ == "__main__":
    main(sys.argv[1:])
