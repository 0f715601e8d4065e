"""Training every weight of a nano model: the optimizers of the twins' pre-training, and the adaptation of a base to foreign answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from .. import files
from ..config import TrainSpec
from ..models.loading import load_base
from ..progress import track
from ..prompts import chat
from ..registry import ModelSpec
from .batches import answer_loss, persona_batches

MUON_LR, ADAMW_LR = 0.02, 4e-3
ADAPT_SCALE, ADAPT_ROWS = 0.4, 16  # share of the pre-training rates (foreign answers are few), rows a step


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
