"""Models side by side: order, errors, threads, and workers that end with their parent."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time

import psutil
import pytest

from polypersona_lib import paths, processes

ALONE = """
import time
from polypersona_lib import processes
def main():
    for _ in processes.side_by_side(time.sleep, [(120,), (120,)]):
        pass
if __name__ == "__main__":
    main()
"""


def threads() -> tuple[int, str]:
    """Threads of PyTorch in this process, and what OpenMP was told."""
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def pages_of_later_tensors() -> int:
    """How many pages the system made for three tensors of 100 MB, each dropped before the next, after a first one."""
    import resource

    import torch

    def made() -> int:
        torch.ones(25_000_000)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    before = made()
    return [made() for _ in range(3)][-1] - before


def fail(name: str) -> None:
    """Raise."""
    raise ValueError(f"bad {name}")


def test_every_job_comes_back_with_its_number():
    assert sorted(processes.side_by_side(pow, [(2, 1), (2, 2), (2, 3)])) == [(0, 2), (1, 4), (2, 8)]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_process_takes_one_job_or_the_next_one_too(fresh, monkeypatch):
    monkeypatch.setattr("polypersona_lib.processes.allowed_cores", lambda: 1)
    found = {pid for _, pid in processes.side_by_side(os.getpid, [(), (), ()], fresh=fresh)}
    assert len(found) == (3 if fresh else 1) and os.getpid() not in found


def test_a_worker_has_one_thread_and_this_process_keeps_its_own():
    before = os.environ.get("OMP_NUM_THREADS")
    assert [found for _, found in processes.side_by_side(threads, [()])] == [(1, "1")]
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_worker_keeps_the_memory_of_dropped_tensors_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert next(processes.side_by_side(pages_of_later_tensors, [()]))[1] < 1000
    assert "GLIBC_TUNABLES" not in os.environ
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=0")
    assert processes.worker_environment(2) == {"OMP_NUM_THREADS": "2", "GLIBC_TUNABLES": "glibc.malloc.perturb=0"}
    assert next(processes.side_by_side(pages_of_later_tensors, [()]))[1] > 50_000


def test_what_a_job_raises_arrives():
    with pytest.raises(ValueError, match="bad job"):
        list(processes.side_by_side(fail, [("job",)]))


def test_workers_end_with_their_parent_while_they_start(tmp_path):
    """At work they do too: `tests/faults` kills the parents of a training."""
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    parent = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(paths.ROOT)})
    deadline, children, ready = time.monotonic() + 120, [], False
    while time.monotonic() < deadline and not ready:
        time.sleep(0.05)
        children = psutil.Process(parent.pid).children(recursive=True)
        ready = any("spawn_main" in " ".join(c.cmdline()) for c in children)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert ready and not alive


def test_a_training_ends_with_a_launcher_that_nobody_buried():
    """The first process of a container often does not wait for those that it inherits: they stay as zombies."""
    launcher = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(launcher.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    script = f"from polypersona_lib.training.jobs import _end_with; _end_with({launcher.pid})"
    assert subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(paths.ROOT)}, timeout=120).returncode == 1
    launcher.wait()


def test_the_surroundings_do_not_set_the_threads_of_pytorch():
    script = "from polypersona_lib.config import RunConfig, prepare; prepare(RunConfig()); import torch; print(torch.get_num_threads())"
    variables = {"PYTHONPATH": str(paths.ROOT), "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", script], env=os.environ | variables, capture_output=True, text=True).stdout == "2\n"
