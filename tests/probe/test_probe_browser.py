"""The probe in a real browser, on a stub instead of a model: Voilà from end to end, JupyterLab untrusted, trusted and live, hostile text, accessibility.

Needs Playwright and a Chromium; without them every test skips and says how to get them. Screenshots go to POLYPERSONA_SCREENSHOTS if that is set.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest
from browser_pages import START_S, TOKEN, Visit, server
from timing import allowed

from polypersona_lib import paths, processes
from polypersona_lib.probe import own_files
from polypersona_lib.probe.server import free_port

pytestmark = pytest.mark.browser
OWN = 3  # the status line of the section with one's own files
SETUP = """
import os, sys, tempfile
sys.path[:0] = [{root!r}, {tests!r}]
from stub_generator import StubGenerator
from polypersona_lib.config import RunConfig
from polypersona_lib.probe.interview import Interviewer, ModelGenerator, load_parts
from polypersona_lib.probe.page import Page, show_page
kept = "kept=yes" in os.environ.get("QUERY_STRING", "")  # a page that finds its state again; every other one begins afresh
run = RunConfig(out={out!r} if kept else tempfile.mkdtemp(dir={out!r}))
class WithTwins(StubGenerator):
    twins = ModelGenerator(run)
    def __getattr__(self, name):  # a user's own panel is asked of real nano twins
        return getattr(self.twins, name)
