"""The cells of a questionnaire: texts without markup, numbers, the options of an item in all the ways people write them, and what people answered to it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..errors import one_line, quoted
from ..files import parse_json
from ..prompts import chat
from ..world.questions import SCALES, label_set
from .option_codes import CODE, LABEL, folded_text, number_codes, option_named
from .reading import MOST_CHARACTERS, Place, kind_of, plain_text, slug_of, without_markup
from .survey_format import MOST_OPTIONS, ONE_OPTION_KINDS, OPTION_KINDS, Item, label_text
from .tables import number_in

_I, _SAY = r"(i |i'd |i would |would )*", r"(say|answer|respond|reply|disclose|share|tell|reveal|state|specify|choose)( .{0,20})?"
_SAY_IT = r"( y)? (repondre|dire|le dire|me prononcer|contestar|decir(lo)?|responder|dizer|rispondere|dirlo)"
_NOT_SUBSTANCE = {  # of an option without accents, or of each part of it between / , ; "or"; not "trifft nicht zu", mostly a point of a scale
    "dont_know": rf"(i )?(really )?(don'?t|do not) know(\W.{{0,40}})?|dk|not sure|unsure|no (opinion|idea)|(can'?t|cannot) {_SAY}|hard to say"
    r"|(ich )?weiss (ich |es )?nicht|kann ich nicht (sagen|beurteilen)|keine (ahnung|meinung)|((je )?ne )?(sais|sait) pas|ne se prononce pas|nsp"
    r"|(sans |pas d'|aucune? )(opinion|avis|idee)|no (lo )?(se|sabe)|n\.?s\.?/n\.?[cr]|(no tengo|sin) opinion|no estoy segur[oa]|nao (sei|sabe)"
    r"|(nao tenho|sem) opiniao|nao tenho certeza|non (lo )?(so|sa|saprei)|(nessuna|senza) opinione|(ik )?weet (ik )?(het )?niet|geen (mening|idee)",
    "refused": rf"refus(ed?|al|es)?( to {_SAY}| de repondre)?|{_I}(prefer|rather|choose|wish) not( to)? {_SAY}|{_I}(don'?t|do not) (want|wish) to {_SAY}"
    rf"|declined?( to {_SAY})?|no (answer|response|reply)|not (stated|answered|disclosed)|skipped"
    r"|keine (angaben?|antwort)|k\. ?a|(antwort )?verweigert|(das )?mochte ich (lieber )?nicht (sagen|beantworten)|(pas de|sans|aucune) reponse"
    rf"|((je )?(prefere ne pas|ne (souhaite|veux|veut) pas)|prefiero no|no quier[eo]|prefiro nao|nao quero?|preferisco non){_SAY_IT}"
    r"|(no|nao|non) (contest|respond|rispond)(a|e|eu)|(sin|sem) (respuesta|resposta)|nessuna risposta|geen (antwoord|opgave)|weigert|geweigerd"
    r"|(dat )?(wil|zeg) ik (dat )?(liever )?niet( zeggen)?|wil (dat )?niet zeggen",
    "not_applicable": r"(not applicable|inapplicable)(\W.{0,40})?|n/?a|does(n'?t| not) apply( to me)?|no basis for (evaluation|judg.{1,8})"
    r"|entfallt|nicht anwendbar|(ne s'applique|non applicable|sans objet|non concernee?)( pas)?|no (se )?(aplica|procede|corresponde)"
    r"|nao (se aplica|aplicavel)|non (applicabile|si applica|pertinente)|niet van toepassing|n\.?v\.?t",
}
_BEFORE = r"^\W*\d{1,4}(\s*[.):=-]\s*|\s+)|[(\[]((do not|don't) read|vol|spont)[^()\[\]]{0,60}[)\]]"  # the number of an option, and what only interviewers see
_AGREEMENT = re.compile(r"\b(dis)?agree\b", flags=re.IGNORECASE)


def cell_text(value: object, name: str, limit: str, at: Place) -> str:
    """A text without markup on one line; "" and an error if there is none. Chat markers lose their brackets."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        at.error(name, "missing" if value is None else f"must be text, not {kind_of(value)}")
        return ""
    text = plain_text(value) if name != "id" else one_line(value)
    if filled := re.search(r"\$\{[^{}]{1,80}\}", text) if name != "id" else None:
        at.error(name, f"{quoted(filled[0])} is filled in from another answer, which is not supported; write the text out")
    elif filled := re.search(r"(?i)<[a-z][^<>]{0,200}>", chat.neutralise(without_markup(str(value)))) if name != "id" else None:
        at.error(name, f"{quoted(filled[0])} is neither text nor known markup; write the text out, and for the sign itself write &lt;")
    if not text:
        at.error(name, "empty")
    elif len(text) > MOST_CHARACTERS[limit]:
        at.error(name, f"{len(text):,} characters; at most {MOST_CHARACTERS[limit]:,}")
    if chat.find_control_text(text):
        at.note(f"{name}: chat markers made harmless")
    return chat.neutralise(text)


