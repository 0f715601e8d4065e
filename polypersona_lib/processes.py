"""Processes of this machine: the models of a run side by side, what a kernel needs, what is left running and has to end.

One process and one thread a twin, so that the bits depend neither on the cores nor on what runs beside it. A twin is too small to keep two threads busy,
so two cores train two twins at once. A real model takes the machine for itself, `LARGE_THREADS` threads in all. Two processes of one thread each take
.7 of the time of one with two threads to train it, and .85 to answer (measured): so it is trained, and so two of its systems answer at once.
"""

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from .config import NANO_THREADS, device

MEMORY_MB = 1400  # what one worker with a twin needs (measured while training: 1,162 to 1,272)
LARGE_THREADS = NANO_THREADS  # of all workers with a real model: fixed, so that a run that goes on elsewhere computes the same
LARGE_MB = 5000  # what one worker needs that answers as a real model (measured with long prompts: 4,495)
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"


def allowed_cores() -> int:
    """Physical cores this process may use (affinity and container quota counted), at least 1."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, int(quota) // int(period)) if quota != "max" else cores
    except (OSError, ValueError):
        pass
    return max(1, cores)


def worker_environment(threads: int) -> dict[str, str]:
    """Variables of a process that computes with so many threads.

    A step makes and drops tensors of a hundred megabytes, and glibc gives them back to the system each time: their pages are made anew, 4 KB at a time.
    `KEEP_MEMORY` keeps what was dropped, in large pages (glibc's manual, "Memory Allocation Tunables"; other systems ignore it): training SmolLM2 takes
    .91 of the time, the adapter is the same to the byte (measured). A user's own setting wins.
    """
    return {"OMP_NUM_THREADS": str(threads), "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES") or KEEP_MEMORY}


def _start(threads: int) -> None:
    """What every worker does first: its number of threads, quiet libraries, and it ends when its parent does."""
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


def side_by_side(
    work: Callable[..., Any], jobs: list[tuple], *, fresh: bool = True, large: Collection[int] = (), large_at_once: int = 1
) -> Iterator[tuple[int, Any]]:
    """(number of the job, what `work(*job)` returned) as the jobs get done.

    On a GPU one job after the other, in this process. Else each in its own process, as many at once as cores and memory allow.
    Args:
        work: a function of a module; its arguments and result must be picklable.
        fresh: a new process for every job (its peak memory is the job's alone); else a process takes the next job when it has done one.
        large: numbers of the jobs that need the machine for themselves: they come last, with `LARGE_THREADS` threads, or so many at once as
            `large_at_once` and the memory allow, which share them.
    Raises: what a job raised, ChildProcessError if a process was killed; jobs not yet begun are dropped.
    """
    if device() == "cuda" or not jobs:
        yield from ((number, work(*job)) for number, job in enumerate(jobs))
        return
    small = [number for number in range(len(jobs)) if number not in large]
    free_mb = psutil.virtual_memory().available / 2**20
    at_once = min(allowed_cores(), max(1, int(free_mb / MEMORY_MB)), len(small))
    both = max(1, min(large_at_once, LARGE_THREADS, int(free_mb / LARGE_MB), len(large)))
    for numbers, workers, threads in ((small, at_once, 1), ([n for n in range(len(jobs)) if n in large], both, LARGE_THREADS // both)):
        yield from _in_pool(work, {number: jobs[number] for number in numbers}, workers=workers, threads=threads, fresh=fresh)


def _in_pool(work: Callable[..., Any], jobs: dict[int, tuple], *, workers: int, threads: int, fresh: bool) -> Iterator[tuple[int, Any]]:
    """(number, result) of each job as it gets done, in `workers` processes of `threads` threads each."""
    if not jobs:
        return
    options = {"initializer": _start, "initargs": (threads,), "max_tasks_per_child": 1 if fresh else None}
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), **options)
    with patch.dict(os.environ, worker_environment(threads)):
        try:
            futures = {pool.submit(work, *job): number for number, job in jobs.items()}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise ChildProcessError("a worker process was killed, or out of memory; what is finished is kept: the same command goes on from there") from error
        finally:
            pool.shutdown(cancel_futures=True)


def end_children() -> None:
    """Kill every process below this one and wait for it: no kernel is left behind."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        try:
            child.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(children, timeout=5)


def end_orphans(kernel_folder: Path) -> None:
    """Kill kernels of an earlier runner that was itself killed, and their workers; a kernel's connection file lies in `kernel_folder`."""
    mark = str(kernel_folder) + os.sep
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(part.startswith(mark) for part in process.info["cmdline"] or []):
            try:
                family = [process, *process.children(recursive=True)]
                for each in family:
                    each.kill()
                psutil.wait_procs(family, timeout=5)
            except psutil.Error:
                continue


def kernel_environment(folder: Path, *, python_path: Path, extra: dict[str, str]) -> dict[str, str]:
    """Variables for a kernel that is this very interpreter, whatever kernels or start-up files the user has; files go to `folder`."""
    spec = folder / "share" / "kernels" / "python3"
    spec.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}), encoding="utf-8")
    paths = [str(python_path), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "JUPYTER_PATH": str(folder / "share"),
        "JUPYTER_RUNTIME_DIR": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(allowed_cores()),
        **extra,
    }
