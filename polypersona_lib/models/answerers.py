"""Whoever answers, behind one interface: a model in this process, a model behind a server, or a table of known probabilities.

`write` gives texts, `option_probabilities` the probability of each option's name at the answer's start. What an answerer returns for a prompt does not depend
on the prompts beside it. A prompt without an answer keeps its place and says why. `ask_in_orders` asks in several orders of the options and averages: the order
alone decides what small models say.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

from ..prompts import chat
from .generation import Draws, Sampling, respond, uniforms

Messages = list[dict[str, str]]
Watch = Callable[[dict[int, str]], None]
ONE_THREAD = 20_000_000  # parameters: models below it (twins) are asked on one thread


@dataclass(frozen=True)
class Prompt:
    """What is asked: `id` names the row's random numbers, `messages` are those of `chat.messages`; the last one is the question.

    Raises: ValueError if it is not: a model that is shown the reference answer at the end repeats it.
    """

    id: str
    messages: Messages

    def __post_init__(self) -> None:
        if not len(self.messages) or self.messages[-1]["role"] != "user":
            raise ValueError(f"prompt {self.id!r} does not end with a question; leave the answer out (`chat.asked`)")


@dataclass(frozen=True)
class Written:
    """An answer in words as a reader sees it, whether a reasoning block was cut from it, and, if there is none, the reason."""

    text: str
    reasoned: bool = False
    reason: str = ""


@dataclass(frozen=True)
class OptionShares:
    """The probability of each option, or the reason why there is none.

    Attributes:
        probs: (options,), sums to 1; None without an answer. mass: the share of answers that begin with an option's name at all, 0 to 1.
        how: "exact", "logprobs" or "samples". samples: how many answers the shares are counted from (0: they are no counts).
        by_order: (orders, options) as asked in each order, in the order of `probs`; None if asked once.
    """

    probs: np.ndarray | None
    mass: float = float("nan")
    how: str = "exact"
    samples: int = 0
    reason: str = ""
    by_order: np.ndarray | None = None


class Answerer(Protocol):
    """Who can be asked."""

    name: str

    def write(self, prompts: Sequence[Prompt], sampling: Draws) -> list[Written]:
        """One text a prompt, drawn as `sampling` says (its seed and each row's settings)."""

    def option_probabilities(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[OptionShares]:
        """The probability of each row's options, as they stand in its prompt."""


def prompts_of(frame: pd.DataFrame) -> list[Prompt]:
    """The prompts of rows with the columns id and messages; a record's own answer, which stands at the end of its messages, is no part of them."""
    return [Prompt(i, chat.asked(m)) for i, m in zip(frame["id"], frame["messages"], strict=True)]


class LocalAnswerer:
    """A model in this process. Its texts and probabilities are those of `generation.respond`, bit for bit."""

    def __init__(self, model, tokenizer, *, name: str = "local", begun: str = "", label: str = ""):
        """`begun`: what its answers to closed questions begin with, see `weights.begun_by`."""
        self.model, self.tokenizer, self.name, self.begun, self.label = model, tokenizer, name, begun, label

    def write(self, prompts: Sequence[Prompt], sampling: Draws, watch: Callable[[dict], None] | None = None) -> list[Written]:
        """See `Answerer`; `watch` as in `generation.respond`."""
        with own_threads(self.model):
            replies = respond(self.model, self.tokenizer, _frame(prompts), sampling, label=self.label, watch=watch)
        return [Written(text, reasoned) for text, reasoned in zip(replies["text"], replies["reasoned"], strict=True)]

    def option_probabilities(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[OptionShares]:
        """See `Answerer`; nothing is sampled."""
        frame, nothing = _frame(prompts).assign(options=[list(names) for names in options]), Draws(0, [Sampling(1.0, 1.0, 0)] * len(prompts))
        with own_threads(self.model):
            replies = respond(self.model, self.tokenizer, frame, nothing, with_options=True, begun=self.begun, label=self.label)
        return [OptionShares(probs, mass=mass) for probs, mass in zip(replies["option_probs"], replies["option_mass"], strict=True)]


@contextmanager
def own_threads(model) -> Iterator[None]:
    """One thread for a model below `ONE_THREAD`: its matrices are too small to share, and beside other work two threads mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if sum(p.numel() for p in model.parameters()) < ONE_THREAD else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _frame(prompts: Sequence[Prompt]) -> pd.DataFrame:
    return pd.DataFrame({"id": [p.id for p in prompts], "messages": [p.messages for p in prompts]})


class TableAnswerer:
    """A world of known bias: `truth(messages, options)` gives the probability of each option; `order_bias` of it goes to the option that is listed first.

    `mass` of its answers begin with an option's name, the others with none.
    """

    def __init__(self, truth: Callable[[Messages, Sequence[str]], Sequence[float]], *, order_bias: float = 0.0, mass: float = 1.0, name: str = "table"):
        self.truth, self.order_bias, self.mass, self.name = truth, order_bias, mass, name

    def option_probabilities(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[OptionShares]:
        """See `Answerer`."""
        return [OptionShares(self._probs(p.messages, names), mass=self.mass) for p, names in zip(prompts, options, strict=True)]

    def _probs(self, messages: Messages, options: Sequence[str]) -> np.ndarray:
        first = np.arange(len(options)) == 0
        return (1 - self.order_bias) * np.asarray(self.truth(messages, options), dtype=float) + self.order_bias * first

    def write(self, prompts: Sequence[Prompt], sampling: Draws) -> list[Written]:
        """See `Answerer`: an option's name by its probability, or "I would rather not say"."""
        texts = []
        for prompt in prompts:
            options = listed_options(prompt.messages)
            says, which = uniforms(sampling.seed, prompt.id, 2)
            probs = self._probs(prompt.messages, options) if options else np.zeros(0)
            pick = min(int((probs.cumsum() <= which).sum()), len(options) - 1)
            texts.append(Written(f"{options[pick]}." if options and says < self.mass else "I would rather not say."))
        return texts


# --- the order of the options --------------------------------------------------------------------------------------------------


def listed_options(messages: Messages) -> list[str]:
    """The options as the prompt lists them; [] for an open question."""
    _, mark, listed = messages[-1]["content"].rpartition(chat.OPTIONS)
    return listed.split(chat.BETWEEN) if mark else []


def in_order(messages: Messages, options: Sequence[str], order: Sequence[int]) -> Messages:
    """The same question with its options listed in another order. Raises ValueError if the prompt does not end with these options."""
    *before, user = messages
    question, mark, listed = user["content"].rpartition(chat.OPTIONS)
    if not mark or listed != chat.BETWEEN.join(options):
        raise ValueError(f"the prompt does not end with its options {chat.BETWEEN.join(options)!r}")
    return [*before, user | {"content": question + mark + chat.BETWEEN.join(options[i] for i in order)}]


def orders_of(count: int, shifts: int = 0) -> list[list[int]]:
    """Both directions of `count` options; with `shifts`, so many cyclic shifts, evenly spaced, in place of them."""
    if not shifts:
        return [list(range(count)), list(range(count))[::-1]]
    starts = [round(k * count / shifts) % count for k in range(min(shifts, count))]
    return [[(start + i) % count for i in range(count)] for start in starts]


def ask_in_orders(answerer: Answerer, rows: pd.DataFrame, *, shifts: int = 0) -> list[OptionShares]:
    """Ask each row (columns id, messages, options) in both orders of its options (or `shifts` cyclic shifts) and average, option by option.

    All orders of a row are asked one after the other, so that a budget which ends keeps whole rows. A row that lacks one order has no answer.
    """
    asked = [(row, order) for row in rows[["id", "messages", "options"]].itertuples(index=False) for order in orders_of(len(row.options), shifts)]
    prompts = [Prompt(_order_id(row.id, order), in_order(row.messages, list(row.options), order)) for row, order in asked]
    replies = iter(answerer.option_probabilities(prompts, [[row.options[i] for i in order] for row, order in asked]))
    return [_average(list(_own(replies, orders_of(len(options), shifts)))) for options in rows["options"]]


def _order_id(row_id: str, order: Sequence[int]) -> str:
    """Names the random numbers of one order; the order as it is keeps those of the row."""
    return row_id if list(order) == sorted(order) else f"{row_id}|{','.join(map(str, order))}"


def _own(replies: Iterator[OptionShares], orders: list[list[int]]) -> Iterator[OptionShares]:
    """The replies to one row, each turned back to the row's own order of options."""
    for order in orders:
        reply = next(replies)
        yield reply if reply.probs is None else replace(reply, probs=reply.probs[np.argsort(order)])


def _average(replies: list[OptionShares]) -> OptionShares:
    """The mean of one row's replies; without an answer if one of them is."""
    if lacking := [reply for reply in replies if reply.probs is None]:
        return lacking[0]
    by_order = np.stack([reply.probs for reply in replies])
    how = "+".join(sorted({reply.how for reply in replies}))
    return OptionShares(by_order.mean(0), float(np.mean([r.mass for r in replies])), how, sum(r.samples for r in replies), by_order=by_order)


def content_free(options: Sequence[str]) -> Messages:
    """A prompt that asks nothing of nobody: what is answered to it is the prior on the options' names."""
    return chat.messages("N/A", "N/A", "N/A", options)
