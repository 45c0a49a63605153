"""A loopback server that answers faster than any client can ask, and can misbehave on request.

``python -m benchmarks.server`` serves the API on one port and its own control routes on another, and tells both in
one line of JSON. It ends when its standard input closes.

A thread's id says how it is served: ``thread_slow...`` answers late and in pieces, ``thread_hold...`` answers
after 300 ms, ``thread_bomb...`` answers with what no client should swallow, and ``thread_stream...`` streams its runs.
All others are answered at once, or with the faults or the delays set by the control port.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import random
import re
import ssl
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from . import payloads, stream_server

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
AFTER = re.compile(r"[?&]after=([^&]+)")
MARKER = re.compile(rb"marker-\d+")
HOLD_SECONDS = 0.3
SLOW_SECONDS = 0.008
BOMB_BYTES = 1 << 30
ENDLESS_BYTES = 10_000_000_000
ENDLESS_HEADER_BYTES = 100_000_000
MESSAGES = 10_000


def answer(body: bytes, status: str = "200 OK", **extra: str) -> bytes:
    """Put a JSON body behind the 22 headers of the API."""
    headers = {
        "date": "Sun, 22 Nov 2026 10:45:59 GMT",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **payloads.FIXED_HEADERS,
        **{name.replace("_", "-"): value for name, value in extra.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@dataclass
class Faults:
    """How many of every 100 requests go wrong in which way, in an order that is random but always the same."""

    drop_before: int = 0
    drop_after: int = 0
    error_after: int = 0
    limited: int = 0
    hang_up: int = 0
    """1: close the connection after each answer, so that every call has to connect."""

    chance: random.Random = field(default_factory=lambda: random.Random(7))
    deck: list[str] = field(default_factory=list)

    def draw(self) -> str:
        """Say what happens to the next request."""
        if not self.deck:
            for name in ("drop_before", "drop_after", "error_after", "limited"):
                self.deck += [name] * getattr(self, name)
            self.deck += [""] * (100 - len(self.deck))
            self.chance.shuffle(self.deck)
        return self.deck.pop()


class State:
    """What the server knows, counts and was told to do."""

    def __init__(self) -> None:
        self.pages = {cursor: answer(body) for cursor, body in payloads.message_pages(MESSAGES).items()}
        self.in_progress = answer(payloads.encode(payloads.run(payloads.RUN, payloads.THREAD, "in_progress")))
        self.serial = 0
        self.open: set[Connection] = set()
        self.reset()

    def reset(self) -> None:
        """Forget everything counted, and all faults."""
        self.requests = 0
        self.connections = 0
        self.peak_connections = len(self.open)
        self.in_flight = 0
        self.peak_in_flight = 0
        self.acts: Counter[bytes] = Counter()
        self.faults: Faults | None = None
        self.poll_after = ""
        self.runs: dict[str, float] = {}
        self.plan = stream_server.Plan()
        self.poll_seconds = self.cancel_seconds = 0.0
        self.cancelled: dict[str, float] = {}

    def stats(self) -> dict[str, object]:
        """Give the counters."""
        return {
            "requests": self.requests,
            "connections": self.connections,
            "open_connections": len(self.open),
            "peak_connections": self.peak_connections,
            "peak_in_flight": self.peak_in_flight,
            "acted_on": len(self.acts),
            "duplicates": sum(times - 1 for times in self.acts.values()),
        }

    def start_runs(self, count: int, life: float, poll_after_ms: int) -> dict[str, object]:
        """Start ``count`` runs that end ``life`` seconds from now, and tell when that is."""
        end = time.monotonic() + life
        self.runs = {f"run_{number:024d}": end for number in range(count)}
        self.poll_after = str(poll_after_ms)
        return {"end": end}

    def run(self, run_id: str, thread_id: str) -> bytes:
        """Answer get_run from the clock."""
        end = self.runs.get(run_id)
        if end is None:
            return self.in_progress
        status = "completed" if time.monotonic() >= end else "in_progress"
        head, tail = _run_template(status, self.poll_after)
        return head + run_id.encode() + tail

    def reply(self, method: str, target: str, body: bytes) -> bytes:
        """Answer a request, acting on it if it is a POST."""
        path = target.partition("?")[0]
        if method == "POST":
            self.serial += 1
            if path.endswith("/cancel"):
                self.cancelled.setdefault(path.split("/")[5], time.monotonic())
            if marker := MARKER.search(body):
                self.acts[marker.group()] += 1
            return answer(payloads.encode(payloads.created(path, self.serial)))
        if path.endswith("/messages"):
            after = AFTER.search(target)
            return self.pages[after.group(1) if after else ""]
        parts = path.split("/")
        return self.run(parts[-1], parts[-3])


@functools.cache
def _run_template(status: str, poll_after: str) -> tuple[bytes, bytes]:
    placeholder = "run_" + 24 * "#"
    body = payloads.encode(payloads.run(placeholder, payloads.THREAD, status))
    head, _, tail = answer(body, openai_poll_after_ms=poll_after).partition(placeholder.encode())
    return head, tail


@functools.cache
def bomb(kind: str) -> bytes:
    """Give 1 GiB of blanks in few bytes."""
    blanks = b" " * (1 << 20)
    rounds = range(BOMB_BYTES >> 20)
    if kind == "gzip":
        squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join([squeeze.compress(blanks) for _ in rounds]) + squeeze.flush()
    if kind == "br":
        import brotli  # type: ignore[import-untyped]

        compressor = brotli.Compressor(quality=5)
        return b"".join([compressor.process(blanks) for _ in rounds]) + bytes(compressor.finish())
    import zstandard

    frame = zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join([frame.compress(blanks) for _ in rounds]) + frame.flush()


class Connection(asyncio.Protocol):
    """One client connection: requests in, prepared answers out."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.received = b""
        self.writable = asyncio.Event()
        self.writable.set()
        self.stream: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        state = self.state
        state.open.add(self)
        state.connections += 1
        state.peak_connections = max(state.peak_connections, len(state.open))

    def connection_lost(self, exc: Exception | None) -> None:
        """Discount the connection."""
        self.state.open.discard(self)
        self.writable.set()
        if self.stream is not None:
            self.stream.cancel()

    def pause_writing(self) -> None:
        """Hold the endless answers back."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let the endless answers go on."""
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self.received += data
        while True:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = 0
            if not self.received.startswith(b"GET ") and (found := CONTENT_LENGTH.search(self.received, 0, end)):
                length = int(found.group(1))
            if len(self.received) < end + 4 + length:
                return
            method, target, _ = self.received[: self.received.index(b"\r\n")].decode("latin-1").split(" ")
            body = self.received[end + 4 : end + 4 + length]
            self.received = self.received[end + 4 + length :]
            self.handle(method, target, body)

    def handle(self, method: str, target: str, body: bytes) -> None:
        """Answer one request as its thread and the faults demand."""
        state = self.state
        state.requests += 1
        if state.faults is not None:
            self.fail_or_answer(state.faults, method, target, body)
        elif "/thread_slow" in target:
            loop = asyncio.get_running_loop()
            delay = random.uniform(0, SLOW_SECONDS)
            reply = state.reply(method, target, body)
            half = random.randrange(len(reply))
            loop.call_later(delay, self.transport.write, reply[:half])
            loop.call_later(delay + random.uniform(0, SLOW_SECONDS), self.transport.write, reply[half:])
        elif "/thread_hold" in target:
            state.in_flight += 1
            state.peak_in_flight = max(state.peak_in_flight, state.in_flight)
            asyncio.get_running_loop().call_later(HOLD_SECONDS, self.release, state.reply(method, target, body))
        elif "/thread_bomb" in target:
            task = asyncio.get_running_loop().create_task(self.overwhelm(target.rpartition("/")[2]))
            task.add_done_callback(lambda done: done.exception())
        elif "/thread_stream" in target and target.endswith("/runs") and method == "POST":
            state.serial += 1
            sending = stream_server.send(state.plan, f"run_{state.serial:024d}", self.write)
            self.stream = asyncio.get_running_loop().create_task(sending)
        else:
            reply = state.reply(method, target, body)
            delay = state.poll_seconds if method == "GET" else state.cancel_seconds
            if delay:
                asyncio.get_running_loop().call_later(delay, self.transport.write, reply)
            else:
                self.transport.write(reply)

    async def write(self, data: bytes) -> None:
        """Send, after waiting as long as the client takes nothing."""
        await self.writable.wait()
        self.transport.write(data)

    def release(self, reply: bytes) -> None:
        """End a held request."""
        self.state.in_flight -= 1
        self.transport.write(reply)

    def fail_or_answer(self, faults: Faults, method: str, target: str, body: bytes) -> None:
        """Answer with one of the faults, or properly."""
        fault = faults.draw()
        if fault == "drop_before":
            self.transport.close()
            return
        if fault == "limited":
            reply = answer(payloads.error(429, "Too many requests."), "429 Too Many Requests", retry_after_ms="50")
        else:
            reply = self.state.reply(method, target, body)
        if fault == "error_after":
            reply = answer(payloads.error(500, "The server had an error."), "500 Internal Server Error")
        if faults.hang_up:
            reply = reply.replace(b"\r\nconnection: keep-alive\r\n", b"\r\nconnection: close\r\n", 1)
        if fault != "drop_after":
            self.transport.write(reply)
        if fault == "drop_after" or faults.hang_up:
            self.transport.close()

    async def overwhelm(self, kind: str) -> None:
        """Send what no client should swallow, as long as it listens."""
        if kind in {"gzip", "br", "zstd"}:
            self.transport.write(answer(bomb(kind), content_encoding=kind))
            return
        if kind == "headers":
            self.transport.write(b"HTTP/1.1 200 OK\r\n")
            piece, total = b"x-filler: " + b"y" * 65_000 + b"\r\n", ENDLESS_HEADER_BYTES
        else:
            start = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {ENDLESS_BYTES}\r\n\r\n"
            self.transport.write(start.encode())
            piece, total = b" " * (1 << 18), ENDLESS_BYTES
        for _ in range(total // len(piece)):
            await self.writable.wait()
            if self.transport.is_closing():
                return
            self.transport.write(piece)
        if kind == "headers":
            self.transport.write(b"content-length: 0\r\n\r\n")


class Server:
    """The API's port and its control port."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.state = State()
        self.tls = tls
        self.port = 0
        self.listener: asyncio.Server | None = None
        self.flapping: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Open the API's port, the same each time."""
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(
            lambda: Connection(self.state), "127.0.0.1", self.port, ssl=self.tls, backlog=4096, reuse_address=True
        )
        self.port = self.listener.sockets[0].getsockname()[1]

    async def flap(self, closed: float, opened: float) -> None:
        """Refuse connections for ``closed`` seconds after every ``opened`` seconds."""
        while True:
            await asyncio.sleep(opened)
            assert self.listener is not None
            self.listener.close()
            await asyncio.sleep(closed)
            await self.listen()

    async def control(self, target: str) -> dict[str, object]:
        """Do what a control route asks."""
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/reset":
            self.state.reset()
            if self.flapping is not None:
                self.flapping.cancel()
                self.flapping = None
                await asyncio.sleep(0)
                assert self.listener is not None
                if not self.listener.is_serving():
                    await self.listen()
        elif url.path == "/runs":
            return self.state.start_runs(int(query["count"]), float(query["life"]), int(query["poll_after_ms"]))
        elif url.path == "/streams":
            self.state.plan = stream_server.plan(query)
            stream_server.prepared(self.state.plan)
        elif url.path == "/delays":
            self.state.poll_seconds, self.state.cancel_seconds = float(query["poll"]), float(query["cancel"])
        elif url.path == "/cancelled":
            return dict(self.state.cancelled)
        elif url.path == "/faults":
            self.state.faults = faults = Faults()
            for name, value in query.items():
                setattr(faults, name, int(value))
        elif url.path == "/flap":
            flap = self.flap(float(query["closed"]), float(query["opened"]))
            self.flapping = asyncio.get_running_loop().create_task(flap)
        elif url.path == "/bomb":
            bomb(query["kind"])  # made now, so that no request waits for it
        return self.state.stats()

    async def control_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one control request."""
        head = await reader.readuntil(b"\r\n\r\n")
        body = payloads.encode(await self.control(head.split(b" ")[1].decode()))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async def serve(self, ca_file: str) -> None:
        """Serve until standard input closes."""
        await self.listen()
        control = await asyncio.start_server(self.control_connection, "127.0.0.1", 0)
        address = {"port": self.port, "control_port": control.sockets[0].getsockname()[1], "ca_file": ca_file}
        print(json.dumps(address), flush=True)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def watch() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=watch, daemon=True).start()
        await ended.wait()


def tls_context(directory: str) -> tuple[ssl.SSLContext, str]:
    """Make a certificate for 127.0.0.1; give the server's context and the authority's file."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = f"{directory}/authority.pem"
    authority.cert_pem.write_to_path(ca_file)
    return context, ca_file


def main() -> None:
    """Run the server as a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate made for the occasion")
    with tempfile.TemporaryDirectory() as directory:
        context, ca_file = tls_context(directory) if parser.parse_args().tls else (None, "")
        asyncio.run(Server(context).serve(ca_file))


if __name__ == "__main__":
    main()
