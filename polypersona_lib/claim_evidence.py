"""What a verdict rests on: the five verdicts, and `Evidence`, which looks numbers up on both sides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from .cells import DASH, Estimate
from .config import Profile
from .registry import MODELS

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
CONTRADICTED, UNTESTED, NEEDS_DATA = "contradicted by the paper itself", "not tested at this scale", "needs the original data"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONTRADICTED, UNTESTED, NEEDS_DATA)
PAPER_RUN = "./run_all.sh paper"


LARGER = tuple(key for key, spec in MODELS.items() if spec.parameters > 5e9)


def verdict(holds: bool) -> str:
    """reproduced, or not."""
    return REPRODUCED if holds else NOT_REPRODUCED


def names(keys: Iterable[str]) -> str:
    """Models by the paper's names, comma-separated."""
    return ", ".join(MODELS[k].display if k in MODELS else k for k in keys)


class Finding(NamedTuple):
    """The outcome for one claim: what we got (in words or numbers), one of `VERDICTS`, and why."""

    ours: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """Both sides of every claim.

    Attributes:
        claims: `data/paper_claims.csv`. facts: see `claim_facts`. profile: the settings actually run.
        scores: columns system, metric, value, and, if known, lo, hi, domain ("all" or a domain key).
    """

    claims: pd.DataFrame
    facts: dict
    scores: pd.DataFrame
    profile: Profile

    @property
    def foreign(self) -> str:
        """Name of the foreign data the run used, or ""."""
        source = self.facts.get("source", "embedded")
        return "" if source == "embedded" else str(source)

    @property
    def trained_enough(self) -> bool:
        """Whether the profile says anything about quality (the smoke profile does not)."""
        return self.profile.rows is None

    def printed(self, metric: str) -> float:
        """The number the paper prints for the fact `metric` (its first claim)."""
        return float(self.claims.loc[self.claims["metric"] == metric, "value"].iloc[0])

    def table(self, metric: str, place: str = "Table II") -> dict:
        """The paper's scores: model -> value (Table II), or (domain, model) -> value (Table III)."""
        rows = self.claims[(self.claims["place"] == place) & (self.claims["test"] == "score") & (self.claims["metric"] == metric)]
        keys = rows["subject"] if place == "Table II" else zip(rows["domain"], rows["subject"], strict=True)
        return dict(zip(keys, rows["value"].astype(float), strict=True))

    def ours(self, system: str, metric: str, domain: str = DASH) -> Estimate | None:
        """Our score, or None."""
        if self.scores is None or not len(self.scores):
            return None
        domains = self.scores["domain"] if "domain" in self.scores else pd.Series("all", index=self.scores.index)
        found = self.scores[(self.scores["system"] == system) & (self.scores["metric"] == metric) & (domains == ("all" if domain == DASH else domain))]
        if not len(found) or not math.isfinite(found["value"].iloc[0]):
            return None
        return Estimate(*(float(found[c].iloc[0]) if c in found else math.nan for c in ("value", "lo", "hi")))

    def field(self, metric: str, domain: str = DASH, models: Iterable[str] = tuple(MODELS)) -> tuple[dict[str, Estimate], Finding | None]:
        """Our scores of all `models`, or the finding that says which are missing and what would test the claim."""
        if not self.trained_enough:
            why = f"the {self.profile.name} profile proves that everything runs, nothing about quality; ./run_all.sh nano would test this"
            return {}, Finding("not measured", UNTESTED, why)
        found = {key: self.ours(key, metric, domain) for key in models}
        lacking = [key for key, score in found.items() if score is None]
        return {k: s for k, s in found.items() if s}, self._lack(lacking, metric if domain == DASH else f"{metric} in {domain}") if lacking else None

    def _lack(self, lacking: list[str], metric: str) -> Finding:
        command = f"./run_all.sh {self.profile.name}{' on the embedded data' if self.foreign else ''}"
        why = f"needs {metric} of {names(lacking)}, which this run does not have; {command} with all seven models would test it"
        return Finding("not measured", UNTESTED, why)

    def scale_note(self) -> str:
        """What kind of models an order was found on."""
        kind = "nano twins, all of one size" if self.profile.scale == "nano" else "hub models"
        return f"{kind}{f' on {self.foreign}' if self.foreign else ''}"


RULES: dict[str, Callable[[pd.Series, Evidence], Finding]] = {}


def rule(name: str):
    """Register a verdict rule under the name used in the ledger's `test` column."""

    def register(function):
        RULES[name] = function
        return function

    return register
