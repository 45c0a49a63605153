"""`cancel_on_disconnect`: a block ends when the web client goes away, and disturbs nothing otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from asyncassist import DisconnectedError, Run, UsageError, cancel_on_disconnect
from asyncassist.server import LocalServer, OfflineBackend, Rule

pytestmark = pytest.mark.anyio

Message = MutableMapping[str, Any]

GONE: Message = {"type": "http.disconnect"}
BODY: Message = {"type": "http.request", "body": b"", "more_body": False}


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Wire:
    """An ASGI server's side of ``receive``: gives what is put in, and counts who waits."""

    def __init__(self) -> None:
        self._send, self.stream = anyio.create_memory_object_stream[Message](100)
        self.waiting = 0
        self.calls = 0

    def put(self, *messages: Message) -> None:
        for message in messages:
            self._send.send_nowait(message)

    async def receive(self) -> Message:
        self.calls += 1
        self.waiting += 1
        try:
            return await self.stream.receive()
        finally:
            self.waiting -= 1

    def close(self) -> None:
        self._send.close()
        self.stream.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Give a connection of a client that is there."""
    wire = Wire()
    yield wire
    assert not wire.waiting, "a task still asks for messages"
    wire.close()


async def settle() -> None:
    for _ in range(20):
        await checkpoint()


async def test_the_block_is_cancelled_when_the_client_goes(wire: Wire) -> None:
    """What it waits for is cancelled, and cleans up before the error is raised."""
    steps: list[str] = []
    with pytest.raises(DisconnectedError, match="^the web client went away before it was answered$") as caught:
        async with cancel_on_disconnect(wire.receive):
            wire.put(BODY, GONE)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await checkpoint()
                    steps.append("cleaned up")

    assert steps == ["cleaned up"]
    assert caught.value.__suppress_context__
    await checkpoint()  # nothing of the cancellation is left


async def test_a_client_that_is_gone_already(wire: Wire) -> None:
    """The block gets no further than to its first pause."""
    wire.put(GONE)
    with pytest.raises(DisconnectedError):
        async with cancel_on_disconnect(wire.receive):
            await anyio.sleep_forever()


async def test_the_block_ends_first(wire: Wire) -> None:
    """Nothing happens, and nobody asks for messages any more."""
    async with cancel_on_disconnect(wire.receive):
        await settle()
        assert wire.waiting == 1
    assert wire.waiting == 0

    wire.put(GONE)
    await settle()


async def test_a_block_that_never_waits(wire: Wire) -> None:
    """It ends as it would without the context, whoever has gone meanwhile."""
    wire.put(GONE)
    async with cancel_on_disconnect(wire.receive):
        pass


async def test_a_block_that_finishes_all_the_same(wire: Wire) -> None:
    """Shielded to its end, it has been cut nowhere: no error."""
    async with cancel_on_disconnect(wire.receive):
        with anyio.CancelScope(shield=True):
            wire.put(GONE)
            await settle()


@pytest.mark.parametrize("is_gone", [False, True])
async def test_an_exception_of_the_block_passes_through(wire: Wire, is_gone: bool) -> None:
    """As it is, in no group; also one raised while cleaning up."""
    error = KeyError("lost")
    with pytest.raises(KeyError) as caught:
        async with cancel_on_disconnect(wire.receive):
            if is_gone:
                wire.put(GONE)
                try:
                    await anyio.sleep_forever()
                finally:
                    raise error
            await settle()
            raise error

    assert caught.value is error
    assert wire.waiting == 0


async def test_a_cancellation_from_outside_passes_through(wire: Wire) -> None:
    """It belongs to whoever cancelled, and is not taken for the client's leaving."""
    reached: list[str] = []
    with anyio.CancelScope() as outside:
        async with cancel_on_disconnect(wire.receive):
            outside.cancel()
            await anyio.sleep_forever()
        reached.append("behind the block")

    assert outside.cancelled_caught
    assert not reached


async def test_both_at_once(wire: Wire) -> None:
    """The client goes in the moment in which the task is cancelled from outside: the task is cancelled."""
    with anyio.CancelScope() as outside:
        try:
            async with cancel_on_disconnect(wire.receive):
                wire.put(GONE)
                outside.cancel()
                await anyio.sleep_forever()
        except DisconnectedError:
            await checkpoint()

    assert outside.cancelled_caught


