"""One normal form for answers and option labels: lower-case words without accents, and the punctuation between them. Every step takes linear time."""

import html
import json
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

_MARKS = str.maketrans({
    "’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "−": "-", "‐": "-", "‑": "-", "…": "...", "→": " -> ", "。": ". ",
    "、": ", ", "،": ", ",
    "؟": "? ", "·": " ", "•": " ", "¿": " ", "¡": " ", "«": '"', "»": '"', "「": '"', "」": '"',
})  # fmt: skip
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufe0f\ufeff\U0001f3fb-\U0001f3ff]")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")  # scripts that put no blank between words
_WORD = re.compile(
    r"(?<![\w.,)-])[+-]?[$£€¥]?\d+(?:[.,]\d+)*(?:k\b)?|\d+(?:[.,]\d+)*(?:k\b)?"  # a number, with its sign where nothing stands before it
    r"|[^\W\d_]+(?:'[^\W\d_]+)*|(?<=\d)\+|(?<=\d)%"  # a word, "65+", "30%"
    r"|(?P<symbol>(?<=[^\W\d_])[+#]+|(?P<sign>[^\w\s\x00-\x7f])(?P=sign)*)"  # "C++", "C#", a run of one symbol
)
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")  # "40 000"
_TIMES = re.compile(r"(?<![\d.,])(\d{1,9}(?:[.,]\d{1,3})?)[ -]?(thousand|grand|million|(?<= )k)\b")
_END = re.compile(r"[.!?]['\")\]]*\s|[!?]|\n")
_SHORT = {  # contractions that are not "n't"; a possessive ("society's") stays one word
    "i'm": "i am", "i'd": "i would", "i've": "i have", "i'll": "i will", "it's": "it is", "that's": "that is", "there's": "there is", "we're": "we are",
    "they're": "they are", "we'd": "we would", "we've": "we have", "can't": "can not", "cannot": "can not", "won't": "will not", "dont": "do not",
    "shan't": "shall not",
    "wasnt": "was not", "isnt": "is not", "cant": "can not", "dunno": "do not know", "im": "i am", "favour": "favor", "unfavourable": "unfavorable",
    "favourable": "favorable",
}  # fmt: skip
_ANSWER_KEYS = ("answer", "final_answer", "choice", "option", "selected_option", "selected", "selection", "response", "label", "rating", "stance", "value",
                "score")  # fmt: skip
_KEY = re.compile(r'"(?:' + "|".join(_ANSWER_KEYS) + r')"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(-?\d+(?:\.\d+)?))', re.IGNORECASE)
_TAGGED = re.compile(r"<(?:final_)?answer>([^<]*)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}")


@dataclass(frozen=True)
class Words:
    """The words of a text and what stands between them: `gaps[i]` before word i, `gaps[-1]` after the last; `levels`: 3 ends a sentence, 2 a clause, else 0."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]
    levels: tuple[int, ...]

    def sentences(self) -> list[tuple[int, int]]:
        """(first word, word after the last) of each sentence."""
        cuts = [0, *(i for i in range(1, len(self.words)) if self.levels[i] == 3), len(self.words)]
        return [(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]


def plain(text: str) -> str:
    """Lower case, straight quotes and dashes, no markdown, one space."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKS).lower()
    return " ".join(re.sub(r"[*_`#>~\[\]]+", " ", text).split()).strip(" \"'-")


def first_sentences(text: str, count: int = 1) -> str:
    """The first `count` sentences of `text` (cut after . ! or ? and white space, or at a line break)."""
    parts, start, text = [], 0, text.strip()
    for match in re.finditer(r"[.!?][\"')]*\s+|\n+", text):
        if text[start : match.end()].strip():
            parts.append(text[start : match.end()].strip())
        start = match.end()
        if len(parts) == count:
            return " ".join(parts)
    return " ".join([*parts, text[start:]]).strip()


def normal(text: str) -> str:
    """`text` in the form that is compared: compatibility characters, straight marks, case and Latin accents folded, no markdown, no invisible characters."""
    text = unicodedata.normalize("NFKC", text)
    text = _INVISIBLE.sub("", text.translate(_MARKS)).casefold()
    if not text.isascii():
        letters, latin = [], False
        for letter in unicodedata.normalize("NFD", text):
            if unicodedata.combining(letter):
                if latin:
                    continue
            else:
                latin = "a" <= letter <= "z"
            letters.append(letter)
        text = unicodedata.normalize("NFC", "".join(letters))
    return re.sub(r"[*_`~]|(?<![^\W\d_])#", "", text).replace("e-mail", "email")


