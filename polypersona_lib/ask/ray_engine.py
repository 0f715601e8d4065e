"""`ask --engine ray`: Ray Data hands blocks of people to workers. Each worker holds the model, asks as the local engine does, and writes its shard itself.

Only block numbers and one line a block go through Ray, so the driver's memory does not grow with the answers. All workers must see the folder of the answers.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import paths
from ..errors import InputError, one_line
from ..intake.survey_format import Questionnaire
from ..models.answer_budget import Budget, BudgetSpent, Limits
from ..models.answerers import OptionShares, Prompt, Written
from ..models.generation import Draws
from ..progress import track
from .asking import AskPlan, ask_people
from .output import Told
from .scale_shards import Blocks, added_up, answer_block, keep_block, kept_line, note_done, read_block, take_stock, write_people
from .shards import asked_line
from .vllm_rows import block_frame, check_vllm, read_reply, request_rows, vllm_processor
from .who_answers import Who, who_answers

NO_RAY = "--engine ray: Ray is not installed in this environment; run: python scripts/setup_env.py scale, then use .venv-scale/bin/python in place of python"
WAVE = 1000  # blocks that Ray is given at once: what it keeps of each stays in the driver until the wave ends
RETRIES = 3  # how often a block is given to another worker after its worker died
CPUS = 0.5  # of an actor, as Ray counts them: actors that take every CPU leave none for reading, and the run hangs
STARTS = 3  # Ray gives its own processes 30 seconds to start; a busy machine may need a second time
STORE_BYTES = 100_000_000  # Ray's shared memory; nothing large goes through it


@dataclass(frozen=True, kw_only=True)
class BlockJob:
    """What a worker must know. `out` and `folder` (where names of files begin) are absolute; `entry` is the system's own of `--models`."""

    out: Path
    folder: Path
    entry: str
    system: str
    questionnaire: Questionnaire
    plan: AskPlan
    blocks: Blocks
    threads: int
    context: int | None = None
    purse: Any = None


@dataclass(frozen=True)
class RayOptions:
    """How many workers, with how many PyTorch threads each, and the most tokens of a prompt (None: what the model says)."""

    workers: int
    threads: int
    context: int | None = None


