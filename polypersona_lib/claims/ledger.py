"""The claims ledger: every number and comparison the paper prints, what we got, one of eight verdicts with its reason, and what it rests on.

    python -m polypersona_lib claims [RUN]                                    # counts the verdicts of results/RUN/claims.csv (default: the shipped run)
    python -m polypersona_lib claims --verdict "not reproduced" --place V-C   # lists the claims that fit

The paper's side is `data/paper_claims.csv`; its `test` column names the rule that judges (`method_rules`, `score_rules`, `order_rules`,
`contradictions`).
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .. import paths
from ..config import Profile
from ..errors import printable, safe_line
from ..files import csv_text, write_atomically
from ..systems import BASELINES, system_label
from ..world.paper import CLAIM_KINDS
from . import contradictions, method_rules, order_rules, score_rules
from .evidence import BASES, MEASURED, REPRODUCED, TRIVIAL, UNTESTED, VERDICTS, Evidence, Finding, Untestable

RULES = contradictions.RULES | method_rules.RULES | order_rules.RULES | score_rules.RULES


_AMONG_MODELS = {"rank", "balanced", "upper_half", "beats_larger", "strong_in", "several_tops", "only_below"}
GUARDED = (order_rules.RULES | score_rules.RULES).keys() - _AMONG_MODELS
"""Rules that a baseline could fulfil too. The others order the models among themselves, and seven copies of one answerer have no order."""


def apply_rule(claim: pd.Series, evidence: Evidence) -> Finding:
    """The finding of the rule that the claim names; where the run lacks what the rule needs, the finding says so."""
    try:
        return RULES[claim["test"]](claim, evidence)
    except Untestable as gap:
        return gap.finding


def guarded(claim: pd.Series, evidence: Evidence) -> Finding:
    """The finding of the claim's rule; what was measured counts as reproduced only if no answerer that ignores the persona fulfils the same rule."""
    finding = apply_rule(claim, evidence)
    if (finding.verdict, finding.basis) != (REPRODUCED, MEASURED) or claim["test"] not in GUARDED:
        return finding
    alike = {system: apply_rule(claim, evidence.as_if(system)) for system in BASELINES}
    if all(other.basis != MEASURED for other in alike.values()):
        return finding._replace(verdict=UNTESTED, reason=f"no baseline was scored beside it; ./run_all.sh nano scores them all. {finding.reason}")
    same = [f"{system_label(system, evidence.profile.scale)}: {other.ours}" for system, other in alike.items() if other.verdict == REPRODUCED]
    if not same:
        return finding._replace(reason=f"No baseline does it. {finding.reason}")
    return finding._replace(verdict=TRIVIAL, reason=f"A baseline does it too ({'; '.join(same)}). {finding.reason}")


