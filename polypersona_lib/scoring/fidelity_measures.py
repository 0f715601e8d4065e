"""The measures of persona fidelity as data: what each is called, what its n counts, what its floor and ceiling are; and the tables a reader sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..resampling import holm
from ..systems import is_untuned, untuned

TRUTH = "truth"
PICKS = (2, 5, 10)  # people among whom the right one is picked
GRAMS = (4, 8, 12)  # words in a row that are looked up in train
CONTRASTS = ("untuned - floor", "tuned - floor", "tuned - untuned")
CONTRAST_COLUMNS = ["metric", "detail", "label", "contrast", "model", "value", "lo", "hi", "toward", "p", "p_holm"]
MEAN = "mean"  # the model of the contrasts that average over the models
MEASURE_COLUMNS = ["section", "metric", "detail", "system", "value", "lo", "hi", "n", "shuffled", "floor", "ceiling", "p_holm"]


@dataclass(frozen=True)
class Measure:
    """One measure: what `n` counts, which level is its floor ("shuffled": the same answers, permuted people; or a system), which system its ceiling."""

    section: str
    label: str
    unit: str
    floor: str = "shuffled"
    ceiling: str = "oracle_card"


MEASURES = {
    **{
        f"swap_{kind.lower()}_{key}": Measure("swap", f"Swap {kind}, {what}", "answers", ceiling="resample")
        for key, what in (("rouge1", "words"), ("rouge1_masked", "words not on the cards"), ("rouge1_content", "words on content"),
                          ("semantic", "meaning"))
        for kind in ("gap", "AUC")
    },
    "swap_gap_option": Measure("swap", "Swap gap, option of the test answer", "answers"),
    "swap_auc_option": Measure("swap", "Swap AUC, option of the test answer", "answers"),
    "option_gap_log": Measure("swap", "Swap gap, log-likelihood of the option (nats)", "answers"),
    "option_gap": Measure("swap", "Swap gap, probability of the option", "answers"),
    "option_auc": Measure("swap", "Swap AUC, probability of the option", "answers"),
    "pick_meaning": Measure("identification", "Person picked by meaning, one answer", "answers", ceiling="resample"),
    "pick_words": Measure("identification", "Person picked by words, one answer", "answers", ceiling="resample"),
    "pick_card_answer": Measure("identification", "Card picked by a probe, words of one answer", "answers", ceiling="resample"),
    "pick_options": Measure("identification", "Person picked by likelihood of the options, whole questionnaire", "personas"),
    "pick_card_options": Measure("identification", "Card picked by a probe, options of the questionnaire", "personas"),
    "pick_card_words": Measure("identification", "Card picked by a probe, words of the questionnaire", "personas", ceiling=TRUTH),
    "recover": Measure("attributes", "Attributes read off the questionnaire (AUC)", "personas"),
    "stance_acc": Measure("attitude", "The respondent's option chosen", "answers", floor="majority"),
    "stance_qwk": Measure("attitude", "Quadratic kappa with the respondent's option", "answers", floor="majority"),
    "attitude_r_pooled": Measure("attitude", "Correlation with the true attitude, pooled", "attitudes"),
    "attitude_r_within": Measure("attitude", "Correlation with the true attitude, within constructs", "attitudes"),
    "contradiction": Measure("contradiction", "Contradictory pairs of one construct", "pairs", ceiling=TRUTH),
    "contradiction_reversed": Measure("contradiction", "Contradictory pairs of opposite keys", "pairs", ceiling=TRUTH),
    "acquiescence": Measure("contradiction", "Agreement with both of opposite keys", "pairs", ceiling=TRUTH),
    "decided": Measure("contradiction", "Decided pairs", "pairs", ceiling=TRUTH),
    "card_sim": Measure("consistency", "Similarity of answer and card (the paper's)", "answers", ceiling="resample"),
    "card_auc": Measure("consistency", "The person's card is more similar than a stranger's", "answers", ceiling="resample"),
    "coef_r": Measure("coefficients", "Correlation of the attributes' effects", "coefficients"),
    "coef_slope": Measure("coefficients", "Strength of the attributes' effects", "coefficients"),
    "coef_flips": Measure("coefficients", "Effects with the wrong sign", "clear coefficients"),
    "verbatim": Measure("memory", "Whole answer stands in train", "answers", ceiling="resample"),
    **{f"run{n}": Measure("memory", f"A run of {n} words stands in train", "answers", ceiling="resample") for n in GRAMS},
}  # fmt: skip
BLOCKS = {  # the blocks of the ladder
    "What it chooses": ["stance_acc", "attitude_r_within", "coef_r", "pick_options", "pick_card_options", "contradiction"],
    "How it speaks": ["pick_card_words", "pick_meaning", "swap_gap_rouge1_content", "card_auc"],
}  # fmt: skip
LADDER = (  # the rows of the ladder: (metric, detail, name). `recover` has no good direction: a caricature gives away more than a person does
    ("stance_acc", "", "chooses the respondent's option"),
    ("attitude_r_within", "", "attitudes follow the true ones"),
    ("coef_r", "", "attributes pull as they do in people"),
    ("pick_options", "k=5", "person picked out of 5 by options"),
    ("pick_card_options", "k=5", "card picked out of 5 by options"),
    ("contradiction", "", "contradicts itself as rarely as people"),
    ("pick_card_words", "k=5", "card picked out of 5 by wording"),
    ("pick_meaning", "k=2", "answer picked out of 2 by meaning"),
    ("swap_gap_rouge1_content", "", "words on content fit their own person better"),
    ("card_auc", "", "answer resembles its person's card (the paper's measure)"),
)
COMPARED = {(metric, detail) for metric, detail, _ in LADDER}  # the measures in which systems are compared, on the same resampled people


def measure_line(metric: str, detail: str, system: str, estimated: Mapping, n: int, shuffled: float = np.nan, p_holm: float = np.nan) -> dict:
    """One number: `estimated` holds value, lo, hi and, for comparisons of systems, draws (its values for resampled people)."""
    return {"section": MEASURES[metric].section, "metric": metric, "detail": detail, "system": system, "n": n, "shuffled": shuffled,
            "p_holm": p_holm, "draws": estimated.get("draws")} | {k: estimated[k] for k in ("value", "lo", "hi")}  # fmt: skip


def with_levels(lines: list[dict]) -> pd.DataFrame:
    """The lines as a table, each with the floor and the ceiling of its measure (NaN: this run has none)."""
    table = pd.DataFrame(lines)
    known = table.set_index(["metric", "detail", "system"])["value"].to_dict()
    for name in ("floor", "ceiling"):
        systems = [getattr(MEASURES[m], name) for m in table["metric"]]
        table[name] = [own if s == "shuffled" else known.get((m, d, s), np.nan)
                       for s, m, d, own in zip(systems, table["metric"], table["detail"], table["shuffled"], strict=True)]  # fmt: skip
    return table[MEASURE_COLUMNS]


def ladder_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the figure: metric, label, system, n, raw, floor, ceiling, told, and value, lo, hi on a scale where the floor is 0 and the ceiling 1.

    `told` is False, and the scaled values are NaN, for a measure that cannot tell its own ceiling from its floor (the ceiling's interval holds the floor):
    nothing can be read between two ends that may be one. Measures without floor or ceiling in this run are left out.
    """
    rows = []
    for metric, detail, name in LADDER:
        part = table[(table["metric"] == metric) & (table["detail"] == detail) & table["floor"].notna() & table["ceiling"].notna()]
        top = part[part["system"] == MEASURES[metric].ceiling]
        if top.empty:
            continue
        best, width = top.iloc[0], part["ceiling"] - part["floor"]
        told = bool((best["lo"] > best["floor"] and width.min() > 0) or (best["hi"] < best["floor"] and width.max() < 0))
        scaled = {c: (part[c] - part["floor"]) / width if told else np.nan for c in ("value", "lo", "hi")}
        if told and width.max() < 0:  # the less, the better: the ends change places
            scaled |= {"lo": scaled["hi"], "hi": scaled["lo"]}
        rows.append(part[["metric", "system", "n", "floor", "ceiling"]].assign(label=name, told=told, raw=part["value"], **scaled))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["metric", "label", "system", "value", "lo", "hi", "floor", "ceiling", "told"])


