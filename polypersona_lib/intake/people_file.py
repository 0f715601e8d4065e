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
from .item_options import NumbersByPlace, answer_parts, is_option, named_first, own_answer
from .option_codes import LABEL, folded_text
from .question_rows import check_map, there
from .reading import MOST_CHARACTERS, Place, clean, plain_text, says_missing, slug_of
from .record_fields import CARD_NAMES, read_persona
from .survey_format import ONE_OPTION_KINDS, PEOPLE_COLUMNS, Item, Questionnaire, shaped
from .tables import delimiter_of, header_rows_note, number_in, read_rows, sheets_not_used, uses_decimal_comma, without_header_rows

PEOPLE_NAMES = {  # ours -> how others call it
    "persona_id": ("respondent_id", "participant_id", "user_id", "uuid", "id", "person_id", "caseid", "case_id", "respondent", "response_id", "responseid"),
    "weight": ("weights", "wt", "pweight", "survey_weight", "weighting", "final_weight"),
    "unit": ("cluster", "psu", "household_id", "sampling_unit"),
    "persona": ("persona_card", "persona_text", "input_persona", "profile", "character"),
}
MORE_ATTRIBUTES = (  # columns that go into a card beside those of `record_fields.CARD_NAMES`
    "marital_status", "city", "bachelors_field", "party", "ideology", "religion", "employment", "children", "language", "household",
)  # fmt: skip
_MAY_BE_NUMBERS = ("age", "children", "household", "income", "income_bracket")
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
    columns = _columns(list(dict.fromkeys(name for _, row in rows for name in row)), questionnaire, mapping, at)
    items = questionnaire.bank if questionnaire else {}
    if not header_lines and len(rows) > 1 and _describes_columns(rows[0][1], rows[1][1], columns.places, items):
        header_lines = [rows.pop(0)[0]]
    if header_lines:
        at.note(header_rows_note(header_lines))
    if need_cards:  # else these people stand beside others, whose columns the map may name
        check_map(mapping, list(columns.places))
        _says_who(columns, sheets_not_used(path), at)
    if at.errors:
        raise InputError(problems=at.errors)
    people = _People(columns, items, at, need_cards)
    people.look_at_columns([row for _, row in rows], path, mapping)
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
    not_used, notes = tuple((sheets_not_used(path) | columns.unused).items()), tuple(at.notes.items())
    return People(frame=people.frame(), source=path.name, sha256=file_hash(path), not_used=not_used, notes=notes)


def _has_commas(weights: Sequence[str], path: Path, at: Place) -> bool:
    """Whether weights have decimal commas. "1,250" may be both: in a table without commas between its cells, whole numbers beside it say that it has one."""
    unclear = [w for w in weights if re.fullmatch(r"\s*[1-9]\d{0,2},\d{3}\s*", w)]
    if not unclear or any(map(uses_decimal_comma, weights)):
        return any(map(uses_decimal_comma, weights))
    others = [w for w in weights if w not in unclear]
    comma = bool(others) and all(w.strip().isdecimal() for w in others) and delimiter_of(path) in (";", "\t", "|")
    read = unclear[0].strip().replace(",", "." if comma else "")
    at.note(f"weights such as {quoted(unclear[0])} read as {read}; if that is wrong, write them with a decimal point")
    return comma


