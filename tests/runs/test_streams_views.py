"""Other ways to read a stream: its text, and server-sent events for a web response."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from wire.streams import STREAMS, events_of, events_until_error

from asyncassist import AsyncClient, StreamError, StreamInterruptedError
from asyncassist.server import Failure, FunctionCall, LocalServer, OfflineBackend, Rule
from asyncassist.tools import PendingCall, Toolset

from .helpers import (
    ASSISTANT,
    KEY,
    MANY_PARTS,
    MANY_TEXT,
    QUICK,
    THREAD,
    InProcess,
    Recorded,
    Stage,
    call,
    event,
    run,
    tool_rounds,
)

pytestmark = pytest.mark.anyio


def start(client: AsyncClient, **options: Any) -> Any:
    return client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK, **options)


@pytest.mark.parametrize("cut", [None, 900, 1500, 2000])
async def test_the_pieces_are_the_text_of_the_run(cut: int | None) -> None:
    """What text() gives is, joined, what run_text() gives: parts joined, messages parted, whole or broken."""
    client = InProcess(MANY_PARTS.anew(cut=cut)).client()
    async with start(client) as stream:
        pieces = [piece async for piece in stream.text()]
    assert "".join(pieces) == MANY_TEXT == await client.run_text(stream.run)
    assert all(pieces)


async def test_messages_without_text_and_without_deltas() -> None:
    """A message without text leaves no gap, one of a server without deltas comes whole, a user's not at all."""

    def message(id_: str, role: str, *texts: str) -> dict[str, Any]:
        content = [{"type": "text", "text": {"value": text}} for text in texts]
        return {"id": id_, "thread_id": THREAD, "run_id": "run_1", "role": role, "content": content}

    messages = [message("a", "assistant"), message("b", "assistant", "One", "."), message("c", "assistant", "Two.")]
    data = event("thread.run.created", run("queued"))
    data += event("thread.message.completed", message("u", "user", "Hello"))
    data += b"".join(event("thread.message.completed", item) for item in messages)
    client = InProcess(
        Recorded([Stage(data + event("thread.run.completed", run("completed")), run("completed"), messages)])
    )
    async with start(client.client()) as stream:
        text = "".join([piece async for piece in stream.text()])
    assert text == "One.\n\nTwo." == await client.client().run_text(stream.run)


async def test_messages_that_do_not_name_their_run() -> None:
    """Of messages without a run's id, those older than the run are not its own."""
    made = run("completed", created_at=50)

    def message(id_: str, text: str, created_at: int | None) -> dict[str, Any]:
        content = [{"type": "text", "text": {"value": text}}]
        return {"id": id_, "thread_id": THREAD, "role": "assistant", "created_at": created_at, "content": content}

    messages = [message("a", "Old.", 49), message("b", "New.", 50), message("c", "Timeless.", None)]
    data = event("thread.run.created", run("queued", created_at=50))
    wire = InProcess(Recorded([Stage(data, made, messages)]))
    async with start(wire.client()) as stream:
        assert "".join([piece async for piece in stream.text()]) == "New.\n\nTimeless."


async def test_the_text_of_a_real_run() -> None:
    """The same with the server of this package, its pieces as the backend said them."""
    async with LocalServer(OfflineBackend([Rule(say="Hello, world! ☀")])) as server, server.client() as client:
        assistant = await client.create_assistant(model="m")
        async with client.stream_thread_and_run(assistant_id=assistant.id) as stream:
            pieces = [piece async for piece in stream.text()]
        assert stream.run is not None
        assert "".join(pieces) == "Hello, world! ☀" == await client.run_text(stream.run)
        assert len(pieces) == 3


@pytest.mark.parametrize("cut", [None, 700, 1500])
async def test_bytes_sent_on_are_the_same_events(cut: int | None) -> None:
    """What sse() gives decodes to the events a direct reader has, those of a recovery included."""
    async with start(InProcess(MANY_PARTS.anew(cut=cut)).client()) as stream:
        direct = [told async for told in stream]
    async with start(InProcess(MANY_PARTS.anew(cut=cut)).client()) as stream:
        data = b"".join([piece async for piece in stream.sse()])
    sent_on = events_of(data)
    assert [told.event for told in sent_on] == [told.event for told in direct]
    assert [told.data for told in sent_on] == [told.data for told in direct]


@pytest.mark.parametrize("name", sorted(STREAMS))
async def test_recorded_bytes_sent_on(name: str) -> None:
    """Every recorded stream is sent on with the API's names and data, whatever its form was."""
    expected = [told for told in events_until_error(STREAMS[name]) if told.event != "done"]
    client = InProcess(Recorded([Stage(STREAMS[name], run("expired"))])).client()
    pieces: list[bytes] = []
    async with start(client) as stream:
        try:
            async for piece in stream.sse():
                pieces.append(piece)
        except StreamError:
            assert pieces[-1].startswith(b"event: error\n")
            pieces.pop()
    assert events_of(b"".join(pieces))[: len(expected)] == expected


