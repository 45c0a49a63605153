"""The SQLite store: what is particular to a file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from asyncassist import InternalServerError, UsageError
from asyncassist.models import Assistant, Message, Run, RunStep, Thread
from asyncassist.server import LocalServer, MemoryStore, PageQuery, SQLiteStore, StoreFailed
from asyncassist.server.store.base import Record
from asyncassist.server.store.migrations import APPLICATION_ID, MIGRATIONS, check_format, migrate
from asyncassist.server.store.tables import TABLES, page_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@asynccontextmanager
async def opened(file: Path | str, **settings: Any) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(file, **settings)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


def messages(count: int, prefix: str = "msg") -> list[Message]:
    return [Message(id=f"{prefix}_{number}", thread_id="thread_1", role="user") for number in range(count)]


def store_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncassist store"]


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.iterdir()}


def block_writes(file: Path) -> closing[sqlite3.Connection]:
    """Hold SQLite's own write lock, as another program could."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return closing(connection)


# --- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_what_is_no_file_is_refused(path: str) -> None:
    """SQLite's names for no file at all are refused, with the store that does that."""
    with pytest.raises(UsageError, match="use a MemoryStore"):
        SQLiteStore(path)


def test_an_unknown_way_to_sync_is_refused(file: Path) -> None:
    """``sync`` is one of two words."""
    with pytest.raises(UsageError, match="sync must be 'normal' or 'full', got 'off'"):
        SQLiteStore(file, sync="off")  # type: ignore[arg-type]


async def test_a_closed_file_stands_alone(file: Path) -> None:
    """After closing, everything is in the one file; the empty lock file beside it means nothing to who copies it."""
    async with opened(str(file)) as store:
        await store.add(Thread(id="thread_1"))
        assert file.with_name(file.name + "-wal").stat().st_size > 0

    assert {"store.sqlite3", "store.sqlite3-lock"} == {path.name for path in file.parent.iterdir()}
    copy = file.with_name("copy.sqlite3")
    os.replace(file, copy)
    async with opened(copy) as store:
        assert Thread(id="thread_1") == await store.get(Thread, "thread_1")
    assert store_threads() == []


async def test_a_store_is_opened_once(file: Path) -> None:
    """A store that is open cannot be opened, one that is closed not used; closing twice is closing once."""
    store = SQLiteStore(file)
    await store.aclose()
    for use in (store.get(Thread, "x"), store.add(), store.page(Message, PageQuery(limit=0)), store.active_runs()):
        with pytest.raises(UsageError, match="is not open"):
            await use
    await store.open()
    with pytest.raises(UsageError, match="is open already"):
        await store.open()
    await store.aclose()
    await store.aclose()
    with pytest.raises(UsageError, match="is not open"):
        await store.delete(Thread, "x")


async def test_a_file_is_served_once(file: Path) -> None:
    """A second store cannot open the file, in this process or in another, until the first has closed it."""
    code = "import sys, anyio; from asyncassist.server import SQLiteStore; anyio.run(SQLiteStore(sys.argv[1]).open)"
    async with opened(file):
        with pytest.raises(UsageError, match=r"store\.sqlite3 is in use by another server: end it first"):
            await SQLiteStore(file).open()
        other = await anyio.run_process([sys.executable, "-c", code, str(file)], check=False)
        assert b"is in use by another server" in other.stderr
        link = file.with_name("link")
        link.symlink_to(file)
        with pytest.raises(UsageError, match="is in use by another server"):
            await SQLiteStore(link).open()

    async with opened(file):
        pass


async def test_a_file_another_program_writes_to_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose writing is blocked by another program is refused after a while, in plain words."""
    monkeypatch.setattr("asyncassist.server.store.files._BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UsageError, match="is in use by another program"):
            await SQLiteStore(file).open()


async def test_other_files_are_refused_untouched(tmp_path: Path) -> None:
    """What is no SQLite database, or another program's, is refused with its path, and nothing is left beside it."""
    text, short, other = tmp_path / "notes.txt", tmp_path / "short.txt", tmp_path / "other.db"
    text.write_text("some notes\n" * 100)
    short.write_text("x")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("PRAGMA application_id = 1")
        connection.execute("PRAGMA user_version = 1")
    before = contents(tmp_path)

    for path, words in (
        (text, "notes.txt is no SQLite database: give another path"),
        (short, "short.txt is no SQLite database"),
        (other, "other.db is a database of another program"),
        (foreign, "foreign.db is a database of another program"),
    ):
        with pytest.raises(UsageError, match=words):
            await SQLiteStore(path).open()

    assert before == contents(tmp_path)


