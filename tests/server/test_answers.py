"""What a backend may answer: pieces of text, replies, calls of tools; and what it may not."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from asyncassist import UsageError
from asyncassist.models import (
    Message,
    Run,
    RunStep,
    RunStepDetailsToolCallsFunction,
    RunStepFunction,
)
from asyncassist.server import FunctionCall, Reply, ToolRound, Turn

from .helpers import Clock, settle
from .reading import COMPLETED, DELTA, MESSAGE, STARTED, last_run, names, path_of, pieces, serving, snapshots

pytestmark = pytest.mark.anyio


class Doing:
    """A backend made of a function."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer


# Pieces.


@pytest.mark.parametrize("text", [None, "one two"])
async def test_emitted_pieces_are_the_answer(clock: Clock, text: str | None) -> None:
    """The pieces are the text where the reply leaves it out or repeats it; empty pieces are none."""

    async def answer(turn: Turn) -> Reply:
        for piece in ("", "one ", "", "two"):
            await turn.emit(piece)
        return Reply(text)

    async with serving(clock, Doing(answer)) as here, await here.run() as stream:
        events = await stream.rest()

    assert [*STARTED, *MESSAGE, DELTA, DELTA, *COMPLETED] == [event.event for event in events]
    assert [message.text for message in snapshots(events).messages.values()] == ["one two"]


async def test_a_reply_must_not_differ_from_what_was_emitted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A reply whose text is not the sum of the pieces fails the run, in the middle of its message."""

    async def answer(turn: Turn) -> Reply:
        await turn.emit("one")
        return Reply("two")

    async with serving(clock, Doing(answer)) as here, await here.run() as stream:
        events = await stream.rest()

    failed = ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"]
    assert [*STARTED, *MESSAGE, DELTA, *failed] == names(events)
    assert "the pieces a backend emitted are not the text of its reply" in caplog.text


@pytest.mark.parametrize("piece", [None, b"bytes", 3])
async def test_a_piece_is_text(clock: Clock, piece: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Anything else is a TypeError for the backend."""
    raised: list[str] = []

    async def answer(turn: Turn) -> Reply:
        with pytest.raises(TypeError) as caught:
            await turn.emit(piece)
        raised.append(str(caught.value))
        return Reply("text")

    async with serving(clock, Doing(answer)) as here, await here.run() as stream:
        events = await stream.rest()

    assert raised == [f"a piece of an answer is a str, not {type(piece).__name__}"]
    assert pieces(events) == ["text"]


async def test_nothing_is_emitted_after_the_reply(clock: Clock) -> None:
    """A task a backend has left running is told that its turn is over."""
    turns: list[Turn] = []

    async def answer(turn: Turn) -> Reply:
        turns.append(turn)
        return Reply("all")

    async with serving(clock, Doing(answer)) as here, await here.run() as stream:
        events = await stream.rest()
        with pytest.raises(RuntimeError, match="its backend has answered"):
            await turns[0].emit(" and more")
        (message,) = snapshots(events).messages.values()
        stored = await here.read(f"/threads/{message.thread_id}/messages/{message.id}", Message)

    assert (stored, stored.text) == (message, "all")


async def test_several_tasks_may_emit(clock: Clock) -> None:
    """Pieces of several tasks become one message, however their first ones meet."""

    async def answer(turn: Turn) -> Reply:
        async with anyio.create_task_group() as task_group:
            for number in range(10):
                task_group.start_soon(turn.emit, f"{number} ")
        return Reply()

    async with serving(clock, Doing(answer)) as here, await here.run() as stream:
        events = await stream.rest()

    assert [*STARTED, *MESSAGE, *[DELTA] * 10, *COMPLETED] == [event.event for event in events]
    assert sorted(pieces(events)) == [f"{number} " for number in range(10)]


async def test_emitting_lets_others_run(clock: Clock) -> None:
    """A backend that does nothing but emit can be cancelled, and does not keep the event loop to itself."""
    emitted = 0

    async def answer(turn: Turn) -> Reply:
        nonlocal emitted
        while True:
            await turn.emit("on and on ")
            emitted += 1

    async with serving(clock, Doing(answer)) as here:
        async with await here.run() as stream:
            run = last_run(await stream.until(DELTA))
        await here.api.post(f"{path_of(run)}/cancel")
        await settle()
        stopped_at = emitted
        await settle()

    assert 0 < emitted == stopped_at


async def test_a_turn_made_by_hand_emits_to_nobody() -> None:
    """A backend can be called with a turn of one's own: it has no rounds, and what is emitted goes nowhere."""

    async def history(last: int | None) -> list[Message]:
        return []

    turn = Turn(Run(id="run_1", thread_id="thread_1", status="queued"), history)

    await turn.emit("hello")
    assert list(await turn.rounds()) == []


# Tool calls.


