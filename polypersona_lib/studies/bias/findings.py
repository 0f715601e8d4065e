"""From everything that was answered to tables, to five plain sentences, and to the numbers that the claims ledger judges. No model is needed here."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from ... import files, resampling
from ...config import RunConfig
from ...locate import find_study
from ...people import human_baselines as baselines
from ...people.card_tiers import TIER_LADDER
from ...people.human_surveys import load_survey
from ...people.places import YEARS, democratic_share
from ...survey.sheet import Sheet
from ...systems import system_label
from . import balanced, bias_measures, grid, joint_distance, persona_text, tier_effects
from .item_bank import respondent_items
from .jobs import BiasStudy
from .plan import Gathered, load_gathered, study_people
from .planted import PLANTED
from .simulation import respondent_sheet, without_prior

TONES = ("polarity", "subjectivity", "vader_sentence", "polarity_equal", "subjectivity_equal", "vader_equal", "words")
LATEST = 2024
_STEP = ["step", "change", "rises", "holds"]


@dataclass(frozen=True)
class BiasFindings:
    """The study's tables by name, the gathered answers behind them, and the folder of the run."""

    gathered: Gathered
    tables: dict[str, pd.DataFrame]
    folder: Path

    @property
    def main(self) -> tuple[str, str]:
        """(simulator, generator) whose tiers are compared."""
        return self.gathered.simulators[0], self.gathered.generators[0]

    @property
    def note(self) -> str:
        """The grey line under the study's figures: who answers, as how many people."""
        simulator, _ = self.main
        who = "a planted world" if simulator == PLANTED else system_label(simulator, "nano")
        return f"answers by {who} · {self.gathered.plan.elections} people · seed {self.gathered.seed}"


def bias_study(run: RunConfig) -> BiasFindings:
    """The study of this run: asked now (profiles bias and smoke), or, in a notebook opened on its own, read from the last run or the published one.

    Without either a small planted world stands in, and one line says so. Writes `bias/study/`, `bias/tables/` and `bias/bias.json` where it asked.
    """
    own = run.paths.folder("bias")
    if run.profile in ("bias", "smoke"):
        gathered = BiasStudy(run).gather()
        gathered.save(own / "study")
        made = BiasFindings(gathered, tables_of(gathered), own)
        _write(made)
        return made
    try:
        gathered = load_gathered(find_study(run))
    except FileNotFoundError as error:
        print(f"{error}: until then a world with planted effects is shown, no model")
        with TemporaryDirectory() as folder:
            gathered = BiasStudy(run, planted=Path(folder)).gather()
    return BiasFindings(gathered, tables_of(gathered), own)


def _write(made: BiasFindings) -> None:
    for name, table in made.tables.items():
        files.write_atomically(made.folder / "tables" / f"bias_{name}.csv", table.to_csv(lineterminator="\n"))
    files.write_atomically(made.folder / "bias.json", json.dumps(evidence(made), indent=1, default=float) + "\n")


def tables_of(gathered: Gathered) -> dict[str, pd.DataFrame]:
    """Every table of the study: of cards failures, marginals, pairs, tone, tone_steps, hardship, words, facts, log_odds; of answers gates, elections, steps,
    differences, items, spread, groups, yes, mass, grid; of real respondents respondents, gaps; balanced: of requests that name hardships."""
    seed, frames = gathered.seed, gathered.frames
    answers = bias_measures.outcomes(frames["answers"])
    free = bias_measures.outcomes(pd.concat([
        without_prior(part, frames["prior"][frames["prior"]["simulator"] == s]) for s, part in frames["answers"].groupby("simulator", sort=False)
    ], ignore_index=True))  # fmt: skip
    main = answers[(answers["simulator"] == gathered.simulators[0]) & (answers["generator"] == gathered.generators[0])]
    kinds = {"kept": answers, "removed": free}
    votes = {kind: a[a["family"] == "elections"] for kind, a in kinds.items()}
    return _of_cards(gathered) | {
        "gates": frames["gates"],
        "elections": pd.concat([bias_measures.elections(a, seed=seed).assign(prior=kind) for kind, a in votes.items()], ignore_index=True),
        "steps": pd.concat([tier_effects.alignment_steps(a, tiers=TIER_LADDER, seed=seed).assign(prior=k) for k, a in votes.items()], ignore_index=True),
        "differences": tier_effects.tier_differences(main, seed=seed),
        "items": pd.concat([bias_measures.item_alignment(a, f, seed=seed).assign(family=f, prior=k) for k, a in kinds.items() for f in ("policy", "everyday")]),
        "spread": tier_effects.spread(answers), "yes": tier_effects.yes_saying(answers, seed=seed),
        "groups": tier_effects.known_groups(main, parties_of(gathered), seed=seed), "balanced": balanced.balanced_table(gathered),
    } | grid.grid_tables(votes["kept"], seed=seed) | _of_respondents(frames["respondents"], seed)  # fmt: skip


