"""Streams over a socket: when events arrive, and what becomes of connections that are dropped, slow, or closed."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from asyncassist.server import LocalServer, OfflineBackend, Rule
from asyncassist.server.port import Port

from .helpers import Api, SteeredBackend, TypingBackend
from .reading import COMPLETED, DELTA, MESSAGE, STARTED, StreamReader, last_run, names, pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream
    from starlette.types import Receive, Scope, Send

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def body_for(api: Api, **fields: Any) -> dict[str, Any]:
    thread = {"messages": [{"role": "user", "content": "hello"}]}
    return {"assistant_id": await api.assistant(), "thread": thread, "stream": True, **fields}


async def until_none(server: LocalServer) -> None:
    """Wait until no stream is left."""
    with anyio.fail_after(5):
        while server._engine.open_streams:
            await anyio.sleep(0.001)


@pytest.fixture
async def backend() -> TypingBackend:
    return TypingBackend()


@pytest.fixture
async def server(backend: TypingBackend) -> AsyncIterator[LocalServer]:
    async with LocalServer(backend) as server:
        yield server


async def test_events_arrive_when_they_are_sent(server: LocalServer, backend: TypingBackend) -> None:
    """Each piece crosses the socket before the next one is made, within milliseconds, and the connection is kept."""
    seconds: list[float] = []
    async with server.on_port() as url, httpx.AsyncClient(base_url=url) as http:
        body = await body_for(Api(http))
        async with http.stream("POST", "/threads/runs", json=body) as response:
            stream = StreamReader(response)
            events = list(await stream.until(STARTED[-1]))
            for _ in backend.pieces:
                started = time.perf_counter()
                backend.go_on()
                events += await stream.until(DELTA)
                seconds.append(time.perf_counter() - started)
            backend.go_on()
            events += await stream.rest()
        assert (await http.get("/assistants")).status_code == 200

    assert ["thread.created", *STARTED, *MESSAGE, DELTA, *COMPLETED] == names(events)
    assert list(backend.pieces) == pieces(events)
    assert (response.headers["content-type"], response.headers["cache-control"]) == (
        "text/event-stream; charset=utf-8",
        "no-cache",
    )
    assert response.headers["transfer-encoding"] == "chunked"
    assert sorted(seconds)[1] < 0.05


async def test_a_client_that_hangs_up_leaves_nothing(server: LocalServer, backend: TypingBackend) -> None:
    """A connection that is closed in the middle ends its stream, though no event is due; the run goes on."""
    async with server.on_port() as url, httpx.AsyncClient(base_url=url) as http:
        api = Api(http)
        tasks = len(anyio.get_running_tasks())
        async with http.stream("POST", "/threads/runs", json=await body_for(api)) as response:
            run = last_run(await StreamReader(response).until(STARTED[-1]))
            assert server._engine.open_streams == 1
        await until_none(server)
        backend.go_on(4)
        ended = await api.until({"thread_id": run.thread_id, "id": run.id}, "completed")
        await http.aclose()
        await anyio.sleep(0.05)
        left = len(anyio.get_running_tasks()) - tasks

    assert (ended["status"], backend.cancelled) == ("completed", 0)
    assert left <= 0


async def test_a_stream_does_not_hold_up_its_port(
    server: LocalServer, backend: TypingBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A port is closed at once with a stream open on it: its reader sees it cut, and the run goes on."""
    caplog.set_level(logging.WARNING)
    async with httpx.AsyncClient() as http:
        async with server.on_port() as url:
            http.base_url = httpx.URL(url)
            request = http.build_request("POST", "/threads/runs", json=await body_for(Api(http)))
            stream = StreamReader(await http.send(request, stream=True))
            run = last_run(await stream.until(STARTED[-1]))
            closing = time.perf_counter()
        closing = time.perf_counter() - closing
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.next_frame()
        await stream.response.aclose()
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        backend.go_on(4)
        ended = await Api(http).until({"thread_id": run.thread_id, "id": run.id}, "completed")

    assert ended["status"] == "completed"
    assert closing < 5
    assert caplog.messages == []
    assert server._engine.open_streams == 0


async def test_a_stream_does_not_hold_up_its_server(caplog: pytest.LogCaptureFixture) -> None:
    """A server is left at once with a stream open on its port, and the reader sees it cut."""
    caplog.set_level(logging.WARNING)
    async with httpx.AsyncClient() as http:
        async with LocalServer(SteeredBackend()) as server, server.on_port() as url:
            http.base_url = httpx.URL(url)
            request = http.build_request("POST", "/threads/runs", json=await body_for(Api(http)))
            stream = StreamReader(await http.send(request, stream=True))
            await stream.until(STARTED[-1])
            closing = time.perf_counter()
        closing = time.perf_counter() - closing
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.next_frame()
        await stream.response.aclose()

    assert closing < 5
    assert caplog.messages == []


async def test_a_client_that_does_not_read_slows_nothing_down() -> None:
    """With the socket's buffers full the run goes on to its end, others are served, and the rest can be read later."""
    words = 3000
    text = "".join(f"{number:0999d} " for number in range(words))
    async with LocalServer(OfflineBackend([Rule(say=text)])) as server, server.on_port() as url:
        async with httpx.AsyncClient(base_url=url) as http:
            api = Api(http)
            thread_id = await api.thread("hello")
            content = json.dumps({"assistant_id": await api.assistant(), "stream": True}).encode()
            head = (
                f"POST /v1/threads/{thread_id}/runs HTTP/1.1\r\nhost: local\r\nconnection: close\r\n"
                f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
            )
            async with await anyio.connect_tcp("127.0.0.1", httpx.URL(url).port or 0) as connection:
                await connection.send(head.encode() + content)
                with anyio.fail_after(30):
                    runs = {"data": []}
                    while not runs["data"] or runs["data"][0]["status"] != "completed":
                        runs = await api.get(f"/threads/{thread_id}/runs")
                        await anyio.sleep(0.01)
                received = await read_all(connection)

    assert received.count(b"event: thread.message.delta") == words
    assert received.endswith(b"event: done\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def read_all(connection: SocketStream) -> bytes:
    received = bytearray()
    with anyio.fail_after(30):
        while True:
            try:
                received += await connection.receive(1_000_000)
            except anyio.EndOfStream:
                return bytes(received)


async def test_two_hundred_streams_at_once() -> None:
    """Many clients stream side by side, each its own run whole."""
    told: list[list[str]] = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with LocalServer() as server, server.on_port() as url:
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as http:
            body = await body_for(Api(http))

            async def read() -> None:
                async with http.stream("POST", "/threads/runs", json=body) as response:
                    told.append(names(await StreamReader(response).rest()))

            async with anyio.create_task_group() as task_group:
                for _ in range(200):
                    task_group.start_soon(read)
        await until_none(server)

    assert told == [["thread.created", *STARTED, *MESSAGE, DELTA, *COMPLETED]] * 200


async def test_a_stream_that_breaks_is_forgotten() -> None:
    """An app that fails in the middle of a stream breaks that connection; the port serves on and closes at once."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        if scope["path"] == "/v1/fail":
            raise ValueError("broken app")
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        await anyio.sleep(0.05)

    port = Port(app, 0)
    async with anyio.create_task_group() as task_group, httpx.AsyncClient(base_url=port.url) as http:
        task_group.start_soon(port.run)
        await port.started()
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/fail")
        assert not port._streams
        response = await http.get("/")  # its app is still at work
        port.close()
        with anyio.fail_after(5):
            await port.closed()

    assert response.content == b"data: x\n\n"
