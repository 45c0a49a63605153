"""Work outside of the caller's task: tasks that belong to nobody's scope, and a thread that writes a ledger."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from attrs import define, field

if TYPE_CHECKING:
    from asyncassist.batch.ledger_file import Connections

__all__ = ["CallSoon", "Group", "Scribe", "calling_here", "spawn"]

#: Has a function called in an event loop, from any thread. RuntimeError when that loop is over.
CallSoon: TypeAlias = "Callable[[Callable[[], object]], object]"
Op: TypeAlias = "Callable[[sqlite3.Connection], Any]"

_tasks: set[asyncio.Task[None]] = set()
"""An event loop keeps no task alive by itself."""


def calling_here() -> CallSoon:
    """Make a way for other threads to have functions called in the event loop that is running."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon


def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start a task that lives until its work is done or the event loop ends. The work must catch what it raises.

    It sees the context variables of the caller as they are now.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        trio.lowlevel.spawn_system_task(work, context=copy_context())
        return
    task = loop.create_task(work())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


@define(eq=False)
class Group:
    """Operations that are committed together."""

    ops: list[Op] = field(factory=list[Op])
    values: list[Any] = field(factory=list[Any])
    """What the operations gave, in order."""
    error: Exception | None = None
    done: anyio.Event = field(factory=anyio.Event)


class Scribe:
    """Opens a database and applies groups of operations to it, one after the other, in a thread of its own.

    A thread of its own, and not one lent to a task: such a task can be cancelled, and the writes of others are in its
    hands.

    Args:
        open: opens the database, in the thread.
        call_soon: has a function called in the event loop.
        on_opened: called there when it is open, with None, or with why it could not be opened.
        on_done: called there after each group.
        on_closed: called there when the database is closed, or was never open.
    """

    def __init__(
        self,
        open: Callable[[], Connections],
        call_soon: CallSoon,
        *,
        on_opened: Callable[[Exception | None], object],
        on_done: Callable[[Group], object],
        on_closed: Callable[[], object],
    ) -> None:
        self._groups: SimpleQueue[Group | None] = SimpleQueue()
        # It knows nothing of this object, which may go away without being closed. A daemon, because a program that ends
        # without closing its ledger must end; SQLite keeps what was committed.
        work = partial(_work, self._groups, open, call_soon, on_opened, on_done, on_closed)
        threading.Thread(target=work, name="asyncassist ledger", daemon=True).start()

    def apply(self, group: Group) -> None:
        """Apply a group, when those before it are done."""
        self._groups.put(group)

    def close(self) -> None:
        """Let the thread end, when all groups are done."""
        self._groups.put(None)


def _work(
    groups: SimpleQueue[Group | None],
    open: Callable[[], Connections],
    call_soon: CallSoon,
    on_opened: Callable[[Exception | None], object],
    on_done: Callable[[Group], object],
    on_closed: Callable[[], object],
) -> None:
    # RuntimeError: the event loop is over, and nobody is there to be told.
    with suppress(RuntimeError):
        try:
            connections = open()
        except Exception as error:
            call_soon(partial(on_opened, error))
            call_soon(on_closed)
            return
        try:
            call_soon(partial(on_opened, None))
            while (group := groups.get()) is not None:
                _apply(group, connections.main)
                call_soon(partial(on_done, group))
        finally:
            connections.close()
        call_soon(on_closed)


def _apply(group: Group, connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN")
        group.values += [op(connection) for op in group.ops]
        connection.execute("COMMIT")
    except Exception as error:  # whatever it is, those who wait must be told
        group.error = error
        with suppress(sqlite3.Error):
            connection.rollback()
