"""The recorded streams to test with, and ways to cut them into chunks."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hypothesis import strategies as st

from asyncassist._wire.events import decode_event
from asyncassist._wire.sse import ServerSentEvent, SSEDecoder
from asyncassist.errors import StreamError
from asyncassist.models import StreamEvent

OWN = {path.name: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "payloads").rglob("*.sse"))}
# The API description's own examples, where a folder of them is at hand.
PUBLISHED = {
    path.name: path.read_bytes()
    for folder in [os.environ.get("ASYNCASSIST_SPEC")]
    if folder
    for path in sorted(Path(folder).glob("*.sse"))
}
STREAMS = OWN | PUBLISHED


def frames_of(chunks: Iterable[bytes]) -> list[ServerSentEvent]:
    """Give the server-sent events of a whole stream."""
    decoder = SSEDecoder()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    decoder.finish()
    return frames


def events_of(*chunks: bytes) -> list[StreamEvent]:
    """Give the events of a whole stream."""
    return [decode_event(frame) for frame in frames_of(chunks)]


def events_until_error(*chunks: bytes) -> list[StreamEvent]:
    """Give the events of a stream up to one that reports an error."""
    events: list[StreamEvent] = []
    for frame in frames_of(chunks):
        try:
            events.append(decode_event(frame))
        except StreamError:
            break
    return events


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut bytes at some places, which may be the same."""
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def chunkings(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """Give ways to cut bytes into chunks, empty ones among them."""
    return st.lists(st.integers(0, len(data)), max_size=12).map(lambda places: cut(data, places))
