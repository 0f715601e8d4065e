"""How a system's answers are distributed, item by item, against the simulated respondents' own: alignment, divergence, spread, one-option items.

Everything is computed on sheets (every closed item answered by every fresh persona; `administration.questionnaire`), never on the test rows, which hold
about four answers a question. Beside each value stand what a uniform answerer gets and what the same respondents reach when they are asked again: an
answerer who knows nothing already scores high on alignment. Distances grow with the luck of few answers, so sampled answers stand beside a uniform answerer
and a re-test of as many sampled answers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd

from ..cells import estimate
from ..resampling import interval
from ..scoring.option_labels import read_option
from ..scoring.option_words import first_sentences
from ..stats import compare_distributions
from ..world.questions import Question, load_questions
from .sheet import MISSING, Sheet

ONE_OPTION = 0.95  # an item on which one option takes this share of the answers
METRIC_LIMITS = {  # metric -> smallest and largest value it can have
    "alignment": (0, 1), "js_divergence": (0, 1), "sd_ratio": (0, np.inf), "entropy_ratio": (0, np.inf), "top_share": (0, 1),
    "individual_r": (-1, 1), "individual_accuracy": (0, 1), "coverage": (0, 1), "one_option_items": (0, 1),
}  # fmt: skip
_UNIFORM_DRAWS = 200  # of a uniform answerer's sampled answers, whose mean is the baseline of sampled answers
_COLUMNS = ["system", "source", "level", "name", "metric", "value", "lo", "hi", "n", "uniform", "ceiling"]


@lru_cache(maxsize=100_000)
def _first(sentence: str, options: tuple[str, ...]) -> int | None:
    return read_option(sentence, options)


def read_answers(frames: Mapping[str, pd.DataFrame], reader=None) -> dict[str, np.ndarray]:
    """The option that each sampled answer takes, `MISSING` where none was found: system -> shape (rows,). Systems without answers are left out.

    Args: frames: system -> administration. By default the label rule reads (seconds; it finds about four answers in five); a fitted `stance.StanceReader` as
        `reader` also reads answers without a label (minutes).
    """
    questions, chosen = load_questions(), {}
    for system, frame in frames.items():
        if not frame["answer"].str.strip().any():
            continue
        options = [questions[q].options for q in frame["question_id"]]
        if reader is not None:
            read = reader.read(frame["answer"].tolist(), options, frame["question_id"].tolist())
        else:  # many answers share their first sentence, which is nearly always all that the label rule looks at
            read = [_first(first_sentences(a), o) for a, o in zip(frame["answer"], options, strict=True)]
            read = [read_option(a, o) if r is None and a else r for r, a, o in zip(read, frame["answer"], options, strict=True)]
        chosen[system] = np.array([MISSING if r is None else r for r in read])
    return chosen


# --- the numbers -----------------------------------------------------------------------------------------------------------------


def bounded_interval(draws: np.ndarray, units: int, limits: tuple[float, float] = (-np.inf, np.inf)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, lo, hi) along axis 0: the first row, and the interval of the others (`resampling.interval`) around it, cut to `limits`.

    Not percentiles: resampled people lie further from the respondents than the people themselves, so that percentiles of a distance miss its value.
    """
    lo, hi = interval(draws[1:], units=units, around=draws[0])
    return draws[0], np.clip(lo, *limits), np.clip(hi, *limits)


