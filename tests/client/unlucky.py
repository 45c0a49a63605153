"""A real server behind a connection on which creates go wrong, each in a way of its own."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from attrs import evolve

from asyncassist import AsyncClient, RetryPolicy
from asyncassist.testing import FakeServer

__all__ = ["BOTH", "LISTED", "OPERATIONS", "TAGGED", "Fate", "Unlucky", "World", "changed"]

TAGGED: Final = RetryPolicy(creates="reconcile")
LISTED: Final = re.compile(r"/v1/threads/[^/]+/(runs|messages)").fullmatch

Operation = Callable[[Any, str, str], Awaitable[Any]]
OPERATIONS: Final[dict[str, Operation]] = {
    "create_run": lambda client, thread_id, assistant_id: client.create_run(thread_id, assistant_id=assistant_id),
    "create_message": lambda client, thread_id, assistant_id: client.create_message(
        thread_id, role="user", content="hi"
    ),
}

BOTH: Final = pytest.mark.parametrize("operation", list(OPERATIONS))

Fate = str
"""What becomes of a create.

``ok``; ``cut``, ``500``: it is not done; ``done, cut``, ``done, 500``, ``done, hang``: it is done, and the answer lost;
``late N``: it is done when the thread is listed for the Nth time from then on; ``ahead N``: when the Nth create from
then on is on its way.
"""


class Unlucky(httpx.AsyncBaseTransport):
    """Leads to a server. Each create takes the next fate, and when there is none left it is ``ok``.

    Attributes:
        creates: the bodies of all creates that were sent.
        listings: how often a thread was listed.
        naps: what the client of `client` has slept.
        change: makes other answers of those to listings.
    """

    def __init__(self, server: FakeServer, *fates: Fate) -> None:
        self._inner = server.transport
        self._server = server
        self._fates = list(fates)
        self._late: list[tuple[str, int, httpx.Request]] = []
        self.creates: list[dict[str, Any]] = []
        self.listings = 0
        self.naps: list[float] = []
        self.change: Callable[[httpx.Response], httpx.Response] = lambda response: response

    def client(self, retry: RetryPolicy = TAGGED, **options: Any) -> AsyncClient:
        """Make a client whose pauses take no time."""
        client = self._server.client(transport=self, retry=retry, **options)
        client._sender.pacing = evolve(client._sender.pacing, sleep=self._nap)
        return client

    async def _nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        await checkpoint()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if LISTED(request.url.path) is None:
            return await self._inner.handle_async_request(request)
        if request.method == "GET":
            self.listings += 1
            await self._catch_up("late", self.listings)
            return self.change(await self._whole(request))
        self.creates.append(json.loads(request.content))
        await self._catch_up("ahead", len(self.creates))
        return await self._create(request, self._fates.pop(0) if self._fates else "ok")

    async def _create(self, request: httpx.Request, fate: Fate) -> httpx.Response:
        word, _, rest = fate.partition(" ")
        if word in ("late", "ahead"):
            base = self.listings if word == "late" else len(self.creates)
            self._late.append((word, base + int(rest), request))
            raise httpx.ReadTimeout("slow")
        if word in ("ok", "done,"):
            if word == "ok":
                return await self._inner.handle_async_request(request)
            await self._whole(request)
        match rest or word:
            case "hang":
                await anyio.sleep_forever()
            case "cut":
                raise httpx.ReadError("cut")
            case status:
                return httpx.Response(int(status), json={"error": {"message": "This failed."}})
        raise AssertionError

    async def _catch_up(self, word: str, count: int) -> None:
        for entry in [entry for entry in self._late if entry[0] == word and entry[1] <= count]:
            self._late.remove(entry)
            await self._whole(entry[2])

    async def _whole(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        content = await response.aread()
        await response.aclose()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


class World:
    """A server with a thread and an assistant."""

    def __init__(self, server: FakeServer, client: AsyncClient, thread_id: str, assistant_id: str) -> None:
        self.server = server
        self.client = client
        self.thread_id = thread_id
        self.assistant_id = assistant_id

    async def create(self, client: Any, operation: str) -> Any:
        """Create a run or a message."""
        return await OPERATIONS[operation](client, self.thread_id, self.assistant_id)

    async def all(self, operation: str) -> list[Any]:
        """List what there is, the newest first."""
        if operation == "create_run":
            return list(await self.client.list_runs(self.thread_id).collect())
        return list(await self.client.list_messages(self.thread_id).collect())

    async def end_all(self) -> None:
        """End the runs of the thread."""
        for run in await self.all("create_run"):
            await self.client.cancel_run(run.thread_id, run.id)
            await self.client.wait_for_run(run.thread_id, run.id)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[httpx.Response], httpx.Response]:
    """Return what changes each object of a page, for `Unlucky.change`."""

    def rewrite(response: httpx.Response) -> httpx.Response:
        page = response.json()
        for item in page["data"]:
            change(item)
        return httpx.Response(200, json=page, headers={"x-request-id": "req_page"})

    return rewrite
