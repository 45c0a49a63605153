"""Streamed turns: what they give, what they hold, and what is left when they end early."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from asyncassist import (
    RunFailedError,
    StreamError,
    ToolError,
    Toolset,
    UsageError,
    WaitTimeoutError,
    tool,
)
from asyncassist.server import Failure, FunctionCall, OfflineBackend, Rule
from conversation.helpers import Gate, world

pytestmark = pytest.mark.anyio

ECHO = Rule(say="You said: {message}")


async def test_a_streamed_turn_gives_its_text_and_its_reply() -> None:
    """Text in pieces; the reply inside the block and after it; steps and messages as of a stream of a run."""
    async with world(OfflineBackend([ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        stream = talk.stream("Hello")
        assert (here.way.asked, stream.run, stream.messages, stream.steps) == ([], None, (), ())
        async with stream:
            pieces = [piece async for piece in stream.text()]
            inside = stream.reply()

        assert pieces == ["You ", "said: ", "Hello"]
        assert inside == stream.reply()
        assert (inside.text, inside.run.status) == ("You said: Hello", "completed")
        assert inside.messages == stream.messages
        assert [step.type for step in stream.steps] == ["message_creation"]
        assert await here.said(talk.thread_id) == ["Hello", "You said: Hello"]


async def test_a_streamed_turn_gives_its_events() -> None:
    """Typed, and as bytes for a web response."""
    async with world(OfflineBackend([ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        async with talk.stream("Hello", instructions="Echo.") as stream:
            names = [event.event async for event in stream]
            run = await stream.until_done()
        async with talk.stream("Again") as stream:
            sent = b"".join([data async for data in stream.sse()])

        assert names[0] == "thread.run.created"
        assert names[-1] == "done"
        assert run.instructions == "Echo."
        assert sent.startswith(b"event: thread.run.created\n")
        assert sent.endswith(b"event: done\ndata: [DONE]\n\n")


async def test_the_block_holds_the_turn() -> None:
    """Also after the run has ended: the next turn begins when the block is left."""
    async with world(OfflineBackend([ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        replies: list[str] = []

        async def ask() -> None:
            replies.append((await talk.ask("second")).text)

        async with anyio.create_task_group() as group:
            async with talk.stream("first") as stream:
                group.start_soon(ask)
                await stream.until_done()
                await anyio.wait_all_tasks_blocked()
                assert here.way.count("run") == 1

        assert replies == ["You said: second"]


async def test_the_block_may_be_left_by_another_task() -> None:
    """As web frameworks do it: the turn is free all the same."""
    async with world(OfflineBackend([ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        stream = talk.stream("first")
        async with anyio.create_task_group() as group:
            group.start_soon(stream.__aenter__)
        await stream.__aexit__(None, None, None)

        assert (await talk.ask("second")).text == "You said: second"


@pytest.mark.parametrize("how", ["break", "error"])
async def test_a_block_left_early_cancels_its_run(how: str) -> None:
    """The run of this turn is never in the way of the next, not even with "raise"; and there is no reply."""
    async with world(OfflineBackend([Rule("slow", say="a b c", delay=0), ECHO], pause=0.005)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        stream = talk.stream("slow")
        with pytest.raises(KeyError) if how == "error" else anyio.CancelScope():
            async with stream:
                async for _ in stream.text():
                    if how == "error":
                        raise KeyError
                    break

        with pytest.raises(UsageError, match="has not ended"):
            stream.reply()
        assert (await talk.ask("again")).text == "You said: again"
        assert [run.status for run in await here.runs(talk.thread_id)] == ["cancelled", "completed"]


@pytest.mark.parametrize("phase", ["thread", "run"])
async def test_a_turn_cancelled_on_entering_leaves_nothing(phase: str) -> None:
    """The run that is being started is cancelled, the turn is free, and one thread is made."""
    async with world(OfflineBackend([Rule("slow", delay=3600), ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        gate = Gate(phase)
        here.way.hook = gate

        async def take() -> None:
            async with talk.stream("slow") as stream:
                await stream.until_done()

        async with anyio.create_task_group() as group:
            group.start_soon(take)
            await gate.is_reached.wait()
            group.cancel_scope.cancel()
            gate.is_open.set()

        assert (await talk.ask("again")).text == "You said: again"
        assert here.way.count("thread") == 1
        runs = [run.status for run in await here.runs(talk.thread_id)]
        assert runs == [*(["cancelled"] if phase == "run" else []), "completed"]


async def test_a_streamed_turn_ends_in_time() -> None:
    """Its run is cancelled, and the next turn is answered."""
    async with world(OfflineBackend([Rule("slow", delay=3600), ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        with pytest.raises(WaitTimeoutError):
            async with talk.stream("slow", timeout=0.05) as stream:
                await stream.until_done()

        assert (await talk.ask("again")).text == "You said: again"
        assert [run.status for run in await here.runs(talk.thread_id)] == ["cancelled", "completed"]


async def test_a_streamed_turn_that_times_out_in_the_queue_leaves_it() -> None:
    """And was never begun."""
    async with world(OfflineBackend([ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)

        async def take() -> None:
            with pytest.raises(WaitTimeoutError, match="did not begin"):
                async with talk.stream("second", timeout=0.01):
                    raise AssertionError

        async with talk.stream("first") as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(take)
            await stream.until_done()

        assert await here.said(talk.thread_id) == ["first", "You said: first"]


async def test_a_run_that_failed_is_told_by_its_reply() -> None:
    """The events end; `reply` raises as `ask` does."""
    async with world(OfflineBackend([Rule(fail=Failure("Broken."))])) as here:
        async with here.client.conversation(assistant_id=here.assistant_id).stream("Hello") as stream:
            run = await stream.until_done()

        assert run.status == "failed"
        with pytest.raises(RunFailedError, match=r"Broken\."):
            stream.reply()


CALLS = [Rule("add", calls=[FunctionCall("add", {"a": 2, "b": 3})], say="It is {outputs[0]}."), ECHO]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_stream_goes_on_over_tool_calls() -> None:
    """With a toolset."""
    async with world(OfflineBackend(CALLS)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, toolset=Toolset([add]))
        async with talk.stream("add") as stream:
            assert "".join([piece async for piece in stream.text()]) == "It is 5."


async def test_a_stream_does_not_end_in_silence_at_tools_nobody_has() -> None:
    """Reading raises, the run is cancelled, and the next turn is answered."""
    async with world(OfflineBackend(CALLS)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        with pytest.raises(ToolError, match=r"\(add\) and this conversation has no toolset"):
            async with talk.stream("add") as stream:
                [piece async for piece in stream.text()]

        assert (await talk.ask("Hello")).text == "You said: Hello"
        assert [run.status for run in await here.runs(talk.thread_id)] == ["cancelled", "completed"]


async def test_a_turn_is_used_as_a_block_and_once() -> None:
    """Anything else is refused with what to do."""
    async with world(OfflineBackend([ECHO])) as here:
        stream = here.client.conversation(assistant_id=here.assistant_id).stream("Hello")
        for use in (stream.text, stream.sse):
            with pytest.raises(UsageError, match="async with conversation"):
                use()
        with pytest.raises(UsageError, match="async with conversation"):
            await anext(stream)
        with pytest.raises(UsageError, match="async with conversation"):
            await stream.until_done()
        with pytest.raises(UsageError, match="before the stream has been read"):
            stream.reply()
        async with stream:
            with pytest.raises(UsageError, match="entered once"):
                await stream.__aenter__()
            await stream.until_done()
        with pytest.raises(UsageError, match="block was left"):
            await anext(stream)


async def test_a_server_that_does_not_stream() -> None:
    """Its run is looked at instead, and the turn has its reply all the same."""
    async with world(OfflineBackend([ECHO])) as here:

        async def no_stream(phase: str, request: httpx.Request) -> httpx.Response | None:
            if phase != "run":
                return None
            content = request.content.replace(b'"stream":true', b'"stream":false')
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            plain = httpx.Request(request.method, request.url, headers=headers, content=content)
            return await here.way.inner.handle_async_request(plain)

        here.way.hook = no_stream
        talk = here.client.conversation(assistant_id=here.assistant_id)
        async with talk.stream("Hello") as stream:
            pieces = [piece async for piece in stream.text()]

        assert "".join(pieces) == stream.reply().text == "You said: Hello"
        assert (here.way.count("run"), here.way.count("cancel")) == (1, 0)


async def test_an_answer_that_is_no_run_is_told_of() -> None:
    """The turn is free again, and asking works."""

    async def no_stream(phase: str, request: httpx.Request) -> httpx.Response | None:
        if phase != "run" or b'"stream":true' not in request.content:
            return None
        return httpx.Response(200, json={"detail": "unknown"})

    async with world(OfflineBackend([ECHO])) as here:
        here.way.hook = no_stream
        talk = here.client.conversation(assistant_id=here.assistant_id)
        with pytest.raises(StreamError):
            async with talk.stream("Hello"):
                raise AssertionError

        assert (await talk.ask("Hello")).text == "You said: Hello"


async def test_streamed_turns_and_asked_ones_share_a_queue() -> None:
    """Many of both at once: each gets its own answer."""
    async with world(OfflineBackend([ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        replies: dict[str, Any] = {}

        async def take(number: int) -> None:
            text = f"question {number}"
            if number % 2:
                replies[text] = await talk.ask(text)
                return
            async with talk.stream(text) as stream:
                await stream.until_done()
            replies[text] = stream.reply()

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(take, number)

        assert {text: reply.text for text, reply in replies.items()} == {
            f"question {number}": f"You said: question {number}" for number in range(20)
        }
