"""Runs nobody waits for any more: whether and how soon the cancel reaches the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from . import clients, payloads, stream_payloads
from .first_delta import quantile
from .harness import Check, Result, Sample, control, serving
from .harness import measure as measure_in_process
from .stream_clients import ASSISTANT

RUNS = 1_000
QUICK_RUNS = 100
SDK_RUNS = 100
BACKGROUND = 100
"""Waits on the same client that go on polling while the others are cancelled all at once."""

POLL_SECONDS = 0.2
"""How long the server takes for a poll then: the connections that polls may have are all in use."""
CANCEL_SECONDS = 0.02
POLL_EVERY_MS = 200
SETTLE_SECONDS = 1.0
AT_MOST_SECONDS = 1.0

Say = Callable[[str], None]
"""Told the run's id as soon as there is a run to cancel."""

WAIT, STREAM, EARLY, GONE = "wait, task cancelled", "stream, task cancelled", "stream, block left", "browser gone"
WAYS = {clients.OURS: (WAIT, STREAM, EARLY, GONE), clients.SDK: (WAIT, STREAM, EARLY)}
WAYS[clients.OURS_AIOHTTP] = WAYS[clients.OURS]


def measure(base_url: str, client: str, control_port: int, way: str, runs: int, together: bool) -> Sample:
    """Start runs, give them up, and ask the server which cancels have come and when."""
    return asyncio.run(_measure(base_url, client, control_port, way, runs, together))


async def _measure(base_url: str, name: str, control_port: int, way: str, runs: int, together: bool) -> Sample:
    client = clients.connect(name, base_url)
    control(control_port, "runs", count=runs + BACKGROUND, life=3600, poll_after_ms=POLL_EVERY_MS)
    control(control_port, "streams", deltas=1, endless=1)
    left: dict[str, float] = {}
    background: list[asyncio.Task[object]] = []
    if together:
        control(control_port, "delays", poll=POLL_SECONDS, cancel=CANCEL_SECONDS)
        ids = [f"run_{number:024d}" for number in range(runs, runs + BACKGROUND)]
        background = [asyncio.create_task(client.wait_for_run(payloads.THREAD, run_id)) for run_id in ids]
    cpu = time.process_time()
    size = runs if together else 1
    for first in range(0, runs, size):
        await _round(client.api, name, way, range(first, first + size), left, SETTLE_SECONDS * together)
    cpu = time.process_time() - cpu
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    if name == clients.SDK:
        await asyncio.sleep(AT_MOST_SECONDS)
    cancelled = await asyncio.to_thread(control, control_port, "cancelled")
    await client.aclose()
    delays = [(cancelled[run_id] - moment) * 1000 for run_id, moment in left.items() if run_id in cancelled]
    sample: Sample = {"left": len(left), "cancelled": len(delays), "cpu_ms": cpu * 1000 / runs}
    sample["in_time"] = sum(delay <= AT_MOST_SECONDS * 1000 for delay in delays)
    if delays:
        sample |= {"p50_ms": quantile(delays, 0.5), "p99_ms": quantile(delays, 0.99), "worst_ms": max(delays)}
    return sample


