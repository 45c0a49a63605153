"""Drives runs: takes them out of the queue, asks the backend, writes down what it answered, and ends them in time.

What may follow what is decided in ``states.py``, inside the store's transactions; here it is only done. A run is driven
by one task, in the task group the engine was opened with. A backend can be slow, fail, or ignore being cancelled: the
run's state stays right, because a step that has become illegal in the meantime is dropped.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import anyio

from asyncassist.models import (
    Message,
    MessageContentText,
    MessageIncompleteDetails,
    MessageText,
    Run,
    RunStep,
    RunStepDetailsMessageCreation,
    RunStepMessageCreation,
)
from asyncassist.server import states
from asyncassist.server.backends import BackendError, Reply, Turn
from asyncassist.server.store import PageQuery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from anyio.abc import TaskGroup

    from asyncassist.server.backends import Backend
    from asyncassist.server.store import Record, Store

__all__ = ["Engine", "EngineClosed"]

logger = logging.getLogger("asyncassist.server")

_HISTORY_PAGE = 100


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
        self._new_id = new_id
        self._task_group: TaskGroup | None = None
        self._scopes: dict[str, anyio.CancelScope] = {}  # of the runs being driven
        # Active runs with their expiry, soonest first: all runs are given the same time, so they expire as they came.
        self._due: OrderedDict[str, float] = OrderedDict()
        self._due_news = anyio.Event()

    @property
    def active_runs(self) -> int:
        """How many runs have not ended."""
        return len(self._due)

    async def open(self, task_group: TaskGroup) -> None:
        """Start to drive runs in this task group, those first that were left active when it was last done."""
        self._task_group = task_group
        self._due.clear()
        self._due_news = anyio.Event()  # the last one may belong to an event loop that is over
        for run in await self._store.active_runs():
            self._watch(run)
            if run.status == "cancelling":
                task_group.start_soon(self._confirm_cancel, run.id)
            elif run.status != "requires_action":
                await self._change(run.id, states.requeue)  # illegal, and skipped, for one that is queued still
                self._start(task_group, run)
        task_group.start_soon(self._expire_when_due)

    def close(self) -> None:
        """Take no more runs. The owner of the task group cancels it."""
        self._task_group = None

    async def submit(self, run: Run, *before: Record) -> None:
        """Add a queued run to the store, after the records that come before it, and set it going.

        Raises:
            EngineClosed: there is nothing to drive it in. Nothing was added.
        """
        task_group = self._opened()
        with anyio.CancelScope(shield=True):  # a run that was added must be driven, whoever stops waiting for it
            await self._store.add(*before, run)
            self._watch(run)
            self._start(task_group, run)

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
            run = await self._store.update(Run, run_id, states.cancel)
            if (scope := self._scopes.get(run_id)) is not None:
                scope.cancel()  # its task confirms
            else:
                task_group.start_soon(self._confirm_cancel, run_id)
        return run

    async def accept_outputs(self, run_id: str, match: Callable[[Run], Mapping[str, str]]) -> Run | None:
        """Write the outputs of tool calls into the run's waiting step and queue the run again.

        Args:
            run_id: the run.
            match: gives the outputs of the waiting run by the ids of their calls. What it raises passes through, and
                the run goes on waiting.

        Returns:
            The run as it is then, None when it is not there.

        Raises:
            IllegalTransition: it does not wait for outputs.
            EngineClosed: there is nothing to drive it in.
        """
        task_group = self._opened()
        outputs: Mapping[str, str] = {}

        def accept(run: Run) -> Run:
            nonlocal outputs
            queued = states.accept_outputs(run)
            outputs = match(run)
            return queued

        run: Run | None = None
        with anyio.CancelScope(shield=True):
            run = await self._store.update(Run, run_id, accept)
            newest = await self._store.page(RunStep, PageQuery(limit=1), within=run_id)
            for step in newest.data:
                record = partial(states.record_outputs, outputs=outputs, now=self._now())
                await self._store.update(RunStep, step.id, record)
            if run is not None:
                self._start(task_group, run)
        return run

    def forget(self, run_id: str) -> None:
        """Stop driving a run that was deleted."""
        self._due.pop(run_id, None)
        if (scope := self._scopes.get(run_id)) is not None:
            scope.cancel()

    def _opened(self) -> TaskGroup:
        if self._task_group is None:
            raise EngineClosed("the engine is not open")
        return self._task_group

    # Driving one run.

    def _start(self, task_group: TaskGroup, run: Run) -> None:
        scope = self._scopes[run.id] = anyio.CancelScope()
        task_group.start_soon(self._drive, run.id, scope)

    async def _drive(self, run_id: str, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._work(run_id)
        except Exception:
            # A store that fails must not end the other runs; this one will expire.
            logger.exception("run %s could not be driven", run_id)
        finally:
            if self._scopes.get(run_id) is scope:  # and not that of the run's next task already
                del self._scopes[run_id]
        # No await between the end of the scope and here: cancel() finds either the scope or that it is gone.
        if scope.cancel_called:
            await self._confirm_cancel(run_id)

    async def _work(self, run_id: str) -> None:
        run = await self._change(run_id, partial(states.start, now=self._now()))
        if run is None:
            return
        try:
            reply = await self._backend.answer(Turn(run, partial(self._history, run.thread_id)))
            if not isinstance(reply, Reply):
                raise TypeError(f"a backend must answer with a Reply, not {type(reply).__name__}")
        except BackendError as error:
            await self._fail(run_id, error.code, error.message)
        except Exception:
            logger.exception("the backend failed at run %s", run_id)
            await self._fail(run_id, "server_error", "The backend failed. The server's log says how.")
        else:
            await self._finish(run, reply)

    async def _history(self, thread_id: str, last: int | None) -> Sequence[Message]:
        newest_first: list[Message] = []
        cursor: str | None = None
        while last is None or len(newest_first) < last:
            limit = _HISTORY_PAGE if last is None else min(_HISTORY_PAGE, last - len(newest_first))
            page = await self._store.page(Message, PageQuery(limit=limit, after=cursor), within=thread_id)
            newest_first += page.data
            if not page.has_more:
                break
            cursor = page.last_id
        return newest_first[::-1]

    async def _fail(self, run_id: str, code: str, message: str) -> None:
        await self._change(run_id, partial(states.fail, now=self._now(), code=code, message=message))

    async def _finish(self, run: Run, reply: Reply) -> None:
        now = self._now()
        end: Callable[[Run], Run]
        if reply.stopped_by is None:
            end = partial(states.complete, now=now, usage=reply.usage)
        else:
            end = partial(states.stop_short, now=now, usage=reply.usage, reason=reply.stopped_by)
        message = self._message(run, reply, now)
        step = RunStep(
            id=self._new_id("step_"),
            created_at=now,
            assistant_id=run.assistant_id,
            thread_id=run.thread_id,
            run_id=run.id,
            type="message_creation",
            status="completed",
            step_details=RunStepDetailsMessageCreation(message_creation=RunStepMessageCreation(message_id=message.id)),
            completed_at=now,
            usage=reply.usage,
        )
        await self._change(run.id, end, add=(message, step))

    def _message(self, run: Run, reply: Reply, now: int) -> Message:
        is_complete = reply.stopped_by is None
        return Message(
            id=self._new_id("msg_"),
            created_at=now,
            thread_id=run.thread_id,
            status="completed" if is_complete else "incomplete",
            incomplete_details=None if is_complete else MessageIncompleteDetails(reason="max_tokens"),
            completed_at=now if is_complete else None,
            incomplete_at=None if is_complete else now,
            role="assistant",
            content=(MessageContentText(text=MessageText(value=reply.text)),),
            assistant_id=run.assistant_id,
            run_id=run.id,
        )

    async def _confirm_cancel(self, run_id: str) -> None:
        await self._change(run_id, partial(states.confirm_cancel, now=self._now()))

    async def _change(self, run_id: str, change: Callable[[Run], Run], add: Sequence[Record] = ()) -> Run | None:
        """Take a run to its next state, unless that has become illegal or the run was deleted: then None."""
        try:
            run = await self._store.update(Run, run_id, change, add=add)
        except states.IllegalTransition:
            return None
        if run is not None and run.is_terminal:
            self._due.pop(run_id, None)
        return run

    def _now(self) -> int:
        return int(self._clock())

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
            await self._change(run_id, states.expire)
        except Exception:
            logger.exception("run %s could not be ended at its expiry", run_id)
        if (scope := self._scopes.get(run_id)) is not None:
            scope.cancel()
