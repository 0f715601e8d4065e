"""One foreign record: the names and shapes its fields may have, what is mapped, and what is refused.

*Mapped and noted*: field names, attribute names and question types under their usual aliases; a persona as text, object or JSON text; fields that stand
in `meta`, beside the persona, or only in `messages`; numbers for texts; domain names. *Errors*: see `check_record`, and `reading` for values.
Source: paper, Algorithm 1 lines 1 and 3 ("handle schema variations and missing fields") and section IV-B.
"""

import difflib
import re

from ..errors import one_line, quoted
from ..files import parse_json
from ..prompts import chat
from ..world.questions import DOMAINS, TYPES
from .reading import MAYBE_ANSWERS, MOST_CHARACTERS, Pairs, Place, clean, id_field, kind_of, place_name, says_missing, slug_of, text_field

AGES = (0, 120)
FIELD_ALIASES = {
    "id": ("record_id", "uid", "example_id"),
    "persona": ("persona_card", "persona_text", "input_persona", "profile", "respondent", "character"),
    "domain": ("topic", "category", "survey_domain"),
    "question": ("question_text", "item", "survey_question"),
    "question_type": ("type", "qtype", "item_type", "format"),
    "reference": ("response", "answer", "output", "completion", "target"),
    "options": ("choices", "answer_options", "response_options"),
    "messages": ("conversation", "conversations", "chat"),
    "meta": ("metadata",),
    "persona_id": ("respondent_id", "participant_id", "user_id"),
    "question_id": ("item_id", "qid"),
}
CARD_ALIASES = {
    "occupation": ("job", "profession"), "gender": ("sex",), "ethnicity": ("race",), "income_bracket": ("income",), "interests": ("hobbies",),
    "traits": ("personality",), "region": ("state", "location"), "description": ("bio", "summary"),
    "age": (), "education": ("education_level",), "country": (), "area": (), "values": (),
}  # fmt: skip
UNSAID = ("category", "household")  # attributes of our own cards that their description already says
TYPE_ALIASES = {
    "open": ("openended", "freetext", "text", "essay", "longanswer"),
    "likert": ("likertscale", "scale", "rating", "ratingscale"),
    "yesno": ("yn", "binary", "boolean", "dichotomous"),
    "agreement": ("statement", "agreedisagree", "agreementscale", "agreementstatement"),
}


def _lookup(aliases: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: key for key, names in aliases.items() for name in (key, *names)}


_FIELDS, _CARD, _TYPES = _lookup(FIELD_ALIASES), _lookup(CARD_ALIASES), _lookup(TYPE_ALIASES)
CARD_NAMES = frozenset(_CARD)  # what an attribute of a person may be called
BESIDE = "beside"  # key of `canonical`'s fields


def check_record(fields: dict, at: Place) -> dict | None:
    """A record as id, persona, domain (key), domain_name, question, question_type, reference, options, given ids; None if anything is wrong (`at.errors`).

    Args: fields: from `canonical`.
    """
    before = len(at.errors)
    persona = read_persona(fields.get("persona"), fields.get(BESIDE, {}), at)
    question, reference = text_field(fields, "question", at), text_field(fields, "reference", at, numbers=True)
    if question == "":
        at.error("question", "empty")
    options = _options(fields, at)
    for name, text in (("question", question), ("reference", reference)):
        if says_missing(text) and text not in (options or ()):
            _missing_word(name, text, at)
    kind, domain = _question_type(fields, at), _domain(fields, at)
    ids = {name: id_field(fields, name, at) for name in ("id", "persona_id", "question_id")}
    if len(at.errors) > before:
        return None
    if kind == "open" and options:
        at.note("options of an open item left out")
        options = None
    record = {"persona": persona, "question": one_line(question), "question_type": kind, "reference": reference, "options": options}
    return record | ids | {"domain": domain[0], "domain_name": domain[1]}


def _missing_word(name: str, text: str, at: Place) -> None:
    """An error for a text such as 'nan'; one of `MAYBE_ANSWERS` is only noted."""
    if text in MAYBE_ANSWERS and name == "reference":
        at.note(f"reference {quoted(text)} kept as an answer; if it stands for a missing one, remove the row")
    else:
        at.error(name, f"{quoted(text)} is how programs write a missing value; give the text, or remove the row")


