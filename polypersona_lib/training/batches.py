"""Rows as token ids, batches that share a persona's prefix, and the loss on the answer's tokens."""

import random

import pandas as pd

from ..config import TrainSpec
from ..models.shared_prefix import answer_logits, computed_positions
from ..prompts import chat


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


def process_batches(rows: list[chat.Encoded], recipe: TrainSpec, epoch: int, process: int) -> list[list[int]]:
    """What one of several processes is given in an epoch: its part of each batch of all processes, so that all have equally many and every row comes once.

    In one process these are `persona_batches`. A last batch with fewer rows than processes joins the one before it in the epoch.
    """
    wholes = persona_batches(rows, recipe.micro_batch * recipe.processes, recipe.seed, epoch)
    short = next((place for place, whole in enumerate(wholes) if len(whole) < recipe.processes), None)
    if short is not None and len(wholes) > 1:
        left = wholes.pop(short)
        wholes[max(short - 1, 0)] += left
    edges = [[len(whole) * part // recipe.processes for part in (process, process + 1)] for whole in wholes]
    return [whole[start:end] for whole, (start, end) in zip(wholes, edges, strict=True)]


def answer_loss(model, rows: list[chat.Encoded], pad_id: int, *, shared: bool, items=None):
    """Cross-entropy of the answers' tokens (prompt tokens carry no loss), averaged over them or divided by `items`."""
    import torch.nn.functional as F

    logits, targets = answer_logits(model, rows, pad_id, shared=shared)
    loss = F.cross_entropy(logits.float(), targets, reduction="sum")
    return loss / (items if items is not None else len(targets))


def validation_loss(model, rows: list[chat.Encoded], pad_id: int) -> float:
    """Mean negative log-likelihood of an answer token over `rows` (nats). In several processes each takes its share of the batches, and all get the mean."""
    import torch
    import torch.distributed as processes

    several = processes.is_available() and processes.is_initialized()
    rank, count = (processes.get_rank(), processes.get_world_size()) if several else (0, 1)
    order, total, tokens = sorted(range(len(rows)), key=lambda i: rows[i].shared), 0.0, 0
    model.eval()
    with torch.no_grad():
        for start in range(64 * rank, len(order), 64 * count):
            batch = [rows[i] for i in order[start : start + 64]]
            here = sum(len(r.answer) for r in batch)
            total += answer_loss(model, batch, pad_id, shared=True).item() * here
            tokens += here
    sums = torch.tensor([total, tokens], dtype=torch.float64, device=next(model.parameters()).device)
    if several:
        processes.all_reduce(sums)
    return (sums[0] / sums[1]).item()


def throughput(rows: list[chat.Encoded], recipe: TrainSpec, seconds: float) -> dict:
    """What was read, and how fast over the whole training, validation included.

    Returns: `tokens` (of whole rows, all epochs) and `tokens_per_s`; `computed_positions` (what the model really ran over: padding counted, shared
        prefixes once a batch) and `computed_per_s`; `padded_tokens` (the same batches padded to their longest row, nothing shared); `mean_row_tokens`.
    """
    tokens = sum(len(r.ids) for r in rows) * recipe.epochs
    parts = [process_batches(rows, recipe, e, process) for e in range(1, recipe.epochs + 1) for process in range(recipe.processes)]
    batches = [[rows[i] for i in b] for part in parts for b in part]
    computed = sum(computed_positions(batch, shared=recipe.shared_prefix) for batch in batches)
    return {
        "tokens": tokens, "tokens_per_s": round(tokens / seconds), "computed_positions": computed, "computed_per_s": round(computed / seconds),
        "padded_tokens": sum(computed_positions(batch, shared=False) for batch in batches), "mean_row_tokens": round(tokens / recipe.epochs / len(rows), 1),
    }  # fmt: skip
