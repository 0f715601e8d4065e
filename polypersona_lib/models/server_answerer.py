"""A model behind a server as an answerer: texts, option probabilities from logprobs or from samples, every reply kept on disk.

A server cannot be asked for the likelihood of a text that we choose. It tells the most probable tokens at each place of what it says itself. Several answers
together are a tree; an option's probability is the sum over the branches that can only become its name.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..files import sha256
from ..progress import track
from ..prompts import chat
from ..registry import MODELS, REAL_MODELS
from ..systems import ServerSpec
from .answer_budget import AnswerCache, Budget, BudgetSpent
from .answerers import OptionShares, Prompt, Watch, Written
from .generation import Draws, Sampling
from .server_connection import Connection, Unanswered, Unsupported

SAMPLES = 5  # answers that a share is counted from, in each order of the options
PARALLEL = 4  # requests at once
NAME_TOKENS = 24  # the longest answer that is read for its option
FREE = Sampling(1.0, 1.0, NAME_TOKENS)
MANY = 20  # prompts that no server answers without any variation if it samples
SMALL = 0.01  # open branches with less mass are divided evenly, not followed
TOP = (20, 5)  # how many tokens a place a server is asked for; some allow 5
_CONTROL = tuple(sorted({text for spec in (*MODELS.values(), *REAL_MODELS.values()) for text in spec.control}))
_BEFORE = " \t\r\n\"'`*_“”‘’«»([{-–—•:>"  # what may stand before an option's name
Nodes = Mapping[str, Mapping[str, float]]
"""Text so far -> {next token: its probability}."""


class ServerAnswerer:
    """Asks one server's model. `seed` is that of the options' samples; texts have the seed of their `Draws`.

    Rows that get no answer say why; those that the budget does not allow are not asked. What was answered is in the cache and is kept.
    """

    def __init__(self, spec: ServerSpec, cache: AnswerCache, budget: Budget, *, seed: int, label: str = "", connection: Connection | None = None):
        self.spec, self.name, self.cache, self.seed, self.label = spec, spec.system, cache, seed, label
        self.connection = connection or Connection(spec, budget)
        self.budget, self.texts, self.choices = budget, Counter(), Counter()
        self._top: int | None = None  # tokens a place that the server lists; 0: it gives no logprobs; None: not known yet

    def write(self, prompts: Sequence[Prompt], sampling: Draws, watch: Watch | None = None) -> list[Written]:
        """See `Answerer`. `watch(texts)` sees {number of the prompt: text so far}; the prompts are then asked one after the other."""
        jobs = list(zip(range(len(prompts)), prompts, sampling.settings, strict=True))

        def one(job) -> tuple[Written, str]:
            number, prompt, settings = job
            look = None if watch is None else lambda text: watch({number: text})
            try:
                reply = self._reply(self._body(prompt.messages, settings, _seed(sampling.seed, prompt.id)), look)
            except (Unanswered, BudgetSpent) as error:
                return Written("", reason=str(error)), "without an answer"
            text = chat.clean_answer(reply["text"])
            kind = "cut at the longest answer" if reply["finish"] == "length" else "whole"
            return Written(text, chat.has_reasoning(reply["text"]), "" if text else "the server's answer is empty"), kind

        written = self._all(one, jobs, together=watch is None)
        self.texts.update(kind for _, kind in written)
        return [text for text, _ in written]

    def option_probabilities(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[OptionShares]:
        """See `Answerer`. From `logprobs` where the server gives them, else the shares of `SAMPLES` answers; `OptionShares.how` says which."""

        def one(job) -> OptionShares:
            try:
                return (self._by_logprobs if self._gives_logprobs(job[0]) else self._by_samples)(*job)
            except (Unanswered, BudgetSpent) as error:
                return OptionShares(None, reason=str(error))

        jobs = list(zip(prompts, options, strict=True))
        choices = [one(job) for job in jobs[:1]]  # alone: it finds out whether the server gives logprobs (if it is refused, the next ones do)
        choices += self._all(one, jobs[1:])
        self.choices.update(choice.how if choice.probs is not None else "without an answer" for choice in choices)
        counted = [choice.probs for choice in choices if choice.how == "samples" and choice.probs is not None]
        if len(counted) >= MANY and all(probs.max() == 1 for probs in counted):
            print(f"{self.name}: each of {len(counted)} prompts got one option {SAMPLES} times; the server seems not to sample, so shares are 0 or 1")
        return choices

    def _all(self, one: Callable, jobs: list, *, together: bool = True) -> list:
        """The results of `jobs` in their order, several at a time."""
        if not together:
            return [one(job) for job in jobs]
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                waiting = [pool.submit(one, job) for job in jobs]
                return [future.result() for future in (track(waiting, self.label) if self.label else waiting)]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    # --- one request ---

    def _body(self, messages: list[dict[str, str]], settings: Sampling, seed: int, *, top: int = 0) -> dict:
        """The body of a request; persona and question have gone through the guard."""
        safe = [m | {"content": chat.neutralise(m["content"], _CONTROL)} for m in messages]
        body = {"model": self.spec.model, "messages": safe, "temperature": settings.temperature, "top_p": settings.top_p, "seed": seed}
        return body | {"max_tokens": settings.max_tokens} | ({"logprobs": True, "top_logprobs": top} if top else {})

    def _reply(self, body: dict, watch: Callable[[str], None] | None = None) -> dict:
        """The reply to a body, from the cache or from the server."""
        request = {"address": self.spec.address, **body}
        if (reply := self.cache.get(request)) is None:
            reply = self.connection.send(body, watch)
            if reply["text"] or reply["places"]:  # an empty answer is asked again in the next run
                self.cache.put(request, reply)
        return reply

    # --- options ---

    def _gives_logprobs(self, prompt: Prompt) -> bool:
        """Whether the server lists the probabilities of tokens: tried once, then kept in the cache."""
        if self._top is None:
            known = {"address": self.spec.address, "model": self.spec.model, "question": "how many logprobs?"}
            if (said := self.cache.get(known)) is None:
                said = {"top": self._most_listed(prompt)}
                if said["top"]:  # a server that gives none today is asked again in the next run
                    self.cache.put(known, said)
            self._top = said["top"]
        return self._top > 0

    def _most_listed(self, prompt: Prompt) -> int:
        """How many tokens a place the server lists: 20, 5 if it refuses 20, 0 if it refuses both or lists none."""
        for top in TOP:
            try:
                places = self._reply(self._body(prompt.messages, FREE, _seed(self.seed, f"{prompt.id}#0"), top=top))["places"]
            except Unsupported:
                continue
            return top if places and len(places[0][2]) > 1 else 0
        return 0

    def _by_logprobs(self, prompt: Prompt, options: Sequence[str]) -> OptionShares:
        """Answers are sampled until every branch of the tree that matters leads to one option, at most `SAMPLES` of them."""
        nodes: dict[str, dict[str, float]] = {}
        for sample in range(SAMPLES):
            reply = self._reply(self._body(prompt.messages, FREE, _seed(self.seed, f"{prompt.id}#{sample}"), top=self._top))
            _grow(nodes, reply["places"] or [])
            if not nodes:
                raise Unanswered("the server's answer has no logprobs")
            shares = tree_shares(nodes, options)
            if all(mass < SMALL for mass in shares.open.values()):
                break
        probs = split_open(shares, options)
        if probs.sum() <= 0:
            return OptionShares(None, mass=0.0, how="logprobs", reason="no token that the server lists begins an option's name")
        return OptionShares(probs / probs.sum(), min(1.0, float(probs.sum())), "logprobs")

    def _by_samples(self, prompt: Prompt, options: Sequence[str]) -> OptionShares:
        """The share of answers that begin with each option's name."""
        texts = [self._reply(self._body(prompt.messages, FREE, _seed(self.seed, f"{prompt.id}#{i}")))["text"] for i in range(SAMPLES)]
        named = [option for text in texts if (option := named_option(chat.clean_answer(text), options)) is not None]
        if not named:
            return OptionShares(None, mass=0.0, how="samples", samples=SAMPLES, reason=f"none of {SAMPLES} answers begins with an option's name")
        return OptionShares(np.bincount(named, minlength=len(options)) / len(named), len(named) / SAMPLES, "samples", len(named))

    def record(self) -> dict:
        """What asking has cost and met so far, for the run's record: plain numbers and texts, no key."""
        budget = self.budget
        return {
            "address": self.spec.address, "model": self.spec.model, "fingerprints": sorted(self.connection.fingerprints),
            "requests": budget.requests, "tokens_in": budget.tokens_in, "tokens_out": budget.tokens_out, "cost_usd": budget.spent_usd,
            "from_cache": self.cache.hits, "damaged_cache_files": self.cache.corrupt, "met": dict(sorted(self.connection.counts.items())),
            "options_by": dict(sorted(self.choices.items())), "texts": dict(sorted(self.texts.items())),
        }  # fmt: skip