def system_of(key: str, side: str) -> str:
    """The system that is model `key`, "untuned" or "tuned"."""
    return untuned(key) if side == "untuned" else key


def _known(lines: Sequence[dict]) -> dict[tuple[str, str, str], dict]:
    return {(each["metric"], each["detail"], each["system"]): each for each in lines if each["draws"] is not None and len(each["draws"])}


def _floor(known: dict, own: dict) -> tuple[float, np.ndarray | float] | None:
    """(level, draws) of the floor of a line: its own answers with permuted people, or the system that `MEASURES` names; None: this run has none."""
    if MEASURES[own["metric"]].floor == "shuffled":
        return (own["shuffled"], own["shuffled"]) if np.isfinite(own["shuffled"]) else None
    other = known.get((own["metric"], own["detail"], MEASURES[own["metric"]].floor))
    return None if other is None else (other["value"], other["draws"])


def _difference(value: float, draws: np.ndarray) -> dict[str, float]:
    """A difference with its interval and the two-sided p-value of "none", both from the standard deviation of its draws."""
    spread = float(np.nanstd(draws))
    p = 2 * norm.sf(abs(value) / spread) if spread > 0 else float(abs(value) < 1e-12)
    return {"value": value, "lo": value - 1.96 * spread, "hi": value + 1.96 * spread, "p": float(p)}


