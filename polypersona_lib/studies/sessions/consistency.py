"""What follows from asking again: agreement with the first answer, which answers drift, and how much of their variance is the person.

Everything is computed from stored answers. Scores run from 0 (lowest option) to 1 (highest); intervals resample personas.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from ... import resampling
from ...cells import Missing, estimate
from ...systems import is_untuned
from ...world.questions import load_questions
from ...world.respondents import Speaker
from .conditions import BASELINE, CONDITIONS, SUBSET

SESSIONS = 3
SESSION_DRAWS = 1000  # half of `resampling.N_BOOT`: the study has some thousand intervals, and its published ones rest on these draws
WORDINGS = (BASELINE, "paraphrase_1", "paraphrase_2")
ORDERS = (BASELINE, "options_reversed", "options_shuffled")
ITEM_ORDERS = (BASELINE, "after_related", "after_unrelated")
DRIFTS = ("again", "paraphrase_1", "paraphrase_2", "options_reversed", "options_shuffled", "after_related", "after_unrelated")
SIMULATED_PEOPLE = "respondents"  # the simulated people themselves, asked again
SCORED = ("id", "persona_id", "question_id", "domain", "question_type", "truth", "session")
Frames = Mapping[tuple[str, str], pd.DataFrame]  # (system, condition) -> its answers


def likely(frame: pd.DataFrame) -> pd.DataFrame:
    """Answers by their option probabilities: `option`, the most probable one, and `score`, the expected one, in [0, 1]."""
    score = [np.arange(len(p)) @ np.asarray(p) / (len(p) - 1) for p in frame["option_probs"]]
    return frame[[c for c in (*SCORED, "before") if c in frame]].assign(option=frame["chosen"], score=score)


def _spoken(frame: pd.DataFrame) -> pd.DataFrame:
    """Answers by the option that was read in the sampled text: `option` and `score` in [0, 1]; rows without a stance are left out."""
    read = frame[frame["read"] >= 0]
    return read[list(SCORED)].assign(option=read["read"].astype(int), score=read["read"] / (sizes(read) - 1))


def sizes(frame: pd.DataFrame) -> pd.Series:
    """Number of options of each row's item."""
    return frame["question_id"].map({q.id: len(q.options) for q in load_questions().values()})


