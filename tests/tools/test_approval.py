"""What a program may say before a tool is called."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import Allow, Deny, PendingCall, Replace, Toolset, UsageError, tool

from .helpers import call, outputs, run_of

pytestmark = pytest.mark.anyio

made: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


@tool
async def pay(amount: int, to: str = "Ada") -> str:
    made.append((amount, to))
    return f"{amount} to {to}"


RUN = run_of(call("1", "pay", {"amount": 5}))


async def answer(verdict: object, *, is_async: bool = False, **settings: Any) -> str:
    """Return the output of the one call, with a verdict on it."""

    async def decide(_: PendingCall) -> Any:
        await checkpoint()
        return verdict

    toolset = Toolset([pay], before_call=decide if is_async else lambda _: cast("Any", verdict), **settings)
    return outputs(await toolset.begin().answer(RUN))["1"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("verdict", "output", "calls"),
    [
        (None, "5 to Ada", [(5, "Ada")]),
        (True, "5 to Ada", [(5, "Ada")]),
        (Allow(), "5 to Ada", [(5, "Ada")]),
        (False, "Error: the call was denied", []),
        (Deny(), "Error: the call was denied", []),
        (Deny("ask a human"), "Error: the call was denied: ask a human", []),
        (Replace(output="done"), "done", []),
        (Replace(output=None), "null", []),
        (Replace(output={"paid": 5}), '{"paid":5}', []),
        (Replace(arguments={"amount": 1, "to": "Bob"}), "1 to Bob", [(1, "Bob")]),
    ],
)
async def test_verdicts(verdict: object, output: str, calls: list[object], is_async: bool) -> None:
    """A call is made, denied, answered or changed, by a sync or async function."""
    assert output == await answer(verdict, is_async=is_async)
    assert calls == made


@pytest.mark.parametrize(
    ("verdict", "error", "message"),
    [
        ("yes", TypeError, "before_call must return Allow, Deny, Replace, a bool or None, got 'yes'"),
        (Allow, TypeError, "got <class"),
        (
            Replace(arguments={"amount": "5"}),
            UsageError,
            "before_call has replaced the arguments of tool pay: amount: exp",
        ),
        (Replace(output=object()), UsageError, "object cannot be sent as JSON"),
    ],
)
@pytest.mark.parametrize("on_error", ["output", "raise"])
async def test_bad_verdicts(verdict: object, error: type[Exception], message: str, on_error: str) -> None:
    """They are the program's own mistake, and raised whatever becomes of tools that fail."""
    with pytest.raises(error, match=message):
        await answer(verdict, on_error=on_error)
    assert [] == made


async def test_what_it_raises() -> None:
    """It passes as it is; the call is not made, the others are cancelled, and the account is true."""
    was_cancelled = False

    async def wait() -> None:
        nonlocal was_cancelled
        try:
            await anyio.sleep_forever()
        finally:
            was_cancelled = True

    async def decide(pending: PendingCall) -> bool:
        if pending.name == "pay":
            while not rounds.attempted:
                await checkpoint()
            raise PermissionError("no money today")
        return True

    rounds = Toolset([pay, wait], before_call=decide).begin()
    with pytest.raises(PermissionError, match="no money today"):
        await rounds.answer(run_of(call("1", "pay", {"amount": 5}), call("2", "wait")))
    assert [] == made
    assert was_cancelled
    assert ("2",) == rounds.attempted


async def test_what_it_is_told() -> None:
    """It sees the call with its arguments decoded, and the run; what it does to the arguments changes nothing."""
    seen: list[PendingCall] = []

    def decide(pending: PendingCall) -> None:
        seen.append(pending)
        cast("dict[str, object]", pending.arguments)["amount"] = 1000

    @tool
    def note(items: object) -> object:
        return items

    def spoil(pending: PendingCall) -> None:
        cast("Any", pending.arguments)["items"].append(1)

    await Toolset([pay], before_call=decide).begin().answer(RUN)
    answered = await Toolset([note], before_call=spoil).begin().answer(run_of(call("1", "note", {"items": []})))

    (pending,) = seen
    assert ("1", "pay", RUN) == (pending.id, pending.name, pending.run)
    assert [(5, "Ada")] == made
    assert {"1": "[]"} == outputs(answered)
    assert "amount" not in repr(pending)


async def test_what_it_is_not_asked() -> None:
    """Calls that cannot be made anyhow: unknown tools, and arguments that do not fit."""

    def decide(_: PendingCall) -> Deny:
        raise AssertionError

    toolset = Toolset([pay], before_call=decide)
    told = outputs(await toolset.begin().answer(run_of(call("1", "steal"), call("2", "pay", {"amount": "5"}))))
    assert "there is no tool 'steal'" in told["1"]
    assert "amount: expected an integer" in told["2"]


async def test_it_may_take_its_time() -> None:
    """Its time is not that of the tool; but the run's time is bounded, and a call is not made unasked."""

    async def decide(_: PendingCall) -> None:
        await anyio.sleep(0.02)

    assert "5 to Ada" == outputs(await Toolset([pay], timeout=0.01, before_call=decide).begin().answer(RUN))["1"]
    made.clear()

    async def never(_: PendingCall) -> None:
        await anyio.sleep_forever()

    rounds = Toolset([pay], before_call=never).begin(clock=lambda: 999.98)
    with anyio.fail_after(5):
        answered = await rounds.answer(run_of(call("1", "pay", {"amount": 5}), expires_at=1000))
    assert {"1": "Error: the tool was given up because the run is about to expire"} == outputs(answered)
    assert [] == made
    assert () == rounds.attempted


async def test_calls_are_asked_for_in_their_order() -> None:
    """One after the other where only one is made at a time."""
    order: list[str] = []

    async def decide(pending: PendingCall) -> None:
        order.append(f"ask {pending.id}")
        await checkpoint()
        order.append(f"make {pending.id}")

    toolset = Toolset([pay], before_call=decide, max_concurrency=1)
    await toolset.begin().answer(run_of(*(call(str(n), "pay", {"amount": n}) for n in range(3))))

    assert [f"{what} {n}" for n in range(3) for what in ("ask", "make")] == order


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_inside_of_it(anyio_backend: str) -> None:
    """A task it waits for and somebody else cancels is a failure of its own, not the end of the run's task."""

    async def decide(_: PendingCall) -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    with pytest.raises(RuntimeError, match="what it waited for was cancelled"):
        await Toolset([pay], before_call=decide).begin().answer(RUN)
    assert [] == made


@pytest.mark.parametrize("facts", [{}, {"output": "a", "arguments": {}}])
def test_replace_takes_one_of_two(facts: Mapping[str, Any]) -> None:
    """Either an output or arguments."""
    with pytest.raises(TypeError, match="Replace takes either an output or arguments"):
        Replace(**facts)
