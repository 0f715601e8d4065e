"""People from a file: attributes in columns, persona texts, texts beside attributes, and, if the file has them, the people's own answers.

CSV, TSV, JSON lines, JSON, Parquet and Excel tables; exports of survey tools with two more header rows; PersonaHub; the columns of Nemotron-Personas.
A column that is called as an item holds the people's own answers: they are references for `score` and never enter a prompt.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import InputError, one_line, quoted, safe_line
from ..files import file_hash
from ..prompts import chat
from .item_options import plain_text
from .option_codes import CODE, folded_text, option_named
from .question_rows import check_map, there
from .reading import MOST_CHARACTERS, Place, clean, says_missing, slug_of
from .record_fields import CARD_NAMES, read_persona
from .survey_format import ONE_OPTION_KINDS, PEOPLE_COLUMNS, Item, Questionnaire, shaped
from .tables import header_rows_note, number_in, read_rows, sheets_not_used, uses_decimal_comma, without_header_rows

PEOPLE_NAMES = {  # ours -> how others call it
    "persona_id": ("respondent_id", "participant_id", "user_id", "uuid", "id", "person_id", "caseid", "case_id", "respondent", "response_id", "responseid"),
    "weight": ("weights", "wt", "pweight", "survey_weight", "weighting", "final_weight"),
    "unit": ("cluster", "psu", "household_id", "sampling_unit"),
    "persona": ("persona_card", "persona_text", "input_persona", "profile", "character"),
}
MORE_ATTRIBUTES = (  # columns that go into a card beside those of `record_fields.CARD_NAMES`
    "marital_status", "city", "bachelors_field", "party", "ideology", "religion", "employment", "children", "language", "household",
)  # fmt: skip
SHORT_PERSONA = 1_200  # characters: of several persona texts (Nemotron-Personas has six) the one called `persona` is taken
_NAMES = {name: ours for ours, names in PEOPLE_NAMES.items() for name in (ours, *names)}


@dataclass(frozen=True, kw_only=True)
class People:
    """Who is asked.

    Args: frame: the columns `PEOPLE_COLUMNS`. source, sha256: the file. not_used: columns that are not used -> why. notes: what was mapped or left out -> how
        often.
    """

    frame: pd.DataFrame
    source: str
    sha256: str = ""
    not_used: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, int], ...] = ()


def card_of_row(text: str) -> dict | str:
    """The card in a row of `PEOPLE_COLUMNS`: an object, or a description."""
    return json.loads(text)


def people_frame(cards: Sequence[tuple[str, dict | str]], **columns: Sequence) -> pd.DataFrame:
    """People as `PEOPLE_COLUMNS`, from (persona_id, card) and further columns of the same length."""
    rows = [{"persona_id": i, "card": json.dumps(card, ensure_ascii=False), "persona": chat.render_card(card)} for i, card in cards]
    return shaped(pd.DataFrame(rows).assign(**columns), PEOPLE_COLUMNS)


def read_people(path: str | Path, *, questionnaire: Questionnaire | None = None, mapping: Mapping[str, str] | None = None, need_cards: bool = True) -> People:
    """Read people.

    Args: questionnaire: its items' ids name columns of own answers. mapping: of `parse_map`; a name that is none of `PEOPLE_NAMES` and no item becomes an
        attribute of the card. need_cards: False for people who are not asked here: without attributes they are "a respondent".
    Raises: InputError that lists every error with file, line and field; also if some people have a weight (or a unit) and others none.
    """
    path, mapping = Path(path), mapping or {}
    if not path.is_file():
        raise InputError(f"{safe_line(path)}: " + ("is a folder; name the people's file" if path.is_dir() else "no such file; or draw people: census:500"))
    rows, problems = read_rows(path)
    rows, header_lines = without_header_rows(rows)
    at = Place(path.name, errors=list(problems))
    for at.line, row in rows[:0] if problems else rows:
        if not isinstance(row, dict):
            at.error("", "a person must be an object")
    if at.errors or not rows:
        raise InputError(problems=at.errors) if at.errors else InputError(f"{safe_line(path.name)}: holds no people")
    if header_lines:
        at.note(header_rows_note(header_lines))
    columns = _columns(list(dict.fromkeys(name for _, row in rows for name in row)), questionnaire, mapping, at)
    if need_cards:  # else these people stand beside others, whose columns the map may name
        check_map(mapping, list(columns.places))
        _says_who(columns, sheets_not_used(path), at)
    if at.errors:
        raise InputError(problems=at.errors)
    for name, (kind, _) in columns.places.items():
        if kind == "answer" and name not in mapping and (slug_of(name) in CARD_NAMES or slug_of(name) in MORE_ATTRIBUTES):
            at.note(f"column {quoted(name)} is called as a question: read as the people's own answers, and on no card (--map NAME=other_name: on the card)")
    people = _People(columns, {item.id: item for item in questionnaire.items} if questionnaire else {}, at, need_cards)
    people.comma = any(uses_decimal_comma(row.get(name)) for name, place in columns.places.items() if place == ("ours", "weight") for _, row in rows)
    for at.line, row in rows:
        people.add(row)
    at.line = 0
    if people.rows and all(row["weight"] == 0 for row in people.rows):
        at.error("weight", "is 0 for everybody, so nobody would count; give weights above 0, or drop the column")
    for item_id, numbers in people.by_place.items():
        numbers.report(people.items[item_id], at)
    for name in ("weight", "unit"):
        lacking = [row["id"] for row in people.rows if row[name] is None]
        if 0 < len(lacking) < len(people.rows):
            at.error(name, f"{len(lacking):,} of {len(people.rows):,} people have none ({quoted(lacking[0])}, ...); give everybody one, or drop the column")
    if at.errors:
        raise InputError(problems=at.errors)
    return People(
        frame=people.frame(),
        source=path.name,
        sha256=file_hash(path),
        not_used=tuple((sheets_not_used(path) | columns.unused).items()),
        notes=tuple(at.notes.items()),
    )


def _says_who(columns: "_Columns", sheets: Mapping[str, str], at: Place) -> None:
    """An error if no column is a persona or an attribute: then nobody has a card."""
    if not any(kind == "attribute" or place == "persona" for kind, place in columns.places.values()):
        named, example = list(columns.places), next(iter(columns.unused), "Alter")
        at.line = 1
        at.error("persona", f"no column is a persona or an attribute ({there(named)}); say what they are, for example --map {safe_line(example)}=age"
                 + (f"; not read: {', '.join(map(safe_line, list(sheets)[:5]))}" if sheets else ""))  # fmt: skip


def column_names(path: Path) -> list[str]:
    """The columns of a file of people; [] for one that cannot be read (`read_people` says why)."""
    rows, problems = read_rows(path) if path.is_file() else ([], [])
    return [] if problems else list(dict.fromkeys(name for _, row in without_header_rows(rows)[0] if isinstance(row, dict) for name in row))


@dataclass(frozen=True)
class _Columns:
    """`places`: column -> ("ours", name), ("answer", item) or ("attribute", name); `unused`: column -> why."""

    places: dict[str, tuple[str, str]]
    unused: dict[str, str]


def _columns(names: Sequence[str], questionnaire: Questionnaire | None, mapping: Mapping[str, str], at: Place) -> _Columns:
    """What each column holds: by `--map`, by its name, else nothing that we use. Error: two columns that are the same attribute or item."""
    ids = [item.id for item in questionnaire.items] if questionnaire else []
    items = {item_id.casefold(): item_id for item_id in ids} | {item_id: item_id for item_id in ids}
    places, unused, taken = {}, {}, {ours for theirs, ours in mapping.items() if theirs in names}
    for name in names:
        ours, slug = mapping.get(name, name), slug_of(name)
        if name in mapping:
            place = ("ours", ours) if ours in PEOPLE_NAMES else ("answer", items[ours]) if ours in items else ("attribute", ours)
        elif slug in _NAMES and _NAMES[slug] not in taken:
            place = ("ours", _NAMES[slug])
        elif ours in items or ours.casefold() in items:  # also one that is called as an attribute: an answer may never enter a prompt
            place = ("answer", items.get(ours, items.get(ours.casefold())))
        elif slug in CARD_NAMES or slug in MORE_ATTRIBUTES:
            place = ("attribute", slug)
        else:
            unused[name] = "no column that is read; --map NAME=attribute puts it into the card"
            places[name] = ("unused", name)
            continue
        first = next((other for other, its in places.items() if its == place), "")
        if name not in mapping and (place[1] in taken or first in mapping):
            place = ("unused", name)
            unused[name] = "another column is mapped to it"
        elif place[0] in ("answer", "attribute") and first:
            at.line = 1
            at.error(place[1], f"is given twice, in the columns {quoted(first)} and {quoted(name)}; drop or rename one")
        elif place[0] == "ours" and first:
            place = ("unused", name)
            unused[name] = f"another column is read as {_NAMES.get(slug, ours)}"
        places[name] = place
    return _Columns(places, unused)


class _People:
    """Collects rows; what is wrong stands in `at.errors`."""

    def __init__(self, columns: _Columns, items: Mapping[str, Item], at: Place, need_cards: bool):
        self.columns, self.items, self.at, self.rows, self.seen, self.need_cards = columns, items, at, [], {}, need_cards
        self.comma = False  # whether weights have decimal commas
        self.by_place: dict[str, _NumbersByPlace] = {}

    def add(self, row: Mapping) -> None:
        """One person: id, card, weight, unit, own answers."""
        at, before = self.at, len(self.at.errors)
        ours, beside, answers = self._parted(clean({k: v for k, v in row.items() if self.columns.places[k][0] != "unused"}, "", self.at))
        if "persona" in ours and "description" in beside:
            beside.pop("description")
        persona = (
            one_line(ours["persona"]) if isinstance(ours.get("persona"), str) and not str(ours["persona"]).lstrip().startswith("{") else ours.get("persona")
        )
        if isinstance(persona, str) and len(persona) > MOST_CHARACTERS["persona"]:
            at.error("persona", f"{len(persona):,} characters; at most {MOST_CHARACTERS['persona']:,}")
            return
        card = read_persona(persona, beside, at) if self.need_cards or persona or beside else "a respondent"
        person_id = one_line(ours["persona_id"]) if ours.get("persona_id") not in (None, "") else f"{'row' if self.need_cards else 'other'}-{at.line}"
        if ours.get("persona_id") in (None, ""):
            at.note("people without an id: called by their line")
        if (first := self.seen.setdefault(person_id, at.line)) != at.line:
            at.error("persona_id", f"{quoted(person_id)} is already in line {first}")
        weight = number_in(ours["weight"].replace(",", ".") if self.comma and isinstance(ours.get("weight"), str) else ours.get("weight"))
        if ours.get("weight") not in (None, "") and (weight is None or weight < 0):
            at.error("weight", f"{quoted(ours['weight'])} is no weight (a number of 0 or more)")
        if len(at.errors) == before:
            text = json.dumps(answers, ensure_ascii=False) if answers else None
            unit = None if ours.get("unit") in (None, "") else one_line(ours["unit"])
            self.rows.append({"id": person_id, "card": card, "weight": weight, "unit": unit, "own_answers": text})

    def _parted(self, row: Mapping) -> tuple[dict, dict, dict]:
        """(our fields, attributes of the card, own answers by item) of one row."""
        ours, beside, answers = {}, {}, {}
        for name, value in row.items():
            kind, place = self.columns.places[name]
            if value in (None, ""):
                continue
            if says_missing(value) and not (kind == "answer" and is_option(value, self.items[place])):
                self.at.note(f"{place} {quoted(value.strip())} read as missing")
                continue
            if kind == "ours":
                ours[place] = value
            elif kind == "attribute":
                beside[place] = value
            elif (said := own_answer(value, self.items[place])) is not None:
                answers[place] = said
                if self.items[place].made_up:
                    self.by_place.setdefault(place, _NumbersByPlace()).add(value, self.items[place])
        return ours, beside, answers

    def frame(self) -> pd.DataFrame:
        """The people as `PEOPLE_COLUMNS`."""
        whole = pd.DataFrame(self.rows)
        cards = list(zip(whole["id"], whole["card"], strict=True))
        return people_frame(cards, **{name: whole[name].tolist() for name in ("weight", "unit", "own_answers")})


def answer_parts(value: object, item: Item) -> list[str]:
    """What a person answered, as written: one text, of several choices and rankings each of them; [] for an empty cell."""
    if isinstance(value, list):
        return [one_line(plain_text(part)) for part in value]
    text = one_line(plain_text(value))
    text = text.removesuffix(".0") if isinstance(value, float) else text
    if item.kind in ONE_OPTION_KINDS or not item.labels or option_named(item, text)[1] or not text:
        return [text] if text else []
    words = text.split()
    mark = next((mark for mark in "|;" if mark in text), None) or (" " if all(option_named(item, word)[1] for word in words) else ",")
    return [part.strip() for part in text.split(mark) if part.strip()]


def own_answer(value: object, item: Item) -> str | None:
    """What a person answered, in words: the label of a code or label (of several: joined by |), else the text; None for an empty cell."""
    places = [(part, option_named(item, part)[0] if item.labels else None) for part in answer_parts(value, item)]
    return "|".join(part if place is None else item.labels[place] for part, place in places) or None


def is_option(value: str, item: Item) -> bool:
    """Whether a text is a label or a code of the item."""
    return bool(item.labels) and option_named(item, value)[0] is not None


class _NumbersByPlace:
    """Numbers in the own answers to an item whose options have no codes: they are read by place if all of them can be, and else none is."""

    def __init__(self) -> None:
        self.read, self.unread = Counter(), set()

    def add(self, value: object, item: Item) -> None:
        for part in answer_parts(value, item):
            place, how = option_named(item, part)
            if how == CODE:
                self.read[folded_text(part), place] += 1
            elif not how and re.fullmatch(r"-?\d{1,9}", folded_text(part)):
                self.unread.add(int(folded_text(part)))

    def report(self, item: Item, at: Place) -> None:
        """An error that names the numbers and the remedy, or one note on how they were read."""
        if self.unread:
            seen = sorted(self.unread | {int(number) for number, _ in self.read})
            codes = seen if len(seen) == len(item.labels) else range(min(1, max(0, seen[0])), len(item.labels) + 1)
            remedy = "|".join(f"{code}={label}" for code, label in zip(codes, item.labels, strict=False))
            shown = ", ".join(map(str, seen[:12])) + (", ..." if len(seen) > 12 else "")
            at.error(item.id, f"answers {shown}, but the options have no codes; write their codes in the questionnaire, as options {quoted(remedy, 120)}")
        elif self.read:
            shown = ", ".join(f"{quoted(number)} as {quoted(item.labels[place])}" for number, place in sorted(self.read, key=lambda key: key[1])[:12])
            at.notes[f"{item.id}: its options have no codes, so numbers were read by their place: {shown}"] = self.read.total()


def unread_answers(people: People, questionnaire: Questionnaire) -> dict[str, int]:
    """Item -> how many of the people's own answers are no option of it; items without any are left out."""
    counts: Counter = Counter()
    listed = {item.id: item for item in questionnaire.items if item.labels}
    for text in people.frame["own_answers"].dropna():
        counts.update(item for item, said in json.loads(text).items() if item in listed and not _is_read(said, listed[item]))
    return dict(counts)


def _is_read(said: str, item: Item) -> bool:
    """Whether an answer in words is an option; of several choices, whether each of them is."""
    return said in item.labels or (item.kind not in ONE_OPTION_KINDS and set(said.split("|")) <= set(item.labels))
