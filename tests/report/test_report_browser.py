"""The report in a real browser: nothing is fetched, nothing of it is cut off on a desk, a phone or paper, the filter works by keyboard, and without script."""

from __future__ import annotations

import importlib
import re

import pytest
from test_report import write_run

from polypersona_lib.config import RunConfig
from polypersona_lib.report.page import write_report

pytestmark = pytest.mark.browser
PAPER = {"width": 703, "height": 1017}  # A4 less the margins that the page asks for, in CSS pixels
CUT = """() => [...document.querySelectorAll('table, img, h1, h2, h3, p, dl')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > document.documentElement.clientWidth + 1 && !e.closest('.scroll, .frame');
}).map(e => e.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    run = RunConfig(out=str(tmp_path_factory.mktemp("out")))
    write_run(run)
    return write_report(run).as_uri()


@pytest.fixture
def visit(browser, address):
    """visit(...) -> a page on the report; anything that it fetched or that failed in it fails the test."""
    opened, wrong = [], []

    def visit(**options):
        page = browser.new_page(**options)
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda d: (wrong.append(d.message), d.dismiss()))
        page.goto(address)
        opened.append(page)
        return page

    yield visit
    for page in opened:
        page.close()
    assert not wrong


FULL = [pytest.param(width, scheme, marks=pytest.mark.full) for width, scheme in ((1280, "dark"), (390, "light"))]


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark"), *FULL])
def test_nothing_is_cut_off_and_axe_finds_nothing(visit, width, scheme):
    """axe also measures the contrast of every text against its background, in both colour schemes."""
    page = visit(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width and page.evaluate(CUT) == []
    found = importlib.import_module("axe_playwright_python.sync_playwright").Axe().run(page).response["violations"]
    assert not found, [(v["id"], v["nodes"][0]["html"][:200]) for v in found]
    assert page.locator(".hint").first.is_visible() == (width < 500), "a phone is told that tables go on"


def test_on_paper_tables_end_at_the_edge_and_long_lists_stay_away(visit):
    page = visit(viewport=PAPER)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    wide = page.evaluate(
        "() => [...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > innerWidth + 1).map(t => t.caption.textContent)"
    )
    assert wide == []
    larger = page.evaluate("""() => [...document.querySelectorAll('td small')].filter(
        s => parseFloat(getComputedStyle(s).fontSize) >= parseFloat(getComputedStyle(s.parentElement).fontSize)).length""")
    assert larger == 0, "an interval is set smaller than its number, on paper too"
    assert not page.locator("#claims-table").is_visible() and page.locator("#metric-bleu").is_visible()
    pages = len(re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4")))
    assert pages <= 25


LUMINANCE = """where => {
  const shades = getComputedStyle(document.querySelector(where)).backgroundColor.match(/\\d+/g).map(Number);
  return (shades[0] + shades[1] + shades[2]) / 765;
}"""


def test_the_page_follows_the_systems_dark_mode_and_pictures_stay_on_a_light_card(visit):
    shades = {}
    for scheme in ("light", "dark"):
        page = visit(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        shades[scheme] = page.evaluate(LUMINANCE, "body")
        assert page.evaluate(LUMINANCE, "figure .frame") > 0.95, "a chart is drawn for a light ground"
    assert shades["light"] > 0.95 and shades["dark"] < 0.15
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(LUMINANCE, "body") > 0.95, "paper stays white"


def test_the_claims_are_filtered_with_the_keyboard_alone(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    page.locator("#claims-tools button").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.verdict") == "not-reproduced"
    page.keyboard.press("Enter")
    rows = page.locator("#claims-table tbody tr:visible")
    assert 0 < rows.count() < 100 and page.locator("#claims-count").inner_text().startswith(f"{rows.count()} of ")
    assert set(rows.evaluate_all("rows => rows.map(r => r.dataset.verdict)")) == {"not-reproduced"}
    page.locator("#claims-search").focus()
    page.keyboard.type("no claim says this")
    assert rows.count() == 0
    page.locator("#claims-search").fill("")
    page.locator(".counts a[data-verdict=built-to-match]").focus()
    page.keyboard.press("Enter")
    assert set(rows.evaluate_all("rows => rows.map(r => r.dataset.verdict)")) == {"built-to-match"} and page.url.endswith("#claims")
    assert page.locator("#claims-tools button[aria-pressed=true]").get_attribute("data-verdict") == "built-to-match"


def test_a_metrics_name_leads_to_its_definition(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    assert not page.locator("#metric-bleu").is_visible()
    page.locator("a[href='#metric-bleu']:visible").first.click()
    assert page.locator("#metric-bleu").is_visible() and page.evaluate("document.getElementById('metric-bleu').getBoundingClientRect().top") < 900


def test_everything_can_be_read_without_script(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert not page.locator("#claims-tools").is_visible()
    page.locator("details:has(#claims-table) > summary").click()
    assert page.locator("#claims-table tbody tr:visible").count() > 300
    context.close()