def judge(claims: pd.DataFrame, facts: dict, scores: pd.DataFrame, profile: Profile, *, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """The ledger: the claims with `ours`, `verdict`, `reason`, `basis` (what the verdict rests on) and `how` (the rule in words); no cell is blank.

    Args:
        claims: from `load_claims`.
        facts: `dataset_facts(parts, source=...) | run_facts(runs)`; what is missing leaves its claims untested.
        scores: columns system, metric, value, and, if known, lo, hi, domain (see `all_scores`); may be empty.
        profile: `run.settings`, the profile actually run.
        rows: `scores/rows.parquet`; with it an order must hold in nearly all resamples of the test's people, without it the means decide.
    Raises: ValueError naming the claim without a known rule, or whose rule returns a blank, an unknown verdict or an unknown basis.
    """
    for key, test in zip(claims["id"], claims["test"], strict=True):
        if test not in RULES:
            raise ValueError(f"claim {key}: unknown test '{test}'; choose from {', '.join(sorted(RULES))}")
    evidence = Evidence(claims, facts, scores, profile, rows)
    findings = [guarded(claim, evidence) for _, claim in claims.iterrows()]
    for key, finding in zip(claims["id"], findings, strict=True):
        if finding.verdict not in VERDICTS or finding.basis not in BASES or not all(str(part).strip() for part in finding):
            raise ValueError(f"claim {key}: the rule gave {finding}")
    how = [RULES[test].__doc__.strip().splitlines()[0] for test in claims["test"]]
    return claims.assign(**{field: [getattr(f, field) for f in findings] for field in ("ours", "verdict", "reason", "basis")}, how=how)


def choose(ledger: pd.DataFrame, *, text: str = "", **columns: str) -> pd.DataFrame:
    """The claims that fit: `columns` names the beginning of a cell (`verdict="not"`, `place="V-C"`, `kind="order"`), `text` words of any cell; no case.

    Raises: ValueError for an unknown column, or a verdict, kind or basis that none begins with, with the valid choices.
    """
    fits = pd.Series(True, index=ledger.index)
    for column, wanted in columns.items():
        if column not in ledger:
            raise ValueError(f"no column {column}; choose from {', '.join(ledger.columns)}")
        known = {"verdict": VERDICTS, "kind": CLAIM_KINDS, "basis": BASES}.get(column)
        if known and not any(k.lower().startswith(wanted.lower()) for k in known):
            raise ValueError(f"no {column} begins with '{wanted}'; choose from: {', '.join(known)}")
        fits &= ledger[column].str.lower().str.startswith(wanted.lower())
    if text:
        fits &= ledger.agg(" ".join, axis=1).str.lower().str.contains(text.lower(), regex=False)
    return ledger[fits]


def count_verdicts(ledger: pd.DataFrame) -> pd.DataFrame:
    """Number of claims by kind (rows) and verdict (columns, all eight), with totals."""
    return _counted(ledger["kind"], CLAIM_KINDS, ledger["verdict"], VERDICTS)


def rests_on(ledger: pd.DataFrame) -> pd.DataFrame:
    """Number of claims by verdict (rows) and by what the verdict rests on (columns), with totals."""
    return _counted(ledger["verdict"], VERDICTS, ledger["basis"], BASES)


def _counted(rows: pd.Series, index: Sequence[str], columns: pd.Series, names: Sequence[str]) -> pd.DataFrame:
    table = pd.crosstab(rows, columns).reindex(index=list(index), columns=list(names), fill_value=0)
    table.loc["all"] = table.sum()
    return table.assign(all=table.sum(axis=1)).rename_axis(columns=None)


def write_claims(ledger: pd.DataFrame, path: Path) -> Path:
    """Write the ledger as CSV, safe to open in a spreadsheet (no cell can be a formula). Returns the path."""
    write_atomically(path, ledger.map(lambda cell: csv_text(str(cell))).to_csv(index=False, lineterminator="\n"))
    return path


def _overview(ledger: pd.DataFrame) -> str:
    """Verdicts by kind, and what "reproduced" rests on; at most 80 columns wide."""
    table = count_verdicts(ledger).T.rename_axis(columns=None)
    reproduced = rests_on(ledger).loc[REPRODUCED]
    parts = [f"{reproduced[basis]} {basis}" for basis in BASES if reproduced[basis]]
    rest = f"Of the {reproduced['all']} reproduced: {', '.join(parts) or 'none'}. What was built to match says nothing about the original study."
    return f"{table.to_string()}\n{textwrap.fill(rest, 79)}"


def listed(chosen: pd.DataFrame, *, width: int = 79) -> str:
    """The claims as text, `width` columns wide: one paragraph each with place, quote, how it was tested, ours, verdict, what it rests on, reason."""
    blocks = [f"\n{len(chosen)} {'claim' if len(chosen) == 1 else 'claims'}"]
    for row in chosen.to_dict("records"):
        rest = "" if row["reason"].startswith(row["basis"]) else f" ({row['basis']})"
        lines = [f'{row["id"]}, {row["place"]}: "{row["quote"]}"', f"ours: {row['ours']}", f"{row['verdict']}{rest}: {row['reason']}"]
        if row["basis"] == MEASURED:
            lines.insert(1, f"tested: {row['how']}")
        blocks.append("\n" + "\n".join(textwrap.fill(line, width, initial_indent="  " if n else "", subsequent_indent="    ") for n, line in enumerate(lines)))
    return "\n".join(blocks)


def _parser() -> argparse.ArgumentParser:
    about = "Count the verdicts of a run's claims ledger; with a filter, list the claims that fit."
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib claims", description=about)
    parser.add_argument("run", nargs="?", default="shipped", help="name of the run in results/ (default: the shipped run)")
    parser.add_argument("--out", default="", metavar="DIR", help="where the run was written, if not in the project")
    parser.add_argument("--verdict", metavar="V", help=f"list the claims with this verdict (its beginning is enough): {', '.join(VERDICTS)}")
    parser.add_argument("--kind", metavar="K", help=f"list the claims of this kind: {', '.join(CLAIM_KINDS)}")
    parser.add_argument("--basis", metavar="B", help=f"list the claims whose verdict rests on this: {', '.join(BASES)}")
    parser.add_argument("--place", metavar="P", help='list the claims of this place: "Table II", V-C, "Fig. 5", ...')
    parser.add_argument("--text", metavar="T", help="list the claims with this in any cell: BLEU, phi-2, swap, ...")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Command line: print the summary of a run's ledger, and the claims that fit the filters. Exit status 2 with one line for bad input."""
    options = _parser().parse_args(argv)
    path = paths.run_paths(options.run, options.out).results / "claims.csv"
    if not path.is_file():
        known = ", ".join(sorted(p.parent.name for p in path.parent.parent.glob("*/claims.csv"))) or "none; ./run_all.sh makes one"
        print(f"claims: run {options.run!r} has no claims.csv; runs that have: {safe_line(known)}", file=sys.stderr)
        return 2
    ledger = pd.read_csv(path, dtype=str, keep_default_na=False)
    wanted = {name: value for name in ("verdict", "kind", "basis", "place", "text") if (value := getattr(options, name))}
    try:
        print(printable("\n".join([_overview(ledger), *([listed(choose(ledger, **wanted))] if wanted else [])])), flush=True)
    except ValueError as error:
        print(f"claims: {safe_line(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
