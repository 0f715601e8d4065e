"""How a system's answers are distributed, item by item, against the simulated respondents' own: alignment, divergence, spread, one-option items.

Everything is computed on administrations (every closed item answered by every fresh persona; `administration.questionnaire`), never on the
test rows, which hold about four answers a question. Beside each value stand what a uniform answerer gets and what the same respondents
reach when they are asked again: an answerer who knows nothing already scores high on alignment. Distances grow with the luck of few answers,
so sampled answers stand beside a floor and a ceiling of as many sampled answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import entr

from ..scoring.option_labels import first_sentences, read_option
from ..scoring.stance import StanceReader
from ..world.questions import load_questions

ONE_OPTION = 0.95  # an item on which one option takes this share of the answers
Z = 1.959964  # half width of a 95 % interval in standard errors
LIMITS = {  # metric -> smallest and largest value it can have
    "alignment": (0, 1), "js_divergence": (0, 1), "sd_ratio": (0, np.inf), "entropy_ratio": (0, np.inf), "top_share": (0, 1),
    "individual_r": (-1, 1), "individual_accuracy": (0, 1), "coverage": (0, 1), "one_option_items": (0, 1),
}  # fmt: skip
EVEN_DRAWS = 200  # of a uniform answerer's sampled answers, whose mean is the floor of sampled answers
_COLUMNS = ["system", "source", "level", "name", "metric", "value", "lo", "hi", "n", "uniform", "ceiling"]


@dataclass(frozen=True)
class Sheet:
    """One system's administration as arrays; an item with fewer options than `probs` has columns is filled with zeros.

    `probs`: P(option), shape (people, items, options); zeros where an answer holds no stance. `truth`: the respondents' options, shape (people, items).
    """

    people: tuple[str, ...]
    items: tuple[str, ...]
    domains: tuple[str, ...]
    sizes: np.ndarray
    probs: np.ndarray
    truth: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Which answers hold a stance, shape (people, items)."""
        return self.probs.sum(-1) > 0

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each answer on its item's scale from 0 (lowest option) to 1, shape (people, items); NaN without a stance."""
        places = np.arange(self.probs.shape[-1]) / (self.sizes[:, None] - 1)
        mean = np.where(self.seen, (self.probs * places).sum(-1), np.nan)
        return mean, (self.probs * places**2).sum(-1) - mean**2

    def respondents(self) -> np.ndarray:
        """The respondents' answers as `probs`: 1 for the option chosen."""
        return np.eye(self.probs.shape[-1])[self.truth]


def arrays(sheet: pd.DataFrame, read: np.ndarray | None = None) -> Sheet:
    """An administration as arrays; with `read` (an option a row, -1: no stance), the answers given instead of the option probabilities.

    Args: sheet: persona_id, question_id, domain, truth, option_probs.
    Raises: ValueError unless every persona answers every item exactly once.
    """
    people, items = (tuple(sorted(sheet[c].unique())) for c in ("persona_id", "question_id"))
    if len(sheet) != len(people) * len(items) or sheet.duplicated(["persona_id", "question_id"]).any():
        raise ValueError(f"{len(sheet):,} answers of {len(people)} personas to {len(items)} items: an administration has one answer for each pair")
    order = np.lexsort((sheet["question_id"], sheet["persona_id"]))
    sheet, shape = sheet.iloc[order], (len(people), len(items))
    given = sheet["option_probs"].to_list()
    sizes = np.array([len(p) for p in given[: len(items)]])
    probs = np.zeros((len(given), sizes.max()))
    if read is None:
        for size in np.unique(sizes):
            rows = np.flatnonzero(np.tile(sizes == size, len(people)))
            probs[rows, :size] = np.stack([given[i] for i in rows])
        probs /= probs.sum(1, keepdims=True)
    else:
        found = np.asarray(read, dtype=int)[order]
        probs[found >= 0, found[found >= 0]] = 1
    domains = tuple(sheet["domain"].iloc[: len(items)])
    return Sheet(people, items, domains, sizes, probs.reshape(*shape, -1), sheet["truth"].to_numpy(dtype=int).reshape(shape))


