"""Qualtrics survey files (.qsf, JSON): questions in the order of the survey flow become rows for `question_rows`.

Matrix rows become a battery. Display logic, branches and skips to an end become conditions if they ask for a chosen option. What is no question, or has
a form that cannot be asked in words, is named and left out. Source: Qualtrics exports (the format is not documented by its maker); the sources in
`tests/data/surveys`.
"""

import re
from collections.abc import Iterator, Mapping

from ..errors import quoted
from ..files import parse_json
from .reading import Pairs, Place, plain_text
from .skip_rules import IN_CODES, all_of

_SINGLE = ("SAVR", "SAHR", "SACOL", "DL", "SB", "ACCORDION")
_SEVERAL = ("MAVR", "MAHR", "MACOL", "MSB")
_NO_QUESTION = {"DB": "text without a question", "Meta": "no question", "Timing": "no question", "Captcha": "no question"}


def is_qsf(value: object) -> bool:
    """Whether a JSON value is a Qualtrics survey."""
    return isinstance(value, dict) and "SurveyElements" in value


def read_qsf(text: str, at: Place) -> tuple[str, list[tuple[str, dict]], dict[str, str]]:
    """(title, rows with our field names, what is not used -> why). Rows are placed by their export tags. Errors stand in `at`."""
    try:
        survey = parse_json(text, pairs=Pairs)
    except ValueError as error:
        at.error("", f"broken JSON ({quoted(error, 80)})")
        return "", [], {}
    if not is_qsf(survey):
        at.error("", "no Qualtrics survey: it has no SurveyElements")
        return "", [], {}
    elements = [e for e in _listed(survey["SurveyElements"]) if isinstance(e, dict)]
    questions = {}
    for element in elements:
        payload = element.get("Payload")
        if element.get("Element") == "SQ" and isinstance(payload, dict):
            questions[str(element.get("PrimaryAttribute") or payload.get("QuestionID"))] = payload
    not_used: dict[str, str] = {}
    rows = list(_rows(questions, _order(elements, questions, not_used, at), at, not_used))
    entry = survey.get("SurveyEntry")
    return plain_text((entry.get("SurveyName") if isinstance(entry, dict) else "") or ""), rows, not_used


def _listed(value: object) -> list:
    """A list, or the values of an object: Qualtrics writes both for the same thing."""
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _order(elements: list[dict], questions: Mapping, not_used: dict[str, str], at: Place) -> list[tuple[str, list[str]]]:
    """(question, conditions of the branches around it) in the order of the flow; questions of no block that is shown are named."""
    blocks, flow = {}, None
    for element in elements:
        if element.get("Element") == "BL":
            blocks |= {str(b.get("ID")): b for b in _listed(element.get("Payload")) if isinstance(b, dict)}
        elif element.get("Element") == "FL":
            flow = element.get("Payload")
    shown = list(_flow(flow, [], questions, not_used, at)) if isinstance(flow, dict) else [(name, []) for name, b in blocks.items() if b.get("Type") != "Trash"]
    listed, over = [], []
    for block, conditions in shown:
        _name_options(blocks.get(block, {}), not_used)
        passed: list[str] = []
        for element in _listed(blocks.get(block, {}).get("BlockElements")):
            question = str(element.get("QuestionID")) if isinstance(element, dict) and element.get("Type") == "Question" else ""
            if question in questions:
                listed.append((question, [*conditions, *over, *passed]))
                at.line = _tag(question, questions[question])
                for skip in _listed(element.get("SkipLogic")):
                    _skip(skip, questions, passed, over, at)
    listed = listed if blocks else [(question, []) for question in questions]
    for question in questions.keys() - {q for q, _ in listed}:
        not_used[_tag(question, questions[question])] = "in no block that the survey shows"
    return list({question: (question, conditions) for question, conditions in reversed(listed)}.values())[::-1]


def _name_options(block: Mapping, not_used: dict[str, str]) -> None:
    """Name what a block asks for beyond its questions: loops and random orders."""
    options = block.get("Options") if isinstance(block.get("Options"), dict) else {}
    name = str(block.get("Description") or block.get("ID"))
    if str(options.get("Looping") or "None") not in ("None", "Off", "false", "False"):
        not_used[f"loop of block {name}"] = "its questions are asked once"
    if str(options.get("RandomizeQuestions") or "false") not in ("false", "False", "None", "Off"):
        not_used[f"random order in block {name}"] = "its questions are asked in the order of the file"


