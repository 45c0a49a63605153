"""What the tests of runs share: written runs, servers that tell them, readers that keep what they read."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias

import httpx
from anyio.lowlevel import checkpoint
from attrs import define, evolve, field
from transport.loopback import Behaviour, Connection, head

from asyncassist import AsyncClient, PollPolicy
from asyncassist.models.events import DoneEvent, StreamEvent
from asyncassist.runs.run_stream import RunStream
from asyncassist.runs.stream_views import TextPieces

__all__ = [
    "ASSISTANT",
    "KEY",
    "MANY_PARTS",
    "MANY_TEXT",
    "ONE_MESSAGE",
    "ONE_TEXT",
    "QUICK",
    "RUN",
    "THREAD",
    "InProcess",
    "Recorded",
    "Stage",
    "Told",
    "call",
    "calling",
    "cut_at",
    "event",
    "read",
    "run",
    "serve",
    "tool_rounds",
]

KEY = "sk-runs-0123456789abcdef"
THREAD, RUN, ASSISTANT = "thread_1", "run_1", "asst_1"
QUICK = PollPolicy.every(0.001)

Json: TypeAlias = dict[str, Any]
Cut: TypeAlias = Literal["fin", "end", "reset", "silence"]
"""How a stream breaks: in the middle of a chunk, as if it were whole, by a reset, or by saying no more."""


def event(name: str, data: object) -> bytes:
    """Return the bytes of a server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return f"event: {name}\ndata: {text}\n\n".encode()


def run(status: str, **fields: object) -> Json:
    """Return a run as small as it can be."""
    return {"id": RUN, "thread_id": THREAD, "status": status, **fields}


@define
class Stage:
    """What a stream says, and what the server says when asked afterwards."""

    stream: bytes
    run: Json
    messages: Sequence[Json] = ()
    steps: Sequence[Json] = ()


@define
class Recorded:
    """A server of one run that goes through stages: the first begins with the run, each other with tool outputs.

    Attributes:
        cut: after how many bytes of all streams together the connection breaks; None for never.
        looks: how many looks see the run in progress before they see the stage's end.
        never_ends: the run goes on until it is cancelled, whatever the stage says.
        refusal: a status that answers each request to go on with tool outputs, before or after they were taken.
    """

    stages: Sequence[Stage]
    cut: int | None = None
    looks: int = 0
    never_ends: bool = False
    content_type: str | None = "text/event-stream"
    # What has happened.
    created: int = 0
    cancels: int = 0
    stage: int = -1
    asked: list[str] = field(factory=list[str])
    bodies: list[Any] = field(factory=list[Any])
    submitted: list[list[Json]] = field(factory=list[list[Json]])
    _seen: int = 0

    def anew(self, **changes: Any) -> Recorded:
        """Return the same to which nothing has happened."""
        return Recorded(self.stages, **{"looks": self.looks, "never_ends": self.never_ends, "cut": self.cut, **changes})

    @property
    def length(self) -> int:
        """Bytes of all streams."""
        return sum(len(stage.stream) for stage in self.stages)

    @property
    def known_after(self) -> int:
        """After how many bytes the first event with the run's id is complete."""
        data = self.stages[0].stream
        return data.index(b"\n\n", data.index(RUN.encode())) + 2

    @property
    def is_active(self) -> bool:
        """Whether there is a run nobody has cancelled and that has not been seen to its end."""
        return self.created > 0 and self.cancels == 0

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Json | bytes, bool]:
        """Return status and body of an answer, and whether it is a stream that breaks at its end."""
        path = target.partition("?")[0].removeprefix("/v1")
        self.asked.append(f"{method} {path}")
        self.bodies.append(body)
        match method, path.rsplit("/", 1)[1]:
            case "POST", "runs":
                self.created += 1
                return self._next_stage(body)
            case "POST", "submit_tool_outputs":
                self.submitted.append(body["tool_outputs"])
                return self._next_stage(body)
            case "POST", "cancel":
                self.cancels += 1
                return 200, run("cancelling"), False
            case "GET", "messages":
                return 200, _page(self.stages[self.stage].messages), False
            case "GET", "steps":
                return 200, _page(self.stages[self.stage].steps), False
            case _:
                return 200, self._look(), False

    def _look(self) -> Json:
        self._seen += 1
        if self.cancels:
            return run("cancelled")
        return run("in_progress") if self.never_ends or self._seen <= self.looks else self.stages[self.stage].run

    def _next_stage(self, body: Any) -> tuple[int, Json | bytes, bool]:
        self.stage += 1
        self._seen = 0
        data = self.stages[self.stage].stream
        if not body.get("stream"):
            return 200, run("queued"), False
        start = sum(len(stage.stream) for stage in self.stages[: self.stage])
        if self.cut is None or not start <= self.cut < start + len(data):
            return 200, data, False
        return 200, data[: self.cut - start], True