async def _round(api: Any, name: str, way: str, numbers: range, left: dict[str, float], settle: float) -> None:
    """Start some runs, and give them all up at the same moment."""
    known: list[str] = []
    all_known = asyncio.Event()
    give_up = asyncio.Event()

    def say(run_id: str) -> None:
        known.append(run_id)
        if len(known) == len(numbers):
            all_known.set()

    begin = _begin_sdk if name == clients.SDK else _begin_ours
    tasks = [asyncio.create_task(begin(api, way, f"run_{number:024d}", say, give_up)) for number in numbers]
    started = asyncio.create_task(all_known.wait())
    await asyncio.wait([started, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():  # none of these runs ends by itself
            started.cancel()
            task.result()
    await started
    await asyncio.sleep(settle)
    moment = time.monotonic()
    left.update(dict.fromkeys(known, moment))
    if way in (WAIT, STREAM):
        for task in tasks:
            task.cancel()
    else:
        give_up.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _begin_ours(api: Any, way: str, run_id: str, say: Say, give_up: asyncio.Event) -> None:
    async def stream(*, until: Callable[[], Awaitable[object]] | None = None) -> None:
        async with api.stream_run(stream_payloads.THREAD, assistant_id=ASSISTANT) as events:
            async for event in events:
                if event.event == "thread.message.delta":
                    say(events.run.id)
                    if until is not None:
                        await until()
                        break

    if way == WAIT:
        told = False

        def tell(run: Any) -> None:
            nonlocal told
            if not told:
                told = True
                say(run.id)

        await api.wait_for_run(payloads.THREAD, run_id, on_status=tell)
    elif way == STREAM:
        await stream()
    elif way == EARLY:
        await stream(until=give_up.wait)
    else:
        from asyncassist import cancel_on_disconnect

        async def receive() -> dict[str, object]:
            """Give what an ASGI server gives when the browser has gone."""
            await give_up.wait()
            return {"type": "http.disconnect"}

        async with cancel_on_disconnect(receive):  # raises when the browser has gone
            await stream()


async def _begin_sdk(api: Any, way: str, run_id: str, say: Say, give_up: asyncio.Event) -> None:
    runs = api.beta.threads.runs
    if way == WAIT:
        asyncio.get_running_loop().call_later(0.05, say, run_id)  # it tells nobody what it sees
        await runs.poll(run_id, thread_id=payloads.THREAD)
        return
    async with runs.stream(thread_id=stream_payloads.THREAD, assistant_id=ASSISTANT) as events:
        async for event in events:
            if event.event == "thread.message.delta":
                say(events.current_run.id)
                if way == EARLY:
                    await give_up.wait()
                    break


def run(*, quick: bool, repetitions: int) -> Result:
    """Give up runs in every way, singly and all at once. Measured once: a thousand delays say enough."""
    runs = QUICK_RUNS if quick else RUNS
    result = Result(
        scenario="cancelled_runs",
        title="Cancels of runs that nobody waits for any more",
        quick=quick,
        method=(
            f"{runs:,} runs, one after the other or all given up at the same moment, while {BACKGROUND} other waits "
            f"of the same client go on polling once in {POLL_EVERY_MS / 1000:g} s; a poll takes the server "
            f"{POLL_SECONDS * 1000:.0f} ms then, a cancel {CANCEL_SECONDS * 1000:.0f} ms, so that all connections "
            "meant for polls are in use. The delay is from the moment in which the runs are given up to the request's "
            f"coming to the server. The SDK sends no cancels: {SDK_RUNS} runs were given up singly, and a second "
            "waited for any."
        ),
    )
    with serving() as server:
        for name, ways in WAYS.items():
            for way in ways:
                for together in (False, True) if name != clients.SDK else (False,):
                    server.control("reset")
                    job: dict[str, Any] = {"client": name, "way": way, "together": together}
                    job["runs"] = SDK_RUNS if name == clients.SDK else runs
                    sample = measure_in_process(server, "cancelled_runs", control_port=server.control_port, **job)
                    result.samples.append(job | sample | server.control("stats"))
    for sample in result.samples:
        how = "all at once" if sample["together"] else "singly"
        result.rows.append(
            {"client": sample["client"], "given up": sample["way"], "how": how, "runs": sample["runs"]}
            | {"cancels": sample.get("cancelled"), "within 1 s": sample.get("in_time")}
            | {"p50 (ms)": sample.get("p50_ms"), "p99 (ms)": sample.get("p99_ms"), "worst (ms)": sample.get("worst_ms")}
            | {"CPU of a run (ms)": sample.get("cpu_ms")}
        )
        if sample["client"] != clients.SDK:
            what = f"cancels in 1 s: {sample['client']}, {sample['way']}, {how}"
            result.checks.append(Check(what, sample.get("in_time"), runs, "at least", f"of {runs:,}"))
    return result
