"""What servers send instead of what the API describes: streams in other forms, and answers that are no streams."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from transport.helpers import paced, pool_of
from transport.loopback import Loopback, answer, chunked, raw
from wire.streams import STREAMS, chunkings, events_of, events_until_error, frames_of

from asyncassist import AsyncClient, DecodeError, StreamError, StreamInterruptedError, Timeout
from asyncassist._wire.sse import encode_event
from asyncassist.models.events import DoneEvent, UnknownEvent

from .helpers import (
    ASSISTANT,
    KEY,
    MANY_PARTS,
    MANY_TEXT,
    ONE_MESSAGE,
    ONE_TEXT,
    QUICK,
    THREAD,
    InProcess,
    Recorded,
    Stage,
    Told,
    event,
    read,
    run,
    serve,
)

pytestmark = pytest.mark.anyio

WHOLE = MANY_PARTS.stages[0].stream


def start(client: AsyncClient, **options: Any) -> Any:
    return client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK, **options)


async def told_by(data: bytes, *, of: Recorded = MANY_PARTS, pieces: Any = lambda data: [data], **options: Any) -> Told:
    """Read a stream of these bytes to its end."""
    recorded = of.anew()
    recorded.stages = [Stage(data, of.stages[0].run, of.stages[0].messages, of.stages[0].steps)]
    wire = InProcess(recorded, pieces=pieces, **options)
    client = wire.client()
    paced(client)
    async with start(client) as stream:
        told = await read(stream)
    assert (wire.open, recorded.cancels) == (0, 0)
    return told


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_any_chunking_gives_the_same_events(anyio_backend: str) -> None:
    """However the bytes arrive, the events are those the server sent."""
    expected = anyio.run(told_by, WHOLE).events

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(chunkings(WHOLE))
    def check(chunks: Sequence[bytes]) -> None:
        async def main() -> None:
            told = await told_by(WHOLE, pieces=lambda data: [chunk for chunk in chunks if chunk])
            assert (told.events, told.text) == (expected, MANY_TEXT)

        anyio.run(main)

    check()


async def test_a_byte_at_a_time_over_a_socket(server: Loopback) -> None:
    """A server that sends single bytes is understood, and its connection is used again."""
    pieces = [bytes([byte]) for byte in ONE_MESSAGE.stages[0].stream]
    server.default = chunked(*pieces, headers={"content-type": "text/event-stream"})
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        for _ in range(2):
            async with start(client) as stream:
                assert (await read(stream)).text == ONE_TEXT
    assert server.opened == 1


FRAMES = frames_of([WHOLE])


def _lines(frame: Any) -> bytes:
    data = json.dumps(json.loads(frame.data), indent=1) if frame.data != "[DONE]" else frame.data
    return encode_event(frame.event, data)


FORMS: dict[str, bytes] = {
    "CR": WHOLE.replace(b"\n", b"\r"),
    "CRLF": WHOLE.replace(b"\n", b"\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "comments": b": hi\n\n" + WHOLE.replace(b"\n\n", b"\n\n: ping\n\n:\n"),
    "data in many lines": b"".join(map(_lines, FRAMES)),
    "no space behind the colon": WHOLE.replace(b"event: ", b"event:").replace(b"data: ", b"data:"),
    "ids and retry": WHOLE.replace(b"event: ", b"id: 7\nretry: 10\nevent: "),
    "no done": WHOLE.removesuffix(event("done", "[DONE]")),
    "done without a name": WHOLE.replace(b"event: done\n", b""),
    # LiteLLM 1.109
    "frames that name themselves": b"".join(
        encode_event("", json.dumps({"data": json.loads(frame.data), "event": frame.event}))
        for frame in FRAMES
        if frame.event != "done"
    ),
    # open-assistant-api: nulls in deltas, no status of messages, no done
    "nulls in deltas": WHOLE.removesuffix(event("done", "[DONE]"))
    .replace(b'"delta":{', b'"delta":{"role":null,')
    .replace(b'"},"index"', b'","annotations":null},"index"'),
    "more after done": WHOLE + event("thread.run.failed", run("failed")) + event("error", {"message": "late"}),
}


@pytest.mark.parametrize("form", list(FORMS))
async def test_the_same_stream_in_other_forms(form: str) -> None:
    """Whatever form the API's events have on the wire, they are the same events and the same text."""
    assert FORMS[form] != WHOLE
    for size in (len(FORMS[form]), 100, 7):
        told = await told_by(
            FORMS[form], pieces=lambda data, size=size: [data[at : at + size] for at in range(0, len(data), size)]
        )
        assert told.text == MANY_TEXT
        assert told.names == [told_.event for told_ in events_of(WHOLE)]
        assert told.events[-1].reconciled == ("[DONE]" not in FORMS[form].decode("utf-8"))
        assert len(told.reconciled) <= 1


