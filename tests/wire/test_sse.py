"""Bytes to server-sent events, however they are cut, written or broken."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncassist._wire.sse import MAX_EVENT, ServerSentEvent, SSEDecoder, encode_event
from asyncassist.errors import StreamError

from .streams import STREAMS, chunkings, frames_of

steady = settings(derandomize=True, deadline=None, max_examples=200, database=None)


def as_the_standard_says(data: bytes) -> list[ServerSentEvent]:
    """Read a whole stream line by line, as the standard puts it, with errors for bad UTF-8 in lines that count."""
    frames: list[ServerSentEvent] = []
    lines = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    last_id, event, buffer = "", "", b""
    retry: int | None = None
    for line in lines[:-1]:
        if not line:
            if buffer:
                frames.append(ServerSentEvent(event or "message", buffer[:-1].decode(), last_id, retry))
            event, buffer, retry = "", b"", None
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            event = value.decode()
        elif field == b"data":
            buffer += value + b"\n"
        elif field == b"id" and b"\0" not in value:
            last_id = value.decode()
        elif field == b"retry" and value.isdigit():
            retry = int(value)
    return frames


def outcome(chunks: list[bytes], limit: int = MAX_EVENT) -> tuple[list[ServerSentEvent], str]:
    """Give the events up to an error, and the error's text."""
    decoder = SSEDecoder(limit=limit)
    frames: list[ServerSentEvent] = []
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                frames.append(frame)
        decoder.finish()
    except StreamError as error:
        return frames, error.message
    return frames, ""


# --- what the standard says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"event: a\ndata: b\n\n", [("a", "b")]),
        (b"event:a\ndata:b\n\n", [("a", "b")]),
        (b"event:  a\ndata:  b \n\n", [(" a", " b ")]),
        (b"data: b\nevent: a\n\n", [("a", "b")]),
        (b"event: a\nevent: b\ndata: c\n\n", [("b", "c")]),
        (b"data: b\n\n", [("message", "b")]),
        (b"event:\ndata: b\n\n", [("message", "b")]),
        (b"event: \ndata: b\n\n", [("message", "b")]),
        (b"event: a\n\n", []),
        (b"event: a\n\ndata: b\n\n", [("message", "b")]),
        (b"data: a\ndata:  b\ndata:c\n\n", [("message", "a\n b\nc")]),
        (b"data\n\n", [("message", "")]),
        (b"data\ndata\n\n", [("message", "\n")]),
        (b"event: a\ndata:\n\n", [("a", "")]),
        (b"data: a: b\n\n", [("message", "a: b")]),
        (b": comment\n\n:\n\ndata: a\n: comment\n\n", [("message", "a")]),
        (b"dat: a\ndatax: b\n data: c\nData: d\n\n", []),
        (b"data: a\n\n\n\n\ndata: b\n\n", [("message", "a"), ("message", "b")]),
        (b"\n\ndata: a\n\n", [("message", "a")]),
        (b"event: a\r\ndata: b\r\n\r\n", [("a", "b")]),
        (b"event: a\rdata: b\r\r", [("a", "b")]),
        (b"event: a\ndata: b\r\n\r", [("a", "b")]),
        (b"data: a\n\r\ndata: b\r\r\n", [("message", "a"), ("message", "b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"\n\xef\xbb\xbfdata: a\n\n", []),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb", []),
        ("data: Zürich 🇨🇭\u2028x\x85y\x0b\n\n".encode(), [("message", "Zürich 🇨🇭\u2028x\x85y\x0b")]),
        (b"data: a\x00b\n\n", [("message", "a\x00b")]),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"data: a\n\ndata: b\n", [("message", "a")]),
        (b"", []),
        (b"<html><body>Bad gateway</body></html>\n\n", []),
        (b'{"error": "no stream"}', []),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
def test_events(data: bytes, expected: list[tuple[str, str]]) -> None:
    """Fields, comments, blank lines, every kind of line end and a byte order mark are read as the standard says."""
    frames = frames_of([data])

    assert [(frame.event, frame.data) for frame in frames] == expected
    assert frames == frames_of([bytes([byte]) for byte in data])
    assert frames == as_the_standard_says(data)


def test_ids_and_retry() -> None:
    """An id holds until the next one, with or without data; the pause belongs to its event alone."""
    data = b"id: 1\nretry: 50\ndata: a\n\nid: 2\n\nevent: e\ndata: b\n\nid\nretry: 1.5\ndata: c\n\nid: 3\0\ndata: d\n\n"

    assert frames_of([data]) == [
        ServerSentEvent("message", "a", "1", 50),
        ServerSentEvent("e", "b", "2"),
        ServerSentEvent("message", "c", ""),
        ServerSentEvent("message", "d", ""),
    ]


def test_an_absurd_retry_is_none() -> None:
    """A pause of thousands of digits is no number."""
    assert frames_of([b"retry: " + b"9" * 5000 + b"\ndata: a\n\n"]) == [ServerSentEvent("message", "a")]


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams(name: str) -> None:
    """A recorded stream gives the same events whole, byte by byte, and with every kind of line end."""
    data = STREAMS[name].replace(b"\r\n", b"\n")
    expected = as_the_standard_says(data)

    assert len(expected) > 1
    for stream in (data, data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r"), b"\xef\xbb\xbf" + data):
        assert frames_of([stream]) == expected
        assert frames_of([stream[at : at + 1] for at in range(len(stream))]) == expected


# --- any chunking ----------------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *(b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\0"),
        *(b"data: a\n", b"event: b\n", b"event: b\ndata: c\n\n", b"id: 7\n", b"retry: 12\n", b": hush\n"),
        *(b"\xef\xbb\xbf", "é".encode(), "🇨".encode(), b"\xff", b"\xf0\x9f", b"x"),
    ]
)
streams = st.lists(pieces, max_size=25).map(b"".join) | st.binary(max_size=40)


