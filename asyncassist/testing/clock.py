"""A clock that tests move on."""

from __future__ import annotations

import math
import time

import anyio
from anyio.lowlevel import checkpoint

from asyncassist.errors import UsageError, shown

__all__ = ["Clock"]

#: Steps of the event loop left to what has become due.
_STEPS = 50


class Clock:
    """The time of a server under test. Calling it gives Unix seconds.

    Args:
        start: the time at which it stands still until it is moved on, in Unix seconds. None lets it go with the
            machine's clock, from which it gets ahead when it is moved on.

    Raises:
        UsageError: ``start`` is not a time.
    """

    def __init__(self, start: float | None = None) -> None:
        if start is not None and not 0 <= start < math.inf:
            raise UsageError(f"a clock starts at a finite number of Unix seconds, got {shown(start)}")
        self._stands_at = start
        self._ahead = 0.0
        # Who waits, each with the time at which it is to be woken.
        self._sleeping: dict[anyio.Event, float] = {}
        self._pausing: dict[anyio.Event, float] = {}

    def __call__(self) -> float:
        return time.time() + self._ahead if self._stands_at is None else self._stands_at

    def __repr__(self) -> str:
        return f"<Clock {self():.3f}{'' if self._stands_at is None else ' standing'}>"

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        await self._wait(self._sleeping, seconds, None if self._stands_at is not None else seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for so many seconds of this clock or of the machine's, whichever are over first."""
        await self._wait(self._pausing, seconds, seconds)

    async def advance(self, seconds: float) -> None:
        """Move the clock on. What becomes due on the way is set going, each at its time, and given a chance to be done.

        Args:
            seconds: how far, 0 or more.

        Raises:
            UsageError: the clock cannot be moved so.
        """
        if not 0 <= seconds < math.inf:
            raise UsageError(f"a clock is moved on by a finite number of seconds, 0 or more, got {shown(seconds)}")
        await _settle()
        target = self() + seconds
        # Step by step for what sleeps. A pause is cut short by any step that goes beyond it, but makes none of its own:
        # who makes short ones again and again would make thousands of steps.
        while (due := min(self._sleeping.values(), default=math.inf)) <= target:
            await self._step(due)
        await self._step(target)

    async def _step(self, moment: float) -> None:
        self._move_to(moment)
        for waiting in (self._sleeping, self._pausing):
            for event in [event for event, wake_at in waiting.items() if wake_at <= moment]:
                del waiting[event]
                event.set()
        await _settle()

    def _move_to(self, moment: float) -> None:
        if self._stands_at is None:
            self._ahead += max(0.0, moment - self())
        else:
            self._stands_at = max(self._stands_at, moment)

    async def _wait(self, waiting: dict[anyio.Event, float], seconds: float, timeout: float | None) -> None:
        if seconds <= 0:
            await checkpoint()
            return
        event = anyio.Event()
        waiting[event] = self() + seconds
        try:
            with anyio.move_on_after(timeout):
                await event.wait()
        finally:
            waiting.pop(event, None)


async def _settle() -> None:
    for _ in range(_STEPS):
        await checkpoint()
