"""The study's steps as the notebooks call them: each reads the files of the step before, writes its own, and returns what to show."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd

from . import administration, dataset, diagnosis, evaluation, paths, records
from .cells import csv_text
from .chat import PROMPT_VERSION
from .config import RunConfig, fingerprint
from .generation import ADMINISTRATION, SAMPLING
from .hand_offs import ASIDE
from .stance import StanceReader, stance_sentences

PUBLISHED = ("nano", *ASIDE.values())  # names of the runs whose results are shipped: default seed and split, embedded data


def headless() -> bool:
    """Whether the runner executes this notebook.

    Nobody can use a widget then, and nbclient sometimes waits forever for a cell that shows an Output widget (its issue 312; seen in two of two runs
    beside other work on both cores), so such a cell shows nothing.
    """
    return "POLYPERSONA_NONCE" in os.environ


def find(run: RunConfig, name: str) -> Path:
    """`results/<run>/<name>`, or, in a notebook opened on its own, the published copy in `results/shipped/` (said in one line).

    Raises: FileNotFoundError with the command to run if there is neither. Under the runner the published copy never counts, nor does it for a run
        of another seed, split, profile or data set: its numbers would stand under the wrong name.
    """
    own, shipped = run.paths.results / name, paths.ROOT / "results" / "shipped" / name
    if own.exists() and (own.is_file() or any(own.iterdir())):
        return own
    if not headless() and run.name in PUBLISHED and shipped.exists():
        print(f"{name}: this run has none yet, so the published nano run's copy is read ({shipped.relative_to(paths.ROOT)})")
        return shipped
    options = [run.profile, *(f"--{name} {getattr(run, name)}" for name in ("split", "seed", "data") if getattr(run, name) != getattr(RunConfig, name))]
    raise FileNotFoundError(f"{own}: missing; run the notebooks before this one first (./run_all.sh {' '.join(options)})")


def find_figure(run: RunConfig, stem: str) -> Path | None:
    """The PNG of a figure: this run's, or, in a notebook opened on its own, the published one (said in one line); None if there is neither."""
    own, shipped = run.paths.figures / f"{stem}.png", paths.ROOT / "figures" / "shipped" / f"{stem}.png"
    if own.is_file() or headless() or run.name not in PUBLISHED or not shipped.is_file():
        return own if own.is_file() else None
    print(f"{stem}: this run has not drawn it, so the published nano run's copy is shown ({shipped.relative_to(paths.ROOT)})")
    return shipped


def works_here(run: RunConfig, made: str) -> bool:
    """Whether a notebook with long work does it itself; else it shows what was published, so that it can be read alone in a minute.

    True under the runner, if the work was begun here (`results/<run>/<made>` holds something), and for a run of which nothing is published:
    another seed, split, profile or data set.
    """
    own = run.paths.results / made
    return headless() or run.name not in PUBLISHED or (own.is_dir() and any(own.iterdir()))


class Published(RunConfig):
    """The published run as something to read from: its folders are the shipped ones."""

    @property
    def paths(self) -> paths.RunPaths:
        """`results/shipped` and `figures/shipped`; nobody writes there but `publish`."""
        return paths.RunPaths(paths.ROOT / "results" / "shipped", paths.ROOT / "figures" / "shipped")


def shown(run: RunConfig) -> RunConfig:
    """The run that a report shows: `run`, or in a notebook opened on its own, without scores of its own, the published one (said in one line)."""
    if headless() or run.name != "nano" or (run.paths.results / "scores" / "rows.parquet").is_file():
        return run
    print("this run has no scores yet, so the published nano run is shown (results/shipped, figures/shipped)")
    return Published(**{f.name: getattr(run, f.name) for f in fields(run) if f.init})


def published_runs(run: RunConfig) -> list[dict]:
    """The published run records of the run's models (said in one line), for a notebook opened on its own."""
    return records.read_runs(find(run, "runs"), run.model_keys)


# --- 01: data ------------------------------------------------------------------------------------------------------------------


