"""One connection to the server, without a proxy between."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from functools import lru_cache
from typing import Any, cast

import httpcore
import httpx

from asyncassist._transport.http1 import Http1Connection
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
    """A single connection as an httpx transport: one exchange at a time.

    ``httpx.AsyncHTTPTransport`` with a limit of one would do the same through a pool of one and h11, at several times
    the CPU.
    """

    def __init__(self, scheme: bytes, host: bytes, port: int, context: ssl.SSLContext) -> None:
        self._origin = httpcore.Origin(scheme, host, port)
        self._context = context
        self._connection: Http1Connection | None = None
        self._opener: Opener | None = None
        self._stand_in: httpcore.AsyncHTTPConnection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request, over a new connection where the old one has ended."""
        if not _is_own(httpcore.AsyncHTTPConnection.handle_async_request):
            return await self._ask_stand_in(request)
        connection = self._connection
        if connection is None or not connection.is_reusable:
            if connection is not None:
                await self.aclose()
            connection = self._connection = await self._connect(request.extensions.get("timeout", {}).get("connect"))
        return await connection.exchange(request)

    async def _connect(self, timeout: float | None) -> Http1Connection:
        origin = self._origin
        host = origin.host.decode("ascii")
        opener = self._opener = Opener()
        stream = await opener.connect_tcp(host, origin.port, timeout)
        if origin.scheme == b"https":
            self._context.set_alpn_protocols(["http/1.1"])
            stream = await stream.start_tls(self._context, host, timeout)
        return Http1Connection(stream)

    async def _ask_stand_in(self, request: httpx.Request) -> httpx.Response:
        """Carry a request the way of httpcore, where something has taken the place of that: a mock, a recorder."""
        origin = self._origin
        if self._stand_in is None or not self._stand_in.is_idle() or self._stand_in.has_expired():
            await self.aclose()
            self._opener = Opener()
            self._stand_in = httpcore.AsyncHTTPConnection(origin, self._context, network_backend=self._opener)
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=request.url.raw_path)
        return from_httpcore(await self._stand_in.handle_async_request(to_httpcore(request, url)))

    async def aclose(self) -> None:
        """Close the connection."""
        opener, connection = self._opener, self._connection
        self._opener = self._connection = self._stand_in = None
        if connection is not None:
            await connection.aclose()
        if opener is not None:
            await opener.aclose()


@lru_cache(maxsize=8)
def _is_own(method: object) -> bool:
    """Tell whether a method is httpcore's own: respx and other mocks and recorders put theirs in its place."""
    return str(getattr(method, "__globals__", {}).get("__name__")).startswith("httpcore.")


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
