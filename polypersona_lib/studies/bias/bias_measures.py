"""What the answers say: alignment beside its floor and its ceiling, lean beside the frame's own, states won.

One rule of resampling: the unit is the state, drawn whole with all its people (`resampling`).
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import pandas as pd

from ... import resampling
from ...people.human_baselines import answer_shares, halves
from ...people.human_surveys import load_survey
from ...people.places import YEARS, democratic_share, hospital_shares, voted
from ...people.poststratification import census_attributes, lean, poststratified, two_party_vote
from ...stats import compare_distributions
from .item_bank import bank

CEILING_PEOPLE = 1000  # voters resampled per state, as many as the paper simulates
CELLS = ["simulator", "generator", "tier"]


def skill(value: float | np.ndarray, floor: float, ceiling: float) -> float | np.ndarray:
    """(value - floor) / (ceiling - floor): 0 is no better than the floor, 1 as good as the ceiling; below 0 it is worse than saying nothing."""
    return (value - floor) / (ceiling - floor)


def outcomes(answers: pd.DataFrame) -> pd.DataFrame:
    """`answers` with more columns, NaN where there is no answer: `score` (items that lean: probability of the liberal side, uncommitted options count half;
    else the mean position from 0 to 1), `family`, `leans`, `order` (distance of the two orders' first option), `top` (the most probable option's share)."""
    items, rows = bank(), []
    for item, probs, first, last in zip(answers["item"], answers["probs"], answers["first"], answers["last"], strict=True):
        asked = items[item]
        if probs is None:
            rows.append({"score": np.nan, "order": np.nan, "top": np.nan})
            continue
        p = np.asarray(probs, dtype=float)
        score = p @ (asked.leans + 1) / 2 if asked.lean else p @ np.linspace(0, 1, len(p))
        rows.append({"score": float(score), "order": abs(first[0] - last[0]), "top": float(p.max())})
    families = answers["item"].str.partition(".")[0].map({"state_votes": "elections", "ces_2018": "policy", "hospitals_2023": "everyday"}).fillna("respondents")
    return answers.assign(**pd.DataFrame(rows).to_dict("list"), family=families.to_numpy(), leans=[bool(items[i].lean) for i in answers["item"]])


def _interval(rows: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], states: Iterable, seed: int, name: str) -> dict:
    line = resampling.resample(rows, statistic, clusters=list(states), seed=seed)
    return {name: float(line["value"]), f"{name}_lo": float(line["lo"]), f"{name}_hi": float(line["hi"])}


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, -1]


# --- elections ------------------------------------------------------------------------------------------------------------------------


def state_shares(answers: pd.DataFrame, year: int) -> pd.DataFrame:
    """The simulated Democratic share of each state: a column a cell (simulator, generator, tier), index state. Every person of a state counts the same."""
    scored = answers[(answers["item"] == f"state_votes.{year}") & answers["score"].notna()]
    return scored.pivot_table(index="state", columns=CELLS, values="score", aggfunc="mean")


def elections(answers: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """One row a simulator, generator, tier and year.

    Args: answers: from `outcomes`, of the family elections.
    Returns: alignment, lean and skill with their intervals (_lo, _hi: states resampled); floor (one half everywhere) and ceiling (`CEILING_PEOPLE` real voters
        a state) over the same states; states_left, states_right_winner, states (n), r (over states; NaN if all are alike), sd_states, sd_people,
        sd_votes (of the true shares), people (n).
    """
    rows = []
    for year in YEARS:
        true = democratic_share(year)
        for cell, shares in state_shares(answers, year).items():
            rows.append(dict(zip(CELLS, cell, strict=True)) | {"year": year} | _election(shares.dropna(), true, year, seed) | _people(answers, cell, year))
    return pd.DataFrame(rows)


def _election(shares: pd.Series, true: pd.Series, year: int, seed: int) -> dict:
    true = true[shares.index]
    floor, ceiling = 1 - (true - 0.5).abs(), ceiling_of_votes(year, list(shares.index))
    ones, states = np.ones(len(shares)), shares.index
    three = np.column_stack([1 - (shares - true).abs(), floor, ceiling, ones])  # of the same states in every resample
    line = _interval(three, _mean, states, seed, "alignment") | {"floor": float(floor.mean()), "ceiling": float(ceiling.mean())}
    line |= _interval(three, lambda s: skill(*(s[:, :3] / s[:, 3:]).T), states, seed, "skill")
    line |= _interval(np.column_stack([shares - true, ones]), _mean, states, seed, "lean")
    line |= {"states_left": int((shares > 0.5).sum()), "states_right_winner": int((np.sign(shares - 0.5) == np.sign(true - 0.5)).sum()), "states": len(shares)}
    spread = shares.std(ddof=0)
    return line | {"r": float(np.corrcoef(shares, true)[0, 1]) if spread > 1e-9 else np.nan, "sd_states": float(spread), "sd_votes": float(true.std(ddof=0))}


def _people(answers: pd.DataFrame, cell: tuple, year: int) -> dict:
    own = answers[(answers[CELLS] == list(cell)).all(axis=1) & (answers["item"] == f"state_votes.{year}")]["score"].dropna()
    return {"people": len(own), "sd_people": float(own.std(ddof=0))}


def ceiling_of_votes(year: int, states: list[str], *, people: int = CEILING_PEOPLE, seeds: int = 20) -> pd.Series:
    """Alignment of `people` real voters drawn from each state, mean over draws (index: state)."""
    true = democratic_share(year)[states]
    return sum(1 - (voted(true, people=people, seed=seed) - true).abs() for seed in range(seeds)) / seeds


def frame_lean() -> dict[str, float]:
    """How far left the adults of the census frame vote when real voters of 2016 (CES 2018, what they recall) speak for them: the lean that no model made.

    lean: mean over states of predicted minus true share (logistic regression, poststratified; with and without the state). The bias study's trial had .083 and
    .084 with 44,932 voters of the CES 2016; here are 1,000 people.
    """
    survey = load_survey("ces_2018")
    vote, seen, weights = two_party_vote(survey), census_attributes(survey), survey.people["weight"].astype(float)
    return {name: lean(poststratified(vote, seen, weights=weights, states=states), 2016) for name, states in (("with state", True), ("without state", False))}


# --- items ----------------------------------------------------------------------------------------------------------------------------


def item_alignment(answers: pd.DataFrame, family: str, *, seed: int) -> pd.DataFrame:
    """Policy items against real adults' answers (CES 2018, weighted), everyday items against the patients of each simulated person's state.

    Returns: one row a cell: alignment and skill with intervals (states resampled, real people's shares as if known), floor (uniform), ceiling (policy: one half
        of the real people for the other; everyday: 1, because millions of patients stand behind a state's shares), lean (policy only; its interval resamples
        the real people too), items (n), people (n).
    """
    rows = []
    for cell, part in answers[(answers["family"] == family) & answers["score"].notna()].groupby(CELLS, sort=False):
        items = [i for i in bank() if i in set(part["item"])]
        sums, states = _item_sums(part, family, items)
        floor, ceiling = _item_bounds(family, items, sums)
        line = _interval(sums, lambda s, items=items: _item_statistic(s, items), states, seed, "alignment")
        line |= {"floor": floor, "ceiling": ceiling, "skill": skill(line["alignment"], floor, ceiling), "items": len(items)}
        if family == "policy":
            luck = survey_luck(items, np.array([bank()[i].leans[:2] > 0 for i in items]) / len(items), seed=seed)
            line |= _interval(sums, lambda s, items=items, luck=luck: _lean_statistic(s, items) - luck, states, seed, "lean")
        rows.append(dict(zip(CELLS, cell, strict=True)) | line | {"people": part["persona_id"].nunique()})
    return pd.DataFrame(rows)


@lru_cache(maxsize=2000)
def item_truth(family: str, item: str, state: str) -> np.ndarray:
    """Real people's distribution: of the nation (policy), of the state (everyday)."""
    if family == "everyday":
        return hospital_shares().loc[(state, item.partition(".")[2])].to_numpy()
    survey = load_survey("ces_2018")
    place = [q.id for q in survey.items].index(item)
    return answer_shares(survey.sheet())[place][: len(survey.items[place].options)]


