"""Which option a server's answer begins with: by its text, or by the probabilities of its tokens, branch by branch.

A server cannot be asked for the likelihood of a text that we choose. It tells the most probable tokens at each place of what it says itself. Several answers
together are a tree; an option's probability is the sum over the branches that can only become its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_BEFORE = " \t\r\n\"'`*_“”‘’«»([{-–—•:>"  # what may stand before an option's name
Nodes = Mapping[str, Mapping[str, float]]
"""Text so far -> {next token: its probability}."""


def named_option(text: str, options: Sequence[str]) -> int | None:
    """The option whose name `text` begins with, the longest if several do; None if none does. Case, quotes and stars before it do not matter."""
    return _whole(text, [name.casefold() for name in options])


@dataclass(frozen=True)
class TreeShares:
    """What a tree says: `probs` (options,), not normalised: the share of answers that begin with each name; `open`: text -> share of the branches that
    lead to several options and were not followed."""

    probs: np.ndarray
    open: dict[str, float]


def tree_shares(nodes: Nodes, options: Sequence[str]) -> TreeShares:
    """Follow every branch from the root (the empty text) until one option is left. Tokens that lead to none, or that are not listed, are lost."""
    names = [name.casefold() for name in options]
    probs, unfollowed, todo = np.zeros(len(options)), {}, [("", 1.0)]
    while todo:
        text, mass = todo.pop()
        for token, share in nodes[text].items():
            fits = _reachable(text + token, names) if token else []
            if len(fits) == 1:
                probs[fits[0]] += mass * share
            elif fits and text + token in nodes:
                todo.append((text + token, mass * share))
            elif fits:
                unfollowed[text + token] = mass * share
        if (ended := _said(text)) in names:  # a whole name already: an answer that ends here, or goes on with a token that is not listed, takes it
            listed = sum(share for token, share in nodes[text].items() if token)
            probs[names.index(ended)] += mass * max(1 - listed, 0.0)
    return TreeShares(probs, unfollowed)


def _said(text: str) -> str:
    return text.lstrip(_BEFORE).casefold()


def _whole(text: str, names: Sequence[str]) -> int | None:
    """The longest of the folded `names` that `text` begins with, not in the middle of a word."""
    said = _said(text)
    fits = [i for i, name in enumerate(names) if said.startswith(name) and not said[len(name) : len(name) + 1].isalnum()]
    return max(fits, key=lambda i: len(names[i]), default=None)


def _reachable(text: str, names: Sequence[str]) -> list[int]:
    """The options that an answer which begins with `text` can still be read as; one that goes on after a whole name is read as that."""
    said, whole = _said(text), _whole(text, names)
    longer = [i for i, name in enumerate(names) if name.startswith(said)]
    return longer if whole is None or whole in longer else [*longer, whole]


def split_open(found: TreeShares, options: Sequence[str]) -> np.ndarray:
    """The shares with every open branch divided equally among the options it can lead to; branches without a word yet are lost."""
    probs, names = found.probs.copy(), [name.casefold() for name in options]
    for text, mass in found.open.items():
        if text.strip(_BEFORE):
            fits = _reachable(text, names)
            probs[fits] += mass / len(fits)
    return probs
