"""`transformers.Trainer` with our batches and our loss. Importing this module imports PyTorch and transformers: import it inside functions.

The Trainer keeps optimizer, schedule, clipping, checkpoints and TensorBoard. Ours are the batches (rows of one persona together, so that
their prefix is computed once) and the loss (LM head on answer positions only).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as processes
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from ..config import TrainSpec, device
from ..models.adapters import load_adapter, save_adapter
from ..models.loading import precision
from ..models.shared_prefix import decoder
from ..progress import track
from ..prompts.chat import Encoded
from ..registry import ModelSpec
from . import checkpoints
from .batches import answer_loss, process_batches

PATIENCE_S = 7200  # so long the processes of a training wait for the one that measures and writes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained and how, apart from the model.

    Attributes:
        spec: the family. recipe: the recipe. rows: the encoded train rows. pad_id: the tokenizer's padding token.
        log: folder of the TensorBoard log. on_epoch: called in every process with (model, epoch from 1, Trainer state) after each epoch.
        work: folder for sealed checkpoints of this `configuration` (see `checkpoints`); None: no checkpoints. seconds: how long this training took so far.
    """

    spec: ModelSpec
    recipe: TrainSpec
    rows: list[Encoded]
    pad_id: int
    log: Path
    on_epoch: Callable = lambda model, epoch, state: None
    work: Path | None = None
    configuration: dict = field(default_factory=dict)
    seconds: Callable[[], float] = time.perf_counter

    @property
    def batches(self) -> int:
        """Micro-batches of one epoch in each process."""
        return len(process_batches(self.rows, self.recipe, 1, 0))

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps of one epoch."""
        return math.ceil(self.batches / self.recipe.accumulation)


def meet() -> None:
    """Wait until every process of this training is here (at once if there is only one)."""
    if processes.is_available() and processes.is_initialized():
        processes.barrier()


class PersonaSampler:
    """Batch sampler of this process that reshuffles in every epoch (counted from 1)."""

    drop_last = False

    def __init__(self, plan: Plan):
        self.plan, self.epoch, self.batch_size, self.batches = plan, 1, plan.recipe.micro_batch, plan.batches

    def __len__(self):
        return self.batches

    def __iter__(self):
        process = processes.get_rank() if processes.is_available() and processes.is_initialized() else 0
        return iter(process_batches(self.plan.rows, self.plan.recipe, self.epoch, process))


class AnswerModel(torch.nn.Module):
    """The model as the Trainer sees it, row numbers in, loss out: mixed precision and several processes hook into this one `forward`."""

    def __init__(self, model, plan: Plan):
        super().__init__()
        self.model, self.plan = model, plan

    def forward(self, numbers, items):
        rows = [self.plan.rows[i] for i in numbers]
        checkpointed = self.training and any(getattr(part, "gradient_checkpointing", False) for part in decoder(self.model)[0].modules())
        return answer_loss(self.model, rows, self.plan.pad_id, shared=self.plan.recipe.shared_prefix and not checkpointed, items=items)  # no cache then


class AnswerTrainer(Trainer):
    """Feeds row numbers to an `AnswerModel`, divides the loss by the answer tokens of the whole effective batch, and saves adapters alone."""

    def __init__(self, model: AnswerModel, sampler: PersonaSampler, **options):
        self.plan, self.sampler = model.plan, sampler
        super().__init__(model, train_dataset=range(len(self.plan.rows)), **options)
        self.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole effective batch already

    def get_train_dataloader(self):
        return torch.utils.data.DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=lambda numbers: {"rows": numbers})

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        tokens = sum(len(self.plan.rows[i].answer) for batch in batches for i in batch["rows"])
        if self.args.world_size > 1:  # the mean over processes follows, so each divides its sum by the mean count
            tokens = self.accelerator.gather(torch.tensor([tokens], device=device)).sum().item() / self.args.world_size
        return batches, tokens or None

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return model(inputs["rows"], num_items_in_batch)

    def floating_point_ops(self, inputs):
        return 0

    def _get_output_dir(self, trial):
        return str(self.plan.work / "writing") if self.plan.work else super()._get_output_dir(trial)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        load_adapter(self.model.model, Path(resume_from_checkpoint))

    def save_model(self, output_dir=None, _internal_call=False):
        if self.args.should_save:
            save_adapter(self.model.model, Path(output_dir))


class EpochCallback(TrainerCallback):
    """Draws the bar, reshuffles, seals checkpoints, and calls the plan's `on_epoch`."""

    def __init__(self, model, plan: Plan, sampler: PersonaSampler):
        self.model, self.plan, self.sampler, self.bar = model, plan, sampler, None

    def on_train_begin(self, args, state, control, **kwargs):
        if args.should_save:  # one process shows it
            self.bar = track(state.max_steps, f"training {self.plan.spec.key}")
            self.bar.update(state.global_step)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.epoch = int(state.epoch + 1e-6) + 1

    def on_step_end(self, args, state, control, **kwargs):
        if self.bar:
            self.bar.update()
        due = state.global_step % checkpoints.SAVE_EVERY == 0 and state.global_step % self.plan.epoch_steps != 0
        control.should_save = due and self.plan.work is not None
        control.should_log = control.should_log or control.should_save  # what is not logged yet is in no checkpoint

    def on_save(self, args, state, control, **kwargs):
        meet()
        if args.should_save:
            work = self.plan.work
            checkpoints.keep_seconds(work / "writing" / f"checkpoint-{state.global_step}", self.plan.seconds())
            checkpoints.seal(work / "writing" / f"checkpoint-{state.global_step}", work / f"step-{state.global_step:06d}", self.plan.configuration)
        meet()

    def on_epoch_end(self, args, state, control, **kwargs):
        self.plan.on_epoch(self.model, round(state.epoch), state)
        meet()
        self.model.train()
        control.should_save = control.should_log = self.plan.work is not None and state.global_step < state.max_steps

    def on_train_end(self, args, state, control, **kwargs):
        if self.bar:
            self.bar.close()


def arguments_of(plan: Plan) -> TrainingArguments:
    """The recipe in the Trainer's words."""
    recipe, steps, where = plan.recipe, plan.epoch_steps * plan.recipe.epochs, device()
    computed = precision(plan.spec, where)
    hardware = {"use_cpu": True, "optim": "adamw_torch_fused"}
    if where == "cuda":
        hardware = {"bf16": computed == torch.bfloat16, "fp16": computed == torch.float16, "optim": "paged_adamw_8bit"}
    arguments = TrainingArguments(
        output_dir=str(plan.log), num_train_epochs=recipe.epochs, per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.accumulation, learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay,
        lr_scheduler_type="cosine", warmup_steps=max(1, round(recipe.warmup * steps)), max_grad_norm=recipe.clip,
        logging_strategy="steps", logging_steps=max(1, min(10, steps // 5)), save_strategy="no", report_to=["tensorboard"],
        seed=recipe.seed, data_seed=recipe.seed, ddp_timeout=PATIENCE_S, disable_tqdm=True, remove_unused_columns=False, label_names=["rows"], **hardware,
    )  # fmt: skip
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process, one GPU: of several the Trainer would give every one all rows (DataParallel)
    return arguments


def trainer_of(model, plan: Plan) -> AnswerTrainer:
    """A Trainer for `model` that follows the plan; `trainer_of(model, plan).train()` trains it in place."""
    sampler = PersonaSampler(plan)
    trainer = AnswerTrainer(AnswerModel(model, plan), sampler, args=arguments_of(plan), callbacks=[EpochCallback(model, plan, sampler)])
    trainer.remove_callback(PrinterCallback)
    return trainer
