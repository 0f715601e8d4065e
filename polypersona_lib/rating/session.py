"""The ratings of one person: a file of JSON lines that survives a killed kernel, and the way through a sheet. No widget in it."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ..errors import quoted, safe_line
from ..files import parse_json
from .sheet import POINTS, RATING_SCALES, rater_id

MOST_SECONDS = 1e9
_RATING_COLUMNS = ["rater", "item", "scale", "value", "seconds"]


def append_rating(path: Path, item: str, scale: str, value: int, *, seconds: float) -> None:
    """Add one judgement to a rater's file as one JSON line, on the disk before it returns; a torn line left by a killed kernel is closed first."""
    line = json.dumps({"item": item, "scale": scale, "value": value, "seconds": round(seconds, 1)}) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_ratings(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """One rater's ratings, the last one of each item and scale, and remarks on lines that were skipped because they are torn.

    Returns: (rater, item, scale, value, seconds), in the order first given; remarks, one line each.
    Raises: ValueError with one line (file, line, what) for a name that is no rater's or a judgement that is none.
    """
    rater, given, remarks = rater_id(path.stem), {}, []
    text = path.read_bytes().decode("utf-8-sig", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except ValueError:
            remarks.append(f"{safe_line(path.name)}, line {number}: torn, as a kernel killed while writing leaves it; skipped")
            continue
        if fault := _fault(entry):
            raise ValueError(f"{safe_line(path.name)}, line {number}: {fault}; correct or delete this line")
        given[entry["item"], entry["scale"]] = entry | {"rater": rater}
    return pd.DataFrame(list(given.values()), columns=_RATING_COLUMNS), remarks


def _fault(entry) -> str:
    """What is wrong with a line of a ratings file; "" if nothing is."""
    if not isinstance(entry, dict) or not isinstance(entry.get("item"), str):
        return "not a judgement of an item"
    if not isinstance(entry.get("scale"), str) or entry["scale"] not in RATING_SCALES:
        return f"unknown scale {quoted(entry.get('scale'))} (known: {', '.join(RATING_SCALES)})"
    if type(entry.get("value")) is not int or entry["value"] not in POINTS:
        return f"value {quoted(entry.get('value'))} is not one of {', '.join(map(str, POINTS))}"
    seconds = entry.get("seconds", 0.0)
    return "" if type(seconds) in (int, float) and 0 <= seconds <= MOST_SECONDS else "seconds is not a number of seconds"


def load_ratings(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """All raters' ratings in a folder (`<rater>.jsonl`), and the remarks; an empty frame if there are none. Raises as `read_ratings`."""
    files = [read_ratings(path) for path in sorted(folder.glob("*.jsonl"))]
    frames = [frame for frame, _ in files if len(frame)]
    ratings = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_RATING_COLUMNS)
    return ratings, [remark for _, remarks in files for remark in remarks]


class Session:
    """One rater's way through a sheet: what has been given, what comes next. Every judgement is saved before anything else happens.

    `at` is the item's place (0 …), `scale` the scale that the next digit belongs to, `given[item, scale]` the value.
    """

    def __init__(self, sheet: pd.DataFrame, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Go on where the ratings in `path` end. `sheet`: from `rating_sheet`."""
        if sheet.empty:
            raise ValueError("there is nothing to rate: the sheet has no items")
        ratings, self.remarks = read_ratings(path)
        self.items, self.path, self._clock = sheet.to_dict("records"), path, clock
        self.given = dict(zip(zip(ratings["item"], ratings["scale"], strict=True), ratings["value"], strict=True))
        self._show(next((i for i in range(len(self.items)) if self.missing(i)), 0))

    def _show(self, place: int) -> None:
        self.at, self._since = place, self._clock()
        self.scale = next(iter(self.missing(place)), next(iter(RATING_SCALES)))

    @property
    def item(self) -> dict:
        """The item shown: item, persona, question, options, answer, core."""
        return self.items[self.at]

    @property
    def rated(self) -> int:
        """How many items have both ratings."""
        return sum(not self.missing(i) for i in range(len(self.items)))

    def missing(self, place: int) -> list[str]:
        """The scales on which the item at `place` is not rated yet."""
        return [scale for scale in RATING_SCALES if (self.items[place]["item"], scale) not in self.given]

    def rate(self, value: int, scale: str | None = None) -> None:
        """Save `value` on `scale` (default: the current one) for the item shown, and turn to the next scale. A second rating replaces the first."""
        scale = scale or self.scale
        if value not in POINTS:
            raise ValueError(f"a rating is one of {', '.join(map(str, POINTS))}, not {value!r}")
        append_rating(self.path, self.item["item"], scale, value, seconds=self._clock() - self._since)
        self.given[self.item["item"], scale] = value
        names = list(RATING_SCALES)
        self.scale, self._since = names[(names.index(scale) + 1) % len(names)], self._clock()

    def go(self, step: int) -> None:
        """Show the neighbour, `step` places on or back; at an end nothing happens."""
        if 0 <= self.at + step < len(self.items):
            self._show(self.at + step)

    def go_on(self) -> bool:
        """Show the next item that is not fully rated, beginning after this one. Returns False if there is none."""
        places = [*range(self.at + 1, len(self.items)), *range(self.at + 1)]
        place = next((i for i in places if self.missing(i)), None)
        if place is not None:
            self._show(place)
        return place is not None
