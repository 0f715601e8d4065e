"""What the ablation study found, computed from its arms or read as published, so that its notebook can be read without 33 trainings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files, locate, paths, resampling
from ...cells import write_table
from ...config import RunConfig
from ...registry import get_spec
from ...world.questions import DOMAINS
from . import arms
from .arms import LORA, REFERENCE_ARM, SEEDS, TEXT_METRICS, UNTUNED

# --- what follows from the arms ----------------------------------------------------------------------------------------------------


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
        mean = resampling.bootstrap_mean(by_row["gain"], clusters=list(by_row["persona_id"]))
        by_seed = pd.Series(gain).groupby(arm["seed"].to_numpy()).mean()
        line = {"study": study, "setting": setting, "seeds": len(by_seed), "loss": arm["loss"].mean(), "gain": mean["mean"], "lo": mean["lo"], "hi": mean["hi"]}
        lines.append(line | {"n": arm["id"].nunique(), "spread": by_seed.std()} | {m: arm[m].mean() for m in TEXT_METRICS})
    return pd.DataFrame(lines)


def arm_label(study: str, setting: str) -> str:
    """An arm's name in tables and figures."""
    words = {"rank": "rank {}", LORA: "{}", "epochs": "{} epoch", "full": "all weights, {}", UNTUNED: "untuned, {}"}
    return words[study].format(setting) if study in words else REFERENCE_ARM


def retained(results: pd.DataFrame, study: str = LORA) -> dict[str, float]:
    """LoRA's gain as a share of full fine-tuning's on the same records: {"share", "lo", "hi", "n"}; personas and seeds are resampled together.

    Args: study: LORA (the unquantized base, as full fine-tuning's) or REFERENCE_ARM (QLoRA). Each gain is counted from the untuned base of its own precision.
    """
    test = results[results["part"] == "test"]

    def table(chosen: pd.DataFrame) -> np.ndarray:
        base = _untuned(results, four_bit=bool(chosen["four_bit"].iloc[0])).sort_index()
        return base.to_numpy()[:, None] - chosen.pivot(index="id", columns="seed", values="loss").sort_index().to_numpy()

    lora, full = table(test[test["study"] == study]), table(test[(test["study"] == "full") & (test["setting"] == arms.best_full(results))])
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
        reference = first[first["study"] == REFERENCE_ARM].set_index("id")["loss"]
        same = {name: of.loc[arm["id"]].to_numpy() for name, of in ((UNTUNED, _untuned(results, four_bit=True)), (REFERENCE_ARM, reference))}
        gap = resampling.bootstrap_mean(arm["loss"].to_numpy() - same[REFERENCE_ARM], clusters=list(arm["persona_id"]))
        means = {name: losses.mean() for name, losses in same.items()}
        kept = (means[UNTUNED] - arm["loss"].mean()) / (means[UNTUNED] - means[REFERENCE_ARM])
        lines.append({"domain": domain, "n": len(arm), "untuned": means[UNTUNED], "left_out": arm["loss"].mean(), "trained": means[REFERENCE_ARM],
                      "lo": gap["lo"], "hi": gap["hi"], "kept": kept})  # fmt: skip
    return pd.DataFrame(lines)


