"""Persona fidelity: what of a persona is in a model's answers, each measure between its floor and its ceiling.

Nothing is generated here. Measures come from the stored administrations (every closed item answered by fresh people whose truth is known), predictions and
row scores. `measure` writes `scores/fidelity.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from . import evaluation, stats, study
from . import fidelity_effects as effects
from . import fidelity_probes as probes
from . import fidelity_sheet as sheet
from . import fidelity_text as text
from .administration import questionnaire
from .config import RunConfig
from .controls import BOUNDS, FLOORS
from .dataset import SPLITS, fresh_personas
from .fidelity_measures import MEASURES, PICKS, TRUTH, levels
from .respondents import option_probabilities, true_attitude
from .swap import SEMANTIC_OTHERS

PROBE_PEOPLE, PROBE_PENALTY, LEAST_TEXTS = 400, 50.0, 50


def _line(metric: str, detail: str, system: str, found: dict, n: int, shuffled: float = np.nan, p_holm: float = np.nan) -> dict:
    return {"section": MEASURES[metric].section, "metric": metric, "detail": detail, "system": system, "n": n, "shuffled": shuffled,
            "p_holm": p_holm} | {k: found[k] for k in ("value", "lo", "hi")}  # fmt: skip


def _mean(values: np.ndarray, people: Iterable, seed: int) -> tuple[dict, int]:
    """Mean of answers with its interval over people, and how many answers are in it."""
    found = stats.bootstrap_mean(values, clusters=list(people), seed=seed)
    return {"value": found["mean"], "lo": found["lo"], "hi": found["hi"]}, found["n"]


# --- stored scores and texts -----------------------------------------------------------------------------------------------------------------


def from_scores(systems: pd.DataFrame, administered: pd.DataFrame | None) -> list[dict]:
    """What notebook 04 scored already: swap scores (`scores/systems.csv`) and stances (`scores/administration.csv`)."""
    both = [systems[systems["metric"].str.startswith("swap_")]]
    both += [] if administered is None else [administered[administered["metric"].isin(["stance_acc", "stance_qwk"])]]
    chance = {"swap_gap": 0.0, "swap_auc": 0.5}
    return [_line(r.metric, "", r.system, {"value": r.value, "lo": r.lo, "hi": r.hi}, r.n, chance.get(r.metric[:8], np.nan))
            for r in pd.concat(both).itertuples() if r.metric in MEASURES and r.n]  # fmt: skip


def picks_by_text(rows: pd.DataFrame, pool: pd.DataFrame, seed: int) -> list[dict]:
    """Whose reference is an answer most like, among k answers to the same question? From the stored swap scores, without an encoder."""
    lines = []
    for metric, score, most in (("pick_meaning", "semantic", SEMANTIC_OTHERS), ("pick_words", "rouge1", None)):
        for system, part in rows.groupby("system", sort=False):
            others, auc = text.compared_with(part, pool, most), part[f"swap_auc_{score}"].to_numpy()
            for k in PICKS:
                found, n = _mean(text.picked(auc, others, k), part["persona_id"], seed)
                lines += [_line(metric, f"k={k}", system, found, n, 1 / k)] if n else []
    return lines


def text_probe(pool: pd.DataFrame, tested: set[str]) -> text.TextProbe | None:
    """The probe that reads a card off words, trained on the references of everybody who has no test row; None if they are too few."""
    known = pool[~pool["persona_id"].isin(tested)]
    enough = len(known) >= LEAST_TEXTS and probes.card_labels(known["persona"].tolist(), fewest=probes.FEWEST).shape[1]
    return text.TextProbe(known["reference"].tolist(), known["persona"].tolist()) if enough else None


def picks_by_card(preds: pd.DataFrame, pool: pd.DataFrame, probe: text.TextProbe, seed: int) -> list[dict]:
    """Whose card does a test answer's wording tell, among k people who answered the same question?

    The copy from the nearest persona is left out: its sentences are the ones that the probe was trained on, so they betray who wrote them.
    """
    lines = []
    for system, part in preds[preds["system"] != "nearest_train"].groupby("system", sort=False):
        part = part[part["status"] != "failed"]
        cards, own, groups = text.candidate_table(part, pool)
        read = probe.read(part["prediction"])
        for k in PICKS:
            found, n = _mean(probe.pick(read - read.mean(0), own, cards, k, groups), part["persona_id"], seed)
            lines += [_line("pick_card_answer", f"k={k}", system, found, n, 1 / k)] if n else []
    return lines


def consistency(preds: pd.DataFrame, seed: int) -> list[dict]:
    """The paper's similarity of answer and card beside that of other people's cards, and how often the own card is the nearer one.

    Of the controls only the persona-blind copy, the same respondent again and the oracle that reads the card are embedded: the encoder is what takes time.
    """
    lines, spared = [], {*FLOORS, *BOUNDS} - {"persona_blind", "resample", "oracle_card"}
    for system, part in text.card_similarity(preds[~preds["system"].isin(spared)]).groupby("system", sort=False):
        for metric, column, chance in (("card_sim", "own", part["others"].mean()), ("card_auc", "auc", 0.5)):
            found, n = _mean(part[column], part["persona_id"], seed)
            lines += [_line(metric, "", system, found, n, chance)] if n else []
    return lines


def memory(preds: pd.DataFrame, train: pd.DataFrame, seed: int) -> list[dict]:
    """What stands word for word in train: every system's answers, and the test references themselves (`truth`)."""
    first = preds[preds["system"] == preds["system"].iloc[0]]
    said = pd.concat([preds, first.assign(prediction=first["reference"], system=TRUTH)], ignore_index=True)
    lines = []
    for system, part in text.memorised(said, train["reference"]).groupby("system", sort=False):
        for metric in ("verbatim", *(f"run{n}" for n in text.GRAMS)):
            found, n = _mean(part[metric], part["persona_id"], seed)
            lines += [_line(metric, "", system, found, n)] if n else []
    return lines


