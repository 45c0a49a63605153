"""How the benchmark server streams runs: as fast as they are taken, at a pace, or without an end."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from . import payloads, stream_payloads


@dataclass(frozen=True)
class Plan:
    """What the next streams are like."""

    deltas: int = 10
    per_write: int = 1
    """Events in one write, which is also one chunk."""

    pause_ms: float = 0.0
    """Between two writes from the first piece of text on."""

    stamped: int = 0
    """1: the text of each piece is the time at which it is sent, on the clock all processes of a machine share."""

    endless: int = 0
    """1: nothing comes after the pieces of text, until the client leaves."""


def plan(query: dict[str, str]) -> Plan:
    """Read a plan from the query of a control route."""
    pause_ms = float(query.pop("pause_ms", 0))
    return Plan(pause_ms=pause_ms, **{name: int(value) for name, value in query.items()})


def head() -> bytes:
    """Give the head of a streamed answer, with the headers of the API."""
    headers = {
        "date": "Sun, 22 Nov 2026 10:45:59 GMT",
        "content-type": "text/event-stream; charset=utf-8",
        "transfer-encoding": "chunked",
        "cache-control": "no-cache",
        **payloads.FIXED_HEADERS,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode()


HEAD = head()


@functools.cache
def prepared(plan: Plan) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Give the writes of a stream: those before, with and after its text."""
    words = stream_payloads.words(plan.deltas)
    opening, deltas = stream_payloads.opening(), [stream_payloads.delta(word) for word in words]
    closing = stream_payloads.closing("".join(words))
    if plan.per_write == 1:
        return opening, deltas, closing
    together = [*opening, *deltas, *closing]
    size = plan.per_write
    return [b"".join(together[at : at + size]) for at in range(0, len(together), size)], [], []


def chunk(data: bytes) -> bytes:
    """Give one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def send(plan: Plan, run_id: str, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Stream one run.

    Args:
        write: sends, after waiting as long as the client takes nothing.
    """
    before, deltas, after = prepared(plan)
    placeholder, own_id = stream_payloads.RUN.encode(), run_id.encode()
    await write(HEAD)
    for data in before:
        await write(chunk(data.replace(placeholder, own_id)))
    for data in deltas:
        if plan.pause_ms:
            await asyncio.sleep(plan.pause_ms / 1000)
        await write(chunk(stream_payloads.delta(repr(time.monotonic())) if plan.stamped else data))
    if plan.endless:
        await asyncio.Event().wait()  # the connection's end cancels this
    for data in after:
        await write(chunk(data.replace(placeholder, own_id)))
    await write(b"0\r\n\r\n")
