"""Simulates the data set: who is asked what, what everybody answers, and who is in which split.

A pure function of (question bank, phrase bank, population, seed): the same bytes on every machine.
Every total is the paper's (`paper`): records, domain totals, types, shares of persona types, personas in one domain and in two.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator

import pandas as pd

from ..prompts import chat
from . import paper, personas
from .dataset import SPLIT_ROWS, SPLITS, apportion
from .questions import DOMAINS, Question, load_questions
from .respondents import Speaker

TYPE_ROWS = {"open": 1524, "likert": 1130, "yesno": 652, "agreement": 262}  # in the proportions of the 82 questions
GROUPED_PERSONAS = {"train": 345, "validation": 47, "test": 41}
MOST_USES = 6  # of one phrase pattern within a question


def answers_per_question(questions: dict[str, Question]) -> dict[str, int]:
    """How often each item is asked: 41-49 times, so that the domain totals and the type totals both hold exactly."""
    cells = Counter((q.domain, q.type) for q in questions.values())
    rows = {}
    for domain, total in paper.DOMAIN_RECORDS.items():
        kinds = [k for k in TYPE_ROWS if cells[domain, k]]
        rows |= {(domain, k): n for k, n in zip(kinds, apportion(total, [cells[domain, k] for k in kinds]), strict=True)}
    while off := {k: sum(n for (_, kind), n in rows.items() if kind == k) - t for k, t in TYPE_ROWS.items()}:
        over, under = max(off, key=off.get), min(off, key=off.get)
        if off[over] <= 0:
            break
        both = [d for d in DOMAINS if cells[d, over] and cells[d, under]]
        domain = max(both, key=lambda d: rows[d, over] / cells[d, over] - rows[d, under] / cells[d, under])
        rows[domain, over] -= 1
        rows[domain, under] += 1
    counts = {}
    for (domain, kind), total in rows.items():
        ids = [q.id for q in questions.values() if (q.domain, q.type) == (domain, kind)]
        counts |= dict(zip(ids, apportion(total, [1] * len(ids)), strict=True))
    return {qid: counts[qid] for qid in questions}


def assign_blocks(cards: list[dict], questions: dict[str, Question], seed: int) -> list[dict]:
    """Give every persona one or two domains, a grouped split, and a number of questions in each domain.

    Returns blocks {persona, domain, split, rows}: 309 + 2 x 124 of them; rows sum to the domain totals, to the grouped split's
    totals within each domain, and to the five persona-type shares of the paper (as shares of rows).
    """
    rng = random.Random(f"blocks|{seed}")
    size = Counter(q.domain for q in questions.values())
    members, target, blocks = _grouped_members(cards, rng), {}, []
    two = dict(zip(SPLITS, apportion(paper.PERSONAS_BY_DOMAINS[2], list(GROUPED_PERSONAS.values())), strict=True))
    totals = list(paper.DOMAIN_RECORDS.values())
    for split in SPLITS[1:]:
        target |= {(split, d): n for d, n in zip(DOMAINS, apportion(SPLIT_ROWS[split], totals), strict=True)}
    target |= {("train", d): total - target["validation", d] - target["test", d] for d, total in paper.DOMAIN_RECORDS.items()}
    for split in SPLITS:
        blocks += _deal(members[split], two[split], {d: target[split, d] for d in DOMAINS}, size, split, rng)
    blocks.sort(key=lambda b: (b["persona"], b["domain"]))
    for (split, domain), total in target.items():
        group = [b for b in blocks if (b["split"], b["domain"]) == (split, domain)]
        for block, rows in zip(group, apportion(total, [1] * len(group)), strict=True):
            block["rows"] = rows
    return _meet_category_shares(blocks, cards, size)


def _grouped_members(cards: list[dict], rng: random.Random) -> dict[str, list[int]]:
    """Persona indices of each grouped split (345/47/41), every category in proportion, in random order."""
    by_category = defaultdict(list)
    for i, card in enumerate(cards):
        by_category[card["category"]].append(i)
    members = {split: [] for split in SPLITS}
    for split in ("validation", "test"):
        counts = apportion(GROUPED_PERSONAS[split], [len(v) for v in by_category.values()])
        for people, count in zip(by_category.values(), counts, strict=True):
            for person in rng.sample(people, count):
                people.remove(person)
                members[split].append(person)
    members["train"] = [i for people in by_category.values() for i in people]
    for people in members.values():
        rng.shuffle(people)
    return members


def _deal(people: list[int], two: int, rows: dict[str, int], size: Counter, split: str, rng: random.Random) -> list[dict]:
    """Deal domains to the personas of one split, two to the first `two` of them, as many of each domain as its rows need."""
    least = {d: -(-n // size[d]) for d, n in rows.items()}
    number = dict(zip(rows, apportion(len(people) + two, [n / min(size[d], 6.6) for d, n in rows.items()]), strict=True))
    while short := [d for d in rows if number[d] < least[d]]:
        number[max(rows, key=lambda d: number[d] - least[d])] -= 1
        number[short[0]] += 1
    tokens, blocks, taken = [d for d, n in number.items() for _ in range(n)], [], defaultdict(set)
    rng.shuffle(tokens)
    for person in [p for p in people[:two] for _ in range(2)] + people[two:]:
        domain = tokens.pop(next(i for i, d in enumerate(tokens) if d not in taken[person]))
        taken[person].add(domain)
        blocks.append({"persona": person, "domain": domain, "split": split})
    return blocks


def _meet_category_shares(blocks: list[dict], cards: list[dict], size: Counter) -> list[dict]:
    """Move single rows between blocks of one (split, domain) until each persona type has its share of all rows."""
    goal = {c: round(paper.RECORDS * share / 100) for c, share in paper.CATEGORY_SHARES.items()}
    kinds = [card["category"] if card["category"] in goal else "other" for card in cards]
    goal["other"] = paper.RECORDS - sum(goal.values())
    have = Counter()
    for block in blocks:
        have[kinds[block["persona"]]] += block["rows"]

    def moves(over: str, under: str) -> Iterator[tuple[dict, dict]]:
        givers = [b for b in blocks if kinds[b["persona"]] == over and b["rows"] > 2]
        for giver in sorted(givers, key=lambda b: -b["rows"]):
            beside = [b for b in blocks if (b["split"], b["domain"]) == (giver["split"], giver["domain"]) and b["rows"] < size[b["domain"]]]
            if takers := [b for b in beside if kinds[b["persona"]] == under]:
                yield giver, min(takers, key=lambda b: b["rows"])

    while gaps := {c: have[c] - goal[c] for c in goal if have[c] != goal[c]}:
        pairs = [(o, u) for o in sorted(gaps, key=gaps.get, reverse=True) if gaps[o] > 0 for u in sorted(gaps, key=gaps.get) if gaps[u] < 0]
        move = next(((*pair, *both) for pair in pairs for both in moves(*pair)), None)
        if move is None:
            raise ValueError(f"persona-type shares cannot be met: {gaps}")
        over, under, giver, taker = move
        giver["rows"], taker["rows"] = giver["rows"] - 1, taker["rows"] + 1
        have[over], have[under] = have[over] - 1, have[under] + 1
    return blocks


def pick_questions(blocks: list[dict], questions: dict[str, Question], seed: int) -> list[tuple[int, str, str]]:
    """Choose each block's questions so that every item is asked exactly `answers_per_question` times and no pair repeats.

    The block takes the items that are most in need (relative to the personas still to come): types stay balanced in every split.
    Returns (persona index, question id, grouped split) triples.
    """
    rng, need, pairs = random.Random(f"questions|{seed}"), answers_per_question(questions), []
    for domain in DOMAINS:
        group = [b for b in blocks if b["domain"] == domain]
        rng.shuffle(group)
        group.sort(key=lambda b: -b["rows"])
        ids = [q.id for q in questions.values() if q.domain == domain]
        for block in group:
            chosen = sorted(ids, key=lambda q: (-need[q], rng.random()))[: block["rows"]]
            for qid in chosen:
                need[qid] -= 1
                pairs.append((block["persona"], qid, block["split"]))
    if any(need.values()):
        raise ValueError(f"questions left over: { {q: n for q, n in need.items() if n} }")
    return sorted(pairs)


def row_splits(pairs: list[tuple[int, str, str]], cards: list[dict], seed: int) -> list[str]:
    """The `paper` configuration: rows drawn at random, stratified by domain and question, and balanced over persona types."""
    rng = random.Random(f"rows|{seed}")
    by_question = defaultdict(lambda: defaultdict(list))
    for i, (_, qid, _) in enumerate(pairs):
        by_question[qid.split(".")[0]][qid].append(i)
    category = [cards[person]["category"] for person, _, _ in pairs]
    share = {c: n / len(pairs) for c, n in Counter(category).items()}
    split = ["train"] * len(pairs)
    for s in ("validation", "test"):
        taken: Counter = Counter()
        for quota, domain in zip(apportion(SPLIT_ROWS[s], list(paper.DOMAIN_RECORDS.values())), DOMAINS, strict=True):
            questions = by_question[domain].values()
            for members, count in zip(questions, apportion(quota, [len(m) for m in questions]), strict=True):
                for _ in range(count):  # the persona type that lags most behind its share comes first
                    free = [i for i in members if split[i] == "train"]
                    pick = min(free, key=lambda i: (taken[category[i]] - share[category[i]] * taken.total(), rng.random()))
                    split[pick] = s
                    taken[category[pick]] += 1
    return split


def simulate_records(seed: int, *, cards: list[dict] | None = None) -> pd.DataFrame:
    """All 3,568 records in one frame with both split columns (`paper`, `grouped`).

    Args: seed: of everything drawn. cards: personas to use instead of the drawn 433 (for example from PersonaHub); same number and categories.
    Raises: ValueError if `cards` are too few, too many or of other categories.
    Returns: columns `dataset.COLUMNS` plus `paper` and `grouped`; `persona` and `meta` are JSON strings.
    """
    questions = load_questions()
    cards = personas.draw_population(seed) if cards is None else cards
    wanted, given = personas.population()["category_personas"], Counter(card["category"] for card in cards)
    if given != Counter(wanted):
        raise ValueError(f"{len(cards)} personas ({dict(given)}); the paper's counts need {sum(wanted.values())} ({wanted})")
    blocks = assign_blocks(cards, questions, seed)
    pairs = pick_questions(blocks, questions, seed)
    rows, speaker, said = [], Speaker(cap=MOST_USES), set()
    for (person, qid, grouped), by_rows in zip(pairs, row_splits(pairs, cards, seed), strict=True):
        card, question = cards[person], questions[qid]
        answer = next((a for w in range(50) if (a := speaker.answer(card, question, seed=seed, wording=w)).text not in said), None)
        if answer is None:
            raise ValueError(f"{card['persona_id']} has no answer to {qid} that nobody gave before; are many personas alike?")
        said.add(answer.text)
        theta = None if question.type == "open" else round(answer.theta, 4)
        truth = {"theta": theta, "option": answer.option, "path": answer.path, "label_led": answer.label_led}
        meta = {"persona_id": card["persona_id"], "question_id": qid, "options": question.options, "truth": truth}
        rows.append(
            {
                "id": f"{card['persona_id']}-{qid}",
                "messages": chat.messages(card, DOMAINS[question.domain], question.text, question.options, answer.text),
                "persona": json.dumps(card, ensure_ascii=False), "domain": question.domain, "question": question.text, "question_type": question.type,
                "reference": answer.text, "meta": json.dumps(meta, ensure_ascii=False), "paper": by_rows, "grouped": grouped,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
