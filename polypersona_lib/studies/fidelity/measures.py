"""The measures of persona fidelity as data: what each is called, what its n counts, what its floor and ceiling are; and the tables a reader sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...config import RunConfig
from ...systems import UPPER_BOUNDS, system_labels
from .text_scores import GRAMS

TRUTH = "truth"
PICKS = (2, 5, 10)
COLUMNS = ["section", "metric", "detail", "system", "value", "lo", "hi", "n", "shuffled", "floor", "ceiling", "p_holm"]


@dataclass(frozen=True)
class Measure:
    """One measure: what `n` counts, which level is its floor ("shuffled": the same answers in other people's hands; or a system), which system its ceiling."""

    section: str
    label: str
    unit: str
    floor: str = "shuffled"
    ceiling: str = "oracle_card"


MEASURES = {
    "swap_gap_rouge1": Measure("swap", "Swap gap, words", "answers", ceiling="resample"),
    "swap_auc_rouge1": Measure("swap", "Swap AUC, words", "answers", ceiling="resample"),
    "swap_gap_rouge1_masked": Measure("swap", "Swap gap, words not on the card", "answers", ceiling="resample"),
    "swap_auc_rouge1_masked": Measure("swap", "Swap AUC, words not on the card", "answers", ceiling="resample"),
    "swap_gap_semantic": Measure("swap", "Swap gap, meaning", "answers", ceiling="resample"),
    "swap_auc_semantic": Measure("swap", "Swap AUC, meaning", "answers", ceiling="resample"),
    "swap_gap_semantic_masked": Measure("swap", "Swap gap, meaning, words not on the card", "answers", ceiling="resample"),
    "swap_auc_semantic_masked": Measure("swap", "Swap AUC, meaning, words not on the card", "answers", ceiling="resample"),
    "swap_gap_option": Measure("swap", "Swap gap, option of the test answer", "answers"),
    "swap_auc_option": Measure("swap", "Swap AUC, option of the test answer", "answers"),
    "option_gap_log": Measure("swap", "Swap gap, log-likelihood of the option (nats)", "answers"),
    "option_gap": Measure("swap", "Swap gap, probability of the option", "answers"),
    "option_auc": Measure("swap", "Swap AUC, probability of the option", "answers"),
    "pick_meaning": Measure("identification", "Own answer picked by meaning, one answer", "answers", ceiling="resample"),
    "pick_words": Measure("identification", "Own answer picked by words, one answer", "answers", ceiling="resample"),
    "pick_card_answer": Measure("identification", "Own card picked by a probe, words of one answer", "answers", ceiling="resample"),
    "pick_options": Measure("identification", "Own answers picked by likelihood, whole questionnaire", "personas"),
    "pick_card_options": Measure("identification", "Own card picked by a probe, options of the questionnaire", "personas"),
    "pick_card_words": Measure("identification", "Own card picked by a probe, words of the questionnaire", "personas", ceiling=TRUTH),
    "recover": Measure("attributes", "Attributes read off the questionnaire (AUC)", "personas"),
    "stance_acc": Measure("attitude", "The respondent's option chosen", "answers", floor="majority"),
    "stance_qwk": Measure("attitude", "Quadratic kappa with the respondent's option", "answers", floor="majority"),
    "attitude_r_pooled": Measure("attitude", "Correlation with the true attitude, pooled", "attitudes"),
    "attitude_r_within": Measure("attitude", "Correlation with the true attitude, within constructs", "attitudes"),
    "contradiction": Measure("contradiction", "Contradictory pairs of one construct", "pairs", ceiling=TRUTH),
    "contradiction_reversed": Measure("contradiction", "Contradictory pairs of opposite keys", "pairs", ceiling=TRUTH),
    "acquiescence": Measure("contradiction", "Agreement with both of opposite keys", "pairs", ceiling=TRUTH),
    "decided": Measure("contradiction", "Decided pairs", "pairs", ceiling=TRUTH),
    "card_sim": Measure("consistency", "Similarity of answer and card (the paper's)", "answers", ceiling="resample"),
    "card_auc": Measure("consistency", "Own card is the more similar one", "answers", ceiling="resample"),
    "coef_r": Measure("coefficients", "Correlation of the attributes' effects", "coefficients"),
    "coef_slope": Measure("coefficients", "Strength of the attributes' effects", "coefficients"),
    "coef_flips": Measure("coefficients", "Effects with the wrong sign", "clear coefficients"),
    "verbatim": Measure("memory", "Whole answer stands in train", "answers", ceiling="resample"),
    **{f"run{n}": Measure("memory", f"A run of {n} words stands in train", "answers", ceiling="resample") for n in GRAMS},
}
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
BLOCKS = {  # the blocks of the ladder
    "What it chooses": ["stance_acc", "attitude_r_within", "coef_r", "pick_options", "pick_card_options", "contradiction"],
    "How it speaks": ["pick_card_words", "pick_meaning", "swap_gap_rouge1_masked", "card_auc"],
}  # fmt: skip
LADDER = (  # the rows of the ladder: (metric, detail, name). `recover` has no good direction: a caricature gives away more than a person does
    ("stance_acc", "", "chooses the respondent's option"),
    ("attitude_r_within", "", "attitudes follow the true ones"),
    ("coef_r", "", "attributes pull as they do in people"),
    ("pick_options", "k=5", "person picked out of 5 by options"),
    ("pick_card_options", "k=5", "card picked out of 5 by options"),
    ("contradiction", "", "contradicts itself as rarely as people"),
    ("pick_card_words", "k=5", "card picked out of 5 by wording"),
    ("pick_meaning", "k=5", "answer picked out of 5 by meaning"),
    ("swap_gap_rouge1_masked", "", "words fit the own person better"),
    ("card_auc", "", "answer resembles the own card (the paper's)"),
)
_CEILINGS = {"oracle_card": "oracle: card", "resample": "same respondent again", TRUTH: "the respondents"}
COMPARED = {(metric, detail) for metric, detail, _ in LADDER}  # the measures in which systems are compared, on the same resampled people


def line(metric: str, detail: str, system: str, found: Mapping, n: int, shuffled: float = np.nan, p_holm: float = np.nan, draws=None) -> dict:
    """One number: `found` holds value, lo, hi; `draws` its values for resampled people, kept for comparisons of systems."""
    return {"section": MEASURES[metric].section, "metric": metric, "detail": detail, "system": system, "n": n, "shuffled": shuffled,
            "p_holm": p_holm, "draws": draws} | {k: found[k] for k in ("value", "lo", "hi")}  # fmt: skip


def levels(lines: list[dict]) -> pd.DataFrame:
    """The lines as a table, each with the floor and the ceiling of its measure (NaN: this run has none)."""
    table = pd.DataFrame(lines)
    known = table.set_index(["metric", "detail", "system"])["value"].to_dict()
    for name in ("floor", "ceiling"):
        systems = [getattr(MEASURES[m], name) for m in table["metric"]]
        table[name] = [own if s == "shuffled" else known.get((m, d, s), np.nan)
                       for s, m, d, own in zip(systems, table["metric"], table["detail"], table["shuffled"], strict=True)]  # fmt: skip
    return table[COLUMNS]


def ladder(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the figure: metric, label, system, n, raw, floor, ceiling, told, and value, lo, hi on a scale where the floor is 0 and the ceiling 1.

    `told` is False, and the scaled values are NaN, for a measure that cannot tell its own ceiling from its floor (the ceiling's interval holds the floor):
    nothing can be read between two ends that may be one. Measures without floor or ceiling in this run are left out.
    """
    rows = []
    for metric, detail, name in LADDER:
        part = table[(table["metric"] == metric) & (table["detail"] == detail) & table["floor"].notna() & table["ceiling"].notna()]
        top = part[part["system"] == MEASURES[metric].ceiling]
        if top.empty:
            continue
        best, width = top.iloc[0], part["ceiling"] - part["floor"]
        told = bool((best["lo"] > best["floor"] and width.min() > 0) or (best["hi"] < best["floor"] and width.max() < 0))
        scaled = {c: (part[c] - part["floor"]) / width if told else np.nan for c in ("value", "lo", "hi")}
        rows.append(part[["metric", "system", "n", "floor", "ceiling"]].assign(label=name, told=told, raw=part["value"], **scaled))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["metric", "label", "system", "value", "lo", "hi", "floor", "ceiling", "told"])


def fidelity_labels(run: RunConfig) -> dict[str, str]:
    """Every system's name in the order of the tables: floors, models, the respondents themselves, bounds."""
    found = system_labels(run)
    bounds = {name: found.pop(name) for name in UPPER_BOUNDS}
    return found | {TRUTH: "the respondents themselves"} | bounds


def shown(table: pd.DataFrame, wanted: Mapping[tuple[str, str], str], labels: Mapping[str, str], *, shuffled: bool = False) -> pd.DataFrame:
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


def reading(table: pd.DataFrame, wanted: Mapping[tuple[str, str], str], keys: Sequence[str]) -> pd.DataFrame:
    """A table of `shown` in short, one row a column of it: floor, the range of the untuned and of the tuned models, ceiling and whose it is.

    "off it": in how many of the models the 95 % interval excludes the floor.
    """
    rows = []
    for (metric, detail), heading in wanted.items():
        part = table[(table["metric"] == metric) & (table["detail"] == detail)].set_index("system")
        row = {"": heading, "floor": f"{part['floor'].median() + 0.0:.3f}" if part["floor"].notna().any() else "–"}
        for kind, end in (("untuned", "--base"), ("tuned", "")):
            mine = part.reindex([f"{k}{end}" for k in keys]).dropna(subset=["value"])
            apart = ((mine["lo"] > mine["floor"]) | (mine["hi"] < mine["floor"])).sum()
            row[kind] = f"{mine['value'].min():.3f} to {mine['value'].max():.3f}" if len(mine) else "–"
            row[f"{kind}, off it"] = f"{apart} of {len(mine)}" if mine["floor"].notna().any() else "–"
        row["ceiling, yardstick"] = f"{part['ceiling'].median():.3f}, {_CEILINGS[MEASURES[metric].ceiling]}" if part["ceiling"].notna().any() else "–"
        rows += [row] if len(part) else []
    found = pd.DataFrame(rows).set_index("") if rows else pd.DataFrame()
    return found.replace(r"-0\.000", "0.000", regex=True)
