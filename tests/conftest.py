"""What tests of several rooms share."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; without Playwright or a Chromium the tests skip and say how to get them."""
    how = "pip install --no-deps -r tests/browser_requirements.txt"
    if importlib.util.find_spec("playwright") is None:
        pytest.skip(f"Playwright is not installed ({how})")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    with importlib.import_module("playwright.sync_api").sync_playwright() as driver:
        if chromium is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no Chromium found (apt install chromium, or python -m playwright install --with-deps chromium)")
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
