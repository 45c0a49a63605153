"""Streams of runs in process: what they say, in which order, and when."""

from __future__ import annotations

import httpx
import pytest

from asyncassist.models import (
    Message,
    Run,
    RunCompletionUsage,
    RunStep,
    RunStepDetailsToolCalls,
    RunStepDetailsToolCallsFunction,
    RunStepEvent,
    ThreadEvent,
)
from asyncassist.server import (
    FunctionCall,
    LocalServer,
    OfflineBackend,
    Reply,
)

from .helpers import Clock, SteeredBackend, TypingBackend
from .reading import (
    COMPLETED,
    DELTA,
    MESSAGE,
    STARTED,
    STEP,
    TWO_CALLS,
    USAGE,
    Asking,
    last_run,
    names,
    path_of,
    pieces,
    serving,
    snapshots,
)

pytestmark = pytest.mark.anyio

# What a stream says.


async def test_a_stream_tells_a_run_from_its_creation_to_its_end(clock: Clock) -> None:
    """The events come in the API's order, each of the type its name promises, and end with ``done``."""
    async with serving(clock, TypingBackend(("Hel", "lo"))) as here, await here.run() as stream:
        response = stream.response
        events = list(await stream.until(STARTED[-1]))
        here.backend.go_on(3)
        events += await stream.rest()

    assert [*STARTED, *MESSAGE, DELTA, DELTA, *COMPLETED] == [event.event for event in events]
    assert pieces(events) == ["Hel", "lo"]
    assert (response.headers["content-type"], response.headers["cache-control"]) == (
        "text/event-stream; charset=utf-8",
        "no-cache",
    )
    assert response.headers["x-request-id"].startswith("req_")


async def test_a_stream_that_makes_its_thread_begins_with_it(clock: Clock) -> None:
    """``thread.created`` comes first where the request creates the thread, and carries it."""
    async with serving(clock) as here:
        assistant_id = await here.api.assistant()
        thread = {"messages": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}}
        async with here.stream("/threads/runs", assistant_id=assistant_id, thread=thread) as stream:
            events = await stream.rest()
        first = events[0]
        assert isinstance(first, ThreadEvent)
        seen = await here.api.get(f"/threads/{first.data.id}")

    assert ["thread.created", *STARTED, *MESSAGE, DELTA, *COMPLETED] == names(events)
    assert (first.data.id, first.data.metadata) == (seen["id"], {"a": "b"})
    assert last_run(events).thread_id == seen["id"]


async def test_the_last_snapshots_are_the_objects_read_afterwards(clock: Clock) -> None:
    """Run, step and message of the stream's last events equal what the API answers then; deltas add up to the text."""
    async with serving(clock, OfflineBackend()) as here, await here.run(metadata={"a": "b"}) as stream:
        events = await stream.rest()
        run = await here.read(path_of(last_run(events)), Run)
        (step,) = await here.list(f"{path_of(run)}/steps", RunStep)
        message, _ = await here.list(f"/threads/{run.thread_id}/messages", Message)

    whole = snapshots(events)
    assert (run, {step.id: step}, {message.id: message}) == (whole.run, whole.steps, whole.messages)
    assert "".join(pieces(events)) == message.text
    assert len(pieces(events)) == len(message.text.split())
    assert [run.status, step.status, message.status] == ["completed"] * 3
    assert (step.usage, run.expires_at) == (run.usage, None)


async def test_begun_objects_are_told_as_they_were_begun(clock: Clock) -> None:
    """A step and a message are in progress and empty in their first two events."""
    async with serving(clock, OfflineBackend()) as here, await here.run() as stream:
        events = await stream.rest()

    begun = [event.data for event in events if event.event in MESSAGE]
    assert {item.status for item in begun if isinstance(item, Message | RunStep)} == {"in_progress"}
    assert {(item.content, item.completed_at) for item in begun if isinstance(item, Message)} == {((), None)}
    assert {item.usage for item in begun if isinstance(item, RunStep)} == {None}


async def test_each_event_is_seen_when_it_is_sent(clock: Clock) -> None:
    """The reader has a piece before the backend makes the next one, and can read the text so far."""
    texts: list[str] = []
    async with serving(clock, TypingBackend()) as here, await here.run() as stream:
        run = last_run(await stream.until("thread.run.in_progress"))
        for index in range(3):
            here.backend.go_on()
            events = await stream.until(DELTA)
            assert names(events) == ([] if index else MESSAGE) + [DELTA]
            message = (await here.list(f"/threads/{run.thread_id}/messages", Message))[0]
            assert message == await here.read(f"/threads/{run.thread_id}/messages/{message.id}", Message)
            assert message.status == "in_progress"
            texts.append(message.text)
        here.backend.go_on()
        assert COMPLETED == names(await stream.rest())

    assert texts == ["Hello", "Hello, ", "Hello, world"]


