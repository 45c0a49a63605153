"""The streams of the SDK people have, against the server's port: its handler, its tool loop, and plain streams."""

# The SDK marks all of this API as deprecated.
# pyright: reportDeprecated=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import AsyncAssistantEventHandler

from asyncassist.server import BackendError, Failure, FunctionCall, LocalServer, OfflineBackend, Rule

from .helpers import TypingBackend
from .reading import COMPLETED, DELTA, MESSAGE, STARTED, STEP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]

SCRIPT = [
    Rule(
        "weather",
        calls=[
            [FunctionCall("weather", {"city": "Paris"}), FunctionCall("weather", {"city": "Rome, the eternal one"})]
        ],
        say="Paris: {outputs[0]}. Rome: {outputs[1]}.",
    ),
    Rule("fail", say="I would", fail=Failure("slow down", code="rate_limit_exceeded")),
    Rule(say="Hello to you"),
]


@pytest.fixture
async def sdk() -> AsyncIterator[openai.AsyncOpenAI]:
    async with LocalServer(OfflineBackend(SCRIPT)) as server, server.on_port() as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as sdk:
            yield sdk


async def ask(sdk: openai.AsyncOpenAI, text: str) -> dict[str, str]:
    assistant = await sdk.beta.assistants.create(model="m")
    thread = await sdk.beta.threads.create(messages=[{"role": "user", "content": text}])
    return {"thread_id": thread.id, "assistant_id": assistant.id}


