"""Files that are whole or not there: atomic writing, hashes of texts, values, files and folders, and text that is safe in a CSV file."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to. If the block ends without an error, what was written takes the place of `path`; a reader sees the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())  # else a crash of the machine could leave the new name with nothing in it
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text (as UTF-8) or bytes: a reader sees the old file or the whole new one."""
    with replacing(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def replace_folder(new: Path, folder: Path) -> None:
    """Put the finished folder `new` in the place of `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def sha256(content: str | bytes) -> str:
    """sha256 of a text (as UTF-8) or of bytes, 64 hex digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def fingerprint(*parts) -> str:
    """sha256 (16 digits) of JSON-able parts and dataclasses: equal if and only if the configuration is."""
    plain = [asdict(p) if hasattr(p, "__dataclass_fields__") else p for p in parts]
    return sha256(json.dumps(plain, sort_keys=True, default=str))[:16]


def value_hash(value: object) -> str:
    """sha256 of a JSON-serialisable value; half of a character (a lone surrogate) is no error."""
    return sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=4096)
def _hash_state(path: Path, _modified_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file's content, remembered while its size and time stay the same."""
    state = path.stat()
    return _hash_state(path, state.st_mtime_ns, state.st_size)


def folder_hash(folder: Path) -> str:
    """sha256 over names and contents of a folder's files, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def csv_text(text: str) -> str:
    """`text` as a spreadsheet may open it: a leading = + - @ (also after blanks, tabs or line ends) gets an apostrophe, so that nothing is a formula."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) or text.startswith(("\t", "\r", "\n")) else text
