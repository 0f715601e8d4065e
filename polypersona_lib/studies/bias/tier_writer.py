"""A model fills the tiers above `meta`: closed attributes by constrained choice, texts by sampling. What went wrong is counted, and never replaced.

An attribute is a survey question to the card as it is so far, asked in both orders of its options; one option is drawn from the averaged probabilities, so
that a small model cannot give an unreadable answer. Each person draws from its own random numbers: more people or other batches change nobody's card.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...errors import InputError, one_line
from ...models.answerers import Answerer, Prompt, Written, ask_in_orders
from ...models.generation import Draws, Sampling, uniforms
from ...people.card_tiers import (
    AGE_SPANS,
    POLITICS,
    SUBJECTIVE,
    TIERS,
    card_of_tier,
    census_card,
    drawn_donor,
    real_politics,
    real_values,
    template_story,
    tier_attributes,
)
from ...people.human_surveys import WEIGHT, load_survey
from ...prompts import chat
from ...texts import WORD

STORY, HOBBY = Sampling(0.8, 0.9, 90), Sampling(0.8, 0.9, 24)  # temperature and nucleus as in the paper's code; lengths fit two CPU cores
LEAST_MASS, LEAST_WORDS = 0.1, {"story": 12, "hobby": 3}
EVENTS = {  # hardships of the 538/Ipsos poll -> how a request to a writer says them
    "Q10_1": "receives disability benefits", "Q10_2": "has a chronic illness", "Q10_3": "was unemployed for more than a year",
    "Q10_4": "was evicted last year", "Q11_1": "lost a job this year", "Q11_5": "cannot always pay the bills",
}  # fmt: skip
_ASKED = {
    "story": "Describe this person in a few sentences: who they are, how they live, what moves them and what worries them.",
    "hobby": "What do you like to do in your free time? Answer in one short sentence.",
}
_SYSTEM = {"story": "You describe people from a few facts about them.", "hobby": chat.SYSTEM}


@dataclass(frozen=True)
class Filled:
    """What one generator made of some people.

    Attributes:
        values: index persona_id, a column an attribute (None: failed), and real_ideology, real_party, matched. probs: the same attributes, arrays of the
            probability of each option (None: failed). texts: index persona_id, columns story and hobby ("" where none came).
        counts: what went wrong: columns what (attribute or text), problem, n, of.
    """

    values: pd.DataFrame
    probs: pd.DataFrame
    texts: pd.DataFrame
    counts: pd.DataFrame


def fill(answerer: Answerer, people: pd.DataFrame, *, seed: int, stories: bool = True) -> Filled:
    """Ask a generator for every attribute and text of these people (`card_tiers.draw_people`).

    Args: seed: of what is drawn; another seed is another generation by the same model. stories: without them both texts are left empty and nothing is written.
    """
    values, probs, lines = pd.DataFrame(index=people.index), pd.DataFrame(index=people.index), []
    for name in SUBJECTIVE:
        values[name], probs[name], line = _attribute(answerer, people, values, name, seed)
        lines += line
    real = real_politics(people, values["education"], seed=seed)
    values = values.join(real.rename(columns={name: f"real_{name}" for name in POLITICS}))
    texts = pd.DataFrame("", index=people.index, columns=["story", "hobby"])
    for kind in texts if stories else ():
        texts[kind], line = _texts(answerer, people, values, kind, seed)
        lines += line
    return Filled(values, probs, texts, pd.DataFrame(lines, columns=["what", "problem", "n", "of"]))


def _attribute(answerer: Answerer, people: pd.DataFrame, values: pd.DataFrame, name: str, seed: int) -> tuple[list, list, list[dict]]:
    """(option of each person, probabilities, what went wrong) of one attribute."""
    asked, ids = tier_attributes()[name], [f"{person}|{name}|{seed}" for person in people.index]
    shown = [census_card(row, values.loc[person].to_dict()) for person, row in people.iterrows()]
    messages = [chat.messages(one, "Person", asked.question, asked.options) for one in shown]
    replies = ask_in_orders(answerer, pd.DataFrame({"id": ids, "messages": messages, "options": [asked.options] * len(ids)}))
    drawn = [None if r.probs is None else asked.options[_drawn(r.probs, seed, i)] for r, i in zip(replies, ids, strict=True)]
    failed, weak = sum(r.probs is None for r in replies), sum(r.probs is not None and r.mass < LEAST_MASS for r in replies)
    problems = {"no answer": failed, f"option mass below {LEAST_MASS}": weak}
    return drawn, [r.probs for r in replies], [{"what": name, "problem": p, "n": n, "of": len(ids)} for p, n in problems.items()]


def _drawn(probs: np.ndarray, seed: int, row_id: str) -> int:
    return min(int((probs.cumsum() <= uniforms(seed, row_id, 1)[0] * probs.sum()).sum()), len(probs) - 1)


def text_prompts(people: pd.DataFrame, values: pd.DataFrame, kind: str, seed: int) -> list[Prompt]:
    """What a model is asked for a text: the story sees the four census facts alone (as the paper's), the hobby the whole subjective card."""
    shown = [census_card(row, {} if kind == "story" else values.loc[person, list(SUBJECTIVE)].to_dict()) for person, row in people.iterrows()]
    system = {"role": "system", "content": _SYSTEM[kind]}
    users = [{"role": "user", "content": chat.user_text(one, "Person", _ASKED[kind], None)} for one in shown]
    return [Prompt(f"{person}|{kind}|{seed}", [system, user]) for person, user in zip(people.index, users, strict=True)]


def _texts(answerer: Answerer, people: pd.DataFrame, values: pd.DataFrame, kind: str, seed: int) -> tuple[list[str], list[dict]]:
    """(a text or "" of each person, what went wrong)."""
    manner = {"story": STORY, "hobby": HOBBY}[kind]
    written = answerer.write(text_prompts(people, values, kind, seed), Draws(seed, [manner] * len(people)))
    problems = dict.fromkeys(("no answer", "too short", "control text"), 0)
    kept = []
    for reply in written:
        problem = text_problem(kind, reply)
        if problem:
            problems[problem] += 1
        kept.append("" if problem else one_line(reply.text))
    repeated = len(kept) - len(set(kept)) - max(kept.count("") - 1, 0)
    lines = [{"what": kind, "problem": p, "n": n, "of": len(kept)} for p, n in (problems | {"same text as another person": repeated}).items()]
    return kept, lines


def text_problem(kind: str, reply: Written) -> str:
    """Why a written text of this kind ("story", "hobby") cannot be used: "no answer", "control text", "too short"; "" if it can."""
    text = one_line(reply.text)
    problem = "no answer" if reply.reason or not text else "control text" if chat.find_control_text(text) else ""
    return problem or ("too short" if len(WORD.findall(text)) < LEAST_WORDS[kind] else "")


def cards_of(people: pd.DataFrame, filled: Filled, *, tiers: Sequence[str] = tuple(TIERS), seed: int) -> pd.DataFrame:
    """The cards of all people: persona_id, state, tier, card (a dict, a narrative, or None where a narrative is missing), text (as the prompt says it)."""
    rows = []
    for person, row in people.iterrows():
        values, texts = filled.values.loc[person].to_dict(), filled.texts.loc[person].to_dict()
        for tier in tiers:
            made = card_of_tier(tier, row, values, texts=texts, seed=seed)
            rows.append({"persona_id": person, "state": row["state"], "tier": tier, "card": made, "text": "" if made is None else chat.render_card(made)})
    return pd.DataFrame(rows)


def template_filled(people: pd.DataFrame, *, seed: int) -> Filled:
    """Cards that no model filled in: the attributes of one real respondent of the same race and age (CES 2018, by its weights), and a template's narrative."""
    names = list(tier_attributes())
    donors = real_values(names).dropna(subset=names)
    weights, rows, cells = donors["weight"].to_numpy(dtype=float), [], donors.groupby(["race", "age_band"]).indices
    for name, person in people.iterrows():
        fits = cells.get((person["race"], person["age_band"]), np.arange(len(donors)))
        rows.append(drawn_donor(fits, weights, f"{name}|template", seed=seed))
    values = donors.iloc[rows][names].set_axis(people.index)
    real = real_politics(people, values["education"], seed=seed)
    values = values.join(real.rename(columns={"ideology": "real_ideology", "party": "real_party"}))
    sure = {n: [(np.array(tier_attributes()[n].options) == v).astype(float) for v in values[n]] for n in names}
    stories = [template_story(person, seed=seed) for _, person in people.iterrows()]
    texts = pd.DataFrame({"story": stories, "hobby": ""}, index=people.index)
    return Filled(values, pd.DataFrame(sure, index=people.index), texts, pd.DataFrame(columns=["what", "problem", "n", "of"]))


# --- a request that names hardship ------------------------------------------------------------------------------------------------------


def balanced_prompts(prompts: Sequence[Prompt], events: Sequence[Sequence[str]]) -> list[Prompt]:
    """Requests for narratives that name what happened to each person, hardship at the rate of real people if `events` are theirs.

    Args: events: of each prompt, some of `EVENTS`, drawn from real respondents like the person. None of them is asked for by name where nothing happened.
    """
    return [replace(p, messages=[*p.messages[:-1], p.messages[-1] | {"content": p.messages[-1]["content"] + _request(happened)}])
            for p, happened in zip(prompts, events, strict=True)]  # fmt: skip


def _request(happened: Sequence[str]) -> str:
    if unknown := [event for event in happened if event not in EVENTS]:
        raise InputError(f"unknown event {unknown[0]!r}; choose from {', '.join(EVENTS)}")
    facts = "; ".join(EVENTS[event] for event in happened)
    return f"\nThis person {facts}. Say so in plain words, and praise nobody." if facts else "\nInvent no hardship, and praise nobody."


def real_events(people: pd.DataFrame, *, seed: int) -> list[list[str]]:
    """What happened to one real respondent of the 538/Ipsos poll of the same race and age band, drawn by weight, for each of these people (`draw_people`)."""
    poll = load_survey("nonvoters_2020").people
    bands = pd.cut(poll["age"], [0, *(last for _, last in list(AGE_SPANS.values())[:-1]), 200], labels=list(AGE_SPANS)).astype(str)
    cells = poll.assign(band=bands, race=poll["race"].replace("other or mixed", "Other")).groupby(["race", "band"]).indices
    happened, weights = poll[list(EVENTS)].astype("boolean").fillna(False).to_numpy(dtype=bool), poll[WEIGHT].to_numpy(dtype=float)
    made = []
    for name, person in people.iterrows():
        fits = cells.get((person["race"], person["age_band"]), np.arange(len(poll)))
        donor = drawn_donor(fits, weights, f"{name}|balanced", seed=seed)
        made.append([event for event, own in zip(EVENTS, happened[donor], strict=True) if own])
    return made


def balanced_cards(answerer: Answerer, people: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Their narratives by the balanced request: persona_id, state, tier, card (None where none came), asked (events, comma-separated), problem."""
    events = real_events(people, seed=seed)
    prompts = balanced_prompts(text_prompts(people, pd.DataFrame(index=people.index), "story", seed), events)
    written = answerer.write(prompts, Draws(seed, [STORY] * len(people)))
    problems = [text_problem("story", reply) for reply in written]
    cards = [None if problem else one_line(reply.text) for reply, problem in zip(written, problems, strict=True)]
    rows = {
        "persona_id": people.index,
        "state": people["state"],
        "tier": "balanced",
        "card": cards,
        "asked": [",".join(e) for e in events],
        "problem": problems,
    }
    return pd.DataFrame(rows).reset_index(drop=True)
