"""The time calls have."""

from __future__ import annotations

import math
import threading

import anyio
import pytest

from asyncassist import Toolset, tool

from .helpers import call, double, outputs, run_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("own", "general", "left", "allowed"),
    [
        (None, None, None, math.inf),
        (3, None, None, 3),
        (None, 4, None, 4),
        (3, 4, None, 3),
        (5, 4, None, 5),
        (None, None, 100, 95),
        (None, None, 10, 9),
        (7, None, 10, 7),
        (9.5, None, 10, 9),
        (None, None, 0, math.inf),
        (None, None, -50, math.inf),
        (None, None, 10**12, 10**12 - 5),
    ],
)
async def test_the_time_of_a_call(own: float | None, general: float | None, left: int | None, allowed: float) -> None:
    """The tool's own timeout, else the toolset's, and always a little before the run expires, if the clocks agree."""
    seen = 0.0

    @tool(timeout=own)
    async def look() -> None:
        nonlocal seen
        seen = anyio.current_effective_deadline() - anyio.current_time()

    rounds = Toolset([look], timeout=general).begin(clock=lambda: 1_000_000.0)
    await rounds.answer(run_of(call("1", "look"), expires_at=None if left is None else 1_000_000 + left))

    assert allowed == pytest.approx(seen, abs=0.5)


async def test_a_call_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    """The model is told, the log too, and the other calls are not touched."""
    was_cancelled = False

    @tool(timeout=0.01)
    async def sleep() -> None:
        nonlocal was_cancelled
        try:
            await anyio.sleep_forever()
        finally:
            was_cancelled = True

    rounds = Toolset([sleep, double]).begin()
    answered = await rounds.answer(run_of(call("1", "sleep"), call("2", "double", {"x": 1})))

    assert {"1": "Error: the tool did not end within 0.01 s", "2": "2"} == outputs(answered)
    assert was_cancelled
    assert {"1", "2"} == set(rounds.attempted)
    assert ("2",) == rounds.completed
    assert [("WARNING", "tool sleep did not end within 0.01 s (call 1 of run run_1)")] == [
        (record.levelname, record.message) for record in caplog.records
    ]


async def test_a_run_that_is_about_to_expire() -> None:
    """Calls that are under way, and those that wait for their turn, are given up in time."""

    @tool(timeout=60)
    async def sleep() -> None:
        await anyio.sleep_forever()

    rounds = Toolset([sleep], max_concurrency=1).begin(clock=lambda: 999.99)
    with anyio.fail_after(5):
        answered = await rounds.answer(run_of(call("1", "sleep"), call("2", "sleep"), expires_at=1000))

    assert {
        "1": "Error: the tool was given up because the run is about to expire",
        "2": "Error: the tool was not called because the run is about to expire",
    } == outputs(answered)
    assert ("1",) == rounds.attempted
    assert () == rounds.completed


async def test_a_tool_that_raises_a_timeout_of_its_own() -> None:
    """It is told apart from the toolset's."""

    @tool(timeout=60)
    async def read() -> None:
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    assert {"1": "Error: the tool failed: TimeoutError"} == outputs(
        await Toolset([read]).begin().answer(run_of(call("1", "read")))
    )


async def test_a_thread_that_blocks() -> None:
    """Nobody waits for it when its time is up."""
    release = threading.Event()

    @tool(timeout=0.01)
    def block() -> None:
        release.wait(5)

    rounds = Toolset([block]).begin()
    try:
        with anyio.fail_after(4):
            answered = await rounds.answer(run_of(call("1", "block"), call("2", "block")))
    finally:
        release.set()

    assert dict.fromkeys("12", "Error: the tool did not end within 0.01 s") == outputs(answered)
    assert () == rounds.completed
