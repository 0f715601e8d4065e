"""Text scores and the paired bootstrap beside the packages and loops that people use, on the published answers of the seven tuned twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .measuring import Check, Comparison, Contender, forget, largest_difference

ROUGES = ("rouge1", "rouge2", "rougeL")
RESAMPLES, COMPARISONS = 10_000, 56
SCIPY_BATCH = 100  # resamples that scipy holds at once: 16 MB of 56 columns
EVALUATE_RESAMPLES = 1000  # of the aggregator that `evaluate` puts over rouge_score


def published_answers(*, small: bool) -> pd.DataFrame:
    """The answers of the seven tuned twins (two, 12 rows each, if `small`) that ship with the project, `system` beside the columns of the files."""
    from polypersona_lib import paths
    from polypersona_lib.registry import MODELS

    keys = list(MODELS)[:2] if small else list(MODELS)
    folder = paths.shipped("results", "nano") / "preds"
    frames = [pd.read_json(folder / f"{key}.jsonl", lines=True).head(12 if small else None).assign(system=key) for key in keys]
    return pd.concat(frames, ignore_index=True)


def _pairs(preds: pd.DataFrame) -> tuple[list[str], list[str]]:
    return preds["prediction"].astype(str).tolist(), preds["reference"].astype(str).tolist()


def bertscore(*, small: bool, folder: Path) -> Comparison:
    """BERTScore F1 of every answer: our encoder, which reads every distinct text once, beside bert_score with the same weights."""
    from bert_score import BERTScorer

    from polypersona_lib.scoring.encoder import ENCODERS, Encoder, load_encoder

    preds = published_answers(small=small)
    preds = preds[preds["prediction"].str.strip().astype(bool)]
    weights, spec = load_encoder().tokenizer.name_or_path, ENCODERS["minilm"]
    fresh: list[Encoder] = []
    scorer = BERTScorer(model_type=str(weights), num_layers=spec.layer, idf=False, rescale_with_baseline=False, device="cpu")

    def ours():
        return fresh[0].bertscore_f1(*_pairs(preds))

    def apart():
        parts = [scorer.score(*_pairs(part))[2].numpy() for _, part in preds.groupby("system", sort=False)]
        return np.concatenate(parts)

    contenders = [
        Contender(name="ours", work=ours, before=lambda: fresh.__setitem__(slice(None), [Encoder(weights, spec)]), note="an encoder that has read nothing yet"),
        Contender(name="bert_score, a call a system", work=apart, goal=2.2),
        Contender(name="bert_score, all systems in one call", work=lambda: scorer.score(*_pairs(preds))[2].numpy()),
    ]

    def gate(f1: dict) -> list[Check]:
        return [Check(f"{name}: F1 of an answer", largest_difference(f1["ours"], values), 1e-4) for name, values in f1.items() if name != "ours"]

    title = f"BERTScore of {preds['system'].nunique()} systems x {len(preds) // preds['system'].nunique()} answers, MiniLM, 32 bits"
    return Comparison(title=title, contenders=contenders, gate=gate)


def rouge_bleu(*, small: bool, folder: Path) -> Comparison:
    """ROUGE-1, -2, -L and sentence BLEU of every answer, and their means with intervals, beside rouge_score and nltk."""
    from polypersona_lib import texts
    from polypersona_lib.scoring import metrics

    preds = published_answers(small=small)
    wanted = ["bleu", *ROUGES]

    def ours() -> np.ndarray:
        rows = metrics.score_rows(preds, only=wanted)
        metrics.summarise_rows(rows, metrics=wanted)
        return rows[wanted].to_numpy()

    def gate(scores: dict) -> list[Check]:
        ascii_rows = (preds["prediction"] + preds["reference"]).map(str.isascii).to_numpy()
        checks = [Check("rows with letters beyond ASCII, which rouge_score does not read: not compared", float((~ascii_rows).mean()), 0.05)]
        return checks + [Check(f"{name}: score of a row", largest_difference(scores["ours"][ascii_rows], values[ascii_rows]), 1e-9)
                         for name, values in scores.items() if name != "ours"]  # fmt: skip

    def empty() -> None:
        forget(metrics, texts)

    contenders = [
        Contender(name="ours", work=ours, before=empty, note="all row metrics without an encoder, means, intervals; memories empty"),
        Contender(name="rouge_score + nltk, as evaluate aggregates", work=lambda: _rouge_score(preds, aggregate=True), goal=20, note="means and intervals"),
        Contender(name="rouge_score + nltk, rows alone", work=lambda: _rouge_score(preds, aggregate=False), note="no means, no intervals"),
    ]
    title = f"ROUGE-1, -2, -L and BLEU of {preds['system'].nunique()} systems x {len(preds) // preds['system'].nunique()} answers"
    why = "fetches its metrics from the hub; what its rouge does (rouge_score on every pair, then 1,000 resamples) is done here by the same calls"
    return Comparison(title=title, contenders=contenders, gate=gate, left_out={"evaluate": why})


def _rouge_score(preds: pd.DataFrame, *, aggregate: bool) -> np.ndarray:
    """BLEU and the three ROUGE scores of every row, shape (rows, 4), system by system as `evaluate` calls rouge_score, with its aggregator or without."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.scoring import BootstrapAggregator

    scorer, smoothing, values = RougeScorer(list(ROUGES), use_stemmer=True), SmoothingFunction().method1, []
    for _, part in preds.groupby("system", sort=False):
        aggregator = BootstrapAggregator(n_samples=EVALUATE_RESAMPLES)
        for prediction, reference in zip(*_pairs(part), strict=True):
            rouge, words = scorer.score(reference, prediction), prediction.lower().split()
            aggregator.add_scores(rouge)
            bleu = sentence_bleu([reference.lower().split()], words, smoothing_function=smoothing) if words else 0.0
            values.append([float(bleu), *(rouge[name].fmeasure for name in ROUGES)])
        if aggregate:
            aggregator.aggregate()
    return np.array(values)


