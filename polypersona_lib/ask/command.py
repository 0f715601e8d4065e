"""`ask --questions Q --people P --models M`: put a questionnaire to people, and leave a folder of answers."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import DEFAULT_SEED
from ..errors import InputError, exit_status, quoted, safe_line
from ..files import fingerprint, sha256, value_hash
from ..intake.people_file import People, people_frame, read_people
from ..intake.question_rows import parse_map, split_map
from ..intake.questionnaire_file import read_questionnaire
from ..intake.survey_format import FORMAT, Questionnaire, item_to_dict
from ..models.answer_budget import Budget, add_limits, read_limits
from ..progress import track
from ..prompts.chat import PROMPT_VERSION
from .asking import ASK_MODES, WANTED, AskPlan, ask_people
from .output import input_lines, write_output
from .ray_engine import RayOptions, ask_on_ray, import_ray, ray_options
from .scale_shards import write_scaled
from .shards import SHARD_ANSWERS, SHARD_PEOPLE, answers_in_parts, asked_line, blocks, open_folder, people_in_a_block
from .who_answers import Who, who_answers

CENSUS = "census:"
MOST_DRAWN = 1_000_000


def people_of(given: str, *, questionnaire: Questionnaire, mapping: Mapping[str, str], seed: int) -> People:
    """The people of `--people`: a file, or `census:N`. Raises InputError."""
    if not given.startswith(CENSUS):
        return read_people(given, questionnaire=questionnaire, mapping=mapping)
    number = given.removeprefix(CENSUS)
    if not number.isdigit() or not 1 <= int(number) <= MOST_DRAWN:
        raise InputError(f"--people {quoted(given)}: census:N draws 1 to {MOST_DRAWN:,} people")
    return census_people(int(number), seed=seed)


def census_people(count: int, *, seed: int = DEFAULT_SEED) -> People:
    """Adults of the United States drawn from the census joint (state, race, gender, age, education); years are drawn evenly within the joint's age bands.

    The first people stay the same when more are drawn. Source: `people.places` (American Community Survey 2014-2018; it lacks the District of Columbia).
    """
    from ..people.card_tiers import AGE_SPANS
    from ..people.places import census_joint

    joint = census_joint()
    u = np.random.default_rng(seed).random((count, 2))
    cells = joint.iloc[np.searchsorted(np.cumsum(joint["n"]) / joint["n"].sum(), u[:, 0], side="right").clip(0, len(joint) - 1)]
    cards = []
    for number, (cell, draw) in enumerate(zip(cells.itertuples(index=False), u[:, 1], strict=True)):
        low, high = AGE_SPANS[cell.age]
        race = "of another race" if cell.race == "Other" else cell.race
        card = {
            "age": low + int(draw * (high - low + 1)),
            "gender": cell.gender,
            "ethnicity": race,
            "region": cell.state,
            "country": "USA",
            "education": cell.education,
        }
        cards.append((f"census-{number:06d}", card))
    return People(frame=people_frame(cards), source=f"census:{count}", sha256=sha256(f"census|{count}|{seed}"))


def default_folder(questionnaire: Questionnaire, plan: Mapping) -> Path:
    """Where answers go unless `--out` says: a folder in the working directory, named by the questionnaire and the run."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in Path(questionnaire.source).stem).strip("-")[:40] or "questionnaire"
    return Path(f"answers-{stem}-{fingerprint(plan)[:8]}")


def ask_systems(out: Path, questionnaire: Questionnaire, people: People, systems: list[Who], plan: AskPlan, *, size: int) -> pd.DataFrame:
    """All systems answer, in blocks of `size` people; blocks that are done are kept. One line says what is done and how fast."""
    frames, count = [], len(blocks(people.frame, size))
    for who in systems:
        opened: list = []

        def ask(block: pd.DataFrame, who: Who = who, opened: list = opened) -> pd.DataFrame:
            opened[:] = opened or [who.opened()]
            answerer, room = opened[0]
            return ask_people(answerer, questionnaire, block, plan, system=who.system, room=room)

        parts = answers_in_parts(out, who.system, people.frame, len(questionnaire.items), plan.repeats, ask, size)
        began, asked, kept = time.monotonic(), 0, 0
        with track(count, f"{who.label}: blocks of {size} people") as bar:
            for frame, was_kept in parts:
                frames.append(frame)
                asked, kept = asked + len(frame) * (not was_kept), kept + len(frame) * was_kept
                bar.update(note=f"{asked + kept:,} answers")
        print(asked_line(who.label, asked, kept, time.monotonic() - began), flush=True)
    return pd.concat(frames, ignore_index=True)


