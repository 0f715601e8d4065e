"""From models to numbers: predictions of every system on the test rows, their scores, and the tables' long format.

Predictions are files; everything after them is recomputed in seconds without a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .. import resampling, stats
from ..cells import csv_text
from ..config import RunConfig
from ..locate import find
from ..prompts import chat
from ..systems import system_labels
from ..world import dataset
from . import answer_files, diagnosis, metrics, set_scores, swap
from .encoder import load_encoder
from .option_labels import read_option
from .stance import StanceReader, stance_sentences

MODEL_METRICS = ("bleu", "rouge1", "rouge2", "rougeL", "bertscore_f1", "quality", "length_sim", "sentence_sim", "sentiment_sim", "semantic_sim")
SWAPS = ("rouge1", "rouge1_masked", "semantic", "semantic_masked", "option")


def score_rows(run: RunConfig, preds: pd.DataFrame, everyone: pd.DataFrame, reader=None) -> pd.DataFrame:
    """All row metrics of all systems.

    Args:
        preds: from `load_predictions`. everyone: all splits' records with `target` (the swap control compares with other personas' answers there).
    Returns: one row a system and test record: the metrics, `length_chars`, `chosen`, `target`, `swap_gap_*`, `swap_auc_*`, `pair_in_train`.
    """
    encoder = load_encoder("minilm")
    bert = load_encoder(run.settings.encoder)
    target = everyone.drop_duplicates("id").set_index("id")["target"]
    preds = preds.assign(chosen=chosen_options(preds, reader), target=preds["id"].map(target).to_numpy())
    rows = metrics.score_rows(preds, encoder=encoder, bert_encoder=bert, reader=reader)
    pool = everyone.assign(persona=[chat.render_card(c) for c in everyone["persona"]], chosen=everyone["target"])
    swapped = swap.swap_scores(preds, pool, encoder=encoder)
    train = everyone[everyone["part"] == "train"]
    seen = set(zip(train["persona_id"], train["question_id"], strict=True))
    extra = {c: swapped[c] for c in swapped if c.startswith(("swap_", "n_others"))}
    return rows.assign(
        status=preds["status"], chosen=preds["chosen"], target=preds["target"], length_chars=preds["prediction"].str.len(),
        pair_in_train=[p in seen for p in zip(preds["persona_id"], preds["question_id"], strict=True)], **extra,
    )  # fmt: skip


def chosen_options(preds: pd.DataFrame, reader=None) -> np.ndarray:
    """The option each answer takes (0-based), -1 where no stance was found, NaN for open items."""
    closed = preds["options"].notna().to_numpy()
    part = preds[closed]
    if reader is not None:
        read = reader.read(part["prediction"].tolist(), part["options"].tolist(), part["question_id"].tolist())
    else:
        read = [read_option(p, o) for p, o in zip(part["prediction"], part["options"], strict=True)]
    out = np.full(len(preds), np.nan)
    out[closed] = [-1 if r is None else r for r in read]
    return out


def score_systems(rows: pd.DataFrame, preds: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Each system's scores with 95 % bootstrap intervals: (system, metric, value, lo, hi, n, n_failed).

    Personas are resampled, not rows: answers of one persona are alike (ROUGE-1's interval is a tenth wider for it on the paper's split, with 1.5 rows a
    persona, and more on the grouped one, with 8). Corpus BLEU resamples rows; diversity is sampled without replacement (`set_scores`).
    """
    table = [metrics.summarise_rows(rows, metrics=list(MODEL_METRICS), cluster="persona_id", seed=seed)]
    swaps = [f"swap_{kind}_{name}" for name in SWAPS for kind in ("gap", "auc") if f"swap_{kind}_{name}" in rows]
    table.append(metrics.summarise_rows(rows, metrics=swaps, cluster="persona_id", seed=seed))
    for system, part in rows.groupby("system", sort=False):
        whole = set_scores.score_set(preds[preds["system"] == system], seed=seed)
        stances = pd.DataFrame(_stance_lines(part[part["target"].notna() & part["chosen"].notna() & ~part["failed"]], seed))
        table += [t.assign(system=system, n_failed=int(part["failed"].sum())) for t in (whole, stances) if len(t)]
    return pd.concat(table, ignore_index=True)


