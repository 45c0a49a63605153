"""A server that suffers from a crowd. A process of its own.

Every request gets a run. Up to so many requests at a time each take a moment; of more, each takes as much longer as the
square of their number says, as where they contend for locks or memory, so that fewer are answered a second.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import payloads
from .harness import HERE, Server

if TYPE_CHECKING:
    from collections.abc import Generator

_RUN = payloads.encode(payloads.run(payloads.RUN, payloads.THREAD, "in_progress"))
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_RUN), _RUN)


class Room:
    """Knows how many requests are being answered, and for how long."""

    def __init__(self, comfortable: int, seconds: float) -> None:
        self._comfortable = comfortable
        self._seconds = seconds
        self._now = 0

    def enter(self) -> float:
        """Count a request, and return the seconds it takes."""
        self._now += 1
        return float(self._seconds * max(1.0, (self._now / self._comfortable) ** 2))

    def leave(self) -> None:
        """Note that one was answered, or that nobody waits for it any more."""
        self._now -= 1


class Connection(asyncio.Protocol):
    """One connection. Its requests have no bodies."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request when its time has come."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self._room.enter(), self._answer)

    def _answer(self) -> None:
        assert self._transport is not None
        self._room.leave()
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


@contextmanager
def crowded(comfortable: int, seconds: float) -> Generator[Server]:
    """Run the server in a process of its own."""
    settings = json.dumps({"comfortable": comfortable, "seconds": seconds})
    command = [sys.executable, "-m", "benchmarks.crowd_server", settings]
    with subprocess.Popen(
        command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), 0, "")
        finally:
            process.stdin.close()
            process.wait(10)


async def _serve(comfortable: int, seconds: float) -> None:
    room = Room(comfortable, seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(room), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
