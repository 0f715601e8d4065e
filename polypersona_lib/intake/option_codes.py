"""What data call the options of an item: codes that a source gave, whole numbers that the labels begin with, else numbers by place, which are made up.

One lookup for people's answers, conditions, tables of answers and panels. A label counts before a code, but in the conditions of survey tools, which are
in codes, and in a column of answers that only the codes explain (`item_options.named_first`).
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_NUMBER = re.compile(r"\s*([-\u2212]?\d{1,4})(?![\w%])(?![.,]\d)(?!\s*(?:[-\u2013\u2014/]|to\b|or\b|and\b)\s*\d)")  # not the "18" of "18-24"
_APOSTROPHES, _QUOTES, _DASHES = "\u2018\u2019\u00b4\u02bc`", "\u201c\u201d", "\u2010\u2011\u2012\u2013\u2014\u2212"
_SIGNS = str.maketrans({sign: plain for signs, plain in ((_APOSTROPHES, "'"), (_QUOTES, '"'), (_DASHES, "-")) for sign in signs})
LABEL, CODE = "label", "code"


def number_codes(labels: Sequence[str], without: Sequence[bool]) -> tuple[str, ...]:
    """The different whole numbers that the labels are or begin with ("0 (not at all)") as codes; () if they do not.

    Args: without: which labels may lack a number ("don't know"); such a label's code is no number.
    """
    numbers = [_NUMBER.match(label) for label in labels]
    words = [re.sub(r"[\W_]+", "_", label.casefold()).strip("_") or "none" for label in labels]
    codes = [match[1].replace("\u2212", "-") if match else word for match, word in zip(numbers, words, strict=True)]
    all_there = all(match or may_lack for match, may_lack in zip(numbers, without, strict=True))
    return tuple(codes) if all_there and sum(map(bool, numbers)) > 1 and len({*codes}) == len(codes) else ()


def made_up_codes(labels: Sequence[str]) -> tuple[str, ...]:
    """Numbers by place; names that are no numbers where such a number would be the first one of another option ("Less than 1", "1", "2")."""
    first = [re.match(r"\s*(\d{1,4})(?!\d)", label) for label in labels]
    if any(match and 1 <= int(match[1]) <= len(labels) and int(match[1]) != place for place, match in enumerate(first, start=1)):
        return tuple(f"option_{place}" for place in range(1, len(labels) + 1))
    return tuple(str(place) for place in range(1, len(labels) + 1))


def folded_text(value: object) -> str:
    """A label or a code for comparison: whatever the case, the blanks, the form of its quotation marks and dashes, and ".0" behind a number."""
    text = " ".join(str(value).translate(_SIGNS).split()).replace(" / ", "/").casefold()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


@lru_cache(maxsize=4096)
def _names(labels: tuple[str, ...], codes: tuple[str, ...]) -> tuple[tuple[str, dict[str, int]], ...]:
    """(what names an option, what may be written -> its position), in the order in which they count. A folded text that two options share is none."""
    tables = []
    for how, names in ((LABEL, labels), (CODE, codes)):
        folded = [folded_text(name) for name in names]
        times = Counter(folded)
        table = {text: place for place, text in enumerate(folded) if times[text] == 1}
        tables.append((how, table | {name: place for place, name in enumerate(names)}))
    return tuple(tables)


def option_named(item, said: object, first: str = LABEL) -> tuple[int | None, str]:
    """(position of the option that a text or number names, `LABEL` or `CODE`); (None, "") if it names none. `first`: which counts before the other."""
    labels = tuple(getattr(item, "labels", ()) or item.options)
    codes = tuple(getattr(item, "codes", ())) or made_up_codes(labels)
    text = str(said).strip()
    for how, table in _names(labels, codes)[:: 1 if first == LABEL else -1]:
        place = table.get(text, table.get(folded_text(text)))
        if place is not None:
            return place, how
    return None, ""