async def test_a_backend_that_emits_nothing_is_streamed_in_one_piece(clock: Clock) -> None:
    """A whole answer is one delta; an empty one has no delta and an empty text."""
    async with serving(clock, SteeredBackend(Reply("one piece"))) as here:
        here.backend.may_answer.set()
        async with await here.run() as stream:
            whole = await stream.rest()
        here.backend.reply = Reply()
        async with await here.run() as stream:
            empty = await stream.rest()

    assert [*STARTED, *MESSAGE, DELTA, *COMPLETED] == [event.event for event in whole]
    assert pieces(whole) == ["one piece"]
    assert [*STARTED, *MESSAGE, *COMPLETED] == [event.event for event in empty]
    assert [message.text for message in snapshots(empty).messages.values()] == [""]


async def test_text_of_any_kind_is_streamed(clock: Clock) -> None:
    """Line breaks, quotes, emoji and lone surrogates arrive as they were emitted."""
    given = ("a\nb\r\n\n", '"\\', "\u2028 \x85", "é 🇨🇭", "data: x\n\nevent: done\n\n", "\ud83c")
    async with serving(clock, TypingBackend(given)) as here, await here.run() as stream:
        here.backend.go_on(10)
        events = await stream.rest()

    assert given == tuple(pieces(events))


# Tools.


async def test_a_stream_with_tool_calls_ends_where_the_run_waits(clock: Clock) -> None:
    """The calls come in pieces that add up to the step; then the run requires action, and the stream is done."""
    async with serving(clock, Asking(TWO_CALLS)) as here, await here.run() as stream:
        events = await stream.rest()
        run = await here.read(path_of(last_run(events)), Run)
        (step,) = await here.list(f"{path_of(run)}/steps", RunStep)
        assert here.open_streams == 0

    assert [*STARTED, *STEP, "thread.run.step.delta", "thread.run.requires_action", "done"] == names(events)
    whole = snapshots(events)
    assert ({step.id: step}, run) == (whole.steps, whole.run)
    arguments = ['{"city":"Paris","days":[1,2]}', "{}"]
    assert arguments == [call.function.arguments for call in run.required_tool_calls]
    assert [call.id for call in run.required_tool_calls] == ["call_a", "call_1"]
    assert len([event for event in events if event.event == "thread.run.step.delta"]) == 5
    first = next(event.data for event in events if isinstance(event, RunStepEvent))
    assert first.step_details == RunStepDetailsToolCalls()


async def test_submitting_outputs_with_a_stream_tells_the_rest(clock: Clock) -> None:
    """The next stream begins with the completed step and the queued run; over it comes what the outputs led to."""
    async with serving(clock, Asking(TWO_CALLS)) as here:
        async with await here.run() as stream:
            run = last_run(await stream.rest())
        async with here.outputs(run, "sunny", "noon") as stream:
            events = await stream.rest()
        done = await here.read(path_of(run), Run)
        steps = await here.list(f"{path_of(run)}/steps", RunStep, order="asc")

    expected = ["thread.run.step.completed", *STARTED[1:], *MESSAGE, DELTA, *COMPLETED]
    assert expected == names(events)
    assert pieces(events) == ["sunny noon"]
    assert {step.id: step for step in steps} == snapshots(events).steps
    details = steps[0].step_details
    assert isinstance(details, RunStepDetailsToolCalls)
    calls = [call for call in details.tool_calls if isinstance(call, RunStepDetailsToolCallsFunction)]
    assert [call.function.output for call in calls] == ["sunny", "noon"]
    assert [step.usage for step in steps] == [USAGE, USAGE]
    assert done.usage == RunCompletionUsage(prompt_tokens=2, completion_tokens=4, total_tokens=6)


async def test_streams_and_polls_can_be_mixed(clock: Clock) -> None:
    """A run begun without a stream can go on with one, and one begun with a stream without."""
    async with serving(clock, Asking(TWO_CALLS, TWO_CALLS)) as here:
        waiting = await here.api.until(await here.api.run(), "requires_action")
        run = await here.read(f"/threads/{waiting['thread_id']}/runs/{waiting['id']}", Run)
        async with here.outputs(run, "1", "2") as stream:
            events = await stream.rest()
        outputs = [{"tool_call_id": call.id, "output": "3"} for call in last_run(events).required_tool_calls]
        again = await here.api.post(f"{path_of(run)}/submit_tool_outputs", tool_outputs=outputs)
        await here.api.until(again, "completed")
        (message,) = await here.list(f"/threads/{run.thread_id}/messages", Message, run_id=run.id)

    completed = ["thread.run.step.completed", *STARTED[1:]]
    assert [*completed, *STEP, "thread.run.step.delta", "thread.run.requires_action", "done"] == names(events)
    assert message.text == "1 2 3 3"


