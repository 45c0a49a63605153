"""The limiter and a server that answers later and later: how many calls are under way, and who does not count."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import httpx
import pytest

from asyncassist import APITimeoutError, Limits, Timeout
from asyncassist._transport.limiter import Limiter, Ticket
from asyncassist._wire.requests import Kind, Request
from asyncassist._wire.responses import Response

from .helpers import ONCE, connect, settle
from .loopback import RUN, Connection, Loopback, answer, hang

pytestmark = pytest.mark.anyio

READ = Request(Kind.READ, "GET", "/threads/thread_1")
CANCEL = Request(Kind.CANCEL, "POST", "/threads/thread_1/runs/run_1/cancel")
SUBMIT = Request(Kind.SUBMIT, "POST", "/threads/thread_1/runs/run_1/submit_tool_outputs")


def crowded(most: float, limits: Limits | None = None) -> Limiter:
    """Make a limiter that has learned how many calls a server stands."""
    limiter = Limiter(limits or Limits())
    limiter._crowding.most = most
    return limiter


async def send(limiter: Limiter, request: Request = READ, *, is_stream: bool = False) -> Ticket:
    ticket = limiter.ticket(request, is_stream=is_stream)
    await limiter.enter(ticket, anyio.sleep)
    assert limiter.begin(ticket)
    return ticket


async def test_no_more_calls_than_the_server_stands() -> None:
    """Whatever ends lets the next one through, in order."""
    limiter = crowded(3)
    most, order = 0, list[int]()

    async def one(number: int) -> None:
        nonlocal most
        ticket = await send(limiter)
        order.append(number)
        most = max(most, limiter.in_flight)
        await settle(3)
        limiter.leave(ticket)
        limiter.leave(ticket)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(one, number)
            await settle(1)

    assert (3, list(range(30)), 0, 0) == (most, order, limiter.in_flight, limiter.waiting)


async def test_what_does_not_count() -> None:
    """Cancels and tool outputs go out, and streams, whose answers begin when a model has something to say."""
    limiter = crowded(1)
    held = await send(limiter)
    with anyio.fail_after(10):
        others = [
            await send(limiter, CANCEL),
            await send(limiter, SUBMIT),
            await send(limiter, is_stream=True),
        ]
    assert limiter.in_flight == 4
    for ticket in others:
        limiter.leave(ticket)
    with anyio.move_on_after(0.05) as scope:
        await send(limiter)
    assert scope.cancelled_caught

    limiter.leave(held)
    await send(limiter)


async def test_a_limit_that_grows_lets_the_next_ones_through() -> None:
    """Also when nothing that is under way has ended, but something that was."""
    limiter = crowded(1)
    held, ended = await send(limiter), limiter.ticket(READ)
    through: list[Ticket] = []

    async def one() -> None:
        through.append(await send(limiter))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
        await settle()
        assert [] == through
        grow = limiter._crowding.answered

        def answered(*args: Any, **named: Any) -> None:
            grow(*args, **named)
            limiter._crowding.most = math.inf

        limiter._crowding.answered = answered  # type: ignore[method-assign]
        limiter.answered(ended, Response(200, httpx.Headers(), b"{}"), lambda: 0.0)

    assert (3, 4) == (len(through), limiter.in_flight)
    del held


async def test_those_that_wait_for_a_connection_line_up_when_there_are_too_many() -> None:
    """Connections may be more than the server stands; so whoever gets one looks again."""
    limiter = Limiter(Limits())
    tickets = [limiter.ticket(READ) for _ in range(4)]
    for ticket in tickets:
        await limiter.enter(ticket, anyio.sleep)
    assert limiter.begin(tickets[0])
    assert limiter.begin(tickets[1])
    limiter._crowding.most = 2

    assert not limiter.begin(tickets[2])
    assert limiter.in_flight == 3
    limiter.leave(tickets[0])
    assert limiter.begin(tickets[3])


async def test_cancelled_while_it_waits() -> None:
    """It holds nothing, and whoever is behind it gets its turn."""
    limiter = crowded(1)
    held = await send(limiter)
    through: list[Ticket] = []

    async def next_one() -> None:
        through.append(await send(limiter))

    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.02):
            group.start_soon(next_one)
            await send(limiter)
        assert limiter.waiting == 1
        limiter.leave(held)

    assert (1, 1, 0) == (len(through), limiter.in_flight, limiter.waiting)


async def test_cancelled_in_the_next_line() -> None:
    """Its place among the calls is free again."""
    limiter = crowded(1, Limits(max_in_flight=1))
    held = await send(limiter, CANCEL)
    ticket = limiter.ticket(READ)
    with anyio.move_on_after(0.02) as scope:
        try:
            await limiter.enter(ticket, anyio.sleep)
        finally:
            limiter.leave(ticket)
    assert scope.cancelled_caught
    limiter.leave(held)

    with anyio.fail_after(10):
        await send(limiter)


def test_another_event_loop() -> None:
    """What was under way in the one before is gone; what was learned is not."""
    limiter = crowded(1)
    held = asyncio.run(send(limiter))
    asyncio.run(send(limiter))
    limiter.leave(held)

    assert (1, 1) == (limiter.in_flight, limiter._common)


async def test_not_adaptive() -> None:
    """Then nobody counts."""
    limiter = crowded(1, Limits(adaptive=False))
    tickets = [await send(limiter) for _ in range(5)]
    limiter.answered(tickets[0], Response(200, httpx.Headers(), b"{}"), lambda: 0.0)
    limiter.unanswered(tickets[1])

    assert limiter.in_flight == 5


async def test_what_is_never_answered_counts_too(server: Loopback) -> None:
    """A server that does not answer at all is slow, and no call of it comes back with an answer."""
    server.default = hang
    async with connect(server, retry=ONCE, timeout=Timeout(attempt=0.05)) as client:
        with pytest.raises(APITimeoutError):
            await client.get_run("thread_1", "run_1")
        (delay,) = client._sender.limiter._crowding._delays.values()
        assert delay.now >= 0.05


async def test_a_total_timeout_says_nothing(server: Loopback) -> None:
    """The call may have been sent a moment ago."""
    server.default = hang
    async with connect(server, retry=ONCE, timeout=Timeout(attempt=30, total=0.05)) as client:
        with pytest.raises(APITimeoutError):
            await client.get_run("thread_1", "run_1")
        assert not client._sender.limiter._crowding._delays


@pytest.mark.parametrize("refusals", [0, 1, 2])
async def test_the_attempt_timeout_holds_for_whoever_lined_up_again(server: Loopback, refusals: int) -> None:
    """It begins anew with the connection it gets in the end."""
    server.default = hang
    timeout = Timeout(attempt=0.1, total=None)
    async with connect(server, retry=ONCE, timeout=timeout) as client:
        limiter = client._sender.limiter
        begin, left = limiter.begin, refusals

        def crowded_at_first(ticket: Ticket) -> bool:
            nonlocal left
            limiter._crowding.most = math.inf if left <= 0 else 0
            left -= 1
            try:
                return begin(ticket)
            finally:
                limiter._crowding.most = math.inf

        limiter.begin = crowded_at_first  # type: ignore[method-assign]
        with anyio.fail_after(5), pytest.raises(APITimeoutError, match="within the attempt timeout"):
            await client.get_run("thread_1", "run_1")
        assert left == -1
        assert (0, 0, 0) == (limiter.in_flight, limiter._common, limiter._under_way)


async def test_a_server_that_answers_one_after_the_other(server: Loopback) -> None:
    """The more wait, the longer; after a while fewer are sent at once, and all are answered."""
    busy = most = answered = 0

    async def slow(connection: Connection) -> bool:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.006 * busy)
        busy -= 1
        return await answer(RUN)(connection)

    server.default = slow
    async with connect(server) as client:
        crowding = client._sender.limiter._crowding

        async def ask() -> None:
            nonlocal answered
            while crowding.most > 30:
                await client.get_run("thread_1", "run_1")
                answered += 1

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for _ in range(60):
                    group.start_soon(ask)
        assert most >= 40
        most = 0
        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(client.get_run, "thread_1", "run_1")
        assert most <= 35
        assert answered >= 50
