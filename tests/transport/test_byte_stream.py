"""Answers that come bit by bit: read, given up, closed; compressed, cut and silent ones."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    BadRequestError,
    ClientClosedError,
    DecodeError,
    Timeout,
)
from asyncassist._transport.byte_stream import ByteStream
from asyncassist._wire.requests import Kind, request_for

from .helpers import KEY, Choice, pool_of, until
from .loopback import Loopback, answer, chunked, drop, hang, head, hold, raw

pytestmark = pytest.mark.anyio
REQUEST = request_for("POST /threads/{thread_id}/runs", "thread_1", body={"stream": True})


@pytest.fixture(params=[None, "aiohttp"])
def transport(request: pytest.FixtureRequest, anyio_backend_name: str) -> Choice:
    """What to give as ``transport=``."""
    if request.param == "aiohttp" and anyio_backend_name == "trio":
        pytest.skip("aiohttp needs asyncio")
    choice: Choice = request.param
    return choice


def connect(server: Loopback, transport: Choice = None, **options: Any) -> AsyncClient:
    return AsyncClient(api_key=KEY, base_url=server.url, transport=transport, **options)


async def read_all(stream: ByteStream) -> bytes:
    data = b""
    while piece := await stream.read():
        data += piece
    return data


async def say_and_hang(connection: Any) -> bool:
    await connection.send(head(200, [("transfer-encoding", "chunked")]) + b"4\r\nsome\r\n")
    return await hang(connection)


async def test_what_is_asked_for(server: Loopback, transport: Choice) -> None:
    """A stream is asked for with both types a server may want to see, and without compression."""
    server.default = chunked(b"a", b"b", headers={"x-request-id": f"id {KEY}"})
    async with connect(server, transport) as client:
        stream = await client._open(REQUEST)
        assert (stream.status, await read_all(stream), await stream.read()) == (200, b"ab", b"")
        assert stream.request_id is not None
        assert KEY not in stream.request_id
        await stream.aclose()
        await stream.aclose()
        assert not client._sender._streams
    received = server.requests[0]
    assert received.header("accept") == "text/event-stream, application/json"
    assert received.header("accept-encoding") == "identity"
    assert received.json == {"stream": True}


async def test_pieces_come_when_they_are_sent(server: Loopback, transport: Choice) -> None:
    """What the server has sent is read while it holds back the rest."""
    first = head(200, [("transfer-encoding", "chunked")]) + b"5\r\nfirst\r\n"

    async def behave(connection: Any) -> bool:
        await connection.send(first)
        return await hold(raw(b"4\r\nrest\r\n0\r\n\r\n", keep=True))(connection)

    server.default = behave
    async with connect(server, transport) as client:
        stream = await client._open(REQUEST)
        with anyio.fail_after(5):
            assert await stream.read() == b"first"
            server.release()
            assert await read_all(stream) == b"rest"
        await stream.aclose()
        (await client._open(REQUEST)).headers  # noqa: B018 - the connection is used again
        assert server.opened == 1
        await client.aclose()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_bytes(server: Loopback, encoding: str) -> None:
    """A compressed body is inflated as it comes, also where a piece of it gives nothing yet."""
    text = b"event: x\n" * 5000
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    data = packer.compress(text) + packer.flush()
    server.default = chunked(
        *[data[at : at + 3] for at in range(0, len(data), 3)], headers={"content-encoding": encoding}
    )
    async with connect(server) as client:
        stream = await client._open(REQUEST)
        assert await read_all(stream) == text
        await stream.aclose()
    assert server.opened == 1


async def test_compression_that_is_none(server: Loopback) -> None:
    """Bytes that are not compressed as announced are a DecodeError; an encoding nobody asked for is one at once."""
    server.default = chunked(b"plain", headers={"content-encoding": "gzip"})
    async with connect(server) as client:
        stream = await client._open(REQUEST)
        with pytest.raises(DecodeError):
            await stream.read()
        await stream.aclose()
        server.default = chunked(b"plain", headers={"content-encoding": "zstd"})
        with pytest.raises(DecodeError):
            await client._open(REQUEST)
        assert not pool_of(client)._busy
        assert not client._sender._streams


async def test_a_cut_body(server: Loopback, transport: Choice) -> None:
    """A body that breaks is an error behind what came of it, and again at each further read."""
    server.default = chunked(b"some", ended=False)
    async with connect(server, transport) as client:
        stream = await client._open(REQUEST)
        assert await stream.read() == b"some"
        for _ in range(2):
            with pytest.raises(APIConnectionError):
                await stream.read()
        await stream.aclose()


async def test_cancels_go_before_closing(server: Loopback, transport: Choice) -> None:
    """While a cancel waits for a connection, a stream that is left waits with closing its own."""
    server.script.extend([say_and_hang, hold(), hold()])
    cancel = request_for("POST /threads/{thread_id}/runs/{run_id}/cancel", "thread_1", "run_1", kind=Kind.CANCEL)
    async with connect(server, transport, max_connections=1) as client, anyio.create_task_group() as group:
        stream = await client._open(REQUEST)
        assert await stream.read() == b"some"
        pool = pool_of(client)
        group.start_soon(client._send, cancel)
        group.start_soon(client._send, cancel)
        await until(lambda: pool.waiting == 1)

        group.start_soon(stream.aclose)
        await anyio.sleep(0.05)
        assert 2 == pool.connections
        server.release()
        await until(lambda: pool.connections == 1)


async def test_a_silent_body(server: Loopback, transport: Choice) -> None:
    """A server that says nothing for longer than ``Timeout(idle=)`` counts as gone."""
    server.default = say_and_hang
    async with connect(server, transport, timeout=Timeout(idle=0.05)) as client:
        stream = await client._open(REQUEST)
        assert await stream.read() == b"some"
        with pytest.raises(APITimeoutError):
            await stream.read()
        await stream.aclose()


async def test_no_stream_is_opened(server: Loopback, transport: Choice) -> None:
    """A refusal and a lost answer are the errors they are for every call; nothing is held."""
    server.script.extend([answer({"error": {"message": "no"}}, 400), drop()])
    async with connect(server, transport) as client:
        with pytest.raises(BadRequestError):
            await client._open(REQUEST)
        with pytest.raises(APIConnectionError):
            await client._open(REQUEST)
        assert not client._sender._streams


async def test_a_read_that_is_cancelled(server: Loopback, transport: Choice) -> None:
    """After a read that was cancelled the stream is broken: it never passes off a gap as an end."""
    server.default = chunked(b"some", ended=False)

    async def behave(connection: Any) -> bool:
        await connection.send(head(200, [("transfer-encoding", "chunked")]) + b"4\r\nsome\r\n")
        return await hang(connection)

    server.default = behave
    async with connect(server, transport) as client:
        stream = await client._open(REQUEST)
        await stream.read()
        with anyio.move_on_after(0.01):
            await stream.read()
        for _ in range(2):
            with pytest.raises(APIConnectionError):
                await stream.read()
        await stream.aclose()


async def test_draining(server: Loopback) -> None:
    """The end of a body that is due is waited for, so that the connection can be used again; else it is closed."""
    server.default = chunked(b"some")
    async with connect(server) as client:
        stream = await client._open(REQUEST)
        await stream.read()
        await stream.drain()
        await stream.aclose()
        assert pool_of(client).idle == 1

        async def behave(connection: Any) -> bool:
            await connection.send(head(200, [("transfer-encoding", "chunked")]) + b"4\r\nsome\r\n")
            return await hang(connection)

        server.default = behave
        stream = await client._open(REQUEST)
        await stream.read()
        await stream.drain()
        await stream.aclose()
        assert pool_of(client).connections == 0


async def test_closed_under_a_reader(server: Loopback, transport: Choice) -> None:
    """Closing the client, or the stream, while another task reads: that task gets an error, not an end."""
    for close_client in (True, False):

        async def behave(connection: Any) -> bool:
            await connection.send(head(200, [("connection", "close")]) + b"some")  # ends when its connection does
            return await hang(connection)

        server.default = behave
        client = connect(server, transport)
        stream = await client._open(REQUEST)
        await stream.read()
        failures: list[Exception] = []

        async def reading(stream: ByteStream = stream, failures: list[Exception] = failures) -> None:
            try:
                await stream.read()
            except Exception as error:
                failures.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(reading)
            for _ in range(10):
                await checkpoint()
            await (client.aclose() if close_client else stream.aclose())
            with anyio.fail_after(5):
                await until(lambda: failures)  # noqa: B023
        assert isinstance(failures[0], ClientClosedError if close_client else APIConnectionError)
        with pytest.raises((ClientClosedError, APIConnectionError)):
            await stream.read()
        await client.aclose()


class _Failing(httpx.AsyncByteStream):
    """A body whose close fails, as one of another event loop does."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        raise self._failure

    async def aclose(self) -> None:
        raise self._failure


