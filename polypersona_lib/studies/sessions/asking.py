"""Asks the models of the last nano run again, under every condition (`conditions`), keeps what they answered, and what follows from it as tables.

A system (a twin or its untuned base) is one job: it is loaded once and goes through its conditions. `conditions/<system>--<condition>.parquet` is kept
as long as the rows, the adapter and the sampling stay the same. The answers stay with the run; the tables are published.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ... import files, locate, paths
from ...config import RunConfig
from ...files import fingerprint, folder_hash
from ...models.adapters import load_for_inference
from ...models.generation import ADMINISTRATION, Draws, choice_probabilities, respond
from ...models.loading import load_tokenizer
from ...prompts.chat import PROMPT_VERSION
from ...registry import MODELS, get_spec
from ...scoring.administration import answered_sheet
from ...scoring.stance import StanceReader, stance_sentences
from ...workers import side_by_side
from ...world import dataset
from ...world.questions import load_questions
from . import card_worth, consistency, response_styles
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


def read_options(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `_read`: the option that each sampled answer takes, -1 where no stance was found."""
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
        mark = fingerprint(self.mark, manner, dataset.data_hash({name: rows}))
        if path.exists():
            frame = pd.read_parquet(path)
            if frame.attrs.get("mark") == mark:
                return frame
        frame = ask(rows)
        frame = read_options(frame) if CONDITIONS[name].sessions and not self.system.endswith("--base") else frame
        frame.attrs = {"mark": mark}
        with files.replacing(path) as new:
            frame.to_parquet(new, index=False, compression="zstd")
        self.asked.append(name)
        return pd.read_parquet(path)

    def first_session(self, sheet: pd.DataFrame) -> pd.DataFrame:
        """The administration of notebook 04, if it is of this very model (checked on the first persona); else it is held again."""
        stored, model = self.source / "administration" / f"{self.system}.parquet", self.model()
        label = f"{self.system}: {CONDITIONS[BASELINE].label}"
        if stored.exists():
            found, some = pd.read_parquet(stored), sheet[sheet["persona_id"] == sheet["persona_id"].iloc[0]]
            if found["id"].tolist() == sheet["id"].tolist():
                again = choice_probabilities(*model, some)
                if max(np.abs(a - b).max() for a, b in zip(again, found["option_probs"][: len(some)], strict=True)) < SAME:
                    return found.assign(session=0)
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
        where = rows[["messages"]].astype(str).apply(lambda r: fingerprint(*r), axis=1)  # without a card everybody is asked the same
        once = rows[~where.duplicated()]
        found = choice_probabilities(model, tokenizer, once, label=label)
        by_prompt = dict(zip(where[~where.duplicated()], found, strict=True))
        probs = [mapped_back(by_prompt[w], order) for w, order in zip(where, rows["order"], strict=True)]
        return frame.assign(session=0, option_probs=[np.round(p, 6) for p in probs], chosen=[int(np.argmax(p)) for p in probs], answer="")
    parts, manner = [], [replace(ADMINISTRATION, temperature=condition.temperature)] * len(rows)
    for session in condition.sessions:
        said = respond(model, tokenizer, rows, Draws(seed + session, manner), label=f"{label}, session {session}" if label else "")["text"]
        parts.append(frame.assign(session=session, answer=said.to_numpy()))
    return pd.concat(parts, ignore_index=True)


