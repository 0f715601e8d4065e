"""What LoRA costs and keeps: trainings that differ from the reference in one thing, on one family and one fixed subset of rows.

The measure is the loss of an answer token on records that no arm was trained on, its gain over the untuned base, and the scores of sampled answers. The
loss needs no sampling and has an interval from few rows; BLEU and ROUGE are beside it because the paper speaks of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files, resampling
from ...config import RunConfig, TrainSpec
from ...files import fingerprint
from ...registry import get_spec
from ...stats import apportion
from ...workers import side_by_side
from ...world import dataset

ROWS, SEEDS, _METRICS = 800, (42, 43, 44), ("bleu", "rouge1")
REFERENCE = "reference"  # the nano recipe: rank 16, 4 bits, 3 epochs, LoRA
FULL_RATES = (3e-4, 1e-3, 3e-3)  # full fine-tuning gets the learning rate with the lowest validation loss, as LoRA did
UNTUNED, LORA = "untuned", "precision"  # the bases as they are; LoRA on the base that is not quantized


@dataclass(frozen=True)
class Arm:
    """One training: what is varied (`study`), to what (`setting`), with which seed.

    Attributes:
        recipe: the complete recipe. method: "lora", "full" (every weight of the unquantized base) or "none" (the base as it is).
        left_out: a domain of which no row is trained on ("": none).
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
    """The arms: three seeds each, one for the domains left out and for the search of full fine-tuning's learning rate (the rest: `full_arms`).

    First the two untuned bases, in 4 bits and as they are.
    """
    first = replace(recipe, seed=SEEDS[0])
    found = [Arm(UNTUNED, "4 bits", first, "none"), Arm(UNTUNED, "not quantized", replace(first, four_bit=False), "none")]
    for own in (replace(recipe, seed=seed) for seed in SEEDS):
        found.append(Arm(REFERENCE, "rank 16, 4 bits, 3 epochs", own))
        found += [Arm("rank", str(r), replace(own, r=r, alpha=2 * r)) for r in (8, 32, 64)]
        found += [Arm(LORA, "not quantized", replace(own, four_bit=False)), Arm("epochs", "1", replace(own, epochs=1))]
    return found + [_full(first, rate) for rate in FULL_RATES] + [Arm("left out", domain, first, left_out=domain) for domain in domains]


def _full(recipe: TrainSpec, rate: float) -> Arm:
    return Arm("full", f"learning rate {rate:g}", replace(recipe, learning_rate=rate, four_bit=False), "full")


def full_arms(recipe: TrainSpec, results: pd.DataFrame) -> list[Arm]:
    """Full fine-tuning with all seeds, at the learning rate that the search found best (`best_full`)."""
    rate = float(best_full(results).split()[-1])
    return [_full(replace(recipe, seed=seed), rate) for seed in SEEDS]


def rows_of(arm: Arm, train: pd.DataFrame) -> pd.DataFrame:
    """The arm's train rows: `ROWS`, spread over domains and question types like the whole, the same for every arm that leaves nothing out."""
    pool = train[train["domain"] != arm.left_out]
    groups = [group for _, group in pool.groupby(["domain", "question_type"], sort=True)]
    counts = apportion(min(ROWS, len(pool)), [len(group) for group in groups])
    keep = [group.iloc[[round(i * (len(group) - 1) / max(1, n - 1)) for i in range(n)]] for group, n in zip(groups, counts, strict=True)]
    return pd.concat(keep).sort_index()


def run_arms(run: RunConfig, parts: dict[str, pd.DataFrame], chosen: list[Arm], key: str) -> pd.DataFrame:
    """Run the arms that have not been run, side by side. Returns: one row an arm and record: study, setting, seed, four_bit, part, id, ..., loss, scores.

    Results are kept in `arms/`, so an interrupted study goes on where it was.
    """
    folder = run.paths.folder("arms")
    todo = [arm for arm in chosen if not _path(folder, arm, parts, key).exists()]
    for number, _ in side_by_side(run_arm, [(run, arm, parts, key) for arm in todo]):
        print(f"done: {todo[number].name}")
    return pd.concat([pd.read_parquet(_path(folder, arm, parts, key)) for arm in chosen], ignore_index=True)


def _path(folder: Path, arm: Arm, parts: dict[str, pd.DataFrame], key: str) -> Path:
    mark = fingerprint(asdict(arm), dataset.data_hash({p: parts[p] for p in ("train", "validation", "test")}), key, ROWS)
    return folder / f"{arm.name}--{mark}.parquet"


