"""What asking servers costs, and the hard stop: a request is reserved at the most it can cost before it is sent, so that no limit is ever passed."""

import threading
from dataclasses import dataclass, field

from ..servers import Limits


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
