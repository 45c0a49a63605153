"""JSON values to models and back: what fits, what does not, and where."""

from __future__ import annotations

import enum
import json
import math
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from asyncassist._wire.converter import structure, unstructure
from asyncassist._wire.json import dumps
from asyncassist.errors import DecodeError, UsageError
from asyncassist.models import (
    UNSET,
    Annotation,
    Assistant,
    AssistantsNamedToolChoice,
    AssistantToolsCode,
    AssistantToolsFunction,
    FunctionObject,
    Message,
    MessageContentText,
    MessageDelta,
    Page,
    ResponseFormatJsonObject,
    Run,
    RunStep,
    RunStepDelta,
    RunStepDetailsToolCallsCode,
    RunStepDetailsToolCallsFileSearchResult,
    RunToolCall,
    Thread,
    Unknown,
    UnknownAnnotation,
    UnknownTool,
)

MESSAGE = {"id": "msg_1", "thread_id": "thread_1", "role": "user"}
RUN = {"id": "run_1", "thread_id": "thread_1", "status": "queued"}
STEP = {"id": "step_1", "thread_id": "thread_1"}


def nested(levels: int) -> Any:
    """Make an array inside an array, and so on."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def with_little_stack(call: Callable[[], object], spare: int) -> object:
    """Call with only ``spare`` frames left below the limit on recursion."""
    used = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        used += 1

    def descend(levels: int) -> object:
        return descend(levels - 1) if levels else call()

    return descend(sys.getrecursionlimit() - used - spare)


# --- structure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_, data, path, reason",
    [
        (Run, None, "", "expected an object, got null"),
        (Run, [RUN], "", "expected an object, got an array"),
        (Run, RUN | {"id": UNSET}, "id", "is missing"),
        (Run, RUN | {"id": None}, "id", "is null"),
        (Run, RUN | {"id": 7}, "id", "expected a string, got a number"),
        (Run, RUN | {"status": None}, "status", "is null"),
        (Run, RUN | {"status": True}, "status", "expected a string, got a boolean"),
        (Run, RUN | {"thread_id": UNSET}, "thread_id", "is missing"),
        (Run, RUN | {"model": b"gpt"}, "model", "expected a string, got bytes"),
        (Run, RUN | {"created_at": "1"}, "created_at", "expected an integer, got a string"),
        (Run, RUN | {"created_at": True}, "created_at", "expected an integer, got a boolean"),
        (Run, RUN | {"created_at": 1.5}, "created_at", "expected an integer, got 1.5"),
        (Run, RUN | {"created_at": 1e25}, "created_at", "expected an integer, got 1e+25"),
        (Run, RUN | {"created_at": math.nan}, "created_at", "expected an integer, got nan"),
        (Run, RUN | {"temperature": "1"}, "temperature", "expected a number, got a string"),
        (Run, RUN | {"temperature": False}, "temperature", "expected a number, got a boolean"),
        (Run, RUN | {"parallel_tool_calls": 1}, "parallel_tool_calls", "expected a boolean, got a number"),
        (Run, RUN | {"metadata": []}, "metadata", "expected an object, got an array"),
        (Run, RUN | {"metadata": "notes"}, "metadata", "expected an object, got a string"),
        (Run, RUN | {"tools": {}}, "tools", "expected an array, got an object"),
        (Run, RUN | {"tools": ["retrieval"]}, "tools[0]", "expected an object, got a string"),
        (Run, RUN | {"tool_choice": 1}, "tool_choice", "expected an object or a string, got a number"),
        (Run, RUN | {"usage": {"total_tokens": []}}, "usage.total_tokens", "expected an integer, got an array"),
        (Run, RUN | {"later": nested(300)}, "later", "nested more than 200 levels deep"),
        (Message, MESSAGE | {"role": UNSET}, "role", "is missing"),
        (Message, MESSAGE | {"content": "hello"}, "content", "expected an array, got a string"),
        (RunStep, STEP | {"thread_id": None}, "thread_id", "is null"),
        (MessageContentText, {"type": "image"}, "type", "expected 'text', got another string"),
        (MessageContentText, {"type": 1}, "type", "expected 'text', got a number"),
        (RunStepDelta, {"id": "x", "delta": "y"}, "delta", "expected an object, got a string"),
        (Page[Run], {"data": [RUN, RUN | {"id": None}]}, "data[1].id", "is null"),
        (
            Page[Message],
            {"data": [MESSAGE, MESSAGE | {"content": [{}, {"type": "text", "text": {"value": 1}}]}]},
            "data[1].content[1].text.value",
            "expected a string, got a number",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_misfits(type_: Any, data: Any, path: str, reason: str) -> None:
    """Nothing is coerced: a value of the wrong kind is a DecodeError that names its place and never shows text."""
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if value is not UNSET}

    with pytest.raises(DecodeError) as caught:
        structure(data, type_)

    assert caught.value.field == path
    assert caught.value.message == f"{path or 'the body'}: {reason}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", ["text", 1, 0.5, True])
def test_scalars(value: object) -> None:
    """A plain value fits its own type."""
    assert structure(value, type(value)) is value


@pytest.mark.parametrize("value, expected", [(1795341959.0, 1795341959), (-0.0, 0), (2.0**53, 2**53), (10**30, 10**30)])
def test_integers(value: float, expected: int) -> None:
    """A float without a fraction is an integer, because some servers write times so; long integers stay exact."""
    created_at = structure(RUN | {"created_at": value}, Run).created_at

    assert (created_at, type(created_at)) == (expected, int)


@pytest.mark.parametrize("value", [1, 0.25, 10**400, math.inf])
def test_floats(value: float) -> None:
    """Any number fits where a float is expected, and stays as it is."""
    assert structure({"score": value}, RunStepDetailsToolCallsFileSearchResult).score is value


def test_absent_and_null() -> None:
    """What is absent or null is None, an empty tuple, an empty mapping or empty text, as the field's type says."""
    for data in (RUN, RUN | dict.fromkeys(("tools", "metadata", "usage", "model", "object", "temperature"))):
        run = structure(data, Run)

        assert (run.tools, run.metadata, run.usage, run.model) == ((), {}, None, None)
        assert run.object == "thread.run"
        assert unstructure(run) == data


