"""All systems answer the test rows and the questionnaire."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from .. import paths
from ..config import PROFILES, RunConfig
from ..files import file_hash, fingerprint, read_json, value_hash, write_atomically
from ..locate import find, headless
from ..models.adapters import load_tuned
from ..models.generation import ADMINISTRATION, SAMPLING, Draws, generate, respond
from ..models.loading import load_tokenizer
from ..models.published_adapters import PACK_HASHES, packed_facts, unpack_adapter
from ..models.weights import is_twin, lacking, weights_name
from ..processes import side_by_side
from ..prompts import chat
from ..prompts.chat import PROMPT_VERSION
from ..records import load_runs
from ..registry import ModelSpec, get_spec
from ..systems import is_few_shot, is_filtered, is_untuned, model_of, system_label, systems_of, untuned_and_tuned
from ..world import controls, dataset
from . import server_systems
from .administration import answered_sheet, questionnaire
from .answer_files import predictions_frame, write_predictions
from .filtering import filter_facts, filter_line, keep_first, refusals


@dataclass(frozen=True)
class _Job:
    """One system's answers: of the run's own model or, with `adapter`, of a published one; `examples` stand in the prompts of a base that sees some."""

    system: str
    mark: str
    adapter: Path | None = None
    examples: tuple[tuple[str, str], ...] = ()


def predict(run: RunConfig, parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """All systems answer the test rows, and (embedded world) the questionnaire. Writes `preds/` and `administration/`.

    What a system answered to the same rows is kept from an earlier run (`preds/answered.json` says what it belongs to), also of a run that was stopped.
    Opened alone, without a trained adapter, the published predictions are read instead. Returns: system -> administration.
    """
    if not headless() and not run.data and not load_runs(run):  # opened alone: nothing was trained here
        find(run, "preds")
        return read_sheets(find(run, "administration"))
    folder, notes = run.paths.folder("administration"), _Notes(run)
    jobs, rows = [*_jobs(run, parts), *_guests(run, parts)], _rows_mark(run, parts)
    todo = [job for job in jobs if not notes.holds(job)]
    own = _Job("controls", fingerprint(rows, run.seed))
    wanted = bool(todo) or bool(run.servers) or not notes.holds(own)
    sheet = questionnaire(run.settings.administered, run.seed) if wanted and not run.data else None
    for system, answered in server_systems.predict_servers(run, parts["test"], sheet).items():
        write_sheet(folder, system, answered)
    if kept := len(jobs) - len(todo) + notes.holds(own):
        print(f"{kept} of {len(jobs) + 1} (systems of models, and the controls) answered these rows before; their answers are kept")
    large = [number for number, job in enumerate(todo) if not is_twin(get_spec(model_of(job.system)), run.settings.scale)]
    work = [(run, job, parts["test"], sheet, parts["train"] if is_filtered(job.system) else None) for job in todo]
    for number, (answered, reasoned) in side_by_side(predict_model, work, fresh=False, large=large, large_at_once=2):
        if answered is not None:
            write_sheet(folder, todo[number].system, answered)
        notes.keep(todo[number], reasoned)
    for job in (job for job in jobs if is_filtered(job.system)):
        facts = json.loads(notes.path.with_name(f"{job.system}.json").read_text(encoding="utf-8"))
        print(f"{system_label(job.system, run.settings.scale)}: {filter_line(facts)}")
    if not notes.holds(own):
        systems = predict_controls(run, parts["test"], parts["train"])
        known = {} if sheet is None else controls.questionnaire_probabilities(sheet, parts["train"], run.seed)
        for system, probabilities in known.items():
            write_sheet(folder, system, answered_sheet(sheet, probabilities, [""] * len(sheet)))
        notes.keep(own, systems={*systems, *known})
    return read_sheets(folder)


class _Notes:
    """`preds/answered.json`: of every system that has answered its mark, the hashes of its files, and how many answers a reasoning block was cut from."""

    def __init__(self, run: RunConfig):
        self.run, self.path = run, run.paths.folder("preds") / "answered.json"
        known = read_json(self.path)
        known = known if known.pop("hash", None) in (None, value_hash(known)) else {}  # an earlier version noted none
        self.marks, self.reasoned = known.get("marks", {}), known.get("answers_with_reasoning", {})
        self.files: dict[str, dict[str, str]] = known.get("files", {})

    def holds(self, job: _Job) -> bool:
        """Whether the answers of this very job are there, unharmed (an earlier version noted no hashes: then they have to be there)."""
        if self.marks.get(job.system) != job.mark:
            return False
        if files := self.files.get(job.system):
            return all((path := self.run.paths.results / name).is_file() and file_hash(path) == digest for name, digest in files.items())
        system = "uniform" if job.system == "controls" else job.system
        sheet = self.run.paths.results / "administration" / f"{system}.parquet"
        return self.path.with_name(f"{system}.jsonl").exists() if self.run.data or _rows_alone(job) else sheet.exists()

    def keep(self, job: _Job, reasoned: int | None = None, *, systems: set[str] = frozenset()) -> None:
        """Note that a job is done, which wrote the files of `systems` (default: its own)."""
        self.marks[job.system] = job.mark
        names = (name for system in systems or {job.system} for name in (f"preds/{system}.jsonl", f"preds/{system}.json", f"administration/{system}.parquet"))
        self.files[job.system] = {name: file_hash(path) for name in sorted(names) if (path := self.run.paths.results / name).is_file()}
        self.reasoned |= {} if reasoned is None else {job.system: reasoned}
        known = {"marks": self.marks, "files": self.files, "answers_with_reasoning": self.reasoned}
        write_atomically(self.path, json.dumps(known | {"hash": value_hash(known)}, indent=1, sort_keys=True) + "\n")


def _rows_mark(run: RunConfig, parts: dict[str, pd.DataFrame]) -> str:
    """Equal if and only if the rows that are answered, and the way they are asked, are."""
    manner = ([asdict(s) for s in (*SAMPLING.values(), ADMINISTRATION)], PROMPT_VERSION, run.settings.administered)
    told = [column for column in ("persona_id", "question_id", "question_type", "options") if column in parts["test"]]  # kept beside the answers
    return fingerprint(dataset.data_hash({k: parts[k] for k in dataset.SPLITS}), manner, parts["test"][told].astype(str).to_numpy().tolist())


def _jobs(run: RunConfig, parts: dict[str, pd.DataFrame]) -> list[_Job]:
    """Every system of the run's trained models, and the published real models beside them, each with a mark of everything that its answers depend on."""
    records, rows = {r["model"]: r for r in load_runs(run)}, _rows_mark(run, parts)
    shown = tuple(_examples(parts["train"], run.seed)) if run.settings.scale == "small" else ()
    jobs = []
    for system in systems_of(run):
        if record := records.get(model_of(system)):
            examples = shown if is_few_shot(system) else ()
            identity = (rows, run.seed, record.get("weights"), record["adapter_hash"], system, examples, run.filter if is_filtered(system) else 0)
            jobs.append(_Job(system, fingerprint(*identity), examples=examples))
    return jobs


