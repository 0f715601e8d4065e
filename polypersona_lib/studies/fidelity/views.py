"""What notebook 08 shows: the measures in its tables, and before each table one person worked out in plain text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from textwrap import shorten

import numpy as np
import pandas as pd

from ...config import RunConfig
from ...prompts.chat import render_card
from ...scoring.fidelity_measures import BLOCKS, GRAMS, MEASURES, PICKS, TRUTH, system_of, tuning_in_words
from ...survey.sheet import Sheet
from ...systems import UPPER_BOUNDS, system_labels, untuned, untuned_and_tuned
from . import attribute_probes as probes
from . import effects
from .candidates import LEAST
from .sheet_scores import implied_attitudes, item_scores, option_likelihood
from .text_scores import runs_of, spoken

VIEWS = {  # the tables of notebook 08: name -> {(metric, detail): heading}
    "swap": {
        ("option_gap_log", ""): "option, nats", ("option_auc", ""): "option, AUC",
        ("swap_gap_rouge1_content", ""): "words on content", ("swap_gap_rouge1_masked", ""): "words without the cards'",
        ("swap_gap_semantic", ""): "meaning",
    },
    "one answer": {
        (metric, f"k={k}"): f"{name}, {k}" for metric, name in (("pick_meaning", "answer by meaning"), ("pick_card_answer", "card by words")) for k in PICKS
    },
    "questionnaire": {
        (metric, f"k={k}"): f"{name}, {k}"
        for metric, name in (("pick_options", "person by options"), ("pick_card_options", "card by options"), ("pick_card_words", "card by wording"))
        for k in PICKS[:2]
    },
    "attitude": {
        ("stance_acc", ""): "true option chosen", ("stance_qwk", ""): "quadratic kappa", ("attitude_r_pooled", ""): "r, pooled",
        ("attitude_r_within", ""): "r, within constructs",
    },
    "contradiction": {
        ("contradiction", ""): "all pairs of a construct", ("contradiction_reversed", ""): "opposite keys",
        ("acquiescence", ""): "agreed with both", ("decided", ""): "decided",
    },
    "coefficients": {("coef_r", ""): "correlation", ("coef_slope", ""): "strength", ("coef_flips", ""): "wrong sign among the clear ones"},
    "consistency": {("card_sim", ""): "similarity to the person's card (to others')", ("card_auc", ""): "the person's card more similar (chance)"},
    "memory": {("verbatim", ""): "whole answer"} | {(f"run{n}", ""): f"a run of {n} words" for n in GRAMS},
}  # fmt: skip
_CEILINGS = {"oracle_card": "oracle: card", "resample": "same respondent again", TRUTH: "the respondents"}


def fidelity_labels(run: RunConfig) -> dict[str, str]:
    """Every system's name in the order of the tables: floors, models, the respondents themselves, bounds."""
    names = system_labels(run)
    bounds = {name: names.pop(name) for name in UPPER_BOUNDS}
    return names | {TRUTH: "the respondents themselves"} | bounds


def cells_by_system(table: pd.DataFrame, wanted: Mapping[tuple[str, str], str], labels: Mapping[str, str], *, shuffled: bool = False) -> pd.DataFrame:
    """Part of the table as a reader wants it: one row a system, one column a measure, each cell `value [interval]`.

    Args: wanted: (metric, detail) -> heading; measures that this run has not are left out. shuffled: add the level of permuted people to each cell.
    Returns: text cells; n stands in the heading, and in a cell where it is another one. A dash: the measure does not apply to the system.
    """
    columns = {}
    for (metric, detail), heading in wanted.items():
        part = table[(table["metric"] == metric) & (table["detail"] == detail)].set_index("system")
        if part.empty:
            continue
        most = int(part["n"].mode().max())
        text = {c: part[c].map(lambda v: f"{round(v, 3) + 0.0:.3f}" if v == v else "") for c in ("value", "lo", "hi", "shuffled")}  # + 0.0: no minus zero
        cells = text["value"] + [f" [{lo}, {hi}]" if lo else "" for lo, hi in zip(text["lo"], text["hi"], strict=True)]
        if shuffled:
            cells += [f" ({s})" if s else "" for s in text["shuffled"]]
        cells += ["" if n == most else f", n {n}" for n in part["n"].astype(int)]
        columns[f"{heading} (n = {most:,} {MEASURES[metric].unit})"] = cells.where(part["value"].notna())
    cells = pd.DataFrame(columns).reindex([s for s in labels if any(s in c.index for c in columns.values())])
    return cells.dropna(how="all").fillna("–").rename(index=dict(labels))


