"""The measures of persona fidelity as a reader of notebook 08 sees them: which stand in which table, and the tables' cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ...config import RunConfig
from ...scoring.fidelity_measures import GRAMS, MEASURES, PICKS, TRUTH, system_of
from ...systems import UPPER_BOUNDS, system_labels

VIEWS = {  # the tables of notebook 08: name -> {(metric, detail): heading}
    "swap": {
        ("option_gap_log", ""): "option, nats", ("option_auc", ""): "option, AUC",
        ("swap_gap_rouge1_masked", ""): "words without the card's", ("swap_gap_semantic_masked", ""): "meaning without the card's words",
    },
    "one answer": {
        (metric, f"k={k}"): f"{name}, {k}" for metric, name in (("pick_meaning", "answer by meaning"), ("pick_card_answer", "card by words")) for k in PICKS
    },
    "questionnaire": {
        (metric, f"k={k}"): f"{name}, {k}"
        for metric, name in (("pick_options", "person by options"), ("pick_card_options", "card by options"), ("pick_card_words", "card by wording"))
        for k in PICKS[:2]
    },
    "attitude": {
        ("stance_acc", ""): "true option chosen", ("stance_qwk", ""): "quadratic kappa", ("attitude_r_pooled", ""): "r, pooled",
        ("attitude_r_within", ""): "r, within constructs",
    },
    "contradiction": {
        ("contradiction", ""): "all pairs of a construct", ("contradiction_reversed", ""): "opposite keys",
        ("acquiescence", ""): "agreed with both", ("decided", ""): "decided",
    },
    "coefficients": {("coef_r", ""): "correlation", ("coef_slope", ""): "strength", ("coef_flips", ""): "wrong sign among the clear ones"},
    "consistency": {("card_sim", ""): "similarity to the own card (to others)", ("card_auc", ""): "own card more similar (chance)"},
    "memory": {("verbatim", ""): "whole answer"} | {(f"run{n}", ""): f"a run of {n} words" for n in GRAMS},
}  # fmt: skip
_CEILINGS = {"oracle_card": "oracle: card", "resample": "same respondent again", TRUTH: "the respondents"}


def fidelity_labels(run: RunConfig) -> dict[str, str]:
    """Every system's name in the order of the tables: floors, models, the respondents themselves, bounds."""
    found = system_labels(run)
    bounds = {name: found.pop(name) for name in UPPER_BOUNDS}
    return found | {TRUTH: "the respondents themselves"} | bounds


def system_table(table: pd.DataFrame, wanted: Mapping[tuple[str, str], str], labels: Mapping[str, str], *, shuffled: bool = False) -> pd.DataFrame:
    """Part of the table as a reader wants it: one row a system, one column a measure, each cell `value [interval]`.

    Args: wanted: (metric, detail) -> heading; measures that this run has not are left out. shuffled: add the level in other people's hands to each cell.
    Returns: text cells; n stands in the heading, and in a cell where it is another one. A dash: the measure does not apply to the system.
    """
    columns = {}
    for (metric, detail), heading in wanted.items():
        part = table[(table["metric"] == metric) & (table["detail"] == detail)].set_index("system")
        if part.empty:
            continue
        most = int(part["n"].mode().max())
        text = {c: part[c].map(lambda v: f"{round(v, 3) + 0.0:.3f}" if v == v else "") for c in ("value", "lo", "hi", "shuffled")}  # + 0.0: no minus zero
        cells = text["value"] + [f" [{lo}, {hi}]" if lo else "" for lo, hi in zip(text["lo"], text["hi"], strict=True)]
        if shuffled:
            cells += [f" ({s})" if s else "" for s in text["shuffled"]]
        cells += ["" if n == most else f", n {n}" for n in part["n"].astype(int)]
        columns[f"{heading} (n = {most:,} {MEASURES[metric].unit})"] = cells.where(part["value"].notna())
    found = pd.DataFrame(columns).reindex([s for s in labels if any(s in c.index for c in columns.values())])
    return found.dropna(how="all").fillna("–").rename(index=dict(labels))


def short_table(table: pd.DataFrame, wanted: Mapping[tuple[str, str], str], keys: Sequence[str]) -> pd.DataFrame:
    """A table of `system_table` in short, one row a column of it: floor, the range of the untuned and of the tuned models, ceiling and whose it is.

    "off it": in how many of the models the 95 % interval excludes the floor.
    """
    rows = []
    for (metric, detail), heading in wanted.items():
        part = table[(table["metric"] == metric) & (table["detail"] == detail)].set_index("system")
        row = {"": heading, "floor": f"{part['floor'].median() + 0.0:.3f}" if part["floor"].notna().any() else "–"}
        for kind in ("untuned", "tuned"):
            mine = part.reindex([system_of(k, kind) for k in keys]).dropna(subset=["value"])
            apart = ((mine["lo"] > mine["floor"]) | (mine["hi"] < mine["floor"])).sum()
            row[kind] = f"{mine['value'].min():.3f} to {mine['value'].max():.3f}" if len(mine) else "–"
            row[f"{kind}, off it"] = f"{apart} of {len(mine)}" if mine["floor"].notna().any() else "–"
        row["ceiling, yardstick"] = f"{part['ceiling'].median():.3f}, {_CEILINGS[MEASURES[metric].ceiling]}" if part["ceiling"].notna().any() else "–"
        rows += [row] if len(part) else []
    found = pd.DataFrame(rows).set_index("") if rows else pd.DataFrame()
    return found.replace(r"-0\.000", "0.000", regex=True)
