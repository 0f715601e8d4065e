"""From a card and a question to token ids: messages, templates, the label mask, and the guard against injected control text.

One prompt builder serves training, evaluation and chat; `PROMPT_VERSION` and the template's hash are in every record.
The order system -> persona -> domain -> question is fixed: rows of one persona share their prefix, which is computed once.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

from jinja2 import TemplateError

from ..files import sha256

PROMPT_VERSION = "1"
SYSTEM = "Answer the survey as this person."
OPTIONS, BETWEEN = "\nOptions: ", " / "  # what stands before a closed question's options, and between two of them
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
EXAMPLES = 3  # answers of other people in a prompt with examples
CARD_ORDER = (  # field, how the card says it
    ("occupation", "{}"), ("education", "{}"), ("income_bracket", "{} income"), ("values", "values {}"), ("traits", "{}"), ("interests", "likes {}"),
)  # fmt: skip


def render_card(card: dict | str) -> str:
    """One paragraph for a persona card; fields that a card lacks are left out, a plain text is used as it is."""
    if isinstance(card, str):
        return card
    place = ", ".join(str(card[k]) for k in ("region", "country") if card.get(k))
    head = [str(card[k]) for k in ("gender", "age", "ethnicity") if card.get(k)] + [f"{card['area']} {place}" if card.get("area") else place]
    parts = [", ".join(h for h in head if h)]
    for field, form in CARD_ORDER:
        value = card.get(field)
        if value:
            parts.append(form.format(", ".join(map(str, value)) if isinstance(value, list | tuple) else value))
    text = "; ".join(p for p in parts if p) + "."
    return f"{text} {card['description']}" if card.get("description") else text


def user_text(card: dict | str, domain: str, question: str, options: tuple[str, ...] | list[str] | None) -> str:
    """The user message: persona, domain, question, and the options of a closed item."""
    choice = f"{OPTIONS}{BETWEEN.join(options)}" if options is not None and len(options) else ""
    return f"Persona: {render_card(card)}\nDomain: {domain}\nQuestion: {question}{choice}"


def messages(card: dict | str, domain: str, question: str, options, answer: str | None = None) -> list[dict[str, str]]:
    """The ChatML triplet of Algorithm 1 (without the assistant's part if `answer` is None)."""
    triplet = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user_text(card, domain, question, options)}]
    return triplet if answer is None else [*triplet, {"role": "assistant", "content": answer}]


