"""The one shape of questionnaires, people and answers: what the readers give, what `ask` writes, and what `pilot`, `score` and the probe read.

A questionnaire is a tuple of `Item`s. `PEOPLE_COLUMNS` and `ANSWER_COLUMNS` state the columns of the two frames. `schemas` says the same as JSON Schema;
`data/schemas/` holds the files. Nothing is read or asked here.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields

import pandas as pd

from ..prompts import chat
from ..world.questions import DOMAINS, Question
from .option_codes import made_up_codes, number_codes

FORMAT = "polypersona-survey/1"
ITEM_KINDS = {  # kind -> the question type that prompts, sampling settings and scores know
    "yes_no": "yesno", "likert": "likert", "agreement": "agreement", "single": "likert", "rating": "likert", "multiple": "open", "number": "open",
    "ranking": "open", "open": "open",
}  # fmt: skip
ONE_OPTION_KINDS = ("yes_no", "likert", "agreement", "single", "rating")  # an answer is one option: these have probabilities and a place in a `Sheet`
LISTED_KINDS = (*ONE_OPTION_KINDS, "multiple", "ranking")
OPTION_KINDS = ("", "dont_know", "refused", "not_applicable")  # "" is an answer in substance, the others say why there is none
UNSAID_DOMAIN = "General"  # of an item whose questionnaire names none
MOST_OPTIONS = 60
_HINTS = {"multiple": "Name all that apply.", "ranking": "Rank all of them, the first one first, separated by commas."}


def label_text(text: str) -> str:
    """A text as an option's label has it: " / " separates the options of a prompt, so a label holds none."""
    return text.replace(" / ", "/")


@dataclass(frozen=True, kw_only=True)
class Item(Question):
    """One item of a questionnaire. It serves wherever a `Question` does; `type` follows from `kind`, `options` are those of which an answer takes one.

    Args:
        kind: one of `ITEM_KINDS`. labels: the options as they are shown, lowest first where they have an order; () for open and number.
        codes: what the source calls each option ("1", "strongly_agree"); (): the numbers that the labels begin with, else `made_up` ones by place.
        option_kinds: one of `OPTION_KINDS` for each label; () if all are answers in substance.
        ordered: the options have an order (a mean of positions makes sense). None: yes, but for `single`, `multiple`, `ranking` and `open`.
        battery: what the items of one grid share, "" for an item alone. order: place in the questionnaire, from 0. variant: items with one name here are
            wordings of one question. negated: the wording is negated. asked_if: the condition under which the item is asked (`skip_rules`), "" for always.
        made_up: nobody gave the codes. least, most: the range of a number. key: -1 where a high option means less of the construct.
    Raises: ValueError for options, codes or kinds that do not fit each other.
    """

    domain: str = UNSAID_DOMAIN
    type: str = ""
    construct: str = ""
    instrument: str = ""
    paraphrases: tuple[str, ...] = ()
    kind: str = "open"
    labels: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    option_kinds: tuple[str, ...] = ()
    ordered: bool | None = None
    battery: str = ""
    order: int = 0
    variant: str = ""
    negated: bool = False
    asked_if: str = ""
    least: float | None = None
    most: float | None = None
    made_up: bool = False

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(f"item {self.id!r}: {problem}")
        numbers = () if self.codes else number_codes(self.labels, [bool(kind) for kind in self.option_kinds or ("",) * len(self.labels)])
        filled = {
            "type": ITEM_KINDS[self.kind],
            "codes": self.codes or numbers or made_up_codes(self.labels),
            "made_up": self.made_up or bool(self.labels and not self.codes and not numbers),
            "option_kinds": self.option_kinds or ("",) * len(self.labels),
            "ordered": self.kind not in ("single", "multiple", "ranking", "open") if self.ordered is None else self.ordered,
        }
        for name, value in filled.items():
            object.__setattr__(self, name, value)

    def _problem(self) -> str:
        if self.kind not in ITEM_KINDS:
            return f"unknown kind {self.kind!r}; choose from {', '.join(ITEM_KINDS)}"
        if not self.id or not self.text:
            return "needs an id and a text"
        if self.kind in LISTED_KINDS and not 2 <= len(self.labels) <= MOST_OPTIONS:
            return f"{len(self.labels)} options; {self.kind} needs 2 to {MOST_OPTIONS}"
        if self.kind not in LISTED_KINDS and self.labels:
            return f"{self.kind} has no options"
        if any(not label.strip() for label in self.labels) or len({label.casefold() for label in self.labels}) < len(self.labels):
            return "options must be different texts, none of them empty"
        if len(self.codes) not in (0, len(self.labels)) or len(set(self.codes)) < len(self.codes):
            return "codes must be different, one for each option"
        if len(self.option_kinds) not in (0, len(self.labels)) or set(self.option_kinds) - set(OPTION_KINDS):
            return f"option kinds must be one of {', '.join(map(repr, OPTION_KINDS))} for each option"
        if self.least is not None and self.most is not None and self.least >= self.most:
            return f"the range from {self.least:g} to {self.most:g} holds no two numbers"
        return "key must be 1 or -1" if self.key not in (1, -1) else ""

    @property
    def options(self) -> tuple[str, ...]:
        """The options of which an answer takes exactly one; () for every other kind of item."""
        return self.labels if self.kind in ONE_OPTION_KINDS else ()

    @property
    def substantive(self) -> tuple[int, ...]:
        """Positions of the options that are answers in substance, neither "don't know" nor "refused"."""
        return tuple(i for i, kind in enumerate(self.option_kinds) if not kind)

    @property
    def asked_text(self) -> str:
        """The wording with what the kind of item asks for: several options, an order, a number."""
        hint = _HINTS.get(self.kind) or self._range()
        return f"{self.text} {hint}" if hint and "that apply" not in self.text else self.text

    def _range(self) -> str:
        if self.kind != "number":
            return ""
        ends = [f"{word} {value:g}" for word, value in (("at least", self.least), ("at most", self.most)) if value is not None]
        return "Answer with a number" + (f", {' and '.join(ends)}." if ends else ".")

    def messages(self, card: dict | str) -> list[dict[str, str]]:
        """System and user message of this item to a person (`chat.messages`), for any answerer."""
        return chat.messages(card, DOMAINS.get(self.domain, self.domain), self.asked_text, self.labels or None)