@pytest.mark.parametrize(
    "kind", ["text/event-stream; charset=utf-8", "text/plain", "", "application/json", "text/html"]
)
async def test_the_content_says_what_it_is(kind: str) -> None:
    """A stream of events is read whatever the Content-Type says."""
    told = await told_by(WHOLE, headers={"content-type": kind} if kind else {})
    assert told.text == MANY_TEXT


@pytest.mark.parametrize("size", [1, 50, 100_000])
async def test_a_compressed_stream(size: int) -> None:
    """A stream compressed though nobody asked for it is read."""
    data = gzip.compress(WHOLE)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    told = await told_by(
        WHOLE, pieces=lambda data: pieces, headers={"content-type": "text/event-stream", "content-encoding": "gzip"}
    )
    assert told.text == MANY_TEXT


async def test_a_compression_that_breaks_is_a_break() -> None:
    """Where the compressed bytes make no sense any more, the rest is recovered."""
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    # The stream's head comes through, then something that is no gzip.
    first = gzip.compress(WHOLE[:400])
    told = await told_by(WHOLE, pieces=lambda _: [first, b"garbage"], headers=headers)
    assert told.text == MANY_TEXT
    assert told.reconciled


async def test_a_compression_nobody_knows_is_refused(server: Loopback) -> None:
    """An encoding nobody asked for is an error on entering, and the connection is closed."""
    server.default = chunked(WHOLE, headers={"content-type": "text/event-stream", "content-encoding": "br"})
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        with pytest.raises(DecodeError):
            async with start(client):
                pass
        assert not pool_of(client)._busy


@pytest.mark.parametrize(
    ("kind", "body", "cancels"),
    [
        ("application/json", json.dumps(run("queued")), 1),
        ("application/json; charset=utf-8", json.dumps(run("completed")), 0),
        ("application/json", '{"detail": "Not Found"}', 0),
        ("application/json", '{"id": "run_1"', 0),
        ("text/html", "<!DOCTYPE html><title>Welcome</title>", 0),
        ("text/event-stream", json.dumps(run("queued"), indent=2), 1),
        ("text/plain", "\n " + json.dumps([run("queued")]), 0),
        ("", "<html>", 0),
    ],
)
async def test_an_answer_that_is_no_stream(server: Loopback, kind: str, body: str, cancels: int) -> None:
    """JSON or HTML is an error of its own; the connection is given back, and the run it tells of is cancelled.

    With ``reconcile=True`` such a run is followed, and anything else is an error likewise.
    """
    is_run = body.startswith(('{\n  "id": "run_1"', '{"id": "run_1", '))
    server.script.append(answer(body.encode(), headers={"content-type": kind} if kind else {}))
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        with pytest.raises(StreamError, match="(JSON|HTML) instead of a stream") as caught:
            async with start(client, reconcile=not is_run) as stream:
                await read(stream)
        assert not isinstance(caught.value, StreamInterruptedError)
        assert not pool_of(client)._busy
    assert [request.target for request in server.requests[1:]] == ["/v1/threads/thread_1/runs/run_1/cancel"] * cancels


