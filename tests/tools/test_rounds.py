"""Answering the calls of a run: at the same time, once, and in order."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import Run, ToolError, Toolset, UsageError, tool
from asyncassist.models import ToolOutput

from .helpers import Gate, add, call, double, outputs, run_of

pytestmark = pytest.mark.anyio

PERSON: contextvars.ContextVar[str] = contextvars.ContextVar("PERSON", default="nobody")


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
