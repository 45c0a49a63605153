"""The server on a port, by uvicorn. On asyncio only, because uvicorn is."""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import uvicorn
from starlette.responses import Response

from asyncassist._wire.json import dumps
from asyncassist.errors import UsageError
from asyncassist.server import errors
from asyncassist.server.addresses import Address, url_of
from asyncassist.server.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asyncassist.server.guard import Connection

__all__ = ["Port"]

#: Seconds the requests under way get to end when the port is closed.
_GRACE = 1
#: Seconds a client may be silent in the middle of its request.
_SILENCE = 60.0


class Port:
    """Serves an app on a port of this machine, over plain HTTP.

    Args:
        app: the ASGI app. Its lifespan is its owner's matter.
        port: a port that only this machine reaches, 0 for any free one; or a socket that listens, which is this
            object's to close from then on.

    Raises:
        UsageError: this is not asyncio, or the port cannot be had.
    """

    def __init__(self, app: ASGIApp, port: int | socket.socket) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            message = "a port can be served on asyncio only; in process, LocalServer.client() works on trio too"
            raise UsageError(message) from None
        self._socket = Address.of("127.0.0.1", port).listen() if isinstance(port, int) else port
        self._app = app
        self._streams: set[anyio.CancelScope] = set()
        self._receiving: set[anyio.CancelScope] = set()
        self._deadline = math.inf  # for what is being received
        self.url = f"{url_of(self._socket)}/v1"
        self._server = _Server(_Config(self._answer))
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
        """Take no more connections and end those that are open: event streams are cut, others end when answered.

        A request whose body is still on its way gets a second more, then the answer that the server is closing.
        """
        self._server.should_exit = True
        self._deadline = anyio.current_time() + _GRACE
        for cancel_scope in self._streams:
            cancel_scope.cancel()
        for cancel_scope in self._receiving:
            cancel_scope.deadline = self._deadline

    async def closed(self) -> None:
        """Wait until that is done."""
        await self._closed.wait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app, but end what would hold up the closing of the port: uvicorn would wait, then cut it off."""
        cancel_scope = anyio.CancelScope()
        is_started = False
        # ASGI knows no way to drop a connection; the object that sends for uvicorn does. Tests plan such faults.
        connection: asyncio.Transport = cast("Any", send).__self__.transport
        scope["extensions"] = {**scope.get("extensions", {}), "asyncassist.connection": {"transport": connection}}

        async def receiving() -> Message:
            self._receiving.add(cancel_scope)
            cancel_scope.deadline = (
                self._deadline if is_started else min(self._deadline, anyio.current_time() + _SILENCE)
            )
            try:
                return await receive()
            finally:
                # Nothing has been done for a request that is cancelled here. Later, something may have been.
                self._receiving.discard(cancel_scope)
                cancel_scope.deadline = math.inf

        async def noting(message: Message) -> None:
            nonlocal is_started
            await send(message)
            if message["type"] == "http.response.start":
                is_started = True
                cancel_scope.deadline = math.inf
                if any(value.startswith(b"text/event-stream") for _, value in message["headers"]):
                    self._streams.add(cancel_scope)
                    if self._server.should_exit:
                        cancel_scope.cancel()
            elif not message.get("more_body", False):
                self._streams.discard(cancel_scope)

        try:
            with cancel_scope:
                await self._app(scope, receiving, noting)
        finally:
            self._streams.discard(cancel_scope)
        if cancel_scope.cancelled_caught:
            if is_started:
                # Ended as HTTP has it, clients of others would take the stream for whole.
                connection.close()
                while (await receive())["type"] != "http.disconnect":
                    pass
            else:
                error = errors.not_running() if self._server.should_exit else _too_slow()
                refusal = Response(dumps(error.envelope()), error.status, error.headers, "application/json")
                await refusal(scope, receive, send)


def _too_slow() -> errors.ApiError:
    message = f"The rest of the request did not come: there was nothing for {_SILENCE:g} seconds."
    return errors.ApiError(408, message, code="request_timeout", headers={"connection": "close"})


class _Config(uvicorn.Config):
    """Puts a guard on every connection, and leaves logging to the program this is embedded in.

    With ``access_log=False`` uvicorn would take the handlers from a logger that is the whole program's: one that is
    served by uvicorn itself would lose its own lines.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            cast("Any", app),
            interface="asgi3",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        )
        self.guard = Guard()

    def configure_logging(self) -> None:
        pass

    def load(self) -> None:
        super().load()
        make = cast("Callable[..., Any]", self.http_protocol_class)

        def make_guarded(**arguments: Any) -> asyncio.Protocol:
            protocol = make(**arguments)
            protocol.access_log = False
            self.guard.watch(protocol)
            return cast("asyncio.Protocol", protocol)

        self.http_protocol_class = cast("type[asyncio.Protocol]", make_guarded)


class _Server(uvicorn.Server):
    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()
        self._guard = config.guard

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # every second
            self._guard.sweep(cast("set[Connection]", self.server_state.connections), anyio.current_time())
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals belong to the program this is embedded in
