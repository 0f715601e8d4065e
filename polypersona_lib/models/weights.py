"""Where a model's files are: of a base a shipped twin, a plain folder, a GGUF file (in a package or on this machine) or the hub; of an adapter its published
form. Imports no PyTorch by itself.

A GGUF file is read once, written as safetensors into a user cache, and from then on read from there: two seconds instead of a minute.
"""

import errno
import importlib.util
import json
import os
import re
import shutil
import struct
from dataclasses import replace
from pathlib import Path

from .. import paths
from ..errors import one_line, quoted, safe_line
from ..files import file_hash, folder_hash, read_json
from ..registry import GgufFile, ModelSpec, hub_weights

HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]  # never code, never pickled weights
BEGUN = "I would choose:"  # of SmolLM2's answers to the bias study's items .002 to .035 begin with an option's name, after these words .23 to .67
LISTING = "hashes.json"
COMMIT = re.compile("[0-9a-f]{40}")


class Unavailable(RuntimeError):
    """A model is not available now: one line with what, why, and what to do."""


def is_twin(spec: ModelSpec, scale: str) -> bool:
    """Whether the model is a nano twin at this scale; one without a twin is itself at every scale."""
    return scale == "nano" and spec.nano is not None


def begun_by(spec: ModelSpec, scale: str, adapter: object) -> str:
    """What the answer to a closed question begins with before an option's name is read: nothing for a model that was trained on such answers."""
    return "" if adapter or is_twin(spec, scale) else BEGUN


def source(spec: ModelSpec, scale: str) -> Path:
    """Folder of the base's files at the given scale, fetched or converted if need be.

    Raises: FileNotFoundError or ValueError for missing or damaged files of this machine; Unavailable if the hub, the licence, the disk or a missing
        package says no.
    """
    if is_twin(spec, scale):
        folder = paths.NANO_MODELS / spec.key
        verify(folder, "restore the file or rebuild with: python -m polypersona_lib nano")
        return folder
    if spec.folder:
        return _plain_folder(spec)
    return converted(spec) if _takes_gguf(spec) else _from_hub(spec)


def _takes_gguf(spec: ModelSpec) -> bool:
    """Whether the weights come from the entry's GGUF file: it has one, and the run does not ask for the hub's (`--weights hub`)."""
    return spec.gguf is not None and not (spec.revision and hub_weights())


def lacking(spec: ModelSpec) -> str:
    """Why a real model's weights are not on this machine, in one line that says how to get them; "" if they are, or if the hub is to give them."""
    if spec.folder or not _takes_gguf(spec):
        return ""
    try:
        _gguf_path(spec)
    except Unavailable as reason:
        return str(reason)
    return ""


def weights_name(spec: ModelSpec, scale: str) -> str:
    """What records, cards and adapters call the base: two bases with other weights have other names."""
    if is_twin(spec, scale):
        return f"data/models/{spec.key}"
    if spec.folder:
        return Path(spec.folder).resolve().name
    if _takes_gguf(spec):
        return f"{spec.gguf.package}/{Path(spec.gguf.file).name}" if spec.gguf.package else Path(spec.gguf.file).name
    return spec.hub_id


def weights_identity(spec: ModelSpec, scale: str) -> str:
    """Equal if and only if the weights are: the hash of a folder, name and sha256 of a GGUF file, or the hub's id with its revision."""
    if is_twin(spec, scale) or spec.folder:
        return folder_hash(source(spec, scale))
    if _takes_gguf(spec):
        return f"{weights_name(spec, scale)} sha256:{spec.gguf.sha256 or file_hash(_gguf_path(spec))}"
    return f"{spec.hub_id}@{spec.revision}"


def at_commit(spec: ModelSpec) -> ModelSpec:
    """A model of the hub at the commit that its branch or tag names today, so that a record says which weights they were. Its files are fetched.

    Raises: Unavailable, as `source` does.
    """
    return spec if COMMIT.fullmatch(spec.revision) else replace(spec, revision=_from_hub(spec).name)