def individual(weights: np.ndarray, mean: np.ndarray, var: np.ndarray, error: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Person by person: `individual_r` and `individual_accuracy` (1 - mean absolute error / range) of one answer a person, metric -> (draws, items).

    Args:
        weights: (draws, people). mean, var: of each answer on 0-1, NaN without a stance; var counts in r, so that r is what single answers drawn from
        the probabilities would reach. error: expected distance from the respondent's answer on 0-1. truth: the respondents' answers on 0-1, NaN if unknown.
    Source: Pearson's r; accuracy as in the digital-twin mega-study (arXiv 2509.19088), 1 - MAE / range.
    """
    seen = np.isfinite(mean) & np.isfinite(truth)
    x, t, v, e = (np.where(seen, a, 0.0) for a in (mean, truth, var, error))
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights @ seen
        mx, mt = weights @ x / total, weights @ t / total
        own = weights @ (x**2 + v) / total - mx**2
        covariance, theirs = weights @ (x * t) / total - mx * mt, weights @ t**2 / total - mt**2
        r = np.where((own > 1e-12) & (theirs > 1e-12), covariance / np.sqrt(own * theirs), np.nan)
        return {"individual_r": r, "individual_accuracy": 1 - weights @ e / total}


def _shares(weights: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Distribution of the answers that are there: (draws, people), (people, items, options) -> (draws, items, options); NaN without an answer."""
    sums, there = (weights @ probs.reshape(len(probs), -1)).reshape(len(weights), *probs.shape[1:]), probs.sum(-1) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums if there.all() else sums / (weights @ there)[..., None]  # rows of weights sum to 1


def _draws(sheet: Sheet, weights: np.ndarray) -> dict[str, np.ndarray]:
    """metric -> its value for each row of `weights` and each item, shape (draws, items)."""
    mean, var = sheet.positions()
    options = np.arange(sheet.probs.shape[-1])
    error = (sheet.probs * np.abs(options - sheet.truth[..., None])).sum(-1) / (sheet.sizes - 1)
    table = compare_distributions(_shares(weights, sheet.probs), _shares(weights, sheet.chosen()), sheet.sizes)
    return table | individual(weights, mean, var, error, sheet.true_positions()) | {"coverage": weights @ sheet.answered}


@dataclass(frozen=True)
class _Drawn:
    """A system's metrics beside those of a uniform answerer and of the respondents asked again (None without "resample")."""

    system: str
    source: str
    sheet: Sheet
    draws: dict[str, np.ndarray]
    uniform: dict[str, np.ndarray]
    again: dict[str, np.ndarray] | None

    def lines(self, draws: dict, uniform: dict, again: dict | None, n, level, name) -> list[pd.DataFrame]:
        """A table a metric: columns `_COLUMNS`, a row for each column of the draws."""
        tables = []
        for metric in draws:
            value, lo, hi = bounded_interval(draws[metric], self.sheet.n_units, METRIC_LIMITS[metric])
            columns = {"system": self.system, "source": self.source, "level": level, "name": name, "metric": metric, "value": value, "lo": lo, "hi": hi,
                       "n": n, "uniform": uniform[metric][0], "ceiling": np.nan if again is None else again[metric][0]}  # fmt: skip
            tables.append(pd.DataFrame(columns)[_COLUMNS])
        return tables


def _drawn(sheets: Mapping[str, Sheet], answers: Mapping[str, Sheet], n_boot: int, seed: int) -> Iterator[_Drawn]:
    """Every system's probabilities, then its sampled answers."""
    _require_one_run(sheets, answers)
    first = next(iter(sheets.values()))
    weights, flat = first.draws(n_boot=n_boot, seed=seed), (np.arange(first.probs.shape[-1]) < first.sizes[:, None]) / first.sizes[:, None]
    uniform = _draws(replace(first, probs=np.broadcast_to(flat, first.probs.shape)), weights[:1])
    again = sheets.get("resample")
    ceiling = None if again is None else _draws(again, weights[:1])
    for system, sheet in sheets.items():
        yield _Drawn(system, "probabilities", sheet, _draws(sheet, weights), uniform, ceiling)
    for system, sheet in answers.items():
        as_many = None if again is None else _draws(replace(again, probs=again.probs * sheet.answered[..., None]), weights[:1])
        yield _Drawn(system, "answers", sheet, _draws(sheet, weights), uniform | _uniform_answers(sheet, flat, seed), as_many)


def _require_one_run(sheets: Mapping[str, Sheet], answers: Mapping[str, Sheet]) -> None:
    """Raises ValueError without sheets, or if they are of different people, items or true answers."""
    if not sheets:
        raise ValueError("no administrations: notebook 04 writes them (not for foreign data, whose truth is unknown)")
    name, first = next(iter(sheets.items()))
    for system, sheet in [*sheets.items(), *answers.items()]:
        if (sheet.people, sheet.items) != (first.people, first.items) or (sheet.truth != first.truth).any():
            raise ValueError(f"{system}: not the same personas, items and true answers as {name}; administrations of one run belong together")


def _uniform_answers(sheet: Sheet, flat: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """What a uniform answerer's *sampled* answers get on average, as many for each item as `sheet` has: metric -> shape (1, items)."""
    counts = np.maximum(sheet.answered.sum(0), 1)
    sampled = np.random.default_rng(seed).multinomial(counts, flat, size=(_UNIFORM_DRAWS, len(counts)))
    table = compare_distributions(sampled / counts[:, None], _shares(sheet.draws(n_boot=0, seed=seed), sheet.chosen())[0], sheet.sizes)
    return {metric: values.mean(0, keepdims=True) for metric, values in table.items()}


def by_item(sheets: Mapping[str, Sheet], *, answers: Mapping[str, Sheet] | None = None, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """Every closed item of every system: `_COLUMNS`, with level "item" and the question's id as name.

    Args: sheets: system -> its option probabilities. answers: system -> its sampled answers (`sheet_of(..., chosen=read_answers(...)[system])`); adds the rows
        of source "answers" (those that hold a stance, against all respondents) to those of source "probabilities".
    Returns: the metrics of `compare_distributions` and `individual`, and `coverage` (share of answers with a stance). `n`: answers behind the value. `lo`,
        `hi`: 95 % interval, units resampled. `uniform`, `ceiling`: the value of a uniform answerer, and of the same respondents asked again (NaN without
        "resample"); for source "answers" of as many sampled answers as the system gave to each item.
    Raises: ValueError without sheets, or for sheets of different people, items or true answers.
    """
    parts = []
    for each in _drawn(sheets, answers or {}, n_boot, seed):
        ids = [q.id for q in each.sheet.items]
        parts += each.lines(each.draws, each.uniform, each.again, each.sheet.answered.sum(0), "item", ids)
    return pd.concat(parts, ignore_index=True)


def by_domain(sheets: Mapping[str, Sheet], *, answers: Mapping[str, Sheet] | None = None, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """Means over the items of every domain (level "domain") and over all items (level "all", name "all items"); otherwise as `by_item`.

    The items stand for themselves: intervals say what other personas would have changed, not other items. Besides the means: `one_option_items`, the
    share of items where one option takes at least 95 % of the answers. An item on which a ratio cannot be formed is left out of that ratio's mean.
    """
    parts = []
    for each in _drawn(sheets, answers or {}, n_boot, seed):
        domains = np.array([q.domain for q in each.sheet.items])
        groups = {d: np.flatnonzero(domains == d) for d in dict.fromkeys(domains.tolist())} | {"all items": np.arange(len(domains))}
        n = [int(each.sheet.answered[:, items].sum()) for items in groups.values()]
        means = [None if part is None else _over_items(part, list(groups.values())) for part in (each.draws, each.uniform, each.again)]
        parts += each.lines(*means, n, ["domain"] * (len(groups) - 1) + ["all"], list(groups))
    return pd.concat(parts, ignore_index=True)


def _over_items(draws: dict[str, np.ndarray], groups: list[np.ndarray]) -> dict[str, np.ndarray]:
    """metric -> mean over each group of items in each draw, shape (draws, groups); NaN items left out. With the share of one-option items."""
    means, top = {}, draws["top_share"]
    alone = np.where(np.isfinite(top), top >= ONE_OPTION, np.nan)
    for metric, values in (draws | {"one_option_items": alone}).items():
        known = np.isfinite(values)
        sums, counts = (np.stack([a[:, items].sum(1) for items in groups], axis=1) for a in (np.where(known, values, 0), known))
        means[metric] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means


# --- tables for readers ----------------------------------------------------------------------------------------------------------


def with_text(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with a column `text`: each value with its interval, as tables print it."""
    return table.assign(text=[estimate(row.value, row.lo, row.hi) for row in table.itertuples()])


def overall_means(domains: pd.DataFrame) -> pd.DataFrame:
    """System x metric of the option probabilities, over all items. `domains`: from `by_domain`, as every table here."""
    rows = domains[(domains["level"] == "all") & (domains["source"] == "probabilities")]
    return rows.pivot(index="system", columns="metric", values="value").reindex(rows["system"].unique())


def source_table(domains: pd.DataFrame, systems: Sequence[str]) -> pd.DataFrame:
    """Alignment and individual r of probabilities and of sampled answers, with intervals: first a uniform answerer and the re-test, then the systems.

    The two first rows are means over the systems, whose numbers of sampled answers differ a little.
    """
    rows = domains[(domains["level"] == "all") & domains["system"].isin(systems) & domains["metric"].isin(["alignment", "individual_r"])]
    table = with_text(rows).pivot(index="system", columns=["metric", "source"], values="text").reindex(systems)
    table["n", "answers"] = rows[rows["source"] == "answers"].drop_duplicates("system").set_index("system")["n"]
    ends = rows.groupby(["metric", "source"])[["uniform", "ceiling"]].mean().round(3).T
    ends.index, ends["n", "answers"] = ["uniform answerer", "same respondents again"], ""
    return pd.concat([ends, table])[list(table.columns)]


def way_to_retest(domains: pd.DataFrame, systems: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(system x metric: the share of the way from a uniform answerer, 0, to the same respondents again, 1; per metric the length of that way and half the
    width of the interval of `systems`). Alignment and individual r of the option probabilities over all items."""
    rows = domains[(domains["level"] == "all") & (domains["source"] == "probabilities") & domains["metric"].isin(["alignment", "individual_r"])]
    room = rows["ceiling"] - rows["uniform"]
    rows = rows.assign(room=room, way=(rows["value"] - rows["uniform"]) / room, half=(rows["hi"] - rows["lo"]) / 2)
    lengths = rows[rows["system"].isin(systems)].groupby("metric")[["room", "half"]].mean()
    return rows.pivot(index="system", columns="metric", values="way").reindex(rows["system"].unique()), lengths


def domain_fit(domains: pd.DataFrame, system: str) -> pd.DataFrame:
    """One system's option probabilities by domain: alignment with its interval beside both ends, and the other metrics."""
    rows = domains[(domains["system"] == system) & (domains["level"] == "domain") & (domains["source"] == "probabilities")]
    fit = with_text(rows[rows["metric"] == "alignment"]).set_index("name")
    rest = rows.pivot(index="name", columns="metric", values="value")[["js_divergence", "sd_ratio", "entropy_ratio", "one_option_items", "individual_r"]]
    return fit[["text", "uniform", "ceiling"]].rename(columns={"text": "alignment"}).join(rest).round(3).assign(n=fit["n"])


def worst_items(items: pd.DataFrame, system: str, *, asked: Iterable[Question] | None = None) -> pd.DataFrame:
    """The five items of one system with the lowest alignment, with their wording and whether a high option means more of the construct or less.

    `asked`: the items (`Sheet.items`); None: those of the question bank.
    """
    rows = items[(items["system"] == system) & (items["source"] == "probabilities") & (items["metric"] == "alignment")].nsmallest(5, "value")
    bank = load_questions() if asked is None else {q.id: q for q in asked}
    view = rows.assign(question=[bank[q].text for q in rows["name"]], asks=["less" if bank[q].key < 0 else "more" for q in rows["name"]])
    return view.set_index("name")[["question", "asks", "value", "lo", "hi", "n", "uniform", "ceiling"]].round(3)
