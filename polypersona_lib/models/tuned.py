"""A model with the adapter that a run trained for it."""

from __future__ import annotations

from pathlib import Path

from ..config import RunConfig, device
from ..registry import ModelSpec
from .loading import load_for_inference


def adapted_folder(run: RunConfig, spec: ModelSpec) -> Path | None:
    """Where the adapted base of a run on foreign data lies; None if the run's recipe has none."""
    return run.paths.results / "adapters" / f"{spec.key}-base" if run.train_spec.adapt_epochs else None


def load_tuned(run: RunConfig, spec: ModelSpec, *, tuned: bool = True):
    """The run's model for answering: its (adapted) base with the adapter, or the plain base if not `tuned`."""
    adapter = run.paths.results / "adapters" / spec.key if tuned else None
    return load_for_inference(spec, run.settings.scale, adapter, device=device(), folder=adapted_folder(run, spec))
