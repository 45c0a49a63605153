"""The server on a loopback port, by uvicorn. On asyncio only, because uvicorn is."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import uvicorn

from asyncassist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Port"]

_HOST = "127.0.0.1"
#: Seconds the requests under way get to end when the port is closed.
_GRACE = 1


class Port:
    """Serves an app on a port of this machine, over plain HTTP.

    Args:
        app: the ASGI app. Its lifespan is its owner's matter.
        port: 0 for any free one.

    Raises:
        UsageError: this is not asyncio, or the port cannot be had.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            message = "a port can be served on asyncio only; in process, LocalServer.client() works on trio too"
            raise UsageError(message) from None
        # With its protocol named, asyncio turns Nagle's algorithm off for the connections: 40 ms an answer otherwise.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((_HOST, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise UsageError(f"port {port} of {_HOST} cannot be opened: {error}") from error
        self._app = app
        self._streams: set[anyio.CancelScope] = set()
        self.url = f"http://{_HOST}:{self._socket.getsockname()[1]}/v1"
        # log_config=None: logging is set up by whoever uses this, not by uvicorn.
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE,
        )
        self._server = _Server(config)
        self._closed = anyio.Event()

    async def started(self) -> None:
        """Wait until connections are taken."""
        await self._server.ready.wait()

    async def run(self) -> None:
        """Serve until `close` is called. Being cancelled is not enough: uvicorn would leave its sockets open."""
        try:
            with anyio.CancelScope(shield=True):
                await self._server.serve(sockets=[self._socket])
        finally:
            self._closed.set()

    def close(self) -> None:
        """Take no more connections and end those that are open."""
        self._server.should_exit = True
        for cancel_scope in self._streams:
            cancel_scope.cancel()

    async def closed(self) -> None:
        """Wait until that is done."""
        await self._closed.wait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app. An event stream is ended when the port is closed; uvicorn would wait for its run."""
        cancel_scope = anyio.CancelScope()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                if any(value.startswith(b"text/event-stream") for _, value in message["headers"]):
                    self._streams.add(cancel_scope)
            elif not message.get("more_body", False):
                self._streams.discard(cancel_scope)
            await send(message)

        try:
            with cancel_scope:
                await self._app(scope, receive, noting)
        finally:
            self._streams.discard(cancel_scope)
        if cancel_scope.cancelled_caught:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals belong to the program this is embedded in
