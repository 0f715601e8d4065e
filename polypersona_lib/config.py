"""What a run is: its profile, its training recipe, its folders. Frozen dataclasses that refuse nonsense when built."""

import os
import platform
import re
import runpy
import sys
import time
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from . import paths
from .files import sha256
from .registry import ABLATION_MODEL, MODELS, SMOKE_MODELS, add_folder, get_spec, hub_weights, is_model
from .systems import Chosen, ServerSpec, folder_facts, is_folder, read_models

DEFAULT_SEED = 42


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """The recipe. Defaults are the paper's (Algorithm 2, sections IV-C and V-A); where the paper is silent, ours: label mask, NF4, shared prefixes.

    Effective batch = micro_batch * accumulation * processes (one a GPU, or one a core of a CPU); `adapt_epochs` trains the base on the train answers
    without personas first (foreign data at nano scale only: a twin has never seen such text).
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.05
    learning_rate: float = 2e-4
    weight_decay: float = 1e-3
    epochs: int = 3
    micro_batch: int = 4
    accumulation: int = 4
    processes: int = 1
    warmup: float = 0.03
    clip: float = 0.3
    four_bit: bool = True
    shared_prefix: bool = False
    adapt_epochs: int = 0
    seed: int = DEFAULT_SEED

    def __post_init__(self):
        for name in ("r", "alpha", "epochs", "micro_batch", "accumulation", "processes", "learning_rate", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"TrainSpec.{name} must be positive, not {getattr(self, name)}")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"TrainSpec.{name} must be in [0, 1), not {getattr(self, name)}")


_NANO = TrainSpec(learning_rate=1e-3, micro_batch=16, accumulation=1, clip=1.0, shared_prefix=True)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One scale of the study. Defaults are those of `nano`.

    Attributes:
        scale: "nano" (twins), "small" (a real model that a laptop trains) or "paper" (the hub models). models: their keys. train: the recipe.
        rows: the most records (None: all). epoch_eval_rows: validation rows that are answered after each epoch. administered: people asked everything.
        encoder: the model behind BERTScore. fluency: whether a language model judges how odd the answers are. without: stages that it leaves out.
        why: where and why the recipe differs from the paper's.
    """

    name: str
    why: str
    scale: str = "nano"
    models: tuple[str, ...] = tuple(MODELS)
    train: TrainSpec = _NANO
    rows: int | None = None
    epoch_eval_rows: int = 24
    administered: int = 100
    encoder: str = "minilm"
    fluency: bool = False
    without: tuple[str, ...] = ()


