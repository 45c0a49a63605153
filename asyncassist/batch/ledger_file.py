"""Opening the file of a ledger: what can be wrong with it is said here, with what helps."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import frozen

from asyncassist.errors import LedgerError

__all__ = ["APPLICATION_ID", "VERSION", "Connections", "Sync", "explained", "is_in_use", "open_file"]

Sync: TypeAlias = Literal["normal", "full"]

#: Marks a SQLite file as a ledger.
APPLICATION_ID = 0x61736C67
#: The format, which SQLite keeps as ``user_version``.
VERSION = 1

# ``status`` is what people read too: "begun" (its thread is being made), "starting" (its run is), "running", the
# status of a run that has ended, or "error". ``abandoned`` is set before a run of the job is cancelled by us: only
# then a cancelled run is not how the job has ended. Results stand apart, so that looking for jobs reads little.
_TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE jobs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content BLOB NOT NULL, status TEXT NOT NULL,"
    " attempt INTEGER NOT NULL DEFAULT 0, thread_id TEXT, run_id TEXT, abandoned INTEGER NOT NULL DEFAULT 0,"
    " session INTEGER NOT NULL, changed_at REAL NOT NULL, duration REAL, error TEXT)",
    "CREATE TABLE results (seq INTEGER PRIMARY KEY, text TEXT NOT NULL, run TEXT NOT NULL)",
)

# SQLite copies the write-ahead log into the file whenever it has this many pages of 4 KB.
_LOG_PAGES = 4000
_LOG_BYTES = 64 * 2**20
_CACHE_KB = 16_000
_SMALLEST = 512  # bytes of a database with a single page
_BUSY_SECONDS = 5.0
_LOOK_SECONDS = 0.2  # whoever looks whether a ledger is in use keeps its lock for less


@frozen
class Connections:
    """What a ledger has open."""

    main: sqlite3.Connection
    lock: sqlite3.Connection | None
    """Keeps other processes away; None for one that only reads."""

    def close(self) -> None:
        """Close them, the lock last."""
        self.main.close()
        if self.lock is not None:
            self.lock.close()


def open_file(path: str, sync: Sync, *, read_only: bool) -> Connections:
    """Open the file of a ledger, and make it if it is not there. To be called in a thread.

    Args:
        sync: ``"full"`` waits for the disk at each commit, so that a power cut loses nothing either.
        read_only: reads only, also while another process works with it.

    Raises:
        LedgerError: it cannot be used; the message says why, and what helps.
    """
    try:
        place = _checked(path, read_only=read_only)
        lock_place = place.with_name(place.name + "-lock")
        is_new_lock = not lock_place.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        raise LedgerError(f"{path!r} cannot be a file: {error}") from error
    opened: list[sqlite3.Connection] = []
    is_locked = False
    try:
        if read_only:
            opened.append(main := _connect(place.as_uri() + "?mode=ro", _BUSY_SECONDS, uri=True))
            if not _check_format(main, path):
                raise LedgerError(f"{path} is no ledger yet: it is empty")
            main.execute("PRAGMA query_only = ON")
            return Connections(main, None)
        opened.append(lock := _connect(str(lock_place), _LOOK_SECONDS))
        _lock(lock, path)
        is_locked = True
        opened.append(main := _connect(str(place), _BUSY_SECONDS))
        is_ours = _check_format(main, path)
        _set_up(main, path, sync)
        if not is_ours:
            _make_tables(main)
    except (sqlite3.Error, LedgerError) as error:
        if is_new_lock and is_locked:  # leave nothing beside a file that is none of ours
            with suppress(OSError):
                lock_place.unlink()
        for connection in reversed(opened):
            connection.close()
        if isinstance(error, LedgerError):
            raise
        raise explained(path, error) from error
    return Connections(main, lock)


def is_in_use(path: str) -> bool:
    """Tell whether a batch, of whatever process, works with a ledger now."""
    place = Path(path).resolve()
    lock_place = place.with_name(place.name + "-lock")
    try:
        with closing(_connect(lock_place.as_uri() + "?mode=ro", 0.0, uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:  # it is locked, or not there
        return error.sqlite_errorname.startswith("SQLITE_BUSY")
    return False


def _checked(path: str, *, read_only: bool) -> Path:
    place = Path(path).resolve()
    if place.is_dir():
        raise LedgerError(f"{path} is a directory: give the path of a file in it")
    if read_only and not place.exists():
        raise LedgerError(f"{path}: there is no such file")
    if not place.parent.is_dir():
        raise LedgerError(f"{path} cannot be made: there is no directory {place.parent}")
    if place.exists() and 0 < place.stat().st_size < _SMALLEST:
        raise _no_database(path)  # SQLite would take it for an empty one, and write over it
    return place


def _connect(place: str, busy_seconds: float, *, uri: bool = False) -> sqlite3.Connection:
    # Used by one thread at a time, but not by the one that opened it.
    return sqlite3.connect(place, timeout=busy_seconds, isolation_level=None, check_same_thread=False, uri=uri)


def _lock(connection: sqlite3.Connection, path: str) -> None:
    """Lock a ledger against other processes, until the connection is closed or the process ends, however it ends.

    SQLite itself locks a file for the moments of writing alone; so an empty file beside it is locked all the time, by
    SQLite's own means, and the ledger can be read meanwhile.
    """
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise
        text = f"{path} is in use by another batch: wait for its end, or give another ledger"
        raise LedgerError(text) from None


def _check_format(connection: sqlite3.Connection, path: str) -> bool:
    """Look, without writing, whether a file is a ledger. False means that it is empty."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id == APPLICATION_ID:
        if version > VERSION:
            raise LedgerError(
                f"{path} was written by a newer version of asyncassist (its format is {version}, this version knows"
                f" {VERSION}): upgrade asyncassist, or give another ledger"
            )
        return True
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id or tables:
        raise LedgerError(f"{path} is a database of another program: give another ledger")
    return False


def _set_up(connection: sqlite3.Connection, path: str, sync: Sync) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(f"{path} is on a file system SQLite cannot keep a write-ahead log on: give a path on a disk")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
    connection.execute(f"PRAGMA synchronous = {sync.upper()}")
    connection.execute(f"PRAGMA fullfsync = {int(sync == 'full')}")  # on macOS; elsewhere nothing
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _TABLES:
            connection.execute(statement)
        facts = {"id": secrets.token_hex(8), "session": "0", "created_at": f"{time.time():.0f}"}
        connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _no_database(path: str) -> LedgerError:
    return LedgerError(f"{path} is no SQLite database: give another ledger, or move that file away")


def explained(path: str, error: Exception) -> LedgerError:
    """Say what an error of SQLite means for whoever uses the ledger."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_BUSY"):
        return LedgerError(f"{path} is in use by another program: end it first, or give another ledger")
    if name == "SQLITE_NOTADB":
        return _no_database(path)
    if name.startswith("SQLITE_CORRUPT"):
        return LedgerError(f"{path} is damaged ({error}): restore it from a copy, or give another ledger")
    if name == "SQLITE_FULL":
        return LedgerError(f"{path} cannot be written: its disk is full. Make room, and start again")
    return LedgerError(
        f"{path} cannot be used ({error}): check the permissions of the file and its directory, and its disk"
    )
