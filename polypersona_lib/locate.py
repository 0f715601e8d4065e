"""Where a notebook finds what earlier ones wrote: in its own run, or, opened alone, in the published one."""

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from . import paths
from .config import RunConfig
from .notebook_graph import ASIDE

Made = TypeVar("Made")
PUBLISHED_RUNS = ("nano", *ASIDE.values())  # names of the runs whose results are shipped: default seed and split, embedded data


def headless() -> bool:
    """Whether the runner executes this notebook. For library code: a cell asks `live`, `find` or `works_here` instead."""
    return "POLYPERSONA_NONCE" in os.environ


def live(make: Callable[[], Made]) -> Made | None:
    """What `make` builds (a widget, a page), or None under the runner: nbclient can wait forever for a cell that shows an Output widget (its issue 312)."""
    return None if headless() else make()


def find(run: RunConfig, name: str) -> Path:
    """`results/<run>/<name>`, or, in a notebook opened on its own, the published copy in `results/shipped/` (said in one line).

    Raises: FileNotFoundError with the command to run if there is neither. Under the runner the published copy never counts, nor does it for a run
        of another seed, split, profile or data set: its numbers would stand under the wrong name.
    """
    own, shipped = run.paths.results / name, paths.ROOT / "results" / "shipped" / name
    if own.exists() and (own.is_file() or any(own.iterdir())):
        return own
    if not headless() and run.name in PUBLISHED_RUNS and shipped.exists():
        print(f"{name}: this run has none yet, so the published nano run's copy is read ({shipped.relative_to(paths.ROOT)})")
        return shipped
    options = [run.profile, *(f"--{name} {getattr(run, name)}" for name in ("split", "seed", "data") if getattr(run, name) != getattr(RunConfig, name))]
    raise FileNotFoundError(f"{own}: missing; run the notebooks before this one first (./run_all.sh {' '.join(options)})")


def find_figure(run: RunConfig, stem: str) -> Path | None:
    """The PNG of a figure: this run's, or, in a notebook opened on its own, the published one (said in one line); None if there is neither."""
    own, shipped = run.paths.figures / f"{stem}.png", paths.ROOT / "figures" / "shipped" / f"{stem}.png"
    if own.is_file() or headless() or run.name not in PUBLISHED_RUNS or not shipped.is_file():
        return own if own.is_file() else None
    print(f"{stem}: this run has not drawn it, so the published nano run's copy is shown ({shipped.relative_to(paths.ROOT)})")
    return shipped


def show_figure(run: RunConfig, stem: str):
    """The picture that `find_figure` names, for a notebook cell; None if nobody has drawn it yet (said in one line)."""
    from IPython.display import Image

    path = find_figure(run, stem)
    if path is None:
        print(f"{stem}: not drawn yet")
    return path and Image(filename=str(path), width=560)


def works_here(run: RunConfig, made: str) -> bool:
    """True if the notebook should run its long step; otherwise it loads the published results and can be read alone in a minute.

    True under the runner, if the work was begun here (`results/<run>/<made>` holds something), and for a run without published results:
    another seed, split, profile or data set. For library functions that do a long step or load it.
    """
    own = run.paths.results / made
    return headless() or run.name not in PUBLISHED_RUNS or (own.is_dir() and any(own.iterdir()))


class Published(RunConfig):
    """The published run as something to read from: its folders are the shipped ones."""

    @property
    def paths(self) -> paths.RunPaths:
        """`results/shipped` and `figures/shipped`; nobody writes there but `publish`."""
        return paths.RunPaths(paths.ROOT / "results" / "shipped", paths.ROOT / "figures" / "shipped")


def reported_run(run: RunConfig) -> RunConfig:
    """The run that the report shows: `run`, or the published one (said in one line) in a notebook opened on its own that has no scores yet."""
    if headless() or run.name != "nano" or (run.paths.results / "scores" / "rows.parquet").is_file():
        return run
    print("this run has no scores yet, so the published nano run is shown (results/shipped, figures/shipped)")
    return Published(**{f.name: getattr(run, f.name) for f in fields(run) if f.init})


def unavailable(run: RunConfig) -> dict[str, str]:
    """The models of this run that could not be downloaded or do not fit, each with the reason (`jobs.train_models` writes it)."""
    path = run.paths.results / "unavailable.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
