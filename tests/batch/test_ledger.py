"""The ledger by itself: opening, what is wrong with a file, reading it, failing disks."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncassist import Ledger, LedgerError, UsageError
from asyncassist.batch import ledger as ledger_module
from asyncassist.batch import ledger_file
from asyncassist.batch.ledger import content_of
from asyncassist.models import Run
from asyncassist.testing import Fault
from batch.helpers import BASE, ECHO, SLOW, job, place, read, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.ledger"


def make(path: Path, content: bytes | None) -> None:
    """Make a file, or a directory."""
    path.mkdir() if content is None else path.write_bytes(content)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


async def fill(path: Path, count: int) -> None:
    async with Ledger.open(path) as ledger:
        session = await ledger.begin_session(BASE)
        for number in range(count):
            await ledger.begin(str(number), content_of(job(number)), session)


async def test_both_ways_to_open(path: Path) -> None:
    """``async with`` and ``await``; opened again it is the same ledger; closing it twice is harmless."""
    async with Ledger.open(path) as ledger:
        assert await ledger is ledger
        first = ledger.id
        assert repr(ledger) == f"<Ledger {path}>"
        assert await ledger.target() is None
    assert repr(ledger) == f"<Ledger {path} closed>"
    ledger = await Ledger.open(str(path), sync="full")
    assert ledger.id == first
    await ledger.aclose()
    await ledger.aclose()
    with pytest.raises(LedgerError, match="is not open"):
        await ledger.counts()
    with pytest.raises(TypeError, match="async with"):
        with ledger:  # type: ignore[attr-defined]
            pass
    with pytest.raises(UsageError, match="sync must be"):
        Ledger.open(path, sync="off")  # type: ignore[arg-type]


async def test_dropped_without_being_closed(path: Path) -> None:
    """The file is closed all the same, and can be opened again."""
    ledger = await Ledger.open(path)
    assert await ledger.counts() == {}
    ledger.started("1", "run_1")  # is written still
    del ledger
    gc.collect()
    with anyio.fail_after(10):
        while True:
            try:
                async with Ledger.open(path):
                    break
            except LedgerError:
                await anyio.sleep(0.01)


async def test_one_process_at_a_time(path: Path) -> None:
    """The second is told at once; reading is possible meanwhile; a process that is killed lets go of it."""
    code = (
        "import asyncio, sys\nfrom asyncassist import Ledger\n"
        "async def main():\n    async with Ledger.open(sys.argv[1]):\n        print('open', flush=True)\n"
        "        await asyncio.sleep(60)\nasyncio.run(main())"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220 - it says when it is ready
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(LedgerError, match="in use by another batch: wait for its end, or give another ledger"):
            await Ledger.open(path)
        async with Ledger.open(path, read_only=True) as ledger:
            assert await ledger.counts() == {}
        process.kill()
    async with Ledger.open(path) as ledger:
        assert ledger.is_open


@pytest.mark.parametrize(
    "content, message",
    [
        (b"short", "is no SQLite database"),
        (b"x" * 5000, "is no SQLite database"),
        (None, "is a directory"),
    ],
)
async def test_files_that_are_no_ledger(path: Path, content: bytes | None, message: str) -> None:
    """They are refused and left as they are."""
    make(path, content)
    with pytest.raises(LedgerError, match=message):
        await Ledger.open(path)
    assert sorted(os.listdir(path.parent)) == [path.name]
    assert content is None or bytes_of(path) == content


async def test_other_databases(path: Path) -> None:
    """Those of other programs, and of newer versions."""
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE things (id)")
    other.close()
    with pytest.raises(LedgerError, match="is a database of another program"):
        await Ledger.open(path)
    os.unlink(path)
    await fill(path, 1)
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(LedgerError, match="its format is 99, this version knows 1"):
        await Ledger.open(path)


@pytest.mark.parametrize("name, message", [("none/l", "there is no directory"), ("a\0b", "cannot be a file")])
async def test_places_without_a_file(tmp_path: Path, name: str, message: str) -> None:
    """The message says what is not there."""
    with pytest.raises(LedgerError, match=message):
        await Ledger.open(f"{tmp_path}/{name}")
    with pytest.raises(LedgerError, match="there is no such file"):
        await Ledger.open(tmp_path / "none", read_only=True)
    make(tmp_path / "empty", b"")
    with pytest.raises(LedgerError, match="is no ledger yet"):
        await Ledger.open(tmp_path / "empty", read_only=True)


async def test_a_damaged_file(path: Path) -> None:
    """It is told, at the latest when the damage is met, with what helps."""
    await fill(path, 3000)
    data = bytearray(bytes_of(path))
    data[8192:] = b"\x5a" * (len(data) - 8192)
    make(path, bytes(data))
    with pytest.raises(LedgerError, match=r"is damaged \(.*restore it from a copy"):
        async with Ledger.open(path) as ledger:
            [entry async for entry in ledger.entries()]


async def test_no_write_ahead_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot keep one is named as the reason."""
    connect = ledger_file._connect

    def in_memory(place: str, *args: Any, **options: Any) -> Any:
        return connect(place if place.endswith("-lock") else ":memory:", *args, **options)

    monkeypatch.setattr(ledger_file, "_connect", in_memory)
    with pytest.raises(LedgerError, match="cannot keep a write-ahead log on"):
        await Ledger.open(path)


