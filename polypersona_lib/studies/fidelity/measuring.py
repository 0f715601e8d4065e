"""Persona fidelity: what of a persona is in a model's answers, each measure between its floor and its ceiling.

Nothing is generated here. Measures come from the stored administrations (every closed item answered by fresh people whose truth is known), predictions and
row scores. `measure` writes `scores/fidelity.csv`, `scores/fidelity_contrasts.csv` (what tuning did) and `scores/fidelity_effects.csv` (coefficients).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ... import locate, resampling
from ...config import RunConfig
from ...scoring import answer_files
from ...scoring.administration import questionnaire
from ...scoring.fidelity_measures import COMPARED, GRAMS, MEASURES, PICKS, TRUTH, measure_line, with_levels
from ...scoring.swap import SEMANTIC_OTHERS
from ...systems import BASELINES, UPPER_BOUNDS, system_labels
from ...world.dataset import SPLITS
from ...world.personas import fresh_personas
from ...world.respondents import option_probabilities, true_attitude
from . import attribute_probes as probes
from . import candidates
from . import contrasts as contrasts
from . import effects as effects
from . import option_scores as sheet
from . import style_probes as voices
from . import text_scores as text
from .candidates import Candidates

PROBE_PEOPLE, PROBE_PENALTY = 400, 50.0
CENTRED, SHARES = ("swap", "identification", "coefficients"), ("coef_flips", "option_auc", "pick_")  # whose intervals are centred, which are shares


def _mean(values: np.ndarray, people: Iterable, seed: int) -> tuple[dict, int]:
    """Mean of answers with its interval over people, and how many answers are in it."""
    found = resampling.bootstrap_mean(values, clusters=list(people), seed=seed)
    return {"value": found["mean"], "lo": found["lo"], "hi": found["hi"]}, found["n"]


def _draws(values: np.ndarray, rows: pd.DataFrame, seed: int) -> np.ndarray:
    """The mean of answers for resampled people. Everybody in `rows` is drawn from, failed answers or not, so that systems can be compared draw by draw."""
    table = pd.DataFrame({"sum": np.nan_to_num(values), "n": np.isfinite(values)}).groupby(rows["persona_id"].to_numpy()).sum()
    return sheet.measured(sheet.ratio(table["sum"].to_numpy(), table["n"].to_numpy()), len(table), seed=seed)[1]


# --- stored scores and texts -----------------------------------------------------------------------------------------------------------------


def from_scores(systems: pd.DataFrame, administered: pd.DataFrame | None, rows: pd.DataFrame, seed: int) -> list[dict]:
    """What notebook 04 scored already: swap scores (`scores/systems.csv`) and stances (`scores/administration.csv`). `rows`: the swap score of each answer."""
    both = [systems[systems["metric"].str.startswith("swap_")]]
    both += [] if administered is None else [administered[administered["metric"].isin(["stance_acc", "stance_qwk"])]]
    chance, of, lines = {"swap_gap": 0.0, "swap_auc": 0.5}, dict(list(rows.groupby("system", sort=False))), []
    for r in (r for r in pd.concat(both).itertuples() if r.metric in MEASURES and r.n):
        by_row = (r.metric, "") in COMPARED and r.metric.startswith("swap_") and r.system in of
        draws = _draws(of[r.system][r.metric].to_numpy(dtype=float), of[r.system], seed) if by_row else None
        found = {"value": r.value, "lo": r.lo, "hi": r.hi}
        lines.append(measure_line(r.metric, "", r.system, found, r.n, chance.get(r.metric[:8], np.nan), draws=draws))
    return lines


def picks_by_text(rows: pd.DataFrame, pool: pd.DataFrame, seed: int) -> list[dict]:
    """Whose reference is an answer most like, among k answers to the same question? From the stored swap scores, without an encoder."""
    lines = []
    for metric, score, most in (("pick_meaning", "semantic", SEMANTIC_OTHERS), ("pick_words", "rouge1", None)):
        for system, part in rows.groupby("system", sort=False):
            others, auc = text.compared_with(part, pool, most), part[f"swap_auc_{score}"].to_numpy()
            for k in PICKS:
                values = text.picked(auc, others, k)
                found, n = _mean(values, part["persona_id"], seed)
                draws = _draws(values, part, seed) if (metric, f"k={k}") in COMPARED else None
                lines += [measure_line(metric, f"k={k}", system, found, n, 1 / k, draws=draws)] if n else []
    return lines


def consistency(preds: pd.DataFrame, seed: int) -> list[dict]:
    """The paper's similarity of answer and card beside that of other people's cards, and how often the own card is the nearer one.

    Of the controls only the persona-blind copy, the same respondent again and the oracle that reads the card are embedded: the encoder is what takes time.
    """
    spared = {*BASELINES, *UPPER_BOUNDS} - {"persona_blind", "resample", "oracle_card"}
    rows, people, near = text.card_cosines(preds[~preds["system"].isin(spared)])
    column, lines = {p: i for i, p in enumerate(people)}, []
    for system, part in rows.groupby("system", sort=False):
        mine, others, nearer = text.card_likeness(near[part.index], part["persona_id"].map(column).to_numpy())
        found, n = _mean(mine, part["persona_id"], seed)
        lines.append(measure_line("card_sim", "", system, found, n, others))
        if nearer.rows(2):
            value, draws = sheet.measured(nearer.auc(), len(people), seed=seed)
            lines.append(measure_line("card_auc", "", system, sheet.interval(value, draws, centred=True), n, 0.5, draws=draws))
    return lines


def memory(preds: pd.DataFrame, train: pd.DataFrame, seed: int) -> list[dict]:
    """What stands word for word in train: every system's answers, and the test references themselves (`truth`)."""
    first = preds[preds["system"] == preds["system"].iloc[0]]
    said = pd.concat([preds, first.assign(prediction=first["reference"], system=TRUTH)], ignore_index=True)
    lines = []
    for system, part in text.memorised(said, train["reference"]).groupby("system", sort=False):
        for metric in ("verbatim", *(f"run{n}" for n in GRAMS)):
            found, n = _mean(part[metric], part["persona_id"], seed)
            lines += [measure_line(metric, "", system, found, n)] if n else []
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


