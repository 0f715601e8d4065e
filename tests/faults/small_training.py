"""What notebook 02 of the small project does in a worker: the product's own training, made short, and the answers of the tuned model."""

from __future__ import annotations

from dataclasses import replace


def train(out: str, models: str, key: str) -> str:
    """Train one twin on the run's rows for eight steps with a checkpoint every second step, and let it answer the test rows. Returns a line."""
    from polypersona_lib.config import RunConfig
    from polypersona_lib.registry import get_spec
    from polypersona_lib.scoring import answering
    from polypersona_lib.scoring.answer_files import load_data
    from polypersona_lib.training import checkpoints, jobs, trainer

    checkpoints.SAVE_EVERY, trainer.epoch_scores = 2, lambda *given, **named: {}
    recipe = RunConfig.train_spec.fget
    RunConfig.train_spec = property(lambda self: replace(recipe(self), epochs=2, micro_batch=12))
    run = RunConfig(profile="smoke", out=out, models=models)
    parts = load_data(run)
    record = jobs.train(run, get_spec(key), parts)
    answering.predict_model(run, answering._Job(key, ""), parts["test"], None)
    return jobs.training_line(record)