def respondents(sheet: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The simulated people asked `SESSIONS` times: same attitude, a new choice. As from `_spoken`; session 0 is the sheet's truth."""
    questions, speaker, parts = load_questions(), Speaker(), []
    for session in range(SESSIONS):
        chosen = [speaker.answer(row.persona, questions[row.question_id], seed=seed, draw=session).option for row in sheet.itertuples()]
        parts.append(_spoken(sheet.assign(session=session, read=chosen)))
    return pd.concat(parts, ignore_index=True)


# --- agreement with the first answer ---------------------------------------------------------------------------------------------------


def agreement(first: pd.DataFrame, other: pd.DataFrame, *, seed: int) -> list[dict]:
    """How far the answers in `other` are those of `first`: rows (metric, value, lo, hi, n).

    `same_option`: share that take the same option; `_kappa`: the same with chance removed item by item (see `_kappa`); `shift`: mean absolute difference of the
    expected scores, 0 to 1; `drift`: its mean with its sign.
    Args: first, other: from `likely` or `_spoken`; `other` may hold several sessions.
    """
    both = paired(first, other)
    if both.empty:
        return []
    people = list(both["persona_id"])
    lines = [{"metric": "same_option", **mean(both["option_a"] == both["option_b"], people, seed)}]
    lines.append({"metric": "kappa", **_kappa(both, both["question_id"], seed)})
    gap = (both["score_b"] - both["score_a"]).to_numpy()
    return lines + [{"metric": "shift", **mean(abs(gap), people, seed)}, {"metric": "drift", **mean(gap, people, seed)}]


def paired(first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows that two sets of answers both have: `option` and `score` of the first ("_a") and of the other ("_b"), every session of the latter."""
    return other.merge(first[["id", "option", "score"]], on="id", suffixes=("_b", "_a"))


def _kappa(both: pd.DataFrame, items: pd.Series, seed: int) -> dict:
    """Quadratic kappa of paired answers, near misses counted as near, chance taken item by item: {"value", "lo", "hi", "n"}.

    1 - disagreement / disagreement expected if the answers to an item were permuted over its respondents at random; disagreement is the squared distance on the
    item's scale from 0 to 1, so that items with two and with five options go together (with two options: Cohen's kappa). Over all items at once, everybody
    giving the same answer to each item would look like agreement; here that counts nothing.
    Args: both: from `paired`. items: what chance is taken within, one a row. Returns NaN where nobody differs from anybody.
    Source: Cohen 1968 (weighted kappa); of one item it is the ICC(A,1) but for terms of 1/n (Fleiss and Cohen 1973).
    """
    a, b = (both[side] / (sizes(both) - 1) for side in ("option_a", "option_b"))
    line = resampling.bootstrap_kappa(a, b, items=items, clusters=list(both["persona_id"]), n_boot=SESSION_DRAWS, seed=seed, multinomial=True)
    return {"value": line.pop("mean"), **line}


def mean(values: Iterable, people: list, seed: int) -> dict:
    """Mean and interval, persons resampled: {"value", "lo", "hi", "n"}."""
    line = resampling.bootstrap_mean(np.asarray(values, dtype=float), clusters=people, n_boot=SESSION_DRAWS, seed=seed)
    return {"value": line.pop("mean"), **line}


def of_sums(rows: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], people: list, seed: int) -> dict:
    """A function of sums over rows and its interval, persons resampled (`resampling.resample`): {"value", "lo", "hi", "n"}. NaN where it is none."""
    return resampling.resample(rows, statistic, clusters=people, n_boot=SESSION_DRAWS, seed=seed, multinomial=True)


# --- how much of the variance is the person ----------------------------------------------------------------------------------------------


def icc_parts(table: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance components of scores in a two-way layout: (between persons, between sessions, rest), each of shape (items, draws).

    Args:
        table: scores, shape (items, persons, sessions); a person with a NaN in an item is left out of that item.
        weights: how often each person counts, shape (draws, persons).
    Source: expected mean squares of the two-way random-effects model (McGraw and Wong 1996, table 4); components may be negative.
    """
    known = np.isfinite(table).all(axis=2)
    x, k = np.where(known[:, :, None], table, 0.0), table.shape[2]
    n = known @ weights.T
    with np.errstate(invalid="ignore", divide="ignore"):
        grand = x.sum(2) @ weights.T / (n * k)
        by_session = np.stack([x[:, :, j] @ weights.T / n for j in range(k)], axis=2)
        rows = k * (x.mean(2) ** 2 @ weights.T - n * grand**2)
        columns = n * (by_session**2).sum(2) - n * k * grand**2
        total = (x**2).sum(2) @ weights.T - n * k * grand**2
        error = (total - rows - columns) / ((n - 1) * (k - 1))
        persons, sessions = (rows / (n - 1) - error) / k, (columns / (k - 1) - error) / n
    return persons, sessions, error


def icc(table: np.ndarray, *, seed: int) -> dict[str, float]:
    """ICC(A,1): the share of the variance of one answer that is the person, items pooled (components are averaged over items before they are divided).

    Two-way random effects, absolute agreement, single measurement; ICC(2,1) of Shrout and Fleiss (1979).
    Args: table: scores, shape (items, persons, sessions).
    Returns: {"value", "lo", "hi", "n" (person-item pairs that are complete), "between", "within"}: variances; within is sessions and rest together.
    """
    people = table.shape[1]
    weights = np.vstack([np.ones(people), resampling.drawn_units(people, n_boot=SESSION_DRAWS, seed=seed)])
    between, sessions, rest = (np.nanmean(np.where(np.isfinite(part), part, np.nan), axis=0) for part in icc_parts(table, weights))
    within = sessions + rest
    with np.errstate(invalid="ignore"):  # nobody differs from anybody: no ICC
        share = between / (between + within)
    lo, hi = resampling.interval(share[1:], units=people)
    n = int(np.isfinite(table).all(axis=2).sum())
    return {"value": share[0], "lo": lo, "hi": hi, "n": n, "between": between[0], "within": within[0]}


def cube(sets: list[pd.DataFrame]) -> np.ndarray:
    """Scores of several sets of answers to the same rows, shape (items, persons, sets x sessions); NaN where one has none."""
    columns = [part.pivot(index="question_id", columns="persona_id", values="score") for each in sets for _, part in each.groupby("session", sort=True)]
    items, people = (sorted(set.intersection(*(set(getattr(c, side)) for c in columns))) for side in ("index", "columns"))
    return np.stack([column.loc[items, people].to_numpy(dtype=float) for column in columns], axis=2)


# --- the tables ------------------------------------------------------------------------------------------------------------------------------


def tuned(frames: Frames) -> list[str]:
    """The systems that were asked under every condition: the tuned models, in order."""
    return list(dict.fromkeys(system for system, _ in frames if not is_untuned(system)))


def in_sessions(frames: Frames, system: str, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(first answers, answers to compare with them): by what was said where a condition is sampled, else by the option probabilities."""
    other = frames[system, name]
    if not CONDITIONS[name].sessions:
        return likely(frames[system, BASELINE]), likely(other)
    said = _spoken(other)
    if CONDITIONS[name].temperature == 1:
        return _spoken(frames[system, BASELINE]), said
    return tuple(said[said["session"] == session] for session in CONDITIONS[name].sessions)  # both at that temperature


def agreements(frames: Frames, people: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Agreement of every tuned model with its own first answer: system, condition, metric, value, lo, hi, n; the simulated people's beside it."""
    again = agreement(people[people["session"] == 0], people[people["session"] > 0], seed=seed)
    lines = [{"system": SIMULATED_PEOPLE, "condition": "again", **line} for line in again]
    for system in tuned(frames):
        for name, condition in CONDITIONS.items():
            if name != BASELINE and condition.kind != "negated":
                lines += [{"system": system, "condition": name, **line} for line in agreement(*in_sessions(frames, system, name), seed=seed)]
    return pd.DataFrame(lines)


def variances(frames: Frames, people: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """ICC of every tuned model over sessions, wordings, orders of the options and of the items: system, over, value, lo, hi, n, between, within.

    Over sessions the score is that of the option said; over wordings and orders the expected score of the option probabilities.
    """
    lines = [{"system": SIMULATED_PEOPLE, "over": "sessions", **icc(cube([people]), seed=seed)}]
    for system in tuned(frames):
        lines.append({"system": system, "over": "sessions", **icc(cube([_spoken(frames[system, n]) for n in (BASELINE, "again")]), seed=seed)})
        for over, names in (("wordings", WORDINGS), ("orders of the options", ORDERS), ("orders of the items", ITEM_ORDERS)):
            lines.append({"system": system, "over": over, **icc(cube([likely(frames[system, n]) for n in names]), seed=seed)})
    return pd.DataFrame(lines)


def drift(frames: Frames, by: str, *, seed: int) -> pd.DataFrame:
    """Agreement by question type or domain, all tuned models together: `by`, condition, metric (same_option, kappa, shift), value, lo, hi, n.

    Chance is removed within each model and item. Args: by: "question_type" or "domain". Intervals resample personas, who are the same for all models.
    """
    lines = []
    for name in DRIFTS:
        both = pd.concat([paired(*in_sessions(frames, system, name)).assign(system=system) for system in tuned(frames)], ignore_index=True)
        for key, part in both.groupby(by, sort=False):
            who = list(part["persona_id"])
            lines.append({by: key, "condition": name, "metric": "same_option", **mean(part["option_a"] == part["option_b"], who, seed)})
            lines.append({by: key, "condition": name, "metric": "kappa", **_kappa(part, part["system"] + part["question_id"], seed)})
            lines.append({by: key, "condition": name, "metric": "shift", **mean(abs(part["score_b"] - part["score_a"]), who, seed)})
    return pd.DataFrame(lines)


def temperatures(frames: Frames, *, seed: int) -> pd.DataFrame:
    """Two sessions at each temperature, the same few personas: system, temperature, metric, value, lo, hi, n.

    `same_option`: the two sessions agree; `most_probable`: the option said is the most probable one; `stance_acc`: it is the true one;
    `stance_found`: an option could be read at all.
    """
    lines = []
    for system in tuned(frames):
        best = frames[system, BASELINE].set_index("id")["chosen"]
        for name in ("cold", "again", "hot"):
            frame = frames[system, name]
            frame = frame[frame["persona_id"].isin(list(dict.fromkeys(frame["persona_id"]))[:SUBSET])]
            said, who = _spoken(frame), CONDITIONS[name].sessions
            both = paired(*(said[said["session"] == session] for session in who))
            measured = {
                "same_option": (both["option_a"] == both["option_b"], both), "most_probable": (said["option"] == said["id"].map(best), said),
                "stance_acc": (said["option"] == said["truth"], said), "stance_found": (frame["read"] >= 0, frame),
            }  # fmt: skip
            key = {"system": system, "temperature": CONDITIONS[name].temperature}
            lines += [{**key, "metric": m, **mean(hits, list(rows["persona_id"]), seed)} for m, (hits, rows) in measured.items()]
    return pd.DataFrame(lines)


def most_drifting(table: pd.DataFrame, by: str, *, rows: Mapping[str, str], columns: Mapping[str, str]) -> list[str]:
    """For each condition one line: the group with the lowest kappa, "not clearly" if its interval overlaps the next one's.

    Args: table: from `drift`. by: its grouping. rows, columns: key -> name of groups and conditions.
    """
    lines = []
    for name, label in columns.items():
        part = table[(table["metric"] == "kappa") & (table["condition"] == name)].sort_values("value")
        if len(part) > 1:
            least, other = part.iloc[0], part.iloc[1]
            clear = "" if least["hi"] < other["lo"] else ", not clearly"
            lines.append(f"{label}: {rows[least[by]]} drifts most (kappa {least['value']:.3f}){clear}")
    return lines


def wide(table: pd.DataFrame, *, rows: Mapping[str, str], columns: Mapping[str, str], by: tuple[str, str], reason: str = "not asked") -> pd.DataFrame:
    """A long table as readers see it: one line a row, one column a column, each cell a value with its interval (a dash with the reason if there is none).

    The last line is `n`, what the values of a column rest on (least and most, if rows differ).
    Args: rows, columns: key -> name, in order. by: the columns of `table` that hold the keys of rows and of columns.
    """
    table = table[table[by[0]].isin(rows) & table[by[1]].isin(columns)]
    known = {(r, c): estimate(v, lo, hi) for r, c, v, lo, hi in table[[*by, "value", "lo", "hi"]].itertuples(index=False)}
    lines = [{"": name} | {label: known.get((key, c), Missing(reason)) for c, label in columns.items()} for key, name in rows.items()]
    n = table.groupby(by[1])["n"].agg(["min", "max"]).astype(int)
    sizes = {label: "–".join(f"{v:,}" for v in dict.fromkeys(n.loc[c])) if c in n.index else Missing(reason) for c, label in columns.items()}
    return pd.DataFrame([*lines, {"": "n", **sizes}])
