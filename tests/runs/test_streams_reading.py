"""The rules of reading a stream: who, when, in which event loop, and what a closed client or a slow reader does."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from transport.helpers import paced, pool_of, until
from transport.loopback import Loopback, head

from asyncassist import AsyncClient, ClientClosedError, UsageError
from asyncassist.runs.run_stream import RunStream
from asyncassist.server import LocalServer
from asyncassist.tools import Toolset

from .helpers import (
    ASSISTANT,
    KEY,
    MANY_PARTS,
    MANY_TEXT,
    ONE_MESSAGE,
    QUICK,
    THREAD,
    InProcess,
    Recorded,
    call,
    event,
    read,
    run,
    serve,
    tool_rounds,
)

pytestmark = pytest.mark.anyio


def start(client: AsyncClient, **options: Any) -> RunStream:
    return client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK, **options)


def silent_after(name: str) -> Any:
    """Tell a run whose stream falls silent before an event."""
    data = ONE_MESSAGE.stages[0].stream
    return ONE_MESSAGE.anew(cut=data.index(f"event: {name}".encode()), never_ends=True)


async def test_a_stream_is_read_inside_its_block_only() -> None:
    """Reading before and after the block, and entering twice, are wrong; nothing is sent for them."""
    wire = InProcess(ONE_MESSAGE.anew())
    stream = start(wire.client())
    with pytest.raises(UsageError, match="async with"):
        await anext(stream)
    assert wire.recorded.asked == []
    async with stream:
        with pytest.raises(UsageError, match="once"):
            await stream.__aenter__()
        await read(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert (await stream.until_done()).status == "completed"
    with pytest.raises(UsageError, match="left"):
        await anext(stream)
    with pytest.raises(UsageError, match="once"):
        await stream.__aenter__()
    assert (wire.recorded.created, wire.open) == (1, 0)


async def test_until_done_returns_the_run() -> None:
    """Reading to the end without looking gives the run; what came is in the stream, also after its block."""
    async with start(InProcess(MANY_PARTS.anew()).client()) as stream:
        assert (stream.run, stream.thread, stream.messages, stream.steps, stream.last_received) == (
            None,
            None,
            (),
            (),
            None,
        )
        done = await stream.until_done()
    assert done is stream.run
    assert stream.thread is not None
    assert stream.thread.id == THREAD
    assert "\n\n".join(message.text for message in stream.messages) == MANY_TEXT
    assert [step.status for step in stream.steps] == ["completed", "completed"]


async def test_a_run_that_requires_action_is_handed_over() -> None:
    """Without a toolset the stream ends when the run asks for tools, and leaving it then cancels nothing."""
    recorded = tool_rounds([call(1, "weather", city="Rome")])
    wire = InProcess(recorded)
    client = wire.client()
    async with start(client) as stream:
        waiting = await stream.until_done()
    assert waiting.status == "requires_action"
    outputs: Any = [{"tool_call_id": "call_1", "output": "sunny"}]
    async with client.stream_tool_outputs(THREAD, waiting.id, tool_outputs=outputs) as stream:
        told = await read(stream)
    assert told.text == "Sunny."
    assert (recorded.submitted, recorded.cancels) == ([outputs], 0)


async def test_one_reader_at_a_time(server: Loopback) -> None:
    """A second reader is refused and harms the first as little as the stream."""
    server.default = serve(silent_after("thread.message.completed"), "silence")
    async with AsyncClient(api_key=KEY, base_url=server.url) as client, start(client) as stream:
        async with anyio.create_task_group() as group:
            seen: list[str] = []

            async def reading() -> None:
                async for told in stream:
                    seen.append(told.event)

            group.start_soon(reading)
            await until(lambda: seen.count("thread.message.delta") == 2)
            with pytest.raises(UsageError, match="another task"):
                await anext(stream)
            group.cancel_scope.cancel()
    assert not pool_of(client)._busy


async def test_the_block_is_left_under_a_reader(server: Loopback) -> None:
    """A reader whose stream is left by another task gets an error at once, and looks at the run no more."""
    recorded = silent_after("thread.message.completed")
    server.default = serve(recorded, "silence")
    failures: list[Exception] = []
    async with AsyncClient(api_key=KEY, base_url=server.url) as client, anyio.create_task_group() as group:
        async with start(client) as stream:
            seen: list[str] = []

            async def reading() -> None:
                try:
                    async for told in stream:
                        seen.append(told.event)
                except UsageError as error:
                    failures.append(error)

            group.start_soon(reading)
            await until(lambda: seen.count("thread.message.delta") == 2)
        await until(lambda: failures)
        assert "left" in str(failures[0])
        assert not pool_of(client)._busy
    assert recorded.asked == ["POST /threads/thread_1/runs", "POST /threads/thread_1/runs/run_1/cancel"]


class Gated(InProcess):
    """Tells a run when it may."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__(recorded)
        self.is_due = anyio.Event()

    async def _body(self, data: bytes, *, breaks: bool) -> AsyncIterator[bytes]:
        await self.is_due.wait()
        yield data


