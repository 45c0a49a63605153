"""A batch whose process is killed, again and again: every job has exactly one run, and nothing is lost.

The process that is killed is this file, run as a script.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from asyncassist import AsyncClient, Job, Ledger, PollPolicy
from asyncassist.server import Rule
from asyncassist.testing import FakeServer

JOBS, KILLS = 60, 12


def jobs(assistant_id: str) -> Any:
    return (Job(f"job-{n}", assistant_id, [{"role": "user", "content": f"task {n}"}]) for n in range(JOBS))


async def work(path: str, url: str, assistant_id: str) -> None:
    async with AsyncClient(base_url=url, api_key="any") as client:
        poll = PollPolicy(shortest=0.02, longest=0.1)
        async for _ in client.run_many(jobs(assistant_id), concurrency=3, ledger=path, poll=poll):
            os.write(1, b".")


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Every job has one run, which has completed, and its result; killed at random moments, also while it resumes."""
    chance = random.Random(0)
    path = str(tmp_path / "jobs.ledger")
    server = FakeServer(Rule(say="done: {message}", delay=0.4), ids="random")
    with server.in_thread() as url:

        async def prepare() -> str:
            async with AsyncClient(base_url=url, api_key="any") as client:
                return (await client.create_assistant(model="any")).id

        assistant_id = anyio.run(prepare)
        command = [sys.executable, __file__, path, url, assistant_id]
        killed = 0
        for _ in range(KILLS):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.3, 1.2))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        assert killed == KILLS  # none was done before

        async def finish() -> tuple[Counter[str], dict[str, str]]:
            runs: Counter[str] = Counter()
            async with AsyncClient(base_url=url, api_key="any") as client:
                results = client.run_many(jobs(assistant_id), ledger=path)
                texts = {result.job.id: result.text async for result in results}
                async with Ledger.open(path) as ledger:
                    threads = {entry.thread_id async for entry in ledger.entries("completed")}
                for thread_id in threads:
                    assert thread_id is not None
                    async for run in client.list_runs(thread_id):
                        assert run.status == "completed"
                        runs[run.metadata["asyncassist"].split(":")[1]] += 1
            # Nor is there a run anywhere else.
            assert len([each for each in server.requests_for("create_run") if each.status == 200]) == JOBS
            return runs, texts

        runs, texts = anyio.run(finish)
    assert set(runs.values()) == {1}
    assert texts == {f"job-{n}": f"done: task {n}" for n in range(JOBS)}


if __name__ == "__main__":
    anyio.run(work, *sys.argv[1:])