def short_table(table: pd.DataFrame, wanted: Mapping[tuple[str, str], str], keys: Sequence[str]) -> pd.DataFrame:
    """A table of `cells_by_system` in short, one row a column of it: floor, the range of the untuned and of the tuned models, ceiling and whose it is.

    "off it": in how many of the models the 95 % interval excludes the floor.
    """
    rows = []
    for (metric, detail), heading in wanted.items():
        part = table[(table["metric"] == metric) & (table["detail"] == detail)].set_index("system")
        row = {"": heading, "floor": f"{part['floor'].median() + 0.0:.3f}" if part["floor"].notna().any() else "–"}
        for kind in ("untuned", "tuned"):
            mine = part.reindex([system_of(k, kind) for k in keys]).dropna(subset=["value"])
            apart = ((mine["lo"] > mine["floor"]) | (mine["hi"] < mine["floor"])).sum()
            row[kind] = f"{mine['value'].min():.3f} to {mine['value'].max():.3f}" if len(mine) else "–"
            row[f"{kind}, off it"] = f"{apart} of {len(mine)}" if mine["floor"].notna().any() else "–"
        row["ceiling, yardstick"] = f"{part['ceiling'].median():.3f}, {_CEILINGS[MEASURES[metric].ceiling]}" if part["ceiling"].notna().any() else "–"
        rows += [row] if len(part) else []
    short = pd.DataFrame(rows).set_index("") if rows else pd.DataFrame()
    return short.replace(r"-0\.000", "0.000", regex=True)


def focus_labels(labels: Mapping[str, str], focus: str) -> dict[str, str]:
    """The labels of the few systems of the short tables: baselines, one model untuned and tuned, the respondents, upper bounds."""
    kept = {"uniform", "majority", "persona_blind", untuned(focus), focus, TRUTH, "resample", "oracle_card"}
    return {system: label for system, label in labels.items() if system in kept}


