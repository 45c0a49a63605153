"""What a model server is sent for a turn."""

from __future__ import annotations

from typing import Any

import pytest

from asyncassist.models import (
    AssistantsNamedToolChoice,
    AssistantsNamedToolChoiceFunction,
    AssistantToolsCode,
    AssistantToolsFileSearch,
    AssistantToolsFunction,
    FunctionObject,
    ImageFile,
    ImageUrl,
    Message,
    MessageAttachment,
    MessageContentImageFile,
    MessageContentImageUrl,
    MessageContentRefusal,
    MessageContentText,
    MessageText,
    ResponseFormatJsonObject,
    ResponseFormatJsonSchema,
    ResponseFormatJsonSchemaDefinition,
    ResponseFormatText,
    Run,
    UnknownMessageContent,
    UnknownTool,
)
from asyncassist.server import BackendError
from asyncassist.server.backends.chat_request import ChatForm, chat_body, not_callable

from .helpers import Json, round_of, run_of, said, tokens

WEATHER = AssistantToolsFunction(function=FunctionObject(name="weather", parameters={"type": "object"}, strict=True))
PICTURE = MessageContentImageUrl(image_url=ImageUrl(url="https://x/cat.png", detail="low"))


def body_of(run: Run | None = None, *messages: Message, rounds: Any = (), **form: Any) -> Json:
    return chat_body(run or run_of(), messages, rounds, ChatForm(**{"model": str, **form}))


def content_of(*parts: Any, role: str = "user", **fields: Any) -> Any:
    body = body_of(None, said("", role, content=parts, **fields))
    messages: Any = body["messages"]
    return messages[0]["content"]


def text(value: str) -> MessageContentText:
    return MessageContentText(text=MessageText(value=value))


# Messages.


def test_instructions_and_thread() -> None:
    """The instructions come first, as the system; then the thread, oldest first, text as a plain string."""
    body = body_of(run_of(instructions="Be brief."), said("Hi"), said("Hello.", "assistant"), said("Bye"))

    assert body == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Bye"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_instructions_as_developer() -> None:
    """The instructions can be the developer's, for models that want no system message."""
    body = body_of(run_of(instructions="Be brief."), instructions_role="developer")

    assert body["messages"] == [{"role": "developer", "content": "Be brief."}]


def test_no_instructions() -> None:
    """Without instructions there is no message of the system."""
    assert body_of(run_of(instructions=""), said("Hi"))["messages"] == [{"role": "user", "content": "Hi"}]


def test_several_texts_are_one_string() -> None:
    """The texts of a message are one string, since some servers take no lists."""
    assert content_of(text("one"), text("two")) == "one\ntwo"


def test_images_by_url() -> None:
    """An image of a user goes along by its URL, with its detail where it has one."""
    plain = MessageContentImageUrl(image_url=ImageUrl(url="https://x/dog.png"))

    assert content_of(text("Look:"), PICTURE, plain) == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://x/cat.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/dog.png"}},
    ]


def test_images_of_the_assistant_are_named() -> None:
    """An image in a message of the assistant, who can show none in a chat, is named."""
    assert content_of(PICTURE, role="assistant") == "[Image: https://x/cat.png]"


@pytest.mark.parametrize(
    "part, expected",
    [
        (
            MessageContentImageFile(image_file=ImageFile(file_id="file-1")),
            "[Image file file-1: it cannot be seen here.]",
        ),
        (MessageContentImageFile(), "[A part of the message, image_file, that cannot be seen here.]"),
        (MessageContentImageUrl(), "[A part of the message, image_url, that cannot be seen here.]"),
        (UnknownMessageContent(type="audio"), "[A part of the message, audio, that cannot be seen here.]"),
        (MessageContentRefusal(refusal="I won't."), "I won't."),
        (MessageContentRefusal(), ""),
    ],
)
def test_what_cannot_be_shown_is_said(part: Any, expected: str) -> None:
    """Where something cannot be shown to the model, it reads so."""
    assert content_of(part) == expected


