"""The limiter of a client: what its calls, streams and polls pass before they are sent.

Decisions are made in `_wire.limits`, `_wire.send_rate` and `_wire.crowding`; here is who waits, and in what order.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from asyncassist._transport.loops import current_loop, now
from asyncassist._wire.crowding import Crowding
from asyncassist._wire.limits import Limits, Spacing, TokenBudget
from asyncassist._wire.quotas import Quota, read_quota
from asyncassist._wire.requests import Kind, Request
from asyncassist._wire.send_rate import SendRate
from asyncassist.errors import QuotaExceededError

if TYPE_CHECKING:
    from asyncassist._transport.byte_stream import ByteStream
    from asyncassist._wire.responses import Response
    from asyncassist.errors import APIStatusError

__all__ = ["Limiter", "Stage", "Ticket"]

Sleep: TypeAlias = "Callable[[float], Awaitable[None]]"

_LOOK_EVERY = 16
"""Headers that say nothing, or that much is left, are looked at once in so many answers."""
_URGENT = frozenset(kind for kind in Kind if kind.is_urgent)
_OVERLOADED = frozenset({503, 529})


_LOOK_SECONDS = 0.25


class Stage:
    """What an attempt waits for. No enum, whose members take longer to find than all else here."""

    LIMITS: Final = "limits"
    KEY: Final = "key"
    CONNECTION: Final = "connection"
    SENT: Final = "sent"


class Ticket:
    """The place of one call, which it keeps for all its attempts.

    Attributes:
        is_urgent: whether it goes first.
        is_cancel: whether it does not wait at all: a run that is not cancelled goes on costing money.
        is_common: whether it is one of the calls of which there may be too many: none that goes first, and no stream,
            whose answer begins when a model has something to say.
        request: what the call asks.
        sent_at: when its attempt got a connection, by the limiter's clock.
        is_sent: whether its attempt has one.
        stage: what its attempt waits for.
        is_done: whether the call has been answered well.
        is_final: whether what its attempt ended with is not to be tried again.
    """

    __slots__ = (
        "counted",
        "crowd",
        "is_cancel",
        "is_common",
        "is_done",
        "is_final",
        "is_sent",
        "is_urgent",
        "key",
        "line",
        "makes_run",
        "request",
        "sent_at",
        "stage",
        "turn",
    )

    def __init__(self, number: int, request: Request, *, is_stream: bool, makes_run: bool) -> None:
        kind = request.kind
        self.request = request
        self.is_urgent = is_urgent = kind in _URGENT
        self.is_common = not (is_urgent or is_stream)
        self.is_cancel = kind is Kind.CANCEL
        self.key = (not is_urgent, number)
        self.makes_run = makes_run
        self.counted: float | None = None
        self.line: Line | None = None
        self.crowd: Line | None = None
        self.turn = 0
        self.sent_at = 0.0
        self.stage: str = Stage.LIMITS
        self.is_done = self.is_final = self.is_sent = False


class _Place:
    __slots__ = ("is_gone", "woken")

    def __init__(self) -> None:
        self.is_gone = False
        self.woken: anyio.Event | None = None


class Line:
    """Requests that wait, in order. The first one looks at the time, the others wait for their turn to be first.

    Attributes:
        waiting: how many there are.
    """

    def __init__(self) -> None:
        self._places: list[tuple[tuple[bool, int], int, _Place]] = []
        self._arrivals = 0
        self.waiting = 0

    async def wait(self, ticket: Ticket, pause: Callable[[], float], sleep: Sleep) -> None:
        """Wait until it is first and there is no pause any more. Cancelled meanwhile, nothing has happened.

        Whoever returns from here takes what it waited for before it waits for anything else.
        """
        place = _Place()
        self._arrivals += 1
        heapq.heappush(self._places, (ticket.key, self._arrivals, place))
        self.waiting += 1
        try:
            while True:
                seconds = pause() if self._places[0][2] is place else math.inf
                if seconds <= 0:
                    return
                if seconds < math.inf:
                    await sleep(min(seconds, _LOOK_SECONDS))  # an answer may shorten it meanwhile
                else:
                    place.woken = anyio.Event()
                    await place.woken.wait()
                    place.woken = None
        finally:
            place.is_gone = True
            self.waiting -= 1
            self.wake()

    def wake(self) -> None:
        """Let the first one look again, if nothing else would."""
        while self._places and self._places[0][2].is_gone:
            heapq.heappop(self._places)
        if self._places and (woken := self._places[0][2].woken) is not None:
            woken.set()


class Limiter:
    """Holds requests back, all those of a client together.

    Args:
        tokens: what runs may use; None for no limit.
    """

    def __init__(self, limits: Limits, tokens: TokenBudget | None = None) -> None:
        self._rate = SendRate() if limits.adaptive else None
        self._crowding = Crowding()
        self._spacing = None if limits.requests_per_minute is None else Spacing(limits.requests_per_minute)
        self._most = math.inf if limits.max_in_flight is None else limits.max_in_flight
        self._tokens = tokens
        self._is_fixed = self._spacing is not None or limits.max_in_flight is not None
        self._line = Line()
        self._crowd = Line()
        self._runs = Line()
        self._in_flight = self._common = self._under_way = 0
        self._arrivals = 0
        self._unread = 0
        self._loop: object = None
        self._shift = 0.0

    @property
    def waiting(self) -> int:
        """How many requests wait here."""
        return self._line.waiting + self._crowd.waiting + self._runs.waiting

    @property
    def in_flight(self) -> int:
        """How many requests have been let through and have not ended; some may wait for a connection."""
        return self._in_flight

    def now(self) -> float:
        """Return the time by a clock that goes on from one event loop to the next."""
        return now() + self._shift

    async def sleep(self, seconds: float, sleep: Sleep) -> None:
        """Wait, and let the time pass here too where ``sleep`` is a test's that takes none."""
        until = self.now() + seconds
        await sleep(seconds)
        self._shift += max(0.0, until - self.now())

    def ticket(self, request: Request, *, is_stream: bool = False) -> Ticket:
        """Return the place of a new call."""
        self._arrivals += 1
        makes_run = self._tokens is not None and request.method == "POST" and request.path.endswith("/runs")
        return Ticket(self._arrivals, request, is_stream=is_stream, makes_run=makes_run)

    async def enter(self, ticket: Ticket, sleep: Sleep) -> None:
        """Wait until a request may be sent; `leave` when it has ended. Cancelled while waiting, nothing is held."""
        if current_loop() is not self._loop:
            self._change_loop()
        if ticket.makes_run and ticket.counted is None:
            await self._runs.wait(ticket, self._run_pause, lambda seconds: self.sleep(seconds, sleep))
            assert self._tokens is not None
            ticket.counted = self._tokens.started()
        rate = self._rate
        if ticket.is_common and rate is not None:
            crowd = self._crowd
            if crowd.waiting or not self._crowding.is_idle:
                await crowd.wait(ticket, self._crowd_pause, sleep)
                crowd = self._crowd
            self._common += 1
            ticket.crowd = crowd
        if self._is_fixed or self._line.waiting or not (rate is None or rate.is_idle):
            if not ticket.is_cancel:
                pause = self._urgent_pause if ticket.is_urgent else self._pause
                await self._line.wait(ticket, pause, lambda seconds: self.sleep(seconds, sleep))
            at = self.now()
            if self._spacing is not None:  # cancels take no turns from tool outputs
                self._spacing.sent(at, is_urgent=ticket.is_urgent and not ticket.is_cancel)
            if rate is not None:
                rate.sent(at, is_urgent=ticket.is_urgent)
        self._in_flight += 1
        ticket.line = self._line
        ticket.turn = 0 if rate is None else rate.turn

    def _change_loop(self) -> None:
        # Those who waited in another event loop are gone with it. What was learned stays true.
        self._loop = current_loop()
        self._shift = time.monotonic() - now()
        self._line, self._crowd, self._runs = Line(), Line(), Line()
        self._in_flight = self._common = self._under_way = 0

    def _run_pause(self) -> float:
        assert self._tokens is not None
        return self._tokens.pause(self.now())

    def _crowd_pause(self) -> float:
        return math.inf if self._common >= self._crowding.most else 0.0

    def _pause(self) -> float:
        if self._in_flight >= self._most:
            return math.inf
        at = self.now()
        pause = 0.0 if self._spacing is None else self._spacing.pause(at)
        return pause if self._rate is None else max(pause, self._rate.pause(at, self._in_flight))

    def _urgent_pause(self) -> float:
        at = self.now()
        pause = 0.0 if self._spacing is None else self._spacing.urgent_pause(at)
        return pause if self._rate is None else max(pause, self._rate.urgent_pause(at))

    def begin(self, ticket: Ticket) -> bool:
        """Note that a request has its connection, and return whether it may still be sent.

        While it waited for the connection, others may have been refused, or have waited too long: then it has to
        `enter` again.
        """
        rate = self._rate
        if rate is not None and not ticket.is_urgent:
            if ticket.turn != rate.turn or (ticket.is_common and self._under_way >= self._crowding.most):
                self.leave(ticket)
                return False
            if ticket.is_common:
                ticket.is_sent = True
                self._under_way += 1
        ticket.sent_at = self.now()
        return True

    def leave(self, ticket: Ticket) -> None:
        """Note that a request has ended. Harmless for one that has not entered."""
        crowd, ticket.crowd = ticket.crowd, None
        if crowd is not None and crowd is self._crowd:
            self._common -= 1
            self._under_way -= ticket.is_sent
            ticket.is_sent = False
            if crowd.waiting:
                crowd.wake()
        line, ticket.line = ticket.line, None
        if line is not None and line is self._line:
            self._in_flight -= 1
            if line.waiting:
                line.wake()

    def end(self, ticket: Ticket) -> None:
        """Note that a call has ended. The run it was to make does not count, unless it was answered well."""
        if self._tokens is not None and ticket.counted is not None and not ticket.is_done:
            self._tokens.not_started(ticket.counted)

    def answered(self, ticket: Ticket, answer: Response | ByteStream, clock: Callable[[], float]) -> None:
        """Take note of an answer that is no refusal.

        Args:
            clock: Unix seconds.
        """
        if self._rate is None:
            return
        at = self.now()
        self._rate.answered(at, ticket.sent_at, is_awaited=self._line.waiting > 0)
        self._took(ticket, at)
        if self._unread:
            self._unread -= 1
            return
        quota = read_quota(answer.headers, clock())
        if quota is None or not self._rate.announced(at, quota, self._in_flight):
            self._unread = _LOOK_EVERY - 1 if quota is None else min(_LOOK_EVERY - 1, int(quota.remaining) // 8)

    def unanswered(self, ticket: Ticket) -> None:
        """Take note of a request that was sent and has waited too long for its answer."""
        if self._rate is not None:
            self._took(ticket, self.now())

    def _took(self, ticket: Ticket, now: float) -> None:
        if not ticket.is_common:
            return
        crowd, crowding = self._crowd, self._crowding
        most = crowding.most
        shape = _shape(ticket.request)
        crowding.answered(now, ticket.sent_at, shape, self._under_way + 1, is_awaited=crowd.waiting > 0)
        if crowd.waiting and crowding.most > most:
            crowd.wake()

    def refused(self, ticket: Ticket, error: APIStatusError, clock: Callable[[], float]) -> None:
        """Take note of an answer that is an error."""
        if self._rate is None:
            return
        at = self.now()
        if error.status == 429 or (error.status in _OVERLOADED and error.retry_after is not None):
            if isinstance(error, QuotaExceededError):
                return  # it does not pass by waiting
            asked = error.retry_after
            if asked is None:
                asked = _time_named(read_quota(error.headers, clock()))
            self._rate.refused(at, ticket.sent_at, asked)
            self._unread = 0
        else:
            self._rate.answered(at, ticket.sent_at, is_awaited=self._line.waiting > 0)


def _shape(request: Request) -> tuple[str, ...]:
    """Return what requests have in common that take about as long: the method, and the path without its ids."""
    return (request.method, *request.path.split("/")[1::2])


def _time_named(quota: Quota | None) -> float | None:
    return quota.reset if quota is not None and quota.remaining == 0 else None