def test_text_is_never_none() -> None:
    """A text part without text, and a call without a function, have empty ones."""
    part = structure({"type": "text", "text": None}, MessageContentText)
    call = structure({"id": "call_1"}, RunToolCall)

    assert (part.text.value, part.text.annotations) == ("", ())
    assert (call.function.name, call.function.arguments) == ("", "")
    assert unstructure(part) == {"type": "text", "text": None}
    assert unstructure(call) == {"id": "call_1"}


def test_empty_lists_stay() -> None:
    """An empty list that encoding would leave out goes back out where it was sent."""
    data = {"id": "msg_1", "delta": {"content": []}}

    assert unstructure(structure(data, MessageDelta)) == data | {"delta": {"content": []}}
    assert unstructure(structure({"id": "msg_1", "delta": {}}, MessageDelta)) == {"id": "msg_1", "delta": {}}


@pytest.mark.parametrize(
    "data",
    [
        {"type": "hologram", "hologram": {"url": "x"}},
        {"hologram": 1},
        {"type": None},
        {"type": ["text"]},
        {},
    ],
    ids=repr,
)
def test_unknown_members(data: dict[str, object]) -> None:
    """A member of an unknown kind, or of none, is kept whole."""
    message = structure(MESSAGE | {"content": [data], "attachments": [{"tools": [data]}]}, Message)

    assert isinstance(message.content[0], Unknown)
    assert message.content[0].raw == data
    assert message.content[0].type == (data.get("type") if isinstance(data.get("type"), str) else None)
    assert isinstance(message.attachments[0].tools[0], UnknownTool)
    assert unstructure(message) == MESSAGE | {"content": [data], "attachments": [{"tools": [data]}]}


def test_unions_by_tag() -> None:
    """The members of a union are told apart by their type."""
    annotation: Any = structure({"type": "url_citation", "url": "x"}, Annotation)  # type: ignore[arg-type]
    step = structure(
        STEP | {"step_details": {"type": "tool_calls", "tool_calls": [{"id": "c", "type": "code_interpreter"}]}},
        RunStep,
    )

    assert isinstance(annotation, UnknownAnnotation)
    assert step.step_details is not None
    assert step.step_details.tool_calls == (RunStepDetailsToolCallsCode(id="c"),)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value, expected",
    [
        ("auto", "auto"),
        ("brief", "brief"),
        ({"type": "json_object"}, ResponseFormatJsonObject()),
    ],
)
def test_string_or_object(value: Any, expected: object) -> None:
    """Where the API takes a name or an object, both are decoded, unknown names too."""
    assert structure(RUN | {"response_format": value}, Run).response_format == expected


def test_named_tool_choice() -> None:
    """A tool choice by name keeps kinds of tools this version does not know."""
    run = structure(RUN | {"tool_choice": {"type": "web_search"}}, Run)

    assert run.tool_choice == AssistantsNamedToolChoice(type="web_search")


def test_page_of_anything() -> None:
    """A page without a named item type keeps its items raw."""
    assert structure({"data": [{"id": 1}, "x"]}, Page).data == ({"id": 1}, "x")


