"""Put a questionnaire to people by one answerer: each item alone, or the whole questionnaire as one conversation.

Closed items are asked for the probability of each option, in both orders of the options, and one option is drawn; words are written beside it if wanted.
A row's random numbers follow from the seed and the row's id (person, item, repetition), so neither order nor sharding changes an answer.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ..intake.people_file import card_of_row
from ..intake.skip_rules import SkipRule, rules_of
from ..intake.survey_format import ANSWER_COLUMNS, Item, Questionnaire, shaped
from ..models.answerers import Answerer, OptionShares, Prompt, Written, ask_in_orders
from ..models.generation import ADMINISTRATION, SAMPLING, Draws, uniforms
from .answer_readings import read_reply

ASK_MODES = ("single", "sequence")
WANTED = ("options", "both", "words")  # of closed items: probabilities alone, words beside them (written apart, so they may say another option), words alone
ANSWER_ROOM = max(SAMPLING["open"].max_tokens, ADMINISTRATION.max_tokens) + 16  # tokens that an answer or an option's name may take
_Messages = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class AskPlan:
    """How people are asked.

    Args: mode: "single" (each item alone) or "sequence" (one conversation). repeats: how often everybody is asked. wanted: one of `WANTED`.
        both_orders: ask closed items in both orders of their options.
    Raises: ValueError for what cannot be.
    """

    mode: str = "single"
    repeats: int = 1
    seed: int = 42
    wanted: str = "options"
    both_orders: bool = True

    def __post_init__(self) -> None:
        if self.mode not in ASK_MODES:
            raise ValueError(f"unknown mode {self.mode!r}; choose from {', '.join(ASK_MODES)}")
        if self.wanted not in WANTED:
            raise ValueError(f"closed items give {', '.join(WANTED)}, not {self.wanted!r}")
        if not 1 <= self.repeats <= 1000:
            raise ValueError(f"repeats must be 1 to 1000, not {self.repeats}")
        check_seed(self.seed)


def check_seed(seed: int) -> None:
    """Raises ValueError for a seed that no generator of random numbers takes."""
    if not 0 <= seed < 2**31:
        raise ValueError(f"--seed must be a whole number from 0 to {2**31 - 1}, not {seed}")


@dataclass(frozen=True)
class Room:
    """How many tokens a prompt may have: `limit` (None: nobody knows, so nothing is cut) and how they are counted."""

    limit: int | None = None
    count: Callable[[_Messages], int] = lambda messages: sum(len(m["content"]) for m in messages) // 3 + 8 * len(messages)


@dataclass
class _Respondent:
    """One person in one repetition: what they said so far, for conditions (codes) and for the conversation (words)."""

    person: pd.Series
    repeat: int
    card: dict | str
    own: Mapping[str, str]
    said: dict[str, list[str]] = field(default_factory=dict)
    talk: list[tuple[str, str]] = field(default_factory=list)


def row_id(persona_id: str, question_id: str, repeat: int) -> str:
    """The id of an answer: person, item and repetition; it names the row's random numbers. A bar inside an id is escaped, so that no two rows share an id."""
    return "|".join([*(part.replace("\\", "\\\\").replace("|", "\\|") for part in (persona_id, question_id)), str(repeat)])


def ask_people(
    answerer: Answerer, questionnaire: Questionnaire, people: pd.DataFrame, plan: AskPlan, *, system: str = "", room: Room | None = None
) -> pd.DataFrame:
    """Everybody answers every item (`ANSWER_COLUMNS`, people first, then repetitions, then items).

    Args: people: `PEOPLE_COLUMNS`. system: the name in the answers, by default the answerer's. room: see `Room`.
    Raises: intake.skip_rules.NotUnderstood for a condition that cannot be read.
    """
    rules, room = rules_of(questionnaire.items), room or Room()
    whole = [_Respondent(person, repeat, card_of_row(person["card"]), json.loads(person["own_answers"]) if isinstance(person["own_answers"], str) else {})
             for _, person in people.iterrows() for repeat in range(plan.repeats)]  # fmt: skip
    session = _Session(answerer, plan, room, system or answerer.name)
    for stage in _stages(questionnaire.items, rules, plan.mode):
        session.ask(whole, stage, rules)
    place = {item.id: i for i, item in enumerate(questionnaire.items)}
    order = {(r.person["persona_id"], r.repeat): i for i, r in enumerate(whole)}
    rows = sorted(session.rows, key=lambda r: (order[r["persona_id"], r["repeat"]], place[r["question_id"]]))
    return shaped(rows, ANSWER_COLUMNS) if rows else shaped(pd.DataFrame(columns=[c.name for c in ANSWER_COLUMNS]), ANSWER_COLUMNS)