async def test_a_backend_sees_what_came_of_its_calls(clock: Clock) -> None:
    """Asked again, it sees every round with its calls, their arguments and outputs, and its own text."""
    seen: list[list[ToolRound]] = []
    texts: list[list[str]] = []

    async def answer(turn: Turn) -> Reply:
        rounds = await turn.rounds()
        seen.append(list(rounds))
        texts.append([message.text for message in await turn.messages()])
        if len(rounds) == 2:
            return Reply("done")
        return Reply(f"round {len(rounds)}", tool_calls=[FunctionCall("f", {"n": len(rounds)}), FunctionCall("g")])

    async with serving(clock, Doing(answer)) as here:
        async with await here.run() as stream:
            run = last_run(await stream.rest())
        async with here.outputs(run, "a", "") as stream:
            run = last_run(await stream.rest())
        async with here.outputs(run, "c", "d") as stream:
            run = last_run(await stream.rest())

    assert run.status == "completed"
    assert [[round.outputs for round in rounds] for rounds in seen] == [[], [("a", "")], [("a", ""), ("c", "d")]]
    assert seen[1][0].calls[0] == RunStepDetailsToolCallsFunction(
        id="call_1", function=RunStepFunction(name="f", arguments='{"n":0}', output="a")
    )
    assert texts == [["hello"], ["hello", "round 0"], ["hello", "round 0", "round 1"]]


async def test_a_backend_may_look_back_while_it_speaks(clock: Clock) -> None:
    """The rounds are those that are over, not what is being said at the moment."""
    seen: list[int] = []

    async def answer(turn: Turn) -> Reply:
        await turn.emit("well")
        seen.append(len(await turn.rounds()))
        return Reply(tool_calls=[FunctionCall("f")] if seen == [0] else ())

    async with serving(clock, Doing(answer)) as here:
        async with await here.run() as stream:
            run = last_run(await stream.rest())
        async with here.outputs(run, "a") as stream:
            run = last_run(await stream.rest())

    assert (run.status, seen) == ("completed", [0, 1])


async def test_calls_that_come_too_late_are_dropped(clock: Clock) -> None:
    """A run that was cancelled before its backend asked for tools ends cancelled, its text incomplete."""

    async def answer(turn: Turn) -> Reply:
        await turn.emit("I see")
        with anyio.CancelScope(shield=True):
            await clock.sleep(1)
        return Reply(tool_calls=[FunctionCall("f")])

    async with serving(clock, Doing(answer)) as here, await here.run() as stream:
        run = last_run(await stream.until(DELTA))
        await here.api.post(f"{path_of(run)}/cancel")
        await clock.advance(1)
        events = await stream.rest()

    ended = ["thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled", "done"]
    assert ["thread.run.cancelling", *ended] == names(events)
    assert [message.text for message in snapshots(events).messages.values()] == ["I see"]


async def test_many_rounds_are_all_seen(clock: Clock) -> None:
    """More rounds than a page of steps holds come in their order."""
    run = Run(id="run_1", thread_id="thread_1", status="queued")
    seen: list[int] = []

    async def answer(turn: Turn) -> Reply:
        rounds = await turn.rounds()
        seen.append(len(rounds))
        if len(rounds) < 120:
            return Reply(tool_calls=[FunctionCall("f", id=f"call_{len(rounds)}")])
        return Reply(" ".join(output for round in rounds for output in round.outputs))

    async with serving(clock, Doing(answer)) as here:
        async with await here.run() as stream:
            run = last_run(await stream.rest())
        for number in range(120):
            async with here.outputs(run, str(number)) as stream:
                events = await stream.rest()
            run = last_run(events)

    assert list(range(121)) == seen
    assert pieces(events) == [" ".join(map(str, range(120)))]


async def test_arguments_go_out_as_they_are(clock: Clock) -> None:
    """A mapping becomes JSON; text is passed on untouched, were it no JSON at all; none at all is an empty object."""
    calls = [
        FunctionCall("a", {"é": [None, 1.5]}),
        FunctionCall("b", "{not json"),
        FunctionCall("c", ""),
        FunctionCall("d"),
    ]

    async def answer(turn: Turn) -> Reply:
        return Reply(tool_calls=calls)

    async with serving(clock, Doing(answer)) as here, await here.run() as stream:
        run = last_run(await stream.rest())
        (step,) = await here.list(f"{path_of(run)}/steps", RunStep)

    arguments = ['{"é":[null,1.5]}', "{not json", "", "{}"]
    assert arguments == [call.function.arguments for call in run.required_tool_calls]
    assert len(step.step_details.tool_calls) == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"text": 3}, TypeError, "str"),
        ({"text": "t", "usage": 3}, TypeError, "RunCompletionUsage"),
        ({"text": "t", "stopped_by": "nothing"}, ValueError, "max_completion_tokens"),
        ({"tool_calls": ["f"]}, TypeError, "FunctionCall"),
        ({"tool_calls": 3}, TypeError, "iterable"),
        ({"tool_calls": [FunctionCall("f", id="x"), FunctionCall("g", id="x")]}, ValueError, "same id"),
        ({"tool_calls": [FunctionCall("f")], "stopped_by": "max_prompt_tokens"}, ValueError, "cut short"),
    ],
)
def test_a_reply_holds_what_it_says(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    """A Reply of the wrong types is refused where it is made, not where it is read."""
    with pytest.raises(error, match=message):
        Reply(**fields)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"name": ""}, UsageError, "^name of a FunctionCall is empty$"),
        ({"name": 3}, TypeError, "^name of a FunctionCall must be a str, got int$"),
        ({"name": "f", "arguments": 3}, TypeError, "^arguments .* must be a mapping, or JSON text in a str, got int$"),
        ({"name": "f", "arguments": {"x": {1}}}, UsageError, "^x: set cannot be sent as JSON$"),
        ({"name": "f", "id": 3}, TypeError, "^id of a FunctionCall must be a str or None, got int$"),
    ],
)
def test_a_call_holds_what_it_says(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    """A FunctionCall of the wrong types is refused where it is made, in words that name the field."""
    with pytest.raises(error, match=message):
        FunctionCall(**fields)
