"""Asks the models of the last nano run again, under every condition (`conditions`), and keeps what they answered.

A system (a twin or its untuned base) is one job: it is loaded once and goes through its conditions. `conditions/<system>--<condition>.parquet` is kept
as long as the rows, the adapter and the sampling stay the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from . import paths, records
from .administration import administer
from .chat import PROMPT_VERSION
from .conditions import BASELINE, CONDITIONS, Condition, mapped_back, of_system, rows_of
from .config import RunConfig, fingerprint
from .generation import ADMINISTRATION, Sampling, respond
from .models import folder_hash, load_for_inference, load_tokenizer
from .question_bank import load_questions
from .registry import get_spec
from .stance import StanceReader, stance_sentences
from .workers import side_by_side

KEPT = ["id", "persona_id", "question_id", "domain", "question_type", "truth", "theta"]
SAME = 1e-3  # largest difference of an option's probability between two machines that answer alike


def trained(run: RunConfig) -> Path:
    """The results folder whose adapters are asked: the nano run's beside this one, else the published one; said in one line.

    Raises: FileNotFoundError if neither has all models of this run; ValueError for foreign data, which have no questionnaire.
    """
    if run.data:
        raise ValueError("--data: the questionnaire belongs to the embedded world; leave --data out")
    nano, shipped = replace(run, profile="nano"), paths.ROOT / "results" / "shipped"
    found = [nano.paths.results] + ([shipped] if nano.name == "nano" else [])
    for folder in found:
        if all((folder / "adapters" / key / "adapter_model.safetensors").is_file() for key in run.model_keys):
            print(f"adapters: {'the published nano run' if folder == shipped else 'the nano run'} ({'/'.join(folder.parts[-2:])})")
            return folder
    options = f"--split {run.split} --seed {run.seed}" if nano.name != "nano" else ""
    raise FileNotFoundError(f"{nano.paths.results / 'adapters'}: not all of {', '.join(run.model_keys)}; run first: ./run_all.sh nano {options}".rstrip())


def systems(run: RunConfig) -> list[str]:
    """The systems asked: every twin of the run, and every untuned base."""
    return [*run.model_keys, *(f"{key}--base" for key in run.model_keys)]


def ask_all(run: RunConfig, sheet: pd.DataFrame, train: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Every system under every condition, side by side.

    Args: sheet: from `administration.questionnaire`. train: records to take examples from.
    Returns: (system, condition) -> its answers (see `answers_of`).
    """
    source, asked = trained(run), systems(run)
    examples = train[["id", "persona", "persona_id", "question_id", "question", "question_type", "options", "reference"]]
    for number, done in side_by_side(ask_system, [(run, system, str(source), sheet, examples) for system in asked], fresh=False):
        print(f"{asked[number]}: {len(done)} conditions asked, {len(of_system(asked[number])) - len(done)} kept")
    return {(system, name): pd.read_parquet(_path(run, system, name)) for system in asked for name in of_system(system)}


def _path(run: RunConfig, system: str, name: str) -> Path:
    return run.paths.folder("conditions") / f"{system}--{name}.parquet"


def ask_system(run: RunConfig, system: str, source: str, sheet: pd.DataFrame, train: pd.DataFrame) -> list[str]:
    """Ask one system under all its conditions; returns those that were not kept from before."""
    asking = _Asking(run, system, Path(source))
    first = asking.keep(BASELINE, sheet, asking.first_session)
    chosen = first.set_index("id")["chosen"]
    for name in of_system(system)[1:]:
        rows = rows_of(name, sheet, seed=run.seed, chosen=chosen, train=train)
        asking.keep(name, rows, lambda rows, condition=CONDITIONS[name]: asking.answers(rows, condition))
    return asking.asked


@cache
def _reader():
    """The reader of sampled answers, fitted once in a process."""
    return StanceReader().fit(*stance_sentences())