def test_attachments_are_said() -> None:
    """The model reads of attached files that it cannot see them."""
    content = content_of(text("Sum up."), attachments=(MessageAttachment(file_id="file-2"),))

    assert content == "Sum up.\n[Attached file file-2: its content cannot be seen here.]"


def test_empty_messages_of_the_assistant_are_left_out() -> None:
    """A message the assistant never began says nothing; one of a user is there even if it is empty."""
    body = body_of(None, said("Hi"), said("", "assistant", content=()), said("", content=()))

    assert body["messages"] == [{"role": "user", "content": "Hi"}, {"role": "user", "content": ""}]


# Rounds.


def test_rounds_stand_behind_the_thread_with_their_texts() -> None:
    """The run's rounds follow the thread in order, each with what the run had said before it, then the outputs."""
    own = said("Let me see.", "assistant", id="msg_own", run_id="run_1")
    rounds = [
        round_of(("call_1", '{"city":"Paris"}', "18"), ("call_2", '{"city":"Rome"}', "")),
        round_of(("call_3", "{}", "late"), message_id="msg_own"),
    ]
    body = body_of(None, said("Weather?"), said("Old.", "assistant", run_id="run_0"), own, rounds=rounds)

    def call(id: str, arguments: str) -> Json:
        return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}

    assert body["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Old."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("call_1", '{"city":"Paris"}'), call("call_2", '{"city":"Rome"}')],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "18"},
        {"role": "tool", "tool_call_id": "call_2", "content": ""},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call("call_3", "{}")]},
        {"role": "tool", "tool_call_id": "call_3", "content": "late"},
    ]


@pytest.mark.parametrize("arguments", ["", '{"city": "Par', "[1]", "oops", "null"])
def test_arguments_that_are_no_object_are_not_repeated(arguments: str) -> None:
    """What the model wrote as arguments and is no JSON object is not shown to it again: servers refuse it."""
    messages: Any = body_of(rounds=[round_of(("call_1", arguments, "Error: bad"))])["messages"]

    assert messages[0]["tool_calls"][0]["function"]["arguments"] == "{}"


# Tools.


def test_functions() -> None:
    """Functions are sent as they are, one without parameters with a schema of none; other tools are not sent."""
    bare = AssistantToolsFunction(function=FunctionObject(name="now"))
    run = run_of(tools=(AssistantToolsCode(), WEATHER, bare, AssistantToolsFileSearch()))

    assert body_of(run)["tools"] == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True}},
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]


def test_tools_nobody_runs_here() -> None:
    """The kinds of tools that are not sent are known by name, each once."""
    tools = (AssistantToolsFileSearch(), AssistantToolsCode(), AssistantToolsCode(), WEATHER, UnknownTool(type=None))

    assert not_callable(run_of(tools=tools)) == ["code_interpreter", "file_search", "unknown"]


@pytest.mark.parametrize("choice", [None, "auto"])
def test_a_free_choice_is_not_sent(choice: Any) -> None:
    """The model's own choice is what servers do anyway, and some refuse to be told."""
    body = body_of(run_of(tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=True))

    assert "tool_choice" not in body
    assert "parallel_tool_calls" not in body


def test_no_parallel_calls() -> None:
    """A run that wants one call at a time says so."""
    assert body_of(run_of(tools=(WEATHER,), parallel_tool_calls=False))["parallel_tool_calls"] is False


NAMED = AssistantsNamedToolChoice(function=AssistantsNamedToolChoiceFunction(name="weather"))


@pytest.mark.parametrize(
    "choice, sent", [("required", "required"), (NAMED, {"type": "function", "function": {"name": "weather"}})]
)
def test_a_demanded_call_is_demanded_once(choice: Any, sent: object) -> None:
    """A call is demanded of the first answer, and not of those that follow it, or there would be no last one."""
    run = run_of(tools=(WEATHER,), tool_choice=choice)

    assert body_of(run)["tool_choice"] == sent
    assert "tool_choice" not in body_of(run, rounds=[round_of(("call_1", "{}", ""))])