# --- questionnaires ------------------------------------------------------------------------------------------------------------------------


def other_respondents(like: sheet.Panel, count: int, seed: int) -> tuple[list[dict], sheet.Panel]:
    """`count` respondents of the same world who are in no split and in no administration, and the options they choose."""
    cards = fresh_personas(count, seed + 1)
    theta = np.array([[true_attitude(card, c, seed + 1) for c in like.constructs] for card in cards])
    rng, truth = np.random.default_rng(seed), np.zeros((count, len(like.items)), dtype=int)
    for j, q in enumerate(like.items):
        upto = option_probabilities(q, theta[:, like.constructs.index(q.construct)]).cumsum(1)
        truth[:, j] = (rng.random((count, 1)) > upto[:, :-1]).sum(1)
    return cards, sheet.Panel(tuple(c["persona_id"] for c in cards), like.items, np.eye(like.probs.shape[2])[truth], truth, theta)


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(0)


def panel_stats(panel: sheet.Panel, cards: Sequence[dict], probe: probes.Probe, x: np.ndarray, clear: np.ndarray) -> dict[tuple[str, str], sheet.Stat]:
    """All measures of one system's sheets that compare them with their own people: (metric, detail) -> measure."""
    found = {(name, ""): stat for name, stat in (sheet.option_swap(panel) | sheet.attitude_agreement(panel)).items()}
    likely = sheet.option_likelihood(panel)
    cardlike = probes.likeness(probe, probe.read(_centred(sheet.item_scores(panel))), cards)
    for k in PICKS:
        found["pick_options", f"k={k}"], found["pick_card_options", f"k={k}"] = (sheet.ratio(sheet.pick_from(s, k)) for s in (likely, cardlike))
    return found | {(name, ""): stat for name, stat in effects.coefficient_agreement(panel, x, clear).items()}


