"""Waiting for runs: polling, tool rounds, fresh runs for failed ones, and what happens to a run nobody waits for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio

from asyncassist import models
from asyncassist._operations.messages import MessageOperations
from asyncassist._operations.runs import RunOperations
from asyncassist._wire.polls import PollPolicy
from asyncassist._wire.requests import check_parameters
from asyncassist._wire.responses import decode
from asyncassist.errors import AsyncAssistError, ToolError, UsageError, WaitTimeoutError, shown
from asyncassist.runs.rounds import Rounds
from asyncassist.runs.watch import DEFAULT_POLL, OnCancel, OnStatus, Supervision, Watch, finish_anyway

if TYPE_CHECKING:
    from typing import Unpack

    from asyncassist._operations.base import Caller
    from asyncassist._transport.pacing import Pacing
    from asyncassist._wire.requests import Request
    from asyncassist.models import CreateRunParams, CreateThreadAndRunParams, Message, Run
    from asyncassist.tools import Toolset

__all__ = ["RunWaiting", "begin_rounds", "messages_of_run"]

logger = logging.getLogger("asyncassist")

Create: TypeAlias = "Callable[[], Awaitable[Run]]"

_OPTIONS = ("toolset", "timeout", "poll", "on_status", "on_cancel", "retry_failed_runs")
"""What the methods that start a run take besides its parameters."""
# A fresh run finds on its thread what the failed one had added to it.
_ONCE = ("thread", "additional_messages", "tool_resources")


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
        toolset: Toolset | None = None,
        timeout: float | None = None,
        poll: PollPolicy = DEFAULT_POLL,
        on_status: OnStatus | None = None,
        on_cancel: OnCancel = "cancel",
    ) -> Run:
        """Wait until a run has ended or ``requires_action``, and return it.

        Polls as often as the server asks for (``openai-poll-after-ms``), else by ``poll``. A failed poll is followed by
        the next one. How the run ended is in its ``status``; ``run.raise_for_status()`` makes an error of a bad end.

        Args:
            toolset: answers the run's tool calls, so that the wait goes on to the run's end; None returns the run when
                it ``requires_action``.
            timeout: seconds to wait at most; None waits as long as the server keeps the run alive.
            poll: how often to look.
            on_status: called with the run at each change of its status, and awaited if it returns an awaitable.
            on_cancel: what becomes of the run when this wait is cancelled, times out, or ``on_status`` or a tool
                raises: ``"cancel"`` cancels it on the server, so that it costs nothing more and frees its thread;
                ``"leave"`` lets it go on.

        Raises:
            WaitTimeoutError: with the run as last seen.
            ToolError: the toolset cannot go on.
            NotFoundError: there is no such run.
            APIConnectionError, APIStatusError: too many polls in a row have failed, one cannot be repeated, or the
                server asked for a pause of more than a minute, which is in ``retry_after``.
        """
        wait = self._wait(Supervision(timeout, poll, on_status, on_cancel), toolset)
        wait.watch.name(thread_id, run_id)
        return await wait.until_end()

    async def run_and_wait(
        self,
        thread_id: str,
        *,
        assistant_id: str,
        toolset: Toolset | None = None,
        timeout: float | None = None,
        poll: PollPolicy = DEFAULT_POLL,
        on_status: OnStatus | None = None,
        on_cancel: OnCancel = "cancel",
        retry_failed_runs: int = 0,
        **params: Unpack[CreateRunParams],
    ) -> Run:
        """Start a run and wait until it has ended or ``requires_action``: `create_run` and `wait_for_run`.

        Args:
            timeout: seconds all of it may take together; None waits as long as the server keeps the run alive.
            toolset, poll, on_status, on_cancel: as in `wait_for_run`. A creation that is under way when this is
                cancelled or times out is given a few seconds to finish, so that the run it makes can be cancelled too.
            retry_failed_runs: how many fresh runs may follow a run that failed with ``rate_limit_exceeded`` or
                ``server_error``, 0-100, each after the pause its error asks for, or one that grows. Tools may then be
                called anew.
            params: as in `create_run`.

        Raises:
            ActiveRunError: another run is active on the thread.
            WaitTimeoutError: with the run as last seen.
            ToolError: the toolset cannot go on.
        """
        check_parameters("run_and_wait", models.CreateRunParams, params, besides=_OPTIONS)
        wait = self._wait(Supervision(timeout, poll, on_status, on_cancel), toolset, retry_failed_runs)
        again = cast("CreateRunParams", {name: value for name, value in params.items() if name not in _ONCE})
        return await wait.until_end(
            lambda: self.create_run(thread_id, assistant_id=assistant_id, **params),
            lambda run: self.create_run(run.thread_id, assistant_id=assistant_id, **again),
        )

    async def create_thread_run_and_wait(
        self,
        *,
        assistant_id: str,
        toolset: Toolset | None = None,
        timeout: float | None = None,
        poll: PollPolicy = DEFAULT_POLL,
        on_status: OnStatus | None = None,
        on_cancel: OnCancel = "cancel",
        retry_failed_runs: int = 0,
        **params: Unpack[CreateThreadAndRunParams],
    ) -> Run:
        """Create a thread, start a run on it and wait: `create_thread_and_run` and `wait_for_run`.

        The thread's id is the run's ``thread_id``.

        Args:
            timeout: seconds all of it may take together; None waits as long as the server keeps the run alive.
            toolset, poll, on_status, on_cancel: as in `wait_for_run`. A creation that is under way when this is
                cancelled or times out is given a few seconds to finish, so that the run it makes can be cancelled too.
            retry_failed_runs: as in `run_and_wait`; the fresh runs are on the same thread.
            params: as in `create_thread_and_run`.

        Raises:
            WaitTimeoutError: with the run as last seen.
            ToolError: the toolset cannot go on.
        """
        check_parameters("create_thread_run_and_wait", models.CreateThreadAndRunParams, params, besides=_OPTIONS)
        wait = self._wait(Supervision(timeout, poll, on_status, on_cancel), toolset, retry_failed_runs)
        again = cast("CreateRunParams", {name: value for name, value in params.items() if name not in _ONCE})
        return await wait.until_end(
            lambda: self.create_thread_and_run(assistant_id=assistant_id, **params),
            lambda run: self.create_run(run.thread_id, assistant_id=assistant_id, **again),
        )

    async def run_text(self, run: Run) -> str:
        """Return the text a run has produced: its messages in order, parted by an empty line."""
        if not isinstance(run, models.Run):
            raise TypeError(f"run must be a Run, got {shown(run)}; get_run makes one of its ids")
        return "\n\n".join(message.text for message in await self._messages_of(run) if message.text)

    async def _messages_of(self, run: Run) -> list[Message]:
        messages = await self.list_messages(run.thread_id, run_id=run.id, order="asc", limit=100).collect()
        return messages_of_run(messages, run)

    def _wait(self, supervision: Supervision, toolset: Toolset | None, fresh_runs: int = 0) -> _Wait:
        if isinstance(fresh_runs, bool) or not isinstance(fresh_runs, int) or not 0 <= fresh_runs <= 100:
            raise UsageError(f"retry_failed_runs must be an int from 0 to 100, got {shown(fresh_runs)}")
        return _Wait(self._send, self._pacing, supervision, begin_rounds(toolset, self._pacing), fresh_runs)


def messages_of_run(messages: Iterable[Message], run: Run) -> list[Message]:
    """Return what a run has said, of what is on its thread."""
    # Servers that ignore run_id send the whole thread, and some do not say which run a message is of.
    return [
        message
        for message in messages
        if message.role != "user"
        and (message.run_id == run.id or (message.run_id is None and not _is_older(message, run)))
    ]


def _is_older(message: Message, run: Run) -> bool:
    return message.created_at is not None and run.created_at is not None and message.created_at < run.created_at


def begin_rounds(toolset: Toolset | None, pacing: Pacing) -> Rounds | None:
    """Return what answers the tool calls of one run.

    Raises:
        TypeError: this is no toolset.
    """
    if toolset is None:
        return None
    begin = getattr(toolset, "begin", None)
    if begin is None or isinstance(toolset, type):
        raise TypeError(f"toolset must be a Toolset, got {type(toolset).__name__}; make one with Toolset([...])")
    return Rounds(partial(begin, clock=pacing.clock), pacing.sleep)


class _Wait:
    """One wait: from the creation of a run, or of several, to the end of the last."""

    def __init__(
        self, send: Caller, pacing: Pacing, supervision: Supervision, rounds: Rounds | None, fresh_runs: int
    ) -> None:
        self._send = send
        self._pacing = pacing
        self._timeout = supervision.timeout
        self._on_cancel = supervision.on_cancel
        self._rounds = rounds
        self._fresh_runs = fresh_runs
        self._attempt = 0
        self.watch = Watch(send, pacing, supervision)

    async def until_end(
        self, create: Create | None = None, create_again: Callable[[Run], Awaitable[Run]] | None = None
    ) -> Run:
        """Create the run, where there is one to create, and wait for its end."""
        is_abandoned = True
        try:
            with anyio.move_on_after(self._timeout):
                run = await self._follow(None if create is None else await self._start(create))
                while create_again is not None and (pause := self._pause_before_another(run)) is not None:
                    await self._pacing.sleep(pause)
                    if self._rounds is not None:
                        self._rounds.begin_anew()
                    run = await self._follow(await self._start(partial(create_again, run)))
                is_abandoned = False
                return run
            raise self._timed_out()
        except AsyncAssistError as error:
            # The server refused or did not answer: nothing says that the run should end.
            is_theirs = self.watch.is_reporting or (self._rounds is not None and self._rounds.is_answering)
            is_abandoned = is_theirs or isinstance(error, WaitTimeoutError | ToolError)
            raise
        finally:
            if is_abandoned and self._on_cancel == "cancel":
                await self.watch.cancel()

    async def _start(self, create: Create) -> Run:
        """Create a run. Cancelled meanwhile, its creation may still finish, or nobody would know the run's id."""

        async def create_and_see() -> Run:
            run = await create()
            self.watch.see(run)
            return run

        return await finish_anyway(create_and_see)

    async def _follow(self, started: Run | None) -> Run:
        run = await self.watch.until_pause(started)
        while run.status == "requires_action" and self._rounds is not None:
            resumed = await self._rounds.hand_in(run, self._submit)
            run = await self.watch.until_pause(resumed)
        return run

    async def _submit(self, request: Request) -> Run:
        return decode(request, await self._send(request), models.Run)

    def _pause_before_another(self, run: Run) -> float | None:
        if self._attempt == self._fresh_runs:
            return None
        from asyncassist.runs.failed import pause_before_fresh_run  # few need it

        self._attempt += 1
        pause = pause_before_fresh_run(run, self._attempt, self._pacing.random())
        if pause is not None:
            logger.info("run %s failed; a fresh one follows in %.1f s", run.id, pause)
        return pause

    def _timed_out(self) -> WaitTimeoutError:
        error = self.watch.timed_out(f"in the {self._timeout} s allowed")
        if self._rounds is not None:
            error.attempted, error.completed = self._rounds.attempted, self._rounds.completed
        return error