def tuning_contrasts(lines: Sequence[dict], keys: Sequence[str]) -> pd.DataFrame:
    """Every contrast of every measure of the ladder, model by model and averaged over the models.

    Args: lines: from `measure_line`, those with `draws` of resampled people. keys: the models.
    Returns: `CONTRAST_COLUMNS`; value, lo, hi in the measure's unit; toward: whether the difference points to the ceiling; p_holm: Holm's correction
        over all models and measures of a contrast (the averages stand apart and are not corrected). Measures without floor or ceiling are left out.
    """
    known, rows = _known(lines), []
    for metric, detail, label in LADDER:
        top = known.get((metric, detail, MEASURES[metric].ceiling))
        if top is None:
            continue
        for contrast, each in _pairs(known, metric, detail, keys).items():
            each |= {MEAN: tuple(np.mean([part[i] for part in each.values()], axis=0) for i in range(3))} if len(each) > 1 else {}
            for model, (value, draws, floor) in each.items():
                toward = np.sign(value) == np.sign(top["value"] - floor)
                key = {"metric": metric, "detail": detail, "label": label, "contrast": contrast, "model": model, "toward": bool(toward)}
                rows.append(key | _difference(float(value), draws))
    table = pd.DataFrame(rows, columns=[c for c in CONTRAST_COLUMNS if c != "p_holm"]).assign(p_holm=np.nan)
    for _, part in table[table["model"] != MEAN].groupby("contrast"):
        table.loc[part.index, "p_holm"] = holm(part["p"])
    return table[CONTRAST_COLUMNS]


def _pairs(known: dict, metric: str, detail: str, keys: Sequence[str]) -> dict[str, dict[str, tuple]]:
    """contrast -> model -> (difference, its draws, the floor's level), for the models that have all that it takes."""
    pairs = {contrast: {} for contrast in CONTRASTS}
    for key in keys:
        own = {side: known.get((metric, detail, system_of(key, side))) for side in ("untuned", "tuned")}
        floors = {side: _floor(known, each) for side, each in own.items() if each is not None}
        for side, floor in floors.items():
            if floor:
                pairs[f"{side} - floor"][key] = (own[side]["value"] - floor[0], own[side]["draws"] - floor[1], floor[0])
        if all(own.values()) and floors["tuned"]:
            draws = own["tuned"]["draws"] - own["untuned"]["draws"]
            pairs["tuned - untuned"][key] = (own["tuned"]["value"] - own["untuned"]["value"], draws, floors["tuned"][0])
    return {contrast: each for contrast, each in pairs.items() if each}


