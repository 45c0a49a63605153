"""What the tests of the transport share."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from asyncassist import AsyncClient, RetryPolicy
from asyncassist._transport.pacing import Pacing
from asyncassist._transport.pool import ConnectionPool

from .loopback import Loopback

__all__ = ["KEY", "NOON", "ONCE", "Choice", "Naps", "age", "connect", "paced", "pool_of", "settle", "sockets", "until"]

Choice: TypeAlias = Literal["aiohttp"] | None
"""What is given as ``transport=``."""
KEY = "sk-loopback-0123456789abcdef"
ONCE = RetryPolicy(attempts=1)
NOON = 1_800_000_000.0
"""What the clock of every client here shows, in Unix seconds."""


class Naps:
    """Sleeps that take no time and are remembered."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await checkpoint()


def paced(client: AsyncClient, *, dice: Sequence[float] = (0.0,)) -> Naps:
    """Give a client a clock that stands still, sleeps that take no time and known dice."""
    naps = Naps()
    rolls = iter(dice)
    last = [dice[-1]]

    def roll() -> float:
        last[0] = next(rolls, last[0])
        return last[0]

    client._sender.pacing = Pacing(clock=lambda: NOON, sleep=naps, random=roll)
    return naps


def connect(server: Loopback, **options: Any) -> AsyncClient:
    """Make a client of a server, whose pauses take no time."""
    options = {"api_key": KEY, "base_url": server.url, **options}
    client = AsyncClient(**options)
    paced(client)
    return client


def pool_of(client: AsyncClient) -> ConnectionPool:
    pool = client._sender.carrier.pool
    assert pool is not None
    return pool


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something another thread does."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.001)


async def settle(steps: int = 20) -> None:
    """Let every task go on until it waits for something."""
    for _ in range(steps):
        await checkpoint()


def sockets() -> int:
    """Count the sockets of this process."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except OSError:
            pass
    return count


def age(client: AsyncClient, seconds: float) -> None:
    """Let the unused connections of a client have been unused for longer."""
    for slot in pool_of(client)._idle:
        slot.idle_since -= seconds
