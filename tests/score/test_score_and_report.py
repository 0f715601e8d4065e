"""One file has one set of numbers: `score` on the published answers of a model gives what the published report prints, or says why not."""

from __future__ import annotations

import pandas as pd

from polypersona_lib import paths
from polypersona_lib.score import file_scores
from polypersona_lib.scoring.answer_files import load_predictions

SYSTEM = "phi-2"
READ_WITH_THE_RUNS_OWN_TRUTH = {
    "stance_acc",
    "stance_qwk",
    "swap_gap_option",
    "swap_auc_option",
    "reason_fits",
    "on_topic",
    "word_order",
    "readable",
    "quality",
}
"""A run knows the option that each reference took; a file has only its text, and joins its own references to the pool that reasons are compared with.
`score` says so in the signature of stance_acc and beside the measures of reasons."""


def test_score_prints_the_numbers_of_the_report():
    folder = paths.ROOT / "results" / "shipped"
    preds = load_predictions(folder / "preds")
    lines, rows, notes = file_scores.score_file(preds[preds["system"] == SYSTEM].reset_index(drop=True))
    systems = pd.read_csv(folder / "scores" / "systems.csv").query("system == @SYSTEM").set_index("metric")
    whole = lines[lines["group"] == ""].set_index("metric")
    both = whole.index.intersection(systems.index).difference(list(READ_WITH_THE_RUNS_OWN_TRUTH))
    assert len(both) >= 20 and {"bleu", "rouge1", "bertscore_f1", "semantic_sim", "real_words", "swap_gap_rouge1_content", "distinct2"} <= set(both)
    for column in ("value", "lo", "hi", "n"):
        apart = (whole.loc[both, column] - systems.loc[both, column]).abs()
        assert apart.max() < 2e-6, apart[apart >= 2e-6]
    assert abs(whole.loc["quality", "value"] - systems.loc["quality", "value"]) < 0.005, "one answer in 357 whose option only the run reads"
    assert "a run's report knows the options that its own data took" in notes["signatures"]["stance_acc"]
    stored = pd.read_parquet(folder / "scores" / "rows.parquet").query("system == @SYSTEM").set_index("id")
    pd.testing.assert_series_equal(rows["rouge1"].sort_index(), stored["rouge1"].sort_index(), check_dtype=False)