def survey_luck(items: list[str], counted: np.ndarray, *, seed: int) -> np.ndarray:
    """How far a sum of shares of the CES's people, each times `counted` (items, options), lies from the survey's own in it (0) and in bootstrap samples of its
    people: (1 + N_BOOT,), to be taken from as many resamples of simulated people."""
    sheet = load_survey("ces_2018").sheet().in_order(items)
    shares = np.einsum("dp,pio->dio", sheet.draws(n_boot=resampling.N_BOOT, seed=seed + 1), sheet.chosen()[..., : counted.shape[1]])
    sums = (shares / shares.sum(-1, keepdims=True) * counted).sum((1, 2))
    return sums - sums[0]


def _item_sums(part: pd.DataFrame, family: str, items: list[str]) -> tuple[np.ndarray, list]:
    """Per person and item: simulated and true probabilities and a one, side by side; item by item. Shape (people, items * 2 * options + items)."""
    options, place = max(len(bank()[i].options) for i in items), {item: n for n, item in enumerate(items)}
    people = part.drop_duplicates("persona_id").set_index("persona_id")["state"]
    row = {person: n for n, person in enumerate(people.index)}
    sums = np.zeros((len(people), len(items), 2 * options + 1))
    known = {key: item_truth(family, *key) for key in set(zip(part["item"], part["state"] if family == "everyday" else [""] * len(part), strict=True))}
    for person, item, state, probs in zip(part["persona_id"], part["item"], part["state"], part["probs"], strict=True):
        true = known[item, state if family == "everyday" else ""]
        cell = sums[row[person], place[item]]
        cell[: len(probs)], cell[options : options + len(true)], cell[-1] = probs, true, 1
    return sums.reshape(len(people), -1), people.tolist()