class Handler(AsyncAssistantEventHandler):
    """Notes what the SDK makes of the events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.texts: list[str] = []
        self.arguments: dict[int, str] = {}
        self.done: list[str] = []
        self.exceptions: list[Exception] = []

    async def on_event(self, event: Any) -> None:
        if not self.events or self.events[-1] != event.event:
            self.events.append(event.event)

    async def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.texts.append(delta.value)
        assert snapshot.value == "".join(self.texts)
        assert snapshot.annotations == []

    async def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        self.arguments[delta.index] = snapshot.function.arguments

    async def on_text_done(self, text: Any) -> None:
        self.done.append(text.value)

    async def on_message_done(self, message: Any) -> None:
        self.done.append(message.status)

    async def on_run_step_done(self, run_step: Any) -> None:
        self.done.append(run_step.status)

    async def on_exception(self, exception: Exception) -> None:
        self.exceptions.append(exception)


async def test_the_handler_of_the_sdk_sees_a_whole_run(sdk: openai.AsyncOpenAI) -> None:
    """``runs.stream`` gives every event, the text in pieces, and the final run, steps and messages."""
    handler = Handler()
    async with sdk.beta.threads.runs.stream(**await ask(sdk, "hi"), event_handler=handler) as stream:
        await stream.until_done()
        run = stream.current_run
        steps = await stream.get_final_run_steps()
        messages = await stream.get_final_messages()
    assert run is not None
    stored = await sdk.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)

    assert [*STARTED, *MESSAGE, DELTA, *COMPLETED[:-1]] == handler.events
    assert handler.texts == ["Hello ", "to ", "you"]
    assert handler.done == ["Hello to you", "completed", "completed"]
    assert (run, run.status) == (stored, "completed")
    # The SDK keeps a step as it was begun, whatever its last event says.
    stored_steps = await sdk.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id)
    assert [step.id for step in steps] == [step.id for step in stored_steps.data]
    assert messages == [await sdk.beta.threads.messages.retrieve(messages[0].id, thread_id=run.thread_id)]


async def test_the_tool_loop_of_the_sdk(sdk: openai.AsyncOpenAI) -> None:
    """The calls are put together by the SDK, and ``submit_tool_outputs_stream`` goes on with the answer."""
    first, second = Handler(), Handler()
    runs = sdk.beta.threads.runs
    async with runs.stream(**await ask(sdk, "weather?"), event_handler=first) as stream:
        await stream.until_done()
        run = stream.current_run
    assert run is not None
    assert run.required_action is not None
    calls = run.required_action.submit_tool_outputs.tool_calls
    outputs: list[Any] = [{"tool_call_id": call.id, "output": f"sun {call.function.arguments}"} for call in calls]
    async with runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs, event_handler=second
    ) as stream:
        texts = [text async for text in stream.text_deltas]

    arguments = ['{"city":"Paris"}', '{"city":"Rome, the eternal one"}']
    assert dict(enumerate(arguments)) == first.arguments
    assert arguments == [call.function.arguments for call in calls]
    assert [*STARTED, *STEP, "thread.run.step.delta", "thread.run.requires_action"] == first.events
    assert ["thread.run.step.completed", *STARTED[1:], *MESSAGE, DELTA, *COMPLETED[:-1]] == second.events
    assert "".join(texts) == f"Paris: sun {arguments[0]}. Rome: sun {arguments[1]}."


async def test_a_thread_and_a_run_in_one_stream(sdk: openai.AsyncOpenAI) -> None:
    """``create_and_run_stream`` begins with the thread."""
    assistant = await sdk.beta.assistants.create(model="m")
    handler = Handler()
    async with sdk.beta.threads.create_and_run_stream(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "hi"}]}, event_handler=handler
    ) as stream:
        await stream.until_done()

    assert ["thread.created", *STARTED, *MESSAGE, DELTA, *COMPLETED[:-1]] == handler.events


async def test_plain_streams(sdk: openai.AsyncOpenAI) -> None:
    """``stream=True`` on each of the three calls gives the events one by one."""
    runs = sdk.beta.threads.runs
    seen: list[str] = []
    run: Any = None
    async for event in await runs.create(**await ask(sdk, "weather?"), stream=True):
        seen.append(event.event)
        run = event.data
    outputs: list[Any] = [
        {"tool_call_id": call.id, "output": "x"} for call in run.required_action.submit_tool_outputs.tool_calls
    ]
    async for event in await runs.submit_tool_outputs(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True
    ):
        seen.append(event.event)
    assistant = await sdk.beta.assistants.create(model="m")
    async for event in await sdk.beta.threads.create_and_run(assistant_id=assistant.id, stream=True):
        seen.append(event.event)

    assert (seen[0], seen.count("thread.run.requires_action"), seen.count("thread.run.completed")) == (
        "thread.run.created",
        1,
        2,
    )
    assert seen[-1] == "thread.run.completed"


async def test_the_sdk_sees_a_run_fail(sdk: openai.AsyncOpenAI) -> None:
    """A failure in the middle of a text is there with its code, and the message is incomplete."""
    handler = Handler()
    async with sdk.beta.threads.runs.stream(**await ask(sdk, "fail"), event_handler=handler) as stream:
        await stream.until_done()
        run = stream.current_run

    assert run is not None
    assert run.last_error is not None
    assert (run.status, run.last_error.code, run.last_error.message) == ("failed", "rate_limit_exceeded", "slow down")
    assert handler.events[-3:] == ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed"]
    assert handler.texts == ["I ", "would"]


async def test_the_sdk_cancels_what_it_streams() -> None:
    """A run cancelled by a second call ends the first one's stream with its own events."""
    backend = TypingBackend(error=BackendError("never"))
    handler = Handler()
    async with LocalServer(backend) as server, server.on_port() as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as sdk:
            runs = sdk.beta.threads.runs
            async with runs.stream(**await ask(sdk, "hi"), event_handler=handler) as stream:
                backend.go_on()
                async for event in stream:
                    if event.event == DELTA:
                        run = stream.current_run
                        assert run is not None
                        await runs.cancel(run.id, thread_id=run.thread_id)

    ended = ["thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"]
    assert ["thread.run.cancelling", *ended] == handler.events[-4:]
    assert backend.cancelled == 1


async def test_the_sdk_is_told_what_is_wrong(sdk: openai.AsyncOpenAI) -> None:
    """An error before the stream begins is the SDK's status error with the server's words."""
    thread = await sdk.beta.threads.create()

    with pytest.raises(openai.NotFoundError, match="No assistant found with id 'asst_no'"):
        async with sdk.beta.threads.runs.stream(thread_id=thread.id, assistant_id="asst_no"):
            raise AssertionError("streamed")
