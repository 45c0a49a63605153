"""What carries the requests of a client: our pool over httpx, over aiohttp, or what the caller brought."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import httpx

from asyncassist._transport.direct import DirectTransport
from asyncassist._transport.environment import ClientCert, proxy_for, tls_context
from asyncassist._transport.pool import ConnectionPool
from asyncassist._transport.proxied import ProxiedTransport
from asyncassist.errors import UsageError, shown

if TYPE_CHECKING:
    from asyncassist._transport.settings import BaseUrl

__all__ = ["Carrier", "TransportChoice"]

TransportChoice = httpx.AsyncBaseTransport | Literal["aiohttp"] | None


class _NoCookies(httpx.Cookies):
    """Keeps nothing: one client serves many users, and a cookie of one is none of another's business."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


_NO_COOKIES = _NoCookies()


class _Http(httpx.AsyncClient):
    """An httpx client without cookies, and without the work of looking for them."""

    @property
    def cookies(self) -> httpx.Cookies:
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        """Take none."""


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
                raise UsageError(f"{name} must be an int from 1 to 65536, got {shown(value)}")
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
        self.http = _Http(transport=below, trust_env=False)

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
    route = _proxy(proxy if proxy is not None else proxy_for(base_url), aiohttp=aiohttp)
    if base_url.scheme == "https" or verify is not True or cert is not None:
        context = tls_context(verify, cert)
    else:
        # Plain http never uses it, and loading the authorities takes longer than many calls.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if aiohttp:
        return _aiohttp_connector(base_url, route, context)
    if route is not None:
        return lambda: ProxiedTransport(route, context)
    url = httpx.URL(base_url.text)
    port = url.port or (443 if url.scheme == "https" else 80)
    return lambda: DirectTransport(url.raw_scheme, url.raw_host, port, context)


def _aiohttp_connector(
    base_url: BaseUrl, proxy: httpx.Proxy | None, context: ssl.SSLContext
) -> Callable[[], httpx.AsyncBaseTransport]:
    try:
        from asyncassist._transport.aiohttp_line import AiohttpTransport, Route
    except ImportError:
        raise UsageError("transport=\"aiohttp\" needs the extra: pip install 'asyncassist[aiohttp]'") from None
    route = Route(proxy, is_tunnel=base_url.scheme == "https")
    return lambda: AiohttpTransport(context, route)


def _proxy(proxy: str | httpx.Proxy | None, *, aiohttp: bool) -> httpx.Proxy | None:
    if proxy is None:
        return None
    if not isinstance(proxy, str | httpx.Proxy):
        raise UsageError(f"proxy must be a URL or an httpx.Proxy, got {type(proxy).__name__}")
    try:
        route = httpx.Proxy(proxy) if isinstance(proxy, str) else proxy
        route.url.raw_host.decode("ascii").encode("idna")  # refuses what no name server can be asked for
    except (httpx.InvalidURL, ValueError):
        route = None
    if route is None or not route.url.raw_host or route.url.port == 0:
        # Not quoted: a proxy's URL may hold a password.
        raise UsageError("the proxy is not a URL with http, https, socks5 or socks5h and a host")
    if route.url.scheme.startswith("socks"):
        if aiohttp:
            raise UsageError("aiohttp uses no SOCKS proxies; leave transport= out, or name another proxy")
        if find_spec("socksio") is None:
            raise UsageError("a SOCKS proxy needs the package socksio: pip install 'httpx[socks]'")
    return route
