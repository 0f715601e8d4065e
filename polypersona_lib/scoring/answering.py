"""All systems answer the test rows and the questionnaire."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ..config import RunConfig
from ..files import fingerprint, write_atomically
from ..locate import find, headless
from ..models.adapters import load_tuned
from ..models.generation import ADMINISTRATION, SAMPLING, Draws, generate, respond
from ..models.loading import load_tokenizer
from ..processes import side_by_side
from ..prompts.chat import PROMPT_VERSION
from ..records import load_runs
from ..registry import get_spec
from ..systems import is_untuned, model_of, untuned
from ..world import controls, dataset
from . import server_systems
from .administration import answered_sheet, questionnaire
from .answer_files import predictions_frame, write_predictions


def predict_models(run: RunConfig, test: pd.DataFrame, sheet: pd.DataFrame | None) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Every model that was trained, tuned and untuned, answers the test rows (files in `preds/`) and, if given, the questionnaire `sheet`.

    Returns: system -> its administration (empty without a sheet); system -> number of test answers that a reasoning block was cut from.
    """
    systems = [system for record in load_runs(run) for system in (record["model"], untuned(record["model"]))]
    answered = dict(side_by_side(predict_model, [(run, system, test, sheet) for system in systems], fresh=False))
    by_system = {system: answered[i] for i, system in enumerate(systems)}
    return {s: sheet for s, (sheet, _) in by_system.items() if sheet is not None}, {s: reasoned for s, (_, reasoned) in by_system.items()}


def predict_model(run: RunConfig, system: str, test: pd.DataFrame, sheet: pd.DataFrame | None) -> tuple[pd.DataFrame | None, int]:
    """One system's part of `predict_models`: (its administration, answers with a reasoning block)."""
    spec = get_spec(model_of(system))
    tokenizer, model = load_tokenizer(spec, run.settings.scale), load_tuned(run, spec, tuned=not is_untuned(system))
    answers = generate(model, tokenizer, test, seed=run.seed, label=f"answers of {system}")
    write_predictions(run, predictions_frame(test, answers["text"].tolist(), system))
    reasoned = int(answers["reasoned"].sum())
    if sheet is None:
        return None, reasoned
    draws = Draws(run.seed, [ADMINISTRATION] * len(sheet))
    replies = respond(model, tokenizer, sheet, draws, with_options=True, label=f"questionnaire: {system}")
    return answered_sheet(sheet, replies["option_probs"].tolist(), replies["text"].tolist()), reasoned


def predict_controls(run: RunConfig, test: pd.DataFrame, train: pd.DataFrame) -> None:
    """Write the predictions of the baselines and, in the embedded world, of the upper bounds."""
    predictions = controls.baseline_predictions(test, train, run.seed)
    if not run.data:
        predictions |= controls.upper_bound_predictions(test, run.seed)
    for system, answers in predictions.items():
        write_predictions(run, predictions_frame(test, answers, system))


def predict(run: RunConfig, parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """All systems answer the test rows, and (embedded world) the questionnaire. Writes `preds/` and `administration/`.

    Answers of the same models to the same rows are kept from an earlier run (`preds/answered.json` says what they belong to).
    Opened alone, without a trained adapter, the published predictions are read instead. Returns: system -> administration.
    """
    if not headless() and not run.data and not load_runs(run):  # opened alone: nothing was trained here
        find(run, "preds")
        return read_sheets(find(run, "administration"))
    models = (run.model_keys, [r["adapter_hash"] for r in load_runs(run)])
    manner = ([asdict(s) for s in (*SAMPLING.values(), ADMINISTRATION)], PROMPT_VERSION, run.settings.administered)
    mark = fingerprint(dataset.data_hash({k: parts[k] for k in dataset.SPLITS}), run.seed, models, manner)
    note = run.paths.folder("preds") / "answered.json"
    folder = run.paths.folder("administration")
    kept = note.exists() and json.loads(note.read_text()).get("mark") == mark
    sheet = None if run.data or (kept and not run.servers) else questionnaire(run.settings.administered, run.seed)
    for system, answered in server_systems.predict_servers(run, parts["test"], sheet).items():
        write_sheet(folder, system, answered)
    if kept:
        print("the models answered these rows before; their answers are kept")
        return read_sheets(folder)
    sheets, reasoned = predict_models(run, parts["test"], sheet)
    predict_controls(run, parts["test"], parts["train"])
    if sheet is not None:
        known = controls.questionnaire_probabilities(sheet, parts["train"], run.seed)
        sheets |= {system: answered_sheet(sheet, probabilities, [""] * len(sheet)) for system, probabilities in known.items()}
    for system, answered in sheets.items():
        write_sheet(folder, system, answered)
    write_atomically(note, json.dumps({"mark": mark, "answers_with_reasoning": reasoned}) + "\n")
    return read_sheets(folder)


def write_sheet(folder: Path, system: str, answered: pd.DataFrame) -> None:
    """Store one system's administration; None for a row without an answer."""
    probs = [None if p is None else list(p) for p in answered["option_probs"]]
    answered.assign(option_probs=probs).to_parquet(folder / f"{system}.parquet", index=False, compression="zstd")


def read_sheets(folder: Path) -> dict[str, pd.DataFrame]:
    """System -> its stored administration."""
    return {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}
