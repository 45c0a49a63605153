"""Writes that become one transaction."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import anyio
from attrs import define, field

from asyncassist.server.store.tables import CASCADES, TABLES

if TYPE_CHECKING:
    import sqlite3

    from asyncassist.server.store.base import Record
    from asyncassist.server.store.tables import Row

__all__ = ["Batch", "Unknown"]


class Unknown(Enum):
    """What a batch says of a record it does not touch."""

    UNKNOWN = auto()


def _puts() -> dict[type[Record], dict[str, tuple[Record, Row]]]:
    return {}


def _cascades() -> dict[tuple[type[Record], str], None]:
    return {}


def _deleted() -> dict[type[Record], set[str]]:
    return {}


@define(eq=False)
class Batch:
    """What a transaction is going to change. Until it has, the batch is where those who write next look first.

    Everything in it has been decided: whatever of it could be refused was refused before it got here. So one write of
    a batch does no harm to another, and a transaction that fails has failed for all of them.
    """

    puts: dict[type[Record], dict[str, tuple[Record, Row]]] = field(factory=_puts)
    deleted: dict[type[Record], set[str]] = field(factory=_deleted)
    """Records that go alone. Those of them that are in `puts` as well come back, as new ones."""
    cascades: dict[tuple[type[Record], str], None] = field(factory=_cascades)
    """Threads and runs that go with all that belongs to them, after everything else. Only threads may follow them."""
    done: anyio.Event = field(factory=lambda: anyio.Event())
    error: Exception | None = None
    """Why the transaction failed; read it when `done` is set."""

    @property
    def is_empty(self) -> bool:
        return not (self.puts or self.deleted or self.cascades)

    def find(self, kind: type[Record], id: str) -> Record | Unknown | None:
        """The record as it will be: None when it is deleted here, `Unknown` when nothing is said of it."""
        if (kind, id) in self.cascades:
            return None
        put = self.puts.get(kind, {}).get(id)
        if put is not None:
            return put[0]
        return None if id in self.deleted.get(kind, ()) else Unknown.UNKNOWN

    def put(self, record: Record, row: Row) -> None:
        """Add a record, or put it in the place of the one with its id."""
        self.puts.setdefault(type(record), {})[record.id] = (record, row)

    def delete(self, kind: type[Record], id: str) -> None:
        """Delete a record, and all that belongs to it."""
        if kind in CASCADES:
            self.cascades[kind, id] = None
        else:
            self.puts.get(kind, {}).pop(id, None)
            self.deleted.setdefault(kind, set()).add(id)

    def apply(self, connection: sqlite3.Connection) -> None:
        """Make the changes, in one transaction. Called in the writer's thread, when the batch does not change any more.

        Raises:
            sqlite3.Error: nothing was changed.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            for kind, ids in self.deleted.items():
                connection.executemany(TABLES[kind].delete, [(id,) for id in ids])
            for kind, records in self.puts.items():
                connection.executemany(TABLES[kind].put, [row for _, row in records.values()])
            for kind, id in self.cascades:
                for statement in CASCADES[kind]:
                    connection.execute(statement, (id,))
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
