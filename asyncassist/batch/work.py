"""One job: its thread, its run, its text; with a ledger each step is written down around its effect."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
from attrs import frozen

from asyncassist import models
from asyncassist._operations.reconcile import find_tagged_run
from asyncassist._transport.loops import now
from asyncassist.batch.jobs import TAG_KEY, Job, JobResult
from asyncassist.errors import ActiveRunError, AsyncAssistError, JobError, LedgerError, ToolError, UsageError
from asyncassist.runs.patience import patiently
from asyncassist.runs.watch import Supervision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Sequence
    from typing import Unpack

    from asyncassist._operations.base import Caller
    from asyncassist._transport.pacing import Pacing
    from asyncassist._wire.polls import PollPolicy
    from asyncassist.batch.ledger import Known, Ledger
    from asyncassist.models import CreateRunParams, CreateThreadAndRunParams, Run, Thread
    from asyncassist.models.messages import MessageParam
    from asyncassist.models.threads import ThreadParams
    from asyncassist.runs.watch import OnCancel, Watch
    from asyncassist.tools import Toolset

__all__ = ["BatchClient", "Plan", "Work", "WorkInBatch"]

logger = logging.getLogger("asyncassist")

_SETTLE_SECONDS = 2.0
"""A run whose process was killed while it was asked for may be made by the server a moment later."""
_LOOK_PAUSE = 0.25
_ABANDON_SECONDS = 5.0
"""A run that costs money is not left running because a ledger takes longer."""
_MOST_PAIRS = 16


class Waiting(Protocol):
    """What waits for the run of a job; see `asyncassist.runs.waiting`."""

    watch: Watch

    async def until_end(
        self,
        create: Callable[[], Awaitable[Run]] | None = None,
        create_again: Callable[[Run], Awaitable[Run]] | None = None,
    ) -> Run: ...


class BatchClient(Protocol):
    """What a batch needs of the client."""

    @property
    def base_url(self) -> str: ...
    @property
    def is_closed(self) -> bool: ...

    def create_thread(self, **params: Unpack[ThreadParams]) -> Coroutine[Any, Any, Thread]: ...
    def create_run(
        self, thread_id: str, *, assistant_id: str, **params: Unpack[CreateRunParams]
    ) -> Coroutine[Any, Any, Run]: ...
    def create_thread_and_run(
        self, *, assistant_id: str, **params: Unpack[CreateThreadAndRunParams]
    ) -> Coroutine[Any, Any, Run]: ...
    def get_run(self, thread_id: str, run_id: str) -> Coroutine[Any, Any, Run]: ...
    def wait_for_run(
        self, thread_id: str, run_id: str, *, poll: PollPolicy, on_cancel: OnCancel
    ) -> Coroutine[Any, Any, Run]: ...
    def run_text(self, run: Run) -> Coroutine[Any, Any, str]: ...


@frozen
class Plan:
    """How the jobs of a batch are done."""

    client: BatchClient
    send: Caller
    pacing: Pacing
    wait: Callable[[Supervision, Toolset | None, int], Waiting]
    supervision: Supervision
    toolset: Toolset | None
    fresh_runs: int

    def begin_wait(self) -> Waiting:
        """Begin to wait for the run of one job."""
        return self.wait(self.supervision, self.toolset, self.fresh_runs)


class Work:
    """One job, without a ledger."""

    def __init__(self, plan: Plan, job: Job) -> None:
        self._plan = plan
        self._client = plan.client
        self._job = job
        self._wait = plan.begin_wait()
        self._began = now()
        self.attempts = 0

    async def do(self) -> JobResult:
        """Do the job. What goes wrong is in the result."""
        try:
            run = await self._follow()
            if run.status == "requires_action":
                await self._wait.watch.cancel()
                text = f"run {run.id} asks for tool outputs, and the batch has no toolset; it is being cancelled"
                raise ToolError(text, run=run)
            # Its messages are there: asking for them gives up no sooner than looking at the run does.
            text = await patiently(lambda: self._client.run_text(run), self._plan.supervision.poll, self._plan.pacing)
            duration = now() - self._began
            await self._finish(run, text, duration)
        except Exception as error:
            return await self._give_up(_of_ours(error, self._job))
        return JobResult(self._job, run.status, text, run, self.attempts, duration)

    async def _follow(self) -> Run:
        return await self._wait.until_end(self._create, self._create_again)

    async def _create(self) -> Run:
        job, params = self._job, self._job.params
        self.attempts += 1
        if job.thread_id is not None:
            return await self._create_run(job.thread_id, job.messages, job.metadata)
        if not params.keys() <= _PARAMS_OF_BOTH:  # the request that creates both does not take them
            thread = await self._client.create_thread(messages=job.messages)
            return await self._create_run(thread.id, (), job.metadata)
        more = dict(params)
        if job.metadata:
            more["metadata"] = job.metadata
        if job.messages:
            more["thread"] = {"messages": job.messages}
        return await self._client.create_thread_and_run(
            assistant_id=job.assistant_id, **cast("CreateThreadAndRunParams", more)
        )

    async def _create_again(self, run: Run) -> Run:
        self.attempts += 1
        return await self._create_run(run.thread_id, (), self._job.metadata)

    async def _create_run(self, thread_id: str, messages: Sequence[MessageParam], metadata: Mapping[str, str]) -> Run:
        # Messages and run in one request: nothing can come between, and there is no half of it to be done twice.
        more = dict(self._job.params)
        if messages:
            more["additional_messages"] = messages
        if metadata:
            more["metadata"] = metadata
        return await self._client.create_run(
            thread_id, assistant_id=self._job.assistant_id, **cast("CreateRunParams", more)
        )

    async def _finish(self, run: Run, text: str, duration: float) -> None:
        """Write down how the job has ended."""

    async def _give_up(self, error: AsyncAssistError) -> JobResult:
        duration = now() - self._began
        return JobResult(self._job, "error", "", self._wait.watch.run, self.attempts, duration, error)


class WorkInBatch(Work):
    """One job of a ledger, from its beginning or from where the ledger says it stands.

    Args:
        content: the hash of what the job asks for.
        session: the number of the batch.
        is_known: whether the job was begun before.
    """

    def __init__(self, plan: Plan, job: Job, ledger: Ledger, content: bytes, session: int, *, is_known: bool) -> None:
        super().__init__(plan, job)
        self._ledger = ledger
        self._content = content
        self._session = session
        self._is_known = is_known
        self._key = blake2b(job.id.encode(), digest_size=16).hexdigest()
        self._wait.watch.before_cancel = self._abandon

    async def _follow(self) -> Run:
        if len(self._job.metadata) >= _MOST_PAIRS:
            raise UsageError(f"metadata has {_MOST_PAIRS} pairs: with a ledger the run's tag needs the place of one")
        known = await self._ledger.standing(self._job.id) if self._is_known else None
        self.attempts = 0 if known is None else known.attempt
        await self._ledger.begin(self._job.id, self._content, self._session)
        if known is None or known.thread_id is None or not known.attempt:
            return await self._wait.until_end(self._create, self._create_again)
        if known.run_id is None:
            return await self._wait.until_end(lambda: self._find_or_create(known), self._create_again)
        self._wait.watch.name(known.thread_id, known.run_id)  # should this be cancelled too, that is the run to cancel
        if known.abandoned:
            return await self._wait.until_end(lambda: self._begin_anew(known), self._create_again)
        return await self._wait.until_end(None, self._create_again)

    async def _create(self) -> Run:
        job = self._job
        self.attempts += 1
        if job.thread_id is not None:
            return await self._start(job.thread_id, job.messages if self.attempts == 1 else ())
        # A thread whose creation is answered by nobody stays empty of runs and harms nobody; so another is made.
        more: ThreadParams = {"messages": job.messages} if job.messages else {}
        thread = await patiently(
            lambda: self._client.create_thread(**more), self._plan.supervision.poll, self._plan.pacing
        )
        return await self._start(thread.id, ())

    async def _create_again(self, run: Run) -> Run:
        self.attempts += 1
        return await self._start(run.thread_id, ())

    async def _start(self, thread_id: str, messages: Sequence[MessageParam]) -> Run:
        """Start a run that can be found again, by the tag it carries."""
        await self._ledger.intend(self._job.id, self.attempts, thread_id)
        try:
            run = await self._create_run(thread_id, messages, {**self._job.metadata, TAG_KEY: self._tag})
        except ActiveRunError:
            # One may have been made after all, by a request of a process that is no more.
            found = await self._find(thread_id)
            if found is None:
                raise
            run = found
        return self._started(run)

    def _started(self, run: Run) -> Run:
        with suppress(LedgerError):  # the run is there all the same; the batch ends with the ledger's failure
            self._ledger.started(self._job.id, run.id)
        return run

    async def _find_or_create(self, known: Known) -> Run:
        assert known.thread_id is not None  # intended to start a run on it
        if (run := await self._look(known, known.thread_id)) is not None:
            return self._started(run)
        # The same attempt, with the same tag: should the old request be answered still, either run is the job's.
        job = self._job
        messages = job.messages if job.thread_id is not None and self.attempts == 1 else ()
        return await self._start(known.thread_id, messages)

    async def _look(self, known: Known, thread_id: str) -> Run | None:
        """Look for the run that was intended, for as long as the server may be about to make it."""
        while (run := await self._find(thread_id)) is None:
            age = time.time() - known.changed_at
            if known.status != "starting" or not 0 <= age < _SETTLE_SECONDS:
                return None
            await self._plan.pacing.sleep(min(_LOOK_PAUSE, _SETTLE_SECONDS - age))
        return run

    async def _find(self, thread_id: str) -> Run | None:
        plan = self._plan
        return await patiently(
            lambda: find_tagged_run(plan.send, thread_id, self._tag), plan.supervision.poll, plan.pacing
        )

    async def _begin_anew(self, known: Known) -> Run:
        """Take up a job whose run a batch of before has cancelled, or was about to."""
        assert known.thread_id is not None  # abandoned, so it was known
        assert known.run_id is not None
        run = await self._client.wait_for_run(
            known.thread_id, known.run_id, poll=self._plan.supervision.poll, on_cancel="leave"
        )
        return await self._create() if run.status == "cancelled" else run

    @property
    def _tag(self) -> str:
        return f"{self._ledger.id}:{self._key}:{self.attempts}"

    async def _abandon(self) -> None:
        assert self._wait.watch.ids is not None  # of the run that is to be cancelled
        thread_id, run_id = self._wait.watch.ids
        try:
            with anyio.fail_after(_ABANDON_SECONDS):
                await self._ledger.abandon(self._job.id)
        except (LedgerError, TimeoutError) as error:
            # Whether we or others have cancelled a run the server does not tell, so the next batch cannot know either.
            logger.warning(
                "run %s of thread %s is being cancelled, and the ledger could not note that (%s): the next batch may"
                " take the cancelled run for the end of job %s; to have that done, give it a new id",
                run_id,
                thread_id,
                error if isinstance(error, LedgerError) else f"it took more than {_ABANDON_SECONDS:g} s",
                self._job.id,
            )

    async def _finish(self, run: Run, text: str, duration: float) -> None:
        with suppress(LedgerError):  # the result is good all the same; the batch ends with the ledger's failure
            await self._ledger.finish(self._job.id, run, text, duration)

    async def _give_up(self, error: AsyncAssistError) -> JobResult:
        with suppress(LedgerError):
            await self._ledger.give_up(self._job.id, f"{type(error).__name__}: {error}", now() - self._began)
        return await super()._give_up(error)


_PARAMS_OF_BOTH = models.CreateRunParams.__annotations__.keys() & models.CreateThreadAndRunParams.__annotations__.keys()


def _of_ours(error: Exception, job: Job) -> AsyncAssistError:
    if isinstance(error, AsyncAssistError):
        return error
    ours = JobError(f"job {job.id} was broken off by {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours
