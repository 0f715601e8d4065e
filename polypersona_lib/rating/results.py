"""What the ratings say once the key is joined: agreement among raters, means by system, and whether any automatic metric agrees with people.

A number that too few ratings stand behind is a dash with the reason.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import resampling
from ..cells import Estimate, Missing, estimate, write_table
from ..files import csv_text, write_atomically
from ..locate import headless
from ..paths import RunPaths
from ..scoring.metric_table import METRICS
from . import agreement
from .sheet import AGAIN, POINTS, RATING_SCALES

FEWEST_SHARED, FEWEST_ROWS, FEWEST_SYSTEMS, FEWEST_PERSONAS = 10, 10, 5, 3
HASTE_S = 1.0  # nobody reads a card, a question and an answer in this time
_COLUMNS = ["rater", "item", "scale", "value", "seconds", "row", "system", "persona_id", "question_id", "question_type", "domain", "answer"]
EXPORTS = ("ratings.csv", "ratings.jsonl")
CAPTIONS = {"human_agreement": "Agreement among raters", "human_means": "Mean human rating by system", "human_metrics": "Automatic metrics and human ratings"}


def join_key(ratings: pd.DataFrame, items: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Who said what was rated: one line a judgement and system (two systems that gave the same text both get it).

    Args:
        ratings: from `session.load_ratings`. items: from `sheet.load_items`.
    Returns: the columns `_COLUMNS`, without what was shown a second time (`rater_table` tells of that);
        remarks, such as how many ratings belong to answers that no system of this run gives.
    """
    key, ratings = items[["item", *_COLUMNS[5:]]], ratings[~ratings["item"].str.endswith(AGAIN)]
    lost = ratings[~ratings["item"].isin(key["item"])]
    texts = f"{lost['item'].nunique()} answers" if len(lost) else ""
    remarks = [f"{len(lost)} ratings of {texts} left out: the systems chosen here give no such answer (another seed, or trained again)"] if len(lost) else []
    return ratings.merge(key, on="item", how="inner")[_COLUMNS], remarks


def describe_ratings(joined: pd.DataFrame, remarks: Sequence[str] = ()) -> str:
    """What ratings there are, in a sentence that names no system, and the remarks, one a line."""
    single = joined.drop_duplicates(["rater", "item", "scale"])
    raters, answers = (single[column].nunique() for column in ("rater", "item"))
    seconds = f", median {single['seconds'].median():.0f} seconds a rating" if single["seconds"].notna().any() else ""
    there = f"{len(single)} ratings of {answers} answers by {raters} rater{'s' if raters > 1 else ''}{seconds}"
    return "\n".join([there if len(single) else "No ratings yet: nobody has rated an answer of this run.", *remarks])


def unblinded(joined: pd.DataFrame, everybody_finished: bool) -> pd.DataFrame:
    """`joined` if every rater has finished, and under the runner, which rates nothing; else no rows, and one line says so."""
    if everybody_finished or headless():
        return joined
    print("still blind: the tables below are empty until unblind is set to True in this cell")
    return joined.iloc[:0]


def agreement_table(joined: pd.DataFrame, *, seed: int = resampling.SEED) -> pd.DataFrame:
    """Krippendorff's alpha (ordinal) by scale, of answers judged twice: Scale, Raters, Ratings, Shared answers, Alpha; the interval resamples answers."""
    rows = []
    for scale, part in _by_scale(joined):
        part = part.drop_duplicates(["rater", "item"])
        table = part.pivot(index="rater", columns="item", values="value")
        agreed = agreement.krippendorff_alpha(agreement.value_counts(table, POINTS), seed=seed)
        few = f"fewer than {FEWEST_SHARED} answers were judged by two or more raters"
        flat = "everybody gave one and the same rating"
        alpha = Missing(few) if agreed["n"] < FEWEST_SHARED else estimate(agreed["value"], agreed["lo"], agreed["hi"], reason=flat)
        rows.append({"Scale": scale, "Raters": len(table), "Ratings": len(part), "Shared answers": agreed["n"], "Alpha": alpha})
    return pd.DataFrame(rows, columns=["Scale", "Raters", "Ratings", "Shared answers", "Alpha"])