# --- the study ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """What the study found: from its arms (`findings`) or as published (`published`).

    Attributes:
        gains: see `gains`, with `label`; without the arms of a domain left out, and of full fine-tuning the best learning rate alone.
        domains: see `left_out`, with `label`. retained, retained_qlora: see `retained`. trained_here: whether the arms were trained in this run.
    """

    gains: pd.DataFrame
    domains: pd.DataFrame
    retained: dict[str, float]
    retained_qlora: dict[str, float]
    trained_here: bool


def ablation_study(run: RunConfig, parts: Mapping[str, pd.DataFrame], key: str, *, train: bool, note: str) -> Findings:
    """The findings of this run's arms, or, without `train`, those of the last run of the study, else the published ones.

    Training takes the arms that are not kept from before: 33 of them in about 17 minutes on two cores. Two tables are written then.
    Args: parts: the splits of a run. key: the model. note: what made the tables (`style.run_note`).
    """
    if not train:
        return published(locate.find(run, "ablations.json").parent)
    first = arms.arms(run.train_spec, sorted(parts["train"]["domain"].unique()))
    full = arms.full_arms(run.train_spec, arms.run_arms(run, parts, first, key))
    losses = arms.run_arms(run, parts, [*first, *full], key).drop_duplicates(["study", "setting", "seed", "part", "id"])
    results, folder = findings(losses), run.paths.folder("tables")
    write_table(results.gains.drop(columns="study").round(4), "ablation_gains", folder, "Gain over the untuned base", note)
    write_table(results.domains.round(4), "ablation_left_out", folder, "Loss on a domain left out of training", note)
    return results


def record_findings(run: RunConfig, results: Findings, *, saved: Mapping[str, float], budget: pd.DataFrame) -> dict:
    """What the claims ledger reads; written as `ablations.json` if the arms were trained here.

    Args:
        saved: method -> share of full fine-tuning's memory that a twin's training step saves (`share_saved`).
        budget: calculated memory of the hub models, with the columns "LoRA saves" and "QLoRA saves".
    """
    summary = {
        "retained": results.retained,
        "retained_qlora": results.retained_qlora,
        "saved": dict(saved),
        "budget": {name: [float(budget[f"{name} saves"].min()), float(budget[f"{name} saves"].max())] for name in ("LoRA", "QLoRA")},
        "measured": saved_at_full_size(full_size_records()),
        "left_out_kept": float(results.domains["kept"].mean()),
    }
    if results.trained_here:
        files.write_atomically(run.paths.results / "ablations.json", json.dumps(summary, indent=1) + "\n")
    return summary


def verdict_on_share(share: Mapping[str, float], claimed: float) -> str:
    """What an interval (`retained`) says about the claim that the share is above `claimed`."""
    if share["lo"] > claimed:
        return "holds here"
    if share["hi"] < claimed:
        return "does not hold here"
    return f"neither confirmed nor refuted here: the interval contains {claimed:.0%}"


def findings(results: pd.DataFrame) -> Findings:
    """What comes of the arms' results."""
    table, domains = gains(results), left_out(results)
    best = table["setting"].eq(arms.best_full(results)) | table["study"].ne("full")
    table = table[best & table["study"].ne("left out")].reset_index(drop=True)
    table["label"] = [arm_label(study, setting) for study, setting in zip(table["study"], table["setting"], strict=True)]
    domains["label"] = domains["domain"].map(lambda key: DOMAINS[key] if key in DOMAINS else key)
    table, domains = table.drop(columns="setting"), domains.drop(columns="domain")
    return Findings(table, domains, retained(results), retained(results, REFERENCE_ARM), trained_here=True)


def published(folder: Path) -> Findings:
    """The findings as published in `folder` (`ablations.json` and two tables), rounded as they were written."""
    facts = json.loads((folder / "ablations.json").read_text(encoding="utf-8"))
    table, domains = (pd.read_csv(folder / "tables" / f"ablation_{name}.csv", na_values="—") for name in ("gains", "left_out"))
    study = [REFERENCE_ARM if name == REFERENCE_ARM else UNTUNED if name.startswith(UNTUNED) else "" for name in table["label"]]
    table = table.drop(columns="why a dash", errors="ignore").assign(study=study)
    return Findings(table, domains, facts["retained"], facts["retained_qlora"], trained_here=False)


# --- memory ------------------------------------------------------------------------------------------------------------------------


def share_saved(measured: pd.DataFrame) -> pd.DataFrame:
    """The share of full fine-tuning's memory that each method saves, without and with the activations; below 0 it needs more.

    Args: measured: method, weights, gradients, optimizer, activations; one row has the method "full fine-tuning".
    """
    stored = measured.set_index("method")
    fixed = stored[["weights", "gradients", "optimizer"]].sum(axis=1)
    totals = pd.DataFrame({"weights, gradients, optimizer": fixed, "with activations": fixed + stored["activations"]})
    return 1 - totals / totals.loc["full fine-tuning"]


def full_size_records() -> list[dict]:
    """What `benchmarks/full_size.py` measured on a GPU (last measurement here, else the published one), failed measurements left out; [] if there is none."""
    for folder in ("full_size", "shipped"):
        records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((paths.ROOT / "results" / folder).glob("*--paper--*.json"))]
        if whole := [record for record in records if "error" not in record]:
            return whole
    return []


def saved_at_full_size(measured: list[dict]) -> list[dict]:
    """Share of full fine-tuning's measured peak that LoRA and QLoRA save: [{"label", "saved", "device"}], from records of `benchmarks/full_size.py`."""
    peak = {(record["model"], record["method"]): record["peak_memory_mb"] for record in measured}
    compared = [record for record in measured if record["method"] in ("lora", "qlora") and (record["model"], "full") in peak]
    labels = [f"{get_spec(record['model']).display}, {record['method']}" for record in compared]
    shares = [1 - record["peak_memory_mb"] / peak[record["model"], "full"] for record in compared]
    return [{"label": label, "saved": saved, "device": r["device"]} for label, saved, r in zip(labels, shares, compared, strict=True)]
