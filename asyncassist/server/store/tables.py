"""The tables of the SQLite file as SQL: rows of records, records of rows, and what is asked of them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from attrs import frozen

from asyncassist._wire.converter import structure
from asyncassist._wire.json import dumps, loads
from asyncassist.errors import UsageError
from asyncassist.models import Assistant, Message, Run, RunStep, Thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncassist.server.store.base import PageQuery, Record

__all__ = ["CASCADES", "TABLES", "Row", "Table", "page_sql", "record_of", "row_of"]

Row: TypeAlias = "tuple[str | int | None, ...]"
_R = TypeVar("_R")


@frozen
class Table:
    """One table."""

    name: str
    owners: tuple[str, ...]
    """The columns with the ids under which its records are listed; none: they are all in one listing."""
    columns: tuple[str, ...]
    """What is searched, beside the id: the owners first."""
    changing: tuple[str, ...] = ()
    """Those of the columns that an update may change."""

    @property
    def get(self) -> str:
        return f"SELECT data FROM {self.name} WHERE id = ?"

    @property
    def has(self) -> str:
        return f"SELECT 1 FROM {self.name} WHERE id = ?"

    @property
    def put(self) -> str:
        columns = ("id", *self.columns, "data")
        places = ", ".join("?" * len(columns))
        changes = ", ".join(f"{column} = excluded.{column}" for column in (*self.changing, "data"))
        # Not REPLACE: a record that is changed keeps its place.
        return (
            f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {changes}"
        )

    @property
    def delete(self) -> str:
        return f"DELETE FROM {self.name} WHERE id = ?"


TABLES: Mapping[type[Record], Table] = {
    Assistant: Table("assistants", (), ()),
    Thread: Table("threads", (), ()),
    Message: Table("messages", ("thread_id", "run_id"), ("thread_id", "run_id")),
    Run: Table("runs", ("thread_id",), ("thread_id", "active"), changing=("active",)),
    RunStep: Table("run_steps", ("run_id",), ("run_id",)),
}

#: What goes with a thread or a run, and itself last. Each statement takes the id.
CASCADES: Mapping[type[Record], tuple[str, ...]] = {
    Thread: (
        "DELETE FROM run_steps WHERE run_id IN (SELECT id FROM runs WHERE thread_id = ?)",
        "DELETE FROM runs WHERE thread_id = ?",
        "DELETE FROM messages WHERE thread_id = ?",
        "DELETE FROM threads WHERE id = ?",
    ),
    Run: ("DELETE FROM run_steps WHERE run_id = ?", "DELETE FROM runs WHERE id = ?"),
}


def row_of(record: Record) -> Row:
    """The values for `Table.put`.

    Raises:
        UsageError: something in the record cannot be written.
    """
    searched: Row
    if isinstance(record, Message):
        searched = (record.id, record.thread_id, record.run_id)
    elif isinstance(record, Run):
        searched = (record.id, record.thread_id, not record.is_terminal)
    elif isinstance(record, RunStep):
        searched = (record.id, record.run_id)
    else:
        searched = (record.id,)
    for value in searched:
        if isinstance(value, str) and not _is_text(value):
            raise UsageError(f"{type(record).__name__} {value!r}: the id is no valid text")
    return (*searched, dumps(record).decode())


def _is_text(value: str) -> bool:
    """Whether a string has a form in UTF-8. A lone surrogate has none."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def record_of(data: bytes, kind: type[_R]) -> _R:
    """The record of the column ``data``."""
    return structure(loads(data), kind)


def page_sql(table: Table, owner: str | None, query: PageQuery) -> tuple[str, bool]:
    """The statement for a page, and whether its rows come with the oldest first.

    Its parameters are the owner's id, if there is an owner, and the cursors that are given, each followed by the
    owner's id again, and how many rows are wanted.
    """
    is_ascending = query.order == "asc"
    is_backwards = query.before is not None and query.after is None
    oldest_first = is_ascending != is_backwards
    after = None if query.after is None else is_ascending
    before = None if query.before is None else not is_ascending
    return _page_sql(table, owner, after, before, oldest_first), oldest_first


@cache
def _page_sql(table: Table, owner: str | None, after: bool | None, before: bool | None, oldest_first: bool) -> str:
    """``after`` and ``before`` say whether what that cursor leaves is newer than the cursor; None: no cursor."""
    conditions = [] if owner is None else [f"{owner} = ?"]
    of_owner = "" if owner is None else f" AND {owner} = ?"
    # A cursor that is not of this listing has no number, and nothing compares with that: the page is empty.
    conditions += [
        f"seq {'>' if newer else '<'} (SELECT seq FROM {table.name} WHERE id = ?{of_owner})"
        for newer in (after, before)
        if newer is not None
    ]
    # The index is named, so that no version of the planner walks through other threads' rows instead.
    index = "" if owner is None else f" INDEXED BY {table.name}_by_{owner}"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT data FROM {table.name}{index}{where} ORDER BY seq {'ASC' if oldest_first else 'DESC'} LIMIT ?"
