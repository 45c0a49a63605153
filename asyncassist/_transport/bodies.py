"""Reading the body of an answer: bounded, and leaving nothing open behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx

from asyncassist._transport.failures import CONNECTION_FAILURES
from asyncassist._wire.inflate import BodyReader
from asyncassist.errors import DecodeError

__all__ = ["read_body"]

MAX_BODY = 64 * 1024 * 1024
"""Bytes of an answer after decompression."""
MAX_ERROR_BODY = 1024 * 1024
"""Bytes read of an error's body; the rest is left."""

_LEAVE_SECONDS = 2.0


async def read_body(response: httpx.Response) -> bytes:
    """Read a body to its end and close the response.

    Raises:
        DecodeError: it is too large, ends early inside its compression, or has an encoding nobody asked for.
    """
    is_error = not 200 <= response.status_code < 300
    limit = MAX_ERROR_BODY if is_error else MAX_BODY
    assert isinstance(response.stream, httpx.AsyncByteStream)
    pieces = aiter(response.stream)
    is_whole = False
    try:
        reader = BodyReader(response.headers.get("content-encoding"), limit=limit, truncate=is_error)
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
        if not is_whole:
            await _leave(pieces)


async def _leave(pieces: AsyncIterator[bytes]) -> None:
    """Let the iterators below end by themselves now that the connection is closed; trio warns about any left open."""
    with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
        try:
            await anext(pieces, None)
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
        except (*CONNECTION_FAILURES, RuntimeError):
            pass  # as expected of a closed connection
