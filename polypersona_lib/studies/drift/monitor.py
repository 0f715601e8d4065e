"""Then and now: paired differences of all probes, the e-process over them, and what moved by how much.

An anytime-valid test of "nothing has changed": bets on the differences of paired probes, one after the other. The alarm rings at a wealth of 20.

The null: given the probes before, the mean difference of a probe's answers then and now is zero, within a declared tolerance where probabilities are exact.
Under the null the wealth is a supermartingale that starts at 1, so it ever reaches 20 in at most 5 % of all streams, whenever one looks and stops.
Three bets share the stake. Two are on the answer's place on its scale, one for each direction; one is on the distance of both distributions, which also sees
changes that cancel out. If no probe's distance exceeds the tolerance, no bet ever gains: then an alarm is not rare, it is impossible.
Source: Waudby-Smith and Ramdas 2023 (Estimating means of bounded random variables by betting); Ville 1939 for the 5 %.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...errors import InputError
from .baseline import Baseline, differences_in_words
from .probe_set import ITEMS, NOBODY, positions

TOLERANCES = {  # how probabilities came about -> the largest mean change that counts as none
    "exact": 1e-3,  # batches and threads move a probability by less than 1e-5 in float32
    "logprobs": 1e-2,  # servers round, and sample the branches they show
    "samples": 0.0,  # counts of answers: the test itself knows their luck
}
ALARM = 20.0
STAKE = 0.5  # share of the wealth, the most that a probe can lose
_PRIOR = 0.25  # standard deviation that the first bet expects
MOST_MISSING = 0.5  # share of the probes without an answer on one side, above which nothing is compared
MOST_LOST = 0.1  # share of the probes answered then and not now, above which "no drift" would say too much


@dataclass(frozen=True)
class Comparison:
    """What a run of the monitor found.

    Args: e: the e-process after each compared probe. alarm: after how many of them it rang, None if never. moved: what changed by how much, a row each (part,
        name, then, now, change, distance). missing: probes without an answer then or now. tolerance: that was used. fingerprint: differences in words.
    """

    e: np.ndarray
    alarm: int | None
    moved: pd.DataFrame
    missing: int
    tolerance: float
    fingerprint: list[str]

    @property
    def status(self) -> int:
        """0 the same, 1 drift."""
        return int(self.alarm is not None)


def compare(then: Baseline, now: Baseline) -> Comparison:
    """Compare the answers of two baselines, probe by probe. Raises InputError, one line, if they cannot be compared."""
    old, new = then.answers, now.answers
    both = old["probs"].notna().to_numpy() & new["probs"].notna().to_numpy()
    lost = old["probs"].notna().to_numpy() & ~both
    if both.mean() < 1 - MOST_MISSING or lost.mean() > MOST_LOST:
        reason = next((r for r in [*new["reason"], *old["reason"]] if r), "no reason given")
        raise InputError(f"{(~both).sum()} of {len(both)} probes have no answer then or now ({reason}): too few to compare")
    hows = {name: sorted(set(table.loc[both, "how"])) for name, table in (("then", old), ("now", new))}
    if hows["then"] != hows["now"] or len(hows["now"]) != 1 or hows["now"][0] not in TOLERANCES:
        raise InputError(f"probabilities came from {', '.join(hows['then'])} then and from {', '.join(hows['now'])} now: they cannot be compared; use --update")
    tolerance, sampled = TOLERANCES[hows["now"][0]], hows["now"] == ["samples"]
    old, new = old[both].reset_index(drop=True), new[both].reset_index(drop=True)
    pairs = list(zip(old["probs"], new["probs"], old["samples"], new["samples"], strict=True))
    distances = np.array([sampled_distance(*pair) if sampled else exact_distance(*pair[:2]) for pair in pairs])
    moves = positions(new["probs"]) - positions(old["probs"])
    path = e_values(moves, distances, tolerance=tolerance)
    if not np.isfinite(path).all():
        raise InputError("some probabilities are no numbers: they cannot be compared; use --update")
    words = differences_in_words(then.fingerprint, now.fingerprint)
    return Comparison(path, alarm_at(path), what_moved(old, new, distances), int((~both).sum()), tolerance, words)


def what_moved(old: pd.DataFrame, new: pd.DataFrame, distances: np.ndarray) -> pd.DataFrame:
    """Before and after of each item and card (mean place on the scale, distance), of the lean, the order effect, the prior and the share of named options.

    Columns: part, name, then, now, change, distance (NaN where there is none); largest changes of each part first.
    """
    place_old, place_new = positions(old["probs"]), positions(new["probs"])
    somebody = (old["card"] != NOBODY).to_numpy()
    rows = []
    for part, inside in (("item", somebody), ("card", somebody), ("without a card", ~somebody)):
        names = old["card" if part == "card" else "item"]
        for name in dict.fromkeys(names[inside]):
            here = inside & (names == name).to_numpy()
            rows.append((part, name, place_old[here].mean(), place_new[here].mean(), distances[here].mean()))
    for name, of in (("lean", _lean), ("order effect", _order_effect), ("options named", lambda table: float(table["mass"].mean()))):
        rows.append(("all", name, of(old[somebody]), of(new[somebody]), distances.mean() if name == "lean" else np.nan))
    table = pd.DataFrame(rows, columns=["part", "name", "then", "now", "distance"])
    table["change"] = table["now"] - table["then"]
    order = np.lexsort((-table["change"].abs(), pd.Categorical(table["part"], ["all", "item", "card", "without a card"]).codes))
    return table.iloc[order][["part", "name", "then", "now", "change", "distance"]].reset_index(drop=True)


def _lean(answers: pd.DataFrame) -> float:
    """Mean probability of the liberal options minus the conservative ones, over the items that lean, -1 to 1."""
    values = [np.dot(p, ITEMS[item][3]) for p, item in zip(answers["probs"], answers["item"], strict=True) if any(ITEMS[item][3])]
    return float(np.mean(values)) if values else np.nan


def _order_effect(answers: pd.DataFrame) -> float:
    """Mean |change of place| of an answer when the options are turned round, 0 to 1; questions with both orders alone."""
    place = pd.DataFrame({"card": answers["card"], "item": answers["item"], "order": answers["order"], "place": positions(answers["probs"])})
    wide = place.pivot(index=["card", "item"], columns="order", values="place").dropna()
    return float((wide[0] - wide[1]).abs().mean()) if wide.shape[1] == 2 else np.nan


def report_lines(found: Comparison, *, most: int = 6) -> list[str]:
    """The report in plain lines: verdict, fingerprint, what moved most."""
    probes = len(found.e)
    verdict = (
        f"DRIFT: the alarm rang after {found.alarm} of {probes} probes (e = {found.e.max():.3g}, alarm at 20)"
        if found.alarm
        else f"no drift: e never exceeded {max(found.e.max(), 1):.3g} over {probes} probes (alarm at 20)"
    )
    null = f"null: the mean change is zero, within {found.tolerance:g}" if found.tolerance else "null: the mean change is zero; answers are counted samples"
    lines = [verdict, null] + ([f"{found.missing} probes have no answer then or now and were left out"] if found.missing else [])
    lines += ["fingerprint: nothing differs"] if not found.fingerprint else [f"fingerprint: {line}" for line in found.fingerprint]
    for part in dict.fromkeys(found.moved["part"]):
        for row in found.moved[found.moved["part"] == part].head(most).itertuples():
            apart = "" if np.isnan(row.distance) else f", distance {row.distance:.4f}"
            lines.append(f"{row.part:14} {row.name:14} {row.then:.4f} -> {row.now:.4f} ({row.change:+.4f}{apart})")
    return lines


# --- the test ----------------------------------------------------------------------------------------------------------------------------


def wealth(differences: np.ndarray, *, null: float, low: float = -1.0) -> np.ndarray:
    """The wealth after each probe of one who bets that the mean lies above `null`, shape (..., probes); it starts at 1 and never becomes negative.

    Args: differences: in [low, 1], shape (..., probes). null: the largest mean under the null, above `low`. Each bet uses the differences before it alone.
    """
    differences = np.asarray(differences, dtype=float)
    shape, most = differences.shape[:-1], STAKE / (null - low)
    now, total, square = np.ones(shape), np.zeros(shape), np.zeros(shape)
    path = np.empty_like(differences)
    for t in range(differences.shape[-1]):
        edge = total / (t + 1)  # over the null, drawn towards it by one probe without a difference
        spread = (_PRIOR**2 + square) / (t + 1) - edge**2
        bet = np.clip(edge / np.maximum(spread + edge**2, 1e-12), 0, most)
        gain = differences[..., t] - null
        now = now * (1 + bet * gain)
        total, square, path[..., t] = total + gain, square + gain**2, now
    return path


def e_values(moves: np.ndarray, distances: np.ndarray, *, tolerance: float) -> np.ndarray:
    """The e-process after each probe, shape (..., probes): half of the stake on the distances, a quarter on each direction of the moves.

    Args: moves: new minus old place of the answer, in [-1, 1]. distances: of both distributions, in [-1, 1]; of exact probabilities in [0, 1], of sampled
        answers an estimate whose mean is 0 if nothing changed (`sampled_distance`). tolerance: 0 for sampled answers, else the largest mean that counts as
        no change.
    """
    low = 0.0 if tolerance > 0 else -1.0
    up, down = (wealth(sign * np.asarray(moves), null=tolerance) for sign in (1, -1))
    return wealth(distances, null=tolerance, low=low) / 2 + (up + down) / 4


def alarm_at(path: np.ndarray) -> int | None:
    """After how many probes the alarm rang; None if it never did."""
    rung = np.flatnonzero(np.asarray(path) >= ALARM)
    return int(rung[0]) + 1 if len(rung) else None


def exact_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Total variation distance of two distributions, 0 to 1."""
    return float(np.abs(np.asarray(old) - np.asarray(new)).sum() / 2)


def sampled_distance(old: np.ndarray, new: np.ndarray, samples_old: int, samples_new: int) -> float:
    """Half the squared distance of the distributions behind two lists of sampled answers, unbiased: mean 0 if they are equal, in [-1, 1].

    Args: old, new: shares of the samples. Fewer than two samples on a side say nothing: 0. Source: the U-statistic of the energy (MMD) distance.
    """
    if min(samples_old, samples_new) < 2:
        return 0.0
    old, new = np.asarray(old), np.asarray(new)
    same_old, same_new = ((n * (p**2).sum() - 1) / (n - 1) for p, n in ((old, samples_old), (new, samples_new)))
    return float((same_old + same_new) / 2 - old @ new)
