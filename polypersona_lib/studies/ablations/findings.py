"""What the ablation study found, computed from its arms or read as published, so that its notebook can be read without 33 trainings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ... import paths
from ...world.questions import DOMAINS
from . import arms
from .arms import REFERENCE, UNTUNED


def full_size_records() -> list[dict]:
    """What `benchmarks/full_size.py` measured on a GPU (last measurement here, else the published one), failed measurements left out; [] if there is none."""
    for folder in ("full_size", "shipped"):
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((paths.ROOT / "results" / folder).glob("*--paper--*.json"))]
        if any("error" not in record for record in found):
            return [record for record in found if "error" not in record]
    return []


@dataclass(frozen=True)
class Findings:
    """What the study found: of its arms (`findings`) or as published (`published`).

    Attributes:
        gains: see `arms.gains`, with `label`; without the arms of a domain left out, and of full fine-tuning the best learning rate alone.
        domains: see `arms.left_out`, with `label`. retained, retained_qlora: see `arms.retained`.
    """

    gains: pd.DataFrame
    domains: pd.DataFrame
    retained: dict[str, float]
    retained_qlora: dict[str, float]


def findings(results: pd.DataFrame) -> Findings:
    """What comes of the arms' results."""
    table, domains = arms.gains(results), arms.left_out(results)
    best = table["setting"].eq(arms.best_full(results)) | table["study"].ne("full")
    table = table[best & table["study"].ne("left out")].reset_index(drop=True)
    table["label"] = [arms.label(study, setting) for study, setting in zip(table["study"], table["setting"], strict=True)]
    domains["label"] = domains["domain"].map(lambda key: DOMAINS[key] if key in DOMAINS else key)
    table, domains = table.drop(columns="setting"), domains.drop(columns="domain")
    return Findings(table, domains, arms.retained(results), arms.retained(results, REFERENCE))


def published(folder: Path) -> Findings:
    """The findings as published in `folder` (`ablations.json` and two tables), rounded as they were written."""
    facts = json.loads((folder / "ablations.json").read_text(encoding="utf-8"))
    table, domains = (pd.read_csv(folder / "tables" / f"ablation_{name}.csv", na_values="—") for name in ("gains", "left_out"))
    study = [REFERENCE if name == REFERENCE else UNTUNED if name.startswith(UNTUNED) else "" for name in table["label"]]
    return Findings(table.drop(columns="why a dash", errors="ignore").assign(study=study), domains, facts["retained"], facts["retained_qlora"])
