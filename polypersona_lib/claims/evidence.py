"""The eight verdicts, what they can rest on, and `Evidence`, which looks numbers up on both sides."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import resampling
from ..cells import DASH, Estimate
from ..config import Profile
from ..registry import MODELS, is_model
from ..systems import model_name
from ..world.questions import DOMAINS

REPRODUCED, NOT_REPRODUCED, TRIVIAL, CLOSE = "reproduced", "not reproduced", "trivial: a baseline does it too", "too close to call"
CONTRADICTED, BUILT_TO_MATCH = "contradicted by the paper itself", "built to match"
UNTESTED, NEEDS_DATA = "not tested at this scale", "needs the original data"
VERDICTS = {
    REPRODUCED: "this run could have shown otherwise, and no baseline does it; or a published source says the same",
    NOT_REPRODUCED: "this run shows otherwise",
    TRIVIAL: "it holds here, and for an answerer that ignores the persona too",
    CLOSE: "measured, and both outcomes are possible",
    CONTRADICTED: "two printed statements do not go together; where that takes a limit of ours, the claim names it",
    BUILT_TO_MATCH: "our data or code follow the paper here, so this is no finding",
    UNTESTED: "another run could decide it; among them every absolute score",
    NEEDS_DATA: "only the authors' data or definitions could decide it",
}
"""Every verdict with what it means, in the order of tables."""
BUILT, MEASURED, SOURCE, TEXT, NOTHING = "by construction", "measured", "published source", "the paper's own text", "nothing yet"
BASES = (BUILT, MEASURED, SOURCE, TEXT, NOTHING)
"""What a verdict rests on. By construction: we built the data, chose the setting or wrote the step so that it holds."""
PAPER_RUN = "./run_all.sh paper"
DRAWS, SURE = 2000, 0.975
"""An order is decided if it holds in at least this share of the resamples of the test's people, or fails in as many."""

LARGER = tuple(key for key, spec in MODELS.items() if spec.parameters > 5e9)


def verdict(holds: bool, basis: str = MEASURED) -> str:
    """reproduced, or not; what holds by construction is built to match."""
    return NOT_REPRODUCED if not holds else BUILT_TO_MATCH if basis == BUILT else REPRODUCED


def paper_names(keys: Iterable[str]) -> str:
    """The paper's models by its own names, comma-separated."""
    return ", ".join(MODELS[k].display if k in MODELS else k for k in keys)


class Finding(NamedTuple):
    """The outcome for one claim: what we got (in words or numbers), one of `VERDICTS`, why, and one of `BASES`."""

    ours: str
    verdict: str
    reason: str
    basis: str = NOTHING


