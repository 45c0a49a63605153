"""Many runs waited for at once: CPU, how late each end is seen, connections, and a call in the foreground."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from . import clients, payloads
from .harness import Check, Result, Sample, control, in_turns, median, ratio, serving
from .harness import measure as measure_in_process

CLIENTS = (clients.OURS, clients.OURS_AIOHTTP, clients.SDK)
LOADS = ((1_000, 5.0, 1.0), (10_000, 20.0, 5.0))
"""Runs, seconds each lives, seconds between polls."""

QUICK_LOADS = ((200, 2.0, 0.5),)
FOREGROUND_EVERY = 0.05
PATIENCE = 180.0
"""Seconds after which a client is stopped; what it has not seen by then counts as seen that moment."""

CPU_AT_LEAST = 2.0
LATE_AT_MOST = 0.3
FOREGROUND_AT_MOST = 0.25
CONNECTIONS = 100


def measure(base_url: str, client: str, control_port: int, runs: int, life: float, pause: float) -> Sample:
    """Start the runs on the server and wait for all of them."""
    return asyncio.run(_measure(base_url, client, control_port, runs, life, pause))


async def _measure(base_url: str, name: str, control_port: int, runs: int, life: float, pause: float) -> Sample:
    client = clients.connect(name, base_url)
    seen: dict[int, float] = {}
    failures: dict[str, int] = {}
    foreground: list[float] = []

    async def wait(number: int) -> None:
        try:
            await client.wait_for_run(payloads.THREAD, f"run_{number:024d}")
            seen[number] = time.monotonic()
        except Exception as error:
            failures[type(error).__name__] = failures.get(type(error).__name__, 0) + 1

    async def call() -> None:
        start = time.monotonic()
        try:
            await client.get_run(payloads.THREAD, payloads.RUN)
        finally:
            foreground.append(time.monotonic() - start)

    async def call_steadily() -> None:
        due = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            while True:
                calls.create_task(call())
                due += FOREGROUND_EVERY
                await asyncio.sleep(due - time.monotonic())

    await client.get_run(payloads.THREAD, payloads.RUN)
    # The end is a moment of the monotonic clock, which both processes share.
    end = control(control_port, "runs", count=runs, life=life, poll_after_ms=int(pause * 1000))["end"]
    cpu, start = time.process_time(), time.monotonic()
    waits = [asyncio.create_task(wait(number)) for number in range(runs)]
    steady = asyncio.create_task(call_steadily())
    await asyncio.wait(waits, timeout=PATIENCE)
    cpu, stopped = time.process_time() - cpu, time.monotonic()
    for task in (steady, *waits):
        task.cancel()
    await asyncio.gather(steady, *waits, return_exceptions=True)
    await client.aclose()
    late = sorted(seen.get(number, stopped) - end for number in range(runs))
    return {
        "completed": len(seen),
        "failures": failures,
        "cpu_s": cpu,
        "wall_s": stopped - start,
        "late_p50_s": _quantile(late, 0.5),
        "late_p99_s": _quantile(late, 0.99),
        "foreground_calls": len(foreground),
        "foreground_p50_ms": _quantile(sorted(foreground), 0.5) * 1000,
        "foreground_p99_ms": _quantile(sorted(foreground), 0.99) * 1000,
    }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def run(*, quick: bool, repetitions: int) -> Result:
    """Compare the clients under each load."""
    result = Result(
        scenario="polling",
        title="Waiting for many runs at once",
        quick=quick,
        method=(
            "All runs exist and end at the same moment by the server's clock; every client follows the server's "
            "openai-poll-after-ms. Late is the time from a run's end to the wait's return. Meanwhile one get_run is "
            f"started every 50 ms on the same client. A client is stopped after {PATIENCE:.0f} s. Medians of "
            f"{repetitions} processes, in turns."
        ),
    )
    loads = QUICK_LOADS if quick else LOADS
    with serving() as server:
        for (runs, life, pause), name in in_turns([(load, name) for load in loads for name in CLIENTS], repetitions):
            server.control("reset")
            job: dict[str, Any] = {"client": name, "runs": runs, "life": life, "pause": pause}
            sample = measure_in_process(server, "polling", control_port=server.control_port, **job)
            result.samples.append(sample | job | server.control("stats"))
    for load in loads:
        _summarize(result, *load)
    return result


def _summarize(result: Result, runs: int, life: float, pause: float) -> None:
    figures: dict[str, dict[str, float | None]] = {}
    for name in CLIENTS:
        samples = [s for s in result.samples if (s["client"], s["runs"]) == (name, runs)]
        names = ("completed", "cpu_s", "late_p50_s", "late_p99_s", "foreground_p50_ms", "foreground_p99_ms")
        mine = figures[name] = {figure: median(samples, figure) for figure in (*names, "peak_connections", "requests")}
        result.rows.append(
            {
                "load": f"{runs:,} runs of {life:g} s, polled at {pause:g} s",
                "client": name,
                "completed": mine["completed"],
                "CPU (s)": mine["cpu_s"],
                "late p50 (s)": mine["late_p50_s"],
                "late p99 (s)": mine["late_p99_s"],
                "foreground p50 (ms)": mine["foreground_p50_ms"],
                "foreground p99 (ms)": mine["foreground_p99_ms"],
                "connections": mine["peak_connections"],
                "requests": mine["requests"],
            }
        )
    ours, sdk = figures[clients.OURS], figures[clients.SDK]
    cpu = ratio(sdk["cpu_s"], ours["cpu_s"])
    late = ratio(ours["late_p99_s"], sdk["late_p99_s"])
    foreground = ratio(ours["foreground_p99_ms"], sdk["foreground_p99_ms"])
    what = f"polling {runs:,} runs"
    result.checks += [
        Check(f"{what}: completed", ours["completed"], runs, "at least", "runs"),
        Check(f"{what}: CPU of the SDK over ours", cpu, CPU_AT_LEAST, "at least"),
        Check(f"{what}: late p99, ours over the SDK's", late, LATE_AT_MOST, "at most"),
        Check(f"{what}: foreground p99, ours over the SDK's", foreground, FOREGROUND_AT_MOST, "at most"),
        Check(f"{what}: peak connections", ours["peak_connections"], CONNECTIONS, "at most", ""),
    ]
