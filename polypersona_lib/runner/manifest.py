"""What a run has already done: input signatures, output hashes, the manifest file and the lock of a run folder.

A stage is one notebook. Its signature covers everything that can change its result: the notebook's cells, the project modules it imports (found by
reading the code, transitively), its parameters, the content of the files it reads and the lock file of the packages. Nothing depends on file times.
"""

import ast
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from ..files import file_hash, read_json, write_atomically

SHIPPED, RATINGS, PROBE_FILES = "shipped", "ratings", "probe"


class RunBusy(RuntimeError):
    """Another run is using this results folder."""


def files_under(path: Path) -> list[Path]:
    """All files at or below `path`, sorted; hidden ones, `__pycache__`, `shipped/`, executed notebooks and what raters and the probe keep do not count."""
    if path.is_file():
        return [path]
    paths = []
    for folder, names, files in os.walk(path):
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in ("__pycache__", SHIPPED, "notebooks", RATINGS, PROBE_FILES))
        paths += [Path(folder) / name for name in files if not name.startswith(".")]
    return sorted(paths)


@lru_cache(maxsize=1024)
def _imported(source: str, package: str, inside: str = "") -> tuple[set[str], bool]:
    """Dotted module names below `package` that code imports, and whether there is any code beside a docstring; IPython's own lines are left out.

    `inside` is the module that the source belongs to (for relative imports). What cannot be parsed imports nothing.
    """
    lines = [line if not line.lstrip().startswith(("%", "!")) else "pass" for line in source.splitlines()]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:
        return set(), True
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = inside.split(".")[: -node.level] if inside else [package]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    has_code = len(tree.body) > (ast.get_docstring(tree) is not None)
    return {name for name in names if name == package or name.startswith(package + ".")}, has_code


def library_files(sources: Iterable[str], library: Path) -> list[Path]:
    """Files of package folder `library` that `sources` import, directly or not (sorted). An `__init__` with a docstring alone changes no result: left out."""
    package = library.name
    wanted = set().union(*(_imported(source, package)[0] for source in sources))
    counted: dict[str, bool] = {}
    while wanted:
        name = wanted.pop()
        path = _module_file(library, name)
        if name in counted or not path.is_file():
            continue
        is_room = path.name == "__init__.py"
        names, has_code = _imported(path.read_text(encoding="utf-8"), package, f"{name}.__init__" if is_room else name)
        counted[name] = has_code or not is_room
        wanted |= names | {name.rpartition(".")[0]} - {""}
    return sorted(_module_file(library, name) for name, counts in counted.items() if counts)


def _module_file(library: Path, name: str) -> Path:
    """Where the module of the dotted `name` would lie."""
    stem = library.joinpath(*name.split(".")[1:])
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


def reason_to_run(entry: dict | None, parts: dict[str, str], base: Path, shared: set[str]) -> str:
    """Why a stage has to run, in a few words, or "" if its signature and its outputs are unchanged.

    Args:
        entry: the stage's entry of the manifest. parts: its signature now, part by part. base: what output paths are relative to.
        shared: outputs that a later stage has written too; they only have to exist.
    """
    if not entry:
        return "first run"
    if entry.get("status") != "done":
        return "did not finish last time"
    before = entry["parts"]
    changed = sorted(k for k in before.keys() | parts.keys() if before.get(k) != parts.get(k))
    if changed:
        return f"{changed[0]} changed" + (f" (and {len(changed) - 1} more)" if len(changed) > 1 else "")
    for name, digest in entry["outputs"].items():
        path = base / name
        if not path.is_file():
            return f"output {name} is missing"
        if name not in shared and file_hash(path) != digest:
            return f"output {name} was changed"
    return ""


def _is_entry(entry: object) -> bool:
    """Whether a value can be a stage's entry; what a damaged or foreign manifest holds instead counts as never run."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name, {}), dict) for name in ("parts", "outputs")):
        return False
    texts = [*entry.get("parts", {}).values(), *entry.get("outputs", {}).values(), entry.get("status", ""), entry.get("executed", "")]
    numbers = [entry.get(name, 0.0) for name in ("wall_time_s", "peak_memory_mb")]
    whole = entry.get("status") != "done" or ("parts" in entry and "outputs" in entry)
    return whole and all(isinstance(t, str) for t in texts) and all(type(n) in (int, float) and 0 <= n < 1e12 for n in numbers)


class Manifest:
    """The manifest of one run: `stages[number]` holds status, signature, parts, outputs (path -> sha256), wall time and peak memory."""

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        stages = read_json(path).get("stages")
        self.stages: dict[str, dict] = {n: entry for n, entry in stages.items() if _is_entry(entry)} if isinstance(stages, dict) else {}
        self.run = run

    def save(self) -> None:
        """Write the manifest: a crash leaves the old or the new one, never a part."""
        content = {"run": self.run, "stages": dict(sorted(self.stages.items()))}
        write_atomically(self.path, json.dumps(content, indent=1, ensure_ascii=False))

    def outputs(self, *, before: str = "", since: str = "") -> set[str]:
        """Paths written by the stages numbered below `before` and from `since` on (each only if given)."""
        chosen = (n for n in self.stages if (not before or n < before) and (not since or n >= since))
        return {name for number in chosen for name in self.stages[number].get("outputs", {})}


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process. Raises RunBusy, naming its process and start, if another run has it; ValueError if the disk has no locks."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise RunBusy(f"another run is using {folder} ({file.read().strip() or 'just started'})") from error
        except OSError as error:  # some network disks know no locks
            raise ValueError(f"{folder} cannot be locked against a second run ({error.strerror}); put results on another disk with --out DIR") from error
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def remove_unfinished(*folders: Path) -> None:
    """Remove what processes that were killed while they wrote left behind: `.name.<process>` (see `files.replacing`) of a process that is no more."""
    for path in [path for folder in folders for path in folder.rglob(".*.*")]:
        number = path.name.rpartition(".")[2]
        if not number.isdecimal() or _runs(int(number)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of this number runs here."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
