"""The rating panel in a real JupyterLab: rated with the keyboard alone, a kernel killed half-way is noticed and loses nothing, hostile text runs nowhere."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time

import nbformat
import pytest
from browser_pages import START_S, TOKEN, Visit, server
from test_rating import NASTY, SYSTEMS

from polypersona_lib import paths, processes
from polypersona_lib.probe.server import free_port
from polypersona_lib.rating import session

pytestmark = pytest.mark.browser
CELL = """
import os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_rating import NASTY, SYSTEMS, predictions
from polypersona_lib.rating import panel, session
from polypersona_lib.rating import sheet as sheets
preds = predictions()
preds["prediction"] = [NASTY[i % 4] + text for i, text in enumerate(preds["prediction"])]
preds["persona"] = NASTY[0] + preds["persona"]
sheet = sheets.rating_sheet(sheets.load_items(preds, SYSTEMS), "r1", size=4, seed=42)
folder = Path({out!r})
panel.show_panel(session.Session(sheet, folder / "r1.jsonl"))
(folder / "pid").write_text(str(os.getpid()))
"""


@pytest.fixture
def lab(tmp_path):
    """Address of a notebook with the panel; ratings and the kernel's process id go to `tmp_path`."""
    port, notebooks = free_port(0), tmp_path / "notebooks"
    notebooks.mkdir()
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CELL.format(root=str(paths.ROOT), tests=str(paths.ROOT / "tests" / "rating"), out=str(tmp_path)))]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, notebooks / "rate.ipynb")
    extra = {"JUPYTER_DATA_DIR": str(tmp_path / "data"), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    environment = processes.kernel_environment(tmp_path / "kernels", python_path=paths.ROOT, extra=extra)
    environment["JUPYTER_PATH"] = os.pathsep.join(filter(None, (environment["JUPYTER_PATH"], os.environ.get("JUPYTER_PATH"))))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={TOKEN}", "--allow-root"]
    command += [f"--ServerApp.root_dir={notebooks}", "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with server(command, f"http://127.0.0.1:{port}/login", environment, tmp_path / "log"):
        yield f"http://127.0.0.1:{port}/lab/tree/rate.ipynb?token={TOKEN}&reset"


def run_all(page):
    """Run the notebook and wait until its panel takes keys."""
    page.get_by_text("| Idle").wait_for(timeout=START_S)  # before, "Run All Cells" does nothing
    page.get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.locator(".polypersona-rating[tabindex]").wait_for(timeout=START_S)


def until(holds, *, seconds: float = 20.0):
    """Wait until `holds()` is true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_rated_by_keyboard_killed_and_resumed(browser, lab, tmp_path):
    def saved():
        return session.read_ratings(tmp_path / "r1.jsonl")[0]["value"].tolist()

    visit = Visit(browser, lab)
    page, panel = visit.page, visit.page.locator(".polypersona-rating")
    page.locator(".jp-Notebook").wait_for(timeout=START_S)
    run_all(page)
    panel.focus()
    page.keyboard.type("42")
    page.keyboard.press("Enter")
    page.keyboard.type("13")  # as fast as the keys come
    page.keyboard.press("Enter")
    page.keyboard.press("5")
    until(lambda: saved() == [4, 2, 1, 3, 5])
    panel.get_by_text("answer 3 of 30, 2 fully rated").wait_for()
    page.keyboard.press("Enter")
    panel.get_by_text("Not yet rated: consistency").wait_for()
    assert panel.locator(".rate-silent").count() == 0
    shown = panel.inner_text().lower() + " ".join(panel.locator("textarea").evaluate_all("areas => areas.map(a => a.value)")).lower()
    assert NASTY[0] in shown and not [s for s in (*SYSTEMS[1:], "phi", "llama") if s in shown], "no system is named"
    found = importlib.import_module("axe_playwright_python.sync_playwright").Axe().run(page, context=".polypersona-rating").response["violations"]
    assert not [v for v in found if v["impact"] in ("serious", "critical")], [(v["id"], v["nodes"][0]["html"][:200]) for v in found]

    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    page.get_by_role("button", name="Ok").click(timeout=START_S)  # JupyterLab says that the kernel restarts
    panel.focus()
    page.keyboard.press("3")
    panel.get_by_role("alert").wait_for(timeout=15_000)
    assert "NOT saved" in panel.get_by_role("alert").inner_text() and saved() == [4, 2, 1, 3, 5]

    run_all(page)
    panel.get_by_text("answer 3 of 30, 2 fully rated").wait_for(timeout=START_S)
    panel.focus()
    page.keyboard.press("4")  # the scale that was missing
    until(lambda: saved() == [4, 2, 1, 3, 5, 4])
    assert panel.locator(".rate-silent").count() == 0 and visit.dialogs == [] and page.evaluate("window.hacked") is None
    page.close()
