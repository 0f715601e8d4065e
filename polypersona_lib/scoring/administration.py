"""Administering the questionnaire: every closed item to fresh personas who are in no split, with the truth beside each answer.

The test split holds about four answers a question, too few for a distribution. Here stances, distributions and calibration are
measured on complete answers, and intervals are clustered by persona.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import resampling, stats
from ..config import RunConfig
from ..models.generation import ADMINISTRATION, respond
from ..prompts import chat
from ..systems import system_labels
from ..world.personas import fresh_personas
from ..world.questions import DOMAINS, load_questions
from ..world.respondents import Speaker, card_probabilities, option_probabilities, true_attitude


def score_administrations(run: RunConfig, sheets: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and calibration of every administration: writes `scores/administration.csv` and `scores/calibration.csv`.

    In the order of the tables, whether the answers are new or were kept: the same answers give the same bytes.
    """
    scored, curves, domains = [], [], []
    for system in (name for name in system_labels(run) if name in sheets):
        answered = sheets[system]
        found, curve = score(answered, seed=run.seed)
        scored.append(found.assign(system=system))
        curves.append(curve.assign(system=system))
        domains.append(domain_accuracy(answered, seed=run.seed).assign(system=system))
    folder = run.paths.folder("scores")
    tables = {"administration": pd.concat(scored), "calibration": pd.concat(curves), "domain_accuracy": pd.concat(domains)}
    for name, table in tables.items():
        table.round(6).to_csv(folder / f"{name}.csv", index=False)
    return tables["administration"].reset_index(drop=True), tables["calibration"].reset_index(drop=True)


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


def administer(model, tokenizer, sheet: pd.DataFrame, *, seed: int, label: str) -> pd.DataFrame:
    """A model's answers to the whole questionnaire: `option_probs` and one sampled `answer` for each row of the sheet."""
    out = respond(model, tokenizer, sheet, seed=seed, settings=[ADMINISTRATION] * len(sheet), with_options=True, label=label)
    return _answered(sheet, out["option_probs"].tolist(), out["text"].tolist())


def _answered(sheet: pd.DataFrame, probabilities: list, answers: list[str]) -> pd.DataFrame:
    keep = sheet[["id", "persona_id", "question_id", "domain", "question_type", "truth", "theta"]].copy()
    return keep.assign(
        option_probs=[np.asarray(p, dtype=float).round(6) for p in probabilities], chosen=[int(np.argmax(p)) for p in probabilities], answer=answers
    )


