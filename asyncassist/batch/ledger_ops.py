"""What is done with the connection of a ledger, in its thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist.errors import LedgerError, shown

if TYPE_CHECKING:
    import sqlite3

    from asyncassist.batch.threads import Op

__all__ = ["check_unicode", "fact", "is_unicode", "rows"]


def rows(query: str, *values: object) -> Op:
    """Read all rows of a query."""
    return lambda connection: connection.execute(query, values).fetchall()


def fact(name: str) -> Op:
    """Read a fact about the ledger itself; None where there is none."""

    def read(connection: sqlite3.Connection) -> object:
        row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    return read


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_unicode(*values: object) -> None:
    """Refuse what SQLite cannot take, before it fails what others write with it.

    Raises:
        LedgerError: a text is not valid Unicode.
    """
    for value in values:
        if isinstance(value, str) and not is_unicode(value):
            raise LedgerError(f"{shown(value)} is not valid Unicode, and no ledger can keep it")
