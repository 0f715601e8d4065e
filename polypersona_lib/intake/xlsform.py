"""XLSForm (.xlsx), as ODK, Kobo and Survey123 use it: the sheets `survey`, `choices` and `settings` become rows for `question_rows`.

Groups hand their condition to their questions, and a group of questions that share one list is a battery. What is no question, or cannot be asked in
words, is named and left out. Source: xlsform.org; pyxform's own list of types.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from ..errors import quoted
from .reading import Place
from .skip_rules import IN_CODES, all_of, says_always
from .tables import BookSheet, Row

_NO_QUESTION = (
    "note", "calculate", "hidden", "start", "end", "today", "deviceid", "phonenumber", "username", "email", "audit", "start-geopoint", "acknowledge", "trigger",
    "xml-external", "csv-external", "background-audio", "subscriberid", "simserial",
)  # fmt: skip
_NOT_IN_WORDS = ("geopoint", "geotrace", "geoshape", "image", "audio", "video", "file", "barcode", "osm", "date", "time", "datetime", "select_one_from_file",
                 "select_multiple_from_file", "select_one_external")  # fmt: skip
_LISTS = {"select_one": "select_one", "select_multiple": "multiple", "rank": "ranking", "select one": "select_one", "select all that apply": "multiple"}
_PLAIN = {"integer": "number", "int": "number", "decimal": "number", "text": "open", "string": "open"}
_OWN_COLUMNS = ("construct", "key", "reversed", "negated", "variant", "domain", "ordered", "instrument", "paraphrases")  # ours, if the sheet has them
_READ = (*_OWN_COLUMNS, "type", "name", "relevant", "relevance", "constraint", "parameters", "choice_filter", "disabled")  # columns, and the label
_SIMPLE_RANGE = re.compile(r"\s*\.\s*(>=|<=)\s*(-?\d+(?:\.\d+)?)\s*(?:and\s*\.\s*(>=|<=)\s*(-?\d+(?:\.\d+)?)\s*)?")


def is_xlsform(sheets: Mapping[str, BookSheet]) -> bool:
    """Whether a workbook has a sheet `survey` with the column type."""
    return any(name.casefold() == "type" for _, row in _sheet(sheets, "survey") for name in row)


def xlsform_rows(sheets: Mapping[str, BookSheet], at: Place) -> tuple[str, list[tuple[int, dict]], dict[str, str]]:
    """(title, rows with our field names, what is not used -> why). Errors stand in `at` with the row of the sheet."""
    settings = (_sheet(sheets, "settings") or [(0, {})])[0][1]
    survey, language = _enabled(_sheet(sheets, "survey"), at), str(settings.get("default_language", ""))
    label, others = _label_column({name for _, row in survey for name in row}, language)
    not_used = {f"column {name}": "another language than the form's default" for name in others}
    for name in dict.fromkeys(name for _, row in survey for name in row if name != label and name not in others):
        if name.casefold() not in _READ:
            not_used[f"column {name}"] = "no column that is read"
    choices = _choices(_sheet(sheets, "choices"), language, at)
    for title, sheet in sheets.items():
        if title.strip().casefold() in ("survey", "choices", "settings"):
            at.errors += sheet.problems
        else:
            not_used[f"sheet {title}"] = "no sheet of an XLSForm that is read"
    rows = list(_questions(survey, label, choices, at, not_used))
    return str(settings.get("form_title") or settings.get("title") or ""), rows, not_used


def _sheet(sheets: Mapping[str, BookSheet], name: str) -> list[Row]:
    return next((sheet.rows for title, sheet in sheets.items() if title.strip().casefold() == name), [])


def _enabled(survey: list[Row], at: Place) -> list[Row]:
    """The rows without those whose column `disabled` says yes."""
    kept = []
    for at.line, row in survey:
        if any(name.casefold() == "disabled" and str(value).strip().casefold() in ("yes", "true", "1", "true()") for name, value in row.items()):
            at.note("rows of the form that are disabled, left out")
        else:
            kept.append((at.line, row))
    return kept


def _label_column(names: set[str], language: str) -> tuple[str, list[str]]:
    """The column of labels in the default language (else without a language, else English, else the first), and those in other ones."""
    labels = sorted(name for name in names if re.match(r"label\s*(:|$)", name, flags=re.IGNORECASE))
    wanted = language.casefold()
    ranked = sorted(labels, key=lambda n: (bool(wanted) and not n.casefold().endswith(wanted), n.casefold() != "label", "english" not in n.casefold(), n))
    return (ranked[0] if ranked else "label"), ranked[1:]


def _choices(rows: list[Row], language: str, at: Place) -> dict[str, list[dict]]:
    """List name -> its options as dicts with label and code, in the sheet's order."""
    label, _ = _label_column({name for _, row in rows for name in row}, language)
    lists = defaultdict(list)
    for _, row in rows:
        folded = {name.casefold().replace("_", " "): value for name, value in row.items()}
        if folded.get("list name") is not None and folded.get("name") is not None:
            if row.get(label) is None:
                at.note("options of the form without a label: called by their code")
            lists[str(folded["list name"]).strip()].append({"label": str(row.get(label, folded["name"])), "code": str(folded["name"]).strip()})
    return lists


