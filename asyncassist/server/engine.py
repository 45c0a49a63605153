"""Drives runs: takes them out of the queue, asks the backend, hands on what it answers, and ends them in time.

What happens to a run is written down, and told to those who stream it, by the journal. A run is driven by one task, in
the task group the engine was opened with. A backend can be slow, fail, or ignore being cancelled: the run's state stays
right, because a step that has become illegal in the meantime is dropped.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from asyncassist.server import errors
from asyncassist.server.backends.base import BackendError, Reply, Turn
from asyncassist.server.drafts import Draft
from asyncassist.server.history import read_messages, read_rounds
from asyncassist.server.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import TaskGroup

    from asyncassist.models import Message, Run
    from asyncassist.server.backends.base import Backend
    from asyncassist.server.store.base import Record, Store
    from asyncassist.server.streaming import EventStream

__all__ = ["Engine", "EngineClosed"]

logger = logging.getLogger("asyncassist.server")


class EngineClosed(Exception):
    """A run was to be driven without a task group to do it in."""


class Engine:
    """The part of the server that runs.

    Args:
        store: where runs, messages and steps are kept.
        backend: what answers the runs.
        clock: gives the time in Unix seconds.
        sleep: waits for a number of seconds of that clock.
        new_id: makes an id that starts with a prefix.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        new_id: Callable[[str], str],
    ) -> None:
        self._store = store
        self._backend = backend
        self._clock = clock
        self._sleep = sleep
        self._journal = Journal(store, clock=clock, new_id=new_id)
        self._task_group: TaskGroup | None = None
        self._scopes: dict[str, anyio.CancelScope] = {}  # of the runs being driven
        # Active runs with their expiry, soonest first: all runs are given the same time, so they expire as they came.
        self._due: OrderedDict[str, float] = OrderedDict()
        self._due_news = anyio.Event()

    @property
    def active_runs(self) -> int:
        """How many runs have not ended."""
        return len(self._due)

    @property
    def open_streams(self) -> int:
        """How many streams wait for events of a run."""
        return len(self._journal.streams)

    async def open(self, task_group: TaskGroup) -> None:
        """Start to drive runs in this task group, those first that were left active when it was last done."""
        self._task_group = task_group
        self._journal.reset()
        self._due.clear()
        self._due_news = anyio.Event()  # the last one may belong to an event loop that is over
        for run in await self._store.active_runs():
            self._watch(run)
            if run.status == "cancelling":
                task_group.start_soon(self._confirm_cancel, run.id)
            elif run.status != "requires_action":
                await self._journal.requeue(run.id)
                self._start(task_group, run.id)
        task_group.start_soon(self._expire_when_due)

    def close(self) -> None:
        """Take no more runs, and end the streams. The owner of the task group cancels it."""
        self._task_group = None
        self._journal.streams.close()

    async def submit(self, run: Run, *before: Record, stream: EventStream | None = None) -> None:
        """Add a queued run to the store, after the records that come before it, and set it going.

        Args:
            run: the run.
            before: other new records, in their order.
            stream: gets the run's events.

        Raises:
            EngineClosed: there is nothing to drive it in. Nothing was added.
        """
        task_group = self._opened()
        with anyio.CancelScope(shield=True):  # a run that was added must be driven, whoever stops waiting for it
            await self._journal.add(run, before, stream)
            self._watch(run)
            self._start(task_group, run.id)

    async def cancel(self, run_id: str) -> Run | None:
        """Ask a run to end. It is ``cancelling`` first and ``cancelled`` when its backend has let go.

        Returns:
            The run as it is then, None when it is not there.

        Raises:
            IllegalTransition: it has ended, or was asked before.
            EngineClosed: there is nothing to drive it in.
        """
        task_group = self._opened()
        run: Run | None = None
        with anyio.CancelScope(shield=True):
            run = await self._journal.cancel(run_id)
            if (scope := self._scopes.get(run_id)) is not None:
                scope.cancel()  # its task confirms
            else:
                task_group.start_soon(self._confirm_cancel, run_id)
        return run

    async def accept_outputs(
        self, run_id: str, match: Callable[[Run], Mapping[str, str]], *, stream: EventStream | None = None
    ) -> Run | None:
        """Write the outputs of tool calls into the run's waiting step and queue the run again.

        Args:
            run_id: the run.
            match: gives the outputs of the waiting run by the ids of their calls. What it raises passes through, and
                the run goes on waiting.
            stream: gets the run's events from here on.

        Returns:
            The run as it is then, None when it is not there.

        Raises:
            IllegalTransition: it does not wait for outputs.
            EngineClosed: there is nothing to drive it in.
        """
        task_group = self._opened()
        run: Run | None = None
        with anyio.CancelScope(shield=True):
            run = await self._journal.accept_outputs(run_id, match, stream)
            if run is not None:
                self._start(task_group, run_id)
        return run

    def forget(self, run_id: str) -> None:
        """Stop driving a run that was deleted."""
        self._due.pop(run_id, None)
        self._journal.forget(run_id, errors.run_deleted(run_id).error())
        if (scope := self._scopes.get(run_id)) is not None:
            scope.cancel()

    def with_text_so_far(self, message: Message) -> Message:
        """A message as it is to be shown: one that is being written with the text it has got."""
        return self._journal.with_text_so_far(message)

    def _opened(self) -> TaskGroup:
        if self._task_group is None:
            raise EngineClosed("the engine is not open")
        return self._task_group

    # Driving one run.

    def _start(self, task_group: TaskGroup, run_id: str) -> None:
        scope = self._scopes[run_id] = anyio.CancelScope()
        task_group.start_soon(self._drive, run_id, scope)

    async def _drive(self, run_id: str, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._work(run_id)
        except Exception:
            # A store that fails must not end the other runs; this one will expire.
            logger.exception("run %s could not be driven", run_id)
            self._cut_stream(run_id)
        finally:
            if self._scopes.get(run_id) is scope:  # and not that of the run's next task already
                del self._scopes[run_id]
        # No await between the end of the scope and here: cancel() finds either the scope or that it is gone.
        if scope.cancel_called:
            await self._confirm_cancel(run_id)

    async def _work(self, run_id: str) -> None:
        run = await self._journal.start(run_id)
        if run is None:
            return
        if (limit := self._journal.limit_reached(run)) is not None:
            self._note(await self._journal.stop_short(run_id, limit))
            return
        draft = Draft(run)
        try:
            reply = await self._answer(run, draft)
        except BackendError as error:
            self._note(await self._journal.fail(run_id, error.code, error.message))
        except Exception:
            logger.exception("the backend failed at run %s", run_id)
            message = "The backend failed. The server's log says how."
            self._note(await self._journal.fail(run_id, "server_error", message))
        else:
            if reply.tool_calls:
                await self._journal.ask(run, reply)
            else:
                self._note(await self._journal.finish(run_id, reply))

    async def _answer(self, run: Run, draft: Draft) -> Reply:
        """Ask the backend. All of the reply's text is in the draft then."""
        turn = Turn(
            run,
            partial(read_messages, self._store, run.thread_id, budget=_budget(run)),
            partial(read_rounds, self._store, run.id),
            partial(self._emit, draft),
        )
        try:
            reply = await self._backend.answer(turn)
        finally:
            draft.is_answered = True
        if not isinstance(reply, Reply):
            raise TypeError(f"a backend must answer with a Reply, not {type(reply).__name__}")
        if draft.message is None and (reply.text or not reply.tool_calls):
            await self._journal.write(draft, reply.text or "")
        elif reply.text not in (None, draft.text) and not draft.is_frozen:
            raise ValueError("the pieces a backend emitted are not the text of its reply")
        return reply

    async def _emit(self, draft: Draft, text: str) -> None:
        if draft.is_answered:
            raise RuntimeError("this turn is over: its backend has answered")
        if text:
            await self._journal.write(draft, text)
        await checkpoint()  # lets the piece be read before the next one is made

    async def _confirm_cancel(self, run_id: str) -> None:
        try:
            self._note(await self._journal.confirm_cancel(run_id))
        except Exception:
            logger.exception("run %s could not be ended when it was cancelled", run_id)
            self._cut_stream(run_id)

    def _cut_stream(self, run_id: str) -> None:
        """End the stream of a run that is not driven any more, in words that tell its reader to look again later."""
        self._journal.streams.cut(run_id, errors.server_failed().error())

    def _note(self, run: Run | None) -> None:
        """Take a run that has ended off the list of those that may expire."""
        if run is not None:
            self._due.pop(run.id, None)

    # Ending runs in time.

    def _watch(self, run: Run) -> None:
        if run.expires_at is not None:
            self._due[run.id] = run.expires_at
            self._due_news.set()

    async def _expire_when_due(self) -> None:
        while True:
            if not self._due:
                self._due_news = anyio.Event()
                await self._due_news.wait()
                continue
            run_id, expires_at = next(iter(self._due.items()))
            pause = expires_at - self._clock()
            if pause > 0:
                await self._sleep(pause)
            else:
                await self._expire(run_id)

    async def _expire(self, run_id: str) -> None:
        del self._due[run_id]
        try:
            await self._journal.expire(run_id)
        except Exception:
            logger.exception("run %s could not be ended at its expiry", run_id)
            self._cut_stream(run_id)
        if (scope := self._scopes.get(run_id)) is not None:
            scope.cancel()


def _budget(run: Run) -> int | None:
    """The tokens a run's messages may have where trimming them is left to us; None where it says how many it wants."""
    truncation = run.truncation_strategy
    return run.max_prompt_tokens if truncation is None or truncation.type == "auto" else None
