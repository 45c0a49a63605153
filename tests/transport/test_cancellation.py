"""Calls cancelled at every possible and at random moments: what is left, and whether the client still works."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import AsyncAssistError, AsyncClient
from asyncassist._transport.bodies import leave

from .cancelling import cancelled_at, styles
from .helpers import Choice, age, connect, pool_of, settle, sockets, until
from .loopback import RUN, Behaviour, Connection, Loopback, LoopThread, answer, chunked, hang, head, hold, tunnel
from .socks import SocksProxy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


def check_clean(client: AsyncClient) -> None:
    pool = pool_of(client)
    admission = pool._admission
    assert {} == pool._busy
    assert (0, 0, 0, 0) == (pool._busy_calls, admission.in_use, admission._polls, admission.streams)
    assert 0 == pool.waiting
    assert {} == client._sender._guards._open


async def fresh(client: AsyncClient) -> None:
    """Every call has to open a connection."""
    pool_of(client)._max_idle = -1


async def reused(client: AsyncClient) -> None:
    """Every call finds a connection."""
    await client.get_run("thread_1", "run_1")


async def crowded(client: AsyncClient) -> None:
    """Every call has to close connections that have been unused for too long, and one that makes room."""
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(client.get_run, "thread_1", "run_1")
    age(client, 100)
    assert pool_of(client).idle


SITUATIONS = {"fresh": fresh, "reused": reused, "crowded": crowded}
CALLS: dict[str, Callable[[AsyncClient], Awaitable[object]]] = {
    "get": lambda client: client.get_run("thread_1", "run_1"),
    "post": lambda client: client.create_run("thread_1", assistant_id="asst_1"),
}


async def cancel_everywhere(client: AsyncClient, prepare: Callable[[AsyncClient], Awaitable[None]], call: str) -> int:
    """Cancel a call at each of its suspensions, in every style; say how many there were."""
    most = 0
    for style in styles():
        number = 0
        while True:
            await prepare(client)
            reached = await cancelled_at(number, lambda: CALLS[call](client), style)
            await settle(3)
            check_clean(client)
            if not reached:
                break
            number += 1
            assert number < 200
        most = max(most, number)
    return most


async def still_works(client: AsyncClient) -> None:
    with anyio.fail_after(10):
        for _ in range(5):
            await client.get_run("thread_1", "run_1")
        await client.create_run("thread_1", assistant_id="asst_1")
    check_clean(client)


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("situation", list(SITUATIONS))
async def test_cancelled_at_every_await(server: Loopback, transport: Choice, situation: str, call: str) -> None:
    """Cancelled at any of its awaits, by a scope or natively, a call leaves no place, connection or scope behind."""
    server.default = chunked(b'{"id": "run_1", ', b'"thread_id": "t", ', b'"status": "queued"}')
    async with connect(server, transport=transport, max_connections=5) as client:
        most = await cancel_everywhere(client, SITUATIONS[situation], call)
        pool_of(client)._max_idle = 60
        await still_works(client)

        assert most >= 1
        await until(lambda: server.open_now == pool_of(client).idle)


@pytest.mark.parametrize("situation", ["fresh", "reused"])
async def test_cancelled_at_every_await_over_tls(
    tls_server: Loopback, trusting: ssl.SSLContext, transport: Choice, situation: str
) -> None:
    """The same with TLS: no half made connection is left."""
    async with connect(tls_server, transport=transport, verify=trusting, max_connections=5) as client:
        most = await cancel_everywhere(client, SITUATIONS[situation], "get")
        pool_of(client)._max_idle = 60
        await still_works(client)

        assert most >= 1
        await until(lambda: tls_server.open_now == pool_of(client).idle)


async def test_cancelled_at_every_await_through_a_proxy(
    tls_server: Loopback, loop_thread: LoopThread, trusting: ssl.SSLContext, transport: Choice
) -> None:
    """The same through a tunnel."""
    with Loopback(loop_thread) as proxy:
        proxy.default = tunnel(tls_server.port)
        async with connect(
            tls_server, proxy=proxy.origin, transport=transport, verify=trusting, max_connections=5
        ) as client:
            await cancel_everywhere(client, fresh, "get")
            pool_of(client)._max_idle = 60
            await still_works(client)

            await until(lambda: tls_server.open_now == pool_of(client).idle)


async def test_cancelled_at_every_await_through_a_socks_proxy(
    tls_server: Loopback, loop_thread: LoopThread, trusting: ssl.SSLContext, transport: Choice
) -> None:
    """The same through a SOCKS proxy."""
    if transport == "aiohttp":
        pytest.skip("aiohttp uses no SOCKS proxies")
    with SocksProxy(loop_thread, tls_server.port) as proxy:
        route = f"socks5://user:password@127.0.0.1:{proxy.port}"
        async with connect(tls_server, proxy=route, verify=trusting, max_connections=5) as client:
            most = await cancel_everywhere(client, fresh, "get")
            pool_of(client)._max_idle = 60
            await still_works(client)

            await until(lambda: tls_server.open_now == pool_of(client).idle)
        await until(lambda: proxy.open_now == 0)

    assert most > 5


async def test_cancelled_with_an_error_answer(server: Loopback, transport: Choice) -> None:
    """The same with an answer that is only read in part."""
    server.default = answer(b"x" * 100_000, 200, {"content-encoding": "br"})
    async with connect(server, transport=transport, max_connections=5) as client:
        await cancel_everywhere(client, fresh, "get")
        server.default = answer(RUN)
        await still_works(client)


async def test_cancelled_with_a_dropped_connection(server: Loopback, transport: Choice) -> None:
    """The same where the server drops every second connection."""

    async def moody(connection: Connection) -> bool:
        return connection.number % 2 == 0 and await answer(RUN)(connection)

    server.default = moody
    async with connect(server, transport=transport, max_connections=5) as client:
        await cancel_everywhere(client, fresh, "get")
        server.default = answer(RUN)
        await still_works(client)


async def test_cancelled_in_the_queue(server: Loopback, transport: Choice) -> None:
    """A call cancelled while it waits for a connection, or just as it gets one, passes its turn on."""
    server.default = hold()
    async with connect(server, transport=transport, max_connections=1) as client:
        for style in styles():
            server.default = hold()
            server._released.clear()
            before = len(server.requests)
            async with anyio.create_task_group() as group:
                group.start_soon(client.get_run, "thread_1", "run_1")
                await until(lambda before=before: len(server.requests) == before + 1)  # type: ignore[misc]

                async def cancelled(style: str = style) -> None:
                    assert await cancelled_at(0, lambda: client.get_run("thread_1", "run_2"), style)

                group.start_soon(cancelled)
                await until(lambda style=style: pool_of(client).waiting == 1 or style != "native, late")  # type: ignore[misc]
                group.start_soon(client.get_run, "thread_1", "run_3")
                await settle()
                server.release()
            check_clean(client)
            targets = [request.target.rpartition("/")[2] for request in server.requests[before:]]
            assert ["run_1", "run_3"] == targets


async def slow(connection: Connection) -> bool:
    """Answer after a while, in two pieces."""
    body = b'{"id": "run_1", "thread_id": "thread_1", "status": "queued"}'
    await asyncio.sleep(CHANCE.uniform(0, 0.008))
    await connection.send(head(200, length=len(body)) + body[:20])
    await asyncio.sleep(CHANCE.uniform(0, 0.004))
    await connection.send(body[20:])
    return CHANCE.random() < 0.9


CHANCE = random.Random(5)


@pytest.mark.parametrize("style", ["native", "scope"])
async def test_random_cancels(server: Loopback, transport: Choice, style: str, anyio_backend: str) -> None:
    """Hundreds of calls cancelled at random on a pool of ten: no place is lost, and the next five calls work."""
    if style == "native" and anyio_backend != "asyncio":
        style = "scope"  # trio knows nothing else
    server.default = slow
    chance = random.Random(7)
    finished = cancelled = 0
    before = sockets()

    async with connect(server, transport=transport, max_connections=10) as client:
        calls = [
            lambda: client.get_run("thread_1", "run_1"),
            lambda: client.create_run("thread_1", assistant_id="asst_1"),
            lambda: client.cancel_run("thread_1", "run_1"),
            lambda: client.wait_for_run("thread_1", "run_1", timeout=0.01, on_cancel="leave"),
        ]

        async def caller() -> None:
            nonlocal finished, cancelled
            for _ in range(20):
                call = chance.choice(calls)
                seconds = chance.uniform(0, 0.02) if chance.random() < 0.8 else 30
                if await cancelled_after(seconds, call, style):
                    cancelled += 1
                else:
                    finished += 1

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(caller)

        await settle()
        check_clean(client)
        server.default = answer(RUN)
        await still_works(client)
        assert pool_of(client).connections <= 10
        await until(lambda: server.open_now <= 10)
    await until(lambda: server.open_now == 0 and sockets() <= before)

    assert finished + cancelled == 400
    assert min(finished, cancelled) > 20


async def cancelled_after(seconds: float, call: Callable[[], Awaitable[object]], style: str) -> bool:
    """Make a call and cancel it after a while; say whether it was."""
    if style == "scope":
        with anyio.move_on_after(seconds) as scope, contextlib.suppress(AsyncAssistError):
            await call()
        return scope.cancelled_caught
    task = asyncio.ensure_future(call())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        error = task.exception()
        assert error is None or isinstance(error, AsyncAssistError)
    return task.cancelled()


@pytest.mark.parametrize("behaviour", [hang, slow], ids=["hang", "slow"])
async def test_a_group_of_calls_cancelled_at_once(server: Loopback, transport: Choice, behaviour: Behaviour) -> None:
    """A task group with calls in all stages, cancelled as a whole, leaves the client as good as new."""
    server.default = behaviour
    async with connect(server, transport=transport, max_connections=10) as client:
        for _ in range(3):
            async with anyio.create_task_group() as group:
                for _ in range(30):
                    group.start_soon(client.get_run, "thread_1", "run_1")
                    group.start_soon(client.cancel_run, "thread_1", "run_1")
                await anyio.sleep(0.02)
                group.cancel_scope.cancel()
            check_clean(client)
        server.default = answer(RUN)
        await still_works(client)


async def test_a_stream_left_early_is_given_back(server: Loopback, transport: Choice) -> None:
    """An answer that is left in the middle gives its place back, cancelled or not."""
    server.default = chunked(*[b"x" * 1000] * 50)
    async with connect(server, transport=transport, max_connections=2) as client:
        pool = pool_of(client)
        outgoing = client._sender.carrier.http
        for is_cancelled in (False, True):
            with anyio.CancelScope() as scope:
                response = await outgoing.send(outgoing.build_request("GET", server.url), stream=True)
                pieces: AsyncIterator[bytes] = response.aiter_raw()
                await anext(pieces)
                if is_cancelled:
                    scope.cancel()
                await response.aclose()
                await leave(pieces)
                await checkpoint()
            assert {} == pool._busy
            assert 0 == pool._admission.in_use
