"""Answering the calls of a run: at the same time, in time, once, and in order."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import threading
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import Run, ToolError, Toolset, UsageError, tool
from asyncassist.models import ToolOutput

from .helpers import call, outputs, run_of

pytestmark = pytest.mark.anyio

PERSON: contextvars.ContextVar[str] = contextvars.ContextVar("PERSON", default="nobody")


class Gate:
    """Counts who is inside and lets them out together."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.opened = anyio.Event()

    async def enter(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.opened.wait()
        finally:
            self.inside -= 1


def double(x: int) -> int:
    return 2 * x


async def add(x: int, y: int = 1) -> int:
    await checkpoint()
    return x + y


async def test_a_round() -> None:
    """The outputs come in the order of the calls, whatever order the calls end in."""
    first_may_end = anyio.Event()

    async def slow() -> str:
        await first_may_end.wait()
        return "slow"

    async def fast() -> str:
        first_may_end.set()
        return "fast"

    rounds = Toolset([slow, fast, double, add]).begin()
    answered = await rounds.answer(
        run_of(call("1", "slow"), call("2", "fast"), call("3", "double", {"x": 4}), call("4", "add", {"x": 2}))
    )

    assert (
        tuple(ToolOutput(tool_call_id=str(n + 1), output=o) for n, o in enumerate(["slow", "fast", "8", "3"]))
        == answered
    )
    assert {"1", "2", "3", "4"} == set(rounds.attempted) == set(rounds.completed)
    assert rounds.completed.index("2") < rounds.completed.index("1")


async def test_a_run_that_requires_nothing() -> None:
    """It gives no outputs."""
    rounds = Toolset([double]).begin()

    assert () == await rounds.answer(Run(id="run_1", thread_id="thread_1", status="in_progress"))
    assert () == rounds.attempted == rounds.completed


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (None, 20), (10, 10)])
async def test_how_many_calls_run_at_a_time(limit: int | None, most: int) -> None:
    """As many as allowed, and no more."""
    gate = Gate()

    @tool
    async def wait() -> None:
        await gate.enter()

    rounds = Toolset([wait], max_concurrency=limit).begin()
    async with anyio.create_task_group() as group:
        group.start_soon(rounds.answer, run_of(*(call(str(n), "wait") for n in range(20))))
        with anyio.fail_after(5):
            while gate.inside < most:
                await checkpoint()
        for _ in range(20):
            await checkpoint()
        assert most == gate.inside
        gate.opened.set()

    assert most == gate.most
    assert 20 == len(rounds.completed)


async def test_sync_functions_run_at_the_same_time() -> None:
    """Each in a thread of its own, so that the event loop goes on."""
    barrier = threading.Barrier(3)
    main = threading.get_ident()

    def meet() -> bool:
        barrier.wait(5)
        return threading.get_ident() != main

    answered = await Toolset([meet]).begin().answer(run_of(*(call(str(n), "meet") for n in range(3))))

    assert {"0": "true", "1": "true", "2": "true"} == outputs(answered)


async def test_context_variables() -> None:
    """Tools see the context variables of the task that waits; what they set is their own."""

    async def in_task() -> str:
        name = PERSON.get()
        PERSON.set("task")
        return name

    def who() -> str:
        return PERSON.get()

    token = PERSON.set("Ada")
    try:
        rounds = Toolset([in_task, who], max_concurrency=1).begin()
        answered = await rounds.answer(run_of(call("1", "in_task"), call("2", "who")))

        assert {"1": "Ada", "2": "Ada"} == outputs(answered)
        assert "Ada" == PERSON.get()
    finally:
        PERSON.reset(token)