async def test_tables_that_cannot_be_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half made is left."""
    monkeypatch.setattr(ledger_file, "_TABLES", (*ledger_file._TABLES, "CREATE nonsense"))
    with pytest.raises(LedgerError, match="cannot be used"):
        await Ledger.open(path)
    monkeypatch.undo()
    async with Ledger.open(path) as ledger:
        assert await ledger.counts() == {}


async def test_a_lock_that_cannot_be_had(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another failure than a file in use is told as what it is."""
    make(path.with_name(f"{path.name}-lock"), b"x" * 5000)
    with pytest.raises(LedgerError, match="is no SQLite database"):
        await Ledger.open(path)


async def test_a_disk_that_fails_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is not taken for a file in use."""
    connect = ledger_file._connect

    def read_only(place: str, *args: Any, **options: Any) -> Any:
        connection = connect(place, *args, **options)
        if place.endswith("-lock"):
            connection.execute("PRAGMA query_only = ON")
        return connection

    monkeypatch.setattr(ledger_file, "_connect", read_only)
    with pytest.raises(LedgerError, match="cannot be used.*check the permissions"):
        await Ledger.open(path)


async def test_another_program_holds_it(path: Path) -> None:
    """Not another batch: the message says so, after a patience."""
    await fill(path, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ledger_file, "_BUSY_SECONDS", 0.05)
            with pytest.raises(LedgerError, match="is in use by another program"):
                await Ledger.open(path)
    finally:
        other.close()


async def test_what_people_see(path: Path) -> None:
    """Counts by status, and the jobs in the order in which they were begun, page by page."""
    async with place(ECHO) as p:
        await read(p.client.run_many((p.job(n) for n in range(1200)), concurrency=100, ledger=path))
    async with Ledger.open(path, read_only=True) as ledger:
        assert await ledger.counts() == {"completed": 1200}
        assert await ledger.target() == BASE
        entries = [entry async for entry in ledger.entries()]
        assert sorted(int(entry.id) for entry in entries) == list(range(1200))
        assert [entry async for entry in ledger.entries("failed")] == []
        assert len([entry async for entry in ledger.entries("completed")]) == 1200
        assert entries[0].is_finished
        assert (entries[0].attempts, entries[0].error) == (1, None)
        assert entries[0].run_id is not None
        assert (entries[0].duration or 0) > 0
        with pytest.raises(LedgerError, match="opened to be read only"):
            await ledger.begin_session(BASE)


async def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job is begun that cannot be written down; those under way are given, then the failure is raised."""
    async with place(SLOW, ECHO) as p, Ledger.open(path) as ledger:
        given: list[str] = []

        async def fails(job_id: str, content: bytes, session: int) -> None:
            if job_id == "bad":
                await until(lambda: p.asked("get_run"))
                await ledger._do(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
                await ledger._do(lambda connection: connection.execute("CREATE TABLE more (id)"))
            await Ledger.begin(ledger, job_id, content, session)

        monkeypatch.setattr(ledger, "begin", fails)
        jobs = [p.job("slow", "slow"), p.job("bad"), *(p.job(n) for n in range(50))]
        results = p.client.run_many(jobs, concurrency=2, ledger=ledger)
        with pytest.raises(LedgerError, match="its disk is full"):
            async for result in results:
                given.append(result.job.id)
                await p.server.clock.advance(101)
        assert "slow" in given
        assert len(given) < 50
        with pytest.raises(LedgerError, match="its disk is full"):
            await ledger.counts()


async def test_what_is_no_unicode(path: Path) -> None:
    """A text with half a character is kept; an id of the server's with one fails its own job only."""
    async with Ledger.open(path) as ledger:
        session = await ledger.begin_session(BASE)
        await ledger.begin("1", content_of(job(1)), session)
        run = Run(id="run_1", thread_id="thread_1", status="completed")
        await ledger.finish("1", run, "half a \ud83d", 1.0)
        with pytest.raises(LedgerError, match="is not valid Unicode"):
            await ledger.finish("1", Run(id="\ud83d", thread_id="t", status="completed"), "", 1.0)
        with pytest.raises(LedgerError, match="is not valid Unicode"):
            ledger.started("1", "\ud83d")
        await ledger.give_up("2", "\ud83d", 1.0)
        assert ledger.failure is None
        (row,) = (await ledger.look_up(["1", "2"], with_results=True)).values()
    async with place() as p:
        assert row[7] == "half a \ud83d".encode("utf-8", "surrogatepass")
        (result,) = (await read(p.client.run_many([job(1)], ledger=path))).values()
        assert result.text == "half a \ud83d"


async def test_commits_are_shared(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while the disk is at work is committed together."""
    groups: list[int] = []
    apply = ledger_module.Scribe.apply

    def count(self: Any, group: Any) -> None:
        groups.append(len(group.ops))
        apply(self, group)

    async with Ledger.open(path) as ledger:
        session = await ledger.begin_session(BASE)
        monkeypatch.setattr(ledger_module.Scribe, "apply", count)
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ledger.begin, str(number), b"x", session)
        assert sum(groups) == 100
        assert len(groups) <= 20
        groups.clear()
        ledger.started("1", "run_1")
        ledger.started("2", "run_2")
    # Nobody waited for these, and closing does.
    async with Ledger.open(path) as ledger:
        assert (await ledger.counts())["running"] == 2


async def test_a_ledger_that_is_closed_meanwhile(path: Path) -> None:
    """The batch is ended, also when it waits for jobs; whoever reads is told."""
    sender, receiver = anyio.create_memory_object_stream[Any](10)
    async with place(ECHO) as p, sender, receiver:
        ledger = await Ledger.open(path)
        results = p.client.run_many(receiver, ledger=ledger)
        await sender.send(p.job(1))
        assert (await anext(results)).is_completed
        await ledger.aclose()
        assert not p.client._batches
        await sender.send(p.job(2))
        with pytest.raises(LedgerError, match="is not open any more: it was closed while a batch worked with it"):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        with pytest.raises(LedgerError, match="is not open: use"):
            await anext(p.client.run_many([p.job(3)], ledger=ledger))
        assert p.asked("create_run") == 1


@pytest.mark.parametrize("is_known", [False, True])
async def test_the_disk_fills_up_while_a_run_is_created(path: Path, is_known: bool) -> None:
    """The run is followed to its end all the same, and the failure raised after its result."""
    async with place(ECHO) as p, Ledger.open(path) as ledger:
        if is_known:
            thread = await p.client.create_thread(messages=p.job(1).messages)
            session = await ledger.begin_session(BASE)
            await ledger.begin("1", content_of(p.job(1)), session)
            await ledger.intend("1", 1, thread.id)
            tag = f"{ledger.id}:{blake2b(b'1', digest_size=16).hexdigest()}:1"
            await p.client.create_run(thread.id, assistant_id=p.assistant, metadata={"asyncassist": tag})
        operation = "list_runs" if is_known else "create_run"
        p.server.faults.add(Fault.slow(0.3), on=operation)
        results = p.client.run_many([p.job(1)], ledger=ledger)

        async def fill_up() -> None:
            await until(lambda: p.asked(operation))
            await ledger._do(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
            with pytest.raises(LedgerError):
                await ledger._do(lambda connection: connection.execute("CREATE TABLE more (id)"))

        async with anyio.create_task_group() as group:
            group.start_soon(fill_up)
            result = await anext(results)
        assert (result.text, result.error) == ("say 1", None)
        with pytest.raises(LedgerError, match="its disk is full"):
            await anext(results)
        assert p.asked("create_run") == 1


async def test_the_last_outcome_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is given all the same, and the failure raised after it."""
    async with place(ECHO) as p, Ledger.open(path) as ledger:

        async def fails(*args: Any) -> None:
            await ledger._do(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
            await ledger._do(lambda connection: connection.execute("CREATE TABLE more (id)"))

        monkeypatch.setattr(ledger, "finish", fails)
        results = p.client.run_many([p.job(1)], ledger=ledger)
        assert (await anext(results)).text == "say 1"
        with pytest.raises(LedgerError, match="its disk is full"):
            await anext(results)