async def test_text_before_tool_calls_is_a_message_of_its_own(clock: Clock) -> None:
    """What a backend says before it asks for tools is completed first; the calls are the next step."""
    reply = Reply("Let me see.", USAGE, tool_calls=[FunctionCall("weather")])
    async with serving(clock, Asking(reply)) as here:
        async with await here.run() as stream:
            events = await stream.rest()
        async with here.outputs(last_run(events), "rain") as stream:
            rest = await stream.rest()
        run = last_run(rest)
        messages = await here.list(f"/threads/{run.thread_id}/messages", Message, run_id=run.id, order="asc")
        steps = await here.list(f"{path_of(run)}/steps", RunStep, order="asc")

    said = [*MESSAGE, DELTA, "thread.message.completed", "thread.run.step.completed"]
    asked = [*STEP, "thread.run.step.delta", "thread.run.requires_action", "done"]
    assert [*STARTED, *said, *asked] == names(events)
    assert [message.text for message in messages] == ["Let me see.", "rain"]
    assert [step.usage.total_tokens for step in steps if step.usage] == [0, 3, 3]
    assert run.usage is not None
    assert run.usage.total_tokens == 6


# Requests that do not come to a stream.


@pytest.mark.parametrize("value", [False, None])
async def test_no_stream_is_no_stream(clock: Clock, value: bool | None) -> None:
    """``stream`` may be false or null, and the answer is the run."""
    async with serving(clock) as here:
        run = await here.api.run(stream=value)

    assert (run["object"], run["status"]) == ("thread.run", "queued")


async def test_refusals_come_as_plain_json(clock: Clock) -> None:
    """What is wrong before a stream begins is an error answer with its status, as without a stream."""
    async with serving(clock, SteeredBackend()) as here:
        api = here.api
        assistant_id, thread_id = await api.assistant(), await api.thread()
        path = f"/threads/{thread_id}/runs"
        run = await api.until(await api.run(thread_id, assistant_id=assistant_id), "in_progress")
        body = {"stream": True, "assistant_id": assistant_id}
        outputs = f"{path}/{run['id']}/submit_tool_outputs"

        busy = await api.refused("POST", path, json=body)
        unknown = await api.refused("POST", "/threads/runs", 404, json={"stream": True, "assistant_id": "asst_no"})
        missing = await api.refused("POST", "/threads/thread_no/runs", 404, json=body)
        early = await api.refused("POST", outputs, json={"stream": True, "tool_outputs": []})
        wrong = await api.refused("POST", outputs, json={"stream": 1, "tool_outputs": []})
        left = here.open_streams

    assert busy["message"] == f"Thread {thread_id} already has an active run {run['id']}."
    assert unknown["message"] == "No assistant found with id 'asst_no'."
    assert missing["message"] == "No thread found with id 'thread_no'."
    assert early["message"] == 'Runs in status "in_progress" do not accept tool outputs.'
    assert (wrong["param"], wrong["code"]) == ("stream", "invalid_type")
    assert left == 0


async def test_outputs_that_do_not_fit_open_no_stream(clock: Clock) -> None:
    """Wrong outputs are refused in JSON; the run goes on waiting and can be streamed afterwards."""
    async with serving(clock, Asking(TWO_CALLS)) as here:
        async with await here.run() as stream:
            run = last_run(await stream.rest())
        body = {"stream": True, "tool_outputs": [{"tool_call_id": "call_a", "output": ""}]}
        error = await here.api.refused("POST", f"{path_of(run)}/submit_tool_outputs", json=body)
        async with here.outputs(run, "a", "b") as stream:
            events = await stream.rest()

    assert error["message"].startswith("Expected tool outputs for call_ids ['call_a', 'call_1']")
    assert events[-1].event == "done"


async def test_a_server_that_is_not_running_streams_nothing() -> None:
    """Where nobody drives runs a stream is refused as a run is, with a 503."""
    server = LocalServer()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="http://local/v1") as http:
        assistant_id = (await http.post("/assistants", json={"model": "m"})).json()["id"]
        response = await http.post("/threads/runs", json={"assistant_id": assistant_id, "stream": True})

    assert (response.status_code, response.headers["content-type"]) == (503, "application/json")