def plan_of(questionnaire: Questionnaire, people: People, systems: list[Who], plan: AskPlan, *, size: int, context: int | None = None) -> dict:
    """What the answers depend on: a folder holds the answers of one such plan."""
    return {
        "format": FORMAT, "questions": value_hash([item_to_dict(item) for item in questionnaire.items]),
        "people": value_hash(people.frame.drop(columns=["weight", "unit"]).astype(object).where(people.frame.notna(), None).values.tolist()),
        "models": {who.system: who.identity for who in systems}, "prompt": PROMPT_VERSION, "people_in_a_block": size, "context": context,
        **asdict(plan),
    }  # fmt: skip


def run_ask(options: argparse.Namespace) -> Path:
    """Read, ask, write. Returns the folder. Raises InputError."""
    import pyreadstat  # noqa: F401  (before anybody is asked: the folder cannot be finished without it)

    questions_map, people_map = split_map(parse_map(options.map))
    questionnaire = read_questionnaire(options.questions, mapping=questions_map)
    try:
        plan = AskPlan(mode=options.mode, repeats=options.repeats, seed=options.seed, wanted=options.closed, both_orders=not options.one_order)
        budget = Budget(read_limits([options.max_requests, options.budget_usd, options.prices]))
    except ValueError as error:
        raise InputError(str(error)) from None
    people = people_of(options.people, questionnaire=questionnaire, mapping=people_map, seed=options.seed)
    size = people_in_a_block(len(questionnaire.items) * plan.repeats) if options.block is None else options.block
    if not 1 <= size <= MOST_DRAWN:
        raise InputError(f"--block must be 1 to {MOST_DRAWN:,} people, not {size}")
    systems = who_answers(options.models, questionnaire, seed=options.seed, budget=budget, context=options.context)
    record = plan_of(questionnaire, people, systems, plan, size=size, context=options.context)
    out = Path(options.out).expanduser() if options.out else default_folder(questionnaire, record)
    workers = ready_engine(options)
    goes_on = open_folder(out, record)
    print(f"{len(questionnaire.items)} questions, {len(people.frame):,} people, {plan.repeats} x; {'goes on in' if goes_on else 'writes to'} {out}", flush=True)
    read = reading_lines(questionnaire, people)
    print(*read, sep="\n", end="\n" if read else "", flush=True)

    if workers is None:
        answers = ask_systems(out, questionnaire, people, systems, plan, size=size)
        lines = write_output(out, answers, questionnaire, people, record | record_of(questionnaire, people, systems, budget))
    else:
        told = ask_on_ray(out, questionnaire, people.frame, systems, plan, size=size, budget=budget, options=workers)
        whole = record | record_of(questionnaire, people, systems, budget) | {"ray": asdict(workers)}
        lines = write_scaled(out, questionnaire, people, whole, told, size=size)
    print("\n".join(line for line in lines if line not in read))
    scored = people.frame["own_answers"].notna().any()  # score compares with the people's own answers
    print(f"answers: {out}; next: python -m polypersona_lib {'score' if scored else 'pilot --answers'} {out}")
    return out


def ready_engine(options: argparse.Namespace) -> RayOptions | None:
    """How Ray works, None for the local engine, before anything is written. Raises InputError if Ray is not here, or an option does not fit."""
    if options.engine == "ray":
        import_ray()
        return ray_options(options.workers, options.threads, options.context)
    if options.workers is not None:
        raise InputError("--workers: needs --engine ray; the local engine is one process")
    if options.threads is not None:
        import torch

        torch.set_num_threads(ray_options(1, options.threads, None).threads)
    return None


