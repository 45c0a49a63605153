"""Tools that fail."""

from __future__ import annotations

import logging

import anyio
import attrs
import pytest

from asyncassist import ToolError, Toolset, UsageError, tool

from .helpers import call, double, outputs, run_of

pytestmark = pytest.mark.anyio


class SilentError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such city"), "Error: the tool failed: ValueError: no such city"),
        (KeyError("city"), "Error: the tool failed: KeyError: 'city'"),
        (RuntimeError(), "Error: the tool failed: RuntimeError"),
        (ToolError("ask for another"), "Error: the tool failed: ToolError: ask for another"),
        (SilentError("x"), "Error: the tool failed: SilentError"),
        (ValueError("x" * 10_000), f"Error: the tool failed: ValueError: {'x' * 1000}..."),
        (
            ExceptionGroup("g", [ExceptionGroup("h", [ValueError("inside")])]),
            "Error: the tool failed: ValueError: inside",
        ),
        (
            ExceptionGroup("g", [ValueError("a"), ValueError("b")]),
            "Error: the tool failed: ExceptionGroup: g (2 sub-exceptions)",
        ),
        (StopAsyncIteration(), "Error: the tool failed: StopAsyncIteration"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_exceptions(error: Exception, told: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The model is told type and message, shortly; the log has the traceback."""

    async def fail() -> None:
        raise error

    def fail_in_thread() -> None:
        raise error

    rounds = Toolset([tool(fail if kind == "async" else fail_in_thread, name="fail"), double]).begin()
    answered = await rounds.answer(run_of(call("1", "fail"), call("2", "double", {"x": 1})))

    assert {"1": told, "2": "2"} == outputs(answered)
    assert {"1", "2"} == set(rounds.completed)
    (record,) = caplog.records
    assert (logging.WARNING, "asyncassist") == (record.levelno, record.name)
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@attrs.define
class Picky:
    n: int = attrs.field()

    @n.validator
    def _check(self, _: object, value: int) -> None:
        if value == 1:
            raise ValueError("one is none")
        raise LookupError("the list of numbers is gone")


async def test_classes_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    """A validator's ValueError is the model's fault, anything else the tool's."""

    @tool
    def count(picky: Picky) -> int:
        return picky.n

    run = run_of(call("1", "count", {"picky": {"n": 1}}), call("2", "count", {"picky": {"n": 2}}))
    told = outputs(await Toolset([count]).begin().answer(run))
    assert "Error: the arguments do not fit: picky: one is none" == told["1"]
    assert "Error: the tool could not take the arguments: LookupError: the list of numbers is gone" == told["2"]
    assert ["WARNING"] == [record.levelname for record in caplog.records]
    with pytest.raises(ToolError, match="tool count could not take the arguments: LookupError") as caught:
        await Toolset([count], on_error="raise").begin().answer(run)
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("kind", ["raises", "sleeps", "returns"])
async def test_raising_by_choice(kind: str) -> None:
    """With ``on_error="raise"`` a tool that fails raises ToolError, with its exception as the cause."""
    was_cancelled = False
    begun = anyio.Event()

    @tool(timeout=0.01 if kind == "sleeps" else None)
    async def fail() -> object:
        await begun.wait()
        if kind == "raises":
            raise ValueError("no")
        if kind == "sleeps":
            await anyio.sleep_forever()
        return object()

    async def wait() -> None:
        nonlocal was_cancelled
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            was_cancelled = True

    rounds = Toolset([fail, wait, double], on_error="raise").begin()
    await rounds.answer(run_of(call("0", "double", {"x": 1})))
    run = run_of(call("1", "fail"), call("2", "wait"))
    with pytest.raises(ToolError) as caught:
        await rounds.answer(run)

    error = caught.value
    message, cause = {
        "raises": ("tool fail failed: ValueError: no", ValueError),
        "sleeps": ("tool fail did not end within 0.01 s", None),
        "returns": ("tool fail returned what cannot be sent: object cannot be sent as JSON", UsageError),
    }[kind]
    assert message == str(error)
    assert type(error.__cause__) is (type(None) if cause is None else cause)
    assert ("fail", "1", run) == (error.tool, error.call_id, error.run)
    assert {"0", "1", "2"} == set(error.attempted)
    assert ("0",) + (() if kind == "sleeps" else ("1",)) == error.completed
    assert was_cancelled
    # What the model did wrong it is told all the same, and what was interrupted is not done again.
    told = outputs(await rounds.answer(run_of(call("3", "double"), call("4", "nothing"), call("2", "wait"))))
    assert "x: is missing" in told["3"]
    assert "there is no tool" in told["4"]
    assert "Error: the call was interrupted before it gave an output; it may have had effects" == told["2"]


async def test_several_failures_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first one is raised, the others are logged."""
    begun = anyio.Event()

    async def fail(x: int) -> None:
        try:
            if x == 1:
                await begun.wait()
                raise ValueError("first")
            begun.set()
            await anyio.sleep_forever()
        finally:
            if x == 2:
                raise ValueError("second")

    with pytest.raises(ToolError, match="tool fail failed: ValueError: first"):
        await (
            Toolset([fail], on_error="raise").begin().answer(run_of(*(call(str(n), "fail", {"x": n}) for n in (1, 2))))
        )
    assert ["tool fail failed too (call 2)"] == [record.message for record in caplog.records]


@pytest.mark.parametrize("anyio_backend", ["trio"])  # asyncio lets SystemExit out of the event loop itself
async def test_base_exceptions_pass(anyio_backend: str) -> None:
    """What is no Exception ends everything."""

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(BaseExceptionGroup) as caught:
        await Toolset([leave]).begin().answer(run_of(call("1", "leave")))
    assert caught.group_contains(SystemExit)
