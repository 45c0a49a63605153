"""HTTP/1.1 on one connection: what is sent, and what answers are read as."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpcore
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncassist._transport.bodies import BodyStream
from asyncassist._transport.http1 import Http1Connection
from asyncassist._transport.http1_parser import AnswerParser

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\na: b\r\n\r\n"
    b"HTTP/1.1 201 Created\r\nX-A: 1\r\nx-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;name=value\r\nhel\r\n2  \r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
)
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def read(parser: AnswerParser, data: bytes) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Read one answer that is all there."""
    parser.expect()
    body = parser.feed(data)
    assert parser.is_complete
    return parser.status, body, parser.headers


@given(st.lists(st.integers(1, 40), max_size=60))
@example([1] * 300)
def test_answers_in_any_pieces(sizes: list[int]) -> None:
    """Answers that follow each other are the same however their bytes arrive."""
    parser = AnswerParser()
    read_so_far = []
    for whole in (CHUNKED, LENGTH, EMPTY):
        parser.expect()
        body, rest, left = b"", whole, iter(sizes)
        while rest:
            size = next(left, len(rest))
            piece, rest = rest[:size], rest[size:]
            body += parser.feed(piece)
            assert not (parser.is_complete and rest)
        assert parser.is_complete
        assert not parser.is_last
        read_so_far.append((parser.status, body, parser.headers))
    assert [
        (201, b"hello", [(b"X-A", b"1"), (b"x-a", b"2"), (b"Transfer-Encoding", b"chunked")]),
        (200, b"hello", [(b"Content-Length", b"5")]),
        (204, b"", []),
    ] == read_so_far


