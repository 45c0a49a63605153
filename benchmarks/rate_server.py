"""A server that allows so many requests a second, and others later on, and answers the rest 429. A process of its own.

Every request gets a run. Requests are allowed by a token bucket that holds a second's worth; every second 429 says
``Retry-After: 1``, as servers do that count in whole seconds, the others say nothing.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import payloads
from .harness import HERE, Server

if TYPE_CHECKING:
    from collections.abc import Generator

_RUN = payloads.encode(payloads.run(payloads.RUN, payloads.THREAD, "in_progress"))
_REFUSAL = json.dumps({"error": {"message": "Too many requests", "type": "requests", "code": "rate_limit"}}).encode()


class Allowance:
    """Decides which requests are allowed, and counts.

    Args:
        plan: requests a second, one phase after the other, the last one for good.
        phase: seconds of each, from the first request on.
    """

    def __init__(self, plan: list[float], phase: float) -> None:
        self._plan = plan
        self._phase = phase
        self._start: float | None = None
        self._tokens = plan[0]
        self._at = 0.0
        self.allowed: dict[int, int] = {}
        self.refused: dict[int, int] = {}

    def take(self) -> int | None:
        """Count a request; None where it is allowed, else the number of its refusal."""
        now = time.monotonic()
        if self._start is None:
            self._start = self._at = now
        passed = now - self._start
        rate = self._plan[min(int(passed / self._phase), len(self._plan) - 1)]
        self._tokens = min(rate, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            self.allowed[int(passed)] = self.allowed.get(int(passed), 0) + 1
            return None
        self.refused[int(passed)] = self.refused.get(int(passed), 0) + 1
        return sum(self.refused.values())


class Connection(asyncio.Protocol):
    """One connection. Its requests have no bodies."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        assert self._transport is not None
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            refusal = self._allowance.take()
            body, head = (_RUN, b"200 OK") if refusal is None else (_REFUSAL, b"429 Too Many Requests")
            if refusal is not None and refusal % 2:
                head += b"\r\nretry-after: 1"
            self._transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (head, len(body), body)
            )


@contextmanager
def limiting(plan: list[float], phase: float) -> Generator[tuple[Server, dict[str, dict[str, int]]]]:
    """Run the server in a process of its own, and give what it has counted, by second, when it has ended."""
    command = [sys.executable, "-m", "benchmarks.rate_server", json.dumps({"plan": plan, "phase": phase})]
    counts: dict[str, dict[str, int]] = {}
    with subprocess.Popen(
        command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), 0, ""), counts
        finally:
            process.stdin.close()
            counts.update(json.loads(process.stdout.readline() or "{}"))
            process.wait(10)


async def _serve(plan: list[float], phase: float) -> None:
    allowance = Allowance(plan, phase)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(allowance), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({"allowed": allowance.allowed, "refused": allowance.refused}), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
