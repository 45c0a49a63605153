"""HTTP/1.1 over one stream: one exchange at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpcore
import httpx

from asyncassist._transport.http1_parser import AnswerParser

__all__ = ["Http1Connection"]

_READ_BYTES = 64 * 1024
_TOGETHER = 16 * 1024
"""A body up to this size is sent with its head, in one write."""


class Http1Connection:
    """A connection that carries one exchange after the other, as long as each comes to its end.

    httpcore's own takes twenty times as long over an answer's bytes: h11 reads them in Python.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._answer = AnswerParser()
        self._read_timeout: float | None = None

    @property
    def is_reusable(self) -> bool:
        """Whether it may carry another exchange: the last came to its end, and nothing has come or ended since."""
        answer = self._answer
        return answer.is_complete and not answer.is_last and not self._stream.get_extra_info("is_readable")

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the answer as soon as its head has come.

        Raises:
            httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError
        """
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        self._read_timeout = timeouts.get("read")
        answer = self._answer
        answer.expect()
        try:
            await self._send(request, timeouts.get("write"))
        except httpcore.WriteError:
            # A server that refuses a body may answer before it has all of it, and close.
            answer.is_last = True
        body = b""
        while not answer.status:
            body = await self._feed()
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(self, body))

    async def _send(self, request: httpx.Request, timeout: float | None) -> None:
        head = _head(request)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for piece in request.stream:
            if head and len(piece) < _TOGETHER:
                piece, head = head + piece, b""
            elif head:
                await self._stream.write(head, timeout)
                head = b""
            await self._stream.write(piece, timeout)
        if head:
            await self._stream.write(head, timeout)

    async def _feed(self) -> bytes:
        """Take in what comes next, and return what it has of the body."""
        data = await self._stream.read(_READ_BYTES, self._read_timeout)
        if data:
            return self._answer.feed(data)
        self._answer.feed_end()
        return b""

    async def read(self) -> bytes:
        """Return more of the body; nothing at its end."""
        body = b""
        while not body and not self._answer.is_complete:
            body = await self._feed()
        return body

    async def leave(self) -> None:
        """End the exchange. A connection whose answer has not come to its end is closed."""
        if not self._answer.is_complete:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        self._answer.close()
        await self._stream.aclose()


def _head(request: httpx.Request) -> bytes:
    """Return the request's line and headers, as they are sent.

    Raises:
        httpcore.LocalProtocolError: they would be read as something else.
    """
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % pair for pair in request.headers.raw]
    lines += [b"", b""]
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise httpcore.LocalProtocolError("a header or the path of the request has a line break or a NUL")
    return head


class _Body(httpx.AsyncByteStream):
    """The body of an answer: what came with its head, and then what comes."""

    __slots__ = ("_connection", "_first")

    def __init__(self, connection: Http1Connection, first: bytes) -> None:
        self._connection = connection
        self._first = first

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece, self._first = self._first or await self._connection.read(), b""
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        await self._connection.leave()
