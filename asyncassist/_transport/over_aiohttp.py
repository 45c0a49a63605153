"""One connection to the server through aiohttp: the extra ``aiohttp``."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from asyncassist._transport.loops import current_loop
from asyncassist.errors import UsageError

__all__ = ["AiohttpConnection"]

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)


class AiohttpConnection(httpx.AsyncBaseTransport):
    """A session of aiohttp with a single connection as an httpx transport: one exchange at a time."""

    def __init__(self, context: ssl.SSLContext, proxy: httpx.Proxy | None) -> None:
        if not isinstance(current_loop(), asyncio.AbstractEventLoop):
            raise UsageError('transport="aiohttp" runs on asyncio only; leave it out on trio')
        self._inner = AiohttpTransport(verify=context, limits=_ONE, proxy=proxy)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request."""
        try:
            return await self._inner.handle_async_request(request)
        except aiohttp.ClientError as error:
            # httpx-aiohttp lets those through that it has no name for, such as headers without end.
            raise httpx.RemoteProtocolError(str(error)) from error

    async def aclose(self) -> None:
        """Close the session and its connection."""
        await self._inner.aclose()
