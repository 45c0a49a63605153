"""How many requests may be under way, tried with simulated servers: no clock but theirs."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from itertools import count

import pytest
from attrs import define, field, frozen

from asyncassist._wire.crowding import Crowding

Seconds = Callable[[float, int, str, random.Random], float]
"""How long an answer takes: at what time, with how many being made, to what."""


@frozen
class Outcome:
    answers: float
    """A second."""
    seconds: float
    """From sending to the answer, on average, in the second half."""
    limits: list[float]
    """Each second."""


@define
class Server:
    workers: int
    seconds: Seconds
    busy: int = 0
    queue: deque[tuple[float, str]] = field(factory=deque[tuple[float, str]])


def simulate(
    server: Server,
    *,
    tasks: int = 100,
    until: float = 60.0,
    adapts: bool = True,
    shapes: str = "a",
    active: Callable[[float], int] | None = None,
) -> Outcome:
    """Let tasks ask one after the other."""
    dice, crowding, numbers = random.Random(1), Crowding(), count()
    events: list[tuple[float, int, float, str]] = [(dice.random() / 100, next(numbers), -1, "") for _ in range(tasks)]
    heapq.heapify(events)
    waiting = answers = under_way = 0
    took: list[float] = []
    limits: list[float] = []
    while events and events[0][0] < until:
        now, _, sent_at, shape = heapq.heappop(events)
        if now >= len(limits):
            limits.append(crowding.most)
        if sent_at >= 0:
            server.busy -= 1
            answers += 1
            if now > until / 2:
                took.append(now - sent_at)
            if adapts:
                crowding.answered(now, sent_at, shape, under_way, is_awaited=waiting > 0)
            under_way -= 1
        waiting += 1
        wanted = tasks if active is None else active(now)
        while waiting and under_way < min(crowding.most, wanted):
            waiting -= 1
            under_way += 1
            server.queue.append((now, dice.choice(shapes)))
        if active is not None:
            waiting = min(waiting, max(0, wanted - under_way))
        while server.queue and server.busy < server.workers:
            sent_at, shape = server.queue.popleft()
            server.busy += 1
            ends = now + server.seconds(now, server.busy, shape, dice)
            heapq.heappush(events, (ends, next(numbers), sent_at, shape))
    return Outcome(answers / until, sum(took) / max(1, len(took)), limits)


def steadily(seconds: float) -> Seconds:
    return lambda now, busy, shape, dice: seconds * dice.uniform(0.8, 1.3)


def test_a_server_with_a_queue_is_not_kept_waiting_for_nothing() -> None:
    """It does as much as before, and answers in a quarter of the time."""
    before = simulate(Server(10, steadily(0.1)), adapts=False)
    outcome = simulate(Server(10, steadily(0.1)))

    assert outcome.answers > 0.99 * before.answers
    assert outcome.seconds < 0.3 * before.seconds
    assert 10 <= outcome.limits[-1] < 40


def test_a_server_that_suffers_from_a_crowd_does_more() -> None:
    """With many at once each takes longer than its share."""

    def crowded(now: float, busy: int, shape: str, dice: random.Random) -> float:
        return 0.05 * max(1, (busy / 20) ** 2) * dice.uniform(0.8, 1.3)

    before = simulate(Server(10**9, crowded), adapts=False)
    outcome = simulate(Server(10**9, crowded))

    assert outcome.answers > 2.5 * before.answers
    assert outcome.seconds < 0.2 * before.seconds


SLOW: dict[str, Seconds] = {
    "always quick": steadily(0.05),
    "slower from then on": lambda now, busy, shape, dice: 0.05 if now < 20 else 1,
    "slow at times": lambda now, busy, shape, dice: 0.05 if now % 15 < 10 else 0.8,
    "never twice the same": lambda now, busy, shape, dice: 0.1 * math.exp(dice.gauss(0, 1.2)),
    "different calls": lambda now, busy, shape, dice: 0.02 if shape == "a" else 2,
    "one of two": lambda now, busy, shape, dice: 1 if dice.random() < 0.5 else 0.01,
}


@pytest.mark.parametrize("seconds", SLOW.values(), ids=SLOW)
def test_what_is_slow_whatever_we_do_costs_nothing(seconds: Seconds) -> None:
    """A trial shows that fewer at once do not help."""
    before = simulate(Server(10**9, seconds), adapts=False, shapes="ab")
    outcome = simulate(Server(10**9, seconds), shapes="ab")

    assert outcome.answers > 0.98 * before.answers


def test_a_server_that_recovers_is_used_again() -> None:
    """The limit grows where somebody waits, and answers are quick."""

    def seconds(now: float, busy: int, shape: str, dice: random.Random) -> float:
        return 0.1 if not 20 < now < 60 else max(0.1, 0.02 * busy)

    outcome = simulate(Server(10**9, seconds), until=120)

    assert min(outcome.limits[20:60]) < 30
    assert max(outcome.limits[80:]) >= 99


def test_nothing_is_held_back_when_nobody_waits_any_more() -> None:
    """Ten seconds after the last one has waited."""
    outcome = simulate(Server(10, steadily(0.1)), until=90, active=lambda now: 100 if now < 40 else 8)

    assert outcome.limits[39] < 40
    assert outcome.limits[-1] == math.inf


def test_answers_somewhat_slower_than_usual_do_not_keep_a_limit() -> None:
    """Between as usual and late it grows too, one by one."""

    def seconds(now: float, busy: int, shape: str, dice: random.Random) -> float:
        return 0.02 if now < 20 else 0.02 * busy if now < 40 else 0.1

    outcome = simulate(Server(10**9, seconds), until=120)

    assert min(outcome.limits[20:60]) < 20
    assert max(outcome.limits[60:]) >= 99


def test_a_limit_does_not_outlive_an_idle_time() -> None:
    """An hour later the server may be another one."""
    crowding = Crowding()
    crowding.answered(0.1, 0.0, "a", 1, is_awaited=False)
    crowding.most = 5
    crowding.answered(9.0, 8.0, "a", 5, is_awaited=True)
    assert crowding.most == 5
    crowding.answered(3600.1, 3600.0, "a", 5, is_awaited=True)
    assert math.isinf(crowding.most)


def test_answers_that_take_no_time() -> None:
    """By a coarse clock."""
    crowding = Crowding()
    at = 0.0
    for seconds, answers in ((0.0, 200), (0.5, 1_000), (1.0, 1_000)):
        for _ in range(answers):
            at += 0.01
            crowding.answered(at + seconds, at, "a", 50, is_awaited=True)
        at += 1
    assert crowding.most >= 4


def test_a_trial_without_demand_says_nothing() -> None:
    """Answers that come sooner because less is asked are no reason to ask less."""
    crowding = Crowding()
    at = 0.0
    for seconds, under_way, is_awaited in ((0.1, 10, False), (2.0, 50, False), (2.0, 50, False), (0.1, 5, False)):
        for _ in range(60):
            at += 0.1
            crowding.answered(at + seconds, at, "a", under_way, is_awaited=is_awaited)
        at += 10
        if under_way == 50 and not math.isinf(crowding.most):
            assert crowding.most == 35
    assert math.isinf(crowding.most)


def test_few_are_never_held_back() -> None:
    """With four at once it is not the crowd that makes a server slow."""
    outcome = simulate(Server(1, steadily(0.5)), tasks=4, until=300)

    assert set(outcome.limits) == {math.inf}


def test_kinds_of_requests_without_end_take_no_memory() -> None:
    """Whoever makes up paths gets no more than some hundred remembered."""
    crowding = Crowding()
    for number in range(2_000):
        crowding.answered(number + 0.1, number, f"kind {number}", 1, is_awaited=False)
    assert len(crowding._delays) <= 256  # pyright: ignore[reportPrivateUsage]