def _page(items: Sequence[Json]) -> Json:
    return {"object": "list", "data": list(items), "has_more": False}


class InProcess(httpx.AsyncBaseTransport):
    """Tells a recorded run without sockets.

    Args:
        pieces: cuts a stream into the pieces in which it arrives.
        cut: how a stream that breaks does so.
    """

    def __init__(
        self,
        recorded: Recorded,
        *,
        pieces: Callable[[bytes], Iterable[bytes]] = lambda data: [data],
        cut: Cut = "fin",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.recorded = recorded
        self.open = 0
        self._pieces = pieces
        self.cut = cut
        self._headers = headers

    def client(self, **options: Any) -> AsyncClient:
        return AsyncClient(**{"api_key": KEY, "base_url": "http://test/v1", "transport": self, **options})

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await checkpoint()
        body = json.loads(await request.aread() or b"null")
        status, content, breaks = self.recorded.answer(request.method, request.url.path, body)
        await checkpoint()
        if isinstance(content, dict):
            return httpx.Response(status, json=content)
        kind = self.recorded.content_type
        headers = self._headers if self._headers is not None else {} if kind is None else {"content-type": kind}
        return httpx.Response(status, headers=headers, stream=_Stream(self, self._body(content, breaks=breaks)))

    async def _body(self, data: bytes, *, breaks: bool) -> AsyncIterator[bytes]:
        for piece in self._pieces(data):
            await checkpoint()
            yield piece
        await checkpoint()
        if breaks and self.cut == "fin":
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
        if breaks and self.cut == "reset":
            raise httpx.ReadError("connection reset by peer")
        if breaks and self.cut == "silence":
            raise httpx.ReadTimeout("nothing came")


class _Stream(httpx.AsyncByteStream):
    def __init__(self, owner: InProcess, body: AsyncIterator[bytes]) -> None:
        self._owner = owner
        self._body = body
        self._is_open = True
        owner.open += 1

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body

    async def aclose(self) -> None:
        self._owner.open -= self._is_open
        self._is_open = False


def serve(recorded: Recorded, cut: Cut = "fin") -> Behaviour:
    """Tell a recorded run over a socket; the connection is kept unless the stream breaks."""

    async def behave(connection: Connection) -> bool:
        assert connection.request is not None
        request = connection.request
        _, content, breaks = recorded.answer(request.method, request.target, request.json if request.body else None)
        if isinstance(content, dict):
            data = json.dumps(content).encode()
            await connection.send(head(200, [("content-type", "application/json")], length=len(data)) + data)
            return True
        kind = [("content-type", "text/event-stream")]
        if breaks and cut == "end":
            await connection.send(head(200, [*kind, ("connection", "close")]) + content)
            return False
        # Announced longer than it is, so that its last chunk is cut, too.
        chunk = f"{len(content) + breaks:x}\r\n".encode() + content if content or breaks else b""
        await connection.send(head(200, [*kind, ("transfer-encoding", "chunked")]) + chunk)
        if not breaks:
            await connection.send(b"\r\n0\r\n\r\n" if content else b"0\r\n\r\n")
            return True
        if cut == "silence":
            await connection.wait(asyncio.Event())
        elif cut == "reset":
            await asyncio.sleep(0.003)  # what was sent is lost where the reset overtakes it
            connection.reset()
        return False

    return behave


@define
class Told:
    """All that a stream has told."""

    events: list[StreamEvent] = field(factory=list[StreamEvent])
    received: list[bool] = field(factory=list[bool])
    """Of each event, whether the server sent it."""
    text: str = ""
    pieces: list[str] = field(factory=list[str])

    @property
    def names(self) -> list[str]:
        return [told.event for told in self.events]

    @property
    def reconciled(self) -> list[StreamEvent]:
        return [told for told in self.events if told.reconciled]


class _Listening:
    """Reads a stream and keeps its events for a second reader."""

    def __init__(self, stream: RunStream, told: Told) -> None:
        self._stream = stream
        self._told = told

    async def __anext__(self) -> StreamEvent:
        told = await anext(self._stream)
        self._told.events.append(told)
        self._told.received.append(self._stream.last_received is not None)
        return told


async def read(stream: RunStream, told: Told | None = None) -> Told:
    """Read a stream to its end, its events and its text at once."""
    told = Told() if told is None else told
    async for piece in TextPieces(_Listening(stream, told)):  # type: ignore[arg-type]
        told.pieces.append(piece)
        told.text += piece
    assert isinstance(told.events[-1], DoneEvent)
    assert told.names.count("done") == 1
    return told


# --- recorded runs ---------------------------------------------------------------------------------------------------


def _text(value: str, **fields: object) -> Json:
    return {"type": "text", "text": {"value": value}, **fields}


def _delta(message_id: str, index: int, value: str) -> bytes:
    delta = {"content": [_text(value, index=index)]}
    return event("thread.message.delta", {"id": message_id, "object": "thread.message.delta", "delta": delta})


def _message(number: int, *parts: Sequence[str]) -> tuple[bytes, Json, Json]:
    """Return the events of a message with its step, each part of it in pieces, and both as they are in the end."""
    step_id, message_id = f"step_{number}", f"msg_{number}"
    step = {
        "id": step_id,
        "run_id": RUN,
        "thread_id": THREAD,
        "type": "message_creation",
        "status": "in_progress",
        "step_details": {"type": "message_creation", "message_creation": {"message_id": message_id}},
    }
    message = {"id": message_id, "thread_id": THREAD, "run_id": RUN, "role": "assistant", "content": []}
    begun = {**message, "status": "in_progress"}
    whole = {**message, "status": "completed", "content": [_text("".join(pieces)) for pieces in parts]}
    done = {**step, "status": "completed"}
    data = event("thread.run.step.created", step) + event("thread.message.created", begun)
    for index, pieces in enumerate(parts):
        data += b"".join(_delta(message_id, index, piece) for piece in pieces)
    data += event("thread.message.completed", whole) + event("thread.run.step.completed", done)
    return data, whole, done


def _start(*, thread: bool = False) -> bytes:
    created = event("thread.created", {"id": THREAD, "object": "thread"}) if thread else b""
    return created + event("thread.run.created", run("queued")) + event("thread.run.in_progress", run("in_progress"))


_END = event("thread.run.completed", run("completed")) + event("done", "[DONE]")

_ONE = _message(1, ["Hel", "lo"])
ONE_MESSAGE = Recorded([Stage(_start() + _ONE[0] + _END, run("completed"), [_ONE[1]], [_ONE[2]])])
ONE_TEXT = "Hello"

_FIRST, _SECOND = _message(1, ["Hé", "llo "], ["wörld", "!"]), _message(2, ["Bye."])
MANY_PARTS = Recorded(
    [
        Stage(
            _start(thread=True) + _FIRST[0] + _SECOND[0] + _END,
            run("completed"),
            [_FIRST[1], _SECOND[1]],
            [_FIRST[2], _SECOND[2]],
        )
    ]
)
MANY_TEXT = "Héllo wörld!\n\nBye."


def call(number: int, name: str, **arguments: object) -> Json:
    """Return a call of a function."""
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    }


