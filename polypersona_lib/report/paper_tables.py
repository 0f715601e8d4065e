"""The paper's three tables with ours beside them, and one writer for CSV, Markdown and LaTeX.

A cell is text, a number, an `Estimate` (score with its 95 % interval) or `Missing` (a dash whose reason becomes a footnote).
"""

import pandas as pd

from ..cells import Estimate, Missing, estimate
from ..claims.facts import domain_scores
from ..config import Profile
from ..registry import MODELS, REAL_MODELS
from ..systems import CONTROLS, UPPER_BOUNDS, few_shot_of, filtered_of, is_server, model_of, system_label, untuned
from ..world.paper import TABLE2, TABLE3, load_features, printed_scores
from ..world.questions import DOMAINS

OWN_WORLD = "needs our own question bank and respondents, whose truth is known"


def table1() -> pd.DataFrame:
    """Table I: the paper's feature marks of four frameworks: one row each with Framework, the five features, Source, What we could verify."""
    cells = load_features()
    features, rows = list(dict.fromkeys(cells["feature"])), []
    for framework, part in cells.groupby("framework", sort=False):
        remarks = {r: [f for f, v in zip(part["feature"], part["verified"], strict=True) if v == r] for r in dict.fromkeys(part["verified"])}
        verified = next(iter(remarks)) if len(remarks) == 1 else "; ".join(f"{', '.join(fs)}: {r}" for r, fs in remarks.items())
        row = {"Framework": f"{framework} {part['reference'].iloc[0]}", **dict(zip(part["feature"], part["cell"], strict=True))}
        rows.append(row | {"Source": "; ".join(dict.fromkeys(part["source"])), "What we could verify": verified})
    return pd.DataFrame(rows, columns=["Framework", *features, "Source", "What we could verify"])


def _score(scores: pd.DataFrame, system: str, metric: str, reason: str) -> Estimate | Missing:
    rows = scores[(scores["system"] == system) & (scores["metric"] == metric)]
    if rows.empty:
        return Missing(reason)
    row = rows.iloc[0]
    return estimate(row["value"], row.get("lo", float("nan")), row.get("hi", float("nan")), reason="no value: every answer failed or none could be scored")


def why_missing(system: str, scores: pd.DataFrame, profile: Profile, lacking: dict[str, str]) -> str:
    """Why a system's row has no scores in this run; `lacking`: the models that could not be loaded, with the reason."""
    if system in set(scores["system"]):
        return "this metric was not computed for the row"
    if model_of(system) in lacking:
        return lacking[model_of(system)]
    if system in UPPER_BOUNDS and not {*UPPER_BOUNDS} & {*scores["system"]}:
        return OWN_WORLD
    if profile.scale == "small":
        return "not part of this run (./run_all.sh nano runs its twin, ./run_all.sh paper the model itself)"
    return f"not part of this run (./run_all.sh {profile.name} runs it)"


def table2(scores: pd.DataFrame, profile: Profile, lacking: dict[str, str] | None = None) -> pd.DataFrame:
    """Table II: the paper's seven models, its row and ours one under the other, then the untuned bases and the controls.

    Real models that the paper does not have stand first below paper scale, where the others are twins; at paper scale they follow the seven. A filtered model
    stands below itself.

    Args:
        scores: `scores/systems.csv` (system, metric, value, lo, hi, n). profile: the settings run. lacking: see `why_missing`.
    Returns: columns Model, Row ("paper", "ours", "control"), the nine columns of the paper, n.
    """
    scores = scores if len(scores) else pd.DataFrame(columns=["system", "metric", "value", "lo", "hi", "n"])
    printed, rows = printed_scores("Table II"), []

    def ours(system: str, kind: str) -> dict:
        reason = why_missing(system, scores, profile, lacking or {})
        cells = {column: _score(scores, system, metric, reason) for column, metric in TABLE2.items()}
        count = scores.loc[(scores["system"] == system) & scores["metric"].isin(TABLE2.values()), "n"].max()
        return {"Model": system_label(system, profile.scale), "Row": kind, **cells, "n": int(count) if pd.notna(count) else Missing(reason)}

    scored = set(scores["system"])
    real = [key for key in REAL_MODELS if key in {*scored, *(lacking or {}), *profile.models}]
    for key in [*MODELS, *real] if profile.scale == "paper" else [*real, *MODELS]:
        if key in MODELS:
            cells = {column: Estimate(printed.loc[key, metric]) for column, metric in TABLE2.items()}
            why = Missing("the paper's test split has about 357 rows; its size is not printed")
            rows.append({"Model": MODELS[key].display, "Row": "paper", **cells, "n": why})
        rows += [ours(system, "ours") for system in (key, filtered_of(key)) if system == key or system in scored]
    bases = [system for key in [*real, *MODELS] for system in (untuned(key), few_shot_of(key)) if system in scored]
    servers = sorted({system for system in scores["system"] if is_server(system)})
    return pd.DataFrame(rows + [ours(system, "control") for system in (*bases, *servers, *CONTROLS)])


def table3(rows: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Table III: the best tuned model of every domain by BLEU, the paper's beside ours; its eight domains marked.

    Args:
        rows: `scores/rows.parquet` (system, domain, status and the row metrics). profile: the settings run.
    Returns: columns Domain, In the paper, then for paper and ours: top model, BLEU, ROUGE-1, Survey Quality; and our score of the paper's top model.
    Source: paper, Table III ("top model" by an unnamed metric: we use BLEU).
    """
    printed, unknown = printed_scores("Table III"), Missing("not in the paper's Table III")
    rows = rows if len(rows) else pd.DataFrame(columns=["system", "domain"])
    scores, tops = domain_scores(rows[rows["system"].isin([*MODELS, *REAL_MODELS])], metrics=tuple(TABLE3.values())), dict(printed.index)
    lines = []
    for domain in dict.fromkeys([*DOMAINS, *sorted(set(scores["domain"]))]):
        here, theirs = scores[scores["domain"] == domain], tops.get(domain)
        row = {"Domain": DOMAINS.get(domain, domain), "In the paper": "yes" if theirs else "no"}
        row["Top model, paper"] = MODELS[theirs].display if theirs else unknown
        row |= {f"{label}, paper": Estimate(printed.loc[(domain, theirs), metric]) if theirs else unknown for label, metric in TABLE3.items()}
        bleu = here[(here["metric"] == "bleu") & here["value"].notna()].sort_values(["value", "system"], ascending=[False, True])
        best = bleu["system"].iloc[0] if len(bleu) else None
        reason = "this run has no answers in this domain"
        row["Top model, ours"] = f"{system_label(best, profile.scale)} (of {len(bleu)})" if best else Missing(reason)
        row |= {f"{label}, ours": _score(here, best, metric, reason) for label, metric in TABLE3.items()}
        row["BLEU of the paper's top model, ours"] = _score(here, theirs, "bleu", why_missing(theirs, here, profile, {})) if theirs else unknown
        lines.append(row)
    return pd.DataFrame(lines)