def _stages(items: Sequence[Item], rules: Mapping[str, SkipRule], mode: str) -> list[list[Item]]:
    """Items that can be asked together: one at a time in a conversation; alone, all whose conditions look at earlier stages only."""
    if mode == "sequence":
        return [[item] for item in items]
    level: dict[str, int] = {}
    for item in items:
        level[item.id] = 1 + max((level[needed] for needed in rules[item.id].needs), default=-1)
    return [[item for item in items if level[item.id] == stage] for stage in range(max(level.values(), default=-1) + 1)]


class _Session:
    """Asks stage by stage and collects the rows of all respondents."""

    def __init__(self, answerer: Answerer, plan: AskPlan, room: Room, system: str):
        self.answerer, self.plan, self.room, self.system = answerer, plan, room, system
        self.rows: list[dict] = []

    def ask(self, respondents: Sequence[_Respondent], stage: Sequence[Item], rules: Mapping[str, SkipRule]) -> None:
        """One stage: skip, build prompts, ask, read, remember."""
        asked = []
        for respondent in respondents:
            for item in stage:
                if not rules[item.id].holds(respondent.said):
                    self.rows.append(self._row(respondent, item, status="skipped", reason=f"asked only if {rules[item.id].text}"))
                    continue
                messages, dropped, reason = self._prompt(respondent, item)
                if reason:
                    self.rows.append(self._row(respondent, item, status="failed", reason=reason, turns_dropped=dropped))
                    continue
                asked.append((respondent, item, Prompt(row_id(respondent.person["persona_id"], item.id, respondent.repeat), messages), dropped))
        shares, words = self._shares(asked), self._words(asked)
        for respondent, item, prompt, dropped in asked:
            row = self._answered(respondent, item, shares.get(prompt.id), words.get(prompt.id), prompt.id) | {"turns_dropped": dropped}
            self.rows.append(row)
            self._remember(respondent, item, row)

    def _prompt(self, respondent: _Respondent, item: Item) -> tuple[_Messages, int, str]:
        """(messages, earlier questions left out so that they fit, reason why there is no prompt)."""
        system, user = item.messages(respondent.card)
        if self.plan.mode == "single":
            return self._fitting([system, user], 0)
        who, asks = user["content"].split("\n", 1)
        for dropped in range(len(respondent.talk) + 1):
            turns = [*respondent.talk[dropped:], (asks, "")]
            talk = [{"role": role, "content": text} for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)][:-1]
            talk[0] = talk[0] | {"content": f"{who}\n{talk[0]['content']}"}
            fitting = self._fitting([system, *talk], dropped)
            if not fitting[2]:
                return fitting
        return fitting

    def _fitting(self, messages: _Messages, dropped: int) -> tuple[_Messages, int, str]:
        if self.room.limit is None or (size := self.room.count(messages) + ANSWER_ROOM) <= self.room.limit:
            return messages, dropped, ""
        return messages, dropped, f"the prompt and room for an answer take {size:,} tokens, and the model takes {self.room.limit:,}"

    def _shares(self, asked: list) -> dict[str, OptionShares]:
        """Row id -> option probabilities of the closed items. Alone, an item's probabilities do not depend on the repetition, so they are asked for once."""
        if self.plan.wanted == "words":
            return {}
        alone, first = self.plan.mode == "single", {}
        for respondent, item, prompt, _ in asked:
            if item.options:
                first.setdefault((respondent.person["persona_id"], item.id, 0 if alone else respondent.repeat), (item, prompt))
        rows = pd.DataFrame([{"id": p.id, "messages": p.messages, "options": item.options} for item, p in first.values()])
        replies = dict(zip(first, self._probabilities(rows), strict=True)) if len(rows) else {}
        return {
            prompt.id: replies[respondent.person["persona_id"], item.id, 0 if alone else respondent.repeat]
            for respondent, item, prompt, _ in asked if item.options
        }  # fmt: skip

    def _probabilities(self, rows: pd.DataFrame) -> list[OptionShares]:
        if self.plan.both_orders:
            return ask_in_orders(self.answerer, rows)
        prompts = [Prompt(i, m) for i, m in zip(rows["id"], rows["messages"], strict=True)]
        replies = self.answerer.option_probabilities(prompts, [list(o) for o in rows["options"]])
        return [replace(reply, by_order=None if reply.probs is None else reply.probs[None]) for reply in replies]

    def _words(self, asked: list) -> dict[str, Written]:
        """Row id -> what was written, for open items always, for closed ones if words are wanted."""
        wanted = [(item, prompt) for _, item, prompt, _ in asked if not item.options or self.plan.wanted != "options"]
        settings = [SAMPLING["open"] if item.kind == "open" else ADMINISTRATION for item, _ in wanted]
        prompts = [prompt for _, prompt in wanted]
        written = self.answerer.write(prompts, Draws(self.plan.seed, settings)) if prompts else []
        return {prompt.id: text for prompt, text in zip(prompts, written, strict=True)}

    def _row(self, respondent: _Respondent, item: Item, **fields) -> dict:
        person = respondent.person["persona_id"]
        return {
            "id": row_id(person, item.id, respondent.repeat), "system": self.system, "persona_id": person, "question_id": item.id, "repeat": respondent.repeat,
            "mode": self.plan.mode, "turn": item.order, "turns_dropped": 0, "reference": respondent.own.get(item.id),
        } | fields  # fmt: skip

    def _answered(self, respondent: _Respondent, item: Item, shares: OptionShares | None, words: Written | None, name: str) -> dict:
        """The row of an item that was asked."""
        fields: dict = {"status": "ok"}
        text = words.text if words is not None else ""
        read = read_reply(item, text) if text else None
        if read is not None:
            fields |= {"answer": text, "option_read": read.option, "value": read.value, "reason": read.reason or None}
            fields["chosen"] = list(read.chosen) if read.chosen else None
        if shares is not None and shares.probs is not None:
            probs = np.asarray(shares.probs, dtype=float) / np.sum(shares.probs)
            fields |= {"option": drawn(probs, self.plan.seed, name), "option_probs": _rounded(probs), "option_mass": shares.mass, "probs_how": shares.how}
            by_order = [] if shares.by_order is None else [_rounded(p) for p in shares.by_order]
            fields |= dict(zip(("probs_listed", "probs_reversed"), by_order, strict=False))
        elif item.options:
            fields["option"] = read.option if read is not None else None
        if fields.get("option") is not None:
            fields.setdefault("answer", item.labels[fields["option"]])
        if "answer" not in fields:
            reasons = [r for r in (shares.reason if shares else "", words.reason if words else "") if r]
            fields |= {"status": "failed", "reason": reasons[0] if reasons else "the answer is empty"}
        else:
            lacking = [f"no probabilities: {shares.reason}" if shares is not None and shares.probs is None else ""]
            lacking += [f"no words: {words.reason}" if words is not None and words.reason and not text else ""]
            fields["reason"] = "; ".join(filter(None, (*lacking, fields.get("reason")))) or None
        return self._row(respondent, item, **fields)

    def _remember(self, respondent: _Respondent, item: Item, row: dict) -> None:
        """Keep what was said: codes for conditions, words for the conversation (of a closed item: the label of the chosen option)."""
        option, chosen, value = row.get("option"), row.get("chosen"), row.get("value")
        if item.options:
            codes = [item.codes[option]] if option is not None else []
        elif item.labels:
            codes = [item.codes[i] for i in chosen or ()]
        else:
            codes = [f"{value:g}"] if value is not None else [row["answer"]] if item.kind == "open" and row.get("answer") else []
        respondent.said[item.id] = codes
        if self.plan.mode == "sequence" and row["status"] == "ok":
            asks = item.messages(respondent.card)[1]["content"].split("\n", 1)[1]
            respondent.talk.append((asks, f"{item.labels[option]}." if item.options and option is not None else row["answer"]))


def drawn(probs: np.ndarray, seed: int, name: str) -> int:
    """The option that a row takes: drawn from its probabilities by the row's own random number."""
    u = uniforms(seed, f"{name}|option", 1)[0]
    return min(int((np.cumsum(probs) <= u).sum()), len(probs) - 1)


def _rounded(probs: np.ndarray) -> list[float]:
    return [round(float(p), 6) for p in probs]
