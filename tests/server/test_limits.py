"""What bounds a run: its tokens, how much of its thread its backend gets to see, and what it has used when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from asyncassist._wire.converter import unstructure
from asyncassist.models import RunCompletionUsage, RunStep
from asyncassist.server import BackendError, FunctionCall, Reply, Turn

from .helpers import Clock, Json
from .reading import STARTED, last_run, names, path_of, serving

pytestmark = pytest.mark.anyio

ROUND = RunCompletionUsage(prompt_tokens=200, completion_tokens=100, total_tokens=300)
CALL = FunctionCall("f")


class Chatty:
    """Asks for a tool in every turn, until it fails or is stopped."""

    def __init__(self, turns: int = 100) -> None:
        self.left = turns
        self.turns: list[Turn] = []

    async def answer(self, turn: Turn) -> Reply:
        self.turns.append(turn)
        self.left -= 1
        if self.left < 0:
            raise BackendError("enough", code="invalid_prompt")
        return Reply(tool_calls=[CALL], usage=ROUND)


# Tokens.


@pytest.mark.parametrize(
    ("limits", "turns", "reason"),
    [
        ({"max_prompt_tokens": 400}, 2, "max_prompt_tokens"),
        ({"max_completion_tokens": 300}, 3, "max_completion_tokens"),
        ({"max_prompt_tokens": 999, "max_completion_tokens": 256}, 3, "max_completion_tokens"),
    ],
)
async def test_a_run_that_has_used_its_tokens_is_incomplete(
    clock: Clock, limits: dict[str, int], turns: int, reason: str
) -> None:
    """Over its turns a run may use so many tokens; where none are left it is not asked for another answer."""
    backend = Chatty()
    async with serving(clock, backend) as here:
        async with await here.run(**limits) as stream:
            events = await stream.rest()
        while last_run(events).status == "requires_action":
            async with here.outputs(last_run(events), "x") as stream:
                events = await stream.rest()
        run = last_run(events)
        steps = await here.list(f"{path_of(run)}/steps", RunStep)
        again = await here.api.run(run.thread_id, assistant_id=run.assistant_id)

    assert ["thread.run.step.completed", *STARTED[1:], "thread.run.incomplete", "done"] == names(events)
    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason) == ("incomplete", reason)
    assert run.usage is not None
    assert (len(backend.turns[: len(steps)]), run.usage.total_tokens) == (turns, turns * 300)
    assert [step.status for step in steps] == ["completed"] * turns
    assert again["status"] == "queued"


async def test_a_run_within_its_tokens_goes_on(clock: Clock) -> None:
    """Limits that are not reached change nothing."""
    async with serving(clock, Chatty()) as here:
        async with await here.run(max_prompt_tokens=401, max_completion_tokens=256) as stream:
            run = last_run(await stream.rest())
        for _ in range(2):
            async with here.outputs(run, "x") as stream:
                run = last_run(await stream.rest())

    assert run.status == "requires_action"


@pytest.mark.parametrize("ending", ["cancelled", "expired", "failed"])
async def test_a_run_says_what_it_has_used_however_it_ends(clock: Clock, ending: str) -> None:
    """The usage is null until a run has ended, and that of its turns then, also where there is no answer."""
    async with serving(clock, Chatty(turns=2)) as here:
        async with await here.run() as stream:
            run = last_run(await stream.rest())
        async with here.outputs(run, "x") as stream:
            run = last_run(await stream.rest())
        waiting = await here.api.get(path_of(run))
        if ending == "cancelled":
            await here.api.post(f"{path_of(run)}/cancel")
        elif ending == "expired":
            await clock.advance(600)
        else:
            await here.api.post(f"{path_of(run)}/submit_tool_outputs", tool_outputs=[{"output": "x"}])
        ended = await here.api.until(waiting, ending)
        last, first = (await here.api.get(f"{path_of(run)}/steps"))["data"]

    assert (waiting["status"], waiting["usage"]) == ("requires_action", None)
    assert ended["usage"] == {"prompt_tokens": 400, "completion_tokens": 200, "total_tokens": 600}
    assert last["status"] == ("completed" if ending == "failed" else ending)
    assert first["usage"] == last["usage"] == {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}
    assert ended["last_error"] == ({"code": "invalid_prompt", "message": "enough"} if ending == "failed" else None)


# What a backend sees.


async def test_a_backend_sees_all_a_run_was_given(clock: Clock) -> None:
    """Whatever bounds or steers the answer is in the turn's run, the request's own before the assistant's."""
    given: Json = {
        "model": "m2",
        "instructions": "be brief",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
        "temperature": 0.1,
        "top_p": 0.2,
        "max_prompt_tokens": 300,
        "max_completion_tokens": 400,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "reasoning_effort": "high",
    }
    backend = Chatty()
    async with serving(clock, backend) as here:
        created = await here.api.run(
            await here.api.thread("one", "two"),
            **given,
            additional_instructions="be kind",
            additional_messages=[{"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}],
        )
        await here.api.until(created, "requires_action")
        (turn,) = backend.turns
        seen = [message.text for message in await turn.messages()]

    run: Any = unstructure(turn.run)
    assert given | {"instructions": "be brief\nbe kind"} == {name: run[name] for name in given}
    assert seen == ["three", "four"]


@pytest.mark.parametrize(
    ("lengths", "strategy", "expected"),
    [
        ([400, 400, 400], {"type": "auto"}, [0, 1, 2]),
        ([400, 800, 800, 400], {"type": "auto"}, [0, 3]),
        ([400, 800, 400, 300], {"type": "auto"}, [0, 2, 3]),
        ([1200, 800, 200, 200], {"type": "auto"}, [1, 2, 3]),
        ([400, 4000], {"type": "auto"}, [1]),
        ([4000], {"type": "auto"}, [0]),
        ([], {"type": "auto"}, []),
        ([4000, 4000, 4000], {"type": "last_messages", "last_messages": 2}, [1, 2]),
    ],
)
async def test_a_thread_is_trimmed_to_the_tokens_of_its_run(
    clock: Clock, lengths: list[int], strategy: Json, expected: list[int]
) -> None:
    """By itself the server leaves out the middle of a thread that is too long; asked for a number, it gives that."""
    texts = [str(number) * length for number, length in enumerate(lengths)]
    backend = Chatty()
    async with serving(clock, backend) as here:
        run = await here.api.run(await here.api.thread(*texts), max_prompt_tokens=310, truncation_strategy=strategy)
        await here.api.until(run, "requires_action")
        (turn,) = backend.turns
        seen = [message.text for message in await turn.messages()]

    assert [texts[number] for number in expected] == seen
