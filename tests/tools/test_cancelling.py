"""Cancellation while tools are called."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import Toolset, tool

from .helpers import Gate, add, call, double, outputs, run_of

pytestmark = pytest.mark.anyio


async def test_a_cancellation_tells_what_was_done() -> None:
    """The exception has a note: which calls were made, and which of them ended."""
    gate = Gate()

    @tool
    async def wait() -> None:
        await gate.enter()

    rounds = Toolset([wait, double]).begin()
    await rounds.answer(run_of(call("1", "double", {"x": 1})))
    notes: list[str] = []
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def answer() -> None:
                try:
                    await rounds.answer(run_of(call("2", "wait"), call("3", "wait"), call("4", "nothing")))
                except anyio.get_cancelled_exc_class() as error:
                    notes.extend(error.__notes__)
                    raise

            group.start_soon(answer)
            while gate.inside < 2:
                await checkpoint()
            scope.cancel()

    assert [
        "while tools were called for run run_1: attempted: 1, 2, 3; completed: 1; may have had effects: 2, 3"
    ] == notes
    assert 0 == gate.inside


async def test_cancelled_while_nothing_was_begun() -> None:
    """The note says that too."""
    rounds = Toolset([add]).begin()
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await rounds.answer(run_of(call("1", "add", {"x": 1})))
        except anyio.get_cancelled_exc_class() as error:
            assert error.__notes__[0].startswith("while tools were called for run run_1: attempted: ")
            raise


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation(anyio_backend: str) -> None:
    """A task cancelled by asyncio's own means ends its tools, and has the note."""
    gate = Gate()

    @tool
    async def wait() -> None:
        await gate.enter()

    rounds = Toolset([wait]).begin()
    task = asyncio.create_task(rounds.answer(run_of(call("1", "wait"))))
    while not gate.inside:
        await checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    assert [
        "while tools were called for run run_1: attempted: 1; completed: none; may have had effects: 1"
    ] == caught.value.__notes__
    assert 0 == gate.inside


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_inside_of_a_tool(anyio_backend: str) -> None:
    """A task that a tool waits for and somebody else cancels fails the call, not the run."""

    async def lookup() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    answered = (
        await Toolset([lookup, double]).begin().answer(run_of(call("1", "lookup"), call("2", "double", {"x": 1})))
    )

    assert {"1": "Error: the tool failed: RuntimeError: what it waited for was cancelled", "2": "2"} == outputs(
        answered
    )


@pytest.mark.parametrize("fails", [True, False])
async def test_a_blocked_thread_does_not_hold_up_a_cancellation(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The wait ends at once; the thread goes on to its end, and what it raises then is logged."""
    release, begun, is_over = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        release.wait(5)
        is_over.set()
        if fails:
            raise ValueError("too late")

    rounds = Toolset([block]).begin()
    try:
        with anyio.fail_after(4):
            async with anyio.create_task_group() as group:
                group.start_soon(rounds.answer, run_of(call("1", "block")))
                while not begun.is_set():
                    await checkpoint()
                group.cancel_scope.cancel()
    finally:
        release.set()

    assert ("1",) == rounds.attempted
    assert () == rounds.completed
    with anyio.fail_after(4):
        while not is_over.is_set() or len(caplog.records) < fails:
            await checkpoint()
    assert [record.message for record in caplog.records] == (
        ["tool block failed when nobody waited for it any longer"] if fails else []
    )


@pytest.mark.parametrize("moment", range(18))
async def test_cancelled_at_any_moment(moment: int) -> None:
    """Nothing is left running, the account is true, and asked again nothing is done twice."""
    count = 0
    inside = 0
    done: list[int] = []

    async def step() -> None:
        nonlocal count
        count += 1
        if count == moment:
            scope.cancel()
        await checkpoint()

    async def before(_: object) -> bool:
        await step()
        return True

    @tool
    async def work(x: int) -> int:
        nonlocal inside
        inside += 1
        try:
            await step()
            done.append(x)
            await step()
            return x
        finally:
            inside -= 1

    rounds = Toolset([work], before_call=before, max_concurrency=2).begin()
    run = run_of(*(call(str(n), "work", {"x": n}) for n in range(5)))
    with anyio.CancelScope() as scope:
        await rounds.answer(run)

    assert 0 == inside
    assert set(rounds.completed) <= set(rounds.attempted)
    assert {str(n) for n in done} <= set(rounds.attempted)
    assert scope.cancelled_caught == (1 <= moment <= 15)
    scope = anyio.CancelScope()
    moment = -1
    told = outputs(await rounds.answer(run))
    assert sorted(set(done)) == sorted(done)
    for n in range(5):
        interrupted = "Error: the call was interrupted before it gave an output; it may have had effects"
        assert told[str(n)] in (str(n), interrupted)
        assert (told[str(n)] == str(n)) <= (n in done)