def tuning_summary(compared: pd.DataFrame, table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """One row a measure, as readers want it: floor, the models' means, ceiling; how many models are clearly above the floor; what tuning changed clearly.

    Args: compared: from `tuning_contrasts`. table: all measures. "Clearly": p below .05 after Holm's correction.
    """
    rows = []
    for metric, detail, label in LADDER:
        part = table[(table["metric"] == metric) & (table["detail"] == detail)]
        mine = compared[(compared["metric"] == metric) & (compared["detail"] == detail)]
        if mine.empty:
            continue
        each = mine[mine["model"] != MEAN]
        clear = each[each["p_holm"] < 0.05]
        above, hurt = clear[clear["toward"]], clear[~clear["toward"]]
        asked = each["contrast"].value_counts()
        means = {side: part[part["system"].isin([system_of(k, side) for k in keys])] for side in ("untuned", "tuned")}
        row = {"": label, "floor": means["tuned"]["floor"].mean(), **{side: group["value"].mean() for side, group in means.items()}}
        row |= {"ceiling": part["ceiling"].iloc[0]}
        counted = {"untuned clear of the floor": (above, 0), "tuned clear of the floor": (above, 1), "tuning helped": (above, 2), "tuning hurt": (hurt, 2)}
        row |= {name: f"{(clear_rows['contrast'] == CONTRASTS[i]).sum()} of {asked.get(CONTRASTS[i], 0)}" for name, (clear_rows, i) in counted.items()}
        rows.append(row | {"n": f"{int(means['tuned']['n'].max()):,} {MEASURES[metric].unit}"})
    return pd.DataFrame(rows).set_index("").round(3) if rows else pd.DataFrame()


def tuning_in_words(compared: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> str:
    """What tuning did, a sentence for each block of measures: in how many comparisons it clearly helped or hurt (Holm, 5 %)."""
    change, lines = compared[(compared["contrast"] == CONTRASTS[2]) & (compared["model"] != MEAN)], []
    for heading, metrics in groups.items():
        mine = change[change["metric"].isin(metrics)]
        clear = mine[mine["p_holm"] < 0.05]
        asked = f"{len(mine)} comparisons ({mine['metric'].nunique()} measures x {mine['model'].nunique()} models)"
        lines += [f"{heading}: of {asked} tuning clearly helped in {clear['toward'].sum()} and hurt in {(~clear['toward']).sum()}"] if len(mine) else []
    return "\n".join(lines)


def scaled_means(compared: pd.DataFrame, ladder: pd.DataFrame) -> pd.DataFrame:
    """The models' mean on the ladder's scale, with its interval: metric, kind ("untuned", "tuned"), value, lo, hi. With one model: that model."""
    rows = []
    for kind in ("untuned", "tuned"):
        part = compared[compared["contrast"] == f"{kind} - floor"]
        part = part[part["model"] == MEAN] if (part["model"] == MEAN).any() else part
        for each in part.itertuples():
            mine = ladder[(ladder["metric"] == each.metric) & ladder["told"].astype(bool)]
            if len(mine):
                shown = mine[mine["system"].map(is_untuned) == (kind == "untuned")]
                width = (shown["ceiling"] - shown["floor"]).mean()
                rows.append({"metric": each.metric, "kind": kind, "value": each.value / width, "lo": min(each.lo / width, each.hi / width),
                             "hi": max(each.lo / width, each.hi / width)})  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "kind", "value", "lo", "hi"])