def calling(*calls: Json) -> Json:
    """Return a run that waits for the outputs of calls."""
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": list(calls)}}
    return run("requires_action", required_action=action)


def _calling_step(number: int, status: str, *calls: Json) -> Json:
    details = {"type": "tool_calls", "tool_calls": list(calls)}
    return {"id": f"step_c{number}", "run_id": RUN, "thread_id": THREAD, "status": status, "step_details": details}


def tool_rounds(*rounds: Sequence[Json], then: Sequence[str] = ("Sun", "ny.")) -> Recorded:
    """Write down a run that asks for rounds of calls and then says something."""
    stages: list[Stage] = []
    steps: list[Json] = []
    start = _start()
    for number, calls in enumerate(rounds):
        begun = _calling_step(number, "in_progress", *calls)
        start += event("thread.run.step.created", begun)
        start += event("thread.run.requires_action", calling(*calls)) + event("done", "[DONE]")
        stages.append(Stage(start, calling(*calls), [], [*steps, begun]))
        steps.append(_calling_step(number, "completed", *calls))
        start = event("thread.run.step.completed", steps[-1]) + event("thread.run.queued", run("queued"))
    data, message, step = _message(1, then)
    stages.append(Stage(start + data + _END, run("completed"), [message], [*steps, step]))
    return Recorded(stages)


def cut_at(recorded: Recorded, cut: int) -> Recorded:
    """Return a recorded run whose connection breaks after so many bytes."""
    return evolve(recorded.anew(), cut=cut)