def ask_now(run: RunConfig, key: str, sheet: pd.DataFrame, train: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One tuned twin asked here and now about a few people, nothing kept: condition -> answers with `option_probs` (conditions that sample are left out).

    About two seconds a person. Args: sheet: all items of these people.
    """
    asking, plain = _Asking(run, key, trained(run)), replace(CONDITIONS[BASELINE], sessions=())
    found = {BASELINE: asking.answers(rows_of(BASELINE, sheet, seed=run.seed), plain)}
    chosen = found[BASELINE].set_index("id")["chosen"]
    for name, condition in CONDITIONS.items():
        if not condition.sessions:
            found[name] = asking.answers(rows_of(name, sheet, seed=run.seed, chosen=chosen, train=train), condition)
    return found


# --- what follows, and where it is kept ------------------------------------------------------------------------------------------------


def measure(frames: consistency.Frames, sheet: pd.DataFrame, *, seed: int) -> dict[str, pd.DataFrame]:
    """Every long table of the study, from stored answers: agreement, icc, style, temperature, question_type and domain (drift), card, side, few_shot."""
    people = consistency.respondents(sheet, seed=seed)
    return {
        "agreement": consistency.agreements(frames, people, seed=seed),
        "icc": consistency.variances(frames, people, seed=seed),
        "style": response_styles.styles(frames, people, seed=seed),
        "temperature": consistency.temperatures(frames, seed=seed),
        "question_type": consistency.drift(frames, "question_type", seed=seed),
        "domain": consistency.drift(frames, "domain", seed=seed),
        "card": card_worth.worth(frames, card_worth.ceilings(sheet), seed=seed),
        "side": card_worth.sides(frames, seed=seed),
        "few_shot": card_worth.few_shot(frames, seed=seed),
    }


def write_tables(run: RunConfig, found: dict[str, pd.DataFrame]) -> None:
    """Write what `measure` found: `scores/consistency.csv`, `scores/conditions.csv` and `consistency.json`; `read_tables` has it back."""
    folder = run.paths.folder("scores")
    long = [found["agreement"].assign(measure="agreement"), found["icc"].rename(columns={"over": "condition"}).assign(measure="icc", metric="icc")]
    long += [found["style"].assign(measure="style"), found["temperature"].rename(columns={"temperature": "condition"}).assign(measure="temperature")]
    long += [found[by].assign(measure="drift") for by in ("question_type", "domain")]
    columns = ["measure", "system", "question_type", "domain", "condition", "metric", "value", "lo", "hi", "n", "between", "within"]
    pd.concat(long)[columns].round(6).to_csv(folder / "consistency.csv", index=False)
    shots = found["few_shot"].rename(columns={"step": "condition"})
    pd.concat([found["card"], found["side"], shots]).round(6).to_csv(folder / "conditions.csv", index=False)
    style = found["style"].assign(measure=lambda t: t["metric"].where(t["metric"] != "carry_over", t["condition"]))
    keys = {"agreement": ("system", "condition", "metric"), "icc": ("system", "over"), "styles": ("system", "measure")}
    keys |= {"temperature": ("system", "temperature", "metric"), "cards": ("system", "condition", "metric"), "sides": ("system",)}
    keys["few_shot"] = ("system", "step", "metric")
    tables = found | {"styles": style, "cards": found["card"], "sides": found["side"]}
    summary = {name: nested(tables[name], *by) for name, by in keys.items()}
    files.write_atomically(run.paths.results / "consistency.json", json.dumps(summary, indent=1) + "\n")


def read_tables(run: RunConfig) -> dict[str, pd.DataFrame]:
    """What `measure` found in the last sessions run here, else in the published one (said in one line); six decimals, the models of `run` alone.

    Raises: FileNotFoundError with the command to run, for a seed or split of which nothing is published.
    """
    run = replace(run, profile="sessions")
    first, cards = (pd.read_csv(locate.find(run, f"scores/{name}.csv")) for name in ("consistency", "conditions"))
    cards["condition"] = cards["condition"].fillna("")  # floors and ceilings have none
    by_measure = {name: part.dropna(axis=1, how="all").drop(columns="measure") for name, part in first.groupby("measure", sort=False)}
    drift, step = by_measure.pop("drift"), cards["condition"].isin(["examples", "tuning"])
    found = by_measure | {by: drift[drift[by].notna()].dropna(axis=1, how="all") for by in ("question_type", "domain")}
    found["icc"] = found["icc"].rename(columns={"condition": "over"})
    found["temperature"] = found["temperature"].rename(columns={"condition": "temperature"}).astype({"temperature": float})
    found |= {"card": cards[~step & (cards["metric"] != "side")], "side": cards[cards["metric"] == "side"]}
    found["few_shot"] = cards[step].rename(columns={"condition": "step"})
    left_out = {key for key in MODELS if key not in run.model_keys}
    return {n: (t[~t["system"].str.removesuffix("--base").isin(left_out)] if "system" in t else t).reset_index(drop=True) for n, t in found.items()}


def nested(table: pd.DataFrame, *keys: str) -> dict:
    """A long table as nested dictionaries: one level a key, at the end [value, lo, hi] with four decimals (None: no number)."""
    found: dict = {}
    for row in table.to_dict("records"):
        place = found
        for key in keys[:-1]:
            place = place.setdefault(str(row[key]), {})
        place[str(row[keys[-1]])] = [round(float(row[k]), 4) if np.isfinite(row[k]) else None for k in ("value", "lo", "hi")]
    return found
