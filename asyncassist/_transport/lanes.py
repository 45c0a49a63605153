"""Who may use a connection now: a fair queue with lanes, and room kept for what cannot wait."""

from __future__ import annotations

import enum
from collections import OrderedDict

import anyio

__all__ = ["Admission", "Lane"]


class Lane(enum.Enum):
    """What a request is queued as."""

    URGENT = "urgent"
    """Cancels and tool outputs: a run on the server waits for them."""
    CALL = "call"
    POLL = "poll"
    STREAM = "stream"
    """Holds its connection for long, so streams have connections of their own."""


class _Waiter:
    __slots__ = ("event", "granted", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.event = anyio.Event()
        self.granted = False


class Admission:
    """Counts the connections in use and lets requests in, first come first served within their lane.

    Urgent requests go first and have a few connections that no other call may take; polls hold at most half.

    Args:
        max_connections: for calls, polls and urgent requests together.
        max_streams: for streams, beside the others.
    """

    def __init__(self, max_connections: int, max_streams: int) -> None:
        self._max = max_connections
        self._max_streams = max_streams
        self._max_calls = max_connections - min(8, max_connections // 10)
        self._max_polls = max(1, max_connections // 2)
        self.in_use = 0
        self.streams = 0
        self._polls = 0
        self._waiting: dict[Lane, OrderedDict[_Waiter, None]] = {lane: OrderedDict() for lane in Lane}
        self._arrivals = 0
        self._calm: anyio.Event | None = None

    @property
    def waiting(self) -> int:
        """How many requests stand in the queue."""
        return sum(map(len, self._waiting.values()))

    def _has_room(self, lane: Lane) -> bool:
        if lane is Lane.STREAM:
            return self.streams < self._max_streams
        if lane is Lane.URGENT:
            return self.in_use < self._max
        return self.in_use < self._max_calls and (lane is Lane.CALL or self._polls < self._max_polls)

    def _count(self, lane: Lane, by: int) -> None:
        if lane is Lane.STREAM:
            self.streams += by
            return
        self.in_use += by
        if lane is Lane.POLL:
            self._polls += by

    async def acquire(self, lane: Lane) -> None:
        """Wait for a turn. Cancelled while waiting, nothing is held."""
        if not self._waiting[lane] and self._has_room(lane):
            # Nobody of this lane is ahead; those ahead in other lanes are waiting for room this one does not take.
            self._count(lane, 1)
            return
        self._arrivals += 1
        waiter = _Waiter(self._arrivals)
        self._waiting[lane][waiter] = None
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter.granted:
                self.release(lane)
            else:
                del self._waiting[lane][waiter]
                self._tell_calm()
            raise

    async def until_calm(self) -> None:
        """Wait until nothing urgent waits."""
        while self._waiting[Lane.URGENT]:
            self._calm = self._calm or anyio.Event()
            await self._calm.wait()

    def _tell_calm(self) -> None:
        if self._calm is not None and not self._waiting[Lane.URGENT]:
            self._calm.set()
            self._calm = None

    def release(self, lane: Lane) -> None:
        """Give the turn back and let the next ones in."""
        self._count(lane, -1)
        while (lane_to_serve := self._next_lane()) is not None:
            waiter, _ = self._waiting[lane_to_serve].popitem(last=False)
            self._count(lane_to_serve, 1)
            waiter.granted = True
            waiter.event.set()
        self._tell_calm()

    def _next_lane(self) -> Lane | None:
        if self._waiting[Lane.URGENT] and self._has_room(Lane.URGENT):
            return Lane.URGENT
        best: Lane | None = None
        earliest = 0
        for lane in (Lane.CALL, Lane.POLL, Lane.STREAM):
            queue = self._waiting[lane]
            if queue and self._has_room(lane):
                number = next(iter(queue)).number
                if best is None or number < earliest:
                    best, earliest = lane, number
        return best
