"""Processes of this machine: how many cores may be used, what a kernel needs, what is left running and has to end."""

import json
import os
import sys
from pathlib import Path

import psutil

from .workers import allowed_cores


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