def rater_table(ratings: pd.DataFrame) -> pd.DataFrame:
    """Is anybody rating without reading? One line a rater; nothing in it says which system was rated how.

    Args: ratings: from `session.load_ratings`.
    Returns: Rater; Answers (fully rated); Median seconds an answer (both scales); In haste: share of the answers with under `HASTE_S` for both scales; for each
        scale the share of its most frequent point; Both scales alike: share of the answers with the same point on both; Shown again: how many, and of their
        ratings the share within one point of the first and the share equal to it. No rows without ratings. Shares are 0-1, NaN where there is nothing to count.
    """
    rows = []
    for rater, given in ratings.groupby("rater", sort=True):
        points = given.pivot(index="item", columns="scale", values="value").reindex(columns=list(RATING_SCALES)).astype(float)
        whole, seconds = points.dropna(), given.groupby("item")["seconds"].sum(min_count=1)
        seconds = seconds[seconds.index.isin(whole.index)]
        again = points[points.index.str.endswith(AGAIN)].rename(index=lambda item: item.removesuffix(AGAIN))
        apart = (again - points.reindex(again.index)).abs().stack().dropna()
        row = {"Rater": rater, "Answers": len(whole), "Median seconds": seconds.median(), "In haste": (seconds < HASTE_S).mean()}
        row |= {f"{scale}, most frequent point": points[scale].value_counts(normalize=True).max() for scale in RATING_SCALES}
        row |= {"Both scales alike": (whole.nunique(axis=1) == 1).mean() if len(whole) else np.nan, "Shown again": len(again)}
        rows.append(row | {"within a point": (apart <= 1).mean(), "equal": (apart == 0).mean()})
    columns = ["Rater", "Answers", "Median seconds", "In haste", *(f"{scale}, most frequent point" for scale in RATING_SCALES), "Both scales alike"]
    return pd.DataFrame(rows, columns=[*columns, "Shown again", "within a point", "equal"]).round(2)


def means_table(joined: pd.DataFrame, labels: Mapping[str, str], *, seed: int = resampling.SEED) -> pd.DataFrame:
    """Mean rating of each system, 1-5, and its distance from the reference, judged by the same rater on the same record (strict raters cancel out).

    Ratings of one record are averaged first, so that every record counts once; intervals resample personas.

    Returns: System, Records, Ratings (both scales together), then for each scale its mean and "<scale>, minus reference"; systems in the
        order of `labels`; no rows without ratings.
    """
    columns = ["System", "Records", "Ratings", *(f"{scale}{end}" for scale in RATING_SCALES for end in ("", ", minus reference"))]
    rows = []
    for system in [s for s in labels if s in set(joined["system"])]:
        mine = joined[joined["system"] == system]
        row = {"System": labels[system], "Records": mine["row"].nunique(), "Ratings": len(mine)}
        for scale in RATING_SCALES:
            part = mine[mine["scale"] == scale]
            row[scale] = _mean(part, "value", seed=seed)
            standard = joined[(joined["system"] == "reference") & (joined["scale"] == scale)]
            pairs = part.merge(standard[["rater", "row", "value"]], on=["rater", "row"], suffixes=("", "_reference"))
            gaps = pairs.assign(gap=pairs["value"] - pairs["value_reference"])
            row[f"{scale}, minus reference"] = Missing("this is the reference") if system == "reference" else _mean(gaps, "gap", seed=seed)
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def metric_table(joined: pd.DataFrame, rows: pd.DataFrame, *, seed: int = resampling.SEED) -> pd.DataFrame:
    """Spearman's rank correlation of every automatic row metric with the human ratings, answer by answer and system by system; intervals resample personas.

    From every rating the rater's own mean on the scale is taken, so that answers that fell to a strict rater do not look bad for that; then the ratings of an
    answer are averaged.

    Args:
        joined: from `join_key`; the reference has no scores and drops out. rows: `scores/rows.parquet`.
    Returns: Metric, Answers and Systems (how many the correlations rest on), then for each scale "<scale>, by answer" and "<scale>, by system"; the
        metrics in the order of `METRICS` and, as a warning, the plain length of the answer; no rows without ratings.
    """
    columns = ["Metric", "Answers", "Systems", *(f"{scale}, by {unit}" for scale in RATING_SCALES for unit in ("answer", "system"))]
    rows = rows.assign(stance_acc=(rows["chosen"] == rows["target"]).astype(float).where(rows["target"].notna()))
    names = {m.id: m.label for m in METRICS.values()} | {"length_chars": "(answer length, characters)"}
    known = [m for m in names if m in rows]
    rated = joined[joined["system"].isin(set(rows["system"]))]
    if rated.empty:
        return pd.DataFrame(columns=columns)
    rated = rated.assign(value=rated["value"] - rated.groupby(["rater", "scale"])["value"].transform("mean"))
    human = {scale: part.groupby(["system", "row", "persona_id"], as_index=False)["value"].mean() for scale, part in _by_scale(rated)}
    scored = {scale: part.merge(rows[["system", "id", *known]], left_on=["system", "row"], right_on=["system", "id"]) for scale, part in human.items()}
    lines = []
    for metric in known:
        there = [part[part[metric].notna()] for part in scored.values()]
        line = {"Metric": names[metric], "Answers": max(map(len, there)), "Systems": max(part["system"].nunique() for part in there)}
        for scale in RATING_SCALES:
            line[f"{scale}, by answer"], line[f"{scale}, by system"] = _correlations(scored.get(scale), metric, seed)
        lines.append(line)
    return pd.DataFrame(lines, columns=columns)


