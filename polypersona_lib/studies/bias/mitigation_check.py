"""Does a step work? Held out, three conditions at once: better than the simulator without it, than a uniform answer, and than the labelled people alone.

`three_conditions` is the rule. `mitigation_table` applies it to a simulator's answers for real people (half of whom are held out), `state_table` to elections.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...errors import InputError
from ...people.human_baselines import answer_shares, uniform
from ...people.human_surveys import load_survey
from ...people.places import democratic_share, state_alignment, vote_items, voted
from ...rectification import Design, rectified_shares
from ...resampling import drawn_units, interval
from ...stats import compare_distributions
from ...survey.sheet import MISSING, Sheet
from . import mitigation

RIVALS = {"gain": "unmitigated", "over_uniform": "uniform", "over_people": "people"}  # condition -> the system that has to be beaten
_SAME = 1e-9


def three_conditions(scores: Mapping[str, np.ndarray], *, n: int, seed: int = 42) -> dict:
    """Whether a mitigation works, with the numbers that say so.

    Args: scores: "mitigated", "unmitigated", "uniform" and "people" (`n` labelled people alone), each the score of every held-out unit (item, state, person;
        higher is better), shape (units,), or (1 + draws, units) if what they are compared with was resampled too; row 0 is then the sample itself.
    Returns: for each condition of `RIVALS` the paired difference, `_lo` and `_hi` (95 %, units resampled); `works`: all three lie above 0; `words`; `score`;
        `units`, `n`.
    Raises: InputError if a score is missing, or scores differ in shape.
    """
    tables = {name: np.atleast_2d(np.asarray(scores[name], dtype=float)) for name in ("mitigated", *RIVALS.values()) if name in scores}
    if len(tables) < 4 or len({t.shape for t in tables.values()}) > 1:
        raise InputError(f"three conditions need the scores of mitigated, {', '.join(RIVALS.values())} on the same units, not "
                         + ", ".join(f"{name} {t.shape}" for name, t in tables.items()))  # fmt: skip
    draws, units = tables["mitigated"].shape
    times = drawn_units(units, n_boot=max(draws - 1, 1000), seed=seed)
    line: dict = {"score": float(tables["mitigated"][0].mean())}
    for condition, rival in RIVALS.items():
        difference = tables["mitigated"] - tables[rival]
        drawn = difference[1:] if draws > 1 else difference[:1]
        values = (times * drawn[np.arange(len(times)) % len(drawn)]).sum(1) / units
        lo, hi = interval(values, units=units, around=difference[0].mean())
        line |= {condition: float(difference[0].mean()), f"{condition}_lo": float(lo), f"{condition}_hi": float(hi)}
    works = all(line[f"{condition}_lo"] > 0 for condition in RIVALS)
    return line | {"works": works, "words": _words(line, n), "units": units, "n": n}


def _words(line: dict, n: int) -> str:
    """The verdict."""
    if max(abs(line[f"gain{end}"]) for end in ("", "_lo", "_hi")) < _SAME:
        return "changes nothing"
    if line["gain_hi"] < 0:
        return "makes it worse"
    if line["gain_lo"] <= 0:
        return "no gain that can be told from chance"
    if line["over_uniform_lo"] <= 0:
        return "helps, but not shown to beat a uniform answer" if line["over_uniform_hi"] > 0 else "helps, but a uniform answer is better"
    if line["over_people_lo"] <= 0:
        return f"helps, but not shown to beat {n} people alone" if line["over_people_hi"] > 0 else f"helps, but {n} people alone are better"
    return "works"


# --- items, held-out people ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A simulator's answers for real people.

    Args: sheet: these people with what they really chose (`truth`) and their weights; its `probs` are not read. by_order: its option probabilities in
        each order, shape (people, items, 2, options). prior: its answers to content-free cards, averaged over orders, (items, options); None: not asked.
        toward: the lean code of each option, (items, options).
    """

    sheet: Sheet
    by_order: np.ndarray
    prior: np.ndarray | None
    toward: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Of people, 1 if the sheet has none."""
        return np.ones(len(self.sheet.people)) if self.sheet.weights is None else self.sheet.weights


def as_respondents(answers: pd.DataFrame, prior: pd.DataFrame) -> tuple[Simulated, Sheet]:
    """A simulator's answers as real respondents of the 538/Ipsos poll, and everybody else in the poll (held out).

    Args: answers: persona_id, item, first, last (option probabilities in each order; None without an answer). prior: item, probs, its answers for nobody.
        Respondents who lack an answer are left out.
    Raises: InputError if nobody is left.
    """
    lacking = set(answers.loc[answers["first"].isna() | answers["last"].isna(), "persona_id"])
    kept = answers[~answers["persona_id"].isin(lacking)]
    if kept.empty:
        raise InputError(f"all {len(lacking)} respondents lack an answer: nothing is left to correct")
    survey, ids = load_survey("nonvoters_2020"), list(dict.fromkeys(kept["item"]))
    whole = survey.sheet().in_order(ids)
    width, row = whole.probs.shape[-1], {person: place for place, person in enumerate(survey.people.index)}
    people = list(dict.fromkeys(kept["persona_id"]))
    by_order, known = np.zeros((len(people), len(ids), 2, width)), prior[prior["probs"].notna()]
    for person, item, *orders in kept[["persona_id", "item", "first", "last"]].itertuples(index=False):
        for place, probs in enumerate(orders):
            by_order[people.index(person), ids.index(item), place, : len(probs)] = probs
    nobody = np.zeros((len(ids), width))
    for item, own in known[known["item"].isin(ids)].groupby("item"):
        said = np.exp(np.log(np.clip(np.stack(list(own["probs"])), 1e-9, 1)).mean(axis=0))
        nobody[ids.index(item), : len(said)] = said / said.sum()
    places, asked = [row[person] for person in people], [row[person] for person in answers["persona_id"].unique()]
    sheet, others = whole.of(np.array(places)), whole.of(np.setdiff1d(np.arange(len(whole.people)), asked))
    return Simulated(sheet=sheet, by_order=by_order, prior=nobody if nobody.any(-1).all() else None, toward=leanings(sheet.items, width)), others


def leanings(items: Sequence, width: int) -> np.ndarray:
    """The lean code of each option, 1 (left) to -1 (right), shape (items, width); 0 for options that an item lacks."""
    return np.stack([np.pad(item.leans, (0, width - len(item.leans))) for item in items]).astype(float)


def alignments(shares: Mapping[str, np.ndarray], held_out: Sheet, *, n_boot: int = 300, seed: int = 42) -> dict[str, np.ndarray]:
    """Alignment of each item with the held-out people's own answers, in the sample and in resamples of these people: system -> (1 + n_boot, items).

    Args: shares: system -> distribution of every item, shape (items, options).
    """
    weights, chosen = held_out.draws(n_boot=n_boot, seed=seed), held_out.chosen()
    own = np.einsum("dp,pio->dio", weights, chosen)
    own = own / np.maximum(own.sum(-1, keepdims=True), 1e-12)
    return {name: compare_distributions(np.broadcast_to(share, own.shape), own, held_out.sizes)["alignment"] for name, share in shares.items()}


def _mean(simulated: Simulated, probs: np.ndarray) -> np.ndarray:
    return np.einsum("p,pio->io", simulated.weights / simulated.weights.sum(), probs)


def _folds(simulated: Simulated) -> np.ndarray:
    """The fold (0 or 1) of each item: neighbours of one domain go to different folds, so that both know every domain."""
    order = np.argsort([q.domain for q in simulated.sheet.items], kind="stable")
    return np.argsort(order, kind="stable") % 2


def _adjusted(simulated: Simulated, probs: np.ndarray, labelled: np.ndarray, *, temperature: bool) -> np.ndarray:
    """Fitted to the labelled people's answers to one half of the items and applied to the other half, both ways round."""
    fold, target, made = _folds(simulated), simulated.sheet.chosen(), np.empty_like(probs)
    for out in (fold == 0, fold == 1):
        fit = mitigation.fit_adjustment(probs[labelled][:, ~out], target[labelled][:, ~out], simulated.toward[~out],
                                        weights=simulated.weights[labelled], temperature=temperature)  # fmt: skip
        made[:, out] = fit.applied(probs[:, out], simulated.toward[out])
    return made