def panel_stats(panel: sheet.Panel, cards: np.ndarray, probe: probes.Probe, x: np.ndarray, clear: np.ndarray) -> dict[tuple[str, str], candidates.Stat]:
    """All measures of one system's sheets that compare them with their own people: (metric, detail) -> measure. `cards`: the probe's coordinates of them."""
    found = {(name, ""): stat for name, stat in (sheet.option_swap(panel) | sheet.attitude_agreement(panel)).items()}
    likely = Candidates.of(sheet.option_likelihood(panel))
    cardlike = Candidates.of(probes.likeness(probe.read(_centred(sheet.item_scores(panel))), cards))
    for k in PICKS:
        found["pick_options", f"k={k}"], found["pick_card_options", f"k={k}"] = likely.pick(k), cardlike.pick(k)
    return found | {(name, ""): stat for name, stat in effects.coefficient_agreement(panel, x, clear).items()}


def with_other_hands(lines: list[dict], panels: dict[str, sheet.Panel], seed: int) -> None:
    """Adds to the stances that notebook 04 scored what the same sheets reach in other people's hands, and the draws of resampled people."""
    people = len(next(iter(panels.values())).people)
    orders = sheet.deals(people, seed)
    for found in (each for each in lines if each["section"] == "attitude" and each["system"] in panels):
        panel = panels[found["system"]]
        if found["metric"] == "stance_acc":
            found["shuffled"] = float(np.mean([sheet.hits(panel.dealt(o)).mean() for o in orders]))
            found["draws"] = sheet.measured(sheet.ratio(sheet.hits(panel).mean(1)), people, seed=seed)[1]
        if found["metric"] == "stance_qwk":
            found["shuffled"] = float(np.mean([sheet.five_point_kappa(panel.dealt(o)) for o in orders]))


