"""The paper's three tables with ours beside them, and one writer for CSV, Markdown and LaTeX.

A cell is text, a number, an `Estimate` (score with its 95 % interval) or `Missing` (a dash whose reason becomes a footnote).
"""

from __future__ import annotations

import pandas as pd

from ..cells import DASH, Estimate, Missing, estimate
from ..claims.facts import domain_scores
from ..config import Profile
from ..registry import MODELS
from ..systems import BASELINES, UPPER_BOUNDS, control_name
from ..world.paper import load_claims, load_features
from ..world.questions import DOMAINS

COLUMNS = {  # column of the paper's Table II -> metric id
    "BLEU": "bleu", "R1": "rouge1", "R2": "rouge2", "RL": "rougeL", "BERT-F1": "bertscore_f1", "Qual.": "quality", "Len.": "length_sim",
    "Sent.": "sentence_sim", "SentSim": "sentiment_sim",
}  # fmt: skip
TABLE3 = {"BLEU": "bleu", "ROUGE-1": "rouge1", "Survey Quality": "quality"}
OWN_WORLD = "needs our own question bank and respondents, whose truth is known"

# --- the tables ----------------------------------------------------------------------------------------------------------------


def table1() -> pd.DataFrame:
    """Table I: the paper's feature marks of four frameworks, where each comes from, and what we could verify of it.

    Returns: one row a framework: Framework, the five features, Source, What we could verify.
    """
    cells = load_features()
    features, rows = list(dict.fromkeys(cells["feature"])), []
    for framework, part in cells.groupby("framework", sort=False):
        remarks = {r: [f for f, v in zip(part["feature"], part["verified"], strict=True) if v == r] for r in dict.fromkeys(part["verified"])}
        verified = next(iter(remarks)) if len(remarks) == 1 else "; ".join(f"{', '.join(fs)}: {r}" for r, fs in remarks.items())
        row = {"Framework": f"{framework} {part['reference'].iloc[0]}", **dict(zip(part["feature"], part["cell"], strict=True))}
        rows.append(row | {"Source": "; ".join(dict.fromkeys(part["source"])), "What we could verify": verified})
    return pd.DataFrame(rows, columns=["Framework", *features, "Source", "What we could verify"])


def _paper(claims: pd.DataFrame, place: str, model: str, metric: str, domain: str = DASH) -> float | Missing:
    """The paper's printed score, or a dash."""
    found = claims[(claims["place"] == place) & (claims["test"] == "score") & (claims["subject"] == model)]
    found = found[(found["metric"] == metric) & (found["domain"] == domain)]
    return Estimate(float(found["value"].iloc[0])) if len(found) else Missing(f"not in the paper's {place}")


def _score(scores: pd.DataFrame, system: str, metric: str, reason: str) -> Estimate | Missing:
    found = scores[(scores["system"] == system) & (scores["metric"] == metric)]
    if not len(found):
        return Missing(reason)
    row = found.iloc[0]
    return estimate(row["value"], row.get("lo", float("nan")), row.get("hi", float("nan")), reason="no value: every answer failed or none could be scored")


def why_missing(system: str, scores: pd.DataFrame, profile: Profile, lacking: dict[str, str]) -> str:
    """Why a system's row has no scores in this run; `lacking`: the models that could not be had or held, with the reason."""
    key = system.removesuffix("--base")
    if system in set(scores["system"]):
        return "this metric was not computed for the row"
    if key in lacking:
        return lacking[key]
    if system in UPPER_BOUNDS and not {*UPPER_BOUNDS} & {*scores["system"]}:
        return OWN_WORLD
    return f"not part of this run (./run_all.sh {profile.name} runs it)"


def table2(scores: pd.DataFrame, profile: Profile, lacking: dict[str, str] | None = None) -> pd.DataFrame:
    """Table II: the paper's seven models, its row and ours one under the other, then the untuned bases and the controls.

    Args:
        scores: `scores/systems.csv` (system, metric, value, lo, hi, n). profile: the settings run. lacking: see `why_missing`.
    Returns: columns Model, Row ("paper", "ours", "control"), the nine columns of the paper, n.
    """
    scores = scores if len(scores) else pd.DataFrame(columns=["system", "metric", "value", "lo", "hi", "n"])
    claims, rows = load_claims(), []
    for key, model in MODELS.items():
        printed = {label: _paper(claims, "Table II", key, metric) for label, metric in COLUMNS.items()}
        rows.append({"Model": model.display, "Row": "paper", **printed, "n": Missing("the paper's test split has about 357 rows; its size is not printed")})
        rows.append(_our_row(model.display, "ours", key, scores, profile, lacking or {}))
    for key in (k for k in MODELS if f"{k}--base" in set(scores["system"])):
        rows.append(_our_row(f"{MODELS[key].display}, untuned", "control", f"{key}--base", scores, profile))
    for system in (*BASELINES, *UPPER_BOUNDS):
        rows.append(_our_row(control_name(system), "control", system, scores, profile))
    return pd.DataFrame(rows)


def _our_row(label: str, kind: str, system: str, scores: pd.DataFrame, profile: Profile, lacking: dict[str, str] | None = None) -> dict:
    reason = why_missing(system, scores, profile, lacking or {})
    cells = {column: _score(scores, system, metric, reason) for column, metric in COLUMNS.items()}
    mine = scores[(scores["system"] == system) & (scores["metric"].isin(COLUMNS.values()))]
    return {"Model": label, "Row": kind, **cells, "n": int(mine["n"].max()) if len(mine) and mine["n"].notna().any() else Missing(reason)}


def table3(rows: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Table III: the best tuned model of every domain by BLEU, the paper's beside ours; its eight domains marked.

    Args:
        rows: `scores/rows.parquet` (system, domain, status and the row metrics). profile: the settings run.
    Returns: columns Domain, In the paper, then for paper and ours: top model, BLEU, ROUGE-1, Survey Quality; and our score of the paper's top model.
    Source: paper, Table III ("top model" by an unnamed metric: we use BLEU).
    """
    claims = load_claims()
    rows = rows if len(rows) else pd.DataFrame(columns=["system", "domain"])
    scores = domain_scores(rows[rows["system"].isin(MODELS)], metrics=tuple(TABLE3.values()))
    tops = claims[(claims["place"] == "Table III") & (claims["test"] == "rank")].set_index("domain")["subject"]
    out = []
    for domain in dict.fromkeys([*DOMAINS, *sorted(set(scores["domain"]))]):
        here, theirs = scores[scores["domain"] == domain], tops.get(domain)
        row = {"Domain": DOMAINS[domain] if domain in DOMAINS else domain, "In the paper": "yes" if theirs else "no"}
        row["Top model, paper"] = MODELS[theirs].display if theirs else Missing("not in the paper's Table III")
        row |= {f"{label}, paper": _paper(claims, "Table III", theirs, metric, domain) for label, metric in TABLE3.items()}
        bleu = here[(here["metric"] == "bleu") & here["value"].notna()].sort_values(["value", "system"], ascending=[False, True])
        best = bleu["system"].iloc[0] if len(bleu) else None
        reason = "this run has no answers in this domain"
        row["Top model, ours"] = f"{MODELS[best].display} (of {len(bleu)})" if best else Missing(reason)
        row |= {f"{label}, ours": _score(here, best, metric, reason) for label, metric in TABLE3.items()}
        same = _score(here, theirs, "bleu", why_missing(theirs, here, profile, {})) if theirs else Missing("not in the paper's Table III")
        row["BLEU of the paper's top model, ours"] = same
        out.append(row)
    return pd.DataFrame(out)