@pytest.mark.parametrize("body", [b"", b"\n\n", b": ping\n\n", b"Internal error", b"data"])
async def test_a_stream_that_says_nothing(body: bytes) -> None:
    """A stream without a single event is an error, not an empty run."""
    with pytest.raises(StreamInterruptedError):
        await told_by(body)


ERRORS: dict[str, tuple[bytes, str | None, str]] = {
    "flat": (event("error", {"message": "Oh.", "code": "server_error", "type": "t"}), "server_error", "Oh."),
    "nested": (event("error", {"error": {"message": "Oh.", "code": "rate_limit"}}), "rate_limit", "Oh."),
    "text": (event("error", "Oh."), None, "Oh."),
    "nameless": (encode_event("", '{"error":{"message":"Oh.","code":500}}'), "500", "Oh."),
    "bad JSON": (event("thread.run.completed", '{"id":'), None, "cannot be read"),
    "wrong object": (event("thread.message.completed", {"id": 5}), None, "cannot be read"),
    "bad UTF-8": (b"event: thread.run.completed\ndata: \xff\xfe\n\n", None, "not UTF-8"),
    "too long": (b"data: " + b"x" * (16 * 1024 * 1024 + 1) + b"\n\n", None, "more than"),
    "with the key": (event("error", {"message": f"key {KEY}", "code": KEY}), "***", "key"),
}


@pytest.mark.parametrize("kind", list(ERRORS))
async def test_an_error_in_the_stream(server: Loopback, kind: str) -> None:
    """An error event, or one nobody can read, is raised with its facts; connection and run are given up."""
    data, code, message = ERRORS[kind]
    begun = event("thread.run.created", run("queued"))
    server.script.append(chunked(begun, data, headers={"content-type": "text/event-stream"}))
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        async with start(client) as stream:
            first = await anext(stream)
            assert first.event == "thread.run.created"
            with pytest.raises(StreamError, match=message) as caught:
                await anext(stream)
            assert not pool_of(client)._busy  # at once, not when the block is left
            with pytest.raises(StreamError) as again:
                await anext(stream)
        assert again.value is caught.value
        assert KEY not in str(caught.value)
        assert caught.value.code == code or (kind == "with the key" and KEY not in str(caught.value.code))
        assert not isinstance(caught.value, StreamInterruptedError)
    assert [request.target for request in server.requests[1:]] == ["/v1/threads/thread_1/runs/run_1/cancel"]


async def test_an_error_before_the_run_is_known() -> None:
    """An error as the first event is raised; there is nothing to cancel."""
    with pytest.raises(StreamError, match="Oh"):
        await told_by(event("error", {"message": "Oh."}))


async def test_unknown_events_are_kept() -> None:
    """Names of a later API come through with their data, wherever they stand."""
    data = event("thread.run.created", run("queued")) + event("thread.run.paused", {"a": [1]}) + event("ping", "pong")
    told = await told_by(data + event("thread.run.completed", run("completed")))
    kept = [told_ for told_ in told.events if isinstance(told_, UnknownEvent)]
    assert [(told_.name, told_.data) for told_ in kept] == [("thread.run.paused", {"a": [1]}), ("ping", "pong")]


