"""Waiting for runs: polling, its end, and what happens to a run nobody waits for any more."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import anyio

from asyncassist._operations.base import Caller
from asyncassist._operations.messages import MessageOperations
from asyncassist._operations.runs import RunOperations
from asyncassist._wire.polls import PollPolicy, first_pause, next_pause, poll_after
from asyncassist._wire.requests import Kind, request_for
from asyncassist._wire.responses import decode
from asyncassist._wire.retry import LONGEST_PAUSE, is_retriable
from asyncassist.errors import APIConnectionError, APIStatusError, AsyncAssistError, UsageError, WaitTimeoutError, shown
from asyncassist.models import TERMINAL_RUN_STATUSES, CreateRunParams, CreateThreadAndRunParams, Run

if TYPE_CHECKING:
    from typing import Unpack

    from asyncassist._transport.pacing import Pacing

__all__ = ["OnCancel", "OnStatus", "RunWaiting"]

logger = logging.getLogger("asyncassist")

OnStatus = Callable[[Run], object]
OnCancel = Literal["cancel", "leave"]

_CANCEL_SECONDS = 5.0
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
            APIConnectionError, APIStatusError: too many polls in a row have failed, or one cannot be repeated.
        """
        wait = _Wait(self._send, self._pacing, thread_id, run_id, poll, on_status, on_cancel)
        return await wait.until_end(timeout, started=None)

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

        Raises:
            ActiveRunError: another run is active on the thread.
            WaitTimeoutError: with the run as last seen.
        """
        _check_waiting(timeout, poll, on_cancel)
        run = await self.create_run(thread_id, assistant_id=assistant_id, **params)
        return await _Wait(self._send, self._pacing, run.thread_id, run.id, poll, on_status, on_cancel).until_end(
            timeout, started=run
        )

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

        Raises:
            WaitTimeoutError: with the run as last seen.
        """
        _check_waiting(timeout, poll, on_cancel)
        run = await self.create_thread_and_run(assistant_id=assistant_id, **params)
        return await _Wait(self._send, self._pacing, run.thread_id, run.id, poll, on_status, on_cancel).until_end(
            timeout, started=run
        )

    async def run_text(self, run: Run) -> str:
        """Return the text a run has produced: its messages in order, parted by an empty line."""
        messages = await self.list_messages(run.thread_id, run_id=run.id, order="asc", limit=100).collect()
        # Servers that ignore run_id send the whole thread.
        own = [message for message in messages if message.run_id in (run.id, None) and message.role != "user"]
        return "\n\n".join(message.text for message in own)


def _check_waiting(timeout: float | None, poll: PollPolicy, on_cancel: OnCancel) -> None:
    """Refuse wrong settings before anything is started."""
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout <= LONGEST_PAUSE
    ):
        limits = f"a number of seconds, from 0 to {LONGEST_PAUSE:g}, or None"
        raise UsageError(f"timeout must be {limits}, got {shown(timeout)}")
    if not isinstance(poll, PollPolicy):
        raise UsageError(f"poll must be a PollPolicy, got {type(poll).__name__}")
    if on_cancel not in ("cancel", "leave"):
        raise UsageError(f'on_cancel must be "cancel" or "leave", got {shown(on_cancel)}')


class _Wait:
    """One wait: the loop that looks, pauses and reports."""

    def __init__(
        self,
        send: Caller,
        pacing: Pacing,
        thread_id: str,
        run_id: str,
        poll: PollPolicy,
        on_status: OnStatus | None,
        on_cancel: OnCancel,
    ) -> None:
        self._send = send
        self._pacing = pacing
        self._ids = (thread_id, run_id)
        self._request = request_for("GET /threads/{thread_id}/runs/{run_id}", thread_id, run_id, kind=Kind.POLL)
        self._poll = poll
        self._on_status = on_status
        self._on_cancel: OnCancel = on_cancel
        self._run: Run | None = None
        self._reported: str | None = None
        self._unknown_since: float | None = None
        self._has_warned = False

    async def until_end(self, timeout: float | None, *, started: Run | None) -> Run:
        _check_waiting(timeout, self._poll, self._on_cancel)
        is_abandoned = True
        try:
            with anyio.move_on_after(timeout):
                run = await self._watch(started)
                is_abandoned = False
                return run
            raise self._timeout(f"in the {timeout} s allowed")
        except AsyncAssistError as error:
            # The server refused or did not answer: nothing says that the run should end.
            is_abandoned = isinstance(error, WaitTimeoutError)
            raise
        finally:
            if is_abandoned and self._on_cancel == "cancel":
                await self._cancel()

    async def _watch(self, started: Run | None) -> Run:
        random = self._pacing.random
        looks = failures = 0
        asked: float | None = None
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
                logger.debug("a poll of run %s failed: %s", self._ids[1], error)
                asked = error.retry_after if isinstance(error, APIStatusError) else None
            else:
                failures = 0
                if await self._is_end(run):
                    return run
            looks += 1
            pause = next_pause(self._poll, looks, asked, random())
            # The first pause puts waits that started together out of phase.
            await self._sleep(pause * random() if looks == 1 and started is None else pause)

    async def _sleep(self, seconds: float) -> None:
        await self._pacing.sleep(seconds)

    async def _look(self) -> tuple[Run, float | None]:
        response = await self._send(self._request)
        return decode(self._request, response, Run), poll_after(response.headers)

    async def _is_end(self, run: Run) -> bool:
        self._run = run
        if run.status != self._reported:
            self._reported = run.status
            if self._on_status is not None:
                result = self._on_status(run)
                if inspect.isawaitable(result):
                    await result
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
            raise self._timeout(f"and has had the unknown status {run.status!r} for {self._poll.max_unknown} s")
        return False

    def _timeout(self, how: str) -> WaitTimeoutError:
        last = "it was never seen" if self._run is None else f"its last status is {self._run.status!r}"
        fate = "it is being cancelled" if self._on_cancel == "cancel" else "it was left running"
        return WaitTimeoutError(f"run {self._ids[1]} did not end {how}; {last}; {fate}", run=self._run)

    async def _cancel(self) -> None:
        """Cancel the run on the server, whatever happens here, in bounded time."""
        if self._run is not None and self._run.status in TERMINAL_RUN_STATUSES:
            return
        request = request_for("POST /threads/{thread_id}/runs/{run_id}/cancel", *self._ids, kind=Kind.CANCEL)
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
            try:
                await self._send(request)
            except AsyncAssistError as error:
                logger.debug("run %s could not be cancelled: %s", self._ids[1], error)  # it may have ended meanwhile
