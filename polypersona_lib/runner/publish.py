"""Publishes a full run: its small results become `results/shipped/` and `figures/shipped/`.

python -m polypersona_lib publish [--out DIR]          # after ./run_all.sh nano: the README's table is renewed, too
python -m polypersona_lib publish small [--out DIR]    # after ./run_all.sh small: into shipped/small/, and its adapters, in 8 bits, into data/adapters/
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from .. import paths
from ..claims.evidence import VERDICTS
from ..config import RunConfig
from ..files import write_atomically
from ..models.published_adapters import pack_adapter
from ..records import load_runs
from ..systems import CONTROLS, system_kind, system_label, system_order

FOLDERS = ("tables", "scores", "preds", "administration", "runs", "adapters")
FILES = ("claims.csv", "summary.json", "report.html")
ASIDE_FILES = {
    "ablations": ("ablations.json", "tables/ablation_*", "ablation_*"),
    "sessions": ("consistency.json", "tables/consistency_*", "consistency_*", "scores/conditions.csv", "scores/consistency.csv"),
    "bias": ("bias/bias.json", "bias/study", "bias/tables/bias_*", "tables/mitigation_*", "bias_*"),
    "full_size": ("*--paper--*.json",),
}
"""What is published of the studies outside the nano run; the first pattern says whether one was run."""
MOST_BYTES = 4_000_000
_MARKS = ("<!-- results: start -->", "<!-- results: end -->")
_SMALL_MARKS = ("<!-- small: start -->", "<!-- small: end -->")
_SMALL_SCORES = {
    "bleu": "BLEU", "rouge1": "ROUGE-1", "bertscore_f1": "BERTScore", "stance_acc": "stance", "swap_gap_rouge1_content": "swap gap on content",
    "readable": "readable", "nats_over_reference": "nats over reference",
}  # fmt: skip
_SMALL_CONTROLS = ("persona_blind", "resample", "oracle_card")
_SMALL_HEAD = (
    "**SmolLM2-135M, a real language model, by the paper's recipe** (`./run_all.sh small`; our data, so no score is the paper's). "
    "*Stance*: share of answers that name the respondent's own option. *Swap gap on content*: likeness to the answer of its own person minus likeness to "
    "others'. *Nats over reference*: how much more unusual the words are than the reference's; below 0, more usual."
)


def copy_results(run: RunConfig) -> list[str]:
    """Replace the shipped copies by this run's, and by those of the studies that stand beside it if they were run; else theirs stay.

    Raises: FileNotFoundError if the run is not complete.
    """
    results, root = run.paths.results, paths.ROOT
    missing = [name for name in (*FOLDERS, "summary.json") if not (results / name).exists()]
    if missing:
        raise FileNotFoundError(f"{results}: no {', '.join(missing)}; run ./run_all.sh {run.profile} first")
    shipped, drawn = root / "results" / "shipped", root / "figures" / "shipped"
    sources = _files(results, shipped, (*FOLDERS, *FILES)) | _files(run.paths.figures, drawn, ("",))
    for place in (shipped, drawn):
        sources |= _files(place, place, ("small",))
    for study, names in ASIDE_FILES.items():
        place = paths.run_paths(study, run.out)
        own = any(place.results.glob(names[0]))
        sources |= _files(place.results if own else shipped, shipped, names) | _files(place.figures if own else drawn, drawn, names)
    kept = {place: file.read_bytes() for place, file in sources.items()}
    for folder in (shipped, drawn):
        shutil.rmtree(folder, ignore_errors=True)
    for place, content in kept.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return [str(place.relative_to(root)) for place in kept]


def publish_small(run: RunConfig) -> list[str]:
    """Replace the published copies of the run `small`, and the published adapters of its models. Raises: FileNotFoundError if the run is not complete."""
    results, root, kept = run.paths.results, paths.ROOT, [name for name in FOLDERS if name != "adapters"]
    if missing := [name for name in (*FOLDERS, "summary.json", "dataset/report.json") if not (results / name).exists()]:
        raise FileNotFoundError(f"{results}: no {', '.join(missing)}; run ./run_all.sh {run.profile} first")
    report, written = json.loads((results / "dataset" / "report.json").read_text(encoding="utf-8")), []
    for record in load_runs(run):
        facts = {"model": record["model"], "base": record["weights"], "data_version": report.get("data_version"), "data_hash": record["data_hash"]}
        facts |= {"template_hash": record["template_hash"], "untuned_val_loss": record["untuned_val_loss"], "epochs": record["epochs"]}
        pack_adapter(results / "adapters" / record["model"], paths.PUBLISHED_ADAPTERS / record["model"], facts)
        written.append(f"data/adapters/{record['model']}")
    for base, folder, names in (("results", results, (*kept, *FILES)), ("figures", run.paths.figures, ("",))):
        target = paths.shipped(base, run.name)
        sources = {place: file.read_bytes() for place, file in _files(folder, target, names).items()}
        shutil.rmtree(target, ignore_errors=True)
        for place, content in sources.items():
            write_atomically(place, content)
        written += [str(place.relative_to(root)) for place in sources]
    return written


def _files(base: Path, target: Path, patterns: tuple[str, ...]) -> dict[Path, Path]:
    """{place under `target`: file under `base`} for the files that match, or lie in a folder that matches: none that is too large or an adapted base."""
    matches = [match for pattern in patterns for match in ([base] if not pattern else sorted(base.glob(pattern)))]
    files = [path for match in matches for path in ([match] if match.is_file() else sorted(match.rglob("*"))) if path.is_file()]
    return {
        target / path.relative_to(base): path
        for path in files
        if path.stat().st_size <= MOST_BYTES and "base" not in path.relative_to(base).parts and not path.name.startswith(".")
    }


def readme_table(results: Path) -> str:
    """What became of the paper's claims, as Markdown: one row a verdict, counted in the run's `claims.csv`."""
    claims = pd.read_csv(results / "claims.csv", dtype=str, keep_default_na=False)
    counts = claims["verdict"].value_counts()
    rows = [(name, counts[name], meaning) for name, meaning in VERDICTS.items() if name in counts]
    return pd.DataFrame(rows, columns=[f"the paper's {len(claims)} claims", "n", "what it means"]).to_markdown(index=False, disable_numparse=True)


def small_table(results: Path) -> str:
    """The real model's scores beside three controls, as Markdown: one row a system, models first; from `scores/systems.csv` of the run `small`."""
    systems = pd.read_csv(results / "scores" / "systems.csv")
    systems = systems[~systems["system"].isin(CONTROLS) | systems["system"].isin(_SMALL_CONTROLS)]
    wide = systems[systems["metric"].isin(_SMALL_SCORES)].pivot(index="system", columns="metric", values="value")
    order = sorted(wide.index, key=lambda system: (system_kind(system) not in ("untuned", "tuned"), system_order(system)))
    shown = wide.reindex(index=order, columns=[m for m in _SMALL_SCORES if m in wide]).rename(columns=_SMALL_SCORES)
    cells = shown.map(lambda value: f"{value:.3f}" if value == value else "–").rename(index={s: system_label(s, "small") for s in order})
    return f"{_SMALL_HEAD}\n\n{cells.rename_axis('').reset_index().to_markdown(index=False, disable_numparse=True)}"


