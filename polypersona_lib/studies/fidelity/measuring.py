"""Persona fidelity: what of a persona is in a model's answers, each measure between its floor and its ceiling.

Nothing is generated here. Measures come from the stored administrations (every closed item answered by fresh people whose truth is known), predictions and
row scores. `measure_fidelity` writes `scores/fidelity.csv`, `scores/fidelity_contrasts.csv` (what tuning did) and `scores/fidelity_effects.csv` (coefficients).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ... import locate, records, resampling
from ...config import RunConfig
from ...scoring import answer_files
from ...scoring.administration import questionnaire
from ...scoring.fidelity_measures import COMPARED, GRAMS, MEASURES, PICKS, TRUTH, measure_line, tuning_contrasts, with_levels
from ...survey.sheet import Sheet, sheet_of
from ...systems import BASELINES, UPPER_BOUNDS, system_labels
from ...world.dataset import SPLITS
from ...world.personas import fresh_personas
from ...world.questions import load_questions
from ...world.respondents import option_probabilities, true_attitude
from . import attribute_probes as probes
from . import effects, sheet_scores
from . import text_scores as text
from .candidates import Candidates, Stat, pick_rate
from .sheet_scores import stat_draws, stat_estimate, sum_ratio

PROBE_PEOPLE, PROBE_PENALTY = 400, 50.0
CENTRED, SHARES = ("swap", "identification", "coefficients"), ("coef_flips", "option_auc", "pick_")  # whose intervals are centred, which are shares


def _mean(values: np.ndarray, rows: pd.DataFrame, seed: int, *, compared: bool = False) -> dict:
    """Mean of answers with its interval over people: value, lo, hi, n (answers in it), and, if `compared`, draws (`_draws`)."""
    mean = resampling.bootstrap_mean(values, clusters=list(rows["persona_id"]), seed=seed)
    draws = {"draws": _draws(values, rows, seed)} if compared else {}
    return {"value": mean["mean"], "lo": mean["lo"], "hi": mean["hi"], "n": mean["n"]} | draws


def _draws(values: np.ndarray, rows: pd.DataFrame, seed: int) -> np.ndarray:
    """The mean of answers for resampled people. Everybody in `rows` is drawn from, failed answers or not, so that systems can be compared draw by draw."""
    table = pd.DataFrame({"sum": np.nan_to_num(values), "n": np.isfinite(values)}).groupby(rows["persona_id"].to_numpy()).sum()
    return stat_draws(sum_ratio(table["sum"].to_numpy(), table["n"].to_numpy()), len(table), seed=seed)[1]


# --- stored scores and texts -----------------------------------------------------------------------------------------------------------------


def from_scores(systems: pd.DataFrame, administered: pd.DataFrame | None, rows: pd.DataFrame, seed: int) -> list[dict]:
    """What notebook 04 scored already: swap scores (`scores/systems.csv`) and stances (`scores/administration.csv`). `rows`: the swap score of each answer."""
    both = [systems[systems["metric"].str.startswith("swap_")]]
    both += [] if administered is None else [administered[administered["metric"].isin(["stance_acc", "stance_qwk"])]]
    chance, of, lines = {"swap_gap": 0.0, "swap_auc": 0.5}, dict(list(resampling.by_parts(rows).groupby("system", sort=False))), []
    for r in (r for r in pd.concat(both).itertuples() if r.metric in MEASURES and r.n):
        by_row = (r.metric, "") in COMPARED and r.metric.startswith("swap_") and r.system in of
        draws = {"draws": _draws(of[r.system][r.metric].to_numpy(dtype=float), of[r.system], seed)} if by_row else {}
        estimated = {"value": r.value, "lo": r.lo, "hi": r.hi} | draws
        lines.append(measure_line(r.metric, "", r.system, estimated, r.n, chance.get(r.metric[:8], np.nan)))
    return lines


def picks_by_text(rows: pd.DataFrame, seed: int) -> list[dict]:
    """Whose reference is an answer most like, among k of the test's answers to the same question? From the stored swap scores, without an encoder."""
    lines = []
    for metric, score in (("pick_meaning", "semantic"), ("pick_words", "rouge1")):
        for system, part in rows.groupby("system", sort=False):
            below, level, others = (part[c].fillna(0).to_numpy(dtype=int) for c in (f"n_below_{score}", f"n_level_{score}", "n_others"))
            for k in PICKS:
                rate = _mean(pick_rate(below, level, others, k), part, seed, compared=(metric, f"k={k}") in COMPARED)
                lines += [measure_line(metric, f"k={k}", system, rate, rate["n"], 1 / k)] if rate["n"] else []
    return lines


