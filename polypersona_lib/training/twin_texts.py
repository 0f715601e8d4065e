"""What the nano twins read before anybody fine-tunes them.

What a big model knows of people from its pre-training, a twin has to get from somewhere: its base reads *chats* (survey answers, nobody
described), *talks* (interviews that open with somebody introducing themselves in prose) and *notes* (a line on a respondent, a question, how
the answer begins). All respondents are outside the 433, no base reads a persona card (the tokenizer's vocabulary alone was counted on some), no chat
describes anybody, no answer of the data set occurs, and a fifth of the phrase patterns is held out.

Measured: a base that has read this takes the option from a persona card before any tuning.
"""

import random

from ..progress import track
from ..prompts import chat
from ..world import personas
from ..world.questions import DOMAINS, Question, load_questions
from ..world.respondents import Answer, Speaker, held_out_patterns

TWIN_SEED = 20251216
_RESPONDENTS = 6000  # described in talks and notes; as many others answer in chats
TALK_ITEMS, CHAT_ITEMS = 28, 6  # questions a respondent
SEQUENCE = 384  # tokens of a packed sequence
IGNORED = -100
Interview = tuple[dict, list[tuple[Question, Answer]]]  # a card and what its owner answered
Text = tuple[list[int], list[int]]  # token ids, labels (IGNORED where nothing is to be learnt)


def interviews(taken: set[str], *, described: bool, count: int = _RESPONDENTS) -> list[Interview]:
    """Answers of respondents who are in no data set, drawn with a seed of their own; no held-out pattern, and none of the answers in `taken`.

    `described` respondents are those of talks and notes; the others answer fewer questions.
    """
    held_out, kind = held_out_patterns(), "talk" if described else "chat"
    questions, speaker, rng = list(load_questions().values()), Speaker(held_out=held_out), random.Random(f"{kind}|{TWIN_SEED}")
    talks = []
    for i in track(range(count), f"writing {kind}s"):
        card = {"persona_id": f"{kind}{i:04d}"} | personas.draw_persona(rng)
        said = [(q, speaker.answer(card, q, seed=TWIN_SEED)) for q in rng.sample(questions, TALK_ITEMS if described else CHAT_ITEMS)]
        talks.append((card, [(q, a) for q, a in said if a.text not in taken and held_out.isdisjoint(a.path)]))
    return talks


def introduction(card: dict, rng: random.Random) -> str:
    """Somebody introduces themselves: five sentences of prose in any order."""
    pick = rng.choice
    sentences = [
        pick(("I'm {age}, {job} in {place}.", "I am {age} years old, {job} from {place}.", "I turned {age} this year and am {job} in {place}.")).format(
            age=card["age"], job=personas.article(card["occupation"]), place=f"{card['area']} {card['region']}"
        ),
        pick(("People call me {} and {}.", "I would say I am {} and {}.", "My friends find me {}, and {} too.", "By nature I am {}, also {}.")).format(
            *rng.sample(card["traits"], 2)
        ),
        pick(("What matters to me is {} and {}.", "I care about {} and {}.", "With me {} and {} come first.")).format(*rng.sample(card["values"], 2)),
        pick(("I enjoy {} and {}.", "In my free time it is {} or {}.", "My hobbies are {} and {}.")).format(*rng.sample(card["interests"], 2)),
        pick(("I have {edu} and {income} income.", "My income is {income}, my schooling {edu}.")).format(edu=card["education"], income=card["income_bracket"]),
    ]
    rng.shuffle(sentences)
    return " ".join(sentences)


def mention(card: dict, rng: random.Random) -> str:
    """A few words on somebody, as an interviewer jots them down; which things are mentioned, and in what order, varies."""
    said = [
        (0.85, " and ".join(rng.sample(card["traits"], 2))), (0.5, "for {} and {}".format(*rng.sample(card["values"], 2))),
        (0.6, f"{card['age']} years old"), (0.4, f"{card['income_bracket']} income"), (0.4, card["education"]),
        (0.3, "likes {} and {}".format(*rng.sample(card["interests"], 2))), (0.3, card["occupation"]),
    ]  # fmt: skip
    kept = [text for share, text in said if rng.random() < share]
    rng.shuffle(kept)
    return ", ".join(kept) or card["gender"]


