"""The life of a server under test: in a task of its own, so that those who start and end it need not be one task.

Some test frameworks run a fixture's beginning, the test and the fixture's end in one task each, and a server's tasks
must begin and end in the same one.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, cast

import anyio

from asyncassist._transport.loops import current_loop, is_over
from asyncassist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from trio.lowlevel import TrioToken

    from asyncassist.server.local import LocalServer

__all__ = ["Host"]


class Host:
    """Keeps a server running in the event loop that asked for it first, until it is told to stop or the loop ends.

    Args:
        server: the server. Nobody else is to enter it.
    """

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._stay: _Stay | None = None

    @property
    def is_active(self) -> bool:
        """Whether the server runs here, or has begun to start or to end."""
        return self._stay is not None and not self._stay.is_over

    async def start(self) -> None:
        """Let the server run, unless it does already.

        Raises:
            UsageError: it runs in another event loop.
        """
        while (stay := self._stay) is not None and not stay.is_over:
            if stay.loop is not current_loop():
                raise UsageError("the server runs in another event loop; leave it there first, or use it by its port")
            if not stay.is_ending:
                break
            await stay.ended()
        else:
            stay = self._stay = _Stay(self._server)
            stay.begin()
        await stay.started()

    async def stop(self) -> None:
        """End it in the event loop it was started in, and wait until it has ended."""
        assert self._stay is not None  # it was started
        self._stay.end()
        await self._stay.ended()

    def stop_from_outside(self) -> None:
        """End it from where nothing can be awaited: at once where its event loop pauses, soon where it is running."""
        stay = self._stay
        if stay is None or stay.is_over:
            return
        loop = stay.loop
        if not isinstance(loop, asyncio.AbstractEventLoop):
            cast("TrioToken", loop).run_sync_soon(stay.end)
        elif loop.is_running():
            loop.call_soon_threadsafe(stay.end)
        else:
            loop.run_until_complete(self.stop())


class _Stay:
    """One time between the start and the end of a server."""

    def __init__(self, server: LocalServer) -> None:
        self.loop = current_loop()
        self._server = server
        self._has_started = anyio.Event()
        self._is_to_end = anyio.Event()
        self._has_ended = anyio.Event()
        self._failure: Exception | None = None
        self._task: object = None

    @property
    def is_over(self) -> bool:
        return self._has_ended.is_set() or is_over(self.loop)

    @property
    def is_ending(self) -> bool:
        return self._is_to_end.is_set()

    def begin(self) -> None:
        self._task = _spawn(self._run)

    async def started(self) -> None:
        await self._has_started.wait()
        self._raise_failure()

    def end(self) -> None:
        self._is_to_end.set()

    async def ended(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._has_ended.wait()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            async with self._server:
                self._has_started.set()
                await self._is_to_end.wait()
        except Exception as error:  # for whoever starts or ends the server: here nobody would see it
            self._failure = error
        finally:
            self._has_started.set()
            self._has_ended.set()


def _spawn(run: Callable[[], Coroutine[None, None, None]]) -> object:
    """Start a task that belongs to the event loop, and return what keeps it alive."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return trio.lowlevel.spawn_system_task(run, name="asyncassist.testing", context=copy_context())
    return loop.create_task(run(), name="asyncassist.testing")