async def test_places_where_no_file_can_be_are_refused(tmp_path: Path) -> None:
    """A directory, a missing directory, and one that cannot be written to are refused with what to do."""
    with pytest.raises(UsageError, match="is a directory: give the path of a file in it"):
        await SQLiteStore(tmp_path).open()
    for name in ("\0", "x" * 5000, "x" * 252):
        with pytest.raises(UsageError, match="cannot be a file: "):
            await SQLiteStore(tmp_path / name).open()
    with pytest.raises(UsageError, match=r"missing/store\.sqlite3 cannot be made: there is no directory"):
        await SQLiteStore(tmp_path / "missing" / "store.sqlite3").open()
    with pytest.raises(
        UsageError, match=r"^/proc/store\.sqlite3 cannot be opened for writing .*: check the permissions"
    ):
        await SQLiteStore("/proc/store.sqlite3").open()


async def test_a_damaged_file_is_refused(file: Path) -> None:
    """A database with garbage inside is refused as damaged."""
    async with opened(file):
        pass
    with file.open("r+b") as raw:
        raw.seek(100)
        raw.write(b"\xa5" * 3996)

    with pytest.raises(UsageError, match=r"store\.sqlite3 is damaged .*: restore it from a copy"):
        await SQLiteStore(file).open()


async def test_a_file_system_without_a_log_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite cannot keep a write-ahead log the store is not opened."""
    connect = sqlite3.connect

    class Stubborn(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return super().execute("PRAGMA journal_mode" if "journal_mode" in sql else sql, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Stubborn, **kwargs))

    with pytest.raises(UsageError, match="cannot keep a write-ahead log"):
        await SQLiteStore(file).open()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_store_whose_closing_nobody_waits_for_is_closed(file: Path) -> None:
    """A store whose closing was cancelled as asyncio does can be opened again at once, and has all that was written."""
    store = SQLiteStore(file)
    await store.open()
    await store.add(Thread(id="thread_1"))
    writing = asyncio.create_task(store.add(*messages(1000)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await writing
    await store.open()

    assert closing.cancelled()
    assert await store.get(Message, "msg_999") is not None
    await store.aclose()


async def test_sync_is_what_was_asked_for(file: Path) -> None:
    """``full`` has SQLite wait for the disk at each transaction, ``normal`` does not."""
    for sync, expected in (("normal", 1), ("full", 2)):
        async with opened(file, sync=sync) as store:
            writer: Any = store._writer
            (level,) = writer._connections[0].execute("PRAGMA synchronous").fetchone()
            assert expected == level


# --- formats ---------------------------------------------------------------------------------------------------------


async def test_a_newer_file_is_refused(file: Path) -> None:
    """A file of a later format is refused, and says what helps."""
    async with opened(file):
        pass
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    with pytest.raises(UsageError, match="written by a newer version of asyncassist .*: upgrade asyncassist"):
        await SQLiteStore(file).open()


async def test_an_older_file_is_migrated(file: Path) -> None:
    """A file of an earlier format is brought to the newest, with what is in it; a migration that fails changes none."""
    async with opened(file) as store:
        await store.add(Assistant(id="asst_1"))
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, [*MIGRATIONS, ("CREATE TABLE more (x)",), ("no SQL",)])
        assert (len(MIGRATIONS),) == connection.execute("PRAGMA user_version").fetchone()

        migrations = [*MIGRATIONS, ("ALTER TABLE assistants ADD COLUMN name TEXT",), ("CREATE TABLE more (x)",)]
        check_format(connection, str(file), migrations)
        migrate(connection, migrations)
        migrate(connection, migrations)

        assert (len(MIGRATIONS) + 2,) == connection.execute("PRAGMA user_version").fetchone()
        assert (APPLICATION_ID,) == connection.execute("PRAGMA application_id").fetchone()
        assert [("asst_1", None)] == connection.execute("SELECT id, name FROM assistants").fetchall()


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_what_is_acknowledged_is_in_the_file(file: Path) -> None:
    """When a write returns, whoever else opens the file finds it there."""
    async with opened(file) as store:
        with closing(sqlite3.connect(file)) as connection:
            await store.add(Thread(id="thread_1"), *messages(3))
            assert (3,) == connection.execute("SELECT count(*) FROM messages").fetchone()
            await store.delete(Message, "msg_1")
            assert (2,) == connection.execute("SELECT count(*) FROM messages").fetchone()


async def test_writes_at_once_share_transactions(file: Path) -> None:
    """A thousand writes at the same time take few transactions, and so does deleting a thousand threads."""
    async with opened(file) as store:
        await store.add(*[Thread(id=f"thread_{number}") for number in range(1000)])
        batches: list[object] = []
        writer: Any = store._writer
        write = writer.write
        writer.write = lambda batch: (batches.append(batch), write(batch))
        async with anyio.create_task_group() as task_group:
            for record in messages(1000):
                task_group.start_soon(store.add, record)
        assert 2 <= len(batches) < 20
        batches.clear()
        async with anyio.create_task_group() as task_group:
            for number in range(1000):
                task_group.start_soon(store.delete, Thread, f"thread_{number}")
        assert 2 <= len(batches) < 20
        assert () == (await store.page(Thread, PageQuery())).data


async def test_a_write_that_fails_is_told_to_all_it_concerns(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file cannot be written all who wait are told, nothing of it is there, and later writes work again."""
    monkeypatch.setattr("asyncassist.server.store.files._BUSY_SECONDS", 0.3)
    failed: list[int] = []

    async def fail(number: int, write: Awaitable[object]) -> None:
        with pytest.raises(StoreFailed, match=r"store\.sqlite3 could not be written: database is locked"):
            await write
        failed.append(number)

    async with opened(file) as store:
        await store.add(Thread(id="thread_1"), Thread(id="thread_2"))
        writes = [
            store.add(Run(id="run_1", thread_id="thread_1", status="queued")),
            store.add(*messages(1)),  # refused, because of a run that will not be there
            store.delete(Thread, "thread_3"),  # not there, as far as the batches tell
            store.add(Message(id="msg_9", thread_id="thread_2", role="user")),
            store.delete(Thread, "thread_2"),
            store.add(Thread(id="thread_4")),  # waits for the deletion, and fails by itself
        ]
        with block_writes(file):
            async with anyio.create_task_group() as task_group:
                for number, write in enumerate(writes):
                    task_group.start_soon(fail, number, write)
                    await wait_all_tasks_blocked()

        assert {0, 1, 2, 3, 4, 5} == set(failed)
        assert await store.active_runs() == []
        await store.add(*messages(1))
        assert await store.get(Message, "msg_9") is None
        assert await store.delete(Thread, "thread_2")


