"""The supervisor of a batch: one task that belongs to nobody's scope starts the jobs and outlives whoever reads."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from asyncassist.batch.intake import Intake
from asyncassist.batch.jobs import BatchProgress, Job, JobResult
from asyncassist.batch.ledger import Ledger, content_of
from asyncassist.batch.sweep import MOST_AHEAD, Sweep, is_same
from asyncassist.batch.threads import calling_here, spawn
from asyncassist.batch.work import Work, WorkInBatch
from asyncassist.errors import AsyncAssistError, ClientClosedError, LedgerError, UsageError
from asyncassist.models import TERMINAL_RUN_STATUSES

if TYPE_CHECKING:
    import os

    from anyio.abc import TaskGroup

    from asyncassist.batch.intake import Jobs
    from asyncassist.batch.ledger import Row
    from asyncassist.batch.threads import CallSoon
    from asyncassist.batch.work import Plan

__all__ = ["Batch", "OnProgress"]

OnProgress: TypeAlias = "Callable[[BatchProgress], object]"

_CLOSE_SECONDS = 20.0
"""How long whoever ends a batch waits for it. Each step of the ending is bounded by itself, and shorter."""
_STRETCH = 64
"""So many results are given in a row before others get their turn."""

_inside: ContextVar[tuple[anyio.Event, ...]] = ContextVar("_inside", default=())
"""Of each batch whose own task this is, the event that ends it: whoever waited for that would wait for itself."""


class Batch:
    """Runs jobs, so many at a time, and keeps the results until they are taken.

    Args:
        batches: has the batch in it while it is under way.
    """

    def __init__(
        self,
        plan: Plan,
        jobs: Jobs,
        *,
        concurrency: int,
        ledger: Ledger | str | os.PathLike[str] | None,
        on_progress: OnProgress | None,
        replays: bool,
        batches: set[Batch],
    ) -> None:
        self._plan = plan
        self._jobs: Jobs | None = jobs
        self._concurrency = concurrency
        self._ledger_given = ledger
        self._ledger: Ledger | None = None
        self._session = 0
        self._on_progress = on_progress
        self._replays = replays
        self._batches = batches
        self._results: deque[JobResult] = deque()
        self._arrived: anyio.Event | None = None
        self._space: anyio.Event | None = None
        self._scope: anyio.CancelScope | None = None
        self._over: anyio.Event | None = None
        self._call_soon: CallSoon | None = None
        self._failure: BaseException | None = None
        self._is_ended = self._is_news = self._is_reporting = False
        self._taken = 0
        self._counts = dict.fromkeys(BatchProgress.__annotations__, 0)
        self._active: set[str] = set()

    # --- whoever reads -----------------------------------------------------------------------------------------------

    async def next(self) -> JobResult:
        """Return the next result.

        Raises:
            StopAsyncIteration: there are no more.
        """
        if self._over is None and not self._is_ended:
            self._start()
        while not self._results:
            over = self._over
            if over is None or over.is_set() or self._is_ended:
                failure, self._failure = self._failure, None
                self._is_ended = True
                raise failure or StopAsyncIteration
            self._arrived = anyio.Event()
            await self._arrived.wait()
        await checkpoint()
        return self.ready() or await self.next()

    def ready(self) -> JobResult | None:
        """Return the next result where there is one, and where it is not time to let others have a turn."""
        self._taken += 1
        if not self._results or not self._taken % _STRETCH:
            return None
        result = self._results.popleft()
        if self._space is not None:
            self._space.set()
            self._space = None
        return result

    async def aclose(self) -> None:
        """End the batch: its runs are cancelled, in bounded time. Harmless when called again."""
        self._is_ended = True
        self._results.clear()
        self._jobs = None
        await self._end()

    def drop(self) -> None:
        """Have the batch end, without waiting for it. May be called in any thread, also when the event loop is over."""
        self._is_ended = True
        if self._scope is not None and self._call_soon is not None:
            with suppress(RuntimeError):  # the event loop is over, and the batch with it
                self._call_soon(self._scope.cancel)

    async def break_off(self, error: AsyncAssistError) -> None:
        """End the batch because what it works with is being closed; whoever reads is told by this error."""
        if not self._is_ended and self._failure is None:
            self._failure = error
        await self._end()

    async def _end(self) -> None:
        if self._over is not None and self._scope is not None:
            self._scope.cancel()
            if self._over in _inside.get():
                # In `on_progress`, say: what is cancelled here does not go on to close what the cancels need.
                await checkpoint_if_cancelled()
                return
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._over.wait()

    # --- the supervisor ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._plan.client.is_closed:
            raise ClientClosedError("the client is closed; create a new one")
        self._over = anyio.Event()
        self._scope = anyio.CancelScope()
        self._call_soon = calling_here()
        self._batches.add(self)
        spawn(self._run)

    async def _run(self) -> None:
        over, scope = self._over, self._scope
        assert over is not None  # set where this is started
        assert scope is not None
        _inside.set((*_inside.get(), over))
        try:
            with scope:
                await self._with_ledger()
        except BaseException as error:
            # Raised where somebody reads. A task of its own has nobody to raise it to.
            self._failure = self._failure or _first(error)
        finally:
            over.set()
            self._wake()
            self._batches.discard(self)

    async def _with_ledger(self) -> None:
        given = self._ledger_given
        if given is None:
            await self._do_all()
        elif isinstance(given, Ledger):
            await self._with(given)
        else:
            async with Ledger.open(given) as ledger:
                await self._with(ledger)

    async def _with(self, ledger: Ledger) -> None:
        self._ledger, self._active = ledger, ledger.active
        ledger.batches.add(self)
        try:
            self._session = await ledger.begin_session(self._plan.client.base_url)
            await self._do_all()
        finally:
            ledger.batches.discard(self)

    async def _do_all(self) -> None:
        if self._jobs is None:  # ended before it began
            return
        intake = Intake(self._jobs, self._concurrency)
        self._jobs = None
        ledger = self._ledger
        async with anyio.create_task_group() as group:
            intake.start(group)
            if ledger is None:
                await self._start_all(group, intake)
            else:
                try:
                    await self._start_unfinished(group, intake, ledger)
                except LedgerError as error:  # what has been begun goes on to its end
                    intake.stop(error)
        # Not raised: what the iterable has raised may be a group, and is told as it is.
        self._failure = self._failure or (None if ledger is None else ledger.failure) or intake.error

    async def _start_all(self, group: TaskGroup, intake: Intake) -> None:
        while jobs := await intake.take(await self._room()):
            self._counts["seen"] += len(jobs)
            for job in jobs:
                if self._take_on(job, ()):
                    self._begin(group, job, Work(self._plan, job))
            await self._report()

    async def _start_unfinished(self, group: TaskGroup, intake: Intake, ledger: Ledger) -> None:
        most = self._concurrency
        sweep: Sweep | None = None
        while True:
            await self._room()
            jobs = await intake.take(most if sweep is None else _STRETCH)
            self._counts["seen"] += len(jobs)
            if not jobs:
                return
            if sweep is not None:
                jobs = await self._replay_in_order(jobs, sweep)
                if not jobs:
                    await self._report()
                    continue
            # A job under way may be missing in the answer, and have ended before it is looked for here.
            begun = set(self._active)
            known = await ledger.look_up([job.id for job in jobs], with_results=self._replays)
            unfinished = self._replay(jobs, known)
            for job in unfinished:
                row = known.get(job.id)
                if (content := self._content(job, row, ledger)) is None:
                    continue
                await self._room()
                if self._take_on(job, begun):
                    self._counts["resumed"] += row is not None
                    begun.add(job.id)
                    work = WorkInBatch(self._plan, job, ledger, content, self._session, is_known=row is not None)
                    self._begin(group, job, work)
            # Where all are finished, and nothing but reading is to be done, more are read at once.
            most = self._concurrency if unfinished else max(self._concurrency, min(2 * most, MOST_AHEAD))
            sweep = None if unfinished else Sweep.begun(ledger, known[jobs[0].id], known[jobs[-1].id], len(jobs))
            await self._report()

    async def _replay_in_order(self, jobs: list[Job], sweep: Sweep) -> list[Job]:
        """Give the results of jobs as far as they stand in the ledger one after the other; return the others.

        What is read ahead may be outdated, but for jobs that have finished: those stay as they are.
        """
        others = self._replay(jobs, sweep.rows)
        if others:
            await sweep.go_on(with_results=self._replays)
            others = self._replay(others, sweep.rows)
        else:
            await checkpoint()
        return others

    def _content(self, job: Job, row: Row | None, ledger: Ledger) -> bytes | None:
        """Return the hash of what a job asks for; None if the job is refused."""
        try:
            content = content_of(job)
        except UsageError as error:
            self._refuse(job, error)
            return None
        if row is None:
            return content
        if row[2] != content:
            text = (
                f"job {job.id} is known to {ledger.path} with another content: give a job that has changed a new id, or"
                " the batch a new ledger"
            )
            self._refuse(job, LedgerError(text))
        elif row[4] == self._session:
            self._refuse(job, _twice(job))
        else:
            return content
        return None

    def _replay(self, jobs: list[Job], known: dict[str, Row]) -> list[Job]:
        """Give the results of the jobs that finished in a batch of before, and return the others."""
        # In one go: a batch that is taken up again may have a million of them.
        others: list[Job] = []
        completed = failed = 0
        for job in jobs:
            row = known.get(job.id)
            if row is None or row[3] not in TERMINAL_RUN_STATUSES or row[4] == self._session or not is_same(job, row):
                others.append(job)
                continue
            if row[3] == "completed":
                completed += 1
            else:
                failed += 1
            if self._replays:
                _, _, _, status, _, attempt, duration, text, run = row
                if text.__class__ is not str:
                    text = text.decode("utf-8", "surrogatepass")
                self._results.append(JobResult(job, status, text, run, attempt, duration, None, True))
        counts = self._counts
        counts["completed"] += completed
        counts["failed"] += failed
        counts["replayed"] += completed + failed
        self._wake()
        return others

    async def _room(self) -> int:
        """Wait until another job may be begun, and return how many may."""
        # Somewhat more than run at once: whoever reads may take a moment while others are begun.
        most = self._concurrency + self._concurrency // 4 + 1
        while True:
            running = self._counts["running"]
            room = min(self._concurrency - running, most - running - len(self._results))
            if room > 0:
                return room
            self._space = anyio.Event()
            await self._space.wait()

    def _make_room(self) -> None:
        if self._space is not None:
            self._space.set()
            self._space = None

    def _take_on(self, job: Job, begun: Container[str]) -> bool:
        if job.id in self._active or job.id in begun:
            self._refuse(job, _twice(job))
            return False
        return True

    def _begin(self, group: TaskGroup, job: Job, work: Work) -> None:
        self._active.add(job.id)
        self._counts["started"] += 1
        self._counts["running"] += 1
        group.start_soon(self._do, job, work)

    async def _do(self, job: Job, work: Work) -> None:
        try:
            result = await work.do()
        finally:
            self._active.discard(job.id)
            self._counts["running"] -= 1
        self._count(result)
        self._give(result)
        self._make_room()
        await self._report()

    def _refuse(self, job: Job, error: AsyncAssistError) -> None:
        result = JobResult(job, "error", attempts=0, error=error)
        self._count(result)
        self._give(result)

    def _count(self, result: JobResult) -> None:
        counts = self._counts
        counts["completed" if result.status == "completed" else "failed"] += 1
        if (usage := result.usage) is not None:
            counts["prompt_tokens"] += usage.prompt_tokens or 0
            counts["completion_tokens"] += usage.completion_tokens or 0
            counts["total_tokens"] += usage.total_tokens or 0

    def _give(self, result: JobResult) -> None:
        self._results.append(result)
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    async def _report(self) -> None:
        """Tell the counts. One call at a time: where they change meanwhile, another follows, and none comes late."""
        if self._on_progress is None:
            return
        self._is_news = True
        if self._is_reporting:
            return
        self._is_reporting = True
        try:
            while self._is_news:
                self._is_news = False
                answer = self._on_progress(BatchProgress(**self._counts))
                if inspect.isawaitable(answer):
                    await answer
        except Exception as error:  # the caller's own: it ends the batch, as if the loop's body had raised it
            self._failure = self._failure or error
            assert self._scope is not None  # under way
            self._scope.cancel()
        finally:
            self._is_reporting = False


def _twice(job: Job) -> UsageError:
    return UsageError(f"job {job.id}: there was another job with this id; every job of a batch has its own")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
