"""What carries the requests of a client: our pool over httpx, over aiohttp, or what the caller brought."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, Literal

import httpx

from asyncassist._transport.direct import DirectTransport
from asyncassist._transport.environment import ClientCert, proxy_for, tls_context
from asyncassist._transport.pool import ConnectionPool
from asyncassist.errors import UsageError

if TYPE_CHECKING:
    from asyncassist._transport.settings import BaseUrl

__all__ = ["Carrier", "TransportChoice"]

TransportChoice = httpx.AsyncBaseTransport | Literal["aiohttp"] | None

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)


class _NoCookies(CookieJar):
    """Keeps nothing: one client serves many users, and a cookie of one is none of another's business."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        pass


class Carrier:
    """An httpx client and whether it, and the pool below it, are ours to close."""

    def __init__(
        self,
        base_url: BaseUrl,
        *,
        http_client: httpx.AsyncClient | None,
        transport: TransportChoice,
        max_connections: int,
        max_streams: int,
        proxy: str | httpx.Proxy | None,
        verify: bool | str | ssl.SSLContext,
        cert: ClientCert | None,
    ) -> None:
        own_settings = proxy is not None or verify is not True or cert is not None
        if http_client is not None and (transport is not None or own_settings):
            raise UsageError("http_client= brings its own transport, proxy and certificates; give one or the other")
        if isinstance(transport, httpx.AsyncBaseTransport) and own_settings:
            raise UsageError("transport= brings its own proxy and certificates; give one or the other")
        for name, value in (("max_connections", max_connections), ("max_streams", max_streams)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65_536:
                raise UsageError(f"{name} must be an int from 1 to 65536, got {value!r}")
        self.pool: ConnectionPool | None = None
        self.is_foreign = http_client is not None
        if http_client is not None:
            if not isinstance(http_client, httpx.AsyncClient):
                raise UsageError(f"http_client must be an httpx.AsyncClient, got {type(http_client).__name__}")
            self.http = http_client
            return
        below: httpx.AsyncBaseTransport
        if isinstance(transport, httpx.AsyncBaseTransport):
            below = _Borrowed(transport)
        elif transport in (None, "aiohttp"):
            connect = _connector(base_url, transport == "aiohttp", proxy, verify, cert)
            self.pool = ConnectionPool(connect, max_connections=max_connections, max_streams=max_streams)
            below = self.pool
        else:
            raise UsageError(f'transport must be an httpx.AsyncBaseTransport or "aiohttp", got {transport!r:.60}')
        self.http = httpx.AsyncClient(transport=below, cookies=_NoCookies(), trust_env=False)

    async def aclose(self) -> None:
        """Close what is ours."""
        if not self.is_foreign:
            await self.http.aclose()


class _Borrowed(httpx.AsyncBaseTransport):
    """A caller's transport: used as it is, never closed."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)


def _connector(
    base_url: BaseUrl,
    aiohttp: bool,
    proxy: str | httpx.Proxy | None,
    verify: bool | str | ssl.SSLContext,
    cert: ClientCert | None,
) -> Callable[[], httpx.AsyncBaseTransport]:
    """Return what opens one new connection to the server."""
    route = _proxy(proxy if proxy is not None else proxy_for(base_url))
    if base_url.scheme == "https" or verify is not True or cert is not None:
        context = tls_context(verify, cert)
    else:
        # Plain http never uses it, and loading the authorities takes longer than many calls.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if aiohttp:
        try:
            from httpx_aiohttp import AiohttpTransport
        except ImportError:
            raise UsageError("transport=\"aiohttp\" needs the extra: pip install 'asyncassist[aiohttp]'") from None
        return lambda: AiohttpTransport(verify=context, limits=_ONE, proxy=route)

    if route is not None:
        return lambda: httpx.AsyncHTTPTransport(verify=context, limits=_ONE, proxy=route, trust_env=False)
    url = httpx.URL(base_url.text)
    port = url.port or (443 if url.scheme == "https" else 80)
    return lambda: DirectTransport(url.raw_scheme, url.raw_host, port, context)


def _proxy(proxy: str | httpx.Proxy | None) -> httpx.Proxy | None:
    if proxy is None or isinstance(proxy, httpx.Proxy):
        return proxy
    if not isinstance(proxy, str):
        raise UsageError(f"proxy must be a URL or an httpx.Proxy, got {type(proxy).__name__}")
    try:
        return httpx.Proxy(proxy)
    except (httpx.InvalidURL, ValueError):
        # Not quoted: a proxy's URL may hold a password.
        raise UsageError("the proxy is not a URL with http, https, socks5 or socks5h") from None
