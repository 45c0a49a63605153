"""The port: addresses, what it leaves alone, and clients that take too much or too long."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from asyncassist import UsageError
from asyncassist.server import LocalServer, guard, port
from asyncassist.server.addresses import Address, url_of
from asyncassist.server.app import MAX_BODY
from asyncassist.server.guard import MAX_HEAD

from .helpers import Api, TypingBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream
    from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn has no other


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with LocalServer() as server, server.on_port() as url:
        yield url


async def connect(url: str) -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", httpx.URL(url).port or 0)


async def rest(connection: SocketStream) -> bytes:
    """All that comes until the server closes the connection."""
    received = b""
    with anyio.fail_after(10):
        try:
            while True:
                received += await connection.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return received


HEAD = b"POST /v1/threads HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n"


# Addresses.


@pytest.mark.parametrize(
    ("host", "is_loopback", "is_any"),
    [
        ("127.0.0.1", True, False),
        ("127.1.2.3", True, False),
        ("localhost", True, False),
        ("::1", True, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.0.2.1", False, False),
        ("2001:db8::1", False, False),
    ],
)
def test_who_can_reach_an_address(host: str, is_loopback: bool, is_any: bool) -> None:
    """Loopback addresses are told from others, by number and by name; a name means IPv4 where it can."""
    address = Address.of(host, 0)

    assert (address.is_loopback, address.is_any) == (is_loopback, is_any)
    assert (address.family == socket.AF_INET6) == (":" in host)


def test_of_several_addresses_the_first_of_ipv4_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that know a name as an IPv4 address only find the server all the same."""
    stream = (socket.SOCK_STREAM, 6, "")
    found = [
        (socket.AF_INET6, *stream, ("::1", 80, 0, 0)),
        (socket.AF_INET, *stream, ("127.0.0.1", 80)),
        (socket.AF_INET, *stream, ("127.0.0.2", 80)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)

    assert Address.of("name", 80) == Address("name", socket.AF_INET, ("127.0.0.1", 80))


@pytest.mark.parametrize("host", ["", "no.such.host.invalid", "a" * 70 + ".x", "1.2.3.4.5"])
def test_a_host_that_is_none(host: str) -> None:
    """A name without an address is a UsageError."""
    with pytest.raises(UsageError):
        Address.of(host, 0)


def test_a_port_in_use_is_found_before_anything_is_served() -> None:
    """A socket listens from the start: nobody else gets its port, and it is free again when it is closed."""
    with Address.of("127.0.0.1", 0).listen() as first:
        number = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {number} of 127.0.0.1 cannot be opened: "):
            Address.of("127.0.0.1", number).listen()
    Address.of("127.0.0.1", number).listen().close()


@pytest.mark.parametrize(
    ("host", "start"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("0.0.0.0", "http://127.0.0.1:"),
        ("::1", "http://[::1]:"),
        ("::", "http://[::1]:"),
    ],
)
def test_a_url_leads_there(host: str, start: str) -> None:
    """The URL of a socket can be used on this machine, also where it listens on every address."""
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with Address.of(host, 0).listen() as listening:
        assert url_of(listening).startswith(start)


async def test_a_socket_that_listens_is_served_and_closed() -> None:
    """A server takes a socket at any address in place of a port."""
    listening = Address.of("127.0.0.2", 0).listen()
    async with LocalServer() as server, httpx.AsyncClient() as http:
        async with server.on_port(listening) as url:
            answer = await http.get(f"{url}/assistants")

    assert url.startswith("http://127.0.0.2:")
    assert answer.status_code == 200
    assert listening.fileno() == -1


# What a port leaves alone.


async def test_the_logging_of_the_program_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A program that is itself served by uvicorn keeps its access log, and finds nothing of this port in it."""
    access = logging.getLogger("uvicorn.access")
    handler = logging.NullHandler()
    access.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "uvicorn.access"):
            async with LocalServer() as server, server.on_port() as url, httpx.AsyncClient() as http:
                await http.get(f"{url}/assistants")
        assert (access.handlers, access.propagate) == ([handler], True)
    finally:
        access.removeHandler(handler)

    assert not [record for record in caplog.records if record.name == "uvicorn.access"]


# Clients that take too much, or too long.


@pytest.mark.parametrize("begin", [b"", b"GET /v1/assistants HTTP/1.1\r\nhost: x\r\n\r\n"])
async def test_a_head_without_an_end_is_cut(url: str, begin: bytes) -> None:
    """However many headers come, as the first request or a later one: the connection is closed before long."""
    async with await connect(url) as connection:
        await connection.send(begin + b"GET / HTTP/1.1\r\n")
        sent = 0
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            while sent < 100 * MAX_HEAD:
                await connection.send(b"x: " + b"y" * 8000 + b"\r\n")
                sent += 8000
                await anyio.sleep(0.001)

    assert sent < 10 * MAX_HEAD
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/assistants")).status_code == 200


async def test_a_body_is_no_head(url: str) -> None:
    """A body may be as long as bodies may be, also where it is refused before it has come, and the next is served."""
    text = "x" * 200_000
    head = f"POST /v1/threads HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY + 1}\r\n\r\n"
    async with httpx.AsyncClient(base_url=url) as http:
        for _ in range(3):
            thread = await http.post("/threads", json={"messages": [{"role": "user", "content": text}]})
    async with await connect(url) as connection:
        await connection.send(head.encode())
        received = await connection.receive()
        for _ in range(20):
            await connection.send(b"x" * MAX_HEAD)

    assert thread.status_code == 200
    assert received.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("begin", [b"", b"GET", b"later GET"])
async def test_a_connection_without_a_request_is_closed(
    monkeypatch: pytest.MonkeyPatch, url: str, begin: bytes
) -> None:
    """Nothing sent, or a part of a head, also after a request that was answered: the connection is closed in time."""
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.5)
    async with await connect(url) as connection:
        if begin.startswith(b"later"):
            await connection.send(b"GET /v1/assistants HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await connection.receive()).startswith(b"HTTP/1.1 200 ")
        if begin:
            await connection.send(begin.removeprefix(b"later "))
        received = await rest(connection)

    assert received == b""


async def test_a_stream_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream waits for its run as long as that takes, whatever a client may take for its request."""
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(port, "_SILENCE", 0.5)
    backend = TypingBackend()
    async with LocalServer(backend) as server, server.on_port() as url, httpx.AsyncClient(base_url=url) as http:
        body = {"assistant_id": await Api(http).assistant(), "stream": True}
        async with http.stream("POST", "/threads/runs", json=body) as response:
            await anyio.sleep(2.5)
            backend.go_on(4)
            text = (await response.aread()).decode()

    assert text.endswith("event: done\ndata: [DONE]\n\n")


async def test_a_body_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A client that stops in the middle of its body is told so, and its connection closed."""
    monkeypatch.setattr(port, "_SILENCE", 0.2)
    async with await connect(url) as connection:
        await connection.send(HEAD + b"\r\n{")
        received = await rest(connection)

    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"nothing for 0.2 seconds" in received


async def test_an_answer_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its body is there, a request is not hurried any more."""
    monkeypatch.setattr(port, "_SILENCE", 0.2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await anyio.sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    opened = port.Port(app, 0)
    async with anyio.create_task_group() as task_group, httpx.AsyncClient() as http:
        task_group.start_soon(opened.run)
        await opened.started()
        answer = await http.post(opened.url, content=b"x")
        opened.close()
        await opened.closed()

    assert answer.content == b"ok"


async def test_a_port_that_closes_refuses_what_has_not_come(url: str) -> None:
    """A request that is on its way when the port closes gets a 503 in time, though its client says no more."""
    async with LocalServer() as server:
        async with server.on_port() as url:
            connection = await connect(url)
            await connection.send(HEAD + b"\r\n{")
            async with httpx.AsyncClient() as http:
                await http.get(f"{url}/assistants")
        received = await rest(connection)
        await connection.aclose()

    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in received


async def test_what_is_being_answered_when_a_port_closes_is_answered() -> None:
    """Work that has begun is done, also where its body is read in parts and the port begins to close meanwhile."""
    may_answer = anyio.Event()
    has_read = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stream":
            await may_answer.wait()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")],
                }
            )
            await anyio.sleep_forever()
        while (await receive())["more_body"]:
            has_read.set()
        await may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    opened = port.Port(app, 0)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(opened.run)
        await opened.started()
        async with await connect(opened.url) as connection, await connect(opened.url) as late:
            await connection.send(HEAD + b"\r\n12345")
            await late.send(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
            await has_read.wait()
            opened.close()
            await anyio.sleep(0.1)
            await connection.send(b"67890")
            await anyio.sleep(0.1)
            may_answer.set()
            received = [await rest(connection), await rest(late)]
        await opened.closed()

    assert received[0].startswith(b"HTTP/1.1 200 ")
    assert received[0].endswith(b"\r\n\r\nok")
    assert received[1].startswith(b"HTTP/1.1 200 ")
    assert not received[1].endswith(b"0\r\n\r\n")
