"""Looking at one run again and again: what every wait and every broken stream does."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import anyio
from attrs import field, frozen

from asyncassist import models
from asyncassist._wire.polls import (
    FULL_SPREAD,
    LONGEST_ASKED,
    SPREAD,
    PollPolicy,
    first_pause,
    next_pause,
    poll_after,
)
from asyncassist._wire.requests import Kind, request_for
from asyncassist._wire.responses import decode
from asyncassist._wire.retry import LONGEST_PAUSE, is_retriable
from asyncassist.errors import APIConnectionError, APIStatusError, UsageError, WaitTimeoutError, shown

if TYPE_CHECKING:
    from typing import Any

    from asyncassist._operations.base import Caller
    from asyncassist._transport.pacing import Pacing
    from asyncassist._wire.requests import Request
    from asyncassist.models import Run

__all__ = ["DEFAULT_POLL", "OnCancel", "OnStatus", "Supervision", "Watch", "finish_anyway"]

logger = logging.getLogger("asyncassist")

OnStatus: TypeAlias = "Callable[[Run], object]"
OnCancel = Literal["cancel", "leave"]

T = TypeVar("T")

DEFAULT_POLL = PollPolicy()

_ROUTE = "/threads/{thread_id}/runs/{run_id}"
_CANCEL_SECONDS = 5.0
_FINISH_SECONDS = 5.0
"""How long what has been begun on the server may go on after nobody waits for it any more."""
_PENDING_STATUSES = frozenset({"queued", "in_progress", "cancelling"})


def _timeout(instance: object, attribute: Any, value: object) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_PAUSE
    ):
        limits = f"a number of seconds, from 0 to {LONGEST_PAUSE:g}, or None"
        raise UsageError(f"timeout must be {limits}, got {shown(value)}")


def _poll(instance: object, attribute: Any, value: object) -> None:
    if not isinstance(value, PollPolicy):
        raise UsageError(f"poll must be a PollPolicy, got {type(value).__name__}")


def _on_status(instance: object, attribute: Any, value: object) -> None:
    if value is not None and not callable(value):
        raise UsageError(f"on_status must be a function, got {type(value).__name__}")


def _on_cancel(instance: object, attribute: Any, value: object) -> None:
    if value not in ("cancel", "leave"):
        raise UsageError(f'on_cancel must be "cancel" or "leave", got {shown(value)}')


@frozen
class Supervision:
    """How a run is looked after; wrong settings are refused before anything is started."""

    timeout: float | None = field(default=None, validator=_timeout)
    poll: PollPolicy = field(default=DEFAULT_POLL, validator=_poll)
    on_status: OnStatus | None = field(default=None, validator=_on_status)
    on_cancel: OnCancel = field(default="cancel", validator=_on_cancel)


class Watch:
    """Knows one run: looks at it until it has ended or waits for tool outputs, reports its changes, cancels it.

    Attributes:
        run: as last seen.
        is_reporting: whether ``on_status`` is at work.
        before_cancel: awaited before the run is cancelled, which it must not hold up for long; None for nothing.
    """

    def __init__(self, send: Caller, pacing: Pacing, supervision: Supervision) -> None:
        self._send = send
        self._pacing = pacing
        self._poll = supervision.poll
        self._on_status = supervision.on_status
        self._on_cancel = supervision.on_cancel
        self._ids: tuple[str, str] | None = None
        self.run: Run | None = None
        self.is_reporting = False
        self.before_cancel: Callable[[], Awaitable[None]] | None = None
        self._reported: str | None = None
        self._unknown_since: float | None = None
        self._has_warned = False
        self._counted: str | None = None

    @property
    def ids(self) -> tuple[str, str] | None:
        """Of the thread and the run; None as long as the run is not known."""
        return self._ids

    def name(self, thread_id: str, run_id: str) -> None:
        """Say which run it is.

        Raises:
            UsageError, TypeError: these are no ids.
        """
        request_for(f"GET {_ROUTE}", thread_id, run_id)
        self._ids = thread_id, run_id

    def see(self, run: Run) -> None:
        """Take note of the run as it is now."""
        self._ids = run.thread_id, run.id
        self.run = run
        tokens = self._pacing.tokens
        if tokens is not None and run.is_terminal and self._counted != run.id:
            self._counted = run.id
            tokens.ended((run.usage and run.usage.total_tokens) or 0)

    def _request(self, method: str, path: str, kind: Kind) -> Request:
        assert self._ids is not None  # named or seen before
        return request_for(f"{method} {_ROUTE}{path}", *self._ids, kind=kind)

    async def until_pause(self, started: Run | None = None) -> Run:
        """Look until the run has ended or requires action.

        Args:
            started: the run, where it has just been started; then the first look is not at once.

        Raises:
            APIConnectionError, APIStatusError: too many looks in a row have failed, or one that cannot be repeated.
            WaitTimeoutError: the run has had an unknown status for too long.
        """
        random = self._pacing.random
        looks = failures = 0
        asked: float | None = None
        least = 0.0
        if started is not None:
            if await self.report(started):
                return started
            await self._sleep(first_pause(self._poll, random()))
        while True:
            try:
                run, asked = await self.look()
            except (APIConnectionError, APIStatusError) as error:
                failures += 1
                if failures > self._poll.max_failures or not is_retriable(error, Kind.POLL):
                    raise
                logger.debug("a poll failed: %s", error)
                asked, least = None, (isinstance(error, APIStatusError) and error.retry_after) or 0.0
                if least > LONGEST_ASKED:
                    raise
            else:
                failures, least = 0, 0.0
                if await self.report(run):
                    return run
            looks += 1
            # Waits that started together, with a look at once, come out of phase by their first pause.
            spread = FULL_SPREAD if looks == 1 and started is None else SPREAD
            pause = next_pause(self._poll, looks, asked, random(), spread=spread)
            # Never before the time a server named that is overloaded.
            await self._sleep(max(pause, least * (1 + SPREAD * random())) if least else pause)

    async def _sleep(self, seconds: float) -> None:
        await self._pacing.sleep(seconds)

    async def look(self) -> tuple[Run, float | None]:
        """Read the run, and the pause the server asks for."""
        await self._pacing.poll_turn()
        request = self._request("GET", "", Kind.POLL)
        response = await self._send(request)
        return decode(request, response, models.Run), poll_after(response.headers)

    async def report(self, run: Run) -> bool:
        """Take note of the run, tell of its change, and say whether there is something to do other than to wait."""
        self.see(run)
        if run.status != self._reported:
            self._reported = run.status
            if self._on_status is not None:
                self.is_reporting = True
                result = self._on_status(run)
                if inspect.isawaitable(result):
                    await result
                self.is_reporting = False
        if run.is_terminal or run.status == "requires_action":
            return True
        if run.status in _PENDING_STATUSES:
            self._unknown_since = None
            return False
        now = anyio.current_time()
        if not self._has_warned:
            self._has_warned = True
            logger.warning("run %s has the unknown status %r; it is taken for pending", run.id, run.status)
        if self._unknown_since is None:
            self._unknown_since = now
        elif now - self._unknown_since > self._poll.max_unknown:
            raise self.timed_out(f"and has had the unknown status {run.status!r} for {self._poll.max_unknown} s")
        return False

    def timed_out(self, how: str) -> WaitTimeoutError:
        """Return the error of a wait that was given up."""
        name = "a run" if self._ids is None else self._ids[1]
        last = "it was never seen" if self.run is None else f"its last status is {self.run.status!r}"
        fate = "it is being cancelled" if self._on_cancel == "cancel" else "it was left running"
        return WaitTimeoutError(f"{name} did not end {how}; {last}; {fate}", run=self.run)

    async def cancel(self) -> None:
        """Cancel the run on the server, whatever happens here, in bounded time. Nothing to do is no error."""
        if self._ids is None or (self.run is not None and self.run.is_terminal):
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._send_cancel()
            except anyio.get_cancelled_exc_class():
                # No shield keeps off asyncio's own task.cancel(), which aiohttp's server calls twice in a row when it
                # shuts down. In a task of its own the request is out of its reach.
                await finish_anyway(self._send_cancel)
                raise

    async def _send_cancel(self) -> None:
        if self.before_cancel is not None:
            await self.before_cancel()
        with anyio.move_on_after(_CANCEL_SECONDS):
            try:
                await self._send(self._request("POST", "/cancel", Kind.CANCEL))
            except Exception as error:  # whatever it is, it must not take the place of why the wait has ended
                logger.debug("a run could not be cancelled: %s", error)  # it may have ended meanwhile


async def finish_anyway(work: Callable[[], Awaitable[T]]) -> T:
    """Do something that must not be left half done: cancelled meanwhile, it may still finish, within some seconds."""
    scope = anyio.CancelScope(shield=True)
    is_done = anyio.Event()
    results: list[T] = []
    failure: Exception | None = None

    async def finish() -> None:
        nonlocal failure
        with scope:
            try:
                results.append(await work())
            except Exception as error:  # raised below, outside of the task group
                failure = error
        is_done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(finish)
        try:
            await is_done.wait()
        except BaseException:
            scope.deadline = anyio.current_time() + _FINISH_SECONDS
            raise
    if failure is not None:
        raise failure
    return results[0]  # the scope has no deadline unless this is cancelled