def consistency(preds: pd.DataFrame, seed: int) -> list[dict]:
    """The paper's similarity of answer and card beside that of other people's cards, and how often the card of the person asked is the nearer one.

    Of the controls only the persona-blind copy, the same respondent again and the oracle that reads the card are embedded: the encoder is what takes time.
    """
    spared = {*BASELINES, *UPPER_BOUNDS} - {"persona_blind", "resample", "oracle_card"}
    rows, people, near = text.card_cosines(preds[~preds["system"].isin(spared)])
    column, lines = {p: i for i, p in enumerate(people)}, []
    for system, part in rows.groupby("system", sort=False):
        mine, others, nearer = text.card_likeness(near[part.index], part["persona_id"].map(column).to_numpy())
        likeness = _mean(mine, part, seed)
        lines.append(measure_line("card_sim", "", system, likeness, likeness["n"], others))
        if nearer.rows(2):
            lines.append(measure_line("card_auc", "", system, stat_estimate(nearer.auc(), len(people), seed=seed, centred=True), likeness["n"], 0.5))
    return lines


def memory(preds: pd.DataFrame, train: pd.DataFrame, seed: int) -> list[dict]:
    """What stands word for word in train: every system's answers, and the test references themselves (`truth`)."""
    first = preds[preds["system"] == preds["system"].iloc[0]]
    said = pd.concat([preds, first.assign(prediction=first["reference"], system=TRUTH)], ignore_index=True)
    lines = []
    for system, part in text.memorised(said, train["reference"]).groupby("system", sort=False):
        for metric in ("verbatim", *(f"run{n}" for n in GRAMS)):
            share = _mean(part[metric], part, seed)
            lines += [measure_line(metric, "", system, share, share["n"])] if share["n"] else []
    return lines


# --- questionnaires ------------------------------------------------------------------------------------------------------------------------


def other_respondents(like: Sheet, count: int, seed: int) -> tuple[list[dict], Sheet]:
    """`count` respondents of the same world who are in no split and in no administration, and the options they choose."""
    cards = fresh_personas(count, seed + 1)
    theta = np.array([[true_attitude(card, c, seed + 1) for c in like.constructs] for card in cards])
    rng, truth = np.random.default_rng(seed), np.zeros((count, len(like.items)), dtype=int)
    for j, q in enumerate(like.items):
        upto = option_probabilities(q, theta[:, like.constructs.index(q.construct)]).cumsum(1)
        truth[:, j] = (rng.random((count, 1)) > upto[:, :-1]).sum(1)
    probs = np.eye(like.probs.shape[2])[truth]
    return cards, Sheet(people=tuple(c["persona_id"] for c in cards), items=like.items, probs=probs, truth=truth, theta=theta)


def sheet_stats(sheet: Sheet, cards: np.ndarray, probe: probes.AttributeProbe, x: np.ndarray, clear: np.ndarray) -> dict[tuple[str, str], Stat]:
    """All measures of one system's sheet that compare it with its own people: (metric, detail) -> measure. `cards`: the probe's coordinates of them."""
    likely = Candidates.of(sheet_scores.option_likelihood(sheet))
    cardlike = Candidates.of(probes.likeness(probe.read(sheet_scores.centred_scores(sheet)), cards))
    stats = {(name, ""): stat for name, stat in (sheet_scores.option_swap(sheet) | sheet_scores.attitude_agreement(sheet)).items()}
    for k in PICKS:
        stats["pick_options", f"k={k}"], stats["pick_card_options", f"k={k}"] = likely.pick(k), cardlike.pick(k)
    return stats | {(name, ""): stat for name, stat in effects.coefficient_agreement(sheet, x, clear).items()}


