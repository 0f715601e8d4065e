"""Make a notebook service's own environment (Colab, Kaggle) fit for the notebooks, touching as little of it as possible.

    %run scripts/colab.py             # in a cell, in the project's folder: install what is missing, then the pre-flight

Installed is what requirements.lock names and the environment lacks or has in another version. Kept as they are: PyTorch, which fits the service's GPU
driver, the packages that the service talks to its kernel with, and those that its page draws widgets with. `%run` and not `!python`, so that it sees
what this kernel has loaded already: a replaced package that is loaded needs a new session. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import setup_env  # noqa: E402  (stands beside this file)

KEPT = {
    "torch": "built for the service's GPU driver",
    **dict.fromkeys(
        "comm debugpy ipykernel ipython jupyter-client jupyter-core jupyter-server jupyter-server-terminals matplotlib-inline nest-asyncio2 prompt-toolkit "
        "ptyprocess pyzmq setuptools terminado tornado traitlets".split(),
        "the service talks to its kernel through it",
    ),
    **dict.fromkeys("ipywidgets jupyterlab-widgets widgetsnbextension".split(), "the service's page draws widgets of its own version"),
}
"""Packages that are never replaced if they are there, and why. One that is missing is installed."""


def on_service() -> bool:
    """True on Colab and Kaggle. Elsewhere somebody's own environment would be changed, perhaps one that other work relies on."""
    return any(name in os.environ for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")) or "google.colab" in sys.modules


def to_install(pins: Mapping[str, str], lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """What to install (`name==version`), and what is kept although it differs, from `setup_env.problems`' lines."""
    wanted, kept = [], []
    for line in lines:
        name = line.split(" ", 1)[0]
        if name in KEPT and "is not installed" not in line:
            kept.append(line)
        else:
            wanted.append(f"{name}=={pins[name]}")
    return wanted, kept


def loaded(wanted: Iterable[str], modules: Iterable[str]) -> list[str]:
    """Which of the packages to install this kernel has in memory, in another version."""
    here, stale = {name.partition(".")[0] for name in modules}, []
    for name in (text.split("==")[0] for text in wanted):
        try:
            files = metadata.files(name) or ()
        except metadata.PackageNotFoundError:
            continue
        if here & {file.parts[0].removesuffix(".py") for file in files}:
            stale.append(name)
    return sorted(stale)


def install(wanted: list[str]) -> bool:
    """Install the packages in batches without their dependencies (the lock names them all); False at the first that fails."""
    for first in range(0, len(wanted), setup_env.BATCH):
        batch = wanted[first : first + setup_env.BATCH]
        print(f"    [{first + len(batch):3d}/{len(wanted)}] {batch[0]} ... {batch[-1]}", flush=True)
        if setup_env.pip("-q", "--no-deps", *batch):
            return False
    return True


def main() -> str:
    """Install, check, say what to do next. Returns "ready", "restart" or "failed" (a cell has no exit status)."""
    if not on_service():
        print("colab: this is neither Colab nor Kaggle, so nothing was installed; ./run_all.sh and ./run_tests.sh make an environment of their own")
        return "failed"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        print(f"colab: this kernel is Python {sys.version_info[0]}.{sys.version_info[1]}; the lock is for 3.11 to 3.13. Choose another runtime version")
        return "failed"
    pins = setup_env.read_lock(setup_env.LOCK)
    wanted, kept = to_install(pins, setup_env.problems(pins))
    for line in kept:
        print(f"    kept: {line} ({KEPT[line.split(' ', 1)[0]]})")
    stale = loaded(wanted, list(sys.modules))
    print(f"    {len(wanted)} of {len(pins)} packages to install", flush=True)
    torch = [name for name in wanted if name.startswith("torch==")]
    if torch:
        setup_env.install_torch(pins["torch"])
    if not install([name for name in wanted if name not in torch]):
        print("colab: pip failed (see above); run this cell again to go on where it stopped")
        return "failed"
    setup_env.install_models()
    if stale:
        print(f"colab: restart the session (menu Runtime), then run this cell again: {', '.join(stale[:5])} were loaded in another version")
        return "restart"
    done = subprocess.run([sys.executable, "-m", "polypersona_lib", "doctor"], cwd=setup_env.ROOT, capture_output=True, text=True)
    print(done.stdout + done.stderr)
    return "failed" if done.returncode else "ready"


if __name__ == "__main__":
    main()
