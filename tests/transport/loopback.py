"""A loopback HTTP server that misbehaves as it is told.

It runs in a thread with an event loop of its own, so that the client under test may run on any event loop. What it does
with each request is a `Behaviour`: the next one of its ``script``, else its ``default``. It keeps what it has received.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, Final, TypeVar

from attrs import define

__all__ = [
    "RUN",
    "Behaviour",
    "Connection",
    "LoopThread",
    "Loopback",
    "Received",
    "answer",
    "chunked",
    "drip",
    "drop",
    "drop_unread",
    "flood",
    "hang",
    "head",
    "hold",
    "pipe",
    "raw",
    "reset",
    "tunnel",
]

T = TypeVar("T")

RUN: Final = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "status": "completed"}
"""An object every operation on runs can read."""


class LoopThread:
    """A thread with an event loop, for any number of servers."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the loop do some work and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def call(self, function: Callable[[], object]) -> None:
        """Let the loop call a function soon."""
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@define
class Received:
    """A request as it came in."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    """The number of its connection, from 1."""

    def header(self, name: str) -> str | None:
        """Return the value of a header, None where it was not sent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} was sent twice"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Connection:
    """One accepted connection, in the hands of a behaviour."""

    def __init__(
        self, server: Loopback, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.number = number
        self.reader = reader
        self.writer = writer
        self.request: Received | None = None

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def act(self) -> None:
        """Note that the request has had its effect."""
        assert self.request is not None
        self.server.acted.append(self.request)

    def reset(self) -> None:
        """Let the connection break instead of ending."""
        raw_socket = self.writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait(self, event: asyncio.Event) -> bool:
        """Wait for an event; False where the client goes away before."""
        gone = asyncio.ensure_future(self.reader.read(1))
        happened = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({gone, happened}, return_when=asyncio.FIRST_COMPLETED)
            return happened.done()
        finally:
            for task in (gone, happened):
                task.cancel()
            await asyncio.gather(gone, happened, return_exceptions=True)


Behaviour = Callable[[Connection], Awaitable[bool]]
"""Answers a request, or does not; says whether the connection is kept."""


class Loopback:
    """The server.

    Args:
        thread: where it runs.
        tls: makes it an https server.
        max_idle: seconds after which it closes an unused connection.
    """

    def __init__(self, thread: LoopThread, *, tls: ssl.SSLContext | None = None, max_idle: float | None = None) -> None:
        self.script: deque[Behaviour] = deque()
        self.default: Behaviour = answer(RUN)
        self.requests: list[Received] = []
        self.acted: list[Received] = []
        self.opened = 0
        self.open_now = 0
        self.most_open = 0
        self.slam = 0
        """So many of the next connections are closed as soon as they are accepted."""
        self.early: Behaviour | None = None
        """Answers each request when its first byte has come; the connection is closed then."""
        self.hears_no_tls = False
        """A TLS handshake on plain http is left hanging instead of being refused."""
        self.peer_certificates: list[Any] = []
        self._thread = thread
        self._tls = tls
        self._max_idle = max_idle
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Loopback:
        self._server = self._thread.run(self._start())
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.run(self._stop())

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"{self.origin}/v1"

    def release(self) -> None:
        """Let all held answers go, those to come included."""
        self._thread.call(self._released.set)

    def drop_idle(self) -> None:
        """Close every connection that is open now."""
        self._thread.run(self._cancel_all())

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls, backlog=1024)

    async def _stop(self) -> None:
        self._server.close()
        await self._cancel_all()
        await asyncio.sleep(0)

    async def _cancel_all(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        if self._tls is not None:
            self.peer_certificates.append(writer.get_extra_info("peercert"))
        try:
            if self.slam:
                self.slam -= 1
            else:
                await self._talk(Connection(self, self.opened, reader, writer))
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.transport.abort() if self._tls else writer.close()
                await asyncio.sleep(0)
            self.open_now -= 1
            self._tasks.discard(task)

    async def _talk(self, connection: Connection) -> None:
        is_kept = True
        while is_kept:
            try:
                first = await asyncio.wait_for(connection.reader.read(1), self._max_idle)
            except TimeoutError:
                return
            if not first:
                return
            if first == b"\x16" and self._tls is None:  # a TLS handshake
                if not self.hears_no_tls:
                    await connection.send(head(400, length=0))
                    return
                await connection.wait(asyncio.Event())
            behaviour = self.script.popleft() if self.script else self.default
            if behaviour is drop_unread:
                connection.reset()
                return
            if self.early is not None:
                await self.early(connection)
                return
            connection.request = await _read_request(connection, first)
            self.requests.append(connection.request)
            is_kept = await behaviour(connection)


async def _read_request(connection: Connection, first: bytes) -> Received:
    head, *lines = (first + await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    method, target, _ = head.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    lengths = [int(value) for name, value in headers if name.lower() == "content-length"]
    body = await connection.reader.readexactly(lengths[0]) if lengths else b""
    return Received(method, target, headers, body, connection.number)


def head(status: int, headers: Iterable[tuple[str, str]] = (), *, length: int | None = None) -> bytes:
    """Return the head of an answer."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers)]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answer(
    body: object = b"",
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    keep: bool = True,
    length: int | None = None,
) -> Behaviour:
    """Answer as a good server does.

    Args:
        body: bytes as they are; anything else as JSON.
        keep: whether the connection stays open.
        length: a Content-Length that differs from the truth.
    """
    is_json = not isinstance(body, bytes)
    content = json.dumps(body).encode() if is_json else body
    assert isinstance(content, bytes)
    all_headers = {"content-type": "application/json"} if is_json else {}
    if not keep:
        all_headers["connection"] = "close"
    all_headers |= headers or {}
    data = head(status, all_headers.items(), length=len(content) if length is None else length) + content

    async def behave(connection: Connection) -> bool:
        connection.act()
        await connection.send(data)
        return keep

    return behave


def raw(data: bytes, *, keep: bool = False) -> Behaviour:
    """Send bytes as they are."""

    async def behave(connection: Connection) -> bool:
        connection.act()
        await connection.send(data)
        return keep

    return behave


def chunked(*pieces: bytes, status: int = 200, headers: dict[str, str] | None = None, ended: bool = True) -> Behaviour:
    """Answer in chunks, without an end where ``ended`` is False."""

    async def behave(connection: Connection) -> bool:
        connection.act()
        await connection.send(head(status, {"transfer-encoding": "chunked", **(headers or {})}.items()))
        for piece in pieces:
            await connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if ended:
            await connection.send(b"0\r\n\r\n")
        return ended

    return behave


def drip(data: bytes, *, pause: float) -> Behaviour:
    """Send one byte after the other with pauses, until the client goes away."""

    async def behave(connection: Connection) -> bool:
        connection.act()
        for byte in data:
            await connection.send(bytes([byte]))
            await asyncio.sleep(pause)
        return False

    return behave


def flood(start: bytes, piece: bytes, *, times: int = 100_000) -> Behaviour:
    """Send the same bytes again and again, until the client goes away."""

    async def behave(connection: Connection) -> bool:
        await connection.send(start)
        for _ in range(times):
            await connection.send(piece)
        return False

    return behave


def hold(then: Behaviour | None = None) -> Behaviour:
    """Answer once the server is told to `Loopback.release`."""
    behaviour = then or answer(RUN)

    async def behave(connection: Connection) -> bool:
        return await connection.wait(connection.server._released) and await behaviour(connection)

    return behave


def drop(*, acts: bool = True) -> Behaviour:
    """Read the request, act or do not, and hang up."""

    async def behave(connection: Connection) -> bool:
        if acts:
            connection.act()
        return False

    return behave


async def reset(connection: Connection) -> bool:
    """Read the request and break the connection."""
    connection.reset()
    return False


async def drop_unread(connection: Connection) -> bool:
    """Break the connection when the first byte of a request has come."""
    raise NotImplementedError  # done where the request would be read


async def hang(connection: Connection) -> bool:
    """Never answer."""
    await connection.wait(asyncio.Event())
    return False


def tunnel(port: int) -> Behaviour:
    """Be a proxy: connect what asks for a tunnel to a port of this machine, answer everything else."""
    plain = answer(RUN)

    async def behave(connection: Connection) -> bool:
        assert connection.request is not None
        if connection.request.method != "CONNECT":
            return await plain(connection)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await connection.send(head(200))
            await asyncio.wait(
                [
                    asyncio.ensure_future(pipe(connection.reader, writer)),
                    asyncio.ensure_future(pipe(reader, connection.writer)),
                ]
            )
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)
        return False

    return behave


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what comes, until it ends."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