def read(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `read`: the option that each sampled answer takes, -1 where no stance was found."""
    options = frame["question_id"].map({q.id: list(q.options) for q in load_questions().values()}).tolist()
    found = _reader().read(frame["answer"].tolist(), options, frame["question_id"].tolist())
    return frame.assign(read=[-1 if option is None else option for option in found])


class _Asking:
    """One system while it is asked: the model is loaded when the first condition needs it."""

    def __init__(self, run: RunConfig, system: str, source: Path):
        self.run, self.system, self.source, self.asked = run, system, source, []
        self.spec, tuned = get_spec(system.removesuffix("--base")), not system.endswith("--base")
        self.adapter = source / "adapters" / self.spec.key if tuned else None
        base = (paths.NANO_MODELS / self.spec.key / "hashes.json").read_text(encoding="utf-8")
        self.mark = (base, folder_hash(self.adapter) if tuned else "", run.seed, PROMPT_VERSION)
        self.tools = None

    def model(self):
        if self.tools is None:
            self.tools = load_for_inference(self.spec, "nano", self.adapter), load_tokenizer(self.spec, "nano")
        return self.tools

    def keep(self, name: str, rows: pd.DataFrame, ask) -> pd.DataFrame:
        """What the system answered to these rows: from an earlier run if nothing has changed, else `ask(rows)`, written."""
        path = _path(self.run, self.system, name)
        manner = (CONDITIONS[name].sessions, CONDITIONS[name].temperature, asdict(ADMINISTRATION))
        mark = fingerprint(self.mark, manner, records.data_hash({name: rows}))
        if path.exists():
            frame = pd.read_parquet(path)
            if frame.attrs.get("mark") == mark:
                return frame
        frame = ask(rows)
        frame = read(frame) if CONDITIONS[name].sessions and not self.system.endswith("--base") else frame
        frame.attrs = {"mark": mark}
        frame.to_parquet(path.with_suffix(".new"), index=False, compression="zstd")
        path.with_suffix(".new").replace(path)
        self.asked.append(name)
        return pd.read_parquet(path)

    def first_session(self, sheet: pd.DataFrame) -> pd.DataFrame:
        """The administration of notebook 04, if it is of this very model (checked on the first persona); else it is held again."""
        stored, model = self.source / "administration" / f"{self.system}.parquet", self.model()
        label = f"{self.system}: {CONDITIONS[BASELINE].label}"
        if stored.exists():
            found, some = pd.read_parquet(stored), sheet[sheet["persona_id"] == sheet["persona_id"].iloc[0]]
            if found["id"].tolist() == sheet["id"].tolist():
                again = respond(*model, some, seed=self.run.seed, settings=[Sampling(1.0, 1.0, 0)] * len(some), with_options=True)["option_probs"]
                if max(np.abs(a - b).max() for a, b in zip(again, found["option_probs"][: len(some)], strict=True)) < SAME:
                    return found.assign(session=0)
        return administer(*model, sheet, seed=self.run.seed, label=label).assign(session=0)

    def answers(self, rows: pd.DataFrame, condition: Condition) -> pd.DataFrame:
        return answers_of(*self.model(), rows, condition, seed=self.run.seed, label=f"{self.system}: {condition.label}")


def answers_of(model, tokenizer, rows: pd.DataFrame, condition: Condition, *, seed: int, label: str = "") -> pd.DataFrame:
    """A model's answers to the rows of a condition.

    Returns: one row a row and session: `KEPT`, `session`, `before` (the item before it, if any), and either `option_probs` (over the item's own
        options, however they were listed) with `chosen`, or one sampled `answer`.
    """
    frame = rows[KEPT + [c for c in ("before",) if c in rows]]
    if not condition.sessions:
        where = rows[["messages"]].astype(str).apply(lambda r: fingerprint(*r), axis=1)  # without a card everybody is asked the same
        once = rows[~where.duplicated()]
        found = respond(model, tokenizer, once, seed=seed, settings=[Sampling(1.0, 1.0, 0)] * len(once), with_options=True, label=label)["option_probs"]
        by_prompt = dict(zip(where[~where.duplicated()], found, strict=True))
        probs = [mapped_back(by_prompt[w], order) for w, order in zip(where, rows["order"], strict=True)]
        return frame.assign(session=0, option_probs=[np.round(p, 6) for p in probs], chosen=[int(np.argmax(p)) for p in probs], answer="")
    parts, manner = [], [replace(ADMINISTRATION, temperature=condition.temperature)] * len(rows)
    for session in condition.sessions:
        said = respond(model, tokenizer, rows, seed=seed + session, settings=manner, label=f"{label}, session {session}" if label else "")["text"]
        parts.append(frame.assign(session=session, answer=said.to_numpy()))
    return pd.concat(parts, ignore_index=True)


def write_summary(run: RunConfig, summary: dict) -> None:
    """Write `consistency.json`, what is published and may be quoted."""
    records.write_atomically(run.paths.results / "consistency.json", json.dumps(summary, indent=1) + "\n")