page = Page(Interviewer(run, load_parts(run), WithTwins()))
page.models.family.value = "tinyllama-1.1b"  # quick, and there whichever adapters are published
"""


def setup(folder: Path) -> str:
    return SETUP.format(root=str(paths.ROOT), tests=str(Path(__file__).parents[1]), out=str(folder))


@pytest.fixture(scope="module")
def voila(browser, tmp_path_factory):
    """Address of the served probe, without its token."""
    folder, port = tmp_path_factory.mktemp("voila"), free_port(0)
    source = setup(folder) + "show_page(page)"
    command = [sys.executable, "-c", f"from polypersona_lib.probe.server import serve\nserve({source!r}, port={port}, token={TOKEN!r}, browser=False)"]
    with server(command, f"http://127.0.0.1:{port}/login", {"PYTHONPATH": str(paths.ROOT)}, folder / "log"):
        yield f"http://127.0.0.1:{port}/"


def test_the_served_page_asks_for_its_token(voila):
    with urllib.request.urlopen(voila, timeout=20) as answer:
        assert "/login" in answer.url and b"Simulated" not in answer.read()
    with urllib.request.urlopen(f"{voila}?token=wrong", timeout=20) as answer:
        assert "/login" in answer.url


def test_the_whole_flow_in_voila(browser, voila):
    visit = Visit(browser, f"{voila}?token={TOKEN}").ready()
    page = visit.page
    visit.fill("Search", "nurse")
    page.get_by_text(re.compile(r"People \(\d\d? found\)")).wait_for()
    assert "nurse" in page.get_by_label("People (").locator("option").first.inner_text()
    visit.choose("Domain", "Healthcare")
    visit.choose("Type", "agreement")
    visit.press("Ask")
    visit.status(0, "answered in")
    assert visit.field("Untuned base").input_value() and visit.field("Tuned model").input_value()
    assert page.get_by_title("Chart. twin of").first.is_visible() and "of 5)" in visit.field("What was read from them").input_value()
    assert visit.field("The same in words").is_hidden()
    page.get_by_label("The chart in words").first.check()
    visit.field("The same in words").wait_for()
    visit.choose("Attribute", "age")
    visit.fill("Its other value", "25")
    visit.press("Compare")
    visit.status(1, "differ in age alone")
    assert "{+25+}" in visit.field("Difference of the prompts").input_value()
    visit.press("Sweep")
    visit.status(1, "14 values of age")
    visit.press("Run questionnaire")
    visit.status(2, " answers in ")
    visit.press("Export")
    visit.status(2, "questionnaire.csv")
    with page.expect_download() as saved:
        page.get_by_text("Download questionnaire.jsonl").click()
    assert saved.value.suggested_filename == "questionnaire.jsonl" and b"not survey data" in Path(saved.value.path()).read_bytes()
    visit.press("Reload and ask again")
    visit.status(2, "answers are the same as in the file")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Bring a .jsonl file").click()
    chooser.value.set_files({"name": "mine.jsonl", "mimeType": "application/jsonl", "buffer": Path(saved.value.path()).read_bytes()})
    visit.status(2, "rows in mine.jsonl")
    visit.screenshot("voila-desk")
    _keyboard(page)
    _accessible(page)
    page.get_by_label("Edit every attribute").check()
    for width in (800, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"the page is wider than {width} pixels"
        visit.screenshot(f"voila-{width}")
    page.set_viewport_size({"width": 1280, "height": 900})
    _stop_and_error(visit)
    assert visit.errors == [] and visit.outside == []
    page.close()


def test_the_page_follows_the_systems_dark_mode(browser, voila):
    """Every text keeps its contrast, charts bring their light ground along."""
    visit = Visit(browser, f"{voila}?token={TOKEN}", color_scheme="dark").ready()
    visit.page.get_by_label("Edit every attribute").check()
    visit.fill("Age", "19")
    visit.press("Ask")
    visit.status(0, "answered in")
    visit.press("Sweep")
    visit.status(1, "values of age")
    visit.press("Run questionnaire")
    visit.status(2, " answers in ")
    visit.screenshot("voila-dark")
    ground = "element => Math.max(...getComputedStyle(element).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number))"
    assert visit.page.locator("body").evaluate(ground) < 60 and visit.page.locator(".pp-section").first.evaluate(ground) < 60
    assert visit.page.locator(".pp img").first.evaluate(ground) == 255
    _accessible(visit.page)
    visit.page.evaluate("document.body.dataset.jpThemeLight = 'true'")  # as JupyterLab says that its own theme is light
    assert visit.page.locator(".pp-section").first.evaluate(ground) == 255
    assert visit.errors == [] and visit.outside == []
    visit.page.close()


def _keyboard(page):
    """Tab goes through the first section in the order in which it is read."""
    page.get_by_label("Search", exact=True).focus()
    names = ["Search"]
    for _ in range(3):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.labels[0].textContent"))
    assert names == ["Search", "Kind of work", "Country", page.evaluate("document.activeElement.labels[0].textContent")]
    assert re.fullmatch(r"People \(\d+ found\)", names[-1])


def _accessible(page):
    """No serious or critical finding of axe-core."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe-core is not installed (pip install --no-deps -r tests/browser_requirements.txt)")
    page.evaluate((Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8"))
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in violations if v["impact"] in ("serious", "critical")] == []


def test_answers_and_status_take_the_focus_and_are_announced(browser, voila):
    visit = Visit(browser, f"{voila}?token={TOKEN}").ready()
    page, spoken = visit.page, visit.page.locator(".pp-live [role=status][aria-live=polite]")
    spoken.nth(1).wait_for(state="attached")
    status, answers = (spoken.nth(i).element_handle() for i in range(2))
    visit.press("Ask")
    visit.status(0, "answered in")
    page.get_by_role("button", name="Ask", exact=True).focus()
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.labels[0].textContent"))
        ring = page.evaluate("(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))")
        assert ring == ["solid", "2px"], names
        before = page.evaluate("document.activeElement.value")
        page.keyboard.type("typed")
        assert page.evaluate("document.activeElement.value") == before, "a text to read cannot be written in"
    assert names == ["Status", "What was asked", "Untuned base", "Tuned model"]
    said = "element => element.isConnected ? element.textContent : 'gone'"
    assert status.evaluate(said).startswith("answered in"), "the live region stays while its text changes"
    assert "Tuned model: " in answers.evaluate(said) and visit.field("Tuned model").input_value().split(".")[0] in answers.evaluate(said)
    visit.fill("Or your own question", "Well?")
    visit.fill("Its options", "Yes/No")
    visit.press("Ask")
    visit.status(0, "Not done. a closed question needs")
    page.wait_for_function("box => box.value === ''", arg=visit.field("Tuned model").element_handle())  # the earlier answer is gone
    assert status.evaluate(said).startswith("Not done. a closed question needs")
    visit.fill("Its options", "Yes / No / N/A")
    visit.press("Ask")
    visit.status(0, "answered in")
    assert "[3] N/A" in visit.field("How your question is read").input_value()
    _accessible(page)
    assert visit.errors == [] and visit.outside == []
    page.close()


def _stop_and_error(visit: Visit):
    visit.fill("Or your own question", "a slow question?")
    ask = visit.page.get_by_role("button", name="Ask", exact=True)
    ask.dblclick()
    visit.status(0, "working")
    time.sleep(0.6)
    assert visit.field("Untuned base").input_value(), "the answer streams in"
    began = time.monotonic()
    visit.press("Stop", 0)
    visit.status(0, "stopped")
    print(f"Stop took {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < allowed(1.0)
    visit.fill("Or your own question", "a broken question?")
    visit.press("Ask")
    visit.status(0, "Not done. RuntimeError: the model broke")
    visit.fill("Or your own question", "")
    visit.press("Ask")
    visit.status(0, "answered in")


def test_hostile_text_runs_nowhere_in_voila(browser, voila):
    from stub_generator import HOSTILE

    visit = Visit(browser, f"{voila}?token={TOKEN}").ready()
    visit.page.get_by_label("Edit every attribute").check()
    for name in ("Gender", "Occupation", "Values (comma between)", "Description"):
        visit.fill(name, HOSTILE)
    visit.fill("Or your own question", f"hostile {HOSTILE}")
    visit.fill("Its options", f"{HOSTILE} one / {HOSTILE} two")
    visit.fill("Its other value", HOSTILE)
    visit.press("Ask")
    visit.status(0, "answered in")
    visit.press("Draw repeatedly")
    visit.status(1, "20 draws")
    visit.fill("Name of the export", HOSTILE)
    assert "window.hacked" in visit.field("Tuned model").input_value() and "onerror" in visit.field("As the model reads it").input_value()
    time.sleep(0.5)
    visit.nothing_ran()
    assert visit.outside == []
    visit.page.close()


def test_own_files_are_asked_reported_and_here_again_after_a_reload(browser, voila):
    from stub_generator import HOSTILE

    hostile = HOSTILE.replace('"', "").split("{{")[0]  # the readers refuse control characters
    visit = Visit(browser, f"{voila}?token={TOKEN}&kept=yes", color_scheme="dark").ready()
    page = visit.page
    _bring(page, "Bring a questionnaire", "large.csv", b"x" * (own_files.MOST_UPLOAD + 1))
    visit.status(OWN, "and the page takes 5 MB")
    assert "the page takes 5 MB" in page.locator(".pp-live [role=status]").first.text_content()
    _bring(page, "Bring a questionnaire", "<img src=x onerror=window.hacked=1>.csv", f'id,text,kind\na,"{hostile}",likert\n'.encode())
    visit.status(OWN, "Not done. ")
    _bring(page, "Bring a questionnaire", "mine.csv", f'id,text,kind,options\nvisit,"Well? {hostile}",,No|Yes\n'.encode())
    visit.status(OWN, "read mine.csv")
    people = 'persona_id,persona\nw1,"A nurse who is happy. <img src=x onerror=window.hacked=1>"\nw2,A cook who distrusts banks.\n'
    _bring(page, "Bring people", "them.csv", people.encode())
    visit.status(OWN, "read them.csv")
    visit.choose("Model", "twin of TinyLlama 1.1B (1.7 M)")
    visit.press("Ask everybody")
    visit.status(OWN, "2 answers in ")
    assert visit.field("Do the descriptions count?").input_value().startswith("2 of 2 people described in words were asked again")
    with page.expect_download() as saved:
        page.get_by_text("Download answers.zip").click()
    with zipfile.ZipFile(saved.value.path()) as packed:
        assert {name.split("/")[1] for name in packed.namelist()} >= {"answers.parquet", "people.parquet", "questionnaire.json", "answers.sav"}
    visit.press("Report on the questionnaire")
    visit.status(OWN, "report on 2 answers in ")
    report = page.frame_locator("iframe[title='Report of the pilot']")
    report.get_by_role("heading", name="What needs a second look").wait_for()
    assert report.locator("img[src=x], svg[onload], a[href^=javascript]").count() == 0
    assert "(javascript:window.hacked=5)" in report.locator("#item-1").inner_text(), "shown as text; the readers leave tags out"
    visit.screenshot("voila-own-files")
    _accessible(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.screenshot("voila-own-files-390")
    visit.nothing_ran()
    page.reload(timeout=START_S)
    visit.ready()
    page.wait_for_function("() => [...document.querySelectorAll('textarea')].some((box) => box.value.includes('2 answers of 2 people'))")
    assert visit.field("Questionnaire").input_value().startswith("mine.csv: 1 questions")
    chosen = visit.field("Model").evaluate("box => box.selectedOptions[0].text")
    assert chosen.replace("\xa0", " ") == "twin of TinyLlama 1.1B (1.7 M)"
    report.get_by_role("heading", name="What needs a second look").wait_for()
    visit.nothing_ran()
    assert visit.errors == [] and visit.outside == []
    page.close()


def _bring(page, button: str, name: str, content: bytes):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).click()
    chooser.value.set_files({"name": name, "mimeType": "text/csv", "buffer": content})


def test_a_closed_page_gives_its_memory_back(browser, voila):
    """Voilà's own request for it lacks the XSRF token and was refused: every page that had been open kept a kernel of half a gigabyte."""
    page = browser.new_page()  # without a route: one that is being taken away answers none
    page.set_default_timeout(START_S)
    page.goto(f"{voila}?token={TOKEN}")
    page.get_by_role("button", name="Ask", exact=True).wait_for()
    kernel = json.loads(page.locator("#jupyter-config-data").text_content())["kernelId"]

    def alive() -> bool:
        return page.request.get(f"{voila}api/kernels/{kernel}?token={TOKEN}").ok

    assert alive()
    page.goto("about:blank")
    deadline = time.monotonic() + 20
    while alive():
        assert time.monotonic() < deadline, "the kernel of a closed page is still there"
        time.sleep(0.2)
    assert page.request.post(f"{voila}voila/api/shutdown/{kernel}", headers={"Cookie": ""}).status in (302, 403), "nobody else may end a kernel"
    page.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab on three copies of an executed notebook full of hostile text; `trusted.ipynb` is signed. Gives the address of its files."""
    from nbclient import NotebookClient
    from nbformat.sign import NotebookNotary

    folder, port = tmp_path_factory.mktemp("lab"), free_port(0)
    data, notebooks = folder / "data", folder / "notebooks"
    data.mkdir()
    notebooks.mkdir()
    lines = """
page.question.own.value = "a hostile question?"
page.person.editors["description"].value = "<script>window.hacked=9</script> $x^2$"
page.answers.bar.buttons["Ask"].click()
page.worker.thread.join()
import pandas as pd
from matplotlib.figure import Figure
show_page(page, Figure(figsize=(2, 1)), pd.DataFrame({"stance": ["a table in its place"]}))
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(setup(folder) + lines)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    environment = processes.kernel_environment(folder / "kernels", python_path=paths.ROOT, extra={"JUPYTER_DATA_DIR": str(data)})
    environment["JUPYTER_PATH"] = os.pathsep.join(filter(None, (environment["JUPYTER_PATH"], os.environ.get("JUPYTER_PATH"))))
    with patch.dict(os.environ, environment):
        NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=True).execute()
        nbformat.write(notebook, notebooks / "untrusted.ipynb")
        nbformat.write(notebook, notebooks / "trusted.ipynb")
        # the widgets of one copy are enough to tell the copies apart: a signature belongs to the content
        other = nbformat.read(notebooks / "untrusted.ipynb", as_version=4)
        other.metadata["copy"] = "not signed"
        nbformat.write(other, notebooks / "untrusted.ipynb")
        NotebookNotary(data_dir=str(data)).sign(nbformat.read(notebooks / "trusted.ipynb", as_version=4))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={TOKEN}", "--allow-root"]
    command += [f"--ServerApp.root_dir={notebooks}", "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with server(command, f"http://127.0.0.1:{port}/login", environment, folder / "log"):
        yield f"http://127.0.0.1:{port}/lab/tree/"


def test_jupyterlab_untrusted_trusted_and_live(browser, lab):
    untrusted = Visit(browser, f"{lab}untrusted.ipynb?token={TOKEN}&reset")
    untrusted.page.locator(".jp-OutputArea-output img").first.wait_for(timeout=START_S)
    assert untrusted.page.get_by_role("button", name="Ask", exact=True).count() == 0, "an untrusted notebook shows the picture, not the widget"
    untrusted.nothing_ran()
    untrusted.page.close()
    trusted = Visit(browser, f"{lab}trusted.ipynb?token={TOKEN}&reset")
    trusted.field("Tuned model").wait_for(timeout=START_S)
    assert "window.hacked" in trusted.field("Tuned model").input_value(), "the saved state is shown"
    trusted.nothing_ran()
    trusted.page.get_by_text("Run", exact=True).click()
    trusted.page.get_by_text("Run All Cells", exact=True).click()
    trusted.page.get_by_role("button", name="Ask", exact=True).wait_for(timeout=START_S)  # a saved button has another name: it carries a sign
    trusted.status(0, "answered in")
    trusted.fill("Or your own question", "a hostile question again?")
    trusted.press("Ask")
    trusted.status(0, "answered in")
    trusted.nothing_ran()
    trusted.screenshot("jupyterlab")
    trusted.page.close()
