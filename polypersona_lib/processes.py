"""Processes of this machine: the models of a run side by side, what a kernel needs, what is left running and has to end.

One process and one thread a model, so that the bits depend neither on the cores nor on what runs beside it. A twin is too small to keep two threads busy,
so two cores train two models at once.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from .config import device

MEMORY_MB = 1400  # what one worker needs (measured while training: 1,162 to 1,272)


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


def _start() -> None:
    """What every worker does first: one thread, quiet libraries, and it ends when its parent does."""
    import threading

    threading.Thread(target=_end_with_parent, daemon=True).start()  # before the imports: a parent may end while they take their seconds
    import warnings

    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)


def side_by_side(work: Callable[..., Any], jobs: list[tuple], *, fresh: bool = True) -> Iterator[tuple[int, Any]]:
    """(number of the job, what `work(*job)` returned) as the jobs get done.

    On a GPU one job after the other, in this process. Else each in its own process, as many at once as cores and memory allow.
    Args:
        work: a function of a module; its arguments and result must be picklable.
        fresh: a new process for every job (its peak memory is the job's alone); else a process takes the next job when it has done one.
    Raises: what a job raised; jobs not yet begun are dropped.
    """
    if device() == "cuda" or not jobs:
        yield from ((number, work(*job)) for number, job in enumerate(jobs))
        return
    room = max(1, int(psutil.virtual_memory().available / 2**20 / MEMORY_MB))
    at_once = min(allowed_cores(), room, len(jobs))
    pool = ProcessPoolExecutor(at_once, mp_context=get_context("spawn"), initializer=_start, max_tasks_per_child=1 if fresh else None)
    with patch.dict(os.environ, OMP_NUM_THREADS="1"):
        try:
            futures = {pool.submit(work, *job): number for number, job in enumerate(jobs)}
            for future in as_completed(futures):
                yield futures[future], future.result()
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
    """Kill kernels of an earlier runner that was itself killed; their connection file lies in `kernel_folder`."""
    mark = str(kernel_folder) + os.sep
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(part.startswith(mark) for part in process.info["cmdline"] or []):
            try:
                process.kill()
                process.wait(5)
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
