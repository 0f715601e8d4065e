"""Files that are whole or not there: atomic writing, hashes of texts, values, files and folders; text that is safe in a CSV file; JSON from strangers."""

import hashlib
import io
import json
import math
import os
import re
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

MOST_DEPTH = 60  # of objects and lists in each other; no file of ours has a dozen
_TOO_DEEP, _SEAL = "nested too deeply", b"sha256:"
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_DRAWN_AS_NOTHING = " \t\r\n\x0b\x0c\xa0\u200b\u200c\u200d\u2060\u3000\ufeff\x00"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to. If the block ends without an error, what was written takes the place of `path`; a reader sees the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{threading.get_ident()}.{os.getpid()}")  # threads may write one file at once
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
    """Put the finished folder `new` in the place of `folder`; one that was there goes only when the new one stands."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


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


def read_yaml(path: Path) -> object:
    """The content of one of our YAML files. PyYAML's reader in C, where it was built, takes a tenth of the time."""
    import yaml

    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def spelled_out(text: str) -> str:
    """`text` with its control characters spelled out, line ends and tabs left."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def csv_text(text: str) -> str:
    """`text` as a spreadsheet may open it: a leading = + - @ (also full-width, after blanks or line ends) gets an apostrophe, so that nothing is a formula."""
    text = spelled_out(text.replace("\r\n", "\n").replace("\r", "\n"))  # a bare \r is not quoted, and begins a row where a spreadsheet reads the file
    return f"'{text}" if text.lstrip(_DRAWN_AS_NOTHING).startswith(_FORMULA) or text.startswith(("\t", "\r", "\n")) else text


def from_csv_text(cell: str) -> str:
    """A cell as it was before `csv_text` made it safe."""
    return cell[1:] if cell.startswith("'") and csv_text(cell[1:]) == cell else cell


# --- frames that are kept from run to run ----------------------------------------------------------------------------------------------


def keep_frame(frame, path: Path, *, index: bool | None = False) -> None:
    """Write a pandas frame (with its `attrs`) as Parquet, whole, with a checksum of every page and, before the footer (which has none), one of the file."""
    with replacing(path) as new:
        frame.to_parquet(new, index=index, compression="zstd", write_page_checksum=True)
        at = -8 - int.from_bytes((content := new.read_bytes())[-8:-4], "little")  # a Parquet file ends with the size of its footer
        new.write_bytes(content[:at] + _SEAL + sha256(content).encode() + content[at:])


def kept_frame(path: Path):
    """The pandas frame at `path`; None if there is none, or none that is whole. A file without checksums (of an earlier version) has to be readable."""
    import pandas as pd
    import pyarrow

    try:
        at = -8 - int.from_bytes((content := path.read_bytes())[-8:-4], "little")
        before, _, digest = content[:at].rpartition(_SEAL)
        harmed = len(digest) == 64 and sha256(before + content[at:]).encode() != digest
        return None if harmed else pd.read_parquet(io.BytesIO(content), page_checksum_verification=True)
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException):
        return None


# --- JSON that somebody else may have written ----------------------------------------------------------------------------------------


def parse_json(text: str | bytes, *, pairs: Callable | None = None) -> object:
    """The value of a JSON text. Raises ValueError for anything else, and for objects and lists nested deeper than `MOST_DEPTH`.

    Args: pairs: makes an object of its (key, value) pairs; default: a dict.
    """
    try:
        value, opening = json.loads(text, object_pairs_hook=pairs), ("{", "[") if isinstance(text, str) else (b"{", b"[")
        return value if sum(map(text.count, opening)) <= MOST_DEPTH else not_too_deep(value)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def not_too_deep(value: object) -> object:
    """`value` itself. Raises ValueError if it nests deeper than `MOST_DEPTH`: what walks through it later must come to an end."""
    level = [value]
    for _ in range(MOST_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


def read_json(path: Path) -> dict:
    """A JSON object, or {} if there is no such file or it is damaged."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def json_object(path: Path) -> dict:
    """The JSON object in a file. Raises ValueError naming the file if it is not there, cannot be read, or is no object."""
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{str(path.parent)!r}: lacks {path.name!r}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(path)!r}: cannot be read ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r}: no JSON object")
    return content