def stance_in_other_hands(panel: sheet.Panel, orders: list[np.ndarray]) -> float:
    """Share of true options hit by sheets in other people's hands (as `administration.score` counts them)."""
    best = panel.probs.argmax(2)
    flat = np.array([[np.ptp(p[: len(q.options)]) < 1e-6 for p, q in zip(row, panel.items, strict=True)] for row in panel.probs])
    share = np.array([1 / len(q.options) for q in panel.items])
    return float(np.mean([np.where(flat[o], share, best[o] == panel.truth).mean() for o in orders]))


def from_sheets(panels: dict[str, sheet.Panel], cards: Sequence[dict], seed: int) -> list[dict]:
    """Swap, identification, attitudes, contradictions and coefficients of every system's sheets, with the same in other people's hands."""
    first, lines = next(iter(panels.values())), []
    others, theirs = other_respondents(first, PROBE_PEOPLE, seed)
    probe = probes.fit_probe(_centred(sheet.item_scores(theirs)), others, penalty=PROBE_PENALTY)
    people, orders, one = len(first.people), sheet.deals(len(first.people), seed), np.ones((1, len(first.people)))
    x = effects.design(cards)[0]
    clear = effects.significant(x, sheet.implied_attitudes(first.true_sheets()))
    sizes = {"answers": first.truth.size, "personas": people, "attitudes": first.theta.size, "clear coefficients": int(clear.sum()),
             "coefficients": (x.shape[1] - 1) * len(first.constructs)}  # fmt: skip
    for system, panel in panels.items():
        found, dealt = panel_stats(panel, cards, probe, x, clear), [panel_stats(panel.dealt(o), cards, probe, x, clear) for o in orders]
        for (metric, detail), stat in found.items():
            chance = 1 / int(detail[2:]) if metric.startswith("pick_") else float(np.mean([d[metric, detail](one)[0] for d in dealt]))
            value = sheet.estimate(stat, people, seed=seed, centred=MEASURES[metric].section == "coefficients")
            if metric == "coef_flips":  # a share
                value |= {end: float(np.clip(value[end], 0, 1)) for end in ("lo", "hi")}
            lines.append(_line(metric, detail, system, value, sizes[MEASURES[metric].unit], chance))
        for metric, (stat, chance, pairs) in sheet.contradictions(panel).items():
            lines.append(_line(metric, "", system, sheet.estimate(stat, people, seed=seed), pairs * people, chance))
    return lines


def attributes(panels: dict[str, sheet.Panel], cards: Sequence[dict], seed: int) -> list[dict]:
    """Which attributes each system's sheets give away; no lines if no attribute divides the people well enough."""
    labels, lines = probes.card_labels(cards, fewest=probes.FEWEST), []
    for system, panel in panels.items() if labels.shape[1] else ():
        for row in probes.recover(sheet.item_scores(panel), labels, seed=seed).itertuples():
            lines.append(_line("recover", row.attribute, system, row._asdict(), len(labels), row.floor, row.p_holm))
    return lines


def picks_by_words(sheets: dict[str, pd.DataFrame], asked: pd.DataFrame, probe: text.TextProbe, seed: int) -> list[dict]:
    """Whose card does the wording of a whole questionnaire tell, among k people? `asked`: the questionnaire with the respondents' own words."""
    people = asked.drop_duplicates("persona_id").sort_values("persona_id")
    said = {s: f.set_index("id")["answer"].reindex(asked["id"]).fillna("") for s, f in sheets.items() if f["answer"].str.strip().any()}
    said[TRUTH] = asked["reference"]
    lines = []
    for system, answers in said.items():
        read = pd.DataFrame(probe.read(answers)).groupby(asked["persona_id"].to_numpy()).mean().to_numpy()
        for k in PICKS:
            found, n = _mean(probe.pick(_centred(read), np.arange(len(people)), people["persona"].tolist(), k), people["persona_id"], seed)
            lines += [_line("pick_card_words", f"k={k}", system, found, n, 1 / k)] if n else []
    return lines