def _skip(skip: object, questions: Mapping, passed: list[str], over: list[str], at: Place) -> None:
    """A skip to the end of the block or the survey as a condition of what follows: in `passed` of this block, in `over` of all. Errors: other skips."""
    try:
        place = {"LogicType": "Question", "LeftOperand": skip.get("Locator") or skip.get("ChoiceLocator"), "Operator": skip.get("Condition")}
        chosen, to = _expression(place, questions), str(skip.get("SkipToDestination"))
        if to not in ("ENDOFBLOCK", "ENDOFSURVEY"):
            raise ValueError(f"it skips to {quoted(to)}")
        (over if to == "ENDOFSURVEY" else passed).append(f"not({chosen})")
    except (TypeError, ValueError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else "an unknown form"
        at.error("SkipLogic", f"is not understood ({reason}); understood are options that are or are not selected, to the end of the block or of the survey")


def _flow(node: Mapping, conditions: list[str], questions: Mapping, not_used: dict[str, str], at: Place) -> Iterator[tuple[str, list[str]]]:
    """(block, conditions) in the order of the flow."""
    for part in _listed(node.get("Flow")):
        if not isinstance(part, dict):
            continue
        kind = part.get("Type")
        if kind in ("Block", "Standard"):
            yield str(part.get("ID")), conditions
            continue
        inner = conditions
        if kind == "Branch":
            at.line = str(part.get("FlowID", "branch"))
            inner = [*conditions, _logic(part.get("BranchLogic"), questions, "BranchLogic", at)]
        elif kind == "BlockRandomizer":
            not_used[f"randomizer {part.get('FlowID', '')}"] = "its blocks are asked in the order of the file"
        elif kind not in ("Root", "Group"):
            not_used[f"flow {part.get('FlowID', '')}"] = f"{kind} is not used"
        yield from _flow(part, inner, questions, not_used, at)


def _tag(question: str, payload: Mapping) -> str:
    return str(payload.get("DataExportTag") or question)


def _rows(questions: Mapping, order: list[tuple[str, list[str]]], at: Place, not_used: dict[str, str]) -> Iterator[tuple[str, dict]]:
    """The rows of all questions in order."""
    for question, conditions in order:
        payload = questions[question]
        at.line = tag = _tag(question, payload)
        if "DisplayLogic" in payload:
            conditions = [*conditions, _logic(payload["DisplayLogic"], questions, "DisplayLogic", at)]
        if payload.get("DynamicChoices"):
            at.error("DynamicChoices", "its options are carried forward from another question, which is not supported; write them out")
            continue
        for row in _question(tag, payload, not_used):
            yield tag, row | {"asked_if": all_of(*conditions), IN_CODES: True}


def _question(tag: str, payload: Mapping, not_used: dict[str, str]) -> list[dict]:
    """The rows of one question; [] (and a reason in `not_used`) if it cannot be asked."""
    kind, selector, sub = (str(payload.get(name) or "") for name in ("QuestionType", "Selector", "SubSelector"))
    base = {"id": tag, "text": payload.get("QuestionText")}
    if kind == "MC" and (selector in _SINGLE or selector in _SEVERAL or selector == "NPS"):
        if selector == "NPS":
            return [base | {"kind": "rating", "least": 0, "most": 10}]
        return [base | {"kind": "select_one" if selector in _SINGLE else "multiple", "options": _options(payload, "Choices", "ChoiceOrder")}]
    if kind == "Matrix" and sub in ("SingleAnswer", "DL", "DND", "MultipleAnswer") and selector in ("Likert", "Profile"):
        answers = _options(payload, "Answers", "AnswerOrder")
        closed = {"kind": "multiple"} if sub == "MultipleAnswer" else {"kind": "select_one", "ordered": "yes"}  # its columns are a scale
        return _parts(tag, payload, closed | {"options": answers})
    if kind == "TE":
        return _parts(tag, payload, {"kind": "open"}) if selector == "FORM" else [base | _content(payload)]
    if kind == "RO":
        return [base | {"kind": "ranking", "options": _options(payload, "Choices", "ChoiceOrder")}]
    if kind == "Slider":
        ends = payload.get("Configuration") if isinstance(payload.get("Configuration"), dict) else {}
        return _parts(tag, payload, {"kind": "number", "least": ends.get("CSSliderMin", 0), "most": ends.get("CSSliderMax", 100)})
    not_used[tag] = _NO_QUESTION.get(kind, f"{' '.join(filter(None, (kind, selector, sub)))} cannot be asked in words")
    return []


def _content(payload: Mapping) -> dict:
    """Kind and range of a text entry: a number if the survey checks for one."""
    validation = payload.get("Validation")
    settings = validation.get("Settings") if isinstance(validation, dict) else None
    if not isinstance(settings, dict) or settings.get("ContentType") != "ValidNumber":
        return {"kind": "open"}
    ends = settings.get("ValidNumber") if isinstance(settings.get("ValidNumber"), dict) else {}
    return {"kind": "number", "least": ends.get("Min") or None, "most": ends.get("Max") or None}


def _ordered(payload: Mapping, what: str, order: str) -> list[tuple[str, Mapping]]:
    """The entries of Choices or Answers in the order in which they are shown."""
    entries = payload.get(what)
    entries = {str(i): e for i, e in enumerate(entries, start=1)} if isinstance(entries, list) else entries if isinstance(entries, dict) else {}
    keys = [str(k) for k in _listed(payload.get(order))] or list(entries)
    return [(key, entries[key]) for key in keys if isinstance(entries.get(key), dict) and plain_text(entries[key].get("Display") or "")]


def _options(payload: Mapping, what: str, order: str) -> list[dict]:
    """The options as dicts with label and code; those that the survey leaves out of its analysis are no answers in substance."""
    recode, analyze = (payload.get(name) if isinstance(payload.get(name), dict) else {} for name in ("RecodeValues", "AnalyzeChoices"))
    kinds = {key: "not_applicable" for key, said in analyze.items() if str(said).lower() == "no"}
    options = [(key, {"label": str(entry["Display"]), "code": str(recode.get(key, key))}) for key, entry in _ordered(payload, what, order)]
    return [option | ({"kind": kinds[key]} if key in kinds else {}) for key, option in options]


def _parts(tag: str, payload: Mapping, row: dict) -> list[dict]:
    """One row for each line of a matrix, a form or a slider: the question, then the line; the tag is their battery."""
    tags = payload.get("ChoiceDataExportTags")
    tags = tags if isinstance(tags, dict) else {}
    stem, lines = plain_text(payload.get("QuestionText") or ""), _ordered(payload, "Choices", "ChoiceOrder")
    battery = {"battery": tag} if len(lines) > 1 else {}
    return [row | battery | {"id": str(tags.get(key) or f"{tag}_{key}"), "text": f"{stem} {plain_text(entry['Display'])}".strip()} for key, entry in lines]


def _logic(logic: object, questions: Mapping, where: str, at: Place) -> str:
    """A display logic as a condition; "" and an error if it asks for anything but chosen options."""
    try:
        return _group(logic, questions)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else "an unknown form"
        at.error(where, f"is not understood ({reason}); understood are options that are or are not selected, with And and Or")
        return ""


def _group(logic: Mapping, questions: Mapping) -> str:
    """Numbered parts, each an expression or a group; a later part says by its Conjunction how it is joined."""
    text = ""
    for key in sorted((k for k in logic if str(k).isdigit()), key=int):
        part = logic[key]
        one = _expression(part, questions) if part.get("Type") == "Expression" else f"({_group(part, questions)})"
        joint = str(part.get("Conjunction") or ("Or" if part.get("Type") in ("ElseIf", "OrIf") else "And")).lower().replace("if", "")
        text = f"{text} {'or' if joint.startswith('or') or joint == 'else' else 'and'} {one}" if text else one
    if not text:
        raise ValueError("it is empty")
    return text


def _expression(part: Mapping, questions: Mapping) -> str:
    """One expression: an option of a single or multiple choice that is, or is not, selected."""
    operator = part.get("Operator")
    place = re.fullmatch(r"q://(QID\d+)/SelectableChoice/(\d+)", str(part.get("LeftOperand") or part.get("ChoiceLocator") or ""))
    if part.get("LogicType") != "Question" or operator not in ("Selected", "NotSelected") or place is None:
        raise ValueError(f"{quoted(part.get('LogicType'))} {quoted(operator)}")
    payload = questions.get(place[1])
    if payload is None or payload.get("QuestionType") != "MC":
        raise ValueError(f"it looks at {quoted(place[1])}, which is no choice of this survey")
    recode = payload.get("RecodeValues") if isinstance(payload.get("RecodeValues"), dict) else {}
    chosen = f"selected(${{{_tag(place[1], payload)}}}, '{recode.get(place[2], place[2])}')"
    return chosen if operator == "Selected" else f"not({chosen})"