@dataclass(frozen=True, kw_only=True)
class Questionnaire:
    """What is asked.

    Args: source: the file's name. sha256: of its bytes. not_used: what the file holds and we do not use -> why. notes: what was mapped or made up -> how often.
    Raises: ValueError without items, or for two items with one id.
    """

    title: str
    items: tuple[Item, ...]
    source: str = ""
    sha256: str = ""
    not_used: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        ids = [item.id for item in self.items]
        if not ids or len(set(ids)) < len(ids):
            raise ValueError("a questionnaire needs items, each with an id of its own")

    @property
    def bank(self) -> dict[str, Item]:
        """The items by id, as `survey.sheet.sheet_of` takes them."""
        return {item.id: item for item in self.items}

    @property
    def batteries(self) -> dict[str, tuple[Item, ...]]:
        """Battery -> its items; items alone are left out."""
        names = dict.fromkeys(item.battery for item in self.items if item.battery)
        return {name: tuple(item for item in self.items if item.battery == name) for name in names}


def item_to_dict(item: Item) -> dict:
    """An item as JSON holds it: what says nothing is left out, options are objects with label, code (if one was given) and kind ("": in substance)."""
    codes = [{} if item.made_up else {"code": code} for code in item.codes]
    options = [{"label": label} | code | {"kind": kind} for label, code, kind in zip(item.labels, codes, item.option_kinds, strict=True)]
    unsaid = {f.name: f.default for f in fields(Item)}
    plain = {name: getattr(item, name) for name in ("domain", "construct", "instrument", "battery", "variant", "negated", "key", "asked_if", "least", "most")}
    said = {name: value for name, value in plain.items() if value != unsaid[name]}
    lists = {"paraphrases": list(item.paraphrases)} if item.paraphrases else {}
    ordered = {"ordered": item.ordered} if options else {}
    return {"id": item.id, "text": item.text, "kind": item.kind} | ({"options": options} if options else {}) | ordered | said | lists


def questionnaire_json(questionnaire: Questionnaire) -> str:
    """A questionnaire as the file `questionnaire.json`; reading it gives the same items."""
    said = {"format": FORMAT, "title": questionnaire.title, "source": questionnaire.source, "sha256": questionnaire.sha256}
    items = [item_to_dict(item) for item in questionnaire.items]
    return json.dumps(said | {"items": items, "not_used": dict(questionnaire.not_used)}, indent=1, ensure_ascii=False) + "\n"


# --- frames --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of a frame: name, type ("text", "whole", "number", "numbers", "texts"), what it holds, what a missing value means (None: never missing)."""

    name: str
    type: str
    meaning: str
    missing: str | None = None


