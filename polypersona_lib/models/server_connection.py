"""One request to an OpenAI-compatible server: what it is told, how often it is asked again, and what of its reply is believed.

The key comes from the environment and goes into one header of requests to the address that the user named, nowhere else. Redirects are not followed.
"""

import ipaddress
import json
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

from ..errors import InputError, one_line, quoted
from ..systems import ServerSpec
from .answer_budget import LONGEST_REPLY, NOT_ASKED, Budget, http_client, read_whole, reply_of

KEY_VARIABLES = ("POLYPERSONA_API_KEY", "OPENAI_API_KEY")  # the second one is sent to its own house only
OPENAI_HOST = "api.openai.com"
TRIES, BACKOFF_S, MOST_WAIT_S = 5, 0.5, 120.0
TIMEOUT_S = 120.0
LEAST_SECRET = 8  # characters; a shorter key is a placeholder that a local server wants, and a word of answers
DOWN_AFTER = 3  # answers in a row that no try could get: the server is taken for gone
REST_S = 30.0  # so long it is left in peace, or as long as it asks for; then one prompt is sent again


class Unanswered(Exception):
    """A prompt that gets no answer; the message says why."""


class Unsupported(Unanswered):
    """The server refuses to tell the probabilities of tokens."""


class _Broken(Exception):
    """A reply that is no answer: half of one, no JSON, no text."""


def api_key(address: str) -> tuple[str, str]:
    """(name of the environment variable, its key) for an address; two empty texts without one."""
    host = urlsplit(address).hostname
    for name in KEY_VARIABLES:
        if os.environ.get(name) and (name != "OPENAI_API_KEY" or host == OPENAI_HOST):
            return name, os.environ[name].strip()
    return "", ""


