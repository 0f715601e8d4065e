"""A server's model as users name it, `server:ADDRESS#NAME`, the system it becomes in a run, and what a run may spend on asking it."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

PREFIX = "server:"
EXAMPLE = "server:http://127.0.0.1:8000/v1#NAME"
VARIABLES = {"max_requests": "POLYPERSONA_MAX_REQUESTS", "budget_usd": "POLYPERSONA_BUDGET_USD", "prices": "POLYPERSONA_PRICES"}
_MARK, _SUFFIX = "server-", "--base"


@dataclass(frozen=True)
class ServerSpec:
    """A model behind an OpenAI-compatible address: `address` (http or https, no key in it) and `model`, the name the server knows it by."""

    address: str
    model: str

    @property
    def system(self) -> str:
        """The name of its answers in files: it answers as it is (zero-shot), so it is an untuned system."""
        return _MARK + (re.sub(r"[^A-Za-z0-9._]+", "-", self.model).strip("-.")[-60:] or "model") + _SUFFIX


def is_server(system: str) -> bool:
    """Whether a system's answers come from a server."""
    return system.startswith(_MARK) and system.endswith(_SUFFIX)


def server_label(system: str) -> str:
    """The name of a server's system for readers: "NAME on a server, untuned"."""
    return f"{system.removeprefix(_MARK).removesuffix(_SUFFIX)} on a server, untuned"


def parse_server(text: str) -> ServerSpec:
    """Read `server:ADDRESS#NAME`. Raises ValueError that never repeats the address: a password in it must reach no log."""
    address, _, model = text.strip().removeprefix(PREFIX).partition("#")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"[\s\x00-\x1f]", address):
        raise ValueError(f"--models: a server is named by an http or https address and its model's name, for example {EXAMPLE}")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ValueError("--models: the server's address holds a user name, a password or a query; put the key into the environment variable "
                         f"POLYPERSONA_API_KEY and name the bare address, for example {EXAMPLE}")  # fmt: skip
    if not model.strip() or any(not c.isprintable() for c in model):
        raise ValueError(f"--models: the server's entry lacks the model's name after '#', for example {EXAMPLE}")
    return ServerSpec(address.rstrip("/"), model.strip())


def split_models(models: str) -> tuple[list[str], tuple[ServerSpec, ...]]:
    """The entries of `--models`: registry keys, and servers. Raises ValueError for a bad server or two servers whose models have one name."""
    entries = [entry.strip() for entry in models.split(",") if entry.strip()]
    servers = tuple(dict.fromkeys(parse_server(entry) for entry in entries if entry.startswith(PREFIX)))
    names = [server.system for server in servers]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"--models: two servers offer a model named {server_label(min(twice))!r}; ask them in two runs (--out)")
    return [entry for entry in entries if not entry.startswith(PREFIX)], servers


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
    parser.add_argument("--max-requests", default="", metavar="N", help="ask servers at most so often, retries included; what they answered is kept")
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
