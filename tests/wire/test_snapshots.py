"""Events to snapshots: how deltas are merged, in any order they may come."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.strategies import json_objects, model_json

from asyncassist._wire.converter import unstructure
from asyncassist._wire.events import decode_event
from asyncassist._wire.snapshots import Snapshots
from asyncassist._wire.sse import ServerSentEvent
from asyncassist.errors import StreamError
from asyncassist.models import (
    DoneEvent,
    Message,
    MessageContentImageFile,
    MessageContentRefusal,
    MessageContentText,
    MessageDelta,
    MessageEvent,
    Run,
    RunEvent,
    RunStep,
    RunStepDelta,
    RunStepDetailsMessageCreation,
    RunStepDetailsToolCalls,
    RunStepDetailsToolCallsCode,
    RunStepDetailsToolCallsFileSearch,
    RunStepDetailsToolCallsFunction,
    RunStepEvent,
    StreamEvent,
    Thread,
    ThreadEvent,
    UnknownEvent,
    UnknownMessageContent,
    UnknownRunStepDetails,
    UnknownToolCall,
)

from .streams import OWN, STREAMS, chunkings, events_until_error

steady = settings(derandomize=True, deadline=None, max_examples=150, database=None)

MESSAGE = {"id": "msg_1", "thread_id": "thread_1", "role": "assistant", "status": "in_progress", "run_id": "run_1"}
STEP = {"id": "step_1", "thread_id": "thread_1", "run_id": "run_1", "type": "tool_calls", "status": "in_progress"}
RUN = {"id": "run_1", "thread_id": "thread_1", "assistant_id": "asst_1", "status": "in_progress"}


def event(name: str, data: object) -> StreamEvent:
    """Make an event as it comes from the wire."""
    return decode_event(ServerSentEvent(name, json.dumps(data)))


def after(*events: StreamEvent) -> Snapshots:
    """Apply events to new snapshots."""
    snapshots = Snapshots()
    for one in events:
        snapshots.apply(one)
    return snapshots


def content_delta(*parts: object, message_id: str = "msg_1") -> StreamEvent:
    """Make a delta of a message's content."""
    return event("thread.message.delta", {"id": message_id, "delta": {"content": parts}})


def text(value: object, index: object = 0, **more: object) -> dict[str, object]:
    """Make a piece of a text part; without an index if that is None."""
    part: dict[str, object] = {"type": "text", "text": {"value": value, **more}}
    return part if index is None else {"index": index, **part}


def sparse(value: object) -> Any:
    """Give a value as JSON without the fields that are null or empty lists: whether they are there does not matter."""
    match value:
        case dict():
            return {name: sparse(item) for name, item in value.items() if item not in (None, [])}
        case list():
            return [sparse(item) for item in value]
        case _:
            return value if isinstance(value, str | int | float | None) else sparse(unstructure(value))


def content(*deltas: StreamEvent) -> Any:
    """Give the content that deltas add up to, as JSON."""
    message = after(*deltas).message("msg_1")
    assert message is not None
    return sparse(message.content)


def step_delta(**details: object) -> StreamEvent:
    """Make a delta of a step."""
    return event("thread.run.step.delta", {"id": "step_1", "delta": {"step_details": details}})


def calls_delta(*calls: object) -> StreamEvent:
    """Make a delta of a step's tool calls."""
    return step_delta(type="tool_calls", tool_calls=calls)


def function(index: int | None, id_: str | None = None, **values: object) -> dict[str, object]:
    """Make a piece of a function's call."""
    call: dict[str, object] = {"type": "function", "function": values}
    call |= {} if index is None else {"index": index}
    return call if id_ is None else call | {"id": id_}


def tool_calls(*deltas: StreamEvent) -> Any:
    """Give the tool calls that deltas add up to, as JSON."""
    step = after(*deltas).step("step_1")
    assert step is not None
    assert isinstance(step.step_details, RunStepDetailsToolCalls)
    return sparse(step.step_details.tool_calls)


