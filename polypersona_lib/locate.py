"""What each notebook reads of earlier ones (`READS`, for the runner too), and where it finds that: in its own run or, opened alone, in the published one."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from . import paths
from .config import RunConfig
from .paths import NOTEBOOKS

EARLIER = "*"
ASIDE = {"07": "ablations", "11": "sessions", "12": "bias", "13": "bias"}
"""Stages outside the default run, and the profile that runs each of them (after stage 01)."""
ALSO_SMOKE = ("12",)
"""Stages of `ASIDE` that the smoke run has too."""
_TOLD = ("phrase_bank", "question_bank.json", "population.yaml", "attitudes.yaml", "idiom.yaml", "turns_of_phrase.yaml")
WORLD = tuple(f"project:data/{name}" for name in _TOLD)
LEFT_OUT = "unavailable.json"  # which models could not be trained, and why
MODEL_STAGES = ("03", "04", "08", "12")  # what they do depends on whether a real model's weights are on this machine
STAGE_VARIABLES = {"01": ("POLYPERSONA_PERSONAHUB",), "12": ("POLYPERSONA_MINUTES",)}  # of the surroundings, that a stage's numbers depend on
CLAIMS = "project:data/paper_claims.csv"
READS: dict[str, tuple[str, ...]] = {
    "01": (*WORLD, "parameter:data"),
    "02": ("dataset",),
    "03": ("dataset", "project:data/models", "parameter:models"),
    "04": ("dataset", "parameter:models", "unavailable.json", "adapters", "runs/*.json", "project:data/models", "project:data/adapters", *WORLD),
    "05": ("scores", "dataset", "preds"),
    "06": ("tables", "scores", "runs", "administration", "figures:fig[1245]_*.png", CLAIMS, "project:data/table1_features.csv"),
    "07": ("dataset", "project:data/models", "parameter:models", "project:results/full_size", "project:results/shipped/*--paper--*.json"),
    "08": ("dataset", "preds", "administration", "scores", "runs/*.json", "adapters", "project:data/models", "project:data/adapters", *WORLD),
    "09": ("preds", "scores/rows.parquet", "ratings/*.jsonl"),
    "10": ("administration", "preds", *WORLD),
    "11": (
        "dataset",
        *(f"{place}/{folder}" for place in ("out:results/nano*", "project:results/shipped") for folder in ("adapters", "administration")),
        "project:data/models",
        "project:data/negated_items.yaml",
        "project:data/implicit_cards.yaml",
        *WORLD,
    ),
    "12": (
        "dataset",
        "adapters",
        *(f"{place}/adapters" for place in ("out:results/nano*", "out:results/small*", "project:results/shipped")),
        "project:data/models",
        "project:data/adapters",
        "parameter:models",
        "project:data/humans",
    ),
    "13": ("bias/study", "bias/tables", "project:data/humans"),
    "14": ("project:data/examples", "project:data/wording_labels.csv"),
    "90": (
        EARLIER,
        CLAIMS,
        "project:data/catch_claims.csv",
        "out:results/bias/bias/bias.json",
        "project:results/shipped/bias/bias.json",
        "out:results/ablations/ablations.json",
        "project:results/shipped/ablations.json",
        "out:results/ablations/tables/ablation_*",
        "out:figures/ablations/*.png",
        *(f"project:polypersona_lib/report/{name}" for name in ("report.html.j2", "page.css", "report.js", "texts.toml")),
    ),
}
"""What each stage reads: paths and patterns in the run's results folder, `out:` where all runs lie, `project:` in the project, `figures:` the run's
pictures, `parameter:` the path a parameter holds, `*` everything earlier stages wrote. A stage that is not listed reads what earlier stages wrote."""
PROBE = "00"  # first in the folder, and no part of a run: it reads what the others made
Made = TypeVar("Made")
PUBLISHED_RUNS = ("nano", "small", *ASIDE.values())  # names of the runs whose results are shipped: default seed and split, embedded data


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
    own, shipped = run.paths.results / name, paths.shipped("results", run.name) / name
    if own.exists() and (own.is_file() or any(own.iterdir())):
        return own
    if not headless() and run.name in PUBLISHED_RUNS and shipped.exists():
        print(f"{name}: this run has none yet, so the published {_published(run)} run's copy is read ({shipped.relative_to(paths.ROOT)})")
        return shipped
    options = [run.profile, *(f"--{name} {getattr(run, name)}" for name in ("split", "seed", "data") if getattr(run, name) != getattr(RunConfig, name))]
    raise FileNotFoundError(f"{own}: missing; run the notebooks before this one first (./run_all.sh {' '.join(options)})")


def find_study(run: RunConfig) -> Path:
    """The folder of the bias study's frames: of this run, else of the last run of `bias`, else the published one (said in one line).

    Raises: FileNotFoundError, with the command, if there is none.
    """
    own = run.paths.results / "bias"
    for folder in dict.fromkeys((own, paths.run_paths("bias", run.out).results / "bias", paths.ROOT / "results" / "shipped" / "bias")):
        if (folder / "study" / "study.json").is_file():
            print(f"read from {'/'.join(folder.parts[-3:])}: nothing is asked here")
            return folder / "study"
    raise FileNotFoundError(f"{own / 'study'}: the bias study was not run here and none is published; run ./run_all.sh bias")


def find_figure(run: RunConfig, stem: str) -> Path | None:
    """The PNG of a figure: this run's, or, in a notebook opened on its own, the published one (said in one line); None if there is neither."""
    own, shipped = run.paths.figures / f"{stem}.png", paths.shipped("figures", run.name) / f"{stem}.png"
    if own.is_file() or headless() or run.name not in PUBLISHED_RUNS or not shipped.is_file():
        return own if own.is_file() else None
    print(f"{stem}: this run has not drawn it, so the published {_published(run)} run's copy is shown ({shipped.relative_to(paths.ROOT)})")
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
    published = run.name in PUBLISHED_RUNS and (run.name != "small" or paths.shipped("results", run.name).is_dir())
    return headless() or not published or (own.is_dir() and any(own.iterdir()))