def test_raw_depth() -> None:
    """Raw JSON is kept up to 200 levels, far more than any schema needs, and then goes back out."""
    data = RUN | {"later": nested(200)}

    assert unstructure(structure(data, Run)) == data
    with pytest.raises(DecodeError, match="later: nested more than 200 levels deep"):
        structure(RUN | {"later": {"inside": nested(200)}}, Run)
    with pytest.raises(DecodeError, match=r"tools\[0\].function.parameters: nested"):
        structure(RUN | {"tools": [{"type": "function", "function": {"parameters": {"a": nested(200)}}}]}, Run)


def test_no_stack_left() -> None:
    """Even with no room on the stack, only the library's own errors come out."""
    with pytest.raises(DecodeError, match="nested too deeply"):
        with_little_stack(lambda: structure(RUN | {"later": nested(100)}, Run), 60)
    with pytest.raises(UsageError, match="nested too deeply"):
        with_little_stack(lambda: unstructure(nested(100)), 60)


# --- unstructure ------------------------------------------------------------------------------------------------------


class Colour(str, enum.Enum):  # noqa: UP042 - users have both kinds
    """A name by another name."""

    BLUE = "blue"


class Reading(float):
    """Like the numbers of numerical libraries."""


class Level(enum.IntEnum):
    """A number by name."""

    HIGH = 3


def test_plain_values() -> None:
    """Models, mappings and sequences of all kinds become plain dicts and lists."""
    value = {
        "model": AssistantToolsCode(),
        "left_out": UNSET,
        "mapping": MappingProxyType({Colour.BLUE: Level.HIGH}),
        "tuple": (1, Reading(0.5), Colour.BLUE, None, False),
    }

    plain: Any = unstructure(value)

    assert plain == {
        "model": {"type": "code_interpreter"},
        "mapping": {"blue": 3},
        "tuple": [1, 0.5, "blue", None, False],
    }
    assert [type(item) for item in plain["tuple"]] == [int, float, str, type(None), bool]
    assert type(next(iter(plain["mapping"]))) is str


def test_nothing_is_shared() -> None:
    """What was decoded or given is not changed through what is sent."""
    parameters = {"type": "object", "required": ["a"]}
    tool = AssistantToolsFunction(function=FunctionObject(name="f", parameters=parameters))

    plain: Any = unstructure({"tools": [tool]})
    plain["tools"][0]["function"]["parameters"]["required"].append("b")

    assert parameters == {"type": "object", "required": ["a"]}


class Node:
    """Something that is no JSON."""


CYCLE: list[object] = []
CYCLE.append({"again": CYCLE})


@pytest.mark.parametrize(
    "value, message",
    [
        ({"a": [1, math.nan]}, "a[1]: nan cannot be sent as JSON"),
        ({"a": {"b c": math.inf}}, "a['b c']: inf cannot be sent as JSON"),
        ([-Reading("inf")], "[0]: -inf cannot be sent as JSON"),
        (b"x", "bytes cannot be sent as JSON"),
        ({"a": bytearray(b"x")}, "a: bytearray cannot be sent as JSON"),
        ({"a": {1, 2}}, "a: set cannot be sent as JSON"),
        ({"a": (item for item in "ab")}, "a: generator cannot be sent as JSON"),
        ({"a": Node()}, "a: Node cannot be sent as JSON"),
        ({"a": [UNSET]}, "a[0]: Unset cannot be sent as JSON"),
        ({"a": {1: 2}}, "a['1']: a key must be a string"),
        (FunctionObject(parameters={"x": {1}}), "parameters.x: set cannot be sent as JSON"),
        (UnknownTool(raw={"x": 1j}), "x: complex cannot be sent as JSON"),
        ([Thread(id="t", extra_fields={"y": Node})], "[0].y: type cannot be sent as JSON"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_not_json(value: object, message: str) -> None:
    """What JSON cannot carry is a UsageError that names its place, before anything is sent."""
    with pytest.raises(UsageError) as caught:
        unstructure(value)

    assert caught.value.message == message


@pytest.mark.parametrize("value", [CYCLE, nested(100_000), nested(252)], ids=["cycle", "deep", "just too deep"])
def test_too_deep(value: object) -> None:
    """A value inside itself, or one nested beyond all sense, is a UsageError with a path of bounded length."""
    with pytest.raises(UsageError, match="nested too deeply, or inside itself") as caught:
        dumps({"field": value})

    assert caught.value.message.startswith("field[0]")
    assert len(caught.value.message) < 500


def test_deep_enough() -> None:
    """A value of 250 levels can be sent."""
    assert json.loads(dumps(nested(250))) == nested(250)


def test_changed_after_decoding() -> None:
    """A changed model goes out as changed, with whatever else had come."""
    data = {"id": "asst_1", "name": None, "temperature": None, "reasoning_effort": "low"}

    changed = attrs.evolve(structure(data, Assistant), temperature=0.5)

    assert unstructure(changed) == data | {"temperature": 0.5}
