"""For the browser tests of all pages: a server in a process group of its own, and a visit that notes what went wrong (`conftest.py` has the browser).

Screenshots go to POLYPERSONA_SCREENSHOTS if that is set.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

TOKEN = "a-token-of-the-tests"
START_S = 90_000  # milliseconds that a kernel may take to show the page on a busy machine


@contextlib.contextmanager
def server(command: list[str], url: str, environment: dict, log: Path):
    """A server in a process group of its own, ended with everything it started."""
    with log.open("w") as file:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


class Visit:
    """A page in the browser with what went wrong in it."""

    def __init__(self, browser, url: str, *, width: int = 1280, color_scheme: str = "light"):
        self.errors, self.outside, self.dialogs = [], [], []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=color_scheme)
        self.page.set_default_timeout(20_000)
        self.page.route("**/*", self._route)
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("dialog", lambda d: (self.dialogs.append(d.message), d.dismiss()))
        self.page.goto(url, timeout=START_S)

    def _route(self, route):
        inside = route.request.url.startswith(("http://127.0.0.1", "data:", "blob:", "ws://127.0.0.1"))
        if not inside:
            self.outside.append(route.request.url)
        route.continue_() if inside else route.abort()

    def field(self, name: str, nth: int = 0):
        return self.page.get_by_label(name, exact=True).nth(nth)

    def fill(self, name: str, text: str, nth: int = 0):
        self.field(name, nth).fill(text)
        self.page.keyboard.press("Tab")

    def choose(self, name: str, value: str, nth: int = 0):
        self.field(name, nth).select_option(label=value)

    def press(self, name: str, nth: int = 0):
        self.page.get_by_role("button", name=name, exact=True).nth(nth).click()

    def status(self, section: int, says: str) -> str:
        """Wait until the status line of a section contains `says`."""
        box = self.field("Status", section)
        deadline = time.monotonic() + 30
        while says not in box.input_value():
            assert time.monotonic() < deadline, f"waited for '{says}', the status is '{box.input_value()}'"
            time.sleep(0.02)
        return box.input_value()

    def ready(self):
        self.page.get_by_role("button", name="Ask", exact=True).wait_for(timeout=START_S)
        self.field("People (433 found)").wait_for()
        return self

    def nothing_ran(self):
        """No script of a text ran, no text became markup or mathematics."""
        assert self.page.evaluate("window.hacked") is None and not self.dialogs
        assert self.page.evaluate("document.querySelectorAll('a[href^=\"javascript\"], mjx-container, .MathJax, img[src=x], svg[onload]').length") == 0

    def screenshot(self, name: str):
        if folder := os.environ.get("POLYPERSONA_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