# --- all together ---------------------------------------------------------------------------------------------------------------------------


def measure(run: RunConfig, parts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Every measure of every system; writes `scores/fidelity.csv`. Foreign data have no questionnaire and no known attributes: only texts are measured.

    Returns: columns `COLUMNS`; intervals are 95 %, clustered by persona; `shuffled` is the same system's level with its answers in other people's hands.
    """
    shown = study.system_labels(run)
    preds = evaluation.load_predictions(study.find(run, "preds"))
    preds = preds[preds["system"].isin(shown)].reset_index(drop=True)
    rows, systems = pd.read_parquet(study.find(run, "scores/rows.parquet")), pd.read_csv(study.find(run, "scores/systems.csv"))
    rows, systems = (f[f["system"].isin(shown)] for f in (rows, systems))
    administered = None if run.data else pd.read_csv(study.find(run, "scores/administration.csv")).query("system in @shown")
    pool, seed = pd.concat([parts[p] for p in SPLITS], ignore_index=True), run.seed
    lines = from_scores(systems, administered) + picks_by_text(rows, pool, seed) + consistency(preds, seed) + memory(preds, parts["train"], seed)
    if not run.data:
        sheets, panels, cards = load_sheets(run)
        with threadpool_limits(1):  # many small products: a second thread only waits (measured: three times the processor time beside other work)
            lines += from_sheets(panels, cards, seed) + attributes(panels, cards, seed)
        orders = sheet.deals(len(cards), seed)
        for line in (found for found in lines if found["metric"] == "stance_acc" and found["system"] in panels):
            line["shuffled"] = stance_in_other_hands(panels[line["system"]], orders)
        if probe := text_probe(pool, set(parts["test"]["persona_id"])):
            asked = questionnaire(len(cards), seed)
            lines += picks_by_card(preds, pool, probe, seed) + picks_by_words(sheets, asked, probe, seed)
    table = levels(lines)
    table.round(6).to_csv(run.paths.folder("scores") / "fidelity.csv", index=False)
    return table


def load_sheets(run: RunConfig) -> tuple[dict[str, pd.DataFrame], dict[str, sheet.Panel], list[dict]]:
    """The administrations of the run's systems, as they are and as panels (`truth`: the respondents' own), and the people's cards.

    Raises: ValueError if the sheets are of other people than the run's seed draws (the published ones, read with another seed).
    """
    shown = study.system_labels(run)
    sheets = {p.stem: pd.read_parquet(p) for p in sorted(study.find(run, "administration").glob("*.parquet")) if p.stem in shown}
    panels = {system: sheet.panel(sheets[system]) for system in shown if system in sheets}
    first = next(iter(panels.values()))
    cards = {c["persona_id"]: c for c in fresh_personas(len(first.people), run.seed)}
    cards, construct = [cards[p] for p in first.people], first.constructs[0]
    if not np.allclose([true_attitude(card, construct, run.seed) for card in cards], first.theta[:, 0], atol=1e-6):
        raise ValueError(f"the questionnaires were not answered by the people of seed {run.seed}; run notebook 04 with this seed first")
    return sheets, panels | {TRUTH: first.true_sheets()}, cards


def conditions(run: RunConfig) -> pd.DataFrame | None:
    """`scores/conditions.csv`, written by the study of other conditions (sparse, contradictory or implicit cards, sessions, examples); None without it."""
    try:
        return pd.read_csv(study.find(run, "scores/conditions.csv"))
    except FileNotFoundError:
        return None


def training_log(run: RunConfig) -> pd.DataFrame:
    """The similarity that training logged each epoch (`persona_sim`), one row a model: the paper's own measure without a floor."""
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(study.find(run, "runs").glob("*.json"))]
    logged = {r["model"]: {f"epoch {e['epoch']}": e["persona_sim"] for e in r["epochs"] if "persona_sim" in e} for r in found}
    return pd.DataFrame.from_dict({k: logged[k] for k in run.model_keys if k in logged}, orient="index")