def _stance_lines(closed: pd.DataFrame, seed: int) -> list[dict]:
    """Accuracy, kappa (five-point items) and share found of one system's closed answers; [] without any."""
    if closed.empty:
        return []
    people = list(closed["persona_id"])
    hit = resampling.bootstrap_mean((closed["chosen"] == closed["target"]).astype(float), clusters=people, seed=seed)
    found = resampling.bootstrap_mean((closed["chosen"] >= 0).astype(float), clusters=people, seed=seed)
    five = closed[~closed["question_type"].eq("yesno") & (closed["chosen"] >= 0)]
    kappa = resampling.bootstrap_kappa(five["chosen"], five["target"], n_options=5, clusters=list(five["persona_id"]), seed=seed)
    lines = {"stance_acc": hit, "stance_qwk": kappa, "stance_found": found}
    return [{"metric": m, "value": f["mean"], "lo": f["lo"], "hi": f["hi"], "n": f["n"]} for m, f in lines.items()]


def compare_systems(rows: pd.DataFrame, pairs: Sequence[tuple[str, str]], *, wanted: Sequence[str], seed: int) -> pd.DataFrame:
    """Paired comparison of systems on the rows that both answered; people are resampled, and flipped.

    Returns: one row a pair and metric: a, b, metric, difference (a - b), lo, hi, n, d (effect size), p (permutation), p_holm (over all lines).
    """
    wide = rows.pivot(index=["id", "persona_id"], columns="system", values=list(wanted))
    gaps = pd.DataFrame({(a, b, m): wide[m][a] - wide[m][b] for a, b in pairs for m in wanted})
    gaps.columns = pd.MultiIndex.from_tuples(gaps.columns, names=["a", "b", "metric"])
    people = wide.index.get_level_values("persona_id")
    found = resampling.bootstrap_means(gaps, clusters=people, seed=seed).rename(columns={"mean": "difference"})
    p = resampling.permutation_p(gaps, clusters=people, seed=seed)
    return found.assign(d=(gaps.mean() / gaps.std().replace(0, np.nan)).to_numpy(), p=p, p_holm=stats.holm(p)).reset_index()


# --- 04: predictions and scores ------------------------------------------------------------------------------------------------


def stance_reader(run: RunConfig) -> StanceReader | None:
    """The reader of answers without a label, fitted on the authored stance sentences; foreign questions are read by the label rule alone."""
    if run.data:
        return None
    return StanceReader().fit(*stance_sentences())


def score(run: RunConfig, parts: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score all stored predictions: writes `scores/rows.parquet` and `scores/systems.csv`. Returns (rows, systems).

    Opened alone, with the published predictions, the published scores are read and nothing is written.
    """
    folder = find(run, "preds")
    if not folder.is_relative_to(run.paths.results):
        rows, systems = pd.read_parquet(find(run, "scores/rows.parquet")), pd.read_csv(find(run, "scores/systems.csv"))
        return tuple(table[table["system"].isin(system_labels(run))].reset_index(drop=True) for table in (rows, systems))
    preds = answer_files.load_predictions(folder)
    preds = preds[preds["system"].isin(system_labels(run))].reset_index(drop=True)
    everyone = pd.concat([parts[p] for p in dataset.SPLITS], ignore_index=True)
    rows = score_rows(run, preds, everyone, stance_reader(run))
    systems = score_systems(rows, preds, seed=run.seed)
    folder = run.paths.folder("scores")
    rows.to_parquet(folder / "rows.parquet", index=False, compression="zstd")
    systems.round(6).to_csv(folder / "systems.csv", index=False)
    unseen = rows[~rows["pair_in_train"]]
    if len(unseen) < len(rows):
        score_systems(unseen, preds[~rows["pair_in_train"].to_numpy()], seed=run.seed).round(6).to_csv(folder / "systems_unseen_pairs.csv", index=False)
    return rows, systems


def diagnose(run: RunConfig, parts: dict[str, pd.DataFrame], rows: pd.DataFrame, systems: pd.DataFrame) -> pd.DataFrame:
    """What is wrong with each system, in plain lines (`diagnosis.diagnose_systems`); written to `scores/findings.csv`."""
    preds = answer_files.load_predictions(find(run, "preds"))
    preds = preds[preds["system"].isin(set(systems["system"]))]
    found = diagnosis.diagnose_systems(preds, rows, systems, pool=pd.concat([parts[p] for p in dataset.SPLITS], ignore_index=True), seed=run.seed)
    found.assign(text=found["text"].map(csv_text)).round(6).to_csv(run.paths.folder("scores") / "findings.csv", index=False)
    return found
