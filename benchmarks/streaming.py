"""CPU of one typed event of a streamed run, by how it is read, how it is sent and how long the stream is."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass

from . import clients, stream_clients
from .harness import Check, Result, Sample, in_turns, median, ratio, serving
from .harness import measure as measure_in_process
from .stream_clients import READS
from .stream_payloads import CLOSING_EVENTS, OPENING_EVENTS

DELTAS = 4_000
SIZES = (10, 100, 1_000, 10_000)
GROWN = (
    "asyncassist: events",
    "asyncassist: message at every delta",
    "openai: stream=True",
    "openai: handler, final message",
)
"""Those that are also measured at other sizes."""

RAW_AT_LEAST = 5.5
HANDLER_AT_LEAST = 4.5
GROWTH_AT_MOST = 1.2


@dataclass(frozen=True)
class Sending:
    """How the server sends a stream."""

    column: str
    per_write: int = 1
    pause_ms: float = 0.0
    deltas: int = DELTAS


EACH = Sending("each event a write (µs)")
APART = Sending("... 1 ms apart (µs)", pause_ms=1.0, deltas=1_000)
MANY = Sending("50 events a write (µs)", per_write=50)
GROWTH = tuple(Sending(f"{size:,} deltas (µs)", deltas=size) for size in SIZES)


def measure(base_url: str, read: str, deltas: int, streams: int) -> Sample:
    """Read ``streams`` streams one after the other, after one to warm up."""
    return asyncio.run(_measure(base_url, read, deltas, streams))


async def _measure(base_url: str, read: str, deltas: int, streams: int) -> Sample:
    name, take = READS[read]
    client = clients.connect(name, base_url)
    await take(client.api)
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(streams):
        seen, characters = await take(client.api)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await client.aclose()
    events = streams * (OPENING_EVENTS + deltas + CLOSING_EVENTS)
    return {"seen": seen, "characters": characters, "cpu_us": cpu / events * 1e6, "wall_us": wall / events * 1e6}


def run(*, quick: bool, repetitions: int) -> Result:
    """Compare the ways to read a stream."""
    result = Result(
        scenario="streaming",
        title="CPU of one typed event of a stream",
        quick=quick,
        method=(
            f"A run of {DELTAS:,} pieces of text ({APART.deltas:,} where they come 1 ms apart) and the usual "
            f"{OPENING_EVENTS + CLOSING_EVENTS} events around them, over a socket; each write is a chunk of the body. "
            "User and system CPU time of the client's process divided by the events the server sent, the request "
            "included, after one stream to warm up. Snapshots are kept in every row of asyncassist; in the rows "
            '"message at every delta" the message so far is asked for each time. The columns on the right are '
            f"for runs of other lengths, each event a write. Medians of {repetitions} processes per figure, in turns."
        ),
    )
    sendings = [EACH, APART, MANY, *(sending for sending in GROWTH if not quick or sending.deltas < DELTAS)]
    work = [(read, sending) for sending in sendings for read in READS if sending not in GROWTH or read in GROWN]
    with serving() as server:
        for read, sending in in_turns(work, repetitions):
            server.control("reset")
            plan = {"deltas": sending.deltas, "per_write": sending.per_write, "pause_ms": sending.pause_ms}
            server.control("streams", **plan)
            streams = 1 if sending.pause_ms else max(1, DELTAS // sending.deltas) * (1 if quick else 2)
            sample = measure_in_process(server, "streaming", read=read, deltas=sending.deltas, streams=streams)
            result.samples.append({"read": read, "sending": sending.column, **plan, "streams": streams} | sample)
    summarize(result, sendings)
    return result


def summarize(result: Result, sendings: list[Sending]) -> None:
    """Make the table and compare it with the targets."""
    cost: dict[tuple[str, Sending], float | None] = {}
    for read in READS:
        for sending in sendings:
            samples = [s for s in result.samples if (s["read"], s["sending"]) == (read, sending.column)]
            cost[read, sending] = median(samples, "cpu_us")
        result.rows.append({"stream": read} | {sending.column: cost[read, sending] for sending in sendings})
    for sending, how in ((EACH, "each event a write"), (MANY, "50 a write")):
        for ours in ("asyncassist: events", "asyncassist[aiohttp]: events"):
            raw = ratio(cost["openai: stream=True", sending], cost[ours, sending])
            name, _ = stream_clients.READS[ours]
            result.checks.append(
                Check(f"streaming, {how}: CPU of the SDK's raw stream over {name}", raw, RAW_AT_LEAST, "at least")
            )
        handler = ratio(
            cost["openai: handler, final message", sending], cost["asyncassist: events, final message", sending]
        )
        what = f"streaming, {how}: CPU of the SDK's handler over asyncassist with the final message"
        result.checks.append(Check(what, handler, HANDLER_AT_LEAST, "at least"))
    shorter, longer = (s for s in GROWTH if s.deltas in (1_000, 10_000))
    growth = ratio(cost.get((GROWN[0], longer)), cost.get((GROWN[0], shorter)))
    result.checks.append(
        Check("streaming: an event of 10,000 deltas over one of 1,000", growth, GROWTH_AT_MOST, "at most")
    )