@lru_cache(maxsize=100_000)
def _first(sentence: str, options: tuple[str, ...]) -> int | None:
    return read_option(sentence, options)


def read_answers(sheets: Mapping[str, pd.DataFrame], reader: StanceReader | None = None) -> dict[str, np.ndarray]:
    """The option that each sampled answer takes, -1 where none was found: system -> shape (rows,). Systems without answers are left out.

    By default the label rule reads (seconds; it finds about four answers in five); a fitted `reader` also reads answers without a label (minutes).
    """
    questions, found = load_questions(), {}
    for system, sheet in sheets.items():
        if not sheet["answer"].str.strip().any():
            continue
        options = [questions[q].options for q in sheet["question_id"]]
        if reader is not None:
            read = reader.read(sheet["answer"].tolist(), options, sheet["question_id"].tolist())
        else:  # many answers share their first sentence, which is nearly always all that the label rule looks at
            read = [_first(first_sentences(a), o) for a, o in zip(sheet["answer"], options, strict=True)]
            read = [read_option(a, o) if r is None and a else r for r, a, o in zip(read, sheet["answer"], options, strict=True)]
        found[system] = np.array([-1 if r is None else r for r in read])
    return found


# --- the numbers -----------------------------------------------------------------------------------------------------------------


def resampled(people: int, n_boot: int, seed: int) -> np.ndarray:
    """Weights of the personas, shape (1 + n_boot, people), rows sum to 1: first everyone once, then people drawn with replacement."""
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=n_boot)
    return np.vstack([np.ones(people), drawn]) / people


def interval(draws: np.ndarray, limits: tuple[float, float] = (-np.inf, np.inf)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, lo, hi) along axis 0: the first row, and 1.96 standard deviations of the others around it, cut to `limits`.

    Not percentiles: resampled people lie further from the respondents than the people themselves, so that percentiles of a distance miss its value.
    """
    with np.errstate(invalid="ignore"):
        known = np.isfinite(draws[1:]).sum(0) > 1
        spread = np.full(draws.shape[1:], np.nan)
        if known.any():
            spread[known] = np.nanstd(np.where(np.isfinite(draws[1:]), draws[1:], np.nan)[:, known], axis=0, ddof=1)
        spread[spread < 1e-12] = 0  # rounding of sums, not luck
        value = draws[0]
        return value, np.clip(value - Z * spread, *limits), np.clip(value + Z * spread, *limits)


def compare(p: np.ndarray, q: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """`p` (a system) against `q` (the respondents), both (..., items, options) with rows that sum to 1: metric -> (..., items).

    alignment: 1 - Wasserstein distance / (options - 1). js_divergence: Jensen-Shannon divergence, base 2 (its square root is the distance).
    sd_ratio, entropy_ratio: spread of p over that of q, NaN where q is constant. top_share: the share of p's most frequent option.
    Source: as `stats.alignment`, `stats.jensen_shannon`, `stats.sd_ratio`, `stats.entropy_ratio`, for many items at once.
    """
    places = np.arange(p.shape[-1])
    spread = [np.sqrt(np.clip((d * places**2).sum(-1) - (d * places).sum(-1) ** 2, 0, None)) for d in (p, q)]
    entropy = [entr(d).sum(-1) for d in (p, q)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "alignment": 1 - np.abs(np.cumsum(p - q, axis=-1)).sum(-1) / (sizes - 1),
            "js_divergence": np.clip((entr((p + q) / 2).sum(-1) - (entropy[0] + entropy[1]) / 2) / np.log(2), 0, 1),
            "sd_ratio": np.where(spread[1] > 1e-9, spread[0] / spread[1], np.nan),
            "entropy_ratio": np.where(entropy[1] > 1e-9, entropy[0] / entropy[1], np.nan),
            "top_share": p.max(-1),
        }


def individual(weights: np.ndarray, mean: np.ndarray, var: np.ndarray, error: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Person by person: `individual_r` and `individual_accuracy` (1 - mean absolute error / range) of one answer a person, metric -> (draws, items).

    Args:
        weights: (draws, people). mean, var: of each answer on 0-1, NaN without a stance; var counts in r, so that r is what single answers drawn from
        the probabilities would reach. error: expected distance from the respondent's answer on 0-1. truth: the respondents' answers on 0-1.
    Source: Pearson's r; accuracy as in the digital-twin mega-study (arXiv 2509.19088), 1 - MAE / range.
    """
    seen = np.isfinite(mean)
    x, t, v, e = (np.where(seen, a, 0.0) for a in (mean, truth, var, error))
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights @ seen
        mx, mt = weights @ x / total, weights @ t / total
        own = weights @ (x**2 + v) / total - mx**2
        covariance, theirs = weights @ (x * t) / total - mx * mt, weights @ t**2 / total - mt**2
        r = np.where((own > 1e-12) & (theirs > 1e-12), covariance / np.sqrt(own * theirs), np.nan)
        return {"individual_r": r, "individual_accuracy": 1 - weights @ e / total}


