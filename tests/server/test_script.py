"""The offline backend and its script."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import anyio
import pytest

from asyncassist import UsageError
from asyncassist.models import Message, Run
from asyncassist.server import Failure, FunctionCall, OfflineBackend, Rule

from .helpers import Clock, Json
from .reading import DELTA, Streamed, last_run, names, path_of, pieces, serving

pytestmark = pytest.mark.anyio


async def ask(here: Streamed, text: str, *outputs: list[str]) -> tuple[Run, list[str]]:
    """Run a thread with a message, answering each round of tool calls; give the run and the pieces of its last text."""
    async with here.runs(await here.api.thread(text), await here.api.assistant()) as stream:
        events = await stream.rest()
    for given in outputs:
        async with here.outputs(last_run(events), *given) as stream:
            events = await stream.rest()
    return last_run(events), pieces(events)


async def said(rules: list[Rule], text: str, *outputs: list[str]) -> str:
    async with serving(Clock(), OfflineBackend(rules)) as here:
        return "".join((await ask(here, text, *outputs))[1])


async def test_the_first_rule_that_matches_answers() -> None:
    """Rules match a part of the last message, a pattern in it, or everything, in their order."""
    rules = [
        Rule("weather", say="It rains."),
        Rule(re.compile(r"(?i)\bbye\b"), say="See you."),
        Rule("weather", say="never"),
        Rule(say="What?"),
    ]

    assert await said(rules, "what weather is it") == "It rains."
    assert await said(rules, "Bye now") == "See you."
    assert await said(rules, "Weather") == "What?"
    assert await said(rules, "bypass") == "What?"


async def test_without_a_rule_the_backend_says_that_it_is_no_model() -> None:
    """No script, no rule that matches, or a rule without words: the usual answer."""
    usual = "This is the offline backend: no model was asked. The last message was: hello"

    assert await said([], "hello") == usual
    assert await said([Rule("bye", say="no")], "hello") == usual
    assert await said([Rule("hello")], "hello") == usual


async def test_function_tools_alone_change_nothing(clock: Clock) -> None:
    """A run that has tools is answered in words where no rule calls them."""
    tool = {"type": "function", "function": {"name": "f"}}
    async with serving(clock, OfflineBackend([Rule("x", calls=[FunctionCall("f")])])) as here:
        assistant_id = await here.api.assistant(tools=[tool])
        async with here.runs(await here.api.thread("hello"), assistant_id) as stream:
            events = await stream.rest()

    assert last_run(events).status == "completed"
    assert "no model was asked" in "".join(pieces(events))


async def test_an_answer_comes_word_by_word(clock: Clock) -> None:
    """Each word is a piece, with the space after it; nothing of the text is lost."""
    text = "  One, two\n\n three! "
    async with serving(clock, OfflineBackend([Rule(say=text)])) as here:
        _, words = await ask(here, "count")

    assert words == ["  ", "One, ", "two\n\n ", "three! "]


async def test_a_rule_calls_tools_and_then_says_what_came_of_them(clock: Clock) -> None:
    """Rounds are called one after the other, the calls of one round at once; the text uses the outputs of all."""
    rule = Rule(
        "weather",
        calls=[FunctionCall("where"), [FunctionCall("weather", {"city": "Paris"}), FunctionCall("time", '{"x": 1}')]],
        say="In {outputs[0]}: {outputs[1]} at {outputs[-1]}. You said: {message}",
    )
    asked: list[list[tuple[str, str]]] = []
    async with serving(clock, OfflineBackend([rule])) as here:
        async with here.runs(await here.api.thread("weather?"), await here.api.assistant()) as stream:
            run = last_run(await stream.rest())
        for outputs in (["Paris"], ["{message}", "noon"]):
            asked.append([(call.function.name, call.function.arguments) for call in run.required_tool_calls])
            async with here.outputs(run, *outputs) as stream:
                events = await stream.rest()
            run = last_run(events)

    assert asked == [[("where", "{}")], [("weather", '{"city":"Paris"}'), ("time", '{"x": 1}')]]
    assert "".join(pieces(events)) == "In Paris: {message} at noon. You said: weather?"
    assert run.usage is not None
    # Three answers to one word: the words of the arguments in each round, then those of the text.
    assert (run.usage.prompt_tokens, run.usage.completion_tokens) == (3, 1 + 3 + 8)


async def test_other_braces_stay() -> None:
    """A text may be JSON; only the two placeholders are replaced."""
    text = '{"a": {"b": [1]}, "c": "{outputs}", "d": "{message}"}'

    assert await said([Rule(say=text)], "hi") == '{"a": {"b": [1]}, "c": "{outputs}", "d": "hi"}'


async def test_a_function_can_make_the_text() -> None:
    """It is given the outputs of all rounds in their order."""
    rule = Rule(calls=[FunctionCall("one"), FunctionCall("two")], say=lambda outputs: f"sum {sum(map(int, outputs))}")

    assert await said([rule], "add", ["40"], ["2"]) == "sum 42"


@pytest.mark.parametrize("say", [lambda outputs: 3, lambda outputs: outputs[5]])
async def test_a_function_that_fails_fails_its_run(clock: Clock, say: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong in a function of the script is in the log."""
    async with serving(clock, OfflineBackend([Rule(say=say)])) as here:
        run, _ = await ask(here, "x")

    assert run.status == "failed"
    assert "the backend failed at run" in caplog.text


