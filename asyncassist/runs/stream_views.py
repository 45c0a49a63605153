"""Other ways to read a stream of events: as text, and as the bytes of a web response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist._wire.json import dumps
from asyncassist._wire.sse import encode_event
from asyncassist._wire.unstructure import unstructure
from asyncassist.errors import AsyncAssistError
from asyncassist.models.events import DoneEvent, MessageDeltaEvent, MessageEvent, StreamEvent, UnknownEvent

if TYPE_CHECKING:
    from typing import Self

    from asyncassist._wire.sse import ServerSentEvent
    from asyncassist.runs.run_stream import RunStream

__all__ = ["ServerSentEvents", "TextPieces"]

# Iterators rather than generators: one that is dropped half way leaves nothing for the event loop to close.


class TextPieces:
    """The text of a stream, in pieces. It ends when the stream does; the stream's errors pass through."""

    def __init__(self, stream: RunStream) -> None:
        self._stream = stream
        self._message_id: str | None = None
        self._given: set[str] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            event = await anext(self._stream)
            if isinstance(event, MessageDeltaEvent):
                piece = event.data.text
                message_id = event.data.id
            elif isinstance(event, MessageEvent) and event.data.id not in self._given and event.data.role != "user":
                piece = event.data.text  # of a server that sends no deltas
                message_id = event.data.id
            else:
                continue
            if not piece:
                continue
            self._given.add(message_id)
            is_next = self._message_id not in (None, message_id)
            self._message_id = message_id
            return f"\n\n{piece}" if is_next else piece


class ServerSentEvents:
    """The events of a stream as the bytes of server-sent events."""

    def __init__(self, stream: RunStream) -> None:
        self._stream = stream
        self._failure: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            event = await anext(self._stream)
        except StopAsyncIteration:
            raise
        except Exception as error:  # a tool's own ones among them
            self._failure = error
            # What the error says is for this side's log, not for whoever reads on the other.
            code = getattr(error, "code", None) if isinstance(error, AsyncAssistError) else None
            return encode_event("error", dumps({"error": {"message": "The stream failed.", "code": code}}))
        return _encoded(event, self._stream.last_received)


def _encoded(event: StreamEvent, received: ServerSentEvent | None) -> bytes:
    name = event.name if isinstance(event, UnknownEvent) else event.event
    if received is not None and received.event == name:
        return encode_event(name, received.data)
    if isinstance(event, DoneEvent):
        return encode_event(name, event.data)
    return encode_event(name, dumps(unstructure(event.data)))
