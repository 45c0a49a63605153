"""What the tests of batches share: a server, its jobs, and how its runs have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from attrs import frozen

from asyncassist import AsyncClient, Job, JobResult
from asyncassist.server import Rule
from asyncassist.testing import FakeServer

__all__ = ["BASE", "ECHO", "SLOW", "Place", "job", "place", "read", "until"]

BASE = "http://local/v1"
ECHO = Rule(say="{message}")
SLOW = Rule("slow", delay=100, say="at last")
"""A run that ends when the clock is moved."""


def job(id: object, assistant_id: str = "asst_1", content: str = "", **fields: Any) -> Job:
    return Job(str(id), assistant_id, [{"role": "user", "content": content or f"say {id}"}], **fields)


@frozen
class Place:
    """A server with one assistant, and a client of it."""

    server: FakeServer
    client: AsyncClient
    assistant: str

    def job(self, id: object, content: str = "", **fields: Any) -> Job:
        return job(id, self.assistant, content, **fields)

    def asked(self, operation: str) -> int:
        return len(self.server.requests_for(operation))

    async def runs(self) -> dict[str, str]:
        """Return the status of each run of each thread there is."""
        found: dict[str, str] = {}
        response = await self.client._send(_list_threads())
        from asyncassist._wire.json import loads

        for thread in loads(response.body)["data"]:  # type: ignore[call-overload, index]
            async for run in self.client.list_runs(thread["id"], limit=100):
                found[run.id] = run.status
        return found


def _list_threads() -> Any:
    from asyncassist._wire.requests import request_for

    return request_for("GET /threads", query={"limit": 100})


@asynccontextmanager
async def place(*script: Any, **options: Any) -> AsyncIterator[Place]:
    async with FakeServer(*(script or (ECHO,))) as server, server.client(**options) as client:
        assistant = await client.create_assistant(model="any")
        yield Place(server, client, assistant.id)


async def read(results: Any) -> dict[str, JobResult]:
    found: dict[str, JobResult] = {}
    async for result in results:
        assert result.job.id not in found
        found[result.job.id] = result
    return found


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            # A loop that never rests would keep the interpreter's lock from the thread that writes the ledger.
            await anyio.sleep(0.001)
