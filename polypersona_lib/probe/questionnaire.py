"""A questionnaire put to one persona or a panel: who is asked what, the table, its files, and asking again from a file."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from itertools import count
from pathlib import Path
from textwrap import shorten

import pandas as pd

from .. import __version__
from ..config import RunConfig
from ..errors import one_line, safe_line
from ..figures.style import run_note
from ..files import csv_text, parse_json, write_atomically
from ..models.generation import Sampling
from ..prompts import chat
from ..registry import is_model
from ..systems import is_server
from ..world.questions import Question
from .asking import Ask, Reply, System, ask_bank

_SOURCE = "simulated, not survey data"
_ASK = tuple(f.name for f in fields(Ask))
MOST_DOWNLOAD = 4 * 2**20  # of a file that the page itself hands out
_SAMPLING = ("temperature", "top_p", "max_tokens")


def sheet(cards: Iterable[dict | str], questions: Sequence[Question], *, seed: int, sampling: Sampling | None = None) -> list[Ask]:
    """Every question to every card, people first."""
    return [ask_bank(card, q, seed=seed, sampling=sampling) for card in cards for q in questions]


def _csv_row(r: Reply, run: RunConfig, source: str) -> dict[str, str | int | float]:
    """One reply for a spreadsheet; no text of it is a formula there."""
    texts = {
        "persona_id": r.ask.persona_id, "persona": chat.render_card(r.ask.card), "domain": r.ask.domain, "question": r.ask.text,
        "options": " / ".join(r.ask.options), "answer": r.text, "stance": r.stance if r.ask.options else "",
        "option_probs": " ".join(f"{p:.4f}" for p in r.option_probs or ()), "system": r.system.label(run.settings.scale),
    }  # fmt: skip
    numbers = {"seed": r.ask.seed, "temperature": r.ask.sampling.temperature, "top_p": r.ask.sampling.top_p}
    return {name: csv_text(text) for name, text in texts.items()} | numbers | {"id": csv_text(r.ask.id), "source": source}


def _json_row(r: Reply, run: RunConfig, source: str) -> dict:
    """One reply with everything needed to ask again."""
    probs = None if r.option_probs is None else [round(p, 6) for p in r.option_probs]
    answer = {"by": r.system.label(run.settings.scale), "answer": r.text, "option": r.option, "option_probs": probs, "tokens": r.tokens}
    return {"ask": asdict(r.ask), "system": asdict(r.system)} | answer | {"source": source, "version": __version__}


def write(replies: Sequence[Reply], folder: Path, name: str, run: RunConfig) -> tuple[Path, Path]:
    """Write `<name>.csv` and `<name>.jsonl` (to ask again), return both paths. A name that is taken gets a number; every row says that it is simulated."""
    folder.mkdir(parents=True, exist_ok=True)
    name, source = free_name(folder, name), f"{_SOURCE}; {run_note(run, scale=False)}"
    csv, jsonl = folder / f"{name}.csv", folder / f"{name}.jsonl"
    write_atomically(csv, pd.DataFrame([_csv_row(r, run, source) for r in replies]).to_csv(index=False, lineterminator="\n"))
    write_atomically(jsonl, "".join(json.dumps(_json_row(r, run, source), ensure_ascii=False) + "\n" for r in replies))
    return csv, jsonl


def free_name(folder: Path, name: str) -> str:
    """`name`, or `name-2`, `name-3`, ... if there is such an export already."""
    names = (name if i == 1 else f"{name}-{i}" for i in count(1))
    return next(n for n in names if not any((folder / f"{n}{end}").exists() for end in (".csv", ".jsonl")))


def read(path: Path) -> tuple[list[Ask], list[System], list[str]]:
    """The asks, systems and answers of a file that `write` made. Raises ValueError naming file, line and what is wrong for anything else."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # not splitlines: an answer may hold a line separator
    except UnicodeDecodeError:
        raise ValueError(f"{safe_line(Path(path).name)}: not a row that the probe wrote (the file is not UTF-8)") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(_row(parse_json(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{safe_line(Path(path).name)}, line {number}: not a row that the probe wrote ({_reason(error)})") from None
    if not rows:
        raise ValueError(f"{safe_line(Path(path).name)}: no rows")
    asks, systems, answers = map(list, zip(*rows, strict=True))
    return asks, systems, answers


def _reason(error: Exception) -> str:
    """What is wrong with a line, for the person who edited it."""
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at column {error.colno}"
    return f"'{safe_line(error.args[0])[:40]}' is missing" if isinstance(error, KeyError) else safe_line(one_line(error))[:120]


def _row(row: dict) -> tuple[Ask, System, str]:
    """One line of an export. Raises ValueError, KeyError, TypeError or AttributeError for what `write` would not have written."""
    known, system = row["ask"], System(row["system"]["key"], row["system"]["adapter"])
    if unknown := set(known) - set(_ASK):
        raise ValueError(f"'{min(unknown)}' is not known")
    sampling, options = Sampling(**{k: known["sampling"][k] for k in _SAMPLING}), known["options"]
    if not isinstance(options, list) or not all(isinstance(o, str) and o for o in options) or len(options) == 1 or len(set(options)) < len(options):
        raise ValueError("'options' is no list of different texts")
    ask = Ask(**{k: known[k] for k in _ASK} | {"options": tuple(options), "sampling": sampling})
    texts = {"answer": row["answer"], "adapter": system.adapter} | {k: known[k] for k in ("persona_id", "question_id", "domain", "text", "kind")}
    wholes = {"seed": (ask.seed, 0, 2**31 - 1), "sample": (ask.sample, 0, 10**6), "max_tokens": (sampling.max_tokens, 1, 1024)}
    numbers = {"temperature": (sampling.temperature, 0, 2), "top_p": (sampling.top_p, 0, 1)}
    wrong = [k for k, v in texts.items() if not isinstance(v, str)] + [k for k, (v, lo, hi) in wholes.items() if type(v) is not int or not lo <= v <= hi]
    wrong += [k for k, (v, lo, hi) in numbers.items() if type(v) not in (int, float) or not lo <= v <= hi]
    if wrong:
        raise ValueError(f"'{wrong[0]}' has a value that cannot be")
    if not (is_model(system.key) or is_server(system.key)):
        raise ValueError(f"no model '{system.key}'")
    if not isinstance(ask.card, dict | str):
        raise ValueError("'card' is neither a card nor a text")
    if ask.prompt.count("\n") != (3 if options else 2):
        raise ValueError("a line end inside card, question or options")
    return ask, system, row["answer"]


def by_question(replies: Sequence[Reply]) -> str:
    """Two lines a question: its text, then how the stances fall and what the model's own probabilities say on average."""
    lines, groups = [], {}
    for r in replies:
        groups.setdefault((r.ask.text, r.ask.options), []).append(r)
    for (text, options), group in groups.items():
        lines.append(f"{text}\n   " + (_shares(options, group) if options else f"{len(group)} answers in words"))
    return "\n".join(lines)


def _shares(options: tuple[str, ...], group: list[Reply]) -> str:
    """Of each option how often it was read and how probable it is on average, in words."""
    counts = [sum(r.option == i for r in group) for i in range(len(options))]
    means = [sum(r.option_probs[i] for r in group) / len(group) for i in range(len(options))]
    unread = sum(r.option is None for r in group)
    parts = [f"{o}: {c} read, {m:.0%} probable" for o, c, m in zip(options, counts, means, strict=True)]
    return "; ".join(parts) + (f"; no option found in {unread}" if unread else "")


def table_row(r: Reply, expected: str) -> tuple[str, str, str, str]:
    """Person, question, answer (and what a file says instead), option read with its probability."""
    person = f"{r.ask.persona_id}: {shorten(chat.neutralise(chat.render_card(r.ask.card)), 100, placeholder=' …')}"
    answer = r.text if r.text == expected else f"{r.text}\nTHE FILE SAYS: {expected}"
    reading = r.stance if r.ask.options else "open question"
    if r.option is not None:
        reading += f", probability {r.option_probs[r.option]:.0%}"
    return person, r.ask.text, answer, reading


def safe_name(text: str) -> str:
    """`text` as the name of a file: ASCII letters, digits, _ and -."""
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:80] or "questionnaire"


def download_link(path: Path) -> str:
    """A link that saves the file from the browser (the page may be served from elsewhere): a name of `safe_name` and base64, nothing else; "" if too big."""
    if path.stat().st_size > MOST_DOWNLOAD:
        return ""
    kind = {".csv": "text/csv", ".zip": "application/zip", ".html": "text/html"}.get(path.suffix, "application/jsonl")
    return f'<a download="{path.name}" href="data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}">Download {path.name}</a> &nbsp; '
