"""From rows with our field names to items: the one builder behind every reader of questionnaires. What is wrong is collected with its place.

A row is a dict with any of `ITEM_FIELDS`. Kinds, options and "don't know" are recognised here alone, so that a questionnaire is read alike from any format.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import InputError, one_line, quoted
from ..world.questions import DOMAINS, SCALES
from .item_options import cell_number, cell_text, item_options, kind_by_options, listed_parts, rating_steps
from .reading import Place, clean, plain_text, slug_of
from .skip_rules import IN_CODES, NotUnderstood, read_rule
from .survey_format import ITEM_KINDS, LISTED_KINDS, MOST_OPTIONS, UNSAID_DOMAIN, Item

ITEM_FIELDS = {  # ours -> how others call it; the table that a README and `--map` refer to
    "id": ("question_id", "item_id", "qid", "name", "variable", "var", "code"),
    "text": ("question", "question_text", "item_text", "wording", "label", "stem", "statement"),
    "kind": ("type", "question_type", "item_type", "qtype", "format", "response_type"),
    "options": ("value_labels", "choices", "answers", "answer_options", "response_options", "categories", "response_categories", "labels"),
    "codes": ("option_codes", "values", "option_values"),
    "option_kinds": ("nonsubstantive", "non_substantive", "missing_options", "dont_know"),
    "ordered": ("ordinal",),
    "battery": ("grid", "matrix", "block", "group"),
    "construct": ("subscale", "dimension", "factor", "trait"),
    "key": ("keying", "direction", "scoring"),
    "reversed": ("reverse_keyed", "reverse", "reverse_coded", "reverse_scored"),
    "negated": ("negated_wording", "negation"),
    "variant": ("wording_group", "variant_of", "version_of"),
    "asked_if": ("relevant", "relevance", "condition", "filter", "skip", "display_logic", "asked_when"),
    "domain": ("topic", "section", "category", "survey_domain"),
    "instrument": ("source", "inspired_by"),
    "least": ("min", "minimum", "lowest"),
    "most": ("max", "maximum", "highest"),
    "paraphrases": ("other_wordings",),
}
_NAMES = {name: ours for ours, names in ITEM_FIELDS.items() for name in (ours, *names)}
KIND_NAMES = {
    "yes_no": ("yesno", "yn", "binary", "boolean", "dichotomous"),
    "likert": ("likertscale", "scale", "ratingscale"),
    "agreement": ("agreedisagree", "agreementscale", "agreementstatement"),
    "single": ("singlechoice", "selectone", "choice", "radio", "dropdown", "multiplechoice", "mc", "list", "closed", "categorical"),
    "multiple": ("multiplechoices", "selectmultiple", "checkbox", "checkboxes", "multipleresponse", "multiresponse", "selectallthatapply", "severalchoices"),
    "rating": ("nps", "stars", "range"),
    "number": ("numeric", "integer", "int", "decimal", "float"),
    "ranking": ("rank", "rankorder", "order"),
    "open": ("openended", "freetext", "text", "string", "essay", "longanswer", "textarea", "verbatim"),
}
_KINDS = {slug_of(name, ""): kind for kind, names in KIND_NAMES.items() for name in (kind, *names)}
_TRUE, _FALSE = ("1", "true", "yes", "y", "x"), ("0", "false", "no", "n")
_KEYS = {"1": 1, "+1": 1, "+": 1, "positive": 1, "-1": -1, "-": -1, "negative": -1, "reversed": -1, "reverse": -1, "r": -1}


def field_name(name: str) -> str | None:
    """Our name of a column of a questionnaire; None for one that is not used."""
    return _NAMES.get(slug_of(name))


def items_of(rows: Sequence[tuple[int, dict]], at: Place) -> list[Item]:
    """The items of rows with our field names, in their order; what is wrong stands in `at.errors`, what was recognised in `at.notes`."""
    items: dict[str, Item] = {}
    broken = set()  # ids of items that have an error already: conditions on them are no second one
    for at.line, row in rows:
        before = len(at.errors)
        fields = clean(row, "", at)
        item = _item(fields, len(items), at) if len(at.errors) == before else None
        if item is None:
            broken.add(one_line(fields.get("id") or ""))
            continue
        if item.id in items:
            at.error("id", f"{quoted(item.id)} stands there twice; every item needs an id of its own")
            continue
        try:
            rule = read_rule(item.asked_if, items, bool(fields.get(IN_CODES)))
            item = replace(item, asked_if=rule.text) if rule.text else item
            for reading in rule.readings:
                at.note(f"condition of {quoted(item.id)}: {reading}")
        except NotUnderstood as error:
            if error.unknown not in broken:
                at.error("asked_if", f"condition {quoted(item.asked_if, 80)}: {error}")
        items[item.id] = item
    return list(items.values())


def _item(row: Mapping, order: int, at: Place) -> Item | None:
    """One item; None (and errors) if it cannot be one."""
    before = len(at.errors)
    text = cell_text(row.get("text"), "text", "question", at)
    item_id = cell_text(row.get("id") if row.get("id") not in (None, "") else f"q{order + 1}", "id", "id", at)
    if row.get("id") in (None, ""):
        at.note("items without an id: called q1, q2, ... by their place")
    said = _KINDS.get(slug_of(str(row.get("kind") or ""), ""))
    if said and said not in LISTED_KINDS and row.get("codes") not in (None, "", []) and not row.get("options"):
        at.note(f"codes of an item of kind {said} left out")
        row = {**row, "codes": None}
    options = item_options(row, at)
    kind = _kind(row.get("kind"), [o["label"] for o in options[: MOST_OPTIONS + 1]], at)
    if kind == "rating" and not options:
        options = rating_steps(row, at)
    if kind is None or len(at.errors) > before or not _count_fits(kind, options, at):
        return None
    if kind not in LISTED_KINDS and options:
        at.note(f"options of an item of kind {kind} left out")
        options = []
    settings = _settings(row, kind, options, at)
    if len(at.errors) > before:
        return None
    try:
        return Item(id=item_id, text=text, kind=kind, order=order, **settings)
    except ValueError as error:
        at.error("", str(error).partition(": ")[2])
        return None


def _count_fits(kind: str, options: list[dict], at: Place) -> bool:
    """Whether an item has as many options as its kind needs; else there is an error."""
    if kind in LISTED_KINDS and len(options) == 1:
        at.error("options", f"{quoted(options[0]['label'], 80)} is one option; put | between them ({kind} needs 2 to {MOST_OPTIONS})")
    elif kind in LISTED_KINDS and len(options) > MOST_OPTIONS:
        at.error("options", f"{len(options):,} options; {kind} needs 2 to {MOST_OPTIONS} (many steps: call it a number, with least and most)")
    return kind not in LISTED_KINDS or 2 <= len(options) <= MOST_OPTIONS


def _settings(row: Mapping, kind: str, options: list[dict], at: Place) -> dict:
    """The fields of an item beyond id, text and kind."""
    texts = {name: one_line(plain_text(row[name])) for name in ("battery", "construct", "instrument", "variant") if row.get(name) not in (None, "")}
    domain = one_line(row["domain"]) if row.get("domain") not in (None, "") else UNSAID_DOMAIN
    domain = slug_of(domain) if slug_of(domain) in DOMAINS else domain
    ends = {name: cell_number(row.get(name), name, at) for name in ("least", "most")} if kind in ("number", "rating") else {}
    given = row.get("paraphrases") or []
    wordings = re.split(r"[|\n]", given) if isinstance(given, str) and given.strip()[:1] != "[" else listed_parts(given, "paraphrases", at)
    paraphrases = [cell_text(text, "paraphrases", "question", at) for text in wordings if str(text).strip()]
    return texts | ends | {
        "domain": domain, "labels": tuple(o["label"] for o in options), "codes": tuple(o["code"] for o in options if not o["made_up"]),
        "option_kinds": tuple(o["kind"] for o in options), "ordered": _flag(row.get("ordered"), "ordered", at, unsaid=None),
        "negated": bool(_flag(row.get("negated"), "negated", at)), "key": _key(row, at),
        "asked_if": str(row.get("asked_if") or "").strip(), "paraphrases": tuple(paraphrases),
    }  # fmt: skip


def _flag(value: object, name: str, at: Place, unsaid: bool | None = False) -> bool | None:
    """True or False of the usual words for them; `unsaid` for an empty cell."""
    if value in (None, ""):
        return unsaid
    word = str(value).strip().casefold()
    if word not in (*_TRUE, *_FALSE):
        at.error(name, f"{quoted(value)} is neither yes nor no")
    return word in _TRUE


def _key(row: Mapping, at: Place) -> int:
    """1, or -1 for an item whose high options mean little of the construct: by the column `key` (1 or -1) or the column `reversed` (yes or no)."""
    word = str(row.get("key") or "1").strip().casefold()
    if word not in _KEYS:
        at.error("key", f"{quoted(row['key'])} is no key; 1: a high option means much of the construct, -1: little")
    return -1 if _flag(row.get("reversed"), "reversed", at) else _KEYS.get(word, 1)


def _kind(said: object, labels: list[str], at: Place) -> str | None:
    """One of `ITEM_KINDS`: as the row says, else by its options. Only single choices are looked at more closely: their options may be a scale."""
    if said in (None, ""):
        kind = kind_by_options(labels)
        at.note(f"kind not said: read as {kind} by the options")
        return kind
    slug = slug_of(str(said), "")
    if slug not in _KINDS:
        near = difflib.get_close_matches(slug[:40], _KINDS, n=1, cutoff=0.6)
        at.error("kind", f"unknown kind {quoted(said)}; " + (f"did you mean '{_KINDS[near[0]]}'? " if near else "") + f"choose from {', '.join(ITEM_KINDS)}")
        return None
    kind = _KINDS[slug]
    if str(said) not in ITEM_KINDS:
        at.note(f"kind {quoted(said)} read as {kind}")
    if kind in LISTED_KINDS and kind != "rating" and not labels:
        at.error("options", f"missing; an item of kind {kind} needs its options, or the name of a usual scale: {', '.join(SCALES)}")
        return None
    return kind_by_options(labels) if kind == "single" and str(said) != "single" else kind


# --- `--map theirs=ours`: the columns of a user's files under our names


def parse_map(pairs: Sequence[str]) -> dict[str, str]:
    """`--map theirs=ours` options as {their column: our name}. Raises InputError for one without "=" or a column that is mapped twice."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        theirs, sign, ours = pair.rpartition("=")
        if not sign or not theirs.strip() or not ours.strip():
            raise InputError(f"--map {quoted(pair)}: write their column, =, our name, for example --map Q_TEXT=text")
        if theirs.strip() in mapping:
            raise InputError(f"--map: the column {quoted(theirs.strip())} is mapped twice")
        mapping[theirs.strip()] = ours.strip()
    return mapping


