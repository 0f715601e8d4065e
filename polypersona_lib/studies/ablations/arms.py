"""The arms of the ablation study: trainings that differ from the reference in one thing, on one family and one fixed subset of rows.

The measure is the loss of an answer token on records that no arm was trained on, its gain over the untuned base, and the scores of sampled answers. The
loss needs no sampling and has an interval from few rows; BLEU and ROUGE are beside it because the paper speaks of them. `findings` has the results.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files, paths
from ...config import RunConfig, TrainSpec
from ...models import adapters, generation, loading
from ...models.shared_prefix import answer_logits
from ...processes import side_by_side
from ...registry import get_spec
from ...scoring import metrics
from ...training import batches
from ...world import dataset

ROWS, SEEDS, TEXT_METRICS = 800, (42, 43, 44), ("bleu", "rouge1")
REFERENCE_ARM = "reference"  # the nano recipe: rank 16, 4 bits, 3 epochs, LoRA
FULL_RATES = (3e-4, 1e-3, 3e-3)  # full fine-tuning gets the learning rate with the lowest validation loss, as LoRA did
UNTUNED, LORA = "untuned", "precision"  # the bases as they are; LoRA on the base that is not quantized


@dataclass(frozen=True)
class Arm:
    """One training: what is varied (`study`), to what (`setting`), with which seed.

    Attributes:
        recipe: the complete recipe. method: "lora", "full" (every weight of the unquantized base) or "none" (the base as it is).
        left_out: a domain held out of training ("": none).
    """

    study: str
    setting: str
    recipe: TrainSpec
    method: str = "lora"
    left_out: str = ""

    @property
    def name(self) -> str:
        """File name of the arm's results."""
        return f"{self.study}--{self.setting}--seed{self.recipe.seed}".replace(" ", "-")


def arms(recipe: TrainSpec, domains: list[str]) -> list[Arm]:
    """The arms: two untuned bases first; three seeds each, one for domains left out and the search of full fine-tuning's rate (rest: `full_arms`)."""
    first = replace(recipe, seed=SEEDS[0])
    planned = [Arm(UNTUNED, "4 bits", first, "none"), Arm(UNTUNED, "not quantized", replace(first, four_bit=False), "none")]
    for own in (replace(recipe, seed=seed) for seed in SEEDS):
        planned.append(Arm(REFERENCE_ARM, "rank 16, 4 bits, 3 epochs", own))
        planned += [Arm("rank", str(r), replace(own, r=r, alpha=2 * r)) for r in (8, 32, 64)]
        planned += [Arm(LORA, "not quantized", replace(own, four_bit=False)), Arm("epochs", "1", replace(own, epochs=1))]
    return planned + [_full(first, rate) for rate in FULL_RATES] + [Arm("left out", domain, first, left_out=domain) for domain in domains]


def _full(recipe: TrainSpec, rate: float) -> Arm:
    return Arm("full", f"learning rate {rate:g}", replace(recipe, learning_rate=rate, four_bit=False), "full")


def full_arms(recipe: TrainSpec, results: pd.DataFrame) -> list[Arm]:
    """Full fine-tuning with all seeds, at the learning rate that the search found best (`best_full`)."""
    rate = float(best_full(results).split()[-1])
    return [_full(replace(recipe, seed=seed), rate) for seed in SEEDS]


def best_full(results: pd.DataFrame) -> str:
    """The setting of full fine-tuning with the lowest validation loss (first seed)."""
    tried = results[(results["study"] == "full") & (results["part"] == "validation") & (results["seed"] == SEEDS[0])]
    return tried.groupby("setting")["loss"].mean().idxmin()


def train_rows(arm: Arm, train: pd.DataFrame) -> pd.DataFrame:
    """The arm's train rows: `ROWS`, spread over domains and question types like the whole, the same for every arm that leaves nothing out."""
    pool = train[train["domain"] != arm.left_out]
    groups = [group for _, group in pool.groupby(["domain", "question_type"], sort=True)]
    counts = dataset.apportion(min(ROWS, len(pool)), [len(group) for group in groups])
    keep = [group.iloc[[round(i * (len(group) - 1) / max(1, n - 1)) for i in range(n)]] for group, n in zip(groups, counts, strict=True)]
    return pd.concat(keep).sort_index()


def run_arms(run: RunConfig, parts: dict[str, pd.DataFrame], chosen: list[Arm], key: str) -> pd.DataFrame:
    """Run the arms that have not been run, side by side. Returns: one row an arm and record: study, setting, seed, four_bit, part, id, ..., loss, scores.

    Results are kept in `arms/`, so an interrupted study goes on where it was.
    """
    folder = run.paths.folder("arms")
    todo = [arm for arm in chosen if files.kept_frame(_path(folder, arm, parts, key)) is None]
    for number, _ in side_by_side(run_arm, [(run, arm, parts, key) for arm in todo]):
        print(f"done: {todo[number].name}")
    return pd.concat([pd.read_parquet(_path(folder, arm, parts, key)) for arm in chosen], ignore_index=True)


