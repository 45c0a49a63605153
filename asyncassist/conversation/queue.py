"""Who has the turn: one at a time, first come first served."""

from __future__ import annotations

import anyio

from asyncassist._transport.loops import current_loop, is_over
from asyncassist.errors import UsageError

__all__ = ["TurnQueue"]


class TurnQueue:
    """Hands out the turns of a conversation, one after the other. A waiting task that is cancelled leaves the queue.

    It belongs to the event loop it was last used in; once nobody has the turn, or that loop has ended, to any other.
    """

    def __init__(self) -> None:
        self._loop: object = None
        # A semaphore rather than a lock: the task that leaves a turn need not be the one that has entered it.
        self._slot: anyio.Semaphore | None = None
        self._holder: int | None = None

    async def enter(self) -> anyio.Semaphore:
        """Wait for the turn, and take it. What is returned is given back with `leave`.

        Raises:
            UsageError: the task has the turn already and would wait for itself, or another event loop has it.
        """
        slot = self._slot_here()
        if self._holder == anyio.get_current_task().id:
            raise UsageError("this task is in a turn of this conversation already; leave its block first")
        await slot.acquire()
        self._holder = anyio.get_current_task().id
        return slot

    def leave(self, slot: anyio.Semaphore) -> None:
        """Give the turn back; one of an event loop that has ended is gone already."""
        if slot is self._slot:
            self._holder = None
            slot.release()

    def _slot_here(self) -> anyio.Semaphore:
        loop = current_loop()
        if self._slot is None or loop is not self._loop:
            if self._holder is not None and not is_over(self._loop):
                raise UsageError("the conversation is in use in another event loop; make one for each")
            self._loop, self._slot, self._holder = loop, anyio.Semaphore(1, max_value=1), None
        return self._slot
