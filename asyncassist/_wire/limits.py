"""The limits a client keeps to by itself: so many requests and tokens a minute, spread evenly.

Nothing here waits: times in, pauses out.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from attrs import field, frozen

from asyncassist.errors import UsageError, shown

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Limits", "Spacing", "TokenBudget", "UrgentTurns", "after"]

_MOST_IN_FLIGHT = 100_000


def _count(instance: object, attribute: Any, value: object) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_IN_FLIGHT
    ):
        limits = f"an int from 1 to {_MOST_IN_FLIGHT:,}, or None"
        raise UsageError(f"{attribute.name} must be {limits}, got {shown(value)}")


def _a_minute(instance: object, attribute: Any, value: object) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0.001 <= value <= 1e12
    ):
        raise UsageError(f"{attribute.name} must be a number from 0.001 to 1e12, or None, got {shown(value)}")


def _flag(instance: object, attribute: Any, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{attribute.name} must be True or False, got {shown(value)}")


@frozen
class Limits:
    """What all calls of a client together may ask of the server: polls, retries, streams and pages too.

    Cancels do not wait at all, and tool outputs go first without waiting for the others, which wait the longer for
    both. Waiting counts into a call's total timeout, not into that of an attempt.
    """

    max_in_flight: int | None = field(default=None, validator=_count)
    """Requests under way at once, 1-100,000; of a stream, until its answer begins. None for no limit but the client's
    ``max_connections``."""
    requests_per_minute: float | None = field(default=None, validator=_a_minute)
    """Spread evenly over the minute, 0.001 and more. None for no limit."""
    tokens_per_minute: float | None = field(default=None, validator=_a_minute)
    """What runs may use. How much a run has used is known only when it has ended, and only of runs that this client
    waits for, streams or runs as jobs; until then it counts with what runs have used on average so far. New runs wait
    while the tokens of the last minute are spent, so the first ones go out unhindered. None for no limit."""
    adaptive: bool = field(default=True, validator=_flag)
    """Whether to slow down together when the server answers 429, or names its limits in ``x-ratelimit-*`` headers:
    a ``Retry-After`` then holds back all calls, and the rate they go out at follows what the server takes. And whether
    to send fewer calls at once when answers take much longer than usual, as long as that makes them come sooner;
    streams do not count. Holds nothing back as long as the server does none of this. False leaves each call to
    itself."""


_LEAD = 0.05
"""Seconds a late timer may make up for."""


def after(due: float, now: float) -> float:
    """Return when a request counts as sent that was due, and is sent now: one that comes a little late is not late."""
    return due if now - due < _LEAD else now


_URGENT_LEAD = 1.0
"""Urgent requests go ahead of the others by so many seconds' worth."""
_URGENT_GAP = 0.1
"""Seconds between them at most."""


class UrgentTurns:
    """Lets requests through that go first: a second's worth at once, then at the rate of all, ten a second at least."""

    def __init__(self) -> None:
        self._next = -math.inf

    def pause(self, now: float) -> float:
        """Return how many seconds the next one has to wait."""
        return self._next - now - _URGENT_LEAD

    def sent(self, now: float, gap: float) -> None:
        """Note that one is let go, where requests are ``gap`` seconds apart."""
        self._next = max(self._next, now) + min(gap, _URGENT_GAP)


class Spacing:
    """Lets so many requests through per minute, evenly.

    Args:
        per_minute: above 0.
    """

    def __init__(self, per_minute: float) -> None:
        self._gap = 60 / per_minute
        self._next = -math.inf
        self._urgent = UrgentTurns()

    def pause(self, now: float) -> float:
        """Return how many seconds the next request has to wait."""
        return self._next - now

    def urgent_pause(self, now: float) -> float:
        """Return the same for a request that goes first: only a crowd of its like keeps it."""
        return self._urgent.pause(now)

    def sent(self, now: float, *, is_urgent: bool = False) -> None:
        """Note that a request is let go. What goes first is paid for by the others."""
        if is_urgent:
            self._urgent.sent(now, self._gap)
        self._next = after(self._next, now) + self._gap


_LONGEST_DEBT = 60.0
"""In minutes: what a server says that a run has used cannot stop everything."""
_MOST_UNDER_WAY = 10_000
"""Runs that have been started and not seen to end, as many never are: the oldest are forgotten."""


class TokenBudget:
    """Tells how long new runs wait, after what runs have used. Starts with the tokens of a minute.

    Args:
        per_minute: above 0.
    """

    def __init__(self, per_minute: float) -> None:
        self._most = self._balance = per_minute
        self._at: float | None = None
        self._usual = 0.0
        self._under_way = deque[float](maxlen=_MOST_UNDER_WAY)  # what each counts with

    def pause(self, now: float) -> float:
        """Return how many seconds the next run has to wait."""
        if self._at is not None:
            earned = max(0.0, now - self._at) * self._most / 60
            self._balance = min(self._most, self._balance + earned)
        self._at = now
        return 0.0 if self._balance > 0 else -self._balance * 60 / self._most + 0.001

    def started(self) -> float:
        """Note that a run is about to start, and return what it counts with until it has ended."""
        self._balance -= self._usual
        self._under_way.append(self._usual)
        return self._usual

    def not_started(self, counted: float) -> None:
        """Note that it has not started."""
        try:
            self._under_way.remove(counted)
        except ValueError:  # another one that has ended was taken for it
            counted = self._oldest()
        self._balance += counted

    def ended(self, tokens: float) -> None:
        """Note what a run has used, which another client may have started."""
        used = min(max(0.0, tokens), _LONGEST_DEBT * self._most)
        self._balance = max(self._balance + self._oldest() - used, -_LONGEST_DEBT * self._most)
        self._usual += (used - self._usual) * 0.1 if self._usual else used

    def _oldest(self) -> float:
        return self._under_way.popleft() if self._under_way else 0.0
