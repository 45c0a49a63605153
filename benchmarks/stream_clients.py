"""The ways to read a stream that are compared: each counts its events and the characters of its text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from . import clients, stream_payloads

ASSISTANT = "asst_bench0000000000000000000"

Read = Callable[[Any], Awaitable[tuple[int, int]]]
"""Reads one stream to its end with a library's client; gives the events and the characters of text it saw."""


def _piece(event: Any) -> str:
    # Both libraries have the API's names.
    text: str = event.data.delta.content[0].text.value
    return text


async def ours_events(api: Any) -> tuple[int, int]:
    """Take every event."""
    events = characters = 0
    async with api.stream_run(stream_payloads.THREAD, assistant_id=ASSISTANT) as stream:
        async for event in stream:
            events += 1
            if event.event == "thread.message.delta":
                characters += len(_piece(event))
    return events, characters


async def ours_text(api: Any) -> tuple[int, int]:
    """Take the text only; what has no text is not seen, so its events are not counted here."""
    pieces = characters = 0
    async with api.stream_run(stream_payloads.THREAD, assistant_id=ASSISTANT) as stream:
        async for piece in stream.text():
            pieces += 1
            characters += len(piece)
    return pieces, characters


async def ours_final(api: Any) -> tuple[int, int]:
    """Take every event, and the finished message from the snapshots."""
    events = 0
    async with api.stream_run(stream_payloads.THREAD, assistant_id=ASSISTANT) as stream:
        async for _ in stream:
            events += 1
        return events, len(stream.messages[-1].text)


async def ours_looking(api: Any) -> tuple[int, int]:
    """Look at the message so far at every piece of text."""
    events = characters = 0
    async with api.stream_run(stream_payloads.THREAD, assistant_id=ASSISTANT) as stream:
        async for event in stream:
            events += 1
            if event.event == "thread.message.delta":
                characters = len(stream.messages[-1].text)
    return events, characters


async def sdk_raw(api: Any) -> tuple[int, int]:
    """Take every event of ``stream=True``; the SDK's stream ends at the done event, without giving it."""
    events = characters = 0
    runs = api.beta.threads.runs
    stream = await runs.create(stream_payloads.THREAD, assistant_id=ASSISTANT, stream=True)
    async for event in stream:
        events += 1
        if event.event == "thread.message.delta":
            characters += len(_piece(event))
    return events, characters


async def sdk_handler(api: Any) -> tuple[int, int]:
    """Take every event through a handler, and the finished message from its snapshots."""
    from openai import AsyncAssistantEventHandler

    events = 0
    runs = api.beta.threads.runs
    handler = AsyncAssistantEventHandler()
    async with runs.stream(thread_id=stream_payloads.THREAD, assistant_id=ASSISTANT, event_handler=handler) as stream:
        async for _ in stream:
            events += 1
        (message,) = await stream.get_final_messages()
        return events, len(message.content[0].text.value)


async def sdk_looking(api: Any) -> tuple[int, int]:
    """Look at the handler's message at every piece of text."""
    events = characters = 0
    runs = api.beta.threads.runs
    async with runs.stream(thread_id=stream_payloads.THREAD, assistant_id=ASSISTANT) as stream:
        async for event in stream:
            events += 1
            if event.event == "thread.message.delta":
                characters = len(stream.current_message_snapshot.content[0].text.value)
    return events, characters


async def httpx_bytes(api: Any) -> tuple[int, int]:
    """Take the bytes and look at nothing; gives the pieces and the bytes they came in."""
    pieces = received = 0
    path, body = f"/threads/{stream_payloads.THREAD}/runs", {"assistant_id": ASSISTANT, "stream": True}
    async with api.stream("POST", path, json=body) as response:
        async for piece in response.aiter_raw():
            pieces += 1
            received += len(piece)
    return pieces, received


READS: dict[str, tuple[str, Read]] = {
    "asyncassist: events": (clients.OURS, ours_events),
    "asyncassist: text()": (clients.OURS, ours_text),
    "asyncassist: events, final message": (clients.OURS, ours_final),
    "asyncassist: message at every delta": (clients.OURS, ours_looking),
    "asyncassist[aiohttp]: events": (clients.OURS_AIOHTTP, ours_events),
    "openai: stream=True": (clients.SDK, sdk_raw),
    "openai: handler, final message": (clients.SDK, sdk_handler),
    "openai: message at every delta": (clients.SDK, sdk_looking),
    "httpx: bytes, nothing parsed": (clients.HTTPX, httpx_bytes),
}
"""By name: the client, and how its stream is read."""
