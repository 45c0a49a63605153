"""The connection pool: many single-connection transports behind one fair queue.

httpx's own pool looks through all its connections and all its waiting requests at every step, so its cost per call
grows with their number, and it loses connections when calls are cancelled. Here each connection is a transport of its
own, finding one is taking the last from a list, and a connection whose exchange did not end cleanly is thrown away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
import httpx

from asyncassist._transport.failures import CONNECTION_FAILURES
from asyncassist._transport.lanes import Admission, Lane
from asyncassist._transport.loops import IN_USE_ELSEWHERE, current_loop, is_over, now
from asyncassist.errors import ClientClosedError, UsageError

__all__ = ["KEEP_IDLE", "ConnectionPool", "Exchange"]

KEEP_IDLE = 60.0
"""Seconds an unused connection is kept at most."""

_CLOSE_SECONDS = 2.0
_CLOSE_PER_RELEASE = 2
_CALM_SECONDS = 0.5

EXTENSION = "asyncassist"


class Exchange:
    """How one request wants to be carried; travels in the request's extensions.

    Attributes:
        lane: where it queues.
        max_idle: it takes no connection that has been unused for longer, in seconds.
        started: whether it has got its connection.
        is_reused: whether that connection had carried other requests before.
        turn: what let it in, as long as nothing carries it.
    """

    __slots__ = ("_on_start", "is_reused", "lane", "max_idle", "started", "turn")

    def __init__(self, lane: Lane, max_idle: float, on_start: Callable[[], None]) -> None:
        self.lane = lane
        self.max_idle = max_idle
        self.started = False
        self.is_reused = False
        self.turn: Admission | None = None
        self._on_start = [on_start]

    def start(self) -> None:
        """Note that the wait for a connection is over."""
        self.started = True
        # Not kept: a stream's request lives as long as the stream, and this would keep the scopes around its start.
        while self._on_start:
            self._on_start.pop()()


class _Slot:
    __slots__ = ("idle_since", "transport")

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.idle_since = 0.0


class ConnectionPool(httpx.AsyncBaseTransport):
    """An httpx transport that spreads requests over single-connection transports.

    Args:
        connect: makes the transport of one new connection.
        max_connections: for calls and polls; idle ones count.
        max_streams: for streams, beside the others.
        max_idle: how many seconds an unused connection is kept.
    """

    def __init__(
        self,
        connect: Callable[[], httpx.AsyncBaseTransport],
        *,
        max_connections: int,
        max_streams: int,
        max_idle: float = KEEP_IDLE,
    ) -> None:
        self._connect = connect
        self._max_connections = max_connections
        self._max_streams = max_streams
        self._max_idle = max_idle
        self._admission = Admission(max_connections, max_streams)
        self._idle: deque[_Slot] = deque()  # the last used is at the right
        self._busy: dict[_Slot, Lane] = {}
        self._busy_calls = 0
        self._loop: object = None
        self._is_closed = False

    @property
    def connections(self) -> int:
        """How many connections are held, in use or idle."""
        return len(self._idle) + len(self._busy)

    @property
    def idle(self) -> int:
        """How many connections are held unused."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return self._admission.waiting

    async def enter(self, exchange: Exchange) -> None:
        """Wait for a connection to be free.

        Doing so before a request is built keeps thousands of built ones from waiting. Whoever has entered lets the
        exchange be carried, or leaves.

        Raises:
            ClientClosedError: the pool was closed meanwhile.
        """
        if current_loop() is not self._loop:
            await self._change_loop()
        admission = self._admission
        await admission.acquire(exchange.lane)
        if self._is_closed:
            admission.release(exchange.lane)
            raise ClientClosedError("the client was closed while a call waited for a connection")
        exchange.turn = admission
        exchange.start()

    def leave(self, exchange: Exchange) -> None:
        """Give back the turn of an exchange that was not carried."""
        turn, exchange.turn = exchange.turn, None
        if turn is not None:
            turn.release(exchange.lane)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request as soon as its lane lets it."""
        exchange = request.extensions.get(EXTENSION)
        if exchange is None:
            exchange = Exchange(Lane.CALL, 0.0 if request.method == "POST" else self._max_idle, lambda: None)
        if exchange.turn is None:
            await self.enter(exchange)
        lane, admission = exchange.lane, exchange.turn
        assert admission is not None  # it has entered
        exchange.turn = None
        slot: _Slot | None = None
        try:
            slot = self._take(exchange.max_idle)
            if slot is None:
                slot = _Slot(self._connect())
            else:
                exchange.is_reused = True
            self._enter(slot, lane)
            if lane is not Lane.STREAM:
                await self._make_room()
            response = await slot.transport.handle_async_request(request)
        except BaseException:
            await self.give_back(slot, lane, admission, reusable=False)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Body(self, slot, lane, admission, response.stream)
        return response

    async def _change_loop(self) -> None:
        """Start afresh in another event loop: connections of the old one cannot be used here."""
        if self._busy and not is_over(self._loop):
            raise UsageError(IN_USE_ELSEWHERE)
        slots, self._loop = self._forget(), current_loop()
        self._admission = Admission(self._max_connections, self._max_streams)
        await _close_all(slots)

    def _forget(self) -> list[_Slot]:
        """Drop all connections and return those that are to be closed here."""
        # What belongs to an event loop that still runs elsewhere may only be touched there.
        slots = [*self._idle, *self._busy] if self._loop is current_loop() or is_over(self._loop) else []
        self._idle.clear()
        self._busy.clear()
        self._busy_calls = 0
        return slots

    def _take(self, max_idle: float) -> _Slot | None:
        """Take the connection that was used last, if that was recently enough."""
        if self._idle and now() - self._idle[-1].idle_since <= min(max_idle, self._max_idle):
            return self._idle.pop()
        return None

    async def _make_room(self) -> None:
        """Close the longest unused connection where a new one was one too many."""
        if self._idle and len(self._idle) + self._busy_calls > self._max_connections:
            await _close(self._idle.popleft())

    async def give_back(self, slot: _Slot | None, lane: Lane, admission: Admission, *, reusable: bool) -> None:
        """End an exchange. Nothing is lost when this is itself cancelled."""
        stale: list[_Slot] = []
        try:
            if slot is not None and admission is self._admission:
                self._leave(slot)
                room = len(self._idle) + self._busy_calls < self._max_connections
                if reusable and room and not self._is_closed:
                    slot.idle_since = now()
                    self._idle.append(slot)
                else:
                    stale.append(slot)
            stale += self._expired()
            await _close_all(stale)
        finally:
            admission.release(lane)

    def _enter(self, slot: _Slot, lane: Lane) -> None:
        self._busy[slot] = lane
        self._busy_calls += lane is not Lane.STREAM

    def _leave(self, slot: _Slot) -> None:
        lane = self._busy.pop(slot, None)
        self._busy_calls -= lane is not None and lane is not Lane.STREAM

    def _expired(self) -> list[_Slot]:
        """Remove a few connections nobody has used for long: after a burst they go away little by little."""
        expired: list[_Slot] = []
        oldest = now() - self._max_idle
        while self._idle and self._idle[0].idle_since < oldest and len(expired) < _CLOSE_PER_RELEASE:
            expired.append(self._idle.popleft())
        return expired

    async def aclose(self) -> None:
        """Close every connection. Requests that are under way fail."""
        self._is_closed = True
        await _close_all(self._forget())


async def _close_all(slots: list[_Slot]) -> None:
    """Close connections side by side. Cancelled meanwhile, it closes all of them nevertheless."""
    if len(slots) == 1:
        await _close(slots[0])
    elif slots:
        async with anyio.create_task_group() as group:
            for slot in slots:
                group.start_soon(_close, slot)


async def _close(slot: _Slot) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
        # It is gone either way; RuntimeError: and so is its event loop.
        with suppress(*CONNECTION_FAILURES, RuntimeError):
            await slot.transport.aclose()


class _Body(httpx.AsyncByteStream):
    """A response body that gives its connection back when it is closed."""

    __slots__ = ("_admission", "_inner", "_is_whole", "_lane", "_pool", "_slot")

    def __init__(
        self, pool: ConnectionPool, slot: _Slot, lane: Lane, admission: Admission, inner: httpx.AsyncByteStream
    ) -> None:
        self._pool = pool
        self._slot: _Slot | None = slot
        self._lane = lane
        self._admission = admission
        self._inner = inner
        self._pieces: AsyncIterator[bytes] | None = None
        self._is_whole = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces is None:
            self._pieces = aiter(self._inner)
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            self._is_whole = True
            raise

    async def aclose(self) -> None:
        slot, self._slot = self._slot, None
        if slot is None:
            return
        reusable = False
        try:
            if self._is_whole:
                await self._inner.aclose()
                reusable = True
            else:  # shielded: a connection closed half way is of no use to anybody
                if self._lane is Lane.STREAM:
                    # A thousand streams left at once take a good part of a second to close. Their cancels go first.
                    with anyio.move_on_after(_CALM_SECONDS, shield=True):
                        await self._admission.until_calm()
                with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                    await self._inner.aclose()
        finally:
            await self._pool.give_back(slot, self._lane, self._admission, reusable=reusable)