async def test_functions_that_return_awaitables() -> None:
    """A sync function in front of an async one is awaited too."""

    def front() -> Any:
        return add(1)

    class Object:
        async def __call__(self) -> str:
            return "object"

    toolset = Toolset([front, tool(Object(), name="object")])
    assert {"1": "2", "2": "object"} == outputs(
        await toolset.begin().answer(run_of(call("1", "front"), call("2", "object", "")))
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"x": "1"}', "x: expected an integer, got a string"),
        ("{}", "x: is missing; expected an integer"),
        ('{"x": 1, "z": 2}', "z: is unknown; the names are x, y"),
        ('{"x": true, "y": null}', "x: expected an integer, got a boolean; y: expected an integer, got null"),
        ("[1]", "expected a JSON object with the arguments by name"),
        ("null", "expected a JSON object with the arguments by name"),
        ("{x: 1}", "the text is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"x": NaN}', "x: NaN and Infinity are no JSON"),
        ('{"x": 1e999}', "the text is not JSON: a number is out of range"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "the text is nested too deeply"),
        ('{"x": ' + "[" * 250 + "]" * 250 + "}", None),
        ('{"x": ' + "9" * 5000 + "}", None),
        ('{"x": 1, "' + "z" * 100_000 + '": 1}', None),
        ("{" + ",".join(f'"z{n}": 1' for n in range(50)) + "}", None),
        ('{"x": 1, "\\ud800": 1}', "['\\ud800']: is unknown; the names are x, y"),
    ],
)  # fmt: skip
async def test_bad_arguments(text: str, message: str | None) -> None:
    """The model is told what is wrong with each argument, shortly; the function is not called."""
    rounds = Toolset([add]).begin()

    (answer,) = await rounds.answer(run_of(call("1", "add", text)))

    assert str(answer.output).startswith("Error: the arguments do not fit: ")
    assert len(str(answer.output)) < 2000
    if message is not None:
        assert f"Error: the arguments do not fit: {message}" == answer.output
    assert () == rounds.attempted


@pytest.mark.parametrize("text", ["", " \n", "{}", '\ufeff{"x": 1}', '{"x": 2, "x": 1}'])
async def test_good_arguments(text: str) -> None:
    """No text at all stands for no arguments; of an argument given twice the last one counts."""

    async def echo(x: int = 1) -> int:
        return x

    assert {"1": "1"} == outputs(await Toolset([echo]).begin().answer(run_of(call("1", "echo", text))))


async def test_the_last_problems_are_counted() -> None:
    """Of many wrong arguments the model is told the first."""
    answered = await Toolset([double]).begin().answer(run_of(call("1", "double", {f"z{n}": 1 for n in range(20)})))

    assert outputs(answered)["1"].count("is unknown") == 7
    assert outputs(answered)["1"].endswith("; and 13 more")


async def test_unknown_tools() -> None:
    """Asked for once, the model is told what there is, also for several in one round; the next time is an error."""
    rounds = Toolset([double, add]).begin()
    run = run_of(call("1", "search\n"), call("2", "double", {"x": 1}), call("3", "x" * 1000))

    told = outputs(await rounds.answer(run))
    assert r"Error: there is no tool 'search\n'; the tools are: double, add" == told["1"]
    assert "2" == told["2"]
    assert len(told["3"]) < 200
    assert "2" == outputs(await rounds.answer(run_of(call("4", "double", {"x": 1}))))["4"]

    again = run_of(call("5", "double", {"x": 1}), call("6", "search"))
    with pytest.raises(ToolError, match="run run_1 asks again for a tool that does not exist: 'search'") as caught:
        await rounds.answer(again)
    error = caught.value
    assert ("search", "6", again) == (error.tool, error.call_id, error.run)
    assert ("2", "4") == error.attempted == error.completed == rounds.attempted
    assert "the tools are: none" in str((await Toolset([]).begin().answer(run_of(call("1", "a"))))[0].output)


async def test_too_many_rounds() -> None:
    """More rounds than allowed are an error, before anything is called."""
    rounds = Toolset([double], max_rounds=2).begin()
    for n in range(2):
        await rounds.answer(run_of(call(str(n), "double", {"x": n})))

    with pytest.raises(ToolError, match="run run_1 asks for tools again after max_rounds=2 rounds") as caught:
        await rounds.answer(run_of(call("2", "double", {"x": 2})))
    assert ("0", "1") == caught.value.attempted
    assert caught.value.tool is caught.value.call_id is None
    assert ("1",) == tuple(outputs(await rounds.answer(run_of(call("1", "double", {"x": 1})))))

    endless = Toolset([double], max_rounds=None).begin()
    for n in range(30):
        await endless.answer(run_of(call(str(n), "double", {"x": n})))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            run_of(call("1", "double"), action="submit_tool_approval"),
            "an action of the unknown type 'submit_tool_approval'",
        ),
        (run_of(call("1", "double", {"x": 1}), call("2", "f", kind="mcp")), "a call of the unknown type 'mcp'"),
        (run_of(), "an action but names no tool call"),
        (Run(id="run_1", thread_id="thread_1", status="requires_action"), "an action but names no tool call"),
    ],
)
async def test_what_is_no_call_of_a_function(run: Run, message: str) -> None:
    """A run that requires something else is an error that names it; nothing is called."""
    rounds = Toolset([double]).begin()

    with pytest.raises(ToolError, match=f"run run_1 requires {message}") as caught:
        await rounds.answer(run)
    assert caught.value.run is run
    assert () == rounds.attempted


