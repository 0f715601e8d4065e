"""QLoRA on the assistant's tokens: Algorithm 2 of the paper on top of `transformers.Trainer`.

The Trainer keeps optimizer, schedule, clipping, checkpoints and TensorBoard. Ours are the batches (rows of one persona together, so
that their prefix is computed once) and the loss (LM head on answer positions only).
"""

from __future__ import annotations

import math
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from .. import files, records
from ..config import RunConfig, TrainSpec, device, device_name, versions
from ..files import folder_hash
from ..models.loading import add_lora, load_adapter, load_base, load_tokenizer, lora_modules, precision, quantization, save_adapter, unpacked
from ..models.shared_prefix import positions
from ..models.tuned import adapted_folder
from ..progress import track
from ..prompts import chat
from ..registry import ModelSpec
from . import adapter_card, checkpoints
from .batches import answer_loss, encode_rows, persona_batches, validation_loss
from .twins import updates

SAVE_EVERY = 50  # optimizer steps between two checkpoints; one more after each epoch
ADAPT_SCALE = 0.4  # of the twins' pre-training rates: foreign answers are few


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


def meet() -> None:
    """Wait until every process of this training is here (at once if there is only one)."""
    import torch.distributed as processes

    if processes.is_available() and processes.is_initialized():
        processes.barrier()


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


def fine_tune(job: Job) -> None:
    """Train, write the adapter, and the record last. In one of several processes: the first one writes, the others only train."""
    import torch

    run, spec, recipe, parts = job.run, job.spec, job.recipe, job.parts
    scale, where, first = run.settings.scale, device(), int(os.environ.get("RANK", "0")) == 0
    tokenizer = load_tokenizer(spec, scale)
    base_folder = adapted_folder(run, spec)
    torch.manual_seed(recipe.seed)
    started = time.perf_counter()
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
            files.replace_folder(work / "epoch", work / "best")
        done = {"epoch": epoch, "train_loss": round(trained[-1], 5) if trained else None, "val_loss": loss} | scores
        state.log_history.append({"epoch_record": done})  # there it is part of every checkpoint

    trainer = trainer_of(model, spec, tokenizer, rows, recipe, run.paths.results / "tensorboard" / spec.key, on_epoch, work, configuration)
    trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    if not first:
        return
    logged, seconds = trainer.state.log_history, time.perf_counter() - started
    epochs = [e["epoch_record"] for e in logged if "epoch_record" in e]
    best = min(epochs, key=lambda e: e["val_loss"])
    (work / "best" / "README.md").write_text(adapter_card.adapter_card(run, spec, recipe, job.identity, untuned, best), encoding="utf-8")
    files.replace_folder(work / "best", job.adapter)
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
        "untuned_val_loss": untuned, "epochs": epochs, "best_epoch": best["epoch"],
        "train_time_s": round(seconds, 1), "peak_memory_mb": records.peak_memory_mb(),
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
    from ..models.generation import generate
    from ..scoring.metrics import persona_similarity, score_rows

    if not len(frame):
        return {}
    answers = generate(model, tokenizer, frame, seed=seed)["text"].tolist()
    scored = score_rows(frame.assign(prediction=answers, status="ok"))
    means = {m: round(float(scored[m].mean()), 5) for m in ("bleu", "rouge1", "rougeL", "bertscore_f1")}
    return means | {"persona_sim": round(persona_similarity(answers, [chat.render_card(c) for c in frame["persona"]]), 5)}


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
    files.replace_folder(work / "base", folder)
