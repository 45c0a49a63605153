"""Sockets on asyncio for httpcore, close to the event loop.

httpcore's own way leads through several layers of streams and cancel scopes for every read and write. Here deadlines
are kept around a whole exchange, so one future per wait is enough. On trio httpcore's own backend is used.
"""

from __future__ import annotations

import asyncio
import selectors
import ssl
from collections.abc import Iterable
from typing import Any, cast

import anyio
import httpcore

from asyncassist._transport.sockets import open_socket

__all__ = ["AsyncioBackend"]

_HIGH_WATER = 256 * 1024


class AsyncioStream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection: what has been received and not been read, and who waits for more."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_paused = False
        self._is_full = False
        self._is_over = False
        self._failure: Exception | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if len(self._received) > _HIGH_WATER and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        self._is_over = True
        _wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        if exc is not None:
            self._failure = exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writer)

    # What httpcore calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come, waiting for something to come; nothing at the end."""
        if not self._received and not self._is_over:
            loop = asyncio.get_running_loop()
            self._reader = reader = loop.create_future()
            # A cancel scope would take several times as long, and a stream reads often.
            alarm = None if timeout is None else loop.call_later(timeout, _wake, reader)
            try:
                await reader
            finally:
                self._reader = None
                if alarm is not None:
                    alarm.cancel()
            if not self._received and not self._is_over:
                raise httpcore.ReadTimeout("nothing came in time")
        data = self._received
        if data:
            self._received = data[max_bytes:] if len(data) > max_bytes else b""
            if self._is_paused and len(self._received) <= _HIGH_WATER and self._transport is not None:
                self._is_paused = False
                self._transport.resume_reading()
            return data[:max_bytes] if len(data) > max_bytes else data
        if self._failure is not None:
            raise httpcore.ReadError(str(self._failure)) from self._failure
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send, waiting while the other side takes nothing."""
        if not buffer:
            return
        if self._transport is None or self._is_over or self._transport.is_closing():
            raise httpcore.WriteError("the connection is closed")
        self._transport.write(buffer)
        if not self._is_full:
            return
        self._writer = asyncio.get_running_loop().create_future()
        try:
            with anyio.fail_after(timeout) if timeout is not None else _NO_LIMIT:
                await self._writer
        except TimeoutError:
            raise httpcore.WriteTimeout("the other side took nothing in time") from None
        finally:
            self._writer = None
        if self._is_over:
            raise httpcore.WriteError(str(self._failure or "the connection has ended")) from self._failure

    async def aclose(self) -> None:
        """Close at once: whoever closes has read what it wanted."""
        transport, self._transport = self._transport, None
        self._is_over, self._received = True, b""
        if transport is not None:
            transport.abort()
            await asyncio.sleep(0)  # the socket is closed in the next step of the event loop

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncioStream:
        """Go on encrypted."""
        loop = asyncio.get_running_loop()
        if self._is_over or self._transport is None or self._transport.is_closing():
            await self.aclose()
            raise httpcore.ConnectError("the connection ended before the TLS handshake")
        if self._received:  # in the clear, by whoever is on the way: it must not be read as what came encrypted
            await self.aclose()
            raise httpcore.ConnectError("something was received in the clear before the TLS handshake")
        try:
            with anyio.fail_after(timeout):
                transport = await loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname or ""
                )
        except TimeoutError:
            await self.aclose()
            raise httpcore.ConnectTimeout("no TLS handshake in time") from None
        except OSError as error:  # ssl.SSLError is one
            await self.aclose()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            await self.aclose()
            raise
        if transport is None:
            await self.aclose()
            raise httpcore.ConnectError("the connection was lost in the TLS handshake")
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """Tell what httpcore asks about a connection."""
        if info == "is_readable":  # asked of an idle connection: anything readable means that it is of no more use
            transport = self._transport
            if self._is_over or self._received or transport is None or transport.is_closing():
                return True
            return _has_bytes(transport.get_extra_info("socket"))
        name = {"client_addr": "sockname", "server_addr": "peername"}.get(info, info)
        return None if self._transport is None else self._transport.get_extra_info(name)


def _has_bytes(opened: Any) -> bool:
    """Tell whether something has come that the event loop has not got round to: it may have been held up."""
    with _Selector() as selector:
        selector.register(opened, selectors.EVENT_READ)
        return bool(selector.select(0))


# poll where there is one: select takes no socket above 1024.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class _NoLimit:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


_NO_LIMIT = _NoLimit()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens connections on the running asyncio event loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncioStream:
        """Connect."""
        try:
            with anyio.fail_after(timeout):
                opened = await open_socket(host, port)
                _, stream = await asyncio.get_running_loop().create_connection(AsyncioStream, sock=opened)
        except TimeoutError:
            raise httpcore.ConnectTimeout("no connection in time") from None
        except (OSError, UnicodeError) as error:  # a label of the host name may be too long for DNS
            raise httpcore.ConnectError(str(error)) from error
        return stream
