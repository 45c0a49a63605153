"""A turn as the body of a chat completion: pure functions of the run, its thread and its tool rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from attrs import frozen

from asyncassist._wire.json import loads
from asyncassist._wire.unstructure import unstructure
from asyncassist.errors import DecodeError
from asyncassist.models import (
    AssistantsNamedToolChoice,
    AssistantToolsFunction,
    Message,
    MessageContentImageFile,
    MessageContentImageUrl,
    MessageContentRefusal,
    MessageContentText,
    ResponseFormatText,
)
from asyncassist.server.backends.base import BackendError

if TYPE_CHECKING:
    from asyncassist.models import FunctionObject, MessageContent, Run
    from asyncassist.server.backends.base import ToolRound

__all__ = ["ChatForm", "chat_body", "not_callable"]

ChatJson: TypeAlias = "dict[str, object]"


@frozen
class ChatForm:
    """What a server wants its requests to be like."""

    model: Callable[[str], str]
    """From the run's model to the server's."""
    instructions_role: Literal["system", "developer"] = "system"
    limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    stream: bool = True
    extra: Mapping[str, object] | None = None
    """Laid over the body; None takes a field out of it."""


def chat_body(run: Run, messages: Sequence[Message], rounds: Sequence[ToolRound], form: ChatForm) -> ChatJson:
    """Put a request together.

    Args:
        run: what is to be answered.
        messages: the thread as far as it may be seen, oldest first, the run's own messages among them.
        rounds: the tool calls the run has had answered.
        form: what the server wants it to be like.

    Raises:
        BackendError: the run must use a tool that cannot be used.
    """
    body: ChatJson = {"model": form.model(run.model or ""), "messages": _messages(run, messages, rounds, form)}
    if functions := [tool.function for tool in run.tools if isinstance(tool, AssistantToolsFunction)]:
        body["tools"] = [{"type": "function", "function": _function(function)} for function in functions]
        if run.parallel_tool_calls is False:
            body["parallel_tool_calls"] = False
    if (choice := _tool_choice(run, bool(functions), bool(rounds))) is not None:
        body["tool_choice"] = choice
    if not (run.response_format in (None, "auto") or isinstance(run.response_format, ResponseFormatText)):
        body["response_format"] = unstructure(run.response_format)
    # 1 is what the API gives to those who ask for nothing, and some models take nothing else, not even 1.
    for name, value in (("temperature", run.temperature), ("top_p", run.top_p)):
        if value not in (None, 1):
            body[name] = value
    if isinstance(effort := run.extra_fields.get("reasoning_effort"), str):
        body["reasoning_effort"] = effort
    if run.max_completion_tokens is not None:
        used = sum([round.usage.completion_tokens or 0 for round in rounds if round.usage is not None])
        body[form.limit_field] = max(1, run.max_completion_tokens - used)
    body["stream"] = form.stream
    if form.stream:
        body["stream_options"] = {"include_usage": True}
    extra = form.extra or {}
    return {name: value for name, value in {**body, **extra}.items() if value is not None or name not in extra}


# Messages.


def _messages(run: Run, messages: Sequence[Message], rounds: Sequence[ToolRound], form: ChatForm) -> list[ChatJson]:
    own = {message.id: message for message in messages if message.run_id == run.id}
    head: list[ChatJson] = [{"role": form.instructions_role, "content": run.instructions}] if run.instructions else []
    history = [_message(message) for message in messages if message.id not in own and _says_something(message)]
    tail = [message for round in rounds for message in _round(round, own.get(round.message_id or ""))]
    return [*head, *history, *tail]


def _says_something(message: Message) -> bool:
    return message.role != "assistant" or bool(message.content)


def _message(message: Message) -> ChatJson:
    is_assistant = message.role == "assistant"
    parts = [_part(part, is_assistant) for part in message.content]
    parts += [
        _text(f"[Attached file {file.file_id}: its content cannot be seen here.]") for file in message.attachments
    ]
    if all(part["type"] == "text" for part in parts):
        # Every server takes a string; some do not take a list of one text.
        content: object = "\n".join([str(part["text"]) for part in parts])
    else:
        content = parts
    return {"role": "assistant" if is_assistant else "user", "content": content}


def _part(part: MessageContent, is_assistant: bool) -> ChatJson:
    match part:
        case MessageContentText():
            return _text(part.text.value)
        case MessageContentRefusal():
            return _text(part.refusal or "")
        case MessageContentImageUrl(image_url=image) if image is not None:
            if is_assistant:  # only users can show pictures
                return _text(f"[Image: {image.url}]")
            detail = {} if image.detail is None else {"detail": image.detail}
            return {"type": "image_url", "image_url": {"url": image.url, **detail}}
        case MessageContentImageFile(image_file=file) if file is not None:
            return _text(f"[Image file {file.file_id}: it cannot be seen here.]")
        case _:
            return _text(f"[A part of the message, {part.type}, that cannot be seen here.]")


def _text(text: str) -> ChatJson:
    return {"type": "text", "text": text}


def _round(round: ToolRound, said: Message | None) -> list[ChatJson]:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": _arguments(call.function.arguments)},
        }
        for call in round.calls
    ]
    outputs: list[ChatJson] = [
        {"role": "tool", "tool_call_id": call.id, "content": call.function.output or ""} for call in round.calls
    ]
    return [{"role": "assistant", "content": (said.text if said else None) or None, "tool_calls": calls}, *outputs]


def _arguments(arguments: str | None) -> str:
    """Arguments as they can be shown to the model again: several servers refuse its own when they are no JSON."""
    try:
        return arguments if isinstance(loads(arguments or ""), dict) and arguments else "{}"
    except DecodeError:
        return "{}"


# Tools.


def _function(function: FunctionObject) -> ChatJson:
    fields = cast("ChatJson", unstructure(function))
    given = {name: value for name, value in fields.items() if value is not None}
    return {"parameters": {"type": "object", "properties": {}}, **given}


def _tool_choice(run: Run, has_functions: bool, has_rounds: bool) -> object:
    """What to send as ``tool_choice``, None for nothing.

    A tool is demanded of the first answer only: demanded of all, there would be no last one.
    """
    choice = run.tool_choice
    if choice is None or choice == "auto":
        return None
    if choice == "none":
        return "none" if has_functions else None
    if isinstance(choice, AssistantsNamedToolChoice) and choice.type != "function":
        raise BackendError(f"This server cannot run {choice.type}, which the run has to use.", code="invalid_prompt")
    if not has_functions:
        raise BackendError("The run has to call a function and has none.", code="invalid_prompt")
    return None if has_rounds else unstructure(choice)


def not_callable(run: Run) -> list[str]:
    """The kinds of tools a run has that no chat completion can call."""
    return sorted({tool.type or "unknown" for tool in run.tools if not isinstance(tool, AssistantToolsFunction)})
