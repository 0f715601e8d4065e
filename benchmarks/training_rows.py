"""One optimizer step of QLoRA beside what people train with.

All trainers get the same rows in the same order, with the same labels and the same effective batch of 16. The gate trains without dropout, because masks
differ: losses and gradient norms must agree, those of the second step after a whole update (no warm-up of the learning rate: its first step changes nothing).
The clock then runs with dropout .05, on the steps after the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .full_size import watch
from .measuring import Check, Comparison, Contender, Pass, largest_difference, missing

WARM_UP = 1  # optimizer steps before the clock starts
DROPOUT = 0.05
FLOAT, BFLOAT = (1e-4, 1e-2), (2e-2, 1e-1)  # relative limits of loss and gradient norm: 32 bits, and 16 bits somewhere


@dataclass
class Trainee:
    """A trainer that can be started again and again: its clock holds the time after every step."""

    trainer: Any
    clock: list[float]

    def gate(self) -> dict[str, list[float]]:
        """Losses and gradient norms of one short training without dropout."""
        self._set_dropout(0.0)
        self.trainer.train()
        self._set_dropout(DROPOUT)
        logged = [entry for entry in self.trainer.state.log_history if "loss" in entry]
        return {name: [entry[name] for entry in logged] for name in ("loss", "grad_norm")}

    def steps(self) -> Pass:
        """Seconds a step, the first one left out."""
        self.clock.clear()
        self.trainer.train()
        return Pass(None, (self.clock[-1] - self.clock[WARM_UP - 1]) / (len(self.clock) - WARM_UP))

    def _set_dropout(self, p: float) -> None:
        import torch

        for name, module in self.trainer.model.named_modules():
            if "lora_dropout" in name and isinstance(module, torch.nn.Dropout):
                module.p = p


def step(*, small: bool, folder: Path, key: str) -> Comparison:
    """One optimizer step of the model `key` beside HF Trainer and TRL."""
    from polypersona_lib.config import PROFILES
    from polypersona_lib.models import weights
    from polypersona_lib.registry import get_spec

    spec = get_spec("tinyllama-1.1b" if small else key)
    scale = "nano" if spec.nano else "small"
    if reason := weights.lacking(spec) if scale == "small" else "":
        raise RuntimeError(reason)
    recipe = one_process(replace(PROFILES[scale].train, epochs=1, dropout=DROPOUT))
    if small:
        recipe = replace(recipe, micro_batch=2, accumulation=1)
    timed = 1 if small or scale == "small" else 4
    tokenizer, chosen, rows = _rows(spec, scale, recipe, steps=WARM_UP + timed, small=small)
    batch = recipe.micro_batch * recipe.accumulation
    longest, real = max(len(row.ids) for row in rows), sum(len(row.ids) for row in rows[WARM_UP * batch :]) // timed

    def positions(size: int, *, all_longest: bool = False) -> int:
        """Positions of a timed step where batches of `size` rows are padded."""
        kept = rows[WARM_UP * batch :]
        parts = [kept[i : i + size] for i in range(0, len(kept), size)]
        return sum(len(part) * (longest if all_longest else max(len(row.ids) for row in part)) for part in parts) // timed

    setting = _Setting(spec, scale, recipe, tokenizer, chosen, rows, folder)
    micro, half = recipe.micro_batch, max(1, batch // 2)
    from polypersona_lib.models.shared_prefix import computed_positions

    ours = setting.ours()
    own = sum(computed_positions(rows[i : i + micro], shared=True) for i in range(WARM_UP * batch, len(rows), micro)) // timed
    goals = (4, 3, 4, 2.5) if spec.nano is None else (None, None, 4, None)
    contenders = [
        Contender(name="ours", work=ours.steps, answer=ours.gate, real=real, computed=own, note=f"{micro} x {recipe.accumulation}, weights unpacked once"),
        setting.contender("HF Trainer, padded to the longest row", lambda: setting.hugging_face(pad_to=longest), goals[0], positions(1, all_longest=True)),
        setting.contender("HF Trainer, dynamic padding", lambda: setting.hugging_face(pad_to=0), goals[1], positions(micro)),
        setting.contender("TRL as it comes", lambda: setting.trl(best=False, micro=half), goals[2], positions(half)),
        setting.contender("TRL at its best", lambda: setting.trl(best=True, micro=batch), goals[3], positions(batch)),
    ]
    left_out = {"TRL": why} if (why := missing("trl", "pip install trl")) else {}
    kept = [contender for contender in contenders if contender is not None and not (why and contender.name.startswith("TRL"))]
    title = f"one optimizer step of {batch} rows, {spec.display}{' (nano twin)' if spec.nano else ''}, LoRA r = {recipe.r}, dropout {DROPOUT}"
    return Comparison(title=title, contenders=[replace(c, real=real) for c in kept], gate=_agree, left_out=left_out)


def one_process(recipe):
    """The same rows a step in the one process that every trainer has here: what further processes would take is accumulated."""
    return replace(recipe, processes=1, accumulation=recipe.accumulation * recipe.processes)


def _agree(answers: dict) -> list[Check]:
    """Every trainer's losses and gradient norms against ours, relative."""
    own, checks = answers["ours"], []
    for name, other in answers.items():
        if name == "ours":
            continue
        limits = BFLOAT if name == "TRL as it comes" else FLOAT
        for what, limit in zip(("loss", "grad_norm"), limits, strict=True):
            gap = largest_difference([a / b for a, b in zip(other[what], own[what], strict=True)], [1.0] * len(own[what]))
            checks.append(Check(f"{name}: {what.replace('grad_norm', 'gradient norm')} of {len(own[what])} steps without dropout, relative", gap, limit))
    return checks


