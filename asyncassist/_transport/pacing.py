"""Where time and chance come from, how often runs may be looked at, and what they may use."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from attrs import field, frozen

from asyncassist._transport.loops import current_loop, now

if TYPE_CHECKING:
    from asyncassist._wire.limits import TokenBudget

__all__ = ["Pacing", "PollTurns"]


class PollTurns:
    """Lets the polls of all waits of a client through one after the other, so many per second at most.

    Args:
        per_second: None lets all through at once.
    """

    def __init__(self, per_second: float | None = None) -> None:
        self._gap = None if per_second is None else 1 / per_second
        self._next = 0.0
        self._loop: object = None
        self._lock = anyio.Lock()

    async def wait(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait for a turn, first come first served. Cancelled meanwhile, no turn is used up."""
        if self._gap is None:
            return
        if current_loop() is not self._loop:  # the lock and the times of another event loop mean nothing here
            self._loop, self._lock, self._next = current_loop(), anyio.Lock(), now()
        async with self._lock:
            pause = self._next - now()
            if pause > 0:
                await sleep(pause)
            # A turn that came a little late does not put off all that follow.
            self._next = max(self._next, now() - self._gap) + self._gap


@frozen
class Pacing:
    """The clock, the sleep and the dice of a client; tests bring their own."""

    clock: Callable[[], float] = time.time
    """Unix seconds, to read Retry-After dates against."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    random: Callable[[], float] = random.random
    """A number in [0, 1), to spread pauses."""
    turns: PollTurns = field(factory=PollTurns)
    tokens: TokenBudget | None = None
    """What runs may use; None for no limit. Whoever sees a run end tells it."""

    async def poll_turn(self) -> None:
        """Wait until a run may be looked at."""
        await self.turns.wait(self.sleep)
