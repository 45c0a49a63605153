"""Answers that come bit by bit, over a connection that is held until they end or are left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import anyio
import httpx

from asyncassist._transport.bodies import content_encoding, leave
from asyncassist._transport.failures import CONNECTION_FAILURES, without_frames
from asyncassist._transport.loops import current_loop
from asyncassist._wire.inflate import Inflater, inflater
from asyncassist.errors import DecodeError

__all__ = ["ByteStream", "close_streams"]

_END_SECONDS = 0.1
"""How long the end of a body that says no more is waited for, so that its connection can be used again."""


class ByteStream:
    """The body of an answer, piece by piece. It holds a connection until it is closed.

    Args:
        response: the answer, of which only the head has been read.
        broken: makes an error of ours of what broke the connection.
        redact: removes the request's secrets from text that comes from the server.
        registry: the streams that are open, for whoever closes the client.
    """

    def __init__(
        self,
        response: httpx.Response,
        broken: Callable[[Exception], Exception],
        redact: Callable[[str], str],
        registry: set[ByteStream],
    ) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.redact = redact
        self.loop = current_loop()
        self._response = response
        self._broken = broken
        self._registry = registry
        self._pieces: AsyncIterator[bytes] | None = None
        self._inflater: Inflater | None = None
        self._inflated: Iterator[bytes] = iter(())
        self._is_whole = False
        self._is_cut = False
        self._is_closed = False

    @property
    def request_id(self) -> str | None:
        """What to quote to the server's operator."""
        return self.redact(self.headers.get("x-request-id") or self.headers.get("apim-request-id") or "") or None

    async def start(self) -> None:
        """Make ready to read. Nothing is held if that fails.

        Raises:
            DecodeError: the body is compressed in a way nobody asked for.
        """
        try:
            self._inflater = inflater(content_encoding(self._response))
        except DecodeError:
            await self._response.aclose()
            raise
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        self._pieces = aiter(self._response.stream)
        self._registry.add(self)

    async def read(self) -> bytes:
        """Return the next bytes, waiting for them; none at the end.

        Raises:
            APIConnectionError: the connection broke, or the server was silent for too long.
            DecodeError: the body is not compressed as announced.
            ClientClosedError: the client was closed.
        """
        assert self._pieces is not None  # it was started
        try:
            is_over = self._is_cut or self._is_closed
            if is_over:
                raise httpx.ReadError("closed, or reading was cancelled before")
            self._is_cut = True  # until this has gone well: a read that is cancelled half way ends the iterators below
            piece = next(self._inflated, b"")
            while not piece:
                received = await anext(self._pieces, None)
                if received is None or self._is_closed:
                    self._is_whole = not self._is_closed
                    break
                if self._inflater is None:
                    piece = received
                else:
                    self._inflated = self._inflater.feed(received)
                    piece = next(self._inflated, b"")
            if self._is_closed:  # by another task, which could not end the iterators while they were at work
                await leave(self._pieces)
                raise httpx.ReadError("closed meanwhile")
            self._is_cut = False
            return piece
        except (*CONNECTION_FAILURES, RuntimeError) as failure:
            without_frames(failure)
            raise self._broken(failure) from failure

    async def drain(self) -> None:
        """Wait a moment for the end of a body that has no more to say."""
        with anyio.move_on_after(_END_SECONDS):
            while await self.read():
                pass

    async def aclose(self) -> None:
        """Give the connection back, or close it where the body has not ended. Harmless when called again."""
        if self._is_closed:
            return
        self._is_closed = True
        self._registry.discard(self)
        try:
            with anyio.CancelScope(shield=True):  # closing is bounded in time by the pool
                await self._response.aclose()
                # In this order: trio warns about iterators that are left open, and they end when the connection has.
                if self._pieces is not None and not self._is_whole:
                    await leave(self._pieces)
        except (*CONNECTION_FAILURES, RuntimeError) as failure:
            without_frames(failure)  # it is gone either way
        finally:
            self._response.stream = httpx.ByteStream(b"")  # unties it from its stream, which also knows it


async def close_streams(streams: set[ByteStream]) -> None:
    """Close those of this event loop, side by side."""
    loop = current_loop()
    async with anyio.create_task_group() as group:
        for stream in [stream for stream in streams if stream.loop is loop]:
            group.start_soon(stream.aclose)
