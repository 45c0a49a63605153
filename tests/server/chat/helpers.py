"""What the tests of the chat backend share: chunks, answers of a model server, and turns."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

from anyio.lowlevel import checkpoint
from transport.helpers import Naps
from transport.loopback import Behaviour, Connection, Loopback, answer, chunked

from asyncassist._transport.pacing import Pacing
from asyncassist.models import (
    Message,
    MessageContentText,
    MessageText,
    Run,
    RunCompletionUsage,
    RunStepDetailsToolCallsFunction,
    RunStepFunction,
)
from asyncassist.server import ChatCompletionsBackend, Reply, ToolRound, Turn
from asyncassist.server.backends.chat_reader import AnswerReader

Json = dict[str, Any]

KEY = "sk-chat-0123456789abcdef"
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def chunk(content: str | None = None, *, finish: str | None = None, **delta: Any) -> bytes:
    """An event with one piece of an answer."""
    said = delta if content is None else {"content": content, **delta}
    return data({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]})


def calls(*entries: Json, finish: str | None = None) -> bytes:
    """An event with pieces of tool calls."""
    return chunk(tool_calls=list(entries), finish=finish)


def entry(name: str | None = None, arguments: object = None, **fields: Any) -> Json:
    """A piece of a tool call."""
    function = {"name": name, "arguments": arguments}
    return {**fields, "function": {key: value for key, value in function.items() if value is not None}}


def usage(**tokens: int) -> bytes:
    """The event behind the last piece, which has the usage and no choices."""
    return data({"object": "chat.completion.chunk", "choices": [], "usage": tokens or USAGE})


def data(value: object) -> bytes:
    """An event without a name."""
    return f"data: {json.dumps(value)}\n\n".encode()


HELLO = (chunk("", role="assistant"), chunk("Hel"), chunk("lo"), chunk(finish="stop"), usage(), DONE)


def completion(content: str | None = "Hello", *, finish: str = "stop", **message: Any) -> Json:
    """A whole answer, as it is not streamed."""
    said = {"role": "assistant", "content": content, **message}
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": USAGE,
    }


def streaming(*events: bytes, ended: bool = True, **headers: str) -> Behaviour:
    """Answer with a stream of events, each in a piece of its own."""
    return chunked(*events, headers={"content-type": "text/event-stream", **headers}, ended=ended)


def cut(*events: bytes) -> Behaviour:
    """Break the connection behind these events."""

    async def behave(connection: Connection) -> bool:
        await streaming(*events, ended=False)(connection)
        await asyncio.sleep(0.02)  # or the events would be lost along with the connection
        connection.reset()
        return False

    return behave


def endless(*events: bytes) -> Behaviour:
    """Say no more after these events, and note when the client has gone."""

    async def behave(connection: Connection) -> bool:
        await streaming(*events, ended=False)(connection)
        await connection.wait(asyncio.Event())
        connection.act()
        return False

    return behave


def refusal(status: int, message: str = "no", headers: dict[str, str] | None = None, **facts: Any) -> Behaviour:
    """Answer with the API's error object."""
    return answer({"error": {"message": message, **facts}}, status, headers)


def read(*pieces: bytes) -> tuple[AnswerReader, list[str]]:
    """Read an answer from its bytes."""
    reader = AnswerReader()
    texts: list[str] = []
    for piece in pieces:
        texts += reader.feed(piece)
    texts += reader.finish()
    return reader, [text for text in texts if text]


def run_of(**fields: Any) -> Run:
    return Run(id="run_1", thread_id="thread_1", status="in_progress", model="gpt-4o", **fields)


def said(text: str, role: str = "user", **fields: Any) -> Message:
    fields = {"id": f"msg_{text[:8]}", "content": (MessageContentText(text=MessageText(value=text)),), **fields}
    return Message(thread_id="thread_1", role=role, **fields)


def round_of(*pairs: tuple[str, str, str], **fields: Any) -> ToolRound:
    """A round of answered calls, each with its id, its arguments and its output."""
    called = [
        RunStepDetailsToolCallsFunction(
            id=id, function=RunStepFunction(name="weather", arguments=arguments, output=output)
        )
        for id, arguments, output in pairs
    ]
    return ToolRound(tuple(called), **fields)


def tokens(prompt: int, completion: int) -> RunCompletionUsage:
    return RunCompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


class Spoken(list[str]):
    """The pieces a backend has emitted."""

    async def __call__(self, text: str) -> None:
        await checkpoint()
        self.append(text)


def turn_of(
    run: Run | None = None, messages: Iterable[Message] = (), rounds: Iterable[ToolRound] = ()
) -> tuple[Turn, Spoken]:
    spoken = Spoken()

    async def history(last: int | None) -> Sequence[Message]:
        return list(messages) or [said("Hi")]

    async def answered() -> Sequence[ToolRound]:
        return list(rounds)

    return Turn(run_of() if run is None else run, history, answered, spoken), spoken


def backend_of(server: Loopback, **options: Any) -> ChatCompletionsBackend:
    """A backend that asks a server, whose pauses take no time."""
    backend = ChatCompletionsBackend(server.url, **options)
    backend._pacing = Pacing(sleep=Naps(), random=lambda: 0.0)
    return backend


async def ask(backend: ChatCompletionsBackend, run: Run | None = None) -> tuple[Reply, str]:
    """Let a backend answer one turn, and give its reply and what it has emitted."""
    turn, spoken = turn_of(run)
    try:
        return await backend.answer(turn), "".join(spoken)
    finally:
        await backend.aclose()
