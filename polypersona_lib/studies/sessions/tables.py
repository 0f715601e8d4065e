"""The tables of the sessions study: computed from the answers, written with the run, or read as published."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files, locate
from ...config import RunConfig
from ...paths import RunPaths
from ...registry import MODELS
from ...systems import model_of
from . import card_worth, consistency, response_styles
from .answers import ask_all


@dataclass(frozen=True)
class Study:
    """`tables`: see `measured_tables`. `paths`: where the tables and figures for readers go; a temporary folder if the tables were only read."""

    tables: dict[str, pd.DataFrame]
    paths: RunPaths


def sessions_study(run: RunConfig, sheet: pd.DataFrame, train: pd.DataFrame) -> Study:
    """The sessions study: the runner asks every model (`sheet`: the questionnaire, `train`: examples) and writes tables; opened by hand, they are read."""
    if not locate.headless():
        folder = Path(tempfile.mkdtemp(prefix="polypersona-sessions-"))
        return Study(read_tables(run), RunPaths(folder, folder))
    tables = measured_tables(ask_all(run, sheet, train), sheet, seed=run.seed)
    write_tables(run, tables)
    return Study(tables, run.paths)


def measured_tables(frames: consistency.Frames, sheet: pd.DataFrame, *, seed: int) -> dict[str, pd.DataFrame]:
    """Every long table of the study, from stored answers: agreement, icc, style, temperature, question_type and domain (drift), card, side, few_shot."""
    people = consistency.respondents(sheet, seed=seed)
    return {
        "agreement": consistency.agreements(frames, people, seed=seed),
        "icc": consistency.variances(frames, people, seed=seed),
        "style": response_styles.styles(frames, people, seed=seed),
        "temperature": consistency.temperatures(frames, seed=seed),
        "question_type": consistency.drift(frames, "question_type", seed=seed),
        "domain": consistency.drift(frames, "domain", seed=seed),
        "card": card_worth.worth(frames, card_worth.perfect_readers(sheet), seed=seed),
        "side": card_worth.card_sides(frames, seed=seed),
        "few_shot": card_worth.few_shot(frames, seed=seed),
    }


def write_tables(run: RunConfig, tables: dict[str, pd.DataFrame]) -> None:
    """Write what `measured_tables` returned: `scores/consistency.csv`, `scores/conditions.csv` and `consistency.json`; `read_tables` reads it."""
    folder = run.paths.folder("scores")
    long = [tables["agreement"].assign(measure="agreement"), tables["icc"].rename(columns={"over": "condition"}).assign(measure="icc", metric="icc")]
    long += [tables["style"].assign(measure="style"), tables["temperature"].rename(columns={"temperature": "condition"}).assign(measure="temperature")]
    long += [tables[by].assign(measure="drift") for by in ("question_type", "domain")]
    columns = ["measure", "system", "question_type", "domain", "condition", "metric", "value", "lo", "hi", "n", "between", "within"]
    pd.concat(long)[columns].round(6).to_csv(folder / "consistency.csv", index=False)
    shots = tables["few_shot"].rename(columns={"step": "condition"})
    pd.concat([tables["card"], tables["side"], shots]).round(6).to_csv(folder / "conditions.csv", index=False)
    style = tables["style"].assign(measure=lambda t: t["metric"].where(t["metric"] != "carry_over", t["condition"]))
    keys = {"agreement": ("system", "condition", "metric"), "icc": ("system", "over"), "styles": ("system", "measure")}
    keys |= {"temperature": ("system", "temperature", "metric"), "cards": ("system", "condition", "metric"), "sides": ("system",)}
    keys["few_shot"] = ("system", "step", "metric")
    by_name = tables | {"styles": style, "cards": tables["card"], "sides": tables["side"]}
    summary = {name: nested(by_name[name], *by) for name, by in keys.items()}
    files.write_atomically(run.paths.results / "consistency.json", json.dumps(summary, indent=1) + "\n")


def read_tables(run: RunConfig) -> dict[str, pd.DataFrame]:
    """The tables of `measured_tables` from the last sessions run here, else in the published one (said in one line); six decimals, the models of `run` alone.

    Raises: FileNotFoundError with the command to run, for a seed or split without published results.
    """
    run = replace(run, profile="sessions")
    first, cards = (pd.read_csv(locate.find(run, f"scores/{name}.csv")) for name in ("consistency", "conditions"))
    cards["condition"] = cards["condition"].fillna("")  # baselines and upper bounds have none
    by_measure = {name: part.dropna(axis=1, how="all").drop(columns="measure") for name, part in first.groupby("measure", sort=False)}
    drift, step = by_measure.pop("drift"), cards["condition"].isin(["examples", "tuning"])
    tables = by_measure | {by: drift[drift[by].notna()].dropna(axis=1, how="all") for by in ("question_type", "domain")}
    tables["icc"] = tables["icc"].rename(columns={"condition": "over"})
    tables["temperature"] = tables["temperature"].rename(columns={"condition": "temperature"}).astype({"temperature": float})
    tables |= {"card": cards[~step & (cards["metric"] != "side")], "side": cards[cards["metric"] == "side"]}
    tables["few_shot"] = cards[step].rename(columns={"condition": "step"})
    left_out = set(MODELS) - set(run.model_keys)
    asked = {name: table[~table["system"].map(model_of).isin(left_out)] if "system" in table else table for name, table in tables.items()}
    return {name: table.reset_index(drop=True) for name, table in asked.items()}


def nested(table: pd.DataFrame, *keys: str) -> dict:
    """A long table as nested dictionaries: one level a key, at the end [value, lo, hi] with four decimals (None: no number)."""
    summary: dict = {}
    for row in table.to_dict("records"):
        place = summary
        for key in keys[:-1]:
            place = place.setdefault(str(row[key]), {})
        place[str(row[keys[-1]])] = [round(float(row[k]), 4) if np.isfinite(row[k]) else None for k in ("value", "lo", "hi")]
    return summary