def control_administrations(sheet: pd.DataFrame, train: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """The same sheet answered by the floors (uniform, majority) and the bounds (resample, oracle_card, oracle_latent)."""
    questions, speaker = load_questions(), Speaker()
    counts = {
        qid: np.bincount(group["target"].dropna().astype(int), minlength=len(questions[qid].options))
        for qid, group in train.groupby("question_id")
        if questions[qid].options
    }
    out = {name: [] for name in ("uniform", "majority", "resample", "oracle_card", "oracle_latent")}
    for row in sheet.itertuples():
        q = questions[row.question_id]
        n = len(q.options)
        again = speaker.answer(row.persona, q, seed=seed, draw=1).option
        out["uniform"].append(np.full(n, 1 / n))
        given = counts.get(q.id, np.ones(n))  # an item that no train row asks (smoke profile): nothing is known
        out["majority"].append(given / given.sum())
        out["resample"].append(np.eye(n)[again])
        out["oracle_card"].append(card_probabilities(row.persona, q))
        out["oracle_latent"].append(option_probabilities(q, true_attitude(row.persona, q.construct, seed)))
    return {name: _answered(sheet, probabilities, [""] * len(sheet)) for name, probabilities in out.items()}


def score(answered: pd.DataFrame, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of one system's administration.

    Returns: (metric, value, lo, hi, n) for `stance_acc`, `stance_qwk` (five-point items), `alignment`, `sd_ratio`, `entropy_ratio` (means over items),
        `ece` and `log_loss`; and the calibration table (confidence, accuracy, n). Intervals are 95 %, clustered by persona.
    """
    people, truth, probs = answered["persona_id"], answered["truth"].to_numpy(), answered["option_probs"]
    uniform, hit = _undecided(answered), _hits(answered)
    own = np.array([p[t] for p, t in zip(probs, truth, strict=True)])
    rows = _means({"stance_acc": hit, "truth_prob": own, "log_loss": -np.log(np.clip(own, 1e-6, 1))}, people, seed)
    five = np.array([len(p) == 5 for p in probs]) & ~uniform
    if five.any():
        rows.append({"metric": "stance_qwk", **_kappa(answered[five], seed)})
    items = pd.DataFrame([_item(group) for _, group in answered.groupby("question_id", sort=True)])
    rows += _means(items[["alignment", "sd_ratio", "entropy_ratio"]], None, seed)
    curve = _calibration(np.array([p.max() for p in probs]), hit)
    rows.append(
        {
            "metric": "ece",
            "value": float((curve["n"] * (curve["confidence"] - curve["accuracy"]).abs()).sum() / curve["n"].sum()),
            "lo": np.nan,
            "hi": np.nan,
            "n": len(hit),
        }
    )
    return pd.DataFrame(rows), curve


def domain_accuracy(answered: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Stance accuracy of one system's administration by domain: domain, metric, value, lo, hi, n; intervals clustered by persona."""
    hits = answered.assign(hit=_hits(answered)).groupby("domain", sort=True)
    lines = [line | {"domain": domain} for domain, part in hits for line in _means({"stance_acc": part["hit"]}, part["persona_id"], seed)]
    return pd.DataFrame(lines)


def _undecided(answered: pd.DataFrame) -> np.ndarray:
    """Rows whose options are all equally probable: no option is the chosen one."""
    return np.array([np.ptp(p) < 1e-6 for p in answered["option_probs"]])


def _kappa(answered: pd.DataFrame, seed: int) -> dict:
    """Quadratic kappa of `chosen` against `truth` (five-point items); people are resampled for the interval: {"value", "lo", "hi", "n"}."""
    found = resampling.bootstrap_kappa(answered["chosen"], answered["truth"], n_options=5, clusters=list(answered["persona_id"]), n_boot=1000, seed=seed)
    return {"value": found["mean"]} | {k: found[k] for k in ("lo", "hi", "n")}


def _hits(answered: pd.DataFrame) -> np.ndarray:
    """1 where the most probable option is the true one, 0 where not, the chance of it where the answer is undecided."""
    right = answered["chosen"].to_numpy() == answered["truth"].to_numpy()
    return np.where(_undecided(answered), [1 / len(p) for p in answered["option_probs"]], right)


def _means(columns: dict | pd.DataFrame, clusters, seed: int) -> list[dict]:
    """One line a column: metric, value, lo, hi, n."""
    table = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in columns.items()})
    found = resampling.bootstrap_means(table, clusters=None if clusters is None else list(clusters), seed=seed)
    return found.rename(columns={"mean": "value"}).rename_axis("metric").reset_index().to_dict("records")


def _item(group: pd.DataFrame) -> dict:
    model = np.stack(group["option_probs"].to_list()).mean(0)
    people = np.bincount(group["truth"], minlength=len(model)) / len(group)
    return {"alignment": stats.alignment(model, people), "sd_ratio": stats.sd_ratio(model, people), "entropy_ratio": stats.entropy_ratio(model, people)}


def _calibration(confidence: np.ndarray, hit: np.ndarray) -> pd.DataFrame:
    """Mean confidence and accuracy in ten equally filled bins."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, 10) if len(part)]
    return pd.DataFrame([{"confidence": confidence[p].mean(), "accuracy": hit[p].mean(), "n": len(p)} for p in parts])
