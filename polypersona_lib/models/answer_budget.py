"""What asking servers costs: the limits of a run, what it has spent, and the replies kept on disk so that nothing is paid for twice.

A request is reserved at the most it can cost before it is sent, so that no limit is ever passed.
"""

import argparse
import json
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files import parse_json, sha256, value_hash, write_atomically
from ..paths import cache_folder

CACHE_FORMAT = 1
NOT_ASKED = "not asked"  # how the reason of a row begins that was never sent; such rows are asked again when a run goes on
VARIABLES = {"max_requests": "POLYPERSONA_MAX_REQUESTS", "budget_usd": "POLYPERSONA_BUDGET_USD", "prices": "POLYPERSONA_PRICES"}


@dataclass(frozen=True)
class Limits:
    """What a run may spend on servers: requests (retries count), US dollars, and the prices in dollars per million tokens read and written. None: no limit."""

    max_requests: int | None = None
    budget_usd: float | None = None
    prices: tuple[float, float] | None = None

    def __post_init__(self):
        if self.max_requests is not None and self.max_requests < 0:
            raise ValueError(f"--max-requests must be 0 or more, not {self.max_requests}")
        if self.budget_usd is not None and not 0 <= self.budget_usd < float("inf"):
            raise ValueError(f"--budget-usd must be 0 or more, not {self.budget_usd}")
        if self.prices is not None and (len(self.prices) != 2 or not all(0 <= p < float("inf") for p in self.prices)):
            raise ValueError("--prices takes two numbers, dollars per million tokens read and written, for example --prices 0.15,0.60")
        if self.budget_usd is not None and self.prices is None:
            raise ValueError("--budget-usd needs the server's prices, in dollars per million tokens read and written: --prices 0.15,0.60")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """The options of a command that may ask servers."""
    parser.add_argument("--max-requests", default="", metavar="N", help="most requests to servers, retries included; what they answered is kept")
    parser.add_argument("--budget-usd", default="", metavar="X", help="stop asking servers before they cost more; needs --prices")
    parser.add_argument("--prices", default="", metavar="IN,OUT", help="a server's prices in dollars per million tokens read and written")


def limit_variables(options: argparse.Namespace) -> dict[str, str]:
    """The options of `add_limits` as environment variables, for processes that ask. Raises ValueError for what is no limit."""
    given = {variable: getattr(options, name) for name, variable in VARIABLES.items()}
    read_limits(list(given.values()))
    return {variable: text for variable, text in given.items() if text}


def read_limits(values: Sequence[str] | None = None) -> Limits:
    """The limits in three texts (max_requests, budget_usd, prices; "" for none), by default from the environment. Raises ValueError for no numbers."""
    requests, usd, prices = values if values is not None else [os.environ.get(name, "") for name in VARIABLES.values()]
    try:
        numbers = int(requests) if requests else None, float(usd) if usd else None, tuple(map(float, prices.split(","))) if prices else None
    except ValueError as error:
        raise ValueError(f"--max-requests, --budget-usd and --prices take numbers ({error})") from error
    return Limits(*numbers)


class BudgetSpent(Exception):
    """The next request could pass a limit; the message says which."""


@dataclass
class Budget:
    """Requests, tokens and dollars so far, under `limits`. Threads may share it.

    A request whose cost nobody knows (a time-out, half a reply) counts with the most it can have cost.
    """

    limits: Limits = field(default_factory=Limits)
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    _reserved: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """The price of so many tokens in dollars (0 where no prices are known)."""
        read, written = self.limits.prices or (0.0, 0.0)
        return (tokens_in * read + tokens_out * written) / 1e6

    @property
    def spent_usd(self) -> float | None:
        """Dollars so far; None without prices."""
        return None if self.limits.prices is None else self.usd(self.tokens_in, self.tokens_out)

    def reserve(self, tokens_in: int, tokens_out: int) -> None:
        """Count one request of at most so many tokens. Raises BudgetSpent, and counts nothing, if it could pass a limit."""
        with self._lock:
            if self.limits.max_requests is not None and self.requests >= self.limits.max_requests:
                raise BudgetSpent(f"not asked: the limit of {self.limits.max_requests} requests is reached (--max-requests)")
            most = self.usd(self.tokens_in, self.tokens_out) + self._reserved + self.usd(tokens_in, tokens_out)
            if self.limits.budget_usd is not None and most > self.limits.budget_usd:
                raise BudgetSpent(f"not asked: it could cost more than the budget of {self.limits.budget_usd:g} dollars (--budget-usd)")
            self.requests += 1
            self._reserved += self.usd(tokens_in, tokens_out)

    def settle(self, reserved: tuple[int, int], used: tuple[int, int]) -> None:
        """Replace a reservation (tokens in, out) by what the request used."""
        with self._lock:
            self._reserved -= self.usd(*reserved)
            self.tokens_in += used[0]
            self.tokens_out += used[1]


# --- replies on disk: one small file each; a stopped run goes on where it was --------------------------------------------------------------


def answers_folder() -> Path:
    """Where replies are kept: below $POLYPERSONA_CACHE, else below the user's cache folder."""
    return cache_folder() / "answers"


