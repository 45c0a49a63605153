"""How the pieces of tool calls become calls, whatever a server numbers and names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncassist.errors import StreamError
from asyncassist.server import FunctionCall
from asyncassist.server.backends.chat_calls import ToolCalls

from .helpers import Json, calls, completion, entry, read

PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'
TWO = [("weather", PARIS), ("weather", ROME)]


def made(*deltas: list[Json]) -> list[FunctionCall]:
    answer = ToolCalls()
    for delta in deltas:
        answer.take(delta)
    return answer.made(())


def halves(arguments: str) -> tuple[str, str]:
    return arguments[:7], arguments[7:]


A, B = halves(PARIS)
C, D = halves(ROME)

STREAMS: dict[str, tuple[list[Json], ...]] = {
    "as the API has it": (
        [entry("weather", "", index=0, id="a")],
        [entry(None, A, index=0)],
        [entry(None, B, index=0)],
        [entry("weather", "", index=1, id="b")],
        [entry(None, C, index=1)],
        [entry(None, D, index=1)],
    ),
    "in turns": (
        [entry("weather", A, index=0, id="a"), entry("weather", C, index=1, id="b")],
        [entry(None, D, index=1), entry(None, B, index=0)],
    ),
    "whole calls, one after the other": (
        [entry("weather", PARIS, index=0, id="a")],
        [entry("weather", ROME, index=1, id="b")],
    ),
    "whole calls, all numbered 0": (
        [entry("weather", PARIS, index=0, id="a")],
        [entry("weather", ROME, index=0, id="b")],
    ),
    "whole calls, all numbered 0, no ids": ([entry("weather", PARIS, index=0)], [entry("weather", ROME, index=0)]),
    "no numbers": ([entry("weather", A, id="a")], [entry(None, B)], [entry("weather", C, id="b")], [entry(None, D)]),
    "no numbers, the id in every piece": (
        [entry("weather", A, id="a"), entry("weather", C, id="b")],
        [entry(None, B, id="a"), entry(None, D, id="b")],
    ),
    "neither numbers nor ids": ([entry("weather", PARIS), entry("weather", ROME)],),
    "neither numbers nor ids, in pieces": (
        [entry("weather", A)],
        [entry(None, B)],
        [entry("weather", C)],
        [entry(None, D)],
    ),
    "the name in every piece": (
        [entry("weather", A, index=0, id="a")],
        [entry("weather", B, index=0, id="a")],
        [entry("weather", C, index=1)],
        [entry("weather", D, index=1)],
    ),
    "a new id in every piece": (
        [entry("weather", A, index=0, id="a")],
        [entry(None, B, index=0, id="x")],
        [entry("weather", C, index=1, id="b")],
        [entry(None, D, index=1, id="y")],
    ),
    "the name in pieces": (
        [entry("wea", None, index=0), entry("wea", None, index=1)],
        [entry("ther", None, index=0), entry("weather", None, index=1)],
        [entry(None, PARIS, index=0), entry(None, ROME, index=1)],
    ),
    "the number comes late": (
        [entry("weather", A, id="a")],
        [entry(None, B, index=0)],
        [entry("weather", ROME, index=1, id="b")],
    ),
    "empty and null fields": (
        [entry("weather", None, index=0, id="a", type="function")],
        [entry("", A, index=0, id="", type=None), entry("", B, index=0, id=None)],
        [{"index": 1, "id": "b", "function": {"name": "weather", "arguments": None}}],
        [entry(None, ROME, index=1)],
    ),
    "arguments as an object": (
        [entry("weather", {"city": "Paris"}, index=0), entry("weather", {"city": "Rome"}, index=1)],
    ),
    "a call that is said twice": (
        [entry("weather", A, index=0, id="a")],
        [entry(None, B, index=0)],
        [entry("weather", PARIS, index=0, id="a"), entry("weather", ROME, index=1, id="b")],
    ),
}


@pytest.mark.parametrize("deltas", STREAMS.values(), ids=STREAMS)
def test_two_calls(deltas: tuple[list[Json], ...]) -> None:
    """Two calls come out as two, however they come in."""
    calls = made(*deltas)

    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        (name, json.loads(arguments)) for name, arguments in TWO
    ]


def test_different_functions_without_ids() -> None:
    """Whole calls of different functions, all numbered 0, are several."""
    calls = made([entry("now", "{}", index=0)], [entry("weather", PARIS, index=0)], [entry("now", "{}")])

    assert [call.name for call in calls] == ["now", "weather", "now"]


@pytest.mark.parametrize("arguments", [None, "", " \n"])
def test_no_arguments(arguments: Any) -> None:
    """A call without arguments has an empty object of them."""
    assert made([entry("now", arguments, index=0, id="a")]) == [FunctionCall("now", "{}", "a")]


def test_bad_arguments_stay() -> None:
    """Arguments that are no JSON are passed on: the tools are told, and so the model is."""
    assert made([entry("now", '{"a": ', index=0)]) == [FunctionCall("now", '{"a":')]


def test_ids() -> None:
    """Ids are the server's, as long as none is there twice, in this answer or the run's earlier ones."""
    answer = ToolCalls()
    names = [("a", "call_1"), ("b", "call_1"), ("c", "call_0"), ("d", None), ("e", 7), ("f", "call_2")]
    answer.take([entry(name, "{}", id=id) for name, id in names], are_whole=True)

    assert [call.id for call in answer.made({"call_0"})] == ["call_1", None, None, None, None, "call_2"]


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", None])
def test_calls_count_whatever_the_end(finish: str | None) -> None:
    """Calls are calls, whatever the server says about why it ended."""
    reader, _ = read(calls(entry("now", "{}", index=0, id="a"), finish=finish), b"data: [DONE]\n\n")

    assert reader.answer.reply(()).tool_calls == (FunctionCall("now", "{}", "a"),)


def test_calls_of_an_answer_that_is_not_streamed() -> None:
    """In a whole answer each entry is a call, even if two look the same."""
    twice = [{"type": "function", **entry("now", '{"bad')}] * 2
    reader, texts = read(json.dumps(completion(None, finish="tool_calls", tool_calls=twice)).encode())

    assert texts == []
    assert reader.answer.reply(()).tool_calls == (FunctionCall("now", '{"bad'),) * 2


def test_no_name() -> None:
    """A call of nothing fails."""
    with pytest.raises(StreamError, match="tool call without a name"):
        made([entry(None, "{}", index=0)])


@pytest.mark.parametrize("value", [None, {}, "x", [None, 1]])
def test_no_calls(value: Any) -> None:
    """What is no list of calls has none; what is no object in it is a call without a name."""
    answer = ToolCalls()
    answer.take(value)

    assert len(answer) == (1 if isinstance(value, list) else 0)
