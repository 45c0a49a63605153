"""The web recipes answer over real sockets, and let go of runs nobody waits for any more."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import termios
import time
from contextlib import ExitStack

import httpx
import pytest

from .running import FLOOD, NAMES, RECIPES, Api, App, events, read_until, running

ENDPOINTS = ("ask", "stream")


def said(text: str) -> str:
    """Give the text of an answer that came as events."""
    deltas = [json.loads(data)["delta"] for name, data in events(text) if name == "thread.message.delta"]
    return "".join(part["text"]["value"] for delta in deltas for part in delta["content"])


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_short(name: str) -> None:
    """Each fits on a page or two."""
    assert len((RECIPES / f"{name}.py").read_text("utf-8").splitlines()) < 80


def test_a_question_is_answered(app: App, api: Api) -> None:
    """By JSON."""
    thread_id = app.new_thread()
    response = app.post(f"/threads/{thread_id}/ask", {"question": "Hello"})

    assert (response.status_code, response.json()) == (200, {"answer": "You said: Hello"})
    assert api.statuses(thread_id) == ["completed"]


def test_an_answer_is_streamed(app: App, api: Api) -> None:
    """By server-sent events, from the run's creation to ``done``; a second question goes to the same thread."""
    thread_id = app.new_thread()
    for _ in range(2):
        response = app.post(f"/threads/{thread_id}/stream", {"question": "Hello"})
        names = [name for name, _ in events(response.text)]

        assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert (names[0], names[-2:]) == ("thread.run.created", ["thread.run.completed", "done"])
        assert said(response.text) == "You said: Hello"
    assert api.statuses(thread_id) == ["completed"] * 2


def test_the_page_is_served(app: App) -> None:
    """At the root."""
    response = httpx.get(app.url)

    assert response.headers["content-type"].startswith("text/html")
    assert response.text == (RECIPES / "page.html").read_text("utf-8")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_is_refused_has_a_status(app: App, api: Api, endpoint: str) -> None:
    """Also where the answer would be a stream: an unknown thread, and one that is being answered."""
    unknown = app.post(f"/threads/thread_none/{endpoint}", {"question": "Hello"})
    assert (unknown.status_code, unknown.json()) == (404, {"error": "NotFoundError"})

    thread_id = app.new_thread()
    with app.asked(thread_id, "stream", "half") as browser:
        read_until(browser, b"Half an ")
        busy = app.post(f"/threads/{thread_id}/{endpoint}", {"question": "Hello"})
        assert (busy.status_code, busy.json()) == (409, {"error": "ActiveRunError"})
    api.wait_for(thread_id, "cancelled")


def test_a_run_that_fails(app: App) -> None:
    """Is an error status in one form, and an event in the other."""
    thread_id = app.new_thread()
    response = app.post(f"/threads/{thread_id}/ask", {"question": "fail"})
    streamed = app.post(f"/threads/{thread_id}/stream", {"question": "fail"})

    assert (response.status_code, response.json()) == (502, {"error": "RunFailedError"})
    assert [name for name, _ in events(streamed.text)][-2:] == ["thread.run.failed", "done"]


@pytest.mark.parametrize("question", ["never", "half"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_closed_socket_cancels_the_run(app: App, api: Api, endpoint: str, question: str) -> None:
    """Within a second, wherever the answer had got to; the thread is free for the next question."""
    thread_id = app.new_thread()
    with app.asked(thread_id, endpoint, question) as browser:
        api.wait_for(thread_id, "in_progress")
        if (endpoint, question) == ("stream", "half"):
            read_until(browser, b"Half an ")
    api.wait_for(thread_id, "cancelled", seconds=1)

    assert app.post(f"/threads/{thread_id}/ask", {"question": "Hello"}).status_code == 200


def test_a_browser_that_stops_reading_and_goes(app: App, api: Api) -> None:
    """A stream that waits to be read is left as quickly."""
    thread_id = app.new_thread()
    with app.asked(thread_id, "stream", "flood") as browser:
        api.wait_for(thread_id, "in_progress")
        assert unread(browser) < FLOOD / 2
    api.wait_for(thread_id, "cancelled", seconds=1)


def unread(browser: socket.socket) -> int:
    """Wait until nothing more comes in, and tell how many bytes have."""
    size, since = 0, time.monotonic()
    while not size or time.monotonic() - since < 0.3:
        (now,) = struct.unpack("i", fcntl.ioctl(browser, termios.FIONREAD, bytes(4)))
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.01)
    return size


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupt_ends_what_goes_on(name: str, api: Api) -> None:
    """The runs are cancelled before the client is closed, the assistant deleted, and the process ends in peace."""
    before = api.assistants()
    with running(name, api.url) as app, ExitStack() as browsers:
        assert len(api.assistants() - before) == 1
        threads = {endpoint: app.new_thread() for endpoint in ENDPOINTS}
        for endpoint, thread_id in threads.items():
            browsers.enter_context(app.asked(thread_id, endpoint, "half"))
            api.wait_for(thread_id, "in_progress")
        assert app.end() == 0

    assert [api.statuses(thread_id) for thread_id in threads.values()] == [["cancelled"], ["cancelled"]]
    assert api.assistants() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_needs_no_server(name: str) -> None:
    """Without one in the environment it brings its own along, whose requests are not in its log."""
    with running(name, None) as app:
        response = app.post(f"/threads/{app.new_thread()}/ask", {"question": "Hello"})
        assert response.json()["answer"].startswith("This is the offline backend: no model was asked.")

        assert app.end() == 0
        assert "/v1/" not in app.log