@pytest.mark.parametrize("on_cancel", ["cancel", "leave"])
async def test_the_block_is_left_before_the_first_event(on_cancel: Any) -> None:
    """A reader that waits for the first event gets an error, and the run that event tells of is cancelled."""
    wire = Gated(ONE_MESSAGE.anew())
    failures: list[Exception] = []
    async with anyio.create_task_group() as group:
        async with start(wire.client(), on_cancel=on_cancel) as stream:

            async def reading() -> None:
                try:
                    await anext(stream)
                except UsageError as error:
                    failures.append(error)

            async def tell() -> None:
                await anyio.sleep(0.05)
                wire.is_due.set()

            group.start_soon(reading)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(tell)

    assert [str(error) for error in failures] == ["the stream's block was left, and its connection given back"]
    assert (wire.open, wire.recorded.cancels) == (0, int(on_cancel == "cancel"))


class BreaksWhenCancelled(InProcess):
    """Tells a run that does not end, and breaks its stream when the run is being cancelled."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__(recorded)
        self._is_cancelling = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/cancel"):
            self._is_cancelling.set()
            await anyio.wait_all_tasks_blocked()
        return await super().handle_async_request(request)

    async def _body(self, data: bytes, *, breaks: bool) -> AsyncIterator[bytes]:
        yield data
        await self._is_cancelling.wait()
        raise httpx.ReadError("cut")


async def test_the_block_is_left_and_its_connection_breaks() -> None:
    """A reader whose stream breaks while the run is being cancelled looks at the run no more."""
    recorded = silent_after("thread.message.completed")
    failures: list[Exception] = []
    async with anyio.create_task_group() as group:
        async with start(BreaksWhenCancelled(recorded).client()) as stream:
            seen: list[str] = []

            async def reading() -> None:
                try:
                    async for told in stream:
                        seen.append(told.event)
                except UsageError as error:
                    failures.append(error)

            group.start_soon(reading)
            await anyio.wait_all_tasks_blocked()
            assert seen.count("thread.message.delta") == 2

    assert "left" in str(failures[0])
    assert recorded.asked == ["POST /threads/thread_1/runs", "POST /threads/thread_1/runs/run_1/cancel"]


async def test_the_block_is_left_under_a_tool() -> None:
    """Left by another task while a tool runs, the stream neither sends the outputs' rest nor leaks a connection."""
    recorded = tool_rounds([call(1, "weather", city="Rome")])
    wire = InProcess(recorded)
    may_end = anyio.Event()
    failures: list[Exception] = []

    async def weather(city: str) -> str:
        """Tell the weather."""
        await may_end.wait()
        return city

    async with anyio.create_task_group() as group:
        client = wire.client()
        async with start(client, toolset=Toolset([weather])) as stream:

            async def reading() -> None:
                try:
                    await stream.until_done()
                except UsageError as error:
                    failures.append(error)

            group.start_soon(reading)
            await until(lambda: stream.run is not None and stream.run.status == "requires_action")
            for _ in range(20):
                await checkpoint()
        may_end.set()
        await until(lambda: failures)
    assert (wire.open, recorded.cancels) == (0, 1)