async def test_a_call_is_made_once() -> None:
    """Asked again for calls it has answered, the toolset gives the same outputs; one call twice is one."""
    count = 0

    @tool
    async def increase() -> int:
        nonlocal count
        count += 1
        return count

    rounds = Toolset([increase], max_rounds=2).begin()
    first = await rounds.answer(run_of(call("1", "increase"), call("1", "increase")))
    assert first == await rounds.answer(run_of(call("1", "increase")))
    assert {"1": "1", "2": "2"} == outputs(await rounds.answer(run_of(call("1", "increase"), call("2", "increase"))))
    assert 2 == count


async def test_ids_that_are_used_again() -> None:
    """Servers that number the calls of each round from the start get outputs of the calls they mean."""
    rounds = Toolset([double]).begin()

    assert {"0": "2"} == outputs(await rounds.answer(run_of(call("0", "double", {"x": 1}))))
    assert {"0": "4"} == outputs(await rounds.answer(run_of(call("0", "double", {"x": 2}))))
    same = await rounds.answer(run_of(call("", "double", {"x": 3}), call("", "double", {"x": 4})))
    assert ["6", "8"] == [item.output for item in same]


async def test_two_tasks_at_once() -> None:
    """The rounds of a run are answered one after the other."""
    gate = Gate()

    @tool
    async def wait() -> None:
        await gate.enter()

    rounds = Toolset([wait]).begin()
    async with anyio.create_task_group() as group:
        group.start_soon(rounds.answer, run_of(call("1", "wait")))
        while not gate.inside:
            await checkpoint()
        with pytest.raises(UsageError, match="the calls of run run_1 are being answered already"):
            await rounds.answer(run_of(call("2", "wait")))
        gate.opened.set()
    assert ("2",) == tuple(outputs(await rounds.answer(run_of(call("2", "wait")))))


# --- time ------------------------------------------------------------------------------------------------------------


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


async def test_a_thread_that_blocks(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it when its time is up; it goes on to its end, and what it raises then is logged."""
    release, is_over = threading.Event(), threading.Event()

    @tool(timeout=0.01)
    def block(fails: bool) -> int:
        release.wait(5)
        try:
            if fails:
                raise ValueError("too late")
            return 5
        finally:
            is_over.set()

    rounds = Toolset([block]).begin()
    try:
        with anyio.fail_after(5):
            answered = await rounds.answer(
                run_of(call("1", "block", {"fails": True}), call("2", "block", {"fails": False}))
            )
    finally:
        release.set()

    assert dict.fromkeys("12", "Error: the tool did not end within 0.01 s") == outputs(answered)
    assert () == rounds.completed
    with anyio.fail_after(5):
        while not any("nobody waited" in record.message for record in caplog.records):
            await anyio.sleep(0.001)
    assert is_over.is_set()


# --- failures --------------------------------------------------------------------------------------------------------


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


# --- cancellation ----------------------------------------------------------------------------------------------------


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


async def test_a_blocked_thread_does_not_hold_up_a_cancellation() -> None:
    """The wait ends at once; the thread is left to itself."""
    release, begun = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        release.wait(5)

    rounds = Toolset([block]).begin()
    try:
        with anyio.fail_after(2):
            async with anyio.create_task_group() as group:
                group.start_soon(rounds.answer, run_of(call("1", "block")))
                while not begun.is_set():
                    await checkpoint()
                group.cancel_scope.cancel()
    finally:
        release.set()
    assert ("1",) == rounds.attempted
    assert () == rounds.completed


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
