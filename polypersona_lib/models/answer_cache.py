"""Replies of servers on disk: one small file each, so that the same question to the same model is paid for once, and a stopped run goes on where it was."""

import json
import threading
from pathlib import Path

from ..files import sha256, value_hash, write_atomically
from .weights import cache_folder

CACHE_FORMAT = 1


def answers_folder() -> Path:
    """Where replies are kept: below $POLYPERSONA_CACHE, else below the user's cache folder."""
    return cache_folder() / "answers"


class AnswerCache:
    """Replies by request. A request is everything that an answer depends on: address, model (with its revision), messages and sampling, seed included.

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
            entry = json.loads(content)
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
