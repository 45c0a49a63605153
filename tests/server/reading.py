"""How the tests read the streams of the server: event by event, as typed events."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import httpx

from asyncassist._wire.converter import structure
from asyncassist._wire.events import decode_event
from asyncassist._wire.snapshots import Snapshots
from asyncassist._wire.sse import ServerSentEvent, SSEDecoder
from asyncassist.models import MessageDeltaContentText, MessageDeltaEvent, Run, RunCompletionUsage, RunEvent
from asyncassist.server import FunctionCall, LocalServer, Reply, Turn

from .helpers import Api, Clock, counted_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from asyncassist.models import StreamEvent
    from asyncassist.server import Store

T = TypeVar("T")

STARTED = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
STEP = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [*STEP, "thread.message.created", "thread.message.in_progress"]
DELTA = "thread.message.delta"
COMPLETED = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed", "done"]


USAGE = RunCompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
TWO_CALLS = Reply(
    tool_calls=(FunctionCall("weather", {"city": "Paris", "days": [1, 2]}, id="call_a"), FunctionCall("time")),
    usage=USAGE,
)


class Asking:
    """Asks for tools until it has as many rounds as it wants, then says what came of them."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies

    async def answer(self, turn: Turn) -> Reply:
        rounds = await turn.rounds()
        if len(rounds) < len(self.replies):
            return self.replies[len(rounds)]
        return Reply(" ".join(output for round in rounds for output in round.outputs), USAGE)


class StreamReader:
    """Takes events out of a response, each as soon as it is there."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._chunks = aiter(response.stream)
        self._decoder = SSEDecoder()
        self._frames: deque[ServerSentEvent] = deque()

    async def next_frame(self) -> ServerSentEvent | None:
        """The next event as it came, None at the end."""
        with anyio.fail_after(5):
            while not self._frames:
                try:
                    chunk = await anext(self._chunks)
                except StopAsyncIteration:
                    assert not self._decoder.finish()
                    return None
                self._frames += self._decoder.feed(chunk)
        return self._frames.popleft()

    async def next(self) -> StreamEvent:
        frame = await self.next_frame()
        assert frame is not None, "the stream has ended"
        return decode_event(frame)

    async def until(self, name: str) -> Sequence[StreamEvent]:
        """The events up to the next one of this name."""
        events: list[StreamEvent] = []
        while not events or events[-1].event != name:
            events.append(await self.next())
        return events

    async def rest(self) -> Sequence[StreamEvent]:
        """All that is still to come."""
        events: list[StreamEvent] = []
        while (frame := await self.next_frame()) is not None:
            events.append(decode_event(frame))
        return events


class Streamed:
    """A server in process, its API, and streams of it."""

    def __init__(self, server: LocalServer, http: httpx.AsyncClient, backend: Any) -> None:
        self.server = server
        self.api = Api(http)
        self.backend = backend
        self._tasks = len(anyio.get_running_tasks())

    @asynccontextmanager
    async def stream(self, path: str, **body: object) -> AsyncIterator[StreamReader]:
        """The stream of one request, closed at the end of the block."""
        request = httpx.Request("POST", f"http://local/v1{path}", json={"stream": True, **body})
        response = await self.server.transport.handle_async_request(request)
        assert response.status_code == 200
        try:
            yield StreamReader(response)
        finally:
            await response.aclose()

    def runs(self, thread_id: str, assistant_id: str, **fields: object) -> AbstractAsyncContextManager[StreamReader]:
        return self.stream(f"/threads/{thread_id}/runs", assistant_id=assistant_id, **fields)

    async def run(self, **fields: object) -> AbstractAsyncContextManager[StreamReader]:
        """The stream of a new run on a new thread."""
        return self.runs(await self.api.thread("hello"), await self.api.assistant(), **fields)

    def outputs(self, run: Run, *outputs: str) -> AbstractAsyncContextManager[StreamReader]:
        """The stream of a run that gets the outputs it waits for."""
        calls = zip(run.required_tool_calls, outputs, strict=True)
        given = [{"tool_call_id": call.id, "output": output} for call, output in calls]
        return self.stream(f"{path_of(run)}/submit_tool_outputs", tool_outputs=given)

    async def read(self, path: str, kind: type[T]) -> T:
        return structure(await self.api.get(path), kind)

    async def list(self, path: str, kind: type[T], **query: str) -> Sequence[T]:
        return [structure(item, kind) for item in (await self.api.get(path, **query))["data"]]

    @property
    def open_streams(self) -> int:
        return self.server._engine.open_streams

    @property
    def tasks(self) -> int:
        """How many tasks have been started since and have not ended."""
        return len(anyio.get_running_tasks()) - self._tasks


@asynccontextmanager
async def serving(
    clock: Clock, backend: Any = None, store: Store | None = None, new_id: Callable[[str], str] | None = None
) -> AsyncIterator[Streamed]:
    """A server on the clock turned by hand, with ids that can be foretold unless others are given."""
    async with (
        LocalServer(backend, store, clock=clock, sleep=clock.sleep, new_id=new_id or counted_ids()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        yield Streamed(server, http, backend)


def path_of(run: Run) -> str:
    return f"/threads/{run.thread_id}/runs/{run.id}"


def names(events: Sequence[StreamEvent]) -> list[str]:
    """The names of events, with one for any number of deltas of one kind in a row."""
    found: list[str] = []
    for event in events:
        if not (event.event.endswith(".delta") and found and found[-1] == event.event):
            found.append(event.event)
    return found


def pieces(events: Sequence[StreamEvent]) -> list[str]:
    """The pieces of text in message deltas."""
    parts = [part for event in events if isinstance(event, MessageDeltaEvent) for part in event.data.delta.content]
    return [
        part.text.value or "" for part in parts if isinstance(part, MessageDeltaContentText) and part.text is not None
    ]


def snapshots(events: Sequence[StreamEvent]) -> Snapshots:
    """What events add up to."""
    result = Snapshots()
    for event in events:
        result.apply(event)
    return result


def last_run(events: Sequence[StreamEvent]) -> Run:
    """The run as the last of these events has it."""
    return [event.data for event in events if isinstance(event, RunEvent)][-1]
