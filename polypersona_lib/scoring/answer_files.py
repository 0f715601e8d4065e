"""The answers that are scored: the records of a run, the predictions of every system, one file each, and their answers to the questionnaire."""

import json
from pathlib import Path

import pandas as pd

from .. import paths
from ..config import DEFAULT_SEED, RunConfig
from ..errors import InputError
from ..files import write_atomically
from ..locate import find, headless
from ..prompts import chat
from ..systems import system_labels
from ..world import dataset
from ..world.personas import fresh_personas
from ..world.questions import options_of


def load_data(run: RunConfig) -> dict[str, pd.DataFrame]:
    """The run's three splits with `part`; opened alone: the published data set. `option_labels.with_targets` adds the option that each reference takes.

    Raises: InputError if the run's data are an earlier version of the embedded ones.
    """
    try:
        folder = find(run, "dataset")
    except FileNotFoundError:
        if headless() or run.data:
            raise
        folder = paths.DATASET / run.split
        print(f"dataset: this run has none yet, so the published one is read (data/polypersona/{run.split})")
    report = json.loads(file.read_text(encoding="utf-8")) if (file := folder / "report.json").is_file() else {}
    if said := dataset.older_version(report, f"{folder.parent.name}/dataset", f"./run_all.sh {run.profile} rebuilds the run"):
        raise InputError(said)
    return {part: dataset.read_split(folder, part).assign(part=part) for part in dataset.SPLITS}


def predictions_frame(test: pd.DataFrame, answers: list[str], system: str, *, reasons: list[str] | None = None) -> pd.DataFrame:
    """The rows of one prediction file. An empty answer is a failed generation; `reasons` say why (a column of systems that may not be asked everything)."""
    rows = pd.DataFrame(
        {
            "id": test["id"], "prediction": answers, "reference": test["reference"], "persona_id": test["persona_id"],
            "persona": [chat.render_card(c) for c in test["persona"]], "domain": test["domain"], "question_id": test["question_id"],
            "question": test["question"], "question_type": test["question_type"], "options": options_of(test),
            "status": ["ok" if a.strip() else "failed" for a in answers], "system": system,
        }
    ).reset_index(drop=True)  # fmt: skip
    return rows if reasons is None else rows.assign(reason=reasons)


def write_predictions(run: RunConfig, preds: pd.DataFrame) -> Path:
    """Write `preds/<system>.jsonl`, one object a line, atomically."""
    path = run.paths.folder("preds") / f"{preds['system'].iloc[0]}.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in preds.drop(columns="system").to_dict("records")]
    write_atomically(path, "\n".join(lines) + "\n")
    return path


def load_predictions(folder: Path) -> pd.DataFrame:
    """All prediction files of a run in one frame with a `system` column. Raises FileNotFoundError if there is none."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder}: no predictions; run notebook 04 first")
    frames = [pd.DataFrame([json.loads(line) for line in f.read_text(encoding="utf-8").split("\n") if line]).assign(system=f.stem) for f in files]
    return pd.concat(frames, ignore_index=True)


def load_administrations(run: RunConfig) -> dict[str, pd.DataFrame]:
    """The administrations of a run's systems, in the order of the tables: system -> frame. Empty for foreign data, whose people have no known truth.

    One that a server did not answer in full is left out, and one line says so: the measures of whole sheets allow no gaps.
    """
    if run.data:
        return {}
    folder = find(run, "administration")
    frames = {system: pd.read_parquet(folder / f"{system}.parquet") for system in system_labels(run) if (folder / f"{system}.parquet").exists()}
    lacking = {system: int(frame["option_probs"].isna().sum()) for system, frame in frames.items()}
    for system, count in lacking.items():
        if count:
            print(f"{system} is left out here: {count:,} of its {len(frames[system]):,} answers to the questionnaire are missing")
    return {system: frame for system, frame in frames.items() if not lacking[system]}


def load_cards(run: RunConfig) -> list[dict]:
    """The cards of the people who answered the run's administrations. Published administrations, which a run without its own reads, have the default seed."""
    own = find(run, "administration").is_relative_to(run.paths.results)
    people = next(iter(load_administrations(run).values()))["persona_id"].nunique()
    return fresh_personas(people, run.seed if own else DEFAULT_SEED)
