"""One system's answers to a questionnaire as sheets, with a count of everything that is no answer: what all measures of `pilot` start from.

A panel is made of an answers frame (`intake.survey_format.ANSWER_COLUMNS`) or of real people's answers, so that each measure runs on both. "Don't know" and
"refused" are counted and leave the scale: a person whose answer is one of them with probability .9 counts a tenth, as nine tenths of such people would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import InputError, quoted
from ..intake.option_codes import option_named
from ..intake.survey_format import Item
from ..survey.sheet import MISSING, Sheet

COUNTS = ("asked", "answered", "skipped", "failed", "unread", "refused", "off_scale")
MOST_LEVELS = 12  # values of an attribute, from which on it is no group of people but nearly a name


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One system's answers.

    Args:
        sheet: the closed items with their options in substance, the mean over orders and repetitions; `truth` is the person's own answer, where it is known,
            `mass` the probability of an answer in substance.
        listed, turned: the same with the options in the listed order and in reverse; None if only one order was asked.
        counts: a row an item (open ones too), columns `COUNTS`: rows, but `refused` and `off_scale` add up probabilities where there are any.
    """

    system: str
    sheet: Sheet
    counts: pd.DataFrame
    listed: Sheet | None = None
    turned: Sheet | None = None


def places_in_substance(item) -> list[int]:
    """Positions of the options that are answers in substance: all of them, unless the item calls some "don't know" or "refused"."""
    return list(item.substantive) if isinstance(item, Item) else list(range(len(item.options)))


def in_substance(item):
    """The item with only the options that are answers in substance."""
    places = places_in_substance(item)
    if len(places) == len(item.options):
        return item
    return replace(item, **{name: tuple(getattr(item, name)[p] for p in places) for name in ("labels", "codes", "option_kinds")})


def items_with_options(items: Sequence) -> list:
    """Items of which an answer takes one of two options or more in substance."""
    return [item for item in items if item.options and len(places_in_substance(item)) > 1]


def read_panel(answers: pd.DataFrame, items: Sequence, people: pd.DataFrame) -> Panel:
    """The panel of one system.

    Args: answers: rows of one system (`ANSWER_COLUMNS`). items: those of the questionnaire. people: persona_id and, if they are there, weight and unit.
    Raises: InputError for answers of two systems, of people who are not in `people`, or to items that are not in `items`.
    """
    systems = answers["system"].unique()
    if len(systems) != 1:
        raise InputError(f"answers of {len(systems)} systems; a panel holds one: {', '.join(map(quoted, systems[:5]))}")
    for column, known in (("persona_id", set(people["persona_id"])), ("question_id", {item.id for item in items})):
        if strange := sorted(set(answers[column]) - known):
            raise InputError(f"{len(strange)} of the answers' {column} are unknown here ({quoted(strange[0])}, ...): give the files they were asked with")
    closed, views = items_with_options(items), ["option_probs", "probs_listed", "probs_reversed"]
    arrays, mass, counts = _arrays(answers, closed, list(people["persona_id"]), views)
    own = replace(_sheet(arrays[views[0]], closed, people, _references(answers, closed, list(people["persona_id"]))), mass=mass[views[0]])
    listed, turned = (replace(own, probs=arrays[v], mass=mass[v]) if arrays[v].any() else None for v in views[1:])
    return Panel(system=str(systems[0]), sheet=own, counts=_counts(answers, items, counts), listed=listed, turned=turned)