def _rows(spec, scale: str, recipe, *, steps: int, small: bool) -> tuple:
    """(tokenizer, rows of `steps` optimizer steps, the same in the order of our trainer): whole micro-batches of the study's own first epoch."""
    from polypersona_lib import paths
    from polypersona_lib.models.loading import load_tokenizer
    from polypersona_lib.training.batches import encode_rows, persona_batches
    from polypersona_lib.world.dataset import read_split

    tokenizer, frame = load_tokenizer(spec, scale), read_split(paths.DATASET / "paper", "train")
    every = encode_rows(tokenizer, frame.head(60) if small else frame)
    chosen = [every[i] for batch in persona_batches(every, recipe.micro_batch, recipe.seed, 1)[: steps * recipe.accumulation] for i in batch]
    return tokenizer, chosen, [chosen[i] for batch in persona_batches(chosen, recipe.micro_batch, recipe.seed, 1) for i in batch]


@dataclass(frozen=True)
class _Setting:
    """What all trainers share: model, recipe, the `chosen` rows as our sampler gets them, and the same `rows` in the order in which it gives them."""

    spec: Any
    scale: str
    recipe: Any
    tokenizer: Any
    chosen: list
    rows: list
    folder: Path

    def contender(self, name: str, make: Callable[[], Trainee], goal: float | None, computed: int) -> Contender | None:
        """The contender of a trainer that is built when the gate first asks for it."""
        made: list[Trainee] = []

        def answer() -> dict:
            made.append(make())
            return made[0].gate()

        return Contender(name=name, work=lambda: made[0].steps(), answer=answer, goal=goal, computed=computed, note=_NOTES[name.partition(",")[0]])

    def ours(self) -> Trainee:
        """Our trainer: answer-only loss, shared prefixes, the weights unpacked once (as `training.trainer` does on a CPU)."""
        from polypersona_lib.models.adapters import add_lora
        from polypersona_lib.training.answer_trainer import Plan, trainer_of

        recipe = self.recipe
        model = add_lora(self._base(packed=self._on_gpu()), self.spec, r=recipe.r, alpha=recipe.alpha, dropout=DROPOUT, seed=recipe.seed)
        trainer = trainer_of(model, Plan(spec=self.spec, recipe=recipe, rows=self.chosen, pad_id=self.tokenizer.pad_token_id, log=self.folder / "log"))
        trainer.args.logging_steps, trainer.args.warmup_steps = 1, 0
        return self._timed(trainer)

    def hugging_face(self, *, pad_to: int) -> Trainee:
        """`transformers.Trainer` on the packed 4-bit base with PEFT, every batch padded to `pad_to` tokens (0: to its longest row)."""
        from transformers import Trainer, TrainingArguments

        arguments = TrainingArguments(**self._common(self.recipe.micro_batch), **self._hardware())
        return self._timed(Trainer(self._adapted(packed=True), arguments, train_dataset=self._dataset(), data_collator=self._collator(pad_to)))

    def trl(self, *, best: bool, micro: int) -> Trainee:
        """TRL's `SFTTrainer`, as its defaults are (16 bits, gradient checkpointing), or at its best on this machine: unpacked weights, no checkpointing."""
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        chosen = {"gradient_checkpointing": False, **self._hardware()} if best else {"use_cpu": not self._on_gpu()}
        if best and not self._on_gpu():
            chosen["bf16"] = False
        common = {k: v for k, v in self._common(micro).items() if k != "remove_unused_columns"}
        settings = SFTConfig(**common, **chosen, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
        model = self._adapted(packed=self._on_gpu() or not best)
        data = Dataset.from_list(self._dataset())
        return self._timed(SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=self.tokenizer))

    def _on_gpu(self) -> bool:
        from polypersona_lib.config import device

        return device() == "cuda"

    def _base(self, *, packed: bool):
        from polypersona_lib.config import device
        from polypersona_lib.models.loading import load_base, unpacked

        model = load_base(self.spec, self.scale, four_bit=True, device=device())
        return model if packed else unpacked(model)

    def _adapted(self, *, packed: bool):
        """The base with PEFT's own LoRA layers, begun with the same weights as ours."""
        import torch
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        model = self._base(packed=packed)
        if packed:
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        torch.manual_seed(self.recipe.seed)
        targets = list(self.spec.lora_targets)
        config = LoraConfig(r=self.recipe.r, lora_alpha=self.recipe.alpha, lora_dropout=DROPOUT, target_modules=targets, task_type="CAUSAL_LM")
        return get_peft_model(model, config)

    def _dataset(self) -> list[dict]:
        return [{"input_ids": row.ids, "labels": row.labels} for row in self.rows]

    def _collator(self, pad_to: int) -> Callable[[list[dict]], dict]:
        import torch

        def collate(rows: list[dict]) -> dict:
            width = pad_to or max(len(row["input_ids"]) for row in rows)
            fill = {"input_ids": self.tokenizer.pad_token_id, "labels": -100}
            batch = {name: torch.tensor([row[name] + [value] * (width - len(row[name])) for row in rows]) for name, value in fill.items()}
            mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
            return batch | {"attention_mask": mask}

        return collate

    def _common(self, micro: int) -> dict:
        """The recipe in the words of `TrainingArguments`, for batches of `micro` rows."""
        recipe, batch = self.recipe, self.recipe.micro_batch * self.recipe.accumulation
        return {
            "output_dir": str(self.folder / "other"), "num_train_epochs": 1, "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": batch // micro, "learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay,
            "lr_scheduler_type": "cosine", "warmup_steps": 0, "max_grad_norm": recipe.clip, "logging_steps": 1, "save_strategy": "no", "report_to": [],
            "disable_tqdm": True, "seed": recipe.seed, "train_sampling_strategy": "sequential", "remove_unused_columns": False,
        }  # fmt: skip

    def _hardware(self) -> dict:
        import torch

        if self._on_gpu():
            return {"bf16": torch.cuda.is_bf16_supported(), "optim": "paged_adamw_8bit"}
        return {"use_cpu": True, "optim": "adamw_torch_fused"}

    def _timed(self, trainer) -> Trainee:
        from transformers import PrinterCallback

        trainer.remove_callback(PrinterCallback)
        clock: list[float] = []
        trainer.add_callback(watch(clock))
        return Trainee(trainer, clock)


_NOTES = {
    "HF Trainer": "4-bit weights as bitsandbytes packs them, PEFT's layers, no checkpointing, our micro-batch",
    "TRL as it comes": "SFTConfig's defaults: 16 bits, gradient checkpointing, batches of 8; 4-bit weights",
    "TRL at its best": "one batch of 16, no checkpointing; on a CPU 32 bits and unpacked weights, on a GPU bf16 and 4-bit weights",
}
