"""How many people the bias study has, who they are, and what a run gathered: plain data, no model."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files
from ...errors import InputError, quoted
from ...people.card_tiers import TIER_LADDER, TIERS, draw_people
from ...people.places import STATES

SHARD, MOST = 25, 600  # people in a file; people at most
GRID_TIERS = ("subjective", "descriptive")
TIME_SHARES = {"elections": 0.4, "opinions": 0.2, "grid": 0.25, "respondents": 0.15}
ANSWERS = {"elections": 3 * len(TIERS) + 2 * 8, "opinions": 9 * len(TIER_LADDER), "grid": 3 * len(GRID_TIERS), "respondents": 12}  # a person (and combination)
BOUNDS = {"elections": (50, MOST), "opinions": (SHARD, 300), "grid": (SHARD, 200), "respondents": (SHARD, 150)}
MINUTES, MINUTES_SET = 22.0, "POLYPERSONA_MINUTES"  # of asking; the rest of the half hour is loading, gates, tables. The second: a variable that says another


@dataclass(frozen=True)
class StudyPlan:
    """How many people each part has. `seconds` is the measured time of an answer in both orders, `minutes` what all of it should take."""

    elections: int
    opinions: int
    grid: int
    respondents: int
    gates: int = 16
    seconds: float = 0.0
    minutes: float = 0.0


SMOKE_PLAN = StudyPlan(elections=25, opinions=25, grid=10, respondents=10, gates=6)


def minutes_of_asking() -> float:
    """How long a run may ask: the environment variable POLYPERSONA_MINUTES, else `MINUTES`. Raises: InputError if it holds no number from 1 to 10,000."""
    said = os.environ.get(MINUTES_SET, "").strip()
    try:
        minutes = float(said or MINUTES)
    except ValueError:
        minutes = 0.0
    if not 1 <= minutes <= 10_000:
        raise InputError(f"{MINUTES_SET}={quoted(said, 20)}: give the minutes that the bias study may ask, a number from 1 to 10,000")
    return minutes


def plan_for(seconds: float, combinations: int, simulators: int, *, writing: float = 0.0, writers: int = 1, minutes: float = MINUTES) -> StudyPlan:
    """The plan that fills `minutes` if an answer takes `seconds`: every part has its share of the time, whole shards of people, and at least its lower bound.

    Args: combinations: of generator and simulator in the grid. simulators: who is asked as real respondents. writing: seconds of one person's cards, by
        each of the `writers`; the grid's people are also written about once more, by the balanced request.
    """
    times = {"elections": 1, "opinions": 1, "grid": max(combinations, 1), "respondents": max(simulators, 1)}
    written = {"elections": writing, "grid": writing * max(writers, 1)}
    person = {part: max(seconds, 1e-6) * ANSWERS[part] * times[part] + written.get(part, 0.0) for part in TIME_SHARES}
    counts = {part: int(np.clip(int(share * minutes * 60 / person[part]) // SHARD * SHARD, *BOUNDS[part])) for part, share in TIME_SHARES.items()}
    counts["opinions"], counts["grid"] = min(counts["opinions"], counts["elections"]), min(counts["grid"], counts["elections"])
    needed = sum(counts[part] * person[part] for part in counts) / 60
    return StudyPlan(**counts, seconds=seconds, minutes=needed)


@cache
def _everybody(seed: int) -> pd.DataFrame:
    states = sorted(set(STATES.values()) - {"District of Columbia"})
    order, rounds = [states[i] for i in np.random.default_rng(seed).permutation(len(states))], -(-MOST // len(states))
    return draw_people(rounds, seed=seed).loc[[f"{state.replace(' ', '-')}-{r:04d}" for r in range(rounds) for state in order]]


def study_people(count: int, *, seed: int) -> pd.DataFrame:
    """The first `count` people of the study: one of every state, then a second of every state and so on, states in a random order (`draw_people`)."""
    return _everybody(seed).iloc[:count]


@dataclass(frozen=True)
class Gathered:
    """All that a run of the study made, enough for every table: `frames` holds gates, prior, answers, respondents, cards (texts), values (attributes and
    probabilities), counts and balanced (narratives by another request, and the votes on them); the first generator and simulator are the main ones."""

    seed: int
    plan: StudyPlan
    generators: tuple[str, ...]
    simulators: tuple[str, ...]
    frames: dict[str, pd.DataFrame]

    def save(self, folder: Path) -> None:
        """Write it into a folder: a Parquet file a frame, and `study.json` last."""
        for name, frame in self.frames.items():
            with files.replacing(folder / f"{name}.parquet") as beside:
                frame.to_parquet(beside, compression="zstd")
        about = {"seed": self.seed, "plan": asdict(self.plan), "generators": self.generators, "simulators": self.simulators}
        files.write_atomically(folder / "study.json", json.dumps(about, indent=1) + "\n")


FRAMES = ("gates", "prior", "answers", "respondents", "cards", "values", "counts", "balanced")


def load_gathered(folder: Path) -> Gathered:
    """What `Gathered.save` wrote."""
    about = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in FRAMES}
    return Gathered(about["seed"], StudyPlan(**about["plan"]), tuple(about["generators"]), tuple(about["simulators"]), frames)


def plan_lines(plan: StudyPlan, generators: Sequence[str], simulators: Sequence[str]) -> list[str]:
    """The plan in words."""
    lines = [f"cards by {', '.join(generators)}; answers by {', '.join(simulators)}"]
    lines.append(f"n: {plan.elections} people in the elections, {plan.opinions} with other items, {plan.grid} in the grid, {plan.respondents} real respondents")
    if plan.seconds:
        lines.append(f"chosen from {plan.seconds:.3f} s an answer in both orders: about {plan.minutes:.0f} minutes of writing and asking on this machine")
    return lines
