"""The pool's slots: which connection is taken, kept, closed and replaced, and in which event loop."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
import trio

from asyncassist import APIConnectionError, AsyncClient, UsageError
from asyncassist._transport.lanes import Lane
from asyncassist._transport.loops import current_loop, is_over
from asyncassist._transport.pool import EXTENSION, ConnectionPool, Exchange

from .helpers import ONCE, connect, pool_of, settle, sockets, until
from .loopback import Loopback, LoopThread, hang, hold, raw

pytestmark = pytest.mark.anyio


class Pieces(httpx.AsyncByteStream):
    """A body that notes when it is closed."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self.is_closed = True


class Line(httpx.AsyncBaseTransport):
    """Stands in for one connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.carried = 0
        self.closed = 0
        self.failure: Exception | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.carried += 1
        if self.failure is not None:
            raise self.failure
        return httpx.Response(200, stream=Pieces(b"a", b"b"), request=request)

    async def aclose(self) -> None:
        self.closed += 1


class Lines:
    """Makes connections and remembers them."""

    def __init__(self) -> None:
        self.made: list[Line] = []

    def __call__(self) -> Line:
        line = Line(len(self.made))
        self.made.append(line)
        return line

    @property
    def closed(self) -> list[int]:
        return [line.number for line in self.made if line.closed]


def request(lane: Lane = Lane.CALL, max_idle: float = 60.0) -> httpx.Request:
    exchange = Exchange(lane, max_idle, lambda: None)
    return httpx.Request("GET", "http://server/", extensions={EXTENSION: exchange})


async def carry(pool: ConnectionPool, count: int = 1, lane: Lane = Lane.CALL) -> list[httpx.Response]:
    """Begin exchanges, which keep their connections busy until their answers are read or closed."""
    return [await pool.handle_async_request(request(lane)) for _ in range(count)]


async def read(*responses: httpx.Response) -> None:
    for response in responses:
        await response.aread()
        await response.aclose()


class Hours:
    """A clock turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("asyncassist._transport.pool.now", lambda: self.now)


async def test_the_connection_used_last_is_taken_first() -> None:
    """Of several unused connections the one that was used last carries the next request."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=10, max_streams=1)
    first, second, third = await carry(pool, 3)
    await read(second, third, first)

    for _ in range(3):
        await read(*await carry(pool))

    assert [4, 1, 1] == [line.carried for line in lines.made]
    assert (3, 3, 0) == (pool.connections, pool.idle, pool.waiting)


async def test_each_release_closes_two_expired_connections_from_the_cold_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst, unused connections go away two at a time, the longest unused first, as calls end."""
    lines, hours = Lines(), None
    pool = ConnectionPool(lines, max_connections=100, max_streams=1)
    responses = await carry(pool, 9)
    hours = Hours(monkeypatch)
    await read(*responses)
    hours.now += 61

    left: list[int] = []
    for _ in range(6):
        await read(*await carry(pool))
        left.append(pool.connections)

    assert [8, 6, 4, 2, 1, 1] == left
    assert list(range(9)) == lines.closed


async def test_a_connection_unused_for_too_long_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request takes no connection that was unused for longer than the request allows."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=10, max_streams=1)
    hours = Hours(monkeypatch)
    await read(*await carry(pool))
    hours.now += 2.5

    await read(await pool.handle_async_request(request(max_idle=2.0)))
    hours.now += 2.5
    await read(await pool.handle_async_request(request(max_idle=60.0)))

    assert [1, 2] == [line.carried for line in lines.made]
    assert 2 == pool.idle


async def test_a_new_connection_takes_the_place_of_the_coldest_when_the_pool_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fresh connection that would be one too many closes the longest unused one."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=2, max_streams=1)
    hours = Hours(monkeypatch)
    await read(*await carry(pool, 2))
    hours.now += 3

    (response,) = [await pool.handle_async_request(request(max_idle=2.0))]

    assert [0] == lines.closed
    assert 2 == pool.connections
    await read(response)
    assert 2 == pool.connections


async def test_streams_do_not_count_against_the_connections_of_calls() -> None:
    """Connections of streams come on top; a stream's connection is kept afterwards only while there is room."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=1, max_streams=2)
    streams = await carry(pool, 2, Lane.STREAM)
    (call,) = await carry(pool)
    assert 3 == pool.connections

    await read(*streams, call)

    assert 1 == pool.connections
    assert 2 == len(lines.closed)


async def test_a_connection_whose_answer_was_left_is_closed() -> None:
    """An answer closed before its end costs its connection, for nobody knows what is still to come on it."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=1, max_streams=1)

    (response,) = await carry(pool)
    body = response.stream
    assert isinstance(body, httpx.AsyncByteStream)
    await response.aclose()
    await body.aclose()  # again, which does nothing
    await read(*await carry(pool))

    assert [0] == lines.closed
    assert 2 == len(lines.made)
    assert 1 == pool.connections


