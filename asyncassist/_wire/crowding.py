"""How many requests may be under way at once, judged by how long their answers take.

A server that is asked for more than it can do answers later and later, and often does less than it could. So when
answers take much longer than usual, fewer requests are sent at once, on trial. If answers then come sooner, that is
kept, and tried again; if not, the server is merely slower now, and what it takes becomes what is usual.

Nothing here waits or sends: times in, decisions out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Crowding"]

_ENOUGH = 50  # Answers that make a measurement.
_SHORTEST = 0.25  # Seconds of one.
_SLOW = 2.0  # Times the usual, and
_LATE = 0.1  # so many seconds more, is late.
_STEADY = 1.3  # Times what it was in the measurement before: what rises faster is not tried yet.
_CLOSE = 1.5  # Times the usual, or a quarter of those seconds more, is as it should be. Beyond it growth is slow.
_CUT = 0.7  # What a trial leaves of the requests under way.
_WORTH = 0.5  # Of the time that a trial saves where all of it was waiting in line, so much makes it worth keeping.
_BETTER = 0.9  # With so many times the seconds per request under way, more is answered than before: so on with it.
_GROWTH = 0.1  # A measurement, twice as much with each further one, up to
_FASTEST_GROWTH = 0.4
_LEAST = 4
_DRIFT = 0.01  # A second: the usual follows a server that becomes slower for good.
_LEARNING = 1 / 32
_CALM = 10.0  # Seconds in which nobody waits, or nothing is sent, after which nothing is held back.
_SHORTEST_DELAY = 0.001  # Seconds; a clock may be coarse.
_BREAK = 10.0  # Seconds after a trial in vain; each further one makes them twice as many, up to
_LONGEST_BREAK = 160.0
_MOST_SHAPES = 256


class _Delay:
    """Seconds that answers to requests of one kind take: now, and when there is no crowd."""

    __slots__ = ("now", "usual")

    def __init__(self, seconds: float) -> None:
        self.now = self.usual = seconds


class Crowding:
    """Tells how many requests may be under way.

    Attributes:
        most: so many; inf for any number.
    """

    def __init__(self) -> None:
        self.most = math.inf
        self._delays: dict[Hashable, _Delay] = {}
        self._tried: tuple[float, float, float] | None = None  # the limit, the requests and the seconds before a trial
        self._before = 0.0  # seconds that answers took in the measurement before
        self._not_before = -math.inf
        self._break = _BREAK
        self._growth = _GROWTH
        self._awaited_at = self._answered_at = -math.inf
        self._since = -math.inf
        self._begin(-math.inf)

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing back."""
        return self.most == math.inf

    def _begin(self, now: float) -> None:
        self._drift(now - self._since)
        self._since = now
        self._count = self._awaited = self._under_way = 0
        self._took = self._expected = 0.0

    def _drift(self, seconds: float) -> None:
        if 0 < seconds < math.inf:
            self._raise_usual(1 + _DRIFT * min(seconds, 10.0))

    def _raise_usual(self, factor: float) -> None:
        for delay in self._delays.values():
            delay.usual *= factor

    def answered(self, now: float, sent_at: float, shape: Hashable, under_way: int, *, is_awaited: bool) -> None:
        """Note an answer, or that none came for so long.

        Args:
            shape: the same for requests of the same kind.
            under_way: requests that were sent and not answered, this one included.
            is_awaited: whether others wait because there are so many.
        """
        if sent_at - self._answered_at > _CALM:  # what was learned before an idle time says nothing now
            self.most = math.inf
            self._tried = None
            self._begin(sent_at)
        self._answered_at = now
        seconds = max(now - sent_at, _SHORTEST_DELAY)
        delay = self._delays.get(shape)
        if delay is None:
            if len(self._delays) >= _MOST_SHAPES:
                self._delays.clear()
            self._delays[shape] = delay = _Delay(seconds)
        else:
            delay.now += (seconds - delay.now) * _LEARNING
            if delay.now < delay.usual:
                delay.usual = delay.now
        if sent_at < self._since:
            return
        self._count += 1
        self._took += seconds
        self._expected += delay.usual
        self._under_way += under_way
        self._awaited += is_awaited
        if self._count >= _ENOUGH and now - self._since >= max(_SHORTEST, 2 * self._took / self._count):
            self._judge(now)
            self._begin(now)

    def _judge(self, now: float) -> None:
        count = self._count
        seconds, usual, under_way = self._took / count, self._expected / count, self._under_way / count
        before, self._before = self._before, seconds
        if self._awaited:
            self._awaited_at = now
        if self._tried is not None:
            self._end_trial(now, seconds, usual, under_way)
        elif seconds > _SLOW * usual and seconds > usual + _LATE:
            if now >= self._not_before and seconds < _STEADY * before:
                self._try(under_way, seconds)
        elif self.most < math.inf:
            if now - self._awaited_at > _CALM:
                self.most = math.inf
            elif self._awaited:
                is_close = seconds < _CLOSE * usual or seconds < usual + _LATE / 4
                self.most += max(1, self.most * self._growth) if is_close else 1
                self._growth = min(2 * self._growth, _FASTEST_GROWTH) if is_close else _GROWTH

    def _try(self, under_way: float, seconds: float) -> None:
        if under_way > _LEAST:
            self._tried = (self.most, under_way, seconds)
            self.most = max(_LEAST, _CUT * under_way)
            self._growth = _GROWTH

    def _end_trial(self, now: float, seconds: float, usual: float, under_way: float) -> None:
        assert self._tried is not None
        most, before, seconds_before = self._tried
        self._tried = None
        if not self._awaited or under_way > before:  # there is less to do: it says nothing
            self.most = most
        elif seconds <= seconds_before * (1 - _WORTH * (1 - under_way / before)):
            self._break = _BREAK
            if seconds * before < _BETTER * seconds_before * under_way:
                self._try(under_way, seconds)
        else:
            self.most = most
            self._not_before = now + self._break
            self._break = min(2 * self._break, _LONGEST_BREAK)
            self._raise_usual(math.sqrt(max(1.0, seconds / usual)))  # halfway: a single trial may be wrong
