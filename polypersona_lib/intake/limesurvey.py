"""LimeSurvey's survey structure as tab-separated text (.txt): its rows of classes G, Q, SQ and A become rows for `question_rows`.

Arrays become batteries. What is no question, or cannot be asked in words, is named and left out.
Source: LimeSurvey manual, "Tab Separated Value survey structure".
"""

import re
from collections.abc import Mapping, Sequence

from ..errors import quoted
from .reading import Place, plain_text
from .skip_rules import IN_CODES, all_of, says_always

_ONE, _SEVERAL, _LINES, _WORDS = ("L", "!", "O"), ("M", "P"), ("F", "H"), ("S", "T", "U")
_FIXED = {  # type -> its own options as (code, label)
    "Y": (("Y", "Yes"), ("N", "No")),
    "G": (("F", "Female"), ("M", "Male")),
    "C": (("Y", "Yes"), ("U", "Uncertain"), ("N", "No")),
    "E": (("I", "Increase"), ("S", "Same"), ("D", "Decrease")),
    "5": tuple((str(i), str(i)) for i in range(1, 6)),
    "A": tuple((str(i), str(i)) for i in range(1, 6)),
    "B": tuple((str(i), str(i)) for i in range(1, 11)),
}
_IN_WORDS = {  # language -> its labels of types Y and G
    "de": (("Ja", "Nein"), ("Weiblich", "Männlich")), "fr": (("Oui", "Non"), ("Féminin", "Masculin")), "es": (("Sí", "No"), ("Femenino", "Masculino")),
    "it": (("Sì", "No"), ("Femmina", "Maschio")), "nl": (("Ja", "Nee"), ("Vrouw", "Man")), "pt": (("Sim", "Não"), ("Feminino", "Masculino")),
}  # fmt: skip
_READ = ("id", "related_id", "class", "type/scale", "name", "relevance", "text", "language", "other", "min_num_value_n", "max_num_value_n", "hidden")
_FILLED_IN = re.compile(r"\{[A-Za-z][^{}]{0,200}\}")


def is_limesurvey(rows: Sequence[tuple[int, object]]) -> bool:
    """Whether rows of a table are LimeSurvey's survey structure."""
    return any(isinstance(row, dict) and {"class", "type/scale"} <= row.keys() for _, row in rows)


def limesurvey_rows(rows: Sequence[tuple[int, dict]], at: Place) -> tuple[str, list[tuple[int, dict]], dict[str, str]]:
    """(title, rows with our field names, what is not used -> why). Of several languages the first one of a question is read."""
    asked = [(line, row) for line, row in rows if row.get("class") in ("G", "Q", "SQ", "A")]
    language = next((row.get("language") for _, row in asked if row["class"] == "Q"), None)
    others = dict.fromkeys(str(row.get("language")) for _, row in asked if row.get("language") != language)
    not_used = {f"language {name}": f"only the first one is read, {language}" for name in others}
    asked = [(line, row) for line, row in asked if row.get("language") == language]
    for name in dict.fromkeys(name for _, row in asked for name in row if name not in _READ):
        not_used[f"column {name}"] = "no column that is read"
    title = next((str(row.get("text")) for _, row in rows if row.get("name") == "surveyls_title"), "")
    built, group, question = [], "", None
    for line, row in [*asked, (0, {"class": "end"})]:
        if row["class"] in ("SQ", "A"):
            if question is None:
                at.line = line
                at.error("class", f"{row['class']} stands before the first question")
            else:
                question[row["class"]].append(row)
            continue
        if question is not None:
            at.line = question["line"]
            built += [(at.line, one) for one in _question(question, group, at, not_used)]
        question = {"line": line, "row": row, "SQ": [], "A": []} if row["class"] == "Q" else None
        group = _condition(row) if row["class"] == "G" else group
    return title, built, not_used


def _condition(row: Mapping) -> str:
    """The relevance of a row as a condition; "" for always."""
    text = re.sub(r"\.(NAOK|code|value)\b", "", str(row.get("relevance") or "")).strip()
    return "" if says_always(text) else text


def _listed(rows: Sequence[Mapping]) -> list[dict]:
    """Subquestions or answers as options; those of a second scale are left to their caller."""
    return [{"code": str(row.get("name", "")), "label": str(row.get("text", ""))} for row in rows]


def _question(question: Mapping, group: str, at: Place, not_used: dict[str, str]) -> list[dict]:
    """The rows of one question; [] (and a reason in `not_used`) if it is not asked."""
    row, lines = question["row"], question["SQ"]
    kind, name, text = str(row.get("type/scale", "")).strip(), str(row.get("name", "")), plain_text(row.get("text") or "")
    if str(row.get("hidden", "")).strip() in ("1", "Y"):
        not_used[name] = "hidden"
        return []
    for said in (text, *(str(part.get("text", "")) for part in (*lines, *question["A"]))):
        if filled := _FILLED_IN.search(plain_text(said)):
            at.error("text", f"{quoted(filled[0])} is filled in when the survey runs, which is not supported; write the text out")
    base = {"id": name, "text": text, "asked_if": all_of(group, _condition(row)), IN_CODES: True}
    other = [{"code": "-oth-", "label": "Other"}] if str(row.get("other", "")).strip() == "Y" else []
    options = [{"code": code, "label": label} for code, label in _FIXED.get(kind, ())]
    if kind in ("Y", "G") and (own := _IN_WORDS.get(str(row.get("language", ""))[:2].lower())):
        options = [option | {"label": label} for option, label in zip(options, own[kind == "G"], strict=True)]
    if kind in _ONE or kind == "R":
        return [base | {"kind": "select_one" if kind in _ONE else "ranking", "options": _listed(question["A"]) + other}]
    if kind in _SEVERAL:
        not_used |= {f"relevance of {name}_{part.get('name', '')}": "the option is shown to everybody who is asked" for part in lines if _condition(part)}
        return [base | {"kind": "multiple", "options": _listed(lines) + other}]
    if kind in ("5", "Y", "G"):
        return [base | {"kind": "select_one", "options": options}]
    if kind in _WORDS or kind == "N":
        ends = {"least": row.get("min_num_value_n"), "most": row.get("max_num_value_n")}
        return [base | ({"kind": "open"} if kind in _WORDS else {"kind": "number"} | ends)]
    if kind in (*_LINES, "A", "B", "C", "E", "K", "Q"):
        closed = {"kind": "select_one", "options": options or _listed(question["A"])}
        shared = base | {"K": {"kind": "number"}, "Q": {"kind": "open"}}.get(kind, closed)
        return [shared | _line(name, text, part, len(lines) > 1) | {"asked_if": all_of(group, _condition(row), _condition(part))} for part in lines]
    not_used[name] = f"type {kind} cannot be asked in words"
    return []


def _line(name: str, text: str, part: Mapping, several: bool) -> dict:
    """Id, text and battery of one line of an array: the question, then the line."""
    return {"id": f"{name}_{part.get('name', '')}", "text": f"{text} {plain_text(part.get('text') or '')}".strip()} | ({"battery": name} if several else {})
