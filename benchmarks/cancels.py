"""Calls cancelled at random moments on a pool of ten: what is left, and whether the client still works."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import random
import time
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel

from . import clients, payloads
from .harness import Check, Result, Sample, control, serving
from .harness import measure as measure_in_process

if TYPE_CHECKING:
    from collections.abc import Awaitable

Style = Literal["native", "anyio"]

CASES: tuple[tuple[str, str, Style], ...] = (
    (clients.OURS, "asyncio", "native"),
    (clients.OURS, "asyncio", "anyio"),
    (clients.OURS, "trio", "native"),
    (clients.OURS, "trio", "anyio"),
    (clients.OURS_AIOHTTP, "asyncio", "native"),
    (clients.OURS_AIOHTTP, "asyncio", "anyio"),
    (clients.SDK, "asyncio", "native"),
    (clients.SDK, "asyncio", "anyio"),
)
POOL = 10
CALLERS = 15
LONGEST_ANSWER = 0.016
LONGEST_WAIT = 0.03
SLOW_THREAD = "thread_slow00000000000000000"
HELD_THREAD = "thread_hold00000000000000000"


def measure(base_url: str, client: str, control_port: int, backend: str, style: Style, seconds: float) -> Sample:
    """Cancel calls for ``seconds``, then look at what is left."""
    return anyio.run(_measure, base_url, client, control_port, style, seconds, backend=backend)


async def _measure(base_url: str, name: str, control_port: int, style: Style, seconds: float) -> Sample:
    sockets_before, tasks_before = open_sockets(), living_tasks()
    client = clients.connect(name, base_url, max_connections=POOL)
    capacity = await _fill_pool(client, control_port)
    chance = random.Random(3)
    deadline = time.monotonic() + seconds
    counts = {"finished": 0, "cancelled": 0}
    failures: dict[str, int] = {}

    async def one_call() -> None:
        if chance.random() < 0.3:
            await client.create_message(SLOW_THREAD, "marker-0")
        else:
            await client.get_run(SLOW_THREAD, payloads.RUN)

    async def caller() -> None:
        while time.monotonic() < deadline:
            try:
                finished = await _cancelled_after(chance.uniform(0, LONGEST_WAIT), one_call(), style)
                counts["finished" if finished else "cancelled"] += 1
            except client.errors as error:
                failures[type(error).__name__] = failures.get(type(error).__name__, 0) + 1

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(caller)

    probes = await _probe(client)
    slots_left = capacity - await _fill_pool(client, control_port)
    await client.aclose()
    await anyio.sleep(0.2)  # closing a socket takes the loop another turn
    gc.collect()
    return {
        **counts,
        "failures": failures,
        "probes_ok": probes,
        "capacity": capacity,
        "slots_left": slots_left,
        "sockets_left": open_sockets() - sockets_before,
        "tasks_left": living_tasks() - tasks_before,
        "server_connections_left": control(control_port, "stats")["open_connections"],
    }


async def _cancelled_after(seconds: float, call: Awaitable[None], style: Style) -> bool:
    """Run a call and cancel it after ``seconds``; say whether it finished before."""
    if style == "anyio":
        with anyio.move_on_after(seconds) as scope:
            await call
        return not scope.cancelled_caught
    if _on_trio():
        import trio

        with trio.move_on_after(seconds) as trio_scope:
            await call
        return not trio_scope.cancelled_caught
    task = asyncio.ensure_future(call)
    await asyncio.wait([task], timeout=seconds)
    if task.cancel():
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return not task.cancelled()
    await task
    return True


async def _probe(client: clients.Client) -> int:
    """Make five calls in turn, with five seconds each; give how many worked."""
    worked = 0
    for _ in range(5):
        with anyio.move_on_after(5), contextlib.suppress(client.errors):
            await client.get_run(payloads.THREAD, payloads.RUN)
            worked += 1
    return worked


async def _fill_pool(client: clients.Client, control_port: int) -> int:
    """Make as many calls as the pool is large; give how many the server held at once.

    Before the storm this tells how many the client makes at once: it may keep a connection for urgent requests.
    """
    control(control_port, "reset")

    async def call() -> None:
        with anyio.move_on_after(5), contextlib.suppress(client.errors):
            await client.get_run(HELD_THREAD, payloads.RUN)

    async with anyio.create_task_group() as group:
        for _ in range(POOL):
            group.start_soon(call)
    return int(control(control_port, "stats")["peak_in_flight"])


def _on_trio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def living_tasks() -> int:
    """Count the tasks of this event loop."""
    if _on_trio():
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def open_sockets() -> int:
    """Count the sockets this process has open."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    return count


def run(*, quick: bool, repetitions: int) -> Result:
    """Let every client be cancelled for a minute (quick: five seconds)."""
    seconds = 5.0 if quick else 60.0
    result = Result(
        scenario="cancels",
        title=f"{seconds:.0f} s of random cancels on a pool of {POOL}",
        quick=quick,
        method=(
            f"{CALLERS} callers, each call cancelled after 0 to {LONGEST_WAIT * 1000:.0f} ms while answers take 0 to "
            f"{LONGEST_ANSWER * 1000:.0f} ms and come in two pieces. Afterwards five calls in turn, and as many at "
            "once as the pool is large: the slots left are those the server sees fewer at once than before. Sockets "
            "and tasks are counted after the client was closed, against the counts before it was made."
        ),
    )
    figures = ("slots_left", "sockets_left", "tasks_left", "server_connections_left", "probes_ok")
    with serving() as server:
        for name, backend, style in CASES:
            server.control("reset")
            job: dict[str, Any] = {"client": name, "backend": backend, "style": style, "seconds": seconds}
            sample = measure_in_process(server, "cancels", control_port=server.control_port, **job)
            result.samples.append(job | sample)
            result.rows.append(
                {"client": name, "loop": backend, "cancel": style, "cancelled": sample.get("cancelled")}
                | {"finished": sample.get("finished"), "failures": sum(sample.get("failures", {}).values())}
                | {figure: sample.get(figure, math.nan) for figure in figures}
            )
    ours = [sample for sample in result.samples if sample["client"] == clients.OURS]
    for figure in figures[:3]:
        worst = None if any("failed" in sample for sample in ours) else max(sample[figure] for sample in ours)
        result.checks.append(
            Check(f"cancels: {figure.replace('_', ' ')}, worst of {len(ours)}", worst, 0, "at most", "")
        )
    probes = min(sample.get("probes_ok", 0) for sample in ours)
    result.checks.append(Check("cancels: next calls that worked, worst case", probes, 5, "at least", "of 5"))
    return result