def _seed(seed: int, row_id: str) -> int:
    """A seed of 31 bits that belongs to this row alone, as a server takes it."""
    return int(sha256(f"{seed}|{row_id}")[:8], 16) & 0x7FFFFFFF


def _grow(nodes: dict[str, dict[str, float]], places: list) -> None:
    """Add one sampled answer to the tree: at each place what the server listed, and the token that was taken."""
    text = ""
    for token, logprob, listed in places:
        shares = {one: float(np.exp(value)) for one, value in listed} | {token: float(np.exp(logprob))}
        nodes.setdefault(text, shares)
        text += token


# --- which option an answer begins with: by its text, or by the probabilities of its tokens, branch by branch ------------------------------


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
            reached = text + token
            fits = _reachable(reached, names) if token else []
            settled = len(fits) == 1 and len(_said(reached, names)) >= len(names[fits[0]].split()[0])  # "I" is not yet the "In" of "In favour"
            if settled and (reached not in nodes or _whole(reached, names) is not None):
                probs[fits[0]] += mass * share
            elif fits and reached in nodes:
                todo.append((reached, mass * share))
            elif fits:
                unfollowed[reached] = mass * share
        if (ended := _said(text, names)) in names:  # a whole name already: an answer that ends here, or goes on with a token that is not listed, takes it
            listed = sum(share for token, share in nodes[text].items() if token)
            probs[names.index(ended)] += mass * max(1 - listed, 0.0)
    return TreeShares(probs, unfollowed)