def _describes_columns(row: Mapping, following: Mapping, places: Mapping[str, tuple[str, str]], items: Mapping[str, Item]) -> bool:
    """Whether a first row is no person: it holds an item's wording, or no answer that can be one and, beside an id in the next row, "Response ID" or none."""
    said = [(row[name], items[place]) for name, (kind, place) in places.items() if kind == "answer" and row.get(name) not in (None, "")]
    if any(folded_text(plain_text(value)) == folded_text(item.text) for value, item in said):
        return True
    closed = [(value, item) for value, item in said if item.labels or item.kind == "number"]
    if any(is_option(part, item) or (item.kind == "number" and number_in(part) is not None) for value, item in closed for part in answer_parts(value, item)):
        return False
    column = next((name for name, place in places.items() if place == ("ours", "persona_id")), "")
    person = str(row.get(column) or "").strip()
    return bool(following.get(column)) and (bool(re.search(r"[a-z]I[Dd]$|(?i:(?:^|[\W_])id$)", person)) if person else bool(closed))


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
    id_names = [] if "persona_id" in taken else [slug for slug in map(slug_of, names) if _NAMES.get(slug) == "persona_id"]
    for name in names:
        ours, slug = mapping.get(name, name), slug_of(name)
        is_id = slug in id_names and (slug == "persona_id" or id_names == [slug])
        if name in mapping:
            place = ("ours", ours) if ours in PEOPLE_NAMES else ("answer", items[ours]) if ours in items else ("attribute", ours)
        elif (ours in items or ours.casefold() in items) and not is_id:  # also one that is called as another column of ours: an answer may never enter a prompt
            place = ("answer", items.get(ours, items.get(ours.casefold())))
            if _NAMES.get(slug) in ("weight", "unit") and _NAMES[slug] not in taken:
                at.line = 1
                at.error(slug, f"the column {quoted(name)} is called as a question and as the people's {_NAMES[slug]}; if it is that, say --map "
                         f"{safe_line(name)}={_NAMES[slug]}; if it holds answers, give the question and the column another name")  # fmt: skip
        elif slug in _NAMES and _NAMES[slug] not in taken:
            place = ("ours", _NAMES[slug])
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
        self.first: dict[str, str] = {}  # column of answers -> `named_first`
        self.by_place: dict[str, NumbersByPlace] = {}

    def look_at_columns(self, rows: Sequence[Mapping], path: Path, mapping: Mapping[str, str]) -> None:
        """What only a whole column says: whether answers are codes, whether weights have decimal commas. Columns that are called as a question are noted."""
        self.at.line = 0
        for name, (kind, place) in self.columns.places.items():
            if kind == "answer":
                self.first[name] = named_first((row.get(name) for row in rows), self.items[place], self.at)
            elif (kind, place) == ("ours", "weight"):
                self.comma = _has_commas([row[name] for row in rows if isinstance(row.get(name), str)], path, self.at)
            elif kind == "attribute" and self.need_cards and slug_of(place) in {*CARD_NAMES, *MORE_ATTRIBUTES} - {*_MAY_BE_NUMBERS}:
                self._refuse_codes(name, place, [str(row[name]).strip() for row in rows if row.get(name) not in (None, "")])
            asked = f"column {quoted(name)} is called as a question: read as the people's"
            if kind == "answer" and name not in mapping and slug_of(name) in (*CARD_NAMES, *MORE_ATTRIBUTES, *_NAMES):
                self.at.note(f"{asked} own answers, and on no card (--map NAME=other_name: on the card)")
            elif kind == "ours" and name not in mapping and name in self.items:
                self.at.note(f"{asked} ids (--map {safe_line(name)}={safe_line(name)}: as answers)")

    def _refuse_codes(self, name: str, place: str, said: Sequence[str]) -> None:
        """An error for a column of codes: a model reads "gender 2" as it stands."""
        if said and all(re.fullmatch(r"-?\d{1,3}(\.0)?", text) for text in said):
            codes = ", ".join(list(dict.fromkeys(said))[:5])
            self.at.error(place, f"the column {quoted(name)} holds only numbers ({codes}), and a model reads them as they stand; write their labels instead")

    def add(self, row: Mapping) -> None:
        """One person: id, card, weight, unit, own answers."""
        at, before = self.at, len(self.at.errors)
        ours, beside, answers = self._parted(clean({k: v for k, v in row.items() if self.columns.places[k][0] != "unused"}, "", self.at))
        if "persona" in ours and "description" in beside:
            beside.pop("description")
        persona = ours.get("persona")
        persona = one_line(persona) if isinstance(persona, str) and not persona.lstrip().startswith("{") else persona
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
            elif (said := own_answer(value, self.items[place], self.first.get(name, LABEL))) is not None:
                answers[place] = said
                if self.items[place].made_up:
                    self.by_place.setdefault(place, NumbersByPlace()).add(value, self.items[place])
        return ours, beside, answers

    def frame(self) -> pd.DataFrame:
        """The people as `PEOPLE_COLUMNS`."""
        whole = pd.DataFrame(self.rows)
        cards = list(zip(whole["id"], whole["card"], strict=True))
        return people_frame(cards, **{name: whole[name].tolist() for name in ("weight", "unit", "own_answers")})


def unread_answers(people: People, questionnaire: Questionnaire) -> dict[str, tuple[int, str]]:
    """Item -> how many of the people's own answers are no option of it, and the first of them; items without any are left out."""
    counts, first = Counter(), {}
    listed = {item.id: item for item in questionnaire.items if item.labels}
    for text in people.frame["own_answers"].dropna():
        for item, said in json.loads(text).items():
            if item in listed and not _is_read(said, listed[item]):
                counts[item] += 1
                first.setdefault(item, str(said))
    return {item: (count, first[item]) for item, count in counts.items()}


def _is_read(said: str, item: Item) -> bool:
    """Whether an answer in words is an option; of several choices, whether each of them is."""
    return said in item.labels or (item.kind not in ONE_OPTION_KINDS and set(said.split("|")) <= set(item.labels))