def tensor_sizes(path: Path) -> dict[str, int]:
    """Name and size (numbers in it) of every tensor of a safetensors file, from its head: nothing is loaded. Raises ValueError if it is none."""
    try:
        with path.open("rb") as stream:
            head = parse_json(stream.read(min(struct.unpack("<Q", stream.read(8))[0], 100_000_000)))
        return {name: math.prod(entry["shape"]) for name, entry in head.items() if name != "__metadata__"}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{str(path)!r}: no whole safetensors file ({type(error).__name__})") from None


# --- how large a stranger's file may be once unpacked, and Parquet within that: few kilobytes can hold a text a million times ------------

MAX_BYTES = 512 * 2**20  # of a file once unpacked: a small .gz can hold a very large text
FREE_BYTES, MOST_TIMES = 64 * 2**20, 100  # a packed file may unpack to the first, or to so many times its own size, whichever is more
MOST_ROWS = 2_000_000  # lines or rows of a file
_TOO_MUCH = f"more than {MOST_ROWS:,} rows, or {MAX_BYTES // 2**20} MB, once unpacked"
_BATCH = 1024


class Unreadable(Exception):
    """A file that is not read; the message says why."""


def most_unpacked(size: int) -> int:
    """How many bytes a packed file of `size` bytes may hold: no honest text is packed more than `MOST_TIMES`."""
    return min(MAX_BYTES, max(FREE_BYTES, MOST_TIMES * size))


def parquet_rows(path: Path) -> list[tuple[int, dict]]:
    """The rows of a Parquet file, numbered from 1. Raises Unreadable for a file that is none or unpacks to too much, OSError if it cannot be opened."""
    return list(enumerate((row for batch in _parquet_batches(path) for row in batch.to_pylist()), start=1))


def parquet_frame(path: Path):
    """A Parquet file of a stranger as a `pandas.DataFrame`. Raises Unreadable and OSError as `parquet_rows`, before its texts are in memory."""
    import pandas as pd

    for _ in _parquet_batches(path):
        pass
    return pd.read_parquet(path)


def _parquet_batches(path: Path) -> Iterator:
    """The batches of a Parquet file, as long as what Python would hold of them is not too much.

    Texts are read as dictionaries, so a text in a million rows takes memory once, until the size of what Python would hold is known.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, read_dictionary=_text_columns(pyarrow.parquet.read_metadata(path))) as file:
            _check_size(file.metadata)
            left = MAX_BYTES
            for batch in file.iter_batches(batch_size=_BATCH):
                left -= sum(map(_bytes_in_python, batch.columns))
                if left < 0:
                    raise Unreadable(_TOO_MUCH)
                yield batch
    except (pyarrow.ArrowException, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise Unreadable(f"not a readable Parquet file ({str(error)[:200]})") from None


def _text_columns(metadata) -> list[str]:
    """The columns that hold texts, those inside others too."""
    columns = [metadata.schema.column(i) for i in range(len(metadata.schema))]
    return [c.path for c in columns if c.physical_type == "BYTE_ARRAY" and c.logical_type.type in ("STRING", "NONE", "JSON", "ENUM")]


def _check_size(metadata) -> None:
    """Raises Unreadable for more rows, values or bytes than we read, as the file itself counts them."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(c) for group in groups for c in range(metadata.num_columns)]
    values, size = sum(c.num_values for c in columns), sum(c.total_uncompressed_size for c in columns)
    if metadata.num_rows > MOST_ROWS or values > MAX_BYTES // 8 or size > MAX_BYTES:
        raise Unreadable(_TOO_MUCH)


def _bytes_in_python(column) -> int:
    """Bytes of a column's values as Python will hold them, 8 and more a value: each text as often as it stands there."""
    import pyarrow.compute as compute
    from pyarrow import types

    inside, own = [], column.nbytes
    if types.is_dictionary(column.type):
        lengths = compute.binary_length(column.dictionary.cast("large_binary"))
        own = compute.sum(lengths.take(column.indices)).as_py() or 0
    elif types.is_struct(column.type):
        inside, own = column.flatten(), 0
    elif types.is_list(column.type) or types.is_large_list(column.type):
        inside, own = [column.flatten()], 0
    return 8 * len(column) + own + sum(map(_bytes_in_python, inside))
