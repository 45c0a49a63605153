"""A store in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, TypeVar, cast, get_args

import anyio
import anyio.to_thread

from asyncassist._transport.loops import current_loop, is_over
from asyncassist.errors import UsageError
from asyncassist.models import Page, Run, Thread
from asyncassist.server.store.base import StoreFailed, check_additions
from asyncassist.server.store.batches import Batch, Unknown
from asyncassist.server.store.files import Sync, open_file
from asyncassist.server.store.tables import TABLES, page_sql, record_of, row_of
from asyncassist.server.store.writer import Writer, callbacks_here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncassist.server.store.base import Edit, PageQuery, R, Record

__all__ = ["SQLiteStore"]

_T = TypeVar("_T")

_GET = {kind: table.get for kind, table in TABLES.items()}
_HAS = {kind: table.has for kind, table in TABLES.items()}
_ACTIVE = "SELECT data FROM runs INDEXED BY runs_active WHERE active"


class SQLiteStore:
    """Keeps everything in a file, which one server at a time can use. It needs nothing but Python.

    What was written is in the file before the call that wrote it returns: it survives the end of the process at any
    moment, and with ``sync="full"`` a loss of power as well. Writes that come at the same time share a transaction.

    Beside the file SQLite keeps two others while the store is open (``-wal``, ``-shm``), and the store an empty one
    (``-lock``), which stays. To copy the file, close the store first, or use SQLite's own means.

    Args:
        path: of the file. It is made when it is not there; its directory has to be.
        sync: ``"normal"`` leaves it to the operating system when what was written gets to the disk; ``"full"`` waits
            for that.

    Raises:
        UsageError: an argument cannot be meant.
    """

    # How a write is made: what it changes is decided in the event loop, of the state that will be: the file's, and on
    # top of it the batch that is being written and the one that waits. Then it joins the batch that waits. A thread
    # writes one batch after the other. It needs Python's lock only a few times per batch, and none of its decisions
    # wait for each other: deciding in the thread took three times the CPU, because each of its queries gives that lock
    # away, and has to wait until the event loop, which is busy, lets go of it again.

    def __init__(self, path: str | os.PathLike[str], *, sync: Sync = "normal") -> None:
        self._path = os.fspath(path)
        if self._path in ("", ":memory:"):
            raise UsageError(f"{self._path!r} is no file: give a path, or use a MemoryStore to keep nothing")
        if sync not in get_args(Sync):
            raise UsageError(f"sync must be 'normal' or 'full', got {sync!r}")
        self._sync: Sync = sync
        self._reading: sqlite3.Connection | None = None  # None: the store is closed, or will be when all is written
        self._loop: object = None
        self._writer: Writer | None = None
        self._let_go = anyio.Event()  # set when the writer has ended
        self._writing: Batch | None = None
        self._waiting: Batch | None = None  # only while another is being written
        self._active: dict[str, str] | None = None  # thread id -> run id, as it will be; None: to be read

    async def open(self) -> None:
        if self._reading is not None:
            raise UsageError(f"the store of {self._path} is open already")
        if self._writer is not None:  # nobody waited for the end of the last time
            await anyio.to_thread.run_sync(self._writer.join)
        connections = await anyio.to_thread.run_sync(open_file, self._path, self._sync)
        # No await from here on: either all is open, or nothing.
        self._loop = current_loop()
        self._let_go = anyio.Event()
        self._writing = self._waiting = self._active = None
        self._reading = connections.reading
        self._writer = Writer(
            [connections.writing, connections.lock],
            callbacks_here(),
            on_done=self._on_done,
            on_closed=self._on_closed,
        )

    async def aclose(self) -> None:
        if self._writer is None:
            return
        is_here = self._loop is current_loop()
        if not is_here and not is_over(self._loop):
            raise UsageError(f"the store of {self._path} is open in another event loop: close it there")
        if self._reading is not None:
            self._reading.close()
            self._reading = None
            if self._writing is None or not is_here:
                self._writer.close()
        with anyio.CancelScope(shield=True):
            if is_here:
                await self._let_go.wait()
            else:  # nobody is told any more where it was opened
                await anyio.to_thread.run_sync(self._writer.join)
                self._writer = None

    async def add(self, *records: Record) -> None:
        def decide(batch: Batch) -> None:
            self._check(records)
            self._put(batch, records)

        await self._write(decide)

    async def get(self, kind: type[R], id: str) -> R | None:
        rows = self._rows(_GET[kind], [id])
        return record_of(rows[0][0], kind) if rows else None

    async def update(
        self,
        kind: type[R],
        id: str,
        change: Callable[[R], R],
        *,
        also: Sequence[Edit] = (),
        add: Sequence[Record] = (),
    ) -> R | None:
        def decide(batch: Batch) -> R | None:
            old = cast("R | None", self._find(kind, id))
            if old is None:
                return None
            new = change(old)
            changed: list[Record] = [] if new is old else [new]
            for edit in also:
                other = self._find(edit.kind, edit.id)
                if other is not None:
                    changed.append(edit.change(other))
            self._check(add)
            self._put(batch, [*changed, *add])
            return new

        return await self._write(decide)

    async def delete(self, kind: type[Record], id: str) -> bool:
        def decide(batch: Batch) -> bool:
            if not self._has(kind, id):
                return False
            active = self._active_runs()
            if kind is Thread:
                active.pop(id, None)
            elif kind is Run:
                for thread_id in [thread_id for thread_id, run_id in active.items() if run_id == id]:
                    del active[thread_id]
            batch.delete(kind, id)
            return True

        # A thread belongs to nothing, so whether it is there can be told at any time.
        return await self._write(decide, waits=kind is not Thread)

    async def page(self, kind: type[R], query: PageQuery, *, within: str | None = None) -> Page[R]:
        table = TABLES[kind]
        self._opened()
        if query.limit <= 0 or (within is None) == bool(table.owners):
            return Page(has_more=False)
        of_owner: list[str] = [] if within is None else [within]
        values: list[str | int] = [*of_owner]
        for cursor in (query.after, query.before):
            if cursor is not None:
                values += [cursor, *of_owner]
        values.append(query.limit + 1)
        rows: list[tuple[bytes, ...]] = []
        oldest_first = True
        for owner in table.owners or (None,):
            statement, oldest_first = page_sql(table, owner, query)
            if rows := self._rows(statement, values):
                break
        records = [record_of(row[0], kind) for row in rows[: query.limit]]
        if oldest_first != (query.order == "asc"):
            records.reverse()
        return Page(
            data=tuple(records),
            first_id=records[0].id if records else None,
            last_id=records[-1].id if records else None,
            has_more=len(rows) > query.limit,
        )

    async def active_run(self, thread_id: str) -> Run | None:
        rows = self._rows(_ACTIVE + " AND thread_id = ?", [thread_id])
        return record_of(rows[0][0], Run) if rows else None

    async def active_runs(self) -> Sequence[Run]:
        runs = [record_of(data, Run) for (data,) in self._rows(_ACTIVE + " ORDER BY seq")]
        return sorted(runs, key=lambda run: run.expires_at or 0)

    # Reading: in the event loop. A query of one row takes some microseconds, its way to a thread and back ten times as
    # long; and the log lets readers see what was written last without waiting for who writes.

    def _opened(self) -> sqlite3.Connection:
        if self._reading is None:
            raise UsageError(f"the store of {self._path} is not open")
        if self._loop is not current_loop():
            raise UsageError(f"the store of {self._path} is open in another event loop: use it there")
        return self._reading

    def _rows(self, statement: str, values: Sequence[str | int] = ()) -> list[tuple[bytes, ...]]:
        connection = self._opened()
        try:
            return connection.execute(statement, values).fetchall()
        except UnicodeEncodeError:
            return []  # an id that is no valid text is nobody's
        except sqlite3.Error as error:
            raise StoreFailed(f"{self._path} could not be read: {error}") from error

    # Writing.

    async def _write(self, decide: Callable[[Batch], _T], *, waits: bool = True) -> _T:
        """Make a change. ``decide`` puts it into a batch, or raises and leaves the batch as it is.

        With ``waits`` it is decided when nothing is being deleted that other objects belong to: which these are, only
        the file knows.
        """
        self._opened()
        while waits and (before := self._cascading()) is not None:
            await before.done.wait()
            self._opened()
        batch = self._waiting or Batch()
        try:
            result = decide(batch)
        except Exception:
            await self._settled(self._waiting or self._writing)
            raise
        if batch.is_empty:
            await self._settled(self._writing)
        else:
            self._submit(batch)
            await self._settled(batch)
        return result

    async def _settled(self, batch: Batch | None) -> None:
        """Wait until a batch is written. What was found out by looking at it is true only then."""
        if batch is not None:
            await batch.done.wait()
            if batch.error is not None:
                raise StoreFailed(f"{self._path} could not be written: {batch.error}") from batch.error

    def _submit(self, batch: Batch) -> None:
        assert self._writer is not None
        if self._writing is None:
            self._writing = batch
            self._writer.write(batch)
        else:
            self._waiting = batch

    def _on_done(self, batch: Batch, error: Exception | None) -> None:
        waiting, self._waiting = self._waiting, None
        self._writing = None
        batch.error = error
        batch.done.set()
        if error is not None:
            self._active = None
            if waiting is not None:  # it was decided upon a state that will not be
                waiting.error = error
                waiting.done.set()
        elif waiting is not None:
            self._submit(waiting)
        if self._reading is None and self._writing is None:
            assert self._writer is not None
            self._writer.close()

    def _on_closed(self) -> None:
        assert self._writer is not None
        self._writer.join()  # it has nothing left to do
        self._writer = None
        self._let_go.set()

    # Deciding: of the state that will be.

    def _cascading(self) -> Batch | None:
        for batch in (self._waiting, self._writing):
            if batch is not None and batch.cascades:
                return batch
        return None

    def _find(self, kind: type[Record], id: str) -> Record | None:
        found = self._in_batches(kind, id)
        if found is not Unknown.UNKNOWN:
            return found
        rows = self._rows(_GET[kind], [id])
        return record_of(rows[0][0], kind) if rows else None

    def _has(self, kind: type[Record], id: str) -> bool:
        found = self._in_batches(kind, id)
        return bool(self._rows(_HAS[kind], [id])) if found is Unknown.UNKNOWN else found is not None

    def _in_batches(self, kind: type[Record], id: str) -> Record | Unknown | None:
        for batch in (self._waiting, self._writing):
            if batch is not None and (found := batch.find(kind, id)) is not Unknown.UNKNOWN:
                return found
        return Unknown.UNKNOWN

    def _active_runs(self) -> dict[str, str]:
        if self._active is None:
            rows = self._rows("SELECT thread_id, id FROM runs INDEXED BY runs_active WHERE active ORDER BY seq")
            self._active = {thread_id.decode(): run_id.decode() for thread_id, run_id in rows}
        return self._active

    def _check(self, records: Sequence[Record]) -> None:
        check_additions(records, has=self._has, active=self._active_runs())

    def _put(self, batch: Batch, records: Sequence[Record]) -> None:
        rows = [row_of(record) for record in records]
        active = self._active_runs()
        for record, row in zip(records, rows, strict=True):
            batch.put(record, row)
            if isinstance(record, Run):
                if not record.is_terminal:
                    active[record.thread_id] = record.id
                elif active.get(record.thread_id) == record.id:
                    del active[record.thread_id]
