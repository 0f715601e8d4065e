"""Asks the models of the last nano run again, under every condition (`conditions`), and keeps their answers.

A system (a twin or its untuned base) is one job: it is loaded once and goes through its conditions. `conditions/<system>--<condition>.parquet` is kept
as long as the rows, the adapter and the sampling stay the same.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files, paths
from ...config import RunConfig
from ...models.adapters import load_for_inference
from ...models.generation import ADMINISTRATION, Draws, choice_probabilities, respond
from ...models.loading import load_tokenizer
from ...processes import side_by_side
from ...prompts.chat import PROMPT_VERSION
from ...registry import get_spec
from ...scoring.administration import answered_sheet
from ...scoring.stance import StanceReader, stance_sentences
from ...systems import is_untuned, model_of, untuned
from ...world import dataset
from ...world.questions import load_questions
from .conditions import BASELINE, CONDITIONS, Condition, mapped_back, of_system, rows_of

KEPT = ["id", "persona_id", "question_id", "domain", "question_type", "truth", "theta"]
SAME = 1e-3  # largest difference of an option's probability between two machines that answer alike


def trained(run: RunConfig) -> Path:
    """The results folder whose adapters are asked: the nano run's beside this one, else the published one; said in one line.

    Raises: FileNotFoundError if neither has all models of this run; ValueError for foreign data, which have no questionnaire.
    """
    if run.data:
        raise ValueError("--data: the questionnaire belongs to the embedded world; leave --data out")
    nano, shipped = replace(run, profile="nano"), paths.ROOT / "results" / "shipped"
    for folder in [nano.paths.results, *([shipped] if nano.name == "nano" else [])]:
        if all((folder / "adapters" / key / "adapter_model.safetensors").is_file() for key in run.model_keys):
            print(f"adapters: {'the published nano run' if folder == shipped else 'the nano run'} ({'/'.join(folder.parts[-2:])})")
            return folder
    options = f"--split {run.split} --seed {run.seed}" if nano.name != "nano" else ""
    raise FileNotFoundError(f"{nano.paths.results / 'adapters'}: not all of {', '.join(run.model_keys)}; run first: ./run_all.sh nano {options}".rstrip())


def ask_all(run: RunConfig, sheet: pd.DataFrame, train: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Every system under every condition, side by side.

    Args: sheet: from `administration.questionnaire`. train: records to take examples from.
    Returns: (system, condition) -> its answers (see `answers_of`).
    """
    source, asked = trained(run), [*run.model_keys, *map(untuned, run.model_keys)]
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