async def slowly_cancelled() -> Message:
    """Receive nothing, and take a while to be cancelled."""
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await settle()
    raise AssertionError("never reached")


async def test_an_exception_is_not_lost_to_a_cancellation() -> None:
    """The block fails while it is being cancelled from outside: its exception is what is raised."""
    raised: list[str] = []
    with anyio.CancelScope() as outside:
        try:
            async with cancel_on_disconnect(slowly_cancelled):
                outside.cancel()
                try:
                    await anyio.sleep_forever()
                finally:
                    raise KeyError("lost")
        except KeyError as error:
            raised = [*error.args]

    assert raised == ["lost"]


async def test_groups_of_tasks_inside(wire: Wire) -> None:
    """All tasks of the block are cancelled, and no group of cancellations comes out."""
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(number)

    with pytest.raises(DisconnectedError):
        async with cancel_on_disconnect(wire.receive), anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(work, number)
            await settle()
            wire.put(GONE)
            await anyio.sleep_forever()

    assert sorted(ended) == [0, 1, 2]


# The messages of the body.


async def test_messages_of_the_body_are_read_through_the_block(wire: Wire) -> None:
    """What came while the client was watched is given to the app, once and in order, and then the disconnect."""
    messages = [part(b"one", more=True), part(b"two", more=True), part(b"three")]
    wire.put(*messages)
    given: list[Message] = []
    with pytest.raises(DisconnectedError):
        async with cancel_on_disconnect(wire.receive) as receive:
            await settle()
            for _ in messages:
                given.append(await receive())
            wire.put(GONE)
            await anyio.sleep_forever()

    assert given == messages
    assert await receive() == GONE


async def test_an_app_may_wait_for_the_body(wire: Wire) -> None:
    """Messages that come later wake it, however many tasks wait."""
    given: list[Message] = []

    async def read(receive: Callable[[], Awaitable[Message]]) -> None:
        given.append(await receive())

    async with cancel_on_disconnect(wire.receive) as receive, anyio.create_task_group() as tasks:
        for count in (2, 1):
            for _ in range(count):
                tasks.start_soon(read, receive)
            await settle()
            wire.put(*[part(b"%d" % number) for number in range(count)])
            await settle()

    assert sorted(message["body"] for message in given) == [b"0", b"0", b"1"]


async def test_a_starlette_request_over_it(wire: Wire) -> None:
    """The body is read as ever, by a request that receives from the block."""
    wire.put(part(b"Hello, ", more=True), part(b"world"))
    async with cancel_on_disconnect(wire.receive) as receive:
        await settle()
        body = await Request({"type": "http"}, receive).body()

    assert body == b"Hello, world"


async def test_what_nobody_took_is_there_after_the_block(wire: Wire) -> None:
    """First what was held, then what comes from the server."""
    messages = [part(b"one", more=True), part(b"two")]
    wire.put(*messages)
    async with cancel_on_disconnect(wire.receive) as receive:
        await settle()

    assert [await receive(), await receive()] == messages


async def test_a_reader_that_outlives_the_block(wire: Wire) -> None:
    """A task that waits for a message when the block ends goes on waiting at the server."""
    given: list[Message] = []

    async def read() -> None:
        given.append(await receive())

    async with anyio.create_task_group() as tasks:
        async with cancel_on_disconnect(wire.receive) as receive:
            tasks.start_soon(read)
            await settle()
        await settle()
        wire.put(BODY)

    assert given == [BODY]


async def test_a_long_body_is_not_read_ahead(wire: Wire) -> None:
    """Of a body nobody reads no more than one message is held; the server keeps the rest, and so the client waits."""
    wire.put(*[part(b"x" * 1000, more=True)] * 50)
    async with cancel_on_disconnect(wire.receive):
        await settle()

        assert wire.calls == 1
    assert wire.stream.statistics().current_buffer_used == 49


# Servers and middlewares.


async def test_an_error_of_the_server_is_told(wire: Wire) -> None:
    """Where ``receive`` raises, the block is cancelled and the error is raised as it is."""

    async def receive() -> Message:
        await checkpoint()
        raise RuntimeError("broken server")

    with pytest.raises(RuntimeError, match="^broken server$"):
        async with cancel_on_disconnect(receive):
            await anyio.sleep_forever()