async def test_what_fails_in_the_file_is_told(file: Path) -> None:
    """A file that is damaged while it is open makes what needs that part fail, and says so."""
    async with opened(file) as store:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("DROP TABLE run_steps")
            connection.execute("ALTER TABLE assistants RENAME COLUMN data TO theirs")
        with pytest.raises(StoreFailed, match=r"store\.sqlite3 could not be read: no such table: run_steps"):
            await store.get(RunStep, "step_1")
        with pytest.raises(StoreFailed, match=r"store\.sqlite3 could not be written: table assistants has no column"):
            await store.add(Thread(id="thread_1"), Assistant(id="asst_1"))

        assert await store.get(Thread, "thread_1") is None
        await store.add(Thread(id="thread_1"))


async def test_closing_waits_for_what_is_being_written(file: Path) -> None:
    """Writes under way when the store is closed are made, one that was not begun is refused, even if closing is
    cancelled; then the thread is gone."""
    store = SQLiteStore(file)
    await store.open()
    await store.add(Thread(id="thread_1"), Thread(id="thread_2"), *messages(1))

    async def late() -> None:
        with pytest.raises(UsageError, match="is not open"):
            await store.add(Thread(id="thread_3"))

    async def close() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.aclose()
        assert not [thread for thread in store_threads() if thread.is_alive()]

    async with anyio.create_task_group() as task_group:
        with block_writes(file):
            task_group.start_soon(store.delete, Message, "msg_0")
            await wait_all_tasks_blocked()
            for record in messages(99, "later"):
                task_group.start_soon(store.add, record)
            await wait_all_tasks_blocked()
            task_group.start_soon(store.delete, Thread, "thread_2")
            await wait_all_tasks_blocked()
            task_group.start_soon(late)
            task_group.start_soon(close)
            task_group.start_soon(store.aclose)
            await wait_all_tasks_blocked()

    async with opened(file) as store:
        page = await store.page(Message, PageQuery(limit=100), within="thread_1")
        assert {record.id for record in messages(99, "later")} == {record.id for record in page.data}
        assert ["thread_1"] == [record.id for record in (await store.page(Thread, PageQuery())).data]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelling_as_asyncio_does_harms_nobody(file: Path) -> None:
    """A task cancelled without a scope leaves the writes of the others, and the store, as they are."""
    async with opened(file) as store:
        await store.add(Thread(id="thread_1"))
        tasks = [asyncio.create_task(store.add(record)) for record in messages(100)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)

        assert all(task.exception() is None for task in tasks[1::2])
        for record in messages(100)[1::2]:
            assert record == await store.get(Message, record.id)
        await store.add(Thread(id="thread_2"))