def cell_number(value: object, name: str, at: Place) -> float | None:
    if value in (None, ""):
        return None
    if (number := number_in(value)) is None:
        at.error(name, f"{quoted(value)} is not a number")
    return number


def item_options(row: Mapping, at: Place) -> list[dict]:
    """The options of a row as dicts with label, code and kind; [] if there are none."""
    given = row.get("options")
    if given in (None, "", []):
        given = [value for name, value in row.items() if re.fullmatch(r"(?:option|choice|answer|response)[ _.-]?\d{1,2}", str(name).casefold())]
    if not given and row.get("codes") not in (None, "", []):
        given, row = _coded(listed_parts(row["codes"], "codes", at)), {**row, "codes": None}
        if not all(isinstance(value, dict) for value in given):
            at.error("codes", "stand there without options; write both into options, as 1=Yes|2=No")
            return []
    if not given:
        return []
    listed = _split(given) if isinstance(given, str) else given
    if not isinstance(listed, list):
        at.error("options", f"must be a list, or one text with | between the options, not {kind_of(given)}")
        return []
    if len(listed) > MOST_OPTIONS:  # an error, or left out: nobody looks at them one beside the other
        return [{"label": str(value)[:40], "code": "", "kind": "", "made_up": True} for value in listed]
    options = [_option(value, place, at) for place, value in enumerate(_coded(listed), start=1)]
    if codes := listed_parts(row.get("codes"), "codes", at):
        if len(codes) != len(options):
            at.error("codes", f"{len(codes)} codes for {len(options)} options")
        options = [o | {"code": one_line(code), "made_up": False} for o, code in zip(options, codes, strict=False)]
    options = _coded_by_labels(options, at)
    steps = [number_in(o["code"]) for o in options if not o["made_up"] and re.fullmatch(r"-?\d{1,4}", o["label"])]
    if len(steps) > 2 and steps == sorted(steps, reverse=True):
        at.note("numbers listed from the highest down: the last option counts as the highest")
    return _with_kinds(options, row.get("option_kinds"), at)


def _coded_by_labels(options: list[dict], at: Place) -> list[dict]:
    """Options without codes take the numbers that their labels begin with; "don't know" beside them gets a code that is no number."""
    made_up = [o["made_up"] for o in options]
    if not all(made_up):
        if any(made_up):
            at.error(f"options[{made_up.index(True)}]", "has no code, but other options have; give every option a code, or none")
        return options
    codes = number_codes([o["label"] for o in options], [bool(non_substance(o["label"])) for o in options])
    return [o | {"code": code, "made_up": False} for o, code in zip(options, codes, strict=True)] if codes else options


def listed_parts(value: object, name: str, at: Place) -> list:
    """A list, or the parts of one text; [] for nothing, and with an error for anything else."""
    listed = _split(value) if isinstance(value, str) else value
    if listed is not None and not isinstance(listed, list):
        at.error(name, f"must be a list, or one text with | between the parts, not {kind_of(value)}")
    return listed if isinstance(listed, list) else []


def _split(text: str) -> list:
    """The options in one cell: JSON, the name of a usual scale, "0-10" (or "10-0"), or a text with line ends, |, ; or " / " between them."""
    if text.strip()[:1] == "[":
        try:
            return parse_json(text)
        except ValueError:
            return [text]
    if slug_of(text) in SCALES:
        return list(SCALES[slug_of(text)])
    if steps := re.fullmatch(r"\s*(-?\d{1,3})\s*(?:-|–|to|\.\.)\s*(-?\d{1,3})\s*", text):
        first, last = int(steps[1]), int(steps[2])
        return list(range(first, last + 1) if first <= last else range(first, last - 1, -1))
    mark = next((mark for mark in ("\n", "|", ";", " / ") if mark in text.strip()), None)
    return [part.strip() for part in text.split(mark) if part.strip()] if mark else [text.strip()]


