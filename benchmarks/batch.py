"""Many jobs from question to answer: client CPU a job, as their number grows, and memory while a million wait."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import clients, raw
from .api_server import new_file, running
from .harness import Check, Result, Sample, in_turns, median, ratio
from .harness import measure as measure_in_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncassist import Job

    from .harness import Server

LEDGER = "asyncassist, ledger"
AIOHTTP = clients.OURS_AIOHTTP
CLIENTS = (clients.OURS, LEDGER, AIOHTTP, clients.SDK)
SIZES = (10, 100, 1_000, 10_000)
QUICK_SIZES = (10, 100, 1_000)
CONCURRENCY = 50
QUEUED = 1_000_000
QUEUED_FOR = 20.0
SCRIPT = """\
- say: "Done: {message}"
  delay: 0.2
"""


def jobs(count: int, assistant: str) -> Iterator[Job]:
    """Make jobs."""
    from asyncassist import Job

    for number in range(count):
        yield Job(f"job-{number}", assistant, [{"role": "user", "content": f"task {number}"}])


def measure(
    base_url: str, assistant: str, count: int, client: str = "", ledger: str = "", seconds: float = 0
) -> Sample:
    """Do the jobs, and give the CPU time they took; without a client's name, look at the memory meanwhile."""
    if not client:
        return asyncio.run(_queue(base_url, assistant, count, seconds))
    work = _do_with_sdk if client == clients.SDK else _do
    return asyncio.run(work(base_url, client, assistant, count, ledger))


async def _do(base_url: str, name: str, assistant: str, count: int, ledger: str) -> Sample:
    connected: Any = clients.connect(AIOHTTP if name == AIOHTTP else clients.OURS, base_url)
    client = connected.api
    async for _ in client.run_many(jobs(5, assistant), concurrency=5):  # connections, imports
        pass
    good = 0
    cpu, wall = time.process_time(), time.monotonic()
    path = ledger if name == LEDGER else None
    async for result in client.run_many(jobs(count, assistant), concurrency=CONCURRENCY, ledger=path):
        good += result.text == f"Done: task {result.job.id[4:]}"
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    await client.aclose()
    return {"good": good, "cpu_ms": cpu / count * 1000, "wall_s": wall}


async def _do_with_sdk(base_url: str, name: str, assistant: str, count: int, ledger: str) -> Sample:
    connected: Any = clients.connect(name, base_url)
    threads = connected.api.beta.threads
    gate = asyncio.Semaphore(CONCURRENCY)

    async def do(number: int) -> bool:
        async with gate:
            message = {"role": "user", "content": f"task {number}"}
            run = await threads.create_and_run_poll(assistant_id=assistant, thread={"messages": [message]})
            found = threads.messages.list(run.thread_id, run_id=run.id, order="asc", limit=100)
            text = "\n\n".join([message.content[0].text.value async for message in found])
            return bool(text == f"Done: task {number}")

    await asyncio.gather(*(do(number) for number in range(5)))
    cpu, wall = time.process_time(), time.monotonic()
    good = sum(await asyncio.gather(*(do(number) for number in range(count))))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    await connected.aclose()
    return {"good": good, "cpu_ms": cpu / count * 1000, "wall_s": wall}


async def _queue(base_url: str, assistant: str, count: int, seconds: float) -> Sample:
    from asyncassist import AsyncClient

    read = 0

    def counted() -> Iterator[Job]:
        nonlocal read
        for job in jobs(count, assistant):
            read += 1
            yield job

    async with AsyncClient(base_url=base_url, api_key=clients.KEY) as client:
        async for _ in client.run_many(jobs(200, assistant), concurrency=CONCURRENCY):
            pass
        before, highest, done, ahead = _resident(), 0, 0, 0
        end = time.monotonic() + seconds
        async with client.run_many(counted(), concurrency=CONCURRENCY) as results:
            async for _ in results:
                done += 1
                ahead = max(ahead, read - done)
                highest = max(highest, _resident())
                if time.monotonic() > end:
                    break
    return {"done": done, "most_ahead": ahead, "growth_mb": (highest - before) / 2**20}


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def run(*, quick: bool, repetitions: int) -> Result:
    """Do the same jobs with run_many and with the SDK, in turns."""
    sizes = QUICK_SIZES if quick else SIZES
    result = Result(
        scenario="batch",
        title=f"{sizes[-1]:,} jobs, {CONCURRENCY} at once",
        quick=quick,
        method=(
            "A job is a thread with one message, a run that takes 0.2 s, and its text. `run_many` with and without a"
            " ledger, beside `openai`: `create_and_run_poll` and one listing of messages under `asyncio.gather` and a"
            " semaphore. The server is `asyncassist serve` in another process; both sides poll as often as it asks for."
            f" Five jobs warm up. Memory: {QUEUED:,} jobs from a generator, looked at for {QUEUED_FOR:g} s."
        ),
    )
    for size in sizes:
        rounds = 1 if size >= 10_000 else repetitions
        for name in in_turns(list(CLIENTS), rounds):
            with new_file("jobs.ledger") as path, _serving(path) as (server, assistant):
                job = {"client": name, "assistant": assistant, "count": size, "ledger": path}
                sample = measure_in_process(server, "batch", patience=900, **job)
                result.samples.append({"client": name, "jobs": size, **sample})
        for name in CLIENTS:
            samples = [each for each in result.samples if (each["client"], each["jobs"]) == (name, size)]
            result.rows.append(
                {
                    "jobs": size,
                    "client": name,
                    "CPU a job (ms)": median(samples, "cpu_ms"),
                    "wall (s)": median(samples, "wall_s"),
                    "right answers": min((each.get("good", 0) for each in samples), default=0),
                }
            )
    with new_file() as path, _serving(path) as (server, assistant):
        seconds = QUEUED_FOR / 4 if quick else QUEUED_FOR
        sample = measure_in_process(server, "batch", assistant=assistant, count=QUEUED, seconds=seconds)
        result.samples.append({"client": "queue", "jobs": QUEUED, **sample})

    def cpu(name: str) -> float | None:
        samples = [each for each in result.samples if (each["client"], each["jobs"]) == (name, sizes[-1])]
        return median(samples, "cpu_ms")

    sdk = cpu(clients.SDK)
    what = f"{sizes[-1]:,} jobs: client CPU a job, of the SDK's"
    result.checks = [
        Check(what, ratio(cpu(clients.OURS), sdk), 0.6, "at most"),
        Check(f"{what}, with a ledger", ratio(cpu(LEDGER), sdk), 0.6, "at most"),
        Check(f"memory growth for {QUEUED:,} queued jobs", sample.get("growth_mb"), 50, "at most", "MB"),
        Check("jobs read ahead of the results taken", sample.get("most_ahead"), 2 * CONCURRENCY, "at most", ""),
    ]
    return result


@contextmanager
def _serving(path: str) -> Iterator[tuple[Server, str]]:
    """Run a server, and make an assistant there."""
    script = Path(path).with_name("script.yaml")
    script.write_text(SCRIPT)
    with running("--script", str(script)) as server:
        with closing(raw.Connection(server.port)) as connection:
            assistant: str = connection.get("POST", "/assistants", {"model": "any"})["id"]
        yield server, assistant
