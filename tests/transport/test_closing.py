"""The end of a client: what is under way, what comes after, and what is left."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import Counter

import anyio
import httpx
import pytest

from asyncassist import AsyncAssistError, AsyncClient, ClientClosedError
from asyncassist._transport import sender

from .helpers import KEY, Choice, connect, pool_of, settle, until
from .loopback import RUN, Loopback, answer, hang, hold

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


async def test_use_after_close(server: Loopback, transport: Choice) -> None:
    """Every call of a closed client, or of a copy of it, says that it is closed; nothing is sent."""
    async with connect(server, transport=transport) as client:
        copy = client.with_options(timeout=5)
        before = client.is_closed, copy.is_closed

    assert (False, False) == before
    assert (True, True) == (client.is_closed, copy.is_closed)
    for call in (
        lambda: client.get_run("thread_1", "run_1"),
        lambda: copy.create_thread(),
        lambda: client.cancel_run("thread_1", "run_1"),
        lambda: client.list_runs("thread_1").collect(),
        lambda: client.with_raw_response.get_run("thread_1", "run_1"),
        lambda: client.wait_for_run("thread_1", "run_1"),
    ):
        with pytest.raises(ClientClosedError, match="closed; create a new one"):
            await call()
    assert [] == server.requests
    assert repr(client) == f"<AsyncClient {server.url} closed>"


async def test_closing_a_copy_closes_all(server: Loopback, transport: Choice) -> None:
    """A client and its copies have one life."""
    client = connect(server, transport=transport)
    await client.with_options(timeout=5).aclose()

    assert client.is_closed


async def test_twenty_calls_in_flight(server: Loopback, transport: Choice) -> None:
    """Calls under way, and those that wait for a connection, end with ClientClosedError when the client is closed."""
    server.default = hang
    client = connect(server, transport=transport, max_connections=10)
    ended: list[BaseException] = []

    async def call(number: int) -> None:
        try:
            if number % 2:
                await client.get_run("thread_1", "run_1")
            else:
                await client.create_run("thread_1", assistant_id="asst_1")
        except AsyncAssistError as error:
            ended.append(error)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(call, number)
        await until(lambda: len(server.requests) == 9)
        with anyio.fail_after(3):
            await client.aclose()

    assert {ClientClosedError: 20} == Counter(map(type, ended))
    assert all("closed" in str(error) for error in ended)
    assert (0, 0) == (pool_of(client).connections, pool_of(client).waiting)
    await until(lambda: server.open_now == 0)


async def test_cancels_on_their_way_may_finish(server: Loopback, transport: Choice) -> None:
    """Closing waits for a cancel_run that is under way, while everything else ends at once."""
    server.default = hold()
    client = connect(server, transport=transport)
    ended: list[str] = []

    async def cancel() -> None:
        run = await client.cancel_run("thread_1", "run_1")
        ended.append(f"cancelled {run.id}")

    async def read() -> None:
        with pytest.raises(ClientClosedError):
            await client.get_run("thread_1", "run_2")
        ended.append("read")
        # Even now a cancel may begin.
        await client.cancel_run("thread_1", "run_2")
        ended.append("cancelled late")

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        group.start_soon(read)
        await until(lambda: len(server.requests) == 2)
        group.start_soon(client.aclose)
        await until(lambda: len(server.requests) == 3)
        assert ["read"] == ended
        server.release()

    assert ["cancelled late", "cancelled run_1", "read"] == sorted(ended)
    with pytest.raises(ClientClosedError):
        await client.cancel_run("thread_1", "run_1")


async def test_a_cancel_tried_again_may_finish_too(server: Loopback, transport: Choice) -> None:
    """A cancel that failed once while the client is closing is sent again before the client is closed."""
    server.script.extend([hold(answer({}, 503)), answer(RUN)])
    client = connect(server, transport=transport)
    async with anyio.create_task_group() as group:
        group.start_soon(client.cancel_run, "thread_1", "run_1")
        await until(lambda: server.requests)
        group.start_soon(client.aclose)
        await settle()
        server.release()

    assert 2 == len(server.requests)


async def test_closing_is_bounded(server: Loopback, transport: Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel the server never answers delays closing for a while only."""
    monkeypatch.setattr(sender, "_CANCEL_SECONDS", 0.05)
    server.default = hang
    client = connect(server, transport=transport)

    async def cancel() -> None:
        with pytest.raises(ClientClosedError):
            await client.cancel_run("thread_1", "run_1")

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        await until(lambda: server.requests)
        with anyio.fail_after(2):
            await client.aclose()

    await until(lambda: server.open_now == 0)