# --- recorded streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams(name: str) -> None:
    """What deltas have added up to when an object is finished is what the server then says it is."""
    snapshots = Snapshots()
    for one in events_until_error(STREAMS[name]):
        if isinstance(one, MessageEvent) and (message := snapshots.message(one.data.id)):
            assert message.content == one.data.content or one.event == "thread.message.created"
        if isinstance(one, RunStepEvent) and (step := snapshots.step(one.data.id)) and "file_search" not in repr(step):
            assert step.step_details == one.data.step_details
        snapshots.apply(one)

        match one:
            case RunEvent():
                assert snapshots.run is one.data
            case MessageEvent():
                assert snapshots.message(one.data.id) is one.data
            case RunStepEvent():
                assert snapshots.step(one.data.id) is one.data
            case _:
                pass


def test_a_recorded_stream_cut_short() -> None:
    """What has come before a break is there."""
    snapshots = after(*events_until_error(STREAMS["stream.truncated.sse"]))

    assert snapshots.run is not None
    assert snapshots.run.status == "in_progress"
    assert snapshots.text("msg_syn1") == "Partial"
    assert [message.status for message in snapshots.messages.values()] == ["in_progress"]


def test_required_calls() -> None:
    """The calls a run waits for are those its step has made in pieces."""
    snapshots = after(*events_until_error(STREAMS["stream.parallel_tool_calls.sse"]))

    (step,) = snapshots.steps.values()
    assert snapshots.run is not None
    assert isinstance(step.step_details, RunStepDetailsToolCalls)
    assert [(call.id, call.function.arguments) for call in snapshots.run.required_tool_calls] == [
        (call.id, call.function.arguments)
        for call in step.step_details.tool_calls
        if isinstance(call, RunStepDetailsToolCallsFunction)
    ]


# --- messages --------------------------------------------------------------------------------------------------------


def test_text_grows() -> None:
    """Pieces of text are appended, and the text so far can be asked for at any time."""
    snapshots = after(event("thread.message.created", MESSAGE))
    found = [snapshots.text("msg_1")]
    for piece in ("Hel", "lo", "", " world"):
        snapshots.apply(content_delta(text(piece)))
        found.append(snapshots.text("msg_1"))

    assert found == ["", "Hel", "Hello", "Hello", "Hello world"]
    message = snapshots.message("msg_1")
    assert message is not None
    assert sparse(message.content) == [{"type": "text", "text": {"value": "Hello world"}}]
    assert (message.thread_id, message.run_id, message.status) == ("thread_1", "run_1", "in_progress")


def test_nothing_known() -> None:
    """Before any event about it, an object is None and its text empty."""
    snapshots = after(DoneEvent(), UnknownEvent(name="thread.message.paused", data=MESSAGE))

    assert (snapshots.run, snapshots.thread, snapshots.messages, snapshots.steps) == (None, None, {}, {})
    assert (snapshots.message("msg_1"), snapshots.step("step_1"), snapshots.text("msg_1")) == (None, None, "")


def test_models_are_built_once() -> None:
    """Asked again without a new event, the model is the same object."""
    snapshots = after(content_delta(text("a")), calls_delta(function(0, "call_1", name="f")))

    assert snapshots.message("msg_1") is snapshots.message("msg_1") is snapshots.messages["msg_1"]
    assert snapshots.step("step_1") is snapshots.step("step_1") is snapshots.steps["step_1"]
    before = snapshots.message("msg_1")
    snapshots.apply(content_delta(text("b")))
    assert snapshots.message("msg_1") != before


def test_several_messages() -> None:
    """Messages are kept apart by id, in the order in which they appeared."""
    snapshots = after(
        content_delta(text("a"), message_id="msg_2"),
        event("thread.message.created", MESSAGE),
        content_delta(text("b")),
        content_delta(text("c"), message_id="msg_2"),
    )

    assert [(id_, message.text) for id_, message in snapshots.messages.items()] == [("msg_2", "ac"), ("msg_1", "b")]


