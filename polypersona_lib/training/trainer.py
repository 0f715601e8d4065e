"""QLoRA on the assistant's tokens, one model from start to end: Algorithm 2 of the paper. Imports no PyTorch by itself (see `answer_trainer`)."""

import gc
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from .. import files, records
from ..config import RunConfig, TrainSpec, device, device_name, versions
from ..files import folder_hash
from ..models.adapters import adapted_folder, add_lora, lora_modules, save_adapter
from ..models.loading import load_base, load_tokenizer, quantization, unpacked
from ..models.weights import weights_name
from ..progress import track
from ..prompts import chat
from ..registry import ModelSpec
from . import checkpoints
from .batches import answer_loss, encode_rows, persona_batches, throughput, validation_loss
from .model_cards import adapter_card

MUON_LR, ADAMW_LR = 0.02, 4e-3
ADAPT_SCALE, ADAPT_ROWS = 0.4, 16  # share of the pre-training rates (foreign answers are few), rows a step


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
    def work(self) -> Path:
        """Folder of checkpoints and of the best epoch so far, removed at the end."""
        return self.adapter.with_name(f".{self.spec.key}.unfinished")

    @property
    def record_path(self) -> Path:
        """File of the run record."""
        return records.run_path(self.run, self.spec.key)


@dataclass(frozen=True)
class _Start:
    """Where a training begins: the checkpoint (None: at the first step), newer ones that were skipped, and the configuration, device and versions included."""

    checkpoint: Path | None
    skipped: list[str]
    configuration: dict


def fine_tune(job: Job) -> None:
    """Train, write the adapter, and the record last. In one of several processes: the first one writes, the others only train."""
    import torch

    from .answer_trainer import Plan, trainer_of

    began, first, recipe = time.perf_counter(), _is_first(), job.recipe
    if torch.cuda.is_available():  # the model that was trained before this one is gone, and what the record says of memory is this one's
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    tokenizer = load_tokenizer(job.spec, job.run.settings.scale)
    torch.manual_seed(recipe.seed)
    rows, held_out = (encode_rows(tokenizer, job.parts[part]) for part in ("train", "validation"))
    start = _start(job, tokenizer, first=first)
    began -= checkpoints.seconds_before(start.checkpoint)  # what earlier starts took counts too
    base, packed = _frozen_base(job)
    untuned = validation_loss(base, held_out, tokenizer.pad_token_id)
    model = add_lora(base, job.spec, r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, seed=recipe.seed)
    plan = Plan(
        spec=job.spec, recipe=recipe, rows=rows, pad_id=tokenizer.pad_token_id, log=job.run.paths.results / "tensorboard" / job.spec.key,
        on_epoch=partial(_end_epoch, job, tokenizer, held_out), work=job.work, configuration=start.configuration,
        seconds=lambda: time.perf_counter() - began,
    )  # fmt: skip
    trainer = trainer_of(model, plan)
    if not first:
        torch.manual_seed(recipe.seed + int(os.environ["RANK"]))  # its own dropout; a checkpoint keeps every process's generator
    trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
    if first:
        log, seconds = trainer.state.log_history, time.perf_counter() - began
        _keep_adapter(job, untuned, _best(log))
        record = _record(job, model, start, log, packed=packed, untuned=untuned)
        speed = {"train_time_s": round(seconds, 1), "peak_memory_mb": records.peak_memory_mb()} | throughput(rows, recipe, seconds)
        records.write_run(job.record_path, record | speed, job.adapter)


def _is_first() -> bool:
    """Whether this is the process that writes: the only one, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def _start(job: Job, tokenizer, *, first: bool) -> _Start:
    """Find the checkpoint to go on from; else clear what an earlier start left, and adapt the base if the run has foreign data."""
    from .answer_trainer import meet

    base_folder = adapted_folder(job.run, job.spec)
    configuration = job.identity | {"train_spec": asdict(job.recipe), "device": device_name(), "versions": versions()}
    configuration["adapted_base"] = folder_hash(base_folder) if base_folder and base_folder.exists() else ""
    checkpoint, skipped = checkpoints.newest(job.work, configuration)
    meet()
    if first:
        shutil.rmtree(job.work / "writing" if checkpoint else job.work, ignore_errors=True)
        job.work.mkdir(exist_ok=True)
    meet()
    if base_folder and checkpoint is None:
        adapt_base(job.spec, job.run.train_spec, tokenizer, job.parts["train"], base_folder)
        configuration["adapted_base"] = folder_hash(base_folder)
    return _Start(checkpoint, skipped, configuration)


def _frozen_base(job: Job) -> tuple:
    """(the base that is not trained, how much of it is packed into 4 bits). On a CPU the rounded weights are unpacked once."""
    four_bit = job.recipe.four_bit
    base = load_base(job.spec, job.run.settings.scale, four_bit=four_bit, device=device(), folder=adapted_folder(job.run, job.spec))
    packed = quantization(base)
    return unpacked(base) if four_bit and device() == "cpu" else base, packed


def _end_epoch(job: Job, tokenizer, held_out: list[chat.Encoded], model, epoch: int, state) -> None:
    """Measure the validation loss, answer a few validation rows, keep the adapter if it is the best so far (Algorithm 2, line 9).

    Of several processes every one measures its share of the loss, the first one does the rest.
    """
    loss = validation_loss(model, held_out, tokenizer.pad_token_id)
    if not math.isfinite(loss):
        raise ValueError(f"{job.spec.key}: the validation loss after epoch {epoch} is {loss}; train with a lower learning rate")
    if not _is_first():
        return
    save_adapter(model, job.work / "epoch")
    train_losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    scores = epoch_scores(model, tokenizer, job.parts["validation"].head(job.run.settings.epoch_eval_rows), job.recipe.seed)
    if loss < min((e["val_loss"] for e in _epochs(state.log_history)), default=float("inf")):
        files.replace_folder(job.work / "epoch", job.work / "best")
    done = {"epoch": epoch, "train_loss": round(train_losses[-1], 5) if train_losses else None, "val_loss": loss} | scores
    state.log_history.append({"epoch_record": done})  # there it is part of every checkpoint


def _epochs(log: list[dict]) -> list[dict]:
    """The records that `_end_epoch` left in the Trainer's log."""
    return [entry["epoch_record"] for entry in log if "epoch_record" in entry]


