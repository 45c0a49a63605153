"""Many at once: a thousand streams, a thousand cancels, and calls that go on beside them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from transport.helpers import pool_of, until
from transport.loopback import Behaviour, Connection, Loopback, head

from asyncassist import AsyncClient, PollPolicy, RetryPolicy, Timeout

from .helpers import ASSISTANT, KEY, QUICK, event, read, run

pytestmark = pytest.mark.anyio

COUNT = 1000
OPEN = Timeout(total=None, attempt=None, connect=None)


class Many:
    """A server of any number of runs; each is on a thread of its own, whose name it has."""

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self.created: set[str] = set()
        self.cancelled: list[str] = []
        self.cancel_times: list[float] = []
        self.looks = 0

    def serve(self) -> Behaviour:
        async def behave(connection: Connection) -> bool:
            assert connection.request is not None
            _, _, _, name, *rest = connection.request.target.split("/")
            if rest[-1] == "cancel":
                self.cancelled.append(name)
                self.cancel_times.append(time.perf_counter())
                return await self._json(connection, run("cancelling", id=name, thread_id=name))
            if connection.request.method == "POST":
                self.created.add(name)
                if connection.request.json.get("stream"):
                    return await self._stream(connection, name)
            self.looks += 1
            return await self._json(connection, run("in_progress", id=name, thread_id=name))

        return behave

    async def _json(self, connection: Connection, body: Any) -> bool:
        data = json.dumps(body).encode()
        await connection.send(head(200, [("content-type", "application/json")], length=len(data)) + data)
        return True

    async def _stream(self, connection: Connection, name: str) -> bool:
        data = event("thread.run.created", run("queued", id=name, thread_id=name))
        chunk = f"{len(data):x}\r\n".encode() + data + b"\r\n"
        await connection.send(
            head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]) + chunk
        )
        if not self.ends:
            await connection.wait(asyncio.Event())
            return False
        for number in range(3):
            await asyncio.sleep(0.01)
            part = {"index": 0, "type": "text", "text": {"value": f"{name}/{number} "}}
            data = event("thread.message.delta", {"id": f"msg_{name}", "delta": {"content": [part]}})
            await connection.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        data = event("thread.run.completed", run("completed", id=name, thread_id=name)) + event("done", "[DONE]")
        await connection.send(f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n")
        return True


def connect(server: Loopback, **options: Any) -> AsyncClient:
    return AsyncClient(api_key=KEY, base_url=server.url, timeout=OPEN, retry=RetryPolicy(attempts=1), **options)


async def test_a_thousand_streams(server: Loopback) -> None:
    """A thousand streams at once are each read to their own end, and another call meanwhile is answered soon."""
    many = Many(ends=True)
    server.default = many.serve()
    texts: dict[str, str] = {}
    waits: list[float] = []

    async def one(client: AsyncClient, name: str) -> None:
        async with client.stream_run(name, assistant_id=ASSISTANT, poll=QUICK) as stream:
            texts[name] = (await read(stream)).text

    async with connect(server) as client:
        async with anyio.create_task_group() as group:
            for number in range(COUNT):
                group.start_soon(one, client, f"r{number}")
            while len(texts) < COUNT:
                begun = time.perf_counter()
                await client.get_run("thread_1", "run_1")
                waits.append(time.perf_counter() - begun)
                await anyio.sleep(0.01)
        assert not pool_of(client)._busy
    assert texts == {f"r{number}": f"r{number}/0 r{number}/1 r{number}/2 " for number in range(COUNT)}
    assert many.cancelled == []
    print(f"{COUNT} streams; the longest of {len(waits)} calls beside them took {max(waits):.2f} s")


@pytest.mark.parametrize("how", ["streams", "waits"])
async def test_a_thousand_cancelled_at_once(server: Loopback, how: str) -> None:
    """Cancelled at the same moment, on a pool of 100 that is polling, all runs are cancelled on the server, soon."""
    many = Many(ends=False)
    server.default = many.serve()
    begun: set[str] = set()

    async def stream(client: AsyncClient, name: str) -> None:
        async with client.stream_run(name, assistant_id=ASSISTANT) as stream:
            await anext(stream)
            begun.add(name)
            await anext(stream)

    async def wait(client: AsyncClient, name: str) -> None:
        await client.run_and_wait(
            name, assistant_id=ASSISTANT, poll=PollPolicy.every(0.2), on_status=lambda run: begun.add(name)
        )

    one: Callable[[AsyncClient, str], Coroutine[Any, Any, None]] = stream if how == "streams" else wait
    async with connect(server, max_connections=100) as client:
        async with anyio.create_task_group() as pollers:
            for number in range(100):  # keep the pool busy
                pollers.start_soon(wait, client, f"p{number}")
            async with anyio.create_task_group() as group:
                for number in range(COUNT):
                    group.start_soon(one, client, f"r{number}")
                await until(lambda: len(begun) == COUNT + 100, 60)
                looks = many.looks
                await until(lambda: many.looks > looks, 30)
                cancelled_at = time.perf_counter()
                group.cancel_scope.cancel()
            await until(lambda: len(many.cancelled) >= COUNT, 30)
            seconds = max(many.cancel_times) - cancelled_at
            pollers.cancel_scope.cancel()
        assert not pool_of(client)._busy
        assert pool_of(client).waiting == 0
    assert sorted(many.cancelled) == sorted(many.created)
    print(f"{COUNT} {how} cancelled on the server within {seconds:.2f} s")
    assert seconds < 20  # of a busy machine; within one on a quiet one


async def test_the_memory_of_a_stream(server: Loopback) -> None:
    """An open stream costs little memory, and a closed one none."""
    many = Many(ends=False)
    server.default = many.serve()
    may_end = anyio.Event()
    begun: set[str] = set()

    async def one(client: AsyncClient, name: str) -> None:
        async with client.stream_run(name, assistant_id=ASSISTANT, on_cancel="leave") as stream:
            await anext(stream)
            begun.add(name)
            await may_end.wait()

    async with connect(server) as client:
        for count in (10, 200):
            tracemalloc.start(1)
            begun.clear()
            before, _ = tracemalloc.get_traced_memory()
            may_end = anyio.Event()
            async with anyio.create_task_group() as group:
                for number in range(count):
                    group.start_soon(one, client, f"r{number}")
                await until(lambda count=count: len(begun) == count, 30)  # type: ignore[misc]
                gc.collect()
                during, _ = tracemalloc.get_traced_memory()
                may_end.set()
            tracemalloc.stop()
        assert pool_of(client).connections == 0
    # The server's side of the connection is in this process, too.
    print(f"{(during - before) / 200 / 1024:.0f} KiB a stream, the server's side included")
    assert during - before < 200 * 300_000