def from_sheets(panels: dict[str, sheet.Panel], cards: Sequence[dict], seed: int) -> list[dict]:
    """Swap, identification, attitudes, contradictions and coefficients of every system's sheets, with the same in other people's hands."""
    first, lines = next(iter(panels.values())), []
    others, theirs = other_respondents(first, PROBE_PEOPLE, seed)
    probe = probes.fit_probe(_centred(sheet.item_scores(theirs)), others, penalty=PROBE_PENALTY)
    people, orders, one = len(first.people), sheet.deals(len(first.people), seed), np.ones((1, len(first.people)))
    x, places = effects.design(cards)[0], probe.coordinates(cards)
    clear = effects.significant(x, sheet.implied_attitudes(first.true_sheets()))
    sizes = {"answers": first.truth.size, "personas": people, "attitudes": first.theta.size, "clear coefficients": int(clear.sum()),
             "coefficients": (x.shape[1] - 1) * len(first.constructs)}  # fmt: skip
    for system, panel in panels.items():
        found, dealt = panel_stats(panel, places, probe, x, clear), [panel_stats(panel.dealt(o), places, probe, x, clear) for o in orders]
        for (metric, detail), stat in found.items():
            chance = 1 / int(detail[2:]) if metric.startswith("pick_") else float(np.mean([d[metric, detail](one)[0] for d in dealt]))
            value, draws = sheet.measured(stat, people, seed=seed)
            ends = sheet.interval(value, draws, centred=MEASURES[metric].section in CENTRED)
            ends |= {end: float(np.clip(ends[end], 0, 1)) for end in ("lo", "hi") if metric.startswith(SHARES)}
            lines.append(measure_line(metric, detail, system, ends, sizes[MEASURES[metric].unit], chance, draws=draws))
        for metric, (stat, chance, pairs) in sheet.contradictions(panel).items():
            value, draws = sheet.measured(stat, people, seed=seed)
            lines.append(measure_line(metric, "", system, sheet.interval(value, draws), pairs * people, chance, draws=draws))
    return lines


def attributes(panels: dict[str, sheet.Panel], cards: Sequence[dict], seed: int) -> list[dict]:
    """Which attributes each system's sheets give away; no lines if no attribute divides the people well enough."""
    labels, lines = probes.card_labels(cards, fewest=probes.FEWEST), []
    for system, panel in panels.items() if labels.shape[1] else ():
        for row in probes.recover(sheet.item_scores(panel), labels, seed=seed).itertuples():
            lines.append(measure_line("recover", row.attribute, system, row._asdict(), len(labels), row.floor, row.p_holm))
    return lines


# --- all together ---------------------------------------------------------------------------------------------------------------------------