TOLERATED = {
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "an empty line before": b"\r\n" + LENGTH,
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
    "latin letters": b"HTTP/1.1 200 OK\r\nX: \xe9\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("name", TOLERATED)
def test_tolerated(name: str) -> None:
    """What a reader of answers may accept does no harm to the connection."""
    parser = AnswerParser()
    assert (200, b"hello") == read(parser, TOLERATED[name])[:2]
    assert not parser.is_last


LAST = {
    "said so": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    "version 1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunks beside a length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n",
    "more than announced": LENGTH + b"!",
    "another answer": LENGTH + LENGTH,
    "more after the last": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello, world",
}


@pytest.mark.parametrize("name", LAST)
def test_the_last_answer(name: str) -> None:
    """An answer after which the connection cannot be trusted, or has no more to give, is read and is the last."""
    parser = AnswerParser()
    assert (200, b"hello") == read(parser, LAST[name])[:2]
    assert parser.is_last


def test_version_10_may_go_on() -> None:
    """A server of HTTP/1.0 that keeps the connection may be asked again."""
    parser = AnswerParser()
    read(parser, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
    assert not parser.is_last


@pytest.mark.parametrize("head", [b"Connection: upgrade\r\nUpgrade: other\r\n", b""])
def test_another_protocol(head: bytes) -> None:
    """An answer that changes the protocol is the last."""
    parser = AnswerParser()
    assert (101, b"") == read(parser, b"HTTP/1.1 101 Switching Protocols\r\n" + head + b"\r\nnoise")[:2]
    assert parser.is_last


REFUSED = {
    "another language": b"220 mail.example ESMTP\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    "a space in a name": b"HTTP/1.1 200 OK\r\na b: x\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
    "a lone carriage return": b"HTTP/1.1 200 OK\r\na: b\rc: d\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a length beyond counting": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of no kind": b"HTTP/1.1 042 OK\r\nContent-Length: 0\r\n\r\n",
    "a chunk without a size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
    "a chunk beyond counting": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    "a chunk without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """What is not HTTP/1.1 is an error that says so."""
    parser = AnswerParser()
    parser.expect()
    with pytest.raises(httpcore.RemoteProtocolError, match=r"not HTTP/1\.1"):
        parser.feed(REFUSED[name])


HEADS = b"HTTP/1.1 200 OK\r\n"
CHUNKS = HEADS + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a header": (HEADS + b"a: ", b"b" * 1000, "answer has"),
    "a name": (HEADS, b"b" * 1000, "answer has"),
    "headers": (HEADS, b"a: b\r\n" * 100, "answer has"),
    "a reason": (b"HTTP/1.1 200 ", b"b" * 1000, "answer has"),
    "answers before the answer": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30, "answer has"),
    "empty lines": (b"", b"\r\n" * 500, "answer has"),
    "an extension": (CHUNKS + b"5;", b"a" * 1000, "chunk has"),
    "trailers": (CHUNKS + b"0\r\n", b"a: b\r\n" * 100, "chunk has"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_heads(name: str) -> None:
    """A head that does not end is an error after 100 KiB."""
    begin, more, what = ENDLESS[name]
    parser = AnswerParser()
    parser.expect()
    parser.feed(begin)
    with pytest.raises(httpcore.RemoteProtocolError, match=f"the {what} a head of more than 102400 bytes"):
        for _ in range(200):
            parser.feed(more)


def test_a_long_body_has_no_limit_here() -> None:
    """Only what makes no progress is counted: bodies are bounded by those who read them."""
    parser = AnswerParser()
    parser.expect()
    parser.feed(CHUNKS)
    assert 300 * 1000 == sum(len(parser.feed(b"3e8\r\n" + b"a" * 1000 + b"\r\n")) for _ in range(300))


def test_the_body_may_end_with_the_connection() -> None:
    """A body without a length goes on to the end of the connection."""
    parser = AnswerParser()
    parser.expect()
    assert b"hel" == parser.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert b"lo" == parser.feed(b"lo")
    assert not parser.is_complete
    parser.feed_end()
    assert parser.is_complete
    assert parser.is_last


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200", "in the head"),
        (LENGTH[:-1], "before the answer did"),
        (CHUNKS + b"5\r\nhello\r\n", "before the answer did"),
    ],
)
def test_an_early_end(data: bytes, message: str) -> None:
    """A connection that ends too early is an error that says where."""
    parser = AnswerParser()
    parser.expect()
    parser.feed(data)
    with pytest.raises(httpcore.RemoteProtocolError, match=message):
        parser.feed_end()


def test_what_comes_after_closing() -> None:
    """Bytes that came in the moment another task closed the connection are nobody's."""
    parser = AnswerParser()
    parser.expect()
    parser.close()
    with pytest.raises(httpcore.ReadError, match="closed meanwhile"):
        parser.feed(LENGTH)


def test_a_body_that_was_closed_here_is_not_whole() -> None:
    """A body that goes on to the end of the connection has not ended when this side closes it."""
    parser = AnswerParser()
    parser.expect()
    parser.feed(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
    parser.close()
    with pytest.raises(httpcore.ReadError, match="closed meanwhile"):
        parser.feed_end()


def test_an_interrupt_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while bytes are read is no fault of theirs."""

    def interrupt(self: AnswerParser, piece: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AnswerParser, "on_body", interrupt)
    parser = AnswerParser()
    parser.expect()
    with pytest.raises(KeyboardInterrupt):
        parser.feed(LENGTH)


# The connection


class Wire(httpcore.AsyncNetworkStream):
    """A stream in memory: keeps what is written, gives what it was told to."""

    def __init__(self, *incoming: bytes, fails: bool = False) -> None:
        self.incoming = list(incoming)
        self.written: list[bytes] = []
        self.fails = fails
        self.is_closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.incoming.pop(0) if self.incoming else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.fails:
            raise httpcore.WriteError("gone")
        self.written.append(buffer)

    async def aclose(self) -> None:
        self.is_closed = True

    def get_extra_info(self, info: str) -> Any:
        assert "is_readable" == info
        return bool(self.incoming)


class Pieces(httpx.AsyncByteStream):
    """A body in several pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def request(content: bytes | None = None, headers: dict[str, str] | None = None) -> httpx.Request:
    made = httpx.Request("POST", "http://test/v1/x?y=z", content=content, headers=headers)
    made.stream = BodyStream(content)
    return made


@pytest.mark.anyio
async def test_one_exchange_after_the_other() -> None:
    """A small body goes out with its head; the connection is asked again as long as nothing speaks against it."""
    wire = Wire(LENGTH, LENGTH[:-2], LENGTH[-2:])
    connection = Http1Connection(wire)
    response = await connection.exchange(request(b"body", {"X-A": "1"}))
    assert 200 == response.status_code
    assert b"hello" == await response.aread()
    head = b"POST /v1/x?y=z HTTP/1.1\r\nHost: test\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nbody"
    assert [head] == wire.written
    assert not connection.is_reusable  # something has come since, in this test the second answer
    assert b"hello" == await (await connection.exchange(request())).aread()
    assert connection.is_reusable
    assert not wire.is_closed


@pytest.mark.anyio
async def test_bodies_that_go_out_by_themselves() -> None:
    """A large body, and one in pieces, are not copied together."""
    wire = Wire(LENGTH, LENGTH)
    connection = Http1Connection(wire)
    large = b"a" * 20_000
    await (await connection.exchange(request(large))).aread()
    assert [large] == wire.written[1:]
    in_pieces = request(b"12345")
    in_pieces.stream = Pieces(b"12", b"345")
    await (await connection.exchange(in_pieces)).aread()
    assert [True, False] == [piece.endswith(b"\r\n\r\n12") for piece in wire.written[2:]]
    assert b"345" == wire.written[3]


@pytest.mark.anyio
@pytest.mark.parametrize("header", [b"a\r\nb: c", b"a\nb", b"a\0b", b"a\rb"])
async def test_no_header_can_become_two(header: bytes) -> None:
    """A header with a line break is refused before anything is sent."""
    wire = Wire(LENGTH)
    made = request()
    made.headers = httpx.Headers([*made.headers.raw, (b"X", header)])
    with pytest.raises(httpcore.LocalProtocolError, match="line break or a NUL"):
        await Http1Connection(wire).exchange(made)
    assert [] == wire.written


@pytest.mark.anyio
async def test_an_answer_to_half_a_request() -> None:
    """A server that refuses a body before it has all of it is heard, and not asked again."""
    connection = Http1Connection(Wire(LENGTH, fails=True))
    assert b"hello" == await (await connection.exchange(request(b"body"))).aread()
    assert not connection.is_reusable


@pytest.mark.anyio
async def test_an_answer_that_is_left() -> None:
    """A connection is closed where its answer was not read to the end."""
    wire = Wire(LENGTH[:-2], LENGTH[-2:])
    connection = Http1Connection(wire)
    await (await connection.exchange(request())).aclose()
    assert wire.is_closed
    assert not connection.is_reusable


MOCKED = """
import anyio, respx
with respx.mock as mock:
    mock.get("http://test/v1/threads/t").respond(json={"id": "t", "object": "thread"})
    from asyncassist import NO_KEY, AsyncClient

    async def main():
        async with AsyncClient(base_url="http://test/v1", api_key=NO_KEY) as client:
            print((await client.get_thread("t")).id)

    anyio.run(main)
"""


def test_a_mock_that_was_there_first() -> None:
    """respx is asked even when the client is imported while it mocks."""
    done = subprocess.run([sys.executable, "-c", MOCKED], capture_output=True, text=True, timeout=60, check=False)
    assert ("t\n", "") == (done.stdout, done.stderr)
