"""Builds the data set as files: the data of a run, the published copy in `data/polypersona/`, or one on PersonaHub texts wherever asked.

python -m polypersona_lib build --out DIR|--publish [--seed N] [--personahub FILE|proj-persona/PersonaHub]
"""

import argparse
import json
import os
import sys
from pathlib import Path

import pandas as pd

from .. import files, paths
from ..cells import md_text
from ..config import RunConfig
from ..errors import InputError, printable
from . import dataset
from .simulation import simulate_records

CARD_HEAD = """---
license: apache-2.0
language: [en]
pretty_name: PolyPersona (embedded world)
task_categories: [text-generation]
size_categories: [1K<n<10K]
configs:
- config_name: paper
  default: true
  data_files:
  - {split: train, path: paper/train.parquet}
  - {split: validation, path: paper/validation.parquet}
  - {split: test, path: paper/test.parquet}
- config_name: grouped
  data_files:
  - {split: train, path: grouped/train.parquet}
  - {split: validation, path: grouped/validation.parquet}
  - {split: test, path: grouped/test.parquet}
---
"""


def subset(frame: pd.DataFrame, rows: int, split: str) -> pd.DataFrame:
    """About `rows` records, spread evenly over each part of a split configuration and over questions (for the smoke profile)."""
    keep = []
    for part, number in zip(dataset.SPLITS, dataset.apportion(rows, list(dataset.SPLIT_ROWS.values())), strict=True):
        members = frame[frame[split] == part]
        keep.append(members.iloc[[round(i * (len(members) - 1) / max(1, number - 1)) for i in range(number)]])
    return pd.concat(keep).sort_index()