def add_permuted_stances(lines: list[dict], sheets: dict[str, Sheet], seed: int) -> None:
    """Adds to the stances that notebook 04 scored what the same answers reach with permuted people, and the draws of resampled people."""
    people = len(next(iter(sheets.values())).people)
    orders = sheet_scores.derangements(people, seed)
    for line in (each for each in lines if each["section"] == "attitude" and each["system"] in sheets):
        sheet = sheets[line["system"]]
        if line["metric"] == "stance_acc":
            line["shuffled"] = float(np.mean([sheet_scores.hits(sheet.permuted(o)).mean() for o in orders]))
            line["draws"] = stat_draws(sum_ratio(sheet_scores.hits(sheet).mean(1)), people, seed=seed)[1]
        if line["metric"] == "stance_qwk":
            line["shuffled"] = float(np.mean([sheet_scores.five_point_kappa(sheet.permuted(o)) for o in orders]))


def from_sheets(sheets: dict[str, Sheet], cards: Sequence[dict], seed: int) -> list[dict]:
    """Swap, identification, attitudes, contradictions and coefficients of every system's sheet, with the same for permuted people."""
    first, lines = next(iter(sheets.values())), []
    others, theirs = other_respondents(first, PROBE_PEOPLE, seed)
    probe = probes.fit_probe(sheet_scores.centred_scores(theirs), others, penalty=PROBE_PENALTY)
    people, x = len(first.people), effects.design(cards)[0]
    known = (probe.coordinates(cards), probe, x, effects.significant(x, sheet_scores.implied_attitudes(first.true_sheet())))
    sizes = {"answers": first.truth.size, "personas": people, "attitudes": first.theta.size, "clear coefficients": int(known[-1].sum()),
             "coefficients": (x.shape[1] - 1) * len(first.constructs)}  # fmt: skip
    for system, sheet in sheets.items():
        chances = _chances(sheet, known, seed)
        for (metric, detail), stat in sheet_stats(sheet, *known).items():
            estimated = stat_estimate(stat, people, seed=seed, centred=MEASURES[metric].section in CENTRED)
            if metric.startswith(SHARES):
                estimated |= {end: float(np.clip(estimated[end], 0, 1)) for end in ("lo", "hi")}
            lines.append(measure_line(metric, detail, system, estimated, sizes[MEASURES[metric].unit], chances[metric, detail]))
        for metric, (stat, chance, pairs) in sheet_scores.contradictions(sheet).items():
            lines.append(measure_line(metric, "", system, stat_estimate(stat, people, seed=seed), pairs * people, chance))
    return lines


def _chances(sheet: Sheet, known: tuple, seed: int) -> dict[tuple[str, str], float]:
    """(metric, detail) -> what the same answers reach with permuted people: 1 / k where one of k is picked, else the mean over `derangements`."""
    one = np.ones((1, len(sheet.people)))
    permuted = [sheet_stats(sheet.permuted(order), *known) for order in sheet_scores.derangements(len(sheet.people), seed)]
    return {key: 1 / int(key[1][2:]) if key[0].startswith("pick_") else float(np.mean([stats[key](one)[0] for stats in permuted])) for key in permuted[0]}


def attributes(sheets: dict[str, Sheet], cards: Sequence[dict], seed: int) -> list[dict]:
    """Which attributes each system's sheet gives away; no lines if no attribute divides the people well enough."""
    labels, lines = probes.card_labels(cards, fewest=probes.FEWEST_WITH), []
    for system, sheet in sheets.items() if labels.shape[1] else ():
        for row in probes.recover(sheet_scores.item_scores(sheet), labels, seed=seed).itertuples():
            lines.append(measure_line("recover", row.attribute, system, row._asdict(), len(labels), row.floor, row.p_holm))
    return lines


# --- all together ---------------------------------------------------------------------------------------------------------------------------


