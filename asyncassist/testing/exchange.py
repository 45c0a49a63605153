"""One request to a server under test, on its way through the faults that were planned: ASGI around the server's app."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.datastructures import Headers

from asyncassist._wire.json import dumps
from asyncassist.server.app import MAX_BODY
from asyncassist.server.routes import prefix_of
from asyncassist.testing.record import SeenRequest, operation_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asyncassist.testing.clock import Clock
    from asyncassist.testing.plan import Faults

__all__ = ["Exchange", "Gate"]


class Gate:
    """Notes every request, and lets a planned fault have it, or else the app.

    Args:
        app: what answers.
        faults: what is to go wrong.
        clock: the server's.
        requests: gets every request, as they come.
        new_id: makes the ids of answers that do not come from the app.
    """

    def __init__(
        self, app: ASGIApp, faults: Faults, clock: Clock, requests: list[SeenRequest], new_id: Callable[[str], str]
    ) -> None:
        self._app = app
        self._faults = faults
        self._clock = clock
        self._requests = requests
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, messages = await _read(receive)
        request = _seen(scope, body)
        self._requests.append(request)

        async def send_noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)

        exchange = Exchange(self._app, scope, messages, receive, send_noting, request, self._clock, self._new_id)
        fault = self._faults.next_for(request)
        await (exchange.forward() if fault is None else fault.act(exchange))


class Exchange:
    """What a fault can do with a request.

    Attributes:
        request: what was asked.
        clock: the server's.
    """

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        messages: list[Message],
        receive: Receive,
        send: Send,
        request: SeenRequest,
        clock: Clock,
        new_id: Callable[[str], str],
    ) -> None:
        self._app = app
        self._scope = scope
        self._messages = messages  # the request's, for the app to take
        self._receive = receive
        self._send = send
        self._new_id = new_id
        self.request = request
        self.clock = clock

    async def forward(self, wrap: Callable[[Send], Send] | None = None) -> None:
        """Let the app answer.

        Args:
            wrap: given the way to the client, returns the one the app sends its answer on instead.
        """
        await self._app(self._scope, self._receive_again, self._send if wrap is None else wrap(self._send))

    async def answer(self, status: int, body: object, headers: dict[str, str]) -> None:
        """Answer in place of the app."""
        content = dumps(body)
        every = {
            "content-type": "application/json",
            "content-length": str(len(content)),
            "x-request-id": self._new_id("req_"),
        } | headers
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in every.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        await self._send({"type": "http.response.body", "body": content, "more_body": False})

    async def until_gone(self) -> None:
        """Wait until the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def drop(self) -> None:
        """Let go of the connection, whatever has been sent on it. An app that returns now has done so elsewhere."""
        connection = self._scope.get("extensions", {}).get("asyncassist.connection", {}).get("transport")
        if connection is not None:
            connection.close()
            await self.until_gone()

    async def _receive_again(self) -> Message:
        return self._messages.pop(0) if self._messages else await self._receive()


async def _read(receive: Receive) -> tuple[bytes, list[Message]]:
    """Read a body, as far as the app would. Gives the messages it came in too, for the app to read again."""
    chunks: list[bytes] = []
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False) or sum(map(len, chunks)) > MAX_BODY:
            return b"".join(chunks), messages


def _seen(scope: Scope, body: bytes) -> SeenRequest:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    path = path.removeprefix(prefix_of(path))
    operation, ids = operation_of(scope["method"], path)
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return SeenRequest(operation, scope["method"], path, ids, query, dict(Headers(scope=scope)), body)
