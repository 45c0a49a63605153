"""The socket streams on asyncio: reading, writing, waiting, and backing off when one side is slow."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import httpcore
import pytest

from asyncassist._transport import sockets as opening
from asyncassist._transport.bodies import BodyStream
from asyncassist._transport.streams import AsyncioBackend, AsyncioStream

from .helpers import settle, until
from .loopback import Loopback, LoopThread, closed_port, hang

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Wire:
    """Stands in for asyncio's transport and notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sent = b""
        self.is_closing_now = False
        self.socket, self.other_side = socket.socketpair()

    def close(self) -> None:
        self.socket.close()
        self.other_side.close()

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_closing_now

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name not in ("pause_reading", "resume_reading", "abort"):
            raise AttributeError(name)
        return lambda: self.asked.append(name)

    def get_extra_info(self, name: str) -> object:
        return self.socket if name == "socket" else f"the {name}"


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture
def stream(wire: Wire) -> AsyncioStream:
    stream = AsyncioStream()
    stream.connection_made(wire)  # type: ignore[arg-type]
    return stream


async def test_what_has_come_is_read_at_once(stream: AsyncioStream) -> None:
    """Bytes that have come are returned at once, at most as many as asked for, the rest next time."""
    stream.data_received(b"abc")
    stream.data_received(b"def")

    assert [b"abcd", b"ef"] == [await stream.read(4), await stream.read(4)]


async def test_reading_waits_for_bytes(stream: AsyncioStream) -> None:
    """Reading waits until bytes come."""
    task = asyncio.ensure_future(stream.read(10))
    await settle(2)
    assert not task.done()
    stream.data_received(b"abc")

    assert b"abc" == await task


@pytest.mark.parametrize("end", ["eof", "lost"])
async def test_the_end_is_read_as_nothing(stream: AsyncioStream, end: str) -> None:
    """At the end reading returns nothing, after what had come before; it goes on doing so."""
    task = asyncio.ensure_future(stream.read(10))
    await settle(2)
    if end == "eof":
        stream.eof_received()
    else:
        stream.connection_lost(None)
    assert b"" == await task

    stream._received = b"rest"
    assert [b"rest", b"", b""] == [await stream.read(10) for _ in range(3)]


async def test_a_broken_connection_is_a_read_error(stream: AsyncioStream) -> None:
    """A connection that breaks is an error with its reason, once what had come is read."""
    stream.data_received(b"abc")
    stream.connection_lost(ConnectionResetError("reset by peer"))

    assert b"abc" == await stream.read(10)
    with pytest.raises(httpcore.ReadError, match="reset by peer"):
        await stream.read(10)


async def test_reading_is_limited_in_time(stream: AsyncioStream) -> None:
    """Reading with a timeout ends with a ReadTimeout, and can be tried again."""
    with pytest.raises(httpcore.ReadTimeout):
        await stream.read(10, timeout=0.01)
    stream.data_received(b"abc")

    assert b"abc" == await stream.read(10, timeout=0.01)


async def test_a_cancelled_read_loses_nothing(stream: AsyncioStream) -> None:
    """A read that is cancelled leaves what comes afterwards to the next one, even when it came in the same moment."""
    task = asyncio.ensure_future(stream.read(10))
    await settle(2)
    stream.data_received(b"abc")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()

    assert b"abc" == await stream.read(10)


async def test_a_slow_reader_stops_the_sender(stream: AsyncioStream, wire: Wire) -> None:
    """Beyond 256 KB unread nothing more is taken from the socket, until enough has been read."""
    block = b"x" * 100_000
    for _ in range(4):
        stream.data_received(block)
    assert ["pause_reading"] == wire.asked

    await stream.read(100_000)
    assert ["pause_reading"] == wire.asked
    await stream.read(100_000)
    assert ["pause_reading", "resume_reading"] == wire.asked
    assert 200_000 == len(await stream.read(1_000_000))


async def test_writing(stream: AsyncioStream, wire: Wire) -> None:
    """Bytes are handed on; nothing is nothing."""
    await stream.write(b"abc")
    await stream.write(b"")
    await stream.write(b"def", timeout=1)

    assert b"abcdef" == wire.sent


async def test_a_slow_peer_stops_the_writer(stream: AsyncioStream) -> None:
    """While the other side takes nothing, writing waits."""
    stream.pause_writing()
    task = asyncio.ensure_future(stream.write(b"abc"))
    await settle(2)
    assert not task.done()
    stream.resume_writing()
    await task
    await stream.write(b"def")