def parties_of(gathered: Gathered) -> dict[str, dict[str, str]]:
    """Tier -> the party that each person's card of the main generator names."""
    values = gathered.frames["values"]
    own = values[values["generator"] == gathered.generators[0]]
    return {"subjective": own["party"].to_dict(), "real_politics": own["real_party"].to_dict()}


def _of_cards(gathered: Gathered) -> dict[str, pd.DataFrame]:
    """Tables on cards alone: of every generator where it filled something, else of the main one."""
    seed, people = gathered.seed, study_people(600, seed=gathered.seed)
    cards, values, main = gathered.frames["cards"], gathered.frames["values"], gathered.generators[0]
    own = cards[(cards["generator"] == main) & (cards["text"] != "")].reset_index(drop=True)
    tones = persona_text.tone(own["text"])
    rows = []
    for tier in tier_effects.tier_order(own["tier"]):
        here = (own["tier"] == tier).to_numpy()
        means = resampling.bootstrap_means(tones.loc[here, list(TONES)], clusters=list(own.loc[here, "state"]), seed=seed)
        rows.append(means.rename_axis("measure").reset_index().assign(tier=tier, short=float(tones.loc[here, "short"].mean())))
    stories = [own.loc[own["tier"] == tier, "text"].tolist() for tier in ("descriptive", "template")]
    generators = [g for g in gathered.generators if (values["generator"] == g).any()]
    filled = {g: values[values["generator"] == g] for g in generators}
    return {
        "failures": gathered.frames["counts"].groupby(["generator", "what", "problem"], sort=False)[["n", "of"]].sum().reset_index(),
        "marginals": pd.concat([joint_distance.marginals(_probs(f)).assign(generator=g) for g, f in filled.items()], ignore_index=True),
        "pairs": pd.concat([joint_distance.pairs(people.loc[f.index], f).assign(generator=g) for g, f in filled.items()], ignore_index=True),
        "tone": pd.concat(rows, ignore_index=True), "tone_steps": _tone_steps(own, tones, seed),
        "hardship": persona_text.hardship_table(own), "words": persona_text.word_shares(own), "facts": persona_text.fact_table(own, people),
        "log_odds": persona_text.log_odds(*stories).reset_index() if all(stories) else pd.DataFrame(columns=["word", "log_odds", "z", "n", "n_others"]),
    }  # fmt: skip


def _probs(values: pd.DataFrame) -> pd.DataFrame:
    """The option probabilities of each attribute."""
    return values.filter(regex="^p_").rename(columns=lambda name: name[2:])