def bootstrap(*, small: bool, folder: Path) -> Comparison:
    """Means of 56 columns of paired differences over 357 rows with intervals from 10,000 resamples, beside loops in numpy."""
    from polypersona_lib import resampling

    resamples, columns = (500, 4) if small else (RESAMPLES, COMPARISONS)
    rng = np.random.default_rng(0)
    table = rng.normal(0.02, 0.2, size=(357, columns)).round(4)

    def ours() -> np.ndarray:
        return resampling.bootstrap_means(table, n_boot=resamples, seed=1)[["mean", "lo", "hi"]].to_numpy()

    def column_by_column() -> np.ndarray:
        draws, lines = np.random.default_rng(2), []
        for column in table.T:
            means = [column[draws.integers(0, len(column), len(column))].mean() for _ in range(resamples)]
            lines.append([column.mean(), *np.quantile(means, [0.025, 0.975])])
        return np.array(lines)

    def all_columns() -> np.ndarray:
        draws = np.random.default_rng(2)
        means = np.array([table[draws.integers(0, len(table), len(table))].mean(axis=0) for _ in range(resamples)])
        return np.column_stack([table.mean(axis=0), *np.quantile(means, [0.025, 0.975], axis=0)])

    def scipys() -> np.ndarray:
        from scipy.stats import bootstrap as scipy_bootstrap

        drawn = scipy_bootstrap((table,), np.mean, n_resamples=resamples, batch=SCIPY_BATCH, method="percentile", rng=np.random.default_rng(2))
        return np.column_stack([table.mean(axis=0), drawn.confidence_interval.low, drawn.confidence_interval.high])

    def gate(lines: dict) -> list[Check]:
        width, checks = (lines["ours"][:, 2] - lines["ours"][:, 1])[:, None], []
        noise = 5 / resamples**0.5  # five standard errors of the difference of two such quantiles, in widths of the interval (normal draws: .96 / root)
        for name, other in lines.items():
            if name != "ours":
                checks.append(Check(f"{name}: mean of a column", largest_difference(lines["ours"][:, 0], other[:, 0]), 1e-12))
                checks.append(
                    Check(f"{name}: ends of an interval, in its width", largest_difference(lines["ours"][:, 1:] / width, other[:, 1:] / width), noise)
                )
        return checks

    contenders = [
        Contender(name="ours", work=ours),
        Contender(name="numpy loop over comparisons and resamples", work=column_by_column, goal=25),
        Contender(name="numpy loop over resamples, all comparisons at once", work=all_columns),
        Contender(name="scipy.stats.bootstrap, percentile", work=scipys, note=f"{SCIPY_BATCH} resamples at once"),
    ]
    return Comparison(title=f"paired bootstrap, {resamples:,} resamples x {columns} comparisons of {len(table)} rows", contenders=contenders, gate=gate)