def canonical_number(text: str) -> str:
    """A number as one spelling: "$30,000", "€30.000" and "30k" -> "30000", "4.0" and "4,0" -> "4", "+1" -> "1"; what is no number stays as it is."""
    digits = text.lstrip("+-$£€¥").removesuffix("k")
    if len(digits) > 15:
        return text
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits):
        digits = digits.replace(",", "")
    elif re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}|\d{1,3}\.000", digits) or ("€" in text and re.fullmatch(r"\d{1,3}\.\d{3}", digits)):
        digits = digits.replace(".", "")
    elif re.fullmatch(r"\d+,\d+", digits):
        digits = digits.replace(",", ".")
    elif not re.fullmatch(r"\d+(?:\.\d+)?", digits):
        return text
    value = float(digits) * (-1 if text.startswith("-") else 1) * (1000 if text.endswith("k") else 1)
    return str(int(value)) if value == int(value) else str(value)


def _spelled(word: str) -> list[str]:
    """The words of one match."""
    if word[-1].isdigit() or (word[-1] == "k" and word[-2:-1].isdigit()):
        return [canonical_number(word)]
    if word in "+%":
        return ["plus" if word == "+" else "percent"]
    if word in _SHORT:
        return _SHORT[word].split()
    if word.endswith("n't"):
        return [word[:-3], "not"]
    return list(word) if not word.isascii() and _UNSPACED.search(word) else [word]


def _level(gap: str, before: str) -> int:
    """3 where a sentence ends, 2 where a clause ends, else 0; a full stop without a blank ends a clause, but not after one letter ("U.S.")."""
    if _END.search(gap):
        return 3
    return 2 if (gap[:1] == "." and len(before) > 1) or " -" in gap or "->" in gap or "--" in gap or any(mark in gap for mark in ",;:()|/\\=[]{}!?&") else 0


def _whole_numbers(text: str) -> str:
    """ "40 000", "60 thousand" and "1.2 million" as one number each."""
    text = _GROUPED.sub(lambda match: match[0].replace(" ", ""), text)
    return _TIMES.sub(lambda m: f"{float(m[1].replace(',', '.')) * (1e6 if m[2] == 'million' else 1e3):.0f}", text)


def split_words(text: str, symbols: Collection[str] = ()) -> Words:
    """`text` as `Words`. Symbols (pictographs, stars) count as words if they are in `symbols`, else as punctuation."""
    text, words, gaps, end = _whole_numbers(normal(text)), [], [], 0
    for match in _WORD.finditer(text):
        word = match[0]
        if match["symbol"] and word not in symbols:
            continue
        spelled = _spelled(word)
        gaps += [text[end : match.start()], *[""] * (len(spelled) - 1)]
        words += spelled
        end = match.end()
    gaps.append(text[end:])
    return Words(tuple(words), tuple(gaps), (0, *(_level(gap, word) for gap, word in zip(gaps[1:], words, strict=True))) if words else (3,))


def letter_of(part: Words) -> str:
    """The letter that a label brings along ("A. Create jobs", "(b) No", "[C] Both"), "" without one."""
    words = part.words
    marked = len(words) > 1 and len(words[0]) == 1 and words[0].isalpha() and any(mark in part.gaps[1] for mark in ".):]")
    return words[0] if marked else ""


def symbols_of(text: str) -> set[str]:
    """The symbol runs of a label."""
    return {match[0] for match in _WORD.finditer(normal(text)) if match["symbol"]}


def unwrapped(text: str) -> str | list[str]:
    """What a generator wrapped as its answer: the text behind its thoughts, the value of its JSON object, tag or box; several values as a list."""
    if "<think>" in text or "</think>" in text:
        text = text.rpartition("</think>")[2] if "</think>" in text else ""
    if tagged := _TAGGED.findall(text) or _BOXED.findall(text):
        return tagged[-1]
    text = html.unescape(text).strip()
    bare = text.strip("` \n").removeprefix("json").strip() if text.startswith("```") else text
    if bare[:1] in ("{", "["):
        value = _json_answer(bare)
        if value is not None:
            return value
    if keyed := _KEY.search(text):
        return keyed[1] if keyed[1] is not None else keyed[2]
    return text


def _json_answer(text: str) -> str | list[str] | None:
    """The answer in a JSON text; None if it is no JSON or says none."""
    try:
        value = json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        folded = {str(key).casefold().replace(" ", "_"): inner for key, inner in value.items()}
        keys = [key for key in _ANSWER_KEYS if key in folded]
        value = folded[keys[0]] if keys else next(iter(folded.values())) if len(folded) == 1 else None
    if isinstance(value, list):
        return [str(inner) for inner in value if isinstance(inner, str | int | float)] or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, str | int | float) else None