def verify(folder: Path, remedy: str) -> None:
    """Compare the files of a folder with its list of hashes. Raises FileNotFoundError or ValueError naming the file, and what to do."""
    if not (folder / LISTING).exists():
        raise FileNotFoundError(f"{folder}: no model here; {remedy}")
    listed = read_json(folder / LISTING)
    if not listed or any(Path(name).name != name for name in listed):
        raise ValueError(f"{folder / LISTING}: is damaged; {remedy}")
    for name, expected in listed.items():
        if not (folder / name).is_file() or file_hash(folder / name) != expected:
            raise ValueError(f"{folder / name}: does not match {LISTING}; {remedy}")


def _plain_folder(spec: ModelSpec) -> Path:
    folder = Path(spec.folder).expanduser().resolve()
    missing = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).is_file()]
    missing += [] if list(folder.glob("*.safetensors")) else ["*.safetensors"]
    if missing:
        raise FileNotFoundError(f"{spec.key}: {folder} lacks {', '.join(missing)}; name a folder that save_pretrained of model and tokenizer wrote")
    for path in sorted(folder.glob("*.safetensors")):
        check_safetensors(path)
    return folder


# --- GGUF files ------------------------------------------------------------------------------------------------------------------


def converted(spec: ModelSpec) -> Path:
    """Folder with the model of the entry's GGUF file, in bf16 safetensors; written at the first call, and anew if it is damaged.

    Raises: ValueError for a file that is not the expected one.
    """
    file = _gguf_path(spec)
    digest = spec.gguf.sha256 or file_hash(file)
    folder = paths.cache_folder() / f"{spec.key}-{digest[:16]}"
    if folder.exists():
        try:
            verify(folder, "it is made anew from the GGUF file")
        except (FileNotFoundError, ValueError) as damage:
            print(damage, flush=True)
            _set_aside(folder)
    if not folder.exists():
        if file_hash(file) != digest:
            raise ValueError(f"{file}: sha256 is {file_hash(file)}, the registry wants {digest}; install the file anew")
        _convert(file, folder)
    return folder


def _set_aside(folder: Path) -> None:
    """Take a damaged conversion away in one step, so that no other process reads half of it. Raises: Unavailable if its place cannot be written."""
    away = folder.with_name(f".{folder.name}.damaged.{os.getpid()}")
    try:
        folder.rename(away)
    except FileNotFoundError:  # another process was faster
        return
    except OSError as error:
        raise Unavailable(f"{folder}: is damaged and cannot be replaced ({error.strerror}); delete it or set {paths.CACHE} to another folder") from error
    shutil.rmtree(away, ignore_errors=True)


def _gguf_path(spec: ModelSpec) -> Path:
    """The GGUF file of an entry. Raises: Unavailable if its package is not installed or its path leads nowhere."""
    wanted: GgufFile = spec.gguf
    if not wanted.package:
        file = Path(wanted.file).expanduser().resolve()
        if not file.is_file():
            raise Unavailable(f"{spec.display}: no GGUF file at {file}" + (f"; {wanted.install}" if wanted.install else ""))
        return file
    module = importlib.util.find_spec(wanted.package.partition("==")[0].replace("-", "_"))
    file = Path(module.origin).parent / wanted.file if module and module.origin else None
    if file is None or not file.is_file():
        raise Unavailable(f"{spec.display}: its weights are not installed; {wanted.install}")
    return file


