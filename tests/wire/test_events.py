"""Server-sent events to typed events or errors: every name, every odd form seen in the field, anything at all."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.strategies import json_values, model_json, places, same_json

import asyncassist.models.events
from asyncassist import models
from asyncassist._wire.converter import structure, unstructure
from asyncassist._wire.events import decode_event
from asyncassist._wire.sse import ServerSentEvent
from asyncassist.errors import DecodeError, StreamError
from asyncassist.models import (
    DoneEvent,
    MessageDelta,
    MessageDeltaEvent,
    MessageEvent,
    Run,
    RunEvent,
    RunStepDeltaEvent,
    RunStepEvent,
    StreamEvent,
    ThreadEvent,
    UnknownEvent,
)

from .streams import OWN, STREAMS, chunkings, events_of, events_until_error, frames_of

steady = settings(derandomize=True, deadline=None, max_examples=100, database=None)
RUN = {"id": "run_1", "thread_id": "thread_1", "status": "queued"}


def event_of(data: object, name: str = "message") -> StreamEvent:
    """Decode one event; data that is no text is sent as JSON."""
    return decode_event(ServerSentEvent(name, data if isinstance(data, str) else json.dumps(data)))


def error_of(data: object, name: str = "message") -> StreamError:
    """Give the error one event raises."""
    with pytest.raises(StreamError) as caught:
        event_of(data, name)
    return caught.value


# --- recorded streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams(name: str) -> None:
    """Every event of a recorded stream has its name and its data without loss, up to an error."""
    frames = frames_of([STREAMS[name]])
    events = events_until_error(STREAMS[name])

    assert [event.event for event in events if event.event != "unknown"] == [
        frame.event for frame in frames[: len(events)] if frame.event not in ("ping", "thread.run.paused")
    ]
    for frame, event in zip(frames, events, strict=False):
        assert not event.reconciled
        assert isinstance(event, DoneEvent) or same_json(unstructure(event.data), json.loads(frame.data))
    assert len(events) == len(frames) or frames[len(events)].event == "error"


def test_kinds_of_recorded_events() -> None:
    """Together the recorded streams have an event of every class."""
    events = [event for stream in OWN.values() for event in events_until_error(stream)]

    assert {type(event) for event in events} == set(get_args(StreamEvent))
    assert [(event.name, type(event.data)) for event in events if isinstance(event, UnknownEvent)] == [
        ("thread.run.paused", dict),
        ("ping", dict),
    ]


@pytest.mark.parametrize("name", ["stream.error_flat.sse", "stream.error_nested.sse"])
def test_recorded_errors(name: str) -> None:
    """An error event, flat or nested, is an error with the server's facts."""
    with pytest.raises(StreamError) as caught:
        events_of(STREAMS[name])

    error = caught.value
    assert error.message == (
        "the server reported an error in the stream: The server had an error while processing your request."
    )
    assert (error.code, error.type, error.param) == ("server_error" if "flat" in name else None, "server_error", None)


@given(st.data())
@steady
def test_any_chunking(data: st.DataObject) -> None:
    """However a recorded stream is cut, it gives the same events."""
    stream = STREAMS[data.draw(st.sampled_from(sorted(STREAMS)))]

    assert events_until_error(*data.draw(chunkings(stream))) == events_until_error(stream)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("thread.created", ThreadEvent),
        ("thread.run.requires_action", RunEvent),
        ("thread.run.cancelling", RunEvent),
        ("thread.run.step.expired", RunStepEvent),
        ("thread.run.step.delta", RunStepDeltaEvent),
        ("thread.message.incomplete", MessageEvent),
        ("thread.message.delta", MessageDeltaEvent),
    ],
)
def test_known_names(name: str, cls: type[Any]) -> None:
    """The name decides what the data is; of the data no more is wanted than a model needs."""
    event = event_of(RUN | {"role": "assistant"}, name)

    assert (type(event), event.event) == (cls, name)
    assert type(event.data) is get_type_hints(cls)["data"]


def test_an_event_without_a_name() -> None:
    """LiteLLM leaves the name out and sends it inside the data."""
    assert event_of({"data": RUN, "event": "thread.run.created"}) == event_of(RUN, "thread.run.created")
    assert event_of({"data": "[DONE]", "event": "done"}) == DoneEvent()
    assert event_of({"data": {"a": 1}, "event": "ping"}) == UnknownEvent(name="ping", data={"a": 1})
    assert event_of({"data": {"id": "m"}, "event": "thread.message.delta", "x": 1}).event == "thread.message.delta"
    assert error_of({"data": {"message": "no"}, "event": "error"}).message.endswith(": no")