def _arrays(answers: pd.DataFrame, closed: list, people: list[str], views: list[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]:
    """(view -> probabilities in substance (people, items, options), means over repetitions; view -> how much of an answer they are (people, items);
    item -> sum of what was refused)."""
    row_of, place = {p: i for i, p in enumerate(people)}, {item.id: j for j, item in enumerate(closed)}
    substance = [places_in_substance(item) for item in closed]
    shape = (len(people), len(closed), max(map(len, substance), default=1))
    sums, refused = {view: np.zeros(shape) for view in views}, dict.fromkeys(place, 0.0)
    times = {view: np.zeros(shape[:2]) for view in views}
    for row in answers[["persona_id", "question_id", "option", *views]].itertuples(index=False):
        if (j := place.get(row.question_id)) is None:
            continue
        for view in views:
            given = getattr(row, view)
            if np.ndim(given):
                own = np.asarray(given, dtype=float)
            elif view == "option_probs" and not pd.isna(row.option):
                own = (np.arange(len(closed[j].options)) == int(row.option)).astype(float)
            else:
                continue
            kept = own[substance[j]]
            sums[view][row_of[row.persona_id], j, : len(kept)] += kept
            times[view][row_of[row.persona_id], j] += own.sum()
            refused[row.question_id] += max(0.0, own.sum() - kept.sum()) if view == "option_probs" else 0.0
    mass = {view: np.clip(sums[view].sum(-1) / np.where(times[view] > 0, times[view], 1), 0, 1) for view in views}
    return {view: _shares(array) for view, array in sums.items()}, mass, refused


def _shares(sums: np.ndarray) -> np.ndarray:
    total = sums.sum(-1, keepdims=True)
    return np.where(total > 1e-9, sums / np.where(total > 1e-9, total, 1), 0.0)


def _sheet(probs: np.ndarray, closed: list, people: pd.DataFrame, truth: np.ndarray) -> Sheet:
    items = tuple(in_substance(item) for item in closed)
    known = {name: people[name] for name in ("weight", "unit") if name in people and people[name].notna().any()}
    for name, values in known.items():
        if values.isna().any():
            raise InputError(f"{values.isna().sum():,} of {len(values):,} people have no {name}: give everybody one, or drop the column")
    if "weight" in known and (there := int((known["weight"].astype(float) > 0).sum())) < min(2, len(people)):
        raise InputError(f"{there:,} of {len(people):,} people have a weight above 0: two or more are needed, or drop the column weight")
    return Sheet(
        people=tuple(people["persona_id"]), items=items, probs=probs, truth=truth, theta=np.full((len(people), len({i.construct for i in items})), np.nan),
        weights=known["weight"].to_numpy(dtype=float) if "weight" in known else None,
        units=np.unique(known["unit"].astype(str), return_inverse=True)[1] if "unit" in known else None,
    )  # fmt: skip


def _references(answers: pd.DataFrame, closed: list, people: list[str]) -> np.ndarray:
    """The option in substance that each person chose, `MISSING` if unknown, shape (people, items)."""
    said = answers[answers["reference"].notna()].drop_duplicates(["persona_id", "question_id"]) if "reference" in answers else answers.iloc[:0]
    own = {p: {} for p in people}
    for row in said.itertuples(index=False):
        own[row.persona_id][row.question_id] = row.reference
    return own_options(own, closed, people)[0]


def own_options(own: Mapping[str, Mapping], closed: Sequence, people: Sequence[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """People's own answers in words or codes as options: (people, items) of positions in substance, `MISSING` for none, and the counts of each item.

    An answer is an option's label (any case) or its code. What is neither counts as `off_scale`, an option that is no answer in substance as `refused`.
    """
    substance = [places_in_substance(item) for item in closed]
    chosen, counts = np.full((len(people), len(closed)), MISSING), np.zeros((len(closed), len(COUNTS)))
    for i, person in enumerate(people):
        for j, item in enumerate(closed):
            said = own.get(person, {}).get(item.id)
            if said is None or said != said or not str(said).strip():
                continue
            place = option_named(item, said)[0]
            counts[j, 0] += 1
            if place in substance[j]:
                chosen[i, j], counts[j, 1] = substance[j].index(place), counts[j, 1] + 1
            else:
                counts[j, COUNTS.index("off_scale" if place is None else "refused")] += 1
    return chosen, pd.DataFrame(counts, index=[item.id for item in closed], columns=list(COUNTS))


def _counts(answers: pd.DataFrame, items: Sequence, refused: Mapping[str, float]) -> pd.DataFrame:
    """See `Panel.counts`."""
    kind = answers["question_id"].map({item.id: getattr(item, "kind", "likert" if item.options else "open") for item in items})
    read = {"number": answers["value"].notna(), "multiple": answers["chosen"].notna(), "ranking": answers["chosen"].notna()}
    given = answers["option"].notna() | answers["option_probs"].notna() | kind.eq("open")
    for name, there in read.items():
        given |= kind.eq(name) & there
    asked = answers.assign(
        skipped=answers["status"].eq("skipped"), failed=answers["status"].eq("failed"), given=given,
        mass=answers["option_mass"].astype(float),
    )  # fmt: skip
    rows = {}
    for item in items:
        own = asked[asked["question_id"] == item.id]
        ok = own[~own["skipped"] & ~own["failed"]]
        rows[item.id] = {
            "asked": len(own), "answered": int(ok["given"].sum()), "skipped": int(own["skipped"].sum()), "failed": int(own["failed"].sum()),
            "unread": int((~ok["given"]).sum()), "refused": refused.get(item.id, 0.0),
            "off_scale": float((1 - ok["mass"]).clip(0, 1).sum()) + _outside(item, ok),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(COUNTS))


def _outside(item, rows: pd.DataFrame) -> int:
    """Numbers outside the item's range."""
    least, most = (getattr(item, name, None) for name in ("least", "most"))
    if "value" not in rows or (least is None and most is None):
        return 0
    values = rows["value"].astype(float)
    return int(((values < (-np.inf if least is None else least)) | (values > (np.inf if most is None else most))).sum())


def human_panel(own: Mapping[str, Mapping], items: Sequence, people: pd.DataFrame, *, system: str = "people") -> Panel:
    """Real people as a panel: `own` is persona_id -> item id -> what the person answered (a label or a code); `people` as in `read_panel`."""
    closed = items_with_options(items)
    truth, counts = own_options(own, closed, list(people["persona_id"]))
    chosen = (truth[..., None] == np.arange(max((len(places_in_substance(i)) for i in closed), default=1))).astype(float)
    return Panel(system=system, sheet=_sheet(chosen, closed, people, truth), counts=counts)


def _bands(numbers: pd.Series) -> pd.Series:
    """Numbers in thirds, each named by its smallest and largest number that is there ("18–40"); None for what is no number."""
    place = pd.qcut(numbers, 3, labels=False, duplicates="drop")
    parts = numbers.groupby(place)
    names = parts.min().map("{:g}".format) + "–" + parts.max().map("{:g}".format)
    return place.map(names).astype(object).where(place.notna(), None)


def attributes_of(people: pd.DataFrame) -> pd.DataFrame:
    """The attributes of people that make groups: index persona_id, a text column for each field of the cards with 2 to `MOST_LEVELS` values; age in bands.

    Cards in words have no attributes. A field that a card lacks is "not said".
    """
    cards = [json.loads(card) for card in people["card"]]
    table = pd.DataFrame([c if isinstance(c, dict) else {} for c in cards], index=list(people["persona_id"]))
    made = {}
    for name in table:
        values = table[name].map(lambda v: v if isinstance(v, str | int | float | bool) and v == v else None).astype(object)
        numbers = pd.to_numeric(values, errors="coerce")
        if numbers.notna().sum() > MOST_LEVELS and numbers.nunique() > MOST_LEVELS:
            values = _bands(numbers)
        levels = values.where(values.notna(), "not said").astype(str)
        if 2 <= levels.nunique() <= MOST_LEVELS:
            made[str(name)] = levels
    return pd.DataFrame(made, index=table.index)