async def test_closing_twice(server: Loopback, transport: Choice) -> None:
    """Closing again, later or at the same time, is harmless and takes no longer."""
    server.default = hold()
    client = connect(server, transport=transport)
    async with anyio.create_task_group() as group:
        group.start_soon(client.cancel_run, "thread_1", "run_1")
        await until(lambda: server.requests)
        with anyio.fail_after(1.5):
            async with anyio.create_task_group() as closing:
                for _ in range(3):
                    closing.start_soon(client.aclose)
                await settle()
                server.release()
    await client.aclose()

    assert client.is_closed


async def test_closing_in_a_cancelled_scope(server: Loopback, transport: Choice) -> None:
    """A client closed in a cancelled scope is closed: connections are gone, calls have ended."""
    server.script.append(answer(RUN))
    server.default = hang
    client = connect(server, transport=transport)
    await client.get_run("thread_1", "run_1")
    async with anyio.create_task_group() as group:
        group.start_soon(expect_closed, client)
        await until(lambda: len(server.requests) == 2)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.aclose()

    assert 0 == pool_of(client).connections
    await until(lambda: server.open_now == 0)


async def expect_closed(client: AsyncClient) -> None:
    with pytest.raises(ClientClosedError):
        await client.get_run("thread_1", "run_1")


async def test_closing_natively_cancelled(server: Loopback, transport: Choice, anyio_backend: str) -> None:
    """Wherever ``aclose`` is natively cancelled, the client ends up closed and without connections."""
    if anyio_backend != "asyncio":
        return  # trio cancels by scopes only
    for steps in range(1, 12):
        server.script.extend([answer(RUN), hang, hang])
        client = connect(server, transport=transport)
        await client.get_run("thread_1", "run_1")
        before = len(server.requests)
        calls = [
            asyncio.ensure_future(client.cancel_run("thread_1", "run_1")),
            asyncio.ensure_future(client.get_run("thread_1", "run_1")),
        ]
        await until(lambda before=before: len(server.requests) == before + 2)  # type: ignore[misc]
        task = asyncio.ensure_future(client.aclose())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task, *calls], timeout=5)

        assert client.is_closed
        assert all(isinstance(call.exception(), ClientClosedError | AsyncAssistError) for call in calls)
        assert 0 == pool_of(client).connections
        await until(lambda: server.open_now == 0)


async def test_a_connection_that_breaks_while_closing() -> None:
    """A call whose connection breaks while the client is closed ends with ClientClosedError, not with the break."""
    may_break = anyio.Event()

    async def stubborn(request: httpx.Request) -> httpx.Response:
        with anyio.CancelScope(shield=True):
            await may_break.wait()
        raise httpx.ReadError("cut")

    client = AsyncClient(api_key=KEY, base_url="http://server.example", transport=httpx.MockTransport(stubborn))
    async with anyio.create_task_group() as group:
        group.start_soon(expect_closed, client)
        await settle()
        group.start_soon(client.aclose)
        await settle()
        may_break.set()


async def test_closing_with_nothing_done(server: Loopback, transport: Choice) -> None:
    """A client that was never used closes at once."""
    client = connect(server, transport=transport)
    await client.aclose()

    assert client.is_closed
    assert 0 == server.opened


async def test_an_error_inside_closes_too(server: Loopback, transport: Choice) -> None:
    """Leaving ``async with`` by an error closes the client and lets the error pass."""
    with pytest.raises(ZeroDivisionError):
        async with connect(server, transport=transport) as client:
            await client.get_run("thread_1", "run_1")
            raise ZeroDivisionError

    assert client.is_closed
    await until(lambda: server.open_now == 0)


async def test_waiting_calls_of_a_plain_httpx_client_end_too(server: Loopback, transport: Choice) -> None:
    """A request that waits in the pool's queue when the pool is closed ends with ClientClosedError."""
    server.default = hold()
    client = connect(server, transport=transport, max_connections=1)
    pool = pool_of(client)
    ended: list[str] = []

    async def request() -> None:
        try:
            await pool.handle_async_request(httpx.Request("GET", server.url, headers={"host": "x"}))
        except ClientClosedError:
            ended.append("closed")
        except Exception as error:
            ended.append(type(error).__name__)

    async with anyio.create_task_group() as group:
        group.start_soon(request)
        await until(lambda: server.requests)
        group.start_soon(request)
        await until(lambda: pool.waiting == 1)
        await pool.aclose()

    assert 2 == len(ended)
    assert "closed" == ended[-1]
    await client.aclose()
    assert KEY not in str(server.requests)
