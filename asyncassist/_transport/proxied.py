"""One connection to the server through a proxy."""

from __future__ import annotations

import ssl

import httpcore
import httpx

from asyncassist._transport.direct import Opener, from_httpcore, to_httpcore

__all__ = ["ProxiedTransport"]


class ProxiedTransport(httpx.AsyncBaseTransport):
    """A single connection of httpcore through a proxy as an httpx transport: one exchange at a time.

    ``httpx.AsyncHTTPTransport`` would do the same over streams of anyio, which loses a socket when a task is cancelled
    just as it is connected (before anyio 4.16).
    """

    def __init__(self, proxy: httpx.Proxy, context: ssl.SSLContext) -> None:
        self._opener = Opener()
        self._garbled: type[Exception] | tuple[()] = ()
        url = _url(proxy.url)
        # Pools of one: httpcore offers no single connection through a proxy.
        if proxy.url.scheme.startswith("socks"):
            from socksio import SOCKSError

            self._garbled = SOCKSError
            self._pool: httpcore.AsyncConnectionPool = httpcore.AsyncSOCKSProxy(
                url, proxy_auth=proxy.raw_auth, ssl_context=context, max_connections=1, network_backend=self._opener
            )
            return
        self._pool = httpcore.AsyncHTTPProxy(
            url,
            proxy_auth=proxy.raw_auth,
            proxy_headers=proxy.headers.raw,
            proxy_ssl_context=proxy.ssl_context,
            ssl_context=context,
            max_connections=1,
            network_backend=self._opener,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request, over a new connection where the old one has ended."""
        try:
            return from_httpcore(await self._pool.handle_async_request(to_httpcore(request, _url(request.url))))
        except self._garbled as error:  # httpcore lets the errors of socksio through
            raise httpcore.ProxyError(f"the SOCKS proxy's answer cannot be read: {error}") from None

    async def aclose(self) -> None:
        """Close the connection."""
        try:
            await self._pool.aclose()
        finally:
            await self._opener.aclose()


def _url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
