"""A thousand streams at once: errors, memory, and how long somebody else's call takes meanwhile."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from . import clients, payloads, stream_clients
from .cancels import living_tasks, open_sockets
from .first_delta import quantile
from .harness import Check, Result, Sample, in_turns, median, ratio, serving
from .harness import measure as measure_in_process
from .listing import resident_bytes

SDK_2000 = "openai, 2,000 connections"
CLIENTS = {
    clients.OURS: (clients.OURS, stream_clients.ours_events),
    clients.OURS_AIOHTTP: (clients.OURS_AIOHTTP, stream_clients.ours_events),
    clients.SDK: (clients.SDK, stream_clients.sdk_handler),
    SDK_2000: (clients.SDK, stream_clients.sdk_handler),
}
STREAMS = 1_000
QUICK_STREAMS = 100
DELTAS = 20
PAUSE_MS = 500
FOREGROUND_EVERY = 0.05
PATIENCE = 120.0
SETTLED_SECONDS = 6.0
"""Seconds until all streams have begun, whose memory is looked at then."""

FOREGROUND_AT_MOST = 0.25
FIGURES = (
    "complete",
    "cpu_s",
    "wall_s",
    "stream_kib",
    "foreground_p50_ms",
    "foreground_p99_ms",
    "later_p99_ms",
    "peak_connections",
    "sockets_left",
    "tasks_left",
)


def measure(base_url: str, client: str, streams: int) -> Sample:
    """Read all streams at once, and call get_run now and then."""
    return asyncio.run(_measure(base_url, client, streams))


async def _measure(base_url: str, name: str, streams: int) -> Sample:
    library, read = CLIENTS[name]
    sockets_before, tasks_before = open_sockets(), living_tasks()
    client = clients.connect(library, base_url, **({"max_connections": 2_000} if name == SDK_2000 else {}))
    await read(client.api)
    await client.get_run(payloads.THREAD, payloads.RUN)
    complete = 0
    failures: dict[str, int] = {}
    foreground: dict[float, float] = {}

    async def follow() -> None:
        nonlocal complete
        try:
            events, _ = await read(client.api)
            complete += events >= DELTAS
        except Exception as error:
            failures[type(error).__name__] = failures.get(type(error).__name__, 0) + 1

    async def call() -> None:
        called = time.monotonic()
        try:
            await client.get_run(payloads.THREAD, payloads.RUN)
        finally:
            foreground[called] = (time.monotonic() - called) * 1000

    async def call_steadily() -> None:
        due = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            while True:
                calls.create_task(call())
                due += FOREGROUND_EVERY
                await asyncio.sleep(due - time.monotonic())

    gc.collect()
    before, cpu, start = resident_bytes(), time.process_time(), time.monotonic()
    tasks = [asyncio.create_task(follow()) for _ in range(streams)]
    steady = asyncio.create_task(call_steadily())
    await asyncio.sleep(SETTLED_SECONDS)
    memory = resident_bytes() - before
    await asyncio.wait(tasks, timeout=PATIENCE)
    cpu, wall = time.process_time() - cpu, time.monotonic() - start
    for task in (steady, *tasks):
        task.cancel()
    await asyncio.gather(steady, *tasks, return_exceptions=True)
    await client.aclose()
    await asyncio.sleep(0.2)  # closing a socket takes the loop another turn
    later = [milliseconds for called, milliseconds in foreground.items() if called - start > SETTLED_SECONDS]
    return {
        "complete": complete,
        "failures": failures,
        "cpu_s": cpu,
        "wall_s": wall,
        "stream_kib": memory / streams / 1024,
        "sockets_left": open_sockets() - sockets_before,
        "tasks_left": living_tasks() - tasks_before,
        "foreground_calls": len(foreground),
        "foreground_p50_ms": quantile([*foreground.values()], 0.5),
        "foreground_p99_ms": quantile([*foreground.values()], 0.99),
        "later_p99_ms": quantile(later, 0.99) if later else None,
    }


def run(*, quick: bool, repetitions: int) -> Result:
    """Compare the clients under many streams."""
    streams = QUICK_STREAMS if quick else STREAMS
    result = Result(
        scenario="many_streams",
        title=f"{streams:,} streams at once in one process",
        quick=quick,
        method=(
            f"All begin at the same moment, and each has {DELTAS} pieces of text {PAUSE_MS} ms apart. Meanwhile one "
            f"get_run is started every {FOREGROUND_EVERY * 1000:.0f} ms on the same client; those called later "
            f"than {SETTLED_SECONDS:g} s after the start are also shown by themselves. Memory is the growth of "
            f"the resident set {SETTLED_SECONDS:g} s after the start, when all have begun, divided by the streams. "
            f"Sockets and tasks are counted after the client was closed. Medians of {repetitions} processes, in turns."
        ),
    )
    with serving() as server:
        for name in in_turns(list(CLIENTS), repetitions):
            server.control("reset")
            server.control("streams", deltas=DELTAS, pause_ms=PAUSE_MS)
            sample = measure_in_process(server, "many_streams", client=name, streams=streams)
            result.samples.append({"client": name, "streams": streams} | sample | server.control("stats"))
    figures: dict[str, dict[str, Any]] = {}
    for name in CLIENTS:
        samples = [sample for sample in result.samples if sample["client"] == name]
        mine = figures[name] = {figure: median(samples, figure) for figure in FIGURES}
        result.rows.append(
            {
                "client": name,
                "complete": mine["complete"],
                "CPU (s)": mine["cpu_s"],
                "all ended after (s)": mine["wall_s"],
                "memory of a stream (KiB)": mine["stream_kib"],
                "foreground p50 (ms)": mine["foreground_p50_ms"],
                "foreground p99 (ms)": mine["foreground_p99_ms"],
                f"after {SETTLED_SECONDS:g} s, p99 (ms)": mine["later_p99_ms"],
                "connections": mine["peak_connections"],
                "sockets left": mine["sockets_left"],
                "tasks left": mine["tasks_left"],
            }
        )
    for name in (clients.OURS, clients.OURS_AIOHTTP):
        mine, sdk, roomy = figures[name], figures[clients.SDK], figures[SDK_2000]
        what = f"{streams:,} streams, {name}"
        late = ratio(mine["foreground_p99_ms"], sdk["foreground_p99_ms"])
        late_roomy = ratio(mine["foreground_p99_ms"], roomy["foreground_p99_ms"])
        result.checks += [
            Check(f"{what}: complete", mine["complete"], streams, "at least", "streams"),
            Check(f"{what}: sockets left", mine["sockets_left"], 0, "at most", ""),
            Check(f"{what}: tasks left", mine["tasks_left"], 0, "at most", ""),
            Check(f"{what}: foreground p99, ours over the SDK's", late, FOREGROUND_AT_MOST, "at most"),
            Check(f"{what}: the same, SDK with 2,000 connections", late_roomy, FOREGROUND_AT_MOST, "at most"),
        ]
    return result
