"""Many tasks against a server that does less the more it is asked at once, and never says so."""

from __future__ import annotations

import asyncio
import time

from . import clients, payloads
from .crowd_server import crowded
from .harness import Check, Result, Sample, in_turns, median
from .harness import measure as measure_in_process

CLIENTS = (clients.OURS, clients.OURS_AIOHTTP, clients.SDK)
COMFORTABLE, ANSWER_SECONDS = 20, 0.05
TASKS = 200
SECONDS, QUICK_SECONDS = 60.0, 20.0
SETTLED_SHARE = 1 / 3
"""Of the time; what comes then is looked at apart."""
TIMES_THE_SDK = 2.0


def measure(base_url: str, client: str, tasks: int, seconds: float) -> Sample:
    """Call as often as possible for some seconds, and count what worked."""
    return asyncio.run(_measure(base_url, client, tasks, seconds))


async def _measure(base_url: str, name: str, tasks: int, seconds: float) -> Sample:
    client = clients.connect(name, base_url)
    worked = settled = failed = 0
    waits: list[float] = []
    start = time.monotonic()
    settled_at, end = start + seconds * SETTLED_SHARE, start + seconds

    async def caller() -> None:
        nonlocal worked, settled, failed
        while (began := time.monotonic()) < end:
            try:
                await client.get_run(payloads.THREAD, payloads.RUN)
            except client.errors:
                failed += 1
                continue
            if (now := time.monotonic()) < end:
                worked += 1
                if now >= settled_at:
                    settled += 1
                    waits.append(now - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(caller())
    await client.aclose()
    waits.sort()
    return {
        "worked": worked / seconds,
        "settled": settled / (end - settled_at),
        "wait_s": waits[len(waits) // 2] if waits else None,
        "failed": failed,
    }


def run(*, quick: bool, repetitions: int) -> Result:
    """Let the clients meet the same server in turns."""
    seconds = QUICK_SECONDS if quick else SECONDS
    most = COMFORTABLE / ANSWER_SECONDS
    result = Result(
        scenario="crowded",
        title=f"A server that does less the more it is asked at once: {TASKS} tasks, {seconds:.0f} s",
        quick=quick,
        method=(
            f"Up to {COMFORTABLE} requests at a time are answered in {ANSWER_SECONDS * 1000:.0f} ms each; of n, each "
            f"takes (n / {COMFORTABLE})² times as long. So at best {most:.0f} a second are answered. No 429, no "
            f"header. Each client with its defaults; settled is the last {1 - SETTLED_SHARE:.0%} of the time; a wait "
            "lasts from the call to its return."
        ),
    )
    for name in in_turns(list(CLIENTS), min(repetitions, 3)):
        with crowded(COMFORTABLE, ANSWER_SECONDS) as server:
            sample = measure_in_process(server, "crowded", client=name, tasks=TASKS, seconds=seconds)
        result.samples.append({"client": name, **sample})
    by_client = {name: [sample for sample in result.samples if sample["client"] == name] for name in CLIENTS}
    for name, samples in by_client.items():
        result.rows.append(
            {
                "client": name,
                "answers a second": median(samples, "worked"),
                "settled": median(samples, "settled"),
                "median wait, settled (s)": median(samples, "wait_s"),
                "failed calls": median(samples, "failed"),
            }
        )
    sdk = median(by_client[clients.SDK], "worked")
    for name in (clients.OURS, clients.OURS_AIOHTTP):
        ours = median(by_client[name], "worked")
        ratio = None if ours is None or not sdk else ours / sdk
        result.checks.append(Check(f"crowded, {name}: answers, times the SDK's", ratio, TIMES_THE_SDK, "at least", ""))
    return result
