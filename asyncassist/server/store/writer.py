"""The thread that writes."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from asyncassist.server.store.batches import Batch

__all__ = ["CallSoon", "Writer", "callbacks_here"]

#: Has a function called in an event loop, from any thread. RuntimeError when that loop is over.
CallSoon: TypeAlias = "Callable[[Callable[[], object]], object]"


def callbacks_here() -> CallSoon:
    """Make a way for other threads to call functions in the event loop that is running."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon


class Writer:
    """Applies batches to a database, one after the other, in a thread of its own.

    A thread of our own, and not one lent to a task that waits for it: such a task can be cancelled, and the writes of
    others are in its hands. Here nobody depends on anybody who waits.

    Args:
        connections: where to write, and others that are to be closed with it, in this order.
        call_soon: has a function called in the event loop.
        on_done: called there after each batch, with what went wrong, if anything did.
        on_closed: called there when the connections are closed.
    """

    def __init__(
        self,
        connections: Sequence[sqlite3.Connection],
        call_soon: CallSoon,
        *,
        on_done: Callable[[Batch, Exception | None], object],
        on_closed: Callable[[], object],
    ) -> None:
        self._connections = connections
        self._call_soon = call_soon
        self._on_done = on_done
        self._on_closed = on_closed
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        # A daemon: a program that ends without closing its store must end. SQLite keeps what was committed.
        self._thread = threading.Thread(target=self._run, name="asyncassist store", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Apply a batch, when those before it are done."""
        self._batches.put(batch)

    def close(self) -> None:
        """Let the thread end, when all batches are done."""
        self._batches.put(None)

    def join(self) -> None:
        """Wait, without an event loop, until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        # RuntimeError: the event loop is over, and nobody is there to be told.
        with suppress(RuntimeError):
            while (batch := self._batches.get()) is not None:
                self._call_soon(partial(self._on_done, batch, _applied(batch, self._connections[0])))
        for connection in self._connections:
            connection.close()
        with suppress(RuntimeError):
            self._call_soon(self._on_closed)


def _applied(batch: Batch, connection: sqlite3.Connection) -> Exception | None:
    try:
        batch.apply(connection)
    except Exception as error:
        return error
    return None
