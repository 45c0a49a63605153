"""Answers no client should swallow, and places no client should go."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache

import httpx
import pytest

from asyncassist import (
    APIConnectionError,
    APIStatusError,
    AsyncClient,
    BadRequestError,
    DecodeError,
    InternalServerError,
    Timeout,
)
from asyncassist._transport import bodies

from .helpers import KEY, ONCE, Choice, connect, paced, pool_of, until
from .loopback import RUN, Behaviour, Loopback, LoopThread, answer, chunked, flood, head, raw

pytestmark = pytest.mark.anyio

LIMIT = 2000


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limits small."""
    monkeypatch.setattr(bodies, "MAX_BODY", LIMIT)
    monkeypatch.setattr(bodies, "MAX_ERROR_BODY", LIMIT)


def run_of(size: int) -> bytes:
    """Return a run whose JSON has a size."""
    empty = json.dumps({**RUN, "padding": ""}).encode()
    return json.dumps({**RUN, "padding": "x" * (size - len(empty))}).encode()


def bare_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


def encoded(data: bytes, encoding: str) -> bytes:
    squeeze: dict[str, Callable[[bytes], bytes]] = {
        "identity": bytes,
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "bare deflate": bare_deflate,
    }
    return squeeze[encoding](data)


ENCODINGS = ["identity", "gzip", "deflate", "bare deflate"]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_body_of_just_the_limit(
    server: Loopback, transport: Choice, small: None, encoding: str, is_chunked: bool
) -> None:
    """A body as large as the limit is read, compressed or not, and its connection is kept."""
    data = encoded(run_of(LIMIT), encoding)
    headers = {"content-encoding": encoding.removeprefix("bare ")}
    server.default = chunked(data[:7], data[7:], headers=headers) if is_chunked else answer(data, 200, headers)
    async with connect(server, transport=transport) as client:
        for _ in range(2):
            assert "run_1" == (await client.get_run("thread_1", "run_1")).id

    assert 1 == server.opened


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_body_beyond_the_limit(
    server: Loopback, transport: Choice, small: None, encoding: str, is_chunked: bool
) -> None:
    """A body beyond the limit is a DecodeError that says so; it costs its connection and is not asked for again."""
    data = encoded(run_of(LIMIT + 1), encoding)
    headers = {"content-encoding": encoding.removeprefix("bare ")}
    server.default = chunked(data[:7], data[7:], headers=headers) if is_chunked else answer(data, 200, headers)
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError, match="limit") as caught:
            await client.get_run("thread_1", "run_1")
        assert 0 == pool_of(client).connections
        await until(lambda: server.open_now == 0)

    error = caught.value
    assert (200, "GET", "/threads/thread_1/runs/run_1") == (error.status, error.method, error.path)
    assert 1 == len(server.requests)


async def test_a_body_without_end(server: Loopback, transport: Choice, small: None) -> None:
    """A body that never ends is read up to the limit."""
    server.default = flood(head(200, [("transfer-encoding", "chunked")]), b"3e8\r\n" + b" " * 1000 + b"\r\n")
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError, match="limit"):
            await client.get_run("thread_1", "run_1")


async def test_an_announced_size_beyond_the_limit(server: Loopback, transport: Choice) -> None:
    """A body announced as 10 GB is not even begun."""
    server.default = raw(head(200, length=10 << 30) + b"{", keep=True)
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError, match="announces 10737418240 bytes"):
            await client.get_run("thread_1", "run_1")


@cache
def bomb(megabytes: int, letter: bytes) -> bytes:
    """Return a small gzip file that inflates to a large one."""
    squeezer = zlib.compressobj(9, wbits=31)
    return b"".join(squeezer.compress(letter * (1 << 20)) for _ in range(megabytes)) + squeezer.flush()


async def test_a_real_bomb(server: Loopback, transport: Choice) -> None:
    """A compressed body that inflates to 100 MB ends with an error and never takes more memory than its limit."""
    server.default = answer(bomb(100, b"\0"), 200, {"content-encoding": "gzip"})
    async with connect(server, transport=transport) as client:
        tracemalloc.start()
        try:
            with pytest.raises(DecodeError, match="larger than 67108864 bytes"):
                await client.get_run("thread_1", "run_1")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert most < 80 << 20


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(run_of(1000))[:-9], "gzip"),
        (gzip.compress(run_of(1000))[:20], "gzip"),
        (zlib.compress(run_of(1000))[:-5], "deflate"),
        (run_of(1000), "gzip"),
        (b"\x00" * 100, "deflate"),
        (gzip.compress(run_of(1000)) + b"rubbish", "gzip"),
    ],
    ids=["cut", "cut early", "cut deflate", "not compressed", "no deflate", "rubbish behind"],
)
async def test_broken_compression(server: Loopback, transport: Choice, body: bytes, encoding: str) -> None:
    """Compressed data that ends early or is none at all is a DecodeError."""
    server.default = answer(body, 200, {"content-encoding": encoding})
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError, match="ends early|not valid") as caught:
            await client.get_run("thread_1", "run_1")

    assert 200 == caught.value.status


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "x" * 1000, "gzip,gzip"])
async def test_an_encoding_nobody_asked_for(server: Loopback, transport: Choice, encoding: str) -> None:
    """Only gzip and deflate are asked for; anything else is a DecodeError, not guessed at nor inflated."""
    server.default = answer(run_of(1000), 200, {"content-encoding": encoding})
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError, match="Content-Encoding") as caught:
            await client.get_run("thread_1", "run_1")

    assert "gzip, deflate" == server.requests[0].header("accept-encoding")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}, {"content-encoding": "br"}], ids=repr)
