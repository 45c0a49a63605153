"""Timeouts: which limit ends what, what the error says, and what is left."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import anyio
import pytest

from asyncassist import APIStatusError, APITimeoutError, AsyncClient, RetryPolicy, Timeout

from .helpers import ONCE, Choice, connect, paced, pool_of, until
from .loopback import RUN, Behaviour, Loopback, answer, chunked, drip, hang, head, raw

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


async def half_then_hang(connection: object) -> bool:
    await raw(head(200, length=1000) + b"{", keep=True)(connection)  # type: ignore[arg-type]
    return await hang(connection)  # type: ignore[arg-type]


SLOW: dict[str, Behaviour] = {
    "no answer": hang,
    "half an answer": half_then_hang,
    "a slow head": drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000, pause=0.01),
    "endless 1xx": drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, pause=0.001),
}


@pytest.mark.parametrize("behaviour", list(SLOW))
async def test_an_attempt_is_limited(server: Loopback, transport: Choice, behaviour: str) -> None:
    """An attempt ends with its timeout wherever the server dawdles, costs its connection and is tried again."""
    server.script.append(SLOW[behaviour])
    async with connect(server, transport=transport, timeout=Timeout(attempt=0.1, total=30)) as client:
        naps = paced(client)
        run = await client.get_run("thread_1", "run_1")

        assert "run_1" == run.id
        assert 1 == pool_of(client).connections
    assert [0.5] == naps.taken
    assert 2 == server.opened


async def test_a_create_that_timed_out_is_not_sent_again(server: Loopback, transport: Choice) -> None:
    """After an attempt's timeout nobody knows whether a create was done: it is not sent again; the error says so."""
    server.default = hang
    async with connect(server, transport=transport, timeout=Timeout(attempt=0.1)) as client:
        with pytest.raises(APITimeoutError, match="no complete answer within the attempt timeout") as caught:
            await client.create_run("thread_1", assistant_id="asst_1")

        assert (0, 0) == (pool_of(client).connections, pool_of(client).waiting)
    error = caught.value
    assert ("attempt", True, 1) == (error.phase, error.sent, error.attempts)
    assert ("POST", "/threads/thread_1/runs") == (error.method, error.path)
    assert isinstance(error, TimeoutError)


async def test_reads_give_up_in_the_end(server: Loopback, transport: Choice) -> None:
    """A read whose every attempt times out raises the last of the timeouts."""
    server.default = hang
    async with connect(
        server, transport=transport, timeout=Timeout(attempt=0.05), retry=RetryPolicy(attempts=2)
    ) as client:
        with pytest.raises(APITimeoutError) as caught:
            await client.get_run("thread_1", "run_1")

    assert ("attempt", 2) == (caught.value.phase, caught.value.attempts)
    assert 2 == len(server.requests)


async def test_the_total_is_limited(server: Loopback, transport: Choice) -> None:
    """The total timeout ends a call in the middle of an attempt; nothing is tried again."""
    server.default = hang
    async with connect(server, transport=transport, timeout=0.1) as client:
        with pytest.raises(APITimeoutError, match="within the total timeout") as caught:
            await client.get_run("thread_1", "run_1")

        assert 0 == pool_of(client).connections
    assert ("total", 1) == (caught.value.phase, caught.value.attempts)


async def test_a_pause_beyond_the_total_is_not_begun(server: Loopback, transport: Choice) -> None:
    """An error is raised at once when the next attempt would come after the total timeout."""
    server.default = answer({}, 503, {"retry-after": "30"})
    async with connect(server, transport=transport, timeout=20) as client:
        naps = paced(client)
        with pytest.raises(APIStatusError) as caught:
            await client.get_run("thread_1", "run_1")

    assert [] == naps.taken
    assert (30.0, 1) == (caught.value.retry_after, caught.value.attempts)


async def test_no_limits_at_all(server: Loopback, transport: Choice) -> None:
    """``timeout=None`` sets no limit."""
    server.script.append(chunked(b'{"id": "run_1", ', b'"thread_id": "t", "status": "queued"}'))
    async with connect(server, transport=transport, timeout=None) as client:
        run = await client.get_run("thread_1", "run_1")

    assert "queued" == run.status


async def test_a_connection_that_is_never_accepted(nothing_left: None, transport: Choice) -> None:
    """A host that does not react to connecting runs into the connect timeout; nothing was sent: a create may go on."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):  # the queue of connections to accept is full then
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        client = AsyncClient(
            api_key="key-of-tests",
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1",
            timeout=Timeout(connect=0.1),
            retry=RetryPolicy(attempts=2),
            transport=transport,
        )
        paced(client)
        async with client:
            with pytest.raises(APITimeoutError, match="no connection to http://127.0.0.1.* in time") as caught:
                await client.create_run("thread_1", assistant_id="asst_1")

    assert ("connect", False, 2) == (caught.value.phase, caught.value.sent, caught.value.attempts)


async def test_a_key_that_never_comes(server: Loopback, transport: Choice) -> None:
    """The function given as ``api_key`` is limited by the total timeout, and the error names it."""

    async def key() -> str:
        await anyio.sleep_forever()
        raise AssertionError

    async with connect(server, transport=transport, timeout=0.05, api_key=key) as client:
        with pytest.raises(APITimeoutError, match="function given as api_key") as caught:
            await client.create_run("thread_1", assistant_id="asst_1")

    assert ("total", False) == (caught.value.phase, caught.value.sent)
    assert [] == server.requests


async def test_the_attempt_begins_after_the_key(server: Loopback, transport: Choice) -> None:
    """Fetching the key is not counted into the attempt."""

    async def key() -> str:
        await anyio.sleep(0.15)
        return "key-of-tests"

    async with connect(server, transport=transport, timeout=Timeout(attempt=0.1), api_key=key, retry=ONCE) as client:
        assert "run_1" == (await client.get_run("thread_1", "run_1")).id


@pytest.mark.parametrize("call", ["get", "create"])
async def test_one_slow_call_does_not_hurt_the_others(server: Loopback, transport: Choice, call: str) -> None:
    """While one call times out, others go on over their own connections."""
    calls: dict[str, Callable[[AsyncClient], Awaitable[object]]] = {
        "get": lambda client: client.get_run("thread_1", "slow"),
        "create": lambda client: client.create_run("slow", assistant_id="asst_1"),
    }
    server.script.append(hang)
    server.default = answer(RUN)
    async with connect(
        server, transport=transport, timeout=Timeout(attempt=0.1), retry=ONCE, max_connections=2
    ) as client:
        async with anyio.create_task_group() as group:

            async def slow() -> None:
                with pytest.raises(APITimeoutError):
                    await calls[call](client)

            group.start_soon(slow)
            await until(lambda: server.requests)
            for _ in range(10):
                await client.with_options(timeout=30, retry=RetryPolicy()).get_run("thread_1", "run_1")

        assert 0 == pool_of(client).waiting