def _coded(listed: list) -> list:
    """Options written as "1=Yes" as objects with code and label, if all of them are and no code stands twice; else as they are."""
    form = r"\s*(-?\d{1,4})\s*(?:=|:\s)\s*(\S.*)|\s*(\w{1,12})\s*=\s*(\S.*)"
    parts = [re.fullmatch(form, value) if isinstance(value, str) else None for value in listed]
    pairs = [(match[1] or match[3], match[2] or match[4]) for match in parts if match]
    return [{"code": code, "label": label} for code, label in pairs] if len({code for code, _ in pairs}) == len(listed) else listed


def _option(value: object, place: int, at: Place) -> dict:
    """One option: a text, a number, or an object with label, code and kind."""
    where, code, kind, said, made_up = f"options[{place - 1}]", str(place), "", isinstance(value, dict) and "kind" in value, True
    if isinstance(value, dict):
        code, kind, made_up = str(value.get("code", value.get("value", place))), value.get("kind", ""), value.get("code", value.get("value")) is None
        value = value.get("label", value.get("text"))
    label = label_text(cell_text(value, where, "option", at))
    if kind not in OPTION_KINDS:
        at.error(where, f"unknown kind {quoted(kind)}; choose from {', '.join(OPTION_KINDS[1:])}")
    return {"label": label, "code": one_line(code), "kind": kind if kind in OPTION_KINDS else "", "said": said, "made_up": made_up}


def _with_kinds(options: list[dict], said: object, at: Place) -> list[dict]:
    """Mark the options that are no answer in substance: those that `said` names (labels or codes), else those with a usual wording. "none" marks none.

    An option that says its own kind keeps it, "" too.
    """
    own = [option.pop("said") for option in options]
    if isinstance(said, str) and slug_of(said) in ("none", "no"):
        return options
    named = {str(s).casefold() for s in listed_parts(said, "option_kinds", at)}
    if unknown := named - {o["label"].casefold() for o in options} - {o["code"].casefold() for o in options}:
        at.error("option_kinds", f"{quoted(min(unknown))} is no option of this item")
    marked = []
    for option, is_said in zip(options, own, strict=True):
        usual = "" if is_said else non_substance(option["label"])
        chosen = (usual or "dont_know") if {option["label"].casefold(), option["code"].casefold()} & named else "" if named else usual
        if chosen and not option["kind"]:
            at.note(f"option {quoted(option['label'])} read as {chosen}: no answer in substance")
        marked.append(option | {"kind": option["kind"] or chosen})
        if not (is_said or chosen or named) and _off_sequence(option, options):
            at.note(f"option {quoted(option['label'])} counts as an answer though its code is {option['code']}; if it is none, name it in option_kinds")
    return marked if any(not o["kind"] for o in marked) else options


def _off_sequence(option: dict, options: list[dict]) -> bool:
    """Whether a code looks like one for missing answers: negative beside codes from 0 on, or 7s, 8s or 9s behind a gap."""
    codes = [int(o["code"]) for o in options if not o["made_up"] and re.fullmatch(r"-?\d{1,4}", o["code"]) and o is not option]
    if option["made_up"] or option["label"] == option["code"] or len(codes) < 2 or not re.fullmatch(r"-\d{1,4}|7+|8+|9+[5-8]?", option["code"]):
        return False
    code = int(option["code"])
    return min(codes) >= 0 if code < 0 else not {code - 1, code + 1} & {*codes} or code > 76


def non_substance(label: str) -> str:
    """One of `OPTION_KINDS`: why an option with this label is no answer in substance, "" if it is one."""
    plain = unicodedata.normalize("NFKD", re.sub(_BEFORE, "", folded_text(label)))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign)).strip(" .!()[]")
    plain = re.sub(r"(?<=[^\W\d_]{3})\s*[(\[][^()\[\]]*$", "", plain)  # but the bracket of "NA (North America)" says what it means
    kinds = [_non_substance(part.strip(" .")) for part in re.split(r"[/,;(]|\b(?:or|oder|ou|o|of)\b", plain)]
    return _non_substance(plain) or (kinds[0] if all(kinds) else "")


def _non_substance(text: str) -> str:
    return next((kind for kind, pattern in _NOT_SUBSTANCE.items() if re.fullmatch(pattern, text)), "")


