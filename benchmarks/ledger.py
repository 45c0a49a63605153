"""What a ledger costs a job, and how long a batch takes to pass over a million jobs that have finished."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from .api_server import about_the_disk, new_file
from .harness import Check, Result, Sample, Server, median
from .harness import measure as measure_in_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncassist import Job, Ledger
    from asyncassist.models import Run

JOBS, QUICK_JOBS = 20_000, 2_000
FINISHED, QUICK_FINISHED = 1_000_000, 50_000
CONCURRENCY = 50
NOWHERE = Server(9, 0, "")


def jobs(count: int) -> Iterator[Job]:
    """Make jobs."""
    from asyncassist import Job

    for number in range(count):
        yield Job(f"job-{number}", "asst_benchmarks", [{"role": "user", "content": f"What is {number} and {number}?"}])


def ended(number: int) -> Run:
    """Make a run as a server gives it that has ended."""
    from asyncassist.models import Run, RunCompletionUsage, Truncation

    return Run(
        id=f"run_{number:024d}",
        thread_id=f"thread_{number:024d}",
        assistant_id="asst_benchmarks",
        status="completed",
        created_at=1795341959,
        started_at=1795341959,
        completed_at=1795341960,
        model="gpt-4o",
        instructions="Answer briefly.",
        metadata={"asyncassist": f"0123456789abcdef:{number:032x}:1"},
        usage=RunCompletionUsage(completion_tokens=15, prompt_tokens=20, total_tokens=35),
        truncation_strategy=Truncation(),
        tool_choice="auto",
        parallel_tool_calls=True,
        response_format="auto",
    )


def measure(base_url: str, path: str, work: str, count: int, sync: str = "normal") -> Sample:
    """Write jobs into a ledger as a batch does, fill one with finished jobs, or start a batch with it."""
    if work == "write":
        return asyncio.run(_write(path, count, sync))
    if work == "fill":
        return asyncio.run(_fill(path, count, base_url))
    return asyncio.run(_resume(path, count, base_url, replay=work == "replay"))


async def _write(path: str, count: int, sync: str) -> Sample:
    from asyncassist import Ledger
    from asyncassist.batch.ledger import content_of

    async with Ledger.open(path, sync=sync) as ledger:  # type: ignore[arg-type]
        session = await ledger.begin_session("http://nowhere/v1")
        pending = iter(list(jobs(count)))
        runs = [ended(number) for number in range(count)]
        numbers = iter(range(count))

        async def work() -> None:
            for job in pending:
                run = runs[next(numbers)]
                await ledger.begin(job.id, content_of(job), session)
                await ledger.intend(job.id, 1, run.thread_id)
                ledger.started(job.id, run.id)
                await ledger.finish(job.id, run, "The answer is 42, as everybody knows who has read it.", 1.0)

        cpu, wall = time.process_time(), time.monotonic()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return {"cpu_ms": cpu / count * 1000, "wall_ms": wall / count * 1000, "bytes": _size(path) / count}


async def _fill(path: str, count: int, base_url: str) -> Sample:
    from asyncassist import Ledger

    async with Ledger.open(path) as ledger:
        session = await ledger.begin_session(base_url)
        gate = asyncio.Semaphore(1_000)
        async with asyncio.TaskGroup() as group:
            for number, job in enumerate(jobs(count)):
                await gate.acquire()
                group.create_task(_finish(ledger, job, number, session)).add_done_callback(lambda _: gate.release())
    return {"mb": _size(path) / 2**20}


async def _finish(ledger: Ledger, job: Job, number: int, session: int) -> None:
    from asyncassist.batch.ledger import content_of

    await ledger.begin(job.id, content_of(job), session)
    await ledger.intend(job.id, 1, f"thread_{number:024d}")
    await ledger.finish(job.id, ended(number), "The answer is 42, as everybody knows who has read it.", 1.0)


async def _resume(path: str, count: int, base_url: str, *, replay: bool) -> Sample:
    from asyncassist import AsyncClient

    before = _resident()
    highest = given = 0
    async with AsyncClient(base_url=base_url, api_key="any") as client:
        cpu, wall = time.process_time(), time.monotonic()
        async for _ in client.run_many(jobs(count), ledger=path, replay=replay):
            given += 1
            if not given % 10_000:
                highest = max(highest, _resident())
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    growth = max(highest, _resident()) - before
    return {"given": given, "cpu_s": cpu, "wall_s": wall, "growth_mb": growth / 2**20}


def _size(path: str) -> int:
    return os.path.getsize(path)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def run(*, quick: bool, repetitions: int) -> Result:
    """Write jobs, then pass over many that have finished."""
    count, finished = (QUICK_JOBS, QUICK_FINISHED) if quick else (JOBS, FINISHED)
    result = Result(
        scenario="ledger",
        title=f"The ledger: {count:,} jobs written, {finished:,} passed over",
        quick=quick,
        method=(
            f"Written: what a batch writes for a job, without a server, {CONCURRENCY} jobs at once. Passed over: a"
            f' ledger of {finished:,} finished jobs and `run_many` with the same jobs, in a fresh process; "given'
            ' again" is `replay=True`, where a result comes with its text and its run, and "left out" `replay=False`.'
            f" The server is never asked. The file is on {about_the_disk()}."
        ),
    )
    for sync in ("normal", "full"):
        samples = []
        for _ in range(repetitions):
            with new_file("jobs.ledger") as path:
                samples.append(measure_in_process(NOWHERE, "ledger", path=path, work="write", count=count, sync=sync))
        result.samples += [{"work": f"write, {sync}", **sample} for sample in samples]
        result.rows.append(
            {
                "": f"written, sync={sync!r}",
                "jobs": count,
                "CPU a job (ms)": median(samples, "cpu_ms"),
                "wall a job (ms)": median(samples, "wall_ms"),
                "wall (s)": None,
                "bytes a job": median(samples, "bytes"),
                "memory growth (MB)": None,
            }
        )
    with new_file("jobs.ledger") as path:
        filled = measure_in_process(NOWHERE, "ledger", path=path, work="fill", count=finished)
        for work, name in (("replay", "given again"), ("pass", "left out")):
            samples = [
                measure_in_process(NOWHERE, "ledger", path=path, work=work, count=finished) for _ in range(repetitions)
            ]
            result.samples += [{"work": work, **sample} for sample in samples]
            wall = median(samples, "wall_s")
            result.rows.append(
                {
                    "": f"passed over, {name}",
                    "jobs": finished,
                    "CPU a job (ms)": (median(samples, "cpu_s") or 0) / finished * 1000,
                    "wall a job (ms)": (wall or 0) / finished * 1000,
                    "wall (s)": wall,
                    "bytes a job": filled.get("mb", 0) * 2**20 / finished,
                    "memory growth (MB)": median(samples, "growth_mb"),
                }
            )
            million = None if wall is None else wall / finished * 1_000_000
            result.checks.append(Check(f"1,000,000 finished jobs passed over, {name}", million, 10, "at most", "s"))
    result.checks.insert(0, Check("ledger cost a job", result.rows[0]["wall a job (ms)"], 1, "at most", "ms"))
    return result
