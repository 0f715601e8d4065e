"""A prompt as the model gets it, token by token: which part of the conversation each token belongs to, and which are control tokens."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from . import chat

ROLES = {  # role -> what it is; the widget's style sheet has a colour for each
    "template": "template", "system": "instruction", "persona": "persona card", "domain": "domain", "question": "question", "options": "options",
}  # fmt: skip
CONTINUED = "‥"  # one more token of the character before it: an emoji takes four
_PARTS = re.compile(  # each part goes up to the first beginning of the next one
    r"\A(?P<persona>Persona: (?:(?!\nDomain: ).)*+)"
    r"(?:(?P<domain>\nDomain: (?:(?!\nQuestion: ).)*+)(?P<question>\nQuestion: (?:(?!\nOptions: ).)*+)(?P<options>\nOptions: .*)?)?\Z",
    re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """One token: its text, the part it belongs to (a key of `ROLES`), whether it is a control token."""

    text: str
    role: str
    control: bool


def spans(tokenizer, text: str, messages: list[dict[str, str]]) -> list[tuple[int, int, str]]:
    """(start, end, role) of the parts of a rendered prompt that are not template, in order."""
    controls = tuple(t for t in tokenizer.all_special_tokens if t)
    system, user = (chat.neutralise(m["content"], controls).strip() for m in messages[:2])
    places, at = [], text.find(system)
    if at >= 0:
        places.append((at, at + len(system), "system"))
    start = text.find(user, at + len(system) if at >= 0 else 0)
    if start >= 0 and (parts := _PARTS.match(user)):
        places += [(start + parts.start(role), start + parts.end(role), role) for role in parts.groupdict() if parts[role]]
    return places


def prompt_tokens(tokenizer, messages: list[dict[str, str]], markers: tuple[str, ...] = ()) -> list[Token]:
    """Every token of the prompt for `messages` (system, user), exactly the ids that `chat.encode_prompt` gives to the model.

    Control tokens are the tokenizer's special ones and, in the template's own text, whatever lies in one of the family's `markers`
    (TinyLlama and Llama-2 open a role with plain text). Raises: ValueError if this view and the prompt that is sent ever differ.
    """
    text = chat.render(tokenizer, messages[:2], add_generation_prompt=True)
    shared, rest = chat.encode_prompt(tokenizer, messages)
    cut = max(0, text.find("\nDomain: "))
    places = spans(tokenizer, text, messages)
    special = set(tokenizer.all_special_ids)
    marked = {i for m in re.finditer("|".join(map(re.escape, markers)), text) for i in range(*m.span())} if markers else set()
    tokens, ids = [], []
    for begin, part in ((0, text[:cut]), (cut, text[cut:])):
        line, count = chat.line_before(tokenizer) if begin else ("", 0)
        encoded = tokenizer(line + part, add_special_tokens=False, return_offsets_mapping=True) if part else {"input_ids": [], "offset_mapping": []}
        reached = 0
        for number, place in list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))[count:]:
            start, end = (p - len(line) for p in place)
            role = next((r for a, b, r in places if a <= begin + start < b), "template")
            control = number in special or role == "template" and begin + start in marked
            tokens.append(Token(part[max(start, reached) : end] or (CONTINUED if end > start else ""), role, control))
            reached = max(reached, end)
            ids.append(number)
    if ids != shared + rest:
        lead = shared[: len(shared) + len(rest) - len(ids)]
        if lead + ids != shared + rest:
            raise ValueError("the prompt shown is not the prompt sent")
        tokens = [Token(tokenizer.decode([i]), "template", True) for i in lead] + tokens
    return tokens


def stretches(tokens: list[Token]) -> list[tuple[str, int, str]]:
    """(role, number of tokens, text) of each stretch of one role: tokens apart by │, control tokens in ⟦ ⟧, line ends and tabs as signs."""
    written = ((role, _written(list(stretch))) for role, stretch in groupby(tokens, key=lambda t: t.role))
    return [(role, len(texts), "│".join(texts)) for role, texts in written]


def compare_prompts(first: list[Token], second: list[Token], *, around: int = 4) -> list[tuple[str, str]]:
    """Where two prompts differ, token by token: (sign, tokens) with "-" only in the first, "+" only in the second, " " in both.

    Of a stretch that both have, the `around` tokens next to a difference are shown, and how many are left out. Tokens are written as in `stretches`.
    """
    texts, lines = ([t.text for t in tokens] for tokens in (first, second)), []
    steps = SequenceMatcher(None, *texts, autojunk=False).get_opcodes()
    for number, (kind, a, b, c, d) in enumerate(steps):
        if kind == "equal":
            head, tail = around if number else 0, around if number < len(steps) - 1 else 0
            middle = b - a - head - tail
            both = _written(first[a:b]) if middle <= 0 else [*_written(first[a : a + head]), f"[{middle} more]", *_written(first[b - tail : b])]
            lines.append((" ", "│".join(both)))
        else:
            lines += [(sign, "│".join(_written(part))) for sign, part in (("-", first[a:b]), ("+", second[c:d])) if part]
    return lines


def _written(tokens: list[Token]) -> list[str]:
    return [f"⟦{visible(t.text)}⟧" if t.control else visible(t.text) for t in tokens]


def visible(text: str) -> str:
    """`text` with line ends and tabs as signs and every character that is drawn as nothing left out."""
    return chat.INVISIBLE.sub("", text).replace("\n", "↵").replace("\t", "⇥")
