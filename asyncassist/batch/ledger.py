"""The ledger of a batch: what was begun, and how it ended, in a file that survives a crash."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import AsyncIterator, Generator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Never, Self, TypeAlias, cast

import anyio
import msgspec
from attrs import frozen

from asyncassist import models
from asyncassist._wire.json import dumps
from asyncassist._wire.unstructure import unstructure
from asyncassist.batch.ledger_file import explained, open_file
from asyncassist.batch.ledger_ops import check_unicode, fact, is_unicode, rows
from asyncassist.batch.threads import Group, Scribe, calling_here
from asyncassist.errors import LedgerError, UsageError, shown

if TYPE_CHECKING:
    from types import TracebackType

    from asyncassist.batch.batch import Batch
    from asyncassist.batch.jobs import Job
    from asyncassist.batch.ledger_file import Sync
    from asyncassist.batch.threads import Op
    from asyncassist.models import Run

__all__ = ["Known", "Ledger", "LedgerEntry", "Row", "content_of"]

_PAGE = 500

_encode = msgspec.json.Encoder(order="sorted").encode
_encode_ids = msgspec.json.Encoder().encode


def content_of(job: Job) -> bytes:
    """Return what two jobs have in common only if they ask for the same.

    Raises:
        UsageError: the job cannot be sent.
    """
    parts: object = (job.assistant_id, job.messages, job.thread_id)
    if job.params or job.metadata:
        parts = unstructure([parts, job.params, job.metadata])
    elif not _are_plain(job.messages):
        parts = unstructure(parts)
    try:
        data = _encode(parts)
    except (ValueError, UnicodeError):  # a lone surrogate, or an integer of thousands of digits
        data = dumps(parts)
    return blake2b(data, digest_size=16).digest()


def _are_plain(messages: Sequence[object]) -> bool:
    for message in messages:
        if type(message) is not dict:
            return False
        for value in cast("dict[str, object]", message).values():
            if type(value) is not str:
                return False
    return True


@frozen
class LedgerEntry:
    """What a ledger knows of a job."""

    id: str
    status: str
    """``"begun"``, ``"starting"`` and ``"running"`` while the job is under way, or was when its process ended; the
    status of its run when that has ended; or ``"error"``: it was given up, and the next batch takes it up again."""
    attempts: int
    """How many runs were started, the one that may have been included."""
    thread_id: str | None
    run_id: str | None
    changed_at: float
    """Unix seconds."""
    duration: float | None
    """Seconds; None as long as it has not ended."""
    error: str | None

    @property
    def is_finished(self) -> bool:
        """Whether the job's run has ended, so that no batch takes it up again."""
        return self.status in models.TERMINAL_RUN_STATUSES


@frozen
class Known:
    """Where a job stands that was begun and has not finished."""

    status: str
    attempt: int
    thread_id: str | None
    run_id: str | None
    abandoned: int
    changed_at: float


Row: TypeAlias = tuple[Any, ...]