async def test_a_connection_that_failed_is_closed_and_replaced() -> None:
    """A connection whose exchange failed is closed, and the next request gets another."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=1, max_streams=1)
    await read(*await carry(pool))
    lines.made[0].failure = httpx.ReadError("broken")

    with pytest.raises(httpx.ReadError):
        await carry(pool)
    await read(*await carry(pool))

    assert [0] == lines.closed
    assert (1, 0) == (pool.connections, pool.waiting)


async def test_a_connection_that_cannot_be_made_holds_no_place() -> None:
    """A failure to even make a connection gives the place in the queue back."""

    def refuse() -> httpx.AsyncBaseTransport:
        raise UsageError("no connections today")

    pool = ConnectionPool(refuse, max_connections=1, max_streams=1)
    for _ in range(3):
        with pytest.raises(UsageError, match="today"), anyio.fail_after(5):
            await carry(pool)

    assert (0, 0) == (pool.connections, pool.waiting)


@pytest.mark.parametrize("failure", [OSError("gone"), httpx.ReadError("gone"), anyio.ClosedResourceError()])
async def test_a_connection_that_cannot_be_closed_is_forgotten(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing a connection that is broken already is no error of anybody's call."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=1, max_streams=1)

    async def fail(self: Line) -> None:
        raise failure

    monkeypatch.setattr(Line, "aclose", fail)
    (response,) = await carry(pool)
    await response.aclose()

    assert 0 == pool.connections


async def test_a_connection_that_never_closes_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a connection is given up after a while; ninety such connections take no longer than one."""
    monkeypatch.setattr("asyncassist._transport.pool._CLOSE_SECONDS", 0.02)
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=100, max_streams=1)
    await read(*await carry(pool, 90))

    async def never(self: Line) -> None:
        self.closed += 1
        await anyio.sleep_forever()

    monkeypatch.setattr(Line, "aclose", never)
    with anyio.fail_after(1):
        await pool.aclose()

    assert list(range(90)) == lines.closed


async def test_closing_the_pool_when_cancelled_closes_every_connection(anyio_backend: str) -> None:
    """A pool whose closing is cancelled, by a scope or natively, has closed all its connections nevertheless."""
    for _ in range(2 if anyio_backend == "asyncio" else 1):
        lines = Lines()
        pool = ConnectionPool(lines, max_connections=5, max_streams=1)
        responses = await carry(pool, 5)
        await read(*responses[:3])

        if _ == 0:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await pool.aclose()
        else:
            for line in lines.made:
                line.aclose = slow_close(line)  # type: ignore[method-assign]
            task = asyncio.ensure_future(pool.aclose())
            await settle(2)
            task.cancel()
            await asyncio.wait([task])

        assert [0, 1, 2, 3, 4] == lines.closed
        for response in responses[3:]:
            await response.aclose()


def slow_close(line: Line) -> Any:
    async def aclose() -> None:
        await settle(3)
        line.closed += 1

    return aclose


async def test_a_request_of_a_plain_httpx_client_is_carried_too() -> None:
    """The pool is an ordinary httpx transport: a request that says nothing about itself is an ordinary call."""
    lines = Lines()
    pool = ConnectionPool(lines, max_connections=2, max_streams=1)
    async with httpx.AsyncClient(transport=pool) as client:
        await client.get("http://server/")
        await client.get("http://server/")
        await client.post("http://server/")

    assert [2, 1] == [line.carried for line in lines.made]


async def test_a_broken_exchange_costs_only_its_connection(server: Loopback) -> None:
    """On a real server: an answer that is no HTTP closes its connection, and the next call has a new one."""
    server.script.append(raw(b"SMTP/1.0 nothing of the kind\r\n\r\n", keep=True))
    async with connect(server, retry=ONCE) as client:
        with pytest.raises(APIConnectionError, match="broke"):
            await client.get_run("thread_1", "run_1")
        await until(lambda: server.open_now == 0)
        run = await client.get_run("thread_1", "run_1")

        assert "run_1" == run.id
        assert 1 == pool_of(client).connections
        assert 2 == server.opened


async def test_a_cancelled_exchange_costs_only_its_connection(server: Loopback) -> None:
    """On a real server: a cancelled call closes its connection at once, and the next call has a new one."""
    server.script.append(hang)
    async with connect(server, max_connections=1) as client:
        with anyio.move_on_after(5) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(client.get_run, "thread_1", "run_1")
                await until(lambda: server.requests)
                group.cancel_scope.cancel()
        assert not scope.cancelled_caught
        assert 0 == pool_of(client).connections
        await until(lambda: server.open_now == 0)

        await client.get_run("thread_1", "run_1")


