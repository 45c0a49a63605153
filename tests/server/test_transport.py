"""The in-process transport, driven by hand-written ASGI apps."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist.server.transport import LocalTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}


def body(chunk: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


@pytest.fixture
async def task_group() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as task_group:
        yield task_group
        task_group.cancel_scope.cancel()


def client_for(app: ASGIApp, task_group: TaskGroup) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=LocalTransport(app, lambda: task_group), base_url="http://local")


async def read_all(receive: Receive) -> list[bytes]:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        chunks.append(message["body"])
        if not message["more_body"]:
            return chunks


def stream_of(response: httpx.Response) -> httpx.AsyncByteStream:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return response.stream


async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    await anyio.sleep_forever()


async def test_request_and_response_arrive_whole(task_group: TaskGroup) -> None:
    """Method, path, query, headers and body reach the app; status, headers and body come back."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append({key: scope[key] for key in ("type", "method", "path", "raw_path", "query_string", "scheme")})
        seen.append(dict(scope["headers"])[b"x-ask"])
        seen.append(await read_all(receive))
        await send(START)
        await send(body(b"answer"))

    async with client_for(app, task_group) as client:
        response = await client.post("/a%20b?c=d", content=b"question", headers={"X-Ask": "please"})

    expected = {
        "type": "http",
        "method": "POST",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=d",
        "scheme": "http",
    }
    assert [expected, b"please", [b"question"]] == seen
    assert (response.status_code, response.headers["x-a"], response.content) == (200, "1", b"answer")


async def test_chunks_are_seen_when_they_are_sent(task_group: TaskGroup) -> None:
    """The head and every chunk reach the reader before the app sends the next one."""
    may_go_on = [anyio.Event() for _ in range(3)]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for number, event in enumerate(may_go_on):
            await event.wait()
            await send(body(str(number).encode(), more=number < 2))

    seen: list[bytes] = []
    with anyio.fail_after(5):
        async with client_for(app, task_group) as client, client.stream("GET", "/") as response:
            may_go_on[0].set()
            async for chunk in response.aiter_raw():
                seen.append(chunk)
                if len(seen) < 3:
                    may_go_on[len(seen)].set()

    assert seen == [b"0", b"1", b"2"]


async def test_the_app_waits_for_a_slow_reader(task_group: TaskGroup) -> None:
    """An app cannot send without bounds what nobody reads."""
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(START)
        for _ in range(100):
            await send(body(b"x", more=True))
            sent += 1
        await send(body(b""))

    async with client_for(app, task_group) as client, client.stream("GET", "/") as response:
        for _ in range(50):
            await checkpoint()
        ahead = sent
        content = await response.aread()

    assert ahead == 16
    assert len(content) == 100


async def test_closing_a_response_early_cancels_the_app(task_group: TaskGroup) -> None:
    """Leaving a stream half-way ends the task that feeds it."""
    ended = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(START)
            while True:
                await send(body(b"x", more=True))
        finally:
            ended.set()

    transport = LocalTransport(app, lambda: task_group)
    response = await transport.handle_async_request(httpx.Request("GET", "http://local/"))
    async for _ in stream_of(response):
        break
    await response.aclose()

    with anyio.fail_after(5):
        await ended.wait()
    assert ended.is_set()


async def test_a_cancelled_request_cancels_the_app(task_group: TaskGroup) -> None:
    """A caller who stops waiting stops the app too."""
    started, ended = anyio.Event(), anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def ask(client: httpx.AsyncClient) -> None:
        await client.get("/")

    with anyio.fail_after(5):
        async with client_for(app, task_group) as client, anyio.create_task_group() as callers:
            callers.start_soon(ask, client)
            await started.wait()
            callers.cancel_scope.cancel()
        await ended.wait()
    assert ended.is_set()


async def test_work_after_the_response_is_not_cancelled(task_group: TaskGroup) -> None:
    """What an app does after its last chunk goes on when the response is closed."""
    done = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        await send(START)
        await send(body(b"ok"))
        assert await receive() == {"type": "http.disconnect"}
        await checkpoint()
        done.set()

    async with client_for(app, task_group) as client:
        await client.get("/")

    with anyio.fail_after(5):
        await done.wait()