@pytest.mark.parametrize("name", ["message", "done", "thread.run.completed", "another"])
@pytest.mark.parametrize("data", ["[DONE]", " [DONE] ", "[DONE]\n"])
def test_done(name: str, data: str) -> None:
    """The end is the end, whatever the event is called."""
    assert event_of(data, name) == DoneEvent()


@pytest.mark.parametrize("data", ["", "{}", "bye", "null"])
def test_done_by_name(data: str) -> None:
    """An event called done is the end, whatever its data."""
    assert event_of(data, "done") == DoneEvent()


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("5", 5),
        ("null", None),
        ('"[DONE]"', "[DONE]"),
        ("hello", "hello"),
        ("{hello", "{hello"),
        ("", ""),
        ("[" * 300 + "]" * 300, "[" * 300 + "]" * 300),
        ("[" * 100_000, "[" * 100_000),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_unknown_names(data: str, kept: object) -> None:
    """An event of another name is kept: its JSON, or its text where that is no JSON a model could hold."""
    assert event_of(data, "ping") == UnknownEvent(name="ping", data=kept)


@pytest.mark.parametrize(
    "data", [{}, {"event": "thread.run.created"}, {"event": 5, "data": RUN}, {"error": None}, [], 5, "ping", ""]
)
def test_nothing_to_tell_what_it_is(data: object) -> None:
    """An event without a name, inside the data or outside, is kept under the standard's name."""
    assert event_of(data) == UnknownEvent(name="message", data=data)


# --- what servers get wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delta",
    [
        {"role": None, "content": None},
        {"role": None, "content": [{"index": None, "type": "text", "text": None}]},
        {"content": [{"index": 0, "type": "text", "text": {"value": "a", "annotations": None}}]},
        {"content": [{"index": 0.0, "type": "text", "text": {"value": None}}]},
        {"content": [{"type": "text", "text": {"value": "a", "annotations": []}}]},
        None,
    ],
)
def test_null_in_deltas(delta: object) -> None:
    """Role, content, index, text and annotations may be null, as some servers send them."""
    data = {"id": "msg_1", "object": "thread.message.delta", "delta": delta}

    event = event_of(data, "thread.message.delta")

    assert isinstance(event, MessageDeltaEvent)
    assert same_json(unstructure(event.data), data)


