"""Paired comparison of several scored files over the ids they share."""

import itertools

import pandas as pd

from .. import resampling, stats
from ..scoring import metric_table

FLIPS = 200  # sign flips a comparison: keeps the smallest Holm-corrected p-value at .005, however many files are compared


def _shared(a: str, b: str, left: pd.DataFrame, right: pd.DataFrame) -> tuple[pd.Index, list[str]]:
    """The ids that can be compared, and what stands in the way of the others."""
    both = left.set_index("id")[["reference", "status"]].join(right.set_index("id")[["reference", "status"]], how="inner", suffixes=("_a", "_b"))
    same, notes = both[both["reference_a"] == both["reference_b"]], []
    if not len(both):
        return same.index, [f"{a} and {b} share no id: nothing to compare"]
    if len(both) < max(len(left), len(right)):
        notes.append(f"{a} ({len(left)} rows) and {b} ({len(right)} rows) share {len(both)} ids; the others are not compared")
    if len(same) < len(both):
        notes.append(f"{a} and {b}: {len(both) - len(same)} shared ids have different references and are not compared")
    failed = same.index[(same["status_a"] == "failed") | (same["status_b"] == "failed")]
    if len(failed):
        notes.append(f"{a} and {b}: {len(failed)} shared rows failed in one of the files and are not compared; a system that fails on hard rows gains by it")
    return same.index.difference(failed, sort=False), notes


def compare_files(files: dict[str, pd.DataFrame], scored: dict[str, pd.DataFrame], *, seed: int = resampling.SEED) -> tuple[pd.DataFrame, list[str]]:
    """Paired comparison of every two files over the ids they share (equal references only); people are resampled, and flipped, if a file names them.

    Returns: (lines: a, b, metric, difference, lo, hi, n, d (effect size), p (permutation), p_holm (over all lines); notes).
    """
    gaps, notes = {}, []
    for (a, left), (b, right) in itertools.combinations(files.items(), 2):
        ids, reasons = _shared(a, b, left, right)
        notes += reasons
        if len(ids) < 2:
            notes += [f"{a} and {b}: {len(ids)} comparable rows, so no comparison"] if not reasons or len(ids) else []
            continue
        x, y = scored[a].loc[ids], scored[b].loc[ids]
        wanted = [m for m in metric_table.METRICS if m in x and m in y]
        named = next((t["cluster"].tolist() for t in (x, y) if "cluster" in t), None)
        gaps[a, b] = (x[wanted].astype(float) - y[wanted].astype(float), named)
    lines, tests = [], sum(gap.notna().any().sum() for gap, _ in gaps.values())
    for (a, b), (gap, people) in gaps.items():
        line = resampling.bootstrap_means(gap, clusters=people, seed=seed).rename(columns={"mean": "difference"})
        p = resampling.permutation_p(gap, clusters=people, n_perm=max(resampling.N_PERM, FLIPS * int(tests)), seed=seed)
        spread = gap.std().where(lambda s: s > 1e-9)
        line = line.assign(a=a, b=b, d=gap.mean() / spread, p=p).rename_axis("metric").reset_index()
        lines.append(line[line["n"] > 0])
        units = len(set(people)) if people is not None else len(gap)
        if (least := 2.0 ** (1 - units)) * tests > 0.05:
            who = "rows" if people is None else "people"
            notes.append(f"{a} and {b}: {units} {who} cannot give a p-value below {least:.2g}, however large the difference")
    if not lines:
        return pd.DataFrame(), notes
    table = pd.concat(lines, ignore_index=True)[["a", "b", "metric", "difference", "lo", "hi", "n", "d", "p"]]
    return table.assign(p_holm=stats.holm(table["p"])), notes
