"""A browser without a window, driven by the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx

BROWSERS = ("chromium", "google-chrome")

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # the sandbox does not work for root
    "--disable-dev-shm-usage",  # small in containers
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--no-proxy-server",
)


def find() -> tuple[str, str] | None:
    """Give the paths of browser and driver, or None where one of them is missing."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    return None if browser is None or driver is None else (browser, driver)


class Browser:
    """A session: one window, of which tabs can be opened and closed."""

    def __init__(self, http: httpx.Client, session_id: str) -> None:
        self._http = http
        self._session = f"/session/{session_id}"

    def call(self, method: str, command: str, body: object = None) -> Any:
        """Send a command of the session, and give its value."""
        return _value(self._http.request(method, f"{self._session}{command}", json=body))

    @contextmanager
    def page(self, url: str) -> Generator[None, None, None]:
        """Open a page in a tab of its own, and close it behind the block."""
        handle = self.call("POST", "/window/new", {"type": "tab"})["handle"]
        self.call("POST", "/window", {"handle": handle})
        try:
            self.call("POST", "/url", {"url": url})
            yield
        finally:
            (first, *_) = self.call("DELETE", "/window")
            self.call("POST", "/window", {"handle": first})

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page, and give what it returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": arguments})

    def type(self, selector: str, text: str) -> None:
        """Type into a field, as from a keyboard."""
        element = self.call("POST", "/element", {"using": "css selector", "value": selector})
        (id,) = element.values()
        self.call("POST", f"/element/{id}/value", {"text": text})


def _value(response: httpx.Response) -> Any:
    value = response.json()["value"]
    assert response.is_success, value
    return value


@contextmanager
def browsing(browser: str, driver: str) -> Generator[Browser, None, None]:
    """Run the browser until the block's end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        try:
            said = iter(process.stdout.readline, "")
            port = next(found[1] for line in said if (found := re.search(r"started successfully on port (\d+)", line)))
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
                options = {"binary": browser, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
                wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
                session = _value(http.post("/session", json=wanted))
                try:
                    yield Browser(http, session["sessionId"])
                finally:
                    http.delete(f"/session/{session['sessionId']}")
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
