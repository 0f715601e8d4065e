"""The `open` command in a real JupyterLab: a copy with the run's hash shows its widgets and scripts, an altered one does not, and looking changes no file."""

from __future__ import annotations

import hashlib
import json
import sys

import nbformat
import pytest
from browser_pages import START_S, TOKEN, Visit, server
from ipykernel.ipkernel import IPythonKernel

from polypersona_lib import paths
from polypersona_lib.probe.server import free_port
from polypersona_lib.runner import executed_copy

pytestmark = pytest.mark.browser
SAVED = "a value kept in the widget's state"
WIDGET = "application/vnd.jupyter.widget"


def executed() -> nbformat.NotebookNode:
    """A notebook as a run leaves it: a widget with its state and a text that stands in for it, and a script."""
    layout = {"model_module": "@jupyter-widgets/base", "model_module_version": "2.0.0", "model_name": "LayoutModel", "state": {}}
    text = {"value": SAVED, "description": "Kept", "layout": "IPY_MODEL_l", "style": "IPY_MODEL_s"}
    controls = {"model_module": "@jupyter-widgets/controls", "model_module_version": "2.0.0"}
    state = {"l": layout, "s": controls | {"model_name": "TextStyleModel", "state": {}}, "t": controls | {"model_name": "TextModel", "state": text}}
    widget = {f"{WIDGET}-view+json": {"model_id": "t", "version_major": 2, "version_minor": 0}, "text/plain": "the text in its place"}
    script = {"text/html": "<p>shown either way</p><script>window.ran = true</script>", "text/plain": "-"}
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in (widget, script)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", id="04-01", outputs=outputs, execution_count=1)])
    notebook.metadata |= {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}, "language_info": IPythonKernel.language_info}
    notebook.metadata["widgets"] = {f"{WIDGET}-state+json": {"state": state, "version_major": 2, "version_minor": 0}}
    return notebook


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A run with 04 as it was written and 05 altered and then, by a careless reader, signed. Jupyter's own files go to the folder too."""
    for name in ("CONFIG", "DATA"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / name.lower()))
    folder, stages = tmp_path / "results" / "nano" / "notebooks", {}
    folder.mkdir(parents=True)
    for name in ("04_evaluation.ipynb", "05_domain_analysis.ipynb"):
        nbformat.write(executed(), folder / name)
        stages[name[:2]] = {"status": "done", "parts": {}, "outputs": {}, "executed": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    altered = nbformat.read(folder / name, as_version=4)
    altered.cells[0].source = "2"
    nbformat.write(altered, folder / name)
    (tmp_path / "results" / "nano" / "manifest.json").write_text(json.dumps({"run": "nano", "stages": stages}), encoding="utf-8")
    executed_copy.notary().sign(altered)
    executed_copy.settle_trust(executed_copy.find_copy("05", out=str(tmp_path)))
    return tmp_path


def test_jupyterlab_trusts_the_copy_of_the_run_and_no_altered_one(browser, run_folder):
    port = free_port(0)
    command = [sys.executable, "-m", "polypersona_lib", "open", "04", "--out", str(run_folder), "--no-browser"]
    environment = {"PYTHONPATH": str(paths.ROOT), "JUPYTER_TOKEN": TOKEN, "JUPYTER_PORT": str(port)}
    before = {path: path.read_bytes() for path in run_folder.glob("results/nano/notebooks/*.ipynb")}
    with server(command, f"http://127.0.0.1:{port}/login", environment, run_folder / "log"):
        trusted = Visit(browser, f"http://127.0.0.1:{port}/?token={TOKEN}")
        trusted.field("Kept").wait_for(timeout=START_S)
        assert trusted.field("Kept").input_value() == SAVED and trusted.page.evaluate("window.ran") is True
        trusted.page.get_by_text("Python 3", exact=False).first.wait_for(timeout=START_S)
        trusted.page.wait_for_timeout(1500)
        assert trusted.page.locator(".jp-mod-dirty").count() == 0, "looking at a copy would alter it"
        trusted.screenshot("open_trusted")
        trusted.page.close()
        untrusted = Visit(browser, f"http://127.0.0.1:{port}/lab/tree/nano/notebooks/05_domain_analysis.ipynb?token={TOKEN}&reset")
        untrusted.page.get_by_text("the text in its place").wait_for(timeout=START_S)
        untrusted.page.get_by_text("shown either way").wait_for()
        assert untrusted.field("Kept").count() == 0 and untrusted.page.evaluate("window.ran") is None
        untrusted.screenshot("open_untrusted")
        untrusted.page.close()
    assert {path: path.read_bytes() for path in before} == before
