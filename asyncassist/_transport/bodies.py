"""Bodies: giving that of a request, reading that of an answer; bounded, and leaving nothing open behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx

from asyncassist._transport.failures import CONNECTION_FAILURES
from asyncassist._wire.inflate import BodyReader
from asyncassist.errors import DecodeError

__all__ = ["BodyStream", "content_encoding", "leave", "read_body"]

MAX_BODY = 64 * 1024 * 1024
"""Bytes of an answer after decompression."""
MAX_ERROR_BODY = 1024 * 1024
"""Bytes read of an error's body; the rest is left."""

_LEAVE_SECONDS = 2.0
_MOST_LEFT = 20_000
"""Pieces: as many chunks of one byte as fit into what httpcore reads at a time, and more."""


class BodyStream(httpx.AsyncByteStream):
    """The body of a request, in one piece.

    No generator, unlike httpx's own: left in the middle when the connection breaks, trio would warn about it.
    """

    def __init__(self, content: bytes | None) -> None:
        self._rest = self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._rest = self._content
        return self

    async def __anext__(self) -> bytes:
        piece, self._rest = self._rest, None
        if not piece:
            raise StopAsyncIteration
        return piece


async def read_body(response: httpx.Response) -> bytes:
    """Read a body to its end and close the response.

    Raises:
        DecodeError: it is too large, ends early inside its compression, or has an encoding nobody asked for.
    """
    is_error = not 200 <= response.status_code < 300
    limit = MAX_ERROR_BODY if is_error else MAX_BODY
    assert isinstance(response.stream, httpx.AsyncByteStream)
    pieces: AsyncIterator[bytes] | None = None
    is_whole = False
    try:
        encoding, length = _framing(response)
        if length > limit and not is_error:
            raise DecodeError(f"the answer announces {length} bytes, more than the limit of {limit} for a body")
        reader = BodyReader(encoding, limit=limit, truncate=is_error)
        pieces = aiter(response.stream)
        async for piece in pieces:
            reader.feed(piece)
            if reader.is_full:
                break
        else:
            is_whole = True
        return reader.finish()
    except DecodeError:
        if is_error:
            return b""  # the status is the news; its text cannot be read
        raise
    finally:
        await response.aclose()
        if pieces is not None and not is_whole:
            await leave(pieces)
        # httpx ties the response and its stream into a circle, which only the garbage collector would undo.
        response.stream = _NOTHING


_NOTHING = httpx.ByteStream(b"")


def content_encoding(response: httpx.Response) -> str | None:
    """Return the Content-Encoding header."""
    return _framing(response)[0]


def _framing(response: httpx.Response) -> tuple[str | None, int]:
    """Return the Content-Encoding and the announced length, 0 where none is."""
    # Looked up in the raw headers: httpx guesses the encoding of all of them before it finds one.
    encoding: str | None = None
    length = 0
    for name, value in response.headers.raw:
        key = name.lower()
        if key == b"content-encoding":
            encoding = value.decode("latin-1")
        elif key == b"content-length" and value.isdigit() and len(value) < 20:
            length = int(value)
    return encoding, length


async def leave(pieces: AsyncIterator[bytes]) -> None:
    """Let the iterators below end by themselves now that the connection is closed; trio warns about any left open."""
    with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
        try:
            # What was received before is still handed out. Counted, for a caller's transport may never end.
            for _ in range(_MOST_LEFT):
                if await anext(pieces, None) is None:
                    break
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
        except (*CONNECTION_FAILURES, RuntimeError):
            pass  # as expected of a closed connection