def measure_fidelity(run: RunConfig, parts: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every measure of every system, and what tuning did to each. Foreign data have no questionnaire and no known attributes: only texts are measured.

    Returns: the measures (columns `MEASURE_COLUMNS`; intervals are 95 %, clustered by persona; `shuffled` is the same system's level with its answers assigned
        to permuted people), and `tuning_contrasts` of them. Writes both, and the coefficients that are clear in the respondents, to `scores/`.
    """
    shown = system_labels(run)
    preds = answer_files.load_predictions(locate.find(run, "preds"))
    preds = preds[preds["system"].isin(shown)].reset_index(drop=True)
    rows, systems = pd.read_parquet(locate.find(run, "scores/rows.parquet")), pd.read_csv(locate.find(run, "scores/systems.csv"))
    rows, systems = (f[f["system"].isin(shown)] for f in (rows, systems))
    administered = None if run.data else pd.read_csv(locate.find(run, "scores/administration.csv")).query("system in @shown")
    pool, seed = pd.concat([parts[p] for p in SPLITS], ignore_index=True), run.seed
    lines = from_scores(systems, administered, rows, seed) + picks_by_text(rows, seed) + consistency(preds, seed) + memory(preds, parts["train"], seed)
    if not run.data:
        frames, sheets, cards = load_sheets(run)
        with threadpool_limits(1):  # many small products: a second thread only waits (measured: three times the processor time beside other work)
            lines += from_sheets(sheets, cards, seed) + attributes(sheets, cards, seed)
            lines += text.picks_by_answer(preds, parts["test"], text.wording_by_domain(pool), seed)
            if probe := text.fit_wording(pool):  # the questionnaires are of people who are in no split
                in_file_order = {system: frames[system] for system in sorted(frames, key="{}.parquet".format)}
                lines += text.picks_by_questionnaire(in_file_order, questionnaire(len(cards), seed), probe, seed)
        add_permuted_stances(lines, sheets, seed)
        _write(run, "fidelity_effects", effects.clear_effects(sheets, cards))
    table, compared = with_levels(lines), tuning_contrasts(lines, run.model_keys)
    _write(run, "fidelity", table)
    _write(run, "fidelity_contrasts", compared)
    return table, compared


def _write(run: RunConfig, name: str, table: pd.DataFrame) -> None:
    table.round(6).to_csv(run.paths.folder("scores") / f"{name}.csv", index=False)


def load_sheets(run: RunConfig) -> tuple[dict[str, pd.DataFrame], dict[str, Sheet], list[dict]]:
    """The administrations of the run's systems as they are and as sheets (`truth`: the respondents' own), and the people's cards. Empty for foreign data.

    Raises: ValueError if the sheets are of other people than the run's seed draws (the published ones, read with another seed), or if an answer is missing.
    """
    frames = answer_files.load_administrations(run)
    if not frames:
        return {}, {}, []
    asked = [q.id for q in load_questions().values() if q.options]
    sheets = {system: sheet_of(frame).in_order(asked).whole() for system, frame in frames.items()}
    first = next(iter(sheets.values()))
    cards = {c["persona_id"]: c for c in fresh_personas(len(first.people), run.seed)}
    cards, construct = [cards[p] for p in first.people], first.constructs[0]
    if not np.allclose([true_attitude(card, construct, run.seed) for card in cards], first.theta[:, 0], atol=1e-6):
        raise ValueError(f"the questionnaires were not answered by the people of seed {run.seed}; run notebook 04 with this seed first")
    return frames, sheets | {TRUTH: first.true_sheet()}, cards


def effects_table(run: RunConfig) -> pd.DataFrame:
    """`scores/fidelity_effects.csv`, written by `measure_fidelity`: `effects.clear_effects` of every system."""
    return pd.read_csv(locate.find(run, "scores/fidelity_effects.csv"), keep_default_na=False).round(3)


def conditions(run: RunConfig) -> pd.DataFrame | None:
    """`scores/conditions.csv`, written by notebook 11 (other cards, examples in the prompt); None without it, or for foreign data."""
    try:
        return None if run.data else pd.read_csv(locate.find(run, "scores/conditions.csv"))
    except FileNotFoundError:
        return None


def permuted_truth_probability(sheets: dict[str, Sheet], seed: int) -> dict[str, float]:
    """System -> the probability that its answers give to the true options of other people."""
    orders = sheet_scores.derangements(len(next(iter(sheets.values())).people), seed)
    return {system: float(np.mean([sheet_scores.of_chosen(s.probs[o], s.truth).mean() for o in orders])) for system, s in sheets.items()}


def training_log(run: RunConfig) -> pd.DataFrame:
    """The similarity that training logged each epoch (`persona_sim`), one row a model: the paper's own measure without a floor."""
    trained = records.published_runs(run)
    logged = {r["model"]: {f"epoch {e['epoch']}": e["persona_sim"] for e in r["epochs"] if "persona_sim" in e} for r in trained}
    return pd.DataFrame.from_dict(logged, orient="index")