def _convert(file: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file into `folder`, whole or not at all; of two processes at once the first one counts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"reading {file.name} once (about a minute); its weights are kept in {folder}", flush=True)
    check_gguf(file)
    place, name = file.parent, str(file)  # the whole path: transformers takes a file of that name in the working directory first
    try:
        read = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32, local_files_only=True)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error) as error:  # what the reader of a damaged file raises
        raise ValueError(f"{safe_line(file)}: cannot be read as a GGUF model ({type(error).__name__}: {quoted(error, 120)})") from error
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are plain numbers now; `save_pretrained` of what was read would refuse
    config.dtype = torch.bfloat16
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plain.load_state_dict(read.state_dict())
    plain.tie_weights()
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        plain.save_pretrained(beside)
        AutoTokenizer.from_pretrained(place, gguf_file=name, local_files_only=True).save_pretrained(beside)
        hashes = {path.name: file_hash(path) for path in sorted(beside.iterdir())}
        (beside / LISTING).write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
        beside.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise Unavailable(f"{folder}: cannot be written ({error.strerror}); set {paths.CACHE} to a folder with 0.3 GB of room") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


# --- heads of weight files -----------------------------------------------------------------------------------------------------------

_GGUF_HEAD = struct.Struct("<4sIQQ")  # magic, version, tensors, metadata entries
_LEAST_TENSOR, _LEAST_ENTRY = 24, 13  # the fewest bytes of one of them


def check_gguf(path: Path) -> None:
    """Raises ValueError if a file does not begin as a GGUF file that can hold what it counts. Source: the format's specification, versions 2 and 3."""
    with path.open("rb") as file:
        head = file.read(_GGUF_HEAD.size)
    if len(head) < _GGUF_HEAD.size or not head.startswith(b"GGUF"):
        raise ValueError(f"{str(path)!r}: not a GGUF file (it begins with {head[:4]!r})")
    _, version, tensors, entries = _GGUF_HEAD.unpack(head)
    if version not in (2, 3):
        raise ValueError(f"{str(path)!r}: GGUF version {version}; versions 2 and 3 are read")
    if not tensors or tensors * _LEAST_TENSOR + entries * _LEAST_ENTRY > path.stat().st_size:
        raise ValueError(f"{str(path)!r}: damaged: {tensors:,} tensors and {entries:,} entries do not fit into its {path.stat().st_size:,} bytes")


def check_safetensors(path: Path) -> None:
    """Raises ValueError if the header of a safetensors file is damaged or tells of more than the file holds; OSError if it cannot be opened."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            list(file.keys())
    except (SafetensorError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{str(path)!r}: not a readable safetensors file ({str(error)[:80]!r}); restore it or write it anew") from None


# --- the hub -----------------------------------------------------------------------------------------------------------------------


def _from_hub(spec: ModelSpec) -> Path:
    """The hub's files at the pinned revision, from the cache or fetched."""
    import httpx2
    from huggingface_hub import errors, snapshot_download

    name = f"{spec.hub_id} at revision {spec.revision[:12]}"
    try:
        return Path(snapshot_download(spec.hub_id, revision=spec.revision, allow_patterns=HUB_FILES))
    except errors.GatedRepoError as error:
        raise Unavailable(f"{name}: its licence ({spec.licence}) has not been accepted; accept it on the model's page, then: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise Unavailable(f"{name}: the hub does not have this revision (any more); name another one (ID@REVISION, or in registry.py)") from error
    except errors.RepositoryNotFoundError as error:
        raise Unavailable(f"{name}: the hub has no such model, or shows it only to users who are logged in (hf auth login)") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise Unavailable(f"{name}: the download failed (the hub answered {error.__cause__.response.status_code}); try again later") from error
        raise Unavailable(f"{name}: not in the cache, and the hub cannot be reached; check the network and that HF_HUB_OFFLINE is not set") from error
    except OSError as error:
        full = "no space left on the disk; set HF_HOME to one with room"
        why = full if error.errno == errno.ENOSPC else f"the download failed ({type(error).__name__}: {error})"
        raise Unavailable(f"{name}: {' '.join(why.split())}") from error
    except httpx2.HTTPError as error:
        raise Unavailable(f"{name}: the download failed ({type(error).__name__}: {one_line(error)}); the same command goes on with it") from error