async def test_an_error_tells_its_code_and_no_more() -> None:
    """The error event has the code; the message stays on this side, where the error is raised behind it."""
    begun = event("thread.run.created", run("queued"))
    data = begun + event("error", {"message": f"secret {KEY}", "code": "rate_limit_exceeded"})
    async with start(InProcess(Recorded([Stage(data, run("failed"))])).client()) as stream:
        view = stream.sse()
        assert await anext(view) == begun
        sent = await anext(view)
        with pytest.raises(StreamError, match="secret"):
            await anext(view)
        with pytest.raises(StreamError, match="secret"):
            await anext(view)
    assert sent.startswith(b"event: error\ndata: ")
    assert json.loads(sent.partition(b"data: ")[2]) == {
        "error": {"message": "The stream failed.", "code": "rate_limit_exceeded"}
    }


async def test_an_error_of_the_callers_own_goes_out_as_one_too() -> None:
    """What a hook raises ends the stream with an error event that tells nothing of it."""

    async def weather(city: str) -> str:
        """Tell the weather."""
        return city

    def before(call: PendingCall) -> None:
        error = LookupError("secret")
        error.code = "secret"  # type: ignore[attr-defined]
        raise error

    recorded = tool_rounds([call(1, "weather", city="Rome")])
    pieces: list[bytes] = []
    with pytest.raises(LookupError, match="secret"):
        async with start(InProcess(recorded).client(), toolset=Toolset([weather], before_call=before)) as stream:
            async for piece in stream.sse():
                pieces.append(piece)
    assert pieces[-1].startswith(b"event: error\n")
    assert b"secret" not in b"".join(pieces)
    assert recorded.cancels == 1


async def test_nothing_secret_in_what_is_sent_on(caplog: pytest.LogCaptureFixture) -> None:
    """A break says nothing of the server, the key or the request to whoever reads on the other side."""
    pieces: list[bytes] = []
    with pytest.raises(StreamInterruptedError):
        async with start(InProcess(MANY_PARTS.anew(cut=10)).client()) as stream:
            async for piece in stream.sse():
                pieces.append(piece)
    assert [json.loads(piece.partition(b"data: ")[2]) for piece in pieces] == [
        {"error": {"message": "The stream failed.", "code": None}}
    ]


class SentOn(httpx.AsyncBaseTransport):
    """A web endpoint that sends a run on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=_Body(self._stream), request=request)


class _Body(httpx.AsyncByteStream):
    def __init__(self, view: Any) -> None:
        self._view = view

    def __aiter__(self) -> AsyncIterator[bytes]:
        view: AsyncIterator[bytes] = self._view
        return view


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # on trio their own iterators are left open, with a warning
@pytest.mark.parametrize("is_failing", [False, True])
async def test_the_openai_package_reads_what_is_sent_on(is_failing: bool) -> None:
    """The bytes are a stream for the openai package, an error among them an error of its own."""

    async def weather(city: str) -> str:
        """Tell the weather."""
        if is_failing:
            raise LookupError
        return f"sunny in {city}"

    rule = Rule(calls=[FunctionCall("weather", {"city": "Rome"})], say="It is {outputs[0]}.")
    async with LocalServer(OfflineBackend([rule])) as server, server.client() as client:
        assistant = await client.create_assistant(
            model="m", tools=[{"type": "function", "function": {"name": "weather"}}]
        )
        thread = await client.create_thread(messages=[{"role": "user", "content": "Hello"}])
        toolset = Toolset([weather], on_error="raise")
        names: list[str] = []
        text = ""
        with pytest.raises((openai.APIError, StopAsyncIteration)) as caught:
            async with client.stream_run(thread.id, assistant_id=assistant.id, toolset=toolset) as stream:
                http: Any = httpx.AsyncClient(transport=SentOn(stream.sse()))
                theirs = openai.AsyncOpenAI(api_key="k", base_url="http://web/v1", http_client=http, max_retries=0)
                events = await theirs.beta.threads.runs.create(THREAD, assistant_id=ASSISTANT, stream=True)
                async for told in events:
                    names.append(told.event)
                    if told.event == "thread.message.delta":
                        text += "".join(part.text.value for part in told.data.delta.content)  # type: ignore[union-attr,misc]
                raise StopAsyncIteration
        if is_failing:
            assert isinstance(caught.value, openai.APIError)
            assert names[-1] == "thread.run.requires_action"
        else:
            assert text == "It is sunny in Rome."
            assert names.count("thread.run.requires_action") == names.count("thread.run.completed") == 1


async def test_a_failed_run_is_a_stream_that_ends() -> None:
    """A run that fails is no failure of the stream: its last event says so."""
    backend = OfflineBackend([Rule(fail=Failure("No.", code="rate_limit_exceeded"))])
    async with LocalServer(backend) as server, server.client() as client:
        assistant = await client.create_assistant(model="m")
        async with client.stream_thread_and_run(assistant_id=assistant.id) as stream:
            ended = await stream.until_done()
    assert ended.status == "failed"
    assert ended.last_error is not None
    assert ended.last_error.code == "rate_limit_exceeded"
