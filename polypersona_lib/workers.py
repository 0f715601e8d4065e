"""The models of a run side by side: one process and one thread a model, so that the bits depend neither on the cores nor on what runs beside them.

A twin is too small to keep two threads busy, so two cores train two models at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from typing import Any

MEMORY_MB = 1400  # what one worker needs (measured while training: 1,162 to 1,272)


def _start(threads: int) -> None:
    """What every worker does first; it ends with its parent, however that one ends."""
    import threading

    threading.Thread(target=_end_with_parent, daemon=True).start()  # before the imports: a parent may end while they take their seconds
    import warnings

    import torch
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)


def side_by_side(work: Callable[..., Any], jobs: list[tuple], *, fresh: bool = True) -> Iterator[tuple[int, Any]]:
    """(number of the job, what `work(*job)` returned) as the jobs get done.

    On a GPU one job after the other in this process. Else each in another process: as many at once as there are cores and memory for.
    Args:
        work: a function of a module; its arguments and result must be picklable.
        fresh: a new process for every job (its peak memory is the job's alone); else a process takes the next job when it has done one.
    Raises: what a job raised; jobs not yet begun are dropped.
    """
    from .config import device

    if device() == "cuda" or not jobs:
        yield from ((number, work(*job)) for number, job in enumerate(jobs))
        return
    import psutil

    from .processes import allowed_cores

    room = max(1, int(psutil.virtual_memory().available / 2**20 / MEMORY_MB))
    before, os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS"), "1"
    at_once, context = min(allowed_cores(), room, len(jobs)), get_context("spawn")
    pool = ProcessPoolExecutor(at_once, mp_context=context, initializer=_start, initargs=(1,), max_tasks_per_child=1 if fresh else None)
    try:
        futures = {pool.submit(work, *job): number for number, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