PEOPLE_COLUMNS = (
    Column("persona_id", "text", "the person's own id, unique"),
    Column("card", "text", "the card: a JSON object of attributes, or a JSON string that describes the person"),
    Column("persona", "text", "the card as the prompt says it"),
    Column("weight", "number", "for how many people this one stands, in any unit", "no weights were given"),
    Column("unit", "text", "what is resampled in place of people (state, household)", "every person is a unit"),
    Column("own_answers", "text", "JSON object: question_id -> what the person answered; it never enters a prompt", "the people file holds no answers"),
)
ANSWER_COLUMNS = (
    Column("id", "text", "persona_id, question_id and repeat: unique within a system, and the name of the row's random numbers"),
    Column("system", "text", "who answered, as --models names it"),
    Column("persona_id", "text", "who was asked"),
    Column("question_id", "text", "what was asked"),
    Column("repeat", "whole", "number of the repetition, from 0"),
    Column("mode", "text", "single (each item alone) or sequence (earlier answers stand in the prompt)"),
    Column("turn", "whole", "place of the item in the questionnaire, from 0"),
    Column("status", "text", "ok, failed (no answer), or skipped (its condition did not hold)"),
    Column("reason", "text", "why there is no answer, or why no option could be read from its words", "there is an answer, and it could be read"),
    Column("answer", "text", "the answer: its words as written, else the label of the chosen option", "not answered"),
    Column(
        "option",
        "whole",
        "the chosen option, a position in the item's labels from 0: drawn from option_probs where there are any, else read from the words",
        "none",
    ),
    Column("option_read", "whole", "the option read from the words", "no words were asked for, or none could be read"),
    Column("chosen", "numbers", "positions of all named options: several choices; a ranking, first to last", "no such item, or none could be read"),
    Column("value", "number", "the number that was said", "no such item, or none could be read"),
    Column("option_probs", "numbers", "probability of each option, the mean over both orders; sums to 1", "the item has no options, or nobody gives them"),
    Column("probs_listed", "numbers", "the same, options in the listed order", "as option_probs"),
    Column("probs_reversed", "numbers", "the same, options shown in reverse; positions are those of the listed order", "as option_probs"),
    Column("option_mass", "number", "share of answers that begin with an option's name at all, 0 to 1", "as option_probs"),
    Column("probs_how", "text", "exact, logprobs or samples", "as option_probs"),
    Column("turns_dropped", "whole", "earlier questions left out of the prompt, so that it fits into the model's context"),
    Column("reference", "text", "the person's own answer", "unknown"),
)
_DTYPES = {"text": "string", "whole": "Int64", "number": "float64", "numbers": "object", "texts": "object"}


def shaped(rows: Iterable[dict] | pd.DataFrame, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Rows as a frame with exactly these columns, in their order and types. Missing values: NA in text and whole, NaN in number, None in lists.

    Raises: ValueError for a column that is never missing and lacks a value, or an unknown column.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    names = [column.name for column in columns]
    if unknown := [name for name in frame if name not in names]:
        raise ValueError(f"unknown columns {unknown}; the columns are {', '.join(names)}")
    shaped_columns = {}
    for column in columns:
        values = frame[column.name] if column.name in frame else pd.Series([None] * len(frame), index=frame.index, dtype=object)
        if column.missing is None and values.isna().any():
            raise ValueError(f"column {column.name} is never missing, and {int(values.isna().sum())} of {len(values)} rows lack it")
        if _DTYPES[column.type] == "object":  # lists; a frame may hold NaN where there is none
            values = pd.Series([list(v) if hasattr(v, "__iter__") else None for v in values], index=values.index, dtype=object)
        shaped_columns[column.name] = values.astype(_DTYPES[column.type])
    return pd.DataFrame(shaped_columns, index=frame.index).reset_index(drop=True)


# --- JSON Schema -----------------------------------------------------------------------------------------------------------------------

_TEXT, _WHOLE, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
_JSON_TYPES = {"text": _TEXT, "whole": _WHOLE, "number": _NUMBER, "numbers": {"type": "array", "items": _NUMBER}, "texts": {"type": "array", "items": _TEXT}}
_DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def _row_schema(title: str, columns: tuple[Column, ...]) -> dict:
    def typed(column: Column) -> dict:
        kind = _JSON_TYPES[column.type]
        if column.missing is None:
            return kind | {"description": column.meaning}
        return kind | {"type": [kind["type"], "null"], "description": f"{column.meaning}; null: {column.missing}"}

    needed = [column.name for column in columns if column.missing is None]
    return _DRAFT | {"title": title, "type": "object", "properties": {c.name: typed(c) for c in columns}, "required": needed, "additionalProperties": False}


def _questionnaire_schema() -> dict:
    option = {"type": "object", "required": ["label"], "additionalProperties": False,
              "properties": {"label": _TEXT, "code": _TEXT, "kind": {"enum": list(OPTION_KINDS)}}}  # fmt: skip
    texts = {"type": "array", "items": _TEXT}
    properties = {
        "id": _TEXT,
        "text": _TEXT,
        "kind": {"enum": list(ITEM_KINDS)},
        "options": {"type": "array", "items": option, "minItems": 2},
        "ordered": {"type": "boolean"},
    }
    properties |= {name: _TEXT for name in ("domain", "construct", "instrument", "battery", "variant", "asked_if")}
    properties |= {"negated": {"type": "boolean"}, "key": {"enum": [1, -1]}, "least": _NUMBER, "most": _NUMBER, "paraphrases": texts}
    item = {"type": "object", "properties": properties, "required": ["id", "text", "kind"], "additionalProperties": False}
    head = {"format": {"const": FORMAT}, "title": _TEXT, "source": _TEXT, "sha256": _TEXT, "not_used": {"type": "object"}}
    whole = {"type": "object", "required": ["items"], "properties": head | {"items": {"type": "array", "items": item, "minItems": 1}}}
    return _DRAFT | {"title": "A questionnaire (questionnaire.json)"} | whole


def schemas() -> dict[str, dict]:
    """File name in `data/schemas/` -> JSON Schema. People and answers: of one row as an object."""
    return {
        "questionnaire.schema.json": _questionnaire_schema(),
        "people.schema.json": _row_schema("One person (a row of people.parquet)", PEOPLE_COLUMNS),
        "answers.schema.json": _row_schema("One answer (a row of answers.parquet)", ANSWER_COLUMNS),
    }
