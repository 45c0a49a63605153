"""How often the waits of one client look at their runs: a rate they share, fairly."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import AsyncClient, PollPolicy, UsageError
from asyncassist._transport import pacing
from asyncassist._transport.pacing import PollTurns

from .helpers import KEY, THREAD, run

pytestmark = pytest.mark.anyio


class Time:
    """A clock that only goes on while somebody sleeps by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(pacing, "now", lambda: self.now)

    async def sleep(self, seconds: float) -> None:
        await checkpoint()
        self.now += seconds


async def test_without_a_limit_nobody_waits() -> None:
    """No limit is no wait, and not even a step of the event loop."""

    async def sleep(seconds: float) -> None:
        raise AssertionError

    await PollTurns().wait(sleep)


async def test_the_rate_is_kept_by_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand waits get their turns one after the other, in the order they came, at the rate."""
    time = Time(monkeypatch)
    turns = PollTurns(50)
    given: list[tuple[int, float]] = []

    async def wait(number: int) -> None:
        await turns.wait(time.sleep)
        given.append((number, time.now))

    async with anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(wait, number)
    # trio starts tasks in any order; asyncio in that in which they were made.
    assert sorted(number for number, _ in given) == list(range(1000))
    moments = [moment for _, moment in given]
    assert moments == pytest.approx([100 + number / 50 for number in range(1000)])


async def test_first_come_first_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait again stand behind those who have not had a turn."""
    time = Time(monkeypatch)
    turns = PollTurns(10)
    order: list[str] = []
    may_sleep = anyio.Event()

    async def sleep(seconds: float) -> None:
        await may_sleep.wait()
        await time.sleep(seconds)

    async def wait(name: str) -> None:
        for _ in range(3):
            await turns.wait(sleep)
            order.append(name)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(wait, name)
            for _ in range(5):
                await checkpoint()
        may_sleep.set()
    assert "".join(order) == "aabcabcbc"


async def test_a_cancelled_wait_uses_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The turns of those who are cancelled, waiting in line or for the time, go to the next."""
    time = Time(monkeypatch)
    turns = PollTurns(10)
    may_sleep = anyio.Event()

    async def sleep(seconds: float) -> None:
        await may_sleep.wait()
        await time.sleep(seconds)

    await turns.wait(sleep)
    given: list[float] = []

    async def wait(scope: anyio.CancelScope) -> None:
        with scope:
            await turns.wait(sleep)
            given.append(time.now)

    scopes = [anyio.CancelScope() for _ in range(100)]
    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(wait, scope)
        for _ in range(5):
            await checkpoint()
        group.start_soon(wait, anyio.CancelScope())
        for _ in range(5):
            await checkpoint()
        for scope in scopes:
            scope.cancel()
        may_sleep.set()
    assert given == pytest.approx([100.1])


async def test_time_that_was_not_used_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long rest there is no burst: at most two at once, then the rate again."""
    time = Time(monkeypatch)
    turns = PollTurns(10)
    await turns.wait(time.sleep)
    time.now += 1000
    given: list[float] = []
    for _ in range(4):
        await turns.wait(time.sleep)
        given.append(time.now - 1100)
    assert given == pytest.approx([0, 0, 0.1, 0.2])


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_another_event_loop(anyio_backend: str) -> None:
    """A client used in one event loop after the other starts afresh, though the first ended amid a wait."""
    turns = PollTurns(0.001)
    tasks: list[asyncio.Future[None]] = []

    async def stop() -> None:
        await turns.wait(anyio.sleep)
        with anyio.move_on_after(0.01):
            await turns.wait(anyio.sleep)
        tasks.append(asyncio.ensure_future(turns.wait(anyio.sleep)))
        await asyncio.sleep(0)

    asyncio.run(stop())

    async def go() -> None:
        with anyio.fail_after(1):
            await turns.wait(anyio.sleep)

    asyncio.run(go())


async def test_all_waits_of_a_client_share_the_rate() -> None:
    """Waits and recoveries of a client and its copies look no oftener than max_polls_per_second together."""
    moments: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        moments.append(anyio.current_time())
        return httpx.Response(200, json=run("completed" if len(moments) > 60 else "queued"))

    client = AsyncClient(
        api_key=KEY, base_url="http://test", transport=httpx.MockTransport(answer), max_polls_per_second=200
    )
    copy = client.with_options(timeout=9)
    async with client, anyio.create_task_group() as group:

        async def wait(client: AsyncClient) -> None:
            await client.wait_for_run(THREAD, "run_1", poll=PollPolicy.every(0.001))

        for number in range(50):
            group.start_soon(wait, copy if number % 2 else client)
    seconds = moments[-1] - moments[0]
    assert len(moments) >= 60
    assert (len(moments) - 2) / seconds <= 200 * 1.02


@pytest.mark.parametrize("rate", [0, -1, True, "5", float("nan"), float("inf")])
def test_rates_that_cannot_be_meant(rate: Any) -> None:
    """A rate that is none is refused when the client is made."""
    with pytest.raises(UsageError, match="max_polls_per_second"):
        AsyncClient(api_key=KEY, base_url="http://test", max_polls_per_second=rate)