async def test_a_rule_can_fail(clock: Clock) -> None:
    """The run fails with the code and message, at once, after tools, or in the middle of a text."""
    failure = Failure("slow down", code="rate_limit_exceeded")
    rules = [
        Rule("at once", fail=failure),
        Rule("after tools", calls=[FunctionCall("f")], fail=failure),
        Rule("after words", say="I was about to", fail=failure),
        Rule(fail=Failure()),
    ]
    async with serving(clock, OfflineBackend(rules)) as here:
        outcomes = [
            await ask(here, "at once"),
            await ask(here, "after tools", [""]),
            await ask(here, "after words"),
            await ask(here, "x"),
        ]

    errors = [run.last_error for run, _ in outcomes]
    assert all(run.status == "failed" for run, _ in outcomes)
    assert [error and error.code for error in errors] == ["rate_limit_exceeded"] * 3 + ["server_error"]
    assert [error and error.message for error in errors] == ["slow down"] * 3 + ["The backend was told to fail."]
    assert ["".join(words) for _, words in outcomes] == ["", "", "I was about to", ""]


async def test_a_rule_can_stop_short(clock: Clock) -> None:
    """The run is incomplete, as if a limit had cut its text."""
    async with serving(clock, OfflineBackend([Rule(say="half of", stopped_by="max_prompt_tokens")])) as here:
        run, words = await ask(here, "x")

    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert words == ["half ", "of"]


async def test_delays_and_pauses(clock: Clock) -> None:
    """The backend waits before each answer, a rule as long as it says, and between the words of a text."""
    rules = [Rule("slow", delay=5, calls=[FunctionCall("f")], say="a b"), Rule("quick", delay=0, say="c")]
    seen: list[tuple[float, str]] = []

    async with serving(clock, OfflineBackend(rules, delay=2, pause=3, sleep=clock.sleep)) as here:

        async def read(text: str, *outputs: str) -> None:
            async with here.runs(await here.api.thread(text), await here.api.assistant()) as stream:
                run = last_run(await stream.until("thread.run.in_progress"))
                await note(stream)
                if outputs:
                    run = await here.read(path_of(run), Run)
                    async with here.outputs(run, *outputs) as rest:
                        await note(rest)

        async def note(stream: Any) -> None:
            while (frame := await stream.next_frame()) is not None:
                if frame.event in (DELTA, "thread.run.requires_action"):
                    seen.append((clock.now, frame.event))

        for text, outputs in (("quick", ()), ("slow", ("x",)), ("other", ())):
            started = clock.now
            seen.clear()
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(read, text, *outputs)
                for _ in range(60 if text == "other" else 15):
                    await clock.advance(1)
            times = [(now - started, name) for now, name in seen]
            if text == "quick":
                assert times == [(0, DELTA)]
            elif text == "slow":
                assert times == [(5, "thread.run.requires_action"), (10, DELTA), (13, DELTA)]
            else:
                assert times[0] == (2, DELTA)
                assert {later - earlier for (earlier, _), (later, _) in pairwise(times)} == {3}


