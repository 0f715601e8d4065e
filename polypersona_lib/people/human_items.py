"""What real people were asked: the items of `data/humans/items.yaml`, with their options in both orders and which option leans which way."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from .. import paths
from ..errors import InputError
from ..files import read_yaml
from ..world.questions import Question

LEANS = {"L": 1, "C": -1, "-": 0}  # liberal, conservative, neither
_WORDINGS = ("as asked", "guide", "short form")


@dataclass(frozen=True, kw_only=True)
class HumanItem(Question):
    """One closed item of a human survey. It serves wherever a `Question` does, with options of its own in place of a scale.

    Args: labels: the options in the file's order. lean: a letter an option (`LEANS`), "" for an item that leans to neither side. ordered: False where options
        have no order. turned: the survey turned the order round for half of the people. stays: how many options at the end keep their place in both orders
        ("Unsure", "Other"). wording: one of `_WORDINGS` (`data/humans/items.yaml` explains them).
    """

    labels: tuple[str, ...]
    lean: str = ""
    ordered: bool = True
    turned: bool = False
    stays: int = 0
    wording: str = "as asked"

    @property
    def options(self) -> tuple[str, ...]:
        """The options in the file's order."""
        return self.labels

    @property
    def column(self) -> str:
        """The item's name in the survey's own file."""
        return self.id.partition(".")[2]

    @property
    def leans(self) -> np.ndarray:
        """1 for each liberal option, -1 for each conservative one, 0 for the rest, shape (options,)."""
        return np.array([LEANS[letter] for letter in self.lean or "-" * len(self.labels)])

    def orders(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The two orders in which the options are offered, as positions in `labels`: the file's, and turned round (but for those that keep their place)."""
        there, turning = tuple(range(len(self.labels))), len(self.labels) - self.stays
        return there, there[:turning][::-1] + there[turning:]

    def asked(self, *, turned: bool = False) -> tuple[str, tuple[str, ...]]:
        """(question, options as they are offered), in the file's order or turned round."""
        return self.text, tuple(self.labels[i] for i in self.orders()[turned])


@cache
def survey_texts() -> dict[str, dict]:
    """Survey -> what `data/humans/items.yaml` says of it (title, source, licence, weight, batteries). Not to be changed."""
    return read_yaml(paths.HUMANS / "items.yaml")


@cache
def human_items(survey: str) -> tuple[HumanItem, ...]:
    """The closed items of a survey, in the file's order. Raises InputError naming the surveys there are, and for an item that does not fit."""
    if survey not in survey_texts():
        raise InputError(f"unknown survey {survey!r} (there are: {', '.join(survey_texts())})")
    return tuple(item for battery in survey_texts()[survey]["batteries"] for item in _battery(survey, battery))


def _battery(survey: str, battery: dict) -> Iterator[HumanItem]:
    """The items of one battery: they share domain, question, options and, unless they say otherwise, construct and key."""
    for column, own in battery["items"].items():
        entry = battery | own
        labels, lean = tuple(entry["options"]), entry.get("lean", "")
        if set(lean) - set(LEANS) or len(lean) not in (0, len(labels)) or entry.get("wording", _WORDINGS[0]) not in _WORDINGS:
            raise InputError(f"data/humans/items.yaml: {survey}.{column}: lean needs L, C or - for each of {len(labels)} options; wordings are {_WORDINGS}")
        text = " ".join(filter(None, (entry["question"], own.get("text"))))
        yield HumanItem(
            id=f"{survey}.{column}", domain=entry["domain"], type="likert" if len(labels) > 2 else "yesno", text=text,
            construct=entry["construct"], instrument=survey_texts()[survey]["title"], paraphrases=(), labels=labels, lean=lean,
            key=entry.get("key", _key(lean)), **{name: entry[name] for name in ("ordered", "turned", "stays", "wording") if name in entry},
        )  # fmt: skip


def _key(lean: str) -> int:
    """-1 where the first option is the liberal one: a later option then means less of a construct that is called liberal."""
    return -1 if lean.startswith("L") else 1