def canonical(value: object, at: Place) -> dict | None:
    """A record's fields under our own names, attributes of the person that stand beside the persona under `BESIDE`; None for anything but an object.

    What stands in `meta` (an object or JSON text) is used where the record itself has nothing.
    """
    if not isinstance(value, dict):
        at.error("", f"a record must be an object, not {kind_of(value)}")
        return None
    fields = renamed(clean(value, "", at), _FIELDS, at, "")
    meta = fields.pop("meta", None)
    meta = _json_object(meta, "meta", at) if isinstance(meta, str) else meta
    if meta is not None and not isinstance(meta, dict):
        at.error("meta", f"must be an object, not {kind_of(meta)}")
        meta = None
    inner = {k: v for k, v in (meta or {}).items() if k in ("persona_id", "question_id", "options")}
    beside = {k: v for k, v in fields.items() if k not in FIELD_ALIASES and slug_of(k) in CARD_NAMES}
    for name in fields.keys() - FIELD_ALIASES.keys() - beside.keys():
        at.note(f"field {quoted(name)} not used")
    known = {k: v for k, v in inner.items() if v is not None} | {k: v for k, v in fields.items() if k in FIELD_ALIASES}
    return known | ({BESIDE: beside} if beside else {})


def renamed(given: dict, names: dict[str, str], at: Place, where: str) -> dict:
    """`given` with known names replaced by ours, null values left out. Error: two names of one field with different values."""
    renamed: dict = {}
    for key, value in given.items():
        name = names.get(slug_of(key), slug_of(key) if where else key)
        if value is None:
            continue
        if name in renamed and renamed[name] != value:
            at.error(where + place_name(key), f"'{name}' is given twice under different names")
        elif name != key:
            at.note(f"field {quoted(where + key)} read as '{where}{name}'")
        renamed.setdefault(name, value)
    return renamed


def _json_object(text: str, where: str, at: Place) -> object:
    """JSON text inside a field, cleaned like the rest; the text itself if it is no JSON object."""
    try:
        value = parse_json(text, pairs=Pairs)
    except ValueError:
        return text
    if not isinstance(value, dict):
        return text
    at.note(f"{where} given as JSON text")
    return clean(value, where, at)


def read_persona(persona: object, beside: dict, at: Place) -> dict | str | None:
    """A card with our field names, or a description as plain text; None and an error for anything else.

    Args: persona: text, an object, or an object as JSON text. beside: attributes that stand in the record itself; they go into the card.
    """
    if isinstance(persona, str) and persona.lstrip().startswith("{"):
        persona = _json_object(persona, "persona", at)
    if says_missing(persona):
        at.note(f"persona {quoted(persona)} left out as missing")
        persona = None
    if isinstance(persona, str):
        text = text_field({"persona": persona}, "persona", at)
        if text == "":
            at.error("persona", "empty")
        if not beside or not text:
            return one_line(text) if text else None
        persona = {"description": text}
    if persona is None and not beside:
        at.error("persona", "missing")
    elif not isinstance(persona, dict | None):
        at.error("persona", f"must be text or an object, not {kind_of(persona)}")
    else:
        return _card(persona, beside, at)
    return None


def _card(persona: dict | None, beside: dict, at: Place) -> dict | str | None:
    """The card of a persona object (None: there is none) and of the attributes beside it."""
    given = {k: v for k, v in (persona or {}).items() if slug_of(k) != "persona_id"}
    card = {k: v for k, value in renamed(given, _CARD, at, "persona.").items() if (v := _attribute(k, value, at)) not in (None, "", [])}
    more = {k: v for k, value in renamed(beside, _CARD, at, "").items() if (v := _attribute(k, value, at)) not in (None, "", [])}
    if persona is None:
        at.note("persona put together from fields of the record")
    for name in more.keys() - card.keys() if persona is not None else ():
        at.note(f"field {quoted(name)} put into the persona's card")
    for name in more.keys() & card.keys():
        if name == "description":
            more[name] = card[name] if str(more[name]) in str(card[name]) else f"{card[name]} {more[name]}"
        elif str(more[name]).casefold() != str(card[name]).casefold():
            at.error(name, f"{quoted(more[name])}, but the persona says {quoted(card[name])}")
    card = _with_description(card | more, at)
    rendered = chat.render_card(card) if card else ""
    if not card:
        at.error("persona", "empty")
    elif len(rendered) > MOST_CHARACTERS["persona"]:
        at.error("persona", f"{len(rendered):,} characters; at most {MOST_CHARACTERS['persona']:,}")
    return card["description"] if card.keys() == {"description"} else card


def _attribute(name: str, value: object, at: Place) -> object:
    """One attribute of a card: text, number, or a list of these, an object as "key: value" texts; None for what is missing, and an error for anything else."""
    where = f"persona.{place_name(name)}"
    if value is None or says_missing(value):
        if value is not None:
            at.note(f"{where} {quoted(value)} left out as missing")
        return None
    if isinstance(value, dict):
        at.note(f"{where} is an object: its parts are joined")
        value = [f"{k}: {_joined(v)}" for k, v in value.items() if v is not None]
    if isinstance(value, list):
        value = [_joined(v) if isinstance(v, dict | list) else v for v in value]
    if name == "age":
        return _age(value, at)
    if isinstance(value, list):
        if all(isinstance(v, str | int | float) for v in value):
            texts = [one_line(str(v)) for v in value if str(v).strip()]
            return " ".join(texts) if name == "description" else texts
        at.error(where, "must be a list of texts")
    elif isinstance(value, bool):
        return "yes" if value else "no"
    elif isinstance(value, str):
        return one_line(value)
    elif isinstance(value, int | float):
        return value
    else:
        at.error(where, f"must be text, a number or a list of texts, not {kind_of(value)}")
    return None


