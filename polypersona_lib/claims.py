"""The claims ledger: every number and comparison the paper prints, what we got, and one of five verdicts with its reason.

    python -m polypersona_lib claims [RUN]        # prints the verdicts of results/RUN/claims.csv (default: the shipped run)

The paper's side is `data/paper_claims.csv`; its `test` column names the rule that judges (`claim_rules`, `claim_score_rules`, `claim_contradictions`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from . import claim_contradictions, claim_rules, claim_score_rules, paths  # noqa: F401  (importing the rules registers them)
from .cells import csv_text
from .claim_evidence import RULES, VERDICTS, Evidence
from .claim_facts import all_scores, dataset_facts, domain_scores, run_facts
from .config import Profile

__all__ = ["VERDICTS", "all_scores", "dataset_facts", "domain_scores", "judge", "load_claims", "run_facts", "summarise", "write_claims"]

COLUMNS = ("id", "place", "quote", "subject", "metric", "domain", "value", "unit", "kind", "test", "note")
KINDS = ("absolute", "order", "shape", "fact", "method")


def load_claims(path: Path = paths.PAPER_CLAIMS) -> pd.DataFrame:
    """The paper's claims, all columns as text exactly as printed (so that "0.090" keeps its decimals).

    Raises: ValueError naming the row for a blank cell, a duplicate id, an unknown kind or an unknown rule.
    """
    claims = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if tuple(claims.columns) != COLUMNS:
        raise ValueError(f"{path}: columns must be {', '.join(COLUMNS)}, not {', '.join(claims.columns)}")
    for row in claims.itertuples():
        blank = [c for c in COLUMNS if not getattr(row, c).strip()]
        if blank:
            raise ValueError(f"{path}: {row.id or f'row {row.Index + 2}'}: blank {', '.join(blank)}")
        for column, known in (("kind", KINDS), ("test", RULES)):
            if getattr(row, column) not in known:
                raise ValueError(f"{path}: {row.id}: unknown {column} '{getattr(row, column)}'; choose from {', '.join(sorted(known))}")
    if claims["id"].duplicated().any():
        raise ValueError(f"{path}: id {claims.loc[claims['id'].duplicated(), 'id'].iloc[0]} occurs twice")
    return claims


def judge(claims: pd.DataFrame, facts: dict, scores: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """The ledger: the claims with `ours`, `verdict` and `reason`; no cell is blank.

    Args:
        claims: from `load_claims`.
        facts: `dataset_facts(parts, source=...) | run_facts(runs)`; what is missing leaves its claims untested.
        scores: columns system, metric, value, and, if known, lo, hi, domain (see `all_scores`); may be empty.
        profile: `run.settings`, the profile actually run.
    Raises: ValueError naming the claim whose rule returns a blank or an unknown verdict.
    """
    evidence = Evidence(claims, facts, scores, profile)
    found = [RULES[claim["test"]](claim, evidence) for _, claim in claims.iterrows()]
    for key, finding in zip(claims["id"], found, strict=True):
        if finding.verdict not in VERDICTS or not all(str(part).strip() for part in finding):
            raise ValueError(f"claim {key}: the rule gave {finding}")
    return claims.assign(**{field: [getattr(f, field) for f in found] for field in ("ours", "verdict", "reason")})


def summarise(ledger: pd.DataFrame) -> pd.DataFrame:
    """Number of claims by kind (rows) and verdict (columns, all five), with totals."""
    table = pd.crosstab(ledger["kind"], ledger["verdict"]).reindex(index=list(KINDS), columns=list(VERDICTS), fill_value=0)
    table.loc["all"] = table.sum()
    return table.assign(all=table.sum(axis=1)).rename_axis(columns=None)


def write_claims(ledger: pd.DataFrame, path: Path) -> Path:
    """Write the ledger as CSV, safe to open in a spreadsheet (no cell can be a formula). Returns the path."""
    from .records import write_atomically

    write_atomically(path, ledger.map(lambda cell: csv_text(str(cell))).to_csv(index=False, lineterminator="\n"))
    return path


def main(argv: list[str] | None = None) -> int:
    """Command line: print the summary of a run's ledger. Exit status 2 with one line if the run has none."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib claims", description="Print the verdicts of a run's claims ledger.")
    parser.add_argument("run", nargs="?", default="shipped", help="name of the run in results/ (default: the shipped run)")
    parser.add_argument("--out", default="", help="where the run was written, if not in the project")
    parser.add_argument("--verdict", choices=VERDICTS, help="list the claims with this verdict")
    options = parser.parse_args(argv)
    path = paths.run_paths(options.run, options.out).results / "claims.csv"
    if not path.is_file():
        print(f"claims: {path} does not exist; run ./run_all.sh first", file=sys.stderr)
        return 2
    ledger = pd.read_csv(path, dtype=str, keep_default_na=False)
    print(summarise(ledger).to_string())
    if options.verdict:
        for row in ledger[ledger["verdict"] == options.verdict].itertuples():
            print(f"\n{row.place}: {row.quote}\n  ours: {row.ours}\n  {row.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
