"""The row scores of this project as a metric of the `evaluate` library; needs no network.

import evaluate
metric = evaluate.load("polypersona_lib/scoring/evaluate_metrics/polypersona.py")
metric.compute(predictions=[...], references=[...])
"""

import datasets
import evaluate
import pandas as pd

from polypersona_lib.scoring import metrics

_TEXT = ("bleu", "bleu_sacre_sentence", "rouge1", "rouge2", "rougeL", "length_sim", "sentence_sim", "sentiment_sim", "bertscore_f1", "semantic_sim")


class PolyPersonaMetric(evaluate.Metric):
    """Means of the metrics that need only predictions and references; definitions in `polypersona_lib.scoring.metric_table.METRICS`."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Overlap and similarity of survey answers and their references.",
            citation="arXiv 2512.14562",
            inputs_description="predictions and references: lists of texts; metrics_wanted: the ids wanted (default: all).",
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def _compute(self, predictions, references, metrics_wanted=_TEXT):
        """`{metric id: mean}`; a blank prediction is a failed generation: counted in `n_failed`, not in the means."""
        status = ["ok" if p.strip() else "failed" for p in predictions]
        preds = pd.DataFrame({"id": range(len(predictions)), "prediction": predictions, "reference": references, "status": status})
        rows = metrics.score_rows(preds, only=tuple(metrics_wanted))
        return {m: float(rows[m].mean()) for m in metrics_wanted} | {"n": int((~rows["failed"]).sum()), "n_failed": int(rows["failed"].sum())}