def _guests(run: RunConfig, parts: dict[str, pd.DataFrame]) -> list[_Job]:
    """The real models that answer beside the twins of a nano run, untuned and tuned, through their published adapters.

    `preds/unavailable.json` says of the others why they have no row: a base alone is not asked, it would cost minutes and show no training.
    """
    if run.profile != "nano" or run.split != "paper" or run.data or run.chosen.models:
        return []
    here, jobs, reasons, rows = dataset.data_hash({k: parts[k] for k in dataset.SPLITS}), [], {}, _rows_mark(run, parts)
    for key in PROFILES["small"].models:
        folder, spec = paths.PUBLISHED_ADAPTERS / key, get_spec(key)
        reasons[key] = why_not = _why_no_guest(spec, folder, here)
        for system in untuned_and_tuned([key]):
            if why_not:
                (run.paths.folder("preds") / f"{system}.jsonl").unlink(missing_ok=True)
            else:
                jobs.append(_Job(system, fingerprint(rows, run.seed, file_hash(folder / PACK_HASHES), system), adapter=unpack_adapter(folder).parent))
    absent = {key: reason for key, reason in reasons.items() if reason}
    write_atomically(run.paths.folder("preds") / "unavailable.json", json.dumps(absent, indent=1) + "\n")
    return jobs


def _why_no_guest(spec: ModelSpec, folder: Path, data_hash: str) -> str:
    """Why a published adapter cannot answer these data, in one line; "" if it can. Raises ValueError if its files were changed."""
    anew = "./run_all.sh small trains one (hours), then: python -m polypersona_lib publish small"
    if not folder.exists():
        return f"no adapter of it is published for version {dataset.DATA_VERSION} of the data; {anew}"
    facts = packed_facts(folder)
    if facts.get("data_version") != dataset.DATA_VERSION or facts.get("data_hash") != data_hash:
        return f"its published adapter was trained on other data (version {facts.get('data_version')}); {anew}"
    if facts["base"] != weights_name(spec, "small"):
        return f"its published adapter belongs to {facts['base']}, and this run takes other weights"
    return lacking(spec)


