"""Where everything lives: absolute paths, so that the working directory never matters."""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
PHRASES = DATA / "phrase_bank"
IDIOM = DATA / "idiom.yaml"
TURNS = DATA / "turns_of_phrase.yaml"
QUESTION_BANK = DATA / "question_bank.json"
POPULATION = DATA / "population.yaml"
ATTITUDES = DATA / "attitudes.yaml"
DATASET = DATA / "polypersona"
NANO_MODELS = DATA / "models"
PUBLISHED_ADAPTERS = DATA / "adapters"
PAPER_CLAIMS = DATA / "paper_claims.csv"
HUMANS = DATA / "humans"
CACHE = "POLYPERSONA_CACHE"  # environment variable: another place than the user's cache folder


def shipped(base: str, run: str) -> Path:
    """Where the published copy of a run lies; `base`: "results" or "figures". The run `small` has a folder of its own in that of the nano run."""
    return ROOT / base / "shipped" / ("small" if run == "small" else "")


def cache_folder() -> Path:
    """What is made once on a machine (converted weights, unpacked adapters, servers' replies, embeddings): $POLYPERSONA_CACHE, else in the user's cache."""
    from platformdirs import user_cache_path

    return Path(os.environ[CACHE]) if os.environ.get(CACHE) else user_cache_path("polypersona", appauthor=False)


@dataclass(frozen=True)
class RunPaths:
    """The folders of one run: `results` holds data and numbers, `figures` the pictures."""

    results: Path
    figures: Path

    def folder(self, name: str) -> Path:
        """`results/<run>/<name>`, made if missing (dataset, adapters, runs, preds, administration, scores, tables, notebooks)."""
        path = self.results / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def figure(self, name: str) -> Path:
        """Path of a figure without its ending; its folder is made if missing."""
        self.figures.mkdir(parents=True, exist_ok=True)
        return self.figures / name


def run_paths(name: str, out: str = "") -> RunPaths:
    """The folders of the run `name` under `out` (default: the project)."""
    base = Path(out).expanduser().resolve() if out else ROOT
    return RunPaths(base / "results" / name, base / "figures" / name)
