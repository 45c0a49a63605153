"""How fast a client may send to a server that refuses what comes too fast.

Nothing here waits or sends: times in, decisions out. Nothing is held back before the first refusal. Then there is a
rate, which falls with each further refusal to what the server has been seen to take, climbs back slowly, and faster
and faster where nothing is refused. So it hovers just below what the server allows, and follows when that changes.
Refusals that have nothing to do with the rate are left to the retries of those they hit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from asyncassist._wire.limits import UrgentTurns, after

if TYPE_CHECKING:
    from asyncassist._wire.quotas import Quota

__all__ = ["LONGEST_SHARED_PAUSE", "Meter", "SendRate"]

LONGEST_SHARED_PAUSE = 60.0
"""A server that asks for more seconds is obeyed by the request that was told so, which fails; others find out for
themselves instead of standing still."""

_BACK_OFF = 0.95  # What is left of the rate the server took, after a refusal.
_LEAST_KEPT = 0.7  # What a refusal leaves of the rate at least: a single one says little about what the server takes.
_HALVED = 0.5  # The same for a rate that had been climbing fast, so that most of it was guessed.
_RECOVERY = 0.6  # Seconds to climb back to the rate the server took.
_CARE = 1.5
"""Where a refusal costs a pause, climbing back takes so many times that pause, up to `_LONGEST_RECOVERY`, and
so many times longer again where the server refuses at the same rate as before."""
_LONGEST_RECOVERY = 10.0
_SAME = 0.15
_FAST_CLIMB = 0.35  # Seconds after which a rate above what the server took counts as guessed.
_STEPS = 15  # Clean answers it takes at least to climb back: a slow rate does not rise by the clock alone.
_GROWTH = 2.0  # Times what is answered now: the rate is never set higher.
_FIRST_PAUSE = 0.1  # After a refusal that names no time; doubles with each further one in a row.
_LONGEST_PAUSE = 8.0
_NAMED_PAUSE = 1.0  # the same where the server names a time, or what it names if that is longer
_IN_VAIN = 2  # Refusals in a row after which one request at a time finds out whether the server takes any.
_ENOUGH = 5  # Answers that make a measurement.
_SLOWEST = 1 / 60
_FIRST_RATE = 50.0  # The least rate after a first refusal, per second.
_KEENNESS = 3.0  # How soon a climb beyond what the server took becomes fast.
_UNBOUND = 5.0  # Seconds of growing without a refusal after which the rate holds hardly anything back, and is given up.
_CALM = 60.0  # Seconds without a refusal after which the rate is given up, where nobody waits for it.
_SPARE = 4
_HEADROOM = 2.0  # In flight at most: what the rate needs at the usual delay of answers, so many times, and a few.
_LONGEST_WAIT_AT_NONE = 1.0  # Seconds between requests at most, after answers that say that nothing is left.
_MEMORY = 32  # Answers that make the share of refusals of late.
_LOOK_AT = 3  # Refusals that show, after a first one, what share is refused.
_DOUBTFUL = 4  # Refusals in a row at rates that the server took before: then those that name a time may be noise too.
_RARE = 120  # So many good answers meanwhile, and that share is too small to matter.
_DUE = 3.5  # Refusals that noise would have made in a trial that has met none.
_NOISE_LASTS = 60.0  # Seconds after which it has to be found again.

_Verdict: TypeAlias = Literal["limit", "look", "try", "noise"]


class Meter:
    """Counts what happens, per second over about the last ``span`` seconds."""

    __slots__ = ("_count", "_last", "_span", "_start")

    def __init__(self, span: float = 0.5) -> None:
        self._span = span
        self._start = -math.inf
        self._count = 0
        self._last = 0.0

    def add(self, now: float) -> None:
        """Note that it happened."""
        if now - self._start >= self._span:
            self._last = self._count / (now - self._start)
            self._start, self._count = now, 0
        self._count += 1

    def rate(self, now: float) -> float:
        """Return how often it has happened, per second."""
        elapsed = now - self._start
        if elapsed >= 2 * self._span:
            return self._count / elapsed
        return max(self._count / self._span, self._last)


class Noise:
    """Tells refusals that come whatever the rate is, of a flaky gateway or of others' making, from those of a limit.

    Slowing down for each would end at a crawl. An experiment tells: what is answered well while some are refused is all
    that a limit takes. So at less than that, `level`, it refuses nothing; where some are refused all the same, they are
    noise, a `share` of all requests, until there are many more of them.
    """

    def __init__(self) -> None:
        self.share = self._seen = self._recent = 0.0
        self._since = self._until = self._not_before = -math.inf
        self.stop()

    def stop(self) -> None:
        """End the experiment."""
        self.level: float | None = None
        self._good = self._bad = 0
        self._most = float(_RARE)

    def answered(self, now: float) -> None:
        """Note that a request was not refused."""
        self._recent -= self._recent / _MEMORY
        self._good += 1
        if self._good > self._most:
            if self.level is not None:  # a trial costs a little, so there is a break as long as it was
                self._not_before = 2 * now - self._since
            self.stop()

    def refused(self, now: float, rate: float | None, in_vain: int) -> _Verdict:
        """Note a refusal, and return what to do: slow down, keep the rate, go to `level`, or nothing."""
        self._recent += (1 - self._recent) / _MEMORY
        if self.share and now < self._until and self._recent <= 2 * self.share + 0.05:
            return "noise"
        self.share = 0.0
        if rate is None or in_vain >= _IN_VAIN or now < self._not_before:
            self.stop()
            return "limit"
        self._bad += 1
        if self.level is not None:
            return self._refused_in_trial(now)
        if self._bad == 1:
            self._good, self._since = 0, now
            return "limit"
        if self._bad <= _LOOK_AT or self._good < _ENOUGH:
            return "look"
        self._seen = self._bad / (self._bad + self._good)
        level = 0.9 * (self._good - 1) / max(now - self._since, 1e-3)
        self.stop()
        if self._seen > 0.5:  # far too fast
            return "limit"
        self.level, self._since, self._most = level, now, _DUE / self._seen
        return "try"

    def _refused_in_trial(self, now: float) -> _Verdict:
        if self._bad == 1:  # may be by chance
            self._most *= 2
            return "look"
        self.stop()
        self.share = self._recent = self._seen
        self._until = now + _NOISE_LASTS
        return "noise"


class SendRate:
    """The rate at which requests go out, shared by all of a client.

    Attributes:
        rate: requests a second; None holds nothing back.
        turn: counts the refusals that have changed it; what was let go before goes to the end of no queue, but waits.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.turn = 0
        self._answered = Meter()
        self._noise = Noise()
        self._not_before = -math.inf
        self._next = -math.inf
        self._cut_at = -math.inf
        self._taken = 0.0  # the rate the server took, before the last refusal
        self._low = 0.0  # where the climb began
        self._climbed = 0.0  # seconds
        self._recovery = _RECOVERY
        self._care = 1
        self._seen_at = 0.0
        self._count = 0  # clean answers to what was sent since the last refusal
        self._in_vain = 0
        self._low_refusals = 0  # in a row, at a rate that the server took before
        self._longest = _LONGEST_PAUSE
        self._paused = 0.0  # seconds since the last refusal in which nothing could be sent
        self._delay: float | None = None
        self._gap = 0.0  # seconds between requests, by what the server has announced
        self._gap_until = -math.inf
        self._urgent = UrgentTurns()

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing back."""
        return self.rate is None and self._gap == 0

    def pause(self, now: float, in_flight: int) -> float:
        """Return how many seconds the next request has to wait: inf until one that is under way has ended."""
        if self.is_idle:
            return 0.0
        if self.rate is not None and in_flight >= _SPARE + _HEADROOM * self.rate * (self._delay or math.inf):
            return math.inf
        return max(self._not_before, self._next) - now

    def urgent_pause(self, now: float) -> float:
        """Return the same for a request that goes first: only a crowd of its like keeps it."""
        return 0.0 if self.is_idle else self._urgent.pause(now)

    def sent(self, now: float, *, is_urgent: bool = False) -> None:
        """Note that a request is let go."""
        if self.is_idle:
            return
        gap = self._gap_at(now)
        if is_urgent:
            self._urgent.sent(now, gap)
        if self._in_vain >= _IN_VAIN and not is_urgent:
            self._next = now + self._own_pause(self._in_vain - 1)
        else:
            self._next = after(self._next, now) + gap

    def _gap_at(self, now: float) -> float:
        if self._gap and now >= self._gap_until:
            self._gap = 0.0
        return self._gap if self.rate is None else max(1 / self.rate, self._gap)

    def answered(self, now: float, sent_at: float, *, is_awaited: bool) -> None:
        """Note that a request was not refused.

        Args:
            is_awaited: whether others wait for the rate. It grows only where it is used.
        """
        self._answered.add(now)
        if self._noise.share or (self.rate is not None and sent_at > self._cut_at):
            self._noise.answered(now)
        if self.rate is None or sent_at <= self._cut_at:
            return
        self._note_delay(now - sent_at)
        self._count += 1
        step, self._seen_at = now - self._seen_at, now
        if self._in_vain >= _IN_VAIN:
            self._next = now
        self._in_vain = 0
        if not is_awaited:
            if now - self._cut_at > _CALM:
                self.rate = None
            return
        if self._noise.level is None:  # the rate of a trial stays
            self._climbed += min(step, self._recovery / _STEPS)
            self.rate = self._climb(self.rate, now)

    def _climb(self, rate: float, now: float) -> float | None:
        beyond = self._climbed - self._recovery
        if beyond < 0:
            return self._taken + (self._taken - self._low) * beyond / self._recovery
        if beyond > _UNBOUND:
            return None
        return max(rate, min(self._taken * math.exp(_KEENNESS * beyond**2), _GROWTH * self._answered.rate(now)))

    def _note_delay(self, delay: float) -> None:
        # A sudden rise holds back what is sent; one that stays becomes the usual.
        if self._delay is None:
            self._delay = delay
        else:
            self._delay += (delay - self._delay) * (0.1 if delay < self._delay else 0.01)

    def refused(self, now: float, sent_at: float, asked: float | None) -> None:
        """Note that a request was refused because too many came.

        Requests that were under way when one was refused are refused for the same reason: that is felt once.

        Args:
            asked: seconds the server asks to wait; None where it does not say.
        """
        if asked is not None and not asked <= LONGEST_SHARED_PAUSE:
            asked = 0.0
        self._longest = max(asked, _NAMED_PAUSE) if asked else _LONGEST_PAUSE
        if self.rate is not None and sent_at <= self._cut_at:
            if asked:
                self._hold(now, asked)
            return
        if asked:
            is_low = self.rate is not None and self._climbed < self._recovery
            self._low_refusals = self._low_refusals + 1 if is_low else 0
        # Who names a time has a limit, unless it refuses at lower and lower rates. The time is obeyed in any case.
        is_doubtful = self.rate is not None and (self._noise.share or self._low_refusals >= _DOUBTFUL)
        is_limit = bool(asked) and not is_doubtful
        if is_limit:
            self._noise.stop()
        is_trial = self._noise.level is not None
        verdict = "limit" if is_limit else self._noise.refused(now, self.rate, self._in_vain)
        if verdict == "noise":
            self._low_refusals = 0
            if asked:
                self._hold(now, asked)
            if is_trial:  # back to the rate of before, and on
                self._climbed = self._recovery
            return
        before = self._taken
        self._set_rate(now, sent_at, verdict)
        self._recovery = _RECOVERY
        if asked:
            self._care = 2 if abs(self._taken - before) < _SAME * before else 1
            self._recovery = min(max(_RECOVERY, _CARE * self._care * asked), _LONGEST_RECOVERY)
        assert self.rate is not None
        self._climbed = 0.0 if self._taken > self.rate else self._recovery
        self._low = self.rate
        self.turn += 1
        self._cut_at = self._seen_at = now
        self._count = 0
        self._paused = 0.0
        own = self._own_pause(self._in_vain)
        if asked is None and (self._in_vain or verdict != "look"):
            self._not_before = max(self._not_before, now + own)
        elif asked is not None:
            self._hold(now, max(asked, own if self._in_vain else 0.0))
        self._next = max(self._next, self._not_before)
        self._in_vain += 1

    def _set_rate(self, now: float, sent_at: float, verdict: _Verdict) -> None:
        rate = self.rate
        if rate is None:
            self._taken = self.rate = max(self._answered.rate(now), _FIRST_RATE)
            return
        if verdict == "look":
            return
        if self._noise.level is not None:
            self._taken, rate = rate, min(rate, self._noise.level)
        elif self._in_vain >= _IN_VAIN:
            rate = self._taken = rate * _LEAST_KEPT
        elif self._in_vain:
            pass  # the pause was too short, which says nothing about the rate
        elif self._climbed > self._recovery + _FAST_CLIMB:
            self._taken = min(rate, max(self._answered.rate(now), rate * _HALVED))
            rate = _BACK_OFF * self._taken
        elif self._count >= _ENOUGH:
            active = max(sent_at - self._cut_at - self._paused, 1e-3)
            self._taken = min(rate, max(self._count / active, rate * _LEAST_KEPT))
            rate = _BACK_OFF * self._taken
        else:
            self._taken = rate
            rate *= 0.9
        self.rate = max(rate, _SLOWEST)

    def _own_pause(self, in_vain: int) -> float:
        return min(self._longest, _FIRST_PAUSE * 2.0 ** min(in_vain, 10))

    def announced(self, now: float, quota: Quota, in_flight: int) -> bool:
        """Take note of what the server says is left, and return whether that is little.

        What is left is spread over the time until there is more. Whether that time is the end of a window or until all
        is there again makes no difference in the long run.

        Args:
            in_flight: requests under way, which the server may not have counted yet.
        """
        if quota.limit is not None and quota.remaining > quota.limit / 4:
            self._gap = 0.0
            return False
        left = quota.remaining - in_flight
        if left <= 0:
            # An answer that is no refusal: what it says may be outdated in a moment, so this is tried again soon.
            self._next = max(self._next, now + min(quota.reset, _LONGEST_WAIT_AT_NONE))
            left = 1
        elif left >= self._answered.rate(now) * quota.reset:
            self._gap = 0.0
            return False
        self._gap = min(quota.reset / left, _LONGEST_WAIT_AT_NONE)
        self._gap_until = now + min(quota.reset, LONGEST_SHARED_PAUSE)
        return True

    def _hold(self, now: float, seconds: float) -> None:
        until = max(self._not_before, now + seconds)
        self._paused += until - max(self._not_before, now)
        self._not_before = until
        self._next = max(self._next, until)
