"""HTTP without a socket: calls an ASGI app in this process, streaming both ways.

Each request runs the app in a task of its own, inside the task group of whoever owns the transport, so that nothing is
started that nobody awaits and no cancel scope stays open between the chunks a reader takes. What the app sends is seen
when it is sent; an app that is faster than its reader waits. Closing a response early cancels the app's task.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import anyio
import httpx
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskGroup
    from starlette.types import ASGIApp, Message, Scope

__all__ = ["LocalTransport"]

logger = logging.getLogger("asyncassist.server")

#: How many unread chunks an app may send before it has to wait for the reader.
_CHUNKS_AHEAD = 16


class LocalTransport(httpx.AsyncBaseTransport):
    """Answers the requests of an ``httpx.AsyncClient`` from an ASGI app in this process.

    Args:
        app: the ASGI app. It gets ``http`` scopes only; its lifespan is its owner's matter.
        task_group: called for each request; gives the open task group to run it in.

    Raises:
        httpx.ConnectError: ``task_group`` may raise it, where there is none.
    """

    def __init__(self, app: ASGIApp, task_group: Callable[[], TaskGroup]) -> None:
        self._app = app
        self._task_group = task_group

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        task_group = self._task_group()
        exchange = _Exchange(request)
        task_group.start_soon(exchange.run, self._app)
        try:
            await exchange.send_request()
            status, headers = await exchange.response_head()
        except BaseException:
            exchange.abort()
            raise
        return httpx.Response(
            status, headers=headers, stream=_ResponseStream(exchange), extensions={"http_version": b"HTTP/1.1"}
        )


class _ResponseStream(httpx.AsyncByteStream):
    # An iterator of its own, not a generator: one that is dropped half-way leaves nothing for the event loop to close.
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._exchange.next_chunk()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._exchange.abort()


class _Signal:
    """Wakes the one task that waits for a change."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        self._event = event = anyio.Event()
        await event.wait()

    def notify(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None


class _Exchange:
    """One request and its response, between the caller's task and the app's."""

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._cancel_scope = anyio.CancelScope()
        self._ended = False
        self._failure: Exception | None = None
        # The caller gives, the app takes. Unbounded, because the app may answer without reading to the end.
        self._request_chunks: deque[bytes] = deque()
        self._request_given = False
        self._request_taken = False
        self._request_news = _Signal()
        # The app gives, the caller takes.
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._response_chunks: deque[bytes] = deque()
        self._response_given = False
        self._response_news = _Signal()
        self._response_room = _Signal()

    # The caller's side.

    async def send_request(self) -> None:
        stream = self._request.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        chunks = aiter(stream)
        async for chunk in chunks:
            if self._request_chunks:  # let the app have a look at what it has before there is more
                await checkpoint()
            if self._ended or self._response_given:
                break
            self._request_chunks.append(chunk)
            self._request_news.notify()
        if isinstance(chunks, AsyncGenerator):  # a generator left half-way is closed here, not by the event loop
            await chunks.aclose()
        self._request_given = True
        self._request_news.notify()

    async def response_head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        while self._head is None:
            if self._ended:
                raise self._broken("the app ended without a response")
            await self._wait_for_news()
        return self._head

    async def next_chunk(self) -> bytes | None:
        while not self._response_chunks:
            if self._response_given:
                return None
            if self._ended:
                raise self._broken("the app ended in the middle of its response")
            await self._wait_for_news()
        self._response_room.notify()
        return self._response_chunks.popleft()

    def abort(self) -> None:
        """End the app's task if its response is not complete. How the app takes it is not waited for."""
        if not self._response_given:
            self._cancel_scope.cancel()

    async def _wait_for_news(self) -> None:
        seconds = self._request.extensions.get("timeout", {}).get("read")
        with anyio.move_on_after(seconds) as scope:
            await self._response_news.wait()
        if scope.cancelled_caught:
            raise httpx.ReadTimeout(f"the app sent nothing for {seconds} s", request=self._request)

    def _broken(self, message: str) -> httpx.RemoteProtocolError:
        error = httpx.RemoteProtocolError(message, request=self._request)
        error.__cause__ = self._failure
        return error

    # The app's side.

    async def run(self, app: ASGIApp) -> None:
        try:
            with self._cancel_scope:
                await app(self._scope(), self._receive, self._send)
        except Exception as error:
            logger.exception("the app failed at %s %s", self._request.method, self._request.url.path)
            self._failure = error
        finally:
            self._ended = True
            self._response_news.notify()

    def _scope(self) -> Scope:
        url = self._request.url
        raw_path, _, query = url.raw_path.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "client": ("127.0.0.1", 0),
            "server": (url.host, url.port),
        }

    async def _receive(self) -> Message:
        while True:
            if self._request_chunks:
                body = self._request_chunks.popleft()
                break
            if self._response_given:
                return {"type": "http.disconnect"}
            if self._request_given and not self._request_taken:
                body = b""
                break
            await self._request_news.wait()
        self._request_taken = self._request_given and not self._request_chunks
        return {"type": "http.request", "body": body, "more_body": not self._request_taken}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message["status"], list(message.get("headers", ()))
            self._response_news.notify()
            return
        body = message.get("body", b"")
        if body and self._request.method != "HEAD":
            if len(self._response_chunks) >= _CHUNKS_AHEAD:
                await self._response_room.wait()
            self._response_chunks.append(body)
        self._response_given = not message.get("more_body", False)
        self._response_news.notify()
        if self._response_given:
            self._request_news.notify()