@pytest.mark.parametrize("failure", [RuntimeError("Event loop is closed"), httpx.CloseError("broken")])
async def test_a_close_that_fails_is_none(failure: Exception) -> None:
    """What cannot be closed any more is let go; what reading raises is an error of ours."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=_Failing(failure)))
    async with AsyncClient(api_key=KEY, base_url="http://test", transport=transport) as client:
        stream = await client._open(REQUEST)
        with pytest.raises(APIConnectionError):
            await stream.read()
        await stream.aclose()


class _Slow(httpx.AsyncByteStream):
    """A body whose next piece comes, or whose end comes, when it is told to; closing it does not end the wait."""

    def __init__(self, *, ends: bool) -> None:
        self.may_go_on = anyio.Event()
        self.is_over = False
        self._ends = ends

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        try:
            await self.may_go_on.wait()
            if not self._ends:
                yield b"late"
        finally:
            self.is_over = True

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("ends", [True, False])
async def test_closing_while_another_task_reads_leaves_no_iterator_open(*, ends: bool) -> None:
    """A read that gets a piece, or the end, of a stream closed meanwhile raises, and ends the iterators below."""
    body = _Slow(ends=ends)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=body))
    async with AsyncClient(api_key=KEY, base_url="http://test", transport=transport) as client:
        stream = await client._open(REQUEST)

        async def read() -> None:
            with pytest.raises(APIConnectionError):
                await stream.read()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
            body.may_go_on.set()
    assert body.is_over
