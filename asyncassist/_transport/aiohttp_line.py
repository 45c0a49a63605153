"""One connection of aiohttp. Imported only where the extra is asked for."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from functools import lru_cache

import httpx
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    ServerTimeoutError,
    TCPConnector,
)
from multidict import CIMultiDict
from yarl import URL

from asyncassist._transport.loops import current_loop
from asyncassist._transport.pool import KEEP_IDLE
from asyncassist.errors import UsageError

__all__ = ["AiohttpTransport", "Route"]

_LARGE = 1 << 20

# The first that fits. httpx's names, so that nobody above has to know aiohttp's.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (ConnectionTimeoutError, httpx.ConnectTimeout),
    (ServerTimeoutError, httpx.ReadTimeout),
    (ClientProxyConnectionError, httpx.ProxyError),
    (ClientHttpProxyError, httpx.ProxyError),
    (ClientConnectorError, httpx.ConnectError),
    (ClientPayloadError, httpx.ReadError),
    (ClientError, httpx.RemoteProtocolError),
)


class Route:
    """A proxy as aiohttp wants it.

    Args:
        proxy: None for none.
        is_tunnel: whether the proxy is asked for a tunnel; else it is sent the requests themselves.
    """

    def __init__(self, proxy: httpx.Proxy | None, *, is_tunnel: bool) -> None:
        self.url = None if proxy is None else URL(str(proxy.url))
        headers = CIMultiDict[str]()
        if proxy is not None:
            headers.extend(proxy.headers.multi_items())
            if proxy.raw_auth is not None:
                headers["Proxy-Authorization"] = f"Basic {b64encode(b':'.join(proxy.raw_auth)).decode('ascii')}"
        # aiohttp sends a proxy's headers when it opens a tunnel only.
        self.connect_headers = headers if is_tunnel else None
        self.request_headers = CIMultiDict[str]() if is_tunnel else headers


class AiohttpTransport(httpx.AsyncBaseTransport):
    """A single connection of aiohttp as an httpx transport, with httpx's errors: one exchange at a time.

    httpx-aiohttp would do the same at a tenth more CPU a call; it takes every broken connection for a connect timeout,
    and lets some errors of aiohttp through as they are.
    """

    def __init__(self, context: ssl.SSLContext, route: Route) -> None:
        if not isinstance(current_loop(), asyncio.AbstractEventLoop):
            raise UsageError('transport="aiohttp" works on asyncio only; leave it out on trio')
        self._context = context
        self._route = route
        self._session: ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request."""
        if self._session is None:
            self._session = self._open()
        route = self._route
        headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
        headers.update(route.request_headers)
        content = request.content
        timeouts = request.extensions.get("timeout", {})
        try:
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=headers,
                # As a stream, in one piece, where it is large: aiohttp warns about large bytes.
                data=request.stream if len(content) > _LARGE else content or None,
                allow_redirects=False,
                timeout=_timeout(timeouts.get("connect"), timeouts.get("read")),
                proxy=route.url,
                proxy_headers=route.connect_headers,
            )
        except ClientError as error:
            failure = _of_httpx(error)
        else:
            return httpx.Response(response.status, headers=response.raw_headers, stream=_Stream(response))
        raise failure  # here, without the error it was made of: that holds the request's headers

    def _open(self) -> ClientSession:
        # Left to itself aiohttp keeps cookies, decodes bodies without a limit, and gives a Content-Type to a POST
        # without a body. How long a connection is kept is the pool's to say; "for ever" (None) makes aiohttp 3.13 fail
        # when it reuses one.
        return ClientSession(
            connector=TCPConnector(limit=1, keepalive_timeout=2 * KEEP_IDLE, ssl=self._context),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
        )

    async def aclose(self) -> None:
        """Close the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._response.content.readany()
        except ClientError as error:
            failure = _of_httpx(error)
        else:
            if piece:
                return piece
            raise StopAsyncIteration
        raise failure

    async def aclose(self) -> None:
        self._response.close()  # nothing to do where the body was read to its end


def _of_httpx(error: ClientError) -> httpx.TransportError:
    return next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))(str(error))


@lru_cache(maxsize=64)
def _timeout(connect: float | None, read: float | None) -> ClientTimeout:
    return ClientTimeout(sock_connect=connect, sock_read=read)
