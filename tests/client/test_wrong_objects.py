"""Objects of the API where an id or a part of a request is due: refused with what to give instead, nothing sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from asyncassist import Assistant, AsyncClient, Message, Run, RunStep, Thread, UsageError
from asyncassist.models import (
    AssistantToolsCode,
    FunctionObject,
    ImageFile,
    MessageAttachment,
    MessageContentImageFile,
    MessageContentRefusal,
    MessageContentText,
    MessageText,
    RunToolCall,
    ToolResources,
)

from .helpers import Server

pytestmark = pytest.mark.anyio

ASSISTANT = Assistant(id="asst_1", model="m")
THREAD = Thread(id="thread_1")
RUN = Run(id="run_1", thread_id="thread_1", status="queued", assistant_id="asst_1")
STEP = RunStep(id="step_1", thread_id="thread_1", run_id="run_1")
TEXT = MessageContentText(text=MessageText(value="hi"))
MESSAGE = Message(id="msg_1", thread_id="thread_1", role="user", content=(TEXT,))

Call = Callable[[Any], Awaitable[object]]

IDS: list[tuple[Call, str]] = [
    (lambda client: client.get_thread(THREAD), "thread_id must be a str, got a Thread; give its .id"),
    (lambda client: client.get_assistant(ASSISTANT), "assistant_id must be a str, got an Assistant; give its .id"),
    (lambda client: client.get_run("t", RUN), "run_id must be a str, got a Run; give its .id"),
    (lambda client: client.get_run(RUN, "r"), "thread_id must be a str, got a Run; give its .thread_id"),
    (lambda client: client.get_run("t", STEP), "run_id must be a str, got a RunStep; give its .run_id"),
    (lambda client: client.get_run_step("t", "r", STEP), "step_id must be a str, got a RunStep; give its .id"),
    (lambda client: client.get_message("t", MESSAGE), "message_id must be a str, got a Message; give its .id"),
    (lambda client: client.get_message("t", THREAD), "message_id must be a str, got a Thread"),
    (lambda client: client.wait_for_run("t", RUN), "run_id must be a str, got a Run; give its .id"),
    (lambda client: client.get_thread(TEXT), "thread_id must be a str, got a MessageContentText"),
    (lambda client: client.get_thread(5), "thread_id must be a str, got int"),
    (
        lambda client: client.create_run("t", assistant_id=ASSISTANT),
        "assistant_id must be a str, got an Assistant; give its .id",
    ),
    (lambda client: client.create_assistant(model=ASSISTANT), "model must be a str, got an Assistant; give its .model"),
    (
        lambda client: client.list_messages("t", after=MESSAGE),
        "after must be a str, or a list of str where it has several, got a Message; give its .id",
    ),
    (
        lambda client: client.list_messages("t", run_id=RUN),
        "run_id must be a str, or a list of str where it has several, got a Run; give its .id",
    ),
]

AN_ANSWER = "which is what the server answers"
FOR_A_MESSAGE = f'cannot be a Message, {AN_ANSWER}; give {{"role": message.role, "content": message.text}}'
FOR_A_TEXT = f"cannot be a MessageContentText, {AN_ANSWER}; give MessageRequestContentText(text=part.text.value)"

PARTS: list[tuple[Call, str]] = [
    (
        lambda client: client.create_thread_and_run(assistant_id="a", thread=THREAD),
        f"thread cannot be a Thread, {AN_ANSWER}; give what a new thread is made of, such as "
        '{"messages": [...]}; create_run takes the .id of an old one',
    ),
    (lambda client: client.create_thread(messages=[MESSAGE]), f"messages[0] {FOR_A_MESSAGE}"),
    (
        lambda client: client.create_thread_and_run(assistant_id="a", thread={"messages": ({"role": "user"}, MESSAGE)}),
        f"thread.messages[1] {FOR_A_MESSAGE}",
    ),
    (
        lambda client: client.create_run("t", assistant_id="a", additional_messages=[MESSAGE]),
        f"additional_messages[0] {FOR_A_MESSAGE}",
    ),
    (
        lambda client: client.run_and_wait("t", assistant_id="a", additional_messages=[MESSAGE]),
        f"additional_messages[0] {FOR_A_MESSAGE}",
    ),
    (lambda client: client.create_message("t", role="user", content=MESSAGE), f"content {FOR_A_MESSAGE}"),
    (lambda client: client.create_message("t", role="user", content=[TEXT]), f"content[0] {FOR_A_TEXT}"),
    (
        lambda client: client.create_thread(messages=[{"role": "user", "content": MESSAGE.content}]),
        f"messages[0].content[0] {FOR_A_TEXT}",
    ),
    (
        lambda client: client.create_message("t", role="user", content=[MessageContentRefusal(refusal="no")]),
        f"content[0] cannot be a MessageContentRefusal, {AN_ANSWER}; give MessageRequestContentText(text=part.refusal)",
    ),
    (
        lambda client: client.submit_tool_outputs_to_run("t", "r", tool_outputs=[RunToolCall(id="call_1")]),
        f"tool_outputs[0] cannot be a RunToolCall, {AN_ANSWER}; give ToolOutput(tool_call_id=call.id, output=...)",
    ),
    (lambda client: client.modify_run("t", "r", metadata=RUN), f"metadata cannot be a Run, {AN_ANSWER}"),
]


@pytest.mark.parametrize("call, message", IDS + PARTS)
async def test_an_object_in_the_wrong_place(call: Call, message: str) -> None:
    """It is a TypeError that names the place, and what to give instead; nothing is sent."""
    server = Server()
    async with server.client() as client:
        with pytest.raises(TypeError) as caught:
            await call(client)

    assert message == str(caught.value)
    assert [] == server.requests


ALLOWED: list[tuple[str, Callable[[AsyncClient], Awaitable[object]], Mapping[str, Any]]] = [
    (
        "parts of answers that are parts of requests too",
        lambda client: client.create_message(
            "t",
            role="user",
            content=[MessageContentImageFile(image_file=ImageFile(file_id="file-1"))],
            attachments=(MessageAttachment(file_id="file-2", tools=(AssistantToolsCode(),)),),
            metadata=MESSAGE.metadata,
        ),
        {
            "role": "user",
            "content": [{"type": "image_file", "image_file": {"file_id": "file-1"}}],
            "attachments": [{"file_id": "file-2", "tools": [{"type": "code_interpreter"}]}],
            "metadata": {},
        },
    ),
    (
        "an assistant's own tools and resources",
        lambda client: client.modify_assistant("a", tools=ASSISTANT.tools, tool_resources=ToolResources()),
        {"tools": [], "tool_resources": {}},
    ),
    (
        "what the server will judge",
        lambda client: client.create_message("t", role="user", content=["hi", 5]),  # type: ignore[list-item]
        {"role": "user", "content": ["hi", 5]},
    ),
    (
        "a message's own words",
        lambda client: client.create_thread(messages=[{"role": MESSAGE.role, "content": MESSAGE.text}]),
        {"messages": [{"role": "user", "content": "hi"}]},
    ),
]


@pytest.mark.parametrize("call, sent", [pytest.param(call, sent, id=name) for name, call, sent in ALLOWED])
async def test_what_a_request_takes(call: Call, sent: Mapping[str, Any]) -> None:
    """Models the API takes are sent."""
    server = Server()
    async with server.client() as client:
        await call(client)

    assert sent == server.body


async def test_a_mapping_inside_itself() -> None:
    """It ends in a clear error, however it is nested."""
    thread: dict[str, Any] = {}
    thread["messages"] = [thread]
    thread["thread"] = thread
    server = Server()
    async with server.client() as client:
        with pytest.raises(UsageError, match="nested too deeply, or inside itself"):
            await client.create_thread_and_run(assistant_id="a", thread=thread)
        with pytest.raises(UsageError, match="object cannot be sent as JSON"):
            await client.create_assistant(model="m", tools=[{"x": FunctionObject(name=object())}])  # type: ignore[arg-type]
    assert [] == server.requests