def _joined(value: object) -> str:
    """A value with all its parts on one line."""
    parts = [f"{k}: {_joined(v)}" for k, v in value.items()] if isinstance(value, dict) else [_joined(v) for v in value] if isinstance(value, list) else None
    return one_line(str(value)) if parts is None else ", ".join(parts)


def _age(value: object, at: Place) -> int | str | None:
    """Years as a whole number; an age group such as "25-34" stays text. Error: outside `AGES`, or not a number of years."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,9}(\.\d{1,9})?\s*", value, flags=re.ASCII):
        number = float(value)
        at.note("ages written as text")
    if isinstance(number, bool) or not isinstance(number, int | float | str):
        at.error("persona.age", f"must be a number of years, not {kind_of(value)}")
    elif isinstance(number, str):
        return one_line(number)[:40]
    elif not AGES[0] <= number <= AGES[1]:
        at.error("persona.age", f"{quoted(value)[1:-1]} is out of range; must be from {AGES[0]} to {AGES[1]}")
    else:
        return int(number)
    return None


def _with_description(card: dict, at: Place) -> dict:
    """Attributes that our card does not have are said in its description, so that they reach the prompt."""
    unsaid = UNSAID if "description" in card else ()
    more = {k: card[k] for k in card if k not in CARD_ALIASES and k not in unsaid}
    for name in more:
        at.note(f"persona field {quoted(name)} put into the description")
    said = [f"{k.replace('_', ' ')}: {', '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in more.items()]
    texts = [str(card["description"])] if "description" in card else []
    rest = {k: v for k, v in card.items() if k not in more and k != "description"}
    return rest | ({"description": " ".join([*texts, f"{'; '.join(said)}." if said else ""]).strip()} if texts or said else {})


def _question_type(fields: dict, at: Place) -> str | None:
    """One of `questions.TYPES`; an unknown one is an error with the nearest known name."""
    kind = fields.get("question_type")
    if not isinstance(kind, str):
        at.error("question_type", f"missing; choose from {', '.join(TYPES)}" if kind is None else f"must be text, not {kind_of(kind)}")
        return None
    slug = slug_of(kind, "")
    if slug in _TYPES:
        if kind != _TYPES[slug]:
            at.note(f"question type {quoted(kind)} read as '{_TYPES[slug]}'")
        return _TYPES[slug]
    near = difflib.get_close_matches(slug[:40], _TYPES, n=1, cutoff=0.6)
    hint = f"did you mean '{_TYPES[near[0]]}'? " if near else ""
    at.error("question_type", f"unknown type {quoted(kind)}; {hint}choose from {', '.join(TYPES)}")
    return None


def _domain(fields: dict, at: Place) -> tuple[str, str] | None:
    """(key, name for the prompt): the paper's domain if it is one of the ten, else the given name and its slug."""
    if fields.get("domain") in (None, "") or says_missing(fields["domain"]):
        at.note("domain missing: called 'unspecified'")
        return "unspecified", "Unspecified"
    name = text_field(fields, "domain", at)
    if name is None:
        return None
    slug = slug_of(name) or "unspecified"
    if slug in DOMAINS:
        return slug, DOMAINS[slug]
    at.note(f"domain {quoted(name)} is none of the paper's ten: kept as '{slug}'")
    return slug, one_line(name)


def _options(fields: dict, at: Place) -> list[str] | None:
    """The option labels of a closed item, None if none are given."""
    options = fields.get("options")
    if options in (None, []):
        return None
    if not isinstance(options, list):
        at.error("options", f"must be a list of texts, not {kind_of(options)}")
        return None
    labels = [one_line(str(o)) if isinstance(o, str | int | float) and not isinstance(o, bool) else "" for o in options]
    if not all(labels):
        at.error("options", "must be a list of texts, none of them empty")
    elif max(map(len, labels)) > MOST_CHARACTERS["option"]:
        at.error("options", f"a label has {max(map(len, labels)):,} characters; at most {MOST_CHARACTERS['option']:,}")
    elif not 2 <= len(labels) <= 11 or len({label.casefold() for label in labels}) < len(labels):
        at.error("options", "must be 2 to 11 different labels")
    else:
        return labels
    return None