def _draws(sheet: Sheet, weights: np.ndarray) -> dict[str, np.ndarray]:
    """metric -> its value for each row of `weights` and each item, shape (draws, items)."""
    shape, seen = (len(weights), *sheet.probs.shape[1:]), weights @ sheet.seen
    p, q = ((weights @ a.reshape(len(sheet.people), -1)).reshape(shape) for a in (sheet.probs, sheet.respondents()))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = compare(p / seen[..., None], q, sheet.sizes)
    mean, var = sheet.positions()
    places = np.arange(sheet.probs.shape[-1])
    error = (sheet.probs * np.abs(places - sheet.truth[..., None])).sum(-1) / (sheet.sizes - 1)
    return found | individual(weights, mean, var, error, sheet.truth / (sheet.sizes - 1)) | {"coverage": seen}


def _cells(sheets: Mapping[str, pd.DataFrame], read: Mapping[str, np.ndarray] | None, n_boot: int, seed: int):
    """(system, source, Sheet, its draws, those of the uniform answerer, those of the respondents asked again) for every system and source."""
    if not sheets:
        raise ValueError("no administrations: notebook 04 writes them (not for foreign data, whose truth is unknown)")
    sources = [(s, "probabilities", None) for s in sheets] + [(s, "answers", r) for s, r in (read or {}).items()]
    ceiling, again, weights, first = None, None, None, None
    for system, source, options in [("resample", None, None)] * ("resample" in sheets) + sources:
        sheet = arrays(sheets[system], options)
        if first is None:
            first, weights = sheet, resampled(len(sheet.people), n_boot, seed)
            flat = (np.arange(sheet.probs.shape[-1]) < sheet.sizes[:, None]) / sheet.sizes[:, None]
            uniform = _draws(Sheet(*(getattr(sheet, k) for k in ("people", "items", "domains", "sizes")), flat + 0 * sheet.probs, sheet.truth), weights[:1])
        elif (sheet.people, sheet.items) != (first.people, first.items) or (sheet.truth != first.truth).any():
            raise ValueError(f"{system}: not the same personas, items and true answers as {next(iter(sheets))}; administrations of one run belong together")
        draws = _draws(sheet, weights)
        if source is None:
            ceiling, again = draws, sheet
        elif source == "probabilities":
            yield system, source, sheet, draws, uniform, ceiling
        else:
            best = None if again is None else _draws(replace(again, probs=again.probs * sheet.seen[..., None]), weights[:1])
            yield system, source, sheet, draws, uniform | _even_answers(sheet, flat, seed), best


