"""Streams of a run's events: who listens to which run, what waits to be read, and the HTTP response that carries it.

A run belongs to the server. Telling its events waits for nobody: they are encoded once and wait for their reader, who
may be slow or gone. A stream covers what one request set going: it ends where the run ends or waits for tool outputs,
and those who submit outputs open the next one. So a run has at most one open stream, with one reader.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from starlette.responses import StreamingResponse

from asyncassist._wire.json import dumps
from asyncassist._wire.sse import encode_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Receive, Scope, Send

    from asyncassist.server.events import Event

__all__ = ["EventStream", "EventStreamResponse", "Streams"]

_DONE = encode_event("done", "[DONE]")

#: Bytes after which waiting events are not joined into one chunk any more.
_CHUNK = 65_536


class EventStream:
    """The events of one run on their way to one reader, who iterates over chunks of whole server-sent events."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._is_over = False
        self._news: anyio.Event | None = None
        self._detach: Callable[[], None] | None = None

    def attach(self, detach: Callable[[], None]) -> None:
        """Begin. ``detach`` is called once, when no more events are wanted."""
        self._detach = detach

    def put(self, event: bytes) -> None:
        """Add an event. It never waits: what nobody reads yet is kept."""
        self._waiting.append(event)
        self._notify()

    def end(self) -> None:
        """Let the reader find the end behind the last event."""
        self._is_over = True
        if self._detach is not None:
            self._detach()
            self._detach = None
        self._notify()

    def close(self) -> None:
        """Drop the events nobody will read, and take no more. The run goes on."""
        self.end()
        self._waiting.clear()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._is_over:
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        chunk = [self._waiting.popleft()]
        size = len(chunk[0])
        while self._waiting and size + len(self._waiting[0]) <= _CHUNK:
            chunk.append(self._waiting.popleft())
            size += len(chunk[-1])
        return b"".join(chunk)

    def _notify(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


class Streams:
    """The open streams of a server, by the run whose events they carry."""

    def __init__(self) -> None:
        self._by_run: dict[str, EventStream] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._by_run)

    def open(self, run_id: str, stream: EventStream) -> None:
        """Let a stream have the events of a run from now on. Where no more will be told it ends at once."""
        if self._is_closed:
            stream.end()
            return
        self._by_run[run_id] = stream
        stream.attach(lambda: self._by_run.__delitem__(run_id))

    def tell(self, run_id: str, events: Iterable[Event]) -> None:
        """Put events into the run's stream. Where nobody listens they are not even encoded."""
        stream = self._by_run.get(run_id)
        if stream is not None:
            for name, data in events:
                stream.put(encode_event(name, dumps(data)))

    def end(self, run_id: str) -> None:
        """End the run's stream: nothing more happens until somebody asks for it."""
        stream = self._by_run.get(run_id)
        if stream is not None:
            stream.put(_DONE)
            stream.end()

    def cut(self, run_id: str, error: object) -> None:
        """End the run's stream with an error, because nothing more will be known of the run."""
        self.tell(run_id, [("error", error)])
        stream = self._by_run.get(run_id)
        if stream is not None:
            stream.end()

    def close(self) -> None:
        """End all streams as they are: without their last event, so that nobody takes the runs for ended."""
        self._is_closed = True
        for stream in list(self._by_run.values()):
            stream.end()


class EventStreamResponse(StreamingResponse):
    """Sends a stream while somebody is there to read it. Closes it whatever happens."""

    media_type = "text/event-stream"

    def __init__(self, events: EventStream) -> None:
        super().__init__(events, headers={"cache-control": "no-cache"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not the base class's way: where a server raises when it sends to a client that is gone, that class does not
        # listen, and would find out at the run's next event only.
        try:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self._send_all, send, task_group.cancel_scope)
                await self.listen_for_disconnect(receive)
                task_group.cancel_scope.cancel()
        finally:
            self._events.close()

    async def _send_all(self, send: Send, cancel_scope: anyio.CancelScope) -> None:
        with suppress(OSError):  # the client is gone
            await self.stream_response(send)
        cancel_scope.cancel()