@given(st.data())
@steady
def test_any_chunking(data: st.DataObject) -> None:
    """However a stream is cut, it gives the same events up to the same error, and no error but a StreamError."""
    stream = data.draw(streams)
    whole = outcome([stream])

    assert outcome(data.draw(chunkings(stream))) == whole
    assert outcome([stream[at : at + 1] for at in range(len(stream))]) == whole


@given(streams)
@steady
def test_as_the_standard_says(stream: bytes) -> None:
    """What comes before bad UTF-8 is what a plain reading of the standard gives."""
    frames, message = outcome([stream])

    try:
        expected = as_the_standard_says(stream)
    except UnicodeDecodeError:
        return
    assert (frames, message) == (expected, "")


@given(st.data(), st.integers(0, 30))
@steady
def test_any_chunking_with_a_limit(data: st.DataObject, limit: int) -> None:
    """The limit, too, strikes at the same place however the stream is cut."""
    stream = data.draw(streams)

    assert outcome(data.draw(chunkings(stream)), limit) == outcome([stream], limit)


def test_each_event_as_soon_as_it_is_complete() -> None:
    """Nothing waits for the next chunk: not an event that ends with CR, which may be followed by LF."""
    decoder = SSEDecoder()

    assert [frame.data for frame in decoder.feed(b"data: a\r\n\r")] == ["a"]
    assert [frame.data for frame in decoder.feed(b"")] == []
    assert [frame.data for frame in decoder.feed(b"\ndata: b\r\r")] == ["b"]
    assert [frame.data for frame in decoder.feed(b"data: c\n\ndata: d\n\ndata: ")] == ["c", "d"]
    assert [frame.data for frame in decoder.feed(b"e\n\n")] == ["e"]


def test_events_are_read_when_they_are_asked_for() -> None:
    """What came before a broken event is given before the error is raised."""
    frames = SSEDecoder().feed(b"data: a\n\ndata: \xff\n\ndata: b\n\n")

    assert next(frames).data == "a"
    with pytest.raises(StreamError):
        next(frames)