def _correlations(part: pd.DataFrame | None, metric: str, seed: int) -> tuple[Estimate | Missing, Estimate | Missing]:
    """(by answer, by system) of one metric and scale."""
    part = None if part is None else part[part[metric].notna()]
    if part is None or len(part) < FEWEST_ROWS or part["persona_id"].nunique() < FEWEST_PERSONAS:
        return (Missing(f"fewer than {FEWEST_ROWS} rated answers with this score, or fewer than {FEWEST_PERSONAS} personas"),) * 2
    flat, few = "one side does not vary", f"fewer than {FEWEST_SYSTEMS} systems"
    single = agreement.spearman(part["value"], part[metric], clusters=part["persona_id"], seed=seed)
    by_answer = estimate(single["value"], single["lo"], single["hi"], reason=flat)
    if part["system"].nunique() < FEWEST_SYSTEMS:
        return by_answer, Missing(few)
    whole = agreement.spearman_of_means(part["value"], part[metric], groups=part["system"], clusters=part["persona_id"], seed=seed)
    return by_answer, estimate(whole["value"], whole["lo"], whole["hi"], reason=flat)


def _by_scale(joined: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The scales that somebody used, in order."""
    return [(scale, joined[joined["scale"] == scale]) for scale in RATING_SCALES if (joined["scale"] == scale).any()]


def _mean(part: pd.DataFrame, column: str, *, seed: int) -> Estimate | Missing:
    """Mean over records (of each record's mean) with an interval over personas, or why there is none."""
    if part["persona_id"].nunique() < FEWEST_PERSONAS:
        return Missing(f"rated for fewer than {FEWEST_PERSONAS} personas")
    by_row = part.groupby(["row", "persona_id"], as_index=False)[column].mean()
    mean = resampling.bootstrap_mean(by_row[column], clusters=list(by_row["persona_id"]), seed=seed)
    return Estimate(mean["mean"], mean["lo"], mean["hi"])


def remove_results(folder: Path, tables: Path) -> None:
    """Delete what an earlier analysis wrote: nothing of a rater who took the ratings back may stay behind."""
    stale = [folder / name for name in EXPORTS] + [tables / f"{stem}.{ending}" for stem in CAPTIONS for ending in ("csv", "md", "tex")]
    for path in stale:
        path.unlink(missing_ok=True)


def write_results(joined: pd.DataFrame, tables: Sequence[pd.DataFrame], run_paths: RunPaths, note: str) -> str:
    """Replace what an earlier analysis wrote: the tables (`CAPTIONS`, in order) and every judgement. Returns what was written, in one line."""
    remove_results(run_paths.results / "rated", run_paths.results / "tables")
    if joined.empty:
        return "nothing to export: no ratings, or still blind"
    for (stem, caption), table in zip(CAPTIONS.items(), tables, strict=True):
        if len(table):
            write_table(table, stem, run_paths.folder("tables"), caption, note)
    return "written: " + " ".join(path.name for path in write_export(joined, run_paths.results / "rated"))


def write_export(joined: pd.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Every judgement with its key, `ratings.csv` (text that no spreadsheet takes for a formula) and `ratings.jsonl`. Returns the two paths."""
    safe = joined.map(lambda cell: csv_text(cell) if isinstance(cell, str) else cell)
    write_atomically(folder / EXPORTS[0], safe.to_csv(index=False, lineterminator="\n"))
    write_atomically(folder / EXPORTS[1], "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in joined.to_dict("records")))
    return folder / EXPORTS[0], folder / EXPORTS[1]
