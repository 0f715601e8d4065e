"""Limits on time that mean the same on a slow machine: they are in seconds of the machine that they were set on."""

from __future__ import annotations

import re
import time

_WORK_S = 0.05  # processor time of `_work` there


def _work() -> float:
    """Processor time of a fixed piece of Python: a pattern, numbers and a dictionary."""
    began = time.process_time()
    words = re.findall(r"[a-z]+\d?", "tram7 stop late again " * 56_000)
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + len(word) % 7
    return time.process_time() - began


def allowed(seconds: float) -> float:
    """`seconds` times how much slower this machine is just now than the one the limit was set on (never less than `seconds`)."""
    return seconds * max(1.0, sorted(_work() for _ in range(5))[2] / _WORK_S)
