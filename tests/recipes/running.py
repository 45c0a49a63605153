"""The recipes as they are used: each in a process of its own, asking a server whose answers the tests steer."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from asyncassist.server import Backend, BackendError, LocalServer, Reply, Turn

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
NAMES = ("fastapi_app", "aiohttp_app")

START_LIMIT = 30.0
FLOOD = 200 * 50_000


class Steered:
    """Answers as the question wants it to be answered."""

    def __init__(self) -> None:
        self.next_word = anyio.Semaphore(0)

    async def answer(self, turn: Turn) -> Reply:
        (message,) = await turn.messages(last=1)
        text = f"You said: {message.text}"
        match message.text.split():
            case ["never"]:
                await anyio.sleep_forever()
            case ["half"]:
                await turn.emit("Half an ")
                await anyio.sleep_forever()
            case ["flood"]:
                for _ in range(200):
                    await turn.emit("x" * 50_000)
                await anyio.sleep_forever()
            case ["fail"]:
                raise BackendError("out of order")
            case ["slowly", *words]:
                text = " ".join([*words, ""])
                for word in words:
                    await self.next_word.acquire()
                    await turn.emit(f"{word} ")
                await self.next_word.acquire()
            case _:
                pass
        return Reply(text)


class Api:
    """The server behind the recipes, as the tests look at it."""

    def __init__(self, url: str, portal: BlockingPortal, backend: Steered) -> None:
        self.url = url
        self._portal = portal
        self._backend = backend

    def let_say(self, words: int) -> None:
        """Let the answers that come slowly go on by so many words."""
        for _ in range(words):
            self._portal.call(self._backend.next_word.release)

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=5).raise_for_status().json()

    def threads(self) -> set[str]:
        """Give the ids of the newest threads."""
        return {thread["id"] for thread in self.get("/threads?limit=100&order=desc")["data"]}

    def statuses(self, thread_id: str) -> list[str]:
        """Give the statuses of a thread's runs, oldest first."""
        return [run["status"] for run in self.get(f"/threads/{thread_id}/runs?order=asc")["data"]]

    def assistants(self) -> set[str]:
        """Give the ids of all assistants."""
        return {assistant["id"] for assistant in self.get("/assistants?limit=100")["data"]}

    def cancel(self, thread_id: str) -> None:
        """Cancel the newest run of a thread, behind the recipe's back."""
        (run, *_) = self.get(f"/threads/{thread_id}/runs")["data"]
        httpx.post(f"{self.url}/threads/{thread_id}/runs/{run['id']}/cancel", json={}).raise_for_status()

    def wait_for(self, thread_id: str, *expected: str, seconds: float = 5.0) -> float:
        """Wait until the runs of the thread have these statuses, and tell how long it took."""
        began = time.monotonic()
        while (statuses := self.statuses(thread_id)) != [*expected]:
            assert time.monotonic() - began < seconds, f"after {seconds} s the runs are {statuses}"
            time.sleep(0.01)
        return time.monotonic() - began


@asynccontextmanager
async def _serve(backend: Backend) -> AsyncGenerator[str, None]:
    async with LocalServer(backend) as server, server.on_port() as url:
        yield url


@contextmanager
def serving() -> Generator[Api, None, None]:
    """Serve the API in a thread with an event loop of its own."""
    with start_blocking_portal() as portal:
        backend = portal.call(Steered)
        with portal.wrap_async_context_manager(_serve(backend)) as url:
            yield Api(url, portal, backend)


class App:
    """A recipe that runs."""

    def __init__(self, port: int, process: subprocess.Popen[str], log: Any) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it has printed so far."""
        self._log.seek(0)
        text: str = self._log.read()
        return text

    def post(self, path: str, body: object = None) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=20)

    def new_thread(self) -> str:
        thread_id: str = self.post("/threads").raise_for_status().json()["thread_id"]
        return thread_id

    @contextmanager
    def asked(self, thread_id: str, endpoint: str, question: str) -> Generator[socket.socket, None, None]:
        """Send a question over a socket, which is closed behind the block, and leave the answer to be read."""
        body = json.dumps({"question": question}).encode()
        head = (
            f"POST /threads/{thread_id}/{endpoint} HTTP/1.1\r\nHost: app\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.socket() as browser:
            # Small, so that an app whose browser does not read is soon made to wait.
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            browser.settimeout(10)
            browser.connect(("127.0.0.1", self.port))
            browser.sendall(head.encode() + body)
            yield browser

    def end(self) -> int:
        """Interrupt it as a terminal does, and give its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=20)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, f"it ended:\n{self.log}"
                assert time.monotonic() < deadline, f"it did not start:\n{self.log}"
            time.sleep(0.05)


@contextmanager
def running(name: str, url: str | None) -> Generator[App, None, None]:
    """Run a recipe as its first lines say, with the server at this URL; None names none."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # A script's own folder is on its path.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"} | {"PORT": str(port)}
    if url is not None:
        environment |= {"ASYNCASSIST_BASE_URL": url, "ASYNCASSIST_API_KEY": "test"}
    command = [sys.executable, "-X", "dev", str(RECIPES / f"{name}.py")]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)
        app = App(port, process, log)
        try:
            app.wait_until_ready()
            yield app
            app.end()
        finally:
            process.kill()
            process.wait()
        for trouble in ("ResourceWarning", "RuntimeWarning", "never retrieved", "was destroyed", "Unclosed"):
            assert trouble not in app.log, app.log


def read_until(browser: socket.socket, text: bytes) -> bytes:
    """Read from a socket until a text has come."""
    received = b""
    while text not in received:
        piece = browser.recv(65536)
        assert piece, f"closed after {received!r}"
        received += piece
    return received


def events(text: str) -> Iterator[tuple[str, str]]:
    """Give the names and data of server-sent events."""
    for event in text.split("\n\n")[:-1]:
        found = re.fullmatch(r"event: ([\w.]+)\ndata: (.*)", event)
        assert found, event
        yield found[1], found[2]