def _published(run: RunConfig) -> str:
    """Which published run stands in for this one."""
    return "small" if run.name == "small" else "nano"


class Published(RunConfig):
    """The published run as something to read from: its folders are the shipped ones."""

    @property
    def paths(self) -> paths.RunPaths:
        """The shipped folders of the run; nobody writes there but `publish`."""
        return paths.RunPaths(paths.shipped("results", self.name), paths.shipped("figures", self.name))


def reported_run(run: RunConfig) -> RunConfig:
    """The run that the report shows: `run`, or the published one (said in one line) in a notebook opened on its own that has no scores yet."""
    if headless() or run.name not in ("nano", "small") or (run.paths.results / "scores" / "rows.parquet").is_file():
        return run
    print(f"this run has no scores yet, so the published {run.name} run is shown (results/shipped, figures/shipped)")
    return Published(**{f.name: getattr(run, f.name) for f in fields(run) if f.init})


def unavailable(run: RunConfig) -> dict[str, str]:
    """The models without a row in this run, each with the reason: not to be downloaded, too large (`jobs.train_models`), or no published adapter here."""
    reasons = {}
    for name in (LEFT_OUT, f"preds/{LEFT_OUT}"):
        path = run.paths.results / name
        reasons |= json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return reasons


# --- who hands what to whom ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stop:
    """A notebook on the map: number, short name, the files it reads and writes (patterns in a run's folder), whether it stands beside the default run."""

    number: str
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    aside: bool


def stops(notebooks: Path = NOTEBOOKS) -> dict[str, Stop]:
    """`{number: Stop}` of all numbered notebooks in order; a notebook that the runner does not know reads what its own opening table says.

    Raises: ValueError naming a notebook whose first cell is not a title with the table reads / writes / artefact / time.
    """
    known = {}
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        number, lines = path.name[:2], notebook_cells(path)[0]["source"].splitlines()
        row = next((lines[i + 1] for i, line in enumerate(lines[:-1]) if re.fullmatch(r"\|[-| :]+\|", line)), "")
        if not lines[0].startswith("# ") or row.count("|") < 5:
            raise ValueError(f"{path.name}: its first cell is not a title with a table reads / writes / artefact / time")
        title, stem = lines[0][2:].partition(":")[0].strip(), path.stem[3:].replace("_", " ").capitalize()
        reads, writes = (tuple(span.strip("/") for span in re.findall(r"`([^`]+)`", column)) for column in row.split("|")[1:3])
        known[number] = Stop(number, min(title, stem, key=len), READS.get(number, reads), writes, number in ASIDE or number == PROBE)
    return known


def hand_offs(known: dict[str, Stop]) -> dict[tuple[str, str], tuple[str, ...]]:
    """`{(from, to): names}`: what each notebook reads of each earlier one, as the names of folders and files; a notebook that reads all of a run: ("",).

    What is written beside the default run (ablations, sessions) goes into a folder of its own, so it is handed on only where `READS` names that folder.
    """
    names_of: dict[tuple[str, str], tuple[str, ...]] = {}
    for reader in known.values():
        earlier = (w for w in known.values() if w.number < reader.number or reader.number == PROBE)
        for writer in earlier:
            names = []
            for item in reader.reads:
                kind, _, wanted = item.rpartition(":")
                parts = wanted.split("/")
                inside = not kind and not writer.aside
                if item == EARLIER and not writer.aside and writer.writes:
                    names.append("")
                elif inside or (kind in ("project", "out") and parts[0] == "results" and len(parts) > 2):
                    wanted = wanted.strip("/") if inside else "/".join(parts[2:])
                    if any(_fits(written, wanted) for written in writer.writes):
                        names.append(wanted.split("/")[0])
            if names:
                names_of[writer.number, reader.number] = tuple(dict.fromkeys(names))
    return names_of


def _fits(written: str, wanted: str) -> bool:
    """Whether a file called `written` (a path, a pattern, a folder) is among those called `wanted`."""
    return fnmatch(wanted, written) or fnmatch(written, wanted) or written.startswith(f"{wanted}/")


def direct(edges: dict[tuple[str, str], tuple[str, ...]]) -> set[tuple[str, str]]:
    """The edges not implied by a longer path: 01 -> 03 -> 04 makes an arrow 01 -> 04 unnecessary in a picture."""
    import networkx as nx

    return set(nx.transitive_reduction(nx.DiGraph(list(edges))).edges)


def notebook_cells(path: Path) -> list[dict]:
    """The cells of a notebook as `{"type", "source", "tags"}`, with the source as one string. Raises ValueError if it is not a notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [{"type": c["cell_type"], "source": "".join(c["source"]), "tags": c.get("metadata", {}).get("tags", [])} for c in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is not a readable notebook ({error})") from error
