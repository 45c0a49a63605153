"""One connection to the server, without a proxy between."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, cast

import httpcore
import httpx

from asyncassist._transport.loops import current_loop
from asyncassist._transport.streams import AsyncioBackend

__all__ = ["DirectTransport", "Opener", "from_httpcore", "to_httpcore"]


class Opener(httpcore.AsyncNetworkBackend):
    """Opens the one stream of a connection and remembers it.

    Cancelled at the wrong moment, httpcore loses a stream it has just opened; here it can still be closed. To be made
    in the event loop the stream belongs to.
    """

    def __init__(self) -> None:
        on_asyncio = isinstance(current_loop(), asyncio.AbstractEventLoop)
        # httpcore types its trio backend as one that may not be installed; running on trio, it is.
        self._backend = AsyncioBackend() if on_asyncio else cast("httpcore.AsyncNetworkBackend", httpcore.TrioBackend())
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return self._stream

    async def aclose(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            await self._stream.aclose()


class DirectTransport(httpx.AsyncBaseTransport):
    """A single connection of httpcore as an httpx transport: one exchange at a time.

    ``httpx.AsyncHTTPTransport`` with a limit of one would do the same through a pool of one, at a fifth more CPU.
    """

    def __init__(self, scheme: bytes, host: bytes, port: int, context: ssl.SSLContext) -> None:
        self._origin = httpcore.Origin(scheme, host, port)
        self._context = context
        self._connection: httpcore.AsyncHTTPConnection | None = None
        self._opener: Opener | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request, over a new connection where the old one has ended."""
        connection = self._connection
        if connection is not None and (
            connection.is_closed() or connection.has_expired() or _has_leftovers(connection)
        ):
            await self.aclose()
            connection = None
        if connection is None:
            self._opener = Opener()
            connection = self._connection = httpcore.AsyncHTTPConnection(
                origin=self._origin, ssl_context=self._context, network_backend=self._opener
            )
        _leave_unlocked(connection)
        origin = self._origin
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=request.url.raw_path)
        return from_httpcore(await connection.handle_async_request(to_httpcore(request, url)))

    async def aclose(self) -> None:
        """Close the connection."""
        opener, self._opener, self._connection = self._opener, None, None
        if opener is not None:
            await opener.aclose()


class _NoLock:
    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *failure: object) -> None:
        pass


_NO_LOCK = _NoLock()


def _leave_unlocked(connection: httpcore.AsyncHTTPConnection) -> None:
    """Spare the connection its locks: the pool lets one exchange at a time have it."""
    # They cost a lone call an eighth of its CPU. Private, but nothing breaks where a later httpcore has other names.
    inner = getattr(connection, "_connection", None)
    for holder, name in ((connection, "_request_lock"), (inner, "_state_lock")):
        if hasattr(holder, name):
            setattr(holder, name, _NO_LOCK)


def _has_leftovers(connection: httpcore.AsyncHTTPConnection) -> bool:
    """Tell whether bytes have come beyond the last answer: the next request would take them for its own."""
    # httpcore does not look, and has no public way to.
    parser = getattr(getattr(connection, "_connection", None), "_h11_state", None)
    return parser is not None and bool(parser.trailing_data[0])


def to_httpcore(request: httpx.Request, url: httpcore.URL) -> httpcore.Request:
    """Return a request of httpx as one of httpcore."""
    assert isinstance(request.stream, httpx.AsyncByteStream)
    return httpcore.Request(
        request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
    )


def from_httpcore(response: httpcore.Response) -> httpx.Response:
    """Return an answer of httpcore as one of httpx."""
    extensions: dict[str, Any] = {**cast("Any", response).extensions}
    return httpx.Response(response.status, headers=response.headers, stream=_Stream(response), extensions=extensions)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._response.stream
        assert isinstance(stream, AsyncIterable)
        return aiter(stream)

    async def aclose(self) -> None:
        await self._response.aclose()