@pytest.mark.parametrize(
    ("name", "data", "message", "field"),
    [
        (
            "thread.run.created",
            {"id": "run_1", "thread_id": "t"},
            "the data of a thread.run.created event cannot be read: status: is missing",
            "status",
        ),
        (
            "thread.message.delta",
            {"id": "m", "delta": {"content": [{"type": "text", "text": {"value": 5}}]}},
            "the data of a thread.message.delta event cannot be read: "
            "delta.content[0].text.value: expected a string, got a number",
            "delta.content[0].text.value",
        ),
        (
            "thread.created",
            "null",
            "the data of a thread.created event cannot be read: the body: expected an object, got null",
            "",
        ),
        (
            "thread.created",
            '{"id": "th',
            "the data of a thread.created event cannot be read: the body is not JSON: Unterminated string starting at",
            "",
        ),
        ("thread.created", "", "the data of a thread.created event cannot be read: the body is empty", ""),
        (
            "thread.created",
            '{"a":' * 100_000,
            "the data of a thread.created event cannot be read: the body is nested too deeply",
            "",
        ),
        (
            "message",
            '{"event": "thread.run.cr',
            "the data of a message event cannot be read: the body is not JSON: Unterminated string starting at",
            "",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_unreadable(name: str, data: object, message: str, field: str) -> None:
    """Data that is not what the name promises is an error that names event and field, and has its cause."""
    error = error_of(data, name)

    assert error.message.startswith(message)
    assert (error.event, error.field, error.code) == (name, field, None)
    assert isinstance(error.__cause__, DecodeError)
    assert error.__cause__.field == field


def test_unreadable_without_a_name() -> None:
    """The name inside the data is the one the error has."""
    error = error_of({"event": "thread.run.created", "data": {"id": 5}})

    assert (error.event, error.field) == ("thread.run.created", "id")


# --- errors the server reports ---------------------------------------------------------------------------------------

SAID = "the server reported an error in the stream: "


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"code": "c", "message": "m", "param": "p", "type": "t"}, ("m", "c", "p", "t")),
        ({"error": {"code": "c", "message": "m", "param": "p", "type": "t"}}, ("m", "c", "p", "t")),
        ({"error": {"code": 500, "message": "m"}}, ("m", "500", None, None)),
        ({"error": "m", "type": "t"}, ("m", None, None, "t")),
        ({"detail": "m", "code": True}, ("m", None, None, None)),
        ({"error": {"code": "c"}}, ("it does not say which", "c", None, None)),
        ({"message": None, "param": []}, ("it does not say which", None, None, None)),
        ({}, ("it does not say which", None, None, None)),
        ("Internal Server Error", ("Internal Server Error", None, None, None)),
        ('"m"', ("m", None, None, None)),
        ("[DONE]", ("[DONE]", None, None, None)),
        ("", ("it does not say which", None, None, None)),
        ("null", ("it does not say which", None, None, None)),
        ({"message": "\ud800"}, ("?", None, None, None)),
        ({"message": "m" * 3000, "code": "c" * 300}, ("m" * 2000 + "...", "c" * 200 + "...", None, None)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_reported_errors(data: object, expected: tuple[str, ...]) -> None:
    """Whatever form an error event has, it is an error with what the server said."""
    error = error_of(data, "error")

    assert (error.message, error.code, error.param, error.type) == (SAID + expected[0], *expected[1:])
    assert (error.event, error.field, error.__cause__) == ("error", "", None)


@pytest.mark.parametrize("data", [{"error": {"message": "m"}}, {"error": "m"}])
def test_reported_without_a_name(data: object) -> None:
    """An object with an error in it is no event of another kind, though nothing says its name."""
    assert error_of(data).message == SAID + "m"
    assert error_of({"event": "error", "data": data}).message == SAID + "m"


def test_secrets_in_reported_errors() -> None:
    """What the server repeats of a key is taken out before anything is cut."""
    data = {"message": "m" * 1998 + "sk-secret", "code": "sk-secret"}

    with pytest.raises(StreamError) as caught:
        decode_event(ServerSentEvent("error", json.dumps(data)), redact=lambda text: text.replace("sk-secret", "***"))

    assert caught.value.message == f"{SAID}{'m' * 1998}**..."
    assert caught.value.code == "***"


def test_errors_can_be_pickled() -> None:
    """With all their facts."""
    error = error_of({"code": "c", "message": "m", "param": "p", "type": "t"}, "error")

    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


# --- the short way of text deltas ------------------------------------------------------------------------------------


def text_delta(**text: Any) -> dict[str, Any]:
    """Give a delta with one piece of text."""
    return {
        "id": "msg_1",
        "object": "thread.message.delta",
        "delta": {"content": [{"index": 0, "type": "text", "text": text}]},
    }


text_deltas = st.fixed_dictionaries({"value": st.text(max_size=5)}, optional={"annotations": st.just([])}).map(
    lambda text: text_delta(**text)
)


def assert_same_as_converter(data: Any) -> None:
    """Decode data as a message delta and compare every slot with what the converter makes of it."""
    try:
        expected = structure(data, MessageDelta)
    except DecodeError as error:
        assert error_of(data, "thread.message.delta").field == error.field
        return
    event = event_of(data, "thread.message.delta")
    assert event == MessageDeltaEvent(data=expected)
    assert same_slots(event.data, expected)


def same_slots(left: Any, right: Any) -> bool:
    """Compare two values slot by slot, private ones included."""
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same_slots, left, right))
    if not attrs.has(type(left)):
        return type(left) is type(right) and same_json(left, right)
    names = [field.name for field in attrs.fields(type(left))]
    return type(left) is type(right) and all(same_slots(getattr(left, n), getattr(right, n)) for n in names)


@given(st.data())
@steady
def test_text_deltas_as_the_converter_makes_them(data: st.DataObject) -> None:
    """The short way for pieces of text gives what the converter gives, hidden slots included."""
    assert_same_as_converter(data.draw(text_deltas))


@given(st.data())
@settings(steady, max_examples=500)
def test_nearly_text_deltas(data: st.DataObject) -> None:
    """With anything in the place of anything, added, or left out, the converter's way is taken or the same result."""
    value = data.draw(text_deltas | model_json(MessageDelta))
    container, key = data.draw(st.sampled_from(places(value)))
    match data.draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            container[key] = data.draw(json_values)
        case "remove":
            del container[key]
        case _:
            (container if isinstance(container, dict) else value)["more"] = data.draw(json_values)

    assert_same_as_converter(value)