async def test_the_client_is_closed_under_a_reader(server: Loopback) -> None:
    """Closing the client ends its streams: the reader gets ClientClosedError, no connection stays open,
    and the run is cancelled."""
    recorded = silent_after("thread.message.completed")
    server.default = serve(recorded, "silence")
    client = AsyncClient(api_key=KEY, base_url=server.url)
    failures: list[Exception] = []
    seen: list[str] = []

    async def reading() -> None:
        with pytest.raises(ClientClosedError) as caught:
            async with start(client) as stream:
                async for told in stream:
                    seen.append(told.event)
        failures.append(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(reading)
        await until(lambda: seen.count("thread.message.delta") == 2)
        await client.aclose()
    assert failures
    assert (pool_of(client).connections, recorded.cancels) == (0, 1)


async def test_the_client_is_closed_before_the_first_event(server: Loopback) -> None:
    """The same where the run is not known yet, and when the block is left without reading."""
    server.default = serve(ONE_MESSAGE.anew(cut=20), "silence")
    client = AsyncClient(api_key=KEY, base_url=server.url)
    async with start(client) as stream:
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await anext(stream)
    server.default = serve(ONE_MESSAGE.anew(cut=20), "silence")
    client = AsyncClient(api_key=KEY, base_url=server.url)
    async with start(client):
        await client.aclose()
    with pytest.raises(ClientClosedError):
        async with start(client):
            pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_a_stream_in_another_event_loop(anyio_backend: str, loop_thread: Any) -> None:
    """A stream opened in an event loop that has ended has broken in the next one, and is recovered there."""
    with Loopback(loop_thread) as server, warnings.catch_warnings():
        # asyncio's own, of the connection that was open when the first loop ended.
        warnings.simplefilter("ignore", ResourceWarning)
        server.default = serve(silent_after("thread.message.completed"), "silence")
        client = AsyncClient(api_key=KEY, base_url=server.url)
        stream = start(client)

        async def first() -> None:
            await stream.__aenter__()
            await anext(stream)

        async def second() -> None:
            try:
                with anyio.fail_after(5):
                    assert (await stream.until_done()).status == "completed"
                    await stream.__aexit__(None, None, None)
            finally:
                await client.aclose()

        runner = asyncio.Runner()
        runner.run(first())
        runner.get_loop().run_until_complete(asyncio.sleep(0))
        runner.close()
        server.default = serve(ONE_MESSAGE.anew(stage=0))
        asyncio.run(second())
        assert [message.text for message in stream.messages] == ["Hello"]
        gc.collect()


async def test_a_slow_reader_does_not_fill_the_memory(server: Loopback) -> None:
    """While the reader does nothing, the server can send no more than the buffers between them hold."""
    piece = event("thread.message.delta", {"id": "msg_1", "delta": {"content": []}}) * 500
    sent = 0
    begun = event("thread.run.created", run("queued"))
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"

    async def behave(connection: Any) -> bool:
        nonlocal sent
        if connection.request.target.endswith("cancel"):
            return await serve(ONE_MESSAGE.anew(created=1))(connection)
        headers = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
        await connection.send(head(200, headers) + f"{len(begun):x}\r\n".encode() + begun + b"\r\n")
        for _ in range(2000):
            await connection.send(chunk)
            sent += len(chunk)
        return False

    server.default = behave
    async with AsyncClient(api_key=KEY, base_url=server.url) as client, start(client) as stream:
        await anext(stream)
        before = -1
        while sent != before:
            before = sent
            await anyio.sleep(0.2)
        assert sent < 20_000_000 < 2000 * len(chunk)


async def test_streams_have_their_limit_and_others_their_room(server: Loopback) -> None:
    """No more streams than max_streams are open at once, the next waits for its turn, and other calls go on."""
    server.default = serve(silent_after("thread.message.completed"), "silence")
    opened: list[int] = []

    async def reading(stream: RunStream, number: int, leave: anyio.Event) -> None:
        async with stream:
            await anext(stream)
            opened.append(number)
            await leave.wait()

    async with AsyncClient(api_key=KEY, base_url=server.url, max_streams=2, max_connections=1) as client:
        async with anyio.create_task_group() as group:
            leaves = [anyio.Event() for _ in range(3)]
            for number, leave in enumerate(leaves):
                recorded = silent_after("thread.message.completed")
                server.script.append(serve(recorded, "silence"))
                group.start_soon(reading, start(client), number, leave)
            await until(lambda: len(opened) == 2)
            assert pool_of(client).waiting == 1
            server.script.clear()
            server.default = serve(ONE_MESSAGE.anew(stage=0, created=1))
            assert (await client.get_run(THREAD, "run_1")).status == "completed"
            server.default = serve(silent_after("thread.message.completed"), "silence")
            leaves[opened[0]].set()
            await until(lambda: len(opened) == 3)
            for leave in leaves:
                leave.set()
        assert not pool_of(client)._busy


@pytest.mark.parametrize("make", [lambda stream: stream, lambda stream: stream.text(), lambda stream: stream.sse()])
async def test_nothing_is_left_for_the_garbage_collector(make: Callable[[RunStream], Any]) -> None:
    """A stream and its views that are dropped half way are freed with what they read."""
    async with LocalServer() as server, server.client() as client:
        assistant = await client.create_assistant(model="m")
        thread = await client.create_thread(messages=[{"role": "user", "content": "Hello"}])
        async with client.stream_run(thread.id, assistant_id=assistant.id) as stream:
            await anext(make(stream))
        gone = weakref.ref(stream)
        del stream
        for _ in range(10):
            await checkpoint()
        gc.collect()
        assert gone() is None


async def test_paced_clients_do_not_sleep() -> None:
    """The looks after a break follow the pace the caller gave."""
    wire = InProcess(ONE_MESSAGE.anew(cut=200, looks=3))
    client = wire.client()
    naps = paced(client)
    async with start(client) as stream:
        await read(stream)
    assert len(naps.taken) == 3
    assert max(naps.taken) <= 0.0015
