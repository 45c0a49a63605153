"""The calls of a client that are under way: bounded in time, and ended when the client is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from asyncassist._transport.loops import IN_USE_ELSEWHERE, current_loop, is_over
from asyncassist._wire.requests import Kind
from asyncassist.errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Guard", "Guards"]


class Guards:
    """The waits under way, each with what kind of request it is for."""

    def __init__(self) -> None:
        self._open: dict[anyio.CancelScope, Kind] = {}
        self._loop: object = None
        self._emptied: anyio.Event | None = None

    def add(self, scope: anyio.CancelScope, kind: Kind) -> None:
        """Note that a wait begins.

        Raises:
            UsageError: others are under way in another event loop.
        """
        loop = current_loop()
        if loop is not self._loop:
            if self._open and not is_over(self._loop):
                raise UsageError(IN_USE_ELSEWHERE)
            self._open.clear()  # what was under way in an event loop that has ended will never end
            self._loop = loop
        self._open[scope] = kind

    def remove(self, scope: anyio.CancelScope) -> None:
        """Note that a wait has ended."""
        self._open.pop(scope, None)
        if self._emptied is not None and not self._open:
            self._emptied.set()
            self._emptied = None

    def stop(self, chosen: Callable[[Kind], bool]) -> None:
        """End the waits for requests of the chosen kinds."""
        if self._loop is current_loop():
            for scope in [scope for scope, kind in self._open.items() if chosen(kind)]:
                scope.cancel()

    async def until_none(self) -> None:
        """Wait until no wait is under way."""
        # More than once: what is tried again is not under way for a moment.
        while self._open and self._loop is current_loop():
            self._emptied = self._emptied or anyio.Event()
            await self._emptied.wait()


class Guard:
    """The bounds of one wait: a deadline, and the end of the client."""

    __slots__ = ("_guards", "_kind", "_scope")

    def __init__(self, guards: Guards, scope: anyio.CancelScope, kind: Kind) -> None:
        self._guards = guards
        self._scope = scope
        self._kind = kind

    def __enter__(self) -> anyio.CancelScope:
        self._guards.add(self._scope, self._kind)
        return self._scope.__enter__()

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> bool | None:
        self._guards.remove(self._scope)
        return self._scope.__exit__(cls, error, frames)