def without_persona(triplet: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages without the persona's line: nobody is described."""
    system, user, *answer = triplet
    return [system, user | {"content": user["content"].split("\n", 1)[1]}, *answer]


def example_text(card: dict | str, question: str, options, answer: str) -> str:
    """Another person's answer as an example. Without the domain's line: what stands before that line is the part of the prompt that rows share."""
    choice = f"{OPTIONS}{BETWEEN.join(options)}" if options is not None and len(options) else ""
    return f"Persona: {render_card(card)}\nQuestion: {question}{choice}\nAnswer: {answer}"


def with_examples(triplet: list[dict[str, str]], question_id: str, examples: list[tuple[str, str]]) -> list[dict[str, str]]:
    """The messages with up to `EXAMPLES` of the `examples` (question id, text) in the system text, none of them on the question or of the person asked."""
    own = triplet[1]["content"].partition("\nDomain: ")[0] + "\nQuestion: "  # how an example of the person asked begins
    shown = [text for other, text in examples if other != question_id and not text.startswith(own)][:EXAMPLES]
    system = triplet[0] | {"content": "\n\n".join([triplet[0]["content"], "Other people answered like this.", *shown])}
    return [system, *triplet[1:]]


# --- the guard: text of personas, questions and answers must never become a control token or a role marker -------------------

CONTROL = re.compile(
    r"<\s*[|｜][^<>\n]{0,60}[|｜]\s*>"  # <|im_end|>, <|user|>, <｜Assistant｜>
    r"|<\s*(?:/\s*)?s\s*>|\[\s*(?:/\s*)?INST\s*\]|<<\s*(?:/\s*)?SYS\s*>>"  # </s>, [INST], <<SYS>>
    r"|\[\s*(?:/\s*)?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|SYSTEM_PROMPT|THINK|ARGS|CALL_ID|gMASK)\s*\]"
    r"|\[\s*\|[^\[\]\n]{0,60}\|\s*\]"  # [|user|]: EXAONE; above and below also GLM, Command, Nemotron, Baichuan, which only servers have
    r"|<\s*(?:/\s*)?(?:tool_calls?|tool_response|tools|think|unk|pad|bos|eos|start_of_turn|end_of_turn"
    r"|end_of_utterance|sop|eop|(?:BOS|EOS|UNK)_TOKEN|(?:extra_id|SPECIAL|reserved)_\d{1,4})\s*>",
    flags=re.IGNORECASE,
)
INVISIBLE = re.compile(  # drawn as nothing: joiners, direction marks, variation selectors, tags, soft hyphens, control characters but \t \n
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BRACKET = re.compile("[<\ufe64\uff1c\\[\ufe47\uff3b]")  # what NFKC folds to "<" or "[": every marker of CONTROL starts with one
_ROUNDS = 8  # of replacing markers one by one; text nested deeper than that loses all its opening brackets


def _fold(text: str) -> tuple[str, list[int]]:
    """`text` as a lenient tokenizer might see it (NFKC, invisible characters gone), and for each character where it came from."""
    folded, origin = [], []
    for i, character in enumerate(text):
        plain = "" if INVISIBLE.match(character) else character if character < "\x7f" else unicodedata.normalize("NFKC", character)
        folded.append(plain)
        origin += [i] * len(plain)
    return "".join(folded), origin


@cache
def _markers(control_strings: tuple[str, ...]) -> re.Pattern:
    """CONTROL plus the given strings, as they look once folded; the longest first."""
    own = sorted({f for c in control_strings if (f := _fold(c)[0].strip())}, key=lambda c: (-len(c), c))
    return re.compile("|".join([CONTROL.pattern, *map(re.escape, own)]), flags=re.IGNORECASE)


def _spans(text: str, control_strings: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """(start, end in `text`, folded marker) of every marker in `text`."""
    if not _BRACKET.search(text) and all(_BRACKET.match(c) for c in control_strings):
        return []
    folded, origin = _fold(text)
    return [(origin[m.start()], origin[m.end() - 1] + 1, m[0]) for m in _markers(control_strings).finditer(folded) if m[0]]


def find_control_text(text: str, control_strings: tuple[str, ...] = ()) -> list[tuple[int, str]]:
    """(position, marker) of everything in `text` that a chat template could take for a control token or role marker, in disguise or not."""
    return [(start, text[start:end]) for start, end, _ in _spans(text, control_strings)]


def neutralise(text: str, control_strings: tuple[str, ...] = ()) -> str:
    """Make `text` harmless: markers, in disguise or not, and `control_strings` lose their brackets (`<|im_end|>` becomes `(im_end)`). Idempotent."""
    for _ in range(_ROUNDS):  # replacing one marker may join the halves of another
        spans = _spans(text, control_strings)
        if not spans:
            return text
        for start, end, marker in reversed(spans):
            text = text[:start] + _harmless(marker, control_strings) + text[end:]
    text = _BRACKET.sub("(", text)
    while spans := _spans(text, control_strings):
        for start, end, _ in reversed(spans):
            text = text[:start] + text[end:]
    return text


def _harmless(marker: str, control_strings: tuple[str, ...]) -> str:
    """What stands in a marker's place: its words in round brackets, or nothing if the words themselves are a control string."""
    words = "(" + re.sub(r"[^\w ]+", "", marker).strip() + ")"
    return "" if _markers(control_strings).search(words) else words


@dataclass(frozen=True)
class Encoded:
    """Token ids of one row: `shared` (system and persona: equal for all rows of a persona), `rest` of the prompt, and the `answer`."""

    shared: list[int]
    rest: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        """All ids in order."""
        return self.shared + self.rest + self.answer

    @property
    def labels(self) -> list[int]:
        """-100 for the prompt, the ids themselves for the assistant's tokens (stop token included)."""
        return [-100] * (len(self.shared) + len(self.rest)) + self.answer


def template_of(tokenizer) -> str:
    """The tokenizer's own chat template, or the standard ChatML fallback if it has none (Algorithm 1, lines 6-10)."""
    return tokenizer.chat_template or CHATML


def template_hash(tokenizer) -> str:
    """sha256 (12 digits) of prompt version, system text and template: rows with the same hash were prompted alike."""
    return sha256("\x00".join((PROMPT_VERSION, SYSTEM, template_of(tokenizer))))[:12]


def _apply(tokenizer, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
    return tokenizer.apply_chat_template(turns, chat_template=template_of(tokenizer), tokenize=False, add_generation_prompt=add_generation_prompt)


_KEEPS_SYSTEM: dict[str, bool] = {}  # by template


def keeps_system(tokenizer) -> bool:
    """Whether the template shows the system message both in a prompt and in training text.

    Mistral's older templates refuse one; that of v0.3 drops it as soon as an answer follows, and with it what the user turn relies on.
    """
    template = template_of(tokenizer)
    if template not in _KEEPS_SYSTEM:
        toy = [{"role": role, "content": f"the {role} speaks"} for role in ("system", "user", "assistant")]
        try:
            texts = _apply(tokenizer, toy[:2], True), _apply(tokenizer, toy, False)
        except TemplateError:
            texts = ("",)
        _KEEPS_SYSTEM[template] = all(toy[0]["content"] in text for text in texts)
    return _KEEPS_SYSTEM[template]


def render(tokenizer, triplet: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
    """The template applied to messages whose contents went through the guard; text, not ids.

    Where the template does not keep the system message it opens the user's turn. Where it makes the assistant start to think (R1) that is cut:
    the training text has no such opening, and a survey answer needs no reasoning.
    """
    controls = tuple(t for t in tokenizer.all_special_tokens if t)
    turns = [{"role": m["role"], "content": neutralise(m["content"], controls)} for m in triplet]
    if turns[0]["role"] == "system" and not keeps_system(tokenizer):
        turns = [{"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}, *turns[2:]]
    text = _apply(tokenizer, turns, add_generation_prompt)
    return text.removesuffix(THINK) if add_generation_prompt else text


def answer_lead(tokenizer) -> str:
    """What the template puts between the prompt and the answer: nothing, or a space (then an answer's first token differs)."""
    toy = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    prompt, full = render(tokenizer, toy[:2], add_generation_prompt=True), render(tokenizer, toy, add_generation_prompt=False)
    return full[len(prompt) :].partition("assistant")[0]


def asked(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The turns up to the question that is to be answered: all but the answer, if there is one. Earlier questions and answers may stand before it."""
    return turns[:-1] if turns[-1]["role"] == "assistant" else turns


@lru_cache(maxsize=16)
def line_before(tokenizer) -> tuple[str, int]:
    """(a line end, its tokens) for a tokenizer that puts a space before whatever it is given (Llama, Mistral): a text behind it gets none; else ("", 0)."""
    ids, two = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("\n", "\n\n"))
    return ("\n", len(ids)) if tokenizer.convert_ids_to_tokens(ids)[0] == "▁" and two[: len(ids)] == ids else ("", 0)


def text_ids(tokenizer, text: str, *, behind: bool = True) -> list[int]:
    """Ids of a part of a text, as they are in the whole; `behind`: another part stands before it."""
    before, count = line_before(tokenizer) if behind else ("", 0)
    return tokenizer(before + text, add_special_tokens=False)["input_ids"][count:] if text else []


def encode_prompt(tokenizer, triplet: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Ids of (shared prefix up to and including the persona's line, rest of the prompt), each encoded separately."""
    text = render(tokenizer, asked(triplet), add_generation_prompt=True)
    cut = text.find("\nDomain: ")
    cut = cut if cut >= 0 else max(0, text.find("Domain: "))  # nobody is described, and the template opens the user's turn without a line end
    head, tail = text[:cut], text[cut:]
    ids = [text_ids(tokenizer, head, behind=False), text_ids(tokenizer, tail, behind=bool(head))]
    bos = tokenizer.bos_token_id
    if bos is not None and tokenizer.bos_token and not text.startswith(tokenizer.bos_token):
        ids[0] = [bos, *ids[0]]
    return ids[0], ids[1]


def encode(tokenizer, triplet: list[dict[str, str]]) -> Encoded:
    """Encode a full triplet; the answer ends with the template's stop. Raises ValueError if the template does not keep the prompt in front of the answer."""
    prompt = render(tokenizer, asked(triplet), add_generation_prompt=True)
    full = render(tokenizer, triplet, add_generation_prompt=False)
    if not full.startswith(prompt):
        raise ValueError(f"the chat template of {tokenizer.name_or_path} does not keep the prompt as a prefix of the training text")
    shared, rest = encode_prompt(tokenizer, triplet)
    answer = text_ids(tokenizer, full[len(prompt) :].rstrip("\n"))
    if answer[-1] != tokenizer.eos_token_id:  # the ChatML fallback's end marker is plain text: only the stop token ends generation
        answer.append(tokenizer.eos_token_id)
    return Encoded(shared, rest, answer)


THINK = "<think>\n"
_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)|\A.*?</think>", flags=re.DOTALL | re.IGNORECASE)  # a block may lack its end or its beginning


_OBEYED = re.compile(r"\x1b\[[0-?]{0,32}[ -/]{0,8}[@-~]|[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # colours and cursor moves, other control characters
_HALF = re.compile(r"[\ud800-\udfff]")  # of a character: no file can hold it


def has_reasoning(text: str) -> bool:
    """Whether generated text holds a reasoning block, finished or not."""
    return _REASONING.search(text) is not None


def clean_answer(text: str) -> str:
    """What a reader sees of generated text: reasoning blocks, control text and control characters removed, white space folded; half characters replaced."""
    text = CONTROL.sub(" ", _REASONING.sub(" ", text))
    return re.sub(r"\s+", " ", _OBEYED.sub("", _HALF.sub("\ufffd", text))).strip()