class Untestable(Exception):
    """Raised where a rule needs what the run does not have; `finding` says what is missing and which run would test the claim."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.finding = Finding("not measured", UNTESTED, reason)


@dataclass(frozen=True)
class Evidence:
    """Both sides of every claim.

    Attributes:
        claims: `data/paper_claims.csv`. facts: see `facts`. profile: the settings actually run.
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

    def names(self, keys: Iterable[str]) -> str:
        """The models of this run with their scale, comma-separated."""
        return ", ".join(model_name(key, self.profile.scale) for key in keys)

    @property
    def trained_enough(self) -> bool:
        """Whether the profile says anything about quality (the smoke profile does not)."""
        return self.profile.rows is None

    @property
    def speakers(self) -> tuple[str, ...]:
        """The tuned models that a claim about "the models" is judged by: the seven, or, at small scale, the real models that this run has scored."""
        if self.profile.scale != "small" or self.scores is None or "system" not in self.scores:
            return tuple(MODELS)
        return tuple(key for key in dict.fromkeys(self.scores["system"]) if is_model(key) and key not in MODELS)

    def printed(self, metric: str) -> float:
        """The number the paper prints for the fact `metric` (its first claim)."""
        return float(self.claims.loc[self.claims["metric"] == metric, "value"].iloc[0])

    def table(self, metric: str, place: str = "Table II") -> dict:
        """The paper's scores: model -> value (Table II), or (domain, model) -> value (Table III)."""
        rows = self.claims[(self.claims["place"] == place) & (self.claims["test"] == "score") & (self.claims["metric"] == metric)]
        keys = rows["subject"] if place == "Table II" else zip(rows["domain"], rows["subject"], strict=True)
        return dict(zip(keys, rows["value"].astype(float), strict=True))

    @cached_property
    def estimates(self) -> dict[tuple[str, str, str], Estimate]:
        """(system, metric, domain) -> our score, NaN where there is none. A frame is slow to search, and the ledger asks a thousand times."""
        if self.scores is None or not len(self.scores):
            return {}
        scores = self.scores if "domain" in self.scores else self.scores.assign(domain="all")
        first = scores.reindex(columns=["system", "metric", "domain", "value", "lo", "hi"]).drop_duplicates(["system", "metric", "domain"])
        return {tuple(row[:3]): Estimate(*map(float, row[3:])) for row in first.itertuples(index=False)}

    def ours(self, system: str, metric: str, domain: str = DASH) -> Estimate | None:
        """Our score, or None."""
        score = self.estimates.get((system, metric, "all" if domain == DASH else domain))
        return score if score and math.isfinite(score.value) else None

    def known(self, metric: str, domain: str = DASH, models: Iterable[str] = tuple(MODELS)) -> dict[str, Estimate]:
        """Our scores of those `models` that have one; none if the profile trains too little to say anything about quality."""
        scores = {key: self.ours(key, metric, domain) for key in models} if self.trained_enough else {}
        return {key: score for key, score in scores.items() if score}

    def field(self, metric: str, domain: str = DASH, models: Iterable[str] = tuple(MODELS)) -> dict[str, Estimate]:
        """Our scores of all `models`. Raises: Untestable naming the models without a score, or the profile that trains too little."""
        if not self.trained_enough:
            raise Untestable(f"the {self.profile.name} profile proves that everything runs, nothing about quality; ./run_all.sh nano would test this")
        scores = self.known(metric, domain, models)
        lacking = [key for key in models if key not in scores]
        if lacking:
            what = metric if domain == DASH else f"{metric} in {domain}"
            profile = "nano" if self.profile.scale == "small" else self.profile.name
            command = f"./run_all.sh {profile}{' on the embedded data' if self.foreign else ''}"
            raise Untestable(f"needs {what} of {self.names(lacking)}, which this run does not have; {command} with all seven models would test it")
        return scores

    def resampled(self, metrics: Iterable[str], domain: str = DASH) -> np.ndarray | None:
        """Means of all seven models over the same resamples of the people of the test (of a domain), shape (DRAWS, models, metrics); None without all rows."""
        asked = (*metrics,), domain
        if asked not in self._draws:
            self._draws[asked] = self._drawn(*asked)
        return self._draws[asked]

    @cached_property
    def _draws(self) -> dict[tuple, np.ndarray | None]:
        """What `resampled` has drawn so far."""
        return {}

    def _drawn(self, metrics: tuple[str, ...], domain: str) -> np.ndarray | None:
        """See `resampled`."""
        if self.rows is None or not {*metrics, "system", "id", "persona_id", "status", "domain"} <= set(self.rows):
            return None
        part = self.rows[self.rows["system"].isin(MODELS) & (self.rows["status"] == "ok") & ((domain == DASH) | (self.rows["domain"] == domain))]
        wide = part.pivot(index=["persona_id", "id"], columns="system", values=list(metrics))
        wanted = pd.MultiIndex.from_tuples([(m, key) for key in MODELS for m in metrics])
        if not len(part) or not set(wanted) <= set(wide.columns):
            return None
        values = wide[wanted].to_numpy(dtype=float)
        known = np.isfinite(values)
        seed = resampling.SEED + (list(DOMAINS).index(domain) + 1 if domain in DOMAINS else 0)
        person = np.unique(wide.index.get_level_values("persona_id").astype(str), return_inverse=True)[1]
        by_person = np.stack([np.bincount(person, weights=column) for column in np.hstack([np.where(known, values, 0.0), known]).T], axis=1)
        sums = resampling.resampled_sums(by_person, n_boot=DRAWS, seed=seed)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums[:, : values.shape[1]] / sums[:, values.shape[1] :]
        return means.reshape(DRAWS, len(MODELS), len(metrics))

    def decide(self, ours: str, holds: bool, held: np.ndarray | None, reason: str) -> Finding:
        """An order: `holds` for the means; decided if it holds or fails in nearly all resamples (`held`, shape (DRAWS,); None: the means decide)."""
        if held is None:
            return Finding(ours, verdict(holds), reason, MEASURED)
        share = float(np.mean(held))
        reason = f"holds in {100 * share:.1f} % of {DRAWS:,} resamples of the test's people. {reason}"
        if 1 - SURE < share < SURE:
            return self.undecided(ours, reason)
        return Finding(ours, verdict(share >= SURE), reason, MEASURED)

    def undecided(self, ours: str, reason: str) -> Finding:
        """The finding for what was measured and could be so or not, with the run that would tell."""
        more = f"{PAPER_RUN} tests it on the hub models" if self.profile.scale != "paper" else f"other seeds would tell more ({PAPER_RUN} --seed 1, ...)"
        return Finding(ours, CLOSE, f"{reason}; {more}", MEASURED)

    def as_if(self, system: str) -> "Evidence":
        """The evidence of a run in which every model had the answers, and so the scores, of one other `system`."""

        def stand_in(frame: pd.DataFrame | None) -> pd.DataFrame | None:
            if frame is None or "system" not in frame:
                return frame
            others, alike = frame[~frame["system"].isin(self.speakers)], frame[frame["system"] == system]
            return pd.concat([others, *(alike.assign(system=key) for key in self.speakers)], ignore_index=True)

        return replace(self, scores=stand_in(self.scores), rows=stand_in(self.rows))

    def scale_note(self) -> str:
        """What kind of models something was found on, and what it can show."""
        twins = "Found on nano twins (one size, bases of ours): it tells architectures apart and what that size can learn, not the hub models"
        real = f"Found on {self.names(self.speakers)}, a real pretrained model, at small scale: other data and another model than the paper's"
        kind = {"nano": twins, "small": real}.get(self.profile.scale, "Found on the hub models")
        return f"{kind}{f' on {self.foreign}' if self.foreign else ''}"


Rule = Callable[[pd.Series, Evidence], Finding]
"""Judges one claim. The first line of its docstring is the ledger's column `how`."""


def by_name(*rules: Rule) -> dict[str, Rule]:
    """The rules by the name that the ledger's column `test` gives them."""
    return {rule.__name__: rule for rule in rules}
