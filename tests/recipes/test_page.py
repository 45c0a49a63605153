"""The page of the recipes, in a real browser: the answer grows, and closing the page cancels the run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from . import webdriver
from .running import Api, App
from .webdriver import Browser

LAST = "[...document.querySelectorAll('.answer')].at(-1)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Chromium. Where the project is checked as a whole it has to be there."""
    found = webdriver.find()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("chromium or chromedriver is missing: apt-get install chromium chromium-driver")
        pytest.skip("needs chromium and chromedriver, Debian's packages chromium and chromium-driver")
    with webdriver.browsing(*found) as browser:
        yield browser


def answer(browser: Browser) -> tuple[str, str]:
    """Give the text of the last answer as it is on the page now, and what has become of it."""
    text, kinds = browser.run(f"return [{LAST}?.textContent ?? '', {LAST}?.className ?? '']")
    return text, kinds.replace("answer", "").strip()


def wait_for_answer(browser: Browser, *expected: str) -> None:
    deadline = time.monotonic() + 10
    while (now := answer(browser)) != expected:
        assert time.monotonic() < deadline, f"the page shows {now}"
        time.sleep(0.01)


def test_the_answer_grows(browser: Browser, app: App, api: Api) -> None:
    """Each piece is there to be read when it has come, while the next is still to be written."""
    with browser.page(app.url):
        browser.type("input", "slowly one two three\n")
        for text in ("one ", "one two ", "one two three "):
            api.let_say(1)
            wait_for_answer(browser, text, "")
        api.let_say(1)
        wait_for_answer(browser, "one two three ", "done")


def test_closing_the_page_cancels_the_run(browser: Browser, app: App, api: Api) -> None:
    """Within a second."""
    before = api.threads()
    with browser.page(app.url):
        browser.type("input", "half\n")
        wait_for_answer(browser, "Half an ", "")
        (thread_id,) = api.threads() - before
        assert api.statuses(thread_id) == ["in_progress"]
    api.wait_for(thread_id, "cancelled", seconds=1)


def test_a_failure_is_shown(browser: Browser, app: App, api: Api) -> None:
    """Of the run, or of the connection, which does not begin another run; the next question is answered as ever."""
    before = api.threads()
    with browser.page(app.url):
        browser.type("input", "fail\n")
        wait_for_answer(browser, "", "failed")
        browser.type("input", "half\n")
        wait_for_answer(browser, "Half an ", "")
        (thread_id,) = api.threads() - before
        api.cancel(thread_id)
        wait_for_answer(browser, "Half an ", "failed")
        browser.type("input", "Hello <b>there</b>\n")
        wait_for_answer(browser, "You said: Hello <b>there</b>", "done")

    assert api.statuses(thread_id) == ["failed", "cancelled", "completed"]
