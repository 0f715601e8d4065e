"""The questionnaire: every closed item to fresh personas who are in no split, and the scores of each system's answers, whose truth is known.

The test split holds about four answers a question, too few for a distribution. Here stances, distributions and calibration are
measured on complete answers, and intervals are clustered by persona.
"""

import numpy as np
import pandas as pd

from .. import resampling, stats
from ..config import RunConfig
from ..prompts import chat
from ..systems import system_labels
from ..world.personas import fresh_personas
from ..world.questions import DOMAINS, load_questions
from ..world.respondents import Speaker

_RESAMPLES = 500  # resamples of the personas for the means over items, as `survey.distributions` draws them


def questionnaire(count: int, seed: int) -> pd.DataFrame:
    """The closed items x `count` fresh personas: id, persona, persona_id, question_id, domain, options, messages, truth, theta.

    `truth` is the option the respondent chose (0-based), `theta` the true attitude behind it.
    """
    closed, speaker, rows = [q for q in load_questions().values() if q.options], Speaker(), []
    for card in fresh_personas(count, seed):
        for q in closed:
            answer = speaker.answer(card, q, seed=seed)
            rows.append(
                {
                    "id": f"{card['persona_id']}-{q.id}", "persona": card, "persona_id": card["persona_id"], "question_id": q.id, "domain": q.domain,
                    "question_type": q.type, "options": q.options, "messages": chat.messages(card, DOMAINS[q.domain], q.text, q.options),
                    "truth": answer.option, "theta": answer.theta, "reference": answer.text,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def answered_sheet(sheet: pd.DataFrame, probabilities: list, answers: list[str]) -> pd.DataFrame:
    """An administration: the questionnaire's rows with one system's `option_probs`, the most probable option (`chosen`) and one sampled `answer`.

    A row without an answer has None for its probabilities and `chosen` -1.
    """
    keep = sheet[["id", "persona_id", "question_id", "domain", "question_type", "truth", "theta"]].copy()
    probs = [None if p is None else np.asarray(p, dtype=float).round(6) for p in probabilities]
    return keep.assign(option_probs=probs, chosen=[-1 if p is None else int(np.argmax(p)) for p in probabilities], answer=answers)


def score_administrations(run: RunConfig, sheets: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and calibration of every administration: writes `scores/administration.csv`, `calibration.csv` and `domain_accuracy.csv`.

    In the order of the tables, whether the answers are new or were kept: the same answers give the same bytes. Without sheets (foreign data): empty tables.
    """
    if not sheets:
        return pd.DataFrame(columns=["metric", "value", "lo", "hi", "n", "system"]), pd.DataFrame(columns=["confidence", "accuracy", "n", "system"])
    tables: dict[str, list[pd.DataFrame]] = {"administration": [], "calibration": [], "domain_accuracy": []}
    for system in (name for name in system_labels(run) if name in sheets):
        answered = sheets[system][sheets[system]["option_probs"].notna()]
        if lacking := len(sheets[system]) - len(answered):
            print(f"{system}: {lacking:,} of {len(sheets[system]):,} answers to the questionnaire are missing; its scores are of the others")
        if answered.empty:
            continue
        scores, curve = score(answered, seed=run.seed)
        for name, table in zip(tables, (scores, curve, domain_accuracy(answered, seed=run.seed)), strict=True):
            tables[name].append(table.assign(system=system))
    whole = {name: pd.concat(parts) for name, parts in tables.items()}
    for name, table in whole.items():
        table.round(6).to_csv(run.paths.folder("scores") / f"{name}.csv", index=False)
    return whole["administration"].reset_index(drop=True), whole["calibration"].reset_index(drop=True)


def score(answered: pd.DataFrame, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of one system's administration.

    Returns: (metric, value, lo, hi, n) for `stance_acc`, `truth_prob`, `log_loss`, `stance_qwk` (five-point items), `alignment`, `sd_ratio`,
        `entropy_ratio` (means over items) and `ece`; and the calibration table (confidence, accuracy, n). Intervals are 95 %, personas resampled, the items
        stay; n counts answers, of the means over items the personas.
    """
    people, truth, probs = answered["persona_id"], answered["truth"].to_numpy(), answered["option_probs"]
    hit = _hits(answered)
    own = np.array([p[t] for p, t in zip(probs, truth, strict=True)])
    rows = _means({"stance_acc": hit, "truth_prob": own, "log_loss": -np.log(np.clip(own, 1e-6, 1))}, people, seed)
    five = np.array([len(p) == 5 for p in probs]) & ~_undecided(answered)
    if five.any():
        rows.append({"metric": "stance_qwk", **_kappa(answered[five], seed)})
    rows += _distribution_means(answered, seed)
    curve = _calibration(np.array([p.max() for p in probs]), hit)
    error = float((curve["n"] * (curve["confidence"] - curve["accuracy"]).abs()).sum() / curve["n"].sum())
    return pd.DataFrame([*rows, {"metric": "ece", "value": error, "lo": np.nan, "hi": np.nan, "n": len(hit)}]), curve


def way_to_the_card(scores: pd.DataFrame) -> pd.DataFrame:
    """Stance accuracy (value, lo, hi) of each system, and its way from the majority answer (0) to a perfect reader of the card (1); may be empty."""
    accuracy = scores[scores["metric"] == "stance_acc"].set_index("system")[["value", "lo", "hi"]]
    if accuracy.empty:
        return accuracy.assign(way=[])
    majority, card = accuracy.loc[["majority", "oracle_card"], "value"]
    return accuracy.assign(way=(accuracy["value"] - majority) / (card - majority))


def accuracy_by_type(sheets: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Share of true options chosen: systems by question types. Without *uniform*, which prefers no option; no rows without administrations."""
    answered = {name: sheet[sheet["option_probs"].notna()] for name, sheet in sheets.items() if name != "uniform"}
    hits = {name: (sheet["chosen"] == sheet["truth"]).groupby(sheet["question_type"]).mean() for name, sheet in answered.items() if len(sheet)}
    return pd.DataFrame.from_dict(hits, orient="index")


def domain_accuracy(answered: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Stance accuracy of one system's administration by domain: domain, metric, value, lo, hi, n; intervals clustered by persona."""
    hits = answered.assign(hit=_hits(answered)).groupby("domain", sort=True)
    return pd.DataFrame([row | {"domain": domain} for domain, part in hits for row in _means({"stance_acc": part["hit"]}, part["persona_id"], seed)])


def _undecided(answered: pd.DataFrame) -> np.ndarray:
    """Rows whose options are all equally probable: no option is the chosen one."""
    return np.array([np.ptp(p) < 1e-6 for p in answered["option_probs"]])


def _kappa(answered: pd.DataFrame, seed: int) -> dict:
    """Quadratic kappa of `chosen` against `truth` (five-point items), chance taken item by item; people are resampled for the interval."""
    who, asked = list(answered["persona_id"]), answered["question_id"]
    kappa = resampling.bootstrap_kappa(answered["chosen"], answered["truth"], items=asked, clusters=who, n_boot=1000, seed=seed)
    return {"value": kappa["mean"]} | {k: kappa[k] for k in ("lo", "hi", "n")}


def _hits(answered: pd.DataFrame) -> np.ndarray:
    """1 where the most probable option is the true one, 0 where not, the chance of it where the answer is undecided."""
    right = answered["chosen"].to_numpy() == answered["truth"].to_numpy()
    return np.where(_undecided(answered), [1 / len(p) for p in answered["option_probs"]], right)


def _means(columns: dict | pd.DataFrame, clusters, seed: int) -> list[dict]:
    """One row a column: metric, value, lo, hi, n."""
    table = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in columns.items()})
    means = resampling.bootstrap_means(table, clusters=list(clusters), seed=seed)
    return means.rename(columns={"mean": "value"}).rename_axis("metric").reset_index().to_dict("records")


def _distribution_means(answered: pd.DataFrame, seed: int) -> list[dict]:
    """How each item's mean option probabilities compare with the respondents' shares: the mean over items, as rows metric, value, lo, hi, n (personas)."""
    who, place = np.unique(answered["persona_id"].astype(str), return_inverse=True)
    times = np.vstack([np.ones(len(who)), resampling.drawn_units(len(who), n_boot=_RESAMPLES, seed=seed)])
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("alignment", "sd_ratio", "entropy_ratio")}
    for _, rows in answered.assign(place=place).groupby("question_id", sort=True):
        weights, probs = times[:, rows["place"]], np.stack(rows["option_probs"].to_list())
        total = weights.sum(1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            model, people = weights @ probs / total, weights @ np.eye(probs.shape[1])[rows["truth"].to_numpy()] / total
        there = np.flatnonzero(total[:, 0] > 0)  # a resample may hold nobody who answered this item
        compared = stats.compare_distributions(model[there], people[there], probs.shape[1])
        for name, values in found.items():
            values.append(np.full(len(times), np.nan))
            values[-1][there] = compared[name]
    rows = []
    for name, values in found.items():
        draws = np.nanmean(values, axis=0)
        lo, hi = resampling.interval(draws[1:], units=len(who), around=draws[0])
        rows.append(
            {"metric": name, "value": float(draws[0]), "lo": max(0.0, float(lo)), "hi": float(min(hi, 1.0 if name == "alignment" else hi)), "n": len(who)}
        )
    return rows


def _calibration(confidence: np.ndarray, hit: np.ndarray) -> pd.DataFrame:
    """Mean confidence and accuracy in ten equally filled bins."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, 10) if len(part)]
    return pd.DataFrame([{"confidence": confidence[p].mean(), "accuracy": hit[p].mean(), "n": len(p)} for p in parts])
