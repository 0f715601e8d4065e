"""Publishes a full nano run: its small results become `results/shipped/` and `figures/shipped/`, and the README's table is renewed.

python -m polypersona_lib publish [--out DIR]      # after ./run_all.sh nano
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from . import paths
from .config import RunConfig

FOLDERS = ("tables", "scores", "preds", "administration", "runs", "adapters")
FILES = ("claims.csv", "summary.json", "report.html")
MOST_BYTES = 4_000_000
MARKS = ("<!-- results: start -->", "<!-- results: end -->")


def copy_results(run: RunConfig) -> list[str]:
    """Replace the shipped copies by this run's. Raises FileNotFoundError if the run is not complete."""
    results, shipped = run.paths.results, paths.ROOT / "results" / "shipped"
    missing = [name for name in (*FOLDERS, "summary.json") if not (results / name).exists()]
    if missing:
        raise FileNotFoundError(f"{results}: no {', '.join(missing)}; run ./run_all.sh {run.profile} first")
    copied = []
    for base, target, names in ((results, shipped, (*FOLDERS, *FILES)), (run.paths.figures, paths.ROOT / "figures" / "shipped", ("",))):
        for name in names:
            for file in sorted(p for p in ([base / name] if (base / name).is_file() else (base / name).rglob("*")) if p.is_file()):
                place = target / file.relative_to(base)
                if file.stat().st_size > MOST_BYTES or "base" in file.relative_to(base).parts or file.name.startswith("."):
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                copied.append((file, place))
    for folder in (shipped, paths.ROOT / "figures" / "shipped"):
        shutil.rmtree(folder, ignore_errors=True)
    for file, place in copied:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    return [str(place.relative_to(paths.ROOT)) for _, place in copied]


def readme_table(results: Path) -> str:
    """The paper-vs-ours table as Markdown, from the run's summary."""
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    table = pd.DataFrame(summary["headline"])[["subject", "metric", "paper", "ours", "verdict"]]
    return table.fillna("—").to_markdown(index=False, disable_numparse=True)


def renew_readme(text: str, table: str) -> str:
    """`text` with everything between the two marks replaced by `table`. Raises ValueError if a mark is missing."""
    if any(mark not in text for mark in MARKS):
        raise ValueError(f"README.md: the marks {MARKS[0]} and {MARKS[1]} are not both there")
    return re.sub(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), lambda _: f"{MARKS[0]}\n{table}\n{MARKS[1]}", text, flags=re.DOTALL)


def main(argv: list[str] | None = None) -> int:
    """Command line of the module; exit status 2 with one line if there is nothing to publish."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib publish", description="Publish the last full nano run.")
    parser.add_argument("--out", default="", help="where the run was written, if not in the project")
    run = RunConfig(profile="nano", out=parser.parse_args(argv).out)
    readme = paths.ROOT / "README.md"
    try:
        copied = copy_results(run)
        readme.write_text(renew_readme(readme.read_text(encoding="utf-8"), readme_table(run.paths.results)), encoding="utf-8")
    except (FileNotFoundError, ValueError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    print(f"{len(copied)} files published; README table renewed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
