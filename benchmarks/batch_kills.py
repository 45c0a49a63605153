"""SIGKILL again and again while a batch with a ledger runs: how many runs each of its jobs has had in the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import raw
from .api_server import new_file, running
from .harness import HERE, Check, Result, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncassist import Job

KILLS, JOBS = 100, 500
QUICK_KILLS, QUICK_JOBS = 10, 50
CONCURRENCY = 4
LATEST = 0.6
SECONDS = 900
SCRIPT = """\
- pattern: "[02468]$"
  say: "Done: {message}"
  delay: 0.8
- say: "Done: {message}"
  delay: 0.5
"""


def jobs(count: int, assistant: str) -> Iterator[Job]:
    """Make the jobs, the same ones each time."""
    from asyncassist import Job

    for number in range(count):
        yield Job(f"job-{number}", assistant, [{"role": "user", "content": f"task {number}"}])


async def work(path: str, base_url: str, assistant: str, count: int) -> None:
    """Run the batch, or what is left of it; say when it begins, and how each job has ended."""
    from asyncassist import AsyncClient, PollPolicy

    async with AsyncClient(base_url=base_url, api_key="any") as client:
        results = client.run_many(
            jobs(count, assistant), concurrency=CONCURRENCY, ledger=path, poll=PollPolicy(shortest=0.05, longest=0.2)
        )
        print("begun", flush=True)
        async for result in results:
            print(json.dumps([result.job.id, result.status, result.text, result.is_replayed]), flush=True)


def run(*, quick: bool, repetitions: int) -> Result:
    """Kill the batch at random moments, start it again, and look at the server in the end. Measured once."""
    kills, count = (QUICK_KILLS, QUICK_JOBS) if quick else (KILLS, JOBS)
    result = Result(
        scenario="batch_kills",
        title=f"{kills} times SIGKILL during a batch of {count} jobs",
        quick=quick,
        method=(
            f"`run_many` with a ledger, {CONCURRENCY} jobs at once, in a process that is killed at a random moment in"
            f" the first {LATEST:g} s after it began, and started again; after the last kill it may finish. The server"
            " (`asyncassist serve`, whose runs take 0.5 or 0.8 s) goes on meanwhile. In the end all its threads and"
            " runs are listed and compared with the jobs, and the batch is started once more, to give all results."
        ),
    )
    chance = random.Random(0)
    with new_file("jobs.ledger") as path:
        script = Path(path).with_name("script.yaml")
        script.write_text(SCRIPT)
        with running("--script", str(script)) as server:
            with closing(raw.Connection(server.port)) as connection:
                assistant = connection.get("POST", "/assistants", {"model": "any"})["id"]
            arguments = (path, server.base_url, assistant, str(count))
            killed = Counter[bool]()
            for _ in range(kills):
                is_midway, sample = kill_one(arguments, chance.uniform(0, LATEST))
                killed[is_midway] += 1
                result.samples.append(sample)
            finish(arguments)
            lines = finish(arguments)
            with closing(raw.Connection(server.port)) as connection:
                found = look(connection, count)
    given = {id_: text for id_, status, text, _ in lines if status == "completed"}
    expected = {f"job-{number}": f"Done: task {number}" for number in range(count)}
    lost = sum(given.get(id_) != text for id_, text in expected.items()) + found["without"]
    result.rows.append(
        {
            "kills": kills,
            "of those before the batch was done": killed[True],
            "jobs": count,
            "results": len(lines),
            "of those from the ledger": sum(is_replayed for *_, is_replayed in lines),
            **found,
        }
    )
    result.checks = [
        Check(f"{kills} kills: jobs lost", lost, 0, "at most", f"of {count}"),
        Check(f"{kills} kills: jobs with more than one run", found["double"], 0, "at most", f"of {count}"),
        Check(f"{kills} kills: runs not completed", found["not completed"], 0, "at most", ""),
    ]
    return result


def kill_one(arguments: tuple[str, ...], life: float) -> tuple[bool, Sample]:
    """Start the batch, and kill it after ``life`` seconds; say whether it was under way still."""
    process = start(arguments)
    assert process.stdout is not None
    begun = process.stdout.readline()
    time.sleep(life)
    is_midway = process.poll() is None
    if is_midway:
        process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    if begun != "begun\n" or process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the batch ended by itself: {process.returncode} {begun}{rest}")
    return is_midway, {"life_s": life, "results": rest.count("\n")}


def finish(arguments: tuple[str, ...]) -> list[Any]:
    """Let the batch go to its end; give its results."""
    with start(arguments) as process:
        output, _ = process.communicate(timeout=SECONDS)
    if process.returncode:
        raise RuntimeError(f"the batch failed: {output}")
    return [json.loads(line) for line in output.splitlines()[1:]]


def start(arguments: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start the process of the batch."""
    command = [sys.executable, "-m", "benchmarks.batch_kills", *arguments]
    environment = os.environ | {"NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(command, cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, text=True)


def look(connection: raw.Connection, count: int) -> dict[str, int]:
    """Count the runs of each job on the server, told by the message on their thread."""
    runs: Counter[str] = Counter()
    not_completed = empty = 0
    for thread in listing(connection, "/threads"):
        found = list(listing(connection, f"/threads/{thread['id']}/runs"))
        (message,) = (
            each for each in listing(connection, f"/threads/{thread['id']}/messages") if each["role"] == "user"
        )
        runs[message["content"][0]["text"]["value"]] += len(found)
        not_completed += sum(each["status"] != "completed" for each in found)
        empty += not found
    tasks = [f"task {number}" for number in range(count)]
    return {
        "runs": runs.total(),
        "without": sum(runs[task] == 0 for task in tasks),
        "double": sum(runs[task] > 1 for task in tasks),
        "not completed": not_completed,
        "threads without a run": empty,
    }


def listing(connection: raw.Connection, path: str) -> Iterator[dict[str, Any]]:
    """Give all items of a listing, oldest first."""
    after = ""
    while True:
        page = connection.get("GET", f"{path}?limit=100&order=asc{after}")
        yield from page["data"]
        if not page["has_more"]:
            return
        after = f"&after={page['last_id']}"


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:4], int(sys.argv[4])))