class AnswerCache:
    """Replies by request: address, the model's name there, messages and sampling, seed included. A server that puts another model behind the same name is not
    noticed: name another folder in `POLYPERSONA_CACHE`, or delete this one.

    `hits` and `corrupt` count the files that were used, and those that could not be: they are asked again and written anew.
    """

    def __init__(self, folder: Path):
        self.folder, self.hits, self.corrupt, self._lock = folder, 0, 0, threading.Lock()

    def path(self, request: dict) -> Path:
        """Where the reply to a request is kept."""
        key = value_hash([CACHE_FORMAT, request])
        return self.folder / key[:2] / f"{key}.json"

    def get(self, request: dict) -> dict | None:
        """The stored reply to a request; None if there is none, or none that is whole."""
        try:
            content = self.path(request).read_bytes()
        except OSError:
            return None
        try:
            entry = parse_json(content)
            whole = entry["sha256"] == _digest(entry["reply"]) and entry["request"] == value_hash(request)
        except (ValueError, KeyError, TypeError):
            whole = False
        with self._lock:
            self.hits, self.corrupt = self.hits + whole, self.corrupt + (not whole)
        return entry["reply"] if whole else None

    def put(self, request: dict, reply: dict) -> None:
        """Keep a reply (JSON-able); a reader sees the whole file or none."""
        entry = {"request": value_hash(request), "sha256": _digest(reply), "reply": reply}
        write_atomically(self.path(request), json.dumps(entry, ensure_ascii=True) + "\n")


def _digest(reply: dict) -> str:
    return sha256(json.dumps(reply, sort_keys=True, ensure_ascii=True))


# --- what of a server's reply is kept --------------------------------------------------------------------------------------------------------

LONGEST_REPLY, MOST_USED = 100_000, 10**8  # characters of an answer; tokens that a reply can say it used


def read_whole(completion) -> dict:
    """A reply that came whole, as `Connection.send` returns it. Raises ValueError for what is no text, or too long."""
    choice = completion.choices[0]
    if not isinstance(choice.message.content or "", str) or len(choice.message.content or "") > LONGEST_REPLY:
        raise ValueError("no text")
    listed = choice.logprobs.content if choice.logprobs else None
    places = [[*_token(one), [_token(t) for t in one.top_logprobs or []]] for one in listed] if listed else None
    return reply_of(choice.message.content or "", choice.finish_reason, completion, places)


def _token(listed) -> list:
    """[token, its logprob]; a probability above 1 is 1. Raises ValueError for what is no token or no number."""
    if not isinstance(listed.token, str) or len(listed.token) > LONGEST_REPLY or math.isnan(logprob := float(listed.logprob)):
        raise ValueError("no token")
    return [listed.token, min(logprob, 0.0)]


def reply_of(text: str, finish: str | None, holder, places: list | None) -> dict:
    """The parts of a reply that are kept; a number of tokens that cannot be is None."""
    usage = {k: getattr(holder.usage, v, None) for k, v in (("tokens_in", "prompt_tokens"), ("tokens_out", "completion_tokens"))}
    usage = {k: v if type(v) is int and 0 <= v <= MOST_USED else None for k, v in usage.items()}
    said = {"finish": finish, "model": holder.model, "fingerprint": getattr(holder, "system_fingerprint", None)}
    return {"text": text, "places": places, **{k: v if isinstance(v, str) else None for k, v in said.items()}, **usage}


# --- the client that requests go through: no header but those that a request needs, and no reply larger than `MOST_REPLY_BYTES` --------------

CONNECT_S, MOST_REPLY_BYTES = 10.0, 16 * 2**20  # the longest answer with 20 listed tokens a place takes two megabytes
_HEADERS = {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent", "authorization"}


def transport():
    """What carries the requests: None for the network (tests put replies of their own here)."""
    return None


def http_client(*, timeout_s: float, key: bool, proxies: bool):
    """An HTTP client that follows no redirect. `key`: requests may carry the header that holds it. `proxies`: those of the environment are used."""
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        """A reply's bytes, and an error after the most: a server can send for ever."""

        def __init__(self, stream):
            self.stream = stream

        def __iter__(self):
            left = MOST_REPLY_BYTES
            for piece in self.stream:
                left -= len(piece)
                if left < 0:
                    raise httpx2.DecodingError(f"a reply of more than {MOST_REPLY_BYTES} bytes")
                yield piece

        def close(self) -> None:
            self.stream.close()

    def bare(request) -> None:
        for name in {name.lower() for name in request.headers} - (_HEADERS if key else _HEADERS - {"authorization"}):
            del request.headers[name]
        request.headers["accept-encoding"] = "identity"

    def bound(response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":  # nobody asked for it, and a small reply could unpack to any size
            raise httpx2.DecodingError("a packed reply", request=response.request)
        response.stream = Bounded(response.stream)

    timeout, hooks = httpx2.Timeout(timeout_s, connect=CONNECT_S), {"request": [bare], "response": [bound]}
    return httpx2.Client(transport=transport(), timeout=timeout, follow_redirects=False, trust_env=proxies, event_hooks=hooks)