def prepare_data(run: RunConfig) -> dict:
    """Build the embedded data set, or import the user's, and write `dataset/{train,validation,test}.parquet` and `dataset/report.json`.

    Returns: the report: counts, leakage, and for foreign data the faults and how they were treated.
    Raises: schema.InputError for bad foreign data; ValueError if a persona-question pair is in two splits of our own data.
    """
    folder = run.paths.folder("dataset")
    report = {"run": run.name, "source": run.data and Path(run.data).name or "embedded", "split": run.split, "faults_mode": run.faults}
    if run.data:
        from .schema import import_dataset

        parts, found = import_dataset(Path(run.data), run.faults)
        for name, frame in parts.items():
            frame.loc[:, list(dataset.COLUMNS)].to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
        report["import"] = found.to_dict()
    else:
        frame = dataset.build(run.seed)
        if run.settings.rows:
            frame = dataset.subset(frame, run.settings.rows, run.split)
        dataset.write_splits(frame, run.split, folder)
    parts = {part: dataset.read_split(folder, part) for part in dataset.SPLITS}
    report["rows"] = {name: len(frame) for name, frame in parts.items()}
    report["data_hash"] = records.data_hash(parts)
    report["leakage"] = dataset.leakage_report(parts)
    repeated = {k: n for k, n in report["leakage"].items() if "pair" in k and n}
    if repeated and not run.data:
        raise ValueError(f"the data set repeats persona-question pairs: {repeated}")
    records.write_atomically(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def load_data(run: RunConfig) -> dict[str, pd.DataFrame]:
    """The run's three splits with `target` (the option each reference takes) and `part`; opened alone: the published data set."""
    try:
        folder = find(run, "dataset")
    except FileNotFoundError:
        if headless() or run.data:
            raise
        folder = paths.DATASET / run.split
        print(f"dataset: this run has none yet, so the published one is read (data/polypersona/{run.split})")
    parts = {part: dataset.read_split(folder, part) for part in dataset.SPLITS}
    return {name: evaluation.with_targets(frame).assign(part=name) for name, frame in parts.items()}


# --- 04: predictions and scores ------------------------------------------------------------------------------------------------


def stance_reader(run: RunConfig) -> StanceReader | None:
    """The reader of answers without a label, fitted on the authored stance sentences; foreign questions are read by the label rule alone."""
    if run.data:
        return None
    return StanceReader().fit(*stance_sentences())


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
    mark = fingerprint(records.data_hash({k: parts[k] for k in dataset.SPLITS}), run.seed, models, manner)
    note = run.paths.folder("preds") / "answered.json"
    folder = run.paths.folder("administration")
    if note.exists() and json.loads(note.read_text()).get("mark") == mark:
        print("the models answered these rows before; their answers are kept")
        return {p.stem: pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))}
    sheet = None if run.data else administration.questionnaire(run.settings.administered, run.seed)
    sheets, reasoned = evaluation.predict_models(run, parts["test"], sheet)
    evaluation.predict_controls(run, parts["test"], parts["train"])
    if sheet is not None:
        sheets |= administration.control_administrations(sheet, parts["train"], run.seed)
    for system, answered in sheets.items():
        answered.assign(option_probs=[list(p) for p in answered["option_probs"]]).to_parquet(folder / f"{system}.parquet", index=False, compression="zstd")
    records.write_atomically(note, json.dumps({"mark": mark, "answers_with_reasoning": reasoned}) + "\n")
    return sheets