def _rectified(simulated: Simulated, probs: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """(shares of every item after prediction-powered rectification, one row an item: power, effective_n)."""
    rest, chosen, shares, rows = np.setdiff1d(np.arange(len(probs)), labelled), simulated.sheet.chosen(), [], []
    for item, truth in enumerate(simulated.sheet.truth.T):
        asked = labelled[truth[labelled] != MISSING]
        design, others = Design(weights=simulated.weights[asked]), Design(weights=simulated.weights[rest])
        made = rectified_shares(chosen[asked, item], probs[asked, item], probs[rest, item], design=design, design_others=others)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = len(asked) * (made["se_alone"] ** 2).sum() / (made["se"] ** 2).sum()
        shares.append(made["shares"])
        rows.append({"item": simulated.sheet.items[item].id, "power": float(made["power"].max()), "effective_n": float(gain), "n": len(asked)})
    return np.stack(shares), pd.DataFrame(rows)


def steps_of(simulated: Simulated) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Step -> shares of every item after it, as a function of the places of the labelled people, shape (items, options)."""
    first = simulated.by_order[:, :, 0]
    averaged = mitigation.order_averaged(simulated.by_order, how="log-odds")
    steps: dict[str, Callable] = {"unmitigated": lambda labelled: _mean(simulated, first), "orders averaged": lambda labelled: _mean(simulated, averaged)}
    best = averaged
    if simulated.prior is not None:
        best = mitigation.prior_corrected(averaged, simulated.prior)
        steps["orders, prior corrected"] = lambda labelled: _mean(simulated, best)
    steps["orders, shift"] = lambda labelled: _mean(simulated, _adjusted(simulated, averaged, labelled, temperature=False))
    steps["orders, shift and temperature"] = lambda labelled: _mean(simulated, _adjusted(simulated, averaged, labelled, temperature=True))
    steps["orders, rectified"] = lambda labelled: _rectified(simulated, averaged, labelled)[0]
    return steps


def mitigation_table(simulated: Simulated, held_out: Sheet, *, n: int = 100, repeats: int = 10, n_boot: int = 300, seed: int = 42) -> pd.DataFrame:
    """Every step and its three conditions: index step, columns of `three_conditions`. Units are items, and held-out people are resampled beside them.

    `n` of the simulated people are labelled, drawn `repeats` times; scores are means over the repeats, so that no verdict hangs on one lucky draw. Shifts and
    temperatures are fitted on half of the items and judged on the other half. Rectification and the people alone use the labelled answers to the item itself.
    Raises: InputError unless more people were simulated than labelled, and if people are on both sides.
    """
    if both := set(simulated.sheet.people) & set(held_out.people):
        raise InputError(f"{len(both)} people are simulated and held out at once; judge a step on people that it has not seen")
    people = len(simulated.sheet.people)
    if not 10 <= n < people - 3:
        raise InputError(f"{n} labelled people of {people} simulated ones: label 10 or more, and leave 4 or more unlabelled")
    steps, rng, scores = steps_of(simulated), np.random.default_rng(seed), {}
    fixed = {name for name in steps if not ("shift" in name or "rectified" in name)}
    for _ in range(repeats):
        labelled = np.sort(rng.choice(people, n, replace=False))
        shares = {name: step(labelled) for name, step in steps.items() if name not in fixed or not scores}
        shares["people"] = answer_shares(simulated.sheet, people=labelled)
        for name, table in alignments(shares, held_out, n_boot=n_boot, seed=seed).items():
            scores.setdefault(name, []).append(table)
    mean = {name: np.mean(tables, axis=0) for name, tables in scores.items()}
    mean |= alignments({"uniform": uniform(held_out).probs[0]}, held_out, n_boot=n_boot, seed=seed)
    rivals = {rival: mean[rival] for rival in RIVALS.values()}
    rows = {name: three_conditions(rivals | {"mitigated": mean[name]}, n=n, seed=seed) for name in (*steps, "uniform", "people")}
    return pd.DataFrame(rows).T.rename_axis("step")


def rectification_table(simulated: Simulated, *, n: int = 100, seed: int = 42) -> pd.DataFrame:
    """What the simulator is worth to `n` labelled people, item by item: power, effective_n (of people alone), n (who answered the item)."""
    labelled = np.sort(np.random.default_rng(seed).choice(len(simulated.sheet.people), n, replace=False))
    averaged = mitigation.order_averaged(simulated.by_order, how="log-odds")
    return _rectified(simulated, averaged, labelled)[1].set_index("item")


def with_probs(simulated: Simulated, probs: np.ndarray) -> Simulated:
    """The same people with other answers, equal in both orders, shape (people, items, options)."""
    return replace(simulated, by_order=np.stack([probs, probs], axis=2))


# --- elections ---------------------------------------------------------------------------------------------------------------------------


def votes_by_state(answers: pd.DataFrame) -> pd.DataFrame:
    """The simulated Democratic share, index state, columns years: the mean of each state's people. States without an answer for some year are left out.

    Args: answers: state, item, probs, of one simulator, generator and tier.
    """
    leans = {item.id: (item.leans + 1) / 2 for item in vote_items()}
    votes = answers[answers["item"].isin(leans) & answers["probs"].notna()]
    shares = [float(np.asarray(probs) @ leans[item]) for probs, item in zip(votes["probs"], votes["item"], strict=True)]
    votes = votes.assign(share=shares, year=votes["item"].str.rpartition(".")[2].astype(int))
    return votes.pivot_table(index="state", columns="year", values="share", aggfunc="mean").dropna()


def state_table(predicted: pd.DataFrame, *, known: Sequence[str], year: int, n: int = 100, repeats: int = 20, seed: int = 42) -> pd.DataFrame:
    """One shift, fitted to the votes of a few states in one year, judged on all other states in every year: index year, columns of `three_conditions`.

    Args: predicted: the simulator's Democratic share, index state, columns years. known: the states whose votes in `year` are used. n: the people alone are `n`
        voters asked in each state, a harsher rival than what the shift knows.
    Raises: InputError for states without a prediction, and if none is left.
    """
    if missing := [s for s in known if s not in predicted.index]:
        raise InputError(f"no prediction for {len(missing)} of the known states ({missing[0]}, ...)")
    others = predicted.index.difference(list(known))
    if len(others) < 10:
        raise InputError(f"{len(others)} states are left to judge the shift on; 10 or more are needed")
    both = np.stack([predicted.to_numpy(dtype=float), 1 - predicted.to_numpy(dtype=float)], axis=2)
    votes, place = democratic_share(year)[list(known)].to_numpy(), list(predicted.columns).index(year)
    fit = mitigation.fit_adjustment(both[predicted.index.get_indexer(list(known))][:, [place]], np.stack([votes, 1 - votes], axis=1)[:, None],
                                    np.array([[1.0, -1.0]]), temperature=False)  # fmt: skip
    rows = {}
    for column, of_year in enumerate(predicted.columns):
        moved = pd.Series(fit.applied(both[:, [column]], np.array([[1.0, -1.0]]))[:, 0, 0], index=predicted.index)
        people = [state_alignment(voted(democratic_share(of_year)[others], people=n, seed=seed + r), of_year) for r in range(repeats)]
        scores = {"mitigated": state_alignment(moved[others], of_year), "unmitigated": state_alignment(predicted[of_year][others], of_year),
                  "uniform": state_alignment(0.5, of_year)[others], "people": sum(people) / repeats}  # fmt: skip
        rows[of_year] = three_conditions({name: series[others].to_numpy() for name, series in scores.items()}, n=n, seed=seed)
    return pd.DataFrame(rows).T.rename_axis("year").assign(shift=fit.shift)
