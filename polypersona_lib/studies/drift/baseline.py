"""A baseline: who answered (hashes in JSON) and what they answered (Parquet beside it). Read strictly: a damaged or foreign file is one line, never a guess."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import InputError, one_line, quoted
from ...files import parse_json, sha256, write_atomically
from .probe_set import ITEMS, probe_hash, probes

BASELINE_FORMAT = "polypersona drift baseline 1"
PART_WORDS = {  # part of a fingerprint -> how a difference in it is said
    "weights": "other weights", "template": "another chat template or system text", "tokenizer": "another tokenizer",
    "engine": "another engine", "sampling": "other sampling", "server": "the server names another version of its model",
}  # fmt: skip
_COLUMNS = ("id", "card", "item", "order", "probs", "mass", "how", "samples", "reason")


@dataclass(frozen=True)
class Baseline:
    """Who answered the probes: `models` (as `--models` names it), `fingerprint` (part -> text), and the answers (`probe_set.ask_probes`)."""

    models: str
    fingerprint: dict[str, str]
    answers: pd.DataFrame


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write both files, the JSON last, so that a reader never sees the hash of another Parquet. Raises InputError if they cannot be written."""
    answers = answers_path(path)
    buffer = BytesIO()
    baseline.answers[list(_COLUMNS)].to_parquet(buffer, index=False)
    told = {"format": BASELINE_FORMAT, "models": baseline.models, "probe_set": probe_hash(), "probes": len(baseline.answers),
            "fingerprint": baseline.fingerprint, "answers": answers.name, "answers_sha256": sha256(buffer.getvalue())}  # fmt: skip
    try:
        write_atomically(answers, buffer.getvalue())
        write_atomically(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def read_baseline(path: Path) -> Baseline:
    """The baseline of a JSON file. Raises InputError, one line, if it is missing, damaged, of another kind, or of other probes."""
    answers = answers_path(path)
    try:
        told = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no baseline here; write one with --update") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no baseline ({one_line(error)[:80]}); write a new one with --update") from None
    texts = told.get("fingerprint") if isinstance(told, dict) else None
    if not isinstance(told, dict) or told.get("format") != BASELINE_FORMAT or not isinstance(texts, dict) or not isinstance(told.get("models"), str):
        kind = quoted(told.get("format")) if isinstance(told, dict) else "another shape"
        raise InputError(f"{path}: is no baseline of this version ({kind}); write a new one with --update")
    if told.get("probe_set") != probe_hash():
        raise InputError(f"{path}: was written with other probes than these; no comparison is possible, write a new one with --update")
    try:
        content = answers.read_bytes()
    except OSError as error:
        raise InputError(f"{answers}: the answers of the baseline cannot be read ({error.strerror}); write a new one with --update") from None
    if sha256(content) != told.get("answers_sha256"):
        raise InputError(f"{answers}: is not the file that {path.name} was written with; write a new one with --update")
    return Baseline(told["models"], {str(k): str(v) for k, v in texts.items()}, _checked(content, answers))


def answers_path(path: Path) -> Path:
    """Where the answers of the baseline at `path` lie. Raises InputError for a name that is no baseline's."""
    if path.suffix != ".json":
        raise InputError(f"{path}: a baseline's name ends in .json (its answers lie beside it in .parquet)")
    return path.with_suffix(".parquet")


def _checked(content: bytes, path: Path) -> pd.DataFrame:
    """The answers, whole and in the probes' order. Raises InputError."""
    try:
        table = pd.read_parquet(BytesIO(content))
        if set(_COLUMNS) - set(table) or table["id"].tolist() != probes()["id"].tolist():
            raise ValueError("other columns or probes")
        for item, probs in zip(table["item"], table["probs"], strict=True):
            if probs is not None and (len(probs) != len(ITEMS[item][2]) or not np.isclose(np.sum(probs), 1, atol=1e-4) or np.min(probs) < 0):
                raise ValueError("probabilities that are none")
    except Exception as error:  # whatever a foreign Parquet file makes its reader raise
        raise InputError(f"{path}: holds no answers to these probes ({one_line(error)[:80]}); write a new baseline with --update") from None
    return table


def differences_in_words(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two fingerprints, a line a part; [] if nothing does. Parts missing on one side are named."""
    lines = []
    for part in dict.fromkeys((*PART_WORDS, *then, *now)):
        old, new = then.get(part), now.get(part)
        if old != new:
            said = PART_WORDS.get(part, f"another {part}")
            lines.append(f"{said}: {quoted('not known' if old is None else old, 60)} then, {quoted('not known' if new is None else new, 60)} now")
    return lines
