"""From models to numbers: predictions of every system on the test rows, their scores, and the tables' long format.

Predictions are files; everything after them is recomputed in seconds without a model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from . import chat, controls, metrics, set_scores, stats, swap
from .config import RunConfig
from .models import load_tokenizer
from .phrase_bank import SCALES
from .records import load_runs, write_atomically
from .registry import get_spec
from .stance import read_option
from .workers import side_by_side

MODEL_METRICS = ("bleu", "rouge1", "rouge2", "rougeL", "bertscore_f1", "quality", "length_sim", "sentence_sim", "sentiment_sim", "semantic_sim")
SWAPS = ("rouge1", "rouge1_masked", "semantic", "semantic_masked", "option")
DEFAULT_OPTIONS = {"likert": SCALES["agreement"], "agreement": SCALES["agreement"], "yesno": SCALES["yesno"]}  # foreign data name no options


def options_of(frame: pd.DataFrame) -> list:
    """Each row's options; foreign closed items without any are read on the usual scale of their type; None for open items."""
    given = frame["options"] if "options" in frame else [None] * len(frame)
    return [
        list(o) if o is not None and len(o) else list(DEFAULT_OPTIONS[t]) if t in DEFAULT_OPTIONS else None
        for o, t in zip(given, frame["question_type"], strict=True)
    ]


def with_targets(frame: pd.DataFrame, reader=None) -> pd.DataFrame:
    """Add `target`, the option the reference takes: the known truth of embedded records, else what the stance reader finds (NaN: none)."""
    known = [t.get("option") if isinstance(t, dict) and t.get("option", -1) >= 0 else None for t in frame.get("truth", [None] * len(frame))]
    read = [k if k is not None else read_option(r, o) if o else None for k, r, o in zip(known, frame["reference"], options_of(frame), strict=True)]
    return frame.assign(target=pd.array([np.nan if t is None else t for t in read], dtype="Float64").to_numpy(dtype=float, na_value=np.nan))


def predictions_frame(test: pd.DataFrame, answers: list[str], system: str) -> pd.DataFrame:
    """The rows of one prediction file. An empty answer is a failed generation."""
    return pd.DataFrame(
        {
            "id": test["id"], "prediction": answers, "reference": test["reference"], "persona_id": test["persona_id"],
            "persona": [chat.render_card(c) for c in test["persona"]], "domain": test["domain"], "question_id": test["question_id"],
            "question": test["question"], "question_type": test["question_type"], "options": options_of(test),
            "status": ["ok" if a.strip() else "failed" for a in answers], "system": system,
        }
    ).reset_index(drop=True)  # fmt: skip


def write_predictions(run: RunConfig, preds: pd.DataFrame) -> Path:
    """Write `preds/<system>.jsonl`, one object a line, atomically."""
    path = run.paths.folder("preds") / f"{preds['system'].iloc[0]}.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in preds.drop(columns="system").to_dict("records")]
    write_atomically(path, "\n".join(lines) + "\n")
    return path


def load_predictions(folder: Path) -> pd.DataFrame:
    """All prediction files of a run in one frame with a `system` column. Raises FileNotFoundError if there is none."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder}: no predictions; run notebook 04 first")
    frames = [pd.DataFrame([json.loads(line) for line in f.read_text(encoding="utf-8").splitlines()]).assign(system=f.stem) for f in files]
    return pd.concat(frames, ignore_index=True)


def predict_models(run: RunConfig, test: pd.DataFrame, sheet: pd.DataFrame | None) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Every model that was trained, tuned and untuned, answers the test rows (files in `preds/`) and, if given, the questionnaire `sheet`.

    Returns: system -> its administration (empty without a sheet); system -> number of test answers that a reasoning block was cut from.
    """
    jobs = [(run, record["model"], tuned, test, sheet) for record in load_runs(run) for tuned in (True, False)]
    found = dict(side_by_side(predict_model, jobs, fresh=False))
    systems = [key if tuned else f"{key}--base" for _, key, tuned, *_ in jobs]
    sheets = {system: found[i][0] for i, system in enumerate(systems) if sheet is not None}
    return sheets, {system: found[i][1] for i, system in enumerate(systems)}


def predict_model(run: RunConfig, key: str, tuned: bool, test: pd.DataFrame, sheet: pd.DataFrame | None) -> tuple[pd.DataFrame | None, int]:
    """One model's part of `predict_models`: (its administration, answers with a reasoning block)."""
    from .administration import administer
    from .generation import generate
    from .training import load_tuned

    spec, system = get_spec(key), key if tuned else f"{key}--base"
    tokenizer, model = load_tokenizer(spec, run.settings.scale), load_tuned(run, spec, tuned=tuned)
    answers = generate(model, tokenizer, test, seed=run.seed, label=f"answers of {system}")
    write_predictions(run, predictions_frame(test, answers["text"].tolist(), system))
    answered = None if sheet is None else administer(model, tokenizer, sheet, seed=run.seed, label=f"questionnaire: {system}")
    return answered, int(answers["reasoned"].sum())


def predict_controls(run: RunConfig, test: pd.DataFrame, train: pd.DataFrame) -> list[str]:
    """Write the predictions of the floors and, in the embedded world, of the bounds. Returns the systems written."""
    found = controls.floor_predictions(test, train, run.seed)
    if not run.data:
        found |= controls.bound_predictions(test, run.seed)
    for system, answers in found.items():
        write_predictions(run, predictions_frame(test, answers, system))
    return list(found)


def score_rows(run: RunConfig, preds: pd.DataFrame, everyone: pd.DataFrame, reader=None) -> pd.DataFrame:
    """All row metrics of all systems.

    Args:
        preds: from `load_predictions`. everyone: all splits' records with `target` (the swap control compares with other personas' answers there).
    Returns: one row a system and test record: the metrics, `length_chars`, `chosen`, `target`, `swap_gap_*`, `swap_auc_*`, `pair_in_train`.
    """
    encoder = metrics.load_encoder("minilm")
    bert = metrics.load_encoder(run.settings.encoder)
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
    hit = stats.bootstrap_mean((closed["chosen"] == closed["target"]).astype(float), clusters=people, seed=seed)
    found = stats.bootstrap_mean((closed["chosen"] >= 0).astype(float), clusters=people, seed=seed)
    five = closed[~closed["question_type"].eq("yesno") & (closed["chosen"] >= 0)]
    kappa = stats.bootstrap_kappa(five["chosen"], five["target"], n_options=5, clusters=list(five["persona_id"]), seed=seed)
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
    found = stats.bootstrap_means(gaps, clusters=people, seed=seed).rename(columns={"mean": "difference"})
    p = stats.permutation_p(gaps, clusters=people, seed=seed)
    return found.assign(d=(gaps.mean() / gaps.std().replace(0, np.nan)).to_numpy(), p=p, p_holm=stats.holm(p)).reset_index()