def _tone_steps(own: pd.DataFrame, tones: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`steps` of each tone over the paper's tiers, people paired."""
    parts = []
    for measure in TONES[:6]:
        wide = own.assign(value=tones[measure]).pivot_table(index=["persona_id", "state"], columns="tier", values="value")
        there = [t for t in TIER_LADDER if t in wide]
        parts.append(tier_effects.steps(wide[there], clusters=wide.index.get_level_values("state"), seed=seed).assign(measure=measure))
    return pd.concat(parts, ignore_index=True)


# --- real respondents --------------------------------------------------------------------------------------------------------------------


_DRAW = "~"  # between the name of a reference that is drawn several times and the number of the draw


@lru_cache(maxsize=4)
def _references(seed: int) -> dict[str, Sheet]:
    """The half of the poll that no baseline was made from, answered by each baseline and upper bound: the dozen items."""
    survey, ids = load_survey("nonvoters_2020"), [q.id for q in respondent_items()]
    whole = survey.sheet().in_order(ids)
    from_half, to_half = baselines.halves(len(whole.people), seed=seed)
    other, sheet, seen = whole.of(from_half), whole.of(to_half), baselines.seen_columns(survey)
    made = {"uniform": baselines.uniform(sheet), "most frequent": baselines.most_frequent(sheet, other)}
    made["demographics"] = baselines.regression(sheet, other, seen=seen[to_half], seen_other=seen[from_half])
    made |= {f"100 people{_DRAW}{k}": baselines.people_resampled(sheet, other, n=100, seed=seed + k) for k in range(20)}
    return made | {"other half": baselines.other_half(sheet, other)}


def _of_respondents(answers: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """(respondents) alignment, hit rate and log score of each simulator beside the baselines on the same items ("100 people": mean of twenty such surveys);
    (gaps) how far groups of people lie apart."""
    ids, whole = [q.id for q in respondent_items()], _references(seed)
    sheets = {s: respondent_sheet(part).in_order(ids) for s, part in answers.groupby("simulator", sort=False)}
    place = {person: i for i, person in enumerate(whole["uniform"].people)}
    asked = np.array([place[p] for p in next(iter(sheets.values())).people])
    every = whole | {"{} (same people){}{}".format(*name.partition(_DRAW)): sheet.of(asked) for name, sheet in whole.items()} | sheets
    table = baselines.baseline_table(every).groupby(lambda name: name.partition(_DRAW)[0], sort=False).mean()
    sizes = {name.partition(_DRAW)[0]: len(sheet.people) for name, sheet in every.items()}
    table["people"] = [sizes[name] for name in table.index]
    table.loc[list(sheets), "missing"] = [sheet.missing()["answers"] for sheet in sheets.values()]
    gaps = pd.concat([_gaps(s, sheet, whole["uniform"]) for s, sheet in sheets.items()], ignore_index=True)
    return {"respondents": table.rename_axis("system").reset_index(), "gaps": gaps}


def _gaps(system: str, sheet: Sheet, whole: Sheet) -> pd.DataFrame:
    """Mean over items of the largest minus the smallest group mean (positions 0-1), by variable: of the simulated answers (expected positions, without
    noise), and of the real answers of all people of `whole`, weighted: those of fifty would lie as far apart by luck."""
    seen, rows = load_survey("nonvoters_2020").people.loc[list(whole.people)], []
    for variable in ("party", "race", "age", "education", "gender"):
        groups = seen[variable].astype(object) if variable != "age" else pd.cut(seen["age"], [0, 44, 200]).astype(str)
        groups = groups.where(groups.isin(["Democrat", "Republican"])) if variable == "party" else groups
        mine = groups.loc[list(sheet.people)]
        kept = [g for g, n in mine.value_counts().items() if n >= 8]
        if len(kept) > 1:
            means = np.stack([np.nanmean(sheet.positions()[0][(mine == g).to_numpy()], axis=0) for g in kept])
            people = baselines.group_gaps(whole, groups.where(groups.isin(kept)).to_frame(variable))[variable]
            wide = float(np.mean(means.max(axis=0) - means.min(axis=0)))
            rows.append({"simulator": system, "variable": variable, "simulated": wide, "people": people, "groups": len(kept)})
    return pd.DataFrame(rows, columns=["simulator", "variable", "simulated", "people", "groups"])


# --- in words ------------------------------------------------------------------------------------------------------------------------------


def _row(table: pd.DataFrame, **wanted) -> pd.Series | None:
    fits = table[np.logical_and.reduce([table[name] == value for name, value in wanted.items()])]
    return None if fits.empty else fits.iloc[0]


def five_sentences(made: BiasFindings) -> list[str]:
    """What a survey researcher should take from this run: five sentences, each with its number, each saying so where no difference is shown."""
    simulator, generator = made.main
    tables, cell = made.tables, {"simulator": simulator, "generator": generator}
    gates = tables["gates"][tables["gates"]["simulator"] == simulator]
    failed = gates.loc[gates["passed"] == "failed", "gate"].tolist()
    first = f"Test the simulator before you believe it: {len(failed)} of {len(gates)} gates failed" + (f" ({', '.join(failed)})." if failed else ".")
    vote = _row(tables["elections"], **cell, tier="meta", year=LATEST, prior="kept")
    real = int((democratic_share(LATEST).drop("District of Columbia") > 0.5).sum())
    better = "better than" if vote["skill_lo"] > 0 else "worse than" if vote["skill_hi"] < 0 else "not shown to differ from"
    second = (
        f"With bare census cards and no text at all, {vote['states_left']} of {vote['states']} states vote Democratic in {LATEST} (real: {real} of 50); "
        f"the alignment of {vote['alignment']:.3f} is {better} the {vote['floor']:.3f} of one half everywhere."
    )
    story = _row(tables["differences"], **cell, family="elections", tier="descriptive")
    return [first, second, _story_sentence(story), _text_sentence(tables), _grid_sentence(tables["grid"], tables["mass"])]


def _story_sentence(story: pd.Series | None) -> str:
    if story is None:
        return "Whether narratives move the vote was not tested: no narrative was written."
    shown = f"{story['mean']:+.3f} [{story['lo']:+.3f}, {story['hi']:+.3f}], {story['n']} people"
    weak = {"no difference": "There is no difference", "none shown": "No difference is shown", "small": "There is only a small difference",
            "perhaps small": "There is a difference, perhaps a small one,"}.get(story["verdict"])  # fmt: skip
    if weak:
        return f"{weak} between a narrative and the census card: {shown}."
    return f"A narrative in place of the census card moves the same people to the {story['verdict']}: {shown}."


def _text_sentence(tables: dict[str, pd.DataFrame]) -> str:
    tone, hard = tables["tone"], tables["hardship"]
    values = {tier: _row(tone, tier=tier, measure="subjectivity") for tier in ("objective", "descriptive")}
    if values["descriptive"] is None:
        return "What narratives leave out was not tested: no narrative was written."
    low, high = values["objective"], values["descriptive"]
    apart = "above" if high["lo"] > low["hi"] else "below" if high["hi"] < low["lo"] else "not shown to differ from"
    return (f"Narratives name a hardship for {hard.loc['descriptive', 'any']:.0%} of the people (real people: {hard.loc['people', 'any']:.0%}), and their "
            f"subjectivity of {high['mean']:.2f} is {apart} the {low['mean']:.2f} of plain attributes.")  # fmt: skip


def _grid_sentence(table: pd.DataFrame, mass: pd.DataFrame) -> str:
    line = None if table.empty else _row(table, tier="descriptive", part="generator - simulator")
    silent = ", ".join(f"{system} ({share:.2f})" for system, share in grid.silent_answerers(mass).items())
    silent = silent and f"; left out, because too little of their probability lies on the options of the vote: {silent}"
    if line is None:
        return f"Whether the writer of the cards or the answerer matters more was not tested: it takes two of each{silent}."
    parts = [f"{_row(table, tier='descriptive', part=part)['share']:.0%} {part}" for part in grid.COMPONENTS]
    who = "the writer of the cards matters more" if line["lo"] > 0 else "the answerer matters more" if line["hi"] < 0 else "neither matters more for certain"
    who = who if line["sign_holds"] else "which matters more depends on which models are compared"
    many = f"{line['n']} people, {line['generators']} writers, {line['simulators']} answerers"
    return f"Of the differences between models in the vote, {', '.join(parts)}: {who} ({many}){silent}."


# --- for the ledger ------------------------------------------------------------------------------------------------------------------------


def evidence(made: BiasFindings) -> dict:
    """What the ledger of the second paper's claims judges (`claims/catch_ledger`): plain numbers of the main simulator and generator, states resampled.

    `meta_best`: year -> share of the resamples in which census cards align best. `drift`: year -> step from census card to narrative (these and `trend_falls`
    are empty if a tier has no card). `sweep`: tier -> states
    that vote Democratic in the latest year, of how many. `tone`: measure -> trend and means by tier. `hardship`, `words`: shares of texts by tier.
    """
    (simulator, generator), t, seed = made.main, made.tables, made.gathered.seed
    answers = bias_measures.outcomes(made.gathered.frames["answers"])
    votes = answers[(answers["simulator"] == simulator) & (answers["generator"] == generator) & (answers["family"] == "elections")]
    best, drift, falls = {}, {}, {}
    for year in YEARS:
        shares = bias_measures.state_shares(votes, year)[simulator, generator]
        if not set(TIER_LADDER) <= set(shares):  # without a single narrative nothing can be said of the order of the tiers
            continue
        gap = 1 - shares[list(TIER_LADDER)].sub(democratic_share(year)[shares.index], axis=0).abs()
        best[year] = tier_effects.first_is_highest(gap, clusters=gap.index, seed=seed)
        drift[year] = tier_effects.steps(shares[["meta", "descriptive"]], clusters=shares.index, seed=seed)[_STEP].to_dict("records")[0]
        falls[year] = tier_effects.trend(tier_effects.steps(gap, clusters=gap.index, seed=seed), "falls")
    latest = t["elections"][(t["elections"]["year"] == LATEST) & (t["elections"]["prior"] == "kept")]
    latest = latest[(latest["simulator"] == simulator) & (latest["generator"] == generator)].set_index("tier")
    means = t["tone"].pivot(index="measure", columns="tier", values="mean")
    line = None if t["grid"].empty else _row(t["grid"], tier="descriptive", part="generator - simulator")
    return {
        "simulator": simulator, "generator": generator, "simulators": list(made.gathered.simulators), "people": made.gathered.plan.elections,
        "gates_failed": t["gates"].loc[(t["gates"]["simulator"] == simulator) & (t["gates"]["passed"] == "failed"), "gate"].tolist(),
        "meta_best": best, "drift": drift, "trend_falls": falls,
        "sweep": {tier: [int(row["states_left"]), int(row["states"])] for tier, row in latest.iterrows()},
        "tone": {m: {"trend": tier_effects.trend(p, "rises"), "means": means.loc[m].to_dict()} for m, p in t["tone_steps"].groupby("measure")},
        "hardship": t["hardship"]["any"].to_dict(), "words": t["words"].to_dict("index"),
        "grid": None if line is None else {k: float(line[k]) for k in ("variance", "lo", "hi", "n", "generators", "simulators", "sign_holds")},
        "left_out": grid.silent_answerers(t["mass"]),
    }  # fmt: skip