class Writer:
    """Turns interviews into pre-training text of one family's tokenizer; only answers carry labels.

    Every answer starts as in the family's chat template, on a new line or after a space: "Agree" there is another token than at a line's start.
    """

    def __init__(self, tokenizer):
        self.tokenizer, self.known, self.lead = tokenizer, {}, chat.answer_lead(tokenizer)
        self.colon = ":" if self.lead else ":\n"

    def ids(self, text: str) -> list[int]:
        """Token ids without special tokens; texts that come again are looked up."""
        if text not in self.known:
            self.known[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.known[text]

    def chat(self, question: Question, answer: Answer) -> Text:
        """A chat in the family's template in which nobody is described."""
        triplet = chat.messages("", DOMAINS[question.domain], question.text, question.options, answer.text)
        row = chat.encode(self.tokenizer, chat.without_persona(triplet))
        return row.ids, row.labels

    def talk(self, card: dict, talk: list[tuple[Question, Answer]], rng: random.Random) -> Text:
        """An interview after an introduction; three in ten closed questions are answered with the option alone."""
        ids = [*self.ids("Interview. "), *self.ids(introduction(card, rng)), *self.ids("\n")]
        labels = [IGNORED] * len(ids)
        for question, answer in talk:
            asked = self.ids(f"\n{_asked(question, True)}\nAnswer{self.colon}")
            said = self.ids(self.lead + (f"{question.options[answer.option]}.\n" if question.options and rng.random() < 0.3 else f"{answer.text}\n"))
            ids, labels = ids + asked + said, labels + [IGNORED] * len(asked) + said
            if len(ids) > SEQUENCE:
                break
        stop = [self.tokenizer.eos_token_id]
        return ids + stop, labels + stop

    def note(self, card: dict, question: Question, answer: Answer, rng: random.Random) -> Text:
        """A line on somebody, before or after a question, and how their answer begins: the option, or four words."""
        asked, kind = _asked(question, rng.random() < 0.6), rng.random()
        if kind < 0.3:
            text = f"Note. {mention(card, rng)}. {asked}\nAnswer{self.colon}"
        elif kind < 0.55:
            text = f"Note. {asked}\n{mention(card, rng)} answers{self.colon}"
        else:
            text = f"Note. {introduction(card, rng)}\n{asked}\nAnswer{self.colon}"
        if question.options:
            first = (answer.text.partition(". ")[0].rstrip(".") if answer.label_led else question.options[answer.option]) + "."
        else:
            first = " ".join(answer.text.split()[:4])
        ids, said = self.tokenizer(text, add_special_tokens=False)["input_ids"], self.ids(self.lead + first)
        return ids + said, [IGNORED] * len(ids) + said

    def sequences(self, talks: list[Interview], chats: list[Interview], rng: random.Random):
        """Packed sequences of `SEQUENCE` tokens without end: a talk, four chats of somebody else, a talk..."""
        ids, labels = [], []
        while True:
            for (card, talk), (_, answers) in zip(rng.sample(talks, len(talks)), rng.sample(chats, len(chats)), strict=True):
                for more_ids, more_labels in (self.talk(card, rng.sample(talk, len(talk)), rng), *(self.chat(q, a) for q, a in answers[:4])):
                    ids, labels = ids + more_ids, labels + more_labels
                while len(ids) >= SEQUENCE:
                    yield ids[:SEQUENCE], labels[:SEQUENCE]
                    ids, labels = ids[SEQUENCE:], labels[SEQUENCE:]

    def notes(self, talks: list[Interview], rng: random.Random):
        """Notes without end, each on one answer; one in five on an open one."""
        kinds = [[(card, q, a) for card, talk in talks for q, a in talk if (q.type == "open") is wanted] for wanted in (True, False)]
        while True:
            yield self.note(*rng.choice(kinds[rng.random() < 0.8]), rng)


def _asked(question: Question, with_options: bool) -> str:
    return f"Question: {question.text}" + (f"\nOptions: {' / '.join(question.options)}" if question.options and with_options else "")


def longest_overlap(talks: list[Interview], answers: list[str]) -> tuple[int, str, float]:
    """(words of the longest stretch that an answer shares with the pre-training text, that stretch, share of answers that occur there whole)."""
    seen = [a.text.lower().split() for _, talk in talks for _, a in talk]
    wanted = [a.lower().split() for a in answers]

    def shared(n: int) -> set:
        ours = {tuple(w[i : i + n]) for w in wanted for i in range(len(w) - n + 1)}
        return {g for w in seen for i in range(len(w) - n + 1) if (g := tuple(w[i : i + n])) in ours}

    low, high, longest = 0, max(map(len, wanted)) + 1, set()
    while high - low > 1:
        middle = (low + high) // 2
        if some := shared(middle):
            low, longest = middle, some
        else:
            high = middle
    whole = {" ".join(w) for w in seen}
    return low, " ".join(min(longest)) if longest else "", sum(" ".join(w) in whole for w in wanted) / len(wanted)
