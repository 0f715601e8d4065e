"""The paper's own numbers: the counts of its data, its tables, and every claim it prints."""

from pathlib import Path

import pandas as pd

from .. import paths

# Counts of the data set: paper, sections III-A to III-D
RECORDS, PERSONAS, QUESTIONS = 3568, 433, 82
DOMAIN_RECORDS = {
    "demographics": 520, "healthcare": 416, "education": 416, "work_experience": 400, "technology": 384, "consumer_preferences": 368, "finance": 368,
    "social_issues": 264, "environment": 216, "lifestyle": 216,
}  # fmt: skip
PAPER_TYPES = {"open": 42.7, "likert": 31.7, "yesno": 18.3, "agreement": 7.3}  # % of the 82 questions
PAPER_REUSE = {1: 71.4, 2: 28.6}  # % of personas by number of domains ("across multiple domains": two, in ours)
PERSONAS_BY_DOMAINS = {1: 309, 2: 124}  # those shares of 433
CATEGORY_SHARES = {"professional": 17.8, "educator": 14.2, "student": 12.5, "health": 11.3, "technical": 10.7}  # % "of personas": % of rows, in ours

TABLE2 = {  # column of the paper's Table II -> metric id
    "BLEU": "bleu", "R1": "rouge1", "R2": "rouge2", "RL": "rougeL", "BERT-F1": "bertscore_f1", "Qual.": "quality", "Len.": "length_sim",
    "Sent.": "sentence_sim", "SentSim": "sentiment_sim",
}  # fmt: skip
TABLE3 = {"BLEU": "bleu", "ROUGE-1": "rouge1", "Survey Quality": "quality"}

CLAIM_COLUMNS = ("id", "place", "quote", "subject", "metric", "domain", "value", "unit", "kind", "test", "note")
CLAIM_KINDS = ("absolute", "order", "shape", "fact", "method")


def load_claims(path: Path = paths.PAPER_CLAIMS) -> pd.DataFrame:
    """The paper's claims as printed (text). Raises ValueError naming the row for a blank cell, a duplicate id, or a kind not in `CLAIM_KINDS`."""
    claims = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if tuple(claims.columns) != CLAIM_COLUMNS:
        raise ValueError(f"{path}: columns must be {', '.join(CLAIM_COLUMNS)}, not {', '.join(claims.columns)}")
    for row in claims.itertuples():
        blank = [c for c in CLAIM_COLUMNS if not getattr(row, c).strip()]
        if blank:
            raise ValueError(f"{path}: {row.id or f'row {row.Index + 2}'}: blank {', '.join(blank)}")
        if row.kind not in CLAIM_KINDS:
            raise ValueError(f"{path}: {row.id}: unknown kind '{row.kind}'; choose from {', '.join(sorted(CLAIM_KINDS))}")
    if claims["id"].duplicated().any():
        raise ValueError(f"{path}: id {claims.loc[claims['id'].duplicated(), 'id'].iloc[0]} occurs twice")
    return claims


def printed_scores(table: str) -> pd.DataFrame:
    """The scores the paper prints, a column a metric; `table`: "Table II" (index subject: the model), "Table III" (domain, subject: its top model)."""
    scores = load_claims().query("place == @table and test == 'score'").assign(value=lambda t: t["value"].astype(float))
    return scores.pivot(index="subject" if table == "Table II" else ["domain", "subject"], columns="metric", values="value")


def load_features() -> pd.DataFrame:
    """Table I, one row a cell: framework, reference, feature, cell (the mark printed), source, verified (what we could check)."""
    return pd.read_csv(paths.DATA / "table1_features.csv", dtype=str, keep_default_na=False)
