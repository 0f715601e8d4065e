"""Pre-flight: what this machine has, what a run would need, and how to mend what is missing.

python -m polypersona_lib doctor [PROFILE]      # exit status 1 if anything is FAIL
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from .. import paths
from ..config import PROFILES, RunConfig
from ..errors import InputError, one_line
from ..locate import ASIDE
from ..registry import MODELS, REAL_MODELS, get_spec

OK, WARN, FAIL = "OK", "WARN", "FAIL"
DISK_GB, RAM_GB = 2, {"nano": 6, "bias": 6, "sessions": 5, "small": 8}  # free memory for a run; 4 for every other profile
NEEDED = ("psutil", "pandas", "torch", "transformers", "peft", "papermill", "jupyterlab")  # one of them absent: no set-up was made for this Python
HUB_GB = 2.1  # bytes a parameter on disk: 16-bit weights and the files beside them
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox")


class Check(NamedTuple):
    """One line of the report; `fix` says what to do about anything but OK."""

    subject: str
    status: str
    state: str
    fix: str = ""


def _check(subject: str, good: bool, state: str, fix: str, *, bad: str = FAIL) -> Check:
    return Check(subject, OK, state) if good else Check(subject, bad, state, fix)


def checks(profile: str) -> Iterator[Check]:
    """Every check for the given profile. Without packages the later ones cannot look."""
    version, fix = platform.python_version(), "use Python 3.11, 3.12 or 3.13 (POLYPERSONA_PYTHON names one)"
    yield _check("Python", (3, 11) <= sys.version_info[:2] <= (3, 13), version, fix)
    packages = _packages()
    yield packages
    yield _space("disk", shutil.disk_usage(paths.ROOT).free / 1e9, DISK_GB, "free some space, or put results elsewhere with --out DIR")
    place = paths.run_paths("any").results.parent
    good = os.access(place, os.W_OK)
    yield _check("results", good, f"{place} is {'' if good else 'not '}writable", "put results elsewhere with --out DIR")
    if packages.status != FAIL:
        yield _memory(profile)
        yield from _gpu(profile)
        yield from _hub(profile)
        yield from _real_models(profile)
    yield _browser()


def _packages() -> Check:
    absent = [name for name in NEEDED if find_spec(name) is None]
    if absent:
        return Check("packages", FAIL, f"not here: {', '.join(absent)}", "./run_all.sh --help makes .venv; then .venv/bin/python -m polypersona_lib doctor")
    lines = subprocess.run([sys.executable, str(paths.ROOT / "scripts" / "setup_env.py"), "check"], capture_output=True, text=True)
    if lines.returncode == 0:
        from ..config import versions_line

        return Check("packages", OK, f"as in requirements.lock ({versions_line()})")
    first = [*(lines.stdout + lines.stderr).strip().splitlines(), "differ from requirements.lock"][0]
    return Check("packages", WARN, first, "numbers may differ; ./run_all.sh makes .venv with the exact versions")


def _space(subject: str, free_gb: float, need_gb: float, fix: str) -> Check:
    return _check(subject, free_gb >= need_gb, f"{free_gb:.0f} GB free, {need_gb:.0f} needed", fix)


def _memory(profile: str) -> Check:
    import psutil

    fix = "close other programs; a run works two models at once if it can, one if it must"
    return _space("memory", psutil.virtual_memory().available / 1e9, RAM_GB.get(profile, 4), fix)


def _gpu(profile: str) -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        known = "none that PyTorch can use" + ("" if profile == "paper" else f" ({profile} does not need one)")
        yield _check("GPU", profile != "paper", known, "run ./run_all.sh nano here, or paper on a machine with a CUDA GPU")
        return
    from ..models.resources import DoesNotFit, Machine, fit_recipe

    machine = Machine.here()
    yield Check("GPU", OK, f"{machine.gpus} x {torch.cuda.get_device_name(0)}, {machine.gpu / 1e9:.0f} GB each")
    yield _check("BF16", machine.bf16, "yes" if machine.bf16 else "no", "FP16 is used, and FP32 for Phi-2, which overflows in FP16", bad=WARN)
    for spec in MODELS.values() if profile == "paper" else ():
        try:
            yield Check(spec.key, OK, fit_recipe(spec, "paper", PROFILES["paper"].train, machine)[1].partition(": ")[2])
        except DoesNotFit as error:
            yield Check(spec.key, WARN, str(error), f"leave it out: --models {','.join(k for k in MODELS if k != spec.key)}")


def _hub(profile: str) -> Iterator[Check]:
    if profile != "paper":
        yield Check("hub", OK, "not needed" if profile == "small" else "not needed: the nano twins are shipped")
        return
    from huggingface_hub import constants, get_token, scan_cache_dir

    have = {repo.repo_id for repo in scan_cache_dir().repos} if os.path.isdir(constants.HF_HUB_CACHE) else set()
    missing = [spec for spec in MODELS.values() if spec.hub_id not in have]
    from ..models.loading import lora_share

    need = sum(lora_share(spec, "paper", r=16)["total"] * HUB_GB for spec in missing) / 1e9
    free = shutil.disk_usage(constants.HF_HOME if os.path.isdir(constants.HF_HOME) else os.path.expanduser("~")).free / 1e9
    yield _space("hub cache", free, need, f"set HF_HOME to a disk with room; to fetch: {', '.join(s.hub_id for s in missing)}")
    gated = [spec.hub_id for spec in missing if spec.gated]
    if gated and not get_token():
        fix = f"accept the licence on the page of {', '.join(gated)}, then: hf auth login (without it the row stays empty)"
        yield Check("hub login", WARN, "no token", fix)
    if constants.HF_HUB_OFFLINE and missing:
        yield Check("hub access", FAIL, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE, or copy the models into the cache first")


def _real_models(profile: str) -> Iterator[Check]:
    """Whether the weights of each real model are here; one that the profile needs must be, or its package must be installed first."""
    from ..models.weights import lacking

    for key, spec in REAL_MODELS.items():
        reason = lacking(spec)
        if reason and key in PROFILES[profile].models:
            yield Check(key, FAIL, "its weights are not here", reason.partition("; ")[2])
        else:
            yield Check(
                key, OK, f"not here (optional: {reason.partition('; ')[2]})" if reason else f"{spec.parameters / 1e6:.0f} M parameters, weights are here"
            )


def before_training(run: RunConfig) -> list[str]:
    """What training real models on a CPU will take, in lines: memory, and the time of a step measured here; [] if there is nothing to train.

    It is measured in a process of its own, whose libraries and models go with it.
    Raises: InputError, one line, for a model that is not here, cannot be used or does not fit.
    """
    from ..config import device
    from ..models.resources import Machine
    from ..models.weights import is_twin, lacking
    from ..processes import side_by_side

    real = [get_spec(key) for key in run.model_keys if not is_twin(get_spec(key), run.settings.scale)]
    folder = run.paths.results / "runs"
    done = all((folder / f"{spec.key}--{run.profile}--seed{run.seed}.json").is_file() for spec in real)
    if done or run.settings.scale == "paper" or device() == "cuda":
        return []
    for spec in real:
        if reason := lacking(spec):
            raise InputError(reason)
    if run.profile in ASIDE.values():  # it only asks them
        return []
    ((_, lines),) = side_by_side(_training_lines, [(run, real, Machine.here())], large=[0])
    return lines


def _training_lines(run: RunConfig, specs: list, machine) -> list[str]:
    """Two lines a model: what its training takes of this machine, and how long."""
    from ..models.resources import fit_recipe
    from ..models.weights import Unavailable

    lines = []
    for spec in specs:
        try:
            recipe, line = fit_recipe(spec, run.settings.scale, run.train_spec, machine)
            lines += [line, _time_line(run, spec, recipe)]
        except Unavailable as error:
            raise InputError(str(error)) from None
        except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(f"{spec.display}: cannot be used here: {one_line(error)[:300]}") from None
    return lines


def _time_line(run: RunConfig, spec, recipe) -> str:
    """How long training takes, from one step measured here and the number of rows (of foreign data they are not known yet)."""
    import pyarrow.parquet

    from ..models.resources import seconds_a_step

    each = seconds_a_step(spec, run.settings.scale, recipe)
    if run.data:
        return f"{spec.key}: a step takes about {each:.1f} s here"
    rows = run.settings.rows or pyarrow.parquet.read_metadata(paths.DATASET / run.split / "train.parquet").num_rows
    steps = recipe.epochs * -(-rows // (recipe.micro_batch * recipe.accumulation * recipe.processes))
    return f"{spec.key}: {steps:,} steps of about {each:.1f} s (measured here): training takes about {steps * each / 60:.0f} minutes"


def _browser() -> Check:
    browser = next((name for name in BROWSERS if shutil.which(name)), "")
    known = browser or ("the system's own" if sys.platform in ("darwin", "win32") else "")
    fix = "notebooks open in any browser: copy the address JupyterLab prints to another machine's"
    return _check("browser", bool(known), known or "none found", fix, bad=WARN)


def main(argv: list[str] | None = None) -> int:
    """Command line of the module; exit status 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m polypersona_lib doctor", description="What this machine has, and how to mend what is missing.")
    parser.add_argument("profile", nargs="?", choices=tuple(PROFILES), default="nano", help="what the machine is to run (default nano)")
    done = []
    for check in checks(parser.parse_args(argv).profile):
        done.append(check)
        print(f"{check.status:4}  {check.subject:12} {check.state}" + (f"\n      {'':12} -> {check.fix}" if check.fix else ""), flush=True)
    return int(any(check.status == FAIL for check in done))