def _questions(survey: list[Row], label: str, choices: dict[str, list[dict]], at: Place, not_used: dict[str, str]) -> Iterator[tuple[int, dict]]:
    """The questions of the sheet, with their groups' conditions and batteries."""
    groups, grids = [], _grids(survey)
    for at.line, row in survey:
        fields = {name.casefold(): value for name, value in row.items()}
        kind = " ".join(str(fields.get("type", "")).split())
        name = str(fields.get("name", "")).strip()
        if opened := re.fullmatch(r"begin[ _](group|repeat|loop).*", kind, flags=re.IGNORECASE):
            if opened[1].lower() != "group":
                not_used[name or f"row {at.line}"] = f"begin {opened[1]}: its questions are asked once"
            groups.append({"name": name, "relevant": _condition(fields), "label": str(row.get(label) or "").strip()})
            if groups[-1]["label"] and name not in grids:
                not_used[f"label of the group {name or f'in row {at.line}'}"] = "a heading, and no stem of a grid"
        elif re.fullmatch(r"end[ _](group|repeat|loop).*", kind, flags=re.IGNORECASE):
            if groups:
                groups.pop()
            else:
                at.error("type", "ends a group that was never begun")
        elif kind:
            asked = _question(kind, name, fields, row.get(label), choices, at, not_used)
            if asked is not None:
                asked["asked_if"] = all_of(*(g["relevant"] for g in groups), _condition(fields))
                shared = groups[-1]["name"] if groups and asked["kind"] == "select_one" and groups[-1]["name"] in grids else ""
                if shared and groups[-1]["label"] and isinstance(asked["text"], str):
                    asked["text"] = f"{groups[-1]['label']} {asked['text']}"  # the stem of a grid is asked with each of its lines
                    at.note(f"label of the group {quoted(shared)} put before its questions, which share one list; if it is a heading, take it out of the form")
                yield at.line, asked | {"battery": shared, IN_CODES: True}
    if groups:
        at.error("type", f"the group {quoted(groups[-1]['name'])} is never ended")


def _condition(fields: Mapping) -> str:
    """The condition of a row; "true()" says nothing."""
    text = str(fields.get("relevant") or fields.get("relevance") or "").strip()
    return "" if says_always(text) else text


def _grids(survey: list[Row]) -> set[str]:
    """The names of the groups that hold two or more questions, all of them of one list."""
    inside: list[str] = []
    kinds = defaultdict(list)
    for _, row in survey:
        fields = {name.casefold(): value for name, value in row.items()}
        kind = " ".join(str(fields.get("type", "")).split())
        if re.match(r"begin[ _]", kind, flags=re.IGNORECASE):
            inside.append(str(fields.get("name", "")).strip())
        elif re.match(r"end[ _]", kind, flags=re.IGNORECASE):
            inside = inside[:-1]
        elif inside and kind and kind.partition(" ")[0] not in _NO_QUESTION:
            kinds[inside[-1]].append(kind)
    return {name for name, listed in kinds.items() if name and len(listed) > 1 and len(set(listed)) == 1}


def _question(kind: str, name: str, fields: Mapping, label: object, choices: Mapping, at: Place, not_used: dict[str, str]) -> dict | None:
    """One row of the survey sheet with our field names; None (and a reason in `not_used`) if it is no question."""
    head = kind.partition(" ")[0]
    if head in _NO_QUESTION or head in _NOT_IN_WORDS:
        not_used[name or kind] = "no question" if head in _NO_QUESTION else f"{head} cannot be answered in words that are read"
        return None
    if not name:
        at.error("name", "missing")
        return None
    asked = {"id": name, "text": label, "options": [], "least": None, "most": None} | {k: fields[k] for k in _OWN_COLUMNS if k in fields}
    if listed := re.fullmatch(r"(select_one|select_multiple|rank|select one|select all that apply)(?: from)? (\S+)((?: .*)?)", kind):
        list_name = listed[2]
        if list_name not in choices:
            at.error("type", f"no list {quoted(list_name)} in the sheet choices (lists there: {', '.join(map(quoted, list(choices)[:12])) or 'none'})")
            return None
        other = [{"label": "Other", "code": "other"}] if "other" in listed[3] else []
        if fields.get("choice_filter"):
            not_used[f"choice_filter of {name}"] = "all options are shown"
        return asked | {"kind": _LISTS[listed[1]], "options": [*choices[list_name], *other]}
    if kind == "range":
        steps = dict(re.findall(r"(start|end|step)\s*=\s*(-?\d+(?:\.\d+)?)", str(fields.get("parameters", ""))))
        whole = steps.get("step", "1") == "1"
        return asked | {"kind": "rating" if whole else "number", "least": steps.get("start", "1"), "most": steps.get("end", "10")}
    if kind not in _PLAIN:
        at.error("type", f"unknown type {quoted(kind)}; known are {', '.join((*list(_LISTS)[:3], 'range', *_PLAIN))}, and what is no question")
        return None
    ends = _ends(str(fields.get("constraint") or ""), name, not_used) if _PLAIN[kind] == "number" else {}
    return asked | {"kind": _PLAIN[kind]} | ends


def _ends(constraint: str, name: str, not_used: dict[str, str]) -> dict[str, str]:
    """The ends of a simple range such as ". >= 0 and . <= 24"; another constraint is named and left out."""
    if not constraint.strip():
        return {}
    match = _SIMPLE_RANGE.fullmatch(constraint)
    if match is None:
        not_used[f"constraint of {name}"] = "is no simple range of numbers"
        return {}
    return {("least" if sign == ">=" else "most"): value for sign, value in ((match[1], match[2]), (match[3], match[4])) if sign}
