"""Publishes a full nano run: its small results become `results/shipped/` and `figures/shipped/`, and the README's table is renewed.

python -m polypersona_lib publish [--out DIR]      # after ./run_all.sh nano
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from .. import paths
from ..claims.evidence import VERDICTS
from ..config import RunConfig
from ..files import write_atomically

FOLDERS = ("tables", "scores", "preds", "administration", "runs", "adapters")
FILES = ("claims.csv", "summary.json", "report.html")
ASIDE_FILES = {
    "ablations": ("ablations.json", "tables/ablation_*", "ablation_*"),
    "sessions": ("consistency.json", "tables/consistency_*", "consistency_*", "scores/conditions.csv", "scores/consistency.csv"),
    "full_size": ("*--paper--*.json",),
}
"""What is published of the studies outside the nano run; the first pattern says whether one was run."""
MOST_BYTES = 4_000_000
_MARKS = ("<!-- results: start -->", "<!-- results: end -->")


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


def renew_readme(text: str, table: str) -> str:
    """`text` with everything between the two marks replaced by `table`. Raises ValueError if a mark is missing."""
    if any(mark not in text for mark in _MARKS):
        raise ValueError(f"README.md: the marks {_MARKS[0]} and {_MARKS[1]} are not both there")
    return re.sub(re.escape(_MARKS[0]) + ".*?" + re.escape(_MARKS[1]), lambda _: f"{_MARKS[0]}\n{table}\n{_MARKS[1]}", text, flags=re.DOTALL)


def main(argv: list[str] | None = None) -> int:
    """Command line of the module; exit status 2 with one line if there is nothing to publish."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib publish", description="Publish the last full nano run.")
    parser.add_argument("--out", default="", help="where the run was written, if not in the project")
    run = RunConfig(profile="nano", out=parser.parse_args(argv).out)
    readme = paths.ROOT / "README.md"
    try:
        copied = copy_results(run)
        write_atomically(readme, renew_readme(readme.read_text(encoding="utf-8"), readme_table(run.paths.results)))
    except (FileNotFoundError, ValueError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    print(f"{len(copied)} files published; README table renewed")
    return 0