def ladder_overview(ladder: pd.DataFrame, labels: Mapping[str, str], keys: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Models (rows, untuned before tuned) x measures of the ladder (columns): the share of the way from floor (0) to ceiling (1), and is it clear of 0?

    Args: ladder: from `fidelity_measures.ladder_rows`. Measures that cannot tell their ceiling from their floor are left out.
    """
    told = ladder[ladder["told"].astype(bool)]
    if told.empty:  # foreign data: nothing has an upper bound
        return pd.DataFrame(), pd.DataFrame()
    told = told.assign(clear=(told["lo"] > 0) | (told["hi"] < 0))
    shown = [s for s in untuned_and_tuned(keys) if s in set(told["system"])]
    wide = told.pivot(index="system", columns="label", values=["value", "clear"]).reindex(shown).rename(index=dict(labels)).rename_axis(index=None)
    value, clear = (wide[part][list(dict.fromkeys(told["label"]))].rename_axis(columns=None) for part in ("value", "clear"))
    return value.astype(float), clear.eq(True)


def headlines(ladder: pd.DataFrame, compared: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """What holds, a sentence a line: which measures work here, how far the models get in each block of the ladder, and what tuning changed clearly."""
    silent = list(dict.fromkeys(ladder.loc[~ladder["told"].astype(bool), "label"]))
    count, silent_names = ladder["metric"].nunique(), ", ".join(silent)
    if not count:
        return ["No upper bound is known in this run, so nothing says how far the models get."]
    told = f"{count - len(silent)} of {count} measures tell their upper bound from their baseline"
    lines = [f"{told}; nothing can be read off the others: {silent_names}." if silent else f"{told}."]
    for heading, metrics in BLOCKS.items():
        mine = ladder[ladder["metric"].isin(metrics)]
        means = {side: mine[mine["system"].isin([system_of(k, side) for k in keys])]["value"].mean() for side in ("untuned", "tuned")}
        if mine["told"].astype(bool).any():
            lines.append(f"{heading}: models get {means['untuned']:.2f} of the way from baseline to upper bound untuned, {means['tuned']:.2f} tuned.")
    return lines + [f"{line}." for line in tuning_in_words(compared, BLOCKS).splitlines()]


# --- one person, worked out --------------------------------------------------------------------------------------------------------

NO_SHEET = "foreign data: nobody answered a questionnaire whose truth is known, so there is no example"
_SIDES = {-1: "lower half", 0: "middle", 1: "upper half"}


def _for_known_people(example: Callable[..., str]) -> Callable[..., str]:
    """The example, or `NO_SHEET` for a run that has no sheet (None)."""

    @wraps(example)
    def text(sheet: Sheet | None, *args, **kwargs) -> str:
        return NO_SHEET if sheet is None else example(sheet, *args, **kwargs)

    return text


@_for_known_people
def sheet_example(sheet: Sheet, items: Iterable[int]) -> str:
    """Some items of one sheet: the probability of each option, the respondent's own option in square brackets."""
    lines = []
    for j in items:
        q, probs = sheet.items[j], sheet.probs[0, j]
        given = (f"[{o}] {probs[i]:.2f}" if i == sheet.truth[0, j] else f"{o} {probs[i]:.2f}" for i, o in enumerate(q.options))
        lines.append(f"{q.text}\n   {', '.join(given)}")
    return "\n".join(lines)


@_for_known_people
def swap_example(sheet: Sheet) -> str:
    """The item about which the sheet is surest: the probability of the person's true option beside the others' true options."""
    j = int(sheet.probs[0].max(1).argmax())
    own, others = sheet.probs[0, j, sheet.truth[0, j]], sheet.probs[0, j, np.delete(sheet.truth[:, j], 0)]
    ratio = np.log(max(own, LEAST)) - np.log(np.maximum(others, LEAST)).mean()
    return (f"{sheet.items[j].text}\n   the person's true option: probability {own:.3f}; the {len(others)} others' true options: {others.mean():.3f} on average"
            f"\n   difference {own - others.mean():+.3f}; log-likelihood ratio {ratio:+.3f} nats")  # fmt: skip


@_for_known_people
def guess_example(sheet: Sheet, cards: Sequence[dict], count: int = 5) -> str:
    """The first person's sheet and `count` people: the log-likelihood of each one's true options under it, 0 for the best."""
    likely = option_likelihood(sheet)[0, :count]
    lines = [f"{v:9.2f}  {shorten(render_card(c), 110)}" for v, c in zip(likely - likely.max(), cards, strict=False)]
    return "\n".join([f"{lines[0]}   <- whose sheet it is", *lines[1:]])


@_for_known_people
def probe_example(sheet: Sheet, cards: Sequence[dict]) -> str:
    """One fold of the probe of one trait: the people it has not seen, ordered by its guess. Empty if all traits are too rare."""
    labels = probes.card_labels(cards, fewest=probes.FEWEST_WITH)
    column = next((c for c in labels.columns if c[0] == "traits"), None)
    if column is None:
        return ""
    x, fold = probes.standardised(item_scores(sheet)), np.arange(0, len(cards), 5)
    guess = probes.held_out_map(x, fold, x.shape[1]) @ labels[column].to_numpy()
    row = "".join("#" if has else "." for has in labels[column].to_numpy()[fold][np.argsort(guess, kind="stable")])
    return f"'{column[1]}': {len(fold)} people whom the probe has not seen, from its lowest guess to its highest (# has it)\n   {row}"


@_for_known_people
def attitude_example(sheet: Sheet, construct: str) -> str:
    """One construct of one sheet: the items' expected options, the implied attitude, and the true one."""
    scores, column = item_scores(sheet)[0], sheet.constructs.index(construct)
    lines = [f"   {v:.2f}  {q.text}{' (turned round)' if q.key < 0 else ''}" for v, q in zip(scores, sheet.items, strict=True) if q.construct == construct]
    implied = implied_attitudes(sheet)[:, column]
    lines.append(f"implied {construct}: {implied[0]:.2f} (all people: mean {implied.mean():.2f}, standard deviation {implied.std():.2f})")
    return "\n".join([*lines, f"true attitude: {sheet.theta[0, column]:+.2f} (population: mean 0, standard deviation 1)"])


@_for_known_people
def contradiction_example(sheet: Sheet, construct: str) -> str:
    """Two items of opposite keys of one construct: where the respondent's answers lie, and the sheet's chances of either half."""
    of = [j for j, q in enumerate(sheet.items) if q.construct == construct]
    pair = next((i, j) for i in of for j in of if sheet.items[i].key > 0 > sheet.items[j].key)
    lines = []
    for j in pair:
        q, probs, t = sheet.items[j], sheet.probs[0, j], int(sheet.truth[0, j])
        half, side = len(q.options) // 2, _SIDES[int(np.sign(2 * t - len(q.options) + 1))]
        upper = probs[len(q.options) - half : len(q.options)].sum()
        lines.append(f"{q.text}\n   respondent: {q.options[t]} ({side}); model: lower half {probs[:half].sum():.2f}, upper half {upper:.2f}")
    return "\n".join(lines)


def effects_example(sheets: dict[str, Sheet], cards: Sequence[dict], construct: str) -> pd.DataFrame:
    """The strongest attributes of the first sheet's people on one construct: every sheet's coefficients as `value [95 % interval]`, and whether the first's
    differs from 0."""
    x, names = effects.design(cards)
    first = next(iter(sheets.values()))
    column = first.constructs.index(construct)
    fits = {name: [part[:, column] for part in effects.slopes(x, implied_attitudes(p))] for name, p in sheets.items()}
    cells = {name: [f"{v:+.3f} [{v - w:+.3f}, {v + w:+.3f}]" for v, w in zip(value, wide, strict=True)] for name, (value, wide, _) in fits.items()}
    table = pd.DataFrame(cells, index=names[1:]).assign(clear=effects.significant(x, implied_attitudes(first))[:, column])
    strongest = np.argsort(-np.abs(next(iter(fits.values()))[0]), kind="stable")
    return table.iloc[strongest[:6]]


def memory_example(answer: str, train: Iterable[str]) -> str:
    """How many words of an answer, in a row, stand in some train answer."""
    said, known = spoken(answer), [spoken(t) for t in train]
    longest = next((n for n in range(len(said), 0, -1) if any(not runs_of(said, n).isdisjoint(runs_of(t, n)) for t in known)), 0)
    return f"{len(said)} words; the longest run of words that also stands in a train answer: {longest}"
