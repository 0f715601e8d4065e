"""One order of the options for everybody who is asked the same thing: options are compared by their labels, wherever each row lists them."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ..world.questions import SCALES


def label_set(options: Sequence[str] | None) -> frozenset[str] | None:
    """What a list of options offers, whatever their order, case and spacing; None for an open row."""
    return frozenset(map(_fold, options)) if options is not None and np.ndim(options) else None


def _fold(label: str) -> str:
    return " ".join(str(label).split()).casefold()


def common_orders(lists: Sequence[Sequence[str] | None]) -> dict[frozenset[str], tuple[str, ...]]:
    """Label set -> the one order that positions are counted in: that of the usual scale, else the one that most rows list (of two the first by alphabet)."""
    listed: dict[frozenset, Counter] = defaultdict(Counter)
    for options in lists:
        if (labels := label_set(options)) is not None:
            listed[labels][tuple(map(_fold, options))] += 1
    usual = {label_set(scale): tuple(map(_fold, scale)) for scale in SCALES.values()}
    return {labels: usual.get(labels) or min(orders, key=lambda order: (-orders[order], order)) for labels, orders in listed.items()}


def in_common_order(lists: Sequence[Sequence[str] | None], positions: Sequence[float]) -> np.ndarray:
    """Positions in each row's own list of options as positions in the order that all rows with these labels share; -1 (none) and NaN (open) stay.

    Args: lists: every row's options, None for an open row. positions: 0-based, shape (rows,). Rows without options keep their position.
    """
    orders, places = common_orders(lists), []
    for options, place in zip(lists, positions, strict=True):
        known = place == place and place >= 0 and label_set(options) is not None
        places.append(orders[label_set(options)].index(_fold(options[int(place)])) if known else place)
    return np.array(places, dtype=float)