def test_duplicate_indices() -> None:
    """Two pieces with one index in one delta belong to the same part."""
    assert content(content_delta(text("a"), text("b")), content_delta(text("c"))) == [
        {"type": "text", "text": {"value": "abc"}}
    ]


def test_indices_out_of_order() -> None:
    """Parts stand in the order of their indices, gaps or not, and may begin in any order."""
    parts = content(
        content_delta(text("c", 7)),
        content_delta({"index": 2, "type": "image_file", "image_file": {"file_id": "file_1"}}, text("a", 0)),
        content_delta(text("d", 7), text("b", 0)),
    )

    assert [part.get("text", part.get("image_file")) for part in parts] == [
        {"value": "ab"},
        {"file_id": "file_1"},
        {"value": "cd"},
    ]


def test_missing_indices() -> None:
    """Without an index, text goes on with the newest part if that is text; an image is always a part of its own."""
    image = {"type": "image_url", "image_url": {"url": "http://localhost/"}}
    parts = content(
        content_delta(text("a", None)),
        content_delta(text("b", None), image),
        content_delta(image),
        content_delta({"type": "refusal", "refusal": "No"}),
        content_delta({"type": "refusal", "refusal": "!"}, text("c", None)),
    )

    assert [part["type"] for part in parts] == ["text", "image_url", "image_url", "refusal", "text"]
    assert [parts[0]["text"]["value"], parts[3]["refusal"], parts[4]["text"]["value"]] == ["ab", "No!", "c"]


def test_missing_index_after_others() -> None:
    """A new part without an index comes last, and a later one with that index is the same."""
    assert content(
        content_delta(text("b", 4)),
        content_delta(text("a", 1), {"type": "refusal", "refusal": "c"}),
        content_delta({"index": 5, "type": "refusal", "refusal": "d"}),
    ) == [
        {"type": "text", "text": {"value": "a"}},
        {"type": "text", "text": {"value": "b"}},
        {"type": "refusal", "refusal": "cd"},
    ]


def test_one_index_for_two_types() -> None:
    """Nothing is lost when a server uses an index twice."""
    parts = content(
        content_delta(text("a")),
        content_delta({"index": 0, "type": "refusal", "refusal": "x"}),
        content_delta(text("b")),
        content_delta({"index": 0, "type": "refusal", "refusal": "y"}),
    )

    assert parts == [
        {"type": "text", "text": {"value": "ab"}},
        {"type": "refusal", "refusal": "xy"},
    ]


def test_pieces_without_a_type() -> None:
    """A piece that says no type belongs to the part at its index; alone it is kept raw."""
    assert content(
        content_delta(text("a")),
        content_delta({"index": 0, "text": {"value": "b"}}, {"text": {"value": "c"}}),
        content_delta(text("d"), {"index": 1, "new": 1}),
        content_delta({"index": 1, "newer": 2}),
    ) == [{"type": "text", "text": {"value": "abcd"}}, {"new": 1, "newer": 2}]


def test_annotations() -> None:
    """They are merged by index, what comes later standing; without an index each is one more."""
    citation = {"type": "file_citation", "file_citation": {"file_id": "file_1", "quote": "q"}}
    (part,) = content(
        content_delta(text("a", annotations=[{"index": 1, "start_index": 0, **citation}])),
        content_delta(text("b", annotations=[{"index": 0, "type": "file_path", "text": "p"}, {"index": 1, "more": 1}])),
        content_delta(text("", annotations=[{"index": 1, "type": "file_citation", "end_index": 2}])),
        content_delta(text("c", annotations=[citation, citation])),
        content_delta(text("d")),
    )

    assert part["text"]["value"] == "abcd"
    assert part["text"]["annotations"] == [
        {"type": "file_path", "text": "p"},
        citation | {"start_index": 0, "end_index": 2, "more": 1},
        citation,
        citation,
    ]