def _shares(sums: np.ndarray, items: list[str]) -> tuple[np.ndarray, np.ndarray]:
    cells = sums.reshape(len(sums), len(items), -1)
    options = (cells.shape[-1] - 1) // 2
    return cells[..., :options] / cells[..., -1:], cells[..., options:-1] / cells[..., -1:]


def _item_statistic(sums: np.ndarray, items: list[str]) -> np.ndarray:
    model, true = _shares(sums, items)
    return compare_distributions(model, true, [len(bank()[i].options) for i in items])["alignment"].mean(axis=1)


def _lean_statistic(sums: np.ndarray, items: list[str]) -> np.ndarray:
    model, true = _shares(sums, items)
    leans = np.stack([np.pad(bank()[i].leans, (0, model.shape[-1] - len(bank()[i].leans))) for i in items])
    return ((model - true) * (leans > 0)).sum(-1).mean(axis=1)


def _item_bounds(family: str, items: list[str], sums: np.ndarray) -> tuple[float, float]:
    """(alignment of a uniform answerer with the same real people, of one half of the real people with the other half)."""
    sizes = [len(bank()[i].options) for i in items]
    _, true = _shares(sums.sum(0, keepdims=True), items)
    flat = (np.arange(true.shape[2]) < np.array(sizes)[:, None]) / np.array(sizes)[:, None]
    floor = float(compare_distributions(flat[None], true, sizes)["alignment"].mean())
    if family == "everyday":
        return floor, 1.0
    sheet = load_survey("ces_2018").sheet()
    sheet = sheet.in_order(items)
    parts = [answer_shares(sheet, people=half) for half in halves(len(sheet.people))]
    return floor, float(compare_distributions(*parts, sizes)["alignment"].mean())
