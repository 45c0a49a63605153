"""What the SQLite store can do: writes a second, and what things cost as it grows.

Run it with ``python -m benchmarks.store_writes``. Times are of one machine with nothing else to do; compare, don't add.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from asyncassist._wire.converter import structure
from asyncassist.models import Message, Run, Thread
from asyncassist.server import PageQuery, SQLiteStore
from asyncassist.server.local import random_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_numbers = count()


def new_message(thread_id: str) -> Message:
    text = {"value": f"{next(_numbers)} " + "hello " * 10, "annotations": []}
    fields = {
        "id": random_id("msg_"),
        "object": "thread.message",
        "created_at": 1,
        "completed_at": 1,
        "thread_id": thread_id,
        "role": "user",
        "status": "completed",
        "content": [{"type": "text", "text": text}],
        "metadata": {},
    }
    return structure(fields, Message)


async def writes(path: Path, sync: Any, tasks: int, total: int) -> str:
    store = SQLiteStore(path, sync=sync)
    await store.open()
    threads = [Thread(id=random_id("thread_")) for _ in range(1000)]
    await store.add(*threads)
    records = iter([new_message(threads[number % 1000].id) for number in range(total)])

    async def work() -> None:
        for record in records:
            await store.add(record)

    started, cpu = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as task_group:
        for _ in range(tasks):
            task_group.start_soon(work)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    await store.aclose()
    return f"{sync:6} {tasks:4} tasks: {total / seconds:8,.0f} writes/s, {cpu / total * 1e6:4.0f} us CPU each"


async def median_us(times: int, do: Callable[[], Awaitable[object]]) -> float:
    costs: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        await do()
        costs.append(time.perf_counter() - started)
    return statistics.median(costs) * 1e6


async def measure(store: SQLiteStore, thread_id: str) -> str:
    async def page(**query: Any) -> None:
        assert len((await store.page(Message, PageQuery(**query), within=thread_id)).data) > 0

    async def run() -> None:
        record = Run(id=random_id("run_"), thread_id=thread_id, status="queued")
        await store.add(record)
        await store.update(
            Run, record.id, lambda run: structure({"id": run.id, "thread_id": thread_id, "status": "completed"}, Run)
        )

    ids = [message.id for message in (await store.page(Message, PageQuery(limit=10), within=thread_id)).data]
    middle = ids[len(ids) // 2]
    costs = {
        "page of 5": await median_us(200, lambda: page(limit=5)),
        "next page": await median_us(200, lambda: page(limit=5, after=middle)),
        "oldest": await median_us(200, lambda: page(limit=5, order="asc")),
        "create": await median_us(400, lambda: store.add(new_message(thread_id))),
        "run": await median_us(200, run),
    }
    return ", ".join(f"{name} {cost:.0f} us" for name, cost in costs.items())


async def growth(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    thread = Thread(id=random_id("thread_"))
    await store.add(thread)
    there = 0
    for size in (10, 1_000, 100_000):
        while there < size:
            wanted = min(1000, size - there)
            await store.add(*[new_message(thread.id) for _ in range(wanted)])
            there += wanted
        print(f"{size:7,} messages in the thread: {await measure(store, thread.id)}")
    await store.aclose()


async def many_threads(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    threads: list[str] = []
    for size in (10, 100, 1_000, 10_000):
        while len(threads) < size:
            thread = Thread(id=random_id("thread_"))
            await store.add(thread, *[new_message(thread.id) for _ in range(10)])
            threads.append(thread.id)
        print(f"{size:7,} threads: {await measure(store, threads[size // 2])}")
    await store.aclose()


async def main(quick: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for sync in ("normal", "full"):
            for tasks in (1, 64, 256):
                total = 1_000 if tasks == 1 else 4_000 if quick else 20_000
                print(await writes(place / f"{sync}{tasks}.sqlite3", sync, tasks, total))
        if not quick:
            await growth(place / "growth.sqlite3")
            await many_threads(place / "threads.sqlite3")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the writes, and fewer")
    parser.add_argument("--trio", action="store_true")
    arguments = parser.parse_args()
    anyio.run(main, arguments.quick, backend="trio" if arguments.trio else "asyncio")
