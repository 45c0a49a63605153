"""Cancelling something at a chosen moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio

from asyncassist import AsyncAssistError

__all__ = ["cancelled_at", "styles"]


class CancelledAt:
    """Awaits something and has it cancelled at one of its suspensions.

    Args:
        number: which one, from 0.
        cancel: cancels.
        late: cancels when what is waited for has happened, and before the waiting task has noticed.
    """

    def __init__(self, work: Awaitable[object], number: int, cancel: Callable[[], object], *, late: bool) -> None:
        self.is_reached = False
        self._work = work
        self._number = number
        self._cancel = cancel
        self._late = late

    def __await__(self) -> Generator[Any, Any, object]:
        steps: Any = self._work.__await__()
        count = 0
        step: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        while True:
            try:
                waited_for = step()
            except StopIteration as stop:
                return stop.value
            if count == self._number:
                self.is_reached = True
                if self._late and isinstance(waited_for, asyncio.Future):
                    waited_for.add_done_callback(lambda _: self._cancel())
                else:
                    self._cancel()
            count += 1
            try:
                sent = yield waited_for
            except BaseException as error:
                step = lambda error=error: steps.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda sent=sent: steps.send(sent)  # type: ignore[misc]  # noqa: E731


async def cancelled_at(number: int, work: Callable[[], Awaitable[object]], style: str) -> bool:
    """Do some work and cancel it at a suspension; say whether it had so many."""
    if style == "scope":
        with anyio.CancelScope() as scope:
            at = CancelledAt(work(), number, scope.cancel, late=False)
            with contextlib.suppress(AsyncAssistError):
                await at
        return at.is_reached

    async def main() -> bool:
        task = asyncio.current_task()
        assert task is not None
        at = CancelledAt(work(), number, task.cancel, late="late" in style)
        try:
            with contextlib.suppress(AsyncAssistError):
                await at
        except asyncio.CancelledError:
            pass
        return at.is_reached

    return await asyncio.ensure_future(main())


def styles() -> tuple[str, ...]:
    """Return the ways to cancel that the running event loop knows."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return ("scope",)
    return ("scope", "native", "native, late")