def test_null_and_unknown_fields_in_text() -> None:
    """Null changes nothing; fields of tomorrow are kept, the newest value standing."""
    (part,) = content(
        content_delta({"index": 0, "type": "text", "text": None}),
        content_delta({"index": 0, "type": "text"}),
        content_delta(text("a", logprob=1), text(None)),
        content_delta(text("b")),
        content_delta({**text("c"), "more": [1]}, text("d", annotations=None), text("e", logprob=2)),
        content_delta({**text("f"), "more": [2]}),
    )

    assert part == {"type": "text", "text": {"value": "abcdef", "logprob": 2}, "more": [2]}


def test_text_that_is_replaced() -> None:
    """A piece of no known type that puts something else in a text's place does not take later text with it."""
    for other in ({"value": 5}, 5):
        (part,) = content(
            content_delta(text("a")),
            content_delta({"index": 0, "text": other}),
            content_delta(text("b")),
            content_delta(text("c")),
        )

        assert part["text"]["value"] == "bc"


def test_unknown_content() -> None:
    """A part of an unknown kind is put together by the same rules and kept raw."""
    message = after(
        content_delta({"index": 1, "type": "audio", "audio": {"value": "ab", "format": "wav", "part": 1}}),
        content_delta({"index": 1, "type": "audio", "audio": {"value": "cd", "format": None, "part": 2}, "id": "x"}),
        content_delta(text("a")),
    ).message("msg_1")

    assert message is not None
    assert [type(part) for part in message.content] == [MessageContentText, UnknownMessageContent]
    assert unstructure(message.content[1]) == {
        "type": "audio",
        "audio": {"value": "abcd", "format": "wav", "part": 2},
        "id": "x",
    }


def test_kinds_of_content() -> None:
    """Every kind of delta becomes the part it is a piece of."""
    message = after(
        content_delta({"index": 0, "type": "image_file", "image_file": {"file_id": "f"}}),
        content_delta({"index": 0, "type": "image_file", "image_file": {"detail": "low"}}),
        content_delta(
            {"index": 1, "type": "refusal", "refusal": "a"}, {"index": 1, "type": "refusal", "refusal": None}
        ),
    ).message("msg_1")

    assert message is not None
    image, refusal = message.content
    assert isinstance(image, MessageContentImageFile)
    assert isinstance(refusal, MessageContentRefusal)
    assert (unstructure(image.image_file), refusal.refusal) == ({"file_id": "f", "detail": "low"}, "a")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ("", None, None)),
        ([ThreadEvent(data=Thread(id="thread_1"))], ("thread_1", None, None)),
        ([event("thread.run.created", RUN)], ("thread_1", "run_1", "asst_1")),
    ],
)
def test_unannounced(events: list[StreamEvent], expected: tuple[str | None, ...]) -> None:
    """A delta of an object that no event has announced begins one, with what is known of thread and run."""
    role = event("thread.message.delta", {"id": "msg_1", "delta": {"role": "user", "content": [text("a")]}})
    snapshots = after(*events, role, calls_delta(function(0, "call_1", name="f")), content_delta(message_id="msg_2"))

    message, step = snapshots.messages["msg_1"], snapshots.steps["step_1"]
    assert (message.thread_id, message.run_id, message.assistant_id) == expected
    assert (step.thread_id, step.run_id, step.assistant_id) == expected
    assert (message.role, message.status, message.text) == ("user", "in_progress", "a")
    assert (step.type, step.status) == ("tool_calls", "in_progress")
    assert snapshots.messages["msg_2"] == Message(
        id="msg_2",
        role="assistant",
        status="in_progress",
        thread_id=message.thread_id,
        run_id=message.run_id,
        assistant_id=message.assistant_id,
    )


# --- full objects and deltas -----------------------------------------------------------------------------------------


