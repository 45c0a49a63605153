"""Where time and chance come from."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable

import anyio
from attrs import frozen

__all__ = ["Pacing"]


@frozen
class Pacing:
    """The clock, the sleep and the dice of a client; tests bring their own."""

    clock: Callable[[], float] = time.time
    """Unix seconds, to read Retry-After dates against."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    random: Callable[[], float] = random.random
    """A number in [0, 1), to spread pauses."""