def read_options(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `read`: the option that each sampled answer takes, -1 where no stance was found."""
    options = frame["question_id"].map({q.id: list(q.options) for q in load_questions().values()}).tolist()
    read = _reader().read(frame["answer"].tolist(), options, frame["question_id"].tolist())
    return frame.assign(read=[-1 if option is None else option for option in read])


class _Asking:
    """One system while it is asked: the model is loaded when the first condition needs it."""

    def __init__(self, run: RunConfig, system: str, source: Path):
        self.run, self.system, self.source, self.asked = run, system, source, []
        self.spec, self.adapter = get_spec(model_of(system)), None if is_untuned(system) else source / "adapters" / model_of(system)
        base = (paths.NANO_MODELS / self.spec.key / "hashes.json").read_text(encoding="utf-8")
        self.mark = (base, files.folder_hash(self.adapter) if self.adapter else "", run.seed, PROMPT_VERSION)
        self.tools = None

    def model(self):
        if self.tools is None:
            self.tools = load_for_inference(self.spec, "nano", self.adapter), load_tokenizer(self.spec, "nano")
        return self.tools

    def keep(self, name: str, rows: pd.DataFrame, ask: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
        """The system's answers to these rows: from an earlier run if nothing has changed, else `ask(rows)`, written."""
        path, condition = _path(self.run, self.system, name), CONDITIONS[name]
        manner = (condition.sessions, condition.temperature, asdict(ADMINISTRATION))
        mark = files.fingerprint(self.mark, manner, dataset.data_hash({name: rows}))
        if (frame := files.kept_frame(path)) is not None and frame.attrs.get("mark") == mark:
            return frame
        frame = ask(rows)
        frame = read_options(frame) if condition.sessions and self.adapter else frame
        if len(frame) != len(rows) * max(1, len(condition.sessions)):
            raise ValueError(f"{path}: {len(frame)} answers to {len(rows)} rows in {max(1, len(condition.sessions))} sessions")
        frame.attrs = {"mark": mark}
        files.keep_frame(frame, path)
        self.asked.append(name)
        return pd.read_parquet(path)

    def first_session(self, sheet: pd.DataFrame) -> pd.DataFrame:
        """The administration of notebook 04, if it is of this very model (checked on the first persona); else it is held again."""
        stored, model = self.source / "administration" / f"{self.system}.parquet", self.model()
        label = f"{self.system}: {CONDITIONS[BASELINE].label}"
        if stored.exists():
            answered, some = pd.read_parquet(stored), sheet[sheet["persona_id"] == sheet["persona_id"].iloc[0]]
            if answered["id"].tolist() == sheet["id"].tolist():
                again = choice_probabilities(*model, some)
                if max(np.abs(a - b).max() for a, b in zip(again, answered["option_probs"][: len(some)], strict=True)) < SAME:
                    return answered.assign(session=0)
        replies = respond(*model, sheet, Draws(self.run.seed, [ADMINISTRATION] * len(sheet)), with_options=True, label=label)
        return answered_sheet(sheet, replies["option_probs"].tolist(), replies["text"].tolist()).assign(session=0)

    def answers(self, rows: pd.DataFrame, condition: Condition) -> pd.DataFrame:
        return answers_of(*self.model(), rows, condition, seed=self.run.seed, label=f"{self.system}: {condition.label}")


def answers_of(model, tokenizer, rows: pd.DataFrame, condition: Condition, *, seed: int, label: str = "") -> pd.DataFrame:
    """A model's answers to the rows of a condition.

    Returns: one row a row and session: `KEPT`, `session`, `before` (the item before it, if any), and either `option_probs` (over the item's own
        options, however they were listed) with `chosen`, or one sampled `answer`.
    """
    frame = rows[KEPT + [c for c in ("before",) if c in rows]]
    if not condition.sessions:
        prompts = rows["messages"].astype(str)  # without a card everybody is asked the same
        first = ~prompts.duplicated()
        by_prompt = dict(zip(prompts[first], choice_probabilities(model, tokenizer, rows[first], label=label), strict=True))
        probs = [mapped_back(by_prompt[prompt], order) for prompt, order in zip(prompts, rows["order"], strict=True)]
        return frame.assign(session=0, option_probs=[np.round(p, 6) for p in probs], chosen=[int(np.argmax(p)) for p in probs], answer="")
    parts, manner = [], [replace(ADMINISTRATION, temperature=condition.temperature)] * len(rows)
    for session in condition.sessions:
        said = respond(model, tokenizer, rows, Draws(seed + session, manner), label=f"{label}, session {session}" if label else "")["text"]
        parts.append(frame.assign(session=session, answer=said.to_numpy()))
    return pd.concat(parts, ignore_index=True)


def ask_now(run: RunConfig, key: str, sheet: pd.DataFrame, train: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A tuned twin's answers to a few people's questionnaires, asked now and not kept: condition -> answers with `option_probs`.

    Conditions that sample are left out. About two seconds a person. Args: sheet: all items of these people.
    """
    asking, plain = _Asking(run, key, trained(run)), replace(CONDITIONS[BASELINE], sessions=())
    frames = {BASELINE: asking.answers(rows_of(BASELINE, sheet, seed=run.seed), plain)}
    chosen = frames[BASELINE].set_index("id")["chosen"]
    for name, condition in CONDITIONS.items():
        if not condition.sessions:
            frames[name] = asking.answers(rows_of(name, sheet, seed=run.seed, chosen=chosen, train=train), condition)
    return frames