def test_a_finished_message_stands() -> None:
    """The finished message replaces what was merged, even by less; what comes late changes nothing."""
    finished = event("thread.message.completed", MESSAGE | {"status": "completed"})
    snapshots = after(
        content_delta(text("a")),
        finished,
        content_delta(text("b")),
        event("thread.message.in_progress", MESSAGE),
    )

    assert snapshots.message("msg_1") is finished.data
    snapshots.apply(event("thread.message.incomplete", MESSAGE | {"status": "incomplete"}))
    assert snapshots.messages["msg_1"].status == "incomplete"


def test_a_begun_message_without_content() -> None:
    """It brings its other fields, and takes no text away that came before it."""
    snapshots = after(
        content_delta(text("a")),
        content_delta(text("b")),
        event("thread.message.created", MESSAGE | {"metadata": {"k": "v"}}),
        content_delta(text("c")),
    )

    assert snapshots.text("msg_1") == "abc"
    assert snapshots.messages["msg_1"].metadata == {"k": "v"}


def test_a_begun_message_with_content() -> None:
    """It replaces what was merged, and deltas go on from it, its parts having the indices of their places."""
    begun = [
        {"type": "text", "text": {"value": "x", "annotations": [{"type": "file_path", "text": "p"}]}},
        {"type": "text", "text": {"value": "y"}},
    ]
    parts = content(
        content_delta(text("a")),
        event("thread.message.in_progress", MESSAGE | {"content": begun}),
        content_delta(text("b", 0)),
        content_delta(text("c", 1), text("d", 0, annotations=[{"index": 0, "type": "file_path", "end_index": 3}])),
        content_delta(text("e", 1)),
    )

    assert [part["text"]["value"] for part in parts] == ["xbd", "yce"]
    assert parts[0]["text"]["annotations"] == [{"type": "file_path", "text": "p", "end_index": 3}]


def test_a_begun_step() -> None:
    """One without calls takes none away; with calls it replaces them, and deltas go on from it."""
    code = {"id": "call_1", "type": "code_interpreter"}
    snapshots = after(
        calls_delta(function(0, "call_0", arguments="a")),
        event("thread.run.step.in_progress", STEP | {"step_details": {"type": "tool_calls", "tool_calls": []}}),
    )
    assert "call_0" in repr(snapshots.steps["step_1"])

    logs = [{"type": "logs", "logs": "1"}, {"type": "logs", "logs": "2"}]
    details = {"type": "tool_calls", "tool_calls": [code | {"code_interpreter": {"input": "a", "outputs": logs}}]}
    snapshots.apply(event("thread.run.step.in_progress", STEP | {"step_details": details}))
    more = {"input": "b", "outputs": [{"index": 1, "type": "logs", "logs": "3"}]}
    snapshots.apply(calls_delta({"index": 0, "type": "code_interpreter", "code_interpreter": more}))

    assert unstructure(snapshots.steps["step_1"].step_details) == {
        "type": "tool_calls",
        "tool_calls": [
            code | {"code_interpreter": {"input": "ab", "outputs": [logs[0], {"type": "logs", "logs": "23"}]}}
        ],
    }


def test_a_finished_step_stands() -> None:
    """As a finished message does."""
    finished = event("thread.run.step.failed", STEP | {"status": "failed"})
    snapshots = after(finished, calls_delta(function(0, "call_1", name="f")), event("thread.run.step.created", STEP))

    assert snapshots.step("step_1") is finished.data


def test_the_run() -> None:
    """The newest run counts; one that has ended goes back to nothing, but a new run may follow it."""
    snapshots = after(event("thread.run.created", RUN), event("thread.run.completed", RUN | {"status": "completed"}))
    snapshots.apply(event("thread.run.in_progress", RUN))
    assert snapshots.run == Run(id="run_1", thread_id="thread_1", assistant_id="asst_1", status="completed")

    snapshots.apply(event("thread.run.queued", RUN | {"id": "run_2"}))
    assert snapshots.run.id == "run_2"