def rating_steps(row: Mapping, at: Place) -> list[dict]:
    """The options of a rating that only says its ends."""
    least, most = (cell_number(row.get(name), name, at) for name in ("least", "most"))
    if least is None and most is None:
        at.error("options", "missing; a rating needs its options (0-10), or its ends in the columns least and most")
        return []
    least, most = (1 if least is None else least), (5 if most is None else most)
    if least > most:
        at.error("least", f"{least:g} is above most, {most:g}; swap them, or write {least:g}-{most:g} into options to show them downwards")
        return []
    if not (float(least).is_integer() and float(most).is_integer() and 1 <= most - least < MOST_OPTIONS):
        at.error("least", f"a rating from {least:g} to {most:g} has no 2 to {MOST_OPTIONS} whole steps; call it a number")
        return []
    return [{"label": str(step), "code": str(step), "kind": "", "made_up": False} for step in range(int(least), int(most) + 1)]


def kind_by_options(labels: Sequence[str]) -> str:
    """What kind of item has these options: yes_no, agreement, likert (a usual scale), rating (numbers), else single; open without any."""
    substance = [label for label in labels if not non_substance(label)]
    if not labels:
        return "open"
    if label_set(substance) == label_set(SCALES["yesno"]):
        return "yes_no"
    if len(substance) > 2 and sum(bool(_AGREEMENT.search(label)) for label in substance) >= len(substance) - 1:
        return "agreement"
    if any(label_set(substance) == label_set(scale) for scale in SCALES.values()):
        return "likert"
    numbers = [number_in(label.split()[0].strip(".:-")) if label.split() else None for label in substance]
    return "rating" if len(substance) > 2 and all(n is not None for n in numbers) else "single"


# --- what people answered


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


def own_answer(value: object, item: Item, first: str = LABEL) -> str | None:
    """What a person answered, in words: the label of a code or label (`first` of them; of several: joined by |), else the text; None for an empty cell."""
    places = [(part, option_named(item, part, first)[0] if item.labels else None) for part in answer_parts(value, item)]
    return "|".join(part if place is None else item.labels[place] for part, place in places) or None


def is_option(value: str, item: Item) -> bool:
    """Whether a text is a label or a code of the item."""
    return bool(item.labels) and option_named(item, value)[0] is not None


def named_first(values: Iterable, item: Item, at: Place) -> str:
    """Whether a column of answers is in labels or in codes, where a text is one option's label and another one's code: what is only one of them decides."""
    unclear = not item.made_up and any(option_named(item, label, CODE)[0] != place for place, label in enumerate(item.labels))
    said = {folded_text(part) for value in values if value not in (None, "") for part in answer_parts(value, item)} if unclear else ()
    both = sorted(part for part in said if option_named(item, part)[0] != option_named(item, part, CODE)[0])
    if not both:
        return LABEL
    codes, labels = (sorted(part for part in said if option_named(item, part, other)[1] == how) for how, other in ((CODE, LABEL), (LABEL, CODE)))
    shown = f"{', '.join(map(quoted, both[:12]))} may be the label of one option or the code of another"
    if codes and labels:
        at.error(item.id, f"{shown}, and {quoted(codes[0])} is only a code, {quoted(labels[0])} only a label; write all answers as codes, or all as labels")
    at.note(f"{item.id}: {shown}; all were read as {'codes' if codes else 'labels'}")
    return CODE if codes else LABEL


class NumbersByPlace:
    """Numbers in people's own answers to an item whose options have no codes: they are read by place if all of them can be, and else none is."""

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
        if missing := sorted(n for n in self.unread if n < 0):
            at.error(item.id, f"answers {', '.join(map(str, missing[:5]))}: no option; leave the cells of missing answers empty")
        elif self.unread:
            seen = sorted(self.unread | {int(number) for number, _ in self.read})
            codes = seen if len(seen) == len(item.labels) else range(min(1, max(0, seen[0])), len(item.labels) + 1)
            remedy = "|".join(f"{code}={label}" for code, label in zip(codes, item.labels, strict=False))
            shown = ", ".join(map(str, seen[:12])) + (", ..." if len(seen) > 12 else "")
            at.error(item.id, f"answers {shown}, but the options have no codes; write their codes in the questionnaire, as options {quoted(remedy, 120)}")
        elif self.read:
            shown = ", ".join(f"{quoted(number)} as {quoted(item.labels[place])}" for number, place in sorted(self.read, key=lambda key: key[1])[:12])
            at.notes[f"{item.id}: its options have no codes, so numbers were read by their place: {shown}"] = self.read.total()