def score(run: RunConfig, parts: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score all stored predictions: writes `scores/rows.parquet` and `scores/systems.csv`. Returns (rows, systems).

    Opened alone, with the published predictions, the published scores are read and nothing is written.
    """
    folder = find(run, "preds")
    if not folder.is_relative_to(run.paths.results):
        rows, systems = pd.read_parquet(find(run, "scores/rows.parquet")), pd.read_csv(find(run, "scores/systems.csv"))
        return tuple(table[table["system"].isin(system_labels(run))].reset_index(drop=True) for table in (rows, systems))
    preds = evaluation.load_predictions(folder)
    preds = preds[preds["system"].isin(system_labels(run))].reset_index(drop=True)
    everyone = pd.concat([parts[p] for p in dataset.SPLITS], ignore_index=True)
    rows = evaluation.score_rows(run, preds, everyone, stance_reader(run))
    systems = evaluation.score_systems(rows, preds, seed=run.seed)
    folder = run.paths.folder("scores")
    rows.to_parquet(folder / "rows.parquet", index=False, compression="zstd")
    systems.round(6).to_csv(folder / "systems.csv", index=False)
    unseen = rows[~rows["pair_in_train"]]
    if len(unseen) < len(rows):
        evaluation.score_systems(unseen, preds[~rows["pair_in_train"].to_numpy()], seed=run.seed).round(6).to_csv(
            folder / "systems_unseen_pairs.csv", index=False
        )
    return rows, systems


def diagnose(run: RunConfig, parts: dict[str, pd.DataFrame], rows: pd.DataFrame, systems: pd.DataFrame) -> pd.DataFrame:
    """What is wrong with each system, in plain lines (`diagnosis.diagnose_systems`); written to `scores/findings.csv`."""
    preds = evaluation.load_predictions(find(run, "preds"))
    preds = preds[preds["system"].isin(set(systems["system"]))]
    found = diagnosis.diagnose_systems(preds, rows, systems, pool=pd.concat([parts[p] for p in dataset.SPLITS], ignore_index=True), seed=run.seed)
    found.assign(text=found["text"].map(csv_text)).round(6).to_csv(run.paths.folder("scores") / "findings.csv", index=False)
    return found


def score_administrations(run: RunConfig, sheets: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and calibration of every administration: writes `scores/administration.csv` and `scores/calibration.csv`.

    In the order of the tables, whether the answers are new or were kept: the same answers give the same bytes.
    """
    scored, curves, domains = [], [], []
    for system in (name for name in system_labels(run) if name in sheets):
        answered = sheets[system]
        found, curve = administration.score(answered, seed=run.seed)
        scored.append(found.assign(system=system))
        curves.append(curve.assign(system=system))
        domains.append(administration.domain_accuracy(answered, seed=run.seed).assign(system=system))
    folder = run.paths.folder("scores")
    tables = {"administration": pd.concat(scored), "calibration": pd.concat(curves), "domain_accuracy": pd.concat(domains)}
    for name, table in tables.items():
        table.round(6).to_csv(folder / f"{name}.csv", index=False)
    return tables["administration"].reset_index(drop=True), tables["calibration"].reset_index(drop=True)


def unavailable(run: RunConfig) -> dict[str, str]:
    """The models of this run that could not be had or held, each with the reason (`training.train_models` writes it)."""
    path = run.paths.results / "unavailable.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def ablation_facts() -> dict:
    """What the ablation study found (`ablations.json` of the last run here, else the published one), for the claims ledger; {} if there is none."""
    for folder in ("ablations", "shipped"):
        path = paths.ROOT / "results" / folder / "ablations.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            return {f"ablation.{name}": found[name] for name in ("retained", "retained_qlora", "saved", "budget", "measured")}
    return {}


def full_size_records() -> list[dict]:
    """What `benchmarks/full_size.py` measured on a GPU (last measurement here, else the published one), failed measurements left out; [] if there is none."""
    for folder in ("full_size", "shipped"):
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((paths.ROOT / "results" / folder).glob("*--paper--*.json"))]
        if any("error" not in record for record in found):
            return [record for record in found if "error" not in record]
    return []


def system_labels(run: RunConfig) -> dict[str, str]:
    """Every system's name as tables and figures show it, floors first, bounds last."""
    from .registry import MODELS

    labels = {"uniform": "uniform", "majority": "majority", "persona_blind": "persona-blind copy", "nearest_train": "nearest persona's answer"}
    for key in run.model_keys:
        labels |= {f"{key}--base": f"{MODELS[key].display}, untuned", key: MODELS[key].display}
    return labels | {"resample": "same respondent again", "oracle_card": "oracle: card", "oracle_latent": "oracle: true attitude"}
