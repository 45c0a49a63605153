"""The clock tests move on."""

from __future__ import annotations

import math
import time

import anyio
import pytest

from asyncassist import UsageError
from asyncassist.testing import Clock

pytestmark = pytest.mark.anyio


async def test_a_clock_with_a_start_stands_still() -> None:
    """Without being moved it gives the same time, to the fraction."""
    clock = Clock(100.5)
    await anyio.sleep(0.01)

    assert clock() == 100.5
    assert repr(clock) == "<Clock 100.500 standing>"


async def test_a_clock_without_a_start_goes_with_the_machine() -> None:
    """It is the machine's time, and as far ahead of it as it was moved."""
    clock = Clock()
    before = clock() - time.time()
    await clock.advance(600)
    after = clock() - time.time()

    assert before == pytest.approx(0, abs=0.1)
    assert after == pytest.approx(600, abs=0.1)
    assert "standing" not in repr(clock)


@pytest.mark.parametrize("start", [100.0, None], ids=["standing", "going"])
async def test_who_sleeps_is_woken_in_order(start: float | None) -> None:
    """Moving over several waits ends them one after the other, each at its own time."""
    clock = Clock(start)
    began = clock()
    woken: list[str] = []
    times: list[float] = []

    async def sleep(name: str, *lengths: float) -> None:
        for seconds in lengths:
            await clock.sleep(seconds)
            woken.append(name)
            times.append(clock() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep, "late", 50)
        tasks.start_soon(sleep, "twice", 10, 25)
        tasks.start_soon(sleep, "never", 1000)
        await clock.advance(60)
        assert woken == ["twice", "twice", "late"]
        assert times == pytest.approx([10, 35, 50], abs=5)  # one that goes has gone a little further
        assert clock() - began == pytest.approx(60, abs=5)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("start", [100.0, None], ids=["standing", "going"])
async def test_a_pause_ends_with_the_clock(start: float | None) -> None:
    """A pause is over as soon as the clock has been moved beyond it."""
    clock = Clock(start)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.pause, 3600)
        await clock.advance(3599)
        assert clock._pausing
        await clock.advance(2)
        assert not clock._pausing


async def test_a_pause_ends_with_the_machine() -> None:
    """A pause does not hang where nobody moves the clock, even where that stands still."""
    clock = Clock(100)
    with anyio.fail_after(10):
        await clock.pause(0.01)

    assert clock() == 100


async def test_a_going_clock_wakes_by_itself() -> None:
    """What sleeps by a clock that goes with the machine's is woken without a move."""
    with anyio.fail_after(10):
        await Clock().sleep(0.01)


async def test_a_standing_clock_wakes_nobody_by_itself() -> None:
    """What sleeps by a clock that stands is not woken by the machine's."""
    with anyio.move_on_after(0.03) as scope:
        await Clock(100).sleep(0.001)

    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_wait_is_a_step_of_the_loop(seconds: float) -> None:
    """Sleeping for no time at all lets others go on, and returns."""
    others: list[int] = []

    async def other() -> None:
        others.append(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await Clock(100).sleep(seconds)
        await Clock(100).pause(seconds)
        assert others == [1]


async def test_a_wait_that_is_given_up_is_forgotten() -> None:
    """A sleeper that was cancelled makes no step any more."""
    clock = Clock(100)
    with anyio.move_on_after(0.01):
        await clock.sleep(5)

    assert not clock._sleeping


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
async def test_a_move_that_is_none(seconds: float) -> None:
    """A clock is not moved back, and not for ever."""
    with pytest.raises(UsageError, match="0 or more"):
        await Clock(100).advance(seconds)


@pytest.mark.parametrize("start", [-1, math.inf, math.nan])
async def test_a_start_that_is_none(start: float) -> None:
    """A clock starts at a time."""
    with pytest.raises(UsageError, match="Unix seconds"):
        Clock(start)
