"""Bytes to server-sent events, as the HTML standard parses them, and an event to the bytes it reads.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

Two things differ from the standard: bytes that are no UTF-8 are an error instead of a replacement character, and there
is a limit to how long an event may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from asyncassist.errors import StreamError

__all__ = ["MAX_EVENT", "SSEDecoder", "ServerSentEvent", "encode_event"]

MAX_EVENT: Final = 16 * 1024 * 1024
"""Bytes one event may have."""

_BOM = b"\xef\xbb\xbf"
# A block is what stands between blank lines. Nearly all have these two lines, so they get a way of their own.
_TWO_LINES = re.compile(rb"event: ?(.*)\ndata: ?(.*)").fullmatch
_FIELDS = re.compile(rb"^(data|event|id|retry)(?:: ?(.*))?$", re.MULTILINE).finditer
_MOST_DIGITS = 18
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")


class ServerSentEvent(NamedTuple):
    """One event as it came, its data not yet looked into."""

    event: str
    """The name; ``message``, as the standard has it, for an event without one."""
    data: str
    """The lines of data, joined by line feeds."""
    id: str = ""
    """The last id the stream has named so far."""
    retry: int | None = None
    """Milliseconds the server asked to wait before connecting again."""


def encode_event(name: str, data: str | bytes) -> bytes:
    """Give the bytes of one event, the blank line at its end included.

    Args:
        name: the event's name; ``""`` for an event without one. Line ends in it, which could pass for further events,
            become spaces.
        data: its data. Each of its lines gets a line of its own, so that a reader has them back with line feeds.
    """
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if b"\n" in raw or b"\r" in raw:
        raw = _LINE_ENDS.sub(b"\ndata: ", raw)
    if not name:
        return b"data: %b\n\n" % raw
    return b"event: %b\ndata: %b\n\n" % (_LINE_ENDS.sub(b" ", name.encode("utf-8", "replace")), raw)


class SSEDecoder:
    """Finds the events in a stream of bytes, wherever the stream happens to be cut into chunks.

    Args:
        limit: bytes one event may have.
    """

    def __init__(self, *, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._id = ""
        # The first bytes, until it is plain whether they are a byte order mark.
        self._start: bytes | None = b""
        self._after_cr = False
        # What came since the last blank line, its line ends made line feeds.
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Take the next bytes and give the events they complete, each one parsed when it is asked for.

        Raises:
            StreamError: from the iterator: an event is too long or no UTF-8. Those before it have been given then.
        """
        if self._start is not None:
            self._start += data
            if _BOM.startswith(self._start):
                return iter(())
            data = self._start.removeprefix(_BOM)
            self._start = None
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        if self._held:
            seam = len(self._held) - 1
            self._held += data
            if self._held.find(b"\n\n", seam) < 0 and len(self._held) <= self._limit:
                return iter(())
            data = bytes(self._held)
            self._held.clear()
        *blocks, rest = data.split(b"\n\n")
        if len(rest) - rest.endswith(b"\n") > self._limit:
            blocks.append(rest)
        elif rest:
            self._held += rest
        return filter(None, map(self._parse, blocks))

    def finish(self) -> bool:
        """Take the end of the stream: an incomplete event is dropped. Tell whether there was any of one."""
        is_cut = bool(self._start or self._held.strip(b"\n"))
        self._start = None
        self._held.clear()
        return is_cut

    def _with_line_feeds(self, data: bytes) -> bytes:
        # A carriage return ends its line at once; a line feed after it belongs to it, in the next chunk too.
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _parse(self, block: bytes) -> ServerSentEvent | None:
        if len(block) > self._limit:
            raise StreamError(f"the stream has an event of more than {self._limit} bytes")
        try:
            if two_lines := _TWO_LINES(block):
                event, data = two_lines.groups()
                return ServerSentEvent(event.decode() or "message", data.decode(), self._id)
            return self._parse_fields(block)
        except UnicodeDecodeError as error:
            raise StreamError(f"the stream has an event that is not UTF-8: {error.reason}") from None

    def _parse_fields(self, block: bytes) -> ServerSentEvent | None:
        event = ""
        data = bytearray()
        retry: int | None = None
        for field in _FIELDS(block):
            name, value = field.groups(b"")
            if name == b"data":
                data += value
                data += b"\n"
            elif name == b"event":
                event = value.decode()
            elif name == b"id":
                self._id = self._id if b"\0" in value else value.decode()
            elif value.isdigit() and len(value) <= _MOST_DIGITS:
                retry = int(value)
        # Without a line of data there is no event.
        return ServerSentEvent(event or "message", data[:-1].decode(), self._id, retry) if data else None