def prepare_data(run: RunConfig) -> dict:
    """Build the embedded data set, or import the user's, and write `dataset/{train,validation,test}.parquet` and `dataset/report.json`.

    Returns: the report: counts, leakage, and for foreign data the faults and how they were treated.
    Raises: InputError for bad foreign data; ValueError if a persona-question pair is in two splits of our own data.
    """
    folder = run.paths.folder("dataset")
    report = {"run": run.name, "source": run.data and Path(run.data).name or "embedded", "split": run.split, "faults_mode": run.faults}
    report |= {} if run.data else {"data_version": dataset.DATA_VERSION}
    if run.data:
        from ..intake.dataset_import import import_dataset

        known = {"data_hash": dataset.written_hash(Path(run.data))}
        if said := dataset.older_version(known, f"--data {run.data}", "leave --data out, the data are built anew"):
            raise InputError(said)
        parts, imported = import_dataset(Path(run.data), run.faults)
        for name, frame in parts.items():
            frame.loc[:, list(dataset.COLUMNS)].to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
        report["import"] = imported.to_dict()
    else:
        frame = simulate_records(run.seed)
        if run.settings.rows:
            frame = subset(frame, run.settings.rows, run.split)
        dataset.write_splits(frame, run.split, folder)
    parts = {part: dataset.read_split(folder, part) for part in dataset.SPLITS}
    report["rows"] = {name: len(frame) for name, frame in parts.items()}
    report["data_hash"] = dataset.data_hash(parts)
    report["leakage"] = dataset.leakage_report(parts)
    repeated = {k: n for k, n in report["leakage"].items() if "pair" in k and n}
    if repeated and not run.data:
        raise ValueError(f"the data set repeats persona-question pairs: {repeated}")
    files.write_atomically(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def from_environment(seed: int) -> tuple[list[dict], dict]:
    """Cards and funnel of the file that the environment variable POLYPERSONA_PERSONAHUB names; ([], {}) if it is not set. Raises InputError."""
    from ..intake.personahub import read_cards

    source = os.environ.get("POLYPERSONA_PERSONAHUB", "")
    return read_cards(source, seed) if source else ([], {})


def import_lines(report: dict) -> list[str]:
    """What the import of foreign data did, one line a fact and a fault with its first place; one line for data that were built here."""
    imported = report.get("import")
    if not imported:
        return ["no import: the data were built here"]
    lines = ["import report:", *(f"  {name}: {imported[name]}" for name in ("files", "rows_read", "rows_kept", "notes"))]
    for kind, fault in imported["faults"].items():
        lines += [f"  {fault['rows']:5d} rows  {kind}: {fault['what']} ({fault['treatment']})", *(f"             {place}" for place in fault["examples"][:1])]
    return lines


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib build", description="Build the PolyPersona data set.")
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--publish", action="store_true", help="write to data/polypersona: the published data set is replaced")
    parser.add_argument("--seed", type=int, default=42, help="of the population, its attitudes and answers (default 42)")
    parser.add_argument("--personahub", default="", help="a file of PersonaHub personas (JSON lines, JSON, CSV, Parquet), or proj-persona/PersonaHub")
    return parser.parse_args(argv)


def _target(options: argparse.Namespace) -> Path:
    """The folder to write. Raises InputError if there is none, two, or one that cannot be a folder."""
    if options.publish and (options.out or options.personahub):
        raise InputError("--publish replaces the published data set; it goes with neither --out nor --personahub")
    if not options.publish and not options.out:
        raise InputError("name a folder with --out DIR, or give --publish to replace the published data set (data/polypersona)")
    folder = paths.DATASET if options.publish else options.out
    if any(p.exists() and not p.is_dir() for p in (folder, *folder.absolute().parents)):
        raise InputError(f"{folder}: is no folder; choose another one for --out")
    if not options.publish and folder.is_dir() and any(folder.iterdir()) and not (folder / "paper" / "train.parquet").is_file():
        raise InputError(f"{folder}: holds other files; name a new folder with --out")
    return folder


def _personahub_cards(source: str, seed: int) -> list[dict] | None:
    """The cards of a PersonaHub file, with a line on what became of its texts; None without a file (the population is drawn)."""
    from ..intake.personahub import read_cards

    if not source:
        return None
    cards, funnel = read_cards(source, seed)
    print(f"PersonaHub: {funnel['rows']} rows -> {funnel['usable']} usable texts -> {funnel['kept']} cards", end="; ")
    print(f"{funnel['naming_an_attribute']} texts name an attribute; not usable: {funnel['left_out'] or 'none'}")
    print(f"contradictions between text and card: {len(funnel['contradictions'])}", *funnel["contradictions"][:10], sep="\n  ")
    return cards


def main(argv: list[str] | None = None) -> int:
    """Command line of the module; exit status 2 with one line for bad input."""
    options = _options(argv)
    try:
        folder = _target(options)
        frame = simulate_records(options.seed, cards=_personahub_cards(options.personahub, options.seed))
    except ValueError as error:
        print(f"build: {printable(error)}", file=sys.stderr)
        return 2
    for split in ("paper", "grouped"):
        written = dataset.write_splits(frame, split, folder / split)
        report = dataset.leakage_report({p: dataset.read_split(folder / split, p) for p in dataset.SPLITS})
        print(f"{split}: {', '.join(f'{p.stem} {(frame[split] == p.stem).sum()}' for p in written)}")
        print(*(f"  {n:5d}  {what}" for what, n in report.items()), sep="\n")
    (folder / "README.md").write_text(card(frame, options.personahub), encoding="utf-8")
    print(f"written to {printable(folder)}")
    return 0


def card(frame, source: str) -> str:
    """The data card (with the YAML front matter that `datasets.load_dataset` reads)."""
    kinds = ", ".join(f"{k} {n:,}" for k, n in frame["question_type"].value_counts().items())
    return (
        CARD_HEAD
        + f"""# PolyPersona, embedded world

{len(frame):,} simulated survey answers, {frame["persona"].nunique()} personas, {frame["question"].nunique()} questions, ten domains ({kinds}).
It stands in for the data of *PolyPersona: Persona-Grounded LLM for Synthetic Survey Responses* (arXiv 2512.14562), which are not public: it meets
every count of the paper that can be met, and no sentence is the paper's.
Personas: {"PersonaHub texts (" + md_text(Path(source).name) + ")" if source else "drawn from documented distributions"}.

**No human answered any of these questions.** Answers are drawn from an item-response model over attitudes that mostly follow from the card, and from
sentences written for this project, in the words of the card's country. Style follows from the card in length, hedging, warmth and choice of reason; a
turn of phrase ("I guess", listed in `turns_of_phrase.yaml`) falls on one answer in thirteen, whoever the speaker. Use them to test methods whose truth must
be known; never as survey data. This is version {dataset.DATA_VERSION} of the data; `CHANGELOG.md` says what changed.

Columns: `id`, `messages` (system, user, assistant), `persona` (JSON), `domain`, `question`, `question_type`, `reference`, `meta` (JSON: `persona_id`,
`question_id`, `options`, and `truth`: attitude `theta`, chosen `option`, the `path` of phrase ids, `label_led`).

```python
from datasets import load_dataset

data = load_dataset("data/polypersona", "paper")  # rows drawn at random: 2,854 / 357 / 357
unseen = load_dataset("data/polypersona", "grouped")  # no persona in two splits: 345 / 47 / 41 personas
sft = data["train"].map(lambda r: {{"prompt": r["messages"][:2], "completion": r["messages"][2:]}}, remove_columns=data["train"].column_names)
```

Built by `python -m polypersona_lib build --publish`; the same bytes on every machine. `datasets` keeps a copy of a folder it has read, and does not notice a
rebuild: then call `load_dataset(..., download_mode="force_redownload")`.
"""
    )


if __name__ == "__main__":
    sys.exit(main())
