"""A questionnaire put to one persona or a panel: who is asked what, the table, its files, and asking again from a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from . import chat
from .cells import csv_text
from .generation import Sampling
from .probe import Ask, Reply, System, ask_bank
from .question_bank import Question
from .records import write_atomically
from .registry import MODELS

COLUMNS = ("persona_id", "persona", "domain", "question", "options", "answer", "stance", "option_probs", "system", "seed", "id")
_ASK = ("card", "persona_id", "question_id", "domain", "text", "kind", "options", "seed", "sampling", "sample")


def sheet(cards: Iterable[dict | str], questions: Sequence[Question], *, seed: int, sampling: Sampling | None = None) -> list[Ask]:
    """Every question to every card, people first."""
    return [ask_bank(card, q, seed=seed, sampling=sampling) for card in cards for q in questions]


def table(replies: Sequence[Reply]) -> pd.DataFrame:
    """One row a reply, as text and numbers (`COLUMNS`)."""
    rows = [
        {
            "persona_id": r.ask.persona_id, "persona": chat.render_card(r.ask.card), "domain": r.ask.domain, "question": r.ask.text,
            "options": " / ".join(r.ask.options), "answer": r.text, "stance": r.stance if r.ask.options else "",
            "option_probs": " ".join(f"{p:.4f}" for p in r.option_probs or ()), "system": r.system.label, "seed": r.ask.seed, "id": r.ask.id,
        }
        for r in replies
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write(replies: Sequence[Reply], folder: Path, name: str) -> tuple[Path, Path]:
    """Write `<name>.csv` (for a spreadsheet: no cell is a formula) and `<name>.jsonl` (everything needed to ask again). Returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = table(replies)
    plain = plain.assign(**{c: plain[c].map(lambda v: csv_text(str(v))) for c in plain.columns if c != "seed"})
    lines = [
        {"ask": {**asdict(r.ask)}, "system": asdict(r.system), "answer": r.text, "option": r.option,
         "option_probs": None if r.option_probs is None else [round(p, 6) for p in r.option_probs], "tokens": r.tokens}
        for r in replies
    ]  # fmt: skip
    csv, jsonl = folder / f"{name}.csv", folder / f"{name}.jsonl"
    write_atomically(csv, plain.to_csv(index=False, lineterminator="\n"))
    write_atomically(jsonl, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return csv, jsonl


def read(path: Path) -> tuple[list[Ask], list[System], list[str]]:
    """The asks, systems and answers of a file that `write` made. Raises ValueError naming file and line for anything else."""
    asks, systems, answers = [], [], []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            known = row["ask"]
            card, sampling = known["card"], Sampling(**known["sampling"])
            ask = Ask(**{k: known[k] for k in _ASK} | {"options": tuple(map(str, known["options"])), "sampling": sampling})
            system, answer = System(str(row["system"]["key"]), str(row["system"]["adapter"])), row["answer"]
            texts = (ask.persona_id, ask.question_id, ask.domain, ask.text, answer)
            numbers = (sampling.temperature, sampling.top_p)
            good = (
                isinstance(card, dict | str) and set(known) == set(_ASK) and all(isinstance(t, str) for t in texts) and system.key in MODELS
                and all(type(n) in (int, float) and math.isfinite(n) and n >= 0 for n in numbers) and sampling.top_p <= 1
                and all(type(n) is int and n >= 0 for n in (ask.seed, ask.sample)) and type(sampling.max_tokens) is int and 0 < sampling.max_tokens <= 1024
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{Path(path).name}, line {number}: not a row that the probe wrote ({type(error).__name__})") from None
        if not good:
            raise ValueError(f"{Path(path).name}, line {number}: not a row that the probe wrote (a value out of its range)")
        asks.append(ask)
        systems.append(system)
        answers.append(answer)
    if not asks:
        raise ValueError(f"{Path(path).name}: no rows")
    return asks, systems, answers


def summary(replies: Sequence[Reply]) -> str:
    """One line a question: how the stances fall and what the model's own probabilities say on average."""
    lines, by_question = [], {}
    for r in replies:
        by_question.setdefault((r.ask.text, r.ask.options), []).append(r)
    for (text, options), group in by_question.items():
        if not options:
            lines.append(f"{text}\n   {len(group)} answers in words")
            continue
        counts = [sum(r.option == i for r in group) for i in range(len(options))]
        means = [sum(r.option_probs[i] for r in group) / len(group) for i in range(len(options))]
        unread = sum(r.option is None for r in group)
        parts = [f"{o}: {c} read, {m:.0%} probable" for o, c, m in zip(options, counts, means, strict=True)]
        lines.append(f"{text}\n   " + "; ".join(parts) + (f"; no option found in {unread}" if unread else ""))
    return "\n".join(lines)