def test_another_event_loop_is_refused(file: Path) -> None:
    """A store left open by an event loop that is over says so in the next, and can be closed and opened there."""
    store = SQLiteStore(file)

    async def leave_open() -> None:
        await store.open()
        await store.add(Thread(id="thread_1"))

    async def go_on() -> None:
        with pytest.raises(UsageError, match="is open in another event loop: use it there"):
            await store.get(Thread, "thread_1")
        await store.aclose()
        async with opened(file) as other:
            assert await other.get(Thread, "thread_1") is not None
        await store.open()
        await store.aclose()

    anyio.run(leave_open)
    anyio.run(go_on)

    assert store_threads() == []


def test_a_store_is_closed_where_it_is_open(file: Path) -> None:
    """While the event loop a store was opened in goes on, another one cannot close it."""
    store = SQLiteStore(file)

    async def open_and_close() -> None:
        await store.open()
        with pytest.raises(UsageError, match="is open in another event loop: close it there"):
            await anyio.to_thread.run_sync(anyio.run, store.aclose)
        await store.add(Thread(id="thread_1"))
        await store.aclose()

    anyio.run(open_and_close)


# --- speed -----------------------------------------------------------------------------------------------------------


async def test_every_page_walks_along_an_index(file: Path) -> None:
    """However long a listing is, none of its pages is searched for or sorted."""
    async with opened(file):
        pass
    plans: list[str] = []
    with closing(sqlite3.connect(file)) as connection:
        kinds: list[tuple[type[Record], str | None]] = [(Assistant, None), (Thread, None)]
        kinds += [(Message, "thread_id"), (Message, "run_id"), (Run, "thread_id"), (RunStep, "run_id")]
        for kind, owner in kinds:
            for after, before, order in (
                (None, None, "asc"),
                ("a", None, "desc"),
                (None, "b", "asc"),
                ("a", "b", "desc"),
            ):
                query = PageQuery(order=order, after=after, before=before)  # type: ignore[arg-type]
                statement, _ = page_sql(TABLES[kind], owner, query)
                values = "x" * statement.count("?")
                plans += [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", tuple(values))]

    assert not [plan for plan in plans if "TEMP B-TREE" in plan]
    scans = {plan for plan in plans if plan.startswith("SCAN")}
    assert scans <= {"SCAN assistants", "SCAN threads", "SCAN CONSTANT ROW"}
    assert any("messages_by_thread_id (thread_id=? AND rowid<?)" in plan for plan in plans)


# --- in a server -----------------------------------------------------------------------------------------------------


async def test_a_server_goes_on_with_the_file(file: Path) -> None:
    """A server on a store in a file has, when it is entered again, all it had."""
    server = LocalServer(store=SQLiteStore(file))
    async with server, server.client() as client:
        assistant = await client.create_assistant(model="any")
        thread = await client.create_thread()
        await client.create_message(thread.id, role="user", content="Hello")
        run = await client.run_and_wait(thread.id, assistant_id=assistant.id)
        assert "completed" == run.status

    async with server, server.client() as client:
        assert run == await client.get_run(thread.id, run.id)
        texts = [message async for message in client.list_messages(thread.id)]
        assert 2 == len(texts)
    assert store_threads() == []


async def test_a_server_whose_store_cannot_be_opened_is_not_entered(file: Path) -> None:
    """Entering a server on a file in use raises, and the server can be entered when the file is free."""
    server = LocalServer(store=SQLiteStore(file))
    async with opened(file):
        with pytest.raises(UsageError, match="is in use by another server"):
            await server.__aenter__()
        assert not server.is_running

    async with server:
        assert server.is_running


async def test_a_server_outlives_a_file_that_cannot_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs the file is answered with a 500 while it cannot be written, and works when it can."""
    monkeypatch.setattr("asyncassist.server.store.files._BUSY_SECONDS", 0.01)
    async with LocalServer(store=SQLiteStore(file)) as server, server.client() as client:
        thread = await client.create_thread()
        with block_writes(file):
            with pytest.raises(InternalServerError):
                await client.create_message(thread.id, role="user", content="Hello")
            assert thread == await client.get_thread(thread.id)

        await client.create_message(thread.id, role="user", content="Hello")


async def test_a_memory_store_can_be_opened_and_closed() -> None:
    """For a store in memory that means nothing: what it has stays."""
    store = MemoryStore()
    await store.add(Thread(id="thread_1"))
    await store.aclose()
    await store.open()

    assert Thread(id="thread_1") == await store.get(Thread, "thread_1")