def _rows_alone(job: _Job) -> bool:
    """Whether a system answers the test rows alone: a published adapter beside the twins; a filter, which cannot change an option's probability; a base that
    sees examples, whose long prompts would take longer for the questionnaire than all other answers of the run together."""
    return job.adapter is not None or is_filtered(job.system) or bool(job.examples)


def predict_model(
    run: RunConfig, job: _Job, test: pd.DataFrame, sheet: pd.DataFrame | None, train: pd.DataFrame | None = None
) -> tuple[pd.DataFrame | None, int]:
    """One system answers the test rows (a file in `preds/`) and, if given, the questionnaire: (its administration, answers with a reasoning block).

    With `train` the answers are filtered (`run.filter` draws at most); `preds/<system>.json` says what that did and cost.
    """
    system, spec = job.system, get_spec(model_of(job.system))
    tokenizer, model = load_tokenizer(spec, run.settings.scale), load_tuned(run, spec, tuned=not is_untuned(system), folder=job.adapter)
    if train is not None:
        write_predictions(run, predictions_frame(test, _filtered_answers(run, job, model, tokenizer, test, train), system))
        return None, 0
    answers = generate(model, tokenizer, _asked(test, job), seed=run.seed, label=f"answers of {system}")
    write_predictions(run, predictions_frame(test, answers["text"].tolist(), system))
    reasoned = int(answers["reasoned"].sum())
    if sheet is None or _rows_alone(job):
        return None, reasoned
    draws = Draws(run.seed, [ADMINISTRATION] * len(sheet))
    replies = respond(model, tokenizer, _asked(sheet, job), draws, with_options=True, label=f"questionnaire: {system}")
    return answered_sheet(sheet, replies["option_probs"].tolist(), replies["text"].tolist()), reasoned


def _filtered_answers(run: RunConfig, job: _Job, model, tokenizer, test: pd.DataFrame, train: pd.DataFrame) -> list[str]:
    """The filtered answers. The first draw of a row is its unfiltered answer to the byte; later ones have random numbers of their own."""

    def draw(number: int, rows: pd.DataFrame) -> list[str]:
        named = rows if number == 0 else rows.assign(id=[f"{i}|draw {number}" for i in rows["id"]])
        return generate(model, tokenizer, named, seed=run.seed, label=f"draw {number + 1} of {job.system}")["text"].tolist()

    kept, happened = keep_first(test.reset_index(drop=True), draw, lambda rows: refusals(rows, train), most=run.filter)
    facts = filter_facts(happened, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), most=run.filter)
    write_atomically(run.paths.folder("preds") / f"{job.system}.json", json.dumps(facts, indent=1) + "\n")
    return kept


def _asked(rows: pd.DataFrame, job: _Job) -> pd.DataFrame:
    """The rows as they are put to the system: with examples in the prompt if it sees some."""
    if not job.examples:
        return rows
    return rows.assign(messages=[chat.with_examples(m, q, list(job.examples)) for m, q in zip(rows["messages"], rows["question_id"], strict=True)])


def _examples(train: pd.DataFrame, seed: int) -> list[tuple[str, str]]:
    """(question id, text) of one train record more than a prompt shows: of different people and question types, an open one among them."""
    order = train.sample(frac=1, random_state=seed).drop_duplicates("persona_id")
    types = [part.iloc[0] for kind in ("open", "likert", "yesno", "agreement") if len(part := order[order["question_type"] == kind])]
    return [(r["question_id"], chat.example_text(r["persona"], r["question"], r["options"], r["reference"])) for r in types[: chat.EXAMPLES + 1]]


def predict_controls(run: RunConfig, test: pd.DataFrame, train: pd.DataFrame) -> set[str]:
    """Write the predictions of the baselines and, in the embedded world, of the upper bounds. Returns the systems' names."""
    predictions = controls.baseline_predictions(test, train, run.seed)
    if not run.data:
        predictions |= controls.upper_bound_predictions(test, run.seed)
    for system, answers in predictions.items():
        write_predictions(run, predictions_frame(test, answers, system))
    return set(predictions)


def write_sheet(folder: Path, system: str, answered: pd.DataFrame) -> None:
    """Store one system's administration; None for a row without an answer."""
    probs = [None if p is None else list(p) for p in answered["option_probs"]]
    answered.assign(option_probs=probs).to_parquet(folder / f"{system}.parquet", index=False, compression="zstd")


def read_sheets(folder: Path) -> dict[str, pd.DataFrame]:
    """System -> its stored administration."""
    return {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}