def run_arm(run: RunConfig, arm: Arm, parts: dict[str, pd.DataFrame], key: str) -> None:
    """Train one arm and write its losses on the validation and test rows, and the scores of its answers to the latter."""
    import torch

    from ...models import loading
    from ...models.generation import generate
    from ...scoring.metrics import score_rows
    from ...training import batches, trainer

    spec, recipe = get_spec(key), arm.recipe
    tokenizer = loading.load_tokenizer(spec, "nano")
    base = loading.load_base(spec, "nano", four_bit=recipe.four_bit)
    model = loading.unpacked(base) if recipe.four_bit else base
    if arm.method == "full":
        model.requires_grad_(True)
    elif arm.method == "lora":
        model = loading.add_lora(model, spec, r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, seed=recipe.seed)
    if arm.method != "none":
        torch.manual_seed(recipe.seed)
        rows = batches.encode_rows(tokenizer, rows_of(arm, parts["train"]))
        output = run.paths.results / "tensorboard" / arm.name
        trainer.trainer_of(model, spec, tokenizer, rows, recipe, output, lambda *_: None).train()
    if arm.method == "lora":
        model = model.merge_and_unload()
    model.requires_grad_(False).eval()
    scored = []
    for part in ("validation", "test"):
        frame = parts[part] if not arm.left_out else parts[part][parts[part]["domain"] == arm.left_out]
        found = frame[["id", "persona_id", "domain"]].assign(part=part, loss=row_losses(model, batches.encode_rows(tokenizer, frame), tokenizer.pad_token_id))
        if part == "test" and not arm.left_out:
            answers = generate(model, tokenizer, frame, seed=recipe.seed)["text"].tolist()
            both = score_rows(frame.assign(prediction=answers, status="ok"), only=_METRICS)
            found = found.assign(**{m: both[m].to_numpy() for m in _METRICS})
        scored.append(found)
    out = pd.concat(scored, ignore_index=True).assign(study=arm.study, setting=arm.setting, seed=recipe.seed, four_bit=recipe.four_bit)
    path = _path(run.paths.folder("arms"), arm, parts, key)
    with files.replacing(path) as new:
        out.to_parquet(new, index=False)


def row_losses(model, rows: list, pad_id: int) -> np.ndarray:
    """Mean negative log-likelihood of each row's answer tokens (nats), shape (rows,)."""
    import torch
    import torch.nn.functional as F

    from ...models.shared_prefix import answer_logits

    found, order = np.empty(len(rows)), sorted(range(len(rows)), key=lambda i: rows[i].shared)
    with torch.no_grad():
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            logits, targets = answer_logits(model, [rows[i] for i in batch], pad_id, shared=True)
            losses = F.cross_entropy(logits.float(), targets, reduction="none").split([len(rows[i].answer) for i in batch])
            found[batch] = [part.mean().item() for part in losses]
    return found


# --- what comes of it ----------------------------------------------------------------------------------------------------------------


def _untuned(results: pd.DataFrame, *, four_bit: bool) -> pd.Series:
    """Each test record's loss under the untuned base of one precision, by id."""
    base = results[(results["study"] == UNTUNED) & (results["part"] == "test") & (results["four_bit"] == four_bit)]
    return base.set_index("id")["loss"]


def gains(results: pd.DataFrame) -> pd.DataFrame:
    """Each arm's gain over the untuned base of its own precision, on the test rows, seeds averaged.

    Returns: study, setting, seeds, loss, gain, lo, hi, spread, and the mean scores. `gain` in nats an answer token, its interval from resampling
        personas; `spread`: standard deviation between seeds (NaN with one). The untuned bases have no gain (NaN).
    """
    test = results[results["part"] == "test"]
    lines = []
    for (study, setting), arm in test.groupby(["study", "setting"], sort=False):
        base = _untuned(results, four_bit=bool(arm["four_bit"].iloc[0]))
        gain = base.loc[arm["id"]].to_numpy() - arm["loss"].to_numpy() if study != UNTUNED else np.full(len(arm), np.nan)
        by_row = arm.assign(gain=gain).groupby("id", sort=False).agg(gain=("gain", "mean"), persona_id=("persona_id", "first"))
        found = resampling.bootstrap_mean(by_row["gain"], clusters=list(by_row["persona_id"]))
        by_seed = pd.Series(gain).groupby(arm["seed"].to_numpy()).mean()
        line = {
            "study": study,
            "setting": setting,
            "seeds": len(by_seed),
            "loss": arm["loss"].mean(),
            "gain": found["mean"],
            "lo": found["lo"],
            "hi": found["hi"],
        }
        lines.append(line | {"n": arm["id"].nunique(), "spread": by_seed.std() if len(by_seed) > 1 else np.nan} | {m: arm[m].mean() for m in _METRICS})
    return pd.DataFrame(lines)


def label(study: str, setting: str) -> str:
    """An arm's name in tables and figures."""
    words = {"rank": "rank {}", LORA: "{}", "epochs": "{} epoch", "full": "all weights, {}", UNTUNED: "untuned, {}"}
    return words[study].format(setting) if study in words else REFERENCE


def best_full(results: pd.DataFrame) -> str:
    """The setting of full fine-tuning with the lowest validation loss (first seed)."""
    tried = results[(results["study"] == "full") & (results["part"] == "validation") & (results["seed"] == SEEDS[0])]
    return tried.groupby("setting")["loss"].mean().idxmin()


