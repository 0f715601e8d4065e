"""JupyterLab saves what is opened; with the set-up's git filter a clone stays clean all the same."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys

import nbformat
import pytest

from polypersona_lib.paths import NOTEBOOKS, ROOT

JUPYTERLAB = {  # what JupyterLab 4 writes about the kernel
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "mimetype": "text/x-python", "name": "python",
        "nbconvert_exporter": "python", "pygments_lexer": "ipython3", "version": "3.12.1",
    },
    "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2, "version_minor": 0}},
}  # fmt: skip
after_save = runpy.run_path(str(ROOT / "scripts" / "clean_notebook.py"))["after_save"]
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


def git(folder, *arguments, environment=PLAIN):
    names = ("-c", "user.name=reader", "-c", "user.email=reader@example.org")
    return subprocess.run(["git", *names, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)


@pytest.fixture
def clone(tmp_path):
    """A clone whose notebooks and scripts are the project's, with a blank and an apostrophe in its path."""
    folder = tmp_path / "a reader's clone"
    folder.mkdir()
    for name in ("notebooks", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in (".gitattributes", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return folder


def set_up(folder):
    """What `setup_env.sh` does in a clone, with no environment activated."""
    subprocess.run([sys.executable, str(folder / "scripts" / "setup_env.py"), "filter"], env=PLAIN, check=True)


def open_and_save(path):
    """As JupyterLab does after all cells were run."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.update(JUPYTERLAB)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata["editable"] = True
        if cell.cell_type == "code":
            cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00.000000Z"}
            cell.execution_count, cell.outputs = number, [nbformat.v4.new_output("stream", text="said — ‘this’\n")]
    nbformat.write(notebook, path)


def test_every_notebook_is_committed_as_the_filter_leaves_it(clone):
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        done = subprocess.run([sys.executable, "-I", str(ROOT / "scripts" / "clean_notebook.py")], input=path.read_bytes(), capture_output=True, check=True)
        assert done.stdout == path.read_bytes(), f"{path.name}: write it as scripts/clean_notebook.py does"


def test_opening_and_saving_every_notebook_leaves_the_clone_clean(clone):
    set_up(clone)
    kept = {path: path.read_bytes() for path in (clone / "notebooks").glob("*.ipynb")}
    for path in kept:
        open_and_save(path)
        after_save(os_path=str(path), model={"type": "notebook"})
        assert path.read_bytes() != kept[path]
    assert git(clone, "status", "--porcelain").stdout == ""
    changed = next(iter(kept))
    notebook = nbformat.read(changed, as_version=4)
    notebook.cells[0].source += "\nA line of my own."
    nbformat.write(notebook, changed)
    own = clone / "notebooks" / "my_own.ipynb"
    nbformat.write(notebook, own)
    for path in (changed, own):
        after_save(os_path=str(path), model={"type": "notebook"})
    own.unlink()
    assert git(clone, "status", "--porcelain").stdout.strip() == f"M notebooks/{changed.name}", "what somebody wrote is a change"
    git(clone, "commit", "-qam", "a line")
    stored = nbformat.reads(git(clone, "show", f"HEAD:notebooks/{changed.name}").stdout, as_version=4)
    before = nbformat.reads(kept[changed].decode(), as_version=4)
    assert [(c.id, c.metadata.get("tags")) for c in stored.cells] == [(c.id, c.metadata.get("tags")) for c in before.cells]
    assert not any(c.get("outputs") for c in stored.cells) and stored.metadata == before.metadata


@pytest.mark.filterwarnings("ignore:Overriding existing post_save_hook")
def test_jupyterlab_of_the_projects_environment_tells_git(clone, tmp_path, monkeypatch):
    """Its server, with the configuration that the set-up writes into `.venv`, saves a notebook."""
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from traitlets.config.loader import PyFileConfigLoader

    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(clone / ".venv")], check=True)
    subprocess.run([str(clone / ".venv" / "bin" / "python"), str(clone / "scripts" / "setup_env.py"), "filter"], env=PLAIN, check=True)
    settings = PyFileConfigLoader("jupyter_server_config.py", str(clone / ".venv" / "etc" / "jupyter")).load_config()
    manager, path = LargeFileManager(root_dir=str(clone), config=settings), next((clone / "notebooks").glob("*.ipynb"))
    open_and_save(path)
    assert git(clone, "status", "--porcelain").stdout
    manager.save(manager.get(f"notebooks/{path.name}"), f"notebooks/{path.name}")
    assert "outputs" in path.read_text(encoding="utf-8") and git(clone, "status", "--porcelain").stdout == ""


def test_a_clone_works_without_the_set_up_and_after_its_python_has_gone(clone, monkeypatch):
    path = next((clone / "notebooks").glob("*.ipynb"))
    open_and_save(path)
    assert git(clone, "status", "--porcelain").stdout.strip() == f"M notebooks/{path.name}"
    set_up(clone)
    command = git(clone, "config", "--get", "filter.notebook.clean").stdout.strip()
    set_up(clone)
    assert git(clone, "config", "--get-all", "filter.notebook.clean").stdout.strip() == command, "once is enough"
    git(clone, "config", "filter.notebook.clean", command.replace(sys.executable, "/gone/python"))
    path.touch()
    status = git(clone, "status", "--porcelain")
    assert status.stdout.strip() == f"M notebooks/{path.name}" and not status.stderr
    git(clone, "commit", "-qam", "with outputs")
    assert git(clone, "show", f"HEAD:notebooks/{path.name}").stdout == path.read_text(encoding="utf-8"), "nothing is lost"


def test_outside_a_clone_and_for_what_is_no_notebook_nothing_happens(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("setup_env.py", "clean_notebook.py"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    set_up(tmp_path)
    set_up_within = tmp_path / "outer"
    shutil.copytree(tmp_path / "scripts", set_up_within / "inner" / "scripts")
    git(set_up_within, "init", "-q")
    set_up(set_up_within / "inner")
    assert "filter" not in (set_up_within / ".git" / "config").read_text(), "a project inside another repository is left alone"
    for text in (b"", b"{", b"\xff\xfe", b'{"cells": [1]}', b"[]"):
        done = subprocess.run([sys.executable, "-I", str(tmp_path / "scripts" / "clean_notebook.py")], input=text, capture_output=True, check=True)
        assert done.stdout == text