async def test_writing_is_limited_in_time(stream: AsyncioStream) -> None:
    """Writing with a timeout ends with a WriteTimeout."""
    stream.pause_writing()
    with pytest.raises(httpcore.WriteTimeout):
        await stream.write(b"abc", timeout=0.01)


async def test_a_connection_that_breaks_while_writing(stream: AsyncioStream) -> None:
    """A connection that breaks while writing waits is a WriteError with its reason."""
    stream.pause_writing()
    task = asyncio.ensure_future(stream.write(b"abc"))
    await settle(2)
    stream.connection_lost(BrokenPipeError("broken pipe"))

    with pytest.raises(httpcore.WriteError, match="broken pipe"):
        await task


async def test_a_connection_that_ends_while_writing(stream: AsyncioStream) -> None:
    """A connection that the other side ends while writing waits is a WriteError too."""
    stream.pause_writing()
    task = asyncio.ensure_future(stream.write(b"abc"))
    await settle(2)
    stream.connection_lost(None)

    with pytest.raises(httpcore.WriteError):
        await task


@pytest.mark.parametrize("how", ["over", "closing", "closed", "new"])
async def test_writing_to_a_closed_connection(stream: AsyncioStream, wire: Wire, how: str) -> None:
    """Writing to what is closed is a WriteError."""
    if how == "over":
        stream.eof_received()
    elif how == "closing":
        wire.is_closing_now = True
    elif how == "closed":
        await stream.aclose()
    else:
        stream = AsyncioStream()

    with pytest.raises(httpcore.WriteError, match="closed"):
        await stream.write(b"abc")
    assert b"" == wire.sent


async def test_closing(stream: AsyncioStream, wire: Wire) -> None:
    """Closing is at once and for good; what had come is gone, and closing again does nothing."""
    stream.data_received(b"abc")
    await stream.aclose()
    await stream.aclose()
    stream.data_received(b"x" * 300_000)  # what asyncio had in its hands already

    assert ["abort"] == wire.asked
    assert stream.get_extra_info("is_readable")
    assert None is stream.get_extra_info("peername")


async def test_closing_wakes_those_who_wait(stream: AsyncioStream) -> None:
    """A read that waits ends when the connection is closed."""
    task = asyncio.ensure_future(stream.read(10))
    await settle(2)
    await stream.aclose()
    stream.connection_lost(None)

    assert b"" == await task


async def test_an_idle_connection_is_readable_when_it_is_of_no_more_use(stream: AsyncioStream, wire: Wire) -> None:
    """httpcore learns that an idle connection has ended, is closing, or has bytes nobody asked for."""
    assert not stream.get_extra_info("is_readable")
    wire.is_closing_now = True
    assert stream.get_extra_info("is_readable")
    wire.is_closing_now = False
    stream.data_received(b"x")
    assert stream.get_extra_info("is_readable")
    await stream.read(10)
    assert not stream.get_extra_info("is_readable")
    stream.eof_received()
    assert stream.get_extra_info("is_readable")


async def test_what_the_event_loop_has_not_got_round_to(stream: AsyncioStream, wire: Wire) -> None:
    """Something in the socket makes an idle connection readable, although the event loop has been held up since."""
    assert not stream.get_extra_info("is_readable")
    wire.other_side.send(b"x")
    assert stream.get_extra_info("is_readable")


async def test_what_came_before_the_handshake(stream: AsyncioStream, wire: Wire) -> None:
    """Bytes that were received in the clear are never read as what came encrypted: the connection is given up."""
    stream.data_received(b"HTTP/1.1 200 OK\r\n\r\n")

    with pytest.raises(httpcore.ConnectError, match="in the clear"):
        await stream.start_tls(ssl.create_default_context(), "server.example")
    assert ["abort"] == wire.asked


async def test_what_is_known_of_a_connection(stream: AsyncioStream, wire: Wire) -> None:
    """httpcore's names of facts are asyncio's."""
    facts = {name: stream.get_extra_info(name) for name in ("client_addr", "server_addr", "ssl_object", "socket")}

    assert facts == {
        "client_addr": "the sockname",
        "server_addr": "the peername",
        "ssl_object": "the ssl_object",
        "socket": wire.socket,
    }


# On real sockets.


