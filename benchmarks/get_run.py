"""CPU of one typed ``get_run``, by the number of tasks that call at once."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from typing import TYPE_CHECKING, Any

from . import clients, payloads
from .harness import Check, Result, Sample, in_turns, median, ratio, serving
from .harness import measure as measure_in_process

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = (clients.OURS, clients.OURS_AIOHTTP, clients.SDK, clients.SDK_100, clients.HTTPX)
CALLS = {1: 2_000, 20: 4_000, 200: 4_000, 1_000: 4_000, 10_000: 20_000}
ALL = 10_000
"""From so many tasks on only asyncassist is measured: a single round of the others takes minutes of CPU."""
LEAST = {1: 1.7, 20: 2.1, 200: 2.8, 1_000: 4.5}
LEAST_AIOHTTP = {1: 2.2, 20: 3.0, 200: 4.0, 1_000: 6.0}
FLATNESS = 1.4
SECONDS = 60.0


def measure(base_url: str, client: str, tasks: int, calls: int) -> Sample:
    """Make ``calls`` calls from ``tasks`` tasks, after one round to warm up."""
    return asyncio.run(_measure(base_url, client, tasks, calls))


async def _measure(base_url: str, name: str, tasks: int, calls: int) -> Sample:
    client = clients.connect(name, base_url)
    left, deadline = 0, 0.0

    async def worker() -> None:
        nonlocal left
        while left > 0 and time.monotonic() < deadline:
            left -= 1
            await client.get_run(payloads.THREAD, payloads.RUN)

    async def make(count: int) -> None:
        nonlocal left, deadline
        left, deadline = count, time.monotonic() + SECONDS
        await asyncio.gather(*(worker() for _ in range(tasks)))

    await make(max(tasks, 50))
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await make(calls)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    done = calls - left
    await client.aclose()
    return {"calls": done, "cpu_us": cpu / done * 1e6, "wall_us": wall / done * 1e6}


def run(*, quick: bool, repetitions: int) -> Result:
    """Compare all clients at all sizes."""
    result = Result(
        scenario="get_run",
        title="CPU of one typed get_run",
        quick=quick,
        method=(
            "User and system CPU time of the client's process per call, after one round of calls to warm up, each "
            f"client with its own defaults; median of {repetitions} processes per figure, in turns."
        ),
    )
    share = 5 if quick else 1
    levels = [level for level in CALLS if not quick or level < 10_000]
    for tls, sizes in ((False, levels), (True, [1, 20])):
        work = [(name, size) for size in sizes for name in CLIENTS if size < ALL or name.startswith(clients.OURS)]
        with serving(tls=tls) as server:
            for name, size in in_turns(work, repetitions):
                server.control("reset")
                sample = measure_in_process(server, "get_run", client=name, tasks=size, calls=CALLS[size] // share)
                sample |= {"client": name, "tasks": size, "tls": tls}
                result.samples.append(sample | {"peak_connections": server.control("stats")["peak_connections"]})
    summarize(result, levels)
    return result


def summarize(result: Result, levels: list[int]) -> None:
    """Make the table and compare it with the targets."""
    cost: dict[tuple[str, int, bool], float | None] = {}
    for tls, sizes in ((False, levels), (True, [1, 20])):
        for size in sizes:
            row: Sample = {"tasks": f"{size:,}" + (", TLS" if tls else "")}
            for name in CLIENTS:
                samples = [s for s in result.samples if (s["client"], s["tasks"], s["tls"]) == (name, size, tls)]
                cost[name, size, tls] = row[f"{name} (µs)"] = median(samples, "cpu_us")
            row["SDK / ours"] = ratio(cost[clients.SDK, size, tls], cost[clients.OURS, size, tls])
            row["SDK / ours[aiohttp]"] = ratio(cost[clients.SDK, size, tls], cost[clients.OURS_AIOHTTP, size, tls])
            result.rows.append(row)
    for name, least in ((clients.OURS, LEAST), (clients.OURS_AIOHTTP, LEAST_AIOHTTP)):
        for size, bound in least.items():
            reached = ratio(cost[clients.SDK, size, False], cost[name, size, False])
            result.checks.append(
                Check(
                    f"get_run, {size:,} task{'s' * (size > 1)}: CPU of the SDK over {name}", reached, bound, "at least"
                )
            )
    flatness = ratio(cost[clients.OURS, 1_000, False], cost[clients.OURS, 20, False])
    result.checks.append(Check("get_run: 1,000 tasks over 20 tasks", flatness, FLATNESS, "at most"))


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw the CPU per call over the number of tasks."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    rows = [row for row in result["rows"] if "TLS" not in row["tasks"]]
    sizes = [int(row["tasks"].replace(",", "")) for row in rows]
    for column in rows[0]:
        if column.endswith("(µs)"):
            values = [math.nan if row[column] is None else row[column] / 1000 for row in rows]
            axes.plot(sizes, values, marker="o", label=column.removesuffix(" (µs)"))
    axes.set(xscale="log", yscale="log", xlabel="tasks calling at once", ylabel="client CPU per call (ms)")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_yticks([0.2, 0.5, 1, 2, 5, 10, 20, 50], ["0.2", "0.5", "1", "2", "5", "10", "20", "50"])
    axes.set_title("CPU of one typed get_run")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
