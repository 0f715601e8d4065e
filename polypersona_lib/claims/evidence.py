"""What a verdict rests on: the five verdicts, the bases they can have, and `Evidence`, which looks numbers up on both sides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import resampling
from ..cells import DASH, Estimate
from ..config import Profile
from ..registry import MODELS
from ..world.questions import DOMAINS

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
CONTRADICTED, UNTESTED, NEEDS_DATA = "contradicted by the paper itself", "not tested at this scale", "needs the original data"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONTRADICTED, UNTESTED, NEEDS_DATA)
BUILT, MEASURED, SOURCE, TEXT, NOTHING = "by construction", "measured", "published source", "the paper's own text", "nothing yet"
BASES = (BUILT, MEASURED, SOURCE, TEXT, NOTHING)
"""What a verdict rests on. By construction: we built the data, chose the setting or wrote the step so that it holds, so "reproduced" is no finding."""
PAPER_RUN = "./run_all.sh paper"
DRAWS, SURE = 2000, 0.975
"""An order is decided if it holds in at least this share of the resamples of the test rows, or fails in as many."""

LARGER = tuple(key for key, spec in MODELS.items() if spec.parameters > 5e9)


def verdict(holds: bool) -> str:
    """reproduced, or not."""
    return REPRODUCED if holds else NOT_REPRODUCED


def names(keys: Iterable[str]) -> str:
    """Models by the paper's names, comma-separated."""
    return ", ".join(MODELS[k].display if k in MODELS else k for k in keys)


class Finding(NamedTuple):
    """The outcome for one claim: what we got (in words or numbers), one of `VERDICTS`, why, and one of `BASES`."""

    ours: str
    verdict: str
    reason: str
    basis: str = NOTHING


@dataclass(frozen=True)
class Evidence:
    """Both sides of every claim.

    Attributes:
        claims: `data/paper_claims.csv`. facts: see `claim_facts`. profile: the settings actually run.
        scores: columns system, metric, value, and, if known, lo, hi, domain ("all" or a domain key).
        rows: `scores/rows.parquet`, or None: then orders are judged by the means alone.
    """

    claims: pd.DataFrame
    facts: dict
    scores: pd.DataFrame
    profile: Profile
    rows: pd.DataFrame | None = None

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

    def resampled(self, metrics: Iterable[str], domain: str = DASH) -> np.ndarray | None:
        """Means of all seven models over resamples of the test rows (of a domain), the same rows drawn for every model and metric.

        Returns: shape (DRAWS, models, metrics), models in the registry's order; None without row scores of them all.
        """
        metrics = list(metrics)
        if self.rows is None or not {*metrics, "system", "id", "status", "domain"} <= set(self.rows):
            return None
        part = self.rows[self.rows["system"].isin(MODELS) & (self.rows["status"] == "ok") & ((domain == DASH) | (self.rows["domain"] == domain))]
        wide = part.pivot(index="id", columns="system", values=metrics)
        wanted = pd.MultiIndex.from_tuples([(m, key) for key in MODELS for m in metrics])
        if not len(part) or not set(wanted) <= set(wide.columns):
            return None
        values = wide[wanted].to_numpy(dtype=float)
        known = np.isfinite(values)
        seed = resampling.SEED + (list(DOMAINS).index(domain) + 1 if domain in DOMAINS else 0)
        sums = resampling.resampled_sums(np.hstack([np.where(known, values, 0.0), known]), n_boot=DRAWS, seed=seed)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums[:, : values.shape[1]] / sums[:, values.shape[1] :]
        return means.reshape(DRAWS, len(MODELS), len(metrics))

    def decide(self, ours: str, holds: bool, held: np.ndarray | None, reason: str) -> Finding:
        """The finding for an order: decided if it holds, or fails, in nearly all resamples; else the run cannot tell.

        Args: holds: whether it holds for the means. held: whether it holds in each resample, shape (DRAWS,), or None (then the means decide).
        """
        if held is None:
            return Finding(ours, verdict(holds), reason, MEASURED)
        share = float(np.mean(held))
        reason = f"holds in {100 * share:.1f} % of {DRAWS:,} resamples of the test rows. {reason}"
        if 1 - SURE < share < SURE:
            return self.undecided(ours, reason)
        return Finding(ours, verdict(share >= SURE), reason, MEASURED)

    def undecided(self, ours: str, reason: str) -> Finding:
        """The finding for what was measured and could be so or not, with the run that would tell."""
        more = f"{PAPER_RUN} tests it on the hub models" if self.profile.scale == "nano" else f"other seeds would tell more ({PAPER_RUN} --seed 1, ...)"
        return Finding(ours, UNTESTED, f"too close to call: {reason}; {more}", MEASURED)

    def _lack(self, lacking: list[str], metric: str) -> Finding:
        command = f"./run_all.sh {self.profile.name}{' on the embedded data' if self.foreign else ''}"
        why = f"needs {metric} of {names(lacking)}, which this run does not have; {command} with all seven models would test it"
        return Finding("not measured", UNTESTED, why)

    def scale_note(self) -> str:
        """What kind of models something was found on, and what it can show."""
        twins = "Found on nano twins (one size, bases of ours): it tells architectures apart and what that size can learn, not the hub models"
        kind = twins if self.profile.scale == "nano" else "Found on the hub models"
        return f"{kind}{f' on {self.foreign}' if self.foreign else ''}"
