"""Trained probes: can somebody who has only the answers tell whose they are?

A probe is a ridge regression from the features of an answer to all attributes of a card at once. Its fitted values are linear in the labels, so
cross-validation and hundreds of permuted labels cost one product of matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...resampling import drawn_units, holm, interval
from ...world import personas

REPEATS, _FOLDS, _N_PERM = 2, 5, 300
FEWEST_WITH = 8  # an attribute needs as many people who have it, and who have not
_PIECE = 4000  # permuted label columns at once


def card_labels(cards: Sequence[dict], *, fewest: int = 0) -> pd.DataFrame:
    """What the cards say as yes/no columns: (attribute, class) -> 0 or 1, one row a card.

    Rare classes are pooled: three age bands, three kinds of schooling, three of income, USA or elsewhere. A class needs `fewest` people on each side.
    """
    rows = []
    for card in cards:
        feats = personas.features(card)
        single = {"gender": {card.get("gender")} & {"woman"}, "country": {card.get("country")} & {"USA"}}
        many = {name: feats[key] for name, key in {"age": "age", "education": "edu", "income": "income", "area": "area", "category": "job",
                                                   "traits": "trait", "values": "value"}.items()}  # fmt: skip
        rows.append({(name, value): 1.0 for name, held in (single | many).items() for value in held})
    labels = pd.DataFrame(rows).fillna(0.0)
    labels = labels[sorted(labels.columns)]
    labels.columns = pd.MultiIndex.from_tuples(labels.columns, names=("attribute", "class"))
    counts, least = labels.sum(), max(fewest, 1)
    return labels.loc[:, counts.between(least, len(labels) - least)]


def standardised(features: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; a constant column becomes 0."""
    spread = features.std(0)
    return (features - features.mean(0)) / np.where(spread > 1e-9, spread, np.inf)


def _folds(people: int, seed: int) -> list[np.ndarray]:
    return [part for part in np.array_split(np.random.default_rng(seed).permutation(people), _FOLDS) if len(part)]


def held_out_map(features: np.ndarray, fold: np.ndarray, penalty: float) -> np.ndarray:
    """The matrix that turns everybody's labels into the fold's predictions, fitted without the fold: shape (fold, people). Ridge regression, dual form."""
    rest = np.setdiff1d(np.arange(len(features)), fold)
    known, asked = (features[rows] - features[rest].mean(0) for rows in (rest, fold))
    weights = np.zeros((len(fold), len(features)))
    weights[:, rest] = asked @ known.T @ np.linalg.inv(known @ known.T + penalty * np.eye(len(rest)))
    return weights