def _said(text: str, names: Sequence[str]) -> str:
    """The folded text without what may stand before a name; a sign that begins one of the names ("-2", "(Don't know)") stays."""
    return text.lstrip("".join(c for c in _BEFORE if not any(name.startswith(c) for name in names))).casefold()


def _whole(text: str, names: Sequence[str]) -> int | None:
    """The longest of the folded `names` that `text` begins with, not in the middle of a word."""
    said = _said(text, names)
    fits = [i for i, name in enumerate(names) if said.startswith(name) and not said[len(name) : len(name) + 1].isalnum()]
    return max(fits, key=lambda i: len(names[i]), default=None)


def _reachable(text: str, names: Sequence[str]) -> list[int]:
    """The options that an answer which begins with `text` can still be read as; one that goes on after a whole name is read as that."""
    said, whole = _said(text, names), _whole(text, names)
    longer = [i for i, name in enumerate(names) if name.startswith(said)]
    return longer if whole is None or whole in longer else [*longer, whole]


def split_open(tree: TreeShares, options: Sequence[str]) -> np.ndarray:
    """The shares with every open branch divided equally among the options it can lead to; branches without a word yet are lost."""
    probs, names = tree.probs.copy(), [name.casefold() for name in options]
    for text, mass in tree.open.items():
        if _said(text, names):
            fits = _reachable(text, names)
            probs[fits] += mass / len(fits)
    return probs
