"""The format of the SQLite file, and how an older one becomes the newest.

The file says which format it has: SQLite's ``user_version`` counts the migrations that were made. A new format is one
more entry in `MIGRATIONS`; those that are there are never changed, because files out there were made by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist.errors import UsageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["APPLICATION_ID", "MIGRATIONS", "Migration", "check_format", "migrate"]

#: Marks a SQLite file as one of ours.
APPLICATION_ID = 0x61737374

#: The statements that make one format of the one before.
Migration = tuple[str, ...]

# Each table keeps whole objects as the API's JSON in ``data``, and beside it only what is searched. ``seq`` is SQLite's
# row id: every index ends with it, so an index of a thread's messages has them in the order they came.
MIGRATIONS: tuple[Migration, ...] = (
    (
        "CREATE TABLE assistants (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, data TEXT NOT NULL)",
        "CREATE TABLE threads (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, data TEXT NOT NULL)",
        "CREATE TABLE messages (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, thread_id TEXT NOT NULL, run_id TEXT,"
        " data TEXT NOT NULL)",
        "CREATE INDEX messages_by_thread_id ON messages (thread_id)",
        "CREATE INDEX messages_by_run_id ON messages (run_id) WHERE run_id IS NOT NULL",
        "CREATE TABLE runs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, thread_id TEXT NOT NULL,"
        " active INTEGER NOT NULL, data TEXT NOT NULL)",
        "CREATE INDEX runs_by_thread_id ON runs (thread_id)",
        "CREATE INDEX runs_active ON runs (thread_id) WHERE active",
        "CREATE TABLE run_steps (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL,"
        " data TEXT NOT NULL)",
        "CREATE INDEX run_steps_by_run_id ON run_steps (run_id)",
    ),
)


def check_format(connection: sqlite3.Connection, path: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Look, without writing, whether a file is ours, or empty, and not newer than this code.

    Raises:
        UsageError: it is not.
    """
    application_id = _number(connection, "PRAGMA application_id")
    if application_id == APPLICATION_ID:
        version = _number(connection, "PRAGMA user_version")
        if version > len(migrations):
            raise UsageError(
                f"{path} was written by a newer version of asyncassist (its format is {version}, this version knows"
                f" {len(migrations)}): upgrade asyncassist, or give another path"
            )
    elif application_id != 0 or _number(connection, "SELECT count(*) FROM sqlite_master"):
        raise UsageError(f"{path} is a database of another program: give another path")


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a file that was checked to the newest format, in one transaction."""
    version = _number(connection, "PRAGMA user_version")
    if version == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in migrations[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _number(connection: sqlite3.Connection, query: str) -> int:
    number: int = connection.execute(query).fetchone()[0]
    return number
