"""What the tests of conversations share: a server whose requests can be watched, held back, lost and changed."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from anyio.lowlevel import checkpoint

from asyncassist import AsyncClient, Run
from asyncassist._transport.pacing import Pacing
from asyncassist.server import Backend, LocalServer

Hook = Callable[[str, httpx.Request], Awaitable["httpx.Response | None"]]

PHASES = {
    "thread": r"POST /v1/threads",
    "message": r"POST /v1/threads/[^/]+/messages",
    "run": r"POST /v1/threads/[^/]+/runs",
    "poll": r"GET /v1/threads/[^/]+/runs/[^/]+",
    "cancel": r"POST /v1/threads/[^/]+/runs/[^/]+/cancel",
    "messages": r"GET /v1/threads/[^/]+/messages",
    "delete": r"DELETE /v1/threads/[^/]+/messages/[^/]+",
}


def phase_of(request: httpx.Request) -> str:
    """Return the word for what a request asks."""
    asked = f"{request.method} {request.url.path}"
    return next((name for name, pattern in PHASES.items() if re.fullmatch(pattern, asked)), asked)


class Between(httpx.AsyncBaseTransport):
    """Stands between a client and a server: remembers what is asked, and does what its hook says.

    The hook gets the word for the request and the request. It may wait, raise, change the request, or answer itself.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.asked: list[str] = []
        self.hook: Hook | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        phase = phase_of(request)
        self.asked.append(phase)
        if self.hook is not None and (answer := await self.hook(phase, request)) is not None:
            return answer
        return await self.inner.handle_async_request(request)

    def count(self, phase: str) -> int:
        return self.asked.count(phase)


class Gate:
    """Holds back the first request of a kind until it is opened."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.is_reached = anyio.Event()
        self.is_open = anyio.Event()

    async def __call__(self, phase: str, request: httpx.Request) -> httpx.Response | None:
        if phase == self.phase and not self.is_reached.is_set():
            self.is_reached.set()
            await self.is_open.wait()
        return None


class World:
    """A server, the way to it, and a client."""

    def __init__(self, way: Between, client: AsyncClient, assistant_id: str) -> None:
        self.way = way
        self.client = client
        self.assistant_id = assistant_id
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await checkpoint()

    async def runs(self, thread_id: str | None) -> Sequence[Run]:
        """Return the runs of a thread, the oldest first, once all have ended."""
        assert thread_id is not None
        listing = self.client.list_runs(thread_id, order="asc")
        runs = await listing.collect()
        while not all(run.is_terminal for run in runs):
            await checkpoint()
            runs = await listing.collect()
        return runs

    async def said(self, thread_id: str | None) -> Sequence[str]:
        """Return what is on a thread, the oldest first."""
        assert thread_id is not None
        return [message.text async for message in self.client.list_messages(thread_id, order="asc", limit=100)]


@asynccontextmanager
async def world(backend: Backend | None = None, **options: Any) -> AsyncIterator[World]:
    """Run a server, with a client that does not sleep between its polls."""
    async with LocalServer(backend, **options) as server:
        way = Between(server.transport)
        async with AsyncClient(api_key="key", base_url="http://local/v1", transport=way) as client:
            assistant = await client.create_assistant(model="any")
            way.asked.clear()
            made = World(way, client, assistant.id)
            client._sender.pacing = Pacing(sleep=made.sleep, random=lambda: 0.5)
            yield made


def refuse(status: int, message: str = "No.") -> httpx.Response:
    """Return an answer with an error."""
    return httpx.Response(status, json={"error": {"message": message, "type": "error", "param": None, "code": None}})


def lock(thread_id: str, run_id: str) -> httpx.Response:
    """Return the answer that a run is active on the thread."""
    return refuse(400, f"Thread {thread_id} already has an active run {run_id}.")


def without_additional_messages(request: httpx.Request) -> None:
    """Make of a request what a server sees that does not know of additional messages."""
    body = json.loads(request.content)
    body.pop("additional_messages", None)
    content = json.dumps(body).encode()
    request.headers["content-length"] = str(len(content))
    request.stream = httpx.ByteStream(content)
    request._content = content