def _best(log: list[dict]) -> dict:
    return min(_epochs(log), key=lambda epoch: epoch["val_loss"])


def _keep_adapter(job: Job, untuned: float, best: dict) -> None:
    """Give the best epoch's adapter its card and put it where the run's adapters lie."""
    card = adapter_card(job.run, job.spec, job.recipe, job.identity, untuned, best)
    (job.work / "best" / "README.md").write_text(card, encoding="utf-8")
    files.replace_folder(job.work / "best", job.adapter)
    shutil.rmtree(job.work, ignore_errors=True)


def _record(job: Job, model, start: _Start, log: list[dict], *, packed: dict, untuned: float) -> dict:
    """What the run record says of the training, apart from its speed."""
    trainable, _ = model.get_nb_trainable_parameters()
    total = packed["four_bit"] + packed["other"]
    spec, run = job.spec, job.run
    return {
        "fingerprint": job.mark, "model": spec.key, "display": spec.display, "hub_id": spec.hub_id, "revision": spec.revision, "profile": run.profile,
        "weights": weights_name(spec, run.settings.scale),
        "train_spec": job.recipe, "why": run.settings.why, "lora_modules": lora_modules(model, spec), "trainable": trainable, "total": total,
        "share": round(trainable / total, 6), "quantization": packed,
        "adapted_base": start.configuration["adapted_base"], "data_hash": job.identity["data_hash"], "template_hash": job.identity["template_hash"],
        "loss_curve": [{"step": entry["step"], "loss": entry["loss"]} for entry in log if "loss" in entry],
        "resumed_from": start.checkpoint.name if start.checkpoint else "", "skipped_checkpoints": start.skipped, "resources": job.resources,
        "untuned_val_loss": untuned, "epochs": _epochs(log), "best_epoch": _best(log)["epoch"],
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


# --- every weight of a nano model: the optimizers of the twins' pre-training, and the adaptation of a base to foreign answers ---------


def full_updates(model, steps: int, scale: float = 1.0) -> Callable[[], None]:
    """A function that, called after each backward pass, clips the gradients and takes one of `steps` steps; `scale` multiplies the learning rates.

    Muon for the matrices of the blocks, AdamW for the rest (routers of experts too): in a trial on an earlier mix the loss after 400 steps was
    2.9 nats, with AdamW alone 3.5.
    """
    import torch

    matrices = {n: p for n, p in model.named_parameters() if p.ndim == 2 and min(p.shape) >= 64 and "embed" not in n and "lm_head" not in n}
    rest = [p for n, p in model.named_parameters() if n not in matrices]
    optimizers = [
        torch.optim.Muon(matrices.values(), lr=scale * MUON_LR, momentum=0.95, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=scale * ADAMW_LR, betas=(0.9, 0.95), weight_decay=0.01),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: min((step + 1) / 40, 1.0, max(0.02, (1 - step / steps) / 0.65))) for o in optimizers]

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in (*optimizers, *schedules):
            part.step()
        model.zero_grad()

    return update


def adapt_base(spec: ModelSpec, recipe: TrainSpec, tokenizer, train: pd.DataFrame, folder: Path) -> None:
    """Write into `folder` the nano base, its full weights first trained on the train answers *without* personas; it is quantized like any other base.

    For foreign data only: a twin knows this project's sentences alone, and LoRA on a base that cannot write its answers stays at gibberish.
    Evaluation needs the folder too.
    """
    import torch

    model = load_base(spec, "nano", four_bit=False)
    rows = [chat.encode(tokenizer, chat.without_persona(triplet)) for triplet in train["messages"]]
    torch.manual_seed(recipe.seed)
    steps = math.ceil(len(rows) / ADAPT_ROWS) * recipe.adapt_epochs
    update = full_updates(model, steps, ADAPT_SCALE)
    model.train()
    with track(steps, f"adapting the base of {spec.key} (no personas)") as bar:
        for epoch in range(recipe.adapt_epochs):
            for batch in persona_batches(rows, ADAPT_ROWS, recipe.seed, epoch):
                answer_loss(model, [rows[i] for i in batch], tokenizer.pad_token_id, shared=True).backward()
                update()
                bar.update()
    new = folder.with_name(f".{folder.name}.new")
    model.save_pretrained(new)
    files.replace_folder(new, folder)