def test_the_thread() -> None:
    """The thread the stream created is there."""
    assert after(event("thread.created", {"id": "thread_1"})).thread == Thread(id="thread_1")


# --- steps -----------------------------------------------------------------------------------------------------------


def test_function_calls() -> None:
    """Arguments are appended; id, name and output are as last sent."""
    calls = tool_calls(
        calls_delta(function(1, "call_b", name="g", arguments="")),
        calls_delta(function(0, "call_a", name="f", arguments="", output=None)),
        calls_delta(function(0, arguments='{"x":'), function(1, arguments="{}")),
        calls_delta(function(0, "call_a", name="f", arguments="1}", output="2")),
        calls_delta(function(0, output="3"), function(1, None)),
    )

    assert calls == [
        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}', "output": "3"}},
        {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_calls_without_index() -> None:
    """An id begins a call or says which one goes on; a piece without one belongs to the newest call."""
    calls = tool_calls(
        calls_delta(function(None, "call_a", name="f", arguments="1")),
        calls_delta(function(None, arguments="2")),
        calls_delta(function(None, "call_b", name="g")),
        calls_delta(function(None, arguments="3"), function(None, "call_a", arguments="4")),
        calls_delta({"function": {"arguments": "5"}}),
    )

    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("call_a", "124"), ("call_b", "35")]


def test_one_index_for_two_calls() -> None:
    """Servers that give every call the index 0 lose none: the id decides, and without one the newest call goes on."""
    calls = tool_calls(
        calls_delta(function(0, "call_a", name="f", arguments="1")),
        calls_delta(function(0, "call_b", name="g", arguments="2")),
        calls_delta(function(0, arguments="3")),
        calls_delta(function(5, "call_a", arguments="4")),
    )

    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("call_a", "14"), ("call_b", "23")]


def test_the_code_interpreter() -> None:
    """Code is appended, and so are logs with the same index; an image is an output of its own."""

    def code(**values: object) -> StreamEvent:
        return calls_delta({"index": 0, "type": "code_interpreter", "code_interpreter": values})

    image = {"type": "image", "image": {"file_id": "file_1"}}
    (call,) = tool_calls(
        calls_delta({"index": 0, "id": "call_1", "type": "code_interpreter"}),
        code(input="print(", outputs=[]),
        code(input="1)"),
        code(outputs=[{"index": 1, "type": "logs", "logs": "b"}, {"index": 0, "type": "logs", "logs": "a"}]),
        code(outputs=[{"index": 1, "type": "logs", "logs": "c"}, image, {"type": "logs", "logs": "d"}, image]),
        code(outputs=[{"index": 9, "type": "plot", "plot": {}}]),
    )

    assert call["code_interpreter"] == {
        "input": "print(1)",
        "outputs": [
            *({"type": "logs", "logs": "a"}, {"type": "logs", "logs": "bc"}, image),
            *({"type": "logs", "logs": "d"}, image, {"type": "plot", "plot": {}}),
        ],
    }


def test_kinds_of_calls() -> None:
    """Every kind of piece becomes the call it is of; without an id as yet, or of an unknown kind, it is kept raw."""
    step = after(
        calls_delta({"index": 0, "id": "call_a", "type": "file_search", "file_search": {}}),
        calls_delta({"index": 1, "id": "call_b", "type": "code_interpreter"}),
        calls_delta({"index": 2, "id": "call_c", "type": "mcp", "arguments": "1", "server": "s"}),
        calls_delta({"index": 2, "type": "mcp", "arguments": "2", "server": "t"}),
        calls_delta(function(3, arguments="a"), {"index": 4, "type": "file_search", "file_search": {"results": 5}}),
    ).step("step_1")

    assert step is not None
    assert isinstance(step.step_details, RunStepDetailsToolCalls)
    calls = step.step_details.tool_calls
    assert [type(call) for call in calls] == [
        *(RunStepDetailsToolCallsFileSearch, RunStepDetailsToolCallsCode),
        *(UnknownToolCall, UnknownToolCall, UnknownToolCall),
    ]
    assert [unstructure(call) for call in calls[2:]] == [
        {"id": "call_c", "type": "mcp", "arguments": "12", "server": "t"},
        {"type": "function", "function": {"arguments": "a"}},
        {"type": "file_search", "file_search": {"results": 5}},
    ]


