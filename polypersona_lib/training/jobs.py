"""One training a model: what is trained on what, whether it was done before, in which processes it runs."""

import json
import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import psutil

from .. import files, locate, paths, records
from ..config import RunConfig, TrainSpec, device
from ..files import fingerprint
from ..models.adapters import adapted_folder
from ..models.loading import load_tokenizer
from ..models.published_adapters import unpack_adapter
from ..models.resources import Machine, fit_recipe
from ..models.weights import Unavailable, is_twin, weights_identity
from ..processes import LARGE_THREADS, side_by_side, worker_environment
from ..prompts import chat
from ..registry import ModelSpec, get_spec
from ..world import dataset
from .trainer import Job, fine_tune

VERSION = 4  # raised when training or its record changes: what was trained before is trained again
SPLIT_OF_A_BATCH = ("micro_batch", "accumulation", "processes")  # what memory decides of a recipe; their product is the effective batch
LAUNCHED_BY = "POLYPERSONA_LAUNCHED_BY"  # process that launched a training in several processes


def load_tokenizers(run: RunConfig) -> dict:
    """The tokenizer of every model of the run that is available here; for the others a line says why not."""
    tokenizers = {}
    for key in run.model_keys:
        try:
            tokenizers[key] = load_tokenizer(get_spec(key), run.settings.scale)
        except Unavailable as error:
            print(f"left out: {error}")
    return tokenizers


def train_models(run: RunConfig, parts: dict[str, pd.DataFrame]) -> list[dict]:
    """Fine-tune every model of the run (`train`) and say how each one went. Returns: their records in the run's order.

    A model that cannot be downloaded or does not fit is left out; `unavailable.json` says why. Raises: Unavailable if none is left.
    """
    specs, done, left_out = [get_spec(key) for key in run.model_keys], {}, {}
    large = [number for number, spec in enumerate(specs) if not is_twin(spec, run.settings.scale)]
    for number, record in side_by_side(_train_or_reason, [(run, spec, parts) for spec in specs], large=large):
        if isinstance(record, str):
            left_out[specs[number].key] = record
            print(f"left out: {record}")
        else:
            done[number] = record
            print(training_line(record))
    files.write_atomically(run.paths.results / "unavailable.json", json.dumps(left_out, indent=1) + "\n")
    if not done:
        raise Unavailable("no model of this run can be trained here: " + "; ".join(left_out.values()))
    return [done[number] for number in sorted(done)]


def _train_or_reason(run: RunConfig, spec: ModelSpec, parts: dict[str, pd.DataFrame]) -> dict | str:
    try:
        return train(run, spec, parts)
    except Unavailable as error:
        return str(error)


def training_line(record: dict) -> str:
    """A record in one line."""
    kept = "" if record.get("fresh") else " (trained before with exactly this recipe and data; kept)"
    kept += f" (went on from {record['resumed_from']})" if record.get("resumed_from") else ""
    kept += "".join(f"; checkpoint skipped, {line}" for line in record.get("skipped_checkpoints", []))
    return f"{record['display']}: {record['train_time_s']:.0f} s, {record['tokens_per_s']:,} tokens/s, peak memory {record['peak_memory_mb']:,} MB{kept}"


def train(run: RunConfig, spec: ModelSpec, parts: dict[str, pd.DataFrame]) -> dict:
    """Fine-tune one model, or return its record if exactly this was done before.

    Writes `adapters/<key>/` (PEFT layout, best epoch by validation loss) and `runs/<key>--<profile>--seed<n>.json`, the record last.
    If the recipe has several processes (one a GPU; two of one thread each for a real model on a CPU), `accelerate launch` starts them, each with its
    share of every effective batch.
    Returns: the run record (see `records.write_run`), with `fresh`: whether it was trained now.
    Source: paper, Algorithm 2 and section V-A; validation BLEU/ROUGE/BERTScore and persona similarity each epoch (line 9).
    """
    scale = run.settings.scale
    told = {
        "base": weights_identity(spec, scale),
        "data_hash": dataset.data_hash(parts), "template_hash": chat.template_hash(load_tokenizer(spec, scale)),
        "epoch_eval_rows": run.settings.epoch_eval_rows,
    }  # fmt: skip

    def job_of(recipe: TrainSpec, resources: str) -> Job:
        identity = {"version": VERSION, "train_spec": recipe, "model": spec.key} | told
        return Job(run, spec, parts, recipe, resources, identity, fingerprint(identity))

    if (recipe := trained_recipe(run, spec)) is not None:  # the memory that is free today decides nothing about a training that is finished
        job, base_folder = job_of(recipe, ""), adapted_folder(run, spec)
        kept = {"adapter_hash": job.adapter} | ({"adapted_base": base_folder} if base_folder else {})
        if (done := records.finished(job.record_path, job.mark, kept)) is not None:
            return done | {"fresh": False}
    job = job_of(*fit_recipe(spec, scale, run.train_spec, Machine.here()))
    if job.recipe.processes > 1:
        launch(job)
    else:
        fine_tune(job)
    return records.read_run(job.record_path) | {"fresh": True}