def retained(results: pd.DataFrame, study: str = LORA) -> dict[str, float]:
    """LoRA's gain as a share of full fine-tuning's on the same records: {"share", "lo", "hi", "n"}; personas and seeds are resampled together.

    Args: study: LORA (the unquantized base, as full fine-tuning's) or REFERENCE (QLoRA). Each gain is counted from the untuned base of its own precision.
    """
    test = results[results["part"] == "test"]

    def table(chosen: pd.DataFrame) -> np.ndarray:
        base = _untuned(results, four_bit=bool(chosen["four_bit"].iloc[0])).sort_index()
        return base.to_numpy()[:, None] - chosen.pivot(index="id", columns="seed", values="loss").sort_index().to_numpy()

    lora, full = table(test[test["study"] == study]), table(test[(test["study"] == "full") & (test["setting"] == best_full(results))])
    names = test[test["study"] == UNTUNED].drop_duplicates("id").set_index("id")["persona_id"].sort_index()
    _, people = np.unique(names.to_numpy(), return_inverse=True)
    rng, shares = np.random.default_rng(resampling.SEED), []
    for _ in range(resampling.N_BOOT):  # not `resampling.resample`: seeds are drawn beside the personas
        weight = np.bincount(rng.integers(0, people.max() + 1, people.max() + 1), minlength=people.max() + 1)[people]
        a, b = rng.integers(0, lora.shape[1], lora.shape[1]), rng.integers(0, full.shape[1], full.shape[1])
        shares.append((weight @ lora[:, a].mean(1)) / (weight @ full[:, b].mean(1)))
    lo, hi = resampling.interval(np.array(shares), units=people.max() + 1)
    return {"share": float(lora.mean() / full.mean()), "lo": float(lo), "hi": float(hi), "n": len(names)}


def left_out(results: pd.DataFrame) -> pd.DataFrame:
    """Each domain's loss when it was left out of training, beside the reference's of the same seed: domain, n, untuned, left_out, trained, lo, hi, kept.

    `kept`: share of the reference's gain that is there without a single record of the domain; `lo`, `hi`: interval of left_out - trained, over personas.
    """
    first = results[(results["seed"] == SEEDS[0]) & (results["part"] == "test")]
    lines = []
    for domain, arm in first[first["study"] == "left out"].groupby("setting", sort=True):
        reference = first[first["study"] == REFERENCE].set_index("id")["loss"]
        same = {name: of.loc[arm["id"]].to_numpy() for name, of in ((UNTUNED, _untuned(results, four_bit=True)), (REFERENCE, reference))}
        gap = resampling.bootstrap_mean(arm["loss"].to_numpy() - same[REFERENCE], clusters=list(arm["persona_id"]))
        means = {name: losses.mean() for name, losses in same.items()}
        kept = (means[UNTUNED] - arm["loss"].mean()) / (means[UNTUNED] - means[REFERENCE])
        lines.append({"domain": domain, "n": len(arm), "untuned": means[UNTUNED], "left_out": arm["loss"].mean(), "trained": means[REFERENCE],
                      "lo": gap["lo"], "hi": gap["hi"], "kept": kept})  # fmt: skip
    return pd.DataFrame(lines)


def measured_memory(key: str, method: str, rows: int = 16) -> dict[str, int]:
    """Bytes that one training step of a twin holds, counted tensor by tensor: weights, gradients, optimizer states, activations kept for the backward pass.

    Args: method: "full", "lora" (32-bit base) or "qlora". On the CPU the optimizer is AdamW in 32 bits.
    """
    import torch

    from ...models import loading
    from ...paths import DATASET
    from ...training import batches
    from ...world.dataset import read_split

    spec = get_spec(key)
    tokenizer, model = loading.load_tokenizer(spec, "nano"), loading.load_base(spec, "nano", four_bit=method == "qlora")
    if method == "full":
        model.requires_grad_(True)
    else:
        model = loading.add_lora(model, spec, r=16, alpha=32, dropout=0.05, seed=42)
    model.train()
    batch, kept = batches.encode_rows(tokenizer, read_split(DATASET / "paper", "train").head(rows)), {}
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


def saved_at_full_size(measured: list[dict]) -> list[dict]:
    """What LoRA and QLoRA save of full fine-tuning's measured peak: [{"label", "saved" (share of the peak), "device"}], for models measured with both.

    Args: measured: records of `benchmarks/full_size.py`.
    """
    peak = {(record["model"], record["method"]): record["peak_memory_mb"] for record in measured}
    return [
        {
            "label": f"{get_spec(r['model']).display}, {r['method']}",
            "saved": 1 - r["peak_memory_mb"] / peak[r["model"], "full"],
            "device": r["device"],
        }
        for r in measured
        if r["method"] in ("lora", "qlora") and (r["model"], "full") in peak
    ]


def write_summary(run: RunConfig, summary: dict) -> None:
    """Write `ablations.json`, what the claims ledger reads."""
    files.write_atomically(run.paths.results / "ablations.json", json.dumps(summary, indent=1) + "\n")