@pytest.mark.parametrize(
    ("data", "is_cut"),
    [(b"", False), (b"data: a\n\n", False), (b"data: a\n\n\n", False), (b"data: a\n", True), (b"\xef\xbb", True)],
)
def test_the_end(data: bytes, is_cut: bool) -> None:
    """The end of the stream says whether it came inside an event, which is dropped."""
    decoder = SSEDecoder()
    list(decoder.feed(data))

    assert decoder.finish() is is_cut
    assert list(decoder.feed(b"\n\n")) == []


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        b"data: \xff",
        b"event: a\ndata: \xed\xa0\x80",
        b"event: \xc3\ndata: a",
        b"id: \xf0\x9f\ndata: a",
        b"data: a\ndata: \xc3",
    ],
)
def test_bad_utf8(event: bytes) -> None:
    """Bytes that are no UTF-8 in an event are an error, not something that looks like text."""
    with pytest.raises(StreamError, match=r"^the stream has an event that is not UTF-8: ") as caught:
        frames_of([event + b"\n\n"])

    assert caught.value.__cause__ is None


def test_bad_utf8_that_does_not_matter() -> None:
    """In a comment or an unknown field it is skipped with the rest of the line."""
    assert frames_of([b": \xff\nother: \xff\ndata: a\n\n"]) == [ServerSentEvent("message", "a")]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_too_long(size: int) -> None:
    """An event may have as many bytes as the limit says, and not one more, whether or not its end has come."""
    exact = b"data: " + b"a" * 94

    for stream in (exact + b"a", exact + b"a\n\n"):
        frames, message = outcome([stream[at : at + size] for at in range(0, len(stream), size)], limit=100)
        assert (frames, message) == ([], "the stream has an event of more than 100 bytes")
    for stream in (exact + b"\n\n", b"\xef\xbb\xbf" + exact + b"\r\n\r\n", exact + b"\n\n" + exact + b"\n\n"):
        frames, message = outcome([stream[at : at + size] for at in range(0, len(stream), size)], limit=100)
        assert ({len(frame.data) for frame in frames}, message) == ({94}, "")


def test_a_line_without_end_is_too_long() -> None:
    """A server that never ends its line fills no memory."""
    frames, message = outcome([b"data: a\n\n"] + [b":" * 2**20] * 17)

    assert [frame.data for frame in frames] == ["a"]
    assert message == "the stream has an event of more than 16777216 bytes"


def test_time_grows_with_length_alone() -> None:
    """A long event in small chunks takes seconds at most; copying what came before for each would take a minute."""
    stream = b"event: a\ndata: " + b"x" * 8_000_000 + b"\n\n"
    decoder = SSEDecoder()
    start = time.process_time()
    lengths = [len(frame.data) for at in range(0, len(stream), 64) for frame in decoder.feed(stream[at : at + 64])]

    assert lengths == [8_000_000]
    assert time.process_time() - start < 10


# --- an event to its bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("done", "[DONE]", b"event: done\ndata: [DONE]\n\n"),
        ("a", b'{"b":1}', b'event: a\ndata: {"b":1}\n\n'),
        ("", "x", b"data: x\n\n"),
        ("a", "", b"event: a\ndata: \n\n"),
        ("a", "1\n2\r\n3\r4\n", b"event: a\ndata: 1\ndata: 2\ndata: 3\ndata: 4\ndata: \n\n"),
        ("a\ndata: x\r\n\r\nb", "c", b"event: a data: x  b\ndata: c\n\n"),
        ("é", "\ud83c", b"event: \xc3\xa9\ndata: ?\n\n"),
    ],
)
def test_an_event_becomes_bytes(name: str, data: str | bytes, expected: bytes) -> None:
    """Name and data stand on lines of their own, and nothing in them can begin another event."""
    assert expected == encode_event(name, data)


@steady
@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_encoded_events_are_read_back(events: list[tuple[str, str]]) -> None:
    """A reader gets the events that were written, with line ends made line feeds, and no other."""
    frames = frames_of([encode_event(name, data) for name, data in events])

    expected = [(re.sub("\r\n|\r|\n", " ", name) or "message", re.sub("\r\n|\r", "\n", data)) for name, data in events]
    assert expected == [(frame.event, frame.data) for frame in frames]
