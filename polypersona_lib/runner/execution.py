"""One notebook in one kernel, watched: the result is decided by a sentinel, not by what papermill believes.

papermill 2.7 counts `sys.exit(0)` and a stage whose kernel was killed as finished, and writes its output in place. Here a notebook has succeeded only if its
last cell left this run's nonce in `.done/<number>`; the output is written under a temporary name and renamed.
"""

import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil

from ..errors import InputError
from ..files import read_json
from ..processes import end_children

START_S = 300  # papermill's 60 s are too few for an environment read for the first time from a slow disk
ADDED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
KERNEL_DIED = "the kernel died (killed, or out of memory)"
_IN_WORDS = {  # what a notebook's error says -> what a user can do
    r"MemoryError|an(?:no|')t allocate memory|CUDA out of memory": "not enough memory; close other programs, then the same command goes on from here",
    r"\[Errno (28|122|27)\]|No space left on device": "no space left on device; make room, or name another place: --out DIR, for the cache POLYPERSONA_CACHE",
    r"\[Errno (13|30)\]": "a file or folder cannot be written; make it writable, or name another place: --out DIR, for the cache POLYPERSONA_CACHE",
}


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended: status `ok`, `failed` or `input` (bad input: `cause` is the whole message); cell counts from 1, 0 if unknown."""

    status: str
    cause: str = ""
    cell: int = 0
    cells: int = 0
    notebook: Path | None = None
    wall_time_s: float = 0.0
    peak_memory_mb: float = 0.0


class MemorySampler:
    """Peak resident memory of this process and all its descendants, in MB."""

    def __init__(self, interval_s: float = 0.5) -> None:
        self.interval_s, self.peak_mb, self._at = interval_s, 0.0, 0.0

    def sample(self) -> None:
        """Measure once, at most every `interval_s` seconds."""
        if time.monotonic() - self._at < self.interval_s:
            return
        self._at = time.monotonic()
        total = 0
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        self.peak_mb = max(self.peak_mb, total / 2**20)


def run_notebook(
    source: Path, *, folder: Path, number: str, parameters: dict, variables: dict[str, str], sampler: MemorySampler, poll: Callable[[], None]
) -> Outcome:
    """Execute `source` with `parameters` in a fresh kernel; its executed copy goes to `folder/notebooks`, a failed one as `<stem>.failed.ipynb`.

    Args:
        source: the notebook; the kernel works in its folder. folder: results folder of the run. number: the stage, names the sentinel.
        variables: environment of the kernel. sampler: collects the peak memory. poll: called about five times a second.
    """
    saved = folder / "notebooks" / source.name
    saved.parent.mkdir(parents=True, exist_ok=True)
    working, failed = saved.with_name(f".{source.stem}.running.ipynb"), saved.with_name(f"{source.stem}.failed.ipynb")
    sentinel, nonce = folder / ".done" / number, secrets.token_hex(16)
    for stale in (working, failed, sentinel):
        stale.unlink(missing_ok=True)
    began, errors = time.monotonic(), []
    with patch.dict(os.environ, {**variables, "POLYPERSONA_NONCE": nonce}):
        worker = threading.Thread(target=_papermill, args=(source, working, parameters, errors), daemon=True)
        try:
            worker.start()
            while worker.is_alive():
                worker.join(0.2)
                sampler.sample()
                poll()
        except BaseException:
            end_children()
            worker.join(5)
            _keep(working, failed)
            raise
    measured = {"wall_time_s": round(time.monotonic() - began, 2), "peak_memory_mb": round(sampler.peak_mb, 1)}
    if not errors and sentinel.is_file() and sentinel.read_text(encoding="utf-8").strip() == nonce:
        working.replace(saved)
        return Outcome("ok", notebook=saved, **measured)
    end_children()
    status, cause, cell, cells = _diagnose(errors[0] if errors else None, working)
    _keep(working, failed)
    return Outcome(status, cause, cell, cells, failed if failed.exists() else None, **measured)


def _papermill(source: Path, output: Path, parameters: dict, errors: list[BaseException]) -> None:
    """Let papermill execute the notebook (in a thread, so that it leaves signals alone); an exception is handed over in `errors`."""
    import logging

    sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema would build a grammar of web addresses with it (two seconds); notebooks need none
    import papermill

    for name in ("papermill", "traitlets", "asyncio"):  # what failed is said by `_diagnose`, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            source, output, parameters, kernel_name="python3", language="python", cwd=source.parent, progress_bar=False, log_output=False, start_timeout=START_S
        )
    except BaseException as error:
        errors.append(error)


def _keep(working: Path, failed: Path) -> None:
    """Give the partial notebook its lasting name."""
    if working.exists():
        working.replace(failed)


def _diagnose(error: BaseException | None, working: Path) -> tuple[str, str, int, int]:
    """Status, one-line cause, number of the cell in the source notebook and number of cells, from the partial notebook."""
    cells = _executed_cells(working)
    kernel_died = type(error).__name__ == "DeadKernelError" or (type(error) is RuntimeError and "Kernel died" in str(error))  # the second: as it started
    reached = [i for i, cell in enumerate(cells, start=1) if cell["metadata"].get("papermill", {}).get("start_time")]
    for index, cell in enumerate(cells, start=1):
        for output in cell.get("outputs", []) if not kernel_died else []:
            if output.get("output_type") != "error":
                continue
            if output["ename"] == InputError.__name__:
                return "input", output["evalue"], index, len(cells)
            if output["ename"] == "SystemExit":
                return "failed", f"the cell called sys.exit({output['evalue']}); the notebook did not reach its end", index, len(cells)
            first = output["evalue"].strip().splitlines()[:1]
            return "failed", _with_remedy(": ".join([output["ename"], *first])), index, len(cells)
    if kernel_died:
        return "failed", KERNEL_DIED, reached[-1] if reached else 0, len(cells)
    if error is not None:
        return "failed", _with_remedy(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"), 0, len(cells)
    return "failed", "the last cell did not write the end mark (run.finish)", len(cells), len(cells)


def _with_remedy(error: str) -> str:
    """An error's name and first line; before them, if memory or disk are the cause, what to do."""
    said = next((words for pattern, words in _IN_WORDS.items() if re.search(pattern, error)), "")
    return f"{said} ({error})" if said else error


def _executed_cells(path: Path) -> list[dict]:
    """Cells of an executed notebook that its source has too (papermill's own additions left out); [] if unreadable."""
    cells = read_json(path).get("cells", [])  # nbformat wrote them
    return [cell for cell in cells if not ADDED_TAGS & set(cell["metadata"].get("tags", []))]