def record_of(questionnaire: Questionnaire, people: People, systems: list[Who], budget: Budget) -> dict:
    """What the record says beside the plan: sources, names, where answers went, notes, what servers cost."""
    sources = {"questionnaire": {"source": questionnaire.source, "sha256": questionnaire.sha256}, "people": {"source": people.source, "sha256": people.sha256}}
    cost = {"requests": budget.requests, "tokens_in": budget.tokens_in, "tokens_out": budget.tokens_out, "cost_usd": budget.spent_usd}
    return {
        "sources": sources, "systems": [who.label for who in systems], "addresses": [who.address for who in systems if who.address],
        "notes": dict(questionnaire.notes) | dict(people.notes), "servers": cost,
    }  # fmt: skip


def reading_lines(questionnaire: Questionnaire, people: People, *, who: str = "people") -> list[str]:
    """What was recognised, and what is not used or cannot be read, in at most a few lines. `who`: the people, in words."""
    lines = []
    for what, notes in (("questions", questionnaire.notes), (who, people.notes)):
        if notes:
            shown = safe_line("; ".join(f"{note} ({n:,} x)" for note, n in notes[:8]))
            lines.append(f"{what}: {shown}" + (f"; and {len(notes) - 8} more (record.json)" if len(notes) > 8 else ""))
    return lines + input_lines(questionnaire, people, who=who)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m polypersona_lib ask", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Put a questionnaire to people by one or more models. Answers and people stay on this machine unless server: is given.", epilog=_HELP,
    )  # fmt: skip
    parser.add_argument(
        "--questions", required=True, metavar="FILE", help="CSV, TSV, JSON lines, JSON, Parquet, Excel or XLSForm (.xlsx), Qualtrics (.qsf), LimeSurvey (.txt)"
    )
    parser.add_argument(
        "--people", required=True, metavar="FILE|census:N", help="CSV, TSV, JSON lines, JSON, Parquet, .xlsx; or N adults drawn from the US census"
    )
    parser.add_argument("--models", required=True, metavar="A,B", help="KEY, KEY--base, FOLDER, FILE.gguf, HUB_ID, server:URL#NAME, vllm:NAME, table:FILE")
    parser.add_argument("--mode", choices=ASK_MODES, default="single", help="each question alone, or one conversation a person (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, metavar="K", help="how many times everybody is asked (default %(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of all random numbers (default %(default)s)")
    parser.add_argument("--closed", choices=WANTED, default=WANTED[0], help="closed questions give option probabilities, words, or both (default %(default)s)")
    parser.add_argument("--one-order", action="store_true", help="ask closed questions in the listed order alone: half the work, and the order effect stays in")
    parser.add_argument("--context", type=int, metavar="N", help="most tokens of a prompt and its answer (default: what a local model says of itself)")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or workers of Ray: docs/scale.md (default %(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="with --engine ray: workers, each with a model of its own (default: the CPUs)")
    parser.add_argument("--threads", type=int, metavar="N", help="PyTorch threads of a worker (default: the CPUs, divided among the workers)")
    parser.add_argument(
        "--block",
        type=int,
        metavar="N",
        help=f"people that are asked together and written as one file (default: so many that they give {SHARD_ANSWERS} answers, at most {SHARD_PEOPLE})",
    )
    parser.add_argument("--map", action="append", default=[], metavar="THEIRS=OURS", help="a column of the files under our name; may be given several times")
    parser.add_argument("--out", metavar="DIR", help="folder of the answers (default: a name in the working directory)")
    add_limits(parser)
    return parser


_HELP = """a second call with the same options goes on where the first one stopped.
columns of questions: id, text, kind (yes_no, likert, agreement, single, multiple, rating,
  number, ranking, open), options, lowest first ("No|Yes", "1=No|2=Yes", "0-10", a usual scale), codes,
  option_kinds (the options that are no answer, as "Don't know|Refused"; none: all are answers),
  battery, construct, key or reversed, negated, variant, paraphrases (| between them), asked_if, domain, least, most
columns of people: persona_id, persona (a text), age, gender, education, occupation, ...,
  weight, unit; a column named as a question holds the person's own answers
"""


def main(argv: list[str]) -> int:
    """The `ask` command. Exit status 0, or 2 for bad usage or bad input."""
    return exit_status(_parser(), argv, run_ask, stopped="stopped; what is whole is kept, and the same command goes on")
