"""Waiting for runs: polling, its end, and what happens to a run nobody waits for any more."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

import anyio

from asyncassist._operations.base import Caller
from asyncassist._operations.messages import MessageOperations
from asyncassist._operations.runs import RunOperations
from asyncassist._wire.polls import FULL_SPREAD, LONGEST_ASKED, SPREAD, PollPolicy, first_pause, next_pause, poll_after
from asyncassist._wire.requests import Kind, request_for
from asyncassist._wire.responses import decode
from asyncassist._wire.retry import LONGEST_PAUSE, is_retriable
from asyncassist.errors import APIConnectionError, APIStatusError, AsyncAssistError, UsageError, WaitTimeoutError, shown
from asyncassist.models import TERMINAL_RUN_STATUSES, CreateRunParams, CreateThreadAndRunParams, Run

if TYPE_CHECKING:
    from typing import Unpack

    from asyncassist._transport.pacing import Pacing
    from asyncassist._wire.requests import Request

__all__ = ["OnCancel", "OnStatus", "RunWaiting"]

logger = logging.getLogger("asyncassist")

OnStatus = Callable[[Run], object]
OnCancel = Literal["cancel", "leave"]

_CANCEL_SECONDS = 5.0
_CREATE_SECONDS = 5.0
"""How long a creation may go on after its wait was cancelled."""
_PENDING_STATUSES = frozenset({"queued", "in_progress", "cancelling"})
_ENDS_OF_WAITING = TERMINAL_RUN_STATUSES | {"requires_action"}

_DEFAULT_POLL = PollPolicy()


class RunWaiting(RunOperations, MessageOperations):
    """Start runs and wait for their end."""

    if TYPE_CHECKING:

        @property
        def _pacing(self) -> Pacing: ...

    async def wait_for_run(
        self,
        thread_id: str,
        run_id: str,
        *,
        timeout: float | None = None,
        poll: PollPolicy = _DEFAULT_POLL,
        on_status: OnStatus | None = None,
        on_cancel: OnCancel = "cancel",
    ) -> Run:
        """Wait until a run has ended or ``requires_action``, and return it.

        Polls as often as the server asks for (``openai-poll-after-ms``), else by ``poll``. A failed poll is followed by
        the next one. How the run ended is in its ``status``; ``run.raise_for_status()`` makes an error of a bad end.

        Args:
            timeout: seconds to wait at most; None waits as long as the server keeps the run alive.
            poll: how often to look.
            on_status: called with the run at each change of its status, and awaited if it returns an awaitable.
            on_cancel: what becomes of the run when this wait is cancelled, times out, or ``on_status`` raises:
                ``"cancel"`` cancels it on the server, so that it costs nothing more and frees its thread; ``"leave"``
                lets it go on.

        Raises:
            WaitTimeoutError: with the run as last seen.
            NotFoundError: there is no such run.
            APIConnectionError, APIStatusError: too many polls in a row have failed, one cannot be repeated, or the
                server asked for a pause of more than a minute, which is in ``retry_after``.
        """
        wait = _Wait(self._send, self._pacing, timeout, poll, on_status, on_cancel)
        wait.look_at(thread_id, run_id)
        return await wait.until_end()

    async def run_and_wait(
        self,
        thread_id: str,
        *,
        assistant_id: str,
        timeout: float | None = None,
        poll: PollPolicy = _DEFAULT_POLL,
        on_status: OnStatus | None = None,
        on_cancel: OnCancel = "cancel",
        **params: Unpack[CreateRunParams],
    ) -> Run:
        """Start a run and wait until it has ended or ``requires_action``: `create_run` and `wait_for_run`.

        Args:
            timeout: seconds the creation and the wait may take together; None waits as long as the server keeps the
                run alive.
            poll, on_status, on_cancel: as in `wait_for_run`. A creation that is under way when this is cancelled or
                times out is given a few seconds to finish, so that the run it makes can be cancelled too.
            params: as in `create_run`.

        Raises:
            ActiveRunError: another run is active on the thread.
            WaitTimeoutError: with the run as last seen.
        """
        wait = _Wait(self._send, self._pacing, timeout, poll, on_status, on_cancel)
        return await wait.until_end(lambda: self.create_run(thread_id, assistant_id=assistant_id, **params))

    async def create_thread_run_and_wait(
        self,
        *,
        assistant_id: str,
        timeout: float | None = None,
        poll: PollPolicy = _DEFAULT_POLL,
        on_status: OnStatus | None = None,
        on_cancel: OnCancel = "cancel",
        **params: Unpack[CreateThreadAndRunParams],
    ) -> Run:
        """Create a thread, start a run on it and wait: `create_thread_and_run` and `wait_for_run`.

        The thread's id is the run's ``thread_id``.

        Args:
            timeout: seconds the creation and the wait may take together; None waits as long as the server keeps the
                run alive.
            poll, on_status, on_cancel: as in `wait_for_run`. A creation that is under way when this is cancelled or
                times out is given a few seconds to finish, so that the run it makes can be cancelled too.
            params: as in `create_thread_and_run`.

        Raises:
            WaitTimeoutError: with the run as last seen.
        """
        wait = _Wait(self._send, self._pacing, timeout, poll, on_status, on_cancel)
        return await wait.until_end(lambda: self.create_thread_and_run(assistant_id=assistant_id, **params))

    async def run_text(self, run: Run) -> str:
        """Return the text a run has produced: its messages in order, parted by an empty line."""
        messages = await self.list_messages(run.thread_id, run_id=run.id, order="asc", limit=100).collect()
        # Servers that ignore run_id send the whole thread.
        own = [message for message in messages if message.run_id in (run.id, None) and message.role != "user"]
        return "\n\n".join(message.text for message in own)


def _check_waiting(timeout: float | None, poll: PollPolicy, on_status: OnStatus | None, on_cancel: OnCancel) -> None:
    """Refuse wrong settings before anything is started."""
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout <= LONGEST_PAUSE
    ):
        limits = f"a number of seconds, from 0 to {LONGEST_PAUSE:g}, or None"
        raise UsageError(f"timeout must be {limits}, got {shown(timeout)}")
    if not isinstance(poll, PollPolicy):
        raise UsageError(f"poll must be a PollPolicy, got {type(poll).__name__}")
    if on_status is not None and not callable(on_status):
        raise UsageError(f"on_status must be a function, got {type(on_status).__name__}")
    if on_cancel not in ("cancel", "leave"):
        raise UsageError(f'on_cancel must be "cancel" or "leave", got {shown(on_cancel)}')


class _Wait:
    """One wait: the loop that looks, pauses and reports."""

    def __init__(
        self,
        send: Caller,
        pacing: Pacing,
        timeout: float | None,
        poll: PollPolicy,
        on_status: OnStatus | None,
        on_cancel: OnCancel,
    ) -> None:
        _check_waiting(timeout, poll, on_status, on_cancel)
        self._send = send
        self._pacing = pacing
        self._timeout = timeout
        self._poll = poll
        self._on_status = on_status
        self._on_cancel: OnCancel = on_cancel
        self._look_request: Request | None = None
        self._cancel_request: Request | None = None
        self._run: Run | None = None
        self._reported: str | None = None
        self._is_reporting = False
        self._unknown_since: float | None = None
        self._has_warned = False

    def look_at(self, thread_id: str, run_id: str) -> None:
        """Name the run."""
        route = "/threads/{thread_id}/runs/{run_id}"
        self._look_request = request_for(f"GET {route}", thread_id, run_id, kind=Kind.POLL)
        self._cancel_request = request_for(f"POST {route}/cancel", thread_id, run_id, kind=Kind.CANCEL)

    async def until_end(self, create: Callable[[], Awaitable[Run]] | None = None) -> Run:
        """Create the run, where there is one to create, and wait for its end."""
        is_abandoned = True
        try:
            with anyio.move_on_after(self._timeout):
                started = None if create is None else await self._start(create)
                run = await self._watch(started)
                is_abandoned = False
                return run
            raise self._timed_out(f"in the {self._timeout} s allowed")
        except AsyncAssistError as error:
            # The server refused or did not answer: nothing says that the run should end.
            is_abandoned = self._is_reporting or isinstance(error, WaitTimeoutError)
            raise
        finally:
            if is_abandoned and self._on_cancel == "cancel":
                await self._cancel()

    async def _start(self, create: Callable[[], Awaitable[Run]]) -> Run:
        """Create the run. Cancelled meanwhile, its creation may still finish, or nobody would know the run's id."""
        scope = anyio.CancelScope(shield=True)
        is_done = anyio.Event()
        failure: Exception | None = None

        async def finish() -> None:
            nonlocal failure
            with scope:
                try:
                    self._run = run = await create()
                    self.look_at(run.thread_id, run.id)
                except Exception as error:  # raised below, outside of the task group
                    failure = error
            is_done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(finish)
            try:
                await is_done.wait()
            except BaseException:
                scope.deadline = anyio.current_time() + _CREATE_SECONDS
                raise
        if failure is not None:
            raise failure
        assert self._run is not None  # the scope has no deadline before the wait is cancelled
        return self._run

    async def _watch(self, started: Run | None) -> Run:
        random = self._pacing.random
        looks = failures = 0
        asked: float | None = None
        least = 0.0
        if started is not None:
            if await self._is_end(started):
                return started
            await self._sleep(first_pause(self._poll, random()))
        while True:
            try:
                run, asked = await self._look()
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
                if await self._is_end(run):
                    return run
            looks += 1
            # Waits that started together, with a look at once, come out of phase by their first pause.
            spread = FULL_SPREAD if looks == 1 and started is None else SPREAD
            pause = next_pause(self._poll, looks, asked, random(), spread=spread)
            # Never before the time a server named that is overloaded.
            await self._sleep(max(pause, least * (1 + SPREAD * random())) if least else pause)

    async def _sleep(self, seconds: float) -> None:
        await self._pacing.sleep(seconds)

    async def _look(self) -> tuple[Run, float | None]:
        request = self._look_request
        assert request is not None  # named or created before
        response = await self._send(request)
        return decode(request, response, Run), poll_after(response.headers)

    async def _is_end(self, run: Run) -> bool:
        self._run = run
        if run.status != self._reported:
            self._reported = run.status
            if self._on_status is not None:
                self._is_reporting = True
                result = self._on_status(run)
                if inspect.isawaitable(result):
                    await result
                self._is_reporting = False
        if run.status in _ENDS_OF_WAITING:
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
            raise self._timed_out(f"and has had the unknown status {run.status!r} for {self._poll.max_unknown} s")
        return False

    def _timed_out(self, how: str) -> WaitTimeoutError:
        name = "a run" if self._look_request is None else self._look_request.path.rpartition("/")[2]
        last = "it was never seen" if self._run is None else f"its last status is {self._run.status!r}"
        fate = "it is being cancelled" if self._on_cancel == "cancel" else "it was left running"
        return WaitTimeoutError(f"{name} did not end {how}; {last}; {fate}", run=self._run)

    async def _cancel(self) -> None:
        """Cancel the run on the server, whatever happens here, in bounded time."""
        if self._cancel_request is None or (self._run is not None and self._run.status in TERMINAL_RUN_STATUSES):
            return
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
            try:
                await self._send(self._cancel_request)
            except Exception as error:  # whatever it is, it must not take the place of why the wait has ended
                logger.debug("a run could not be cancelled: %s", error)  # it may have ended meanwhile