@pytest.mark.parametrize(
    "data",
    [
        text_delta(value="a"),
        text_delta(value="a", annotations=[]),
        text_delta(value="a", annotations={}),
        text_delta(value="a", more=1),
        text_delta(value=5),
        text_delta(value="a") | {"object": "thread.message"},
        text_delta(value="a") | {"more": 1},
        text_delta(value="a") | {"id": 5},
        text_delta(value="a") | {"id": None},
        text_delta(value="a") | {"delta": {"content": {"index": 0}}},
        text_delta(value="a") | {"delta": {"content": "a"}},
        {"id": "m", "object": "thread.message.delta", "delta": {"role": None, "content": []}},
        {"id": "m", "object": "thread.message.delta", "delta": {"content": [{"index": True, "type": "text"}]}},
        [],
        ["id", "delta"],
        None,
        5,
    ],
    ids=str,
)
def test_not_quite_text_deltas(data: object) -> None:
    """Each thing the short way looks at, missing or different."""
    assert_same_as_converter(data)


# --- anything --------------------------------------------------------------------------------------------------------

names = st.sampled_from(
    ["", "message", "error", "done", "ping", "thread.created", "thread.run.created"]
) | st.sampled_from(
    ["thread.run.step.created", "thread.run.step.delta", "thread.message.created", "thread.message.delta"]
)


@given(names, json_values | st.builds(lambda name, data: {"event": name, "data": data}, names, json_values))
@steady
def test_any_data(name: str, data: object) -> None:
    """Any JSON under any name is an event or a StreamError."""
    with contextlib.suppress(StreamError):
        event_of(json.dumps(data), name)


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"data: ", b"{", b"event: error", b"\n", b"\n\n"]), max_size=9)
)
@steady
def test_any_bytes(chunks: list[bytes]) -> None:
    """Any bytes are events or a StreamError."""
    with contextlib.suppress(StreamError):
        events_of(*chunks)


@given(st.data())
@steady
def test_broken_recordings(data: st.DataObject) -> None:
    """A recorded stream with a few bytes changed gives events or a StreamError, and the same however it is cut."""
    stream = bytearray(STREAMS[data.draw(st.sampled_from(sorted(OWN)))])
    for place in data.draw(st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=4)):
        stream[place] = data.draw(st.integers(0, 255))

    with contextlib.suppress(StreamError):
        events_of(bytes(stream))


# --- the classes -----------------------------------------------------------------------------------------------------


def test_matching() -> None:
    """Events can be told apart by class and by name."""
    found: list[str] = []
    for event in events_until_error(STREAMS["stream.parallel_tool_calls.sse"]):
        match event:
            case RunEvent(event="thread.run.requires_action", data=Run(required_tool_calls=calls)):
                found += [call.function.name for call in calls]
            case RunStepDeltaEvent(data=delta):
                found.append(delta.id)
            case _:
                pass

    assert found == ["step_syn1"] * 5 + ["get_current_weather"] * 2


def test_events_are_values() -> None:
    """They are compared by content, can be copied and pickled, and not changed; reconciled ones are others."""
    event = event_of(RUN, "thread.run.created")

    assert pickle.loads(pickle.dumps(event)) == copy.copy(event) == event
    assert attrs.evolve(event, reconciled=True) != event
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.reconciled = True  # type: ignore[misc]
    assert not hasattr(event, "__dict__")


def test_all_classes_are_public() -> None:
    """Each class of events is offered by the package of models."""
    assert set(asyncassist.models.events.__all__) < set(models.__all__)
    for name in asyncassist.models.events.__all__:
        assert getattr(models, name) is getattr(asyncassist.models.events, name)


@pytest.mark.parametrize("code", ["import asyncassist", "from asyncassist.models import Run; Run.__init__"])
def test_streaming_loads_when_it_is_used(code: str) -> None:
    """A program without streams does not pay for them."""
    package = Path(models.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys; {code}; print(json.dumps(sorted(sys.modules)))"],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        check=True,
    )
    loaded = [name for name in json.loads(done.stdout) if name.startswith("asyncassist.")]

    assert ("asyncassist.models.runs" in loaded) is ("Run" in code)
    assert not {"events", "sse", "snapshots", "_merging", "message_deltas", "run_step_deltas"} & {
        name.rpartition(".")[2] for name in loaded
    }
