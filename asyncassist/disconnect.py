"""Stop working for a web client that has gone away: for every ASGI app, on asyncio and trio."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from asyncassist.errors import DisconnectedError, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

__all__ = ["cancel_on_disconnect"]

Message = TypeVar("Message", bound=Mapping[str, Any])
Receive: TypeAlias = Callable[[], Awaitable[Message]]


def cancel_on_disconnect(receive: Receive[Message]) -> AbstractAsyncContextManager[Receive[Message], None]:
    """Cancel the block as soon as the web client that waits for its result goes away.

    ::

        @app.post("/ask")
        async def ask(question: Question, request: Request) -> Answer:
            async with cancel_on_disconnect(request.receive):
                run = await client.run_and_wait(...)
                return Answer(await client.run_text(run))

    A web framework lets an endpoint run on when its client is gone. Here what the block waits for is cancelled at once:
    it cleans up (a run that is waited for or streamed is cancelled on the server), and then `DisconnectedError` is
    raised, which nobody is left to be told of: answer it with any response, once for the whole app. Nothing is raised
    when the block ends first. A cancellation from outside and the block's own exceptions pass through as they are.

    Read the request's body before the block. An app that reads it inside takes it from what the block gives::

        async with cancel_on_disconnect(receive) as receive:
            body = await Request(scope, receive).body()

    It gives every message once, in order, after the block as well. While a body's further messages wait to be read,
    the client's leaving is not noticed.

    Use it around what is awaited, in one task: not around a ``yield`` of a generator, and not in a dependency.

    Args:
        receive: the app's ASGI ``receive``; ``request.receive`` in Starlette and FastAPI.

    Raises:
        DisconnectedError: the web client went away, and the block was cancelled.
        UsageError: the same context is entered twice.
        TypeError: ``receive`` cannot be called: a request was given, perhaps.
    """
    _check(receive)
    return _Watched(receive)


def _check(receive: object) -> None:
    if not callable(receive):
        message = f"receive must be the ASGI receive function, such as request.receive, not {type(receive).__name__}"
        raise TypeError(message)


class _Watched(Generic[Message]):
    """The block, and beside it a task that asks for the messages.

    The messages that are not the disconnect are somebody else's: they are held for whoever asks.
    """

    def __init__(self, receive: Receive[Message]) -> None:
        self._receive = receive
        self._held: deque[Message] = deque()
        self._is_entered = False
        self._failure: Exception | None = None

    async def __aenter__(self) -> Receive[Message]:
        if self._is_entered:
            raise UsageError("a context of cancel_on_disconnect can be entered once; call it again for another one")
        self._is_entered = True
        self._came = anyio.Event()
        self._taken = anyio.Event()
        self._over = anyio.Event()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._block = anyio.CancelScope()
        self._block.__enter__()
        self._tasks.start_soon(self._watch)
        return self._next

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        try:
            self._block.__exit__(cls, error, frames)
        finally:
            await self._stop_watching()
        if not self._block.cancelled_caught:
            return  # and the block's exception, if there is one, goes on
        if self._failure is not None:
            raise self._failure
        raise DisconnectedError("the web client went away before it was answered") from None

    async def _stop_watching(self) -> None:
        # That is soon done. A cancellation from outside need not hurry it, and would take the place of the block's
        # exception.
        self._tasks.cancel_scope.shield = True
        self._tasks.cancel_scope.cancel()
        try:
            with anyio.CancelScope(shield=True):
                await self._over.wait()
                await checkpoint()  # the task itself ends one step after its last line
        finally:
            # The task group does not see the block's exception, which it would wrap.
            await self._tasks.__aexit__(None, None, None)

    async def _watch(self) -> None:
        try:
            await self._read_on()
            self._block.cancel()
        except Exception as error:
            # Of the server or a middleware. Without messages nobody could tell any more whether the client is there.
            self._failure = error
            self._block.cancel()
        finally:
            self._over.set()
            self._came.set()

    async def _read_on(self) -> None:
        """Hold the messages until the client is gone."""
        while True:
            message = await self._receive()
            self._held.append(message)
            self._came.set()
            if message["type"] == "http.disconnect":
                return
            if message.get("more_body"):
                # A body may be of any length: no further than one message ahead of its reader.
                self._taken = anyio.Event()
                await self._taken.wait()

    async def _next(self) -> Message:
        while not self._held and not self._over.is_set():
            if self._came.is_set():
                self._came = anyio.Event()
            await self._came.wait()
        if not self._held:
            return await self._receive()
        self._taken.set()
        return self._held.popleft()
