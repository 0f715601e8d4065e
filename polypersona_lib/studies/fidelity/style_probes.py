"""Whose card does the wording tell? A probe that learnt from other people how words go with cards, and picks among k cards.

No candidate, right or wrong, is among the people that the probe learnt from. If only the right ones were unknown to it, it would lean towards the sentences of
its textbook: the persona-blind copy was then recognised in .156 of the cases instead of one in five, and the same respondent in .313 instead of .404.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ...scoring.fidelity_measures import PICKS, TRUTH, measure_line
from . import attribute_probes as probes
from . import option_scores as sheet
from . import text_scores as text
from .candidates import Candidates

LEAST_TEXTS = 50


def fit(known: pd.DataFrame) -> text.TextProbe | None:
    """The probe, trained on `known` (persona, reference); None if they are too few."""
    enough = len(known) >= LEAST_TEXTS and probes.card_labels(known["persona"].tolist(), fewest=probes.FEWEST).shape[1]
    return text.TextProbe(known["reference"].tolist(), known["persona"].tolist()) if enough else None


def fit_by_domain(pool: pd.DataFrame) -> dict[str, text.TextProbe]:
    """Domain -> the probe trained on everybody who has no answer in it: whoever answered its questions is new to it. Without domains with too few others."""
    found = {}
    for domain, part in pool.groupby("domain", sort=True):
        probe = fit(pool[~pool["persona_id"].isin(set(part["persona_id"]))])
        found |= {domain: probe} if probe else {}
    return found


def _picked(metric: str, system: str, found: Candidates, people: int, seed: int) -> list[dict]:
    """The lines of one system: how often the own card is picked among 2, 5 and 10."""
    lines = []
    for k in PICKS:
        if n := found.rows(k):
            value, draws = sheet.measured(found.pick(k), people, seed=seed)
            lines.append(measure_line(metric, f"k={k}", system, sheet.interval(value, draws, centred=True), n, 1 / k, draws=draws))
    return lines


def picks_by_answer(preds: pd.DataFrame, pool: pd.DataFrame, by_domain: Mapping[str, text.TextProbe], seed: int) -> list[dict]:
    """Whose card does a single test answer tell, among k people who answered the same question? `pool`: everybody's answers."""
    said, parts = preds[preds["domain"].isin(by_domain) & (preds["status"] != "failed")], {}
    for domain, rows in said.groupby("domain", sort=True):
        cards, own, allowed = text.candidate_table(rows, pool)
        near = by_domain[domain].likeness(_apart(by_domain[domain].read(rows["prediction"]), rows["system"]), cards)
        for system, mine in rows.groupby("system", sort=False).indices.items():
            parts.setdefault(system, []).append(Candidates.of(near[mine], own[mine], allowed[mine]))
    people = pool["persona_id"].nunique()
    return [found for s in said["system"].unique() for found in _picked("pick_card_answer", s, Candidates.together(parts[s]), people, seed)]


def _apart(read: np.ndarray, groups: Iterable) -> np.ndarray:
    """What was read less the mean of the group: only differences between its speakers count."""
    table = pd.DataFrame(read)
    return (table - table.groupby(np.asarray(groups)).transform("mean")).to_numpy()


def picks_by_questionnaire(sheets: Mapping[str, pd.DataFrame], asked: pd.DataFrame, probe: text.TextProbe, seed: int) -> list[dict]:
    """Whose card does the wording of a whole questionnaire tell, among k people? `asked`: the questionnaire with the respondents' own words."""
    people = asked.drop_duplicates("persona_id").sort_values("persona_id")
    said = {s: f.set_index("id")["answer"].reindex(asked["id"]).fillna("") for s, f in sheets.items() if f["answer"].str.strip().any()}
    said[TRUTH] = asked["reference"]
    lines = []
    for system, answers in said.items():
        read = pd.DataFrame(probe.read(answers)).groupby(asked["persona_id"].to_numpy()).mean().to_numpy()
        lines += _picked("pick_card_words", system, Candidates.of(probe.likeness(read - read.mean(0), people["persona"].tolist())), len(people), seed)
    return lines


def facts(pool: pd.DataFrame) -> str:
    """What the probes of `fit_by_domain` are trained on and asked, in one sentence."""
    inside = pool.groupby("domain")["persona_id"].agg(set)
    known = [int((~pool["persona_id"].isin(people)).sum()) for people in inside]
    asked = pool.groupby("question_id")["persona_id"].nunique()
    return (f"{len(inside)} probes, one a domain, each trained on the {min(known):,} to {max(known):,} reference answers of people who answered nothing in "
            f"that domain; candidates: the {asked.min()} to {asked.max()} people who answered the question")  # fmt: skip