def _even_answers(sheet: Sheet, flat: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """What a uniform answerer's *sampled* answers get on average, as many for each item as `sheet` has: metric of `compare` -> shape (1, items)."""
    counts = np.maximum(sheet.seen.sum(0), 1)
    drawn = np.random.default_rng(seed).multinomial(counts, flat, size=(EVEN_DRAWS, len(counts)))
    found = compare(drawn / counts[:, None], sheet.respondents().mean(0), sheet.sizes)
    return {metric: values.mean(0, keepdims=True) for metric, values in found.items()}


def _lines(key: dict, draws: np.ndarray, metric: str, n, uniform, ceiling) -> pd.DataFrame:
    value, lo, hi = interval(draws, LIMITS[metric])
    return pd.DataFrame({**key, "metric": metric, "value": value, "lo": lo, "hi": hi, "n": n, "uniform": uniform, "ceiling": ceiling})[_COLUMNS]


def by_item(sheets: Mapping[str, pd.DataFrame], *, read: Mapping[str, np.ndarray] | None = None, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """Every closed item of every system: `_COLUMNS`, with level "item" and the question's id as name.

    Args:
        sheets: system -> administration. read: from `read_answers`; adds the rows of source "answers" (sampled answers that hold a stance, against all
        respondents) to those of source "probabilities" (option probabilities, averaged over personas).
    Returns: the metrics of `compare` and `individual`, and `coverage` (share of answers with a stance). `n`: answers behind the value. `lo`, `hi`: 95 %
        interval, personas resampled. `uniform`, `ceiling`: the value of a uniform answerer, and of the same respondents asked again (NaN without "resample");
        for source "answers" of as many sampled answers as the system gave to each item.
    Raises: ValueError for incomplete administrations, or administrations of different people.
    """
    parts = []
    for system, source, sheet, draws, uniform, ceiling in _cells(sheets, read, n_boot, seed):
        key, n = {"system": system, "source": source, "level": "item", "name": sheet.items}, sheet.seen.sum(0)
        parts += [_lines(key, draws[m], m, n, uniform[m][0], np.nan if ceiling is None else ceiling[m][0]) for m in draws]
    return pd.concat(parts, ignore_index=True)


def by_domain(sheets: Mapping[str, pd.DataFrame], *, read: Mapping[str, np.ndarray] | None = None, n_boot: int = 500, seed: int = 42) -> pd.DataFrame:
    """Means over the items of every domain (level "domain") and over all items (level "all", name "all items"); otherwise as `by_item`.

    The items stand for themselves: intervals say what other personas would have changed, not other items. Besides the means: `one_option_items`, the
    share of items where one option takes at least 95 % of the answers. An item on which a ratio cannot be formed is left out of that ratio's mean.
    """
    parts = []
    for system, source, sheet, draws, uniform, ceiling in _cells(sheets, read, n_boot, seed):
        places = {d: np.flatnonzero(np.array(sheet.domains) == d) for d in dict.fromkeys(sheet.domains)} | {"all items": np.arange(len(sheet.items))}
        key = {"system": system, "source": source, "level": ["domain"] * (len(places) - 1) + ["all"], "name": list(places)}
        n = [int(sheet.seen[:, items].sum()) for items in places.values()]
        own, flat, best = (None if d is None else _over_items(d, list(places.values())) for d in (draws, uniform, ceiling))
        parts += [_lines(key, own[m], m, n, flat[m][0], np.nan if best is None else best[m][0]) for m in own]
    return pd.concat(parts, ignore_index=True)


def _over_items(draws: dict[str, np.ndarray], groups: list[np.ndarray]) -> dict[str, np.ndarray]:
    """metric -> mean over each group of items in each draw, shape (draws, groups); NaN items left out. With the share of one-option items."""
    found = {}
    for metric, values in draws.items():
        known = np.isfinite(values)
        sums, counts = (np.stack([a[:, items].sum(1) for items in groups], axis=1) for a in (np.where(known, values, 0), known))
        found[metric] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    alone = draws["top_share"] >= ONE_OPTION
    return found | {"one_option_items": np.stack([alone[:, items].mean(1) for items in groups], axis=1)}