def test_message_creation() -> None:
    """A step that writes a message names it."""
    creation = {"type": "message_creation", "message_creation": {"message_id": "msg_1"}}
    step = after(event("thread.run.step.created", STEP | {"type": None}), step_delta(**creation)).step("step_1")

    assert step is not None
    assert step.type == "message_creation"
    assert isinstance(step.step_details, RunStepDetailsMessageCreation)
    assert unstructure(step.step_details) == creation


def test_unknown_details() -> None:
    """Details of an unknown kind are kept; details of another kind begin anew; none change nothing."""
    snapshots = after(step_delta(type="activities", activities=[1]), step_delta(activities=[2], more={"a": 1}))
    snapshots.apply(event("thread.run.step.delta", {"id": "step_1", "delta": {}}))
    details = snapshots.steps["step_1"].step_details
    assert isinstance(details, UnknownRunStepDetails)
    assert unstructure(details) == {"type": "activities", "activities": [2], "more": {"a": 1}}

    snapshots.apply(calls_delta(function(0, "call_1", name="f")))
    for odd in ("none", [1]):
        snapshots.apply(step_delta(tool_calls=odd))
        assert unstructure(snapshots.steps["step_1"].step_details) == {"type": "tool_calls", "tool_calls": odd}
        assert snapshots.steps["step_1"].type == "tool_calls"


def test_raw_json_at_the_limit_of_depth() -> None:
    """What is nested as deeply as a delta may be is kept when it becomes part of something raw."""
    deep: dict[str, object] = {}
    for _ in range(199):
        deep = {"a": deep}

    (call,) = tool_calls(calls_delta({"index": 0, "type": "function", "function": {"more": deep}}))

    assert call == {"type": "function", "function": {"more": deep}}


# --- properties ------------------------------------------------------------------------------------------------------


def interleaved(data: st.DataObject, make: Callable[[int, str], dict[str, object]]) -> list[list[dict[str, object]]]:
    """Draw pieces of several entries, in order within each entry, in any order otherwise, grouped anyhow."""
    left = data.draw(st.dictionaries(st.integers(0, 9), st.lists(st.text(max_size=3), max_size=4), max_size=4))
    groups: list[list[dict[str, object]]] = [[]]
    while left := {index: pieces for index, pieces in left.items() if pieces}:
        index = data.draw(st.sampled_from(sorted(left)))
        groups[-1].append(make(index, left[index].pop(0)))
        if data.draw(st.booleans()):
            groups.append([])
    return groups


@given(st.data())
@steady
def test_any_order_of_content(data: st.DataObject) -> None:
    """In whatever order parts take turns, and however pieces are grouped into deltas, the message is the same."""

    def piece(index: int, value: str) -> dict[str, object]:
        return text(value, index) if index % 2 else {"index": index, "type": "refusal", "refusal": value}

    groups = interleaved(data, piece)
    one_by_one = sorted((part for group in groups for part in group), key=lambda part: str(part["index"]))

    assert content(*[content_delta(*group) for group in groups]) == content(content_delta(*one_by_one))


@given(st.data())
@steady
def test_any_order_of_calls(data: st.DataObject) -> None:
    """The same for the calls of a step."""
    groups = interleaved(data, lambda index, value: function(index, f"call_{index}", arguments=value))
    one_by_one = sorted((call for group in groups for call in group), key=lambda call: str(call["index"]))

    assert tool_calls(*[calls_delta(*group) for group in groups]) == tool_calls(calls_delta(*one_by_one))