def measure(run: RunConfig, parts: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every measure of every system, and what tuning did to each. Foreign data have no questionnaire and no known attributes: only texts are measured.

    Returns: the measures (columns `MEASURE_COLUMNS`; intervals are 95 %, clustered by persona; `shuffled` is the same system's level with its answers in other
        people's hands), and `contrasts.tuning_contrasts` of them. Writes both, and the coefficients that are clear in the respondents, to `scores/`.
    """
    shown = system_labels(run)
    preds = answer_files.load_predictions(locate.find(run, "preds"))
    preds = preds[preds["system"].isin(shown)].reset_index(drop=True)
    rows, systems = pd.read_parquet(locate.find(run, "scores/rows.parquet")), pd.read_csv(locate.find(run, "scores/systems.csv"))
    rows, systems = (f[f["system"].isin(shown)] for f in (rows, systems))
    administered = None if run.data else pd.read_csv(locate.find(run, "scores/administration.csv")).query("system in @shown")
    pool, seed = pd.concat([parts[p] for p in SPLITS], ignore_index=True), run.seed
    lines = from_scores(systems, administered, rows, seed) + picks_by_text(rows, pool, seed) + consistency(preds, seed) + memory(preds, parts["train"], seed)
    if not run.data:
        sheets, panels, cards = load_sheets(run)
        with threadpool_limits(1):  # many small products: a second thread only waits (measured: three times the processor time beside other work)
            lines += from_sheets(panels, cards, seed) + attributes(panels, cards, seed)
            lines += voices.picks_by_answer(preds, pool, voices.fit_by_domain(pool), seed)
            if probe := voices.fit(pool):  # the questionnaires are of people who are in no split
                lines += voices.picks_by_questionnaire(sheets, questionnaire(len(cards), seed), probe, seed)
        with_other_hands(lines, panels, seed)
        _write(run, "fidelity_effects", effects.clear_effects(panels, cards))
    table, compared = with_levels(lines), contrasts.tuning_contrasts(lines, run.model_keys)
    _write(run, "fidelity", table)
    _write(run, "fidelity_contrasts", compared)
    return table, compared


def _write(run: RunConfig, name: str, table: pd.DataFrame) -> None:
    table.round(6).to_csv(run.paths.folder("scores") / f"{name}.csv", index=False)


def load_sheets(run: RunConfig) -> tuple[dict[str, pd.DataFrame], dict[str, sheet.Panel], list[dict]]:
    """The administrations of the run's systems, as they are and as panels (`truth`: the respondents' own), and the people's cards.

    Raises: ValueError if the sheets are of other people than the run's seed draws (the published ones, read with another seed).
    """
    shown = system_labels(run)
    sheets = {p.stem: pd.read_parquet(p) for p in sorted(locate.find(run, "administration").glob("*.parquet")) if p.stem in shown}
    panels = {system: sheet.panel(sheets[system]) for system in shown if system in sheets}
    first = next(iter(panels.values()))
    cards = {c["persona_id"]: c for c in fresh_personas(len(first.people), run.seed)}
    cards, construct = [cards[p] for p in first.people], first.constructs[0]
    if not np.allclose([true_attitude(card, construct, run.seed) for card in cards], first.theta[:, 0], atol=1e-6):
        raise ValueError(f"the questionnaires were not answered by the people of seed {run.seed}; run notebook 04 with this seed first")
    return sheets, panels | {TRUTH: first.true_sheets()}, cards


def effects_table(run: RunConfig) -> pd.DataFrame:
    """`scores/fidelity_effects.csv`, written by `measure`: `effects.clear_effects` of every system."""
    return pd.read_csv(locate.find(run, "scores/fidelity_effects.csv"), keep_default_na=False).round(3)


def conditions(run: RunConfig) -> pd.DataFrame | None:
    """`scores/conditions.csv`, written by notebook 11 (sparse, contradictory or implicit cards, examples in the prompt); None without it."""
    try:
        return pd.read_csv(locate.find(run, "scores/conditions.csv"))
    except FileNotFoundError:
        return None


def truth_in_other_hands(panels: dict[str, sheet.Panel], seed: int) -> dict[str, float]:
    """System -> the probability that its sheets give to the true options of other people."""
    orders = sheet.deals(len(next(iter(panels.values())).people), seed)
    return {s: float(np.mean([sheet.of_chosen(p.probs[o], p.truth).mean() for o in orders])) for s, p in panels.items()}


def training_log(run: RunConfig) -> pd.DataFrame:
    """The similarity that training logged each epoch (`persona_sim`), one row a model: the paper's own measure without a floor."""
    records = locate.published_runs(run)
    logged = {r["model"]: {f"epoch {e['epoch']}": e["persona_sim"] for e in r["epochs"] if "persona_sim" in e} for r in records}
    return pd.DataFrame.from_dict(logged, orient="index")
