"""Files that are whole or not there: atomic writing, and hashes of texts, files and folders."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def replace_folder(new: Path, folder: Path) -> None:
    """Put the finished folder `new` in the place of `folder` and remove what is left of the work around it."""
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def fingerprint(*parts) -> str:
    """sha256 (16 digits) of JSON-able parts and dataclasses: equal if and only if the configuration is."""
    import hashlib

    text = json.dumps([asdict(p) if hasattr(p, "__dataclass_fields__") else p for p in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder_hash(folder: Path) -> str:
    """sha256 over names and contents of a folder's files, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _hash_state(path: Path, _modified_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file's content, remembered while its size and time stay the same."""
    state = path.stat()
    return _hash_state(path, state.st_mtime_ns, state.st_size)


def text_hash(value: object) -> str:
    """sha256 of a JSON-serialisable value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