def renew_readme(text: str, table: str, marks: tuple[str, str] = _MARKS) -> str:
    """`text` with everything between the two marks replaced by `table`. Raises ValueError if a mark is missing."""
    if any(mark not in text for mark in marks):
        raise ValueError(f"README.md: the marks {marks[0]} and {marks[1]} are not both there")
    return re.sub(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), lambda _: f"{marks[0]}\n{table}\n{marks[1]}", text, flags=re.DOTALL)


def main(argv: list[str] | None = None) -> int:
    """Command line of the module; exit status 2 with one line if there is nothing to publish."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib publish", description="Publish the last full run of a profile.")
    parser.add_argument("profile", nargs="?", choices=("nano", "small"), default="nano", help="whose run (default nano)")
    parser.add_argument("--out", default="", help="where the run was written, if not in the project")
    options = parser.parse_args(argv)
    run, readme = RunConfig(profile=options.profile, out=options.out), paths.ROOT / "README.md"
    try:
        copied = copy_results(run) if run.profile == "nano" else publish_small(run)
        table, marks = (readme_table, _MARKS) if run.profile == "nano" else (small_table, _SMALL_MARKS)
        write_atomically(readme, renew_readme(readme.read_text(encoding="utf-8"), table(run.paths.results), marks))
    except (FileNotFoundError, ValueError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    print(f"{len(copied)} files published; README table renewed")
    return 0