class Ledger:
    """A file that knows what a batch has begun and how it ended, so that the next one goes on where it stopped.

    `open` makes one, ``client.run_many(jobs, ledger=...)`` uses it; given a path, that opens and closes it itself. One
    process at a time can work with a ledger; any number can read it meanwhile. It belongs to one server, and to
    jobs that do not change: a job whose id it knows with another content is refused.

    Attributes:
        path: the file. Beside it are those of SQLite's write-ahead log, and an empty one that serves as the lock.
    """

    def __init__(self, path: str | os.PathLike[str], *, sync: Sync = "normal", read_only: bool = False) -> None:
        if sync not in ("normal", "full"):
            raise UsageError(f'sync must be "normal" or "full", got {shown(sync)}')
        if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
            raise TypeError(f"a ledger's path must be a str or a path, got {type(path).__name__}")
        self.path = os.fspath(path)
        self._sync: Sync = sync
        self._read_only = read_only
        self._scribe: Scribe | None = None
        self._next: Group | None = None
        self._is_busy = False
        self._closed: anyio.Event | None = None
        self._id = ""
        self.failure: LedgerError | None = None
        self.active: set[str] = set()
        self.batches: set[Batch] = set()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, sync: Sync = "normal", read_only: bool = False) -> Self:
        """Open a ledger, and make the file if it is not there: ``async with Ledger.open(path) as ledger``.

        ``await Ledger.open(path)`` opens it too; it is then closed with `aclose`.

        Args:
            sync: ``"normal"`` loses nothing when a process is killed; ``"full"`` waits for the disk at each commit,
                so that a power cut loses nothing either.
            read_only: to look at it, also while a batch works with it. The file must be there.

        Raises:
            LedgerError: when it is entered or awaited: the file cannot be used, or another process works with it.
        """
        return cls(path, sync=sync, read_only=read_only)

    def __repr__(self) -> str:
        return f"<Ledger {self.path}{'' if self.is_open else ' closed'}>"

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._scribe is not None

    @property
    def id(self) -> str:
        """What the tags of this ledger's runs begin with."""
        return self._id

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        if self._scribe is not None:
            return self
        self.failure = None
        self._next, self._is_busy, self._closed = None, False, anyio.Event()
        path, sync, read_only = self.path, self._sync, self._read_only
        me = weakref.ref(self)
        opened = anyio.Event()
        failures: list[Exception] = []

        def on_opened(error: Exception | None) -> None:
            if error is not None:
                failures.append(error)
            opened.set()

        def on_done(group: Group) -> None:
            if (ledger := me()) is not None:
                ledger._on_done(group)

        self._scribe = scribe = Scribe(
            lambda: open_file(path, sync, read_only=read_only),
            calling_here(),
            on_opened=on_opened,
            on_done=on_done,
            on_closed=self._closed.set,
        )
        self._finalizer = weakref.finalize(self, scribe.close)
        try:
            await opened.wait()
            if failures:
                raise failures.pop()
            self._id = await self._do(fact("id"))
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close it: what was written before is committed. Harmless when called again.

        Batches that work with it are ended before, and their runs cancelled, in bounded time; see `JobResults`.
        """
        with anyio.CancelScope(shield=True):
            try:
                async with anyio.create_task_group() as group:
                    for batch in tuple(self.batches):
                        text = f"{self.path} is not open any more: it was closed while a batch worked with it"
                        group.start_soon(batch.break_off, LedgerError(text))
            finally:
                await self._close()

    async def _close(self) -> None:
        scribe, self._scribe = self._scribe, None
        if scribe is None:
            return
        assert self._closed is not None  # set when it was opened
        if self._next is not None:
            scribe.apply(self._next)
            self._next = None
        self._finalizer()
        await self._closed.wait()

    # Hidden from type checkers, which report the mistake themselves.
    if not TYPE_CHECKING:  # pragma: no branch

        def __enter__(self) -> Never:
            raise TypeError("a Ledger is entered with `async with`, not `with`: async with Ledger.open(path) as ledger")

        __exit__ = __enter__  # `with` looks for it before it enters

    # --- reading -----------------------------------------------------------------------------------------------------

    async def counts(self) -> dict[str, int]:
        """Return how many jobs have each status; see `LedgerEntry`.

        Raises:
            LedgerError: it cannot be read.
        """
        query = "SELECT status, count(*) FROM jobs GROUP BY status ORDER BY status"
        return dict(await self._do(rows(query)))

    async def target(self) -> str | None:
        """Return the base URL of the server the jobs are on; None before the first batch."""
        found = await self._do(fact("target"))
        return None if found is None else str(found)

    async def entries(self, status: str | None = None) -> AsyncIterator[LedgerEntry]:
        """Go through the jobs in the order in which they were begun.

        Args:
            status: only those with this one; None gives all.

        Raises:
            LedgerError: it cannot be read.
        """
        query = (
            "SELECT seq, id, status, attempt, thread_id, run_id, changed_at, duration, error FROM jobs"
            f" WHERE seq > ? {'' if status is None else 'AND status = ?'} ORDER BY seq LIMIT {_PAGE}"
        )
        last = 0
        while True:
            values: tuple[object, ...] = (last,) if status is None else (last, status)
            found: list[Row] = await self._do(rows(query, *values))
            for row in found:
                last = row[0]
                yield LedgerEntry(*row[1:])
            if len(found) < _PAGE:
                return

    # --- what batches do ---------------------------------------------------------------------------------------------

    async def begin_session(self, target: str) -> int:
        """Begin a batch, and return its number.

        Args:
            target: the base URL of the server.

        Raises:
            LedgerError: the ledger is that of another server, or only read.
        """
        if self._read_only:
            raise LedgerError(f"{self.path} was opened to be read only: open it without read_only=True")

        def begin(connection: sqlite3.Connection) -> tuple[str, int]:
            connection.execute("INSERT OR IGNORE INTO facts VALUES ('target', ?)", (target,))
            connection.execute("UPDATE facts SET value = value + 1 WHERE name = 'session'")
            return str(fact("target")(connection)), int(fact("session")(connection))

        found, session = await self._do(begin)
        if found != target:
            raise LedgerError(
                f"{self.path} is the ledger of {found}, and this client talks to {target}: its runs are not there. Give"
                " another ledger, or the client that base_url"
            )
        return cast("int", session)

    async def look_up(self, ids: Sequence[str], *, with_results: bool) -> dict[str, Row]:
        """Return what is known of jobs, by id; those it does not know are not in it.

        A row is the job's place in the ledger, id, content, status, session, attempt and duration; with results also
        text and run.
        """
        where = "j.id IN (SELECT value FROM json_each(?))"
        return await self._rows(where, _encode_ids(ids).decode(), with_results=with_results)

    async def stretch(self, after: int, count: int, *, with_results: bool) -> dict[str, Row]:
        """Return the jobs on so many places behind one, as `look_up` does, in half its time."""
        return await self._rows("j.seq > ? AND j.seq <= ?", after, after + count, with_results=with_results)

    async def _rows(self, where: str, *values: object, with_results: bool) -> dict[str, Row]:
        more, join = "", ""
        if with_results:
            more, join = ", r.text, CAST(r.run AS BLOB)", " LEFT JOIN results AS r ON r.seq = j.seq"
        query = (
            f"SELECT j.seq, j.id, j.content, j.status, j.session, j.attempt, j.duration{more}"
            f" FROM jobs AS j{join} WHERE {where}"
        )
        found: list[Row] = await self._do(rows(query, *values))
        return {row[1]: row for row in found}

    async def standing(self, job_id: str) -> Known | None:
        """Return how a job stands that has not finished; None where it was never begun."""
        query = "SELECT status, attempt, thread_id, run_id, abandoned, changed_at FROM jobs WHERE id = ?"
        found: list[Row] = await self._do(rows(query, job_id))
        return Known(*found[0]) if found else None

    async def begin(self, job_id: str, content: bytes, session: int) -> None:
        """Commit that a job is begun, or taken up again."""
        await self._write(
            "INSERT INTO jobs (id, content, status, session, changed_at) VALUES (?, ?, 'begun', ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET session = excluded.session, error = NULL",
            job_id,
            content,
            session,
            time.time(),
        )

    async def intend(self, job_id: str, attempt: int, thread_id: str) -> None:
        """Commit that a run will be started, before it is."""
        await self._write(
            "UPDATE jobs SET status = 'starting', attempt = ?, thread_id = ?, run_id = NULL, abandoned = 0,"
            " changed_at = ? WHERE id = ?",
            attempt,
            thread_id,
            time.time(),
            job_id,
        )

    def started(self, job_id: str, run_id: str) -> None:
        """Note a run's id. Nobody need wait: without it the run is found by its tag."""
        self._note(
            "UPDATE jobs SET status = 'running', run_id = ?, changed_at = ? WHERE id = ?", run_id, time.time(), job_id
        )

    async def abandon(self, job_id: str) -> None:
        """Commit that the run will be cancelled, before it is: a cancelled run is then not how the job has ended."""
        await self._write("UPDATE jobs SET abandoned = 1, changed_at = ? WHERE id = ?", time.time(), job_id)

    async def finish(self, job_id: str, run: Run, text: str, duration: float) -> None:
        """Commit how a job has ended."""
        data = dumps(run).decode()
        when = time.time()
        kept = text if is_unicode(text) else text.encode("utf-8", "surrogatepass")
        check_unicode(run.id, run.thread_id, run.status)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE jobs SET status = ?, run_id = ?, thread_id = ?, duration = ?, changed_at = ? WHERE id = ?",
                (run.status, run.id, run.thread_id, duration, when, job_id),
            )
            connection.execute(
                "INSERT OR REPLACE INTO results SELECT seq, ?, ? FROM jobs WHERE id = ?", (kept, data, job_id)
            )

        await self._do(write)

    async def give_up(self, job_id: str, error: str, duration: float) -> None:
        """Commit that a job was given up. It is taken up again where it stands by the next batch."""
        await self._write(
            "UPDATE jobs SET status = 'error', error = ?, duration = ?, changed_at = ? WHERE id = ?",
            error.encode("utf-8", "replace").decode(),
            duration,
            time.time(),
            job_id,
        )

    # --- the thread --------------------------------------------------------------------------------------------------

    async def _write(self, statement: str, *values: object) -> None:
        check_unicode(*values)
        await self._do(lambda connection: connection.execute(statement, values))

    def _note(self, statement: str, *values: object) -> None:
        check_unicode(*values)
        self._add(lambda connection: connection.execute(statement, values))

    async def _do(self, op: Op) -> Any:
        group = self._add(op)
        index = len(group.ops) - 1
        await group.done.wait()
        if group.error is not None:
            raise explained(self.path, group.error) from group.error
        return group.values[index]

    def _add(self, op: Op) -> Group:
        """Have an operation done with others: all that come while the thread is at work are committed together."""
        if self.failure is not None:
            raise self.failure
        if self._scribe is None:
            raise LedgerError(f"{self.path} is not open: use `async with Ledger.open(path) as ledger`")
        group = self._next = self._next or Group()
        group.ops.append(op)
        if not self._is_busy:
            self._apply_next(self._scribe)
        return group

    def _apply_next(self, scribe: Scribe) -> None:
        if self._next is not None:
            self._is_busy = True
            scribe.apply(self._next)
            self._next = None

    def _on_done(self, group: Group) -> None:
        self._is_busy = False
        if group.error is not None:
            # What was to be written is not there, so nothing that rests upon it may be done.
            self.failure = explained(self.path, group.error)
        group.done.set()
        if self._scribe is not None:
            self._apply_next(self._scribe)