def _path(folder: Path, arm: Arm, parts: dict[str, pd.DataFrame], key: str) -> Path:
    mark = files.fingerprint(asdict(arm), dataset.data_hash({p: parts[p] for p in ("train", "validation", "test")}), key, ROWS)
    return folder / f"{arm.name}--{mark}.parquet"


def run_arm(run: RunConfig, arm: Arm, parts: dict[str, pd.DataFrame], key: str) -> None:
    """Train one arm and write its losses on the validation and test rows, and the scores of its answers to the latter."""
    tokenizer = loading.load_tokenizer(get_spec(key), "nano")
    model = _trained_model(run, arm, parts["train"], tokenizer, key)
    measured = pd.concat([_measured(model, tokenizer, arm, part, parts[part]) for part in ("validation", "test")], ignore_index=True)
    out = measured.assign(study=arm.study, setting=arm.setting, seed=arm.recipe.seed, four_bit=arm.recipe.four_bit)
    files.keep_frame(out, _path(run.paths.folder("arms"), arm, parts, key))


def _trained_model(run: RunConfig, arm: Arm, train: pd.DataFrame, tokenizer, key: str):
    """The arm's model, trained, its adapter merged into the base, no weight trainable any more."""
    import torch

    from ...training.answer_trainer import Plan, trainer_of

    spec, recipe = get_spec(key), arm.recipe
    base = loading.load_base(spec, "nano", four_bit=recipe.four_bit)
    model = loading.unpacked(base) if recipe.four_bit else base
    if arm.method == "full":
        model.requires_grad_(True)
    elif arm.method == "lora":
        model = adapters.add_lora(model, spec, r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, seed=recipe.seed)
    if arm.method != "none":
        torch.manual_seed(recipe.seed)
        rows = batches.encode_rows(tokenizer, train_rows(arm, train))
        output = run.paths.results / "tensorboard" / arm.name
        trainer_of(model, Plan(spec=spec, recipe=recipe, rows=rows, pad_id=tokenizer.pad_token_id, log=output)).train()
    if arm.method == "lora":
        model = model.merge_and_unload()
    return model.requires_grad_(False).eval()


def _measured(model, tokenizer, arm: Arm, part: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The loss of every row (of the domain left out alone, if there is one), and on the test rows the scores of sampled answers."""
    rows = rows[rows["domain"] == arm.left_out] if arm.left_out else rows
    losses = row_losses(model, batches.encode_rows(tokenizer, rows), tokenizer.pad_token_id)
    measured = rows[["id", "persona_id", "domain"]].assign(part=part, loss=losses)
    if part != "test" or arm.left_out:
        return measured
    answers = generation.generate(model, tokenizer, rows, seed=arm.recipe.seed)["text"].tolist()
    scores = metrics.score_rows(rows.assign(prediction=answers, status="ok"), only=TEXT_METRICS)
    return measured.assign(**{m: scores[m].to_numpy() for m in TEXT_METRICS})


def row_losses(model, rows: list, pad_id: int) -> np.ndarray:
    """Mean negative log-likelihood of each row's answer tokens (nats), shape (rows,)."""
    import torch
    import torch.nn.functional as F

    losses, order = np.empty(len(rows)), sorted(range(len(rows)), key=lambda i: rows[i].shared)
    with torch.no_grad():
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            logits, targets = answer_logits(model, [rows[i] for i in batch], pad_id, shared=True)
            by_row = F.cross_entropy(logits.float(), targets, reduction="none").split([len(rows[i].answer) for i in batch])
            losses[batch] = [tokens.mean().item() for tokens in by_row]
    return losses


def measured_memory(key: str, method: str, rows: int = 16) -> dict[str, int]:
    """Memory of a twin's training step in bytes, tensor by tensor: weights, gradients, optimizer states, activations kept for the backward pass.

    Args: method: "full", "lora" (32-bit base) or "qlora". On the CPU the optimizer is AdamW in 32 bits.
    """
    import torch

    spec = get_spec(key)
    tokenizer, model = loading.load_tokenizer(spec, "nano"), loading.load_base(spec, "nano", four_bit=method == "qlora")
    if method == "full":
        model.requires_grad_(True)
    else:
        model = adapters.add_lora(model, spec, r=16, alpha=32, dropout=0.05, seed=42)
    model.train()
    batch, kept = batches.encode_rows(tokenizer, dataset.read_split(paths.DATASET / "paper", "train").head(rows)), {}
    own = {p.data_ptr() for p in model.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = batches.answer_loss(model, batch, tokenizer.pad_token_id, shared=False)
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    states = sum(v.numel() * v.element_size() for state in optimizer.state.values() for v in state.values() if torch.is_tensor(v))
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return {"weights": weights, "gradients": sum(p.numel() * 4 for p in trained if p.grad is not None), "optimizer": states, "activations": sum(kept.values())}