async def test_the_last_message_counts_whoever_wrote_it(clock: Clock) -> None:
    """A run on a thread that ends with an answer is about that answer."""
    async with serving(clock, OfflineBackend([Rule("first", say="second"), Rule("second", say="third")])) as here:
        thread_id = await here.api.thread("first")
        texts: list[str] = []
        for _ in range(2):
            async with here.runs(thread_id, await here.api.assistant()) as stream:
                texts.append("".join(pieces(await stream.rest())))
        messages = await here.list(f"/threads/{thread_id}/messages", Message)

    assert texts == ["second", "third"]
    assert len(messages) == 3


async def test_an_empty_thread_is_answered_too(clock: Clock) -> None:
    """Without a message there is only the rule for everything, or the usual answer."""
    async with serving(
        clock, OfflineBackend([Rule("x", say="no"), Rule(re.compile("^$"), say="Say something.")])
    ) as here:
        async with here.runs(await here.api.thread(), await here.api.assistant()) as stream:
            events = await stream.rest()

    assert "".join(pieces(events)) == "Say something."
    assert names(events)[-1] == "done"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"when": 3}, TypeError, "when"),
        ({"when": re.compile(b"x")}, TypeError, "pattern"),
        ({"calls": [[]]}, UsageError, "at least one call"),
        ({"calls": ["f"]}, TypeError, "FunctionCall objects, not of str"),
        ({"calls": [3]}, TypeError, "iterable"),
        ({"say": 3}, TypeError, "a str, a function or None, not int"),
        ({"say": "{outputs[0]}"}, UsageError, re.escape("{outputs[0]}: the rule has 0 tool calls")),
        ({"say": "{outputs[-2]}", "calls": [FunctionCall("f")]}, UsageError, "has 1 tool calls"),
        ({"fail": "x"}, TypeError, "fail"),
        ({"stopped_by": "x"}, ValueError, "stopped_by"),
        ({"delay": "1"}, TypeError, "delay"),
        ({"delay": -1}, UsageError, "delay must be"),
        ({"delay": float("inf")}, UsageError, "delay must be"),
        ({"delay": float("nan")}, UsageError, "delay must be"),
    ],
)
def test_a_rule_is_checked_when_it_is_made(fields: Json, error: type[Exception], message: str) -> None:
    """A rule that could not work is refused at once, in words that name what is wrong."""
    with pytest.raises(error, match=message):
        Rule(**fields)


def test_a_failure_is_checked_when_it_is_made() -> None:
    """Its message and code are text."""
    with pytest.raises(TypeError):
        Failure(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Failure("x", code=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("script", [[3], ["x"], 3])
def test_a_script_is_made_of_rules(script: Any) -> None:
    """Anything else is a TypeError where the backend is made."""
    with pytest.raises(TypeError):
        OfflineBackend(script)


@pytest.mark.parametrize("fields", [{"delay": -1.0}, {"pause": float("nan")}, {"pause": float("inf")}])
def test_times_of_the_backend_are_checked(fields: Json) -> None:
    """Seconds are finite and not below zero."""
    with pytest.raises(UsageError, match="must be a finite number of seconds"):
        OfflineBackend(**fields)
