"""Opening a SQLite file for a store: what can be wrong with it is said here, with what helps."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import frozen

from asyncassist.errors import UsageError
from asyncassist.server.store.migrations import check_format, migrate

__all__ = ["Connections", "Sync", "open_file"]

Sync: TypeAlias = Literal["normal", "full"]

# SQLite copies the write-ahead log into the file whenever it has this many pages of 4 KB: rarely enough that a page
# which is written often is copied once, often enough that the log stays small.
_LOG_PAGES = 4000
_LOG_BYTES = 64 * 2**20
_CACHE_KB = 16_000
_SMALLEST = 512  # bytes of a database with a single page
_BUSY_SECONDS = 5.0


class InUse(UsageError):
    """Another server has the file."""


@frozen
class Connections:
    """What a store has open."""

    lock: sqlite3.Connection
    """Keeps other servers away from the file."""
    writing: sqlite3.Connection
    reading: sqlite3.Connection


def open_file(path: str, sync: Sync) -> Connections:
    """Open a file, make it if it is not there, and bring it to the newest format. To be called in a thread.

    Raises:
        UsageError: it cannot be used; the message says why, and what helps.
    """
    try:
        place = _checked(path)
        lock_place = place.with_name(place.name + "-lock")
        is_new_lock = not lock_place.exists()
    except UsageError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        raise UsageError(f"{path!r} cannot be a file: {error}") from error
    opened: list[sqlite3.Connection] = []
    try:
        opened.append(lock := _connect(lock_place, 0.0))
        _lock(lock, path)
        opened.append(writing := _connect(place, _BUSY_SECONDS))
        check_format(writing, path)
        _set_up(writing, path, sync)
        migrate(writing)
        # A reader of a write-ahead log waits for nobody; this one works in the event loop, and must not.
        opened.append(reading := _connect(place, 0.0))
        reading.execute("PRAGMA query_only = ON")
        reading.text_factory = bytes
    except (sqlite3.Error, UsageError) as error:
        for connection in reversed(opened):
            connection.close()
        if is_new_lock and not isinstance(error, InUse):  # leave nothing beside a file that is none of ours
            with suppress(OSError):
                lock_place.unlink()
        if isinstance(error, UsageError):
            raise
        raise _explained(path, error) from error
    return Connections(lock, writing, reading)


def _checked(path: str) -> Path:
    """Where the file is, or will be."""
    place = Path(path).resolve()
    if place.is_dir():
        raise UsageError(f"{path} is a directory: give the path of a file in it")
    if not place.parent.is_dir():
        raise UsageError(f"{path} cannot be made: there is no directory {place.parent}")
    if place.exists() and 0 < place.stat().st_size < _SMALLEST:
        raise _no_database(path)  # SQLite would take it for an empty one, and write over it
    return place


def _connect(place: Path, busy_seconds: float) -> sqlite3.Connection:
    # Used by one thread at a time, but not by the one that opened it.
    return sqlite3.connect(place, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def _set_up(connection: sqlite3.Connection, path: str, sync: Sync) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise UsageError(f"{path} is on a file system SQLite cannot keep a write-ahead log on: give a path on a disk")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
    connection.execute(f"PRAGMA synchronous = {sync.upper()}")
    connection.execute(f"PRAGMA fullfsync = {int(sync == 'full')}")  # on macOS; elsewhere nothing
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")


def _lock(connection: sqlite3.Connection, path: str) -> None:
    """Lock a file against other servers, until the connection is closed or the process ends.

    Two processes that drive the same runs would answer each twice. SQLite itself locks a file for the moments of
    writing alone; so a second file beside it, always empty, is locked all the time, by SQLite's own means, which work
    wherever SQLite does.
    """
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        in_use = InUse(f"{path} is in use by another server: end it first, or give another path")
        raise in_use if _is_busy(error) else error from None


def _is_busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorname.startswith("SQLITE_BUSY")


def _no_database(path: str) -> UsageError:
    return UsageError(f"{path} is no SQLite database: give another path, or move that file away")


def _explained(path: str, error: sqlite3.Error) -> UsageError:
    if _is_busy(error):
        return UsageError(f"{path} is in use by another program: end it first, or give another path")
    if error.sqlite_errorname == "SQLITE_NOTADB":
        return _no_database(path)
    if error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
        return UsageError(f"{path} is damaged ({error}): restore it from a copy, or give another path")
    return UsageError(
        f"{path} cannot be opened for writing ({error}): check the permissions of the file and its directory,"
        " and the space on its disk"
    )
