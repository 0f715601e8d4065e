"""QLoRA on the assistant's tokens: Algorithm 2 of the paper on top of `transformers.Trainer`.

The Trainer keeps optimizer, schedule, clipping, checkpoints and TensorBoard. Ours are the batches (rows of one persona together, so
that their prefix is computed once) and the loss (LM head on answer positions only).
"""

from __future__ import annotations

import math
import random
import shutil
import time
from pathlib import Path

import pandas as pd

from . import chat, records
from .config import RunConfig, TrainSpec, device, fingerprint
from .models import ModelSpec, add_lora, folder_hash, load_base, load_for_inference, load_tokenizer, lora_modules, source
from .nano import updates
from .prefix import answer_logits
from .progress import track

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


def _trainer(model, tokenizer, rows, spec: TrainSpec, output: Path, on_epoch, label: str):
    """A `transformers.Trainer` with our batches and our loss; `on_epoch(model, epoch, state)` is called after every epoch."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Batches:
        """Batch sampler that reshuffles each time it is iterated."""

        def __init__(self):
            self.epoch = 0

        def __len__(self):
            return math.ceil(len(rows) / spec.micro_batch)

        def __iter__(self):
            self.epoch += 1
            return iter(persona_batches(rows, spec.micro_batch, spec.seed, self.epoch))

    class AnswerTrainer(Trainer):
        def get_train_dataloader(self):
            data = torch.utils.data.DataLoader(range(len(rows)), batch_sampler=Batches(), collate_fn=lambda picked: {"rows": picked})
            return data if self.accelerator.num_processes == 1 else self.accelerator.prepare(data)

        def get_batch_samples(self, epoch_iterator, num_batches, device):
            batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
            return batches, sum(len(rows[i].answer) for b in batches for i in b["rows"]) or None

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return answer_loss(model, [rows[i] for i in inputs["rows"]], tokenizer.pad_token_id, shared=spec.shared_prefix, items=num_items_in_batch)

        def floating_point_ops(self, inputs):
            return 0

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.bar = track(state.max_steps, label)

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update()

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

        def on_epoch_end(self, args, state, control, model=None, **kwargs):
            on_epoch(model, round(state.epoch), state)
            model.train()

    batches = math.ceil(len(rows) / spec.micro_batch)
    steps = math.ceil(batches / spec.accumulation) * spec.epochs
    cuda = device() == "cuda"
    half = {"bf16": torch.cuda.is_bf16_supported(), "fp16": not torch.cuda.is_bf16_supported()} if cuda else {"use_cpu": True}
    arguments = TrainingArguments(
        output_dir=str(output), num_train_epochs=spec.epochs, per_device_train_batch_size=spec.micro_batch, gradient_accumulation_steps=spec.accumulation,
        learning_rate=spec.learning_rate, weight_decay=spec.weight_decay, lr_scheduler_type="cosine", warmup_steps=max(1, round(spec.warmup * steps)),
        max_grad_norm=spec.clip, optim="paged_adamw_8bit" if cuda else "adamw_torch", logging_strategy="steps", logging_steps=max(1, min(10, steps // 5)),
        save_strategy="no",
        report_to=["tensorboard"], seed=spec.seed, data_seed=spec.seed, disable_tqdm=True, remove_unused_columns=False, label_names=["rows"], **half,
    )  # fmt: skip
    trainer = AnswerTrainer(model=model, args=arguments, train_dataset=range(len(rows)), callbacks=[Watch()])
    trainer.remove_callback(PrinterCallback)
    return trainer


def train(run: RunConfig, spec: ModelSpec, parts: dict[str, pd.DataFrame]) -> dict:
    """Fine-tune one model, or return its record if exactly this was done before.

    Writes `adapters/<key>/` (PEFT layout, best epoch by validation loss) and `runs/<key>--<profile>--seed<n>.json`, the record last.
    Returns: the run record (see `records.write_run`).
    Source: paper, Algorithm 2 and section V-A; validation BLEU/ROUGE/BERTScore and persona similarity each epoch (line 9).
    """
    import torch

    recipe, scale, where = run.train_spec, run.settings.scale, device()
    tokenizer = load_tokenizer(spec, scale)
    identity = {
        "train_spec": recipe, "model": spec.key, "base": source(spec, scale)[0] if scale != "nano" else folder_hash(Path(source(spec, scale)[0])),
        "data_hash": records.data_hash(parts), "template_hash": chat.template_hash(tokenizer), "epoch_eval_rows": run.settings.epoch_eval_rows,
    }  # fmt: skip
    mark = fingerprint(identity)
    folder, record_path = run.paths.folder("adapters") / spec.key, records.run_path(run, spec.key)
    base_folder = _adapted_folder(run, spec)
    if (done := records.finished(record_path, mark, {"adapter_hash": folder} | ({"adapted_base": base_folder} if base_folder else {}))) is not None:
        print(f"{spec.display}: trained before with exactly this recipe and data; kept (adapter {done['adapter_hash'][:12]})")
        return done
    torch.manual_seed(recipe.seed)
    started, memory = time.perf_counter(), records.PeakMemory()
    rows, held = encode_rows(tokenizer, parts["train"]), encode_rows(tokenizer, parts["validation"])
    work = run.paths.folder("adapters") / f".{spec.key}.unfinished"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    if base_folder:
        adapt_base(run, spec, tokenizer, parts, work, base_folder)
    base = load_base(spec, scale, four_bit=recipe.four_bit, device=where, folder=base_folder)
    model = add_lora(base, spec, r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, seed=recipe.seed)
    epochs: list[dict] = []

    def on_epoch(model, epoch, state):
        model.save_pretrained(work / "epoch")
        answering = load_for_inference(spec, scale, work / "epoch", device=where, folder=base_folder) if where == "cpu" else model
        loss = validation_loss(answering, held, tokenizer.pad_token_id)
        trained = [entry["loss"] for entry in state.log_history if "loss" in entry]
        scores = epoch_scores(answering, tokenizer, parts["validation"].head(run.settings.epoch_eval_rows), recipe.seed)
        if loss < min((e["val_loss"] for e in epochs), default=float("inf")):
            shutil.rmtree(work / "best", ignore_errors=True)
            (work / "epoch").rename(work / "best")
        epochs.append({"epoch": epoch, "train_loss": round(trained[-1], 5) if trained else None, "val_loss": loss} | scores)

    trainer = _trainer(model, tokenizer, rows, recipe, run.paths.results / "tensorboard" / spec.key, on_epoch, f"training {spec.key}")
    trainer.train()
    seconds = time.perf_counter() - started
    records.replace_folder(work / "best", folder)
    shutil.rmtree(work, ignore_errors=True)
    trainable, _ = model.get_nb_trainable_parameters()
    tokens = sum(len(r.ids) for r in rows) * recipe.epochs
    record = {
        "fingerprint": mark, "model": spec.key, "display": spec.display, "hub_id": spec.hub_id, "revision": spec.revision, "profile": run.profile,
        "train_spec": recipe, "why": run.settings.why, "lora_modules": lora_modules(model, spec), "trainable": trainable, "total": _full_size(model),
        "tokens": tokens,
        "adapted_base": folder_hash(base_folder) if base_folder else "", "data_hash": identity["data_hash"], "template_hash": identity["template_hash"],
        "loss_curve": [{"step": e["step"], "loss": e["loss"]} for e in trainer.state.log_history if "loss" in e],
        "epochs": epochs, "best_epoch": min(epochs, key=lambda e: e["val_loss"])["epoch"], "train_time_s": round(seconds, 1),
        "tokens_per_s": round(tokens / seconds), "peak_memory_mb": memory.mb(), "mean_row_tokens": round(sum(len(r.ids) for r in rows) / len(rows), 1),
    }  # fmt: skip
    record["share"] = round(record["trainable"] / record["total"], 6)
    return records.write_run(record_path, record, folder)


def _full_size(model) -> int:
    """Parameters of the base as if it were not packed into 4 bits, adapters left out."""
    return sum(p.quant_state.shape.numel() if hasattr(p, "quant_state") else p.numel() for n, p in model.named_parameters() if "lora_" not in n)


def epoch_scores(model, tokenizer, frame: pd.DataFrame, seed: int) -> dict[str, float]:
    """BLEU, ROUGE and BERTScore of sampled answers to a few validation rows, and the answers' similarity to their cards."""
    from .generation import generate
    from .metrics import persona_similarity, score_rows

    if not len(frame):
        return {}
    answers = generate(model, tokenizer, frame, seed=seed, quiet=True)
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
