"""Requests made to cost the server dearly: each is refused in clear words, at a bounded price; others are served."""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from asyncassist.server import LocalServer, app

from .helpers import Api, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream
    from starlette.types import Message, Scope

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024

resource: Any = pytest.importorskip("resource")
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[str, int]]:
    """A server's port: its base URL and its number."""
    async with LocalServer(**options) as server, server.on_port() as url:
        yield url, httpx.URL(url).port or 0


async def served(url: str) -> None:
    """Find out whether somebody else is served, and soon."""
    started = time.perf_counter()
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/threads")).status_code == 200
    assert time.perf_counter() - started < 2


def head(length: str, path: str = "/v1/threads") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()


async def read_answer(stream: SocketStream) -> tuple[int, Any]:
    """The status and the JSON of the answer on a connection."""
    data = b""
    with anyio.fail_after(10):
        while b"\r\n\r\n" not in data or not data.endswith(b"}"):
            data += await stream.receive()
    return int(data.split(b" ", 2)[1]), json.loads(data.partition(b"\r\n\r\n")[2])


@on_asyncio
async def test_a_body_of_100_mb_is_refused_by_its_length() -> None:
    """A length beyond the limit is a 413 before the body is there, and none of it is kept."""
    async with serving() as (url, port), await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head(f"Content-Length: {100 * MEGABYTE}") + b'{"metadata": "')
        status, answer = await read_answer(stream)
        tracemalloc.start()
        for _ in range(100):
            await stream.send(b"x" * MEGABYTE)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await served(url)

    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    assert answer["error"]["message"] == "The body of the request is larger than 16777216 bytes."
    assert peak < 20 * MEGABYTE


@on_asyncio
async def test_a_body_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body in chunks that passes the limit is a 413 there and then, whatever it says of its length."""
    monkeypatch.setattr(app, "MAX_BODY", MEGABYTE)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with serving() as (url, port), await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head("Transfer-Encoding: chunked"))
        for _ in range(20):
            await stream.send(chunk)
        status, answer = await read_answer(stream)
        await served(url)

    assert (status, answer["error"]["code"]) == (413, "request_too_large")


async def test_many_large_bodies_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
    """What is received at once has a limit for all together; who is beyond it may come again."""
    monkeypatch.setattr(app, "MAX_BODIES", 10_000)
    may_end = anyio.Event()
    statuses: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield b'{"metadata": {"a": "' + b"x" * 400
        yield b"y" * 2600
        await may_end.wait()
        yield b'"}}'

    async def post() -> None:
        response = await api.http.post("/threads", content=body())
        statuses.append(response.status_code)
        if response.status_code == 503:
            assert response.headers["retry-after"] == "1"
            assert response.json()["error"]["message"] == "The server is receiving too much at once. Try again later."

    async with anyio.create_task_group() as task_group:
        for _ in range(5):
            task_group.start_soon(post)
        await settle()
        small = await api.http.post("/threads", json={})
        may_end.set()

    assert small.status_code == 200
    assert sorted(statuses) == [400, 400, 400, 503, 503]  # their metadata are too long, but they were read
    assert (await api.http.post("/threads", content=b'{"metadata": {}}' + b" " * 9000)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
async def test_json_100_000_levels_deep_is_refused(api: Api, body: bytes) -> None:
    """However deep the JSON is, the answer is a 400 and comes at once."""
    started = time.perf_counter()
    error = await api.refused("POST", "/threads", content=body)

    assert error["code"] == "invalid_json"
    assert time.perf_counter() - started < 2


@on_asyncio
@pytest.mark.parametrize("pieces", [[], [b"{"], [b"{", b'"', b"m"]])
async def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    """Who promises a body and does not send it in time gets a 408, and the connection is closed."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.2)
    async with serving() as (url, port), await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head("Content-Length: 1000"))
        for piece in pieces:
            await stream.send(piece)
            await served(url)
        status, answer = await read_answer(stream)
        with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
            await stream.receive()

    assert (status, answer["error"]["code"]) == (408, "request_timeout")
    assert answer["error"]["message"] == "The body of the request came too slowly, or not at all."


async def test_a_long_body_may_take_longer(monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
    """What has come earns the rest more time: a slow line is no attack."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(app, "SLOWEST_BODY", 10)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"metadata":'
        await anyio.sleep(0.3)
        yield b"{}}"

    response = await api.http.post("/threads", content=body())

    assert response.status_code == 200


@on_asyncio
async def test_a_thousand_idle_connections_are_no_matter() -> None:
    """Connections on which nothing is said leave others served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (hard if hard != resource.RLIM_INFINITY else 10_000) // 2 - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * count + 200), hard))
    try:
        async with serving() as (url, port), AsyncExitStack() as stack:
            for number in range(count):
                stream = await anyio.connect_tcp("127.0.0.1", port)
                await stack.enter_async_context(stream)
                if number % 2:
                    await stream.send(b"POST /v1/threads HTT")
            await served(url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@on_asyncio
async def test_a_key_cannot_be_guessed() -> None:
    """Ten thousand wrong keys are ten thousand short refusals that leave nothing behind; the right one still works."""
    statuses: dict[int, int] = {}
    async with LocalServer(api_keys=["right" * 10]) as server:

        async def ask(key: bytes) -> None:
            scope: Scope = {
                "type": "http",
                "method": "GET",
                "path": "/v1/assistants",
                "query_string": b"",
                "headers": [(b"authorization", b"Bearer " + key)],
            }

            async def receive() -> Message:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    statuses[message["status"]] = statuses.get(message["status"], 0) + 1
                else:
                    assert len(message["body"]) < 4096

            await server.app(scope, receive, send)

        for number in range(100):
            await ask(b"wrong%d" % number)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(9_900):
            await ask(b"%d" % number * 10)
        await settle()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await ask(b"right" * 10)

    assert statuses == {401: 10_000, 200: 1}
    assert after - before < MEGABYTE