async def test_an_uploaded_stream_reaches_the_app_in_pieces(task_group: TaskGroup) -> None:
    """A body given as an async iterator is streamed into the app."""
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(await read_all(receive))
        await send(START)
        await send(body(b""))

    async def upload() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two", b"three"):
            yield piece
            await checkpoint()

    async with client_for(app, task_group) as client:
        await client.post("/", content=upload())

    assert b"".join(seen) == b"onetwothree"
    assert len(seen) > 1


async def test_a_body_may_be_any_iterator(task_group: TaskGroup) -> None:
    """A stream that is no generator is read like one."""

    class Pieces(httpx.AsyncByteStream):
        def __init__(self) -> None:
            self.pieces = [b"two", b"one"]

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            if not self.pieces:
                raise StopAsyncIteration
            return self.pieces.pop()

    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(await read_all(receive))
        await send(START)
        await send(body(b""))

    transport = LocalTransport(app, lambda: task_group)
    await transport.handle_async_request(httpx.Request("POST", "http://local/", stream=Pieces()))

    assert b"".join(seen) == b"onetwo"


async def test_an_upload_ends_with_the_answer(task_group: TaskGroup) -> None:
    """An app that has answered and goes on working is sent no more."""
    done = anyio.Event()

    class Endless:
        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> bytes:
            return b"x"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send(body(b"enough"))
        await done.wait()

    with anyio.fail_after(5):
        async with client_for(app, task_group) as client:
            response = await client.post("/", content=Endless())
    done.set()

    assert response.content == b"enough"


async def test_an_app_may_refuse_an_upload_without_reading_it(task_group: TaskGroup) -> None:
    """An endless upload ends when the app has answered."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({**START, "status": 413})
        await send(body(b"too much"))

    class Endless:
        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> bytes:
            return b"x" * 1000

    with anyio.fail_after(5):
        async with client_for(app, task_group) as client:
            response = await client.post("/", content=Endless())

    assert response.status_code == 413


async def test_a_failing_upload_cancels_the_app(task_group: TaskGroup) -> None:
    """An exception in the caller's body reaches the caller, and the app does not wait for the rest."""
    ended = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await read_all(receive)
        finally:
            ended.set()

    async def upload() -> AsyncIterator[bytes]:
        yield b"x"
        await checkpoint()
        raise ValueError("no more")

    with anyio.fail_after(5):
        async with client_for(app, task_group) as client:
            with pytest.raises(ValueError, match="no more"):
                await client.post("/", content=upload())
        await ended.wait()


async def test_a_failing_app_is_a_protocol_error(task_group: TaskGroup, caplog: pytest.LogCaptureFixture) -> None:
    """An app that raises before its response leaves the caller an httpx error with the cause."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken app")

    async with client_for(app, task_group) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without a response") as caught:
            await client.get("/")

    assert isinstance(caught.value.__cause__, ValueError)
    assert "the app failed at GET /" in caplog.text


async def test_an_app_that_stops_half_way_is_a_protocol_error(task_group: TaskGroup) -> None:
    """A response without its last chunk is an error for the reader, not a short body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"half", more=True))

    async with client_for(app, task_group) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="in the middle"):
            await client.get("/")


async def test_the_read_timeout_is_kept(task_group: TaskGroup) -> None:
    """A read timeout of the client's counts here as on a socket."""
    async with client_for(hang, task_group) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=0.01)


async def test_head_has_no_body(task_group: TaskGroup) -> None:
    """A response to HEAD comes without the body the app sends."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"content"))

    async with client_for(app, task_group) as client:
        response = await client.head("/")

    assert response.content == b""


async def test_ending_the_task_group_ends_the_request() -> None:
    """A caller from outside does not wait for an app that was ended with its owner."""
    outcome: list[Exception] = []

    async def ask(client: httpx.AsyncClient) -> None:
        try:
            await client.get("/")
        except httpx.RemoteProtocolError as error:
            outcome.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as callers:
            async with anyio.create_task_group() as owner:
                callers.start_soon(ask, client_for(hang, owner))
                for _ in range(5):
                    await checkpoint()
                owner.cancel_scope.cancel()

    assert len(outcome) == 1


async def test_a_dropped_response_leaves_no_warning(task_group: TaskGroup) -> None:
    """A response that is neither read nor closed can be collected in silence."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"x", more=True))
        await anyio.sleep_forever()

    transport = LocalTransport(app, lambda: task_group)
    response = await transport.handle_async_request(httpx.Request("GET", "http://local/"))
    first = await anext(aiter(stream_of(response)))
    del response
    gc.collect()

    assert first == b"x"
