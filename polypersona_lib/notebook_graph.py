"""Which notebook hands what to which: what each stage reads (`READS`, for the runner too) and, from the notebooks' opening tables, what each writes."""

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from .paths import NOTEBOOKS

EARLIER = "*"
ASIDE = {"07": "ablations", "11": "sessions"}
"""Stages outside the default run, and the profile that runs each of them (after stage 01)."""
WORLD = ("project:data/phrase_bank", "project:data/question_bank.json", "project:data/population.yaml", "project:data/attitudes.yaml")
CLAIMS = "project:data/paper_claims.csv"
READS: dict[str, tuple[str, ...]] = {
    "01": (*WORLD, "parameter:data"),
    "02": ("dataset",),
    "03": ("dataset", "project:data/models"),
    "04": ("dataset", "adapters", "runs/*.json", "project:data/models", *WORLD),
    "05": ("scores", "dataset", "preds"),
    "06": ("tables", "scores", "runs", "administration", CLAIMS, "project:data/table1_features.csv"),
    "07": ("dataset", "project:data/models", "project:results/full_size", "project:results/shipped/*--paper--*.json"),
    "08": ("dataset", "preds", "administration", "scores", "runs/*.json", *WORLD),
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
    "90": (
        EARLIER,
        CLAIMS,
        "project:results/ablations/ablations.json",
        "project:results/shipped/ablations.json",
        "out:results/ablations/tables/ablation_*",
        "out:figures/ablations/*.png",
        *(f"project:polypersona_lib/report/{name}" for name in ("report.html.j2", "report.js", "texts.toml")),
    ),
}
"""What each stage reads: paths and patterns in the run's results folder, `out:` where all runs lie, `project:` in the project,
`parameter:` the path a parameter holds, `*` everything earlier stages wrote. A stage that is not listed reads what earlier stages wrote."""
PROBE = "00"  # first in the folder, and no part of a run: it reads what the others made


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
