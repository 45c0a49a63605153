"""Answers on their way from the app to the client, spoilt in one way or another. Each is an ASGI send of its own.

Where one of them wants no more of a stream it raises an ``OSError``, as a server does whose client is gone. The app's
streams are made of chunks of whole events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncassist._wire.json import dumps, loads
from asyncassist._wire.sse import SSEDecoder, encode_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Send

__all__ = ["Cut", "Rewrite", "broken", "dropping", "rewritten"]


def dropping(send: Send) -> Send:
    """Send nothing."""

    async def drop(message: Message) -> None:
        if _begins_stream(message):
            raise _gone()

    return drop


class Cut:
    """Sends so many events of a stream, or half of another answer, and then nothing more."""

    def __init__(self, events: int, send: Send) -> None:
        self._left = events
        self._send = send
        self._is_stream = False
        self._is_over = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_stream = _begins_stream(message)
            await self._send(message)
        elif self._is_stream:
            await self._send_events(message)
        elif not self._is_over:
            self._is_over = True
            body: bytes = message.get("body", b"")
            await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})

    async def _send_events(self, message: Message) -> None:
        events: list[bytes] = message.get("body", b"").split(b"\n\n")[:-1]
        if len(events) < self._left:
            self._left -= len(events)
            await self._send(message)
            return
        body = b"".join([event + b"\n\n" for event in events[: self._left]])
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        raise _gone()


class Rewrite:
    """Sends what a function makes of the answer's JSON, or of that of each event of a stream."""

    def __init__(self, function: Callable[[bytes], bytes], send: Send) -> None:
        self._function = function
        self._send = send
        self._start: Message | None = None  # as long as the body is being collected
        self._body = bytearray()
        self._decoder = SSEDecoder()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if _begins_stream(message):
                await self._send(message)
            else:
                self._start = message
        elif self._start is None:
            await self._send({**message, "body": self._events(message.get("body", b""))})
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                body = self._function(bytes(self._body))
                headers = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
                headers.append((b"content-length", str(len(body)).encode()))
                await self._send({**self._start, "headers": headers})
                await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _events(self, chunk: bytes) -> bytes:
        return b"".join(
            [
                encode_event(event, data if data == "[DONE]" else self._function(data.encode()))
                for event, data, *_ in self._decoder.feed(chunk)
            ]
        )


def rewritten(change: Callable[[Any], object], document: bytes) -> bytes:
    """Change the value of a JSON document."""
    return dumps(change(loads(document)))


def broken(document: bytes) -> bytes:
    """Break a JSON document off."""
    return document[: len(document) // 2]


def _begins_stream(message: Message) -> bool:
    return message["type"] == "http.response.start" and any(
        name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"]
    )


def _gone() -> OSError:
    return ConnectionResetError("a planned fault has dropped the connection")