async def test_what_is_left_on_a_connection_is_no_answer_to_the_next_request(server: Loopback) -> None:
    """Bytes sent beyond an answer, even a whole second answer, never become the answer of another call."""
    first = b'{"id": "run_1", "thread_id": "thread_1", "status": "completed"}'
    second = b'{"id": "run_of_somebody_else", "thread_id": "thread_2", "status": "completed"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    server.script.append(raw(head % len(first) + first + head % len(second) + second, keep=True))
    async with connect(server) as client:
        await client.get_run("thread_1", "run_1")
        await settle()
        run = await client.get_run("thread_1", "run_1")

        assert "run_1" == run.id


def test_one_client_serves_one_event_loop_after_the_other(loop_thread: LoopThread) -> None:
    """A client left open between two event loops works in the second, with connections of its own."""

    async def two_calls(client: AsyncClient) -> None:
        await client.get_run("thread_1", "run_1")
        await client.get_run("thread_1", "run_1")

    async def and_close(client: AsyncClient) -> None:
        await two_calls(client)
        await client.aclose()

    before = sockets()
    with Loopback(loop_thread) as server, warnings.catch_warnings():
        # The first loop ended with a connection open in it.
        warnings.simplefilter("ignore", ResourceWarning)
        for run in (asyncio.run, trio_run):
            client = connect(server)
            run(two_calls(client))
            run(and_close(client))
        client = connect(server)
        asyncio.run(two_calls(client))
        trio_run(and_close(client))

        assert 6 == server.opened
        gc.collect()
    assert before == sockets()


def trio_run(work: Any) -> None:
    async def main() -> None:
        await work

    trio.run(main)


def test_closing_in_another_event_loop_is_harmless(loop_thread: LoopThread) -> None:
    """A client whose event loop has ended can be closed in another one."""

    async def call(client: AsyncClient) -> None:
        await client.get_run("thread_1", "run_1")

    async def close(client: AsyncClient) -> None:
        await client.aclose()
        assert client.is_closed

    with Loopback(loop_thread) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        client = connect(server)
        asyncio.run(call(client))
        asyncio.run(close(client))
        assert 0 == pool_of(client).connections
        gc.collect()


def test_exchanges_left_open_in_an_ended_loop_hold_nothing(loop_thread: LoopThread) -> None:
    """An event loop that ended in the middle of an exchange leaves no place taken."""
    for run in (asyncio.run, trio_run):
        lines = Lines()
        pool = ConnectionPool(lines, max_connections=1, max_streams=1)

        async def begin(pool: ConnectionPool = pool) -> None:
            await carry(pool)

        async def call(pool: ConnectionPool = pool) -> None:
            with anyio.fail_after(5):
                await read(*await carry(pool))

        run(begin())
        run(call())

        assert (1, 0) == (pool.connections, pool.waiting)


def test_two_event_loops_at_once_are_refused(loop_thread: LoopThread) -> None:
    """A client in use in one event loop is refused in another one, in clear words, and goes on in the first."""
    with Loopback(loop_thread) as server:
        client = connect(server)
        server.script.append(hold())
        errors: list[BaseException] = []

        async def second() -> None:
            with pytest.raises(UsageError, match="another event loop") as caught:
                await client.get_run("thread_1", "run_1")
            errors.append(caught.value)

        async def first() -> None:
            async with client, anyio.create_task_group() as group:
                group.start_soon(client.get_run, "thread_1", "run_1")
                await until(lambda: server.requests)
                thread = threading.Thread(target=asyncio.run, args=(second(),))
                thread.start()
                await anyio.to_thread.run_sync(thread.join)
                server.release()

        asyncio.run(first())

        assert 1 == len(errors)
        assert 1 == len(server.requests)


def test_a_pool_refuses_two_event_loops_at_once() -> None:
    """The pool itself refuses a second event loop while it is in use in the first."""
    pool = ConnectionPool(Lines(), max_connections=2, max_streams=1)

    async def first() -> None:
        responses = await carry(pool)
        thread = threading.Thread(target=asyncio.run, args=(second(),))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        await read(*responses, *await carry(pool))

    async def second() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await carry(pool)

    asyncio.run(first())
    assert (2, 0) == (pool.idle, pool.waiting)


async def test_the_running_event_loop_is_known() -> None:
    """The running event loop is the same object as long as it runs, and is not over."""
    assert current_loop() is current_loop()
    assert not is_over(current_loop())


def test_an_ended_event_loop_is_over() -> None:
    """An event loop that has ended is known to be over, on asyncio and on trio."""

    async def running() -> object:
        return current_loop()

    assert is_over(asyncio.run(running()))
    assert is_over(trio.run(running))
    assert not is_over(None)
