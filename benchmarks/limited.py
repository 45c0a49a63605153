"""Many tasks against a server that allows N requests a second, N changing while they run."""

from __future__ import annotations

import asyncio
import time

from . import clients, payloads
from .harness import Check, Result, Sample, in_turns, median
from .harness import measure as measure_in_process
from .rate_server import limiting

CLIENTS = (clients.OURS, clients.OURS_AIOHTTP, clients.SDK)
PLAN = [200.0, 50.0, 400.0, 100.0]
PHASE = 20.0
TASKS = 64
SETTLED = 10
"""Seconds from which refusals count."""
USEFUL_AT_LEAST = 0.9
REFUSED_AT_MOST = 0.05


def measure(base_url: str, client: str, tasks: int, seconds: float) -> Sample:
    """Call as often as possible for some seconds, and count what worked."""
    return asyncio.run(_measure(base_url, client, tasks, seconds))


async def _measure(base_url: str, name: str, tasks: int, seconds: float) -> Sample:
    client = clients.connect(name, base_url)
    worked = failed = 0
    end = time.monotonic() + seconds
    turns = asyncio.Semaphore(tasks)

    async def call() -> None:
        nonlocal worked, failed
        async with turns:
            if time.monotonic() >= end:
                return
            try:
                await client.get_run(payloads.THREAD, payloads.RUN)
                worked += time.monotonic() < end
            except client.errors:
                failed += 1

    async def caller() -> None:
        while time.monotonic() < end:
            await call()

    start = time.process_time()
    await asyncio.gather(*(caller() for _ in range(2 * tasks)))
    cpu = time.process_time() - start
    await client.aclose()
    return {"worked": worked, "failed": failed, "cpu_s": cpu}


def run(*, quick: bool, repetitions: int) -> Result:
    """Let the clients meet the same server in turns."""
    phase = 6.0 if quick else PHASE
    seconds = phase * len(PLAN)
    plan = ", ".join(f"{rate:.0f}" for rate in PLAN)
    result = Result(
        scenario="limited",
        title=f"A server that allows {plan} requests a second, {phase:.0f} s each",
        quick=quick,
        method=(
            f"{TASKS} calls at once, at any time (`asyncio.gather` with a semaphore of {TASKS}), each client with its "
            "defaults. The server allows by a token bucket of one second; every second 429 says `Retry-After: 1`. "
            "Useful: calls that worked within the time, of what the server would have allowed. A call failed when the "
            f"client gave it up. 429s: of all requests after the first {SETTLED} s."
        ),
    )
    allowed = sum(PLAN) * phase + PLAN[0]  # the bucket is full at first
    for name in in_turns(list(CLIENTS), min(repetitions, 3)):
        with limiting(PLAN, phase) as (server, counts):
            sample = measure_in_process(server, "limited", client=name, tasks=TASKS, seconds=seconds)
        taken, refused = (
            sum(count for second, count in counts.get(which, {}).items() if int(second) >= SETTLED)
            for which in ("allowed", "refused")
        )
        sample |= {"client": name, "taken": taken, "refused": refused, **counts}
        if "worked" in sample:
            sample |= {"useful": sample["worked"] / allowed, "refused_share": refused / max(1, taken + refused)}
        result.samples.append(sample)
    by_client = {name: [sample for sample in result.samples if sample["client"] == name] for name in CLIENTS}
    for name, samples in by_client.items():
        useful, share = median(samples, "useful"), median(samples, "refused_share")
        result.rows.append(
            {
                "client": name,
                "useful, % of N": None if useful is None else useful * 100,
                "429s, %": None if share is None else share * 100,
                "failed calls": median(samples, "failed"),
                "CPU s": median(samples, "cpu_s"),
            }
        )
    for name in (clients.OURS, clients.OURS_AIOHTTP):
        samples = by_client[name]
        result.checks += [
            Check(
                f"limited, {name}: useful requests, share of N",
                median(samples, "useful"),
                USEFUL_AT_LEAST,
                "at least",
                "",
            ),
            Check(
                f"limited, {name}: 429s after 10 s", median(samples, "refused_share"), REFUSED_AT_MOST, "at most", ""
            ),
        ]
    return result