async def test_a_real_connection_backs_off_both_ways(nothing_left: None) -> None:
    """Megabytes go both ways over a real connection, however slow the readers are."""
    size = 5_000_000
    received = 0

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        while data := await reader.read(100_000):
            received += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    stream = await AsyncioBackend().connect_tcp("127.0.0.1", server.sockets[0].getsockname()[1], timeout=5)
    got = 0

    async def send() -> None:
        for _ in range(size // 50_000):
            await stream.write(b"x" * 50_000)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await anyio.sleep(0.05)  # let it stall
            while got < size:
                got += len(await stream.read(60_000))
    await stream.aclose()
    server.close()

    assert size == got == received


async def test_nobody_listens() -> None:
    """A refused connection is a ConnectError."""
    with closed_port() as port, pytest.raises(httpcore.ConnectError):
        await AsyncioBackend().connect_tcp("127.0.0.1", port, timeout=5)


async def test_connecting_is_limited_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting that takes too long is a ConnectTimeout."""

    async def never(host: str, port: int) -> socket.socket:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr("asyncassist._transport.streams.open_socket", never)
    with pytest.raises(httpcore.ConnectTimeout):
        await AsyncioBackend().connect_tcp("127.0.0.1", 9, timeout=0.01)


async def test_what_is_no_host(nothing_left: None) -> None:
    """A name that DNS cannot carry is a ConnectError."""
    with pytest.raises(httpcore.ConnectError):
        await AsyncioBackend().connect_tcp("x" * 64 + ".example", 80, timeout=5)


@pytest.fixture
async def listening() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def address(port: int, host: str = "127.0.0.1") -> Any:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: Any) -> None:
    async def resolve(host: str, port: int) -> list[Any]:
        return list(addresses)

    monkeypatch.setattr(opening, "_resolve", resolve)


async def test_the_next_address_is_tried_when_one_fails(
    nothing_left: None, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several addresses those that refuse are passed over."""
    with closed_port() as port:
        resolving(monkeypatch, address(port), address(port), address(listening))
        opened = await opening.open_socket("host.example", 80)

    assert listening == opened.getpeername()[1]
    opened.close()


async def test_the_next_address_is_tried_when_one_is_slow(
    nothing_left: None, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that does not react is not waited for longer than a moment; its socket is closed in the end."""
    monkeypatch.setattr(opening, "_HAPPY_EYEBALLS_SECONDS", 0.02)
    connect = asyncio.get_running_loop().sock_connect

    async def sock_connect(sock: socket.socket, where: Any) -> None:
        if where[1] == 9:
            await anyio.sleep_forever()
        await connect(sock, where)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    resolving(monkeypatch, address(9), address(listening))
    opened = await opening.open_socket("host.example", 80)

    assert listening == opened.getpeername()[1]
    opened.close()


async def test_all_addresses_fail(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no address takes the connection the reasons are told, the same reason once."""
    with closed_port() as port, closed_port() as other:
        resolving(monkeypatch, address(port), address(port))
        with pytest.raises(OSError, match=rf"^\[Errno \d+\] Connect call failed \('127.0.0.1', {port}\)$"):
            await opening.open_socket("host.example", 80)
        resolving(monkeypatch, address(port), address(other))
        with pytest.raises(OSError, match=rf"{port}.*; .*{other}"):
            await opening.open_socket("host.example", 80)


async def test_two_addresses_connect_at_once(
    nothing_left: None, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two connections made in the same moment one is kept and the other closed."""
    monkeypatch.setattr(opening, "_HAPPY_EYEBALLS_SECONDS", 0.01)
    made: list[socket.socket] = []
    both = anyio.Event()

    async def connect(where: Any) -> socket.socket:
        opened = socket.create_connection(where[4])
        made.append(opened)
        if len(made) == 2:
            both.set()
        with anyio.CancelScope(shield=True):
            await both.wait()
        return opened

    monkeypatch.setattr(opening, "_connect", connect)
    resolving(monkeypatch, address(listening), address(listening))
    opened = await opening.open_socket("host.example", 80)

    assert [opened] == [one for one in made if one.fileno() >= 0]
    opened.close()


async def test_a_connection_made_for_somebody_just_cancelled(
    nothing_left: None, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that comes about while its caller is cancelled is closed."""
    resolving(monkeypatch, address(listening), address(listening))
    for steps in range(12):
        for kind in ("native", "scope"):
            scope = anyio.CancelScope()

            async def attempt(scope: anyio.CancelScope = scope) -> None:
                with scope:
                    (await opening.open_socket("host.example", 80)).close()

            task = asyncio.ensure_future(attempt())
            await settle(steps)
            task.cancel() if kind == "native" else scope.cancel()
            await asyncio.wait([task])


def test_families_take_turns() -> None:
    """IPv6 and IPv4 addresses are tried in turns, the order within each kept."""
    six, four = socket.AF_INET6, socket.AF_INET
    addresses: Any = [(six, 1), (six, 2), (six, 3), (four, 4), (four, 5)]

    assert [1, 4, 2, 5, 3] == [number for _, number in opening._taking_turns(addresses)]  # type: ignore[misc]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_addresses_need_no_name_server(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host given as an address is not looked up in a thread."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", None)

    ((*_, where),) = await opening._resolve(host, 80)
    assert (host, 80) == where[:2]


async def test_a_name_is_looked_up() -> None:
    """A host given by name is looked up."""
    addresses = await opening._resolve("localhost", 80)

    assert {where[0] for *_, where in addresses} <= {"127.0.0.1", "::1"}


# TLS.


async def open_to(server: Loopback) -> AsyncioStream:
    return await AsyncioBackend().connect_tcp("127.0.0.1", server.port, timeout=5)


async def test_tls(tls_server: Loopback, trusting: ssl.SSLContext) -> None:
    """A connection goes on encrypted."""
    stream = await open_to(tls_server)
    secure = await stream.start_tls(trusting, "localhost", timeout=5)
    await secure.write(b"GET / HTTP/1.1\r\n\r\n")
    answer = await secure.read(65_536, timeout=5)

    assert answer.startswith(b"HTTP/1.1 200")
    assert isinstance(secure.get_extra_info("ssl_object"), ssl.SSLObject)
    await secure.aclose()


async def test_a_handshake_that_takes_too_long(server: Loopback, trusting: ssl.SSLContext) -> None:
    """A handshake that is not answered is a ConnectTimeout, and the connection is closed."""
    server.hears_no_tls = True
    stream = await open_to(server)
    with pytest.raises(httpcore.ConnectTimeout):
        await stream.start_tls(trusting, "localhost", timeout=0.05)
    await until(lambda: server.open_now == 0)


async def test_a_handshake_that_fails(server: Loopback, trusting: ssl.SSLContext) -> None:
    """A handshake the other side does not understand is a ConnectError, and the connection is closed."""
    stream = await open_to(server)
    with pytest.raises(httpcore.ConnectError):
        await stream.start_tls(trusting, "localhost", timeout=5)
    await until(lambda: server.open_now == 0)


async def test_a_handshake_that_is_cancelled(server: Loopback, trusting: ssl.SSLContext) -> None:
    """A handshake that is cancelled closes its connection."""
    server.hears_no_tls = True
    stream = await open_to(server)
    with anyio.move_on_after(0.05) as scope:
        await stream.start_tls(trusting, "localhost")
    assert scope.cancelled_caught
    await until(lambda: server.open_now == 0)


@pytest.mark.parametrize("how", ["slammed", "gone"])
async def test_a_handshake_that_is_cut(
    loop_thread: LoopThread, nothing_left: None, trusting: ssl.SSLContext, how: str
) -> None:
    """A connection that ends before or in the handshake is a ConnectError."""
    with Loopback(loop_thread) as server:
        server.slam = 1 if how == "slammed" else 0
        server.default = hang
        stream = await open_to(server)
        if how == "gone":
            await until(lambda: server.opened == 1 and server.open_now == 1)
            server.drop_idle()
        await until(lambda: server.opened == 1 and server.open_now == 0)
        await anyio.sleep(0.02)
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(trusting, "localhost", timeout=5)
        await stream.aclose()


# The body of a request.


async def test_a_body_is_given_whole_each_time() -> None:
    """A request's body is one piece, the same each time it is sent; an empty one is none."""
    body = BodyStream(b"abc")
    assert [[b"abc"], [b"abc"]] == [[piece async for piece in body] for _ in range(2)]
    for empty in (None, b""):
        assert [] == [piece async for piece in BodyStream(empty)]


async def test_a_connection_lost_at_the_end_of_the_handshake(
    stream: AsyncioStream, wire: Wire, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's way to say that the connection was lost just when the handshake was done is a ConnectError."""

    async def start_tls(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    with pytest.raises(httpcore.ConnectError, match="lost"):
        await stream.start_tls(trusting, "localhost")

    assert ["abort"] == wire.asked