def split_map(mapping: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """`--map` of the questionnaire's columns (our name is one of `question_rows.ITEM_FIELDS`) and of the people's (any other name)."""
    return {t: o for t, o in mapping.items() if o in ITEM_FIELDS}, {t: o for t, o in mapping.items() if o not in ITEM_FIELDS}


def mapped(row: Mapping, mapping: Mapping[str, str]) -> dict:
    """A row with the columns of `--map` under our names; a column that had our name already gives way to the mapped one."""
    ours = {mapping[name]: value for name, value in row.items() if name in mapping}
    return {name: value for name, value in row.items() if name not in mapping and name not in ours} | ours


def check_map(mapping: Mapping[str, str], columns: Sequence[str]) -> None:
    """Raises InputError if `--map` names a column that no file has, with the nearest one."""
    for theirs in mapping:
        if theirs not in columns:
            near = difflib.get_close_matches(theirs, columns, n=1)
            raise InputError(f"--map: no column {quoted(theirs)}" + (f"; did you mean {quoted(near[0])}?" if near else "") + f" ({there(columns)})")


def there(columns: Sequence[str]) -> str:
    """What columns there are, for an error."""
    return "columns there: " + (", ".join(map(quoted, columns[:12])) + (", …" if len(columns) > 12 else "") or "none")