async def test_a_stream_that_never_ends_is_ended(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that holds the connection after the run's end, without a word, holds up nobody."""
    monkeypatch.setattr("asyncassist.runs.run_stream._LAST_WORD_SECONDS", 0.05)
    data = ONE_MESSAGE.stages[0].stream.removesuffix(event("done", "[DONE]"))
    cut = ONE_MESSAGE.anew(cut=len(data))
    server.default = serve(cut, "silence")
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        async with start(client) as stream:
            told = await read(stream)
        assert not pool_of(client)._busy
    assert (told.text, told.reconciled) == (ONE_TEXT, told.events[-1:])
    assert len(cut.asked) == 1


async def test_a_connection_is_used_again_after_done(server: Loopback) -> None:
    """A stream that ended well leaves its connection to the next."""
    server.default = serve(ONE_MESSAGE.anew())
    async with AsyncClient(api_key=KEY, base_url=server.url, timeout=Timeout(idle=5)) as client:
        async with start(client) as stream:
            await read(stream)
        server.default = serve(ONE_MESSAGE.anew())
        async with start(client) as stream:
            await read(stream)
    assert server.opened == 1


async def test_ids_that_are_none_lead_nowhere() -> None:
    """A run's id that cannot stand in a path is never asked about: the break is an error, not a request elsewhere."""
    message = {"id": "msg_1", "thread_id": "..", "run_id": "..", "role": "assistant", "content": []}
    recorded = Recorded([Stage(event("thread.message.created", message), run("completed"))])
    with pytest.raises(StreamInterruptedError):
        await told_by(recorded.stages[0].stream, of=recorded)
    recorded = Recorded([Stage(event("thread.run.created", run("queued", id="..")), run("completed"))])
    wire = InProcess(recorded)
    with pytest.raises(StreamInterruptedError):
        async with start(wire.client()) as stream:
            await read(stream)
    assert recorded.asked == ["POST /threads/thread_1/runs"]


async def test_a_message_names_its_run() -> None:
    """Where no event about the run has come, its messages and steps tell which it is."""
    stream = ONE_MESSAGE.stages[0].stream
    told = await told_by(stream[stream.index(b"event: thread.run.step.created") : -200], of=ONE_MESSAGE)
    assert told.text == ONE_TEXT
    assert "thread.run.completed" in told.names


@pytest.mark.parametrize("name", sorted(STREAMS))
async def test_recorded_payloads(name: str) -> None:
    """The streams of the API's description, and our own beside them, come through event by event."""
    data = STREAMS[name]
    expected = [told for told in events_until_error(data) if not isinstance(told, DoneEvent)]
    recorded = Recorded([Stage(data, run("expired"))])
    wire = InProcess(recorded)
    client = wire.client()
    paced(client)
    told = Told()
    async with start(client) as stream:
        try:
            await read(stream, told)
        except StreamError as error:
            assert ("error" in name) == (not isinstance(error, StreamInterruptedError))
        assert [told_ for told_ in told.events if not told_.reconciled and not isinstance(told_, DoneEvent)] == expected
    assert wire.open == 0


async def test_an_answer_in_pieces_that_is_no_stream(server: Loopback) -> None:
    """JSON that arrives bit by bit, or breaks, is the same error; the run is cancelled if it can be read."""
    data = json.dumps(run("queued")).encode()
    for ended in (True, False):
        server.script.append(
            chunked(data[:9], data[9:20], data[20:], headers={"content-type": "text/plain"}, ended=ended)
        )
        async with AsyncClient(api_key=KEY, base_url=server.url) as client:
            with pytest.raises(StreamError, match="JSON instead of a stream"):
                async with start(client, reconcile=False) as stream:
                    await anext(stream)
    assert [request.target.rsplit("/", 1)[1] for request in server.requests] == ["runs", "cancel", "runs"]


async def test_an_end_that_breaks_is_an_end() -> None:
    """What happens to the connection behind ``done`` is of no interest."""
    recorded = ONE_MESSAGE.anew()
    recorded.stages = [Stage(ONE_MESSAGE.stages[0].stream + b": more", run("completed"))]
    recorded.cut = len(recorded.stages[0].stream) - 1
    wire = InProcess(recorded, cut="reset")
    async with start(wire.client()) as stream:
        told = await read(stream)
    assert (told.text, told.reconciled, wire.open, len(recorded.asked)) == (ONE_TEXT, [], 0, 1)


async def test_a_raw_answer_without_framing(server: Loopback) -> None:
    """A stream that ends when its connection does, as HTTP/1.0 has it, is a whole one."""
    server.default = raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + WHOLE)
    async with AsyncClient(api_key=KEY, base_url=server.url) as client, start(client) as stream:
        assert (await read(stream)).text == MANY_TEXT