def _wins(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (with, without the attribute) of a fold in which the former scores higher, and all pairs: each shape (columns,). By rank sums."""
    from scipy.stats import rankdata

    have = labels.sum(0)
    ranks = rankdata(np.round(scores, 9), axis=0)
    return (ranks * labels).sum(0) - have * (have + 1) / 2, have * (len(labels) - have)


def _held_out_auc(maps: list, labels: np.ndarray) -> np.ndarray:
    """Held-out AUC of each column of `labels` (people, columns), pairs within a fold only, so that fold means do not matter."""
    won = total = 0
    for fold, predict in maps:
        w, t = _wins(predict @ labels, labels[fold])
        won, total = won + w, total + t
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, won / total, np.nan)


def _auc_draws(maps: list, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same under weights of the people (draws, people): shape (draws, columns). The probes stay as fitted."""
    won, total = np.zeros((len(weights), labels.shape[1])), np.zeros((len(weights), labels.shape[1]))
    for fold, predict in maps:
        scores, mine, w = np.round(predict @ labels, 9), labels[fold], weights[:, fold]
        for c in range(labels.shape[1]):
            yes, no = mine[:, c] > 0, mine[:, c] == 0
            above = np.sign(scores[yes, c][:, None] - scores[no, c]) / 2 + 0.5
            won[:, c] += ((w[:, yes] @ above) * w[:, no]).sum(1)
            total[:, c] += w[:, yes].sum(1) * w[:, no].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return won / total


def recover(features: np.ndarray, labels: pd.DataFrame, *, seed: int, n_perm: int = _N_PERM, n_boot: int = 300) -> pd.DataFrame:
    """Which attributes can be read off the answers: cross-validated AUC of a linear probe, averaged over an attribute's classes.

    Args: features: (people, columns). labels: from `card_labels`, one row a person.
    Returns: attribute, value, lo, hi, floor (mean over permuted people), floor_hi (their 95 % quantile: what lies below cannot be told from chance), p
        (one-sided), p_holm (Holm's correction over the attributes); last "all", the mean over the attributes.
    """
    x, y = standardised(features), labels.to_numpy()
    maps = [(fold, held_out_map(x, fold, x.shape[1])) for r in range(REPEATS) for fold in _folds(len(x), seed + r)]
    rng = np.random.default_rng(seed)
    floor = _permuted_aucs(maps, labels, [rng.permutation(len(x)) for _ in range(n_perm)])
    drawn = drawn_units(len(x), n_boot=n_boot, seed=rng).astype(float)  # goes on with the numbers of the permutations
    aucs, draws = (_by_attribute(a, labels) for a in (_held_out_auc(maps, y)[None], _auc_draws(maps, y, drawn)))
    ends, lines = interval(draws.to_numpy(), units=len(x)), []
    for name, lo, hi in zip(aucs, *ends, strict=True):
        value, chance = float(aucs[name].iloc[0]), floor[name]
        p = (1 + (chance >= value).sum()) / (1 + n_perm)
        lines.append({"attribute": name, "value": value, "lo": lo, "hi": hi, "floor": chance.mean(), "floor_hi": chance.quantile(0.95), "p": p})
    table = pd.DataFrame(lines)
    return table.assign(p_holm=[*holm(table["p"][:-1]), table["p"].iloc[-1]])


def _permuted_aucs(maps: list, labels: pd.DataFrame, orders: list[np.ndarray]) -> pd.DataFrame:
    """`_by_attribute` of the AUCs with the labels assigned to permuted people, a row an order; many orders are scored at once."""
    y = labels.to_numpy()
    step = max(1, _PIECE // max(1, y.shape[1]))
    chunks = [np.concatenate([y[o] for o in orders[s : s + step]], axis=1) for s in range(0, len(orders), step)]
    return _by_attribute(np.concatenate([_held_out_auc(maps, c).reshape(-1, y.shape[1]) for c in chunks]), labels)


def _by_attribute(aucs: np.ndarray, labels: pd.DataFrame) -> pd.DataFrame:
    """Means over the classes of each attribute, and `all`: rows as given."""
    means = pd.DataFrame(aucs, columns=labels.columns.get_level_values("attribute")).T.groupby(level=0, sort=False).mean().T
    return means.assign(all=means.mean(axis=1))


@dataclass(frozen=True)
class AttributeProbe:
    """A fitted ridge regression from features to attributes; `labels` names them and `mean`, `spread` are theirs among the people it was fitted on."""

    model: object
    labels: pd.MultiIndex
    mean: np.ndarray
    spread: np.ndarray

    def coordinates(self, cards: Sequence[dict]) -> np.ndarray:
        """Cards as unit vectors of standardised attributes: (cards, attributes)."""
        labels = card_labels(cards).reindex(columns=self.labels, fill_value=0.0).to_numpy()
        return _unit((labels - self.mean) / self.spread)

    def read(self, features) -> np.ndarray:
        """What the probe takes the speaker for, on the same scales (not yet of unit length): (answers, attributes)."""
        return (self.model.predict(features) - self.mean) / self.spread


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 1e-6, length, np.inf)


def fit_probe(features, cards: Sequence[dict], *, penalty: float) -> AttributeProbe:
    """Fit a probe on answers (rows of `features`, dense or sparse) whose speakers' cards are known."""
    from sklearn.linear_model import Ridge

    labels = card_labels(cards, fewest=FEWEST_WITH)
    y = labels.to_numpy()
    return AttributeProbe(Ridge(alpha=penalty).fit(features, y), labels.columns, y.mean(0), y.std(0))


def likeness(read: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Cosine of what was read (rows, `AttributeProbe.read`) and each card (columns, `AttributeProbe.coordinates`), in [-1, 1]; 0 where nothing was read."""
    return _unit(read) @ coordinates.T