ids = st.sampled_from(["a", "b"])
indices = st.none() | st.integers(-1, 2) | st.sampled_from([0.0, "0", True])
part_types = st.sampled_from(["text", "refusal", "image_file", "function", "code_interpreter", "file_search", "odd", 5])
loose_pieces = st.fixed_dictionaries(
    {},
    optional={
        "index": indices,
        "type": part_types,
        "id": ids | st.none() | st.just(5),
        "text": st.fixed_dictionaries({"value": st.text(max_size=3) | st.none()}) | json_objects,
        "function": json_objects,
        "refusal": st.text(max_size=2),
        "outputs": st.lists(json_objects, max_size=2) | st.just([1]),
    },
)


def loose(name: str, json_of: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[StreamEvent | None]:
    """Give events of a name whose data may fit; None where it does not."""

    def make(data: dict[str, Any], id_: str) -> StreamEvent | None:
        try:
            return event(name, data | {"id": id_})
        except StreamError:
            return None

    return st.builds(make, json_of, ids)


loose_events = st.one_of(
    loose("thread.message.delta", model_json(MessageDelta)),
    loose("thread.run.step.delta", model_json(RunStepDelta)),
    loose("thread.message.delta", st.lists(loose_pieces, max_size=3).map(lambda c: {"delta": {"content": c}})),
    loose(
        "thread.run.step.delta",
        st.builds(
            lambda calls, type_: {"delta": {"step_details": {"type": type_, "tool_calls": calls}}},
            st.lists(loose_pieces, max_size=3),
            st.sampled_from(["tool_calls", None, "odd"]),
        ),
    ),
    loose("thread.message.in_progress", model_json(Message)),
    loose("thread.message.completed", model_json(Message)),
    loose("thread.run.step.in_progress", model_json(RunStep)),
    loose("thread.run.queued", model_json(Run)),
)


@given(st.lists(loose_events, max_size=8))
@settings(steady, max_examples=400)
def test_any_events(events: list[StreamEvent | None]) -> None:
    """Any events add up to something; asking in between changes neither what comes out nor what was given before."""
    quiet, asked = Snapshots(), Snapshots()
    seen: list[tuple[object, object]] = []
    for one in filter(None, events):
        quiet.apply(one)
        asked.apply(one)
        for model in [*asked.messages.values(), *asked.steps.values()]:
            seen.append((model, copy.deepcopy(model)))

    assert (asked.messages, asked.steps, asked.run) == (quiet.messages, quiet.steps, quiet.run)
    assert [model for model, _ in seen] == [twin for _, twin in seen]
    for model in [*quiet.messages.values(), *quiet.steps.values()]:
        unstructure(model)


@given(st.data())
@settings(steady, max_examples=50)
def test_any_chunking(data: st.DataObject) -> None:
    """However a recorded stream is cut, it adds up to the same."""
    stream = STREAMS[data.draw(st.sampled_from(sorted(OWN)))]
    whole = after(*events_until_error(stream))
    pieces = after(*events_until_error(*data.draw(chunkings(stream))))

    assert (pieces.messages, pieces.steps, pieces.run) == (whole.messages, whole.steps, whole.run)


def test_time_grows_with_length_alone() -> None:
    """Long text in many pieces takes a second or two; copying what came before for each would take a minute."""
    piece = "x" * 1000
    parts, calls = content_delta(text(piece)), calls_delta(function(0, "call_1", arguments=piece))
    snapshots = Snapshots()
    start = time.process_time()
    for _ in range(20_000):
        snapshots.apply(parts)
        snapshots.apply(calls)

    assert len(snapshots.text("msg_1")) == 20_000_000
    assert len(repr(snapshots.steps["step_1"])) > 20_000_000
    assert time.process_time() - start < 10