async def test_the_status_of_an_error_counts_more_than_its_body(
    server: Loopback, transport: Choice, headers: dict[str, str]
) -> None:
    """An error whose body cannot be read is the error of its status all the same."""
    server.default = answer(b"\xff\xfe not gzip", 500, headers)
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises(InternalServerError) as caught:
            await client.get_run("thread_1", "run_1")

    assert 500 == caught.value.status


def errors_without_end() -> dict[str, Behaviour]:
    return {
        "plain": flood(head(400, [("transfer-encoding", "chunked")]), b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        "length": flood(head(400, length=10 << 30), b"x" * 1000),
        "bomb": answer(bomb(20, b"x"), 400, {"content-encoding": "gzip"}),
    }


@pytest.mark.parametrize("behaviour", list(errors_without_end()))
async def test_the_body_of_an_error_is_read_in_part(server: Loopback, transport: Choice, behaviour: str) -> None:
    """Of an error's endless body the first megabyte is read and an excerpt kept; its connection is closed."""
    server.default = errors_without_end()[behaviour]
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises(BadRequestError) as caught:
            await client.get_run("thread_1", "run_1")
        assert 0 == pool_of(client).connections

    assert "x" * 2000 == caught.value.body
    assert len(str(caught.value)) < 400


HEADS: dict[str, Behaviour] = {
    "one long header": raw(b"HTTP/1.1 200 OK\r\nx-long: " + b"y" * 300_000 + b"\r\n\r\n"),
    "many headers": raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(50_000)) + b"\r\n"),
    "headers without end": flood(b"HTTP/1.1 200 OK\r\n", b"x-more: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 100),
    "a line without end": flood(b"HTTP/1.1 200 ", b"y" * 10_000),
    "a header without end": flood(b"HTTP/1.1 200 OK\r\nx-long: ", b"y" * 10_000),
    "a chunk size without end": flood(head(200, [("transfer-encoding", "chunked")]), b"7" * 10_000),
    "a trailer without end": flood(
        head(200, [("transfer-encoding", "chunked")]) + b"0\r\n", b"x-more: yyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 100
    ),
}


@pytest.mark.parametrize("behaviour", list(HEADS))
async def test_too_much_around_the_body(server: Loopback, transport: Choice, behaviour: str) -> None:
    """Heads, chunk sizes and trailers beyond any measure break the connection, in clear words."""
    server.default = HEADS[behaviour]
    # A bad chunk that comes after the head makes aiohttp hang up, but whoever reads is not told: the time of the
    # attempt ends that.
    is_untold = transport == "aiohttp" and behaviour == "a chunk size without end"
    timeout = Timeout(attempt=1.0 if is_untold else 60.0)
    reason = r"the connection to .* broke" + ("|no complete answer within the attempt timeout" if is_untold else "")
    async with connect(server, transport=transport, retry=ONCE, timeout=timeout) as client:
        with pytest.raises(APIConnectionError, match=reason) as caught:
            await client.get_run("thread_1", "run_1")
        assert 0 == pool_of(client).connections

    assert caught.value.sent
    assert len(str(caught.value)) < 1000


async def test_deep_json(server: Loopback, transport: Choice) -> None:
    """JSON nested 100,000 deep is a DecodeError."""
    server.default = answer(b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError, match="deep"):
            await client.get_run("thread_1", "run_1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_redirect_is_followed(
    server: Loopback, loop_thread: LoopThread, transport: Choice, method: str, status: int
) -> None:
    """A redirect is an error that names its target; nothing, least of all the key, is sent there."""
    with Loopback(loop_thread) as elsewhere:
        target = f"{elsewhere.origin}/v1/threads/thread_1/runs/run_1"
        server.default = answer(b"moved", status, {"location": target})
        async with connect(server, transport=transport) as client:
            naps = paced(client)
            with pytest.raises(APIStatusError, match="redirects are not followed") as caught:
                if method == "GET":
                    await client.get_run("thread_1", "run_1")
                else:
                    await client.create_run("thread_1", assistant_id="asst_1")

    assert (status, []) == (caught.value.status, naps.taken)
    assert target in str(caught.value)
    assert 1 == len(server.requests)
    assert [] == elsewhere.requests


async def test_a_callers_client_that_follows_redirects_does_not_here(
    server: Loopback, loop_thread: LoopThread, setting: tuple[str, Choice]
) -> None:
    """A caller's httpx client set up to follow redirects follows none of ours."""
    with Loopback(loop_thread) as elsewhere:
        server.default = answer(b"moved", 302, {"location": elsewhere.origin})
        async with httpx.AsyncClient(follow_redirects=True) as http:
            client = AsyncClient(api_key=KEY, base_url=server.url, http_client=http)
            with pytest.raises(APIStatusError, match="redirects are not followed"):
                await client.get_run("thread_1", "run_1")

    assert [] == elsewhere.requests