def trained_recipe(run: RunConfig, spec: ModelSpec) -> TrainSpec | None:
    """The recipe of the run's record of a model, if it is this run's with another split of the same effective batch (`fit_recipe`); None without one."""
    try:
        used = records.read_run(records.run_path(run, spec.key))["train_spec"]
        before = replace(run.train_spec, **{name: used[name] for name in SPLIT_OF_A_BATCH})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sizes = [math.prod(getattr(recipe, name) for name in SPLIT_OF_A_BATCH) for recipe in (before, run.train_spec)]
    return before if sizes[0] == sizes[1] else None


def adapters_of(run: RunConfig, spec: ModelSpec) -> Path:
    """The folder that holds the adapter of `spec`: the run's own, else the published one in 8 bits, else what `locate.find` gives (or says)."""
    own, published = run.paths.results / "adapters", paths.PUBLISHED_ADAPTERS / spec.key
    if spec.nano is None and not (own / spec.key).exists() and not locate.headless() and published.exists():
        print(f"adapters: this run has none of {spec.display} yet, so the published one is read (data/adapters/{spec.key})")
        return unpack_adapter(published).parent
    return locate.find(run, "adapters")


def launch(job: Job) -> None:
    """Run `fine_tune` in `recipe.processes` processes of `accelerate launch`. Raises: ChildProcessError if one was killed, RuntimeError with the
    last lines if they fail."""
    with tempfile.TemporaryDirectory() as place:
        handed = Path(place) / "job.pickle"
        handed.write_bytes(pickle.dumps(job))
        command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(job.recipe.processes), "--num_machines", "1"]
        command += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "polypersona_lib.training.jobs", str(handed)]
        environment = os.environ | {LAUNCHED_BY: str(os.getpid())}
        if device() == "cpu":
            environment |= {"ACCELERATE_USE_CPU": "true"} | worker_environment(max(1, LARGE_THREADS // job.recipe.processes))
        done = subprocess.run(command, cwd=paths.ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    if "Signal 9 (SIGKILL)" in done.stderr:
        raise ChildProcessError("a process of the training was killed, or out of memory; the same command goes on from its last checkpoint")
    if done.returncode:
        raise RuntimeError(f"{job.spec.key}: training in {job.recipe.processes} processes failed:\n" + "\n".join(done.stderr.splitlines()[-15:]))


def _end_with(launcher: int) -> None:
    """End this process when the one that launched the training is no more: else it would go on writing beside the next start."""
    try:
        while psutil.Process(launcher).status() != psutil.STATUS_ZOMBIE:  # in a container often nobody buries it
            time.sleep(1)
    finally:  # most often NoSuchProcess
        os._exit(1)


def main(argv: list[str]) -> None:
    """One process of `launch`: `python -m polypersona_lib.training.jobs JOB`, a file that `launch` wrote."""
    threading.Thread(target=_end_with, args=(int(os.environ[LAUNCHED_BY]),), daemon=True).start()
    import torch
    from accelerate import PartialState
    from transformers.utils import logging

    from .answer_trainer import PATIENCE_S

    logging.set_verbosity_error()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    PartialState(timeout=timedelta(seconds=PATIENCE_S))
    fine_tune(pickle.loads(Path(argv[0]).read_bytes()))


if __name__ == "__main__":
    main(sys.argv[1:])