def is_loopback(address: str) -> bool:
    """Whether an address leads to this machine itself."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Connection:
    """Sends request bodies to one server's model, again after failures that may pass, never past `budget`.

    Raises (all methods): InputError, in one line, if no request to this server can succeed: nobody answers, the key is refused, the model is unknown or another
        one answers; `Unanswered` if this one fails; `BudgetSpent` before a request that the budget does not allow.
    """

    def __init__(self, spec: ServerSpec, budget: Budget, *, timeout_s: float = TIMEOUT_S, sleep: Callable[[float], None] = time.sleep):
        self.spec, self.budget, self.sleep, self.clock = spec, budget, sleep, time.monotonic
        self.counts, self.fingerprints = Counter(), set()
        self._name, self.__key = api_key(spec.address)
        if re.search(r"[^!-~]", self.__key):
            raise InputError(f"{self._name} holds a blank, a line end or a letter that no key has; set it anew")
        self._client = self._open(timeout_s)
        self._limit_name, self._in_a_row, self._rests_until, self._lock, self._announced = "max_tokens", 0, 0.0, threading.Lock(), False

    def __repr__(self) -> str:
        return f"Connection({self.spec.address!r}, {self.spec.model!r})"

    def _open(self, timeout_s: float):
        import openai

        http = http_client(timeout_s=timeout_s, key=bool(self.__key), proxies=not is_loopback(self.spec.address))
        return openai.OpenAI(base_url=self.spec.address, api_key=self.__key or "none", max_retries=0, http_client=http)

    def close(self) -> None:
        """Let go of the connections to the server."""
        self._client.close()

    def announce(self) -> None:
        """Say, once and before the first request, which address gets what."""
        with self._lock:
            if not self._announced:
                limits = self.budget.limits
                told = [f"the key in {self._name}" if self._name else "no key"]
                told += [f"at most {limits.max_requests} requests" if limits.max_requests is not None else ""]
                told += [f"at most {limits.budget_usd:g} dollars" if limits.budget_usd is not None else ""]
                told += ["not encrypted" if self.spec.address.startswith("http:") and not is_loopback(self.spec.address) else ""]
                what = f"{self.spec.address} gets the persona cards and questions for its model {quoted(self.spec.model)}"
                print(f"{what} ({', '.join(filter(None, told))})", flush=True)
            self._announced = True

    def send(self, body: dict, watch: Callable[[str], None] | None = None) -> dict:
        """The reply to a request: text, finish, tokens_in, tokens_out, places ([[sampled token, [[token, logprob], ...]], ...], None without logprobs).

        `watch` sees the text so far while it is written. Raises also `Unsupported` if the server refuses logprobs.
        """
        import openai

        if self._at_rest():
            raise Unanswered(f"not asked: the server stopped answering ({DOWN_AFTER} prompts in a row failed)")
        most = sum(len(m["content"].encode()) + 16 for m in body["messages"]), body["max_tokens"]
        self.announce()
        why = ""
        for attempt in range(TRIES):
            if attempt:
                self._met("asked again")
            self.budget.reserve(*most)
            limit = self._limit_name
            try:
                reply = self._once(body, watch, limit)
            except openai.APIStatusError as error:
                self.budget.settle(most, (0, 0))
                why, wait = self._refused(error, attempt, limit)
            except (openai.APIError, _Broken) as error:
                self.budget.settle(most, most)
                why, wait = self._failed(error), BACKOFF_S * 2**attempt
            except BaseException:  # stopped by the user: the server may have worked all the same
                self.budget.settle(most, most)
                raise
            else:
                self.budget.settle(most, tuple(reply[k] if reply[k] is not None else m for k, m in zip(("tokens_in", "tokens_out"), most, strict=True)))
                self._in_a_row = 0
                return reply
            if attempt + 1 < TRIES:
                self.sleep(wait)
        return self._give_up(why)

    def _at_rest(self) -> bool:
        """Whether a server that stopped answering still rests. After its pause one prompt goes through; the others wait for its result."""
        with self._lock:
            at_rest = self._in_a_row >= DOWN_AFTER and self.clock() < self._rests_until
            if self._in_a_row >= DOWN_AFTER and not at_rest:
                self._rests_until = self.clock() + REST_S
        return at_rest

    def _rest(self, failed: int, seconds: float = REST_S) -> None:
        """Note so many failures in a row, and how long the server is left in peace if they are too many."""
        with self._lock:
            self._in_a_row, self._rests_until = failed, max(self._rests_until, self.clock() + max(REST_S, seconds))

    def _give_up(self, why: str) -> dict:
        self._rest(self._in_a_row + 1)
        if not self.counts["answered"] and why.startswith("no connection"):
            raise InputError(f"no server answers at {self.spec.address}; start it, or mend the address in --models")
        raise Unanswered(f"{why} ({TRIES} times)")

    def _failed(self, error: Exception) -> str:
        """A failure without a status, in words."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            kind = "time-out"
        elif type(error.__cause__).__name__ == "DecodingError":
            kind = "a packed or endless reply"
        elif isinstance(error, openai.APIConnectionError):
            kind = "connection broke" if "protocol" in type(error.__cause__).__name__.lower() or self.counts["answered"] else "no connection"
        else:
            kind = str(error) if isinstance(error, _Broken) else "broken reply"
        self._met(kind)
        return kind

    def _refused(self, error, attempt: int, limit: str) -> tuple[str, float]:
        """(why, seconds to wait) for a status that may pass; raises for one that will not."""
        status, said = error.status_code, self._said(error)
        self._met(f"status {status}")
        if status in (401, 403):
            held = f"the key in {self._name} is refused" if self._name else f"it wants a key; put it into {KEY_VARIABLES[0]}"
            raise InputError(f"{self.spec.address}: {held} (status {status})") from None
        if 300 <= status < 400:
            raise InputError(
                f"{self.spec.address} redirects to {quoted(self._without_key(_host(error)))}; redirects are not followed: name that address in --models"
            ) from None
        if status == 404:
            hint = "" if self.spec.address.endswith("/v1") else "; most addresses end with /v1"
            raise InputError(f"{self.spec.address}: no model {quoted(self.spec.model)} there (status 404{hint}). {self._offered()}") from None
        if status in (400, 422) and "max_completion_tokens" in said and limit == "max_tokens":  # this request said max_tokens, whatever the next ones say
            self._limit_name = "max_completion_tokens"
            return "status 400", 0.0
        if status in (400, 422) and "logprob" in said:
            raise Unsupported(f"status {status}: {quoted(said, 160)}") from None
        if status in (408, 409, 425, 429) or status >= 500:
            wait = _retry_after(error.response.headers)
            if wait is not None and wait > MOST_WAIT_S:
                self._rest(DOWN_AFTER, wait)
                raise Unanswered(f"{NOT_ASKED}: status {status}, the server asks to wait {wait:.0f} seconds") from None
            return f"status {status}", BACKOFF_S * 2**attempt if wait is None else wait
        if self.spec.model in said and not self.counts["answered"]:
            raise InputError(f"{self.spec.address} refuses the model {quoted(self.spec.model)} (status {status}): {quoted(said, 160)}") from None
        raise Unanswered(f"status {status}: {quoted(said, 160)}") from None

    def _said(self, error) -> str:
        """What the server said of an error: one line without the key (a server may repeat what it was sent)."""
        try:
            body = error.body if isinstance(error.body, str) else json.dumps(error.body, ensure_ascii=False) if error.body is not None else ""
        except RecursionError:
            body = ""
        return one_line(self._without_key(body))

    def _without_key(self, text: str) -> str:
        """`text` without the key, also as JSON or an address spells it."""
        if len(self.__key) < LEAST_SECRET:
            return text
        for spelled in {self.__key, json.dumps(self.__key)[1:-1], quote(self.__key, safe="")} - {""}:
            text = text.replace(spelled, "[key]")
        return text

    def _cleaned(self, said):
        """A reply without the key in any of its texts."""
        if isinstance(said, str):
            return self._without_key(said)
        if isinstance(said, dict):
            return {name: self._cleaned(value) for name, value in said.items()}
        return [self._cleaned(value) for value in said] if isinstance(said, list | tuple) else said

    def _offered(self) -> str:
        """The models that the server says it has, in words."""
        import openai

        try:
            names = [str(model.id) for model in self._client.models.list().data][:10]
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            names = []
        return f"It offers {', '.join(quoted(self._without_key(name)) for name in names)}" if names else "It does not say which models it has"

    def _once(self, body: dict, watch: Callable[[str], None] | None, limit: str) -> dict:
        """One request, one reply."""
        sent = {k: v for k, v in body.items() if k != "max_tokens"} | {limit: body["max_tokens"]}
        try:
            reply = read_whole(self._client.chat.completions.create(**sent)) if watch is None else self._streamed(sent, watch)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            raise _Broken("broken reply") from None
        reply = self._cleaned(reply)
        places = (reply["places"] or [])[: body["max_tokens"]]  # a server may list what nobody asked for, up to megabytes
        said = "".join(token for token, *_ in places)
        reply["places"] = places if places and self._without_key(said) == said else None  # a repeated key stands there in pieces
        self._check_model(reply.pop("model"))
        self.fingerprints |= {reply.pop("fingerprint")} - {None, ""}
        self._met("answered")
        return reply

    def _met(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _streamed(self, sent: dict, watch: Callable[[str], None]) -> dict:
        """A reply that is read while it is written. Half of one is broken."""
        import httpx2

        text, last = "", None
        try:
            with self._client.chat.completions.create(**sent, stream=True) as pieces:
                for last in pieces:
                    if last.choices and last.choices[0].delta.content:
                        text += last.choices[0].delta.content
                        if len(text) > LONGEST_REPLY:
                            raise _Broken("too long a reply")
                        watch(self._without_key(text))
                    if last.choices and last.choices[0].finish_reason:
                        return reply_of(text, last.choices[0].finish_reason, last, None)
        except httpx2.HTTPError:
            pass
        raise _Broken("half a reply")

    def _check_model(self, name: object) -> None:
        """Raises InputError if another model than the one asked for has answered; a longer name (a date, a revision) is the same model."""
        if name and not str(name).casefold().startswith(self.spec.model.casefold()):
            raise InputError(f"{self.spec.address}: asked for the model {quoted(self.spec.model)}, {quoted(name)} answered; put its name after #")


def _host(error) -> str:
    """Where a redirect leads, in words."""
    try:
        return urlsplit(error.response.headers.get("location", "")).hostname or "another address"
    except ValueError:
        return "another address"


def _retry_after(headers) -> float | None:
    """Seconds that a server asks to wait (a number or a date); None if it does not say, or not legibly."""
    text = headers.get("retry-after", "")
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, wait) if math.isfinite(wait) else None
