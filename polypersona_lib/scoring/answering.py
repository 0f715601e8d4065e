"""All systems answer the test rows and the questionnaire."""

from __future__ import annotations

import json
from dataclasses import asdict

import pandas as pd

from .. import files, records
from ..config import RunConfig
from ..files import fingerprint
from ..locate import find, headless
from ..models.generation import ADMINISTRATION, SAMPLING
from ..models.loading import load_tokenizer
from ..prompts.chat import PROMPT_VERSION
from ..records import load_runs
from ..registry import get_spec
from ..workers import side_by_side
from ..world import controls, dataset
from . import administration
from .answer_files import predictions_frame, write_predictions


def predict_models(run: RunConfig, test: pd.DataFrame, sheet: pd.DataFrame | None) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Every model that was trained, tuned and untuned, answers the test rows (files in `preds/`) and, if given, the questionnaire `sheet`.

    Returns: system -> its administration (empty without a sheet); system -> number of test answers that a reasoning block was cut from.
    """
    jobs = [(run, record["model"], tuned, test, sheet) for record in load_runs(run) for tuned in (True, False)]
    found = dict(side_by_side(predict_model, jobs, fresh=False))
    systems = [key if tuned else f"{key}--base" for _, key, tuned, *_ in jobs]
    sheets = {system: found[i][0] for i, system in enumerate(systems) if sheet is not None}
    return sheets, {system: found[i][1] for i, system in enumerate(systems)}


def predict_model(run: RunConfig, key: str, tuned: bool, test: pd.DataFrame, sheet: pd.DataFrame | None) -> tuple[pd.DataFrame | None, int]:
    """One model's part of `predict_models`: (its administration, answers with a reasoning block)."""
    from ..models.generation import generate
    from ..models.tuned import load_tuned
    from .administration import administer

    spec, system = get_spec(key), key if tuned else f"{key}--base"
    tokenizer, model = load_tokenizer(spec, run.settings.scale), load_tuned(run, spec, tuned=tuned)
    answers = generate(model, tokenizer, test, seed=run.seed, label=f"answers of {system}")
    write_predictions(run, predictions_frame(test, answers["text"].tolist(), system))
    answered = None if sheet is None else administer(model, tokenizer, sheet, seed=run.seed, label=f"questionnaire: {system}")
    return answered, int(answers["reasoned"].sum())


def predict_controls(run: RunConfig, test: pd.DataFrame, train: pd.DataFrame) -> list[str]:
    """Write the predictions of the floors and, in the embedded world, of the bounds. Returns the systems written."""
    found = controls.floor_predictions(test, train, run.seed)
    if not run.data:
        found |= controls.bound_predictions(test, run.seed)
    for system, answers in found.items():
        write_predictions(run, predictions_frame(test, answers, system))
    return list(found)


def predict(run: RunConfig, parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """All systems answer the test rows, and (embedded world) the questionnaire. Writes `preds/` and `administration/`.

    Answers of the same models to the same rows are kept from an earlier run (`preds/answered.json` says what they belong to).
    Opened alone, without a trained adapter, the published predictions are read instead. Returns: system -> administration.
    """
    if not headless() and not run.data and not records.load_runs(run):  # opened alone: nothing was trained here
        find(run, "preds")
        return {p.stem: pd.read_parquet(p) for p in sorted(find(run, "administration").glob("*.parquet"))}
    models = (run.model_keys, [r["adapter_hash"] for r in records.load_runs(run)])
    manner = ([asdict(s) for s in (*SAMPLING.values(), ADMINISTRATION)], PROMPT_VERSION, run.settings.administered)
    mark = fingerprint(dataset.data_hash({k: parts[k] for k in dataset.SPLITS}), run.seed, models, manner)
    note = run.paths.folder("preds") / "answered.json"
    folder = run.paths.folder("administration")
    if note.exists() and json.loads(note.read_text()).get("mark") == mark:
        print("the models answered these rows before; their answers are kept")
        return {p.stem: pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))}
    sheet = None if run.data else administration.questionnaire(run.settings.administered, run.seed)
    sheets, reasoned = predict_models(run, parts["test"], sheet)
    predict_controls(run, parts["test"], parts["train"])
    if sheet is not None:
        sheets |= administration.control_administrations(sheet, parts["train"], run.seed)
    for system, answered in sheets.items():
        answered.assign(option_probs=[list(p) for p in answered["option_probs"]]).to_parquet(folder / f"{system}.parquet", index=False, compression="zstd")
    files.write_atomically(note, json.dumps({"mark": mark, "answers_with_reasoning": reasoned}) + "\n")
    return sheets