async def test_an_error_of_the_server_comes_too_late(wire: Wire) -> None:
    """A block that is done all the same does not suffer from it."""

    async def receive() -> Message:
        raise RuntimeError("broken server")

    async with cancel_on_disconnect(receive):
        with anyio.CancelScope(shield=True):
            await settle()


async def test_a_request_is_not_its_receive() -> None:
    """The mistake to be expected is a TypeError that tells what to give."""
    request = Request({"type": "http"})
    with pytest.raises(
        TypeError, match=r"^receive must be the ASGI receive function, such as request.receive, not Request$"
    ):
        cancel_on_disconnect(request)  # type: ignore[arg-type]


async def test_a_context_is_entered_once(wire: Wire) -> None:
    """A second time is refused, before anything is asked for."""
    context = cancel_on_disconnect(wire.receive)
    async with context:
        pass
    calls = wire.calls

    with pytest.raises(UsageError, match="can be entered once"):
        async with context:
            pass
    assert wire.calls == calls


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_while_the_block_ends() -> None:
    """``task.cancel()`` of asyncio is not lost behind the block either."""

    async def handle() -> None:
        async with cancel_on_disconnect(slowly_cancelled):
            await settle()
            ending.set()

    for steps in range(10):
        ending = anyio.Event()
        task = asyncio.create_task(handle())
        await ending.wait()
        for _ in range(steps):
            await checkpoint()
        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_the_native_way(wire: Wire) -> None:
    """``task.cancel()`` of asyncio comes through, alone and in the moment in which the client goes."""

    async def handle() -> None:
        async with cancel_on_disconnect(wire.receive):
            await anyio.sleep_forever()

    for is_gone, first in ((False, "task"), (True, "task"), (True, "client")):
        task = asyncio.create_task(handle())
        await settle()
        if is_gone and first == "client":
            wire.put(GONE)
        task.cancel()
        if is_gone and first == "task":
            wire.put(GONE)
        await asyncio.wait([task])

        assert task.cancelled()
        while wire.stream.statistics().current_buffer_used:
            wire.stream.receive_nowait()


# A whole app.


async def through(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


# Older Starlettes leave a generator to the event loop.
@pytest.mark.filterwarnings("ignore:.*async_generator object Request.stream:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("middleware", [[], [Middleware(BaseHTTPMiddleware, dispatch=through)]])
@pytest.mark.parametrize("question", ["quick", "slow"])
async def test_a_json_endpoint_lets_its_run_go(question: str, middleware: list[Middleware], wire: Wire) -> None:
    """An answer comes as ever. Where the client goes first the run is cancelled, and the app can answer to nobody."""
    sent: list[Message] = []
    seen: dict[str, Run] = {}
    wire.put(part(json.dumps({"question": question}).encode()))

    async def send(message: Message) -> None:
        sent.append(message)

    def see(run: Run) -> None:
        seen[run.id] = run
        if question == "slow" and run.status == "in_progress":
            wire.put(GONE)

    async def ask(request: Request) -> Response:
        messages = [{"role": "user", "content": (await request.json())["question"]}]
        async with cancel_on_disconnect(request.receive):
            run = await client.create_thread_run_and_wait(
                assistant_id=assistant.id, thread={"messages": messages}, on_status=see
            )
            return JSONResponse(await client.run_text(run))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)

    app = Starlette(
        routes=[Route("/ask", ask, methods=["POST"])],
        exception_handlers={DisconnectedError: gone},
        middleware=middleware,
    )
    scope = {"type": "http", "method": "POST", "path": "/ask", "query_string": b"", "headers": []}
    async with LocalServer(OfflineBackend([Rule("slow", delay=60)])) as server, server.client() as client:
        assistant = await client.create_assistant(model="any")
        with anyio.fail_after(5):
            await app(scope, wire.receive, send)
        (run,) = seen.values()
        ended = await client.wait_for_run(run.thread_id, run.id)

    expected = ("completed", 200) if question == "quick" else ("cancelled", 499)
    assert (ended.status, sent[0]["status"]) == expected