def ray_options(workers: int | None, threads: int | None, context: int | None) -> RayOptions:
    """The options with their defaults: a worker a CPU, and as many threads each as the CPUs allow. Raises InputError for what cannot be."""
    cpus = os.cpu_count() or 1
    workers = cpus if workers is None else workers
    threads = max(1, cpus // max(workers, 1)) if threads is None else threads
    if not 1 <= workers <= 10_000 or not 1 <= threads <= 1000:
        raise InputError(f"--workers must be 1 to 10,000 and --threads 1 to 1,000, not {workers} and {threads}")
    return RayOptions(workers, threads, context)


def import_ray() -> Any:
    """The package Ray with Ray Data, as quiet as it can be. Raises InputError, with the command that installs it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError(NO_RAY) from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Ray, with a cluster on this machine while the block lasts, or with the one at $RAY_ADDRESS. One that this process has already is left as it is.

    Raises: InputError if Ray is not installed or does not start.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(paths.ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))
    address = os.environ.get("RAY_ADDRESS") or "local"
    local = {"num_cpus": workers + 1, "include_dashboard": False, "object_store_memory": STORE_BYTES} if address == "local" else {}
    for left in reversed(range(STARTS)):
        try:
            ray.init(address=address, logging_level="ERROR", log_to_driver=False, **local)
            break
        except Exception as error:  # Ray says "timed out during startup" with a plain Exception
            ray.shutdown()
            if not left:
                raise InputError(f"--engine ray: Ray did not start ({one_line(error)[:200]}); see TROUBLESHOOTING.md") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def ask_on_ray(
    out: Path, questionnaire: Questionnaire, people: pd.DataFrame, systems: Sequence[Who], plan: AskPlan, *, size: int, budget: Budget, options: RayOptions
) -> Told:
    """All systems answer; blocks that are done are kept. Returns what `output.write_record` is told; `budget` has what servers cost.

    Args: size: people in a block. Raises: InputError, also for what a worker says; what is whole is kept.
    """
    out, blocks = out.resolve(), Blocks(len(people), size, len(questionnaire.items) * plan.repeats)
    if any(who.vllm for who in systems):
        check_vllm(questionnaire, plan)
    write_people(out, people, size)
    stock = {who.system: take_stock(out, who.system, blocks) for who in systems}
    if any(missing for _, missing in stock.values()):
        with cluster(options.workers) as ray:
            purse = ray.remote(_Purse).options(num_cpus=0).remote(budget.limits) if any(who.address for who in systems) else None
            for who in systems:
                job = BlockJob(out=out, folder=Path.cwd(), entry=who.entry, system=who.system, questionnaire=questionnaire, plan=plan, blocks=blocks,
                          threads=options.threads, context=options.context, purse=purse)  # fmt: skip
                _ask_system(ray, who, job, *stock[who.system], options.workers)
            if purse is not None:
                budget.requests, budget.tokens_in, budget.tokens_out = ray.get(purse.spent.remote())
    return {who.system: added_up(stock[who.system][0].values()) for who in systems}


def _ask_system(ray: Any, who: Who, job: BlockJob, done: dict[int, dict], missing: Sequence[int], workers: int) -> None:
    """Fill `done` with the lines of the blocks that are missing."""
    asked, kept, began = 0, sum(line["rows"] for line in done.values()), time.monotonic()
    if who.address and missing:
        who.opened()[0].connection.announce()
    with track(len(job.blocks), f"{who.label}: blocks of {job.blocks.size} people") as bar:
        bar.update(len(done))
        for start in range(0, len(missing), WAVE):
            for line in _lines(ray, who, job, missing[start : start + WAVE], workers):
                if "error" in line:
                    raise InputError(line["error"])
                note_done(job.out, job.system, line)
                done[line["block"]] = line
                asked += line["rows"]
                bar.update(note=f"{asked + kept:,} answers")
    print(asked_line(who.label, asked, kept, time.monotonic() - began), flush=True)


def _lines(ray: Any, who: Who, job: BlockJob, numbers: Sequence[int], workers: int) -> Iterator[dict]:
    """The lines of blocks as they are finished."""
    blocks = ray.data.from_items([{"block": number} for number in numbers], override_num_blocks=len(numbers))
    try:
        if who.vllm:
            yield from _vllm_lines(ray, who.vllm, job, blocks, numbers, workers)
            return
        pool = ray.data.ActorPoolStrategy(size=min(workers, len(numbers)), max_tasks_in_flight_per_actor=2)
        asked = blocks.map_batches(BlockAsker, fn_constructor_args=[job], batch_size=1, compute=pool, num_cpus=CPUS, max_restarts=-1, max_task_retries=RETRIES)
        for row in asked.iter_rows():
            yield json.loads(row["line"])
    except ray.exceptions.RayError as error:
        said = one_line(str(error).strip().splitlines()[-1])[:200] if str(error).strip() else type(error).__name__
        raise InputError(f"--engine ray: the workers stopped ({said}); what is whole is kept, and the same command goes on") from None


class BlockAsker:
    """A worker: holds the model from its first block on, and answers block by block."""

    def __init__(self, job: BlockJob) -> None:
        self.job, self.opened = job, None
        os.chdir(job.folder)
        import torch

        torch.set_num_threads(job.threads)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        """Answer blocks (column block). Returns column line: each block's line as JSON, or {"error": what the user must mend}."""
        return {"line": [json.dumps(self._line(int(number))) for number in batch["block"]]}

    def _line(self, number: int) -> dict:
        job, began = self.job, time.monotonic()
        try:
            if line := kept_line(job.out, job.system, number, job.blocks.rows_of(number)):
                return line  # the worker that asked these people died after it had written
            frame = answer_block(self._ask, read_block(job.out, number), self._give_up)
            line = keep_block(job.out, job.system, number, frame, time.monotonic() - began)
        except InputError as error:
            return {"error": str(error)}
        except OSError as error:
            return {"error": f"{job.out}: cannot be read or written ({error.strerror}); what was answered before is kept"}
        return line | {"worker": os.getpid(), "peak_mb": peak_mb()}

    def _ask(self, people: pd.DataFrame) -> pd.DataFrame:
        job = self.job
        if self.opened is None:
            budget = Budget() if job.purse is None else _SharedBudget(purse=job.purse)
            (who,) = who_answers([job.entry], job.questionnaire, seed=job.plan.seed, budget=budget, context=job.context)
            self.opened = who.opened()
        answerer, room = self.opened
        return ask_people(answerer, job.questionnaire, people, job.plan, system=job.system, room=room)

    def _give_up(self, people: pd.DataFrame, reason: str) -> pd.DataFrame:
        nobody = people.assign(card=json.dumps("nobody"))  # the card itself may be what fails
        return ask_people(_Silent(reason), self.job.questionnaire, nobody, self.job.plan, system=self.job.system)


@dataclass(frozen=True)
class _Silent:
    """An answerer that says nothing but why: its rows are the failed rows of these people."""

    reason: str
    name: str = "nobody"

    def write(self, prompts: Sequence[Prompt], sampling: Draws) -> list[Written]:
        return [Written("", reason=self.reason)] * len(prompts)

    def option_probabilities(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> list[OptionShares]:
        return [OptionShares(None, reason=self.reason)] * len(prompts)


def peak_mb() -> float:
    """The most memory (MB) that this process has held so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3), 1)


# --- one budget for all workers --------------------------------------------------------------------------------------------------------------


class _Purse:
    """An actor that holds the budget of the run; it outlives the workers."""

    def __init__(self, limits: Limits) -> None:
        self.budget = Budget(limits)

    def reserve(self, tokens_in: int, tokens_out: int) -> str:
        """ "" if the request may be sent, else why not."""
        try:
            self.budget.reserve(tokens_in, tokens_out)
        except BudgetSpent as error:
            return str(error)
        return ""

    def settle(self, reserved: tuple[int, int], used: tuple[int, int]) -> None:
        self.budget.settle(reserved, used)

    def spent(self) -> tuple[int, int, int]:
        return self.budget.requests, self.budget.tokens_in, self.budget.tokens_out


@dataclass
class _SharedBudget(Budget):
    """A worker's hold on the budget of the run."""

    purse: Any = None

    def reserve(self, tokens_in: int, tokens_out: int) -> None:
        import ray

        if reason := ray.get(self.purse.reserve.remote(tokens_in, tokens_out)):
            raise BudgetSpent(reason)

    def settle(self, reserved: tuple[int, int], used: tuple[int, int]) -> None:
        import ray

        ray.get(self.purse.settle.remote(reserved, used))


# --- vLLM ------------------------------------------------------------------------------------------------------------------------------------


def _vllm_lines(ray: Any, source: str, job: BlockJob, blocks: Any, numbers: Sequence[int], workers: int) -> Iterator[dict]:
    """The rows of all blocks go through vLLM; a block is written when its last reply is there."""
    requests = blocks.flat_map(lambda row: request_rows(read_block(job.out, row["block"]), row["block"], job.questionnaire, job.plan, job.context))
    replies: dict[int, dict[str, dict]] = {}
    waiting, began = set(numbers), time.monotonic()

    def written(number: int) -> dict:
        waiting.discard(number)
        frame = block_frame(read_block(job.out, number), job.questionnaire, job.plan, job.context, replies.pop(number, {}), job.system)
        return keep_block(job.out, job.system, number, frame, time.monotonic() - began)

    for row in vllm_processor(source, workers=workers, context=job.context)(requests).iter_rows():
        own = replies.setdefault(row["block"], {})
        own[row["key"]] = read_reply(row)
        if len(own) == row["of"]:
            yield written(row["block"])
    for number in sorted(waiting):
        yield written(number)