def test_forbidden_calls_stay_forbidden() -> None:
    """A run that may call nothing may call nothing in any answer; without tools there is nothing to forbid."""
    run = run_of(tools=(WEATHER,), tool_choice="none")

    assert body_of(run, rounds=[round_of(("call_1", "{}", ""))])["tool_choice"] == "none"
    assert "tool_choice" not in body_of(run_of(tool_choice="none"))


@pytest.mark.parametrize(
    "choice, tools, message",
    [
        (AssistantsNamedToolChoice(type="file_search"), (WEATHER,), "This server cannot run file_search"),
        ("required", (AssistantToolsCode(),), "has to call a function and has none"),
        (NAMED, (), "has to call a function and has none"),
    ],
)
def test_demands_nobody_can_meet(choice: Any, tools: Any, message: str) -> None:
    """A run that has to use what cannot be used fails before anything is sent."""
    with pytest.raises(BackendError, match=message) as caught:
        body_of(run_of(tools=tools, tool_choice=choice))

    assert caught.value.code == "invalid_prompt"


# Settings.


def test_settings_that_are_set_are_sent() -> None:
    """Temperature, top_p, effort, format and limit are passed on."""
    schema = ResponseFormatJsonSchemaDefinition(name="city", schema={"type": "object"}, strict=True)
    run = run_of(
        temperature=0.0,
        top_p=0.5,
        max_completion_tokens=300,
        response_format=ResponseFormatJsonSchema(json_schema=schema),
        extra_fields={"reasoning_effort": "low"},
    )
    body = body_of(run)

    sent = {name: body[name] for name in ("temperature", "top_p", "reasoning_effort", "max_completion_tokens")}
    assert sent == {"temperature": 0.0, "top_p": 0.5, "reasoning_effort": "low", "max_completion_tokens": 300}
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": {"type": "object"}, "strict": True},
    }


@pytest.mark.parametrize("response_format", [None, "auto", ResponseFormatText()])
def test_settings_that_are_not_set_are_not_sent(response_format: Any) -> None:
    """What is the default anyway is left to the server: some models refuse it even as their default."""
    run = run_of(temperature=1.0, top_p=1.0, response_format=response_format, extra_fields={"reasoning_effort": None})

    assert set(body_of(run)) == {"model", "messages", "stream", "stream_options"}


def test_json_objects() -> None:
    """A run that wants any JSON object says so."""
    assert body_of(run_of(response_format=ResponseFormatJsonObject()))["response_format"] == {"type": "json_object"}


def test_the_limit_counts_over_all_rounds() -> None:
    """What the run's earlier answers have used is taken from the limit of the next; older servers call it otherwise."""
    rounds = [round_of(usage=tokens(10, 100)), round_of(), round_of(usage=tokens(10, 50))]
    run = run_of(max_completion_tokens=300)

    assert body_of(run, rounds=rounds, limit_field="max_tokens")["max_tokens"] == 150
    assert body_of(run, rounds=[round_of(usage=tokens(1, 400))])["max_completion_tokens"] == 1


def test_extra_fields() -> None:
    """A vendor's fields are laid over the body; None takes one out, and where it is not there it stays out."""
    extra = {"temperature": 1.0, "stream_options": None, "top_k": 5, "seed": None}
    body = body_of(run_of(temperature=0.5), extra=extra)

    assert body == {"model": "gpt-4o", "messages": [], "temperature": 1.0, "stream": True, "top_k": 5}


def test_whole_answers() -> None:
    """Asked for a whole answer, a server gets no options for streams."""
    assert body_of(stream=False) == {"model": "gpt-4o", "messages": [], "stream": False}


def test_models_are_mapped() -> None:
    """The server's name of the model is sent; a run without a model has the empty one."""
    assert body_of(model=lambda model: f"my-{model}")["model"] == "my-gpt-4o"
    assert body_of(Run(id="run_1", thread_id="t", status="queued"), model=repr)["model"] == "''"