PROFILES = {
    p.name: p
    for p in (
        Profile(
            name="smoke", models=SMOKE_MODELS, train=replace(_NANO, epochs=1), rows=200, epoch_eval_rows=8, administered=20,
            why="nano recipe on 200 records, one epoch: proves that everything runs, shows nothing about quality",
        ),
        Profile(
            name="nano",
            why="learning rate 1e-3 instead of 2e-4, clip 1.0 instead of 0.3 (a 1.7 M-parameter base needs larger steps; "
            "at 3e-3 the TinyLlama twin lost most of its use of the card); "
            "batch 16 x 1 instead of 4 x 4 (same effective batch, faster on a CPU)",
        ),
        Profile(
            name="small", scale="small", models=("smollm2-135m",), train=replace(TrainSpec(), micro_batch=8, accumulation=1, processes=2, shared_prefix=True),
            administered=50, fluency=True, without=("09", "14"),
            why="the paper's recipe as printed, but 8 rows in each of two processes instead of 4 x 4 (the same 16 a step) and shared prefixes: fast on a CPU",
        ),
        Profile(name="ablations", models=(ABLATION_MODEL,), why="nano recipe; one family, 800 rows, one thing changed at a time"),
        Profile(name="sessions", why="trains nothing: asks the models of the nano run again"),
        Profile(name="bias", models=("smollm2-135m", SMOKE_MODELS[0]), why="trains nothing: asks models as census people with ever more invented cards"),
        Profile(
            name="paper", scale="paper", models=(*MODELS, "smollm2-135m"), train=TrainSpec(), epoch_eval_rows=64, encoder="roberta-large",
            why="the paper's recipe as printed",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """The choices a user makes; everything else follows. Built by `open_run`, checked at once."""

    profile: str = "nano"
    split: str = "paper"
    seed: int = DEFAULT_SEED
    data: str = ""
    faults: str = "stop"
    out: str = ""
    models: str = ""
    opened: float = field(default_factory=time.monotonic, init=False, repr=False, compare=False)

    def __post_init__(self):
        for name, choices in (("profile", tuple(PROFILES)), ("split", ("paper", "grouped")), ("faults", ("stop", "neutralise", "drop"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} '{getattr(self, name)}'; choose from {', '.join(choices)}")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be a whole number from 0 to {2**31 - 1}, not {self.seed!r}")
        if self.data and self.profile == "bias":
            raise ValueError("--data: the bias study asks its own people its own questions and takes no data")
        if self.data and not Path(self.data).exists():
            raise ValueError(f"--data {self.data}: no such file or folder")
        for key in self.model_keys:
            get_spec(key)

    def __setstate__(self, state: dict) -> None:
        """In another process a folder with a model is read again: the registry of that process does not know it."""
        self.__dict__.update(state)
        _ = self.model_keys

    @property
    def name(self) -> str:
        """Folder name of the run's results: profile, split, data, weights and seed. Runs of other models or options share a folder, which is made anew."""
        parts = [self.profile]
        if self.split != "paper":
            parts.append(self.split)
        if self.data:
            given = Path(self.data).resolve()
            name = re.sub(r"[^\w-]+", "-", given.name, flags=re.ASCII).strip("-").lower() or "data"
            parts.append(name if name == given.name.lower() else f"{name}-{sha256(given.name)[:6]}")  # survey.2024 and survey-2024, names in other letters
        if hub_weights() and any(get_spec(key).gguf for key in self.model_keys):
            parts.append("hubweights")
        if self.seed != DEFAULT_SEED:
            parts.append(f"seed{self.seed}")
        return "-".join(parts)

    @property
    def paths(self) -> paths.RunPaths:
        """Where this run's files go."""
        return paths.run_paths(self.name, self.out)

    @property
    def settings(self) -> Profile:
        """The profile's settings."""
        return PROFILES[self.profile]

    @property
    def chosen(self) -> Chosen:
        """What `models` says."""
        return read_models(self.models)

    @property
    def model_keys(self) -> tuple[str, ...]:
        """The models of this run, in the registry's order, which learns of folders here; models on servers are not among them (`servers`)."""
        named = [add_folder(folder_facts(Path(entry))) if is_folder(entry) else entry for entry in self.chosen.models]
        if twice := {key for key in named if named.count(key) > 1}:
            raise ValueError(f"--models: {min(twice)} is named twice; give two folders different names")
        return tuple(sorted(named or PROFILES[self.profile].models, key=lambda k: get_spec(k).order if is_model(k) else 0))

    @property
    def servers(self) -> tuple[ServerSpec, ...]:
        """The models on servers that are asked beside the run's own: the entries `server:ADDRESS#NAME` of `models`."""
        return self.chosen.servers

    @property
    def filter(self) -> int:
        """How many answers a filter may draw for each row (`filter:K` in `models`); 0: no filter."""
        return self.chosen.filter

    @property
    def train_spec(self) -> TrainSpec:
        """The profile's recipe with this run's seed; foreign data at nano scale first adapts the base to their language."""
        foreign = bool(self.data) and self.settings.scale == "nano"
        return replace(self.settings.train, seed=self.seed, adapt_epochs=FOREIGN_ADAPT_EPOCHS if foreign else 0)

    def so_far(self) -> None:
        """Print how long ago the notebook opened its run (a reader's clock; no file holds it)."""
        minutes, seconds = divmod(round(time.monotonic() - self.opened), 60)
        print("run time so far: " + (f"{minutes} min {seconds} s" if minutes else f"{seconds} s"))

    def finish(self, stage: str) -> None:
        """The notebook's last act: leaves the sentinel that tells the runner that every cell ran."""
        done = self.paths.folder(".done") / stage
        done.write_text(os.environ.get("POLYPERSONA_NONCE", "opened by hand"), encoding="utf-8")
        print(f"notebook {stage} complete: run {self.name}")


FOREIGN_ADAPT_EPOCHS = 8
NANO_THREADS = 2


def open_run(**parameters) -> RunConfig:
    """Check the notebook's parameters, print one line on what will run on what, and return the run. Raises ValueError for an unknown profile, split, model."""
    run = RunConfig(**parameters)
    prepare(run)
    models = ", ".join([*run.model_keys, *(f"{server.model} at {server.address}" for server in run.servers)])
    print(f"run {run.name} · seed {run.seed} · models {models} · {device_name()} · {versions_line()}")
    return run


def prepare(run: RunConfig) -> None:
    """Quieten the libraries and fix the number of threads below paper scale, without importing any of them: many a notebook needs no PyTorch."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if "POLYPERSONA_NONCE" in os.environ:  # an ipykernel that the runner ends may print a traceback as its sockets close (ipykernel's pull request 1518)
        logging.getLogger("tornado").setLevel(logging.CRITICAL)
    if "pandas" in sys.modules:  # else a dollar sign in somebody's text begins a formula in the tables of a notebook
        sys.modules["pandas"].set_option("display.html.use_mathjax", False)
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.set_verbosity_error()
    if run.settings.scale != "paper":  # sums are added in another order with another number of threads: the last bit would differ
        os.environ["OMP_NUM_THREADS"] = str(NANO_THREADS)  # PyTorch reads it when it is imported,
        os.environ.pop("MKL_NUM_THREADS", None)  # and would rather believe this one
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(NANO_THREADS)


def device() -> str:
    """ "cuda" if a GPU can be used, else "cpu". Imports PyTorch only if this build of it knows GPUs."""
    if "torch" not in sys.modules and _cpu_build():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _cpu_build() -> bool:
    """Whether the installed PyTorch knows no GPU, read from its version file (an import takes seconds)."""
    if (spec := find_spec("torch")) is None:
        return False
    build = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return not (build["cuda"] or build["hip"])


def device_name() -> str:
    """The device in words: a GPU's name, or the processor with the number of threads used."""
    where, torch = device(), sys.modules.get("torch")
    if where == "cuda":
        return torch.cuda.get_device_name(0)
    threads = torch.get_num_threads() if torch else int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a number."""
    from importlib.metadata import version

    names = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "tokenizers", "bert-score", "sacrebleu", "rouge-score", "nltk", "numpy", "pandas")
    return {"python": platform.python_version()} | {n: version(n) for n in names}


def versions_line() -> str:
    """The three versions a reader looks for first."""
    installed = versions()
    return ", ".join(f"{name} {installed[name]}" for name in ("torch", "transformers", "peft"))
